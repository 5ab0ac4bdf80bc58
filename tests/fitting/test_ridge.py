"""Ridge regression against refits by the normal equations and other packages."""

import numpy as np
import pytest
from scipy import linalg
from sklearn.linear_model import Ridge
from sklearn.linear_model import RidgeCV as SklearnRidgeCV

from neurovis.core.rng import generator
from neurovis.fitting.ridge import (
    RidgeCV,
    fold_scores,
    gcv_errors,
    loo_residuals,
    solve_ridge,
)
from neurovis.fitting.ridge_folds import contiguous_folds, grouped_folds

ALPHAS = np.array([0.03, 1.0, 30.0, 1e3])
SHAPES = {
    "wide": (31, 70, 4),
    "tall": (67, 9, 4),
    "square": (30, 30, 3),
    "one target": (25, 40, 1),
}


def make_data(n, p, v, seed=0, noise=1.0):
    rng = generator(seed, "ridge", n, p, v)
    X = rng.standard_normal((n, p)) * rng.uniform(0.2, 3, p) + rng.normal(0, 2, p)
    Y = X @ rng.standard_normal((p, v)) / np.sqrt(p)
    return X, Y + noise * rng.standard_normal((n, v)) + rng.normal(0, 3, v)


def normal_equations(X, Y, alpha, intercept):
    """Weights and constants by one linear system per target set."""
    x_mean = X.mean(0) if intercept else np.zeros(X.shape[1])
    y_mean = Y.mean(0) if intercept else np.zeros(Y.shape[1])
    Xc, Yc = X - x_mean, Y - y_mean
    system = Xc.T @ Xc + alpha * np.eye(X.shape[1])
    weights = linalg.solve(system, Xc.T @ Yc, assume_a="pos")
    return weights, y_mean - x_mean @ weights


def refit_predictions(X, Y, alpha, folds, intercept):
    """Held-out predictions by one refit per fold."""
    out = []
    for held in folds:
        train = np.setdiff1d(np.arange(len(X)), held)
        weights, constant = normal_equations(X[train], Y[train], alpha, intercept)
        out.append(X[held] @ weights + constant)
    return out


def score(measured, predicted, scoring):
    if scoring == "mse":
        return -((measured - predicted) ** 2).mean(0)
    if scoring == "r2":
        rest = ((measured - predicted) ** 2).sum(0)
        return 1 - rest / ((measured - measured.mean(0)) ** 2).sum(0)
    pairs = zip(measured.T, predicted.T, strict=True)
    return np.array([np.corrcoef(*pair)[0, 1] for pair in pairs])


def refit_scores(X, Y, folds, intercept, scoring="mse", alphas=ALPHAS):
    tables = []
    for alpha in alphas:
        predicted = refit_predictions(X, Y, alpha, folds, intercept)
        pairs = zip(folds, predicted, strict=True)
        tables.append([score(Y[held], p, scoring) for held, p in pairs])
    return np.array(tables).transpose(1, 0, 2)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", ["dual", "primal"])
@pytest.mark.parametrize("scoring", ["mse", "r2", "correlation"])
def test_fold_scores_match_refits(shape, intercept, solver, scoring):
    X, Y = make_data(*shape)
    folds = contiguous_folds(len(X), 4)  # no shape divides evenly
    ours = fold_scores(
        X,
        Y,
        ALPHAS,
        cv=4,
        fit_intercept=intercept,
        solver=solver,
        scoring=scoring,
        device="cpu",
    )
    theirs = refit_scores(X, Y, folds, intercept, scoring)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver", ["dual", "primal"])
@pytest.mark.parametrize("intercept", [True, False])
def test_grouped_and_explicit_folds_match_refits(solver, intercept):
    X, Y = make_data(40, 12, 5)
    groups = generator(1, "groups").integers(0, 14, 40)
    folds = grouped_folds(groups, 3)
    options = {"fit_intercept": intercept, "solver": solver, "device": "cpu"}
    theirs = refit_scores(X, Y, folds, intercept)
    ours = fold_scores(X, Y, ALPHAS, cv=3, groups=groups, **options)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    partial = [folds[2], folds[0]]  # the rows of fold 1 are always trained on
    ours = fold_scores(X, Y, ALPHAS, cv=partial, **options)
    np.testing.assert_allclose(ours, theirs[[2, 0]], rtol=1e-9, atol=1e-9)
    pairs = [(np.setdiff1d(np.arange(40), fold), fold) for fold in folds]
    ours = fold_scores(X, Y, ALPHAS, cv=pairs, **options)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    number = np.zeros(40, int)
    for k, fold in enumerate(folds):
        number[fold] = k
    ours = fold_scores(X, Y, ALPHAS, cv=number, **options)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", ["dual", "primal"])
