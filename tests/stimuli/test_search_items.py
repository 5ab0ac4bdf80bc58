"""Published rasters against OpenCV 4; smooth shapes against their geometry."""

import hashlib
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimuli.search_items import ITEM_PX, draw_item, published_colours

TILTS = (0, -20, -80, -60, -40, 20, 40, 60, 80)
TURNS_DEG = (-45, -90, -135, 180)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
STROKES = ("cross", "non_cross", "T", "L")

# Published pixels (at 30 per degree): area and outline length of each shape.
AREA = {
    "bar": 9 * 60,
    "line": 36 * 6,
    "curve": math.radians(75) * 30 * 7 + math.pi * 3.5**2,
    "cross": 2 * 165 * 16.5 - 16.5**2,
    "non_cross": 165 * 16.5 + 2 * 16.5 * 74.25,
    "T": 2 * 165 * 16.5 - 16.5**2,
    "L": 2 * 165 * 16.5 - 16.5**2,
    "shaded_disk": math.pi * 15**2 / 2,  # the mean level is a half
}
CONTOUR = {kind: 700 for kind in STROKES} | {
    "bar": 138,
    "line": 84,
    "curve": 101,
    "shaded_disk": 95,
}


def opencv_rotation(image, angle, centre):
    matrix = cv2.getRotationMatrix2D((centre, centre), angle, 1)
    return cv2.warpAffine(image, matrix, image.shape[::-1])


def opencv_bar(tilt):
    canvas = np.zeros((69, 69), np.uint8)
    cv2.rectangle(canvas, (30, 4), (38, 63), 255, -1)
    return 255 - opencv_rotation(canvas, tilt, 34.5)


def opencv_curve(version):
    canvas = np.zeros((48, 48), np.uint8)
    cv2.ellipse(canvas, (24, -2), (30, 30), 0, 52, 127, 255, 5)
    return opencv_rotation(canvas, TURNS_DEG[version], 24)


def opencv_line(version):
    canvas = np.zeros((48, 48), np.uint8)
    cv2.rectangle(canvas, (6, 21), (41, 26), 255, -1)
    return opencv_rotation(canvas, TURNS_DEG[version], 24)


def opencv_version(image, version):
    """As drawn, upside down, transposed, transposed and mirrored."""
    if version == 1:
        return cv2.flip(image, 0)
    if version >= 2:
        image = cv2.transpose(image)
    return cv2.flip(image, 1) if version == 3 else image


def opencv_strokes(kind, version):
    bars = {  # inclusive corners (x, y) on the white 165 px square
        "cross": [((74, 0), (89, 164)), ((0, 49), (164, 65))],
        "non_cross": [
            ((74, 0), (89, 164)),
            ((0, 49), (81, 65)),
            ((82, 99), (164, 114)),
        ],
        "T": [((74, 0), (89, 164)), ((0, 0), (164, 15))],
        "L": [((0, 0), (15, 164)), ((0, 148), (164, 164))],
    }
    inner = np.full((165, 165), 255, np.uint8)
    for start, stop in bars[kind]:
        cv2.rectangle(inner, start, stop, 0, -1)
    inner = opencv_version(inner, version)
    return cv2.copyMakeBorder(inner, 6, 6, 6, 6, cv2.BORDER_CONSTANT, value=255)


def shaded_disk(version):
    canvas = np.full((31, 31), 27, np.uint8)
    for row in range(31):
        for column in range(31):
            if math.hypot(row - 15, column - 15) < 15:
                canvas[row, column] = (row // 2) * 17
    return opencv_version(canvas, version)


def published_reference(kind, version):
    if kind == "bar":
        return opencv_bar(version)
    if kind == "shaded_disk":
        return shaded_disk(version)
    if kind in STROKES:
        return opencv_strokes(kind, version)
    return opencv_curve(version) if kind == "curve" else opencv_line(version)


ALL_ITEMS = [("bar", tilt) for tilt in TILTS] + [
    (kind, version) for kind in ITEM_PX if kind != "bar" for version in range(4)
]


@pytest.mark.parametrize(("kind", "version"), ALL_ITEMS)
def test_published_item_equals_opencv(kind, version):
    item = draw_item(kind, version)
    assert item.shape == (ITEM_PX[kind], ITEM_PX[kind], 3)
    assert item.dtype == np.uint8
    assert (item == item[..., :1]).all()
    assert (item[..., 0] != published_reference(kind, version)).sum() == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(-180, 180))
