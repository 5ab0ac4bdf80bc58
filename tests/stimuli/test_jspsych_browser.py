"""Exported experiments, played through by a scripted participant in a real browser."""

import functools
import http.server
import json
import math
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from data_loaders.jspsych_results import load_jspsych
from neurovis.core.types import StimulusSet, Viewing
from stimuli.choice_trials import order_of
from stimuli.jspsych import export_jspsych
from stimuli.slope_arrays import make_slope_arrays

NAMED = {"space": " ", "left": "ArrowLeft", "right": "ArrowRight"}
FAST = "fullscreen=0&calibration=skip"

# Press the key of the truth as soon as a picture is there, without leaving the page.
PRESSER = """
() => fetch("design.json").then((answer) => answer.json()).then((design) => {
  const keys = Object.fromEntries(design.keys);
  const truth = Object.fromEntries(design.trials.map((t) => [t.stimulus_id, t.truth]));
  const send = (place, kind, key) =>
    place.dispatchEvent(new KeyboardEvent(kind, { key, bubbles: true }));
  const look = () => {
    const shown = document.querySelector("canvas.trial")?.dataset;
    const pause = document.querySelector("#jspsych-html-keyboard-response-stimulus");
    if (shown?.phase === "stimulus") {
      send(document, "keydown", keys[truth[shown.stimulus]]);
    } else if (pause) {
      send(pause, "keydown", " ");
      document.body.dispatchEvent(
        new KeyboardEvent("keyup", { key: " ", bubbles: true }));
    }
    requestAnimationFrame(look);
  };
  look();
})
"""


@contextmanager
def serving(folder, delay_s=0.0, failures=()):
    """Serve a folder; some paths fail so many times, and all requests are noted."""
    left = dict(failures)
    log = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            name = self.path.partition("?")[0]
            log.append((time.monotonic(), name))
            if name.endswith(".png"):
                time.sleep(delay_s)
            if left.get(name, 0) > 0:
                left[name] -= 1
                self.send_error(503)
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        yield SimpleNamespace(url=url, log=log)
        server.shutdown()
        thread.join()


