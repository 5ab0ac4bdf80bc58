"""Crowded letters stand where they should and do not overlap."""

import itertools

import numpy as np
import pytest

from stimuli.crowding import ARRANGEMENTS, draw_crowded_letter, make_crowded_letters

FLANKERS = {"none": 0, "inner": 1, "outer": 1, "radial": 2, "tangential": 2, "all": 4}


def _centre(mask, px_per_deg):
    """Middle of the box of a mask in degrees."""
    height, width = mask.shape
    rows, columns = (np.flatnonzero(mask.any(axis=k)) for k in (1, 0))
    x = ((columns[0] + columns[-1] + 1) / 2 - width / 2) / px_per_deg
    y = (height / 2 - (rows[0] + rows[-1] + 1) / 2) / px_per_deg
    return x, y


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("meridian", [0.0, 90.0, 225.0])
def test_letters_are_at_the_stated_distances(arrangement, meridian):
    names = list("ODHN")[: FLANKERS[arrangement]]
    display = draw_crowded_letter(
        "O", names, arrangement=arrangement, meridian_deg=meridian, spacing_deg=1.25,
        px_per_deg=40, size_deg=14,
    )  # fmt: skip
    target = np.array(_centre(display.masks["target"], 40))
    assert np.hypot(*target) == pytest.approx(5, abs=0.03)
    assert np.degrees(np.arctan2(target[1], target[0])) % 360 == pytest.approx(
        meridian, abs=0.5
    )
    away = target / np.hypot(*target)
    found = []
    for i in range(len(names)):
        step = np.array(_centre(display.masks[f"flanker_{i}"], 40)) - target
        assert np.hypot(*step) == pytest.approx(1.25, abs=0.04)
        found.append((step @ away, step @ [-away[1], away[0]]))
    places = {
        "inner": [(-1, 0)], "outer": [(1, 0)], "radial": [(-1, 0), (1, 0)],
        "tangential": [(0, -1), (0, 1)], "none": [],
        "all": [(-1, 0), (1, 0), (0, -1), (0, 1)],
    }[arrangement]  # fmt: skip
    np.testing.assert_allclose(found, np.array(places) * 1.25, atol=0.05)


@pytest.mark.parametrize("px_per_deg", [25.0, 32.0, 61.7])
def test_letters_are_as_high_as_stated_at_any_scale(px_per_deg):
    display = draw_crowded_letter(
        "H", "D N", view="target", size_deg=5.0, px_per_deg=px_per_deg
    )
    for mask in display.masks.values():
        for axis in (0, 1):
            extent = len(np.flatnonzero(mask.any(axis=axis)))
            assert abs(extent - 0.6 * px_per_deg) <= 1


def test_no_letters_overlap_even_at_the_smallest_spacing():
    for target, arrangement in itertools.product("CHS", ARRANGEMENTS):
        names = list("ZKRV")[: FLANKERS[arrangement]]
        display = draw_crowded_letter(
            target, names, arrangement=arrangement, spacing_deg=0.6, view="target",
            size_deg=4.0,
        )  # fmt: skip
        assert sum(mask.astype(int) for mask in display.masks.values()).max() == 1


def test_overlap_is_refused_with_the_spacing_that_would_do():
    with pytest.raises(ValueError, match=r"overlap .* 0.59 deg .* 0.6 deg or more"):
        draw_crowded_letter("H", "C D", spacing_deg=0.59)
    with pytest.raises(ValueError, match=r"a spacing of 0.849 deg or more"):
        draw_crowded_letter("H", "C D", spacing_deg=0.7, meridian_deg=45.0)


def test_a_set_has_every_letter_as_often_with_flankers_that_differ():
    table = make_crowded_letters(
        arrangements=ARRANGEMENTS, spacings_deg=[1.0, 2.0], repeats=2
    ).table
    assert len(table) == 10 * 2 * (1 + 5 * 2)
    counts = table.groupby(["condition", "target"]).size()
    assert set(counts) == {2}
    for row in table.to_dict("records"):
        names = row["flankers"].split()
        assert len(names) == FLANKERS[row["arrangement"]]
        assert len({row["target"], *names}) == len(names) + 1
        assert np.isnan(row["spacing_deg"]) == (row["arrangement"] == "none")
    near = table[table["spacing_deg"] == 1.0]
    assert set(near["spacing_over_eccentricity"]) == {0.2}


def test_contrast_and_shift_stay_within_their_ranges():
    stimuli = make_crowded_letters(
        "CD", arrangements=["none"], repeats=20, jitter_deg=0.2, view="target",
        contrast_range=(0.4, 0.6), size_deg=2.0,
    )  # fmt: skip
    table = stimuli.table
    assert table["contrast"].between(0.4, 0.6).all()
    assert table["contrast"].nunique() == 40
    for axis in "xy":
        assert table[f"shift_{axis}_deg"].abs().max() <= 0.2
    darkest = stimuli.load(0).min() / 255
    assert (0.5 - darkest) / 0.5 == pytest.approx(table["contrast"].iloc[0], abs=0.01)


def test_the_same_seed_gives_the_same_bytes():
    call = {"arrangements": ["radial"], "spacings_deg": [1.0], "view": "target"}
    first, again, other = (
        make_crowded_letters("CDHK", **call, size_deg=4.0, seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.fingerprint == again.fingerprint
    assert first.table["flankers"].tolist() != other.table["flankers"].tolist()


def test_the_fixation_mark_is_in_the_middle():
    plain, marked = (
        draw_crowded_letter("H", "C D", fixation_mark=mark) for mark in (False, True)
    )
    changed = np.argwhere(plain.image != marked.image)
    np.testing.assert_allclose(changed.mean(axis=0), 255.5)
    assert np.ptp(changed, axis=0).max() <= 0.3 * 32 + 1


def test_what_cannot_be_is_refused_before_anything_is_drawn():
    with pytest.raises(ValueError, match=r"`size_deg` of 15.6 or more, or view"):
        make_crowded_letters(size_deg=15.0)
    with pytest.raises(ValueError, match="`letters` has 2: the arrangement 'radial'"):
        make_crowded_letters("CD", arrangements=["radial"])
    with pytest.raises(ValueError, match="must name 2 letters for the arrangement"):
        draw_crowded_letter("H", "C")
    with pytest.raises(ValueError, match=r"leaves the picture of 10 deg"):
        draw_crowded_letter("H", "C D", size_deg=10.0)
    with pytest.raises(ValueError, match=r"`arrangements` must be one of .*'radial'"):
        make_crowded_letters(arrangements=["radiall"])
