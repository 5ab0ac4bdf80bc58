"""Fits of reaction times: recovery, SciPy as a second opinion, what is undefined."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats

from analysis.reaction_times import filter_rts
from analysis.rt_fits import (
    exgaussian_log_density,
    fit_exgaussian,
    fit_rts,
    fit_wald,
    goodness_of_fit,
    ks_distance,
    wasserstein_ms,
)


def _exgaussian(rng, n, mu=400.0, sigma=40.0, tau=150.0):
    return rng.normal(mu, sigma, n) + rng.exponential(tau, n)


def _wald(rng, n, drift=3.0, threshold=1.2, shift=200.0):
    return shift + 1000 * rng.wald(threshold / drift, threshold**2, n)


def _values(fit):
    return np.array(list(fit.parameters.values()))


# --------------------------------------------------------------------- recovery


def test_exgaussian_parameters_are_recovered():
    rng = np.random.default_rng(1)
    found = np.array(
        [_values(fit_exgaussian(_exgaussian(rng, 500))) for _ in range(40)]
    )
    # Standard errors of one fit: 7, 5 and 9 ms; of the mean of 40: a sixth.
    assert np.abs(found.mean(axis=0) - [400, 40, 150]) == pytest.approx(0, abs=4)
    assert (found.std(axis=0) < [12, 9, 15]).all()


def test_wald_parameters_are_recovered():
    rng = np.random.default_rng(2)
    found = np.array([_values(fit_wald(_wald(rng, 2000))) for _ in range(40)])
    assert found.mean(axis=0) == pytest.approx([3, 1.2, 200], rel=0.03)
    assert (found.std(axis=0) < [0.2, 0.12, 15]).all()


@pytest.mark.parametrize(("sigma", "tau"), [(10, 300), (100, 60), (60, 800)])
def test_exgaussians_of_other_shapes_are_recovered(sigma, tau):
    rng = np.random.default_rng(3)
    fit = fit_exgaussian(_exgaussian(rng, 20_000, 600, sigma, tau))
    assert fit.converged
    assert _values(fit) == pytest.approx([600, sigma, tau], rel=0.08)


@pytest.mark.parametrize(("drift", "threshold"), [(1.5, 0.6), (6, 3), (2, 2)])
def test_walds_of_other_shapes_are_recovered(drift, threshold):
    rng = np.random.default_rng(4)
    fit = fit_wald(_wald(rng, 40_000, drift, threshold, 300))
    assert fit.converged
    assert _values(fit) == pytest.approx([drift, threshold, 300], rel=0.12)


def test_the_family_that_made_the_data_has_the_lower_aic():
    rng = np.random.default_rng(5)
    for data, better, other in (
        (_exgaussian(rng, 4000, 500, 80, 200), fit_exgaussian, fit_wald),
        (_wald(rng, 4000), fit_wald, fit_exgaussian),
    ):
        assert better(data).aic < other(data).aic


# ------------------------------------------------------------------ cross-checks


def test_log_density_is_that_of_scipy():
    x = np.linspace(100, 3000, 60)
    for mu, sigma, tau in ((400, 40, 150), (500, 5, 300), (400, 100, 30)):
        expected = stats.exponnorm.logpdf(x, tau / sigma, loc=mu, scale=sigma)
        got = exgaussian_log_density(x, mu, sigma, tau)
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_log_density_is_finite_far_out_and_near_a_normal():
    far = exgaussian_log_density([-1e5, 1e6], 400, 40, 150)
    assert np.isfinite(far).all()
    x = np.linspace(300, 500, 21)
    near = exgaussian_log_density(x, 400, 40, 0.01)
    assert near == pytest.approx(stats.norm.logpdf(x, 400, 40), abs=1e-3)
    with pytest.raises(ValueError, match="tau_ms"):
        exgaussian_log_density(x, 400, 40, 0)


def test_exgaussian_fit_is_the_maximum_that_scipy_finds():
    data = _exgaussian(np.random.default_rng(6), 400)
    fit = fit_exgaussian(data)
    k, mu, sigma = stats.exponnorm.fit(data)
    assert _values(fit) == pytest.approx([mu, sigma, k * sigma], rel=1e-4)
    assert fit.log_likelihood == pytest.approx(fit.distribution.logpdf(data).sum())
    assert fit.log_likelihood >= stats.exponnorm.logpdf(data, k, mu, sigma).sum() - 1e-6
    assert fit.aic == pytest.approx(6 - 2 * fit.log_likelihood)


def test_wald_fit_is_the_maximum_that_a_simplex_finds():
    data = _wald(np.random.default_rng(7), 400)
    fit = fit_wald(data)

    def loss(p):
        if p[1] >= data.min():
            return 1e9
        return -stats.invgauss.logpdf(data, np.exp(p[0]), p[1], np.exp(p[2])).sum()

    best = optimize.minimize(
        loss,
        [0, 150, 7],
        method="Nelder-Mead",
        options={"maxiter": 4000, "fatol": 1e-9},
    )
    assert fit.log_likelihood == pytest.approx(-best.fun, abs=1e-4)
    assert fit.parameters["shift_ms"] == pytest.approx(best.x[1], rel=1e-3)
    assert fit.log_likelihood == pytest.approx(fit.distribution.logpdf(data).sum())
    drift, threshold, shift = _values(fit)
    assert fit.distribution.mean() == pytest.approx(shift + 1000 * threshold / drift)
    assert np.mean(data) == pytest.approx(fit.distribution.mean())


@pytest.mark.parametrize("fit", [fit_exgaussian, fit_wald])
@pytest.mark.parametrize(("shift", "scale"), [(250.0, 1.0), (0.0, 3.0)])
def test_fits_follow_shift_and_scale(fit, shift, scale):
    data = _exgaussian(np.random.default_rng(8), 300)
    before, after = fit(data), fit(shift + scale * data)
    assert after.distribution.ppf([0.1, 0.5, 0.9]) == pytest.approx(
        shift + scale * before.distribution.ppf([0.1, 0.5, 0.9]), rel=1e-3
    )
    expected = before.log_likelihood - 300 * np.log(scale)
    assert after.log_likelihood == pytest.approx(expected, abs=1e-3)


# -------------------------------------------------------------------- undefined


@pytest.mark.parametrize("fit", [fit_exgaussian, fit_wald])
@pytest.mark.parametrize(
    "data",
    [
        [],
        [500.0, 600.0, 700.0],
        [500.0] * 50,
        [500.0, 600.0] * 20,
        [500.0, 600.0, 700.0, np.nan] * 20,
        [500.0, 600.0, 700.0, np.inf] * 20,
    ],
)
def test_what_data_cannot_determine_is_nan(fit, data):
    result = fit(data)
    assert np.isnan(_values(result)).all()
    assert np.isnan([result.log_likelihood, result.aic]).all()
    assert result.n == len(data)
    assert not result.converged
    assert result.distribution is None
    finite = [value for value in data if np.isfinite(value)]
    assert np.isnan(goodness_of_fit(finite, result).ks)


def test_a_vanished_part_is_told():
    rng = np.random.default_rng(9)
    normal = rng.normal(600, 50, 400)
    assert not fit_wald(normal - 2 * (normal - 600)).converged
    left = 2000 - _exgaussian(rng, 400)
    assert not fit_exgaussian(left).converged
    assert fit_exgaussian(left).parameters["sigma_ms"] == pytest.approx(
        left.std(), rel=0.01
    )
    assert np.isnan(_values(fit_wald([-1.0, *range(20)]))).all()


def test_one_wild_trial_does_not_break_a_fit():
    data = np.append(_exgaussian(np.random.default_rng(10), 300), 45_000)
    for fit in (fit_exgaussian(data), fit_wald(data)):
        assert np.isfinite(_values(fit)).all()
        assert 350 < fit.distribution.median() < 700


@settings(max_examples=40)
@given(
    hnp.arrays(np.float64, st.integers(10, 40), elements=st.floats(1, 20_000, width=32))
)
def test_no_data_break_a_fit(data):
    for fit in (fit_exgaussian(data), fit_wald(data)):
        values = _values(fit)
        assert np.isfinite(values).all() or np.isnan(values).all()
        assert np.isfinite(values).all() == np.isfinite(fit.log_likelihood)


# -------------------------------------------------------------- goodness, tables


def test_residuals_are_quantiles_of_data_minus_those_of_the_fit():
    data = _exgaussian(np.random.default_rng(11), 3000)
    fit = fit_exgaussian(data)
    good = goodness_of_fit(data, fit, quantiles=[0.25, 0.75])
    expected = np.quantile(data, [0.25, 0.75]) - fit.distribution.ppf([0.25, 0.75])
    assert good.residual_ms == pytest.approx(expected)
    assert good.rmse_ms == pytest.approx(np.sqrt(np.mean(expected**2)))
    assert good.ks == pytest.approx(stats.kstest(data, fit.distribution.cdf).statistic)
    assert good.ks < 0.03
    worse = goodness_of_fit(data + 50, fit)
    assert worse.residual_ms.mean() == pytest.approx(50, abs=5)
    with pytest.raises(ValueError, match="quantiles"):
        goodness_of_fit(data, fit, quantiles=[0])


@pytest.mark.parametrize("family", ["ex-Gaussian", "shifted Wald"])
def test_cells_of_a_table_are_fitted_one_by_one(family):
    rng = np.random.default_rng(12)
    trials = pd.DataFrame({"cell": np.repeat(["a", "b"], 200), "rt_ms": 500.0})
    trials.loc[:199, "rt_ms"] = _exgaussian(rng, 200)
    table = fit_rts(trials, ["cell"], family=family)
    fit = {"ex-Gaussian": fit_exgaussian, "shifted Wald": fit_wald}[family]
    alone = fit(trials["rt_ms"][:200])
    assert table.loc[0, list(alone.parameters)].tolist() == list(
        alone.parameters.values()
    )
    assert table.loc[1, list(alone.parameters)].isna().all()
    assert table["n"].tolist() == [200, 200]
    with pytest.raises(ValueError, match="Did you mean"):
        fit_rts(trials, ["cell"], family="ex-gauss")


@pytest.mark.paper
def test_wolfe_data_are_fitted_in_every_cell_of_every_subject(data_folder):
    real = pd.read_csv(data_folder / "search_rt_wolfe2010" / "trials.csv.gz")
    kept = filter_rts(real).trials
    by = ["task", "target_present", "set_size", "subject"]
    table = fit_rts(kept, by)
    assert len(table) == 176
    assert table["converged"].mean() > 0.95
    means = kept.groupby(by)["rt_ms"].mean().to_numpy()
    # The mean of an ex-Gaussian at its maximum is that of the data.
    assert (table["mu_ms"] + table["tau_ms"]).to_numpy() == pytest.approx(
        means, rel=1e-3
    )
    tau = table.groupby(["task", "target_present"])["tau_ms"].mean()
    assert tau["spatial_configuration", 1] > tau["conjunction", 1] > tau["feature", 1]


# -------------------------------------------------------------------- distances


_SAMPLES = hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(200, 260))


def test_ks_distance_is_that_of_scipy():
    rng = np.random.default_rng(14)
    first, second = _exgaussian(rng, 60), _exgaussian(rng, 90, mu=450)
    expected = stats.ks_2samp(first, second).statistic
    assert ks_distance(first, second) == pytest.approx(expected)


@settings(max_examples=50)
@given(_SAMPLES, _SAMPLES)
def test_distances_are_those_between_step_functions(first, second):
    grid = np.arange(200, 261)
    cdfs = [
        np.searchsorted(np.sort(s), grid, side="right") / len(s)
        for s in (first, second)
    ]
    gap = np.abs(cdfs[0] - cdfs[1])
    assert ks_distance(first, second) == pytest.approx(gap.max())
    assert ks_distance(first, second) == ks_distance(second, first)
    assert wasserstein_ms(first, second) == pytest.approx(gap.sum())
    assert wasserstein_ms(first, second) == pytest.approx(wasserstein_ms(second, first))
    assert ks_distance(first, first) == wasserstein_ms(first, first) == 0


def test_a_shift_is_its_wasserstein_distance():
    data = _exgaussian(np.random.default_rng(13), 200)
    assert wasserstein_ms(data, data + 37) == pytest.approx(37)


def test_distances_of_empty_samples_are_nan():
    assert np.isnan(ks_distance([], [1.0]))
    assert np.isnan(wasserstein_ms([1.0], []))
    with pytest.raises(ValueError, match="not finite"):
        ks_distance([np.nan], [1.0])
