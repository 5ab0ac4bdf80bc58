"""Recurrence of scanpaths against a loop over the lines of the matrix."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.recurrence import MEASURES, cross_recurrence, self_recurrence
from analysis.scanpath_sets import ScanpathSet, pack_scanpaths

# Places of a coarse grid, so that scanpaths recur.
PATH = st.integers(1, 9).flatmap(
    lambda n: arrays(float, (n, 2), elements=st.sampled_from([0.0, 60.0, 120.0]))
)
PATHS = st.lists(PATH, min_size=1, max_size=4)

# A pair of the golden fixtures with revisits.
A, B, C = (184.1, 576.5), (594.7, 516.7), (63.1, 578.5)
HUMAN, MODEL = [A, B, A, B, C, C, A], [A, B, C, A, B, C]
RADIUS = 146.86047800548656


def _on_lines(lines, shortest):
    """Points on runs of at least `shortest` in lists of zeros and ones."""
    total = 0
    for line in lines:
        for recurs, run in itertools.groupby(line):
            length = len(list(run))
            total += length if recurs and length >= shortest else 0
    return total


def _loop(matrix, possible, shortest):
    n = len(matrix)
    count = sum(map(sum, matrix))
    diagonals = [
        [matrix[i][i + lag] for i in range(n) if 0 <= i + lag < n]
        for lag in range(1 - n, n)
    ]
    if not count:
        return [0.0, math.nan, math.nan, math.nan]
    columns = list(zip(*matrix, strict=True))
    straight = _on_lines(matrix, shortest) + _on_lines(columns, shortest)
    lags = sum((j - i) * matrix[i][j] for i in range(n) for j in range(n))
    return [
        100 * count / possible,
        100 * _on_lines(diagonals, shortest) / count,
        100 * straight / (2 * count),
        100 * lags / ((n - 1) * count) if n > 1 else math.nan,
    ]


def _loop_cross(pred, human, radius, shortest=2):
    n = min(len(pred), len(human))
    rows = [[math.dist(h, p) <= radius for p in pred[:n]] for h in human[:n]]
    return _loop(rows, n * n, shortest)


def _loop_self(path, radius, shortest=2):
    n = len(path)
    if n < 2:
        return [math.nan] * 4
    matrix = [
        [j > i and math.dist(path[i], path[j]) <= radius for j in range(n)]
        for i in range(n)
    ]
    return _loop(matrix, n * (n - 1) / 2, shortest)


def test_pair_of_the_reference():
    assert MEASURES == ("REC", "DET", "LAM", "CORM")
    cross = cross_recurrence([MODEL], [HUMAN], radius_px=RADIUS)
    np.testing.assert_allclose(cross[0, 0], [500 / 9, 65, 40, -2], rtol=1e-12)
    own = self_recurrence([HUMAN], radius_px=RADIUS)
    expected = [1100 / 21, 500 / 11, 500 / 11, 1600 / 33]
    np.testing.assert_allclose(own[0], expected, rtol=1e-12)


@pytest.mark.parametrize("shortest", [2, 3, 4])
@given(pred=PATHS, human=PATHS, radius=st.sampled_from([10.0, 60.0, 90.0]))
@settings(max_examples=40)
def test_measures_follow_a_loop(shortest, pred, human, radius):
    options = {"radius_px": radius, "min_line": shortest}
    expected = [[_loop_cross(p, h, radius, shortest) for h in human] for p in pred]
    np.testing.assert_allclose(cross_recurrence(pred, human, **options), expected)
    expected = [_loop_self(p, radius, shortest) for p in pred]
    np.testing.assert_allclose(self_recurrence(pred, **options), expected)


@given(pred=PATHS, human=PATHS)
@settings(max_examples=25)
def test_exchange_changes_the_sign_of_corm_only(pred, human):
    one = cross_recurrence(pred, human, radius_px=70)
    other = cross_recurrence(human, pred, radius_px=70).swapaxes(0, 1)
    np.testing.assert_allclose(other * [1, 1, 1, -1], one)


@given(paths=PATHS, shift=st.integers(-500, 500), scale=st.sampled_from([0.5, 2.0]))
@settings(max_examples=25)
def test_place_and_scale_do_not_matter(paths, shift, scale):
    moved = [(p + shift) * scale for p in paths]
    np.testing.assert_array_equal(
        cross_recurrence(moved, moved, radius_px=70 * scale),
        cross_recurrence(paths, paths, radius_px=70),
    )


@given(pred=PATHS, human=PATHS)
@settings(max_examples=25)
def test_measures_stay_in_range_and_rec_rises_with_the_radius(pred, human):
    rec = []
    for radius in (1, 61, 100, 300):
        values = cross_recurrence(pred, human, radius_px=radius)
        known = np.nan_to_num(values)
        assert (np.abs(known) <= 100 + 1e-9).all()
        assert (known[..., :3] >= 0).all()
        rec.append(values[..., 0])
    assert (np.diff(rec, axis=0) >= 0).all()
    np.testing.assert_allclose(rec[-1], 100)


def test_corm_tells_who_is_later():
    rng = np.random.default_rng(0)
    human = rng.permutation(400).reshape(-1, 1) * [100.0, 0.0]
    late = np.concatenate(
        [-rng.permutation(5).reshape(-1, 1) * [50.0, 9.0] - 900, human]
    )
    cross = cross_recurrence([late, human], [human, late], radius_px=1)
    # 5 fixations of 399 later; the first five of `late` match nothing.
    np.testing.assert_allclose(cross[0, 0, 3], 100 * 5 / 399)
    np.testing.assert_allclose(cross[1, 1, 3], -100 * 5 / 399)
    np.testing.assert_allclose(cross[0, 0, 1], 100)


def test_a_point_at_the_radius_recurs():
    cross = cross_recurrence([[(0, 0)]], [[(3, 4)]], radius_px=5)
    np.testing.assert_array_equal(cross[0, 0], [100, 0, 0, np.nan])
    closer = cross_recurrence([[(0, 0)]], [[(3, 4)]], radius_px=4.999)
    np.testing.assert_array_equal(closer[0, 0], [0, np.nan, np.nan, np.nan])


def test_pairs_blocks_and_padding_do_not_matter():
    rng = np.random.default_rng(1)
    paths = [rng.integers(0, 4, (n, 2)) * 50.0 for n in rng.integers(1, 40, 50)]
    whole = cross_recurrence(paths, paths, radius_px=55)
    order = rng.permutation(2500)[:600]
    pairs = np.column_stack([order // 50, order % 50])
    some = cross_recurrence(paths, paths, radius_px=55, pairs=pairs)
    np.testing.assert_array_equal(some, whole[pairs[:, 0], pairs[:, 1]])
    radii = rng.choice([20.0, 55.0], 600)
    mixed = cross_recurrence(paths, paths, radius_px=radii, pairs=pairs)
    np.testing.assert_array_equal(mixed[radii == 55], some[radii == 55])
    packed = pack_scanpaths(paths)
    wide = np.zeros((3, 50, 60))
    wide[0, :, :39], wide[1, :, :39] = packed.x_px, packed.y_px
    padded = ScanpathSet(*np.nan_to_num(wide), packed.n_fixations)
    np.testing.assert_array_equal(
        self_recurrence(padded, radius_px=55), self_recurrence(paths, radius_px=55)
    )


def test_empty_and_undefined_scanpaths_have_no_recurrence():
    good, bad = [(1, 2), (3, 4)], [(1, 2), (np.nan, 4)]
    cross = cross_recurrence([good, [], bad], [good], radius_px=9)
    assert np.isfinite(cross[0, 0]).all()
    assert np.isnan(cross[1:]).all()
    own = self_recurrence([good, [], bad, [(1, 2)]], radius_px=9)
    assert np.isfinite(own[0]).all()
    assert np.isnan(own[1:]).all()
    assert cross_recurrence([], [], radius_px=9).shape == (0, 0, 4)
    assert self_recurrence([], radius_px=9).shape == (0, 4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"radius_px": 0}, "`radius_px` must be finite and above 0"),
        ({"radius_px": [1, 2, 3]}, "`radius_px` must have shape"),
        ({"radius_px": 5, "min_line": 1}, "`min_line` must be within \\[2"),
        ({"radius_px": 5, "pairs": [(0, 9)]}, "must index 2 pred and 1 human"),
    ],
)
def test_wrong_arguments_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        cross_recurrence([[(1, 2)], [(3, 4)]], [[(1, 2)]], **options)
