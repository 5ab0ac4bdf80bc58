"""The disk: full, read-only, not there, taken away."""

import errno
import functools
import hashlib
import http.server
import os
import re
import resource
import shutil
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.report import ReportFigure, Section, write_report
from data_loaders.fetch import RemoteFile, fetch_file
from neurovis.core.array_files import write_array, write_arrays
from neurovis.core.embedding_files import write_bank, write_shard
from neurovis.core.feature_files import FeatureWriter
from neurovis.core.files import write_json, write_table, write_text
from neurovis.core.pictures import LazyPictures, write_png
from neurovis.core.provenance import collect
from neurovis.core.store import Store
from neurovis.core.types import SCORE_COLUMNS, Score
from stimuli.export import export_bids, export_psychopy
from stimuli.save import load_stimuli, save_stimuli
from stimuli.search_arrays import make_search_arrays
from tests.test_cli import ENTRY, assert_one_error, run_here

PAGE = 4096
NUMBERS = np.random.default_rng(0).normal(size=3000)
TABLE = pd.DataFrame({"value": NUMBERS})
KEPT = {"layer": "conv1", "version": 1}


def contents(folder):
    """All files below a folder, by path; remembered hashes tell times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "hashes"
    }


# ----------------------------------------------------------------- small disks


def mount(folder, *options):
    """Mount a memory disk, or say why it cannot be."""
    if shutil.which("mount") is None:
        return "`mount` is not installed"
    command = ["mount", *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


class Disk:
    """A disk with as much room as is asked for.

    Where nothing may be mounted the size of each file is limited instead.
    """

    def __init__(self, folder, n_mib):
        self.folder = folder
        self.folder.mkdir()
        self.refusal = mount(folder, "-t", "tmpfs", "-o", f"size={n_mib}m", "tmpfs")

    @contextmanager
    def room(self, n_pages):
        """Leave so many pages of room inside the block."""
        if self.refusal:
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (n_pages * PAGE, limits[1]))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            return
        ballast = self.folder / "ballast"
        free = os.statvfs(self.folder)
        with ballast.open("wb") as file:
            n_bytes = free.f_bavail * free.f_bsize - n_pages * PAGE
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        try:
            yield
        finally:
            ballast.unlink()

    @contextmanager
    def read_only(self):
        """Let nothing be written inside the block, not even by root."""
        if self.refusal:
            pytest.skip(f"no disk can be mounted here: {self.refusal}")
        assert mount(self.folder, "-o", "remount,ro") == ""
        try:
            yield
        finally:
            assert mount(self.folder, "-o", "remount,rw") == ""

    def close(self):
        if not self.refusal:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    """A small disk of our own."""
    disk = Disk(tmp_path / "disk", 1)
    yield disk
    disk.close()


@pytest.fixture
def larger_disk(tmp_path):
    """A disk for whole runs."""
    disk = Disk(tmp_path / "disk", 64)
    yield disk
    disk.close()


# -------------------------------------------------------------------- writers


def put_table(folder):
    Store(folder).put(KEPT, TABLE)


def compute_arrays(folder):
    Store(folder).get_or_compute(KEPT, lambda: {"value": NUMBERS})


def write_features(folder):
    folder.mkdir(exist_ok=True)
    rows = NUMBERS.astype(np.float32).reshape(60, 50)
    with FeatureWriter(folder, KEPT, 60, 50, shard_rows=10) as writer:
        writer.append(rows[writer.n_done :])
        writer.finish()


def write_embeddings(folder):
    # As numpy writes them, the last bytes of a shard would be alone on a page.
    rows = NUMBERS[:2000].astype(np.float32).reshape(2, 1000, 1)
    shards = [write_shard(folder, number, some) for number, some in enumerate(rows)]
    names = [f"{number}.png" for number in range(2000)]
    images = pd.DataFrame({"image": names, "sha256": "0" * 64})
    failed = pd.DataFrame({"image": [], "reason": []}, dtype="str")
    facts = {"name": "bank", "embedding": {}, "n_features": 1, "dtype": "float32"}
    write_bank(folder, shards, images, failed, notes=(), **facts)


@functools.cache
def displays():
    return make_search_arrays("top_down", set_sizes=[3, 6], trials=2)


def save_displays(folder):
    save_stimuli(displays(), folder, progress=False)


def save_score(folder):
    row = dict.fromkeys(SCORE_COLUMNS, np.nan) | {"metric": "mean_r", "model": "x"}
    table = pd.DataFrame([row] * 200).assign(value=NUMBERS[:200])
    Score(table, collect(0, "cpu", "float32", {}, {"task": "made"})).save(folder)


def report(folder):
    from analysis.plot_style import new_axes

    axes = new_axes(None)
    axes.plot(NUMBERS[:200])
    figure = ReportFigure(axes.figure, "A line.", "Numbers.")
    sections = [Section("Result", figures=[figure])]
    write_report(folder / "report.html", title="Run", sections=sections)


WRITERS = {
    "a text": lambda folder: write_text(folder / "a.txt", "é" * 5000),
    "a JSON file": lambda folder: write_json(folder / "a.json", NUMBERS.tolist()),
    "a parquet table": lambda folder: write_table(folder / "a.parquet", TABLE),
    "a CSV table": lambda folder: write_table(folder / "a.csv", TABLE),
    "a picture": lambda folder: write_png(
        folder / "a.png", (NUMBERS * 99).astype(np.uint8).reshape(50, 20, 3)
    ),
    "named arrays (safetensors)": lambda folder: write_arrays(
        folder / "a.safetensors", {"value": NUMBERS}
    ),
    "an array (npy)": lambda folder: write_array(
        folder / "a.npy", NUMBERS[:1000].astype(np.float32)
    ),
    "a table for the store": put_table,
    "arrays computed for the store": compute_arrays,
    "features of a layer": write_features,
    "an embedding bank": write_embeddings,
    "a set of stimuli": save_displays,
    "an export for PsychoPy": lambda folder: export_psychopy(displays(), folder),
    "an export for BIDS": lambda folder: export_bids(displays(), folder),
    "the scores of a run": save_score,
    "a report with a figure": report,
}
# What is under way, and where the next call goes on.
UNDER_WAY = (
    *("stimuli.part.json", ".partial/", ".work/", ".lock", "checkpoint"),
    *("shard-00000.json", "shard-00001.json", "shard-00002.json", "shard-00003.json"),
)


def assert_full(error, folder):
    """One clear error: why, where, what to do."""
    text = str(error)
    assert error.errno in (errno.ENOSPC, errno.EFBIG) or "do not fit" in text
    assert re.search("no room left|do not fit on the disk|MB are needed in", text)
    assert str(folder) in text
    assert re.search("Make room|free space", text)


def assert_sound(found, whole):
    """What has its final name has its final bytes; nothing else is left."""
    for name, data in found.items():
        if not any(sign in name for sign in UNDER_WAY):
            assert whole.get(name) == data, name


# Pages of room, first none, then more and more.
ROOMS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128)


def write_on_a_full_disk(disk, write, folder):
    """Call with more and more room until it succeeds; return the errors."""
    errors = []
    whole = folder.with_name("whole")
    write(whole)
    for n_pages in ROOMS:
        with disk.room(n_pages):
            try:
                write(disk.folder / folder.name)
            except OSError as error:
                errors.append(error)
            else:
                break
        assert_full(errors[-1], disk.folder / folder.name)
        assert_sound(contents(disk.folder / folder.name), contents(whole))
    assert errors
    assert contents(disk.folder / folder.name) == contents(whole)
    return errors


@pytest.mark.parametrize(
    "what",
    [pytest.param(w, marks=pytest.mark.slow if "figure" in w else []) for w in WRITERS],
)
def test_a_full_disk_is_one_clear_error_and_costs_no_byte(disk, tmp_path, told, what):
    errors = write_on_a_full_disk(disk, WRITERS[what], tmp_path / "out")
    told(
        f"the disk is full on writing {what}; room is made, and the call repeated",
        f"{errors[-1]} Then the bytes of an undisturbed call.",
    )


def test_a_full_disk_keeps_the_file_that_was_there(disk, told):
    path = disk.folder / "scores.csv"
    write_table(path, TABLE[:10])
    before = path.read_bytes()
    with disk.room(1), pytest.raises(OSError, match="no room left") as caught:
        write_table(path, TABLE)
    assert path.read_bytes() == before
    assert [p.name for p in disk.folder.iterdir()] == ["scores.csv"]
    told("the disk is full while a file is replaced: the old one stays", caught.value)


def test_an_array_lacks_no_last_byte_in_silence(disk, tmp_path, told):
    # numpy.save itself says nothing of bytes that stdio holds back to the end.
    array = NUMBERS[:1000].astype(np.float32)  # with the header, a page and 32 bytes
    write_array(tmp_path / "a.npy", array)
    assert (tmp_path / "a.npy").stat().st_size == PAGE + 32
    with disk.room(1), pytest.raises(OSError, match="no room left") as caught:
        write_array(disk.folder / "a.npy", array)
    assert list(disk.folder.iterdir()) == []
    told("the disk has room for all of an array but its last 32 bytes", caught.value)


def test_arrays_have_the_bytes_of_numpy_in_any_order_and_kind(tmp_path):
    square = NUMBERS[:12].reshape(3, 4)
    kinds = [square, square.T, square[:, ::2], square[:0], np.float32(3), square > 0]
    for array in map(np.asarray, [*kinds, np.array(["a", "bé"]), square.astype("f2")]):
        np.save(tmp_path / "a.npy", array)
        write_array(tmp_path / "b.npy", array)
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@contextmanager
def served(folder):
    """Serve a folder on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_full_disk_ends_a_download_and_the_next_one_goes_on(disk, tmp_path, told):
    data = np.random.default_rng(1).bytes(60_000)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "people.bin").write_bytes(data)
    sha = hashlib.sha256(data).hexdigest()
    folder = disk.folder / "data"
    with served(tmp_path / "web") as url:
        remote = RemoteFile(f"{url}/people.bin", sha, len(data), "people.bin")
        errors = []
        for n_pages in (0, 1, 3, 6):
            with disk.room(n_pages), pytest.raises(OSError, match="no room") as caught:
                fetch_file(remote, folder)
            errors.append(caught.value)
            assert_full(errors[-1], folder)
            left = {path.name for path in folder.iterdir()}
            assert left <= {"people.bin.part", "people.bin.part.json"}
        n_kept = (folder / "people.bin.part").stat().st_size
        assert 0 < n_kept < len(data)
        fetch_file(remote, folder)
    assert contents(folder) == {"people.bin": data}
    told("the disk is full while a file is downloaded", errors[-1])
    told("the same download, after room was made", "it goes on; the file is whole")


