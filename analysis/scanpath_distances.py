"""Distances between the fixations of two scanpaths, in pixels.

Some keep the order of the fixations (`dtw`, `frechet`, `tde`, `stde`), others only
their places (`hausdorff`, `eyenalysis`, `mannan_distance`, `mannan_index`). All take
``(pred, human)`` and work through many pairs at once.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.alignment import dtw_totals, frechet_distances
from analysis.scanpath_pairs import PairBlock, measure_pairs, per_pair
from analysis.scanpath_sets import Pairs, ScanpathSet, check_pairs, pack_scanpaths
from neurovis.core.checks import check_between
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]


def dtw(pred: Any, human: Any, *, pairs: Pairs = None) -> FloatArray:
    """Compute dynamic time warping distances: the cheapest alignment, summed.

    Steps along pred, along human or along both; the sum of the distances of all
    aligned points. Symmetric; grows with the number of fixations.

    Parameters
    ----------
    pred, human : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); by default every pred with every human.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        Pixels, 0 or more; NaN where a scanpath is empty or has an undefined
        coordinate.

    Raises
    ------
    ValueError
        If `pairs` does not index the two sets.

    References
    ----------
    Sakoe and Chiba (1978). IEEE Trans. Acoust. Speech Signal Process. 26, 43-49.
    doi:10.1109/TASSP.1978.1163055

    Examples
    --------
    >>> dtw([[(0, 0), (10, 0)]], [[(0, 3), (10, 0), (10, 4)]])
    array([[7.]])
    """
    return _aligned(pred, human, pairs, dtw_totals)


def frechet(pred: Any, human: Any, *, pairs: Pairs = None) -> FloatArray:
    """Compute discrete Fréchet distances: the shortest leash for both paths.

    Steps along pred, along human or along both; the largest distance of aligned
    points, as small as can be. Symmetric; one stray fixation decides it.

    Parameters
    ----------
    pred, human : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); by default every pred with every human.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        Pixels, 0 or more; NaN where a scanpath is empty or has an undefined
        coordinate.

    Raises
    ------
    ValueError
        If `pairs` does not index the two sets.

    References
    ----------
    Eiter and Mannila (1994). Computing discrete Fréchet distance. Technical report
    CD-TR 94/64, TU Wien.

    Examples
    --------
    >>> frechet([[(0, 0), (10, 0)]], [[(0, 3), (10, 0), (10, 4)]])
    array([[4.]])
    """
    return _aligned(pred, human, pairs, frechet_distances)


def _aligned(
    pred: Any,
    human: Any,
    pairs: Pairs,
    measure: Callable[[ScanpathSet, ScanpathSet, NDArray[np.int64]], FloatArray],
) -> FloatArray:
    """Apply a measure of `analysis.alignment`."""
    one, two = pack_scanpaths(pred), pack_scanpaths(human)
    result = measure(one, two, check_pairs(pairs, len(one), len(two)))
    return result.reshape(len(one), len(two)) if pairs is None else result


def hausdorff(pred: Any, human: Any, *, pairs: Pairs = None) -> FloatArray:
    """Compute Hausdorff distances: the point that is farthest from the other path.

    ``max(max_i min_j d(p_i, h_j), max_j min_i d(p_i, h_j))``; symmetric, blind to
    order.

    Parameters
    ----------
    pred, human : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); by default every pred with every human.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        Pixels, 0 or more; NaN where a scanpath is empty or has an undefined
        coordinate.

    Raises
    ------
    ValueError
        If `pairs` does not index the two sets.

    Examples
    --------
    >>> hausdorff([[(0, 0), (3, 4)]], [[(0, 0)], [(3, 0), (3, 4)]])
    array([[5., 3.]])
    """

    def measure(block: PairBlock) -> FloatArray:
        of_pred, of_human = block.nearest_squared()
        return np.sqrt(np.maximum(of_pred.max(axis=1), of_human.max(axis=1)))

    return measure_pairs(pred, human, pairs, measure)


def eyenalysis(pred: Any, human: Any, *, pairs: Pairs = None) -> FloatArray:
    """Compute Eyenalysis distances: how far nearest points are, averaged.

    ``(sum_i min_j d(p_i, h_j) + sum_j min_i d(p_i, h_j)) / max(n, m)``; symmetric,
    blind to order.

    Parameters
    ----------
    pred, human : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); by default every pred with every human.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        Pixels, 0 or more; NaN where a scanpath is empty or has an undefined
        coordinate.

    Raises
    ------
    ValueError
        If `pairs` does not index the two sets.

    References
    ----------
    Mathôt, Cristino, Gilchrist and Theeuwes (2012). J. Eye Mov. Res. 5(1).
    doi:10.16910/jemr.5.1.4

    Examples
    --------
    >>> eyenalysis([[(0, 0), (3, 4)]], [[(0, 0)]])
    array([[2.5]])
    """

    def measure(block: PairBlock) -> FloatArray:
        of_pred, of_human = (_total(np.sqrt(s)) for s in block.nearest_squared())
        return (of_pred + of_human) / np.maximum(block.n_pred, block.n_human)

    return measure_pairs(pred, human, pairs, measure)


def mannan_distance(
    pred: Any,
    human: Any,
    *,
    screen_px: ArrayLike,
    pairs: Pairs = None,
) -> FloatArray:
    """Compute the squared distance of Mannan, relative to the diagonal of the screen.

    ``D² = (n sum_j d_j² + m sum_i d_i²) / (2 n m (w² + h²))`` with d_i the distance of
    point i of pred (n points) to the nearest of human (m points), d_j the reverse;
    symmetric, blind to order.

    Parameters
    ----------
    pred, human : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    screen_px : array-like of float, shape (2,) or (..., 2)
        Width and height of the screen, > 0, one for all or broadcast to the pairs.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); by default every pred with every human.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        D² without unit, 0 for equal places; NaN where a scanpath is empty or has an
        undefined coordinate.

    Raises
    ------
    ValueError
        If a size is not above 0, or `pairs` does not index the two sets.

    References
    ----------
    Mannan, Ruddock and Wooding (1995). Spatial Vision 9, 363-386.
    doi:10.1163/156856895X00052

    Examples
    --------
    >>> mannan_distance([[(0, 0)]], [[(30, 40)]], screen_px=(300, 400))
    array([[0.01]])
    """
    pred, human = pack_scanpaths(pred), pack_scanpaths(human)
    screen = per_pair("screen_px", screen_px, pred, human, pairs, values=2)
    squared_diagonal = (screen**2).sum(axis=1)

    def measure(block: PairBlock) -> FloatArray:
        of_pred, of_human = block.nearest_squared()
        total = _total(of_pred) / block.n_pred + _total(of_human) / block.n_human
        return total / (2 * squared_diagonal[block.place])

    return measure_pairs(pred, human, pairs, measure)


def mannan_index(
    pred: Any,
    human: Any,
    *,
    screen_px: ArrayLike,
    pairs: Pairs = None,
    n_random: int = 200,
    seed: int = 0,
) -> FloatArray:
    """Compute the similarity index of Mannan: 100 for equal places, 0 for chance.

    ``I = 100 (1 - D / D_r)`` with D the root of `mannan_distance` and D_r its mean
    over pairs of random sets of the same sizes, uniform on the screen.

    Parameters
    ----------
    pred, human : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    screen_px : array-like of float, shape (2,) or (..., 2)
        Width and height of the screen, > 0, one for all or broadcast to the pairs.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); by default every pred with every human.
    n_random : int, default 200
        Pairs of random sets, >= 1, for each two lengths that occur.
    seed : int, default 0
        Seed of the random sets; they depend on it and on the two lengths alone.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        At most 100, below 0 for less alike than chance; NaN where a scanpath is empty
        or has an undefined coordinate.

    Raises
    ------
    ValueError
        If a size or `n_random` is out of range, or `pairs` does not index the sets.

    Notes
    -----
    Descriptions differ in whether D or D² is averaged over the random sets; with the
    mean of D the index of random sets is 0 on average.

    References
    ----------
    Mannan, Ruddock and Wooding (1995). Spatial Vision 9, 363-386.
    doi:10.1163/156856895X00052

    Examples
    --------
    >>> paths = [[(20, 30), (70, 10)]]
    >>> mannan_index(paths, paths, screen_px=(100, 80))
    array([[100.]])
    """
    check_between("n_random", n_random, low=1)
    pred, human = pack_scanpaths(pred), pack_scanpaths(human)
    screen = per_pair("screen_px", screen_px, pred, human, pairs, values=2)
    distance = np.sqrt(mannan_distance(pred, human, screen_px=screen_px, pairs=pairs))
    index = check_pairs(pairs, len(pred), len(human))
    lengths = np.column_stack(
        [pred.n_fixations[index[:, 0]], human.n_fixations[index[:, 1]]]
    )
    lengths.sort(axis=1)  # the measure is symmetric: (3, 5) and (5, 3) are one case
    cases, of_pair = np.unique(
        np.column_stack([lengths, screen]), axis=0, return_inverse=True
    )
    chance = np.full(len(cases), np.nan)
    for i, (short, long, *size) in enumerate(cases):
        if short > 0:
            chance[i] = _chance_distance(
                int(short), int(long), np.array(size), int(n_random), seed
            )
    return 100 * (1 - distance / chance[of_pair.reshape(distance.shape)])


def _chance_distance(
    short: int, long: int, screen: FloatArray, n_random: int, seed: int
) -> float:
    """Return the mean D of random sets of two lengths."""
    rng = generator(seed, "mannan", short, long)
    one, two = (rng.random((n_random, n, 2)) * screen for n in (short, long))
    same = np.repeat(np.arange(n_random)[:, None], 2, axis=1)
    squared = mannan_distance(list(one), list(two), screen_px=screen, pairs=same)
    return float(np.sqrt(squared).mean())


def tde(pred: Any, human: Any, *, k: int, pairs: Pairs = None) -> FloatArray:
    """Compute time-delay embedding distances: how far stretches of k fixations are.

    For every k successive fixations of pred, the nearest k successive fixations of
    human (mean distance of the k points); averaged over the stretches of pred. Not
    symmetric: what only human did costs nothing.

    Parameters
    ----------
    pred, human : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    k : int
        Fixations of a stretch, >= 1.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); by default every pred with every human.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        Pixels, 0 or more; NaN where a scanpath has fewer than k fixations or an
        undefined coordinate.

    Raises
    ------
    ValueError
        If `k` is below 1, or `pairs` does not index the two sets.

    References
    ----------
    Wang, Chen, Wang, Jiang, Fang and Yao (2011). Simulating human saccadic
    scanpaths on natural images. CVPR. doi:10.1109/CVPR.2011.5995423

    Examples
    --------
    >>> long, short = [[(0, 0), (10, 0), (10, 5)]], [[(0, 0), (10, 0)]]
    >>> tde(short, long, k=1), tde(long, short, k=1).round(2)
    (array([[0.]]), array([[1.67]]))
    """
    size = int(check_between("k", k, low=1))

    def measure(block: PairBlock) -> FloatArray:
        for n_points, sums in _stretch_sums(block, size):
            if n_points == size:
                return _mean_nearest_stretch(block, n_points, sums)
        return np.full(len(block.place), np.nan)

    return measure_pairs(pred, human, pairs, measure)


def stde(
    pred: Any,
    human: Any,
    *,
    screen_px: ArrayLike,
    pairs: Pairs = None,
) -> FloatArray:
    """Compute scaled time-delay embedding similarities, 0..1.

    ``mean over k = 1..min(n, m) of exp(-TDE_k / max(width, height))``. Not symmetric,
    and high for short scanpaths: two fixations, start and target, beat people.

    Parameters
    ----------
    pred, human : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    screen_px : array-like of float, shape (2,) or (..., 2)
        Width and height of the screen, > 0, one for all or broadcast to the pairs.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); by default every pred with every human.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        1 when every stretch of pred is one of human; NaN where a scanpath is empty or
        has an undefined coordinate.

    Raises
    ------
    ValueError
        If a size is not above 0, or `pairs` does not index the two sets.

    References
    ----------
    Zanca, Serchi, Piu, Rosini and Rufa (2018). FixaTons: a collection of human
    fixations datasets and metrics for scanpath similarity. arXiv:1802.02534

    Examples
    --------
    >>> stde([[(0, 0), (10, 0)]], [[(0, 0), (10, 0)]], screen_px=(20, 10))
    array([[1.]])
    """
    pred, human = pack_scanpaths(pred), pack_scanpaths(human)
    screen = per_pair("screen_px", screen_px, pred, human, pairs, values=2)
    side = screen.max(axis=1)

    def measure(block: PairBlock) -> FloatArray:
        longest = np.minimum(block.n_pred, block.n_human)
        total = np.zeros(len(block.place))
        for k, sums in _stretch_sums(block, int(longest.max())):
            distance = _mean_nearest_stretch(block, k, sums)
            alike = np.exp(-distance / side[block.place])
            total += np.where(k <= longest, alike, 0.0)
        return total / longest

    return measure_pairs(pred, human, pairs, measure)


def _stretch_sums(block: PairBlock, largest: int) -> Iterator[tuple[int, FloatArray]]:
    """Yield k and the summed distances of any two stretches of k points.

    The sums have shape (n_block, longest_pred - k + 1, longest_human - k + 1) and are
    infinite for stretches beyond an end.
    """
    distance = np.sqrt(block.squared_distances())
    sums = distance
    for k in range(1, min(largest, *distance.shape[1:]) + 1):
        if k > 1:
            sums = sums[:, :-1, :-1] + distance[:, k - 1 :, k - 1 :]
        yield k, sums


def _mean_nearest_stretch(block: PairBlock, k: int, sums: FloatArray) -> FloatArray:
    """Average over the stretches of pred; NaN where a side is shorter than k."""
    n_stretches = block.n_pred - k + 1
    inside = np.arange(sums.shape[1]) < n_stretches[:, None]
    total = _total(np.where(inside, sums.min(axis=2), 0.0))
    enough = np.minimum(block.n_pred, block.n_human) >= k
    return np.where(enough, total, np.nan) / (k * np.maximum(n_stretches, 1))


def _total(values: FloatArray) -> FloatArray:
    """Sum rows in order, so that zeros at their end do not even change the rounding."""
    return np.cumsum(values, axis=1)[:, -1]
