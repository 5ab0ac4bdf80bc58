"""Own betas in plain files: the same numbers in any format, and clear refusals."""

import gzip
import math
import subprocess
import sys

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io

from data_loaders.beta_folders import find_session_files, natural_key
from data_loaders.betas import load_betas
from neurovis.core.brain_space import VolumeSpace
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import write_table
from neurovis.core.pictures import write_png

GRID = (8, 6, 5)
N_TRIALS = (80, 70)
AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])
AFFINE[:3, 3] = -10, 4, 7


@pytest.fixture(scope="module")
def truth():
    """Volumes (X, Y, Z, trials) of two sessions, and the events."""
    rng = np.random.default_rng(1)
    images = [f"img{i:02d}" for i in range(40)]
    shown = rng.permutation(np.repeat(images, 4))[: sum(N_TRIALS)]
    volumes, rows, start = [], [], 0
    for session, n in enumerate(N_TRIALS, start=1):
        volume = rng.normal(session, 1 + session, (*GRID, n)).astype(np.float32)
        volumes.append(volume)
        rows += [(session, t + 1, i) for t, i in enumerate(shown[start : start + n])]
        start += n
    events = pd.DataFrame(rows, columns=["session", "trial", "stimulus_id"])
    return volumes, events


def flat(volume):
    """(X, Y, Z, trials) as (trials, units), x fastest."""
    return volume.reshape(-1, volume.shape[-1], order="F").T


def brute_force(volumes, events):
    """Z-scores per session and means per image, one voxel and image at a time."""
    scored = []
    for volume in volumes:
        trials = flat(volume).astype(np.float64)
        for column in trials.T:
            column -= column.mean()
            column /= np.sqrt((column**2).mean())
        scored.append(trials)
    scored = np.concatenate(scored)
    ids = events["stimulus_id"].to_numpy()
    return np.array([scored[ids == i].mean(axis=0) for i in np.unique(ids)])


# ---------------------------------------------------------------- one way per format


def write_npy(path, volume):
    np.save(path.with_suffix(".npy"), volume)


def write_npy_fortran(path, volume):
    np.save(path.with_suffix(".npy"), np.asfortranarray(volume))


def write_npy_flat(path, volume):
    np.save(path.with_suffix(".npy"), np.ascontiguousarray(flat(volume)))


def write_hdf5(path, volume):
    with h5py.File(path.with_suffix(".hdf5"), "w") as file:
        file.create_dataset("betas", data=volume.T, chunks=(volume.shape[-1], 1, 1, 1))


def write_hdf5_gzip(path, volume):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_dataset("betas", data=volume.T, compression="gzip")


def write_nifti(path, volume):
    nib.save(nib.Nifti1Image(volume, AFFINE), path.with_suffix(".nii"))


def write_nifti_gz(path, volume):
    nib.save(nib.Nifti1Image(volume, AFFINE), f"{path}.nii.gz")


def glmsingle(volume):
    return {
        "HRFindex": np.ones(GRID),
        "xvaltrend": None,
        "pcnum": 3,
        "pcregressors": [np.ones((4, 2)), np.zeros((3, 2))],
        "betasmd": volume,
        "R2": volume.mean(axis=3),
    }


def write_glmsingle_npy(path, volume):
    np.save(path.with_suffix(".npy"), glmsingle(volume))


def write_glmsingle_npy_fortran(path, volume):
    np.save(path.with_suffix(".npy"), glmsingle(np.asfortranarray(volume)))


def write_glmsingle_hdf5(path, volume):
    with h5py.File(path.with_suffix(".hdf5"), "w") as file:
        for key, value in glmsingle(volume).items():
            if isinstance(value, np.ndarray):
                file.create_dataset(key, data=value)


def write_glmsingle_hdf5_chunks(path, volume):
    with h5py.File(path.with_suffix(".hdf5"), "w") as file:
        file.create_dataset("betasmd", data=volume, compression="gzip")
        file.create_dataset("R2", data=volume[..., 0])


def write_matlab_73(path, volume):
    with h5py.File(path.with_suffix(".mat"), "w", userblock_size=512) as file:
        file.create_dataset("R2", data=volume[..., 0].T)
        file.create_dataset("modelmd", data=volume.T, chunks=True)


def write_matlab_7(path, volume):
    content = {"modelmd": volume, "R2": volume[..., 0], "note": "x"}
    scipy.io.savemat(path.with_suffix(".mat"), content, do_compression=True)


