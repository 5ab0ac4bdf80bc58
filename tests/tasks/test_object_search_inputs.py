"""What an object search is run on: sources, splits, and the split that leaks."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from neurovis.adapters.search_policy import SHELF_SEARCHER, random_policy
from tasks.object_search_data import (
    FOLDS,
    LEAKAGE_NOTE,
    PUBLISHED_FOLDS,
    check_no_leakage,
    load_object_search,
    published_search,
    search_splits,
)
from tasks.object_search_inputs import (
    read_source,
    search_data,
    source_call,
    split_data,
)
from tasks.object_search_scores import leave_one_out_scores
from tasks.simulated_search import SimulatedSearch

SMALL = SimulatedSearch(
    n_shelves=12, targets_per_shelf=2, n_observers=3, rows=2, cols=4
)


@pytest.fixture(scope="module")
def data():
    return search_data(SMALL)


@pytest.fixture(scope="module")
def people(data_folder):
    return load_object_search(data_folder / "amazon_covers")


# ---------------------------------------------------------------------- sources


@pytest.mark.parametrize(
    "source",
    [
        SimulatedSearch(),
        SMALL,
        replace(SMALL, policy=random_policy(3, "memory")),
        replace(SMALL, policy=replace(SHELF_SEARCHER, memory=4, guidance=())),
    ],
    ids=["default", "small", "random", "empty guidance"],
)
def test_a_simulation_comes_back_from_its_json_form(source):
    call = json.loads(json.dumps(source_call(source)))
    assert read_source(call) == source
    assert source_call(read_source(call)) == source_call(source)


def test_a_folder_comes_back_as_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = json.loads(json.dumps(source_call("covers")))
    assert call == str(tmp_path / "covers")
    assert read_source(call) == tmp_path / "covers"


def test_covers_are_put_on_displays_only_when_asked_for(data):
    assert all(t.display.appearance is None for t in data.trials)
    dressed = search_data(SMALL, "synthetic")
    assert all(t.display.appearance.shape == (8, 120) for t in dressed.trials)


def test_wrong_sources_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`appearance` must be one of 'none', 'synth"):
        search_data(SMALL, "pictures")
    with pytest.raises(FileNotFoundError):
        search_data(tmp_path / "nowhere")


# ----------------------------------------------------------------------- splits


@pytest.mark.parametrize("folds", FOLDS)
def test_the_first_splits_are_those_of_all(data, folds):
    same, every = split_data(data, folds)
    assert same is data
    assert [s.name for s in every] == [s.name for s in search_splits(data, folds)]
    changed, some = split_data(data, folds, n_splits=2)
    assert [s.name for s in some] == [s.name for s in every[:2]]
    for one, other in zip(some, every, strict=False):
        assert one.test.tolist() == other.test.tolist()
    # It is told that not all displays were tested.
    assert changed.notes == (
        *data.notes,
        f"Only 2 of {len(every)} test sets were used.",
    )
    whole, _ = split_data(data, folds, n_splits=len(every))
    assert whole.notes == data.notes


@pytest.mark.parametrize(
    ("folds", "n_splits", "message"),
    [
        ("fold10", 0, r"`n_splits` must be within \[1, 10\]"),
        ("fold10", 11, r"`n_splits` must be within \[1, 10\]"),
        ("trial", 2, r"`n_splits` must be within \[1, 1\]"),
        ("fold", None, "`folds` must be one of 'fold10'.*'published'; got 'fold'"),
    ],
)
def test_splits_that_are_not_there_are_refused(data, folds, n_splits, message):
    with pytest.raises(ValueError, match=message):
        split_data(data, folds, n_splits=n_splits)


# ------------------------------------------------------------ the one that leaks


@pytest.mark.parametrize("folds", PUBLISHED_FOLDS)
def test_the_published_shares_of_trials_are_drawn_by_the_seed(data, folds):
    changed, (split,) = split_data(data, folds, seed=4)
    n = len(changed.trials)
    assert n == len(data.trials) == 72
    assert [len(split.training), len(split.validation), len(split.test)] == [58, 7, 7]
    rows = np.concatenate([split.training, split.validation, split.test])
    assert sorted(rows) == list(range(n))
    _, (again,) = split_data(data, folds, seed=4)
    _, (other,) = split_data(data, folds, seed=5)
    assert again.test.tolist() == split.test.tolist() != other.test.tolist()


@pytest.mark.parametrize("folds", PUBLISHED_FOLDS)
def test_notes_warn_of_the_leak_and_the_check_finds_it(data, folds):
    changed, (split,) = split_data(data, folds)
    assert changed.notes == (*data.notes, LEAKAGE_NOTE)
    assert LEAKAGE_NOTE.startswith("THIS SPLIT LEAKS")
    with pytest.raises(ValueError, match="leaks"):
        check_no_leakage(changed.trials, split)


def test_published_trials_are_those_of_the_last_observer_for_all(data):
    changed, _ = published_search(data, "published")
    last = {
        t.display.stimulus_id: t.cells.tolist()
        for t in data.trials
        if t.subject == "sim2"
    }
    assert Counter(t.subject for t in changed.trials) == dict.fromkeys(
        ("sim0", "sim1", "sim2"), 24
    )
    assert all(t.cells.tolist() == last[t.display.stimulus_id] for t in changed.trials)


def test_people_agree_perfectly_by_construction_when_one_stands_for_all(data):
    changed, _ = published_search(data, "published")
    table = leave_one_out_scores(changed.trials).table
    assert (table["SS"] == 1).all()
    assert (table["nFED"] == 0).all()


def test_trials_as_they_are_stay_as_they_are(data):
    changed, _ = published_search(data, "trial")
    assert changed.trials == data.trials


def test_too_few_trials_for_the_published_shares_are_refused():
    tiny = replace(SMALL, n_shelves=3, targets_per_shelf=1, n_observers=1)
    with pytest.raises(ValueError, match="3 trials are too few for folds='trial'"):
        split_data(search_data(tiny), "trial")


def shares(data, split):
    """Share of test trials with their display, and word for word, in training."""
    keys = [(t.display.stimulus_id, (*t.cells.tolist(),)) for t in data.trials]
    learnt = [keys[i] for i in split.training]
    displays, words = {d for d, _ in learnt}, set(learnt)
    tested = [keys[i] for i in split.test]
    return np.mean([[d in displays, (d, p) in words] for d, p in tested], axis=0)


def test_nearly_all_displays_of_the_test_of_people_are_in_training(people):
    found = []
    for seed in range(30):
        data, (split,) = published_search(people, "trial", seed)
        sizes = [len(split.training), len(split.validation), len(split.test)]
        assert sizes == [468, 58, 59]
        found.append(shares(data, split))
    # Expected of 99.97 % of 59 x 30 test trials.
    assert np.mean(found, axis=0)[0] > 0.998
    # Word for word only where two people did the same.
    assert np.mean(found, axis=0)[1] < 0.02


def test_the_published_trials_are_594_of_one_person_and_all_in_training(people):
    lengths = []
    for seed in range(30):
        data, (split,) = published_search(people, "published", seed)
        sizes = [len(split.training), len(split.validation), len(split.test)]
        assert sizes == [475, 60, 59]
        assert shares(data, split).tolist() == [1, 1]
        lengths.append(np.mean([len(data.trials[i].cells) for i in split.test]))
    every = [len(t.cells) for t in data.trials]
    last = [len(t.cells) for t in people.trials if t.subject == "6"]
    assert len(every) == 594 == 6 * len(last)
    assert np.mean(every) == np.mean(last) == pytest.approx(8.949, abs=5e-4)
    # The stated mean of the published test set is that of one of many draws.
    assert min(lengths) < 8.35 < max(lengths)
    assert np.mean(lengths) == pytest.approx(8.949, abs=0.25)
