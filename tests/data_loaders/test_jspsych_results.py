"""Answers from the browser: what is read, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from data_loaders.jspsych_results import load_jspsych
from neurovis.core.types import TRIAL_COLUMNS, StimulusSet, Viewing
from stimuli.jspsych import RESULT_COLUMNS

FACTORS = {"condition": "near", "level": "007", "size": 2.5, "flag": "true"}


def stimuli(n=4):
    table = pd.DataFrame({"stimulus_id": [f"s{i}" for i in range(n)]})
    images = [np.full((2, 2, 3), i, np.uint8) for i in range(n)]
    return StimulusSet("levels", table, Viewing(30, 2, 2), images)


def results(n=4, **changes):
    """Return what the page would save: a row per trial, every fourth one wrong."""
    rows = []
    for trial in range(n):
        truth = "cat" if trial % 2 else "dog"
        response = truth if trial != 3 else "dog"
        row = dict.fromkeys(RESULT_COLUMNS, "")
        row |= {
            "participant": "p01",
            "session": "2026-01-01T10:00:00.000Z",
            "trial": trial,
            "block": 1,
            "practice": "false",
            "task": "2afc",
            "stimulus_id": f"s{trial}",
            "picture_1": f"s{trial}",
            "truth": truth,
            "keys": "f:cat|j:dog",
            "key": "f",
            "input": "key",
            "response": response,
            "correct": str(response == truth).lower(),
            "rt_ms": 400.5 + trial,
            "onset_ms": 1000.25 * trial,
            "offset_ms": 1000.25 * trial + 500,
            "frame_ms": 16.7,
            "frames_shown": 30,
            "frames_dropped": 0,
            "left_page": "false",
            "load_wait_ms": 0,
            "n_trials": n,
            "order": 2,
            "seed": 0,
            "calibration": "skipped",
            "scale": 1,
            "window_width_px": 1000,
            "window_height_px": 900,
            "device_pixel_ratio": 1,
            "browser": "chrome 150.0.0, Linux",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
            "set_fingerprint": stimuli().fingerprint,
            "experiment_version": "0123456789abcdef",
        }
        rows.append(FACTORS | row)
    table = pd.DataFrame(rows).drop(columns=["picture_2", "picture_3"])
    for name, value in changes.items():
        table[name] = value
    order = [c for c in table if c != "experiment_version"]
    return table[[*order, "experiment_version"]]


def save(path, table, **options):
    path.write_bytes(table.to_csv(index=False, **options).encode())
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "p01.csv"


# ------------------------------------------------------------- exported experiments


def test_rows_become_the_common_table(path):
    table = load_jspsych(save(path, results()), stimuli()).table
    assert list(table)[:6] == list(TRIAL_COLUMNS)
    assert table["subject"].tolist() == ["p01"] * 4
    assert table["stimulus_id"].tolist() == ["s0", "s1", "s2", "s3"]
    assert table["trial"].tolist() == [0, 1, 2, 3]
    assert table["response"].tolist() == ["dog", "cat", "dog", "dog"]
    assert table["correct"].tolist() == [True, True, True, False]
    assert table["correct"].dtype == bool
    assert table["rt_ms"].tolist() == [400.5, 401.5, 402.5, 403.5]
    assert table["px_per_deg"].isna().all()
    assert table["level"].tolist() == ["007"] * 4
    assert table["size"].dtype == np.float64
    assert table["flag"].dtype == bool
    assert table["condition"].tolist() == ["near"] * 4
    assert "practice" in table


def test_people_of_several_files_stand_below_each_other(tmp_path):
    paths = [
        save(tmp_path / f"p{i}.csv", results(participant=f"p{i}")) for i in range(3)
    ]
    table = load_jspsych(paths).table
    assert table["subject"].tolist() == ["p0"] * 4 + ["p1"] * 4 + ["p2"] * 4
    assert table.index.tolist() == list(range(12))


def test_an_answer_that_did_not_come_is_an_error_without_a_time(path):
    rows = results().astype(object)
    rows.loc[2, ["response", "key", "rt_ms", "correct"]] = ["", "", "", "false"]
    table = load_jspsych(save(path, rows)).table
    assert pd.isna(table["response"][2])
    assert np.isnan(table["rt_ms"][2])
    assert table["correct"].tolist() == [True, True, False, False]


def test_without_a_truth_nothing_is_right_or_wrong(path):
    table = load_jspsych(save(path, results(truth="", correct=""))).table
    assert table["correct"].isna().all()
    assert table["truth"].isna().all()


def test_practice_is_left_out_unless_asked_for(path):
    rows = pd.concat([results().head(2).assign(practice="true", block=0), results()])
    table = load_jspsych(save(path, rows)).table
    assert table["trial"].tolist() == [0, 1, 2, 3]
    table = load_jspsych(path, practice=True).table
    assert table["trial"].tolist() == [-1, -2, 0, 1, 2, 3]
    assert table["practice"].tolist() == [True] * 2 + [False] * 4
    with pytest.raises(ValueError, match="practice only"):
        load_jspsych(save(path, rows.head(2)))


def test_an_unfinished_session_is_read_and_told(path, caplog):
    with caplog.at_level("WARNING"):
        table = load_jspsych(save(path, results().head(3))).table
    assert len(table) == 3
    assert "p01 has 3 of 4 trials" in caplog.text


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(path):
    expected = load_jspsych(save(path, results())).table
    text = results().to_csv(index=False, lineterminator="\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_jspsych(path).table.equals(expected)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_what_a_spreadsheet_saves_with_decimal_commas_is_read(path, separator):
    expected = load_jspsych(save(path, results())).table
    save(path, results(), sep=separator, decimal=",")
    assert "400,5" in path.read_text()
    found = load_jspsych(path).table
    assert found.equals(expected)
    save(path, results(), sep=separator)
    assert load_jspsych(path).table.equals(expected)


def test_mixed_decimal_marks_are_refused(path):
    rows = results().astype(object)
    rows.loc[1, "rt_ms"] = "401,5"
    with pytest.raises(ValueError, match=r"mixes decimal marks: '401,5'.*line 3"):
        load_jspsych(save(path, rows, sep=";"))


def test_a_decimal_comma_between_commas_is_refused(path):
    rows = results().astype(object)
    rows.loc[1, "rt_ms"] = "401,5"
    with pytest.raises(ValueError, match=r"'401,5' in 'rt_ms', line 3.*thousands"):
        load_jspsych(save(path, rows))
    text = results().to_csv(index=False).replace("401.5", "401,5")
    path.write_text(text)
    with pytest.raises(ValueError, match="such as a decimal comma"):
        load_jspsych(path)


def test_lost_decimal_marks_show_in_the_times(path):
    rows = results()
    rows["rt_ms"] = (rows["rt_ms"] * 1000).astype(int)
    with pytest.raises(ValueError, match="lost their decimal mark"):
        load_jspsych(save(path, rows))


def test_seconds_are_refused(path):
    with pytest.raises(ValueError, match="taken as ms, but none is above"):
        load_jspsych(save(path, results(rt_ms=0.4)))


def test_missing_columns_are_named(path):
    with pytest.raises(ValueError, match="rt_ms"):
        load_jspsych(save(path, results().drop(columns="rt_ms")))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("participant", "=HYPERLINK(1)", "'=HYPERLINK\\(1\\)' begins as a formula"),
        ("participant", "", "the participant is missing"),
        ("stimulus_id", "=A1", "names no picture"),
        ("rt_ms", "fast", "numbers in 'rt_ms'; line 3 has 'fast'"),
        ("rt_ms", -5.0, "negative reaction time -5"),
        ("rt_ms", "inf", "numbers in 'rt_ms'"),
        ("trial", 0, "trial 0 of 'p01' in lines 2 and 3"),
        ("trial", 1.5, "'trial' must be a whole number"),
        ("trial", "", "'trial' must be a whole number"),
        ("correct", "maybe", "'correct' must be true, false or empty"),
        ("correct", "false", "`correct` contradicts `response` and `truth`"),
        ("response", "mouse", "`correct` contradicts `response` and `truth`"),
        ("experiment_version", "ffff456789abcdef", "different versions.*line 3"),
        ("set_fingerprint", "abc", "different sets of pictures"),
    ],
)
def test_a_changed_cell_is_found(path, name, value, message):
    rows = results().astype(object)
    rows.loc[1, name] = value
    with pytest.raises(ValueError, match=message):
        load_jspsych(save(path, rows))


def test_formulas_in_factors_stay_text_that_is_not_run(path):
    text = results(condition="'=1+1").to_csv(index=False)
    path.write_text(text)
    assert load_jspsych(path).table["condition"].tolist() == ["'=1+1"] * 4
    path.write_text(text.replace("'=1+1", "=1+1"))
    assert load_jspsych(path).table["condition"].tolist() == ["'=1+1"] * 4


def test_identities_with_a_sign_in_front_come_back(path):
    rows = results()
    for name in ("stimulus_id", "picture_1"):
        rows[name] = [f"'-{value}" for value in rows[name]]
    table = load_jspsych(save(path, rows)).table
    assert table["stimulus_id"].tolist() == ["-s0", "-s1", "-s2", "-s3"]


def test_another_set_or_picture_is_refused(path):
    with pytest.raises(ValueError, match="give the set that was shown"):
        load_jspsych(save(path, results()), stimuli(5))
    rows = results().astype(object)
    rows.loc[1, ["stimulus_id", "picture_1"]] = "s9"
    with pytest.raises(ValueError, match=r"'s9' is not in the set.*Did you mean"):
        load_jspsych(save(path, rows), stimuli())


def test_a_participant_of_two_files_is_refused(tmp_path):
    paths = [save(tmp_path / f"{i}.csv", results()) for i in range(2)]
    with pytest.raises(ValueError, match=r"'p01' is in .*0\.csv and in .*1\.csv"):
        load_jspsych(paths)
    with pytest.raises(ValueError, match="twice"):
        load_jspsych([paths[0], paths[0]])


def test_files_of_different_versions_are_refused(tmp_path):
    first = save(tmp_path / "a.csv", results())
    other = results(participant="p02", experiment_version="ffff456789abcdef")
    with pytest.raises(ValueError, match=r"versions of the experiment \(0123.*ffff"):
        load_jspsych([first, save(tmp_path / "b.csv", other)])


@pytest.mark.parametrize("n_lost", [3, 30, 120, 200])
def test_a_cut_last_line_is_found_wherever_the_cut_is(path, n_lost):
    data = save(path, results()).read_bytes()
    path.write_bytes(data[:-n_lost])
    with pytest.raises(ValueError, match=r"[Ff]ile (was|is) cut"):
        load_jspsych(path)
    path.write_bytes(data[:-1])  # only the line end is missing
    assert len(load_jspsych(path).table) == 4


def test_empty_files_and_other_texts_are_refused(path):
    for data, message in (
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (results().head(0).to_csv(index=False).encode(), "header but no row"),
        (b"hello", "no comma, semicolon or tab"),
        (b"a,b\n1,2,3\n4,5\n", "3 cells in line 2 but 2"),
        (b'a,b\n1,"2\n', "quotation mark"),
        (b"a,a\n1,2\n", "column 'a' twice"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            load_jspsych(path)
    with pytest.raises(FileNotFoundError):
        load_jspsych(path.with_name("none.csv"))
    with pytest.raises(ValueError, match="`paths` is empty"):
        load_jspsych([])


def test_other_encodings_are_told_and_can_be_given(path):
    text = results(condition="nähe").to_csv(index=False)
    path.write_bytes(text.encode("cp1252"))
    with pytest.raises(ValueError, match=r"is not utf-8 text.*'cp1252'"):
        load_jspsych(path)
    assert load_jspsych(path, encoding="cp1252").table["condition"][0] == "nähe"
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(ValueError, match="'utf-16'"):
        load_jspsych(path)
    assert load_jspsych(path, encoding="utf-16").table["condition"][0] == "nähe"
    with pytest.raises(ValueError, match="one that Python knows"):
        load_jspsych(path, encoding="latin-77")


# ------------------------------------------------------------------ plain jsPsych

PLAIN = [
    {"trial_type": "preload", "trial_index": 0, "success": True},
    {
        "trial_type": "html-keyboard-response",
        "trial_index": 1,
        "stimulus": "<p>Hi</p>",
        "rt": 900,
        "response": " ",
    },
    {
        "trial_type": "image-keyboard-response",
        "trial_index": 2,
        "stimulus": "img/s1.png",
        "rt": 512.5,
        "response": "f",
        "correct": True,
    },
    {
        "trial_type": "image-keyboard-response",
        "trial_index": 3,
        "stimulus": "img/s2.png",
        "rt": None,
        "response": None,
        "correct": False,
    },
]
PICTURES = {"trial_type": "image-keyboard-response"}


def plain_csv(rows):
    """Return text as jsPsych itself writes it: all in quotation marks, null as word."""
    names = list(dict.fromkeys(name for row in rows for name in row))

    def cell(value):
        if value is None:
            return "null"
        return str(value).lower() if isinstance(value, bool) else str(value)

    lines = [[cell(row[n]) if n in row else "" for n in names] for row in rows]
    return "\r\n".join(
        ",".join('"' + c.replace('"', '""') + '"' for c in line)
        for line in [names, *lines]
    )


def test_plain_csv_and_json_give_the_same_trials(tmp_path):
    rows = [row | {"subject": "ann"} for row in PLAIN]
    first = tmp_path / "a.csv"
    first.write_text(plain_csv(rows) + "\r\n")
    second = tmp_path / "a.json"
    second.write_text(json.dumps(rows))
    third = tmp_path / "lines.txt"
    third.write_text("\n".join(json.dumps([row]) for row in rows) + "\n")
    for path in (first, second, third):
        table = load_jspsych(path, stimuli(), where=PICTURES).table
        assert table["stimulus_id"].tolist() == ["s1", "s2"]
        assert table["subject"].tolist() == ["ann", "ann"]
        assert table["rt_ms"].tolist()[0] == 512.5
        assert np.isnan(table["rt_ms"][1])
        assert pd.isna(table["response"][1])
        assert table["correct"].tolist() == [True, False]
        assert table["trial"].tolist() == [2, 3]


def test_pages_of_markup_must_be_left_out_by_name(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(PLAIN))
    with pytest.raises(ValueError, match=r"known to be the subject.*'trial_type'"):
        load_jspsych(path)
    with pytest.raises(ValueError, match=r"markup of a page.*`where`"):
        load_jspsych(path, columns={"subject": None})
    table = load_jspsych(path, columns={"subject": None}, where=PICTURES).table
    assert table["subject"].tolist() == ["a", "a"]
    with pytest.raises(ValueError, match="Did you mean 'image-keyboard-response'"):
        load_jspsych(path, where={"trial_type": "image-keyboard-respons"})


def test_a_truth_column_makes_answers_right_or_wrong(tmp_path):
    rows = [
        {"subject": "a", "stimulus": f"s{i}", "response": r, "rt": 500, "answer": t}
        for i, (r, t) in enumerate([("f", "f"), ("j", "f"), (None, "f"), ("j", None)])
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows))
    table = load_jspsych(path, columns={"truth": "answer"}).table
    assert table["correct"].tolist()[:3] == [True, False, False]
    assert pd.isna(table["correct"][3])
    assert table["trial"].tolist() == [0, 1, 2, 3]


def test_plain_files_with_seconds_or_doubtful_columns_are_refused(tmp_path):
    path = tmp_path / "a.json"
    row = {"subject": "a", "stimulus": "s0", "response": "f", "rt": 0.51}
    path.write_text(json.dumps([row]))
    with pytest.raises(ValueError, match="time_unit='s'"):
        load_jspsych(path)
    assert load_jspsych(path, time_unit="s").table["rt_ms"].tolist() == [510.0]
    path.write_text(json.dumps([row | {"participant": "b", "rt": 510}]))
    with pytest.raises(ValueError, match="2 columns that could be the subject"):
        load_jspsych(path)
    path.write_text(json.dumps([row | {"rt": 510, "response": "=cmd()"}]))
    with pytest.raises(ValueError, match="the response begins as a formula"):
        load_jspsych(path)
    path.write_text(json.dumps([row])[:-5])
    with pytest.raises(ValueError, match=r"no JSON.*cut"):
        load_jspsych(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="a list of trials"):
        load_jspsych(path)


def test_plain_and_exported_files_are_not_mixed(tmp_path):
    own = save(tmp_path / "own.csv", results())
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(PLAIN))
    with pytest.raises(ValueError, match="load them one by one"):
        load_jspsych([own, plain])
    with pytest.raises(ValueError, match="for plain jsPsych files"):
        load_jspsych(own, where={"trial": "1"})
