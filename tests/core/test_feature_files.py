"""Matrices on disk: whole or absent, resumed shard by shard, checked when read."""

import errno
import json
import logging
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.core.feature_files import (
    FeatureWriter,
    features_meta,
    read_features,
)
from neurovis.core.files import sha256_json

PARTS = {"pictures": "3f2a", "layer": {"path": "conv1", "grid": (2, 2)}}
KEY = sha256_json(PARTS)
ROWS = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)


def writer(root, **options):
    return FeatureWriter(root, PARTS, 10, 3, shard_rows=4, **options)


def write_all(root, **options):
    with writer(root, **options) as file:
        file.append(ROWS[file.n_done :])
        file.finish()


def test_what_is_read_is_what_was_written(tmp_path):
    write_all(tmp_path)
    found = read_features(tmp_path, KEY)
    np.testing.assert_array_equal(found, ROWS)
    assert isinstance(found, np.memmap)
    assert found.dtype == np.float32
    assert not found.flags.writeable
    assert sorted(p.name for p in tmp_path.iterdir()) == [KEY]


def test_a_plain_numpy_reads_the_file(tmp_path):
    write_all(tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / KEY / "features.npy"), ROWS)


@pytest.mark.parametrize("sizes", [(10,), (1,) * 10, (3, 3, 3, 1), (4, 6), (0, 10)])
def test_the_grouping_of_rows_changes_no_byte(tmp_path, sizes):
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    write_all(tmp_path / "whole")
    with writer(tmp_path / "parts") as file:
        start = 0
        for size in sizes:
            file.append(ROWS[start : start + size])
            start += size
        file.finish()
    for name in ("features.npy", "meta.json"):
        first = (tmp_path / "whole" / KEY / name).read_bytes()
        assert (tmp_path / "parts" / KEY / name).read_bytes() == first


def test_the_metadata_tell_key_shards_and_sources(tmp_path):
    write_all(tmp_path, source={"device": "cpu"})
    meta = features_meta(tmp_path, KEY)
    assert sha256_json(meta["parts"]) == KEY
    assert [rows for rows, _ in meta["shards"]] == [4, 4, 2]
    assert meta["sources"] == [{"device": "cpu"}]


def test_an_unfinished_matrix_is_not_found_and_goes_on_at_its_last_shard(tmp_path):
    with writer(tmp_path, source={"try": 1}) as file:
        file.append(ROWS[:7])
    with pytest.raises(KeyError, match="no complete features"):
        read_features(tmp_path, KEY)
    with writer(tmp_path, source={"try": 2}) as file:
        assert file.n_done == 4
        file.append(ROWS[4:])
        file.finish()
    np.testing.assert_array_equal(read_features(tmp_path, KEY), ROWS)
    assert features_meta(tmp_path, KEY)["sources"] == [{"try": 1}, {"try": 2}]


def test_a_writer_killed_before_the_last_rename_has_nothing_left_to_do(tmp_path):
    with writer(tmp_path) as file:
        file.append(ROWS[:8])
        file.append(ROWS[8:])
        file._close_shard()
    with writer(tmp_path) as file:
        assert file.n_done == 10
        file.finish()
    np.testing.assert_array_equal(read_features(tmp_path, KEY), ROWS)


def test_a_matrix_with_rows_missing_is_not_finished(tmp_path):
    with writer(tmp_path) as file:
        file.append(ROWS[:7])
        with pytest.raises(ValueError, match="10 rows were announced; 7 were written"):
            file.finish()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 4), np.float32), r"shape \(n, 3\)"),
        (np.zeros((2, 3)), "float64"),
        (np.zeros(3, np.float32), r"shape \(3,\)"),
        (np.zeros((11, 3), np.float32), "more rows than the 10"),
    ],
)
def test_rows_of_another_form_are_refused(tmp_path, rows, message):
    with writer(tmp_path) as file, pytest.raises(ValueError, match=message):
        file.append(rows)


def flip_byte(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_changed_byte_is_noticed_wherever_it_is(tmp_path):
    write_all(tmp_path)
    path = tmp_path / KEY / "features.npy"
    for place in (-1, -40, -120):
        flip_byte(path, place)
        with pytest.raises(DataCorruptError, match="a checksum differs"):
            read_features(tmp_path, KEY)
        flip_byte(path, place)
    read_features(tmp_path, KEY)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "meta.json").unlink(), "meta.json is missing"),
        (lambda f: (f / "meta.json").write_text("{}"), "not that of features"),
        (lambda f: (f / "meta.json").write_text("{"), "not a readable JSON"),
        (lambda f: (f / "features.npy").unlink(), "another length"),
        (lambda f: (f / "features.npy").write_bytes(b"\x93NUMPY"), "another length"),
        (lambda f: flip_byte(f / "features.npy", 0), "no header"),
    ],
)
def test_damaged_files_are_refused_and_written_again(tmp_path, damage, message):
    write_all(tmp_path)
    damage(tmp_path / KEY)
    with pytest.raises(DataCorruptError, match=message):
        read_features(tmp_path, KEY)
    write_all(tmp_path)
    np.testing.assert_array_equal(read_features(tmp_path, KEY), ROWS)


def test_an_entry_under_another_key_is_refused(tmp_path):
    write_all(tmp_path)
    other = sha256_json({"other": 1})
    (tmp_path / KEY).rename(tmp_path / other)
    with pytest.raises(DataCorruptError, match="its parts do not give its key"):
        read_features(tmp_path, other)


