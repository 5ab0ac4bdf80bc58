"""Figures of captions of simulated voxels: marks and lines are those of the tables."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.plots_captions import (
    caption_looks,
    place_aside,
    plot_inverse_temperatures,
    plot_naming_rates,
)

KNOWN = (
    *("projection", "raw weights", "raw weights, mean norm"),
    *("nearest image", "random image", "shuffled responses", "pictures"),
)


def rates():
    rows = [
        ("projection", 3.0, 0.9, 0.8, 0.95),
        ("projection", 0.3, 1.0, 0.96, 1.0),
        ("raw weights", 0.3, 0.7, 0.6, 0.8),
        ("raw weights", 3.0, 0.4, 0.3, 0.5),
    ]
    columns = ["condition", "noise_sd", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def temperatures():
    rows = [
        (noise, beta, value - noise / 10, 0.1, 1.0)
        for beta, value in ((1000.0, 0.8), (1.0, 0.4), (150.0, 0.9))
        for noise in (3.0, 0.3)
    ]
    columns = ["noise_sd", "inverse_temperature", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def points(ax, marker):
    return [
        np.round(line.get_xydata(), 3).tolist()
        for line in ax.lines
        if line.get_marker() == marker and line.get_linestyle() == "None"
    ]


def words(ax):
    owner = ax.figure if ax.figure.legends else ax
    legend = owner.legends[0] if ax.figure.legends else ax.get_legend()
    return [text.get_text() for text in legend.get_texts()]


def test_a_condition_looks_the_same_whatever_is_beside_it():
    every = caption_looks(KNOWN)
    assert len(set(every.values())) == len(KNOWN)
    assert caption_looks(["nearest image"])["nearest image"] == every["nearest image"]
    assert not set(caption_looks(["new", "other"]).values()) & set(every.values())


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_conditions_stand_evenly_about_the_middle_and_within_half_a_step(n):
    aside = place_aside(n)
    np.testing.assert_allclose(aside, -aside[::-1], atol=1e-12)
    assert len(set(np.round(np.diff(aside), 9))) <= 1
    assert np.abs(aside).max() < 0.5


def test_rates_have_the_values_and_limits_of_the_table_by_noise():
    ax = plot_naming_rates(rates(), chance=0.2, title="Simulated")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.3", "3"]
    low, high = np.round(place_aside(2), 3)
    assert points(ax, "o") == [[[low, 1.0], [1 + low, 0.9]]]
    assert points(ax, "s") == [[[high, 0.7], [1 + high, 0.4]]]
    bars = [np.round(s, 3).tolist() for c in ax.collections for s in c.get_segments()]
    assert [[low, 0.96], [low, 1.0]] in bars
    assert [[1 + high, 0.3], [1 + high, 0.5]] in bars
    assert len(bars) == 4
    assert words(ax) == ["projection", "raw weights", "chance"]
    flat = [x for x in ax.lines if list(x.get_ydata()) == [0.2, 0.2]]
    assert len(flat) == 1
    assert ax.get_title(loc="left") == "Simulated"
    ax.figure.draw_without_rendering()


def test_parts_are_small_marks_beside_their_condition():
    parts = pd.DataFrame(
        {"condition": "raw weights", "noise_sd": 3.0, "value": [0.35, 0.45]}
    )
    ax = plot_naming_rates(rates(), parts=parts, part="one animal")
    drawn = [p for p in points(ax, ".") if p]
    assert [y for [(_, y), (_, z)] in drawn for y in (y, z)] == [0.35, 0.45]
    assert words(ax)[-1] == "one animal"


def test_conditions_without_an_interval_keep_their_mark():
    table = rates().assign(ci_low=np.nan, ci_high=np.nan)
    ax = plot_naming_rates(table)
    assert len(points(ax, "o")[0]) == 2
    ax.figure.draw_without_rendering()


def test_temperatures_are_equal_steps_in_ascending_order():
    ax = plot_inverse_temperatures(temperatures(), label="Share", marked=150.0)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "150", "1000"]
    lines = [x for x in ax.lines if x.get_marker() == "o"]
    values = [np.round(line.get_ydata(), 3).tolist() for line in lines]
    assert values == [[0.37, 0.87, 0.77], [0.1, 0.6, 0.5]]  # noise 0.3, then 3
    assert words(ax) == ["projection, noise 0.3", "projection, noise 3"]
    [band] = ax.patches
    assert band.get_x() + band.get_width() / 2 == pytest.approx(1)
    ax.figure.draw_without_rendering()


def test_baselines_are_broken_lines_in_the_colour_of_the_noise():
    baselines = pd.DataFrame(
        {"condition": ["a", "a", "b"], "noise_sd": [0.3, 3.0, 3.0],
         "value": [0.11, 0.22, 0.33]}
    )  # fmt: skip
    ax = plot_inverse_temperatures(temperatures(), label="Share", baselines=baselines)
    colours = [x.get_color() for x in ax.lines if x.get_marker() == "o"]
    flat = {
        round(line.get_ydata()[0], 2): (line.get_color(), line.get_linestyle())
        for line in ax.lines
        if line.get_marker() != "o"
    }
    assert [flat[v][0] for v in (0.11, 0.22, 0.33)] == [*colours, colours[1]]
    assert len(set(colours)) == 2
    assert {style for _, style in flat.values()} == {"--"}
    assert words(ax)[-2:] == ["a", "b"]


def test_bounds_are_named_where_lines_do_not_run():
    table = temperatures().assign(value=[900, 800, 1.5, 1.1, 30, 20], ci_low=1.0)
    ax = plot_inverse_temperatures(
        table, label="n", bounds={"one": 1, "all": 1000}, logarithmic=True
    )
    assert ax.get_yscale() == "log"
    assert {t.get_text(): t.get_ha() for t in ax.texts} == {
        "one": "left",
        "all": "right",
    }
    ax.figure.draw_without_rendering()


def test_a_temperature_of_zero_can_be_drawn():
    table = temperatures().replace({"inverse_temperature": {1.0: 0.0}})
    ax = plot_inverse_temperatures(table, label="Share")
    assert ax.get_xticklabels()[0].get_text() == "0"


def test_levels_of_noise_have_different_colours_none_of_them_pale():
    table = pd.concat([temperatures().assign(noise_sd=x) for x in (0.1, 1.0, 2.0)])
    table = table.drop_duplicates(["noise_sd", "inverse_temperature"])
    ax = plot_inverse_temperatures(table, label="Share")
    colours = [to_hex(x.get_color()) for x in ax.lines if x.get_marker() == "o"]
    assert len(set(colours)) == 3
    light = [sum(int(c[i : i + 2], 16) for i in (1, 3, 5)) / 765 for c in colours]
    assert max(light) < 0.75


def test_wrong_tables_are_told():
    with pytest.raises(ValueError, match="ci_low"):
        plot_naming_rates(rates().drop(columns="ci_low"))
    twice = pd.concat([rates(), rates().iloc[:1]])
    with pytest.raises(ValueError, match=r"several rows of projection, 3\.0"):
        plot_naming_rates(twice)
    with pytest.raises(ValueError, match="chance"):
        plot_naming_rates(rates(), chance=1.5)
    with pytest.raises(ValueError, match="several rows"):
        plot_inverse_temperatures(pd.concat([temperatures()] * 2), label="Share")
    many = pd.DataFrame({"condition": list("abcde"), "noise_sd": 3.0, "value": 0.5})
    with pytest.raises(ValueError, match="4 conditions; got 5"):
        plot_inverse_temperatures(temperatures(), label="Share", baselines=many)
