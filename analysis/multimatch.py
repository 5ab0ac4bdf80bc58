"""MultiMatch: five similarities of two scanpaths after aligning their saccades.

Saccades of one scanpath are laid against those of the other along the cheapest path
through the matrix of vector differences; each similarity is a median along that path.

References
----------
Jarodzka, Holmqvist & Nyström (2010), A vector-based, multidimensional scanpath
similarity measure, doi:10.1145/1743666.1743718. Dewhurst et al. (2012), It depends on
how you look at it, doi:10.3758/s13428-012-0212-2. Wagner, Halchenko & Hanke (2019),
multimatch-gaze, doi:10.21105/joss.01525.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.alignment import cheapest_paths
from analysis.scanpath_sets import Pairs, ScanpathSet, check_pairs, pack_scanpaths
from analysis.scanpath_symbols import check_screen, scanpaths_on_screens
from neurovis.core.checks import check_between, check_option

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MULTIMATCH_DIMENSIONS = ("vector", "direction", "length", "position", "duration")
_FEWEST = 3


@dataclass(frozen=True)
class Simplification:
    """When neighbouring saccades are merged before scanpaths are compared.

    Parameters
    ----------
    direction_deg : float, default 45
        Saccades that turn by less are merged, 0..180.
    duration_ms : float, default 300
        Merge only at fixations shorter than this, >= 0.
    amplitude : float, default 0.1
        Saccades shorter than this part of the screen's diagonal are merged, >= 0.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """

    direction_deg: float = 45.0
    duration_ms: float = 300.0
    amplitude: float = 0.1

    def __post_init__(self) -> None:
        check_between("direction_deg", self.direction_deg, low=0, high=180)
        check_between("duration_ms", self.duration_ms, low=0)
        check_between("amplitude", self.amplitude, low=0)


def multimatch(
    pred: Any,
    human: Any,
    *,
    screen_px: ArrayLike,
    pairs: Pairs = None,
    simplify: Simplification | None = None,
    pad: str | None = None,
) -> FloatArray:
    """Compute the five MultiMatch similarities of pairs of scanpaths.

    1 is equality; nothing is clipped: points off the screen can give negative values.

    Parameters
    ----------
    pred, human : ScanpathSet, or what `pack_scanpaths` takes
        Scanpaths in pixels, of three fixations or more.
    screen_px : array-like of float, shape (2,) or (..., 2)
        Width and height of the screen, one for all or broadcast to the pairs; its
        diagonal is the unit of the similarities and of `simplify`.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); default every pred with every human.
    simplify : Simplification, optional
        Merge saccades first; default not. Needs durations.
    pad : {"cvlab"}, optional
        Fill scanpaths of one or two fixations up to three with the point (1, 1) for
        1000 ms, as a published scanpath-prediction evaluation does. Default not:
        they are undefined.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human, 5) or (n_pairs, 5)
        Vector, direction, length, position and duration (`MULTIMATCH_DIMENSIONS`). NaN
        for fewer than three fixations or an undefined point; duration alone is NaN
        where durations are unknown.

    Raises
    ------
    ValueError
        If `screen_px` or `pairs` do not fit, or `pad` is unknown.

    Notes
    -----
    Vector is ``1 - |u - v| / (2 diagonal)``, direction ``1 - angle / 180°``, length
    ``1 - ||u| - |v|| / diagonal``, position the same of the distance between the starts
    of the saccades, duration ``1 - |d - e| / max(d, e)`` of the fixations before them.
    Of equally cheap alignments the steps along both are taken first, then those along
    `pred`, then those along `human`: scanpaths with repeated points can differ from
    other implementations in direction and duration.

    Examples
    --------
    >>> a = [(100, 100, 200), (300, 100, 250), (300, 300, 200)]
    >>> b = [(100, 100, 200), (300, 100, 250), (300, 200, 200)]
    >>> multimatch([a], [b], screen_px=(800, 600))[0, 0]
    array([0.975, 1.   , 0.95 , 1.   , 1.   ])
    """
    check_option("pad", pad, (None, "cvlab"))
    pred, human = pack_scanpaths(pred), pack_scanpaths(human)
    index = check_pairs(pairs, len(pred), len(human))
    shape = (len(pred), len(human)) if pairs is None else (len(index),)
    screen = check_screen(screen_px, shape)
    sides = []
    for paths, at in zip((pred, human), index.T, strict=True):
        paths = _pad_short(paths) if pad == "cvlab" else paths
        usable = (paths.defined & (paths.n_fixations >= _FEWEST))[at]
        if simplify is not None:
            paths, screens, at = scanpaths_on_screens(paths, at, screen)
            diagonal = np.hypot(screens[..., 0], screens[..., 1])
            paths = simplify_scanpaths(paths, simplify, diagonal)
            usable &= paths.defined[at]
        sides.append((_Saccades.of(paths), at, usable))
    (a, at_a, usable_a), (b, at_b, usable_b) = sides
    rows = np.flatnonzero(usable_a & usable_b)
    values = np.full((len(index), 5), np.nan)
    values[rows] = _median_differences(a, b, np.column_stack([at_a, at_b])[rows])
    diagonal = np.hypot(screen[..., 0], screen[..., 1])
    units = np.broadcast_arrays(2 * diagonal, np.pi, diagonal, diagonal, 1.0)
    values /= np.stack(units, axis=-1)
    return np.subtract(1, values, out=values).reshape(*shape, 5)


