"""Scanpaths over the objects of a display: the nouns, and what models of them can do.

A display is a grid of objects, numbered row by row from the top left, 0-based. A
scanpath is the sequence of objects that were fixated. Its tokens are these numbers,
then one that ends it: the number of objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_between
from neurovis.core.files import sha256_json

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

KNOWLEDGE = ("none", "recognition", "position")
"""What a model is told of the target: nothing, whether the fixated object is it, or
where it is."""


@dataclass(frozen=True)
class ObjectDisplay:
    """A grid of objects, one of which is searched for.

    Parameters
    ----------
    stimulus_id : str
        Identity of the display.
    col_centres_px, row_centres_px : array-like of float, shape (cols,) and (rows,)
        Where the centres of the objects lie, px from the top-left corner, growing.
    width_px, height_px : float
        Size of the display, px, > 0.
    target_cell : int
        Object that is searched for, 0..rows * cols - 1.

    Raises
    ------
    ValueError
        If the centres do not grow or the target is no object of the grid.

    Examples
    --------
    >>> display = regular_display("a", rows=2, cols=3, size_px=(30, 10), target_cell=4)
    >>> display.centres_px[4].tolist()
    [15.0, 7.5]
    """

    stimulus_id: str
    col_centres_px: FloatArray
    row_centres_px: FloatArray
    width_px: float
    height_px: float
    target_cell: int

    def __post_init__(self) -> None:
        for name in ("col_centres_px", "row_centres_px"):
            centres = np.asarray(getattr(self, name), np.float64)
            check_array(name, centres, shape=(None,), finite=True)
            if not len(centres) or (np.diff(centres) <= 0).any():
                raise ValueError(f"`{name}` must grow; got {centres.tolist()}.")
            object.__setattr__(self, name, centres)
        check_between("width_px", self.width_px, low=1e-6)
        check_between("height_px", self.height_px, low=1e-6)
        check_between("target_cell", self.target_cell, low=0, high=self.n_cells - 1)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.row_centres_px)

    @property
    def cols(self) -> int:
        """Number of columns."""
        return len(self.col_centres_px)

    @property
    def n_cells(self) -> int:
        """Number of objects."""
        return self.rows * self.cols

    @cached_property
    def centres_px(self) -> FloatArray:
        """Centre of every object, x and y, shape (n_cells, 2)."""
        x, y = np.meshgrid(self.col_centres_px, self.row_centres_px)
        return np.column_stack([x.ravel(), y.ravel()])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that is known of the display."""
        return sha256_json([getattr(self, f.name) for f in fields(self)])

    def cells_at(self, x_px: ArrayLike, y_px: ArrayLike) -> IntArray:
        """Return the object that is nearest to each position.

        Parameters
        ----------
        x_px, y_px : array-like of float, shape (n,)
            Positions, px, not NaN; outside the grid counts as its edge.

        Returns
        -------
        ndarray of int64, shape (n,)
            Objects.
        """
        row = _nearest(y_px, self.row_centres_px)
        return row * self.cols + _nearest(x_px, self.col_centres_px)


def _nearest(at: ArrayLike, centres: FloatArray) -> IntArray:
    distance = np.abs(np.asarray(at, np.float64)[:, None] - centres)
    return np.asarray(distance.argmin(axis=1), np.int64)


def regular_display(
    stimulus_id: str,
    *,
    rows: int,
    cols: int,
    size_px: tuple[float, float],
    target_cell: int,
) -> ObjectDisplay:
    """Build a display that is divided into equal cells.

    Parameters
    ----------
    stimulus_id : str
        Identity of the display.
    rows, cols : int
        Grid, >= 1.
    size_px : pair of float
        Width and height, > 0.
    target_cell : int
        Object that is searched for.

    Returns
    -------
    ObjectDisplay
        Each object in the middle of its cell.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> regular_display("a", rows=1, cols=2, size_px=(4, 1), target_cell=0).cells_at(
    ...     [1.9, 2.1], [0.5, 0.5]
    ... ).tolist()
    [0, 1]
    """
    check_between("rows", rows, low=1)
    check_between("cols", cols, low=1)
    width, height = size_px
    x = (np.arange(cols) + 0.5) * width / cols
    y = (np.arange(rows) + 0.5) * height / rows
    return ObjectDisplay(stimulus_id, x, y, width, height, target_cell)


