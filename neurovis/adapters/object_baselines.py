"""Heuristic scanpaths over the objects of a display: what a model has to beat.

Each keeps some statistics of the scanpaths it was fitted on and makes new ones from
them. None sees the pictures. They differ in what they know of the target: nothing,
whether the object under the eye is it (they stop there), or where it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.adapters.object_training import TrainingScanpaths
from neurovis.core.checks import check_between, check_option
from neurovis.core.object_displays import IntArray, ObjectDisplay
from neurovis.core.object_scanpaths import ObjectTrial, check_one_grid
from neurovis.core.rng import generator

# Where the walk of `saccade_markov` ends at the latest: the longest scanpath of
# people in the protocol.
LONGEST_SAMPLE = 55
_MAX_REDRAWS = 10_000


# ------------------------------------------------------------------- the heuristics

_Draw = Callable[[TrainingScanpaths, ObjectDisplay, np.random.Generator], IntArray]


def _random_length(training: TrainingScanpaths, draw: np.random.Generator) -> int:
    return int(training.lengths[draw.integers(len(training.lengths))])


def _random_first(training: TrainingScanpaths, draw: np.random.Generator) -> int:
    return int(training.first_cells[draw.integers(len(training.first_cells))])


def _copy(
    training: TrainingScanpaths, rows: NDArray[np.intp], draw: np.random.Generator
) -> IntArray:
    return training.trials[int(rows[draw.integers(len(rows))])].cells


def _other_displays(
    training: TrainingScanpaths, display: ObjectDisplay
) -> NDArray[np.intp]:
    others = np.flatnonzero(training.stimulus_ids != display.stimulus_id)
    if not len(others):
        raise ValueError(
            f"All training scanpaths are on {display.stimulus_id!r}: there is no other "
            "display to copy from."
        )
    return others


def _human_other_collage(
    training: TrainingScanpaths, display: ObjectDisplay, draw: np.random.Generator
) -> IntArray:
    return _copy(training, _other_displays(training, display), draw)


def _human_nearest_target(
    training: TrainingScanpaths, display: ObjectDisplay, draw: np.random.Generator
) -> IntArray:
    others = _other_displays(training, display)
    row, col = np.divmod(training.target_cells[others], training.cols)
    target_row, target_col = divmod(display.target_cell, training.cols)
    distance = np.abs(row - target_row) + np.abs(col - target_col)
    return _copy(training, others[distance == distance.min()], draw)


def _chance_uniform(
    training: TrainingScanpaths, display: ObjectDisplay, draw: np.random.Generator
) -> IntArray:
    return draw.integers(display.n_cells, size=_random_length(training, draw))


def _centre_gaussian(
    training: TrainingScanpaths, display: ObjectDisplay, draw: np.random.Generator
) -> IntArray:
    length = _random_length(training, draw)
    mean, covariance = training.position_moments
    points = np.empty((0, 2))
    # Points outside are drawn again: clipping would pile them up at the edges.
    for _ in range(_MAX_REDRAWS):
        more = draw.multivariate_normal(mean, covariance, size=length)
        inside = ((more >= 0) & (more < 1)).all(axis=1)
        points = np.concatenate([points, more[inside]])[:length]
        if len(points) == length:
            break
    else:
        raise ValueError("Training fixations lie outside their displays.")
    x, y = points.T
    return display.cells_at(x * display.width_px, y * display.height_px)


def _density_map(
    training: TrainingScanpaths, display: ObjectDisplay, draw: np.random.Generator
) -> IntArray:
    length = _random_length(training, draw)
    shares = training.cell_counts / training.cell_counts.sum()
    return draw.choice(display.n_cells, size=length, p=shares)


def _until_target(order: IntArray, display: ObjectDisplay) -> IntArray:
    return order[: int(np.flatnonzero(order == display.target_cell)[0]) + 1]


def _reading_order(
    training: TrainingScanpaths, display: ObjectDisplay, draw: np.random.Generator
) -> IntArray:
    return _until_target(np.arange(display.n_cells), display)


def _snake_order(
    training: TrainingScanpaths, display: ObjectDisplay, draw: np.random.Generator
) -> IntArray:
    order = np.arange(display.n_cells).reshape(display.rows, display.cols)
    order[1::2] = order[1::2, ::-1]
    return _until_target(order.ravel(), display)


def _nearest_unvisited(
    training: TrainingScanpaths, display: ObjectDisplay, draw: np.random.Generator
) -> IntArray:
    row, col = np.divmod(np.arange(display.n_cells), display.cols)
    here = _random_first(training, draw)
    path = [here]
    unvisited = np.ones(display.n_cells, bool)
    while here != display.target_cell:
        unvisited[here] = False
        squared = (row - row[here]) ** 2 + (col - col[here]) ** 2
        # Squared distances are whole numbers: less than 1 only decides ties.
        rank = np.where(unvisited, squared + draw.random(display.n_cells), np.inf)
        here = int(rank.argmin())
        path.append(here)
    return np.array(path, np.int64)


def _saccade_markov(
    training: TrainingScanpaths, display: ObjectDisplay, draw: np.random.Generator
) -> IntArray:
    ends, visits = training.stop_counts[1]
    p_stop = ends / visits if visits else 0.0
    here = _random_first(training, draw)
    path = [here]
    while len(path) < LONGEST_SAMPLE:
        if here == display.target_cell and draw.random() < p_stop:
            break
        sums = training.cumulated_transitions[here]
        here = int(np.searchsorted(sums, draw.random() * sums[-1], side="right"))
        path.append(here)
    return np.array(path, np.int64)


def _direct_to_target(
    training: TrainingScanpaths, display: ObjectDisplay, draw: np.random.Generator
) -> IntArray:
    return np.array([_random_first(training, draw), display.target_cell])


@dataclass(frozen=True)
class _Heuristic:
    draw: _Draw
    knows: str
    note: str
    stochastic: bool = True


_HEURISTICS: Mapping[str, _Heuristic] = MappingProxyType(
    {
        "human_other_collage": _Heuristic(
            _human_other_collage, "none", "copies people on other displays"
        ),
        "human_nearest_target": _Heuristic(
            _human_nearest_target,
            "position",
            "copies people on the training display whose target is nearest; knows "
            "where the target is",
        ),
        "chance_uniform": _Heuristic(
            _chance_uniform, "none", "any object, as many as people looked at"
        ),
        "centre_gaussian": _Heuristic(
            _centre_gaussian, "none", "Gaussian of all training fixations"
        ),
        "density_map": _Heuristic(
            _density_map, "none", "objects by their share of training fixations"
        ),
        "reading_order_oracle_stop": _Heuristic(
            _reading_order,
            "recognition",
            "row by row; recognises the target without fail",
            stochastic=False,
        ),
        "snake_order_oracle_stop": _Heuristic(
            _snake_order,
            "recognition",
            "row by row, every second one backwards; recognises the target without "
            "fail",
            stochastic=False,
        ),
        "nearest_unvisited_oracle_stop": _Heuristic(
            _nearest_unvisited,
            "recognition",
            "always the nearest object not yet visited; recognises the target without "
            "fail",
        ),
        "saccade_markov": _Heuristic(
            _saccade_markov,
            "recognition",
            "saccades as people make them; stops on the target as often as they do",
        ),
        "direct_to_target_oracle": _Heuristic(
            _direct_to_target, "position", "one saccade; knows where the target is"
        ),
    }
)
OBJECT_BASELINES = tuple(_HEURISTICS)


@dataclass(frozen=True)
class FittedObjectBaseline:
    """A heuristic with the scanpaths that it was fitted on.

    Parameters
    ----------
    kind : str
        One of `OBJECT_BASELINES`.
    training : TrainingScanpaths
        What it learnt from.
    """

    kind: str
    training: TrainingScanpaths

    def sample(
        self, display: ObjectDisplay, n_samples: int, seed: int = 0
    ) -> list[IntArray]:
        """Make scanpaths on a display.

        Parameters
        ----------
        display : ObjectDisplay
            A display of the grid of the training data.
        n_samples : int
            How many, >= 1.
        seed : int
            Each sample of each display draws from its own stream.

        Returns
        -------
        list of ndarray of int64, shape (n_fixations,)
            Objects, at least one each.

        Raises
        ------
        ValueError
            If `n_samples` is below 1, the display has another grid, or all training
            scanpaths are on it and one of another display is needed.
        """
        check_between("n_samples", n_samples, low=1)
        check_one_grid(self.training.trials[:1], display)
        make = _HEURISTICS[self.kind].draw
        keys = "object baseline", self.kind, display.stimulus_id
        streams = (generator(seed, *keys, i) for i in range(n_samples))
        return [make(self.training, display, draw) for draw in streams]


@dataclass(frozen=True)
class ObjectBaseline:
    """A heuristic before it has seen data.

    Parameters
    ----------
    kind : str
        One of `OBJECT_BASELINES`.
    label : str, optional
        Name in tables; `kind` by default.

    Raises
    ------
    ValueError
        If the kind is unknown.

    Examples
    --------
    >>> from neurovis.core.object_displays import regular_display
    >>> from neurovis.core.object_scanpaths import ObjectTrial
    >>> display = regular_display("a", rows=2, cols=3, size_px=(30, 20), target_cell=3)
    >>> fitted = ObjectBaseline("snake_order_oracle_stop").fit(
    ...     [ObjectTrial(display, "ann", [1, 3])]
    ... )
    >>> fitted.sample(display, 1)
    [array([0, 1, 2, 5, 4, 3])]
    """

    kind: str
    label: str | None = None

    def __post_init__(self) -> None:
        check_option("models", self.kind, OBJECT_BASELINES)

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.label or self.kind

    @property
    def notes(self) -> tuple[str, ...]:
        """What it does and knows."""
        return (f"{self.name}: {_HEURISTICS[self.kind].note}.",)

    @property
    def knows(self) -> str:
        """What it is told of the target: "none", "recognition" or "position"."""
        return _HEURISTICS[self.kind].knows

    @property
    def stochastic(self) -> bool:
        """Whether samples differ."""
        return _HEURISTICS[self.kind].stochastic

    @property
    def identity(self) -> dict[str, Any]:
        """All that its responses depend on besides training data, display and seed."""
        return {"object baseline": self.kind}

    def fit(
        self,
        training: Sequence[ObjectTrial],
        validation: Sequence[ObjectTrial] = (),
        *,
        seed: int = 0,
    ) -> FittedObjectBaseline:
        """Keep scanpaths of people.

        Parameters
        ----------
        training, validation : sequence of ObjectTrial
            Scanpaths to learn from, of one grid; there is nothing to validate, so
            that both are used.
        seed : int
            Not used: nothing is drawn.

        Returns
        -------
        FittedObjectBaseline
            The heuristic, ready to sample.

        Raises
        ------
        ValueError
            If there is no trial, or the grids differ.
        """
        return FittedObjectBaseline(
            self.kind, TrainingScanpaths.of([*training, *validation])
        )
