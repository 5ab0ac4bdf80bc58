"""Steps to the target, curves of the share found, path ratios, behaviour vectors."""

import gzip
import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.scanpath_sets import pack_scanpaths
from analysis.search_efficiency import (
    behaviour_delta,
    behaviour_terms,
    behaviour_vectors,
    found_by_step,
    in_target_boxes,
    in_target_cells,
    probability_mismatch,
    scanpath_ratio,
    steps_to_target,
    tfp_auc,
)

CELLS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1)
# Two scanpaths of the reference fixtures, the start at the centre and a box each.
START = (256.0, 160.0)
CUP = [
    *[START, (415.24, 0.84), (133.86, 291.33), (39.53, 315.14), (484.59, 91.61)],
    *[(431.04, 272.17), (265.09, 260.48), (59.92, 159.32)],
]
FORK = [START, (137.1, 140.46), (271.26, 0.53), (335.01, 134.03), (82.22, 127.97)]
BOXES = [(404, 242, 464, 282), (321, 244, 381, 284)]


def _loop_behaviour(cells, target):
    """Run by run, as the definition reads."""
    seen, counts, before = set(), {"search": 0, "refix": 0, "revisit": 0}, None
    for cell in cells:
        if cell == before:
            counts["refix"] += 1
        else:
            counts["revisit" if cell in seen else "search"] += 1
        seen.add(cell)
        before = cell
    shares = [counts[k] / len(cells) for k in ("search", "refix", "revisit")]
    return [float(cells[-1] == target), float(len(cells)), *shares]


def test_steps_follow_a_loop():
    rng = np.random.default_rng(0)
    paths = [rng.uniform(0, 100, (n, 2)) for n in rng.integers(0, 9, 60)]
    boxes = np.sort(rng.uniform(0, 100, (60, 2, 2)), axis=1).reshape(60, 4)
    expected = np.full((2, 60), np.nan)
    for i, (path, (left, top, right, bottom)) in enumerate(
        zip(paths, boxes, strict=True)
    ):
        for j, (x, y) in reversed(list(enumerate(path))):
            if left < x < right and top < y < bottom:
                expected[0, i] = j + 1
                if j:
                    expected[1, i] = j
    on_target = in_target_boxes(paths, boxes)
    np.testing.assert_array_equal(steps_to_target(on_target), expected[0])
    without = steps_to_target(on_target, initial=False)
    np.testing.assert_array_equal(without, expected[1])
    assert np.isnan(expected[0]).any()
    assert np.isfinite(expected[1]).any()


def test_fixtures_of_the_reference_code():
    paths = pack_scanpaths([CUP, FORK])
    on_target = in_target_boxes(paths, BOXES)
    np.testing.assert_array_equal(steps_to_target(on_target), [6, np.nan])
    centres = [(434, 262), (351, 264)]
    ratio = scanpath_ratio(paths, on_target, centres)
    way = sum(math.dist(p, q) for p, q in itertools.pairwise(CUP[:6]))
    direct = math.dist(START, centres[0])
    np.testing.assert_allclose(ratio, [direct / way, np.nan], rtol=1e-12)
    assert ratio[0] == pytest.approx(0.1451665064856201, rel=1e-12)
    cut = paths.cut(5)
    assert np.isnan(steps_to_target(in_target_boxes(cut, BOXES))).all()


def test_edges_count_only_when_asked():
    corners = [[(10, 20)], [(30, 20)], [(20, 40)], [(20, 30)]]
    box = (10, 20, 30, 40)
    assert in_target_boxes(corners, box)[:, 0].tolist() == [False, False, False, True]
    assert in_target_boxes(corners, box, edges=True).all()


def test_undefined_fixations_are_steps_but_not_on_the_target():
    on_target = in_target_boxes([[(np.nan, np.nan), (5, 5)]], (0, 0, 9, 9))
    assert steps_to_target(on_target).tolist() == [2]


