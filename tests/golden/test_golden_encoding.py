"""Encoding models, ceilings and scores against reference numbers (see the README).

Tolerance: relative 1e-8 + absolute 1e-10, where no other stands.
"""

import numpy as np
import pytest
import torch

from analysis.ceilings import estimate_ncsnr
from analysis.encoder_ensembles import combine_predictions, layer_weights
from analysis.metrics import algonauts_score, challenge_score, pearson_r
from neurovis.adapters.brain_encoder import load_published_state
from neurovis.adapters.unit_queries import UnitQueries, queries_from_masks
from neurovis.core.noise_ceiling import explainable_fraction
from neurovis.fitting.banded import BandedRidgeCV
from neurovis.fitting.banded_spaces import draw_gammas
from neurovis.fitting.fractional_ridge import FractionalRidge, fractional_ridge
from neurovis.fitting.fwrf import FwRF, candidate_grid, gaussian_pools
from neurovis.fitting.readouts import FactorisedReadout, GaussianReadout
from neurovis.fitting.ridge import (
    RidgeCV,
    fold_scores,
    gcv_errors,
    loo_residuals,
    solve_ridge,
)
from neurovis.fitting.semantic_readout import SemanticSpatialReadout

FAMILY = "encoding"
# Files by how their names begin; a held-back set may number them.
KINDS = {
    "noise_ceiling": "check_noise_ceiling",
    "algonauts_metric": "check_algonauts",
    "ridge_loo_gcv": "check_ridge_loo",
    "ridge_banded": "check_banded",
    "fracridge_": "check_fracridge",
    "ridge_tall": "check_ridge",
    "ridge_wide": "check_ridge",
    "ridge_score_": "check_ridge",
    "ridge_shared_alpha": "check_ridge",
    "ridge_conservative_alpha": "check_ridge",
    "readout_fwrf": "check_fwrf",
    "readout_gaussian_": "check_gaussian_readout",
    "readout_factorised_": "check_factorised_readout",
    "readout_semantic_spatial": "check_semantic_readout",
    "tbe_ensemble": "check_encoder_ensemble",
    "tbe_": "check_brain_encoder",
}


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
        cases.append((path.name, checker, (path,)))
    return cases


def check_unknown(path):
    pytest.fail(f"{path} is not of the form that the README describes")


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


def _single(ours, theirs, name):
    """Compare with numbers that were computed in float32."""
    if isinstance(ours, torch.Tensor):
        ours = ours.detach().numpy()
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5, err_msg=name)


def check_fwrf(path):
    content = _read(path)
    grid = candidate_grid()
    _single(grid, content.pop(f"grid_{len(grid)}"), "grid")
    pools = content.pop("pool_params")
    for name in [name for name in content if name.startswith("pool_")]:
        size = int(name.removeprefix("pool_"))
        _single(gaussian_pools(size, pools), content.pop(name), name)
    data, voxels = content.pop("data"), content.pop("voxels")
    side = data.shape[-1] // 2
    halves = data[:, 3:].reshape(len(data), -1, side, 2, side, 2).mean((3, 5))
    candidates = content.pop("candidates")
    lambdas = content.pop("lambdas").astype(np.float64)
    options = {"holdout": int(content.pop("holdout_size")), "device": "cpu"}
    for dtype in ("float64", "float32"):
        model = FwRF(candidates, lambdas, dtype=dtype, **options)
        model.fit([data[:, :3], halves], voxels)
        left = dict(content)
        np.testing.assert_array_equal(model.pools_, left.pop("best_models"))
        best = lambdas[left.pop("best_lambda_index")]
        np.testing.assert_array_equal(model.alphas_, best)
        _single(model.losses_, left.pop("best_losses"), "losses")
        _single(model.coef_.T, left.pop("weights"), "weights")
        _single(model.intercept_, left.pop("bias"), "bias")
        _single(model.feature_mean_.T, left.pop("feature_mean"), "feature_mean")
        _single(model.feature_scale_.T, left.pop("feature_std"), "feature_std")
        assert not left, f"not compared: {sorted(left)}"


def _readout_content(path):
    return {name: torch.from_numpy(np.array(v)) for name, v in _read(path).items()}


