"""Rules of a search that starts anywhere, with and without item areas."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neurovis.adapters import load_model
from neurovis.adapters.search_loop import (
    SearchState,
    check_trials,
    fit_trial,
    search_by_priority,
)
from neurovis.core.observers import SearchRules, SearchTrial

RULES = SearchRules(eye_radius_px=60, max_saccades=6, tolerance_px=4, background=128)
HEIGHT, WIDTH = 36, 48
OBSERVERS = ("chance", "saliency", "pixel-match", "centre", "eccnet")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def box(top, left, bottom, right, shape=(HEIGHT, WIDTH)):
    area = np.zeros(shape, bool)
    area[top:bottom, left:right] = True
    return area


def cells():
    """Areas of 3 x 4 cells, row by row."""
    corners = [(r, c) for r in range(0, HEIGHT, 12) for c in range(0, WIDTH, 12)]
    return np.stack([box(r, c, r + 12, c + 12) for r, c in corners])


def scene(start=None, target=None, areas=None):
    """A display; the target is in the last corner by default."""
    target = box(HEIGHT - 2, WIDTH - 2, HEIGHT, WIDTH) if target is None else target
    picture = noise(HEIGHT, WIDTH, 3)
    return SearchTrial("scene", picture, picture[:6, :6], target, areas, start)


def pixels(path):
    return np.stack([path.y_px - 0.5, path.x_px - 0.5], 1).astype(int).tolist()


@pytest.fixture(scope="module")
def observers():
    options = {"eccnet": {"weights": "seeded:0/16", "device": "cpu"}}
    return {name: load_model(name, **options.get(name, {})) for name in OBSERVERS}


every_observer = pytest.mark.parametrize("name", OBSERVERS)
every_mode = pytest.mark.parametrize("areas", [None, cells()], ids=["scene", "items"])


# ------------------------------------------------------------------------- start


@every_mode
@every_observer
@pytest.mark.parametrize("start", [(0, 0), (0, WIDTH - 1), (HEIGHT - 1, 0), (20, 7)])
def test_a_search_starts_where_it_is_told(observers, name, areas, start):
    trial = scene(start, areas=areas)
    (path,) = observers[name].search([trial], replace(RULES, max_saccades=2))
    assert pixels(path)[0] == list(start)
    assert (path.x_px[0], path.y_px[0]) == (start[1] + 0.5, start[0] + 0.5)
    assert 1 <= path.n_saccades <= 2


@every_mode
@every_observer
def test_the_centre_as_start_is_as_good_as_none(observers, name, areas):
    plain, told = (
        observers[name].search([scene(start, areas=areas)], RULES)[0]
        for start in (None, (HEIGHT // 2, WIDTH // 2))
    )
    assert pixels(plain) == pixels(told)
    assert plain.found == told.found


@every_observer
def test_displays_that_start_elsewhere_are_searched_together(observers, name):
    trials = [
        replace(scene(start), stimulus_id=str(start))
        for start in ((3, 3), (30, 40), None)
    ]
    together = observers[name].search(trials, RULES, seed=2)
    for trial, path in zip(trials, together, strict=True):
        (alone,) = observers[name].search([trial], RULES, seed=2)
        assert pixels(alone) == pixels(path)


@every_observer
def test_a_start_at_the_target_ends_a_search_of_a_scene(observers, name):
    trial = scene((5, 6), target=box(6, 4, 9, 6))
    (path,) = observers[name].search([trial], RULES)
    assert (pixels(path), path.found) == ([[5, 6]], True)


@every_observer
def test_a_start_on_the_target_item_does_not_count(observers, name):
    areas = cells()
    trial = scene((5, 6), target=areas[0], areas=areas)
    rules = replace(RULES, max_saccades=len(areas))
    (path,) = observers[name].search([trial], rules)
    assert path.found
    assert path.n_saccades >= 1
    row, column = pixels(path)[-1]
    # Found from beside the item too, within the tolerance.
    assert row < 14
    assert column < 14


def test_the_first_glance_reaches_from_the_start():
    state = SearchState(scene((2, 40)), replace(RULES, eye_radius_px=10))
    assert state.reachable() == (slice(0, 12), slice(30, 48))
    assert state.begin_glance()
    state.fixate(11, 30)
    assert state.reachable() == (slice(1, 21), slice(20, 40))


@pytest.mark.parametrize(
    ("start", "name"),
    [
        ((-1, 0), "start row"),
        ((HEIGHT, 0), "start row"),
        ((0, -1), "start column"),
        ((0, WIDTH), "start column"),
        ((float("nan"), 0), "start row"),
    ],
)
def test_a_start_off_the_display_is_refused(start, name):
    with pytest.raises(ValueError, match=f"`{name}` must be within"):
        scene(start)


# -------------------------------------------------------------------- inhibition


@pytest.mark.parametrize(
    ("inhibition", "side"), [(None, 4), (4, 4), (10, 10), (11, 10), (2, 2), (3, 2)]
)
def test_a_square_around_each_fixation_is_not_visited_again(inhibition, side):
    state = SearchState(scene((18, 20)), replace(RULES, inhibition_px=inhibition))
    assert state.begin_glance()
    half = side // 2
    expected = np.ones((HEIGHT, WIDTH), np.uint8)
    expected[18 - half : 18 + half, 20 - half : 20 + half] = 0
    np.testing.assert_array_equal(state.allowed, expected)
    state.fixate(0, 47)
    assert state.begin_glance()
    expected[: 0 + half, 47 - half :] = 0
    np.testing.assert_array_equal(state.allowed, expected)
    np.testing.assert_array_equal(state.image, state.trial.image)


def test_what_counts_as_found_does_not_depend_on_the_inhibition():
    target = box(18, 25, 19, 26)
    for inhibition in (2, 12, 30):
        rules = replace(RULES, inhibition_px=inhibition)
        for column, found in ((26, True), (24, True), (23, False), (28, False)):
            state = SearchState(scene((18, column), target), rules)
            assert state.begin_glance() is not found
            assert state.found is found


def test_a_large_inhibition_ends_a_search_that_finds_nothing():
    rules = replace(RULES, inhibition_px=200)
    path = search_by_priority(
        SearchState(scene((3, 3)), rules), np.ones((HEIGHT, WIDTH)), "me"
    )
    assert (pixels(path), path.found) == ([[3, 3]], False)


def test_items_are_inhibited_as_a_whole_whatever_the_square():
    areas = cells()
    paths = []
    for inhibition in (None, 2, 40):
        state = SearchState(
            scene((5, 5), areas=areas), replace(RULES, inhibition_px=inhibition)
        )
        assert state.begin_glance()
        # The first fixation visits no item.
        assert state.allowed.all()
        priority = noise(HEIGHT, WIDTH, seed=3).astype(float)
        paths.append(pixels(search_by_priority(state, priority, "me")))
        assert len(paths[-1]) > 3
    assert paths[0] == paths[1] == paths[2]


@every_observer
def test_observers_keep_their_distance_from_what_they_saw(observers, name):
    rules = replace(RULES, inhibition_px=14, max_saccades=5)
    (path,) = observers[name].search([scene((4, 9))], rules)
    steps = pixels(path)
    for i, (row, column) in enumerate(steps):
        for r, c in steps[:i]:
            assert not (-7 <= row - r < 7 and -7 <= column - c < 7)
    assert len(steps) > 2


@pytest.mark.parametrize("side", [1, 0, -4])
def test_an_inhibition_without_pixels_is_refused(side):
    with pytest.raises(ValueError, match="`inhibition_px` must be within"):
        replace(RULES, inhibition_px=side)


# ---------------------------------------------------- scenes: against a plain loop


def plain_search(priority, target, start, rules):
    """The rules without item areas, pixel by pixel."""
    height, width = priority.shape
    blocked, steps = set(), [start]

    def square(centre, side):
        half = side // 2
        return {
            (r, c)
            for r in range(centre[0] - half, centre[0] + half)
            for c in range(centre[1] - half, centre[1] + half)
        }

    while True:
        near = square(steps[-1], rules.tolerance_px)
        if any((r, c) in near for r, c in np.argwhere(target).tolist()):
            return steps, True
        if len(steps) > rules.max_saccades:
            return steps, False
        blocked |= square(steps[-1], rules.inhibition_px or rules.tolerance_px)
        reach = square(steps[-1], 2 * rules.eye_radius_px)
        left = [
            (-priority[r, c], r, c)
            for r in range(height)
            for c in range(width)
            if (r, c) in reach - blocked
        ]
        if not left:
            return steps, False
        steps.append(min(left)[1:])


@st.composite
def searches(draw):
    shape = draw(st.tuples(st.integers(3, 12), st.integers(3, 12)))
    priority = draw(hnp.arrays(np.float64, shape, elements=st.integers(0, 5)))
    target = draw(hnp.arrays(np.bool_, shape, elements=st.booleans(), fill=st.just(0)))
    start = tuple(draw(st.integers(0, n - 1)) for n in shape)
    rules = SearchRules(
        eye_radius_px=draw(st.integers(1, 12)),
        max_saccades=draw(st.integers(1, 8)),
        tolerance_px=draw(st.integers(2, 4)),
        background=0,
        inhibition_px=draw(st.none() | st.integers(2, 7)),
    )
    return priority, target, start, rules


@given(searches())
def test_a_search_without_items_is_that_of_a_plain_loop(search):
    priority, target, start, rules = search
    picture = noise(*priority.shape, 3)
    trial = SearchTrial("s", picture, picture[:1, :1], target, None, start)
    before = priority.copy()
    path = search_by_priority(SearchState(trial, rules), priority, "me")
    steps, found = plain_search(priority, target, start, rules)
    assert pixels(path) == [list(map(int, step)) for step in steps]
    assert path.found is found
    np.testing.assert_array_equal(priority, before)


def test_a_scene_needs_a_target_but_no_items():
    check_trials([scene()], RULES)
    with pytest.raises(ValueError, match="scene: `target_area` is empty"):
        check_trials([scene(target=box(0, 0, 0, 0))], RULES)
    with pytest.raises(ValueError, match=r"scene: `item_areas` are empty; give None"):
        check_trials([scene(areas=np.zeros((2, HEIGHT, WIDTH), bool))], RULES)


# --------------------------------------------------------------- trials to size


SIZES = st.tuples(st.integers(4, 80), st.integers(4, 80))


@given(SIZES, st.data())
def test_a_start_moves_to_the_pixel_that_shows_the_same_place(size, data):
    start = tuple(data.draw(st.integers(0, n - 1)) for n in (HEIGHT, WIDTH))
    fitted = fit_trial(scene(start), size, (6, 6))
    assert fitted.image.shape[:2] == size
    for new, old, n_new, n_old in zip(
        fitted.start, start, size, (HEIGHT, WIDTH), strict=True
    ):
        assert isinstance(new, int)
        assert 0 <= new < n_new
        centre = (old + 0.5) / n_old
        assert new / n_new <= centre + 1e-12
        assert centre < (new + 1) / n_new + 1e-12


def test_a_start_is_kept_by_a_trial_of_the_right_size():
    for start in (None, (0, 0), (7, 40), (HEIGHT - 1, WIDTH - 1)):
        assert fit_trial(scene(start), (HEIGHT, WIDTH), (6, 6)).start == start


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_a_larger_trial_brought_back_starts_where_it_did(factor):
    large = (HEIGHT * factor, WIDTH * factor)
    for start in ((0, 0), (11, 29), (HEIGHT - 1, WIDTH - 1)):
        there = fit_trial(scene(start), large, (6, 6))
        assert there.start == tuple(f * factor + factor // 2 for f in start)
        assert fit_trial(there, (HEIGHT, WIDTH), (6, 6)).start == start


def test_a_scene_stays_without_items_at_any_size():
    fitted = fit_trial(scene((1, 2)), (18, 24), (3, 3))
    assert fitted.item_areas is None
    assert fitted.stimulus_id == "scene"
    np.testing.assert_array_equal(
        fitted.target_area, box(17, 23, 18, 24, shape=(18, 24))
    )
    with_items = fit_trial(scene((1, 2), areas=cells()), (18, 24), (3, 3))
    assert with_items.item_areas.shape == (12, 18, 24)
    assert (with_items.item_areas.sum(0) == 1).all()
