"""Trials of people and networks, and the small table of Physion."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from data_loaders.model_vs_human import (
    CATEGORY_NAMES,
    DECISION_COLUMNS,
    EXPERIMENTS,
    canonical_condition,
    check_model_vs_human,
    image_id_of,
    load_decisions_csv,
    load_model_vs_human,
    texture_of,
)
from data_loaders.physion_human import (
    SCENARIOS,
    check_physion_human,
    load_physion_human,
)
from neurovis.core.errors import DataCorruptError

HEADER = "subj,session,trial,rt,object_response,category,condition,imagename"
ROWS = [
    "subject-01,1,1,0.75,cat,cat,3,0001_hp_s01_3_cat_10_n02123045_1.png",
    "subject-01,1,2,NaN,na,dog,inf,0002_hp_s01_inf_dog_10_n02085620_2.png",
    "subject-02,1,1,0.5,dog,cat,3,0001_hp_s02_3_cat_10_n02123045_1.png",
]
NETWORK = "mynet,1,1,NaN,cat,cat,3,0001_hp_dnn_3_cat_10_n02123045_1.png"


def text(rows, header=HEADER):
    return "\n".join([header, *rows]) + "\n"


def write(path, rows, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text(rows, header).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def high_pass(folder):
    return load_model_vs_human(folder, "high-pass").table


def test_a_small_file_gives_the_common_form(tmp_path):
    write(tmp_path / "human" / "high-pass.csv.gz", ROWS)
    table = high_pass(tmp_path)
    assert tuple(table.columns) == DECISION_COLUMNS
    assert table["condition"].tolist() == ["3.0", "inf", "3.0"]
    assert table["excluded"].tolist() == [False, True, False]
    assert table["response"].tolist() == ["cat", "na", "dog"]
    assert table["correct"].tolist() == [True, False, False]
    assert table["rt_ms"].tolist()[::2] == [750, 500]
    assert np.isnan(table["rt_ms"][1])
    assert table["image_id"].tolist() == [
        "n02123045_1.png",
        "n02085620_2.png",
        "n02123045_1.png",
    ]
    assert table["stimulus_id"][0] == "high-pass/3.0/n02123045_1.png"
    assert table["is_human"].all()
    assert table["correct"].dtype.kind == "b"


def test_the_published_layout_gives_the_same(tmp_path):
    write(tmp_path / "packed" / "human" / "high-pass.csv.gz", ROWS)
    write(tmp_path / "packed" / "cnn" / "high-pass.csv.gz", [NETWORK])
    raw = tmp_path / "repository" / "raw-data" / "high-pass"
    header = HEADER.replace("session", "Session")
    write(raw / "high-pass_subject-01_session_1.csv", ROWS[:2], header)
    write(raw / "high-pass_subject-02_session_1.csv", ROWS[2:], header)
    write(raw / "high-pass_mynet_session-1.csv", [NETWORK])
    for folder in (tmp_path / "repository", tmp_path / "repository" / "raw-data"):
        assert_frame_equal(high_pass(folder), high_pass(tmp_path / "packed"))
    both = [
        load_model_vs_human(folder, ["high-pass"], observers="all").table
        for folder in (tmp_path / "packed", tmp_path / "repository")
    ]
    keys = ["subject", "trial"]
    one, other = (t.sort_values(keys, ignore_index=True) for t in both)
    assert_frame_equal(one, other)
    nets = load_model_vs_human(tmp_path / "repository", observers="cnn").table
    assert nets["subject"].tolist() == ["mynet"]
    assert not nets["is_human"].any()


def test_decisions_of_ones_own_network_are_read(tmp_path):
    path = write(tmp_path / "high-pass_mynet_session-1.csv", [NETWORK])
    table = load_decisions_csv(path).table
    assert table["experiment"].tolist() == ["high-pass"]
    assert table["correct"].tolist() == [True]
    other = write(tmp_path / "results.csv", [NETWORK])
    assert_frame_equal(load_decisions_csv(other, "high-pass").table, table)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert_frame_equal(load_decisions_csv(path).table, table)
    with pytest.raises(ValueError, match=r"`experiment` is not given, and results.csv"):
        load_decisions_csv(other)
    with pytest.raises(ValueError, match="Did you mean 'high-pass'"):
        load_decisions_csv(other, "highpass")
    with pytest.raises(DataCorruptError, match="It has no trial"):
        load_decisions_csv(write(tmp_path / "high-pass_none.csv", []))
    with pytest.raises(FileNotFoundError):
        load_decisions_csv(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (",cat,3,", ",cat,2,", "has the conditions inf, 3.0, .* got '2'"),
        (",cat,3,", ",horse,3,", "`truth` must be one of .* got 'horse'"),
        (",cat,cat,", ",Cat,cat,", "`response` must be one of .* mean 'cat'"),
        (",cat,cat,", ",,cat,", "text in the column `object_response`; row 1"),
        (",0.75,", ',"0,75",', "finite numbers in the column `rt`; row 1"),
        (",1,1,", ",1,one,", "whole numbers in the column `trial`"),
        ("object_response", "response", r"lacks \['object_response'\]"),
        ("n02085620_2", "n02123045_1", None),
        ("subject-01,1,2", "subject-01,1,2,3", "DataCorrupt|cells"),
    ],
)
def test_impossible_content_is_corrupt_and_told(tmp_path, old, new, match):
    path = tmp_path / "human" / "high-pass.csv.gz"
    path.parent.mkdir()
    content = text(ROWS).replace(old, new)
    path.write_bytes(gzip.compress(content.encode()))
    if match is None:  # the same picture in another condition is another trial
        assert len(high_pass(tmp_path)) == 3
        return
    with pytest.raises(DataCorruptError, match=match):
        high_pass(tmp_path)


def test_a_picture_twice_and_damage_are_told(tmp_path):
    path = write(tmp_path / "human" / "high-pass.csv.gz", [*ROWS, ROWS[0]])
    with pytest.raises(DataCorruptError, match=r"'n02123045_1.png' twice .* '3.0'"):
        high_pass(tmp_path)
    data = path.read_bytes()
    for share in (0.0, 0.5, 0.95):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(DataCorruptError, match="not a readable"):
            high_pass(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no trials \(human\) of 'colour'"):
        load_model_vs_human(tmp_path, "colour")
    with pytest.raises(FileNotFoundError, match="no trials of networks"):
        load_model_vs_human(tmp_path, observers="cnn")
    with pytest.raises(ValueError, match="`observers` must be one of"):
        load_model_vs_human(tmp_path, observers="people")
    with pytest.raises(ValueError, match="Did you mean 'contrast'"):
        load_model_vs_human(tmp_path, ["contrasts"])


def test_conditions_have_one_name_each():
    assert canonical_condition("uniform-noise", "0.10") == "0.1"
    assert canonical_condition("uniform-noise", "0.00") == "0.0"
    assert canonical_condition("high-pass", "1") == "1.0"
    assert canonical_condition("high-pass", "inf") == "inf"
    assert canonical_condition("false-colour", "false") == "False"
    assert canonical_condition("low-pass", "1") == "1"
    assert canonical_condition("sketch", "0") == "0"
    for experiment, known in EXPERIMENTS.items():
        for name in known.conditions:
            assert canonical_condition(experiment, name) == name
        assert set(known.excluded) < set(known.conditions)
    with pytest.raises(ValueError, match="got 'c02'"):
        canonical_condition("contrast", "c02")
    with pytest.raises(ValueError, match="`experiment` must be one of"):
        canonical_condition("contrasts", "c05")


def test_names_tell_pictures_and_textures():
    assert image_id_of("boat1.png") == "boat1.png"
    assert image_id_of("0005_ske_s01_0_boat_00_boat-0068-sketch-23.png") == (
        "boat-0068-sketch-23.png"
    )
    assert texture_of("airplane10-keyboard12.png") == "keyboard"
    for name in ("airplane10.png", "cat1-.png", "-cat1.png"):
        with pytest.raises(ValueError, match="must end in SHAPE-TEXTURE"):
            texture_of(name)


# ------------------------------------------------------------------ the real files

CONDITIONS = {
    "colour": "cr bw",
    "contrast": "c100 c50 c30 c15 c10 c05 c03 c01",
    "high-pass": "inf 3.0 1.5 1.0 0.7 0.55 0.45 0.4",
    "low-pass": "0 1 3 5 7 10 15 40",
    "phase-scrambling": "0 30 60 90 120 150 180",
    "power-equalisation": "0 pow",
    "false-colour": "True False",
    "rotation": "0 90 180 270",
    "eidolonI": "1-10-10 2-10-10 4-10-10 8-10-10 16-10-10 32-10-10 64-10-10 128-10-10",
    "eidolonII": "1-3-10 2-3-10 4-3-10 8-3-10 16-3-10 32-3-10 64-3-10 128-3-10",
    "eidolonIII": "1-0-10 2-0-10 4-0-10 8-0-10 16-0-10 32-0-10 64-0-10 128-0-10",
    "uniform-noise": "0.0 0.03 0.05 0.1 0.2 0.35 0.6 0.9",
}


@pytest.fixture(scope="module")
def real(data_folder):
    folder = data_folder / "model_vs_human"
    return load_model_vs_human(folder, observers="all").table


def test_the_real_trials_have_the_counts_and_conditions_of_the_table(real):
    people = real[real["is_human"]]
    assert len(people) == 85_120
    assert len(people[["experiment", "subject"]].drop_duplicates()) == 90
    assert list(dict.fromkeys(people["experiment"])) == list(EXPERIMENTS)
    assert len(EXPERIMENTS) == 17
    for name, part in people.groupby("experiment", sort=False):
        known = EXPERIMENTS[name]
        assert known.conditions == tuple(CONDITIONS.get(name, "0").split())
        assert set(part["condition"]) == set(known.conditions)
        assert part["subject"].nunique() == known.n_observers
        assert (part["subject"].value_counts() == known.n_trials).all()
        seen = part.groupby(["condition", "subject"])["image_id"].agg(frozenset)
        assert seen.groupby("condition").agg(lambda sets: len({*sets})).eq(1).all()
    assert set(people["truth"]) == set(CATEGORY_NAMES)
    assert (people["response"] == "na").sum() == people["rt_ms"].isna().sum()
    networks = real[~real["is_human"]]
    assert networks["experiment"].unique().tolist() == [
        "edge",
        "silhouette",
        "cue-conflict",
    ]
    assert networks["rt_ms"].isna().all()
    assert len(networks) == 13_120


def test_the_real_accuracies_and_times_are_those_known(real):
    people = real[real["is_human"]]
    share = people.groupby(["experiment", "condition"])["correct"].mean()
    wanted = [0.8562, 0.8266, 0.7953, 0.7344, 0.5953, 0.3531, 0.15, 0.0625]
    got = share["contrast"][list(EXPERIMENTS["contrast"].conditions)]
    np.testing.assert_allclose(got, wanted, atol=5e-5)
    wanted = [0.9203, 0.9141, 0.7953, 0.6297, 0.5875, 0.3797, 0.2, 0.0609]
    got = share["low-pass"][list(EXPERIMENTS["low-pass"].conditions)]
    np.testing.assert_allclose(got, wanted, atol=5e-5)
    for name, value in {
        "edge": 0.8712,
        "cue-conflict": 0.7755,
        "sketch": 0.9163,
    }.items():
        assert share[name]["0"] == pytest.approx(value, abs=6e-5)
    # Conditions are left out for control, or because people hardly do better than 0.2.
    for name, known in EXPERIMENTS.items():
        hard = [c for c in known.conditions if share[name][c] < 0.2]
        assert set(hard) <= set(known.excluded)
    medians = people.groupby("experiment")["rt_ms"].median()
    assert medians["sketch"] == pytest.approx(750, abs=10)
    assert medians["eidolonI"] == pytest.approx(950, abs=10)
    conflict = real[real["experiment"] == "cue-conflict"]
    one = conflict[conflict["subject"] == "alexnet"]
    textures = pd.Series([texture_of(name) for name in one["image_id"]])
    assert (textures.to_numpy() != one["truth"].to_numpy()).sum() == 1200


def test_the_real_folder_is_described(data_folder):
    lines = check_model_vs_human(data_folder / "model_vs_human")
    assert lines[0].startswith("85120 trials of 90 people")
    assert len(lines) == 18
    assert "cue-conflict: 10 people, 12800 trials, right 77.6%; 9 networks" in lines


# ------------------------------------------------------------------------ physion


def physion(folder, **change):
    for i, name in enumerate(SCENARIOS):
        table = pd.DataFrame(
            {"stim_ID": ["a", "b"], "correct": [0.5, 1.0], "c": 2 + 2 * i}
        )
        for column, value in change.items():
            table.loc[0, column] = value
        table.to_csv(folder / f"human_accuracy-{name}_pilot.csv", index=False)
    return folder


def test_accuracies_of_movies_are_counts_of_people(tmp_path):
    table = load_physion_human(physion(tmp_path))
    assert table["scenario"].unique().tolist() == list(SCENARIOS)
    assert table["n_participants"].tolist()[:4] == [2, 2, 4, 4]
    assert table["n_correct"].tolist()[:4] == [1, 2, 2, 4]
    (tmp_path / "human_accuracy-drop_pilot.csv").unlink()
    with pytest.raises(FileNotFoundError, match="human_accuracy-drop_"):
        load_physion_human(tmp_path)


@pytest.mark.parametrize(
    "change", [{"correct": 0.3}, {"correct": 1.5}, {"stim_ID": "b"}, {"correct": None}]
)
def test_impossible_accuracies_are_corrupt(tmp_path, change):
    with pytest.raises(DataCorruptError, match="a number of participants"):
        load_physion_human(physion(tmp_path, **change))


def test_the_real_movies_are_those_of_the_study(data_folder):
    folder = data_folder / "physion_human"
    table = load_physion_human(folder)
    assert len(table) == 1144
    counts = table["scenario"].value_counts()
    assert counts.pop("rollingsliding") == 94
    assert (counts == 150).all()
    means = table.groupby("scenario")["accuracy"].mean()
    known = pd.read_csv(folder / "human_accuracy_by_scenario.csv")
    known = known.set_index("scenario")["obs_mean"]
    # The summary weighs participants by their movies; it is near, not equal.
    np.testing.assert_allclose(means[known.index], known, atol=0.006)
    lines = check_physion_human(folder)
    assert lines[0] == "1144 movies in 8 scenarios"
    assert json.dumps(lines).count("150 movies") == 7
