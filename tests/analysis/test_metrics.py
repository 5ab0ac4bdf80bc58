"""Measures per unit against NumPy and SciPy, and the rule of the challenge."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as oracle

from analysis import metrics
from analysis.metrics import (
    ChallengeScore,
    algonauts_score,
    challenge_score,
    noise_normalised,
    pearson_r,
    r_squared,
    unit_blocks,
)

COLUMNS = arrays(
    np.float64,
    st.tuples(st.just(2), st.integers(2, 8), st.integers(1, 4)),
    elements=st.integers(-30, 30).map(float),
)
# A chosen r between any two columns of this one.
LINE = np.array([[-1.0], [0.0], [1.0]])


def recording(n_rows=60, n_units=40, seed=0):
    rng = np.random.default_rng(seed)
    measured = rng.standard_normal((n_rows, n_units))
    predicted = 0.5 * measured + rng.standard_normal((n_rows, n_units))
    return measured, predicted


# ------------------------------------------------------------------ r and R squared


@given(COLUMNS)
def test_measures_of_each_column_match_other_programs(pair):
    measured, predicted = pair
    r, explained = pearson_r(measured, predicted), r_squared(measured, predicted)
    for unit in range(measured.shape[1]):
        x, y = measured[:, unit], predicted[:, unit]
        if np.ptp(x) == 0:
            assert np.isnan(explained[unit])
        else:
            expected = 1 - np.sum((x - y) ** 2) / (np.var(x) * len(x))
            assert explained[unit] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            assert np.isnan(r[unit])
        else:
            assert r[unit] == pytest.approx(oracle.pearsonr(x, y).statistic, abs=1e-9)


def test_r_squared_of_a_fitted_line_is_the_square_of_r():
    measured, predicted = recording(n_units=3)
    for unit in range(3):
        slope, offset = np.polyfit(predicted[:, unit], measured[:, unit], 1)
        fitted = slope * predicted + offset
        ours = r_squared(measured, fitted)[unit]
        assert ours == pytest.approx(pearson_r(measured, predicted)[unit] ** 2)


def test_scale_and_offset_count_for_r_squared_only():
    measured, _ = recording(n_units=2)
    np.testing.assert_allclose(pearson_r(measured, 3 * measured + 1), 1)
    assert (r_squared(measured, 3 * measured + 1) < 0).all()
    np.testing.assert_array_equal(r_squared(measured, measured), 1)
    means = np.broadcast_to(measured.mean(axis=0), measured.shape)
    np.testing.assert_allclose(r_squared(measured, means), 0, atol=1e-12)
    assert np.isnan(pearson_r(measured, means)).all()


@pytest.mark.parametrize("constant", [0.1, 628.63, 0.0])
def test_what_is_undefined(constant):
    measured, predicted = recording(n_units=6)
    measured[:, 0] = constant
    predicted[:, 1] = constant
    measured[3, 2] = predicted[3, 3] = np.nan
    measured[3, 4] = np.inf
    undefined = np.isnan(pearson_r(measured, predicted))
    assert undefined.tolist() == [True, True, True, True, True, False]
    undefined = np.isnan(r_squared(measured, predicted))
    assert undefined.tolist() == [True, False, True, True, True, False]
    for measure in (pearson_r, r_squared):
        assert np.isnan(measure(measured[:1], predicted[:1])).all()
        assert np.isnan(measure(measured[:0], predicted[:0])).all()
        assert measure(measured[:, :0], predicted[:, :0]).shape == (0,)


@pytest.mark.parametrize("measure", [pearson_r, r_squared])
@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_of_float32_change_nothing_and_bound_memory(measure, order, monkeypatch):
    measured, predicted = (
        np.asarray(part, np.float32, order=order) for part in recording(300, 4000)
    )
    whole = measure(measured.astype(np.float64), predicted.astype(np.float64))
    monkeypatch.setattr(metrics, "_VALUES_AT_ONCE", 300 * 50)
    tracemalloc.start()
    blocks = measure(measured, predicted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(blocks, whole, rtol=1e-12)
    assert blocks.dtype == np.float64
    assert peak < measured.nbytes / 4


@given(st.integers(0, 2**23), st.integers(0, 50))
def test_blocks_cover_every_unit_once(n_values, n_units):
    rows = [i for block in unit_blocks(n_values, n_units) for i in range(100)[block]]
    assert rows == list(range(n_units))


@pytest.mark.parametrize("measure", [pearson_r, r_squared])
def test_arrays_that_do_not_match_are_refused(measure):
    with pytest.raises(
        ValueError, match=r"shape \(3, 2\), but `measured` has \(2, 3\)"
    ):
        measure(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"`measured` must have shape \(any, any\)"):
        measure(np.zeros(3), np.zeros(3))


def test_frozen_measures_of_a_small_recording():
    measured, predicted = recording(12, 4, seed=5)
    np.testing.assert_allclose(
        [
            pearson_r(measured, predicted),
            r_squared(measured, predicted),
            algonauts_score(measured, predicted, [0.9, 0.5, 0.0, 0.2]),
        ],
        [
            [0.717499096706, 0.679708443934, 0.130296078837, 0.338725604536],
            [0.0303289211376, 0.147283572359, -1.98129093352, -0.454719277658],
            [57.2005504193, 92.4007137509, 100.0, 57.3675175841],
        ],
        rtol=1e-10,
    )


# ------------------------------------------------------------------------- ceilings


@given(st.floats(-1, 1), st.floats(0.01, 1))
def test_a_score_divides_the_square_and_keeps_the_sign(r, ceiling):
    ours = float(noise_normalised(r, ceiling))
    assert abs(ours) == pytest.approx(r**2 / ceiling)
    assert np.sign(ours) == np.sign(np.sign(r) * r**2)
    assert float(noise_normalised(-r, ceiling)) == -ours


def test_a_perfect_model_reaches_the_ceiling():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((4000, 50))
    measured = signal + rng.standard_normal((4000, 50)) / np.sqrt(3)
    scores = noise_normalised(pearson_r(measured, signal), np.full(50, 0.75))
    assert scores.mean() == pytest.approx(1, abs=0.01)
    assert scores.max() > 1


def test_scores_without_a_ceiling_are_undefined():
    scores = noise_normalised([0.5, 0.5, np.nan, 0.0], [0.0, np.nan, 0.5, 0.5])
    np.testing.assert_array_equal(scores, [np.nan, np.nan, np.nan, 0])


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="Divide percentages by 100"):
        noise_normalised([0.5, 0.5], [20.0, 36.2])
    with pytest.raises(ValueError, match="shares of variance"):
        noise_normalised([0.5], [-0.1])
    with pytest.raises(ValueError, match=r"correlations, -1\.\.1; got 25"):
        noise_normalised([25.0], [0.5])
    with pytest.raises(ValueError, match=r"`ceiling` must have shape \(2\)"):
        noise_normalised([0.5, 0.5], [0.5])
    assert noise_normalised([np.float32(1) + np.float32(1.2e-7)], [1.0])[0] > 1


# ------------------------------------------------------------------------ challenge


@given(COLUMNS, st.data())
def test_the_score_is_the_rule_of_the_challenge(pair, data):
    measured, predicted = pair
    n = measured.shape[1]
    ceilings = data.draw(arrays(np.float64, n, elements=st.sampled_from([0, 0.1, 0.9])))
    ours = algonauts_score(measured, predicted, ceilings)
    for unit in range(n):
        x, y = measured[:, unit], predicted[:, unit]
        constant = np.ptp(x) == 0 or np.ptp(y) == 0
        r = 0 if constant else oracle.pearsonr(x, y).statistic
        # At a ceiling of 0 the sign of a rounding error would decide.
        if ceilings[unit] == 0 and abs(r) < 1e-6:
            continue
        share = max(r, 0) ** 2 / (ceilings[unit] or 1e-14)
        assert ours[unit] == pytest.approx(100 * min(share, 1), abs=1e-6)


@pytest.mark.parametrize(
    ("predicted", "ceiling", "score"),
    [
        (LINE, 1.0, 100),
        (LINE, 0.25, 100),
        (-LINE, 1.0, 0),
        (0 * LINE + 0.1, 1.0, 0),
        (0 * LINE, 0.0, 0),
        (LINE * np.nan, 1.0, 0),
        (LINE, 0.0, 100),
        (-LINE, 0.0, 0),
        (np.array([[0.0], [1.0], [0.0]]), 0.0, 0),
        (np.array([[0.0], [0.0], [1.0]]), 1.0, 75),
        (np.array([[1.0], [0.0], [2.0]]), 0.5, 50),
    ],
)
def test_the_corner_cases_of_the_challenge(predicted, ceiling, score):
    ours = algonauts_score(LINE, predicted, [ceiling])
    assert ours.tolist() == pytest.approx([score])


def test_what_was_not_measured_has_no_score():
    measured, predicted = recording(n_units=3)
    measured[0, 0] = np.nan
    scores = algonauts_score(measured, predicted, [0.5, np.nan, 0.5])
    assert np.isnan(scores).tolist() == [True, True, False]


def test_scores_of_other_forms_are_refused():
    measured, predicted = recording(n_units=3)
    with pytest.raises(ValueError, match=r"`noise_ceiling` must have shape \(3\)"):
        algonauts_score(measured, predicted, [0.5])
    with pytest.raises(ValueError, match="Divide percentages by 100"):
        algonauts_score(measured, predicted, [0.5, 50, 0.5])
    with pytest.raises(ValueError, match="has 1 rows"):
        algonauts_score(measured[:1], predicted[:1], [0.5] * 3)


def test_the_challenge_pools_all_vertices_before_the_median():
    left, right = np.array([10.0, 20.0, 30.0]), np.array([100.0])
    both = challenge_score([left, right])
    assert both == ChallengeScore(median=25.0, mean=40.0, n_vertices=4, n_undefined=0)
    again = challenge_score(part for part in (right, left, [np.nan]))
    assert (again.median, again.mean) == (25.0, 40.0)
    assert (again.n_vertices, again.n_undefined) == (5, 1)


def test_a_challenge_without_vertices_has_no_score():
    for scores in ([], [[np.nan]], [[]]):
        ours = challenge_score(scores)
        assert np.isnan(ours.median)
        assert np.isnan(ours.mean)
        assert ours.n_undefined == ours.n_vertices == len(np.ravel(scores))
    with pytest.raises(ValueError, match="`scores`"):
        challenge_score([[[1.0, 2.0]]])
