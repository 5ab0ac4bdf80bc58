"""Files of published data sets: whole and typed, or refused."""

import copy
import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_loaders.source_files import (
    ZipPictures,
    content_of,
    read_arrays,
    read_columns,
    read_source_json,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import write_table

KINDS = {"who": "text", "n": "whole", "x": "number", "on": "flag"}
TEXT = "x,n,who,on,more\n1.5,3,a,0,?\n,-4,é,True,?\n0.1,5,007,1,?\n"


def test_kinds_are_read_from_text_and_from_parquet(tmp_path):
    (tmp_path / "a.csv").write_bytes(TEXT.encode())
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(("\ufeff" + TEXT).encode()))
    table = read_columns(tmp_path / "a.csv", KINDS)
    write_table(tmp_path / "c.parquet", table.assign(extra=1))
    for name in ("a.csv", "b.csv.gz", "c.parquet"):
        table = read_columns(tmp_path / name, KINDS)
        assert list(table.columns) == list(KINDS)
        assert table["who"].tolist() == ["a", "é", "007"]
        assert table["n"].tolist() == [3, -4, 5]
        assert table["x"].tolist()[::2] == [1.5, 0.1]
        assert np.isnan(table["x"][1])
        assert table["on"].tolist() == [False, True, True]
        kinds = table.dtypes.astype(str).tolist()
        assert kinds == ["str", "int64", "float64", "bool"]


def test_numbers_are_read_to_the_last_bit(tmp_path):
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    text = "x\n" + "\n".join(repr(float(v)) for v in values)
    (tmp_path / "a.csv").write_text(text)
    assert read_columns(tmp_path / "a.csv", {"x": "number"})["x"].tolist() == list(
        values
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"lacks \['who', 'n', 'x', 'on'\]"),
        (TEXT.replace("who", "whom"), r"lacks \['who'\]"),
        (TEXT.replace("-4", "4.5"), "whole numbers in the column `n`; row 2 has '4.5'"),
        (TEXT.replace("-4", ""), "row 2 has ''"),
        (TEXT.replace("1.5", "left"), "finite numbers in the column `x`; row 1"),
        (TEXT.replace("1.5", "inf"), "finite numbers"),
        (TEXT.replace("True", "yes"), "0 or 1 in the column `on`; row 2 has 'yes'"),
        (TEXT.replace(",a,", ",,"), "text in the column `who`"),
        (TEXT.replace("-4,", ""), "line 3 has 4 of 5 cells"),
        (TEXT.replace("more", "x"), "a column name repeats"),
        (TEXT + '1,2,"a', "comma-separated text"),
    ],
)
def test_wrong_text_is_corrupt(tmp_path, text, match):
    for name, data in (
        ("a.csv", text.encode()),
        ("a.csv.gz", gzip.compress(text.encode())),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataCorruptError, match=match):
            read_columns(tmp_path / name, KINDS)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_corrupt(tmp_path, encoding):
    data = TEXT.encode(encoding)
    (tmp_path / "a.csv").write_bytes(data)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(data))
    (tmp_path / "c.json").write_bytes(
        json.dumps(["é"], ensure_ascii=False).encode(encoding)
    )
    for name in ("a.csv", "b.csv.gz"):
        with pytest.raises(DataCorruptError, match="UnicodeDecodeError"):
            read_columns(tmp_path / name, KINDS)
    with pytest.raises(DataCorruptError, match="UnicodeDecodeError"):
        read_source_json(tmp_path / "c.json")


