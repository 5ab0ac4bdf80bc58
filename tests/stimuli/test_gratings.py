"""Gratings: frequency, orientation, phase, contrast and windows as the table says."""

import math

import numpy as np
import pytest

from stimuli.gratings import (
    FREQUENCIES_CPD,
    ORIENTATIONS_DEG,
    draw_grating,
    make_gratings,
)


def levels(stimuli, index):
    picture = stimuli.load(index)
    assert (picture == picture[..., :1]).all()
    return picture[..., 0].astype(float)


def spectrum_peak(grey, cells=512):
    """Frequency (x right, y down; cycles per px) of the largest amplitude."""
    window = np.hanning(len(grey))
    waves = (grey - grey.mean()) * window * window[:, None]
    amplitude = np.abs(np.fft.fft2(waves, (cells, cells)))
    row, column = np.unravel_index(amplitude.argmax(), amplitude.shape)
    at = np.fft.fftfreq(cells)
    return at[column], at[row]


def test_the_default_set_has_all_combinations_with_phase_fastest():
    stimuli = make_gratings()
    table = stimuli.table
    assert len(stimuli) == 12 * 7 * 8
    assert table.columns[:7].tolist() == [
        "stimulus_id",
        "orientation_deg",
        "frequency_cpd",
        "frequency_cycles_per_px",
        "phase_deg",
        "contrast",
        "px_per_deg",
    ]
    shape = (12, 7, 8)
    angles = table["orientation_deg"].to_numpy().reshape(shape)
    frequencies = table["frequency_cpd"].to_numpy().reshape(shape)
    phases = table["phase_deg"].to_numpy().reshape(shape)
    assert (angles == np.arange(0, 180, 15.0)[:, None, None]).all()
    assert (frequencies == np.array(FREQUENCIES_CPD)[:, None]).all()
    assert (phases == np.arange(0, 360, 45.0)).all()
    np.testing.assert_allclose(
        1 / table["frequency_cycles_per_px"].unique(),
        [4, 5.657, 8, 11.314, 16, 22.627, 32],
        rtol=1e-4,
    )
    assert table["stimulus_id"].is_unique
    assert stimuli.load(0).dtype == np.uint8
    assert stimuli.load(0).shape == (96, 96, 3)
    assert (stimuli.viewing.px_per_deg, stimuli.viewing.background) == (30.0, 128)


@pytest.mark.parametrize("angle", [0.0, 20.0, 45.0, 90.0, 135.0, 165.0])
@pytest.mark.parametrize("frequency", [1.25, 3.75, 7.5])
def test_the_spectrum_peaks_where_the_table_says(angle, frequency):
    stimuli = make_gratings(
        orientations_deg=[angle], frequencies_cpd=[frequency], n_phases=3
    )
    for index in range(3):
        x, y = spectrum_peak(levels(stimuli, index))
        assert math.hypot(x, y) == pytest.approx(frequency / 30, abs=1 / 512)
        # Bars lie at right angles to the modulation; y down becomes y up.
        bars = (math.degrees(math.atan2(-y, x)) + 90) % 180
        gap = abs((bars - angle + 90) % 180 - 90)
        assert gap < math.degrees(0.75 / 512 / (frequency / 30)) + 1e-9


def test_horizontal_bars_are_constant_along_rows_and_vertical_ones_along_columns():
    stimuli = make_gratings(orientations_deg=[0, 90], n_phases=1)
    for j in range(7):
        horizontal, vertical = levels(stimuli, j), levels(stimuli, 7 + j)
        assert (horizontal == horizontal[:, :1]).all()
        assert (vertical == vertical[:1]).all()
        np.testing.assert_array_equal(horizontal, vertical.T)


def test_bars_of_45_degrees_rise_to_the_right():
    stimuli = make_gratings(orientations_deg=[45], n_phases=1)
    grey = levels(stimuli, 3)
    np.testing.assert_array_equal(grey[1:, :-1], grey[:-1, 1:])
    assert (grey[1:, 1:] != grey[:-1, :-1]).mean() > 0.5


@pytest.mark.parametrize("contrast", [1.0, 0.5, 0.1])
def test_contrast_and_mean_are_those_asked_for(contrast):
    # 16 px per cycle, six cycles in the picture.
    stimuli = make_gratings(
        orientations_deg=[0, 90],
        frequencies_cpd=[30 / 16],
        contrast=contrast,
        mean_level=120.0,
    )
    for index in range(len(stimuli)):
        grey = levels(stimuli, index)
        assert grey.mean() == pytest.approx(120, abs=0.51)
        michelson = (grey.max() - grey.min()) / (grey.max() + grey.min())
        # Samples miss the extremes by up to half a px: cos(pi / 16) = 0.981.
        assert michelson == pytest.approx(contrast, abs=0.02 * contrast + 1 / 120)


def test_levels_are_the_formula():
    stimuli = make_gratings(
        size_px=9,
        orientations_deg=[30],
        frequencies_cpd=[4.0],
        n_phases=4,
        contrast=0.8,
    )
    for index, row in stimuli.table.iterrows():
        for i, j in np.ndindex(9, 9):
            right, up = j - 4, 4 - i
            # Distance from the bar through the centre, growing to the right.
            s = right * math.sin(math.radians(30)) - up * math.cos(math.radians(30))
            wave = math.cos(2 * math.pi * 4 / 30 * s - math.radians(row["phase_deg"]))
            level = 127.5 * (1 + 0.8 * wave)
            assert abs(stimuli.load(index)[i, j, 0] - level) <= 0.5 + 1e-6


