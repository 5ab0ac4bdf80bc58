"""Preparation of responses: what plain NumPy gives, in any blocks, found again."""

import errno
import itertools
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_loaders.beta_cache import check_room
from data_loaders.beta_files import open_beta_file
from data_loaders.beta_preparation import (
    BetaPart,
    Recording,
    plan_memory,
    prepare_responses,
)
from neurovis.core.brain_space import SurfaceSpace, VolumeSpace
from neurovis.core.errors import DataCorruptError
from neurovis.core.unit_responses import open_responses

OPTIONS = list(itertools.product((True, False), (True, False), ("drop", "nan", "zero")))

# ------------------------------------------------------------------- recordings


def trial_table(ids, n_trials, sessions=None):
    """Trials of files one after the other, a session per file."""
    file = np.repeat(np.arange(len(n_trials)), n_trials)
    row = np.concatenate([np.arange(n) for n in n_trials])
    session = file + 1 if sessions is None else np.asarray(sessions)
    identity = [f"nsd-{i:05d}" for i in ids]
    return pd.DataFrame(
        {"stimulus_id": identity, "session": session, "file": file, "row": row}
    )


def make_recording(folder, sessions, ids, *, split=None, labels=None, **more):
    """Write one ``.npy`` per session and hemisphere; places are all units."""
    folder.mkdir(exist_ok=True)
    n_units = sessions[0].shape[1]
    split = n_units if split is None else split
    parts = []
    for name, side in (("lh", slice(0, split)), ("rh", slice(split, None))):
        files = []
        for s, values in enumerate(sessions):
            if values[:, side].size:
                np.save(folder / f"{name}{s}.npy", values[:, side])
                files.append(open_beta_file(folder / f"{name}{s}.npy"))
        if files:
            parts.append(BetaPart(tuple(files), np.arange(files[0].n_places)))
    space = SurfaceSpace("mesh", (max(split, 1), max(n_units - split, 1)))
    trials = trial_table(ids, [len(s) for s in sessions], labels)
    return Recording(
        "made",
        "subj01",
        tuple(parts),
        trials,
        space.locate(np.arange(n_units)),
        space=space,
        **more,
    )


def random_sessions(seed=0, n_units=9, lengths=(12, 10, 14), dtype=np.int16):
    """Sessions with every kind of trouble, and 1 to 5 trials per image."""
    rng = np.random.default_rng(seed)
    gain = rng.uniform(100, 2000, n_units)
    sessions = [
        rng.normal(5 * s, 1, (n, n_units)) * gain for s, n in enumerate(lengths)
    ]
    sessions = [np.clip(v, -32768, 32767).astype(dtype) for v in sessions]
    n_trials = sum(lengths)
    counts = rng.choice([1, 2, 3, 3, 3, 4, 5], n_trials)
    ids = np.repeat(rng.permutation(n_trials), counts)[:n_trials]
    return sessions, rng.permutation(ids)


def troubled_sessions(dtype=np.float32):
    sessions, ids = random_sessions(dtype=dtype)
    sessions[1][:, 1] = 0
    sessions[0][:, 2] = 17
    for values in sessions:
        values[:, 3] = 0
    if np.dtype(dtype).kind == "f":
        sessions[2][4, 4] = np.nan
        sessions[0][0, 5] = np.inf
        sessions[1][0, 5] = np.nan
    return sessions, ids


# ---------------------------------------------------------- plain implementation


