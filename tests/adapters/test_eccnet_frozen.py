"""Numbers of our own that a bare clone can check: weights, displays, fixations.

The best place of every glance leads the next cell of the map by more than 0.1 %, so
that the last bits of float32 sums on other machines cannot change a fixation.
"""

import hashlib

import numpy as np
import pytest

from neurovis.adapters.eccnet import load_eccnet
from neurovis.adapters.search_maps import enlargement
from stimuli.search_arrays import make_search_arrays
from tasks.search_asymmetry import search_rules, search_trial

WEIGHTS = "seeded:100/8"
# (condition, set size, trial) of seed 3, and the SHA-256 of display and target.
DISPLAYS = {
    ("top_down", 2, 2): "37fd7f3dd797619d",
    ("homo_t20", 4, 2): "0010a582c619346a",
}
# Rows and columns of fixated pixels.
FIXATIONS = {
    ("top_down", "eccnet"): [(99, 99), (123, 12), (195, 20), (45, 171)],
    ("top_down", "ivsn"): [(99, 99), (155, 44), (0, 179)],
    ("top_down", "eccnet-noecc"): [(99, 99), (171, 12), (0, 163)],
    ("top_down", "eccnet-18-17"): [(99, 99), (12, 123), (36, 195)],
    ("homo_t20", "eccnet"): [(169, 169), (177, 241), (217, 328)],
    ("homo_t20", "ivsn"): [(169, 169), (288, 114), (202, 280)],
    ("homo_t20", "eccnet-noecc"): [(169, 169), (193, 288)],
    ("homo_t20", "eccnet-18-17"): [(169, 169), (177, 241), (185, 252)],
}
# Best match of the three stages at the first glance, by pooling.
PEAKS = {
    ("top_down", "average"): [560034.4, 581211.4, 94264.23],
    ("top_down", "max"): [3463094.0, 4152974.8, 890245.4],
    ("homo_t20", "average"): [5705876.5, 9815145.0, 3478789.5],
    ("homo_t20", "max"): [23088232.0, 37682272.0, 14878611.0],
}


@pytest.fixture(scope="module")
def displays():
    """Trial and rules by condition."""
    found = {}
    for condition, set_size, trial in DISPLAYS:
        made = make_search_arrays(
            condition, set_sizes=[set_size], trials=trial + 1, seed=3
        ).select([trial])
        rules = search_rules(made.table.iloc[0].to_dict())
        found[condition] = (search_trial(made, 0), rules)
    return found


def lead(glance, side):
    """How far the best place leads all other cells, as a share of the best."""
    n = glance.raw.shape[-1]
    cells = []
    for axis in (0, 1):
        first = glance.landing_corner[axis] - glance.fixation[axis] + side // 2
        span = (first, first + glance.landing.shape[axis])
        cells.append(enlargement(n, side, span)[0])
    cell = cells[0][:, None] * n + cells[1]
    best = glance.landing.argmax()
    others = glance.landing[cell != cell.flat[best]]
    return 1 - others.max() / glance.landing.flat[best]


@pytest.mark.parametrize(("condition", "set_size", "trial"), DISPLAYS)
def test_displays_are_unchanged(displays, condition, set_size, trial):
    display, _ = displays[condition]
    data = display.image.tobytes() + display.target.tobytes()
    expected = DISPLAYS[condition, set_size, trial]
    assert hashlib.sha256(data).hexdigest().startswith(expected)


@pytest.mark.parametrize(("condition", "name"), FIXATIONS)
def test_fixations_are_unchanged(displays, condition, name):
    model = load_eccnet(name, weights=WEIGHTS, device="cpu")
    trial, rules = displays[condition]
    path, glances = model.watch(trial, rules)
    side = model.window(rules).side
    assert min(lead(glance, side) for glance in glances) > 1e-3
    fixations = np.stack([path.y_px, path.x_px], 1) - 0.5
    np.testing.assert_array_equal(fixations, FIXATIONS[condition, name])
    assert path.found
    expected = PEAKS[condition, model.variant.kind]
    peaks = glances[0].raw.max((1, 2))
    np.testing.assert_allclose(peaks, expected, rtol=2e-5)
    # What is watched is what is searched.
    (searched,) = model.search([trial], rules)
    np.testing.assert_array_equal(searched.x_px, path.x_px)
    np.testing.assert_array_equal(searched.y_px, path.y_px)
