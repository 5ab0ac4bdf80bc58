"""Saved sets: round trip, resume, faults."""

import json
import signal
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from neurovis.core.errors import DataCorruptError
from neurovis.core.types import StimulusSet, Viewing
from stimuli.save import load_stimuli, picture_hash, save_stimuli
from stimuli.search_arrays import item_areas, make_search_arrays, target_area


@pytest.fixture(scope="module")
def made():
    return make_search_arrays(["line_in_curves", "top_down"], set_sizes=[6], trials=4)


@pytest.fixture
def saved(made, tmp_path):
    return save_stimuli(made, tmp_path / "set")


def pictures(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")
    }


def small_set(table):
    images = [np.full((2, 3, 3), level, np.uint8) for level in range(len(table))]
    return StimulusSet("small", table, Viewing(30, 3, 2), images)


# --------------------------------------------------------------------- round trip


def test_loaded_set_equals_the_saved_one(made, saved):
    loaded = load_stimuli(saved, verify=True)
    assert loaded.name == made.name
    assert loaded.viewing == made.viewing
    assert loaded.fingerprint == made.fingerprint
    paths = ["path", "target_path"]
    pd.testing.assert_frame_equal(loaded.table.drop(columns=paths), made.table)
    for i in range(len(made)):
        assert np.array_equal(loaded.load(i), made.load(i))
        assert np.array_equal(loaded.targets[i], made.targets[i])
    assert loaded.table["path"][0] == "images/line_in_curves_n06_t000.png"


def test_fingerprint_survives_for_all_layouts_and_renderings(tmp_path):
    ring = {
        "rendering": "smooth",
        "view_deg": 14,
        "item_deg": 1.37,
        "eccentricity_deg": 4.21,
        "px_per_deg": 13.7,
        "background": (3, 50, 9),
    }
    for k, options in enumerate(({"jpeg": True}, {"rendering": "smooth"}, ring)):
        stimuli = make_search_arrays("hetero_t20", set_sizes=[5], trials=2, **options)
        loaded = load_stimuli(save_stimuli(stimuli, tmp_path / str(k)))
        assert loaded.fingerprint == stimuli.fingerprint
        row = loaded.table.iloc[1]
        assert np.array_equal(item_areas(row), item_areas(stimuli.table.iloc[1]))
        assert np.array_equal(target_area(row), target_area(stimuli.table.iloc[1]))


def test_saving_a_loaded_set_gives_the_same_bytes(saved, tmp_path):
    again = save_stimuli(load_stimuli(saved), tmp_path / "again")
    assert pictures(again) == pictures(saved)


def test_equal_sets_give_equal_bytes(made, saved, tmp_path):
    twin = make_search_arrays(["line_in_curves", "top_down"], set_sizes=[6], trials=4)
    assert pictures(save_stimuli(twin, tmp_path / "twin")) == pictures(saved)


def test_targets_are_stored_once_per_content(made, saved):
    table = load_stimuli(saved).table
    distinct = {picture_hash(target) for target in made.targets}
    files = {p.name for p in (saved / "targets").iterdir()}
    assert files == {f"{h[:16]}.png" for h in distinct}
    assert len(files) < len(table)
    assert set(table["target_path"]) == {f"targets/{name}" for name in files}


def test_description_tells_how_the_set_was_made(made, saved):
    about = json.loads((saved / "stimuli.json").read_text())
    assert about["fingerprint"] == made.fingerprint
    assert about["n_stimuli"] == 8
    assert about["viewing"]["width_px"] == 339
    assert about["parameters"]["seed"] == 0
    assert about["parameters"]["rendering"] == "published"
    assert "condition" not in about["parameters"]
    assert set(about["versions"]) == {"neurovis", "numpy", "pandas", "pillow"}