# ------------------------------------------------------------------- the verbs

DRAW = ["stimuli", "search-asymmetry", "--conditions", "top_down", "--trials", 1]


def test_a_verb_says_that_the_disk_is_full_in_one_line(disk, tmp_path, told):
    found = []
    for n_pages in (0,) if disk.refusal else (0, 1, 3):
        with disk.room(n_pages):
            found.append(run_here(*DRAW, "--out", "disk/set", cwd=tmp_path))
        assert_one_error(*found[-1], "disk/set.*no room left on its disk.*Make room")
    assert run_here(*DRAW, "--out", "disk/set", cwd=tmp_path)[0] == 0
    assert run_here(*DRAW, "--out", "whole", cwd=tmp_path)[0] == 0
    assert contents(disk.folder / "set") == contents(tmp_path / "whole")
    told(
        "the disk is full while `neurovis stimuli search-asymmetry` runs", found[-1][2]
    )


def train_network(folder):
    import torch

    from neurovis.fitting.train import TrainSettings, train

    def draw(epoch):
        stream = torch.Generator().manual_seed(epoch)
        return [torch.randn(16, 4, generator=stream) for _ in range(3)]

    def loss(module, x):
        return (module(x)[:, 0] - x.prod(1)).square().sum(), len(x)

    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = torch.nn.Sequential(torch.nn.Linear(4, 400), torch.nn.Linear(400, 1))
    settings = TrainSettings(max_epochs=3, patience=None, checkpoint_s=0.0)
    train(network, draw, loss, settings=settings, folder=folder, seed=3)


