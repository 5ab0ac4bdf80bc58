"""Encoding models, ceilings and scores against reference numbers (see the README).

Tolerance: relative 1e-8 + absolute 1e-10, where no other stands.
"""

import numpy as np
import pytest

from analysis.ceilings import estimate_ncsnr
from analysis.metrics import algonauts_score, challenge_score, pearson_r
from neurovis.core.noise_ceiling import explainable_fraction
from neurovis.fitting.ridge import (
    RidgeCV,
    fold_scores,
    gcv_errors,
    loo_residuals,
    solve_ridge,
)

FAMILY = "encoding"
# Files by how their names begin; a held-back set may number them.
KINDS = {
    "noise_ceiling": "check_noise_ceiling",
    "algonauts_metric": "check_algonauts",
    "ridge_loo_gcv": "check_ridge_loo",
    "ridge_tall": "check_ridge",
    "ridge_wide": "check_ridge",
    "ridge_score_": "check_ridge",
    "ridge_shared_alpha": "check_ridge",
    "ridge_conservative_alpha": "check_ridge",
}
# Solvers and readouts of encoding models, which the suite does not have yet.
PLANNED = ("ridge_banded", "fracridge_", "tbe_", "readout_")


def find_cases(folder):
    """List (id, checker, arguments) for everything in the family folder."""
    cases = []
    for path in sorted(folder.iterdir()):
        if path.name == "README.md":
            continue
        kind = next((k for k in KINDS if path.name.startswith(k)), None)
        checker = check_unknown
        if path.suffix == ".npz" and kind is not None:
            checker = globals()[KINDS[kind]]
        elif path.suffix == ".npz" and path.name.startswith(PLANNED):
            checker = check_planned
        cases.append((path.name, checker, (path,)))
    return cases


def check_unknown(path):
    pytest.fail(f"{path} is not of the form that the README describes")


def check_planned(path):
    pytest.skip(f"{path.name}: encoding models are not supported yet")


def test_golden_file(golden_case):
    _, checker, arguments = golden_case
    checker(*arguments)


def close(ours, theirs, name):
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10, err_msg=name)


def _read(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def check_noise_ceiling(path):
    content = _read(path)
    estimate = estimate_ncsnr(content.pop("betas"))
    close(estimate.noise_sd, content.pop("noise_sd"), "noise_sd")
    close(estimate.total_variance, content.pop("total_var"), "total_var")
    close(estimate.ncsnr, content.pop("ncsnr"), "ncsnr")
    three = estimate.ceiling([3])
    close(100 * three, content.pop("nc3_percent"), "nc3_percent")
    counts, expected = content.pop("repeat_counts_3_2_1"), content.pop("nc_fraction")
    assert len(counts) == len(expected)
    for row, theirs in zip(counts, expected, strict=True):
        n_repeats = np.repeat([3, 2, 1], row)
        close(explainable_fraction(estimate.ncsnr, n_repeats), theirs, f"{row}")
        close(estimate.ceiling(n_repeats), theirs, f"{row}")
    assert not content, f"not compared: {sorted(content)}"


def check_algonauts(path):
    content = _read(path)
    scores = []
    for side in ("lh", "rh"):
        measured, predicted, ceiling = (
            content.pop(f"{side}_{name}") for name in ("test", "pred", "noise_ceiling")
        )
        r = np.nan_to_num(pearson_r(measured, predicted))
        close(r, np.nan_to_num(content.pop(f"{side}_corr")), f"{side}_corr")
        scores.append(algonauts_score(measured, predicted, ceiling))
        theirs = content.pop(f"{side}_noise_normalised")
        close(scores[-1], theirs, f"{side}_noise_normalised")
    both = challenge_score(scores)
    close(both.median, content.pop("score_median"), "score_median")
    close(both.mean, content.pop("score_mean"), "score_mean")
    assert not content, f"not compared: {sorted(content)}"


def _options(name):
    """Return what the name of a file says about score and selection."""
    words = {
        "score_r2": {"scoring": "r2"},
        "score_corr": {"scoring": "correlation"},
        "shared_alpha": {"selection": "shared"},
        "conservative_alpha": {"selection": "conservative"},
    }
    return next((options for word, options in words.items() if word in name), {})


def check_ridge(path):
    content = _read(path)
    X, Y, X_test, Y_test = (content.pop(k) for k in ("X", "Y", "X_test", "Y_test"))
    alphas, n_folds = content.pop("alphas"), int(content.pop("n_folds"))
    intercept = bool(content.pop("fit_intercept"))
    options = _options(path.name)
    scoring = options.get("scoring", "mse")
    common = {"cv": n_folds, "fit_intercept": intercept, "device": "cpu"}
    expected = content.pop("fold_scores")
    reference = {name: content.pop(name) for name in list(content)}
    for solver in ("dual", "primal"):
        scores = fold_scores(X, Y, alphas, scoring=scoring, solver=solver, **common)
        np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=1e-9)
        model = RidgeCV(alphas, solver=solver, **common, **options).fit(X, Y)
        _compare_ridge(model, X_test, Y_test, reference)
        if "selection" in options:
            continue
        model.set_params(search="window").fit(X, Y)
        if scoring == "correlation":  # of a target that is noise: several maxima
            _check_local_maxima(model, alphas, expected.mean(0))
        else:
            _compare_ridge(model, X_test, Y_test, reference)


