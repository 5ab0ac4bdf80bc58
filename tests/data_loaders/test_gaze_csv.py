"""Fixation tables as laboratories and makers of eye trackers write them."""

import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_loaders.gaze_csv import ROLES, load_gaze_csv
from neurovis.core.errors import DataCorruptError

SCREEN = {"screen_px": (800, 600)}
PLAIN = """subject,image,x,y,duration
a,1.jpg,400,300,210
a,1.jpg,10.5,20.25,180
b,1.jpg,799,599,333
"""
EYELINK = (
    "RECORDING_SESSION_LABEL\tTRIAL_INDEX\timage\tCURRENT_FIX_INDEX\tCURRENT_FIX_X\t"
    "CURRENT_FIX_Y\tCURRENT_FIX_DURATION\n"
    "s01\t3\tb.png\t2\t100,5\t.\t250\n"
    "s01\t3\tb.png\t1\t400,0\t300,0\t200\n"
    "s01\t7\ta.png\t1\t401,0\t301,0\t.\n"
)
GAZEPOINT = (
    "MEDIA_NAME,FPOGX,FPOGY,FPOGD,FPOGID\none,0.5,0.25,0.25,11\none,1.01,0.5,0.5,12\n"
)


def write(folder, text, name="mine.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def values(data, *columns):
    return data.fixations[list(columns)].to_numpy().tolist()


def test_a_plain_table_becomes_gaze_data(tmp_path):
    data = load_gaze_csv(write(tmp_path, PLAIN), **SCREEN)
    assert data.name == "mine"
    assert values(data, "subject", "stimulus_id", "trial", "fixation") == [
        ["a", "1.jpg", 0, 0],
        ["a", "1.jpg", 0, 1],
        ["b", "1.jpg", 0, 0],
    ]
    assert values(data, "x_px", "y_px", "duration_ms") == [
        [400, 300, 210],
        [10.5, 20.25, 180],
        [799, 599, 333],
    ]
    assert data.trials["n_fixations"].tolist() == [2, 1]
    assert data.stimuli[["width_px", "height_px"]].to_numpy().tolist() == [[800, 600]]
    assert data.notes == ()


def test_a_report_of_the_eyelink_viewer_is_read(tmp_path):
    path = write(tmp_path, EYELINK, "report.tsv")
    data = load_gaze_csv(path, **SCREEN, decimal=",")
    assert values(data, "stimulus_id", "trial", "fixation", "x_px") == [
        ["b.png", 0, 0, 400.0],
        ["b.png", 0, 1, 100.5],
        ["a.png", 1, 0, 401.0],
    ]
    times = data.fixations["duration_ms"].tolist()
    assert times[:2] == [200, 250]
    assert np.isnan(times[2])
    assert np.isnan(data.fixations["y_px"][1])
    assert data.trials["source_trial"].tolist() == ["3", "7"]
    assert data.notes == ("1 of 3 fixations have no position (NaN).",)


def test_shares_of_the_screen_and_seconds_become_pixels_and_milliseconds(tmp_path):
    data = load_gaze_csv(
        write(tmp_path, GAZEPOINT),
        **SCREEN,
        position_unit="fraction",
        time_unit="s",
        subject="me",
    )
    assert values(data, "subject", "x_px", "y_px", "duration_ms", "on_screen") == [
        ["me", 400.0, 150.0, 250.0, True],
        ["me", 808.0, 300.0, 500.0, False],
    ]
    assert data.notes == ("1 of 2 fixations lie off the screen.",)


def test_columns_of_any_name_can_be_told(tmp_path):
    text = "VP;Bild;links;oben;Nr\n1;a;10;20;1\n1;a;30;40;2\n"
    columns = {"subject": "VP", "stimulus": "Bild", "x": "links", "y": "oben"}
    data = load_gaze_csv(write(tmp_path, text), **SCREEN, columns=columns, keep=["Nr"])
    assert values(data, "x_px", "y_px", "Nr") == [[10, 20, "1"], [30, 40, "2"]]
    assert data.fixations["duration_ms"].isna().all()


def test_one_observer_and_one_picture_need_no_columns(tmp_path):
    path = write(tmp_path, "x,y\n1,2\n300,400\n")
    data = load_gaze_csv(path, **SCREEN, subject="a", stimulus="1.jpg")
    assert data.trials[["subject", "stimulus_id"]].to_numpy().tolist() == [
        ["a", "1.jpg"]
    ]
    assert values(data, "fixation", "x_px") == [[0, 1], [1, 300]]


def test_a_stimulus_seen_twice_is_two_trials_when_a_column_says_so(tmp_path):
    text = "subject,stimulus,trial,x,y\na,p,k2,10,20\na,p,k1,30,40\na,p,k2,50,60\n"
    data = load_gaze_csv(write(tmp_path, text), **SCREEN)
    assert data.trials["source_trial"].tolist() == ["k2", "k1"]
    assert values(data, "trial", "fixation", "x_px") == [
        [0, 0, 10],
        [0, 1, 50],
        [1, 0, 30],
    ]
    joined = load_gaze_csv(write(tmp_path, text), **SCREEN, columns={"trial": None})
    assert joined.trials["n_fixations"].tolist() == [3]


def test_sizes_and_targets_of_stimuli_can_be_given(tmp_path):
    stimuli = pd.DataFrame(
        {"stimulus_id": ["1.jpg", "2.jpg"], "width_px": 500, "height_px": 600}
    )
    data = load_gaze_csv(
        write(tmp_path, PLAIN), **SCREEN, stimuli=stimuli, px_per_deg=30.0, name="x"
    )
    assert data.fixations["on_screen"].tolist() == [True, True, False]
    assert (data.name, data.px_per_deg, len(data.stimuli)) == ("x", 30.0, 2)


def test_repeated_rows_are_told(tmp_path):
    text = PLAIN + "b,1.jpg,799,599,333\n"
    data = load_gaze_csv(write(tmp_path, text), **SCREEN)
    assert data.notes == ("1 rows repeat the row before them.",)
    assert len(data.fixations) == 4


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("latin-1", "latin-1"),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_do_not_matter_when_told(
    tmp_path, encoding, told, ends
):
    text = PLAIN.replace("a,", "é,").replace("\n", ends)
    data = load_gaze_csv(
        write(tmp_path, text, encoding=encoding), **SCREEN, encoding=told
    )
    assert data.trials["subject"].tolist() == ["b", "é"]


def test_a_gzipped_table_is_read_and_a_cut_one_is_corrupt(tmp_path):
    path, data = tmp_path / "mine.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)
    path.write_bytes(data)
    assert len(load_gaze_csv(path, **SCREEN).fixations) == 3
    for n_bytes in (0, 5, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:n_bytes])
        with pytest.raises((DataCorruptError, ValueError), match=r"gzip|is empty"):
            load_gaze_csv(path, **SCREEN)