def build_from_pictures(folder):
    from tests.tasks.test_bank_build import build, draw_pictures

    pictures = folder.parent.parent / "pictures"
    if not pictures.exists():
        draw_pictures(pictures)
    build(pictures, folder, name="bank", shard_rows=3)


def prepare_betas(folder):
    from data_loaders.beta_preparation import prepare_responses
    from tests.data_loaders.test_beta_preparation_kills import (
        make_files,
        open_recording,
    )

    betas = folder.parent.parent / "betas"
    recording = open_recording(betas) if betas.exists() else make_files(betas, ".npy")
    prepare_responses(recording, store=folder, units_per_block=48)


LONGER_WRITERS = {
    "the checkpoints of a training": train_network,
    "a bank of pictures that a network embeds": build_from_pictures,
    "prepared betas": prepare_betas,
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", LONGER_WRITERS)
def test_work_goes_on_when_a_full_disk_gets_room(larger_disk, tmp_path, told, what):
    (tmp_path / "undisturbed").mkdir()
    out = tmp_path / "undisturbed" / "out"
    errors = write_on_a_full_disk(larger_disk, LONGER_WRITERS[what], out)
    assert len(errors) >= 2 or larger_disk.refusal
    told(
        f"the disk is full on writing {what}; room is made, and the call repeated",
        f"{errors[-1]} Then the bytes of an undisturbed call.",
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_on_a_full_disk_goes_on_when_room_is_made(larger_disk, tmp_path, told):
    words = ["run", "search-asymmetry", "--models", "chance", "--trials", "1"]
    assert run_here(*words, "--out", "whole", cwd=tmp_path)[0] == 0
    whole = contents(tmp_path / "whole")
    for n_pages in (0, 1) if larger_disk.refusal else (0, 1, 4, 16, 64, 128):
        with larger_disk.room(n_pages):
            code, _, errors = run_here(*words, "--out", "disk/out", cwd=tmp_path)
        assert_one_error(code, "", errors, "disk/out.*no room left.*Make room")
        assert_sound(contents(larger_disk.folder / "out"), whole)
    assert run_here(*words, "--out", "disk/out", cwd=tmp_path)[0] == 0
    assert contents(larger_disk.folder / "out") == whole
    told(
        "the disk is full while `neurovis run search-asymmetry` runs; room is made, "
        "and it is run again",
        f"{errors} Then the files of an undisturbed run.",
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_limit_on_the_size_of_files_leaves_no_simulated_tree(tmp_path, told):
    words = [
        *(
            "data",
            "simulate",
            "nsd",
            "--out",
            "nsd",
            "--subjects",
            "1",
            "--sessions",
            "1",
        ),
        *("--shape", "9,11,9", "--vertices", "162", "--picture-px", "32"),
    ]
    # HDF5 tells of it when it writes, or not before it closes a file.
    for limit_kib in (48, 880):
        done = subprocess.run(
            ["bash", "-c", f'ulimit -f {limit_kib}; exec "$@"', "bash", *ENTRY, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        (last,) = re.findall("^error: .*", done.stderr, re.MULTILINE)
        assert "nsd was not written: there is no room left on its disk" in last
        assert list(tmp_path.iterdir()) == []
    told("a limit on the size of files ends `neurovis data simulate nsd`", last)


# ------------------------------------------------------------------- read-only


def test_a_read_only_folder_is_refused_before_anything_is_drawn(disk, tmp_path, told):
    with disk.read_only():
        for out in ("disk", "disk/new/set"):
            result = run_here(*DRAW, "--out", out, cwd=tmp_path)
            assert_one_error(*result, f"{out} cannot be written .Read-only file system")
            assert list(disk.folder.iterdir()) == []
    told("results are to go into a folder of a read-only disk", result[2])


def test_a_folder_that_becomes_read_only_keeps_what_it_had(disk, told):
    path = disk.folder / "a.csv"
    write_table(path, TABLE[:3])
    before = contents(disk.folder)
    with disk.read_only():
        for write in (
            lambda: write_table(path, TABLE),
            lambda: write_arrays(disk.folder / "b.safetensors", {"value": NUMBERS}),
            lambda: write_array(disk.folder / "c.npy", NUMBERS),
            lambda: save_displays(disk.folder / "set"),
        ):
            with pytest.raises(PermissionError, match="cannot be written") as caught:
                write()
            assert "part-" not in str(caught.value)
        assert contents(disk.folder) == before
    told("the disk becomes read-only before a file is replaced", caught.value)


def test_a_read_only_cache_is_read_and_nothing_is_computed_for_it(disk, told):
    store = Store(disk.folder / "cache")
    compute_arrays(store.root)
    calls = []
    with disk.read_only():
        found = store.get_or_compute(KEPT, lambda: calls.append(1))
        np.testing.assert_array_equal(found["value"], NUMBERS)
        with pytest.raises(PermissionError, match="cannot be written") as caught:
            store.get_or_compute({"layer": "conv2"}, lambda: calls.append(1))
    assert calls == []
    told("an entry of a read-only cache is asked for", "it is read, and checked")
    told("an entry that a read-only cache lacks is asked for", caught.value)


# ------------------------------------------------------- missing, or something else


def test_a_missing_cache_is_made(tmp_path, told):
    root = tmp_path / "home" / "of the" / "cache"
    compute_arrays(root)
    compute_arrays(tmp_path / "whole")
    assert contents(root) == contents(tmp_path / "whole")
    told("the folder of the cache is missing", "it is made, with those above it")


def test_a_file_in_the_place_of_the_cache_is_named(tmp_path, told):
    (tmp_path / "cache").write_text("mine")
    calls = []
    for root in (tmp_path / "cache", tmp_path / "cache" / "below"):
        with pytest.raises(NotADirectoryError, match="cache is a file") as caught:
            Store(root).get_or_compute(KEPT, lambda: calls.append(1))
    assert calls == []
    assert contents(tmp_path) == {"cache": b"mine"}
    told("a file stands where the folder of the cache must be", caught.value)


# ------------------------------------------------------------------- taken away


def test_a_cache_removed_while_computing_is_made_again(tmp_path, told):
    store = Store(tmp_path / "cache")
    store.put({"layer": "other"}, TABLE)

    def compute():
        shutil.rmtree(store.root)
        return {"value": NUMBERS}

    np.testing.assert_array_equal(store.get_or_compute(KEPT, compute)["value"], NUMBERS)
    assert [path.name for path in store.root.iterdir()] == [store.key(**KEPT)]
    told(
        "the cache is removed while a result is computed for it",
        "the folder is made again and holds that result",
    )


def test_a_folder_removed_while_writing_is_not_called_complete(tmp_path, told):
    folder = tmp_path / "set"
    stimuli = displays()
    calls = []

    def draw(index):
        calls.append(index)
        if len(calls) == len(stimuli) + 3:  # all were drawn once, for the fingerprint
            shutil.rmtree(folder)
        return stimuli.images[index]

    taken = replace(stimuli, images=LazyPictures(draw, range(len(stimuli))))
    with pytest.raises(FileNotFoundError, match="was removed") as caught:
        save_stimuli(taken, folder, progress=False)
    assert len(calls) == 2 * len(stimuli)
    save_displays(folder)
    assert load_stimuli(folder, verify=True).fingerprint == stimuli.fingerprint
    told("the folder is removed while stimuli are written to it", caught.value)
