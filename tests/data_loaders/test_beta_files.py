"""Files of responses: every format gives the same numbers, and only what was asked."""

import gzip
import itertools
import re
import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from data_loaders import beta_chunks, beta_layouts
from data_loaders.beta_files import open_beta_file
from neurovis.core.errors import DataCorruptError

GRID, N_TRIALS = (5, 6, 4), 12

# ------------------------------------------------------------------- writing


def volume(dtype=np.int16, grid=GRID, n_trials=N_TRIALS, seed=0):
    """Numbers as (X, Y, Z, trials)."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=(*grid, n_trials)).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, (*grid, n_trials), dtype, endpoint=True)


def write_hdf(path, values, *, dataset="betas", **options):
    """Write (X, Y, Z, trials) as MATLAB does; h5py sees the axes reversed."""
    userblock = 512 if path.suffix == ".mat" else 0
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file.create_dataset(dataset, data=values.T, **options)


def write_nifti(path, values, *, affine=None, slope=None, intercept=None):
    nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    if slope is not None:
        # nibabel would choose its own: write the header anew.
        image = nib.load(path)
        header = image.header.copy()
        header["scl_slope"], header["scl_inter"] = slope, intercept
        header["vox_offset"] = image.dataobj.offset
        path.write_bytes(header.binaryblock + path.read_bytes()[348:])


WRITERS = {
    "voxel-chunks.hdf5": lambda p, v: write_hdf(p, v, chunks=(v.shape[3], 1, 1, 1)),
    "contiguous.h5": write_hdf,
    "matlab.mat": write_hdf,
    "boxes.hdf5": lambda p, v: write_hdf(p, v, chunks=(4, 2, 3, 2)),
    "boxes-gzip.hdf5": lambda p, v: write_hdf(
        p, v, chunks=(4, 2, 3, 2), compression="gzip", shuffle=True
    ),
    "trials-gzip.hdf5": lambda p, v: write_hdf(
        p, v, chunks=(1, *v.shape[2::-1]), compression="gzip"
    ),
    "plain.nii": write_nifti,
    "packed.nii.gz": write_nifti,
    "c-order.npy": np.save,
    "fortran.npy": lambda p, v: np.save(p, np.asfortranarray(v)),
    "PLAIN.NII": lambda p, v: (
        write_nifti(p.with_suffix(".nii"), v),
        p.with_suffix(".nii").rename(p),
    ),
}


def write_mgh(path, values):
    nib.save(nib.MGHImage(values.T[:, None, None], np.eye(4)), path)


SURFACE_WRITERS = {
    "lh.betas.mgh": write_mgh,
    "lh.betas.mgz": write_mgh,
    "surface.nii": lambda p, v: write_nifti(p, v.T[:, None, None]),
    "surface.hdf5": lambda p, v: write_hdf(p, v.T, chunks=(4, 7)),
    "column.hdf5": lambda p, v: write_hdf(p, v.T, chunks=(len(v), 1)),
    "whole-gzip.hdf5": lambda p, v: write_hdf(p, v.T, chunks=v.shape, compression=4),
    "rows.npy": np.save,
    "columns.npy": lambda p, v: np.save(p, np.asfortranarray(v)),
}


# ------------------------------------------------------------- cross-checks


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("places", ["all", "few", "one", "none"])
def test_every_format_of_a_volume_gives_the_same_bits(tmp_path, name, places):
    values = volume()
    WRITERS[name](tmp_path / name, values)
    file = open_beta_file(tmp_path / name, grid=GRID, n_trials=N_TRIALS)
    assert (file.n_trials, file.grid, file.scale) == (N_TRIALS, GRID, 300.0)
    everything = np.arange(120)
    chosen = {
        "all": everything,
        "few": everything[[0, 3, 4, 17, 60, 61, 118]],
        "one": everything[[77]],
        "none": everything[:0],
    }[places]
    x, y, z = np.unravel_index(chosen, GRID, order="F")
    expected = values[x, y, z].T.astype(np.float32) / np.float32(300)
    found = file.read(chosen)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", SURFACE_WRITERS)
def test_every_format_of_a_surface_gives_the_same_bits(tmp_path, name):
    values = volume(np.float32, (40,), 9).T
    SURFACE_WRITERS[name](tmp_path / name, values)
    file = open_beta_file(tmp_path / name, grid=(40,), n_trials=9)
    assert (file.n_trials, file.grid, file.scale) == (9, (40,), 1.0)
    places = np.array([0, 1, 5, 6, 7, 30, 39])
    assert np.array_equal(file.read(places), values[:, places])


def test_the_mgh_of_fsaverage_is_big_endian_and_starts_at_its_284th_byte(tmp_path):
    values = volume(np.float32, (6,), 3).T
    write_mgh(tmp_path / "lh.betas.mgh", values)
    raw = np.fromfile(tmp_path / "lh.betas.mgh", ">f4", 18, offset=284)
    assert np.array_equal(raw.reshape(3, 6), values)
    file = open_beta_file(tmp_path / "lh.betas.mgh")
    assert file.dtype == np.dtype(">f4")
    assert np.array_equal(file.read(np.arange(6)), raw.reshape(3, 6))


@settings(max_examples=80)
@given(data=st.data())
def test_any_units_and_trials_of_any_layout_are_those_of_the_array(
    tmp_path_factory, data
):
    grid = tuple(data.draw(st.integers(1, 6), label="side") for _ in range(3))
    if grid[1:] == (1, 1):
        grid = (grid[0], 1, 2)
    n_trials = data.draw(st.integers(1, 9), label="n_trials")
    dtype = data.draw(st.sampled_from([np.int16, ">i2", np.uint8, np.float64]))
    values = volume(np.dtype(dtype).newbyteorder("="), grid, n_trials).astype(dtype)
    chunks = [data.draw(st.integers(1, n), label="chunk") for n in values.T.shape]
    options = data.draw(
        st.sampled_from([{"chunks": tuple(chunks)}, {"chunks": tuple(chunks)}, {}])
    )
    if options and data.draw(st.booleans(), label="gzip"):
        options["compression"] = "gzip"
    name = data.draw(st.sampled_from(["a.hdf5", "a.nii", "a.nii.gz", "c.npy", "f.npy"]))
    path = tmp_path_factory.mktemp("layout") / name
    if name == "a.hdf5":
        write_hdf(path, values, **options)
    elif name.startswith("a.nii"):
        write_nifti(path, values)
    else:
        np.save(path, values if name == "c.npy" else np.asfortranarray(values))
    n_places = int(np.prod(grid))
    places = data.draw(st.sets(st.integers(0, n_places - 1)), label="places")
    rows = data.draw(st.sets(st.integers(0, n_trials - 1)), label="rows")
    places, rows = (np.array(sorted(s), np.int64) for s in (places, rows))
    out = np.full((len(places), len(rows)), np.nan, np.float32)
    # Small enough that everything is read in many pieces.
    with pytest.MonkeyPatch.context() as patch:
        size = data.draw(st.sampled_from([1, 40, 10**6]), label="buffer")
        patch.setattr(beta_layouts, "BUFFER_BYTES", size)
        patch.setattr(beta_chunks, "BUFFER_BYTES", size)
        patch.setattr(beta_chunks, "_BOX_PLACES", data.draw(st.integers(1, 9)))
        patch.setattr(beta_layouts, "_GAP_BYTES", data.draw(st.integers(0, 9)))
        patch.setattr(beta_layouts, "_UNITS_AT_ONCE", data.draw(st.integers(1, 9)))
        open_beta_file(path).read_into(out, places, rows)
    flat = values.reshape(n_places, n_trials, order="F")[np.ix_(places, rows)]
    scale = np.float32(1 if np.dtype(dtype).kind == "f" else 300)
    assert np.array_equal(out, flat.astype(np.float32) / scale)


def test_chunks_side_by_side_that_are_too_large_at_once_keep_their_order(
    tmp_path, monkeypatch
):
    values = volume(grid=(4, 2, 2))
    write_hdf(tmp_path / "a.hdf5", values, chunks=(3, 1, 2, 2))
    monkeypatch.setattr(beta_chunks, "BUFFER_BYTES", 100)
    found = open_beta_file(tmp_path / "a.hdf5", scale=1).read(np.arange(16))
    assert np.array_equal(found, values.reshape(16, N_TRIALS, order="F").T)


# --------------------------------------------------------------------- scale


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (np.int16, 300),
        (np.uint8, 300),
        (">i2", 300),
        (np.int32, 300),
        (np.float16, 1),
        (np.float32, 1),
        (np.float64, 1),
    ],
)
def test_the_kind_of_numbers_decides_the_scale(tmp_path, dtype, scale):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    file = open_beta_file(tmp_path / "a.npy")
    assert file.scale == scale
    expected = values.astype(np.float32) / np.float32(scale)
    assert np.array_equal(file.read([0, 1, 2]), expected)
    assert open_beta_file(tmp_path / "a.npy", scale=2).read([2])[1, 0] == 2.5


def test_numbers_are_divided_after_they_became_float(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[299], [-150]], np.int16))
    found = open_beta_file(tmp_path / "a.npy").read([0])
    assert found.tolist() == [[np.float32(299) / np.float32(300)], [-0.5]]


def test_a_slope_in_the_header_is_applied_instead_of_the_scale(tmp_path):
    values = volume()
    path = tmp_path / "a.nii"
    write_nifti(path, values, slope=0.125, intercept=3)
    file = open_beta_file(path)
    assert (file.scale, file.slope, file.intercept) == (1.0, 0.125, 3.0)
    expected = np.asarray(nib.load(path).dataobj, np.float32)
    assert np.array_equal(
        file.read(np.arange(120)), expected.reshape(120, -1, order="F").T
    )
    write_nifti(path, values, slope=1, intercept=0)
    assert open_beta_file(path).scale == 300


def test_the_affine_is_that_of_the_nifti_file(tmp_path):
    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    affine[:3, 3] = [-70, 20, 5]
    write_nifti(tmp_path / "a.nii.gz", volume(), affine=affine)
    assert np.allclose(open_beta_file(tmp_path / "a.nii.gz").affine, affine)
    np.save(tmp_path / "a.npy", volume())
    assert open_beta_file(tmp_path / "a.npy").affine is None


def test_responses_at_the_ends_of_the_integers_are_counted(tmp_path):
    values = np.zeros((5, 3), np.int16)
    values[:, 1] = [32767, -32768, 32766, -32767, 32767]
    np.save(tmp_path / "a.npy", values)
    file = open_beta_file(tmp_path / "a.npy")
    low, high = (np.float32(n) / np.float32(300) for n in (-32768, 32767))
    assert file.limits == (low, high)
    assert file.count_saturated(file.read([0, 1, 2])).tolist() == [0, 3, 0]
    assert file.count_saturated(file.read([0, 2])).tolist() == [0, 0]
    np.save(tmp_path / "b.npy", values.astype(np.float32))
    file = open_beta_file(tmp_path / "b.npy")
    assert file.limits is None
    assert file.count_saturated(file.read([1])).tolist() == [0]
    np.save(tmp_path / "c.npy", np.array([[0, 255], [0, 3]], np.uint8))
    file = open_beta_file(tmp_path / "c.npy")
    assert file.count_saturated(file.read([0, 1])).tolist() == [0, 1]


def test_doubles_beyond_single_precision_become_infinite_without_a_word(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1e300, np.nan, -1e300]]))
    found = open_beta_file(tmp_path / "a.npy").read([0, 1, 2])
    assert np.array_equal(found, [[np.inf, np.nan, -np.inf]], equal_nan=True)


# ------------------------------------------------------------ only what is needed


def bytes_read(action):
    """Bytes that the process asks the system for; on Linux only."""

    def count():
        text = Path("/proc/self/io").read_text()
        return int(re.search(r"rchar: (\d+)", text)[1])

    if not Path("/proc/self/io").exists():
        pytest.skip("the system does not count what a process reads")
    before = count()
    action()
    return count() - before


@pytest.mark.parametrize(
    "name", ["voxel-chunks.hdf5", "contiguous.h5", "plain.nii", "c-order.npy"]
)
def test_few_voxels_cost_a_small_part_of_the_file(tmp_path, name):
    WRITERS[name](tmp_path / name, volume(grid=(30, 30, 60), n_trials=40))
    size = (tmp_path / name).stat().st_size
    assert size > 4_000_000
    file = open_beta_file(tmp_path / name)
    places = np.array([7, 8, 4000, 4031])
    assert bytes_read(lambda: file.read(places)) < size / 10
    assert bytes_read(lambda: file.read(np.arange(54_000))) > 0.9 * 54_000 * 80


def test_opening_reads_the_header_only(tmp_path):
    for name in ("plain.nii", "c-order.npy", "voxel-chunks.hdf5"):
        WRITERS[name](tmp_path / name, volume(grid=(30, 30, 30), n_trials=40))
        path = tmp_path / name
        assert bytes_read(lambda p=path: open_beta_file(p)) < 200_000


def test_which_files_can_only_be_read_as_a_whole(tmp_path):
    whole = set()
    for name, write in WRITERS.items():
        write(tmp_path / name, volume())
        if open_beta_file(tmp_path / name).is_sequential:
            whole.add(name)
    assert whole == {"packed.nii.gz", "trials-gzip.hdf5"}


# ------------------------------------------------------------------- arguments


def test_places_must_ascend_inside_the_grid(tmp_path):
    np.save(tmp_path / "a.npy", volume())
    file = open_beta_file(tmp_path / "a.npy")
    for places, message in [
        ([3, 2], "must ascend"),
        ([2, 2], "none twice"),
        ([0, 120], "has the places 0 to 119"),
        ([-1], "reach from -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            file.read(places)
    for places in (np.ones(120, bool), [0.5], [[1]]):
        with pytest.raises(TypeError, match="vector of whole numbers"):
            file.read(places)


def test_a_missing_file_or_an_unknown_suffix_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.hdf5"):
        open_beta_file(tmp_path / "none.hdf5")
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"suffix of a\.csv.*'\.nii\.gz'"):
        open_beta_file(tmp_path / "a.csv")


@pytest.mark.parametrize("scale", [0, float("nan"), "300"])
def test_a_scale_must_be_a_number_that_divides(tmp_path, scale):
    np.save(tmp_path / "a.npy", volume())
    with pytest.raises((ValueError, TypeError), match="`scale`"):
        open_beta_file(tmp_path / "a.npy", scale=scale)


def test_the_dataset_is_betas_or_the_only_one_or_the_one_named(tmp_path):
    path = tmp_path / "a.hdf5"
    write_hdf(path, volume(), dataset="responses")
    assert open_beta_file(path).n_trials == N_TRIALS
    with h5py.File(path, "a") as file:
        file["more/betas2"] = volume(n_trials=3).T
    with pytest.raises(ValueError, match=r"one of \['more/betas2', 'responses'\]"):
        open_beta_file(path)
    assert open_beta_file(path, dataset="more/betas2").n_trials == 3
    with pytest.raises(ValueError, match="got 'beta'"):
        open_beta_file(path, dataset="beta")
    with h5py.File(path, "a") as file:
        file["betas"] = volume(n_trials=7).T
    assert open_beta_file(path).n_trials == 7
    np.save(tmp_path / "a.npy", volume())
    with pytest.raises(ValueError, match="HDF5 files only"):
        open_beta_file(tmp_path / "a.npy", dataset="betas")


@pytest.mark.parametrize("name", WRITERS)
def test_another_number_of_trials_or_grid_is_damage(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path, volume())
    message = r"12 trials of \(5, 6, 4\) voxels, but 750 trials of \(5, 6, 4\)"
    with pytest.raises(DataCorruptError, match=message) as caught:
        open_beta_file(path, n_trials=750)
    assert str(path) in str(caught.value)
    with pytest.raises(DataCorruptError, match=r"12 trials of \(5, 6, 5\)"):
        open_beta_file(path, grid=(5, 6, 5))
    with pytest.raises(DataCorruptError, match=r"of \(120,\) were expected"):
        open_beta_file(path, grid=(120,))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[1:])
def test_the_permutation_that_would_fit_swapped_axes_is_told(tmp_path, name, order):
    path = tmp_path / name
    values = volume()
    WRITERS[name](path, values.transpose(order))
    with pytest.raises(DataCorruptError, match=r"axes .* are swapped") as caught:
        open_beta_file(path, grid=GRID, n_trials=N_TRIALS)
    fit = re.search(r"np\.transpose\(array, \((.*?)\)\)", str(caught.value))[1]
    there = values.transpose(order)
    native = there.T if path.suffix in (".hdf5", ".h5", ".mat") else there
    fixed = native.transpose([int(i) for i in fit.split(",")])
    wanted = values.T if native is not there else values
    assert np.array_equal(fixed, wanted)


def test_units_x_trials_is_told_from_trials_x_units(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((40, 9), np.float32))
    with pytest.raises(DataCorruptError, match=r"np\.transpose\(array, \(1, 0\)\)"):
        open_beta_file(tmp_path / "a.npy", grid=(40,), n_trials=9)


# ---------------------------------------------------------------------- damage


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
@pytest.mark.parametrize("name", [*WRITERS, *SURFACE_WRITERS])
def test_a_truncated_file_is_found_when_it_is_opened(tmp_path, name, share):
    path = tmp_path / name
    if name in WRITERS:
        WRITERS[name](path, volume())
    else:
        SURFACE_WRITERS[name](path, volume(np.float32, (40,), 9).T)
    data = path.read_bytes()
    size = len(data) - 20 if path.suffix in (".mgh", ".mgz") else len(data)
    path.write_bytes(data[: int(share * size)])
    with pytest.raises(DataCorruptError, match=re.escape(str(path))) as caught:
        open_beta_file(path)
    assert "again" in str(caught.value)


@pytest.mark.parametrize("name", ["packed.nii.gz", "lh.betas.mgz"])
def test_a_damaged_middle_of_a_packed_file_is_found_when_it_is_read(tmp_path, name):
    path = tmp_path / name
    if name in WRITERS:
        WRITERS[name](path, volume(n_trials=60))
    else:
        SURFACE_WRITERS[name](path, volume(np.float32, (400,), 9).T)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(range(40))
    path.write_bytes(data)
    file = open_beta_file(path)
    with pytest.raises(DataCorruptError, match="not a readable gzip file"):
        file.read([0])


def test_a_packed_file_in_several_members_is_whole(tmp_path):
    write_nifti(tmp_path / "a.nii", volume())
    data = (tmp_path / "a.nii").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(data[:700]) + gzip.compress(data[700:]))
    expected = open_beta_file(tmp_path / "a.nii").read([3, 50])
    assert np.array_equal(open_beta_file(path).read([3, 50]), expected)
    path.write_bytes(gzip.compress(data[:700]) + gzip.compress(data[700:1500]))
    with pytest.raises(DataCorruptError, match="ends before its last trial"):
        open_beta_file(path)


def test_a_file_that_shrinks_after_it_was_opened_is_damage(tmp_path):
    for name in ("plain.nii", "fortran.npy", "c-order.npy", "voxel-chunks.hdf5"):
        path = tmp_path / name
        WRITERS[name](path, volume())
        file = open_beta_file(path)
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(DataCorruptError, match=re.escape(str(path))):
            file.read([119])


def test_chunks_that_cannot_be_decoded_are_damage(tmp_path):
    path = tmp_path / "boxes-gzip.hdf5"
    WRITERS[path.name](path, volume())
    with h5py.File(path) as file:
        chunk = file["betas"].id.get_chunk_info(3)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(data)
    file = open_beta_file(path)
    with pytest.raises(DataCorruptError, match="HDF5"):
        file.read(np.arange(120))


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", bool, "M8[s]"])
def test_anything_but_real_numbers_is_refused(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), dtype), allow_pickle=dtype is object)
    with pytest.raises(DataCorruptError, match="must hold real numbers") as caught:
        open_beta_file(tmp_path / "a.npy")
    assert "int16 or float32" in str(caught.value)


@pytest.mark.parametrize("dtype", [np.complex128, bool, h5py.string_dtype()])
def test_complex_numbers_and_text_in_hdf5_are_refused(tmp_path, dtype):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", (4, 5), dtype)
    with pytest.raises(DataCorruptError, match="must hold real numbers"):
        open_beta_file(path)


@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 4), (1, 2, 3, 4, 5)])
def test_another_number_of_axes_is_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    write_hdf(tmp_path / "a.hdf5", np.zeros(shape))
    for name in ("a.npy", "a.hdf5"):
        with pytest.raises(DataCorruptError, match="it has the shape"):
            open_beta_file(tmp_path / name)
    if len(shape) == 3:
        write_nifti(tmp_path / "a.nii", np.zeros(shape))
        with pytest.raises(DataCorruptError, match="Join the trials along a fourth"):
            open_beta_file(tmp_path / "a.nii")


def test_a_fifth_axis_of_trials_is_understood_in_nifti(tmp_path):
    values = volume()
    write_nifti(tmp_path / "a.nii", values[:, :, :, None])
    assert open_beta_file(tmp_path / "a.nii").grid == GRID
    assert open_beta_file(tmp_path / "a.nii").n_trials == N_TRIALS


def test_an_empty_array_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 4)))
    with pytest.raises(DataCorruptError, match="empty array"):
        open_beta_file(tmp_path / "a.npy")


def test_an_old_matlab_file_is_told_how_to_save_it(tmp_path):
    savemat(tmp_path / "a.mat", {"betas": volume()})
    with pytest.raises(DataCorruptError, match=r"option '-v7\.3'"):
        open_beta_file(tmp_path / "a.mat")


@pytest.mark.parametrize("suffix", [".hdf5", ".mat", ".nii", ".nii.gz", ".mgh", ".npy"])
def test_a_file_of_another_kind_is_damage(tmp_path, suffix):
    for content in (b"", b"\x00" * 500, b"<html>not found</html>" * 50):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        with pytest.raises(DataCorruptError, match="not a readable"):
            open_beta_file(path)
    other = tmp_path / "b.npy"
    np.save(other, volume())
    if suffix != ".npy":
        shutil.copy(other, path)
        with pytest.raises(DataCorruptError, match="not a readable"):
            open_beta_file(path)
