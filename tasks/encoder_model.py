"""A fitted encoder as it is kept: networks, scales, units, and where it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from neurovis.adapters.brain_encoder import BrainEncoderConfig
from neurovis.adapters.unit_queries import UnitQueries
from neurovis.core.checks import check_path
from neurovis.core.device import exact_float32, resolve
from neurovis.core.files import (
    DECODER_ERRORS,
    corrupt,
    plain,
    read_table,
    sha256_file,
    write_bytes,
    write_json,
    write_table,
)
from neurovis.core.verified_cards import read_verified_card
from neurovis.fitting.network_fit import predict_network
from neurovis.fitting.settings import TrainSettings
from tasks.encoder_networks import build_network
from tasks.encoder_options import EncoderOptions

WEIGHTS_FILE, UNITS_FILE = "encoder.safetensors", "units.parquet"
CURVES_FILE, ENCODER_FILE = "curves.parquet", "encoder.json"
_FILES = (WEIGHTS_FILE, UNITS_FILE, CURVES_FILE)
_VERSION = 1
_AT_ONCE = 64

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FittedEncoder:
    """Trained networks whose predictions are averaged.

    Parameters
    ----------
    networks : tuple of torch.nn.Module
        One per run, on the CPU.
    options : EncoderOptions
        What they are.
    in_shape : tuple of int
        Channels, height and width of the maps.
    context_shape : tuple of int or None
        Of the second map, if they look at one.
    with_core : bool
        Whether pictures are the maps, and a core looks at them.
    queries : UnitQueries or None
        Queries of the trained units.
    channel_mean, channel_scale : ndarray of float32, shape (n_channels,), or None
        What maps are shifted and divided by.
    context_mean, context_scale : ndarray of float32, or None
        The same for the second map.
    units : DataFrame
        One row per unit.
    columns : ndarray of int64, shape (n_units,)
        Output of the networks that is this unit; -1 for units that could not be
        trained.
    unit_mean, unit_scale : ndarray of float32, shape (n_units,)
        Mean and standard deviation of training responses: networks predict in
        standard deviations from the mean.
    curves : DataFrame
        Learning curves: `run`, and the columns of
        `neurovis.fitting.settings.Training`.
    features, training : dict
        What it looks at, and what it was fitted to: JSON values.
    notes : tuple of str
        What a user must know.
    licence : str
        Terms of use.
    """

    networks: tuple[nn.Module, ...]
    options: EncoderOptions
    in_shape: tuple[int, int, int]
    context_shape: tuple[int, int, int] | None
    with_core: bool
    queries: UnitQueries | None
    channel_mean: FloatArray | None
    channel_scale: FloatArray | None
    context_mean: FloatArray | None
    context_scale: FloatArray | None
    units: pd.DataFrame
    columns: NDArray[np.int64]
    unit_mean: FloatArray
    unit_scale: FloatArray
    curves: pd.DataFrame
    features: dict[str, Any]
    training: dict[str, Any]
    notes: tuple[str, ...] = ()
    licence: str = ""

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.units)

    @property
    def query_names(self) -> tuple[str, ...]:
        """What the attention maps stand for, in their order."""
        return () if self.queries is None else self.queries.names

    def inputs(self, maps: Any, context: Any = None) -> list[Any]:
        """Return what the networks take.

        Parameters
        ----------
        maps : array-like, shape (n_images, n_channels, H, W)
            As they come from the network that is looked through.
        context : array-like, shape (n_images, n_context, h, w), optional
            The second map.

        Returns
        -------
        list of array-like
            Shifted and scaled.

        Raises
        ------
        ValueError
            If a shape does not fit, or the second map is missing or not needed.
        """
        pairs = [(maps, self.in_shape, self.channel_mean, self.channel_scale)]
        if (context is None) != (self.context_shape is None):
            wanted = "needs" if context is None else "does not take"
            raise ValueError(f"This encoder {wanted} a second map, `context`.")
        if self.context_shape is not None:
            pairs.append(
                (context, self.context_shape, self.context_mean, self.context_scale)
            )
        for given, shape, _, _ in pairs:
            if tuple(given.shape[1:]) != tuple(shape):
                raise ValueError(
                    f"Maps of shape (n, {', '.join(map(str, shape))}) are needed; got "
                    f"{tuple(given.shape)}."
                )
        return [
            given if mean is None else ScaledMaps(given, mean, scale)
            for given, _, mean, scale in pairs
        ]

    def predict(
        self, maps: Any, context: Any = None, *, device: str | torch.device = "cpu"
    ) -> FloatArray:
        """Predict responses.

        Parameters
        ----------
        maps, context : array-like
            As `inputs`.
        device : str or torch.device, default "cpu"
            Where to compute.

        Returns
        -------
        ndarray of float32, shape (n_images, n_units)
            Mean over runs, in units of the responses; NaN for units that could not be
            trained.
        """
        given = self.inputs(maps, context)
        total: Any = 0
        for network in self.networks:
            total = total + predict_network(network, given, device=device)
        found = np.full((len(given[0]), self.n_units), np.nan, np.float32)
        known = self.columns >= 0
        mean = (total / len(self.networks))[:, self.columns[known]]
        found[:, known] = mean * self.unit_scale[known] + self.unit_mean[known]
        return found

    def attention(self, maps: Any, *, device: str | torch.device = "cpu") -> FloatArray:
        """Return where the queries look, in the last layer, averaged over heads.

        Parameters
        ----------
        maps : array-like, shape (n_images, n_channels, H, W)
            As `inputs`.
        device : str or torch.device, default "cpu"
            Where to compute.

        Returns
        -------
        ndarray of float32, shape (n_images, n_queries, h, w)
            Mean over runs; each map sums to 1 and belongs to the query of the same
            number in `query_names`.

        Raises
        ------
        ValueError
            If the readout has no queries.
        """
        if self.queries is None:
            raise ValueError(
                f"The readout {self.options.readout!r} has no queries, and so no "
                "attention: fit 'transformer' or 'masks'."
            )
        place = resolve(device)
        given = self.inputs(maps)[0]
        total: Any = 0
        for network in self.networks:
            moved = network.to(place).eval()
            parts = [
                _attend(moved, given[np.arange(at, min(at + _AT_ONCE, len(given)))])
                for at in range(0, len(given), _AT_ONCE)
            ]
            network.cpu()
            total = total + np.concatenate(parts)
        mean: FloatArray = (total / len(self.networks)).astype(np.float32)
        return mean


def _attend(network: nn.Module, maps: FloatArray) -> FloatArray:
    place = next(network.parameters()).device
    with torch.no_grad(), exact_float32():
        x = torch.from_numpy(np.ascontiguousarray(maps)).to(place)
        found: FloatArray = network.attention(x)[-1].cpu().numpy()  # type: ignore[operator]
    return found


@dataclass(frozen=True, eq=False)
class ScaledMaps:
    """Maps whose channels are shifted and divided when they are read.

    Parameters
    ----------
    maps : array-like, shape (n_images, n_channels, H, W)
        In memory or not.
    mean, scale : ndarray of float32, shape (n_channels,)
        Of each channel.
    """

    maps: Any
    mean: Any
    scale: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the maps."""
        return tuple(self.maps.shape)

    def __len__(self) -> int:
        return int(self.maps.shape[0])

    def __getitem__(self, rows: Any) -> FloatArray:
        found = np.asarray(self.maps[rows], np.float32)
        scaled: FloatArray = (found - self.mean[:, None, None]) / self.scale[
            :, None, None
        ]
        return scaled


