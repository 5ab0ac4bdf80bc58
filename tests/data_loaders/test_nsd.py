"""Loading NSD from a tree written here by hand, 750 trials of a few units each."""

import os
import re
import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io

from data_loaders.nsd import check_nsd, describe_nsd, load_nsd, split_nsd
from neurovis.core.errors import DataCorruptError
from neurovis.core.noise_ceiling import explainable_fraction

SHAPE = (3, 2, 2)
B3 = "betas_fithrf_GLMdenoise_RR"
BETAS = "nsddata_betas/ppdata/subj01"
# Trials (from 0) of the four shared positions among 1500 trials of 500 positions.
SHARED_TRIALS = [(0, 10, 20), (5, 15, 800), (749, 750, 1499), (751, 760, 900)]
# Their pictures (from 0) for the two subjects.
SHARED_IM = np.array([[10, 3, 20, 7], [7, 3, 20, 10]])


def make_order():
    order = np.full(1500, -1)
    for position, trials in enumerate(SHARED_TRIALS):
        order[list(trials)] = position
    rest = np.flatnonzero(order < 0)
    order[rest] = 4 + np.arange(len(rest)) % 496
    return order


ORDER = make_order()
IMAGES = np.array(
    [[*SHARED_IM[s], *np.arange(30 + 496 * s, 526 + 496 * s)] for s in range(2)]
)
SHOWN = IMAGES[0][ORDER]


def save_nifti(path, values, dtype=np.float32):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(values, dtype), np.diag([1.8, 1.8, 1.8, 1]))
    nib.save(image, path)


def save_mgh(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values, np.float32)
    axes = values.T[:, None, None] if values.ndim == 2 else values[:, None, None]
    nib.save(nib.MGHImage(np.ascontiguousarray(axes), np.eye(4)), path)


def save_hdf5(path, values, name="betas"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=values)


def make_betas(session):
    """Stored integers, shape (750, X, Y, Z)."""
    rng = np.random.default_rng(session)
    signal = np.random.default_rng(99).normal(size=(1100, *SHAPE))
    shown = signal[SHOWN[750 * (session - 1) : 750 * session]]
    betas = 300 * (session + shown + rng.normal(size=shown.shape))
    return np.round(betas).astype(np.int16)


def write_design(root):
    folder = root / "nsddata/experiments/nsd"
    folder.mkdir(parents=True)
    arrays = {
        "masterordering": ORDER[None] + 1,
        "subjectim": IMAGES + 1,
        "sharedix": np.sort(SHARED_IM[0])[None] + 1,
    }
    scipy.io.savemat(folder / "nsd_expdesign.mat", arrays)
    table = pd.DataFrame({"nsdId": np.arange(1022)})
    table["cocoId"] = 7 * table["nsdId"]
    table["cocoSplit"] = "train2017"
    table["shared1000"] = table["nsdId"].isin(SHARED_IM[0])
    for s in range(2):
        times = IMAGES[s][ORDER]
        for r in range(3):
            trials = [np.flatnonzero(times == i)[r : r + 1] + 1 for i in range(1022)]
            table[f"subject{s + 1}_rep{r}"] = [
                int(t[0]) if len(t) else 0 for t in trials
            ]
    table.to_csv(folder / "nsd_stim_info_merged.csv")


def write_answers(root, subject, n_sessions):
    n = 750 * n_sessions
    run = np.repeat(np.arange(1, 13), [63, 62] * 6)
    trial = np.concatenate([np.arange(1, k + 1) for k in [63, 62] * 6])
    table = pd.DataFrame(
        {
            "SUBJECT": subject,
            "SESSION": np.arange(n) // 750 + 1,
            "RUN": np.tile(run, n_sessions),
            "TRIAL": np.tile(trial, n_sessions),
            "73KID": IMAGES[subject - 1][ORDER[:n]] + 1,
            "10KID": ORDER[:n] + 1,
            "RT": 700.0,
        }
    )
    path = root / f"nsddata/ppdata/subj{subject:02d}/behav/responses.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False)


