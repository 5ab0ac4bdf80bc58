"""Lattices, brackets, regions and owned edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimuli.bracket_search import draw_bracket_search, make_bracket_search
from stimuli.convex_regions import draw_convex_regions, make_convex_regions
from stimuli.dot_lattices import draw_dot_lattice, draw_stripes, make_dot_lattices
from stimuli.figure_ground import (
    draw_lower_region,
    draw_owned_edge,
    make_lower_regions,
    make_owned_edges,
)

# --------------------------------------------------------------------- lattices


@settings(max_examples=20)
@given(st.floats(1, 1.5), st.floats(0, 180))
def test_dots_are_nearest_along_a_and_the_density_does_not_change(aspect, angle):
    geometry = draw_dot_lattice(aspect, orientation_deg=angle, px_per_deg=4).geometry
    assert geometry["b_deg"] / geometry["a_deg"] == pytest.approx(aspect)
    assert geometry["a_deg"] * geometry["b_deg"] == pytest.approx(0.64)
    points = np.column_stack([geometry["x_deg"], geometry["y_deg"]])
    apart = points[:, None] - points[None]
    lengths = np.hypot(apart[..., 0], apart[..., 1])
    lengths[np.diag_indices(len(points))] = np.inf
    assert lengths.min() == pytest.approx(geometry["a_deg"], rel=1e-6)
    assert len(points) == pytest.approx(math.pi * 3.2**2 / 0.64, rel=0.12)
    if aspect > 1.01:
        i, j = np.unravel_index(lengths.argmin(), lengths.shape)
        way = math.degrees(math.atan2(apart[i, j, 1], apart[i, j, 0]))
        assert abs((way - angle + 90) % 180 - 90) < 1e-4


@pytest.mark.parametrize("px_per_deg", [20.0, 40.0])
def test_dots_have_their_area_and_luminance(px_per_deg):
    display = draw_dot_lattice(1.2, contrast=0.8, px_per_deg=px_per_deg)
    assert display.image.min() == pytest.approx(0.1)
    area = float((0.5 - display.image).sum() / 0.4 / px_per_deg**2)
    n = len(display.geometry["x_deg"])
    assert area / n == pytest.approx(math.pi * 0.12**2, rel=0.01)


def test_similarity_changes_every_second_column_only():
    plain = draw_dot_lattice(1.2)
    light = draw_dot_lattice(1.2, similarity="luminance", difference=0.5)
    square = draw_dot_lattice(1.2, similarity="shape", difference=1)
    column = plain.geometry["column"]
    for k, (x, y) in enumerate(
        zip(plain.geometry["x_deg"], plain.geometry["y_deg"], strict=True)
    ):
        row, col = int(112 - y * 32), int(x * 32 + 112)
        assert plain.image[row, col] == 0
        assert light.image[row, col] == pytest.approx(0.25 if column[k] % 2 else 0)
    assert square.image.mean() == pytest.approx(plain.image.mean(), abs=2e-4)
    assert (square.image != plain.image).any()


def test_stripes_have_equal_ink_in_every_direction():
    means = [draw_stripes(angle).image.mean() for angle in (0, 30, 90)]
    assert 0.5 - np.array(means) == pytest.approx(0.5 - means[0], rel=0.01)
    image = draw_stripes(0.0, spacing_deg=1.0).image
    assert image[112, 112] < 0.3
    assert image[112 + 16, 112] == 0.5


def test_lattices_are_reproducible_and_faults_are_told():
    first, again, other = (
        make_dot_lattices(aspects=(1.3,), n_lattices=2, seed=s, px_per_deg=8)
        for s in (0, 0, 1)
    )
    assert first.fingerprint == again.fingerprint != other.fingerprint
    with pytest.raises(ValueError, match="overlap"):
        draw_dot_lattice(1.2, dot_radius_deg=0.4)
    with pytest.raises(ValueError, match="aspect"):
        draw_dot_lattice(0.8)
    with pytest.raises(ValueError, match="leave the picture"):
        draw_dot_lattice(aperture_deg=7.0)


# --------------------------------------------------------------------- brackets


@pytest.mark.parametrize("n_items", [2, 5, 8])
def test_items_do_not_overlap_and_one_differs(n_items):
    display = draw_bracket_search(n_items, target=1)
    cells = np.array([display.masks[f"item {k}"] for k in range(n_items)])
    assert cells.sum(axis=0).max() == 1
    ink = display.image < 0.49
    assert not (ink & ~cells.any(axis=0)).any()
    tall = []
    for cell in cells:
        rows, columns = np.nonzero(ink & cell)
        tall.append(np.ptp(rows) > np.ptp(columns))
    assert tall == [k == 1 for k in range(n_items)]


def test_closed_and_open_outlines_have_the_same_ink_extent_and_place():
    closed, open_ = (draw_bracket_search(6, closed=c) for c in (True, False))
    inks = [float((0.5 - display.image).sum()) for display in (closed, open_)]
    assert inks[0] == pytest.approx(inks[1], rel=0.005)
    for name, cell in closed.masks.items():
        np.testing.assert_array_equal(cell, open_.masks[name])
        spans = []
        for display in (closed, open_):
            rows, columns = np.nonzero((display.image < 0.49) & cell)
            spans.append((rows.min(), rows.max(), columns.min(), columns.max()))
        assert np.abs(np.subtract(*spans)).max() <= 1


def test_the_gap_is_as_wide_as_stated():
    for closed in (True, False):
        display = draw_bracket_search(
            2, closed=closed, gap_deg=0.3, item_deg=(1.0, 1.4), px_per_deg=40
        )
        rows, columns = np.nonzero((display.image < 0.3) & display.masks["item 0"])
        row = rows.min() + 1 if closed else (rows.min() + rows.max()) // 2
        line = display.image[row, columns.min() : columns.max() + 1]
        gap = max(len(part) for part in "".join("x" if v < 0.3 else " " for v in line)
                  .strip().split("x"))  # fmt: skip
        assert gap / 40 == pytest.approx(0.3, abs=2 / 40)


def test_bracket_displays_are_reproducible_and_faults_are_told():
    stimuli = make_bracket_search(set_sizes=(4,), n_displays=2, px_per_deg=8)
    again = make_bracket_search(set_sizes=(4,), n_displays=2, px_per_deg=8)
    assert stimuli.fingerprint == again.fingerprint
    places = stimuli.table.groupby("display")[["target", "seed"]].nunique()
    assert (places == 1).all(axis=None)  # closed and open alike
    with pytest.raises(ValueError, match="overlap"):
        draw_bracket_search(8, item_deg=(1.0, 1.5))
    with pytest.raises(ValueError, match="gap_deg"):
        draw_bracket_search(gap_deg=0.6)


# ---------------------------------------------------------------------- regions


@pytest.mark.parametrize("n", [2, 4, 8])
@pytest.mark.parametrize("px_per_deg", [20.0, 32.0])
def test_regions_have_equal_areas_and_stated_luminances(n, px_per_deg):
    display = draw_convex_regions(n, px_per_deg=px_per_deg)
    areas = [display.masks[k].sum() / px_per_deg**2 for k in ("convex", "concave")]
    assert areas == pytest.approx([6.4 * 4.8 / 2] * 2, rel=0.02)
    assert not (display.masks["convex"] & display.masks["concave"]).any()
    inner = display.image[round(1.3 * px_per_deg) : -round(1.3 * px_per_deg)]
    assert {0.3, 0.7} <= set(np.round(inner, 6).ravel())


def test_convex_regions_are_convex_lobes():
    display = draw_convex_regions(4, n_lobes=1, convex_first=False)
    convex = display.masks["convex"]
    # Halves of lines between points of one lobe stay inside of it.
    columns = np.flatnonzero(convex.any(axis=0))
    split = np.flatnonzero(np.diff(columns) > 1)
    lobe = convex.copy()
    lobe[:, columns[split[0]] + 1 if len(split) else -1 :] = False
    rows, cols = np.nonzero(lobe)
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, len(rows), (2000, 2))
    middle = [np.rint(v[pairs].mean(axis=1)).astype(int) for v in (rows, cols)]
    assert lobe[tuple(middle)].mean() > 0.99


def test_heterogeneous_regions_keep_the_mean_of_their_kind():
    geometry = draw_convex_regions(8, colour="heterogeneous").geometry
    convex, level = geometry["convex"], geometry["luminance"]
    assert level[convex].mean() == pytest.approx(0.7)
    assert level[~convex].mean() == pytest.approx(0.3)
    assert len(set(level.round(6))) == 8


def test_sets_of_regions_balance_contrast_and_are_reproducible():
    sets = [make_convex_regions(numbers=(4,), n_displays=4, px_per_deg=8, seed=s)
            for s in (0, 0, 1)]  # fmt: skip
    assert sets[0].fingerprint == sets[1].fingerprint != sets[2].fingerprint
    table = sets[0].table
    assert table["convex_light"].mean() == table["convex_first"].mean() == 0.5
    assert (table.groupby(["colour", "display"])["convex_light"].nunique() == 2).all()


def test_lower_and_upper_region_have_one_shape():
    display = draw_lower_region(seed=4)
    np.testing.assert_array_equal(
        display.masks["lower"], display.masks["upper"][::-1, ::-1]
    )
    assert display.image[display.masks["lower"]].max() == pytest.approx(0.7)
    assert display.image[40, 112] == pytest.approx(0.3)
    flipped = draw_lower_region(seed=4, lower_light=False)
    np.testing.assert_allclose(flipped.image + display.image, 1.0, atol=1e-9)
    assert display.masks["lower"].sum() / 32**2 == pytest.approx(12.5, rel=0.01)


def test_lower_regions_show_each_edge_in_both_contrasts():
    table = make_lower_regions(n_displays=4, px_per_deg=8).table
    assert table.groupby("display")["seed"].nunique().tolist() == [1, 1]
    assert table.groupby("display")["lower_light"].nunique().tolist() == [2, 2]


# ------------------------------------------------------------------ owned edges


@pytest.mark.parametrize("size", [1.5, 3.0])
@pytest.mark.parametrize("light", [True, False])
def test_the_same_edge_belongs_to_either_side(size, light):
    left, right = (
        draw_owned_edge(figure_left=side, light_left=light, figure_deg=size)
        for side in (True, False)
    )
    near = slice(112 - round(16 * size) + 1, 112 + round(16 * size) - 1)
    np.testing.assert_array_equal(left.image[near, near], right.image[near, near])
    assert left.masks["figure"].sum() / 32**2 == pytest.approx(size**2, rel=0.05)
    assert left.masks["figure"][112, 100]
    assert right.masks["figure"][112, 124]
    # Equal figures on equal grounds: the luminance of all four pictures is balanced.
    other = draw_owned_edge(figure_left=False, light_left=not light, figure_deg=size)
    assert left.image.mean() == pytest.approx(other.image.mean(), abs=1e-9)


def test_a_c_has_a_notch_of_a_sixth():
    areas = [
        draw_owned_edge(shape=shape, rotation_deg=30).masks["figure"].sum()
        for shape in ("square", "c")
    ]
    assert areas[1] / areas[0] == pytest.approx(5 / 6, rel=0.01)


def test_owned_edges_are_balanced_reproducible_and_checked():
    first, again = (make_owned_edges(n_displays=2, px_per_deg=8) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    counts = first.table.groupby(["figure_deg", "figure_left", "light_left"]).size()
    assert set(counts) == {2}
    with pytest.raises(ValueError, match="leaves the picture"):
        draw_owned_edge(figure_deg=4.0)
    with pytest.raises(ValueError, match="every factor"):
        make_owned_edges(figures_deg=())