def test_kinds_of_columns_survive(tmp_path):
    table = pd.DataFrame(
        {
            "stimulus_id": ["a", "b", "c"],
            "code": ["007", "1e3", "NaN"],
            "words": ['say "hi", twice', "two\nlines", "été ×"],
            "maybe": ["x", np.nan, "None"],
            "flag": [True, False, True],
            "count": np.array([1, 2, 2**62]),
            "small": np.array([0, 255, 7], np.uint8),
            "value": [0.1 + 0.2, 1e-300, np.nan],
            "single": np.array([0.1, 1 / 3, 1e30], np.float32),
            "whole": [1.0, 2.0, 3.0],
            "limit": [np.inf, -np.inf, 0.0],
        }
    )
    stimuli = small_set(table)
    loaded = load_stimuli(save_stimuli(stimuli, tmp_path / "set"), verify=True)
    pd.testing.assert_frame_equal(loaded.table.drop(columns="path"), table)
    assert loaded.fingerprint == stimuli.fingerprint
    assert loaded.targets is None


def test_selected_rows_keep_their_fingerprint(made, saved, tmp_path):
    part = load_stimuli(saved).select([5, 1])
    assert part.fingerprint == made.select([5, 1]).fingerprint
    assert load_stimuli(save_stimuli(part, tmp_path / "part")).fingerprint == (
        part.fingerprint
    )


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        (["", "a", "b"], ValueError, "'extra' has values that CSV does not keep"),
        (pd.Categorical(["u", "v", "u"]), TypeError, "'extra' has dtype category"),
        ([1, "a", 2.5], TypeError, "'extra' has dtype object"),
        (pd.to_datetime(["2020-01-01"] * 3), TypeError, "'extra' has dtype datetime64"),
    ],
)
def test_columns_that_csv_would_change_are_refused(column, error, message, tmp_path):
    table = pd.DataFrame({"stimulus_id": ["a", "b", "c"], "extra": column})
    with pytest.raises(error, match=message):
        save_stimuli(small_set(table), tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "naïve", "x" * 201])
def test_identities_that_cannot_name_a_file_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="cannot name a file"):
        save_stimuli(small_set(pd.DataFrame({"stimulus_id": [name]})), tmp_path / "s")


def test_identities_that_differ_in_case_only_are_refused(tmp_path):
    table = pd.DataFrame({"stimulus_id": ["Ls_1", "ls_1"]})
    with pytest.raises(ValueError, match="differ in case only"):
        save_stimuli(small_set(table), tmp_path / "set")


# -------------------------------------------------------------------------- resume


def test_second_run_writes_nothing(made, saved):
    before = {p: p.stat().st_mtime_ns for p in (saved / "images").iterdir()}
    save_stimuli(made, saved)
    assert {p: p.stat().st_mtime_ns for p in (saved / "images").iterdir()} == before


def test_missing_and_damaged_pictures_are_written_again(made, saved, caplog):
    whole = pictures(saved)
    first, second, third, *_ = sorted((saved / "images").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:100])
    Image.new("RGB", (339, 339)).save(third)
    kept = sorted((saved / "images").iterdir())[-1]
    time_of_kept = kept.stat().st_mtime_ns
    save_stimuli(made, saved)
    assert pictures(saved) == whole
    assert kept.stat().st_mtime_ns == time_of_kept
    assert f"{second} is damaged" in caplog.text


KILLED_WHILE_SAVING = """
import os, signal, sys
from neurovis.core.types import StimulusSet
from neurovis.core.pictures import LazyPictures
from stimuli.save import save_stimuli
from stimuli.search_arrays import draw_search_array, make_search_arrays

made = make_search_arrays("cross", trials=4)
drawn = []

def draw(row):
    drawn.append(row)
    if len(drawn) == len(made) + 6:  # once all for the fingerprint, then five
        os.kill(os.getpid(), signal.SIGKILL)
    return draw_search_array(row)

images = LazyPictures(draw, made.table.to_dict("records"))
dying = StimulusSet(made.name, made.table, made.viewing, images, made.targets)
save_stimuli(dying, sys.argv[1])
"""


def test_killed_run_is_completed_by_the_next(tmp_path):
    folder = tmp_path / "set"
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(folder)]
    done = subprocess.run(command, check=False)
    assert done.returncode == -signal.SIGKILL
    there = {p: p.stat().st_mtime_ns for p in folder.glob("images/*.png")}
    assert len(there) == 5
    with pytest.raises(FileNotFoundError, match="saving was interrupted"):
        load_stimuli(folder)
    stimuli = make_search_arrays("cross", trials=4)
    save_stimuli(stimuli, folder)
    assert {p: p.stat().st_mtime_ns for p in there} == there
    assert pictures(folder) == pictures(save_stimuli(stimuli, tmp_path / "other"))


