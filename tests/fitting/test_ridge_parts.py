"""The parts of the ridge solvers: blocks of features, products, decompositions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from neurovis.core.rng import generator
from neurovis.fitting import ridge_dual, ridge_features, ridge_linalg, ridge_problem
from neurovis.fitting.ridge import RidgeCV, fold_scores
from neurovis.fitting.ridge_dual import DualTargets, residual_matrix
from neurovis.fitting.ridge_eigen import decompose, largest_eigenvalue, needs_double
from neurovis.fitting.ridge_features import (
    cross_gram,
    finite_columns,
    gram_matrix,
    new_block,
    prepare_features,
    raw_blocks,
)
from neurovis.fitting.ridge_inputs import feature_parts
from neurovis.fitting.ridge_linalg import add_symmetric_product, inverse, product
from neurovis.fitting.ridge_problem import batches, cheaper_solver, make_problem
from neurovis.fitting.ridge_scores import correlation_score, error_score

CPU = torch.device("cpu")


def normal(*shape, dtype="f8"):
    return generator(0, "ridge parts", *shape).standard_normal(shape).astype(dtype)


# -------------------------------------------------------------------------- products


@pytest.mark.parametrize("m", [1, 31, 33, 300])
@pytest.mark.parametrize("n", [1, 32, 260])
@pytest.mark.parametrize("k", [1, 40])
def test_products_of_any_layout_equal_those_in_float64(m, n, k):
    x, w = (torch.from_numpy(normal(rows, k, dtype="f4")) for rows in (m, n))
    wide_x, wide_w = torch.zeros(m, 2 * k), torch.zeros(2 * n, k)
    wide_x[:, ::2], wide_w[::2] = x, w
    expected = x.double() @ w.double().T
    for left in (x, x.T.contiguous().T, wide_x[:, ::2]):
        for right in (w, w.T.contiguous().T, wide_w[::2]):
            found = product(left, right)
            assert found.dtype == torch.float32
            torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5)
    assert torch.equal(product(x.double(), w.double()), expected)


def test_without_onednn_the_result_is_the_same(monkeypatch):
    X, Y = normal(80, 120, dtype="f4"), normal(80, 90, dtype="f4")
    with_it = fold_scores(X, Y, [1.0, 100.0], device="cpu")
    monkeypatch.setattr(ridge_linalg, "_has_onednn_product", lambda: False)
    without = fold_scores(X, Y, [1.0, 100.0], device="cpu")
    np.testing.assert_allclose(with_it, without, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 600])
def test_symmetric_products_are_added(n):
    x = torch.from_numpy(normal(n, 20))
    before = torch.eye(n, dtype=torch.float64)
    out = before.clone()
    add_symmetric_product(out, x, x)
    torch.testing.assert_close(out, before + x @ x.T)
    torch.testing.assert_close(out, out.T, rtol=1e-14, atol=1e-14)


def test_inverse_falls_back_to_float64_and_refuses_what_is_not_positive():
    # Loses its smallest eigenvalue in float32, not in float64.
    near = torch.tensor([[1.0, 1.0], [1.0, 1.0 + 2**-23]])
    exact = torch.linalg.inv(near.double())
    torch.testing.assert_close(inverse(near, "it").double(), exact, rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match=r"The block is not positive .* larger alphas"):
        inverse(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "The block")


# -------------------------------------------------------------------------- features


@settings(max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 200))
def test_blocks_cover_each_column_once_whatever_their_size(widths, size):
    parts = tuple(normal(5, w) for w in widths)
    whole = np.concatenate(parts, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ridge_features, "_BLOCK_BYTES", 8 * 5 * size // 4)
        blocks = list(raw_blocks(parts, 5))
        ready = prepare_features(parts, CPU, centre=True, standardize=True)
        gram = gram_matrix(ready, torch.float64)
        cross = cross_gram(ready, (whole[:2],), torch.float64)
    np.testing.assert_array_equal(np.concatenate([v for _, v in blocks], 1), whole)
    columns = [c for at, _ in blocks for c in range(at.start, at.stop)]
    assert columns == list(range(sum(widths)))
    scaled = (whole - whole.mean(0)) / whole.std(0)
    np.testing.assert_allclose(gram, scaled @ scaled.T, atol=1e-10)
    np.testing.assert_allclose(cross, scaled[:2] @ scaled.T, atol=1e-10)


def test_new_rows_may_be_cut_otherwise_than_training_rows():
    X, new = normal(5, 9), normal(3, 9)
    ready = prepare_features((X,), CPU, centre=True, standardize=False)
    parts = (new[:, :2], new[:, 2:3], new[:, 3:])
    for columns in (slice(0, 9), slice(1, 4), slice(2, 3), slice(8, 9)):
        found = new_block(ready, parts, columns)
        expected = (new - X.mean(0))[:, columns]
        np.testing.assert_allclose(found, expected, atol=1e-15)


def test_rounding_of_a_constant_column_is_no_variation():
    X = np.column_stack([np.full(7, 0.1), np.full(7, 1e8 / 3), normal(7)])
    ready = prepare_features((X,), CPU, centre=True, standardize=True)
    assert torch.isinf(ready.scale[:2]).all()
    block = next(ready.blocks(torch.float64))[1]
    assert (block[:, :2] == 0).all()
    np.testing.assert_allclose(block[:, 2].std(correction=0), 1)


def test_lists_of_rows_are_one_array_and_lists_of_matrices_are_parts():
    assert [p.shape for p in feature_parts([[1.0, 2.0], [3.0, 4.0]])] == [(2, 2)]
    assert [p.shape for p in feature_parts([normal(3, 2), normal(3, 1)])] == [
        (3, 2),
        (3, 1),
    ]
    with pytest.raises(ValueError, match=r"got shape \(4,\)"):
        feature_parts(normal(4))
    with pytest.raises(ValueError, match=r"one number of samples; got \[3, 4\]"):
        feature_parts([normal(3, 2), normal(4, 2)])


def test_finite_columns_are_told_also_where_sums_overflow():
    values = torch.tensor([[3e38, 1.0, torch.inf], [3e38, torch.nan, -torch.inf]])
    assert finite_columns(values).tolist() == [True, False, False]


# -------------------------------------------------------------------- decompositions


@pytest.mark.parametrize("centred", [True, False])
def test_decomposition_gives_back_the_matrix_and_its_images(centred):
    x = normal(90, 30)
    x -= centred * x.mean(0)
    rows = torch.from_numpy(generator(1, "rows").permutation(90))
    gram = torch.from_numpy(x @ x.T)
    eigen = decompose(gram, torch.float64, rows, centred=centred)
    sorted_gram = gram[rows][:, rows]
    back = (eigen.vectors * eigen.values) @ eigen.vectors.T
    torch.testing.assert_close(back, sorted_gram, rtol=1e-10, atol=1e-10)
    last = eigen.vectors[:, -eigen.images.shape[1] :]
    torch.testing.assert_close(eigen.images, sorted_gram @ last, atol=1e-9, rtol=1e-9)
    squares = eigen.vectors.square().sum(0)
    torch.testing.assert_close(eigen.norms, squares, rtol=1e-10, atol=1e-12)
    assert float(eigen.norms.sum()) == pytest.approx(90 - centred)
    assert (eigen.values >= 0).all()


@pytest.mark.parametrize("alpha", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("centred", [True, False])
def test_residual_matrix_takes_targets_to_residuals(alpha, centred):
    x = normal(40, 25)
    x -= centred * x.mean(0)
    gram = torch.from_numpy(x @ x.T)
    eigen = decompose(gram, torch.float64, centred=centred)
    targets = DualTargets(eigen, None, torch.zeros(1, 40, dtype=torch.float64))
    expected = alpha * linalg.inv(gram.numpy() + alpha * np.eye(40)) - centred / 40
    np.testing.assert_allclose(residual_matrix(targets, alpha), expected, atol=1e-12)


def test_refinement_repairs_coefficients_along_the_largest_eigenvectors():
    x, y = normal(80, 200) * np.arange(1, 201) ** -1.0, normal(80, 12)
    gram = x @ x.T
    eigen = decompose(torch.from_numpy(gram), torch.float64)
    targets = DualTargets(eigen, None, torch.from_numpy(y.T.copy()))
    alphas = torch.logspace(-3, 1, 12, dtype=torch.float64)
    exact = targets.refit(alphas)
    top = eigen.vectors[:, -3:]
    wrong = exact + torch.from_numpy(normal(12, 3)) @ top.T
    targets.refine(wrong, alphas)
    torch.testing.assert_close(wrong, exact, rtol=1e-9, atol=1e-12)
    for i, alpha in enumerate(alphas.tolist()):
        brute = linalg.solve(gram + alpha * np.eye(80), y[:, i], assume_a="pos")
        np.testing.assert_allclose(exact[i], brute, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("n", [1, 3, 50])
def test_largest_eigenvalue_is_estimated_from_below(n):
    x = normal(n, 60)
    exact = np.linalg.eigvalsh(x @ x.T)[-1]
    assert 0.9 * exact < largest_eigenvalue(torch.from_numpy(x @ x.T)) <= 1.0001 * exact
    assert largest_eigenvalue(torch.zeros(n, n)) == 0
    assert not needs_double(torch.zeros(n, n), 1e-30)


@pytest.mark.parametrize("solver", ["dual", "primal"])
def test_features_that_are_all_zero_are_fitted_by_the_mean(solver):
    Y = normal(20, 3, dtype="f4") + 1
    X = np.zeros((20, 5), "f4")
    model = RidgeCV([1e-3, 1.0], solver=solver, device="cpu").fit(X, Y)
    assert (model.coef_ == 0).all()
    np.testing.assert_allclose(model.predict(X), np.tile(Y.mean(0), (20, 1)), rtol=1e-6)


def test_inverses_of_recent_alphas_are_kept_and_the_oldest_forgotten(monkeypatch):
    monkeypatch.setattr(ridge_dual, "_N_RECENT", 2)
    monkeypatch.setattr(ridge_dual, "_RECENT_BYTES", 0)
    x = normal(12, 5)
    eigen = decompose(torch.from_numpy(x @ x.T), torch.float64)
    folds = [slice(0, 6), slice(6, 12)]
    targets = DualTargets(eigen, folds, torch.zeros(1, 12, dtype=torch.float64))
    first = targets.inverses(1.0, folds)
    assert targets.inverses(1.0, folds) is first
    targets.inverses(2.0, folds)
    targets.inverses(3.0, folds)
    again = targets.inverses(1.0, folds)
    assert again is not first
    for ours, theirs in zip(again, first, strict=True):
        torch.testing.assert_close(ours, theirs)


# ---------------------------------------------------------------- solver and batches


@pytest.mark.parametrize(
    ("size", "solver"),
    [
        ((2000, 4000, 5, 5000, 10), "dual"),
        ((2000, 2000, 5, 5000, 10), "dual"),
        ((9000, 300, 5, 20000, 10), "primal"),
        ((1000, 100, 5, 1, 10), "primal"),
        ((1000, 990, 100, 500, 10), "dual"),
    ],
)
def test_the_cheaper_solver_is_taken(size, solver):
    assert cheaper_solver(*size) == solver


def test_auto_takes_the_primal_solver_for_few_features():
    X, Y = normal(100, 5), normal(100, 20)
    assert RidgeCV(device="cpu").fit(X, Y).solver_ == "primal"
    assert RidgeCV(device="cpu").fit(normal(20, 30), Y[:20]).solver_ == "dual"


def small_problem(**options):
    arguments = {
        "fit_intercept": True,
        "standardize": False,
        "solver": "dual",
        "device": "cpu",
        "dtype": torch.float64,
        "n_targets": 4,
        "n_alphas": 2,
        **options,
    }
    return make_problem((normal(10, 6),), 1.0, None, **arguments)


def test_batches_fill_a_third_of_free_memory_and_cover_each_target_once(monkeypatch):
    problem = small_problem()
    one = problem.target_bytes(2)
    monkeypatch.setattr(ridge_problem, "free_memory_bytes", lambda _: 3 * 40 * one)
    pieces = list(batches(problem, 100, 2, "auto"))
    sizes = [piece.stop - piece.start for piece in pieces]
    assert sizes == [33, 34, 33]
    columns = [c for piece in pieces for c in range(piece.start, piece.stop)]
    assert columns == list(range(100))
    monkeypatch.setattr(ridge_problem, "free_memory_bytes", lambda _: 1)
    assert len(list(batches(problem, 7, 2, "auto"))) == 7  # one at a time at worst


def test_apple_gpu_is_left_for_the_cpu_unless_asked_for(monkeypatch):
    mps = torch.device("mps")
    monkeypatch.setattr(ridge_problem, "resolve", lambda _: mps)
    assert ridge_problem.choose_device("auto") == CPU
    with pytest.raises(ValueError, match="no float64"):
        ridge_problem.choose_device("mps")


# ---------------------------------------------------------------------------- scores


def test_scores_of_folds_are_undefined_where_nothing_varies():
    y = torch.from_numpy(normal(3, 8))
    y[1] = 0.3
    error = torch.from_numpy(normal(3, 8)) / 2
    r2 = error_score(y, error, "r2")
    assert r2.isnan().tolist() == [False, True, False]
    r = correlation_score(y, y - error)
    assert r.isnan().tolist() == [False, True, False]
    assert float(r[0]) == pytest.approx(np.corrcoef(y[0], (y - error)[0])[0, 1])
    flat = torch.full_like(y, 0.1)
    flat[:, 0] += 1e-17
    assert correlation_score(y, flat).isnan().all()
    assert error_score(y, error, "mse").isfinite().all()


def test_a_fold_without_variation_leaves_r2_undefined_but_not_the_error():
    X, Y = normal(20, 6), normal(20, 3)
    Y[:5, 1] = 2.0  # constant in the first fold only
    options = {"cv": 4, "device": "cpu"}
    scores = fold_scores(X, Y, [1.0], scoring="r2", **options)
    assert np.isnan(scores[:, 0, 1]).tolist() == [True, False, False, False]
    assert np.isfinite(fold_scores(X, Y, [1.0], **options)).all()
    model = RidgeCV([1.0, 9.0], scoring="r2", **options).fit(X, Y)
    assert np.isnan(model.alphas_).tolist() == [False, True, False]
    np.testing.assert_allclose(model.predict(X)[:, 1], Y[:, 1].mean())


@pytest.mark.parametrize("cut", [None, 3])
def test_hardly_varying_columns_are_divided_by_a_share_of_the_typical_spread(cut):
    X = np.random.default_rng(5).standard_normal((50, 6)) * [1, 2, 3, 1e-7, 4, 0]
    parts = (X,) if cut is None else (X[:, :cut], X[:, cut:])
    plain, floored = (
        prepare_features(parts, CPU, centre=True, standardize=s).scale.numpy()
        for s in (True, 1e-3)
    )
    spread = X.std(0)
    np.testing.assert_allclose(plain[:5], spread[:5], rtol=1e-12)
    np.testing.assert_allclose(floored[[0, 1, 2, 4]], spread[[0, 1, 2, 4]], rtol=1e-12)
    typical = np.sqrt((spread[:5] ** 2).mean())
    np.testing.assert_allclose(floored[3], 1e-3 * typical, rtol=1e-12)
    assert plain[5] == floored[5] == np.inf


def test_a_feature_that_wakes_up_late_does_not_decide_predictions():
    rng = np.random.default_rng(6)
    X, Y = rng.standard_normal((120, 20)), rng.standard_normal((120, 5))
    Y += X @ rng.standard_normal((20, 5))
    X[:, 7] = 0
    X[3, 7], X[100, 7] = 1e-6, 0.01  # one training row, one test row
    r = {}
    for standardize in (True, 1e-3):
        model = RidgeCV([1.0, 10.0, 100.0], standardize=standardize, device="cpu")
        predicted = model.fit(X[:80], Y[:80]).predict(X[80:])
        error = predicted - Y[80:]
        r[standardize] = 1 - (error**2).mean(0) / Y[80:].var(0)
    assert (r[True] < 0).all()
    assert (r[1e-3] > 0.7).all()


@pytest.mark.parametrize("wrong", [1, 0.0, -1e-4, 2.0, np.nan])
def test_shares_of_the_spread_lie_between_zero_and_one(wrong):
    with pytest.raises(ValueError, match="standardize"):
        prepare_features((np.eye(3),), CPU, centre=True, standardize=wrong)


def test_without_an_intercept_scaled_features_leave_their_own_constant():
    rng = np.random.default_rng(7)
    X, Y = rng.standard_normal((30, 4)) + 3, rng.standard_normal((30, 2))
    for solver in ("dual", "primal"):
        model = RidgeCV(
            [1.0], fit_intercept=False, standardize=True, solver=solver, device="cpu"
        ).fit(X, Y)
        line = X @ model.coef_ + model.intercept_
        np.testing.assert_allclose(line, model.predict(X), rtol=1e-9, atol=1e-12)
