"""Natural search from pictures to report, in both layouts."""

import io
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from neurovis.adapters import load_model
from neurovis.core.errors import DataCorruptError
from neurovis.core.store import Store
from neurovis.core.types import SCORE_COLUMNS
from tasks.models import ModelSpec
from tasks.reports import finish_run
from tasks.runs import load_run
from tasks.search_natural import run_search_natural, spread_rows
from tasks.search_natural_report import finish_natural_run
from tasks.search_scenes import load_scenes, trial_fingerprint

MODELS = [
    ModelSpec("eccnet", weights="seeded:0/16"),
    ModelSpec("saliency"),
    ModelSpec("centre"),
    ModelSpec("chance"),
]
TABLES = ("trials.parquet", "fixations.parquet", "scores.parquet")
N_SCENES = 3


def scene(rng, shape=(96, 128)):
    """A grey texture with one bright blob."""
    low = rng.integers(60, 160, (shape[0] // 8, shape[1] // 8)).astype(np.uint8)
    return np.asarray(
        Image.fromarray(low).resize(shape[::-1], Image.Resampling.BICUBIC)
    )


def jpeg(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "jpeg", quality=95)
    return stream.getvalue()


def write_interiors(folder, n_subjects=4):
    """A small set in the real form of the interiors set."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    targets, trials, fixations = [], [], []
    with (
        zipfile.ZipFile(folder / "images_512x384.zip", "w") as images,
        zipfile.ZipFile(folder / "templates.zip", "w") as templates,
    ):
        for k in range(N_SCENES):
            picture = scene(rng, (384, 512))
            x, y = int(rng.integers(50, 400)), int(rng.integers(50, 300))
            images.writestr(f"images/{k:03d}.jpg", jpeg(picture))
            patch = Image.fromarray(picture[y : y + 36, x : x + 36]).resize((72, 72))
            templates.writestr(f"templates/{k:03d}.jpg", jpeg(np.asarray(patch)))
            box = [2 * x + 1, 2 * y + 1, 2 * x + 73, 2 * y + 73]
            targets.append([f"{k:03d}", f"scene_{k}.jpg", *box])
    trial_id = 0
    for subject in range(1, n_subjects + 1):
        for k in range(N_SCENES):
            allowed = int(rng.choice([2, 4, 8]))
            n = int(rng.integers(2, allowed + 2))
            found = int(n - 1 < allowed)
            start = (100, 300) if subject % 2 else (900, 300)
            trials.append(
                [
                    *(trial_id, subject, f"{k:03d}", k + 1, allowed, *start),
                    *(found, 1.5, n, 500.0, 300.0, 20.0),
                ]
            )
            for i in range(n):
                point = rng.uniform(0, (1024, 768)).round(1).tolist()
                fixations.append([trial_id, i, *point, 200 * i, 180])
            trial_id += 1
    names = "trial_id subject image trial_order saccades_allowed start_x start_y "
    names += "target_found search_rt_s n_fix resp_x resp_y resp_size"
    pd.DataFrame(trials, columns=names.split()).to_csv(
        folder / "trials.csv.gz", index=False
    )
    columns = ["trial_id", "fix", "x", "y", "t_ms", "dur_ms"]
    pd.DataFrame(fixations, columns=columns).to_csv(
        folder / "fixations.csv.gz", index=False
    )
    columns = ["image", "source_name", "x1", "y1", "x2", "y2"]
    pd.DataFrame(targets, columns=columns).to_csv(folder / "targets.csv", index=False)
    return folder


def write_kreimanlab(folder, dataset="Waldo", people=True):
    """Pictures (and people) in the layout of the published repository."""
    rng = np.random.default_rng(1)
    root = folder / "dataset" / dataset
    shape = (544, 544) if dataset == "ObjArr" else (512, 640)
    for part in ("stimuli", "target", "gt"):
        (root / part).mkdir(parents=True)
    masks = []
    for k in range(1, N_SCENES + 1):
        picture = scene(rng, shape)
        row, column = (int(rng.integers(40, n - 90)) for n in shape)
        area = np.zeros(shape, np.uint8)
        area[row : row + 48, column : column + 48] = 255
        (root / "stimuli" / f"s_{k}.jpg").write_bytes(jpeg(picture))
        patch = picture[row : row + 48, column : column + 48]
        (root / "target" / f"t_{k}.jpg").write_bytes(jpeg(patch))
        (root / "gt" / f"gt_{k}.jpg").write_bytes(jpeg(area))
    if dataset == "ObjArr":
        for k in range(6):
            mask = np.zeros(shape, np.uint8)
            top, left = 200 * (k // 3) + 20, 180 * (k % 3)
            mask[top : top + 150, left : left + 150] = 255
            masks.append(mask)
        np.save(root / "gt_mask.npy", np.stack(masks))
        for k in range(1, N_SCENES + 1):
            (root / "gt" / f"gt_{k}.jpg").write_bytes(jpeg(masks[k % 6]))
    if people:
        n = {"Waldo": 67, "ObjArr": 300}[dataset] * 2
        out = folder / "out" / dataset
        for part in ("fix", "ifix", "cp"):
            (out / part).mkdir(parents=True)
        ifix = rng.integers(1, 6, n)
        fix = rng.uniform(0, 1000, (n, 6, 2))
        fix[np.arange(6) >= ifix[:, None]] = 0
        cp = np.zeros((n, 6), int)
        cp[np.arange(n), ifix - 1] = rng.random(n) < 0.7
        np.save(out / "fix" / "human_all.npy", fix)
        np.save(out / "ifix" / "I_human_all.npy", ifix[:, None])
        np.save(out / "cp" / "CP_human_all.npy", cp)
        if dataset != "ObjArr":
            np.save(out / "target_pos.npy", rng.uniform(0, 1000, (67, 2)))
    return folder


@pytest.fixture(scope="module")
def interiors(tmp_path_factory):
    return write_interiors(tmp_path_factory.mktemp("data") / "interiors")


@pytest.fixture(scope="module")
def finished(interiors, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "natural"
    run_search_natural(
        MODELS, interiors, out, max_saccades=4, device="cpu", n_bootstrap=50
    )
    return out


def tables(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


def test_displays_are_scenes_from_each_starting_point(interiors):
    scenes = load_scenes(interiors)
    assert len(scenes) == 2 * N_SCENES
    assert scenes.displays["stimulus_id"].iloc[0] == "000@100,300"
    trial = scenes.make(0)
    assert trial.image.shape == (384, 512, 3)
    assert trial.target.shape == (36, 36, 3)
    assert trial.start == (150, 50)
    box = scenes.people.stimuli.iloc[0]
    rows, columns = np.nonzero(trial.target_area)
    assert columns.min() == box["target_left_px"] / 2
    assert rows.max() + 1 == box["target_bottom_px"] / 2
    assert trial.target_area.sum() == 36 * 36


def test_people_are_kept_with_the_displays_that_they_saw(interiors):
    scenes = load_scenes(interiors)
    some = scenes.select([0, 3])
    ids = list(some.displays["stimulus_id"])
    assert set(some.people.trials["stimulus_id"]) == set(ids)
    assert some.make(1).stimulus_id == ids[1] == scenes.make(3).stimulus_id
    assert trial_fingerprint(some.make(1)) == trial_fingerprint(scenes.make(3))
    assert trial_fingerprint(some.make(0)) != trial_fingerprint(scenes.make(3))


def test_a_run_leaves_tidy_tables_of_models_and_people(finished):
    run = load_run(finished, "search-natural")
    counts = run.trials.groupby("model").size()
    assert counts["eccnet"] == 2 * N_SCENES
    assert counts["human"] == 4 * N_SCENES
    assert set(SCORE_COLUMNS) <= set(run.scores.columns)
    models = run.trials[run.trials["model"] != "human"]
    assert (models["n_saccades"] <= 4).all()
    first = run.fixations[run.fixations["fixation"] == 0]
    starts = first[first["model"] == "chance"][["x_px", "y_px"]]
    assert set(map(tuple, starts.to_numpy())) == {(101.0, 301.0), (901.0, 301.0)}


def test_untrained_networks_are_marked(finished):
    run = load_run(finished)
    assert run.mark("eccnet") == "eccnet (untrained)"
    marks = run.scores.groupby("model")["untrained"].any()
    assert marks["eccnet"]
    assert not marks["chance"]
    assert any("untrained" in note for note in run.provenance.notes)


def test_ceiling_and_chance_stand_beside_the_models(finished):
    scores = load_run(finished).scores
    rows = scores[scores["metric"] == "scanmatch"].set_index("model")
    assert {"human", "chance: other stimulus", "chance: uniform"} <= set(rows.index)
    assert (rows["ceiling_low"] == rows.loc["human", "value"]).all()


def test_the_found_rate_is_the_share_of_found_trials_of_a_model(finished):
    run = load_run(finished)
    rates = run.scores[run.scores["metric"] == "found_rate"].set_index("model")
    for model, part in run.trials.groupby("model"):
        if model != "human":
            assert rates.loc[model, "value"] == pytest.approx(part["found"].mean())


def test_a_fixation_in_the_box_is_found_and_ends_the_search(finished, interiors):
    run = load_run(finished)
    boxes = load_scenes(interiors).people.stimuli.set_index("stimulus_id")
    last = run.fixations[run.fixations["model"] == "chance"]
    last = last.groupby("stimulus_id").last()
    trials = run.trials[run.trials["model"] == "chance"].set_index("stimulus_id")
    for name, row in last.iterrows():
        box = boxes.loc[name]
        near = (
            box["target_left_px"] - 38 <= row["x_px"] <= box["target_right_px"] + 38
            and box["target_top_px"] - 38 <= row["y_px"] <= box["target_bottom_px"] + 38
        )
        assert trials.loc[name, "found"] == near


@pytest.mark.slow
def test_the_report_opens_and_names_every_observer(finished):
    lines = finish_run(finished)
    text = (finished / "report.html").read_text()
    for word in ("eccnet (untrained)", "people", "chance: uniform", "Kaplan-Meier"):
        assert word in text
    assert lines[-1] == f"report {finished / 'report.html'}"
    for name in ("found_by_saccade", "saccade_sizes", "scanpaths", "fixation_density"):
        assert (finished / "figures" / f"{name}.png").stat().st_size > 5000


def test_a_finished_run_is_left_as_it_is(finished, interiors):
    before = tables(finished)
    keys = Store(finished / "parts").keys()
    run_search_natural(
        MODELS, interiors, finished, max_saccades=4, device="cpu", n_bootstrap=50
    )
    assert tables(finished) == before
    assert Store(finished / "parts").keys() == keys


def test_another_run_in_the_same_folder_is_refused(finished, interiors):
    with pytest.raises(ValueError, match="holds a run with seed=0"):
        run_search_natural(
            MODELS, interiors, finished, max_saccades=4, seed=1, n_bootstrap=50
        )


@pytest.mark.slow
def test_a_killed_run_ends_with_identical_tables(interiors, tmp_path):
    code = "from neurovis.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "search-natural"]
    command += ["--data", str(interiors), "--out", str(tmp_path / "killed")]
    command += ["--models", "chance,pixel-match,saliency", "--max-saccades", "6"]
    (tmp_path / "run.toml").write_text("n_bootstrap = 20")
    command += ["--config", str(tmp_path / "run.toml")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    parts = Store(tmp_path / "killed" / "parts")
    try:
        while process.poll() is None and len(parts.keys()) < 2:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=50)
    finally:
        process.kill()
    specs = ["chance", "pixel-match", "saliency"]
    for name in ("killed", "straight"):
        run_search_natural(
            specs, interiors, tmp_path / name, max_saccades=6, n_bootstrap=20
        )
    assert tables(tmp_path / "killed") == tables(tmp_path / "straight")


def test_rows_are_spread_evenly():
    assert spread_rows(268, 4) == [0, 67, 134, 201]
    assert spread_rows(3, 3) == [0, 1, 2]


# ------------------------------------------------------------ kreimanlab layout


@pytest.mark.usefixtures("undrawn_figures")
@pytest.mark.parametrize("people", [True, False])
def test_pictures_of_the_repository_layout_are_searched(tmp_path, people):
    data = write_kreimanlab(tmp_path / "data", people=people)
    scenes = load_scenes(data)
    assert scenes.name == "Waldo"
    trial = scenes.make(0)
    assert trial.image.shape == (736, 896, 3)
    assert trial.target.shape == (32, 32, 3)
    assert scenes.rules.max_saccades == 81
    assert scenes.rules.tolerance_px == 64
    assert scenes.scale == (1280 / 896, 1024 / 736)
    score = run_search_natural(
        ["centre"], data, tmp_path / "out", max_saccades=3, n_bootstrap=20
    )
    models = set(score.table["model"])
    assert ("human" in models) is people
    found = score.table[score.table["metric"] == "found_auc"]
    assert found["value"].notna().all()
    finish_natural_run(tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()
    if not people:
        assert any(note.startswith("No people") for note in score.provenance.notes)


def test_object_arrays_are_mapped_to_where_people_saw_them(tmp_path):
    data = write_kreimanlab(tmp_path / "data", "ObjArr")
    score = run_search_natural(
        ["chance"], data, tmp_path / "out", max_saccades=5, n_bootstrap=20
    )
    run = load_run(tmp_path / "out")
    own = run.fixations[run.fixations["model"] == "chance"]
    places = {(640, 512), (365, 988), (90, 512), (365, 36), (915, 36), (1190, 512)}
    assert set(map(tuple, own[["x_px", "y_px"]].to_numpy())) <= places | {(915, 988)}
    rank = score.table[score.table["metric"] == "difficulty_spearman_r"]
    assert rank["value"].isna().all()


# ------------------------------------------------------------------------ faults


def test_a_folder_of_neither_layout_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither the interiors set"):
        load_scenes(tmp_path)
    with pytest.raises(FileNotFoundError, match="must be an existing folder"):
        load_scenes(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"layout": "interior"}, "Did you mean 'interiors'"),
        ({"dataset": "Waldo"}, "kreimanlab layout only"),
        ({"px_per_deg": -1.0}, "px_per_deg"),
    ],
)
def test_wrong_options_are_told(interiors, call, message):
    with pytest.raises(ValueError, match=message):
        load_scenes(interiors, **call)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"displays": 99}, "`displays`"),
        ({"max_saccades": 0}, "`max_saccades`"),
        ({"n_bootstrap": -1}, "`n_bootstrap`"),
    ],
)
def test_wrong_arguments_leave_no_folder(interiors, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        run_search_natural(["chance"], interiors, tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


def test_a_missing_picture_is_told_before_anything_is_computed(tmp_path):
    data = write_kreimanlab(tmp_path / "data", people=False)
    (data / "dataset" / "Waldo" / "target" / "t_2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"t_2\.jpg"):
        run_search_natural(["chance"], data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_cut_picture_is_told(tmp_path):
    data = write_kreimanlab(tmp_path / "data", people=False)
    path = data / "dataset" / "Waldo" / "stimuli" / "s_3.jpg"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataCorruptError, match=r"s_3\.jpg"):
        run_search_natural(["chance"], data, tmp_path / "out")


def test_an_unknown_set_is_told(tmp_path):
    data = write_kreimanlab(tmp_path / "data", people=False)
    with pytest.raises(ValueError, match="must be one of 'Waldo'"):
        load_scenes(data, dataset="Wally")


# -------------------------------------------------------------------- real scenes


def test_people_find_more_than_heuristics_in_the_real_scenes(data_folder, tmp_path):
    score = run_search_natural(
        ["saliency", "pixel-match", "centre", "chance"],
        data_folder / "search_interiors",
        tmp_path / "out",
        displays=12,
        n_bootstrap=20,
    )
    rows = score.table.set_index(["metric", "model"])["value"]
    for model in ("saliency", "pixel-match", "centre", "chance"):
        assert rows["found_rate", model] < rows["found_rate", "human"]
        assert rows["scanmatch", model] < rows["scanmatch", "human"]
    assert rows["saccade_median_deg", "human"] < rows["saccade_median_deg", "chance"]


def test_a_network_searches_a_real_scene_from_its_starting_point(data_folder):
    scenes = load_scenes(data_folder / "search_interiors", max_saccades=2)
    scenes = scenes.select([7])
    model = load_model("eccnet", weights="seeded:0/16", device="cpu")
    trial = scenes.make(0)
    path = model.search([trial], scenes.rules)[0]
    row, column = trial.start
    assert (path.x_px[0], path.y_px[0]) == (column + 0.5, row + 0.5)
    assert 2 <= len(path) <= 3
