"""Fitted receptive fields on disk and in use, and the maps that they look at."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file
from neurovis.fitting.encoding_model import load_encoding_model, save_encoding_model
from neurovis.fitting.fwrf import FwRF, candidate_grid, gaussian_pools
from neurovis.fitting.fwrf_maps import MapSpace, MapView, most_varying_maps
from neurovis.fitting.fwrf_model import FwRFModel, make_fwrf_model

ARRAYS = ("pools", "pool", "mean", "coef", "intercept", "alphas")


def make_spaces():
    early = MapSpace(
        "early", ((4, 6, 6), (2, 3, 3)), (np.array([0, 3]), np.array([0, 1]))
    )
    return early, MapSpace("late", ((5, 1, 1),), (np.array([1, 2, 4]),))


def make_model(n_units=5, seed=0, **changes):
    rng = np.random.default_rng(seed)
    options = {
        "spaces": make_spaces(),
        "pools": np.array([[0.1, -0.2, 0.1], [-0.3, 0.25, 0.3]]),
        "pool": np.array([1, 0, -1, 1, -1])[:n_units],
        "mean": rng.standard_normal((2, 7)),
        "coef": rng.standard_normal((7, n_units)).astype(np.float32),
        "intercept": np.array([1.0, -1, 7, 2, np.nan])[:n_units],
        "units": pd.DataFrame({"unit_id": [f"u{i}" for i in range(n_units)]}),
        "alphas": np.array([1.0, 10, np.nan, 1, np.nan])[:n_units],
        "features": {"model": "m", "spaces": [{"layer": "early"}, {"layer": "late"}]},
        "training": {"data": "tiny", "n_train": 7},
        "notes": ("a note",),
        "licence": "Terms of the data.",
    }
    return FwRFModel(**(options | changes))


def features(n=6, seed=3):
    rng = np.random.default_rng(seed)
    sizes = {"early": 4 * 36 + 2 * 9, "late": 5}
    return {
        name: rng.normal(size=(n, size)).astype(np.float32)
        for name, size in sizes.items()
    }


def plain_prediction(model, given):
    first = given["early"][:, : 4 * 36].reshape(-1, 4, 6, 6)[:, [0, 3]]
    second = given["early"][:, 4 * 36 :].reshape(-1, 2, 3, 3)
    third = given["late"][:, [1, 2, 4], None, None]
    out = np.tile(model.intercept, (len(first), 1))
    for unit, number in enumerate(model.pool):
        if number < 0:
            continue
        weights = [gaussian_pools(h, model.pools[[number]])[0] for h in (6, 3, 1)]
        pooled = [
            (part[:, k].astype(float) * g).sum((1, 2))
            for part, g in zip((first, second, third), weights, strict=True)
            for k in range(part.shape[1])
        ]
        away = np.column_stack(pooled) - model.mean[number]
        out[:, unit] += away @ model.coef[:, unit]
    return out


def test_predictions_are_weighted_sums_of_pooled_maps():
    model, given = make_model(), features()
    found = model.predict(given)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain_prediction(model, given), atol=2e-6)
    assert (found[:, 2] == 7).all()
    assert np.isnan(found[:, 4]).all()
    assert model.predict({k: v[:0] for k, v in given.items()}).shape == (0, 5)


def test_fields_are_the_pools_of_units():
    model = make_model()
    np.testing.assert_array_equal(model.fields[[0, 1, 3]], model.pools[[1, 0, 1]])
    assert np.isnan(model.fields[[2, 4]]).all()


@pytest.mark.parametrize("bias", ["free", "penalized", "none"])
def test_a_model_made_of_an_estimator_predicts_as_it_does(bias):
    rng = np.random.default_rng(0)
    maps = (50 + 3 * rng.standard_normal((60, 4, 6, 6))).astype(np.float32)
    numbers = rng.standard_normal((60, 3, 1, 1)).astype(np.float32)
    Y = (maps[:, :2].mean((2, 3)) @ rng.standard_normal((2, 5))).astype(np.float32)
    Y += rng.standard_normal(Y.shape).astype(np.float32)
    Y[:, 3], Y[5, 4] = 2.0, np.nan
    fields = FwRF(candidate_grid(2, 0.2), [1.0, 30.0], cv=3, bias=bias, nan="omit")
    fields.set_params(device="cpu").fit([maps, numbers], Y)
    spaces = (
        MapSpace("a", ((4, 6, 6),), (np.arange(4),)),
        MapSpace("b", ((3, 1, 1),), (np.arange(3),)),
    )
    units = pd.DataFrame({"unit_id": list("vwxyz")})
    model = make_fwrf_model(fields, spaces, units, notes=("n",))
    new = [maps[:9] + 1, numbers[:9]]
    np.testing.assert_allclose(
        model.predict({"a": new[0], "b": new[1].reshape(9, 3)}),
        fields.predict(new),
        rtol=1e-5,
        atol=1e-5,
    )
    np.testing.assert_array_equal(model.fields, fields.pools_)
    assert len(model.pools) == len(np.unique(fields.candidate_[fields.candidate_ >= 0]))
    fields.set_params(activation="log-tanh")
    with pytest.raises(ValueError, match="activation=None and aperture=1"):
        make_fwrf_model(fields, spaces, units)


def test_a_saved_model_comes_back_bit_by_bit(tmp_path):
    model = make_model()
    save_encoding_model(tmp_path, model)
    back = load_encoding_model(tmp_path)
    assert isinstance(back, FwRFModel)
    for name in ARRAYS:
        ours, theirs = getattr(back, name), getattr(model, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(back.spaces, model.spaces, strict=True):
        assert (ours.name, ours.shapes) == (theirs.name, theirs.shapes)
        for a, b in zip(ours.kept, theirs.kept, strict=True):
            np.testing.assert_array_equal(a, b)
    pd.testing.assert_frame_equal(back.units, model.units)
    for name in ("method", "features", "training", "notes", "licence"):
        assert getattr(back, name) == getattr(model, name)
    np.testing.assert_array_equal(back.predict(features()), model.predict(features()))
    first = (tmp_path / "weights.safetensors").read_bytes()
    save_encoding_model(tmp_path, back)
    assert (tmp_path / "weights.safetensors").read_bytes() == first


def test_damaged_models_are_refused(tmp_path):
    save_encoding_model(tmp_path, make_model())
    path, meta = tmp_path / "weights.safetensors", tmp_path / "model.json"
    facts = json.loads(meta.read_text())
    arrays = load_file(path)
    for name, change in {"pool": None, "coef": arrays["coef"][:-1].copy()}.items():
        changed = {k: v for k, v in arrays.items() if k != name}
        changed |= {} if change is None else {name: change}
        save_file(changed, path)
        hashes = facts["sha256"] | {path.name: sha256_file(path)}
        meta.write_text(json.dumps(facts | {"sha256": hashes}))
        with pytest.raises(DataCorruptError, match="encoding model"):
            load_encoding_model(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataCorruptError, match="is missing or has another"):
        load_encoding_model(tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"early": np.ones((2, 162))}, r"must have the spaces \['early', 'late'\]"),
        (features() | {"late": np.ones((3, 5))}, "need the same rows"),
        (features() | {"late": np.ones((6, 4))}, r"shape \(any, 5\)"),
        (features() | {"late": np.full((6, 5), np.nan)}, "values that are NaN"),
        (np.ones((2, 167)), "must be a mapping from"),
    ],
)
def test_features_that_do_not_fit_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        make_model().predict(given)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"spaces": ()}, ValueError, "must be one or more"),
        (
            {"pool": np.array([0, 1, 2, 0, 0])},
            ValueError,
            "`pool` must be from -1 to 1",
        ),
        ({"mean": np.zeros((2, 6))}, ValueError, r"`mean` must have shape \(2, 7\)"),
        ({"coef": np.zeros((7, 5))}, TypeError, "`coef` must have dtype float32"),
        ({"units": pd.DataFrame({"id": range(5)})}, ValueError, "lacks the columns"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        make_model(**changes)


# ------------------------------------------------------------------------- maps


def test_views_are_the_chosen_maps_read_in_blocks():
    maps = np.random.default_rng(0).normal(size=(7, 4, 3, 3)).astype(np.float32)
    flat = maps.reshape(7, -1)
    view = MapView(flat, (4, 3, 3), np.array([1, 3]))
    assert (view.shape, view.dtype, view.ndim, len(view)) == (
        (7, 2, 3, 3),
        np.float32,
        4,
        7,
    )
    np.testing.assert_array_equal(view[2:5], maps[2:5, [1, 3]])
    np.testing.assert_array_equal(MapView(flat, (4, 3, 3), np.arange(4))[:], maps)


def test_the_most_varying_maps_are_kept_in_their_order(monkeypatch):
    rng = np.random.default_rng(0)
    spread = np.array([1, 5, 0, 3, 5.0])
    maps = 100 + spread[:, None, None] * rng.standard_normal((50, 5, 4, 4))
    maps[:, 4] = maps[:, 1]  # equal: the first is taken
    expected = np.argsort(-maps.var(0).mean((1, 2)), kind="stable")
    for n in range(1, 6):
        np.testing.assert_array_equal(most_varying_maps(maps, n), np.sort(expected[:n]))
    assert most_varying_maps(maps, 1).tolist() == [1]
    assert most_varying_maps(maps, None).tolist() == [0, 1, 2, 3, 4]
    # Places that differ within each picture alone say nothing.
    still = maps.copy()
    still[:, 2] = 1000 * rng.standard_normal((4, 4))
    assert 2 not in most_varying_maps(still, 4)
    monkeypatch.setattr("neurovis.fitting.fwrf_maps._READ_BYTES", 1)
    assert most_varying_maps(maps, 2).tolist() == [1, 4]
    with pytest.raises(ValueError, match="`n_maps` must be within"):
        most_varying_maps(maps, 0)


@pytest.mark.parametrize(
    ("shapes", "kept", "message"),
    [
        (((2, 1, 1),), (), "one shape, and one choice"),
        (((2, 1, 1),), (np.array([1, 0]),), "must be ascending numbers from 0 to 1"),
        (((2, 1, 1),), (np.array([2]),), "must be ascending"),
        (((2, 1, 1),), (np.array([], np.int64),), "at least one"),
    ],
)
def test_choices_of_maps_that_make_no_sense_are_refused(shapes, kept, message):
    with pytest.raises(ValueError, match=message):
        MapSpace("a", shapes, kept)
