"""Free viewing: centre bias, calibration, ceilings, scores; nothing leaks."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import rankdata

from analysis.fixated_pixels import fixated_pixels
from analysis.fixation_auc import auc, auc_borji, auc_judd
from analysis.fixation_density import fixation_density
from analysis.fixation_maps import cc, information_gain, kl_divergence, nss, sim
from analysis.free_viewing import (
    CALIBRATED,
    CENTRE_SHARE,
    HUMAN_MODEL,
    JOINT_MODEL,
    METRICS,
    OPTIONAL_METRICS,
    UNITS,
    free_viewing_scores,
    make_free_viewing,
    score_map,
    score_people,
)
from analysis.map_calibration import (
    N_BINS,
    UNIFORM_SHARE,
    bin_statistics,
    calibrated_density,
    calibrated_gains,
    fit_calibration,
    fit_calibrations,
    fit_centre_bias,
    picture_folds,
    rank_bins,
)
from neurovis.core.types import SCORE_COLUMNS

SHAPE = (45, 60)


def bump(row, column, sigma, shape=SHAPE):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2))


def true_densities(n_pictures, rng):
    """Two bumps per picture on a broad centre, all of sum 1."""
    centre = bump(22, 29, 15)
    densities = []
    for _ in range(n_pictures):
        places = rng.uniform((5, 5), (40, 55), (2, 2))
        density = 0.15 * centre / centre.sum()
        for place in places:
            one = bump(*place, 3)
            density = density + 0.425 * one / one.sum()
        densities.append(density)
    return np.array(densities)


def simulate(densities, n_observers, n_fixations, rng):
    """Fixations of observers who all draw from the true density of a picture."""
    n_pictures = len(densities)
    size = n_observers * n_fixations
    flat = [rng.choice(d.size, size, p=d.ravel() / d.sum()) for d in densities]
    rows, columns = np.divmod(np.concatenate(flat), densities.shape[2])
    index = np.repeat(np.arange(n_pictures), size)
    human = fixated_pixels(columns, rows, densities.shape[1:], map_index=index)
    observer = np.tile(np.repeat(np.arange(n_observers), n_fixations), n_pictures)
    return human, observer


@pytest.fixture(scope="module")
def world():
    """Twenty pictures, 16 observers, 8 fixations each, and the truth."""
    rng = np.random.default_rng(3)
    densities = true_densities(20, rng)
    human, observer = simulate(densities, 16, 8, rng)
    return densities, make_free_viewing(
        human, observer, picture_folds(20), sigma_px=3.0
    )


def moved(human, pictures, rng):
    """Fixations with those on some pictures drawn anew."""
    mine = np.isin(human.map_index, pictures)
    rows = np.where(mine, rng.integers(human.shape[0], size=len(human)), human.row)
    columns = np.where(
        mine, rng.integers(human.shape[1], size=len(human)), human.column
    )
    return fixated_pixels(columns, rows, human.shape, map_index=human.map_index)


# ------------------------------------------------------------------------ folds


@given(st.integers(1, 60), st.integers(0, 9), st.data())
def test_folds_are_even_over_all_pictures_and_over_the_first(n, seed, data):
    first = data.draw(st.lists(st.integers(0, n - 1), unique=True))
    folds = picture_folds(n, first=first, seed=seed)
    for part in (folds, folds[first]):
        counts = np.bincount(part, minlength=min(10, n))
        assert len(counts) == min(10, n)
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(picture_folds(n, first=first, seed=seed), folds)


def test_folds_depend_on_the_seed():
    assert (picture_folds(50, seed=0) != picture_folds(50, seed=1)).any()


# ------------------------------------------------------------------ centre bias


def test_the_centre_bias_is_the_density_of_all_other_folds(world):
    _, viewing = world
    for fold in (0, 7):
        other = viewing.human.select(viewing.fold != fold).pool()
        sigma = viewing.centre_sigma_px[fold]
        expected = fixation_density(other, sigma, uniform=UNIFORM_SHARE)[0]
        found = viewing.bias_of(int(np.flatnonzero(viewing.fold == fold)[0]))
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        np.testing.assert_allclose(found.sum(), 1)


def test_the_bias_of_a_fold_does_not_know_the_fixations_on_it(world):
    _, viewing = world
    fold = 4
    pictures = np.flatnonzero(viewing.fold == fold)
    other = moved(viewing.human, pictures, np.random.default_rng(0))
    bias, sigma = fit_centre_bias(other, viewing.fold)
    np.testing.assert_array_equal(bias[fold], viewing.centre_bias[fold])
    assert sigma[fold] == viewing.centre_sigma_px[fold]
    assert (np.abs(bias - viewing.centre_bias).max(axis=(1, 2)) > 0).sum() == 9


@pytest.mark.parametrize(("spread", "expected"), [(5, 12.0), (100, 32.0)])
def test_the_width_of_the_bias_follows_the_data(spread, expected):
    rng = np.random.default_rng(1)
    x, y = rng.uniform(100 - spread, 100 + spread, (2, 400))
    human = fixated_pixels(x, y, (200, 200), map_index=np.repeat(np.arange(40), 10))
    _, sigma = fit_centre_bias(human, picture_folds(40))
    assert set(sigma) == {expected}


# ------------------------------------------------------------------ calibration


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 8),
    st.sampled_from([1, 2, 4, 8, 32]),
    st.integers(0, 99),
)
def test_bins_are_those_of_mean_ranks(height, width, levels, n_bins, seed):
    values = np.random.default_rng(seed).integers(0, levels, (height, width))
    shares = (rankdata(values, axis=None) - 0.5) / values.size
    expected = np.minimum((shares * n_bins).astype(int), n_bins - 1)
    found = rank_bins(values.astype(float), n_bins)
    np.testing.assert_array_equal(found.ravel(), expected)


def test_bins_do_not_change_with_a_monotone_transform(world):
    saliency = world[0][0]
    np.testing.assert_array_equal(rank_bins(saliency), rank_bins(np.log(saliency)))
    sizes = np.bincount(rank_bins(saliency).ravel(), minlength=N_BINS)
    assert np.abs(sizes - saliency.size / N_BINS).max() < 3


def test_weights_maximise_the_likelihood():
    rng = np.random.default_rng(2)
    masses = rng.dirichlet(np.full(5, 3.0), 12)
    counts = rng.poisson(30 * masses * np.array([0.3, 0.9, 0.6, 1.0, 2.2]))
    found = fit_calibration(counts, masses)
    assert (np.diff(found) >= 0).all()
    np.testing.assert_allclose(found @ masses.mean(0), 1)
    n = np.vstack([counts, 5 * masses.mean(0)])
    m = np.vstack([masses, masses.mean(0)])

    def loss(logs):
        w = np.exp(logs)
        return n.sum(1) @ np.log(m @ w) - n.sum(0) @ logs

    rising = [{"type": "ineq", "fun": lambda v, i=i: v[i + 1] - v[i]} for i in range(4)]
    best = minimize(
        loss, np.linspace(-1, 1, 5), constraints=rising, options={"ftol": 1e-12}
    )
    np.testing.assert_allclose(loss(np.log(found)), best.fun, rtol=1e-9)
    relative = np.exp(best.x) / (np.exp(best.x) @ masses.mean(0))
    np.testing.assert_allclose(found, relative, rtol=1e-3)


def test_known_weights_are_recovered():
    rng = np.random.default_rng(7)
    truth = np.linspace(0.2, 2.5, N_BINS)
    masses = rng.dirichlet(np.full(N_BINS, 20.0), 200)
    truth /= truth @ masses.mean(0)
    shares = masses * truth / (masses @ truth)[:, None]
    counts = np.stack([rng.multinomial(300, share) for share in shares])
    np.testing.assert_allclose(fit_calibration(counts, masses), truth, atol=0.12)


def test_bins_without_a_pixel_take_the_weight_of_their_neighbours():
    weights = fit_calibration([[20.0, 0.0, 60.0]], [[0.5, 0.0, 0.5]])
    assert weights[0] < weights[1] < weights[2]
    assert np.isnan(fit_calibration(np.zeros((0, 4)), np.zeros((0, 4)))).all()


def statistics_of(viewing, maps):
    found = [
        bin_statistics(m, viewing.human.select([i]), viewing.centre_bias)
        for i, m in enumerate(maps)
    ]
    return tuple(np.stack(part) for part in zip(*found, strict=True))


def test_calibrated_gains_are_those_of_the_densities_in_full(world):
    densities, viewing = world
    counts, masses = statistics_of(viewing, densities)
    weights = fit_calibrations(counts, masses, viewing.fold)
    gains = calibrated_gains(counts, masses, viewing.fold, weights)
    for i in (0, 5, 11):
        bias = viewing.bias_of(i)
        density = calibrated_density(densities[i], weights[viewing.fold[i]], bias)
        np.testing.assert_allclose(density.sum(), 1)
        expected = information_gain(density, viewing.human.select([i]), bias)
        np.testing.assert_allclose(gains[i], expected[0], atol=1e-9)


def test_the_calibration_of_a_fold_does_not_know_the_fixations_on_it(world):
    densities, viewing = world
    fold = 2
    pictures = np.flatnonzero(viewing.fold == fold)
    human = moved(viewing.human, pictures, np.random.default_rng(1))
    other = make_free_viewing(human, viewing.observer, viewing.fold, sigma_px=3.0)
    both = [
        fit_calibrations(*statistics_of(v, densities), v.fold) for v in (viewing, other)
    ]
    np.testing.assert_array_equal(both[0][fold], both[1][fold])
    assert (both[0] != both[1]).any(axis=1).sum() == 9


def test_maps_with_nan_are_undefined_and_left_out(world):
    densities, viewing = world
    maps = densities.copy()
    maps[3, 0, 0] = np.nan
    counts, masses = statistics_of(viewing, maps)
    weights = fit_calibrations(counts, masses, viewing.fold)
    gains = calibrated_gains(counts, masses, viewing.fold, weights)
    assert np.flatnonzero(np.isnan(gains)).tolist() == [3]
    assert np.isnan(list(score_map(viewing, 3, maps[3]).values())).all()


# ----------------------------------------------------------------------- scores


def test_scores_are_those_of_the_measures(world):
    densities, viewing = world
    pred = densities[4]
    scores = score_map(
        viewing, 4, pred, metrics=[*METRICS, *OPTIONAL_METRICS], seed=5, key="four"
    )
    own = viewing.human.select([4])
    others = viewing.human.select([i for i in range(20) if i != 4]).pool()
    human = fixation_density(own, 3.0)[0]
    expected = {
        "nss": nss(pred, own),
        "auc": auc(pred, own),
        "sauc": auc(pred, own, others),
        "cc": cc(pred, human),
        "sim": sim(pred, human),
        "kl": kl_divergence(pred, human),
        "information_gain": information_gain(pred, own, viewing.bias_of(4)),
        "auc_judd": auc_judd(pred, own),
        "auc_borji": auc_borji(pred, own, seed=5, keys=["four"]),
    }
    assert scores == {k: v[0] for k, v in expected.items()}


def test_a_uniform_map_knows_nothing(world):
    _, viewing = world
    maps = np.full((20, *SHAPE), 0.3)
    for i in (0, 9):
        scores = score_map(viewing, i, maps[i])
        own = viewing.human.select([i])
        at = viewing.bias_of(i).ravel()[own.flat]
        assert (scores["nss"], scores["auc"], scores["sauc"]) == (0, 0.5, 0.5)
        assert scores["cc"] == 0
        known = np.log2(1 / maps[0].size) - np.log2(at).mean()
        np.testing.assert_allclose(scores["information_gain"], known, rtol=1e-9)
    counts, masses = statistics_of(viewing, maps)
    weights = fit_calibrations(counts, masses, viewing.fold)
    gains = calibrated_gains(counts, masses, viewing.fold, weights)
    np.testing.assert_allclose(gains, 0, atol=1e-12)


def test_the_centre_bias_gains_nothing_over_itself(world):
    _, viewing = world
    scores = score_map(viewing, 6, viewing.bias_of(6))
    assert scores["information_gain"] == 0
    assert scores["nss"] > 0


def test_people_are_predicted_from_all_others(world):
    _, viewing = world
    low, high = score_people(viewing, 8)
    part = slice(*viewing.human.bounds[8:10])
    rows, columns = viewing.human.row[part], viewing.human.column[part]
    who = viewing.observer[part]
    bias = viewing.bias_of(8)
    gains, z = [], []
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for observer in range(16):
        density = np.zeros(SHAPE)
        for r, c in zip(rows[who != observer], columns[who != observer], strict=True):
            kernel = np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * 3.0**2))
            density += kernel / kernel.sum()
        density /= (who != observer).sum()
        density = (1 - CENTRE_SHARE) * density + CENTRE_SHARE * bias
        at = (rows[who == observer], columns[who == observer])
        gains += list(np.log2(density[at] / bias[at]))
        z += list((density[at] - density.mean()) / density.std())
    np.testing.assert_allclose(low["information_gain"], np.mean(gains), rtol=1e-6)
    np.testing.assert_allclose(low["nss"], np.mean(z), rtol=1e-6)
    assert low[CALIBRATED] == low["information_gain"]
    for metric in ("nss", "auc", "sauc", "information_gain"):
        assert high[metric] > low[metric]
    assert set(low) == set(METRICS)


def test_halves_depend_on_the_identity_of_the_picture_only(world):
    _, viewing = world
    one = score_people(viewing, 8, seed=1, key="a")[0]["cc"]
    assert score_people(viewing, 8, seed=1, key="a")[0]["cc"] == one
    assert score_people(viewing, 8, seed=1, key="b")[0]["cc"] != one
    assert 0.5 < one < 1


def test_the_truth_reaches_the_ceiling_and_no_map_exceeds_it(world):
    densities, viewing = world
    truth = pd.DataFrame([score_map(viewing, i, m) for i, m in enumerate(densities)])
    people = [score_people(viewing, i) for i in range(20)]
    low, high = (pd.DataFrame([pair[side] for pair in people]) for side in (0, 1))
    for metric in ("nss", "auc", "sauc", "information_gain"):
        # People predict with a finite number of fixations, the truth is known.
        assert low[metric].mean() < 1.02 * truth[metric].mean()
        assert truth[metric].mean() < 1.15 * low[metric].mean()
        assert truth[metric].mean() < 1.05 * high[metric].mean()
    assert truth["cc"].mean() > low["cc"].mean() > 0.7
    counts, masses = statistics_of(viewing, densities)
    weights = fit_calibrations(counts, masses, viewing.fold)
    gains = calibrated_gains(counts, masses, viewing.fold, weights)
    raw = truth["information_gain"].mean()
    assert 0.8 * raw < gains.mean() < raw


def test_calibration_makes_a_saliency_map_a_fair_prediction(world):
    densities, viewing = world
    maps = densities**4  # the right ranks, far too peaked
    raw = np.mean(
        [score_map(viewing, i, m)["information_gain"] for i, m in enumerate(maps)]
    )
    counts, masses = statistics_of(viewing, maps)
    weights = fit_calibrations(counts, masses, viewing.fold)
    gains = calibrated_gains(counts, masses, viewing.fold, weights)
    assert raw < 0 < 0.5 < gains.mean()


# ------------------------------------------------------------------- undefined


def test_what_cannot_be_known_is_nan(world):
    densities, _ = world
    human = fixated_pixels([3, 9, 30], [4, 9, 30], SHAPE, map_index=[0, 0, 2], n_maps=3)
    viewing = make_free_viewing(human, [0, 0, 1], [0, 1, 2], sigma_px=3.0)
    lone, _ = score_people(viewing, 0)
    assert np.isnan(list(lone.values())).all()
    low, high = score_people(viewing, 1)
    assert np.isnan([*low.values(), *high.values()]).all()
    assert np.isnan(list(score_map(viewing, 1, densities[0]).values())).all()
    alone = make_free_viewing(human.select([0]), [0, 1], [0], sigma_px=3.0)
    scores = score_map(alone, 0, densities[0])
    assert np.isnan([scores["sauc"], scores["information_gain"]]).all()
    assert np.isfinite(scores["nss"])
    counts, masses = statistics_of(alone, densities[:1])
    weights = fit_calibrations(counts, masses, alone.fold)
    assert np.isnan(calibrated_gains(counts, masses, alone.fold, weights)).all()


def test_wrong_arguments_are_refused(world):
    densities, viewing = world
    with pytest.raises(ValueError, match=r"`metrics`.*got 'auk'"):
        score_map(viewing, 0, densities[0], metrics=["auk"])
    with pytest.raises(ValueError, match="`saliency` must have shape"):
        score_map(viewing, 0, densities[0].T)
    with pytest.raises(ValueError, match="`fold` must have shape"):
        make_free_viewing(viewing.human, viewing.observer, [0, 1])
    with pytest.raises(ValueError, match="`sigma_px`"):
        make_free_viewing(viewing.human, viewing.observer, viewing.fold, sigma_px=0)
    with pytest.raises(ValueError, match="`saliency` has 1 values"):
        rank_bins([[np.nan, 1.0]])


# ------------------------------------------------------------------- the table


@pytest.fixture(scope="module")
def units():
    rng = np.random.default_rng(0)
    names = [f"{i}.jpg" for i in range(30)]
    parts = []
    for model, mean in (("m", 1.0), (HUMAN_MODEL, 3.0), (JOINT_MODEL, 4.0)):
        table = pd.DataFrame(
            rng.normal(mean, 1, (30, len(METRICS))), columns=list(METRICS)
        )
        parts.append(table.assign(model=model, stimulus_id=names))
    table = pd.concat(parts, ignore_index=True)
    table.loc[table["model"] == JOINT_MODEL, ["cc", "sim", "kl"]] = np.nan
    table.loc[3, "nss"] = np.nan
    return table.assign(auc_judd=np.where(table["model"] == "m", 0.7, np.nan))


def test_values_are_means_with_intervals_and_ceilings(units):
    table = free_viewing_scores(units, seed=1, n_bootstrap=2000)
    assert list(table.columns) == [*SCORE_COLUMNS, "n_undefined", "note"]
    assert set(table["model"]) == {"m", HUMAN_MODEL}
    own = table[table["model"] == "m"].set_index("metric")
    people = table[table["model"] == HUMAN_MODEL].set_index("metric")
    assert list(people.index) == list(METRICS)
    given = units[units["model"] == "m"]
    for metric in METRICS:
        values = given[metric].dropna()
        np.testing.assert_allclose(own["value"][metric], values.mean())
        error = values.std() / np.sqrt(len(values))
        assert own["ci_low"][metric] == pytest.approx(
            values.mean() - 1.96 * error, abs=0.1
        )
        assert own["ci_high"][metric] == pytest.approx(
            values.mean() + 1.96 * error, abs=0.1
        )
        assert own["ceiling_low"][metric] == people["value"][metric]
        assert own["unit"][metric] == UNITS[metric]
    assert (own["n"]["nss"], own["n_undefined"]["nss"]) == (29, 1)
    joint = units[units["model"] == JOINT_MODEL]["auc"].mean()
    np.testing.assert_allclose(own["ceiling_high"]["auc"], joint)
    assert np.isnan(own["ceiling_high"]["cc"])
    share = own["value"]["nss"] / people["value"]["nss"]
    np.testing.assert_allclose(own["value_over_ceiling"]["nss"], share)
    assert np.isnan(own["value_over_ceiling"]["auc"])
    assert np.isnan(own["ceiling_low"]["auc_judd"])
    assert pd.isna(own["ceiling_kind"]["auc_judd"])
    assert own["ceiling_kind"]["cc"].startswith("halves")


def test_resamples_are_the_same_for_all_models(units):
    same = units[units["model"] == "m"]
    both = pd.concat([same, same.assign(model="n")])
    table = free_viewing_scores(both, n_bootstrap=50).set_index(["model", "metric"])
    columns = ["value", "ci_low", "ci_high"]
    np.testing.assert_array_equal(table.loc["m", columns], table.loc["n", columns])
    assert table["ceiling_low"].isna().all()


def test_without_resamples_there_are_no_intervals(units):
    table = free_viewing_scores(units, n_bootstrap=0)
    assert table[["ci_low", "ci_high"]].isna().all(axis=None)
    single = units[units["stimulus_id"] == "5.jpg"]
    assert free_viewing_scores(single)["ci_low"].isna().all()


def test_a_model_that_lacks_a_picture_is_refused(units):
    with pytest.raises(ValueError, match="each of 30 pictures once per model; 'human'"):
        free_viewing_scores(units.drop(index=45))
    with pytest.raises(ValueError, match="`units` lacks"):
        free_viewing_scores(units.drop(columns="model"))
