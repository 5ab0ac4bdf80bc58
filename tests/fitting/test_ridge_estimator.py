"""What `RidgeCV` accepts, refuses and returns."""

import logging

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from neurovis.core.rng import generator
from neurovis.fitting import ridge_features
from neurovis.fitting.ridge import (
    RidgeCV,
    fold_scores,
    gcv_errors,
    loo_residuals,
    solve_ridge,
)

ALPHAS = [0.1, 1.0, 10.0, 100.0]
SOLVERS = ("dual", "primal")


def make_data(n=40, p=30, v=6, noise=1.0):
    rng = generator(0, "ridge estimator", n, p, v)
    X = rng.standard_normal((n, p)) + rng.normal(0, 2, p)
    Y = X @ rng.standard_normal((p, v)) / np.sqrt(p) + rng.normal(0, 3, v)
    return X, Y + noise * rng.standard_normal((n, v))


def new_rows(p=30):
    return generator(1, "new rows").standard_normal((7, p)) + 1


def fit(X, Y, groups=None, **options):
    return RidgeCV(ALPHAS, **{"device": "cpu", **options}).fit(X, Y, groups)


def assert_same(ours, theirs, X_new, rtol=1e-9):
    np.testing.assert_array_equal(ours.alphas_, theirs.alphas_)
    np.testing.assert_allclose(ours.cv_scores_, theirs.cv_scores_, rtol=rtol)
    found, expected = ours.predict(X_new), theirs.predict(X_new)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=rtol, atol=rtol)


# ------------------------------------------------------------------ frozen numbers


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("options", "scores"),
    [
        ({"cv": 3}, [-0.017353090476, -0.032380791343, -1.062948254882]),
        ({"cv": "loo"}, [-0.001145037184, -0.008446430796, -0.970140072421]),
        ({"cv": "gcv"}, [-0.000660150029, -0.008551909931, -0.942638113954]),
        (
            {"cv": 4, "scoring": "r2"},
            [0.973277583933, 0.864604618253, -1.758048699026],
        ),
    ],
)
def test_numbers_of_a_small_problem_stay_as_they_are(solver, options, scores):
    # Computed with this estimator; for cv=3 equal to himalaya 0.4.11.
    i, j, k = np.arange(12)[:, None], np.arange(4), np.arange(3)
    X = np.sin(1 + 2 * i + 3 * j + i * j)
    Y = X[:, :3] + 10.0 ** (k - 2) * np.cos(i + k * i**2 / 3)
    model = RidgeCV([0.1, 1, 10], solver=solver, device="cpu", **options).fit(X, Y)
    np.testing.assert_array_equal(model.alphas_, [0.1, 0.1, 10])
    np.testing.assert_allclose(model.cv_scores_, scores, rtol=1e-9, atol=1e-12)
    expected = [1.632804952146, -1.321687278251, 0.556712838466]
    np.testing.assert_allclose(model.predict(2 * X[:1])[0], expected, rtol=1e-10)
    shared = model.set_params(cv=3, scoring="mse", selection="shared").fit(X, Y)
    np.testing.assert_array_equal(shared.alphas_, [1, 1, 1])
    expected = [1.277043022873, -0.993707168550, 1.724883313353]
    np.testing.assert_allclose(shared.predict(2 * X[:1])[0], expected, rtol=1e-10)


