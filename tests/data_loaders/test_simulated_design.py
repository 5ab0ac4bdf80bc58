"""The experiment of simulated data."""

import numpy as np
import pytest

from data_loaders.simulated_design import (
    RUN_TRIALS,
    check_sessions,
    draw_behaviour,
    make_design,
    stimulus_table,
    trial_table,
)
from data_loaders.simulated_settings import n_pictures


@pytest.fixture(scope="module")
def design():
    return make_design(1500, (3, 2), n_shared=100, n_withheld=1, seed=5)


def test_each_picture_of_a_list_is_shown_three_times(design):
    assert design.masterordering.shape == (2250,)
    assert (np.bincount(design.masterordering)[1:] == 3).all()
    assert design.n_images == 750
    shown = np.take(design.masterordering, design.presentations - 1)
    assert (shown == np.arange(1, 751)[:, None]).all()
    assert (np.diff(design.presentations, axis=1) > 0).all()


def test_shared_pictures_come_first_in_each_list_and_are_the_only_common_ones(design):
    first, second = design.subjectim
    assert set(first[:100]) == set(second[:100]) == set(design.sharedix)
    assert set(first) & set(second) == set(design.sharedix)
    assert (np.diff(design.sharedix) > 0).all()
    assert first[:100].tolist() != design.sharedix.tolist()  # readers must use numbers
    for pictures in design.subjectim:
        assert len(set(pictures)) == 750
        assert pictures.min() >= 1
        assert pictures.max() <= 1500
        assert np.abs(np.corrcoef(pictures, np.arange(750))[0, 1]) < 0.2  # scattered


def test_no_picture_follows_itself():
    for seed in range(5):
        order = make_design(300, (1,), n_shared=30, seed=seed).masterordering
        assert (order[1:] != order[:-1]).all()


def test_withheld_sessions_are_known_to_the_design_and_have_no_trials(design):
    assert design.stimpattern.shape == (3, 12, 75)
    assert [design.n_files(s) for s in (1, 2)] == [2, 1]
    assert len(design.positions(1)) == 1500
    assert (design.positions(2) == design.masterordering[:750] - 1).all()


def test_runs_have_62_or_63_pictures_between_blank_ends(design):
    assert design.stimpattern.sum(axis=2).tolist() == [list(RUN_TRIALS)] * 3
    assert sum(RUN_TRIALS) == 750
    assert not design.stimpattern[:, :, :3].any()
    assert not design.stimpattern[:, :, -4:].any()


def test_pictures_seen_add_up(design):
    counts = design.basiccnt
    assert counts.shape == (3, 3)
    assert (counts[:, -1] == 750).all()
    seen = [len(set(design.masterordering[: 750 * s])) for s in (1, 2, 3)]
    assert counts[0].tolist() == seen
    assert (np.diff(counts, axis=0) <= 0).all()


def test_the_order_does_not_depend_on_the_number_of_subjects():
    one = make_design(2000, (3,), n_shared=75, seed=1)
    two = make_design(2000, (3, 3), n_shared=75, seed=1)
    assert (one.masterordering == two.masterordering).all()
    assert (one.subjectim[0] == two.subjectim[0]).all()
    other = make_design(2000, (3,), n_shared=75, seed=2)
    assert (one.masterordering != other.masterordering).any()


@pytest.mark.paper
def test_a_full_experiment_repeats_pictures_about_as_often_as_nsd():
    design = make_design(73_000, (40,) * 8, n_shared=1000, seed=0)
    assert design.subjectim.shape == (8, 10_000)
    assert len(np.unique(design.subjectim)) == 73_000
    # Distinct pictures seen at least once, twice, thrice after 30 and 32 sessions.
    published = {30: (9209, 7846, 5445), 32: (9411, 8355, 6234)}
    for n_sessions, expected in published.items():
        found = design.basiccnt[:, n_sessions - 1]
        assert np.abs(found - expected).max() < 200
    assert (design.presentations[:, 0] <= 22_500).sum() == design.basiccnt[0, 29]


