"""Pictures of block figures: what hides what, luminance, size, pairs."""

import itertools

import numpy as np
import pytest

from stimuli.block_figures import cube_centres, is_chiral, mirror_shape
from stimuli.block_rendering import (
    AMBIENT,
    DIFFUSE,
    LIGHT,
    draw_block_figure,
    draw_reference_figure,
    draw_stereo_pair,
    view_matrix,
)
from stimuli.block_sets import (
    MARGIN_DEG,
    PAIR_COLUMNS,
    make_block_figures,
    make_rotation_pairs,
    plan_rotation_pairs,
)
from stimuli.block_survey import draw_block_shapes
from stimuli.save import load_stimuli, save_stimuli

SHAPE = "uuubbrrrd"
PLAIN = {"outline_px": 0, "oversample": 1}
FROZEN = (6291819, 44983)
VIEWS = [(30, 25), (137, -35), (250, 60), (10, 5), (95, 80), (301, -10)]


def cast_rays(shape, camera, diameter_deg, px_per_deg, side_px, distance=None):
    """Brute force: intersect a ray per pixel centre with every cube.

    Returns the number of the face that is hit first (axis and side), and -1.
    """
    centres = cube_centres(shape)
    corners = np.abs(centres) + 1
    radius = np.sqrt((corners**2).sum(axis=1).max())
    reach = radius
    if distance:
        reach = radius / np.sqrt(1 - (radius / distance) ** 2)
    per_px = reach / (diameter_deg / 2) / px_per_deg
    i, j = np.divmod(np.arange(side_px**2), side_px)
    x = (j + 0.5 - side_px / 2) * per_px
    y = (side_px / 2 - i - 0.5) * per_px
    on_plane = x[:, None] * camera[0] + y[:, None] * camera[1]
    if distance:
        start = distance * camera[2]
        ray = on_plane - start
    else:
        start = on_plane + 100 * camera[2]
        ray = np.repeat(-camera[2:], side_px**2, axis=0)
    nearest = np.full(side_px**2, np.inf)
    faces = np.full(side_px**2, -1)
    for centre in centres:
        t = np.stack([(centre - 1 - start) / ray, (centre + 1 - start) / ray])
        entry, leave = t.min(axis=0), t.max(axis=0)
        hit = (entry.max(axis=1) < leave.min(axis=1)) & (entry.max(axis=1) < nearest)
        axis = entry.argmax(axis=1)
        towards = np.take_along_axis(ray, axis[:, None], 1)[:, 0] < 0
        faces[hit] = (2 * axis + towards)[hit]
        nearest[hit] = entry.max(axis=1)[hit]
    return faces.reshape(side_px, side_px)


def lambert(camera):
    """Luminance of the six faces, from the formula."""
    light = np.array(LIGHT) / np.linalg.norm(LIGHT)
    return [
        AMBIENT + DIFFUSE * max(0.0, float(side * camera[:, axis] @ light))
        for axis in range(3)
        for side in (-1, 1)
    ]


# ---------------------------------------------------------------- hidden surfaces


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
def test_what_hides_what_agrees_with_rays_through_every_pixel(projection):
    shapes = [*draw_block_shapes(4, seed=2), "uuubbrrrd", "rubld"]
    for shape, (azimuth, elevation) in zip(shapes, VIEWS, strict=True):
        display = draw_block_figure(
            shape,
            azimuth_deg=azimuth,
            elevation_deg=elevation,
            projection=projection,
            px_per_deg=12,
            **PLAIN,
        )
        camera = view_matrix(azimuth, elevation)
        distance = 25 if projection == "perspective" else None
        faces = cast_rays(shape, camera, 4.5, 12, 84, distance)
        expected = np.array([*lambert(camera), 0.5])[faces]
        agree = np.isclose(display.image, expected, atol=1e-6)
        # A sample on an edge can fall to either side of it.
        assert (~agree).sum() <= 2
        assert (faces >= 0).sum() > 150


def test_anti_aliasing_agrees_with_many_more_samples():
    coarse = draw_block_figure(SHAPE, px_per_deg=8)
    fine = draw_block_figure(SHAPE, px_per_deg=64, oversample=2, outline_px=10)
    blocks = fine.image.reshape(56, 8, 56, 8).mean(axis=(1, 3))
    assert np.abs(coarse.image - blocks).max() < 0.05
    assert abs(coarse.image.mean() - blocks.mean()) < 1e-3


