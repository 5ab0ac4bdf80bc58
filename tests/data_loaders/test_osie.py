"""Free viewing of 700 scenes, from the tables and from the published MATLAB file."""

import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from data_loaders.osie import load_osie
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import write_table

TABLE, IMAGES, MAT = "fixations.parquet", "images.csv", "data/eye/fixations.mat"
COLUMNS = ["image", "subject", "index", "x", "y", "duration_ms"]


def _fixations():
    rows = [
        ("1001.jpg", 1, 0, 1.0, 600.0, 246),
        ("1001.jpg", 1, 1, 390.6, 326.4, 136),
        ("1001.jpg", 2, 0, 800.0, 1.0, 200),
        ("1002.jpg", 2, 0, 400.25, 300.0, 100),
        ("1002.jpg", 1, 0, 10.0, 20.0, 300),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _write(folder, fixations, images=("1001.jpg", "1002.jpg")):
    write_table(folder / TABLE, fixations)
    table = pd.DataFrame({"image": images, "width": 800, "height": 600})
    table = table.assign(n_subjects=2, test_split70=[i == "1002.jpg" for i in images])
    write_table(folder / IMAGES, table.astype({"test_split70": int}))


def _write_mat(folder, fixations):
    """Write cells of structs as the publication does: one per picture, per person."""
    path = folder / MAT
    path.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(fixations["image"].unique())
    cells = np.empty((len(names), 1), object)
    for i, name in enumerate(names):
        people = np.empty((fixations["subject"].max(), 1), object)
        for j in range(len(people)):
            mine = fixations.query("image == @name and subject == @j + 1")
            mine = mine.sort_values("index")
            people[j, 0] = {
                "fix_x": mine["x"].to_numpy(np.float64)[None],
                "fix_y": mine["y"].to_numpy(np.float64)[None],
                "fix_duration": mine["duration_ms"].to_numpy(np.float64)[None],
            }
        cells[i, 0] = {"img": name, "subjects": people}
    scipy.io.savemat(path, {"fixations": cells}, do_compression=True)
    return path


def test_the_centre_of_the_first_pixel_is_half_a_pixel_inside(tmp_path):
    _write(tmp_path, _fixations())
    (tmp_path / "stimuli").mkdir()
    (tmp_path / "stimuli" / "1002.jpg").write_bytes(b"picture")
    data = load_osie(tmp_path, px_per_deg=24)
    assert data.name == "osie"
    assert data.px_per_deg == 24
    assert data.fixations["x_px"].tolist() == [0.5, 390.1, 9.5, 799.5, 399.75]
    assert data.fixations["y_px"].tolist() == [599.5, 325.9, 19.5, 0.5, 299.5]
    assert data.fixations["duration_ms"].tolist() == [246, 136, 300, 200, 100]
    assert data.fixations["on_screen"].all()
    assert data.trials["stimulus_id"].tolist() == ["1001.jpg", "1002.jpg"] * 2
    assert data.trials["trial"].tolist() == [0, 1, 0, 1]
    assert data.stimuli["test_split70"].tolist() == [False, True]
    paths = data.stimuli["path"].tolist()
    assert pd.isna(paths[0])
    assert paths[1] == str(tmp_path / "stimuli" / "1002.jpg")


def test_the_published_file_gives_the_same(tmp_path):
    fixations = _fixations()
    (tmp_path / "tables").mkdir()
    _write(tmp_path / "tables", fixations)
    _write_mat(tmp_path, fixations)
    one, other = load_osie(tmp_path / "tables"), load_osie(tmp_path)
    assert_frame_equal(one.fixations, other.fixations)
    assert_frame_equal(one.trials, other.trials)
    assert other.stimuli["test_split70"].isna().all()
    same = [c for c in one.stimuli.columns if c != "test_split70"]
    assert_frame_equal(one.stimuli[same], other.stimuli[same])


def test_a_scanpath_of_no_fixation_stays_a_trial(tmp_path):
    _write_mat(tmp_path, _fixations().iloc[:4])
    data = load_osie(tmp_path)
    assert data.trials["n_fixations"].tolist() == [2, 0, 1, 1]
    assert "1 of 4 trials have no fixation." in data.notes


def test_one_observer_off_the_screen_and_lost(tmp_path):
    rows = _fixations().query("subject == 1").assign(x=[900.0, np.nan, 5.0])
    _write(tmp_path, rows)
    data = load_osie(tmp_path)
    assert data.trials["subject"].tolist() == ["1", "1"]
    assert data.fixations["on_screen"].tolist() == [False, False, True]
    assert "1 of 3 fixations have no position (NaN)." in data.notes
    assert "1 of 3 fixations lie off the screen." in data.notes


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_the_order_of_rows_does_not_matter(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("osie")
    _write(folder, _fixations())
    one = load_osie(folder)
    mixed = _fixations().sample(frac=1, random_state=seed, ignore_index=True)
    _write(folder, mixed, images=("1002.jpg", "1001.jpg"))
    other = load_osie(folder)
    assert_frame_equal(one.fixations, other.fixations)
    assert_frame_equal(one.trials, other.trials)
    assert_frame_equal(one.stimuli, other.stimuli)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_corrupt(tmp_path, share):
    _write(tmp_path, _fixations())
    path = _write_mat(tmp_path / "published", _fixations())
    for file in (path, tmp_path / TABLE):
        data = file.read_bytes()
        file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match="not a readable MATLAB"):
        load_osie(tmp_path / "published")
    with pytest.raises(DataCorruptError, match="not a readable parquet"):
        load_osie(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.drop(columns="x"), r"lacks \['x'\]"),
        (lambda t: t.assign(subject="a"), "whole numbers in the column `subject`"),
        (lambda t: t.assign(x="left"), "finite numbers in the column `x`"),
        (lambda t: t.assign(duration_ms=-1), "negative duration"),
        (lambda t: pd.concat([t, t]), "repeats a fixation"),
        (lambda t: t.assign(image="1003.jpg"), "picture '1003.jpg' is not in images"),
    ],
)
def test_impossible_content_is_corrupt(tmp_path, change, match):
    _write(tmp_path, change(_fixations()).reset_index(drop=True))
    with pytest.raises(DataCorruptError, match=match):
        load_osie(tmp_path)