# -------------------------------------------------------------------- kinds of input


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("width", [2**27, 40 * 8 * 4])
def test_features_on_disk_and_in_parts_give_the_same(
    tmp_path, monkeypatch, solver, width
):
    monkeypatch.setattr(ridge_features, "_BLOCK_BYTES", width)
    X, Y = make_data()
    new = new_rows()
    plain = fit(X, Y, solver=solver)
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=X.shape)
    mapped[:] = X
    parts = [X[:, :7], np.asfortranarray(X[:, 7:9]), X[:, 9:]]
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(30)])
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored, targets = (
            file.create_dataset("x", data=X),
            file.create_dataset("y", data=Y),
        )
        cases = [stored, mapped, parts, tuple(parts), X.tolist(), torch.from_numpy(X)]
        for features in cases:
            model = fit(features, targets, solver=solver)
            assert model.n_features_in_ == 30
            assert_same(model, plain, new)
            other = [new[:, :20], new[:, 20:]]  # cut elsewhere than in fit
            np.testing.assert_allclose(
                model.predict(other), plain.predict(new), rtol=1e-9
            )
            r2 = model.score(parts, targets)
            np.testing.assert_allclose(r2, plain.score(X, Y), rtol=1e-8)
    table = fit(frame, Y, solver=solver)
    assert list(table.feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(table.coef_, plain.coef_)


def test_readonly_reversed_and_foreign_memory_is_read():
    X, Y = make_data()
    plain = fit(X, Y)
    locked = X.copy()
    locked.flags.writeable = False
    for features in (locked, X[::-1][::-1], X.astype(">f8"), np.asfortranarray(X)):
        assert_same(fit(features, Y), plain, new_rows())
    whole = np.round(X).astype(int)
    expected = fit(whole.astype(float), Y)
    assert_same(fit(whole, Y), expected, new_rows())
    assert_same(fit(whole > 0, Y), fit((whole > 0) * 1.0, Y), new_rows())


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_come_back_as_tensors(solver, dtype):
    X, Y = (torch.from_numpy(a).to(dtype) for a in make_data())
    new = torch.from_numpy(new_rows()).to(dtype)
    model = fit(X, Y, solver=solver)
    arrays = fit(X.numpy(), Y.numpy(), solver=solver)
    names = ["alphas_", "cv_scores_", "coef_", "intercept_"]
    for name in names + ["dual_coef_"] * (solver == "dual"):
        found = getattr(model, name)
        assert isinstance(found, torch.Tensor)
        np.testing.assert_array_equal(found.numpy(), getattr(arrays, name))
    assert model.coef_.dtype == model.predict(new).dtype == dtype
    np.testing.assert_array_equal(
        model.predict(new).numpy(), arrays.predict(new.numpy())
    )
    assert isinstance(arrays.predict(new), torch.Tensor)  # as the features given
    assert isinstance(model.predict(new.numpy()), np.ndarray)
    options = {"solver": solver, "device": "cpu"}
    for values in (
        fold_scores(X, Y, ALPHAS, **options),
        loo_residuals(X, Y, ALPHAS, **options),
        gcv_errors(X, Y, ALPHAS, **options),
        *solve_ridge(X, Y, 1.0, **options),
    ):
        assert isinstance(values, torch.Tensor)


def test_tensors_with_gradients_are_read_without_them():
    X, Y = (torch.from_numpy(a) for a in make_data())
    model = fit(X.requires_grad_(), Y)
    assert not model.predict(X).requires_grad
    assert not model.coef_.requires_grad


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("cv", [4, "loo", "gcv"])
def test_one_target_as_vector_drops_the_axis(solver, cv):
    X, Y = make_data()
    for kind in (np.asarray, torch.from_numpy):
        vector = fit(kind(X), kind(Y[:, 0]), solver=solver, cv=cv)
        matrix = fit(kind(X), kind(Y[:, :1]), solver=solver, cv=cv)
        assert vector.predict(X).shape == (40,)
        assert vector.coef_.shape == (30,)
        assert np.shape(vector.alphas_) == np.shape(vector.intercept_) == ()
        assert matrix.coef_.shape == (30, 1)
        assert vector.alphas_ == matrix.alphas_[0]
        np.testing.assert_array_equal(vector.predict(X), matrix.predict(X)[:, 0])
        r2 = vector.score(X, Y[:, 0])
        assert isinstance(r2, float)
        assert r2 == matrix.score(X, Y[:, :1])[0]


@pytest.mark.parametrize(
    "dtype", ["float32", np.float32, torch.float32, np.dtype("f4")]
)
def test_dtype_can_be_asked_for(dtype):
    X, Y = make_data()
    assert fit(X, Y).coef_.dtype == np.float64
    model = fit(X, Y, dtype=dtype)
    assert model.coef_.dtype == model.predict(X).dtype == np.float32
    assert model.alphas_.dtype == model.cv_scores_.dtype == np.float64
    np.testing.assert_allclose(model.coef_, fit(X, Y).coef_, rtol=1e-3, atol=1e-4)
    assert fit(X.astype("f4"), Y.astype("f4")).coef_.dtype == np.float32
    assert fit(X.astype("f4"), Y).coef_.dtype == np.float64
    assert fit(X.astype("f2"), Y.astype("f2")).coef_.dtype == np.float32


# ------------------------------------------------------------------------- precision


@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_takes_a_float64_decomposition_for_small_alphas(solver):
    X, Y = (a.astype("f4") for a in make_data(60, 50))
    Xc = (X - X.mean(0)).astype("f8")
    largest = np.linalg.eigvalsh(Xc @ Xc.T)[-1]
    for ratio, expected in ((1.5e-4, "float32"), (0.5e-4, "float64")):
        model = RidgeCV([ratio * largest, largest], solver=solver, device="cpu")
        assert model.fit(X, Y).gram_dtype_ == expected
        assert model.predict(X).dtype == np.float32
    assert fit(X.astype("f8"), Y.astype("f8")).gram_dtype_ == "float64"


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("ratio", "tolerance"), [(1e-1, 5e-6), (1e-3, 1e-4), (0.9e-4, 5e-4)]
)
def test_float32_predictions_are_near_those_of_float64(solver, ratio, tolerance):
    rng = generator(0, "precision")
    X = rng.standard_normal((250, 300)) * np.arange(1, 301) ** -0.5
    Y = X @ rng.standard_normal((300, 200)) + rng.standard_normal((250, 200))
    alpha = ratio * np.linalg.eigvalsh(X[:200] @ X[:200].T)[-1]
    for cv in (5, "loo", "gcv"):  # coefficients from errors, or by a refit
        options = {"cv": cv, "solver": solver, "fit_intercept": False, "device": "cpu"}
        found, expected = (
            RidgeCV([alpha], **options)
            .fit(X[:200].astype(dtype), Y[:200].astype(dtype))
            .predict(X[200:].astype(dtype))
            for dtype in ("f4", "f8")
        )
        distance = np.linalg.norm(found - expected, axis=0)
        assert (distance / np.linalg.norm(expected, axis=0)).max() < tolerance


