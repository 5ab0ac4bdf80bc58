"""Responses of voxels, vertices and neurons to stimuli: one form for all recordings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.array_files import write_array
from neurovis.core.brain_space import (
    BrainSpace,
    describe_space,
    flat_places,
    read_space,
    unit_maps,
)
from neurovis.core.checks import check_columns, check_path, check_whole
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    DECODER_ERRORS,
    corrupt,
    read_json,
    read_table,
    sha256_bytes,
    write_json,
    write_table,
)
from neurovis.core.pictures import LazyPictures
from neurovis.core.regions import region_labels, region_mask

BETAS_FILE = "betas.npy"
STIMULI_FILE = "stimuli.parquet"
UNITS_FILE = "units.parquet"
META_FILE = "responses.json"
_TOGETHER = (BETAS_FILE, STIMULI_FILE, UNITS_FILE)
_MOST_COUNTS = 4  # told one by one
_VALUES_AT_ONCE = 2**22
_MARK_BYTES = 2**16


@dataclass(frozen=True)
class UnitResponses:
    """What the units of one subject did when stimuli were shown.

    Parameters
    ----------
    name : str
        Data set, such as "nsd".
    subject : str
        Whose brain, such as "subj01".
    betas : ndarray of float32, shape (n_rows, n_units)
        One response per row of `stimuli` and row of `units`. A memory-mapped array
        stays on disk until it is indexed. NaN is undefined.
    stimuli : DataFrame
        One row per row of `betas`: `stimulus_id` (str) and `n_repeats` (trials that
        were averaged, >= 1). Single trials repeat a `stimulus_id`; folds must then
        be made by stimulus, never by row.
    units : DataFrame
        One row per unit: `unit_id` (str, unique), the columns of place of `space`,
        one column of labels per family of regions (see `neurovis.core.regions`), and
        what is known beside, such as `ncsnr`.
    families : tuple of str, optional
        Columns of `units` that hold labels of regions.
    space : VolumeSpace or SurfaceSpace, optional
        Where the units lie.
    response_unit : str, default ""
        Unit of `betas`, such as "z-score" or "percent signal change".
    pictures : sequence of ndarray of uint8, shape (H, W, 3), optional
        The picture of each row, read when asked for.
    fingerprints : mapping of str to str, optional
        Content hashes of the files read.
    notes : tuple of str, optional
        What a reader must know, such as units left out or simulated data.

    Raises
    ------
    TypeError, ValueError
        If shapes do not match, `betas` is not of floats, identities of units repeat,
        a column or a stimulus_id is missing, or n_repeats is no whole number >= 1.
    """

    name: str
    subject: str
    betas: NDArray[np.float32]
    stimuli: pd.DataFrame
    units: pd.DataFrame
    families: tuple[str, ...] = ()
    space: BrainSpace | None = None
    response_unit: str = ""
    pictures: Sequence[NDArray[np.uint8]] | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_columns("stimuli", self.stimuli.columns, ("stimulus_id", "n_repeats"))
        check_columns("units", self.units.columns, ("unit_id", *self.families))
        wanted = (len(self.stimuli), len(self.units))
        if self.betas.shape != wanted:
            raise ValueError(
                f"`betas` has shape {self.betas.shape}, but {wanted[0]} rows of "
                f"`stimuli` and {wanted[1]} rows of `units` need {wanted}."
            )
        if self.betas.dtype.kind != "f":
            raise TypeError(f"`betas` must hold floats; got dtype {self.betas.dtype}.")
        repeated = self.units["unit_id"][self.units["unit_id"].duplicated()]
        if len(repeated):
            raise ValueError(f"`units` repeats unit_id {repeated.iloc[0]!r}.")
        if self.stimuli["stimulus_id"].isna().any():
            raise ValueError("`stimuli` has rows without a stimulus_id.")
        n_repeats = self.stimuli["n_repeats"]
        if not ((n_repeats >= 1) & (n_repeats % 1 == 0)).all():
            raise ValueError("`stimuli` has n_repeats that are not whole numbers >= 1.")
        if self.pictures is not None and len(self.pictures) != wanted[0]:
            raise ValueError(
                f"`pictures` has {len(self.pictures)} pictures for {wanted[0]} rows."
            )
        if self.space is not None:
            flat_places(self.units, self.space)

    def __len__(self) -> int:
        return len(self.stimuli)

    @property
    def n_units(self) -> int:
        """Number of voxels, vertices or neurons."""
        return len(self.units)

    @property
    def is_averaged(self) -> bool:
        """Whether each stimulus has one row."""
        return self.stimuli["stimulus_id"].is_unique

    def regions(self) -> dict[str, list[str]]:
        """Return the labels of regions that occur, by family.

        Returns
        -------
        dict of str to list of str
            See `neurovis.core.regions.region_labels`.
        """
        return region_labels(self.units, self.families)

    def in_region(self, region: str) -> NDArray[np.bool_]:
        """Return which units lie in a region.

        Parameters
        ----------
        region : str
            See `neurovis.core.regions.region_mask`.

        Returns
        -------
        ndarray of bool, shape (n_units,)
            True inside.

        Raises
        ------
        KeyError, ValueError
            If the name is unknown or ambiguous.
        """
        return region_mask(self.units, self.families, region)

    def select_units(self, which: ArrayLike | str) -> "UnitResponses":
        """Return the responses of some units.

        Parameters
        ----------
        which : array_like of bool or int, or str
            A mask, 0-based rows of `units`, or the name of a region.

        Returns
        -------
        UnitResponses
            The other units left out; their betas are read into memory.

        Raises
        ------
        KeyError, ValueError, IndexError
            If the region is unknown or the index does not fit.
        """
        chosen = self.in_region(which) if isinstance(which, str) else which
        rows = _rows(chosen, self.n_units)
        return replace(
            self,
            betas=np.asarray(self.betas[:, rows]),
            units=self.units.iloc[rows].reset_index(drop=True),
        )

    def select_stimuli(self, which: ArrayLike) -> "UnitResponses":
        """Return some rows.

        Parameters
        ----------
        which : array_like of bool or int
            A mask, or 0-based rows of `stimuli`.

        Returns
        -------
        UnitResponses
            The other rows left out; its betas are read into memory.

        Raises
        ------
        IndexError
            If the index does not fit.
        """
        rows = _rows(which, len(self))
        pictures = self.pictures
        return replace(
            self,
            betas=np.asarray(self.betas[rows]),
            stimuli=self.stimuli.iloc[rows].reset_index(drop=True),
            pictures=None
            if pictures is None
            else LazyPictures(pictures.__getitem__, [int(r) for r in rows]),
        )

    def repeats(self, n_repeats: int) -> tuple[NDArray[np.float32], pd.Series]:
        """Gather the single trials of the stimuli that were shown exactly so often.

        Parameters
        ----------
        n_repeats : int
            Trials per stimulus, >= 2.

        Returns
        -------
        betas : ndarray of float32, shape (n_stimuli, n_repeats, n_units)
            Single trials in the order of `stimuli`.
        stimulus_id : Series of str, shape (n_stimuli,)
            Sorted identities.

        Raises
        ------
        ValueError
            If rows are averages of several trials, or no stimulus has so many.
        """
        check_whole("n_repeats", n_repeats, low=2)
        if (self.stimuli["n_repeats"] != 1).any():
            raise ValueError(
                "`repeats` needs single trials, but rows of `stimuli` are averages of "
                "several. Load the data without averaging."
            )
        identity = self.stimuli["stimulus_id"].reset_index(drop=True)
        counts = identity.value_counts()
        chosen = sorted(counts.index[counts == n_repeats])
        if not chosen:
            raise ValueError(
                f"No stimulus was shown exactly {n_repeats} times; the numbers of "
                f"trials here are {sorted(set(counts))}."
            )
        order = identity[identity.isin(chosen)].sort_values(kind="stable").index
        shape = (len(chosen), n_repeats, self.n_units)
        return np.asarray(self.betas[order]).reshape(shape), pd.Series(chosen)

    def average(self) -> "UnitResponses":
        """Average the rows of each stimulus, weighted by their trials.

        Returns
        -------
        UnitResponses
            One row per stimulus, sorted by identity, `n_repeats` added up. Columns
            of `stimuli` that differ between trials are left out. An average is NaN
            where a trial is.
        """
        codes, ids = pd.factorize(self.stimuli["stimulus_id"], sort=True)
        n_repeats = self.stimuli["n_repeats"].to_numpy(np.int64)
        total = np.bincount(codes, n_repeats, minlength=len(ids))
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        weight = (n_repeats[order] / total[codes[order]])[:, None]
        means = np.empty((len(ids), self.n_units), np.float32)
        n_at_once = max(1, _VALUES_AT_ONCE // max(1, len(self)))
        for start in range(0, self.n_units, n_at_once):
            block = slice(start, start + n_at_once)
            betas = self.betas[:, block][order].astype(np.float64)
            means[:, block] = np.add.reduceat(betas * weight, starts, axis=0)
        first = order[starts]
        stimuli = one_row_each(self.stimuli.drop(columns="n_repeats"), codes)
        stimuli.insert(1, "n_repeats", total.astype(np.int64))
        pictures = self.pictures
        return replace(
            self,
            betas=means,
            stimuli=stimuli,
            pictures=None
            if pictures is None
            else LazyPictures(pictures.__getitem__, [int(r) for r in first]),
        )

    def describe(self) -> list[str]:
        """Describe rows, repeats, units, regions and ceilings, without reading betas.

        Returns
        -------
        list of str
            One line per fact; notes come last.
        """
        repeats = self.stimuli["n_repeats"].value_counts().sort_index(ascending=False)
        counts = ", ".join(f"{n} of {k}" for k, n in repeats.items())
        if len(repeats) > _MOST_COUNTS:
            few, many = repeats.index.min(), repeats.index.max()
            counts = f"{few} to {many}, median {self.stimuli['n_repeats'].median():g}"
        n_stimuli = self.stimuli["stimulus_id"].nunique()
        lines = [
            f"{self.name} {self.subject}: {len(self)} rows of {n_stimuli} stimuli, "
            f"{self.n_units} units"
            + (f", {self.response_unit}" * bool(self.response_unit)),
            f"rows by trials averaged: {counts or 'none'}",
        ]
        for family, labels in self.regions().items():
            sizes = [f"{k} {int((self.units[family] == k).sum())}" for k in labels]
            lines.append(f"{family}: {', '.join(sizes) or 'no labels'}")
        for column in ("ncsnr", "ncsnr_published"):
            if column in self.units:
                known = self.units[column].dropna()
                middle = f"{known.median():.3f}" if len(known) else "undefined"
                lines.append(f"{column}: median {middle} over {len(known)} units")
        return lines + [f"note: {note}" for note in self.notes]

    def to_maps(self, values: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Put one number per unit back onto the brain.

        Parameters
        ----------
        values : array_like of float, shape (n_units,)
            One number per unit.

        Returns
        -------
        dict of str to ndarray of float64
            See `neurovis.core.brain_space.unit_maps`.

        Raises
        ------
        ValueError
            If the units have no `space`, or the length differs.
        """
        if self.space is None:
            raise ValueError(
                f"The units of {self.name} {self.subject} have no known place in the "
                "brain: no map can be made."
            )
        return unit_maps(values, self.units, self.space)


