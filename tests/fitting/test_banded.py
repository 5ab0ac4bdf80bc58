"""Banded ridge regression against refits by the normal equations, and its options."""

import logging
import pickle

import numpy as np
import pytest
import torch
from scipy import linalg
from sklearn.base import clone

from analysis.metrics import pearson_r, r_squared
from neurovis.core.rng import generator
from neurovis.fitting.banded import BandedRidgeCV
from neurovis.fitting.ridge import RidgeCV
from neurovis.fitting.ridge_folds import contiguous_folds, grouped_folds

ALPHAS = np.array([0.1, 3.0, 100.0])
GAMMAS = np.array(
    [[1 / 3, 1 / 3, 1 / 3], [0, 0.9, 0.1], [0.8, 0, 0.2], [0, 0, 1], [2, 0.5, 0.01]]
)
SHAPES = {
    "wide": (31, (20, 9, 30), 4),
    "tall": (60, (3, 5, 4), 4),
    "one target": (26, (10, 4, 25), 1),
}
SOLVERS = ("dual", "primal")


def make_data(n, widths, v, seed=0, noise=1.0):
    rng = generator(seed, "banded", n, *widths, v)
    Xs = [rng.standard_normal((n, p)) + rng.normal(0, 1, p) for p in widths]
    strength = rng.choice([0.0, 1.0], (len(widths), v))
    Y = sum(
        x @ rng.standard_normal((x.shape[1], v)) / np.sqrt(x.shape[1]) * s
        for x, s in zip(Xs, strength, strict=True)
    )
    return Xs, Y + noise * rng.standard_normal((n, v)) + rng.normal(0, 2, v)


def refit(Xs, Y, gamma, alpha, intercept):
    """Weights of the features and constants by one linear system."""
    roots = np.repeat(np.sqrt(gamma), [x.shape[1] for x in Xs])
    X = np.hstack(Xs) * roots
    x_mean, y_mean = (a.mean(0) * intercept for a in (X, Y))
    system = (X - x_mean).T @ (X - x_mean) + alpha * np.eye(X.shape[1])
    weights = linalg.solve(system, (X - x_mean).T @ (Y - y_mean), assume_a="pos")
    return weights * roots[:, None], y_mean - x_mean @ weights


def score(measured, predicted, scoring):
    if scoring == "mse":
        return -((measured - predicted) ** 2).mean(0)
    if scoring == "r2":
        rest = ((measured - predicted) ** 2).sum(0)
        return 1 - rest / ((measured - measured.mean(0)) ** 2).sum(0)
    pairs = zip(measured.T, predicted.T, strict=True)
    return np.array([np.corrcoef(*pair)[0, 1] for pair in pairs])


def brute_force(Xs, Y, folds, intercept, scoring="mse", gammas=GAMMAS, alphas=ALPHAS):
    """Scores by row of gammas, and what is chosen: one refit per fold and choice."""
    n, v = Y.shape
    best, chosen = np.full(v, -np.inf), np.full((2, v), -1)
    table = np.empty((len(gammas), v))
    for i, gamma in enumerate(gammas):
        means = []
        for alpha in alphas:
            scores = []
            for held in folds:
                train = np.setdiff1d(np.arange(n), held)
                parts = [x[train] for x in Xs]
                weights, constant = refit(parts, Y[train], gamma, alpha, intercept)
                predicted = np.hstack(Xs)[held] @ weights + constant
                scores.append(score(Y[held], predicted, scoring))
            means.append(np.mean(scores, 0) + 1e-10 * np.log(alpha))
        table[i] = np.max(means, 0)
        better = table[i] > best + np.finfo(float).eps
        chosen[0, better] = i
        chosen[1, better] = np.argmax(means, 0)[better]
        best = np.where(better, table[i], best)
    return table, chosen