def test_offsets_of_float32_features_and_targets_do_no_harm():
    X, Y = (a.astype("f4") for a in make_data(50, 60))
    X, Y = X * 2**-10, Y * 2**-10
    # Multiples of a power of two, so that the sums are exact.
    X, Y = (np.round(a * 2**18) * np.float32(2**-18) for a in (X, Y))
    plain = RidgeCV([1e-5, 1e-3], device="cpu").fit(X, Y)
    moved = clone(plain).fit(X + np.float32(16), Y + np.float32(32))
    np.testing.assert_array_equal(moved.alphas_, plain.alphas_)
    np.testing.assert_allclose(moved.coef_, plain.coef_, rtol=1e-4, atol=1e-5)


def test_alphas_below_rounding_are_not_chosen_and_named(caplog):
    X, Y = (a.astype("f4") for a in make_data(40, 8))
    X = np.tile(X, (1, 20))
    with caplog.at_level(logging.INFO, logger="neurovis"):
        model = RidgeCV([1e-30, 10.0], solver="dual", device="cpu").fit(X, Y)
    assert (model.alphas_ == 10).all()
    assert "1 alphas are below" in caplog.text
    assert "in float64" in caplog.text
    with pytest.raises(ValueError, match=r"All `alphas` are below .* larger alphas"):
        RidgeCV([1e-30], solver="dual", device="cpu").fit(X, Y)


