"""Weights and fitted models that are hostile or damaged."""

import hashlib
import json
import math
import shutil
import struct
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.captioner import load_captioner
from neurovis.adapters.clipcap import convert_clipcap
from neurovis.adapters.compact_vgg import load_compact
from neurovis.adapters.features import extract_features
from neurovis.adapters.image_generators import load_image_generator
from neurovis.adapters.oat import load_oat
from neurovis.adapters.projections import (
    load_projection,
    save_projection,
    sparse_projection,
)
from neurovis.adapters.trunk_weights import darknet_tiny_shapes, load_trunk
from neurovis.core.errors import DataCorruptError
from neurovis.fitting.encoding_model import (
    EncodingModel,
    FeatureSpace,
    load_encoding_model,
    save_encoding_model,
)
from tests.test_cli import run_here

SHIPPED = Path(str(resources.files("neurovis.adapters")))
OAT = SHIPPED / "oat_shelf-searcher.safetensors"
COMPACT = SHIPPED / "compact_vgg_osie.safetensors"

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 4132112\n"
)
PAGE = b"<!DOCTYPE html>\n<html><title>Sign in</title></html>" * 20


def darknet(path):
    return load_trunk("darknet_tiny", str(path))


def oat(path):
    return load_oat(weights=path, device="cpu")


