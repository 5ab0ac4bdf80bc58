"""Fractional ridge regression against loops over targets, root finding and refits."""

import logging
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, optimize
from sklearn.base import clone

from analysis.metrics import r_squared
from neurovis.core.rng import generator
from neurovis.fitting.fractional_ridge import (
    FractionalRidge,
    FractionalRidgeCV,
    fractional_ridge,
)
from neurovis.fitting.fractional_ridge_solve import (
    decompose_features,
    penalties,
    rotate_targets,
)
from neurovis.fitting.ridge import solve_ridge
from neurovis.fitting.ridge_folds import contiguous_folds, grouped_folds

FRACS = np.array([0.001, 0.03, 0.25, 0.6, 0.95, 0.999, 1.0])
SHAPES = {
    "wide": (20, 45, 5),
    "tall": (50, 12, 5),
    "square": (15, 15, 3),
    "one target": (30, 8, 1),
    "one feature": (30, 1, 3),
}


def make_data(n, p, v, seed=0, noise=1.0):
    rng = generator(seed, "fractional", n, p, v)
    X = rng.standard_normal((n, p)) * rng.uniform(0.2, 3, p) + rng.normal(0, 1, p)
    Y = X @ rng.standard_normal((p, v)) + noise * rng.standard_normal((n, v))
    return X, Y + rng.normal(0, 3, v)


def by_loop(X, Y, fracs):
    """The published interpolation, one target after the other."""
    left, s, right = linalg.svd(X, full_matrices=False)
    coef = np.empty((X.shape[1], len(fracs), Y.shape[1]))
    alphas = np.empty((len(fracs), Y.shape[1]))
    low, high = (
        np.floor(np.log10(0.01 * s[-1] ** 2)),
        np.ceil(np.log10(1e4 * s[0] ** 2)),
    )
    grid = [0.0] + [10 ** (low + 0.2 * k) for k in range(round(5 * (high - low)))]
    for j, y in enumerate(Y.T):
        ols = left.T @ y / s
        lengths = [np.linalg.norm(s**2 / (s**2 + a) * ols) for a in grid]
        lengths = np.array(lengths) / np.linalg.norm(ols)
        for i, frac in enumerate(fracs):
            level = np.interp(frac, lengths[::-1], np.log1p(grid)[::-1])
            alphas[i, j] = np.exp(level) - 1
            coef[:, i, j] = right.T @ (s**2 / (s**2 + alphas[i, j]) * ols)
    return coef, alphas


def exact_penalty(X, y, frac):
    """Root of the length, by another method."""
    left, s, _ = linalg.svd(X, full_matrices=False)
    ols = left.T @ y / s

    def excess(level):
        part = s**2 / (s**2 + np.exp(level)) * ols
        return np.linalg.norm(part) / np.linalg.norm(ols) - frac

    return np.exp(optimize.brentq(excess, -40, 40, xtol=1e-13, rtol=1e-14))


def centred(X, Y, intercept):
    return X - X.mean(0) * intercept, Y - Y.mean(0) * intercept


