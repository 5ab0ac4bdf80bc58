"""Images for conditions: kept with their settings, resumed, and made again."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from neurovis.adapters.braindive import BrainGuidance, contrast_weights
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.sampling import SamplingSettings, sample_images
from tasks.braindive import (
    MANIFEST,
    MANIFEST_COLUMNS,
    DriveCondition,
    generate_images,
    load_generated,
)
from tests.generation.toy_generators import gaussian_generator

SETTINGS = SamplingSettings(3, "ddim")


def to_units(images):
    return images.mean((2, 3))


def guide(scale=5.0, unit=0):
    return BrainGuidance(to_units, contrast_weights(3, [unit]), scale=scale)


def conditions(scale=5.0):
    return [
        DriveCondition("unguided", None, (0, 1, 2)),
        DriveCondition("guided-red-5", guide(scale), (0, 1), "red", "mean"),
        DriveCondition("guided-blue-5", guide(scale, 2), (0, 7), "blue", "mean"),
    ]


def generate(out, asked=None, generator=None, **options):
    options = {"settings": SETTINGS} | options
    made = generator or gaussian_generator(0.0, 0.4, fingerprint="toy")
    return generate_images(made, asked or conditions(), out, **options)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and ".part-" not in path.name
    }


def written_at(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}


# ------------------------------------------------------------------ the manifest


def test_a_manifest_has_a_row_per_image_in_the_order_that_was_asked_for(tmp_path):
    found = generate(tmp_path)
    assert tuple(found.columns) == MANIFEST_COLUMNS
    assert found["condition"].tolist() == (
        ["unguided"] * 3 + ["guided-red-5"] * 2 + ["guided-blue-5"] * 2
    )
    assert found["seed"].tolist() == [0, 1, 2, 0, 1, 0, 7]
    assert found["region"].tolist() == [""] * 3 + ["red"] * 2 + ["blue"] * 2
    assert found["scale"].tolist() == [0] * 3 + [5] * 4
    assert found["file"].iloc[-1] == "images/guided-blue-5/000000000007.png"
    for file, mark in zip(found["file"], found["sha256"], strict=True):
        assert sha256_file(tmp_path / file) == mark
    assert found["settings"].str.fullmatch("[0-9a-f]{64}").all()
    assert found["settings"].nunique() == 3
    unguided = found["condition"] == "unguided"
    measures = ["objective_first", "objective_last", "gradient_norm"]
    assert found.loc[unguided, measures].isna().all(axis=None)
    assert found.loc[~unguided, measures].notna().all(axis=None)
    assert (found["n_failed"] == 0).all()
    on_disk = pd.read_csv(tmp_path / MANIFEST, keep_default_na=False)
    assert on_disk["condition"].tolist() == found["condition"].tolist()


def test_images_and_measures_are_those_of_the_sampler(tmp_path):
    found = generate(tmp_path, batch_size=1)
    for condition in conditions():
        rows = found[found["condition"] == condition.name]
        sampled = sample_images(
            gaussian_generator(0.0, 0.4),
            condition.seeds,
            settings=SETTINGS,
            guidance=condition.guidance,
        )
        assert np.array_equal(load_generated(tmp_path, rows), sampled.images)
        np.testing.assert_allclose(rows["saturated"], sampled.saturated)
        if condition.guidance is None:
            continue
        # The first of the three steps has next to no signal: nothing is guided.
        assert np.isnan(sampled.objective[:, 0]).all()
        np.testing.assert_allclose(rows["objective_first"], sampled.objective[:, 1])
        np.testing.assert_allclose(rows["objective_last"], sampled.objective[:, 2])
        np.testing.assert_allclose(
            rows["gradient_norm"], sampled.gradient_norm[:, 1:].mean(1)
        )


def test_guided_images_are_redder_than_unguided_ones_of_their_seeds(tmp_path):
    found = generate(tmp_path)
    images = load_generated(tmp_path, found).astype(float)
    level = images.mean((1, 2))
    rows = {
        (c, s): level[i]
        for i, (c, s) in enumerate(zip(found["condition"], found["seed"], strict=True))
    }
    for seed in (0, 1):
        assert rows["guided-red-5", seed][0] > rows["unguided", seed][0] + 1
    assert rows["guided-blue-5", 0][2] > rows["unguided", 0][2] + 1


# -------------------------------------------------------------------- resuming


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
def test_batches_and_repetitions_change_no_byte(tmp_path, batch_size):
    first = generate(tmp_path / "whole")
    again = generate(tmp_path / "parts", batch_size=batch_size)
    pd.testing.assert_frame_equal(
        first.drop(columns="gradient_norm"), again.drop(columns="gradient_norm")
    )
    before, times = contents(tmp_path / "parts"), written_at(tmp_path / "parts")
    resumed = generate(tmp_path / "parts", batch_size=batch_size)
    pd.testing.assert_frame_equal(again, resumed)
    assert contents(tmp_path / "parts") == before
    assert written_at(tmp_path / "parts") == times
    assert sorted(before)[-1] == MANIFEST


def test_only_what_is_missing_or_damaged_is_made_again(tmp_path):
    before = generate(tmp_path)
    whole, times = contents(tmp_path), written_at(tmp_path)
    gone = tmp_path / before["file"][1]
    cut = tmp_path / before["file"][3]
    other = tmp_path / before["file"][5]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-20])
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(other)
    with pytest.raises(DataCorruptError, match="generate again"):
        load_generated(tmp_path, before[3:4])
    with pytest.raises(FileNotFoundError):
        load_generated(tmp_path, before[1:2])
    again = generate(tmp_path)
    pd.testing.assert_frame_equal(before, again)
    assert contents(tmp_path) == whole
    now = written_at(tmp_path)
    assert {path for path in now if now[path] != times[path]} == {gone, cut, other}


def test_a_lost_manifest_makes_all_again_with_equal_bytes(tmp_path):
    generate(tmp_path)
    whole = contents(tmp_path)
    (tmp_path / MANIFEST).unlink()
    generate(tmp_path)
    assert contents(tmp_path) == whole


@pytest.mark.parametrize(
    "change",
    [
        {"settings": SamplingSettings(4, "ddim")},
        {"settings": SamplingSettings(3, "ddpm")},
        {"generator": gaussian_generator(0.5, 0.4, fingerprint="other")},
        {"generator": gaussian_generator(0.0, 0.4, fingerprint="toy", clean_limit=0.1)},
        {
            "generator": replace(
                gaussian_generator(0.0, 0.4, fingerprint="toy"),
                scheduler={"prediction_type": "v_prediction"},
            )
        },
    ],
)
def test_images_of_other_settings_are_made_again(tmp_path, change):
    before = generate(tmp_path)
    after = generate(tmp_path, **change)
    assert not (after["settings"] == before["settings"]).any()
    assert not (after["sha256"] == before["sha256"]).any()
    back = generate(tmp_path)
    pd.testing.assert_frame_equal(before, back)


@pytest.mark.parametrize(
    "change",
    [
        {"guidance": guide(scale=6.0)},
        {"guidance": guide(unit=1)},
        {"guidance": replace(guide(), mix="clean")},
        {"guidance": replace(guide(), stop=0.5)},
        {"identity": "another encoder"},
    ],
)
def test_images_of_another_guidance_are_made_again(tmp_path, change):
    before = generate(tmp_path)
    first, second, third = conditions()
    after = generate(tmp_path, [first, replace(second, **change), third])
    same = (after["settings"] == before["settings"]).tolist()
    assert same == [True] * 3 + [False] * 2 + [True] * 2


def test_more_seeds_keep_those_that_are_there(tmp_path):
    generate(tmp_path)
    times = written_at(tmp_path)
    first, *others = conditions()
    found = generate(tmp_path, [replace(first, seeds=(2, 9, 0)), *others])
    assert found["seed"].tolist()[:3] == [2, 9, 0]
    now = written_at(tmp_path)
    assert {path: now[path] for path in times} == times
    assert len(now) == len(times) + 1
    table = pd.read_csv(tmp_path / MANIFEST)
    assert len(table) == 8


def test_a_new_name_of_a_region_needs_no_new_image(tmp_path):
    generate(tmp_path)
    times = written_at(tmp_path)
    first, second, third = conditions()
    found = generate(tmp_path, [first, replace(second, region="crimson"), third])
    assert found["region"].tolist()[3:5] == ["crimson"] * 2
    assert written_at(tmp_path) == times


def test_a_set_without_any_region_is_resumed(tmp_path):
    asked = [DriveCondition("unguided", None, (0, 1))]
    first = generate(tmp_path, asked)
    times = written_at(tmp_path)
    pd.testing.assert_frame_equal(first, generate(tmp_path, asked))
    assert written_at(tmp_path) == times
    whole = contents(tmp_path)
    (tmp_path / first["file"][0]).unlink()
    generate(tmp_path, asked)
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("name", ["007", "1e3", "nan", "True", "NA", "1_0"])
def test_names_that_look_like_numbers_are_found_again(tmp_path, name):
    asked = [DriveCondition(name, None, (0, 1), region=name)]
    first = generate(tmp_path, asked)
    times = written_at(tmp_path)
    again = generate(tmp_path, asked)
    pd.testing.assert_frame_equal(first, again)
    assert again["condition"].tolist() == [name, name]
    assert again["region"].tolist() == [name, name]
    assert written_at(tmp_path) == times
    assert len(pd.read_csv(tmp_path / MANIFEST)) == 2


def left_behind(folder):
    return sorted(path.name for path in folder.rglob("*.part-*"))


def test_leftovers_of_its_own_files_are_removed_and_of_others_are_kept(tmp_path):
    generate(tmp_path)
    whole = contents(tmp_path)
    gone = [
        "manifest.csv.part-71",
        "images/unguided/000000000001.png.part-71",
        "images/guided-red-5/000000000009.png.part-99999",
    ]
    kept = [
        "scores.parquet.part-71",
        "images/000000000001.png.part-71",
        "images/unguided/notes.txt.part-71",
        "images/unguided/000000000001.png.part-one",
        "images/another/000000000001.png.part-71",
        "images/unguided/inside/000000000001.png.part-71",
    ]
    for name in gone + kept:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    generate(tmp_path)
    assert contents(tmp_path) == whole
    assert left_behind(tmp_path) == sorted(Path(name).name for name in kept)


PROGRAM = """
import os, signal, sys
from pathlib import Path

