"""Exports are read back with the rules of the programs they are for."""

import ast
import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest

from neurovis.core.pictures import read_image
from neurovis.core.types import StimulusSet, Viewing
from stimuli.export import export_bids, export_psychopy
from stimuli.search_arrays import make_search_arrays


@pytest.fixture(scope="module")
def made():
    return make_search_arrays(["cross", "left_right"], set_sizes=[3], trials=3)


def small_set(**columns):
    table = pd.DataFrame({"stimulus_id": ["one", "two"]} | columns)
    images = [np.full((2, 2, 3), level, np.uint8) for level in (0, 9)]
    return StimulusSet("small", table, Viewing(30, 2, 2), images)


def read_as_psychopy(path):
    """Rows as `psychopy.data.importConditions` gives them: pandas, lists, None."""
    table = pd.read_csv(path, encoding="utf-8-sig")
    for name in table.columns:
        assert name[0].isalpha()
        assert not re.search(r"\W", name)
    rows = []
    for record in table.astype(object).to_dict("records"):
        for name, value in record.items():
            if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
                record[name] = ast.literal_eval(value)
            elif value != value:
                record[name] = None
        rows.append(record)
    return rows


# ----------------------------------------------------------------------- PsychoPy


def test_psychopy_conditions_have_one_row_per_trial(made, tmp_path):
    path = export_psychopy(made, tmp_path / "psychopy")
    assert path == tmp_path / "psychopy" / "conditions.csv"
    rows = read_as_psychopy(path)
    assert len(rows) == len(made)
    for i, row in enumerate(rows):
        expected = made.table.iloc[i]
        assert np.array_equal(read_image(path.parent / row["image_file"]), made.load(i))
        assert np.array_equal(
            read_image(path.parent / row["target_file"]), made.targets[i]
        )
        assert row["corrAns"] == "space"
        assert row["trial_number"] == expected["trial"]
        assert row["target_x_deg"] == pytest.approx(expected["target_x_deg"])
        assert row["eccentricity_deg"] is None
        assert row["jpeg"] is False or row["jpeg"] == np.False_


def test_psychopy_columns_hold_no_lists_to_run(made, tmp_path):
    rows = read_as_psychopy(export_psychopy(made, tmp_path / "psychopy"))
    assert "items" not in rows[0]
    assert not any(isinstance(v, list) for row in rows for v in row.values())


def test_psychopy_answers_can_differ_between_trials(made, tmp_path):
    keys = ["left" if x < 0 else "right" for x in made.table["target_x_deg"]]
    rows = read_as_psychopy(export_psychopy(made, tmp_path / "p", corr_ans=keys))
    assert [row["corrAns"] for row in rows] == keys
    with pytest.raises(ValueError, match="has 2 keys but there are 6 trials"):
        export_psychopy(made, tmp_path / "q", corr_ans=["left", "right"])


def test_psychopy_names_are_variables_and_unique(tmp_path):
    stimuli = small_set(**{"set size": [1, 2], "2afc": [3, 4]})
    rows = read_as_psychopy(export_psychopy(stimuli, tmp_path / "p"))
    assert (rows[1]["set_size"], rows[1]["x_2afc"]) == (2, 4)
    assert "target_file" not in rows[0]
    clash = small_set(**{"set size": [1, 2], "set_size": [3, 4]})
    with pytest.raises(ValueError, match="'set_size' twice"):
        export_psychopy(clash, tmp_path / "q")
    assert not (tmp_path / "q").exists()


def test_text_never_becomes_a_formula_and_numbers_stay(tmp_path):
    stimuli = small_set(
        note=["=HYPERLINK(1)", "@home"],
        sign=["-20", "+4.5"],
        dash=["-", "a-b"],
        x_deg=[-1.25, 3.0],
    )
    path = export_psychopy(stimuli, tmp_path / "p")
    cells = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [c["note"] for c in cells] == ["'=HYPERLINK(1)", "'@home"]
    assert [c["sign"] for c in cells] == ["-20", "+4.5"]
    assert [c["dash"] for c in cells] == ["'-", "a-b"]
    assert [c["x_deg"] for c in cells] == ["-1.25", "3.0"]
    tsv = export_bids(stimuli, tmp_path / "b").read_text().splitlines()
    assert tsv[1].split("\t")[4:] == ["'=HYPERLINK(1)", "-20", "'-", "-1.25"]


# --------------------------------------------------------------------------- BIDS


