"""Figures of diets: marks, intervals and matrices are those of the tables."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.plots_diet import plot_diet_means, plot_index_grid

MEANS = [
    ("natural", "diet", 0.5, 0.2, 0.8),
    ("lines", "diet", np.nan, np.nan, np.nan),
    ("untrained", "untrained", -0.1, -0.5, 0.3),
    ("chance", "baseline", 0.05, np.nan, np.nan),
]
NETWORKS = pd.DataFrame(
    {"name": ["natural", "natural", "untrained"], "value": [0.4, 0.6, -0.1]}
)


def means(rows=MEANS):
    columns = ["name", "kind", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def points(ax, size):
    return [
        tuple(row)
        for line in ax.lines
        if line.get_markersize() == size and line.get_marker() not in ("None", None)
        for row in np.round(line.get_xydata(), 6).tolist()
    ]


def test_means_intervals_and_networks_are_those_of_the_tables():
    ax = plot_diet_means(
        means(), NETWORKS, people=0.56, published={"natural": 0.513, "mnist": 0.2}
    )
    shown = [p for p in points(ax, 7.5) if not np.isnan(p[0])]
    assert shown == [(0.5, 0), (-0.1, 2), (0.05, 3)]
    assert points(ax, 4) == [(0.4, 0.22), (0.6, 0.22), (-0.1, 2.22)]
    assert points(ax, 5.5) == [(0.513, -0.22)]
    bars = [list(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 1.8]
    assert bars[0] == [0.2, 0.8]
    assert bars[2] == [-0.5, 0.3]
    assert [t.get_text().strip() for t in ax.texts] == ["undefined"]
    assert [t.get_text() for t in ax.get_yticklabels()] == [row[0] for row in MEANS]
    upright = [line for line in ax.lines if list(line.get_xdata()) == [0.56, 0.56]]
    assert len(upright) == 1
    ax.figure.draw_without_rendering()


def test_what_is_not_trained_has_open_marks():
    ax = plot_diet_means(means(), NETWORKS)
    marks = [line for line in ax.lines if line.get_markersize() == 7.5]
    faces = [to_hex(line.get_markerfacecolor()) for line in marks]
    assert faces[0] != "#ffffff"
    assert faces[2] == faces[3] == "#ffffff"
    assert marks[3].get_marker() == "s"


def test_the_legend_names_only_what_is_drawn():
    def words(ax):
        return [text.get_text() for text in ax.figure.legends[0].get_texts()]

    every = plot_diet_means(means(), NETWORKS, people=0.5, published={"natural": 0.1})
    assert words(every) == [
        "mean, 95 % interval",
        "one network",
        "untrained",
        "no network",
        "published",
        "people",
    ]
    few = plot_diet_means(means(MEANS[:1]), NETWORKS.iloc[:2])
    assert words(few) == ["mean, 95 % interval", "one network"]


def test_wrong_tables_of_means_are_told():
    with pytest.raises(ValueError, match="ci_low"):
        plot_diet_means(means().drop(columns="ci_low"), NETWORKS)
    with pytest.raises(ValueError, match="kind"):
        plot_diet_means(means().assign(kind="network"), NETWORKS)
    with pytest.raises(ValueError, match="name of a network"):
        plot_diet_means(means(), NETWORKS.assign(name="fisheye"))
    with pytest.raises(ValueError, match="people"):
        plot_diet_means(means(), NETWORKS, people=np.nan)


def grid():
    rows = [
        ("people", "1 Curvature", 0.81),
        ("people", "5 Orientation, alike", 0.70),
        ("natural", "1 Curvature", -1.0),
        ("natural", "5 Orientation, alike", np.nan),
    ]
    return pd.DataFrame(rows, columns=["name", "experiment", "value"])


def test_a_matrix_has_the_values_of_the_table():
    ax = plot_index_grid(grid(), n_references=1)
    [image] = ax.images
    expected = [[0.81, 0.70], [-1.0, np.nan]]
    np.testing.assert_array_equal(image.get_array().filled(np.nan), expected)
    assert [t.get_text() for t in ax.texts] == ["0.81", "0.70", "−1.00", "–"]
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        "1 Curvature",
        "5 Orientation,\nalike",
    ]
    assert [line.get_ydata()[0] for line in ax.lines] == [0.5]
    [hatched] = ax.patches
    assert (hatched.get_x(), hatched.get_y()) == (0.5, 0.5)


def test_people_and_their_opposite_have_opposite_colours():
    [image] = plot_index_grid(grid()).images
    like, unlike = (image.cmap(image.norm(value)) for value in (0.8, -0.8))
    assert like[2] > like[0]  # blue
    assert unlike[0] > unlike[2]  # red


def test_wrong_tables_of_indices_are_told():
    with pytest.raises(ValueError, match="several values of 'people' in"):
        plot_index_grid(pd.concat([grid(), grid().iloc[:1]]))
    with pytest.raises(ValueError, match="value"):
        plot_index_grid(grid().drop(columns="value"))
