"""Every measure of pairs of scanpaths by name, with one way to compute them.

The functions behind the names carry the definitions; `MEASURES` says what unit a
value has and whether more of it is better.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.multimatch import Simplification, multimatch
from analysis.recurrence import cross_recurrence
from analysis.scanpath_distances import (
    dtw,
    eyenalysis,
    frechet,
    hausdorff,
    mannan_distance,
    stde,
    tde,
)
from analysis.scanpath_sets import Pairs, ScanpathSet, check_pairs
from analysis.scanpath_strings import (
    levenshtein,
    scanmatch,
    sequence_score,
    string_edit_distance,
)
from analysis.scanpath_symbols import grid_cells
from neurovis.core.checks import check_between, check_option

FloatArray = NDArray[np.float64]
Screen = tuple[float, float]


@dataclass(frozen=True)
class MeasureSettings:
    """What measures need to know besides the scanpaths.

    Parameters
    ----------
    grid : tuple of int, default (8, 12)
        Rows and columns of the cells of ScanMatch and of strings.
    scanmatch_threshold : float, default 3.5
        Distance in cells at which ScanMatch counts neither for nor against.
    temporal_bin_ms : float, default 50.0
        Bin of the measures that repeat a symbol with the duration, ms.
    simplification : Simplification, optional
        Grouping of MultiMatch; none by default.
    tde_window : int, default 2
        Successive fixations of time-delay embedding.
    recurrence_radius : float, default 0.1
        Radius of recurrence as a share of the diagonal of the screen.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    grid: tuple[int, int] = (8, 12)
    scanmatch_threshold: float = 3.5
    temporal_bin_ms: float = 50.0
    simplification: Simplification | None = None
    tde_window: int = 2
    recurrence_radius: float = 0.1

    def __post_init__(self) -> None:
        for name, value in zip(("rows", "columns"), self.grid, strict=True):
            check_between(f"grid {name}", value, low=1)
        check_between("scanmatch_threshold", self.scanmatch_threshold, low=1e-6)
        check_between("temporal_bin_ms", self.temporal_bin_ms, low=1e-6)
        check_between("tde_window", self.tde_window, low=1)
        check_between("recurrence_radius", self.recurrence_radius, low=1e-9)


@dataclass(frozen=True)
class _Case:
    """Pairs of scanpaths on one screen, and what measures need to know."""

    pred: ScanpathSet
    human: ScanpathSet
    pairs: NDArray[np.int64]
    screen_px: Screen
    settings: MeasureSettings


@dataclass(frozen=True)
class Measure:
    """A measure of pairs of scanpaths.

    Parameters
    ----------
    family : str
        Key of what computes it; members of a family are computed together.
    column : int or None
        Column of the family's result; None where it has one.
    unit : str
        "similarity" (1 for identical scanpaths), "px", "edits", ...
    more_is_better : bool or None
        Whether a larger value means more alike; None where neither holds.
    """

    family: str
    column: int | None = None
    unit: str = "similarity"
    more_is_better: bool | None = True


MEASURES: dict[str, Measure] = {
    "multimatch_vector": Measure("multimatch", 0),
    "multimatch_direction": Measure("multimatch", 1),
    "multimatch_length": Measure("multimatch", 2),
    "multimatch_position": Measure("multimatch", 3),
    "multimatch_duration": Measure("multimatch", 4),
    "multimatch_mean": Measure("multimatch", 5),
    "scanmatch": Measure("scanmatch"),
    "scanmatch_duration": Measure("scanmatch_duration"),
    "sequence_score": Measure("sequence_score"),
    "edit_distance": Measure("edit_distance", None, "edits", False),
    "edit_distance_normalised": Measure("edit_normalised", None, "share", False),
    "string_edit_5x5": Measure("string_edit_5x5", None, "edits", False),
    "dtw_px": Measure("dtw", None, "px", False),
    "frechet_px": Measure("frechet", None, "px", False),
    "hausdorff_px": Measure("hausdorff", None, "px", False),
    "eyenalysis_px": Measure("eyenalysis", None, "px", False),
    "mannan_d2": Measure("mannan", None, "share of the diagonal squared", False),
    "tde_px": Measure("tde", None, "px", False),
    "stde": Measure("stde"),
    "recurrence": Measure("recurrence", 0, "per cent", True),
    "determinism": Measure("recurrence", 1, "per cent", True),
    "laminarity": Measure("recurrence", 2, "per cent", True),
    "corm": Measure("recurrence", 3, "per cent", None),
    "length_difference": Measure("length", None, "fixations", False),
}
"""Measures by name. `multimatch_mean` averages the four dimensions of shape and place
(without duration)."""

DEFAULT_MEASURES = (
    "scanmatch",
    "sequence_score",
    "edit_distance_normalised",
    "multimatch_mean",
    "stde",
    "dtw_px",
)


