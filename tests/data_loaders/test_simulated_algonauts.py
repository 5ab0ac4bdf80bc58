"""Simulated trees of Algonauts 2023: what is in them is what they declare."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_loaders.simulated_algonauts import split_trials
from data_loaders.simulated_design import make_design
from data_loaders.synthetic import (
    SimulatedBrain,
    n_pictures,
    simulate_algonauts,
    simulate_nsd,
)
from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import LazyPictures

CATEGORIES = np.array(["body", "face", "object", "place", "word"])
FAMILIES = [f"floc-{kind}" for kind in ("bodies", "faces", "places", "words")]
FAMILIES += ["prf-visualrois", "streams"]


def picture(number):
    rng = np.random.default_rng(number)
    return np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((4, 4, 1))).astype(np.uint8)


def stimuli(n):
    category = CATEGORIES[np.arange(n) % 5]
    return LazyPictures(picture, range(n)), pd.DataFrame({"category": category})


OPTIONS = {"n_sessions": (3, 2), "n_vertices": (642, 700), "seed": 1}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return simulate_algonauts(
        tmp_path_factory.mktemp("simulated") / "algonauts",
        *stimuli(n_pictures(2, 3)),
        n_test_sessions=1,
        picture_px=32,
        n_nan=2,
        brain=SimulatedBrain(ncsnr=1.0),
        **OPTIONS,
    )


@pytest.fixture(scope="module")
def design():
    return make_design(n_pictures(2, 3), (3, 2), n_shared=75, seed=1)


def numbers_of(folder):
    names = sorted(p.name for p in folder.iterdir())
    ranks = [int(name[-18:].split("_")[0].split("-")[-1]) for name in names]
    assert ranks == list(range(1, len(names) + 1))
    return names, np.array([int(name.split("nsd-")[1][:5]) for name in names])


def test_names_of_pictures_sort_by_rank_and_number(tree):
    for subject in ("subj01", "subj02"):
        folder = tree / subject / "training_split/training_images"
        names, numbers = numbers_of(folder)
        assert names[0].startswith("train-0001_nsd-")
        assert (np.diff(numbers) > 0).all()
        found = np.asarray(Image.open(folder / names[3]).convert("RGB"))
        assert np.array_equal(found, picture(numbers[3]))
        tests, others = numbers_of(tree / subject / "test_split/test_images")
        assert tests[0].startswith("test-0001_nsd-")
        assert not set(numbers) & set(others)


def test_the_split_follows_the_rules_of_the_challenge(tree, design):
    shared = set(design.sharedix - 1)
    for subject, n_sessions in ((1, 3), (2, 2)):
        folder = tree / f"subj{subject:02d}"
        _, train = numbers_of(folder / "training_split/training_images")
        _, test = numbers_of(folder / "test_split/test_images")
        shown = design.subjectim[subject - 1, design.masterordering - 1] - 1
        shown = shown[: 750 * n_sessions]
        early, late = np.split(shown, [750 * (n_sessions - 1)])
        assert set(train) == set(early)
        only_late = set(late) - set(early)
        thrice = {i for i in only_late & shared if (late == i).sum() == 3}
        expected = only_late - shared
        if subject == 1:  # with the most sessions
            assert thrice
            expected |= thrice
        assert set(test) == expected


def test_responses_are_averages_of_z_scores_of_the_same_betas(tree, tmp_path, design):
    nibabel = pytest.importorskip("nibabel")
    nsd = simulate_nsd(
        tmp_path / "nsd",
        *stimuli(n_pictures(2, 3)),
        n_subjects=2,
        spaces=("fsaverage",),
        volume_shape=(6, 6, 6),
        picture_px=32,
        n_incomplete=0,
        n_nan=2,
        brain=SimulatedBrain(ncsnr=1.0),
        **OPTIONS,
    )
    betas = "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR"
    scores = []
    for session in (1, 2, 3):
        path = nsd / betas / f"rh.betas_session{session:02d}.mgh"
        image = nibabel.MGHImage.from_bytes(path.read_bytes())
        values = np.asarray(image.dataobj)[:, 0, 0].astype(np.float64)
        with np.errstate(invalid="ignore"):
            centred = values - values.mean(axis=1, keepdims=True)
            scores.append(centred / centred.std(axis=1, keepdims=True))
    scores = np.concatenate(scores, axis=1)
    shown = design.subjectim[0, design.masterordering - 1] - 1
    masks = tree / "subj01/roi_masks"
    inside = np.load(masks / "rh.all-vertices_fsaverage_space.npy") == 1
    assert np.isfinite(scores[inside]).all()
    for part, name, trials in (
        ("training", "training_split", slice(0, 1500)),
        ("test", "test_split", slice(1500, 2250)),
    ):
        _, numbers = numbers_of(tree / "subj01" / name / f"{part}_images")
        found = np.load(tree / "subj01" / name / f"{part}_fmri/rh_{part}_fmri.npy")
        assert found.dtype == np.float32
        assert found.shape == (len(numbers), inside.sum())
        for row in (0, len(numbers) // 2, len(numbers) - 1):
            chosen = np.flatnonzero(shown[trials] == numbers[row]) + trials.start
            expected = scores[inside][:, chosen].mean(axis=1)
            assert np.allclose(found[row], expected, atol=1e-5)


def test_masks_in_both_spaces_agree_and_leave_out_nan(tree):
    for subject in ("subj01", "subj02"):
        folder = tree / subject / "roi_masks"
        truth = read_table(tree / "neurovis_simulation" / f"{subject}.parquet")
        assert not truth["is_nan"].any()
        rsc = truth["floc-places"] == "RSC"
        assert ((truth["nsdgeneral"] != "") | rsc).all()
        for half, n in (("lh", 642), ("rh", 700)):
            here = truth[truth["hemisphere"] == half]
            inside = np.load(folder / f"{half}.all-vertices_fsaverage_space.npy")
            assert inside.shape == (n,)
            assert np.flatnonzero(inside).tolist() == here["vertex"].tolist()
            for family in FAMILIES:
                whole = np.load(folder / f"{half}.{family}_fsaverage_space.npy")
                some = np.load(folder / f"{half}.{family}_challenge_space.npy")
                assert whole.shape == (n,)
                assert np.array_equal(whole[inside == 1], some)
                mapping = np.load(folder / f"mapping_{family}.npy", allow_pickle=True)
                names = mapping.item()
                assert names[0] == "Unknown"
                found = [names[i] if i else "" for i in some]
                assert found == here[family].tolist()


def test_noise_ceilings_follow_the_true_signal(tree):
    folder = tree / "subj01/test_split"
    truth = read_table(tree / "neurovis_simulation/subj01.parquet")
    ceiling = np.concatenate(
        [np.load(folder / f"noise_ceiling/{h}_noise_ceiling.npy") for h in ("lh", "rh")]
    )
    driven = (truth["ncsnr"] > 0).to_numpy()
    assert ((ceiling >= 0) & (ceiling <= 1)).all()
    # ncsnr 1: 1 / (1 + kappa), where kappa is the mean of 1 / trials of the test.
    _, numbers = numbers_of(folder / "test_images")
    design = make_design(n_pictures(2, 3), (3, 2), n_shared=75, seed=1)
    shown = design.subjectim[0, design.masterordering - 1] - 1
    kappa = np.mean([1 / (shown[1500:] == i).sum() for i in numbers])
    assert np.median(ceiling[driven]) == pytest.approx(1 / (1 + kappa), rel=0.05)
    assert np.median(ceiling[~driven]) < 0.02


def test_the_folder_is_marked_and_the_test_can_be_kept_back(tree, tmp_path):
    found = read_json(tree / "neurovis_simulation.json")
    assert found["simulated"] is True
    assert found["form"] == "algonauts"
    assert (tree / "neurovis_simulation/pictures.parquet").exists()
    hidden = simulate_algonauts(
        tmp_path / "a",
        *stimuli(n_pictures(1, 2)),
        n_subjects=1,
        n_sessions=2,
        n_test_sessions=1,
        n_vertices=(162, 162),
        with_test=False,
    )
    names = [p.name for p in (hidden / "subj01/test_split").iterdir()]
    assert names == ["test_images"]


def test_a_test_without_pictures_is_refused():
    design = make_design(2000, (2,), n_shared=500, seed=0)
    design.masterordering[750:] = design.masterordering[:750]
    with pytest.raises(ValueError, match="no picture for the test"):
        split_trials(design, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_test_sessions": 3, "n_sessions": 3}, "`n_sessions` must be within .4, 99"),
        ({"n_test_sessions": 0}, "`n_test_sessions` must be within"),
        ({"n_subjects": 3}, "`pictures` must be at least"),
        ({"n_vertices": (642, 3)}, "`n_vertices` must be within"),
    ],
)
def test_impossible_challenges_are_refused_before_writing(tmp_path, options, message):
    options = {"n_subjects": 1, "n_sessions": 4} | options
    with pytest.raises(ValueError, match=message):
        simulate_algonauts(tmp_path / "a", *stimuli(1000), **options)
    assert list(tmp_path.iterdir()) == []
