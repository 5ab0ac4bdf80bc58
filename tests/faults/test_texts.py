"""Names that are formulas, scripts or markup."""

import base64
import html.parser
import re
import warnings
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.plot_style import set_title
from analysis.report import ReportFigure, ReportTable, Section, write_report
from analysis.surface_mesh import N_VERTICES
from analysis.surface_page import write_cortex_html
from neurovis.core.files import read_json, read_table, write_json, write_table
from tasks.encoding_report import finish_encoding
from tasks.encoding_run import load_encoding
from tests.tasks.test_encoding import fit, make_data

FORMULA = '=HYPERLINK("https://example.org/?"&A1,"r = 0.9")'
SCRIPT = "<script>document.title='owned';alert(1)</script>"
IMAGE = '"><img src=x onerror="document.title=\'owned\'">'
STYLE = "</style></td></table><script>document.title='owned'</script>"
LINK = "javascript:alert(document.title='owned')"
MATHS = "$\\frac{$"
TURNED = "subject\u202egnp.1"
LONG = "V1" * 5000
WIDE = "V1" * 150  # no name of a file can be so long

NAMES = {
    "is a formula of a spreadsheet": FORMULA,
    "is a formula that begins with @": "@SUM(A1:A9)",
    "is a formula behind a tab": "\t=1+1",
    "is a formula behind a carriage return": "\r=1+1",
    "is a formula behind a line break": "\n=1+1",
    "has a Windows line break inside": "V1\r\n=1+1",
    "has quotes and commas": '"a",b;""',
    "is a script": SCRIPT,
    "has a letter that turns the text round": TURNED,
    "has a NUL and a bell": "V1\0\a",
    "has ten thousand letters": LONG,
    "has spaces at its ends": "  V1 ",
    "is NA": "NA",
}

# --------------------------------------------------------------------- tables


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_table_gives_back_the_names_that_it_got(tmp_path, told, name, request):
    table = pd.DataFrame(
        {"model": [name, "plain"], name: ["b", name], "r": [0.5, np.nan]}
    )
    for kind in ("csv", "parquet"):
        write_table(tmp_path / f"scores.{kind}", table)
        pd.testing.assert_frame_equal(read_table(tmp_path / f"scores.{kind}"), table)
    write_json(tmp_path / "card.json", {name: [name]})
    assert read_json(tmp_path / "card.json") == {name: [name]}
    what = request.node.callspec.id
    told(f"a model whose name {what}", "the same name when tables and cards are read")


def test_a_csv_holds_formulas_as_they_are(tmp_path, told):
    table = pd.DataFrame({"model": [FORMULA, "-1+2", "+1", "@x"]})
    write_table(tmp_path / "scores.csv", table)
    cells = (tmp_path / "scores.csv").read_text().splitlines()[1:]
    quoted = FORMULA.replace('"', '""')
    assert cells == [f'"{quoted}"', "-1+2", "+1", "@x"]
    assert "spreadsheet" in write_table.__doc__
    told(
        "a table with formulas as names, opened in a spreadsheet",
        "what was written: CSV is data, and no sign is added; import such columns as "
        "text",
    )


def test_names_that_look_like_numbers_stay_text_in_parquet(tmp_path, told):
    table = pd.DataFrame({"subject": ["+1", "-1", "007"]})
    for kind in ("csv", "parquet"):
        write_table(tmp_path / f"scores.{kind}", table)
    assert read_table(tmp_path / "scores.parquet")["subject"].tolist() == [
        *("+1", "-1", "007")
    ]
    assert read_table(tmp_path / "scores.csv")["subject"].tolist() == [1, -1, 7]
    told(
        "subjects named +1, -1 and 007",
        "the same names from .parquet; from .csv, which has no kinds, 1, -1 and 7",
    )


# -------------------------------------------------------------------- reports


