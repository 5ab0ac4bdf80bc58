"""Scanpaths as strings: ScanMatch, edit distances and sequence scores.

Every measure takes sequences of symbols (`analysis.scanpath_symbols`): grid cells,
clusters of fixations, objects of a display, or labels of what was looked at. The
semantic measures of the literature are these functions on labels: SemFED is
`levenshtein`, SemSS is `sequence_score`.

References
----------
Cristino, Mathôt, Theeuwes & Gilchrist (2010), ScanMatch, doi:10.3758/BRM.42.3.692.
Yang et al. (2020), Predicting goal-directed human attention using inverse
reinforcement learning, doi:10.1109/CVPR42600.2020.00027 (sequence score). Mondal et al.
(2023), Gazeformer, doi:10.1109/CVPR52729.2023.00145 (fixation edit distance). Zhang et
al. (2018), Finding any Waldo with zero-shot invariant and efficient visual search,
doi:10.1038/s41467-018-06217-x (scores of beginnings).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.scanpath_sets import Pairs, ScanpathSet, check_pairs, pack_scanpaths
from analysis.scanpath_symbols import (
    SymbolSet,
    check_grid,
    check_screen,
    expand_by_duration,
    number_symbols,
    pack_symbols,
    scanmatch_cells,
    scanpaths_on_screens,
    string_edit_cells,
)
from analysis.symbol_alignment import (
    alignment_scores,
    common_subsequence_lengths,
    edit_distances,
    prefix_alignment_scores,
)
from neurovis.core.checks import check_between, check_option

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# The published scores of beginnings: screen, the size it is scaled to, grid, threshold.
_PREFIX_SCREEN_PX, _PREFIX_SIZE = (1280.0, 1024.0), (1024.0, 768.0)
_PREFIX_GRID, _PREFIX_THRESHOLD = (8, 12), 3.5


def scanmatch(
    pred: Any,
    human: Any,
    *,
    screen_px: ArrayLike,
    grid: tuple[int, int],
    threshold: float = 3.5,
    gap: float = 0.0,
    temporal_bin_ms: float | None = None,
    pairs: Pairs = None,
) -> FloatArray:
    """Compute ScanMatch similarities of scanpaths on a grid over the screen.

    Fixations become grid cells by `scanmatch_cells`; `cell_scanmatch` compares them.

    Parameters
    ----------
    pred, human : ScanpathSet, or what `pack_scanpaths` takes
        Scanpaths in pixels.
    screen_px : array-like of float, shape (2,) or (..., 2)
        Width and height of the screen, one for all or broadcast to the pairs.
    grid : tuple of int
        Rows and columns.
    threshold : float, default 3.5
        Distance of cells at which pairing them gains nothing, > 0. Its authors suggest
        two standard deviations of the saccade lengths, in cells.
    gap : float, default 0
        Gain of a cell left unpaired, <= 0.
    temporal_bin_ms : float, optional
        Repeat each cell as often as this time fits into its fixation, to the nearest.
        Default: durations do not matter.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); default every pred with every human.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        Similarity, 1 for equal strings. NaN where a scanpath is empty, a point is
        undefined, or, with `temporal_bin_ms`, a duration is unknown or no fixation
        lasts half a bin.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or shapes do not fit.

    Examples
    --------
    >>> a, b = [(50, 50), (350, 50)], [(50, 50), (450, 50)]
    >>> float(scanmatch([a], [b], screen_px=(800, 600), grid=(6, 8))[0, 0].round(3))
    0.857
    """
    pred, human = pack_scanpaths(pred), pack_scanpaths(human)
    a, b, index = _strings(
        (pred, human),
        pairs,
        screen_px,
        partial(scanmatch_cells, grid=check_grid(grid)),
        temporal_bin_ms,
        "nearest",
    )
    scores = cell_scanmatch(a, b, grid=grid, threshold=threshold, gap=gap, pairs=index)
    return scores.reshape((len(pred), len(human)) if pairs is None else -1)


def cell_scanmatch(
    pred_cells: Any,
    human_cells: Any,
    *,
    grid: tuple[int, int],
    threshold: float = 3.5,
    gap: float = 0.0,
    pairs: Pairs = None,
) -> FloatArray:
    """Compute ScanMatch similarities of sequences of cells, such as shelf places.

    Sequences are aligned so that the sum of ``threshold - distance`` over paired
    cells, in cells from centre to centre, is largest. The largest sum over all
    beginnings of both is divided by the `threshold` and by the greater length.

    Parameters
    ----------
    pred_cells, human_cells : SymbolSet, or what `pack_symbols` takes
        Cells ``row * n_columns + column``.
    grid : tuple of int
        Rows and columns.
    threshold : float, default 3.5
        Distance of cells at which pairing them gains nothing, > 0.
    gap : float, default 0
        Gain of a cell left unpaired, <= 0.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); default every pred with every human.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        Similarity, 1 for equal strings; NaN where a sequence is empty or has an
        undefined symbol.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or a cell is not in the grid.

    Examples
    --------
    >>> cell_scanmatch([[0, 3]], [[0, 4], [0, 3]], grid=(6, 14)).round(3)
    array([[0.857, 1.   ]])
    """
    rows, columns = check_grid(grid)
    check_between("threshold", threshold, low=1e-9)
    check_between("gap", gap, high=0)
    pred, human = pack_symbols(pred_cells), pack_symbols(human_cells)
    for name, cells in (("pred_cells", pred), ("human_cells", human)):
        largest = np.inf if cells.labelled else cells.symbols.max(initial=-1)
        if largest >= rows * columns:
            found = "labels" if cells.labelled else f"up to {largest}"
            raise ValueError(
                f"`{name}` must hold cells of the grid, whole numbers below "
                f"{rows * columns}; got {found}."
            )
    gains = threshold - _cell_distances(rows, columns)
    index, known, result = _defined_pairs(pred, human, pairs)
    _, best = alignment_scores(pred, human, index[known], gains, gap=gap)
    result[known] = best / (threshold * _greater_length(pred, human, index[known]))
    return result.reshape((len(pred), len(human)) if pairs is None else -1)


def levenshtein(
    pred_symbols: Any,
    human_symbols: Any,
    *,
    pairs: Pairs = None,
    normalise: bool = False,
) -> FloatArray:
    """Compute Levenshtein distances: fewest insertions, deletions, substitutions.

    On clusters of fixations this is the fixation edit distance (FED), on labels SemFED;
    on symbols repeated by `expand_by_duration` its form with time.

    Parameters
    ----------
    pred_symbols, human_symbols : SymbolSet, or what `pack_symbols` takes
        Sequences of numbers, or of labels.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); default every pred with every human.
    normalise : bool, default False
        Divide by the greater length.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        Number of edits, or 0..1; NaN where a sequence is empty or has an undefined
        symbol.

    Raises
    ------
    TypeError, ValueError
        If the symbols are of two kinds, or `pairs` do not fit.

    Examples
    --------
    >>> levenshtein([["car", "tree", "car"]], [["tree", "sky"]])
    array([[2.]])
    """
    pred, human, n_kinds = number_symbols(pred_symbols, human_symbols)
    index, known, result = _defined_pairs(pred, human, pairs)
    result[known] = edit_distances(pred, human, index[known], n_kinds)
    if normalise:
        result[known] /= _greater_length(pred, human, index[known])
    return result.reshape((len(pred), len(human)) if pairs is None else -1)


def sequence_score(
    pred_symbols: Any,
    human_symbols: Any,
    *,
    pairs: Pairs = None,
    first: int | None = None,
    cut: str = "both",
) -> FloatArray:
    """Compute sequence scores: the longest common subsequence over the greater length.

    This equals a Needleman-Wunsch score with gain 1 for equal symbols and 0 else. On
    labels it is the semantic sequence score (SemSS).

    Parameters
    ----------
    pred_symbols, human_symbols : SymbolSet, or what `pack_symbols` takes
        Sequences of numbers, such as clusters, cells or objects, or of labels.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); default every pred with every human.
    first : int, optional
        Compare no more than this many first symbols, >= 1. Published: 2, 4 and 6 for
        search, 4, 8 and 16 for free viewing.
    cut : {"both", "pred"}
        Whose further symbols are dropped; "pred" with the longest prediction allowed
        is the published "max".

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        0..1, 1 for equal sequences; NaN where a sequence is empty or has an undefined
        symbol.

    Raises
    ------
    TypeError, ValueError
        If the symbols are of two kinds, or an argument is out of range.

    Examples
    --------
    >>> sequence_score([[5, 2, 7, 1]], [[5, 7, 2]])
    array([[0.5]])
    >>> sequence_score([[5, 2, 7, 1]], [[5, 7, 2]], first=3, cut="pred").round(3)
    array([[0.667]])
    """
    check_option("cut", cut, ("both", "pred"))
    pred, human, n_kinds = number_symbols(pred_symbols, human_symbols)
    if first is not None:
        check_between("first", first, low=1)
        pred = pred.cut(first)
        human = human.cut(first) if cut == "both" else human
    index, known, result = _defined_pairs(pred, human, pairs)
    common = common_subsequence_lengths(pred, human, index[known], n_kinds)
    result[known] = common / _greater_length(pred, human, index[known])
    return result.reshape((len(pred), len(human)) if pairs is None else -1)


def string_edit_distance(
    pred: Any,
    human: Any,
    *,
    screen_px: ArrayLike,
    n_cells: int = 5,
    temporal_bin_ms: float | None = None,
    pairs: Pairs = None,
) -> FloatArray:
    """Compute string edit distances on a square grid, as the VAME toolbox does.

    Parameters
    ----------
    pred, human : ScanpathSet, or what `pack_scanpaths` takes
        Scanpaths in pixels.
    screen_px : array-like of float, shape (2,) or (..., 2)
        Width and height of the screen, one for all or broadcast to the pairs.
    n_cells : int, default 5
        Cells in each direction, see `string_edit_cells`.
    temporal_bin_ms : float, optional
        Repeat each cell as often as this time fits whole into its fixation (published:
        50). Default: durations do not matter.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); default every pred with every human.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human) or (n_pairs,)
        Number of edits, not divided by a length; NaN where a scanpath is empty or has a
        point that is undefined or off the screen, and as in `scanmatch` with time.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or shapes do not fit.

    References
    ----------
    Brandt & Stark (1997), doi:10.1162/jocn.1997.9.1.27; Zanca et al. (2018), VAME.

    Examples
    --------
    >>> a, b = [(10, 10), (700, 10)], [(10, 10), (300, 10), (700, 10)]
    >>> string_edit_distance([a], [b], screen_px=(800, 600))
    array([[1.]])
    """
    pred, human = pack_scanpaths(pred), pack_scanpaths(human)
    a, b, index = _strings(
        (pred, human),
        pairs,
        screen_px,
        partial(string_edit_cells, n_cells=n_cells),
        temporal_bin_ms,
        "down",
    )
    distances = levenshtein(a, b, pairs=index)
    return distances.reshape((len(pred), len(human)) if pairs is None else -1)


def prefix_scanmatch(pred: Any, human: Any, *, axes: str = "xy") -> float:
    """Compute the ScanMatch similarity of beginnings of search scanpaths.

    Scanpath i of `pred` and scanpath i of `human` belong to one stimulus. For every
    length m the score of the first m cells of both is divided by ``3.5 m`` and averaged
    over the stimuli on which both have m; the result is the mean over m. The first
    fixation, where every trial starts, is left out if it is not the only one.

    Parameters
    ----------
    pred, human : ScanpathSet, or what `pack_scanpaths` takes
        As many scanpaths each, in pixels of a screen of 1280 x 1024, in one order.
    axes : {"xy", "published"}
        "published" takes rows for columns, as the published scores of the natural
        search sets do (not those of object arrays); "xy" is right.

    Returns
    -------
    float
        Similarity, 1 for equal scanpaths; NaN where no stimulus has a score.

    Raises
    ------
    ValueError
        If the numbers of scanpaths differ, or `axes` is unknown.

    Notes
    -----
    Positions are cut to whole pixels, scaled to 1024 x 768, moved inside, and fall into
    8 x 12 cells; gaps cost nothing. The "published" axes scale rows by the width and
    columns by the height of the screen.

    References
    ----------
    Zhang et al. (2018), doi:10.1038/s41467-018-06217-x; Gupta et al. (2021), Visual
    search asymmetry, NeurIPS.

    Examples
    --------
    >>> a = [(640, 512), (100, 100), (900, 300)]
    >>> prefix_scanmatch([a], [a])
    1.0
    """
    check_option("axes", axes, ("xy", "published"))
    pred, human = pack_scanpaths(pred), pack_scanpaths(human)
    if len(pred) != len(human):
        raise ValueError(
            f"`pred` has {len(pred)} scanpaths but `human` has {len(human)}: one of "
            "each per stimulus is needed, in the same order."
        )
    a, b = (_prefix_cells(paths, axes) for paths in (pred, human))
    known = np.flatnonzero(a.defined & b.defined)
    pairs = np.column_stack([known, known])
    gains = _PREFIX_THRESHOLD - _cell_distances(*_PREFIX_GRID)
    scores = prefix_alignment_scores(a, b, pairs, gains)
    there = ~np.isnan(scores)
    n_stimuli = there.sum(axis=0)
    reached = n_stimuli > 0
    if not reached.any():
        return float("nan")
    sums = np.where(there, scores, 0.0).sum(axis=0)[reached]
    lengths = 1 + np.flatnonzero(reached)
    return float(np.mean(sums / n_stimuli[reached] / (_PREFIX_THRESHOLD * lengths)))


def _prefix_cells(paths: ScanpathSet, axes: str) -> SymbolSet:
    """Return the cells of the published scores of beginnings."""
    layers = (paths.x_px, paths.y_px) if axes == "xy" else (paths.y_px, paths.x_px)
    numbers = []
    for layer, extent, size, n_cells in zip(
        layers, _PREFIX_SCREEN_PX, _PREFIX_SIZE, _PREFIX_GRID[::-1], strict=True
    ):
        scaled = np.clip(np.trunc(layer) / extent * size, 1, size - 1)
        numbers.append(np.floor((np.rint(scaled) - 1) * n_cells / size))
    cells = numbers[1] * _PREFIX_GRID[1] + numbers[0]
    known = np.isfinite(paths.x_px) & np.isfinite(paths.y_px)
    cells = np.where(known, cells, -1).astype(np.int64)
    later = paths.n_fixations > 1
    cells[later, :-1] = cells[later, 1:]
    return SymbolSet(cells, paths.n_fixations - later)


def _strings(
    sets: tuple[ScanpathSet, ScanpathSet],
    pairs: Pairs,
    screen_px: ArrayLike,
    find_cells: Callable[..., SymbolSet],
    bin_ms: float | None,
    rounding: str,
) -> tuple[SymbolSet, SymbolSet, IntArray]:
    """Return the strings of both sets on the screens of their pairs, and the pairs."""
    sizes = (len(sets[0]), len(sets[1]))
    index = check_pairs(pairs, *sizes)
    screen = check_screen(screen_px, sizes if pairs is None else (len(index),))
    strings, places = [], []
    for each, column in zip(sets, index.T, strict=True):
        paths, screens, at = scanpaths_on_screens(each, column, screen)
        cells = find_cells(paths, screen_px=screens)
        if bin_ms is not None:
            times = paths.duration_ms
            cells = expand_by_duration(cells, times, bin_ms, rounding=rounding)
        strings.append(cells)
        places.append(at)
    return strings[0], strings[1], np.column_stack(places)


def _cell_distances(rows: int, columns: int) -> FloatArray:
    """Return distances between the centres of cells, in cells."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    distances: FloatArray = np.hypot(row[:, None] - row, column[:, None] - column)
    return distances


def _defined_pairs(
    pred: SymbolSet, human: SymbolSet, pairs: Pairs
) -> tuple[IntArray, NDArray[np.intp], FloatArray]:
    """Return the pairs, which of them are defined, and a result full of NaN."""
    index = check_pairs(pairs, len(pred), len(human))
    known = np.flatnonzero(pred.defined[index[:, 0]] & human.defined[index[:, 1]])
    return index, known, np.full(len(index), np.nan)


def _greater_length(pred: SymbolSet, human: SymbolSet, pairs: IntArray) -> IntArray:
    return np.maximum(pred.n_symbols[pairs[:, 0]], human.n_symbols[pairs[:, 1]])