# Along x, then y, for z = 0 and z = 1.
ROI = np.array([[[1, 0], [2, -1]], [[7, 2], [1, -1]], [[3, 3], [0, 0]]])
NCSNR = np.arange(12.0).reshape(SHAPE) / 10


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A whole tree that tests read only."""
    tmp_path = tmp_path_factory.mktemp("nsd")
    write_design(tmp_path)
    write_answers(tmp_path, 1, 2)
    write_answers(tmp_path, 2, 1)
    for session in (1, 2):
        # MATLAB's X, Y, Z, trial is trial, Z, Y, X here.
        values = make_betas(session).transpose(0, 3, 2, 1)
        save_hdf5(
            tmp_path / BETAS / f"func1pt8mm/{B3}/betas_session{session:02d}.hdf5",
            values,
        )
    save_nifti(tmp_path / BETAS / f"func1pt8mm/{B3}/ncsnr.nii.gz", NCSNR)
    functional = tmp_path / "nsddata/ppdata/subj01/func1pt8mm"
    save_nifti(functional / "roi/prf-visualrois.nii.gz", ROI, np.int16)
    save_nifti(functional / "roi/nsdgeneral.nii.gz", ROI > 0, np.int16)
    save_nifti(functional / "brainmask.nii.gz", ROI >= 0, np.int16)
    pictures = np.zeros((1022, 2, 3, 3), np.uint8)
    pictures[:, 0, 0, 0] = np.arange(1022) % 256
    pictures[:, 0, 0, 1] = np.arange(1022) // 256
    save_hdf5(
        tmp_path / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", pictures, "imgBrick"
    )
    return tmp_path


@pytest.fixture
def root(tree, tmp_path):
    """A copy that tests may change."""
    return Path(shutil.copytree(tree, tmp_path / "nsd"))


ALL = np.arange(12)


def standardise(betas):
    """Population z-scores of (trials, units), in doubles."""
    numbers = betas.astype(np.float64)
    return (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)


def expected_trials(sessions=(1, 2), flat=ALL):
    """Z-scored trials of the voxels at flat places, x fastest."""
    x, y, z = flat % 3, flat // 3 % 2, flat // 6
    return np.concatenate([standardise(make_betas(s)[:, x, y, z]) for s in sessions])


def expected_means(trials, shown):
    return np.array([trials[shown == i].mean(axis=0) for i in np.unique(shown)])


# ------------------------------------------------------------------- loading


def test_rows_are_pictures_and_columns_are_voxels(tree):
    found = load_nsd(tree, 1, mask=np.ones(SHAPE))
    expected = expected_means(expected_trials(), SHOWN)
    assert found.betas.shape == (500, 12)
    assert found.betas.dtype == np.float32
    np.testing.assert_allclose(found.betas, expected, atol=2e-6)
    assert found.stimuli["nsd_id"].tolist() == np.unique(SHOWN).tolist()
    assert found.stimuli["stimulus_id"].tolist()[:3] == [
        "nsd-00003",
        "nsd-00007",
        "nsd-00010",
    ]
    assert set(found.stimuli["n_repeats"]) == {3}
    assert found.stimuli["coco_id"].tolist() == (7 * np.unique(SHOWN)).tolist()
    place = found.units[["x", "y", "z"]].to_numpy()
    assert place[[1, 3, 6]].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert (found.name, found.subject) == ("nsd", "subj01")
    assert found.space.shape == SHAPE
    np.testing.assert_allclose(found.space.affine, np.diag([1.8, 1.8, 1.8, 1]))


def test_shared_pictures_know_how_often_all_subjects_saw_them(tree):
    stimuli = load_nsd(tree, "subj01", regions="V1").stimuli.set_index("nsd_id")
    assert stimuli.index[stimuli["shared"]].tolist() == [3, 7, 10, 20]
    # Subject 2 has one session, with 7 three times, 3 twice, 20 once and 10 never.
    assert stimuli.loc[[3, 7, 10, 20], "n_repeats_all"].tolist() == [2, 3, 0, 1]
    assert (stimuli.loc[~stimuli["shared"], "n_repeats_all"] == 0).all()


@pytest.mark.parametrize(
    "name",
    [
        f"{B3}/betas_session02.hdf5.part",
        f"{B3}/._betas_session02.hdf5",
        f"{B3}/meanbetas_session02.nii.gz",
        "restingbetas_fithrf/betas_session02.nii.gz",
    ],
)
def test_only_betas_of_the_task_make_a_session_known(root, name):
    (root / "nsddata/ppdata/subj02/behav/responses.tsv").unlink()
    folder = root / "nsddata_betas/ppdata/subj02/func1pt8mm"
    save_hdf5(folder / B3 / "betas_session01.hdf5", np.zeros((750, 2, 2, 3)))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    found = load_nsd(root, 1, regions="V1")
    assert "n_repeats_all counts sessions of the subjects: 2, 1." in found.notes
    stimuli = found.stimuli.set_index("nsd_id")
    assert stimuli.loc[[3, 7, 10, 20], "n_repeats_all"].tolist() == [2, 3, 0, 1]
    # Half a session was measured all the same.
    (folder / B3 / "lh.betas_session02.hdf5").write_bytes(b"x")
    found = load_nsd(root, 1, regions="V1")
    assert "n_repeats_all counts sessions of the subjects: 2, 2." in found.notes


def test_labels_and_ceilings_belong_to_their_voxels(tree):
    found = load_nsd(tree, 1, mask=np.ones(SHAPE))
    units = found.units.set_index("unit_id")
    assert units.loc["x1-y0-z0", "prf-visualrois"] == "hV4"
    assert units.loc["x2-y1-z0", "prf-visualrois"] == ""
    assert pd.isna(units.loc["x0-y1-z1", "prf-visualrois"])
    assert units.loc["x2-y0-z1", "prf-visualrois"] == "V2v"
    assert units.loc["x1-y0-z1", "ncsnr_published"] == np.float32(0.5)
    assert found.families == ("prf-visualrois", "nsdgeneral")
    assert found.regions()["prf-visualrois"] == ["V1v", "V1d", "V2v", "hV4"]
    assert found.in_region("V1").sum() == 4


def test_computed_ncsnr_is_that_of_pictures_with_three_trials(tree):
    found = load_nsd(tree, 1, mask=np.ones(SHAPE))
    trials = expected_trials()
    three = np.array([trials[i == SHOWN] for i in np.unique(SHOWN)])
    noise = three.var(axis=1, ddof=1).mean(axis=0)
    total = three.reshape(-1, 12).var(axis=0, ddof=1)
    expected = np.sqrt(np.maximum(total - noise, 0) / noise)
    np.testing.assert_allclose(found.units["ncsnr"], expected, rtol=1e-5)
    assert expected.min() > 0.5


def test_single_trials_are_chronological(tree):
    found = load_nsd(tree, 1, mask=np.ones(SHAPE), average=False)
    np.testing.assert_allclose(found.betas, expected_trials(), atol=2e-6)
    stimuli = found.stimuli
    assert stimuli["nsd_id"].tolist() == SHOWN.tolist()
    assert stimuli["session"].tolist() == [1] * 750 + [2] * 750
    assert stimuli["trial"].tolist() == list(range(1500))
    assert stimuli.loc[[749, 750, 1499], "repeat"].tolist() == [0, 1, 2]
    betas, ids = found.repeats(3)
    assert betas.shape == (500, 3, 12)
    assert ids[3] == "nsd-00020"
    np.testing.assert_array_equal(betas[3], found.betas[[749, 750, 1499]])


def test_without_z_scores_betas_are_percent(tree):
    found = load_nsd(tree, 1, mask=np.ones(SHAPE), average=False, z_score=False)
    stored = make_betas(2)[7, 2, 1, 0]
    assert found.betas[757, 5] == np.float32(stored) / np.float32(300)


@pytest.mark.parametrize("kind", ["nii.gz", "nii", "mat", "hdf5"])
def test_all_formats_of_volumes_give_the_same(root, kind):
    expected = load_nsd(root, 1, mask=np.ones(SHAPE))
    folder = root / BETAS / "func1pt8mm/other"
    for session in (1, 2):
        betas, name = make_betas(session), f"betas_session{session:02d}.{kind}"
        if kind.startswith("nii"):
            save_nifti(folder / name, np.moveaxis(betas, 0, -1), np.int16)
        else:
            save_hdf5(folder / name, betas.transpose(0, 3, 2, 1))
    found = load_nsd(root, 1, preparation="other", mask=np.ones(SHAPE))
    np.testing.assert_array_equal(found.betas, expected.betas)
    assert found.units["unit_id"].tolist() == expected.units["unit_id"].tolist()


def save_surfaces(root, space, n_left=5, n_right=7, scale=300):
    """Hemispheres that take voxels 0 to 4 and 5 to 11 of the volume."""
    folder = root / BETAS / space / B3
    suffix = "mgh" if space == "fsaverage" else "hdf5"
    for session in (1, 2):
        flat = make_betas(session).transpose(0, 3, 2, 1).reshape(750, 12)
        for h, part in (("lh", flat[:, :n_left]), ("rh", flat[:, n_left:])):
            path = folder / f"{h}.betas_session{session:02d}.{suffix}"
            if suffix == "mgh":
                save_mgh(path, part / np.float32(scale))
            else:
                save_hdf5(path, part)


@pytest.mark.parametrize("space", ["fsaverage", "nativesurface"])
def test_surfaces_give_the_same_left_before_right(root, space):
    save_surfaces(root, space)
    found = load_nsd(root, 1, space=space, average=False, z_score=False)
    raw = np.concatenate([make_betas(s) for s in (1, 2)]).transpose(0, 3, 2, 1)
    percent = raw.reshape(1500, 12).astype(np.float32) / np.float32(300)
    np.testing.assert_allclose(found.betas, percent, rtol=1e-6)
    ids = ["lh-0", "lh-1", "lh-2", "lh-3", "lh-4", *(f"rh-{v}" for v in range(7))]
    assert found.units["unit_id"].tolist() == ids
    assert found.space.n_vertices == (5, 7)


def test_undefined_vertices_are_dropped_or_stay_undefined(root):
    save_surfaces(root, "fsaverage")
    path = root / BETAS / "fsaverage" / B3 / "rh.betas_session02.mgh"
    values = np.asarray(nib.MGHImage.from_bytes(path.read_bytes()).dataobj)[:, 0, 0].T
    values[3, 1] = np.nan
    save_mgh(path, values)
    found = load_nsd(root, 1, space="fsaverage")
    assert "rh-1" not in set(found.units["unit_id"])
    assert found.n_units == 11
    kept = load_nsd(root, 1, space="fsaverage", incomplete="nan")
    assert np.flatnonzero(np.isnan(kept.betas).any(axis=0)).tolist() == [6]
    assert np.isnan(kept.betas[:, 6]).all()


def test_pictures_stand_beside_their_rows(tree):
    for average in (True, False):
        found = load_nsd(tree, 1, regions="V1", average=average)
        for row in (0, 3, 77, 499):
            code = found.pictures[row][0, 0]
            assert int(code[0]) + 256 * int(code[1]) == found.stimuli["nsd_id"][row]
    assert load_nsd(tree, 1, regions="V1", pictures=False).pictures is None


def test_without_the_file_of_pictures_a_note_says_so(root):
    (root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5").unlink()
    found = load_nsd(root, 1, regions="V1")
    assert found.pictures is None
    assert any("responses have no pictures" in note for note in found.notes)


# ----------------------------------------------------------------- selection


def places(responses):
    table = responses.units[["x", "y", "z"]].to_numpy()
    return [tuple(row) for row in table.tolist()]


def test_regions_are_joined(tree):
    found = load_nsd(tree, 1, regions=["V1d", "hV4"])
    # x fastest: the places of the values 2 and 7.
    assert places(found) == [(1, 0, 0), (0, 1, 0), (1, 0, 1)]
    flat = np.array([1, 3, 7])
    expected = expected_means(expected_trials(flat=flat), SHOWN)
    np.testing.assert_allclose(found.betas, expected, atol=2e-6)
    with pytest.raises(KeyError, match=r"no region 'V4'.*hV4"):
        load_nsd(tree, 1, regions="V4")


def test_a_region_is_found_in_a_family_that_was_not_asked_for(root):
    roi = root / "nsddata/ppdata/subj01/func1pt8mm/roi"
    save_nifti(roi / "Kastner2015.nii.gz", np.where(ROI == 3, 8, -1), np.int16)
    found = load_nsd(root, 1, regions="Kastner2015:VO1")
    assert places(found) == [(2, 0, 0), (2, 0, 1)]
    assert load_nsd(root, 1, regions="Kastner2015").n_units == 2
    assert load_nsd(root, 1, regions="V1").families == ("prf-visualrois", "nsdgeneral")
    only = load_nsd(root, 1, families=["Kastner2015"], mask=ROI == 3)
    assert only.families == ("Kastner2015",)


def test_without_a_choice_the_brainmask_is_used(root):
    found = load_nsd(root, 1)
    assert found.n_units == 10
    assert "Units are those of the brainmask." in found.notes
    (root / "nsddata/ppdata/subj01/func1pt8mm/brainmask.nii.gz").unlink()
    assert load_nsd(root, 1).n_units == 12


def test_a_mask_is_an_array_or_a_file(tree, tmp_path):
    mask = np.zeros(SHAPE, bool)
    mask[2, 0, 1] = mask[0, 1, 0] = True
    assert places(load_nsd(tree, 1, mask=mask)) == [(0, 1, 0), (2, 0, 1)]
    save_nifti(tmp_path / "mask.nii.gz", mask, np.uint8)
    for path in (tmp_path / "mask.nii.gz", str(tmp_path / "mask.nii.gz")):
        assert places(load_nsd(tree, 1, mask=path)) == [(0, 1, 0), (2, 0, 1)]
    both = load_nsd(tree, 1, mask=mask, regions="V1d")
    assert places(both) == [(0, 1, 0)]


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        (np.ones((2, 2, 3)), r"`mask` must have shape \(3, 2, 2\)"),
        (np.full(SHAPE, 0.5), "0 and 1 or False and True only; it holds 0.5"),
        (np.full(SHAPE, np.nan), "it holds nan"),
        (np.zeros(SHAPE), "No unit of subj01 func1pt8mm is left"),
    ],
)
def test_a_wrong_mask_is_refused(tree, mask, match):
    with pytest.raises(ValueError, match=match):
        load_nsd(tree, 1, mask=mask)


def test_units_below_a_published_ceiling_are_left_out(tree):
    found = load_nsd(tree, 1, min_ncsnr=0.75)
    # NCSNR = (4 x + 2 y + z) / 10 inside the brainmask.
    assert places(found) == [(2, 0, 0), (2, 1, 0), (2, 0, 1), (2, 1, 1)]
    with pytest.raises(ValueError, match="`min_ncsnr` must be within"):
        load_nsd(tree, 1, min_ncsnr=-1)
    with pytest.raises(ValueError, match="Ask for less"):
        load_nsd(tree, 1, min_ncsnr=9)


def test_without_a_file_the_computed_ceiling_decides(root, tmp_path):
    (root / BETAS / f"func1pt8mm/{B3}/ncsnr.nii.gz").unlink()
    whole = load_nsd(root, 1)
    assert "ncsnr_published" not in whole.units
    limit = float(whole.units["ncsnr"].median())
    good = (whole.units["ncsnr"] >= limit).to_numpy()
    assert good.sum() == 5
    for store in (None, tmp_path / "store"):
        found = load_nsd(root, 1, min_ncsnr=limit, store=store)
        np.testing.assert_array_equal(found.betas, whole.betas[:, good])
        assert any("min_ncsnr was applied to values computed" in n for n in found.notes)
    with pytest.raises(ValueError, match="No unit has a computed ncsnr of 50"):
        load_nsd(root, 1, min_ncsnr=50)


def test_a_store_gives_the_same_the_second_time(tree, tmp_path):
    calls = [load_nsd(tree, 1, store=tmp_path / "store") for _ in range(2)]
    direct = load_nsd(tree, 1)
    for found in calls:
        np.testing.assert_array_equal(found.betas, direct.betas)
        pd.testing.assert_frame_equal(found.stimuli, direct.stimuli)
        pd.testing.assert_frame_equal(found.units, direct.units)
        assert found.pictures[3].tolist() == direct.pictures[3].tolist()


# ------------------------------------------------------------------ sessions


def test_some_sessions_are_those_of_their_number(tree):
    found = load_nsd(tree, 1, mask=np.ones(SHAPE), sessions=[2])
    shown = SHOWN[750:]
    expected = expected_means(expected_trials((2,)), shown)
    np.testing.assert_allclose(found.betas, expected, atol=2e-6)
    stimuli = found.stimuli.set_index("nsd_id")
    assert stimuli.loc[[20, 7, 3], "n_repeats"].tolist() == [2, 3, 1]
    assert 10 not in stimuli.index
    assert "Sessions not used: 1 of 2." in found.notes


def test_the_order_of_named_sessions_does_not_matter(tree):
    one, other = (
        load_nsd(tree, 1, sessions=s, average=False) for s in ([2, 1], [1, 2])
    )
    np.testing.assert_array_equal(one.betas, other.betas)
    pd.testing.assert_frame_equal(one.stimuli, other.stimuli)


def test_a_withheld_last_session_is_left_out_and_told(root):
    (root / BETAS / f"func1pt8mm/{B3}/betas_session02.hdf5").unlink()
    found = load_nsd(root, 1)
    assert len(found) == len(np.unique(SHOWN[:750]))
    assert "Sessions not used: 2 of 2." in found.notes


def test_a_missing_session_in_the_middle_must_be_wanted(root):
    (root / BETAS / f"func1pt8mm/{B3}/betas_session01.hdf5").unlink()
    with pytest.raises(ValueError, match=r"missing sessions: 1\..*sessions=\[2, "):
        load_nsd(root, 1)
    assert set(load_nsd(root, 1, sessions=[2], average=False).stimuli["session"]) == {2}


def test_simulated_data_say_so(root):
    assert not any("Simulated" in note for note in load_nsd(root, 1).notes)
    (root / "neurovis_simulation.json").write_text("{}")
    assert any(n.startswith("Simulated data:") for n in load_nsd(root, 1).notes)


# -------------------------------------------------------------------- splits


def test_no_shared_picture_is_ever_trained_on(tree):
    expected = {
        "shared": {3, 7, 10, 20},
        "shared-907": {3, 7, 20},
        "shared-766": {3, 7},
        "shared-515": {7},
    }
    for average in (True, False):
        found = load_nsd(tree, 1, regions="V1", average=average)
        for test, ids in expected.items():
            rows = split_nsd(found, test)
            picture = found.stimuli["nsd_id"].to_numpy()
            assert set(picture[rows["test"]]) == ids
            assert not set(picture[rows["train"]]) & {3, 7, 10, 20}
            assert len(np.unique(picture[rows["train"]])) == 496
            assert (np.diff(rows["train"]) > 0).all()


def test_a_split_that_is_not_there_is_refused(tree):
    found = load_nsd(tree, 1, regions="V1")
    with pytest.raises(
        ValueError, match=r"`test` must be one of 'shared', 'shared-907'"
    ):
        split_nsd(found, "shared-1000")
    own = found.select_stimuli(~found.stimuli["shared"].to_numpy())
    with pytest.raises(ValueError, match=r"test part .* empty: of 496 rows 0 show"):
        split_nsd(own)
    shared = found.select_stimuli(found.stimuli["shared"].to_numpy())
    with pytest.raises(ValueError, match=r"train part .* is empty"):
        split_nsd(shared)


# -------------------------------------------------------------------- faults


def swap_axes(root):
    values = make_betas(2).transpose(0, 1, 2, 3)
    save_hdf5(root / BETAS / f"func1pt8mm/{B3}/betas_session02.hdf5", values)


def other_brain(root):
    path = root / "nsddata/ppdata/subj01/func1pt8mm/brainmask.nii.gz"
    save_nifti(path, np.ones((2, 3, 2)), np.int16)


def cut_session(root):
    path = root / BETAS / f"func1pt8mm/{B3}/betas_session02.hdf5"
    os.truncate(path, path.stat().st_size // 2)


def drop_trials(root):
    values = make_betas(2).transpose(0, 3, 2, 1)[:749]
    save_hdf5(root / BETAS / f"func1pt8mm/{B3}/betas_session02.hdf5", values)


def other_mask(root):
    path = root / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz"
    save_nifti(path, np.zeros((2, 2, 3)), np.int16)


def other_ncsnr(root):
    save_nifti(root / BETAS / f"func1pt8mm/{B3}/ncsnr.nii.gz", np.zeros((3, 2, 1)))


def short_brick(root):
    path = root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    save_hdf5(path, np.zeros((400, 2, 3, 3), np.uint8), "imgBrick")


def other_csv(root):
    path = root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
    table = pd.read_csv(path, index_col=0)
    table.assign(nsdId=table["nsdId"] + 1).to_csv(path)


def other_answers(root):
    path = root / "nsddata/ppdata/subj01/behav/responses.tsv"
    table = pd.read_csv(path, sep="\t")
    table["73KID"] -= 1
    table["73KID"] = table["73KID"].clip(lower=1)
    table.to_csv(path, sep="\t", index=False)


def wrong_ctab(root):
    folder = root / "nsddata/freesurfer/subj01/label"
    folder.mkdir(parents=True)
    (folder / "prf-visualrois.mgz.ctab").write_text("0 Unknown\n1 OPA\n2 PPA\n3 RSC\n")


FAULTS = [
    (swap_axes, "swapped"),
    (other_brain, "swapped"),
    (cut_session, r"betas_session02\.hdf5"),
    (drop_trials, "749"),
    (other_mask, "axes are swapped"),
    (other_ncsnr, r"ncsnr.*grid \(3, 2, 1\)"),
    (short_brick, "400 pictures"),
    (other_csv, "as shared and"),
    (other_answers, "contradict each other"),
    (wrong_ctab, r"values \[7\].*does not name"),
]


@pytest.mark.parametrize(("damage", "match"), FAULTS)
def test_damage_ends_in_one_clear_error(root, damage, match):
    damage(root)
    with pytest.raises(DataCorruptError, match=match):
        load_nsd(root, 1, mask=np.ones(SHAPE))
    with pytest.raises(DataCorruptError, match=match):
        check_nsd(root)


def test_a_missing_design_is_named(root):
    (root / "nsddata/experiments/nsd/nsd_expdesign.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"nsd_expdesign\.mat"):
        load_nsd(root, 1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"subject": 3}, "no betas of subj03"),
        ({"space": "func1mm"}, "`space` must be one of"),
        ({"preparation": "b2"}, "`preparation` must be one of"),
        ({"incomplete": "keep"}, "`incomplete` must be one of"),
        ({"sessions": [1, 1]}, "comes twice"),
        ({"regions": []}, "`regions` must name at least one"),
    ],
)
def test_wrong_arguments_are_refused(tree, options, match):
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        load_nsd(tree, **{"subject": 1} | options)


# -------------------------------------------------------- description, check


def test_the_description_tells_trials_units_ceilings_and_memory(tree):
    text = "\n".join(describe_nsd(tree))
    assert "measured: 2 subjects planned" in text
    assert f"subj01: func1pt8mm ({B3})" in text
    assert "subj02: no betas" in text
    assert "sessions: 2 1" in text
    assert "shared pictures: 4; seen by all subjects: 3 at least once, 2 at" in text
    assert "sessions 1-2; stored numbers are divided by 300" in text
    assert "1500 trials of 500 pictures (500 three times), 4 of them shared" in text
    median = np.median(explainable_fraction(NCSNR[ROI >= 0], [3]))
    assert f"voxels (median noise ceiling): 10 ({median:.2f})" in text
    v1v = np.median(explainable_fraction(NCSNR[ROI == 1], [3]))
    assert f"prf-visualrois: V1v 2 ({v1v:.2f}), V1d 2" in text
    assert "memory: result 0.0 MiB, work files 0.0 MiB, process" in text
    assert "blocks of 10 units: 1" in text


def test_the_description_tells_what_there_is_when_nothing_fits(tree):
    lines = describe_nsd(tree, space="fsaverage", preparation="b3")
    assert lines[-1] == "  no subject has b3 in fsaverage: choose another"
    assert any(B3 in line for line in lines)


def test_the_description_follows_the_choice(tree):
    lines = describe_nsd(tree, 1, sessions=[1], regions="V1", average=False)
    text = "\n".join(lines)
    # Session 1 shows 7 never, 20 once, 3 twice, 10 three times, the others ...
    counts = pd.Series(SHOWN[:750]).value_counts().value_counts()
    assert f"{counts[1]} once, {counts[2]} twice" in text
    assert "3 of them shared" in text
    assert "voxels (median noise ceiling): 4 (" in text
    assert "Sessions not used: 2 of 2." in text


def test_a_whole_tree_passes_and_is_listed(root):
    save_surfaces(root, "fsaverage")
    lines = check_nsd(root)
    text = "\n".join(lines)
    assert "2 subjects, 2 sessions, 4 shared pictures, measured" in text
    tables = (
        "nsd_stim_info_merged.csv, responses.tsv of subj01, responses.tsv of subj02"
    )
    assert f"the same order of pictures in {tables}" in text
    assert "sessions of the subjects: 2 1" in text
    assert "1022 pictures" in text
    grid = "sessions 1-2, grid (3, 2, 2), divided by 300"
    assert f"subj01 func1pt8mm {B3}: {grid}" in text
    surface = "sessions 1-2, grid (5,) and (7,), divided by 1"
    assert f"subj01 fsaverage {B3}: {surface}" in text
    assert "subj01 func1pt8mm: regions prf-visualrois, nsdgeneral" in text


def save_rest(root, session, n_trials, name="restingbetas_fithrf"):
    values = np.ones((*SHAPE, n_trials))
    path = root / BETAS / f"func1pt8mm/{name}/betas_session{session:02d}.nii.gz"
    save_nifti(path, values, np.int16)


def test_other_preparations_may_have_gaps_and_other_numbers_of_trials(root):
    expected = check_nsd(root)
    for session, n_trials in ((2, 10), (3, 10), (9, 12)):
        save_rest(root, session, n_trials)
    # It comes before the others by name, but its grid is not the measure.
    save_rest(root, 2, 5, name="another")
    lines = check_nsd(root)
    told = [line for line in lines if line not in expected]
    grid = "grid (3, 2, 2), divided by 300"
    assert told == [
        f"subj01 func1pt8mm another: sessions 2, {grid}, 5 trials each",
        f"subj01 func1pt8mm restingbetas_fithrf: sessions 2-3, 9, {grid}, 10 to 12 "
        "trials each",
    ]
    assert [line for line in lines if line in expected] == expected
    save_nifti(
        root / BETAS / "func1pt8mm/another/betas_session02.nii.gz",
        np.ones((2, 3, 2, 5)),
        np.int16,
    )
    with pytest.raises(DataCorruptError, match=r"1 problem:\n.*another.*swapped"):
        check_nsd(root)


def test_half_sessions_of_other_preparations_are_told(root):
    for name in ("lh.betas_session04.mgh", "lh.betas_session02.mgh"):
        save_mgh(root / BETAS / "fsaverage/resting" / name, np.ones((6, 5)))
    line = "subj01 fsaverage resting: one hemisphere only of sessions 2, 4"
    assert line in check_nsd(root)
    save_mgh(root / BETAS / "fsaverage/resting/rh.betas_session02.mgh", np.ones((6, 7)))
    line = (
        "subj01 fsaverage resting: sessions 2, grid (5,) and (7,), divided by 1, 6 "
        "trials each, one hemisphere only of sessions 4"
    )
    assert line in check_nsd(root)


@pytest.mark.parametrize("name", ["betas_assumehrf", "betas_fithrf", B3])
def test_preparations_of_the_task_need_all_sessions_and_trials(root, name):
    shutil.rmtree(root / BETAS / "func1pt8mm" / B3)
    save_rest(root, 1, 749, name=name)
    with pytest.raises(DataCorruptError, match=r"1 problem:\n.*749"):
        check_nsd(root)
    save_rest(root, 1, 750, name=name)
    save_rest(root, 3, 750, name=name)
    with pytest.raises(DataCorruptError, match=rf"{name}: missing sessions: 2\. Get"):
        check_nsd(root)


def test_all_that_is_wrong_is_told_at_once(root):
    for damage, _ in FAULTS[3:]:
        damage(root)
    with pytest.raises(DataCorruptError, match="has 7 problems") as caught:
        check_nsd(root)
    _, *lines = str(caught.value).splitlines()
    assert len(lines) == 7
    assert all(line.startswith("- ") for line in lines)
    for _, match in FAULTS[3:]:
        assert sum(bool(re.search(match, line)) for line in lines) == 1


def test_no_more_than_ten_problems_are_listed(root):
    folder = root / BETAS / "func1pt8mm"
    for i in range(12):
        save_hdf5(folder / f"other{i:02d}/betas_session01.hdf5", np.zeros((3, 2, 2, 4)))
    with pytest.raises(DataCorruptError, match="has 12 problems") as caught:
        check_nsd(root)
    lines = str(caught.value).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "- ... and 2 more"