def test_published_bar_equals_opencv_at_any_tilt(tilt):
    assert (draw_item("bar", tilt)[..., 0] != opencv_bar(tilt)).sum() == 0


@pytest.mark.parametrize(
    ("angle", "centre", "side"),
    [(tilt, 34.5, 69) for tilt in TILTS] + [(turn, 24, 48) for turn in TURNS_DEG],
)
def test_no_source_coordinate_is_near_a_rounding_tie(angle, centre, side):
    # Then the last bit of a mathematics library cannot change a pixel.
    matrix = cv2.invertAffineTransform(
        cv2.getRotationMatrix2D((centre, centre), angle, 1)
    )
    index = np.arange(side)
    for row in matrix:
        for products in (row[0] * index * 1024, (row[1] * index + row[2]) * 1024):
            assert np.abs(products - np.floor(products) - 0.5).min() > 1e-6


def test_shaded_disks_are_bright_where_their_version_says():
    ends = {
        0: (slice(22, 28), slice(12, 19)),
        1: (slice(3, 9), slice(12, 19)),
        2: (slice(12, 19), slice(22, 28)),
        3: (slice(12, 19), slice(3, 9)),
    }
    for rendering in ("published", "smooth"):
        for version in range(4):
            item = draw_item("shaded_disk", version, rendering=rendering)[..., 0]
            means = {v: item[end].mean() for v, end in ends.items()}
            assert max(means, key=means.get) == version
            assert min(means, key=means.get) == {0: 1, 1: 0, 2: 3, 3: 2}[version]


def ink(kind, version, scale):
    """Share of the foreground in each pixel of a smooth item, white on black."""
    item = draw_item(
        kind,
        version,
        rendering="smooth",
        scale=scale,
        foreground=WHITE,
        background=BLACK,
    )
    assert (item == item[..., :1]).all()
    return item[..., 0] / 255


item_versions = st.sampled_from(ALL_ITEMS)
scales = st.floats(0.15, 3)


@settings(max_examples=80, deadline=None)
@given(item_versions, scales)
def test_smooth_area_holds_at_any_resolution(item, scale):
    kind, version = item
    share = ink(kind, version, scale)
    # 0.01 pixel and half a level per pixel that the contour crosses.
    error_px = (0.01 + 0.5 / 255) * 1.5 * (CONTOUR[kind] * scale + 8)
    if kind == "shaded_disk":
        error_px += share.size / 255
    assert share.sum() == pytest.approx(AREA[kind] * scale**2, abs=error_px)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.5, 3))
def test_smooth_extent_holds_at_any_resolution(scale):
    # A line of pixels within a stroke adds up to its extent.
    bar = ink("bar", 0, scale)
    middle = bar.shape[0] // 2
    assert bar[middle].sum() == pytest.approx(9 * scale, abs=0.03)
    assert bar.sum(axis=0).max() == pytest.approx(60 * scale, abs=0.03)
    line = ink("line", 1, scale)
    assert line.sum(axis=0).max() == pytest.approx(36 * scale, abs=0.03)
    cross = ink("cross", 0, scale)
    assert cross.sum(axis=0).max() == pytest.approx(165 * scale, abs=0.03)
    assert cross.sum(axis=1).max() == pytest.approx(165 * scale, abs=0.03)


@settings(max_examples=40, deadline=None)
@given(item_versions.filter(lambda i: i[0] in ("bar", "line")), st.floats(0.3, 3))
def test_smooth_bars_are_centred_in_their_box(item, scale):
    share = ink(*item, scale)
    places = np.arange(share.shape[0]) + 0.5
    middle = share.shape[0] / 2
    assert (share.sum(axis=0) @ places) / share.sum() == pytest.approx(middle, abs=0.02)
    assert (share.sum(axis=1) @ places) / share.sum() == pytest.approx(middle, abs=0.02)


