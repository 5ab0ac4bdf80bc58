"""Generated covers in place of pictures that are not at hand."""

import numpy as np
import pytest

from tasks.oat_looks import (
    N_FEATURES,
    NOTE,
    display_looks,
    dress_displays,
    synthetic_looks,
)
from tasks.object_search_data import ObjectSearchData, load_object_search
from tasks.object_search_inputs import search_data
from tasks.simulated_search import SimulatedSearch, simulated_object_search


def rows(looks):
    return {row.tobytes() for row in looks}


def looks_of(data):
    return {t.display.stimulus_id: t.display.appearance for t in data.trials}


@pytest.fixture(scope="module")
def bare():
    """Searches on twelve displays of 2 x 3 objects without looks, of three targets."""
    simulation = SimulatedSearch(
        n_shelves=12, targets_per_shelf=1, n_observers=2, rows=2, cols=3
    )
    data = simulated_object_search(simulation, appearance="none")
    table = data.displays.assign(fold_target=np.arange(12) % 3)
    return ObjectSearchData("bare", data.trials, table, ("A note.",))


def test_looks_of_training_are_features_of_covers_that_all_differ():
    looks = synthetic_looks(3, n=200)
    assert looks.shape == (200, N_FEATURES)
    assert looks.dtype == np.float32
    assert len(rows(looks)) == 200
    assert looks.min() >= -1
    assert looks.max() <= 1
    assert (looks.std(axis=1) > 0.02).all()


def test_looks_of_training_depend_on_the_seed_and_not_on_their_number():
    looks = synthetic_looks(3, n=20)
    np.testing.assert_array_equal(synthetic_looks(3, n=8), looks[:8])
    assert not rows(synthetic_looks(4, n=20)) & rows(looks)


def test_dressed_displays_have_the_same_trials(bare):
    data = dress_displays(bare)
    for one, other in zip(data.trials, bare.trials, strict=True):
        assert (one.subject, one.cells.tolist()) == (
            other.subject,
            other.cells.tolist(),
        )
        np.testing.assert_array_equal(one.xy_px, other.xy_px)
        assert one.display.target_cell == other.display.target_cell
        assert one.display.appearance.shape == (6, N_FEATURES)
        assert other.display.appearance is None
    assert data.notes == ("A note.", NOTE)
    assert data.displays is bare.displays


def test_displays_are_dressed_by_their_names_alone(bare):
    looks = looks_of(dress_displays(bare, seed=2))
    for trial in bare.trials:
        display = trial.display
        own, given = display_looks(display, 2), looks[display.stimulus_id]
        others = np.arange(display.n_cells) != display.target_cell
        np.testing.assert_array_equal(given[others], own[others])


def test_all_trials_on_a_display_see_the_same_covers(bare):
    data = dress_displays(bare)
    looks = looks_of(data)
    assert len(looks) == 12
    assert all(
        t.display.appearance is looks[t.display.stimulus_id] for t in data.trials
    )


def test_each_target_has_a_cover_and_every_other_place_one_of_its_own(bare):
    data = dress_displays(bare)
    target = dict(
        zip(bare.displays["stimulus_id"], bare.displays["fold_target"], strict=True)
    )
    covers, others = {}, []
    for trial in data.trials[::2]:
        display = trial.display
        own = display.appearance[display.target_cell].tobytes()
        covers.setdefault(target[display.stimulus_id], set()).add(own)
        others += list(np.delete(display.appearance, display.target_cell, axis=0))
    assert sorted(covers) == [0, 1, 2]
    assert all(len(different) == 1 for different in covers.values())
    assert len(set.union(*covers.values())) == 3
    assert len(rows(others)) == 12 * 5
    assert not rows(others) & set.union(*covers.values())


def test_covers_depend_on_display_and_seed_and_not_on_other_displays(bare):
    whole = looks_of(dress_displays(bare))
    few = ObjectSearchData("few", bare.trials[:4], bare.displays)
    for name, looks in looks_of(dress_displays(few)).items():
        np.testing.assert_array_equal(looks, whole[name])
    for name, looks in looks_of(dress_displays(bare, seed=1)).items():
        assert not rows(looks) & rows(whole[name])


def test_covers_of_displays_never_occur_among_those_of_training(bare):
    training = rows(synthetic_looks(0, n=500))
    simulated = simulated_object_search(
        SimulatedSearch(n_shelves=3, n_observers=1, rows=2, cols=3)
    )
    for data in (dress_displays(bare), simulated):
        for looks in looks_of(data).values():
            assert not rows(looks) & training


@pytest.mark.slow
def test_covers_in_place_of_those_of_people_never_occur_in_training(data_folder):
    folder = data_folder / "amazon_covers"
    people, data = load_object_search(folder), search_data(folder, "synthetic")
    assert data.notes == (*people.notes, NOTE)
    paths = [[t.cells.tolist() for t in each.trials] for each in (people, data)]
    assert paths[0] == paths[1]
    covers = rows(np.concatenate(list(looks_of(data).values())))
    # One cover per object, and one for each of the five targets.
    assert len(covers) == 100 * 83 + 5
    assert not covers & rows(synthetic_looks(0))