def test_another_set_is_replaced_only_when_asked(made, saved, tmp_path):
    other = make_search_arrays("top_down", set_sizes=[6], trials=2, seed=1)
    with pytest.raises(FileExistsError, match="give `overwrite` to replace it"):
        save_stimuli(other, saved)
    assert load_stimuli(saved, verify=True).fingerprint == made.fingerprint
    save_stimuli(other, saved, overwrite=True)
    assert load_stimuli(saved, verify=True).fingerprint == other.fingerprint
    assert pictures(saved) == pictures(save_stimuli(other, tmp_path / "fresh"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_folders_are_refused(made, tmp_path, overwrite):
    (tmp_path / "thesis.docx").write_text("do not lose me")
    with pytest.raises(FileExistsError, match=r"holds no stimulus set.*'thesis.docx'"):
        save_stimuli(made, tmp_path, overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.docx"]


def test_foreign_description_is_not_taken_for_ours(made, tmp_path):
    (tmp_path / "stimuli.json").write_text('{"condition": {"Description": "BIDS"}}')
    with pytest.raises(FileExistsError, match="holds no stimulus set"):
        save_stimuli(made, tmp_path, overwrite=True)
    with pytest.raises(DataCorruptError, match="does not describe a stimulus set"):
        load_stimuli(tmp_path)


def test_progress_can_be_switched_off(made, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("NEUROVIS_PROGRESS", "1")
    save_stimuli(made, tmp_path / "quiet", progress=False)
    assert capfd.readouterr().err == ""
    save_stimuli(made, tmp_path / "loud")
    assert "saving" in capfd.readouterr().err


# -------------------------------------------------------------------------- faults


def test_truncated_picture_is_reported_when_read(saved):
    path = saved / load_stimuli(saved).table["path"][2]
    path.write_bytes(path.read_bytes()[:-40])
    loaded = load_stimuli(saved)
    assert loaded.load(1).shape == (339, 339, 3)
    with pytest.raises(DataCorruptError, match=path.name):
        loaded.load(2)
    with pytest.raises(DataCorruptError, match=path.name):
        load_stimuli(saved, verify=True)


def test_missing_picture_is_reported_at_once(saved):
    (saved / "images" / "top_down_n06_t001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"top_down_n06_t001\.png is missing"):
        load_stimuli(saved)


def test_changed_picture_is_found_by_verify(saved):
    path = saved / "images" / "top_down_n06_t001.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0, 0] += 1
    Image.fromarray(pixels).save(path)
    assert len(load_stimuli(saved)) == 8
    with pytest.raises(DataCorruptError, match="a picture was changed"):
        load_stimuli(saved, verify=True)


def test_changed_table_is_refused(saved):
    path = saved / "stimuli.csv"
    path.write_text(
        path.read_text().replace("top_down_n06_t001,2", "top_down_n06_t001,3")
    )
    with pytest.raises(DataCorruptError, match="is not the table that was saved"):
        load_stimuli(saved)


def test_folders_without_a_set_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be an existing folder"):
        load_stimuli(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no folder of `save_stimuli`"):
        load_stimuli(tmp_path)


def test_later_formats_are_refused(saved):
    about = json.loads((saved / "stimuli.json").read_text())
    (saved / "stimuli.json").write_text(json.dumps(about | {"format": 2}))
    with pytest.raises(ValueError, match="update neurovis"):
        load_stimuli(saved)


def test_paths_out_of_the_folder_are_refused(saved, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)
    data = (saved / "stimuli.csv").read_bytes()
    data = data.replace(b"images/top_down_n06_t001.png", b"../secret.png")
    (saved / "stimuli.csv").write_bytes(data)
    about = json.loads((saved / "stimuli.json").read_text())
    about["table_sha256"] = sha256(data).hexdigest()
    (saved / "stimuli.json").write_text(json.dumps(about))
    with pytest.raises(DataCorruptError, match="lies outside the folder"):
        load_stimuli(saved)


def test_a_file_in_the_way_is_named(made, tmp_path):
    (tmp_path / "set").write_text("a file")
    with pytest.raises(NotADirectoryError, match="must be a folder"):
        save_stimuli(made, tmp_path / "set")