def plain(recording, *, z_score, average, incomplete):
    """All trials in memory, one step after the other."""
    blocks = [
        np.concatenate([f.read(p.places) for f in p.files]).astype(np.float64)
        for p in recording.parts
    ]
    values = np.concatenate(blocks, axis=1)
    trials = recording.trials
    first = np.concatenate(
        [[0], np.cumsum([f.n_trials for f in recording.parts[0].files])]
    )
    values = values[first[trials["file"]] + trials["row"]]
    bad = np.zeros(values.shape[1], int)
    with np.errstate(invalid="ignore"):
        for session in trials["session"].unique():
            mine = (trials["session"] == session).to_numpy()
            x = values[mine]
            trouble = ~np.isfinite(x).all(0)
            if len(x) > 1:
                trouble |= (x == x[0]).all(0)
            mean, std = x.mean(0), np.sqrt(((x - x.mean(0)) ** 2).mean(0))
            z = (x - mean) / np.where(std == 0, 1, std) if z_score else x
            values[mine] = np.where(trouble, 0, z)
            bad += trouble
    ids = trials["stimulus_id"].to_numpy()
    images = np.unique(ids)
    triples = [i for i in images if (ids == i).sum() == 3]
    three = np.full((1, 3, values.shape[1]), np.nan)
    if triples:
        three = np.stack([values[ids == i] for i in triples])
    noise = three.var(axis=1, ddof=1).mean(axis=0)
    total = three.reshape(-1, values.shape[1]).var(axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ncsnr = np.sqrt(np.maximum(total - noise, 0)) / np.sqrt(noise)
    if average:
        values = np.stack([values[ids == i].mean(0) for i in images])
    ncsnr[bad > 0] = np.nan
    if incomplete == "nan":
        values[:, bad > 0] = np.nan
    keep = (bad == 0) if incomplete == "drop" else np.ones(len(bad), bool)
    return values[:, keep], ncsnr[keep], bad, keep


@pytest.mark.parametrize(("z_score", "average", "incomplete"), OPTIONS)
@pytest.mark.parametrize("units_per_block", [None, 1, 4])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_every_option_gives_what_plain_numpy_gives(
    tmp_path, z_score, average, incomplete, units_per_block, dtype
):
    sessions, ids = troubled_sessions(dtype)
    recording = make_recording(tmp_path / "data", sessions, ids, split=5)
    options = {"z_score": z_score, "average": average, "incomplete": incomplete}
    found = prepare_responses(recording, **options, units_per_block=units_per_block)
    betas, ncsnr, bad, keep = plain(recording, **options)
    assert found.betas.dtype == np.float32
    np.testing.assert_allclose(found.betas, betas, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.units["ncsnr"], ncsnr, rtol=1e-9)
    assert (bad > 0).sum() == (3 if dtype == np.int16 else 5)
    assert found.units["n_incomplete_sessions"].tolist() == bad[keep].tolist()
    expected = recording.units["unit_id"][keep].tolist()
    assert found.units["unit_id"].tolist() == expected
    if average:
        assert found.stimuli["stimulus_id"].tolist() == sorted(
            {*found.stimuli["stimulus_id"]}
        )
        counts = recording.trials["stimulus_id"].value_counts().sort_index()
        assert found.stimuli["n_repeats"].tolist() == counts.tolist()
    else:
        same = found.stimuli["stimulus_id"] == recording.trials["stimulus_id"]
        assert same.all()
        assert (found.stimuli["n_repeats"] == 1).all()


def test_the_result_is_equal_to_the_last_bit_where_no_sum_is_long(tmp_path):
    # Whole numbers below 2**24 and sessions of 4 trials: every step is exact.
    rng = np.random.default_rng(3)
    sessions = [rng.integers(-9, 9, (4, 50)).astype(np.float32) for _ in range(6)]
    recording = make_recording(tmp_path / "data", sessions, rng.permutation(24) % 8)
    options = {"z_score": True, "average": True, "incomplete": "zero"}
    found = prepare_responses(recording, **options)
    assert np.array_equal(
        found.betas, plain(recording, **options)[0].astype(np.float32)
    )


def test_a_tiny_example_by_hand(tmp_path):
    # Mean 2 and population deviation 1; mean 12 and deviation 2. A deviation with
    # ddof 1 would give 0.707 for 1.
    sessions = [np.float32([[1], [3]]), np.float32([[10], [14]])]
    recording = make_recording(tmp_path / "data", sessions, [7, 5, 5, 9])
    found = prepare_responses(recording, average=False)
    assert found.betas.tolist() == [[-1], [1], [-1], [1]]
    assert found.stimuli["session"].tolist() == [1, 1, 2, 2]
    found = prepare_responses(recording)
    assert found.stimuli["stimulus_id"].tolist() == [
        "nsd-00005",
        "nsd-00007",
        "nsd-00009",
    ]
    assert found.betas.tolist() == [[0], [-1], [1]]
    assert found.stimuli["n_repeats"].tolist() == [2, 1, 1]
    found = prepare_responses(recording, z_score=False)
    assert found.betas.tolist() == [[6.5], [1], [14]]


def test_the_ncsnr_of_a_tiny_example_by_hand(tmp_path):
    # Two images, three trials each, no z-score: variances 1 and 4, mean 2.5; total
    # variance of 1 2 3 5 7 9 is 9.5; ncsnr = sqrt(7 / 2.5). A fourth image with two
    # trials and one with four do not count.
    values = np.float32([[1, 5, 2, 7, 3, 9, 50, 60, 8, 8, 8, 9]]).T
    ids = [0, 1, 0, 1, 0, 1, 2, 2, 3, 3, 3, 3]
    recording = make_recording(tmp_path / "data", [values], ids)
    found = prepare_responses(recording, z_score=False)
    assert found.units["ncsnr"].iloc[0] == pytest.approx(np.sqrt(7 / 2.5), rel=1e-12)
    assert (
        "ncsnr is computed from the 2 images with exactly three trials." in found.notes
    )


def test_without_noise_ncsnr_is_infinite_and_without_triples_undefined(tmp_path):
    values = np.float32([[1, 5, 1, 5, 1, 5]]).T
    recording = make_recording(tmp_path / "data", [values], [0, 1, 0, 1, 0, 1])
    assert prepare_responses(recording).units["ncsnr"].tolist() == [np.inf]
    recording = make_recording(tmp_path / "data", [values], [0, 1, 0, 1, 2, 3])
    found = prepare_responses(recording)
    assert np.isnan(found.units["ncsnr"]).all()
    assert "No image has exactly three trials: ncsnr is undefined." in found.notes


def test_a_known_ncsnr_is_recovered(tmp_path):
    rng = np.random.default_rng(1)
    n_images, n_units = 500, 400
    ids = rng.permutation(np.repeat(np.arange(n_images), 3))
    true = np.repeat([0.3, 1.0], n_units // 2)
    signal = rng.normal(size=(n_images, n_units)) * true
    values = signal[ids] + rng.normal(size=(len(ids), n_units))
    sessions = [
        (3 + s + (1 + s) * v).astype(np.float32)
        for s, v in enumerate(np.split(values, 5))
    ]
    found = prepare_responses(make_recording(tmp_path / "data", sessions, ids))
    median = found.units["ncsnr"].groupby(true).median()
    np.testing.assert_allclose(median, [0.3, 1.0], rtol=0.05)


# ------------------------------------------------------------ blocks change nothing


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_blocks_of_any_size_give_the_same_bits(tmp_path_factory, data):
    seed = data.draw(st.integers(0, 99), label="seed")
    n_units = data.draw(st.integers(1, 12), label="n_units")
    lengths = data.draw(st.lists(st.integers(2, 200), min_size=1, max_size=4))
    sessions, ids = random_sessions(seed, n_units, lengths, np.float32)
    rng = np.random.default_rng(seed)
    sessions[0][:, rng.random(n_units) < 0.2] = 3
    labels = None
    if data.draw(st.booleans(), label="mixed"):
        labels = rng.integers(0, 3, sum(lengths))
        labels[:6] = [0, 0, 1, 1, 2, 2][: len(labels[:6])]
        keep = [np.sum(labels == n) != 1 for n in labels]
        labels = np.where(keep, labels, labels[0])
        if np.bincount(labels).max() < 2:
            labels = None
    folder = tmp_path_factory.mktemp("blocks")
    split = data.draw(st.integers(0, n_units), label="split")
    recording = make_recording(folder, sessions, ids, split=split, labels=labels)
    options = {
        "z_score": data.draw(st.booleans()),
        "average": data.draw(st.booleans()),
        "incomplete": data.draw(st.sampled_from(["nan", "zero"])),
    }
    whole = prepare_responses(recording, **options)
    size = data.draw(st.integers(1, n_units), label="units_per_block")
    for store in (None, folder / "store"):
        parts = prepare_responses(
            recording, **options, units_per_block=size, store=store
        )
        assert np.array_equal(parts.betas, whole.betas, equal_nan=True)
        pd.testing.assert_frame_equal(parts.units, whole.units, check_exact=True)
        pd.testing.assert_frame_equal(parts.stimuli, whole.stimuli)
        assert parts.fingerprints["betas"] == whole.fingerprints["betas"]
    alone = rng.integers(n_units)
    betas = plain(recording, **options)[0]
    np.testing.assert_allclose(
        whole.betas[:, alone], betas[:, alone], rtol=2e-6, atol=2e-6
    )


def write_formats(folder, sessions, grid):
    """Write (trials, units) of a volume, x fastest, in every format."""
    kinds = {}
    for s, values in enumerate(sessions):
        image = values.T.reshape(*grid, -1, order="F")
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"{s}.nii")
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"{s}.nii.gz")
        chunks = {".hdf5": (len(values), 1, 1, 1), ".h5": (1, *grid[::-1])}
        for suffix, chunk in chunks.items():
            packed = "gzip" if suffix == ".h5" else None
            with h5py.File(folder / f"{s}{suffix}", "w") as file:
                file.create_dataset(
                    "betas", data=image.T, chunks=chunk, compression=packed
                )
        for suffix in (".nii", ".nii.gz", *chunks):
            file = open_beta_file(folder / f"{s}{suffix}", grid=grid)
            kinds.setdefault(suffix, []).append(file)
    return kinds


