"""Kanizsa figures, abutting gratings and Ehrenstein figures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimuli.display import pixel_centres
from stimuli.illusory_contours import (
    draw_kanizsa,
    kanizsa_display,
    make_illusory_contours,
)
from stimuli.kanizsa_geometry import INDUCERS, corners_of, kanizsa_outline
from stimuli.line_contours import (
    draw_abutting_grating,
    draw_ehrenstein,
    make_line_contours,
)


def extent_deg(mask, px_per_deg):
    """Width and height of a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (np.ptp(columns) + 1) / px_per_deg, (np.ptp(rows) + 1) / px_per_deg


def measured_support(display, side):
    """Share of the sides of an upright square with dark pixels just outside."""
    px = display.px_per_deg
    n = 4000
    along = (np.arange(n) + 0.5) / n * side - side / 2
    dark = []
    for sign in (1, -1):
        across = np.full(n, sign * (side / 2 + 0.6 / px))
        for x, y in ((along, across), (across, along)):
            columns = np.floor(x * px + display.image.shape[1] / 2).astype(int)
            rows = np.floor(display.image.shape[0] / 2 - y * px).astype(int)
            dark.append(display.image[rows, columns] < 0.25)
    return float(np.mean(dark))


# ---------------------------------------------------------------------- Kanizsa


@pytest.mark.parametrize("ratio", [0.2, 0.35, 0.5, 0.8])
@pytest.mark.parametrize("px_per_deg", [24.0, 40.0])
def test_the_measured_support_ratio_is_the_parameter_within_2_percent(
    ratio, px_per_deg
):
    display = draw_kanizsa(4, 3.6, ratio, px_per_deg=px_per_deg)
    assert measured_support(display, 3.6) == pytest.approx(ratio, abs=0.02)


@settings(max_examples=12)
@given(
    st.floats(12, 50),
    st.sampled_from([3, 4, 6]),
    st.sampled_from(INDUCERS),
    st.floats(0.2, 0.8),
)
def test_sizes_are_in_degrees_within_1_px(px_per_deg, n, inducer, ratio):
    side = 1.8
    display = draw_kanizsa(n, side, ratio, inducer=inducer, px_per_deg=px_per_deg)
    corners = corners_of(n, side)
    within = 2.00001 / px_per_deg  # one pixel at either end
    for got, want in zip(
        extent_deg(display.masks["figure"], px_per_deg), np.ptp(corners, axis=0),
        strict=True,
    ):  # fmt: skip
        assert got == pytest.approx(want, abs=within)
    if inducer == "pacman" and n == 4:
        wide = extent_deg(display.masks["inducers"], px_per_deg)[0]
        assert wide == pytest.approx(side * (1 + ratio), abs=within)


@pytest.mark.parametrize("inducer", INDUCERS)
def test_controls_have_the_luminance_of_the_figure(inducer):
    means = {
        kind: draw_kanizsa(side_deg=3.4, kind=kind, inducer=inducer).image.mean()
        for kind in ("illusory", "outward", "random")
    }
    ink = 0.5 - means["illusory"]
    assert ink > 0.005
    for mean in means.values():
        assert 0.5 - mean == pytest.approx(ink, rel=0.01)


def test_the_area_of_pacmen_is_three_quarters_of_discs():
    image = draw_kanizsa(4, 3.5, 0.5).image
    area = float((0.5 - image).sum() / 0.5 / 32**2)
    assert area == pytest.approx(4 * 0.75 * np.pi * 0.875**2, rel=0.002)


def test_luminances_and_contrasts_are_as_stated():
    assert draw_kanizsa(contrast=0.4).image.min() == pytest.approx(0.3)
    mixed = draw_kanizsa(polarity="mixed", contrast=0.6).image
    assert (mixed.min(), mixed.max()) == pytest.approx((0.2, 0.8))
    for contrast in (0.01, 0.16, -0.16):
        surface = draw_kanizsa(kind="surface", real_contrast=contrast)
        inside = surface.image[112, 112]
        assert inside == pytest.approx(0.5 * (1 + contrast))
        line = draw_kanizsa(kind="outline", real_contrast=contrast, line_width_deg=0.1)
        extreme = line.image.max() if contrast > 0 else line.image.min()
        assert extreme == pytest.approx(0.5 * (1 + contrast))
        assert line.image[112, 112] == 0.5


