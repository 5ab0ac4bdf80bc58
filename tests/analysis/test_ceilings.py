"""Ceilings against definitions, other programs, published numbers and simulation."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as oracle
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from analysis import metrics
from analysis.ceilings import (
    estimate_ncsnr,
    leave_one_subject_out,
    signal_fraction,
    split_half_reliability,
    stack_trials,
)
from neurovis.core.noise_ceiling import explainable_fraction

# Own output on two small cases, so that a change is noticed without other data.
FROZEN = {
    "ncsnr": [
        0.8075883105882063,
        1.3080712058660373,
        0.5675255400138586,
        0.6480019400696545,
    ],
    "ceiling": [
        0.5462917340634912,
        0.7595496107220474,
        0.37289091533813584,
        0.4366870069078281,
    ],
    "bounds": [0.01864578737220073, 0.21235918292602954],
}
TRIALS = arrays(
    np.float64,
    st.tuples(st.integers(2, 6), st.integers(2, 4), st.integers(1, 3)),
    elements=st.integers(-20, 20).map(float),
)


def simulate(ncsnr, n_images=500, n_repeats=3, n_units=1000, seed=0):
    """Trials of units with one true ratio of signal to noise."""
    rng = np.random.default_rng(seed)
    signal = ncsnr * rng.standard_normal((n_images, 1, n_units))
    return signal + rng.standard_normal((n_images, n_repeats, n_units))


def thinned(trials, seed=0):
    """The same with a last repeat that half of the images lack."""
    trials = trials.copy()
    trials[np.random.default_rng(seed).random(len(trials)) < 0.5, -1] = np.nan
    return trials


# -------------------------------------------------------------------------- ncsnr


@given(TRIALS)
def test_ncsnr_is_its_definition_unit_by_unit(trials):
    estimate = estimate_ncsnr(trials)
    assert (estimate.n_images, estimate.n_repeats) == trials.shape[:2]
    for unit in range(trials.shape[2]):
        rows = trials[:, :, unit]
        noise = np.mean([np.var(row, ddof=1) for row in rows])
        total = np.var(rows.ravel(), ddof=1)
        assert estimate.noise_sd[unit] == pytest.approx(np.sqrt(noise), abs=1e-12)
        assert estimate.total_variance[unit] == pytest.approx(total, abs=1e-12)
        ncsnr = estimate.ncsnr[unit]
        if total == 0:
            assert np.isnan(ncsnr)
        elif noise == 0:
            assert np.isinf(ncsnr)
        else:
            signal = max(total - noise, 0)
            assert ncsnr**2 == pytest.approx(signal / noise, abs=1e-9)


def test_frozen_ncsnr_of_a_small_recording():
    estimate = estimate_ncsnr(simulate(0.7, n_images=20, n_units=4, seed=3))
    np.testing.assert_allclose(estimate.ncsnr, FROZEN["ncsnr"], rtol=1e-10)
    ceiling = estimate.ceiling([3, 3, 2, 1])
    np.testing.assert_allclose(ceiling, FROZEN["ceiling"], rtol=1e-10)


def test_the_ceiling_is_that_of_the_evaluated_images():
    estimate = estimate_ncsnr(simulate(0.5, n_units=3))
    square = estimate.ncsnr**2
    np.testing.assert_allclose(estimate.ceiling([3]), square / (square + 1 / 3))
    np.testing.assert_allclose(estimate.ceiling([1, 1]), square / (square + 1))


@pytest.mark.parametrize("constant", [0.1, 628.63, np.float32(1e9) / 3])
def test_a_unit_that_never_changes_or_lacks_a_value_has_no_ncsnr(constant):
    trials = simulate(1, n_images=7, n_units=4)
    trials[:, :, 0] = constant
    trials[3, 1, 1] = np.nan
    trials[3, 1, 2] = np.inf
    estimate = estimate_ncsnr(trials)
    for part in (estimate.ncsnr, estimate.ceiling([3])):
        assert np.isnan(part).tolist() == [True, True, True, False]


@pytest.mark.parametrize("n_repeats", [2, 3, 7])
def test_a_unit_without_noise_has_an_infinite_ncsnr_and_a_ceiling_of_one(n_repeats):
    trials = np.repeat(simulate(1, 9, 1, 2) / 3, n_repeats, axis=1)
    estimate = estimate_ncsnr(trials)
    assert np.isinf(estimate.ncsnr).all()
    assert (estimate.ceiling([1]) == 1).all()


def test_ncsnr_ignores_scale_and_offset_of_a_unit():
    trials = simulate(0.6, n_images=30, n_units=4)
    moved = estimate_ncsnr(trials * [1, 300, -2, 1e-3] + [0, 1e4, 5, 1])
    np.testing.assert_allclose(moved.ncsnr, estimate_ncsnr(trials).ncsnr, rtol=1e-7)


def test_ncsnr_of_float32_needs_no_copy_of_all_trials(monkeypatch):
    trials = simulate(0.6, n_images=40, n_units=3000).astype(np.float32)
    whole = estimate_ncsnr(trials)
    monkeypatch.setattr(metrics, "_VALUES_AT_ONCE", 40 * 3 * 100)
    tracemalloc.start()
    blocks = estimate_ncsnr(trials)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(blocks.ncsnr, whole.ncsnr)
    assert peak < trials.nbytes


@pytest.mark.parametrize("ncsnr", [0.2, 0.3, 0.5, 1.0])
def test_the_median_over_units_recovers_ncsnr_and_single_units_scatter(ncsnr):
    estimate = estimate_ncsnr(simulate(ncsnr, n_units=1500)).ncsnr
    assert np.median(estimate) == pytest.approx(ncsnr, rel=0.05)
    error = np.sqrt(np.mean((estimate / ncsnr - 1) ** 2))
    stated = {0.2: 0.42, 0.3: 0.19, 0.5: 0.09, 1.0: 0.05}[ncsnr]
    assert error == pytest.approx(stated, rel=0.08)


def exact_ncsnr(ncsnr, n_images=500, n_repeats=3):
    """Probabilities, estimates and F for normal noise: one-way analysis of variance."""
    df = n_images - 1, n_images * (n_repeats - 1)
    law = oracle.f(*df)
    f = np.linspace(law.ppf(1e-9), law.isf(1e-9), 200_001)
    excess = (1 + n_repeats * ncsnr**2) * f - 1
    estimate = np.sqrt(np.maximum(df[0] / sum(df) * excess, 0))
    weight = law.pdf(f)
    return weight / weight.sum(), estimate


def exact_quantile(ncsnr, level, **options):
    weight, estimate = exact_ncsnr(ncsnr, **options)
    return np.interp(level, np.cumsum(weight), estimate)


def test_estimates_are_distributed_as_an_analysis_of_variance_says():
    levels = [0.2, 0.5, 0.7, 0.9, 0.99]
    ours = np.quantile(estimate_ncsnr(simulate(0.15, 60, 3, 20_000)).ncsnr, levels)
    exact = exact_quantile(0.15, levels, n_images=60)
    np.testing.assert_allclose(ours, exact, rtol=0.06)
    assert ours[0] == 0


@pytest.mark.parametrize(
    ("ncsnr", "median", "mean", "error", "clipped", "ceiling"),
    [
        (0.05, -0.047, 0.473, 1.69, 0.465, 3.382),
        (0.1, -0.012, -0.041, 0.866, 0.355, 0.538),
        (0.15, -0.006, -0.102, 0.601, 0.203, 0.086),
        (0.2, -0.004, -0.067, 0.416, 0.074, -0.009),
        (0.3, -0.002, -0.015, 0.193, 0.001, -0.016),
        (0.5, -0.001, -0.002, 0.091, 0.0, -0.006),
        (1.0, -0.001, -0.001, 0.052, 0.0, -0.002),
    ],
)
def test_the_clip_at_zero_biases_means_more_than_medians(
    ncsnr, median, mean, error, clipped, ceiling
):
    weight, estimate = exact_ncsnr(ncsnr)
    relative = estimate / ncsnr - 1
    middle = exact_quantile(ncsnr, 0.5) / ncsnr - 1
    assert middle == pytest.approx(median, abs=6e-4)
    assert weight @ relative == pytest.approx(mean, abs=6e-4)
    assert np.sqrt(weight @ relative**2) == pytest.approx(error, abs=1e-3)
    assert weight @ (estimate == 0) == pytest.approx(clipped, abs=6e-4)
    truth = explainable_fraction([ncsnr], [3])
    ours = weight @ explainable_fraction(estimate, [3])
    assert ours / truth - 1 == pytest.approx(ceiling, abs=2e-3)


@pytest.mark.parametrize(("ncsnr", "spread"), [(0.1, 0.053), (0.2, 0.0144)])
def test_the_median_of_a_thousand_units_scatters_where_signal_is_weak(ncsnr, spread):
    # Of a median: root of p (1 - p) / n, over the density there.
    level = 0.5 + np.array([-1, 1]) * np.sqrt(0.25 / 1000)
    low, high = exact_quantile(ncsnr, level) / ncsnr
    assert (high - low) / 2 == pytest.approx(spread, rel=0.01)


def test_units_chosen_for_a_high_ncsnr_have_been_lucky():
    first = estimate_ncsnr(simulate(0.2, n_images=100, seed=1)).ncsnr
    # Equal units: who is above the median is chance, and no better in new data.
    chosen = first > np.median(first)
    again = estimate_ncsnr(simulate(0.2, n_images=100, seed=2)).ncsnr
    assert np.median(first[chosen]) > 0.28
    assert np.median(again[chosen]) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("shape", [(4, 3), (4, 1, 2), (1, 3, 2), (2, 2, 2, 2)])
def test_trials_of_another_form_are_refused(shape):
    with pytest.raises(ValueError, match="`betas`"):
        estimate_ncsnr(np.zeros(shape))


# ------------------------------------------------------------------------- stacking


@given(st.lists(st.sampled_from("dacb"), max_size=12))
def test_stacked_trials_keep_every_trial_in_its_order(ids):
    betas = np.arange(2 * len(ids), dtype=np.float32).reshape(-1, 2)
    trials, names = stack_trials(betas, ids)
    assert names == sorted(set(ids))
    assert trials.dtype == np.float32
    assert trials.shape == (len(names), max([0, *map(ids.count, names)]), 2)
    for name, image in zip(names, trials, strict=True):
        own = betas[[i for i, each in enumerate(ids) if each == name]]
        np.testing.assert_array_equal(image[: len(own)], own)
        assert np.isnan(image[len(own) :]).all()


def test_trials_without_an_identity_or_of_another_number_are_refused():
    with pytest.raises(ValueError, match="without an identity"):
        stack_trials(np.zeros((2, 1)), np.array(["a", None]))
    with pytest.raises(ValueError, match=r"must have shape \(2\)"):
        stack_trials(np.zeros((2, 1)), ["a", "b", "c"])


def test_stacked_integers_become_floats():
    trials, _ = stack_trials(np.array([[1], [2], [3]], np.int16), list("aba"))
    assert trials.dtype == np.float32
    assert np.isnan(trials[1, 1, 0])


# ------------------------------------------------------------------------ split half


@pytest.mark.parametrize("n_repeats", [2, 3, 4, 5])
def test_even_against_odd_repeats_by_hand(n_repeats):
    trials = simulate(0.8, 30, n_repeats, 5)
    ours = split_half_reliability(trials)
    even, odd = trials[:, 0::2].mean(axis=1), trials[:, 1::2].mean(axis=1)
    for unit in range(5):
        r = oracle.pearsonr(even[:, unit], odd[:, unit]).statistic
        assert ours.r[unit] == pytest.approx(r, abs=1e-12)
        assert ours.spearman_brown[unit] == pytest.approx(2 * r / (1 + r), abs=1e-12)
    assert (ours.n_images == 30).all()


def test_images_whose_trials_all_lie_in_one_half_are_left_out():
    trials = thinned(simulate(0.8, 40, 2, 3))
    whole = ~np.isnan(trials[:, 1, 0])
    ours, kept = split_half_reliability(trials), split_half_reliability(trials[whole])
    np.testing.assert_allclose(ours.r, kept.r, atol=1e-12)
    assert (ours.n_images == whole.sum()).all()
    random = split_half_reliability(trials, halves="random", n_splits=3)
    assert (random.n_images == whole.sum()).all()


def test_units_may_miss_different_trials():
    trials = simulate(0.8, 40, 4, 3)
    trials[:20, 3, 0] = np.nan
    trials[5, :, 1] = np.nan
    trials[:, :, 2] = np.nan
    for halves in ("even-odd", "random"):
        together = split_half_reliability(trials, halves=halves, n_splits=4)
        for unit in range(3):
            one = trials[:, :, unit : unit + 1]
            alone = split_half_reliability(one, halves=halves, n_splits=4)
            np.testing.assert_allclose(together.r[unit], alone.r[0], atol=1e-12)
    assert together.n_images.tolist() == [40, 39, 0]
    assert np.isnan(together.spearman_brown).tolist() == [False, False, True]


def test_random_halves_share_the_trials_of_an_image_evenly():
    # The half means of images 0..n differ by the index of the repeat alone.
    trials = np.zeros((200, 6, 1))
    trials[:, :, 0] = 10.0 ** np.arange(6)
    trials[:, 4:] = np.nan
    trials[:, :, 0] += np.arange(200)[:, None] * 1e6
    ours = split_half_reliability(trials, halves="random", n_splits=1)
    assert ours.r[0] == pytest.approx(1, abs=1e-6)
    # Two of four trials in each half: the halves then mirror each other.
    rest = trials[:, :4, 0] - np.arange(200)[:, None] * 1e6
    alone = split_half_reliability(rest[:, :, None], halves="random", n_splits=1)
    assert alone.r[0] == pytest.approx(-1, abs=1e-9)
    assert np.isnan(alone.spearman_brown[0]) or alone.spearman_brown[0] < -1e6


def test_random_halves_come_from_the_seed_whatever_the_blocks(monkeypatch):
    trials = thinned(simulate(0.5, 30, 5, 40))

    def halves(seed):
        return split_half_reliability(trials, halves="random", n_splits=5, seed=seed).r

    first = halves(1)
    assert not np.allclose(first, halves(2))
    monkeypatch.setattr(metrics, "_VALUES_AT_ONCE", 30 * 5 * 7)
    np.testing.assert_array_equal(halves(1), first)


@pytest.mark.parametrize("halves", ["even-odd", "random"])
@pytest.mark.parametrize(
    ("ncsnr", "n_repeats", "bias"),
    [
        (0.2, 4, 0),
        (0.5, 4, 0),
        (1.0, 4, 0),
        (0.5, 10, 0),
        (0.5, 3, -0.02),
        (1.0, 3, -0.02),
    ],
)
def test_spearman_brown_tells_the_ceiling_except_for_unequal_halves(
    ncsnr, n_repeats, bias, halves
):
    trials = simulate(ncsnr, 500, n_repeats, 400)
    ours = split_half_reliability(trials, halves=halves, n_splits=2).spearman_brown
    truth = explainable_fraction([ncsnr], [n_repeats])[0]
    assert ours.mean() - truth == pytest.approx(bias, abs=0.01)


def test_random_halves_scatter_less_than_one_split():
    trials = simulate(0.5, 500, 3, 300)
    one = split_half_reliability(trials).spearman_brown.std()
    many = split_half_reliability(trials, halves="random", n_splits=8)
    assert one == pytest.approx(0.053, abs=0.006)
    assert many.spearman_brown.std() == pytest.approx(0.044, abs=0.006)


def test_units_that_do_not_vary_have_no_reliability():
    trials = simulate(1, 10, 4, 2)
    trials[:, :, 0] = 628.63
    trials[:, 0::2, 1] = 0.1
    ours = split_half_reliability(trials)
    assert np.isnan(ours.r).all()
    assert np.isnan(ours.spearman_brown).all()
    assert np.isnan(split_half_reliability(trials[:1]).r).all()


def test_opposite_halves_have_no_spearman_brown():
    trials = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])[:, :, None]
    ours = split_half_reliability(trials)
    assert ours.r[0] == -1
    assert np.isnan(ours.spearman_brown[0])


def test_halves_of_another_kind_are_refused():
    with pytest.raises(
        ValueError, match="`halves` must be one of 'even-odd', 'random'"
    ):
        split_half_reliability(np.zeros((3, 2, 1)), halves="odd-even")
    with pytest.raises(ValueError, match="n_splits"):
        split_half_reliability(np.zeros((3, 2, 1)), halves="random", n_splits=0)
    for shape in ((3, 1, 1), (3, 2)):
        with pytest.raises(ValueError, match="at least two repeats"):
            split_half_reliability(np.zeros(shape))
        with pytest.raises(ValueError, match="at least two repeats"):
            signal_fraction(np.zeros(shape))


# --------------------------------------------------------------------- signal fraction


def test_signal_fraction_is_its_definition_with_missing_trials():
    trials = thinned(simulate(0.8, 25, 3, 4), seed=4)
    trials[0, 1:, 2] = np.nan
    ours = signal_fraction(trials, clip=False)
    for unit in range(4):
        rows = [row[~np.isnan(row)] for row in trials[:, :, unit]]
        rows = [row for row in rows if len(row) > 1]
        spread = np.var([row.mean() for row in rows], ddof=1)
        noise = np.mean([oracle.sem(row) ** 2 for row in rows])
        assert ours[unit] == pytest.approx((spread - noise) / spread, abs=1e-12)


def test_signal_fraction_is_one_minus_one_over_f():
    trials = simulate(0.8, 12, 3, 2)
    ours = signal_fraction(trials, clip=False)
    for unit in range(2):
        table = pd.DataFrame(
            {"y": trials[:, :, unit].ravel(), "image": np.repeat(np.arange(12), 3)}
        )
        f = anova_lm(ols("y ~ C(image)", table).fit())["F"].iloc[0]
        assert ours[unit] == pytest.approx(1 - 1 / f, abs=1e-10)


@pytest.mark.parametrize("n_images", [40, 500])
@pytest.mark.parametrize("ncsnr", [0.0, 0.5])
def test_signal_fraction_is_low_by_two_over_the_images(ncsnr, n_images):
    trials = simulate(ncsnr, n_images, 3, 1500 if n_images == 500 else 15_000)
    truth = explainable_fraction([ncsnr], [3])[0]
    ours = signal_fraction(trials, clip=False).mean() - truth
    assert ours == pytest.approx(-2 * (1 - truth) / (n_images - 3), abs=0.006)


def test_the_clip_lifts_units_without_signal():
    fractions = signal_fraction(simulate(0, n_units=1500))
    assert fractions.min() == 0
    assert fractions.mean() == pytest.approx(0.029, abs=0.004)


def test_signal_fraction_of_units_that_do_not_vary_is_undefined():
    trials = simulate(1, 10, 3, 4)
    trials[:, :, 0] = 628.63
    trials[:, :, 1] = np.nan
    trials[1:, 1:, 2] = np.nan
    assert np.isnan(signal_fraction(trials)).tolist() == [True, True, True, False]
    assert np.isnan(signal_fraction(trials[:0])).all()


def test_reliability_of_v4_is_that_of_the_reference(data_folder):
    folder = data_folder / "v4_images"
    reference = json.loads((folder / "reference_values.json").read_text())
    expected = reference["values"]["210325"]
    with np.load(folder / "responses_210325.npz") as file:
        trials = file["responses_trials"].transpose(0, 2, 1)
    halves = split_half_reliability(trials)
    for ours, name in (
        (halves.r, "split_half_r_even_odd_repeats_mean"),
        (halves.spearman_brown, "spearman_brown_mean"),
        (signal_fraction(trials), "noise_ceiling_fraction_signal_variance_mean"),
    ):
        assert ours.shape == (50,)
        assert round(float(ours.mean()), 4) == expected[name]
    many = split_half_reliability(trials, halves="random", n_splits=50)
    assert many.spearman_brown.mean() == pytest.approx(0.744, abs=0.01)


# ---------------------------------------------------------- leave one subject out


def people(shared, n_subjects=15, n_values=3003, seed=0):
    """Normal rows that correlate by `shared`."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((n_subjects, n_values))
    return np.sqrt(shared) * rng.standard_normal(n_values) + np.sqrt(1 - shared) * own