@given(CELLS, st.integers(0, 4))
def test_cells_and_boxes_of_a_grid_agree(cells, target):
    on_cell = in_target_cells(cells, target)
    paths = [[(10 * c + 5.0, 5.0) for c in row] for row in cells]
    boxes = (10 * target, 0, 10 * target + 10, 10)
    np.testing.assert_array_equal(on_cell, in_target_boxes(paths, boxes))
    steps = steps_to_target(on_cell)
    expected = [row.index(target) + 1 if target in row else np.nan for row in cells]
    np.testing.assert_array_equal(steps, expected)


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from("abc")), min_size=1))
def test_curves_rise_and_groups_count_alike(trials):
    steps = [np.nan if s > 7 else s for s, _ in trials]
    groups = [g for _, g in trials]
    curve = found_by_step(steps, n_steps=9, groups=groups)
    assert (np.diff(curve) >= 0).all()
    table = pd.DataFrame({"group": groups, "steps": steps})
    means = [
        table["steps"].le(i).groupby(table["group"]).mean().mean() for i in range(1, 10)
    ]
    np.testing.assert_allclose(curve, means)
    again = [s for s, g in zip(steps, groups, strict=True) if g == groups[0]]
    often = found_by_step(
        steps + again, n_steps=9, groups=groups + groups[:1] * len(again)
    )
    np.testing.assert_allclose(curve, often)
    assert tfp_auc(curve) == pytest.approx(9 * tfp_auc(curve, normalise=True))
    assert probability_mismatch(curve, curve) == 0


def test_late_and_missed_targets_are_not_found():
    curve = found_by_step([2, 5, np.nan], n_steps=3)
    np.testing.assert_allclose(curve, [0, 1 / 3, 1 / 3])
    assert np.isnan(found_by_step([], n_steps=2)).all()
    assert math.isnan(tfp_auc([]))
    late = found_by_step([3, 5, np.nan], n_steps=3)
    assert probability_mismatch(late, curve) == pytest.approx(1 / 3)


@given(st.floats(0.1, 10), st.floats(-300, 300))
def test_ratio_ignores_place_and_scale(scale, shift):
    def move(points):
        return (np.asarray(points) + shift) * scale

    paths = [CUP, CUP[:6]]
    hits = in_target_boxes(paths, BOXES[0])
    ratio = scanpath_ratio(paths, hits, (434, 262))
    moved = scanpath_ratio([move(p) for p in paths], hits, move((434, 262)))
    np.testing.assert_allclose(moved, ratio, rtol=1e-6)
    # What follows the target does not count.
    assert ratio[0] == ratio[1]


def test_ratio_is_one_for_a_straight_way_and_undefined_without_a_way():
    paths = [
        [(0, 0), (50, 0), (100, 0)],
        [(0, 0), (95, 0)],
        [(100, 0), (0, 0)],
        [(0, 0)],
        [],
        [(0, 0), (np.nan, 0), (100, 0)],
    ]
    hits = in_target_boxes(paths, (90, -10, 110, 10))
    ratio = scanpath_ratio(paths, hits, (100, 0))
    np.testing.assert_array_equal(ratio, [1, 1, np.nan, np.nan, np.nan, np.nan])


@given(CELLS, st.integers(0, 4))
def test_behaviour_follows_a_loop_and_shares_sum_to_one(cells, target):
    got = behaviour_vectors(cells, target)
    np.testing.assert_allclose(got, [_loop_behaviour(row, target) for row in cells])
    np.testing.assert_allclose(got[:, 2:].sum(axis=1), 1)
    renamed = behaviour_vectors([[7 * c - 3 for c in r] for r in cells], 7 * target - 3)
    np.testing.assert_array_equal(got, renamed)


def test_behaviour_of_the_reference_code():
    human = [[3], [3, 3, 3], [1, 2, 1, 2], [5, 5, 4, 5, 3]]
    model = [[3, 1, 2, 2, 4, 5, 0, 0, 0], [5], [0, 0, 0], [5, 0, 4, 4, 5, 5, 4, 5]]
    people = behaviour_vectors(human, 3)
    assert people.tolist() == [
        [1, 1, 1, 0, 0],
        [1, 3, 1 / 3, 2 / 3, 0],
        [0, 4, 0.5, 0, 0.5],
        [1, 5, 0.6, 0.2, 0.2],
    ]
    vectors = behaviour_vectors(model, 3)
    terms = np.abs(vectors.mean(axis=0) - people.mean(axis=0)) / people.mean(axis=0)
    assert behaviour_delta(vectors, people) == pytest.approx(terms.mean(), rel=1e-12)
    assert behaviour_delta(people, people) == 0


def test_delta_is_undefined_where_people_have_none():
    human = behaviour_vectors([[1, 2, 3]], 3)
    terms = behaviour_terms(behaviour_vectors([[1, 1, 3]], 3), human)
    np.testing.assert_array_equal(np.isnan(terms), [False, False, False, True, True])
    assert math.isnan(behaviour_delta(human, human))