# ------------------------------------------------------------------- brute force


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
def test_interpolation_matches_a_loop_over_targets(shape, intercept):
    if intercept and shape[0] <= shape[1]:
        shape = (shape[1] + 5, *shape[1:])  # centring takes one component off
    X, Y = make_data(*shape)
    found = fractional_ridge(X, Y, FRACS, fit_intercept=intercept, device="cpu")
    coef, alphas = by_loop(*centred(X, Y, intercept), FRACS)
    np.testing.assert_allclose(found.alphas, alphas, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(found.coef, coef, rtol=1e-8, atol=1e-10)
    constant = (Y.mean(0) - np.tensordot(X.mean(0), coef, 1)) * intercept
    np.testing.assert_allclose(found.intercept, constant, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
def test_exact_lengths_are_those_asked_for(shape, intercept):
    X, Y = make_data(*shape)
    options = {"method": "exact", "fit_intercept": intercept, "device": "cpu"}
    found = fractional_ridge(X, Y, FRACS, **options)
    Xc, Yc = centred(X, Y, intercept)
    ols = np.linalg.pinv(Xc) @ Yc
    lengths = np.linalg.norm(found.coef, axis=0) / np.linalg.norm(ols, axis=0)
    expected = np.broadcast_to(FRACS[:, None], lengths.shape)
    np.testing.assert_allclose(lengths, expected, rtol=1e-10, atol=0)
    if not intercept:
        for i, frac in enumerate(FRACS[:-1]):
            roots = [exact_penalty(X, y, frac) for y in Y.T]
            np.testing.assert_allclose(found.alphas[i], roots, rtol=1e-7)


@pytest.mark.parametrize("method", ["interpolated", "exact"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
def test_solutions_are_ridge_regressions_with_their_penalty(method, shape, intercept):
    X, Y = make_data(*shape)
    options = {"fit_intercept": intercept, "device": "cpu"}
    found = fractional_ridge(X, Y, FRACS[:-1], method=method, **options)
    for i in range(len(FRACS) - 1):
        weights, constant = solve_ridge(X, Y, found.alphas[i], **options)
        np.testing.assert_allclose(found.coef[:, i], weights, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(found.intercept[i], constant, rtol=1e-6, atol=1e-8)


def refit_scores(X, Y, fracs, folds, intercept, scoring, method):
    table = np.zeros((len(fracs), Y.shape[1]))
    for held in folds:
        train = np.setdiff1d(np.arange(len(X)), held)
        options = {"method": method, "fit_intercept": intercept, "device": "cpu"}
        part = fractional_ridge(X[train], Y[train], fracs, **options)
        for i in range(len(fracs)):
            predicted = X[held] @ part.coef[:, i] + part.intercept[i]
            if scoring == "mse":
                table[i] -= ((Y[held] - predicted) ** 2).mean(0)
            elif scoring == "r2":
                table[i] += r_squared(Y[held], predicted)
            else:
                pairs = zip(Y[held].T, predicted.T, strict=True)
                table[i] += [np.corrcoef(*pair)[0, 1] for pair in pairs]
    return table / len(folds)


@pytest.mark.parametrize("shape", [(31, 50, 4), (41, 9, 4)], ids=["wide", "tall"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("scoring", ["mse", "r2", "correlation"])
@pytest.mark.parametrize("method", ["interpolated", "exact"])
def test_cross_validation_matches_refits(shape, intercept, scoring, method):
    X, Y = make_data(*shape, noise=5.0)
    fracs = np.array([0.1, 0.3, 0.6, 1.0])
    options = {"method": method, "fit_intercept": intercept, "device": "cpu"}
    model = FractionalRidgeCV(fracs, cv=4, scoring=scoring, **options).fit(X, Y)
    folds = contiguous_folds(len(X), 4)
    table = refit_scores(X, Y, fracs, folds, intercept, scoring, method)
    np.testing.assert_array_equal(model.fracs_, fracs[table.argmax(0)])
    np.testing.assert_allclose(model.cv_scores_, table.max(0), rtol=1e-8)
    whole = fractional_ridge(X, Y, fracs, **options)
    new, _ = make_data(*shape, seed=1)
    for j, i in enumerate(table.argmax(0)):
        assert model.alphas_[j] == pytest.approx(whole.alphas[i, j], rel=1e-9)
        coef, constant = whole.coef[:, i, j], whole.intercept[i, j]
        np.testing.assert_allclose(model.coef_[:, j], coef, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.intercept_[j], constant, rtol=1e-8, atol=1e-10)
        predicted = new @ coef + constant
        np.testing.assert_allclose(model.predict(new)[:, j], predicted, rtol=1e-8)


def test_rows_of_a_group_are_held_out_together():
    X, Y = make_data(40, 12, 4, noise=5.0)
    groups = generator(1, "groups").integers(0, 13, 40)
    fracs = np.array([0.1, 0.5, 1.0])
    model = FractionalRidgeCV(fracs, cv=3, device="cpu").fit(X, Y, groups)
    folds = grouped_folds(groups, 3)
    table = refit_scores(X, Y, fracs, folds, True, "mse", "interpolated")
    np.testing.assert_allclose(model.cv_scores_, table.max(0), rtol=1e-9)
    with pytest.raises(ValueError, match="scores would reward remembering"):
        FractionalRidgeCV(cv=[[0, 1], [2]], device="cpu").fit(X, Y, np.arange(40) // 3)


# -------------------------------------------------------------------- properties


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(1e-6, 0.999999), st.floats(-5, 5))
def test_exact_penalties_give_the_length_for_any_spectrum(seed, frac, decades):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((25, 10)) * np.logspace(0, decades, 10)
    part = decompose_features(torch.from_numpy(X), torch.float64)
    solution = rotate_targets(part, torch.from_numpy(rng.standard_normal((6, 25))))
    wanted = torch.tensor([frac], dtype=torch.float64)
    alphas = penalties(part, solution, wanted, "exact")[0]
    squares = part.values**2
    shorter = squares / (squares + alphas[:, None]) * solution
    lengths = shorter.norm(dim=1) / solution.norm(dim=1)
    np.testing.assert_allclose(lengths, frac, rtol=1e-10)


def test_lengths_are_nearly_those_asked_for_by_interpolation():
    X, Y = make_data(60, 20, 50)
    fracs = np.linspace(0.05, 1, 20)
    coef = fractional_ridge(X, Y, fracs, device="cpu").coef
    lengths = np.linalg.norm(coef, axis=0)
    np.testing.assert_allclose(
        lengths / lengths[-1], fracs[:, None] + np.zeros(50), rtol=0.03
    )
    assert (np.diff(lengths, axis=0) > 0).all()


@pytest.mark.parametrize("scale", [0.1, 1.0, 1e6])
def test_interpolation_works_for_dependent_features(scale):
    X, Y = make_data(15, 40, 6)  # centring takes one component off
    fracs = np.array([0.1, 0.5, 0.9, 1.0])
    coef = fractional_ridge(scale * X, Y, fracs, device="cpu").coef
    lengths = np.linalg.norm(coef, axis=0)
    expected = fracs[:, None] + np.zeros(6)
    np.testing.assert_allclose(lengths / lengths[-1], expected, rtol=0.03)


@pytest.mark.parametrize("method", ["interpolated", "exact"])
def test_fractions_may_come_in_any_order(method):
    X, Y = make_data(30, 8, 3)
    order = [3, 0, 5, 1]
    options = {"method": method, "device": "cpu"}
    one = fractional_ridge(X, Y, FRACS, **options)
    other = fractional_ridge(X, Y, FRACS[order], **options)
    np.testing.assert_array_equal(other.coef, one.coef[:, order])
    np.testing.assert_array_equal(other.alphas, one.alphas[order])


def test_scale_of_features_scales_exact_penalties():
    X, Y = make_data(30, 8, 3)
    options = {"method": "exact", "device": "cpu"}
    one = fractional_ridge(X, Y, FRACS[:-1], **options)
    other = fractional_ridge(100 * X, Y, FRACS[:-1], **options)
    np.testing.assert_allclose(other.alphas, 1e4 * one.alphas, rtol=1e-8)
    np.testing.assert_allclose(100 * other.coef, one.coef, rtol=1e-8)


def test_no_length_is_no_weight_and_full_length_is_least_squares():
    X, Y = make_data(30, 8, 3)
    exact = fractional_ridge(X, Y, [0, 1], method="exact", device="cpu")
    assert (exact.alphas[0] == np.inf).all()
    assert (exact.coef[:, 0] == 0).all()
    np.testing.assert_allclose(exact.intercept[0], Y.mean(0), rtol=1e-12)
    assert (exact.alphas[1] == 0).all()
    Xc, Yc = centred(X, Y, True)
    ols = linalg.lstsq(Xc, Yc)[0]
    np.testing.assert_allclose(exact.coef[:, 1], ols, rtol=1e-9)
    # The published method knows no infinite penalty: the largest of its grid.
    grid = fractional_ridge(X, Y, [0, 1], device="cpu")
    top = np.linalg.norm(Xc, 2) ** 2
    assert (grid.alphas[0] > 1e3 * top).all()
    assert (grid.alphas[0] < 1e5 * top).all()
    np.testing.assert_allclose(grid.coef[:, 1], ols, rtol=1e-9)


@pytest.mark.parametrize("method", ["interpolated", "exact"])
def test_repeated_features_count_once(method):
    X, Y = make_data(30, 6, 3)
    options = {"method": method, "fit_intercept": False, "device": "cpu"}
    twice = np.hstack([X, X, np.zeros((30, 2))])
    found = fractional_ridge(twice, Y, [0.3, 0.7], **options)
    np.testing.assert_allclose(found.coef[:6], found.coef[6:12], rtol=1e-8, atol=1e-12)
    assert (np.abs(found.coef[12:]) < 1e-12).all()
    once = fractional_ridge(np.sqrt(2) * X, Y, [0.3, 0.7], **options)
    np.testing.assert_allclose(np.sqrt(2) * found.coef[:6], once.coef, rtol=1e-4)
    lengths = np.linalg.norm(found.coef, axis=0)
    ols = np.linalg.norm(np.linalg.pinv(twice) @ Y, axis=0)
    tolerance = 1e-10 if method == "exact" else 0.02
    expected = np.array([[0.3], [0.7]]) + np.zeros(3)
    np.testing.assert_allclose(lengths / ols, expected, rtol=tolerance)


@pytest.mark.parametrize("estimator", [FractionalRidge, FractionalRidgeCV])
def test_batches_of_targets_do_not_change_the_result(estimator):
    X, Y = make_data(30, 8, 11)
    one = estimator(device="cpu").fit(X, Y)
    other = estimator(device="cpu", n_targets_batch=3).fit(X, Y)
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-9)
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-10)


@pytest.mark.parametrize("intercept", [True, False])
def test_standardizing_is_that_of_the_columns_beforehand(intercept):
    X, Y = make_data(40, 9, 3)
    X[:, 4] = 2.0
    scaled = (X - X.mean(0)) / np.where(X.std(0) > 1e-9, X.std(0), np.inf)
    options = {"fit_intercept": intercept, "device": "cpu"}
    ours = FractionalRidge([0.2, 0.5], standardize=True, **options).fit(X, Y)
    theirs = FractionalRidge([0.2, 0.5], **options).fit(scaled, Y)
    expected = theirs.predict(scaled)
    np.testing.assert_allclose(ours.predict(X), expected, rtol=1e-9, atol=1e-9)
    by_hand = np.tensordot(X, ours.coef_, 1) + ours.intercept_
    np.testing.assert_allclose(by_hand, expected, rtol=1e-8, atol=1e-8)


def test_noisier_targets_take_shorter_solutions():
    rng = generator(0, "fractional recovery")
    X = rng.standard_normal((200, 60))
    signal = X @ rng.standard_normal((60, 40)) / np.sqrt(60)
    noise = np.repeat([0.1, 3.0], 20)
    Y = signal + noise * rng.standard_normal((200, 40))
    model = FractionalRidgeCV(method="exact", device="cpu").fit(X[:150], Y[:150])
    assert (model.fracs_[:20] >= 0.9).all()
    assert model.fracs_[20:].mean() < 0.5
    full = FractionalRidge(1.0, device="cpu").fit(X[:150], Y[:150])
    new = signal[150:]
    gain = model.score(X[150:], new) - full.score(X[150:], new)
    assert gain[20:].mean() > 0.3


def test_numbers_stay_as_they_were():
    X, Y = make_data(12, 4, 2)
    found = fractional_ridge(X, Y, [0.2, 0.9], fit_intercept=False, device="cpu")
    numbers = [*found.alphas.ravel(), *found.coef[:, 0, 1]]
    np.testing.assert_allclose(numbers, FROZEN, rtol=1e-9)
    np.testing.assert_allclose(by_loop(X, Y, [0.2, 0.9])[1].ravel(), FROZEN[:4])


FROZEN = [
    10.6023904999,
    14.1983547147,
    0.0829018989506,
    0.0832875674126,
    0.669977937065,
    -0.998026893174,
    -0.728361320857,
    -0.424779153691,
]


# ------------------------------------------------------- kinds, precision, missing


@pytest.mark.parametrize("estimator", [FractionalRidge, FractionalRidgeCV])
def test_float32_is_near_float64_and_stays_float32(estimator):
    X, Y = make_data(40, 60, 5)
    wide = estimator([0.2, 0.6], device="cpu").fit(X, Y)
    narrow = estimator([0.2, 0.6], device="cpu").fit(X.astype("f4"), Y.astype("f4"))
    found = narrow.predict(X.astype("f4"))
    assert found.dtype == narrow.coef_.dtype == np.float32
    np.testing.assert_allclose(found, wide.predict(X), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(narrow.alphas_, wide.alphas_, rtol=1e-4)


def test_axes_of_a_number_and_of_a_vector_are_dropped():
    X, Y = make_data(30, 8, 3)
    many = FractionalRidge([0.3], device="cpu").fit(X, Y)
    assert many.coef_.shape == (8, 1, 3)
    assert many.predict(X).shape == (30, 1, 3)
    assert many.score(X, Y).shape == (1, 3)
    one = FractionalRidge(0.3, device="cpu").fit(X, Y)
    assert one.coef_.shape == (8, 3)
    assert one.alphas_.shape == one.intercept_.shape == one.score(X, Y).shape == (3,)
    np.testing.assert_array_equal(one.predict(X), many.predict(X)[:, 0])
    single = FractionalRidge(0.3, device="cpu").fit(X, Y[:, 1])
    assert single.coef_.shape == (8,)
    assert single.alphas_ == pytest.approx(one.alphas_[1], rel=1e-12)
    np.testing.assert_allclose(single.predict(X), one.predict(X)[:, 1], rtol=1e-12)
    assert single.score(X, Y[:, 1]) == pytest.approx(one.score(X, Y)[1], rel=1e-12)
    several = FractionalRidge([0.3, 0.5], device="cpu").fit(X, Y[:, 1])
    assert several.coef_.shape == (8, 2)
    assert several.score(X, Y[:, 1]).shape == (2,)
    chosen = FractionalRidgeCV(device="cpu").fit(X, Y[:, 1])
    assert chosen.coef_.shape == (8,)
    assert chosen.fracs_.shape == ()
    expected = r_squared(Y[:, [1]], chosen.predict(X)[:, None])[0]
    assert chosen.score(X, Y[:, 1]) == pytest.approx(expected)


@pytest.mark.parametrize("estimator", [FractionalRidge, FractionalRidgeCV])
def test_tensors_and_parts_are_understood(estimator):
    X, Y = make_data(30, 8, 3)
    theirs = estimator([0.2, 0.6], device="cpu").fit(X, Y)
    ours = estimator([0.2, 0.6], device="cpu")
    ours.fit(torch.from_numpy(X), torch.from_numpy(Y))
    found = ours.predict(torch.from_numpy(X))
    assert isinstance(found, torch.Tensor)
    assert isinstance(ours.coef_, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), theirs.predict(X))
    np.testing.assert_array_equal(
        ours.score(torch.from_numpy(X), Y), theirs.score(X, Y)
    )
    parts = estimator([0.2, 0.6], device="cpu").fit([X[:, :3], X[:, 3:]], Y)
    predicted = parts.predict([X[:, :5], X[:, 5:]])
    np.testing.assert_allclose(predicted, theirs.predict(X), rtol=1e-12)


@pytest.mark.parametrize("estimator", [FractionalRidge, FractionalRidgeCV])
@pytest.mark.parametrize("method", ["interpolated", "exact"])
def test_missing_targets_are_refused_or_nan_and_constant_ones_are_their_mean(
    estimator, method, caplog
):
    X, Y = make_data(30, 8, 5)
    Y[3, 1], Y[:, 3] = np.inf, 7.1
    options = {"method": method, "device": "cpu"}
    with pytest.raises(ValueError, match=r"1 of 5 targets .*the first is target 1"):
        estimator([0.0, 0.5], **options).fit(X, Y)
    with caplog.at_level(logging.WARNING):
        model = estimator([0.0, 0.5], nan="omit", **options).fit(X, Y)
    assert "1 targets are omitted" in caplog.text
    good = [0, 2, 4]
    alone = estimator([0.0, 0.5], **options).fit(X, Y[:, good])
    predicted = model.predict(X)
    np.testing.assert_allclose(predicted[..., good], alone.predict(X), rtol=1e-10)
    np.testing.assert_allclose(model.alphas_[..., good], alone.alphas_, rtol=1e-10)
    assert np.isnan(model.alphas_[..., [1, 3]]).all()
    assert np.isnan(predicted[..., 1]).all()
    np.testing.assert_allclose(predicted[..., 3], 7.1)
    assert (model.coef_[..., 3] == 0).all()
    assert np.isnan(model.coef_[..., 1]).all()
    if estimator is FractionalRidgeCV:
        assert np.isnan(model.fracs_[[1, 3]]).all()
        assert np.isnan(model.cv_scores_[[1, 3]]).all()
        assert "1 targets have no score" in caplog.text


def test_constant_targets_are_fitted_without_an_intercept():
    X, _ = make_data(30, 8, 1)
    Y = np.stack([np.full(30, 2.0), np.zeros(30)], 1)
    model = FractionalRidgeCV(fit_intercept=False, device="cpu").fit(X, Y)
    assert np.isfinite(model.fracs_[0])
    assert np.isnan(model.fracs_[1])
    assert (model.predict(X)[:, 1] == 0).all()


@pytest.mark.parametrize("method", ["interpolated", "exact"])
def test_features_without_variance_predict_the_mean(method):
    _, Y = make_data(30, 8, 3)
    found = fractional_ridge(np.ones((30, 4)), Y, 0.5, method=method, device="cpu")
    assert np.isnan(found.alphas).all()
    assert (found.coef == 0).all()
    np.testing.assert_allclose(found.intercept, Y.mean(0))


def test_a_fit_can_be_copied_and_cloned():
    X, Y = make_data(30, 8, 3)
    for model in (FractionalRidge(device="cpu"), FractionalRidgeCV(device="cpu")):
        again = pickle.loads(pickle.dumps(model.fit(X, Y)))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        assert clone(model).get_params() == model.get_params()
        assert not hasattr(clone(model), "alphas_")


# ------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fracs": [0.2, 1.1]}, r"0\.\.1; got 1\.1"),
        ({"fracs": [-0.1]}, r"0\.\.1; got -0\.1"),
        ({"fracs": [np.nan]}, r"0\.\.1; got nan"),
        ({"fracs": []}, "one or more numbers"),
        ({"fracs": [[0.1]]}, "one or more numbers"),
        ({"method": "newton"}, "`method` must be one of"),
        ({"nan": "drop"}, "`nan` must be one of"),
        ({"dtype": "float16"}, "`dtype` must be one of"),
        ({"n_targets_batch": 0}, "`n_targets_batch` must be within"),
        ({"n_targets_batch": "all"}, "`n_targets_batch` must be one of"),
    ],
)
@pytest.mark.parametrize("estimator", [FractionalRidge, FractionalRidgeCV])
def test_bad_options_are_told(estimator, options, message):
    X, Y = make_data(30, 8, 3)
    with pytest.raises(ValueError, match=message):
        estimator(**{"device": "cpu", **options}).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scoring": "rmse"}, "`scoring` must be one of"),
        ({"cv": 31}, "asks for 31 folds"),
        ({"cv": "loo"}, "`cv` must be a number of folds"),
        ({"group_leakage": "maybe"}, "`group_leakage` must be one of"),
    ],
)
def test_bad_folds_and_scores_are_told(options, message):
    X, Y = make_data(30, 8, 3)
    with pytest.raises((TypeError, ValueError), match=message):
        FractionalRidgeCV(device="cpu", **options).fit(X, Y)


def test_bad_data_are_told():
    X, Y = make_data(30, 8, 3)
    spoilt = X.copy()
    spoilt[2, 3] = np.nan
    model = FractionalRidge(device="cpu")
    for intercept in (True, False):
        with pytest.raises(ValueError, match="column 3"):
            model.set_params(fit_intercept=intercept).fit(spoilt, Y)
    with pytest.raises(ValueError, match="`Y` has 29"):
        model.fit(X, Y[1:])
    model.fit(X, Y)
    with pytest.raises(ValueError, match="8 features"):
        model.predict(X[:, 1:])
    with pytest.raises(ValueError, match="column 3"):
        model.predict(spoilt)
