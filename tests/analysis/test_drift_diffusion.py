"""The diffusion of Palmer, Huk and Shadlen: equations, simulation, recovery."""

import numpy as np
import pytest
from scipy import integrate, stats

from analysis.drift_diffusion import (
    _passage_times,
    choice_probability,
    fit_diffusion,
    mean_rt_ms,
    rt_variance_ms2,
    simulate_diffusion,
)

LEVELS = np.array([0.0, 0.032, 0.064, 0.128, 0.256, 0.512])
TRUTH = (0.8, 12.0, 350.0)


def test_equations_are_those_of_the_paper():
    bound, k, residual = TRUTH
    c = LEVELS[1:]
    p = 1 / (1 + np.exp(-2 * bound * k * c))
    rt = bound / (k * c) * np.tanh(bound * k * c) + residual / 1000
    np.testing.assert_allclose(choice_probability(c, bound, k), p, rtol=1e-12)
    np.testing.assert_allclose(mean_rt_ms(c, *TRUTH), 1000 * rt, rtol=1e-12)
    assert choice_probability(0.0, bound, k) == 0.5
    assert mean_rt_ms(0.0, *TRUTH) == pytest.approx(1000 * bound**2 + residual)


def test_limits_at_small_coherence_are_smooth():
    c = np.geomspace(1e-9, 1e-2, 60)
    rt = mean_rt_ms(c, *TRUTH)
    assert (np.diff(rt) <= 0).all()
    variance = rt_variance_ms2(c, 0.8, 12.0)
    assert (np.diff(variance) <= 1e-3).all()
    assert variance[0] == pytest.approx(2 / 3 * 0.8**4 * 1e6)


@pytest.mark.parametrize("drift", [0.0, 0.7, 3.0, 9.0])
def test_passage_times_are_those_of_a_random_walk(drift):
    bound = 0.8
    time, reached = _passage_times(bound, drift)
    assert reached[0] == 0
    assert reached[-1] == 1
    middle = (time[1:] + time[:-1]) / 2
    mean = (middle * np.diff(reached)).sum()
    spread = (middle**2 * np.diff(reached)).sum() - mean**2
    assert 1000 * mean == pytest.approx(
        float(mean_rt_ms(drift, bound, 1.0, 0)), rel=2e-3
    )
    assert 1e6 * spread == pytest.approx(
        float(rt_variance_ms2(drift, bound, 1.0)), rel=5e-3
    )
    # Small steps of a walk with drift; it passes the bound a little late.
    rng = np.random.default_rng(0)
    step = 1e-3
    n = 1000
    walk, passed = np.zeros(n), np.full(n, np.nan)
    for i in range(6_000):
        walk += drift * step + rng.standard_normal(n) * np.sqrt(step)
        done = np.isnan(passed) & (np.abs(walk) >= bound)
        passed[done] = (i + 1) * step
        if not np.isnan(passed).any():
            break
    passed = np.where(np.isnan(passed), 99.0, passed)
    cdf = np.interp(np.median(passed), time, reached)
    assert cdf == pytest.approx(0.5, abs=0.08)


def test_variance_agrees_with_an_integral_of_the_survival():
    bound, k, c = 0.9, 10.0, 0.1

    def survival(t):
        # Eigenfunctions of a walk between two absorbing bounds, from the middle.
        n = 2 * np.arange(60) + 1
        rate = (n * np.pi / (2 * bound)) ** 2 / 2 + (k * c) ** 2 / 2
        weight = np.where(np.arange(60) % 2, -1.0, 1.0) * n * np.pi / (2 * bound**2)
        return np.cosh(k * c * bound) * (weight / rate * np.exp(-rate * t)).sum()

    mean = integrate.quad(survival, 0.0, 30, limit=200)[0]
    square = integrate.quad(lambda t: 2 * t * survival(t), 0.0, 30, limit=200)[0]
    assert 1000 * mean == pytest.approx(float(mean_rt_ms(c, bound, k, 0)), rel=1e-3)
    assert 1e6 * (square - mean**2) == pytest.approx(
        float(rt_variance_ms2(c, bound, k)), rel=5e-3
    )