def _read(path):
    if "json" in path.name:
        return read_source_json(path)
    if path.suffix in (".npy", ".npz"):
        return read_arrays(path, ["x"])
    return read_columns(path, {"x": "number"})


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_corrupt(tmp_path, share):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    write_table(tmp_path / "b.parquet", pd.DataFrame({"x": np.arange(50.0)}))
    np.save(tmp_path / "c.npy", np.arange(50.0))
    np.savez(tmp_path / "d.npz", x=np.arange(50.0))
    (tmp_path / "e.json.gz").write_bytes(gzip.compress(b"[1, 2, 3]"))
    (tmp_path / "f.json").write_text(json.dumps({"a": [1, 2, 3]}))
    for path in sorted(tmp_path.iterdir()):
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(DataCorruptError, match="is not a readable"):
            _read(path)


def test_damage_inside_is_found(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.arange(500.0))
    (tmp_path / "e.json.gz").write_bytes(
        gzip.compress(json.dumps(list(range(99))).encode())
    )
    for path in sorted(tmp_path.iterdir()):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(bytes(data))
    with pytest.raises(DataCorruptError, match="CRC"):
        read_arrays(tmp_path / "d.npz", ["x"])
    with pytest.raises(DataCorruptError):
        read_source_json(tmp_path / "e.json.gz")


def test_json_with_a_key_twice_is_corrupt(tmp_path):
    (tmp_path / "a.json").write_text('{"1.jpg": 1, "2.jpg": 2, "1.jpg": 3}')
    with pytest.raises(DataCorruptError, match=r"the key '1\.jpg'"):
        read_source_json(tmp_path / "a.json")


def test_json_nested_without_end_is_corrupt(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(DataCorruptError):
        read_source_json(tmp_path / "a.json")


def test_arrays_of_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], object), y=np.array(["text"]))
    with pytest.raises(DataCorruptError, match="Object arrays"):
        read_arrays(tmp_path / "a.npz", ["x"])
    with pytest.raises(DataCorruptError, match="must hold numbers in y"):
        read_arrays(tmp_path / "a.npz", ["y"])
    with pytest.raises(DataCorruptError, match=r"it lacks the arrays \['z'\]"):
        read_arrays(tmp_path / "a.npz", ["z"])


def test_an_array_that_claims_to_be_huge_is_corrupt(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }" % 10**15
    header += b" " * (-len(header) - 11 % 64) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", data)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataCorruptError):
            read_arrays(tmp_path / name, ["x"])


def test_a_missing_file_is_named(tmp_path):
    for read, name in (
        (lambda p: read_columns(p, KINDS), "a.csv"),
        (read_source_json, "b.json"),
        (lambda p: read_arrays(p, ["x"]), "c.npz"),
        (lambda p: ZipPictures(p, ()), "d.zip"),
    ):
        with pytest.raises(FileNotFoundError, match=name):
            read(tmp_path / name)


def test_an_unknown_kind_is_the_callers_fault(tmp_path):
    (tmp_path / "a.csv").write_text(TEXT)
    with pytest.raises(ValueError, match="`columns` must be one of 'text'"):
        read_columns(tmp_path / "a.csv", {"x": "float"})


def test_a_failed_check_of_content_names_the_file(tmp_path):
    with (
        pytest.raises(DataCorruptError, match=r"a\.csv holds what cannot be. Why"),
        content_of(tmp_path / "a.csv"),
    ):
        raise ValueError("Why")


def _zip(path, n=3):
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(n):
            grey = Image.fromarray(np.full((4, 6), 10 * i, np.uint8))
            grey.save(path.with_suffix(".png"))
            archive.write(path.with_suffix(".png"), f"images/{i}.png")
    return tuple(f"images/{i}.png" for i in range(n))


def test_pictures_are_decoded_from_the_zip_when_asked_for(tmp_path):
    names = _zip(tmp_path / "a.zip")
    pictures = ZipPictures(tmp_path / "a.zip", names[::-1])
    assert len(pictures) == 3
    assert pictures[0].shape == (4, 6, 3)
    assert pictures[0].dtype == np.uint8
    assert [int(p.max()) for p in pictures] == [20, 10, 0]
    assert int(pictures[-1].max()) == 0
    part = pictures[1:]
    assert [int(p.max()) for p in part] == [10, 0]
    with pytest.raises(IndexError):
        pictures[3]


