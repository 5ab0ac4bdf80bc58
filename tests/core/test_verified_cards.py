"""Descriptions of models: read only if all that they describe is there, unchanged."""

import json
import re

import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_bytes
from neurovis.core.verified_cards import read_verified_card

FILES = {"weights.bin": b"0123456789", "units.csv": b"unit_id\n1\n"}
CARD = {
    "version": 3,
    "sha256": {name: sha256_bytes(data) for name, data in FILES.items()},
    "notes": ["é"],
}


@pytest.fixture
def path(tmp_path):
    """A description beside its files."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps(CARD))
    return path


def read(path):
    return read_verified_card(path, list(FILES), 3, "an encoder")


def test_a_sound_description_is_returned_whole(path):
    assert read(path) == CARD
    assert read(str(path)) == CARD


def test_only_the_named_files_are_verified(path):
    (path.parent / "units.csv").unlink()
    (path.parent / "beside.txt").write_text("of somebody else")
    assert read_verified_card(path, ["weights.bin"], 3, "an encoder") == CARD


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", ["cut", "changed", "missing", "a folder"])
def test_a_file_that_is_not_as_it_was_is_named(path, name, change):
    file, data = path.parent / name, FILES[name]
    file.unlink()
    if change == "a folder":
        file.mkdir()
    elif change != "missing":
        file.write_bytes(data[:-1] if change == "cut" else b"x" + data[1:])
    with pytest.raises(DataCorruptError) as error:
        read(path)
    assert str(error.value) == (
        f"{file} is missing or has another hash than encoder.json tells: it is cut or "
        "changed. Fit it again."
    )


@pytest.mark.parametrize("version", [2, 4, "3", None])
def test_another_version_is_told(path, version):
    path.write_text(json.dumps(CARD | {"version": version}))
    message = (
        f"{path.parent} was written in version {version} of the format; this is "
        "version 3. Install a newer neurovis."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read(path)


@pytest.mark.parametrize(
    "told",
    [
        [],
        "text",
        None,
        {},
        {"version": 3},
        {"sha256": CARD["sha256"]},
        CARD | {"sha256": None},
        CARD | {"sha256": ["weights.bin"]},
        CARD | {"sha256": "0" * 64},
    ],
)
def test_what_describes_something_else_is_refused(path, told):
    path.write_text(json.dumps(told))
    message = f"{path} is not that of an encoder."
    with pytest.raises(DataCorruptError, match=re.escape(message)):
        read(path)


@pytest.mark.parametrize("text", ["", "{", "\0"])
def test_a_damaged_description_is_named(path, text):
    path.write_text(text)
    with pytest.raises(DataCorruptError, match=r"encoder\.json is not a readable JSON"):
        read(path)


def test_a_hash_that_is_not_told_fits_no_file(path):
    hashes = {"weights.bin": CARD["sha256"]["weights.bin"]}
    path.write_text(json.dumps(CARD | {"sha256": hashes}))
    with pytest.raises(DataCorruptError, match=r"units\.csv is missing or has another"):
        read(path)


def test_no_description_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "encoder.json")
