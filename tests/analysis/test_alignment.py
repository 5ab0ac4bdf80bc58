"""Cheapest ways against similaritymeasures and plain loops."""

import numpy as np
import pytest
import similaritymeasures
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import alignment
from analysis.alignment import cheapest_paths, dtw_totals, frechet_distances
from analysis.scanpath_sets import ScanpathSet, check_pairs, pack_scanpaths

KERNELS = (dtw_totals, frechet_distances)


def random_paths(seed, lengths, size=800.0):
    rng = np.random.default_rng(seed)
    return [rng.uniform(0, size, (n, 2)) for n in lengths]


def all_values(kernel, pred, human):
    pred, human = pack_scanpaths(pred), pack_scanpaths(human)
    return kernel(pred, human, check_pairs(None, len(pred), len(human)))


@pytest.mark.parametrize(
    ("kernel", "oracle"),
    [
        (dtw_totals, lambda a, b: similaritymeasures.dtw(a, b)[0]),
        (frechet_distances, similaritymeasures.frechet_dist),
    ],
)
def test_totals_match_similaritymeasures(kernel, oracle):
    pred = random_paths(0, [1, 1, 2, 3, 5, 8, 13])
    human = random_paths(1, [1, 2, 4, 9, 21, 3])
    expected = [oracle(a, b) for a in pred for b in human]
    np.testing.assert_allclose(all_values(kernel, pred, human), expected, rtol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS)
def test_totals_do_not_depend_on_padding_order_or_blocks(kernel, monkeypatch):
    pred = pack_scanpaths(random_paths(2, range(1, 12)))
    human = pack_scanpaths(random_paths(3, range(14, 2, -1)))
    pairs = check_pairs(None, len(pred), len(human))
    values = kernel(pred, human, pairs)
    shuffled = np.random.default_rng(0).permutation(len(pairs))
    np.testing.assert_array_equal(
        kernel(pred, human, pairs[shuffled]), values[shuffled]
    )
    for filler in (0.0, 1e9, np.nan):
        wide = (
            np.pad(v, ((0, 0), (0, 5)), constant_values=filler)
            for v in (pred.x_px, pred.y_px, pred.duration_ms)
        )
        x, y, duration = (np.where(np.isnan(v), filler, v) for v in wide)
        padded = ScanpathSet(x, y, duration, pred.n_fixations)
        np.testing.assert_array_equal(kernel(padded, human, pairs), values)
    monkeypatch.setattr(alignment, "_CACHED", 1)
    np.testing.assert_array_equal(kernel(pred, human, pairs), values)


@pytest.mark.parametrize("kernel", KERNELS)
def test_totals_are_symmetric_and_zero_with_themselves(kernel):
    pred, human = random_paths(4, [3, 7, 1]), random_paths(5, [4, 2])
    forth = all_values(kernel, pred, human).reshape(3, 2)
    back = all_values(kernel, human, pred).reshape(2, 3)
    np.testing.assert_array_equal(forth, back.T)
    assert (np.diag(all_values(kernel, pred, pred).reshape(3, 3)) == 0).all()


@given(
    st.integers(0, 2**31), st.floats(0.01, 100), st.floats(-1000, 1000), st.booleans()
)
@settings(max_examples=25)
def test_totals_scale_with_the_picture_and_ignore_shifts(seed, scale, shift, reverse):
    pred, human = random_paths(seed, [6, 2]), random_paths(seed + 1, [3, 9])
    step = -1 if reverse else 1
    for kernel in KERNELS:
        values = all_values(kernel, pred, human)
        changed = all_values(
            kernel,
            [(p * scale + shift)[::step] for p in pred],
            [(p * scale + shift)[::step] for p in human],
        )
        np.testing.assert_allclose(changed, values * scale, rtol=1e-9)
    longest_step = all_values(frechet_distances, pred, human)
    assert (all_values(dtw_totals, pred, human) >= longest_step).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_totals_of_undefined_scanpaths_are_nan(kernel):
    pred = [[(1, 2), (3, 4)], [], [(1, np.nan), (2, 2)], [(np.nan, 1)]]
    values = all_values(kernel, pred, [[(0, 0)]])
    assert np.isnan(values).tolist() == [False, True, True, True]
    none = pack_scanpaths([])
    assert kernel(none, none, check_pairs(None, 0, 0)).shape == (0,)


def plain_path(a, b):
    """Align two sequences cell by cell; ties as documented."""
    gap = a[:, None] - b
    cost = np.sqrt(gap[..., 0] * gap[..., 0] + gap[..., 1] * gap[..., 1])
    cost[0, 0] = 0
    total = np.full((len(a) + 1, len(b) + 1), np.inf)
    total[0, 0] = 0
    for i, j in np.ndindex(cost.shape):
        best = min(total[i, j], total[i, j + 1], total[i + 1, j])
        total[i + 1, j + 1] = cost[i, j] + best
    i, j = len(a) - 1, len(b) - 1
    path = [(i, j)]
    while (i, j) != (0, 0):
        ways = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        i, j = min(ways, key=lambda way: total[way[0] + 1, way[1] + 1])
        path.append((i, j))
    return path


@pytest.mark.parametrize("n_values", [2, 3, 1000])
def test_cheapest_paths_match_a_loop_also_on_ties(n_values):
    rng = np.random.default_rng(n_values)
    sides = []
    for _ in range(2):
        lengths = rng.integers(1, 12, 14)
        points = rng.integers(0, n_values, (2, 14, 13)).astype(float)
        sides.append((points, lengths))
    (a, n), (b, m) = sides
    pairs = check_pairs(None, 14, 14)
    seen = []
    for block, i, j, n_steps in cheapest_paths(a, b, n, m, pairs):
        for row, ii, jj, k in zip(block, i, j, n_steps, strict=True):
            p, q = pairs[row]
            expected = plain_path(a[:, p, : n[p]].T, b[:, q, : m[q]].T)
            assert list(zip(ii[:k], jj[:k], strict=True)) == expected
            assert not ii[k:].any()
            assert not jj[k:].any()
            seen.append(row)
    assert sorted(seen) == list(range(len(pairs)))