def _zip_of_noise(path, n=12):
    names = tuple(f"{i}.png" for i in range(n))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, name in enumerate(names):
            draw = np.random.default_rng(i)
            image = Image.fromarray(draw.integers(0, 256, (30, 40, 3), np.uint8))
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            archive.writestr(name, buffer.getvalue())
    return ZipPictures(path, names)


def _open_files(path):
    """How many times this process has a file open."""
    links = Path("/proc/self/fd").iterdir()
    return sum(os.path.realpath(link) == str(path.resolve()) for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
def test_a_zip_is_opened_once_when_it_is_read_and_closed_with_the_pictures(tmp_path):
    path = tmp_path / "a.zip"
    pictures = _zip_of_noise(path)
    assert _open_files(path) == 0
    for _ in range(2):
        list(pictures)
        assert _open_files(path) == 1
    part = pictures[3:]
    np.testing.assert_array_equal(part[0], pictures[3])
    del pictures
    assert _open_files(path) == 1
    del part
    assert _open_files(path) == 0


def test_threads_share_a_zip(tmp_path):
    pictures = _zip_of_noise(tmp_path / "a.zip")
    expected = list(ZipPictures(pictures.path, pictures.members))
    places = np.random.default_rng(0).integers(0, 12, 400).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(pictures.__getitem__, places))
    for place, picture in zip(places, found, strict=True):
        np.testing.assert_array_equal(picture, expected[place])


FORKED = """
import os, sys
from pathlib import Path
import numpy as np
from data_loaders.source_files import ZipPictures

pictures = ZipPictures(Path(sys.argv[1]), tuple(f"{i}.png" for i in range(12)))
expected = list(ZipPictures(pictures.path, pictures.members))
pictures[0]
children = []
for seed in range(4):
    child = os.fork()
    if child == 0:
        draw = np.random.default_rng(seed)
        same = (np.array_equal(pictures[i], expected[i])
                for i in draw.integers(0, 12, 200).tolist())
        os._exit(0 if all(same) else 1)
    children.append(child)
right = all(np.array_equal(pictures[i % 12], expected[i % 12]) for i in range(200))
ends = [os.waitpid(child, 0)[1] for child in children]
assert right and ends == [0] * 4, (right, ends)
"""


def test_forked_processes_read_a_zip_that_was_open_before(tmp_path):
    path = _zip_of_noise(tmp_path / "a.zip").path
    command = [sys.executable, "-c", FORKED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pickles_and_copies_are_equal_and_open_the_zip_for_themselves(tmp_path):
    pictures = _zip_of_noise(tmp_path / "a.zip")
    first = pictures[0]
    for other in (pickle.loads(pickle.dumps(pictures)), copy.deepcopy(pictures)):
        assert other == pictures
        assert hash(other) == hash(pictures)
        assert repr(other) == repr(pictures)
        np.testing.assert_array_equal(other[0], first)


def test_damaged_zips_are_corrupt(tmp_path):
    names = _zip(tmp_path / "a.zip")
    with pytest.raises(DataCorruptError, match="lacks 1 of 4 pictures, such as"):
        ZipPictures(tmp_path / "a.zip", (*names, "b.png"))
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "b.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataCorruptError, match="not a readable zip"):
        ZipPictures(tmp_path / "b.zip", names)
    flipped = bytearray(data)
    flipped[60] ^= 0xFF
    (tmp_path / "c.zip").write_bytes(bytes(flipped))
    pictures = ZipPictures(tmp_path / "c.zip", names)
    with pytest.raises(DataCorruptError, match="not a readable picture"):
        pictures[0]
    assert int(pictures[1].max()) == 10
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("a.png", b"<html>")
    with pytest.raises(DataCorruptError, match="not a readable picture"):
        ZipPictures(tmp_path / "d.zip", ("a.png",))[0]
