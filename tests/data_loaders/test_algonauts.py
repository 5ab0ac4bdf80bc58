"""The Algonauts 2023 challenge: rows, vertices, labels, ceilings, submissions."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_loaders.algonauts import (
    algonauts_stimuli,
    check_algonauts,
    load_algonauts,
    write_submission,
)
from data_loaders.algonauts_files import PUBLISHED_SIZES
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.errors import DataCorruptError

N_MESH = 100
N_UNITS = {"lh": 30, "rh": 25}
TRAIN = [3, 12, 400, 401, 72999]
TEST = [7, 5000, 70000]
MAPPINGS = {
    "prf-visualrois": {0: "Unknown", 1: "V1v", 2: "V1d", 3: "V2v"},
    "floc-faces": {0: "Unknown", 1: "OFA", 2: "FFA-1"},
    "streams": {0: "Unknown", 1: "early", 2: "ventral"},
}


def make_subject(folder, name="subj01", *, seed=0, test_responses=True):
    """Write a small challenge folder; return what was put in."""
    rng = np.random.default_rng(seed)
    home = folder / name
    for split, prefix, ids in (("training", "train", TRAIN), ("test", "test", TEST)):
        for rank, nsd_id in enumerate(ids, start=1):
            path = home / f"{split}_split" / f"{split}_images"
            image = np.full((4, 5, 3), nsd_id % 251, np.uint8)
            path.mkdir(parents=True, exist_ok=True)
            picture = path / f"{prefix}-{rank:04d}_nsd-{nsd_id:05d}.png"
            Image.fromarray(image).save(picture)
        (home / f"{split}_split" / f"{split}_fmri").mkdir()
    (home / "test_split" / "noise_ceiling").mkdir()
    (home / "roi_masks").mkdir()
    truth = {"train": [], "test": [], "ceiling": [], "places": [], "labels": {}}
    for h in HEMISPHERES:
        n = N_UNITS[h]
        inside = np.sort(rng.permutation(N_MESH)[:n])
        mask = np.isin(np.arange(N_MESH), inside)
        save(home / "roi_masks" / f"{h}.all-vertices_fsaverage_space", mask.astype(int))
        for family, mapping in MAPPINGS.items():
            labels = np.where(mask, rng.integers(0, len(mapping), N_MESH), 0)
            save(home / "roi_masks" / f"{h}.{family}_fsaverage_space", labels)
            save(home / "roi_masks" / f"{h}.{family}_challenge_space", labels[mask])
            truth["labels"].setdefault(family, []).extend(
                mapping[k] if k else "" for k in labels[mask].tolist()
            )
        for split, kind, ids in (("train", "training", TRAIN), ("test", "test", TEST)):
            betas = rng.normal(size=(len(ids), n)).astype(np.float32)
            truth[split].append(betas)
            if split == "train" or test_responses:
                save(
                    home / f"{kind}_split" / f"{kind}_fmri" / f"{h}_{kind}_fmri", betas
                )
        ceiling = rng.random(n)
        truth["ceiling"].append(ceiling)
        truth["places"].append(inside)
        if test_responses:
            path = home / "test_split" / "noise_ceiling" / f"{h}_noise_ceiling"
            save(path, ceiling)
    for family, mapping in MAPPINGS.items():
        save(home / "roi_masks" / f"mapping_{family}", mapping)
    return truth


def save(path, value):
    np.save(path.with_name(path.name + ".npy"), value)


@pytest.fixture
def tree(tmp_path):
    return tmp_path, make_subject(tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_both_hemispheres_are_joined_in_the_order_of_the_files(tree, split):
    folder, truth = tree
    responses = load_algonauts(folder, 1, split=split)
    ids = TRAIN if split == "train" else TEST
    assert np.array_equal(responses.betas, np.hstack(truth[split]))
    assert responses.stimuli.columns.tolist() == ["stimulus_id", "n_repeats", "nsd_id"]
    assert responses.stimuli["nsd_id"].tolist() == ids
    assert responses.stimuli["stimulus_id"].tolist() == [f"nsd-{i:05d}" for i in ids]
    assert [int(p[0, 0, 0]) for p in responses.pictures] == [i % 251 for i in ids]
    units = responses.units
    assert units["hemisphere"].tolist() == ["lh"] * 30 + ["rh"] * 25
    assert units["vertex"].tolist() == np.concatenate(truth["places"]).tolist()
    assert units["challenge_vertex"].tolist() == [*range(30), *range(25)]
    assert np.array_equal(units["noise_ceiling"], np.concatenate(truth["ceiling"]))
    assert "ncsnr" not in units
    assert (responses.name, responses.subject) == ("algonauts2023", "subj01")
    assert responses.response_unit == "z-score"
    assert any("n_repeats is 1 everywhere" in note for note in responses.notes)


def test_vertices_go_back_to_their_place(tree):
    folder, truth = tree
    responses = load_algonauts(folder, "subj01", pictures=False)
    assert responses.pictures is None
    maps = responses.to_maps(responses.betas[2])
    for h, betas, inside in zip(
        HEMISPHERES, truth["train"], truth["places"], strict=True
    ):
        expected = np.full(N_MESH, np.nan)
        expected[inside] = betas[2]
        np.testing.assert_array_equal(maps[h], expected)


def test_labels_of_all_families_are_kept_side_by_side(tree):
    folder, truth = tree
    responses = load_algonauts(folder, 1)
    assert responses.families == tuple(MAPPINGS)
    for family, labels in truth["labels"].items():
        assert responses.units[family].tolist() == labels
        assert responses.regions()[family] == list(MAPPINGS[family].values())[1:]
    both = responses.in_region("V1") & responses.in_region("floc-faces")
    assert both.sum() > 0
    missing = "Labels of floc-bodies, floc-places, floc-words are not there."
    assert missing in responses.notes


def test_regions_choose_vertices(tree):
    folder, truth = tree
    everything = load_algonauts(folder, 1)
    some = load_algonauts(folder, 1, regions=["V1", "floc-faces"])
    chosen = everything.in_region("V1") | everything.in_region("floc-faces")
    assert np.array_equal(some.betas, np.hstack(truth["train"])[:, chosen])
    pd.testing.assert_frame_equal(
        some.units, everything.units[chosen].reset_index(drop=True)
    )
    one = load_algonauts(folder, 1, regions="early", families=["streams"])
    assert one.families == ("streams",)
    assert one.n_units == truth["labels"]["streams"].count("early")
    with pytest.raises(KeyError, match="no region 'V4'"):
        load_algonauts(folder, 1, regions="V4")
    with pytest.raises(ValueError, match="Did you mean 'streams'"):
        load_algonauts(folder, 1, families=["stream"])


def test_labels_below_zero_lie_outside(tree):
    folder, _ = tree
    path = folder / "subj01" / "roi_masks" / "lh.streams_challenge_space.npy"
    labels = np.load(path)
    labels[4] = -1
    np.save(path, labels)
    units = load_algonauts(folder, 1).units
    assert units["streams"].isna().tolist() == [i == 4 for i in range(55)]


def test_without_masks_there_is_no_map_but_a_note(tree):
    folder, truth = tree
    for h in HEMISPHERES:
        (folder / f"subj01/roi_masks/{h}.all-vertices_fsaverage_space.npy").unlink()
    responses = load_algonauts(folder, 1)
    assert responses.space is None
    assert any("no brain map can be made" in note for note in responses.notes)
    assert responses.units["unit_id"][31] == "rh-challenge-1"
    assert responses.units["streams"].tolist() == truth["labels"]["streams"]
    assert np.array_equal(responses.betas, np.hstack(truth["train"]))


def test_withheld_test_responses_leave_the_pictures(tmp_path):
    make_subject(tmp_path, test_responses=False)
    with pytest.raises(FileNotFoundError, match=r"withheld.*`algonauts_stimuli`"):
        load_algonauts(tmp_path, 1, split="test")
    pictures, stimuli = algonauts_stimuli(tmp_path, 1)
    assert stimuli["nsd_id"].tolist() == TEST
    assert [int(p[0, 0, 0]) for p in pictures] == [i % 251 for i in TEST]
    train = load_algonauts(tmp_path, 1)
    assert "noise_ceiling" not in train.units
    assert "test responses withheld" in check_algonauts(tmp_path)[0]


def test_a_store_keeps_the_result_on_disk(tree, tmp_path_factory):
    folder, truth = tree
    store = tmp_path_factory.mktemp("store")
    first = load_algonauts(folder, 1, store=store)
    again = load_algonauts(folder, 1, store=store)
    assert isinstance(again.betas, np.memmap)
    assert again.betas.filename == first.betas.filename
    assert np.array_equal(again.betas, np.hstack(truth["train"]))
    assert again.units["streams"].tolist() == truth["labels"]["streams"]


def test_a_simulated_folder_says_so(tree):
    folder, _ = tree
    (folder / "neurovis_simulation.json").write_text("{}")
    assert load_algonauts(folder, 1).notes[0].startswith("Simulated data")
    lines = check_algonauts(folder)
    assert lines[0].startswith("Simulated data")
    assert not any("not the published ones" in line for line in lines)


# -------------------------------------------------------------------------- the check


def test_the_check_counts_what_is_there(tree):
    folder, _ = tree
    lines = check_algonauts(folder)
    assert lines[0] == (
        "subj01: 5 training and 3 test pictures; 30 + 25 vertices of surface; 3 "
        "families of regions; test responses there; noise ceilings there."
    )
    assert (
        "subj01: The sizes (n_train 5, n_test 3, n_lh 30, n_rh 25) are not" in lines[1]
    )


def rename(folder, old, new):
    path = next(folder.glob(f"subj01/*_split/*_images/{old}"))
    path.rename(path.with_name(new))


def overwrite(name, change):
    def act(folder):
        path = next(folder.glob(f"subj01/**/{name}.npy"))
        np.save(path, change(np.load(path)))

    return act


DAMAGE = {
    "gap in ranks": (
        lambda f: rename(f, "train-0003*", "train-0006_nsd-73000.png"),
        r"train-0004_nsd-00401.png follows where rank 3 is missing",
    ),
    "rank twice": (
        lambda f: rename(f, "train-0003*", "train-0002_nsd-00400.png"),
        "repeats a rank",
    ),
    "ids that do not ascend": (
        lambda f: rename(f, "train-0003*", "train-0003_nsd-00009.png"),
        "ascending NSD number: train-0003_nsd-00009.png does not",
    ),
    "another name": (
        lambda f: rename(f, "train-0003*", "train-3_nsd-400.png"),
        "named train-0001_nsd-00013.png only; it holds 'train-3_nsd-400.png'",
    ),
    "another suffix": (
        lambda f: rename(f, "train-0003*", "train-0003_nsd-00400.PNG"),
        "named train-0001_nsd-00013.png only; it holds 'train-0003_nsd-00400.PNG'",
    ),
    "another kind": (
        lambda f: rename(f, "train-0003*", "train-0003_nsd-00400.jpg"),
        r"train-0004_nsd-00401.png follows where rank 3 is missing",
    ),
    "test picture among the others": (
        lambda f: rename(f, "test-0001*", "test-0001_nsd-00003.png"),
        "has 1 pictures, such as nsd-00003, both for",
    ),
    "a row too few": (
        overwrite("rh_training_fmri", lambda a: a[:-1]),
        "5 rows, but rh_training_fmri.npy has 4",
    ),
    "rows of other pictures": (
        lambda f: next(f.glob("subj01/training_split/*/train-0005*")).unlink(),
        r"shapes .*\(5, 30\).* ask for .*\(4, 30\)",
    ),
    "integers": (
        overwrite("lh_training_fmri", lambda a: a.astype(int)),
        "must hold floats, pictures x vertices; it holds int64",
    ),
    "three axes": (
        overwrite("lh_training_fmri", lambda a: a[None]),
        "must hold floats",
    ),
    "percent": (
        overwrite("lh_noise_ceiling", lambda a: a * 100),
        "fractions of explainable variance .*percent, divide them by 100",
    ),
    "ceilings of another subject": (
        overwrite("lh_noise_ceiling", lambda a: a[:-1]),
        "must hold 30 numbers, one per vertex",
    ),
    "mask of another subject": (
        overwrite("rh.all-vertices_fsaverage_space", lambda a: 1 - a),
        "marks 75 vertices, but the responses have 25",
    ),
    "labels of another subject": (
        overwrite("lh.streams_challenge_space", lambda a: a[:-1]),
        r"must hold 30 numbers.*\(29,\). Is it of another subject",
    ),
    "labels moved": (
        overwrite("lh.streams_challenge_space", np.flip),
        "differs from lh.streams_fsaverage_space.npy at the challenge vertices",
    ),
    "label without a name": (
        overwrite("lh.streams_challenge_space", lambda a: a + 5),
        "holds the label 5, but mapping_streams.npy names only",
    ),
    "mapping of lists": (
        lambda f: np.save(f / "subj01/roi_masks/mapping_streams.npy", {1: ["a"]}),
        "must hold a dictionary from numbers to distinct names",
    ),
    "one ceiling": (
        lambda f: next(f.glob("subj01/**/rh_noise_ceiling.npy")).unlink(),
        "rh_noise_ceiling.npy is missing, but its other hemisphere is there",
    ),
    "one mask": (
        lambda f: next(f.glob("subj01/**/rh.all-vert*.npy")).unlink(),
        "rh.all-vertices_fsaverage_space.npy is missing, but",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_files_that_do_not_belong_together_are_named(tree, name):
    folder, _ = tree
    act, match = DAMAGE[name]
    act(folder)
    with pytest.raises(DataCorruptError, match=match):
        check_algonauts(folder)


@pytest.mark.parametrize("name", ["gap in ranks", "rank twice", "percent"])
def test_loading_meets_the_same_damage(tree, name):
    folder, _ = tree
    act, match = DAMAGE[name]
    act(folder)
    with pytest.raises(DataCorruptError, match=match):
        load_algonauts(folder, 1)


def test_what_a_file_manager_leaves_beside_pictures_is_no_picture(tree):
    folder, truth = tree
    expected = check_algonauts(folder)
    names = ("Thumbs.db", "desktop.ini", ".DS_Store", "._train-0009_nsd-00500.png")
    for name in names:
        (folder / "subj01/training_split/training_images" / name).write_bytes(b"x")
        (folder / "subj01/test_split/test_images" / name).write_bytes(b"x")
    assert check_algonauts(folder) == expected
    responses = load_algonauts(folder, 1)
    assert responses.stimuli["nsd_id"].tolist() == TRAIN
    assert np.array_equal(responses.betas, np.hstack(truth["train"]))
    assert [int(p[0, 0, 0]) for p in responses.pictures] == [i % 251 for i in TRAIN]


def test_a_folder_without_pictures_is_refused(tree):
    folder, _ = tree
    pictures = folder / "subj01/training_split/training_images"
    for path in pictures.iterdir():
        path.unlink()
    (pictures / "Thumbs.db").write_bytes(b"x")
    with pytest.raises(DataCorruptError, match=r"only; it holds no \.png file"):
        load_algonauts(folder, 1)


def test_rows_and_pictures_must_be_as_many(tree):
    folder, _ = tree
    next(folder.glob("subj01/training_split/*/train-0005*")).unlink()
    with pytest.raises(DataCorruptError, match="has 5 rows, but there are 4 pictures"):
        load_algonauts(folder, 1)


@pytest.mark.parametrize("n_bytes", [0, 20, 130, -4])
def test_cut_responses_are_refused(tree, n_bytes):
    folder, _ = tree
    path = next(folder.glob("subj01/**/rh_training_fmri.npy"))
    path.write_bytes(path.read_bytes()[:n_bytes])
    for call in (check_algonauts, lambda f: load_algonauts(f, 1)):
        with pytest.raises(DataCorruptError, match=r"rh_training_fmri\.npy"):
            call(folder)


def test_what_is_missing_is_named(tree):
    folder, _ = tree
    with pytest.raises(ValueError, match="must be one of 'subj01'; got 'subj02'"):
        load_algonauts(folder, 2)
    with pytest.raises(ValueError, match="`split` must be one of"):
        load_algonauts(folder, 1, split="training")
    with pytest.raises(FileNotFoundError, match="Give the folder above subj01"):
        load_algonauts(folder / "subj01", 1)
    (folder / "subj01/roi_masks/mapping_streams.npy").unlink()
    with pytest.raises(FileNotFoundError, match="leave this family out"):
        load_algonauts(folder, 1)
    assert load_algonauts(folder, 1, families=["floc-faces"]).n_units == 55
    shutil.rmtree(folder / "subj01/training_split/training_images")
    with pytest.raises(FileNotFoundError, match="order of the rows stands in"):
        load_algonauts(folder, 1, pictures=False)


def test_a_hostile_mapping_has_no_effect(tree, monkeypatch):
    class Hostile:
        def __reduce__(self):
            return os.system, ("touch BAD",)

    folder, _ = tree
    monkeypatch.chdir(folder)
    np.save(folder / "subj01/roi_masks/mapping_streams.npy", {1: Hostile()})
    with pytest.raises(DataCorruptError, match=r"names \w+\.system"):
        load_algonauts(folder, 1)
    assert not (folder / "BAD").exists()


# ------------------------------------------------------------------- published sizes


def test_published_sizes_are_those_of_the_paper():
    sizes = pd.DataFrame([size._asdict() for size in PUBLISHED_SIZES.values()])
    assert sizes["n_train"].tolist() == [
        *(9841, 9841, 9082, 8779),
        *(9841, 9082, 9841, 8779),
    ]
    assert sizes["n_test"].tolist() == [159, 159, 293, 395, 159, 293, 159, 395]
    both = sizes["n_lh"] + sizes["n_rh"]
    assert both.tolist() == [39548] * 5 + [39198, 39548, 39511]


def empty_subject(folder, name, sizes, split="train"):
    """A subject of full size whose files take no room."""
    kind = "training" if split == "train" else "test"
    home = folder / name
    (home / "training_split").mkdir(parents=True)
    images = home / f"{kind}_split" / f"{kind}_images"
    images.mkdir(parents=True)
    n_images = sizes.n_train if split == "train" else sizes.n_test
    for i in range(n_images):
        (images / f"{split}-{i + 1:04d}_nsd-{7 * i:05d}.png").touch()
    fmri = home / f"{kind}_split" / f"{kind}_fmri"
    fmri.mkdir()
    for h, n in (("lh", sizes.n_lh), ("rh", sizes.n_rh)):
        with (fmri / f"{h}_{kind}_fmri.npy").open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (n_images, n)}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + 4 * n_images * n)  # sparse


def test_a_subject_under_the_name_of_another_is_refused(tmp_path):
    empty_subject(tmp_path, "subj01", PUBLISHED_SIZES["subj06"], "test")
    match = r"sizes of subj06 \(n_test 293, .*not those of subj01. Was a folder"
    with pytest.raises(DataCorruptError, match=match):
        load_algonauts(tmp_path, 1, split="test")


MEASURE = """
import sys
from data_loaders.algonauts import load_algonauts
folder, store = sys.argv[1:]
found = load_algonauts(folder, 8, store=store, memory_gib=1.0, pictures=False)
# Not ru_maxrss, which a child inherits from the process that starts it.
status = dict(line.split(":") for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) / 2**20, found.betas.shape)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_whole_subject_is_joined_in_little_memory(tmp_path):
    # 8779 x 39511 floats, 1.3 GiB.
    empty_subject(tmp_path, "subj08", PUBLISHED_SIZES["subj08"])
    arguments = [sys.executable, "-c", MEASURE, tmp_path, tmp_path / "store"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    peak_gib, _, shape = done.stdout.strip().partition(" ")
    assert shape == "(8779, 39511)"
    assert float(peak_gib) < 1.0


# ------------------------------------------------------------------------ submission


def test_a_submission_comes_back_as_float32(tree, tmp_path):
    folder, truth = tree
    lh, rh = (betas.astype(np.float64) / 3 for betas in truth["test"])
    home = write_submission(tmp_path / "out", 1, lh, rh, data=folder)
    assert home == tmp_path / "out" / "subj01"
    for name, values in (("lh", lh), ("rh", rh)):
        written = np.load(home / f"{name}_pred_test.npy")
        assert written.dtype == np.float32
        assert np.array_equal(written, values.astype(np.float32))
    with pytest.raises(FileExistsError, match="exists already"):
        write_submission(tmp_path / "out", "subj01", lh, rh, data=folder)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda a: a[:-1], ValueError, r"`lh` must have shape \(3, 30\).*\(2, 30\)"),
        (lambda a: a.T, ValueError, "transposed"),
        (lambda a: np.where(a > 1, np.nan, a), ValueError, "values that are NaN"),
        (lambda a: a * 1e300, ValueError, "beyond float32"),
        (lambda a: a.astype(str), TypeError, "must hold numbers"),
    ],
)
def test_a_wrong_prediction_writes_nothing(tree, tmp_path, change, error, match):
    folder, truth = tree
    lh, rh = (betas.astype(np.float64) for betas in truth["test"])
    lh[0, 0] = 2
    with pytest.raises(error, match=match):
        write_submission(tmp_path / "out", 1, change(lh), rh, data=folder)
    assert not (tmp_path / "out").exists()


def test_published_sizes_are_asked_for_without_a_folder(tmp_path):
    lh, rh = np.zeros((395, 18981)), np.zeros((395, 20530))
    home = write_submission(tmp_path, 8, lh, rh)
    assert np.load(home / "rh_pred_test.npy").shape == (395, 20530)
    with pytest.raises(ValueError, match=r"shape \(159, 19004\)"):
        write_submission(tmp_path, 1, lh, rh)
    with pytest.raises(ValueError, match="`subject` must be one of"):
        write_submission(tmp_path, 9, lh, rh)
