"""Resampled and permuted RDMs against plain loops and simulated experiments."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from analysis.rdms import make_rdm
from analysis.rsa import MEASURES, compare_rdms, rdm_ceiling
from analysis.rsa_inference import bootstrap_rsa, permute_stimuli


def simulate(n_subjects=5, n_stimuli=9, noise=0.8, seed=0):
    """Models, the first of which is true, and subjects."""
    rng = np.random.default_rng(seed)
    n_pairs = n_stimuli * (n_stimuli - 1) // 2
    truth = rng.random(n_pairs)
    models = np.stack([truth, np.round(truth * 2 + rng.random(n_pairs)), truth**8])
    return models, truth + noise * rng.random((n_subjects, n_pairs))


def generator(seed=0):
    return np.random.default_rng(seed)


def resampled(rdms, stimuli):
    """Rows and columns taken anew, NaN where a stimulus meets itself."""
    rows = []
    for rdm in rdms:
        square = squareform(rdm)
        np.fill_diagonal(square, np.nan)
        taken = square[np.ix_(stimuli, stimuli)]
        rows.append(taken[np.triu_indices(len(stimuli), 1)])
    return np.array(rows)


def plain_statistics(models, people, measure, stimuli, subjects):
    rivals, rows = (resampled(x, stimuli) for x in (models, people))
    scores = compare_rdms(rivals, rows[subjects], measure, nan="omit").mean(axis=1)
    bounds = rdm_ceiling(rows[subjects], measure, subjects=subjects, nan="omit")
    return [*scores, bounds.lower, bounds.upper]


@pytest.mark.parametrize("measure", MEASURES)
def test_draws_are_those_of_a_plain_loop(measure):
    models, people = simulate()
    found = bootstrap_rsa(models, people, measure, n_bootstrap=6, rng=generator())
    rng = generator()
    whole = np.arange(9), np.arange(5)
    expected = plain_statistics(models, people, measure, *whole)
    np.testing.assert_allclose(found.bootstrap.estimate, expected, atol=1e-10)
    for k in range(6):
        drawn = rng.integers(0, 9, 9), rng.integers(0, 5, 5)
        for kind, used in (
            ("both", drawn),
            ("images", (drawn[0], whole[1])),
            ("subjects", (whole[0], drawn[1])),
        ):
            expected = plain_statistics(models, people, measure, *used)
            draws = found.bootstrap.draws[kind][k]
            np.testing.assert_allclose(draws, expected, atol=1e-10)


def test_scores_and_ceiling_are_those_of_the_data():
    models, people = simulate()
    found = bootstrap_rsa(models, people, "rho_a", n_bootstrap=2, rng=generator())
    expected = compare_rdms(models, people, "rho_a")
    np.testing.assert_allclose(found.scores, expected, atol=1e-12)
    ceiling = rdm_ceiling(people, "rho_a")
    np.testing.assert_allclose(
        found.ceiling.lower_per_subject, ceiling.lower_per_subject, atol=1e-12
    )
    assert found.bootstrap.estimate[-2:] == pytest.approx(
        [ceiling.lower, ceiling.upper]
    )


def test_the_average_of_the_ceiling_can_be_chosen():
    models, people = simulate()
    for average in ("plain", "ranks", "z_scored"):
        found = bootstrap_rsa(
            models, people, "spearman", average=average, n_bootstrap=1, rng=generator()
        )
        expected = rdm_ceiling(people, "spearman", average=average)
        assert found.ceiling.upper == pytest.approx(float(expected.upper), abs=1e-12)


def test_the_same_seed_gives_the_same_draws():
    models, people = simulate()
    first, second = (
        bootstrap_rsa(models, people, n_bootstrap=5, rng=generator(3)).bootstrap.draws
        for _ in range(2)
    )
    np.testing.assert_array_equal(first["both"], second["both"])


def test_tables_hold_scores_and_paired_differences():
    models, people = simulate(n_stimuli=14, seed=1)
    found = bootstrap_rsa(models, people, "pearson", n_bootstrap=200, rng=generator())
    table = found.models(["true", "rough", "eighth"])
    scores = found.scores.mean(axis=1)
    np.testing.assert_allclose(table["score"], scores)
    np.testing.assert_allclose(table["below_ceiling"], found.ceiling.lower - scores)
    assert table["model"].tolist() == ["true", "rough", "eighth"]
    assert (table["low"] < table["score"]).all()
    assert (table["p_zero"] < 0.05).tolist() == [True, True, True]
    pairs = found.differences()
    assert pairs[["model_a", "model_b"]].to_numpy().tolist() == [
        ["0", "1"],
        ["0", "2"],
        ["1", "2"],
    ]
    np.testing.assert_allclose(
        pairs["difference"], scores[[0, 0, 1]] - scores[[1, 2, 2]]
    )
    draws = found.bootstrap.draws
    both = draws["both"][:, 0] - draws["both"][:, 1]
    assert 0.3 < pairs["standard_error"][0] / both.std() < 1.05
    assert (pairs["p_fdr"] >= pairs["p_value"]).all()
    middle = (pairs["low"] + pairs["high"]) / 2
    np.testing.assert_allclose(middle, pairs["difference"])


def test_one_model_has_no_differences():
    models, people = simulate()
    found = bootstrap_rsa(models[0], people, n_bootstrap=3, rng=generator())
    assert len(found.differences()) == 0
    assert len(found.models()) == 1


def test_a_single_rdm_has_no_ceiling_but_an_interval_over_stimuli():
    models, people = simulate()
    found = bootstrap_rsa(
        models, people[0], "cosine", over="images", n_bootstrap=50, rng=generator()
    )
    assert np.isnan(found.ceiling.upper)
    table = found.models()
    assert table["standard_error"].gt(0).all()
    assert table["p_ceiling"].isna().all()


def test_a_better_model_is_found_and_an_equal_one_is_not():
    rng = generator(2)
    features = rng.standard_normal((25, 10))
    people = np.stack(
        [
            make_rdm(features @ rng.standard_normal((10, 30)), "squared_euclidean")
            for _ in range(8)
        ]
    )
    twins = features + 0.3 * rng.standard_normal((2, 25, 10))
    models = [make_rdm(f, "squared_euclidean") for f in (*twins, features[:, :2])]
    found = bootstrap_rsa(models, people, "whitened_cosine", n_bootstrap=200, rng=rng)
    p = found.differences()["p_value"].to_numpy()
    assert p[0] > 0.05
    assert (p[1:] < 0.01).all()


@pytest.mark.slow
@pytest.mark.parametrize("over", ["images", "subjects", "both"])
def test_the_variance_is_about_that_of_new_experiments(over):
    n_stimuli, n_subjects = 30, 8
    i, j = np.triu_indices(n_stimuli, 1)

    def subject(rng):
        return rng.standard_normal((20, 30)) * np.exp(rng.normal(0, 0.5, (20, 1)))

    first = generator(99)
    same_features = first.standard_normal((n_stimuli, 20))
    same_people = [subject(first) for _ in range(n_subjects)]
    estimates, variances, raw = [], [], []
    for experiment in range(150):
        rng = np.random.default_rng([5, experiment])
        features = rng.standard_normal((n_stimuli, 20))
        people = [subject(rng) for _ in range(n_subjects)]
        features = same_features if over == "subjects" else features
        people = same_people if over == "images" else people
        rdms = [
            make_rdm(
                features @ weights + 2 * rng.standard_normal((n_stimuli, 30)),
                "squared_euclidean",
            )
            for weights in people
        ]
        halves = features[:, :10], features[:, 10:]
        models = [make_rdm(half, "squared_euclidean") for half in halves]
        found = bootstrap_rsa(
            models, rdms, "pearson", over=over, n_bootstrap=60, rng=rng
        ).bootstrap.contrast([1, -1, 0, 0])
        estimates.append(found.estimate)
        variances.append(found.variance)
        raw.append(found.draws[over].var())
    assert len(i) == len(j) == 435
    ratio = np.mean(variances) / np.var(estimates, ddof=1)
    # 150 experiments tell the variance to about 12 %.
    assert 0.7 < ratio < 1.5
    if over == "both":
        assert np.mean(variances) < 0.9 * np.mean(raw)


# ------------------------------------------------------------------- permutations


@pytest.mark.parametrize("measure", MEASURES)
def test_permuted_scores_are_those_of_a_plain_loop(measure):
    models, people = simulate(3, 4)
    found = permute_stimuli(models, people, measure, n_permutations=24, rng=generator())
    assert found.exact
    expected = []
    for order in itertools.permutations(range(4)):
        moved = [squareform(squareform(r)[np.ix_(order, order)]) for r in people]
        expected.append(compare_rdms(models, moved, measure).mean(axis=1))
    np.testing.assert_allclose(found.null, expected, atol=1e-10)
    np.testing.assert_allclose(found.scores, expected[0], atol=1e-10)
    higher = np.array(expected) >= np.array(expected[0]) - 1e-9
    np.testing.assert_allclose(found.p_value(), higher.mean(axis=0))


@pytest.mark.parametrize("measure", MEASURES)
def test_random_permutations_contain_the_data(measure):
    models, people = simulate()
    found = permute_stimuli(models, people, measure, n_permutations=50, rng=generator())
    assert not found.exact
    assert found.null.shape == (50, 3)
    expected = compare_rdms(models, people, measure).mean(axis=1)
    np.testing.assert_allclose(found.scores, expected, atol=1e-10)
    np.testing.assert_array_equal(found.null[0], found.scores)
    assert found.p_value().min() >= 1 / 50
    assert (found.p_family() >= found.p_value()).all()


def test_p_values_of_unrelated_rdms_are_uniform_and_true_models_are_found():
    rng = generator(4)
    p = []
    for _ in range(200):
        features = rng.standard_normal((2, 10, 4))
        model, person = (make_rdm(f, "euclidean") for f in features)
        test = permute_stimuli(model, person, n_permutations=100, rng=rng)
        p.append(test.p_value()[0])
    assert 0.4 < np.mean(p) < 0.6
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09
    models, people = simulate()
    found = permute_stimuli(models, people, n_permutations=1000, rng=rng)
    assert found.p_family()[0] < 0.01
    two_sided = found.p_value(alternative="two-sided")
    assert (two_sided >= found.p_value()).all()


@pytest.mark.parametrize("measure", ["pearson", "whitened_cosine"])
def test_an_undefined_model_or_subject_is_undefined(measure):
    models, people = simulate()
    models[1] = 0
    found = permute_stimuli(models, people, measure, n_permutations=9, rng=generator())
    assert np.isnan(found.p_value()).tolist() == [False, True, False]
    people[0] = 0
    found = permute_stimuli(models, people, measure, n_permutations=9, rng=generator())
    assert np.isnan(found.p_value()).all()


# ------------------------------------------------------------------------- faults


def test_impossible_arguments_are_refused():
    models, people = simulate()
    with pytest.raises(ValueError, match="only stimuli can be resampled"):
        bootstrap_rsa(models, people[0], rng=generator())
    with pytest.raises(ValueError, match="`models` must have shape"):
        bootstrap_rsa(models[:, 1:], people, rng=generator())
    with pytest.raises(ValueError, match="`over` must be one of"):
        bootstrap_rsa(models, people, over="stimuli", rng=generator())
    with pytest.raises(ValueError, match="cannot have 35"):
        permute_stimuli(models[:, 1:], people[:, 1:], rng=generator())
    people[0, 0] = np.nan
    with pytest.raises(ValueError, match="`rdms` has 1 values"):
        permute_stimuli(models, people, rng=generator())
    people[0, 0] = 1
    found = bootstrap_rsa(models, people, n_bootstrap=1, rng=generator())
    with pytest.raises(ValueError, match="2 names for 3 models"):
        found.models(["a", "b"])
