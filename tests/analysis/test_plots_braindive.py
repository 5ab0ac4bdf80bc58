"""Figures of images that drive regions: marks and numbers are those of the tables."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.plots_braindive import (
    MEAN,
    condition_legend,
    condition_looks,
    plot_conditions,
    plot_contact_sheet,
    plot_label_matrix,
    plot_strength,
)

KNOWN = ("unguided", "guided", "guided, best quarter", "suppressed",
         "permuted regions", "pixel ascent", "real, random",
         "real, best measured")  # fmt: skip


def conditions():
    rows = [
        ("unguided", "face", 0.1, 0.0, 0.2),
        ("guided", "face", 0.6, 0.5, 0.7),
        ("guided", MEAN, 0.5, 0.45, 0.55),
        ("pixel ascent", MEAN, np.nan, np.nan, np.nan),
    ]
    return pd.DataFrame(
        rows, columns=["condition", "region", "value", "ci_low", "ci_high"]
    )


def marks(ax, size=6):
    return [
        tuple(np.round(line.get_xydata()[0], 3))
        for line in ax.lines
        if line.get_markersize() == size and line.get_marker() not in ("None", None, "")
    ]


def words(ax):
    owner = ax.figure if ax.figure.legends else ax
    legend = owner.legends[0] if ax.figure.legends else ax.get_legend()
    return [text.get_text() for text in legend.get_texts()]


def test_conditions_have_the_values_and_intervals_of_the_table():
    ax = plot_conditions(conditions(), label="z", chance=0.2, title="Simulated")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["face", MEAN]
    shown = [mark for mark in marks(ax) if not np.isnan(mark[0])]
    # Three conditions, .28 apart: "unguided" above, "pixel ascent" below.
    assert shown == [(0.1, -0.28), (0.6, 0.0), (0.5, 1.0)]
    bars = [list(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 1.6]
    assert bars[:3] == [[0.0, 0.2], [0.5, 0.7], [0.45, 0.55]]
    assert [t.get_text() for t in ax.texts] == ["pixel ascent: undefined"]
    upright = [line for line in ax.lines if list(line.get_xdata()) == [0.2, 0.2]]
    assert len(upright) == 1
    assert words(ax) == ["unguided", "guided", "pixel ascent", "chance"]
    assert ax.get_title(loc="left") == "Simulated"
    [band] = ax.patches
    assert (band.get_y(), band.get_height()) == (0.5, 1)
    ax.figure.draw_without_rendering()


def test_a_condition_looks_the_same_whatever_is_beside_it():
    every = condition_looks(KNOWN)
    assert len(set(every.values())) == len(KNOWN)
    assert condition_looks(["guided"])["guided"] == every["guided"]
    assert not set(condition_looks(["new", "other"]).values()) & set(every.values())


def test_the_best_quarter_has_open_marks():
    table = conditions().iloc[:1].assign(condition="guided, best quarter")
    [mark] = [x for x in plot_conditions(table, label="z").lines
              if x.get_markersize() == 6 and x.get_marker() == "o"]  # fmt: skip
    assert to_hex(mark.get_markerfacecolor()) == "#ffffff"


def test_a_legend_for_several_axes_names_all_conditions():
    figure = Figure(figsize=(12, 4), layout="constrained")
    for ax in figure.subplots(1, 2):
        plot_conditions(conditions(), label="z", legend=False, ax=ax)
    condition_legend(figure, KNOWN)
    [legend] = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == list(KNOWN)


def test_wrong_tables_of_conditions_are_told():
    with pytest.raises(ValueError, match="ci_low"):
        plot_conditions(conditions().drop(columns="ci_low"), label="z")
    twice = pd.concat([conditions(), conditions().iloc[:1]])
    with pytest.raises(ValueError, match="several rows of unguided, face"):
        plot_conditions(twice, label="z")
    with pytest.raises(ValueError, match="chance"):
        plot_conditions(conditions(), label="z", chance=np.nan)


def strengths(metrics=("heldout",)):
    rows = [
        (metric, region, scale, value + 0.1 * number, value - 0.1, value + 0.2)
        for number, metric in enumerate(metrics)
        for region, values in (
            ("face", [0.1, 0.5, 0.3]),
            ("word", [0.0, np.nan, 0.3]),
            (MEAN, [0.05, 0.4, 0.2]),
        )
        for scale, value in zip([100.0, 1.0, 10.0], values, strict=True)
    ]
    columns = ["metric", "region", "scale", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def test_strength_shows_means_bands_and_regions_from_weak_to_strong():
    unguided = pd.DataFrame(
        {"metric": ["heldout", "other"], "value": [0.02, 9.0], "ci_low": [0.0, 8.0],
         "ci_high": [0.04, 10.0]}
    )  # fmt: skip
    ax = plot_strength(
        strengths(), metrics={"heldout": "held-out"}, unguided=unguided, chance=0.2,
        label="z",
    )  # fmt: skip
    [thick] = [line for line in ax.lines if line.get_linewidth() == 2.2]
    assert thick.get_xydata().tolist() == [[1, 0.4], [10, 0.2], [100, 0.05]]
    thin = [x.get_xydata().tolist() for x in ax.lines if x.get_linewidth() == 0.9]
    # What is undefined is left out, not drawn as 0.
    assert thin == [[[1, 0.5], [10, 0.3], [100, 0.1]], [[10, 0.3], [100, 0.0]]]
    [band] = ax.collections
    at_one = [tuple(p) for p in band.get_paths()[0].vertices if p[0] == 1]
    assert {round(y, 6) for _, y in at_one} == {0.3, 0.6}
    flat = [line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1]
    assert sorted(flat) == [0.02, 0.2]
    assert {t.get_text() for t in ax.texts} == {"face", "word"}
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "10", "100"]
    assert ax.get_xscale() == "log"
    assert words(ax) == [
        "held-out, mean of regions", "one region", "unguided", "chance"
    ]  # fmt: skip
    ax.figure.draw_without_rendering()


def test_two_measures_have_two_colours_and_no_names_at_ends():
    ax = plot_strength(
        strengths(("a", "b")), metrics={"b": "judge", "a": "guide"}, label="z"
    )
    thick = [line for line in ax.lines if line.get_linewidth() == 2.2]
    assert [line.get_ydata()[0].round(6) for line in thick] == [0.5, 0.4]
    assert len({line.get_color() for line in thick}) == 2
    assert len({line.get_marker() for line in thick}) == 2
    assert not ax.texts


def test_names_of_lines_that_end_together_do_not_overlap():
    table = strengths()
    rows = [table.assign(region=f"r{i}") for i in range(1, 5)]
    ax = plot_strength(pd.concat(rows).drop_duplicates(["region", "scale"]),
                       metrics={"heldout": "x"}, label="z")  # fmt: skip
    ax.figure.draw_without_rendering()
    boxes = sorted((t.get_window_extent() for t in ax.texts), key=lambda b: b.y0)
    assert len(boxes) == 4
    assert all(a.y1 <= b.y0 + 2 for a, b in pairwise(boxes))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t.assign(scale=0.0), {}, "`scale` must be above 0"),
        (lambda t: t.assign(scale=np.nan), {}, "`scale` must be above 0"),
        (lambda t: pd.concat([t, t]), {}, "several rows of heldout, face, 1"),
        (lambda t: t.drop(columns="scale"), {}, "scale"),
        (lambda t: t, {"metrics": {}}, "number of `metrics`"),
    ],
)
def test_wrong_tables_of_strengths_are_told(change, options, message):
    arguments = {"metrics": {"heldout": "x"}, "label": "z"} | options
    table = change(strengths())
    if "several" not in message and "scale" in table:
        table = table.drop_duplicates(["region", "scale"])
    with pytest.raises(ValueError, match=message):
        plot_strength(table, **arguments)


def shares():
    rows = [("unguided", "face", 0.75), ("unguided", "word", 0.25),
            ("face", "face", 1.0), ("face", "word", 0.0),
            ("word", "word", np.nan)]  # fmt: skip
    return pd.DataFrame(rows, columns=["name", "label", "share"])


def test_a_matrix_has_the_shares_of_the_table_and_frames_what_was_wanted():
    ax = plot_label_matrix(shares(), n_references=1)
    [image] = ax.images
    expected = [[0.75, 0.25], [1.0, 0.0], [np.nan, np.nan]]
    np.testing.assert_array_equal(image.get_array().filled(np.nan), expected)
    assert [t.get_text() for t in ax.texts] == [
        "0.75", "0.25", "1.00", "0.00", "–", "–"
    ]  # fmt: skip
    frames = [(round(p.get_x() + 0.47), round(p.get_y() + 0.46)) for p in ax.patches]
    assert frames == [(0, 1), (1, 2)]
    assert [line.get_ydata()[0] for line in ax.lines] == [0.5]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["unguided", "face", "word"]


def test_wrong_shares_are_told():
    with pytest.raises(ValueError, match="share"):
        plot_label_matrix(shares().assign(share=1.2))
    with pytest.raises(ValueError, match="several rows of unguided, face"):
        plot_label_matrix(pd.concat([shares(), shares()]))
    with pytest.raises(ValueError, match="label"):
        plot_label_matrix(shares().drop(columns="label"))


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_pictures_of_a_sheet_are_shown_pixel_by_pixel_with_their_texts():
    pictures = noise(2, 3, 8, 8, 3)
    texts = [["a", "b", "c"], ["$1", "", "−2"]]
    ax = plot_contact_sheet(pictures, rows=["x", "y"], texts=texts, title="face")
    assert len(ax.images) == 6
    for image, shown in zip(ax.images, pictures.reshape(6, 8, 8, 3), strict=True):
        np.testing.assert_array_equal(image.get_array(), shown)
        assert image.get_interpolation() == "nearest"
    extents = [image.get_extent() for image in ax.images]
    assert all(right - left == pytest.approx(1) for left, right, *_ in extents)
    assert extents[0][1] < extents[1][0]  # side by side
    assert extents[0][2] < extents[3][3]  # one below the other
    assert [t.get_text() for t in ax.texts] == [*texts[0], *texts[1]]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["x", "y"]
    assert ax.get_title(loc="left") == "face"
    ax.figure.draw_without_rendering()


def test_a_drawn_sheet_has_the_levels_of_the_picture_and_no_others():
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[::2, ::2] = 200
    ax = plot_contact_sheet([[picture]], rows=[""])
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    box = ax.images[0].get_window_extent()
    assert box.width == pytest.approx(box.height)
    drawn = np.asarray(canvas.buffer_rgba())[::-1]
    inner = drawn[int(box.y0) + 2 : int(box.y1) - 2, int(box.x0) + 2 : int(box.x1) - 2]
    assert set(np.unique(inner[..., 0])) == {0, 200}


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        ([], {"rows": []}, "rows of equally many"),
        ([[]], {"rows": ["a"]}, "rows of equally many"),
        ([list(noise(2, 4, 4, 3)), list(noise(1, 4, 4, 3))], {"rows": ["a", "b"]},
         r"lengths \[1, 2\]"),
        ([[noise(4, 4, 3), noise(5, 4, 3)]], {"rows": ["a"]}, "one size"),
        ([list(noise(2, 4, 4, 3))], {"rows": []}, "`rows` must have shape"),
        ([list(noise(2, 4, 4, 3))], {"rows": ["a"], "texts": [["t"]]}, "1 rows of 2"),
        ([list(noise(2, 4, 4, 3))], {"rows": ["a"], "side_in": 0.0}, "side_in"),
    ],
)  # fmt: skip
def test_wrong_pictures_are_told(pictures, options, message):
    with pytest.raises(ValueError, match=message):
        plot_contact_sheet(pictures, **options)


def test_pictures_of_another_type_are_told():
    with pytest.raises(TypeError, match="uint8"):
        plot_contact_sheet([[np.zeros((4, 4, 3))]], rows=["a"])
