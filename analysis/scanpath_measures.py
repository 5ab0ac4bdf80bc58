"""Every measure of pairs of scanpaths by name, with one way to compute them.

The functions behind the names carry the definitions; `MEASURES` says what unit a
value has and whether more of it is better.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


_Compute = Callable[
    [ScanpathSet, ScanpathSet, NDArray[np.int64], Screen, MeasureSettings], FloatArray
]


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
    results: dict[str, FloatArray] = {}
    values = np.full((len(index), len(measures)), np.nan)
    for place, name in enumerate(measures):
        measure = MEASURES[name]
        if measure.family not in results:
            compute = _FAMILIES[measure.family]
            results[measure.family] = compute(pred, human, index, screen_px, settings)
        family = results[measure.family]
        values[:, place] = (
            family if measure.column is None else family[:, measure.column]
        )
    return values


def _multimatch(
    pred: ScanpathSet,
    human: ScanpathSet,
    pairs: NDArray[np.int64],
    screen: Screen,
    settings: MeasureSettings,
) -> FloatArray:
    rule = settings.simplification
    five = multimatch(pred, human, screen_px=screen, pairs=pairs, simplify=rule)
    mean: FloatArray = five[:, :4].mean(axis=1, keepdims=True)
    return np.concatenate([five, mean], axis=1)


def _scanmatch(temporal: bool) -> _Compute:
    def compute(
        pred: ScanpathSet,
        human: ScanpathSet,
        pairs: NDArray[np.int64],
        screen: Screen,
        settings: MeasureSettings,
    ) -> FloatArray:
        return scanmatch(
            pred,
            human,
            screen_px=screen,
            grid=settings.grid,
            threshold=settings.scanmatch_threshold,
            temporal_bin_ms=settings.temporal_bin_ms if temporal else None,
            pairs=pairs,
        )

    return compute


def _cells(measure: Callable[..., FloatArray], **options: bool) -> _Compute:
    """Apply a measure of symbols to cells of the grid."""

    def compute(
        pred: ScanpathSet,
        human: ScanpathSet,
        pairs: NDArray[np.int64],
        screen: Screen,
        settings: MeasureSettings,
    ) -> FloatArray:
        one, two = (
            grid_cells(paths, screen_px=screen, grid=settings.grid)
            for paths in (pred, human)
        )
        return measure(one, two, pairs=pairs, **options)

    return compute


def _points(measure: Callable[..., FloatArray]) -> _Compute:
    """Apply a measure that needs no screen."""

    def compute(
        pred: ScanpathSet,
        human: ScanpathSet,
        pairs: NDArray[np.int64],
        screen: Screen,
        settings: MeasureSettings,
    ) -> FloatArray:
        return measure(pred, human, pairs=pairs)

    return compute


def _on_screen(measure: Callable[..., FloatArray]) -> _Compute:
    """Apply a measure that needs the size of the screen."""

    def compute(
        pred: ScanpathSet,
        human: ScanpathSet,
        pairs: NDArray[np.int64],
        screen: Screen,
        settings: MeasureSettings,
    ) -> FloatArray:
        return measure(pred, human, screen_px=screen, pairs=pairs)

    return compute


def _string_edit(
    pred: ScanpathSet,
    human: ScanpathSet,
    pairs: NDArray[np.int64],
    screen: Screen,
    settings: MeasureSettings,
) -> FloatArray:
    return string_edit_distance(pred, human, screen_px=screen, pairs=pairs)


def _tde(
    pred: ScanpathSet,
    human: ScanpathSet,
    pairs: NDArray[np.int64],
    screen: Screen,
    settings: MeasureSettings,
) -> FloatArray:
    return tde(pred, human, k=settings.tde_window, pairs=pairs)


def _recurrence(
    pred: ScanpathSet,
    human: ScanpathSet,
    pairs: NDArray[np.int64],
    screen: Screen,
    settings: MeasureSettings,
) -> FloatArray:
    radius = settings.recurrence_radius * float(np.hypot(*screen))
    return cross_recurrence(pred, human, radius_px=radius, pairs=pairs)


def _length(
    pred: ScanpathSet,
    human: ScanpathSet,
    pairs: NDArray[np.int64],
    screen: Screen,
    settings: MeasureSettings,
) -> FloatArray:
    difference = pred.n_fixations[pairs[:, 0]] - human.n_fixations[pairs[:, 1]]
    return np.abs(difference).astype(np.float64)


_FAMILIES: dict[str, _Compute] = {
    "multimatch": _multimatch,
    "scanmatch": _scanmatch(temporal=False),
    "scanmatch_duration": _scanmatch(temporal=True),
    "sequence_score": _cells(sequence_score),
    "edit_distance": _cells(levenshtein),
    "edit_normalised": _cells(levenshtein, normalise=True),
    "string_edit_5x5": _string_edit,
    "dtw": _points(dtw),
    "frechet": _points(frechet),
    "hausdorff": _points(hausdorff),
    "eyenalysis": _points(eyenalysis),
    "mannan": _on_screen(mannan_distance),
    "tde": _tde,
    "stde": _on_screen(stde),
    "recurrence": _recurrence,
    "length": _length,
}
