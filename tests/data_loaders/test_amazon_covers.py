"""Search for book covers: everything follows from the published JSON."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from data_loaders.amazon_covers import (
    LONGEST_SCANPATH,
    lattice_cells,
    lattice_centres,
    load_amazon_covers,
)
from data_loaders.gaze import TARGET_COLUMNS
from neurovis.core.errors import DataCorruptError

FILE = "Amazon.json"


def _collages(n=4):
    """Collages in the published form; the target of all is in row 0, column 1."""
    return {
        f"{i + 1}.jpg": {
            "fixations": {
                "1": [[100, 100], [290, 140], [2500, 1500]],
                "2": [[290, 1590 + i], [360, 262]],
            },
            "ground_truth": [{"xmin": 210, "ymin": 20, "xmax": 360, "ymax": 262}],
            "size": {"width": 2560, "height": 1600},
            "target": f"target_{i % 2}.jpg",
        }
        for i in range(n)
    }


def _write(folder, collages):
    data = json.dumps(collages, indent=4).encode()
    (folder / FILE).write_bytes(data)
    return data


def test_a_small_file_gives_the_common_form(tmp_path):
    _write(tmp_path, _collages())
    data = load_amazon_covers(tmp_path)
    assert data.name == "amazon-covers"
    assert len(data.trials) == 8
    one = data.trials.query("subject == '1' and stimulus_id == '3.jpg'").iloc[0]
    assert one[["trial", "collage", "target_id", "target_cell"]].tolist() == [
        2,
        3,
        0,
        1,
    ]
    assert (one["first_on_target_cell"], one["last_on_target_cell"]) == (1, False)
    assert one["found"]
    path = data.fixations.query("subject == '1' and trial == 2")
    assert path["cell"].tolist() == [0, 1, 83]
    assert path[["row", "col"]].to_numpy().tolist() == [[0, 0], [0, 1], [5, 13]]
    assert path["in_target_box"].tolist() == [False, True, False]
    # The lower right corner of the box belongs to it.
    other = data.fixations.query("subject == '2' and trial == 2 and fixation == 1")
    assert other[["in_target_box", "on_target_cell"]].to_numpy().tolist() == [
        [True, True]
    ]
    assert data.trials["rt_ms"].isna().all()
    assert data.fixations["duration_ms"].isna().all()
    assert data.stimuli["fold_target"].tolist() == [0, 1, 0, 1]


def test_positions_off_the_collage_and_unknown_ones_stay(tmp_path):
    collages = _collages(1)
    collages["1.jpg"]["fixations"]["1"] = [[-5, 10], [None, 10], [290.5, 140]]
    _write(tmp_path, collages)
    data = load_amazon_covers(tmp_path)
    path = data.fixations.query("subject == '1'")
    assert path["on_screen"].tolist() == [False, False, True]
    assert path["cell"].tolist() == [0, -1, 1]
    assert path[["row", "col"]].iloc[1].tolist() == [-1, -1]
    assert "1 of 5 fixations have no position (NaN)." in data.notes


def test_a_scanpath_of_no_fixation_and_one_observer_only(tmp_path):
    collages = _collages(2)
    for collage in collages.values():
        collage["fixations"] = {"1": []}
    collages["2.jpg"]["fixations"]["1"] = [[100, 100]]
    _write(tmp_path, collages)
    trials = load_amazon_covers(tmp_path).trials
    assert trials["n_fixations"].tolist() == [0, 1]
    assert trials["last_on_target_cell"].tolist() == [pd.NA, False]
    assert trials["first_on_target_cell"].isna().all()
    assert trials["found"].tolist() == [False, False]
    collages["2.jpg"]["fixations"]["1"] = []
    _write(tmp_path, collages)
    assert load_amazon_covers(tmp_path).trials["n_fixations"].tolist() == [0, 0]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_the_order_of_the_file_does_not_matter(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("covers")
    collages = _collages(12)
    _write(folder, collages)
    one = load_amazon_covers(folder)
    mixed = {name: collages[name] for name in rng.permutation(list(collages)).tolist()}
    for name, collage in mixed.items():
        people = rng.permutation(list(collage["fixations"])).tolist()
        fixations = {s: collage["fixations"][s] for s in people}
        mixed[name] = {"target": collage["target"], **collage, "fixations": fixations}
    _write(folder, mixed)
    other = load_amazon_covers(folder)
    assert_frame_equal(one.stimuli, other.stimuli)
    assert_frame_equal(one.trials, other.trials)
    assert_frame_equal(one.fixations, other.fixations)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_corrupt(tmp_path, share):
    data = _write(tmp_path, _collages())
    (tmp_path / FILE).write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match="not a readable JSON"):
        load_amazon_covers(tmp_path)


def _changed(**changes):
    collages = _collages()
    collages["3.jpg"].update(changes)
    return collages


@pytest.mark.parametrize(
    ("collages", "match"),
    [
        ([1, 2], "one key per collage"),
        ({}, "one key per collage"),
        ({"cover.jpg": _collages()["1.jpg"]}, "collage 'cover.jpg' has not"),
        ({"1.jpg": 5}, "collage '1.jpg' has not"),
        (_changed(target="cover"), "collage '3.jpg' has not"),
        (_changed(ground_truth=[]), "collage '3.jpg' has not"),
        (_changed(ground_truth=[{"xmin": 1}]), "collage '3.jpg' has not"),
        (_changed(size={"width": 0, "height": 1600}), "collage '3.jpg' has not"),
        (_changed(size={"width": "2560", "height": 1600}), "collage '3.jpg' has not"),
        (_changed(fixations=[]), "collage '3.jpg' has not"),
        (_changed(fixations={"1": [[1, 2, 3]]}), "observer '1' of collage '3.jpg'"),
        (_changed(fixations={"1": [["1", "2"]]}), "observer '1' of collage '3.jpg'"),
        (_changed(fixations={"1": 7}), "observer '1' of collage '3.jpg'"),
        (_changed(fixations={"1": [[1, float("inf")]]}), "infinite number"),
        ({**_collages(1), "01.jpg": _collages()["1.jpg"]}, "repeats a trial"),
    ],
)
def test_impossible_content_is_corrupt(tmp_path, collages, match):
    _write(tmp_path, collages)
    with pytest.raises(DataCorruptError, match=match):
        load_amazon_covers(tmp_path)


def test_another_encoding_is_corrupt(tmp_path):
    (tmp_path / FILE).write_bytes(json.dumps(_collages()).encode("utf-16"))
    with pytest.raises(DataCorruptError, match="UnicodeDecodeError"):
        load_amazon_covers(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Amazon\.json"):
        load_amazon_covers(tmp_path)
    with pytest.raises(FileNotFoundError, match="`folder`"):
        load_amazon_covers(tmp_path / "nowhere")


def test_folds_are_those_of_the_table_beside(tmp_path):
    _write(tmp_path, _collages())
    table = pd.DataFrame({"collage": [4, 3, 2, 1], "fold10": [9, 0, 1, 2]})
    twice = pd.concat([table, table]).assign(subject=1)
    twice.to_csv(tmp_path / "trials.csv", index=False)
    data = load_amazon_covers(tmp_path)
    assert data.stimuli["fold10"].tolist() == [2, 1, 0, 9]
    assert data.trials["fold10"].tolist() == [2, 1, 0, 9] * 2
    assert "fold10 is that of trials.csv." in data.notes
    (table.assign(fold10=5)).to_csv(tmp_path / "collages.csv", index=False)
    assert load_amazon_covers(tmp_path).stimuli["fold10"].tolist() == [5] * 4


@pytest.mark.parametrize(
    ("folds", "match"),
    [
        ({"collage": [1, 2], "fold10": [1, 2]}, "leaves out 2 collages"),
        ({"collage": [1, 2, 3, 4], "fold10": [0, 1, 2, 10]}, "other numbers to 1"),
        ({"collage": [1, 1, 2, 3, 4], "fold10": [0, 1, 1, 1, 1]}, "several folds to 1"),
        ({"collage": [1, 2, 3, 4]}, r"lacks \['fold10'\]"),
    ],
)
def test_folds_that_do_not_fit_are_corrupt(tmp_path, folds, match):
    _write(tmp_path, _collages())
    pd.DataFrame(folds).to_csv(tmp_path / "collages.csv", index=False)
    with pytest.raises(DataCorruptError, match=match):
        load_amazon_covers(tmp_path)


def test_folds_dealt_here_are_even_and_frozen(tmp_path):
    _write(tmp_path, _collages(40))
    data = load_amazon_covers(tmp_path)
    counts = pd.crosstab(data.stimuli["fold10"], data.stimuli["target_id"])
    assert counts.to_numpy().tolist() == [[2, 2]] * 10
    assert any("dealt here" in note for note in data.notes)
    folds = data.stimuli.set_index("collage")["fold10"]
    assert folds.loc[[1, 2, 3, 4, 5, 6]].tolist() == [3, 5, 5, 6, 1, 8]


def test_every_centre_lies_in_its_own_cell():
    for width, height in ((2560, 1584), (2541, 1600)):
        centres = lattice_centres(width, height)
        cells = lattice_cells(centres[:, 0], centres[:, 1], width, height)
        assert cells.tolist() == list(range(84))


@given(st.floats(-50, 2600), st.floats(-50, 1650))
@settings(max_examples=50)
def test_a_cell_is_the_nearest_centre(x, y):
    centres = lattice_centres(2560, 1600)
    away = np.abs(centres - [x, y])
    # The cells are rectangles: nearest in each direction on its own.
    cell = int(lattice_cells(x, y, 2560, 1600))
    assert away[cell, 0] <= away[:, 0].min() + 1e-9
    assert away[cell, 1] <= away[:, 1].min() + 1e-9


# ------------------------------------------------------------ the real file


@pytest.fixture(scope="module")
def covers(data_folder):
    return load_amazon_covers(data_folder / "amazon_covers")


def test_cells_and_hits_are_those_of_the_reference_table(covers, data_folder):
    reference = pd.read_csv(data_folder / "amazon_covers" / "fixations.csv")
    reference = reference.sort_values(["collage", "subject", "index"])
    got = covers.fixations.assign(
        collage=covers.fixations["trial"] + 1,
        subject=covers.fixations["subject"].astype(int),
        index=covers.fixations["fixation"],
        x=covers.fixations["x_px"],
        y=covers.fixations["y_px"],
    ).sort_values(["collage", "subject", "index"])
    columns = ["collage", "subject", "index", "x", "y", "row", "col", "cell"]
    columns += ["in_target_box", "on_target_cell"]
    assert len(got) == len(reference) == 8683
    for column in columns:
        assert np.array_equal(got[column].to_numpy(), reference[column].to_numpy())


def test_trials_are_those_of_the_reference_table(covers, data_folder):
    reference = pd.read_csv(data_folder / "amazon_covers" / "trials.csv")
    got = covers.trials.assign(
        subject=covers.trials["subject"].astype(int), n_fix=covers.trials["n_fixations"]
    ).sort_values(["collage", "subject"])
    assert len(got) == len(reference) == 600
    for column in reference.columns:
        values = got[column]
        if column.startswith("first"):
            values = values.fillna(-1)
        assert values.astype(int).tolist() == reference[column].tolist()
    known = got["last_on_target_cell"].mean(), got["last_in_target_box"].mean()
    assert [round(float(v), 3) for v in known] == [0.868, 0.827]
    ever = got["found"].mean(), got["first_in_target_box"].notna().mean()
    assert [round(float(v), 3) for v in ever] == [0.962, 0.938]


def test_collages_are_those_of_the_reference_table(covers, data_folder):
    reference = pd.read_csv(data_folder / "amazon_covers" / "collages.csv")
    names = {"width": "width_px", "height": "height_px", "image": "stimulus_id"}
    edges = ("target_xmin", "target_ymin", "target_xmax", "target_ymax")
    names |= dict(zip(edges, TARGET_COLUMNS, strict=True))
    reference = reference.rename(columns=names)
    got = covers.stimuli.sort_values("collage", ignore_index=True)
    assert len(got) == 100
    for column in reference.columns:
        assert got[column].tolist() == reference[column].tolist()


def test_integrity_numbers_are_those_of_the_source(covers):
    n = covers.trials["n_fixations"]
    assert (n.min(), n.max(), n.median()) == (2, 91, 10)
    assert round(n.mean(), 2) == 14.47
    assert round(n.std(ddof=0), 2) == 13.53
    assert (n <= LONGEST_SCANPATH).sum() == 585
    means = covers.trials.groupby("subject")["n_fixations"].mean().round(1)
    assert means.tolist() == [14.6, 17.8, 15.2, 14.4, 15.1, 9.7]
    assert covers.fixations["on_screen"].all()
    first = covers.fixations.query("fixation == 0").merge(
        covers.stimuli, on="stimulus_id"
    )
    share = first["x_px"] / first["width_px"], first["y_px"] / first["height_px"]
    assert [round(s.mean(), 3) for s in share] == [0.445, 0.389]
    assert [round(s.std(ddof=0), 3) for s in share] == [0.146, 0.14]


def test_without_the_tables_only_the_folds_change(covers, data_folder, tmp_path):
    shutil.copy(data_folder / "amazon_covers" / FILE, tmp_path)
    alone = load_amazon_covers(tmp_path)
    assert_frame_equal(alone.fixations, covers.fixations)
    assert_frame_equal(
        alone.trials.drop(columns="fold10"), covers.trials.drop(columns="fold10")
    )
    counts = pd.crosstab(alone.stimuli["fold10"], alone.stimuli["target_id"])
    assert counts.to_numpy().tolist() == [[2] * 5] * 10
