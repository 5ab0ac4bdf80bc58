"""Regions and tuning of simulated brains."""

import numpy as np
import pytest
from nilearn.datasets import load_fsaverage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_loaders.simulated_atlas import (
    FAMILY_LABELS,
    N_VERTICES,
    atlas_labels,
    cortical_meshes,
    eccentricity_labels,
    place_discs,
    place_early_areas,
)
from data_loaders.simulated_brain import (
    SimulatedBrain,
    draw_cortex,
    preferred_categories,
)
from data_loaders.simulated_places import (
    native_meshes,
    native_places,
    surface_places,
    volume_places,
)

CATEGORIES = ("body", "face", "object", "place", "word")
HALVES = ("lh", "rh")


@pytest.fixture(scope="module")
def cortex():
    return draw_cortex(SimulatedBrain(), "subj01", CATEGORIES, seed=3)


def labels_of(family, half):
    if family == "prf-visualrois":
        return place_early_areas(half).area
    if family == "prf-eccrois":
        return eccentricity_labels(place_early_areas(half).eccentricity_deg)
    if family.startswith("floc"):
        return place_discs(family, half)
    return atlas_labels(family, half)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("family", FAMILY_LABELS)
def test_every_label_has_vertices_in_both_hemispheres(family, half):
    found = set(np.unique(labels_of(family, half)))
    assert found == set(range(len(FAMILY_LABELS[family]) + 1))


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(
    "family", ["prf-visualrois", "floc-faces", "floc-places", "streams"]
)
def test_a_region_is_one_piece_of_cortex(family, half):
    side = {"lh": "left", "rh": "right"}[half]
    faces = load_fsaverage("fsaverage5")["pial"].parts[side].faces
    labels = labels_of(family, half)
    for number, name in enumerate(FAMILY_LABELS[family], start=1):
        inside = labels == number
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        edges = edges[inside[edges].all(axis=1)]
        shape = (N_VERTICES, N_VERTICES)
        graph = coo_array((np.ones(len(edges)), edges.T), shape=shape)
        _, piece = connected_components(graph, directed=False)
        sizes = np.bincount(piece[inside])
        assert sizes.max() >= 0.9 * inside.sum(), name


@pytest.mark.parametrize(
    ("family", "label", "low", "high"),
    [
        ("prf-visualrois", "V1v", (4, -100, -20), (24, -60, 8)),
        ("prf-visualrois", "V1d", (4, -100, -4), (24, -60, 22)),
        ("prf-visualrois", "hV4", (16, -90, -22), (40, -60, 2)),
        ("floc-faces", "FFA-2", (34, -58, -28), (50, -38, -10)),
        ("floc-places", "PPA", (18, -58, -20), (38, -34, 0)),
        ("floc-bodies", "EBA", (38, -82, -8), (58, -58, 16)),
        ("Kastner2015", "FEF", (20, -16, 38), (44, 8, 64)),
    ],
)
def test_regions_lie_where_the_literature_has_them(family, label, low, high):
    number = FAMILY_LABELS[family].index(label) + 1
    for half, side in zip(HALVES, (-1, 1), strict=True):
        inside = labels_of(family, half) == number
        centre = cortical_meshes()[half].middle[inside].mean(axis=0) * (side, 1, 1)
        assert (centre > low).all(), (half, centre)
        assert (centre < high).all(), (half, centre)


def test_nsdgeneral_and_the_retrosplenial_region_are_disjoint():
    rsc = FAMILY_LABELS["floc-places"].index("RSC") + 1
    for half in HALVES:
        overlap = (atlas_labels("nsdgeneral", half) > 0) & (
            place_discs("floc-places", half) == rsc
        )
        assert not overlap.any()
        share = atlas_labels("nsdgeneral", half).mean()
        assert 0.08 < share < 0.16  # 0.12 of fsaverage in the data


