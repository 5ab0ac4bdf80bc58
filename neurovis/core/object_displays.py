"""Displays of objects: a grid, or objects at any place.

Objects are numbered from 0, in a grid row by row from the top left. One of them is
searched for. What objects look like is optional: pictures, or features of them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_between
from neurovis.core.files import sha256_bytes, sha256_json

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Appearance = NDArray[np.uint8] | NDArray[np.float32]


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
    appearance : ndarray, optional
        Pictures of the objects, uint8, shape (n_cells, h, w, 3), or features of
        them, float32, shape (n_cells, n_features), finite.

    Raises
    ------
    ValueError
        If the centres do not grow, the target is no object of the grid, or the
        appearance is not that of its objects.

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
    appearance: Appearance | None = None

    def __post_init__(self) -> None:
        for name in ("col_centres_px", "row_centres_px"):
            centres = np.asarray(getattr(self, name), np.float64)
            check_array(name, centres, shape=(None,), finite=True)
            if not len(centres) or (np.diff(centres) <= 0).any():
                raise ValueError(f"`{name}` must grow; got {centres.tolist()}.")
            object.__setattr__(self, name, centres)
        _check_display(self)

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
    def boxes_px(self) -> FloatArray:
        """Left, top, right, bottom of the cell of every object, shape (n_cells, 4)."""
        x = _borders(self.col_centres_px, self.width_px)
        y = _borders(self.row_centres_px, self.height_px)
        left, top = np.meshgrid(x[:-1], y[:-1])
        right, bottom = np.meshgrid(x[1:], y[1:])
        return np.column_stack([a.ravel() for a in (left, top, right, bottom)])

    @cached_property
    def coordinates(self) -> FloatArray:
        """Row and column of every object, whole numbers, shape (n_cells, 2)."""
        row, col = np.divmod(np.arange(self.n_cells), self.cols)
        return np.column_stack([row, col]).astype(np.float64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that is known of the display."""
        return _fingerprint(self, self.col_centres_px, self.row_centres_px)

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


@dataclass(frozen=True)
class FreeDisplay:
    """Objects at any place, given by their boxes; one of them is searched for.

    Parameters
    ----------
    stimulus_id : str
        Identity of the display.
    boxes_px : array-like of float, shape (n_cells, 4)
        Left, top, right and bottom of every object, px; right > left, bottom > top.
    width_px, height_px : float
        Size of the display, px, > 0.
    target_cell : int
        Object that is searched for, 0..n_cells - 1.
    appearance : ndarray, optional
        As in `ObjectDisplay`.

    Raises
    ------
    ValueError
        If a box is empty, its centre lies outside the display, the target is no
        object, or the appearance is not that of the objects.

    Examples
    --------
    >>> boxes = [[0, 0, 10, 10], [30, 5, 40, 15]]
    >>> FreeDisplay("a", boxes, 50, 20, target_cell=1).cells_at([12, 26], [9, 9])
    array([0, 1])
    """

    stimulus_id: str
    boxes_px: FloatArray
    width_px: float
    height_px: float
    target_cell: int
    appearance: Appearance | None = None

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes_px, np.float64)
        check_array("boxes_px", boxes, shape=(None, 4), finite=True)
        object.__setattr__(self, "boxes_px", boxes)
        if not len(boxes) or (boxes[:, 2:] <= boxes[:, :2]).any():
            raise ValueError(
                "`boxes_px` must hold left, top, right, bottom of at least one object, "
                "with right > left and bottom > top."
            )
        _check_display(self)
        inside = (self.centres_px >= 0) & (
            self.centres_px <= [self.width_px, self.height_px]
        )
        if not inside.all():
            lost = int(np.flatnonzero(~inside.all(axis=1))[0])
            raise ValueError(
                f"Object {lost} of {self.stimulus_id!r} lies outside the display of "
                f"{self.width_px:g} x {self.height_px:g} px: its box is "
                f"{boxes[lost].tolist()}."
            )

    @property
    def n_cells(self) -> int:
        """Number of objects."""
        return len(self.boxes_px)

    @cached_property
    def centres_px(self) -> FloatArray:
        """Centre of every object, x and y, shape (n_cells, 2)."""
        return (self.boxes_px[:, :2] + self.boxes_px[:, 2:]) / 2

    @property
    def pitch_px(self) -> float:
        """Side of the square that each object has for itself on average, px."""
        return float(np.sqrt(self.width_px * self.height_px / self.n_cells))

    @cached_property
    def coordinates(self) -> FloatArray:
        """Place of every object, down and right, in units of `pitch_px`, (n_cells, 2).

        An object in the middle of the first square has 0, 0, as in a grid.
        """
        return np.maximum(self.centres_px[:, ::-1] / self.pitch_px - 0.5, 0.0)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that is known of the display."""
        return _fingerprint(self, self.boxes_px)

    def cells_at(self, x_px: ArrayLike, y_px: ArrayLike) -> IntArray:
        """Return the object under each position, or the nearest one.

        Parameters
        ----------
        x_px, y_px : array-like of float, shape (n,)
            Positions, px, not NaN.

        Returns
        -------
        ndarray of int64, shape (n,)
            Objects. Where boxes overlap, or are equally near, the one whose centre
            is nearer.
        """
        at = np.stack([np.asarray(x_px, float), np.asarray(y_px, float)], axis=1)
        outside = np.maximum(
            self.boxes_px[:, :2] - at[:, None], at[:, None] - self.boxes_px[:, 2:]
        )
        gap = np.hypot(*np.maximum(outside, 0.0).transpose(2, 0, 1))
        centre = np.hypot(*(at[:, None] - self.centres_px).transpose(2, 0, 1))
        order = np.lexsort([centre, gap], axis=1)
        return np.asarray(order[:, 0], np.int64)


Display = ObjectDisplay | FreeDisplay


def _nearest(at: ArrayLike, centres: FloatArray) -> IntArray:
    distance = np.abs(np.asarray(at, np.float64)[:, None] - centres)
    return np.asarray(distance.argmin(axis=1), np.int64)


def _borders(centres: FloatArray, size: float) -> FloatArray:
    """Halfway between neighbours; cells at the edge are symmetric."""
    if len(centres) == 1:
        return np.array([0.0, size])
    between = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - between[0], 2 * centres[-1] - between[-1]
    return np.concatenate([[first], between, [last]])


def _check_display(display: Any) -> None:
    check_between("width_px", display.width_px, low=1e-6)
    check_between("height_px", display.height_px, low=1e-6)
    n = display.n_cells
    check_between("target_cell", display.target_cell, low=0, high=n - 1)
    looks = display.appearance
    if looks is None:
        return
    array = np.asarray(looks)
    pictures = array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] == 3
    features = array.dtype == np.float32 and array.ndim == 2
    if len(array) != n or 0 in array.shape or not (pictures or features):
        raise ValueError(
            f"`appearance` must be uint8 ({n}, h, w, 3) or float32 ({n}, n_features) "
            f"for {n} objects; got {array.dtype} {array.shape}."
        )
    if features and not np.isfinite(array).all():
        raise ValueError("`appearance` holds NaN or infinite features.")


def _fingerprint(display: Any, *layout: FloatArray) -> str:
    looks = display.appearance
    parts: list[Any] = [display.stimulus_id, *layout]
    parts += [display.width_px, display.height_px, display.target_cell]
    if looks is not None:
        data = np.ascontiguousarray(looks)
        parts += [str(data.dtype), data.shape, sha256_bytes(data.tobytes())]
    return sha256_json(parts)


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
