"""Comparisons of encoding models against plain loops and simulated experiments."""

import numpy as np
import pytest
from scipy import stats

from analysis.encoding_comparison import compare_encoding, pool_recordings
from analysis.multiple_tests import fdr_adjusted, sign_flip_test


def simulate(n=40, units=6, seed=0, gains=(1.0, 1.0, 0.3)):
    """Responses and predictions of models that see the truth with different noise."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, units))
    measured = truth + rng.normal(size=(n, 1)) + rng.normal(size=(n, units))
    guesses = {
        f"model {k}": gain * truth + rng.normal(size=(n, units))
        for k, gain in enumerate(gains)
    }
    return measured, guesses


def plain_r(measured, guess):
    columns = zip(measured.T, guess.T, strict=True)
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in columns])


def plain_draws(measured, guesses, groups, rng, n_bootstrap, score):
    """Resampled means by loops over draws, with the draws of the function."""
    picked = [
        [rng.integers(0, len(g), len(g)) for _ in range(n_bootstrap)] for g in groups
    ]
    n_units = measured.shape[1]
    units = [rng.integers(0, n_units, n_units) for _ in range(n_bootstrap)]
    found = {"images": [], "subjects": [], "both": []}
    for b in range(n_bootstrap):
        rows = [g[p[b]] for g, p in zip(groups, picked, strict=True)]
        drawn, whole = [], []
        for guess in guesses.values():
            drawn.append(np.mean([plain_r(measured[r], guess[r]) for r in rows], 0))
            whole.append(np.mean([plain_r(measured[g], guess[g]) for g in groups], 0))
        drawn, whole = score(np.array(drawn)), score(np.array(whole))
        found["images"].append(drawn.mean(axis=1))
        found["subjects"].append(whole[:, units[b]].mean(axis=1))
        found["both"].append(drawn[:, units[b]].mean(axis=1))
    return found


@pytest.mark.parametrize("folds", [1, 2])
@pytest.mark.parametrize("with_ceiling", [False, True])
def test_draws_are_those_of_a_plain_loop(folds, with_ceiling):
    measured, guesses = simulate()
    ceiling = np.linspace(0.3, 0.9, 6)

    def score(r):
        return np.sign(r) * r**2 / ceiling if with_ceiling else r

    groups = [np.arange(40)[k::folds] for k in range(folds)]
    found = compare_encoding(
        measured,
        guesses,
        noise_ceiling=ceiling if with_ceiling else None,
        groups=None if folds == 1 else groups,
        over="both",
        n_bootstrap=7,
        rng=np.random.default_rng(3),
    )
    rng = np.random.default_rng(3)
    expected = plain_draws(measured, guesses, groups, rng, 7, score)
    for kind, draws in expected.items():
        np.testing.assert_allclose(found.bootstrap.draws[kind], draws, atol=1e-12)
    r = [
        np.mean([plain_r(measured[g], guess[g]) for g in groups], 0)
        for guess in guesses.values()
    ]
    np.testing.assert_allclose(found.scores, score(np.array(r)), atol=1e-12)
    np.testing.assert_allclose(found.bootstrap.estimate, found.scores.mean(axis=1))


@pytest.mark.parametrize(
    ("over", "kind"), [("images", "images"), ("units", "subjects")]
)
def test_one_factor_alone_gives_the_same_draws_as_both(over, kind):
    measured, guesses = simulate()
    both = compare_encoding(
        measured, guesses, over="both", n_bootstrap=5, rng=np.random.default_rng(1)
    )
    alone = compare_encoding(
        measured, guesses, over=over, n_bootstrap=5, rng=np.random.default_rng(1)
    )
    assert list(alone.bootstrap.draws) == [kind]
    np.testing.assert_array_equal(
        alone.bootstrap.draws[kind], both.bootstrap.draws[kind]
    )


def test_many_units_and_draws_are_taken_in_blocks(monkeypatch):
    measured, guesses = simulate(units=11)

    def draws():
        found = compare_encoding(
            measured, guesses, over="both", n_bootstrap=20, rng=np.random.default_rng(1)
        )
        return found.bootstrap.draws

    whole = draws()
    monkeypatch.setattr("analysis.encoding_comparison._DRAWS_AT_ONCE", 3)
    monkeypatch.setattr("analysis.metrics._VALUES_AT_ONCE", 300)
    for kind, values in draws().items():
        np.testing.assert_allclose(values, whole[kind], atol=1e-12)


def test_differences_are_paired_and_change_sign_with_the_order():
    measured, guesses = simulate()
    found = compare_encoding(measured, guesses, rng=np.random.default_rng(0))
    turned = compare_encoding(
        measured, dict(reversed(guesses.items())), rng=np.random.default_rng(0)
    )
    table = found.differences().set_index(["model_a", "model_b"])
    other = turned.differences().set_index(["model_b", "model_a"])
    assert len(table) == 3
    for name, sign in (("difference", -1), ("standard_error", 1), ("p_value", 1)):
        np.testing.assert_allclose(table[name], sign * other.loc[table.index, name])
    means = found.models().set_index("model")["score"]
    pair = ("model 0", "model 2")
    assert table.loc[pair, "difference"] == pytest.approx(means.iloc[0] - means.iloc[2])
    np.testing.assert_allclose(table["p_fdr"], fdr_adjusted(table["p_value"]))
    # What is common to both models is no uncertainty of their difference.
    alone = found.models()["standard_error"]
    assert table.loc[pair, "standard_error"] < np.hypot(alone[0], alone[2])


def test_the_better_model_is_found_and_twins_are_not():
    measured, guesses = simulate(n=200, units=20)
    found = compare_encoding(
        measured, guesses, over="both", rng=np.random.default_rng(0)
    )
    p = found.differences().set_index(["model_a", "model_b"])["p_fdr"]
    assert p["model 0", "model 2"] < 0.001
    assert p["model 1", "model 2"] < 0.001
    assert p["model 0", "model 1"] > 0.05


def test_a_unit_that_never_changes_is_left_out_for_all():
    measured, guesses = simulate()
    measured[:, 2] = 5.0
    found = compare_encoding(measured, guesses, rng=np.random.default_rng(0))
    assert found.used.tolist() == [True, True, False, True, True, True]
    rest = [
        plain_r(np.delete(measured, 2, 1), np.delete(g, 2, 1)).mean()
        for g in guesses.values()
    ]
    np.testing.assert_allclose(found.models()["score"], rest)
    assert found.models()["n_units"].tolist() == [5] * 3


def test_a_model_without_predictions_is_undefined_and_takes_nothing_from_others():
    measured, guesses = simulate()
    whole = compare_encoding(measured, guesses, rng=np.random.default_rng(0))
    more = guesses | {"constant": np.ones_like(measured)}
    found = compare_encoding(measured, more, rng=np.random.default_rng(0))
    assert found.used.all()
    np.testing.assert_allclose(found.models()["score"][:3], whole.models()["score"])
    assert np.isnan(found.models()["score"][3])
    table = found.differences().set_index(["model_a", "model_b"])
    assert np.isnan(table.loc[("model 0", "constant"), "p_value"])
    np.testing.assert_allclose(
        table.loc[("model 0", "model 1"), "p_value"], whole.differences()["p_value"][0]
    )


def test_units_without_a_ceiling_are_left_out_of_shares():
    measured, guesses = simulate()
    ceiling = np.array([0.5, 0.0, np.nan, 0.5, 0.5, 0.5])
    found = compare_encoding(
        measured, guesses, noise_ceiling=ceiling, rng=np.random.default_rng(0)
    )
    assert found.used.tolist() == [True, False, False, True, True, True]
    r = plain_r(measured, guesses["model 0"])[found.used]
    expected = (np.sign(r) * r**2 / 0.5).mean()
    assert found.models()["score"][0] == pytest.approx(expected)


def test_flipped_units_are_a_sign_flip_test_of_their_differences():
    measured, guesses = simulate()
    found = compare_encoding(measured, guesses, rng=np.random.default_rng(0))
    table = found.flip_units(rng=np.random.default_rng(0))
    scores = found.scores
    columns = np.stack([scores[0] - scores[1], scores[0] - scores[2]], axis=1)
    expected = sign_flip_test(columns, rng=np.random.default_rng(0))
    assert expected.exact
    np.testing.assert_allclose(table["p_value"][:2], expected.p_value)
    np.testing.assert_allclose(table["difference"][:2], columns.mean(axis=0))


def false_positives(over, n_experiments=120):
    hits = 0
    for seed in range(n_experiments):
        rng = np.random.default_rng(seed)
        n, units = 60, 12
        truth = rng.normal(size=(n, units))
        measured = truth + rng.normal(size=(n, 1)) + rng.normal(size=(n, units))
        guesses = {
            k: truth + rng.normal(size=(n, 1)) + rng.normal(size=(n, units))
            for k in "ab"
        }
        found = compare_encoding(measured, guesses, over=over, n_bootstrap=100, rng=rng)
        hits += found.differences()["p_value"][0] < 0.05
    return hits / n_experiments


@pytest.mark.parametrize("over", ["images", "both"])
def test_equal_models_differ_in_about_one_of_twenty_experiments(over):
    # Of 120 experiments at 5 %, 1 to 12 in 99 of 100 runs; "both" is cautious.
    assert 1 / 120 <= false_positives(over) <= 12 / 120


def test_units_alone_take_common_noise_for_evidence():
    assert false_positives("units") > 0.2


# ------------------------------------------------------------------------- pooling


def test_a_single_recording_keeps_its_limits():
    found = pool_recordings([0.3], [0.1], [24])
    half = stats.t.ppf(0.975, 24) * 0.1
    assert found["low"] == pytest.approx(0.3 - half)
    assert found["high"] == pytest.approx(0.3 + half)
    assert found["p_value"] == pytest.approx(2 * stats.t.sf(3, 24))


def test_pooling_is_the_test_of_welch_for_a_difference_of_means():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 12), rng.normal(0, 3, 30)
    errors = [x.std(ddof=1) / len(x) ** 0.5 for x in (a, b)]
    found = pool_recordings([a.mean(), -b.mean()], errors, [11, 29])
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert found["p_value"] == pytest.approx(expected.pvalue)
    assert found["degrees_of_freedom"] == pytest.approx(expected.df)
    assert found["estimate"] == pytest.approx((a.mean() - b.mean()) / 2)


def test_an_undefined_recording_makes_the_mean_undefined():
    found = pool_recordings([0.3, np.nan], [0.1, np.nan], [24, 24])
    assert all(np.isnan(value) for value in found.values())


# -------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"over": "voxels"}, "`over` must be one of"),
        ({"n_bootstrap": 0}, "`n_bootstrap`"),
        ({"noise_ceiling": [0.5]}, "`noise_ceiling`"),
        ({"groups": [[0, 1], range(2, 40)]}, "at least 3 are needed"),
        ({"predictions": {}}, "name at least one model"),
        ({"predictions": {"a": np.zeros((40, 5))}}, r"predictions\['a'\]"),
        ({"measured": np.zeros((2, 6))}, "at least 3 are needed"),
    ],
)
def test_wrong_arguments_are_told(change, message):
    measured, guesses = simulate()
    call = {"measured": measured, "predictions": guesses} | change
    with pytest.raises(ValueError, match=message):
        compare_encoding(
            call.pop("measured"),
            call.pop("predictions"),
            rng=np.random.default_rng(0),
            **call,
        )


def test_shared_images_leave_the_error_of_a_mean_as_large_as_that_of_one():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        image = rng.normal(size=50)  # what is special about each image
        scores = 0.5 + image + 0.3 * rng.normal(size=(4, 50))
        errors = scores.std(axis=1, ddof=1) / np.sqrt(50)
        means = scores.mean(axis=1)
        apart = pool_recordings(means, errors, [49] * 4)
        same = pool_recordings(means, errors, [49] * 4, same_images=True)
        assert same["standard_error"] == pytest.approx(errors.mean())
        assert same["degrees_of_freedom"] == 49
        found.append([p["low"] < 0.5 < p["high"] for p in (apart, same)])
    covered = np.mean(found, axis=0)
    assert covered[0] < 0.75
    assert 0.92 < covered[1] < 0.99
