"""Searches over the objects of displays: trials of people, and how to split them.

All trials on a display stay together: people share displays and targets, so that a
split by trial would let a model see in training what it is tested on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.amazon_covers import (
    GRID_COLS,
    GRID_ROWS,
    LONGEST_SCANPATH,
    lattice_centres,
    load_amazon_covers,
)
from data_loaders.gaze import GazeData
from neurovis.core.checks import check_columns, check_option
from neurovis.core.files import sha256_json
from neurovis.core.object_displays import ObjectDisplay
from neurovis.core.object_scanpaths import ObjectTrial
from neurovis.core.rng import generator

FOLDS = ("fold10", "fold_target", "observer")
"""Ten folds of displays; one target left out; one observer left out of ten folds."""
PUBLISHED_FOLDS = ("trial", "published")
"""Splits that leak, for comparison only, see `published_search`."""
N_FOLDS = 10
PUBLISHED_SHARES = (0.8, 0.1)
LEAKAGE_NOTE = (
    "THIS SPLIT LEAKS: trials were divided at random, so that displays, targets and, "
    "with `published`, the very scanpaths of the test set are in the training set. "
    "Nothing follows from these scores."
)


@dataclass(frozen=True)
class ObjectSearchData:
    """Scanpaths of people over the objects of displays.

    Parameters
    ----------
    name : str
        Name of the data set.
    trials : tuple of ObjectTrial
        One per observer and display.
    displays : DataFrame
        One row per display: `stimulus_id`, `width_px`, `height_px`, `rows`, `cols`,
        `target_cell` and the folds `fold10` and `fold_target` (int, from 0).
    notes : tuple of str
        What a reader of results must know.

    Raises
    ------
    ValueError
        If a column is missing, or a trial has a display that the table lacks.
    """

    name: str
    trials: tuple[ObjectTrial, ...]
    displays: pd.DataFrame
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        needed = ["stimulus_id", "rows", "cols", "target_cell", *FOLDS[:2]]
        check_columns("displays", self.displays.columns, needed)
        known = set(self.displays["stimulus_id"])
        lost = [d for t in self.trials if (d := t.display.stimulus_id) not in known]
        if lost:
            raise ValueError(f"`displays` lacks stimulus_id {lost[0]!r} of a trial.")


def load_object_search(folder: str | Path) -> ObjectSearchData:
    """Read the searches for book covers.

    Parameters
    ----------
    folder : str or Path
        As in `data_loaders.amazon_covers.load_amazon_covers`.

    Returns
    -------
    ObjectSearchData
        As from `object_search_data`.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the data are missing or damaged.
    """
    return object_search_data(load_amazon_covers(folder))


def object_search_data(gaze: GazeData) -> ObjectSearchData:
    """Take the objects that people looked at from the searches for book covers.

    Parameters
    ----------
    gaze : GazeData
        From `data_loaders.amazon_covers.load_amazon_covers`.

    Returns
    -------
    ObjectSearchData
        The trials of at most 55 fixations, a limit set beforehand and not per fold;
        a note counts the others.

    Raises
    ------
    ValueError
        If a column of that loader is missing.
    """
    columns = ["stimulus_id", "width_px", "height_px", "target_cell", *FOLDS[:2]]
    check_columns("stimuli", gaze.stimuli.columns, columns)
    check_columns("fixations", gaze.fixations.columns, ["cell"])
    displays = {str(d.stimulus_id): d for d in _displays(gaze.stimuli)}
    trials = []
    for (subject, stimulus), part in gaze.fixations.groupby(
        ["subject", "stimulus_id"], sort=True
    ):
        if len(part) <= LONGEST_SCANPATH:
            cells = part["cell"].to_numpy(np.int64)
            xy = part[["x_px", "y_px"]].to_numpy(np.float64)
            display = displays[str(stimulus)]
            trials.append(ObjectTrial(display, str(subject), cells, xy))
    n_left = len(gaze.trials) - len(trials)
    table = gaze.stimuli[columns].assign(rows=GRID_ROWS, cols=GRID_COLS)
    return ObjectSearchData(
        gaze.name,
        tuple(trials),
        table,
        (
            *gaze.notes,
            f"{n_left} of {len(gaze.trials)} trials with no fixation, or more than "
            f"{LONGEST_SCANPATH}, are left out.",
        ),
    )


def _displays(stimuli: pd.DataFrame) -> list[ObjectDisplay]:
    displays = []
    for row in stimuli.to_dict("records"):
        size = float(row["width_px"]), float(row["height_px"])
        centres = lattice_centres(*size)
        x, y = centres[:GRID_COLS, 0], centres[::GRID_COLS, 1]
        target = int(row["target_cell"])
        displays.append(ObjectDisplay(row["stimulus_id"], x, y, *size, target))
    return displays


def trials_fingerprint(trials: Sequence[ObjectTrial]) -> str:
    """Return the content hash of trials; their order does not matter.

    Parameters
    ----------
    trials : sequence of ObjectTrial
        Trials.

    Returns
    -------
    str
        SHA-256 over displays, observers, objects and positions.
    """
    return sha256_json(sorted(trial.fingerprint for trial in trials))


# ---------------------------------------------------------------------- splits


@dataclass(frozen=True)
class Split:
    """Which trials a model learns from, decides by, and is tested on.

    Parameters
    ----------
    name : str
        Name of the fold that is left out.
    training, validation, test : ndarray of intp, shape (n,)
        Positions of trials.
    """

    name: str
    training: NDArray[np.intp]
    validation: NDArray[np.intp]
    test: NDArray[np.intp]

    def divide(
        self, trials: Sequence[ObjectTrial]
    ) -> tuple[list[ObjectTrial], list[ObjectTrial], list[ObjectTrial]]:
        """Return the trials of each part.

        Parameters
        ----------
        trials : sequence of ObjectTrial
            All trials, in the order that the positions refer to.

        Returns
        -------
        training, validation, test : list of ObjectTrial
            The parts.
        """
        training, validation, test = (
            [trials[i] for i in rows]
            for rows in (self.training, self.validation, self.test)
        )
        return training, validation, test


def search_splits(data: ObjectSearchData, folds: str = "fold10") -> list[Split]:
    """Divide trials for cross-validation, each in one test set.

    Parameters
    ----------
    data : ObjectSearchData
        Trials and folds.
    folds : {"fold10", "fold_target", "observer"}
        Leave out a tenth of the displays; all displays with one target; or one
        observer on a tenth of the displays, when others on other displays are
        learnt from. The next fold, or the first after the last, is for validation.

    Returns
    -------
    list of Split
        None leaks (see `check_no_leakage`).

    Raises
    ------
    ValueError
        If `folds` is unknown, or a test set would leave nothing to learn from.
    """
    check_option("folds", folds, FOLDS)
    column = "fold10" if folds == "observer" else folds
    fold_of = dict(
        zip(data.displays["stimulus_id"], data.displays[column], strict=True)
    )
    fold = np.array([int(fold_of[t.display.stimulus_id]) for t in data.trials])
    subject = np.array([trial.subject for trial in data.trials])
    numbers = sorted(int(n) for n in set(fold_of.values()))
    splits = []
    for place, number in enumerate(numbers):
        follower = numbers[(place + 1) % len(numbers)]
        for who in np.unique(subject) if folds == "observer" else (None,):
            other = np.ones(len(fold), bool) if who is None else subject != who
            same = np.ones(len(fold), bool) if who is None else ~other
            split = Split(
                f"{column} {number}" + ("" if who is None else f", observer {who}"),
                np.flatnonzero(other & (fold != number) & (fold != follower)),
                np.flatnonzero(other & (fold == follower) & (fold != number)),
                np.flatnonzero(same & (fold == number)),
            )
            if len(split.test):
                check_no_leakage(data.trials, split, observers=who is not None)
                splits.append(split)
    return splits


def published_search(
    data: ObjectSearchData, folds: str, seed: int = 0
) -> tuple[ObjectSearchData, list[Split]]:
    """Divide trials as the published evaluation of OAT did: WITH LEAKAGE.

    For comparison with published numbers only. Trials are shuffled, 80 % are for
    training, the next 10 % for validation, the last 10 % for the test. Trials on one
    display thus fall on both sides: 99.97 % of test trials have their display in the
    training set. With "published", moreover, one record per display stands for all
    observers, that of the last observer, as in the published code: every scanpath of
    the test set occurs word for word in the training set, the trials are those of one
    person, and the agreement among observers is perfect by construction.

    Parameters
    ----------
    data : ObjectSearchData
        Trials.
    folds : {"trial", "published"}
        Trials as they are, or the last observer's for all.
    seed : int, default 0
        Seed of the shuffle; the published order of trials is not known.

    Returns
    -------
    data : ObjectSearchData
        The trials that were used, with a note that says so.
    splits : list of Split
        The one split.

    Raises
    ------
    ValueError
        If `folds` is unknown, or there are too few trials to divide.
    """
    check_option("folds", folds, PUBLISHED_FOLDS)
    trials = list(data.trials)
    if folds == "published":
        last = max({trial.subject for trial in trials})
        subjects = sorted({trial.subject for trial in trials})
        trials = [
            ObjectTrial(trial.display, subject, trial.cells, trial.xy_px)
            for trial in trials
            if trial.subject == last
            for subject in subjects
        ]
    order = generator(seed, "published split").permutation(len(trials))
    ends = [round(sum(PUBLISHED_SHARES[:k]) * len(trials)) for k in (1, 2)]
    training, validation, test = (np.sort(part) for part in np.split(order, ends))
    if not len(validation) or not len(test):
        raise ValueError(
            f"{len(trials)} trials are too few for folds={folds!r}: a tenth of them is "
            "for the test, a tenth for validation."
        )
    notes = (*data.notes, LEAKAGE_NOTE)
    changed = replace(data, trials=tuple(trials), notes=notes)
    return changed, [Split(folds, training, validation, test)]


def tested_trials(
    data: ObjectSearchData, splits: Sequence[Split]
) -> tuple[ObjectSearchData, list[Split]]:
    """Keep the trials that some split tests: those that models have scores of.

    Parameters
    ----------
    data : ObjectSearchData
        Trials.
    splits : sequence of Split
        How they are divided.

    Returns
    -------
    data : ObjectSearchData
        The tested trials, in their order.
    splits : list of Split
        The same splits of these trials, with nothing but test sets.
    """
    tested = np.unique(np.concatenate([split.test for split in splits]))
    kept = replace(data, trials=tuple(data.trials[i] for i in tested))
    nothing = np.empty(0, np.intp)
    return kept, [
        Split(s.name, nothing, nothing, np.searchsorted(tested, s.test)) for s in splits
    ]


def check_no_leakage(
    trials: Sequence[ObjectTrial], split: Split, *, observers: bool = False
) -> None:
    """Raise if a model could have seen in training what it is tested on.

    Parameters
    ----------
    trials : sequence of ObjectTrial
        All trials.
    split : Split
        How they are divided.
    observers : bool, default False
        Require new observers too, not only new displays.

    Raises
    ------
    ValueError
        If two of the three sets share a display, the test set shares an observer with
        another set and `observers` is set, or nothing is left to learn from.
    """
    names = ("training", "validation", "test")
    sets = dict(zip(names, split.divide(trials), strict=True))
    if not sets["training"] and not sets["validation"]:
        raise ValueError(
            f"Split {split.name!r} leaves nothing to learn from: more than one fold "
            "is needed, and more than one observer to leave one out."
        )
    for one, other in (
        ("training", "test"),
        ("validation", "test"),
        ("training", "validation"),
    ):
        _check_apart(
            split.name,
            one,
            other,
            "display",
            [{t.display.stimulus_id for t in sets[name]} for name in (one, other)],
        )
        if observers and other == "test":
            _check_apart(
                split.name,
                one,
                other,
                "observer",
                [{t.subject for t in sets[name]} for name in (one, other)],
            )


def _check_apart(
    split: str, one: str, other: str, what: str, sets: list[set[str]]
) -> None:
    shared = sorted(sets[0] & sets[1])
    if shared:
        raise ValueError(
            f"Split {split!r} leaks: {len(shared)} of {len(sets[1])} {what}s of its "
            f"{other} set are in its {one} set, such as {shared[0]!r}. Keep all "
            f"trials of a {what} in one set."
        )
