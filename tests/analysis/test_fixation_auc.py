"""Areas under the curve against scipy and against loops over thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.fixated_pixels import fixated_pixels
from analysis.fixation_auc import auc, auc_borji, auc_judd, auc_per_fixation

SEEDS = st.integers(0, 2**32 - 1)
SHAPE = (4, 6)
JUDD = ("matlab", "vame", "pysaliency")


def _fixations(rng, n_maps, least=1, most=9):
    index = np.repeat(np.arange(n_maps), rng.integers(least, most, n_maps))
    x, y = rng.random((2, len(index))) * np.array(SHAPE[::-1])[:, None]
    return fixated_pixels(x, y, SHAPE, map_index=index, n_maps=n_maps)


def _case(seed, n_maps=3):
    """Maps with ties, fixations with repeats, fixations on other images."""
    rng = np.random.default_rng(seed)
    pred = rng.integers(-4, 5, (n_maps, *SHAPE)) / 4
    return pred, _fixations(rng, n_maps), _fixations(rng, n_maps, most=20)


def _values(pred, human, i):
    at = human.map_index == i
    return pred[i][human.row[at], human.column[at]]


def _unfixated(pred, human, i):
    free = np.ones(SHAPE, bool)
    at = human.map_index == i
    free[human.row[at], human.column[at]] = False
    return pred[i][free]


def _mann_whitney(positives, negatives):
    u = stats.mannwhitneyu(positives, negatives).statistic
    return u / (len(positives) * len(negatives))


def _judd(pred, human, i, variant):
    """The three curves, one threshold at a time."""
    values, s = _values(pred, human, i), pred[i].ravel()
    free = _unfixated(pred, human, i)
    at = human.map_index == i
    points = [(0.0, 0.0)]
    if variant == "pysaliency":
        levels = sorted({*values, s.max() + 1, s.min()}, reverse=True)
        points += [((free >= t).mean(), (values >= t).mean()) for t in levels]
    else:
        if s.min() == s.max():
            return np.nan
        pixels = set(zip(human.row[at], human.column[at], strict=True))
        thresholds = sorted((pred[i][p] for p in pixels), reverse=True)
        n = len(thresholds)
        for k, t in enumerate(thresholds):
            done = k + 1 if variant == "matlab" else k
            points.append((((s >= t).sum() - done) / (len(s) - n), (k + 1) / n))
    x, y = np.array([*points, (1.0, 1.0)]).T
    return np.trapezoid(y, x)


def _borji(s, positives, draws, step=0.1):
    """Mean over splits; thresholds from 0 up to the largest value in the split."""
    scaled = (s - s.min()) / (s.max() - s.min())
    positives = (positives - s.min()) / (s.max() - s.min())
    areas = []
    for split in draws:
        negatives = scaled.ravel()[split]
        top = max(positives.max(), negatives.max())
        levels = [k * step for k in range(int(1 / step) + 2) if k * step <= top]
        points = [(0.0, 0.0)]
        points += [
            ((negatives >= t).mean(), (positives >= t).mean()) for t in levels[::-1]
        ]
        x, y = np.array([*points, (1.0, 1.0)]).T
        areas.append(np.trapezoid(y, x))
    return np.mean(areas)


@given(SEEDS)
def test_exact_area_matches_mann_whitney(seed):
    pred, human, other = _case(seed)
    areas = {n: auc(pred, human, n) for n in ("uniform", "unfixated")}
    shuffled, pooled = auc(pred, human, other), auc(pred, human, other.pool())
    for i in range(len(pred)):
        values = _values(pred, human, i)
        everything = pred[i][other.row, other.column]
        for got, negatives in (
            (areas["uniform"][i], pred[i].ravel()),
            (areas["unfixated"][i], _unfixated(pred, human, i)),
            (shuffled[i], _values(pred, other, i)),
            (pooled[i], everything),
        ):
            assert got == pytest.approx(_mann_whitney(values, negatives), abs=1e-12)


@given(SEEDS)
def test_area_of_each_fixation_is_the_share_of_negatives_below(seed):
    pred, human, _ = _case(seed)
    shares = auc_per_fixation(pred, human, "uniform")
    for share, i, r, c in zip(
        shares, human.map_index, human.row, human.column, strict=True
    ):
        value = pred[i, r, c]
        expected = (pred[i] < value).mean() + (pred[i] == value).mean() / 2
        assert share == pytest.approx(expected, abs=1e-12)


def test_counting_and_sorting_agree_on_a_large_map():
    rng = np.random.default_rng(0)
    pred = rng.integers(0, 50, (300, 400)).astype(float)
    x, y = rng.random((2, 40)) * np.array([[400], [300]])
    few = fixated_pixels(x, y, (300, 400), map_index=np.arange(40) // 2)
    many = fixated_pixels(x, y, (300, 400))
    counted = auc_per_fixation(np.stack([pred] * 20), few, "uniform")
    np.testing.assert_array_equal(counted, auc_per_fixation(pred, many, "uniform"))
    for variant in JUDD:
        by_map = auc_judd(np.stack([pred] * 20), few, variant=variant)
        at_once = auc_judd(pred, few, variant=variant)
        np.testing.assert_allclose(by_map, at_once, atol=1e-12)


@given(SEEDS, st.sampled_from(JUDD))
def test_judd_matches_a_loop_over_thresholds(seed, variant):
    pred, human, _ = _case(seed)
    got = auc_judd(pred, human, variant=variant)
    expected = [_judd(pred, human, i, variant) for i in range(len(pred))]
    np.testing.assert_allclose(got, expected, atol=1e-12)


@given(SEEDS, st.sampled_from([0.1, 0.25, 0.3, 1.0]))
def test_borji_matches_a_loop_over_thresholds(seed, step):
    pred, human, _ = _case(seed)
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, pred[0].size, (4, n)) for n in human.n_fixations]
    got = auc_borji(pred, human, indices=draws, step=step)
    for i, one in enumerate(pred):
        expected = _borji(one, _values(pred, human, i), draws[i], step)
        assert got[i] == pytest.approx(expected, abs=1e-12)


FROZEN = {
    "uniform": 0.5452380952380953,
    "unfixated": 0.5421052631578948,
    "shuffled": 0.45999999999999996,
    "matlab": 0.5131578947368421,
    "vame": 0.4901315789473684,
    "pysaliency": 0.5684210526315789,
    "borji": 0.605,
    "seeded": 0.5676,
    "seeded other": 0.4524000000000001,
    "jitter": 0.611842105263158,
}


def test_values_of_a_written_map_stay():
    row, column = np.indices((6, 7))
    pred = ((3 * row * row + 5 * column + row * column) % 7).astype(float)
    human = fixated_pixels([0, 3, 3, 6, 2], [1, 4, 4, 0, 5], (6, 7))
    other = fixated_pixels([1, 1, 2, 3, 4], [0, 0, 1, 2, 3], (6, 7))
    draws = [np.arange(20).reshape(4, 5) * 2]
    got = {
        "uniform": auc(pred, human, "uniform"),
        "unfixated": auc(pred, human),
        "shuffled": auc(pred, human, other),
        **{variant: auc_judd(pred, human, variant=variant) for variant in JUDD},
        "borji": auc_borji(pred, human, indices=draws),
        "seeded": auc_borji(pred, human, seed=1, keys=["a"]),
        "seeded other": auc_borji(pred, human, other, seed=1, keys=["a"]),
        "jitter": auc_judd(pred, human, jitter_seed=1, keys=["a"]),
    }
    assert {k: float(v[0]) for k, v in got.items()} == pytest.approx(FROZEN, rel=1e-12)


@given(SEEDS)
def test_monotone_transforms_keep_the_area(seed):
    pred, human, other = _case(seed)
    for negatives in ("uniform", "unfixated", other):
        area = auc(pred, human, negatives)
        np.testing.assert_array_equal(auc(np.exp(3 * pred), human, negatives), area)
        np.testing.assert_allclose(auc(-pred, human, negatives), 1 - area, atol=1e-12)
    for variant in JUDD:
        np.testing.assert_array_equal(
            auc_judd(np.exp(3 * pred), human, variant=variant),
            auc_judd(pred, human, variant=variant),
        )


@given(SEEDS)
def test_swapping_fixations_and_negatives_mirrors_the_area(seed):
    pred, human, other = _case(seed)
    both = auc(pred, human, other) + auc(pred, other, human)
    np.testing.assert_allclose(both, 1, atol=1e-12)


@given(SEEDS)
def test_order_of_fixations_and_batch_do_not_matter(seed):
    pred, human, other = _case(seed)
    order = np.random.default_rng(seed).permutation(len(human))
    shuffled = fixated_pixels(
        human.column[order], human.row[order], SHAPE, map_index=human.map_index[order]
    )
    measures = [
        lambda pred, human, other: auc(pred, human),
        lambda pred, human, other: auc(pred, human, other),
        *(
            lambda pred, human, other, v=variant: auc_judd(pred, human, variant=v)
            for variant in JUDD
        ),
    ]
    for measure in measures:
        whole = measure(pred, human, other)
        np.testing.assert_allclose(measure(pred, shuffled, other), whole, atol=1e-12)
        for i in range(len(pred)):
            alone = measure(pred[i], human.select([i]), other.select([i]))
            assert alone[0] == pytest.approx(whole[i], abs=1e-12)


@given(SEEDS)
def test_one_map_for_all_equals_its_copies(seed):
    pred, human, other = _case(seed)
    copies = np.stack([pred[0]] * len(pred))
    for negatives in ("uniform", "unfixated", other, other.pool()):
        np.testing.assert_allclose(
            auc(pred[0], human, negatives), auc(copies, human, negatives), atol=1e-12
        )
    for variant in JUDD:
        np.testing.assert_allclose(
            auc_judd(pred[0], human, variant=variant),
            auc_judd(copies, human, variant=variant),
            atol=1e-12,
        )
    np.testing.assert_array_equal(auc_borji(pred[0], human), auc_borji(copies, human))


def test_a_repeated_fixation_counts_twice_but_not_in_a_binary_map():
    pred = np.arange(6.0).reshape(2, 3)
    once, twice = (fixated_pixels([0, *[2] * n], [0, *[1] * n], (2, 3)) for n in (1, 2))
    assert auc(pred, once).tolist() == [0.5]
    assert auc(pred, twice)[0] == pytest.approx(2 / 3)
    for variant in ("matlab", "vame"):
        areas = [auc_judd(pred, human, variant=variant)[0] for human in (once, twice)]
        assert areas[0] == areas[1]


@pytest.mark.parametrize("level", [0.0, 0.3, -7.0])
def test_constant_maps(level):
    flat = np.full((12, 16), level)
    human = fixated_pixels([3, 15], [2, 11], (12, 16))
    other = fixated_pixels([0, 1, 2], [0, 1, 2], (12, 16))
    for negatives in ("uniform", "unfixated", other):
        assert auc(flat, human, negatives).tolist() == [0.5]
    assert auc_judd(flat, human, variant="pysaliency").tolist() == [0.5]
    for variant in ("matlab", "vame"):
        assert np.isnan(auc_judd(flat, human, variant=variant)).all()
    assert np.isnan(auc_borji(flat, human)).all()


def test_nan_makes_only_its_map_undefined():
    pred, human, other = _case(3)
    pred[1, 0, 0] = np.nan
    for values in (
        auc(pred, human),
        auc(pred, human, "uniform"),
        auc(pred, human, other),
        *(auc_judd(pred, human, variant=variant) for variant in JUDD),
        auc_judd(pred, human, jitter_seed=0),
        auc_borji(pred, human),
    ):
        assert np.isnan(values).tolist() == [False, True, False]
    large = np.zeros((2, 300, 300))
    large[0, 5, 5] = np.nan
    one_each = fixated_pixels([7, 7], [7, 7], (300, 300), map_index=[0, 1])
    assert np.isnan(auc(large, one_each)).tolist() == [True, False]


def test_without_fixations_or_negatives_the_area_is_undefined():
    pred = np.arange(4.0).reshape(2, 1, 2)
    human = fixated_pixels([0, 1], [0, 0], (1, 2), map_index=[0, 0], n_maps=2)
    assert auc(pred, human, "uniform")[0] == 0.5
    assert np.isnan(auc(pred, human, "uniform")[1])
    assert np.isnan(auc(pred, human)).all()
    for variant in JUDD:
        assert np.isnan(auc_judd(pred, human, variant=variant)).all()
    nobody = fixated_pixels([], [], (1, 2))
    for measure in (auc, auc_judd, auc_borji):
        assert np.isnan(measure(pred[0], nobody)).tolist() == [True]
    assert np.isnan(auc(pred, human, nobody)).all()
    assert np.isnan(auc_borji(pred, human, nobody)).all()
    assert np.isnan(auc_borji(pred, human)).tolist() == [False, True]


def test_infinite_log_densities_are_ranked():
    pred = np.array([[-np.inf, -5.0, -1.0, -np.inf]])
    human = fixated_pixels([0, 2], [0, 0], (1, 4))
    assert auc(pred, human)[0] == pytest.approx((0.25 + 1) / 2)


def test_draws_depend_on_identity_not_on_the_batch():
    rng = np.random.default_rng(5)
    pred, human = rng.random((3, *SHAPE)), _fixations(rng, 3)
    keys = ["a", "b", "c"]
    areas = auc_borji(pred, human, keys=keys, n_splits=10)
    turned = auc_borji(
        pred[::-1], human.select([2, 1, 0]), keys=keys[::-1], n_splits=10
    )
    np.testing.assert_array_equal(turned[::-1], areas)
    noisy = auc_judd(pred, human, jitter_seed=2, keys=keys)
    alone = auc_judd(pred[1], human.select([1]), jitter_seed=2, keys=["b"])
    assert alone[0] == noisy[1]
    assert (auc_borji(pred, human, seed=1, n_splits=10) != areas).any()


def test_a_generator_is_used_as_it_stands():
    pred, human, other = _case(11)
    first, again = (
        auc_borji(pred, human, other, seed=np.random.default_rng(4)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    rng = np.random.default_rng(4)
    other_draws = auc_borji(pred, human, other, seed=rng)
    assert (auc_borji(pred, human, other, seed=rng) != other_draws).any()


def test_many_draws_recover_the_expected_area():
    rng = np.random.default_rng(8)
    pred = np.round(rng.random((1, *SHAPE)), 1)
    pred.flat[:2] = 0, 1
    human, other = _fixations(rng, 1, least=6), _fixations(rng, 1, least=8, most=15)
    # With values on the thresholds, Borji's area is the exact one on average.
    expected = auc(pred, human, "uniform"), auc(pred, human, other)
    got = (
        auc_borji(pred, human, n_splits=20_000),
        auc_borji(pred, human, other, n_splits=20_000),
    )
    np.testing.assert_allclose(got, expected, atol=0.01)


def test_shuffled_borji_draws_from_the_other_fixations_only():
    pred = np.array([[0.0, 0.5, 1.0, 0.2]])
    human = fixated_pixels([1], [0], (1, 4))
    assert auc_borji(pred, human, fixated_pixels([0, 3], [0, 0], (1, 4)))[0] == 1
    assert auc_borji(pred, human, fixated_pixels([2], [0], (1, 4)))[0] == 0


def test_jitter_breaks_ties_but_keeps_the_order():
    pred, human, _ = _case(2)
    distinct = np.argsort(pred.ravel()).argsort().reshape(pred.shape).astype(float)
    np.testing.assert_allclose(
        auc_judd(distinct, human, jitter_seed=0), auc_judd(distinct, human), atol=1e-12
    )
    flat = np.zeros((1, 60, 80))
    many = fixated_pixels(np.arange(0, 80, 2), np.arange(40), (60, 80))
    assert 0.3 < auc_judd(flat, many, jitter_seed=0)[0] < 0.7
    assert not flat.any()


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
def test_other_number_types_score_as_float64(dtype):
    pred, human, other = _case(9)
    kind = (pred * 4 + 4).astype(dtype)
    exact = kind.astype(np.float64)
    for measure in (auc, auc_judd, auc_borji):
        np.testing.assert_array_equal(measure(kind, human), measure(exact, human))
    np.testing.assert_array_equal(auc(kind, human, other), auc(exact, human, other))


def test_a_stack_of_no_maps_gives_no_values():
    none, human = np.empty((0, 2, 3)), fixated_pixels([], [], (2, 3), n_maps=0)
    assert [len(m(none, human)) for m in (auc, auc_judd, auc_borji)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, h: auc(p, h, "fixated"), "`negatives` must be one of"),
        (lambda p, h: auc_judd(p, h, variant="judd"), "`variant` must be one of"),
        (lambda p, h: auc(p[0, :2], h), "2 x 6 pixels .* 4 x 6: resample"),
        (lambda p, h: auc(p[:2], h), "2 maps but there are 3 groups"),
        (
            lambda p, h: auc(p, h, h.rescale((2, 3))),
            "pixels of 2 x 3, `human` of 4 x 6",
        ),
        (lambda p, h: auc_borji(p, h, h.rescale((2, 3))), "FixatedPixels.rescale"),
        (lambda p, h: auc(p, h, h.select([0, 1])), "2 groups but `human` has 3"),
        (lambda p, h: auc_borji(p, h, n_splits=0), r"`n_splits` must be within \[1"),
        (lambda p, h: auc_borji(p, h, step=0), "`step` must be within"),
        (lambda p, h: auc_borji(p, h, keys=["a"]), "`keys` has 1 entries but 3"),
        (lambda p, h: auc_judd(p, h, jitter_seed=0, keys=[]), "`keys` has 0 entries"),
        (lambda p, h: auc_borji(p, h, seed=-1), "`seed` must be 0 or more; got -1"),
        (lambda p, h: auc_borji(p, h, indices=[[[0]]]), "`indices` has 1 arrays but"),
        (
            lambda p, h: auc_borji(p, h, indices=[[[0]], [[24]], [[0]]]),
            r"`indices\[1\]` must be whole numbers within \[0, 23\]",
        ),
        (
            lambda p, h: auc_borji(p, h, indices=[[[0.5]]] * 3),
            r"`indices\[0\]` must be whole numbers",
        ),
        (
            lambda p, h: auc_borji(p, h, indices=[[0]] * 3),
            r"`indices\[0\]` must have shape \(any, any\)",
        ),
    ],
)
def test_wrong_arguments_are_named(call, words):
    pred, human, _ = _case(0)
    with pytest.raises(ValueError, match=words):
        call(pred, human)