@pytest.mark.parametrize("units_per_block", [None, 5])
def test_every_format_gives_the_same_bits(tmp_path, units_per_block):
    grid = (4, 5, 6)
    sessions, ids = random_sessions(n_units=120)
    places = np.sort(np.random.default_rng(0).choice(120, 40, replace=False))
    space = VolumeSpace("func", grid)
    trials = trial_table(ids, [len(s) for s in sessions])
    marks = set()
    for suffix, files in write_formats(tmp_path, sessions, grid).items():
        part = BetaPart(tuple(files), places)
        recording = Recording(
            "made", "s1", (part,), trials, space.locate(places), space=space
        )
        plan = plan_memory(recording, units_per_block=units_per_block)
        unpacks = suffix in (".nii.gz", ".h5") and units_per_block is not None
        assert plan.work_bytes == (2 * 40 * 36 if unpacks else 0)
        for store in (None, tmp_path / f"store{suffix}"):
            found = prepare_responses(
                recording, store=store, units_per_block=units_per_block
            )
            marks.add(found.fingerprints["betas"])
            assert found.space == space
    assert len(marks) == 1
    work = [p for p in tmp_path.glob("store*/*") if p.name.endswith(".work")]
    assert work == []


# ---------------------------------------------------------------------- trials


def test_only_used_trials_count(tmp_path):
    sessions, ids = random_sessions(dtype=np.float32)
    sessions[0][3] = np.nan  # never used
    sessions[0][5] = 32767
    whole = make_recording(tmp_path / "data", sessions, ids)
    used = np.ones(36, bool)
    used[[0, 3, 5, 11, 12, 30]] = False
    trials = whole.trials[used].reset_index(drop=True)
    recording = replace(whole, trials=trials)
    options = {"z_score": True, "average": True, "incomplete": "drop"}
    found = prepare_responses(recording, **options)
    expected = plain(recording, **options)
    np.testing.assert_allclose(found.betas, expected[0], rtol=1e-6, atol=1e-6)
    assert found.n_units == 9
    assert found.stimuli["n_repeats"].sum() == 30