_ARRAYS = (
    *("channel_mean", "channel_scale", "context_mean", "context_scale"),
    *("columns", "unit_mean", "unit_scale"),
)


def save_encoder(folder: str | Path, encoder: FittedEncoder) -> None:
    """Write an encoder as plain files.

    Parameters
    ----------
    folder : str or Path
        Where; made when missing. An encoder that is there is replaced.
    encoder : FittedEncoder
        What to write.

    Raises
    ------
    TypeError, ValueError
        If a description has no JSON form.
    OSError
        If the folder cannot be written.
    """
    folder = Path(folder)
    tensors = {
        f"run{number}/{name}": value.detach().cpu().contiguous().clone()
        for number, network in enumerate(encoder.networks)
        for name, value in network.state_dict().items()
        if name.rpartition(".")[2] != "parts"  # only the penalty needs them
    }
    for name in _ARRAYS:
        value = getattr(encoder, name)
        if value is not None:
            tensors[name] = torch.from_numpy(np.array(value))
    queries = encoder.queries
    if queries is not None and queries.mask is not None:
        tensors["query_mask"] = torch.from_numpy(queries.mask.astype(np.uint8))
    meta = plain(
        {
            "version": _VERSION,
            "options": encoder.options.identity(),
            "n_runs": len(encoder.networks),
            "in_shape": encoder.in_shape,
            "context_shape": encoder.context_shape,
            "with_core": encoder.with_core,
            "queries": None if queries is None else list(queries.names),
            "features": encoder.features,
            "training": encoder.training,
            "notes": list(encoder.notes),
            "licence": encoder.licence,
        }
    )
    # Without it the folder holds no encoder, so that old and new files never mix.
    (folder / ENCODER_FILE).unlink(missing_ok=True)
    write_bytes(folder / WEIGHTS_FILE, save(tensors))
    write_table(folder / UNITS_FILE, encoder.units)
    write_table(folder / CURVES_FILE, encoder.curves)
    hashes = {n: sha256_file(folder / n) for n in _FILES}
    write_json(folder / ENCODER_FILE, meta | {"sha256": hashes})


