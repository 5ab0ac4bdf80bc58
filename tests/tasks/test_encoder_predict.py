"""Predictions and attention of trained encoders for pictures they have not seen."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from data_loaders.synthetic import simulate_algonauts
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.brain_encoder import BrainEncoderConfig
from neurovis.cli import main
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import LazyPictures, write_png
from neurovis.core.unit_responses import UnitResponses
from stimuli.category_pictures import make_category_pictures
from tasks import encoder_predict
from tasks.brain_encoder import fit_brain_encoder
from tasks.brain_sources import BrainData
from tasks.encoder_attention import load_attention
from tasks.encoder_maps import MapRows
from tasks.encoder_model import load_encoder
from tasks.encoder_options import EncoderOptions
from tasks.encoder_predict import (
    load_picture_model,
    read_model_card,
    saved_layouts,
)
from tasks.encoding_predict import predict_encoding
from tasks.encoding_run import load_encoding, model_folder

NETWORK = "squeezenet1_0"
CALL = {"n_permutations": 2, "n_bootstrap": 2, "device": "cpu"}
OPTIONS = EncoderOptions(
    "transformer", BrainEncoderConfig(width=8, n_heads=2, feedforward=16), core="small"
)
FAST = {"settings": {"max_epochs": 2}, "options": OPTIONS, **CALL}
N = 30


def picture(number):
    rng = np.random.default_rng(number)
    grey = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(grey, np.ones((16, 16, 1), np.uint8))


def make_data():
    rng = np.random.default_rng(0)
    units = pd.DataFrame({"unit_id": list("abcd"), "region": ["V1", "V1", "V4", "V4"]})
    responses = UnitResponses(
        "tiny",
        "s1",
        rng.standard_normal((N, 4)).astype(np.float32),
        pd.DataFrame({"stimulus_id": [f"p{i:02d}" for i in range(N)], "n_repeats": 1}),
        units,
        families=("region",),
        pictures=LazyPictures(picture, range(N)),
    )
    maps = rng.standard_normal((N, 12)).astype(np.float32)
    return BrainData(responses, features={"m": maps}, map_shapes={"m": (3, 2, 2)})


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from safetensors.torch import save_file as save_tensors

    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    module = load_backbone(NETWORK, "seeded:7").module
    state = {k: v.contiguous() for k, v in module.state_dict().items()}
    save_tensors(state, path)
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, weights):
    """Encoders of one layer, of two side by side, and with a map that moves fields."""
    out = tmp_path_factory.mktemp("fit") / "run"
    fit_brain_encoder(
        [make_data()],
        [f"{NETWORK}@{weights}:fire2:grid4,wide=fire3:grid4+fire4:grid4"],
        out,
        readouts=["transformer", "masks", "semantic-spatial", "ridge"],
        context=f"{NETWORK}@{weights}:fire5:grid2",
        **FAST,
    )
    return out


@pytest.fixture(scope="module")
def cored(tmp_path_factory):
    """A core that is trained with its readout, and looks at pictures."""
    out = tmp_path_factory.mktemp("core") / "run"
    features = ["control:pixels:pixels:grid16"]
    fit_brain_encoder([make_data()], features, out, readouts=["masks"], **FAST)
    return out


def the_model(run, model, layer):
    return model_folder(run, "s1", model, layer)


def held_out(run):
    rows = load_encoding(run).rows("s1")
    return rows[["stimulus_id"]], [picture(int(row)) for row in rows["row"]]


@pytest.mark.parametrize("layer", ["fire2:grid4", "wide"])
@pytest.mark.parametrize("model", ["transformer", "masks", "semantic-spatial", "ridge"])
def test_pictures_of_the_test_are_predicted_as_in_the_fit(
    fitted, tmp_path, model, layer
):
    table, pictures = held_out(fitted)
    home = the_model(fitted, model, layer)
    found = predict_encoding(home, pictures, tmp_path, stimuli=table, device="cpu")
    expected = load_encoding(fitted).predictions("s1", model, layer)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(np.load(tmp_path / "predictions.npy"), found)
    assert read_table(tmp_path / "stimuli.parquet").equals(table)
    units = read_table(tmp_path / "units.parquet")
    assert units["region"].tolist() == ["V1", "V1", "V4", "V4"]
    provenance = read_json(tmp_path / "provenance.json")
    assert any("terms of both" in note for note in provenance["notes"])
    assert not (tmp_path / "attention.npz").exists()


def test_a_core_looks_at_new_pictures_as_in_the_fit(cored, tmp_path):
    table, pictures = held_out(cored)
    model, layer = "masks with a small core", "pixels:grid16"
    home = the_model(cored, model, layer)
    found = predict_encoding(
        home, pictures, tmp_path, stimuli=table, device="cpu", attention=True
    )
    expected = load_encoding(cored).predictions("s1", model, layer)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with np.load(tmp_path / "attention.npz") as file:
        np.testing.assert_allclose(file["maps"].sum(axis=(2, 3)), 1, rtol=1e-5)


@pytest.mark.parametrize("model", ["transformer", "masks"])
def test_attention_is_left_for_each_picture(fitted, tmp_path, model):
    table, pictures = held_out(fitted)
    home = the_model(fitted, model, "wide")
    call = {"stimuli": table, "device": "cpu", "attention": True}
    predict_encoding(home, pictures, tmp_path, **call)
    with np.load(tmp_path / "attention.npz") as file:
        names, maps = tuple(file["names"]), file["maps"]
    assert names == load_encoder(home).query_names
    assert maps.dtype == np.float32
    assert maps.shape == (len(pictures), len(names), 4, 4)
    (path,) = (fitted / "attention" / "s1" / model).glob("wide.npz")
    kept = load_attention(path)
    np.testing.assert_allclose(maps.mean(axis=0), kept.mean, atol=1e-5)
    before = (tmp_path / "attention.npz").read_bytes()
    predict_encoding(home, pictures, tmp_path, **call)
    assert (tmp_path / "attention.npz").read_bytes() == before


def test_the_command_leaves_attention(fitted, tmp_path, monkeypatch, capsys):
    write_png(tmp_path / "new" / "0.png", picture(0))
    home = the_model(fitted, "masks", "wide")
    words = ["predict", "--model", home, "--pictures", tmp_path / "new", "--attention"]
    words += ["--out", tmp_path / "out", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["neurovis", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert "1 pictures, 4 units" in capsys.readouterr().out
    with np.load(tmp_path / "out" / "attention.npz") as file:
        assert file["maps"].shape[0] == 1


def test_attention_that_is_not_there_or_too_large_is_refused(
    fitted, tmp_path, monkeypatch
):
    pictures, out = [picture(0)] * 3, tmp_path / "out"
    for model, message in (
        ("semantic-spatial", "this model has the readout 'semantic-spatial'"),
        ("ridge", "this model has the method 'ridge'"),
    ):
        home = the_model(fitted, model, "wide")
        with pytest.raises(ValueError, match=message):
            predict_encoding(home, pictures, out, attention=True)
    home = the_model(fitted, "masks", "wide")
    look = load_picture_model(home)
    n_queries = len(look.fitted.query_names)
    most = 2**31 // (4 * n_queries * 16)
    look.check_attention(most)
    message = rf"takes 2\.0 GiB, more than 2 GiB: give {most} pictures at most"
    with pytest.raises(ValueError, match=message):
        look.check_attention(most + 1)
    monkeypatch.setattr(encoder_predict, "_MOST_BYTES", 100)
    with pytest.raises(ValueError, match="`attention` of 3 pictures"):
        predict_encoding(home, pictures, out, attention=True)
    assert not out.exists()


def test_other_weights_and_damaged_encoders_are_refused(fitted, weights, tmp_path):
    home, out = the_model(fitted, "masks", "wide"), tmp_path / "out"
    arrays = load_file(weights)
    name = next(iter(arrays))
    arrays[name] = arrays[name] + np.float32(1e-3)
    save_file(arrays, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"weights_hash is .* and was"):
        predict_encoding(
            home, [picture(0)], out, weights=tmp_path / "other.safetensors"
        )
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    predict_encoding(
        home, [picture(0)], tmp_path / "moved", weights=moved, device="cpu"
    )
    copy = tmp_path / "model"
    shutil.copytree(home, copy)
    data = (copy / "encoder.safetensors").read_bytes()
    (copy / "encoder.safetensors").write_bytes(data[:-8])
    with pytest.raises(DataCorruptError, match="cut or changed"):
        predict_encoding(copy, [picture(0)], out)
    (copy / "encoder.safetensors").write_bytes(data)
    meta = json.loads((copy / "encoder.json").read_text())
    meta["features"]["spaces"][0]["resize"] = "squash"
    (copy / "encoder.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="preprocessing is"):
        predict_encoding(copy, [picture(0)], out)
    del meta["features"]
    (copy / "encoder.json").write_text(json.dumps(meta))
    with pytest.raises(DataCorruptError, match=r"encoder\.json"):
        predict_encoding(copy, [picture(0)], out)
    with pytest.raises(FileNotFoundError, match=r"neither model\.json nor encoder"):
        predict_encoding(fitted, [picture(0)], out)
    assert not out.exists()


def test_features_that_were_given_cannot_be_computed_for_pictures(tmp_path):
    out = tmp_path / "fit"
    fit_brain_encoder([make_data()], ["given:m"], out, readouts=["masks"], **FAST)
    home = the_model(out, "masks", "")
    message = r"came from outside.*use `FittedEncoder\.predict`"
    with pytest.raises(ValueError, match=message):
        predict_encoding(home, [picture(0)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_card_of_a_model_tells_its_names(fitted, cored):
    home = the_model(fitted, "semantic-spatial", "wide")
    card = read_model_card(home)
    assert card.names == ("s1", "semantic-spatial", "wide")
    assert [facts["layer"] for facts in card.spaces] == ["wide", "fire5:grid2"]
    assert not card.is_untrained
    assert read_model_card(the_model(fitted, "ridge", "wide")).names[1:] == (
        "ridge",
        "wide",
    )


def test_tokens_are_arranged_place_by_place():
    (layout,) = saved_layouts({"layouts": [{"shape": [2, 1, 3], "is_tokens": True}]})
    stored = np.arange(6, dtype=np.float32)[None]
    maps = MapRows((stored,), (layout,), np.arange(1))[np.arange(1)]
    assert maps.tolist() == [[[[0, 2, 4]], [[1, 3, 5]]]]


@pytest.mark.slow
def test_test_pictures_of_the_challenge_become_a_submission(tmp_path):
    drawn = make_category_pictures(500, size_px=16)
    root = simulate_algonauts(
        tmp_path / "algonauts",
        list(drawn.images),
        drawn.table,
        n_subjects=1,
        n_sessions=2,
        n_test_sessions=1,
        n_vertices=(162, 162),
        picture_px=16,
    )
    fit_brain_encoder(
        f"algonauts:{root}",
        ["control:colour:lab:grid2"],
        tmp_path / "fit",
        readouts=["masks"],
        regions=["V1"],
        **FAST,
    )
    home = model_folder(tmp_path / "fit", "subj01", "masks", "lab:grid2")
    found = predict_encoding(
        home, out=tmp_path / "out", data=f"algonauts:{root}", device="cpu"
    )
    units = load_encoding(tmp_path / "fit").unit_places("subj01")
    for h in ("lh", "rh"):
        array = np.load(
            tmp_path / "out" / "submission" / "subj01" / f"{h}_pred_test.npy"
        )
        mine = (units["hemisphere"] == h).to_numpy()
        vertex = units.loc[mine, "challenge_vertex"].to_numpy()
        np.testing.assert_array_equal(array[:, vertex], found[:, mine])
        assert (np.delete(array, vertex, axis=1) == 0).all()
