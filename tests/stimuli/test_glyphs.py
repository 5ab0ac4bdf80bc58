"""Glyphs have the size, the strokes and the forms that they should have."""

import hashlib

import numpy as np
import pytest

from stimuli.display import coverage
from stimuli.glyphs import (
    GLYPHS,
    LATTICE,
    SLOAN_LETTERS,
    draw_glyph,
    glyph_cells,
    glyph_coverage,
    glyph_outlines,
    stroke_outlines,
    union_coverage,
)
from stimuli.outlines import rectangle


@pytest.mark.parametrize("px_per_deg", [20.0, 32.0, 74.2])
@pytest.mark.parametrize("name", sorted(GLYPHS))
def test_glyphs_fill_their_box_at_any_scale(name, px_per_deg):
    height = 1.0
    cover = glyph_coverage(name, height, (120, 130), px_per_deg)
    rows, columns = (np.flatnonzero(cover.max(axis=k) > 0) for k in (1, 0))
    for places in (rows, columns):
        assert abs(np.ptp(places) + 1 - height * px_per_deg) <= 2
    # Half a pixel of coverage at both edges is within one pixel of the height.
    extents = [cover.max(axis=k)[cover.max(axis=k) > 0].sum() for k in (1, 0)]
    assert np.abs(np.array(extents) - height * px_per_deg).max() <= 1


def test_strokes_are_a_fifth_of_the_height():
    display = draw_glyph("T", height_deg=1.0, px_per_deg=50)
    mask = display.masks["glyph"]
    assert mask[-30].sum() == 10  # the stem
    assert mask[:, 30].sum() == 10  # the bar
    assert display.geometry["stroke_deg"] == 0.2
    # Bar and stem: 1 x 0.2 and 0.2 x 0.8 square degrees.
    ink = (0.5 - display.image).sum() / 0.5 / 50**2
    assert ink == pytest.approx(0.36, abs=1e-6)


def test_curved_letters_have_the_area_of_their_outline():
    # A closed ring of 4 straight and 4 oblique pieces with round corners: its area is
    # about length times thickness.
    cover = glyph_coverage("O", 1.0, (200, 200), 100)
    length = (4 * 2 + 4 * np.sqrt(2)) / LATTICE
    assert cover.sum() / 100**2 == pytest.approx(length / LATTICE, rel=0.01)


def test_all_glyphs_differ_from_each_other():
    covers = {name: glyph_coverage(name, 1.0, (40, 40), 32) for name in GLYPHS}
    names = sorted(covers)
    for i, first in enumerate(names):
        for second in names[:i]:
            assert np.abs(covers[first] - covers[second]).sum() > 15, (first, second)
    cells = {glyph_cells(name).tobytes() for name in SLOAN_LETTERS}
    assert len(cells) == len(SLOAN_LETTERS) == 10


def test_digits_2_and_5_are_mirror_images():
    two, five = (glyph_coverage(name, 1.0, (64, 64), 50) for name in "25")
    np.testing.assert_allclose(two, five[:, ::-1], atol=1e-12)


def test_turning_a_glyph_turns_its_picture():
    upright = glyph_coverage("L", 1.0, (64, 64), 40)
    turned = glyph_coverage("L", 1.0, (64, 64), 40, angle_deg=90)
    np.testing.assert_allclose(turned, np.rot90(upright), atol=0.02)


def test_moving_a_glyph_by_pixels_moves_its_picture():
    here = glyph_coverage("S", 0.6, (60, 80), 32)
    there = glyph_coverage("S", 0.6, (60, 80), 32, x_deg=10 / 32, y_deg=-5 / 32)
    np.testing.assert_allclose(there, np.roll(here, (5, 10), (0, 1)), atol=0.01)


def test_parts_beyond_the_picture_are_cut_off():
    whole = glyph_coverage("H", 2.0, (80, 80), 32)
    part = glyph_coverage("H", 2.0, (40, 40), 32)
    np.testing.assert_allclose(part, whole[20:60, 20:60], atol=1e-12)
    assert glyph_coverage("H", 1.0, (32, 32), 32, x_deg=9.0).max() == 0


def test_the_union_of_outlines_is_their_largest_coverage():
    outlines = [rectangle(0.5, 0.2, angle_deg=30), rectangle(0.2, 0.6, x_deg=0.1)]
    single = [coverage(outline, (40, 50), 32) for outline in outlines]
    np.testing.assert_array_equal(
        union_coverage(outlines, (40, 50), 32), np.maximum(*single)
    )
    assert union_coverage([], (4, 5), 32).shape == (4, 5)


def test_right_angles_of_strokes_are_square_and_others_round():
    corner = stroke_outlines([((0, 0), (2, 0), (2, 2))], 1.0)
    assert len(corner) == 2  # no joint
    assert union_coverage(corner, (60, 60), 10)[24:26, 34:36].min() == 0
    oblique = stroke_outlines([((0, 0), (2, 2))], 1.0)
    assert len(oblique) == 3  # round at both ends


@pytest.mark.parametrize("n", [5, 7, 9])
def test_cells_of_symmetric_glyphs_are_symmetric(n):
    for name in "HOTVX+":
        cells = glyph_cells(name, n)
        assert (cells == cells[:, ::-1]).all(), name
    for name in "HOX+NSZ":
        cells = glyph_cells(name, n)
        assert (cells == cells[::-1, ::-1]).all(), name
    assert glyph_cells("H", n).sum() == 3 * n - 2


def test_luminance_is_as_asked():
    display = draw_glyph("H", luminance=0.2, background=0.7, height_deg=1.0)
    assert display.image.min() == pytest.approx(0.2)
    assert display.image.max() == 0.7


def test_pictures_of_glyphs_stay_the_same():
    rounded = np.round(
        [glyph_coverage(name, 1.0, (36, 36), 32.5) for name in sorted(GLYPHS)], 3
    )
    digest = hashlib.sha256(
        np.ascontiguousarray(rounded * 1000).astype("<i4")
    ).hexdigest()
    assert digest[:16] == "db87330c975d29ab"


def test_wrong_glyphs_are_refused():
    with pytest.raises(ValueError, match=r"`name` must be one of .*got 'h'"):
        glyph_outlines("h", 1.0)
    with pytest.raises(ValueError, match="`height_deg` must be within"):
        glyph_outlines("H", 0.0)
    with pytest.raises(ValueError, match="`n` must be within"):
        glyph_cells("H", 2)
    with pytest.raises(ValueError, match="`luminance` must be within"):
        draw_glyph("H", luminance=1.2)
