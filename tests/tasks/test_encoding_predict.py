"""Predictions for new pictures by models that are loaded from disk."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from data_loaders.synthetic import simulate_algonauts
from neurovis.adapters.backbones import load_backbone
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import LazyPictures, write_png
from neurovis.core.unit_responses import UnitResponses
from stimuli.category_pictures import make_category_pictures
from tasks.brain_sources import BrainData
from tasks.clip_encoder import fit_clip_encoder
from tasks.clip_encoder_model import CLIP_FILE
from tasks.clip_encoder_recipe import ClipEncoderRecipe
from tasks.encoder_predict import load_picture_model, read_model_card
from tasks.encoding import fit_encoding
from tasks.encoding_predict import predict_encoding
from tasks.encoding_run import load_encoding, model_folder
from tasks.picture_gradients import load_gradient_encoder

NETWORK = "squeezenet1_0"
CALL = {"n_permutations": 5, "n_bootstrap": 5, "device": "cpu"}


def picture(number):
    rng = np.random.default_rng(number)
    grey = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(grey, np.ones((8, 8, 1), np.uint8))


def make_data():
    rng = np.random.default_rng(0)
    responses = UnitResponses(
        "tiny",
        "s1",
        rng.standard_normal((25, 3)).astype(np.float32),
        pd.DataFrame({"stimulus_id": [f"p{i:02d}" for i in range(25)], "n_repeats": 1}),
        pd.DataFrame({"unit_id": ["a", "b", "c"]}),
        pictures=LazyPictures(picture, range(25)),
    )
    given = rng.standard_normal((25, 4)).astype(np.float32)
    return BrainData(responses, features={"given": given})


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
    out = tmp_path_factory.mktemp("fit") / "run"
    layers = "fire2:gap,wide=fire3:gap+fire4:grid2"
    fit_encoding(
        [make_data()],
        [f"{NETWORK}@{weights}:{layers}", "control:colour", "given:given"],
        out,
        n_components=10,
        **CALL,
    )
    return out


def folder_of(fitted, model=f"{NETWORK}@w", layer="wide"):
    return model_folder(fitted, "s1", model, layer)


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (f"{NETWORK}@w", "fire2:gap"),
        (f"{NETWORK}@w", "wide"),
        ("control:colour", "statistics"),
    ],
)
def test_pictures_of_the_test_are_predicted_as_in_the_fit(
    fitted, tmp_path, model, layer
):
    run = load_encoding(fitted)
    rows = run.rows("s1")
    predicted = predict_encoding(
        folder_of(fitted, model, layer),
        [picture(int(row)) for row in rows["row"]],
        tmp_path,
        stimuli=rows[["stimulus_id"]],
        device="cpu",
    )
    expected = run.predictions("s1", model, layer)
    np.testing.assert_allclose(predicted, expected, atol=1e-4)
    np.testing.assert_array_equal(np.load(tmp_path / "predictions.npy"), predicted)
    assert read_table(tmp_path / "stimuli.parquet").equals(rows[["stimulus_id"]])
    assert read_table(tmp_path / "units.parquet")["unit_id"].tolist() == ["a", "b", "c"]
    provenance = read_json(tmp_path / "provenance.json")
    assert set(provenance["fingerprints"]) == {"model", "pictures"}
    assert any("terms of both" in note for note in provenance["notes"])


def test_a_folder_of_pictures_is_predicted_and_a_second_call_does_nothing_new(
    fitted, tmp_path
):
    for i in range(3):
        write_png(tmp_path / "pictures" / "a" / f"{i}.png", picture(i))
    folder = folder_of(fitted)
    first = predict_encoding(
        folder, tmp_path / "pictures", tmp_path / "out", device="cpu"
    )
    table = read_table(tmp_path / "out" / "stimuli.parquet")
    assert table["stimulus_id"].tolist() == ["a/0.png", "a/1.png", "a/2.png"]
    files = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    again = predict_encoding(
        folder, tmp_path / "pictures", tmp_path / "out", device="cpu"
    )
    np.testing.assert_array_equal(first, again)
    assert files == {
        p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()
    }
    write_png(tmp_path / "pictures" / "a" / "3.png", picture(3))
    with pytest.raises(ValueError, match="holds a run with pictures="):
        predict_encoding(folder, tmp_path / "pictures", tmp_path / "out", device="cpu")


def test_other_weights_or_preprocessing_are_refused(fitted, weights, tmp_path):
    folder = folder_of(fitted)
    pictures = [picture(0)]
    arrays = load_file(weights)
    name = next(iter(arrays))
    arrays[name] = arrays[name] + np.float32(1e-3)
    save_file(arrays, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"weights_hash is .* and was"):
        predict_encoding(
            folder, pictures, tmp_path / "out", weights=tmp_path / "other.safetensors"
        )
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    predict_encoding(folder, pictures, tmp_path / "moved", weights=moved, device="cpu")
    meta = json.loads((folder / "model.json").read_text())
    copy = tmp_path / "model"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    meta["features"]["spaces"][0]["resize"] = "squash"
    (copy / "model.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="preprocessing is"):
        predict_encoding(copy, pictures, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_changed_projection_is_refused(fitted, tmp_path):
    folder = folder_of(fitted)
    copy = tmp_path / "model"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    names = sorted(p.name for p in copy.glob("projection-*"))
    assert names == [
        "projection-0-fire3_gap.safetensors",
        "projection-0-fire4_grid2.safetensors",
    ]
    (copy / names[0]).write_bytes((copy / names[1]).read_bytes())
    with pytest.raises(DataCorruptError, match="not the projection that the model"):
        predict_encoding(copy, [picture(0)], tmp_path / "out")
    (copy / names[0]).unlink()
    with pytest.raises(FileNotFoundError):
        predict_encoding(copy, [picture(0)], tmp_path / "out")


def test_calls_that_make_no_sense_are_refused(fitted, tmp_path):
    folder = folder_of(fitted)
    with pytest.raises(ValueError, match="Give either `pictures` or `data`"):
        predict_encoding(folder, out=tmp_path / "out")
    with pytest.raises(ValueError, match="came from outside"):
        predict_encoding(folder_of(fitted, "given", ""), [picture(0)], tmp_path / "out")
    with pytest.raises(ValueError, match="`data set to predict` must be one of"):
        predict_encoding(folder, out=tmp_path / "out", data=f"nsd:{tmp_path}")
    with pytest.raises(ValueError, match="`data set of the model` must be one of"):
        predict_encoding(folder, out=tmp_path / "out", data=f"algonauts:{tmp_path}")
    with pytest.raises(FileNotFoundError, match="holds no encoding model"):
        predict_encoding(fitted, [picture(0)], tmp_path / "out")
    two = pd.DataFrame({"stimulus_id": ["a", "b"]})
    with pytest.raises(ValueError, match="2 rows for 1 pictures"):
        predict_encoding(folder, [picture(0)], tmp_path / "out", stimuli=two)
    with pytest.raises(FileNotFoundError, match="holds no picture"):
        predict_encoding(folder, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
    fit_encoding(
        f"algonauts:{root}",
        ["control:colour:lab:grid2"],
        tmp_path / "fit",
        regions=["V1"],
        **CALL,
    )
    folder = model_folder(tmp_path / "fit", "subj01", "control:colour", "lab:grid2")
    for _ in range(2):
        predicted = predict_encoding(
            folder, out=tmp_path / "out", data=f"algonauts:{root}", device="cpu"
        )
    home = tmp_path / "out" / "submission" / "subj01"
    units = load_encoding(tmp_path / "fit").unit_places("subj01")
    for h in ("lh", "rh"):
        array = np.load(home / f"{h}_pred_test.npy")
        mine = (units["hemisphere"] == h).to_numpy()
        vertex = units.loc[mine, "challenge_vertex"].to_numpy()
        np.testing.assert_array_equal(array[:, vertex], predicted[:, mine])
        assert (np.delete(array, vertex, axis=1) == 0).all()
        assert len(array) == len(read_table(tmp_path / "out" / "stimuli.parquet"))
    notes = read_json(tmp_path / "out" / "provenance.json")["notes"]
    assert any("of the submission are 0: not predicted" in note for note in notes)


# ---------------------------------------------------------- encoders of embeddings


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, weights):
    """A fit of an encoder of embeddings, and the folder of the encoder."""
    out = tmp_path_factory.mktemp("clip") / "run"
    recipe = ClipEncoderRecipe(2, 8, gain=0, shift_px=0, noise_sd=0)
    backbone, layer = f"{NETWORK}@{weights}", "fire3:gap"
    fit_clip_encoder([make_data()], backbone, out, layer=layer, recipe=recipe, **CALL)
    return out, model_folder(out, "s1", f"{NETWORK}@w", layer)


def test_encoders_of_embeddings_predict_as_in_the_fit_and_with_gradients(
    embedded, tmp_path
):
    out, folder = embedded
    run = load_encoding(out)
    rows = run.rows("s1")
    pictures = LazyPictures(picture, rows["row"].tolist())
    stimuli = rows[["stimulus_id"]]
    predicted = predict_encoding(
        folder, pictures, tmp_path, stimuli=stimuli, device="cpu"
    )
    np.testing.assert_array_equal(
        predicted, load_gradient_encoder(folder).predict(pictures)
    )
    expected = run.predictions("s1", f"{NETWORK}@w", "fire3:gap")
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    np.testing.assert_array_equal(np.load(tmp_path / "predictions.npy"), predicted)
    assert read_table(tmp_path / "units.parquet")["unit_id"].tolist() == ["a", "b", "c"]
    assert read_table(tmp_path / "stimuli.parquet").equals(stimuli)
    provenance = read_json(tmp_path / "provenance.json")
    assert provenance["fingerprints"]["model"] == read_model_card(folder).fingerprint
    assert any("terms of both" in note for note in provenance["notes"])
    with pytest.raises(ValueError, match="holds a run with pictures="):
        predict_encoding(folder, pictures[:2], tmp_path, device="cpu")


def test_what_encoders_of_embeddings_cannot_do_is_refused(embedded, weights, tmp_path):
    _, folder = embedded
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="`attention` needs an encoder with queries"):
        predict_encoding(folder, [picture(0)], out, attention=True)
    with pytest.raises(ValueError, match="`data set of the model` must be one of"):
        predict_encoding(folder, out=out, data=f"algonauts:{tmp_path}")
    with pytest.raises(ValueError, match="holds an encoder of embeddings: take a lin"):
        load_picture_model(folder)
    with pytest.raises(ValueError, match="holds an encoder of embeddings: take a lin"):
        read_model_card(folder).check_source()
    copy = shutil.copytree(folder, tmp_path / "copy")
    meta = json.loads((copy / CLIP_FILE).read_text())
    del meta["training"]
    (copy / CLIP_FILE).write_text(json.dumps(meta))
    with pytest.raises(DataCorruptError, match="description of a model"):
        predict_encoding(copy, [picture(0)], out)
    arrays = load_file(weights)
    name = next(iter(arrays))
    save_file(arrays | {name: arrays[name] + 1}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"weights_hash is .* and was"):
        predict_encoding(
            folder, [picture(0)], out, weights=tmp_path / "other.safetensors"
        )
    assert not out.exists()