def test_rows_that_are_not_listed_are_missing(tmp_path):
    write_all(tmp_path)
    path = tmp_path / KEY / "meta.json"
    meta = json.loads(path.read_text())
    del meta["shards"][1:]
    path.write_text(json.dumps(meta))
    with pytest.raises(DataCorruptError, match="rows are missing"):
        read_features(tmp_path, KEY)


def test_a_resumed_writer_begins_at_the_first_damaged_shard(tmp_path, caplog):
    with writer(tmp_path) as file:
        file.append(ROWS[:9])
    path = tmp_path / f"{KEY}.partial" / "features.npy"
    flip_byte(path, path.stat().st_size - 1 - 4 * 3 * 3)  # in the second shard
    with caplog.at_level(logging.WARNING), writer(tmp_path) as file:
        assert file.n_done == 4
        file.append(ROWS[4:])
        file.finish()
    assert "a checksum differs, going on from shard 1" in caplog.text
    np.testing.assert_array_equal(read_features(tmp_path, KEY), ROWS)


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    with writer(tmp_path) as file:
        file.append(ROWS[:5])
    rest = tmp_path / f"{KEY}.partial" / "meta.json.part-1"
    rest.write_text("{")
    write_all(tmp_path)
    assert sorted(p.name for p in (tmp_path / KEY).iterdir()) == [
        "features.npy",
        "meta.json",
    ]


def test_a_partial_folder_without_metadata_is_started_again(tmp_path, caplog):
    with writer(tmp_path) as file:
        file.append(ROWS[:3])  # no shard yet
    with caplog.at_level(logging.WARNING), writer(tmp_path) as file:
        assert file.n_done == 0
        file.append(ROWS)
        file.finish()
    assert "starting again" in caplog.text
    np.testing.assert_array_equal(read_features(tmp_path, KEY), ROWS)


def test_a_matrix_larger_than_the_disk_is_refused_at_once(tmp_path):
    width = shutil.disk_usage(tmp_path).total
    with pytest.raises(OSError, match="do not fit on the disk"):
        FeatureWriter(tmp_path, PARTS, 10, width)
    assert list(tmp_path.iterdir()) == []


def test_finish_returns_what_is_read_later(tmp_path):
    with writer(tmp_path) as file:
        file.append(ROWS)
        found = file.finish()
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, read_features(tmp_path, KEY))


def test_of_a_complete_matrix_the_shards_before_the_damage_are_kept(tmp_path):
    write_all(tmp_path)
    path = tmp_path / KEY / "features.npy"
    flip_byte(path, path.stat().st_size - 1 - 4 * 3 * 2)  # in the second shard
    with writer(tmp_path) as file:
        assert file.n_done == 4
        assert not (tmp_path / KEY).exists()
        file.append(ROWS[4:])
        file.finish()
    np.testing.assert_array_equal(read_features(tmp_path, KEY), ROWS)


@pytest.mark.parametrize("change", [{"n_rows": 11}, {"parts": {"other": 1}}])
def test_a_partial_matrix_of_another_key_or_shape_is_started_again(
    tmp_path, caplog, change
):
    with writer(tmp_path) as file:
        file.append(ROWS[:8])
    path = tmp_path / f"{KEY}.partial" / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with caplog.at_level(logging.WARNING):
        write_all(tmp_path)
    assert "another key or shape" in caplog.text
    np.testing.assert_array_equal(read_features(tmp_path, KEY), ROWS)


KILLED = """
import os, signal, sys
import numpy as np
from neurovis.core import feature_files
from neurovis.core.feature_files import FeatureWriter

calls = 0

def last(function):
    def call(*args):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)
    return call

os.fsync, os.rename, os.replace = map(last, (os.fsync, os.rename, os.replace))
rows = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
parts = {"pictures": "3f2a", "layer": {"path": "conv1", "grid": (2, 2)}}
with FeatureWriter(sys.argv[1], parts, 10, 3, shard_rows=4) as file:
    for row in rows[file.n_done:]:
        file.append(row[None])
    file.finish()
"""


@pytest.mark.parametrize("at", [1, 4, 6, 9])
def test_a_writer_killed_at_any_system_call_goes_on_to_the_same_bytes(tmp_path, at):
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    for name in ("killed", "whole"):
        write_all(tmp_path / name)
        assert [p.name for p in (tmp_path / name).iterdir()] == [KEY]
    for file in ("features.npy", "meta.json"):
        first, second = (
            (tmp_path / name / KEY / file).read_bytes() for name in ("killed", "whole")
        )
        assert first == second


def test_a_limit_of_file_size_is_one_clear_error(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with FeatureWriter(tmp_path, PARTS, 400, 30, shard_rows=10) as file:
        file.append(np.ones((50, 30), np.float32))
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
        try:
            with pytest.raises(OSError, match="There is no room left in") as caught:
                file.append(np.ones((50, 30), np.float32))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    with FeatureWriter(tmp_path, PARTS, 400, 30) as file:
        assert file.n_done == 60  # 7.2 of 8 kB
        file.append(np.ones((340, 30), np.float32))
        assert file.finish().sum() == 400 * 30


def test_closing_on_a_full_disk_does_not_hide_what_was_wrong(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write_on_a_full_disk():
        with FeatureWriter(tmp_path, PARTS, 400, 30, shard_rows=10) as file:
            file.append(np.ones((50, 30), np.float32))
            resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
            file.append(np.ones((50, 30), np.float32))

    try:
        with pytest.raises(OSError, match="There is no room left in"):
            write_on_a_full_disk()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_numbers_out_of_range_are_refused(tmp_path):
    for shape in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match="must be within"):
            FeatureWriter(tmp_path, PARTS, *shape)
