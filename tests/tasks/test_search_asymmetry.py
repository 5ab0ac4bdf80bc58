"""The search-asymmetry experiment: rules, tables, folders, resuming."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest

from data_loaders.search_humans import load_human_rt
from neurovis.adapters import load_model
from neurovis.core.errors import DataCorruptError
from neurovis.core.provenance import code_fingerprint
from neurovis.core.store import Store
from neurovis.core.types import FIXATION_COLUMNS, SCORE_COLUMNS, TRIAL_COLUMNS, Score
from stimuli.save import save_stimuli
from stimuli.search_arrays import make_search_arrays
from stimuli.search_conditions import SEARCH_CONDITIONS
from tasks.models import ModelSpec
from tasks.search_asymmetry import (
    load_search_run,
    run_search_asymmetry,
    run_searches,
    search_rules,
    search_trial,
    trial_table,
)

MODELS = [ModelSpec("eccnet", weights="seeded:0/16"), ModelSpec("chance")]
CONDITIONS = ["top_down", "left_right"]
CALL = {"conditions": CONDITIONS, "trials": 3, "seed": 4, "device": "cpu"}
TABLES = ("trials.parquet", "fixations.parquet", "scores.parquet")


def run(out, models=MODELS, **changes):
    return run_search_asymmetry(models, out, **(CALL | changes))


def tables(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


def listing(folder):
    """Everything below a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run of an untrained network and a baseline; not to be changed."""
    folder = tmp_path_factory.mktemp("run") / "small"
    run(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the small run that may be damaged."""
    return shutil.copytree(finished, tmp_path / "copy")


@pytest.fixture(scope="module")
def displays():
    return make_search_arrays(CONDITIONS, trials=1, seed=4)


# ------------------------------------------------------------------------ rules

# Saccades allowed, reach (= side of the display) and ground, as published.
PUBLISHED = {
    "categorization": (17, 339, 255),
    "curvature": (37, 339, 0),
    "intersection": (10, 615, 255),
    "lightning_dir": (17, 198, 27),
}


@pytest.mark.parametrize("name", SEARCH_CONDITIONS)
def test_rules_are_the_published_constants(name):
    table = make_search_arrays(name, trials=1).table
    for row in table.to_dict("records"):
        rules = search_rules(row)
        saccades, side, ground = PUBLISHED[row["paradigm"]]
        assert rules.max_saccades == saccades == SEARCH_CONDITIONS[name].max_saccades
        assert rules.eye_radius_px == side == row["width_px"] == row["height_px"]
        assert rules.background == ground
        assert rules.tolerance_px == 10
        assert rules.px_per_deg == 30
        assert rules.layer_weighting == "max"


def test_rules_scale_with_the_pixels_per_degree():
    made = make_search_arrays(
        "homo_t0", trials=1, set_sizes=[4], rendering="smooth", px_per_deg=60
    )
    rules = search_rules(made.table.iloc[0].to_dict())
    assert (rules.eye_radius_px, rules.tolerance_px) == (678, 20)
    assert (rules.max_saccades, rules.px_per_deg) == (17, 60)


def test_a_trial_is_the_display_with_its_areas(displays):
    trial = search_trial(displays, 1)
    row = displays.table.iloc[1]
    assert trial.stimulus_id == row["stimulus_id"]
    np.testing.assert_array_equal(trial.image, displays.load(1))
    np.testing.assert_array_equal(trial.target, displays.targets[1])
    assert trial.item_areas.shape == (16, 198, 198)
    rows, columns = np.nonzero(trial.target_area)
    assert (rows.min(), columns.min()) == (row["area_top_px"], row["area_left_px"])


def test_displays_without_targets_cannot_be_searched(displays):
    with pytest.raises(ValueError, match="no target pictures"):
        search_trial(replace(displays, targets=None), 0)


# ------------------------------------------------------------------ trial table


@dataclass(frozen=True)
class Observer:
    """Has what a table needs of an observer."""

    name: str = "mine"
    notes: tuple[str, ...] = ()


def fixations_of(stimuli, outcomes):
    """Fixations of displays that were left after so many saccades, found or not."""
    parts = []
    for identity, (saccades, found) in zip(
        stimuli["stimulus_id"], outcomes, strict=True
    ):
        numbers = np.arange(saccades + 1)
        parts.append(
            pd.DataFrame({"stimulus_id": identity, "fixation": numbers, "found": found})
        )
    return pd.concat(parts, ignore_index=True)


