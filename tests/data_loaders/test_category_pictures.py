"""Pictures of categories: the table, the pictures in files or in a zip, and damage."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_loaders.category_pictures import (
    CategoryPictures,
    check_category_pictures,
    load_category_pictures,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_table, sha256_file, write_table

ROWS = [
    ("images/adult-1.png", "adult", "face", 1),
    ("images/adult-2.png", "adult", "face", 2),
    ("images/house-1.png", "house", "place", 1),
    ("images/house-2.png", "house", "place", 2),
    ("images/child-1.png", "child", "face", 7),
    ("images/child-2.png", "child", "face", 8),
]
COLUMNS = ("file", "category", "domain", "source_number")


def png(level, size=(6, 4)):
    file = io.BytesIO()
    Image.new("L", size, level).save(file, "PNG")
    return file.getvalue()


def write_rows(folder, rows=ROWS, columns=COLUMNS):
    pd.DataFrame(rows, columns=columns).to_csv(folder / "stimuli.csv", index=False)


def write(folder, *, zipped=True, without=()):
    write_rows(folder)
    data = {r[0]: png(10 * i) for i, r in enumerate(ROWS) if r[0] not in without}
    if zipped:
        with zipfile.ZipFile(folder / "images.zip", "w") as archive:
            for name, content in data.items():
                archive.writestr(name, content)
    else:
        (folder / "images").mkdir()
        for name, content in data.items():
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture(params=[True, False], ids=["zip", "files"])
def folder(request, tmp_path):
    return write(tmp_path, zipped=request.param)


# ----------------------------------------------------------------- loading


def test_pictures_stand_in_the_order_of_the_table(folder):
    shown = load_category_pictures(folder, name="mine")
    assert shown.name == "mine"
    assert len(shown) == 6
    assert list(shown.table) == ["stimulus_id", "category", "domain", "source_number"]
    assert shown.table["stimulus_id"].tolist() == [row[0] for row in ROWS]
    assert shown.table["category"].tolist() == [row[1] for row in ROWS]
    assert shown.table["domain"].tolist() == [row[2] for row in ROWS]
    assert shown.table["source_number"].tolist() == [1, 2, 1, 2, 7, 8]
    for i, picture in enumerate(shown.pictures):
        assert picture.shape == (4, 6, 3)
        assert picture.dtype == np.uint8
        assert (picture == 10 * i).all()


def test_fingerprints_are_those_of_the_files(tmp_path):
    write(tmp_path)
    expected = {n: sha256_file(tmp_path / n) for n in ("stimuli.csv", "images.zip")}
    assert load_category_pictures(tmp_path).fingerprints == expected


def test_the_name_is_that_of_the_folder_unless_told(folder, monkeypatch):
    assert load_category_pictures(folder).name == folder.name
    monkeypatch.chdir(folder)
    shown = load_category_pictures(".")
    assert shown.name == folder.name
    monkeypatch.chdir("/")
    assert (shown.pictures[2] == 20).all()


def test_pictures_that_are_not_listed_are_left_out(folder):
    write_rows(folder, ROWS[:2])
    shown = load_category_pictures(folder)
    assert len(shown.pictures) == 2
    assert (shown.pictures[1] == 10).all()


def test_tables_may_have_no_further_columns_or_one_for_the_identity(folder):
    write_rows(folder, [row[:3] for row in ROWS], COLUMNS[:3])
    assert list(load_category_pictures(folder).table) == [
        *("stimulus_id", "category", "domain")
    ]
    write_rows(folder, ROWS, (*COLUMNS[:3], "stimulus_id"))
    names = load_category_pictures(folder).table["stimulus_id"]
    assert names.tolist() == [row[0] for row in ROWS]


def test_the_table_can_be_written_beside_predictions(folder, tmp_path_factory):
    table = load_category_pictures(folder).table
    path = tmp_path_factory.mktemp("out") / "stimuli.parquet"
    write_table(path, table)
    pd.testing.assert_frame_equal(read_table(path), table)


# ---------------------------------------------------------------- checking


def test_a_check_counts_pictures_and_sizes(folder):
    odd = png(200, (9, 9))
    if (folder / "images.zip").exists():
        with zipfile.ZipFile(folder / "images.zip", "a") as archive:
            archive.writestr("images/more.png", odd)
    else:
        (folder / "images" / "more.png").write_bytes(odd)
    write_rows(folder, [*ROWS, ("images/more.png", "child", "face", 9)])
    assert check_category_pictures(folder) == [
        f"{folder.name}: 7 pictures of 3 categories in 2 domains",
        "face: adult 2, child 3",
        "place: house 2",
        "pictures: 6 of 6 x 4 px, 1 of 9 x 9 px",
    ]


def test_a_check_decodes_every_picture(folder):
    last = ROWS[-1][0]
    if (folder / "images.zip").exists():
        with zipfile.ZipFile(folder / "images.zip") as archive:
            start = archive.getinfo(last).header_offset
        data = bytearray((folder / "images.zip").read_bytes())
        data[start + 70] ^= 255
        (folder / "images.zip").write_bytes(bytes(data))
    else:
        data = (folder / last).read_bytes()
        (folder / last).write_bytes(data[:-20])
    assert len(load_category_pictures(folder).pictures) == 6
    with pytest.raises(DataCorruptError, match=r"child-2\.png is not a readable pict"):
        check_category_pictures(folder)


# ------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (ROWS[:5], "category 'child' has one picture: how much responses"),
        ([*ROWS, ROWS[0]], r"'images/adult-1\.png' is listed twice"),
        ([*ROWS[:5], (ROWS[5][0], "child", "body", 8)], "'child' belongs to several"),
        ([("../adult.png", *ROWS[0][1:]), *ROWS], "'../adult.png' leads outside"),
        ([("/etc/adult.png", *ROWS[0][1:]), *ROWS], "leads outside the folder"),
        ([], "`table` has 0 rows for 0 pictures"),
    ],
)
def test_an_impossible_table_is_refused(folder, rows, match):
    write_rows(folder, rows)
    with pytest.raises(DataCorruptError, match=match) as error:
        load_category_pictures(folder)
    assert "stimuli.csv holds what cannot be" in str(error.value)


@pytest.mark.parametrize("column", COLUMNS[:3])
def test_a_missing_column_is_named(folder, column):
    kept = [c for c in COLUMNS if c != column]
    write_rows(folder, pd.DataFrame(ROWS, columns=COLUMNS)[kept].to_numpy(), kept)
    with pytest.raises(DataCorruptError, match=rf"it lacks \['{column}'\]"):
        load_category_pictures(folder)


def test_a_row_without_a_category_is_corrupt(folder):
    write_rows(folder, [*ROWS, ("images/x.png", None, "face", 3)])
    with pytest.raises(DataCorruptError, match="text in the column `category`; row 7"):
        load_category_pictures(folder)


@pytest.mark.parametrize("zipped", [True, False])
def test_missing_pictures_are_counted_and_named(tmp_path, zipped):
    gone = [ROWS[1][0], ROWS[3][0]]
    write(tmp_path, zipped=zipped, without=gone)
    error = DataCorruptError if zipped else FileNotFoundError
    with pytest.raises(error, match=r"lacks 2 of 6 pictures, such as images/adult-2"):
        load_category_pictures(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_zip_file_is_corrupt(tmp_path, share):
    path = write(tmp_path) / "images.zip"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match=r"images\.zip is not a readable zip"):
        load_category_pictures(tmp_path)


def test_a_missing_folder_or_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="`folder` must be an existing folder"):
        load_category_pictures(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"`stimuli\.csv` must be an existing"):
        load_category_pictures(tmp_path)


def test_tables_and_pictures_in_memory_must_match():
    grey = [np.zeros((4, 4, 3), np.uint8)] * 2
    columns = {"stimulus_id": ["1", "2"], "category": "adult", "domain": "face"}
    with pytest.raises(ValueError, match="`table` has 2 rows for 1 pictures"):
        CategoryPictures("faces", pd.DataFrame(columns), grey[:1])
    del columns["domain"]
    with pytest.raises(ValueError, match=r"`table` lacks the columns \['domain'\]"):
        CategoryPictures("faces", pd.DataFrame(columns), grey)


# ------------------------------------------------------------ the real files


def test_the_real_localiser_has_sixty_pictures_of_each_category(data_folder):
    shown = load_category_pictures(data_folder / "floc_subset", name="floc")
    assert len(shown) == 660
    counts = shown.table.groupby(["domain", "category"]).size()
    assert set(counts) == {60}
    assert sorted(counts.index) == [
        *(("body", "body"), ("body", "limb")),
        *(("character", "number"), ("character", "word")),
        *(("face", "adult"), ("face", "child")),
        *(("object", "car"), ("object", "instrument")),
        *(("place", "corridor"), ("place", "house")),
        ("scrambled", "scrambled"),
    ]
    sums = (data_folder / "floc_subset" / "README.md").read_text(encoding="utf-8")
    assert all(mark in sums for mark in shown.fingerprints.values())
    adult = shown.pictures[0]
    assert adult.shape == (224, 224, 3)
    assert (adult == adult[:, :, :1]).all()
    # Even and odd numbers of the source are two independent halves of all categories.
    odd = shown.table["source_number"] % 2 == 1
    assert shown.table[odd].groupby("category").size().min() >= 20
    assert shown.table[~odd].groupby("category").size().min() >= 20


def test_the_real_localiser_passes_its_check(data_folder):
    lines = check_category_pictures(data_folder / "floc_subset")
    assert lines[0] == "floc_subset: 660 pictures of 11 categories in 6 domains"
    assert lines[1] == "face: adult 60, child 60"
    assert lines[-1] == "pictures: 660 of 224 x 224 px"
