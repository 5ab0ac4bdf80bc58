"""Simple models of the next object: how well a scanpath can be foretold.

A scanpath over n objects has tokens 0..n-1 and ends with token n. Each model gives
every token a probability after those before it; the mean negative logarithm, in nats
per token, is what a network that predicts scanpaths has to beat.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.adapters.object_training import TrainingScanpaths
from neurovis.core.checks import check_option
from neurovis.core.object_displays import FloatArray, IntArray, ObjectDisplay
from neurovis.core.object_scanpaths import ObjectTrial, TokenModel, check_cells

# Added to counts before they become shares: objects, displacements, jumps.
CELL_SMOOTHING = 0.5
DISPLACEMENT_SMOOTHING = 0.05
JUMP_SMOOTHING = (0.5, 10.0)


@dataclass(frozen=True)
class _Tables:
    """Probabilities learnt from scanpaths."""

    first: FloatArray  # (n_cells,), of the first object
    unigram: FloatArray  # (n_cells + 1,), of any token
    transitions: FloatArray  # (n_cells, n_cells), displacements only
    stop: FloatArray  # (2,), off and on the target
    jump: FloatArray  # (n_distances,), to the target, by distance
    rows: int
    cols: int

    @classmethod
    def of(cls, training: TrainingScanpaths) -> "_Tables":
        n = training.n_cells
        first = np.bincount(training.first_cells, minlength=n) + CELL_SMOOTHING
        tokens = np.append(training.cell_counts, len(training.trials)) + CELL_SMOOTHING
        ends, visits = training.stop_counts.T
        return cls(
            first / first.sum(),
            tokens / tokens.sum(),
            training.transitions(DISPLACEMENT_SMOOTHING),
            (ends + 0.5) / (visits + 1.0),
            _jump_rates(training),
            training.rows,
            training.cols,
        )


def target_distances(
    cells: NDArray[np.int64], target_cell: int, cols: int
) -> NDArray[np.int64]:
    """Return Euclidean distances to the target in cells, rounded down.

    Parameters
    ----------
    cells : ndarray of int64, shape (n_fixations,)
        Objects.
    target_cell : int
        The target.
    cols : int
        Columns of the grid.

    Returns
    -------
    ndarray of int64, shape (n_fixations,)
        0 is the target itself.

    Examples
    --------
    >>> target_distances(np.array([0, 4, 5]), 0, cols=3)
    array([0, 1, 2])
    """
    row, col = np.divmod(cells, cols)
    target_row, target_col = divmod(target_cell, cols)
    distance = np.hypot(row - target_row, col - target_col)
    return np.asarray(distance, np.int64)


def _jump_rates(training: TrainingScanpaths) -> FloatArray:
    """Share of saccades that land on the target, by the distance they start at."""
    n_distances = int(np.hypot(training.rows - 1, training.cols - 1)) + 1
    landed, started = np.zeros((2, n_distances))
    for trial in training.trials:
        target = trial.display.target_cell
        at = target_distances(trial.cells[:-1], target, training.cols)
        np.add.at(started, at, 1)
        np.add.at(landed, at, trial.cells[1:] == target)
    more, weight = JUMP_SMOOTHING
    return (landed + more) / (started + weight)


def _uniform(tables: _Tables, display: ObjectDisplay, cells: IntArray) -> FloatArray:
    n = display.n_cells
    return np.vstack(
        [_first(np.full(n, 1 / n)), np.full((len(cells), n + 1), 1 / (n + 1))]
    )


def _unigram(tables: _Tables, display: ObjectDisplay, cells: IntArray) -> FloatArray:
    return np.vstack([_first(tables.first), np.tile(tables.unigram, (len(cells), 1))])


def _displacement(
    tables: _Tables, display: ObjectDisplay, cells: IntArray
) -> FloatArray:
    return _with_ends(tables, display, cells, tables.transitions[cells])


def _displacement_jump(
    tables: _Tables, display: ObjectDisplay, cells: IntArray
) -> FloatArray:
    moves = tables.transitions[cells]
    target = display.target_cell
    off = cells != target
    distance = target_distances(cells[off], target, tables.cols)
    jump = tables.jump[distance]
    elsewhere = 1 - moves[off, target]
    moves[off] *= ((1 - jump) / elsewhere)[:, None]
    moves[off, target] = jump
    return _with_ends(tables, display, cells, moves)


def _with_ends(
    tables: _Tables, display: ObjectDisplay, cells: IntArray, moves: FloatArray
) -> FloatArray:
    stop = tables.stop[(cells == display.target_cell).astype(int)][:, None]
    return np.vstack([_first(tables.first), np.hstack([(1 - stop) * moves, stop])])


def _first(cells: FloatArray) -> FloatArray:
    """Give the end, which cannot be the first token, probability 0."""
    return np.append(cells, 0.0)


@dataclass(frozen=True)
class _Kind:
    probabilities: Callable[[_Tables, ObjectDisplay, IntArray], FloatArray]
    knows: str
    note: str


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "uniform_tokens": _Kind(_uniform, "none", "all tokens alike"),
        "unigram_tokens": _Kind(_unigram, "none", "shares of objects in training"),
        "displacement_tokens": _Kind(
            _displacement,
            "recognition",
            "saccades as in training; ends more often on the target",
        ),
        "displacement_jump_tokens": _Kind(
            _displacement_jump,
            "position",
            "the same, and jumps to the target from near; knows where it is",
        ),
    }
)
TOKEN_BASELINES = tuple(_KINDS)


@dataclass(frozen=True)
class FittedTokenBaseline:
    """Probabilities of tokens learnt from scanpaths.

    Parameters
    ----------
    kind : str
        One of `TOKEN_BASELINES`.
    tables : object
        What it learnt.
    """

    kind: str
    tables: _Tables

    def token_probabilities(
        self, display: ObjectDisplay, cells: IntArray
    ) -> FloatArray:
        """Give the distribution of each token of a scanpath after those before it.

        Parameters
        ----------
        display : ObjectDisplay
            A display of the grid of the training data.
        cells : array-like of int, shape (n_fixations,)
            A scanpath, at least one object.

        Returns
        -------
        ndarray of float64, shape (n_fixations + 1, n_cells + 1)
            Rows sum to 1; the last column is the end.

        Raises
        ------
        TypeError, ValueError
            If an object is not on the display, or the display has another grid.
        """
        grid = self.tables.rows, self.tables.cols
        if (display.rows, display.cols) != grid:
            raise ValueError(
                f"`display` must have the grid of the training data, {grid[0]} x "
                f"{grid[1]}; {display.stimulus_id!r} has {display.rows} x "
                f"{display.cols}."
            )
        cells = check_cells("cells", cells, display.n_cells)
        return _KINDS[self.kind].probabilities(self.tables, display, cells)


@dataclass(frozen=True)
class TokenBaseline:
    """A simple model of the next token, before it has seen data.

    Parameters
    ----------
    kind : str
        One of `TOKEN_BASELINES`.
    label : str, optional
        Name in tables; `kind` by default.

    Raises
    ------
    ValueError
        If the kind is unknown.

    Examples
    --------
    >>> from neurovis.core.object_displays import regular_display
    >>> display = regular_display("a", rows=1, cols=2, size_px=(2, 1), target_cell=0)
    >>> trial = ObjectTrial(display, "ann", [1, 0])
    >>> fitted = TokenBaseline("uniform_tokens").fit([trial])
    >>> token_nats(fitted, trial).round(3)
    array([0.693, 1.099, 1.099])
    """

    kind: str
    label: str | None = None

    def __post_init__(self) -> None:
        check_option("models", self.kind, TOKEN_BASELINES)

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.label or self.kind

    @property
    def notes(self) -> tuple[str, ...]:
        """What it does and knows."""
        return (f"{self.name}: {_KINDS[self.kind].note}.",)

    @property
    def knows(self) -> str:
        """What it is told of the target: "none", "recognition" or "position"."""
        return _KINDS[self.kind].knows

    @property
    def stochastic(self) -> bool:
        """Whether samples differ; it makes none."""
        return False

    @property
    def identity(self) -> dict[str, Any]:
        """All that its responses depend on besides training data and display."""
        return {"token baseline": self.kind}

    def fit(
        self,
        training: Sequence[ObjectTrial],
        validation: Sequence[ObjectTrial] = (),
        *,
        seed: int = 0,
    ) -> FittedTokenBaseline:
        """Count tokens.

        Parameters
        ----------
        training, validation : sequence of ObjectTrial
            Scanpaths to learn from, of one grid; there is nothing to validate, so
            that both are used.
        seed : int
            Not used: nothing is drawn.

        Returns
        -------
        FittedTokenBaseline
            The model.

        Raises
        ------
        ValueError
            If there is no trial, or the grids differ.
        """
        seen = TrainingScanpaths.of([*training, *validation])
        return FittedTokenBaseline(self.kind, _Tables.of(seen))


def token_nats(model: TokenModel, trial: ObjectTrial) -> FloatArray:
    """Compute how surprising each token of a scanpath was.

    Parameters
    ----------
    model : TokenModel
        A fitted model.
    trial : ObjectTrial
        A scanpath that the model was not fitted on.

    Returns
    -------
    ndarray of float64, shape (n_fixations + 1,)
        Negative natural logarithm of the probability of each object, then of the end;
        infinite where the model excluded what happened.

    Raises
    ------
    ValueError
        If the model's distributions have another shape or do not sum to 1.
    """
    tokens = trial.tokens
    given = model.token_probabilities(trial.display, trial.cells)
    shape = (len(tokens), trial.display.n_cells + 1)
    if given.shape != shape or not np.allclose(given.sum(axis=1), 1.0, atol=1e-4):
        raise ValueError(
            f"`token_probabilities` must return {shape} with rows that sum to 1; got "
            f"shape {given.shape}."
        )
    with np.errstate(divide="ignore"):
        return -np.log(given[np.arange(len(tokens)), tokens])
