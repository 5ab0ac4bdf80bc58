"""Named arrays in one file: as safetensors writes them, whole, and for all to read."""

import os
import resource

import numpy as np
import pytest
import safetensors
from safetensors.numpy import load_file, save

from neurovis.core.array_files import write_arrays

ARRAYS = {
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "index": np.array([4, 2], np.int64),
    "known": np.array([True, False]),
    "one": np.array(2.5),
    "none": np.zeros((0, 3), np.float16),
}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("entries", [None, {"about": '{"kind":"sparse"}'}])
def test_a_file_has_the_bytes_of_safetensors(tmp_path, entries):
    path = tmp_path / "new" / "arrays.safetensors"
    write_arrays(path, ARRAYS, entries)
    assert path.read_bytes() == save(ARRAYS, entries)
    assert names(path.parent) == [path.name]
    found = load_file(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == entries


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002, 0o077])
def test_permissions_follow_the_umask_as_those_of_other_files(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_arrays(tmp_path / "a.safetensors", ARRAYS)
        (tmp_path / "other").write_text("")
    finally:
        os.umask(before)
    modes = {(tmp_path / name).stat().st_mode & 0o777 for name in names(tmp_path)}
    assert modes == {0o666 & ~umask}


def test_a_write_that_the_system_cuts_short_is_told_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.safetensors"
    write_arrays(path, ARRAYS)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"a\.safetensors was not written: .*large"):
            write_arrays(path, {"weight": np.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert path.name in names(tmp_path)
    assert not [name for name in names(tmp_path) if ".part-" in name]


def test_arrays_are_replaced_whole(tmp_path):
    path = tmp_path / "a.safetensors"
    write_arrays(path, ARRAYS)
    write_arrays(path, {"other": np.ones(2)})
    assert list(load_file(path)) == ["other"]
    assert names(tmp_path) == [path.name]
