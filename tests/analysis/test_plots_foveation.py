"""Figures of foveated systems: what is drawn is what the tables say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.plots_foveation import (
    plot_confusion,
    plot_generalisation,
    plot_own_accuracy,
    plot_system_curves,
    plot_training_runs,
    system_legend,
    system_looks,
)

SYSTEMS = ["reference", "texture", "uniform-blur", "foveated-blur"]


def cells(systems=SYSTEMS, levels=(np.nan, 16.0, 48.0)):
    rows = [
        (s, x, 0.6 - 0.1 * j - 0.02 * i, 0.5 - 0.1 * j, 0.7 - 0.1 * j, 0.05)
        for i, s in enumerate(systems)
        for j, x in enumerate(levels)
    ]
    columns = ["system", "value", "accuracy", "ci_low", "ci_high", "chance"]
    return pd.DataFrame(rows, columns=columns)


def matrix(systems=SYSTEMS):
    rows = [
        (s, c, 0.9 if i == j else 0.1 * (i + j), 0.05, 0.95)
        for i, s in enumerate(systems)
        for j, c in enumerate(systems)
    ]
    columns = ["system", "condition", "accuracy", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def curves_of(ax):
    """Return the full lines of several points."""
    return [line for line in ax.lines if line.get_linestyle() == "-"
            and len(line.get_xdata()) > 1]  # fmt: skip


def test_a_system_looks_alike_whatever_stands_beside_it():
    looks = system_looks(SYSTEMS)
    assert system_looks(["foveated-blur"])["foveated-blur"] == looks["foveated-blur"]
    assert len({colour for colour, _ in looks.values()}) == 4
    assert len({mark for _, mark in looks.values()}) == 4
    more = system_looks([*SYSTEMS, "acuity", "own"])
    assert len({colour for colour, _ in more.values()}) == 6
    assert list(more) == [*SYSTEMS, "acuity", "own"]


def test_training_shows_runs_thin_and_their_mean_thick():
    curves = pd.DataFrame(
        [("texture", run, e, 2.0 - e + 0.2 * run) for run in (0, 1) for e in range(3)],
        columns=["system", "run", "epoch", "loss"],
    )
    ax = plot_training_runs(curves, measure="loss", label="Loss")
    thick = max(ax.lines, key=lambda line: line.get_linewidth())
    np.testing.assert_allclose(thick.get_xydata(), [(1, 2.1), (2, 1.1), (3, 0.1)])
    assert len(ax.lines) == 3
    one = plot_training_runs(curves[curves["run"] == 0], measure="loss", label="Loss")
    assert len(one.lines) == 1
    ax = plot_training_runs(curves, measure="loss", label="Loss", chance=0.25)
    assert ax.get_ylim()[0] == 0
    assert list(ax.lines[-1].get_ydata()) == [0.25, 0.25]


def test_curves_are_those_of_the_table_in_the_order_of_levels():
    table = cells().iloc[::-1]
    ax = plot_system_curves(table, x="value", x_label="", logarithmic=True)
    drawn = {to_hex(line.get_color()): line.get_xydata() for line in curves_of(ax)}
    looks = system_looks(SYSTEMS)
    for i, system in enumerate(SYSTEMS):
        expected = [(16, 0.5 - 0.02 * i), (48, 0.4 - 0.02 * i)]
        np.testing.assert_allclose(drawn[looks[system][0].lower()], expected)
    assert ax.get_xscale() == "log"
    assert ax.get_ylim() == (0, 1)
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.3, 0.6))


@pytest.mark.parametrize(("side", "end"), [("left", 0), ("right", -1)])
def test_unchanged_pictures_stand_at_their_end_of_the_axis(side, end):
    table = cells(["texture"])
    ax = plot_system_curves(
        table, x="value", x_label="", logarithmic=True, unchanged=side
    )
    ticks = ax.get_xticks()
    texts = [t.get_text() for t in ax.get_xticklabels()]
    place = ticks[texts.index("none")]
    assert place == (ticks.min() if side == "left" else ticks.max())
    assert sorted(texts) == ["16", "48", "none"]
    marks = [line for line in ax.lines if list(line.get_xdata()) == [place]]
    assert marks[0].get_ydata()[0] == 0.6
    pieces = [line for line in ax.lines if place in line.get_xdata()
              and len(line.get_xdata()) == 2]  # fmt: skip
    near = (16, 0.5) if end == 0 else (48, 0.4)
    assert tuple(pieces[0].get_xydata()[1]) == pytest.approx(near)


def test_chance_is_drawn_where_the_table_has_it():
    with_it = plot_system_curves(cells(levels=(1.0, 2.0)), x="value", x_label="")
    assert list(with_it.lines[-1].get_ydata()) == [0.05, 0.05]
    table = cells(levels=(1.0, 2.0)).drop(columns="chance")
    without = plot_system_curves(table, x="value", x_label="")
    assert len(without.lines) == len(with_it.lines) - 1


def test_undefined_values_are_gaps():
    table = cells(["texture"], levels=(1.0, 2.0, 3.0))
    table.loc[1, ["accuracy", "ci_low", "ci_high"]] = np.nan
    ax = plot_system_curves(table, x="value", x_label="")
    assert np.isnan(ax.lines[0].get_ydata()).tolist() == [False, True, False]
    ax.figure.draw_without_rendering()


def test_undefined_limits_leave_the_value():
    table = cells(["texture"]).assign(ci_low=np.nan, ci_high=np.nan)
    ax = plot_system_curves(table, x="value", x_label="", logarithmic=True)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.5, 0.4])
    ax.figure.draw_without_rendering()


def test_a_matrix_tells_values_and_frames_pictures_of_the_same_kind():
    ax = plot_generalisation(matrix())
    texts = [t.get_text() for t in ax.texts]
    assert texts.count("0.900") == 4
    assert texts.count("[0.05, 0.95]") == 16
    frames = [p for p in ax.patches if isinstance(p, Rectangle)]
    assert [round(p.get_x() + 0.47) for p in frames] == [0, 1, 2, 3]
    assert [round(p.get_y() + 0.46) for p in frames] == [0, 1, 2, 3]
    np.testing.assert_allclose(
        ax.images[0].get_array(), matrix()["accuracy"].to_numpy().reshape(4, 4)
    )


def test_a_matrix_of_some_pairs_leaves_the_others_blank():
    table = matrix()[:-1].assign(ci_low=np.nan)
    ax = plot_generalisation(table)
    assert len(ax.texts) == 15
    with pytest.raises(ValueError, match="several rows of one system and condition"):
        plot_generalisation(pd.concat([table, table]))


def test_bars_reach_the_accuracies_and_lines_tell_what_needs_no_skill():
    table = cells(levels=(1.0,))
    ax = plot_own_accuracy(table, majority=0.3)
    np.testing.assert_allclose(
        [bar.get_height() for bar in ax.patches], [0.6, 0.58, 0.56, 0.54]
    )
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in segments], [[0.5, 0.7]] * 4)
    levels = {line.get_label(): line.get_ydata()[0] for line in ax.lines}
    assert {"guessing": 0.05, "commonest class": 0.3}.items() <= levels.items()


def test_confusions_are_rows_of_true_classes():
    pairs = [("sea", "sea", 0.8), ("sea", "city", 0.2), ("city", "sea", 0.5)]
    table = pd.DataFrame([*pairs, ("city", "city", 0.5)],
                         columns=["label", "predicted", "share"])  # fmt: skip
    ax = plot_confusion(table, top=0.8)
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.8, 0.2], [0.5, 0.5]])
    assert [t.get_text() for t in ax.texts] == ["80", "20", "50", "50"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["sea", "city"]
    with pytest.raises(ValueError, match="several rows of one label and answer"):
        plot_confusion(pd.concat([table, table]))


def test_the_legend_names_systems_and_what_else_is_drawn():
    figure = Figure()
    ax = plot_system_curves(cells(), x="value", x_label="", ax=figure.add_subplot())
    names = {system: f"{system} $5" for system in SYSTEMS}
    system_legend(figure, names, others={"guessing": ax.lines[-1]})
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts == [*names.values(), "guessing"]
    colours = [to_hex(h.get_color()).upper() for h in figure.legends[0].legend_handles]
    assert colours[:4] == [colour for colour, _ in system_looks(SYSTEMS).values()]


@pytest.mark.parametrize(
    ("draw", "lost"),
    [
        (lambda t: plot_system_curves(t, x="value", x_label=""), "value"),
        (plot_generalisation, "condition"),
        (plot_own_accuracy, "chance"),
        (plot_confusion, "predicted"),
    ],
)
def test_a_missing_column_is_told(draw, lost):
    table = cells().assign(condition="x", label="a", predicted="b", share=1.0)
    with pytest.raises(ValueError, match=lost):
        draw(table.drop(columns=lost))


def test_an_unknown_end_is_told():
    with pytest.raises(ValueError, match="unchanged"):
        plot_system_curves(cells(), x="value", x_label="", unchanged="top")