@pytest.mark.parametrize(
    ("measure", "correlate"),
    [("spearman", oracle.spearmanr), ("pearson", oracle.pearsonr)],
)
def test_bounds_by_hand(measure, correlate):
    rows = people(0.3, 4, 20)
    ours = leave_one_subject_out(rows, measure=measure)
    for i in range(4):
        others = rows[[j for j in range(4) if j != i]].mean(axis=0)
        lower = correlate(rows[i], others).statistic
        upper = correlate(rows[i], rows.mean(axis=0)).statistic
        assert ours.lower_per_subject[i] == pytest.approx(lower, abs=1e-12)
        assert ours.upper_per_subject[i] == pytest.approx(upper, abs=1e-12)
    assert ours.lower == pytest.approx(ours.lower_per_subject.mean())
    assert ours.upper == pytest.approx(ours.upper_per_subject.mean())
    squared = leave_one_subject_out(rows, measure=measure, squared=True)
    np.testing.assert_allclose(squared.lower_per_subject, ours.lower_per_subject**2)
    np.testing.assert_allclose(squared.upper_per_subject, ours.upper_per_subject**2)


def test_bounds_of_net2brain_are_the_published_ones(data_folder):
    expected = {
        "EVC": (0.0068177, 0.0639747, 0.0156588, 0.2204949),
        "IT": (0.0027849, 0.0647332, 0.0115638, 0.2345767),
    }
    with np.load(data_folder / "net2brain78" / "rdms.npz") as file:
        for region, numbers in expected.items():
            squared = leave_one_subject_out(file[region], squared=True)
            plain = leave_one_subject_out(file[region])
            ours = (squared.lower, squared.upper, plain.lower, plain.upper)
            np.testing.assert_allclose(ours, numbers, atol=1.5e-7)


