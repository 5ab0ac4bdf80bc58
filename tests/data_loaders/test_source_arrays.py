"""Arrays with a stated shape, lists of names, and pictures that are all there."""

import zipfile

import numpy as np
import pytest

from data_loaders.source_arrays import open_all_pictures, read_floats, read_texts
from neurovis.core.errors import DataCorruptError


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "data.npz"
    np.savez(
        file,
        half=np.ones((2, 3), np.float16),
        double=np.array([0.1, np.nan]),
        infinite=np.array([1.0, np.inf]),
        whole=np.arange(3),
        names=np.array(["a", "é"]),
        square=np.array([["a", "b"]]),
        bytes=np.array([b"a"]),
        empty=np.array(["a", ""]),
    )
    return file


def test_arrays_keep_their_precision(path):
    arrays = read_floats(path, {"half": (2, None), "double": (2,)}, finite=False)
    assert [a.dtype for a in arrays.values()] == [np.float16, np.float64]
    assert arrays["double"][0] == 0.1
    assert np.isnan(arrays["double"][1])


@pytest.mark.parametrize(
    ("shapes", "finite", "match"),
    [
        ({"half": (3, 2)}, True, r"`half` must have shape \(3, 2\); got \(2, 3\)"),
        ({"half": (2,)}, True, "`half` must have shape"),
        ({"double": (2,)}, True, "`double` has 1 values that are not finite"),
        ({"infinite": (2,)}, False, "`infinite` has infinite values"),
        ({"whole": (3,)}, True, "`whole` must hold floating-point numbers"),
        ({"names": (2,)}, True, "must hold numbers in names"),
        ({"other": (2,)}, True, r"lacks the arrays \['other'\]"),
    ],
)
def test_other_arrays_are_refused_by_name(path, shapes, finite, match):
    with pytest.raises(DataCorruptError, match=match):
        read_floats(path, shapes, finite=finite)


def test_names_are_read_as_text(path):
    assert read_texts(path, ["names"]) == {"names": ["a", "é"]}


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("whole", "`whole` must be a list of text; it has dtype int64"),
        ("square", r"shape \(1, 2\)"),
        ("bytes", "dtype |S1"),
        ("empty", "`empty` must hold distinct names"),
        ("other", "other"),
    ],
)
def test_what_is_no_list_of_names_is_refused(path, name, match):
    with pytest.raises(DataCorruptError, match=match):
        read_texts(path, [name])


def test_a_missing_file_is_named(tmp_path):
    for read in (
        lambda p: read_floats(p, {"a": (1,)}),
        lambda p: read_texts(p, ["a"]),
        lambda p: open_all_pictures(p, ["a"]),
    ):
        with pytest.raises(FileNotFoundError, match=r"none\.npz"):
            read(tmp_path / "none.npz")


def test_pictures_are_all_there_and_no_others(tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("images")
        for name in ("images/b.png", "images/a.png"):
            archive.writestr(name, b"")
    names = ["images/a.png", "images/b.png"]
    assert open_all_pictures(path, names).members == tuple(names)
    with pytest.raises(DataCorruptError, match=r"such as images/b\.png, belong to no"):
        open_all_pictures(path, names[:1])
    with pytest.raises(DataCorruptError, match=r"lacks 1 of 3 pictures"):
        open_all_pictures(path, [*names, "images/c.png"])
