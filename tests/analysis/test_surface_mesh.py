"""fsaverage5 and the ways onto it."""

import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.surface import InMemoryMesh, vol_to_surf

from analysis.surface_mesh import (
    MNI305_TO_MNI152,
    N_VERTICES,
    load_cortex,
    region_outlines,
    to_fsaverage5,
    volume_to_fsaverage5,
)
from neurovis.core.brain_space import SurfaceSpace, VolumeSpace

FSAVERAGE = SurfaceSpace("fsaverage", (163_842, 163_842))


@pytest.fixture(scope="module")
def cortex():
    return load_cortex()


@pytest.mark.parametrize("hemisphere", ["lh", "rh"])
def test_the_meshes_are_closed_spheres_whose_faces_look_outwards(cortex, hemisphere):
    mesh = cortex[hemisphere]
    assert mesh.faces.shape == (20_480, 3)
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    n_edges = len(np.unique(edges, axis=0))
    assert N_VERTICES - n_edges + len(mesh.faces) == 2
    for name in ("pial", "white", "inflated", "sphere"):
        corners = mesh.surfaces[name][mesh.faces].astype(float)
        # The volume of an outward oriented closed surface is positive.
        volume = np.einsum(
            "ij,ij->", corners[:, 0], np.cross(*corners[:, 1:].swapaxes(0, 1))
        )
        assert volume / 6 > 1e5, name


def test_left_is_left_and_the_occipital_pole_is_at_the_back(cortex):
    left, right = cortex.lh.surfaces["pial"], cortex.rh.surfaces["pial"]
    assert left[:, 0].mean() < -25
    assert right[:, 0].mean() > 25
    for mesh in (cortex.lh, cortex.rh):
        pole = mesh.surfaces["pial"][:, 1].argmin()
        assert mesh.surfaces["inflated"][pole, 1] < -90


@pytest.mark.parametrize("hemisphere", ["lh", "rh"])
@pytest.mark.parametrize(
    ("n", "edge"), [(12, 105.146), (42, 54.653), (162, 27.5), (642, 13.8), (2562, 6.9)]
)
def test_the_first_vertices_are_those_of_coarser_icosahedra(
    cortex, hemisphere, n, edge
):
    sphere = cortex[hemisphere].surfaces["sphere"].astype(float)[:n]
    away = np.linalg.norm(sphere[:, None] - sphere[None], axis=2)
    nearest = (away + 1e3 * np.eye(n)).min(axis=1)
    assert nearest.min() == pytest.approx(edge, rel=0.005)
    assert nearest.max() < 1.19 * edge


def test_sulcal_depth_is_above_zero_in_the_calcarine_and_below_on_a_gyrus(cortex):
    # MNI305: depth of the calcarine sulcus; crown of the precentral gyrus.
    pial = cortex.lh.surfaces["pial"]
    for place, sign in [((-18, -68, 6), 1), ((-40, -14, 64), -1)]:
        near = np.linalg.norm(pial - place, axis=1) < 6
        assert sign * np.median(cortex.lh.sulcal_depth[near]) > 0.3


def test_the_arrays_cannot_be_written_to(cortex):
    with pytest.raises(ValueError, match="read-only"):
        cortex.lh.surfaces["pial"][0, 0] = 1


def test_an_unknown_hemisphere_is_refused(cortex):
    with pytest.raises(ValueError, match="'lh', 'rh'"):
        cortex["left"]


def test_loading_needs_no_network_and_makes_no_cache_folder(tmp_path):
    code = (
        "import socket\n"
        "def refuse(*_): raise OSError('network')\n"
        "socket.socket.connect = refuse\n"
        "from analysis.surface_mesh import load_cortex\n"
        "assert load_cortex().rh.sulcal_depth.shape == (10242,)\n"
    )
    home = {**os.environ, "HOME": str(tmp_path), "NILEARN_DATA": str(tmp_path / "data")}
    subprocess.run([sys.executable, "-c", code], check=True, env=home)
    left = {p.name for p in tmp_path.iterdir()}
    assert not {n for n in left if "nilearn" in n or n == "data"}


@pytest.mark.parametrize("n", [163_842, 40_962, 10_242])
def test_finer_meshes_give_their_first_vertices(n):
    space = SurfaceSpace("fsaverage", (n, n))
    maps = {"lh": np.arange(n), "rh": np.arange(n) + 0.5}
    moved = to_fsaverage5(maps, space)
    assert moved["lh"].tolist() == list(range(10_242))
    assert moved["rh"][-1] == 10_241.5
    assert moved["lh"].dtype == maps["lh"].dtype


