"""Verniers and the shapes around them have the stated sizes and do not touch."""

import json

import numpy as np
import pytest

from stimuli.vernier_flankers import draw_vernier, make_vernier_flankers
from stimuli.vernier_shapes import (
    SHAPES,
    check_grid,
    shape_outlines,
    vernier_configurations,
)

SHORT = {"bar_length_arcmin": 28.0}


@pytest.mark.parametrize("px_per_deg", [60.0, 100.0])
@pytest.mark.parametrize("offset", ["left", "right"])
def test_the_vernier_has_its_sizes_at_any_scale(offset, px_per_deg):
    display = draw_vernier(
        offset, (), offset_arcmin=12.0, size_deg=(2.0, 2.0), px_per_deg=px_per_deg
    )
    # Light per row and column, in pixels.
    upper, lower = np.split(display.image, 2)
    for bar in (upper, lower):
        assert bar.sum() == pytest.approx(
            40 / 60 * 1.8 / 60 * px_per_deg**2, rel=0.02, abs=0.5
        )
    x = np.arange(display.image.shape[1])
    step = (lower.sum(0) @ x - upper.sum(0) @ x) / upper.sum() / px_per_deg * 60
    assert step == pytest.approx(12 if offset == "right" else -12, abs=0.1)
    dark = np.flatnonzero(display.image.max(axis=1) == 0)
    gap = dark[(dark > len(x) // 4) & (dark < 3 * len(x) // 4)]
    assert abs(len(gap) - 4 / 60 * px_per_deg) <= 2


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("px_per_deg", [20.0, 47.0])
def test_shapes_fit_into_their_square(shape, px_per_deg):
    number = SHAPES.index(shape)
    display = draw_vernier(
        grid=((number,),), px_per_deg=px_per_deg, size_deg=(3.0, 3.0), **SHORT
    )
    lit = np.argwhere(display.image > 0.01)
    extent = np.ptp(lit, axis=0) + 1
    assert extent.max() <= 2.0 * px_per_deg + 2
    least = 1.2 if shape == "irregular" else 1.7
    assert extent.min() >= least * px_per_deg - 2


def test_lines_are_as_thick_as_stated():
    for shape in SHAPES[1:]:
        pieces, holes = shape_outlines(shape, 2.0, 0.1)
        assert len(pieces) >= 1
        assert np.abs(np.vstack(pieces)).max() <= 1.0 + 1e-3
    pieces, holes = shape_outlines("hexagon", 2.0, 0.1)
    # Distance of parallel sides.
    apothems = [part[0].max(axis=0)[1] for part in (pieces, holes)]
    assert apothems[0] - apothems[1] == pytest.approx(0.1, abs=1e-6)


def test_rows_are_centred_on_the_vernier_with_the_stated_spacing():
    display = draw_vernier(grid=((1, 1, 1, 1, 1),), px_per_deg=40)
    # The upright sides of five squares are ten columns that are lit all along.
    columns = display.image[display.image.shape[0] // 2 - 30]
    lit = np.flatnonzero(columns > 0.3)
    middles = [
        run.mean() for run in np.split(lit, np.flatnonzero(np.diff(lit) > 2) + 1)
    ]
    x = (np.array(middles) + 0.5 - display.image.shape[1] / 2) / 40
    sides = x[np.abs(x) > 0.5]
    wanted = [c + s * 0.985 for c in (-4.8, -2.4, 0, 2.4, 4.8) for s in (-1, 1)]
    np.testing.assert_allclose(sides, wanted, atol=0.02)


def test_vernier_and_flankers_never_overlap_in_any_configuration():
    for name, grid in vernier_configurations().items():
        if len(grid) == 1 and len(grid[0]) in (3, 5, 7) and name != "square_star_7":
            continue  # the middle is that of one shape
        display = draw_vernier(grid=grid, px_per_deg=24, offset_arcmin=6.0, **SHORT)
        if "flankers" in display.masks:
            both = display.masks["vernier"] & display.masks["flankers"]
            assert not both.any(), name


def test_configurations_are_those_of_the_batteries():
    found = vernier_configurations()
    assert found["vernier"] == ()
    assert found["square_7"] == ((1,) * 7,)
    assert found["square_star_7"] == ((6, 1, 6, 1, 6, 1, 6),)
    assert found["star_square_5"] == ((6, 1, 6, 1, 6),)
    assert found["square_circle_cross"][0] == (0, 0, 0, 1, 0, 0, 0)
    assert found["square_star_pompom"][0] == (6, 1, 6, 0, 6, 1, 6)
    for name, grid in found.items():
        assert check_grid(grid) == grid, name
        if name.startswith("square_star") and grid:
            assert grid[len(grid) // 2][len(grid[0]) // 2] == 1, name
    # One vernier, eight shapes in four rows, 42 pairs in two, two mixtures in six.
    assert len(found) == 1 + 8 * 4 + 7 * 6 * 2 + 2 * 6


def test_a_set_has_both_offsets_of_every_configuration():
    stimuli = make_vernier_flankers(offsets_arcmin=[2.0, 8.0])
    counts = stimuli.table.groupby(["condition", "offset_arcmin", "offset"]).size()
    assert set(counts) == {1}
    assert len(stimuli) == 8 * 2 * 2
    row = stimuli.table.iloc[-1]
    assert json.loads(row["grid"]) == [[8] * 7]
    again = make_vernier_flankers(offsets_arcmin=[2.0, 8.0])
    assert stimuli.load(5).tobytes() == again.load(5).tobytes()


def test_left_and_right_are_mirror_images():
    left, right = (draw_vernier(side, ((1,),)).image for side in ("left", "right"))
    np.testing.assert_allclose(left, right[:, ::-1], atol=0.02)
    assert np.abs(left - right).max() > 0.3


def test_irregular_shapes_depend_on_the_seed():
    first, again, other = (
        draw_vernier(grid=((7,),), seed=seed, **SHORT).image for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"touches the star of 2 deg around it"):
        make_vernier_flankers(["star_7"])
    with pytest.raises(ValueError, match=r"Shapes of 2 deg touch at a `spacing_deg`"):
        draw_vernier(spacing_deg=2.0)
    with pytest.raises(ValueError, match=r"take 34.4 x 2 deg .*view='target'"):
        draw_vernier(grid=((1,) * 7,), view="fixation")
    with pytest.raises(ValueError, match="odd number of rows"):
        draw_vernier(grid=((1, 1),))
    with pytest.raises(ValueError, match=r"must be one of .*Did you mean 'square_1'"):
        make_vernier_flankers(["squar_1"])
    assert (
        draw_vernier(
            view="fixation", size_deg=(24.0, 6.0), fixation_mark=True, px_per_deg=20
        ).image[60, 240]
        > 0.9
    )