def test_pictures_do_not_show_the_ground_between_faces():
    """White faces on black without edges: inside there is no grey seam."""
    display = draw_block_figure(SHAPE, shading=False, outline_px=0, background=0)
    inside = display.image > 0
    core = inside[1:-1, 1:-1].copy()
    for di, dj in itertools.product((-1, 0, 1), repeat=2):
        rows, columns = slice(1 + di, 223 + di), slice(1 + dj, 223 + dj)
        core &= inside[rows, columns]
    assert core.sum() > 1000
    assert np.all(display.image[1:-1, 1:-1][core] == 1)


# --------------------------------------------------------------------- luminance


@pytest.mark.parametrize(("azimuth", "elevation"), VIEWS)
def test_faces_have_the_luminance_of_lambert(azimuth, elevation):
    display = draw_block_figure(
        SHAPE, azimuth_deg=azimuth, elevation_deg=elevation, outline_px=0
    )
    levels, counts = np.unique(display.image.round(9), return_counts=True)
    common = levels[counts > 100]
    expected = lambert(view_matrix(azimuth, elevation))
    assert {round(x, 9) for x in common} <= {0.5, *(round(x, 9) for x in expected)}
    assert len(common) >= 3


def test_edges_are_black_and_as_wide_as_stated():
    """One cube from the front: a square of four lines."""
    options = {"azimuth_deg": 0, "elevation_deg": 0, "diameter_deg": 5.0,
               "shading": False, "background": 1.0}  # fmt: skip
    display = draw_block_figure("u", outline_px=4, px_per_deg=40, **options)
    row = display.image[140 + 30]
    cube_px = 40 * display.geometry["cube_deg"]
    dark = 1 - row
    assert dark[:140].sum() == pytest.approx(4, abs=0.3)
    edge = (dark[:140] * (np.arange(140) + 0.5)).sum() / dark[:140].sum()
    assert edge == pytest.approx(140 - cube_px / 2, abs=0.1)
    bare = draw_block_figure("u", outline_px=0, px_per_deg=40, **options)
    assert bare.image.min() == 1


def test_background_and_white_faces_are_as_asked():
    display = draw_block_figure(SHAPE, background=1.0, shading=False)
    assert display.image[0, 0] == 1
    assert set(np.unique(display.image)) >= {0.0, 1.0}


# -------------------------------------------------------------------------- size


@pytest.mark.parametrize("px_per_deg", [10, 32, 51.3])
def test_sizes_in_degrees_do_not_depend_on_pixels(px_per_deg):
    for shape in draw_block_shapes(3, seed=9):
        display = draw_block_figure(shape, px_per_deg=px_per_deg, outline_px=0)
        rows, columns = np.nonzero(display.masks["figure"])
        corners = [
            centre + np.array(signs)
            for centre in cube_centres(shape)
            for signs in itertools.product((-1, 1), repeat=3)
        ]
        scale = display.geometry["cube_deg"] / 2
        seen = scale * np.array(corners) @ view_matrix(30, 25).T
        for extent, axis in ((columns, 0), (rows, 1)):
            expected = np.ptp(seen[:, axis]) * px_per_deg
            assert abs(extent.max() + 1 - extent.min() - expected) <= 2
        middle = (columns.max() + columns.min() + 1) / 2 - display.image.shape[1] / 2
        expected = (seen[:, 0].max() + seen[:, 0].min()) / 2 * px_per_deg
        assert abs(middle - expected) <= 1


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
def test_no_view_leaves_the_sphere_and_one_touches_it(projection):
    reach = []
    for azimuth in range(0, 360, 40):
        display = draw_block_figure(
            SHAPE,
            azimuth_deg=azimuth,
            elevation_deg=azimuth / 4 - 40,
            projection=projection,
            outline_px=0,
        )
        rows, columns = np.nonzero(display.masks["figure"])
        distance = np.hypot(rows + 0.5 - 112, columns + 0.5 - 112)
        reach.append(distance.max() / 32)
    assert 0.9 * 2.25 < max(reach) <= 2.25 + 1 / 32


# ------------------------------------------------------------------------- views


def test_the_mirror_image_is_the_flipped_picture_of_the_matching_view():
    """Mirrored in z = 0, what is seen from azimuth a is seen flipped from 180 - a."""
    for azimuth, elevation in VIEWS:
        options = {"elevation_deg": elevation, "shading": False}
        own = draw_block_figure(SHAPE, azimuth_deg=azimuth, **options).image
        other = draw_block_figure(
            mirror_shape(SHAPE), azimuth_deg=180 - azimuth, **options
        ).image
        assert np.abs(own - other[:, ::-1]).max() < 0.15
        assert np.abs(own - other[:, ::-1]).mean() < 1e-3
        assert np.abs(own - other).mean() > 0.01


def test_roll_by_a_right_angle_is_the_picture_turned_counter_clockwise():
    plain = draw_block_figure(SHAPE).image
    for quarter in (1, 2, 3):
        turned = draw_block_figure(SHAPE, roll_deg=90 * quarter).image
        assert np.abs(turned - np.rot90(plain, quarter)).max() < 0.1