def test_a_file_without_used_trials_is_no_trouble(tmp_path):
    sessions, ids = random_sessions()
    whole = make_recording(tmp_path / "data", sessions, ids)
    trials = whole.trials[whole.trials["file"] != 1].reset_index(drop=True)
    found = prepare_responses(replace(whole, trials=trials), store=tmp_path / "store")
    assert found.stimuli["n_repeats"].sum() == 26


def test_sessions_may_be_mixed_within_files(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 5)).astype(np.float32)
    labels = rng.permutation(np.repeat([3, 1, 8], [20, 11, 9]))
    ids = rng.permutation(np.repeat(np.arange(10), 4))
    recording = make_recording(tmp_path / "data", [values], ids, labels=labels)
    found = prepare_responses(recording, average=False)
    for session in (1, 3, 8):
        z = found.betas[labels == session]
        x = values[labels == session].astype(np.float64)
        expected = (x - x.mean(0)) / x.std(0)
        np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)
    assert found.stimuli["session"].tolist() == labels.tolist()
    average = prepare_responses(recording)
    np.testing.assert_allclose(average.betas, found.average().betas, atol=1e-6)


def test_columns_that_differ_between_trials_are_left_out_of_averages(tmp_path):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    trials = recording.trials.assign(
        nsd_id=ids,
        rt_ms=np.arange(36.0),
        label=pd.Categorical(np.where(ids % 2, "a", "b")),
        nothing=np.nan,
    )
    recording = replace(recording, trials=trials)
    found = prepare_responses(recording)
    columns = ["stimulus_id", "n_repeats", "nsd_id", "label", "nothing"]
    assert list(found.stimuli) == columns
    assert found.stimuli["nsd_id"].tolist() == sorted({*ids.tolist()})
    assert found.stimuli["label"].tolist() == [
        "a" if i % 2 else "b" for i in sorted({*ids.tolist()})
    ]
    single = prepare_responses(recording, average=False)
    wanted = [
        "stimulus_id",
        "n_repeats",
        "session",
        "nsd_id",
        "rt_ms",
        "label",
        "nothing",
    ]
    assert list(single.stimuli) == wanted


def test_pictures_follow_the_rows(tmp_path):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    pictures = [np.full((1, 1, 3), i, np.uint8) for i in ids]
    for average in (True, False):
        found = prepare_responses(recording, average=average, pictures=pictures)
        shown = [f"nsd-{p[0, 0, 0]:05d}" for p in found.pictures]
        assert shown == found.stimuli["stimulus_id"].tolist()
    with pytest.raises(ValueError, match="35 pictures for 36 trials"):
        prepare_responses(recording, pictures=pictures[1:])


def test_notes_tell_the_scale_the_incomplete_and_the_saturated(tmp_path):
    sessions, ids = troubled_sessions(np.int16)
    sessions[1][:2, 8] = 32767
    sessions[2][0, 8] = -32768
    recording = make_recording(tmp_path / "data", sessions, ids, notes=("Made up.",))
    for incomplete, word in [
        ("drop", "left out"),
        ("nan", "NaN"),
        ("zero", "set to 0"),
    ]:
        found = prepare_responses(recording, incomplete=incomplete)
        notes = " ".join(found.notes)
        assert notes.startswith("Made up. Stored numbers were divided by 300. ")
        assert (
            f"3 of 9 units are constant or undefined in a session; they were {word}"
            in (notes.replace("set to NaN", "NaN"))
        )
        assert "3 responses of 1 units lie at an end" in notes
        assert found.units.set_index("unit_id")["n_saturated"]["lh-8"] == 3
        assert found.units["n_saturated"].sum() == 3
    assert found.response_unit == "z-score"
    recording = replace(recording, response_unit="percent signal change")
    found = prepare_responses(recording, z_score=False)
    assert found.response_unit == "percent signal change"


# ---------------------------------------------------------------------- memory


