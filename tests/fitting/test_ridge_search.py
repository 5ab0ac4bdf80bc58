"""Which alpha is chosen: full grid, window, shared and conservative choices."""

import numpy as np
import pytest

from analysis.metrics import r_squared
from neurovis.core.rng import generator
from neurovis.fitting.ridge import RidgeCV, fold_scores, gcv_errors, loo_residuals

ALPHAS = np.geomspace(0.1, 1e5, 13)
TIE = 1e-10 * np.log(ALPHAS)[:, None]
SHAPES = {"wide": (40, 60, 300), "tall": (60, 20, 300)}


def make_data(n, p, v, noise=4.0):
    rng = generator(0, "ridge search", n, p, v)
    X = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.5 + 2
    Y = X @ rng.standard_normal((p, v)) + noise * rng.standard_normal((n, v))
    return X, Y + rng.normal(0, 3, v)


def maxima(curve):
    """Places that no neighbour exceeds."""
    beside = np.pad(curve, 1, constant_values=-np.inf)
    return np.flatnonzero((curve >= beside[:-2]) & (curve >= beside[2:]))


def mean_scores(X, Y, cv, scoring, solver):
    options = {"solver": solver, "device": "cpu"}
    if cv == "loo":
        left = loo_residuals(X, Y, ALPHAS, **options)
        if scoring == "mse":
            return TIE - (left**2).mean(1)
        return TIE + np.stack([r_squared(Y, Y - e) for e in left])
    return fold_scores(X, Y, ALPHAS, cv=cv, scoring=scoring, **options).mean(0) + TIE


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("solver", ["dual", "primal"])
@pytest.mark.parametrize(
    ("cv", "scoring"),
    [(4, "mse"), (4, "r2"), (4, "correlation"), ("loo", "mse"), ("loo", "r2")],
)
def test_window_finds_the_best_of_curves_with_one_maximum(shape, solver, cv, scoring):
    X, Y = make_data(*shape)
    table = mean_scores(X, Y, cv, scoring, solver)
    options = {"cv": cv, "scoring": scoring, "solver": solver, "device": "cpu"}
    full = RidgeCV(ALPHAS, **options).fit(X, Y)
    np.testing.assert_array_equal(full.alphas_, ALPHAS[table.argmax(0)])
    np.testing.assert_allclose(full.cv_scores_, table.max(0), rtol=1e-9, atol=1e-11)
    window = RidgeCV(ALPHAS, search="window", **options).fit(X, Y)
    chosen = np.searchsorted(ALPHAS, window.alphas_)
    n_single = 0
    for k, curve in zip(chosen, table.T, strict=True):
        tops = maxima(curve)
        n_single += len(tops) == 1
        assert k in tops  # the only one, where there is only one
    assert 150 < n_single < 300  # both kinds are met
    expected = table[chosen, np.arange(len(chosen))]
    np.testing.assert_allclose(window.cv_scores_, expected, rtol=1e-9, atol=1e-11)
    same = window.alphas_ == full.alphas_
    assert same.mean() > 0.8
    new = make_data(shape[0], shape[1], 2)[0]
    np.testing.assert_allclose(
        window.predict(new)[:, same], full.predict(new)[:, same], rtol=1e-8, atol=1e-9
    )


@pytest.mark.parametrize("search", ["full", "window"])
@pytest.mark.parametrize("solver", ["dual", "primal"])
@pytest.mark.parametrize("alphas", [[3.0], [300.0, 0.1], [10.0, 1e4, 0.1]])
def test_order_and_number_of_alphas_do_not_matter(search, solver, alphas):
    X, Y = make_data(40, 60, 20)
    options = {"search": search, "solver": solver, "device": "cpu"}
    ours = RidgeCV(alphas, **options).fit(X, Y)
    ordered = RidgeCV(sorted(alphas), **options).fit(X, Y)
    np.testing.assert_array_equal(ours.alphas_, ordered.alphas_)
    np.testing.assert_array_equal(ours.cv_scores_, ordered.cv_scores_)
    table = fold_scores(X, Y, alphas, device="cpu")
    back = fold_scores(X, Y, sorted(alphas), device="cpu")
    np.testing.assert_array_equal(table[:, np.argsort(alphas)], back)