def read_card(folder: str | Path) -> dict[str, Any]:
    """Return what is told of a saved encoder, after hashes were verified.

    Parameters
    ----------
    folder : str or Path
        What `save_encoder` wrote.

    Returns
    -------
    dict
        Content of ``encoder.json``.

    Raises
    ------
    FileNotFoundError
        If there is no encoder.
    DataCorruptError
        If a file is missing, cut or changed.
    ValueError
        If a later version wrote it.
    """
    folder = check_path("encoder", folder, kind="folder")
    if not (folder / ENCODER_FILE).is_file():
        raise FileNotFoundError(
            f"{folder} holds no encoder: {ENCODER_FILE} is missing. Give one of the "
            "folders below `models` of a finished `neurovis fit brain-encoder`."
        )
    return read_verified_card(folder / ENCODER_FILE, _FILES, _VERSION, "an encoder")


def load_encoder(folder: str | Path) -> FittedEncoder:
    """Read what `save_encoder` wrote, after its hashes were verified.

    Parameters
    ----------
    folder : str or Path
        Folder of an encoder, below ``models`` of a finished fit.

    Returns
    -------
    FittedEncoder
        With equal weights.

    Raises
    ------
    FileNotFoundError, DataCorruptError, ValueError
        As `read_card`.
    """
    meta = read_card(folder)
    folder = Path(folder)
    try:
        with safetensors.safe_open(folder / WEIGHTS_FILE, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tables = [read_table(folder / name) for name in (UNITS_FILE, CURVES_FILE)]
        return _from_content(meta, tensors, *tables)
    except (
        safetensors.SafetensorError,
        RuntimeError,
        *DECODER_ERRORS,
    ) as error:
        raise corrupt(folder / ENCODER_FILE, "encoder", error) from error


def _from_content(
    meta: Mapping[str, Any],
    tensors: dict[str, torch.Tensor],
    units: pd.DataFrame,
    curves: pd.DataFrame,
) -> FittedEncoder:
    options = options_from(meta["options"])
    arrays: dict[str, Any] = {
        name: tensors[name].numpy() if name in tensors else None for name in _ARRAYS
    }
    columns = arrays["columns"]
    n_outputs = int(meta["training"]["n_outputs"])
    queries = None
    if meta["queries"] is not None:
        mask = tensors["query_mask"].numpy() if "query_mask" in tensors else None
        queries = UnitQueries(tuple(meta["queries"]), n_outputs, mask)
    in_shape: Any = tuple(meta["in_shape"])
    context: Any = meta["context_shape"] and tuple(meta["context_shape"])
    networks = []
    for number in range(meta["n_runs"]):
        network = build_network(
            options,
            in_shape,
            queries,
            n_outputs,
            context_shape=context,
            with_core=meta["with_core"],
        )
        prefix = f"run{number}/"
        own = {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix)
        }
        network.load_state_dict(own)
        networks.append(network.eval())
    return FittedEncoder(
        tuple(networks),
        options,
        in_shape,
        context,
        bool(meta["with_core"]),
        queries,
        units=units,
        curves=curves,
        **{name: arrays[name] for name in _ARRAYS if name != "columns"},
        columns=columns,
        features=meta["features"],
        training=meta["training"],
        notes=tuple(meta["notes"]),
        licence=meta["licence"],
    )


def options_from(told: Mapping[str, Any]) -> EncoderOptions:
    """Return options as `EncoderOptions.identity` tells them.

    Parameters
    ----------
    told : mapping
        JSON values.

    Returns
    -------
    EncoderOptions
        Equal options.
    """
    values = dict(told)
    if values["config"] is not None:
        values["config"] = BrainEncoderConfig(**values["config"])
    settings = {**values["settings"], "betas": tuple(values["settings"]["betas"])}
    values["settings"] = TrainSettings(**settings)
    for name in ("penalties", "query_regions"):
        values[name] = None if values[name] is None else tuple(values[name])
    return EncoderOptions(**values)
