"""Pictures of classes: layouts, lists, parts that are drawn, and leaks."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_loaders.class_folders import (
    check_class_folder,
    open_class_folder,
    open_class_lists,
)
from data_loaders.class_pictures import ClassPictures, draw_splits, find_leaks
from neurovis.core.errors import DataCorruptError
from tests.conftest import missing

FILES = [
    f"{split}/{kind}/{i}.png"
    for split, n in (("train", 4), ("test", 2))
    for kind in ("sea", "wood")
    for i in range(n)
]


def png(level, **options):
    file = io.BytesIO()
    Image.new("L", (6, 4), level).save(file, "PNG", **options)
    return file.getvalue()


def write(folder, files=FILES, *, zipped=False):
    """Pictures of grey levels 0, 10, 20 .. in the order of the files."""
    data = {f: png(10 * i) for i, f in enumerate(files)}
    if zipped:
        with zipfile.ZipFile(folder / "images.zip", "w") as archive:
            for name, content in data.items():
                archive.writestr(name, content)
        return folder / "images.zip"
    for name, content in data.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


# ------------------------------------------------------------------- layouts


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_parts_and_classes_are_read_from_the_path(tmp_path, zipped):
    shown = open_class_folder(write(tmp_path, zipped=zipped))
    assert shown.classes == ("sea", "wood")
    assert shown.table["stimulus_id"].tolist() == sorted(FILES)
    for row, picture in zip(shown.table.itertuples(), shown.pictures, strict=True):
        split, kind, _ = row.stimulus_id.split("/")
        assert (row.split, row.category) == (split, kind)
        assert row.label == ("sea", "wood").index(kind)
        assert (picture == 10 * FILES.index(row.stimulus_id)).all()
        assert picture.shape == (4, 6, 3)
    assert shown.describe()[1:] == [
        "test: 4 (2 of each class)",
        "train: 8 (4 of each class)",
    ]


def test_a_folder_with_a_zip_is_opened_with_its_table(tmp_path):
    write(tmp_path, zipped=True)
    rows = [(f, f.split("/")[0], f.split("/")[1]) for f in reversed(FILES)]
    table = pd.DataFrame(rows, columns=["file", "split", "category"])
    table.to_csv(tmp_path / "labels.csv", index=False)
    shown = open_class_folder(tmp_path, name="scenes")
    assert shown.name == "scenes"
    assert shown.table["stimulus_id"].tolist() == FILES[::-1]
    assert shown.pictures[0][0, 0, 0] == 10 * (len(FILES) - 1)
    assert sorted(shown.fingerprints) == ["images.zip", "labels.csv"]
    table.assign(split="exam").to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(DataCorruptError, match="exam"):
        open_class_folder(tmp_path)


def test_other_names_of_parts_and_an_outer_folder_in_a_zip(tmp_path):
    files = [f"scenes/{s}/sea/1.png" for s in ("Train", "validation", "TEST")]
    shown = open_class_folder(write(tmp_path, files, zipped=True))
    assert shown.table["split"].tolist() == ["test", "train", "val"]
    assert shown.classes == ("sea",)


def test_a_flat_folder_is_one_part(tmp_path):
    shown = open_class_folder(write(tmp_path, ["sea/1.png", "wood/a/2.png"]))
    assert shown.table["split"].tolist() == ["all", "all"]
    assert shown.table["category"].tolist() == ["sea", "wood"]


def test_the_order_of_classes_can_be_given(tmp_path):
    shown = open_class_folder(write(tmp_path), classes=["wood", "sky", "sea"])
    assert shown.classes == ("wood", "sky", "sea")
    labels = dict(zip(shown.table["category"], shown.table["label"], strict=True))
    assert labels == {"wood": 0, "sea": 2}
    with pytest.raises(ValueError, match="lacks"):
        open_class_folder(tmp_path, classes=["sea"])


def test_one_part_is_selected_with_its_pictures(tmp_path):
    test = open_class_folder(write(tmp_path)).select("test")
    assert set(test.table["split"]) == {"test"}
    assert [p[0, 0, 0] for p in test.pictures] == [
        10 * FILES.index(i) for i in test.table["stimulus_id"]
    ]
    with pytest.raises(ValueError, match="split"):
        test.select("train")


# --------------------------------------------------------------------- lists


def test_lists_count_labels_from_one(tmp_path):
    write(tmp_path, ["a b/1.png", "c/2.png", "c/3.png"])
    (tmp_path / "train.txt").write_text("a b/1.png 2\n\nc/2.png 1\n")
    (tmp_path / "test.txt").write_text("c/3.png 2\r\n")
    lists = {s: tmp_path / f"{s}.txt" for s in ("train", "test")}
    shown = open_class_lists(lists, classes=["sea", "wood"])
    assert shown.table["stimulus_id"].tolist() == ["a b/1.png", "c/2.png", "c/3.png"]
    assert shown.table["label"].tolist() == [1, 0, 1]
    assert shown.table["category"].tolist() == ["wood", "sea", "wood"]
    assert shown.table["split"].tolist() == ["train", "train", "test"]
    assert [p[0, 0, 0] for p in shown.pictures] == [0, 10, 20]
    assert open_class_lists(lists).classes == ("1", "2")


@pytest.mark.parametrize("line", ["c/2.png", "c/2.png 0", "c/2.png one", "c/2.png 3"])
def test_lines_that_cannot_be_are_told(tmp_path, line):
    write(tmp_path, ["c/2.png"])
    (tmp_path / "all.txt").write_text(f"c/2.png 1\n{line}\n")
    with pytest.raises(DataCorruptError, match="line 2"):
        open_class_lists({"all": tmp_path / "all.txt"}, classes=["sea", "wood"])


def test_listed_pictures_must_be_there(tmp_path):
    (tmp_path / "all.txt").write_text("c/2.png 1\n")
    with pytest.raises(FileNotFoundError, match="`root`"):
        open_class_lists({"all": tmp_path / "all.txt"})
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(DataCorruptError, match="no picture"):
        open_class_lists({"all": tmp_path / "none.txt"})


def test_a_picture_listed_in_two_parts_is_refused(tmp_path):
    write(tmp_path, ["c/2.png"])
    (tmp_path / "all.txt").write_text("c/2.png 1\n")
    lists = dict.fromkeys(("train", "test"), tmp_path / "all.txt")
    with pytest.raises(ValueError, match="more than one part"):
        open_class_lists(lists)
    both = open_class_lists(lists, leaks="ignore")
    assert both.table["stimulus_id"].tolist() == ["train/c/2.png", "test/c/2.png"]


# --------------------------------------------------------------------- parts


@pytest.fixture
def flat(tmp_path):
    files = [f"{kind}/{i:02d}.png" for kind in ("sea", "wood") for i in range(12)]
    return write(tmp_path, files)


def test_parts_are_drawn_from_each_class_alike(flat):
    shown = open_class_folder(flat, sizes={"val": 2, "test": 0.25})
    counts = shown.table.groupby(["category", "split"]).size()
    assert counts.to_dict() == {
        (kind, split): n
        for kind in ("sea", "wood")
        for split, n in (("test", 3), ("train", 7), ("val", 2))
    }
    assert sorted(shown.table["stimulus_id"]) == shown.table["stimulus_id"].tolist()


def test_the_draw_follows_the_seed_and_not_the_order(flat):
    shown = open_class_folder(flat)
    backwards = ClassPictures(
        "back", shown.table.iloc[::-1], shown.pictures[::-1], shown.classes
    )
    tables = [
        draw_splits(s, {"test": 3}, seed=seed).table.set_index("stimulus_id")["split"]
        for s, seed in ((shown, 1), (backwards, 1), (shown, 2))
    ]
    assert tables[0].sort_index().equals(tables[1].sort_index())
    assert not tables[0].equals(tables[2])


def test_with_a_size_for_training_the_rest_is_left_out(flat):
    drawn = draw_splits(open_class_folder(flat), {"train": 5, "test": 1})
    assert drawn.table["split"].value_counts().to_dict() == {"train": 10, "test": 2}
    for row, picture in zip(drawn.table.itertuples(), drawn.pictures, strict=True):
        number = int(row.stimulus_id[-6:-4]) + 12 * row.label
        assert picture[0, 0, 0] == 10 * number % 256


def test_a_validation_part_is_drawn_from_training(tmp_path):
    plain = open_class_folder(write(tmp_path))
    shown = open_class_folder(tmp_path, sizes={"val": 1})
    assert shown.table["split"].value_counts().to_dict() == {
        "train": 6,
        "test": 4,
        "val": 2,
    }
    test = plain.table["split"] == "test"
    assert ((shown.table["split"] == "test") == test).all()


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"exam": 1}, "exam"),
        ({"test": 12}, "too few"),
        ({"test": 0}, "1 or more"),
        ({"test": 2.5}, "1 or more"),
        ({"test": True}, "1 or more"),
        ({"test": 0.01}, "too few"),
    ],
)
def test_sizes_that_cannot_be_are_told(flat, sizes, words):
    with pytest.raises(ValueError, match=words):
        open_class_folder(flat, sizes=sizes)


def test_a_part_that_is_there_is_not_drawn_again(tmp_path):
    with pytest.raises(ValueError, match="already"):
        open_class_folder(write(tmp_path), sizes={"test": 1})


# --------------------------------------------------------------------- leaks


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_equal_files_in_two_parts_are_refused(tmp_path, zipped):
    root = write(tmp_path, zipped=zipped)
    copy = "test/wood/copy.png"
    if zipped:
        with zipfile.ZipFile(root, "a") as archive:
            archive.writestr(copy, png(0))
    else:
        (root / copy).write_bytes(png(0))
    with pytest.raises(ValueError, match=r"1 pictures .* 'test/wood/copy.png' and 'tr"):
        open_class_folder(root)
    shown = open_class_folder(root, leaks="ignore")
    leaks = find_leaks(shown)
    assert leaks["stimulus_id"].tolist() == [copy, "train/sea/0.png"]
    assert leaks["split"].tolist() == ["test", "train"]


def test_equal_files_within_a_part_are_no_leak(tmp_path):
    root = write(tmp_path)
    (root / "train/sea/copy.png").write_bytes(png(0))
    shown = open_class_folder(root)
    assert len(shown) == 13
    assert find_leaks(shown).empty


def test_copies_that_were_saved_again_are_found_by_their_pixels(tmp_path):
    root = write(tmp_path)
    (root / "test/wood/copy.png").write_bytes(png(0, compress_level=0))
    shown = open_class_folder(root)
    assert len(find_leaks(shown)) == 2
    with pytest.raises(ValueError, match="more than one part"):
        check_class_folder(root)


# -------------------------------------------------------------------- faults


def test_what_is_not_there_or_elsewhere_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="root"):
        open_class_folder(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no picture"):
        open_class_folder(tmp_path)
    write(tmp_path, ["train/1.png", "train/sea/1.png"])
    with pytest.raises(ValueError, match=r"split/class/picture.*'train/1.png'"):
        open_class_folder(tmp_path)


def test_a_damaged_zip_is_told(tmp_path):
    path = write(tmp_path, zipped=True)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataCorruptError, match=r"images\.zip"):
        open_class_folder(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("note.txt", "nothing")
    with pytest.raises(FileNotFoundError, match="no picture"):
        open_class_folder(path)


def test_a_set_must_fit_together():
    grey = [np.zeros((2, 2, 3), np.uint8)] * 2
    table = pd.DataFrame(
        {"stimulus_id": ["1", "2"], "category": "sea", "split": "all", "label": 0}
    )
    ClassPictures("seas", table, grey, ("sea",))
    for wrong, words in (
        (table.assign(stimulus_id="1"), "twice"),
        (table.assign(label=1), "label"),
        (table.assign(split="exam"), "split"),
        (table.iloc[:1], "one row per picture"),
        (table.drop(columns="label"), "label"),
    ):
        with pytest.raises(ValueError, match=words):
            ClassPictures("seas", wrong, grey, ("sea",))


# ----------------------------------------------------------------- real files


def test_fifteen_scenes_are_read_by_one_call(data_folder):
    root = data_folder / "scenes15"
    if not root.is_dir():
        missing(f"{root} is not there")
    shown = open_class_folder(root, sizes={"val": 10})
    assert len(shown.classes) == 15
    assert shown.classes[0] == "bedroom"
    assert shown.table["split"].value_counts().to_dict() == {
        "train": 1348,
        "test": 600,
        "val": 150,
    }
    picture = shown.pictures[1234]
    assert picture.shape == (128, 128, 3)
    assert (picture == picture[..., :1]).all()
    zipped = open_class_folder(root / "images.zip")
    assert sorted(zipped.table["stimulus_id"]) == sorted(shown.table["stimulus_id"])
