"""Folders of runs: begun once, resumed, read back, refused; searches kept in parts."""

import json
import shutil
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurovis.adapters import load_model
from neurovis.core.errors import DataCorruptError
from neurovis.core.observers import SearchRules, SearchTrial
from neurovis.core.provenance import collect
from neurovis.core.store import Store
from neurovis.core.types import FIXATION_COLUMNS, SCORE_COLUMNS, Provenance, Score
from tasks.runs import (
    Run,
    SearchBlock,
    begin_run,
    is_untrained,
    load_run,
    model_fingerprints,
    read_call,
    save_run,
    search_blocks,
)

CALL = {"task": "search-slopes", "seed": 3, "models": [{"name": "chance"}]}
RULES = SearchRules(eye_radius_px=40, max_saccades=5, tolerance_px=4, background=128)


@dataclass(frozen=True)
class Observer:
    name: str = "mine"
    notes: tuple[str, ...] = ()


def displays(first, n=2):
    """Small displays with the target in a corner."""
    draw = np.random.default_rng(first)
    area = np.zeros((40, 40), bool)
    area[:6, :6] = True
    return [
        SearchTrial(
            f"d{first + i}",
            draw.integers(0, 256, (40, 40, 3), np.uint8),
            draw.integers(0, 256, (6, 6, 3), np.uint8),
            area,
        )
        for i in range(n)
    ]


def block(first, n=2, rules=RULES, name=None):
    return SearchBlock(name or f"block {first}", rules, n, lambda: displays(first, n))


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


def score_of(call=CALL, notes=()):
    row = dict.fromkeys(SCORE_COLUMNS, "x") | {"value": 0.5, "seed": 3}
    return Score(pd.DataFrame([row]), collect(3, call=call, notes=list(notes)))


def write_run(folder, call=CALL, notes=(), fixations=None):
    begin_run(folder, call)
    trials = pd.DataFrame({"model": ["chance"], "found": [True]})
    save_run(folder, trials=trials, score=score_of(call, notes), fixations=fixations)
    return folder


# -------------------------------------------------------------------- beginning


def test_a_new_folder_is_made_and_keeps_the_call(tmp_path):
    out = tmp_path / "deep" / "below"
    assert begin_run(out, CALL) == out
    assert read_call(out) == CALL
    assert [path.name for path in out.iterdir()] == ["run.json"]


def test_the_same_call_opens_the_folder_again_and_changes_nothing(tmp_path):
    begin_run(tmp_path, CALL)
    before = (tmp_path / "run.json").read_bytes()
    stamp = (tmp_path / "run.json").stat().st_mtime_ns
    begin_run(tmp_path, dict(reversed(CALL.items())))
    assert (tmp_path / "run.json").read_bytes() == before
    assert (tmp_path / "run.json").stat().st_mtime_ns == stamp


def test_numbers_and_tuples_are_those_that_json_gives_back(tmp_path):
    call = CALL | {"sizes": (3, 6), "seed": np.int64(3), "data": tmp_path / "x"}
    begin_run(tmp_path / "out", call)
    begin_run(tmp_path / "out", call)
    assert read_call(tmp_path / "out")["sizes"] == [3, 6]


VALUES = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
CALLS = st.dictionaries(st.text("abc", max_size=2), VALUES, max_size=3)


@given(CALLS, CALLS)
def test_exactly_other_calls_are_refused(tmp_path_factory, one, other):
    out = tmp_path_factory.mktemp("run")
    begin_run(out, one)
    # An argument that is absent and one that is None mean the same.
    if all(one.get(k) == other.get(k) for k in {*one, *other}):
        begin_run(out, other)
    else:
        with pytest.raises(ValueError, match="holds a run with"):
            begin_run(out, other)
    assert read_call(out) == one


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, r"holds a run with seed=3; now seed=4 was asked for"),
        ({"task": "free-viewing"}, "task='search-slopes'; now task='free-viewing'"),
        ({"models": []}, r"models=\[{'name': 'chance'}\]; now models=\[\]"),
        ({"layout": "auto"}, "layout=None; now layout='auto'"),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path, changes, message):
    begin_run(tmp_path, CALL)
    with pytest.raises(ValueError, match=message) as caught:
        begin_run(tmp_path, CALL | changes)
    assert "Choose another folder" in str(caught.value)
    assert read_call(tmp_path) == CALL