def _pad_short(paths: ScanpathSet) -> ScanpathSet:
    """Fill scanpaths of one or two fixations up to three."""
    short = (paths.n_fixations > 0) & (paths.n_fixations < _FEWEST)
    wider = max(_FEWEST - paths.x_px.shape[1], 0)
    width = paths.x_px.shape[1] + wider
    filler = short[:, None] & (np.arange(width) >= paths.n_fixations[:, None])
    x, y, duration = (
        np.where(filler, value, np.pad(v, ((0, 0), (0, wider)), constant_values=np.nan))
        for v, value in ((paths.x_px, 1), (paths.y_px, 1), (paths.duration_ms, 1000))
    )
    lengths = np.where(short, _FEWEST, paths.n_fixations)
    return ScanpathSet(x, y, duration, lengths)


@dataclass(frozen=True)
class _Saccades:
    """Saccades of a set of scanpaths, each layer one value per saccade."""

    x: FloatArray  # start, (n_scanpaths, longest)
    y: FloatArray
    dx: FloatArray
    dy: FloatArray
    length: FloatArray
    direction: FloatArray  # rad, 0..2 pi
    duration: FloatArray  # of the fixation before it
    n: IntArray

    @classmethod
    def of(cls, paths: ScanpathSet) -> "_Saccades":
        dx, dy = np.diff(paths.x_px, axis=1), np.diff(paths.y_px, axis=1)
        direction = np.arctan2(dy, dx)
        direction[direction < 0] += 2 * np.pi
        return cls(
            np.ascontiguousarray(paths.x_px[:, :-1]),
            np.ascontiguousarray(paths.y_px[:, :-1]),
            dx,
            dy,
            np.sqrt(dx * dx + dy * dy),
            direction,
            np.ascontiguousarray(paths.duration_ms[:, :-1]),
            np.maximum(paths.n_fixations - 1, 0),
        )


def _median_differences(a: _Saccades, b: _Saccades, pairs: IntArray) -> FloatArray:
    """Compute the medians of the five differences along the alignment of each pair."""
    medians = np.empty((5, len(pairs)))
    u, v = np.stack([a.dx, a.dy]), np.stack([b.dx, b.dy])
    for block, i, j, n_steps in cheapest_paths(u, v, a.n, b.n, pairs):
        i += pairs[block, :1] * a.x.shape[1]
        j += pairs[block, 1:] * b.x.shape[1]
        steps = np.empty((5, *i.shape))
        _fill_differences(steps, a, b, i, j)
        beyond = np.arange(i.shape[1]) >= n_steps[:, None]
        np.copyto(steps, np.inf, where=beyond)
        steps.sort(axis=-1)
        medians[:, block] = _middle(steps, n_steps)
    return medians.T


