"""Figures of cue conflicts: curves, cross-overs, pictures."""

import numpy as np
import pandas as pd
import pytest

from analysis.cue_conflict import cross_over
from analysis.plots_cue_conflict import (
    plot_conflict_curves,
    plot_cross_overs,
    plot_picture_grid,
)
from analysis.plots_foveation import system_looks

WEIGHTS = [0.0, 0.1, 0.4, 1.0]
AROUND, CENTRE = [0.8, 0.7, 0.3, 0.0], [0.0, 0.2, 0.5, 0.9]


def curves(n_runs=2, system="texture"):
    rows = [
        (system, run, w, a + 0.02 * run, c + 0.02 * run)
        for run in range(n_runs)
        for w, a, c in zip(WEIGHTS, AROUND, CENTRE, strict=True)
    ]
    columns = ["system", "run", "foveal_weight", "peripheral", "foveal"]
    return pd.DataFrame(rows, columns=columns)


def bias(**changes):
    met = float(cross_over(WEIGHTS, AROUND, CENTRE))
    return {"cross_over": met, "ci_low": met - 0.05, "ci_high": met + 0.1} | changes


def thick(ax):
    return [line for line in ax.lines if line.get_linewidth() == 2]


def diamonds(ax):
    return [line for line in ax.lines if line.get_marker() == "D"]


def test_the_centre_is_a_full_line_and_the_surround_a_broken_one():
    ax = plot_conflict_curves(curves())
    broken, full = thick(ax)
    assert (broken.get_linestyle(), full.get_linestyle()) == ("--", "-")
    for line, values in ((broken, AROUND), (full, CENTRE)):
        at, share = line.get_data()
        found = np.interp(WEIGHTS, at, share)
        np.testing.assert_allclose(found, np.array(values) + 0.01)
        assert line.get_color() == system_looks(["texture"])["texture"][0]
    thin = [line for line in ax.lines if line.get_linewidth() < 1]
    assert len(thin) == 4
    assert len(plot_conflict_curves(curves(n_runs=1)).lines) == 4


def test_the_cross_over_lies_where_the_drawn_lines_meet():
    ax = plot_conflict_curves(curves(n_runs=1), bias=bias())
    broken, full = thick(ax)
    gap = broken.get_ydata() - full.get_ydata()
    i = int(np.flatnonzero(gap < 0)[0])
    around = broken.get_xdata()[i - 1 : i + 1]
    (mark,) = diamonds(ax)
    x, y = mark.get_xydata()[0]
    assert around[0] <= x <= around[1]
    assert y == pytest.approx(np.interp(x, WEIGHTS, CENTRE))
    limits = [line for line in ax.lines if line.get_linewidth() == 1.6]
    np.testing.assert_allclose(limits[0].get_xdata(), [x - 0.05, x + 0.1])


def test_an_undefined_cross_over_or_interval_is_not_drawn():
    none = plot_conflict_curves(curves(), bias=bias(cross_over=np.nan))
    assert diamonds(none) == []
    ax = plot_conflict_curves(curves(), bias=bias(ci_low=np.nan, ci_high=np.nan))
    assert len(diamonds(ax)) == 1
    assert not [line for line in ax.lines if line.get_linewidth() == 1.6]
    ax.figure.draw_without_rendering()


def test_the_abscissa_is_linear_in_the_radius_of_the_centre():
    ax = plot_conflict_curves(curves())
    to_axes = ax.transData + ax.transAxes.inverted()
    shown = [to_axes.transform((weight, 0))[0] for weight in (0, 0.25, 1)]
    np.testing.assert_allclose(shown, [0, 0.5, 1], atol=1e-9)


def test_several_systems_in_one_panel_are_refused():
    both = pd.concat([curves(), curves(system="reference")])
    with pytest.raises(ValueError, match="must be of one system; got"):
        plot_conflict_curves(both)
    with pytest.raises(ValueError, match="foveal_weight"):
        plot_conflict_curves(curves().drop(columns="foveal_weight"))


def test_cross_overs_are_points_with_intervals_or_words():
    table = pd.DataFrame(
        {
            "system": ["reference", "texture", "uniform-blur", "foveated-blur"],
            "cross_over": [0.5, 0.2, np.nan, 0.9],
            "ci_low": [0.4, 0.1, np.nan, np.nan],
            "ci_high": [0.6, 0.35, np.nan, np.nan],
        }
    )
    ax = plot_cross_overs(table)
    points = [line for line in ax.lines if line.get_markersize() == 8]
    found = [tuple(line.get_xydata()[0]) for line in points]
    assert found == [(0.5, 0), (0.2, 1), (0.9, 3)]
    bars = [list(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    assert bars == [[0.4, 0.6], [0.1, 0.35]]
    assert [t.get_text() for t in ax.texts] == ["no cross-over",
                                                "no interval"]  # fmt: skip
    assert points[2].get_markerfacecolor() == "white"
    assert [t.get_text() for t in ax.get_yticklabels()] == list(table["system"])
    low, high = ax.get_ylim()
    assert low > high  # the first system is above
    with pytest.raises(ValueError, match="ci_low"):
        plot_cross_overs(table.drop(columns="ci_low"))


def test_words_beside_a_point_stay_within_the_axes():
    for value in (0.0, 0.3, 0.6, 0.61, 1.0):
        row = {"system": ["texture"], "cross_over": [value]}
        table = pd.DataFrame({**row, "ci_low": np.nan, "ci_high": np.nan})
        ax = plot_cross_overs(table)
        ax.figure.draw_without_rendering()
        box = ax.texts[0].get_window_extent()
        assert box.x0 >= ax.bbox.x0
        assert box.x1 <= ax.bbox.x1


def test_pictures_are_shown_as_they_are():
    rng = np.random.default_rng(0)
    grid = rng.integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
    figure = plot_picture_grid(list(grid), columns=["a", "$b", "c"], rows=["x", "y"])
    shown = [ax.images[0].get_array() for ax in figure.axes]
    np.testing.assert_array_equal(shown, grid.reshape(6, 8, 8, 3))
    assert [ax.get_title() for ax in figure.axes[:3]] == ["a", "$b", "c"]
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["x", "y"]
    figure.draw_without_rendering()
    for bad in ([], [[]], [grid[0], grid[1][:2]]):
        with pytest.raises(ValueError, match="rows of equally many"):
            plot_picture_grid(bad)
