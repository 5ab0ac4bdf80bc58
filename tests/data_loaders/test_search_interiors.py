"""Search for a template in interior scenes."""

import gzip
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from PIL import Image
from scipy import ndimage

from data_loaders.gaze import TARGET_COLUMNS
from data_loaders.search_interiors import (
    IMAGE_SCALE,
    load_search_interiors,
    open_interiors,
)
from neurovis.core.errors import DataCorruptError

TRIALS, FIXATIONS, TARGETS = "trials.csv.gz", "fixations.csv.gz", "targets.csv"


def _tables():
    trials = pd.DataFrame(
        {
            "trial_id": [7, 3, 5],
            "subject": [1, 1, 2],
            "image": ["001", "000", "000"],
            "trial_order": [2, 1, 9],
            "saccades_allowed": [2, 4, 12],
            "start_x": 512,
            "start_y": 384,
            "target_found": [1, 0, 0],
            "search_rt_s": [0.4724, 1.5, 2.0],
            "n_fix": [2, 1, 0],
            "resp_x": [731.0, -5.0, 10.0],
            "resp_y": [387.0, 10.0, 10.0],
            "resp_size": [9.0, 5.0, 3.0],
        }
    )
    fixations = pd.DataFrame(
        {
            "trial_id": [7, 7, 3],
            "fix": [0, 1, 0],
            "x": [436.3, 1024.0, 10.0],
            "y": [351.9, 60.0, 768.0],
            "t_ms": [0, 300, 0],
            "dur_ms": [250, 107, 144],
        }
    )
    targets = pd.DataFrame(
        {
            "image": ["000", "001"],
            "source_name": ["a_oliva.jpg", "b_kitchen.jpg"],
            "x1": [1, 953],
            "y1": [311, 1],
            "x2": [73, 1025],
            "y2": [383, 73],
        }
    )
    return {TRIALS: trials, FIXATIONS: fixations, TARGETS: targets}


def _write(folder, **changes):
    names = {"trials": TRIALS, "fixations": FIXATIONS, "targets": TARGETS}
    tables = _tables() | {names[k]: v for k, v in changes.items()}
    for name, table in tables.items():
        data = table.to_csv(index=False).encode()
        data = gzip.compress(data, mtime=0) if name.endswith("gz") else data
        (folder / name).write_bytes(data)


def test_small_files_give_the_common_form(tmp_path):
    _write(tmp_path)
    data = load_search_interiors(tmp_path)
    assert data.trials["trial"].tolist() == [0, 1, 8]
    assert data.trials["stimulus_id"].tolist() == ["000", "001", "000"]
    assert data.trials["n_fixations"].tolist() == [1, 2, 0]
    assert data.trials["rt_ms"].tolist() == [1500.0, 472.4, 2000.0]
    assert data.trials["found"].tolist() == [False, True, False]
    assert data.trials["response_x_px"].tolist() == [-5.0, 731.0, 10.0]
    assert data.trials["correct"].isna().all()
    assert data.fixations["clipped"].tolist() == [True, False, True]
    assert data.fixations["on_screen"].tolist() == [True, True, True]
    assert data.fixations["onset_ms"].tolist() == [0.0, 0.0, 300.0]
    box = data.stimuli[list(TARGET_COLUMNS)].to_numpy().tolist()
    assert box == [[0, 310, 72, 382], [952, 0, 1024, 72]]
    assert "1 of 3 trials have no fixation." in data.notes
    assert data.notes[0].startswith("2 of 3 fixations lie on the right or lower edge")


def test_positions_off_the_screen_and_unknown_ones_stay(tmp_path):
    fixations = _tables()[FIXATIONS].assign(x=[-1.0, np.nan, 10.0])
    _write(tmp_path, fixations=fixations)
    data = load_search_interiors(tmp_path)
    assert data.fixations["on_screen"].tolist() == [True, False, False]
    assert "1 of 3 fixations have no position (NaN)." in data.notes
    assert "1 of 3 fixations lie off the screen." in data.notes