def _check_local_maxima(model, alphas, mean):
    chosen = np.abs(np.log(alphas[:, None] / model.alphas_)).argmin(0)
    columns = np.arange(mean.shape[1])
    close(
        model.cv_scores_ - 1e-10 * np.log(model.alphas_), mean[chosen, columns], "mean"
    )
    for step in (-1, 1):
        beside = mean[np.clip(chosen + step, 0, len(alphas) - 1), columns]
        assert (mean[chosen, columns] >= beside).all()
    assert (chosen == mean.argmax(0)).sum() >= mean.shape[1] - 1


def _compare_ridge(model, X_test, Y_test, reference):
    left = dict(reference)
    for prefix in ("", "kernel_"):
        alphas = left.pop(f"{prefix}best_alphas")
        np.testing.assert_allclose(model.alphas_, alphas, rtol=1e-6)
        theirs = left.pop(f"{prefix}cv_scores")
        np.testing.assert_allclose(model.cv_scores_, theirs, rtol=1e-8, atol=1e-9)
        close(model.predict(X_test), left.pop(f"{prefix}pred_test"), "pred_test")
    close(model.coef_, left.pop("coef"), "coef")
    if model.fit_intercept:
        close(model.intercept_, left.pop("intercept"), "intercept")
    dual = left.pop("dual_coef")
    if model.solver_ == "dual":
        close(model.dual_coef_, dual, "dual_coef")
    close(model.score(X_test, Y_test), left.pop("r2_test"), "r2_test")
    predicted = model.predict(X_test)
    close(pearson_r(Y_test, predicted), left.pop("corr_test"), "corr_test")
    assert not left, f"not compared: {sorted(left)}"


def check_ridge_loo(path):
    content = _read(path)
    X, Y, X_test, alphas = (content.pop(k) for k in ("X", "Y", "X_test", "alphas"))
    residuals, gcv = content.pop("loo_residuals"), content.pop("gcv")
    reference = {name: content.pop(name) for name in list(content)}
    for solver in ("dual", "primal"):
        options = {"solver": solver, "device": "cpu"}
        close(loo_residuals(X, Y, alphas, **options), residuals, "loo_residuals")
        close(gcv_errors(X, Y, alphas, **options), gcv, "gcv")
        left = dict(reference)
        by_gcv = RidgeCV(alphas, cv="gcv", **options).fit(X, Y)
        np.testing.assert_allclose(by_gcv.alphas_, left.pop("best_alphas_gcv"), 1e-6)
        for search in ("full", "window"):
            model = RidgeCV(alphas, cv="loo", search=search, **options).fit(X, Y)
            theirs = reference["best_alphas_loo"]
            np.testing.assert_allclose(model.alphas_, theirs, 1e-6)
            close(model.predict(X_test), reference["pred_test_loo"], "pred_test_loo")
            close(model.coef_, reference["coef_loo"], "coef_loo")
            close(model.intercept_, reference["intercept_loo"], "intercept_loo")
        weights, constant = solve_ridge(X, Y, reference["best_alphas_loo"], **options)
        close(weights, left.pop("coef_loo"), "coef_loo")
        close(constant, left.pop("intercept_loo"), "intercept_loo")
        del left["best_alphas_loo"], left["pred_test_loo"]  # compared above
        assert not left, f"not compared: {sorted(left)}"
