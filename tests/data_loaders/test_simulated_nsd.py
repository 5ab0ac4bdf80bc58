"""Simulated trees of NSD: what is in them is what they declare."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from data_loaders.simulated_atlas import FAMILY_LABELS
from data_loaders.synthetic import SimulatedBrain, n_pictures, simulate_nsd
from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import LazyPictures

B3 = "betas_fithrf_GLMdenoise_RR"
CATEGORIES = np.array(["body", "face", "object", "place", "word"])
ROOT = Path(__file__).resolve().parents[2]


def texture(number):
    """Noise whose contrast differs between 8 x 8 patches."""
    rng = np.random.default_rng(number)
    contrast = np.kron(rng.exponential(1, (8, 8)), np.ones((8, 8)))
    grey = 128 + 30 * contrast * rng.standard_normal((64, 64))
    grey = np.clip(grey, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def stimuli(n):
    category = CATEGORIES[np.random.default_rng(0).integers(5, size=n)]
    return LazyPictures(texture, range(n)), pd.DataFrame({"category": category})


def simulate(folder, n_subjects=1, n_sessions=1, **options):
    n = options.pop("n", n_pictures(n_subjects, n_sessions))
    options = {"volume_shape": (9, 10, 9), "n_vertices": (162, 170)} | options
    return simulate_nsd(
        folder, *stimuli(n), n_subjects=n_subjects, n_sessions=n_sessions, **options
    )


def read_volume(root, subject, session, preparation=B3):
    folder = root / "nsddata_betas/ppdata" / subject / "func1pt8mm" / preparation
    with h5py.File(folder / f"betas_session{session:02d}.hdf5") as file:
        return file["betas"][:].T  # X, Y, Z, trials


def read_surface(root, subject, half, session, preparation=B3):
    folder = root / "nsddata_betas/ppdata" / subject / "fsaverage" / preparation
    path = folder / f"{half}.betas_session{session:02d}.mgh"
    return np.asarray(nib.MGHImage.from_bytes(path.read_bytes()).dataobj)[:, 0, 0]


def read_numbers(path):
    image = nib.load(path)
    return np.asanyarray(image.dataobj)


def truth_of(root, subject, space):
    return read_table(root / "neurovis_simulation" / f"{subject}_{space}.parquet")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Two subjects of 3 and 2 sessions, the last one withheld, all formats."""
    return simulate(
        tmp_path_factory.mktemp("simulated") / "nsd",
        n_subjects=2,
        n_sessions=(3, 2),
        n_withheld=1,
        spaces=("func1pt8mm", "func1mm", "fsaverage", "nativesurface"),
        volume_formats=("hdf5", "nii.gz", "mat"),
        preparations=("b2", "b3"),
        volume_shape=(9, 10, 9),
        n_nan=2,
        seed=4,
    )


# -------------------------------------------------------------- what is there


def test_all_files_of_the_tree_are_there(tree):
    found = {p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()}
    subject = "nsddata/ppdata/subj01"
    expected = {
        "neurovis_simulation.json",
        "nsddata/experiments/nsd/nsd_expdesign.mat",
        "nsddata/experiments/nsd/nsd_stim_info_merged.csv",
        "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5",
        f"{subject}/behav/responses.tsv",
        f"{subject}/func1pt8mm/brainmask.nii.gz",
        f"{subject}/func1mm/roi/lh.floc-faces.nii.gz",
        f"{subject}/transforms/lh.white-to-fsaverage.mgz",
        f"{subject}/transforms/rh.func1pt8-to-layerB2.mgz",
        f"{subject}/transforms/rh.func1pt0-to-layerB2.mgz",
        f"{subject}/transforms/func1pt8-to-MNI.nii.gz",
        "nsddata/freesurfer/subj01/label/lh.prf-visualrois.mgz",
        "nsddata/freesurfer/subj01/label/prf-visualrois.mgz.ctab",
        "nsddata/freesurfer/fsaverage/label/rh.nsdgeneral.mgz",
    }
    betas = "nsddata_betas/ppdata/subj01"
    for preparation in ("betas_fithrf", B3):
        expected |= {
            f"{betas}/func1pt8mm/{preparation}/betas_session01.hdf5",
            f"{betas}/func1pt8mm/{preparation}/betas_session02.nii.gz",
            f"{betas}/func1mm/{preparation}/betas_session02.mat",
            f"{betas}/func1mm/{preparation}/meanbeta_session02.nii.gz",
            f"{betas}/func1pt8mm/{preparation}/ncsnr.nii.gz",
            f"{betas}/fsaverage/{preparation}/lh.betas_session01.mgh",
            f"{betas}/fsaverage/{preparation}/rh.ncsnr.mgh",
            f"{betas}/nativesurface/{preparation}/rh.betas_session02.hdf5",
        }
    assert expected <= found
    assert not [name for name in found if ".part-" in name or name.endswith(".nii")]


