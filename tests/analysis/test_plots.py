"""What the figures draw is what the tables say."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.plot_style import HUMAN_COLOUR, PALETTE, looks_of
from analysis.plots import (
    plot_asymmetry_indices,
    plot_mean_asymmetry,
    plot_rt_by_set_size,
    plot_search_display,
    plot_slope_scatter,
)
from analysis.search_scores import search_scores
from data_loaders.search_humans import load_published_asymmetry


@pytest.fixture(scope="module")
def scores(trials, human):
    return search_scores(trials, human, n_bootstrap=100)


@pytest.fixture(scope="module")
def published():
    table = load_published_asymmetry()
    return table[table["model"].isin(["eccNET", "GBVS", "human"])]


@pytest.fixture
def display():
    image = np.full((60, 90, 3), 200, np.uint8)
    path = pd.DataFrame(
        {"fixation": [2, 0, 1], "x_px": [80.0, 45.0, 10.0], "y_px": [50.0, 30.0, 8.0]}
    )
    return image, path


def _draw(ax):
    """Render to pixels: layout and glyphs raise here if they can."""
    ax.figure.savefig(io.BytesIO(), format="png", dpi=50)


def _legend(ax):
    legend = ax.get_legend() or ax.figure.legends[0]
    return [text.get_text() for text in legend.get_texts()]


def _replace(scores, **values):
    return scores.replace({"subject": values, "model": values})


def test_no_figure_function_touches_pyplot(scores, published, display):
    before = pyplot.get_fignums()
    axes = [
        plot_rt_by_set_size(scores, experiment=1),
        plot_asymmetry_indices(scores, published=published),
        plot_mean_asymmetry(scores, published=published),
        plot_slope_scatter(scores, subject="alike"),
        plot_search_display(*display),
    ]
    for ax in axes:
        assert isinstance(ax.figure, Figure)
        _draw(ax)
    assert pyplot.get_fignums() == before


def test_given_axes_are_drawn_on_and_returned(scores, display):
    figure = Figure(figsize=(18, 10), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    assert plot_rt_by_set_size(scores, experiment=6, ax=axes[0]) is axes[0]
    assert plot_asymmetry_indices(scores, ax=axes[1]) is axes[1]
    assert plot_mean_asymmetry(scores, ax=axes[2]) is axes[2]
    assert plot_slope_scatter(scores, subject="flat", ax=axes[3]) is axes[3]
    assert plot_search_display(*display, ax=axes[4]) is axes[4]
    assert len(figure.legends) == 0
    _draw(axes[0])


def test_reaction_time_lines_are_the_means_of_the_table(scores):
    ax = plot_rt_by_set_size(scores, experiment=4)
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 3]
    drawn = {tuple(np.round(line.get_ydata().astype(float), 6)) for line in lines}
    rows = scores.query("metric == 'mean_rt_ms' and experiment == 4")
    expected = {
        tuple(part.sort_values("set_size")["value"].round(6))
        for _, part in rows.groupby(["subject", "label"])
    }
    assert drawn == expected
    assert ax.get_xticks().tolist() == [3, 6, 9]
    assert ax.get_xlabel() == "Set size (items)"
    assert ax.get_ylabel() == "Reaction time (ms)"


def test_reaction_time_legend_gives_slopes_and_marks_untrained_models(scores):
    ax = plot_rt_by_set_size(scores, experiment=4)
    entries = _legend(ax)
    assert entries[0] == "people: 33.0 and 14.0"
    assert entries[2].startswith("flat (untrained): ")
    title = ax.figure.legends[0].get_title().get_text()
    assert title == "Slopes in ms/item; full: L, broken: T"


def test_people_are_black_and_models_have_colours_in_order(scores):
    looks = looks_of(scores)
    assert [look.label for look in looks] == ["people", "alike", "flat (untrained)"]
    assert [look.colour for look in looks] == [HUMAN_COLOUR, *PALETTE[:2]]


def test_index_marks_are_the_values_of_the_table(scores, published):
    ax = plot_asymmetry_indices(scores, published=published)
    assert _legend(ax) == [
        "people",
        "alike",
        "flat (untrained)",
        "eccNET (published)",
    ]
    marks = [line.get_ydata() for line in ax.get_lines() if len(line.get_ydata()) == 6]
    rows = scores[scores["metric"] == "asymmetry_index"]
    for subject, values in zip(["human mean", "alike", "flat"], marks, strict=False):
        expected = rows[rows["subject"] == subject].sort_values("experiment")["value"]
        np.testing.assert_allclose(values, expected)
    assert marks[3].tolist() == [1.0, 1.0, 0.495, 0.789, -1.0, 0.791]
    assert ax.get_xticklabels()[4].get_text() == "5\nOrientation,\nhomogeneous"


def test_undefined_index_is_a_cross_at_zero(scores):
    gone = (scores["subject"] == "flat") & (scores["experiment"] == 2)
    columns = ["value", "ci_low", "ci_high"]
    table = scores.copy()
    table.loc[gone & (table["metric"] == "asymmetry_index"), columns] = np.nan
    ax = plot_asymmetry_indices(table)
    crosses = [line for line in ax.get_lines() if line.get_marker() == "x"]
    drawn = [line for line in crosses if len(line.get_xdata())]
    assert len(drawn) == 1
    assert drawn[0].get_ydata().tolist() == [0]
    assert drawn[0].get_xdata()[0] == pytest.approx(1, abs=0.5)


def test_mean_bars_are_sorted_and_hatched_when_untrained(scores, published):
    ax = plot_mean_asymmetry(scores, published=published)
    widths = [bar.get_width() for bar in ax.patches]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert widths == sorted(widths)
    assert set(labels) == {
        "people",
        "alike",
        "flat (untrained)",
        "eccNET (published)",
        "GBVS (published)",
    }
    hatched = {labels[i] for i, bar in enumerate(ax.patches) if bar.get_hatch()}
    assert hatched == {"flat (untrained)"}
    width = widths[labels.index("GBVS (published)")]
    assert width == -0.018


def test_undefined_mean_comes_last_without_a_bar(scores):
    table = scores.copy()
    gone = (table["subject"] == "alike") & (table["metric"] == "mean_asymmetry_index")
    table.loc[gone, ["value", "ci_low", "ci_high"]] = np.nan
    ax = plot_mean_asymmetry(table)
    assert ax.get_yticklabels()[0].get_text() == "alike"
    assert "–" in [text.get_text() for text in ax.texts]
    _draw(ax)


def test_scatter_puts_people_on_x_and_the_model_on_y(scores):
    ax = plot_slope_scatter(scores, subject="alike")
    clouds = [c.get_offsets() for c in ax.collections]
    points = np.vstack([cloud for cloud in clouds if len(cloud) == 2])
    rows = scores.query("metric == 'slope_ms_per_item' and subject == 'alike'")
    expected = rows[["human_value", "value"]].to_numpy(float)
    points = points[np.lexsort(points.T)]
    np.testing.assert_allclose(points, expected[np.lexsort(expected.T)])
    identity = ax.get_lines()[0]
    np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
    assert sorted(t.get_text() for t in ax.texts) == list("123456")
    r = scores.query("metric == 'slope_pearson_r' and subject == 'alike'")["value"]
    assert ax.get_title(loc="left") == f"alike: r = {r.item():.2f}"


def test_display_has_the_frame_of_pixels_and_numbers_in_order(display):
    image, path = display
    ax = plot_search_display(
        image,
        path,
        target_box=(70, 40, 90, 60),
        item_boxes=[(0, 0, 20, 20), (70, 40, 90, 60)],
        px_per_deg=30,
        title="a display",
    )
    assert ax.get_xlim() == (0, 90)
    assert ax.get_ylim() == (60, 0)
    texts = {t.get_text(): t.get_position() for t in ax.texts}
    assert texts["0"] == (45, 30)
    assert texts["2"] == (80, 50)
    assert "1°" in texts
    line = ax.get_lines()[0]
    assert line.get_xdata().tolist() == [45, 10, 80]
    boxes = [p.get_bbox().extents.tolist() for p in ax.patches]
    assert boxes == [[0, 0, 20, 20], [70, 40, 90, 60], [70, 40, 90, 60]]
    assert to_hex(ax.patches[-1].get_edgecolor()).upper() == PALETTE[2]


def test_names_are_not_taken_as_mathematics(scores, published):
    table = _replace(scores, flat="$\\frac$ _x_ {")
    for ax in (
        plot_rt_by_set_size(table, experiment=1),
        plot_asymmetry_indices(table, published=published),
        plot_mean_asymmetry(table),
        plot_slope_scatter(table, subject="$\\frac$ _x_ {"),
    ):
        _draw(ax)
    assert "$\\frac$ _x_ { (untrained)" in _legend(plot_asymmetry_indices(table))
    assert "_x (untrained)" in _legend(
        plot_asymmetry_indices(_replace(scores, flat="_x"))
    )


def test_long_names_are_wrapped(scores):
    name = "a-network-with-a-name-that-says-everything-about-its-training-and-more"
    table = _replace(scores, alike=name)
    for ax in (
        plot_rt_by_set_size(table, experiment=1),
        plot_asymmetry_indices(table),
        plot_mean_asymmetry(table),
        plot_slope_scatter(table, subject=name),
    ):
        _draw(ax)
    label = plot_mean_asymmetry(table).get_yticklabels()
    assert any(t.get_text().replace("\n", "") == name for t in label)


def test_figures_without_intervals_are_drawn(trials, human):
    bare = search_scores(trials, human, n_bootstrap=0)
    for ax in (
        plot_rt_by_set_size(bare, experiment=1),
        plot_asymmetry_indices(bare),
        plot_mean_asymmetry(bare),
        plot_slope_scatter(bare, subject="flat"),
    ):
        _draw(ax)
        assert len(ax.get_lines()) > 0


def test_figures_of_one_condition_alone_are_drawn(trials, human):
    one = trials.query("subject == 'flat' and condition == 'Ls'")
    scores = search_scores(one, human, n_bootstrap=0)
    ax = plot_rt_by_set_size(scores, experiment=4)
    assert _legend(ax)[1].endswith(" and –")
    _draw(ax)
    _draw(plot_asymmetry_indices(scores))
    _draw(plot_slope_scatter(scores, subject="flat"))


def test_what_is_not_there_is_named(scores, display):
    image, path = display
    with pytest.raises(ValueError, match="`experiment` must be one of 1, 2"):
        plot_rt_by_set_size(scores, experiment=9)
    with pytest.raises(ValueError, match="Did you mean 'alike'"):
        plot_slope_scatter(scores, subject="alik")
    with pytest.raises(ValueError, match="rows with the metric 'asymmetry_index'"):
        plot_asymmetry_indices(scores[scores["metric"] == "task_f"])
    with pytest.raises(ValueError, match="lacks the columns"):
        plot_mean_asymmetry(scores.drop(columns="untrained"))
    with pytest.raises(ValueError, match="rows of people"):
        plot_rt_by_set_size(scores[scores["model"] != "human"], experiment=1)
    with pytest.raises(ValueError, match="`target_box` must have shape"):
        plot_search_display(image, path, target_box=(1, 2, 3))
    with pytest.raises(TypeError, match="uint8"):
        plot_search_display(image / 255, path)
