"""d', criterion, and d' of choices among alternatives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from analysis.signal_detection import (
    criterion,
    d_prime,
    forced_choice_accuracy,
    forced_choice_d_prime,
)

counts = st.integers(0, 40)


@given(counts, counts)
def test_d_prime_and_criterion_are_those_of_normal_quantiles(hits, false):
    z = stats.norm.ppf([(hits + 0.5) / 41, (false + 0.5) / 41])
    assert d_prime(hits, 40, false, 40) == pytest.approx(z[0] - z[1], abs=1e-12)
    assert criterion(hits, 40, false, 40) == pytest.approx(-z.mean(), abs=1e-12)
    # Signal and noise exchanged; "yes" and "no" exchanged.
    assert d_prime(false, 40, hits, 40) == pytest.approx(-(z[0] - z[1]), abs=1e-12)
    assert criterion(40 - hits, 40, 40 - false, 40) == pytest.approx(
        z.mean(), abs=1e-12
    )


def test_known_values_and_extreme_rates():
    # 69 % hits and 31 % false alarms are one standard deviation apart.
    assert d_prime(69, 100, 31, 100, correction="none") == pytest.approx(
        0.992, abs=1e-3
    )
    assert criterion(69, 100, 31, 100) == pytest.approx(0, abs=1e-12)
    assert np.isposinf(d_prime(20, 20, 3, 20, correction="none"))
    perfect = d_prime(20, 20, 0, 20)
    assert perfect == pytest.approx(2 * stats.norm.ppf(20.5 / 21))
    assert np.isnan(d_prime(0, 0, 1, 2))
    assert np.isnan(d_prime(2, 2, 2, 2, correction="none"))
    table = d_prime([10, 20], 20, [[5], [0]], 20)
    assert table.shape == (2, 2)
    assert table[1, 1] == perfect


def test_d_prime_is_recovered_from_simulated_answers():
    rng = np.random.default_rng(0)
    n = 20_000
    hits = np.sum(rng.normal(1.3, 1, n) > 0.9)
    false = np.sum(rng.normal(0, 1, n) > 0.9)
    assert d_prime(hits, n, false, n) == pytest.approx(1.3, abs=0.03)
    assert criterion(hits, n, false, n) == pytest.approx(0.9 - 0.65, abs=0.02)


@pytest.mark.parametrize("m", [2, 3, 4, 16])
def test_forced_choice_agrees_with_quadrature_and_simulation(m):
    for distance in (-1.0, 0.0, 0.4, 2.5):
        wanted, _ = integrate.quad(
            lambda x, d=distance: stats.norm.pdf(x - d) * stats.norm.cdf(x) ** (m - 1),
            -12,
            15,
        )
        got = forced_choice_accuracy(distance, m)
        assert got == pytest.approx(wanted, abs=1e-8)
        assert forced_choice_d_prime(got, m) == pytest.approx(distance, abs=1e-9)
    rng = np.random.default_rng(m)
    looks = rng.normal(size=(40_000, m)) + np.r_[1.2, np.zeros(m - 1)]
    share = np.mean(looks.argmax(axis=1) == 0)
    assert forced_choice_accuracy(1.2, m) == pytest.approx(share, abs=0.01)


def test_two_alternatives_have_a_closed_form():
    share = np.array([0.3, 0.5, 0.75, 0.99])
    wanted = np.sqrt(2) * stats.norm.ppf(share)
    np.testing.assert_allclose(forced_choice_d_prime(share), wanted, atol=1e-9)
    ends = forced_choice_d_prime([0.0, 1.0, np.nan], 4)
    assert ends.tolist()[:2] == [-np.inf, np.inf]
    assert np.isnan(ends[2])


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="`n_hits` must be within 0"):
        d_prime(5, 4, 0, 4)
    with pytest.raises(ValueError, match="`n_false_alarms` must be within 0"):
        criterion(4, 4, -1, 4)
    with pytest.raises(ValueError, match="`correction` must be one of"):
        d_prime(1, 2, 1, 2, correction="loglinear")
    with pytest.raises(ValueError, match="`accuracy` must be within"):
        forced_choice_d_prime(1.2)
    with pytest.raises(ValueError, match="`n_alternatives` must be within"):
        forced_choice_accuracy(1.0, 1)
