"""Ridge regression against himalaya, and scikit-learn's checks of estimators."""

from functools import partial

import numpy as np
import pytest
from himalaya.backend import get_backend, set_backend
from himalaya.kernel_ridge import KernelRidgeCV as PeerKernelRidgeCV
from himalaya.ridge import RidgeCV as PrimalRidgeCV
from himalaya.scoring import correlation_score, l2_neg_loss, r2_score
from sklearn.linear_model import RidgeCV as SklearnRidgeCV
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from neurovis.core.rng import generator
from neurovis.fitting.ridge import RidgeCV

ALPHAS = np.geomspace(0.1, 1e5, 7)
SHAPES = {
    "wide": (43, 90, 5),
    "tall": (82, 11, 5),
    "square": (36, 36, 4),
    "one target": (31, 50, 1),
    "one feature": (31, 1, 3),
}
KernelRidgeCV = partial(PeerKernelRidgeCV, warn=False)
SCORE = {"mse": l2_neg_loss, "r2": r2_score, "correlation": correlation_score}


@pytest.fixture(autouse=True)
def _numpy_backend():
    before = get_backend()
    set_backend("numpy")
    yield
    set_backend(before)


def make_data(n, p, v, dtype="f8", n_test=20):
    rng = generator(0, "ridge peers", n, p, v)
    X = rng.standard_normal((n + n_test, p)) * np.arange(1, p + 1) ** -0.5 + 1
    Y = X @ rng.standard_normal((p, v)) + rng.uniform(0.5, 8, v) * (
        rng.standard_normal((n + n_test, v))
    )
    X[:, p // 2 + 1 :: 7] = 3  # constant columns
    return X[:n].astype(dtype), Y[:n].astype(dtype), X[n:].astype(dtype)


def assert_agree(ours, theirs, X_new):
    np.testing.assert_allclose(ours.alphas_, theirs.best_alphas_, rtol=1e-6)
    np.testing.assert_allclose(ours.cv_scores_, theirs.cv_scores_, rtol=1e-8, atol=1e-9)
    expected = theirs.predict(X_new)
    np.testing.assert_allclose(ours.predict(X_new), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", ["dual", "primal"])
@pytest.mark.parametrize("scoring", SCORE)
def test_choice_and_predictions_match_himalaya(shape, intercept, solver, scoring):
    X, Y, X_new = make_data(*shape)
    options = {"cv": 4, "fit_intercept": intercept}
    score = {"score_func": SCORE[scoring]}
    kernel = KernelRidgeCV(ALPHAS, solver_params=score, **options).fit(X, Y)
    options |= {"scoring": scoring, "solver": solver, "device": "cpu"}
    ours = RidgeCV(ALPHAS, **options).fit(X, Y)
    assert_agree(ours, kernel, X_new)
    if solver == "dual" and not intercept:
        # Theirs are rescaled through exp(-log(1 / alpha)).
        np.testing.assert_allclose(ours.dual_coef_, kernel.dual_coef_, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
def test_weights_match_himalaya_primal_solver(shape, intercept):
    X, Y, X_new = make_data(*shape)
    options = {"cv": 5, "fit_intercept": intercept}
    theirs = PrimalRidgeCV(ALPHAS, solver_params={"warn": False}, **options).fit(X, Y)
    ours = RidgeCV(ALPHAS, device="cpu", **options).fit(X, Y)
    assert_agree(ours, theirs, X_new)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-8, atol=1e-10)
    if intercept:
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-8)


@pytest.mark.parametrize("shape", [(43, 90, 6), (82, 11, 6)], ids=["wide", "tall"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("selection", ["shared", "conservative"])
def test_shared_and_conservative_choices_match_himalaya(shape, intercept, selection):
    X, Y, X_new = make_data(*shape)
    params = {
        "local_alpha": selection != "shared",
        "conservative": selection == "conservative",
    }
    options = {"cv": 4, "fit_intercept": intercept}
    theirs = KernelRidgeCV(ALPHAS, solver_params=params, **options).fit(X, Y)
    for solver in ("dual", "primal"):
        ours = RidgeCV(
            ALPHAS, selection=selection, solver=solver, device="cpu", **options
        ).fit(X, Y)
        assert_agree(ours, theirs, X_new)
    best = RidgeCV(ALPHAS, device="cpu", **options).fit(X, Y).alphas_
    assert (best != ours.alphas_).any()  # the selection matters here


def test_targets_beside_omitted_ones_match_himalaya():
    X, Y, X_new = make_data(43, 90, 5)
    theirs = KernelRidgeCV(ALPHAS, cv=4, fit_intercept=True).fit(X, Y)
    expected = theirs.predict(X_new)
    broken = np.insert(Y, [0, 3, 5], np.nan, axis=1)
    broken[1:, 4] = 1.0  # one NaN is enough
    good = np.isfinite(broken).all(0)
    ours = RidgeCV(ALPHAS, cv=4, nan="omit", device="cpu").fit(X, broken)
    np.testing.assert_allclose(ours.alphas_[good], theirs.best_alphas_, rtol=1e-6)
    np.testing.assert_allclose(ours.predict(X_new)[:, good], expected, rtol=1e-8)
    assert np.isnan(ours.predict(X_new)[:, ~good]).all()


@pytest.mark.parametrize("shape", [(200, 400, 3000), (400, 120, 3000)])
def test_float32_predictions_are_within_1e_4_of_himalaya(shape):
    X, Y, X_new = make_data(*shape, dtype="f4")
    X, X_new = (np.where(a == 3, 0, a - 1) for a in (X, X_new))
    alphas = ALPHAS[1:]  # the smallest is 1 / 300 of the largest eigenvalue
    theirs = KernelRidgeCV(alphas, cv=5).fit(X, Y)
    ours = RidgeCV(alphas, fit_intercept=False, device="cpu").fit(X, Y)
    same = np.isclose(ours.alphas_, theirs.best_alphas_, rtol=1e-3)
    assert same.mean() >= 0.999  # near ties may fall to the neighbour
    found, expected = ours.predict(X_new), theirs.predict(X_new)
    distance = np.linalg.norm(found - expected, axis=0)
    assert (distance / np.linalg.norm(expected, axis=0))[same].max() < 1e-4


@parametrize_with_checks(
    [
        RidgeCV(device="cpu"),
        RidgeCV(device="cpu", solver="primal", search="window"),
        RidgeCV(cv="loo", device="cpu"),
        RidgeCV(cv="gcv", standardize=True, device="cpu"),
    ]
)
def test_scikit_learn_checks_pass_without_exception(estimator, check):
    check(estimator)


def test_pipeline_and_cross_validation_of_scikit_learn_work():
    X, Y, _ = make_data(82, 11, 1)
    ours = make_pipeline(StandardScaler(), RidgeCV(ALPHAS, cv="loo", device="cpu"))
    theirs = make_pipeline(StandardScaler(), SklearnRidgeCV(ALPHAS))
    scores = [cross_val_score(model, X, Y[:, 0], cv=3) for model in (ours, theirs)]
    np.testing.assert_allclose(*scores, rtol=1e-8)


def test_standardizing_equals_scikit_learn_scaler_before():
    X, Y, X_new = make_data(43, 90, 5)
    scaler = StandardScaler().fit(X)
    scaled = RidgeCV(ALPHAS, device="cpu").fit(scaler.transform(X), Y)
    for solver in ("dual", "primal"):
        model = RidgeCV(ALPHAS, standardize=True, solver=solver, device="cpu")
        model.fit(X, Y)
        np.testing.assert_array_equal(model.alphas_, scaled.alphas_)
        expected = scaled.predict(scaler.transform(X_new))
        np.testing.assert_allclose(model.predict(X_new), expected, rtol=1e-9)
        by_weights = X_new @ model.coef_ + model.intercept_
        np.testing.assert_allclose(by_weights, expected, rtol=1e-8)


def test_splitter_of_scikit_learn_gives_folds():
    X, Y, _ = make_data(43, 90, 5)
    groups = np.arange(43) // 3
    splitter = GroupKFold(3)
    model = RidgeCV(ALPHAS, cv=splitter, device="cpu").fit(X, Y, groups)
    folds = [held for _, held in splitter.split(X, groups=groups)]
    listed = RidgeCV(ALPHAS, cv=folds, device="cpu").fit(X, Y)
    np.testing.assert_array_equal(model.cv_scores_, listed.cv_scores_)
    theirs = KernelRidgeCV(ALPHAS, cv=list(splitter.split(X, groups=groups)))
    theirs.set_params(fit_intercept=True).fit(X, Y)
    np.testing.assert_allclose(model.alphas_, theirs.best_alphas_, rtol=1e-6)
    np.testing.assert_allclose(model.cv_scores_, theirs.cv_scores_, rtol=1e-8)
