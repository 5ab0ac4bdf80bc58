"""Features in a store: kept, resumed, recomputed when damaged, by one writer."""

import errno
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features, fingerprint_pictures
from neurovis.adapters.projections import sparse_projection
from neurovis.core.feature_files import features_meta
from neurovis.core.pictures import LazyPictures
from neurovis.core.store import lock


def noise_pictures(n, seed=0):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(40, 90, (n, 2))
    return [draw.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]


PICTURES = noise_pictures(7)


@pytest.fixture(scope="module")
def cnn():
    return load_backbone("timm:test_resnet", "seeded:0", size_px=64)


class Watched(LazyPictures):
    """Notes which pictures are read."""

    def __init__(self, pictures):
        self.read = []
        super().__init__(self._take, range(len(pictures)))
        self._pictures = pictures

    def _take(self, index):
        self.read.append(index)
        return self._pictures[index]


def test_what_is_complete_is_not_computed_again(tmp_path, cnn, caplog):
    pictures = Watched(PICTURES)
    layers = ["layer1:gap", "layer2:gap"]
    options = {"store": tmp_path, "fingerprint": fingerprint_pictures(PICTURES)}
    extract_features(cnn, pictures, layers[:1], **options)
    assert sorted(pictures.read) == list(range(7))
    pictures.read.clear()
    with caplog.at_level(logging.INFO):
        extract_features(cnn, pictures, layers[:1], **options)
    assert pictures.read == []
    assert "already" in caplog.text
    both = extract_features(cnn, pictures, layers, **options)
    assert sorted(pictures.read) == list(range(7))
    plain = extract_features(cnn, PICTURES, layers)
    for layer in layers:
        np.testing.assert_array_equal(both[layer], plain[layer])


def test_the_key_depends_on_what_the_numbers_depend_on(tmp_path, cnn):
    def n_entries(backbone=cnn, pictures=PICTURES, layer="layer2:gap", **options):
        extract_features(backbone, pictures, [layer], store=tmp_path, **options)
        return len(list(tmp_path.iterdir()))

    assert n_entries() == 1
    assert n_entries(batch_size=2, shard_size=2) == 1
    assert n_entries(layer="layer2:grid1") == 2
    assert n_entries(pictures=PICTURES[::-1]) == 3
    assert n_entries(precision="autocast") == 4
    other = load_backbone("timm:test_resnet", "seeded:1", size_px=64)
    assert n_entries(other) == 5
    other = load_backbone("timm:test_resnet", "seeded:0", size_px=64, resize="squash")
    assert n_entries(other) == 6
    assert n_entries(projection={"layer2:gap": sparse_projection(48, 4)}) == 7
    assert n_entries(layer="layer2@1:gap") == 7


def test_the_entry_tells_how_it_came_about(tmp_path, cnn):
    extract_features(cnn, PICTURES, ["layer2:gap"], store=tmp_path)
    (entry,) = tmp_path.iterdir()
    meta = features_meta(tmp_path, entry.name)
    (source,) = meta["sources"]
    assert source["fingerprints"]["pictures"] == fingerprint_pictures(PICTURES)
    assert source["fingerprints"]["weights"] == cnn.weights_hash
    assert source["notes"] == ["timm:test_resnet: untrained weights (seeded:0)"]
    assert meta["parts"]["layer"]["path"] == "layer2"
    json.dumps(meta)


class Stopping(LazyPictures):
    """Fails when a picture is asked for, as a drive does that is pulled out."""

    def __init__(self, pictures, last):
        super().__init__(self._take, range(len(pictures)))
        self._pictures, self._last = pictures, last

    def _take(self, index):
        if index > self._last:
            raise OSError("the drive is gone")
        return self._pictures[index]


def test_a_failed_run_goes_on_at_its_last_shard(tmp_path, cnn):
    pictures = noise_pictures(20)
    layers = ["layer1:gap", "layer2:grid2"]
    options = {"store": tmp_path, "batch_size": 2, "shard_size": 4}
    options["fingerprint"] = fingerprint_pictures(pictures)
    with pytest.raises(OSError, match="the drive is gone"):
        extract_features(cnn, Stopping(pictures, 14), layers, **options)
    # A further layer has everything before it; the others go on.
    watched = Watched(pictures)
    found = extract_features(cnn, watched, layers, **options)
    assert min(watched.read) in (8, 12)
    plain = extract_features(cnn, pictures, layers, batch_size=2)
    for layer in layers:
        np.testing.assert_array_equal(found[layer], plain[layer])