def _rows(which: ArrayLike, n: int) -> NDArray[np.intp]:
    return np.arange(n)[np.atleast_1d(which) if np.size(which) else []]


def one_row_each(trials: pd.DataFrame, codes: NDArray[np.intp]) -> pd.DataFrame:
    """Return one row per stimulus of a table of trials.

    Parameters
    ----------
    trials : DataFrame
        One row per trial.
    codes : ndarray of int, shape (n_trials,)
        Which stimulus it was, 0..n_stimuli - 1; each occurs.

    Returns
    -------
    DataFrame
        Ascending by code, without the columns that differ between trials of one
        stimulus, which say nothing of it.
    """
    first = np.unique(codes, return_index=True)[1]
    rows = trials.iloc[first].reset_index(drop=True)
    same = []
    for column in trials:
        again = rows[column].take(codes).set_axis(trials.index)
        # Nullable columns compare as unknown with what is missing.
        equal = trials[column].eq(again).fillna(False).astype(bool)
        missing = trials[column].isna() & again.isna()
        same.append(bool((equal | missing).all()))
    return rows.loc[:, same].copy()


def save_responses(folder: str | Path, responses: UnitResponses) -> None:
    """Write responses as plain files; pictures stay where they are.

    ``betas.npy`` is written by units (Fortran order), so that a block of voxels is
    one piece of the file.

    Parameters
    ----------
    folder : str or Path
        Where; made when missing.
    responses : UnitResponses
        What to write.
    """
    folder = Path(folder)
    # Without it the folder is incomplete, so that old and new files never mix.
    (folder / META_FILE).unlink(missing_ok=True)
    betas = np.asarray(responses.betas, np.float32, order="F")
    write_array(folder / BETAS_FILE, betas)
    write_tables(folder, responses)