def darknet_state():
    return {name: torch.zeros(shape) for name, shape in darknet_tiny_shapes().items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Sound weights of Darknet tiny, as torch writes them."""
    path = tmp_path_factory.mktemp("weights") / "darknet.pt"
    torch.save(darknet_state(), path)
    assert darknet(path).trained
    return path


def with_metadata(source, path, change):
    """Write a copy of a safetensors file with other tensors."""
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    state = load_file(source)
    change(state)
    save_file(state, path, metadata)
    return path


# ---------------------------------------------------------------------- code


class Hostile:
    """Makes a file when it is opened by Python."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return Path.touch, (self.proof,)


READERS = {
    "a trunk": darknet,
    "a network for features": lambda path: load_backbone("squeezenet1_0", path),
    "a captioner of CLIPCap": lambda path: convert_clipcap(
        path, path.with_name("captioner"), language_model=path.parent
    ),
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("reader", READERS)
def test_code_in_a_checkpoint_never_runs(tmp_path, told, reader, old):
    path, proof = tmp_path / "weights.pt", tmp_path / "it ran"
    hostile = darknet_state() | {"x": Hostile(proof)}
    torch.save(hostile, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(ValueError, match=r"would run code .* refused") as error:
        READERS[reader](path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["weights.pt"]
    # The proof would be made: the file is what it claims to be.
    torch.load(path, weights_only=False)
    assert proof.exists()
    kind = "an old checkpoint" if old else "a checkpoint"
    told(f"{kind} for {reader}, with code inside", error.value)


def test_a_verb_refuses_code_in_one_line(tmp_path, told):
    proof = tmp_path / "it ran"
    torch.save({"x": Hostile(proof)}, tmp_path / "clipcap.pt")
    words = ("weights", "convert-clipcap", "clipcap.pt", "captioner")
    code, _, errors = run_here(*words, cwd=tmp_path)
    assert code == 1
    assert errors.startswith("error: clipcap.pt holds Python objects that would run")
    assert errors.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clipcap.pt"]
    told("`neurovis weights convert-clipcap` on a checkpoint with code inside", errors)


def test_weights_of_a_generator_that_could_run_code_are_not_looked_at(tmp_path, told):
    folder = tmp_path / "diffusion"
    for part in ("unet", "scheduler"):
        (folder / part).mkdir(parents=True)
    (folder / "unet" / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    noise = {"_class_name": "DDIMScheduler", "beta_schedule": "linear"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(noise))
    weights = folder / "unet" / "diffusion_pytorch_model.bin"
    torch.save({"x": Hostile(tmp_path / "it ran")}, weights)
    with pytest.raises(FileNotFoundError, match=r"\.bin files could run code") as error:
        load_image_generator(folder)
    assert not (tmp_path / "it ran").exists()
    told("a generator whose weights are a .bin file", str(error.value).split("\n")[0])


# -------------------------------------------------------------------- damage


def flipped(data, where):
    changed = bytearray(data)
    changed[where] ^= 16
    return bytes(changed)


DAMAGE = {
    "cut in the middle": (lambda data: data[: len(data) // 2], "delete it and get it"),
    "that is empty": (lambda data: b"", "delete it and get it"),
    "that is a web page": (lambda data: PAGE, "is a web page"),
    "that is a pointer of Git LFS": (lambda data: POINTER, "run `git lfs pull`"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", [".pt", ".safetensors"])
def test_a_damaged_file_of_weights(tmp_path, checkpoint, told, kind, damage):
    source, load = (checkpoint, darknet) if kind == ".pt" else (OAT, oat)
    path = tmp_path / f"weights{kind}"
    change, advice = DAMAGE[damage]
    path.write_bytes(change(source.read_bytes()))
    with pytest.raises(DataCorruptError, match="not a readable checkpoint") as error:
        load(path)
    assert advice in str(error.value)
    told(f"a {kind} file of weights {damage}", error.value)


def test_a_changed_byte_in_a_checkpoint(tmp_path, checkpoint, told):
    path = tmp_path / "weights.pt"
    data = checkpoint.read_bytes()
    path.write_bytes(flipped(data, len(data) // 2))
    with pytest.raises(DataCorruptError, match=r"checksum of .* differs") as error:
        darknet(path)
    told("a .pt file of weights with one bit changed", error.value)


def test_a_changed_byte_where_the_hash_is_known(tmp_path, told):
    path = tmp_path / "oat.safetensors"
    data = OAT.read_bytes()
    path.write_bytes(flipped(data, len(data) - 1000))
    good = hashlib.sha256(data).hexdigest()
    with pytest.raises(DataCorruptError, match=f"but {good} is expected") as error:
        load_oat(weights=path, sha256=good, device="cpu")
    told("a .safetensors file with one bit changed, its hash given", error.value)


def header_of(data):
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def with_header(header, body):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def lie_about(**changes):
    def lie(data):
        header, body = header_of(data)
        first = next(name for name in header if name != "__metadata__")
        header[first] |= changes
        return with_header(header, body)

    return lie


def share_bytes(data):
    header, body = header_of(data)
    first, second = (f"decoder.{layer}.linear1.weight" for layer in (0, 1))
    header[first]["data_offsets"] = header[second]["data_offsets"]
    return with_header(header, body)


LIES = {
    "a header of 2^60 bytes": lambda data: struct.pack("<Q", 2**60) + data[8:],
    "a tensor of 10^18 numbers": lie_about(shape=[10**9, 10**9]),
    "a tensor of -1 rows": lie_about(shape=[-1]),
    "a tensor that ends a terabyte behind the file": lie_about(data_offsets=[0, 2**40]),
    "a kind of number that does not exist": lie_about(dtype="Q4"),
    "two tensors in one place": share_bytes,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies(tmp_path, told, lie):
    path = tmp_path / "oat.safetensors"
    path.write_bytes(LIES[lie](OAT.read_bytes()))
    with pytest.raises(DataCorruptError, match="not a readable checkpoint") as error:
        oat(path)
    told(f"a .safetensors file that claims {lie}", error.value)


@pytest.mark.parametrize("load", [darknet, oat, load_compact], ids=lambda f: f.__name__)
def test_a_folder_instead_of_a_file(tmp_path, told, load):
    folder = tmp_path / "weights.safetensors"
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="must be an existing file") as error:
        load(folder)
    told(f"a folder instead of weights ({load.__name__})", error.value)


# ----------------------------------------------------- sound files, wrong content


@pytest.mark.parametrize(
    ("what", "change", "match"),
    [
        (
            "without the last layer",
            lambda s: [s.pop(f"conv16.{p}") for p in ("weight", "bias")],
            r"2 missing \(conv16\.weight, conv16\.bias\)",
        ),
        (
            "for other classes",
            lambda s: s.update({"conv16.weight": torch.zeros(10, 128, 1, 1)}),
            r"1 of another shape \(conv16\.weight \(10, 128, 1, 1\) instead of",
        ),
        (
            "saved by DataParallel",
            lambda s: [s.update({f"module.{n}": s.pop(n)}) for n in list(s)],
            "prefix such as 'module",
        ),
    ],
)
def test_weights_that_do_not_fit(tmp_path, told, what, change, match):
    state = darknet_state()
    change(state)
    torch.save(state, tmp_path / "darknet.pt")
    with pytest.raises(ValueError, match=match) as error:
        darknet(tmp_path / "darknet.pt")
    told(f"weights of Darknet {what}", error.value)


def test_weights_of_another_network(told):
    for load, path, happened in (
        (darknet, OAT, "weights of an OAT as those of Darknet"),
        (oat, COMPACT, "weights of a compact VGG as those of an OAT"),
        (load_compact, OAT, "weights of an OAT as those of a compact VGG"),
    ):
        with pytest.raises(ValueError, match=r"do not fit|no description of") as error:
            load(path)
        told(happened, str(error.value).replace(f"{SHIPPED}/", ""))


def test_nan_in_weights_is_found_before_anything_is_computed(tmp_path, told):
    for source, load, name in (
        (OAT, oat, "an OAT"),
        (COMPACT, partial(load_backbone, "compact_vgg"), "a network for features"),
        (COMPACT, partial(load_trunk, "compact_vgg"), "a trunk"),
    ):
        path = with_metadata(
            source,
            tmp_path / source.name,
            lambda state: next(iter(state.values())).view(-1)[:1].fill_(math.nan),
        )
        with pytest.raises(DataCorruptError, match="holds NaN in 1 of") as error:
            load(str(path))
        told(f"one NaN in the weights of {name}", error.value)


@pytest.mark.slow
def test_nan_in_a_generator_is_found_before_anything_is_drawn(tmp_path, told):
    # Slow to import.
    from tests.adapters.test_image_generators import make_plain_unet, save_parts

    network = make_plain_unet()
    folder = save_parts(tmp_path / "sound", unet=network)
    assert load_image_generator(folder).size_px == (8, 8)
    network.conv_out.bias.data[0] = math.nan
    folder = save_parts(tmp_path / "diffusion", unet=network)
    with pytest.raises(DataCorruptError, match=r"1 of .*conv_out\.bias") as error:
        load_image_generator(folder)
    told("one NaN in the weights of a generator of images", error.value)


def test_infinite_weights_end_at_the_first_picture(tmp_path, told):
    def spoil(state):
        next(iter(state.values())).view(-1)[:1].fill_(math.inf)

    path = with_metadata(COMPACT, tmp_path / "vgg.safetensors", spoil)
    backbone = load_backbone("compact_vgg", path)
    picture = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(ValueError, match=r"not finite .* are damaged") as error:
        extract_features(backbone, [picture], ["stage1:gap"], store=tmp_path / "s")
    assert not list((tmp_path / "s").rglob("*.part-*"))
    told("one infinite weight", error.value)


# -------------------------------------------------------- models with a card


@pytest.mark.parametrize("name", ["model.safetensors", "prefix_mapper.safetensors"])
def test_a_captioner_whose_file_differs_from_its_card(tmp_path, told, name):
    folder = shutil.copytree(SHIPPED / "sketch_captioner", tmp_path / "captioner")
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(flipped(data, len(data) - 100))
    with pytest.raises(DataCorruptError, match="has another hash than") as error:
        load_captioner(folder)
    told(f"a captioner with one bit changed in {name}", error.value)


def write_fitted(folder):
    """A fitted model of three features and two units."""
    space = FeatureSpace("all", np.ones((3, 2), np.float32), np.zeros(3))
    model = EncodingModel(
        method="ridge",
        spaces=(space,),
        intercept=np.zeros(2),
        units=pd.DataFrame({"unit_id": ["a", "b"]}),
        alphas=np.ones(2),
    )
    save_encoding_model(folder, model)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("weights cut", lambda data: data[:-4]),
        ("one bit of its weights changed", lambda data: flipped(data, len(data) - 1)),
        ("a pointer of Git LFS as its weights", lambda data: POINTER),
    ],
)
def test_a_fitted_model_whose_file_differs_from_its_card(tmp_path, told, what, change):
    write_fitted(tmp_path / "model")
    assert load_encoding_model(tmp_path / "model").n_units == 2
    path = tmp_path / "model" / "weights.safetensors"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataCorruptError, match="has another hash than") as error:
        load_encoding_model(tmp_path / "model")
    told(f"a fitted model with {what}", error.value)


def test_a_projection_with_a_changed_number(tmp_path, told):
    path = tmp_path / "projection.safetensors"
    save_projection(path, sparse_projection(200, 20))
    data = path.read_bytes()
    path.write_bytes(flipped(data, len(data) - 1))
    with pytest.raises(DataCorruptError, match="checksum differs") as error:
        load_projection(path)
    told("a projection with one bit changed", error.value)
