"""What the figures of search slopes draw is what the tables say."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.plot_style import HUMAN_COLOUR, PALETTE
from analysis.plots_slopes import plot_error_rates, plot_rt_distribution, plot_rt_slopes
from analysis.rt_fits import fit_exgaussian, fit_wald
from analysis.slope_scores import slope_scores


def _cells(n):
    rng = np.random.default_rng(0)
    rows = [
        {"task": task, "set_size": size, "target_present": there}
        for task in ("feature", "spatial_configuration")
        for size in (3, 6, 12)
        for there in (True, False)
        for _ in range(n)
    ]
    return pd.DataFrame(rows), rng


@pytest.fixture(scope="module")
def scores():
    human, rng = _cells(60)
    hard = human["task"] != "feature"
    rise = np.where(hard, 30.0, 1.0) * np.where(human["target_present"], 1, 2)
    human = human.assign(
        subject=np.arange(len(human)) % 3,
        error=(rng.random(len(human)) < 0.05).astype(int),
        rt_ms=400 + rise * human["set_size"] + rng.exponential(80, len(human)),
    )
    cells, rng = _cells(8)
    parts = []
    for name, untrained in (("guided", False), ("blind $x$", True)):
        serial = (cells["task"] != "feature") | untrained
        last = np.where(serial, cells["set_size"], 1)
        count = rng.integers(1, last + 1)
        parts.append(
            cells.assign(
                subject=name,
                model=name,
                untrained=untrained,
                stimulus_id=[str(i) for i in range(len(cells))],
                n_fixations=np.where(cells["target_present"], count, last),
                found=cells["target_present"],
            )
        )
    return slope_scores(pd.concat(parts), human, n_bootstrap=50)


@pytest.fixture(scope="module")
def times():
    rng = np.random.default_rng(1)
    return rng.normal(400, 40, 900) + rng.exponential(150, 900)


def _draw(ax):
    """Render to pixels: layout and glyphs raise here if they can."""
    ax.figure.savefig(io.BytesIO(), format="png", dpi=50)


def _legend(ax):
    legend = ax.get_legend() or ax.figure.legends[0]
    return [text.get_text() for text in legend.get_texts()]


def _points(ax, n=3):
    """Heights of the lines of n points, in order of drawing."""
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == n]
    return [np.round(line.get_ydata().astype(float), 6).tolist() for line in lines]


def _expected(scores, metric, task, rule, subject, there):
    rows = scores[
        (scores["metric"] == metric)
        & (scores["search_task"] == task)
        & (scores["subject"] == subject)
        & scores["target_present"].eq(there)
    ]
    rows = rows[rows["rule"].isna() | (rows["rule"] == rule)]
    return rows.sort_values("set_size")["value"].round(6).tolist()


@pytest.mark.parametrize("rule", ["exhaustive", "matched_misses"])
@pytest.mark.parametrize("task", ["feature", "spatial_configuration"])
def test_reaction_time_lines_are_the_means_of_the_table(scores, task, rule):
    ax = plot_rt_slopes(scores, task=task, rule=rule)
    _draw(ax)
    expected = [
        _expected(scores, "mean_rt_ms", task, rule, subject, there)
        for subject in ("human mean", "guided", "blind $x$")
        for there in (True, False)
    ]
    assert _points(ax) == expected
    assert ax.get_xticks().tolist() == [3, 6, 12]
    assert ax.get_ylabel() == "Reaction time (ms)"


def test_observers_stand_beside_each_other(scores):
    ax = plot_rt_slopes(scores, task="feature", rule="exhaustive")
    starts = {
        round(float(line.get_xdata()[0]), 3)
        for line in ax.get_lines()
        if len(line.get_xdata()) == 3
    }
    assert starts == {2.8, 3.0, 3.2}


def test_legend_gives_both_slopes_and_marks_untrained_searchers(scores):
    ax = plot_rt_slopes(scores, task="feature", rule="exhaustive")
    people, guided, blind = _legend(ax)
    assert people.startswith("people: ")
    assert guided == "guided: 0.0 and 252.4"
    assert blind.startswith("blind $x$ (untrained): ")
    title = ax.figure.legends[0].get_title().get_text()
    assert title == "Slopes in ms/item; full: target present, broken: absent"
    assert ax.get_title("left") == "Feature search (exhaustive)"


def test_people_are_black_diamonds_and_presence_is_filled(scores):
    ax = plot_rt_slopes(scores, task="feature", rule="exhaustive")
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 3]
    colours = [to_hex(line.get_color()).upper() for line in lines[::2]]
    assert colours == [HUMAN_COLOUR, *PALETTE[:2]]
    assert lines[0].get_marker() == "D"
    assert [to_hex(line.get_markerfacecolor()) for line in lines[1::2]] == [
        "#ffffff"
    ] * 3
    assert [line.get_linestyle() for line in lines] == ["-", "--"] * 3


def test_error_lines_are_percentages_without_false_alarms_of_searchers(scores):
    task, rule = "spatial_configuration", "matched_misses"
    ax = plot_error_rates(scores, task=task, rule=rule)
    _draw(ax)
    expected = [
        [100 * v for v in _expected(scores, "error_rate", task, rule, *who)]
        for who in (
            ("human mean", True),
            ("human mean", False),
            ("guided", True),
            ("blind $x$", True),
        )
    ]
    drawn = _points(ax)
    assert len(drawn) == 4
    for got, want in zip(drawn, expected, strict=True):
        assert got == pytest.approx(want, abs=1e-3)
    assert ax.get_ylabel() == "Errors (%)"
    assert ax.get_ylim()[0] <= 0


def test_histogram_is_a_density_in_percent_per_100_ms(times):
    ax = plot_rt_distribution(times, bin_ms=25)
    _draw(ax)
    heights, edges, _ = ax.patches[0].get_data()
    # The slowest half percent lies beyond the right end.
    assert (heights * np.diff(edges)).sum() / 100 == pytest.approx(99.5, abs=0.5)
    assert np.diff(edges) == pytest.approx(25)


def test_fitted_densities_are_drawn_and_undefined_ones_left_out(times):
    fits = (fit_exgaussian(times), fit_wald(times), fit_wald([500.0] * 20))
    ax = plot_rt_distribution(times, fits=fits, title="title")
    _draw(ax)
    assert _legend(ax) == ["people", "ex-Gaussian", "shifted Wald"]
    curves = [line for line in ax.get_lines() if len(line.get_xdata()) > 100]
    assert len(curves) == 2
    x, y = curves[0].get_data()
    assert y == pytest.approx(1e4 * fits[0].distribution.pdf(x))


def test_stems_are_shares_of_the_displays_of_a_searcher(times):
    own = [628.6] * 3 + [881.0]
    ax = plot_rt_distribution(times, searcher_ms=own, searcher="m")
    _draw(ax)
    beside = ax.figure.axes[1]
    assert beside.get_lines()[0].get_ydata().tolist() == [75.0, 25.0]
    assert beside.get_ylabel() == "Displays of m (%)"
    assert _legend(ax) == ["people", "m"]


@pytest.mark.parametrize("data", [[500.0], [500.0] * 30, [0.0, 1e6] * 5])
def test_odd_data_are_drawn(data):
    ax = plot_rt_distribution(data)
    _draw(ax)
    heights, edges, _ = ax.patches[0].get_data()
    assert (heights * np.diff(edges)).sum() / 100 > 49


def test_given_axes_are_drawn_on_and_pyplot_is_left_alone(scores, times):
    before = pyplot.get_fignums()
    figure = Figure(figsize=(15, 5), layout="constrained")
    axes = figure.subplots(1, 3)
    options = {"task": "feature", "rule": "exhaustive"}
    assert plot_rt_slopes(scores, **options, ax=axes[0]) is axes[0]
    assert plot_error_rates(scores, **options, ax=axes[1]) is axes[1]
    assert plot_rt_distribution(times, ax=axes[2]) is axes[2]
    assert figure.legends == []
    _draw(axes[0])
    assert pyplot.get_fignums() == before


def test_wrong_arguments_are_refused(scores, times):
    with pytest.raises(ValueError, match="Did you mean 'feature'"):
        plot_rt_slopes(scores, task="features", rule="exhaustive")
    with pytest.raises(ValueError, match="`rule` must be one of"):
        plot_error_rates(scores, task="feature", rule="never")
    only = scores[scores["metric"] == "mean_rt_ms"]
    with pytest.raises(ValueError, match="rows with the metric 'error_rate'"):
        plot_error_rates(only, task="feature", rule="exhaustive")
    with pytest.raises(ValueError, match="lacks the columns"):
        plot_rt_slopes(scores.drop(columns="rule"), task="feature", rule="exhaustive")
    with pytest.raises(ValueError, match="`rt_ms` is empty"):
        plot_rt_distribution([])
    with pytest.raises(ValueError, match="not finite"):
        plot_rt_distribution(times, searcher_ms=[np.nan])
