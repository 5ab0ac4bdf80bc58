"""Slices of volumes."""

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis.plots_volume import plot_volume_map

SHAPE = (7, 9, 5)
RAS = np.diag([2.0, 2, 2, 1])


def slices_of(figure):
    return {ax.get_label(): ax for ax in figure.axes if ax.get_label() != "colour bar"}


def picture_of(ax):
    """The uppermost picture, rows from below."""
    return np.asarray(ax.images[-1].get_array())


def one_voxel(place):
    """Zeros with a 1 at one place."""
    volume = np.zeros(SHAPE)
    volume[place] = 1
    return volume


def place_of_one(figure, name):
    """Row (from below) and column of the voxel of 1 in a slice, or None."""
    picture = picture_of(slices_of(figure)[name])
    last = mpl.colormaps["viridis"](1.0)
    hits = np.argwhere((picture == last).all(axis=2))
    return tuple(hits[0].tolist()) if len(hits) == 1 else None


@pytest.mark.parametrize(
    ("plane", "name", "expected"),
    [("axial", "z 4", (6, 2)), ("coronal", "y 6", (4, 2)), ("sagittal", "x 2", (4, 6))],
)
def test_each_voxel_lies_in_its_slice_at_its_place(plane, name, expected):
    figure = plot_volume_map(one_voxel((2, 6, 4)), RAS, plane=plane, n_slices=9)
    assert place_of_one(figure, name) == expected
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    assert list(slices_of(figure)) == [f"{name[0]} {i}" for i in range(SHAPE[axis])]
    others = [n for n in slices_of(figure) if n != name]
    assert all(place_of_one(figure, n) is None for n in others)


AXES = [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)]


@given(
    axes=st.sampled_from(AXES),
    flips=st.tuples(*[st.booleans()] * 3),
    plane=st.sampled_from(["axial", "coronal", "sagittal"]),
)
@settings(max_examples=8, deadline=None)
def test_the_picture_does_not_depend_on_how_the_volume_is_stored(axes, flips, plane):
    rng = np.random.default_rng(0)
    volume = rng.random(SHAPE)
    affine = np.diag([2.0, 3, 4, 1])
    stored = np.transpose(volume, axes)
    turned = affine[:, [*axes, 3]]
    for axis, flip in enumerate(flips):
        if flip:
            stored = np.flip(stored, axis)
            turned = turned.copy()
            turned[:3, 3] += turned[:3, axis] * (stored.shape[axis] - 1)
            turned[:3, axis] *= -1
    one = plot_volume_map(volume, affine, plane=plane, n_slices=3)
    other = plot_volume_map(stored, turned, plane=plane, n_slices=3)
    for a, b in zip(slices_of(one).values(), slices_of(other).values(), strict=True):
        np.testing.assert_array_equal(picture_of(a), picture_of(b))
        assert a.images[-1].get_extent() == b.images[-1].get_extent()


def test_slices_of_a_flipped_axis_keep_their_stored_number():
    affine = RAS.copy()
    affine[2, 2] = -2
    figure = plot_volume_map(one_voxel((2, 6, 4)), affine, n_slices=9)
    assert list(slices_of(figure)) == ["z 4", "z 3", "z 2", "z 1", "z 0"]
    assert place_of_one(figure, "z 4") == (6, 2)


def test_left_is_at_the_left_when_the_affine_tells():
    affine = RAS.copy()
    affine[0, 0] = -2  # x runs to the left
    figure = plot_volume_map(one_voxel((0, 4, 2)), affine, n_slices=9)
    _, column = place_of_one(figure, "z 2")
    assert column == SHAPE[0] - 1
    first = next(iter(slices_of(figure).values()))
    marks = {t.get_text(): t.get_position()[0] for t in first.texts}
    assert marks["L"] < 0.1 < 0.9 < marks["R"]
    unknown = plot_volume_map(one_voxel((0, 4, 2)), n_slices=9)
    assert place_of_one(unknown, "z 2") == (4, 0)
    assert not next(iter(slices_of(unknown).values())).texts


def test_voxels_have_the_proportions_of_their_sizes():
    figure = plot_volume_map(np.ones(SHAPE), np.diag([1.0, 2, 3, 1]), plane="sagittal")
    FigureCanvasAgg(figure).draw()
    ax = next(iter(slices_of(figure).values()))
    left, right, bottom, top = ax.images[-1].get_extent()
    assert (right - left, top - bottom) == (9 * 2, 5 * 3)
    box = ax.get_window_extent()
    assert box.width / box.height == pytest.approx(18 / 15)


