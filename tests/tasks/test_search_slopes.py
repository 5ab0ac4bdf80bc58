"""Search slopes from displays to report, beside a small file of people."""

import gzip
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from neurovis.adapters import load_model
from neurovis.core.errors import DataCorruptError
from neurovis.core.store import Store
from neurovis.core.types import FIXATION_COLUMNS, SCORE_COLUMNS, TRIAL_COLUMNS
from stimuli.slope_arrays import SET_SIZES, SLOPE_TASKS, make_slope_arrays
from tasks.models import ModelSpec
from tasks.reports import finish_run
from tasks.runs import load_run
from tasks.search_slopes import (
    human_slope_trials,
    run_search_slopes,
    slope_rules,
    slope_trial,
)

MODELS = [ModelSpec("eccnet", weights="seeded:0/16"), ModelSpec("chance")]
TASKS = ["feature", "spatial_configuration"]
CALL = {"tasks": TASKS, "trials": 2, "seed": 3, "device": "cpu", "n_bootstrap": 20}
TABLES = ("trials.parquet", "fixations.parquet", "scores.parquet")
CELL = ["task", "set_size", "target_present"]
# Published: milliseconds per fixation, and the time that is always needed.
MS_PER_FIXATION, MS_ALWAYS = 252.359, 376.271


def run(data, out, models=MODELS, **changes):
    return run_search_slopes(models, data, out, **(CALL | changes))


def human_table(n_subjects=3, n_trials=6):
    """Trials whose times grow by 10 and 20 ms per item, some of them wrong."""
    draw = np.random.default_rng(0)
    rows = []
    for task in SLOPE_TASKS:
        for subject in range(1, n_subjects + 1):
            for size in SET_SIZES:
                for there in (1, 0):
                    for trial in range(n_trials):
                        wrong = int(trial == 0 and size > 6)
                        outcome = ("TNEG", "FA", "HIT", "MISS")[2 * there + wrong]
                        slope = 10 if there else 20
                        rt = 300 + 50 * subject + slope * size + draw.integers(0, 200)
                        cell = (task, subject, trial, size, there)
                        rows.append((*cell, wrong, outcome, int(rt)))
    columns = "task subject trial set_size target_present error outcome rt_ms"
    return pd.DataFrame(rows, columns=columns.split())


def write_people(folder, table=None):
    folder.mkdir()
    table = human_table() if table is None else table
    data = gzip.compress(table.to_csv(index=False).encode(), mtime=0)
    (folder / "trials.csv.gz").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture(scope="module")
def finished(people, tmp_path_factory):
    """A small run of an untrained network and a baseline; not to be changed."""
    out = tmp_path_factory.mktemp("run") / "slopes"
    run(people, out)
    return out


@pytest.fixture(scope="module")
def found(finished):
    return load_run(finished, "search-slopes")