@pytest.mark.parametrize("angle", [0, 90])
def test_growing_phases_move_bars_right_and_down(angle):
    # A quarter of 16 px is 4 px.
    stimuli = make_gratings(
        orientations_deg=[angle], frequencies_cpd=[30 / 16], n_phases=4
    )
    first, second, third = (levels(stimuli, k) for k in range(3))
    axis = 1 if angle else 0
    np.testing.assert_array_equal(np.roll(first, 4, axis=axis), second)
    np.testing.assert_allclose(first + third, 255, atol=1)
    assert first[48, 48] > 240  # a bright bar lies on the centre


def test_pictures_do_not_depend_on_what_else_is_made():
    whole = make_gratings()
    alone = make_gratings(orientations_deg=[45], frequencies_cpd=[3.75])
    at = whole.table.query("orientation_deg == 45 and frequency_cpd == 3.75").index
    for k, index in enumerate(at):
        np.testing.assert_array_equal(alone.load(k), whole.load(index))
        np.testing.assert_array_equal(
            draw_grating(whole.table.iloc[index]), whole.load(index)
        )


def test_the_disk_hides_what_is_outside_and_leaves_what_is_inside():
    options = {"orientations_deg": [60], "n_phases": 2}
    bare = make_gratings(**options)
    disk = make_gratings(window="disk", size_deg=2.0, **options)
    y, x = np.mgrid[:96, :96] - 47.5
    radius = np.hypot(y, x)
    for index in range(len(bare)):
        shown = levels(disk, index)
        assert (shown[radius > 30.5] == 128).all()
        inside = radius < 29.5
        np.testing.assert_array_equal(shown[inside], levels(bare, index)[inside])
    assert (disk.table["size_deg"] == 2.0).all()
    assert bare.table["size_deg"].isna().all()
    whole = make_gratings(window="disk", **options)
    assert (whole.table["size_deg"] == 3.2).all()


def test_the_gaussian_is_at_half_height_where_its_width_ends():
    stimuli = make_gratings(
        size_px=97,
        orientations_deg=[0],
        frequencies_cpd=[1.0],
        n_phases=1,
        window="gaussian",
        size_deg=40 / 30,
    )
    # Along the middle of the bright bar the window alone is seen.
    middle = (levels(stimuli, 0)[48] - 127.5) / 127.5
    expected = [1, 1 / 2, 1 / 2, 1 / 16, 1 / 16]
    np.testing.assert_allclose(middle[[48, 68, 28, 88, 8]], expected, atol=0.006)
    default = make_gratings(window="gaussian")
    assert default.table["size_deg"].iloc[0] == pytest.approx(3.2 / 3)
    assert np.abs(levels(default, 50)[[0, -1]] - 127.5).max() <= 1.5


def test_output_is_frozen():
    stimuli = make_gratings(window="gaussian", contrast=0.9)
    assert [stimuli.load(i)[40, 44:50, 0].tolist() for i in (100, 300, 671)] == FROZEN
    bare = make_gratings(size_px=8, orientations_deg=[0], frequencies_cpd=[7.5])
    assert bare.load(1)[:, 0, 0].tolist() == BARE


FROZEN = [
    [188, 184, 179, 173, 166, 160],
    [176, 221, 214, 160, 87, 37],
    [85, 80, 75, 71, 67, 63],
]
BARE = [255, 128, 0, 128, 255, 128, 0, 128]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"frequencies_cpd": [15.0]}, ValueError, "below 15"),
        ({"px_per_deg": 15.0}, ValueError, "more pixels per degree"),
        ({"frequencies_cpd": [0.0]}, ValueError, "above 0"),
        ({"frequencies_cpd": [2.0, 2.0]}, ValueError, "different"),
        ({"frequencies_cpd": []}, ValueError, "at least one"),
        ({"orientations_deg": [0, 180]}, ValueError, "modulo 180"),
        ({"orientations_deg": [[0, 90]]}, ValueError, "shape"),
        ({"orientations_deg": [np.nan]}, ValueError, "not finite"),
        ({"contrast": 0}, ValueError, "contrast"),
        ({"contrast": 1.1}, ValueError, "contrast"),
        ({"mean_level": 200}, ValueError, "must not exceed 255"),
        ({"n_phases": 0}, ValueError, "n_phases"),
        ({"size_px": 4}, ValueError, "size_px"),
        ({"window": "disc"}, ValueError, "Did you mean 'disk'"),
        ({"size_deg": 1.0}, ValueError, "width of a window"),
        ({"window": "disk", "size_deg": 0}, ValueError, "size_deg"),
        ({"size_px": "96"}, TypeError, "size_px"),
    ],
)
def test_wrong_arguments_are_told(options, error, words):
    with pytest.raises(error, match=words):
        make_gratings(**options)


def test_the_defaults_are_twelve_orientations_and_half_octaves():
    assert list(ORIENTATIONS_DEG) == list(range(0, 180, 15))
    np.testing.assert_allclose(np.diff(np.log2(FREQUENCIES_CPD)), -0.5)
