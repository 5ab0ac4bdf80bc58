"""An encoder on embeddings of pictures as it is kept: weights, units, where from.

Layout of a folder: ``clip_encoder.safetensors`` (arrays), ``units.parquet`` (one row
per unit), ``clip_encoder.json`` (everything else, with the hashes of the other two;
written last).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save

from neurovis.core.checks import check_array, check_columns, check_path
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
from neurovis.core.regions import region_labels
from neurovis.core.verified_cards import read_verified_card
from tasks.encoder_predict import CLIP_FILE, ModelCard

WEIGHTS_FILE, UNITS_FILE = "clip_encoder.safetensors", "units.parquet"
_FILES = (WEIGHTS_FILE, UNITS_FILE)
_VERSION = 1

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClipEncoder:
    """A linear readout of embeddings of length 1.

    ``response = mean + scale * (weight @ e / |e| + bias)`` for an embedding e.

    Parameters
    ----------
    weight : ndarray of float32, shape (n_fitted, n_features)
        Weights of the embedding.
    bias : ndarray of float32, shape (n_fitted,)
        Responses to an embedding of 0, in standard deviations.
    mean, scale : ndarray of float32, shape (n_fitted,)
        What training responses were shifted and divided by; 0 and 1 if they were not.
    voxel_index : ndarray of int64, shape (n_fitted,)
        0-based rows of `units` that were fitted, ascending.
    units : DataFrame
        One row per unit.
    test_r, test_r2, ceiling : ndarray of float64, shape (n_units,)
        Scores of held-out pictures, and the share of variance that could be explained;
        NaN where unknown.
    features, training : mapping
        What it looks at, and what it was fitted to: JSON values.
    notes : tuple of str
        What a user must know.
    licence : str
        Terms of use.
    fingerprint : str
        SHA-256 of its description, once it is saved.
    home : Path or None
        Folder that it was read from.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes do not fit.
    """

    weight: FloatArray
    bias: FloatArray
    mean: FloatArray
    scale: FloatArray
    voxel_index: NDArray[np.int64]
    units: pd.DataFrame
    test_r: NDArray[np.float64]
    test_r2: NDArray[np.float64]
    ceiling: NDArray[np.float64]
    features: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    licence: str = ""
    fingerprint: str = ""
    home: Path | None = None

    def __post_init__(self) -> None:
        check_columns("units", self.units.columns, ["unit_id"])
        n_fitted = len(self.voxel_index)
        shape = (n_fitted, None)
        check_array("weight", self.weight, shape=shape, dtype=np.float32, finite=True)
        for name in ("bias", "mean", "scale"):
            array = getattr(self, name)
            check_array(name, array, shape=(n_fitted,), dtype=np.float32, finite=True)
        for name in ("test_r", "test_r2", "ceiling"):
            array = getattr(self, name)
            check_array(name, array, shape=(self.n_units,), dtype=np.float64)
        index = self.voxel_index
        check_array("voxel_index", index, shape=(None,), dtype=np.int64)
        inside = not n_fitted or (index[0] >= 0 and index[-1] < self.n_units)
        if not inside or (np.diff(index) < 1).any():
            raise ValueError(
                f"`voxel_index` must hold rows of 0 to {self.n_units - 1}, ascending."
            )

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.units)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Units that were fitted, shape (n_units,)."""
        found = np.zeros(self.n_units, np.bool_)
        found[self.voxel_index] = True
        return found

    @property
    def card(self) -> ModelCard:
        """What it is, as for all fitted models."""
        home = Path() if self.home is None else self.home
        return ModelCard(
            home, self.fingerprint, dict(self.features), dict(self.training)
        )

    def predict(self, embeddings: NDArray[Any]) -> FloatArray:
        """Predict responses.

        Parameters
        ----------
        embeddings : ndarray of float, shape (n, n_features)
            Of pictures, of any length above 0.

        Returns
        -------
        ndarray of float32, shape (n, n_units)
            NaN for units that were not fitted.

        Raises
        ------
        ValueError
            If the shape does not fit, or a value is not finite.
        """
        shape = (None, self.weight.shape[1])
        rows = check_array("embeddings", embeddings, shape=shape, finite=True)
        rows = rows.astype(np.float32)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.maximum(length, np.float32(1e-12))
        found = np.full((len(rows), self.n_units), np.nan, np.float32)
        own = rows @ self.weight.T + self.bias
        found[:, self.voxel_index] = own * self.scale + self.mean
        return found


