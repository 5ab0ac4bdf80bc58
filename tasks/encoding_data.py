"""What is predicted: held-out responses of one subject, fold by fold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_whole
from tasks.brain_sources import (
    LEAVE_ONE_OUT,
    BrainData,
    Split,
    check_split,
    load_brain,
    split_rows,
    unit_ceilings,
)
from tasks.encoding_layers import file_name

# What is said where scores of left-out rows are pooled.
POOLED_NOTE = (
    "Each stimulus was left out in turn and r was computed over all of them together: "
    "without any signal it lies below 0, since a mean without a row is far from it."
)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Responses of one subject that are predicted without having been trained on.

    Parameters
    ----------
    data : BrainData
        Subject.
    splits : tuple of Split
        Rows to train on and to predict.
    table : DataFrame
        One row per prediction: `stimulus_id`, `n_repeats`, `split`, and `row`, the
        0-based (first) row of the responses.
    measured : ndarray of float32, shape (n_test, n_units)
        Responses; trials of one stimulus are averaged.
    groups : tuple of ndarray of int
        Predictions that are scored together; scores are averaged over groups.
    ceiling : ndarray of float64, shape (n_units,)
        Share of variance that can be explained, 0..1; NaN where unknown.
    ceiling_kind : str
        Where it comes from, "" where unknown.
    """

    data: BrainData
    splits: tuple[Split, ...]
    table: pd.DataFrame
    measured: NDArray[np.float32]
    groups: tuple[NDArray[np.intp], ...]
    ceiling: NDArray[np.float64]
    ceiling_kind: str

    @property
    def n_train(self) -> int:
        """Rows trained on, the fewest over splits."""
        return min(len(split.train) for split in self.splits)

    @property
    def final_train(self) -> NDArray[np.int64]:
        """Rows of the model that is kept: those of the split, all if there are several.

        Scores of several splits are those of models that did not see what they predict.
        """
        if len(self.splits) == 1:
            return self.splits[0].train
        return np.arange(len(self.data.responses), dtype=np.int64)

    def places(self, split: Split) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return where predictions of a split go, and of which rows they are.

        Parameters
        ----------
        split : Split
            One of `splits`.

        Returns
        -------
        at : ndarray of int
            Rows of `table`.
        rows : ndarray of int
            Rows of the responses.
        """
        at = np.flatnonzero(self.table["split"].eq(split.name))
        return at, self.table["row"].to_numpy(np.intp)[at]

    @property
    def data_notes(self) -> tuple[str, ...]:
        """What a reader must know about the responses."""
        name = self.data.name
        return tuple(f"{name}: {note}" for note in self.data.responses.notes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about the scores."""
        name = self.data.name
        notes = list(self.data_notes)
        if len(self.splits) > 1 and len(self.groups) == 1:
            notes.append(f"{name}: {POOLED_NOTE}")
        if not np.isfinite(self.ceiling).any():
            notes.append(f"{name}: there are no noise ceilings.")
        return tuple(notes)


def without_infinite(betas: ArrayLike) -> NDArray[np.float64]:
    """Return responses as doubles, NaN where they are infinite: both are undefined.

    Parameters
    ----------
    betas : array-like of float
        Responses.

    Returns
    -------
    ndarray of float64
        A copy, of the same shape.
    """
    values = np.array(betas, np.float64)
    values[np.isinf(values)] = np.nan
    return values


