"""Data files that are cut, damaged, or of somebody else."""

import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from data_loaders.betas import load_betas
from data_loaders.nsd import load_nsd
from neurovis.adapters.features import extract_features
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, write_json, write_table
from neurovis.core.unit_responses import UnitResponses, open_responses, save_responses
from tasks.brain_sources import BrainData, fingerprint_responses
from tasks.encoding_run import load_encoding
from tests.data_loaders.test_nsd import (
    B3,
    BETAS,
    NCSNR,
    ROI,
    SHAPE,
    make_betas,
    save_hdf5,
    save_nifti,
    write_answers,
    write_design,
)
from tests.faults.test_pictures import HTML, flipped, half, parts_left, shorter
from tests.tasks.test_bank_build import toy_backbone
from tests.tasks.test_encoding import fit, make_data, with_responses

SESSION = f"{BETAS}/func1pt8mm/{B3}/betas_session02.hdf5"
PICTURES = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
INFO = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
ANSWERS = "nsddata/ppdata/subj01/behav/responses.tsv"


def on_disk(session):
    """MATLAB's X, Y, Z, trial is trial, Z, Y, X in HDF5."""
    return make_betas(session).transpose(0, 3, 2, 1)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A small tree as that of NSD; not to be changed."""
    root = tmp_path_factory.mktemp("nsd") / "nsd"
    write_design(root)
    write_answers(root, 1, 2)
    write_answers(root, 2, 1)
    for session in (1, 2):
        path = f"{BETAS}/func1pt8mm/{B3}/betas_session{session:02d}.hdf5"
        save_hdf5(root / path, on_disk(session))
    save_nifti(root / BETAS / f"func1pt8mm/{B3}/ncsnr.nii.gz", NCSNR)
    functional = root / "nsddata/ppdata/subj01/func1pt8mm"
    save_nifti(functional / "brainmask.nii.gz", ROI >= 0, np.int16)
    save_hdf5(root / PICTURES, np.zeros((1022, 2, 3, 3), np.uint8), "imgBrick")
    return root


@pytest.fixture
def root(tree, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(tree, tmp_path / "nsd"))


def change(path, damage):
    path.write_bytes(damage(path.read_bytes()))


def cut_at(share):
    return lambda data: data[: int(share * len(data))]


# ----------------------------------------------------------------------- NSD

NSD = {
    "a session of NSD cut after 2 % of its bytes": (
        *(SESSION, cut_at(0.02)),
        r"betas_session02\.hdf5 is not a readable HDF5.*truncated file",
    ),
    "a session of NSD cut in the middle": (
        *(SESSION, half),
        r"betas_session02\.hdf5 is not a readable HDF5.*truncated file",
    ),
    "a session of NSD without its last 10 bytes": (
        *(SESSION, lambda data: data[:-10]),
        r"betas_session02\.hdf5 is not a readable HDF5.*truncated file",
    ),
    "a web page named betas_session02.hdf5": (
        *(SESSION, lambda data: HTML),
        r"betas_session02\.hdf5 is not a readable HDF5",
    ),
    "the pictures of NSD cut in the middle": (
        *(PICTURES, half),
        r"nsd_stimuli\.hdf5 is not a readable HDF5",
    ),
    "the design of NSD cut in the middle": (
        *(DESIGN, half),
        r"nsd_expdesign\.mat is not a readable MATLAB",
    ),
    "the table of pictures of NSD cut within a line": (
        *(INFO, half),
        r"nsd_stim_info_merged\.csv is not a readable csv.*line \d+ has",
    ),
    "the table of pictures of NSD cut at the end of a line": (
        *(INFO, shorter),
        "contradict each other",
    ),
    "the table of answers of NSD cut at the end of a line": (
        *(ANSWERS, shorter),
        r"must have 750 trials in each of the sessions",
    ),
}


@pytest.mark.parametrize("happened", NSD)
def test_a_damaged_file_of_nsd_is_named_before_betas_are_used(root, told, happened):
    place, damage, words = NSD[happened]
    change(root / place, damage)
    with pytest.raises(DataCorruptError, match=words) as caught:
        load_nsd(root, 1, mask=np.ones(SHAPE), store=root.parent / "store")
    assert Path(place).name in str(caught.value)
    assert not list((root.parent / "store").glob("*"))
    told(happened, caught.value)


def test_the_checksum_of_a_chunk_of_hdf5_is_compared(root, told):
    with h5py.File(root / SESSION, "w") as file:
        chunks = (750, 1, 1, 1)
        file.create_dataset("betas", data=on_disk(2), chunks=chunks, fletcher32=True)
        place = file["betas"].id.get_chunk_info(5).byte_offset + 700
    load_nsd(root, 1, mask=np.ones(SHAPE))
    change(root / SESSION, lambda data: flipped(data, place))
    with pytest.raises(DataCorruptError, match="betas_session02") as caught:
        load_nsd(root, 1, mask=np.ones(SHAPE), store=root.parent / "store")
    assert parts_left(root.parent) == []
    told("one byte flipped in an HDF5 chunk that has a checksum", caught.value)


def test_without_checksums_a_flipped_byte_shows_in_the_fingerprint(root, told):
    def load():
        return load_nsd(root, 1, mask=np.ones(SHAPE), store=root.parent / "store")

    before = load()
    with h5py.File(root / SESSION) as file:
        place = file["betas"].id.get_offset() + 701
    change(root / SESSION, lambda data: flipped(data, place))
    after = load()
    (unit,) = np.flatnonzero((before.betas != after.betas).any(axis=0))
    assert np.isfinite(after.betas[:, unit]).all()
    assert fingerprint_responses(before) != fingerprint_responses(after)
    told(
        "one byte flipped in a session of NSD, whose files have no checksums",
        "no error: the responses are prepared anew, not taken from the store, and "
        "their fingerprint, which all scores carry, is another",
    )


def test_integers_at_their_ends_do_not_overflow_and_are_told(root, told):
    stored = on_disk(1)
    stored[:] = np.where(np.arange(750)[:, None, None, None] % 2, 32767, -32768)
    stored[:, 0, 0, 0] = 32767
    path = root / SESSION.replace("02", "01")
    save_hdf5(path, stored)
    found = load_nsd(
        *(root, 1),
        mask=np.ones(SHAPE),
        sessions=[1],
        z_score=False,
        average=False,
        incomplete="nan",
    )
    assert np.isnan(found.betas[:, 0]).all()  # the same in all trials
    np.testing.assert_array_equal(found.betas[::2, 1], np.float32(-32768) / 300)
    np.testing.assert_array_equal(found.betas[1::2, 1], np.float32(32767) / 300)
    means = load_nsd(
        root, 1, mask=np.ones(SHAPE), sessions=[1], z_score=False, incomplete="nan"
    )
    assert np.nanmax(means.betas) <= 32767 / 300 + 1e-4
    assert np.nanmin(means.betas) >= -32768 / 300 - 1e-4
    (note,) = [note for note in found.notes if "end of the stored integers" in note]
    told("responses of NSD at the ends of 16 bits", note)


def test_answers_of_another_subject_contradict_the_design(root, told):
    write_answers(root, 2, 2)
    other = root / ANSWERS.replace("subj01", "subj02")
    shutil.copy(other, root / ANSWERS)
    with pytest.raises(DataCorruptError, match=r"responses\.tsv") as caught:
        load_nsd(root, 1, mask=np.ones(SHAPE))
    told("the table of answers of another subject of NSD", caught.value)


def test_betas_of_a_subject_with_another_brain_do_not_fit(root, told):
    other = np.zeros((750, 2, 2, 4), np.int16)
    save_hdf5(root / SESSION, other)
    with pytest.raises(
        DataCorruptError, match="not the file of this subject"
    ) as caught:
        load_nsd(root, 1, mask=np.ones(SHAPE))
    told("a session of another subject of NSD, whose brain is larger", caught.value)


# ----------------------------------------------------------------- plain files

EVENTS = pd.DataFrame({"stimulus_id": [f"p{i % 10}" for i in range(20)]})


def noise(n_trials=20, n_units=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_trials, n_units)).astype(np.float32)


NPY = {
    "a NumPy file cut within its header": (cut_at(0.1), "is not a readable NumPy"),
    "a NumPy file cut within its numbers": (half, r"has 304 bytes.*tells of 608"),
    "a NumPy file whose header tells of more trials": (
        lambda data: data.replace(b"(20, 6)", b"(29, 6)"),
        r"has 608 bytes, but its header tells of 824",
    ),
    "a NumPy file whose header tells of fewer units": (
        lambda data: data.replace(b"(20, 6)", b"(20, 5)"),
        r"has 608 bytes, but its header tells of 528",
    ),
    "a NumPy file whose header names Python objects": (
        lambda data: data.replace(b"'<f4'", b"'|O' "),
        "nothing in it was run",
    ),
}


@pytest.mark.parametrize("happened", NPY)
def test_a_numpy_file_must_be_what_its_header_tells(tmp_path, told, happened):
    damage, words = NPY[happened]
    np.save(tmp_path / "betas.npy", noise())
    change(tmp_path / "betas.npy", damage)
    with pytest.raises(DataCorruptError, match=words) as caught:
        load_betas(tmp_path / "betas.npy", EVENTS, store=tmp_path / "store")
    assert "betas.npy" in str(caught.value)
    assert not (tmp_path / "store").exists()
    told(f"{happened}, as responses", caught.value)


@pytest.mark.parametrize(
    ("happened", "suffix", "damage", "words"),
    [
        ("cut within a line", ".csv", lambda d: d[:-5], r"events\.csv .*of 2 cells"),
        ("cut at the end of a line", ".csv", shorter, "19 rows in `events`"),
        ("cut in the middle", ".parquet", half, r"events\.parquet is not a readable"),
        (
            "cut within a line",
            ".tsv",
            lambda d: d[:-5],
            r"events\.tsv must have 2 columns.*The file is cut",
        ),
    ],
)
def test_a_cut_table_of_events_is_noticed(
    tmp_path, told, happened, suffix, damage, words
):
    path = tmp_path / f"events{suffix}"
    table = EVENTS.assign(onset=np.arange(20) + 100)[["stimulus_id", "onset"]]
    if suffix == ".tsv":
        table.to_csv(path, sep="\t", index=False)
    else:
        write_table(path, table)
    np.save(tmp_path / "betas.npy", noise())
    load_betas(tmp_path / "betas.npy", path)
    change(path, damage)
    with pytest.raises((DataCorruptError, ValueError), match=words) as caught:
        load_betas(tmp_path / "betas.npy", path)
    told(f"a table of events ({suffix}) {happened}", caught.value)


def responses_of(subject, seed):
    stimuli = pd.DataFrame({"stimulus_id": [f"{subject}-{i}" for i in range(20)]})
    units = pd.DataFrame({"unit_id": [f"{subject}-unit-{i}" for i in range(6)]})
    stimuli["n_repeats"] = 1
    return UnitResponses("made", subject, noise(seed=seed), stimuli, units)


@pytest.mark.parametrize("name", ["betas.npy", "stimuli.parquet", "units.parquet"])
def test_files_of_two_subjects_of_one_size_are_not_mixed(tmp_path, told, name):
    for seed, subject in enumerate(("s1", "s2")):
        save_responses(tmp_path / subject, responses_of(subject, seed))
    shutil.copy(tmp_path / "s2" / name, tmp_path / "s1" / name)
    with pytest.raises(DataCorruptError, match=f"{name} is not the file") as caught:
        open_responses(tmp_path / "s1")
    told(
        f"{name} of another subject, of the same size, in a folder of responses",
        caught.value,
    )


def test_responses_saved_by_an_earlier_version_still_open(tmp_path, told):
    save_responses(tmp_path, responses_of("s1", 0))
    about = read_json(tmp_path / "responses.json")
    del about["beginnings"]
    write_json(tmp_path / "responses.json", about)
    np.testing.assert_array_equal(open_responses(tmp_path).betas, noise())
    told("a folder of responses of an earlier version", "it opens as it did")


# ------------------------------------------------------------- tables of results


@pytest.mark.parametrize(
    ("happened", "damage"),
    [("with one byte flipped", flipped), ("cut in the middle", half)],
)
def test_a_damaged_store_of_features_is_told_and_computed_again(
    tmp_path, told, caplog, happened, damage
):
    pictures = np.random.default_rng(0).integers(0, 256, (9, 12, 12, 3), np.uint8)

    def extract():
        return extract_features(
            *(toy_backbone(), list(pictures), ["0:gap"]),
            store=tmp_path / "store",
            device="cpu",
        )["0:gap"]

    first = np.array(extract())
    (path,) = tmp_path.rglob("features.npy")
    whole = path.read_bytes()
    change(path, damage)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(extract(), first)
    (path,) = tmp_path.rglob("features.npy")
    assert path.read_bytes() == whole
    assert parts_left(tmp_path) == []
    message = re.sub(r"[0-9a-f]{64}", "KEY", caplog.records[0].getMessage())
    assert "are damaged" in message
    told(
        f"stored features of a network {happened}",
        f"the same features, and a warning: {message}",
    )


def test_a_cut_table_of_a_finished_fit_is_named_and_made_again(tmp_path, told):
    data = make_data(n=30)
    fit(data, tmp_path, ["given:early"])
    path = tmp_path / "units.parquet"
    whole = path.read_bytes()
    change(path, half)
    with pytest.raises(DataCorruptError, match=r"units\.parquet is not") as caught:
        load_encoding(tmp_path)
    told("the table of units of a finished fit cut in the middle", caught.value)
    fit(data, tmp_path, ["given:early"])
    assert path.read_bytes() == whole
    change(tmp_path / "run.json", half)
    with pytest.raises(DataCorruptError, match=r"run\.json is not") as caught:
        fit(data, tmp_path, ["given:early"])
    assert path.read_bytes() == whole
    told("the description of a finished run cut in the middle", caught.value)


# ----------------------------------------------------------- undefined responses


@pytest.mark.parametrize(
    ("happened", "where", "value"),
    [
        ("a unit that is NaN in all trials", slice(None), np.nan),
        ("a unit that is NaN in one trial", 3, np.nan),
        ("a unit that is infinite in one trial", 3, np.inf),
        ("a constant unit", slice(None), 4.0),
    ],
)
def test_undefined_units_follow_the_policy_that_was_asked_for(
    tmp_path, told, happened, where, value
):
    betas = noise()
    betas[where, 1] = value
    np.save(tmp_path / "betas.npy", betas)
    found = {
        policy: load_betas(tmp_path / "betas.npy", EVENTS, incomplete=policy)
        for policy in ("drop", "nan", "zero")
    }
    others = [0, 2, 3, 4, 5]
    assert found["drop"].units["unit_id"].str[-1].tolist() == [*"02345"]
    assert np.isnan(found["nan"].betas[:, 1]).all()
    assert (found["zero"].betas[:, 1] == 0).all()
    for policy in ("nan", "zero"):
        np.testing.assert_array_equal(
            found[policy].betas[:, others], found["drop"].betas
        )
    notes = [
        next(note for note in responses.notes if "constant or undefined" in note)
        for responses in found.values()
    ]
    told(happened, f"as asked for, one of the notes: {' / '.join(notes)}")


def test_responses_that_are_all_nan_are_an_error(tmp_path, told):
    np.save(tmp_path / "betas.npy", noise() * np.nan)
    with pytest.raises(ValueError, match="No unit is left") as caught:
        load_betas(tmp_path / "betas.npy", EVENTS)
    told("responses that are NaN throughout", caught.value)


def simulated(n=200, noise_level=0.5):
    """Three trials per stimulus, by chronology, of units that follow features."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, 8)).astype(np.float32)
    signal = features @ rng.normal(size=(8, 12)) / np.sqrt(8)
    shown = np.concatenate([rng.permutation(n) for _ in range(3)])
    betas = signal[shown] + noise_level * rng.normal(size=(3 * n, 12))
    return features, shown, betas.astype(np.float32)