def test_plain_and_packed_volumes_of_one_tree_hold_the_same(tmp_path):
    formats = ("nii", "nii.gz", "hdf5")
    simulate(tmp_path / "nsd", volume_formats=formats, spaces=("func1pt8mm",))
    folder = tmp_path / "nsd/nsddata_betas/ppdata/subj01/func1pt8mm" / B3
    stem = "betas_session01"
    assert sorted(p.name for p in folder.glob(f"{stem}*")) == [
        f"{stem}.{suffix}" for suffix in ("hdf5", "nii", "nii.gz")
    ]
    expected = read_volume(tmp_path / "nsd", "subj01", 1)
    assert expected.any()
    for suffix in ("nii", "nii.gz"):
        assert np.array_equal(read_numbers(folder / f"{stem}.{suffix}"), expected)


def test_withheld_sessions_have_no_files(tree):
    sessions = {
        subject: len(
            list((tree / "nsddata_betas").rglob(f"{subject}/**/*betas_s*.mgh"))
        )
        for subject in ("subj01", "subj02")
    }
    assert sessions == {"subj01": 2 * 2 * 2, "subj02": 1 * 2 * 2}
    for subject, n in (("subj01", 2), ("subj02", 1)):
        path = tree / "nsddata/ppdata" / subject / "behav/responses.tsv"
        assert pd.read_csv(path, sep="\t")["SESSION"].unique().tolist() == [1, 2][:n]


def test_the_folder_is_marked_as_simulated_with_its_settings(tree):
    found = read_json(tree / "neurovis_simulation.json")
    assert found["simulated"] is True
    assert found["form"] == "nsd"
    assert found["seed"] == 4
    assert found["settings"]["n_sessions"] == [3, 2]
    assert found["settings"]["preparations"] == ["betas_fithrf", B3]
    assert found["settings"]["brain"]["drift_share"] == 0.1
    assert found["preferred_categories"]["faces"] == ["face"]
    assert "numpy" in found["versions"]


def test_design_and_table_of_pictures_are_read_by_other_software(tree):
    folder = tree / "nsddata/experiments/nsd"
    design = loadmat(folder / "nsd_expdesign.mat")
    n = n_pictures(2, 3)
    assert design["masterordering"].shape == (1, 2250)
    assert design["subjectim"].shape == (2, 750)
    assert design["sharedix"].shape == (1, 75)
    assert design["basiccnt"].shape == (3, 3)
    assert design["stimpattern"].shape == (3, 12, 75)
    table = pd.read_csv(folder / "nsd_stim_info_merged.csv", index_col=0)
    assert table.index.tolist() == table["nsdId"].tolist() == list(range(n))
    assert table["flagged"].dtype == bool
    first = int(design["subjectim"][0, int(design["masterordering"][0, 0]) - 1])
    assert table["subject1_rep0"].to_numpy()[first - 1] == 1
    answers = pd.read_csv(tree / "nsddata/ppdata/subj01/behav/responses.tsv", sep="\t")
    assert answers["73KID"][0] == first
    shared = (table["shared1000"].to_numpy().nonzero()[0] + 1).tolist()
    assert shared == design["sharedix"][0].tolist()


