"""Statistics of scanpaths over objects that simple models are fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neurovis.core.object_displays import FloatArray, IntArray
from neurovis.core.object_scanpaths import ObjectTrial, check_one_grid


@dataclass(frozen=True)
class TrainingScanpaths:
    """Scanpaths that a heuristic was fitted on, and statistics of them.

    Parameters
    ----------
    trials : tuple of ObjectTrial
        At least one, all on displays of one grid, in the order of displays,
        observers and scanpaths.
    rows, cols : int
        The grid.
    """

    trials: tuple[ObjectTrial, ...]
    rows: int
    cols: int

    @classmethod
    def of(cls, trials: Sequence[ObjectTrial]) -> "TrainingScanpaths":
        """Order trials and check that they share a grid.

        Parameters
        ----------
        trials : sequence of ObjectTrial
            Training data in any order.

        Returns
        -------
        TrainingScanpaths
            The same for every order.

        Raises
        ------
        ValueError
            If there is no trial, or the grids differ.
        """
        rows, cols = check_one_grid(trials)
        key = [(t.display.stimulus_id, t.subject, t.cells.tolist()) for t in trials]
        order = sorted(range(len(trials)), key=key.__getitem__)
        return cls(tuple(trials[i] for i in order), rows, cols)

    @property
    def n_cells(self) -> int:
        """Number of objects of a display."""
        return self.rows * self.cols

    @cached_property
    def first_cells(self) -> IntArray:
        """First object of each scanpath."""
        return np.array([trial.cells[0] for trial in self.trials])

    @cached_property
    def lengths(self) -> IntArray:
        """Fixations of each scanpath."""
        return np.array([len(trial.cells) for trial in self.trials])

    @cached_property
    def stimulus_ids(self) -> NDArray[np.object_]:
        """Display of each scanpath."""
        return np.array([t.display.stimulus_id for t in self.trials], object)

    @cached_property
    def target_cells(self) -> IntArray:
        """Target of each scanpath."""
        return np.array([trial.display.target_cell for trial in self.trials])

    @cached_property
    def cell_counts(self) -> IntArray:
        """How often each object was fixated, shape (n_cells,)."""
        cells = np.concatenate([trial.cells for trial in self.trials])
        return np.bincount(cells, minlength=self.n_cells)

    @cached_property
    def position_moments(self) -> tuple[FloatArray, FloatArray]:
        """Mean and covariance of x and y as shares of the size of the display."""
        parts = []
        for trial in self.trials:
            size = np.array([trial.display.width_px, trial.display.height_px])
            parts.append(np.asarray(trial.xy_px) / size)
        xy = np.concatenate(parts)
        return xy.mean(axis=0), np.cov(xy.T, ddof=0)

    @cached_property
    def displacement_counts(self) -> IntArray:
        """How often the eye moved by (rows, cols); 0, 0 is in the middle."""
        counts = np.zeros((2 * self.rows - 1, 2 * self.cols - 1), np.int64)
        for trial in self.trials:
            row, col = np.divmod(trial.cells, self.cols)
            step = np.diff(row) + self.rows - 1, np.diff(col) + self.cols - 1
            np.add.at(counts, step, 1)
        return counts

    @cached_property
    def stop_counts(self) -> IntArray:
        """Ends and fixations, shape (2, 2): first off the target, then on it."""
        counts = np.zeros((2, 2), np.int64)
        for trial in self.trials:
            on = trial.cells == trial.display.target_cell
            counts[:, 1] += (~on).sum(), on.sum()
            counts[int(on[-1]), 0] += 1
        return counts

    def transitions(self, smoothing: float = 0.0) -> FloatArray:
        """Return where the eye goes from each object by the counts of displacements.

        Parameters
        ----------
        smoothing : float, default 0
            Added to the count of every displacement, >= 0.

        Returns
        -------
        ndarray of float64, shape (n_cells, n_cells)
            Rows sum to 1: counts of the displacements that lead to an object,
            renormalised. A row without any count is uniform.
        """
        row, col = np.divmod(np.arange(self.n_cells), self.cols)
        step = (
            row[None] - row[:, None] + self.rows - 1,
            col[None] - col[:, None] + self.cols - 1,
        )
        weights: FloatArray = self.displacement_counts[step] + float(smoothing)
        weights[weights.sum(axis=1) == 0] = 1.0
        weights /= weights.sum(axis=1, keepdims=True)
        return weights

    @cached_property
    def cumulated_transitions(self) -> FloatArray:
        """Running sums of the rows of `transitions`, for drawing."""
        return np.cumsum(self.transitions(), axis=1)
