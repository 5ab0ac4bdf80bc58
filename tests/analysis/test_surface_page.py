"""The page of a cortical map as a real browser shows it, without a network."""

import base64
import io
import json
import re

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from analysis.surface_mesh import N_VERTICES, load_cortex
from analysis.surface_page import write_cortex_html

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
UNDEFINED = {h: np.full(N_VERTICES, np.nan) for h in ("lh", "rh")}


@pytest.fixture(scope="module")
def cortex():
    return load_cortex()


@pytest.fixture(scope="module")
def maps(cortex):
    """Height in mm; undefined in front."""
    found = {}
    for h in ("lh", "rh"):
        _, y, z = cortex[h].surfaces["inflated"].astype(float).T
        found[h] = np.where(y < 20, z, np.nan)
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory, cortex, maps):
    lower = {h: np.nan_to_num(v) < -20 for h, v in maps.items()}
    return write_cortex_html(
        tmp_path_factory.mktemp("page") / "cortex.html",
        maps,
        cmap="viridis",
        regions={"low <b>": lower},
        title=f"Height {HOSTILE}",
        label="z (mm) <i>",
        note="simulated data",
        cortex=cortex,
    )


def data_of(path):
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(found[1])


def decoded(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def test_the_file_holds_the_values_and_their_colours(path, maps, cortex):
    data = data_of(path)
    expected = np.concatenate([maps["lh"], maps["rh"]])
    values = decoded(data["values"], "<f4")
    np.testing.assert_array_equal(values, expected.astype(np.float32))
    colours = decoded(data["colours"], "u1").reshape(-1, 3)
    known = np.flatnonzero(~np.isnan(expected))
    span = np.nanmin(expected), np.nanmax(expected)
    shares = (expected[known] - span[0]) / (span[1] - span[0])
    expected_colours = 255 * mpl.colormaps["viridis"](shares)[:, :3]
    np.testing.assert_allclose(colours[known], expected_colours, atol=0.51)
    bare = colours[np.isnan(expected)]
    assert (np.ptp(bare, axis=1) == 0).all()
    faces = decoded(data["faces"], "<u2").reshape(-1, 3)
    np.testing.assert_array_equal(faces[20_480:], cortex.rh.faces + N_VERTICES)


def test_inflated_hemispheres_do_not_overlap_and_pial_ones_stay(tmp_path, cortex):
    for surface in ("inflated", "pial"):
        file = write_cortex_html(
            tmp_path / f"{surface}.html", UNDEFINED, surface=surface, cortex=cortex
        )
        places = decoded(data_of(file)["coordinates"], "<f4").reshape(-1, 3)
        gap = places[N_VERTICES:, 0].min() - places[:N_VERTICES, 0].max()
        if surface == "inflated":
            assert gap == pytest.approx(2, abs=1e-3)
        else:
            shift = places - np.concatenate(
                [cortex[h].surfaces["pial"] for h in ("lh", "rh")]
            )
            assert np.ptp(shift, axis=0).max() < 1e-3


def test_the_same_map_gives_the_same_bytes_and_no_leftover(tmp_path, cortex, maps):
    first = write_cortex_html(tmp_path / "a.html", maps, cortex=cortex)
    second = write_cortex_html(str(tmp_path / "b.html"), maps, cortex=cortex)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_exchanged_hemispheres_give_another_page(tmp_path, cortex, maps):
    one = {"lh": maps["lh"], "rh": 2 * maps["rh"]}
    first = write_cortex_html(tmp_path / "a.html", one, cortex=cortex)
    other = {"lh": one["rh"], "rh": one["lh"]}
    second = write_cortex_html(tmp_path / "b.html", other, cortex=cortex)
    values = [decoded(data_of(p)["values"], "<f4") for p in (first, second)]
    np.testing.assert_array_equal(np.roll(values[0], N_VERTICES), values[1])


def test_a_map_without_values_or_with_a_threshold_is_written(tmp_path, cortex, maps):
    empty = write_cortex_html(tmp_path / "a.html", UNDEFINED, cortex=cortex)
    assert data_of(empty)["grey"] == "grey: undefined"
    some = write_cortex_html(
        tmp_path / "b.html", maps, symmetric=True, threshold=30, cortex=cortex
    )
    data = data_of(some)
    assert data["grey"] == "grey: undefined or nearer to 0 than 30"
    colours = decoded(data["colours"], "u1").reshape(-1, 3).astype(int)
    values = decoded(data["values"], "<f4")
    np.testing.assert_array_equal(np.ptp(colours[np.abs(values) < 30], axis=1), 0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"path": "cortex.htm"}, "'.html'"),
        ({"surface": "flat"}, "`surface`"),
        ({"maps": {"lh": np.zeros(N_VERTICES)}}, "no values of"),
        ({"regions": {"V1": {"lh": [1], "rh": [1]}}}, "regions"),
        ({"vmin": 1, "vmax": 0}, "must lie below"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_written(tmp_path, change, match):
    call = {"path": "cortex.html", "maps": UNDEFINED, **change}
    call["path"] = tmp_path / call["path"]
    with pytest.raises(ValueError, match=match):
        write_cortex_html(**call)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def visit(browser, path):
    """An open page with what it said, where it failed, and what it asked for."""
    page = browser.new_context(offline=True).new_page()
    page.set_viewport_size({"width": 900, "height": 700})
    messages, requests = [], []
    page.on("console", lambda m: messages.append(m.text))
    page.on("pageerror", lambda e: messages.append(str(e)))
    page.on("dialog", lambda d: (messages.append(d.message), d.dismiss()))
    page.on("request", lambda r: requests.append(r.url))
    page.goto(path.as_uri(), wait_until="load")
    return page, messages, requests


@pytest.fixture
def page(visit):
    """The page as it was when opened."""
    page, _, _ = visit
    for box in ("#lh", "#rh"):
        page.check(box)
    page.click("button[data-view=left]")
    page.mouse.move(1, 1)
    return page


def picture_of(page):
    """What the canvas shows, once it has been drawn."""
    page.evaluate(
        "() => new Promise(r => requestAnimationFrame(() => setTimeout(r, 50)))"
    )
    return np.asarray(Image.open(io.BytesIO(page.locator("canvas").screenshot())))[
        ..., :3
    ]


def is_coloured(picture):
    return np.ptp(picture.astype(int), axis=2) > 40


def test_the_page_fails_nowhere_and_asks_for_nothing(visit, path):
    page, messages, requests = visit
    # A browser that draws without a graphics card says how slow that is.
    assert [m for m in messages if "GPU stall" not in m] == []
    assert [u for u in requests if not u.startswith("data:")] == [path.as_uri()]
    assert page.title() == f"Height {HOSTILE} (simulated data)"


def test_texts_are_shown_as_they_are(page):
    assert page.inner_text("h1") == f"Height {HOSTILE}"
    assert page.inner_text(".note") == "simulated data"
    assert page.text_content(".label") == "z (mm) <i>"
    assert page.locator("img").count() == 0


def test_the_bar_has_ticks_at_their_places(page, maps):
    values = np.concatenate(list(maps.values()))
    low, high = np.nanmin(values), np.nanmax(values)
    bar = page.locator(".bar").bounding_box()
    ticks = page.locator(".bar span")
    assert ticks.count() >= 4
    for i in range(ticks.count()):
        number = float(ticks.nth(i).inner_text().replace("−", "-"))
        box = ticks.nth(i).bounding_box()
        share = 1 - (box["y"] + box["height"] / 2 - bar["y"]) / bar["height"]
        assert share == pytest.approx((number - low) / (high - low), abs=0.01)


def test_views_show_the_brain_from_their_side(page):
    # The front is undefined: grey is at the left in the view from the left.
    picture = picture_of(page)
    coloured = np.nonzero(is_coloured(picture))[1].mean() / picture.shape[1]
    assert coloured > 0.52
    page.click("button[data-view=right]")
    assert np.nonzero(is_coloured(picture_of(page)))[1].mean() / picture.shape[1] < 0.48
    page.click("button[data-view=front]")
    front = is_coloured(picture_of(page)).sum()
    page.click("button[data-view=back]")
    assert is_coloured(picture_of(page)).sum() > 5 * front


def test_high_is_up_and_has_the_last_colour(page):
    page.click("button[data-view=back]")
    picture = picture_of(page).astype(int)
    rows, _ = np.nonzero(is_coloured(picture))
    top = picture[rows.min() + 2][is_coloured(picture)[rows.min() + 2]].mean(axis=0)
    low = picture[rows.max() - 2][is_coloured(picture)[rows.max() - 2]].mean(axis=0)
    ends = mpl.colormaps["viridis"]([0.0, 1.0], bytes=True)[:, :3].astype(int)
    np.testing.assert_allclose(top, ends[1], atol=30)
    np.testing.assert_allclose(low, ends[0], atol=30)


def test_hidden_hemispheres_are_gone(page):
    page.click("button[data-view=back]")
    width = picture_of(page).shape[1]
    page.uncheck("#rh")
    columns = np.nonzero((picture_of(page) < 250).any(axis=2))[1]
    assert columns.max() < width / 2
    page.check("#rh")
    page.uncheck("#lh")
    columns = np.nonzero((picture_of(page) < 250).any(axis=2))[1]
    assert columns.min() > width / 2


@pytest.mark.parametrize("hemisphere", ["lh", "rh"])
def test_the_pointer_finds_vertex_value_and_region(page, path, maps, hemisphere):
    data = data_of(path)
    places = decoded(data["coordinates"], "<f4").reshape(-1, 3)
    view, axis, sign = {"lh": ("left", 0, -1), "rh": ("right", 0, 1)}[hemisphere]
    page.click(f"button[data-view={view}]")
    vertex = int(np.argmax(sign * places[:, axis]))
    box = page.locator("canvas").bounding_box()
    px_per_mm = min(box["width"], box["height"]) / (2 * data["radius"])
    _, y, z = places[vertex].tolist()
    page.mouse.move(
        box["x"] + box["width"] / 2 + sign * y * px_per_mm,
        box["y"] + box["height"] / 2 - z * px_per_mm,
    )
    side = {"lh": "left", "rh": "right"}[hemisphere]
    value = np.concatenate([maps["lh"], maps["rh"]])[vertex]
    text = page.inner_text("output")
    place, number, *regions = text.split(" · ")
    assert place == f"{side} vertex {vertex % N_VERTICES}"
    assert float(number.replace("−", "-")) == pytest.approx(value, rel=1e-3)
    assert regions == (["low <b>"] if value < -20 else [])
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    assert page.inner_text("output") == "grey: undefined"


@pytest.mark.slow
def test_dragging_turns_the_brain_and_keys_do_too(page):
    before = picture_of(page)
    box = page.locator("canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 180, y, steps=3)
    page.mouse.up()
    # Half a degree per pixel: what was at the left is now seen from behind or before.
    turned = picture_of(page)
    page.click("button[data-view=left]")
    page.locator("canvas").focus()
    for _ in range(18):
        page.keyboard.press("ArrowLeft")
    by_key = picture_of(page)
    assert (before != turned).any(axis=2).mean() > 0.1
    page.click("button[data-view=front]")
    front = picture_of(page)
    page.click("button[data-view=back]")
    back = picture_of(page)
    shares = [
        [(a != b).any(axis=2).mean() for b in (front, back)] for a in (turned, by_key)
    ]
    # One of them equals the front, the other the back
    # (but for the ring that marks what has the focus).
    assert np.sort(np.array(shares), axis=1)[:, 0].max() < 0.02
    assert np.argmin(shares[0]) != np.argmin(shares[1])
