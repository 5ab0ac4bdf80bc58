"""Banded ridge regression against the random searches of himalaya."""

import numpy as np
import pytest
from himalaya.backend import get_backend, set_backend
from himalaya.kernel_ridge import MultipleKernelRidgeCV
from himalaya.ridge import GroupRidgeCV
from himalaya.scoring import correlation_score, l2_neg_loss, r2_score

from neurovis.core.rng import generator
from neurovis.fitting.banded import BandedRidgeCV

ALPHAS = np.geomspace(0.1, 1e4, 6)
SHAPES = {"wide": (43, (30, 25, 9), 6), "tall": (70, (4, 6, 5), 6)}
SCORE = {"mse": l2_neg_loss, "r2": r2_score, "correlation": correlation_score}


@pytest.fixture(autouse=True)
def _numpy_backend():
    before = get_backend()
    set_backend("numpy")
    yield
    set_backend(before)


def make_data(n, widths, v, n_test=20):
    rng = generator(0, "banded peers", n, *widths, v)
    Xs = [rng.standard_normal((n + n_test, p)) + 0.5 for p in widths]
    signal = sum(
        x @ rng.standard_normal((x.shape[1], v)) * rng.choice([0, 1], v) for x in Xs
    )
    Y = signal + rng.uniform(1, 9, v) * rng.standard_normal((n + n_test, v))
    return [x[:n] for x in Xs], Y[:n], [x[n:] for x in Xs]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", ["dual", "primal"])
@pytest.mark.parametrize("scoring", SCORE)
def test_searches_agree_with_the_primal_one(shape, intercept, solver, scoring):
    Xs, Y, new = make_data(*shape)
    params = {
        "n_iter": 7,
        "alphas": ALPHAS,
        "score_func": SCORE[scoring],
        "progress_bar": False,
        "warn": False,
    }
    theirs = GroupRidgeCV(
        groups="input",
        solver_params=params,
        fit_intercept=intercept,
        cv=4,
        random_state=5,
    ).fit(Xs, Y)
    ours = BandedRidgeCV(
        ALPHAS,
        n_iter=7,
        seed=5,
        cv=4,
        fit_intercept=intercept,
        scoring=scoring,
        solver=solver,
        device="cpu",
    ).fit(Xs, Y)
    np.testing.assert_allclose(ours.deltas_, theirs.deltas_, rtol=1e-9, atol=1e-12)
    scores = ours.cv_scores_per_iter_
    np.testing.assert_allclose(scores, theirs.cv_scores_, rtol=1e-8, atol=1e-9)
    coef = np.concatenate(ours.coef_)
    np.testing.assert_allclose(coef, theirs.coef_, rtol=1e-7, atol=1e-9)
    expected = theirs.predict(new)
    np.testing.assert_allclose(ours.predict(new), expected, rtol=1e-8, atol=1e-8)
    if intercept:
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-7)
    else:
        shares = theirs.predict(new, split=True)
        found = ours.predict(new, split=True)
        np.testing.assert_allclose(found, shares, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
def test_given_gammas_agree_with_multiple_kernels(shape, intercept):
    Xs, Y, new = make_data(*shape)
    gammas = np.array([[0.2, 0.3, 0.5], [0, 0, 1], [0.6, 0, 0.4], [0.01, 0.9, 0.09]])
    theirs = MultipleKernelRidgeCV(
        kernels="precomputed",
        solver="random_search",
        solver_params={"n_iter": gammas, "alphas": ALPHAS, "progress_bar": False},
        fit_intercept=intercept,
        cv=3,
    )
    with np.errstate(divide="ignore"):
        theirs.fit(np.stack([x @ x.T for x in Xs]), Y)
    ours = BandedRidgeCV(
        ALPHAS,
        gammas=gammas,
        cv=3,
        fit_intercept=intercept,
        solver="dual",
        device="cpu",
    ).fit(Xs, Y)
    np.testing.assert_allclose(ours.deltas_, theirs.deltas_, rtol=1e-12)
    scores = ours.cv_scores_per_iter_
    np.testing.assert_allclose(scores, theirs.cv_scores_, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(ours.dual_coef_, theirs.dual_coef_, rtol=1e-7, atol=1e-8)
    kernels = np.stack([a @ b.T for a, b in zip(new, Xs, strict=True)])
    expected = theirs.predict(kernels)
    np.testing.assert_allclose(ours.predict(new), expected, rtol=1e-7, atol=1e-7)
