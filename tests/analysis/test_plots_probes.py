"""Figures of probes: what is drawn is what the tables hold."""

import numpy as np
import pandas as pd
import pytest

from analysis.plots_probes import plot_probe_groups, plot_probe_layers


def runs():
    """Two runs of each of two groups, and two controls."""
    return pd.DataFrame(
        {
            "model": ["new 1", "new 2", "old 1", "old 2", "control:a", "control:b"],
            "group": ["new", "new", "old", "old", "control:a", "control:b"],
            "kind": ["network"] * 4 + ["control"] * 2,
            "untrained": [False, False, True, True, False, False],
            "value": [0.8, 0.9, 0.3, 0.4, 0.5, 0.505],
            "chance_high": 0.1,
            "ceiling_low": 0.92,
            "ceiling_high": 0.97,
        }
    )


def means():
    return pd.DataFrame(
        {
            "group": ["new", "old"],
            "value": [0.85, 0.35],
            "ci_low": [0.8, np.nan],
            "ci_high": [0.95, np.nan],
        }
    )


def test_dots_are_the_runs_and_bars_the_means_of_their_group():
    ax = plot_probe_groups(runs(), means(), label="share", title="Cats")
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [d.get_ydata().tolist() for d in dots] == [[0.8, 0.9], [0.3, 0.4]]
    bars = [line for line in ax.lines if line.get_marker() == "_"]
    assert [float(b.get_ydata()[0]) for b in bars] == [0.85, 0.35]
    ends = ax.containers[0].lines[2][0].get_segments()[0][:, 1]
    np.testing.assert_allclose(ends, [0.8, 0.95])
    assert ax.get_ylabel() == "share"
    assert ax.get_title(loc="left") == "Cats"


def test_untrained_runs_are_hollow_and_trained_ones_are_not():
    ax = plot_probe_groups(runs(), means())
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    faces = [d.get_markerfacecolor() for d in dots]
    assert faces[1] == "white"
    assert faces[0] == dots[0].get_color() != "white"


def test_controls_chance_and_ceiling_are_lines_and_a_band():
    ax = plot_probe_groups(runs(), means())
    flat = {
        round(float(line.get_ydata()[0]), 9)
        for line in ax.lines
        if len(line.get_ydata()) == 2 and line.get_marker() in ("None", "", None)
    }
    assert {0.5, 0.505, 0.1} <= flat
    band = ax.patches[0]
    assert band.get_y() == pytest.approx(0.92)
    assert band.get_height() == pytest.approx(0.05)
    # Lines so near each other share one text.
    assert [text.get_text() for text in ax.texts] == ["a, b"]


def test_what_is_unknown_is_not_drawn():
    table = runs().assign(chance_high=np.nan, ceiling_low=np.nan)
    ax = plot_probe_groups(table[table["kind"] == "network"], means())
    assert not ax.patches
    assert not ax.texts


def test_layers_are_in_order_with_a_line_per_run_and_one_per_group():
    parts = [
        runs().assign(layer="one"),
        runs().iloc[:4].assign(layer="two", value=[0.6, 0.8, 0.1, 0.3]),
    ]
    ax = plot_probe_layers(pd.concat(parts, ignore_index=True))
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == ["one", "two"]
    drawn = [line.get_ydata().tolist() for line in ax.lines[:6]]
    assert drawn[:2] == [[0.8, 0.6], [0.9, 0.8]]
    np.testing.assert_allclose(drawn[2], [0.85, 0.7])
    np.testing.assert_allclose(drawn[5], [0.35, 0.2])
    assert ax.lines[2].get_linestyle() == "-"
    assert ax.lines[5].get_linestyle() != "-"


def test_of_a_control_with_several_layers_the_best_is_drawn():
    table = runs().assign(layer="one")
    more = table.iloc[[4]].assign(layer="other", value=0.7)
    ax = plot_probe_layers(pd.concat([table, more], ignore_index=True))
    assert [text.get_text() for text in ax.texts] == ["b", "a"]
    assert ax.texts[1].xy[1] == 0.7


def test_rows_of_several_metrics_are_refused():
    twice = pd.concat([runs(), runs()])
    with pytest.raises(ValueError, match="'new 1' twice"):
        plot_probe_groups(twice, means())
    with pytest.raises(ValueError, match="layer 'one' of 'new 1' twice"):
        plot_probe_layers(twice.assign(layer="one"))
    with pytest.raises(ValueError, match="no network"):
        plot_probe_groups(runs().iloc[4:], means())
    with pytest.raises(ValueError, match="untrained"):
        plot_probe_groups(runs().drop(columns="untrained"), means())