def test_quoted_cells_may_hold_the_separator(tmp_path):
    text = 'subject,image,x,y\na,"big, red.jpg",1,200\n'
    data = load_gaze_csv(write(tmp_path, text), **SCREEN)
    assert data.trials["stimulus_id"].tolist() == ["big, red.jpg"]


@pytest.mark.parametrize("role", ROLES)
def test_each_known_name_is_recognised_in_any_spelling(tmp_path, role):
    base = {"subject": "a", "stimulus": "p", "x": 5, "y": 9, "trial": 1}
    base |= {"fixation": 3, "duration": 100}
    for known in ROLES[role]:
        names = {r: r if r != role else known.upper().replace("_", " ") for r in base}
        text = (
            ",".join(names.values()) + "\n" + ",".join(map(str, base.values())) + "\n"
        )
        row = load_gaze_csv(write(tmp_path, text), **SCREEN).fixations.iloc[0]
        found = (row["subject"], row["stimulus_id"], row["x_px"], row["y_px"])
        assert (*found, row["duration_ms"]) == ("a", "p", 5, 9, 100)


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from("pqr"),
            st.floats(2, 800, allow_nan=False),
            st.none() | st.floats(2, 600, allow_nan=False),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_every_row_arrives_once_and_in_order(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    table = pd.DataFrame(rows, columns=["subject", "image", "x", "y"])
    table.to_csv(path, index=False)
    data = load_gaze_csv(path, **SCREEN, columns={"trial": None})
    assert data.trials["n_fixations"].sum() == len(rows)
    found = data.fixations.set_index(["subject", "stimulus_id"])
    for key, part in table.groupby(["subject", "image"]):
        one = found.loc[[key]]
        np.testing.assert_array_equal(one["fixation"], np.arange(len(part)))
        np.testing.assert_array_equal(one["x_px"], part["x"])
        np.testing.assert_array_equal(one["y_px"], part["y"].astype(float))


# ------------------------------------------------------------- clear refusals


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("", {}, "is empty: a header and rows"),
        ("\n\n", {}, "is empty"),
        ("subject,image,x,y\n", {}, "a header but no row"),
        ("subject image x y\na p 1 2\n", {}, "`separator` must be the character"),
        (PLAIN, {"separator": ";"}, "the header 'subject,image"),
        (PLAIN, {"separator": ", "}, "`separator` must be the character"),
        (PLAIN + "b,1.jpg,5\n", {}, "3 cells in line 5 but 5 in its header"),
        (PLAIN + "b,1.jpg,5,6,7,8\n", {}, "6 cells in line 5"),
        (PLAIN + 'b,"1.jpg,5,6,7\n', {}, "quotation mark"),
        (PLAIN.replace("image", "x"), {}, "the column 'x' twice"),
        (PLAIN.replace("image", "what"), {}, r"known to be the stimulus.*stimulus='"),
        (
            PLAIN.replace(",x,", ",left,"),
            {},
            r"known to be the x; it has.*\{'x': NAME\}",
        ),
        (PLAIN.replace("duration", "fix_x"), {}, "2 columns that could be the x"),
        (PLAIN, {"columns": {"x": "eye_x"}}, "lacks the columns"),
        (PLAIN, {"columns": {"X": "x"}}, "key of `columns`.*Did you mean 'x'"),
        (PLAIN, {"columns": {"subject": "subject"}, "subject": "a"}, "both tell it"),
        (PLAIN, {"keep": ["pupil"]}, "lacks the columns"),
        ("subject,image,x,y,trial\na,p,9,9,1\n", {"keep": ["trial"]}, "`keep` may not"),
        (PLAIN.replace("10.5", "10,5"), {}, "6 cells in line 3"),
        (PLAIN.replace("10.5", "left"), {}, "line 3 has 'left', and 0 more"),
        (PLAIN.replace("10.5", "inf"), {}, "line 3 has 'inf'"),
        (PLAIN, {"decimal": ","}, "Is the decimal mark '.'"),
        (EYELINK, {}, "Is the decimal mark ','"),
        (GAZEPOINT, {"subject": "a"}, "position_unit='fraction'"),
        (PLAIN, {"position_unit": "fraction"}, "position_unit='px'"),
        (
            PLAIN.replace("210", "0.2").replace("180", ".3").replace("333", "1"),
            {},
            "'s'",
        ),
        (PLAIN, {"time_unit": "s"}, "time_unit='ms'"),
        (PLAIN.replace("b,", ","), {}, "the subject of every row; line 4"),
        (PLAIN.replace("333", "-333"), {}, "negative duration"),
        (
            "subject,image,trial,x,y\na,p,1,5,5\na,q,1,5,5\n",
            {},
            "several stimuli in trial '1'",
        ),
        (
            "subject,image,fixation,x,y\na,p,1,5,5\na,p,1,6,6\n",
            {},
            "line 3 has the number 1 again",
        ),
        ("subject,image,fixation,x,y\na,p,,5,5\n", {}, "line 2 has no number"),
        (PLAIN, {"screen_px": (0, 600)}, "`screen_px`"),
        (PLAIN, {"position_unit": "deg"}, "`position_unit`"),
        (PLAIN, {"time_unit": "min"}, "`time_unit`"),
        (PLAIN, {"encoding": "utf-99"}, "`encoding` must be one that Python knows"),
    ],
)
def test_what_cannot_be_is_told_clearly(tmp_path, text, options, match):
    with pytest.raises(ValueError, match=match):
        load_gaze_csv(write(tmp_path, text), **(SCREEN | options))