def test_undefined_voxels_have_no_colour_and_zero_has_one():
    volume = np.zeros(SHAPE)
    volume[3, 4, 2] = np.nan
    figure = plot_volume_map(volume, RAS, n_slices=9)
    picture = picture_of(slices_of(figure)["z 2"])
    clear = np.argwhere(picture[..., 3] == 0)
    assert clear.tolist() == [[4, 3]]
    assert (picture_of(slices_of(figure)["z 1"])[..., 3] == 1).all()


def test_slices_are_cut_to_what_is_defined_and_spread_over_it():
    volume = np.full((30, 40, 50), np.nan)
    volume[10:15, 20:29, 30:42] = 1.5
    figure = plot_volume_map(volume, RAS, n_slices=4)
    assert list(slices_of(figure)) == ["z 31", "z 34", "z 37", "z 40"]
    picture = picture_of(slices_of(figure)["z 34"])
    # Two voxels of margin on each side.
    assert picture.shape[:2] == (9 + 4, 5 + 4)
    assert (picture[2:-2, 2:-2, 3] == 1).all()
    assert picture[..., 3].sum() == 9 * 5


def test_background_shows_where_values_are_undefined():
    volume = np.full(SHAPE, np.nan)
    volume[3, 4] = 1.0
    anatomy = np.random.default_rng(0).random(SHAPE)
    figure = plot_volume_map(volume, RAS, background=anatomy, n_slices=9)
    ax = slices_of(figure)["z 3"]
    below = np.asarray(ax.images[0].get_array())
    np.testing.assert_array_equal(below, anatomy[1:6, 2:7, 3].T)
    texts = [t.get_text() for t in figure.findobj(mpl.text.Text)]
    assert "no colour: undefined" in texts


def test_a_region_is_outlined_along_its_voxels():
    region = np.zeros(SHAPE, bool)
    region[2:5, 3:6, 2] = True
    figure = plot_volume_map(
        np.ones(SHAPE), RAS, regions={"V1": region}, n_slices=9, note="simulated data"
    )
    (lines,) = slices_of(figure)["z 2"].collections
    # Voxel i covers 2 i to 2 i + 2 mm: three voxels on each of four sides.
    found = {
        tuple(np.sort(segment, axis=0).ravel()) for segment in lines.get_segments()
    }
    steps = (4, 6, 8), (6, 8, 10)
    expected = {(x, y, x, y + 2) for x in (4, 10) for y in steps[1]}
    expected |= {(x, y, x + 2, y) for x in steps[0] for y in (6, 12)}
    assert found == expected
    assert not slices_of(figure)["z 1"].collections
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["V1"]
    assert "simulated data" in [t.get_text() for t in figure.texts]
    ax = slices_of(figure)["z 2"]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 14), (0, 18))


def test_a_region_without_values_is_inside_the_cut():
    volume = np.full((20, 20, 20), np.nan)
    volume[10, 10, 10] = 1
    region = np.zeros(volume.shape, bool)
    region[4, 10, 10] = True
    figure = plot_volume_map(volume, RAS, regions={"V1": region})
    (ax,) = slices_of(figure).values()
    assert picture_of(ax).shape[:2] == (1 + 4, 7 + 4)
    assert len(ax.collections) == 1


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"volume": np.zeros((3, 3))}, ValueError, "`volume` must have shape"),
        ({"volume": np.full(SHAPE, np.nan)}, ValueError, "no defined value"),
        ({"plane": "z"}, ValueError, "`plane`"),
        ({"n_slices": 0}, ValueError, "`n_slices`"),
        ({"background": np.zeros((1, 1, 1))}, ValueError, "`background`"),
        ({"regions": {"V1": np.zeros((1, 1, 1))}}, ValueError, "`V1`"),
        ({"affine": np.zeros((4, 4))}, ValueError, "cannot be inverted"),
        ({"affine": np.eye(3)}, ValueError, "`affine` must have shape"),
        ({"vmin": 3, "vmax": 1}, ValueError, "must lie below"),
    ],
)
def test_wrong_arguments_are_refused(change, error, match):
    with pytest.raises(error, match=match):
        plot_volume_map(**{"volume": np.zeros(SHAPE), "affine": RAS, **change})