def fit_trials(folder, out, betas, events):
    """Fit what was loaded from one file per session; return the table of units."""
    for session, part in enumerate(np.split(betas, 3), start=1):
        folder.mkdir(exist_ok=True)
        np.save(folder / f"betas_session{session}.npy", part)
    responses = load_betas(folder, events, incomplete="nan")
    fit(BrainData(responses, features={"known": simulated()[0]}), out, ["given:known"])
    return load_encoding(out)


def events_of(shown, **columns):
    return pd.DataFrame({"stimulus_id": [f"p{i:03d}" for i in shown], **columns})


def test_a_constant_unit_has_no_score_and_no_ceiling(tmp_path, told):
    _, shown, betas = simulated()
    betas[:, 3] = 7.0
    run = fit_trials(tmp_path / "betas", tmp_path / "fit", betas, events_of(shown))
    columns = ["r", "r2", "r2_noise_normalised", "p", "p_fdr", "alpha", "ceiling"]
    assert run.units.loc[3, columns].isna().all()
    rest = run.units.drop(index=3)
    assert rest[columns].notna().all(axis=None)
    assert (rest["r"] > 0.5).all()
    rows = run.scores[run.scores["metric"] == "r_mean"]
    assert rows["value"].iloc[0] == pytest.approx(rest["r"].mean())
    told(
        "a constant unit in a fit",
        "its score, its p and its ceiling are undefined (NaN), never 0, and it is in "
        "no mean; tables count it as not defined",
    )