@contextmanager
def opened(browser, server, query, size=(1000, 900), scale=1):
    """Open the experiment in a new profile; no request may leave its origin."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, device_scale_factor=scale
    )
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((server.url, "data:", "blob:"))
            else problems.append(request.url)
        ),
    )
    page.goto(f"{server.url}?{query}")
    page.get_by_text("I agree", exact=True).click()
    yield page
    assert problems == []
    context.close()


def begin(page):
    page.wait_for_selector("#jspsych-html-keyboard-response-stimulus", timeout=20_000)
    page.keyboard.press(" ")


def wait_for(page, number, phase="stimulus"):
    page.wait_for_function(
        "([number, phase]) => {"
        "const d = document.querySelector('canvas.trial')?.dataset;"
        "return d?.trial === String(number) && d?.phase === phase; }",
        arg=[number, phase],
        timeout=20_000,
    )
    return page.eval_on_selector("canvas.trial", "c => c.dataset.stimulus")


def finish(page, folder, action=lambda: None, timeout_s=20):
    with page.expect_download(timeout=1000 * timeout_s) as download:
        action()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def pictures(n, side=64, **columns):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (side, side, 3), np.uint8) for _ in range(n)]
    table = pd.DataFrame({"stimulus_id": [f"s{i:03d}" for i in range(n)]} | columns)
    return StimulusSet("squares", table, Viewing(32, side, side), images)


# ------------------------------------------------------------------ the whole course


def test_a_scripted_participant_does_forty_trials_and_is_scored(
    tmp_path, browser, jspsych_library
):
    made = make_slope_arrays("feature", set_sizes=[3], trials=10)
    folder = tmp_path / "search"
    export_jspsych(
        made,
        folder,
        task="search",
        n_repeats=2,
        block_size=20,
        fixation_frames=1,
        target_frames=0,
        library=jspsych_library,
    )
    design = json.loads((folder / "design.json").read_text())
    keys = dict(design["keys"])
    truth = {t["stimulus_id"]: t["truth"] for t in design["trials"]}
    other = {"present": "absent", "absent": "present"}
    waits = [0.02 + 0.01 * (number % 5) for number in range(40)]
    shown, said, waited, presses = [], [], [], []
    with (
        serving(folder) as server,
        opened(browser, server, f"participant=p01&{FAST}") as page,
    ):
        begin(page)
        presses.append(time.monotonic())
        for number in range(40):
            if number == 20:
                page.get_by_text("Pause: 20 of 40").wait_for()
                begin(page)
                presses[-1] = time.monotonic()
            shown.append(wait_for(page, number))
            seen = time.monotonic()
            time.sleep(waits[number])
            right = truth[shown[-1]]
            said.append(right if number % 4 else other[right])
            waited.append(1000 * (time.monotonic() - seen))
            if number == 39:
                press = functools.partial(page.keyboard.press, keys[said[-1]])
                path = finish(page, tmp_path, press)
            else:
                page.keyboard.press(keys[said[-1]])
            presses.append(time.monotonic())
        assert page.get_by_text("Thank you").is_visible()

    table = load_jspsych(path, made).table
    assert len(table) == 40
    assert table["subject"].unique().tolist() == ["p01"]
    assert table["stimulus_id"].tolist() == shown
    assert table["response"].tolist() == said
    assert table["correct"].mean() == 0.75
    assert table["trial"].tolist() == list(range(40))
    assert table["block"].tolist() == [1] * 20 + [2] * 20
    # A time can be no shorter than the script waited after it saw the picture, and no
    # longer than from one press to the next.
    longest = 1000 * np.diff(presses)[:-1]
    assert (table["rt_ms"] > np.array(waited)).all()
    assert (table["rt_ms"].to_numpy()[:-1] < longest + 20).all()
    assert table["frame_ms"].between(4, 60).all()
    assert (table["offset_ms"] - table["onset_ms"] >= table["rt_ms"] - 1).all()
    assert (table["calibration"] == "skipped").all()
    assert table["px_per_deg"].isna().all()
    assert not table["left_page"].any()
    assert set(made.table["condition"]) == set(table["condition"])
    number = order_of("p01", 20)
    order = json.loads((folder / "orders.json").read_text())[number]["trials"]
    assert [design["trials"][t]["stimulus_id"] for t, _ in order] == shown
    assert (table["order"] == number).all()


@pytest.mark.slow
def test_a_click_chooses_a_picture_and_its_identity_is_the_answer(
    tmp_path, browser, jspsych_library
):
    made = pictures(4)
    groups = pd.DataFrame(
        [["s000", "s001", "s002"], ["s001", "s002", "s003"]],
        columns=["picture_1", "picture_2", "picture_3"],
    ).assign(note="=1+1")
    folder = tmp_path / "odd"
    export_jspsych(
        made,
        folder,
        task="odd-one-out",
        groups=groups,
        n_repeats=2,
        fixation_frames=2,
        stimulus_frames=6,
        mask="noise",
        mask_frames=4,
        library=jspsych_library,
    )
    with (
        serving(folder) as server,
        opened(browser, server, f"participant=p02&{FAST}", scale=2) as page,
    ):
        begin(page)
        for number in range(4):
            wait_for(page, number, phase="answer")
            box = page.locator("canvas.trial").bounding_box()
            width = 3 * 64 + 2 * 32
            assert (box["width"], box["height"]) == (width, 64 + 2 * 48)
            place = number % 3
            x, y = box["x"] + 32 + 96 * place, box["y"] + 48 + 32
            if number == 3:
                path = finish(page, tmp_path, lambda: page.keyboard.press("1"))
            else:
                page.mouse.click(x, box["y"] + 5)  # beside the pictures: nothing
                page.mouse.click(x, y)
                wait_for(page, number + 1, phase="stimulus")
    text = path.read_text()
    assert "'=1+1" in text
    table = load_jspsych(path, made).table
    assert table["place"].tolist() == [1, 2, 3, 1]
    assert table["input"].tolist() == ["click"] * 3 + ["key"]
    for row in table.itertuples():
        assert (
            row.response == (row.picture_1, row.picture_2, row.picture_3)[row.Index % 3]
        )
        assert set(row.stimulus_id.split("+")) == {
            row.picture_1,
            row.picture_2,
            row.picture_3,
        }
    assert table["click_x_px"].tolist()[:3] == pytest.approx([32] * 3, abs=1)
    assert table["correct"].isna().all()
    assert (table["frames_asked"] == 6).all()
    assert (table["frames_shown"] == 6 + table["frames_dropped"]).all()
    assert (table["note"] == "'=1+1").all()


# -------------------------------------------------------------- many pictures, no net


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_hundred_pictures_load_in_blocks_and_no_trial_waits(
    tmp_path, browser, jspsych_library
):
    made = pictures(300, kind=["a", "b"] * 150)
    folder = tmp_path / "many"
    export_jspsych(
        made,
        folder,
        task="2afc",
        answer_column="kind",
        block_size=30,
        fixation_frames=3,
        library=jspsych_library,
    )
    with (
        serving(folder, delay_s=0.02) as server,
        opened(browser, server, f"participant=p03&{FAST}") as page,
    ):
        begin(page)
        wait_for(page, 0)
        n_first = sum(name.startswith("/images/") for _, name in server.log)
        path = finish(page, tmp_path, lambda: page.evaluate(PRESSER), timeout_s=300)
        names = [name for _, name in server.log if name.startswith("/images/")]
    assert 30 <= n_first <= 60
    assert len(names) == len(set(names)) == 300
    table = load_jspsych(path, made).table
    assert len(table) == 300
    assert table["correct"].all()
    first_of_block = table.groupby("block")["load_wait_ms"].first()
    assert len(first_of_block) == 10
    assert first_of_block.iloc[1:].max() < 200
    gaps = table.groupby("block")["onset_ms"].diff().dropna()
    frames = gaps / table["frame_ms"].median()
    assert frames.median() < 12
    assert gaps.max() < 1000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_network_it_goes_on_until_files_are_missing_and_then_recovers(
    tmp_path, browser, jspsych_library
):
    made = pictures(6, kind=["a", "b"] * 3)
    folder = tmp_path / "offline"
    export_jspsych(
        made,
        folder,
        task="2afc",
        answer_column="kind",
        block_size=2,
        fixation_frames=1,
        library=jspsych_library,
    )
    truth = dict(zip(made.table["stimulus_id"], made.table["kind"], strict=True))
    keys = {"a": "f", "b": "j"}
    failures = {f"/images/{name}.png": 2 for name in truth}
    with (
        serving(folder, failures=failures) as server,
        opened(browser, server, f"participant=p04&{FAST}") as page,
    ):
        begin(page)
        for number in range(4):
            if number == 2:
                begin(page)
            shown = wait_for(page, number)
            if number == 0:
                page.wait_for_timeout(2500)  # the second block loads meanwhile
                page.context.set_offline(True)
            page.keyboard.press(keys[truth[shown]])
        begin(page)
        failed = page.get_by_text("could not be loaded")
        failed.wait_for(timeout=20_000)
        assert "images/s00" in failed.inner_text()
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
        for number in (4, 5):
            shown = wait_for(page, number)
            press = functools.partial(page.keyboard.press, keys[truth[shown]])
            if number == 5:
                path = finish(page, tmp_path, press)
            else:
                press()
    table = load_jspsych(path, made).table
    assert len(table) == 6
    assert table["correct"].all()


# -------------------------------------------------------------- the other pages


@pytest.fixture(scope="module")
def small(tmp_path_factory, jspsych_library):
    """Eight trials of a choice between two pictures, with practice and feedback."""
    made = pictures(4)
    names = {"picture_1": ["s000", "s001"], "picture_2": ["s002", "s003"]}
    groups = pd.DataFrame(names).assign(answer=["s000", "s003"])
    folder = tmp_path_factory.mktemp("small") / "pairs"
    export_jspsych(
        made,
        folder,
        task="2afc",
        groups=groups,
        keys={"left": "left", "right": "right"},
        n_repeats=4,
        practice=1,
        fixation_frames=20,
        response_ms=3000,
        library=jspsych_library,
    )
    return made, folder


@pytest.mark.slow
def test_a_reload_loses_no_trial_and_early_or_foreign_keys_count_for_nothing(
    tmp_path, browser, small
):
    made, folder = small
    query = f"participant=p05&{FAST}"
    with serving(folder) as server, opened(browser, server, query) as page:
        begin(page)
        wait_for(page, 0)
        page.keyboard.press("ArrowLeft")
        wait_for(page, 0, phase="feedback")
        begin(page)
        for number in range(3):
            wait_for(page, number, phase="fixation")
            page.keyboard.press("ArrowLeft")
            wait_for(page, number)
            page.keyboard.press("x")
            page.keyboard.press("ArrowRight")
        wait_for(page, 3, phase="fixation")
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{server.url}?{query}")
        page.get_by_text("I agree", exact=True).click()
        page.get_by_text("This browser holds 3 of 8").wait_for()
        page.get_by_text("Go on where I stopped").click()
        begin(page)
        for number in range(3, 8):
            wait_for(page, number)
            if number == 7:  # no answer in time
                path = finish(page, tmp_path)
            else:
                page.keyboard.press("ArrowRight")
        again = finish(
            page, tmp_path / "again", lambda: page.get_by_text("Save the file").click()
        )
        assert again.read_bytes() == path.read_bytes()
        page.get_by_text("Remove my answers").click()
        page.get_by_text("were removed").wait_for()
        assert page.evaluate("() => localStorage.length") == 0
    table = load_jspsych(path, made).table
    assert table["trial"].tolist() == list(range(8))
    assert table["session"].nunique() == 2
    assert table["place"].tolist()[:7] == [2] * 7
    assert np.isnan(table["rt_ms"].iloc[7])
    assert pd.isna(table["response"].iloc[7])
    assert not table["correct"].iloc[7]
    right = table["response"] == table["truth"]
    assert (table["correct"] == right).all()
    assert right.iloc[:7].sum() in (3, 4)  # sides are balanced
    with_practice = load_jspsych(path, made, practice=True).table
    assert with_practice["trial"].tolist() == [-1, *range(8)]


@pytest.mark.slow
def test_sizes_on_the_screen_follow_the_geometry_that_is_told(browser, small):
    _, folder = small
    query = "fullscreen=0&px_per_mm=4&distance_cm=57&participant=p06"
    with serving(folder) as server, opened(browser, server, query) as page:
        begin(page)
        wait_for(page, 0)
        box = page.locator("canvas.trial").bounding_box()
    px_per_deg = 1 / (2 * math.degrees(math.atan(0.25 / (2 * 570))))
    assert px_per_deg == pytest.approx(39.79, abs=0.01)
    width_deg = (2 * 64 + 32) / 32  # two pictures and a gap of one degree
    assert box["width"] == pytest.approx(width_deg * px_per_deg, abs=1)


@pytest.mark.slow
def test_a_card_and_a_typed_distance_give_the_geometry(browser, small):
    _, folder = small
    query = "fullscreen=0&participant=p07"
    with serving(folder) as server, opened(browser, server, query) as page:
        page.get_by_text("Measure the screen with a bank card").click()
        page.get_by_text("Click here when the image is the correct size").click()
        page.get_by_label("Distance of your eyes").fill("5")
        page.get_by_text("Continue").click()
        assert page.locator(".problem").inner_text() != ""
        page.get_by_label("Distance of your eyes").fill("60")
        page.get_by_text("Continue").click()
        begin(page)
        wait_for(page, 0)
        page.keyboard.press("ArrowLeft")
        wait_for(page, 0, phase="feedback")
        begin(page)
        rows = page.evaluate(
            "() => Object.values(localStorage).map((r) => JSON.parse(r))"
        )
    px_per_mm = 250 / 85.6  # the card is as large as it was drawn
    expected = 1 / (2 * math.degrees(math.atan(1 / px_per_mm / (2 * 600))))
    assert rows[0]["px_per_deg"] == pytest.approx(expected, rel=1e-3)
    assert rows[0]["viewing_distance_cm"] == 60
    assert rows[0]["calibration"] == "card"
    assert rows[0]["practice"] is True


@pytest.mark.slow
def test_the_blind_spot_gives_the_distance(browser, small):
    _, folder = small
    query = "fullscreen=0&participant=p11&calibration=measure"
    with serving(folder) as server, opened(browser, server, query) as page:
        page.get_by_text("Click here when the image is the correct size").click()
        page.locator("#virtual-chinrest-circle").wait_for()
        for _ in range(5):
            page.keyboard.press(" ")  # the ball begins to move
            page.wait_for_timeout(300)
            page.keyboard.press(" ")  # and has disappeared
        said = page.locator("#distance-estimate").inner_text()
        page.get_by_role("button", name="Yes").click()
        begin(page)
        wait_for(page, 0)
        page.keyboard.press("ArrowLeft")
        wait_for(page, 0, phase="feedback")
        begin(page)
        rows = page.evaluate(
            "() => Object.values(localStorage).map((r) => JSON.parse(r))"
        )
    assert rows[0]["calibration"] == "measured"
    assert round(rows[0]["viewing_distance_cm"]) == int(said.split()[0])
    distance_mm = 10 * rows[0]["viewing_distance_cm"]
    px_per_mm = 250 / 85.6
    expected = 1 / (2 * math.degrees(math.atan(1 / px_per_mm / (2 * distance_mm))))
    assert rows[0]["px_per_deg"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_a_small_window_is_told_and_smaller_pictures_are_recorded(browser, small):
    _, folder = small
    query = "fullscreen=0&px_per_mm=40&distance_cm=57"
    with (
        serving(folder) as server,
        opened(browser, server, query, size=(1000, 700)) as page,
    ):
        page.get_by_label("participant code").fill("=cmd()")
        page.get_by_text("Continue").click()
        assert "Letters, digits" in page.locator(".problem").inner_text()
        page.get_by_label("participant code").fill("p08")
        page.get_by_text("Continue").click()
        page.get_by_text("The window is too small").wait_for()
        page.get_by_text("Check again").click()
        page.get_by_text("Go on with smaller pictures").click()
        begin(page)
        wait_for(page, 0)
        box = page.locator("canvas.trial").bounding_box()
        assert box["width"] <= 1000
        assert box["height"] <= 700
        page.keyboard.press("ArrowLeft")
        wait_for(page, 0, phase="feedback")
        begin(page)
        rows = page.evaluate(
            "() => Object.values(localStorage).map((r) => JSON.parse(r))"
        )
    assert rows[0]["participant"] == "p08"
    assert rows[0]["scale"] < rows[0]["px_per_deg"] / 32


@pytest.mark.slow
def test_a_click_must_hit_the_target_of_a_search(tmp_path, browser, jspsych_library):
    made = make_slope_arrays("feature", set_sizes=[3], trials=2)
    every = made.select(np.flatnonzero(made.table["target_present"]))
    folder = tmp_path / "found"
    export_jspsych(
        every, folder, task="search", fixation_frames=1, library=jspsych_library
    )
    design = json.loads((folder / "design.json").read_text())
    boxes = {t["stimulus_id"]: t["target_box_px"] for t in design["trials"]}
    with (
        serving(folder) as server,
        opened(browser, server, f"participant=p09&{FAST}") as page,
    ):
        begin(page)
        wait_for(page, 0, phase="target")
        for number in range(2):
            shown = wait_for(page, number)
            page.wait_for_timeout(50)  # faster than people would look like seconds
            page.keyboard.press(" ")
            wait_for(page, number, phase="click")
            left, top, right, bottom = boxes[shown]
            box = page.locator("canvas.trial").bounding_box()
            x, y = (left + right) / 2, (top + bottom) / 2
            if number == 1:
                x = 675 - x if abs(2 * x - 675) > right - left else x
                y = 675 - y if abs(2 * y - 675) > bottom - top else y
            click = functools.partial(page.mouse.click, box["x"] + x, box["y"] + y)
            if number == 1:
                path = finish(page, tmp_path, click)
            else:
                click()
    table = load_jspsych(path, every).table
    assert table["on_target"].tolist() == [True, False]
    assert table["correct"].tolist() == [True, False]
    assert table["response"].tolist() == ["present", "present"]


@pytest.mark.slow
def test_who_does_not_agree_leaves_no_trace(browser, small):
    _, folder = small
    with serving(folder) as server:
        page = browser.new_page()
        page.goto(f"{server.url}?participant=p10&{FAST}")
        page.get_by_text("I do not agree").click()
        page.get_by_text("Nothing was recorded").wait_for()
        assert page.evaluate("() => localStorage.length") == 0
        page.close()


@pytest.mark.slow
def test_the_browser_and_python_give_a_participant_the_same_order(browser, small):
    _, folder = small
    names = [f"participant-{i}" for i in range(50)] + ["é", "参加者"]
    with serving(folder) as server:
        page = browser.new_page()
        page.goto(server.url)
        found = page.evaluate("(names) => names.map((n) => orderOf(n, 20))", names)
        cells = ["=A1", "+1", "-x", "@y", 'a"b', "1,5", None, True, 0.1 + 0.2, "-3.5"]
        written = page.evaluate("(cells) => cells.map(csvCell)", cells)
        page.close()
    assert found == [order_of(name, 20) for name in names]
    assert written == [
        *("'=A1", "+1", "'-x", "'@y", '"a""b"', '"1,5"', "", "true", "0.3", "-3.5")
    ]


def test_a_folder_without_a_server_says_what_to_do(browser, tmp_path, jspsych_library):
    made = pictures(2, kind=["a", "b"])
    page_path = export_jspsych(
        made, tmp_path / "e", task="2afc", answer_column="kind", library=jspsych_library
    )
    page = browser.new_page()
    page.goto(page_path.as_uri())
    page.get_by_text("python -m http.server").wait_for()
    page.close()