@pytest.mark.parametrize("px_per_deg", [10.0, 32.0])
def test_an_outline_has_the_area_of_its_line(px_per_deg):
    display = draw_kanizsa(
        4, 3.0, kind="outline", real_contrast=1.0, line_width_deg=0.06,
        px_per_deg=px_per_deg,
    )  # fmt: skip
    area = float((display.image - 0.5).sum() / 0.5 / px_per_deg**2)
    assert area == pytest.approx(4 * 3.0 * 0.06, rel=0.03)


def test_the_edge_lies_between_the_inducers_and_crosses_none():
    for tilt in (0.0, 8.0, -8.0):
        masks = draw_kanizsa(4, 3.5, 0.5, tilt_deg=tilt).masks
        # The band is 0.1 deg wide: its ends reach a little into the inducers.
        shared = (masks["edge"] & masks["inducers"]).sum() / masks["edge"].sum()
        assert shared < 0.06
        assert (masks["edge"] & ~masks["contour"]).sum() == 0


def test_a_fat_figure_bulges_left_and_right_and_a_thin_one_up_and_down():
    fat, _ = kanizsa_outline(4, 2.0, 0.3, tilt_deg=6)
    thin, _ = kanizsa_outline(4, 2.0, 0.3, tilt_deg=-6)
    assert np.ptp(fat[:, 0]) > 2.05
    assert np.ptp(fat[:, 1]) == pytest.approx(2.0, abs=1e-6)
    assert np.ptp(thin[:, 1]) > 2.05
    np.testing.assert_allclose(
        np.sort(np.abs(fat[:, ::-1]), axis=0), np.sort(np.abs(thin), axis=0), atol=1e-6
    )


def test_edges_of_tilted_inducers_lie_on_the_outline():
    display = draw_kanizsa(4, 3.5, 0.5, tilt_deg=8.0)
    ground = display.masks["figure"] & display.masks["inducers"]
    assert ground.sum() / display.masks["inducers"].sum() < 0.04


def test_a_closed_mouth_leaves_the_wedge_empty_but_for_the_arc():
    open_, closed = (draw_kanizsa(kind=kind).image for kind in ("illusory", "closed"))
    x, y = pixel_centres(open_.shape, 32)
    distance = np.hypot(x - 2, y - 2)
    differs = open_ != closed
    near = np.abs(np.hypot(np.abs(x) - 2, np.abs(y) - 2) - 1) < 0.15
    assert differs.any()
    assert not (differs & ~near).any()
    assert closed[np.abs(distance - 0.97).argmin() // 224].min() < 0.5


def test_rows_are_reproducible_and_random_turns_depend_on_the_seed():
    kinds = ("illusory", "random", "outline")
    sets = [
        make_illusory_contours(kinds=kinds, n_places=2, jitter_deg=0.2, seed=seed,
                               support_ratios=(0.5,), px_per_deg=12)
        for seed in (3, 3, 4)
    ]  # fmt: skip
    assert sets[0].fingerprint == sets[1].fingerprint != sets[2].fingerprint
    for k in range(len(sets[0])):
        row = sets[0].table.iloc[k].to_dict()
        drawn = kanizsa_display(row).image
        np.testing.assert_array_equal(
            sets[0].load(k)[..., 0], np.floor(255 * drawn + 0.5).astype(np.uint8)
        )


def test_real_contrasts_do_not_repeat_pictures_with_inducers():
    table = make_illusory_contours(
        support_ratios=(0.5,), real_contrasts=(0.02, 0.16)
    ).table
    assert table["kind"].value_counts().to_dict() == {
        "outline": 2, "illusory": 1, "outward": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ilusory"}, "Did you mean 'illusory'"),
        ({"support_ratio": 1.2}, "support_ratio"),
        ({"side_deg": 6.0}, "inducers reach"),
        ({"n_vertices": 3, "side_deg": 2, "tilt_deg": 2}, "even `n_vertices`"),
        ({"background": 0.8, "polarity": "mixed"}, "brightest"),
        ({"contrast": -0.1}, "contrast"),
    ],
)
def test_a_faulty_figure_is_told(change, message):
    with pytest.raises(ValueError, match=message):
        draw_kanizsa(**change)


