"""What is to be prepared: files of single trials, which trials, which units."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.beta_files import BetaFile, check_places
from neurovis.core.brain_space import BrainSpace
from neurovis.core.checks import check_columns

READING_COLUMNS = ("file", "row")
"""Columns of `Recording.trials` that tell where a trial is read."""


@dataclass(frozen=True, eq=False)
class BetaPart:
    """One volume, or one hemisphere.

    Parameters
    ----------
    files : tuple of BetaFile
        In the order of time, such as one per session; of one grid.
    places : ndarray of int64, shape (n_units,)
        Wanted flat places in the grid of the files, 0-based, ascending, x fastest.

    Raises
    ------
    TypeError, ValueError
        If there are no files, their grids differ, or a place lies outside.
    """

    files: tuple[BetaFile, ...]
    places: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("`files` is empty: a part needs at least one file.")
        first = self.files[0]
        for file in self.files:
            if file.grid != first.grid:
                raise ValueError(
                    f"`files` must have one grid; {first.path} has {first.grid}, "
                    f"{file.path} has {file.grid}."
                )
        places = check_places(self.places, first.n_places, first.path)
        object.__setattr__(self, "places", places)


@dataclass(frozen=True, eq=False)
class Recording:
    """What is to be prepared.

    Parameters
    ----------
    name, subject : str
        Data set and person.
    parts : tuple of BetaPart
        Units of the first part come first.
    trials : DataFrame
        One row per used trial in the order of time: `stimulus_id` (str), `session`
        (int), `file` (0-based in `files` of each part), `row` (0-based in that file),
        and further factors.
    units : DataFrame
        One row per place of all parts: `unit_id`, places, labels.
    families : tuple of str, optional
        Columns of `units` that hold labels of regions.
    space : VolumeSpace or SurfaceSpace, optional
        Where the units lie.
    notes : tuple of str, optional
        Carried over to the result.
    response_unit : str, default ""
        Unit of responses that are not z-scored.

    Raises
    ------
    TypeError, ValueError
        If the parts do not fit each other, the trials or the units.
    """

    name: str
    subject: str
    parts: tuple[BetaPart, ...]
    trials: pd.DataFrame
    units: pd.DataFrame
    families: tuple[str, ...] = ()
    space: BrainSpace | None = None
    notes: tuple[str, ...] = ()
    response_unit: str = ""

    def __post_init__(self) -> None:
        check_columns("units", self.units.columns, ("unit_id", *self.families))
        wanted = ("stimulus_id", "session", *READING_COLUMNS)
        check_columns("trials", self.trials.columns, wanted)
        n_places = sum(len(part.places) for part in self.parts)
        if not n_places or n_places != len(self.units):
            raise ValueError(
                f"`units` must have one row per place of all parts; it has "
                f"{len(self.units)} rows for {n_places} places."
            )
        sizes = [tuple(f.n_trials for f in part.files) for part in self.parts]
        if len(set(sizes)) > 1:
            raise ValueError(
                f"`parts` must have files of the same trials; they have {sizes}."
            )
        _check_trials(self.trials, sizes[0])

    def scales(self) -> dict[float, list[int]]:
        """Return what stored numbers are divided by, and in which sessions.

        Returns
        -------
        dict of float to list of int
            Sessions of each divisor, ascending; most have one divisor.
        """
        files = self.trials.groupby("session")["file"].unique()
        found: dict[float, set[int]] = {}
        for session, rows in files.items():
            for part in self.parts:
                for row in rows:
                    scale = part.files[row].scale
                    found.setdefault(scale, set()).add(int(str(session)))
        return {scale: sorted(found[scale]) for scale in sorted(found)}


def tell_scales(scales: dict[float, list[int]]) -> str:
    """Say what stored numbers are divided by.

    Parameters
    ----------
    scales : dict of float to list of int
        From `Recording.scales`.

    Returns
    -------
    str
        One number, or each with its sessions.

    Examples
    --------
    >>> tell_scales({300.0: [1, 2]})
    '300'
    >>> tell_scales({1.0: [2], 300.0: [1, 3]})
    '1 (sessions 2), 300 (sessions 1, 3)'
    """
    if len(scales) == 1:
        return f"{next(iter(scales)):g}"
    parts = [f"{s:g} (sessions {', '.join(map(str, n))})" for s, n in scales.items()]
    return ", ".join(parts)


def _check_trials(trials: pd.DataFrame, n_trials: tuple[int, ...]) -> None:
    if not len(trials):
        raise ValueError("`trials` is empty: there is nothing to prepare.")
    for name in ("session", *READING_COLUMNS):
        if trials[name].dtype.kind not in "iu":
            raise TypeError(
                f"`trials` must hold whole numbers in {name!r}; got "
                f"{trials[name].dtype}."
            )
    if not trials["stimulus_id"].map(lambda s: isinstance(s, str)).all():
        raise TypeError("`trials` must hold text in 'stimulus_id'.")
    file, row = (trials[name].to_numpy(np.int64) for name in READING_COLUMNS)
    limits = np.array(n_trials)
    inside = (file >= 0) & (file < len(limits)) & (row >= 0)
    inside &= row < limits[np.clip(file, 0, len(limits) - 1)]
    if not inside.all():
        bad = int(np.flatnonzero(~inside)[0])
        raise ValueError(
            f"`trials` names row {row[bad]} of file {file[bad]}, but the files have "
            f"{list(n_trials)} trials; both count from 0."
        )
    if (np.diff(file * (limits.max() + 1) + row) <= 0).any():
        raise ValueError(
            "`trials` must be in the order of time: `file` and, within a file, `row` "
            "must ascend, none twice."
        )