@pytest.mark.parametrize("solver", ["dual", "primal"])
@pytest.mark.parametrize("scoring", ["mse", "r2"])
def test_shared_and_conservative_alphas_follow_their_definitions(solver, scoring):
    X, Y = make_data(40, 60, 80, noise=2.0)
    options = {"scoring": scoring, "solver": solver, "device": "cpu"}
    folds = fold_scores(X, Y, ALPHAS, cv=4, **options)
    mean = folds.mean(0) + TIE
    columns = np.arange(80)
    shared = RidgeCV(ALPHAS, cv=4, selection="shared", **options).fit(X, Y)
    best = mean.mean(1).argmax()
    assert (shared.alphas_ == ALPHAS[best]).all()
    np.testing.assert_allclose(shared.cv_scores_, mean[best], rtol=1e-9, atol=1e-11)
    cautious = RidgeCV(ALPHAS, cv=4, selection="conservative", **options).fit(X, Y)
    best = mean.argmax(0)
    bar = mean[best, columns] - folds.std(0)[best, columns]
    chosen = np.array([np.flatnonzero(m > b).max() for m, b in zip(mean.T, bar)])  # noqa: B905
    np.testing.assert_array_equal(cautious.alphas_, ALPHAS[chosen])
    np.testing.assert_allclose(
        cautious.cv_scores_, mean[chosen, columns], rtol=1e-9, atol=1e-11
    )
    assert (chosen > best).any()


def test_shared_alpha_leaves_out_targets_without_score():
    X, Y = make_data(40, 60, 6)
    options = {"selection": "shared", "nan": "omit", "device": "cpu"}
    alone = RidgeCV(ALPHAS, **options).fit(X, Y)
    more = np.column_stack([Y, np.full(40, 5.0), np.full(40, np.nan)])
    beside = RidgeCV(ALPHAS, **options).fit(X, more)
    np.testing.assert_array_equal(beside.alphas_[:6], alone.alphas_)
    assert np.isnan(beside.alphas_[6:]).all()


def test_gcv_chooses_the_smallest_error():
    X, Y = make_data(40, 60, 50)
    for solver in ("dual", "primal"):
        errors = gcv_errors(X, Y, ALPHAS, solver=solver, device="cpu")
        model = RidgeCV(ALPHAS, cv="gcv", solver=solver, device="cpu").fit(X, Y)
        np.testing.assert_array_equal(model.alphas_, ALPHAS[errors.argmin(0)])
        np.testing.assert_allclose(
            model.cv_scores_, (TIE - errors).max(0), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("search", ["full", "window"])
@pytest.mark.parametrize("cv", [5, "loo", "gcv"])
def test_equal_scores_go_to_the_largest_alpha(search, cv):
    X, Y = np.ones((20, 3)), make_data(20, 3, 4)[1]  # nothing to learn from
    for solver in ("dual", "primal"):
        model = RidgeCV(ALPHAS, cv=cv, search=search, solver=solver, device="cpu").fit(
            X, Y
        )
        np.testing.assert_array_equal(model.alphas_, np.full(4, 1e5))
        np.testing.assert_allclose(model.predict(X), np.tile(Y.mean(0), (20, 1)))
        assert (model.n_at_smallest_, model.n_at_largest_) == (0, 4)


@pytest.mark.parametrize("search", ["full", "window"])
def test_targets_at_the_ends_of_the_grid_are_counted(search):
    X, Y = make_data(40, 12, 9, noise=0.0)
    Y[:, 6:] = generator(3, "noise").standard_normal((40, 3)) * 1e-3
    model = RidgeCV([1e-3, 1.0, 1e6], search=search, device="cpu").fit(X, Y)
    assert (model.alphas_[:6] == 1e-3).all()
    assert model.n_at_smallest_ == (model.alphas_ == 1e-3).sum() >= 6
    assert model.n_at_largest_ == (model.alphas_ == 1e6).sum() > 0