_ARRAYS = (
    *("weight", "bias", "mean", "scale", "voxel_index"),
    *("test_r", "test_r2", "ceiling"),
)


def save_clip_encoder(folder: str | Path, encoder: ClipEncoder) -> None:
    """Write an encoder as plain files.

    Parameters
    ----------
    folder : str or Path
        Where; made when missing. An encoder that is there is replaced.
    encoder : ClipEncoder
        What to write.

    Raises
    ------
    TypeError, ValueError
        If a description has no JSON form.
    OSError
        If the folder cannot be written.
    """
    folder = Path(folder)
    families = encoder.training.get("families", ())
    index = encoder.voxel_index
    meta = plain(
        {
            "version": _VERSION,
            "n_units": encoder.n_units,
            "n_fitted": len(index),
            "regions": region_labels(encoder.units.iloc[index], families),
            "test": {
                name: _median(getattr(encoder, name)[index])
                for name in ("test_r", "test_r2", "ceiling")
            },
            "features": dict(encoder.features),
            "training": dict(encoder.training),
            "notes": list(encoder.notes),
            "licence": encoder.licence,
        }
    )
    # Without it the folder holds no encoder, so that old and new files never mix.
    (folder / CLIP_FILE).unlink(missing_ok=True)
    arrays = {name: np.ascontiguousarray(getattr(encoder, name)) for name in _ARRAYS}
    write_bytes(folder / WEIGHTS_FILE, save(arrays))
    write_table(folder / UNITS_FILE, encoder.units)
    hashes = {name: sha256_file(folder / name) for name in _FILES}
    write_json(folder / CLIP_FILE, meta | {"sha256": hashes})


def _median(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def read_clip_card(folder: str | Path) -> dict[str, Any]:
    """Return what is told of a saved encoder, after hashes were verified.

    Parameters
    ----------
    folder : str or Path
        What `save_clip_encoder` wrote.

    Returns
    -------
    dict
        Content of ``clip_encoder.json``.

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
    if not (folder / CLIP_FILE).is_file():
        raise FileNotFoundError(
            f"{folder} holds no encoder of embeddings: {CLIP_FILE} is missing. Give "
            "one of the folders below `models` of a finished fit."
        )
    what = "an encoder of embeddings"
    return read_verified_card(folder / CLIP_FILE, _FILES, _VERSION, what)


def load_clip_encoder(folder: str | Path) -> ClipEncoder:
    """Read what `save_clip_encoder` wrote, after its hashes were verified.

    Parameters
    ----------
    folder : str or Path
        Folder of an encoder, below ``models`` of a finished fit.

    Returns
    -------
    ClipEncoder
        With equal arrays.

    Raises
    ------
    FileNotFoundError, DataCorruptError, ValueError
        As `read_clip_card`.
    """
    meta = read_clip_card(folder)
    folder = Path(folder)
    try:
        with safetensors.safe_open(folder / WEIGHTS_FILE, "np") as file:
            arrays = {name: file.get_tensor(name) for name in _ARRAYS}
        return ClipEncoder(
            **arrays,
            units=read_table(folder / UNITS_FILE),
            features=meta["features"],
            training=meta["training"],
            notes=tuple(meta["notes"]),
            licence=meta["licence"],
            fingerprint=sha256_file(folder / CLIP_FILE),
            home=folder,
        )
    except (safetensors.SafetensorError, *DECODER_ERRORS) as error:
        raise corrupt(folder / CLIP_FILE, "encoder of embeddings", error) from error
