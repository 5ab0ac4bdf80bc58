"""The report of a real small run, as a real browser shows it."""

import re

import pytest

from tasks.models import ModelSpec
from tasks.search_asymmetry import run_search_asymmetry
from tasks.search_asymmetry_report import finish_search_run

HOSTILE = "<script>alert(1)</script> $x^{$"
WIDTHS = [390, 1920]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a run with a foreign label, and what was said at its end."""
    folder = tmp_path_factory.mktemp("run") / "results"
    models = [
        ModelSpec("eccnet", weights="seeded:0/16"),
        ModelSpec("chance", label=HOSTILE),
    ]
    run_search_asymmetry(
        models,
        folder,
        conditions=["top_down", "left_right"],
        trials=2,
        device="cpu",
        n_bootstrap=50,
    )
    return folder, finish_search_run(folder)


@pytest.fixture(scope="module")
def visits(browser, finished):
    """One open page per width, with all it said and asked for."""
    folder, _ = finished
    visits = {}
    for width in WIDTHS:
        page = browser.new_page(viewport={"width": width, "height": 900})
        messages, requests = [], []
        page.on("console", lambda m, to=messages: to.append(m.text))
        page.on("pageerror", lambda e, to=messages: to.append(str(e)))
        page.on("dialog", lambda d, to=messages: (to.append("dialog"), d.dismiss()))
        page.on("request", lambda r, to=requests: to.append(r.url))
        page.goto((folder / "report.html").as_uri(), wait_until="load")
        visits[width] = (page, messages, requests)
    return visits


def test_the_run_tells_its_figures_and_where_the_report_lies(finished):
    folder, lines = finished
    assert lines[0].startswith("mean asymmetry index")
    named = [line.strip().split("  ")[0] for line in lines[1:4]]
    assert named[0].startswith("human")
    assert named[1] == "eccnet (untrained)"
    assert named[2].startswith(HOSTILE)
    assert lines[-1] == f"report {folder / 'report.html'}"


def test_figures_lie_beside_the_report(finished):
    folder, _ = finished
    names = sorted(path.name for path in (folder / "figures").iterdir())
    assert names == [
        "asymmetry_experiments.png",
        "asymmetry_mean.png",
        "displays_1.png",
        "displays_2.png",
        "rt_experiment_2_1.png",
        "slopes_1.png",
        "slopes_2.png",
    ]
    for name in names:
        data = (folder / "figures" / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert data.endswith(b"IEND\xaeB`\x82")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_says_nothing_and_asks_for_nothing(visits, finished, width):
    _, messages, requests = visits[width]
    assert messages == []
    outside = [url for url in requests if not url.startswith("data:")]
    assert outside == [(finished[0] / "report.html").as_uri()]


@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_is_decoded_and_described(visits, finished, width):
    page, _, _ = visits[width]
    found = page.eval_on_selector_all(
        "img", "all => all.map(i => [i.complete, i.naturalWidth, i.clientWidth, i.alt])"
    )
    assert len(found) == len(list((finished[0] / "figures").iterdir()))
    for complete, natural, shown, description in found:
        assert complete
        assert natural > 0
        assert shown > 0
        assert len(description) > 10


@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_is_never_wider_than_the_screen(visits, width):
    page, _, _ = visits[width]
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_foreign_label_is_shown_literally(visits):
    page, _, _ = visits[1920]
    assert page.locator("script").count() == 0
    cells = page.locator("td", has_text="alert(1)")
    assert cells.first.text_content() == HOSTILE
    captions = page.locator("figcaption", has_text="alert(1)")
    assert captions.count() >= 2
    assert HOSTILE in captions.first.text_content()


def test_the_report_warns_of_random_weights_before_scrolling(visits):
    for page, _, _ in visits.values():
        banner = page.get_by_role("note", name="Warning")
        assert "eccnet: untrained weights (seeded:0/16)" in banner.inner_text()
        box = banner.bounding_box()
        assert box["y"] + box["height"] < 900


def test_the_summary_marks_random_weights_and_gives_people_first(visits):
    page, _, _ = visits[1920]
    rows = page.locator("table").first.locator("tbody tr")
    names = [rows.nth(i).locator("td, th").first.inner_text() for i in range(3)]
    assert names == ["human", "eccnet (untrained)", HOSTILE]


def test_the_report_names_the_run_and_its_sources(visits):
    page, _, _ = visits[1920]
    text = page.locator("body").inner_text()
    assert re.search(r"2 observers, 2 conditions, 2 trials per observer", text)
    assert "arXiv:2106.02953" in text
    assert page.locator("h1").inner_text() == "Search asymmetry: models and people"