FORMATS = {
    name.removeprefix("write_"): function
    for name, function in list(globals().items())
    if name.startswith("write_") and name not in ("write_table", "write_png")
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_what_brute_force_gives(tmp_path, truth, name):
    volumes, events = truth
    for session, volume in enumerate(volumes, start=1):
        FORMATS[name](tmp_path / f"betas_session{session}", volume)
    options = {}
    if name == "npy_flat":
        options = {"mask": np.ones(GRID), "mask_order": "F"}
    responses = load_betas(tmp_path, events, **options)
    np.testing.assert_allclose(responses.betas, brute_force(volumes, events), atol=2e-6)
    assert responses.stimuli["stimulus_id"].tolist() == sorted(
        events["stimulus_id"].unique()
    )
    counts = events["stimulus_id"].value_counts().sort_index()
    assert responses.stimuli["n_repeats"].tolist() == counts.tolist()
    assert responses.space.shape == GRID
    assert responses.units["unit_id"].tolist()[:2] == ["x0-y0-z0", "x1-y0-z0"]
    expected = VolumeSpace("native", GRID).locate(np.arange(240))
    for column in ("unit_id", "x", "y", "z"):
        assert responses.units[column].tolist() == expected[column].tolist()
    assert responses.response_unit == "z-score"


def test_all_formats_give_equal_bytes(tmp_path, truth):
    volumes, events = truth
    found = {}
    for name, write in FORMATS.items():
        folder = tmp_path / name
        folder.mkdir()
        for session, volume in enumerate(volumes, start=1):
            write(folder / f"betas_session{session}", volume)
        options = {"mask": np.ones(GRID)}
        if name == "npy_flat":
            options["mask_order"] = "F"
        loaded = load_betas(folder, events, average=False, z_score=False, **options)
        found[name] = loaded.betas.tobytes(), loaded.units["unit_id"].tolist()
    expected = np.concatenate([flat(v) for v in volumes])
    assert set(found) == set(FORMATS)
    assert len(FORMATS) == 13
    first = found["npy"]
    assert first[0] == expected.tobytes()
    assert all(one == first for one in found.values())


def test_units_by_trials_are_read_when_told(tmp_path, truth):
    volumes, events = truth
    expected = brute_force(volumes, events)
    for order in ("C", "F"):
        for i, volume in enumerate(volumes, start=1):
            np.save(tmp_path / f"b_ses{i}.npy", np.asarray(flat(volume).T, order=order))
        responses = load_betas(tmp_path, events, trials_axis="last")
        np.testing.assert_allclose(responses.betas, expected, atol=2e-6)
        assert responses.space is None
        assert responses.units["unit_id"].tolist()[-1] == "unit-239"
        assert "Read with dataset=None, trials_axis='last'." in responses.notes
    for i, volume in enumerate(volumes, start=1):
        (tmp_path / f"b_ses{i}.npy").unlink()
        with h5py.File(tmp_path / f"b_ses{i}.h5", "w") as file:
            file.create_dataset("psc", data=flat(volume).T)
    responses = load_betas(tmp_path, events, trials_axis="last", dataset="psc")
    np.testing.assert_allclose(responses.betas, expected, atol=2e-6)


def test_integers_are_taken_as_they_are_unless_told(tmp_path):
    stored = np.array([[300, -600], [0, 150], [3, 9]], np.int16)
    np.save(tmp_path / "betas.npy", stored)
    events = pd.DataFrame({"stimulus_id": ["a", "b", "a"]})
    options = {"z_score": False, "average": False, "response_unit": "raw"}
    plain = load_betas(tmp_path, events, **options)
    assert plain.betas.tolist() == stored.tolist()
    assert plain.response_unit == "raw"
    assert "Stored integers were taken as they are (scale 1)." in plain.notes
    scaled = load_betas(tmp_path, events, scale=300, **options)
    assert scaled.betas.tolist() == [[1, -2], [0, 0.5], [3 / 300, 9 / 300]] or (
        np.allclose(scaled.betas, stored / 300)
    )
    assert "Stored numbers were divided by 300." in scaled.notes


# --------------------------------------------------------------- files and sessions


def test_sessions_are_ordered_by_number_not_by_letter(tmp_path):
    for i in (10, 2, 1):
        trials = i + np.array([[0, 0.25, 0.5], [0.5, 0.25, 0]], np.float32)
        np.save(tmp_path / f"betas_session{i}.npy", trials)
    (tmp_path / "mask.npy").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("x")
    files = find_session_files(tmp_path)
    assert [f.session for f in files] == [1, 2, 10]
    events = pd.DataFrame({"stimulus_id": list("aabbcc")})
    responses = load_betas(tmp_path, events, z_score=False)
    assert responses.betas[:, 0].tolist() == [1.25, 2.25, 10.25]
    assert "There are no files of the sessions 3, 4, 5, 6, 7, 8, 9." in responses.notes


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["sub-01_ses-02_run-1_betas.npy", "sub-01_ses-01_run-2_betas.npy"], [1, 2]),
        (["b_sess-3.npy", "b_sess-11.npy"], [3, 11]),
        (["run10.npy", "run9.npy"], [1, 1]),
        (["left.npy", "right.npy"], [1, 2]),
        (["betas.npy"], [None]),
    ],
)
def test_names_tell_sessions(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).touch()
    assert [f.session for f in find_session_files(tmp_path)] == expected


def told_order(betas, n_files, **options):
    """Return what notes say about the sessions of files with two trials each."""
    events = pd.DataFrame({"stimulus_id": list("ab") * n_files})
    notes = load_betas(betas, events, **options).notes
    return [note for note in notes if "session" in note and "file" in note.lower()]


