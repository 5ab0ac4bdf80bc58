"""Fitted encoding models: what they predict, and what comes back from disk."""

import json

import numpy as np
import pandas as pd
import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.fitting.encoding_model import (
    EncodingModel,
    FeatureSpace,
    load_encoding_model,
    save_encoding_model,
)
from neurovis.fitting.ridge import RidgeCV

FILES = ("weights.safetensors", "units.parquet", "model.json")


def make_space(name, n_features, n_units, seed=0):
    rng = np.random.default_rng(seed)
    coef = rng.standard_normal((n_features, n_units)).astype(np.float32)
    return FeatureSpace(name, coef, rng.standard_normal(n_features))


def make_model(n_units=5, **changes):
    options = {
        "spaces": (make_space("early", 4, n_units), make_space("late", 3, n_units, 1)),
        "intercept": np.linspace(-1, 1, n_units),
        "units": pd.DataFrame({"unit_id": [f"u{i}" for i in range(n_units)]}),
        "alphas": np.array([1.0, np.nan, 10, 1, 1])[:n_units],
        "method": "banded",
        "features": {"model": "m", "spaces": [{"layer": "early"}, {"layer": "late"}]},
        "training": {"data": "tiny", "n_train": 7},
        "notes": ("a: untrained weights (seeded:0)",),
        "licence": "Terms of the data.",
    }
    return EncodingModel(**(options | changes))


def features(n=6, seed=3):
    rng = np.random.default_rng(seed)
    return {"early": rng.normal(size=(n, 4)), "late": rng.normal(size=(n, 3))}


def test_predictions_are_sums_over_spaces_of_weighted_deviations():
    model, new = make_model(), features()
    expected = model.intercept + sum(
        (new[space.name] - space.mean) @ space.coef for space in model.spaces
    )
    found = model.predict(new)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    shares = model.predict_spaces(new)
    assert shares.shape == (2, 6, 5)
    np.testing.assert_allclose(shares.sum(0) + model.intercept, expected, atol=1e-5)


def test_a_model_made_of_an_estimator_predicts_as_it_does():
    rng = np.random.default_rng(0)
    X = (100 + 5 * rng.standard_normal((50, 30))).astype(np.float32)
    Y = (X[:, :4] @ rng.standard_normal((4, 7))).astype(np.float32) + 50
    ridge = RidgeCV([1.0, 100.0], standardize=True, device="cpu").fit(X, Y)
    model = make_model(
        7,
        spaces=(FeatureSpace("all", ridge.coef_, X.mean(0, dtype=np.float64)),),
        intercept=Y.mean(0, dtype=np.float64),
        alphas=ridge.alphas_,
    )
    new = (100 + 5 * rng.standard_normal((9, 30))).astype(np.float32)
    np.testing.assert_allclose(model.predict(new), ridge.predict(new), rtol=1e-5)


def test_one_space_needs_no_name_and_blocks_change_nothing():
    n_units = 300
    model = make_model(
        n_units,
        spaces=(make_space("only", 4, n_units),),
        alphas=np.ones(n_units),
    )
    new = np.random.default_rng(0).normal(size=(20_000, 4))  # several blocks of units
    np.testing.assert_array_equal(model.predict(new), model.predict({"only": new}))
    few = model.predict(new[:3])
    np.testing.assert_allclose(model.predict(new)[:3], few, atol=1e-6)


