"""Bars of regions and histograms of ceilings."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from analysis.plot_style import PALE, PALETTE
from analysis.plots_brain import plot_ceiling_histogram, plot_region_bars
from analysis.regions import region_table


def texts_of(ax):
    return [t.get_text() for t in ax.get_yticklabels()]


def bars_of(ax, colour):
    """Rows (y, from, to) of the bars of one colour, from top to bottom."""
    found = [
        (b.get_y() + b.get_height() / 2, b.get_x(), b.get_x() + b.get_width())
        for b in ax.patches
        if to_rgb(b.get_facecolor()[:3]) == to_rgb(colour)
    ]
    return sorted(found)


@pytest.fixture
def table():
    rows = [
        ("prf", "V1", "r", 120, 0.5, 0.4, 0.6),
        ("prf", "hV4", "r", 80, 0.3, 0.1, 0.35),
        ("floc", "FFA-1", "r", 60, np.nan, np.nan, np.nan),
        ("floc", "FFA-2", "r", 50, -0.1, -0.2, 0.05),
        ("prf", "V1", "ceiling", 120, 0.8, 0.7, 0.9),
        ("prf", "hV4", "ceiling", 80, 0.6, 0.5, 0.62),
        ("floc", "FFA-1", "ceiling", 60, 0.55, 0.5, 0.6),
        ("floc", "FFA-2", "ceiling", 50, np.nan, np.nan, np.nan),
    ]
    columns = ["family", "region", "measure", "n_units", "median", "q25", "q75"]
    return pd.DataFrame(rows, columns=columns)


def test_bars_have_the_lengths_of_medians_in_the_order_of_the_table(table):
    ax = plot_region_bars(table, measure="r")
    expected = ["prf", "V1 (120)", "hV4 (80)", "floc", "FFA-1 (60)", "FFA-2 (50)"]
    assert texts_of(ax) == expected
    rows = dict(zip(texts_of(ax), ax.get_yticks(), strict=True))
    drawn = bars_of(ax, PALETTE[0])
    assert [y for y, _, _ in drawn] == [
        rows[k] for k in ("V1 (120)", "hV4 (80)", "FFA-2 (50)")
    ]
    ends = [sorted((low, high)) for _, low, high in drawn]
    np.testing.assert_allclose(ends, [[0, 0.5], [0, 0.3], [-0.1, 0]])
    assert ax.yaxis_inverted()
    assert ax.get_xlabel() == "r"


def test_lines_reach_from_quartile_to_quartile_and_undefined_is_a_cross(table):
    ax = plot_region_bars(table, measure="r")
    rows = dict(zip(texts_of(ax), ax.get_yticks(), strict=True))
    lines = {
        float(line.get_ydata()[0]): line.get_xdata()
        for line in ax.lines
        if line.get_marker() != "x" and len(set(line.get_ydata())) == 1
    }
    np.testing.assert_allclose(lines[rows["V1 (120)"]], [0.4, 0.6])
    np.testing.assert_allclose(lines[rows["FFA-2 (50)"]], [-0.2, 0.05])
    assert rows["FFA-1 (60)"] not in lines
    (cross,) = (line for line in ax.lines if line.get_marker() == "x")
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (0, rows["FFA-1 (60)"])


def test_ceilings_are_bands_between_quartiles(table):
    ax = plot_region_bars(table, measure="r", ceiling="ceiling")
    bands = [(low, high) for _, low, high in bars_of(ax, PALE)]
    np.testing.assert_allclose(bands, [(0.7, 0.9), (0.5, 0.62), (0.5, 0.6)])
    (legend,) = ax.figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "ceiling (median and quartiles)"
    ]


def test_models_stand_side_by_side_in_their_colours(table):
    both = pd.concat(
        [table.assign(model="a"), table.assign(model="b", median=table["median"] / 2)]
    )
    both.loc[(both["model"] == "b") & (both["region"] == "V1"), "n_units"] = 119
    ax = plot_region_bars(both, measure="r", by="model", label="Correlation $r$")
    first, second = (bars_of(ax, c) for c in PALETTE[:2])
    assert len(first) == len(second) == 3
    for (ya, _, a), (yb, _, b) in zip(first, second, strict=True):
        assert 0 < yb - ya < 0.5
        assert b == pytest.approx(a / 2)
    # Sizes that differ are not told.
    assert texts_of(ax)[:3] == ["prf", "V1", "hV4 (80)"]
    (legend,) = ax.figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["a", "b"]
    FigureCanvasAgg(ax.figure).draw()


def test_the_table_of_regions_can_be_drawn_by_hemisphere():
    rng = np.random.default_rng(0)
    units = pd.DataFrame({"prf": ["V1v", "V1v", "hV4", "hV4", ""] * 4})
    units["hemisphere"] = np.repeat(["lh", "rh"], 10)
    values = {"r": rng.random(20), "ceiling": 0.5 + rng.random(20) / 2}
    found = region_table(values, units, ["prf"], hemispheres=True)
    ax = plot_region_bars(found, measure="r", by="hemisphere", ceiling="ceiling")
    left = found[(found["hemisphere"] == "lh") & (found["measure"] == "r")]
    np.testing.assert_allclose(
        [high for _, _, high in bars_of(ax, PALETTE[0])], left["median"]
    )
    with pytest.raises(ValueError, match=r"several rows of .*V1v"):
        plot_region_bars(found, measure="r")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"measure": "R"}, "Did you mean 'r'"),
        ({"ceiling": "ceil"}, "Did you mean 'ceiling'"),
        ({"by": "model"}, "lacks the columns"),
    ],
)
def test_unknown_measures_and_columns_are_refused(table, change, match):
    with pytest.raises(ValueError, match=match):
        plot_region_bars(table, **{"measure": "r", **change})


def test_bars_are_drawn_on_given_axes(table):
    ax = Figure().add_subplot()
    assert plot_region_bars(table, measure="r", title="T", ax=ax) is ax
    assert ax.get_title(loc="left") == "T"


# ---------------------------------------------------------------- histograms


@pytest.fixture
def units():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"prf": ["V1v"] * 300 + ["V1d"] * 200 + [""] * 100})
    table["floc"] = np.where(np.arange(600) < 50, "FFA-1", "")
    table["ncsnr"] = rng.gamma(4, 0.1, 600)
    table.loc[[0, 1, 2], "ncsnr"] = np.nan
    table.loc[3, "ncsnr"] = np.inf
    return table


def filled(ax):
    return [p for p in ax.patches if isinstance(p, StepPatch) and p.get_fill()]


def test_each_region_has_a_histogram_of_its_finite_units(units):
    ax = plot_ceiling_histogram(units, ["prf", "floc"])
    assert texts_of(ax) == ["all units", "V1v", "V1d", "FFA-1"]
    values = units["ncsnr"].to_numpy()
    for mask, patch in zip(
        [
            np.ones(600, bool),
            units["prf"] == "V1v",
            units["prf"] == "V1d",
            units["floc"] == "FFA-1",
        ],
        filled(ax),
        strict=True,
    ):
        data = patch.get_data()
        inside = values[np.asarray(mask)]
        counts = np.histogram(inside[np.isfinite(inside)], data.edges)[0]
        heights = data.baseline - np.asarray(data[0])
        np.testing.assert_allclose(heights, 0.82 * counts / counts.max())
        assert counts.sum() == np.isfinite(inside).sum()


def test_medians_numbers_and_lost_units_are_told(units):
    ax = plot_ceiling_histogram(units, ["prf"], regions=["V1", "V1d"])
    values = units["ncsnr"].replace(np.inf, np.nan)
    v1 = values[units["prf"] != ""].median()
    marks = [t.get_text() for t in ax.texts]
    assert marks[1] == f"median {v1:.2f}, n = 500\n4 undefined or infinite"
    v1d = values[units["prf"] == "V1d"].median()
    assert marks[2] == f"median {v1d:.2f}, n = 200"
    lines = [line.get_xdata()[0] for line in ax.lines]
    np.testing.assert_allclose(lines, [values.median(), v1, v1d])


def test_a_region_without_a_known_value_has_a_dash_and_no_bars(units):
    units.loc[units["prf"] == "V1d", "ncsnr"] = np.nan
    ax = plot_ceiling_histogram(units, ["prf"], regions=["V1d"])
    assert ax.texts[1].get_text() == "median –, n = 200\n200 undefined or infinite"
    data = filled(ax)[1].get_data()
    assert (np.asarray(data[0]) == data.baseline).all()
    FigureCanvasAgg(ax.figure).draw()


def test_other_columns_may_be_below_zero(units):
    units["r"] = np.linspace(-0.3, 0.9, len(units))
    ax = plot_ceiling_histogram(units, [], column="r", label="r", title="Units")
    assert ax.get_xlim() == pytest.approx((-0.3, 0.9))
    assert texts_of(ax) == ["all units"]


def test_labels_that_two_families_know_keep_their_family(units):
    units["kastner"] = units["prf"]
    ax = plot_ceiling_histogram(units, ["prf", "kastner"])
    assert texts_of(ax)[1:] == ["prf:V1v", "prf:V1d", "kastner:V1v", "kastner:V1d"]


def test_unknown_columns_and_regions_are_refused(units):
    with pytest.raises(ValueError, match="lacks the columns"):
        plot_ceiling_histogram(units, ["prf"], column="nc")
    with pytest.raises(KeyError, match="V9"):
        plot_ceiling_histogram(units, ["prf"], regions=["V9"])