def test_a_bound_that_is_too_small_is_refused_with_the_smallest_that_works(tmp_path):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    for store in (None, tmp_path / "store"):
        with pytest.raises(ValueError, match="`memory_gib` must be at least") as caught:
            prepare_responses(recording, memory_gib=0.1, store=store)
        least = float(re.search(r"at least ([\d.]+)", str(caught.value))[1])
        assert 0.6 < least < 1
        assert ("`store`" in str(caught.value)) == (store is None)
        found = prepare_responses(recording, memory_gib=least, store=store)
        assert found.n_units == 9
        with pytest.raises(ValueError, match="at least"):
            prepare_responses(recording, memory_gib=least - 0.01, store=store)
    assert (
        not (tmp_path / "store").exists()
        or len(list((tmp_path / "store").iterdir())) == 2
    )


def test_the_plan_follows_trials_units_and_the_bound(tmp_path):
    lengths = [3000] * 5
    ids = np.repeat(np.arange(5000), 3)
    files = []
    for s, n in enumerate(lengths):
        # A file of zeros that takes no room.
        with (tmp_path / f"{s}.npy").open("wb") as file:
            facts = {"descr": "<f4", "fortran_order": False, "shape": (n, 100_000)}
            np.lib.format.write_array_header_1_0(file, facts)
            file.truncate(file.tell() + 4 * n * 100_000)
        files.append(open_beta_file(tmp_path / f"{s}.npy"))
    places = np.arange(0, 100_000, 2)
    space = SurfaceSpace("mesh", (100_000, 1))
    recording = Recording(
        "made",
        "s1",
        (BetaPart(tuple(files), places),),
        trial_table(ids, lengths),
        space.locate(places),
        space=space,
    )
    plan = plan_memory(recording, memory_gib=1.5)
    assert plan.result_bytes == 4 * 5000 * 50_000
    assert plan.peak_bytes <= 1.5 * 2**30
    assert plan.n_blocks == -(-50_000 // plan.units_per_block)
    assert plan.work_bytes == 0
    larger = plan_memory(recording, memory_gib=3)
    assert larger.units_per_block > plan.units_per_block
    assert larger.peak_bytes <= 3 * 2**30
    single = plan_memory(recording, average=False, memory_gib=1.5)
    assert single.result_bytes == 3 * plan.result_bytes
    # Without a store the result of 0.93 GiB must fit beside a block.
    with pytest.raises(ValueError, match=r"0\.93 GiB are the result"):
        plan_memory(recording, memory_gib=1.5, in_memory=True)
    assert plan_memory(recording, memory_gib=3, in_memory=True).n_blocks > 1
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="`memory_gib`"):
            plan_memory(recording, memory_gib=wrong)
    with pytest.raises(ValueError, match="`units_per_block`"):
        plan_memory(recording, units_per_block=0)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("suffix", [".npy", ".nii.gz"])
def test_the_whole_process_stays_within_the_bound(tmp_path, suffix):
    # 300 million responses: 1.2 GB as floats, when 1 GiB is allowed in all.
    code = f"""
import sys
import nibabel as nib, numpy as np, pandas as pd, torch
from pathlib import Path
from data_loaders.beta_files import open_beta_file
from data_loaders.beta_preparation import BetaPart, Recording, prepare_responses
from neurovis.core.brain_space import SurfaceSpace, VolumeSpace
folder, suffix = Path({str(tmp_path)!r}), {suffix!r}
n_trials, n_units, files = 1500, 40_000, []
for s in range(5):
    path = folder / f"{{s}}{{suffix}}"
    files.append(open_beta_file(path))
space = SurfaceSpace("mesh", (n_units, 1))
if suffix == ".nii.gz":
    space = VolumeSpace("func", (40, 50, 20))
ids = [f"{{i % 2500:05d}}" for i in range(5 * n_trials)]
trials = pd.DataFrame({{
    "stimulus_id": ids, "session": np.repeat(np.arange(5), n_trials),
    "file": np.repeat(np.arange(5), n_trials), "row": np.tile(np.arange(n_trials), 5),
}})
places = np.arange(n_units)
part = BetaPart(tuple(files), places)
recording = Recording("made", "s1", (part,), trials, space.locate(places), space=space)
found = prepare_responses(recording, memory_gib=1.0, store=folder / "store")
# Not ru_maxrss, which a child inherits from the process that starts it.
status = dict(line.split(":") for line in open("/proc/self/status"))
print(found.betas.shape, int(status["VmHWM"].split()[0]) / 2**20)
"""
    rng = np.random.default_rng(0)
    values = rng.integers(-3, 3, (1500, 40_000)).astype(np.int16)
    for s in range(5):
        if suffix == ".npy":
            np.save(tmp_path / f"{s}.npy", values)
        else:
            image = values.T.reshape(40, 50, 20, -1, order="F")
            nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"{s}.nii.gz")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shape, peak = done.stdout.rsplit(maxsplit=1)
    assert shape == "(2500, 40000)"
    assert 0.5 < float(peak) < 1.0


# ----------------------------------------------------------------------- store


def bytes_read(action):
    """Bytes that the process asks the system for; on Linux only."""

    def count():
        text = Path("/proc/self/io").read_text()
        return int(re.search(r"rchar: (\d+)", text)[1])

    if not Path("/proc/self/io").exists():
        pytest.skip("the system does not count what a process reads")
    before = count()
    action()
    return count() - before


