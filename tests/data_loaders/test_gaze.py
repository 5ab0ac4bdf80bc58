"""The one form of gaze data: what is completed, refused, counted and selected."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from data_loaders.gaze import (
    STIMULUS_COLUMNS,
    TARGET_COLUMNS,
    GazeData,
    make_gaze_data,
)
from neurovis.core.types import FIXATION_COLUMNS, TRIAL_COLUMNS, Responses


def _tables():
    return {
        "trials": pd.DataFrame(
            {
                "subject": ["b", "a", "a"],
                "stimulus_id": ["x", "y", "x"],
                "trial": [0, 5, 3],
                "rt_ms": [100.0, 300.0, np.nan],
                "correct": [1, 0, None],
                "block": ["u", "v", "w"],
            }
        ),
        "fixations": pd.DataFrame(
            {
                "subject": ["b", "a", "a", "a"],
                "trial": [0, 3, 3, 3],
                "fixation": [0, 2, 0, 1],
                "x_px": [0.0, 100.0, 100.1, np.nan],
                "y_px": [50.0, 0.0, 10.0, 10.0],
                "duration_ms": [200, 0, 100, 150],
            }
        ),
        "stimuli": pd.DataFrame(
            {"stimulus_id": ["y", "x"], "width_px": [100, 100], "height_px": [50, 50]}
        ),
    }


def _make(**changes):
    return make_gaze_data("test", **{**_tables(), **changes})


def test_tables_are_sorted_and_completed():
    data = _make()
    assert tuple(data.trials.columns[:6]) == TRIAL_COLUMNS
    assert data.trials[["subject", "trial"]].to_numpy().tolist() == [
        ["a", 3],
        ["a", 5],
        ["b", 0],
    ]
    assert data.trials["n_fixations"].tolist() == [3, 0, 1]
    assert data.trials["correct"].tolist() == [pd.NA, False, True]
    assert data.trials["block"].tolist() == ["w", "v", "u"]
    own = (*FIXATION_COLUMNS, "trial", "on_screen")
    assert tuple(data.fixations.columns) == own
    assert data.fixations["fixation"].tolist() == [0, 1, 2, 0]
    assert data.fixations["stimulus_id"].tolist() == ["x"] * 4
    assert data.fixations["on_screen"].tolist() == [False, False, True, True]
    assert data.stimuli["stimulus_id"].tolist() == ["x", "y"]
    assert data.stimuli[list(TARGET_COLUMNS)].isna().all(axis=None)
    kinds = data.fixations.dtypes.astype(str).to_dict()
    assert kinds["subject"] == kinds["stimulus_id"] == "str"
    assert kinds["trial"] == kinds["fixation"] == "int64"
    assert kinds["x_px"] == kinds["duration_ms"] == "float64"
    assert kinds["on_screen"] == "bool"


def test_counts_become_notes():
    assert _make(notes=["mine"]).notes == (
        "mine",
        "1 of 3 trials have no fixation.",
        "1 of 4 fixations have no position (NaN).",
        "1 of 4 fixations lie off the screen.",
    )
    whole = _tables()["fixations"].assign(x_px=1.0)
    assert _make(fixations=whole).notes == ("1 of 3 trials have no fixation.",)


def test_edges_of_the_screen_belong_to_it():
    fixations = pd.DataFrame(
        {
            "subject": "b",
            "trial": 0,
            "fixation": range(6),
            "x_px": [0, 100, -1e-9, 100 + 1e-9, 50, 50],
            "y_px": [0, 50, 10, 10, -1e-9, np.nan],
        }
    )
    screen = _make(fixations=fixations).fixations["on_screen"]
    assert screen.tolist() == [True, True, False, False, False, False]


def test_absent_columns_are_undefined():
    tables = _tables()
    data = _make(
        trials=tables["trials"][["subject", "stimulus_id"]],
        fixations=tables["fixations"]
        .assign(stimulus_id="x")
        .drop(columns=["trial", "duration_ms"]),
    )
    assert data.trials["trial"].tolist() == [0, 1, 0]
    assert data.trials["stimulus_id"].tolist() == ["x", "y", "x"]
    for column in ("response", "rt_ms", "correct"):
        assert data.trials[column].isna().all()
    assert data.trials["correct"].dtype == "boolean"
    assert data.fixations["duration_ms"].isna().all()
    assert data.fixations["trial"].tolist() == [0, 0, 0, 0]


def test_whole_numbers_become_text():
    tables = _tables()
    ids = {"a": 10, "b": 9}
    trials = tables["trials"].replace({"subject": ids})
    fixations = tables["fixations"].replace({"subject": ids})
    data = _make(trials=trials, fixations=fixations)
    assert data.trials["subject"].tolist() == ["10", "10", "9"]
    assert data.fixations["subject"].tolist() == ["10", "10", "10", "9"]


def test_one_observer_without_any_fixation_is_data():
    trials = _tables()["trials"].iloc[:1]
    data = _make(trials=trials, fixations=_tables()["fixations"].iloc[:0])
    assert data.trials["n_fixations"].tolist() == [0]
    assert len(data.fixations) == 0
    assert data.fixations["on_screen"].dtype == bool
    assert data.describe()[0] == "1 subjects, 2 stimuli, 1 trials, 0 fixations"


def test_nothing_at_all_is_data():
    data = _make(**{name: table.iloc[:0] for name, table in _tables().items()})
    assert data.describe() == [
        "0 subjects, 0 stimuli, 0 trials, 0 fixations",
        "no fixation durations",
    ]


def _with(table, **columns):
    return {table: _tables()[table].assign(**columns)}


def _double(table):
    return {table: pd.concat([_tables()[table]] * 2)}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_double("stimuli"), r"`stimuli` repeats an identity in: stimulus_id y"),
        (_double("trials"), r"repeats a trial in: subject b, stimulus_id x, trial 0"),
        (
            _double("fixations"),
            r"repeats a fixation in: subject b, trial 0, fixation 0 and 3 more",
        ),
        (_with("fixations", duration_ms=[1, -5, 1, 1]), r"negative .*duration_ms -5"),
        (_with("fixations", duration_ms=[1, np.inf, 1, 1]), "infinite"),
        (_with("fixations", x_px=[1, np.inf, 1, 1]), "infinite"),
        (_with("fixations", x_px=["1", "left", "1", "1"]), "must have numbers in `x_"),
        (_with("fixations", fixation=[0, 1.5, 1, 2]), "`fixation` must be a whole"),
        (_with("fixations", fixation=[-1, 1, 0, 2]), "negative fixation number"),
        (_with("fixations", trial=[0, 3, 4, 3]), "has no trial in: subject a, trial 4"),
        (_with("fixations", stimulus_id=["x", "y", "x", "x"]), "another stimulus"),
        (_with("fixations", subject=["b", None, "a", "a"]), "`subject` must be text"),
        (_with("trials", subject=["b", "a", np.nan]), "`subject` must be text"),
        (_with("trials", subject=[1.0, 2.0, 3.0]), "`subject` must be text or a whole"),
        (_with("trials", subject=["b", "a", ""]), "`subject` must be text"),
        (_with("trials", stimulus_id=["x", "z", "x"]), "stimulus_id z. Add the stim"),
        (_with("trials", rt_ms=[-1.0, 1, 1]), "negative time in: subject b"),
        (_with("trials", correct=["yes", "no", "no"]), "True, False or nothing"),
        (_with("trials", trial=[0, 0.5, 1]), "`trial` must be a whole number"),
        (_with("trials", n_fixations=[1, 0, 2]), "trial 3, n_fixations 2"),
        (_with("stimuli", width_px=[0, 100]), "has no size in: stimulus_id y, width"),
        (_with("stimuli", height_px=[1, np.nan]), "stimulus_id x, height_px nan"),
        (_with("stimuli", target_left_px=[1.0, 2.0]), "no box for its target"),
        ({"px_per_deg": 0.0}, "`px_per_deg` must be within"),
    ],
)
def test_what_cannot_be_is_one_clear_error(change, match):
    with pytest.raises(ValueError, match=match):
        _make(**change)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("trials", "subject"),
        ("trials", "stimulus_id"),
        ("fixations", "subject"),
        ("fixations", "fixation"),
        ("fixations", "x_px"),
        ("fixations", "y_px"),
        ("fixations", "trial"),
        ("stimuli", "stimulus_id"),
        ("stimuli", "width_px"),
    ],
)
def test_a_missing_column_is_named(table, column):
    change = {table: _tables()[table].drop(columns=column)}
    with pytest.raises(
        ValueError, match=rf"`{table}` lacks the columns \['{column}'\]"
    ):
        _make(**change)


def test_a_pair_seen_twice_needs_trial_numbers():
    tables = _tables()
    twice = tables["trials"].assign(stimulus_id="x")
    with pytest.raises(ValueError, match="Add the column `trial`"):
        _make(trials=twice.drop(columns="trial"))
    points = tables["fixations"].assign(stimulus_id="x").drop(columns="trial")
    with pytest.raises(ValueError, match="saw a stimulus more than once"):
        _make(trials=twice, fixations=points)


def test_a_box_upside_down_is_refused():
    box = dict(zip(TARGET_COLUMNS, (1.0, 9.0, 2.0, 8.0), strict=True))
    with pytest.raises(ValueError, match="top <= bottom"):
        _make(**_with("stimuli", **box))


def test_gaze_data_needs_the_completed_columns():
    data = _make()
    with pytest.raises(ValueError, match="n_fixations"):
        GazeData("x", Responses(data.trials.drop(columns="n_fixations")), data.stimuli)
    with pytest.raises(ValueError, match="must have scanpaths"):
        GazeData("x", Responses(data.trials), data.stimuli)


def test_selection_keeps_what_was_asked_for():
    data = _make(notes=["mine"], px_per_deg=30.0)
    one = data.select("a")
    assert one.trials["subject"].unique().tolist() == ["a"]
    assert len(one.fixations) == 3
    assert one.stimuli["stimulus_id"].tolist() == ["x", "y"]
    assert one.notes == (
        "mine",
        "1 of 2 trials have no fixation.",
        "1 of 3 fixations have no position (NaN).",
        "1 of 3 fixations lie off the screen.",
    )
    both = data.select(subjects=["a", "b"], stimuli=["x"])
    assert both.trials["stimulus_id"].unique().tolist() == ["x"]
    assert both.stimuli["stimulus_id"].tolist() == ["x"]
    assert both.px_per_deg == 30.0
    assert len(data.select(subjects="b", stimuli="y").trials) == 0
    assert_frame_equal(data.select().fixations, data.fixations)
    assert data.select().notes == data.notes


def test_selection_of_who_is_not_there_is_refused():
    with pytest.raises(ValueError, match="`subjects` must be among the 2"):
        _make().select(subjects=["a", "cc"])
    names = {"x": "left.jpg", "y": "right.jpg"}
    tables = {k: t.replace(names) for k, t in _tables().items()}
    with pytest.raises(ValueError, match=r"Did you mean 'left.jpg'\?"):
        _make(**tables).select(stimuli="left")


def test_description_counts():
    assert _make(notes=["mine"]).describe() == [
        "2 subjects, 2 stimuli, 3 trials, 4 fixations",
        "0 to 3 fixations per trial, mean 1.33, median 1",
        "fixation durations 0 to 200 ms, mean 112.5 ms",
        "frame 100 x 50 px",
        "0 stimuli with a target box",
        "note: mine",
        "note: 1 of 3 trials have no fixation.",
        "note: 1 of 4 fixations have no position (NaN).",
        "note: 1 of 4 fixations lie off the screen.",
    ]


def test_arguments_are_not_changed():
    given_tables, before = _tables(), _tables()
    make_gaze_data("test", **given_tables)
    for name, table in before.items():
        assert_frame_equal(given_tables[name], table)


@st.composite
def gaze(draw):
    """Tables of some observers with random scanpaths."""
    sizes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    place = st.one_of(st.just(np.nan), st.floats(-20, 120))
    rows = [
        (f"s{i % 2}", i, k, draw(place), draw(place), draw(st.floats(0, 500)))
        for i, n in enumerate(sizes)
        for k in range(n)
    ]
    columns = ["subject", "trial", "fixation", "x_px", "y_px", "duration_ms"]
    trials = pd.DataFrame(
        {
            "subject": [f"s{i % 2}" for i in range(len(sizes))],
            "trial": range(len(sizes)),
            "stimulus_id": [f"{i // 2}" for i in range(len(sizes))],
        }
    )
    stimuli = pd.DataFrame({"stimulus_id": ["0", "1", "2"]})
    return {
        "trials": trials,
        "fixations": pd.DataFrame(rows, columns=columns),
        "stimuli": stimuli.assign(width_px=100, height_px=80),
    }


@given(gaze(), st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_the_order_of_rows_does_not_matter(tables, seed):
    one = make_gaze_data("g", **tables)
    mixed = {k: t.sample(frac=1, random_state=seed) for k, t in tables.items()}
    other = make_gaze_data("g", **mixed)
    assert_frame_equal(one.trials, other.trials)
    assert_frame_equal(one.fixations, other.fixations)
    assert_frame_equal(one.stimuli, other.stimuli)
    assert one.notes == other.notes


@given(gaze())
@settings(max_examples=20)
def test_counts_and_screen_agree_with_a_plain_loop(tables):
    data = make_gaze_data("g", **tables)
    rows = tables["fixations"]
    for trial in data.trials.itertuples():
        mine = [r for r in rows.itertuples() if r.trial == trial.trial]
        assert trial.n_fixations == len(mine)
    for row in data.fixations.itertuples():
        assert row.on_screen == (0 <= row.x_px <= 100 and 0 <= row.y_px <= 80)


@given(gaze())
@settings(max_examples=20)
def test_parts_of_the_observers_make_the_whole(tables):
    data = make_gaze_data("g", **tables)
    parts = [data.select(s) for s in data.trials["subject"].unique()]
    assert_frame_equal(
        pd.concat([p.fixations for p in parts], ignore_index=True), data.fixations
    )
    assert_frame_equal(
        pd.concat([p.trials for p in parts], ignore_index=True), data.trials
    )
    again = make_gaze_data(
        "g", trials=data.trials, fixations=data.fixations, stimuli=data.stimuli
    )
    assert_frame_equal(again.fixations, data.fixations)
    assert_frame_equal(again.stimuli, data.stimuli)
    assert again.notes == data.notes
    assert tuple(data.stimuli.columns) == STIMULUS_COLUMNS