def save_files(folder, names):
    trials = np.array([[0, 0.25, 0.5], [0.5, 0.75, 0]], np.float32)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / name, trials)
    return [folder / name for name in names]


def test_files_that_are_taken_for_sessions_by_their_order_are_noted(tmp_path):
    paths = save_files(tmp_path, ["late.npy", "early.npy", "mid10.npy", "mid9.npy"])
    told = (
        "File names tell no session; in this order the files were taken for the "
        "sessions 1 to 4: "
    )
    natural = "early.npy, late.npy, mid9.npy, mid10.npy."
    assert told_order(tmp_path, 4) == [told + natural]
    assert told_order(tmp_path / "*.npy", 4) == [told + natural]
    given = "early.npy, mid9.npy, mid10.npy, late.npy."
    chosen = [paths[i] for i in (1, 3, 2, 0)]
    assert told_order(chosen, 4) == [told + given]
    # What is named or given is not assumed.
    assert told_order(chosen, 4, sessions=[1, 2, 3, 4]) == []
    assert told_order(paths[0], 1) == []
    named = tmp_path / "named"
    save_files(named, ["a_ses-1.npy", "b_ses-2.npy"])
    assert told_order(named, 2) == []


def test_the_note_on_assumed_sessions_stays_short_and_clear(tmp_path):
    paths = save_files(tmp_path, [f"{c}/betas.npy" for c in "abcdefgh"])
    (note,) = told_order(paths, 8)
    assert note.endswith(
        "sessions 1 to 8: a/betas.npy, b/betas.npy, c/betas.npy, ..., h/betas.npy."
    )


def test_runs_are_ordered_within_sessions(tmp_path):
    names = [f"ses-{s}_run-{r}_betas.nii.gz" for s in (1, 2) for r in (1, 2, 10)]
    for name in reversed(names):
        (tmp_path / name).touch()
    found = find_session_files(tmp_path)
    assert [f.path.name for f in found] == names
    found = find_session_files(str(tmp_path / "ses-2_*"))
    assert [(f.session, f.run) for f in found] == [(2, 1), (2, 2), (2, 10)]


def test_folders_tell_sessions_when_names_repeat(tmp_path):
    paths = []
    for i in (2, 1):
        folder = tmp_path / f"ses-{i}"
        folder.mkdir()
        for name in ("TYPEB_FITHRF.npy", "TYPED_FITHRF_GLMDENOISE_RR.npy"):
            (folder / name).touch()
        paths.append(folder / "TYPED_FITHRF_GLMDENOISE_RR.npy")
    pattern = tmp_path / "ses-*" / "TYPED*.npy"
    assert [f.session for f in find_session_files(pattern)] == [1, 2]
    assert [f.session for f in find_session_files(paths[::-1])] == [1, 2]
    with pytest.raises(ValueError, match=r"chronological order; got TYPED.* 2.*1"):
        find_session_files(paths)
    only = find_session_files(tmp_path / "ses-1")
    assert [f.path.name for f in only] == ["TYPED_FITHRF_GLMDENOISE_RR.npy"]


@pytest.mark.parametrize(
    ("names", "options", "match"),
    [
        (["a_ses1.npy", "b.npy"], {}, "some do not, such as b.npy"),
        (["a_ses1.npy", "b_ses01.npy"], {}, "Two files are of one session and run"),
        (["a_ses1.npy", "a_ses1.nii.gz"], {}, "one recording in two forms"),
        (["sub-1_ses-pre_betas.npy", "sub-1_ses-post_betas.npy"], {}, "tells no order"),
        (["a.npy", "b.npy"], {"sessions": [1]}, "1 numbers for 2 files"),
        (["a.npy", "b.npy"], {"sessions": [2, 1]}, "must ascend"),
        (["a.npy", "b.npy"], {"sessions": [0, 1]}, r"within \[1, inf\]"),
    ],
)
def test_sessions_that_cannot_be_told_are_refused(tmp_path, names, options, match):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=match):
        find_session_files(tmp_path, **options)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="has none"):
        find_session_files(tmp_path)
    with pytest.raises(FileNotFoundError, match="pattern that no file fits"):
        find_session_files(tmp_path / "*.npy")
    with pytest.raises(FileNotFoundError, match=r"b\.npy is nothing"):
        find_session_files([tmp_path / "b.npy"])
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match=r"a\.txt, whose kind is not known"):
        find_session_files(tmp_path / "a.txt")


def test_natural_order_of_names():
    names = ["b10", "b9", "a", "B2", "10", "9", ""]
    expected = ["", "9", "10", "a", "B2", "b9", "b10"]
    assert sorted(names, key=natural_key) != names
    assert sorted(names, key=natural_key) == sorted(expected, key=natural_key)
    assert sorted(["s10", "s2", "s1"], key=natural_key) == ["s1", "s2", "s10"]


# --------------------------------------------------------------------------- events


