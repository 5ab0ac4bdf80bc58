"""The twelve published conditions of the search-asymmetry experiments.

In each experiment the same two items change roles: A among Bs is found quickly, B
among As slowly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class SearchCondition:
    """One condition of one experiment, with its published constants.

    Parameters
    ----------
    name : str
        Name of the condition; it names the target.
    experiment : int
        Number of the experiment, 1..6; each has two conditions.
    experiment_name : str
        Words for figures.
    paradigm : str
        Name of the paradigm in the published files ("lightning_dir" is meant to be
        the direction of lighting).
    label : str
        Name of the target in figures.
    set_sizes : tuple of int
        Published numbers of items.
    trials : int
        Published trials per set size.
    max_saccades : int
        A model's search ends, not found, after this many saccades.
    view_deg : float
        Side of the square display in degrees.
    size_px : int
        The same in pixels, at 30 pixels per degree, as all sizes below.
    grid : int
        Cells per side.
    cell_px, item_px : int
        Side of a cell, and of the square box of an item.
    jitter_px : int
        The box starts 0..jitter_px - 1 pixels right of and below its cell's corner.
    background, foreground : int
        Grey levels, 0..255.
    target_kind, distractor_kind : str
        Kinds of items (see `stimuli.search_items`).
    target_versions, distractor_versions : tuple of int
        Versions that occur.
    version_order : {"cycle", "random", "spread"}
        Item i in order of placement takes version i modulo their number; or each
        item draws its version; or distractors take distinct versions as long as
        there are any, in random order.
    harder_for_humans : bool
        Whether this is the condition of the pair with the steeper human slope.
    """

    name: str
    experiment: int
    experiment_name: str
    paradigm: str
    label: str
    set_sizes: tuple[int, ...]
    trials: int
    max_saccades: int
    view_deg: float
    size_px: int
    grid: int
    cell_px: int
    item_px: int
    jitter_px: int
    background: int
    foreground: int
    target_kind: str
    distractor_kind: str
    target_versions: tuple[int, ...]
    distractor_versions: tuple[int, ...]
    version_order: str
    harder_for_humans: bool


_FOUR = (0, 1, 2, 3)
_TILTS = (-80, -60, -40, 20, 40, 60, 80)

_CURVE = SearchCondition(
    name="curve_in_lines",
    experiment=1,
    experiment_name="Curvature",
    paradigm="curvature",
    label="Curve",
    set_sizes=(8, 16, 32),
    trials=30,
    max_saccades=37,
    view_deg=11.3,
    size_px=339,
    grid=6,
    cell_px=56,
    item_px=48,
    jitter_px=8,
    background=0,
    foreground=255,
    target_kind="curve",
    distractor_kind="line",
    target_versions=_FOUR,
    distractor_versions=_FOUR,
    version_order="cycle",
    harder_for_humans=False,
)
_LIGHT = SearchCondition(
    name="top_down",
    experiment=2,
    experiment_name="Lighting direction",
    paradigm="lightning_dir",
    label="Vertical",
    set_sizes=(1, 6, 12),
    trials=30,
    max_saccades=17,
    view_deg=6.6,
    size_px=198,
    grid=4,
    cell_px=49,
    item_px=31,
    jitter_px=18,
    background=27,
    foreground=255,
    target_kind="shaded_disk",
    distractor_kind="shaded_disk",
    target_versions=(1,),
    distractor_versions=(0,),
    version_order="cycle",
    harder_for_humans=False,
)
_CROSS = SearchCondition(
    name="non_cross",
    experiment=3,
    experiment_name="Intersection",
    paradigm="intersection",
    label="No Intersection",
    set_sizes=(3, 6, 9),
    trials=36,
    max_saccades=10,
    view_deg=20.5,
    size_px=615,
    grid=3,
    cell_px=205,
    item_px=177,
    jitter_px=27,
    background=255,
    foreground=0,
    target_kind="non_cross",
    distractor_kind="cross",
    target_versions=_FOUR,
    distractor_versions=_FOUR,
    version_order="random",
    harder_for_humans=False,
)
_TILT = SearchCondition(
    name="homo_t20",
    experiment=5,
    experiment_name="Orientation, homogeneous",
    paradigm="categorization",
    label="T: 20 (homo)",
    set_sizes=(1, 4, 8, 12),
    trials=30,
    max_saccades=17,
    view_deg=11.3,
    size_px=339,
    grid=4,
    cell_px=84,
    item_px=69,
    jitter_px=15,
    background=255,
    foreground=0,
    target_kind="bar",
    distractor_kind="bar",
    target_versions=(-20,),
    distractor_versions=(0,),
    version_order="cycle",
    harder_for_humans=False,
)
_TS = replace(
    _CROSS,
    name="Ts",
    experiment=4,
    experiment_name="T versus L",
    label="T",
    target_kind="T",
    distractor_kind="L",
)
_HETERO = replace(
    _TILT,
    name="hetero_t0",
    experiment=6,
    experiment_name="Orientation, heterogeneous",
    label="T: 0 (hetero)",
    target_versions=(0,),
    distractor_versions=(*_TILTS, -20),
    version_order="spread",
)


def _harder(easier: SearchCondition, **changes: Any) -> SearchCondition:
    """Return the other condition of a pair: items swapped."""
    swapped = replace(
        easier,
        harder_for_humans=True,
        target_kind=easier.distractor_kind,
        distractor_kind=easier.target_kind,
    )
    return replace(swapped, **changes)


SEARCH_CONDITIONS: Mapping[str, SearchCondition] = MappingProxyType(
    {
        "curve_in_lines": _CURVE,
        "line_in_curves": _harder(_CURVE, name="line_in_curves", label="Line"),
        "top_down": _LIGHT,
        "left_right": _harder(
            _LIGHT,
            name="left_right",
            label="Horizontal",
            target_versions=(3,),
            distractor_versions=(2,),
        ),
        "non_cross": _CROSS,
        "cross": _harder(_CROSS, name="cross", label="Cross"),
        "Ts": _TS,
        "Ls": _harder(_TS, name="Ls", label="L"),
        "homo_t20": _TILT,
        "homo_t0": _harder(
            _TILT,
            name="homo_t0",
            label="T: 0 (homo)",
            target_versions=(0,),
            distractor_versions=(-20,),
        ),
        "hetero_t0": _HETERO,
        "hetero_t20": _harder(
            _HETERO,
            name="hetero_t20",
            label="T: 20 (hetero)",
            target_versions=(-20,),
            distractor_versions=(*_TILTS, 0),
        ),
    }
)
"""The twelve conditions; within an experiment the one easier for humans is first.

:meta hide-value:

Experiments and first reports: 1 curvature, Wolfe, Yee & Friedman-Hill (1992,
doi:10.1068/p210465); 2 shape from shading, Kleffner & Ramachandran (1992,
doi:10.3758/BF03206757); 3 and 4 intersections, Wolfe & DiMase (2003,
doi:10.1068/p3414); 5 and 6 orientation, Wolfe, Friedman-Hill, Stewart & O'Connell
(1992, doi:10.1037/0096-1523.18.1.34).
"""
