"""Representational dissimilarity matrices of one stimulus set, stacked."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_columns


@dataclass(frozen=True)
class RDMStack:
    """Dissimilarities between all pairs of stimuli, one matrix per row.

    Parameters
    ----------
    name : str
        Data set, such as "objects92".
    rdms : ndarray of float64, shape (n_rdms, n_pairs)
        Upper triangles, row by row: (0, 1), (0, 2), ..., the order of
        ``numpy.triu_indices(n_stimuli, 1)`` and of SciPy's ``squareform``.
    table : DataFrame
        One row per matrix: `source` (what it was measured from, such as "human IT"),
        `subject` (str; "mean" for an average, "" where there is none), `measure`
        (such as "1 - Pearson r"), and factors beside.
    stimuli : DataFrame
        One row per stimulus: `stimulus_id` (str, unique), and factors.
    pictures : sequence of ndarray of uint8, shape (H, W, 3), optional
        One per stimulus, read when asked for.
    fingerprints : mapping of str to str, optional
        Content hashes of the files read.
    notes : tuple of str, optional
        What a reader must know.

    Raises
    ------
    ValueError
        If shapes do not match, identities repeat, or a column is missing.

    Examples
    --------
    >>> table = pd.DataFrame({"source": ["IT"], "subject": ["1"], "measure": ["r"]})
    >>> stimuli = pd.DataFrame({"stimulus_id": ["a", "b", "c"]})
    >>> stack = RDMStack("tiny", np.array([[1.0, 2.0, 3.0]]), table, stimuli)
    >>> stack.square()[0].tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]]
    """

    name: str
    rdms: NDArray[np.float64]
    table: pd.DataFrame
    stimuli: pd.DataFrame
    pictures: Sequence[NDArray[np.uint8]] | None = None
    fingerprints: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_columns("table", self.table.columns, ("source", "subject", "measure"))
        check_columns("stimuli", self.stimuli.columns, ("stimulus_id",))
        n = len(self.stimuli)
        wanted = (len(self.table), n * (n - 1) // 2)
        if self.rdms.shape != wanted:
            raise ValueError(
                f"`rdms` has shape {self.rdms.shape}, but {wanted[0]} rows of `table` "
                f"and the pairs of {n} stimuli need {wanted}."
            )
        if not self.stimuli["stimulus_id"].is_unique:
            raise ValueError("`stimuli` repeats a stimulus_id.")
        if self.pictures is not None and len(self.pictures) != n:
            raise ValueError(
                f"`pictures` has {len(self.pictures)} pictures for {n} stimuli."
            )

    def __len__(self) -> int:
        return len(self.table)

    def select(self, which: ArrayLike | None = None, **factors: Any) -> "RDMStack":
        """Return some matrices.

        Parameters
        ----------
        which : array_like of bool or int, optional
            A mask, or 0-based rows of `table`; default all.
        **factors : object
            Further columns of `table` with the value that they must have.

        Returns
        -------
        RDMStack
            The chosen matrices, of the same stimuli.

        Raises
        ------
        ValueError
            If `table` lacks a column.
        IndexError
            If the index does not fit.
        """
        check_columns("table", self.table.columns, factors)
        rows = np.arange(len(self))
        if which is not None:
            rows = rows[np.atleast_1d(which) if np.size(which) else []]
        for column, value in factors.items():
            rows = rows[(self.table[column].iloc[rows] == value).to_numpy()]
        table = self.table.iloc[rows].reset_index(drop=True)
        return replace(self, rdms=self.rdms[rows], table=table)

    def describe(self) -> list[str]:
        """Describe stimuli, matrices and sources.

        Returns
        -------
        list of str
            One line per fact; notes come last.
        """
        counts = self.table["source"].value_counts(sort=False)
        return [
            f"{self.name}: {len(self)} matrices of {len(self.stimuli)} stimuli",
            *(f"{source}: {n}" for source, n in counts.items()),
            *(f"note: {note}" for note in self.notes),
        ]

    def square(self) -> NDArray[np.float64]:
        """Return full symmetric matrices with a zero diagonal.

        Returns
        -------
        ndarray of float64, shape (n_rdms, n_stimuli, n_stimuli)
            Dissimilarities.
        """
        n = len(self.stimuli)
        rows, columns = np.triu_indices(n, 1)
        full = np.zeros((len(self), n, n))
        full[:, rows, columns] = full[:, columns, rows] = self.rdms
        return full