def write_tables(folder: Path, responses: UnitResponses) -> None:
    """Write everything but the betas; the last file makes the folder complete.

    Parameters
    ----------
    folder : Path
        Where ``betas.npy`` lies.
    responses : UnitResponses
        What to write.
    """
    write_table(folder / STIMULI_FILE, responses.stimuli)
    write_table(folder / UNITS_FILE, responses.units)
    meta = {
        "name": responses.name,
        "subject": responses.subject,
        "families": list(responses.families),
        "space": describe_space(responses.space),
        "response_unit": responses.response_unit,
        "fingerprints": dict(responses.fingerprints),
        "notes": list(responses.notes),
        "beginnings": {name: _beginning(folder / name) for name in _TOGETHER},
    }
    write_json(folder / META_FILE, meta)


def _beginning(path: Path) -> str:
    """Return the SHA-256 of the first 64 KiB: that of another subject differs."""
    with path.open("rb") as file:
        return sha256_bytes(file.read(_MARK_BYTES))


def open_responses(
    folder: str | Path, *, pictures: Sequence[NDArray[np.uint8]] | None = None
) -> UnitResponses:
    """Open what `save_responses` wrote; the betas stay on disk until indexed.

    Parameters
    ----------
    folder : str or Path
        Folder of the files.
    pictures : sequence of ndarray of uint8, shape (H, W, 3), optional
        Pictures of the rows.

    Returns
    -------
    UnitResponses
        An equal object.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    DataCorruptError
        If a file is damaged, truncated, or not the one that was saved with the others.
    """
    folder = check_path("folder", folder, kind="folder")
    meta = read_json(check_path("folder", folder / META_FILE))
    path = folder / BETAS_FILE
    try:
        betas = np.lib.format.open_memmap(check_path("folder", path), mode="r")
        n_left = path.stat().st_size - betas.offset - betas.nbytes
        if n_left > 0:
            raise ValueError(f"{n_left} bytes after the array")
    except FileNotFoundError:
        raise
    except DECODER_ERRORS as error:
        raise corrupt(path, "NumPy array", error) from error
    try:
        responses = UnitResponses(
            betas=betas,
            stimuli=read_table(folder / STIMULI_FILE),
            units=read_table(folder / UNITS_FILE),
            space=read_space(meta["space"]),
            families=tuple(meta["families"]),
            notes=tuple(meta["notes"]),
            pictures=pictures,
            **{
                key: meta[key]
                for key in ("name", "subject", "response_unit", "fingerprints")
            },
        )
        # Folders of earlier versions do not tell.
        for name, mark in meta.get("beginnings", {}).items():
            if _beginning(folder / name) != mark:
                raise ValueError(f"{name} is not the file that was saved")
        return responses
    except (KeyError, TypeError, ValueError) as error:
        raise DataCorruptError(
            f"The files of {folder} do not belong together ({error}). Remove the "
            "folder and make it again."
        ) from error