def tables(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


def listing(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ------------------------------------------------------------------------ rules


@pytest.mark.parametrize("size", SET_SIZES)
def test_a_search_may_visit_every_item_once(size):
    rules = slope_rules(675, size, 0)
    assert rules.max_saccades == size
    assert rules.eye_radius_px == 675
    assert (rules.tolerance_px, rules.background, rules.px_per_deg) == (10, 0, 30)
    assert rules.sharpening == ((3, 1.0), (5, 3.0))


def test_a_trial_is_the_display_with_the_cells_of_its_items():
    stimuli = make_slope_arrays(
        "conjunction", set_sizes=[4], trials=1, field_deg=6, grid=2, bar_deg=(0.5, 1.5)
    )
    trial = slope_trial(stimuli, 0)
    row = stimuli.table.iloc[0]
    assert trial.stimulus_id == row["stimulus_id"]
    np.testing.assert_array_equal(trial.image, stimuli.load(0))
    np.testing.assert_array_equal(trial.target, stimuli.targets[0])
    assert trial.item_areas.shape == (4, 180, 180)
    assert trial.item_areas.any(0).all()
    assert sum((trial.target_area == area).all() for area in trial.item_areas) == 1
    rows, columns = np.nonzero(trial.target_area)
    corner = (row["area_left_px"], row["area_top_px"])
    assert (columns.min(), rows.min()) == corner
    # Nothing but what the areas hold has to be seen to find the target.
    assert not trial.image[~trial.item_areas.any(0)].any()


@pytest.mark.parametrize("name", ["chance", "saliency", "pixel-match"])
def test_every_target_is_found_within_as_many_saccades_as_items(name):
    stimuli = make_slope_arrays(
        "spatial_configuration",
        set_sizes=[9],
        trials=4,
        present=True,
        field_deg=9,
        grid=3,
        digit_deg=(1.0, 1.8),
    )
    trials = [slope_trial(stimuli, i) for i in range(len(stimuli))]
    for path in load_model(name).search(trials, slope_rules(270, 9, 0)):
        assert path.found
        assert 1 <= path.n_saccades <= 9


def test_errors_of_people_are_what_is_not_correct(people):
    table = human_slope_trials(people)
    source = human_table()
    assert len(table) == len(source)
    assert table["error"].dtype == bool
    mine = table.groupby(CELL)["error"].mean()
    pd.testing.assert_series_equal(
        mine, source.groupby(CELL)["error"].mean(), check_index_type=False
    )


# ----------------------------------------------------------------------- tables


def test_a_run_leaves_its_tables_and_nothing_unfinished(finished):
    names = {path.name for path in finished.iterdir()}
    assert names >= {*TABLES, "provenance.json", "run.json", "parts"}
    assert not [path for path in finished.rglob("*") if ".part-" in path.name]
    assert not list(finished.rglob("*.lock"))


def test_tables_are_tidy(found):
    assert set(TRIAL_COLUMNS) <= set(found.trials.columns)
    assert set(FIXATION_COLUMNS) <= set(found.fixations.columns)
    assert list(found.scores.columns[: len(SCORE_COLUMNS)]) == list(SCORE_COLUMNS)
    counts = found.trials.groupby(["model", *CELL]).size()
    # 2 observers, 2 tasks, 4 set sizes, with and without a target.
    assert len(counts) == 2 * 2 * 4 * 2
    assert (counts == 2).all()
    assert not found.trials.duplicated(["model", "stimulus_id"]).any()
    names = ["subject", "rule", "condition", "metric"]
    assert not found.scores.duplicated(names).any()
    assert found.scores["model"].unique().tolist() == ["human", "eccnet", "chance"]


def test_displays_are_those_of_the_call(found):
    displays = make_slope_arrays(TASKS, trials=2, seed=3)
    ids = displays.table["stimulus_id"].tolist()
    for _, part in found.trials.groupby("model"):
        assert part["stimulus_id"].tolist() == ids
    assert found.provenance.fingerprints["stimuli"] == displays.fingerprint
    name = f"slope_arrays:{displays.fingerprint[:12]}"
    assert found.scores["stimuli"].unique().tolist() == [name]


def test_trials_count_the_fixations_of_displays_with_a_target(found):
    there = found.trials[found.trials["target_present"]]
    last = found.fixations.groupby(["subject", "stimulus_id"])["fixation"].max()
    counted = there.set_index(["subject", "stimulus_id"])["n_fixations"]
    assert there["found"].all()
    assert counted.between(1, there["set_size"].to_numpy()).all()
    pd.testing.assert_series_equal(
        counted, last.reindex(counted.index), check_names=False
    )
    assert len(last) == len(there)


def test_without_a_target_every_item_is_inspected_and_nothing_is_found(found):
    absent = found.trials[~found.trials["target_present"]]
    assert not absent["found"].any()
    assert (absent["n_fixations"] == absent["set_size"]).all()
    assert not found.fixations["stimulus_id"].isin(absent["stimulus_id"]).any()


# ----------------------------------------------------------------------- scores


def rows_of(found, metric, **wanted):
    rows = found.scores[found.scores["metric"] == metric]
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    return rows


def test_an_exhaustive_search_ends_after_as_many_fixations_as_items(found):
    rows = rows_of(found, "mean_rt_ms", rule="exhaustive", target_present=False)
    assert len(rows) == 2 * 2 * 4
    expected = MS_PER_FIXATION * rows["set_size"].astype(float) + MS_ALWAYS
    np.testing.assert_allclose(rows["value"], expected, rtol=1e-12)
    slopes = rows_of(
        found, "slope_ms_per_item", rule="exhaustive", target_present=False
    )
    np.testing.assert_allclose(slopes["value"], MS_PER_FIXATION, rtol=1e-9)


def test_mean_times_with_a_target_are_those_of_the_fixations(found):
    rows = rows_of(found, "mean_rt_ms", rule="exhaustive", target_present=True)
    there = found.trials[found.trials["target_present"]]
    means = there.groupby(["model", "task", "set_size"])["n_fixations"].mean()
    keys = pd.MultiIndex.from_frame(rows[["model", "search_task", "set_size"]])
    expected = MS_PER_FIXATION * means.reindex(keys).to_numpy() + MS_ALWAYS
    np.testing.assert_allclose(rows["value"], expected, rtol=1e-12)


def test_models_raise_no_false_alarms(found):
    rates = rows_of(found, "error_rate", target_present=False)
    models = rates[rates["model"] != "human"]
    # Under both rules.
    assert len(models) == 2 * 2 * 4 * 2
    assert (models["value"] == 0).all()
    assert rates.loc[rates["model"] == "human", "value"].max() > 0
    assert any("false alarms are 0" in note for note in found.provenance.notes)


def test_an_exhaustive_search_misses_nothing(found):
    rates = rows_of(found, "error_rate", rule="exhaustive", target_present=True)
    assert (rates["value"] == 0).all()
    assert len(rates) == 2 * 2 * 4


def test_slopes_of_people_are_means_of_single_lines(found):
    table = human_table().query("error == 0")
    rows = rows_of(found, "slope_ms_per_item", model="human")
    assert len(rows) == 4
    for _, row in rows.iterrows():
        cell = table[table["task"] == row["search_task"]]
        cell = cell[cell["target_present"] == row["target_present"]]
        means = cell.pivot_table(values="rt_ms", index="set_size", columns="subject")
        slope = np.polyfit(means.index.to_numpy(float), means.to_numpy(), 1)[0].mean()
        assert row["value"] == pytest.approx(slope, rel=1e-9)
        beside = rows_of(
            found,
            "slope_ms_per_item",
            search_task=row["search_task"],
            target_present=row["target_present"],
        )
        # People, and two models under two rules.
        assert beside["human_value"].tolist() == [row["value"]] * 5


def test_random_weights_are_marked_everywhere(found):
    for table in (found.trials, found.scores):
        marks = table.groupby("model")["untrained"].unique().map(list).to_dict()
        marks.pop("human", None)
        assert marks == {"eccnet": [True], "chance": [False]}
    assert found.mark("eccnet") == "eccnet (untrained)"
    assert found.mark("chance") == "chance"
    notes = found.provenance.notes
    assert notes[0] == "eccnet: untrained weights (seeded:0/16)"


@pytest.mark.parametrize("rule", ["exhaustive", "matched_misses"])
def test_one_rule_alone_gives_its_part_of_the_scores(found, people, tmp_path, rule):
    score = run(
        people, tmp_path / "out", ["chance"], tasks=["feature"], quitting=rule
    ).table
    assert score["rule"].dropna().unique().tolist() == [rule]
    columns = ["model", "condition", "metric", "value", "ci_low", "ci_high", "n"]
    # Agreements over all conditions depend on what else was run.
    of_task = "search_task == 'feature' and model == 'chance'"
    both = found.scores.query(of_task)
    both = both[both["rule"] == rule][columns].reset_index(drop=True)
    alone = score.query(of_task)[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, both)
    assert len(alone) > 30


def test_a_display_is_searched_alike_whatever_else_is_run(found, people, tmp_path):
    run(people, tmp_path / "out", ["chance"], tasks=["spatial_configuration"], trials=3)
    other = load_run(tmp_path / "out")
    one = found.fixations.query("subject == 'chance'").set_index("stimulus_id")
    two = other.fixations.set_index("stimulus_id")
    shared = one.index.intersection(two.index).unique()
    assert len(shared) == 8
    pd.testing.assert_frame_equal(one.loc[shared], two.loc[shared])


# ----------------------------------------------------------------------- report


def test_the_report_opens_and_names_every_observer(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    lines = finish_run(copy)
    text = (copy / "report.html").read_text()
    for word in (
        "eccnet (untrained), matched_misses",
        "chance, exhaustive",
        "people",
        "2 models, 2 displays per task, set size and presence",
        "432 trials of 9 observers",
        "Wolfe, Palmer",
    ):
        assert word in text
    assert lines[0] == "slopes in ms per item (present / absent)"
    assert lines[-1] == f"report {copy / 'report.html'}"
    assert [line.split("  ")[1] for line in lines[1:-1]] == [
        "people",
        "eccnet (untrained), exhaustive",
        "eccnet (untrained), matched_misses",
        "chance, exhaustive",
        "chance, matched_misses",
    ]
    assert lines[2].count("/252.4") == len(TASKS)
    names = {path.stem for path in (copy / "figures").iterdir()}
    rules = ("exhaustive", "matched_misses")
    assert names == {
        "displays",
        *(f"slopes_{task}_{rule}" for task in TASKS for rule in rules),
        *(f"errors_{task}" for task in TASKS),
        *(f"times_{task}" for task in TASKS),
    }
    for path in (copy / "figures").iterdir():
        assert path.stat().st_size > 5000


def test_one_task_under_one_rule_needs_only_its_people(tmp_path):
    table = human_table().query("task == 'feature'")
    data, out = write_people(tmp_path / "people", table), tmp_path / "out"
    call = {"tasks": "feature", "quitting": "exhaustive", "n_bootstrap": 0}
    score = run(data, out, ["chance"], **call).table
    assert score["search_task"].dropna().unique().tolist() == ["feature"]
    assert score["rule"].dropna().unique().tolist() == ["exhaustive"]
    # Wilson's intervals need no resamples.
    known = score[score["ci_low"].notna()]
    assert known["metric"].unique().tolist() == ["error_rate"]
    assert known["model"].unique().tolist() == ["chance"]
    finish_run(out)
    assert {path.stem for path in (out / "figures").iterdir()} == {
        "displays",
        "slopes_feature_exhaustive",
        "times_feature",
    }
    (data / "trials.csv.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"trials\.csv\.gz"):
        finish_run(out)


# ------------------------------------------------------------ resuming, refusing


def test_a_finished_run_is_left_as_it_is(finished, people):
    before = listing(finished)
    stamps = {p: p.stat().st_mtime_ns for p in (finished / "parts").rglob("*.*")}
    run(people, finished)
    after = listing(finished)
    # The code revision in the provenance may change while the tests run.
    before.pop("provenance.json")
    after.pop("provenance.json")
    assert after == before
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seed": 4}, "seed=3; now seed=4"),
        ({"trials": 3}, "trials=2; now trials=3"),
        ({"tasks": ["feature"]}, "tasks="),
        ({"quitting": "exhaustive"}, "quitting='both'; now quitting='exhaustive'"),
        ({"n_bootstrap": 21}, "n_bootstrap=20; now n_bootstrap=21"),
        ({"models": ["chance"]}, "models="),
    ],
)
def test_another_run_in_the_same_folder_is_refused(finished, people, changes, name):
    before = listing(finished)
    with pytest.raises(ValueError, match="holds a run with") as caught:
        run(people, finished, **changes)
    assert name in str(caught.value)
    assert listing(finished) == before


def test_the_call_in_the_provenance_gives_the_same_run(finished, found, tmp_path):
    call = dict(found.provenance.call)
    assert call.pop("task") == "search-slopes"
    models = [ModelSpec(**spec) for spec in call.pop("models")]
    assert models == MODELS
    shutil.copytree(finished / "parts", tmp_path / "again" / "parts")
    run_search_slopes(models, out=tmp_path / "again", device="cpu", **call)
    assert tables(tmp_path / "again") == tables(finished)


def test_a_damaged_part_is_searched_again(finished, people, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    parts = Store(copy / "parts")
    key = parts.keys()[5]
    table = copy / "parts" / key / "table.parquet"
    table.write_bytes(table.read_bytes()[:-20])
    run(people, copy)
    assert tables(copy) == tables(finished)
    assert len(parts.get(key)) > 2


@pytest.mark.slow
def test_a_killed_run_ends_with_identical_tables(people, tmp_path):
    code = "from neurovis.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "search-slopes"]
    command += ["--data", str(people), "--out", str(tmp_path / "killed")]
    command += ["--models", "chance,centre", "--tasks", "conjunction"]
    command += ["--trials", "2", "--config", str(tmp_path / "run.toml")]
    (tmp_path / "run.toml").write_text("n_bootstrap = 10")
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    parts = Store(tmp_path / "killed" / "parts")
    try:
        while process.poll() is None and len(parts.keys()) < 2:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=50)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    kept = parts.keys()
    assert len(kept) >= 2
    with pytest.raises(FileNotFoundError, match="neurovis run search-slopes"):
        load_run(tmp_path / "killed")
    call = {"tasks": ["conjunction"], "trials": 2, "n_bootstrap": 10}
    for name in ("killed", "straight"):
        run_search_slopes(["chance", "centre"], people, tmp_path / name, **call)
    assert tables(tmp_path / "killed") == tables(tmp_path / "straight")
    keys = Store(tmp_path / "straight" / "parts").keys()
    assert parts.keys() == keys
    # 2 observers, 4 set sizes.
    assert len(keys) == 8 >= len(kept)


# ------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("models", "changes", "message"),
    [
        ([], {}, "`models` is empty"),
        (["chanse"], {}, "Did you mean 'chance'"),
        (["chance", "chance"], {}, "Two models are called 'chance'"),
        ([ModelSpec("chance", label="human mean")], {}, "cannot be called"),
        (["chance"], {"tasks": "features"}, "Did you mean 'feature'"),
        (["chance"], {"tasks": []}, "`tasks` must name at least one"),
        (["chance"], {"tasks": ["feature", "feature"]}, "none twice"),
        (["chance"], {"trials": 1}, r"`trials` must be within \[2, inf\]; got 1"),
        (["chance"], {"trials": 2.5}, "`trials` must be a whole number"),
        (["chance"], {"quitting": "exhausted"}, "Did you mean 'exhaustive'"),
        (["chance"], {"seed": -1}, "`seed`"),
        (["chance"], {"n_bootstrap": -1}, "`n_bootstrap`"),
        (["chance"], {"device": "gpu"}, "`device`"),
    ],
)
def test_wrong_arguments_leave_no_folder(people, tmp_path, models, changes, message):
    with pytest.raises(ValueError, match=message):
        run(people, tmp_path / "out", models, **changes)
    assert list(tmp_path.iterdir()) == []


def test_absent_data_are_told_before_anything_is_computed(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be an existing folder"):
        run(tmp_path / "nowhere", tmp_path / "out", ["chance"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"trials\.csv\.gz"):
        run(tmp_path / "empty", tmp_path / "out", ["chance"])
    assert not (tmp_path / "out").exists()


def test_a_cut_file_of_people_is_told(tmp_path):
    data = write_people(tmp_path / "people")
    path = data / "trials.csv.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataCorruptError, match=r"trials\.csv\.gz"):
        run(data, tmp_path / "out", ["chance"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "cell"),
    [
        ("task != 'feature'", r"\('feature', True, 3\)"),
        ("set_size != 12", r"\('feature', True, 12\)"),
        ("error == 1 or target_present == 1", r"\('feature', False, 3\)"),
    ],
)
def test_people_who_lack_a_cell_are_told_before_anything_is_computed(
    tmp_path, part, cell
):
    data = write_people(tmp_path / "people", human_table().query(part))
    with pytest.raises(ValueError, match=f"`data` has no usable reaction.*{cell}"):
        run(data, tmp_path / "out", ["chance"])
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------- real people


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_slopes_of_real_people_are_those_of_the_reference(data_folder, tmp_path):
    folder = data_folder / "search_rt_wolfe2010"
    reference = json.loads((folder / "reference_values.json").read_text())
    call = {"trials": 2, "quitting": "exhaustive", "n_bootstrap": 0}
    score = run_search_slopes(["chance"], folder, tmp_path / "out", **call)
    people = score.table[score.table["model"] == "human"]
    people = people.set_index(["metric", "search_task", "target_present"])["value"]
    rows = reference["slopes_ms_per_item"]
    assert len(rows) == 6
    for row in rows:
        key = (row["task"], bool(row["target_present"]))
        assert round(people["slope_ms_per_item", *key], 3) == row["slope"]
        assert round(people["intercept_ms", *key], 3) == row["intercept"]
    models = score.table.query("model == 'chance' and metric == 'slope_ms_per_item'")
    there = models["target_present"].astype(bool)
    # Chance inspects half of the items on average, people are much faster.
    assert (models.loc[there, "value"] > models.loc[there, "human_value"]).all()
    np.testing.assert_allclose(models.loc[~there, "value"], MS_PER_FIXATION)