def test_one_file_may_hold_all_sessions(tmp_path, truth):
    volumes, events = truth
    both = np.concatenate([flat(v) for v in volumes])
    np.save(tmp_path / "betas.npy", both)
    responses = load_betas(tmp_path / "betas.npy", events)
    np.testing.assert_allclose(responses.betas, brute_force(volumes, events), atol=2e-6)
    without = load_betas(tmp_path / "betas.npy", events.drop(columns="session"))
    assert not np.allclose(without.betas, responses.betas, atol=0.01)


def test_tables_of_every_kind_tell_the_same(tmp_path, truth):
    volumes, events = truth
    for i, volume in enumerate(volumes, start=1):
        np.save(tmp_path / f"betas_session{i}.npy", flat(volume))
    write_table(tmp_path / "e.parquet", events)
    events.to_csv(tmp_path / "e.csv", index=False)
    events.to_csv(tmp_path / "e.tsv", index=False, sep="\t")
    text = (tmp_path / "e.tsv").read_bytes()
    (tmp_path / "e.tsv.gz").write_bytes(gzip.compress(text))
    expected = load_betas(tmp_path, events)
    parts = [e for _, e in events.groupby("session")]
    for table in ("e.parquet", "e.csv", "e.tsv", "e.tsv.gz", parts):
        given = parts if table is parts else tmp_path / table
        found = load_betas(tmp_path, given)
        assert found.betas.tobytes() == expected.betas.tobytes()
        pd.testing.assert_frame_equal(found.stimuli, expected.stimuli)


def test_identities_with_leading_zeros_are_kept(tmp_path):
    np.save(tmp_path / "betas.npy", np.arange(6.0).reshape(3, 2))
    (tmp_path / "e.csv").write_text("stimulus_id,rt\n007,1.5\n7,2\n010,NaN\n")
    found = load_betas(tmp_path, tmp_path / "e.csv", average=False)
    assert found.stimuli["stimulus_id"].tolist() == ["007", "7", "010"]
    assert found.stimuli["rt"].tolist()[:2] == [1.5, 2]
    assert np.isnan(found.stimuli["rt"][2])
    numbers = pd.DataFrame({"stimulus_id": [1.0, 2.0, 1.0]})
    found = load_betas(tmp_path, numbers)
    assert found.stimuli["stimulus_id"].tolist() == ["1", "2"]


def test_rows_that_are_no_trials_can_be_left_out(tmp_path):
    np.save(tmp_path / "betas.npy", np.arange(8.0).reshape(4, 2))
    (tmp_path / "e.tsv").write_text(
        "onset\tduration\ttrial_type\tstim_file\n0\t3\timage\ta.png\n1\t0\tpress\tn/a\n"
        "4\t3\timage\tb.png\n8\t3\timage\ta.png\n12\t3\timage\tc.png\n"
    )
    found = load_betas(tmp_path, tmp_path / "e.tsv", trial_types=["image"])
    assert found.stimuli["stimulus_id"].tolist() == ["a.png", "b.png", "c.png"]
    assert "Stimuli are told by the column 'stim_file' of the events." in found.notes
    with pytest.raises(ValueError, match=r"differ: 5 rows in `events`, but 4 in betas"):
        load_betas(tmp_path, tmp_path / "e.tsv")
    with pytest.raises(ValueError, match="`trial_types` has 'pictures'"):
        load_betas(tmp_path, tmp_path / "e.tsv", trial_types=["pictures"])


@pytest.fixture
def two_sessions(tmp_path):
    rng = np.random.default_rng(0)
    for i, n in ((1, 4), (2, 5)):
        np.save(tmp_path / f"betas_session{i}.npy", rng.normal(size=(n, 6)))
    events = pd.DataFrame(
        {"session": [1] * 4 + [2] * 5, "trial": [1, 2, 3, 4, 1, 2, 3, 4, 5]}
    ).assign(stimulus_id=list("abcdabcde"))
    return tmp_path, events