def test_one_observer_is_enough(tmp_path):
    _write(tmp_path, trials=_tables()[TRIALS].iloc[:2])
    data = load_search_interiors(tmp_path)
    assert data.trials["subject"].tolist() == ["1", "1"]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_the_order_of_rows_does_not_matter(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("interiors")
    _write(folder)
    one = load_search_interiors(folder)
    mixed = [t.sample(frac=1, random_state=seed) for t in _tables().values()]
    _write(folder, trials=mixed[0], fixations=mixed[1], targets=mixed[2])
    other = load_search_interiors(folder)
    assert_frame_equal(one.trials, other.trials)
    assert_frame_equal(one.fixations, other.fixations)
    assert_frame_equal(one.stimuli, other.stimuli)


def _with(name, **columns):
    file = {"trials": TRIALS, "fixations": FIXATIONS, "targets": TARGETS}[name]
    return {name: _tables()[file].assign(**columns)}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"trials": _tables()[TRIALS].drop(columns="n_fix")}, r"lacks \['n_fix'\]"),
        ({"fixations": _tables()[FIXATIONS].drop(columns="x")}, r"lacks \['x'\]"),
        ({"targets": _tables()[TARGETS].drop(columns="x1")}, r"lacks \['x1'\]"),
        (_with("trials", trial_id=[7, 7, 5]), "trial_id 7 stands in several rows"),
        (_with("trials", trial_id=[7, 4, 5]), r"trial_id 3 is not in trials\.csv\.gz"),
        (_with("trials", n_fix=[3, 1, 0]), "n_fixations 3"),
        (_with("trials", trial_order=[1, 1, 1]), "repeats a trial"),
        (_with("trials", image=["001", "009", "000"]), "stimulus_id 009"),
        (_with("trials", target_found=[1, 2, 0]), "0 or 1 in the column `target_fo"),
        (_with("trials", search_rt_s=-1.0), "negative time"),
        (_with("fixations", fix=[0, 0, 0]), "repeats a fixation"),
        (_with("fixations", dur_ms=[1, -1, 1]), "negative duration"),
        (_with("fixations", x="left"), "finite numbers in the column `x`"),
        (_with("targets", image="000"), "repeats an identity"),
        (_with("targets", x2=0), "no box for its target"),
    ],
)
def test_impossible_content_is_corrupt(tmp_path, change, match):
    _write(tmp_path, **change)
    with pytest.raises(DataCorruptError, match=match):
        load_search_interiors(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", [TRIALS, FIXATIONS])
def test_a_truncated_file_is_corrupt(tmp_path, name, share):
    _write(tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match="not a readable"):
        load_search_interiors(tmp_path)


def test_another_encoding_is_corrupt(tmp_path):
    _write(tmp_path)
    text = (tmp_path / TARGETS).read_text().replace("a_oliva", "é_oliva")
    (tmp_path / TARGETS).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataCorruptError, match="UnicodeDecodeError"):
        load_search_interiors(tmp_path)


@pytest.mark.parametrize("name", [TRIALS, FIXATIONS, TARGETS])
def test_a_missing_file_is_named(tmp_path, name):
    _write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.split(".")[0]):
        load_search_interiors(tmp_path)
    with pytest.raises(ValueError, match="`px_per_deg`"):
        load_search_interiors(tmp_path, px_per_deg=-1)


def _write_pictures(folder):
    sizes = {
        "images": ("images_512x384.zip", 512, 384),
        "templates": ("templates.zip", 72, 72),
    }
    for part, (file, width, height) in sizes.items():
        with zipfile.ZipFile(folder / file, "w") as archive:
            for i in range(2):
                grey = Image.fromarray(np.full((height, width), 100 * i, np.uint8))
                grey.save(folder / "one.jpg")
                archive.write(folder / "one.jpg", f"{part}/{i:03d}.jpg")