def test_numbers_of_pictures_are_those_of_nsd():
    assert n_pictures(8, 40) == 73_000
    assert n_pictures(2, 3) == 75 + 2 * 675
    assert n_pictures(2, (3, 1), 750) == 750


# ------------------------------------------------------------------ tables


def test_the_table_of_pictures_agrees_with_the_design(design):
    table = stimulus_table(design, 1500, seed=5)
    assert table["nsdId"].tolist() == list(range(1500))
    assert table["cocoId"].is_unique
    assert (
        np.flatnonzero(table["shared1000"]) + 1
    ).tolist() == design.sharedix.tolist()
    assert table["subject1"].sum() == table["subject2"].sum() == 750
    assert table["subject3"].sum() == 0
    for subject in (1, 2):
        reps = table[[f"subject{subject}_rep{j}" for j in range(3)]].to_numpy()
        seen = reps[:, 0] > 0
        assert ((reps > 0).all(axis=1) == seen).all()
        for j in range(3):
            position = design.masterordering[reps[seen, j] - 1]
            shown = design.subjectim[subject - 1, position - 1] - 1
            assert (shown == np.flatnonzero(seen)).all()
    boxes = table["cropBox"].map(lambda text: tuple(map(float, text[1:-1].split(","))))
    assert boxes.map(len).unique().tolist() == [4]
    assert boxes.map(sum).max() < 1


def test_trials_run_through_sessions_and_runs(design):
    trials = trial_table(design, 1)
    assert len(trials) == 1500
    sizes = trials.groupby(["session", "run"]).size()
    assert sizes.tolist() == list(RUN_TRIALS) * 2
    assert (trials.groupby(["session", "run"])["slot"].diff().dropna() >= 1).all()
    expected = design.subjectim[0, design.masterordering[:1500] - 1] - 1
    assert (trials["nsd_id"] == expected).all()


def test_answers_tell_old_from_new_better_than_chance_and_short_lags_best(design):
    table = draw_behaviour(design, 1, seed=5)
    seen = set()
    for picture, is_old in zip(table["73KID"], table["ISOLD"], strict=True):
        assert is_old == (picture in seen)
        seen.add(picture)
    ids = design.subjectim[0, table["10KID"] - 1]
    assert (ids == table["73KID"]).all()
    answered = table["MISSINGDATA"] == 0
    columns = ["ISCORRECT", "RT", "CHANGEMIND", "ISCORRECTCURRENT", "BUTTON"]
    assert table[columns].notna().all(axis=1).equals(answered)
    says_old = table["BUTTON"] == 2
    correct = (says_old == (table["ISOLD"] == 1))[answered]
    assert (table["ISCORRECT"][answered] == correct).all()
    assert 0.65 < table["ISCORRECT"].mean() < 0.95
    old = table[answered & (table["ISOLD"] == 1)]
    near = old["MEMORYRECENT"] < old["MEMORYRECENT"].median()
    assert old["ISCORRECT"][near].mean() > old["ISCORRECT"][~near].mean()
    assert (old["MEMORYFIRST"] >= old["MEMORYRECENT"]).all()
    assert table["MEMORYRECENT"].isna().equals(table["ISOLD"] == 0)
    assert table["TIME"].is_monotonic_increasing
    assert table["RT"].dropna().between(250, 4000).all()
    assert ((table["TOTAL1"] + table["TOTAL2"] > 0) == answered).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((9, 3, 0), "`n_subjects` must be within"),
        ((2, (3, 3, 3), 0), "one for each of 2 subjects; got 3"),
        ((2, 3, 3), "`n_sessions` must be within .4, 99."),
        ((2, 3, -1), "`n_withheld` must be within"),
        ((2, 2.5, 0), "`n_sessions` must be a whole number"),
    ],
)
def test_impossible_sessions_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_sessions(*arguments)


def test_sessions_are_one_number_or_one_each():
    assert check_sessions(2, 3, 0) == (3, 3)
    assert check_sessions(2, np.array([3, 2]), 1) == (3, 2)
