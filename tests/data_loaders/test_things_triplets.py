"""The loader of odd-one-out choices, and files of embeddings."""

import shutil

import numpy as np
import pytest

from data_loaders.object_embeddings import read_object_rows
from data_loaders.things_triplets import (
    CATEGORIES,
    CONCEPTS,
    OBSERVERS,
    check_things_triplets,
    load_things_triplets,
    read_triplets,
)
from neurovis.core.errors import DataCorruptError

HEADER = "Word\tuniqueID\tConcreteness (M)\t" + "\t".join(CATEGORIES.values())


def write_sample(folder):
    """Four objects, three triplets, three observers."""
    rows = ["ant\tant\t4.9\tanimal\tanimal\tanimal", "bee\tbee\t\tanimal\t\tinsect"]
    rows += ["cup\tcup\t5.0\t\t\tdishes", "drum\tdrum\t4.8\t\t\t"]
    (folder / CONCEPTS).write_text("\n".join([HEADER, *rows]) + "\n")
    texts = ("0 1 2\n1 2 3\n0 3 1\n", "1 0 2\n2 3 1\n3 1 0\n", "0 2 1\n1 2 3\n0 1 3\n")
    for file, text in zip(OBSERVERS.values(), texts, strict=True):
        (folder / file).write_text(text)
    return folder


def test_the_sample_is_loaded(tmp_path):
    data = load_things_triplets(write_sample(tmp_path))
    assert list(data.observers) == ["people", "gpt4", "chatgpt3.5"]
    assert data.observers["gpt4"].tolist() == [[1, 0, 2], [2, 3, 1], [3, 1, 0]]
    assert data.concepts["word"].tolist() == ["ant", "bee", "cup", "drum"]
    assert data.concepts["bottom_up"].tolist() == ["animal", "animal", "", ""]
    assert data.concepts["concreteness"].tolist()[::3] == [4.9, 4.8]
    assert np.isnan(data.concepts["concreteness"].iloc[1])
    assert set(data.fingerprints) == {*OBSERVERS.values(), CONCEPTS}
    lines = check_things_triplets(tmp_path)
    assert lines[0] == "3 triplets of 4 objects, 4 of them shown"
    assert lines[-1] == "manual: 3 categories of 3 objects"


def test_the_published_sample_is_whole(data_folder):
    data = load_things_triplets(data_folder / "things_oddoneout_sample")
    assert len(data.concepts) == 1854
    assert data.concepts["word"].iloc[0] == "aardvark"
    assert {rows.shape for rows in data.observers.values()} == {(2171, 3)}
    assert data.observers["people"][0].tolist() == [1244, 1049, 493]


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("triplets_gpt4.txt", "1 0 2\n2 3 1\n", "2 triplets"),
        ("triplets_gpt4.txt", "1 0 3\n2 3 1\n3 1 0\n", "Line 1"),
        ("triplets_humans.txt", "0 1 4\n1 2 3\n0 3 1\n", "from 0 to 3"),
        ("triplets_humans.txt", "0 1 1\n1 2 3\n0 3 1\n", "twice"),
        ("triplets_humans.txt", "0 1\n1 2\n", "shape"),
        ("triplets_humans.txt", "0 1 2\n1 2\n", "triplet file"),
        ("triplets_humans.txt", "0 1 -2\n", "the sign '-'"),
        ("triplets_humans.txt", "", "empty"),
        ("triplets_humans.txt", "99999999999999999999999 1 2\n", "triplet file"),
        (CONCEPTS, "Word\tuniqueID\nant\tant\n", "lacks"),
        (CONCEPTS, HEADER + "\n", "rows"),
        (CONCEPTS, HEADER + "\na\ta\tx\t\t\t\n", "cannot be"),
        (CONCEPTS, HEADER + "\na\ta\n", "tab-separated"),
        (CONCEPTS, HEADER + "\na\ta\t1\t\t\t\nb\ta\t1\t\t\t\n", "repeats"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, file, text, reason):
    (write_sample(tmp_path) / file).write_text(text)
    with pytest.raises(DataCorruptError, match=reason) as caught:
        load_things_triplets(tmp_path)
    assert file in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    write_sample(tmp_path)
    (tmp_path / "triplets_gpt4.txt").unlink()
    with pytest.raises(FileNotFoundError, match="triplets_gpt4"):
        load_things_triplets(tmp_path)


def test_a_byte_order_mark_and_arrays_are_read(tmp_path):
    path = tmp_path / "choices.txt"
    path.write_text("\ufeff0 1 2\r\n2\t1 0\r\n", encoding="utf-8")
    assert read_triplets(path).tolist() == [[0, 1, 2], [2, 1, 0]]
    np.save(tmp_path / "choices.npy", np.array([[0, 1, 2]], np.uint16))
    assert read_triplets(tmp_path / "choices.npy").dtype == np.int64
    np.save(tmp_path / "floats.npy", np.array([[0.0, 1.0, 2.0]]))
    with pytest.raises(DataCorruptError, match="whole numbers"):
        read_triplets(tmp_path / "floats.npy")


def test_embeddings_of_all_kinds_are_the_same_numbers(tmp_path):
    rows = np.random.default_rng(0).normal(size=(4, 3))
    np.save(tmp_path / "a.npy", rows)
    np.savez(tmp_path / "a.npz", features=rows)
    np.savetxt(tmp_path / "a.csv", rows, delimiter=",", fmt="%.17g")
    np.savetxt(tmp_path / "a.txt", rows, fmt="%.17g")
    for suffix in ("npy", "npz", "csv", "txt"):
        np.testing.assert_array_equal(read_object_rows(tmp_path / f"a.{suffix}"), rows)


def test_wrong_embeddings_are_refused(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.eye(3), b=np.eye(3))
    with pytest.raises(DataCorruptError, match="one array"):
        read_object_rows(tmp_path / "two.npz")
    np.save(tmp_path / "nan.npy", np.full((3, 2), np.nan))
    with pytest.raises(DataCorruptError, match="finite"):
        read_object_rows(tmp_path / "nan.npy")
    (tmp_path / "words.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataCorruptError, match=r"words\.csv"):
        read_object_rows(tmp_path / "words.csv")
    (tmp_path / "none.csv").write_text("")
    with pytest.raises(DataCorruptError, match="empty"):
        read_object_rows(tmp_path / "none.csv")
    np.save(tmp_path / "flat.npy", np.arange(4.0))
    with pytest.raises(DataCorruptError, match="One row per object"):
        read_object_rows(tmp_path / "flat.npy")
    shutil.copy(tmp_path / "flat.npy", tmp_path / "flat.mat")
    with pytest.raises(ValueError, match="suffix"):
        read_object_rows(tmp_path / "flat.mat")
