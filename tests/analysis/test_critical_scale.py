"""Critical scales: the model, its fit, recovery, and what cannot be told."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from analysis.abx_discrimination import (
    abx_proportion_correct,
    discriminability,
    proportion_correct,
    slope_of_log_gain,
)
from analysis.critical_scale import fit_critical_scale, fit_critical_scales

SCALES = np.array([0.25, 0.35, 0.45, 0.55, 0.7, 0.85, 1.0])


def test_abx_shares_agree_with_simulated_observers():
    """Which of A and B is higher, and X by itself: independent observations."""
    rng = np.random.default_rng(0)
    for d in (0.0, 0.7, 1.5, 3.0):
        a, b, x = rng.normal(size=(3, 400_000))
        b_high = rng.random(400_000) < 0.5
        x_high = rng.random(400_000) < 0.5
        a = a + np.where(b_high, 0, d)
        b = b + np.where(b_high, d, 0)
        x = x + np.where(x_high, d, 0)
        says_b = (b > a) == (x > d / 2)
        right = says_b == (x_high == b_high)
        assert right.mean() == pytest.approx(abx_proportion_correct(d), abs=0.003)


def test_abx_shares_agree_with_published_tables():
    # Palamedes, match-to-sample, independent observations, d' = 0 to 5.
    np.testing.assert_allclose(
        abx_proportion_correct(np.arange(6)),
        [0.5, 0.5997, 0.7877, 0.9185, 0.9750, 0.9936],
        atol=5e-5,
    )


@given(st.floats(0.05, 3), st.floats(0, 3), st.floats(0, 20), st.floats(0, 0.3))
def test_shares_lie_between_chance_and_the_lapses(scale, critical, gain, lapse):
    for decision in ("published", "signal_detection"):
        p = proportion_correct(scale, critical, gain, lapse=lapse, decision=decision)
        assert 0.5 - 1e-12 <= p <= 1 - lapse / 2 + 1e-12
        if scale <= critical:
            assert p == pytest.approx(0.5)


def test_the_squared_distance_enters_as_published_or_as_its_root():
    squared = discriminability(0.8, 0.4, 3.0)
    assert squared == pytest.approx(3 * (1 - 0.25))
    assert proportion_correct(0.8, 0.4, 3.0) == abx_proportion_correct(squared)
    rooted = proportion_correct(0.8, 0.4, 3.0, decision="signal_detection")
    assert rooted == abx_proportion_correct(np.sqrt(squared))


@pytest.mark.parametrize("decision", ["published", "signal_detection"])
def test_slopes_are_those_of_differences(decision):
    gain, step = np.geomspace(0.05, 40, 30), 1e-5
    up, down = (
        proportion_correct(0.8, 0.4, gain * np.exp(h), decision=decision)
        for h in (step, -step)
    )
    squared = discriminability(0.8, 0.4, gain)
    np.testing.assert_allclose(
        slope_of_log_gain(squared, decision), (up - down) / (2 * step), atol=1e-9
    )


@pytest.mark.parametrize("decision", ["published", "signal_detection"])
@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_the_maximum_of_the_likelihood(decision, seed):
    rng = np.random.default_rng(seed)
    n = np.full(len(SCALES), 80)
    k = rng.binomial(n, proportion_correct(SCALES, 0.4, 3.0, decision=decision))
    found = fit_critical_scale(SCALES, k, n, decision=decision, n_bootstrap=0)

    def loss(q):
        p = proportion_correct(SCALES, abs(q[0]), abs(q[1]), decision=decision)
        return -(k * np.log(p) + (n - k) * np.log1p(-p)).sum()

    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
    best = min(
        (
            minimize(loss, [s0, gain], method="Nelder-Mead", options=options)
            for s0 in np.linspace(0.1, 0.95, 8)
            for gain in (1.0, 4.0)
        ),
        key=lambda r: r.fun,
    )
    assert found.log_likelihood == pytest.approx(-best.fun, abs=1e-6)
    assert found.critical_scale == pytest.approx(abs(best.x[0]), abs=2e-4)
    assert found.gain == pytest.approx(abs(best.x[1]), rel=2e-3)


@pytest.mark.parametrize("decision", ["published", "signal_detection"])
def test_exact_shares_give_the_true_parameters(decision):
    p = proportion_correct(SCALES, 0.42, 2.5, lapse=0.04, decision=decision)
    n = np.full(len(SCALES), 1_000_000)
    for lapse in (0.04, None):
        found = fit_critical_scale(
            SCALES, np.rint(n * p), n, lapse=lapse, decision=decision, n_bootstrap=0
        )
        tolerance = 2e-3 if lapse else 0.02
        assert found.critical_scale == pytest.approx(0.42, abs=tolerance)
        assert found.gain == pytest.approx(2.5, rel=0.1)
        assert found.lapse == pytest.approx(0.04, abs=0.01)
        assert found.n_trials == 7_000_000


def test_simulated_observers_are_recovered():
    rng = np.random.default_rng(1)
    n = np.full(len(SCALES), 150)
    p = proportion_correct(SCALES, 0.45, 4.0)
    found = [
        fit_critical_scale(SCALES, rng.binomial(n, p), n, n_bootstrap=0).critical_scale
        for _ in range(40)
    ]
    assert np.mean(found) == pytest.approx(0.45, abs=0.02)
    assert np.std(found) < 0.05


@pytest.mark.slow
def test_intervals_cover_the_true_scale():
    rng = np.random.default_rng(2)
    n = np.full(len(SCALES), 120)
    p = proportion_correct(SCALES, 0.45, 4.0)
    covered = 0
    for i in range(100):
        k = rng.binomial(n, p)
        found = fit_critical_scale(SCALES, k, n, n_bootstrap=200, seed=i)
        covered += found.ci_low <= 0.45 <= found.ci_high
    assert covered >= 86


def make_trials(rng, who, n=100):
    parts = []
    for subject, scales in who.items():
        for comparison, critical in scales.items():
            for s in SCALES:
                p = proportion_correct(s, critical, 8.0, lapse=0.04)
                parts.append(
                    pd.DataFrame(
                        {
                            "subject": subject,
                            "comparison": comparison,
                            "scale": s,
                            "correct": rng.random(n) < p,
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def test_comparisons_are_fitted_apart_and_share_their_lapses():
    who = {
        "s1": {"original-sample": 0.3, "sample-sample": 0.55},
        "s2": {"original-sample": 0.25, "sample-sample": 0.5},
    }
    trials = make_trials(np.random.default_rng(3), who, n=300)
    found = fit_critical_scales(trials, n_bootstrap=30)
    assert found["subject"].tolist() == ["s1", "s1", "s2", "s2"]
    for row in found.itertuples():
        assert row.critical_scale == pytest.approx(
            who[row.subject][row.comparison], abs=0.08
        )
        assert row.ci_low < row.critical_scale < row.ci_high
        assert row.n_trials == 2100
    assert found.groupby("subject")["lapse"].nunique().tolist() == [1, 1]
    np.testing.assert_allclose(found["lapse"], 0.04, atol=0.03)
    pooled = fit_critical_scales(trials, by=(), lapse=0.02, n_bootstrap=0)
    assert pooled["n_trials"].tolist() == [4200, 4200]


def test_shared_lapses_are_the_maximum_of_the_joint_likelihood():
    who = {"s1": {"original-sample": 0.3, "sample-sample": 0.55}}
    trials = make_trials(np.random.default_rng(5), who, n=200)
    cells = trials.groupby(["comparison", "scale"])["correct"].agg(["sum", "size"])
    total = {}
    for lapse in np.linspace(0, 0.1, 41):
        fits = [
            fit_critical_scale(
                SCALES,
                cells.loc[name, "sum"],
                cells.loc[name, "size"],
                lapse=lapse,
                n_bootstrap=0,
            )
            for name in who["s1"]
        ]
        total[lapse] = sum(fit.log_likelihood for fit in fits)
    best = max(total, key=total.get)
    found = fit_critical_scales(trials, n_bootstrap=0)
    assert found["log_likelihood"].sum() >= total[best] - 0.01
    np.testing.assert_allclose(found["lapse"], best, atol=0.005)


def test_steep_curves_are_followed_along_the_ridge_of_gain_and_scale():
    # Just below a tested scale a larger gain makes up for a larger critical scale.
    n = np.full(len(SCALES), 200)
    p = proportion_correct(SCALES, 0.345, 30.0)
    k = np.rint(n * p)
    found = fit_critical_scale(SCALES, k, n, n_bootstrap=0)
    true = (k * np.log(p) + (n - k) * np.log1p(-np.minimum(p, 1 - 1e-12))).sum()
    assert found.log_likelihood >= true - 1e-6


def test_results_follow_the_seed_and_no_other_observer():
    who = {"s1": {"sample-sample": 0.5}, "s2": {"sample-sample": 0.4}}
    trials = make_trials(np.random.default_rng(4), who)
    both = fit_critical_scales(trials, lapse=0.0, n_bootstrap=40, seed=1)
    alone = fit_critical_scales(
        trials[trials["subject"] == "s2"], lapse=0.0, n_bootstrap=40, seed=1
    )
    pd.testing.assert_frame_equal(both[1:].reset_index(drop=True), alone)


@pytest.mark.parametrize(
    ("correct", "words"),
    [
        ([50, 50, 50, 50, 50, 50, 50], "not better than chance"),
        ([48, 52, 49, 55, 51, 50, 53], "not better than chance"),
        ([85, 85, 85, 85, 85, 85, 85], "do not fall"),
        ([50, 50, 50, 100, 100, 100, 100], "a step"),
    ],
)
def test_what_counts_do_not_tell_is_undefined(correct, words):
    found = fit_critical_scale(SCALES, correct, [100] * 7, n_bootstrap=20)
    assert words in found.note
    values = [found.critical_scale, found.gain, found.ci_low, found.ci_high]
    assert np.isnan(values).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit_critical_scale([0.5], [1], [2]), "two or more"),
        (lambda: fit_critical_scale([0.5, 0.5], [1, 1], [2, 2]), "two or more"),
        (lambda: fit_critical_scale([0.0, 0.5], [1, 1], [2, 2]), "above 0"),
        (lambda: fit_critical_scale([0.2, 0.5], [3, 1], [2, 2]), "n_correct"),
        (lambda: fit_critical_scale([0.2, 0.5], [0.5, 1], [2, 2]), "count"),
        (lambda: fit_critical_scale([0.2, 0.5], [1, 1], [2]), "n_trials"),
        (lambda: fit_critical_scale([0.2, 0.5], [1, 1], [2, 2], lapse=1), "lapse"),
        (
            lambda: fit_critical_scale([0.2, 0.5], [1, 1], [2, 2], decision="x"),
            "decision",
        ),
        (lambda: discriminability(0, 0.5, 1), "above 0"),
        (lambda: discriminability(1, -0.5, 1), "0 or more"),
        (lambda: abx_proportion_correct(-1), "0 or more"),
        (lambda: proportion_correct(1, 0.5, 1, lapse=2), "lapse"),
        (
            lambda: fit_critical_scales(pd.DataFrame({"scale": [1.0]})),
            "comparison",
        ),
    ],
)
def test_wrong_arguments_are_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()