@pytest.mark.parametrize(
    ("encoding", "hint"),
    [
        ("utf-16", "'utf-16'"),
        ("utf-16-le", "'latin-1' or"),
        ("latin-1", "'latin-1' or"),
    ],
)
def test_another_encoding_is_told(tmp_path, encoding, hint):
    path = write(tmp_path, PLAIN.replace("a,", "é,"), encoding=encoding)
    with pytest.raises(ValueError, match=f"is not utf-8 text.*{hint}"):
        load_gaze_csv(path, **SCREEN)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mine\.csv is nothing"):
        load_gaze_csv(tmp_path / "mine.csv", **SCREEN)


def test_a_table_of_unknown_positions_is_no_error(tmp_path):
    data = load_gaze_csv(write(tmp_path, "subject,image,x,y\na,p,NA,NA\n"), **SCREEN)
    assert data.fixations[["x_px", "y_px"]].isna().all(axis=None)
    assert not data.fixations["on_screen"].any()


def test_a_real_table_is_read_as_its_own_loader_does(data_folder):
    folder = data_folder / "amazon_covers"
    columns = {"stimulus": "collage", "fixation": "index"}
    data = load_gaze_csv(
        folder / "fixations.csv", screen_px=(2560, 1600), columns=columns
    )
    reference = pd.read_csv(folder / "fixations.csv", dtype={"collage": str})
    assert data.trials["n_fixations"].agg(["size", "sum"]).tolist() == [600, 8683]
    keys = ["subject", "stimulus_id", "fixation"]
    reference = reference.rename(
        columns={"collage": "stimulus_id", "index": "fixation"}
    )
    reference["subject"] = reference["subject"].astype(str)
    both = data.fixations.merge(reference, on=keys, validate="one_to_one")
    assert len(both) == 8683
    assert (both[["x_px", "y_px"]].to_numpy() == both[["x", "y"]].to_numpy()).all()