def score_pairs(
    pred: ScanpathSet,
    human: ScanpathSet,
    pairs: Pairs,
    measures: Sequence[str],
    *,
    screen_px: Screen,
    settings: MeasureSettings | None = None,
) -> FloatArray:
    """Compute measures of pairs of scanpaths on one screen.

    Parameters
    ----------
    pred, human : ScanpathSet
        Scanpaths in pixels.
    pairs : int array-like, shape (n_pairs, 2), or None
        Rows (index of pred, index of human); None is every pred with every human.
    measures : sequence of str
        Names of `MEASURES`.
    screen_px : tuple of float
        Width and height in pixels.
    settings : MeasureSettings, optional
        What the measures need to know.

    Returns
    -------
    ndarray of float64, shape (n_pairs, n_measures)
        Values; NaN where undefined.

    Raises
    ------
    ValueError
        If a name is unknown or a pair out of range.

    Examples
    --------
    >>> from analysis.scanpath_sets import pack_scanpaths
    >>> paths = pack_scanpaths([[(1, 1), (9, 9)], [(1, 1), (9, 5)]])
    >>> score_pairs(paths, paths, [(0, 1)], ["dtw_px"], screen_px=(10, 10))
    array([[4.]])
    """
    for name in measures:
        check_option("measures", name, tuple(MEASURES))
    settings = settings or MeasureSettings()
    index = check_pairs(pairs, len(pred), len(human))
    case = _Case(pred, human, index, screen_px, settings)
    results: dict[str, FloatArray] = {}
    values = np.full((len(index), len(measures)), np.nan)
    for place, name in enumerate(measures):
        measure = MEASURES[name]
        if measure.family not in results:
            results[measure.family] = _FAMILIES[measure.family](case)
        family = results[measure.family]
        column = family if measure.column is None else family[:, measure.column]
        values[:, place] = column
    return values


def _multimatch(case: _Case) -> FloatArray:
    rule = case.settings.simplification
    five = multimatch(
        case.pred,
        case.human,
        screen_px=case.screen_px,
        pairs=case.pairs,
        simplify=rule,
    )
    mean: FloatArray = five[:, :4].mean(axis=1, keepdims=True)
    return np.concatenate([five, mean], axis=1)


def _scanmatch(case: _Case, temporal_bin_ms: float | None = None) -> FloatArray:
    return scanmatch(
        case.pred,
        case.human,
        screen_px=case.screen_px,
        grid=case.settings.grid,
        threshold=case.settings.scanmatch_threshold,
        temporal_bin_ms=temporal_bin_ms,
        pairs=case.pairs,
    )


def _on_cells(
    case: _Case, measure: Callable[..., FloatArray], **options: bool
) -> FloatArray:
    """Apply a measure of symbols to cells of the grid."""
    one, two = (
        grid_cells(paths, screen_px=case.screen_px, grid=case.settings.grid)
        for paths in (case.pred, case.human)
    )
    return measure(one, two, pairs=case.pairs, **options)


def _on_points(
    case: _Case, measure: Callable[..., FloatArray], **options: Any
) -> FloatArray:
    """Apply a measure of points."""
    return measure(case.pred, case.human, pairs=case.pairs, **options)


def _recurrence(case: _Case) -> FloatArray:
    diagonal = float(np.hypot(*case.screen_px))
    radius = case.settings.recurrence_radius * diagonal
    return _on_points(case, cross_recurrence, radius_px=radius)


def _length(case: _Case) -> FloatArray:
    one = case.pred.n_fixations[case.pairs[:, 0]]
    two = case.human.n_fixations[case.pairs[:, 1]]
    return np.abs(one - two).astype(np.float64)


_FAMILIES: dict[str, Callable[[_Case], FloatArray]] = {
    "multimatch": _multimatch,
    "scanmatch": _scanmatch,
    "scanmatch_duration": lambda c: _scanmatch(c, c.settings.temporal_bin_ms),
    "sequence_score": lambda c: _on_cells(c, sequence_score),
    "edit_distance": lambda c: _on_cells(c, levenshtein),
    "edit_normalised": lambda c: _on_cells(c, levenshtein, normalise=True),
    "string_edit_5x5": lambda c: _on_points(
        c, string_edit_distance, screen_px=c.screen_px
    ),
    "dtw": lambda c: _on_points(c, dtw),
    "frechet": lambda c: _on_points(c, frechet),
    "hausdorff": lambda c: _on_points(c, hausdorff),
    "eyenalysis": lambda c: _on_points(c, eyenalysis),
    "mannan": lambda c: _on_points(c, mannan_distance, screen_px=c.screen_px),
    "tde": lambda c: _on_points(c, tde, k=c.settings.tde_window),
    "stde": lambda c: _on_points(c, stde, screen_px=c.screen_px),
    "recurrence": _recurrence,
    "length": _length,
}