def test_azimuth_goes_from_the_front_to_the_right_and_elevation_up():
    camera = view_matrix(90, 0)
    np.testing.assert_allclose(camera[2], [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(view_matrix(0, 90)[2], [0, 1, 0], atol=1e-9)
    np.testing.assert_allclose(
        np.linalg.det([view_matrix(a, e) for a, e in VIEWS]), 1, atol=1e-8
    )


def test_the_eyes_see_from_three_degrees_to_each_side():
    left, right = draw_stereo_pair(SHAPE, azimuth_deg=40)
    np.testing.assert_array_equal(
        left.image, draw_block_figure(SHAPE, azimuth_deg=37).image
    )
    np.testing.assert_array_equal(
        right.image, draw_block_figure(SHAPE, azimuth_deg=43).image
    )


def test_the_reference_camera_is_where_its_matrices_put_it():
    """Ry(a) Rx(e) (0, 0, 25) is below for positive elevation; parts keep their place.

    The tip of the first arm is projected by hand.
    """
    azimuth, elevation = np.radians([40, 30])
    c, s = np.cos(elevation), np.sin(elevation)
    rx = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    c, s = np.cos(azimuth), np.sin(azimuth)
    ry = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    position = ry @ rx @ [0, 0, 25]
    assert position[1] < 0
    back = position / 25
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    frame = np.array([right, np.cross(back, right), back])
    np.testing.assert_allclose(frame, view_matrix(40, -30), atol=1e-8)
    display = draw_reference_figure(SHAPE, azimuth_deg=40, elevation_deg=30)
    seen = np.array(
        [
            frame @ (centre + np.array(signs))
            for centre in cube_centres(SHAPE)
            for signs in itertools.product((-1, 1), repeat=3)
        ]
    )
    device = seen[:, :2] / (25 - seen[:, 2:])
    rows, columns = np.nonzero(display.masks["figure"])
    assert abs(columns.min() - 128 * (device[:, 0].min() + 0.5)) < 2
    assert abs(columns.max() + 1 - 128 * (device[:, 0].max() + 0.5)) < 2
    assert abs(rows.min() - 128 * (0.5 - device[:, 1].max())) < 2
    assert display.image.shape == (128, 128)
    assert display.image.max() == 1
    assert display.image.min() < 0.05


def test_pictures_have_the_same_bytes_again():
    first, second = (draw_block_figure(SHAPE, azimuth_deg=17).image for _ in range(2))
    assert first.tobytes() == second.tobytes()
    # Frozen: sums of levels, the same on every machine.
    levels = np.floor(255 * first + 0.5).astype(int)
    assert (levels.sum(), int((levels == 128).sum())) == FROZEN


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"elevation_deg": 91}, "elevation_deg"),
        ({"projection": "fisheye"}, "projection"),
        ({"outline_px": -1}, "outline_px"),
        ({"background": 2}, "background"),
        ({"oversample": 3}, "oversample"),
        ({"azimuth_deg": np.nan}, "azimuth_deg"),
    ],
)
def test_strange_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        draw_block_figure(SHAPE, **options)


# -------------------------------------------------------------------------- sets


@pytest.fixture(scope="module")
def planned():
    return plan_rotation_pairs(draw_block_shapes(6, seed=1), seed=3, pairs_per_angle=6)


def test_pairs_are_balanced_in_angle_truth_and_objects(planned):
    assert list(planned.columns) == list(PAIR_COLUMNS)
    assert len(planned) == 2 * 10 * 6
    cells = planned.groupby(["rotation", "angle_deg", "truth"]).size()
    assert (cells == 3).all()
    assert len(cells) == 40
    turns = planned.groupby(["rotation", "truth", "object"]).size()
    assert (turns == 5).all()
    assert planned["pair"].is_unique


def test_pairs_are_an_object_and_itself_or_its_mirror_image_turned(planned):
    same = planned["truth"] == "same"
    assert (planned["left_shape"] == planned["right_shape"]).equals(same)
    mirrored = planned["left_shape"].map(mirror_shape)
    assert (mirrored == planned["right_shape"]).equals(~same)
    depth = planned["rotation"] == "depth"
    turn = planned["angle_deg"] * planned["direction"]
    rolled = planned["right_roll_deg"] - planned["left_roll_deg"]
    np.testing.assert_allclose(rolled[~depth], turn[~depth])
    assert (rolled[depth] == 0).all()
    gone = planned["left_azimuth_deg"] - planned["right_azimuth_deg"]
    np.testing.assert_allclose((gone - turn)[depth] % 360 % 359.999999, 0, atol=1e-5)
    assert (gone[~depth] == 0).all()
    assert planned["left_elevation_deg"].equals(planned["right_elevation_deg"])
    height = planned["left_elevation_deg"].abs()
    assert height.min() >= 10
    assert height[depth].max() <= 45 < height[~depth].max() <= 80
    places = planned[["left_azimuth_deg", "right_azimuth_deg"]].to_numpy() % 90
    assert np.minimum(places, 90 - places).min() >= MARGIN_DEG - 1e-9
    hands = planned.groupby("object")["left_shape"].nunique()
    assert (hands == 2).all()