def test_the_stimulus_file_holds_the_pictures_in_their_order(tree):
    path = tree / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    with h5py.File(path) as file:
        brick = file["imgBrick"]
        assert brick.shape == (n_pictures(2, 3), 64, 64, 3)
        assert brick.dtype == np.uint8
        for number in (0, 7, 1000):
            assert np.array_equal(brick[number], texture(number))
    table = read_table(tree / "neurovis_simulation/pictures.parquet")
    assert table["stimulus_id"][7] == "nsd-00007"
    assert table["category"][7] == stimuli(10)[1]["category"][7]


# ------------------------------------------------------------------- volumes


def test_all_volume_formats_hold_the_same_numbers(tree):
    for space in ("func1pt8mm", "func1mm"):
        folder = tree / "nsddata_betas/ppdata/subj02" / space / B3
        nifti = nib.load(folder / "betas_session01.nii.gz")
        expected = np.asanyarray(nifti.dataobj)
        assert expected.dtype == np.int16
        for suffix in ("hdf5", "mat"):
            with h5py.File(folder / f"betas_session01.{suffix}") as file:
                assert np.array_equal(file["betas"][:].T, expected)
        mask = nib.load(tree / f"nsddata/ppdata/subj02/{space}/brainmask.nii.gz")
        assert np.array_equal(mask.affine, nifti.affine)
        inside = np.asanyarray(mask.dataobj) == 1
        assert (expected[~inside] == 0).all()
        assert (~expected[inside].any(axis=1)).sum() == 3  # the incomplete ones
        mean = read_numbers(folder / "meanbeta_session01.nii.gz")
        assert np.abs(mean - expected.mean(axis=3)).max() <= 0.51


def test_regions_of_volumes_are_minus_one_outside_cortex_and_split_by_hemisphere(tree):
    folder = tree / "nsddata/ppdata/subj01/func1pt8mm"
    truth = truth_of(tree, "subj01", "func1pt8mm")
    place = tuple(truth[axis].to_numpy() for axis in "xyz")
    mask = read_numbers(folder / "brainmask.nii.gz")
    assert (mask[place] == 1).all()
    for family, names in FAMILY_LABELS.items():
        both, left, right = (
            read_numbers(folder / f"roi/{half}{family}.nii.gz")
            for half in ("", "lh.", "rh.")
        )
        assert (both >= 0).sum() == len(truth)
        assert set(np.unique(both)) <= set(range(-1, len(names) + 1))
        assert np.array_equal(np.maximum(left, right), both)
        assert not ((left >= 0) & (right >= 0)).any()
        labels = np.array(["", *names])[both[place]]
        assert labels.tolist() == truth[family].tolist()
        is_left = (truth["hemisphere"] == "lh").to_numpy()
        assert np.array_equal(left[place] >= 0, is_left)


def test_receptive_field_maps_follow_the_conventions_of_nsd(tree):
    folder = tree / "nsddata/ppdata/subj01/func1pt8mm"
    truth = truth_of(tree, "subj01", "func1pt8mm")
    early = truth[truth["prf-visualrois"] != ""]
    angle, eccentricity, size = (
        read_numbers(folder / f"prf_{name}.nii.gz")[early["x"], early["y"], early["z"]]
        for name in ("angle", "eccentricity", "size")
    )
    # Counter-clockwise from the right, while y of the truth points down.
    x = eccentricity * np.cos(np.deg2rad(angle))
    y = eccentricity * np.sin(np.deg2rad(angle))
    assert np.allclose(x, early["rf_x_deg"], atol=1e-4)
    assert np.allclose(y, -early["rf_y_deg"], atol=1e-4)
    assert np.allclose(size, early["rf_size_deg"], atol=1e-4)


