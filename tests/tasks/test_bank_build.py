"""Banks from folders: every picture once, failures told, and no kill changes a byte."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.feature_models import Backbone
from neurovis.core.embedding_bank import bank_of, open_bank
from neurovis.core.files import read_json
from neurovis.core.pictures import read_image, write_png
from neurovis.core.rng import generator, own_torch_stream
from neurovis.core.store import lock
from tasks.bank_build import build_bank, find_shared

N = 11


def toy_backbone(seed=0, *, trained=True, scale=1.0):
    with own_torch_stream(seed, "toy"):
        module = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 6),
        )
    with torch.no_grad():
        module[-1].weight.mul_(scale)
    rule = Preprocessing((8, 8), "squash")
    return Backbone("toy", module.eval(), rule, "toy", f"seeded:{seed}", trained)


def draw_pictures(folder, n=N):
    rng = generator(0, "bank pictures")
    for number in range(n):
        size = rng.integers(8, 20, 2)
        place = folder / ("a" if number % 2 else "b") / f"{number}.png"
        write_png(place, rng.integers(0, 256, (*size, 3), np.uint8))
    return folder


@pytest.fixture
def pictures(tmp_path):
    return draw_pictures(tmp_path / "pictures")


def build(pictures, out, **options):
    options = {"backbone": toy_backbone(), "device": "cpu", "shard_rows": 4} | options
    return build_bank(pictures, out, **options)


def expected_rows(pictures, names, backbone):
    rows = []
    for name in names:
        picture = backbone.preprocessing.prepare(read_image(pictures / name))
        with torch.no_grad():
            x = backbone.preprocessing.normalise(torch.from_numpy(picture)[None])
            rows.append(backbone.module(x)[0].numpy())
    return np.array(rows)


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_a_bank_holds_what_the_network_returns_for_every_picture(pictures, tmp_path):
    bank = build(pictures, tmp_path / "bank")
    names = sorted(p.relative_to(pictures).as_posix() for p in pictures.rglob("*.png"))
    assert bank.images["image"].tolist() == names
    assert [len(shard) for shard in bank.shards] == [4, 4, 3]
    expected = expected_rows(pictures, names, toy_backbone())
    np.testing.assert_allclose(bank.rows(range(N)), expected, atol=1e-6)
    assert np.linalg.norm(expected, axis=1).std() > 0.01  # not scaled to length 1
    assert sorted(contents(tmp_path / "bank")) == [
        *("bank.json", "failed.csv", "images.parquet", "provenance.json", "run.json"),
        *("shard-00000.npy", "shard-00001.npy", "shard-00002.npy"),
    ]


def test_a_bank_tells_what_made_it(pictures, tmp_path):
    backbone = toy_backbone(trained=False)
    bank = build(pictures, tmp_path / "things", backbone=backbone)
    assert bank.name == "things"
    assert bank.embedding["weights_hash"] == backbone.weights_hash
    assert bank.embedding["layer"] == "output"
    assert bank.embedding["untrained"] is True
    assert bank.embedding["preprocessing"]["size_px"] == [8, 8]
    assert bank.notes == ("toy: untrained weights (seeded:0)",)
    provenance = read_json(tmp_path / "things" / "provenance.json")
    assert provenance["fingerprints"]["weights"] == backbone.weights_hash
    assert not build(pictures, tmp_path / "named", name="named so").notes
    assert open_bank(tmp_path / "named").name == "named so"


def test_any_layer_can_be_the_embedding(pictures, tmp_path):
    bank = build(pictures, tmp_path / "bank", layer="0:gap")
    assert bank.n_features == 4
    assert bank.embedding["layer"] == "0:gap"


def test_half_precision_is_that_of_the_embeddings_rounded(pictures, tmp_path):
    whole = build(pictures, tmp_path / "whole")
    half = build(pictures, tmp_path / "half", precision="float16")
    assert half.shards[0].dtype == np.float16
    rounded = whole.rows(range(N)).astype(np.float16)
    np.testing.assert_array_equal(half.rows(range(N)), rounded)


def test_shards_and_batches_change_embeddings_by_rounding_only(pictures, tmp_path):
    first = build(pictures, tmp_path / "1", batch_size=1, shard_rows=1)
    second = build(pictures, tmp_path / "2", batch_size=5, shard_rows=100)
    assert len(first.shards) == N
    assert len(second.shards) == 1
    assert first.images.equals(second.images)
    found = [bank.rows(range(N)) for bank in (first, second)]
    np.testing.assert_allclose(*found, atol=1e-6)


def test_pictures_that_cannot_be_read_are_left_out_and_listed(
    pictures, tmp_path, caplog
):
    whole = build(pictures, tmp_path / "whole", batch_size=2)
    names = whole.images["image"].tolist()
    cut = (pictures / names[5]).read_bytes()[:40]
    (pictures / names[5]).write_bytes(cut)
    (pictures / names[8]).write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        bank = build(pictures, tmp_path / "bank", batch_size=2)
    assert [record.getMessage()[:30] for record in caplog.records] == [
        "2 of 11 pictures were left out"
    ]
    failed = pd.read_csv(tmp_path / "bank" / "failed.csv")
    assert failed["image"].tolist() == [names[5], names[8]]
    assert failed["reason"].str.contains("not a readable picture").all()
    # Equal pictures give equal banks wherever they lie.
    assert not failed["reason"].str.contains(f"{tmp_path}| at 0x").any()
    kept = [i for i in range(N) if i not in (5, 8)]
    assert bank.images["image"].tolist() == [names[i] for i in kept]
    np.testing.assert_allclose(
        bank.rows(range(N - 2)), whole.rows(kept), rtol=0, atol=1e-6
    )
    assert read_json(tmp_path / "bank" / "bank.json")["n_failed"] == 2


def test_a_shard_of_failures_only_is_no_shard(pictures, tmp_path):
    names = build(pictures, tmp_path / "whole").images["image"].tolist()
    for name in names[4:8]:
        (pictures / name).write_bytes(b"nothing")
    bank = build(pictures, tmp_path / "bank")
    assert [len(shard) for shard in bank.shards] == [4, 3]
    assert bank.images["image"].tolist() == names[:4] + names[8:]


def test_embeddings_that_are_zero_or_not_finite_are_left_out(pictures, tmp_path):
    huge = build(
        *(pictures, tmp_path / "wide"),
        backbone=toy_backbone(scale=1e4),
    )
    assert huge.n_images == N
    largest = np.abs(huge.rows(range(N))).max(axis=1)
    scale = 1e4 * 65504 / np.median(largest)  # about half are too large for float16
    half = build(
        *(pictures, tmp_path / "half"),
        backbone=toy_backbone(scale=scale),
        precision="float16",
    )
    assert 0 < half.n_images < N
    assert np.isfinite(half.rows(range(half.n_images))).all()
    reasons = pd.read_csv(tmp_path / "half" / "failed.csv")["reason"]
    assert set(reasons) == {"its embedding is not finite in float16"}
    dead = toy_backbone()
    with torch.no_grad():
        dead.module[-1].weight.zero_()
        dead.module[-1].bias.zero_()
    with pytest.raises(ValueError, match=r"None of the 11 .* its embedding is zero"):
        build(pictures, tmp_path / "dead", backbone=dead)


def test_a_complete_bank_is_opened_without_work(pictures, tmp_path):
    out = tmp_path / "bank"
    build(pictures, out)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    build(pictures, out)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_records_that_a_kill_left_beside_a_complete_bank_are_removed(
    pictures, tmp_path
):
    out = tmp_path / "bank"
    build(pictures, out)
    before = contents(out)
    (out / "shard-00000.json").write_text("{}")
    (out / "bank.json.part-71").write_text("{")
    build(pictures, out)
    assert contents(out) == before


@pytest.mark.parametrize("name", ["shard-00001.npy", "images.parquet", "failed.csv"])
def test_what_is_damaged_of_a_bank_is_built_again(pictures, tmp_path, caplog, name):
    out = tmp_path / "bank"
    build(pictures, out)
    before = contents(out)
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / name).write_bytes(before[name][:-1] + b"?")
    with caplog.at_level(logging.WARNING):
        build(pictures, out)
    assert f"{name} is missing or has another hash" in caplog.text
    assert contents(out) == before
    sound = out / "shard-00002.npy"
    if name == "shard-00001.npy":
        assert sound.stat().st_mtime_ns == times[sound.name]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shard_rows": 5}, "holds a run with shard_rows=4; now shard_rows=5"),
        ({"precision": "float16"}, "precision='float32'"),
        ({"backbone": toy_backbone(1)}, "weights_hash="),
        ({"layer": "0:gap"}, "layer='output'"),
    ],
)
def test_another_bank_in_the_same_folder_is_refused(pictures, tmp_path, options, words):
    build(pictures, tmp_path / "bank")
    before = contents(tmp_path / "bank")
    with pytest.raises(ValueError, match=words):
        build(pictures, tmp_path / "bank", **options)
    assert contents(tmp_path / "bank") == before


def test_other_pictures_are_another_bank(pictures, tmp_path):
    build(pictures, tmp_path / "bank")
    write_png(pictures / "more.png", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ValueError, match="n_pictures=11; now n_pictures=12"):
        build(pictures, tmp_path / "bank")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"shard_rows": 0}, ValueError, "shard_rows"),
        ({"precision": "float8"}, ValueError, "precision"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"device": "gpu"}, ValueError, "device"),
        ({"layer": "nine"}, ValueError, "nine"),
    ],
)
def test_wrong_arguments_are_refused(pictures, tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        build(pictures, tmp_path / "bank", **options)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no picture"):
        build(tmp_path, tmp_path / "bank")
    assert not (tmp_path / "bank").exists()


def test_only_one_process_builds(pictures, tmp_path):
    (tmp_path / "bank").mkdir()
    with lock(tmp_path / "bank" / "bank.json"), pytest.raises(BlockingIOError):
        build(pictures, tmp_path / "bank")


def test_shared_images_are_found_by_their_pixels(pictures, tmp_path):
    bank = build(pictures, tmp_path / "bank")
    names = bank.images["image"].tolist()
    same = read_image(pictures / names[3])
    changed = read_image(pictures / names[5]).copy()
    changed[0, 0, 0] ^= 1
    assert find_shared(bank, [changed, same, same]) == [names[3]]
    assert find_shared(bank, []) == []
    with pytest.raises(ValueError, match="are not known"):
        find_shared(bank_of(np.eye(2)), [same])


def test_an_incomplete_bank_cannot_be_opened_and_is_finished(pictures, tmp_path):
    out = tmp_path / "bank"
    build(pictures, out)
    before = contents(out)
    for name in ("bank.json", "images.parquet", "shard-00002.npy"):
        (out / name).unlink()
    with pytest.raises(ValueError, match=r"not complete.*Build it again"):
        open_bank(out)
    build(pictures, out)
    assert contents(out) == before


# As in tests/fitting: one process imports torch, and forks try to build.
PROGRAM = """
import os, signal, sys
from pathlib import Path

