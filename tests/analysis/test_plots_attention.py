"""Figures of attention: what is drawn is what the measures say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from analysis.attention_boxes import box_guidance
from analysis.attention_maps import attention_summary, upsample_attention
from analysis.plot_style import PALETTE
from analysis.plots_attention import (
    plot_attention_centres,
    plot_attention_map,
    plot_attention_regions,
    plot_box_guidance,
)

NAMES = ["V1", "FFA", "PPA"]


def attend(n_images=5, n_queries=3, h=4, w=5, seed=0):
    maps = np.exp(np.random.default_rng(seed).normal(size=(n_images, n_queries, h, w)))
    return maps / maps.sum(axis=(-2, -1), keepdims=True)


def legend_of(ax):
    legend = ax.figure.legends[0] if ax.figure.legends else ax.get_legend()
    return [t.get_text().replace("\n", " ") for t in legend.get_texts()]


def circles_of(ax):
    return [p for p in ax.patches if isinstance(p, Circle)]


# ------------------------------------------------------------------ single maps


@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_a_map_is_drawn_in_multiples_of_even_attention(method):
    shares = attend()[0, 0]
    ax = plot_attention_map(shares, size=(40, 50), method=method, title="V1 $1$")
    (image,) = ax.images
    expected = upsample_attention(shares, (40, 50), method=method)
    np.testing.assert_array_equal(image.get_array(), expected)
    assert image.get_clim() == (0, pytest.approx(expected.max()))
    assert image.get_extent() == [0, 50, 40, 0]
    (bar,) = [other for other in ax.figure.axes if other is not ax]
    assert bar.get_ylabel() == "Attention (share ÷ share of area; 1 = even)"
    assert [line.get_ydata() for line in bar.lines] == [[1, 1]]
    assert ax.get_title(loc="left") == "V1 $1$"


def test_panels_can_share_their_scale_and_go_without_a_bar():
    shares = attend()[0, 0]
    ax = plot_attention_map(shares, largest=7, bar=False)
    assert ax.images[0].get_clim() == (0, 7)
    assert ax.figure.axes == [ax]
    assert ax.images[0].get_array().shape == (56, 70)  # 14 pixels per cell
    assert plot_attention_map(shares, pad=(3, 9)).get_ylim() == (53, 0)


def test_the_picture_shows_through_where_attention_is_weak():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (37, 41, 3), dtype=np.uint8)
    boxes = [[3, 4, 10, 20], [np.nan] * 4]
    ax = plot_attention_map(attend()[0, 0], picture, pad=(3, 9), boxes=boxes)
    grey, image = ax.images
    np.testing.assert_allclose(grey.get_array(), picture.mean(-1))
    assert image.get_array().shape == (37, 41)
    alpha = image.cmap(np.linspace(0, 1, 9))[:, 3]
    assert alpha[0] == 0
    assert (np.diff(alpha) > 0).all()
    (box,) = [p for p in ax.patches if isinstance(p, Rectangle)]
    assert box.get_bbox().extents.tolist() == [3, 4, 10, 20]
    one = plot_attention_map(attend()[0, 0], picture, boxes=[3, 4, 10, 20])
    assert len(one.patches) == 1


def test_even_and_undefined_maps_are_drawn():
    even = plot_attention_map(np.full((4, 5), 1 / 20))
    assert even.images[0].get_clim() == (0, 1)
    lost = plot_attention_map(np.full((4, 5), np.nan))
    assert lost.images[0].get_array().mask.all()
    lost.figure.draw_without_rendering()


def test_maps_that_do_not_fit_are_refused():
    shares, picture = attend()[0, 0], np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ValueError, match="add up to 1"):
        plot_attention_map(2 * shares)
    with pytest.raises(ValueError, match="`attention` must have shape"):
        plot_attention_map(attend()[0])
    with pytest.raises(ValueError, match=r"`size` is \(4, 5\), but `picture` has"):
        plot_attention_map(shares, picture, size=(4, 5))
    with pytest.raises(ValueError, match="`boxes` must have shape"):
        plot_attention_map(shares, boxes=[1, 2, 3])
    with pytest.raises(ValueError, match="`largest` must be above 0"):
        plot_attention_map(shares, largest=0)
    with pytest.raises(TypeError, match="`picture` must have dtype uint8"):
        plot_attention_map(shares, picture.astype(float))


# ------------------------------------------------------------------ many queries


def test_centres_are_marks_with_circles_of_scatter_and_spread():
    summary = attention_summary(attend(), names=NAMES, width=8.4)
    summary.loc[1, "x"] = np.nan
    groups = {"V1": "early", "PPA": "high"}
    ax = plot_attention_centres(summary, groups=groups, side=8.4, unit="degrees")
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines]
    kept = summary.iloc[[0, 2]]
    np.testing.assert_allclose(marks, kept[["x", "y"]])
    colours = [to_rgb(line.get_color()) for line in ax.lines]
    assert colours == [to_rgb(c) for c in PALETTE[:2]]
    radii = [c.get_radius() for c in circles_of(ax)]
    expected = kept[["spread_per_image", "centre_scatter"]].to_numpy().ravel()
    np.testing.assert_allclose(radii, expected)
    assert [t.get_text() for t in ax.texts] == ["V1", "PPA"]
    assert legend_of(ax) == ["early", "high"]
    assert ax.get_xlabel() == "Right of the centre (degrees)"
    (square,) = [p for p in ax.patches if isinstance(p, Rectangle)]
    assert square.get_width() == 8.4


def test_many_centres_have_no_names():
    summary = attention_summary(attend(n_queries=17))
    ax = plot_attention_centres(summary)
    assert len(ax.lines) == 17
    assert not ax.texts
    assert not ax.figure.legends
    with pytest.raises(ValueError, match=r"`groups` lacks the queries \['16'\]"):
        plot_attention_centres(summary, groups={str(i): "a" for i in range(16)})
    with pytest.raises(ValueError, match="`side` must be above 0"):
        plot_attention_centres(summary, side=0)
    with pytest.raises(ValueError, match="lacks the columns"):
        plot_attention_centres(summary.drop(columns="x"))


@pytest.mark.parametrize("measure", ["entropy_bits", "spread"])
def test_regions_show_single_images_beside_the_mean_map(measure):
    maps = attend()
    maps[:, 2] = np.nan
    summary = attention_summary(maps, names=NAMES)
    ax = plot_attention_regions(summary, measure=measure, labels={"V1": "V1 left"})
    filled, hollow = ax.lines[:2]
    np.testing.assert_array_equal(filled.get_xdata(), summary[f"{measure}_per_image"])
    np.testing.assert_array_equal(hollow.get_xdata(), summary[measure])
    assert hollow.get_markerfacecolor() == "white"
    np.testing.assert_array_equal(filled.get_ydata(), [0, 1, 2])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["V1 left", "FFA", "PPA"]
    low, high = ax.get_ylim()
    assert low > high  # the first on top
    texts = legend_of(ax)
    assert texts[:2] == ["map of an image (mean)", "mean map of all images"]
    if measure == "entropy_bits":
        assert ax.lines[2].get_xdata()[0] == pytest.approx(np.log2(20))
        assert texts[2:] == ["even attention"]
    else:
        assert len(texts) == 2
    ax.figure.draw_without_rendering()


def test_objects_are_shown_against_other_images_and_even_attention():
    boxes = [[0, 0, 20, 30]] * 4 + [[np.nan] * 4]
    rng = np.random.default_rng(0)
    guidance = box_guidance(attend(), boxes, (40, 50), names=NAMES, rng=rng)
    guidance = guidance.assign(p_value=[0.01, 0.2, np.nan])
    ax = plot_box_guidance(guidance, title="Faces")
    even, certain, unsure, others = ax.lines
    assert even.get_xdata() == [1, 1]
    ratio = guidance["ratio"].to_numpy()
    np.testing.assert_allclose(certain.get_xdata(), ratio[:1])
    np.testing.assert_allclose(unsure.get_xdata(), ratio[1:])
    assert certain.get_markerfacecolor() == PALETTE[0]
    assert unsure.get_markerfacecolor() == "white"
    expected = guidance["mass_other"] / guidance["area"]
    np.testing.assert_allclose(others.get_xdata(), expected)
    assert legend_of(ax)[0] == "same image, p ≤ 0.05"
    corrected = guidance.assign(p_fdr=0.5)
    again = plot_box_guidance(corrected, p_column="p_fdr", level=0.1)
    assert len(again.lines[1].get_xdata()) == 0
    again.figure.draw_without_rendering()


def test_tables_that_do_not_fit_are_refused():
    summary = attention_summary(attend())
    with pytest.raises(ValueError, match="`measure` must be one of"):
        plot_attention_regions(summary, measure="x")
    with pytest.raises(ValueError, match="lacks the columns"):
        plot_attention_regions(summary.drop(columns="entropy_bits_per_image"))
    with pytest.raises(ValueError, match="lacks the columns"):
        plot_box_guidance(summary)
    empty = pd.DataFrame(columns=["query", "mass", "area", "mass_other", "p_value"])
    with pytest.raises(ValueError, match="`level` must be within"):
        plot_box_guidance(empty, level=2)


def test_figures_are_drawn_on_given_axes_without_warnings():
    figure = Figure(figsize=(10, 9), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    summary = attention_summary(attend(), names=NAMES)
    drawn = [
        plot_attention_map(attend()[0, 0], ax=axes[0]),
        plot_attention_centres(summary, groups=dict.fromkeys(NAMES, "a"), ax=axes[1]),
        plot_attention_regions(summary, ax=axes[2]),
    ]
    assert [ax.figure for ax in drawn] == [figure] * 3
    figure.draw_without_rendering()