def _fill_differences(
    steps: FloatArray, a: _Saccades, b: _Saccades, i: IntArray, j: IntArray
) -> None:
    """Write the five differences of saccades, given by their places in flat layers."""

    def difference(u: FloatArray, v: FloatArray) -> FloatArray:
        values = u.take(i)
        values -= v.take(j)
        return values

    def distance(x: FloatArray, y: FloatArray, out: FloatArray) -> None:
        np.multiply(x, x, out=x)
        np.multiply(y, y, out=y)
        np.sqrt(np.add(x, y, out=out), out=out)

    vector, direction, length, position, duration = steps
    distance(difference(a.dx, b.dx), difference(a.dy, b.dy), vector)
    distance(difference(a.x, b.x), difference(a.y, b.y), position)
    np.abs(difference(a.length, b.length), out=length)
    turn = np.abs(difference(a.direction, b.direction))
    np.minimum(turn, 2 * np.pi - turn, out=direction)
    d, e = a.duration.take(i), b.duration.take(j)
    np.abs(np.subtract(d, e, out=duration), out=duration)
    with np.errstate(invalid="ignore"):  # two fixations of no duration
        np.divide(duration, np.maximum(d, e, out=d), out=duration)


def _middle(steps: FloatArray, n_steps: IntArray) -> FloatArray:
    """Return medians of the first values of sorted rows; NaN where a row has one."""
    flat, first = steps.reshape(5, -1), np.arange(steps.shape[1]) * steps.shape[2]
    middle = flat.take(first + (n_steps - 1) // 2, axis=1)
    middle += flat.take(first + n_steps // 2, axis=1)
    middle /= 2
    middle[np.isnan(steps[..., -1])] = np.nan  # NaN is sorted to the end
    return middle


def simplify_scanpaths(
    paths: Any, rule: Simplification, diagonal_px: ArrayLike
) -> ScanpathSet:
    """Merge saccades that hardly turn, and saccades that are short.

    Passes over directions and over amplitudes alternate until the number of durations
    stays the same, by the rules of multimatch-gaze 0.1.3.

    Parameters
    ----------
    paths : ScanpathSet, or what `pack_scanpaths` takes
        Scanpaths in pixels with durations.
    rule : Simplification
        What is merged.
    diagonal_px : array-like of float, shape () or (n_scanpaths,)
        Diagonal of the screen in pixels, > 0.

    Returns
    -------
    ScanpathSet
        Scanpaths with fewer fixations. All values of a scanpath are NaN where the
        rules fail: where a point or a duration is unknown, and where the last saccade
        that is left is itself to be merged.

    Raises
    ------
    ValueError
        If `diagonal_px` has another shape.

    Notes
    -----
    Published peculiarities are kept. When the last saccade is short, the vector before
    it becomes the sum of the last two as they were before the pass, even if it was
    merged already; the last point then moves. Two saccades of which one has no length
    have no angle, and are not merged for it.

    Examples
    --------
    >>> path = [(0, 0, 200), (100, 0, 200), (200, 10, 200), (200, 300, 200)]
    >>> simplify_scanpaths([path], Simplification(), 1000).x_px
    array([[  0., 200., 200.,  nan]])
    """
    paths = pack_scanpaths(paths)
    diagonal = np.asarray(diagonal_px, np.float64)
    if diagonal.shape not in ((), (len(paths),)):
        raise ValueError(
            f"`diagonal_px` must be one number or one for each of the {len(paths)} "
            f"scanpaths; got shape {diagonal.shape}."
        )
    shortest = np.broadcast_to(rule.amplitude * diagonal, len(paths))
    layers = np.stack([paths.x_px, paths.y_px, paths.duration_ms])
    known = paths.defined & paths.timed
    n_fixations = paths.n_fixations.copy()
    for k, n in enumerate(n_fixations):
        merged = None
        if known[k]:
            merged = _simplify(layers[:, k, :n], rule, float(shortest[k]))
        layers[:, k] = np.nan
        if merged is not None:
            n_fixations[k] = merged.shape[1]
            layers[:, k, : n_fixations[k]] = merged
    return ScanpathSet(layers[0], layers[1], layers[2], n_fixations)


@dataclass(frozen=True)
class _Path:
    """A scanpath as saccades. One duration more than saccades, sometimes two."""

    starts: list[tuple[float, float]]
    vectors: list[tuple[float, float]]
    durations: list[float]

    def merged(self, i: int) -> tuple[float, float]:
        """Return the sum of a saccade and the next."""
        (x, y), (dx, dy) = self.vectors[i], self.vectors[i + 1]
        return x + dx, y + dy


def _simplify(
    points: FloatArray, rule: Simplification, shortest_px: float
) -> FloatArray | None:
    """Simplify one scanpath, rows x, y and duration; None where the rules fail."""
    x, y, durations = points.tolist()
    vectors = np.diff(points[:2]).T.tolist()
    path: _Path | None = _Path(
        list(zip(x, y, strict=True))[:-1], [(u, v) for u, v in vectors], durations
    )
    before = -1
    while path is not None and path.vectors and len(path.durations) != before:
        before = len(path.durations)
        path = _merge_short(_merge_straight(path, rule), rule, shortest_px)
    if path is None:
        return None
    if not path.vectors:
        return points.copy()
    (x_last, y_last), (dx, dy) = path.starts[-1], path.vectors[-1]
    starts = [*path.starts, (x_last + dx, y_last + dy)]
    times = [*path.durations[: len(path.vectors)], path.durations[-1]]
    return np.column_stack([np.array(starts), times]).T


def _turn_deg(u: tuple[float, float], v: tuple[float, float]) -> float:
    """Return the angle between two saccades; NaN when one has no length."""
    sizes = math.sqrt(u[0] * u[0] + u[1] * u[1]) * math.sqrt(v[0] * v[0] + v[1] * v[1])
    if sizes == 0:
        return math.nan
    cosine = (u[0] * v[0] + u[1] * v[1]) / sizes
    return math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))


