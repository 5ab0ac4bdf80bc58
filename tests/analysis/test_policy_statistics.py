"""Statistics of how searches over objects start, move and stop."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.policy_statistics import policy_statistics
from neurovis.core.object_displays import FreeDisplay, regular_display
from neurovis.core.object_scanpaths import ObjectTrial

NAMES = [
    *("n_fixations", "ends_on_target", "refixation", "revisit"),
    *("saccade_down", "saccade_right", "saccade"),
    *(f"target_from_{d}" for d in (1, 2, 3, 4)),
    *("stop_on_target", "stop_elsewhere", "start_down", "start_right"),
]


def grid(target, rows=4, cols=6):
    size = (10.0 * cols, 20.0 * rows)
    return regular_display("d", rows=rows, cols=cols, size_px=size, target_cell=target)


def trials_of(*paths, target=0):
    return [ObjectTrial(grid(target), "s", path) for path in paths]


def values(trials):
    return policy_statistics(trials).set_index("statistic")["value"]


def brute(trials):
    """All cases of each statistic, fixation by fixation."""
    cases = {name: [] for name in NAMES}
    for trial in trials:
        target, path = trial.display.target_cell, trial.cells.tolist()
        row, col = np.divmod(np.array(path), 6)
        goal = np.divmod(target, 6)
        cases["n_fixations"].append(len(path))
        cases["ends_on_target"].append(path[-1] == target)
        cases["start_down"].append((row[0] + 0.5) / 4)
        cases["start_right"].append((col[0] + 0.5) / 6)
        for i, cell in enumerate(path):
            name = "stop_on_target" if cell == target else "stop_elsewhere"
            cases[name].append(i == len(path) - 1)
        for i, (here, there) in enumerate(itertools.pairwise(path)):
            cases["refixation"].append(here == there)
            cases["revisit"].append(here != there and there in path[:i])
            if here != there:
                down, right = abs(row[i + 1] - row[i]), abs(col[i + 1] - col[i])
                cases["saccade_down"].append(down)
                cases["saccade_right"].append(right)
                cases["saccade"].append(np.hypot(down, right))
            away = int(np.hypot(row[i] - goal[0], col[i] - goal[1]))
            if 1 <= away <= 4:
                cases[f"target_from_{away}"].append(there == target)
    return cases


paths = st.lists(st.integers(0, 23), min_size=1, max_size=12)


@given(st.lists(paths, min_size=1, max_size=4), st.integers(0, 23))
def test_statistics_match_counting_fixation_by_fixation(many, target):
    trials = trials_of(*many, target=target)
    table = policy_statistics(trials).set_index("statistic")
    assert list(table.index) == NAMES
    for name, found in brute(trials).items():
        n = len(found)
        expected = np.mean(found) if n else np.nan
        error = np.std(found, ddof=1) / np.sqrt(n) if n > 1 else np.nan
        assert table.loc[name, "n"] == n
        np.testing.assert_allclose(table.loc[name, "value"], expected)
        np.testing.assert_allclose(table.loc[name, "standard_error"], error, atol=1e-12)


def test_a_known_scanpath_has_known_statistics():
    # Cells of a 4 x 6 grid: 8 is one row down and two columns right of 0.
    found = values(trials_of([8, 8, 9, 8, 0, 1, 0]))
    expected = {
        "n_fixations": 7,
        "ends_on_target": 1,
        "refixation": 1 / 6,
        "revisit": 2 / 6,
        "saccade_down": 1 / 5,
        "saccade_right": (1 + 1 + 2 + 1 + 1) / 5,
        "target_from_1": 1,
        "target_from_2": 1 / 3,
        "target_from_3": 0,
        "stop_on_target": 1 / 2,
        "stop_elsewhere": 0,
        "start_down": 1.5 / 4,
        "start_right": 2.5 / 6,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    assert np.isnan(found["target_from_4"])


def test_what_did_not_occur_is_undefined():
    table = policy_statistics(trials_of([3])).set_index("statistic")
    undefined = table.index[table["value"].isna()].tolist()
    defined = {"n_fixations", "ends_on_target", "stop_elsewhere"}
    defined |= {"start_down", "start_right"}
    assert set(NAMES) - set(undefined) == defined
    assert (table.loc[undefined, "n"] == 0).all()
    assert table["standard_error"].isna().all()


def test_a_free_display_with_the_places_of_a_grid_gives_the_same():
    # Square cells, so that the pitch is the cell.
    size = (1.8, 1.2)
    square = regular_display("d", rows=4, cols=6, size_px=size, target_cell=9)
    free = FreeDisplay("d", square.boxes_px, *size, 9)
    draw = np.random.default_rng(0)
    many = [draw.integers(24, size=9) for _ in range(40)]
    for_grid = policy_statistics([ObjectTrial(square, "s", path) for path in many])
    for_free = policy_statistics([ObjectTrial(free, "s", path) for path in many])
    assert for_grid["n"].tolist() == for_free["n"].tolist()
    np.testing.assert_allclose(for_grid["value"], for_free["value"])


def test_another_object_that_is_less_than_a_cell_away_counts_as_one_away():
    boxes = [[0, 0, 2, 2], [3, 0, 5, 2], [90, 90, 99, 99]]
    display = FreeDisplay("d", boxes, 100, 100, target_cell=1)
    found = values([ObjectTrial(display, "s", [0, 1])])
    assert np.hypot(*(display.coordinates[0] - display.coordinates[1])) < 1
    assert found["target_from_1"] == 1


def test_no_scanpath_is_refused():
    with pytest.raises(ValueError, match="`trials` is empty"):
        policy_statistics([])