def test_many_and_few_targets_take_equal_paths(shape, intercept, solver):
    n, p, _ = shape
    X, Y = make_data(n, p, 300)  # so many that fold operators are built
    options = {"fit_intercept": intercept, "solver": solver, "device": "cpu"}
    many = fold_scores(X, Y, ALPHAS, cv=3, **options)
    few = np.concatenate(
        [fold_scores(X, Y[:, [i]], ALPHAS, cv=3, **options) for i in (0, 150, 299)], 2
    )
    np.testing.assert_allclose(many[:, :, [0, 150, 299]], few, rtol=1e-9)
    folds = contiguous_folds(n, 3)
    theirs = refit_scores(X, Y[:, :2], folds, intercept)
    np.testing.assert_allclose(many[:, :, :2], theirs, rtol=1e-9)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", ["dual", "primal"])
def test_leave_one_out_and_gcv_match_refits(shape, intercept, solver):
    X, Y = make_data(*shape)
    n = len(X)
    options = {"fit_intercept": intercept, "solver": solver, "device": "cpu"}
    ours = loo_residuals(X, Y, ALPHAS, **options)
    singles = np.arange(n)[:, None]
    for alpha, found in zip(ALPHAS, ours, strict=True):
        predicted = refit_predictions(X, Y, alpha, singles, intercept)
        np.testing.assert_allclose(found, Y - np.concatenate(predicted), rtol=1e-8)
    errors = gcv_errors(X, Y, ALPHAS, **options)
    centre = np.eye(n) - intercept / n
    gram = centre @ X @ X.T @ centre
    # Covariances of more features than samples leave small residuals as differences.
    rtol = 1e-6 if solver == "primal" and shape[1] > n else 1e-9
    for alpha, found in zip(ALPHAS, errors, strict=True):
        residual = centre @ (alpha * linalg.inv(gram + alpha * np.eye(n))) @ centre
        rest = ((residual @ Y) ** 2).sum(0)
        expected = n * rest / np.trace(residual) ** 2
        np.testing.assert_allclose(found, expected, rtol=rtol)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", ["dual", "primal"])
def test_solution_matches_normal_equations_and_sklearn(shape, intercept, solver):
    X, Y = make_data(*shape)
    alpha = np.geomspace(0.1, 100, shape[2])
    options = {"fit_intercept": intercept, "solver": solver, "device": "cpu"}
    weights, constant = solve_ridge(X, Y, alpha, **options)
    theirs = Ridge(alpha=alpha, fit_intercept=intercept, solver="cholesky").fit(X, Y)
    np.testing.assert_allclose(weights, np.atleast_2d(theirs.coef_).T, rtol=1e-8)
    np.testing.assert_allclose(
        constant, np.broadcast_to(theirs.intercept_, len(alpha)), rtol=1e-8, atol=1e-10
    )
    for i, a in enumerate(alpha):
        brute, offset = normal_equations(X, Y[:, [i]], a, intercept)
        np.testing.assert_allclose(weights[:, [i]], brute, rtol=1e-8)
        np.testing.assert_allclose(constant[i], offset[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", ["dual", "primal"])
def test_estimator_chooses_and_fits_as_refits_do(shape, intercept, solver):
    X, Y = make_data(*shape, noise=3.0)
    options = {"fit_intercept": intercept, "solver": solver, "device": "cpu"}
    model = RidgeCV(ALPHAS, cv=4, **options).fit(X, Y)
    table = refit_scores(X, Y, contiguous_folds(len(X), 4), intercept).mean(0)
    table += 1e-10 * np.log(ALPHAS)[:, None]
    np.testing.assert_array_equal(model.alphas_, ALPHAS[table.argmax(0)])
    np.testing.assert_allclose(model.cv_scores_, table.max(0), rtol=1e-9)
    new, _ = make_data(*shape, seed=1)
    for i, alpha in enumerate(model.alphas_):
        weights, constant = normal_equations(X, Y[:, [i]], alpha, intercept)
        np.testing.assert_allclose(model.coef_[:, [i]], weights, rtol=1e-8)
        np.testing.assert_allclose(model.intercept_[i], constant[0], atol=1e-9)
        predicted = new @ weights + constant
        np.testing.assert_allclose(model.predict(new)[:, [i]], predicted, rtol=1e-8)
    ends = [(model.alphas_ == ALPHAS[k]).sum() for k in (0, -1)]
    assert [model.n_at_smallest_, model.n_at_largest_] == ends


@pytest.mark.parametrize("shape", [(40, 60, 6), (60, 12, 6)], ids=["wide", "tall"])
@pytest.mark.parametrize("intercept", [True, False])
def test_leave_one_out_matches_sklearn(shape, intercept):
    X, Y = make_data(*shape, noise=4.0)
    theirs = SklearnRidgeCV(
        ALPHAS, fit_intercept=intercept, alpha_per_target=True, store_cv_results=True
    ).fit(X, Y)
    ours = RidgeCV(ALPHAS, cv="loo", fit_intercept=intercept, device="cpu").fit(X, Y)
    np.testing.assert_array_equal(ours.alphas_, theirs.alpha_)
    np.testing.assert_allclose(ours.coef_.T, theirs.coef_, rtol=1e-8)
    errors = theirs.cv_results_.mean(0).min(1)
    np.testing.assert_allclose(-ours.cv_scores_, errors, rtol=1e-8, atol=2e-9)
