"""Scanpaths over the objects of a display: trials, and what models of them can do.

A scanpath is the sequence of objects that were fixated. Its tokens are their numbers,
then one that ends it: the number of objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from neurovis.core.checks import check_array
from neurovis.core.files import sha256_json
from neurovis.core.object_displays import (
    Display,
    FloatArray,
    IntArray,
    ObjectDisplay,
)

KNOWLEDGE = ("none", "recognition", "appearance", "position")
"""What a model is told of the target: nothing, whether the fixated object is it, what
it and all objects look like, or where it is."""


@dataclass(frozen=True)
class ObjectTrial:
    """What one observer did on one display.

    Parameters
    ----------
    display : ObjectDisplay or FreeDisplay
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

    display: Display
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
    trials: Sequence[ObjectTrial], display: Display | None = None
) -> tuple[int, int]:
    """Return the rows and columns that all displays share.

    Parameters
    ----------
    trials : sequence of ObjectTrial
        Training data, at least one trial.
    display : ObjectDisplay or FreeDisplay, optional
        One more display.

    Returns
    -------
    rows, cols : int
        The grid.

    Raises
    ------
    ValueError
        If there is no trial, a display is no grid, or the grids differ.
    """
    if not len(trials):
        raise ValueError("`training` is empty: at least one trial is needed.")
    displays = [trial.display for trial in trials]
    displays += [] if display is None else [display]
    grids: list[ObjectDisplay] = []
    for each in displays:
        if not isinstance(each, ObjectDisplay):
            raise ValueError(
                f"Displays must be grids here; {each.stimulus_id!r} has objects at "
                "any place. Heuristics and measures in cells need a grid."
            )
        grids.append(each)
    first = grids[0]
    for other in grids:
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

    def sample(self, display: Any, n_samples: int, seed: int = 0) -> list[IntArray]:
        """Make scanpaths on a display.

        Parameters
        ----------
        display : ObjectDisplay or FreeDisplay
            A display; heuristics need a grid as that they were fitted on.
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

    def token_probabilities(self, display: Any, cells: IntArray) -> FloatArray:
        """Give the distribution of each token of a scanpath after those before it.

        Parameters
        ----------
        display : ObjectDisplay or FreeDisplay
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