def test_frozen_bounds_of_a_small_group():
    rows = people(0.2, 5, 30, seed=2)
    ours = leave_one_subject_out(rows, squared=True)
    np.testing.assert_allclose([ours.lower, ours.upper], FROZEN["bounds"], rtol=1e-10)


@pytest.mark.parametrize("n_subjects", [3, 15])
@pytest.mark.parametrize("shared", [0.0, 0.2, 0.5])
def test_the_truth_lies_between_the_bounds_and_the_upper_one_flatters(
    shared, n_subjects
):
    bounds = [
        leave_one_subject_out(people(shared, n_subjects, seed=seed), measure="pearson")
        for seed in range(20)
    ]
    lower, upper = (
        np.mean([getattr(b, n) for b in bounds]) for n in ("lower", "upper")
    )
    n = n_subjects
    expected_lower = shared * np.sqrt((n - 1) / (1 + (n - 2) * shared))
    expected_upper = np.sqrt((1 + (n - 1) * shared) / n)
    assert lower == pytest.approx(expected_lower, abs=0.01)
    assert upper == pytest.approx(expected_upper, abs=0.01)
    assert lower - 0.01 < np.sqrt(shared) < upper


def test_squares_of_nothing_in_common_are_above_zero():
    ours = leave_one_subject_out(people(0), measure="pearson", squared=True)
    assert 0 < ours.lower < 0.001
    assert ours.upper == pytest.approx(1 / 15, abs=0.005)


