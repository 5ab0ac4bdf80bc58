"""Test pictures of foveated systems, against the published rules written anew."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

from stimuli.frequency_filters import filter_level, grey_of, mean_rgb
from tasks.foveation_stimuli import (
    batches_of,
    conflict_pairs,
    frequency_sets,
    generalisation_sets,
    occlusion_sets,
    square_sets,
    window_sets,
)

DRAW = np.random.default_rng(0)
PICTURES = DRAW.integers(0, 256, (6, 256, 256, 3), np.uint8)
SMALL = DRAW.integers(0, 256, (6, 48, 48, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])
PAIRS = np.array([1, 2, 0, 4, 5, 3]), np.array([1, 2, 0, 1, 2, 0])
ALL = np.arange(6)


def source(pictures):
    return lambda rows: pictures[rows]


# -------------------------------------------------------------- spatial frequencies


def test_families_have_eight_levels_with_the_published_cut_offs():
    sets = frequency_sets(source(PICTURES), 256, np.full(3, 0.5))
    table = pd.DataFrame(
        [(one.condition, one.level, one.value) for one in sets],
        columns=["condition", "level", "value"],
    )
    names = ["low-pass", "high-pass", "low-pass, grey", "high-pass, grey"]
    assert table["condition"].unique().tolist() == names
    sigmas = {
        "low": [1, 3, 5, 7, 9, 15, 40],
        "high": [3, 1.5, 1, 0.7, 0.55, 0.45, 0.4],
    }
    for name in names:
        part = table[table["condition"] == name]
        assert part["level"].tolist() == list(range(1, 9))
        assert np.isnan(part["value"].iloc[0])
        expected = 47.97 / np.array(sigmas[name.partition("-")[0]])
        np.testing.assert_allclose(part["value"].iloc[1:], expected, rtol=1e-3)


def test_frequencies_are_taken_from_what_the_first_stage_let_through():
    mean = np.array([0.3, 0.5, 0.6])
    sets = frequency_sets(source(SMALL), 48, mean)
    rows = np.array([4, 1])
    for one in sets:
        family = one.condition.partition("-")[0]
        grey = one.condition.endswith("grey")
        expected = filter_level(
            SMALL[rows], family, one.level, mean_rgb=mean, grey=grey
        )
        assert np.array_equal(one.make(rows), expected)
        if one.level == 1:
            unfiltered = grey_of(SMALL[rows]) if grey else SMALL[rows]
            assert np.array_equal(expected, unfiltered)


def test_high_pass_pictures_have_the_mean_of_the_validation_pictures():
    judged = [
        np.full((48, 48, 3), v, np.uint8) for v in ((90, 100, 110), (110, 140, 90))
    ]
    mean = mean_rgb(judged)
    np.testing.assert_allclose(255 * mean, [100, 120, 100])
    soft = [s for s in frequency_sets(source(SMALL), 48, mean) if s.level == 8]
    high = next(s for s in soft if s.condition == "high-pass")
    found = high.make(ALL).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(found, [100, 120, 100], atol=0.6)


def test_sets_without_colour_have_no_grey_families():
    sets = frequency_sets(source(SMALL), 48, np.full(3, 0.5), grey=False)
    assert {s.condition for s in sets} == {"low-pass", "high-pass"}
    assert len(sets) == 16


# --------------------------------------------------------------------- occlusion


def published_mask(kind, z):
    """The slices of the published code, True where grey comes."""
    area = 16 * (z - 1) * 256
    d = math.ceil(math.sqrt(area) / 2)
    b = math.ceil(math.sqrt(65536 - area) / 2)
    mask = np.zeros((256, 256), bool)
    if kind == "scotoma":
        mask[128 - d : 128 + d, 128 - d : 128 + d] = True
    elif kind == "glaucoma":
        mask[:] = True
        mask[128 - b : 128 + b, 128 - b : 128 + b] = False
    elif kind == "left2right":
        mask[:, : 16 * (z - 1)] = True
    else:
        mask[: 16 * (z - 1)] = True
    return mask


def test_occluders_are_the_published_ones_at_256_px():
    sets = occlusion_sets(source(PICTURES), 256)
    kinds = ("scotoma", "glaucoma", "left2right", "top2bottom")
    assert [(s.condition, s.level) for s in sets] == [
        (kind, z) for kind in kinds for z in range(1, 18)
    ]
    rows = np.array([3])
    for one in sets:
        mask = published_mask(one.condition, one.level)
        assert one.value == mask.mean()
        expected = np.where(mask[..., None], 128, PICTURES[3])
        assert np.array_equal(one.make(rows)[0], expected)


# ------------------------------------------------------------------- cue conflicts


def published_windows(px=256):
    return window_sets(
        source(PICTURES),
        px,
        PAIRS,
        scale=0.4,
        fovea_deg=1.82165,
        px_per_deg=px / 26,
        fixation_px=(px / 2, px / 2),
    )


def test_windows_weigh_as_published_at_256_px():
    sets = published_windows()
    axis = [0, 1.55, 3.43, 7.59, 16.8, 37.18, 80.77, 100]
    found = [one.value for one in sets]
    np.testing.assert_allclose(found, np.array(axis) / 100, atol=2e-3)
    assert [one.level for one in sets] == list(range(1, 9))
    assert {one.condition for one in sets} == {"window"}


def test_windows_show_the_other_class_in_the_centre():
    sets = published_windows()
    rows = np.array([0, 5])
    others = PICTURES[PAIRS[0][rows]]
    assert np.array_equal(sets[0].make(rows), PICTURES[rows])
    assert np.array_equal(sets[-1].make(rows), others)
    for one in sets[1:-1]:
        made = one.make(rows)
        assert np.array_equal(made[:, 126:130, 126:130], others[:, 126:130, 126:130])
        assert np.array_equal(one.others, PAIRS[1])
        # Somewhere between the two, everywhere.
        low, high = (
            np.minimum(PICTURES[rows], others),
            np.maximum(PICTURES[rows], others),
        )
        assert ((made >= low) & (made <= high)).all()
    assert np.array_equal(sets[3].make(rows)[:, 0], PICTURES[rows][:, 0])


def test_squares_show_the_other_class_inside_and_grow_as_published():
    sets = square_sets(source(PICTURES), 256, PAIRS)
    rows = np.array([2, 4])
    for one in sets:
        d = math.ceil(math.sqrt(16 * (one.level - 1) * 256) / 2)
        expected = PICTURES[rows].copy()
        inside = slice(128 - d, 128 + d)
        expected[:, inside, inside] = PICTURES[PAIRS[0][rows]][:, inside, inside]
        assert np.array_equal(one.make(rows), expected)
        assert one.value == (2 * d / 256) ** 2
    assert [one.level for one in sets] == list(range(1, 18))
    assert (sets[0].value, sets[-1].value) == (0, 1)


@pytest.mark.parametrize("experiment", ["window-conflict", "square-conflict"])
def test_balanced_pairs_never_show_one_class_twice(experiment):
    labels = np.repeat(np.arange(5), [7, 4, 9, 4, 8])
    partners, others = conflict_pairs(labels, experiment, pairing="balanced", seed=3)
    assert (others == labels[partners]).all()
    assert (others != labels).all()
    again, _ = conflict_pairs(labels, experiment, pairing="balanced", seed=3)
    assert np.array_equal(partners, again)
    counts = [np.bincount(others[labels == k], minlength=5) for k in range(5)]
    for k, count in enumerate(counts):
        met = np.delete(count, k)
        assert met.max() - met.min() <= 1


def interleaved(n_classes, n_each):
    labels = np.tile(np.arange(n_classes), n_each)
    number = np.repeat(np.arange(n_each), n_classes)
    return labels, number


def test_published_windows_take_the_same_number_of_the_next_class():
    labels, number = interleaved(6, 4)
    partners, others = conflict_pairs(
        labels, "window-conflict", pairing="published", seed=0
    )
    assert np.array_equal(others, (labels + 1) % 6)
    assert np.array_equal(number[partners], number)
    assert np.array_equal(labels[partners], others)


def test_published_squares_follow_the_counter_with_its_quirk():
    labels, number = interleaved(20, 250)
    partners, others = conflict_pairs(
        labels, "square-conflict", pairing="published", seed=0
    )
    found = dict(zip(zip(labels, number, strict=True), others, strict=True))
    counter = 1
    for own in range(1, 21):
        for k in range(250):
            counter += counter == own
            counter = 1 if counter == 21 else counter
            assert found[own - 1, k] == counter - 1
            counter += 1
    assert np.array_equal(number[partners], number)
    same = others == labels
    assert (same.sum(), set(labels[same])) == (12, {0})
    assert np.array_equal(partners[same], np.flatnonzero(same))


def test_published_pairs_need_equal_numbers():
    labels = np.array([0, 0, 1, 1, 2])
    for experiment in ("window-conflict", "square-conflict"):
        with pytest.raises(ValueError, match=r"there are 1 to 2\. Take 'balanced'"):
            conflict_pairs(labels, experiment, pairing="published", seed=0)
    with pytest.raises(ValueError, match="`pairing` must be one of"):
        conflict_pairs(labels, "window-conflict", pairing="random", seed=0)


# ------------------------------------------------------------------------- others


def test_generalisation_shows_every_system_as_it_is():
    sets = generalisation_sets({"a": source(SMALL), "b": source(SMALL[::-1])})
    assert [s.condition for s in sets] == ["a", "b"]
    assert np.array_equal(sets[1].make(np.array([0, 2])), SMALL[[5, 3]])
    assert all(np.isnan(s.value) and s.others is None for s in sets)


@pytest.mark.parametrize(("n", "size"), [(0, 3), (3, 3), (7, 3), (2, 5)])
def test_blocks_hold_every_row_once(n, size):
    blocks = list(batches_of(n, size))
    assert all(0 < len(block) <= size for block in blocks)
    assert [row for block in blocks for row in block.tolist()] == list(range(n))


@pytest.mark.parametrize(
    "sets",
    [
        partial(frequency_sets, source(SMALL), 48, np.full(3, 0.5)),
        partial(occlusion_sets, source(SMALL), 48),
        partial(square_sets, source(SMALL), 48, PAIRS),
        partial(window_sets, source(SMALL), 48, PAIRS, scale=0.4, fovea_deg=1.8,
                px_per_deg=2.0),
    ],
    ids=["frequency", "occlusion", "square", "window"],
)  # fmt: skip
def test_pictures_do_not_depend_on_what_is_made_with_them(sets):
    for one in sets():
        whole = one.make(ALL)
        assert (whole.dtype, whole.shape) == (np.uint8, SMALL.shape)
        assert np.array_equal(one.make(ALL[3:4])[0], whole[3])
