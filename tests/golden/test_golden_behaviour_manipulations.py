"""The manipulations of pictures against public reference functions.

Tolerance 1e-8 of mean, standard deviation and pixels, before anything is rounded.
"""

import json
from fnmatch import fnmatch

import numpy as np
import pytest

from data_loaders.stimulus_constants import load_stimulus_constants
from stimuli.colour_opponency import false_colour
from stimuli.manipulations import (
    add_salt_and_pepper,
    add_uniform_noise,
    high_pass,
    low_pass,
    reduce_contrast,
    rgb_to_grey,
    rotate_quarter,
)
from stimuli.phase_scrambling import count_draws, equalise_power, scramble_phase

FAMILY = "behaviour"
PATTERNS = ("image_manipulations.json",)
PLACES = ((0, 0), (10, 200), (112, 112), (150, 37), (223, 223))
SIDE = 224


def find_cases(folder):
    """List (id, checker, arguments): one test per manipulation."""
    cases = []
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in PATTERNS):
            about = json.loads(path.read_text(encoding="utf-8"))
            cases += [
                (name, check_manipulation, (name, expected, about["k"]))
                for name, expected in about["results"].items()
            ]
    return cases


def check_unknown(path, data_folder):
    pytest.fail(f"{path} holds no manipulated pictures")


def test_golden_result(golden_case, data_folder):
    _, checker, arguments = golden_case
    checker(*arguments, data_folder)


def formula_picture(k):
    """The picture that the file describes by a formula."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    disc = (x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.04
    red = 0.5 + 0.35 * np.sin(2 * np.pi * (k * x + 2 * y) + 0.7) + 0.1 * disc
    green = 0.45 + 0.3 * np.cos(2 * np.pi * x * y * (k + 2))
    blue = 0.3 + 0.5 * x * (1 - y)
    return np.round(255 * np.clip(np.stack([red, green, blue], -1), 0, 1)) / 255


def formula_draws():
    return (np.sin(12.9898 * np.arange(count_draws((SIDE, SIDE)))) * 43758.5453) % 1


def manipulate(name, picture, constants):
    """Read the name of a result and make it."""
    kind, _, rest = name.partition("_")
    if name == "input":
        return picture
    if name == "rgb2gray":
        return rgb_to_grey(picture)
    if kind == "contrast":
        return reduce_contrast(picture, float(rest))
    if name.startswith(("uniform_noise", "salt_and_pepper")):
        *_, level, seed = name.split("_")
        add = add_uniform_noise if kind == "uniform" else add_salt_and_pepper
        return add(picture, float(level), seed=int(seed.removeprefix("seed")))
    if name.startswith(("low_pass", "high_pass")):
        filtered = low_pass if kind == "low" else high_pass
        return filtered(picture, float(name.split("_")[-1]))
    if name.startswith("phase_scrambling"):
        *_, variant, width = name.split("_")
        return scramble_phase(
            picture, float(width), variant=variant, draws=formula_draws()
        )
    if name == "power_equalisation":
        return equalise_power(picture, constants.mean_amplitude)
    if name.startswith("rotate"):
        return rotate_quarter(picture, int(name.removeprefix("rotate")))
    if name == "false_colour":
        return false_colour(picture, constants.gamma)
    return pytest.fail(f"no manipulation is known for the result {name!r}")


def check_manipulation(name, expected, k, data_folder):
    constants = load_stimulus_constants(data_folder / "geirhos_stimulus_constants")
    found = manipulate(name, formula_picture(k), constants)
    assert set(expected) == {"shape", "mean", "std", "pixels"}
    if len(expected["shape"]) == 3 and found.ndim == 2:
        found = np.repeat(found[..., None], 3, axis=2)
    assert list(found.shape) == expected["shape"]
    assert found.mean() == pytest.approx(expected["mean"], abs=1e-8)
    assert found.std() == pytest.approx(expected["std"], abs=1e-8)
    pixels = [np.atleast_1d(found[place]) for place in PLACES]
    np.testing.assert_allclose(pixels, expected["pixels"], rtol=0, atol=1e-8)
