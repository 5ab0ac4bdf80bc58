"""Eye tracking in BIDS, written by these tests in the forms that exist."""

import gzip
import json
import math
import shutil

import numpy as np
import pytest

from data_loaders.bids_files import parse_name
from data_loaders.fixation_detection import VelocityThreshold
from data_loaders.gaze_bids import load_gaze_bids
from neurovis.core.errors import DataCorruptError

FIRST = 7_186_800
SCREEN = {
    "ScreenDistance": 0.6,
    "ScreenOrigin": ["top", "left"],
    "ScreenResolution": [1024, 768],
    "ScreenSize": [0.386, 0.29],
}
PHYSIO = {
    "Columns": ["timestamp", "x_coordinate", "y_coordinate", "pupil_size"],
    "PhysioType": "eyetrack",
    "RecordedEye": "right",
    "SampleCoordinateSystem": "gaze-on-screen",
    "SamplingFrequency": 500,
    "StartTime": -1.0,
    "timestamp": {"Units": "ms", "Origin": "System startup"},
    "x_coordinate": {"Units": "pixel"},
    "y_coordinate": {"Units": "pixel"},
}
EVENTS = {
    "Columns": ["onset", "duration", "trial_type", "blink", "message"],
    "OnsetSource": "timestamp",
}
# Start and duration on the clock of the events (ms), place (px).
FIXATIONS = [
    (-800, 600, 512, 384),  # before the first trial
    (50, 300, 100, 200),
    (400, 500, 900, 700),
    (1000, 400, 300, 300),  # in the second trial
    (1500, 200, 1100, 300),  # off the screen
]
TRIALS = [(0.0, 1.0, "a.png", 0.75), (1.0, 0.9, "b.png", None)]


def samples(fixations=FIXATIONS, until_ms=2000):
    """One sample each 2 ms from -1000 ms on: still, or lost between fixations."""
    t = np.arange(-1000, until_ms, 2)
    x, y = np.full(len(t), np.nan), np.full(len(t), np.nan)
    for start, duration, place_x, place_y in fixations:
        inside = (t >= start) & (t < start + duration)
        x[inside], y[inside] = place_x, place_y
    return t, x, y


def cell(value):
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "n/a" if missing else f"{value}"


def tsv(rows, header=None):
    lines = ["\t".join(cell(v) for v in row) for row in rows]
    return "".join(line + "\n" for line in ([header] if header else []) + lines)


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    data = content if isinstance(content, bytes) else content.encode()
    packed = path.suffix == ".gz" and isinstance(content, str)
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)


def sample_rows(fixations=FIXATIONS):
    t, x, y = samples(fixations)
    pupil = np.where(np.isfinite(x), 4000, 0)
    return list(zip((t + 1000 + FIRST).tolist(), x.tolist(), y.tolist(), pupil.tolist(),
                    strict=True))  # fmt: skip


def event_rows(fixations=FIXATIONS):
    rows = [(FIRST, None, None, None, '"RECCFG CR 500 2 0 R')]
    for start, duration, _, _ in fixations:
        onset = start + 1000 + FIRST
        rows.append((onset, duration, "fixation", 0, None))
        rows.append((onset + duration, 40, "saccade", 1, None))
    return rows


def trial_table(trials=TRIALS):
    return tsv(trials, "onset\tduration\tstim_file\tresponse_time")


STEM = "sub-01_task-search"
EYE = f"{STEM}_recording-eye1"