def read_tsv(path):
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[1:]]


def test_bids_rows_name_the_files(made, tmp_path):
    path = export_bids(made, tmp_path / "stimuli")
    rows = read_tsv(path)
    assert path.read_text().startswith("stimulus_id\ttype\tpresent\t")
    displays, targets = rows[: len(made)], rows[len(made) :]
    files = {p.name for p in path.parent.iterdir()}
    assert files == {f"{row['stimulus_id']}_image.png" for row in rows} | {
        "stimuli.tsv",
        "stimuli.json",
    }
    for row in rows:
        assert re.fullmatch("stim-[A-Za-z0-9]+", row["stimulus_id"])
        assert (row["type"], row["present"]) == ("image", "true")
    for i, row in enumerate(displays):
        picture = read_image(path.parent / f"{row['stimulus_id']}_image.png")
        assert np.array_equal(picture, made.load(i))
        target = read_image(path.parent / f"{row['target_stimulus_id']}_image.png")
        assert np.array_equal(target, made.targets[i])
        assert row["original_id"] == made.table["stimulus_id"][i]
        assert row["eccentricity_deg"] == "n/a"
        assert row["jpeg"] == "false"
        assert json.loads(row["items"]) == json.loads(made.table["items"][i])
        assert float(row["target_y_deg"]) == made.table["target_y_deg"][i]
    assert {row["stimulus_id"] for row in targets} == {
        row["target_stimulus_id"] for row in displays
    }
    assert all(row["condition"] == "n/a" for row in targets)


def test_bids_sidecar_describes_every_column(made, tmp_path):
    path = export_bids(made, tmp_path / "stimuli", descriptions={"label": "Ours"})
    about = json.loads((path.parent / "stimuli.json").read_text())
    assert list(about) == path.read_text().splitlines()[0].split("\t")
    for name, column in about.items():
        assert len(column["Description"]) > 10 or name == "label"
        assert not column["Description"].startswith("Factor of the design")
    assert about["label"]["Description"] == "Ours"
    assert about["target_x_deg"]["Units"] == "deg"
    assert about["width_px"]["Units"] == "px"
    assert about["px_per_deg"]["Units"] == "px/deg"
    assert "Units" not in about["condition"]


def test_bids_cells_have_no_tabs_or_line_ends(tmp_path):
    stimuli = small_set(note=["two\tcells", "two\r\nlines"], missing=["x", np.nan])
    path = export_bids(stimuli, tmp_path / "stimuli")
    rows = read_tsv(path)
    assert [row["note"] for row in rows] == ["two cells", "two lines"]
    assert [row["missing"] for row in rows] == ["x", "n/a"]
    about = json.loads((path.parent / "stimuli.json").read_text())
    assert about["note"] == {"Description": "Factor of the design: note"}


def test_bids_labels_must_stay_distinct(tmp_path):
    table = pd.DataFrame({"stimulus_id": ["a_1", "a1"]})
    images = [np.zeros((1, 1, 3), np.uint8)] * 2
    stimuli = StimulusSet("clash", table, Viewing(30, 1, 1), images)
    with pytest.raises(ValueError, match="'a1' would stand for 2 values"):
        export_bids(stimuli, tmp_path / "stimuli")
    assert not (tmp_path / "stimuli").exists()


# --------------------------------------------------------------------------- both


@pytest.mark.parametrize("export", [export_psychopy, export_bids])
def test_exports_replace_nothing(made, tmp_path, export):
    (tmp_path / "stimuli").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        export(made, tmp_path / "stimuli")


@pytest.mark.parametrize("export", [export_psychopy, export_bids])
def test_an_export_that_fails_leaves_nothing(tmp_path, export):
    class Failing(list):
        def __getitem__(self, index):
            if index == 1:
                raise OSError("disk full")
            return super().__getitem__(index)

    whole = small_set()
    images = Failing(whole.images)
    stimuli = StimulusSet("failing", whole.table, whole.viewing, images)
    with pytest.raises(OSError, match="disk full"):
        export(stimuli, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("export", [export_psychopy, export_bids])
def test_equal_sets_give_equal_exports(made, tmp_path, export):
    export(made, tmp_path / "a")
    export(
        make_search_arrays(["cross", "left_right"], set_sizes=[3], trials=3),
        tmp_path / "b",
    )
    first, second = (
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*.*")}
        for f in (tmp_path / "a", tmp_path / "b")
    )
    assert first == second
