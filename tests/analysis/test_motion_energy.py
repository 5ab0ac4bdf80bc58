"""Motion energy tells the direction of gratings and of dots."""

import numpy as np
import pytest

from analysis.motion_energy import (
    MotionFilter,
    choose_directions,
    motion_energy,
    opponent_energies,
)
from stimuli.dot_motion import draw_dot_movie, simulate_dots

SCALE = {"px_per_deg": 8.0, "rate_hz": 60.0}


def _grating(direction_deg, speed=5.0, frequency=1.0, phase=0.0, side=40, n=30):
    x = (np.arange(side) - (side - 1) / 2) / 8
    y = -x[:, None]
    angle = np.radians(direction_deg)
    along = x * np.cos(angle) + y * np.sin(angle)
    time = np.arange(n)[:, None, None] / 60
    return np.cos(2 * np.pi * frequency * (along - speed * time) + phase)


@pytest.mark.parametrize("direction", [0.0, 45.0, 90.0, 200.0])
def test_a_drifting_grating_has_energy_in_its_direction_only(direction):
    energy = motion_energy(_grating(direction), direction, **SCALE)
    assert energy.opponent > 0.97
    assert (energy.preferred > energy.opposite).all()
    assert motion_energy(_grating(direction), direction + 180, **SCALE).opponent < -0.97


def test_energy_does_not_depend_on_phase_but_on_contrast_squared():
    first, shifted = (_grating(0, phase=phase) for phase in (0.0, 1.3))
    a, b = (motion_energy(movie, **SCALE).preferred[15] for movie in (first, shifted))
    assert a == pytest.approx(b, rel=0.02)
    half = motion_energy(0.5 * first, **SCALE).preferred[15]
    assert half == pytest.approx(a / 4, rel=1e-9)


def test_energy_equals_a_direct_sum_over_the_filter():
    rng = np.random.default_rng(0)
    movie = rng.normal(size=(13, 15, 17))
    filters = MotionFilter(1.0, 5.0, sd_deg=0.15, sd_s=0.03)
    energy = motion_energy(movie, 30.0, filters=filters, **SCALE)
    # The responses at all places of the middle frame, summed by hand.
    t = (np.arange(13) - 6) / 60
    x = (np.arange(17) - 8) / 8
    y = -(np.arange(15) - 7) / 8
    angle = np.radians(30)
    padded = np.zeros((13, 15 + 8, 17 + 8))
    padded[:, 4:-4, 4:-4] = movie - movie.mean()
    gauss_x = np.exp(-((np.arange(-4, 5) / 8) ** 2) / (2 * 0.15**2))
    gauss_t = np.exp(-(t**2) / (2 * 0.03**2)) * (np.abs(t) <= np.ceil(5.4) / 60)
    dx, dy = np.meshgrid(np.arange(-4, 5) / 8, -np.arange(-4, 5) / 8)
    wave = 2 * np.pi * (np.cos(angle) * dx + np.sin(angle) * dy)
    weight = np.outer(gauss_x, gauss_x) / gauss_x.sum() ** 2
    kernel = (weight * np.exp(1j * wave))[None] * (
        gauss_t / gauss_t.sum() * np.exp(-1j * 2 * np.pi * 5 * t)
    )[:, None, None]
    total = 0.0
    for i in range(len(y)):
        for j in range(len(x)):
            total += np.abs((padded[:, i : i + 9, j : j + 9] * kernel).sum()) ** 2
    assert energy.preferred[6] == pytest.approx(total / (15 * 17), rel=1e-9)


def test_a_standing_flicker_and_a_still_picture_have_no_direction():
    x = np.arange(40) / 8
    time = np.arange(30)[:, None, None] / 60
    flicker = np.cos(2 * np.pi * 5 * time) * np.cos(2 * np.pi * x) * np.ones((1, 40, 1))
    assert abs(motion_energy(flicker, **SCALE).opponent) < 1e-9
    assert np.isnan(motion_energy(np.full((5, 9, 9), 0.3), **SCALE).opponent)


def test_energy_is_largest_at_the_preferred_speed():
    speeds = (1.25, 2.5, 5.0, 10.0, 20.0)
    found = [
        motion_energy(_grating(0, speed=speed), **SCALE).preferred.sum()
        for speed in speeds
    ]
    assert np.argmax(found) == 2


@pytest.fixture(scope="module")
def movies():
    """Twelve movies of dots to the right and to the left, at three coherences."""
    return {
        coherence: [
            draw_dot_movie(
                simulate_dots(
                    coherence, direction, n_frames=24, movie=f"{direction}{i}"
                ),
                px_per_deg=8.0,
            )
            for i in range(6)
            for direction in (0.0, 180.0)
        ]
        for coherence in (0.0, 0.128, 0.512)
    }


def test_choices_are_right_more_often_the_more_coherent_the_dots(movies):
    truth = np.tile([0, 1], 6)
    right = {
        coherence: (choose_directions(own, **SCALE).picked == truth).mean()
        for coherence, own in movies.items()
    }
    assert right[0.512] == 1.0
    assert right[0.128] >= 0.75
    assert 0.1 <= right[0.0] <= 0.9


def test_opponent_energy_grows_with_coherence(movies):
    sign = np.tile([1, -1], 6)
    means = [
        (opponent_energies(own, **SCALE)[:, 0] * sign).mean() for own in movies.values()
    ]
    assert means[0] < means[1] < means[2]
    assert abs(means[0]) < 0.2


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"\(90 Hz\) is too fast for 8 px/deg"):
        motion_energy(np.zeros((3, 4, 4)), filters=MotionFilter(3.0, 30.0), **SCALE)
    with pytest.raises(ValueError, match="`movie` must have shape"):
        motion_energy(np.zeros((4, 4)), **SCALE)
    with pytest.raises(ValueError, match="`sd_deg` must be within"):
        MotionFilter(sd_deg=0.0)
    with pytest.raises(ValueError, match="2 options or more"):
        choose_directions([_grating(0)], [0.0], **SCALE)
