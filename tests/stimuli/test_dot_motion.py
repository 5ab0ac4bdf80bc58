"""Random-dot motion: speed, coherence and density are as stated."""

import numpy as np
import pytest

from stimuli.dot_motion import (
    dots_per_frame,
    draw_dot_frame,
    draw_dot_movie,
    make_dot_motion,
    motion_of_row,
    simulate_dots,
)


def _along(motion):
    angle = np.radians(motion.direction_deg)
    return np.array([np.cos(angle), np.sin(angle)])


@pytest.mark.parametrize("coherence", [0.0, 0.128, 0.5, 1.0])
@pytest.mark.parametrize("direction", [0.0, 75.0, 180.0])
@pytest.mark.parametrize(("rate", "speed"), [(60.0, 5.0), (75.0, 2.5)])
def test_mean_displacement_is_coherence_times_speed(coherence, direction, rate, speed):
    motion = simulate_dots(
        coherence, direction, n_frames=1500, radius_deg=4.0, rate_hz=rate,
        speed_deg_per_s=speed,
    )  # fmt: skip
    velocity = motion.moves_deg[3:] @ _along(motion) * rate / 3
    error = velocity.std() / np.sqrt(velocity.size)
    assert abs(velocity.mean() - coherence * speed) <= 3 * error + 1e-7
    share = motion.coherent[3:].mean()
    assert abs(share - coherence) <= 3 * np.sqrt(0.25 / velocity.size)


def test_displacements_are_those_of_places_three_frames_apart():
    motion = simulate_dots(0.6, 40.0, n_frames=200, radius_deg=3.0)
    moved = motion.places_deg[3:] - motion.places_deg[:-3]
    anew = ~motion.coherent[3:]
    np.testing.assert_allclose(moved[anew], motion.moves_deg[3:][anew], atol=1e-12)
    # Coherent dots have moved by a step, or came in again at the other end.
    step = 5.0 * 3 / 60 * _along(motion)
    stayed = np.abs(moved - step).max(axis=2) < 1e-9
    again = motion.coherent[3:] & ~stayed
    assert 0 < again.sum() < motion.coherent.sum() / 5
    across = np.array([-_along(motion)[1], _along(motion)[0]])
    np.testing.assert_allclose(moved[again] @ across, 0, atol=1e-7)
    assert (moved[again] @ _along(motion) < 0).all()
    assert np.isnan(motion.moves_deg[:3]).all()


def test_density_is_as_stated_and_the_same_everywhere():
    motion = simulate_dots(0.5, 20.0, n_frames=4000, radius_deg=5.0)
    n_frames, n, _ = motion.places_deg.shape
    area = np.pi * 25
    # Dots per square degree and second, within the rounding to whole dots.
    assert n * 60 / area == pytest.approx(16.7, abs=0.5 * 60 / area)
    radius = np.hypot(*motion.places_deg.reshape(-1, 2).T)
    assert radius.max() <= 5.0
    inner = (radius < 5 / np.sqrt(2)).mean()
    assert abs(inner - 0.5) < 4 * np.sqrt(0.25 / (n_frames * n)) * 2  # dots that last
    assert dots_per_frame(16.7, 2.5, 75) == 4


@pytest.mark.parametrize("px_per_deg", [24.0, 40.0])
def test_frames_show_the_dots_at_their_places(px_per_deg):
    motion = simulate_dots(0.3, n_frames=3, radius_deg=2.5, seed=5)
    display = draw_dot_frame(motion, 1, px_per_deg=px_per_deg, dot_deg=0.2)
    y, x = np.indices(display.image.shape)
    light = display.image.sum()
    n = len(motion.places_deg[1])
    assert light == pytest.approx(n * np.pi * 0.01 * px_per_deg**2, rel=0.03)
    centre = np.array([(x * display.image).sum(), (y * display.image).sum()]) / light
    mean = motion.places_deg[1].mean(axis=0) * (1, -1) * px_per_deg
    wanted = mean + (display.image.shape[0] - 1) / 2
    np.testing.assert_allclose(centre, wanted, atol=0.3)


def test_movies_are_floats_or_bytes_of_the_same_frames():
    motion = simulate_dots(0.3, n_frames=4)
    floats = draw_dot_movie(motion, px_per_deg=10)
    whole = draw_dot_movie(motion, px_per_deg=10, dtype="uint8")
    assert floats.shape == whole.shape == (4, 60, 60)
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(np.floor(255 * floats + 0.5), whole)


def test_a_set_has_one_row_per_frame_and_tells_the_dots():
    stimuli = make_dot_motion([0.0, 0.5], [0.0, 180.0], movies=2, n_frames=3)
    table = stimuli.table
    assert len(table) == 2 * 2 * 2 * 3
    assert table.groupby("movie")["frame"].apply(list).tolist() == [[0, 1, 2]] * 8
    assert table["time_ms"].iloc[2] == pytest.approx(2000 / 60)
    row = table.iloc[4]
    motion = motion_of_row(row)
    display = draw_dot_frame(motion, row["frame"], size_deg=6.0)
    picture = np.floor(255 * display.image + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(stimuli.load(4)[..., 0], picture)


def test_the_same_seed_gives_the_same_bytes_and_movies_differ():
    first, again, other = (
        make_dot_motion([0.5], [0.0], movies=2, n_frames=2, seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.fingerprint == again.fingerprint
    assert first.load(0).tobytes() != other.load(0).tobytes()
    assert first.load(0).tobytes() != first.load(2).tobytes()


def test_full_coherence_moves_all_dots_and_none_moves_none():
    assert simulate_dots(1.0, n_frames=9).coherent[3:].all()
    assert not simulate_dots(0.0, n_frames=9).coherent.any()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="`coherence` must be within"):
        make_dot_motion([1.5])
    with pytest.raises(ValueError, match=r"gives no dot in an aperture of 0.3 deg"):
        simulate_dots(0.5, radius_deg=0.3)
    with pytest.raises(ValueError, match="more than the aperture is wide"):
        simulate_dots(0.5, speed_deg_per_s=200.0)
    with pytest.raises(ValueError, match="`size_deg` must be within"):
        make_dot_motion(size_deg=5.0)
    with pytest.raises(ValueError, match="`frame` must be within"):
        draw_dot_frame(simulate_dots(0.5, n_frames=2), 2)
