"""Figures of tuning show the values of the table."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.plot_style import PALETTE
from analysis.plots_tuning import plot_tuning, plot_tuning_curves
from analysis.tuning import grating_tuning

ANGLES = np.arange(0, 180, 30.0)
FREQUENCIES = np.array([8.0, 4.0, 2.0, 1.0])
NAN = float("nan")

TABLE = pd.DataFrame(
    {
        "responsive": [True, True, True, True, False],
        "circular_variance": [0.6, 0.2, 0.9, 0.3, NAN],
        "half_width_deg": [30.0, 20.0, NAN, 25.0, NAN],
        "bandwidth_octaves": [NAN, 1.5, NAN, 0.5, NAN],
        "modulation_ratio": [1.5, 0.5, 0.2, 1.1, NAN],
    }
)
SILENT = TABLE.assign(responsive=False)


def responses():
    """Four units: tuned sharply, silent, broadly, in between."""
    units = []
    for kappa, preferred in [(4, 60), (None, 0), (0.5, 150), (1.5, 0)]:
        if kappa is None:
            units.append(np.zeros((6, 4, 4)))
            continue
        curve = np.exp(kappa * np.cos(np.radians(2 * (ANGLES - preferred))))
        units.append(
            curve[:, None, None] * np.array([1, 3, 2, 0.5])[:, None] * np.ones(4)
        )
    return np.stack(units)


def draw(figure):
    """Render to pixels: layout and glyphs raise here if they can."""
    figure.savefig(io.BytesIO(), format="png", dpi=50)


def legend_of(ax):
    return [text.get_text() for text in ax.figure.legends[0].get_texts()]


def test_pyplot_is_not_touched_and_given_axes_are_drawn_on():
    before = pyplot.get_fignums()
    axes = Figure(figsize=(9, 4), layout="constrained").subplots(1, 2)[0]
    assert plot_tuning({"a": TABLE}, ax=axes) is axes
    draw(axes.figure)
    draw(plot_tuning_curves(responses(), ANGLES, FREQUENCIES, title="V$1"))
    assert pyplot.get_fignums() == before


def test_the_line_is_the_share_of_responsive_units():
    before = TABLE.copy()
    ax = plot_tuning({"natural": TABLE}, title="Layer 3")
    (line,) = ax.lines
    np.testing.assert_allclose(
        line.get_xydata(),
        [[0, 0], [0.2, 0.25], [0.3, 0.5], [0.6, 0.75], [0.9, 1], [1, 1]],
    )
    assert line.get_drawstyle() == "steps-post"
    assert ax.get_xlim() == (0, 1)
    assert ax.get_xlabel() == "Circular variance of orientation"
    assert ax.get_title(loc="left") == "Layer 3"
    assert legend_of(ax) == ["natural: 0.45, 4 of 5"]
    pd.testing.assert_frame_equal(TABLE, before)
    draw(ax.figure)


def test_a_line_ends_where_the_measure_is_undefined():
    ax = plot_tuning({"natural": TABLE}, measure="bandwidth_octaves")
    np.testing.assert_allclose(
        ax.lines[0].get_xydata(), [[0, 0], [0.5, 0.25], [1.5, 0.5], [1.575, 0.5]]
    )
    assert ax.get_xlim() == pytest.approx((0, 1.575))
    assert legend_of(ax) == ["natural: 1.00, 2 of 5"]
    width = plot_tuning({"natural": TABLE}, measure="half_width_deg")
    assert width.lines[0].get_ydata()[-1] == 0.75
    assert legend_of(width) == ["natural: 25.0, 3 of 5"]
    assert width.get_xlim() == (0, 90)


def test_untrained_models_are_broken_lines_of_the_same_colour():
    other = TABLE.assign(circular_variance=0.8)
    tables = {"natural": TABLE, "natural (untrained)": other, "fisheye": other}
    lines = plot_tuning(tables).lines
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-"]
    colours = [to_hex(line.get_color()).upper() for line in lines]
    assert colours == [PALETTE[0], PALETTE[0], PALETTE[1]]
    alone = plot_tuning({"(untrained)": TABLE}).lines[0]
    assert alone.get_linestyle() == "--"


@pytest.mark.parametrize("measure", ["circular_variance", "bandwidth_octaves"])
def test_units_that_do_not_respond_give_a_line_at_zero(measure):
    ax = plot_tuning({"silent": SILENT}, measure=measure)
    assert (ax.lines[0].get_ydata() == 0).all()
    assert legend_of(ax) == ["silent: –, 0 of 5"]
    draw(ax.figure)


def test_curves_are_those_of_the_best_tuned_units():
    units = responses()
    table = grating_tuning(units, ANGLES, FREQUENCIES)
    figure = plot_tuning_curves(units, ANGLES, FREQUENCIES)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == 3
    order = table["circular_variance"].dropna().sort_values()
    for ax, (unit, variance) in zip(shown, order.items(), strict=True):
        half, curve = ax.lines
        assert set(half.get_ydata()) == {0.5}
        means = units[unit, :, 1, 0]
        np.testing.assert_array_equal(curve.get_xdata(), [*ANGLES, 180])
        np.testing.assert_allclose(
            curve.get_ydata(), np.append(means, means[0]) / means.max()
        )
        assert ax.get_title(loc="left") == f"{unit}: CV {variance:.2f}"
    assert order.index.tolist() == [0, 3, 2]
    assert figure.get_supxlabel() == "Orientation of the bars (deg)"


def test_curves_over_frequency_are_at_the_preferred_orientation():
    figure = plot_tuning_curves(
        responses(), ANGLES, FREQUENCIES, over="frequency", n_units=1
    )
    (ax,) = figure.axes
    curve = ax.lines[1]
    np.testing.assert_array_equal(curve.get_xdata(), [1, 2, 4, 8])
    np.testing.assert_allclose(curve.get_ydata(), [1 / 6, 2 / 3, 1, 1 / 3])
    # Half is passed at 1 + 2/3 and 3 - 1 + 3/4 octaves from the lowest.
    assert ax.get_title(loc="left") == "0: 2.1 oct."
    assert ax.get_xscale() == "log"
    draw(figure)


def test_panels_below_which_nothing_is_shown_have_labels():
    units = np.concatenate([responses()[[0, 2, 3]]] * 2)[:5]
    figure = plot_tuning_curves(units, ANGLES, FREQUENCIES, columns=3)
    visible = [ax.get_visible() for ax in figure.axes]
    assert visible == [True] * 5 + [False]
    labels = [ax.xaxis.get_tick_params()["labelbottom"] for ax in figure.axes[:5]]
    assert labels == [False, False, True, True, True]
    assert len(plot_tuning_curves(units, ANGLES, FREQUENCIES, n_units=2).axes) == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plot_tuning({}), "at least one model"),
        (lambda: plot_tuning({"a": TABLE}, measure="circular_varianc"), "Did you mean"),
        (lambda: plot_tuning({"a": TABLE[["responsive"]]}), "circular_variance"),
        (
            lambda: plot_tuning_curves(np.ones((2, 6, 4, 4)), ANGLES, FREQUENCIES),
            "no responsive unit",
        ),
        (
            lambda: plot_tuning_curves(responses(), ANGLES, FREQUENCIES, n_units=0),
            "n_units",
        ),
        (
            lambda: plot_tuning_curves(responses(), ANGLES, FREQUENCIES, over="phase"),
            "over",
        ),
    ],
)
def test_wrong_arguments_are_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()
