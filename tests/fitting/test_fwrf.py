"""Receptive fields against plain loops, on simulated brains, and when things fail."""

import math
import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.integrate import dblquad
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from neurovis.core.rng import generator
from neurovis.fitting.fwrf import ALPHAS, FwRF, candidate_grid, gaussian_pools
from neurovis.fitting.fwrf_solve import HeldOut, make_design, ridge_weights
from neurovis.fitting.ridge_folds import grouped_folds, sort_by_fold

CPU = {"device": "cpu"}
ALPHA_GRID = (100.0, 0.1, 5.0)  # not sorted: the order decides ties only
POOLS = np.array(
    [[0.1, -0.2, 0.1], [-0.3, 0.2, 0.05], [0.0, 0.0, 0.3], [0.4, 0.4, 0.2]]
)

# Computed once; the same from a plain loop.
FROZEN = {
    "losses": [1.3000331976, 0.9487681631],
    "pools": [[0.2357142857, 0.2357142857, 0.1], [-0.2357142857, 0.55, 0.1]],
    "coef": [[0.5138770138, 0.0331229967], [-0.038328057, 0.6186184312]],
    "intercept": [0.1216744218, -0.0152886131],
}


def make_maps(n, sizes=((3, 8), (2, 4)), seed=0, blur=0.8):
    """Smooth random maps with a mean, (n_maps, side) for each resolution."""
    out = []
    for k, (n_maps, side) in enumerate(sizes):
        noise = generator(seed, "maps", k).standard_normal((n, n_maps, side, side))
        out.append(ndimage.gaussian_filter(noise, (0, 0, blur, blur)) + 0.5)
    return out


def make_targets(maps, pools, noise=0.1, seed=0):
    rng = generator(seed, "targets")
    x = np.concatenate([pooled(maps, pool) for pool in pools], 1)
    x = x.reshape(len(x), len(pools), -1)
    x = (x - x.mean(0)) / x.std(0)
    w = rng.standard_normal(x.shape[1:])
    signal = np.einsum("nvk,vk->nv", x, w)
    return signal + noise * signal.std(0) * rng.standard_normal(signal.shape) + 0.3


def pooled(maps, pool, activation=None):
    """Features of one pool, by loops over pixels."""
    columns = []
    for part in maps:
        side = part.shape[-1]
        weights = plain_pool(side, *pool)
        columns += [(part[:, k] * weights).sum((1, 2)) for k in range(part.shape[1])]
    x = np.column_stack(columns)
    return x if activation is None else activation(x)


def plain_pool(side, x, y, sigma, aperture=1.0):
    pixel = aperture / side
    out = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            dx = -aperture / 2 + pixel * (j + 0.5) - x
            dy = aperture / 2 - pixel * (i + 0.5) - y
            if sigma >= pixel:
                out[i, j] = math.exp(-(dx**2 + dy**2) / (2 * sigma**2))
                out[i, j] *= pixel**2 / (2 * math.pi * sigma**2)
            elif sigma > 0:
                ends = [
                    math.erf((d + e * pixel / 2) / (math.sqrt(2) * sigma))
                    for d in (dx, dy)
                    for e in (1, -1)
                ]
                out[i, j] = (ends[0] - ends[1]) * (ends[2] - ends[3]) / 4
    return out


def plain_features(maps, pool, zscore=True, activation=None):
    x = pooled(maps, pool, activation)
    mean, scale = x.mean(0), x.std(0) + 1e-6
    return ((x - mean) / scale, mean, scale) if zscore else (x, 0 * mean, 1 + 0 * mean)


def plain_ridge(x, y, alpha, bias):
    """Weights and constants by one system of equations."""
    if bias == "none":
        weights = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ y)
        return weights, np.zeros(y.shape[1])
    x = np.column_stack([x, np.ones(len(x))])
    penalty = alpha * np.eye(x.shape[1])
    if bias == "free":
        penalty[-1, -1] = 0
    weights = np.linalg.solve(x.T @ x + penalty, x.T @ y)
    return weights[:-1], weights[-1]


def plain_losses(x, y, folds, alphas, bias):
    out = np.zeros((len(alphas), y.shape[1]))
    for held in folds:
        train = np.setdiff1d(np.arange(len(x)), held)
        for k, alpha in enumerate(alphas):
            weights, constant = plain_ridge(x[train], y[train], alpha, bias)
            out[k] += ((y[held] - x[held] @ weights - constant) ** 2).sum(0)
    return out


