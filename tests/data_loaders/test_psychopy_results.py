"""Wide CSV files of PsychoPy: what is read, and what is refused."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from data_loaders.psychopy_results import load_psychopy
from neurovis.core.types import TRIAL_COLUMNS, StimulusSet, Viewing
from stimuli.export import export_psychopy_choices
from stimuli.slope_arrays import make_slope_arrays

HEADER = [
    *("image_file", "corrAns", "condition", "trials.thisRepN", "trials.thisN"),
    *("key_resp.keys", "key_resp.corr", "key_resp.rt", "participant", "session"),
    *("date", "expName", "psychopyVersion", "frameRate"),
]


def rows(n=4):
    """Return rows of Builder: a page of instructions, then trials; the last is late."""
    found = []
    for i in range(n):
        right = "fj"[i % 2]
        key = "f" if i < n - 1 else "None"
        rt = f"{0.5125 + i / 100:.6f}" if i < n - 1 else ""
        corr = str(int(key == right))
        found.append(
            [
                *(f"images/s{i}.png", right, "near", "0", str(i), key, corr, rt),
                *("p01", "001", "2026-01-01_10h00", "choice", "2024.2.4", "59.95"),
            ]
        )
    page = ["", "", "", "", "", "None", "", "", *found[0][8:]]
    return [page, *found]


def write(path, cells, header=HEADER, separator=",", end=","):
    """PsychoPy ends each line with a separator."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=f"{end}\n")
    writer.writerows([header, *cells])
    path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    return path


def stimuli(n=4):
    table = pd.DataFrame({"stimulus_id": [f"s{i}" for i in range(n)]})
    images = [np.full((2, 2, 3), i, np.uint8) for i in range(n)]
    return StimulusSet("levels", table, Viewing(30, 2, 2), images)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "p01_choice.csv"


def test_rows_with_pictures_become_the_common_table(path):
    table = load_psychopy(write(path, rows()), stimuli()).table
    assert list(table)[:6] == list(TRIAL_COLUMNS)
    assert table["subject"].tolist() == ["p01"] * 4
    assert table["stimulus_id"].tolist() == ["s0", "s1", "s2", "s3"]
    assert table["trial"].tolist() == [0, 1, 2, 3]
    assert table["response"].tolist()[:3] == ["f", "f", "f"]
    assert pd.isna(table["response"][3])
    assert table["rt_ms"].tolist()[:3] == pytest.approx([512.5, 522.5, 532.5])
    assert np.isnan(table["rt_ms"][3])
    assert table["correct"].tolist() == [True, False, True, False]
    assert table["truth"].tolist() == ["f", "j", "f", "j"]
    assert table["condition"].tolist() == ["near"] * 4
    assert table["frameRate"].tolist() == [59.95] * 4


def test_without_corr_the_right_key_decides(path):
    header = [name for name in HEADER if name != "key_resp.corr"]
    place = HEADER.index("key_resp.corr")
    cells = [row[:place] + row[place + 1 :] for row in rows()]
    table = load_psychopy(write(path, cells, header)).table
    assert table["correct"].tolist() == [True, False, True, False]


def test_keys_can_be_given_a_meaning(path):
    answers = {"f": "absent", "j": "present"}
    table = load_psychopy(write(path, rows()), answers=answers).table
    assert table["response"].tolist()[:3] == ["absent"] * 3
    assert table["truth"].tolist() == ["absent", "present"] * 2
    assert table["key"].tolist()[:3] == ["f"] * 3
    with pytest.raises(ValueError, match="key 'j' has no meaning"):
        load_psychopy(path, answers={"f": "absent"})


def played(conditions, keys):
    """Return header and rows as PsychoPy would write them for a conditions file."""
    table = pd.read_csv(conditions, dtype=str, keep_default_na=False)
    own = ["trials.thisN", "key_resp.keys", "key_resp.rt", "key_resp.corr"]
    cells = [
        [*row, str(i), key, "0.6", str(int(key == answer)), "ann"]
        for i, (row, key, answer) in enumerate(
            zip(table.to_numpy().tolist(), keys, table["corrAns"], strict=True)
        )
    ]
    return [*table, *own, "participant"], cells


def test_what_was_exported_comes_back_with_its_meaning(tmp_path, path):
    made = make_slope_arrays("feature", set_sizes=[3], trials=2)
    conditions = export_psychopy_choices(made, tmp_path / "e", task="search")
    header, cells = played(conditions, ["j", "f", "f", "f"])
    table = load_psychopy(write(path, cells, header), made).table
    truth = ["present" if p else "absent" for p in made.table["target_present"]]
    assert table["truth"].tolist() == truth
    assert table["response"].tolist() == ["present", "absent", "absent", "absent"]
    right = [t == r for t, r in zip(truth, table["response"], strict=True)]
    assert table["correct"].tolist() == right
    assert table["set_size"].tolist() == [3] * 4


def test_a_chosen_picture_is_the_answer_and_without_truth_none_is_wrong(tmp_path, path):
    groups = pd.DataFrame(
        [["s0", "s1", "s2"]], columns=["picture_1", "picture_2", "picture_3"]
    )
    conditions = export_psychopy_choices(
        stimuli(), tmp_path / "e", task="odd-one-out", groups=groups, n_repeats=3
    )
    header, cells = played(conditions, ["1", "2", "3"])
    table = load_psychopy(write(path, cells, header), stimuli()).table
    expected = [table[f"picture_{i + 1}"][i] for i in range(3)]
    assert table["response"].tolist() == expected
    assert table["correct"].isna().all()
    assert table["stimulus_id"].tolist() == ["s0+s1+s2"] * 3