def test_saccades_count_and_what_is_not_found_counts_as_the_largest_set_size():
    stimuli = make_search_arrays("left_right", trials=2).table.head(5)
    # At most 17 saccades; set sizes 1, 6 and 12.
    outcomes = [(3, True), (17, False), (17, True), (16, True), (1, True)]
    table = trial_table(Observer(), stimuli, fixations_of(stimuli, outcomes))
    assert table["n_fixations"].tolist() == [3, 12, 12, 16, 1]
    # Found with the very last saccade is not recorded as found, as published.
    assert table["found"].tolist() == [True, False, False, True, True]
    assert table["correct"].tolist() == table["found"].tolist()
    assert table["response"].tolist() == [
        "found" if found else "not found" for found in table["found"]
    ]
    expected = 252.359 * table["n_fixations"] + 376.271
    np.testing.assert_allclose(table["rt_ms"], expected, rtol=1e-12)
    assert set(TRIAL_COLUMNS) <= set(table.columns)
    assert table["set_size"].tolist() == stimuli["set_size"].tolist()


def test_a_set_size_beyond_the_published_ones_is_the_largest():
    stimuli = make_search_arrays("left_right", set_sizes=[15], trials=1).table
    table = trial_table(Observer(), stimuli, fixations_of(stimuli, [(17, False)]))
    assert table["n_fixations"].tolist() == [15]


@pytest.mark.parametrize(
    ("notes", "untrained"),
    [((), False), (("mine: untrained weights (seeded:0)",), True), (("slow",), False)],
)
def test_trials_of_random_weights_are_marked(notes, untrained):
    stimuli = make_search_arrays("left_right", trials=1).table
    fixations = fixations_of(stimuli, [(1, True)] * len(stimuli))
    table = trial_table(Observer(notes=notes), stimuli, fixations)
    assert table["untrained"].tolist() == [untrained] * len(stimuli)


# --------------------------------------------------------------------- searches


@dataclass
class Counting:
    """Searches like another observer and counts the displays that it was given."""

    inner: object
    name: str = "counting"
    notes: tuple[str, ...] = ()
    seen: list[str] = field(default_factory=list)

    @property
    def identity(self):
        return self.inner.identity

    def search(self, trials, rules, *, seed=0):
        self.seen += [trial.stimulus_id for trial in trials]
        return self.inner.search(trials, rules, seed=seed)


def test_results_are_the_same_with_and_without_a_store(tmp_path, displays):
    searchers = [load_model("chance"), load_model("saliency")]
    without = run_searches(searchers, displays, seed=4)
    stored = run_searches(searchers, displays, seed=4, store=Store(tmp_path))
    pd.testing.assert_frame_equal(stored.table, without.table)
    pd.testing.assert_frame_equal(stored.scanpaths, without.scanpaths)
    again = run_searches(searchers, displays, seed=4, store=Store(tmp_path))
    pd.testing.assert_frame_equal(again.scanpaths, without.scanpaths)


def test_what_is_stored_is_not_searched_again(tmp_path, displays):
    observer = Counting(load_model("chance"))
    store = Store(tmp_path)
    run_searches([observer], displays, seed=4, store=store)
    identities = displays.table["stimulus_id"].tolist()
    assert observer.seen == identities
    run_searches([observer], displays, seed=4, store=store)
    assert observer.seen == identities
    run_searches([observer], displays, seed=5, store=store)
    assert observer.seen == identities * 2


def test_observers_with_another_identity_are_searched_for_themselves(
    tmp_path, displays
):
    store = Store(tmp_path)
    first = Counting(load_model("chance"))
    other = Counting(load_model("saliency"), name="other")
    responses = run_searches([first, other], displays, seed=4, store=store)
    assert first.seen == other.seen == displays.table["stimulus_id"].tolist()
    alone = run_searches([load_model("saliency")], displays, seed=4)
    ours = responses.scanpaths.query("subject == 'other'")
    np.testing.assert_array_equal(ours["x_px"], alone.scanpaths["x_px"])


def test_rows_keep_the_order_of_observers_then_displays(displays):
    order = np.random.default_rng(0).permutation(len(displays))
    mixed = displays.select(order)
    observers = [load_model("saliency"), load_model("chance")]
    found = run_searches(observers, mixed, seed=4)
    identities = mixed.table["stimulus_id"].tolist()
    assert found.table["stimulus_id"].tolist() == identities * 2
    assert found.table["model"].tolist() == [
        observer.name for observer in observers for _ in identities
    ]
    # A trial does not depend on what else is searched.
    straight = run_searches(observers, displays, seed=4).table
    columns = ["model", "stimulus_id"]
    pd.testing.assert_frame_equal(
        found.table.sort_values(columns, ignore_index=True),
        straight.sort_values(columns, ignore_index=True),
    )


