"""Figures of displays of objects draw the numbers and the scanpaths they are given."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colormaps, pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.plot_style import HUMAN_COLOUR, PALETTE
from analysis.plots_gaze import plot_scanpaths
from analysis.plots_objects import (
    PRESENT_COLOUR,
    plot_attention_steps,
    plot_object_scanpaths,
    plot_object_values,
)
from neurovis.core.object_displays import FreeDisplay, regular_display

NAN = float("nan")
GRID = regular_display("a", rows=2, cols=3, size_px=(90, 40), target_cell=4)
BOXES = [[0, 0, 20, 30], [30, 10, 50, 30], [60, 5, 75, 30]]
FREE = FreeDisplay("b", BOXES, 80, 40, target_cell=1)
PICTURE = np.zeros((20, 45, 3), np.uint8)
PICTURE[..., 0] = 240
VALUES = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def draw(ax):
    """Render to pixels: layout and glyphs raise here if they can."""
    ax.figure.savefig(io.BytesIO(), format="png", dpi=50)


def steps_of(n_fixations, n_cells=6):
    """Attention and probability that sum to 1."""
    rng = np.random.default_rng(n_fixations)
    return rng.dirichlet(np.ones(n_cells + 1), size=(2, n_fixations + 1))


def boxes_of(collection):
    return [path.get_extents().extents.tolist() for path in collection.get_paths()]


def colours_of(collection):
    return [to_hex(c).upper() for c in collection.get_facecolor()]


def marks_of(ax):
    """The marks of the only scanpath."""
    return next(c for c in ax.collections if c.get_zorder() == 4)


def rings_of(ax):
    return [c for c in ax.collections if c.get_zorder() == 3.5]


def places(ax):
    """Places of all numbers, in the order of drawing."""
    return [tuple(text.xy) for text in ax.texts]


def numbers_of(ax):
    return [text.get_text() for text in ax.texts]


def bars_of(ax):
    return [a for a in ax.figure.axes if a.get_label() == "<colorbar>"]


# ------------------------------------------------------------------------ shared


def test_no_figure_function_touches_pyplot():
    before = pyplot.get_fignums()
    for ax in (
        plot_object_values(GRID, VALUES, path=[0, 0, 2], label="attention"),
        plot_attention_steps(GRID, *steps_of(3), [0, 4, 4])[0],
        plot_object_scanpaths(FREE, {"human": [0, 1], "net": [2]}),
    ):
        assert isinstance(ax.figure, Figure)
        draw(ax)
    assert pyplot.get_fignums() == before


def test_given_axes_are_drawn_on_and_returned():
    one, two = Figure(figsize=(9, 4), layout="constrained").subplots(1, 2)
    assert plot_object_values(GRID, VALUES, ax=one) is one
    assert plot_object_scanpaths(GRID, {"a": [0], "b": [1]}, ax=two) is two
    assert [t.get_text() for t in two.get_legend().get_texts()] == ["a", "b"]
    draw(one)


def test_nothing_is_altered_by_drawing():
    values, picture, cells = VALUES.copy(), PICTURE.copy(), np.array([1, 1, 2])
    attention, probability = steps_of(3)
    before = attention.copy()
    plot_object_values(GRID, values, picture=picture, path=cells)
    plot_attention_steps(GRID, attention, probability, cells, picture=picture)
    plot_object_scanpaths(GRID, {"a": cells}, picture=picture)
    np.testing.assert_array_equal(values, VALUES)
    np.testing.assert_array_equal(picture, PICTURE)
    np.testing.assert_array_equal(attention, before)
    assert cells.tolist() == [1, 1, 2]


@pytest.mark.parametrize("display", [GRID, FREE])
def test_the_target_has_the_green_box_of_scanpath_figures_above_the_objects(display):
    box = display.boxes_px[display.target_cell]
    frame = {"width_px": display.width_px, "height_px": display.height_px}
    green = plot_scanpaths(None, {}, target_box=box, **frame).patches[-1]
    for ax in (
        plot_object_values(display, np.ones(display.n_cells)),
        plot_object_scanpaths(display, {"a": [0]}),
    ):
        (own,) = (p for p in ax.patches if p.get_edgecolor() == green.get_edgecolor())
        assert own.get_bbox().extents.tolist() == box.tolist()
        others = [p for p in ax.patches if p is not own]
        painted = [c for c in ax.collections if c.get_zorder() < 3]
        below = [artist.get_zorder() for artist in [*others, *painted]]
        assert max(below) < own.get_zorder()


# ------------------------------------------------------------------------ values


@pytest.mark.parametrize("display", [GRID, FREE])
def test_each_object_is_painted_by_its_value(display):
    values = np.linspace(0, 0.5, display.n_cells)
    ax = plot_object_values(display, values, label="P(next)", title="step 3")
    painted = ax.collections[0]
    assert boxes_of(painted) == display.boxes_px.tolist()
    draw(ax)
    expected = [to_hex(c).upper() for c in colormaps["Blues"](values / 0.5)]
    assert colours_of(painted) == expected
    assert (ax.get_xlim(), ax.get_ylim()) == (
        (0, display.width_px),
        (display.height_px, 0),
    )
    assert ax.get_title(loc="left") == "step 3"
    (bar,) = bars_of(ax)
    assert bar.get_ylabel() == "P(next)"
    assert bar.get_ylim() == (0, 0.5)


def test_darker_means_more():
    ax = plot_object_values(GRID, VALUES)
    draw(ax)
    light = ax.collections[0].get_facecolor()[:, :3].sum(axis=1)
    assert (np.diff(light) < 0).all()


def test_objects_without_a_value_are_hatched():
    ax = plot_object_values(GRID, [0.1, NAN, 0.2, 0.3, NAN, 0.0])
    painted, blank = ax.collections
    np.testing.assert_array_equal(painted.get_array(), [0.1, 0.2, 0.3, 0.0])
    assert boxes_of(painted) == GRID.boxes_px[[0, 2, 3, 5]].tolist()
    assert boxes_of(blank) == GRID.boxes_px[[1, 4]].tolist()
    assert blank.get_hatch()
    assert painted.get_hatch() is None
    assert painted.norm.vmax == 0.3
    draw(ax)


@pytest.mark.parametrize("value", [NAN, 0.0])
def test_without_any_value_above_0_the_scale_ends_at_1(value):
    ax = plot_object_values(GRID, np.full(6, value))
    assert (ax.collections[0].norm.vmin, ax.collections[0].norm.vmax) == (0, 1)
    draw(ax)


@pytest.mark.parametrize(
    ("vmax", "end", "extend"),
    [(None, 0.5, "neither"), (1.0, 1.0, "neither"), (0.2, 0.2, "max")],
)
def test_the_bar_tells_when_values_lie_above_its_end(vmax, end, extend):
    ax = plot_object_values(GRID, VALUES, vmax=vmax)
    painted = ax.collections[0]
    assert painted.norm.vmax == end
    assert painted.colorbar.extend == extend
    draw(ax)


def test_a_picture_lies_below_in_grey():
    ax = plot_object_values(GRID, VALUES, picture=PICTURE)
    (image,) = ax.get_images()
    np.testing.assert_allclose(image.get_array(), 80)
    assert image.get_cmap().name == "gray"
    assert tuple(image.get_extent()) == (0, 90, 40, 0)
    assert 0.5 < ax.collections[0].get_alpha() < 1
    assert image.get_zorder() < ax.collections[0].get_zorder()
    assert plot_object_values(GRID, VALUES).collections[0].get_alpha() is None
    draw(ax)


def test_the_present_fixation_stands_out():
    ax = plot_object_values(GRID, VALUES, path=[0, 5, 2])
    assert colours_of(marks_of(ax)) == [HUMAN_COLOUR, HUMAN_COLOUR, PRESENT_COLOUR]
    assert marks_of(ax).get_offsets().tolist() == GRID.centres_px[[0, 5, 2]].tolist()
    (line,) = ax.get_lines()
    assert to_hex(line.get_color()).upper() == HUMAN_COLOUR
    assert numbers_of(ax) == ["0", "1", "2"]
    alone = plot_object_values(GRID, VALUES, path=[3])
    assert colours_of(marks_of(alone)) == [PRESENT_COLOUR]
    draw(ax)


@pytest.mark.parametrize("path", [None, [], np.zeros(0, np.int64)])
def test_before_the_first_fixation_there_are_no_marks(path):
    ax = plot_object_values(GRID, VALUES, path=path)
    assert (len(ax.get_lines()), len(ax.texts), len(ax.collections)) == (0, 0, 1)


def test_wrong_values_are_told():
    with pytest.raises(ValueError, match=r"`values` must have shape \(6\)"):
        plot_object_values(GRID, VALUES[:5])
    with pytest.raises(ValueError, match=r"`values` must not be negative .* -0\.1"):
        plot_object_values(GRID, VALUES - 0.1)
    with pytest.raises(ValueError, match=r"`values` must not be negative and .*finite"):
        plot_object_values(GRID, [0, 1, 2, 3, NAN, np.inf])
    with pytest.raises(ValueError, match=r"`path` must name objects 0\.\.5"):
        plot_object_values(GRID, VALUES, path=[6])
    with pytest.raises(ValueError, match="`vmax` must be within"):
        plot_object_values(GRID, VALUES, vmax=0)
    with pytest.raises(TypeError, match="`picture` must have dtype uint8"):
        plot_object_values(GRID, VALUES, picture=PICTURE / 255)


# ------------------------------------------------------------------------- steps


def test_each_column_is_one_step():
    attention, probability = steps_of(3)
    axes = plot_attention_steps(GRID, attention, probability, [0, 4, 5], steps=(0, 3))
    assert len(axes) == 4
    shown = [ax.collections[0].get_array() for ax in axes]
    for got, row in zip(
        shown, [attention[0], attention[3], probability[0], probability[3]], strict=True
    ):
        np.testing.assert_array_equal(got, row[:-1])
    draw(axes[0])


def test_titles_name_step_next_object_and_the_probability_of_the_end():
    attention, probability = steps_of(3)
    probability[:, -1] = [0, 0.25, 0.5, 0.0625]
    axes = plot_attention_steps(GRID, attention, probability, [0, 4, 5])
    assert [ax.get_title(loc="left") for ax in axes] == [
        "Step 0, then object 0\nP(end) 0.000",
        "Step 1, then object 4 (target)\nP(end) 0.250",
        "Step 2, then object 5\nP(end) 0.500",
        "Step 3, then the end\nP(end) 0.062",
        *[""] * 4,
    ]


def test_marks_are_the_fixations_before_the_step():
    axes = plot_attention_steps(GRID, *steps_of(3), [0, 4, 5])
    for k, ax in enumerate(axes):
        numbers = [t for t in numbers_of(ax) if t.isdigit()]
        assert numbers == [str(i) for i in range(k % 4)]
    assert colours_of(marks_of(axes[2])) == [HUMAN_COLOUR, PRESENT_COLOUR]


def test_the_object_fixated_next_is_outlined_and_at_the_end_none_is():
    axes = plot_attention_steps(GRID, *steps_of(2), [3, 1])
    outlined = [
        [
            p.get_bbox().extents.tolist()
            for p in ax.patches
            if to_hex(p.get_edgecolor()).upper() == PRESENT_COLOUR
        ]
        for ax in axes
    ]
    boxes = GRID.boxes_px.tolist()
    assert outlined == 2 * [[boxes[3]], [boxes[1]], []]


def test_colours_mean_the_same_in_a_row():
    attention, probability = np.zeros((2, 3, 7))
    attention[1, 2], attention[0, -1] = 0.5, 0.9
    probability[2, 0], probability[2, -1] = 0.25, 0.75
    axes = plot_attention_steps(GRID, attention, probability, [0, 1])
    largest = [ax.collections[0].norm.vmax for ax in axes]
    assert largest == [0.5] * 3 + [0.25] * 3
    bars = bars_of(axes[0])
    labels = [bar.get_ylabel() for bar in bars]
    assert labels == ["Attention to objects", "Probability of next"]
    # Attention to the target picture is painted, the probability of the end is not.
    extends = [axes[k].collections[0].colorbar.extend for k in (2, 5)]
    assert extends == ["max", "neither"]


def test_attention_to_the_target_picture_is_a_cell_below_the_display():
    attention, probability = steps_of(1)
    attention[:, :-1] = 0.5
    attention[:, -1] = [0.25, NAN]
    axes = plot_attention_steps(GRID, attention, probability, [0])
    texts = [numbers_of(ax)[-1] if ax.texts else "" for ax in axes]
    assert texts[:2] == ["to the target picture 0.250", "to the target picture –"]
    cells = [ax.patches[-1] for ax in axes[:2]]
    assert cells[0].get_facecolor() == colormaps["Blues"](0.5)
    assert [bool(cell.get_hatch()) for cell in cells] == [False, True]
    assert not any("picture" in text for ax in axes[2:] for text in numbers_of(ax))
    draw(axes[0])


@pytest.mark.parametrize(
    ("n", "steps"), [(1, [0, 1]), (3, [0, 1, 2, 3]), (9, [0, 3, 6, 9])]
)
def test_by_default_at_most_four_steps_are_shown(n, steps):
    axes = plot_attention_steps(GRID, *steps_of(n), [k % 6 for k in range(n)])
    titles = [ax.get_title(loc="left") for ax in axes[: len(axes) // 2]]
    assert [int(t.split()[1].rstrip(",")) for t in titles] == steps


def test_steps_over_a_picture_at_any_place_are_drawn():
    axes = plot_attention_steps(FREE, *steps_of(2, 3), [2, 2], picture=PICTURE)
    assert all(len(ax.get_images()) == 1 for ax in axes)
    assert [t.get_text() for t in axes[0].figure.legends[0].get_texts()] == [
        "target",
        "fixated next",
        "present fixation",
        "fixations before",
    ]
    draw(axes[0])


def test_wrong_steps_are_told():
    attention, probability = steps_of(3)
    cells = [0, 4, 5]
    with pytest.raises(ValueError, match=r"`attention` must have shape \(4, 7\)"):
        plot_attention_steps(GRID, attention[:3], probability, cells)
    with pytest.raises(ValueError, match=r"`probability` must have shape \(4, 7\)"):
        plot_attention_steps(GRID, attention, probability[:, :6], cells)
    with pytest.raises(ValueError, match=r"`probability` .* at most 1"):
        plot_attention_steps(GRID, attention, probability + 1, cells)
    with pytest.raises(ValueError, match=r"`steps` must be within \[0, 3\]; got 4"):
        plot_attention_steps(GRID, attention, probability, cells, steps=(0, 4))
    with pytest.raises(ValueError, match="`steps` is empty"):
        plot_attention_steps(GRID, attention, probability, cells, steps=())
    with pytest.raises(ValueError, match="`cells` must name objects"):
        plot_attention_steps(GRID, attention, probability, [0, 4, 6])


# --------------------------------------------------------------------- scanpaths


def test_a_scanpath_without_returns_goes_through_the_centres():
    ax = plot_object_scanpaths(GRID, {"net": [0, 4, 2]}, title="one")
    (line,) = ax.get_lines()
    assert line.get_xydata().tolist() == GRID.centres_px[[0, 4, 2]].tolist()
    assert to_hex(line.get_color()).upper() == PALETTE[0]
    assert numbers_of(ax) == ["0", "1", "2"]
    assert rings_of(ax) == []
    assert ax.get_title(loc="left") == "one"
    assert ax.get_legend() is None
    assert ax.figure.legends == []
    draw(ax)


def test_only_a_fixation_that_stays_has_a_ring():
    ax = plot_object_scanpaths(GRID, {"net": [0, 0, 3, 0, 5, 5, 5]})
    (rings,) = rings_of(ax)
    at = np.array(places(ax))
    assert rings.get_offsets().tolist() == at[[1, 5, 6]].tolist()
    assert rings.get_sizes().min() > marks_of(ax).get_sizes().max()
    assert to_hex(rings.get_edgecolor()[0]).upper() == PALETTE[0]
    assert len(rings.get_facecolor()) == 0
    draw(ax)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1))
def test_no_two_fixations_are_at_one_place_and_all_lie_in_their_objects(paths):
    named = {f"m{i}": cells for i, cells in enumerate(paths)}
    ax = plot_object_scanpaths(FREE, named)
    at = np.concatenate([line.get_xydata() for line in ax.get_lines()])
    assert len(np.unique(at.round(6), axis=0)) == len(at)
    left, top, right, bottom = FREE.boxes_px[np.concatenate(paths)].T
    assert ((left < at[:, 0]) & (at[:, 0] < right)).all()
    assert ((top < at[:, 1]) & (at[:, 1] < bottom)).all()


def test_an_object_fixated_alone_is_not_moved_by_other_objects():
    ax = plot_object_scanpaths(GRID, {"a": [0, 0, 3], "b": [1, 0]})
    first, second = (line.get_xydata() for line in ax.get_lines())
    assert first[2].tolist() == GRID.centres_px[3].tolist()
    assert second[0].tolist() == GRID.centres_px[1].tolist()


def test_several_scanpaths_have_colours_and_a_legend():
    paths = {"human": [0, 1], "net": [1, 2], "other": [2]}
    ax = plot_object_scanpaths(GRID, paths, colours={"other": "#123456"})
    colours = [to_hex(line.get_color()).upper() for line in ax.get_lines()]
    assert colours == [HUMAN_COLOUR, PALETTE[0], "#123456"]
    (legend,) = ax.figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["human", "net", "other"]
    handles = [to_hex(h.get_color()).upper() for h in legend.legend_handles]
    assert handles == colours
    draw(ax)


@pytest.mark.parametrize("n", [20, 21])
def test_long_scanpaths_have_small_marks_without_numbers(n):
    display = regular_display("c", rows=1, cols=30, size_px=(300, 10), target_cell=0)
    ax = plot_object_scanpaths(display, {"net": np.arange(n)})
    assert numbers_of(ax) == ([str(i) for i in range(20)] if n == 20 else [])
    assert (marks_of(ax).get_sizes() < 30).all() == (n == 21)
    draw(ax)


@pytest.mark.parametrize(("n", "there"), [(5, True), (6, False)])
def test_many_fixations_on_one_object_have_no_numbers_but_others_have(n, there):
    ax = plot_object_scanpaths(GRID, {"net": [3] * n + [0]})
    assert (numbers_of(ax)[:-1] == [str(i) for i in range(n)]) is there
    assert numbers_of(ax)[-1] == str(n)
    assert places(ax)[-1] == tuple(GRID.centres_px[0])
    draw(ax)


def test_without_a_picture_objects_are_empty_boxes():
    ax = plot_object_scanpaths(FREE, {})
    white = [p for p in ax.patches if p.get_facecolor() == (1, 1, 1, 1)]
    inside = [p.get_bbox().extents for p in white]
    gap = 0.05 * np.array([[1, 1, -1, -1]]) * [[20, 30, 20, 30]]
    np.testing.assert_allclose(inside[0], FREE.boxes_px[0] + gap[0])
    assert len(inside) == FREE.n_cells
    draw(ax)


def test_a_picture_is_shown_in_its_colours():
    ax = plot_object_scanpaths(GRID, {"net": [0]}, picture=PICTURE)
    (image,) = ax.get_images()
    np.testing.assert_array_equal(image.get_array(), PICTURE)
    assert len(ax.patches) == 1  # the target
    draw(ax)


def test_wrong_scanpaths_are_told():
    with pytest.raises(ValueError, match=r"`scanpath of net` must name objects 0\.\.5"):
        plot_object_scanpaths(GRID, {"net": [0, 6]})
    with pytest.raises(ValueError, match="`scanpath of net` is empty"):
        plot_object_scanpaths(GRID, {"net": []})
    with pytest.raises(TypeError, match="`scanpath of net` must be whole numbers"):
        plot_object_scanpaths(GRID, {"net": [0.5]})