CASES = {
    "too few in a session": (
        lambda e: e.drop(index=8),
        r"differ: 4 rows in session 2 of `events`, but 5 in betas_session2.npy",
    ),
    "too many": (lambda e: pd.concat([e, e.tail(1)]), "6 rows in session 2"),
    "session without a file": (
        lambda e: e.assign(session=e["session"].replace(2, 3)),
        "trials of session 3, for which there is no file and no trial of session 2",
    ),
    "sessions out of order": (
        lambda e: e.iloc[::-1],
        "row 6 is of session 1 after session 2",
    ),
    "trials out of order": (
        lambda e: e.iloc[[0, 2, 1, 3, 4, 5, 6, 7, 8]],
        "trial falls from 3 to 2 in trial 3 of betas_session1.npy",
    ),
    "no stimulus": (
        lambda e: e.assign(stimulus_id=e["stimulus_id"].where(e.index != 5)),
        r"no stimulus in 'stimulus_id' for 1 trials of betas_session2.npy .*trial 2",
    ),
    "no column": (
        lambda e: e.rename(columns={"stimulus_id": "picture"}),
        "has none of the columns .*it has .*'picture'.*`stimulus_column`",
    ),
    "session that is text": (
        lambda e: e.assign(session=["first"] * 9),
        "number of the session in 'session'; row 1 has 'first'",
    ),
    "without sessions, too few": (
        lambda e: e.drop(columns="session").head(8),
        r"8 rows in `events`, but 9 trials: 4 in betas_session1.npy \(session 1\), 5",
    ),
    "as many as units": (
        lambda e: e.drop(columns="session").head(6),
        "axes look swapped.*trials_axis='last'",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_events_that_do_not_fit_are_refused(two_sessions, name):
    folder, events = two_sessions
    change, match = CASES[name]
    with pytest.raises(ValueError, match=match):
        load_betas(folder, change(events))


def test_unknown_columns_are_suggested(two_sessions):
    folder, events = two_sessions
    with pytest.raises(ValueError, match="Did you mean 'stimulus_id'"):
        load_betas(folder, events, stimulus_column="stimulusid")
    with pytest.raises(ValueError, match="Did you mean 'session'"):
        load_betas(folder, events, session_column="sesion")
    with pytest.raises(ValueError, match="must be one of 'session'"):
        load_betas(folder, events, z_score="sessions")
    with pytest.raises(ValueError, match="3 tables for 2 files"):
        load_betas(folder, [events] * 3)
    (folder / "events.xlsx").touch()
    with pytest.raises(ValueError, match=r"must be a table \(.tsv"):
        load_betas(folder, folder / "events.xlsx")


def test_damaged_tables_are_refused(two_sessions):
    folder, _ = two_sessions
    for text, match in [
        ("session,stimulus_id\n1,a,b\n", "row 1 has 3 of 2 cells"),
        ("a,a\n1,2\n", "a column name repeats"),
        ('a,b\n"1,2\n', "comma-separated text"),
    ]:
        (folder / "e.csv").write_text(text)
        with pytest.raises(DataCorruptError, match=match):
            load_betas(folder, folder / "e.csv")


def test_sessions_may_be_written_in_words(two_sessions):
    folder, events = two_sessions
    expected = load_betas(folder, events).betas
    named = events.assign(session=events["session"].map("ses-{:02d}".format))
    assert np.array_equal(load_betas(folder, named).betas, expected)
    moved = named.rename(columns={"session": "day"})
    found = load_betas(folder, moved, session_column="day")
    assert np.array_equal(found.betas, expected)


def test_runs_are_matched_by_number(tmp_path):
    rng = np.random.default_rng(3)
    runs = [rng.normal(size=(3, 4)) for _ in range(3)]
    for i, run in enumerate(runs, start=1):
        np.save(tmp_path / f"ses-1_run-{i}_betas.npy", run)
    events = pd.DataFrame(
        {"session": 1, "run": np.repeat([1, 2, 3], 3), "stimulus_id": list("abcbcacab")}
    )
    found = load_betas(tmp_path, events, average=False)
    both = np.concatenate(runs)
    expected = (both - both.mean(0)) / both.std(0)
    np.testing.assert_allclose(found.betas, expected, atol=1e-6)
    assert found.stimuli["run"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    with pytest.raises(ValueError, match=r"2 rows in `events` of ses-1_run-1.* run 1"):
        load_betas(tmp_path, events.drop(index=0))


# ----------------------------------------------------------------- masks and regions


def test_a_mask_takes_its_voxels(tmp_path, truth):
    volumes, events = truth
    for i, volume in enumerate(volumes, start=1):
        write_nifti(tmp_path / f"betas_session{i}", volume)
    mask = np.random.default_rng(0).random(GRID) > 0.7
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), AFFINE), tmp_path / "mask.nii.gz")
    np.save(tmp_path / "mask.npy", mask)
    inside = mask.ravel(order="F")
    expected = brute_force(volumes, events)[:, inside]
    for given in (mask, tmp_path / "mask.nii.gz", tmp_path / "mask.npy"):
        found = load_betas(tmp_path, events, mask=given)
        np.testing.assert_allclose(found.betas, expected, atol=2e-6)
        volume = found.to_maps(np.arange(inside.sum()))["volume"]
        assert np.array_equal(np.isfinite(volume), mask)
    assert found.space.affine.tolist() == AFFINE.tolist()


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_mask_tells_where_flat_units_lie(tmp_path, truth, order):
    volumes, events = truth
    mask = np.random.default_rng(0).random(GRID) > 0.6
    for i, volume in enumerate(volumes, start=1):
        # As NumPy takes voxels out of a volume, and as MATLAB does.
        taken = volume[mask] if order == "C" else volume.T[:, mask.T].T
        np.save(tmp_path / f"betas_session{i}.npy", taken.T)
    found = load_betas(tmp_path, events, mask=mask, mask_order=order)
    expected = brute_force(volumes, events)[0].reshape(GRID, order="F")
    volume = found.to_maps(found.betas[0])["volume"]
    np.testing.assert_allclose(volume[mask], expected[mask], atol=2e-6)
    assert np.isnan(volume[~mask]).all()
    default = load_betas(tmp_path, events, mask=mask)
    same = default.units["unit_id"].tolist() == found.units["unit_id"].tolist()
    assert same == (order == "C")


