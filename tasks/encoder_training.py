"""Training of encoders: subjects side by side, split by split, run by run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from analysis.metrics import pearson_r, r_squared
from neurovis.adapters.unit_queries import UnitQueries, make_queries
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.device import free_memory_bytes
from neurovis.core.files import sha256_json
from neurovis.core.rng import generator
from neurovis.fitting.network_fit import NetworkFit, fit_network, predict_network
from neurovis.fitting.network_parts import ResponseBlocks
from neurovis.fitting.settings import TrainSettings
from tasks.encoder_maps import JoinedRows, MapSource, kept_moments
from tasks.encoder_model import ScaledMaps
from tasks.encoder_networks import build_network
from tasks.encoder_options import QUERIED, EncoderOptions, has_context
from tasks.encoding_data import HeldOut

FloatArray = NDArray[np.float64]
Rows = NDArray[np.int64]

_FLOAT_BYTES = 4
_NUMBERS_AT_ONCE = 2**22
_SHARE_OF_MEMORY = 0.8


@dataclass(frozen=True, eq=False)
class Member:
    """One subject that an encoder is trained on.

    Parameters
    ----------
    held : HeldOut
        Responses and splits.
    maps : MapSource
        What the encoder looks at.
    context : MapSource, optional
        The second map, where the readout has one.
    """

    held: HeldOut
    maps: MapSource
    context: MapSource | None = None

    def train_rows(self, split: int | None) -> Rows:
        """Return the rows to train on.

        Parameters
        ----------
        split : int or None
            Number of a split; None for the model that is kept.

        Returns
        -------
        ndarray of int64
            0-based rows.
        """
        held = self.held
        return held.final_train if split is None else held.splits[split].train


@dataclass(frozen=True, eq=False)
class Targets:
    """Standardised training responses of all subjects, side by side.

    Parameters
    ----------
    responses : ResponseBlocks
        One block per subject, of the units that can be trained.
    groups : ndarray, shape (n_rows,)
        Stimulus of each row.
    parts : ndarray of int64, shape (n_outputs,)
        Subject and hemisphere of each unit, numbered.
    units : DataFrame
        One row per unit that can be trained.
    rows : tuple of slice
        Rows of each subject.
    columns : tuple of ndarray of int64, each of shape (n_units,)
        Output of each unit of each subject; -1 for those that cannot be trained.
    mean, scale : tuple of ndarray of float32, each of shape (n_units,)
        What responses were shifted and divided by.
    """

    responses: ResponseBlocks
    groups: NDArray[Any]
    parts: NDArray[np.int64]
    units: pd.DataFrame
    rows: tuple[slice, ...]
    columns: tuple[NDArray[np.int64], ...]
    mean: tuple[NDArray[np.float32], ...]
    scale: tuple[NDArray[np.float32], ...]


def _gather(members: Sequence[Member], split: int | None) -> Targets:
    """Standardise training responses; a unit of one subject is NaN for all others."""
    trains = [member.train_rows(split) for member in members]
    _check_memory(members, trains)
    blocks, groups, tables, places, means, scales, parts = [], [], [], [], [], [], []
    n_outputs = n_parts = 0
    for member, train in zip(members, trains, strict=True):
        responses = member.held.data.responses
        mean, spread, usable = _unit_moments(responses.betas, train)
        columns = np.full(responses.n_units, -1, np.int64)
        columns[usable] = n_outputs + np.arange(int(usable.sum()))
        n_outputs += int(usable.sum())
        blocks.append(_standardise(responses.betas, train, mean, spread, usable))
        groups.append(responses.stimuli["stimulus_id"].to_numpy()[train])
        table = responses.units[usable].reset_index(drop=True)
        if len(members) > 1:
            subject = member.held.data.subject
            table = table.assign(unit_id=f"{subject} " + table["unit_id"].astype(str))
        side = np.zeros(len(table), np.int64)
        if "hemisphere" in table:
            side = table["hemisphere"].map(HEMISPHERES.index).to_numpy(np.int64)
        parts.append(n_parts + np.unique(side, return_inverse=True)[1])
        n_parts = int(parts[-1].max(initial=n_parts - 1)) + 1
        tables.append(table)
        places.append(columns)
        means.append(mean.astype(np.float32))
        scales.append(np.where(usable, spread, np.nan).astype(np.float32))
    if not n_outputs:
        raise ValueError(
            f"No unit of {members[0].held.data.name} varies over its training rows."
        )
    edges = np.cumsum([0, *map(len, blocks)]).tolist()
    return Targets(
        ResponseBlocks(tuple(blocks)),
        np.concatenate(groups),
        np.concatenate(parts),
        pd.concat(tables, ignore_index=True),
        tuple(slice(*ends) for ends in pairwise(edges)),
        tuple(places),
        tuple(means),
        tuple(scales),
    )


def _check_memory(members: Sequence[Member], trains: Sequence[Rows]) -> None:
    sizes = [
        _FLOAT_BYTES * len(train) * member.held.data.responses.n_units
        for member, train in zip(members, trains, strict=True)
    ]
    free = free_memory_bytes(torch.device("cpu"))
    if sum(sizes) > _SHARE_OF_MEMORY * free:
        advice = "Choose fewer regions or units"
        if len(members) > 1:
            advice += ", or fit the subjects one by one (without `together`)"
        raise MemoryError(
            f"The training responses of {', '.join(m.held.data.name for m in members)} "
            f"need {sum(sizes) / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory "
            f"are free. {advice}."
        )


def _unit_blocks(
    betas: NDArray[np.floating[Any]], train: Rows
) -> Iterator[tuple[slice, FloatArray]]:
    """Return training responses in float64, some units at once."""
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, len(betas)))
    for start in range(0, betas.shape[1], at_once):
        units = slice(start, min(start + at_once, betas.shape[1]))
        # Files are written by units: these are read in one piece.
        yield units, np.ascontiguousarray(betas[:, units])[train].astype(np.float64)


def _unit_moments(
    betas: NDArray[np.floating[Any]], train: Rows
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return mean and spread of training responses, and which units vary."""
    mean, spread = np.empty((2, betas.shape[1]))
    for units, values in _unit_blocks(betas, train):
        mean[units], spread[units] = values.mean(axis=0), values.std(axis=0)
    usable = np.isfinite(spread) & (spread > 1e-12 * np.abs(mean)) & (spread > 0)
    return mean, spread, usable


