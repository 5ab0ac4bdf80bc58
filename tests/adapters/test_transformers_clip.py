"""CLIP of transformers: un-normalised embeddings, and pictures as it prepares them."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionModelWithProjection,
)

from neurovis.adapters.backbones import list_layers, load_backbone
from neurovis.adapters.feature_inputs import INTERPOLATIONS
from neurovis.adapters.transformers_clip import (
    LAYOUT,
    load_clip_tower,
    read_preprocessing,
)
from neurovis.core.errors import DataCorruptError, MissingDependencyError
from neurovis.core.rng import own_torch_stream

SIDE, N_FEATURES = 32, 24
# Pillow resizes in this one; the other one of transformers 5 resizes in torch.
PilProcessor = getattr(
    transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor
)
PREPARED = {
    "size": {"shortest_edge": SIDE},
    "crop_size": {"height": SIDE, "width": SIDE},
}
SIZES = [(32, 32), (50, 50), (61, 40), (200, 317), (33, 200), (32, 51), (70, 47)]


def make_config(**changes):
    layers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    text = {"vocab_size": 50, "max_position_embeddings": 16, "eos_token_id": 1}
    vision = {"image_size": SIDE, "patch_size": 8}
    return CLIPConfig(
        text_config={**layers, **text, "bos_token_id": 0, "pad_token_id": 1},
        vision_config={**layers, **vision, **changes},
        projection_dim=N_FEATURES,
    )


def make_model(seed=0, **changes):
    with own_torch_stream(seed, "clip"):
        return CLIPModel(make_config(**changes)).eval().requires_grad_(False)


def save(folder, model):
    model.save_pretrained(folder)
    PilProcessor(**PREPARED).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    return save(tmp_path_factory.mktemp("models") / "tiny-clip", model)


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copied")


@pytest.fixture(scope="module")
def backbone(folder):
    return load_backbone("transformers:owner/tiny-clip", folder)


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def noise(size, seed=0):
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (*size, 3), dtype=np.uint8)


def embedded_by(model, pixels):
    """Un-normalised embeddings, whatever the version of transformers."""
    found = model.get_image_features(pixel_values=pixels)
    return found if isinstance(found, torch.Tensor) else found.pooler_output


def as_input(rule, picture):
    return rule.normalise(torch.from_numpy(rule.prepare(picture)[None]))[0]


# -------------------------------------------------------------------- embeddings


def test_embeddings_are_those_of_the_model_before_normalisation(model, backbone):
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found = backbone.module(pixels)
    assert type(found) is torch.Tensor
    assert (found.shape, found.dtype) == ((3, N_FEATURES), torch.float32)
    torch.testing.assert_close(found, embedded_by(model, pixels), atol=1e-6, rtol=0)
    numbers = torch.tensor([[0, 5, 7, 1]])
    joint = model(input_ids=numbers, pixel_values=pixels).image_embeds
    assert (found - joint).abs().max() > 0.1
    lengths = found.norm(dim=1, keepdim=True)
    assert (lengths - 1).abs().min() > 0.1
    torch.testing.assert_close(found / lengths, joint, atol=1e-6, rtol=0)


def test_the_embedding_is_computed_by_hand_from_the_last_tokens(backbone, model):
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    tokens = model.vision_model(pixel_values=pixels).last_hidden_state[:, 0].numpy()
    norm, map_ = model.vision_model.post_layernorm, model.visual_projection
    centred = tokens - tokens.mean(1, keepdims=True)
    unit = centred / np.sqrt((centred**2).mean(1, keepdims=True) + norm.eps)
    pooled = unit * norm.weight.numpy() + norm.bias.numpy()
    expected = pooled @ map_.weight.numpy().T
    np.testing.assert_allclose(
        backbone.module(pixels).detach().numpy(), expected, atol=1e-5
    )


def test_a_vision_tower_saved_alone_gives_the_same_embeddings(
    tmp_path, folder, backbone
):
    config = make_config().vision_config
    config.projection_dim = N_FEATURES
    tower = CLIPVisionModelWithProjection(config)
    state = load_file(folder / "model.safetensors")
    tower.load_state_dict({n: state[n] for n in tower.state_dict()})
    tower.save_pretrained(tmp_path)
    PilProcessor(**PREPARED).save_pretrained(tmp_path)
    found = load_clip_tower(str(tmp_path))
    assert found.weights_hash == backbone.weights_hash
    assert found.identity == backbone.identity


def test_gradients_flow_to_the_picture(backbone):
    pixels = torch.zeros(1, 3, SIDE, SIDE, requires_grad=True)
    backbone.module(pixels).square().sum().backward()
    assert pixels.grad.abs().min() > 0


def test_layers_of_the_tower_are_read_as_of_any_other(model, backbone):
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    layers = [
        "vision_model.encoder.layers.0:cls",
        "vision_model.encoder.layers.1.mlp.fc1:patches",
        "vision_model.encoder.layers.1.self_attn.k_proj:grid2",
        "visual_projection",
    ]
    with torch.no_grad():
        found = backbone.features(images, layers)
    widths = [rows.shape[1] for rows in found.values()]
    assert widths == [32, 16 * 64, 4 * 32, N_FEATURES]
    pixels = backbone.preprocessing.normalise(255 * images.permute(0, 2, 3, 1))
    expected = embedded_by(model, pixels)
    torch.testing.assert_close(found["visual_projection"], expected)
    states = model.vision_model(pixel_values=pixels, output_hidden_states=True)
    first = states.hidden_states[1][:, 0]
    torch.testing.assert_close(found[layers[0]], first, atol=1e-6, rtol=0)
    table = list_layers(backbone).set_index("layer")
    assert table.loc["vision_model.encoder.layers.1", "shape"] == (17, 32)


# ----------------------------------------------------------------- preprocessing


def half_pixel(size):
    """Whether the cut lies between pixels, and torchvision rounds up."""
    long = int(SIDE * max(size) / min(size))
    return (long - SIDE) % 4 == 3


def test_some_sizes_are_cut_between_pixels_and_some_are_not():
    assert {half_pixel(size) for size in SIZES} == {False, True}


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_prepared_as_by_transformers(backbone, size):
    picture = noise(size)
    processor = PilProcessor(**PREPARED)
    found = as_input(backbone.preprocessing, picture)
    given = Image.fromarray(picture)
    expected = processor(given, return_tensors="pt").pixel_values[0]
    if half_pixel(size):
        # Transformers begins one pixel earlier, torchvision and open_clip do not.
        wide = size[1] > size[0]
        expected = expected[:, :, 1:] if wide else expected[:, 1:]
        found = found[:, :, :-1] if wide else found[:, :-1]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [s for s in SIZES if not half_pixel(s)])
def test_the_processor_that_resizes_in_torch_rounds_a_little_otherwise(backbone, size):
    picture = noise(size)
    processor = transformers.CLIPImageProcessor(**PREPARED)
    expected = processor(Image.fromarray(picture), return_tensors="pt").pixel_values[0]
    level = 1 / (255 * 0.26)
    error = (as_input(backbone.preprocessing, picture) - expected).abs()
    assert error.max() < 2.5 * level


@pytest.mark.parametrize(
    "told",
    [
        # As the first versions wrote them, and OpenAI's own folders have them.
        {"size": SIDE, "crop_size": SIDE, "resample": 3, "do_resize": True},
        {"size": {"shortest_edge": 40}, "resample": 2, "image_std": [0.5, 0.5, 0.5]},
        {"size": {"height": 36, "width": 36}, "rescale_factor": 1 / 255},
    ],
)
def test_every_form_of_the_file_is_understood(copied, told):
    path = copied / "preprocessor_config.json"
    crop = {"height": SIDE, "width": SIDE}
    path.write_text(json.dumps({"crop_size": crop} | told))
    rule = load_clip_tower(str(copied)).preprocessing
    processor = PilProcessor.from_pretrained(copied)
    for size in ((50, 50), (40, 80), (61, 40)):
        picture = noise(size)
        given = Image.fromarray(picture)
        expected = processor(given, return_tensors="pt").pixel_values[0]
        torch.testing.assert_close(as_input(rule, picture), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_interpolations_have_the_numbers_of_pillow(copied, number):
    change(copied / "preprocessor_config.json", resample=number)
    name = read_preprocessing(copied).interpolation
    assert INTERPOLATIONS[name] == Image.Resampling(number)


def test_the_file_of_version_5_is_as_good(copied, backbone):
    path = copied / "preprocessor_config.json"
    told = {"image_processor": json.loads(path.read_text())}
    (copied / "processor_config.json").write_text(json.dumps(told))
    path.unlink()
    assert load_clip_tower(str(copied)).preprocessing == backbone.preprocessing


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"do_center_crop": False}, "switches off or changes do_center_crop"),
        ({"do_normalize": False}, "do_normalize"),
        ({"rescale_factor": 1 / 127.5}, "another rescale_factor"),
        ({"size": {"longest_edge": 32}}, "no preprocessing of CLIP"),
        ({"resample": 9}, "no preprocessing of CLIP"),
        ({"crop_size": 24}, r"pictures of 32 pixels.*makes \(24, 24\)"),
    ],
)
def test_other_preprocessing_is_refused(copied, values, message):
    change(copied / "preprocessor_config.json", **values)
    with pytest.raises(ValueError, match=message):
        load_clip_tower(str(copied))


# ----------------------------------------------------------------------- weights


def test_a_backbone_tells_what_it_is(folder, backbone):
    assert backbone.name == "transformers:owner/tiny-clip"
    assert backbone.weights_name == "tiny-clip"
    assert (backbone.trained, backbone.notes) == (True, ())
    assert (backbone.prefix_tokens, backbone.class_token) == (1, True)
    here = load_backbone(f"transformers:{folder}")
    assert here.identity == backbone.identity
    json.dumps(backbone.identity)
    gelu = load_backbone(f"transformers:{folder}", resize="squash")
    assert gelu.preprocessing.resize == "squash"


def test_what_weights_do_not_tell_belongs_to_the_identity(copied, backbone):
    told = json.loads((copied / "config.json").read_text())
    told["vision_config"]["hidden_act"] = "gelu"
    (copied / "config.json").write_text(json.dumps(told))
    found = load_clip_tower(str(copied))
    assert found.weights_hash == backbone.weights_hash
    assert found.identity != backbone.identity


def test_seeded_weights_need_the_description_only(copied, backbone):
    (copied / "model.safetensors").unlink()
    before = torch.get_rng_state()
    first, again, other = (
        load_backbone(f"transformers:{copied}", f"seeded:{seed}") for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    hashes = {first.weights_hash, other.weights_hash, backbone.weights_hash}
    assert len(hashes) == 3
    assert again.weights_hash == first.weights_hash
    assert not first.trained
    assert first.notes == (f"transformers:{copied}: untrained weights (seeded:3)",)
    assert first.module.visual_projection.weight.shape == (N_FEATURES, 32)


def test_reading_a_folder_is_quiet_and_draws_no_numbers(folder, caplog, capfd):
    before = torch.get_rng_state()
    load_clip_tower(str(folder))
    assert torch.equal(torch.get_rng_state(), before)
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_weights_in_several_files_are_found(copied, model, backbone):
    (copied / "model.safetensors").unlink()
    model.save_pretrained(copied, max_shard_size="40KB")
    assert len(list(copied.glob("*.safetensors"))) > 2
    assert load_clip_tower(str(copied)).weights_hash == backbone.weights_hash


def test_half_precision_and_old_numbers_of_positions_are_read(copied, backbone):
    path = copied / "model.safetensors"
    state = {name: value.half() for name, value in load_file(path).items()}
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(state, path)
    change(copied / "config.json", torch_dtype="float16")
    module = load_clip_tower(str(copied)).module
    for name, value in module.state_dict().items():
        expected = backbone.module.state_dict()[name].half().float()
        assert torch.equal(value, expected), name


def test_a_model_of_the_hub_comes_from_the_cache(
    folder, backbone, tmp_path, monkeypatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        load_backbone("transformers:owner/tiny-clip")
    assert "no model 'owner/tiny-clip' in the cache" in str(error.value)
    assert "hf download owner/tiny-clip --local-dir FOLDER" in str(error.value)
    assert LAYOUT in str(error.value)
    place, commit = tmp_path / "models--owner--tiny-clip", "a" * 40
    shutil.copytree(folder, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    found = load_backbone("transformers:owner/tiny-clip")
    assert found.identity == backbone.identity
    assert found.name == "transformers:owner/tiny-clip"
    assert found.weights_name == "tiny-clip"


# ------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    "part", ["config.json", "model.safetensors", "preprocessor_config.json"]
)
def test_a_missing_file_is_named_with_the_layout(copied, part):
    (copied / part).unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_clip_tower(str(copied))
    assert f"it lacks {part}.\n{LAYOUT}" in str(error.value)


def test_pickled_weights_are_not_read(copied):
    path = copied / "model.safetensors"
    path.rename(path.with_name("pytorch_model.bin"))
    with pytest.raises(FileNotFoundError, match=r"\.bin files could run code"):
        load_clip_tower(str(copied))


def test_a_shard_that_is_missing_or_elsewhere_is_told(copied, model):
    (copied / "model.safetensors").unlink()
    model.save_pretrained(copied, max_shard_size="40KB")
    index = copied / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    file = told["weight_map"]["visual_projection.weight"]
    (copied / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        load_clip_tower(str(copied))
    told["weight_map"]["visual_projection.weight"] = "../other.safetensors"
    index.write_text(json.dumps(told))
    with pytest.raises(DataCorruptError, match=r"'\.\./other\.safetensors'"):
        load_clip_tower(str(copied))
    index.write_text("{}")
    with pytest.raises(DataCorruptError, match="names no files"):
        load_clip_tower(str(copied))


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_cut_weights_are_damaged(copied, share):
    path = copied / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match=r"model\.safetensors"):
        load_clip_tower(str(copied))


def test_weights_that_do_not_fit_are_told(copied):
    path = copied / "model.safetensors"
    state = load_file(path)
    del state["visual_projection.weight"]
    save_file(state, path)
    with pytest.raises(ValueError, match=r"1 missing \(visual_projection\.weight\)"):
        load_clip_tower(str(copied))
    save_file(state | {"visual_projection.weight": torch.zeros(8, 32)}, path)
    with pytest.raises(ValueError, match=r"of another shape .*\(8, 32\) instead of"):
        load_clip_tower(str(copied))


@pytest.mark.parametrize("text", ["", "{", "[]"])
@pytest.mark.parametrize("part", ["config.json", "preprocessor_config.json"])
def test_damaged_descriptions_are_told(copied, part, text):
    (copied / part).write_text(text)
    with pytest.raises(DataCorruptError, match=part):
        load_clip_tower(str(copied))


def test_descriptions_that_cannot_be_are_told(copied):
    path = copied / "config.json"
    told = json.loads(path.read_text())
    told["vision_config"]["num_attention_heads"] = 5
    path.write_text(json.dumps(told))
    with pytest.raises(DataCorruptError, match="cannot be read as a CLIPConfig"):
        load_clip_tower(str(copied))


def test_other_models_are_refused(copied):
    change(copied / "config.json", model_type="siglip")
    with pytest.raises(ValueError, match="must be one of 'clip', 'clip_vision_model'"):
        load_clip_tower(str(copied))


@pytest.mark.parametrize(
    ("name", "weights", "error", "message"),
    [
        ("not/there/at-all", None, FileNotFoundError, "'transformers:NAME' must be"),
        ("tiny", None, FileNotFoundError, "tiny is no folder"),
        ("", None, FileNotFoundError, "is no whole model"),
        ("owner/tiny", "absent", FileNotFoundError, "`weights` must be the folder"),
        ("owner/tiny", "seeded:x", ValueError, "must look like 'seeded:0'"),
    ],
)
def test_sources_that_are_not_there_are_told(
    name, weights, error, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        load_backbone(f"transformers:{name}", weights)


def test_the_size_of_a_tower_stays(folder):
    with pytest.raises(ValueError, match="of transformers cannot be changed"):
        load_backbone(f"transformers:{folder}", size_px=64)


def test_a_missing_package_is_told(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if not installed
    message = r'need transformers: pip install "neurovis\[generate\]"'
    with pytest.raises(MissingDependencyError, match=message):
        load_clip_tower(str(folder))


# --------------------------------------------------------------------- open_clip


def test_open_clip_gives_embeddings_before_normalisation_too(tmp_path):
    open_clip = pytest.importorskip("open_clip")
    from neurovis.adapters.backbones import load_open_clip

    name = "tiny-clip-of-the-transformers-tests"
    config = {
        "embed_dim": N_FEATURES,
        "vision_cfg": {
            **{"image_size": SIDE, "layers": 2, "width": 32},
            **{"head_width": 16, "patch_size": 8},
        },
        "text_cfg": {"context_length": 12, "width": 32, "heads": 2, "layers": 1},
    }
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    model, tower = load_open_clip(f"open_clip:{name}", "seeded:1")
    alone = load_backbone(f"open_clip:{name}", "seeded:1")
    assert alone.weights_hash == tower.weights_hash
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        raw = model.encode_image(pixels, normalize=False)
        unit = model.encode_image(pixels, normalize=True)
        found = alone.module(pixels)
    assert torch.equal(found, raw)
    assert (found - unit).abs().max() > 0.1