def test_masks_that_do_not_fit_are_refused(tmp_path, truth):
    volumes, events = truth
    for i, volume in enumerate(volumes, start=1):
        write_nifti(tmp_path / f"betas_session{i}", volume)
    moved = AFFINE.copy()
    moved[0, 3] += 1
    nib.save(nib.Nifti1Image(np.ones(GRID, np.uint8), moved), tmp_path / "m.nii.gz")
    cases = [
        (np.ones(GRID[::-1]), r"grid \(5, 6, 8\).*axes are swapped"),
        (np.ones((8, 6, 4)), "Bring it into the space"),
        (np.zeros(GRID), "takes no unit"),
        (np.full(GRID, np.nan), "not finite"),
        (np.ones((8, 6)), "one number per voxel"),
        (tmp_path / "m.nii.gz", r"m.nii.gz\) has the grid of the responses, but an"),
    ]
    for mask, match in cases:
        with pytest.raises(ValueError, match=match):
            load_betas(tmp_path, events, mask=mask)
    with pytest.raises(FileNotFoundError, match="`mask` must be an existing file"):
        load_betas(tmp_path, events, mask=tmp_path / "none.nii.gz")
    (tmp_path / "m.nii.gz").write_bytes(b"x")
    with pytest.raises(DataCorruptError, match="brain map"):
        load_betas(tmp_path, events, mask=tmp_path / "m.nii.gz")


def test_flat_units_need_one_voxel_each(two_sessions):
    folder, events = two_sessions
    with pytest.raises(ValueError, match="8 voxels above 0, but the responses have 6"):
        load_betas(folder, events, mask=np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="`mask_order` must be one of 'C', 'F'"):
        load_betas(folder, events, mask=np.ones(6), mask_order="x")


def test_label_images_become_families(tmp_path, truth):
    volumes, events = truth
    for i, volume in enumerate(volumes, start=1):
        write_nifti(tmp_path / f"betas_session{i}", volume)
    rng = np.random.default_rng(5)
    atlas = rng.integers(-1, 4, GRID).astype(np.int16)
    nib.save(nib.Nifti1Image(atlas, AFFINE), tmp_path / "prf_dseg.nii.gz")
    names = {1: "V1v", 2: "V1d", 3: "hV4"}
    (tmp_path / "prf_dseg.tsv").write_text("index\tname\n1\tV1v\n2\tV1d\n3\thV4\n")
    (tmp_path / "prf.ctab").write_text("0 Unknown\n1 V1v\n2 V1d\n3 hV4\n")
    (tmp_path / "a.json").write_text('{"1": "V1v", "2": "V1d", "3": "hV4"}')
    (tmp_path / "b.json").write_text('{"V1v": 1, "V1d": 2, "hV4": 3}')
    np.save(tmp_path / "mapping.npy", {0: "Unknown", **names})
    image = tmp_path / "prf_dseg.nii.gz"
    mask = rng.random(GRID) > 0.5
    flat_atlas = atlas.ravel(order="F")[mask.ravel(order="F")]
    expected = [{0: "", -1: None, **names}[n] for n in flat_atlas.tolist()]
    for given in (
        image,
        (image, names),
        (atlas, names),
        (image, tmp_path / "prf.ctab"),
        (image, tmp_path / "a.json"),
        (image, tmp_path / "b.json"),
        (image, tmp_path / "mapping.npy"),
    ):
        found = load_betas(tmp_path, events, mask=mask, regions={"prf": given})
        cells = found.units["prf"].astype(object)
        assert cells.where(cells.notna(), None).tolist() == expected
        assert found.regions() == {"prf": ["V1v", "V1d", "hV4"]}
        assert found.in_region("V1").sum() == np.isin(flat_atlas, [1, 2]).sum()
    plain = load_betas(tmp_path, events, regions={"prf": atlas})
    assert plain.regions() == {"prf": ["1", "2", "3"]}


def test_label_images_reach_flat_units_through_the_mask(tmp_path, truth):
    volumes, events = truth
    mask = np.random.default_rng(0).random(GRID) > 0.6
    for i, volume in enumerate(volumes, start=1):
        np.save(tmp_path / f"betas_session{i}.npy", volume[mask].T)
    atlas = np.arange(240).reshape(GRID) % 3
    found = load_betas(
        tmp_path, events, mask=mask, regions={"a": (atlas, {1: "p", 2: "q"})}
    )
    there = found.units[["x", "y", "z"]].to_numpy()
    expected = [("", "p", "q")[atlas[tuple(v)]] for v in there]
    assert found.units["a"].tolist() == expected