def plain_search(maps, y, pools, alphas, folds, bias="penalized", **options):
    """Best loss, pool and alpha of each target, by strict improvement."""
    best = np.full(y.shape[1], np.inf)
    pool, alpha = np.full(y.shape[1], -1), np.full(y.shape[1], np.nan)
    for k, candidate in enumerate(pools):
        x = plain_features(maps, candidate, **options)[0]
        losses = plain_losses(x, y, folds, alphas, bias)
        for j, row in enumerate(losses):
            better = row < best
            best[better], pool[better], alpha[better] = row[better], k, alphas[j]
    return best, pool, alpha


# ------------------------------------------------------------------------- pools


def test_default_candidates_are_the_published_pyramid():
    grid = candidate_grid()
    assert grid.shape == (875, 3)
    sigmas, counts = np.unique(grid[:, 2], return_counts=True)
    np.testing.assert_allclose(sigmas, 0.04 * 10 ** (np.arange(8) / 7))
    assert np.sqrt(counts).tolist() == [20, 15, 11, 8, 6, 4, 3, 2]
    np.testing.assert_allclose(
        grid[:2], [[-0.55, -0.55, 0.04], [-0.4921053, -0.55, 0.04]]
    )
    np.testing.assert_allclose(grid[-2:, :2], [[-0.55, 0.55], [0.55, 0.55]])
    assert (np.diff(grid[:400, 1]) >= 0).all()
    np.testing.assert_allclose(candidate_grid(aperture=8.4), 8.4 * grid)
    np.testing.assert_array_equal(candidate_grid(1, 5, 5), [[0, 0, 5]])


@pytest.mark.parametrize("side", [1, 5, 8])
@pytest.mark.parametrize("aperture", [1.0, 8.4])
def test_pools_equal_loops_over_pixels(side, aperture):
    pools = aperture * np.vstack(
        [POOLS, [[0.5, -0.5, 1 / side], [0, 0, 0], [0, 0, -1]]]
    )
    expected = [plain_pool(side, *pool, aperture) for pool in pools]
    found = gaussian_pools(side, pools, aperture)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    assert (found[-2:] == 0).all()


def test_narrow_pools_are_integrals_and_wide_ones_lose_what_is_outside():
    def density(y, x):
        return math.exp(-((x - 0.1) ** 2 + (y + 0.2) ** 2) / (2 * 0.09**2)) / (
            2 * math.pi * 0.09**2
        )

    mass = gaussian_pools(5, [[0.1, -0.2, 0.09]])[0]
    expected = dblquad(density, 0.1, 0.3, -0.3, -0.1)[0]  # row 3, column 3
    assert mass[3, 3] == pytest.approx(expected, rel=1e-7)
    assert mass.argmax() in (3 * 5 + 2, 3 * 5 + 3)
    inside = gaussian_pools(50, [[0.5, 0.0, 0.1]])[0]
    assert inside.sum() == pytest.approx(0.5, abs=1e-4)
    assert inside.sum(0).argmax() == 49


def test_the_first_row_of_a_pool_is_the_top():
    pool = gaussian_pools(4, [[-0.375, 0.375, 0.01]])[0]
    assert pool[0, 0] == pytest.approx(1)
    upper, lower = gaussian_pools(7, [[0.2, 0.3, 0.2], [0.2, -0.3, 0.2]])
    np.testing.assert_allclose(upper[::-1], lower, rtol=1e-12)


