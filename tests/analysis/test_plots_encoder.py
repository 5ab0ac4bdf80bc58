"""Figures of trained encoders show every score, limit, ceiling and map."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.plot_style import PALETTE
from analysis.plots_encoder import plot_attention_panels, plot_region_bars


def scores(**changes):
    rows = [
        ("subj01", "area", region, model, value)
        for region, values in (("V1", (0.5, 0.3)), ("V4", (0.2, np.nan)))
        for model, value in zip(("transformer", "ridge"), values, strict=True)
    ]
    columns = ["subject", "family", "region", "model", "value"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(
        n_units=[30, 30, 12, 12],
        ci_low=table["value"] - 0.05,
        ci_high=table["value"] + 0.1,
        ceiling_low=[0.7, 0.7, 0.6, 0.6],
        chance_low=[-0.03, -0.04, -0.02, np.nan],
        chance_high=[0.05, 0.03, 0.02, np.nan],
        untrained=False,
    ).assign(**changes)


def bars(ax):
    """Return the bars, without the bands of chance: left to right."""
    held = {bar for group in ax.containers for bar in getattr(group, "patches", ())}
    return sorted(held, key=lambda bar: bar.get_x())


def legend_texts(ax):
    return [text.get_text() for text in ax.figure.legends[0].get_texts()]


def test_bars_are_as_high_as_the_scores_and_stand_with_their_region():
    ax = plot_region_bars(scores(), ylabel="Mean r", title="A")
    found = bars(ax)
    np.testing.assert_allclose([bar.get_height() for bar in found], [0.5, 0.3, 0.2])
    middles = [bar.get_x() + bar.get_width() / 2 for bar in found]
    assert np.round(middles).tolist() == [0, 0, 1]
    ticks = [tick.get_text() for tick in ax.get_xticklabels()]
    assert ticks == ["V1\n(30)", "V4\n(12)"]
    assert ax.get_ylabel() == "Mean r"
    assert ax.get_title(loc="left") == "A"
    assert legend_texts(ax) == [
        "transformer",
        "ridge",
        "chance (95 %)",
        "noise ceiling",
    ]


def test_an_undefined_score_is_a_cross_and_no_bar():
    ax = plot_region_bars(scores(), ylabel="r")
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert len(crosses) == 1
    assert crosses[0].get_color() == PALETTE[1]
    assert 0.5 < crosses[0].get_xdata()[0] < 1.5


def test_limits_ceilings_and_chance_are_those_of_the_table():
    ax = plot_region_bars(scores(), ylabel="r")
    spans = [
        segment[:, 1]
        for collection in ax.collections
        for segment in collection.get_segments()
    ]
    for low, high in ((0.45, 0.6), (0.25, 0.4), (0.15, 0.3), (0.7, 0.7), (0.6, 0.6)):
        assert any(np.allclose(span, [low, high]) for span in spans), (low, high)
    bands = [p for p in ax.patches if isinstance(p, Rectangle) and p not in bars(ax)]
    found = sorted((p.get_y(), p.get_y() + p.get_height()) for p in bands)
    np.testing.assert_allclose(found, [(-0.04, 0.05), (-0.02, 0.02)])


def test_without_ceilings_or_chance_none_is_drawn():
    nothing = {name: np.nan for name in ("ceiling_low", "chance_low", "chance_high")}
    ax = plot_region_bars(scores(**nothing), ylabel="r")
    assert legend_texts(ax) == ["transformer", "ridge"]
    assert len(ax.patches) == len(bars(ax)) == 3


def test_of_several_subjects_bars_are_means_and_dots_are_subjects():
    second = scores(subject="subj02", n_units=10)
    both = pd.concat([scores(), second.assign(value=second["value"] + 0.1)])
    ax = plot_region_bars(both, ylabel="r")
    np.testing.assert_allclose([b.get_height() for b in bars(ax)], [0.55, 0.35, 0.25])
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    values = [tuple(np.round(line.get_ydata(), 6)) for line in dots]
    assert set(values) == {(0.5, 0.6), (0.3, 0.4), (0.2, 0.3)}
    assert [t.get_text() for t in ax.get_xticklabels()] == ["V1\n(40)", "V4\n(22)"]


def test_untrained_networks_are_open_and_named_so():
    table = scores()
    table["untrained"] = table["model"] == "ridge"
    ax = plot_region_bars(table, ylabel="r")
    assert legend_texts(ax)[:2] == ["transformer", "ridge (untrained)"]
    first, second, third = bars(ax)
    assert second.get_facecolor() == to_rgba("white")
    assert second.get_edgecolor() == to_rgba(PALETTE[1])
    assert first.get_facecolor() == third.get_facecolor() == to_rgba(PALETTE[0])


def test_models_beyond_the_colours_are_hatched():
    many = pd.concat([scores(model=f"m{i}").iloc[:1] for i in range(7)])
    found = bars(plot_region_bars(many, ylabel="r"))
    assert [bar.get_hatch() for bar in found] == [""] * 6 + ["//"]
    assert found[0].get_facecolor() == found[6].get_facecolor()


def test_one_label_in_two_families_is_two_groups():
    other = scores().iloc[:2].assign(family="parcels", value=[0.1, 0.05])
    ax = plot_region_bars(pd.concat([scores(), other]), ylabel="r")
    assert [t.get_text()[:2] for t in ax.get_xticklabels()] == ["V1", "V4", "V1"]
    assert len(bars(ax)) == 5


def test_many_long_names_are_slanted():
    table = pd.concat([scores(region=f"a long name {i}").iloc[:2] for i in range(6)])
    ax = plot_region_bars(table, ylabel="r")
    assert {tick.get_rotation() for tick in ax.get_xticklabels()} == {30}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (scores().drop(columns="chance_low"), "chance_low"),
        (scores().iloc[:0], "`scores` has no rows"),
        (pd.concat([scores(), scores()]), "several rows of one subject, region and"),
    ],
)
def test_wrong_tables_of_scores_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        plot_region_bars(table, ylabel="r")


# ---------------------------------------------------------------- panels of attention


def peaked(n=3, height=2, width=4):
    maps = np.full((n, height, width), 0.5 / (height * width - 1))
    for i in range(n):
        maps[i, i % height, i % width] = 0.5
    return maps


def test_panels_show_multiples_of_even_attention_on_one_scale():
    figure = plot_attention_panels(peaked(), ["a", "b", "c"], columns=2, title="T $1$")
    assert isinstance(figure, Figure)
    panels = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title(loc="left") for ax in panels] == ["a", "b", "c"]
    for i, ax in enumerate(panels):
        values = np.asarray(ax.images[0].get_array())
        assert values.max() == pytest.approx(0.5 * 8)
        row, column = np.unravel_index(values.argmax(), values.shape)
        assert (row // 14, column // 14) == (i % 2, i % 4)
        assert ax.images[0].get_clim() == (0, pytest.approx(4))
    assert figure.get_suptitle() == "T $1$"
    assert len(figure.axes) == 2 * 2 + 1  # a blank one, and the bar
    assert figure.axes[-1].get_ylabel().startswith("Attention")


def test_nearly_even_maps_look_even():
    figure = plot_attention_panels(np.full((2, 3, 3), 1 / 9), ["a", "b"])
    assert figure.axes[0].images[0].get_clim() == (0, 2)
    assert plot_attention_panels(peaked(), list("abc"), largest=9.0).axes[0].images[
        0
    ].get_clim() == (0, 9)


def test_rows_have_their_names_at_the_left():
    figure = plot_attention_panels(
        peaked(4), ["a", "b", "", ""], columns=2, row_names=["one", "two"]
    )
    texts = [[text.get_text() for text in ax.texts] for ax in figure.axes[:4]]
    assert texts == [["one"], [], ["two"], []]
    figure.canvas.draw()


def test_an_undefined_map_is_blank():
    maps = peaked()
    maps[1] = np.nan
    figure = plot_attention_panels(maps, list("abc"))
    assert np.isnan(np.asarray(figure.axes[1].images[0].get_array(), float)).all()


@pytest.mark.parametrize(
    ("maps", "titles", "options", "message"),
    [
        (peaked(), ["a"], {}, "`titles` has 1 entries for 3 maps"),
        (peaked()[:0], [], {}, "give one or more maps"),
        (peaked(), list("abc"), {"row_names": ["x", "y"]}, "`row_names` needs 1 entr"),
        (peaked(), list("abc"), {"columns": 0}, "`columns`"),
        (2 * peaked(), list("abc"), {}, "add up to 1"),
        (peaked()[0], ["a"], {}, "`maps`"),
    ],
)
def test_maps_that_do_not_fit_are_refused(maps, titles, options, message):
    with pytest.raises(ValueError, match=message):
        plot_attention_panels(maps, titles, **options)
