"""The file formats of simulated data, read by other software."""

import gzip
import io
from itertools import pairwise

import h5py
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat

from data_loaders.simulated_files import (
    HDF5Writer,
    mgh_writer,
    nifti_writer,
    to_integers,
    write_mat,
    write_mgh,
    write_nifti,
)

AFFINE = np.array([[2.0, 0, 0, -30], [0, 3, 0, -40], [0, 0, 4, -20], [0, 0, 0, 1]])


def volume_betas(n_trials=10, grid=(3, 4, 5), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-32768, 32768, (*grid, n_trials)).astype(np.int16)


def write_in_runs(writer, flat, cuts):
    """Write places in pieces, last first."""
    edges = [0, *cuts, len(flat)]
    for start, stop in reversed(list(pairwise(edges))):
        writer.write(start, flat[start:stop])
    writer.close()


def by_place(betas):
    return betas.reshape(-1, betas.shape[-1], order="F")


@settings(max_examples=15)
@given(st.lists(st.integers(1, 59), max_size=4, unique=True).map(sorted))
def test_hdf5_volumes_have_axes_trial_z_y_x_whatever_the_runs(tmp_path_factory, cuts):
    betas = volume_betas()
    path = tmp_path_factory.mktemp("hdf5") / "betas.hdf5"
    write_in_runs(HDF5Writer(path, 10, (3, 4, 5)), by_place(betas), cuts)
    with h5py.File(path) as file:
        data = file["betas"]
        assert data.shape == (10, 5, 4, 3)
        assert data.dtype == np.int16
        assert data.chunks == (10, 1, 1, 1)
        assert np.array_equal(data[:], betas.transpose(3, 2, 1, 0))


def test_places_that_are_not_written_are_zero(tmp_path):
    writer = HDF5Writer(tmp_path / "b.hdf5", 6, (7,))
    writer.write(2, np.ones((2, 6), np.int16))
    writer.close()
    with h5py.File(tmp_path / "b.hdf5") as file:
        assert file["betas"].shape == (6, 7)
        assert file["betas"][:].sum(axis=0).tolist() == [0, 0, 6, 6, 0, 0, 0]


def test_matlab_files_have_its_header_in_front(tmp_path):
    betas = volume_betas()
    writer = HDF5Writer(tmp_path / "b.mat", 10, (3, 4, 5), matlab=True)
    write_in_runs(writer, by_place(betas), [20])
    head = (tmp_path / "b.mat").read_bytes()[:128]
    assert head.startswith(b"MATLAB 7.3 MAT-file")
    assert head.endswith(b"\x00\x02IM")
    with h5py.File(tmp_path / "b.mat") as file:
        assert file.userblock_size == 512
        assert file["betas"].attrs["MATLAB_class"] == b"int16"
        assert np.array_equal(file["betas"][:], betas.T)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_nifti_volumes_are_read_by_nibabel(tmp_path, suffix):
    betas = volume_betas()
    path = tmp_path / f"b.{suffix}"
    write_in_runs(nifti_writer(path, 10, (3, 4, 5), AFFINE), by_place(betas), [7, 31])
    image = nib.load(path)
    assert image.shape == (3, 4, 5, 10)
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(image.affine, AFFINE)
    assert np.array_equal(np.asanyarray(image.dataobj), betas)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_plain_and_a_packed_volume_of_one_name_grow_side_by_side(tmp_path):
    betas = volume_betas()
    paths = [tmp_path / name for name in ("b.nii", "b.nii.gz")]
    writers = [nifti_writer(path, 10, (3, 4, 5), AFFINE) for path in paths]
    for start in (30, 0):
        for writer in writers:
            writer.write(start, by_place(betas)[start : start + 30])
    for writer in writers:
        writer.close()
    for path in paths:
        assert np.array_equal(np.asanyarray(nib.load(path).dataobj), betas)
    assert gzip.decompress(paths[1].read_bytes()) == paths[0].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths


def test_surface_betas_are_big_endian_mgh(tmp_path):
    values = np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32)
    path = tmp_path / "lh.b.mgh"
    write_in_runs(mgh_writer(path, 6, 9), values, [2, 5])
    image = nib.MGHImage.from_bytes(path.read_bytes())
    assert tuple(int(n) for n in image.shape) == (9, 1, 1, 6)
    assert image.get_data_dtype() == np.dtype(">f4")
    assert np.array_equal(np.asanyarray(image.dataobj)[:, 0, 0], values)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize("shape", [(5,), (5, 3)])
def test_numbers_of_vertices_are_read_by_nibabel(tmp_path, dtype, shape):
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    write_mgh(tmp_path / "lh.x.mgz", values)
    image = nib.load(tmp_path / "lh.x.mgz")
    assert np.array_equal(np.squeeze(np.asanyarray(image.dataobj)), values)
    assert image.get_data_dtype().kind == np.dtype(dtype).kind


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_volumes_are_read_by_nibabel_and_equal_ones_have_equal_bytes(tmp_path, dtype):
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    turned = AFFINE @ np.diag([-1.0, 1, 1, 1])
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, values, turned)
    image = nib.load(tmp_path / "a.nii.gz")
    assert np.array_equal(image.get_fdata(), values)
    assert np.array_equal(image.affine, turned)
    assert image.header.get_xyzt_units()[0] == "mm"
    same = (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert same


def test_matrices_are_read_by_scipy_and_hold_no_time(tmp_path):
    write_mat(tmp_path / "a.mat", {"m": np.arange(6).reshape(2, 3)})
    data = (tmp_path / "a.mat").read_bytes()
    assert loadmat(io.BytesIO(data))["m"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert b"Created" not in data


def test_integers_are_percent_times_300_and_saturate():
    percent = np.array([0.5, -0.001, 0.0017, 200, -200, 109.2233], np.float32)
    assert to_integers(percent).tolist() == [150, 0, 1, 32767, -32768, 32767]
