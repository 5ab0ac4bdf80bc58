"""Memory that does not suffice."""

import logging
import re
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features
from neurovis.core.device import free_memory_bytes, resolve
from neurovis.core.pictures import LazyPictures

MIB = 2**20

needs_limits = pytest.mark.skipif(
    sys.platform != "linux", reason="limits of memory hold on Linux only"
)
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="this machine has no CUDA device"
)


def picture(number, side=40):
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)


@contextmanager
def limited(extra_mib):
    """Allow this process so much more memory than it has."""
    pages = Path("/proc/self/statm").read_text().split()
    used = int(pages[5]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + extra_mib * MIB, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


# ---------------------------------------------------------------------- quick


def test_features_beyond_all_memory_are_refused_before_the_first_picture(told):
    seen = []

    def read(number):
        seen.append(number)
        return picture(number)

    many = LazyPictures(read, range(10**8))
    backbone = load_backbone("compact_vgg", "seeded:0/8")
    with pytest.raises(MemoryError, match=r"GiB do not fit .*Give a `store`") as error:
        extract_features(backbone, many, ["stage1:flat"])
    assert seen == []
    saw = re.sub(r"memory of [\d.]+ GiB", "memory of 21.4 GiB", str(error.value))
    told("features of a hundred million pictures, asked for in memory", saw)


@needs_limits
def test_a_limit_of_the_process_counts_as_the_end_of_memory(told):
    backbone = load_backbone("compact_vgg", "seeded:0/8")
    pictures = [picture(i) for i in range(1000)]
    with limited(100):
        assert free_memory_bytes(torch.device("cpu")) <= 100 * MIB
        with pytest.raises(MemoryError, match=r"Features of 0\.. GiB do not") as error:
            extract_features(backbone, pictures, ["stage1:flat"])
    assert free_memory_bytes(torch.device("cpu")) > 100 * MIB
    told("features of a thousand pictures, in a process with 100 MiB left", error.value)


# --------------------------------------------------- processes with little memory

LIMIT = """
import os, resource, sys
def leave(mib):
    pages = int(open("/proc/self/statm").read().split()[5])
    most = pages * resource.getpagesize() + mib * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
"""

STREAM = """
import numpy as np
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features
from neurovis.core.pictures import LazyPictures
def read(number):
    return np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
pictures = LazyPictures(read, range(int(sys.argv[2])))
backbone = load_backbone("compact_vgg", "seeded:0/2")
layer = sys.argv[5]
def extract(some, **options):
    return extract_features(backbone, some, [layer], **options)[layer]
first = extract([read(0)], batch_size=1)
leave(int(sys.argv[3]))
found = extract(pictures, batch_size=int(sys.argv[4]), store=sys.argv[1])
assert np.allclose(found[0], first[0], rtol=1e-4, atol=1e-4)
print(found.nbytes // 2**20)
"""

RIDGE = """
import numpy as np
from neurovis.fitting.ridge import RidgeCV
names = [sys.argv[1] + "/" + name for name in ("small.npy", "wide.npy")]
small, wide = (np.load(name, mmap_mode="r") for name in names)
rng = np.random.default_rng(0)
y = small @ rng.standard_normal((40, 3)) + rng.standard_normal((100, 3))
def fit(x):
    return RidgeCV([1.0, 10.0, 100.0], device="cpu").fit(x, y)
expected = fit(small)
leave(int(sys.argv[2]))
model = fit(wide)
assert np.array_equal(model.alphas_, expected.alphas_)
assert np.allclose(model.predict(wide[:9]), expected.predict(small[:9]), atol=1e-4)
print(wide.nbytes // 2**20)
"""

VERB = """
import PIL.Image, torch
from neurovis.cli import main
import neurovis.adapters.backbones, tasks.foveate
leave(int(sys.argv.pop(1)))
main()
"""


def child(script, *words):
    return subprocess.run(
        [sys.executable, "-c", LIMIT + script, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=170,
    )


@needs_limits
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_features_larger_than_memory_are_streamed_into_a_store(tmp_path, told):
    done = child(STREAM, tmp_path / "store", 500, 250, 16, "stage1:flat")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 300
    assert list(tmp_path.rglob("*.part-*")) == []
    told(
        f"{done.stdout.strip()} MiB of features into a store, with 250 MiB of memory",
        "the features, one batch of pictures after another",
    )


@needs_limits
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_batch_larger_than_memory_is_halved(tmp_path, told):
    done = child(STREAM, tmp_path / "store", 256, 150, 256, "stage1:gap")
    assert done.returncode == 0, done.stderr
    assert "out of memory on cpu: batch size is now 128" in done.stderr
    told(
        "batches of 256 pictures, with 150 MiB of memory",
        f"{done.stderr.strip().splitlines()[0]}; and then the features",
    )


@needs_limits
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ridge_reads_features_larger_than_memory_block_by_block(tmp_path, told):
    rng = np.random.default_rng(0)
    small = rng.standard_normal((100, 40)).astype(np.float32)
    np.save(tmp_path / "small.npy", small)
    # Columns of zeros, which take no room on disk, change no prediction.
    wide = np.lib.format.open_memmap(
        tmp_path / "wide.npy", "w+", np.float32, (100, 1_600_000)
    )
    wide[:, ::40_000] = small
    wide.flush()
    done = child(RIDGE, tmp_path, 500)
    assert done.returncode == 0, done.stderr
    told(
        f"ridge regression on {done.stdout.strip()} MiB of features in a memory-mapped "
        "file, with 500 MiB of memory",
        "alphas and predictions as with features that fit into memory",
    )


@needs_limits
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_verb_that_runs_out_of_memory_says_so_in_one_line(tmp_path, told):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8000, 6000), "grey").save(tmp_path / "photos" / "large.png")
    words = ["stimuli", "foveate", tmp_path / "photos", "--out", tmp_path / "out"]
    done = child(VERB, 60, *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "memory" in done.stderr
    assert not (tmp_path / "out" / "pictures.csv").exists()
    assert list(tmp_path.rglob("*.part-*")) == []
    told("a picture of 48 million pixels, with 60 MiB of memory", done.stderr)


# ------------------------------------------------------------------------ GPU


@contextmanager
def limited_gpu(device, extra_mib):
    """Let torch take so much more of the device than it holds."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    most = torch.cuda.memory_reserved(device) + extra_mib * MIB
    torch.cuda.set_per_process_memory_fraction(most / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


@pytest.mark.gpu
@needs_cuda
def test_a_batch_larger_than_the_gpu_is_halved(told, caplog):
    device = resolve("cuda")
    backbone = load_backbone("compact_vgg", "seeded:0")
    pictures = [picture(i) for i in range(512)]
    rule = {"device": device, "batch_size": 512}
    expected = extract_features(backbone, pictures, ["stage5:gap"], **rule)
    assert caplog.text == ""
    with limited_gpu(device, 300), caplog.at_level(logging.WARNING):
        found = extract_features(backbone, pictures, ["stage5:gap"], **rule)
    warned = [record.getMessage() for record in caplog.records]
    assert warned[0] == f"out of memory on {device}: batch size is now 256"
    scale = np.abs(expected["stage5:gap"]).max()
    np.testing.assert_allclose(
        found["stage5:gap"], expected["stage5:gap"], rtol=0, atol=1e-5 * scale
    )
    told("batches of 512 pictures, with 300 MiB of a GPU", warned[0])


@pytest.mark.gpu
@needs_cuda
def test_a_picture_larger_than_the_gpu_is_told(told):
    device = resolve("cuda")
    backbone = load_backbone("compact_vgg", "seeded:0", size_px=2048)
    with (
        limited_gpu(device, 40),
        pytest.raises(MemoryError, match="Item 0 alone does not fit into") as error,
    ):
        extract_features(backbone, [picture(0)], ["stage5:gap"], device=device)
    assert "cuda" in str(error.value)
    told(
        "a picture of 2048 x 2048 pixels, with 40 MiB of a GPU",
        str(error.value).split(" (")[0],
    )