# --------------------------------------------------------------------------- targets


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cv", [4, "loo", "gcv"])
def test_undefined_targets_are_refused_or_omitted(solver, bad, cv, caplog):
    X, Y = make_data()
    broken = Y.copy()
    broken[3, 1] = broken[0, 4] = broken[7, 4] = bad
    with pytest.raises(ValueError, match=r"2 of 6 targets .* first is target 1"):
        fit(X, broken, solver=solver, cv=cv)
    with pytest.raises(ValueError, match="nan='omit'"):
        fit(torch.from_numpy(X), torch.from_numpy(broken))
    model = fit(X, broken, solver=solver, cv=cv, nan="omit")
    assert "2 targets are omitted" in caplog.text
    good = [0, 2, 3, 5]
    alone = fit(X, Y[:, good], solver=solver, cv=cv)
    np.testing.assert_array_equal(model.alphas_[good], alone.alphas_)
    np.testing.assert_allclose(model.cv_scores_[good], alone.cv_scores_, rtol=1e-9)
    np.testing.assert_allclose(model.predict(X)[:, good], alone.predict(X), rtol=1e-9)
    for name in ("alphas_", "cv_scores_", "coef_", "intercept_"):
        values = getattr(model, name)[..., [1, 4]]
        assert np.isnan(values).all(), name
    assert np.isnan(model.predict(X)[:, [1, 4]]).all()
    assert np.isnan(model.score(X, Y)[[1, 4]]).all()


def test_functions_refuse_undefined_targets():
    X, Y = make_data()
    Y[0, 2] = np.nan
    for call in (
        lambda: fold_scores(X, Y, ALPHAS),
        lambda: loo_residuals(X, Y, ALPHAS),
        lambda: gcv_errors(X, Y, ALPHAS),
        lambda: solve_ridge(X, Y, 1.0),
    ):
        with pytest.raises(ValueError, match=r"1 of 6 targets .* target 2"):
            call()


def test_large_finite_targets_are_not_taken_for_undefined():
    X, Y = (a.astype("f4") for a in make_data(v=2))
    Y[:, 1] = 3e38 * np.sign(Y[:, 1])
    for kind in (np.asarray, torch.from_numpy):
        try:
            fit(kind(X), kind(Y), nan="raise")
        except ValueError as error:
            pytest.fail(str(error))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("cv", [4, "loo", "gcv"])
@pytest.mark.parametrize("search", ["full", "window"])
@pytest.mark.parametrize("scoring", ["mse", "r2", "correlation"])
def test_constant_targets_have_no_score_and_are_predicted_by_their_mean(
    solver, cv, search, scoring, caplog
):
    if cv == "gcv" and scoring != "mse":
        return
    X, Y = make_data()
    Y[:, 2] = 0.1
    options = {"solver": solver, "cv": cv, "search": search, "scoring": scoring}
    model = fit(X, Y, **options)
    assert "1 targets have no score" in caplog.text
    assert np.isnan([model.alphas_[2], model.cv_scores_[2]]).all()
    assert (model.coef_[:, 2] == 0).all()
    np.testing.assert_allclose(model.predict(new_rows())[:, 2], 0.1, rtol=1e-12)
    others = [0, 1, 3, 4, 5]
    alone = fit(X, Y[:, others], **options)
    np.testing.assert_array_equal(model.alphas_[others], alone.alphas_)
    assert np.isnan(model.score(X, Y)[2])


def test_zero_targets_without_intercept_are_predicted_by_zero():
    X, Y = make_data()
    Y[:, 2], Y[:, 3] = 0, 5  # a constant that has to be learnt
    model = fit(X, Y, fit_intercept=False)
    assert np.isnan(model.alphas_[2])
    assert np.isfinite(model.alphas_[3])
    assert (model.predict(X)[:, 2] == 0).all()
    assert (model.predict(X)[:, 3] != 0).any()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("standardize", [True, False])