def entries(store):
    return sorted(p.name for p in store.iterdir() if len(p.name) == 64)


def test_a_stored_result_is_equal_and_lies_on_disk(tmp_path):
    sessions, ids = troubled_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids, split=4)
    memory = prepare_responses(recording)
    found = prepare_responses(recording, store=tmp_path / "store")
    assert isinstance(found.betas, np.memmap)
    assert np.array_equal(found.betas, memory.betas)
    assert found.betas.flags.f_contiguous
    pd.testing.assert_frame_equal(found.units, memory.units)
    pd.testing.assert_frame_equal(found.stimuli, memory.stimuli)
    assert (found.name, found.subject, found.space) == ("made", "subj01", memory.space)
    assert found.notes == memory.notes
    assert set(found.fingerprints) == {"betas", "beta_files"}
    (key,) = entries(tmp_path / "store")
    names = {p.name for p in (tmp_path / "store" / key).iterdir()}
    files = {"betas.npy", "stimuli.parquet", "units.parquet", "responses.json"}
    assert names == files | {"prepared.json"}
    again = open_responses(tmp_path / "store" / key)
    assert np.array_equal(again.betas, memory.betas)
    assert {p.name for p in (tmp_path / "store").iterdir()} == {key, "hashes"}


def test_a_second_call_reads_no_betas(tmp_path):
    rng = np.random.default_rng(0)
    sessions = [rng.normal(size=(50, 4000)).astype(np.float32) for _ in range(3)]
    recording = make_recording(tmp_path / "data", sessions, np.arange(150) % 50)
    store = tmp_path / "store"

    def call():
        prepare_responses(recording, store=store)

    # Hashed, read, and the result hashed.
    assert bytes_read(call) > 2 * 2_400_000
    assert bytes_read(call) < 400_000
    # Another choice of units reads the files once, without hashing them again.
    part = BetaPart(recording.parts[0].files, np.arange(100))
    fewer = replace(recording, parts=(part,), units=recording.units[:100])
    assert bytes_read(lambda: prepare_responses(fewer, store=store)) < 600_000


def test_the_key_follows_content_and_not_names(tmp_path):
    sessions, ids = random_sessions()
    store = tmp_path / "store"
    one = make_recording(tmp_path / "one", sessions, ids)
    prepare_responses(one, store=store)
    first = entries(store)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for path in (tmp_path / "two").iterdir():
        path.rename(path.with_name(f"other-{path.name}"))
    files = [open_beta_file(tmp_path / "two" / f"other-lh{s}.npy") for s in range(3)]
    part = BetaPart(tuple(files), one.parts[0].places)
    prepare_responses(replace(one, parts=(part,)), store=store, memory_gib=2)
    assert entries(store) == first
    sessions[1][0, 0] += 1
    changed = make_recording(tmp_path / "one", sessions, ids)
    found = prepare_responses(changed, store=store)
    assert len(entries(store)) == 2
    assert np.array_equal(found.betas, prepare_responses(changed).betas)


def test_a_file_whose_time_was_set_back_is_noticed(tmp_path):
    sessions, ids = random_sessions()
    store = tmp_path / "store"
    prepare_responses(make_recording(tmp_path / "d", sessions, ids), store=store)
    path = tmp_path / "d" / "lh1.npy"
    facts = path.stat()
    sessions[1][3, 0] += 1
    with path.open("r+b") as file:
        file.seek(-sessions[1].nbytes, os.SEEK_END)
        file.write(sessions[1].tobytes())
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert path.stat().st_size == facts.st_size
    recording = replace(make_recording(tmp_path / "same", sessions, ids))
    expected = prepare_responses(recording).betas
    files = tuple(open_beta_file(tmp_path / "d" / f"lh{s}.npy") for s in range(3))
    parts = (BetaPart(files, recording.parts[0].places),)
    found = prepare_responses(replace(recording, parts=parts), store=store)
    assert np.array_equal(found.betas, expected)


def test_sessions_of_different_scales_are_named_in_the_notes(tmp_path):
    sessions, ids = random_sessions()
    sessions[1] = sessions[1].astype(np.float32) / 300
    recording = make_recording(tmp_path / "d", sessions, ids)
    part = recording.parts[0]
    files = [
        replace(f, scale=300.0 if f.dtype.kind == "i" else 1.0) for f in part.files
    ]
    mixed = replace(recording, parts=(BetaPart(tuple(files), part.places),))
    told = "Stored numbers were divided by 1 (sessions 2), 300 (sessions 1, 3)."
    assert told in prepare_responses(mixed).notes