def test_pictures_stand_in_the_order_of_the_stimuli(tmp_path):
    _write(tmp_path)
    _write_pictures(tmp_path)
    stimuli = load_search_interiors(tmp_path).stimuli
    scenes, templates = open_interiors(tmp_path, stimuli.iloc[::-1])
    assert scenes[0].shape == (384, 512, 3)
    assert templates[1].shape == (72, 72, 3)
    assert [int(p.max()) for p in scenes] == [100, 0]
    with pytest.raises(DataCorruptError, match="lacks 1 of 1 pictures"):
        open_interiors(tmp_path, pd.DataFrame({"stimulus_id": ["777"]}))
    with pytest.raises(ValueError, match="`stimuli` lacks"):
        open_interiors(tmp_path, stimuli.drop(columns="stimulus_id"))
    (tmp_path / "templates.zip").unlink()
    with pytest.raises(FileNotFoundError, match=r"templates\.zip"):
        open_interiors(tmp_path, stimuli)


# ------------------------------------------------------------ the real file


@pytest.fixture(scope="module")
def interiors(data_folder):
    return load_search_interiors(data_folder / "search_interiors")


def test_reference_values_are_reproduced(interiors, data_folder):
    path = data_folder / "search_interiors" / "reference_values.json"
    reference = json.loads(path.read_text())
    trials, fixations = interiors.trials, interiors.fixations
    assert trials["subject"].nunique() == reference["n_subjects"] == 45
    assert len(trials) == reference["n_trials"] == 5847
    assert len(fixations) == reference["n_fixations"] == 37_349
    rates = trials.groupby("saccades_allowed")["found"].agg(["mean", "size"])
    got = {str(k): [round(row["mean"], 4), row["size"]] for k, row in rates.iterrows()}
    assert got == reference["found_by_saccades_allowed"]
    points = fixations.groupby(["subject", "trial"])[["x_px", "y_px"]]
    saccades = np.hypot(*points.diff().to_numpy().T)
    assert round(float(np.nanmean(saccades)), 3) == reference["mean_saccade_px"]
    assert fixations["duration_ms"].median() == reference["median_fix_dur_ms"]
    per_image = trials.groupby("stimulus_id")["found"].mean()
    assert round(per_image.std(ddof=1), 4) == reference["per_image_found_rate_sd"]


def test_integrity_numbers_are_those_of_the_source(interiors):
    assert len(interiors.stimuli) == 134
    assert (interiors.trials["n_fixations"] == 0).sum() == 3
    assert interiors.trials["rt_ms"].max() == pytest.approx(104_984)
    assert interiors.fixations["on_screen"].all()
    assert interiors.fixations["clipped"].sum() == 1966
    edges = interiors.stimuli[list(TARGET_COLUMNS)].to_numpy()
    assert (edges[:, 2:] - edges[:, :2] == 72).all()
    assert (edges.min(), edges[:, 2].max()) == (0, 1023)


def test_templates_lie_in_their_boxes(interiors, data_folder):
    """The shift of the boxes is the one at which templates match their scenes."""
    stimuli = interiors.stimuli.iloc[::12]
    scenes, templates = open_interiors(data_folder / "search_interiors", stimuli)
    mean_r = {}
    for shift in (-1, 0, 1):
        r = []
        for i, box in enumerate(stimuli.itertuples()):
            y = box.target_top_px + shift + np.arange(72) + 0.5
            x = box.target_left_px + shift + np.arange(72) + 0.5
            places = np.meshgrid(y, x, indexing="ij")
            at = [p / IMAGE_SCALE - 0.5 for p in places]
            scene = scenes[i][..., 0].astype(float)
            patch = ndimage.map_coordinates(scene, at, order=1, mode="nearest")
            blurred = ndimage.gaussian_filter(templates[i][..., 0].astype(float), 0.8)
            r.append(np.corrcoef(patch.ravel(), blurred.ravel())[0, 1])
        mean_r[shift] = np.mean(r)
    assert mean_r[0] > 0.98
    assert max(mean_r[-1], mean_r[1]) < mean_r[0] - 0.03