def check_gaussian_readout(path):
    content = _readout_content(path)
    maps, sigma = content.pop("x"), content.pop("sigma")[0]
    kinds = {(2, 2): "full", (1, 2): "uncorrelated", (1, 1): "isotropic"}
    covariance = kinds[tuple(sigma.shape[1:])]
    readout = GaussianReadout(maps.shape[1:], len(sigma), covariance=covariance)
    state = {
        "_mu": content.pop("mu")[0, :, 0],
        "sigma": sigma.reshape(readout.sigma.shape),
        "features": content.pop("features")[0, :, 0].T,
        "bias": content.pop("bias"),
    }
    readout.load_state_dict(state)
    _single(readout.eval()(maps), content.pop("y_eval"), "y_eval")
    noise = content.pop("noise")[:, :, 0]
    grid = readout.locations(len(maps), noise=noise)
    _single(grid, content.pop("grid_sampled")[:, :, 0], "grid_sampled")
    _single(readout.train()(maps, noise=noise), content.pop("y_sampled"), "y_sampled")
    _single(readout.regulariser(), content.pop("feature_l1"), "feature_l1")
    assert not content, f"not compared: {sorted(content)}"


def check_factorised_readout(path):
    content = _readout_content(path)
    maps, expected, masks = (content.pop(k) for k in ("x", "y", "normalized_spatial"))
    state = {name: content.pop(name) for name in ("spatial", "features", "bias")}
    for l1, name in {
        "intended": "l1_elementwise_sum",
        "published": "l1_repo_value",
    }.items():
        readout = FactorisedReadout(maps.shape[1:], len(masks), l1=l1)
        readout.load_state_dict(state)
        _single(readout(maps), expected, "y")
        _single(readout.masks(), masks, "normalized_spatial")
        _single(readout.regulariser(), content.pop(name), name)
    assert not content, f"not compared: {sorted(content)}"


def check_encoder_ensemble(path):
    content = _read(path)
    r, predictions = content.pop("val_corr"), content.pop("pred")
    rules = {"ensemble_mean_runs": "mean", "wrapper_sum_over_runs": "published"}
    for name in list(content):
        kind, _, temperature = name.rpartition("_temp")
        theirs, options = content.pop(name), {"temperature": float(temperature)}
        if kind == "weights":
            ours = layer_weights(r, **options)
        else:
            ours = combine_predictions(predictions, r, weighting=rules[kind], **options)
        close(ours, theirs, name)
    assert not content, f"not compared: {sorted(content)}"


def check_semantic_readout(path):
    content = _readout_content(path)
    maps, context = content.pop("x"), content.pop("loc_features")
    state = {name: content.pop(name) for name in ("features", "bias")}
    state["spatial"] = content.pop("spatial_after_clamp")
    for ours, theirs in {"mask_warp": "fc_loc", "channel_warp": "fc_enc"}.items():
        for layer in (0, 2):
            state[f"{ours}.{layer}.weight"] = content.pop(f"{theirs}_w{layer}")
            state[f"{ours}.{layer}.bias"] = content.pop(f"{theirs}_b{layer}")
    readout = SemanticSpatialReadout(
        maps.shape[1:],
        len(state["bias"]),
        context_shape=context.shape[1:],
        n_context=None,
        hidden=len(state["mask_warp.0.bias"]),
    )
    readout.load_state_dict(state)
    for head, name in {"mask_warp": "spatial", "channel_warp": "features"}.items():
        thetas = getattr(readout, head)(context.flatten(1))
        theirs = content.pop(f"theta_{name}")
        _single(thetas.reshape(theirs.shape), theirs, f"theta_{name}")
    warped = content.pop("warped_spatial_masks")
    _single(readout.warped_masks(context), warped, "warped_spatial_masks")
    _single(readout(maps, context), content.pop("y"), "y")
    assert not content, f"not compared: {sorted(content)}"


def check_banded(path):
    content = _read(path)
    names = sorted((k for k in content if k[0] == "X" and k[1:].isdigit()), key=_number)
    Xs, Y = [content.pop(name) for name in names], content.pop("Y")
    n_train, alphas = int(content.pop("n_train")), content.pop("alphas")
    gammas, seed = content.pop("gammas"), content.pop("dirichlet_seed", None)
    choices = [{"gammas": gammas}]
    if seed is not None:
        drawn = draw_gammas(len(gammas), len(Xs), int(seed))
        np.testing.assert_array_equal(drawn, gammas)
        choices.append({"n_iter": len(gammas), "seed": int(seed)})
    intercept = bool(content.pop("fit_intercept", False))
    common = {"cv": int(content.pop("n_folds", 5)), "fit_intercept": intercept}
    train, test = ([X[rows] for X in Xs] for rows in (np.s_[:n_train], np.s_[n_train:]))
    for solver in ("dual", "primal"):
        for choice in choices:
            model = BandedRidgeCV(
                alphas, solver=solver, device="cpu", **common, **choice
            ).fit(train, Y[:n_train])
            _compare_banded(model, test, content)