@pytest.mark.parametrize("n", [642, 2562])
def test_coarser_meshes_give_the_nearest_vertex(cortex, n):
    space = SurfaceSpace("fsaverage", (n, n))
    moved = to_fsaverage5({h: np.arange(n) for h in ("lh", "rh")}, space)
    for h, values in moved.items():
        sphere = cortex[h].surfaces["sphere"].astype(float)
        assert values[:n].tolist() == list(range(n))
        for vertex in range(n, N_VERTICES, 397):
            away = np.linalg.norm(sphere[:n] - sphere[vertex], axis=1)
            assert away[values[vertex]] == pytest.approx(away.min(), abs=1e-4)


def test_undefined_values_stay_undefined_and_one_hemisphere_may_come_alone():
    values = np.zeros(2562)
    values[7] = np.nan
    moved = to_fsaverage5({"rh": values}, SurfaceSpace("fsaverage4", (2562, 2562)))
    assert list(moved) == ["rh"]
    assert np.isnan(moved["rh"][7])
    assert 4 <= np.isnan(moved["rh"]).sum() <= 8


@pytest.mark.parametrize(
    ("name", "n"),
    [("nativesurface", 2562), ("fsaverage", 227_021), ("fsaverage", 19_004)],
)
def test_other_meshes_are_refused_with_advice(name, n):
    maps = {"lh": np.zeros(n)}
    with pytest.raises(ValueError, match="must first be moved to fsaverage"):
        to_fsaverage5(maps, SurfaceSpace(name, (n, n)))


def test_volumes_and_wrong_lengths_are_refused():
    with pytest.raises(TypeError, match="volume_to_fsaverage5"):
        to_fsaverage5({"lh": np.zeros(8)}, VolumeSpace("func1pt8mm", (2, 2, 2)))
    with pytest.raises(ValueError, match=r"maps\['rh'\].*\(163842\)|163842"):
        to_fsaverage5({"rh": np.zeros(10_242)}, FSAVERAGE)


# ------------------------------------------------------------------ volumes

AFFINE = np.array([[-3.0, 0, 0, 90], [0, 3, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1]])
SHAPE = (61, 73, 61)


def millimetres(axis):
    """A volume whose values are its own millimetres along one axis."""
    index = np.indices(SHAPE).reshape(3, -1)
    return (AFFINE[:3, :3] @ index + AFFINE[:3, 3:])[axis].reshape(SHAPE)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_linear_field_is_sampled_exactly_half_way_through_cortex(cortex, axis):
    moved = volume_to_fsaverage5(
        millimetres(axis), AFFINE, template="mni305", cortex=cortex
    )
    for h, values in moved.items():
        surfaces = cortex[h].surfaces
        middle = (surfaces["white"].astype(float) + surfaces["pial"]) / 2
        np.testing.assert_allclose(values, middle[:, axis], atol=1e-4)


def test_places_of_fsaverage_are_moved_to_those_of_mni152(cortex):
    moved = volume_to_fsaverage5(millimetres(2), AFFINE, cortex=cortex)
    surfaces = cortex.rh.surfaces
    middle = (surfaces["white"].astype(float) + surfaces["pial"]) / 2
    expected = middle @ MNI305_TO_MNI152[2, :3] + MNI305_TO_MNI152[2, 3]
    np.testing.assert_allclose(moved["rh"], expected, atol=1e-4)


def test_the_step_to_mni152_inverts_the_published_step_back():
    # FreeSurfer's documentation gives both matrices, and one worked example of each.
    back = np.array(
        [
            [1.0022, 0.0071, -0.0177, 0.0528],
            [-0.0146, 0.9990, 0.0027, -1.5519],
            [0.0129, 0.0094, 1.0027, -1.2012],
            [0, 0, 0, 1],
        ]
    )
    np.testing.assert_allclose(MNI305_TO_MNI152 @ back, np.eye(4), atol=2e-3)
    example = MNI305_TO_MNI152 @ [10, -20, 35, 1]
    np.testing.assert_allclose(example[:3], [10.695, -18.409, 36.137], atol=0.004)


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
@pytest.mark.parametrize("undefined", [0, 0.02])
def test_samples_equal_those_of_nilearn(cortex, undefined):
    rng = np.random.default_rng(0)
    volume = rng.normal(size=SHAPE)
    volume[rng.random(SHAPE) < undefined] = np.nan
    moved = volume_to_fsaverage5(volume, AFFINE, template="mni305", cortex=cortex)
    for h in ("lh", "rh"):
        surfaces = cortex[h].surfaces
        faces = np.array(cortex[h].faces)
        outer, inner = (
            InMemoryMesh(np.array(surfaces[s], float), faces) for s in ("pial", "white")
        )
        expected = vol_to_surf(
            nib.Nifti1Image(volume, AFFINE),
            outer,
            inner_mesh=inner,
            interpolation="linear",
            depth=[0, 0.25, 0.5, 0.75, 1],
        )
        np.testing.assert_allclose(moved[h], expected, atol=1e-5)


