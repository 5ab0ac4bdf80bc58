"""Figures of differences beside published directions."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.plots_directions import plot_directions

ROWS = [
    ("equal", 0, 0.01, -0.02, 0.04, "holds"),
    ("more", 1, 0.2, 0.1, 0.3, "holds"),
    ("less", -1, 0.1, 0.05, 0.15, "reversed"),
    ("unsure", 1, 0.0, -0.1, 0.1, "undecided"),
    ("lost", -1, np.nan, np.nan, np.nan, "undecided"),
    ("bare", 1, 0.1, np.nan, np.nan, "undecided"),
]


def table(rows=ROWS):
    columns = ["claim", "expected", "difference", "ci_low", "ci_high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def test_points_and_intervals_are_those_of_the_table():
    ax = plot_directions(table())
    points = [line for line in ax.lines if line.get_markersize() == 7]
    found = [tuple(line.get_xydata()[0]) for line in points]
    assert found == [(0.01, 0), (0.2, 1), (0.1, 2), (0.0, 3), (0.1, 5)]
    bars = [list(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 1.8]
    assert bars == [[-0.02, 0.04], [0.1, 0.3], [0.05, 0.15], [-0.1, 0.1]]
    assert [t.get_text().strip() for t in ax.texts] == ["undefined"]
    assert [t.get_text() for t in ax.get_yticklabels()] == [row[0] for row in ROWS]


def test_verdicts_differ_in_colour_and_mark():
    ax = plot_directions(table())
    points = [line for line in ax.lines if line.get_markersize() == 7]
    looks = [(to_hex(p.get_markerfacecolor()), p.get_marker()) for p in points]
    assert looks[0] == looks[1]
    assert len(set(looks)) == 3
    assert looks[3] == ("#ffffff", "o")


def test_pale_areas_are_on_the_published_side():
    ax = plot_directions(table(), equal_within=0.05)
    spans = [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]
    reach = ax.get_xlim()[1]
    assert reach == pytest.approx(0.33)
    np.testing.assert_allclose(np.sort(spans[0]), [-0.05, 0.05])
    np.testing.assert_allclose(np.sort(spans[1]), [0, reach])
    np.testing.assert_allclose(np.sort(spans[2]), [-reach, 0])


def test_the_axis_ends_where_differences_of_shares_do():
    wide = table([("more", 1, 0.1, -1.3, 1.5, "undecided")])
    assert plot_directions(wide).get_xlim() == (-1, 1)
    ax = plot_directions(table([("lost", 1, np.nan, np.nan, np.nan, "undecided")]))
    assert ax.get_xlim()[1] == pytest.approx(0.055)
    ax.figure.draw_without_rendering()


def test_a_missing_column_is_told():
    with pytest.raises(ValueError, match="verdict"):
        plot_directions(table().drop(columns="verdict"))