def test_each_half_sees_the_opposite_side_and_dorsal_parts_the_lower_field(cortex):
    early = cortex.vertices[cortex.vertices["prf-visualrois"] > 0]
    outside = early["rf_x_deg"].where(early["hemisphere"] == "lh", -early["rf_x_deg"])
    assert (outside >= 0).all()
    names = np.array(["", *FAMILY_LABELS["prf-visualrois"]])[early["prf-visualrois"]]
    ventral = np.isin(names, ["V1v", "V2v", "V3v"])
    dorsal = np.isin(names, ["V1d", "V2d", "V3d"])
    assert (early["rf_y_deg"][ventral] <= 0).all()  # y points down
    assert (early["rf_y_deg"][dorsal] >= 0).all()
    hv4 = early["rf_y_deg"][names == "hV4"]
    assert hv4.min() < 0 < hv4.max()


def test_receptive_fields_grow_with_eccentricity_and_from_area_to_area(cortex):
    early = cortex.vertices[cortex.vertices["prf-visualrois"] > 0]
    eccentricity = np.hypot(early["rf_x_deg"], early["rf_y_deg"])
    medians = []
    for areas in ((1, 2), (3, 4), (5, 6), (7,)):
        inside = early["prf-visualrois"].isin(areas)
        r = np.corrcoef(eccentricity[inside], early["rf_size_deg"][inside])[0, 1]
        assert r > 0.6
        at_one = inside & eccentricity.between(0.5, 1.5)
        medians.append(early["rf_size_deg"][at_one].median())
    assert medians == sorted(medians)
    assert medians[-1] > 2 * medians[0]


def test_polar_angle_turns_back_at_the_borders_of_areas():
    early = place_early_areas("lh")
    sphere = cortical_meshes()["lh"].sphere

    def at_border(first, second):
        a, b = (np.flatnonzero(early.area == n) for n in (first, second))
        distance = np.arccos(np.clip(sphere[a] @ sphere[b].T / 1e4, -1, 1))
        near = a[distance.min(axis=1) < 0.04]
        return np.abs(early.angle_deg[near]).mean()

    assert at_border(1, 2) < 25  # V1v and V1d meet at the horizontal meridian
    assert at_border(1, 3) > 65  # V1v and V2v at the vertical one
    assert at_border(3, 5) < 35  # V2v and V3v at the horizontal one
    assert at_border(2, 4) > 65


def test_category_regions_prefer_their_category_and_families_overlap(cortex):
    table = cortex.vertices
    expected = {"faces": "face", "bodies": "body", "places": "place", "words": "word"}
    others = [f"floc-{k}" for k in expected]
    for kind, category in expected.items():
        family = f"floc-{kind}"
        rest = [f for f in others if f != family]
        alone = (table[family] > 0) & (table[rest] == 0).all(axis=1)
        assert (table["preferred_category"][alone] == category).all()
    assert ((table["floc-faces"] > 0) & (table["floc-bodies"] > 0)).sum() > 10
    none = (table[others] == 0).all(axis=1)
    assert table["preferred_category"][none].isna().all()
    assert (cortex.weights[none] == 0).all()


def test_only_retinotopic_and_selective_vertices_have_a_signal(cortex):
    table = cortex.vertices
    families = ["prf-visualrois", *(f"floc-{k}" for k in ("faces", "bodies"))]
    families += ["floc-places", "floc-words"]
    expected = (table[families] > 0).any(axis=1)
    assert ((table["ncsnr"] > 0) == expected).all()
    assert table["ncsnr"][expected].between(0.2, 1).all()
    assert table["rf_x_deg"].notna().equals(expected)


def test_a_subject_is_drawn_from_its_name_and_the_seed_alone(cortex):
    again = draw_cortex(SimulatedBrain(), "subj01", CATEGORIES, seed=3)
    assert again.vertices.equals(cortex.vertices)
    assert np.array_equal(again.weights, cortex.weights)
    for subject, seed in (("subj02", 3), ("subj01", 4)):
        other = draw_cortex(SimulatedBrain(), subject, CATEGORIES, seed=seed)
        moved = other.vertices["floc-faces"] != cortex.vertices["floc-faces"]
        assert moved.any()
        assert other.vertices["streams"].equals(cortex.vertices["streams"])