@pytest.mark.parametrize(
    ("image", "names", "match"),
    [
        (np.full(GRID, 1.5), None, "whole numbers; it holds 1.5.*nearest neighbour"),
        (np.full(GRID, 4), {1: "V1"}, "holds the number 4, which has no name"),
        (np.ones(GRID), {1: ""}, "distinct texts by whole number"),
        (np.ones((8, 6, 4)), None, "grid"),
    ],
)
def test_labels_that_cannot_be_are_refused(tmp_path, truth, image, names, match):
    volumes, events = truth
    for i, volume in enumerate(volumes, start=1):
        write_npy(tmp_path / f"betas_session{i}", volume)
    with pytest.raises(ValueError, match=match):
        load_betas(tmp_path, events, regions={"a": (image, names)})
    with pytest.raises(ValueError, match="must not be named 'x'"):
        load_betas(tmp_path, events, regions={"x": np.ones(GRID)})


def test_sessions_of_different_grids_are_refused(tmp_path, truth):
    volumes, events = truth
    write_npy(tmp_path / "betas_session1", volumes[0])
    write_npy(tmp_path / "betas_session2", volumes[1].transpose(2, 1, 0, 3))
    with pytest.raises(ValueError, match=r"\(session 2\) has the grid.*are swapped"):
        load_betas(tmp_path, events)
    moved = AFFINE.copy()
    moved[2, 3] += 3
    for i, affine in ((1, AFFINE), (2, moved)):
        (tmp_path / f"betas_session{i}.npy").unlink()
        image = nib.Nifti1Image(volumes[i - 1], affine)
        nib.save(image, tmp_path / f"betas_session{i}.nii")
    with pytest.raises(ValueError, match="another place in the brain than betas_ses"):
        load_betas(tmp_path, events)


# ---------------------------------------------------------------------- hemispheres


@pytest.fixture
def surface(tmp_path):
    """Files of two hemispheres and two sessions; the numbers, and the events."""
    rng = np.random.default_rng(2)
    n_vertices, halves = {"lh": 6, "rh": 4}, {}
    for h, n in n_vertices.items():
        halves[h] = [rng.normal(s, 2, (5, n)).astype(np.float32) for s in (1, 2)]
        for s, trials in enumerate(halves[h], start=1):
            np.save(tmp_path / f"{h}.betas_session{s}.npy", trials)
    events = pd.DataFrame({"session": np.repeat([1, 2], 5)})
    return tmp_path, halves, events.assign(stimulus_id=list("abcdeedcba"))


def of(folder):
    return {h: folder / f"{h}.betas_session*.npy" for h in ("rh", "lh")}


def test_hemispheres_are_joined_left_before_right(surface):
    folder, halves, events = surface
    both = np.hstack([np.concatenate(halves[h]) for h in ("lh", "rh")])
    options = {"z_score": False, "average": False, "space": "tiny"}
    found = load_betas(of(folder), events, **options)
    assert np.array_equal(found.betas, both)
    assert found.space.n_vertices == (6, 4)
    assert found.units["hemisphere"].tolist() == ["lh"] * 6 + ["rh"] * 4
    mask = {"lh": np.array([0, 1, 1, 0, 0, 0]), "rh": np.array([0, 0, 0, 1])}
    labels = {h: (np.arange(len(m)) % 3, {1: "p", 2: "q"}) for h, m in mask.items()}
    regions = {h: {"a": labels[h]} for h in labels}
    found = load_betas(of(folder), events, mask=mask, regions=regions, **options)
    assert np.array_equal(found.betas, both[:, [1, 2, 9]])
    assert found.units["unit_id"].tolist() == ["lh-1", "lh-2", "rh-3"]
    assert found.units["a"].tolist() == ["p", "q", ""]
    assert found.regions() == {"a": ["p", "q"]}
    maps = found.to_maps(found.betas[0])
    assert maps["rh"].tolist()[3] == both[0, 9]


def test_hemispheres_that_do_not_fit_are_refused(surface):
    folder, _, events = surface
    cases = [
        ({"mask": np.ones(6)}, "`mask` must be given for each hemisphere"),
        ({"regions": {"a": np.ones(6)}}, "`regions` must be given for each hemisphere"),
        ({"mask": {"lh": np.ones((1, 2, 3)), "rh": np.ones(4)}}, "number per vertex"),
        (
            {"regions": {"lh": {"a": np.ones(6)}, "rh": {"b": np.ones(4)}}},
            "same families in both hemispheres",
        ),
    ]
    for options, match in cases:
        with pytest.raises(ValueError, match=match):
            load_betas(of(folder), events, **options)
    with pytest.raises(ValueError, match=r"the keys \['lh', 'rh'\]; got \['left'\]"):
        load_betas({"left": folder}, events)
    with pytest.raises(ValueError, match=r"lh.betas_session1.npy and rh.betas"):
        load_betas(folder, events)
    (folder / "rh.betas_session2.npy").unlink()
    with pytest.raises(ValueError, match="differ in sessions, runs or trials"):
        load_betas(of(folder), events)


def test_tables_in_another_order_than_the_files_are_noticed(two_sessions):
    folder, events = two_sessions
    np.save(folder / "betas_session2.npy", np.ones((4, 6)))
    parts = [e for _, e in events.head(8).groupby("session")]
    with pytest.raises(ValueError, match=r"session1.* tell of session 2. Are"):
        load_betas(folder, parts[::-1])


