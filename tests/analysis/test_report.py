"""Reports: one file, escaped text, the same bytes."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis.report import (
    ReportFigure,
    ReportTable,
    Section,
    render_report,
    write_report,
)

HOSTILE = "<script>alert(\"x\")</script> & 'quoted' {{ 7 * 7 }}"


def _figure(label="a line"):
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1], label=label)
    ax.legend()
    return figure


def _sections(**options):
    table = pd.DataFrame({"model": ["a"], "rt_ms": [1.5]})
    figure = ReportFigure(_figure(), alt="A rising line", caption="A line.", **options)
    return [Section("Result", "One.\n\nTwo.", [figure], [ReportTable(table, "Times.")])]


def _cells(html):
    return re.findall(r"<td[^>]*>(.*?)</td>", html)


def _images(html):
    return [
        (kind, base64.b64decode(data))
        for kind, data in re.findall(r'src="data:image/([^;]+);base64,([^"]+)"', html)
    ]


def test_text_is_shown_in_its_place():
    html = render_report(
        title="Title",
        summary="Summary.",
        warnings=["These models are untrained."],
        sections=_sections(),
        provenance={"seed": 3, "versions": {"torch": "2.15"}, "notes": ["a", "b"]},
    )
    assert "<h1>Title</h1>" in html
    assert "<p>One.</p>\n<p>Two.</p>" in html
    banner = html[html.index('class="warning"') :]
    assert "<p>These models are untrained.</p>" in banner
    assert 'alt="A rising line"' in html
    assert _cells(html) == ["a", "1.5"]
    terms = re.findall(r"<dt>(.*?)</dt>", html)
    assert terms == ["seed", "versions", "torch", "notes"]
    assert "<dd>2.15</dd>" in html
    assert "<dd>a, b</dd>" in html


def test_parts_that_are_not_given_are_not_there():
    html = render_report(title="Title", sections=[Section("Only", "Text.")])
    for absent in ('class="warning"', "<nav", "<details", "<table", "<img", "<figure"):
        assert absent not in html


def test_foreign_text_is_escaped_everywhere():
    table = pd.DataFrame({HOSTILE: [HOSTILE], "x": [1]})
    figure = ReportFigure(_figure(HOSTILE), alt=HOSTILE, caption=HOSTILE)
    part = Section(
        HOSTILE,
        HOSTILE,
        [figure],
        [ReportTable(table, HOSTILE, headers={"x": HOSTILE})],
    )
    html = render_report(
        title=HOSTILE,
        summary=HOSTILE,
        warnings=[HOSTILE],
        sections=[part] * 3,
        provenance={HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}},
    )
    assert "<script" not in html
    assert "alert(&#34;x&#34;)" in html
    assert "{{ 7 * 7 }}" in html
    for attribute in re.findall(r'(?:alt|aria-label|id)="([^"]*)"', html):
        assert "<" not in attribute


def test_nothing_refers_to_the_network():
    html = render_report(title="T", sections=_sections(), provenance={"a": 1})
    text = re.sub(r'src="data:[^"]+"', "", html)
    assert re.findall(r"https?:|//\w|@import|url\(", text) == []
    assert "<script" not in text
    assert "default-src 'none'" in text


@pytest.mark.parametrize("image_format", ["svg", "png"])
def test_same_input_gives_the_same_bytes(tmp_path, image_format):
    paths = [tmp_path / f"{i}.html" for i in range(2)]
    for path in paths:
        sections = _sections(image_format=image_format)
        write_report(path, title="T", sections=sections, provenance={"seed": 1})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    kind, data = _images(paths[0].read_text(encoding="utf-8"))[0]
    assert not re.search(rb"<dc:date>|Matplotlib v|Software", data)
    assert kind.startswith(image_format)


def test_png_figures_have_two_pixels_per_screen_pixel():
    html = render_report(title="T", sections=_sections(image_format="png"))
    kind, data = _images(html)[0]
    assert kind == "png"
    assert Image.open(io.BytesIO(data)).size == (6 * 192, 4 * 192)
    assert 'width="576" height="384"' in html


def test_numbers_are_written_for_people():
    table = pd.DataFrame(
        {
            "value": [1326.3157, 0.012345, -2.0, np.nan, np.inf],
            "rounded": [-0.001, 1.005, -3.456, np.nan, 12.0],
            "count": pd.array([1, 2, 30000, None, -5], dtype="Int64"),
            "flag": [True, False, True, False, True],
            "text": ["a", None, "1e5", "-b", ""],
        }
    )
    item = ReportTable(table, "Numbers.", formats={"rounded": ".2f"})
    html = render_report(title="T", sections=[Section("S", tables=[item])])
    rows = np.array(_cells(html)).reshape(5, 5).T.tolist()
    assert rows[0] == ["1326.3", "0.0123", "−2", "–", "inf"]
    assert rows[1] == ["0.00", "1.00", "−3.46", "–", "12.00"]
    assert rows[2] == ["1", "2", "30000", "–", "−5"]
    assert rows[3] == ["yes", "no", "yes", "no", "yes"]
    assert rows[4] == ["a", "–", "1e5", "-b", ""]


def test_number_columns_are_aligned_as_numbers():
    table = pd.DataFrame({"text": ["a"], "number": [1.0], "flag": [True]})
    html = render_report(
        title="T", sections=[Section("S", tables=[ReportTable(table, "C")])]
    )
    classes = re.findall(r"<td( class=\"\w+\")?>", html)
    assert classes == [' class="short"', ' class="number"', ' class="short"']


def test_repeated_column_names_are_shown_each_with_its_values():
    table = pd.DataFrame([[1, 2]], columns=["a", "a"])
    html = render_report(
        title="T", sections=[Section("S", tables=[ReportTable(table, "C")])]
    )
    assert _cells(html) == ["1", "2"]


def test_an_empty_table_has_its_headers():
    table = pd.DataFrame({"model": [], "rt_ms": []})
    html = render_report(
        title="T", sections=[Section("S", tables=[ReportTable(table, "C")])]
    )
    assert re.findall(r"<th[^>]*>(.*?)</th>", html) == ["model", "rt_ms"]
    assert _cells(html) == []


def test_a_failed_report_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, title="Old", sections=[])
    broken = ReportTable(pd.DataFrame({"a": [1.0]}), "C", formats={"a": "no format"})
    with pytest.raises(ValueError, match=r"[Ii]nvalid format"):
        write_report(path, title="New", sections=[Section("S", tables=[broken])])
    assert "<h1>Old</h1>" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_folders_are_made_and_the_path_is_returned(tmp_path):
    path = tmp_path / "a" / "report.html"
    assert write_report(path, title="T", sections=[]) == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="suffix of the report"):
        write_report(tmp_path / "report.pdf", title="T", sections=[])
    with pytest.raises(ValueError, match="`alt` must say"):
        ReportFigure(_figure(), alt=" ", caption="")
    with pytest.raises(ValueError, match="image_format"):
        ReportFigure(_figure(), alt="A line", caption="", image_format="gif")
    with pytest.raises(ValueError, match="Did you mean 'rt_ms'"):
        ReportTable(pd.DataFrame({"rt_ms": [1]}), "C", headers={"rt_m": "RT"})