class Reader(html.parser.HTMLParser):
    """Collects tags, their attributes and the text of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


def page_with(folder, name):
    """Write a report that has a name wherever there is room for text."""
    figure = Figure(figsize=(3, 2))
    axes = figure.add_subplot()
    set_title(axes, name[:200])
    axes.set_xticks([0], [name[:200]], parse_math=False)
    table = pd.DataFrame({name: [name]})
    item = ReportFigure(figure, alt=f"About {name}", caption=name)
    section = Section(name, name, [item], [ReportTable(table, name)])
    return write_report(
        folder / "report.html",
        title=name,
        summary=name,
        warnings=[name],
        sections=[section],
        provenance={name: {name: [name]}},
    )


def drawing_of(text):
    found = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', text)
    return base64.b64decode(found[1])


@pytest.mark.filterwarnings("ignore:Glyph")  # fonts have no sign for a bell
@pytest.mark.parametrize(
    "name", [SCRIPT, IMAGE, STYLE, LINK, MATHS, "V1\0\a", TURNED, "a\nb", LONG]
)
def test_names_in_a_report_are_text_and_nothing_else(tmp_path, told, name):
    text = page_with(tmp_path, name).read_text(encoding="utf-8")
    plain = Reader()
    plain.feed(page_with(tmp_path, "plain").read_text(encoding="utf-8"))
    reader = Reader()
    reader.feed(text)
    assert reader.tags == plain.tags
    assert {key for key, _ in reader.attributes} == {k for k, _ in plain.attributes}
    assert not any("javascript" in v for k, v in reader.attributes if k == "href")
    shown = "".join(reader.texts)
    assert shown.count(name) == "".join(plain.texts).count("plain")
    ElementTree.fromstring(drawing_of(text))  # a drawing that can be shown
    what = f"{name[:10]}... ({len(name)} letters)" if name == LONG else ascii(name)
    told(f"{what} as a name in a report", "the name, letter by letter")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A real run, with its report, of data with names that are markup."""
    data = make_data(n_units=12, subject=SCRIPT, notes=(f"Made by {STYLE}",))
    units = data.responses.units
    labels = np.where(units["area"] == "V1", LINK, IMAGE + MATHS)
    units = units.assign(area=labels, unit_id=[f"{FORMULA} {i}" for i in units.index])
    data = replace(
        data,
        responses=replace(data.responses, units=units),
        features={MATHS: data.features["early"], WIDE: data.features["late"]},
    )
    out = tmp_path_factory.mktemp("fit") / "run"
    given = (f"given:{MATHS}", f"given:{WIDE}")
    fit(data, out, given, n_permutations=19, n_bootstrap=10)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        finish_encoding(out)
    return out


@pytest.mark.slow
def test_a_run_on_such_names_keeps_them_in_its_tables(finished, told):
    run = load_encoding(finished)
    assert set(run.units["subject"]) == {SCRIPT}
    assert set(run.units["area"]) == {LINK, IMAGE + MATHS}
    assert run.units["unit_id"].str.startswith(FORMULA).all()
    assert {MATHS, WIDE} <= set(run.units["model"])
    assert run.predictions(SCRIPT, WIDE, "").shape == (16, 12)
    inside = [path.relative_to(finished) for path in finished.rglob("*")]
    assert all(len(path.name) < 200 and "<" not in path.name for path in inside)
    assert sorted(p.name for p in finished.parent.iterdir()) == ["run"]
    pictures = sorted((finished / "figures").glob("*.png"))
    assert len(pictures) >= 5
    told(
        "a fit whose subject is a script, whose regions are markup and a link, and "
        "whose features are a broken formula and a name of three hundred letters",
        "tables with these names, figures, and files with harmless short names",
    )


def visit(browser, path):
    """Open a page; return it with all that it said or asked for."""
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda box: (said.append(box.message), box.dismiss()))
    page.on("request", lambda request: said.append(request.url))
    page.goto(path.as_uri(), wait_until="load")
    return page, [each for each in said if not each.startswith(("data:", "file:"))]


@pytest.mark.slow
def test_the_report_of_that_run_in_a_browser(browser, finished, told):
    page, said = visit(browser, finished / "report.html")
    assert said == []
    assert page.title() == "Encoding models"
    assert page.locator("script").count() == 0
    links = page.eval_on_selector_all("a", "all => all.map(a => a.href)")
    assert all("javascript" not in link for link in links)
    widths = page.eval_on_selector_all("img", "all => all.map(i => i.naturalWidth)")
    assert len(widths) >= 5
    assert min(widths) > 0
    body = page.locator("body").text_content()
    for name in (SCRIPT, IMAGE, LINK, STYLE, MATHS, WIDE):
        assert name in body, name
    page.close()
    told(
        "the report of a fit with such names, opened in a browser",
        "all names as text; no script ran, no dialog, no request",
    )


@pytest.mark.slow
def test_a_map_of_the_cortex_with_such_names_in_a_browser(browser, tmp_path, told):
    everywhere = {side: np.ones(N_VERTICES) for side in ("lh", "rh")}
    path = write_cortex_html(
        tmp_path / "cortex.html",
        everywhere,
        vmin=0,
        vmax=2,
        regions={SCRIPT: everywhere, f"</script>{IMAGE}": everywhere},
        title=STYLE,
        label=IMAGE,
        note=LINK,
    )
    page, said = visit(browser, path)
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told_here = page.locator("output").text_content()
    assert SCRIPT in told_here
    assert f"</script>{IMAGE}" in told_here
    assert page.locator("h1").text_content() == STYLE
    assert page.locator(".label").text_content() == IMAGE
    assert said == []
    assert page.title() == f"{STYLE} ({LINK})"
    page.close()
    told(
        "a map of the cortex with scripts as names of regions, opened in a browser",
        "all names as text, also under the pointer; no script of theirs ran",
    )