def test_frozen_pools_of_public_code():
    pools = [
        [0.0, 0.0, 0.1],
        [0.2, -0.15, 0.04],
        [-0.3, 0.31, 0.4],
        [0.05, 0.4, 0.01],
        [0.55, -0.55, 0.2],
    ]
    frozen = {
        13: [0.0941745266, 8.694967e-12, 0.0058847219, 0.8665169477, 0.0193601921],
        27: [0.0203847662, 0.1272684485, 0.0013636381, 0.6119385958],
        1: [0.9999988675, 1.0, 0.4421344101, 1.0, 0.1610365361],
    }
    places = {
        13: [(6, 6), (4, 9), (2, 2), (1, 7), (12, 12)],
        27: [(13, 12), (17, 18), (5, 5), (2, 14)],
        1: [(0, 0)] * 5,
    }
    for side, expected in frozen.items():
        mass = gaussian_pools(side, pools)
        found = [mass[k, i, j] for k, (i, j) in enumerate(places[side])]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_a_small_fit_has_the_frozen_numbers():
    image, plane, i, j = np.ogrid[:24, :2, :6, :6]
    maps = np.sin(0.7 * image * (1 + plane) + 0.9 * i * (image % 5) - 0.4 * j * image)
    rows = np.arange(24.0)
    y = np.column_stack([maps[:, 0, 1, 4] + 0.1 * np.cos(rows), np.sin(rows)])
    model = FwRF(candidate_grid(2, 0.1, 0.3), [0.1, 1], holdout=8, **CPU).fit(maps, y)
    np.testing.assert_allclose(model.losses_, FROZEN["losses"], rtol=1e-6)
    np.testing.assert_allclose(model.pools_, FROZEN["pools"], rtol=1e-6)
    np.testing.assert_allclose(model.coef_, FROZEN["coef"], rtol=1e-5)
    np.testing.assert_allclose(model.intercept_, FROZEN["intercept"], rtol=1e-5)


# ------------------------------------------------------------- against plain loops


