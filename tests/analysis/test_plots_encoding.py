"""Figures of encoding models show the numbers of their tables."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from analysis.plot_style import PALE, PALETTE
from analysis.plots_encoding import (
    model_labels,
    plot_best_layers,
    plot_layer_scores,
    plot_penalties,
    plot_receptive_fields,
    plot_score_distribution,
    plot_space_shares,
)

HELD, CHANCE = "held-out pictures", "permuted pictures"


def score_rows(subjects=("s1",)):
    rows = []
    for s, subject in enumerate(subjects):
        for model, layers, untrained in (("net", "abc", False), ("rand", "xy", True)):
            for k, layer in enumerate(layers):
                value = 0.1 * (k + 1) + 0.02 * s
                common = [model, subject, layer, "prf", "V1", "r_mean"]
                limits = [value - 0.05, value + 0.04, 0.6]
                rows.append([*common, HELD, value, *limits, untrained])
                rows.append([*common, CHANCE, 0.0, -0.11, 0.12, np.nan, untrained])
    columns = ["model", "subject", "layer", "family", "region", "metric"]
    columns += ["condition", "value", "ci_low", "ci_high", "ceiling_low", "untrained"]
    return pd.DataFrame(rows, columns=columns)


def unit_rows(n=40):
    rng = np.random.default_rng(0)
    parts = []
    for model, untrained in (("net", False), ("rand", True)):
        r = rng.uniform(-0.1, 0.8, n)
        r[0] = np.nan
        parts.append(
            pd.DataFrame(
                {
                    "model": model,
                    "untrained": untrained,
                    "r": r,
                    "ceiling": 0.64,
                    "alpha": 10.0 ** rng.integers(0, 4, n),
                    "at_smallest": 0.25,
                    "at_largest": 0.0,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def legend_of(ax):
    legend = ax.figure.legends[0] if ax.figure.legends else ax.get_legend()
    return [t.get_text().replace("\n", " ") for t in legend.get_texts()]


def lines_of(ax):
    return [c[0] for c in ax.containers if isinstance(c, ErrorbarContainer)]


def steps_of(ax):
    return [p for p in ax.patches if isinstance(p, StepPatch)]


def counts_of(step):
    return step.get_data()[0]


def test_layers_stand_in_order_with_limits_ceiling_and_chance():
    ax = plot_layer_scores(score_rows(), region="V1", family="prf")
    net, rand = lines_of(ax)
    np.testing.assert_allclose(net.get_ydata(), [0.1, 0.2, 0.3])
    np.testing.assert_allclose(rand.get_ydata(), [0.1, 0.2])
    np.testing.assert_allclose(np.round(np.asarray(net.get_xdata(), float)), [1, 2, 3])
    # Lines of several models do not hide another's limits.
    assert net.get_xdata()[0] != rand.get_xdata()[0]
    assert rand.get_markerfacecolor() == "white"
    assert net.get_markerfacecolor() == PALETTE[0]
    segments = ax.containers[0][2][0].get_segments()
    np.testing.assert_allclose(
        [s[:, 1] for s in segments], [[0.05, 0.14], [0.15, 0.24], [0.25, 0.34]]
    )
    expected = ["net", "rand (untrained)", "noise ceiling"]
    assert legend_of(ax) == [*expected, "chance (permuted pictures)"]
    (band,) = [p for p in ax.patches if to_rgb(p.get_facecolor()[:3]) == to_rgb(PALE)]
    low, high = band.get_y(), band.get_y() + band.get_height()
    np.testing.assert_allclose([low, high], [-0.11, 0.12])
    levels = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    assert levels == [0.6]
    assert ax.get_title(loc="left") == "V1"


def test_layers_of_one_model_are_named_and_subjects_averaged():
    rows = score_rows(("s1", "s2"))
    ax = plot_layer_scores(
        rows[rows["model"] == "net"], region="V1", family="prf", legend=False
    )
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
    (mean,) = lines_of(ax)
    np.testing.assert_allclose(mean.get_ydata(), [0.11, 0.21, 0.31])
    assert ax.containers[0][2] == ()  # no limits of an average
    thin = [line.get_ydata().tolist() for line in ax.lines if line.get_alpha() == 0.45]
    assert len(thin) == 2
    assert not ax.figure.legends


def test_unknown_regions_and_metrics_are_refused():
    with pytest.raises(ValueError, match="`region` must be one of 'V1'"):
        plot_layer_scores(score_rows(), region="V4", family="prf")
    with pytest.raises(ValueError, match="`region` must be one of"):
        plot_layer_scores(score_rows(), region="V1", family="floc")
    with pytest.raises(ValueError, match="`metric` must be one of"):
        plot_layer_scores(score_rows(), region="V1", family="prf", metric="r")
    with pytest.raises(ValueError, match="lacks the columns"):
        plot_layer_scores(score_rows().drop(columns="layer"), region="V1")


def test_distributions_count_all_units_beside_the_ceiling():
    units = unit_rows()
    ax = plot_score_distribution(units, title="Simulated: units")
    ceiling, net, rand = steps_of(ax)
    assert counts_of(ceiling).sum() == 40
    (full,) = np.flatnonzero(counts_of(ceiling))
    edges = ceiling.get_data().edges
    assert edges[full] <= 0.8 <= edges[full + 1]
    assert counts_of(net).sum() == counts_of(rand).sum() == 39
    median = units.loc[units["model"] == "net", "r"].median()
    _, first, second = legend_of(ax)
    assert first == f"net: median {median:.2f}, n = 40, 1 undefined"
    assert second.startswith("rand (untrained): median")
    unknown = plot_score_distribution(units.assign(ceiling=np.nan))
    assert len(steps_of(unknown)) == 2


def test_best_layers_are_bars_with_their_names_and_ceilings():
    rows = [
        ("net", "s1", "prf", "V1", "a", 10, 0.5, 0.7, True, False),
        ("net", "s1", "prf", "V1", "b", 10, 0.6, 0.7, False, False),
        ("net", "s2", "prf", "V1", "b", 12, 0.3, 0.5, True, False),
        ("net", "s3", "prf", "V1", "b", 14, 0.4, 0.6, True, False),
        ("net", "s1", "prf", "hV4", "b", 5, np.nan, np.nan, True, False),
    ]
    columns = ["model", "subject", "family", "region", "layer", "n_units", "r"]
    columns += ["ceiling_r", "chosen", "untrained"]
    ax = plot_best_layers(pd.DataFrame(rows, columns=columns), model="net")
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels == ["V1 (12)", "hV4 (5)"]
    assert ax.patches[0].get_width() == pytest.approx(0.4)
    assert [t.get_text() for t in ax.texts] == ["b (2 of 3)", "b"]
    marks = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2]
    assert marks[0] == pytest.approx(0.6)
    (cross,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert cross.get_ydata()[0] == 1
    some = plot_best_layers(
        pd.DataFrame(rows, columns=columns), model="net", regions=[("prf", "hV4")]
    )
    assert [t.get_text() for t in some.get_yticklabels()] == ["hV4 (5)"]
    with pytest.raises(ValueError, match="`model` must be one of 'net'"):
        plot_best_layers(pd.DataFrame(rows, columns=columns), model="other")


def test_penalties_are_counted_by_powers_of_ten_and_ends_are_told():
    units = unit_rows()
    ax = plot_penalties(units)
    net, _ = steps_of(ax)
    counts, edges, _ = net.get_data()
    own = units.loc[units["model"] == "net", "alpha"]
    for power in range(4):
        at = np.searchsorted(edges, power) - 1
        assert counts[at] == (own == 10.0**power).sum()
    assert counts.sum() == 40
    expected = "net: 25 % at the smallest, 0 % at the largest"
    assert legend_of(ax)[0] == expected
    undefined = plot_penalties(units.assign(alpha=np.nan))
    assert counts_of(steps_of(undefined)[0]).sum() == 0


def test_shares_of_spaces_are_bars_by_region():
    rows = [("V1", "a", 0.3), ("V1", "b", -0.05), ("V4", "a", 0.1), ("V4", "b", 0.2)]
    ax = plot_space_shares(pd.DataFrame(rows, columns=["region", "space", "r2_share"]))
    widths = [[p.get_width() for p in bars] for bars in ax.containers]
    np.testing.assert_allclose(widths, [[0.3, 0.1], [-0.05, 0.2]])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["V1", "V4"]
    assert legend_of(ax) == ["a", "b"]


def test_receptive_fields_are_circles_of_one_sigma_with_counted_centres():
    fields = [[0.1, -0.2, 0.05], [-0.3, 0.4, 0.2], [np.nan] * 3, [0.1, -0.2, 0.05]]
    units = pd.DataFrame(fields, columns=["rf_x", "rf_y", "rf_sigma"])
    ax = plot_receptive_fields(units, title="V1")
    circles, centres = ax.collections
    np.testing.assert_allclose(circles.get_offsets(), [fields[0][:2], fields[1][:2]])
    np.testing.assert_allclose(circles.get_offsets(), centres.get_offsets())
    np.testing.assert_allclose(circles.get_widths(), [0.1, 0.4])
    assert centres.get_sizes().tolist() == [54, 29]
    assert ax.get_aspect() == 1
    plot_receptive_fields(units[2:3])  # none is defined
    with pytest.raises(ValueError, match="lacks the columns"):
        plot_receptive_fields(units[["rf_x"]])


def test_figures_are_drawn_on_given_axes_without_warnings():
    figure = Figure(figsize=(9, 9), layout="constrained")
    grid = figure.subplots(2, 2)
    drawn = [
        plot_layer_scores(score_rows(), region="V1", family="prf", ax=grid[0, 0]),
        plot_score_distribution(unit_rows(), ax=grid[0, 1]),
        plot_penalties(unit_rows(), ax=grid[1, 0]),
    ]
    assert [ax.figure for ax in drawn] == [figure] * 3
    figure.draw_without_rendering()
    assert model_labels(unit_rows()) == {"net": "net", "rand": "rand (untrained)"}