def test_every_display_is_searched_under_its_own_rules():
    # On a ring the allowed saccades depend on the set size.
    made = make_search_arrays(
        "top_down",
        set_sizes=[2, 6],
        trials=4,
        rendering="smooth",
        eccentricity_deg=2.0,
    )
    table = run_searches([load_model("chance")], made, seed=1).table
    assert table["found"].all()
    assert (table["n_fixations"] <= table["set_size"]).all()
    assert table["n_fixations"].max() > 3


# ------------------------------------------------------------------------- runs


def test_a_run_leaves_its_tables_and_nothing_unfinished(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {*TABLES, "provenance.json", "run.json", "parts"}
    assert not [path for path in finished.rglob("*") if ".part-" in path.name]
    assert not list(finished.rglob("*.lock"))


def test_tables_are_tidy(finished):
    found = load_search_run(finished)
    assert list(found.scores.columns[: len(SCORE_COLUMNS)]) == list(SCORE_COLUMNS)
    assert list(found.fixations.columns) == list(FIXATION_COLUMNS)
    assert set(TRIAL_COLUMNS) <= set(found.trials.columns)
    # 2 observers, 2 conditions, 3 set sizes, 3 trials.
    assert len(found.trials) == 2 * 2 * 3 * 3
    assert not found.trials.duplicated(["model", "stimulus_id"]).any()
    assert not found.scores.duplicated(["subject", "condition", "metric"]).any()
    assert not found.trials.isna().any(axis=None)
    assert found.fixations["duration_ms"].isna().all()


def test_trials_count_the_fixations(finished):
    found = load_search_run(finished)
    last = found.fixations.groupby(["subject", "stimulus_id"])["fixation"].max()
    trials = found.trials.set_index(["subject", "stimulus_id"])
    counted = trials["n_fixations"].where(trials["found"])
    expected = last.reindex(trials.index).where(trials["found"])
    pd.testing.assert_series_equal(counted, expected, check_names=False)
    assert found.trials["found"].any()


def test_people_stand_beside_the_observers(finished):
    scores = load_search_run(finished).scores
    assert scores["model"].unique().tolist() == ["human", "eccnet", "chance"]
    slopes = scores[scores["metric"] == "slope_ms_per_item"]
    human = load_human_rt()
    for condition in CONDITIONS:
        means = human[human["condition"] == condition]
        slope, _ = np.polyfit(means["set_size"], means["rt_ms"], 1)
        rows = slopes[slopes["condition"] == condition].set_index("model")
        assert rows.loc["human", "value"] == pytest.approx(slope, rel=1e-9)
        assert rows["human_value"].tolist() == [rows.loc["human", "value"]] * 3


def test_random_weights_are_marked_everywhere(finished):
    found = load_search_run(finished)
    for table in (found.trials, found.scores):
        marks = table.groupby("model")["untrained"].unique().map(list).to_dict()
        marks.pop("human", None)
        assert marks == {"eccnet": [True], "chance": [False]}
    notes = ("eccnet: untrained weights (seeded:0/16)",)
    assert found.provenance.notes == notes


def test_provenance_tells_how_to_get_the_run_again(finished, tmp_path):
    provenance = load_search_run(finished).provenance
    assert provenance.seed == 4
    assert provenance.device == "cpu"
    assert set(provenance.fingerprints) == {
        "stimuli",
        "model eccnet",
        "model chance",
    }
    call = dict(provenance.call)
    assert call.pop("task") == "search-asymmetry"
    models = [ModelSpec(**spec) for spec in call.pop("models")]
    assert models == MODELS
    run_search_asymmetry(models, tmp_path / "again", device="cpu", **call)
    assert tables(tmp_path / "again") == tables(finished)


def test_scores_load_as_they_were_returned(finished, copy):
    returned = run(copy)
    loaded = Score.load(finished)
    pd.testing.assert_frame_equal(loaded.table, returned.table)
    assert loaded.provenance.fingerprints == returned.provenance.fingerprints


def test_a_finished_run_is_left_as_it_is_when_run_again(copy):
    before = listing(copy)
    stamps = {p: p.stat().st_mtime_ns for p in (copy / "parts").rglob("*.*")}
    run(copy)
    after = listing(copy)
    # The code revision in the provenance may change while the tests run.
    before.pop("provenance.json")
    after.pop("provenance.json")
    assert after == before
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seed": 5}, "seed=4; now seed=5"),
        ({"trials": 2}, "trials=3; now trials=2"),
        ({"conditions": ["top_down"]}, "conditions="),
        ({"models": ["chance"]}, "models="),
        ({"rendering": "smooth"}, "rendering='published'; now rendering='smooth'"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(copy, changes, name):
    before = listing(copy)
    with pytest.raises(ValueError, match=r"holds a run with") as caught:
        run(copy, **changes)
    assert name in str(caught.value)
    assert "Choose another folder" in str(caught.value)
    assert listing(copy) == before


@pytest.mark.parametrize("damage", ["flipped", "truncated", "no meta", "foreign"])
def test_damaged_and_foreign_parts_are_searched_again(copy, damage, caplog):
    expected = tables(copy)
    store = Store(copy / "parts")
    first, second = store.keys()[:2]
    part = copy / "parts" / first / "table.parquet"
    if damage == "flipped":
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    elif damage == "truncated":
        part.write_bytes(part.read_bytes()[:-40])
    elif damage == "no meta":
        (part.parent / "meta.json").unlink()
    else:  # another entry under this name
        shutil.rmtree(part.parent)
        shutil.copytree(copy / "parts" / second, part.parent)
    with pytest.raises(DataCorruptError):
        store.get(first)
    run(copy)
    assert tables(copy) == expected
    assert "computing again" in caplog.text
    assert len(store.get(first)) > 0


def test_parts_of_other_code_are_not_taken(copy):
    store = Store(copy / "parts")
    key = store.keys()[0]
    parts = store.parts(key)
    assert parts["code"] == code_fingerprint()
    wrong = store.get(key).assign(x_px=0.5)
    foreign = store.put(parts | {"code": "0" * 64}, wrong)
    expected = tables(copy)
    shutil.rmtree(copy / "parts" / key)
    run(copy)
    assert tables(copy) == expected
    assert (store.get(foreign)["x_px"] == 0.5).all()


@pytest.mark.parametrize("name", [*TABLES, "provenance.json"])
def test_an_unfinished_run_is_told_from_a_finished_one(copy, name):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing.*finish it"):
        load_search_run(copy)


# --------------------------------------------------------------- saved displays


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder of the displays that the small run makes."""
    made = make_search_arrays(CONDITIONS, trials=3, seed=4)
    return save_stimuli(made, tmp_path_factory.mktemp("saved") / "displays")


def test_saved_displays_give_the_tables_of_those_made_anew(saved, finished, tmp_path):
    out = tmp_path / "out"
    run_search_asymmetry(MODELS, out, stimuli=saved, seed=4, device="cpu")
    assert tables(out) == tables(finished)
    ours, other = (load_search_run(folder).provenance for folder in (out, finished))
    assert ours.fingerprints == other.fingerprints


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "edited table"])
def test_damaged_displays_are_noticed_before_anything_is_computed(
    saved, tmp_path, damage
):
    folder = shutil.copytree(saved, tmp_path / "displays")
    picture = sorted((folder / "images").iterdir())[-1]
    if damage == "truncated":
        picture.write_bytes(picture.read_bytes()[:-30])
    elif damage == "changed":
        other = sorted((folder / "images").iterdir())[0]
        picture.write_bytes(other.read_bytes())
    elif damage == "missing":
        picture.unlink()
    else:
        text = (folder / "stimuli.csv").read_text()
        (folder / "stimuli.csv").write_text(text.replace("top_down", "left_right"))
    error = FileNotFoundError if damage == "missing" else DataCorruptError
    with pytest.raises(error, match="displays"):
        run_search_asymmetry(["chance"], tmp_path / "out", stimuli=folder)
    assert [path.name for path in tmp_path.iterdir()] == ["displays"]


@pytest.mark.parametrize(
    "option",
    [
        {"conditions": CONDITIONS},
        {"trials": 3},
        {"rendering": "smooth"},
        {"jpeg": True},
    ],
    ids=list,
)
def test_saved_displays_cannot_be_changed_by_options(saved, tmp_path, option):
    with pytest.raises(ValueError, match=f"`{next(iter(option))}` makes new displays"):
        run_search_asymmetry(["chance"], tmp_path / "out", stimuli=saved, **option)
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("models", "changes", "message"),
    [
        ([], {}, "`models` is empty"),
        (["eccnt"], {}, "Did you mean 'eccnet'"),
        (["chance", "chance"], {}, "Two models are called 'chance'"),
        ([ModelSpec("chance", label="human")], {}, "cannot be called 'human'"),
        ([ModelSpec("chance", label="human mean")], {}, "stands for people"),
        (["eccnet-rot90"], {}, "trained on images rotated"),
        (["chance"], {"conditions": ["crosss"]}, "Did you mean 'cross'"),
        (["chance"], {"conditions": []}, "`conditions` is empty"),
        (["chance"], {"trials": 0}, "`trials`"),
        (["chance"], {"seed": -1}, "`seed`"),
        (["chance"], {"n_bootstrap": -1}, "`n_bootstrap`"),
        (["chance"], {"rendering": "drawn"}, "`rendering`"),
        (["chance"], {"device": "gpu"}, "`device`"),
    ],
)
def test_wrong_arguments_leave_no_folder(tmp_path, models, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "out", models, **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["backbone", "weights", "preprocessing"])
def test_baselines_take_no_options_of_networks(option):
    with pytest.raises(ValueError, match=f"`saliency` is no network.*'{option}'"):
        ModelSpec("saliency", **{option: "vgg16"})


def test_labels_name_baselines_and_networks():
    for spec in (ModelSpec("chance", label="dice"), replace(MODELS[0], label="dice")):
        assert spec.load("cpu").name == "dice"


# ----------------------------------------------------------------- interruption

# A shell that runs tests in the background may have told them to ignore Ctrl-C.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from neurovis.cli import main; main()"
)


def start(out, trials):
    command = [sys.executable, "-c", PROGRAM, "run", "search-asymmetry"]
    options = {
        "--out": out,
        "--models": "eccnet,chance",
        "--weights": "seeded:0/16",
        "--conditions": ",".join(CONDITIONS),
        "--trials": trials,
        "--seed": 4,
        "--device": "cpu",
    }
    command += [str(word) for pair in options.items() for word in pair]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def interrupt(process, out, number, delay):
    """Send a signal some time after the next part of the run was stored."""
    parts = Store(out / "parts")
    before = len(parts.keys())
    try:
        while process.poll() is None and len(parts.keys()) == before:
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(number)
        _, errors = process.communicate(timeout=50)
    finally:
        process.kill()
    return process.returncode, errors


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run that was interrupted by Ctrl-C, then killed: folder, codes, words."""
    out = tmp_path_factory.mktemp("interrupted") / "run"
    draw = np.random.default_rng(0)
    ends = [
        interrupt(start(out, 8), out, number, draw.uniform(0, 0.2))
        for number in (signal.SIGINT, signal.SIGKILL)
    ]
    return out, ends


@pytest.mark.slow
def test_ctrl_c_ends_with_its_code_and_tells_how_to_go_on(interrupted):
    _, ((code, errors), _) = interrupted
    assert code == 130
    assert errors == (
        "interrupted: run the same command again to resume where it stopped\n"
    )


@pytest.mark.slow
def test_a_killed_run_ends_with_identical_tables(interrupted, tmp_path):
    out, (_, (code, _)) = interrupted
    assert code == -signal.SIGKILL
    n_kept = len(Store(out / "parts").keys())
    assert n_kept >= 2
    with pytest.raises(FileNotFoundError, match="no finished run"):
        load_search_run(out)
    run(out, trials=8)
    run(tmp_path / "straight", trials=8)
    assert tables(out) == tables(tmp_path / "straight")
    keys = Store(tmp_path / "straight" / "parts").keys()
    assert Store(out / "parts").keys() == keys
    assert len(keys) > n_kept


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_killed_five_times_at_random_ends_with_identical_bytes(tmp_path, seed):
    out, trials = tmp_path / "killed", 30
    draw = np.random.default_rng(seed)
    for _ in range(5):
        code, _ = interrupt(
            start(out, trials), out, signal.SIGKILL, draw.uniform(0, 0.4)
        )
        assert code == -signal.SIGKILL
    process = start(out, trials)
    words, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert f"report {out / 'report.html'}" in words
    straight = tmp_path / "straight"
    run(straight, trials=trials)
    assert tables(out) == tables(straight)
    assert json.loads((out / "run.json").read_text()) == json.loads(
        (straight / "run.json").read_text()
    )
