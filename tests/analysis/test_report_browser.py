"""A report as a real browser shows it."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.plots import plot_asymmetry_indices, plot_search_display
from analysis.report import ReportFigure, ReportTable, Section, write_report
from analysis.search_scores import search_scores

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)> \"'&"
WIDTHS = [390, 1920]


@pytest.fixture(scope="module")
def report(tmp_path_factory, trials, human):
    scores = search_scores(trials, human, n_bootstrap=0)
    image = np.full((40, 60, 3), 255, np.uint8)
    path = pd.DataFrame({"fixation": [0, 1], "x_px": [30, 10], "y_px": [20, 9]})
    index = plot_asymmetry_indices(scores).figure
    display = plot_search_display(image, path).figure
    small = Figure(figsize=(4, 3))
    small.add_subplot().plot([0, 1], [2, 3])
    wide = scores.head(40).assign(model=HOSTILE, long_word="x" * 300)
    sections = [
        Section(
            HOSTILE,
            "Text. " * 40 + "w" * 300,
            [
                ReportFigure(index, alt="Indices", caption=HOSTILE, wide=True),
                ReportFigure(small, alt="A line", caption="A line."),
                ReportFigure(display, alt="A display", caption="", image_format="png"),
            ],
            [ReportTable(wide, HOSTILE)],
        ),
        Section("Second", "Text."),
        Section("Third", "Text."),
    ]
    return write_report(
        tmp_path_factory.mktemp("report") / "report.html",
        title=f"Search {HOSTILE}",
        summary="A summary. " * 20,
        warnings=["These models are untrained."],
        sections=sections,
        provenance={"hash": "0123456789abcdef" * 8, "versions": {"torch": "2.15"}},
    )


@pytest.fixture(scope="module")
def visits(browser, report):
    """One open page per width, with all it said and asked for."""
    visits = {}
    for width in WIDTHS:
        page = browser.new_page(viewport={"width": width, "height": 900})
        messages, requests = [], []
        page.on("console", lambda m, to=messages: to.append(m.text))
        page.on("pageerror", lambda e, to=messages: to.append(str(e)))
        page.on("dialog", lambda d, to=messages: (to.append(d.message), d.dismiss()))
        page.on("request", lambda r, to=requests: to.append(r.url))
        page.goto(report.as_uri(), wait_until="load")
        visits[width] = (page, messages, requests)
    return visits


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_says_nothing_and_asks_for_nothing(visits, report, width):
    _, messages, requests = visits[width]
    assert messages == []
    outside = [url for url in requests if not url.startswith("data:")]
    assert outside == [report.as_uri()]


@pytest.mark.parametrize("width", WIDTHS)
def test_every_image_is_decoded_and_fits(visits, width):
    page, _, _ = visits[width]
    sizes = page.eval_on_selector_all(
        "img", "all => all.map(i => [i.complete, i.naturalWidth, i.clientWidth])"
    )
    assert len(sizes) == 3
    for complete, natural, shown in sizes:
        assert complete
        assert natural > 0
        assert shown > 0


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_never_wider_than_the_screen(visits, width):
    page, _, _ = visits[width]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.evaluate("window.scrollTo(500, 0)")
    assert page.evaluate("window.scrollX") == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_wide_tables_scroll_in_their_own_box(visits, width):
    page, _, _ = visits[width]
    box = page.locator(".scroll")
    assert box.evaluate("e => getComputedStyle(e).overflowX") == "auto"
    assert box.evaluate("e => e.scrollWidth > e.clientWidth")
    box.evaluate("e => { e.scrollLeft = 120; e.scrollTop = 200; }")
    assert box.evaluate("e => e.scrollLeft") == 120
    top = box.bounding_box()["y"]
    header = page.locator("th").first.bounding_box()["y"]
    assert header == pytest.approx(top, abs=2)


def test_foreign_text_is_shown_literally(visits):
    page, _, _ = visits[1920]
    assert page.locator("h1").text_content() == f"Search {HOSTILE}"
    assert page.title() == f"Search {HOSTILE}"
    assert page.locator("h2").first.text_content() == HOSTILE
    assert page.locator("td").first.text_content() == HOSTILE
    assert page.locator("figcaption p").first.text_content() == HOSTILE
    assert page.locator("script").count() == 0


def test_figures_stand_side_by_side_only_where_there_is_room(visits):
    places = {}
    for width, (page, _, _) in visits.items():
        boxes = [f.bounding_box() for f in page.locator("figure").all()]
        places[width] = boxes[1]["y"] == boxes[2]["y"]
    assert places == {390: False, 1920: True}


def test_the_warning_is_visible_before_scrolling(visits):
    for page, _, _ in visits.values():
        page.evaluate("window.scrollTo(0, 0)")
        banner = page.get_by_role("note", name="Warning")
        assert banner.inner_text() == "These models are untrained."
        box = banner.bounding_box()
        assert box["y"] + box["height"] < 900


def test_contents_lead_to_their_sections(visits):
    page, _, _ = visits[390]
    links = page.locator("nav a")
    assert links.count() == 4
    links.nth(2).click()
    assert page.locator("#section-3 h2").bounding_box()["y"] < 900


def test_provenance_opens_on_a_click_and_is_printed(visits):
    page, _, _ = visits[390]
    value = page.get_by_text("2.15", exact=True)
    assert not value.is_visible()
    page.emulate_media(media="print")
    assert value.is_visible()
    page.emulate_media(media="screen")
    page.locator("summary").click()
    assert value.is_visible()


def test_text_has_enough_contrast_in_the_dark(browser, report):
    page = browser.new_page(color_scheme="dark")
    page.goto(report.as_uri())
    colours = page.evaluate(
        "[getComputedStyle(document.body).color,"
        " getComputedStyle(document.body).backgroundColor]"
    )
    light, dark = (
        np.mean([float(v) for v in c.strip("rgb()").split(",")]) for c in colours
    )
    assert light > 200
    assert dark < 50
    plate = page.locator(".plate").first
    assert plate.evaluate("e => getComputedStyle(e).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    page.close()
