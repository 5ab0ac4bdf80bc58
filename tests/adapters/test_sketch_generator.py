"""Small generators: saved, read again, drawn at random, shipped, damaged."""

import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from neurovis.adapters import sketch_generator as module
from neurovis.adapters.sketch_generator import (
    KINDS,
    SHIPPED,
    build_sketch_networks,
    load_sketch_generator,
    save_sketch_generator,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file
from neurovis.core.rng import own_torch_stream

ABOUT = {"notes": ["a small generator of a test"], "seed": 3}
SHAPES = {"latent": (8, 8, 8), "pixel": (12, 16, 16)}


def networks(kind, seed=0):
    with own_torch_stream(seed, "test"):
        return build_sketch_networks(kind)


def states(kind, seed=0):
    return [part.state_dict() for part in networks(kind, seed)]


@pytest.fixture(params=KINDS)
def saved(request, tmp_path):
    """Kind and file, as a training leaves them."""
    path = tmp_path / "generator.safetensors"
    save_sketch_generator(path, request.param, *states(request.param), ABOUT)
    return request.param, path


# -------------------------------------------------------------------------- files


def test_what_is_saved_is_read_with_16_bits(saved):
    kind, path = saved
    found = load_sketch_generator(path)
    assert found.kind == kind
    assert found.about == {**ABOUT, "kind": kind}
    assert found.notes == ("a small generator of a test",)
    pairs = zip((found.denoiser, found.decoder), states(kind), strict=True)
    for part, expected in pairs:
        state = part.state_dict()
        assert list(state) == list(expected)
        for name, value in state.items():
            assert value.dtype == torch.float32
            assert torch.equal(value, expected[name].half().float())


def test_what_is_read_is_frozen_and_in_evaluation_mode(saved):
    _, path = saved
    found = load_sketch_generator(path)
    for part in (found.denoiser, found.decoder):
        assert not any(layer.training for layer in part.modules())
        assert not any(weight.requires_grad for weight in part.parameters())


def test_pictures_of_32_pixels_come_from_what_is_denoised(saved):
    kind, path = saved
    found = load_sketch_generator(path)
    x = torch.randn(2, *SHAPES[kind], generator=torch.Generator().manual_seed(0))
    assert found.denoiser(x, 500).sample.shape == x.shape
    pictures = found.decoder(x)
    assert pictures.shape == (2, 3, 32, 32)
    if kind == "pixel":
        assert torch.equal(F.pixel_unshuffle(pictures, 2), x)


def test_latents_are_standardised_before_they_are_decoded():
    denoiser, decoder = networks("latent")
    del denoiser
    x = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        decoder.mean.copy_(torch.arange(8.0))
        decoder.scale.copy_(torch.arange(1.0, 9.0))
        raw = x * torch.arange(1.0, 9.0)[:, None, None]
        raw = raw + torch.arange(8.0)[:, None, None]
        assert torch.equal(decoder(x), decoder.from_raw(raw))


def test_equal_weights_give_equal_bytes_in_any_order(saved):
    kind, path = saved
    turned = [{n: state[n] for n in reversed(state)} for state in states(kind)]
    other = path.with_name("other.safetensors")
    save_sketch_generator(other, kind, *turned, dict(reversed(ABOUT.items())))
    assert other.read_bytes() == path.read_bytes()
    found = load_sketch_generator(path)
    again = [found.denoiser.state_dict(), found.decoder.state_dict()]
    save_sketch_generator(other, kind, *again, ABOUT)
    assert other.read_bytes() == path.read_bytes()


def test_the_file_holds_16_bits_and_is_small(saved):
    kind, path = saved
    assert {value.dtype for value in load_file(path).values()} == {torch.float16}
    assert path.stat().st_size < {"latent": 8e6, "pixel": 4e6}[kind]


def test_reading_leaves_the_generator_of_torch_alone(saved):
    _, path = saved
    before = torch.get_rng_state()
    load_sketch_generator(path)
    load_sketch_generator("seeded:latent:1")
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_weights_are_not_saved(tmp_path):
    denoiser, decoder = states("latent")
    path = tmp_path / "generator.safetensors"
    with pytest.raises(ValueError, match=r"missing \(denoiser\."):
        save_sketch_generator(path, "latent", {}, decoder, ABOUT)
    with pytest.raises(ValueError, match=r"unexpected \(decoder\.mean"):
        save_sketch_generator(path, "pixel", states("pixel")[0], decoder, ABOUT)
    with pytest.raises(ValueError, match="`kind` must be one of 'latent', 'pixel'"):
        save_sketch_generator(path, "latents", denoiser, decoder, ABOUT)
    with pytest.raises(ValueError, match="suffix of path"):
        save_sketch_generator(path.with_suffix(".pt"), "latent", denoiser, decoder, {})
    denoiser["conv_in.bias"][0] = 1e6
    with pytest.raises(ValueError, match=r"denoiser\.conv_in\.bias .* 16 bits cannot"):
        save_sketch_generator(path, "latent", denoiser, decoder, ABOUT)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_read_with_the_right_hash_only(saved):
    _, path = saved
    sha256 = sha256_file(path)
    assert load_sketch_generator(path, sha256=sha256).notes
    wrong = sha256[:-1] + ("0" if sha256[-1] != "0" else "1")
    with pytest.raises(DataCorruptError, match=re.escape(str(path))):
        load_sketch_generator(path, sha256=wrong)


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_damaged(saved, share):
    _, path = saved
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match=re.escape(str(path))):
        load_sketch_generator(path)