def test_constant_columns_get_no_weight(solver, standardize):
    X, Y = make_data()
    wide = np.insert(X, [0, 10, 30], [5.0, 0.1, 0.0], axis=1)
    options = {"solver": solver, "standardize": standardize}
    model, without = fit(wide, Y, **options), fit(X, Y, **options)
    constant = [0, 11, 32]
    np.testing.assert_allclose(model.coef_[constant], 0, atol=1e-12)
    rest = np.delete(model.coef_, constant, axis=0)
    np.testing.assert_allclose(rest, without.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(model.alphas_, without.alphas_)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("cv", [4, "loo", "gcv"])
@pytest.mark.parametrize("selection", ["per-target", "shared", "conservative"])
def test_batches_of_targets_change_nothing(solver, cv, selection):
    if selection == "conservative" and cv != 4:
        return
    X, Y = make_data(v=23)
    options = {"solver": solver, "cv": cv, "selection": selection}
    whole = fit(X, Y, **options)
    for size in (1, 5, 22, 23, 1000):
        assert_same(fit(X, Y, n_targets_batch=size, **options), whole, new_rows())


# ---------------------------------------------------------------------- wrong options


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"alphas": []}, ValueError, "`alphas` must be one or more"),
        ({"alphas": [1.0, 0.0]}, ValueError, "above 0; got 0.0"),
        ({"alphas": [-1.0]}, ValueError, "above 0; got -1.0"),
        ({"alphas": [np.nan]}, ValueError, "finite and above 0; got nan"),
        ({"alphas": [[1.0]]}, ValueError, "`alphas` must be one or more"),
        ({"scoring": "rmse"}, ValueError, "`scoring` must be one of"),
        ({"selection": "best"}, ValueError, "`selection` must be one of"),
        ({"search": "half"}, ValueError, "`search` must be one of"),
        ({"solver": "svd"}, ValueError, "`solver` must be one of"),
        ({"nan": "ignore"}, ValueError, "`nan` must be one of"),
        ({"cv": "kfold"}, ValueError, "`cv` must be one of"),
        ({"cv": 1}, ValueError, "`cv` must be 2"),
        ({"cv": "gcv", "scoring": "r2"}, ValueError, "use cv=5 or 'loo'"),
        ({"cv": "loo", "selection": "conservative"}, ValueError, "number of folds"),
        ({"selection": "shared", "search": "window"}, ValueError, "search='full'"),
        ({"dtype": "float16"}, ValueError, "`dtype` must be one of"),
        ({"device": "abacus"}, ValueError, "`device`"),
        ({"device": "mps"}, ValueError, "`device`"),
        ({"n_targets_batch": 0}, ValueError, "`n_targets_batch`"),
        ({"n_targets_batch": 2.5}, ValueError, "`n_targets_batch`"),
        ({"n_targets_batch": "all"}, ValueError, "`n_targets_batch`"),
        ({"group_leakage": "warn"}, ValueError, "`group_leakage` must be one of"),
    ],
)
def test_wrong_options_are_refused_by_name(options, error, words):
    X, Y = make_data()
    with pytest.raises(error, match=words):
        RidgeCV(**{"device": "cpu", **options}).fit(X, Y)


class Unread:
    """Features that cannot be read."""

    shape, dtype = (40, 30), np.dtype("f8")

    def __getitem__(self, at):
        pytest.fail("features were read before options were checked")