def test_an_argument_that_the_call_lacks_is_named(tmp_path):
    begin_run(tmp_path, CALL)
    with pytest.raises(ValueError, match="seed=3; now seed=None"):
        begin_run(tmp_path, {k: v for k, v in CALL.items() if k != "seed"})


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object()])
def test_what_json_cannot_hold_leaves_no_folder(tmp_path, value):
    with pytest.raises((TypeError, ValueError), match="JSON"):
        begin_run(tmp_path / "out", CALL | {"x": value})
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    for out in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(NotADirectoryError, match="taken is a file"):
            begin_run(out, CALL)


@pytest.mark.parametrize("text", ["", "{", '{"task": "x"', "[]", "3", "null"])
def test_a_damaged_call_is_told_and_left(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    for read in (read_call, load_run, lambda folder: begin_run(folder, CALL)):
        with pytest.raises(DataCorruptError, match=r"run\.json"):
            read(tmp_path)
    assert (tmp_path / "run.json").read_text() == text


# ---------------------------------------------------------------------- loading


def test_what_was_saved_is_loaded(tmp_path):
    fixations = pd.DataFrame([dict.fromkeys(FIXATION_COLUMNS, 1.0)])
    write_run(tmp_path, notes=["a note"], fixations=fixations)
    run = load_run(tmp_path, "search-slopes")
    assert run.folder == tmp_path
    assert run.trials["model"].tolist() == ["chance"]
    pd.testing.assert_frame_equal(run.fixations, fixations)
    assert run.scores["value"].tolist() == [0.5]
    assert run.provenance.notes == ("a note",)
    assert run.provenance.call == CALL


def test_where_nobody_moved_the_eyes_the_table_is_empty(tmp_path):
    run = load_run(write_run(tmp_path))
    assert list(run.fixations.columns) == list(FIXATION_COLUMNS)
    assert len(run.fixations) == 0


@pytest.mark.parametrize(
    "name",
    ["trials.parquet", "fixations.parquet", "scores.parquet", "provenance.json"],
)
def test_an_unfinished_run_is_told_with_the_command_that_finishes_it(tmp_path, name):
    (write_run(tmp_path) / name).unlink()
    message = f"no finished run: {name} is missing.*neurovis run search-slopes --out"
    with pytest.raises(FileNotFoundError, match=message):
        load_run(tmp_path)


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="neurovis run <experiment> --out"):
        load_run(tmp_path)
    with pytest.raises(FileNotFoundError, match="neurovis run free-viewing --out"):
        load_run(tmp_path / "nowhere", "free-viewing")


def test_a_run_of_another_experiment_is_refused(tmp_path):
    write_run(tmp_path)
    with pytest.raises(ValueError, match="must be one of 'free-viewing'; got 'search-"):
        load_run(tmp_path, "free-viewing")


@pytest.mark.parametrize("name", ["trials.parquet", "scores.parquet"])
def test_a_truncated_table_is_told(tmp_path, name):
    path = write_run(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataCorruptError, match=name):
        load_run(tmp_path)


def test_a_copy_of_a_run_is_a_run(tmp_path):
    write_run(tmp_path / "one")
    shutil.move(tmp_path / "one", tmp_path / "two")
    run = load_run(tmp_path / "two", "search-slopes")
    assert run.folder == tmp_path / "two"
    assert json.loads((run.folder / "run.json").read_text()) == CALL


# ------------------------------------------------------------------------ marks


def run_with(*notes):
    provenance = Provenance({}, "cpu", "float32", 0, notes=notes)
    empty = pd.DataFrame()
    return Run(None, empty, empty, empty, provenance)


def test_only_models_of_random_weights_are_marked():
    run = run_with(
        "small: untrained weights (seeded:0/16)",
        "large: slow",
        "untrained-looking: trained on faces",
        "All models are untrained in art.",
    )
    assert run.mark("small") == "small (untrained)"
    for name in ("large", "untrained-looking", "chance", "smal", "", "All models"):
        assert run.mark(name) == name


def test_a_name_that_begins_another_is_not_marked_for_it():
    run = run_with("a:b: untrained weights (seeded:0)")
    assert run.mark("a:b") == "a:b (untrained)"
    assert run.mark("a") == "a"


@pytest.mark.parametrize(
    ("notes", "untrained"),
    [
        ((), False),
        (("mine: untrained weights (seeded:0)",), True),
        (("mine: slow", "mine: untrained weights"), True),
        (("untrained weights",), True),
        (("mine: slow",), False),
    ],
)
def test_observers_tell_that_their_weights_are_random(notes, untrained):
    assert is_untrained(Observer(notes=notes)) is untrained


