"""Pieces of reports: texts of values, grids of axes, saved figures, score tables."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from analysis.report import ReportFigure
from neurovis.core.types import Provenance
from tasks.report_parts import (
    axes_grid,
    figure_of,
    save_figures,
    score_table,
    value_text,
)
from tasks.runs import Run

NAN = float("nan")


def row(value, low=NAN, high=NAN):
    return {"value": value, "ci_low": low, "ci_high": high}


# ------------------------------------------------------------------------ texts


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [
        ((0.5, 0.4, 0.61), 2, "0.50 [0.40, 0.61]"),
        ((12.35,), 1, "12.3"),
        ((12.35, 10, 20), 0, "12 [10, 20]"),
        ((-3.14159, -4, -2.5), 3, "−3.142 [−4.000, −2.500]"),
        ((NAN,), 2, "undefined"),
        # What is not known has no interval either.
        ((NAN, 0.1, 0.2), 2, "undefined"),
        ((float("inf"), 1, float("inf")), 1, "inf [1.0, inf]"),
    ],
)
def test_a_value_is_written_with_its_interval(values, digits, text):
    assert value_text(row(*values), digits) == text
    assert value_text(pd.Series(row(*values)), digits) == text


@given(
    st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(0, 4)
)
def test_the_text_gives_the_rounded_numbers_back(value, low, high, digits):
    text = value_text(row(value, low, high), digits).replace("−", "-")
    numbers = [float(n) for n in text.replace("[", "").rstrip("]").split(" ", 1)[:1]]
    inside = text.split("[")[1].rstrip("]").split(", ")
    numbers += [float(n) for n in inside]
    np.testing.assert_allclose(
        numbers, [value, low, high], rtol=1e-12, atol=0.5 * 10**-digits * (1 + 1e-9)
    )


# ------------------------------------------------------------------------- axes


@pytest.mark.parametrize(
    ("n", "columns", "shape"),
    [(1, 3, (1, 1)), (3, 3, (1, 3)), (4, 3, (2, 3)), (2, 5, (1, 2)), (5, 1, (5, 1))],
)
def test_a_grid_has_as_many_axes_as_asked_row_by_row(n, columns, shape):
    grid = axes_grid(n, columns, (2.0, 1.5))
    assert len(grid) == n
    figure = figure_of(grid[0])
    assert all(figure_of(axes) is figure for axes in grid)
    width, height = figure.get_size_inches()
    assert (width, height) == (2.0 * shape[1], 1.5 * shape[0])
    places = [axes.get_subplotspec() for axes in grid]
    assert [(p.rowspan.start, p.colspan.start) for p in places] == [
        divmod(i, shape[1]) for i in range(n)
    ]
    assert len(figure.axes) == shape[0] * shape[1]
    assert [axes.axison for axes in figure.axes] == [
        i < n for i in range(len(figure.axes))
    ]


# ---------------------------------------------------------------------- figures


def figure_item():
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], [1, 0])
    return ReportFigure(figure, alt="a line", caption="A line.")


def test_figures_are_saved_by_name_on_white(tmp_path):
    save_figures(tmp_path, [("one", figure_item()), ("two", figure_item())])
    folder = tmp_path / "figures"
    assert sorted(path.name for path in folder.iterdir()) == ["one.png", "two.png"]
    picture = np.asarray(Image.open(folder / "one.png").convert("RGB"))
    assert picture.shape == (150, 300, 3)
    assert (picture[0, 0] == 255).all()
    assert (folder / "one.png").read_bytes() == (folder / "two.png").read_bytes()


def test_saved_figures_replace_older_ones_and_leave_nothing_else(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "one.png").write_bytes(b"old")
    save_figures(tmp_path, [("one", figure_item())])
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["one.png"]
    assert (tmp_path / "figures" / "one.png").stat().st_size > 500


def test_a_figure_that_cannot_be_drawn_leaves_the_older_one(tmp_path):
    bad = figure_item()
    bad.figure.axes[0].set_title(r"$\frac$")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "bad.png").write_bytes(b"old")
    with pytest.raises(ValueError, match="frac"):
        save_figures(tmp_path, [("bad", bad)])
    assert (tmp_path / "figures" / "bad.png").read_bytes() == b"old"
    assert len(list((tmp_path / "figures").iterdir())) == 1


# ----------------------------------------------------------------------- tables

METRICS = {"hits": ("Hits", 2), "time": ("Time (ms)", 0), "gone": ("Gone", 1)}


def run_of(*rows, notes=("net: untrained weights (seeded:0)",)):
    columns = ["model", "metric", "value", "ci_low", "ci_high", "ceiling_low"]
    scores = pd.DataFrame([(*r, *[NAN] * (6 - len(r))) for r in rows], columns=columns)
    provenance = Provenance({}, "cpu", "float32", 0, notes=notes)
    return Run(None, scores, scores, scores, provenance)


RUN = run_of(
    ("human", "hits", 0.9, 0.8, 0.95),
    ("human", "time", 500.0, 480.0, 520.0),
    ("net", "time", 700.4, 600.0, 800.0, 512.3),
    ("net", "hits", 0.456, 0.4, 0.5, 0.87),
    ("net", "other", 3.0),
    ("chance", "hits", NAN, NAN, NAN, 0.87),
)


def test_a_table_has_one_row_per_observer_and_one_column_per_metric():
    found = score_table(RUN, METRICS, caption="What was found.")
    assert found.caption == "What was found."
    assert found.headers == {"observer": "Observer"}
    assert found.table.to_dict("list") == {
        "observer": ["people", "net (untrained)", "chance"],
        "Hits": ["0.90 [0.80, 0.95]", "0.46 [0.40, 0.50]", "undefined"],
        "Time (ms)": ["500 [480, 520]", "700 [600, 800]", "–"],
    }


def test_columns_stand_in_the_order_asked_for():
    metrics = {name: METRICS[name] for name in ("time", "gone", "hits")}
    table = score_table(RUN, metrics, caption="").table
    assert list(table) == ["observer", "Time (ms)", "Hits"]


def test_the_ceiling_is_the_last_row():
    table = score_table(RUN, METRICS, caption="", ceiling=True).table
    assert len(table) == 4
    assert table.iloc[-1].tolist() == ["ceiling: people against people", "0.87", "512"]


def test_a_metric_without_a_ceiling_has_a_dash():
    table = score_table(
        run_of(("net", "hits", 0.5)), METRICS, caption="", ceiling=True
    ).table
    assert table.iloc[-1].tolist() == ["ceiling: people against people", "–"]


def test_of_several_conditions_the_first_stands():
    run = run_of(("net", "hits", 0.1), ("net", "hits", 0.2))
    table = score_table(run, METRICS, caption="").table
    assert table["Hits"].tolist() == ["0.10"]


def test_a_run_without_the_metrics_gives_an_empty_table():
    run = run_of(("net", "other", 0.1))
    assert list(score_table(run, METRICS, caption="").table) == ["observer"]
    assert len(score_table(run, METRICS, caption="").table) == 0