def test_whatever_a_result_depends_on_makes_another_key(tmp_path):
    sessions, ids = random_sessions()
    store = tmp_path / "store"
    base = make_recording(tmp_path / "data", sessions, ids, split=4)
    trials, units = base.trials, base.units
    shuffled = trials.assign(stimulus_id=trials["stimulus_id"][::-1].to_numpy())
    labelled = units.assign(area="V1")
    scaled = [
        BetaPart(tuple(replace(f, scale=2.0) for f in p.files), p.places)
        for p in base.parts
    ]
    calls = [
        (base, {}),
        (base, {"z_score": False}),
        (base, {"average": False}),
        (base, {"incomplete": "nan"}),
        (replace(base, trials=shuffled), {}),
        (replace(base, trials=trials[1:].reset_index(drop=True)), {}),
        (replace(base, units=labelled), {}),
        (replace(base, units=labelled, families=("area",)), {}),
        (replace(base, parts=base.parts[:1], units=units[:4]), {}),
        (replace(base, notes=("x",)), {}),
        (replace(base, subject="subj02"), {}),
        (replace(base, name="other"), {}),
        (replace(base, space=None), {}),
        (replace(base, space=SurfaceSpace("mesh2", base.space.n_vertices)), {}),
        (replace(base, parts=tuple(scaled)), {}),
        (replace(base, response_unit="spikes"), {}),
    ]
    for n, (recording, options) in enumerate(calls, start=1):
        prepare_responses(recording, store=store, **options)
        assert len(entries(store)) == n
    for recording, options in calls:
        prepare_responses(recording, store=store, units_per_block=2, **options)
    assert len(entries(store)) == len(calls)


def test_another_dataset_of_the_same_file_is_another_result(tmp_path):
    sessions, ids = random_sessions(lengths=(36,))
    for chunks in (None, (36, 1)):
        path = tmp_path / "two.hdf5"
        with h5py.File(path, "w") as file:
            for name, values in [("one", sessions[0]), ("two", sessions[0] + 1)]:
                file.create_dataset(name, data=values, chunks=chunks)
        marks = set()
        for name in ("one", "two"):
            part = BetaPart((open_beta_file(path, dataset=name),), np.arange(9))
            units = SurfaceSpace("mesh", (9, 1)).locate(np.arange(9))
            recording = Recording("made", "s", (part,), trial_table(ids, [36]), units)
            found = prepare_responses(
                recording, z_score=False, store=tmp_path / f"store{chunks}"
            )
            marks.add(found.fingerprints["betas"])
        assert len(marks) == len(entries(tmp_path / f"store{chunks}")) == 2


def flip_last_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("betas.npy", flip_last_byte),
        ("betas.npy", lambda p: p.write_bytes(p.read_bytes()[:-4])),
        ("betas.npy", Path.unlink),
        ("units.parquet", flip_last_byte),
        ("stimuli.parquet", Path.unlink),
        ("responses.json", lambda p: p.write_text("{}")),
        ("prepared.json", lambda p: p.write_text("[]")),
        ("prepared.json", lambda p: p.write_text('{"parts": {}, "files": {}}')),
        ("prepared.json", lambda p: p.write_text("{")),
        ("prepared.json", Path.unlink),
    ],
)
def test_a_damaged_entry_is_told_of_and_made_again(tmp_path, caplog, name, damage):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    store = tmp_path / "store"
    betas = np.array(prepare_responses(recording, store=store).betas)
    (key,) = entries(store)
    whole = {p.name: p.read_bytes() for p in (store / key).iterdir()}
    damage(store / key / name)
    with caplog.at_level(logging.WARNING):
        found = prepare_responses(recording, store=store)
    assert "preparing again" in caplog.text
    assert key in caplog.text
    assert np.array_equal(found.betas, betas)
    assert {p.name: p.read_bytes() for p in (store / key).iterdir()} == whole
    caplog.clear()
    prepare_responses(recording, store=store)
    assert caplog.text == ""


@pytest.mark.parametrize("text", ["{", "[]", '{"sha256": "0"}', "null"])
def test_damaged_memory_of_a_hash_is_made_again(tmp_path, text):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    store = tmp_path / "store"
    prepare_responses(recording, store=store)
    for path in (store / "hashes").iterdir():
        path.write_text(text)
    prepare_responses(recording, store=store)
    assert len(entries(store)) == 1
    assert all("mtime_ns" in p.read_text() for p in (store / "hashes").iterdir())


def test_a_file_with_its_old_size_and_time_but_moved_is_hashed_again(tmp_path):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    store = tmp_path / "store"
    prepare_responses(recording, store=store)
    path = tmp_path / "data" / "lh0.npy"
    facts = path.stat()
    flip_last_byte(path)
    copy = path.with_name("copy.npy")
    shutil.copy(path, copy)
    copy.replace(path)  # another inode
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    found = prepare_responses(recording, store=store)
    assert len(entries(store)) == 2
    assert np.array_equal(found.betas, prepare_responses(recording).betas)


def test_what_a_stopped_call_left_is_removed_with_the_next(tmp_path):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    store = tmp_path / "store"
    prepare_responses(recording, store=store)
    (key,) = entries(store)
    (store / f"{key}.work" / "unpacked").mkdir(parents=True)
    (store / f"{key}.work" / "unpacked" / "0-0000.npy").write_bytes(b"x")
    prepare_responses(recording, store=store)
    assert {p.name for p in store.iterdir()} == {key, "hashes"}


