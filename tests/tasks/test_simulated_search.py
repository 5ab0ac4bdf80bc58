"""Simulated searches that stand where the data of people stand."""

from dataclasses import replace

import numpy as np
import pytest

from neurovis.adapters.search_policy import SHELF_SEARCHER
from tasks.object_search_data import FOLDS, search_splits
from tasks.simulated_search import NOTE, SimulatedSearch, simulated_object_search

SMALL = SimulatedSearch(
    n_shelves=12, targets_per_shelf=2, n_observers=3, rows=2, cols=4
)


@pytest.fixture(scope="module")
def data():
    return simulated_object_search(SMALL)


def test_every_observer_searches_every_display_once(data):
    pairs = {(t.subject, t.display.stimulus_id) for t in data.trials}
    assert len(pairs) == len(data.trials) == 12 * 2 * 3
    assert {who for who, _ in pairs} == {"sim0", "sim1", "sim2"}
    assert data.displays["stimulus_id"].nunique() == len(data.displays) == 24
    assert (data.displays[["rows", "cols"]] == [2, 4]).all(axis=None)
    assert data.name == "simulated_shelves"
    assert data.notes == (NOTE,)
    targets = dict(
        zip(data.displays["stimulus_id"], data.displays["target_cell"], strict=True)
    )
    for trial in data.trials:
        assert trial.display.target_cell == targets[trial.display.stimulus_id]


@pytest.mark.parametrize("folds", FOLDS)
@pytest.mark.parametrize("n_shelves", [3, 7, 12])
def test_no_shelf_is_in_two_parts_of_a_split(folds, n_shelves):
    data = simulated_object_search(
        replace(SMALL, n_shelves=n_shelves), appearance="none"
    )
    shelf_of = dict(
        zip(data.displays["stimulus_id"], data.displays["shelf"], strict=True)
    )
    shelf = np.array([shelf_of[t.display.stimulus_id] for t in data.trials])
    splits = search_splits(data, folds)
    n = min(10, n_shelves) * (3 if folds == "observer" else 1)
    assert len(splits) == n
    for split in splits:
        training, validation, test = (
            set(shelf[rows]) for rows in (split.training, split.validation, split.test)
        )
        assert min(len(training), len(validation), len(test)) >= 1
        assert not training & validation
        assert not training & test
        assert not validation & test
    tested = np.concatenate([split.test for split in splits])
    assert sorted(tested) == list(range(len(data.trials)))


def test_rows_of_one_shelf_show_the_same_covers_and_other_shelves_others(data):
    shelf_of = dict(
        zip(data.displays["stimulus_id"], data.displays["shelf"], strict=True)
    )
    looks, targets = {}, {}
    for trial in data.trials:
        shelf = shelf_of[trial.display.stimulus_id]
        looks.setdefault(shelf, set()).add(trial.display.appearance.tobytes())
        targets.setdefault(shelf, set()).add(trial.display.target_cell)
    assert all(len(different) == 1 for different in looks.values())
    assert len(set.union(*looks.values())) == 12
    assert all(len(different) == 2 for different in targets.values())


def test_with_appearance_every_object_has_features_and_without_none(data):
    bare = simulated_object_search(SMALL, appearance="none")
    for one, other in zip(data.trials, bare.trials, strict=True):
        assert one.display.appearance.shape == (8, 120)
        assert one.display.appearance.dtype == np.float32
        assert other.display.appearance is None
        # The searchers are told where the target is: looks do not change them.
        assert one.cells.tolist() == other.cells.tolist()


def test_the_rule_and_the_seed_decide_the_searches(data):
    def paths(simulation):
        made = simulated_object_search(simulation, appearance="none")
        return [t.cells.tolist() for t in made.trials]

    expected = [t.cells.tolist() for t in data.trials]
    assert paths(SMALL) == expected
    assert paths(replace(SMALL, seed=1)) != expected
    quick = replace(SHELF_SEARCHER, stop_elsewhere=1.0, stop_on_target=1.0)
    assert all(len(p) == 1 for p in paths(replace(SMALL, policy=quick)))
    # More observers do not change the first ones.
    more = simulated_object_search(replace(SMALL, n_observers=4), appearance="none")
    first = [t.cells.tolist() for t in more.trials if t.subject != "sim3"]
    assert first == expected


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_shelves": 2}, ValueError, r"`n_shelves` must be within \[3, inf\]"),
        ({"n_shelves": "many"}, TypeError, "`n_shelves`"),
        ({"targets_per_shelf": 0}, ValueError, "`targets_per_shelf`"),
        ({"n_observers": 0}, ValueError, "`n_observers`"),
        ({"rows": 0}, ValueError, "`rows`"),
        ({"seed": -1}, ValueError, "`seed`"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        replace(SMALL, **changes)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="`appearance` must be one of"):
        simulated_object_search(SMALL, appearance="pictures")
    with pytest.raises(ValueError, match="targets_per_shelf"):
        simulated_object_search(replace(SMALL, targets_per_shelf=9))
    alone = simulated_object_search(replace(SMALL, n_observers=1), appearance="none")
    with pytest.raises(ValueError, match="more than one observer to leave one out"):
        search_splits(alone, "observer")