def test_categories_without_a_known_name_stand_in():
    brain = SimulatedBrain()
    found = preferred_categories(brain, ["airplane", "cat", "dog", "ship", "truck"])
    assert len({names for names in found.values()}) == 4
    assert preferred_categories(brain, ["Face", "cat"])["faces"] == ("Face",)
    one = preferred_categories(brain, ["cat"])
    assert set(one.values()) == {("cat",)}
    mine = SimulatedBrain(preferred={"faces": ("cat", "dog")})
    assert preferred_categories(mine, ["cat", "dog", "ship"])["faces"] == ("cat", "dog")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ncsnr": -0.1}, "`ncsnr` must be within"),
        ({"ncsnr": (0.5, 0.2)}, "`ncsnr` must be within"),
        ({"drift_share": 1.5}, "`drift_share` must be within"),
        ({"relative_ncsnr": {"b9": 1.2}}, r"`relative_ncsnr\['b9'\]` must be within"),
        ({"preferred": {"cars": ("car",)}}, "`preferred` must be one of"),
        ({"noise_percent": 0.0}, "`noise_percent` must be within"),
    ],
)
def test_parameters_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SimulatedBrain(**arguments)


# ------------------------------------------------------------------ places


def test_the_affine_puts_cortical_voxels_onto_cortex():
    places = volume_places("func1pt8mm", (30, 34, 28))
    flat = np.flatnonzero(places.vertex >= 0)
    units = places.space.locate(flat)
    centre = units[["x", "y", "z"]].to_numpy() @ places.affine[:3, :3].T
    centre += places.affine[:3, 3]
    middle = np.concatenate([m.middle for m in cortical_meshes().values()])
    away = np.linalg.norm(centre - middle[places.vertex[flat]], axis=1)
    size = np.linalg.norm(np.diag(places.affine)[:3])
    assert away.max() <= size / 2
    assert places.in_brain[flat].all()
    assert 0.3 < places.in_brain.mean() < 0.7
    # Every vertex lies inside the grid, and nearly each has a cortical voxel.
    index = (middle - places.affine[:3, 3]) / np.diag(places.affine)[:3]
    assert (index > 0.5).all()
    assert (index < np.array([30, 34, 28]) - 1.5).all()
    nearest = np.ravel_multi_index(
        np.rint(index).astype(int).T, places.space.shape, order="F"
    )
    assert (places.vertex[nearest] >= 0).mean() > 0.99


def test_small_meshes_are_the_beginning_of_fsaverage5_and_large_ones_repeat_it():
    small = surface_places("fsaverage", (642, 700))
    assert small.vertex[:642].tolist() == list(range(642))
    assert small.vertex[642:].tolist() == list(range(N_VERTICES, N_VERTICES + 700))
    large = surface_places("fsaverage", (N_VERTICES + 2, 642))
    assert large.vertex[N_VERTICES : N_VERTICES + 3].tolist() == [0, 1, N_VERTICES]


def test_native_surfaces_match_fsaverage_both_ways():
    n_vertices = (500, 642)
    meshes = native_meshes(n_vertices, "subj01", seed=0)
    fsaverage = surface_places("fsaverage", n_vertices)
    native = native_places(fsaverage, meshes)
    for half, n in zip(HALVES, n_vertices, strict=True):
        mesh = meshes[half]
        assert len(mesh.from_fsaverage) > n
        assert (mesh.from_fsaverage[mesh.to_fsaverage] == np.arange(n)).all()
        back = native.vertex[native.parts[half]][mesh.to_fsaverage]
        assert (back == fsaverage.vertex[fsaverage.parts[half]]).all()
    other = native_meshes(n_vertices, "subj02", seed=0)
    assert len(other["lh"].from_fsaverage) != len(meshes["lh"].from_fsaverage)
