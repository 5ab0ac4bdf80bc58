"""Where ridge solvers lose digits, and what a fit that fails leaves behind."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

from neurovis.core.rng import generator
from neurovis.fitting.banded import BandedRidgeCV
from neurovis.fitting.fractional_ridge import (
    FractionalRidge,
    FractionalRidgeCV,
    fractional_ridge,
)
from neurovis.fitting.ridge import (
    RidgeCV,
    fold_scores,
    gcv_errors,
    loo_residuals,
    solve_ridge,
)
from neurovis.fitting.ridge_eigen import decompose, largest_eigenvalue
from neurovis.fitting.ridge_folds import make_folds

ESTIMATORS = (RidgeCV, FractionalRidge, FractionalRidgeCV)
SOLVERS = ("dual", "primal")
RNG_NAME = "ridge limits"


def normal(*shape):
    return generator(0, RNG_NAME, *shape).standard_normal(shape)


def refit(X, Y, alpha, fit_intercept):
    """Fit by stacked least squares, which squares no singular values."""
    x_mean = X.mean(0) if fit_intercept else np.zeros(X.shape[1])
    y_mean = Y.mean(0) if fit_intercept else np.zeros(Y.shape[1])
    n_features = X.shape[1]
    stacked = np.vstack([X - x_mean, np.sqrt(alpha) * np.eye(n_features)])
    wanted = np.vstack([Y - y_mean, np.zeros((n_features, Y.shape[1]))])
    weights = np.linalg.lstsq(stacked, wanted, rcond=None)[0]
    return lambda new: (new - x_mean) @ weights + y_mean


def left_out_errors(X, Y, alpha, folds, fit_intercept):
    errors = np.empty_like(Y)
    for fold in folds:
        train = np.setdiff1d(np.arange(len(X)), fold)
        errors[fold] = Y[fold] - refit(X[train], Y[train], alpha, fit_intercept)(
            X[fold]
        )
    return errors


def relative(found, wanted):
    return np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max()


# ------------------------------------------------------------------ penalties near 0


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("scale", [1e4, 1.0])
def test_rounding_of_null_eigenvalues_does_not_count_as_variance(
    solver, fit_intercept, scale
):
    X, Y, alpha = scale * normal(25, 12), normal(25, 3), 1e-16 * 25 * scale**2
    each = [np.array([i]) for i in range(25)]
    wanted = left_out_errors(X, Y, alpha, each, fit_intercept)
    options = {"fit_intercept": fit_intercept, "solver": solver, "device": "cpu"}
    found = loo_residuals(X, Y, alpha, **options)[0]
    assert relative(found, wanted) < 1e-9
    found = fold_scores(X, Y, alpha, cv=25, **options)[:, 0]
    assert relative(found, -(wanted**2)) < 1e-9


@pytest.mark.parametrize("solver", SOLVERS)
def test_features_that_repeat_do_not_disturb_small_penalties(solver):
    x = normal(40, 6)
    X, Y = np.hstack([x, x, np.ones((40, 2))]), normal(40, 3)
    folds = make_folds(5, 40)
    for fit_intercept in (True, False):
        wanted = left_out_errors(X, Y, 1e-6, folds, fit_intercept)
        found = fold_scores(
            X,
            Y,
            1e-6,
            cv=5,
            fit_intercept=fit_intercept,
            solver=solver,
            device="cpu",
        )
        scores = [-(wanted[fold] ** 2).mean(0) for fold in folds]
        assert relative(found[:, 0], np.array(scores)) < 1e-8


def test_folds_with_fewer_training_rows_than_features_take_the_smallest_solution():
    # 12 training rows less their mean have rank 11: one direction is only rounding.
    X, Y, alpha = 1e4 * normal(24, 12), normal(24, 3), 1e-6
    folds = make_folds(2, 24)
    wanted = left_out_errors(X, Y, alpha, folds, True)
    found = fold_scores(X, Y, alpha, cv=2, solver="primal", device="cpu")
    scores = [-(wanted[fold] ** 2).mean(0) for fold in folds]
    assert relative(found[:, 0], np.array(scores)) < 1e-5


@pytest.mark.parametrize("shape", [(20, 20), (15, 40), (40, 39), (40, 8)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_primal_gcv_error_does_not_cancel(shape, fit_intercept):
    X, alphas = normal(*shape), [1e-8, 1e-3, 10.0]
    Y = X @ normal(shape[1], 3)  # nothing is left over: all of the sum cancels
    n = len(X)
    x, y = (a - a.mean(0) * fit_intercept for a in (X, Y))
    left, values, _ = np.linalg.svd(x, full_matrices=False)
    rank = min(shape[1], n - fit_intercept)
    left, values = left[:, :rank], values[:rank]
    found = gcv_errors(
        X, Y, alphas, fit_intercept=fit_intercept, solver="primal", device="cpu"
    )
    for alpha, errors in zip(alphas, found, strict=True):
        kept = alpha / (values**2 + alpha)
        beyond = y - left @ (left.T @ y) if rank < n - fit_intercept else 0 * y
        rest = (beyond**2).sum(0) + ((kept[:, None] * (left.T @ y)) ** 2).sum(0)
        wanted = n * rest / (kept.sum() + n - fit_intercept - rank) ** 2
        np.testing.assert_allclose(errors, wanted, rtol=1e-5, atol=1e-24)


@pytest.mark.parametrize("shape", [(100, 200), (100, 98), (120, 30)])
@pytest.mark.parametrize("ratio", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10])
def test_single_precision_scores_agree_with_double_at_any_penalty(shape, ratio):
    X = (normal(*shape) / np.arange(1, shape[1] + 1) + 3).astype("f4")
    Y = (X @ normal(shape[1], 8) + normal(shape[0], 8)).astype("f4")
    wide_X, wide_Y = X.astype("f8"), Y.astype("f8")
    alpha = ratio * np.linalg.norm(wide_X - wide_X.mean(0), 2) ** 2
    # Down to 1e-4 decompositions are in float32 and lose more with less alpha.
    bound = {1e-2: 1e-3, 1e-4: 2e-2, 1e-10: 3e-2}.get(ratio, 2e-3)
    for solver in SOLVERS:
        options = {"solver": solver, "device": "cpu"}
        for compute in (fold_scores, loo_residuals, gcv_errors):
            single = compute(X, Y, alpha, **options)
            double = compute(wide_X, wide_Y, alpha, **options)
            assert relative(single, double) < bound, (solver, compute.__name__)


def test_eigenvalues_within_rounding_are_zero_and_others_are_kept():
    x = torch.from_numpy(normal(30, 4))
    eigen = decompose(x @ x.T, torch.float64, rank=4)
    values = eigen.values  # noqa: PD011
    exact = torch.linalg.svdvals(x).square().flip(0)
    torch.testing.assert_close(values[26:], exact)
    assert (values[:26] == 0).all()
    assert eigen.n_null == 26
    assert (eigen.images[:, :26] == 0).all()


def test_the_largest_eigenvalue_is_found_outside_the_block_of_the_first_row():
    category = np.r_[0, np.repeat(1, 300), np.arange(2, 60)]
    X = np.eye(60, dtype="f4")[category]
    gram = torch.from_numpy(X @ X.T)
    assert largest_eigenvalue(gram) == pytest.approx(300, rel=1e-3)
    Y = normal(len(X), 2).astype("f4")
    options = {"cv": 2, "fit_intercept": False, "solver": "dual", "device": "cpu"}
    assert RidgeCV([1e-3], **options).fit(X, Y).gram_dtype_ == "float64"


def test_alphas_too_small_for_single_precision_are_told(caplog):
    X, Y = normal(60, 10).astype("f4"), normal(60, 2).astype("f4")
    caplog.set_level(logging.WARNING)
    spaces = [X[:, :5], X[:, 5:]]
    for solver in SOLVERS:
        for alphas, is_small in (([1e-6], True), ([1.0], False)):
            caplog.clear()
            options = {"solver": solver, "device": "cpu"}
            RidgeCV(alphas, **options).fit(X, Y)
            BandedRidgeCV(alphas, n_iter=2, **options).fit(spaces, Y)
            solve_ridge(X, Y, alphas[0], **options)
            n_told = caplog.text.count("rounding may move predictions")
            assert n_told == (3 if is_small and solver == "dual" else 0)


# ------------------------------------------------------------------ scores and search


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("level", [0.3, 1e6])
def test_predictions_from_constant_training_rows_correlate_with_nothing(solver, level):
    X, Y = normal(40, 6), np.full((40, 2), level)
    Y[32:] = normal(8, 2)
    found = fold_scores(
        X, Y, [1.0, 100.0], scoring="correlation", solver=solver, device="cpu"
    )
    assert np.isnan(found).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_repeated_alphas_do_not_stop_the_window(solver):
    X = normal(31, 60)
    Y = X @ normal(60, 200) * np.linspace(0, 2, 200) + 3 * normal(31, 200)
    alphas = [10, 1e-2, 1e3, 10, 1, 10, 1, 1e2]
    options = {"cv": 2, "solver": solver, "device": "cpu"}
    once = RidgeCV(sorted(set(alphas)), search="window", **options).fit(X, Y)
    window = RidgeCV(alphas, search="window", **options).fit(X, Y)
    assert np.array_equal(window.alphas_, once.alphas_)
    spaces = [X[:, :5], X[:, 5:]]
    model = BandedRidgeCV(alphas, n_iter=3, **options).fit(spaces, Y)
    single = BandedRidgeCV(sorted(set(alphas)), n_iter=3, **options).fit(spaces, Y)
    assert np.array_equal(model.alphas_, single.alphas_)


@pytest.mark.parametrize("search", ["full", "window"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_batches_order_and_threads_change_rounding_only(search, solver):
    X, noise = normal(50, 30), normal(50, 13)
    Y = X @ normal(30, 13) + 5 * noise
    options = {"search": search, "solver": solver, "device": "cpu"}
    expected = RidgeCV(**options).fit(X, Y)
    order = generator(1, RNG_NAME).permutation(13)
    n_threads = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for size in (1, 5, "auto"):
                model = RidgeCV(n_targets_batch=size, **options).fit(X, Y[:, order])
                assert np.array_equal(model.alphas_, expected.alphas_[order])
                assert relative(model.predict(X), expected.predict(X)[:, order]) < 1e-11
    finally:
        torch.set_num_threads(n_threads)


# ------------------------------------------------------------------------ estimators


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardize", [False, True, 1e-3])
@pytest.mark.parametrize("shape", [(40, 8), (20, 30)])
def test_predictions_are_weighted_features_and_the_intercept(
    fit_intercept, standardize, shape
):
    X = normal(*shape) * np.r_[1e-6, np.linspace(1, 4, shape[1] - 1)] + 5
    X[:, 2] = 3
    Y = X @ normal(shape[1], 3) + normal(shape[0], 3)
    new, half = X[:9] + 0.3, shape[1] // 2
    common = {"fit_intercept": fit_intercept, "standardize": standardize}
    common["device"] = "cpu"
    for solver in SOLVERS:
        for cv in (5, "loo", "gcv"):
            model = RidgeCV(cv=cv, solver=solver, **common).fit(X, Y)
            wanted = new @ model.coef_ + model.intercept_
            assert relative(model.predict(new), wanted) < 1e-9
        gammas = [[1, 0], [0.5, 0.5], [0, 2]]
        model = BandedRidgeCV(gammas=gammas, solver=solver, **common)
        model.fit([X[:, :half], X[:, half:]], Y)
        wanted = new @ np.concatenate(model.coef_) + model.intercept_
        assert relative(model.predict([new[:, :half], new[:, half:]]), wanted) < 1e-9
    for model in (FractionalRidge([0.3, 0, 1], **common), FractionalRidgeCV(**common)):
        model.fit(X, Y)
        wanted = np.tensordot(new, model.coef_, 1) + model.intercept_
        assert relative(model.predict(new), wanted) < 1e-9


class Interrupted:
    """Targets whose reading is interrupted after some reads."""

    def __init__(self, values, n_reads):
        self.values, self.n_reads = values, n_reads
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, index):
        self.n_reads -= 1
        if self.n_reads < 0:
            raise KeyboardInterrupt
        return self.values[index]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("n_reads", [0, 1, 2])
def test_an_interrupted_fit_leaves_the_model_as_it_was(estimator, n_reads):
    X, Y = normal(40, 6), normal(40, 5)
    targets = Interrupted(3 * Y[:, :4], n_reads)
    fresh = estimator(n_targets_batch=2, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(X, targets)
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    model = estimator(n_targets_batch=2, device="cpu").fit(X, Y)
    before = model.predict(X)
    with pytest.raises(KeyboardInterrupt):
        model.fit(2 * X[:, :3], Interrupted(3 * Y[:, :4], n_reads))
    assert np.array_equal(model.predict(X), before)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X[:, 0:3], np.full((40, 2), np.nan))
    assert np.array_equal(model.predict(X), before)


def test_an_interrupted_banded_fit_leaves_the_model_as_it_was():
    X, Y = normal(40, 6), normal(40, 5)
    model = BandedRidgeCV(n_iter=3, n_targets_batch=2, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        model.fit([X, X], Interrupted(Y, 4))
    with pytest.raises(NotFittedError):
        model.predict([X, X])
    before = model.fit([X, X**2], Y).predict([X, X**2])
    with pytest.raises(KeyboardInterrupt):
        model.fit([X, X], Interrupted(3 * Y, 4))
    assert np.array_equal(model.predict([X, X**2]), before)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_omitted_targets_have_no_intercept_either(estimator, fit_intercept):
    X, Y = normal(40, 6), normal(40, 3)
    Y[3, 1] = np.nan
    model = estimator(nan="omit", fit_intercept=fit_intercept, device="cpu").fit(X, Y)
    axes = tuple(range(model.intercept_.ndim - 1))
    undefined = np.isnan(model.intercept_).any(axes)
    assert undefined.tolist() == [False, True, False]


def test_intercepts_without_a_fitted_one_are_a_copy():
    X, Y = normal(40, 6), normal(40, 3)
    model = RidgeCV(fit_intercept=False, device="cpu").fit(X, Y)
    before = model.predict(X)
    model.intercept_[:] = 9
    assert np.array_equal(model.predict(X), before)


def test_names_of_columns_are_forgotten_with_features_that_have_none():
    X, Y = normal(40, 3), normal(40, 2)
    model = RidgeCV(device="cpu").fit(pd.DataFrame(X, columns=list("abc")), Y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    model.fit(torch.from_numpy(X), Y)
    assert not hasattr(model, "feature_names_in_")


# ------------------------------------------------------------------------- arguments


def test_fold_numbers_may_be_a_tensor():
    numbers = torch.arange(12) % 3
    found = make_folds(numbers, 12)
    wanted = make_folds(numbers.numpy(), 12)
    assert [f.tolist() for f in found] == [f.tolist() for f in wanted]


@pytest.mark.parametrize("estimator", [RidgeCV, FractionalRidge, FractionalRidgeCV])
@pytest.mark.parametrize(
    ("features", "options", "words"),
    [
        (torch.zeros(40, 0), {}, "`X` is empty"),
        ([np.full((40, 2), "a")], {}, "`X` must be real numbers; got dtype <U1"),
        ([np.ones((40, 2), complex)], {}, "`X` must be real numbers"),
        (torch.ones(40, 2, dtype=torch.complex64), {}, "`X` must be real numbers"),
        (np.ones((40, 2)), {"fit_intercept": "no"}, "`fit_intercept` must be True or"),
    ],
)
def test_features_that_are_no_numbers_are_refused(estimator, features, options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        estimator(device="cpu", **options).fit(features, normal(40, 2))


def test_functions_refuse_what_they_cannot_compute():
    X, Y = normal(8, 2), normal(8, 3)
    with pytest.raises(ValueError, match="use `gcv_errors`"):
        fold_scores(X, Y, 1.0, cv="gcv", device="cpu")
    for compute in (loo_residuals, gcv_errors):
        with pytest.raises(ValueError, match="`X` needs 2 samples"):
            compute(X[:1], Y[:1], 1.0, device="cpu")
    with pytest.raises(TypeError, match="`alphas` must be numbers above 0; got 'x'"):
        solve_ridge(X, Y, "x", device="cpu")
    with pytest.raises(TypeError, match=r"`fracs` must be numbers, 0\.\.1; got 'x'"):
        fractional_ridge(X, Y, "x", device="cpu")
    with pytest.raises(TypeError, match="`fit_intercept` must be True or False"):
        solve_ridge(X, Y, 1.0, fit_intercept="no", device="cpu")
    with pytest.raises(TypeError, match="`fit_intercept` must be True or False"):
        BandedRidgeCV(fit_intercept=1, device="cpu").fit([X], Y)
    loo = fold_scores(X, Y, 1.0, cv="loo", device="cpu")
    wanted = -(loo_residuals(X, Y, 1.0, device="cpu") ** 2).mean(1)
    np.testing.assert_allclose(loo[0], wanted, rtol=1e-12)