def _merge_straight(path: _Path, rule: Simplification) -> _Path:
    """Merge each saccade with the next where the way hardly turns."""
    vectors, times, last = path.vectors, path.durations, len(path.vectors) - 1
    out = _Path([], [], [])
    i = 0
    while i <= last:
        merge = (
            i < last
            and times[i + 1] < rule.duration_ms
            and _turn_deg(vectors[i], vectors[i + 1]) < rule.direction_deg
        )
        out.starts.append(path.starts[i])
        out.vectors.append(path.merged(i) if merge else vectors[i])
        out.durations.append(times[i])
        i += 2 if merge else 1
    out.durations.append(times[-1])
    return out


def _merge_short(path: _Path, rule: Simplification, shortest_px: float) -> _Path | None:
    """Merge short saccades with the next, and a short last one with the one before."""
    vectors, times, last = path.vectors, path.durations, len(path.vectors) - 1
    out = _Path([], [], [])
    i = 0
    while i <= last:
        dx, dy = vectors[i]
        short = math.sqrt(dx * dx + dy * dy) < shortest_px
        around = (times[i], times[i + 1]) if i < last else (times[-2], times[-1])
        merge = short and min(around) < rule.duration_ms
        if merge and i == last:
            if last == 0:
                return None
            out.vectors[-1] = path.merged(last - 1)
            out.durations.append(times[last - 1])
            break
        out.starts.append(path.starts[i])
        out.vectors.append(path.merged(i) if merge else vectors[i])
        out.durations.append(times[i])
        i += 2 if merge else 1
    out.durations.append(times[-1])
    return out