def test_wrong_tables_of_images_are_corrupt(tmp_path):
    _write(tmp_path, _fixations(), images=("1001.jpg", "1002.jpg", "1002.jpg"))
    with pytest.raises(DataCorruptError, match=r"repeats an identity .* 1002\.jpg"):
        load_osie(tmp_path)
    (tmp_path / IMAGES).write_bytes("image\né.jpg\n".encode("latin-1"))
    with pytest.raises(DataCorruptError, match="UnicodeDecodeError"):
        load_osie(tmp_path)
    (tmp_path / IMAGES).unlink()
    with pytest.raises(FileNotFoundError, match=r"images\.csv"):
        load_osie(tmp_path)


def test_other_matlab_files_are_corrupt(tmp_path):
    path = _write_mat(tmp_path, _fixations())
    scipy.io.savemat(path, {"other": np.zeros(3)})
    with pytest.raises(DataCorruptError, match="KeyError: 'fixations'"):
        load_osie(tmp_path)
    scipy.io.savemat(path, {"fixations": np.zeros((3, 1))})
    with pytest.raises(DataCorruptError, match="not a readable MATLAB"):
        load_osie(tmp_path)
    cells = np.empty((1, 1), object)
    cells[0, 0] = {"img": "1001.jpg", "subjects": np.empty((0, 1), object)}
    scipy.io.savemat(path, {"fixations": cells})
    with pytest.raises(DataCorruptError, match="holds no scanpath"):
        load_osie(tmp_path)
    person = {"fix_x": [1.0, 2.0], "fix_y": [1.0], "fix_duration": [1.0]}
    people = np.empty((1, 1), object)
    people[0, 0] = person
    cells[0, 0] = {"img": "1001.jpg", "subjects": people}
    scipy.io.savemat(path, {"fixations": cells})
    with pytest.raises(DataCorruptError, match="differ in length"):
        load_osie(tmp_path)


def test_a_folder_without_the_files_is_told_what_is_needed(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"fixations\.parquet and images\.csv"):
        load_osie(tmp_path)
    with pytest.raises(ValueError, match="`px_per_deg`"):
        load_osie(tmp_path, px_per_deg=0)


# ------------------------------------------------------------ the real file


@pytest.fixture(scope="module")
def osie(data_folder):
    return load_osie(data_folder / "osie")


def test_integrity_numbers_are_those_of_the_source(osie):
    assert len(osie.fixations) == 98_321
    assert osie.trials.groupby("subject").size().tolist() == [700] * 15
    n = osie.trials["n_fixations"]
    assert (n.min(), n.max()) == (1, 22)
    assert (round(n.mean(), 2), round(n.std(ddof=0), 2)) == (9.36, 1.88)
    points = osie.fixations[["x_px", "y_px"]] + 0.5
    np.testing.assert_allclose(points.min(), [1.2, 1.2], rtol=1e-12)
    np.testing.assert_allclose(points.max(), [799.2, 599.2], rtol=1e-12)
    assert osie.fixations["on_screen"].all()
    times = osie.fixations["duration_ms"]
    assert (times.min(), times.max(), round(times.mean())) == (20, 1975, 214)
    total = osie.fixations.groupby(["subject", "trial"])["duration_ms"].sum()
    assert (total.min(), total.max(), round(total.mean())) == (335, 2657, 2007)
    steps = osie.fixations.groupby(["subject", "trial"])[["x_px", "y_px"]].diff()
    assert (steps == 0).all(axis=1).sum() == 1
    first = osie.fixations.query("fixation == 0")[["x_px", "y_px"]] + 0.5
    assert first.mean().round().tolist() == [367, 267]
    assert first.std().round().tolist() == [113, 70]
    assert osie.stimuli["test_split70"].sum() == 70
    assert osie.notes[2:] == ()


def test_positions_are_those_of_the_table_and_pictures_are_there(osie, data_folder):
    table = pd.read_parquet(data_folder / "osie" / TABLE)
    table = table.assign(subject=table["subject"].astype(str))
    table = table.sort_values(["subject", "image", "index"])
    assert np.array_equal(osie.fixations["x_px"], table["x"] - 0.5)
    assert np.array_equal(osie.fixations["stimulus_id"], table["image"])
    # Zero-based pixels by the rule of the source and by ours.
    theirs = np.clip(np.floor(table["x"].to_numpy() + 0.5), 1, 800) - 1
    assert np.array_equal(np.floor(osie.fixations["x_px"]), theirs)
    assert osie.stimuli["path"].str.endswith(".jpg").all()


def test_the_published_layout_gives_the_same_from_a_part(osie, data_folder, tmp_path):
    table = pd.read_parquet(data_folder / "osie" / TABLE)
    part = table[table["image"].isin(["1001.jpg", "1002.jpg", "1003.jpg"])]
    _write_mat(tmp_path, part)
    got = load_osie(tmp_path)
    wanted = osie.select(stimuli=["1001.jpg", "1002.jpg", "1003.jpg"])
    assert_frame_equal(got.fixations, wanted.fixations)
    assert_frame_equal(got.trials, wanted.trials)