@pytest.mark.parametrize("bias", ["penalized", "free", "none"])
@pytest.mark.parametrize("n_features", [3, 30, 90], ids=["short", "tall", "wide"])
@pytest.mark.parametrize("cv", ["holdout", "folds", "partial"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_losses_match_refits(bias, n_features, cv, dtype):
    rng = generator(0, "losses", n_features)
    n = 60
    x = rng.standard_normal((n, n_features)) + 0.2
    y = x[:, :2] @ rng.standard_normal((2, 4)) + rng.standard_normal((n, 4)) + 1
    folds = {
        "holdout": [np.arange(48, n)],
        "folds": np.array_split(rng.permutation(n), 4),
        "partial": [np.arange(5, 20), np.array([0, 40])],
    }[cv]
    order = sort_by_fold(folds, n)
    alphas = torch.tensor(ALPHA_GRID, dtype=torch.float64)
    features = torch.from_numpy(x[order.order]).to(dtype)
    held_out = HeldOut(make_design(features, bias), order.slices, alphas)
    found = held_out.losses(torch.from_numpy(y.T[:, order.order].copy()).to(dtype))
    expected = plain_losses(x, y, folds, ALPHA_GRID, bias)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    assert found.dtype == torch.float64


@pytest.mark.parametrize("bias", ["penalized", "free", "none"])
@pytest.mark.parametrize("n_features", [4, 40])
def test_weights_match_the_normal_equations(bias, n_features):
    rng = generator(1, "weights", n_features)
    x, y = rng.standard_normal((25, n_features)), rng.standard_normal((25, 5)) + 2
    alphas = np.array([0.5, 3.0, 0.5, 10.0, 3.0])
    design = make_design(torch.from_numpy(x), bias)
    found = ridge_weights(design, torch.from_numpy(y.T.copy()), torch.tensor(alphas))
    for k, alpha in enumerate(alphas):
        weights, constant = plain_ridge(x, y[:, k : k + 1], alpha, bias)
        expected = np.append(weights, constant if bias != "none" else [])
        np.testing.assert_allclose(found[k], expected, rtol=1e-9, atol=1e-12)


def log_tanh(x):
    return np.log(1 + np.abs(x)) * np.tanh(np.abs(x))


OPTIONS = {
    "published": {},
    "free": {"bias": "free"},
    "raw": {"zscore": False, "bias": "none"},
    "compressed": {"activation": "log-tanh"},
    "own activation": {"activation": torch.square},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("sizes", [((3, 8), (2, 4)), ((30, 5), (20, 1))])
def test_the_fit_equals_a_plain_loop(name, sizes):
    options = OPTIONS[name]
    maps = make_maps(50, sizes)
    y = make_targets(maps, POOLS[[0, 1, 2, 3, 0]])
    model = FwRF(POOLS, ALPHA_GRID, holdout=15, **options, **CPU).fit(maps, y)
    known = {"log-tanh": log_tanh, torch.square: np.square, None: None}
    zscore, bias = options.get("zscore", True), options.get("bias", "penalized")
    shared = {"zscore": zscore, "activation": known[options.get("activation")]}
    folds = [np.arange(35, 50)]
    loss, pool, alpha = plain_search(
        maps, y, POOLS, ALPHA_GRID, folds, bias=bias, **shared
    )
    np.testing.assert_allclose(model.losses_, loss, rtol=1e-8)
    np.testing.assert_array_equal(model.candidate_, pool)
    np.testing.assert_array_equal(model.alphas_, alpha)
    np.testing.assert_array_equal(model.pools_, POOLS[pool])
    new = make_maps(20, sizes, seed=5)
    for k in range(5):
        x, mean, scale = plain_features(maps, POOLS[pool[k]], **shared)
        weights, constant = plain_ridge(x[:35], y[:35, k : k + 1], alpha[k], bias)
        np.testing.assert_allclose(
            model.coef_[:, k], weights[:, 0], rtol=1e-7, atol=1e-10
        )
        np.testing.assert_allclose(model.intercept_[k], constant, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(model.feature_mean_[:, k], mean, rtol=1e-9)
        np.testing.assert_allclose(model.feature_scale_[:, k], scale, rtol=1e-9)
        raw = pooled(new, POOLS[pool[k]], shared["activation"])
        expected = ((raw - mean) / scale) @ weights[:, 0] + constant
        np.testing.assert_allclose(model.predict(new)[:, k], expected, rtol=1e-7)
    assert model.n_features_in_ == sum(n for n, _ in sizes)


def test_folds_of_groups_match_refits_and_are_fitted_to_all_rows():
    maps = make_maps(60)
    y = make_targets(maps, POOLS, noise=1)
    groups = generator(3, "groups").integers(0, 17, 60)
    model = FwRF(POOLS, ALPHA_GRID, cv=4, bias="free", **CPU).fit(maps, y, groups)
    folds = grouped_folds(groups, 4)
    loss, pool, alpha = plain_search(maps, y, POOLS, ALPHA_GRID, folds, bias="free")
    np.testing.assert_allclose(model.losses_, loss, rtol=1e-8)
    np.testing.assert_array_equal(model.candidate_, pool)
    np.testing.assert_array_equal(model.alphas_, alpha)
    for k in range(len(pool)):
        x, _, _ = plain_features(maps, POOLS[pool[k]])
        weights, constant = plain_ridge(x, y[:, k : k + 1], alpha[k], "free")
        np.testing.assert_allclose(model.coef_[:, k], weights[:, 0], rtol=1e-7)
        np.testing.assert_allclose(model.intercept_[k], constant, rtol=1e-7)


def test_refit_after_holdout_uses_all_rows():
    maps = make_maps(40)
    y = make_targets(maps, POOLS[:2], noise=1)
    options = {"holdout": 10, **CPU}
    kept = FwRF(POOLS, ALPHA_GRID, **options).fit(maps, y)
    again = FwRF(POOLS, ALPHA_GRID, refit=True, **options).fit(maps, y)
    np.testing.assert_array_equal(kept.losses_, again.losses_)
    for rows, model in ((30, kept), (40, again)):
        x = plain_features(maps, model.pools_[0])[0]
        weights, _ = plain_ridge(x[:rows], y[:rows, :1], model.alphas_[0], "penalized")
        np.testing.assert_allclose(model.coef_[:, 0], weights[:, 0], rtol=1e-7)


# -------------------------------------------------------------------- properties


def test_equal_candidates_and_alphas_go_to_the_first():
    maps = make_maps(50)
    y = make_targets(maps, POOLS[[1, 2, 3]])
    twice = np.vstack([POOLS[[2, 1]], POOLS, POOLS])
    for size in (1, 3, "auto"):
        model = FwRF(
            twice, [1, 1, 0.1, 0.1], holdout=15, n_candidates_batch=size, **CPU
        ).fit(maps, y)
        np.testing.assert_array_equal(model.candidate_, [1, 0, 5])
    # Features of pools without mass are all 0: every such pool is as good as another.
    nothing = FwRF([[0, 0, -1], [0, 0, 0], [9, 9, 0.01]], [5, 5], holdout=15, **CPU)
    np.testing.assert_array_equal(nothing.fit(maps, y).candidate_, [0, 0, 0])


def test_batches_change_nothing_but_rounding():
    maps = make_maps(60)
    y = make_targets(maps, POOLS[[0, 1, 2, 3, 3, 2, 1]])
    whole = FwRF(POOLS, ALPHA_GRID, holdout=20, **CPU).fit(maps, y)
    for sizes in ((1, 1), (3, 2), (4, 100)):
        sizes = dict(zip(("n_candidates_batch", "n_targets_batch"), sizes, strict=True))
        model = clone(whole).set_params(**sizes).fit(maps, y)
        np.testing.assert_array_equal(model.candidate_, whole.candidate_)
        np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.losses_, whole.losses_, rtol=1e-9)


def test_targets_do_not_depend_on_each_other():
    maps = make_maps(60)
    y = make_targets(maps, POOLS)
    whole = FwRF(POOLS, ALPHA_GRID, holdout=20, **CPU).fit(maps, y)
    mixed = clone(whole).fit(maps, y[:, ::-1])
    np.testing.assert_array_equal(mixed.candidate_[::-1], whole.candidate_)
    one = clone(whole).fit(maps, y[:, 2])
    assert one.candidate_ == whole.candidate_[2]
    assert one.pools_.shape == (3,)
    np.testing.assert_allclose(one.coef_, whole.coef_[:, 2], rtol=1e-9)
    np.testing.assert_allclose(one.predict(maps), whole.predict(maps)[:, 2], rtol=1e-9)
    assert one.score(maps, y[:, 2]) == pytest.approx(whole.score(maps, y)[2])


def test_shifted_maps_shift_the_receptive_field():
    side = 8
    maps = make_maps(80, ((4, side),))
    lattice = np.array(
        [[x, y, 0.13] for y in np.arange(-3, 4) / side for x in np.arange(-3, 4) / side]
    )
    y = make_targets(maps, [[1 / side, -1 / side, 0.13]] * 2, noise=0.01)
    before = FwRF(lattice, [0.1], holdout=20, **CPU).fit(maps, y)
    np.testing.assert_allclose(before.pools_[:, :2] * side, [[1, -1]] * 2)
    # One pixel to the left and two up: columns fall by one, rows by two.
    moved = [np.roll(maps[0], (-2, -1), (2, 3))]
    after = clone(before).fit(moved, y)
    np.testing.assert_allclose(after.pools_[:, :2] * side, [[0, 1]] * 2)


def test_scales_of_maps_and_units_of_space_do_not_matter():
    maps = make_maps(60)
    y = make_targets(maps, POOLS)
    one = FwRF(POOLS, ALPHA_GRID, holdout=20, **CPU).fit(maps, y)
    degrees = FwRF(8.4 * POOLS, ALPHA_GRID, holdout=20, aperture=8.4, **CPU)
    scaled = [1e3 * m for m in maps]
    np.testing.assert_array_equal(degrees.fit(scaled, y).candidate_, one.candidate_)
    np.testing.assert_allclose(degrees.predict(scaled), one.predict(maps), rtol=1e-3)


def test_float32_finds_what_float64_finds():
    maps = [m.astype(np.float32) for m in make_maps(120, ((40, 8), (60, 4)))]
    y = make_targets(maps, POOLS, noise=0.5).astype(np.float32)
    single = FwRF(POOLS, [1e-3, 1.0, 1e3], holdout=40, **CPU).fit(maps, y)
    double = clone(single).set_params(dtype="float64").fit(maps, y)
    assert single.coef_.dtype == np.float32
    assert single.predict(maps).dtype == np.float32
    np.testing.assert_array_equal(single.candidate_, double.candidate_)
    np.testing.assert_array_equal(single.alphas_, double.alphas_)
    np.testing.assert_allclose(single.predict(maps), double.predict(maps), atol=2e-3)


def test_memory_maps_tensors_and_lists_are_the_same(tmp_path):
    maps = make_maps(50)
    y = make_targets(maps, POOLS)
    first = FwRF(POOLS, ALPHA_GRID, holdout=15, **CPU).fit(maps, y)
    stored = []
    for k, part in enumerate(maps):
        np.save(tmp_path / f"{k}.npy", part)
        stored.append(np.load(tmp_path / f"{k}.npy", mmap_mode="r"))
    np.testing.assert_array_equal(clone(first).fit(stored, y).coef_, first.coef_)
    tensors = [torch.from_numpy(part) for part in maps]
    third = clone(first).fit(tensors, torch.from_numpy(y))
    assert isinstance(third.coef_, torch.Tensor)
    assert isinstance(third.predict(maps), torch.Tensor)
    np.testing.assert_array_equal(third.coef_.numpy(), first.coef_)
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(again.predict(maps), first.predict(maps))
    alone = FwRF(POOLS, ALPHA_GRID, holdout=15, **CPU)
    np.testing.assert_array_equal(
        alone.fit(maps[0], y).coef_, clone(alone).fit(maps[:1], y).coef_
    )


# ---------------------------------------------------------------------- recovery


def test_receptive_fields_of_simulated_voxels_are_recovered():
    rng = generator(11, "recovery")
    n, n_new, v = 700, 200, 60
    # Rectified maps with the spectrum of natural pictures.
    maps = []
    for n_maps, side in ((6, 16), (6, 8)):
        frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
        frequency[0, 0] = 1 / side
        white = rng.standard_normal((n + n_new, n_maps, side, side))
        pink = np.fft.ifft2(np.fft.fft2(white) / frequency).real
        maps.append(np.maximum(pink / pink.std(), 0).astype(np.float32))
    grid = candidate_grid(4, 0.08, 0.25, extent=0.9, spacing=1.0)
    true = np.column_stack(
        [
            rng.uniform(-0.35, 0.35, (v, 2)),
            np.exp(rng.uniform(*np.log([0.08, 0.25]), v)),
        ]
    )
    signal = make_targets(maps, true, noise=0)
    signal = (signal - signal.mean(0)) / signal.std(0)
    y = (signal + rng.standard_normal(signal.shape)).astype(np.float32)
    model = FwRF(grid, 10.0 ** np.arange(5), cv=4, **CPU)
    model.fit([m[:n] for m in maps], y[:n])
    error = np.abs(model.pools_ - true)
    finest = 0.9 / (np.ceil(0.9 / 0.08) - 1)
    assert (np.median(error[:, :2], 0) < finest).all()
    ratio = np.abs(np.log(model.pools_[:, 2] / true[:, 2]))
    assert np.median(ratio) < 0.3
    predicted = model.predict([m[n:] for m in maps])
    r = [
        np.corrcoef(p, s)[0, 1] for p, s in zip(predicted.T, signal[n:].T, strict=True)
    ]
    assert np.median(r) > 0.95


# ------------------------------------------------------------------------ faults


def test_undefined_and_constant_targets_have_no_pool(caplog):
    maps = make_maps(50)
    y = np.insert(make_targets(maps, POOLS[:2]), [1, 1], 3.0, axis=1)
    y[4, 1] = np.nan
    model = FwRF(POOLS, ALPHA_GRID, holdout=15, nan="omit", **CPU).fit(maps, y)
    assert model.candidate_.tolist() == [0, -1, -1, 1]
    for values in (model.pools_.T, model.alphas_, model.losses_, model.feature_mean_):
        assert np.isnan(values[..., 1:3]).all()
        assert np.isfinite(values[..., [0, 3]]).all()
    predicted = model.predict(maps)
    assert np.isnan(predicted[:, 1]).all()
    assert (predicted[:, 2] == 3).all()
    assert np.isnan(model.score(maps, y)).tolist() == [False, True, True, False]
    assert "1 targets are omitted" in caplog.text
    assert "1 targets are constant" in caplog.text
    alone = clone(model).fit(maps, y[:, [2]])
    assert alone.candidate_.tolist() == [-1]
    assert np.isnan(alone.feature_scale_).all()
    assert (alone.predict(maps) == 3).all()
    with pytest.raises(ValueError, match="1 of 4 targets"):
        clone(model).set_params(nan="raise").fit(maps, y)


def test_values_that_are_not_finite_are_named():
    maps = make_maps(50)
    y = make_targets(maps, POOLS)
    maps[1][7, 0, 1, 1] = np.nan
    with pytest.raises(ValueError, match=r"`maps\[1\]` has 1 values.*image 7"):
        FwRF(POOLS, holdout=15, **CPU).fit(maps, y)
    good = make_maps(50)
    model = FwRF(POOLS, holdout=15, **CPU).fit(good, y)
    with pytest.raises(ValueError, match=r"`maps\[1\]` has 1 values"):
        model.predict(maps)
    large = [np.full((50, 1, 2, 2), 1e39)]
    with pytest.raises(
        ValueError, match=r"200 values that are .* too large for float32"
    ):
        FwRF(POOLS, dtype="float32", holdout=15, **CPU).fit(large, y)
    bad = FwRF(POOLS, activation=torch.log, holdout=15, **CPU)
    with pytest.raises(ValueError, match=r"`activation` must return.*NaN"):
        bad.fit([m - 9 for m in good], y)


WRONG = [
    ({"holdout": 50}, "`holdout` holds out 50 rows"),
    ({"holdout": 0}, "`holdout` must be within"),
    ({"cv": "kfold"}, "`cv` must be one of"),
    ({"cv": 5, "refit": False}, "refit=False keeps"),
    ({"bias": "none "}, "Did you mean 'none'"),
    ({"activation": "relu"}, "`activation` must be one of"),
    ({"activation": torch.abs, "folder": "here"}, "`folder` tells fits apart"),
    ({"alphas": [0.0, 1.0]}, "`alphas` must be finite and above 0"),
    ({"candidates": np.zeros((0, 3))}, "has no row"),
    ({"candidates": np.zeros((2, 2))}, "`candidates` must have shape"),
    ({"candidates": [[0, 0, np.nan]]}, "not finite"),
    ({"aperture": 0}, "`aperture` must be above 0"),
    ({"n_candidates_batch": 0}, "`n_candidates_batch` must be within"),
    ({"n_targets_batch": "all"}, "`n_targets_batch` must be one of"),
    ({"dtype": "float16"}, "`dtype` must be one of"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[m for _, m in WRONG])
def test_wrong_options_are_refused(options, message):
    maps = make_maps(50)
    model = FwRF(**{"candidates": POOLS, "holdout": 15, **CPU, **options})
    with pytest.raises(ValueError, match=message):
        model.fit(maps, make_targets(maps, POOLS))


def test_wrong_shapes_are_refused():
    maps = make_maps(50)
    y = make_targets(maps, POOLS)
    model = FwRF(POOLS, holdout=15, **CPU)
    cases = {
        "square maps": ([maps[0][:, :, :5]], y),
        "one number of images": ([maps[0], maps[1][:40]], y),
        "empty": ([], y),
        "50 rows but `Y` has 40": (maps, y[:40]),
        "n_images, n_maps, H, H": ([maps[0][0]], y),
    }
    for message, (some, targets) in cases.items():
        with pytest.raises(ValueError, match=message):
            model.fit(some, targets)
    model.fit(maps, y)
    with pytest.raises(ValueError, match="has 3 maps, but the model was fitted to 5"):
        model.predict(maps[:1])


def test_what_is_learnt_is_not_there_before():
    for name in ("coef_", "intercept_", "feature_mean_", "feature_scale_"):
        with pytest.raises(NotFittedError):
            getattr(FwRF(POOLS), name)
    with pytest.raises(NotFittedError):
        FwRF(POOLS).predict(make_maps(5))


def test_groups_on_both_sides_of_the_holdout_are_refused():
    maps = make_maps(50)
    y = make_targets(maps, POOLS)
    groups = [*range(45), 1, 2, 3, 4, 5]
    model = FwRF(POOLS, holdout=15, **CPU)
    with pytest.raises(ValueError, match="5 groups are split"):
        model.fit(maps, y, groups)
    model.set_params(group_leakage="allow").fit(maps, y, groups)
    model.set_params(group_leakage="raise").fit(maps, y, np.arange(50) // 5)


@pytest.mark.parametrize("wrong", [{"n_sigmas": 0}, {"smallest": 0}, {"largest": 0.01}])
def test_grids_that_do_not_exist_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        candidate_grid(**wrong)
    with pytest.raises(ValueError, match="n_px"):
        gaussian_pools(0, POOLS)


def test_published_alphas():
    np.testing.assert_allclose(ALPHAS, np.logspace(3, 7, 9))


@pytest.mark.gpu
def test_a_gpu_finds_what_the_cpu_finds():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    maps = make_maps(120, ((40, 8), (60, 4)))
    y = make_targets(maps, POOLS, noise=0.5)
    for dtype in ("float64", "float32"):
        model = FwRF(POOLS, ALPHA_GRID, holdout=40, dtype=dtype, **CPU).fit(maps, y)
        there = clone(model).set_params(device="cuda").fit(maps, y)
        np.testing.assert_array_equal(there.candidate_, model.candidate_)
        np.testing.assert_allclose(there.predict(maps), model.predict(maps), atol=1e-3)
