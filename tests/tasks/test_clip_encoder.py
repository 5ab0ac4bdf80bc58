"""Encoders of embeddings: recipe, views, recovery, resuming, files, refusals."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from torch import nn

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.trunks import INPUT_FORMATS
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, read_table, sha256_file
from neurovis.core.rng import own_torch_stream
from neurovis.core.unit_responses import UnitResponses
from stimuli.category_pictures import make_category_pictures
from tasks import clip_encoder_fits
from tasks.brain_sources import BrainData
from tasks.clip_encoder import BACKBONE, fit_clip_encoder
from tasks.clip_encoder_model import (
    CLIP_FILE,
    WEIGHTS_FILE,
    load_clip_encoder,
    save_clip_encoder,
)
from tasks.clip_encoder_recipe import (
    ClipEncoderRecipe,
    augment_views,
    batches_of,
    published_recipe,
)
from tasks.encoding_run import model_folder
from tasks.picture_gradients import load_gradient_encoder
from tasks.picture_networks import OUTPUT, prepare_pictures, read_network

NETWORK = "open_clip:tiny-clip-of-tests"
WEIGHTS = f"{NETWORK}@seeded:0"
CALL = {"n_permutations": 5, "n_bootstrap": 5, "device": "cpu"}
PLAIN = {"gain": 0, "shift_px": 0, "noise_sd": 0}
N, SIDE, N_UNITS = 200, 32, 8
QUICK = ClipEncoderRecipe(epochs=3, shift_px=1)


@pytest.fixture(scope="module", autouse=True)
def _tiny_clip(tmp_path_factory):
    """A CLIP of two layers, for pictures of 32 pixels and embeddings of 24 values."""
    vision = {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    config = {
        "embed_dim": 24,
        "vision_cfg": {**vision, "patch_size": 8},
        "text_cfg": text,
    }
    path = tmp_path_factory.mktemp("open_clip") / f"{NETWORK.partition(':')[2]}.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)


@pytest.fixture(scope="module")
def pictures():
    return list(make_category_pictures(N, size_px=SIDE).images)


@pytest.fixture(scope="module")
def embeddings(pictures):
    """Embeddings of length 1, by open_clip alone."""
    backbone = load_backbone(NETWORK, "seeded:0")
    rule = backbone.preprocessing
    levels = np.stack(pictures).astype(np.float64) / 255
    mean, std = np.array(rule.pixels.mean) / 255, np.array(rule.pixels.std) / 255
    inputs = torch.from_numpy((levels - mean) / std).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        return F.normalize(backbone.module(inputs), dim=1).numpy()


@pytest.fixture(scope="module")
def data(pictures, embeddings):
    """Units that read the embedding, with noise; two regions."""
    rng = np.random.default_rng(0)
    centred = embeddings - embeddings.mean(axis=0)
    # What varies most: directions that hardly vary take long to learn.
    components = np.linalg.svd(centred, full_matrices=False)[0][:, :4]
    signal = components @ rng.standard_normal((4, N_UNITS))
    signal /= signal.std(axis=0)
    noise_sd = 0.5
    betas = signal + noise_sd * rng.standard_normal(signal.shape)
    units = pd.DataFrame(
        {
            "unit_id": [f"u{i}" for i in range(N_UNITS)],
            "region": ["V1v"] * 4 + ["FFA-1"] * 4,
            "noise_ceiling": 1 / (1 + noise_sd**2),
        }
    )
    stimuli = {"stimulus_id": [f"p{i:03d}" for i in range(N)], "n_repeats": 3}
    responses = UnitResponses(
        "tiny",
        "s1",
        betas.astype(np.float32),
        pd.DataFrame(stimuli),
        units,
        families=("region",),
        response_unit="z-score",
        pictures=pictures,
    )
    return BrainData(responses)


def changed(data, **changes):
    return BrainData(replace(data.responses, **changes))


def fit(data, out, recipe=QUICK, backbone=WEIGHTS, **options):
    return fit_clip_encoder([data], backbone, out, recipe=recipe, **CALL, **options)


def home_of(out, layer=OUTPUT, backbone=WEIGHTS):
    return model_folder(Path(out), "s1", backbone, layer)


@pytest.fixture(scope="module")
def learned(data, tmp_path_factory):
    """A fit until the end, with views; not to be changed."""
    out = tmp_path_factory.mktemp("learned") / "run"
    recipe = ClipEncoderRecipe(epochs=40, learning_rate=0.05, shift_px=1)
    score = fit(data, out, recipe)
    return out, score


# ---------------------------------------------------------------------- recipe


def test_the_rate_halves_over_the_epochs_as_published():
    settings = published_recipe("braindive").settings
    rates = [settings.rate(epoch, 10 * epoch) for epoch in range(100)]
    expected = [3e-4 * 0.5 ** (e / 100) for e in range(1, 101)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    assert rates[0] == pytest.approx(2.979e-4, abs=1e-7)
    assert rates[-1] == pytest.approx(1.5e-4, abs=1e-12)


def test_published_recipes_are_told_apart():
    first, second = (published_recipe(name) for name in ("braindive", "brainscuba"))
    assert first == ClipEncoderRecipe()
    assert (first.batch_size, first.weight_decay) == (64, 2e-2)
    assert (second.batch_size, second.weight_decay) == (32, 1.5e-2)
    for recipe in (first, second):
        settings = recipe.settings
        assert (settings.optimiser, settings.betas) == ("adamw", (0.9, 0.999))
        assert settings.decay_all
        assert settings.clip_norm is None
        assert (settings.keep, settings.patience) == ("last", None)
        assert settings.max_epochs == 100
        assert (recipe.gain, recipe.shift_px, recipe.noise_sd) == (0.05, 4, 0.05)
    with pytest.raises(ValueError, match="Did you mean 'braindive'"):
        published_recipe("brain-dive")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1.5),
        ("learning_rate", 0),
        ("weight_decay", -1),
        ("gain", 1.5),
        ("shift_px", -1),
        ("noise_sd", float("nan")),
        ("precision", "float16"),
    ],
)
def test_recipes_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        ClipEncoderRecipe(**{name: value})


def test_every_row_is_seen_once_in_an_epoch():
    batches = batches_of(ClipEncoderRecipe(batch_size=8), 21, 3)
    first, second = batches(0), batches(1)
    assert [len(batch.rows) for batch in first] == [8, 8, 5]
    for epoch, found in enumerate((first, second)):
        rows = [row for batch in found for row in batch.rows]
        assert sorted(rows) == list(range(21))
        assert [(b.epoch, b.number) for b in found] == [(epoch, n) for n in range(3)]
    assert first[0].rows != second[0].rows
    assert first == batches(0)


# ----------------------------------------------------------------------- views


def ramp(n=4, side=12):
    """Pictures whose levels tell row and column."""
    rows, columns = np.mgrid[:side, :side]
    one = np.stack([10 * rows, 10 * columns, np.full_like(rows, 100)], axis=-1)
    return torch.from_numpy(np.stack([one] * n).astype(np.uint8))


def test_views_without_changes_are_the_pictures():
    pixels, rule = ramp(), INPUT_FORMATS["imagenet"]
    found = augment_views(pixels, rule, ClipEncoderRecipe(**PLAIN), 0, 1, 2)
    assert found.dtype == torch.float32
    assert torch.equal(found, pixels.float())


def test_each_picture_has_a_gain_of_its_own():
    recipe = ClipEncoderRecipe(**{**PLAIN, "gain": 0.05})
    pixels = ramp(500)
    found = augment_views(pixels, INPUT_FORMATS["unit"], recipe, 0, 0, 0)
    gains = found[:, 0, 0, 2] / 100
    expected = gains[:, None, None, None] * pixels
    torch.testing.assert_close(found, expected)
    assert gains.min() >= 0.95
    assert gains.max() <= 1.05
    assert gains.std() == pytest.approx(0.1 / np.sqrt(12), rel=0.1)
    assert gains.mean() == pytest.approx(1, abs=0.005)


def test_a_batch_is_shifted_as_one_and_edges_are_repeated():
    recipe = ClipEncoderRecipe(**{**PLAIN, "shift_px": 4})
    pixels, shifts = ramp(), []
    for number in range(300):
        found = augment_views(pixels, INPUT_FORMATS["unit"], recipe, 7, 0, number)
        down = 5 - int(found[0, 5, 5, 0]) // 10
        right = 5 - int(found[0, 5, 5, 1]) // 10
        shifts.append((down, right))
        padded = F.pad(
            pixels.permute(0, 3, 1, 2).float(), (4, 4, 4, 4), mode="replicate"
        )
        rows, columns = 4 - down, 4 - right
        expected = padded[:, :, rows : rows + 12, columns : columns + 12]
        assert torch.equal(found.permute(0, 3, 1, 2), expected)
    values, counts = np.unique(np.array(shifts).ravel(), return_counts=True)
    assert values.tolist() == list(range(-4, 5))
    assert counts.min() > 600 / 9 / 2
    assert len(set(shifts)) > 70


@pytest.mark.parametrize("name", ["imagenet", "squeezenet", "unit"])
def test_the_noise_has_its_size_in_the_normalised_input(name):
    rule = replace(INPUT_FORMATS[name], std=(50.0, 60.0, 70.0))
    recipe = ClipEncoderRecipe(**{**PLAIN, "noise_sd": 0.05})
    pixels = ramp(64)
    noise = augment_views(pixels, rule, recipe, 0, 0, 0) - pixels
    if rule.order == "bgr":
        noise = noise.flip(-1)
    normalised = noise / torch.tensor(rule.std)
    for channel in range(3):
        assert normalised[..., channel].std() == pytest.approx(0.05, rel=0.03)
        assert normalised[..., channel].mean() == pytest.approx(0, abs=2e-3)


def test_views_depend_on_their_keys_alone():
    pixels, rule = ramp(), INPUT_FORMATS["unit"]
    torch.manual_seed(1)
    first = augment_views(pixels, rule, ClipEncoderRecipe(), 0, 3, 4)
    torch.manual_seed(2)
    assert torch.equal(first, augment_views(pixels, rule, ClipEncoderRecipe(), 0, 3, 4))
    for keys in [(1, 3, 4), (0, 4, 3), (0, 3, 5)]:
        other = augment_views(pixels, rule, ClipEncoderRecipe(), *keys)
        assert not torch.equal(first, other)


# -------------------------------------------------------------------- training


def test_units_that_read_the_embedding_are_predicted_near_the_ceiling(learned, data):
    out, score = learned
    units = read_table(out / "units.parquet")
    ceiling = np.sqrt(units["ceiling"])
    assert (units["r"] > 0.85 * ceiling).all()
    assert units["r"].mean() > 0.92 * ceiling.mean()
    assert (units["ceiling_kind"] == "noise_ceiling").all()
    rows = score.table[score.table["metric"] == "r_mean"]
    own = rows[(rows["region"] == "V1v") & (rows["condition"] == "held-out pictures")]
    assert own["value"].iloc[0] == pytest.approx(units["r"][:4].mean(), abs=1e-6)
    assert score.table["task"].unique().tolist() == ["clip-encoder"]
    assert read_json(out / "provenance.json")["call"]["layer"] == "output"
    assert not (out / "search").exists()


def test_weights_are_those_of_a_plain_training_in_torch(data, embeddings, tmp_path):
    recipe = ClipEncoderRecipe(epochs=4, batch_size=32, learning_rate=0.01, **PLAIN)
    fit(data, tmp_path / "run", recipe, seed=5)
    encoder = load_clip_encoder(home_of(tmp_path / "run"))
    train = np.arange(N) % 5 != 4
    betas = data.responses.betas[train].astype(np.float64)
    mean, scale = betas.mean(axis=0), betas.std(axis=0)
    y = torch.from_numpy((betas - mean) / scale).float()
    x = torch.from_numpy(embeddings[train])
    with own_torch_stream(5, "clip encoder", "initial weights"):
        line = nn.Linear(24, N_UNITS)
    with torch.no_grad():
        line.weight.mul_(0.5)
    optimiser = torch.optim.AdamW(line.parameters(), lr=1.0, weight_decay=0.02)
    for epoch in range(4):
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * 0.5 ** ((epoch + 1) / 4)
        for batch in batches_of(recipe, len(x), 5)(epoch):
            rows = list(batch.rows)
            optimiser.zero_grad()
            F.mse_loss(line(x[rows]), y[rows]).backward()
            optimiser.step()
    np.testing.assert_allclose(encoder.weight, line.weight.detach(), atol=2e-5)
    np.testing.assert_allclose(encoder.bias, line.bias.detach(), atol=2e-5)
    np.testing.assert_allclose(encoder.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(encoder.scale, scale, rtol=1e-6)


def test_the_unit_of_responses_does_not_matter(data, tmp_path):
    betas = data.responses.betas
    fit(data, tmp_path / "one")
    fit(changed(data, betas=100 * betas + 7), tmp_path / "two")
    plain = replace(QUICK, standardise=False)
    fit(data, tmp_path / "plain", plain)
    one, two, as_given = (
        load_gradient_encoder(home_of(tmp_path / name))
        for name in ("one", "two", "plain")
    )
    shown = list(data.responses.pictures[:3])
    expected = 100 * one.predict(shown) + 7
    np.testing.assert_allclose(two.predict(shown), expected, atol=0.05)
    kept = load_clip_encoder(home_of(tmp_path / "plain"))
    assert (kept.mean == 0).all()
    assert (kept.scale == 1).all()
    assert np.abs(as_given.predict(shown) - one.predict(shown)).max() > 1e-3


def test_trials_of_a_stimulus_share_its_picture(data, pictures, tmp_path):
    twice = np.repeat(np.arange(N), 2)
    stimuli = data.responses.stimuli.iloc[twice].reset_index(drop=True)
    trials = changed(
        data,
        betas=data.responses.betas[twice],
        stimuli=stimuli.assign(n_repeats=1),
        pictures=[pictures[i] for i in twice],
    )
    recipe = ClipEncoderRecipe(epochs=30, learning_rate=0.05, **PLAIN)
    fit(trials, tmp_path / "trials", recipe)
    fit(data, tmp_path / "means", recipe)
    tables = [read_table(tmp_path / n / "units.parquet") for n in ("trials", "means")]
    assert tables[0]["n_train"].tolist() == [320] * N_UNITS
    assert tables[0]["n_test"].tolist() == [40] * N_UNITS
    np.testing.assert_allclose(tables[0]["r"], tables[1]["r"], atol=0.05)


def test_several_splits_leave_an_encoder_of_all_rows(data, tmp_path):
    recipe = ClipEncoderRecipe(epochs=2, **PLAIN)
    fit(data, tmp_path, recipe, test="folds-2")
    encoder = load_clip_encoder(home_of(tmp_path))
    assert encoder.training["n_train"] == N
    assert any("Trained on all rows; the scores" in note for note in encoder.notes)
    units = read_table(tmp_path / "units.parquet")
    np.testing.assert_allclose(encoder.test_r, units["r"], atol=1e-12)


def test_half_precision_of_the_network_changes_little(data, tmp_path):
    fit(data, tmp_path / "one")
    fit(data, tmp_path / "two", replace(QUICK, precision="autocast"))
    one, two = (load_clip_encoder(home_of(tmp_path / n)) for n in ("one", "two"))
    gap = np.abs(one.weight - two.weight).max()
    assert 0 < gap < 1e-3


class _KilledError(Exception):
    """Stands for a kill."""


def files_of(out):
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in Path(out).rglob("*")
        if path.is_file()
    }


def test_a_run_that_was_killed_ends_with_equal_bytes(data, tmp_path, monkeypatch):
    fit(data, tmp_path / "whole")
    n_calls = 0

    def fail(*arguments):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 5:  # in the second epoch of three steps
            raise _KilledError
        return augment_views(*arguments)

    monkeypatch.setattr(clip_encoder_fits, "augment_views", fail)
    with pytest.raises(_KilledError):
        fit(data, tmp_path / "cut")
    assert list((tmp_path / "cut").glob("search/*/split0/checkpoint.safetensors"))
    assert not (tmp_path / "cut" / "models").exists()
    fit(data, tmp_path / "cut")
    assert n_calls == 5 + 9 - 3  # the first epoch was kept
    monkeypatch.setattr(clip_encoder_fits, "augment_views", None)
    whole, cut = files_of(tmp_path / "whole"), files_of(tmp_path / "cut")
    assert sorted(whole) == sorted(cut)
    assert [name for name in whole if whole[name] != cut[name]] == []
    fit(data, tmp_path / "cut")  # nothing is trained again
    assert files_of(tmp_path / "cut") == cut


def test_other_seeds_give_other_weights(data, tmp_path):
    for seed in (0, 1):
        fit(data, tmp_path / str(seed), seed=seed)
    one, two = (load_clip_encoder(home_of(tmp_path / str(s))) for s in (0, 1))
    assert np.abs(one.weight - two.weight).max() > 1e-3


# ------------------------------------------------------------------- what is kept


def test_the_kept_encoder_predicts_held_out_pictures_as_the_fit(learned, data):
    out, _ = learned
    encoder = load_gradient_encoder(home_of(out))
    rows = read_table(out / "predictions" / "s1" / "rows.parquet")["row"]
    shown = [data.responses.pictures[row] for row in rows]
    (path,) = (out / "predictions").rglob("output.npy")
    expected = np.load(path)
    np.testing.assert_allclose(encoder.predict(shown), expected, atol=1e-4)
    images = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_allclose(encoder(images), expected, atol=1e-4)
    assert encoder.fitted.all()
    assert encoder.regions["FFA"].tolist() == [False] * 4 + [True] * 4
    assert encoder.name == f"s1 {WEIGHTS} output"
    assert encoder.fingerprint == sha256_file(home_of(out) / CLIP_FILE)
    assert any("untrained weights" in note for note in encoder.notes)


def test_gradients_of_the_kept_encoder_raise_the_prediction(learned, data):
    encoder = load_gradient_encoder(home_of(learned[0]))
    encoder.readers[0].backbone.module.double()
    picture = torch.from_numpy(data.responses.pictures[0]).permute(2, 0, 1)
    images = 0.1 + 0.8 * picture[None].double() / 255
    leaf = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(encoder(leaf)[:, 4:].mean(), leaf)
    norm = float(gradient.norm())
    step = 1e-3 * gradient / norm
    rise = encoder(images + step)[:, 4:].mean() - encoder(images - step)[:, 4:].mean()
    assert float(rise) / 2e-3 == pytest.approx(norm, rel=0.02)


def test_files_hold_what_other_programs_need(learned):
    home = home_of(learned[0])
    arrays = load_file(home / WEIGHTS_FILE)
    assert arrays["weight"].shape == (N_UNITS, 24)
    assert arrays["weight"].dtype == np.float32
    assert arrays["voxel_index"].tolist() == list(range(N_UNITS))
    meta = read_json(home / CLIP_FILE)
    assert meta["regions"] == {"region": ["V1v", "FFA-1"]}
    assert meta["training"]["recipe"]["epochs"] == 40
    assert meta["features"]["spaces"][0]["preprocessing"]["size_px"] == [SIDE, SIDE]
    assert meta["test"]["test_r"] == pytest.approx(np.median(arrays["test_r"]))
    assert meta["test"]["ceiling"] == pytest.approx(0.8)
    table = read_table(home / "units.parquet")
    assert table["region"].tolist() == ["V1v"] * 4 + ["FFA-1"] * 4


def test_saved_encoders_are_read_as_they_were(learned, tmp_path):
    encoder = load_clip_encoder(home_of(learned[0]))
    save_clip_encoder(tmp_path, encoder)
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1
    again = load_clip_encoder(tmp_path)
    assert again.fingerprint == encoder.fingerprint
    rows = np.random.default_rng(0).standard_normal((3, 24))
    np.testing.assert_array_equal(again.predict(rows), encoder.predict(rows))
    # The length of an embedding does not matter.
    np.testing.assert_allclose(
        again.predict(5 * rows), encoder.predict(rows), rtol=1e-4
    )
    with pytest.raises(ValueError, match=r"`embeddings` must have shape \(any, 24\)"):
        encoder.predict(rows[:, 1:])
    with pytest.raises(ValueError, match="rows of 0 to 7, ascending"):
        replace(encoder, voxel_index=encoder.voxel_index[::-1].copy())


def test_units_that_cannot_be_trained_are_nan(data, tmp_path):
    betas = data.responses.betas.copy()
    betas[:, 2] = 3
    betas[7, 5] = np.nan
    fit(changed(data, betas=betas), tmp_path)
    encoder = load_clip_encoder(home_of(tmp_path))
    assert encoder.voxel_index.tolist() == [0, 1, 3, 4, 6, 7]
    assert np.isnan(encoder.test_r[[2, 5]]).all()
    looked = load_gradient_encoder(home_of(tmp_path))
    unknown = [i in (2, 5) for i in range(N_UNITS)]
    assert (~looked.fitted).tolist() == unknown
    found = looked.predict(data.responses.pictures[:2])
    assert np.isnan(found[0]).tolist() == unknown
    nothing = np.full_like(betas, 2)
    with pytest.raises(ValueError, match="No unit of tiny s1 is defined"):
        fit(changed(data, betas=nothing), tmp_path / "none")


def test_a_layer_of_any_network_can_be_the_embedding(pictures, data, tmp_path):
    backbone, layer = "compact_vgg@seeded:3/8", "stage4:gap"
    few = BrainData(data.responses.select_stimuli(np.arange(30)))
    fit(few, tmp_path, ClipEncoderRecipe(epochs=2, **PLAIN), backbone, layer=layer)
    home = home_of(tmp_path, layer, backbone)
    assert load_clip_encoder(home).weight.shape[1] == 16
    encoder = load_gradient_encoder(home)
    network = read_network(load_backbone("compact_vgg", "seeded:3/8"), [layer])
    rows = network.read(prepare_pictures(pictures[:2], network.rule))[layer]
    expected = load_clip_encoder(home).predict(rows.numpy())
    np.testing.assert_allclose(encoder.predict(pictures[:2]), expected, atol=1e-5)


# ------------------------------------------------------------------- bad input


def test_damaged_encoders_and_other_networks_are_refused(learned, tmp_path):
    home = home_of(learned[0])
    copy = tmp_path / "model"
    shutil.copytree(home, copy)
    meta = (copy / CLIP_FILE).read_text()
    (copy / CLIP_FILE).write_text(meta.replace('"seeded:0"', '"seeded:1"'))
    with pytest.raises(ValueError, match=r"weights_hash is .* and was"):
        load_gradient_encoder(copy)
    (copy / CLIP_FILE).write_text(meta.replace('"version": 1', '"version": 2'))
    with pytest.raises(ValueError, match="in version 2 of the format"):
        load_gradient_encoder(copy)
    told = json.loads(meta)
    del told["training"]
    (copy / CLIP_FILE).write_text(json.dumps(told))
    with pytest.raises(DataCorruptError, match="encoder of embeddings"):
        load_gradient_encoder(copy)
    (copy / CLIP_FILE).write_text("[]")
    with pytest.raises(DataCorruptError, match="not that of an encoder"):
        load_gradient_encoder(copy)
    (copy / CLIP_FILE).write_text(meta)
    data = (copy / WEIGHTS_FILE).read_bytes()
    (copy / WEIGHTS_FILE).write_bytes(data[:-4])
    with pytest.raises(DataCorruptError, match="cut or changed"):
        load_gradient_encoder(copy)
    with pytest.raises(FileNotFoundError, match=f"{CLIP_FILE} is missing"):
        load_clip_encoder(tmp_path)


def test_calls_that_make_no_sense_are_refused_before_anything_is_written(
    data, tmp_path
):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="has no pictures"):
        fit(changed(data, pictures=None), out)
    with pytest.raises(ValueError, match="must be one layer"):
        fit(data, out, layer="a+b")
    with pytest.raises(ValueError, match=r"no vector but \(24, 8, 8\) per picture"):
        fit(data, out, backbone="compact_vgg@seeded:0/8")
    with pytest.raises(ValueError, match="has no layer 'heads'"):
        fit(data, out, layer="heads")
    with pytest.raises(ValueError, match="`features` must be NETWORK"):
        fit(data, out, backbone="clip:ViT-B-16")
    with pytest.raises(ValueError, match="`source of `backbone`` must be one of"):
        fit(data, out, backbone="given")
    with pytest.raises(ValueError, match="`seed` must be within"):
        fit(data, out, seed=-1)
    with pytest.raises(ValueError, match="`data` must be one of 'simulated:content'"):
        fit_clip_encoder("simulated:nothing", WEIGHTS, out)
    assert not out.exists()


def test_a_folder_of_another_run_is_refused(data, tmp_path):
    fit(data, tmp_path, replace(QUICK, epochs=1))
    with pytest.raises(ValueError, match="holds a run with recipe="):
        fit(data, tmp_path)


def test_the_default_network_is_that_of_braindive():
    from timm import get_pretrained_cfg, is_model

    name = BACKBONE.partition(":")[2]
    assert is_model(name)
    config = get_pretrained_cfg(name)
    assert (config.num_classes, config.classifier) == (512, "head")
    assert config.input_size == (3, 224, 224)
    assert config.mean == (0.48145466, 0.4578275, 0.40821073)
    assert config.std == (0.26862954, 0.26130258, 0.27577711)