def test_flawed_voxels_are_those_that_the_truth_names(tree):
    truth = truth_of(tree, "subj01", "func1pt8mm")
    place = tuple(truth[axis].to_numpy() for axis in "xyz")
    first, second = (read_volume(tree, "subj01", s)[place] for s in (1, 2))
    both = np.concatenate([first, second], axis=1)
    at_ends = ((both == 32767) | (both == -32768)).mean(axis=1)
    assert truth["is_saturated"].sum() == 3
    assert (at_ends[truth["is_saturated"]] > 0.02).all()
    assert (at_ends[~truth["is_saturated"]] == 0).all()
    silent = (first == 0).all(axis=1).astype(int) + (second == 0).all(axis=1)
    assert truth["is_incomplete"].sum() == 3
    assert (silent == truth["is_incomplete"]).all()
    flawed = truth["is_saturated"] | truth["is_incomplete"]
    assert (truth["nsdgeneral"][flawed] == "nsdgeneral").all()
    assert (truth["ncsnr"][flawed] == 0).all()


# ------------------------------------------------------------------ surfaces


def test_labels_of_native_surfaces_move_to_fsaverage_by_the_transforms(tree):
    labels = tree / "nsddata/freesurfer/subj01/label"
    moves = tree / "nsddata/ppdata/subj01/transforms"
    truth = truth_of(tree, "subj01", "fsaverage")
    for half in ("lh", "rh"):
        here = truth[truth["hemisphere"] == half]
        to = read_numbers(moves / f"{half}.white-to-fsaverage.mgz").ravel()
        back = read_numbers(moves / f"{half}.fsaverage-to-white.mgz").ravel()
        assert len(to) == len(here) < len(back)
        assert to.min() >= 1
        assert to.max() <= len(back)
        for family in ("prf-visualrois", "floc-places", "streams"):
            native = read_numbers(labels / f"{half}.{family}.mgz").ravel()
            moved = native[to - 1]
            names = np.array(["", *FAMILY_LABELS[family]])[moved]
            assert names.tolist() == here[family].tolist()
            assert np.array_equal(moved[back - 1], native)


def test_names_of_labels_are_listed_with_their_numbers(tree):
    path = tree / "nsddata/freesurfer/subj01/label/floc-faces.mgz.ctab"
    lines = [line.split() for line in path.read_text().splitlines()]
    names = ["Unknown", "OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"]
    assert lines == [[str(i), name] for i, name in enumerate(names)]


def test_layers_point_at_the_voxels_of_their_vertices(tree):
    moves = tree / "nsddata/ppdata/subj01/transforms"
    region = "nsddata/ppdata/subj01/func1pt8mm/roi/lh.streams.nii.gz"
    volume = read_numbers(tree / region)
    native = read_numbers(
        tree / "nsddata/freesurfer/subj01/label/lh.streams.mgz"
    ).ravel()
    source = np.squeeze(read_numbers(moves / "lh.func1pt8-to-layerB2.mgz"))
    assert source.shape == (len(native), 3)
    assert source.max() < 9999
    nearest = tuple(np.rint(source - 1).astype(int).T)
    known = volume[nearest] >= 0
    assert known.mean() > 0.8
    assert (volume[nearest] == native)[known].mean() > 0.8