def _standardise(
    betas: NDArray[np.floating[Any]],
    train: Rows,
    mean: FloatArray,
    spread: FloatArray,
    usable: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Return the units that vary, with mean 0 and spread 1."""
    found = np.empty((len(train), int(usable.sum())), np.float32)
    start = 0
    for units, values in _unit_blocks(betas, train):
        kept = np.flatnonzero(usable[units])
        values -= mean[units]
        values /= np.where(usable, spread, 1)[units]
        found[:, start : start + len(kept)] = values[:, kept]
        start += len(kept)
    return found


@dataclass(frozen=True, eq=False)
class Trained:
    """Networks of one split, with the penalty that validation pictures chose.

    Parameters
    ----------
    fits : tuple of NetworkFit
        One per run.
    penalty : float
        What was chosen.
    targets : Targets
        What they were trained on.
    inputs : tuple
        Maps of training rows, scaled.
    queries : UnitQueries or None
        Queries of the units.
    scales : tuple
        Mean and scale of the channels of each input, or None.
    device : str, default "cpu"
        Where validation rows are predicted.
    """

    fits: tuple[NetworkFit, ...]
    penalty: float
    targets: Targets
    inputs: tuple[Any, ...]
    queries: UnitQueries | None
    scales: tuple[tuple[NDArray[np.float32], NDArray[np.float32]] | None, ...]
    device: str = "cpu"

    def validation(self, member: int) -> tuple[FloatArray, FloatArray]:
        """Return how well validation rows are predicted, averaged over runs.

        Parameters
        ----------
        member : int
            Number of the subject.

        Returns
        -------
        r, r2 : ndarray of float64, shape (n_units,)
            NaN for units that could not be trained.
        """
        mine, columns = self.targets.rows[member], self.targets.columns[member]
        block, known = self.targets.responses.blocks[member], columns >= 0
        found = np.full((2, len(columns)), np.nan)
        both = []
        for fit in self.fits:
            rows = fit.held[(fit.held >= mine.start) & (fit.held < mine.stop)]
            p = predict_network(fit.module, self.inputs, rows=rows, device=self.device)[
                :, columns[known]
            ]
            y = block[rows - mine.start]
            both.append((pearson_r(y, p), r_squared(y, p)))
        found[:, known] = np.mean(both, axis=0)
        return found[0], found[1]


@dataclass(frozen=True, eq=False)
class _FingerprintedMaps(ScaledMaps):
    """Scaled maps that tell their content hash."""

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.maps[rows]
        # They are new: no copy is needed.
        found -= self.mean[:, None, None]
        found /= self.scale[:, None, None]
        return found

    @property
    def fingerprint(self) -> str:
        marks = [v.tolist() for v in (self.mean, self.scale)]
        return sha256_json([self.maps.fingerprint, marks])


def _merit(fit: NetworkFit, settings: TrainSettings) -> float:
    """Return the monitored value of the epoch that was kept; more is better."""
    curves = fit.training.curves
    value = float(curves.loc[curves["best"], f"val_{settings.monitor}"].iloc[0])
    return value if settings.more_is_better else -value


def run_seed(seed: int, run: int) -> int:
    """Return the seed of one of several networks.

    Parameters
    ----------
    seed : int
        Seed of all.
    run : int
        0-based number.

    Returns
    -------
    int
        `seed` for the first; the others of two seeds have none in common.

    Examples
    --------
    >>> run_seed(3, 0), run_seed(3, 1) == run_seed(4, 0)
    (3, False)
    """
    if run == 0:
        return seed
    return int(generator(seed, "encoder run", run).integers(2**31))


def train_encoder(
    options: EncoderOptions,
    members: Sequence[Member],
    split: int | None,
    folder: Path,
    *,
    with_core: bool = False,
    seed: int = 0,
    device: str = "cpu",
    description: str = "encoder",
) -> Trained:
    """Train all runs of one split.

    Parameters
    ----------
    options : EncoderOptions
        What is trained, and how.
    members : sequence of Member
        Subjects that are trained together.
    split : int or None
        Number of the split; None for the rows of the model that is kept.
    folder : Path
        Where trainings that were killed are found again.
    with_core : bool, default False
        Whether the maps are pictures, for a core.
    seed : int, default 0
        Seed of the first run; see `run_seed`.
    device : str, default "cpu"
        Where to train.
    description : str, default "encoder"
        Word before the progress bars.

    Returns
    -------
    Trained
        Networks.

    Raises
    ------
    ValueError
        If no unit varies, or sizes do not go together.
    MemoryError
        If the responses leave too little memory.
    """
    targets = _gather(members, split)
    inputs, scales = _inputs(options, members, split)
    queries = None
    if options.readout in QUERIED:
        queries = make_queries(
            options.queries,
            targets.units,
            members[0].held.data.responses.families,
            regions=options.region_names,
        )
    shapes: list[Any] = [tuple(given.shape[1:]) for given in inputs]
    place = folder / ("all" if split is None else f"split{split}")

    def fit(penalty: float, run: int) -> NetworkFit:
        network = build_network(
            options,
            shapes[0],
            queries,
            targets.responses.shape[1],
            context_shape=shapes[1] if len(shapes) > 1 else None,
            with_core=with_core,
            parts=targets.parts,
            seed=run_seed(seed, run),
        )
        return fit_network(
            network,
            inputs,
            targets.responses,
            groups=targets.groups,
            validation=options.validation,
            parts=targets.parts,
            loss=options.loss_name,
            penalty=penalty,
            batch_size=options.batch_size,
            settings=options.training,
            seed=run_seed(seed, run),
            device=device,
            folder=place / f"penalty{penalty:g}-run{run}",
            identity={"options": options.identity()},
            description=description,
        )

    tried = {penalty: fit(penalty, 0) for penalty in options.tried}
    best = max(tried, key=lambda penalty: _merit(tried[penalty], options.training))
    fits = [tried[best], *(fit(best, run) for run in range(1, options.n_runs))]
    return Trained(tuple(fits), best, targets, inputs, queries, scales, device)


def _inputs(
    options: EncoderOptions, members: Sequence[Member], split: int | None
) -> tuple[tuple[Any, ...], tuple[tuple[Any, Any] | None, ...]]:
    """Return the maps of training rows, scaled, and by what."""
    kinds = [[m.maps for m in members]]
    if has_context(options.readout):
        kinds.append([m.context or m.maps for m in members])
    inputs: list[Any] = []
    scales: list[tuple[Any, Any] | None] = []
    for sources in kinds:
        pairs = [
            (source, member.train_rows(split))
            for source, member in zip(sources, members, strict=True)
        ]
        joined = JoinedRows(
            tuple(source.rows().take(train) for source, train in pairs),
            sha256_json([[s.identity(), train.tolist()] for s, train in pairs]),
        )
        if options.scale == "none":
            inputs.append(joined)
            scales.append(None)
            continue
        moments = kept_moments(joined, pairs[0][0].source.store)
        inputs.append(_FingerprintedMaps(joined, *moments))
        scales.append(moments)
    return tuple(inputs), tuple(scales)