@pytest.mark.parametrize("shard_size", [1, 5, 7])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(
    tmp_path, cnn, shard_size
):
    pictures = noise_pictures(20)
    layers = ["layer1:flat", "layer4:flat"]
    options = {"batch_size": 4, "shard_size": shard_size}
    options["fingerprint"] = fingerprint_pictures(pictures)
    with pytest.raises(OSError, match="gone"):
        extract_features(
            cnn, Stopping(pictures, 17), layers, store=tmp_path / "stopped", **options
        )
    for name in ("stopped", "whole"):
        extract_features(cnn, pictures, layers, store=tmp_path / name, **options)
    assert len(content(tmp_path / "whole")) == 2
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


def test_layers_that_stand_at_other_pictures_end_together(tmp_path, cnn):
    pictures = noise_pictures(12)
    options = {"store": tmp_path, "batch_size": 2, "shard_size": 4}
    options["fingerprint"] = fingerprint_pictures(pictures)
    with pytest.raises(OSError, match="gone"):
        extract_features(cnn, Stopping(pictures, 9), ["layer1:gap"], **options)
    layers = ["layer2:gap", "layer1:gap"]
    found = extract_features(cnn, pictures, layers, **options)
    plain = extract_features(cnn, pictures, layers, batch_size=2)
    for layer in layers:
        np.testing.assert_array_equal(found[layer], plain[layer])


def test_a_damaged_entry_is_computed_again(tmp_path, cnn, caplog):
    (first,) = extract_features(cnn, PICTURES, ["layer2:gap"], store=tmp_path).values()
    first = np.array(first)
    (path,) = tmp_path.glob("*/features.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        (found,) = extract_features(
            cnn, PICTURES, ["layer2:gap"], store=tmp_path
        ).values()
    assert "computing again" in caplog.text
    np.testing.assert_array_equal(found, first)


def test_of_a_damaged_entry_only_what_follows_the_damage_is_computed(tmp_path, cnn):
    pictures = Watched(noise_pictures(12))
    options = {"store": tmp_path, "batch_size": 2, "shard_size": 4}
    options["fingerprint"] = "12 pictures"
    layers = ["layer2:gap", "layer1:gap"]
    before = extract_features(cnn, pictures, layers, **options)
    before = {layer: np.array(values) for layer, values in before.items()}
    for path in tmp_path.glob("*/features.npy"):
        if np.load(path, mmap_mode="r").shape[1] == 48:
            data = bytearray(path.read_bytes())
            data[-1 - 4 * 48 * 4] ^= 1  # the last byte of the second shard
            path.write_bytes(data)
    pictures.read.clear()
    found = extract_features(cnn, pictures, layers, **options)
    assert sorted(pictures.read) == list(range(4, 12))
    for layer in layers:
        np.testing.assert_array_equal(found[layer], before[layer])
    assert len(list(tmp_path.iterdir())) == 2


class Filling(LazyPictures):
    """After some pictures files can grow no further, as on a full disk."""

    def __init__(self, pictures, last):
        super().__init__(self._take, range(len(pictures)))
        self._pictures, self._last = pictures, last

    def _take(self, index):
        if index == self._last:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        return self._pictures[index]


