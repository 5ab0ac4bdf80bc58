"""Figures of rankings show every model, its interval, ceiling, chance and marks."""

import matplotlib.colors as mcolors
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from analysis.plots_ranking import (
    model_colours,
    model_labels,
    plot_difference_matrix,
    plot_layer_curves,
    plot_model_ranking,
)

TRAINED, TWIN, GABOR = "net@weights", "net@seeded:0", "control:gabor"


def layers(**changes):
    rows = [
        (model, f"l{k}", depth, 0.1 * k + shift, untrained)
        for model, shift, untrained in ((TRAINED, 0.2, False), (TWIN, 0.05, True))
        for k, depth in enumerate((0.0, 0.5, 1.0))
    ]
    rows.append((GABOR, "energy", np.nan, 0.15, False))
    columns = ["model", "layer", "depth", "value", "untrained"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(
        ci_low=table["value"] - 0.05,
        ci_high=table["value"] + 0.05,
        ceiling_low=0.5,
        ceiling_high=0.6,
        chance_low=-0.03,
        chance_high=0.03,
    ).assign(**changes)


def best():
    return layers().drop_duplicates("model", keep="last").reset_index(drop=True)


def legend_texts(ax):
    owner = ax.figure if ax.figure.legends else ax
    legend = owner.legends[0] if ax.figure.legends else ax.get_legend()
    return [text.get_text().replace("\n", " ") for text in legend.get_texts()]


def test_names_are_short_where_they_stay_distinct():
    table = pd.DataFrame(
        {
            "model": [TRAINED, TWIN, "other@a", "other@b"],
            "untrained": [False, True, False, False],
        }
    )
    labels = model_labels(table)
    assert list(labels.values()) == ["net", "net (untrained)", "other@a", "other@b"]


def test_a_twin_has_the_colour_of_its_network():
    colours = model_colours([TRAINED, "b@w", TWIN])
    assert colours[TRAINED] == colours[TWIN] != colours["b@w"]


def test_curves_go_through_the_values_and_untrained_ones_are_broken():
    ax = plot_layer_curves(layers(), ylabel="r", title="V4")
    lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
    assert len(lines) == 2
    np.testing.assert_allclose(lines[0].get_ydata(), [0.2, 0.3, 0.4])
    np.testing.assert_allclose(lines[1].get_ydata(), [0.05, 0.15, 0.25])
    assert lines[0].get_linestyle() == "-"
    assert lines[1].get_linestyle() != "-"
    assert lines[0].get_color() == lines[1].get_color()
    assert ax.get_ylabel() == "r"
    assert "V4" in ax.get_title(loc="left")


def test_a_model_without_depth_is_a_level_line_at_its_largest_value():
    more = pd.concat([layers(), layers().iloc[-1:].assign(layer="x", value=0.33)])
    ax = plot_layer_curves(more, ylabel="r")
    level = [line for line in ax.lines if list(line.get_ydata()) == [0.33, 0.33]]
    assert len(level) == 1
    assert any("control:gabor (no depth)" in text for text in legend_texts(ax))


def test_ceiling_and_chance_are_bands_where_they_are_known():
    ax = plot_layer_curves(layers(), ylabel="r")
    spans = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    edges = sorted((round(p.get_y(), 3), round(p.get_height(), 3)) for p in spans)
    assert edges == [(-0.03, 0.06), (0.5, 0.1)]
    assert {"noise ceiling", "chance (95 %)"} < set(legend_texts(ax))
    ax = plot_layer_curves(layers(ceiling_low=np.nan, chance_low=np.nan), ylabel="r")
    assert not ax.patches
    assert "noise ceiling" not in legend_texts(ax)


def test_a_ceiling_that_is_one_number_is_a_line():
    ax = plot_layer_curves(layers(ceiling_high=0.5), ylabel="r")
    assert any(list(line.get_ydata()) == [0.5, 0.5] for line in ax.lines)


def test_bars_are_sorted_and_open_for_random_weights():
    ax = plot_model_ranking(best(), xlabel="r")
    bars = [p for p in ax.patches if p.get_height() == pytest.approx(0.62)]
    assert [round(bar.get_width(), 2) for bar in bars] == [0.15, 0.25, 0.4]
    faces = [mcolors.to_hex(bar.get_facecolor()) for bar in bars]
    assert faces[1] == "#ffffff"
    assert faces[2] != "#ffffff"
    ticks = [tick.get_text() for tick in ax.get_yticklabels()]
    assert ticks == ["control:gabor\nenergy", "net (untrained)\nl2", "net\nl2"]
    assert "untrained" in legend_texts(ax)


def test_the_optimistic_value_is_an_open_mark_beside_the_bar():
    luck = best().assign(value=[0.45, 0.3, 0.2])
    ax = plot_model_ranking(best(), optimistic=luck, xlabel="r")
    marks = [line for line in ax.lines if line.get_marker() == "d"]
    assert [float(m.get_xdata()[0]) for m in marks] == [0.2, 0.3, 0.45]
    assert any("optimistic" in text for text in legend_texts(ax))


def test_an_undefined_score_has_no_bar_and_stands_last():
    rows = best()
    rows.loc[rows["model"] == TRAINED, ["value", "ci_low", "ci_high"]] = np.nan
    ax = plot_model_ranking(rows, xlabel="r")
    assert ax.get_yticklabels()[0].get_text().startswith("net\n")
    assert any(text.get_text() == "–" for text in ax.texts)


def pairs():
    return pd.DataFrame(
        {
            "model_a": [TRAINED, TRAINED, TWIN],
            "model_b": [TWIN, GABOR, GABOR],
            "difference": [0.2, 0.3, 0.1],
            "p_fdr": [0.001, 0.2, np.nan],
        }
    )


def test_a_matrix_holds_row_minus_column_and_only_certain_cells_are_coloured():
    ax = plot_difference_matrix(pairs(), order=[TRAINED, TWIN, GABOR], label="r")
    shown = ax.images[0].get_array()
    assert shown[0, 1] == 0.2
    assert shown[1, 0] == -0.2
    assert np.ma.getmaskarray(np.ma.masked_invalid(shown)).sum() == 7
    cells = {
        (round(t.get_position()[1]), round(t.get_position()[0])): t for t in ax.texts
    }
    assert cells[0, 1].get_text() == "0.20"
    assert cells[1, 0].get_text() == "−0.20"
    assert cells[0, 1].get_fontweight() == "bold"
    assert cells[0, 2].get_fontweight() == "normal"
    assert (0, 0) not in cells


def test_the_order_and_names_of_a_matrix_are_the_callers():
    labels = {TRAINED: "trained", GABOR: "gabor"}
    ax = plot_difference_matrix(
        pairs(), order=[GABOR, TRAINED], label="r", labels=labels
    )
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == ["gabor", "trained"]
    assert {text.get_text() for text in ax.texts} == {"0.30", "−0.30"}


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_layer_curves(layers().iloc[:0], ylabel="r"), "no rows"),
        (
            lambda: plot_layer_curves(layers().drop(columns="depth"), ylabel="r"),
            "depth",
        ),
        (lambda: plot_model_ranking(layers(), xlabel="r"), "several rows of"),
        (
            lambda: plot_difference_matrix(
                pairs().drop(columns="p_fdr"), order=[TWIN], label="r"
            ),
            "p_fdr",
        ),
    ],
)
def test_wrong_tables_are_told(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
