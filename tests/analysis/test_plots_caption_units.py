"""Figures of captions of units: marks, bars and shares are those of the tables."""

import numpy as np
import pandas as pd
import pytest

from analysis.plots_caption_units import (
    plot_concept_rates,
    plot_effective_numbers,
    plot_region_shares,
)


def concepts():
    rows = [
        ("projection", "face", 20, 0.9, 0.8, 0.95, 0.5, 0.4, 0.6),
        ("projection", "all", 45, 0.7, 0.6, 0.8, 0.4, 0.3, 0.5),
        ("raw weights", "face", 20, 0.3, 0.2, 0.4, 0.2, 0.1, 0.35),
        ("raw weights", "all", 45, 0.35, 0.3, 0.4, 0.2, 0.1, 0.3),
    ]
    columns = ["condition", "concept", "n", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=[*columns, "chance", "chance_low", "chance_high"])


def regions():
    rows = [("all", 40, 0.3, 0.2, 0.4), ("EBA", 12, 0.8, 0.6, 0.9),
            ("PPA", 9, np.nan, np.nan, np.nan)]  # fmt: skip
    return pd.DataFrame(rows, columns=["region", "n", "value", "ci_low", "ci_high"])


def test_concepts_have_the_values_limits_and_chance_of_the_table():
    ax = plot_concept_rates(concepts(), title="Simulated")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["face (20)", "all (45)"]
    marks = {
        line.get_marker(): np.round(line.get_xydata()[0], 3).tolist()
        for line in ax.lines
        if line.get_marker() != "None"
    }
    assert marks["o"][0] == 0.7
    assert marks["s"][0] == 0.35
    assert marks["o"][1] < 1 < marks["s"][1]
    chance = [(round(b.get_x(), 3), round(b.get_x() + b.get_width(), 3))
              for b in ax.patches]  # fmt: skip
    assert chance == [(0.4, 0.6), (0.3, 0.5), (0.1, 0.35), (0.1, 0.3)]
    limits = [line.get_xdata() for line in ax.lines if line.get_linewidth() == 1.6]
    assert [list(x) for x in limits][:2] == [[0.8, 0.95], [0.6, 0.8]]
    [legend] = ax.figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "projection",
        "raw weights",
        "chance (95 %)",
    ]
    ax.figure.draw_without_rendering()


def test_bars_of_chance_do_not_touch_those_of_the_next_condition():
    ax = plot_concept_rates(concepts(), legend=False)
    places = sorted((b.get_y(), b.get_y() + b.get_height()) for b in ax.patches)
    ends = np.array(places)
    assert (ends[1:, 0] > ends[:-1, 1]).all()
    assert not ax.figure.legends


def test_shares_of_regions_are_bars_and_undefined_ones_are_told():
    ax = plot_region_shares(regions(), label="People (share)")
    names = ["all (40)", "EBA (12)", "PPA (9)"]
    assert [t.get_text() for t in ax.get_yticklabels()] == names
    assert [b.get_width() for b in ax.patches] == [0.3, 0.8]
    assert [t.get_text() for t in ax.texts] == ["undefined"]
    assert ax.texts[0].get_position()[1] == 2
    limits = [list(x.get_xdata()) for x in ax.lines if x.get_linewidth() == 1.6]
    assert limits == [[0.2, 0.4], [0.6, 0.9]]
    assert ax.yaxis_inverted()
    ax.figure.draw_without_rendering()


def test_shares_that_are_all_undefined_or_zero_can_be_drawn():
    for value in (np.nan, 0.0):
        table = regions().assign(value=value, ci_low=value, ci_high=value)
        ax = plot_region_shares(table, label="People (share)")
        assert ax.get_xlim() == (0, 0.1)


def test_every_unit_is_counted_once_and_the_zones_tell_shares():
    values = np.array([1.0, 1.5, 2.0, 7.0, 40.0, 500.0, 1000.0, np.nan])
    ax = plot_effective_numbers(values, n_bank=1000, retrieval=2, mean=500, title="t")
    spans = [p for p in ax.patches if p.get_alpha() == 0.18]
    bars = [p for p in ax.patches if p not in spans]
    assert sum(p.get_height() for p in bars) == 7
    assert bars[0].get_x() == 1
    assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(1000)
    assert [t.get_text() for t in ax.texts] == [
        "retrieval\n43 % of units",
        "mean picture\n29 % of units",
    ]
    median = [line for line in ax.lines if list(line.get_xdata()) == [7.0, 7.0]]
    assert len(median) == 1
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "10", "100", "1,000"]
    ax.figure.draw_without_rendering()


def test_what_rounding_carried_beyond_the_ends_is_counted_at_them():
    ax = plot_effective_numbers([1 - 1e-9, 20 + 1e-9], n_bank=20, retrieval=2, mean=10)
    bars = [p.get_height() for p in ax.patches if p.get_alpha() != 0.18]
    assert (bars[0], bars[-1], sum(bars)) == (1, 1, 2)


def test_wrong_tables_and_numbers_are_told():
    with pytest.raises(ValueError, match="chance_low"):
        plot_concept_rates(concepts().drop(columns="chance_low"))
    with pytest.raises(ValueError, match="several rows of projection, face"):
        plot_concept_rates(pd.concat([concepts(), concepts().iloc[:1]]))
    with pytest.raises(ValueError, match="several rows of EBA"):
        plot_region_shares(pd.concat([regions(), regions().iloc[1:2]]), label="x")
    with pytest.raises(ValueError, match="no region"):
        plot_region_shares(regions().iloc[:0], label="x")
    with pytest.raises(ValueError, match="no number that is defined"):
        plot_effective_numbers([np.nan], n_bank=9, retrieval=2, mean=5)
    with pytest.raises(ValueError, match="mean"):
        plot_effective_numbers([3.0], n_bank=9, retrieval=2, mean=10)