@pytest.mark.parametrize(
    ("error", "call", "match"),
    [
        (
            ValueError,
            lambda: behaviour_vectors([[1], []], 1),
            "1 empty scanpaths.*row 1",
        ),
        (TypeError, lambda: behaviour_vectors([[1.5]], 1), "`cells\\[0\\]` must be"),
        (TypeError, lambda: in_target_cells([[1]], 0.5), "`targets` must be whole"),
        (ValueError, lambda: in_target_cells([[1]], [1, 2]), "`targets` must have"),
        (
            ValueError,
            lambda: in_target_boxes([[(1, 2)]], (5, 0, 2, 3)),
            "left <= right.*row 0",
        ),
        (
            ValueError,
            lambda: in_target_boxes([[(1, 2)]], [np.nan] * 4),
            "Leave out scanpaths without a target",
        ),
        (
            ValueError,
            lambda: in_target_boxes([[(1, 2)]], [[0, 0, 1, 1]] * 2),
            "`boxes_px` must have shape \\(1, 4\\)",
        ),
        (ValueError, lambda: steps_to_target([True]), "`on_target` must have shape"),
        (ValueError, lambda: found_by_step([1], n_steps=0), "`n_steps` must be"),
        (
            ValueError,
            lambda: found_by_step([1], n_steps=1, groups=[None]),
            "`groups` has undefined",
        ),
        (ValueError, lambda: probability_mismatch([1], [1, 1]), "`human` must have"),
        (ValueError, lambda: behaviour_delta([1, 2], [1, 2]), "`pred` must have"),
        (
            ValueError,
            lambda: behaviour_delta(np.empty((0, 5)), np.ones(5)),
            "`pred` has no scanpath",
        ),
        (
            ValueError,
            lambda: scanpath_ratio([[(1, 2)]], [[True, False]], (1, 2)),
            "`on_target` must have shape \\(1, 1\\)",
        ),
    ],
)
def test_wrong_arguments_are_refused(error, call, match):
    with pytest.raises(error, match=match):
        call()


# Real data


def test_curve_of_cocosearch18_from_its_file(data_folder):
    folder = data_folder / "cocosearch18_val"
    reference = json.loads((folder / "reference_values.json").read_text())
    (name,) = folder.glob("*.json.gz")
    trials = json.loads(gzip.decompress(name.read_bytes()))
    paths = pack_scanpaths([np.column_stack([t["X"], t["Y"]]) for t in trials])
    boxes = np.array([t["bbox"] for t in trials], float)
    boxes[:, 2:] += boxes[:, :2]
    steps = steps_to_target(in_target_boxes(paths, boxes, edges=True))
    correct = np.array([t["correct"] for t in trials], bool)
    printed = reference["prob_target_fixated_by_fixation_index_0_to_6"]
    for some, name in ((np.ones_like(correct), "all"), (correct, "correct")):
        curve = found_by_step(steps[some], n_steps=7)
        np.testing.assert_allclose(curve, printed[name], atol=5.1e-5)


def test_amazon_people_have_the_published_curve_and_behaviour(data_folder):
    folder = data_folder / "amazon_covers"
    fixations = pd.read_csv(folder / "fixations.csv")
    collages = pd.read_csv(folder / "collages.csv").set_index("collage")
    trials = fixations.groupby(["collage", "subject"])["cell"].agg(list)
    trials = trials[trials.str.len() <= 55]
    target = collages.loc[trials.index.get_level_values("collage"), "target_cell"]
    cells = trials.tolist()
    steps = steps_to_target(in_target_cells(cells, target.to_numpy()))
    curve = found_by_step(steps, n_steps=30)
    printed = pd.read_csv(folder / "tfp_curves.csv")["human"]
    np.testing.assert_allclose(curve, printed[:30], atol=5.1e-7)
    row = pd.read_csv(folder / "baselines.csv").set_index("baseline")
    row = row.loc["human_leave_one_out"]
    assert tfp_auc(curve) == pytest.approx(row["TFP_AUC30"], abs=5.1e-7)
    assert tfp_auc(curve, normalise=True) == pytest.approx(
        row["TFP_nAUC30"], abs=5.1e-7
    )
    names = ["correct", "length", "search", "refix", "revisit"]
    mean = behaviour_vectors(cells, target.to_numpy()).mean(axis=0)
    np.testing.assert_allclose(mean, row[names].to_numpy(float), atol=5.1e-7)
