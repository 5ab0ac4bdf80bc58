"""Scores of scanpaths: pairing, people against people, chance, limits."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.scanpath_measures import MEASURES, MeasureSettings, score_pairs
from analysis.scanpath_sets import pack_scanpaths
from analysis.scanpaths import (
    CHANCE_DRAWS,
    HUMAN_MODEL,
    SHUFFLED,
    UNIFORM,
    scanpath_trials,
    score_scanpaths,
)
from neurovis.core.types import SCORE_COLUMNS

SIDE = 200


def fixations(subjects, stimuli, *, seed=0, noise=15.0, lengths=(4, 9), samples=1):
    """Scanpaths around places that belong to the stimulus."""
    rng = np.random.default_rng(seed)
    rows = []
    for stimulus in stimuli:
        places = np.random.default_rng(int(stimulus)).uniform(20, 180, (12, 2))
        for subject in subjects:
            for trial in range(samples):
                n = int(rng.integers(*lengths))
                points = np.clip(places[:n] + rng.normal(0, noise, (n, 2)), 0, SIDE)
                rows += [
                    {
                        "subject": subject,
                        "stimulus_id": stimulus,
                        "trial": trial,
                        "fixation": i,
                        "x_px": x,
                        "y_px": y,
                        "duration_ms": float(rng.integers(100, 400)),
                    }
                    for i, (x, y) in enumerate(points)
                ]
    return pd.DataFrame(rows)


STIMULI = ["1", "2", "3", "4", "5"]
SCREENS = pd.DataFrame({"stimulus_id": STIMULI, "width_px": SIDE, "height_px": SIDE})
PEOPLE = fixations(["a", "b", "c"], STIMULI, seed=1)
MODEL = fixations(["model"], STIMULI, seed=2, samples=2)
ALL = tuple(MEASURES)


def path_of(table, **key):
    part = table
    for name, value in key.items():
        part = part[part[name] == value]
    return part.sort_values("fixation")[["x_px", "y_px", "duration_ms"]].to_numpy()


def pair(pred, human, measure):
    sets = pack_scanpaths([pred]), pack_scanpaths([human])
    return score_pairs(*sets, [(0, 0)], [measure], screen_px=(SIDE, SIDE))[0, 0]


@pytest.mark.parametrize("measure", ALL)
def test_a_model_is_the_mean_over_its_samples_and_human_trials(measure):
    table = score_scanpaths(
        MODEL, PEOPLE, SCREENS, measures=[measure], chance=(), n_bootstrap=0
    ).set_index("model")
    values = [
        np.nanmean(
            [
                pair(
                    path_of(MODEL, stimulus_id=s, trial=t),
                    path_of(PEOPLE, stimulus_id=s, subject=p),
                    measure,
                )
                for t in (0, 1)
            ]
        )
        for s in STIMULI
        for p in "abc"
    ]
    assert table.loc["model", "value"] == pytest.approx(np.nanmean(values))
    assert table.loc["model", "n"] == 15
    assert table.loc["model", "n_pairs"] == 30


@pytest.mark.parametrize("measure", ALL)
def test_people_are_compared_with_the_others_and_never_with_themselves(measure):
    table = score_scanpaths(
        MODEL, PEOPLE, SCREENS, measures=[measure], chance=(), n_bootstrap=0
    ).set_index("model")
    values = [
        np.nanmean(
            [
                pair(
                    path_of(PEOPLE, stimulus_id=s, subject=q),
                    path_of(PEOPLE, stimulus_id=s, subject=p),
                    measure,
                )
                for q in "abc"
                if q != p
            ]
        )
        for s in STIMULI
        for p in "abc"
    ]
    assert table.loc[HUMAN_MODEL, "value"] == pytest.approx(np.nanmean(values))
    assert (table["ceiling_low"] == table.loc[HUMAN_MODEL, "value"]).all()


def test_a_second_trial_of_the_same_person_is_no_other_observer():
    twice = pd.concat([PEOPLE, PEOPLE.assign(trial=1)])
    once = score_scanpaths(MODEL, PEOPLE, SCREENS, chance=(), n_bootstrap=0)
    both = score_scanpaths(MODEL, twice, SCREENS, chance=(), n_bootstrap=0)
    np.testing.assert_allclose(once["value"], both["value"])


def test_a_copy_of_a_person_scores_above_people_themselves():
    copy = PEOPLE[PEOPLE["subject"] == "a"].assign(subject="copy")
    table = score_scanpaths(
        copy, PEOPLE, SCREENS, measures=["scanmatch"], chance=(), n_bootstrap=0
    ).set_index("model")["value"]
    assert table["copy"] > table[HUMAN_MODEL]


def test_chance_stays_below_people():
    table = score_scanpaths(MODEL, PEOPLE, SCREENS, measures=["scanmatch", "stde"])
    for _, part in table.groupby("metric"):
        value = part.set_index("model")["value"]
        assert value[SHUFFLED] < value[HUMAN_MODEL]
        assert value[UNIFORM] < value[HUMAN_MODEL]
        assert value["model"] > value[UNIFORM]


def test_chance_is_drawn_ten_times_for_each_trial_and_by_seed():
    tables = [
        score_scanpaths(
            MODEL, PEOPLE, SCREENS, measures=["dtw_px"], seed=seed, n_bootstrap=0
        ).set_index("model")
        for seed in (3, 3, 4)
    ]
    assert tables[0].loc[UNIFORM, "n_pairs"] == 15 * CHANCE_DRAWS
    values = [table.loc[UNIFORM, "value"] for table in tables]
    assert values[0] == values[1] != values[2]


def test_shuffled_scanpaths_are_of_other_people_on_other_stimuli():
    # Every scanpath stays at a place that tells subject and stimulus.
    rows = [
        {
            "subject": p,
            "stimulus_id": s,
            "fixation": i,
            "x_px": 1.0 + 30 * k,
            "y_px": 1.0 + 40 * j,
            "duration_ms": 1.0,
        }
        for j, p in enumerate("abc")
        for k, s in enumerate(STIMULI)
        for i in range(3)
    ]
    people = pd.DataFrame(rows)
    trials = scanpath_trials(
        people.assign(subject="m", fixation=range(len(people))),
        people,
        SCREENS,
        measures=["dtw_px"],
        chance=["shuffled"],
    )
    chance = trials[trials["model"] == SHUFFLED]["dtw_px"] / 3
    assert (chance >= np.hypot(30, 40) - 1e-9).all()


def test_scanpaths_of_another_screen_are_scaled_to_this_one():
    screens = SCREENS.assign(width_px=[200, 400, 200, 200, 200])
    rows = [
        {
            "subject": p,
            "stimulus_id": s,
            "fixation": i,
            "x_px": 0.5 * w,
            "y_px": 50.0,
            "duration_ms": 1.0,
        }
        for p in "ab"
        for s, w in zip(STIMULI, screens["width_px"], strict=True)
        for i in range(3)
    ]
    people = pd.DataFrame(rows)
    table = score_scanpaths(
        people[people["subject"] == "a"].assign(subject="m"),
        people,
        screens,
        measures=["dtw_px"],
        chance=["shuffled"],
        n_bootstrap=0,
    ).set_index("model")["value"]
    assert table[SHUFFLED] == 0


def test_limits_cut_both_scanpaths_of_a_pair():
    limited = PEOPLE.assign(max_fixations=3)
    cut = PEOPLE[PEOPLE["fixation"] < 3]
    model_cut = MODEL[MODEL["fixation"] < 3]
    one = score_scanpaths(MODEL, limited, SCREENS, chance=(), n_bootstrap=0)
    two = score_scanpaths(model_cut, cut, SCREENS, chance=(), n_bootstrap=0)
    np.testing.assert_allclose(one["value"], two["value"])


def test_the_first_fixation_can_be_left_out():
    def later(table):
        rest = table[table["fixation"] > 0]
        return rest.assign(fixation=rest["fixation"] - 1)

    one = score_scanpaths(
        MODEL, PEOPLE, SCREENS, chance=(), skip_first=True, n_bootstrap=0
    )
    two = score_scanpaths(
        later(MODEL), later(PEOPLE), SCREENS, chance=(), n_bootstrap=0
    )
    np.testing.assert_allclose(one["value"], two["value"])


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_the_order_of_rows_and_observers_changes_nothing(seed):
    order = np.random.default_rng(seed)
    names = dict(zip("abc", order.permutation(list("xyz")), strict=True))
    mixed = PEOPLE.sample(frac=1, random_state=order)
    mixed = mixed.assign(subject=mixed["subject"].map(names))
    one, two = (
        score_scanpaths(MODEL, people, SCREENS, chance=(), n_bootstrap=0)
        for people in (PEOPLE, mixed)
    )
    np.testing.assert_allclose(one["value"], two["value"])


def test_undefined_pairs_are_counted_and_left_out():
    short = PEOPLE[(PEOPLE["subject"] != "a") | (PEOPLE["fixation"] < 2)]
    table = score_scanpaths(
        MODEL, short, SCREENS, measures=["multimatch_vector"], chance=(), n_bootstrap=0
    ).set_index("model")
    assert table.loc["model", "n"] == 10
    assert table.loc["model", "n_trials"] == 15
    assert table.loc["model", "n_undefined"] == 10
    assert table.loc["model", "value"] > 0.5


def test_a_lost_eye_makes_its_scanpath_undefined():
    lost = PEOPLE.copy()
    lost.loc[lost.index[0], "x_px"] = np.nan
    table = score_scanpaths(
        MODEL, lost, SCREENS, measures=["scanmatch"], chance=(), n_bootstrap=0
    ).set_index("model")
    assert table.loc["model", "n_undefined"] == 2


def test_one_observer_has_no_consistency():
    one = PEOPLE[PEOPLE["subject"] == "a"]
    table = score_scanpaths(
        MODEL, one, SCREENS, measures=["scanmatch"], chance=["uniform"], n_bootstrap=0
    ).set_index("model")
    assert np.isnan(table.loc[HUMAN_MODEL, "value"])
    assert table.loc[HUMAN_MODEL, "n"] == 0
    assert table["ceiling_low"].isna().all()
    assert table.loc["model", "value"] > 0


def test_intervals_hold_the_value_and_shrink_with_stimuli():
    many = [str(i) for i in range(40)]
    screens = pd.DataFrame({"stimulus_id": many, "width_px": SIDE, "height_px": SIDE})
    widths = []
    for stimuli in (many[:5], many):
        table = score_scanpaths(
            fixations(["m"], stimuli, seed=5),
            fixations(["a", "b"], stimuli, seed=6),
            screens,
            measures=["scanmatch"],
            chance=(),
        ).set_index("model")
        row = table.loc["m"]
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        widths.append(row["ci_high"] - row["ci_low"])
    assert widths[1] < widths[0]


def test_columns_are_those_of_every_score_table():
    table = score_scanpaths(MODEL, PEOPLE, SCREENS, measures=["dtw_px"], n_bootstrap=0)
    assert list(table.columns[: len(SCORE_COLUMNS)]) == list(SCORE_COLUMNS)
    assert table["value_over_ceiling"].isna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measures": ["scanmach"]}, "Did you mean 'scanmatch'"),
        ({"chance": ["random"]}, "`chance` must be one of"),
        ({"pred": MODEL.assign(subject="human")}, "rename it"),
        ({"pred": MODEL.drop(columns="x_px")}, "lacks the columns"),
        ({"pred": MODEL.iloc[:0]}, "is empty"),
        ({"pred": MODEL.assign(stimulus_id="9")}, "which `stimuli` lacks"),
        ({"stimuli": pd.concat([SCREENS, SCREENS])}, "repeats stimulus_id"),
        ({"stimuli": SCREENS.assign(width_px=0)}, "above 0"),
        ({"pred": pd.concat([MODEL, MODEL])}, "more than one row"),
    ],
)
def test_wrong_input_gets_one_clear_error(change, message):
    call = {"pred": MODEL, "human": PEOPLE, "stimuli": SCREENS} | change
    with pytest.raises(ValueError, match=message):
        score_scanpaths(**call)


def test_models_on_other_stimuli_are_refused():
    pred = MODEL[MODEL["stimulus_id"] == "1"]
    human = PEOPLE[PEOPLE["stimulus_id"] == "2"]
    with pytest.raises(ValueError, match="share no stimulus_id"):
        score_scanpaths(pred, human, SCREENS)


@pytest.mark.parametrize("measure", ALL)
def test_identity_is_the_best_value(measure):
    kind = MEASURES[measure]
    path = path_of(PEOPLE, subject="a", stimulus_id="1")
    same = pair(path, path, measure)
    other = pair(path_of(PEOPLE, subject="b", stimulus_id="3"), path, measure)
    if kind.more_is_better is False:
        assert same == 0
        assert other >= 0
    elif kind.unit == "similarity":
        assert same == pytest.approx(1)
        assert other <= 1


def test_settings_reach_the_measures():
    path, other = (
        pack_scanpaths([path_of(PEOPLE, subject=s, stimulus_id="1")]) for s in "ab"
    )
    names = ["scanmatch", "tde_px", "recurrence", "scanmatch_duration"]
    plain, changed = (
        score_pairs(path, other, None, names, screen_px=(SIDE, SIDE), settings=setting)[
            0
        ]
        for setting in (
            MeasureSettings(),
            MeasureSettings((4, 3), 2.0, 200.0, None, 1, 0.3),
        )
    )
    assert (plain != changed).all()


@pytest.mark.parametrize(
    "wrong", [{"grid": (0, 3)}, {"tde_window": 0}, {"recurrence_radius": 0.0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be within"):
        MeasureSettings(**wrong)