def test_a_saved_model_comes_back_bit_by_bit(tmp_path):
    model = make_model()
    save_encoding_model(tmp_path / "a" / "b", model)
    assert {p.name for p in (tmp_path / "a" / "b").iterdir()} == set(FILES)
    back = load_encoding_model(tmp_path / "a" / "b")
    for ours, theirs in zip(back.spaces, model.spaces, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.coef, theirs.coef)
        np.testing.assert_array_equal(ours.mean, theirs.mean)
        assert (ours.coef.dtype, ours.mean.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(back.intercept, model.intercept)
    np.testing.assert_array_equal(back.alphas, model.alphas)
    pd.testing.assert_frame_equal(back.units, model.units)
    for name in ("method", "features", "training", "notes", "licence"):
        assert getattr(back, name) == getattr(model, name)
    new = features()
    np.testing.assert_array_equal(back.predict(new), model.predict(new))


def test_writing_twice_gives_equal_bytes_and_leaves_other_files(tmp_path):
    save_encoding_model(tmp_path, make_model())
    first = {name: (tmp_path / name).read_bytes() for name in FILES}
    (tmp_path / "projection.safetensors").write_bytes(b"x")
    save_encoding_model(tmp_path, make_model())
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == first
    assert len({(tmp_path / name).stat().st_mode for name in FILES}) == 1
    assert (tmp_path / "projection.safetensors").read_bytes() == b"x"


@pytest.mark.parametrize("name", FILES[:2])
def test_a_damaged_file_is_refused(tmp_path, name):
    save_encoding_model(tmp_path, make_model())
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataCorruptError, match=rf"{name} is missing or has another"):
        load_encoding_model(tmp_path)
    path.unlink()
    with pytest.raises(DataCorruptError, match=rf"{name} is missing or has another"):
        load_encoding_model(tmp_path)


def test_a_model_without_its_last_file_is_no_model(tmp_path):
    save_encoding_model(tmp_path, make_model())
    (tmp_path / "model.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"holds no encoding model: model\.json"
    ):
        load_encoding_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="must be an existing folder"):
        load_encoding_model(tmp_path / "nothing")


def test_a_description_that_does_not_fit_is_refused(tmp_path):
    save_encoding_model(tmp_path, make_model())
    path = tmp_path / "model.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps(meta | {"spaces": ["early", "late", "third"]}))
    with pytest.raises(DataCorruptError, match="encoding model"):
        load_encoding_model(tmp_path)
    path.write_text(json.dumps(meta | {"version": 2}))
    with pytest.raises(ValueError, match="Install a newer neurovis"):
        load_encoding_model(tmp_path)
    path.write_text("[]")
    with pytest.raises(DataCorruptError, match="not that of a model"):
        load_encoding_model(tmp_path)


def test_a_killed_writer_leaves_no_mixture(tmp_path, monkeypatch):
    save_encoding_model(tmp_path, make_model())

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("neurovis.fitting.encoding_model.write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        save_encoding_model(tmp_path, make_model(intercept=np.zeros(5)))
    with pytest.raises(FileNotFoundError, match="holds no encoding model"):
        load_encoding_model(tmp_path)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ({"early": np.ones((2, 4))}, r"must have the spaces \['early', 'late'\]"),
        (features() | {"lat": np.ones((6, 3))}, "Did you mean 'late'"),
        ({"early": np.ones((2, 4)), "late": np.ones((3, 3))}, "need the same rows"),
        ({"early": np.ones((2, 5)), "late": np.ones((2, 3))}, r"shape \(any, 4\)"),
        ({"early": np.full((2, 4), np.nan), "late": np.ones((2, 3))}, "not finite"),
        (np.ones((2, 7)), "must be a mapping from"),
    ],
)
def test_features_that_do_not_fit_are_refused(new, message):
    with pytest.raises(ValueError, match=message):
        make_model().predict(new)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"spaces": ()}, ValueError, "must be one or more"),
        ({"spaces": (make_space("a", 2, 5),) * 2}, ValueError, "names of their own"),
        ({"spaces": (make_space("a", 2, 4),)}, ValueError, r"shape \(any, 5\)"),
        ({"intercept": np.zeros(4)}, ValueError, r"`intercept` must have shape \(5\)"),
        ({"alphas": np.zeros(5, np.float32)}, TypeError, "`alphas` must have dtype"),
        ({"units": pd.DataFrame({"id": range(5)})}, ValueError, "lacks the columns"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        make_model(**changes)
    with pytest.raises(TypeError, match="`coef` must have dtype float32"):
        FeatureSpace("a", np.ones((2, 2)), np.zeros(2))