@pytest.fixture
def root(tmp_path):
    """A data set with one subject, as of BIDS 1.11."""
    folder = tmp_path / "set"
    beh = folder / "sub-01" / "beh"
    put(folder / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.11.0"})
    put(folder / "task-search_events.json", {"StimulusPresentation": SCREEN})
    put(beh / f"{STEM}_events.tsv", trial_table())
    put(beh / f"{EYE}_physio.json", PHYSIO)
    put(beh / f"{EYE}_physio.tsv.gz", tsv(sample_rows()))
    put(beh / f"{EYE}_physioevents.json", EVENTS)
    put(beh / f"{EYE}_physioevents.tsv.gz", tsv(event_rows()))
    return folder


@pytest.fixture
def beh(root):
    return root / "sub-01" / "beh"


def change(path, **values):
    content = json.loads(path.read_text())
    for key, value in values.items():
        content.pop(key, None)
        if value is not None:
            content[key] = value
    path.write_text(json.dumps(content))


def found(data, *columns):
    columns = columns or ("stimulus_id", "fixation", "x_px", "y_px", "duration_ms")
    return data.fixations[list(columns)].to_numpy().tolist()


EXPECTED = [
    ["a.png", 0, 100, 200, 300],
    ["a.png", 1, 900, 700, 500],
    ["b.png", 0, 300, 300, 400],
    ["b.png", 1, 1100, 300, 200],
]


# ------------------------------------------------------------------- it works


def test_fixations_of_the_eye_tracker_are_read(root):
    data = load_gaze_bids(root)
    assert found(data) == EXPECTED
    np.testing.assert_allclose(data.fixations["start_ms"], [50, 400, 0, 500], atol=1e-6)
    trials = data.trials
    assert trials["subject"].tolist() == ["01", "01"]
    assert trials["task"].tolist() == ["search", "search"]
    assert trials["onset_s"].tolist() == [0, 1]
    assert trials["rt_ms"][0] == 750
    assert np.isnan(trials["rt_ms"][1])
    assert data.fixations["on_screen"].tolist() == [True, True, True, False]
    assert (
        data.stimuli[["width_px", "height_px"]].to_numpy().tolist() == [[1024, 768]] * 2
    )
    assert data.px_per_deg == pytest.approx(
        2 * 0.6 * math.tan(math.radians(0.5)) * 1024 / 0.386
    )
    assert data.notes == (
        "Fixations are those of the eye tracker.",
        "1 of 5 fixations start in no trial and were left out.",
        "1 of 4 fixations lie off the screen.",
    )


def test_fixations_are_detected_where_there_are_only_samples(root, beh):
    for path in beh.glob("*physioevents*"):
        path.unlink()
    data = load_gaze_bids(root)
    assert found(data) == EXPECTED
    assert data.notes[0] == f"Fixations were detected with {VelocityThreshold()}."


def test_detection_can_be_asked_for_and_tuned(root):
    rule = VelocityThreshold(min_duration_ms=350)
    data = load_gaze_bids(root, fixations="samples", rule=rule)
    assert [row[4] for row in found(data)] == [500, 400]


def test_detection_and_the_eye_tracker_agree_on_noisy_samples(root, beh):
    random = np.random.default_rng(0)
    rows = [
        (t, x + random.normal(0, 1), y + random.normal(0, 1), p)
        for t, x, y, p in sample_rows()
    ]
    put(beh / f"{EYE}_physio.tsv.gz", tsv(rows))
    theirs, ours = (load_gaze_bids(root, fixations=f) for f in ("events", "samples"))
    assert len(theirs.fixations) == len(ours.fixations) == 4
    for column, error in (("x_px", 0.5), ("y_px", 0.5), ("duration_ms", 24)):
        difference = theirs.fixations[column] - ours.fixations[column]
        assert difference.abs().max() < error


@pytest.mark.parametrize(("kind", "mark"), [("blink", None), ("saccade", 1)])
def test_samples_in_reported_blinks_do_not_count(root, beh, kind, mark):
    blink = (450 + 1000 + FIRST, 200, kind, mark, None)
    put(beh / f"{EYE}_physioevents.tsv.gz", tsv([blink]))
    data = load_gaze_bids(root)  # no row "fixation": they are detected
    assert [row[2:] for row in found(data)][1:3] == [
        [900, 700, 250],  # from 650 ms on; the 50 ms before the blink are too short
        [300, 300, 400],
    ]


def test_a_pupil_of_size_zero_and_the_lost_marks_of_eyelink_are_lost(root, beh):
    rows = [
        (t, -32768.0, -32768.0, 1)
        if p == 0
        else ((t, 0.0, 0.0, 0) if x == 100 else (t, x, y, p))
        for t, x, y, p in sample_rows()
    ]
    put(beh / f"{EYE}_physio.tsv.gz", tsv(rows))
    data = load_gaze_bids(root)
    assert np.isnan(found(data)[0][2:4]).all()
    assert found(data)[1:] == EXPECTED[1:]
    assert len(load_gaze_bids(root, fixations="samples").fixations) == 3


def test_positions_of_the_events_count_when_they_are_given(root, beh):
    columns = ["onset", "duration", "trial_type", "x_coordinate", "y_coordinate"]
    rows = [(s + 1000 + FIRST, d, "Fixation", x + 1, y + 2) for s, d, x, y in FIXATIONS]
    put(beh / f"{EYE}_physioevents.json", EVENTS | {"Columns": columns})
    put(beh / f"{EYE}_physioevents.tsv.gz", tsv(rows))
    assert [row[2:4] for row in found(load_gaze_bids(root))] == [
        [x + 1, y + 2] for _, _, x, y in FIXATIONS[1:]
    ]


@pytest.mark.parametrize(
    ("source", "first_row"), [("n/a", 0), (None, 1)], ids=["1.11", "draft"]
)
def test_onsets_may_be_rows_of_the_recording(root, beh, source, first_row):
    rows = [
        ((s + 1000) // 2 + first_row, d / 1000, "fixation", 0, None)
        for s, d, _, _ in FIXATIONS
    ]
    change(beh / f"{EYE}_physioevents.json", OnsetSource=source)
    put(beh / f"{EYE}_physioevents.tsv.gz", tsv(rows))
    data = load_gaze_bids(root)
    assert found(data) == EXPECTED
    np.testing.assert_allclose(data.fixations["start_ms"], [50, 400, 0, 500], atol=1e-6)


def test_drafts_called_the_source_of_onsets_otherwise(root, beh):
    path = beh / f"{EYE}_physioevents.json"
    change(path, OnsetSource=None, ForeignIndexColumn="timestamp")
    assert found(load_gaze_bids(root)) == EXPECTED


@pytest.mark.parametrize(
    ("unit", "factor", "rate", "said"),
    [
        ("s", 1e-3, 500, True),
        ("us", 1000, 500, True),
        ("ns", 1_000_000, 500, True),
        ("ms", 1, 500, False),
        ("us", 1000, 500, False),
    ],
)
def test_time_stamps_may_have_any_unit(root, beh, unit, factor, rate, said):
    rows = [((t - FIRST) * factor, *rest) for t, *rest in sample_rows()]
    put(beh / f"{EYE}_physio.tsv.gz", tsv(rows))
    rows = [((t - FIRST) * factor, d, *rest) for t, d, *rest in event_rows()]
    put(beh / f"{EYE}_physioevents.tsv.gz", tsv(rows))
    about = {"Units": unit} if said else None
    change(beh / f"{EYE}_physio.json", timestamp=about, SamplingFrequency=rate)
    change(beh / f"{EYE}_physioevents.json", duration={"Units": "ms"})
    data = load_gaze_bids(root)
    np.testing.assert_allclose(
        data.fixations[["x_px", "duration_ms"]],
        [[row[2], row[4]] for row in EXPECTED],
    )


def test_durations_in_seconds_are_told_by_units_or_by_argument(root, beh):
    rows = [(t, None if d is None else d / 1000, *rest) for t, d, *rest in event_rows()]
    put(beh / f"{EYE}_physioevents.tsv.gz", tsv(rows))
    assert found(load_gaze_bids(root, duration_unit="s")) == EXPECTED
    with pytest.raises(ValueError, match=r"would last 0\.4 ms.*duration_unit"):
        load_gaze_bids(root)
    change(beh / f"{EYE}_physioevents.json", duration={"Units": "s"})
    assert found(load_gaze_bids(root)) == EXPECTED


def test_without_time_stamps_the_sampling_rate_counts(root, beh):
    change(beh / f"{EYE}_physio.json", Columns=PHYSIO["Columns"][1:])
    put(beh / f"{EYE}_physio.tsv.gz", tsv(row[1:] for row in sample_rows()))
    data = load_gaze_bids(root, fixations="samples")
    assert found(data) == EXPECTED


def test_two_samples_in_one_millisecond_follow_each_other(root, beh):
    rows = [(FIRST + i // 2, *row[1:]) for i, row in enumerate(sample_rows())]
    put(beh / f"{EYE}_physio.tsv.gz", tsv(rows))
    change(beh / f"{EYE}_physio.json", SamplingFrequency=2000, StartTime=0.0)
    put(beh / f"{STEM}_events.tsv", trial_table([(0.0, 5.0, "a.png", None)]))
    data = load_gaze_bids(root, fixations="samples")
    assert data.fixations["duration_ms"].tolist() == pytest.approx([150, 75, 125, 100])


@pytest.mark.parametrize("corner", ["top-left", "bottom-left", "bottom-right"])
def test_coordinates_are_turned_to_the_top_left(root, beh, corner):
    width, height = SCREEN["ScreenResolution"]
    rows = [
        (
            t,
            width - x if corner.endswith("right") else x,
            height - y if corner.startswith("bottom") else y,
            p,
        )
        for t, x, y, p in sample_rows()
    ]
    put(beh / f"{EYE}_physio.tsv.gz", tsv(rows))
    screen = SCREEN | {"ScreenOrigin": corner.split("-")}
    put(root / "task-search_events.json", {"StimulusPresentation": screen})
    assert found(load_gaze_bids(root)) == EXPECTED


def test_shares_of_the_screen_become_pixels_when_asked(root, beh):
    rows = [(t, x / 1024, y / 768, p) for t, x, y, p in sample_rows()]
    put(beh / f"{EYE}_physio.tsv.gz", tsv(rows))
    data = load_gaze_bids(root, position_unit="fraction")
    np.testing.assert_allclose(
        data.fixations[["x_px", "y_px"]], [row[2:4] for row in EXPECTED]
    )


def test_what_stands_nearer_to_the_file_counts(root, beh):
    shared = {k: v for k, v in PHYSIO.items() if k not in ("StartTime", "RecordedEye")}
    put(root / "task-search_physio.json", shared | {"StartTime": 99.0})
    put(root / "physio.json", {"StartTime": 50.0, "SamplingFrequency": 1})
    put(root / "notes_on_physio.json", "not a sidecar")
    put(root / "task-other_physio.json", {"PhysioType": "generic"})
    put(beh / f"{EYE}_physio.json", {"StartTime": -1.0, "RecordedEye": "right"})
    assert found(load_gaze_bids(root)) == EXPECTED


def test_subjects_sessions_and_runs_are_put_together(root, beh):
    for session, run in (("1", "1"), ("1", "2"), ("2", "1")):
        label = f"ses-{session}_task-search_run-{run}"
        for path in beh.iterdir():
            name = path.name.replace("sub-01_task-search", f"sub-02_{label}")
            put(root / "sub-02" / f"ses-{session}" / "beh" / name, path.read_bytes())
    data = load_gaze_bids(root)
    assert data.trials.groupby("subject")["trial"].agg(list).to_dict() == {
        "01": [0, 1],
        "02": [0, 1, 2, 3, 4, 5],
    }
    second = data.trials.query("subject == '02'")
    assert second["ses"].tolist() == ["1", "1", "1", "1", "2", "2"]
    assert second["run"].tolist() == ["1", "1", "2", "2", "1", "1"]
    assert (data.trials["n_fixations"] == 2).all()
    assert len(data.stimuli) == 2
    assert "4 of 20 fixations start in no trial" in data.notes[1]


def test_one_eye_of_several_is_read_and_told(root, beh):
    for path in list(beh.glob("*recording*")):
        other = path.with_name(path.name.replace("eye1", "eye2"))
        shutil.copy(path, other)
    rows = [(t, x + 10, y, p) for t, x, y, p in sample_rows()]
    put(beh / f"{STEM}_recording-eye2_physio.tsv.gz", tsv(rows))
    data = load_gaze_bids(root)
    assert found(data) == EXPECTED
    assert data.notes[0].startswith("1 of 1 runs have several eyes; the first was read")
    second = load_gaze_bids(root, recording="eye2")
    assert [row[2] for row in found(second)] == [row[2] + 10 for row in EXPECTED]
    with pytest.raises(ValueError, match=r"one of \['eye1', 'eye2'\].*got 'left'"):
        load_gaze_bids(root, recording="left")


def test_other_recordings_and_derivatives_are_passed_over(root, beh):
    put(beh / f"{STEM}_recording-heart_physio.json", {"Columns": ["cardiac"]})
    put(beh / f"{STEM}_recording-heart_physio.tsv.gz", tsv([(1,), (2,)]))
    shutil.copytree(root / "sub-01", root / "derivatives" / "sub-01")
    assert found(load_gaze_bids(root)) == EXPECTED


def test_trials_can_be_chosen(root, beh):
    table = tsv(
        [
            (0.0, 1.0, "show", "a.png", "A"),
            (0.0, 0.1, "cue", "c.png", "C"),
            (1.0, None, "show", "b.png", "B"),
            (1.9, 0.0, "pause", None, None),
        ],
        "onset\tduration\ttrial_type\tstim_file\tpicture",
    )
    put(beh / f"{STEM}_events.tsv", table)
    with pytest.raises(ValueError, match=r"two stimuli at 0 s.*`trial_types`"):
        load_gaze_bids(root)
    data = load_gaze_bids(root, trial_types=["show"])
    assert found(data) == EXPECTED
    assert data.trials["trial_type"].tolist() == ["show", "show"]
    data = load_gaze_bids(root, trial_types=["show"], stimulus_column="picture")
    assert data.trials["stimulus_id"].tolist() == ["A", "B"]


def test_a_trial_without_fixation_stays(root, beh):
    put(beh / f"{STEM}_events.tsv", trial_table([*TRIALS, (1.9, 0.05, "c.png", -0.2)]))
    data = load_gaze_bids(root)
    assert np.isnan(data.trials["rt_ms"][2])  # a press before the picture
    assert data.trials["n_fixations"].tolist() == [2, 2, 0]
    assert "1 of 3 trials have no fixation." in data.notes


def test_a_run_without_events_is_one_trial(root, beh):
    (beh / f"{STEM}_events.tsv").unlink()
    data = load_gaze_bids(root)
    assert data.trials["stimulus_id"].tolist() == ["task-search"]
    assert data.trials["n_fixations"].tolist() == [5]
    assert any("what was shown is not known" in note for note in data.notes)


@pytest.mark.parametrize("extension", [".tsv", ".tsv.gz"])
@pytest.mark.parametrize("header", [True, False])
def test_the_drafts_with_both_eyes_in_one_file_are_read(root, beh, extension, header):
    columns = ["eye_timestamp", "eye1_x_coordinate", "eye1_y_coordinate"]
    columns += ["eye1_pupil_size", "eye2_x_coordinate", "eye2_y_coordinate"]
    for path in beh.glob(f"{EYE}*"):
        path.unlink()
    (root / "task-search_events.json").unlink()
    rows = [(t, x, y, p, x + 5, y) for t, x, y, p in sample_rows()]
    text = tsv(rows, "\t".join(columns) if header else None)
    put(beh / f"{STEM}_eyetrack{extension}", text)
    sidecar = {
        "SamplingFrequency": 500,
        "SampleCoordinateUnits": "pixel",
        "SampleCoordinateSystem": "gaze-on-screen",
        "EnvironmentCoordinates": "top-left",
        "ScreenSize": [38.6, 29],
        "ScreenResolution": [1024, 768],
        "ScreenDistance": 60,
    }
    sidecar |= {} if header else {"Columns": columns}
    put(beh / f"{STEM}_eyetrack.json", sidecar)
    data = load_gaze_bids(root, start_time_s=-1.0)
    assert found(data) == EXPECTED
    assert data.px_per_deg == pytest.approx(27.78, abs=0.01)
    second = load_gaze_bids(root, start_time_s=-1.0, recording="eye2")
    assert [row[2] for row in found(second)] == [row[2] + 5 for row in EXPECTED]
    put(beh / f"{STEM}_events.tsv", trial_table([(50.0, 1.0, "a.png", None)]))
    with pytest.raises(ValueError, match=r"No fixation.*start_time_s"):
        load_gaze_bids(root)


def test_a_header_that_should_not_be_there_is_passed_over(root, beh):
    text = tsv(sample_rows(), "\t".join(PHYSIO["Columns"]))
    put(beh / f"{EYE}_physio.tsv.gz", text)
    assert found(load_gaze_bids(root)) == EXPECTED


@pytest.mark.parametrize(
    ("name", "entities"),
    [
        ("sub-01_physio.tsv.gz", {"sub": "01"}),
        ("physio.tsv.gz", {}),
        ("sub-01_physio-x.tsv", None),
        ("sub01_physio.tsv", None),
        ("sub-a-b_physio.tsv", None),
    ],
)
def test_names_are_taken_apart_or_refused(tmp_path, name, entities):
    file = parse_name(tmp_path / name)
    assert (None if file is None else file.entities) == entities


# ----------------------------------------------------------- missing, damaged


def test_the_size_of_a_degree_is_needed_for_detection_only(root):
    screen = {"ScreenResolution": [1024, 768], "ScreenOrigin": ["top", "left"]}
    put(root / "task-search_events.json", {"StimulusPresentation": screen})
    data = load_gaze_bids(root)
    assert data.px_per_deg is None
    with pytest.raises(ValueError, match=r"give `px_per_deg`"):
        load_gaze_bids(root, fixations="samples")
    data = load_gaze_bids(root, fixations="samples", px_per_deg=30)
    assert (found(data), data.px_per_deg) == (EXPECTED, 30)


def test_sizes_in_mixed_units_are_told_and_not_used(root):
    screen = SCREEN | {"ScreenDistance": 60}
    put(root / "task-search_events.json", {"StimulusPresentation": screen})
    data = load_gaze_bids(root)
    assert data.px_per_deg is None
    assert "ScreenSize and ScreenDistance cannot both be in metres." in data.notes


def test_assumptions_about_missing_metadata_are_told(root, beh):
    screen = {k: v for k, v in SCREEN.items() if k != "ScreenOrigin"}
    put(root / "task-search_events.json", {"StimulusPresentation": screen})
    change(beh / f"{EYE}_physio.json", StartTime=None)
    notes = load_gaze_bids(root).notes
    assert any(n.startswith("StartTime is not told") for n in notes)
    assert any(n.startswith("The origin is taken to be the top left") for n in notes)


@pytest.mark.parametrize(
    ("file", "values", "match"),
    [
        ("physio", {"PhysioType": "generic"}, "1 files hold other recordings"),
        ("physio", {"Columns": None}, "must name its columns"),
        ("physio", {"Columns": ["timestamp", "x_coordinate"]}, "has 4"),
        (
            "physio",
            {"Columns": ["timestamp", "a", "b", "pupil_size"]},
            r"lacks the columns \['x_coordinate', 'y_coordinate'\]",
        ),
        (
            "physio",
            {"SampleCoordinateSystem": "gaze-in-world"},
            "positions on a screen",
        ),
        ("physio", {"x_coordinate": {"Units": "deg"}}, "Units of x_coordinate.*'deg'"),
        ("physio", {"x_coordinate": None}, "are None. Give `position_unit`"),
        ("physio", {"timestamp": {"Units": "beats"}}, "must be 's', 'ms'"),
        ("physio", {"timestamp": None, "SamplingFrequency": None}, "must be 's', 'ms'"),
        ("physio", {"StartTime": [7186799]}, "StartTime of .* must be a number"),
        ("physio", {"StartTime": 7186799}, "No fixation .* starts in a trial"),
        ("physioevents", {"Columns": None}, "must name its columns"),
        ("physioevents", {"Columns": ["onset", "duration"]}, "lacks the columns"),
        ("physioevents", {"OnsetSource": "clock"}, "must be 'timestamp' or 'n/a'"),
    ],
)
def test_metadata_that_cannot_be_used_are_told(root, beh, file, values, match):
    change(beh / f"{EYE}_{file}.json", **values)
    with pytest.raises((ValueError, DataCorruptError), match=match):
        load_gaze_bids(root)


@pytest.mark.parametrize("origin", ["center", ["bottom"], 5])
def test_an_origin_that_is_no_corner_is_refused(root, origin):
    screen = SCREEN | {"ScreenOrigin": origin}
    put(root / "task-search_events.json", {"StimulusPresentation": screen})
    with pytest.raises(ValueError, match="must be a corner"):
        load_gaze_bids(root)


@pytest.mark.parametrize("resolution", [None, [], [1024], [0, 768], "wide"])
def test_a_screen_of_unknown_size_is_refused(root, resolution):
    screen = SCREEN | {"ScreenResolution": resolution}
    put(root / "task-search_events.json", {"StimulusPresentation": screen})
    with pytest.raises(ValueError, match="give `screen_px`"):
        load_gaze_bids(root)
    assert found(load_gaze_bids(root, screen_px=(1024, 768))) == EXPECTED


def test_screens_of_two_sizes_are_refused(root, beh):
    for path in beh.iterdir():
        put(root / "sub-02" / "beh" / path.name.replace("sub-01", "sub-02"),
            path.read_bytes())  # fmt: skip
    screen = SCREEN | {"ScreenResolution": [800, 600]}
    put(
        root / "sub-02" / "sub-02_task-search_events.json",
        {"StimulusPresentation": screen},
    )
    with pytest.raises(ValueError, match="screens have different sizes"):
        load_gaze_bids(root)


@pytest.mark.parametrize("name", ["physio", "physioevents"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_table_is_corrupt(root, beh, name, share):
    path = beh / f"{EYE}_{name}.tsv.gz"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        DataCorruptError, match=rf"{name}\.tsv\.gz.*(truncated|damaged)"
    ):
        load_gaze_bids(root)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"1\t2\t3\t4\n", "truncated or damaged"),
        (
            gzip.compress("1\t2\té\t4\n".encode("latin-1"), mtime=0),
            "truncated or damaged",
        ),
        (gzip.compress(b"1\t2\t3\t4\n5\t6\t7\n", mtime=0), "row 2 .* has 3"),
        (gzip.compress(b"1\t2\t3\t4\n5\tleft\t7\t8\n", mtime=0), "could not convert"),
        (gzip.compress(b"5\t2\t3\t4\n4\t6\t7\t8\n", mtime=0), "times that grow"),
        (gzip.compress(b"n/a\t2\t3\t4\n4\t6\t7\t8\n", mtime=0), "times that grow"),
        (
            gzip.compress(b"1\t2\t3\t4\n" * 2 + b"2\t2\t3\t4\n", mtime=0),
            "rows are there twice",
        ),
    ],
)
def test_impossible_samples_are_corrupt(root, beh, text, match):
    (beh / f"{EYE}_physio.tsv.gz").write_bytes(text)
    with pytest.raises(DataCorruptError, match=match):
        load_gaze_bids(root)


def test_a_fixation_of_negative_length_is_corrupt(root, beh):
    rows = [(FIRST, -5, "fixation", 0, None)]
    put(beh / f"{EYE}_physioevents.tsv.gz", tsv(rows))
    with pytest.raises(DataCorruptError, match="a fixation of -5 ms"):
        load_gaze_bids(root)


def test_a_fixation_of_unknown_length_has_no_position(root, beh):
    rows = [(50 + 1000 + FIRST, None, "fixation", 0, None)]
    rows.append((400 + 1000 + FIRST, 500, "fixation", 0, None))
    put(beh / f"{EYE}_physioevents.tsv.gz", tsv(rows))
    one, two = found(load_gaze_bids(root))
    assert np.isnan(one[2:]).all()
    assert two == EXPECTED[1]


@pytest.mark.parametrize("name", ["physio", "physioevents"])
def test_metadata_that_are_no_json_object_are_corrupt(root, beh, name):
    for text in ("[1]", "{"):
        (beh / f"{EYE}_{name}.json").write_text(text)
        with pytest.raises(DataCorruptError, match="JSON"):
            load_gaze_bids(root)


def test_an_empty_recording_gives_trials_without_fixations(root, beh):
    put(beh / f"{EYE}_physio.tsv.gz", "")
    put(beh / f"{EYE}_physioevents.tsv.gz", "")
    data = load_gaze_bids(root)
    assert data.trials["n_fixations"].tolist() == [0, 0]
    assert len(data.fixations) == 0


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("onset\tduration\n0\t1\n", r"lacks the columns \['stim_file'\]"),
        ("onset\tduration\tstim_file\n", "has no trial"),
        ("onset\tduration\tstim_file\n0\t1\tn/a\n", "has no trial"),
    ],
)
def test_events_without_stimuli_are_told(root, beh, table, match):
    put(beh / f"{STEM}_events.tsv", table)
    with pytest.raises(ValueError, match=match):
        load_gaze_bids(root)