def test_a_set_without_pictures_is_told():
    with pytest.raises(ValueError, match="every factor"):
        make_illusory_contours(kinds=())
    with pytest.raises(ValueError, match="inducers reach"):
        make_illusory_contours(sides_deg=(3.5, 5.5))


# ------------------------------------------------------------------ line ends


@pytest.mark.parametrize("border", [0.0, 30.0])
def test_an_abutting_edge_has_no_step_of_luminance(border):
    display = draw_abutting_grating(border_deg=border, size_deg=8.0)
    left = display.masks["left"]
    inner = np.zeros_like(left)
    inner[32:-32] = True  # whole periods
    means = [display.image[inner & side].mean() for side in (left, ~left)]
    assert means[0] == pytest.approx(means[1], abs=0.002)
    assert 0.5 - means[0] == pytest.approx(0.5 * 0.06 / 0.5, rel=0.03)


def test_an_aligned_grating_is_the_same_everywhere():
    image = draw_abutting_grating(shift=0.0).image
    np.testing.assert_allclose(image, image[:, :1] + 0 * image, atol=0.01)
    shifted = draw_abutting_grating(shift=0.5).image
    assert np.abs(shifted[:, 10] - shifted[:, -10]).max() > 0.4


def test_lines_have_their_period_and_width():
    image = draw_abutting_grating(px_per_deg=50, shift=0.0).image
    dark = 0.5 - image[:, 100]
    starts = np.flatnonzero(np.diff((dark > 0.05).astype(int)) == 1)
    assert np.diff(starts).tolist() == [25] * (len(starts) - 1)
    assert dark.sum() / 0.5 / 50 / len(starts) == pytest.approx(0.06, rel=0.1)


def test_radial_lines_end_on_the_circle():
    display = draw_ehrenstein(n_lines=12, gap_radius_deg=1.2, line_length_deg=1.5)
    x, y = pixel_centres(display.image.shape, 32)
    distance = np.hypot(x, y)
    ink = display.image < 0.49
    assert distance[ink].min() == pytest.approx(1.2, abs=2 / 32)
    assert distance[ink].max() == pytest.approx(2.7, abs=2 / 32)
    area = float((0.5 - display.image).sum() / 0.5 / 32**2)
    assert area == pytest.approx(12 * 1.5 * 0.06, rel=0.02)


def test_staggered_lines_have_the_same_ink():
    images = [draw_ehrenstein(kind=kind).image for kind in ("illusory", "staggered")]
    assert images[0].mean() == pytest.approx(images[1].mean(), abs=1e-4)


def test_line_patterns_are_all_combinations_and_reproducible():
    first, again = make_line_contours(), make_line_contours()
    assert first.fingerprint == again.fingerprint
    assert len(first) == 10


@pytest.mark.parametrize(
    ("draw", "change", "message"),
    [
        (draw_abutting_grating, {"shift": 0.7}, "shift"),
        (draw_abutting_grating, {"line_width_deg": 0.4}, "line_width_deg"),
        (draw_ehrenstein, {"line_length_deg": 4.0}, "lines reach"),
        (draw_ehrenstein, {"kind": "disc"}, "kind"),
    ],
)
def test_a_faulty_line_pattern_is_told(draw, change, message):
    with pytest.raises(ValueError, match=message):
        draw(**change)