def _number(name):
    return int(name[1:])


def _compare_banded(model, X_test, reference):
    left = dict(reference)
    close(model.deltas_, left.pop("deltas"), "deltas")
    close(model.deltas_, left.pop("kernel_deltas"), "kernel_deltas")
    close(np.concatenate(model.coef_), left.pop("coef"), "coef")
    scores = left.pop("cv_scores_per_iter")
    np.testing.assert_allclose(model.cv_scores_per_iter_, scores, rtol=1e-8, atol=1e-9)
    predicted = left.pop("pred_test")
    close(model.predict(X_test), predicted, "pred_test")
    shares = model.predict(X_test, split=True)
    if model.fit_intercept:
        close(model.intercept_, left.pop("intercept"), "intercept")
    else:
        close(shares.sum(0), predicted, "sum of shares")
    dual = left.pop("kernel_dual")
    if model.solver_ == "dual":
        close(model.dual_coef_, dual, "kernel_dual")
    assert not left, f"not compared: {sorted(left)}"


def check_fracridge(path):
    content = _read(path)
    X, Y, fracs = (content.pop(name) for name in ("X", "Y", "fracs"))
    coef, alphas = content.pop("coef"), content.pop("alphas")
    options = {"fit_intercept": False, "device": "cpu"}
    found = fractional_ridge(X, Y, fracs, **options)
    close(found.coef, coef, "coef")
    close(found.alphas, alphas, "alphas")
    model = FractionalRidge(fracs, n_targets_batch=2, **options).fit(X, Y)
    close(model.coef_, coef, "coef")
    close(model.predict(X), np.tensordot(X, coef, 1), "predictions")
    exact = fractional_ridge(X, Y, fracs, method="exact", **options)
    lengths = np.linalg.norm(exact.coef, axis=0)
    unpenalised = np.linalg.norm(np.linalg.pinv(X) @ Y, axis=0)
    np.testing.assert_allclose(lengths / unpenalised, fracs[:, None] + 0 * lengths)
    assert not content, f"not compared: {sorted(content)}"


def check_brain_encoder(path):
    content = _readout_content(path)
    state = {
        name.removeprefix("param."): content.pop(name)
        for name in list(content)
        if name.startswith("param.")
    }
    maps, positions = content.pop("features"), content.pop("pos_embed")
    n = {side: len(state[f"{side}_embed.0.bias"]) for side in ("lh", "rh")}
    n_queries = len(state["query_embed.weight"])
    raw = {side: content.pop(f"out_{side}_f_pred") for side in n}
    masks = {s: content.pop(f"{s}_roi_masks", None) for s in n}
    if masks["lh"] is not None:
        queries = queries_from_masks({s: mask.numpy() for s, mask in masks.items()})
    elif n_queries == sum(n.values()):
        queries = UnitQueries(tuple(map(str, range(n_queries))), n_queries)
    else:
        sides = {s: np.ones((1, size), bool) for s, size in n.items()}
        queries = queries_from_masks(sides)
    assert queries.n_queries == n_queries
    encoder = load_published_state(
        state,
        tuple(maps.shape[1:]),
        queries,
        n_heads=4,
        norm_first="postnorm" not in path.name,
    )
    codes = encoder.positions.T.reshape(1, -1, *maps.shape[2:])
    _single(codes.expand_as(positions), positions, "pos_embed")
    tokens = encoder.tokens(maps)
    _single(tokens, content.pop("out_output_tokens"), "out_output_tokens")
    # What the public code holds on its way: every unit from every query.
    weight, bias = (state[f"lh_embed.0.{k}"] for k in ("weight", "bias"))
    if masks["lh"] is not None:
        literal = tokens[:, : n_queries // 2] @ weight.T + bias
        _single(literal.transpose(1, 2), raw["lh"], "out_lh_f_pred")
    predicted = encoder(maps)
    found = dict(zip(n, predicted.split([*n.values()], dim=1), strict=True))
    loss = 0.0
    for side, values in found.items():
        theirs = content.pop(f"{side}_pred")
        _single(values, theirs, f"{side}_pred")
        if masks[side] is None:
            _single(values, raw[side], f"out_{side}_f_pred")
        loss += (values - content.pop(f"{side}_target")).square().mean()
    _single(loss, content.pop("loss"), "loss")
    attention = encoder.attention(maps).flatten(-2)
    _single(attention, content.pop("cross_attention"), "cross_attention")
    if "encoder_self_attention" in content:
        theirs = content.pop("encoder_self_attention")
        _single(encoder.patch_attention(maps), theirs, "encoder_self_attention")
    assert not content, f"not compared: {sorted(content)}"
