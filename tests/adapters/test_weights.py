"""Weights: read safely, checked, and asked for in words that help."""

import hashlib
import http.server
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from neurovis.adapters.weights import (
    VGG16_LAYERS,
    check_state_dict,
    convert_keras_h5,
    hub_file,
    read_state_dict,
    timm_state_dict,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.tensors import hash_state_dict

STATE = {
    "conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2),
    "conv.bias": torch.tensor([0.5, -0.5], dtype=torch.bfloat16),
    "steps": torch.tensor(7),
}


def save(path, state=STATE):
    """Write `state` in the format that the name of the file tells."""
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        modern = not path.name.startswith("old")
        torch.save(state, path, _use_new_zipfile_serialization=modern)
    return path


class Hostile:
    """Would create a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


# ------------------------------------------------------------------- reading

FORMATS = ["a.safetensors", "a.pt", "a.pth", "old.pth"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_tensors(tmp_path, name):
    path = save(tmp_path / name)
    found = read_state_dict(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert hash_state_dict(found) == hash_state_dict(STATE)
    assert {n: (t.dtype, t.shape) for n, t in found.items()} == {
        n: (t.dtype, t.shape) for n, t in STATE.items()
    }


def test_a_training_checkpoint_is_opened_at_its_state_dict(tmp_path):
    layer = torch.nn.Linear(3, 2)
    torch.save(
        {"epoch": 5, "state_dict": dict(layer.named_parameters())}, tmp_path / "a.pt"
    )
    found = read_state_dict(tmp_path / "a.pt")
    assert torch.equal(found["weight"], layer.weight)
    assert not found["weight"].requires_grad


@pytest.mark.parametrize("name", FORMATS)
def test_every_truncation_is_noticed(tmp_path, name):
    path = save(tmp_path / name)
    data = path.read_bytes()
    for n in [*range(0, len(data), len(data) // 60), *range(len(data) - 9, len(data))]:
        path.write_bytes(data[:n])
        with pytest.raises(DataCorruptError, match=rf"{name}.*get it again"):
            read_state_dict(path)


def test_a_changed_byte_in_a_pt_file_is_noticed_and_never_gives_other_tensors(tmp_path):
    path = save(tmp_path / "a.pt", {"w": torch.arange(500.0)})
    data = path.read_bytes()
    noticed = 0
    for position in range(0, len(data), 53):
        changed = bytearray(data)
        changed[position] ^= 1
        path.write_bytes(changed)
        try:
            found = read_state_dict(path)
        except (DataCorruptError, ValueError):
            noticed += 1
        else:
            assert torch.equal(found["w"], torch.arange(500.0))
    assert noticed > 40


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
@pytest.mark.parametrize(
    "data", [b"", b"<!DOCTYPE html><html></html>", bytes(300), b"PK\x03\x04", b"hello"]
)
def test_what_is_no_checkpoint_is_damaged(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataCorruptError, match="not a readable checkpoint"):
        read_state_dict(tmp_path / name)


def test_another_hash_is_reported_with_both(tmp_path):
    path = save(tmp_path / "a.safetensors")
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(
        DataCorruptError, match=rf"{actual}, but {'0' * 64} is expected"
    ):
        read_state_dict(path, "0" * 64)
    assert set(read_state_dict(path, actual[:12].upper())) == set(STATE)
    with pytest.raises(ValueError, match="8 to 64 hexadecimal digits"):
        read_state_dict(path, "md5:123")


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare", "module", "TorchScript"])
def test_checkpoints_that_would_run_code_are_refused_and_do_not_run(tmp_path, kind):
    path, proof = tmp_path / "a.pt", tmp_path / "it ran"
    hostile = {"w": torch.ones(2), "x": Hostile(proof)}
    if kind == "bare":
        path.write_bytes(pickle.dumps({"x": Hostile(proof)}))
    elif kind == "module":
        torch.save(torch.nn.Linear(2, 2), path)
    elif kind == "TorchScript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    else:
        torch.save(hostile, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(ValueError, match=r"refused.*safetensors"):
        read_state_dict(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "it holds a list"),
        ({"w": torch.ones(2), "epoch": 3}, r"1 of 2 .* 'epoch' \(int\)"),
        ({"model": {"w": torch.ones(2)}}, r"'model' \(dict\)"),
    ],
)
def test_checkpoints_without_named_tensors_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        read_state_dict(tmp_path / "a.pt")


def test_absent_files_and_other_suffixes_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_state_dict(tmp_path / "a.pt")
    (tmp_path / "a.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match="suffix"):
        read_state_dict(tmp_path / "a.pkl")


def test_real_published_weights_are_read(data_folder):
    folder = data_folder / "imagenet_backbones"
    found = read_state_dict(folder / "darknet_tiny.safetensors")
    assert sum(t.numel() for t in found.values()) > 1_000_000
    assert all(torch.isfinite(t).all() for t in found.values() if t.is_floating_point())


# ------------------------------------------------------------------- checking


def test_the_right_names_and_shapes_pass():
    shapes = {n: tuple(t.shape) for n, t in STATE.items()}
    assert check_state_dict(STATE, shapes, "test") is None


def test_all_problems_are_reported_at_once():
    expected = {
        "conv.weight": (2, 3, 3, 3),
        "conv.bias": (2,),
        **{f"head.{i}": (1,) for i in range(6)},
    }
    with pytest.raises(ValueError, match=r"from my file do not fit") as caught:
        check_state_dict(STATE, expected, "my file")
    message = str(caught.value)
    assert "6 missing (head.0, head.1, head.2, head.3, ...)" in message
    assert "1 unexpected (steps)" in message
    assert (
        "1 of another shape (conv.weight (2, 3, 2, 2) instead of (2, 3, 3, 3))"
        in message
    )
    assert "'module.'" in message


# -------------------------------------------------------------------- hashing


@given(st.permutations(list(STATE)))
def test_the_hash_ignores_the_order_of_names(order):
    assert hash_state_dict({n: STATE[n] for n in order}) == hash_state_dict(STATE)


def test_the_hash_ignores_memory_layout_and_gradients():
    weight = STATE["conv.weight"]
    layouts = [
        weight.to(memory_format=torch.channels_last),
        torch.nn.Parameter(weight),
        weight.repeat(2, 1, 1, 1)[:2],
    ]
    hashes = {hash_state_dict({"w": w}) for w in [weight, *layouts]}
    assert len(hashes) == 1


def test_the_hash_sees_names_dtypes_shapes_and_values():
    w = torch.zeros(2, 3)
    nudged = w.clone()
    nudged[1, 2] = 1e-45
    states = [
        {"w": w},
        {"v": w},
        {"w": w.reshape(3, 2)},
        {"w": w.to(torch.int32)},
        {"w": nudged},
        {"w": -w},
        {"w": w, "x": torch.zeros(0)},
        {"w": w[:1], "x": w[1:]},
        {"w": w[0, 0]},
        {},
    ]
    assert len({hash_state_dict(state) for state in states}) == len(states)


def test_views_of_conjugate_and_negative_numbers_are_hashed_by_value():
    z = torch.tensor([1 + 2j, 3 - 1j])
    assert hash_state_dict({"z": z.conj()}) == hash_state_dict(
        {"z": torch.tensor([1 - 2j, 3 + 1j])}
    )
    # One number is contiguous with any stride.
    assert hash_state_dict({"z": z[:1].conj().imag}) == hash_state_dict(
        {"z": torch.tensor([-2.0])}
    )


# -------------------------------------------------------------- getting files

BODY = bytes(range(256)) * 8000
BODY_HASH = hashlib.sha256(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one body in good and in broken ways, by path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.paths.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        kind = "text/html" if self.path == "/page" else "application/octet-stream"
        body = (
            b"\n<!DOCTYPE html><html>Sign in</html>" if self.path == "/page" else BODY
        )
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        if self.path == "/chunked-cut":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"400\r\n" + BODY[:1024] + b"\r\n400\r\n" + BODY[:10])
        elif self.path == "/unsized":
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = {"/cut": len(body) // 2, "/cut-at-once": 0}
            self.wfile.write(body[: cut.get(self.path, len(body))])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.paths = []
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """Folder of torch's hub, empty, with downloads allowed."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("NEUROVIS_OFFLINE", raising=False)
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("path", ["/good", "/unsized"])
def test_an_absent_file_is_downloaded_once(server, checkpoints, path):
    arguments = (f"{server.url}{path}", "w.pth", BODY_HASH[:8], "A test")
    assert hub_file(*arguments) == checkpoints / "w.pth"
    assert (checkpoints / "w.pth").read_bytes() == BODY
    assert hub_file(*arguments) == checkpoints / "w.pth"
    assert server.paths == [path]
    assert [p.name for p in checkpoints.iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "404"),
        ("/cut", f"cut after {len(BODY) // 2} of {len(BODY)} bytes"),
        ("/cut-at-once", f"cut after 0 of {len(BODY)} bytes"),
        ("/chunked-cut", "IncompleteRead"),
        ("/page", "web page"),
    ],
)
def test_a_failed_download_says_what_to_put_where(server, checkpoints, path, reason):
    url = server.url + path
    with pytest.raises(
        FileNotFoundError, match=f"download failed: .*{reason}"
    ) as caught:
        hub_file(url, "w.pth", BODY_HASH[:8], "VGG16 of the test")
    message = str(caught.value)
    for word in ("VGG16 of the test", "w.pth", str(checkpoints), url, BODY_HASH[:8]):
        assert word in message
    assert list(checkpoints.iterdir()) == []


