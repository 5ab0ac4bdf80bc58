"""Pictures of NSD: by their 0-based number, when asked for."""

import multiprocessing
import os
import pickle

import h5py
import numpy as np
import pytest

from data_loaders.nsd_stimuli import NSDPictures, count_pictures
from neurovis.core.errors import DataCorruptError


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "nsd_stimuli.hdf5"
    values = np.arange(5 * 2 * 4 * 3, dtype=np.uint8).reshape(5, 2, 4, 3)
    with h5py.File(path, "w") as file:
        file["imgBrick"] = values
    return path


def test_a_picture_is_found_by_its_number_from_zero(path):
    pictures = NSDPictures(path, [4, 0, 4])
    assert len(pictures) == 3
    assert pictures[1].shape == (2, 4, 3)
    assert pictures[1].dtype == np.uint8
    assert pictures[1].ravel().tolist() == list(range(24))
    assert pictures[0][0, 0].tolist() == [96, 97, 98]
    assert [p[0, 0, 0] for p in pictures] == [96, 0, 96]
    assert pictures[-1][0, 0, 0] == 96
    assert [p[0, 0, 0] for p in pictures[:2]] == [96, 0]
    with pytest.raises(IndexError):
        pictures[3]


def test_without_numbers_all_pictures_come_in_their_order(path):
    assert [p[0, 0, 0] for p in NSDPictures(path)] == [0, 24, 48, 72, 96]


def test_the_file_opens_on_first_use_and_closes(path):
    with NSDPictures(path) as pictures:
        assert pictures._file is None
        assert pictures[2][0, 0, 0] == 48
        handle = pictures._file
        assert handle
    assert not handle
    assert pictures[3][0, 0, 0] == 72  # opens again
    pictures.close()
    pictures.close()


def test_pictures_survive_pickling_after_use(path):
    pictures = NSDPictures(path, [1, 3])
    assert pictures[0][0, 0, 0] == 24
    copy = pickle.loads(pickle.dumps(pictures))
    assert copy[1][0, 0, 0] == 72
    assert pictures[1][0, 0, 0] == 72


def _send(pictures, pipe):
    values = [int(p[0, 0, 0]) for p in pictures]
    pipe.send([*values, os.getpid(), pictures._process])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_opens_the_file_anew(path):
    pictures = NSDPictures(path)
    assert pictures[0][0, 0, 0] == 0
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(
        target=_send, args=(pictures, theirs)
    )
    child.start()
    assert ours.poll(30)
    *first, pid, opened_by = ours.recv()
    child.join()
    assert first == [0, 24, 48, 72, 96]
    assert pid == opened_by != os.getpid()
    assert pictures[4][0, 0, 0] == 96


def test_numbers_beyond_the_file_are_refused_at_once(path):
    with pytest.raises(DataCorruptError, match=r"has 5 pictures, but 2 of .* number 5"):
        NSDPictures(path, [0, 7, 5, 7])
    with pytest.raises(ValueError, match="`nsd_id` must be 0 or more; got -1"):
        NSDPictures(path, [-1])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nsddata_stimuli.*nsd_stimuli\.hdf5"):
        NSDPictures(tmp_path)


@pytest.mark.parametrize("n_bytes", [0, 100, 800])
def test_a_cut_file_is_corrupt(path, n_bytes):
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(DataCorruptError, match="not a readable HDF5"):
        NSDPictures(path)


@pytest.mark.parametrize(
    ("name", "values", "match"),
    [
        ("images", np.zeros((2, 2, 2, 3), np.uint8), "imgBrick"),
        ("imgBrick", np.zeros((2, 2, 2, 3)), r"dtype uint8; it has .* float64"),
        ("imgBrick", np.zeros((2, 3, 2, 2), np.uint8), r"\(n, H, W, 3\)"),
    ],
)
def test_a_file_of_something_else_is_corrupt(tmp_path, name, values, match):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file[name] = values
    with pytest.raises(DataCorruptError, match=match):
        count_pictures(tmp_path / "a.hdf5")