@pytest.mark.parametrize("name", ["cv", "dtype", "device", "nan", "n_targets_batch"])
def test_options_are_checked_before_features_are_read(name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        fit(Unread(), make_data()[1], **{name: "other"})


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_undefined_features_are_refused_in_fit_and_predict(solver, intercept, bad):
    X, Y = make_data()
    options = {"solver": solver, "fit_intercept": intercept}
    model = fit(X, Y, **options)
    broken = X.copy()
    broken[2, 5] = broken[8, 7] = bad
    words = "2 values that are NaN or infinite .* column 5"
    for features in (broken, torch.from_numpy(broken), [broken[:, :3], broken[:, 3:]]):
        with pytest.raises(ValueError, match=words):
            fit(features, Y, **options)
        with pytest.raises(ValueError, match=words):
            model.predict(features)


def test_shapes_that_do_not_fit_are_refused(tmp_path):
    X, Y = make_data()
    model = fit(X, Y)
    for features in (X[:, :29], torch.from_numpy(X[:, :29]), [X, X[:, :1]]):
        with pytest.raises(ValueError, match=r"X has (29|31) features, but RidgeCV is"):
            model.predict(features)
    with pytest.raises(ValueError, match="parts of `X` must have one number"):
        fit([X, X[:-1]], Y)
    with pytest.raises(ValueError, match="40 rows but `Y` has 39"):
        fit(X, Y[:-1])
    with pytest.raises(ValueError, match="40 rows but `Y` has 39"):
        model.score(X, Y[:-1])
    for wrong in (np.zeros((40, 2, 2)), torch.zeros(40, 2, 2), np.zeros((40, 0))):
        with pytest.raises(ValueError, match=r"`Y` must have shape|dim 3|0 feature"):
            fit(X, wrong)
    with pytest.raises(ValueError, match="target y is None"):
        fit(X, None)
    with pytest.raises(ValueError, match=r"`X` must have shape \(n_samples, n_feat"):
        fit(torch.zeros(40, 2, 2), Y)
    with pytest.raises(ValueError, match=r"For one target use Y\[:, None\]"):
        fold_scores(X, Y[:, 0], ALPHAS)
    with pytest.raises(ValueError, match=r"one per target \(6\); got 2"):
        solve_ridge(X, Y, [1.0, 2.0])
    with pytest.raises(ValueError, match="one entry per sample"):
        fit(X, Y, groups=np.arange(39))


def test_dual_coefficients_belong_to_the_dual_solver():
    X, Y = make_data()
    model = fit(X, Y, solver="primal")
    with pytest.raises(AttributeError, match="solver='dual'"):
        _ = model.dual_coef_
    dual = fit(X, Y, solver="dual")
    centred = X - X.mean(0)
    np.testing.assert_allclose(centred.T @ dual.dual_coef_, model.coef_, rtol=1e-9)


# ---------------------------------------------------------------------------- groups


@pytest.mark.parametrize("cv", ["loo", "gcv"])
def test_groups_of_several_rows_cannot_be_left_out_row_by_row(cv):
    X, Y = make_data()
    groups = np.arange(40) // 2
    with pytest.raises(ValueError, match="Group 0 has rows in fold 0 and in fold 1"):
        fit(X, Y, groups, cv=cv)
    allowed = fit(X, Y, groups, cv=cv, group_leakage="allow")
    np.testing.assert_array_equal(allowed.alphas_, fit(X, Y, cv=cv).alphas_)
    assert_same(fit(X, Y, np.arange(40), cv=cv), allowed, new_rows())


def test_explicit_folds_that_split_a_group_are_refused():
    X, Y = make_data()
    groups = np.arange(40) // 2
    folds = [np.arange(0, 21), np.arange(21, 40)]
    with pytest.raises(ValueError, match="Group 10 has rows in fold 0 and in fold 1"):
        fit(X, Y, groups, cv=folds)
    allowed = fit(X, Y, groups, cv=folds, group_leakage="allow")
    assert_same(allowed, fit(X, Y, cv=folds), new_rows())


@pytest.mark.parametrize("solver", SOLVERS)
def test_scores_of_remembered_images_are_lower_when_groups_stay_together(solver):
    rng = generator(4, "repeats")
    images = rng.standard_normal((20, 60))
    X = np.repeat(images, 3, 0)
    # Features tell nothing but which image it is.
    Y = np.repeat(rng.standard_normal((20, 30)), 3, 0) + 0.3 * (
        rng.standard_normal((60, 30))
    )
    order = rng.permutation(60)
    X, Y, groups = X[order], Y[order], np.repeat(np.arange(20), 3)[order]
    apart = fit(X, Y, groups, scoring="r2", solver=solver)
    leaky = fit(X, Y, scoring="r2", solver=solver)
    assert apart.cv_scores_.mean() < 0 < 0.5 < leaky.cv_scores_.mean()


# ------------------------------------------------------------------------ properties


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("intercept", [True, False])
def test_averaging_repeats_equals_dividing_alpha_by_their_number(solver, intercept):
    X, Y = make_data()
    rng = generator(5, "repeats")
    trials = Y[:, None] + rng.standard_normal((40, 3, 6))
    options = {"fit_intercept": intercept, "solver": solver, "device": "cpu"}
    single = np.repeat(X, 3, 0), trials.reshape(120, 6)
    average = X, trials.mean(1)
    alphas = np.geomspace(1, 100, 6)
    for ours, theirs in zip(
        solve_ridge(*single, 3 * alphas, **options),
        solve_ridge(*average, alphas, **options),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
    groups = np.repeat(np.arange(40), 3)
    one = RidgeCV(3 * alphas, **options).fit(*single, groups)
    other = RidgeCV(alphas, **options).fit(*average)
    np.testing.assert_allclose(one.alphas_, 3 * other.alphas_)
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scoring", ["mse", "r2", "correlation"])
def test_order_of_rows_within_folds_does_not_matter(solver, scoring):
    X, Y = make_data()
    rng = generator(6, "order")
    order = np.concatenate(
        [rng.permutation(np.arange(k, k + 10)) for k in (0, 10, 20, 30)]
    )
    options = {"cv": 4, "scoring": scoring, "solver": solver}
    plain, mixed = fit(X, Y, **options), fit(X[order], Y[order], **options)
    assert_same(mixed, plain, new_rows(), rtol=1e-8)
    if solver == "dual":
        back = np.empty_like(plain.dual_coef_)
        back[order] = mixed.dual_coef_
        np.testing.assert_allclose(back, plain.dual_coef_, rtol=1e-7)
    shuffled = rng.permutation(40)
    number = np.repeat(np.arange(4), 10)
    options["cv"] = number[shuffled]
    assert_same(fit(X[shuffled], Y[shuffled], **options), plain, new_rows(), rtol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("cv", [4, "loo", "gcv"])
def test_units_of_features_and_targets_do_not_matter(solver, cv):
    X, Y = make_data()
    options = {"cv": cv, "solver": solver, "device": "cpu"}
    plain = RidgeCV(ALPHAS, **options).fit(X, Y)
    scaled = RidgeCV(64 * np.array(ALPHAS), **options).fit(8 * X, Y)
    np.testing.assert_allclose(scaled.alphas_, 64 * plain.alphas_)
    np.testing.assert_allclose(8 * scaled.coef_, plain.coef_, rtol=1e-9)
    larger = RidgeCV(ALPHAS, **options).fit(X, 3 * Y - 7)
    np.testing.assert_array_equal(larger.alphas_, plain.alphas_)
    expected = 3 * plain.predict(new_rows()) - 7
    np.testing.assert_allclose(larger.predict(new_rows()), expected, rtol=1e-9)
    moved = RidgeCV(ALPHAS, **options).fit(X + 5, Y)
    np.testing.assert_allclose(moved.coef_, plain.coef_, rtol=1e-7, atol=1e-10)
    turn = np.linalg.qr(generator(7, "turn").standard_normal((30, 30)))[0]
    turned = RidgeCV(ALPHAS, **options).fit(X @ turn, Y)
    np.testing.assert_allclose(
        turned.predict(new_rows() @ turn), plain.predict(new_rows()), rtol=1e-8
    )


def test_targets_do_not_influence_each_other():
    X, Y = make_data(v=6)
    whole = fit(X, Y)
    for i in range(6):
        alone = fit(X, Y[:, i])
        assert alone.alphas_ == whole.alphas_[i]
        np.testing.assert_allclose(alone.coef_, whole.coef_[:, i], rtol=1e-9)


def test_fitting_again_and_cloning_give_the_same_and_leave_inputs_alone():
    X, Y = make_data()
    before = X.copy(), Y.copy()
    model = fit(X, Y, search="window")
    first = model.coef_
    np.testing.assert_array_equal(model.fit(X, Y).coef_, first)
    np.testing.assert_array_equal(clone(model).fit(X, Y).coef_, first)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(Y, before[1])
    other = model.fit(X, Y[:, :2])
    assert other.coef_.shape == (30, 2)


def test_true_weights_are_recovered_and_more_noise_takes_larger_alphas():
    rng = generator(8, "recovery")
    X = rng.standard_normal((500, 20))
    weights = rng.standard_normal((20, 40))
    chosen = []
    for noise in (0.01, 3.0, 30.0):
        Y = X @ weights + 2 + noise * rng.standard_normal((500, 40))
        model = RidgeCV(np.geomspace(1e-3, 1e4, 22), device="cpu").fit(X, Y)
        chosen.append(np.log(model.alphas_).mean())
        if noise == 0.01:
            np.testing.assert_allclose(model.coef_, weights, atol=0.01)
            np.testing.assert_allclose(model.intercept_, 2, atol=0.01)
        # The best penalty is the variance of noise over that of weights.
        if noise == 3.0:
            assert abs(chosen[-1] - np.log(noise**2)) < 1
    assert chosen == sorted(chosen)