def test_a_server_that_does_not_answer_is_a_failed_download(checkpoints, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # A port that is taken, without anybody listening at it.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth"
        with pytest.raises(FileNotFoundError, match=r"download failed: .*refused"):
            hub_file(url, "w.pth", BODY_HASH[:8], "A test")
    assert list(checkpoints.iterdir()) == []


def test_another_file_from_the_server_is_refused_with_both_hashes(server, checkpoints):
    with pytest.raises(DataCorruptError, match=f"{BODY_HASH}, but 12345678") as caught:
        hub_file(f"{server.url}/good", "w.pth", "12345678", "A test")
    assert f"{server.url}/good" in str(caught.value)
    assert list(checkpoints.iterdir()) == []


def test_a_damaged_file_in_the_folder_is_refused(server, checkpoints):
    checkpoints.mkdir(parents=True)
    (checkpoints / "w.pth").write_bytes(BODY[:-1])
    with pytest.raises(DataCorruptError, match="Delete it"):
        hub_file(f"{server.url}/good", "w.pth", BODY_HASH[:8], "A test")
    assert server.paths == []


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "NEUROVIS_OFFLINE"])
def test_offline_nothing_is_asked_for(server, checkpoints, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(FileNotFoundError, match=f"{variable}.*Download {server.url}"):
        hub_file(f"{server.url}/good", "w.pth", BODY_HASH[:8], "A test")
    assert server.paths == []
    assert not checkpoints.exists()
    checkpoints.mkdir(parents=True)
    (checkpoints / "w.pth").write_bytes(BODY)
    found = hub_file(f"{server.url}/good", "w.pth", BODY_HASH[:8], "A test")
    assert found == checkpoints / "w.pth"


def test_a_file_in_the_way_of_the_folder_stops_before_the_download(
    server, checkpoints, tmp_path
):
    (tmp_path / "hub").write_text("in the way")
    with pytest.raises(NotADirectoryError, match="is a file"):
        hub_file(f"{server.url}/good", "w.pth", BODY_HASH[:8], "A test")
    assert server.paths == []


@pytest.mark.parametrize(
    ("url", "filename", "digits", "message"),
    [
        ("file:///etc/passwd", "w.pth", "12345678", "must start with https"),
        ("https://example.org/w", "../w.pth", "12345678", "without folders"),
        ("https://example.org/w", "w.pth", "1234567", "8 to 64"),
        ("https://example.org/w", "w.pth", "", "8 to 64"),
    ],
)
def test_addresses_names_and_hashes_are_checked(url, filename, digits, message):
    with pytest.raises(ValueError, match=message):
        hub_file(url, filename, digits, "A test")


# ----------------------------------------------------------------------- timm

# In its own process: the hub reads its settings when it is imported.
TIMM = """
import json, os, shutil, sys
from pathlib import Path
from neurovis.adapters.weights import timm_state_dict
name, cache, file = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
messages = []
for variable in ("HF_HUB_OFFLINE", "NEUROVIS_OFFLINE"):
    os.environ.pop("HF_HUB_OFFLINE", None)
    os.environ[variable] = "1"
    try:
        timm_state_dict(name)
    except FileNotFoundError as error:
        messages.append(str(error))
commit = "0123456789abcdef0123456789abcdef01234567"
repository = cache / "hub" / f"models--timm--{name}"
snapshot = repository / "snapshots" / commit
snapshot.mkdir(parents=True)
(repository / "refs").mkdir(exist_ok=True)
(repository / "refs" / "main").write_text(commit)
shutil.copy(file, snapshot / "model.safetensors")
found = {n: list(t.shape) for n, t in timm_state_dict(name).items()}
print(json.dumps([messages, found]))
"""


@pytest.mark.slow
def test_timm_weights_come_from_the_cache_or_are_asked_for(tmp_path):
    name = "mobilenetv3_small_050.lamb_in1k"
    file = save(tmp_path / "published.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", TIMM, name, tmp_path, file],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    messages, found = json.loads(done.stdout)
    assert len(messages) == 2
    for message in messages:
        for word in (
            name,
            "model.safetensors",
            str(tmp_path),
            "OFFLINE",
            "hf download",
        ):
            assert word in message
    assert found == {n: list(t.shape) for n, t in STATE.items()}


def test_a_name_that_timm_does_not_know_is_answered_with_a_near_one():
    with pytest.raises(ValueError, match=r"Did you mean 'vgg16\.tv_in1k'"):
        timm_state_dict("vgg16.tv_in1")


# ----------------------------------------------------------------- converting


def small_vgg16(seed=0):
    """Kernels (3, 3, in, out) and biases of a VGG16 with few channels."""
    rng = np.random.default_rng(seed)
    layers, channels = {}, 3
    for name in VGG16_LAYERS:
        out = 2 * int(name[5]) + 2
        kernel = rng.normal(size=(3, 3, channels, out)).astype(np.float32)
        layers[name] = kernel, rng.normal(size=out).astype(np.float32)
        channels = out
    return layers


def write_keras(path, layers, layout):
    """Write layers as Keras 1, Keras 2, or a whole saved Keras 2 model does."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if layout == "model" else file
        for name, (kernel, bias) in layers.items():
            group = root.create_group(name)
            if layout == "flat":
                group[f"{name}_W_1:0"], group[f"{name}_b_1:0"] = kernel, bias
            else:
                group[f"{name}/kernel:0"], group[f"{name}/bias:0"] = kernel, bias
        root.create_group("block1_pool")
        root.create_group("fc1")["fc1_W_1:0"] = np.zeros((4, 2), np.float32)
    return path


@pytest.mark.parametrize("layout", ["flat", "nested", "model"])
def test_keras_kernels_are_turned_and_nothing_else_is_kept(tmp_path, layout):
    layers = small_vgg16()
    source = write_keras(tmp_path / "vgg16.h5", layers, layout)
    convert_keras_h5(source, tmp_path / "vgg16.safetensors")
    found = load_file(tmp_path / "vgg16.safetensors")
    assert len(found) == 26
    for name, (kernel, bias) in layers.items():
        weight = found[f"{name}.weight"].numpy()
        for out in range(kernel.shape[3]):
            for channel in range(kernel.shape[2]):
                np.testing.assert_array_equal(
                    weight[out, channel], kernel[:, :, channel, out]
                )
        np.testing.assert_array_equal(found[f"{name}.bias"].numpy(), bias)
    with safe_open(tmp_path / "vgg16.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata == {"format": "keras-vgg16-caffe"}
    assert (tmp_path / "vgg16.safetensors").stat().st_mode == source.stat().st_mode


def test_converted_kernels_convolve_as_keras_defines_it(tmp_path):
    layers = small_vgg16()
    source = write_keras(tmp_path / "a.h5", layers, "nested")
    convert_keras_h5(source, tmp_path / "a.safetensors")
    state = read_state_dict(tmp_path / "a.safetensors")
    kernel, bias = (a.astype(np.float64) for a in layers["block1_conv1"])
    image = np.random.default_rng(1).normal(size=(7, 8, 3))
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    expected = np.zeros((7, 8, kernel.shape[3]))
    for y in range(7):
        for x in range(8):
            window = padded[y : y + 3, x : x + 3]
            expected[y, x] = np.einsum("hwi,hwio->o", window, kernel) + bias
    found = torch.nn.functional.conv2d(
        torch.from_numpy(image).permute(2, 0, 1)[None],
        state["block1_conv1.weight"].double(),
        state["block1_conv1.bias"].double(),
        padding=1,
    )
    np.testing.assert_allclose(found[0].permute(1, 2, 0), expected, atol=1e-12)


def test_two_conversions_give_equal_bytes(tmp_path):
    source = write_keras(tmp_path / "a.h5", small_vgg16(), "flat")
    for name in ("b", "c"):
        convert_keras_h5(source, tmp_path / f"{name}.safetensors")
    first, second = (tmp_path / f"{n}.safetensors" for n in ("b", "c"))
    assert first.read_bytes() == second.read_bytes()


def test_a_missing_layer_is_named(tmp_path):
    layers = small_vgg16()
    del layers["block3_conv2"]
    source = write_keras(tmp_path / "a.h5", layers, "flat")
    with pytest.raises(ValueError, match="one kernel and one bias of block3_conv2"):
        convert_keras_h5(source, tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def test_kernels_of_another_order_or_width_are_refused(tmp_path):
    layers = small_vgg16()
    turned = {n: (k.transpose(3, 2, 0, 1), b) for n, (k, b) in layers.items()}
    source = write_keras(tmp_path / "theano.h5", turned, "flat")
    with pytest.raises(ValueError, match=r"block1_conv1 must have .* \(3, 3, 3, n\)"):
        convert_keras_h5(source, tmp_path / "a.safetensors")
    # One channel less than the next layer takes.
    layers["block2_conv1"] = tuple(a[..., :-1] for a in layers["block2_conv1"])
    source = write_keras(tmp_path / "narrow.h5", layers, "flat")
    with pytest.raises(ValueError, match=r"block2_conv2 must have .* \(3, 3, 5, n\)"):
        convert_keras_h5(source, tmp_path / "a.safetensors")
    layers = small_vgg16()
    kernel, bias = layers["block5_conv3"]
    source = write_keras(
        tmp_path / "bias.h5", {**layers, "block5_conv3": (kernel, bias[:-1])}, "flat"
    )
    with pytest.raises(ValueError, match=r"block5_conv3 .* and 11 biases"):
        convert_keras_h5(source, tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def test_truncated_and_foreign_h5_files_are_damaged(tmp_path):
    source = write_keras(tmp_path / "a.h5", small_vgg16(), "flat")
    data = source.read_bytes()
    for n in (0, 4, 100, len(data) // 3, len(data) // 2, len(data) - 1):
        source.write_bytes(data[:n])
        with pytest.raises(DataCorruptError, match=r"a\.h5"):
            convert_keras_h5(source, tmp_path / "b.safetensors")
    source.write_bytes(b"<html>" * 100)
    with pytest.raises(DataCorruptError, match=r"a\.h5"):
        convert_keras_h5(source, tmp_path / "b.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_the_destination_must_be_safetensors(tmp_path):
    source = write_keras(tmp_path / "a.h5", small_vgg16(), "flat")
    with pytest.raises(ValueError, match=r"'\.safetensors'"):
        convert_keras_h5(source, tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError, match="nothing"):
        convert_keras_h5(tmp_path / "b.h5", tmp_path / "a.safetensors")