def test_the_grid_of_mni_runs_from_right_to_left_and_marks_what_is_outside(tree):
    image = nib.load(tree / "nsddata/ppdata/subj01/transforms/func1pt8-to-MNI.nii.gz")
    source = np.asanyarray(image.dataobj)
    assert source.shape[3] == 3
    inside = (source != 9999).all(axis=3)
    assert np.array_equal(inside, (source != 9999).any(axis=3))
    assert 0.5 < inside.mean() <= 1
    x = np.where(inside, source[..., 0], np.nan)
    assert (np.diff(x, axis=0)[np.isfinite(np.diff(x, axis=0))] < 0).all()
    mask = nib.load(tree / "nsddata/ppdata/subj01/func1pt8mm/brainmask.nii.gz")
    where = np.argwhere(inside)[[0, 100, -1]]
    for index in where:
        mm = image.affine @ [*index, 1]
        voxel = np.linalg.inv(mask.affine) @ mm
        assert np.allclose(source[tuple(index)], voxel[:3] + 1, atol=1e-4)


def test_vertices_with_nan_are_those_that_the_truth_names(tree):
    truth = truth_of(tree, "subj01", "fsaverage")
    assert truth["is_nan"].sum() == 2
    for half in ("lh", "rh"):
        here = truth[truth["hemisphere"] == half]["is_nan"].to_numpy()
        first, last = (read_surface(tree, "subj01", half, s) for s in (1, 2))
        assert np.isfinite(first).all()
        assert np.array_equal(np.isnan(last).any(axis=1), here)
        assert np.isnan(last[here]).all()


def test_native_betas_are_integers_with_one_column_per_vertex(tree):
    folder = tree / "nsddata_betas/ppdata/subj01/nativesurface" / B3
    truth = truth_of(tree, "subj01", "nativesurface")
    for half in ("lh", "rh"):
        with h5py.File(folder / f"{half}.betas_session02.hdf5") as file:
            betas = file["betas"]
            assert betas.dtype == np.int16
            assert betas.shape == (750, (truth["hemisphere"] == half).sum())
            assert 200 < betas[:].std() < 2000


# ------------------------------------------------------------------ recovery


def z_scored(values):
    with np.errstate(invalid="ignore"):
        mean, sd = values.mean(axis=1, keepdims=True), values.std(axis=1, keepdims=True)
        return (values - mean) / sd


def brute_force_ncsnr(root, sessions):
    """From sessions of (units, trials): the definition, written out."""
    scores = np.concatenate([z_scored(s.astype(np.float64)) for s in sessions], axis=1)
    order = loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    order = order["masterordering"][0][: scores.shape[1]]
    trials = [np.flatnonzero(order == image) for image in np.unique(order)]
    trials = np.array([t for t in trials if len(t) == 3])
    values = scores[:, trials]
    noise = values.var(axis=2, ddof=1).mean(axis=1)
    total = values.reshape(len(values), -1).var(axis=1, ddof=1)
    return np.sqrt(np.maximum(total - noise, 0) / noise), trials


def test_published_ncsnr_is_that_of_the_files(tree):
    truth = truth_of(tree, "subj01", "func1pt8mm")
    place = tuple(truth[axis].to_numpy() for axis in "xyz")
    sessions = [read_volume(tree, "subj01", s)[place] / 300 for s in (1, 2)]
    expected, _ = brute_force_ncsnr(tree, sessions)
    folder = tree / "nsddata_betas/ppdata/subj01/func1pt8mm" / B3
    found = read_numbers(folder / "ncsnr.nii.gz")[place]
    assert np.array_equal(np.isnan(found), truth["is_incomplete"])
    known = ~np.isnan(found)
    assert np.allclose(found[known], expected[known], atol=1e-5)


