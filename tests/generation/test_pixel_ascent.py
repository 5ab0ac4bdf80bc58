"""Ascent on pixels: against Adam written in numpy, and what it must climb."""

import numpy as np
import pytest
import torch

from neurovis.generation.pixel_ascent import ascend_pixels

SIZE = (5, 7)
TARGET = np.random.default_rng(0).uniform(0.1, 0.9, (3, *SIZE))


def closeness(images):
    return -(images - torch.from_numpy(TARGET).to(images)).square().sum((1, 2, 3))


def test_steps_are_those_of_adam_on_the_logits_of_levels():
    found = ascend_pixels(closeness, [3, 8], SIZE, n_steps=12, learning_rate=0.2)
    for row, seed in enumerate((3, 8)):
        start = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(seed))
        logits = 0.5 * start.double().numpy()
        first, second = np.zeros_like(logits), np.zeros_like(logits)
        for step in range(1, 13):
            level = 1 / (1 + np.exp(-logits))
            slope = 2 * (level - TARGET) * level * (1 - level)
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope**2
            size = np.sqrt(second / (1 - 0.999**step)) + 1e-8
            logits -= 0.2 * first / (1 - 0.9**step) / size
        expected = 255 / (1 + np.exp(-logits)).transpose(1, 2, 0)
        assert np.abs(found[row] - expected).max() < 0.51


def test_a_reachable_optimum_is_reached():
    found = ascend_pixels(closeness, [0], SIZE, n_steps=200, learning_rate=0.1)
    assert found.dtype == np.uint8
    assert found.shape == (1, *SIZE, 3)
    assert np.abs(found[0] / 255 - TARGET.transpose(1, 2, 0)).max() < 0.01


def test_images_do_not_depend_on_their_neighbours():
    together = ascend_pixels(closeness, [1, 2, 3], SIZE, n_steps=20)
    for row, seed in enumerate((1, 2, 3)):
        alone = ascend_pixels(closeness, [seed], SIZE, n_steps=20)
        assert np.array_equal(alone[0], together[row])
    assert not np.array_equal(together[0], together[1])


def test_a_rate_of_0_leaves_the_noise():
    found = ascend_pixels(closeness, [5], SIZE, n_steps=3, learning_rate=0.0)
    start = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(5))
    expected = 255 * torch.sigmoid(0.5 * start).numpy().transpose(1, 2, 0)
    assert np.abs(found[0] - expected).max() < 0.51


def test_gradients_are_taken_also_where_they_are_switched_off():
    with torch.no_grad():
        inside = ascend_pixels(closeness, [1], SIZE, n_steps=5)
    assert np.array_equal(inside, ascend_pixels(closeness, [1], SIZE, n_steps=5))


def test_gradients_that_are_not_finite_are_an_error_with_the_step():
    calls = []

    def breaks(images):
        calls.append(1)
        total = closeness(images)
        return total / 0 if len(calls) == 3 else total

    with pytest.raises(FloatingPointError, match="at step 3"):
        ascend_pixels(breaks, [0], SIZE, n_steps=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, "at least one"),
        ({"n_steps": 0}, "n_steps"),
        ({"learning_rate": -0.1}, "learning_rate"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    seeds = options.pop("seeds", [0])
    with pytest.raises(ValueError, match=message):
        ascend_pixels(closeness, seeds, SIZE, **options)