@pytest.mark.parametrize("tilt", TILTS)
def test_tilt_is_counter_clockwise_in_both_renderings(tilt):
    for rendering in ("published", "smooth"):
        dark = 255 - draw_item("bar", tilt, rendering=rendering)[..., 0].astype(float)
        y, x = np.mgrid[:69, :69] - 34.0
        weight = dark / dark.sum()
        x, y = x - (weight * x).sum(), y - (weight * y).sum()
        # Principal axis from the second moments, y up, from the vertical.
        xx, yy, xy = (
            (weight * x * x).sum(),
            (weight * y * y).sum(),
            (weight * x * y).sum(),
        )
        from_x = math.degrees(0.5 * math.atan2(-2 * xy, xx - yy))
        from_vertical = (from_x - 90 + 90) % 180 - 90
        assert from_vertical == pytest.approx(tilt, abs=0.6)


@pytest.mark.parametrize(("kind", "version"), ALL_ITEMS)
def test_the_two_renderings_agree_but_for_a_pixel_of_shift(kind, version):
    foreground, _ = published_colours(kind)
    published = np.abs(
        draw_item(kind, version)[..., 0].astype(float) - (255 - foreground[0])
    )
    smooth = np.abs(
        draw_item(kind, version, rendering="smooth")[..., 0].astype(float)
        - (255 - foreground[0])
    )
    shifts = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)]
    apart = min(np.abs(np.roll(smooth, s, (0, 1)) - published).sum() for s in shifts)
    # About half a pixel along the contour, the most that whole shifts leave.
    assert apart / 255 < 0.55 * CONTOUR[kind]


@pytest.mark.parametrize("kind", STROKES)
@pytest.mark.parametrize("scale", [0.37, 1, 2])
def test_versions_of_smooth_strokes_are_flips_and_transposes(kind, scale):
    first = ink(kind, 0, scale)
    for version in range(4):
        expected = opencv_version((first * 255).round().astype(np.uint8), version)
        drawn = ink(kind, version, scale) * 255
        assert np.abs(drawn - expected).max() <= 3


def test_colours_reach_the_smooth_item():
    item = draw_item(
        "T", 0, rendering="smooth", foreground=(10, 200, 30), background=(90, 0, 250)
    )
    assert item[10, 88].tolist() == [10, 200, 30]
    assert item[0, 0].tolist() == [90, 0, 250]
    disk = draw_item(
        "shaded_disk", 0, rendering="smooth", scale=4, foreground=(200, 100, 0)
    )
    assert disk[118, 62].tolist() == pytest.approx([194, 97, 0], abs=2)
    assert disk[0, 0].tolist() == [27, 27, 27]


def test_a_drawn_item_belongs_to_the_caller():
    for rendering in ("published", "smooth"):
        item = draw_item("L", 2, rendering=rendering)
        item[:] = 7
        assert draw_item("L", 2, rendering=rendering).max() == 255


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("curves", 0), "Did you mean 'curve'"),
        (("T", 4), "`version` must be one of 0, 1, 2, 3"),
        (("bar", 200), "`version` must be within"),
    ],
)
def test_unknown_items_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_item(*arguments)


def test_published_rendering_takes_no_scale_or_colour():
    with pytest.raises(ValueError, match="rendering='smooth'"):
        draw_item("bar", 0, scale=2)
    with pytest.raises(ValueError, match="rendering='smooth'"):
        draw_item("bar", 0, foreground=(1, 2, 3))


def test_item_pixels_are_frozen():
    def digest(rendering, scale):
        sha = hashlib.sha256()
        for kind, version in ALL_ITEMS:
            sha.update(
                draw_item(kind, version, rendering=rendering, scale=scale).tobytes()
            )
        return sha.hexdigest()[:16]

    digests = [digest("published", 1), digest("smooth", 1), digest("smooth", 0.618)]
    assert digests == ["0ed307f1de23d3c3", "db3559c75ad6101a", "a628804764327373"]