def test_events_that_are_cut_are_corrupt(root, beh):
    put(beh / f"{STEM}_events.tsv", "onset\tduration\tstim_file\n0\t1\n")
    with pytest.raises(DataCorruptError, match="row 1"):
        load_gaze_bids(root)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"task": "rest"}, "no eye tracking of the task 'rest'"),
        ({"fixations": "both"}, "`fixations`"),
        ({"position_unit": "deg"}, "`position_unit`"),
        ({"duration_unit": "min"}, "`duration_unit`"),
        ({"screen_px": (0, 768)}, "`screen_px`"),
        ({"px_per_deg": -1}, "`px_per_deg`"),
        ({"trial_types": ["show"]}, "lacks the columns"),
    ],
)
def test_impossible_arguments_are_refused(root, options, match):
    with pytest.raises(ValueError, match=match):
        load_gaze_bids(root, **options)


def test_events_are_asked_for_in_vain_when_there_are_none(root, beh):
    (beh / f"{EYE}_physioevents.tsv.gz").unlink()
    with pytest.raises(
        ValueError, match=r"no .*physioevents.* Give fixations='samples'"
    ):
        load_gaze_bids(root, fixations="events")


def test_a_folder_without_eye_tracking_is_told(tmp_path):
    with pytest.raises(ValueError, match="has no eye tracking"):
        load_gaze_bids(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_gaze_bids(tmp_path / "absent")