def assert_chosen(model, Xs, Y, table, chosen, intercept, gammas=GAMMAS):
    np.testing.assert_allclose(model.cv_scores_per_iter_, table, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(model.best_iter_, chosen[0])
    np.testing.assert_array_equal(model.alphas_, ALPHAS[chosen[1]])
    np.testing.assert_array_equal(model.gammas_, gammas[chosen[0]].T)
    np.testing.assert_allclose(model.cv_scores_, table.max(0), rtol=1e-9, atol=1e-9)
    with np.errstate(divide="ignore"):
        deltas = np.log(model.gammas_ / model.alphas_)
    np.testing.assert_allclose(model.deltas_, deltas, rtol=1e-14)
    predicted = model.predict(Xs)
    for j, (i, k) in enumerate(chosen.T):
        weights, constant = refit(Xs, Y[:, [j]], gammas[i], ALPHAS[k], intercept)
        ours = np.vstack(model.coef_)[:, [j]]
        np.testing.assert_allclose(ours, weights, rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(model.intercept_[j], constant[0], atol=1e-9)
        fitted = np.hstack(Xs) @ weights + constant
        np.testing.assert_allclose(predicted[:, [j]], fitted, rtol=1e-8, atol=1e-9)


# ------------------------------------------------------------------- brute force


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scoring", ["mse", "r2", "correlation"])
def test_choices_scores_and_fits_are_those_of_refits(shape, intercept, solver, scoring):
    Xs, Y = make_data(*shape)
    table, chosen = brute_force(
        Xs, Y, contiguous_folds(len(Y), 4), intercept, scoring=scoring
    )
    model = BandedRidgeCV(
        ALPHAS,
        gammas=GAMMAS,
        cv=4,
        fit_intercept=intercept,
        scoring=scoring,
        solver=solver,
        device="cpu",
    ).fit(Xs, Y)
    assert model.solver_ == solver
    assert_chosen(model, Xs, Y, table, chosen, intercept)


@pytest.mark.parametrize("solver", SOLVERS)
def test_groups_and_partial_folds_match_refits(solver):
    Xs, Y = make_data(40, (6, 12, 8), 3)
    groups = generator(1, "groups").integers(0, 14, 40)
    folds = grouped_folds(groups, 3)
    options = {"gammas": GAMMAS, "solver": solver, "device": "cpu"}
    model = BandedRidgeCV(ALPHAS, cv=3, **options).fit(Xs, Y, groups)
    assert_chosen(model, Xs, Y, *brute_force(Xs, Y, folds, True), True)
    partial = [folds[2], folds[0]]  # the rows of fold 1 are always trained on
    model = BandedRidgeCV(ALPHAS, cv=partial, **options).fit(Xs, Y)
    assert_chosen(model, Xs, Y, *brute_force(Xs, Y, partial, True), True)


@pytest.mark.parametrize("solver", SOLVERS)
def test_leaving_one_out_matches_refits(solver):
    Xs, Y = make_data(20, (4, 9, 3), 2)
    singles = [np.array([i]) for i in range(20)]
    _, chosen = brute_force(Xs, Y, singles, True)
    options = {"gammas": GAMMAS, "solver": solver, "device": "cpu"}
    model = BandedRidgeCV(ALPHAS, cv="loo", **options).fit(Xs, Y)
    table, _ = brute_force(Xs, Y, singles, True)
    assert_chosen(model, Xs, Y, table, chosen, True)


@pytest.mark.parametrize("solver", SOLVERS)
def test_gcv_scores_are_those_of_the_weighted_features(solver):
    Xs, Y = make_data(30, (8, 5, 4), 3)
    options = {"cv": "gcv", "device": "cpu"}
    model = BandedRidgeCV(ALPHAS, gammas=GAMMAS, solver=solver, **options).fit(Xs, Y)
    for gamma, found in zip(GAMMAS, model.cv_scores_per_iter_, strict=True):
        X = np.hstack([np.sqrt(g) * x for g, x in zip(gamma, Xs, strict=True)])
        theirs = RidgeCV(ALPHAS, **options).fit(X, Y)
        np.testing.assert_allclose(found, theirs.cv_scores_, rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("intercept", [True, False])
def test_standardizing_is_that_of_the_columns_beforehand(solver, intercept):
    Xs, Y = make_data(40, (5, 9, 7), 3)
    Xs[0][:, 2] = 4.0  # constant: no variation to divide by
    Xs = [x * 10.0 ** np.arange(-3, x.shape[1] - 3) for x in Xs]
    scaled = [(x - x.mean(0)) / np.where(x.std(0) > 1e-9, x.std(0), np.inf) for x in Xs]
    options = {"gammas": GAMMAS, "solver": solver, "fit_intercept": intercept}
    ours = BandedRidgeCV(ALPHAS, standardize=True, device="cpu", **options).fit(Xs, Y)
    theirs = BandedRidgeCV(ALPHAS, device="cpu", **options).fit(scaled, Y)
    np.testing.assert_allclose(ours.deltas_, theirs.deltas_)
    expected = theirs.predict(scaled)
    np.testing.assert_allclose(ours.predict(Xs), expected, rtol=1e-7, atol=1e-9)
    by_hand = sum(x @ w for x, w in zip(Xs, ours.coef_, strict=True)) + ours.intercept_
    np.testing.assert_allclose(by_hand, expected, rtol=1e-6, atol=1e-6)


# -------------------------------------------------------------------- properties


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("search", ["full", "window"])
def test_one_space_is_ridge_regression(solver, search):
    Xs, Y = make_data(40, (25,), 6)
    options = {"cv": 4, "solver": solver, "search": search, "device": "cpu"}
    ours = BandedRidgeCV(ALPHAS, gammas=np.ones((3, 1)), **options).fit(Xs, Y)
    theirs = RidgeCV(ALPHAS, **options).fit(Xs[0], Y)
    np.testing.assert_array_equal(ours.alphas_, theirs.alphas_)
    np.testing.assert_array_equal(ours.best_iter_, 0)  # equal rows do not replace
    np.testing.assert_allclose(ours.coef_[0], theirs.coef_, rtol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9)
    np.testing.assert_allclose(ours.predict(Xs), theirs.predict(Xs[0]), rtol=1e-10)
    np.testing.assert_allclose(ours.score(Xs, Y), theirs.score(Xs[0], Y), rtol=1e-10)
    if solver == "dual":
        residual = Y - ours.predict(Xs)
        np.testing.assert_allclose(ours.dual_coef_, residual, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_scale_of_a_space_and_its_gamma_compensate(solver):
    Xs, Y = make_data(30, (7, 12, 6), 4)
    scales = np.array([0.02, 30.0, 5.0])
    options = {"solver": solver, "device": "cpu"}
    one = BandedRidgeCV(ALPHAS, gammas=GAMMAS, **options).fit(Xs, Y)
    scaled = [c * x for c, x in zip(scales, Xs, strict=True)]
    other = BandedRidgeCV(ALPHAS, gammas=GAMMAS / scales**2, **options).fit(scaled, Y)
    np.testing.assert_array_equal(one.best_iter_, other.best_iter_)
    np.testing.assert_allclose(one.predict(Xs), other.predict(scaled), rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_order_of_spaces_and_of_gammas_does_not_matter(solver):
    Xs, Y = make_data(30, (7, 12, 6), 4)
    options = {"solver": solver, "device": "cpu"}
    one = BandedRidgeCV(ALPHAS, gammas=GAMMAS, **options).fit(Xs, Y)
    order, rows = [2, 0, 1], [4, 2, 0, 1, 3]
    turned = [Xs[i] for i in order]
    other = BandedRidgeCV(ALPHAS, gammas=GAMMAS[rows][:, order], **options)
    other.fit(turned, Y)
    np.testing.assert_allclose(other.deltas_, one.deltas_[order])
    np.testing.assert_allclose(other.predict(turned), one.predict(Xs), rtol=1e-9)
    shares = one.predict(Xs, split=True)[order]
    np.testing.assert_allclose(other.predict(turned, split=True), shares, rtol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_space_of_weight_zero_is_as_if_absent(solver):
    Xs, Y = make_data(30, (7, 12, 6), 4)
    options = {"solver": solver, "device": "cpu"}
    gammas = np.array([[0.3, 0, 0.7], [0.9, 0, 0.1]])
    with_it = BandedRidgeCV(ALPHAS, gammas=gammas, **options).fit(Xs, Y)
    without = BandedRidgeCV(ALPHAS, gammas=gammas[:, [0, 2]], **options)
    without.fit([Xs[0], Xs[2]], Y)
    assert (with_it.deltas_[1] == -np.inf).all()
    assert (with_it.coef_[1] == 0).all()
    assert (with_it.predict(Xs, split=True)[1] == 0).all()
    expected = without.predict([Xs[0], Xs[2]])
    np.testing.assert_allclose(with_it.predict(Xs), expected, rtol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
def test_shares_of_spaces_add_up(solver):
    Xs, Y = make_data(50, (7, 12, 6), 5)
    train, test = ([x[rows] for x in Xs] for rows in (slice(35), slice(35, None)))
    model = BandedRidgeCV(ALPHAS, gammas=GAMMAS, solver=solver, device="cpu")
    model.fit(train, Y[:35])
    shares = model.predict(test, split=True)
    assert shares.shape == (3, 15, 5)
    whole = model.predict(test)
    np.testing.assert_allclose(shares.sum(0) + Y[:35].mean(0), whole, rtol=1e-10)
    centred = [x - x[:35].mean(0) for x in Xs]
    for share, x, weights in zip(shares, centred, model.coef_, strict=True):
        np.testing.assert_allclose(share, x[35:] @ weights, rtol=1e-8, atol=1e-10)
    measured = Y[35:]
    moved = whole - whole.mean(0) + measured.mean(0)
    split = model.score(test, measured, split="product")
    np.testing.assert_allclose(split.sum(0), r_squared(measured, moved), rtol=1e-9)
    split = model.score(test, measured, split="product", metric="correlation")
    r = pearson_r(measured, whole)
    np.testing.assert_allclose(split.sum(0), r, rtol=1e-9)
    np.testing.assert_allclose(model.score(test, measured, metric="correlation"), r)
    np.testing.assert_allclose(model.score(test, measured), r_squared(measured, whole))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("search", ["full", "window"])
def test_batches_of_targets_do_not_change_the_result(solver, search):
    Xs, Y = make_data(30, (7, 12, 6), 11)
    options = {"n_iter": 6, "solver": solver, "search": search, "device": "cpu"}
    one = BandedRidgeCV(ALPHAS, **options).fit(Xs, Y)
    other = BandedRidgeCV(ALPHAS, n_targets_batch=3, **options).fit(Xs, Y)
    np.testing.assert_array_equal(one.best_iter_, other.best_iter_)
    np.testing.assert_array_equal(one.alphas_, other.alphas_)
    np.testing.assert_allclose(one.predict(Xs), other.predict(Xs), rtol=1e-10)


def test_window_finds_what_the_full_grid_finds():
    Xs, Y = make_data(60, (10, 30, 15), 40)
    alphas = np.logspace(-2, 4, 13)
    full = BandedRidgeCV(alphas, n_iter=8, device="cpu").fit(Xs, Y)
    window = clone(full).set_params(search="window").fit(Xs, Y)
    assert (full.best_iter_ == window.best_iter_).mean() >= 0.95
    same = (full.best_iter_ == window.best_iter_) & (full.alphas_ == window.alphas_)
    assert same.mean() >= 0.95
    expected = full.predict(Xs)[:, same]
    np.testing.assert_allclose(window.predict(Xs)[:, same], expected, rtol=1e-9)
    assert (window.cv_scores_ <= full.cv_scores_ + 1e-12).all()


def test_searches_are_repeatable_and_follow_the_seed():
    Xs, Y = make_data(30, (7, 12, 6), 4)
    fits = [
        BandedRidgeCV(ALPHAS, n_iter=5, seed=s, device="cpu").fit(Xs, Y)
        for s in (3, 3, 4)
    ]
    np.testing.assert_array_equal(fits[0].deltas_, fits[1].deltas_)
    np.testing.assert_array_equal(fits[0].predict(Xs), fits[1].predict(Xs))
    assert not np.array_equal(fits[0].searched_gammas_, fits[2].searched_gammas_)


# ---------------------------------------------------------------------- recovery


def test_the_space_that_made_a_target_is_found():
    rng = generator(0, "banded recovery")
    edges, objects = rng.standard_normal((2, 300, 60))
    Y = np.empty((300, 9))
    Y[:, :3] = edges @ rng.standard_normal((60, 3))
    Y[:, 3:6] = objects @ rng.standard_normal((60, 3))
    Y[:, 6:] = (edges + objects) @ rng.standard_normal((60, 3))
    Y += 0.5 * Y.std(0) * rng.standard_normal(Y.shape)
    train, test = slice(200), slice(200, None)
    spaces = {"edges": edges, "objects": objects}
    model = BandedRidgeCV(n_iter=30, device="cpu")
    model.fit({k: x[train] for k, x in spaces.items()}, Y[train])
    assert model.spaces_ == ("edges", "objects")
    new = {k: x[test] for k, x in spaces.items()}
    shares = model.score(new, Y[test], split="product")
    assert (model.gammas_[0, :3] > 0.95).all()
    assert (model.gammas_[1, 3:6] > 0.95).all()
    assert (np.abs(model.gammas_[0, 6:] - 0.5) < 0.3).all()
    assert (shares[0, :3] > 0.6).all()
    assert (np.abs(shares[1, :3]) < 0.05).all()
    assert (shares[1, 3:6] > 0.6).all()
    assert (np.abs(shares[0, 3:6]) < 0.05).all()
    assert (shares[:, 6:] > 0.15).all()
    plain = RidgeCV(device="cpu").fit(np.hstack([edges, objects])[train], Y[train])
    r2 = plain.score(np.hstack([edges, objects])[test], Y[test])
    assert (model.score(new, Y[test])[:6] > r2[:6] + 0.02).all()


def test_numbers_stay_as_they_were():
    Xs, Y = make_data(24, (5, 30), 2, noise=2.0)
    model = BandedRidgeCV([1, 10, 100], n_iter=6, cv=3, device="cpu").fit(Xs, Y)
    found = [*model.deltas_.ravel(), *model.cv_scores_, *model.predict(Xs)[0]]
    np.testing.assert_allclose(found, FROZEN, rtol=1e-9)


FROZEN = [
    -9.08831038945,
    -4.69645940887,
    -4.61653237159,
    -7.04419012216,
    -5.49322625572,
    -4.48956163618,
    0.804486450245,
    -1.13149389303,
]


# ------------------------------------------------------- kinds, precision, missing


def test_names_come_back_and_may_stand_in_any_order():
    Xs, Y = make_data(30, (7, 12), 3)
    spaces = {"a": Xs[0], "b": Xs[1]}
    model = BandedRidgeCV(ALPHAS, n_iter=4, device="cpu").fit(spaces, Y)
    listed = BandedRidgeCV(ALPHAS, n_iter=4, device="cpu").fit(Xs, Y)
    assert list(model.coef_) == ["a", "b"]
    assert isinstance(listed.coef_, list)
    assert listed.spaces_ == ("0", "1")
    np.testing.assert_array_equal(model.coef_["b"], listed.coef_[1])
    turned = model.predict({"b": Xs[1], "a": Xs[0]})
    np.testing.assert_array_equal(turned, listed.predict(Xs))
    assert model.n_features_in_ == 19


def test_a_space_may_be_several_arrays_side_by_side():
    Xs, Y = make_data(30, (7, 12), 3)
    options = {"n_iter": 4, "device": "cpu"}
    whole = BandedRidgeCV(ALPHAS, **options).fit(Xs, Y)
    cut = [Xs[0], [Xs[1][:, :5], Xs[1][:, 5:]]]
    parts = BandedRidgeCV(ALPHAS, **options).fit(cut, Y)
    np.testing.assert_allclose(parts.predict(cut), whole.predict(Xs), rtol=1e-10)
    np.testing.assert_allclose(parts.coef_[1], whole.coef_[1], rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_vector_of_targets_drops_the_last_axis(solver):
    Xs, Y = make_data(30, (7, 12), 1)
    options = {"n_iter": 4, "solver": solver, "device": "cpu"}
    one = BandedRidgeCV(ALPHAS, **options).fit(Xs, Y[:, 0])
    many = BandedRidgeCV(ALPHAS, **options).fit(Xs, Y)
    assert one.deltas_.shape == (2,)
    assert one.cv_scores_per_iter_.shape == (4,)
    assert one.predict(Xs).shape == (30,)
    assert one.predict(Xs, split=True).shape == (2, 30)
    assert one.coef_[1].shape == (12,)
    np.testing.assert_array_equal(one.predict(Xs), many.predict(Xs)[:, 0])
    assert one.alphas_ == many.alphas_[0]
    assert one.score(Xs, Y[:, 0]) == many.score(Xs, Y)[0]
    split = one.score(Xs, Y[:, 0], split="product")
    np.testing.assert_array_equal(split, many.score(Xs, Y, split="product")[:, 0])


@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_is_near_float64_and_stays_float32(solver):
    Xs, Y = make_data(60, (20, 15, 12), 8)
    single = [x.astype("f4") for x in Xs]
    options = {"gammas": GAMMAS, "solver": solver, "device": "cpu"}
    wide = BandedRidgeCV(ALPHAS, **options).fit(Xs, Y)
    narrow = BandedRidgeCV(ALPHAS, **options).fit(single, Y.astype("f4"))
    np.testing.assert_array_equal(wide.best_iter_, narrow.best_iter_)
    found = narrow.predict(single)
    assert found.dtype == narrow.coef_[0].dtype == np.float32
    np.testing.assert_allclose(found, wide.predict(Xs), rtol=2e-4, atol=2e-4)
    assert narrow.cv_scores_.dtype == np.float64


def test_small_alphas_make_float32_decompose_in_float64():
    Xs, Y = make_data(30, (40, 20), 3)
    single = [x.astype("f4") for x in Xs]
    fits = [
        BandedRidgeCV(a, n_iter=3, solver="dual", device="cpu").fit(
            single, Y.astype("f4")
        )
        for a in ([10.0], [1e-4])
    ]
    assert [m.gram_dtype_ for m in fits] == ["float32", "float64"]


def test_tensors_give_tensors():
    Xs, Y = make_data(30, (7, 12), 3)
    tensors, targets = [torch.from_numpy(x) for x in Xs], torch.from_numpy(Y)
    ours = BandedRidgeCV(ALPHAS, n_iter=4, device="cpu").fit(tensors, targets)
    theirs = BandedRidgeCV(ALPHAS, n_iter=4, device="cpu").fit(Xs, Y)
    found = ours.predict(tensors)
    assert isinstance(found, torch.Tensor)
    assert isinstance(ours.deltas_, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), theirs.predict(Xs))
    assert isinstance(ours.predict(Xs), np.ndarray)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("search", ["full", "window"])
def test_missing_targets_are_refused_or_nan_and_constant_ones_are_their_mean(
    solver, search, caplog
):
    Xs, Y = make_data(30, (7, 12), 5)
    Y[3, 1], Y[:, 3] = np.nan, 7.0
    options = {"n_iter": 4, "solver": solver, "search": search, "device": "cpu"}
    with pytest.raises(ValueError, match=r"1 of 5 targets .*the first is target 1"):
        BandedRidgeCV(ALPHAS, **options).fit(Xs, Y)
    model = BandedRidgeCV(ALPHAS, nan="omit", **options)
    with caplog.at_level(logging.WARNING):
        model.fit(Xs, Y)
    assert "1 targets are omitted" in caplog.text
    assert "1 targets have no score" in caplog.text
    good = [0, 2, 4]
    alone = BandedRidgeCV(ALPHAS, **options).fit(Xs, Y[:, good])
    np.testing.assert_allclose(model.predict(Xs)[:, good], alone.predict(Xs))
    np.testing.assert_array_equal(model.deltas_[:, good], alone.deltas_)
    assert np.isnan(model.deltas_[:, [1, 3]]).all()
    assert np.isnan(model.cv_scores_per_iter_[:, [1, 3]]).all()
    assert model.best_iter_[[1, 3]].tolist() == [-1, -1]
    assert np.isnan(model.predict(Xs)[:, 1]).all()
    np.testing.assert_allclose(model.predict(Xs)[:, 3], 7)
    assert (model.coef_[0][:, 3] == 0).all()
    assert np.isnan(model.coef_[0][:, 1]).all()
    np.testing.assert_array_equal(np.isnan(model.intercept_), [0, 1, 0, 0, 0])


def test_a_fit_can_be_copied_and_cloned():
    Xs, Y = make_data(30, (7, 12), 3)
    model = BandedRidgeCV((1, 10), n_iter=4, device="cpu").fit(Xs, Y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(Xs), model.predict(Xs))
    assert clone(model).get_params() == model.get_params()
    assert not hasattr(clone(model), "deltas_")


def test_ends_of_the_grid_are_counted():
    Xs, Y = make_data(40, (7, 12), 9, noise=20.0)
    model = BandedRidgeCV([1, 2, 1e6], n_iter=3, device="cpu").fit(Xs, Y)
    counts = [(model.alphas_ == end).sum() for end in (1, 1e6)]
    assert [model.n_at_smallest_, model.n_at_largest_] == counts
    assert model.n_at_largest_ > 0


# ------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alphas": [0.0]}, "`alphas` must be finite and above 0"),
        ({"n_iter": 0}, "`n_iter` must be within"),
        ({"seed": -1}, "`seed` must be within"),
        ({"gammas": [[1, 0, 0]]}, r"shape \(n_iter, 2\)"),
        ({"gammas": [[1, -1]]}, "row 0 is"),
        ({"gammas": [[1, 1], [0, 0]]}, "row 1 is"),
        ({"scoring": "rmse"}, "`scoring` must be one of"),
        ({"search": "grid"}, "`search` must be one of"),
        ({"solver": "svd"}, "`solver` must be one of"),
        ({"nan": "drop"}, "`nan` must be one of"),
        ({"cv": "kfold"}, "`cv` must be one of 'loo', 'gcv'"),
        ({"cv": "gcv", "scoring": "r2"}, "needs held-out rows"),
        ({"cv": 31}, "asks for 31 folds"),
        ({"dtype": "float16"}, "`dtype` must be one of"),
        ({"n_targets_batch": 0}, "`n_targets_batch` must be within"),
    ],
)
def test_bad_options_are_told(options, message):
    Xs, Y = make_data(30, (7, 12), 3)
    with pytest.raises((TypeError, ValueError), match=message):
        BandedRidgeCV(**{"n_iter": 2, "device": "cpu", **options}).fit(Xs, Y)


def test_bad_features_are_told_with_the_name_of_the_space():
    Xs, Y = make_data(30, (7, 12), 3)
    model = BandedRidgeCV(ALPHAS, n_iter=2, device="cpu")
    spoilt = Xs[1].copy()
    spoilt[3, 4] = np.nan
    for intercept in (True, False):
        model.set_params(fit_intercept=intercept)
        with pytest.raises(ValueError, match=r"Feature space 'b': .*column 4"):
            model.fit({"a": Xs[0], "b": spoilt}, Y)
    model.fit({"a": Xs[0], "b": Xs[1]}, Y)
    with pytest.raises(ValueError, match=r"Feature space 'b': .*column 4"):
        model.predict({"a": Xs[0], "b": spoilt})
    with pytest.raises(TypeError, match="must be a mapping with the names"):
        model.predict(Xs)
    with pytest.raises(ValueError, match="Did you mean 'b'"):
        model.predict({"a": Xs[0], "B": Xs[1]})
    with pytest.raises(ValueError, match="'b' has 11 features, but had 12"):
        model.predict({"a": Xs[0], "b": Xs[1][:, 1:]})
    with pytest.raises(ValueError, match="`Y` has 29"):
        model.score({"a": Xs[0], "b": Xs[1]}, Y[1:])
    with pytest.raises(ValueError, match="`split` must be one of"):
        model.score({"a": Xs[0], "b": Xs[1]}, Y, split="unique")
    with pytest.raises(ValueError, match="`metric` must be one of"):
        model.score({"a": Xs[0], "b": Xs[1]}, Y, metric="mse")


def test_dual_coefficients_belong_to_the_dual_solver():
    Xs, Y = make_data(30, (3, 4), 3)
    model = BandedRidgeCV(ALPHAS, n_iter=2, solver="primal", device="cpu").fit(Xs, Y)
    with pytest.raises(AttributeError, match="solver='dual'"):
        _ = model.dual_coef_


def test_groups_split_by_folds_are_refused():
    Xs, Y = make_data(30, (7, 12), 3)
    model = BandedRidgeCV(n_iter=2, cv=[[0, 1], [2]], device="cpu")
    with pytest.raises(ValueError, match="scores would reward remembering"):
        model.fit(Xs, Y, np.arange(30) // 3)