def test_bounds_of_many_units_are_those_of_each():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4, 3, 25)) + rng.standard_normal((3, 25))
    rows[2, 1, 5] = np.nan
    rows[0, 2] = 0.1
    together = leave_one_subject_out(rows)
    assert together.lower_per_subject.shape == (4, 3)
    assert together.lower.shape == together.upper.shape == (3,)
    for unit in range(3):
        alone = leave_one_subject_out(rows[:, unit])
        np.testing.assert_allclose(together.lower[unit], alone.lower)
        np.testing.assert_allclose(together.upper[unit], alone.upper)
    # A missing value spoils every mean with it; a constant subject only its own.
    assert np.isnan(together.upper_per_subject[:, 1]).all()
    assert np.isnan(together.lower_per_subject[:, 2]).tolist() == [True] + 3 * [False]
    assert np.isnan(together.lower).tolist() == [False, True, True]


def test_ties_between_people_stay_ties():
    # Sums of 0.1, 0.2 and 0.3 differ by rounding with their order.
    rows = np.array([[0.1, 0.2, 0.3, 0.7], [0.2, 0.1, 0.3, 0.9], [0.3, 0.5, 0.1, 0.8]])
    whole = leave_one_subject_out(rows)
    others = (rows[0] + rows[1]) / 2
    assert others[0] == others[1]
    expected = oracle.spearmanr(rows[2], others).statistic
    assert whole.lower_per_subject[2] == pytest.approx(expected, abs=1e-12)


def test_subjects_of_another_form_are_refused():
    for rows in (np.zeros(5), np.zeros((1, 5))):
        with pytest.raises(ValueError, match="at least two subjects"):
            leave_one_subject_out(rows)
    with pytest.raises(ValueError, match="Did you mean 'pearson'"):
        leave_one_subject_out(np.zeros((2, 5)), measure="pearsons")
