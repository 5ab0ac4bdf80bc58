"""Tuning: simulated units are recovered, brute force agrees, undefined is NaN."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import i0, i1

from analysis.tuning import TUNING_COLUMNS, grating_tuning, tuning_summary

ANGLES = np.arange(0, 180, 15.0)
FREQUENCIES = 30 / (4 * 2 ** (np.arange(7) / 2))
PHASES = 2 * np.pi * np.arange(8) / 8
MEASURES = list(TUNING_COLUMNS[2:-1])


def von_mises(preferred_deg, kappa, angles=ANGLES):
    """Peak 1 at the preferred orientation."""
    return np.exp(kappa * (np.cos(np.radians(2 * (angles - preferred_deg))) - 1))


def log_gaussian(preferred, octaves, frequencies=FREQUENCIES):
    """Full width at half height in octaves."""
    sd = octaves / (2 * math.sqrt(2 * math.log(2)))
    return np.exp(-0.5 * (np.log2(frequencies / preferred) / sd) ** 2)


def unit(over_angle, over_frequency, over_phase=None):
    over_phase = np.ones(8) if over_phase is None else over_phase
    return np.einsum("i,j,k->ijk", over_angle, over_frequency, over_phase)


def simple(n=8, offset=0.0):
    return np.maximum(np.cos(2 * np.pi * np.arange(n) / n - offset), 0)


def tune(*units, **options):
    return grating_tuning(np.stack(units), ANGLES, FREQUENCIES, **options)


def random_units(n=5, seed=0):
    generator = np.random.default_rng(seed)
    return generator.gamma(1.0, 1.0, (n, 12, 7, 8)) ** 2


# ------------------------------------------------------------------- recovery


@pytest.mark.parametrize("preferred", [0.0, 45.0, 165.0])
@pytest.mark.parametrize("kappa", [0.3, 1.0, 3.0, 10.0])
def test_von_mises_tuning_is_recovered(preferred, kappa):
    row = tune(unit(von_mises(preferred, kappa), log_gaussian(3.75, 1.5))).iloc[0]
    assert row["preferred_orientation_deg"] == preferred
    assert row["preferred_frequency_cpd"] == 3.75
    # Sums over 12 orientations stand for integrals, and chords for curves.
    expected = 1 - i1(kappa) / i0(kappa)
    assert row["circular_variance"] == pytest.approx(expected, abs=2e-3)
    orthogonal = math.exp(-2 * kappa)
    assert row["orientation_selectivity"] == pytest.approx(
        (1 - orthogonal) / (1 + orthogonal)
    )
    if kappa < math.log(2) / 2:
        assert np.isnan(row["half_width_deg"])
    else:
        half = math.degrees(math.acos(1 - math.log(2) / kappa)) / 2
        assert row["half_width_deg"] == pytest.approx(half, abs=1.5)


@pytest.mark.parametrize("octaves", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("index", [2, 3, 4])
def test_log_gaussian_bandwidth_is_recovered(octaves, index):
    tuned = log_gaussian(FREQUENCIES[index], octaves)
    row = tune(unit(von_mises(30, 2), tuned)).iloc[0]
    assert row["preferred_frequency_cpd"] == FREQUENCIES[index]
    assert row["bandwidth_octaves"] == pytest.approx(octaves, abs=0.09)


def test_finer_frequencies_give_the_bandwidth_itself():
    fine = 2 ** np.linspace(-2, 4, 241)
    tuned = log_gaussian(fine[120], 1.3, fine)[None, None, :, None]
    shape = von_mises(30, 2)[None, :, None, None] * tuned * np.ones(4)
    row = grating_tuning(shape, ANGLES, fine).iloc[0]
    assert row["bandwidth_octaves"] == pytest.approx(1.3, abs=1e-3)


def test_bandwidth_is_open_where_a_flank_is_not_shown():
    rows = tune(
        unit(von_mises(0, 2), log_gaussian(FREQUENCIES[0], 1.0)),
        unit(von_mises(0, 2), log_gaussian(FREQUENCIES[-1], 1.0)),
        unit(von_mises(0, 2), log_gaussian(FREQUENCIES[3], 9.0)),
        unit(von_mises(0, 2), log_gaussian(FREQUENCIES[3], 1.0)),
    )
    assert rows["bandwidth_octaves"].isna().tolist() == [True, True, True, False]
    assert rows["half_width_deg"].notna().all()


def test_units_without_orientation_tuning_have_circular_variance_one():
    row = tune(unit(np.ones(12), log_gaussian(3.75, 1.5), simple())).iloc[0]
    assert row["responsive"]
    assert row["circular_variance"] == pytest.approx(1.0)
    assert row["orientation_selectivity"] == 0
    assert np.isnan(row["half_width_deg"])


def test_units_of_one_orientation_have_circular_variance_zero():
    curve = np.where(ANGLES == 60, 2.0, 0.0)
    row = tune(unit(curve, log_gaussian(3.75, 1.5))).iloc[0]
    assert row["circular_variance"] == pytest.approx(0, abs=1e-12)
    assert row["orientation_selectivity"] == 1
    assert row["half_width_deg"] == pytest.approx(7.5)
    assert row["peak_response"] == pytest.approx(2.0)


def test_two_orthogonal_peaks_cancel_in_circular_variance():
    curve = np.where(ANGLES % 90 == 30, 1.0, 0.0)
    row = tune(unit(curve, log_gaussian(3.75, 1.5))).iloc[0]
    assert row["circular_variance"] == pytest.approx(1.0)
    assert row["orientation_selectivity"] == 0
    assert row["half_width_deg"] == pytest.approx(7.5)


def test_a_rectified_sinusoid_is_simple_and_a_constant_is_complex():
    many = np.einsum("i,j,k->ijk", von_mises(0, 2), log_gaussian(3.75, 1), simple(720))
    row = grating_tuning(many[None], ANGLES, FREQUENCIES).iloc[0]
    assert row["modulation_ratio"] == pytest.approx(math.pi / 2, abs=1e-4)
    rows = tune(
        unit(von_mises(0, 2), log_gaussian(3.75, 1), simple()),
        unit(von_mises(0, 2), log_gaussian(3.75, 1), simple(offset=np.pi / 8)),
        unit(von_mises(0, 2), log_gaussian(3.75, 1)),
        unit(von_mises(0, 2), log_gaussian(3.75, 1), 1 + 0.6 * np.cos(PHASES - 1)),
        unit(von_mises(0, 2), log_gaussian(3.75, 1), 1 + 0.6 * np.cos(2 * PHASES)),
    )
    np.testing.assert_allclose(
        rows["modulation_ratio"], [1.657, 1.531, 0, 0.6, 0], atol=1e-3
    )
    assert rows["cell"].tolist() == ["simple"] * 2 + ["complex"] * 3


def test_one_phase_of_the_cycle_gives_the_largest_modulation():
    row = tune(unit(von_mises(0, 2), log_gaussian(3.75, 1), np.eye(8)[3])).iloc[0]
    assert row["modulation_ratio"] == pytest.approx(2)


def test_fewer_than_three_phases_tell_nothing_about_modulation():
    table = grating_tuning(random_units()[..., :2], ANGLES, FREQUENCIES)
    assert table["modulation_ratio"].isna().all()
    assert table["cell"].isna().all()
    assert table["circular_variance"].notna().all()


# -------------------------------------------------------------- brute force


def by_hand(responses, angles, frequencies):
    """Measures of one unit, from their definitions, in plain loops."""
    means = responses.mean(axis=2)
    i, j = np.unravel_index(means.argmax(), means.shape)
    n, peak = len(angles), means[i, j]
    x = sum(means[k, j] * math.cos(2 * math.radians(angles[k])) for k in range(n))
    y = sum(means[k, j] * math.sin(2 * math.radians(angles[k])) for k in range(n))
    other = means[(i + n // 2) % n, j]

    def flank(curve, places):
        for k in range(1, len(curve)):
            if curve[k] <= peak / 2:
                at = [[curve[k], curve[k - 1]], [places[k], places[k - 1]]]
                return float(np.interp(peak / 2, *at))
        return math.nan

    steps = np.arange(n) * 180 / n
    right = flank(np.roll(means[:, j], -i), steps)
    left = flank(np.roll(means[::-1, j], i + 1), steps)
    octaves = np.log2(frequencies)
    up = flank(means[i, j:], octaves[j:] - octaves[j])
    down = flank(means[i, j::-1], octaves[j] - octaves[j::-1])
    fourier = np.fft.fft(responses[i, j])
    return {
        "preferred_orientation_deg": angles[i],
        "preferred_frequency_cpd": frequencies[j],
        "peak_response": peak,
        "circular_variance": 1 - math.hypot(x, y) / means[:, j].sum(),
        "orientation_selectivity": (peak - other) / (peak + other),
        "half_width_deg": (left + right) / 2,
        "bandwidth_octaves": up + down,
        "modulation_ratio": 2 * abs(fourier[1]) / abs(fourier[0]),
    }


def test_brute_force_agrees():
    growing = FREQUENCIES[::-1]
    units = random_units(200) * np.random.default_rng(1).gamma(0.5, 1, (200, 12, 7, 1))
    table = grating_tuning(units, ANGLES, growing)
    expected = pd.DataFrame([by_hand(u, ANGLES, growing) for u in units])
    pd.testing.assert_frame_equal(table[MEASURES], expected, rtol=1e-9)
    assert 20 < expected["bandwidth_octaves"].notna().sum() < 200


# ---------------------------------------------------------------- properties


@settings(max_examples=25)
@given(st.floats(1e-3, 1e6), st.integers(0, 50))
def test_measures_do_not_depend_on_the_scale_of_a_unit(scale, seed):
    units = random_units(seed=seed)
    first, second = (tune(*u, floor=0.0) for u in (units, scale * units))
    same = [c for c in TUNING_COLUMNS if c != "peak_response"]
    pd.testing.assert_frame_equal(first[same], second[same], rtol=1e-7)


@settings(max_examples=25)
@given(st.permutations(range(12)), st.permutations(range(7)))
def test_the_order_of_orientations_and_frequencies_does_not_matter(rows, columns):
    units = random_units()
    shuffled = units[:, rows][:, :, columns]
    table = grating_tuning(shuffled, ANGLES[rows], FREQUENCIES[columns])
    pd.testing.assert_frame_equal(table, tune(*units))


def test_turning_all_gratings_turns_the_preferred_orientation_alone():
    units = random_units()
    turned = tune(*np.roll(units, 2, axis=1))
    table = tune(*units)
    same = [c for c in TUNING_COLUMNS if c != "preferred_orientation_deg"]
    pd.testing.assert_frame_equal(turned[same], table[same])
    np.testing.assert_array_equal(
        turned["preferred_orientation_deg"],
        (table["preferred_orientation_deg"] + 30) % 180,
    )


def test_units_are_measured_one_by_one():
    units = random_units(6)
    pd.testing.assert_frame_equal(
        tune(*units)[MEASURES].iloc[2:3].reset_index(drop=True),
        tune(units[2])[MEASURES],
    )


def test_single_precision_and_lists_are_taken():
    units = random_units(2)
    table = grating_tuning(units.astype(np.float32).tolist(), list(ANGLES), FREQUENCIES)
    np.testing.assert_allclose(table[MEASURES], tune(*units)[MEASURES], rtol=1e-4)


# ----------------------------------------------------------------- undefined


def test_silent_and_constant_units_are_undefined():
    tuned = unit(von_mises(0, 2), log_gaussian(3.75, 1), simple())
    table = tune(tuned, np.zeros_like(tuned), np.full_like(tuned, 0.1), 0.02 * tuned)
    assert table["responsive"].tolist() == [True, False, False, True]
    assert table.loc[1:2, MEASURES].isna().all(axis=None)
    assert table.loc[1:2, "cell"].isna().all()
    assert table.loc[[0, 3], "circular_variance"].notna().all()
    assert table["unit"].tolist() == [0, 1, 2, 3]


def test_the_floor_is_a_share_of_the_median_range_of_units_that_vary():
    tuned = unit(von_mises(0, 2), log_gaussian(3.75, 1), simple())
    silent = np.zeros_like(tuned)
    units = [silent, silent, silent, 4 * tuned, tuned, 0.03 * tuned, 0.009 * tuned]
    # Ranges 4, 1, 0.03 and 0.009: the median is 0.515.
    for floor, n in [(0.0, 4), (0.01, 4), (0.02, 3), (0.1, 2), (5.0, 1)]:
        assert tune(*units, floor=floor)["responsive"].sum() == n
    assert not tune(silent)["responsive"].any()


def test_no_unit_gives_no_row():
    table = grating_tuning(np.zeros((0, 12, 7, 8)), ANGLES, FREQUENCIES)
    assert table.columns.tolist() == list(TUNING_COLUMNS)
    assert len(table) == 0
    assert np.isnan(tuning_summary(table)["responsive_share"]).all()


# ------------------------------------------------------------------- summary


def test_the_summary_counts_and_takes_quartiles():
    table = pd.DataFrame(
        {
            "unit": range(6),
            "responsive": [True, True, True, True, True, False],
            "preferred_orientation_deg": 0.0,
            "preferred_frequency_cpd": 1.0,
            "peak_response": 1.0,
            "circular_variance": [0.1, 0.2, 0.4, 0.6, 0.9, np.nan],
            "orientation_selectivity": [0.9, 0.5, 0.34, 1 / 3, 0.0, np.nan],
            "half_width_deg": [10, 20, 40, np.nan, np.nan, np.nan],
            "bandwidth_octaves": [1.0, 2.0, np.nan, np.nan, np.nan, np.nan],
            "modulation_ratio": [1.5, 0.2, 0.3, np.nan, 1.2, np.nan],
            "cell": ["simple", "complex", "complex", np.nan, "simple", np.nan],
        }
    )
    assert tuning_summary(table).iloc[0].to_dict() == pytest.approx(
        {
            "n_units": 6,
            "n_responsive": 5,
            "responsive_share": 5 / 6,
            "circular_variance_q25": 0.2,
            "circular_variance_median": 0.4,
            "circular_variance_q75": 0.6,
            "half_width_deg_median": 20,
            "oriented_share": 0.6,
            "bandwidth_octaves_median": 1.5,
            "closed_bandwidth_share": 0.4,
            "simple_share": 0.5,
        }
    )


def test_the_summary_of_silent_units_is_undefined():
    row = tuning_summary(tune(np.zeros((12, 7, 8)))).iloc[0]
    assert (row["n_units"], row["n_responsive"], row["responsive_share"]) == (1, 0, 0)
    assert row.iloc[3:].isna().all()


def test_a_third_of_selectivity_is_twice_the_response():
    flat = log_gaussian(3.75, 1)
    curve = np.ones(12)
    curve[0] = 2.0
    doubled = tune(unit(curve, flat))
    curve[0] = 2.01
    more = tune(unit(curve, flat))
    assert doubled["orientation_selectivity"].iloc[0] == pytest.approx(1 / 3)
    assert tuning_summary(more)["oriented_share"].iloc[0] == 1


def test_output_is_frozen():
    # Whole numbers, the same on every machine.
    index = np.arange(2 * 12 * 7 * 8).reshape(2, 12, 7, 8)
    table = grating_tuning((index * index) % 97 % 23, ANGLES, FREQUENCIES)
    assert table["cell"].tolist() == FROZEN_CELLS
    np.testing.assert_allclose(table[MEASURES], FROZEN, rtol=1e-6)


FROZEN_CELLS = ["complex", "complex"]
FROZEN = [
    [0.0, 1.875, 15.625, 0.94453264, 0.38888889, 23.896004, np.nan, 0.16468825],
    [30.0, 2.6516504, 15.625, 0.95792674, 0.38888889, 37.78125, np.nan, 0.16468825],
]


# -------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"responses": -np.ones((1, 12, 7, 8))}, ValueError, "np.maximum"),
        ({"responses": np.full((1, 12, 7, 8), np.nan)}, ValueError, "not finite"),
        ({"responses": np.ones((12, 7, 8))}, ValueError, "shape"),
        ({"responses": np.ones((1, 7, 12, 8))}, ValueError, "shape"),
        ({"responses": np.ones((1, 12, 7, 0))}, ValueError, "at least one phase"),
        ({"orientations_deg": ANGLES[:11]}, ValueError, "even number"),
        ({"orientations_deg": ANGLES * 0.9}, ValueError, "equally spaced"),
        ({"orientations_deg": ANGLES * 2}, ValueError, "equally spaced"),
        ({"orientations_deg": [0, 90]}, ValueError, "at least 4"),
        ({"orientations_deg": [0, 60, 120]}, ValueError, "even number"),
        ({"frequencies_cpd": np.ones(7)}, ValueError, "different"),
        ({"frequencies_cpd": -FREQUENCIES}, ValueError, "above 0"),
        ({"frequencies_cpd": []}, ValueError, "at least one"),
        ({"floor": -1}, ValueError, "floor"),
    ],
)
def test_wrong_arguments_are_told(changes, error, words):
    arguments = {
        "responses": np.ones((1, 12, 7, 8)),
        "orientations_deg": ANGLES,
        "frequencies_cpd": FREQUENCIES,
    }
    with pytest.raises(error, match=words):
        grating_tuning(**(arguments | changes))


def test_a_table_without_tuning_is_refused():
    with pytest.raises(ValueError, match="circular_variance"):
        tuning_summary(pd.DataFrame({"responsive": [True]}))
