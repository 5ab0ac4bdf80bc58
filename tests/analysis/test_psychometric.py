"""Psychometric functions: definition, maximum, recovery, and what is undefined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from analysis.parameter_slope import parameter_slope
from analysis.psychometric import (
    count_levels,
    fit_psychometric,
    psychometric_rate,
    threshold_at,
)
from analysis.psychometric_fits import FUNCTIONS
from analysis.psychometric_intervals import bootstrap_psychometric, goodness_of_fit

LEVELS = np.array([0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.4])
TRUTH = {
    "weibull": {"location": 0.1, "slope": 2.0},
    "logistic": {"location": 0.15, "slope": 25.0},
    "gaussian": {"location": 0.15, "slope": 15.0},
}


def drawn(function, n, *, guess=0.5, lapse=0.02, seed=0, size=None):
    chance = psychometric_rate(
        LEVELS, guess=guess, lapse=lapse, function=function, **TRUTH[function]
    )
    shape = None if size is None else (size, len(LEVELS))
    return np.random.default_rng(seed).binomial(n, chance, shape)


def test_the_functions_are_those_of_scipy():
    x = np.array([0.0, 0.05, 0.1, 0.7])
    shape = {"guess": 0.25, "lapse": 0.04, "location": 0.1, "slope": 3.0}
    cores = {
        "weibull": stats.weibull_min.cdf(x, 3, scale=0.1),
        "logistic": stats.logistic.cdf(x, loc=0.1, scale=1 / 3),
        "gaussian": stats.norm.cdf(x, loc=0.1, scale=1 / 3),
    }
    for function in FUNCTIONS:
        got = psychometric_rate(x, function=function, **shape)
        np.testing.assert_allclose(got, 0.25 + 0.71 * cores[function], atol=1e-14)
    at = psychometric_rate(0.1, guess=0.5, lapse=0.02, location=0.1, slope=2.0)
    assert at == pytest.approx(0.5 + 0.48 * (1 - 1 / np.e))


def best_by_scipy(function, correct, n, *, guess, lapse):
    """Maximise the likelihood from a grid of starts with another optimiser."""
    log = function == "weibull"
    span = np.ptp(np.log(LEVELS) if log else LEVELS)

    def loss(p):
        centre = np.exp(p[0]) if log else p[0]
        chance = psychometric_rate(
            LEVELS,
            location=centre,
            slope=np.exp(p[1]),
            guess=p[2],
            lapse=p[3],
            function=function,
        )
        chance = np.clip(chance, 1e-12, 1 - 1e-12)
        return -np.sum(stats.binom.logpmf(correct, n, chance))

    ends = np.log([LEVELS[0], LEVELS[-1]]) if log else LEVELS[[0, -1]]
    bounds = [
        (ends[0] - span, ends[1] + span),
        (np.log(0.2 / span), np.log(200 / span)),
        (guess, guess) if guess is not None else (0, 0.6),
        (lapse, lapse) if lapse is not None else (0, 0.06),
    ]
    starts = [
        (c, np.log(s / span), 0.3 if guess is None else guess, lapse or 0.0)
        for c in np.linspace(ends[0], ends[1], 3)
        for s in (3, 10)
    ]
    found = [optimize.minimize(loss, s, bounds=bounds) for s in starts]
    return min(found, key=lambda result: result.fun)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("guess", "lapse"), [(0.5, None), (None, 0.0), (0.25, 0.02)])
def test_fits_are_as_likely_as_those_of_scipy(function, guess, lapse):
    low = 0.25 if guess is None else guess
    correct = drawn(function, 40, guess=low, seed=1)
    fit = fit_psychometric(
        LEVELS, correct, [40] * 7, guess=guess, lapse=lapse, function=function
    )
    other = best_by_scipy(function, correct, 40, guess=guess, lapse=lapse)
    chance = psychometric_rate(
        LEVELS,
        location=fit.location,
        slope=fit.slope,
        guess=fit.guess,
        lapse=fit.lapse,
        function=function,
    )
    ours = np.sum(stats.binom.logpmf(correct, 40, np.clip(chance, 0, 1 - 1e-12)))
    assert ours >= -other.fun - 1e-4
    own = stats.binom.logpmf(correct, 40, correct / 40).sum()
    assert fit.deviance == pytest.approx(2 * (own - ours), abs=1e-6)
    assert 0 <= fit.lapse <= 0.06
    assert ("guess" in fit.free, "lapse" in fit.free) == (
        guess is None,
        lapse is None,
    )


def test_a_weibull_fit_is_that_of_a_brute_force_grid():
    correct = drawn("weibull", 60, lapse=0.0, seed=4)
    fit = fit_psychometric(LEVELS, correct, [60] * 7, guess=0.5, lapse=0.0)
    a, b = np.meshgrid(np.geomspace(0.05, 0.2, 301), np.geomspace(0.7, 6, 301))
    chance = 0.5 + 0.5 * (1 - np.exp(-((LEVELS / a[..., None]) ** b[..., None])))
    chance = np.clip(chance, 0, 1 - 1e-12)
    value = stats.binom.logpmf(correct, 60, chance).sum(axis=-1)
    place = np.unravel_index(value.argmax(), value.shape)
    assert fit.location == pytest.approx(a[place], rel=0.006)
    assert fit.slope == pytest.approx(b[place], rel=0.009)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_parameters_are_recovered(function):
    thresholds, slopes = [], []
    for correct in drawn(function, 400, size=20):
        fit = fit_psychometric(LEVELS, correct, [400] * 7, guess=0.5, function=function)
        thresholds.append(fit.threshold)
        slopes.append(fit.slope)
    wanted = TRUTH[function]
    assert np.mean(thresholds) == pytest.approx(wanted["location"], rel=0.03)
    assert np.median(slopes) == pytest.approx(wanted["slope"], rel=0.12)


def test_a_free_guess_rate_is_recovered():
    correct = drawn("logistic", 2000, guess=0.2, lapse=0.03, seed=1)
    fit = fit_psychometric(LEVELS, correct, [2000] * 7, guess=None, function="logistic")
    assert fit.guess == pytest.approx(0.2, abs=0.03)
    assert fit.lapse == pytest.approx(0.03, abs=0.02)
    assert fit.free == ("location", "slope", "guess", "lapse")


@given(st.permutations(range(7)))
@settings(max_examples=5)
def test_the_order_of_levels_does_not_matter(order):
    correct = drawn("weibull", 40)
    one = fit_psychometric(LEVELS, correct, [40] * 7, guess=0.5)
    other = fit_psychometric(LEVELS[order], correct[order], [40] * 7, guess=0.5)
    assert (one.threshold, one.deviance) == (other.threshold, other.deviance)


def test_units_of_the_level_carry_over():
    correct = drawn("weibull", 40)
    one = fit_psychometric(LEVELS, correct, [40] * 7, guess=0.5)
    percent = fit_psychometric(100 * LEVELS, correct, [40] * 7, guess=0.5)
    assert percent.threshold == pytest.approx(100 * one.threshold, rel=1e-4)
    assert percent.slope == pytest.approx(one.slope, rel=1e-3)
    logistic = fit_psychometric(
        LEVELS, correct, [40] * 7, guess=0.5, function="logistic"
    )
    shifted = fit_psychometric(
        LEVELS - 3, correct, [40] * 7, guess=0.5, function="logistic"
    )
    assert shifted.threshold == pytest.approx(logistic.threshold - 3, abs=1e-4)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_threshold_at_a_rate_has_that_rate(function):
    correct = drawn(function, 100)
    fit = fit_psychometric(LEVELS, correct, [100] * 7, guess=0.5, function=function)
    for rate in (0.6, 0.75, 0.9):
        level = threshold_at(fit, rate)
        back = psychometric_rate(
            level,
            location=fit.location,
            slope=fit.slope,
            guess=fit.guess,
            lapse=fit.lapse,
            function=function,
        )
        assert back == pytest.approx(rate, abs=1e-9)
    at = 1 - 1 / np.e if function == "weibull" else 0.5
    rate = fit.guess + (1 - fit.guess - fit.lapse) * at
    assert threshold_at(fit, rate) == pytest.approx(fit.threshold, rel=1e-9)
    # Below the guess rate, above the lapse rate, beyond the levels.
    assert np.isnan(threshold_at(fit, 0.5))
    assert np.isnan(threshold_at(fit, 1))
    assert np.isnan(threshold_at(fit, 0.5 + 1e-6))


def test_thresholds_that_data_do_not_hold_are_undefined_with_a_reason():
    flat = fit_psychometric(LEVELS, [21, 19, 22, 18, 20, 21, 20], [40] * 7, guess=0.5)
    assert np.isnan(flat.threshold)
    assert "does not rise" in flat.note
    assert np.isnan(threshold_at(flat, 0.75))
    late = fit_psychometric(LEVELS, [20, 20, 20, 20, 20, 22, 29], [40] * 7, guess=0.5)
    assert np.isnan(late.threshold)
    assert "beyond the levels" in late.note
    assert late.location > LEVELS[-1]
    ceiling = fit_psychometric(
        LEVELS, [36, 38, 39, 40, 40, 40, 40], [40] * 7, guess=0.5
    )
    assert np.isnan(ceiling.threshold)
    assert "beyond the levels" in ceiling.note
    falling = fit_psychometric(
        LEVELS, [40, 39, 35, 30, 25, 21, 20], [40] * 7, guess=0.5
    )
    assert np.isnan(falling.threshold)
    step = fit_psychometric(LEVELS, [20, 20, 20, 40, 40, 40, 40], [40] * 7, guess=0.5)
    assert 0.06 < step.threshold < 0.1
    assert "one step" in step.note


def test_a_level_of_zero_is_at_the_guess_rate():
    levels = np.r_[0.0, LEVELS]
    correct = np.r_[21, drawn("weibull", 40)]
    fit = fit_psychometric(levels, correct, [40] * 8, guess=0.5)
    without = fit_psychometric(LEVELS, correct[1:], [40] * 7, guess=0.5)
    assert fit.threshold == pytest.approx(without.threshold, rel=1e-4)


def covered_share(n, n_bootstrap):
    """Share of data sets whose interval holds the threshold; kinds take turns."""
    covered = []
    for seed, correct in enumerate(drawn("weibull", 80, size=n)):
        fit = fit_psychometric(LEVELS, correct, [80] * 7, guess=0.5, lapse=0.02)
        kind = ("parametric", "nonparametric")[seed % 2]
        table = bootstrap_psychometric(
            fit, kind=kind, n_bootstrap=n_bootstrap, seed=seed
        )
        covered.append(table["ci_low"][0] <= 0.1 <= table["ci_high"][0])
    return np.mean(covered)


def test_intervals_cover_the_threshold():
    assert covered_share(12, 80) >= 0.75


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_intervals_cover_the_threshold_as_often_as_they_say():
    assert covered_share(200, 300) == pytest.approx(0.95, abs=0.05)


def test_bootstrap_tables_name_what_was_fitted():
    fit = fit_psychometric(LEVELS, drawn("weibull", 80), [80] * 7, guess=0.5)
    table = bootstrap_psychometric(fit, n_bootstrap=120)
    assert table["parameter"].tolist() == ["threshold", "slope", "lapse"]
    assert table["value"].tolist() == [fit.threshold, fit.slope, fit.lapse]
    assert (table["ci_low"] <= table["ci_high"]).all()
    assert (table["note"] == "").all()
    again = bootstrap_psychometric(fit, n_bootstrap=120)
    assert again.equals(table)
    assert not bootstrap_psychometric(fit, n_bootstrap=120, seed=1).equals(table)
    easier = bootstrap_psychometric(fit, rate=0.6, n_bootstrap=120).iloc[0]
    assert easier["value"] == threshold_at(fit, 0.6)
    assert easier["ci_high"] < table["ci_high"].iloc[0]


def test_limits_that_data_do_not_hold_are_undefined_with_a_reason():
    flat = fit_psychometric(LEVELS, [21, 19, 22, 18, 20, 21, 20], [40] * 7, guess=0.5)
    row = bootstrap_psychometric(flat, n_bootstrap=100).iloc[0]
    assert np.isnan([row["value"], row["ci_low"], row["ci_high"]]).all()
    assert row["note"] == "too many draws have no threshold"
    late = fit_psychometric(LEVELS, [20, 20, 20, 22, 22, 26, 31], [40] * 7, guess=0.5)
    row = bootstrap_psychometric(late, n_bootstrap=300, coverage=0.9).iloc[0]
    assert np.isnan(row["ci_high"])
    assert "upper limit lies beyond" in row["note"]


def test_goodness_of_fit_is_even_for_true_functions_and_small_for_wrong_ones():
    p_values = []
    for correct in drawn("weibull", 60, size=16, seed=2):
        fit = fit_psychometric(LEVELS, correct, [60] * 7, guess=0.5, lapse=0.02)
        p_values.append(goodness_of_fit(fit, n_samples=39).p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    wrong = fit_psychometric(LEVELS, [30, 59, 30, 30, 59, 30, 59], [60] * 7, guess=0.5)
    found = goodness_of_fit(wrong, n_samples=199)
    assert found.p_value == 1 / 200
    assert (found.deviance, found.n_samples) == (wrong.deviance, 199)


def test_trials_are_counted_by_level():
    rng = np.random.default_rng(0)
    level = rng.choice([0.1, 0.2, 0.3], size=200)
    right = rng.random(200) < 0.7
    levels, n_correct, n_trials = count_levels(level, right)
    assert levels.tolist() == [0.1, 0.2, 0.3]
    for x, k, n in zip(levels, n_correct, n_trials, strict=True):
        assert (k, n) == (right[level == x].sum(), (level == x).sum())
    # Equal levels are joined, empty ones left out.
    twice = fit_psychometric(
        [0.1, 0.2, 0.1, 0.4, 9], [5, 8, 6, 10, 0], [10, 10, 10, 10, 0], guess=0.5
    )
    assert twice.levels.tolist() == [0.1, 0.2, 0.4]
    assert twice.n_correct.tolist() == [11, 8, 10]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"level": [0.1]}, "must have shape"),
        ({"level": [-0.1, 0.2, 0.3]}, "`level` must be at least 0 for 'weibull'"),
        ({"level": [0.1, np.nan, 0.3]}, "not finite"),
        ({"level": [0.1, 0.1, 0.1]}, "At least two levels above 0"),
        ({"level": [0.0, 0.0, 0.1]}, "At least two levels above 0"),
        ({"n_correct": [1, 2.5, 3]}, "`n_correct` must be whole numbers"),
        ({"n_correct": [1, 11, 3]}, "got 11 of 10 at the level 0.2"),
        ({"n_trials": [0, 0, 0], "n_correct": [0, 0, 0]}, "At least two levels"),
        ({"guess": 1.5}, "`guess` must be within"),
        ({"guess": 0.9, "lapse": 0.2}, "must leave room"),
        ({"function": "probit"}, "`function` must be one of"),
    ],
)
def test_impossible_input_is_refused(change, match):
    call = {"level": [0.1, 0.2, 0.3], "n_correct": [5, 7, 9], "n_trials": [10] * 3}
    with pytest.raises(ValueError, match=match):
        fit_psychometric(**{**call, "guess": 0.5, **change})


def test_rates_refuse_impossible_parameters():
    shape = {"location": 0.1, "slope": 2.0, "guess": 0.5}
    for change in ({"location": 0.0}, {"slope": 0.0}):
        with pytest.raises(ValueError, match="must be above 0"):
            psychometric_rate(0.1, **{**shape, **change})
    with pytest.raises(ValueError, match="at least 0 for 'weibull'"):
        psychometric_rate(-1.0, **shape)
    fit = fit_psychometric(LEVELS, drawn("weibull", 40), [40] * 7, guess=0.5)
    with pytest.raises(ValueError, match="`kind` must be one of"):
        bootstrap_psychometric(fit, kind="bayes")
    with pytest.raises(ValueError, match="`rate` must be within"):
        threshold_at(fit, 75)


# ------------------------------------------------------------------ a line


def test_a_slope_is_that_of_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30))
    line, other = parameter_slope(x, y), stats.linregress(x, y)
    got = (line.slope, line.intercept, line.r_squared)
    wanted = (other.slope, other.intercept, other.rvalue**2)
    np.testing.assert_allclose(got, wanted, rtol=1e-12)
    assert parameter_slope([*x, 1.0], [*y, np.nan]) == line


def test_a_slope_without_spread_is_undefined():
    assert np.isnan(parameter_slope([2, 2], [1, 3]).slope)
    assert np.isnan(parameter_slope([2], [1]).slope)
    level = parameter_slope([1, 2, 3], [5, 5, 5])
    assert (level.slope, level.intercept, level.n) == (0, 5, 3)
    assert np.isnan(level.r_squared)
    with pytest.raises(ValueError, match="`y` must have shape"):
        parameter_slope([1, 2], [1])
    with pytest.raises(ValueError, match="not finite"):
        parameter_slope([1, 2], [1, np.inf])
