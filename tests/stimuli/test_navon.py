"""Navon figures: small letters on the lines of a large one."""

import numpy as np
import pytest
from scipy import ndimage

from stimuli.glyphs import glyph_cells, glyph_coverage
from stimuli.navon import draw_navon, make_navon


@pytest.mark.parametrize("px_per_deg", [20.0, 32.0, 51.3])
@pytest.mark.parametrize("pair", ["HT", "SX", "TH"])
def test_figures_are_as_high_as_stated_at_any_scale(pair, px_per_deg):
    display = draw_navon(*pair, px_per_deg=px_per_deg)
    lit = np.argwhere(display.image < 0.5)
    assert np.abs(np.ptp(lit, axis=0) + 1 - 5.0 * px_per_deg).max() <= 2.0


@pytest.mark.parametrize("n", [5, 6, 7])
@pytest.mark.parametrize("large", "HSTX")
def test_every_place_of_the_lattice_holds_one_small_letter(large, n):
    display = draw_navon(large, "O", n=n)
    _, count = ndimage.label(display.image < 0.5 - 1e-9, np.ones((3, 3)))
    assert count == glyph_cells(large, n).sum() == len(display.geometry["places"])
    assert display.geometry["spacing_deg"] == pytest.approx(4.55 / (n - 1))


def test_small_letters_are_the_small_letter():
    display = draw_navon("T", "H", n=5, px_per_deg=40)
    shape = display.image.shape
    x, y = display.geometry["places"][3]
    cover = glyph_coverage("H", 0.45, shape, 40, x_deg=x, y_deg=y)
    np.testing.assert_allclose(
        display.image[cover > 0], 0.5 * (1 - cover[cover > 0]), atol=1e-9
    )


def test_single_letters_are_the_letters_alone():
    large = draw_navon("S", "")
    cover = glyph_coverage("S", 5.0, large.image.shape, 32)
    np.testing.assert_allclose(large.image, 0.5 * (1 - cover))
    small = draw_navon("", "S", shift_x_deg=2.0)
    cover = glyph_coverage("S", 0.45, small.image.shape, 32, x_deg=2.0)
    np.testing.assert_allclose(small.image, 0.5 * (1 - cover))


def test_a_set_has_all_pairs_and_tells_which_agree():
    table = make_navon("HST", neutral=True, repeats=2).table
    assert table["condition"].value_counts().to_dict() == {
        "incongruent": 12, "congruent": 6, "neutral_local": 6, "neutral_global": 6,
    }  # fmt: skip
    same = table["global_letter"] == table["local_letter"]
    assert (same == (table["condition"] == "congruent")).all()


def test_single_small_letters_stand_on_the_lattice():
    table = make_navon("HS", levels=["local"], repeats=30).table
    steps = table["shift_x_deg"] / (4.55 / 6)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    assert steps.round().nunique() == 7
    assert (table["global_letter"] == "").all()


def test_shift_and_contrast_stay_within_their_ranges():
    table = make_navon(
        "HS", repeats=20, jitter_deg=0.5, contrast_range=(0.3, 0.6)
    ).table
    assert table["shift_x_deg"].abs().max() <= 0.5
    assert table["contrast"].between(0.3, 0.6).all()


def test_the_same_seed_gives_the_same_bytes_and_another_name_others():
    first, again, other = (
        make_navon("HS", jitter_deg=0.3, name=name) for name in ("a", "a", "b")
    )
    assert first.load(1).tobytes() == again.load(1).tobytes()
    assert first.load(1).tobytes() != other.load(1).tobytes()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"Small letters of 0.9 deg overlap"):
        make_navon(local_height_deg=0.9)
    with pytest.raises(ValueError, match=r"moved by up to 1.5 deg leaves the picture"):
        make_navon(jitter_deg=1.5)
    with pytest.raises(ValueError, match="Give a `global_letter`, a `local_letter`"):
        draw_navon("", "")
    with pytest.raises(ValueError, match="two letters or more"):
        make_navon("H")
