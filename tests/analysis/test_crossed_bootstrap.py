"""Two-factor bootstrap against closed forms and simulated experiments."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as oracle

from analysis.crossed_bootstrap import bootstrap_crossed
from analysis.stats import bootstrap


def simulate(rng, n_images, n_subjects, image=1.0, subject=1.0, noise=1.0, size=1):
    """Values of images and subjects with effects of both, and noise."""
    shape = (size, n_images, n_subjects)
    return (
        image * rng.standard_normal((size, n_images, 1))
        + subject * rng.standard_normal((size, 1, n_subjects))
        + noise * rng.standard_normal(shape)
    )


def resample(values, **options):
    options = {"n_bootstrap": 200, "rng": np.random.default_rng(0)} | options
    return bootstrap_crossed(
        lambda images: values[images].mean(axis=0), *values.shape[:2], **options
    )


def closed_form(values):
    """Variances that endless resampling of a mean comes to."""
    n, m = values.shape
    image, subject = values.mean(axis=1), values.mean(axis=0)
    rest = values - image[:, None] - subject + values.mean()
    images, subjects = image.var() / n, subject.var() / m
    both = images + subjects + (rest**2).sum() / (n * m) ** 2
    return images, subjects, both


def test_draws_of_a_mean_have_the_variances_of_theory():
    values = simulate(np.random.default_rng(1), 12, 7)[0]
    found = resample(values, n_bootstrap=20_000)
    images, subjects, both = closed_form(values)
    assert found.estimate == pytest.approx(values.mean())
    assert found.draws["images"].var() == pytest.approx(images, rel=0.04)
    assert found.draws["subjects"].var() == pytest.approx(subjects, rel=0.04)
    assert found.draws["both"].var() == pytest.approx(both, rel=0.04)
    noise = both - images - subjects
    corrected = 12 / 11 * images + 7 / 6 * subjects - 84 / 66 * noise
    assert found.variance == pytest.approx(corrected, rel=0.06)


@pytest.mark.parametrize(
    "effects", [(1.0, 1.0, 1.0), (1.0, 0.2, 3.0), (0.1, 1.0, 1.0), (0.0, 0.5, 4.0)]
)
def test_corrected_variance_is_right_and_uncorrected_is_not(effects):
    """In closed form, over many experiments."""
    rng, n, m = np.random.default_rng(2), 10, 6
    data = simulate(rng, n, m, *effects, size=4000)
    image, subject, noise = effects
    truth = image**2 / n + subject**2 / m + noise**2 / (n * m)
    images, subjects, both = np.array([closed_form(v) for v in data]).T
    corrected = (
        n / (n - 1) * images
        + m / (m - 1) * subjects
        - n * m / (n - 1) / (m - 1) * (both - images - subjects)
    )
    assert corrected.mean() == pytest.approx(truth, rel=0.04)
    assert data.mean(axis=(1, 2)).var() == pytest.approx(truth, rel=0.06)
    if noise > 1:
        assert both.mean() > 1.2 * truth


def test_the_correction_stays_within_its_bounds():
    rng = np.random.default_rng(3)
    for _ in range(20):
        found = resample(simulate(rng, 5, 4, 0.1, 0.1, 2)[0], n_bootstrap=50)
        raw = {key: draws.var(ddof=1) for key, draws in found.draws.items()}
        images, subjects = 5 / 4 * raw["images"], 4 / 3 * raw["subjects"]
        assert max(images, subjects) - 1e-12 <= found.variance
        assert found.variance <= images + subjects + 1e-12


def test_intervals_cover_new_images_and_subjects():
    rng = np.random.default_rng(4)
    hits = []
    for values in simulate(rng, 15, 8, size=300):
        low, high = resample(values, n_bootstrap=100, rng=rng).interval(level=0.9)
        hits.append(low < 0 < high)
    assert 0.87 < np.mean(hits) < 0.98  # a little cautious


def test_satterthwaite_freedom_is_that_of_the_mean_squares():
    """An analysis of variance of images and subjects as rows and columns."""
    values = simulate(np.random.default_rng(11), 9, 4, 0.5, 1, 2)[0]
    found = replace(resample(values, n_bootstrap=20_000), freedom="satterthwaite")
    n, m = values.shape
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    rest = values - rows[:, None] - columns + values.mean()
    parts = [
        (rows.var(ddof=1) / n, n - 1, 1),
        (columns.var(ddof=1) / m, m - 1, 1),
        ((rest**2).sum() / (n - 1) / (m - 1) / (n * m), (n - 1) * (m - 1), -1),
    ]
    total = sum(sign * part for part, _, sign in parts)
    expected = total**2 / sum(part**2 / freedom for part, freedom, _ in parts)
    assert found.variance == pytest.approx(total, rel=0.05)
    assert found.degrees_of_freedom == pytest.approx(expected, rel=0.08)
    low, high = found.interval()
    half = oracle.t.ppf(0.975, found.degrees_of_freedom) * found.standard_error
    assert (low, high) == pytest.approx(
        (found.estimate - half, found.estimate + half), nan_ok=False
    )
    t = found.estimate / found.standard_error
    p = 2 * oracle.t.sf(abs(t), found.degrees_of_freedom)
    assert found.p_value() == pytest.approx(p)


def test_satterthwaite_freedom_follows_the_kind_that_varies():
    rng = np.random.default_rng(12)
    of_images = resample(simulate(rng, 30, 3, 1, 0.01, 0.01)[0])
    of_subjects = resample(simulate(rng, 30, 3, 0.01, 1, 0.01)[0])
    for found, smallest, own in ((of_images, 2, 29), (of_subjects, 2, 2)):
        assert found.degrees_of_freedom == smallest
        other = replace(found, freedom="satterthwaite")
        assert other.degrees_of_freedom == pytest.approx(own, rel=0.05)
    single = replace(resample(np.ones((4, 1))), freedom="satterthwaite")
    assert single.degrees_of_freedom == 0
    assert np.isnan(single.interval()).all()
    assert np.isnan(single.p_value())


@pytest.mark.parametrize("subject", [0.0, 0.5])
def test_satterthwaite_covers_with_three_subjects_where_the_smallest_is_wide(subject):
    """Means of three networks on many displays: noise of displays rules."""
    rng = np.random.default_rng(13)
    hits = dict.fromkeys(("smallest", "satterthwaite"), 0)
    widths = dict.fromkeys(hits, 0.0)
    experiments = simulate(rng, 24, 3, 1, subject, 2, size=250)
    for values in experiments:
        found = resample(values, n_bootstrap=100, rng=rng)
        for freedom in hits:
            low, high = replace(found, freedom=freedom).interval()
            hits[freedom] += bool(low < 0 < high)
            widths[freedom] += high - low
    smallest, own = (hits[key] / len(experiments) for key in hits)
    assert 0.9 < own < 0.995
    assert own <= smallest
    assert widths["satterthwaite"] < 0.85 * widths["smallest"]


def test_one_factor_is_the_plain_bootstrap():
    values = simulate(np.random.default_rng(5), 30, 6)[0]
    found = resample(values, over="images", n_bootstrap=4000)
    plain = bootstrap(
        values.mean(axis=1), n_bootstrap=4000, rng=np.random.default_rng(1)
    )
    assert list(found.draws) == ["images"]
    assert found.standard_error == pytest.approx(
        plain.std(ddof=1) * np.sqrt(30 / 29), rel=0.05
    )
    low, high = found.percentiles()
    assert (low, high) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.03)
    people = resample(values, over="subjects", n_bootstrap=4000)
    error = oracle.sem(values.mean(axis=0))
    assert people.standard_error == pytest.approx(error, rel=0.04)
    assert (people.degrees_of_freedom, found.degrees_of_freedom) == (5, 29)


def test_p_value_is_that_of_t():
    values = simulate(np.random.default_rng(6), 40, 9)[0] + 1
    found = resample(values)
    t = (found.estimate - 0.5) / found.standard_error
    assert found.p_value(0.5) == pytest.approx(2 * oracle.t.sf(abs(t), 8))
    low, high = found.interval()
    half = oracle.t.ppf(0.975, 8) * found.standard_error
    assert (low, high) == pytest.approx((found.estimate - half, found.estimate + half))


def test_differences_are_paired():
    rng = np.random.default_rng(7)
    common = simulate(rng, 20, 6, 3, 3)[0]
    values = np.stack([common + 0.2, common], axis=2)
    values += 0.01 * rng.standard_normal(values.shape)
    found = resample(values)
    assert found.estimate.shape == (2,)
    difference = found.contrast([1, -1])
    assert difference.estimate == pytest.approx(0.2, abs=0.01)
    assert difference.standard_error < 0.01 < found.standard_error.min()
    several = found.contrast(np.eye(2))
    np.testing.assert_allclose(several.variance, found.variance)


def test_an_undefined_statistic_matters_where_it_is_used():
    values = np.stack([np.arange(6.0).reshape(3, 2), np.full((3, 2), np.nan)], axis=2)
    found = resample(values).contrast([[1, 1], [0, 1]])
    assert np.isnan(found.variance).tolist() == [False, True]
    assert found.estimate[0] == 2.5


def test_statistics_may_be_combined_in_other_ways():
    values = simulate(np.random.default_rng(8), 8, 5)[0]
    found = bootstrap_crossed(
        lambda images: images,
        8,
        5,
        combine=lambda images, people: np.median(values[np.ix_(images, people)]),
        n_bootstrap=3,
        rng=np.random.default_rng(0),
    )
    rng = np.random.default_rng(0)
    assert found.estimate == np.median(values)
    for k in range(3):
        images, people = rng.integers(0, 8, 8), rng.integers(0, 5, 5)
        assert found.draws["both"][k] == np.median(values[np.ix_(images, people)])
        assert found.draws["images"][k] == np.median(values[images])


def test_few_undefined_draws_are_left_out_and_many_are_not():
    values = np.zeros((200, 4))
    values[:, 0] = np.arange(200)
    calls = iter(range(10**6))

    def sometimes(every):
        def statistic(images):
            mean = values[images].mean(axis=0)
            return mean * np.nan if next(calls) % every == 1 else mean

        return statistic

    for every, defined in ((50, True), (10, False)):
        calls = iter(range(10**6))
        found = bootstrap_crossed(
            sometimes(every), 200, 4, over="images", rng=np.random.default_rng(0)
        )
        assert np.isfinite(found.variance) == defined
        assert np.isfinite(found.percentiles()[0]) == defined


def test_one_unit_tells_nothing():
    values = simulate(np.random.default_rng(9), 10, 1)[0]
    found = resample(values)
    assert np.isnan(found.variance)
    assert np.isnan(found.p_value())
    assert np.isnan(found.interval()).all()
    assert np.isfinite(resample(values, over="images").variance)


def test_impossible_options_are_refused():
    values = np.zeros((3, 2))
    with pytest.raises(ValueError, match="`over` must be one of"):
        resample(values, over="pictures")
    with pytest.raises(ValueError, match="`n_bootstrap`"):
        resample(values, n_bootstrap=0)
    with pytest.raises(ValueError, match="`level`"):
        resample(values).interval(level=95)