@pytest.mark.parametrize("n_files_in_the_way", ["store", "hashes"])
def test_a_file_in_the_way_of_the_store_is_named(tmp_path, n_files_in_the_way):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    store = tmp_path / "store"
    if n_files_in_the_way == "store":
        store.write_text("x")
        with pytest.raises(NotADirectoryError, match="store"):
            prepare_responses(recording, store=store)
    else:
        # Hashes only save time.
        store.mkdir()
        (store / "hashes").write_text("x")
        assert prepare_responses(recording, store=store).n_units == 9


# ----------------------------------------------------------------------- faults


def test_unknown_options_and_columns_that_are_computed_are_refused(tmp_path):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    with pytest.raises(ValueError, match="Did you mean 'drop'"):
        prepare_responses(recording, incomplete="drops")
    units = recording.units.assign(ncsnr=1.0)
    with pytest.raises(ValueError, match=r"\['ncsnr'\] already"):
        prepare_responses(replace(recording, units=units))


def test_a_session_of_one_trial_cannot_be_z_scored(tmp_path):
    sessions, ids = random_sessions(lengths=(5, 1, 6))
    recording = make_recording(tmp_path / "data", sessions, ids)
    with pytest.raises(ValueError, match="Session 2 has one used trial"):
        prepare_responses(recording)
    assert prepare_responses(recording, z_score=False).n_units == 9


def test_no_unit_left_is_an_error_with_advice(tmp_path):
    sessions, ids = random_sessions()
    sessions[1][:] = 0
    recording = make_recording(tmp_path / "data", sessions, ids)
    for store in (None, tmp_path / "store"):
        with pytest.raises(ValueError, match="incomplete='nan' or 'zero'"):
            prepare_responses(recording, store=store)
        assert prepare_responses(recording, incomplete="zero", store=store).n_units == 9


def changed(trials, **columns):
    return trials.assign(**columns)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.drop(columns="row"), ValueError, "lacks the columns"),
        (lambda t: t[:0], ValueError, "`trials` is empty"),
        (lambda t: changed(t, session=1.5), TypeError, "whole numbers in 'session'"),
        (lambda t: changed(t, stimulus_id=3), TypeError, "text in 'stimulus_id'"),
        (lambda t: changed(t, row=t["row"] + 1), ValueError, "row 12 of file 0"),
        (lambda t: changed(t, file=t["file"] - 1), ValueError, "file -1"),
        (lambda t: changed(t, file=2 * t["file"]), ValueError, "file 4"),
        (lambda t: t[::-1], ValueError, "order of time"),
        (lambda t: pd.concat([t, t[-1:]]), ValueError, "none twice"),
    ],
)
def test_trials_must_fit_the_files(tmp_path, change, error, message):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    with pytest.raises(error, match=message):
        replace(recording, trials=change(recording.trials))


def test_parts_and_units_must_fit_each_other(tmp_path):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids, split=4)
    with pytest.raises(ValueError, match="8 rows for 9 places"):
        replace(recording, units=recording.units[1:])
    with pytest.raises(ValueError, match="at least one file"):
        BetaPart((), np.arange(3))
    left, right = recording.parts
    with pytest.raises(ValueError, match="must have one grid"):
        BetaPart((left.files[0], right.files[0]), np.arange(3))
    with pytest.raises(ValueError, match="places 0 to 3"):
        BetaPart(left.files, np.arange(5))
    with pytest.raises(ValueError, match="files of the same trials"):
        replace(recording, parts=(left, BetaPart(right.files[:2], right.places)))


def test_too_little_room_is_told_before_anything_is_computed(tmp_path):
    with pytest.raises(OSError, match=r"MB are needed in .* but only") as caught:
        check_room(tmp_path, 2**62)
    assert caught.value.errno == errno.ENOSPC
    check_room(tmp_path, 1)


def test_a_file_that_changes_while_it_is_read_is_told_of(tmp_path):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    path = tmp_path / "data" / "lh0.npy"

    class Meddler(type(recording.parts[0].files[0])):
        def read_into(self, *arguments):
            super().read_into(*arguments)
            flip_last_byte(path)

    first, *others = recording.parts[0].files
    facts = {name: getattr(first, name) for name in first.__dataclass_fields__}
    part = BetaPart((Meddler(**facts), *others), recording.parts[0].places)
    store = tmp_path / "store"
    with pytest.raises(DataCorruptError, match=r"lh0\.npy changed while it was read"):
        prepare_responses(replace(recording, parts=(part,)), store=store)
    assert entries(store) == []


def test_the_entry_tells_what_it_was_prepared_from(tmp_path):
    sessions, ids = random_sessions()
    recording = make_recording(tmp_path / "data", sessions, ids)
    prepare_responses(recording, store=tmp_path / "store", incomplete="zero")
    (key,) = entries(tmp_path / "store")
    text = (tmp_path / "store" / key / "prepared.json").read_text()
    parts = json.loads(text)["parts"]
    assert parts["options"] == {"z_score": True, "average": True, "incomplete": "zero"}
    assert len(parts["files"]) == 3
    assert str(tmp_path) not in text