def test_a_label_alone_does_not_make_a_model_untrained():
    notes = ("untrained twin: nearest neighbour",)
    assert not is_untrained(Observer("untrained twin", notes))
    trained = ("untrained twin: untrained weights (seeded:1)",)
    assert is_untrained(Observer("untrained twin", trained))


def test_a_model_is_identified_by_what_it_is_and_not_by_its_name():
    models = [load_model("chance"), load_model("chance", label="dice")]
    models.append(load_model("saliency"))
    marks = model_fingerprints(models)
    assert list(marks) == ["model chance", "model dice", "model saliency"]
    one, same, other = marks.values()
    assert one == same != other
    assert {len(mark) for mark in marks.values()} == {64}


# --------------------------------------------------------------------- searches


def test_each_observer_has_one_table_per_block(tmp_path):
    searchers = [load_model("chance"), load_model("centre", label="middle")]
    tables = search_blocks(searchers, [block(0), block(2, 3)], task="t", seed=1)
    assert [len(parts) for parts in tables] == [2, 2]
    for searcher, parts in zip(searchers, tables, strict=True):
        assert [part["stimulus_id"].unique().tolist() for part in parts] == [
            ["d0", "d1"],
            ["d2", "d3", "d4"],
        ]
        for part in parts:
            assert list(part.columns) == [*FIXATION_COLUMNS, "found"]
            assert part["subject"].unique().tolist() == [searcher.name]
            assert part["fixation"].max() <= RULES.max_saccades


def test_how_displays_are_cut_into_blocks_does_not_matter():
    observers = [load_model("chance")]
    whole = search_blocks(observers, [block(0, 1), block(1, 1)], task="t", seed=1)
    trials = [*displays(0, 1), *displays(1, 1)]
    both = SearchBlock("both", RULES, 2, lambda: trials)
    joined = search_blocks(observers, [both], task="t", seed=1)
    pd.testing.assert_frame_equal(
        pd.concat(whole[0], ignore_index=True), joined[0][0], check_dtype=True
    )


def test_what_is_stored_is_neither_loaded_nor_searched_again(tmp_path):
    observer, store = Counting(load_model("chance")), Store(tmp_path)
    first = search_blocks([observer], [block(0)], task="t", seed=1, store=store)
    assert observer.seen == ["d0", "d1"]

    def fail():
        raise AssertionError("displays were asked for")

    stored = replace(block(0), load=fail)
    again = search_blocks([observer], [stored], task="t", seed=1, store=store)
    assert observer.seen == ["d0", "d1"]
    pd.testing.assert_frame_equal(again[0][0], first[0][0])
    without = search_blocks([observer], [block(0)], task="t", seed=1)
    pd.testing.assert_frame_equal(without[0][0], first[0][0])


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"task": "another"},
        {"blocks": [block(0, name="other displays")]},
        {"blocks": [block(0, rules=replace(RULES, max_saccades=4))]},
        {"blocks": [block(0, rules=replace(RULES, inhibition_px=12))]},
        {"searchers": [load_model("centre")]},
    ],
    ids=["seed", "task", "displays", "saccades", "inhibition", "observer"],
)
def test_another_search_is_kept_for_itself(tmp_path, change):
    call = {"searchers": [load_model("chance")], "blocks": [block(0)]}
    call |= {"task": "t", "seed": 1, "store": Store(tmp_path)}
    search_blocks(**call)
    assert len(call["store"].keys()) == 1
    search_blocks(**(call | change))
    assert len(call["store"].keys()) == 2


def test_observers_that_search_alike_share_what_is_stored(tmp_path):
    store = Store(tmp_path)
    models = [load_model("centre"), Counting(load_model("centre"), name="again")]
    tables = search_blocks(models, [block(0)], task="t", store=store)
    assert len(store.keys()) == 1
    assert models[1].seen == []
    assert tables[1][0]["subject"].unique().tolist() == ["again"]
    same = [parts[0].drop(columns="subject") for parts in tables]
    pd.testing.assert_frame_equal(*same)


def test_names_are_checked_before_anything_is_searched():
    observer = Counting(load_model("chance"))
    for others in ([observer, observer], [Counting(load_model("chance"), "human")]):
        with pytest.raises(ValueError, match="called"):
            search_blocks(others, [block(0)], task="t")
    assert observer.seen == []