def test_simulated_choices_and_times_have_the_predicted_means():
    rng = np.random.default_rng(1)
    for c in LEVELS:
        correct, rt = simulate_diffusion(np.full(20_000, c), *TRUTH, rng=rng)
        p = float(choice_probability(c, *TRUTH[:2]))
        assert abs(correct.mean() - p) < 4 * np.sqrt(p * (1 - p) / 20_000) + 1e-3
        error = np.sqrt(float(rt_variance_ms2(c, *TRUTH[:2])) / 20_000)
        assert abs(rt.mean() - float(mean_rt_ms(c, *TRUTH))) < 4 * error
        assert rt.min() > TRUTH[2]


def test_time_and_choice_are_independent():
    rng = np.random.default_rng(2)
    correct, rt = simulate_diffusion(np.full(4000, 0.05), *TRUTH, rng=rng)
    assert stats.ks_2samp(rt[correct], rt[~correct]).pvalue > 0.01


@pytest.mark.parametrize("truth", [TRUTH, (1.2, 6.0, 300.0), (0.6, 20.0, 450.0)])
def test_parameters_are_recovered_from_simulated_trials(truth):
    rng = np.random.default_rng(3)
    levels = np.repeat(LEVELS, 800)
    fit = fit_diffusion(levels, *simulate_diffusion(levels, *truth, rng=rng))
    assert fit.bound == pytest.approx(truth[0], rel=0.06)
    assert fit.sensitivity == pytest.approx(truth[1], rel=0.1)
    assert fit.residual_ms == pytest.approx(truth[2], abs=30)
    assert fit.n_trials == 4800


def test_no_other_parameters_are_more_likely():
    rng = np.random.default_rng(4)
    levels = np.repeat(LEVELS, 200)
    correct, rt = simulate_diffusion(levels, *TRUTH, rng=rng)
    fit = fit_diffusion(levels, correct, rt)

    def log_likelihood(bound, k, residual):
        total = 0.0
        for c in LEVELS:
            mine = levels == c
            n = mine.sum()
            variance = rt_variance_ms2(c, bound, k) + (0.1 * residual) ** 2
            mean = mean_rt_ms(c, bound, k, residual)
            total += stats.norm.logpdf(rt[mine].mean(), mean, np.sqrt(variance / n))
            total += 0.5 * np.log(2 * np.pi)
            if c > 0:
                p = choice_probability(c, bound, k)
                hits = correct[mine].sum()
                total += hits * np.log(p) + (n - hits) * np.log1p(-p)
        return float(total)

    best = (fit.bound, fit.sensitivity, fit.residual_ms)
    assert fit.log_likelihood == pytest.approx(log_likelihood(*best), abs=1e-6)
    for i, step in enumerate((0.01, 0.2, 4.0)):
        for sign in (-1, 1):
            other = list(best)
            other[i] += sign * step
            assert log_likelihood(*other) < fit.log_likelihood


def test_intervals_hold_the_truth_and_are_reproducible():
    rng = np.random.default_rng(5)
    levels = np.repeat(LEVELS[[0, 2, 4]], 150)
    trials = simulate_diffusion(levels, *TRUTH, rng=rng)
    first, again = (fit_diffusion(levels, *trials, n_bootstrap=8) for _ in range(2))
    assert first.intervals == again.intervals
    for name, value in zip(("bound", "sensitivity", "residual_ms"), TRUTH, strict=True):
        low, high = first.intervals[name]
        assert low < high
        assert low - 0.5 * (high - low) < value < high + 0.5 * (high - low)


def test_what_the_data_do_not_tell_is_undefined():
    rng = np.random.default_rng(6)
    levels = np.repeat([0.1, 0.5], 30)
    always = fit_diffusion(levels, np.ones(60, bool), 500 + 50 * rng.random(60))
    assert np.isnan([always.bound, always.sensitivity, always.residual_ms]).all()


def test_wrong_trials_are_refused():
    with pytest.raises(ValueError, match="`coherence` has 1 levels"):
        fit_diffusion([0.1, 0.1], [True, False], [500.0, 600.0])
    with pytest.raises(ValueError, match=r"must lie within 0..1; got -0.1 to 0.1"):
        fit_diffusion([-0.1, 0.1], [True, False], [500.0, 600.0])
    with pytest.raises(ValueError, match="`rt_ms` must be above 0"):
        fit_diffusion([0.0, 0.1], [True, False], [0.0, 600.0])
    with pytest.raises(ValueError, match="`correct` must have shape"):
        fit_diffusion([0.0, 0.1], [True], [500.0, 600.0])
    with pytest.raises(ValueError, match="`bound` must be within"):
        choice_probability(0.1, 0.0, 1.0)