def hold_out(data: BrainData, test: str = "auto") -> HeldOut:
    """Gather what is predicted.

    Parameters
    ----------
    data : BrainData
        Subject.
    test : str, default "auto"
        As `tasks.brain_sources.split_rows`; "auto" is what the data come with.

    Returns
    -------
    HeldOut
        Responses that models do not see.

    Raises
    ------
    TypeError, ValueError
        If the split is unknown, does not go with the data, or a stimulus is on both
        sides.
    """
    responses = data.responses
    name = data.test if test == "auto" else test
    splits = tuple(split_rows(responses, name))
    for split in splits:
        check_split(responses, split)
    tables, measured = [], []
    for split in splits:
        part = responses.select_stimuli(split.test)
        rows = pd.Series(split.test, part.stimuli["stimulus_id"])
        if not part.is_averaged:
            part = part.average()
            rows = rows[~rows.index.duplicated()]
        ids = part.stimuli["stimulus_id"]
        tables.append(
            pd.DataFrame(
                {
                    "stimulus_id": ids,
                    "n_repeats": part.stimuli["n_repeats"],
                    "split": split.name,
                    "row": rows[ids].to_numpy(np.int64),
                }
            )
        )
        measured.append(without_infinite(part.betas).astype(np.float32))
    table = pd.concat(tables, ignore_index=True)
    edges = np.cumsum([0, *map(len, tables)])
    if name == LEAVE_ONE_OUT:
        edges = edges[[0, -1]]
    groups = tuple(np.arange(a, b) for a, b in pairwise(edges))
    values = np.concatenate(measured)
    # The repeats of what is scored: those of averages, if rows are trials.
    stimuli = table[["stimulus_id", "n_repeats"]]
    scored = replace(responses, betas=values, stimuli=stimuli, pictures=None)
    ceiling, kind = unit_ceilings(scored, np.arange(len(table)))
    return HeldOut(data, splits, table, values, groups, ceiling, kind)


def load_brains(
    data: str | Sequence[BrainData],
    *,
    subjects: Any = None,
    regions: Sequence[str] | None = None,
    min_ncsnr: float | None = None,
    **options: Any,
) -> list[BrainData]:
    """Load the subjects of a fit, or take those that are loaded.

    Parameters
    ----------
    data : str or sequence of BrainData
        ``NAME:PATH``, see `tasks.brain_sources.load_brain`.
    subjects : sequence of str or int, optional
        As `load_brain`; for text only.
    regions : sequence of str, optional
        As `load_brain`; for text only.
    min_ncsnr : float, optional
        As `load_brain`; for text only.
    **options : object
        As `load_brain`; for text only.

    Returns
    -------
    list of BrainData
        At least one; names are unique, each has two rows and a unit.

    Raises
    ------
    TypeError, ValueError, KeyError
        If arguments do not fit.
    FileNotFoundError, DataCorruptError
        If data are missing or damaged.
    """
    if isinstance(data, str):
        brains = load_brain(
            data, subjects=subjects, regions=regions, min_ncsnr=min_ncsnr, **options
        )
    else:
        given = {"subjects": subjects, "regions": regions, "min_ncsnr": min_ncsnr}
        named = [k for k, v in (given | options).items() if v is not None]
        if named:
            raise ValueError(
                f"`{named[0]}` is for data that are loaded here, as 'NAME:PATH'; "
                "`data` are loaded already."
            )
        brains = [data] if isinstance(data, BrainData) else list(data)
        for brain in brains:
            if not isinstance(brain, BrainData):
                raise TypeError(
                    "`data` must be text such as 'nsd:PATH' or BrainData; got "
                    f"{type(brain).__name__}."
                )
    names = [brain.name for brain in brains]
    twice = [name for name in names if names.count(name) > 1]
    if not brains or twice:
        raise ValueError(
            f"`data` has {f'{twice[0]!r} twice' if twice else 'no subject'}: each "
            "subject is needed once."
        )
    for brain in brains:
        check_whole(f"rows of {brain.name}", len(brain.responses), low=2)
        check_whole(f"units of {brain.name}", brain.responses.n_units, low=1)
    return brains


def check_subjects(brains: Sequence[BrainData]) -> None:
    """Raise if two subjects would have the same folder.

    Parameters
    ----------
    brains : sequence of BrainData
        Subjects of a run.

    Raises
    ------
    ValueError
        If two cannot be told apart; one of them is named.
    """
    names = [file_name(brain.subject) for brain in brains]
    twice = [
        brain.name for brain in brains if names.count(file_name(brain.subject)) > 1
    ]
    if twice:
        raise ValueError(
            f"`data` has several recordings of one subject, such as {twice[0]}: tell "
            "them apart with BrainData(recording=...), or fit them one by one."
        )