@pytest.mark.parametrize(
    "n_vertices",
    [(10_242, 2562), pytest.param((10_242, 10_242), marks=pytest.mark.slow)],
)
def test_median_ncsnr_is_recovered_within_five_percent(tmp_path, n_vertices):
    names = {"true-0.2": 0.2, "true-0.3": 0.3, "true-0.5": 0.5, "true-1": 1.0}
    brain = SimulatedBrain(ncsnr=1.0, relative_ncsnr=names)
    root = simulate(
        tmp_path / "nsd",
        n_sessions=2,
        brain=brain,
        preparations=tuple(names),
        spaces=("fsaverage",),
        n_vertices=n_vertices,
        n_incomplete=0,
    )
    truth = truth_of(root, "subj01", "fsaverage")
    driven = truth["ncsnr"] > 0
    assert driven.sum() >= 1000
    for name, true in names.items():
        assert (truth[f"ncsnr_{name}"][driven] == true).all()
        sessions = []
        for session in (1, 2):
            halves = [
                read_surface(root, "subj01", half, session, name)[
                    driven[truth["hemisphere"] == half]
                ]
                for half in ("lh", "rh")
            ]
            sessions.append(np.concatenate(halves))
        found, trials = brute_force_ncsnr(root, sessions)
        assert trials.shape == (500, 3)
        assert np.median(found) == pytest.approx(true, rel=0.05), name


@pytest.fixture(scope="module")
def strong(tmp_path_factory):
    """One subject with little noise; mean response of each unit to each picture."""
    root = simulate(
        tmp_path_factory.mktemp("strong") / "nsd",
        n_sessions=2,
        brain=SimulatedBrain(ncsnr=3.0),
        spaces=("fsaverage",),
        n_vertices=(2562, 2562),
    )
    truth = truth_of(root, "subj01", "fsaverage")
    scores = []
    for session in (1, 2):
        halves = [read_surface(root, "subj01", h, session) for h in ("lh", "rh")]
        scores.append(z_scored(np.concatenate(halves).astype(np.float64)))
    design = loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    order = design["masterordering"][0].astype(int) - 1
    means = np.concatenate(scores, axis=1)[:, np.argsort(order, kind="stable")]
    means = means.reshape(len(truth), 500, 3).mean(axis=2)
    return truth, means, design["subjectim"][0].astype(int) - 1


