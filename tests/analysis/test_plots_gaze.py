"""Figures of gaze draw what the tables say."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.plot_style import GREY, HUMAN_COLOUR, PALETTE
from analysis.plots_gaze import (
    colours_of,
    plot_curves,
    plot_density,
    plot_scanpaths,
    plot_scores,
)

NAN = float("nan")
FRAME = {"width_px": 100, "height_px": 60}


def path(x, y, times=None):
    times = [NAN] * len(x) if times is None else times
    return pd.DataFrame({"x_px": x, "y_px": y, "duration_ms": times}, dtype=float)


PATH = path([10, 50, 90], [5, 30, 55], [100, 200, 600])
PICTURE = np.full((30, 50, 3), 90, np.uint8)


def curves(*rows):
    columns = ["model", "n", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


CURVES = curves(
    ("human", 1, 0.5, 0.4, 0.6),
    ("human", 0, 0.2, 0.1, 0.3),
    ("net", 0, 0.1, 0.05, 0.15),
    ("net", 1, 0.3, 0.25, 0.35),
    ("chance: uniform", 0, 0.0, NAN, NAN),
    ("chance: uniform", 1, 0.1, NAN, NAN),
)


def scores_of(*rows):
    columns = ["model", "metric", "value", "ci_low", "ci_high", "ceiling_low"]
    return pd.DataFrame(rows, columns=columns)


SCORES = scores_of(
    ("human", "hit", 0.8, 0.7, 0.9, NAN),
    ("net", "hit", 0.5, 0.4, 0.55, 0.8),
    ("other", "hit", -0.6, -0.7, -0.5, 0.8),
    ("chance: uniform", "hit", NAN, NAN, NAN, 0.8),
    ("net", "time", 12.0, 11.0, 13.0, NAN),
)


def draw(ax):
    """Render to pixels: layout and glyphs raise here if they can."""
    ax.figure.savefig(io.BytesIO(), format="png", dpi=50)


def colour_of(artist):
    return to_hex(artist.get_color()).upper()


def legend_of(ax):
    legend = ax.get_legend() or ax.figure.legends[0]
    return [text.get_text() for text in legend.get_texts()]


def mean_brightness(ax, box):
    """Mean level of a part of the drawn axes: left, top, right, bottom in 0..1."""
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    corner = ax.get_window_extent()
    height = pixels.shape[0]
    left, right = (int(corner.x0 + f * corner.width) for f in (box[0], box[2]))
    top, bottom = (int(height - corner.y1 + f * corner.height) for f in box[1::2])
    return pixels[top:bottom, left:right].mean()


# ------------------------------------------------------------------------ shared


def test_no_figure_function_touches_pyplot():
    before = pyplot.get_fignums()
    for ax in (
        plot_scanpaths(PICTURE, {"net": PATH}, **FRAME),
        plot_density(np.eye(8), x_px=[1], y_px=[2]),
        plot_curves(CURVES, x="n", xlabel="x", ylabel="y"),
        plot_scores(SCORES, metric="hit", label="hits"),
    ):
        assert isinstance(ax.figure, Figure)
        draw(ax)
    assert pyplot.get_fignums() == before


def test_given_axes_are_drawn_on_and_returned():
    figure = Figure(figsize=(12, 8), layout="constrained")
    one, two, three, four = figure.subplots(2, 2).ravel()
    assert plot_scanpaths(None, {"net": PATH}, ax=one, **FRAME) is one
    assert plot_density(np.eye(8), ax=two) is two
    assert plot_curves(CURVES, x="n", xlabel="x", ylabel="y", ax=three) is three
    assert plot_scores(SCORES, metric="hit", label="hits", ax=four) is four
    assert figure.legends == []
    assert len(legend_of(three)) == 3
    draw(one)


def test_nothing_is_altered_by_drawing():
    tables = (PATH, CURVES, SCORES)
    before = [table.copy() for table in tables]
    density = np.arange(12.0).reshape(3, 4)
    plot_scanpaths(None, {"net": PATH}, **FRAME)
    plot_curves(CURVES, x="n", xlabel="x", ylabel="y")
    plot_scores(SCORES, metric="hit", label="hits")
    plot_density(density)
    for table, old in zip(tables, before, strict=True):
        pd.testing.assert_frame_equal(table, old)
    assert density.ravel().tolist() == list(range(12))


def test_people_are_black_chance_is_grey_and_models_have_colours_in_order():
    names = ["net", "human", "chance: uniform", "net", "other", "people", "chance"]
    assert colours_of(names) == {
        "net": PALETTE[0],
        "human": HUMAN_COLOUR,
        "chance: uniform": GREY,
        "other": PALETTE[1],
        "people": HUMAN_COLOUR,
        "chance": GREY,
    }


@given(st.lists(st.sampled_from([f"m{i}" for i in range(9)]), max_size=20))
def test_colours_follow_the_first_appearance(names):
    found = colours_of(names)
    once = list(dict.fromkeys(names))
    assert list(found) == once
    assert list(found.values()) == [PALETTE[i % len(PALETTE)] for i in range(len(once))]


# --------------------------------------------------------------------- scanpaths


def test_a_scanpath_is_drawn_where_it_went():
    ax = plot_scanpaths(PICTURE, {"net": PATH}, title="a scene", **FRAME)
    assert ax.get_xlim() == (0, 100)
    assert ax.get_ylim() == (60, 0)
    (line,) = ax.get_lines()
    assert line.get_xdata().tolist() == [10, 50, 90]
    assert line.get_ydata().tolist() == [5, 30, 55]
    assert colour_of(line) == PALETTE[0]
    (marks,) = ax.collections
    assert marks.get_offsets().tolist() == [[10, 5], [50, 30], [90, 55]]
    assert {t.get_text(): t.xy for t in ax.texts} == {
        "0": (10, 5),
        "1": (50, 30),
        "2": (90, 55),
    }
    assert ax.get_title(loc="left") == "a scene"
    draw(ax)


def test_a_picture_is_stretched_over_the_frame():
    ax = plot_scanpaths(PICTURE, {}, **FRAME)
    (image,) = ax.get_images()
    assert tuple(image.get_extent()) == (0, 100, 60, 0)
    np.testing.assert_array_equal(image.get_array(), PICTURE)
    assert ax.get_aspect() == 1


def test_without_a_picture_the_frame_is_drawn():
    ax = plot_scanpaths(None, {"net": PATH}, **FRAME)
    assert len(ax.get_images()) == 0
    assert ax.patches[0].get_bbox().extents.tolist() == [0, 0, 100, 60]
    assert ax.get_aspect() == 1
    draw(ax)


def test_areas_of_marks_grow_with_durations():
    ax = plot_scanpaths(None, {"net": PATH}, **FRAME)
    sizes = ax.collections[0].get_sizes()
    np.testing.assert_allclose(sizes / sizes[0], [1, 2, 6])
    assert sizes.mean() == pytest.approx(110)


@pytest.mark.parametrize("times", [None, [100, NAN, 300], [0, 0, 0]])
def test_without_all_durations_marks_are_alike(times):
    ax = plot_scanpaths(None, {"net": path([1, 2, 3], [1, 2, 3], times)}, **FRAME)
    sizes = ax.collections[0].get_sizes()
    assert sizes.tolist() == [110, 110, 110]


def test_extreme_durations_stay_legible():
    times = [1] * 30 + [100_000]
    ax = plot_scanpaths(None, {"net": path([1] * 31, [2] * 31, times)}, **FRAME)
    sizes = ax.collections[0].get_sizes()
    assert (sizes.min(), sizes.max()) == (20, 500)


@pytest.mark.parametrize(("n", "numbers"), [(20, 20), (21, 0), (1, 1), (0, 0)])
def test_long_scanpaths_have_no_numbers(n, numbers):
    ax = plot_scanpaths(None, {"net": path([5] * n, [6] * n)}, **FRAME)
    assert [t.get_text() for t in ax.texts] == [str(i) for i in range(numbers)]
    draw(ax)


def test_several_scanpaths_have_colours_of_their_own():
    paths = {"human": PATH, "net": PATH + 1, "other": PATH - 1}
    ax = plot_scanpaths(None, paths, **FRAME)
    assert [colour_of(line) for line in ax.get_lines()] == [
        HUMAN_COLOUR,
        *PALETTE[:2],
    ]
    chosen = plot_scanpaths(None, paths, colours={"net": "#123456"}, **FRAME)
    assert [colour_of(line) for line in chosen.get_lines()] == [
        HUMAN_COLOUR,
        "#123456",
        PALETTE[1],
    ]


def test_the_target_has_a_green_box():
    ax = plot_scanpaths(None, {}, target_box=(20, 10, 50, 40), **FRAME)
    box = ax.patches[-1]
    assert isinstance(box, Rectangle)
    assert box.get_bbox().extents.tolist() == [20, 10, 50, 40]
    red, green, blue, _ = box.get_edgecolor()
    assert green > max(red, blue)
    assert not box.get_fill()


def test_lost_fixations_leave_a_gap():
    ax = plot_scanpaths(None, {"net": path([1, NAN, 3], [1, NAN, 3])}, **FRAME)
    assert np.isnan(ax.get_lines()[0].get_xdata()).tolist() == [False, True, False]
    draw(ax)


def test_wrong_scanpaths_are_told():
    with pytest.raises(ValueError, match=r"`scanpath of net` lacks.*'duration_ms'"):
        plot_scanpaths(None, {"net": PATH.drop(columns="duration_ms")}, **FRAME)
    with pytest.raises(TypeError, match="`picture` must have dtype uint8"):
        plot_scanpaths(PICTURE / 255, {}, **FRAME)
    with pytest.raises(ValueError, match="`target_box` must have shape"):
        plot_scanpaths(None, {}, target_box=(1, 2, 3), **FRAME)


# ----------------------------------------------------------------------- density


def test_a_density_is_drawn_from_its_lowest_to_its_highest_value():
    density = np.array([[1.0, 2, 3], [3, 4, 5]])
    ax = plot_density(density, title="people")
    (image,) = ax.get_images()
    np.testing.assert_allclose(image.get_array(), (density - 1) / 4)
    assert tuple(image.get_extent()) == (0, 3, 2, 0)
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 3), (2, 0))
    assert ax.get_title(loc="left") == "people"
    draw(ax)


@settings(max_examples=10)
@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_scale_and_shift_of_a_density_do_not_show(scale, shift):
    density = np.random.default_rng(0).random((6, 7))
    one, other = (
        plot_density(d).get_images()[0].get_array()
        for d in (density, scale * density + shift)
    )
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_a_density_lies_over_a_grey_picture_and_shows_it_where_it_is_low():
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[..., 0] = 240
    density = np.zeros((40, 60))
    density[10:20, 10:20] = 1
    ax = plot_density(density, picture=picture)
    below, above = ax.get_images()
    np.testing.assert_allclose(below.get_array(), 80)
    assert tuple(below.get_extent()) == tuple(above.get_extent()) == (0, 60, 40, 0)
    alpha = np.asarray(above.get_alpha())
    assert alpha.shape == density.shape
    assert alpha[0, 0] == 0
    assert alpha[15, 15] == pytest.approx(0.8)
    assert mean_brightness(ax, (0.5, 0.6, 0.9, 0.9)) == pytest.approx(80, abs=1)
    assert mean_brightness(ax, (0.2, 0.3, 0.3, 0.45)) > 120


def test_fixations_are_marked_on_a_density():
    ax = plot_density(np.eye(9), x_px=[1.5, 4], y_px=[2, 8.5])
    assert ax.collections[0].get_offsets().tolist() == [[1.5, 2], [4, 8.5]]
    assert len(plot_density(np.eye(9)).collections) == 0


@pytest.mark.parametrize("with_picture", [True, False])
@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_what_is_not_finite_is_left_open(value, with_picture):
    density = np.arange(600.0).reshape(20, 30)
    density[:5] = value
    picture = PICTURE if with_picture else None
    ax = plot_density(density, picture=picture)
    shown = np.ma.filled(ax.get_images()[-1].get_array(), NAN)
    assert np.isnan(shown[:5]).all()
    assert (shown[5:].min(), shown[5:].max()) == (0, 1)
    draw(ax)


@pytest.mark.parametrize("with_picture", [True, False])
@pytest.mark.parametrize("value", [NAN, 0.0, 7.0])
def test_a_density_without_differences_is_drawn(value, with_picture):
    picture = PICTURE if with_picture else None
    ax = plot_density(np.full((20, 30), value), picture=picture)
    shown = np.ma.filled(ax.get_images()[-1].get_array(), NAN)
    np.testing.assert_array_equal(shown, np.full((20, 30), value * 0))
    draw(ax)


def test_wrong_densities_are_told():
    with pytest.raises(ValueError, match=r"`density` must have shape \(any, any\)"):
        plot_density(np.zeros((3, 3, 3)))
    with pytest.raises(TypeError, match="`picture` must have dtype uint8"):
        plot_density(np.eye(3), picture=np.zeros((3, 3, 3)))


# ------------------------------------------------------------------------ curves


def test_each_curve_is_drawn_in_the_order_of_its_abscissa():
    ax = plot_curves(CURVES, x="n", xlabel="saccades", ylabel="found", title="t")
    lines = {colour_of(line): line for line in ax.get_lines()}
    assert lines[HUMAN_COLOUR].get_xdata().tolist() == [0, 1]
    assert lines[HUMAN_COLOUR].get_ydata().tolist() == [0.2, 0.5]
    assert lines[PALETTE[0]].get_ydata().tolist() == [0.1, 0.3]
    assert lines[GREY].get_ydata().tolist() == [0.0, 0.1]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("saccades", "found")
    assert ax.get_title(loc="left") == "t"
    draw(ax)


def test_people_are_on_top_and_thickest_and_chance_is_broken():
    lines = plot_curves(CURVES, x="n", xlabel="", ylabel="").get_lines()
    assert colour_of(lines[-1]) == HUMAN_COLOUR
    assert [line.get_marker() == "D" for line in lines] == [False, False, True]
    assert lines[-1].get_linewidth() == max(line.get_linewidth() for line in lines)
    broken = [colour_of(line) for line in lines if line.get_linestyle() == "--"]
    assert broken == [GREY]


def test_bands_are_the_intervals():
    ax = plot_curves(CURVES, x="n", xlabel="", ylabel="")
    bands = {to_hex(b.get_facecolor()).upper(): b for b in ax.collections}
    box = bands[PALETTE[0]].get_datalim(ax.transData).extents
    np.testing.assert_allclose(box, [0, 0.05, 1, 0.35])
    box = bands[HUMAN_COLOUR].get_datalim(ax.transData).extents
    np.testing.assert_allclose(box, [0, 0.1, 1, 0.6])
    # Without an interval there is nothing to fill.
    paths = bands[GREY].get_paths()
    assert sum(len(p.vertices) for p in paths) == 0


def test_curves_are_named_in_the_order_of_their_labels():
    labels = {"human": "a person", "net": "the net"}
    ax = plot_curves(CURVES, x="n", xlabel="", ylabel="", labels=labels)
    assert legend_of(ax) == ["a person", "chance: uniform", "the net"]
    handles = ax.figure.legends[0].legend_handles
    colours = [colour_of(handle) for handle in handles]
    assert colours == [HUMAN_COLOUR, GREY, PALETTE[0]]


def test_steps_stand_around_their_values():
    ax = plot_curves(CURVES, x="n", xlabel="", ylabel="", steps=True)
    for line in ax.get_lines():
        assert line.get_drawstyle() == "steps-mid"
        assert line.get_marker() == "None"
    draw(ax)


@pytest.mark.parametrize(("n", "marked"), [(25, True), (26, False)])
def test_dense_curves_have_no_marks(n, marked):
    rows = [("net", i, 0.5, NAN, NAN) for i in range(n)]
    (line,) = plot_curves(curves(*rows), x="n", xlabel="", ylabel="").get_lines()
    assert (line.get_marker() != "None") is marked


def test_undefined_and_absent_curves_are_drawn():
    for table in (CURVES.assign(value=NAN, ci_low=NAN, ci_high=NAN), CURVES.iloc[:0]):
        draw(plot_curves(table, x="n", xlabel="", ylabel=""))


def test_names_are_not_taken_as_mathematics():
    name = "$\\frac$ _x_ {"
    table = CURVES.replace({"model": {"net": name}})
    ax = plot_curves(table, x="n", xlabel="", ylabel="", title=name)
    draw(ax)
    assert name in legend_of(ax)
    scores = SCORES.replace({"model": {"net": name}})
    ax = plot_scores(scores, metric="hit", label="hits")
    draw(ax)
    assert name in [text.get_text() for text in ax.get_yticklabels()]


def test_a_missing_column_of_curves_is_told():
    message = r"lacks the columns \['values'\].*Did you mean 'value'"
    with pytest.raises(ValueError, match=message):
        plot_curves(CURVES, x="values", xlabel="", ylabel="")
    with pytest.raises(ValueError, match=r"lacks the columns \['ci_low'\]"):
        plot_curves(CURVES.drop(columns="ci_low"), x="n", xlabel="", ylabel="")


# ------------------------------------------------------------------------ scores


def marks_of(ax):
    """Marks of the observers from below: colour, value, place, marker."""
    found = []
    for container in ax.containers:
        line = container.lines[0]
        (value,), (place,) = line.get_xdata(), line.get_ydata()
        found.append((colour_of(line), float(value), int(place), line.get_marker()))
    return found


def test_observers_stand_in_the_order_of_their_values_best_at_the_top():
    ax = plot_scores(SCORES, metric="hit", label="Hits (share)")
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == ["chance: uniform", "other", "net", "human"]
    (grey, value, *_), *others = marks_of(ax)
    assert grey == GREY
    assert np.isnan(value)
    assert others == [
        (PALETTE[1], -0.6, 1, "o"),
        (PALETTE[0], 0.5, 2, "o"),
        (HUMAN_COLOUR, 0.8, 3, "D"),
    ]
    assert ax.get_xlabel() == "Hits (share)"
    assert [t.get_text() for t in ax.texts] == ["–", "−0.600", "0.500", "0.800"]
    draw(ax)


def test_intervals_of_scores_are_those_of_the_table():
    ax = plot_scores(SCORES, metric="hit", label="")
    undefined, *bars = (c.lines[2][0].get_segments() for c in ax.containers)
    assert np.size(undefined) == 0
    spans = [segment[:, 0] for (segment,) in bars]
    np.testing.assert_allclose(spans, [[-0.7, -0.5], [0.4, 0.55], [0.7, 0.9]])


def test_a_value_outside_its_interval_has_no_negative_bar():
    scores = scores_of(("net", "hit", 1.0, 0.8, 0.95, NAN))
    ax = plot_scores(scores, metric="hit", label="")
    (segment,) = ax.containers[0].lines[2][0].get_segments()
    assert segment[:, 0].tolist() == [0.8, 1.0]
    draw(ax)


def test_without_intervals_there_are_only_marks():
    bare = SCORES.assign(ci_low=NAN, ci_high=NAN)
    ax = plot_scores(bare, metric="hit", label="")
    assert all(not c.has_xerr for c in ax.containers)
    draw(ax)


def test_chance_has_open_marks():
    ax = plot_scores(SCORES, metric="hit", label="")
    faces = [to_hex(c.lines[0].get_markerfacecolor()) for c in ax.containers]
    assert [face == "#ffffff" for face in faces] == [True, False, False, False]


def test_the_ceiling_is_a_broken_line_with_its_words():
    ax = plot_scores(SCORES, metric="hit", label="", ceiling_text="half of people")
    (line,) = [e for e in ax.get_lines() if e.get_linestyle() != "None"]
    assert line.get_xdata() == [0.8, 0.8]
    assert ax.get_title(loc="right") == "broken line: half of people"
    bare = plot_scores(SCORES, metric="time", label="")
    assert bare.get_title(loc="right") == ""
    assert [e for e in bare.get_lines() if e.get_linestyle() != "None"] == []


def test_an_observer_has_the_same_colour_in_every_figure():
    alone = marks_of(plot_scores(SCORES, metric="time", label=""))
    assert [colour for colour, *_ in alone] == [PALETTE[0]]
    swapped = SCORES[SCORES["model"].isin(["other"]) | (SCORES["metric"] == "time")]
    assert [c for c, *_ in marks_of(plot_scores(swapped, metric="time", label=""))] == [
        PALETTE[1]
    ]


def test_printed_names_replace_those_of_the_table():
    labels = {"net": "net (untrained)"}
    ax = plot_scores(SCORES, metric="hit", label="", labels=labels)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == ["chance: uniform", "other", "net (untrained)", "human"]


def test_what_is_not_there_is_told():
    with pytest.raises(ValueError, match="no row with metric 'hits'"):
        plot_scores(SCORES, metric="hits", label="")
    with pytest.raises(ValueError, match=r"lacks the columns \['ceiling_low'\]"):
        plot_scores(SCORES.drop(columns="ceiling_low"), metric="hit", label="")