def test_a_view_of_a_pair_is_the_figure_of_its_row(planned):
    some = planned.iloc[[3, 70]]
    stimuli = make_rotation_pairs(some, px_per_deg=16)
    assert stimuli.table["side"].tolist() == ["left", "right"] * 2
    for i, row in stimuli.table.iterrows():
        angles = {k: row[k] for k in ("azimuth_deg", "elevation_deg", "roll_deg")}
        image = draw_block_figure(row["shape"], **angles, px_per_deg=16).image
        np.testing.assert_array_equal(
            stimuli.load(i)[..., 0], np.floor(255 * image + 0.5)
        )
    both = make_rotation_pairs(some, px_per_deg=16, side_by_side=True, gap_deg=1)
    assert both.table["stimulus_id"].tolist() == some["pair"].tolist()
    picture = both.load(1)
    assert picture.shape == (112, 240, 3)
    np.testing.assert_array_equal(picture[:, :112], stimuli.load(2))
    np.testing.assert_array_equal(picture[:, 128:], stimuli.load(3))
    assert (picture[:, 112:128] == 128).all()


def test_views_of_a_pair_in_the_plane_are_the_same_picture_turned():
    pairs = plan_rotation_pairs(
        [SHAPE], rotations="picture-plane", angles_deg=[180], pairs_per_angle=2
    )
    same = make_rotation_pairs(pairs[pairs["truth"] == "same"])
    left, right = (same.load(i).astype(int) for i in range(2))
    assert np.abs(left - right[::-1, ::-1]).max() < 20


def test_sets_have_the_same_bytes_with_the_same_seed():
    options = {"n_shapes": 2, "rotations": "depth", "angles_deg": [0, 90],
               "pairs_per_angle": 2, "px_per_deg": 8}  # fmt: skip
    first, again = (make_rotation_pairs(**options, seed=6) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != make_rotation_pairs(**options, seed=7).fingerprint


def test_achiral_objects_are_rejected_for_pairs_and_shown_alone():
    assert not is_chiral("ubbbbddff")
    with pytest.raises(ValueError, match="whose mirror image is the same object"):
        plan_rotation_pairs([SHAPE, "ubbbbddff"])
    alone = make_block_figures(shapes=["ubbbbddff"], azimuths_deg=[30])
    assert alone.table["chiral"].tolist() == [False, False]


def test_mirror_images_cannot_both_be_objects():
    with pytest.raises(ValueError, match="the same object or mirror images"):
        plan_rotation_pairs([SHAPE, mirror_shape(SHAPE)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs_per_angle": 3}, "must be even"),
        ({"angles_deg": [200]}, "angles_deg"),
        ({"angles_deg": []}, "angles_deg"),
        ({"angles_deg": [20, 20]}, "angles_deg"),
        ({"rotations": "spin"}, "rotations"),
    ],
)
def test_strange_plans_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plan_rotation_pairs([SHAPE], **options)


def test_a_table_that_holds_no_pairs_is_refused(planned):
    with pytest.raises(ValueError, match="right_shape"):
        make_rotation_pairs(planned.drop(columns="right_shape"))


def test_figures_show_both_hands_from_all_sides_and_for_both_eyes(tmp_path):
    stimuli = make_block_figures(
        2, azimuths_deg=[30, 100], stereo=True, px_per_deg=8, seed=2
    )
    table = stimuli.table
    assert len(table) == 2 * 2 * 2 * 2
    left = table[table["eye"] == "left"]["azimuth_deg"].to_numpy()
    right = table[table["eye"] == "right"]["azimuth_deg"].to_numpy()
    np.testing.assert_allclose(right - left, 6)
    saved = load_stimuli(save_stimuli(stimuli, tmp_path / "blocks", progress=False))
    assert saved.fingerprint == stimuli.fingerprint


def test_pairs_survive_saving(tmp_path, planned):
    stimuli = make_rotation_pairs(planned.iloc[:3], px_per_deg=8, side_by_side=True)
    saved = load_stimuli(save_stimuli(stimuli, tmp_path / "pairs", progress=False))
    assert saved.fingerprint == stimuli.fingerprint