def test_receptive_fields_are_found_again_by_regression_on_local_contrast(strong):
    truth, means, pictures = strong
    patches = np.array([texture(p)[:, :, 0] for p in pictures], float)
    patches = patches.reshape(500, 8, 8, 8, 8).std(axis=(2, 4)).reshape(500, 64)
    early = truth["prf-visualrois"].isin(["V1v", "V1d", "V2v", "V2d"])
    early &= np.hypot(truth["rf_x_deg"], truth["rf_y_deg"]) < 3
    x = np.column_stack([patches - patches.mean(axis=0)])
    y = means[early] - means[early].mean(axis=1, keepdims=True)
    weights = np.linalg.solve(x.T @ x + 100 * np.eye(64), x.T @ y.T)
    best = weights.argmax(axis=0)
    centre = (np.arange(8) - 3.5) * 1.05  # of patches, degrees
    away = np.hypot(
        centre[best % 8] - truth["rf_x_deg"][early],
        centre[best // 8] - truth["rf_y_deg"][early],
    )
    assert len(away) > 100
    assert np.median(away) < 0.6
    assert (away < 1.1).mean() > 0.9


def test_category_selectivity_is_found_again_by_contrast(strong):
    truth, means, pictures = strong
    category = stimuli(500)[1]["category"].to_numpy()[pictures]
    by_category = np.stack([means[:, category == c].mean(axis=1) for c in CATEGORIES])
    selective = truth["preferred_category"].notna().to_numpy()
    best = CATEGORIES[by_category[:, selective].argmax(axis=0)]
    expected = truth["preferred_category"][selective]
    several = (truth.filter(like="floc-") != "").sum(axis=1)[selective] > 1
    assert (best == expected)[~several].mean() > 0.95
    faces = (truth["floc-faces"] != "").to_numpy()
    silent = ((truth["ncsnr"] == 0) & ~truth["is_incomplete"]).to_numpy()
    margin = by_category[1] - by_category[[0, 2, 3, 4]].max(axis=0)
    assert np.median(margin[faces]) > 0.5
    assert np.nanmax(by_category[:, silent].std(axis=0)) < 0.3


def test_responses_have_the_declared_size_gain_and_offsets(tmp_path):
    brain = SimulatedBrain(
        ncsnr=0.5, drift_share=0.0, session_gain=0.0, session_offset=0.0
    )
    root = simulate(
        tmp_path / "nsd", brain=brain, spaces=("fsaverage",), n_incomplete=0
    )
    truth = truth_of(root, "subj01", "fsaverage")
    halves = [read_surface(root, "subj01", half, 1) for half in ("lh", "rh")]
    betas = np.concatenate(halves)
    spread = truth["noise_percent"] * np.sqrt(1 + truth["ncsnr"] ** 2)
    assert np.allclose(betas.std(axis=1) / spread, 1, atol=0.12)
    error = (betas.mean(axis=1) - truth["mean_percent"]) / spread
    assert np.abs(error).max() < 5 / np.sqrt(750)
    assert truth["mean_percent"].mean() == pytest.approx(1, abs=0.1)


def test_drift_is_slow_and_part_of_the_noise(tmp_path):
    def lag_one(drift):
        brain = SimulatedBrain(ncsnr=0.0, drift_share=drift)
        root = simulate(
            tmp_path / str(drift), brain=brain, spaces=("fsaverage",), n_incomplete=0
        )
        scores = z_scored(read_surface(root, "subj01", "lh", 1).astype(np.float64))
        return (scores[:, 1:] * scores[:, :-1]).mean()

    assert lag_one(0.0) == pytest.approx(0, abs=0.01)
    assert lag_one(0.4) == pytest.approx(0.4, abs=0.02)


def test_noisier_preparations_share_the_signal_and_most_noise(tree):
    truth = truth_of(tree, "subj01", "func1pt8mm")
    driven = truth["ncsnr"] > 0
    assert np.allclose(truth["ncsnr_betas_fithrf"], 0.75 * truth["ncsnr"])
    assert np.allclose(truth[f"ncsnr_{B3}"], truth["ncsnr"])
    place = tuple(truth[axis][driven].to_numpy() for axis in "xyz")
    b2 = read_volume(tree, "subj01", 1, "betas_fithrf")[place]
    b3 = read_volume(tree, "subj01", 1)[place]
    together = (z_scored(b2) * z_scored(b3)).mean(axis=1)
    assert (together > 0.7).all()
    assert (b2.std(axis=1) > b3.std(axis=1)).mean() > 0.95


def test_blank_pictures_leave_no_signal(tmp_path):
    n = n_pictures(1, 1)
    blank = LazyPictures(lambda _: np.full((20, 20, 3), 128, np.uint8), range(n))
    labels = pd.DataFrame({"category": ["grey"] * n})
    root = simulate_nsd(
        tmp_path / "nsd",
        blank,
        labels,
        n_subjects=1,
        n_sessions=1,
        spaces=("fsaverage",),
        n_vertices=(162, 162),
    )
    truth = truth_of(root, "subj01", "fsaverage")
    assert (truth["ncsnr"] == 0).all()
    assert np.isfinite(read_surface(root, "subj01", "lh", 1)).all()


# ------------------------------------------------------------- determinism


def contents(root):
    files = (p for p in sorted(root.rglob("*")) if p.is_file())
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def test_equal_arguments_give_equal_bytes(tmp_path):
    options = {"spaces": ("func1pt8mm", "nativesurface"), "volume_formats": ("nii.gz",)}
    first = contents(simulate(tmp_path / "a", **options, seed=2))
    second = contents(simulate(tmp_path / "b", **options, seed=2))
    assert first == second
    other = contents(simulate(tmp_path / "c", **options, seed=3))
    changed = {name for name in first if first[name] != other.get(name)}
    assert any("betas_session01" in name for name in changed)


def test_a_subject_does_not_depend_on_the_others(tmp_path):
    n = n_pictures(2, 1)
    alone = contents(simulate(tmp_path / "a", n_subjects=1, n=n))
    both = contents(simulate(tmp_path / "b", n_subjects=2, n=n))
    own = [name for name in alone if "subj01" in name]
    assert len(own) > 60
    assert all(alone[name] == both[name] for name in own)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 100}, "`pictures` must be at least 250: 1 subjects see 250 each, 25"),
        ({"spaces": ("func2mm",)}, "`spaces` must be one of .*Did you mean"),
        ({"spaces": ()}, "`spaces` must hold distinct names"),
        ({"volume_formats": ("hdf5", "hdf5")}, "`volume_formats` must hold distinct"),
        ({"preparations": ("b4",)}, "`preparations` must be one of"),
        ({"volume_shape": (9, 9)}, "`volume_shape` must be three numbers"),
        ({"volume_shape": (9, 9, 2)}, "`volume_shape` must be within"),
        ({"n_vertices": (642,)}, "`n_vertices` must be two numbers"),
        ({"n_withheld": 1}, "`n_sessions` must be within .2, 99."),
        ({"n_shared": 300}, "`n_shared` must be within"),
        ({"picture_px": 8}, "`picture_px` must be within"),
        ({"n_nan": -1}, "`n_nan` must be within"),
    ],
)
def test_what_cannot_be_simulated_is_refused_before_writing(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / "nsd", **options)
    assert list(tmp_path.iterdir()) == []