import torch

from neurovis.adapters.braindive import BrainGuidance, contrast_weights
from neurovis.generation.sampling import SamplingSettings
from tasks.braindive import DriveCondition, generate_images
from tests.generation.toy_generators import gaussian_generator

folder = Path(sys.argv[1])
torch.set_num_threads(1)
guidance = BrainGuidance(lambda x: x.mean((2, 3)), contrast_weights(3, [0]), scale=5.0)
asked = [
    DriveCondition("unguided", None, (0, 1, 2)),
    DriveCondition("guided", guidance, (0, 1), "red", "mean"),
]


def make(name):
    generate_images(
        gaussian_generator(0.0, 0.4), asked, folder / name,
        settings=SamplingSettings(3, "ddim"), batch_size=2,
    )


def attempt(n_syncs):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sync, calls = os.fsync, []

    def counted(handle):
        # Either before a file is renamed to its name, or just after.
        calls.append(handle)
        if len(calls) == n_syncs:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = counted
    make("killed")
    os._exit(0)


# Here and not in a fork: what is slow to import is imported.
make("whole")
codes = []
while 0 not in codes:
    # Batches of two images take six writes: all of them are met.
    codes.append(attempt(1 + (5 * len(codes)) % 7))
    assert codes[-1] in (0, -signal.SIGKILL), codes
