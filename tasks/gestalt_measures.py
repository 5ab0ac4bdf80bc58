"""The tests of the Gestalt battery by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from neurovis.core.checks import check_option
from tasks.gestalt_contours import (
    measure_fat_thin,
    measure_fill_in,
    measure_illusory_contours,
    show_fat_thin,
    show_fill_in,
    show_illusory_contours,
)
from tasks.gestalt_figures import (
    measure_border_ownership,
    measure_convexity,
    measure_lower_region,
    show_border_ownership,
    show_convexity,
    show_lower_region,
)
from tasks.gestalt_grouping import (
    measure_closure,
    measure_contours,
    measure_lattices,
    measure_similarity,
    show_closure,
    show_contours,
    show_proximity,
    show_similarity,
)
from tasks.gestalt_reading import BatterySize, Observer, Shown


@dataclass(frozen=True)
class GestaltTest:
    """A test: what is shown, and what becomes of it.

    Parameters
    ----------
    show : callable
        Draws the pictures of a size.
    measure : callable
        Makes trials of an observer, what was shown, and the size.
    level_name : str
        What `level` is, with its unit.
    """

    show: Callable[[BatterySize], Shown]
    measure: Callable[[Observer, Shown, BatterySize], pd.DataFrame]
    level_name: str


TESTS = {
    "illusory-contours": GestaltTest(
        show_illusory_contours, measure_illusory_contours, "support ratio"
    ),
    "fill-in": GestaltTest(show_fill_in, measure_fill_in, "support ratio"),
    "fat-thin": GestaltTest(show_fat_thin, measure_fat_thin, "tilt (deg)"),
    "proximity": GestaltTest(show_proximity, measure_lattices, "aspect |b|/|a|"),
    "similarity": GestaltTest(show_similarity, measure_similarity, "aspect |b|/|a|"),
    "closure": GestaltTest(show_closure, measure_closure, "items"),
    "contours": GestaltTest(show_contours, measure_contours, "path angle (deg)"),
    "convexity": GestaltTest(show_convexity, measure_convexity, "regions"),
    "lower-region": GestaltTest(show_lower_region, measure_lower_region, ""),
    "border-ownership": GestaltTest(
        show_border_ownership, measure_border_ownership, "figure (deg)"
    ),
}
"""In the order of reports."""


def check_tests(tests: str | Sequence[str]) -> list[str]:
    """Return the names of tests that were asked for, in the order of `TESTS`.

    Parameters
    ----------
    tests : str or sequence of str
        "all", a name, or names.

    Returns
    -------
    list of str
        At least one, each once.

    Raises
    ------
    ValueError
        If a name is unknown, or there is none.

    Examples
    --------
    >>> check_tests(["closure", "proximity"])
    ['proximity', 'closure']
    """
    if isinstance(tests, str):
        if tests == "all":
            return list(TESTS)
        tests = [tests]
    for name in tests:
        check_option("tests", name, tuple(TESTS))
    if not tests:
        raise ValueError("`tests` is empty: name at least one, or 'all'.")
    return [name for name in TESTS if name in tests]
