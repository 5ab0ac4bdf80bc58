"""Maps moved between spaces: places in the files count from 1."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import map_coordinates

from data_loaders.nsd_transforms import (
    map_to_fsaverage,
    map_to_native,
    map_to_surface,
    map_to_volume,
    read_nearest,
    sample_volume,
)
from neurovis.core.errors import DataCorruptError

NAN = float("nan")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "nsddata/ppdata/subj01/transforms").mkdir(parents=True)
    return tmp_path


def save_surface(root, name, values):
    array = np.asarray(values, np.float32)
    array = array[:, None, None] if array.ndim == 1 else array[:, None]
    path = root / "nsddata/ppdata/subj01/transforms" / f"{name}.mgz"
    nib.save(nib.MGHImage(array, np.eye(4)), path)
    return path


def save_volume(root, name, places):
    path = root / "nsddata/ppdata/subj01/transforms" / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(places, np.float32), np.eye(4)), path)


# ------------------------------------------------------------------ surfaces


def test_nearest_vertices_count_from_one(root):
    save_surface(root, "lh.white-to-fsaverage", [1, 3, 3, 2, 1])
    save_surface(root, "lh.fsaverage-to-white", [5, 4, 2])
    native = np.array([10, 20, 30], np.int16)
    moved = map_to_fsaverage(root, 1, {"lh": native})
    assert moved["lh"].tolist() == [10, 30, 30, 20, 10]
    assert moved["lh"].dtype == np.int16
    back = map_to_native(root, 1, moved)
    assert back["lh"].tolist() == [10, 20, 30]
    two = map_to_fsaverage(root, "subj01", {"lh": np.eye(3)})
    assert two["lh"][3].tolist() == [0, 1, 0]


def test_a_table_of_another_mesh_is_refused(root):
    path = save_surface(root, "rh.white-to-fsaverage", [1, 4])
    with pytest.raises(ValueError, match=r"has 3 vertices, but .* vertex 4 \(from 1\)"):
        map_to_fsaverage(root, 1, {"rh": [1, 2, 3]})
    assert read_nearest(path, 4).tolist() == [0, 3]


@pytest.mark.parametrize("values", [[0, 1], [1.5, 2], [NAN, 1], [[1, 2, 3]]])
def test_a_table_that_does_not_count_from_one_is_corrupt(root, values):
    path = save_surface(root, "rh.white-to-fsaverage", values)
    with pytest.raises(DataCorruptError, match="one whole number from 1 per vertex"):
        read_nearest(path, 9)


def test_a_missing_transform_is_told_with_those_there(root):
    with pytest.raises(FileNotFoundError, match=r"lh.white-to-fsaverage.mgz of subj01"):
        map_to_fsaverage(root, 1, {"lh": [1]})
    save_volume(root, "func1pt8-to-MNI", np.ones((1, 1, 1, 3)))
    with pytest.raises(
        FileNotFoundError, match=r"Did you mean 'func1pt8-to-MNI.nii.gz"
    ):
        map_to_volume(root, 1, np.ones((1, 1, 1)), transform="func1pt8mm-to-MNI")
    with pytest.raises(ValueError, match="`hemisphere` must be one of 'lh', 'rh'"):
        map_to_native(root, 1, {"left": [1]})


# ------------------------------------------------------------------- volumes

VOLUME = np.arange(24.0).reshape(2, 3, 4)  # 12 x + 4 y + z


def test_decimal_places_count_from_one(root):
    places = [[1, 1, 1], [2, 3, 4], [1.5, 2, 2.25], [9999, 9999, 9999], [0.5, 1, 1]]
    save_surface(root, "lh.func1pt8-to-layerB2", places)
    save_surface(root, "rh.func1pt8-to-layerB2", [[2, 1, 4.5]])
    found = map_to_surface(root, 1, VOLUME)
    # 0-based: (0, 0, 0), (1, 2, 3), (0.5, 1, 1.25), nowhere, and below the first.
    np.testing.assert_array_equal(found["lh"], [0, 23, 6 + 4 + 1.25, NAN, NAN])
    np.testing.assert_array_equal(found["rh"], [NAN])
    zero = map_to_surface(root, 1, VOLUME, outside=0)
    assert zero["lh"].tolist() == [0, 23, 11.25, 0, 0]
    near = map_to_surface(root, 1, VOLUME, order=0, outside=0)
    # (0.5, 1, 1.25) is nearest to (1, 1, 1): of two the one further on.
    assert near["lh"].tolist() == [0, 23, 17, 0, 0]


def test_a_volume_moves_to_a_volume_voxel_by_voxel(root):
    places = np.stack(np.meshgrid([1, 2], [3], [1, 4], indexing="ij"), axis=-1)
    save_volume(root, "func1pt8-to-anat0pt8", places)
    moved = map_to_volume(root, 1, VOLUME, transform="func1pt8-to-anat0pt8")
    assert moved.tolist() == [[[8, 11]], [[20, 23]]]


def test_mni_is_flipped_along_its_first_axis_and_nothing_else_is(root):
    places = np.array([[[[1, 1, 1]]], [[[2, 2, 2]]], [[[9999] * 3]]])
    for name in ("func1pt8-to-MNI", "func1pt8-to-func1pt0"):
        save_volume(root, name, places)
    plain = map_to_volume(root, 1, VOLUME, transform="func1pt8-to-func1pt0")
    flipped = map_to_volume(root, 1, VOLUME, transform="func1pt8-to-MNI")
    np.testing.assert_array_equal(plain.ravel(), [0, 17, NAN])
    np.testing.assert_array_equal(flipped, plain[::-1])


def test_labels_stay_labels_with_order_zero(root):
    labels = np.array([[[-1.0, 0, 7]]])
    save_surface(root, "lh.func1pt8-to-layerB1", [[1, 1, 1.2], [1, 1, 2.9]])
    save_surface(root, "rh.func1pt8-to-layerB1", [[1, 1, 1.6]])
    transform = "func1pt8-to-layerB1"
    found = map_to_surface(root, 1, labels, transform=transform, order=0)
    assert [found["lh"].tolist(), found["rh"].tolist()] == [[-1, 7], [0]]


def test_an_undefined_voxel_spreads_only_where_it_has_weight():
    volume = np.array([[[1.0, NAN, 3.0]]])
    places = [[1, 1, 1], [1, 1, 3], [1, 1, 1.5], [1, 1, 2]]
    np.testing.assert_array_equal(sample_volume(volume, places), [1, 3, NAN, NAN])


@given(
    arrays(np.float64, (3, 4, 1), elements=st.floats(-10, 10)),
    arrays(np.float64, (5, 3), elements=st.floats(1, 4)),
)
def test_linear_samples_equal_those_of_scipy(volume, places):
    limit = np.array(volume.shape)
    inside = (places <= limit).all(axis=1)
    expected = map_coordinates(volume, (places - 1).T, order=1, mode="nearest")
    found = sample_volume(volume, places)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-12)
    assert np.isnan(found[~inside]).all()


@pytest.mark.parametrize(
    ("volume", "order", "match"),
    [
        (np.ones((2, 2)), 1, r"`volume` must have shape"),
        (np.ones((2, 2, 2)), 3, "`order` must be one of 0, 1; got 3"),
    ],
)
def test_wrong_arguments_are_refused(root, volume, order, match):
    with pytest.raises(ValueError, match=match):
        map_to_surface(root, 1, volume, order=order)


def test_a_file_without_three_numbers_is_corrupt(root):
    save_surface(root, "lh.func1pt8-to-layerB2", [1, 2])
    with pytest.raises(DataCorruptError, match="three numbers per vertex"):
        map_to_surface(root, 1, VOLUME)
    save_volume(root, "a-to-b", np.ones((2, 2, 2)))
    with pytest.raises(DataCorruptError, match="three numbers per voxel"):
        map_to_volume(root, 1, VOLUME, transform="a-to-b")
