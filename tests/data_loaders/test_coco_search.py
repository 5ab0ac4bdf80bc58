"""COCO-Search18, target present and absent, and COCO-FreeView."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from data_loaders.coco_search import load_coco_search
from data_loaders.gaze import TARGET_COLUMNS
from neurovis.core.errors import DataCorruptError

PRESENT = "coco_search18_fixations_TP_validation_split1.json"
ABSENT = "coco_search18_fixations_TA_trainval.json"
FREE = "COCOFreeView_fixations_trainval.json"


def _path(subject, name, x, y, **more):
    n = len(x)
    entry = {"name": name, "subject": subject, "X": x, "Y": y, "T": [200] * n}
    return {**entry, "length": n, "split": "train", **more}


def _present():
    box = {"task": "cup", "condition": "present", "bbox": [100, 200, 50, 60]}
    tv = {"task": "tv", "condition": "present", "bbox": [800, 500, 100, 60]}
    start, up = 840.0, 525.0
    return [
        _path(
            1,
            "1.jpg",
            [start, 120.0, 150.0],
            [up, 9.0, 260.0],
            correct=1,
            RT=700,
            **box,
        ),
        _path(2, "1.jpg", [start, 120.0], [up, 210.0], correct=0, RT=650, **box),
        _path(1, "2.jpg", [start], [up], correct=1, RT=400, **tv),
        _path(2, "2.jpg", [], [], correct=1, RT=300, **tv),
    ]


def _absent():
    more = {"task": "cup", "condition": "absent"}
    return [
        _path(1, "3.jpg", [840.5, 1700.0], [524.0, 10.0], correct=1, **more),
        _path(2, "3.jpg", [839.0, None], [524.0, 10.0], correct=0, **more),
    ]


def _free():
    return [
        _path(
            1, "1.jpg", [256.0, 10.0], [160.0, 5.0], condition="freeview", task="none"
        ),
        _path(2, "1.jpg", [256.0], [160.0], condition="freeview"),
        _path(1, "2.jpg", [256.0], [160.0]),
    ]


def _write(folder, name, entries):
    data = json.dumps(entries).encode()
    if name.endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    (folder / name).write_bytes(data)
    return data


def test_target_present_gives_the_common_form(tmp_path):
    _write(tmp_path, PRESENT, _present())
    data = load_coco_search(tmp_path, px_per_deg=31)
    assert data.name == "coco-search18"
    assert data.stimuli["stimulus_id"].tolist() == ["cup/1.jpg", "tv/2.jpg"]
    box = data.stimuli[list(TARGET_COLUMNS)].to_numpy().tolist()
    assert box == [[100, 200, 150, 260], [800, 500, 900, 560]]
    trials = data.trials
    assert trials["subject"].tolist() == ["1", "1", "2", "2"]
    assert trials["n_fixations"].tolist() == [3, 1, 2, 0]
    assert trials["response"].tolist() == ["present", "present", "absent", "present"]
    assert trials["correct"].tolist() == [True, True, False, True]
    assert trials["rt_ms"].tolist() == [700, 400, 650, 300]
    assert trials["task"].tolist() == ["cup", "tv", "cup", "tv"]
    assert "1 of 4 trials have no fixation." in data.notes


def test_both_rules_of_a_hit_are_given(tmp_path):
    _write(tmp_path, PRESENT, _present())
    data = load_coco_search(tmp_path)
    # The third point of the first trial lies on a corner of the box.
    assert data.trials["first_in_target_box"].tolist() == [2, 0, 1, pd.NA]
    assert data.trials["steps_to_target"].tolist() == [pd.NA, 1, 2, pd.NA]
    assert data.trials["found"].tolist() == [True, True, True, False]
    hits = data.fixations[["in_target_box", "inside_target_box"]].to_numpy()
    assert hits.astype(int).tolist() == [[0, 0], [0, 0], [1, 0], [1, 1], [0, 0], [1, 1]]


def test_target_absent_has_no_box(tmp_path):
    _write(tmp_path, ABSENT, _absent())
    data = load_coco_search(tmp_path)
    assert data.stimuli[list(TARGET_COLUMNS)].isna().all(axis=None)
    assert data.trials["response"].tolist() == ["absent", "present"]
    assert data.trials["rt_ms"].isna().all()
    assert data.trials["found"].isna().all()
    assert data.trials["first_in_target_box"].isna().all()
    assert data.fixations["on_screen"].tolist() == [True, False, True, False]
    assert "1 of 4 fixations have no position (NaN)." in data.notes


def test_present_and_absent_go_together(tmp_path):
    _write(tmp_path, PRESENT + ".gz", _present())
    _write(tmp_path, ABSENT, _absent())
    (tmp_path / "reference_values.json").write_text("{}")
    data = load_coco_search(tmp_path)
    assert data.trials["condition"].value_counts().to_dict() == {
        "present": 4,
        "absent": 2,
    }
    only = load_coco_search(tmp_path, files=[ABSENT])
    assert len(only.trials) == 2
    assert_frame_equal(only.trials, load_coco_search(tmp_path, files=ABSENT).trials)


def test_free_viewing_is_keyed_by_the_picture(tmp_path):
    _write(tmp_path, FREE, _free())
    data = load_coco_search(tmp_path, screen_px=(512, 320))
    assert data.name == "coco-freeview"
    assert data.stimuli["stimulus_id"].tolist() == ["1.jpg", "2.jpg"]
    assert data.stimuli[["width_px", "height_px"]].iloc[0].tolist() == [512, 320]
    assert data.stimuli["task"].isna().all()
    assert data.trials["response"].isna().all()
    assert data.trials["correct"].isna().all()
    assert data.trials["condition"].tolist() == ["freeview"] * 3


def test_the_wrong_screen_is_noticed(tmp_path):
    _write(tmp_path, FREE, _free())
    with pytest.raises(ValueError, match=r"Pass `screen_px=\(512, 320\)`"):
        load_coco_search(tmp_path)
    (tmp_path / FREE).unlink()
    _write(tmp_path, PRESENT, _present())
    with pytest.raises(ValueError, match=r"Pass `screen_px=\(1680, 1050\)`"):
        load_coco_search(tmp_path, screen_px=(512, 320))
    with pytest.raises(ValueError, match="`screen_px` must be one of"):
        load_coco_search(tmp_path, screen_px=(1920, 1080))


def test_lists_that_do_not_belong_together_are_refused(tmp_path):
    _write(tmp_path, PRESENT, _present())
    _write(tmp_path, FREE, _free())
    with pytest.raises(ValueError, match="search or of free viewing; these are both"):
        load_coco_search(tmp_path)
    _write(tmp_path, FREE, _present()[1:3])
    with pytest.raises(ValueError, match=r"subject 2 on 'cup/1\.jpg' and 1 others"):
        load_coco_search(tmp_path)


def test_a_scanpath_twice_in_one_list_is_refused(tmp_path):
    _write(tmp_path, PRESENT, _present() * 2)
    with pytest.raises(ValueError, match="each scanpath once"):
        load_coco_search(tmp_path)


def test_one_observer_is_enough(tmp_path):
    _write(tmp_path, PRESENT, _present()[:1])
    assert load_coco_search(tmp_path).trials["subject"].tolist() == ["1"]


def _changed(**changes):
    return [_present()[0], {**_present()[1], **changes}]


def _without(key):
    return [_present()[0], {k: v for k, v in _present()[1].items() if k != key}]


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({}, "must hold a list of scanpaths"),
        ([], "must hold a list of scanpaths"),
        ([1], "scanpath 0 of 1 cannot be .*not an object"),
        (_without("X"), "scanpath 1 of 2 cannot be .*KeyError: 'X'"),
        (_without("name"), "KeyError: 'name'"),
        (_without("subject"), "KeyError: 'subject'"),
        (_without("condition"), "task 'cup' with condition None"),
        (_without("task"), "task None with condition 'present'"),
        (_changed(condition="freeview"), "task 'cup' with condition 'freeview'"),
        (_changed(X=[1.0]), "X, Y, T have 1, 2, 2 of 2"),
        (_changed(T=[1]), "X, Y, T have 2, 2, 1 of 2"),
        (_changed(length=3), "X, Y, T have 2, 2, 2 of 3"),
        (_changed(X="840"), "X is not a list of numbers"),
        (_changed(X=["840", "1"]), "X is not a list of numbers"),
        (_changed(bbox=[1, 2, 3]), "is not x, y, width and height"),
        (_changed(bbox=[1, 2, 0, 4]), "is not x, y, width and height"),
        (_changed(correct="yes"), "correct 'yes' is not 0 or 1"),
        (_changed(subject=1.5), "subject 1.5"),
        (_changed(RT="fast"), "RT 'fast' is not a number"),
        (_changed(RT=-5), "negative time"),
        (_changed(T=[1, -5]), "negative duration"),
        (_changed(X=[840.0, float("inf")]), "infinite number"),
        (_changed(bbox=[1, 2, 3, 4]), "several boxes or conditions"),
        (_changed(condition="absent"), "several boxes or conditions"),
    ],
)
def test_impossible_content_is_corrupt(tmp_path, entries, match):
    _write(tmp_path, PRESENT, entries)
    with pytest.raises(DataCorruptError, match=match):
        load_coco_search(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", [PRESENT, PRESENT + ".gz"])
def test_a_truncated_file_is_corrupt(tmp_path, name, share):
    data = _write(tmp_path, name, _present())
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match="not a readable JSON"):
        load_coco_search(tmp_path)


def test_another_encoding_is_corrupt(tmp_path):
    (tmp_path / PRESENT).write_bytes(json.dumps(_present()).encode("utf-16"))
    with pytest.raises(DataCorruptError, match="UnicodeDecodeError"):
        load_coco_search(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="`fixations` in its name"):
        load_coco_search(tmp_path)
    with pytest.raises(FileNotFoundError, match="TA_trainval"):
        load_coco_search(tmp_path, files=[ABSENT])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_the_order_of_the_list_does_not_matter(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("coco")
    entries = _present() + _absent()
    _write(folder, PRESENT, entries)
    one = load_coco_search(folder)
    order = np.random.default_rng(seed).permutation(len(entries))
    _write(folder, PRESENT, [entries[i] for i in order])
    other = load_coco_search(folder)
    assert_frame_equal(one.trials, other.trials)
    assert_frame_equal(one.fixations, other.fixations)
    assert_frame_equal(one.stimuli, other.stimuli)


# ------------------------------------------------------------ the real file


@pytest.fixture(scope="module")
def coco(data_folder):
    return load_coco_search(data_folder / "cocosearch18_val")


def test_reference_values_are_reproduced(coco, data_folder):
    path = data_folder / "cocosearch18_val" / "reference_values.json"
    reference = json.loads(path.read_text())
    trials = coco.trials
    assert len(trials) == reference["n_trials"] == 3258
    assert trials["name"].nunique() == reference["n_images"] == 315
    assert trials["correct"].sum() == reference["n_correct"] == 3028
    assert round(trials["n_fixations"].mean(), 4) == reference["mean_length"]
    assert round(trials["rt_ms"].mean(), 2) == reference["mean_rt_ms"]
    points = coco.fixations.groupby(["subject", "trial"])[["x_px", "y_px"]]
    saccades = np.hypot(*points.diff().to_numpy().T)
    assert round(float(np.nanmean(saccades)), 3) == reference["mean_saccade_px"]
    first = trials["first_in_target_box"].astype(float).fillna(np.inf)
    share = reference["prob_target_fixated_by_fixation_index_0_to_6"]
    for name, part in (("all", first), ("correct", first[trials["correct"]])):
        got = [round(float((part <= i).mean()), 4) for i in range(7)]
        assert got == share[name]


def test_boxes_are_those_of_the_table(coco, data_folder):
    table = pd.read_csv(data_folder / "cocosearch18_val" / "targets.csv")
    table = table.assign(stimulus_id=table["task"] + "/" + table["name"])
    table = table.sort_values("stimulus_id")
    got = coco.stimuli
    assert got["stimulus_id"].tolist() == table["stimulus_id"].tolist()
    assert got["target_left_px"].tolist() == table["bbox_x"].tolist()
    width = got["target_right_px"] - got["target_left_px"]
    assert width.tolist() == table["bbox_w"].tolist()
    height = got["target_bottom_px"] - got["target_top_px"]
    assert height.tolist() == table["bbox_h"].tolist()


def test_integrity_numbers_are_those_of_the_source(coco):
    assert coco.trials["subject"].nunique() == 10
    assert coco.stimuli["task"].nunique() == 18
    assert len(coco.fixations) == 12_111
    assert (~coco.fixations["on_screen"]).sum() == 5
    on_edge = coco.fixations["in_target_box"] & ~coco.fixations["inside_target_box"]
    assert on_edge.sum() == 1
    # It makes the one trial on which the two rules differ.
    counts = coco.trials[["first_in_target_box", "steps_to_target"]].count()
    assert counts.tolist() == [2896, 2895]
    both = coco.trials.dropna(subset="steps_to_target")
    assert (both["first_in_target_box"] + 1 == both["steps_to_target"]).all()