def test_runs_may_start_the_clock_again(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "betas.npy", rng.normal(size=(6, 3)))
    events = pd.DataFrame({"onset": [0, 4, 8] * 2, "stimulus_id": list("abcabc")})
    with pytest.raises(ValueError, match="tell it in a column 'run'"):
        load_betas(tmp_path, events)
    found = load_betas(tmp_path, events.assign(run=[1, 1, 1, 2, 2, 2]))
    assert found.stimuli["n_repeats"].tolist() == [2, 2, 2]
    counted = events.drop(columns="onset").assign(trial=[1, 2, 3] * 2)
    assert load_betas(tmp_path, counted).betas.tobytes() == found.betas.tobytes()


# -------------------------------------------------------------------------- pictures


def test_pictures_are_found_by_identity(two_sessions):
    folder, events = two_sessions
    for i, name in enumerate("abcde"):
        image = np.full((2, 3, 3), i, np.uint8)
        write_png(folder / "stimuli" / ("x" if i % 2 else "y") / f"{name}.png", image)
    for events_ in (events, events.assign(stimulus_id=events["stimulus_id"] + ".png")):
        found = load_betas(folder, events_, pictures=folder / "stimuli")
        assert [int(p[0, 0, 0]) for p in found.pictures] == [0, 1, 2, 3, 4]
    trials = load_betas(folder, events, pictures=folder / "stimuli", average=False)
    assert [int(p[0, 0, 0]) for p in trials.pictures] == [0, 1, 2, 3, 0, 1, 2, 3, 4]
    write_png(folder / "stimuli" / "z" / "a.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="several pictures for 'a'"):
        load_betas(folder, events, pictures=folder / "stimuli")
    lost = events.assign(stimulus_id=[*"bcdebcde", "f"])
    with pytest.raises(ValueError, match="lacks 1 of 5 stimuli, such as 'f'"):
        load_betas(folder, lost, pictures=folder / "stimuli")


# --------------------------------------------------------------------- store, memory


def test_a_store_is_found_again_and_tells_layouts_apart(tmp_path):
    square = np.random.default_rng(0).normal(size=(5, 5))
    np.save(tmp_path / "betas.npy", square)
    events = pd.DataFrame({"stimulus_id": list("abcde")})
    options = {"z_score": False, "store": tmp_path / "store"}
    first = load_betas(tmp_path / "betas.npy", events, **options)
    again = load_betas(tmp_path / "betas.npy", events, **options)
    assert again.betas.filename == first.betas.filename
    turned = load_betas(tmp_path / "betas.npy", events, trials_axis="last", **options)
    np.testing.assert_allclose(first.betas, square, rtol=1e-6)
    np.testing.assert_allclose(turned.betas, square.T, rtol=1e-6)


MEASURE = """
import sys
import numpy as np, pandas as pd
from data_loaders.betas import load_betas
events = pd.DataFrame({"stimulus_id": np.arange(3000) % 100})
found = load_betas(sys.argv[1], events, store=sys.argv[2], memory_gib=0.85)
# Not ru_maxrss, which a child inherits from the process that starts it.
status = dict(line.split(":") for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) / 2**20, found.betas.shape)
"""


ARRAY = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
ARRAY += b"K\x00\x85C\x01b\x87R(K\x01"
DTYPE = (
    b"cnumpy\ndtype\n\x8c\x02%b\x89\x88\x87R(K\x03\x8c\x01%bNNNJ\xff\xff\xff\xffJ\xff\xff"
    b"\xff\xffK\x00tb\x89"
)


def write_large_glmsingle(path, grid, n_trials):
    """Write noise as GLMsingle does, but piece by piece."""
    n_bytes = 4 * n_trials * math.prod(grid)
    sizes = b"".join(b"M" + n.to_bytes(2, "little") for n in (*grid, n_trials))
    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"\x80\x04" + ARRAY + b")" + DTYPE % (b"O8", b"|"))
        file.write(b"]}\x8c\x07betasmd" + ARRAY + b"(" + sizes + b"t")
        file.write(DTYPE % (b"f4", b"<") + b"\x8e" + n_bytes.to_bytes(8, "little"))
        rng = np.random.default_rng(0)
        for _ in range(grid[0]):
            plane = rng.standard_normal((*grid[1:], n_trials), dtype=np.float32)
            file.write(plane.tobytes())
        file.write(b"tbsatb.")


@pytest.mark.slow
def test_a_large_pickled_file_is_prepared_in_little_memory(tmp_path):
    # 3,000 trials of 90,000 voxels, 1 GiB: more than may be resident.
    write_large_glmsingle(tmp_path / "TYPED_betas.npy", (50, 45, 40), 3000)
    arguments = [sys.executable, "-c", MEASURE, tmp_path, tmp_path / "store"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    peak_gib, _, shape = done.stdout.strip().partition(" ")
    assert shape == "(100, 90000)"
    assert float(peak_gib) < 0.85