@dataclass(frozen=True)
class ObjectTrial:
    """What one observer did on one display.

    Parameters
    ----------
    display : ObjectDisplay
        What was shown.
    subject : str
        Who looked.
    cells : array-like of int, shape (n_fixations,)
        Objects fixated, in order; at least one.
    xy_px : array-like of float, shape (n_fixations, 2), optional
        Where exactly; the centres of the objects by default.

    Raises
    ------
    TypeError, ValueError
        If a number is no object of the display, or the lengths differ.
    """

    display: ObjectDisplay
    subject: str
    cells: IntArray
    xy_px: FloatArray | None = None

    def __post_init__(self) -> None:
        cells = check_cells("cells", self.cells, self.display.n_cells)
        object.__setattr__(self, "cells", cells)
        xy = self.display.centres_px[cells] if self.xy_px is None else self.xy_px
        xy = np.asarray(xy, np.float64)
        check_array("xy_px", xy, shape=(len(cells), 2), finite=True)
        object.__setattr__(self, "xy_px", xy)

    @property
    def tokens(self) -> IntArray:
        """The objects, then the number that ends the scanpath."""
        return np.append(self.cells, self.display.n_cells)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over display, observer, objects and positions."""
        return sha256_json(
            [self.display.fingerprint, self.subject, self.cells, self.xy_px]
        )


def check_cells(name: str, cells: ArrayLike, n_cells: int) -> IntArray:
    """Return a scanpath as an array if it is one.

    Parameters
    ----------
    name : str
        Argument name for the message.
    cells : array-like of int, shape (n_fixations,)
        Objects fixated, at least one.
    n_cells : int
        Number of objects of the display.

    Returns
    -------
    ndarray of int64, shape (n_fixations,)
        The same.

    Raises
    ------
    TypeError
        If it does not hold whole numbers.
    ValueError
        If it is empty, or names an object that is not there.

    Examples
    --------
    >>> check_cells("cells", [3, 3, 5], 6)
    array([3, 3, 5])
    """
    array = check_array(name, cells, shape=(None,))
    if len(array) == 0:
        raise ValueError(f"`{name}` is empty: a scanpath has at least one fixation.")
    if array.dtype.kind not in "iu":
        raise TypeError(f"`{name}` must be whole numbers; got dtype {array.dtype}.")
    if array.min() < 0 or array.max() >= n_cells:
        raise ValueError(
            f"`{name}` must name objects 0..{n_cells - 1}; got {array.min()} to "
            f"{array.max()}."
        )
    return array.astype(np.int64)


def check_one_grid(
    trials: Sequence[ObjectTrial], display: ObjectDisplay | None = None
) -> tuple[int, int]:
    """Return the rows and columns that all displays share.

    Parameters
    ----------
    trials : sequence of ObjectTrial
        Training data, at least one trial.
    display : ObjectDisplay, optional
        One more display.

    Returns
    -------
    rows, cols : int
        The grid.

    Raises
    ------
    ValueError
        If there is no trial, or the grids differ.
    """
    if not len(trials):
        raise ValueError("`training` is empty: at least one trial is needed.")
    displays = [trial.display for trial in trials]
    displays += [] if display is None else [display]
    first = displays[0]
    for other in displays:
        if (other.rows, other.cols) != (first.rows, first.cols):
            raise ValueError(
                f"Displays must share one grid; {first.stimulus_id!r} has "
                f"{first.rows} x {first.cols} objects, {other.stimulus_id!r} has "
                f"{other.rows} x {other.cols}. Fit one model per grid."
            )
    return first.rows, first.cols


@runtime_checkable
class FittedScanpathModel(Protocol):
    """A model that makes scanpaths."""

    def sample(
        self, display: ObjectDisplay, n_samples: int, seed: int = 0
    ) -> list[IntArray]:
        """Make scanpaths on a display.

        Parameters
        ----------
        display : ObjectDisplay
            A display of the grid that the model was fitted on.
        n_samples : int
            How many, >= 1.
        seed : int
            Each sample of each display draws from its own stream.

        Returns
        -------
        list of ndarray of int64, shape (n_fixations,)
            Objects, at least one each.
        """


@runtime_checkable
class TokenModel(Protocol):
    """A fitted model that gives each next token a probability."""

    def token_probabilities(
        self, display: ObjectDisplay, cells: IntArray
    ) -> FloatArray:
        """Give the distribution of each token of a scanpath after those before it.

        Parameters
        ----------
        display : ObjectDisplay
            What is looked at.
        cells : ndarray of int64, shape (n_fixations,)
            A scanpath.

        Returns
        -------
        ndarray of float64, shape (n_fixations + 1, n_cells + 1)
            Rows sum to 1; the last column is the end, which has probability 0 as the
            first token.
        """


class ObjectScanpathModel(Protocol):
    """A model of scanpaths over objects, before it has seen data."""

    @property
    def name(self) -> str:
        """Name in tables."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""

    @property
    def knows(self) -> str:
        """What it is told of the target, one of `KNOWLEDGE`."""

    @property
    def stochastic(self) -> bool:
        """Whether samples differ; otherwise one is enough."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that its responses depend on besides training data, display and seed."""

    def fit(
        self,
        training: Sequence[ObjectTrial],
        validation: Sequence[ObjectTrial] = (),
        *,
        seed: int = 0,
    ) -> Any:
        """Learn from scanpaths; their order does not matter.

        Parameters
        ----------
        training : sequence of ObjectTrial
            Scanpaths to learn from.
        validation : sequence of ObjectTrial
            Scanpaths to decide when to stop, for models that need some; others
            learn from them too.
        seed : int
            Seed of the fit.

        Returns
        -------
        object
            A new `FittedScanpathModel`, `TokenModel`, or both.
        """
