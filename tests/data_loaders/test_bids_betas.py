"""BIDS derivatives: responses, masks and events are found by their names."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data_loaders.betas import load_betas
from data_loaders.bids_betas import load_bids_betas
from neurovis.core.errors import DataCorruptError

GRID = (4, 3, 5)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
PER_RUN = 8
RUNS = [(1, 1), (1, 2), (2, 1), (2, 10)]


def write_image(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def write_events(folder, session, run, ids, *, task="images"):
    path = folder / "sub-01" / f"ses-{session:02d}" / "func"
    path.mkdir(parents=True, exist_ok=True)
    rows = ["onset\tduration\ttrial_type\tstim_file"]
    for i, identity in enumerate(ids):
        rows += [f"{4 * i}\t3\timage\t{identity}.png", f"{4 * i + 3}\t0\tpress\tn/a"]
    name = f"sub-01_ses-{session:02d}_task-{task}_run-{run:02d}_events.tsv"
    (path / name).write_text("\n".join(rows) + "\n")


@pytest.fixture
def tree(tmp_path):
    """A raw data set with one derivative per session, and what was put in."""
    root = tmp_path / "dataset"
    rng = np.random.default_rng(0)
    volumes, ids = {}, {}
    for session, run in RUNS:
        volumes[session, run] = rng.normal(session, 2, (*GRID, PER_RUN)).astype("f4")
        ids[session, run] = rng.permutation(PER_RUN).tolist()
        write_events(root, session, run, ids[session, run])
        write_events(root, session, run, [1, 2], task="rest")
    betas = root / "derivatives" / "glm"
    masks = np.ones((2, *GRID), np.uint8)
    for session in (1, 2):
        both = [volumes[k] for k in RUNS if k[0] == session]
        stem = f"sub-01_ses-{session:02d}_task-images_space-T1w_desc"
        folder = betas / "sub-01" / f"ses-{session:02d}" / "func"
        write_image(folder / f"{stem}-single_statmap.nii.gz", np.concatenate(both, 3))
        masks[session - 1, session] = 0
        write_image(folder / f"{stem}-brain_mask.nii.gz", masks[session - 1])
    anat = betas / "sub-01" / "anat" / "sub-01_space-T1w_desc-brain_mask.nii.gz"
    write_image(anat, np.ones((8, 8, 8), np.uint8))
    return root, volumes, ids, masks.all(axis=0)


OPTIONS = {"trial_types": ["image"]}


def brute_force(volumes, ids, mask):
    """Z-scores per session, means per image."""
    scored, shown = [], []
    for session in (1, 2):
        runs = [k for k in RUNS if k[0] == session]
        trials = np.concatenate([volumes[k] for k in runs], axis=3).astype(float)
        flat = trials.reshape(-1, trials.shape[3], order="F")
        flat = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
        scored.append(flat.T)
        shown += [f"{i}.png" for k in runs for i in ids[k]]
    scored, shown = np.concatenate(scored), np.array(shown)
    means = np.array([scored[shown == i].mean(axis=0) for i in np.unique(shown)])
    return means[:, mask.ravel(order="F")]


def test_responses_events_and_masks_are_found(tree):
    root, volumes, ids, mask = tree
    found = load_bids_betas(root, "sub-01", "images", **OPTIONS)
    np.testing.assert_allclose(found.betas, brute_force(volumes, ids, mask), atol=2e-6)
    assert found.stimuli["stimulus_id"].tolist() == [f"{i}.png" for i in range(PER_RUN)]
    assert found.stimuli["n_repeats"].tolist() == [4] * PER_RUN
    assert (found.name, found.subject) == ("dataset", "sub-01")
    assert (found.space.name, found.space.shape) == ("T1w", GRID)
    assert (
        np.isfinite(found.to_maps(found.betas[0])["volume"]).tolist() == mask.tolist()
    )
    assert any(note.startswith("Voxels inside 2 brain masks") for note in found.notes)
    trials = load_bids_betas(root, "01", "images", average=False, **OPTIONS)
    assert trials.stimuli["run"].tolist() == np.repeat([1, 2, 1, 10], 8).tolist()
    assert trials.stimuli["session"].tolist() == np.repeat([1, 2], 16).tolist()


def test_the_derivative_alone_finds_events_above_or_where_told(tree, tmp_path):
    root, volumes, ids, mask = tree
    expected = brute_force(volumes, ids, mask)
    derivative = root / "derivatives" / "glm"
    found = load_bids_betas(derivative, "01", "images", **OPTIONS)
    np.testing.assert_allclose(found.betas, expected, atol=2e-6)
    moved = tmp_path / "elsewhere" / "glm"
    moved.parent.mkdir()
    derivative.rename(moved)
    with pytest.raises(FileNotFoundError, match=r"Name the data set .* in `raw`"):
        load_bids_betas(moved, "01", "images", **OPTIONS)
    found = load_bids_betas(moved, "01", "images", raw=root, **OPTIONS)
    np.testing.assert_allclose(found.betas, expected, atol=2e-6)


def test_one_file_per_run_gives_the_same(tree):
    root, volumes, ids, mask = tree
    derivative = root / "derivatives" / "glm"
    for path in derivative.rglob("*statmap*"):
        path.unlink()
    for (session, run), volume in volumes.items():
        folder = derivative / "sub-01" / f"ses-{session:02d}" / "func"
        stem = f"sub-01_ses-{session:02d}_task-images_run-{run:02d}_space-T1w"
        write_image(folder / f"{stem}_desc-single_betas.nii", volume)
    found = load_bids_betas(root, "01", "images", **OPTIONS)
    np.testing.assert_allclose(found.betas, brute_force(volumes, ids, mask), atol=2e-6)


def test_own_and_no_mask(tree):
    root, volumes, ids, _ = tree
    everything = np.ones(GRID, bool)
    found = load_bids_betas(root, "01", "images", mask=None, **OPTIONS)
    expected = brute_force(volumes, ids, everything)
    np.testing.assert_allclose(found.betas, expected, atol=2e-6)
    one = np.zeros(GRID)
    one[1, 2, 3] = 1
    found = load_bids_betas(root, "01", "images", mask=one, **OPTIONS)
    assert found.units["unit_id"].tolist() == ["x1-y2-z3"]
    for path in (root / "derivatives").rglob("*ses*mask.nii.gz"):
        path.unlink()
    found = load_bids_betas(root, "01", "images", **OPTIONS)
    np.testing.assert_allclose(found.betas, expected, atol=2e-6)
    assert "No brain mask was found: all voxels are taken." in found.notes


def test_it_agrees_with_the_plain_loader(tree):
    root, _, _, mask = tree
    files = sorted((root / "derivatives").rglob("*statmap.nii.gz"))
    by_name = load_bids_betas(root, "01", "images", **OPTIONS)
    events = []
    for session in (1, 2):
        runs = sorted((root / "sub-01" / f"ses-0{session}").rglob("*images*events.tsv"))
        lines = [line for p in runs for line in p.read_text().splitlines()[1:]]
        ids = [x.split("\t")[3] for x in lines if "image" in x]
        events += [(session, i) for i in ids]
    table = pd.DataFrame(events, columns=["session", "stimulus_id"])
    plain = load_betas(files, table, mask=mask, space="T1w")
    assert plain.betas.tobytes() == by_name.betas.tobytes()
    assert plain.units["unit_id"].tolist() == by_name.units["unit_id"].tolist()


def test_several_kinds_must_be_told_apart(tree):
    root, volumes, ids, mask = tree
    folder = root / "derivatives" / "other" / "sub-01"
    for session in (1, 2):
        for kind in ("space-MNI_desc-single", "space-T1w_desc-group"):
            stem = f"sub-01_ses-{session:02d}_task-images_{kind}_statmap.nii.gz"
            write_image(folder / stem, np.zeros((*GRID, 16), np.float32))
    with pytest.raises(ValueError, match=r"differ in .*Choose one by `(desc|space)`"):
        load_bids_betas(root, "01", "images", **OPTIONS)
    options = {"space": "T1w", "desc": "single", **OPTIONS}
    found = load_bids_betas(root, "01", "images", **options)
    np.testing.assert_allclose(found.betas, brute_force(volumes, ids, mask), atol=2e-6)
    with pytest.raises(ValueError, match="`space` must be one of 'MNI', 'T1w'"):
        load_bids_betas(root, "01", "images", space="T2w")


def test_what_is_missing_or_wrong_is_named(tree):
    root, _, _, _ = tree
    with pytest.raises(FileNotFoundError, match="no responses of sub-02"):
        load_bids_betas(root, "02", "images")
    with pytest.raises(ValueError, match="`task` must be one of 'images'; got 'rest'"):
        load_bids_betas(root, "01", "rest")
    with pytest.raises(ValueError, match=r"32 rows in the events of .*ses-01.*16 in"):
        load_bids_betas(root, "01", "images")
    with pytest.raises(ValueError, match=r"has one of the types \['pictures'\]"):
        load_bids_betas(root, "01", "images", trial_types=["pictures"])
    with pytest.raises(ValueError, match="`events` lacks the columns"):
        load_bids_betas(root, "01", "images", stimulus_column="file", **OPTIONS)
    mask = next((root / "derivatives").rglob("*ses-02*mask.nii.gz"))
    write_image(mask, np.ones(GRID[::-1], np.uint8))
    with pytest.raises(DataCorruptError, match="another grid or place than the resp"):
        load_bids_betas(root, "01", "images", **OPTIONS)
    for path in (root / "sub-01" / "ses-02").rglob("*events.tsv"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no events for .*\(session 2\)"):
        load_bids_betas(root, "01", "images", **OPTIONS)


def test_a_session_without_responses_is_noted(tree):
    root, _, _, _ = tree
    old = next((root / "derivatives").rglob("*ses-02*statmap.nii.gz"))
    old.rename(old.with_name(old.name.replace("ses-02", "ses-04")))
    for run in (1, 10):
        write_events(root, 4, run, range(PER_RUN))
    found = load_bids_betas(root, "01", "images", **OPTIONS)
    assert "There are no files of the sessions 2, 3." in found.notes


def test_sessions_in_words_are_refused(tree):
    root, _, _, _ = tree
    old = next((root / "derivatives").rglob("*ses-02*statmap.nii.gz"))
    old.rename(old.with_name(old.name.replace("ses-02", "ses-post")))
    with pytest.raises(ValueError, match="no number, which tells no order"):
        load_bids_betas(root, "01", "images", **OPTIONS)