def test_infinite_responses_are_undefined_and_nothing_else_changes(tmp_path, told):
    data = make_data()
    fit(data, tmp_path / "whole", ["given:early"])
    for row, part in ((3, "training"), (4, "held-out")):  # of 80, every fifth
        betas = data.responses.betas.copy()
        betas[row, 0] = np.inf
        fit(with_responses(data, betas=betas), tmp_path / part, ["given:early"])
        whole, found = (
            load_encoding(tmp_path / name).units for name in ("whole", part)
        )
        assert found.loc[0, ["r", "r2", "p", "p_fdr"]].isna().all()
        same = ["r", "r2", "alpha", "p", "ceiling"]
        pd.testing.assert_frame_equal(found.loc[1:, same], whole.loc[1:, same])
    told(
        "an infinite response among those of a fit, for training or held out",
        "the unit counts as undefined (NaN); the scores of all others are the same",
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused_before_a_fit(tmp_path, told, value):
    data = make_data()
    features = data.features["early"].copy()
    features[3, 2] = value
    np.save(tmp_path / "early.npy", features)
    with pytest.raises(ValueError, match=r"given:early has 1 value.*'p003'") as caught:
        fit(
            replace(data, features={"early": features}),
            tmp_path / "out",
            ["given:early"],
        )
    with pytest.raises(ValueError, match=r"early\.npy has 1 value.*'p003'"):
        fit(data, tmp_path / "out", [f"file:{tmp_path / 'early.npy'}"])
    assert not (tmp_path / "out").exists()
    told(f"a feature that is {value}", caught.value)


# ------------------------------------------------------------------ wrong partners


def test_numbers_of_rows_that_differ_are_an_error(tmp_path, told):
    np.save(tmp_path / "betas.npy", noise(19))
    with pytest.raises(ValueError, match="20 rows in `events`, but 19") as caught:
        load_betas(tmp_path / "betas.npy", EVENTS)
    told("one trial less in the responses than in the events", caught.value)
    np.save(tmp_path / "betas.npy", noise(6, 20))
    with pytest.raises(ValueError, match="axes look swapped") as caught:
        load_betas(tmp_path / "betas.npy", EVENTS)
    told("responses whose axes are swapped", caught.value)
    data = make_data()
    with pytest.raises(ValueError, match=r"must have shape \(80, any\)") as caught:
        replace(data, features={"early": data.features["early"][:-1]})
    told("one row less in the features than in the responses", caught.value)
    responses = responses_of("s1", 0)
    with pytest.raises(ValueError, match="need") as caught:
        replace(responses, stimuli=responses_of("s2", 1).stimuli.iloc[:-1])
    told("a shorter table of stimuli", caught.value)


def test_swapped_sessions_are_an_error_where_a_table_tells_the_session(tmp_path, told):
    folder = tmp_path / "betas"
    folder.mkdir()
    for session in (1, 2):
        np.save(folder / f"betas_session{session}.npy", noise(10))
    first, second = (
        events_of(range(10), session=session).assign(trial=np.arange(10))
        for session in (1, 2)
    )
    load_betas(folder, [first, second])
    with pytest.raises(ValueError, match="in the order of the files") as caught:
        load_betas(folder, [second, first])
    told(
        "tables of events of two sessions swapped, which tell the session", caught.value
    )
    with pytest.raises(ValueError, match="chronological order") as caught:
        load_betas(folder, pd.concat([second, first]))
    told("rows of two sessions swapped in one table of events", caught.value)


def test_swaps_that_nothing_can_tell_show_as_scores_at_chance(tmp_path, told):
    _, shown, betas = simulated()
    right = fit_trials(tmp_path / "a", tmp_path / "right", betas, events_of(shown))
    assert (right.units["r"] > 0.7).all()
    assert (right.units["p_fdr"] < 0.05).all()
    other = np.random.default_rng(5).permutation(200)
    wrong = {
        "the stimuli of another subject, as many, for the responses": (
            *(betas, events_of(other[shown])),
        ),
        "responses in the reverse order of their events": (
            *(betas[::-1], events_of(shown)),
        ),
        "files of all sessions exchanged by rotation, with tables that do not tell "
        "the session": (
            *(np.concatenate(np.split(betas, 3)[1:] + np.split(betas, 3)[:1]),),
            *(events_of(shown),),
        ),
    }
    for number, (happened, (rows, events)) in enumerate(wrong.items()):
        run = fit_trials(tmp_path / f"b{number}", tmp_path / str(number), rows, events)
        r = run.units["r"]
        assert abs(r.mean()) < 0.2
        assert r.max() < 0.5
        assert not (run.units["p_fdr"] < 0.05).any()
        chance = run.scores[run.scores["metric"] == "r_mean"].iloc[0]
        assert chance["value"] == pytest.approx(r.mean())
        told(
            happened,
            "no error, since ids and lengths fit: scores are at chance (mean r "
            f"{right.units['r'].mean():.2f} when right, {r.mean():.2f} so, and no unit "
            "is significant)",
        )