import torch

sys.path.insert(0, sys.argv[2])
from test_bank_build import build, toy_backbone

folder = Path(sys.argv[1])
torch.set_num_threads(1)


def attempt(name, n_syncs):
    child = os.fork()
    if child:
        return child
    sync, calls = os.fsync, []

    def counted(handle):
        # Either before a file is renamed to its name, or just after.
        calls.append(handle)
        if len(calls) == n_syncs:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = counted
    build(folder / "pictures", folder / name / "bank", batch_size=3)
    os._exit(0)


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


toy_backbone().module(torch.zeros(1, 3, 8, 8))
assert wait(attempt("whole", None)) == 0
codes = []
while 0 not in codes:
    codes.append(wait(attempt("killed", 2 + 3 * len(codes) % 11)))
    assert codes[-1] in (0, -signal.SIGKILL), codes
print(len(codes))
"""


@pytest.mark.slow
def test_kills_at_any_write_change_no_byte_of_a_bank(pictures, tmp_path):
    broken = sorted(pictures.rglob("*.png"))[6]
    broken.write_bytes(broken.read_bytes()[:30])
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(here)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    whole, killed = (contents(tmp_path / name / "bank") for name in ("whole", "killed"))
    assert "bank.json" in whole
    assert whole == killed
    assert int(done.stdout) > 3