def test_tensors_without_a_description_are_refused(tmp_path):
    path = tmp_path / "bare.safetensors"
    save_file({"denoiser.conv_in.bias": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="no description of a small gen") as error:
        load_sketch_generator(path)
    assert not isinstance(error.value, OSError)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"kind": 3}', '{"kind": "voxel"}']
)
def test_a_description_of_something_else_is_damage(tmp_path, text):
    path = tmp_path / "odd.safetensors"
    save_file({"bias": torch.zeros(3)}, path, metadata={"sketch_generator": text})
    with pytest.raises(DataCorruptError, match="none of a small generator"):
        load_sketch_generator(path)


def test_tensors_must_be_those_of_the_described_kind(saved):
    kind, path = saved
    other = {"latent": "pixel", "pixel": "latent"}[kind]
    text = json.dumps({"kind": other})
    save_file(load_file(path), path, metadata={"sketch_generator": text})
    with pytest.raises(ValueError, match="do not fit"):
        load_sketch_generator(path)


def test_other_suffixes_and_missing_files_are_told(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"suffix of weights.*'\.pth'"):
        load_sketch_generator(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        load_sketch_generator(tmp_path / "absent.safetensors")


# ----------------------------------------------------------------- random weights


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_weights_that_a_training_starts_from(kind):
    found = load_sketch_generator(f"seeded:{kind}:5")
    with own_torch_stream(5, "generator", kind):
        parts = build_sketch_networks(kind)
    pairs = zip((found.denoiser, found.decoder), parts, strict=True)
    for part, expected in pairs:
        for name, value in expected.state_dict().items():
            assert torch.equal(part.state_dict()[name], value)
    assert found.kind == kind
    assert found.notes == (f"A small generator ({kind}) with random weights (seed 5).",)
    other = load_sketch_generator(f"seeded:{kind}:6").denoiser
    assert not torch.equal(other.conv_in.weight, found.denoiser.conv_in.weight)


@pytest.mark.parametrize(
    "weights",
    [
        "seeded:",
        "seeded:0",
        "seeded:latent",
        "seeded:latent:",
        "seeded:latent:-1",
        "seeded:latent:0/8",
        "seeded:latent:1234567890",
        "seeded:voxel:0",
        "seeded:pixel:٣",
    ],
)
def test_other_seeds_are_told(weights):
    with pytest.raises(ValueError, match="must look like 'seeded:latent:0'"):
        load_sketch_generator(weights)


# ------------------------------------------------------------------------ shipped


def test_a_missing_shipped_file_is_told_with_what_to_do(monkeypatch):
    missing = {kind: ("not_there.safetensors", "0" * 64) for kind in KINDS}
    monkeypatch.setattr(module, "SHIPPED", missing)
    with pytest.raises(FileNotFoundError, match=r"not_there.*seeded:pixel:0"):
        load_sketch_generator("shipped-pixel")
    with pytest.raises(FileNotFoundError, match=r"not_there.*seeded:latent:0"):
        load_sketch_generator()


def test_the_hash_of_a_shipped_file_is_always_checked(saved, monkeypatch):
    kind, path = saved
    monkeypatch.setattr(module, "SHIPPED", {kind: (str(path), sha256_file(path))})
    assert load_sketch_generator(f"shipped-{kind}").notes == tuple(ABOUT["notes"])
    monkeypatch.setattr(module, "SHIPPED", {kind: (str(path), "0" * 64)})
    with pytest.raises(DataCorruptError, match="0000 is expected"):
        load_sketch_generator(f"shipped-{kind}")


def test_there_are_two_shipped_generators():
    assert set(SHIPPED) == set(KINDS)
    assert len({name for name, _ in SHIPPED.values()}) == 2
    assert all(Path(name).suffix == ".safetensors" for name, _ in SHIPPED.values())
    with pytest.raises(ValueError, match=r"'shipped-latent'.*Did you mean"):
        load_sketch_generator("shipped-latents")
