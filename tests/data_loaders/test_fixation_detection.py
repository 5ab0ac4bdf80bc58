"""The velocity threshold against loops, known truth and hostile samples."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_loaders.fixation_detection import (
    DETECTED_COLUMNS,
    VelocityThreshold,
    detect_fixations,
)
from neurovis.core.rng import generator

# No speed of round numbers falls on this threshold.
PUBLISHED = VelocityThreshold(31.415926, window_ms=0, min_duration_ms=0, max_gap_ms=1e9)


def _by_loops(times, x, y, px_per_deg, threshold):
    """I-VT as published: velocity from each sample to the next, groups, centroids."""
    n = len(times)
    slow = []
    for i in range(n):
        a, b = (i, i + 1) if i + 1 < n else (i - 1, i)
        distance = ((x[b] - x[a]) ** 2 + (y[b] - y[a]) ** 2) ** 0.5 / px_per_deg
        slow.append(distance / ((times[b] - times[a]) / 1000) < threshold)
    groups, current = [], []
    for i in range(n):
        if slow[i]:
            current.append(i)
        elif current:
            groups.append(current)
            current = []
    return groups + ([current] if current else [])


@given(
    st.floats(0.5, 20),
    st.lists(st.tuples(st.floats(0, 60), st.floats(0, 60)), min_size=2, max_size=60),
)
def test_the_published_algorithm_is_that_of_plain_loops(step_ms, points):
    x, y = np.array(points).T
    times = step_ms * np.arange(len(points))
    found = detect_fixations(times, x, y, px_per_deg=30, rule=PUBLISHED)
    groups = _by_loops(times, x, y, 30, PUBLISHED.velocity_deg_s)
    assert found["n_samples"].tolist() == [len(g) for g in groups]
    np.testing.assert_allclose(found["start_ms"], [times[g[0]] for g in groups])
    np.testing.assert_allclose(found["x_px"], [x[g].mean() for g in groups])
    np.testing.assert_allclose(found["y_px"], [y[g].mean() for g in groups])
    ends = [times[g[-1]] - times[g[0]] for g in groups]
    middle = np.median(np.diff(times))
    np.testing.assert_allclose(found["duration_ms"], np.array(ends) + middle)


def simulate(rate_hz, noise_px, seed, n=12):
    """Fixations at known places, joined by smooth saccades of 30 ms."""
    random = generator(seed, "gaze")
    x, y = random.uniform(100, 900, n), random.uniform(100, 700, n)
    durations = random.uniform(150, 600, n)
    starts = np.concatenate([[0.0], np.cumsum(durations + 30)[:-1]])
    times = np.arange(0, starts[-1] + durations[-1], 1000 / rate_hz)
    knots = np.column_stack([starts, starts + durations]).ravel()
    path = [np.interp(times, knots, np.repeat(place, 2)) for place in (x, y)]
    noisy = [p + noise_px * random.standard_normal(len(times)) for p in path]
    truth = pd.DataFrame({"start": starts, "duration": durations, "x": x, "y": y})
    return times, *noisy, truth


@pytest.mark.parametrize(
    ("rate_hz", "noise_px"),
    [(60, 1.0), (120, 1.0), (250, 1.0), (500, 2.0), (1000, 2.0)],
)
def test_simulated_fixations_are_recovered(rate_hz, noise_px):
    for seed in range(5):
        times, x, y, truth = simulate(rate_hz, noise_px, seed)
        found = detect_fixations(times, x, y, px_per_deg=30)
        assert len(found) == len(truth)
        error = np.hypot(found["x_px"] - truth["x"], found["y_px"] - truth["y"])
        assert error.max() < 3 * noise_px
        # Half a window at each end, and the grid of samples.
        slack_ms = 20 + 2 * 1000 / rate_hz
        assert (found["duration_ms"] - truth["duration"]).abs().max() <= slack_ms
        assert (found["start_ms"] - truth["start"]).abs().max() <= slack_ms


def test_a_blink_ends_a_fixation_and_a_short_loss_does_not():
    times = np.arange(0, 1000, 2.0)
    x = np.full(500, 400.0)
    x[100:120] = np.nan  # 40 ms
    x[300:400] = np.nan  # 200 ms
    found = detect_fixations(times, x, x, px_per_deg=30)
    assert found["start_ms"].tolist() == [0, 800]
    assert found["duration_ms"].tolist() == [600, 200]
    assert found["n_samples"].tolist() == [280, 100]
    rule = VelocityThreshold(max_gap_ms=30)
    assert len(detect_fixations(times, x, x, px_per_deg=30, rule=rule)) == 3


def test_a_saccade_hidden_by_a_short_loss_is_seen():
    times = np.arange(0, 800, 4.0)
    x = np.repeat([100.0, 500.0], 100)
    x[95:105] = np.nan
    seen = np.isfinite(x)
    for rows in (slice(None), seen):  # lost samples may be NaN or absent
        found = detect_fixations(times[rows], x[rows], 0 * x[rows], px_per_deg=30)
        assert found["x_px"].tolist() == [100, 500]
        assert found["n_samples"].tolist() == [95, 95]


def test_a_window_does_not_reach_across_a_blink():
    times = np.arange(0, 500, 4.0)
    x = np.where(times < 200, 100.0, np.where(times < 300, np.nan, 500.0))
    rule = VelocityThreshold(window_ms=400)
    found = detect_fixations(times, x, x, px_per_deg=30, rule=rule)
    assert found["duration_ms"].tolist() == [200, 200]


def test_the_edge_of_a_window_does_not_depend_on_rounding():
    # Half a window is three intervals of 10 / 3 ms: on the edge but for rounding.
    times = 0.1 + np.arange(40 * 25) * (1000 / 300)
    x = np.repeat(np.arange(40) * 300.0, 25)
    found = detect_fixations(times, x, x, px_per_deg=30)
    assert found["n_samples"].tolist() == [22, *[19] * 38, 22]


def test_short_fixations_are_dropped():
    x = np.repeat([100.0, 500.0, 900.0], [50, 10, 50])
    found = detect_fixations(np.arange(110) * 4.0, x, x, px_per_deg=30)
    assert found["x_px"].tolist() == [100, 900]
    rule = VelocityThreshold(min_duration_ms=0)
    found = detect_fixations(np.arange(110) * 4.0, x, x, px_per_deg=30, rule=rule)
    assert found["x_px"].tolist() == [100, 500, 900]


@settings(max_examples=30)
@given(
    st.integers(0, 1000),
    st.floats(-5000, 5000),
    st.floats(-2000, 2000),
    st.floats(0.2, 5),
)
def test_shifts_and_scales_change_nothing_else(seed, later_ms, aside_px, factor):
    times, x, y, _ = simulate(250, 1.0, seed, n=4)
    one = detect_fixations(times, x, y, px_per_deg=30)
    other = detect_fixations(
        times + later_ms,
        factor * x + aside_px,
        factor * y,
        px_per_deg=30 * factor,
    )
    np.testing.assert_allclose(other["start_ms"], one["start_ms"] + later_ms, atol=1e-6)
    np.testing.assert_allclose(other["x_px"], factor * one["x_px"] + aside_px)
    assert other["n_samples"].tolist() == one["n_samples"].tolist()


@pytest.mark.parametrize("n", [0, 1, 5])
def test_nothing_but_lost_samples_gives_an_empty_table(n):
    lost = np.full(n, np.nan)
    found = detect_fixations(np.arange(float(n)), lost, lost, px_per_deg=30)
    assert tuple(found.columns) == DETECTED_COLUMNS
    assert len(found) == 0


def test_a_lone_sample_is_no_fixation():
    rule = VelocityThreshold(min_duration_ms=0)
    assert len(detect_fixations([5.0], [1.0], [1.0], px_per_deg=30, rule=rule)) == 0


def test_samples_of_one_eye_lost_in_one_coordinate_are_lost():
    x = np.full(100, 10.0)
    y = np.where(np.arange(100) < 50, np.nan, 20.0)
    found = detect_fixations(np.arange(100) * 4.0, x, y, px_per_deg=30)
    assert found["n_samples"].tolist() == [50]


@pytest.mark.parametrize(
    ("times", "x", "px_per_deg", "match"),
    [
        ([0.0, 2.0, 2.0], [1.0] * 3, 30, "sample 2 is at 2 ms, after 2 ms"),
        ([0.0, np.nan, 2.0], [1.0] * 3, 30, "`t_ms` has 1 values that are not finite"),
        ([0.0, 1.0], [1.0] * 3, 30, r"`x_px` must have shape \(2\)"),
        ([0.0, 1.0], [1.0] * 2, 0, "`px_per_deg`"),
    ],
)
def test_impossible_samples_are_refused(times, x, px_per_deg, match):
    with pytest.raises(ValueError, match=match):
        detect_fixations(times, x, x, px_per_deg=px_per_deg)


@pytest.mark.parametrize(
    "bad",
    [
        {"velocity_deg_s": 0},
        {"window_ms": -1},
        {"min_duration_ms": -1},
        {"max_gap_ms": 0},
    ],
)
def test_impossible_parameters_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        VelocityThreshold(**bad)