@pytest.mark.parametrize("last", [None, 9])
def test_a_full_disk_is_one_clear_error_and_the_run_goes_on(tmp_path, cnn, last):
    pictures = noise_pictures(16)
    layers = ["layer1:grid4"]  # 2 kB per picture
    options = {"batch_size": 2, "shard_size": 2, "fingerprint": "16 pictures"}
    store = tmp_path / "full"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    watched = Watched(pictures) if last is None else Filling(pictures, last)
    if last is None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match="There is no room left in") as caught:
            extract_features(cnn, watched, layers, store=store, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    if last is None:
        assert watched.read == []  # it is said before any work
    for folder in (store, tmp_path / "whole"):
        extract_features(cnn, pictures, layers, store=folder, **options)
    assert content(store) == content(tmp_path / "whole")


def test_one_fingerprint_for_other_numbers_of_pictures_mixes_nothing(tmp_path, cnn):
    options = {"store": tmp_path, "fingerprint": "mine"}
    for n in (7, 4):
        found = extract_features(cnn, PICTURES[:n], ["layer2:gap"], **options)
        assert found["layer2:gap"].shape == (n, 48)


def test_a_second_writer_waits_and_reads_what_the_first_one_wrote(
    tmp_path, cnn, caplog
):
    first = extract_features(cnn, PICTURES, ["layer2:gap"], store=tmp_path)
    (entry,) = tmp_path.iterdir()
    away = entry.rename(tmp_path / "elsewhere")
    written = (away / "features.npy").stat().st_mtime_ns
    with ThreadPoolExecutor(1) as other:
        with lock(entry):
            waiting = other.submit(
                extract_features, cnn, PICTURES, ["layer2:gap"], store=tmp_path
            )
            while "waiting for" not in caplog.text:
                assert not waiting.done()
                time.sleep(0.01)
            assert f'"pid": {os.getpid()}' in caplog.text
            away.rename(entry)
        second = waiting.result()
    np.testing.assert_array_equal(second["layer2:gap"], first["layer2:gap"])
    assert (entry / "features.npy").stat().st_mtime_ns == written


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from neurovis.adapters.control_features import load_control
from neurovis.adapters.features import extract_features
from neurovis.core.pictures import LazyPictures

def make(seed):
    if seed == int(sys.argv[2]):
        if len(sys.argv) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        Path(sys.argv[3]).touch()
        signal.pause()
    return np.random.default_rng(seed).integers(0, 256, (50, 50, 3), dtype=np.uint8)

extract_features(
    load_control("pyramid", size_px=64), LazyPictures(make, range(24)),
    ["level1:gap", "level2:flat"],
    batch_size=2, shard_size=5, store=sys.argv[1], fingerprint="24 pictures",
)
"""


def killed_command(folder, at, *flag):
    """Run in another process, which ends, or waits with a flag, at a picture."""
    return [sys.executable, "-c", KILLED, str(folder), str(at), *map(str, flag)]


def extract_24(folder):
    def make(seed):
        draw = np.random.default_rng(seed)
        return draw.integers(0, 256, (50, 50, 3), dtype=np.uint8)

    return extract_features(
        load_backbone("control:pyramid", size_px=64),
        *(LazyPictures(make, range(24)), ["level1:gap", "level2:flat"]),
        batch_size=2,
        shard_size=5,
        store=folder,
        fingerprint="24 pictures",
    )


def content(folder):
    return {p.parent.name: p.read_bytes() for p in Path(folder).glob("*/features.npy")}


def n_shards(folder):
    partial = list(folder.glob("*.partial"))
    return [len(json.loads((p / "meta.json").read_text())["shards"]) for p in partial]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_that_is_killed_twice_ends_with_the_same_bytes(tmp_path):
    for at in (12, 21):
        command = killed_command(tmp_path / "killed", at)
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL
    # Up to two batches are being prepared while those before are written.
    assert len(n_shards(tmp_path / "killed")) == 2
    assert set(n_shards(tmp_path / "killed")) <= {2, 3, 4}
    for name in ("killed", "whole"):
        extract_24(tmp_path / name)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert len(content(tmp_path / "whole")) == 2
    assert len(list((tmp_path / "killed").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_another_process_that_writes_is_named_and_its_work_is_taken_on(
    tmp_path, caplog
):
    flag, folder = tmp_path / "waiting", tmp_path / "store"
    with (
        subprocess.Popen(killed_command(folder, 14, flag)) as writer,
        ThreadPoolExecutor(1) as other,
    ):
        try:
            while not flag.exists():
                assert writer.poll() is None
                time.sleep(0.05)
            waiting = other.submit(extract_24, folder)
            while f'"pid": {writer.pid}' not in caplog.text:
                assert not waiting.done()
                time.sleep(0.05)
            assert len(list(folder.glob("*.partial"))) == 2
        finally:
            writer.kill()
        waiting.result()
    extract_24(tmp_path / "whole")
    assert content(folder) == content(tmp_path / "whole")


# ---------------------------------------------------------------- fingerprints


def test_the_fingerprint_depends_on_pixels_sizes_and_order():
    first = fingerprint_pictures(PICTURES)
    assert fingerprint_pictures([p.copy() for p in PICTURES]) == first
    assert fingerprint_pictures(PICTURES[::-1]) != first
    assert fingerprint_pictures(PICTURES[:6]) != first
    other = [PICTURES[0].copy(), *PICTURES[1:]]
    other[0][0, 0, 0] ^= 1
    assert fingerprint_pictures(other) != first
    flat = [np.zeros((2, 6, 3), np.uint8)], [np.zeros((3, 4, 3), np.uint8)]
    assert fingerprint_pictures(flat[0]) != fingerprint_pictures(flat[1])
