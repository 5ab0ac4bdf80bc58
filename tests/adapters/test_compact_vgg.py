"""The compact VGG: folded, saved, read again, as a trunk, as a backbone, damaged."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from neurovis.adapters import compact_vgg as module
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.compact_vgg import (
    DEPTHS,
    SHIPPED,
    SHIPPED_SHA256,
    STAGES,
    WIDTHS,
    compact_vgg,
    compact_vgg_shapes,
    folded_state,
    load_compact,
    save_compact,
    seeded_compact,
    stage_outputs,
)
from neurovis.adapters.eccnet import load_eccnet
from neurovis.adapters.feature_models import list_layers
from neurovis.adapters.trunk_weights import load_trunk
from neurovis.adapters.trunks import full_pass, pooling_rules
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file
from neurovis.core.rng import generator
from tasks.feature_specs import parse_features

TINY = (3, 6, 12, 16, 24)
FOLDER = Path(module.__file__).parent
ABOUT = {"notes": ["a compact network of a test"], "seed": 3}


def pictures(n=2, side=32, seed=0):
    draws = generator(seed, "pictures").integers(0, 256, (n, side, side, 3), np.uint8)
    return torch.from_numpy(draws)


def worn(widths=TINY, seed=0):
    """A normalised network whose statistics and gains a training could have left."""
    network = compact_vgg(seeded_compact(seed, widths), widths, normalised=True)
    draw = generator(seed, "statistics")
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            n = layer.num_features
            values = {
                "running_mean": draw.normal(0, 0.3, n),
                "running_var": draw.uniform(0.2, 3, n),
                "weight": draw.uniform(-0.5, 1.5, n),
                "bias": draw.normal(0, 0.3, n),
            }
            with torch.no_grad():
                for name, value in values.items():
                    getattr(layer, name).copy_(torch.from_numpy(value))
    return network


@pytest.fixture
def saved(tmp_path):
    """Weights as a training leaves them."""
    path = tmp_path / "backbone.safetensors"
    save_compact(path, folded_state(worn()), ABOUT)
    return path


# ------------------------------------------------------------------------ network


def test_shapes_follow_widths_and_depths():
    shapes = compact_vgg_shapes(TINY)
    kernels = [shape for name, shape in shapes.items() if name.endswith(".weight")]
    assert sum(DEPTHS) == len(kernels) == 8
    assert [shape[0] for shape in kernels] == [3, 6, 12, 12, 16, 16, 24, 24]
    assert [shape[1] for shape in kernels] == [3, 3, 6, 12, 12, 16, 16, 24]
    assert {shape[2:] for shape in kernels} == {(3, 3)}
    assert all(
        shapes[f"{name[:-7]}.bias"] == (shapes[name][0],)
        for name in shapes
        if name.endswith(".weight")
    )


def test_the_network_has_947344_parameters():
    n_parameters, n_in = 0, 3
    for width, depth in zip(WIDTHS, DEPTHS, strict=True):
        for _ in range(depth):
            n_parameters += 9 * n_in * width + width
            n_in = width
    network = compact_vgg(seeded_compact(0))
    assert sum(p.numel() for p in network.parameters()) == n_parameters == 947_344


def test_stages_halve_the_picture_and_pooling_is_average():
    network = compact_vgg(seeded_compact(0, TINY), TINY)
    maps = stage_outputs(network, torch.randn(2, 3, 32, 48))
    sides = [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    found = [tuple(x.shape) for x in maps]
    assert found == [(2, w, *s) for w, s in zip(TINY, sides, strict=True)]
    assert all(x.min() >= 0 for x in maps)
    assert not network.training
    first = maps[0].reshape(2, 3, 16, 2, 24, 2).mean((3, 5))
    again = network.stage2(first)
    assert torch.allclose(again, maps[1], atol=1e-6)


def test_the_network_matches_convolutions_by_hand():
    network = worn()
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    network = network.double()
    value, mine = x, []
    for stage in STAGES:
        if mine:
            value = value.reshape(*value.shape[:2], value.shape[2] // 2, 2, -1, 2)
            value = value.mean((3, 5))
        for layer in network.get_submodule(stage).children():
            norm = layer.norm
            windows = nn.functional.unfold(value, 3, padding=1)
            summed = layer.weight.flatten(1) @ windows
            summed = summed.reshape(1, -1, *value.shape[2:])
            column = (slice(None), None, None)
            spread = torch.sqrt(norm.running_var + 1e-5)[column]
            value = (summed - norm.running_mean[column]) / spread
            value = (value * norm.weight[column] + norm.bias[column]).clamp(min=0)
        mine.append(value)
    for found, expected in zip(stage_outputs(network, x), mine, strict=True):
        assert torch.allclose(found, expected, atol=1e-10)
        assert expected.max() > 0


@pytest.mark.parametrize("normalised", [False, True])
def test_building_a_network_leaves_the_generator_of_torch_alone(normalised):
    before = torch.get_rng_state()
    compact_vgg(seeded_compact(0, TINY), TINY, normalised=normalised)
    load_backbone("compact_vgg", "seeded:0/8")
    assert torch.equal(torch.get_rng_state(), before)


# ----------------------------------------------------------------- random weights


def test_seeded_weights_are_these_numbers_on_every_machine():
    state = seeded_compact(0, TINY)
    first = state["stage1.conv1.weight"].flatten()[:2].tolist()
    last = state["stage5.conv2.weight"].flatten()[:2].tolist()
    assert first == pytest.approx([0.1918797493, 0.2397770733], rel=1e-6)
    assert last == pytest.approx([0.1255835444, 0.0472065210], rel=1e-6)
    squares = state["stage4.conv1.weight"].double().square().sum().item()
    assert squares == pytest.approx(31.544795, rel=1e-6)


def test_seeded_kernels_have_variance_2_over_fan_in_and_biases_are_0():
    state = seeded_compact(5)
    for name, value in state.items():
        assert value.dtype == torch.float32
        if name.endswith(".bias"):
            assert value.abs().max() == 0
        else:
            n_in = value[0].numel()
            # Within five standard errors of a variance.
            error = 5 * np.sqrt(2 / value.numel())
            assert value.var().item() * n_in / 2 == pytest.approx(1, abs=error)


def test_each_seed_has_weights_of_its_own_and_layers_differ():
    one, other = (seeded_compact(seed, TINY) for seed in (0, 1))
    kernels = [name for name in one if name.endswith(".weight")]
    assert all((one[name] != other[name]).any() for name in kernels)
    assert all(torch.equal(one[n], v) for n, v in seeded_compact(0, TINY).items())
    same = one["stage5.conv1.weight"].flatten()[:9], one["stage5.conv2.weight"]
    assert not torch.equal(same[0], same[1].flatten()[:9])


# ------------------------------------------------------------------------ folding


def test_the_folded_network_equals_the_normalised_one():
    network = worn()
    folded = compact_vgg(folded_state(network), TINY)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()
    pairs = zip(
        stage_outputs(network.double(), x),
        stage_outputs(folded.double(), x),
        strict=True,
    )
    for expected, found in pairs:
        assert expected.max() > 0
        assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_folding_a_plain_network_changes_nothing():
    state = seeded_compact(2, TINY)
    state = {n: v + 0.25 if n.endswith("bias") else v for n, v in state.items()}
    again = folded_state(compact_vgg(state, TINY))
    assert list(again) == list(state)
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_a_new_normalised_network_starts_from_the_biases_as_shifts():
    state = seeded_compact(2, TINY)
    state = {n: v + 0.25 if n.endswith("bias") else v for n, v in state.items()}
    folded = folded_state(compact_vgg(state, TINY, normalised=True))
    for name, value in state.items():
        # The running variance is 1, to which 1e-5 is added.
        expected = value if name.endswith("bias") else value / np.sqrt(1 + 1e-5)
        assert torch.allclose(folded[name], expected, rtol=1e-6)


# -------------------------------------------------------------------------- files


def test_what_is_saved_is_read_within_half_precision(saved):
    state = folded_state(worn())
    found = load_compact(saved)
    assert found.trained
    assert found.about == {**ABOUT, "widths": list(TINY)}
    assert found.notes == ("a compact network of a test",)
    assert set(found.state) == set(state)
    for name, value in state.items():
        assert found.state[name].dtype == torch.float32
        assert torch.equal(found.state[name], value.half().float())
        # Half of the distance of two numbers of 16 bits; below 2**-14 they are even.
        bound = value.abs() * 2**-11 + 2**-25
        assert ((found.state[name] - value).abs() <= bound).all()


def test_the_file_holds_16_bits(saved):
    state = load_file(saved)
    assert {value.dtype for value in state.values()} == {torch.float16}
    n_bytes = sum(2 * value.numel() for value in state.values())
    assert n_bytes < saved.stat().st_size < n_bytes + 4096


def test_equal_weights_give_equal_bytes_in_any_order(saved, tmp_path):
    state = folded_state(worn())
    other = tmp_path / "other.safetensors"
    turned = {name: state[name] for name in reversed(state)}
    about = dict(reversed(ABOUT.items()))
    save_compact(other, turned, about)
    assert other.read_bytes() == saved.read_bytes()
    save_compact(other, load_compact(saved).state, ABOUT)
    assert other.read_bytes() == saved.read_bytes()


def test_a_saved_file_may_be_read_by_whom_other_files_may(saved):
    other = saved.with_name("other.txt")
    other.write_text("")
    assert saved.stat().st_mode == other.stat().st_mode


def test_a_saved_file_replaces_one_that_is_there(saved):
    save_compact(saved, seeded_compact(0, TINY), {"notes": []})
    assert load_compact(saved).notes == ()
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("value", [1e6, -1e6, np.nan, np.inf])
def test_weights_beyond_16_bits_are_refused(tmp_path, value):
    state = seeded_compact(0, TINY)
    state["stage2.conv1.weight"][0, 0, 0, 0] = value
    path = tmp_path / "backbone.safetensors"
    with pytest.raises(ValueError, match=r"stage2\.conv1\.weight .* 16 bits cannot"):
        save_compact(path, state, ABOUT)
    assert list(tmp_path.iterdir()) == []


def test_wrong_weights_are_not_saved(tmp_path):
    state = seeded_compact(0, TINY)
    path = tmp_path / "backbone.safetensors"
    lacking = {n: v for n, v in state.items() if not n.startswith("stage5")}
    with pytest.raises(ValueError, match=r"4 missing \(stage5\.conv1\.weight"):
        save_compact(path, lacking, ABOUT)
    with pytest.raises(ValueError, match="1 unexpected"):
        save_compact(path, {**state, "head.weight": torch.ones(1)}, ABOUT)
    short = {**state, "stage1.conv1.bias": torch.ones(5)}
    with pytest.raises(ValueError, match="of another shape"):
        save_compact(path, short, ABOUT)
    with pytest.raises(ValueError, match=r"suffix of path.*'\.pth'"):
        save_compact(tmp_path / "backbone.pth", state, ABOUT)
    with pytest.raises(ValueError, match="use None for undefined"):
        save_compact(path, state, {"loss": np.nan})
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_read_with_the_right_hash_only(saved):
    sha256 = sha256_file(saved)
    assert load_compact(saved, sha256=sha256).trained
    wrong = sha256[:-1] + ("0" if sha256[-1] != "0" else "1")
    with pytest.raises(DataCorruptError, match=re.escape(str(saved))):
        load_compact(saved, sha256=wrong)


def test_a_changed_byte_is_noticed_by_the_hash(saved):
    sha256, data = sha256_file(saved), bytearray(saved.read_bytes())
    data[-3] ^= 1
    saved.write_bytes(data)
    assert load_compact(saved).trained  # safetensors has no checksum
    with pytest.raises(DataCorruptError):
        load_compact(saved, sha256=sha256)


@pytest.mark.parametrize("share", [0, 0.001, 0.05, 0.5, 0.999])
def test_a_truncated_file_is_damaged(saved, share):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match=re.escape(str(saved))):
        load_compact(saved)


def test_tensors_without_a_description_are_refused(tmp_path):
    path = tmp_path / "bare.safetensors"
    save_file(seeded_compact(0, TINY), path)
    with pytest.raises(ValueError, match="no description of a compact VGG") as error:
        load_compact(path)
    assert not isinstance(error.value, OSError)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"widths": 24}',
        '{"widths": [3, 6, 12, 16]}',
        '{"widths": [3, 6, 12, 16, 0]}',
        '{"widths": [3, 6, 12, 16, 2.5]}',
        '{"widths": "abcde"}',
    ],
)
def test_a_description_of_something_else_is_damage(tmp_path, text):
    path = tmp_path / "odd.safetensors"
    save_file(seeded_compact(0, TINY), path, metadata={"compact_vgg": text})
    with pytest.raises(DataCorruptError, match="none of a compact VGG"):
        load_compact(path)


def test_tensors_must_have_the_widths_of_the_description(tmp_path):
    path = tmp_path / "other.safetensors"
    text = json.dumps({"widths": [4, 6, 12, 16, 24]})
    save_file(seeded_compact(0, TINY), path, metadata={"compact_vgg": text})
    with pytest.raises(ValueError, match="of another shape"):
        load_compact(path)


def test_other_suffixes_and_missing_files_are_told(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(seeded_compact(0, TINY), path)
    with pytest.raises(ValueError, match=r"suffix of weights.*'\.pth'"):
        load_compact(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        load_compact(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("widths", [(3, 6, 12, 16), (3, 6, 12, 16, 24, 24), ()])
def test_there_are_five_widths(widths):
    with pytest.raises(ValueError, match="must be five numbers"):
        compact_vgg_shapes(widths)


def test_widths_are_whole_numbers_above_0():
    with pytest.raises(ValueError, match="widths"):
        seeded_compact(0, (3, 6, 12, 16, 0))
    with pytest.raises(ValueError, match=r"`widths` must be a whole number; got 2\.5"):
        seeded_compact(0, (3, 6, 12, 16, 2.5))
    with pytest.raises(ValueError, match="of another shape"):
        compact_vgg(seeded_compact(0, TINY), WIDTHS)


def test_a_seed_with_a_divisor_gives_narrow_random_weights():
    found = load_compact("seeded:3/8")
    assert not found.trained
    assert found.notes == ()
    expected = seeded_compact(3, TINY)
    assert all(torch.equal(found.state[n], v) for n, v in expected.items())
    assert load_compact("seeded:3").about["widths"] == list(WIDTHS)
    assert load_compact("seeded:3/5").about["widths"] == [4, 9, 19, 25, 38]


@pytest.mark.parametrize(
    "weights",
    [
        "seeded:",
        "seeded:-1",
        "seeded:0/0",
        "seeded:0/9",
        "seeded:0/16",
        "seeded:1.5",
        "seeded:0/8/2",
        "seeded:1234567890",
        "seeded:٣",
    ],
)
def test_odd_seeds_are_refused(weights):
    with pytest.raises(ValueError, match="must look like 'seeded:0' or 'seeded:0/8'"):
        load_compact(weights)


# ---------------------------------------------------------------- shipped weights


def test_the_shipped_file_is_whole_and_small():
    path = FOLDER / SHIPPED
    assert sha256_file(path) == SHIPPED_SHA256
    assert path.stat().st_size <= 5_000_000


def test_the_shipped_weights_are_those_of_the_file_and_tell_how_they_were_made():
    found = load_compact()
    assert found.trained
    assert found.about["widths"] == list(WIDTHS)
    assert found.notes
    assert all(isinstance(note, str) and note for note in found.notes)
    held = load_file(FOLDER / SHIPPED)
    assert set(held) == set(compact_vgg_shapes())
    assert all(torch.equal(found.state[n], v.float()) for n, v in held.items())
    with safetensors.safe_open(FOLDER / SHIPPED, "pt") as file:
        assert json.loads(file.metadata()["compact_vgg"]) == found.about


def test_the_shipped_weights_answer_differently_to_different_pictures():
    network = compact_vgg(load_compact().state)
    x = load_trunk("compact_vgg", "shipped").preprocess(pictures(2, 64))
    with torch.no_grad():
        means = [x.mean((2, 3)) for x in stage_outputs(network, x)]
    for mean in means:
        assert mean.isfinite().all()
        assert (mean[0] - mean[1]).abs().max() > 0


@pytest.mark.parametrize("fault", ["flipped", "truncated"])
def test_damage_of_the_shipped_file_is_noticed(tmp_path, monkeypatch, fault):
    copy = tmp_path / SHIPPED
    shutil.copy(FOLDER / SHIPPED, copy)
    monkeypatch.setattr(module.resources, "files", lambda package: tmp_path)
    assert load_compact().trained
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data if fault == "flipped" else data[:-1])
    with pytest.raises(DataCorruptError, match=SHIPPED):
        load_compact()


# --------------------------------------------------------- as trunk, as backbone


@pytest.mark.parametrize("weights", ["seeded:1/8", "shipped"])
def test_the_trunk_with_uniform_pooling_is_the_network(weights):
    trunk = load_trunk("compact_vgg", weights)
    found = load_compact(weights)
    network = compact_vgg(found.state, found.about["widths"])
    rules = pooling_rules(trunk, eccentric=False)
    images = pictures(2, 64)
    with torch.no_grad():
        maps, _ = full_pass(trunk, images, rules)
        expected = stage_outputs(network, trunk.preprocess(images))
    assert trunk.strides == (1, 2, 4, 8, 16)
    for one, other in zip(maps, expected, strict=True):
        scale = other.abs().max()
        assert scale > 0
        assert torch.allclose(one, other, atol=2e-6 * float(scale))


def test_a_trunk_and_a_backbone_of_a_file_tell_its_name_and_notes(saved):
    note = "a compact network of a test"
    trunk = load_trunk("compact_vgg", str(saved))
    assert (trunk.weights_name, trunk.trained) == ("backbone.safetensors", True)
    assert trunk.remarks == (note,)
    backbone = load_backbone("compact_vgg", saved)
    assert backbone.notes == (f"compact_vgg: {note}",)
    eye = load_eccnet(backbone="compact_vgg", weights=str(saved), device="cpu")
    assert eye.notes == (f"eccnet: {note}",)


def test_a_trunk_takes_the_pixels_of_its_training_only():
    same = load_trunk("compact_vgg", "seeded:0/8", preprocessing="imagenet")
    assert same.pixels == load_trunk("compact_vgg", "seeded:0/8").pixels
    with pytest.raises(ValueError, match="'imagenet', as it was trained; got 'unit'"):
        load_trunk("compact_vgg", "seeded:0/8", preprocessing="unit")


def test_eccnet_sees_through_the_shipped_weights_by_default():
    eye = load_eccnet(device="cpu")
    assert eye.trunk.name == "compact_vgg"
    assert eye.trunk.weights_name == "shipped"
    assert eye.notes == tuple(f"eccnet: {note}" for note in load_compact().notes)
    assert not any("untrained" in note for note in eye.notes)


def test_eccnet_with_weights_alone_is_a_vgg16():
    eye = load_eccnet(weights="seeded:0/8", device="cpu")
    assert eye.trunk.name == "vgg16"
    assert eye.notes == ("eccnet: untrained weights (seeded:0/8)",)


def test_eccnet_with_another_network_alone_has_random_weights():
    eye = load_eccnet(backbone="squeezenet1_0", device="cpu")
    assert (eye.trunk.name, eye.trunk.weights_name) == ("squeezenet1_0", "seeded:0")
    eye = load_eccnet(backbone="compact_vgg", device="cpu")
    assert (eye.trunk.name, eye.trunk.weights_name) == ("compact_vgg", "shipped")
    eye = load_eccnet(backbone="compact_vgg", weights="seeded:0/8", device="cpu")
    assert eye.notes == ("eccnet: untrained weights (seeded:0/8)",)


@pytest.mark.parametrize("variant", ["eccnet-rot90", "eccnet-mnist"])
def test_variants_of_a_special_training_refuse_the_shipped_weights(variant):
    with pytest.raises(ValueError, match=f"`{variant}` is eccnet with weights trained"):
        load_eccnet(variant, device="cpu")
    with pytest.raises(ValueError, match="got 'shipped'"):
        load_eccnet(variant, backbone="compact_vgg", weights="shipped", device="cpu")


def test_the_backbone_is_shipped_by_default_and_tells_it():
    backbone = load_backbone("compact_vgg")
    notes = load_compact().notes
    assert backbone.notes == tuple(f"compact_vgg: {note}" for note in notes)
    same = load_backbone("compact_vgg", "shipped")
    assert backbone.weights_hash == same.weights_hash
    random = load_backbone("compact_vgg", "seeded:0/8")
    assert random.notes == ("compact_vgg: untrained weights (seeded:0/8)",)
    assert random.weights_hash != backbone.weights_hash


def test_layers_of_the_backbone_are_listed_with_their_shapes():
    table = list_layers(load_backbone("compact_vgg", "seeded:0/8")).set_index("layer")
    shapes = [table.loc[stage, "shape"] for stage in STAGES]
    sides = (128, 64, 32, 16, 8)
    assert shapes == [(w, s, s) for w, s in zip(TINY, sides, strict=True)]
    assert table["choices"].str.startswith("gap, grid1..grid").all()
    assert (table["note"] == "").all()


def test_features_of_the_backbone_are_means_of_the_stages_of_the_network():
    backbone = load_backbone("compact_vgg", "seeded:0/8", size_px=32)
    views = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    layers = ("stage3:gap", "stage5:gap")
    with torch.no_grad():
        found = backbone.features(views, layers)
        network = compact_vgg(load_compact("seeded:0/8").state, TINY)
        mean = views.new_tensor([0.485, 0.456, 0.406])[:, None, None]
        std = views.new_tensor([0.229, 0.224, 0.225])[:, None, None]
        maps = stage_outputs(network, (views - mean) / std)
    for layer, stage in zip(layers, (maps[2], maps[4]), strict=True):
        assert torch.allclose(found[layer], stage.mean((2, 3)), atol=1e-5)


def test_features_are_asked_for_with_and_without_layers():
    spec = parse_features("compact_vgg")
    assert (spec.name, spec.weights) == ("compact_vgg", None)
    assert spec.layers == tuple(f"stage{k}:grid3" for k in range(1, 6))
    spec = parse_features("compact_vgg@seeded:0/8:stage3:gap")
    assert (spec.weights, spec.layers) == ("seeded:0/8", ("stage3:gap",))
    assert spec.title == "compact_vgg@seeded:0/8"
    assert not spec.load_backbone().trained
