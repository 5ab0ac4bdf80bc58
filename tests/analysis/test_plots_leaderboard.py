"""The figure of a board: what lies where, and what is marked."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.plot_style import GREY, HUMAN_COLOUR, PALETTE
from analysis.plots_leaderboard import leaderboard_labels, plot_leaderboard

LIMITS = ("ceiling_low", "ceiling_high", "chance_low", "chance_high")


def make_entries(**columns):
    rows = {
        "label": ["trained", "raw (untrained)", "centre", "people", "odd"],
        "kind": ["model", "model", "baseline", "people", "model"],
        "untrained": [False, True, False, False, False],
        "value": [0.5, 0.3, 0.2, 0.7, np.nan],
        "ci_low": [0.4, np.nan, 0.1, 0.65, np.nan],
        "ci_high": [0.6, np.nan, 0.3, 0.75, np.nan],
    }
    table = pd.DataFrame(rows).assign(**dict.fromkeys(LIMITS, np.nan))
    return table.assign(**columns)


CELLS = pd.DataFrame(
    {"label": ["trained"] * 2 + ["centre"], "value": [0.45, 0.55, 0.2]}
)


def draw(entries=None, cells=CELLS, **options):
    entries = make_entries() if entries is None else entries
    return plot_leaderboard(entries, cells, xlabel="r", **options)


def points(axes):
    found = [line for line in axes.lines if len(line.get_xdata()) == 1]
    return {(float(p.get_xdata()[0]), float(p.get_ydata()[0])): p for p in found}


def legend_texts(axes):
    legend = axes.figure.legends[0]
    return [text.get_text() for text in legend.get_texts()]


def test_entries_stand_below_each_other_in_their_order():
    axes = draw()
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ["trained", "raw (untrained)", "centre", "odd"]
    assert set(points(axes)) == {(0.5, 0.0), (0.3, -1.0), (0.2, -2.0)}
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["undefined", "0.500", "0.300", "0.200", "–"]


def test_intervals_have_their_limits_and_models_without_one_have_no_bar():
    segments = [
        segment[:, 0].tolist()
        for bars in draw().containers
        for part in bars.lines[2]
        for segment in part.get_segments()
    ]
    assert segments == [pytest.approx([0.4, 0.6]), pytest.approx([0.1, 0.3])]


def test_untrained_models_are_open_and_baselines_grey():
    drawn = points(draw())
    assert drawn[0.5, 0].get_markerfacecolor() == PALETTE[0]
    assert drawn[0.3, -1].get_markerfacecolor() == "white"
    assert to_hex(drawn[0.2, -2].get_color()) == GREY.lower()


def test_people_are_a_line_across_and_named():
    axes = draw()
    lines = [
        line for line in axes.lines if to_hex(line.get_color()) == HUMAN_COLOUR.lower()
    ]
    assert [line.get_xdata()[0] for line in lines] == [0.7]
    assert legend_texts(axes) == [
        *("one subject or seed", "model", "untrained", "baseline", "people")
    ]
    alone = draw(make_entries().iloc[[3]])
    assert [text.get_text() for text in alone.get_yticklabels()] == ["people"]


def test_each_cell_is_a_ring_unless_it_is_all_there_is():
    rings = draw().collections[0].get_offsets()
    assert np.asarray(rings)[:, 0].tolist() == [0.45, 0.55]


def test_ceiling_and_chance_are_bands_or_lines():
    entries = make_entries(
        ceiling_low=0.8, ceiling_high=0.9, chance_low=-0.1, chance_high=0.1
    )
    axes = draw(entries)
    spans = [
        patch.get_extents().transformed(axes.transData.inverted())
        for patch in axes.patches
    ]
    assert [s.x0 for s in spans] == pytest.approx([0.8, -0.1])
    assert [s.x1 for s in spans] == pytest.approx([0.9, 0.1])
    assert {"noise ceiling", "chance"} <= set(legend_texts(axes))
    axes = draw(make_entries(ceiling_low=0.8))
    assert not axes.patches
    assert 0.8 in [line.get_xdata()[0] for line in axes.lines]


def test_an_interval_far_beyond_all_values_is_cut():
    low, high = draw(make_entries(ci_low=-90.0, ci_high=90.0)).get_xlim()
    # Values and people span 0.2 to 0.7.
    assert (low, high) == pytest.approx((0.2 - 0.3, 0.7 + 0.3))
    low, high = draw().get_xlim()
    assert low < 0.1
    assert high > 0.7


def test_names_with_signs_of_mathematics_are_drawn_as_they_are():
    axes = draw(make_entries(label=["$x^{$", "<b>", "a" * 60, "people", "odd"]))
    axes.figure.canvas.draw()
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels[:2] == ["$x^{$", "<b>"]
    assert len(labels[2]) < 40


def test_wrong_tables_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        draw(make_entries().iloc[:0])
    with pytest.raises(ValueError, match="several rows of trained"):
        draw(pd.concat([make_entries(), make_entries().iloc[:1]]))
    with pytest.raises(ValueError, match="ceiling_low"):
        draw(make_entries().drop(columns="ceiling_low"))


def test_labels_name_layers_marks_and_people():
    rows = [("a", "", "model", True), ("untrained b", "fc", "model", True)]
    rows += [
        ("human", "", "people", False),
        ("human, own included", "", "people", False),
    ]
    table = pd.DataFrame(rows, columns=["model", "layer", "kind", "untrained"])
    assert leaderboard_labels(table) == [
        *("a (untrained)", "untrained b fc", "people", "human, own included")
    ]