def test_labels_must_match_the_pictures(tmp_path):
    pictures, labels = stimuli(250)
    unknown = pd.DataFrame({"category": [None, *labels["category"][1:]]})
    for wrong, message in (
        (labels[:-1], "`labels` has 249 rows but there are 250 pictures"),
        (labels.rename(columns={"category": "kind"}), "`labels` lacks the columns"),
        (unknown, "`labels` has pictures without a category"),
    ):
        with pytest.raises(ValueError, match=message):
            simulate_nsd(tmp_path / "n", pictures, wrong, n_subjects=1, n_sessions=1)
    with pytest.raises(TypeError, match="`spaces` must be a sequence of names"):
        simulate(tmp_path / "n", spaces="fsaverage")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(tmp_path):
    (tmp_path / "nsd").mkdir()
    (tmp_path / "nsd" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        simulate(tmp_path / "nsd")
    assert [p.name for p in tmp_path.rglob("*")] == ["nsd", "mine.txt"]


def test_too_little_space_is_told_before_writing(tmp_path):
    n = n_pictures(8, 40)
    pictures = LazyPictures(texture, range(n))
    labels = pd.DataFrame({"category": ["face"] * n})
    with pytest.raises(OSError, match=r"needs \d+\.\d GB, but its disk has .* GB left"):
        simulate_nsd(
            tmp_path / "nsd",
            pictures,
            labels,
            n_subjects=8,
            n_sessions=40,
            volume_shape=(500, 500, 500),
        )
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_middle_leaves_nothing(tmp_path):
    def broken(number):
        if number == 200:
            raise RuntimeError("no such picture")
        return texture(number)

    pictures, labels = stimuli(250)
    with pytest.raises(RuntimeError, match="no such picture"):
        simulate_nsd(
            tmp_path / "nsd",
            LazyPictures(broken, range(250)),
            labels,
            n_subjects=1,
            n_sessions=1,
        )
    assert list(tmp_path.iterdir()) == []
    assert len(pictures) == 250


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_simulated_nsd import simulate
simulate({folder!r}, n_sessions=2, volume_shape=(24, 24, 24))
"""


@pytest.mark.slow
def test_a_killed_simulation_leaves_no_folder_that_looks_complete(tmp_path):
    folder = tmp_path / "nsd"
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    part = tmp_path / f"nsd.part-{process.pid}"
    betas = part / "nsddata_betas"
    while not betas.exists() and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not folder.exists()
    assert betas.exists()
    assert not (part / "neurovis_simulation.json").exists()