def test_lists_of_one_key_are_read_and_of_several_refused(path):
    cells = rows()
    cells[1][5], cells[1][7] = "['f']", "[0.5125]"
    table = load_psychopy(write(path, cells)).table
    assert (table["response"][0], table["rt_ms"][0]) == ("f", 512.5)
    cells[1][5] = "['f', 'j']"
    with pytest.raises(ValueError, match=r"line 3: 'key_resp\.keys' has several"):
        load_psychopy(write(path, cells))


def test_several_keyboards_or_loops_must_be_chosen(path):
    header = [*HEADER, "ready.keys", "ready.rt", "practice.thisN"]
    cells = [[*row, "space", "1.5", ""] for row in rows()]
    with pytest.raises(ValueError, match=r"\['key_resp', 'ready'\].*`component`"):
        load_psychopy(write(path, cells, header))
    assert len(load_psychopy(path, component="key_resp").table) == 4
    with pytest.raises(ValueError, match=r"key_rep\.keys"):
        load_psychopy(path, component="key_rep")
    for row in cells[1:3]:
        row[4], row[-1] = "", "0"
    write(path, cells, header)
    with pytest.raises(ValueError, match=r"different loops, \['trials', 'practice'\]"):
        load_psychopy(path, component="key_resp")
    table = load_psychopy(path, component="key_resp", loop="trials").table
    assert table["stimulus_id"].tolist() == ["s2", "s3"]


def test_semicolons_with_decimal_commas_are_read_and_mixtures_refused(path):
    expected = load_psychopy(write(path, rows())).table
    cells = [
        [c.replace(".", ",") if i in (7, 13) else c for i, c in enumerate(row)]
        for row in rows()
    ]
    found = load_psychopy(write(path, cells, separator=";", end=";")).table
    assert found.equals(expected)
    cells[1][7] = "0.5125"
    with pytest.raises(ValueError, match="mixes decimal marks"):
        load_psychopy(write(path, cells, separator=";", end=";"))
    cells[1][7] = "0,5125"
    with pytest.raises(ValueError, match="sign of thousands"):
        load_psychopy(write(path, cells))


def test_times_in_milliseconds_must_be_told(path):
    cells = rows()
    for row in cells[1:-1]:
        row[7] = str(1000 * float(row[7]))
    with pytest.raises(ValueError, match="another unit"):
        load_psychopy(write(path, cells))
    assert load_psychopy(path, time_unit="ms").table["rt_ms"][0] == 512.5


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("participant", "", "the participant is missing"),
        ("participant", "=1+1", "'=1\\+1' begins as a formula"),
        ("image_file", "images/=x.png", "'=x' begins as a formula"),
        ("image_file", "images/s9.png", "'s9' is not in the set"),
        ("key_resp.keys", "=cmd()", "the answer begins as a formula"),
        ("key_resp.rt", "fast", "numbers in 'key_resp.rt'; line 3 has 'fast'"),
        ("key_resp.rt", "-0.2", "negative reaction time"),
        ("key_resp.corr", "2", "must be 0 or 1"),
    ],
)
def test_a_changed_cell_is_found(path, column, value, message):
    cells = rows()
    cells[1][HEADER.index(column)] = value
    with pytest.raises(ValueError, match=message):
        load_psychopy(write(path, cells), stimuli())


def test_formulas_in_other_columns_are_made_harmless(path):
    cells = rows()
    for row in cells:
        row[2] = "=HYPERLINK(1)"
    table = load_psychopy(write(path, cells)).table
    assert table["condition"].tolist() == ["'=HYPERLINK(1)"] * 4


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("participant", "known to be the subject"),
        ("image_file", "must tell the picture"),
        ("key_resp.keys", "one keyboard component"),
        ("key_resp.rt", r"key_resp\.rt"),
    ],
)
def test_missing_columns_are_named(path, without, message):
    place = HEADER.index(without)
    cells = [row[:place] + row[place + 1 :] for row in rows()]
    header = [name for name in HEADER if name != without]
    with pytest.raises(ValueError, match=message):
        load_psychopy(write(path, cells, header))


def test_cut_empty_and_foreign_files_are_refused(path):
    data = write(path, rows()).read_bytes()
    path.write_bytes(data[:-40])
    with pytest.raises(ValueError, match="was cut"):
        load_psychopy(path)
    write(path, [])
    with pytest.raises(ValueError, match="header but no row"):
        load_psychopy(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        load_psychopy(path)
    write(path, rows()[:1])
    with pytest.raises(ValueError, match="no row with a picture"):
        load_psychopy(path)
    path.write_bytes("participant,image\nä,b\n".encode("latin-1"))
    with pytest.raises(ValueError, match="is not utf-8 text"):
        load_psychopy(path)


def test_a_participant_of_two_files_is_refused_and_several_are_joined(tmp_path):
    first = write(tmp_path / "a.csv", rows())
    second = write(tmp_path / "b.csv", rows())
    with pytest.raises(ValueError, match="'p01' is in"):
        load_psychopy([first, second])
    cells = [[*row[:8], "p02", *row[9:]] for row in rows()]
    table = load_psychopy([first, write(second, cells)]).table
    assert table.groupby("subject")["trial"].apply(list).to_dict() == {
        "p01": [0, 1, 2, 3],
        "p02": [0, 1, 2, 3],
    }
    named = load_psychopy([first, second], columns={"subject": None}).table
    assert named["subject"].unique().tolist() == ["a", "b"]
