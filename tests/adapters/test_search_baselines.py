"""Observers without a network, and the rules that all observers share."""

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.signal import correlate2d

from neurovis.adapters.search_baselines import pixel_match_map
from neurovis.adapters.search_loop import (
    SearchState,
    fit_trial,
    items_fixated,
    search_by_priority,
)
from neurovis.core.observers import SearchRules, SearchTrial
from neurovis.core.types import Scanpath

RULES = SearchRules(eye_radius_px=100, max_saccades=20, tolerance_px=2, background=128)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def quadrants(side=20):
    """Areas of four cells, row by row."""
    areas = np.zeros((4, side, side), bool)
    half = side // 2
    for number, area in enumerate(areas):
        top, left = (half * n for n in divmod(number, 2))
        area[top : top + half, left : left + half] = True
    return areas


def trial_of(areas, target=3, shape=(20, 20)):
    area = np.zeros(shape, bool)
    area[-1, -1] = True
    return SearchTrial(
        "t",
        noise(*shape, 3),
        noise(4, 4, 3),
        area if areas is None else areas[target],
        areas,
    )


# ---------------------------------------------------------------- shared rules


def test_places_are_visited_in_the_order_of_their_priority():
    areas = quadrants()
    priority = np.zeros((20, 20))
    priority[2, 3], priority[4, 15], priority[17, 1] = 5, 3, 4
    path = search_by_priority(SearchState(trial_of(areas), RULES), priority, "me")
    # The last is a tie of the whole remaining cell: its first pixel in reading order.
    expected = [(10, 10), (2, 3), (17, 1), (4, 15), (10, 10)]
    assert list(zip(path.y_px - 0.5, path.x_px - 0.5, strict=True)) == expected
    assert path.found


def test_a_visited_item_is_erased_and_the_display_itself_is_kept():
    areas = quadrants()
    trial = trial_of(areas)
    before = trial.image.copy()
    state = SearchState(trial, RULES)
    assert state.begin_glance()
    state.fixate(3, 14)
    assert (state.image[areas[1]] == 128).all()
    assert not state.allowed[areas[1]].any()
    np.testing.assert_array_equal(state.image[~areas[1]], before[~areas[1]])
    np.testing.assert_array_equal(trial.image, before)


def test_without_item_areas_a_square_is_inhibited_and_nothing_is_erased():
    trial = trial_of(None)
    state = SearchState(trial, RULES)
    assert state.begin_glance()
    assert np.argwhere(state.allowed == 0).tolist() == [
        [9, 9],
        [9, 10],
        [10, 9],
        [10, 10],
    ]
    np.testing.assert_array_equal(state.image, trial.image)


def test_a_search_ends_when_nothing_is_left():
    rules = SearchRules(100, 20, tolerance_px=40, background=128)
    trial = SearchTrial("t", noise(30, 30, 3), noise(4, 4, 3), np.zeros((30, 30), bool))
    path = search_by_priority(SearchState(trial, rules), np.ones((30, 30)), "me")
    assert (path.n_saccades, path.found) == (0, False)


def test_a_fixation_beyond_the_display_is_brought_to_its_border():
    state = SearchState(trial_of(quadrants()), RULES)
    state.fixate(-7, 300)
    assert state.fixations[-1] == (0, 20)


def test_items_are_numbered_by_the_last_area_that_holds_a_fixation():
    areas = quadrants()
    areas[2, :3, :3] = True  # over the first
    x = np.array([5.5, 0.5, 15.5, 19.5, 20.5, 5.5])
    y = np.array([5.5, 2.5, 0.5, 19.5, 10.5, -0.5])
    path = Scanpath("me", "t", x, y, np.full(6, np.nan))
    assert items_fixated(path, areas).tolist() == [1, 3, 2, 4, 0, 0]


@pytest.mark.parametrize("shape", [(10, 14), (7, 21), (33, 50), (42, 15)])
def test_trials_are_brought_to_size_as_by_opencv(shape):
    trial = trial_of(quadrants(21), shape=(21, 21))
    trial.item_areas[0] ^= noise(21, 21) > 200
    fitted = fit_trial(trial, shape, (8, 8))
    size = shape[::-1]
    expected = Image.fromarray(trial.image).resize(size, Image.Resampling.NEAREST)
    np.testing.assert_array_equal(fitted.image, np.asarray(expected))
    assert fitted.target.shape == (8, 8, 3)
    for before, after in zip(trial.item_areas, fitted.item_areas, strict=True):
        exact = cv2.resize(
            before.astype(np.float64) * 255, size, interpolation=cv2.INTER_AREA
        )
        sure = np.abs(exact - 125.5) > 1e-3
        np.testing.assert_array_equal(after[sure], (exact > 125.5)[sure])
        assert sure.mean() > 0.95


def test_a_trial_of_the_right_size_is_left_as_it_is():
    trial = trial_of(quadrants())
    fitted = fit_trial(trial, (20, 20), (4, 4))
    for name in ("image", "target", "target_area", "item_areas"):
        np.testing.assert_array_equal(getattr(fitted, name), getattr(trial, name))


# ------------------------------------------------------------------ pixel match


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (6, 9), (8, 4)])
def test_pixel_matching_is_a_blurred_correlation_of_centred_colours(shape):
    image, target = noise(23, 31, 3), noise(*shape, 3, seed=1)
    mean = np.array([123.68, 116.779, 103.939])
    total = np.zeros(image.shape[:2])
    for channel in range(3):
        full = correlate2d(
            image[..., channel] - mean[channel], target[..., channel] - mean[channel]
        )
        top, left = (n - 1 - (n - 1) // 2 for n in shape)
        total += full[top : top + 23, left : left + 31]
    expected = cv2.GaussianBlur(total, (7, 7), 3.0)
    found = pixel_match_map(image, target)
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(expected).max())


def test_the_target_itself_matches_best():
    image = np.full((60, 60, 3), 117, np.uint8)
    target = noise(11, 11, 3, seed=3)
    image[30:41, 9:20] = target
    image[5:16, 40:51] = target[::-1]
    row, column = divmod(int(pixel_match_map(image, target).argmax()), 60)
    assert abs(row - 35) <= 1
    assert abs(column - 14) <= 1