print(len(codes))
"""


@pytest.mark.slow
def test_kills_at_any_write_change_no_byte(tmp_path):
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    whole = contents(tmp_path / "whole")
    assert len(whole) == 6
    kept = contents(tmp_path / "killed")
    assert kept == whole
    assert left_behind(tmp_path / "killed") == []
    assert int(done.stdout) > 4


# -------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "a b", "-a", ".a", "a\\b", "a\0b"]
)
def test_names_that_are_no_folders_are_refused(name):
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        DriveCondition(name, None, (0,))


def test_names_of_conditions_may_hold_numbers_of_all_kinds():
    for name in ("guided-face-0.3", "suppressed-face--3", "sweep_x-1e-05", "a+b"):
        assert DriveCondition(name, None, (0,)).name == name


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ((), "at least one"),
        ((1, 1), "different"),
        ((-1,), "seeds"),
        ((2**32,), "seeds"),
        ((0.5,), "seeds"),
    ],
)
def test_seeds_that_cannot_be_are_refused(seeds, message):
    with pytest.raises(ValueError, match=message):
        DriveCondition("a", None, seeds)


def test_conditions_of_one_name_share_a_folder_if_seeds_differ(tmp_path):
    parts = [DriveCondition("a", None, (seed,)) for seed in (0, 1)]
    table = generate(tmp_path, [*parts, DriveCondition("b", None, (0,))])
    assert table[["condition", "seed"]].to_numpy().tolist() == [
        ["a", 0],
        ["a", 1],
        ["b", 0],
    ]
    assert len(list((tmp_path / "images" / "a").iterdir())) == 2
    with pytest.raises(ValueError, match="different seeds where names are the same"):
        generate(tmp_path, [*parts, DriveCondition("a", None, (1, 2))])


def test_conditions_need_different_names(tmp_path):
    one = DriveCondition("a", None, (0,))
    with pytest.raises(ValueError, match="different names"):
        generate(tmp_path, [one, one])
    with pytest.raises(ValueError, match="different names"):
        generate_images(gaussian_generator(), [], tmp_path)
    assert not list(tmp_path.iterdir())


def test_folders_with_another_table_are_refused_and_kept(tmp_path):
    path = tmp_path / MANIFEST
    path.write_text("subject,rt_ms\na,300\n")
    with pytest.raises(DataCorruptError, match="no manifest of generated images"):
        generate(tmp_path)
    assert path.read_text() == "subject,rt_ms\na,300\n"
    path.write_bytes(b"\xff\xfe\x00condition")
    with pytest.raises(DataCorruptError, match=MANIFEST):
        generate(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file"):
        generate(tmp_path / "file")


@dataclass(frozen=True, eq=False)
class Short(ImageGenerator):
    """A generator that has memory for so many images at once."""

    most: int = 0

    def denoise(self, x, step):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")
        return super().denoise(x, step)


def short_of_memory(most):
    made = gaussian_generator(0.0, 0.4, fingerprint="toy")
    return Short(**vars(made), most=most)


def test_a_shortage_of_memory_makes_batches_smaller_and_no_other_byte(tmp_path, caplog):
    generate(tmp_path / "whole")
    generate(tmp_path / "short", generator=short_of_memory(1), batch_size=2)
    assert contents(tmp_path / "whole") == contents(tmp_path / "short")
    assert "batch size is now 1" in caplog.text


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
def test_an_image_that_does_not_fit_is_told_with_what_to_do(tmp_path, batch_size):
    with pytest.raises(MemoryError) as error:
        generate(tmp_path, generator=short_of_memory(0), batch_size=batch_size)
    assert re.fullmatch(
        r"Not even single images of 'unguided' could be generated\. Item 0 alone does "
        r"not fit into the memory of cpu \(\d+ bytes free\): OutOfMemoryError: Tried "
        r"to allocate 2\.00 GiB\. Use a smaller input, free memory, or another "
        r"device\. Weights of 16 bits \(precision='float16'\) need less memory; "
        r"guidance also with gradient_checkpointing=True \(--save-memory\) or "
        r"through_denoiser=False \(--fixed-noise\)\.",
        str(error.value),
    )
    assert contents(tmp_path) == {}


def test_images_that_are_done_outlive_a_shortage(tmp_path):
    first, second, third = conditions()
    generate(tmp_path, [first])
    with pytest.raises(MemoryError, match="'guided-red-5'"):
        generate(tmp_path, [first, second], short_of_memory(0))
    times = written_at(tmp_path)
    generate(tmp_path, [first, second, third])
    assert {path: written_at(tmp_path)[path] for path in times} == times


def test_gradients_that_are_not_finite_are_one_error_and_leave_no_image(tmp_path):
    broken = BrainGuidance(
        lambda images: to_units(images) * torch.nan,
        contrast_weights(3, [0]),
        scale=5.0,
    )
    asked = [DriveCondition("guided", broken, (0, 1))]
    with pytest.raises(FloatingPointError) as error:
        generate(tmp_path, asked)
    assert str(error.value) == (
        "4 of 4 gradients were not finite: check the encoder, make the scale smaller, "
        "or compute in float32 or bfloat16."
    )
    assert contents(tmp_path) == {}


def test_identical_guidance_tells_identical_parameters():
    one, same = (
        DriveCondition("a", guide(), (0,), identity="mean").parameters for _ in range(2)
    )
    assert one == same
    assert "encoder" not in one["guidance"]
    assert one["encoder"] == "mean"
    assert DriveCondition("a", None, (0,)).parameters == {"guidance": None}
    doubled = replace(guide(), weights=torch.tensor([0.5, 0.5, 0.0]))
    other = DriveCondition("a", doubled, (0,), identity="mean").parameters
    told, others = one["guidance"], other["guidance"]
    assert [name for name in told if told[name] != others[name]] == ["weights"]
