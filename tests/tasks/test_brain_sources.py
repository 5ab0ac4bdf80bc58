"""Brain data as a user asks for them: sources, splits, ceilings."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data_loaders.synthetic import simulate_algonauts, simulate_nsd
from neurovis.core.unit_responses import UnitResponses, save_responses
from stimuli.category_pictures import make_category_pictures
from tasks.brain_sources import (
    RDM_SOURCES,
    UNIT_SOURCES,
    BrainData,
    Split,
    check_split,
    fingerprint_responses,
    load_brain,
    load_rdms,
    split_rows,
    split_source,
    unit_ceilings,
)


def make_responses(ids="aabbccdd", n_units=4, **units):
    ids = list(ids)
    rng = np.random.default_rng(0)
    table = {"unit_id": [f"u{i}" for i in range(n_units)], "area": ["V1", "V4"] * 2}
    return UnitResponses(
        "tiny",
        "s1",
        rng.standard_normal((len(ids), n_units)).astype(np.float32),
        pd.DataFrame({"stimulus_id": ids, "n_repeats": 1}),
        pd.DataFrame(table | units),
        families=("area",),
    )


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Simulated NSD of two subjects and Algonauts of one."""
    root = tmp_path_factory.mktemp("trees")
    drawn = make_category_pictures(500, size_px=16)
    pictures = list(drawn.images)
    small = {"n_vertices": (162, 162), "picture_px": 16}
    simulate_nsd(
        root / "nsd",
        pictures,
        drawn.table,
        n_subjects=2,
        n_sessions=1,
        volume_shape=(10, 12, 10),
        **small,
    )
    simulate_algonauts(
        root / "algonauts",
        pictures,
        drawn.table,
        n_subjects=1,
        n_sessions=2,
        n_test_sessions=1,
        **small,
    )
    return root


# --------------------------------------------------------------------- sources


def test_sources_are_taken_apart_and_unknown_ones_refused(tmp_path):
    assert split_source(f"nsd:{tmp_path}") == ("nsd", tmp_path)
    with pytest.raises(ValueError, match="must be NAME:PATH with NAME one of nsd"):
        split_source(str(tmp_path))
    with pytest.raises(ValueError, match="Did you mean 'nsd'"):
        split_source(f"nds:{tmp_path}")
    with pytest.raises(FileNotFoundError, match="folder of nsd"):
        split_source("nsd:nowhere")
    with pytest.raises(TypeError, match="must be text such as"):
        split_source(tmp_path)


def test_subjects_and_regions_of_nsd_are_chosen(trees):
    both = load_brain(f"nsd:{trees / 'nsd'}", regions=["V1"])
    assert [brain.subject for brain in both] == ["subj01", "subj02"]
    for brain in both:
        assert brain.responses.in_region("V1").all()
        assert brain.test == "shared"
        assert brain.is_simulated
        assert brain.name == f"nsd {brain.subject}"
    (second,) = load_brain(f"nsd:{trees / 'nsd'}", subjects=[2], min_ncsnr=0.3)
    assert second.subject == "subj02"
    assert second.responses.n_units < both[1].responses.n_units + 10_000
    assert (second.responses.units["ncsnr_published"] >= 0.3).all()
    (surface,) = load_brain(f"nsd:{trees / 'nsd'}", subjects=[1], space="fsaverage")
    assert surface.responses.space.name == "fsaverage"


def test_algonauts_and_saved_responses_are_loaded(trees, tmp_path):
    (brain,) = load_brain(f"algonauts:{trees / 'algonauts'}", store=tmp_path / "kept")
    assert brain.responses.name == "algonauts2023"
    assert brain.test == "every-5"
    assert unit_ceilings(brain.responses, [0, 1])[1] == "noise_ceiling"
    save_responses(tmp_path / "saved", make_responses())
    (saved,) = load_brain(f"responses:{tmp_path / 'saved'}", regions=["V4"])
    assert saved.responses.units["unit_id"].tolist() == ["u1", "u3"]
    assert not saved.is_simulated
    with pytest.raises(ValueError, match="subject of tiny"):
        load_brain(f"responses:{tmp_path / 'saved'}", subjects=["s2"])


def test_options_that_do_not_go_with_the_data_are_refused(tmp_path):
    save_responses(tmp_path, make_responses())
    with pytest.raises(ValueError, match="`min_ncsnr` is for nsd; responses does not"):
        load_brain(f"responses:{tmp_path}", min_ncsnr=0.1)
    with pytest.raises(ValueError, match="`space` is for nsd"):
        load_brain(f"responses:{tmp_path}", space="fsaverage")
    with pytest.raises(KeyError, match="There is no region 'V9'"):
        load_brain(f"responses:{tmp_path}", regions=["V9"])
    for name in RDM_SOURCES:
        with pytest.raises(ValueError, match="holds dissimilarities, no responses"):
            load_brain(f"{name}:{tmp_path}")
    for name in UNIT_SOURCES:
        with pytest.raises(ValueError, match="data set of dissimilarities"):
            load_rdms(f"{name}:{tmp_path}")