def test_labels_are_never_mixed(cortex):
    labels = np.random.default_rng(1).choice([-1.0, 0, 3, 18], SHAPE)
    moved = volume_to_fsaverage5(labels, AFFINE, interpolation="nearest", cortex=cortex)
    assert set(np.unique(np.concatenate(list(moved.values())))) == {-1, 0, 3, 18}


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@given(seed=st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_undefined_voxels_never_become_a_number(cortex, interpolation, seed):
    rng = np.random.default_rng(seed)
    volume = np.full(SHAPE, 5.0)
    volume[rng.random(SHAPE) < 0.3] = np.nan
    moved = volume_to_fsaverage5(
        volume, AFFINE, interpolation=interpolation, cortex=cortex
    )
    values = np.concatenate(list(moved.values()))
    assert 0 < np.isnan(values).sum() < len(values)
    np.testing.assert_allclose(values[~np.isnan(values)], 5)


def test_cortex_outside_the_volume_is_undefined(cortex):
    cut = millimetres(0)[:, :50]
    moved = volume_to_fsaverage5(cut, AFFINE, template="mni305", cortex=cortex)
    y = cortex.lh.surfaces["pial"][:, 1]
    last_mm = AFFINE[1, 3] + 3 * 49.5
    assert np.isnan(moved["lh"][y > last_mm + 6]).all()
    assert not np.isnan(moved["lh"][y < last_mm - 6]).any()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"affine": np.eye(4)}, "native space"),
        ({"affine": np.zeros((4, 4))}, "cannot be inverted"),
        ({"volume": np.zeros((4, 4))}, "`volume` must have shape"),
        ({"template": "talairach"}, "'mni152', 'mni305'"),
        ({"interpolation": "cubic"}, "'linear', 'nearest'"),
        ({"n_depths": 0}, "n_depths"),
    ],
)
def test_volumes_elsewhere_and_unknown_options_are_refused(cortex, change, match):
    call = {"volume": np.zeros(SHAPE), "affine": AFFINE, **change}
    with pytest.raises(ValueError, match=match):
        volume_to_fsaverage5(**call, cortex=cortex)


# ------------------------------------------------------------------ regions


@pytest.fixture
def units():
    flat = [5, 6, 7, 163_842 + 5, 163_842 + 6, 163_842 + 100_000]
    table = FSAVERAGE.locate(flat)
    table["prf"] = ["V1v", "V1d", "", "V1v", "hV4", "hV4"]
    table["floc"] = ["", "FFA-1", "FFA-1", "", "hV4", None]
    return table


def test_regions_may_overlap_join_parts_and_miss_fsaverage5(units):
    masks = region_outlines(
        units, ["prf", "floc"], FSAVERAGE, ["V1", "FFA-1", "prf:hV4", "floc"]
    )
    found = {
        (name, h): np.flatnonzero(mask).tolist()
        for name, sides in masks.items()
        for h, mask in sides.items()
    }
    assert found == {
        ("V1", "lh"): [5, 6],
        ("V1", "rh"): [5],
        ("FFA-1", "lh"): [6, 7],
        ("FFA-1", "rh"): [],
        ("prf:hV4", "lh"): [],
        ("prf:hV4", "rh"): [6],
        ("floc", "lh"): [6, 7],
        ("floc", "rh"): [6],
    }
    assert all(m.dtype == bool for sides in masks.values() for m in sides.values())


def test_by_default_all_labels_are_outlined_and_ambiguous_ones_get_their_family(units):
    masks = region_outlines(units, ["prf", "floc"], FSAVERAGE)
    assert list(masks) == ["V1v", "V1d", "prf:hV4", "FFA-1", "floc:hV4"]


def test_unknown_regions_are_refused(units):
    with pytest.raises(KeyError, match="no region 'V1w'"):
        region_outlines(units, ["prf"], FSAVERAGE, ["V1w"])


def test_units_of_volumes_have_no_outline_on_the_surface():
    space = VolumeSpace("func1pt8mm", (2, 2, 2))
    units = space.locate([0, 1]).assign(prf=["V1v", ""])
    with pytest.raises(TypeError, match="SurfaceSpace"):
        region_outlines(pd.DataFrame(units), ["prf"], space)
