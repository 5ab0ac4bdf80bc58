"""Figures of selectivity: what is drawn is what the tables say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from analysis.plot_style import PALE, PALETTE
from analysis.plots_selectivity import (
    plot_region_selectivity,
    plot_selectivity_histogram,
)
from analysis.selectivity import category_selectivity
from analysis.selectivity_maps import selectivity_agreement

KINDS = np.repeat(["face", "place", "body"], 8)


def selectivity(n_units=50, seed=0):
    x = np.random.default_rng(seed).normal(size=(len(KINDS), n_units))
    x[:, 0] = 1.0  # undefined
    return category_selectivity(x, KINDS)


def legend_of(ax):
    legend = ax.figure.legends[0] if ax.figure.legends else ax.get_legend()
    return [t.get_text().replace("\n", " ") for t in legend.get_texts()]


def steps_of(ax):
    return [p for p in ax.patches if isinstance(p, StepPatch)]


def test_regions_are_groups_of_bars_with_marks_of_all_other_units():
    labels = ["FFA"] * 20 + ["PPA"] * 10 + [""] * 20
    table = selectivity_agreement(selectivity(), labels)
    ax = plot_region_selectivity(table, title="Simulated")
    heights = np.array([[p.get_height() for p in bars] for bars in ax.containers])
    wide = table.pivot_table(index="category", columns="region", values="d_prime")
    np.testing.assert_allclose(heights, wide.loc[["face", "place", "body"]])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["FFA\n(20)", "PPA\n(10)"]
    others = [c.get_segments()[0][0, 1] for c in ax.collections]
    expected = table.loc[table["region"] == "FFA", "d_prime_others"]
    np.testing.assert_allclose(others, expected)
    assert legend_of(ax) == ["face", "place", "body", "all other units"]
    bars = [bars[0] for bars in ax.containers]
    colours = [to_rgb(p.get_facecolor()[:3]) for p in bars]
    assert colours == [to_rgb(c) for c in PALETTE[:3]]
    assert len({p.get_hatch() for p in bars}) == 3  # without colours, too
    ax.figure.draw_without_rendering()


def test_areas_under_the_curve_stand_on_chance():
    labels = ["FFA"] * 20 + [""] * 30
    table = selectivity_agreement(selectivity(), labels)
    ax = plot_region_selectivity(table, measure="auc")
    tops = [bars[0].get_y() + bars[0].get_height() for bars in ax.containers]
    np.testing.assert_allclose(tops, table["auc"])
    assert {bars[0].get_y() for bars in ax.containers} == {0.5}
    assert ax.get_ylim() == (0, 1)
    assert "all other units" not in legend_of(ax)


def test_undefined_values_are_crosses_at_the_base():
    rows = [("FFA", "face", 3, 1.0), ("FFA", "place", 3, np.nan), ("PPA", "face", 2, 1)]
    table = pd.DataFrame(rows, columns=["region", "category", "n_units", "d_prime"])
    ax = plot_region_selectivity(table)
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert [line.get_ydata()[0] for line in crosses] == [0, 0]
    ax.figure.draw_without_rendering()


def test_histogram_sets_the_units_of_a_region_apart():
    found = selectivity()
    inside = np.arange(50) < 10
    ax = plot_selectivity_histogram(found, "face", inside=inside, name="FFA")
    grey, outline = steps_of(ax)
    values = found.of("face")
    for step, chosen in ((grey, ~inside), (outline, inside)):
        counts, edges, _ = step.get_data()
        own = values[chosen & ~np.isnan(values)]
        expected = 100 * np.histogram(own, edges)[0] / len(own)
        np.testing.assert_allclose(counts, expected)
        assert counts.sum() == pytest.approx(100)
        assert (abs(edges) < 1e-12).any()  # 0 is a border
    assert to_rgb(grey.get_facecolor()[:3]) == to_rgb(PALE)
    middle = f"{np.nanmedian(values[inside]):.2f}".replace("-", "−")
    others, region = legend_of(ax)
    assert region == f"FFA: median {middle}, n = 10, 1 undefined"
    assert others.startswith("all other units: median")
    assert ax.get_xlabel() == "d' for face"


@pytest.mark.parametrize("value", [np.nan, 0.0, 2.0, -2.0])
def test_histogram_of_any_units_is_drawn(value):
    found = selectivity()
    found.d_prime[:, 0] = value
    ax = plot_selectivity_histogram(found, "face", title="All")
    (step,) = steps_of(ax)
    total = step.get_data()[0].sum()
    assert total == pytest.approx(0 if np.isnan(value) else 100)
    assert legend_of(ax)[0].startswith("all units: median")
    ax.figure.draw_without_rendering()


def test_arguments_that_do_not_fit_are_refused():
    found = selectivity()
    table = selectivity_agreement(found, ["FFA"] * 50)
    with pytest.raises(ValueError, match="`measure` must be one of"):
        plot_region_selectivity(table, measure="t")
    with pytest.raises(ValueError, match="several rows of one region"):
        plot_region_selectivity(pd.concat([table, table]))
    with pytest.raises(ValueError, match="lacks the columns"):
        plot_region_selectivity(table.drop(columns="n_units"))
    with pytest.raises(ValueError, match="`category` must be one of"):
        plot_selectivity_histogram(found, "tool")
    with pytest.raises(TypeError, match="`inside` must have dtype bool"):
        plot_selectivity_histogram(found, "face", inside=np.zeros(50))
    with pytest.raises(ValueError, match="`n_bins` must be within"):
        plot_selectivity_histogram(found, "face", n_bins=1)


def test_figures_are_drawn_on_given_axes_without_warnings():
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    table = selectivity_agreement(selectivity(), ["FFA"] * 50)
    drawn = [
        plot_region_selectivity(table, ax=axes[0]),
        plot_selectivity_histogram(selectivity(), "face", ax=axes[1]),
    ]
    assert [ax.figure for ax in drawn] == [figure] * 2
    figure.draw_without_rendering()