def test_real_recordings_have_names_of_their_own(data_folder):
    brains = load_brain(
        f"v4-images:{data_folder / 'v4_images'}", subjects=["201025", 210325]
    )
    assert [brain.subject for brain in brains] == ["PE 201025", "PE 210325"]
    kinds = [unit_ceilings(brain.responses, [0])[1] for brain in brains]
    assert kinds == ["", "noise_ceiling"]
    # Reference value of the data: mean signal fraction.
    assert brains[1].responses.units["noise_ceiling"].mean() == pytest.approx(
        0.744, abs=5e-4
    )
    (brain,) = load_brain(f"objects-fmri:{data_folder / 'objects_fmri'}")
    assert {n: f.shape for n, f in brain.features.items()} == {
        "alexnet_pcs": (65, 20),
        "word2vec_pcs": (65, 30),
    }
    assert brain.test == "leave-one-out"
    stack = load_rdms(f"objects92:{data_folder / 'objects92'}")
    assert len(stack.stimuli) == 92


def test_features_of_other_rows_are_refused():
    with pytest.raises(ValueError, match=r"features\['deep'\]` must have shape \(8"):
        BrainData(make_responses(), features={"deep": np.ones((7, 2), np.float32)})


# ---------------------------------------------------------------------- splits


@pytest.mark.parametrize("test", ["every-3", "folds-2", "folds-4", "leave-one-out"])
def test_no_stimulus_is_on_both_sides_and_trials_stay_together(test):
    responses = make_responses("abcabcdd")
    splits = split_rows(responses, test)
    for split in splits:
        check_split(responses, split)
        every = np.sort(np.concatenate([split.train, split.test]))
        np.testing.assert_array_equal(every, np.arange(8))
    if test != "every-3":
        held = np.sort(np.concatenate([split.test for split in splits]))
        np.testing.assert_array_equal(held, np.arange(8))
    counts = {"every-3": 1, "folds-2": 2, "folds-4": 4, "leave-one-out": 4}
    assert len(splits) == counts[test]


def test_each_nth_stimulus_is_held_out_in_order_of_first_rows():
    (split,) = split_rows(make_responses("dcbaabcd"), "every-4")
    assert split.test.tolist() == [3, 4]
    (split,) = split_rows(make_responses("abcdefgh"), "every-5")
    assert split.test.tolist() == [4]


def test_a_split_that_leaks_is_named():
    responses = make_responses("aabbccdd")
    leak = Split("mine", np.array([0, 2, 4]), np.array([1, 6, 7]))
    with pytest.raises(ValueError, match=r"'mine' has 1 stimuli, such as 'a', both"):
        check_split(responses, leak)
    with pytest.raises(ValueError, match="0 rows to train on and 2 to test"):
        check_split(responses, Split("mine", np.array([], int), np.array([1, 2])))


def test_splits_that_make_no_sense_are_refused():
    responses = make_responses("aabbccdd")
    for test in ("every-1", "folds-1", "fold-5", "random", 5):
        with pytest.raises(ValueError, match="must be 'every-N', 'folds-N'"):
            split_rows(responses, test)
    with pytest.raises(ValueError, match="needs more than 4 stimuli"):
        split_rows(responses, "folds-5")
    with pytest.raises(ValueError, match="needs more than 1 stimuli"):
        split_rows(make_responses("aaaaaaaa"), "leave-one-out")
    with pytest.raises(ValueError, match="lacks the columns"):
        split_rows(responses, "shared")


# ---------------------------------------------------------------- ceilings, hashes


def test_ceilings_follow_the_repeats_of_the_rows_that_are_predicted():
    responses = make_responses("abcdefgh", ncsnr=[1.0, 0.0, np.nan, 2.0])
    stimuli = responses.stimuli.assign(n_repeats=[1, 1, 1, 1, 3, 3, 3, 3])
    responses = replace(responses, stimuli=stimuli)
    found, kind = unit_ceilings(responses, [4, 5])
    assert kind == "ncsnr"
    np.testing.assert_allclose(found, [0.75, 0, np.nan, 12 / 13])
    found, _ = unit_ceilings(responses, [0, 4])
    np.testing.assert_allclose(found[0], 1 / (1 + 2 / 3))
    found, kind = unit_ceilings(make_responses(), [0])
    assert kind == ""
    assert np.isnan(found).all()


def test_the_hash_follows_content_and_not_names():
    responses = make_responses()
    mark = fingerprint_responses(responses)
    assert fingerprint_responses(replace(responses, name="other")) == mark
    disk_order = replace(responses, betas=np.asfortranarray(responses.betas))
    assert fingerprint_responses(disk_order) == mark
    changed = responses.betas.copy()
    changed[3, 2] += 1e-6
    others = [
        replace(responses, betas=changed),
        replace(responses, stimuli=responses.stimuli.assign(n_repeats=2)),
        replace(responses, units=responses.units.assign(area="V1")),
        responses.select_units([1, 0, 2, 3]),
    ]
    marks = {mark, *map(fingerprint_responses, others)}
    assert len(marks) == 5
