"""The published design: 8 subjects, 40 sessions, of which the last were withheld."""

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io

from data_loaders.nsd_design import read_design
from data_loaders.nsd_files import PUBLISHED_SESSIONS
from data_loaders.nsd_recording import known_sessions, plan_recording
from neurovis.core.errors import DataCorruptError

B3 = "betas_fithrf_GLMdenoise_RR"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("nsd")
    rng = np.random.default_rng(0)
    shared = np.arange(1, 1001)
    others = 1001 + rng.permutation(72000).reshape(8, 9000)
    arrays = {
        "masterordering": rng.permutation(np.repeat(np.arange(10000), 3))[None] + 1,
        "subjectim": np.array([[*rng.permutation(shared), *row] for row in others]),
        "sharedix": shared[None],
    }
    (root / "nsddata/experiments/nsd").mkdir(parents=True)
    scipy.io.savemat(root / "nsddata/experiments/nsd/nsd_expdesign.mat", arrays)
    for subject, n_files in ((1, 37), (4, 5)):
        folder = root / f"nsddata_betas/ppdata/subj{subject:02d}/func1pt8mm" / B3
        folder.mkdir(parents=True)
        for session in range(1, n_files + 1):
            with h5py.File(folder / f"betas_session{session:02d}.hdf5", "w") as file:
                file["betas"] = np.zeros((750, 1, 2, 2), np.int16)
    return root


def test_published_sessions_are_known_without_other_files(tree):
    assert known_sessions(tree, read_design(tree)) == list(PUBLISHED_SESSIONS)


def test_withheld_sessions_are_inferred_from_the_files_and_told(tree):
    plan = plan_recording(tree, 1)
    assert len(plan.recording.trials) == 37 * 750
    expected = "Sessions not used: 38-40 of 40 (NSD withheld the last three until "
    assert any(note.startswith(expected) for note in plan.recording.notes)
    assert (
        "n_repeats_all counts sessions of the subjects: 40, 40, 32, 30, 40, 32, "
        in ("".join(plan.recording.notes))
    )
    partial = plan_recording(tree, 4)
    assert "Sessions not used: 6-30 of 30." in partial.recording.notes


def test_repeats_of_all_subjects_follow_published_sessions(tree):
    trials = plan_recording(tree, 1).recording.trials
    design = read_design(tree)
    # The shortest subjects have 30 sessions.
    seen = [design.shown(s)[: 750 * PUBLISHED_SESSIONS[s - 1]] for s in range(1, 9)]
    counts = [pd.Series(ids).value_counts() for ids in seen]
    for nsd_id in (0, 5, 999):
        least = min(count.get(nsd_id, 0) for count in counts)
        rows = trials[trials["nsd_id"] == nsd_id]
        assert rows["shared"].all()
        assert set(rows["n_repeats_all"]) == {least}
    own = trials[~trials["shared"]]
    assert (own["n_repeats_all"] == 0).all()
    assert own["nsd_id"].min() == 1000


def test_swapped_axes_are_told_by_the_published_grid(tree, tmp_path):
    root = tmp_path / "nsd"
    (root / "nsddata").mkdir(parents=True)
    (root / "nsddata/experiments").symlink_to(tree / "nsddata/experiments")
    folder = root / f"nsddata_betas/ppdata/subj05/func1pt8mm/{B3}"
    folder.mkdir(parents=True)
    for shape, is_right in (((750, 78, 97, 79), True), ((750, 79, 97, 78), False)):
        with h5py.File(folder / "betas_session01.hdf5", "w") as file:
            file.create_dataset("betas", shape, np.int16, chunks=(750, 1, 1, 1))
        if is_right:
            assert plan_recording(root, 5).recording.space.shape == (79, 97, 78)
        else:
            with pytest.raises(DataCorruptError, match="swapped"):
                plan_recording(root, 5)


def test_more_sessions_are_known_from_files_than_from_answers(tree, tmp_path):
    path = tree / "nsddata/ppdata/subj02/behav/responses.tsv"
    path.parent.mkdir(parents=True)
    pd.DataFrame({"SESSION": np.repeat([1, 2], 750)}).to_csv(path, sep="\t")
    design = read_design(tree)
    assert known_sessions(tree, design)[:2] == [40, 2]
    # A design of another size is not the published one: files tell, or the plan.
    arrays = {
        "masterordering": np.tile(np.arange(250), 9)[None] + 1,
        "subjectim": np.array(
            [np.r_[1:251], np.r_[1:11, 301:541], np.r_[1:11, 601:841]]
        ),
        "sharedix": np.arange(1, 11)[None],
    }
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    small = read_design(tmp_path / "a.mat")
    assert small.n_sessions == 3
    # subj01 has 37 files, more than planned; subj02 answers; subj03 nothing.
    assert known_sessions(tree, small) == [3, 2, 3]
    path.unlink()
