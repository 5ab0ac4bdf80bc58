"""Neurons of macaque V4: averages with found numbers of trials, and single trials."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_loaders.v4_images import (
    RECORDINGS,
    check_v4_images,
    count_repeats,
    load_v4_images,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file
from neurovis.core.unit_responses import open_responses, save_responses

N_PICTURES, N_NEURONS, N_TRIALS = 640, 50, 10


def _trials(seed=0, shape=(N_PICTURES, N_NEURONS, N_TRIALS)):
    """Whole counts, NaN after the last trial of a picture."""
    rng = np.random.default_rng(seed)
    trials = rng.poisson(3, size=shape).astype(np.float32)
    n_trials = rng.integers(1, shape[2] + 1, size=shape[0])
    trials[np.broadcast_to(np.arange(shape[2]) >= n_trials[:, None, None], shape)] = (
        np.nan
    )
    return trials, n_trials


def _jpeg(level):
    file = io.BytesIO()
    Image.fromarray(np.full((112, 112, 3), level, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def _write_pictures(folder, recording, n, *, without=(), more=()):
    data = {i % 5: _jpeg(50 * (i % 5)) for i in range(5)}
    with zipfile.ZipFile(folder / f"images_{recording}.zip", "w") as archive:
        for i in range(n):
            if i not in without:
                archive.writestr(f"{i:04d}.jpg", data[i % 5])
        for name in more:
            archive.writestr(name, data[0])


def _write(folder, **changes):
    """Write recording 210325 in the published form."""
    trials, _ = _trials()
    means = np.nanmean(trials.astype(np.float64), axis=2).astype(np.float32)
    arrays = {"responses": means, "responses_trials": trials} | changes
    kept = {name: a for name, a in arrays.items() if a is not None}
    np.savez_compressed(folder / "responses_210325.npz", **kept)
    _write_pictures(folder, "210325", N_PICTURES)


@pytest.fixture
def written(tmp_path):
    _write(tmp_path)
    return tmp_path


# ----------------------------------------------------------------------- averages


def test_averages_have_the_numbers_of_trials(written):
    trials, n_trials = _trials()
    responses = load_v4_images(written, "210325")
    np.testing.assert_allclose(responses.betas, np.nanmean(trials, axis=2), rtol=1e-6)
    assert responses.betas.dtype == np.float32
    np.testing.assert_array_equal(responses.stimuli["n_repeats"], n_trials)
    assert responses.stimuli["stimulus_id"].iloc[7] == "v4-210325-0007"
    assert responses.is_averaged
    assert responses.subject == "PE"
    assert responses.notes == ()
    units = responses.units
    assert units["unit_id"].iloc[[0, -1]].tolist() == ["210325-n00", "210325-n49"]
    assert set(units["animal"]) == {"PE"}
    assert set(units["recording"]) == {"210325"}
    assert units["neuron"].tolist() == list(range(50))
    assert responses.regions() == {"region": ["V4"]}
    files = ("responses_210325.npz", "images_210325.zip")
    expected = {name: sha256_file(written / name) for name in files}
    assert responses.fingerprints == expected


def test_pictures_stand_in_the_order_of_the_rows(written):
    pictures = load_v4_images(written, "210325").pictures
    assert len(pictures) == N_PICTURES
    assert pictures[0].shape == (112, 112, 3)
    levels = [int(pictures[i].mean().round()) for i in (0, 1, 4, 639)]
    assert levels == [0, 50, 200, 200]


def test_other_recordings_find_their_numbers_of_trials(tmp_path):
    known = RECORDINGS["190923"]
    rng = np.random.default_rng(3)
    n_trials = rng.integers(4, 29, known.n_pictures)
    counts = rng.poisson(2.8 * n_trials[:, None], (known.n_pictures, known.n_neurons))
    means = (counts / n_trials[:, None]).astype(np.float32)
    np.savez(tmp_path / "responses_190923.npz", responses=means)
    _write_pictures(tmp_path, "190923", known.n_pictures)
    responses = load_v4_images(tmp_path, "190923")
    np.testing.assert_array_equal(responses.stimuli["n_repeats"], n_trials)
    assert responses.subject == "WE"
    assert "`n_repeats` is the smallest one" in responses.notes[0]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.2, 20))
def test_the_found_number_divides_the_true_one(seed, n, rate):
    counts = np.random.default_rng(seed).poisson(rate * n, (1, 40))
    found = int(count_repeats((counts / n).astype(np.float32))[0])
    assert n % found == 0
    # It is smaller only if all counts share a divisor with it.
    assert (counts % (n // found) == 0).all()


def test_silent_neurons_tell_no_number():
    assert count_repeats(np.zeros((2, 5))).tolist() == [1, 1]
    with pytest.raises(ValueError, match="of 1 pictures, such as 1, are no averages"):
        count_repeats(np.array([[0.5], [np.pi]]))


# ------------------------------------------------------------------ single trials


def test_single_trials_are_those_of_the_file(written):
    trials, n_trials = _trials()
    responses = load_v4_images(written, "210325", trials=True)
    assert len(responses) == n_trials.sum()
    assert (responses.stimuli["n_repeats"] == 1).all()
    row = 0
    for picture in (0, 1, 2):
        for repeat in range(n_trials[picture]):
            stimulus = responses.stimuli.iloc[row]
            assert stimulus["stimulus_id"] == f"v4-210325-{picture:04d}"
            assert stimulus["repeat"] == repeat
            np.testing.assert_array_equal(
                responses.betas[row], trials[picture, :, repeat]
            )
            level = int(responses.pictures[row].mean().round())
            assert level == 50 * picture
            row += 1
    assert not np.isnan(responses.betas).any()


def test_averaging_the_trials_gives_the_averages(written):
    averaged = load_v4_images(written, "210325")
    again = load_v4_images(written, "210325", trials=True).average()
    np.testing.assert_allclose(again.betas, averaged.betas, rtol=1e-6)
    assert again.stimuli.equals(averaged.stimuli)
    assert (again.pictures[638] == averaged.pictures[638]).all()


def test_what_is_loaded_comes_back_from_disk(written, tmp_path):
    for trials in (False, True):
        responses = load_v4_images(written, "210325", trials=trials)
        save_responses(tmp_path / "saved", responses)
        back = open_responses(tmp_path / "saved", pictures=responses.pictures)
        np.testing.assert_array_equal(back.betas, responses.betas)
        assert back.stimuli.equals(responses.stimuli)
        assert back.units.equals(responses.units)
        assert back.fingerprints == responses.fingerprints


# ------------------------------------------------------------------------ checking


def test_a_check_describes_what_is_there_and_names_the_rest(written):
    lines = check_v4_images(written)
    assert lines[0] == "recording 210325"
    assert lines[1].startswith("  v4-images PE: 640 rows of 640 stimuli, 50 units")
    missing = [f"not there: recording {n}" for n in ("190923", "201025", "210621")]
    assert lines[-3:] == missing


def test_a_check_reads_every_picture(written):
    path = written / "images_210325.zip"
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("0639.jpg")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 200] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(DataCorruptError, match=r"0639\.jpg is not a readable picture"):
        check_v4_images(written)
    narrow = io.BytesIO()
    Image.new("RGB", (90, 112)).save(narrow, "JPEG")
    _write_pictures(written, "210325", N_PICTURES, without=(3,))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("0003.jpg", narrow.getvalue())
    with pytest.raises(
        DataCorruptError, match=r"0003\.jpg.*\(90, 112\) instead of \(112"
    ):
        check_v4_images(written)


def test_a_check_of_half_a_recording_or_of_none_says_so(written, tmp_path_factory):
    (written / "responses_210325.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"responses_210325\.npz"):
        check_v4_images(written)
    with pytest.raises(FileNotFoundError, match="holds no recording: responses_190923"):
        check_v4_images(tmp_path_factory.mktemp("empty"))


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("recording", "options", "match"),
    [
        ("210352", {}, "`recording` must be one of '190923'.*Did you mean '210325'"),
        (210325, {}, "`recording` must be text; write '210325'"),
        ("190923", {"trials": True}, "published as averages.*exist of 210325"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_read(
    tmp_path, recording, options, match
):
    with pytest.raises((TypeError, ValueError), match=match):
        load_v4_images(tmp_path / "nothing", recording, **options)


# ------------------------------------------------------------------------- damage


def _changed(**changes):
    arrays = dict(zip(("responses_trials", "n"), _trials(), strict=True))
    trials = arrays["responses_trials"]
    means = np.nanmean(trials.astype(np.float64), axis=2).astype(np.float32)
    arrays = {"responses": means, "responses_trials": trials}
    for name, (where, value) in changes.items():
        arrays[name][where] = value
    return arrays


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"responses": None}, r"lacks the arrays \['responses'\]"),
        ({"responses_trials": None}, r"lacks the arrays \['responses_trials'\]"),
        ({"responses": np.ones((639, 50), "f4")}, r"must have shape \(640, 50\)"),
        ({"responses": np.ones((640, 50), int)}, "`responses` must hold floating"),
        ({"responses_trials": np.ones((640, 50, 9), "f4")}, r"shape \(640, 50, 10\)"),
        (_changed(responses=((5, 5), np.nan)), "`responses` has 1 values that are not"),
        (_changed(responses=((5, 5), -1)), "spike counts below 0"),
        (_changed(responses=((5, 5), 99)), "are not the averages of `responses_tr"),
        (_changed(responses_trials=((5, 5, 0), np.nan)), "the same trials for all"),
        (_changed(responses_trials=(5, np.nan)), "at least one, and NaN after the"),
        (_changed(responses_trials=((5, 5, 0), np.inf)), "has infinite values"),
    ],
)
@pytest.mark.parametrize("trials", [False, True])
def test_impossible_content_is_corrupt(tmp_path, change, match, trials):
    _write(tmp_path, **change)
    with pytest.raises(DataCorruptError, match=match):
        load_v4_images(tmp_path, "210325", trials=trials)


def test_averages_of_no_whole_counts_are_corrupt(tmp_path):
    known = RECORDINGS["210621"]
    means = np.random.default_rng(0).random((known.n_pictures, known.n_neurons))
    np.savez(tmp_path / "responses_210621.npz", responses=means)
    _write_pictures(tmp_path, "210621", known.n_pictures)
    with pytest.raises(DataCorruptError, match="no averages of whole spike counts"):
        load_v4_images(tmp_path, "210621")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["responses_210325.npz", "images_210325.zip"])
def test_a_truncated_file_is_corrupt(written, name, share):
    data = (written / name).read_bytes()
    (written / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match=f"{name} is not a readable"):
        load_v4_images(written, "210325")


def test_pictures_that_do_not_match_the_rows_are_corrupt(written):
    _write_pictures(written, "210325", N_PICTURES, without=(3, 8))
    with pytest.raises(DataCorruptError, match=r"lacks 2 of 640 pictures.*0003\.jpg"):
        load_v4_images(written, "210325")
    _write_pictures(written, "210325", N_PICTURES, more=["0640.jpg"])
    with pytest.raises(DataCorruptError, match=r"1 of its files, such as 0640\.jpg"):
        load_v4_images(written, "210325")


def test_a_damaged_picture_is_found_when_it_is_read(written):
    path = written / "images_210325.zip"
    data = bytearray(path.read_bytes())
    data[400] ^= 255
    path.write_bytes(bytes(data))
    pictures = load_v4_images(written, "210325").pictures
    assert pictures[5].shape == (112, 112, 3)
    with pytest.raises(DataCorruptError, match=r"0000\.jpg is not a readable picture"):
        pictures[0]


@pytest.mark.parametrize("name", ["responses_210325.npz", "images_210325.zip"])
def test_a_missing_file_is_named(written, name):
    (written / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_v4_images(written, "210325")


# ------------------------------------------------------------ the real files


@pytest.fixture(scope="module")
def folder(data_folder):
    return data_folder / "v4_images"


@pytest.mark.parametrize("recording", RECORDINGS)
def test_reference_values_are_reproduced(folder, recording):
    values = json.loads((folder / "reference_values.json").read_text())["values"]
    reference = values[recording]
    responses = load_v4_images(folder, recording)
    shape = (reference["n_images"], reference["n_neurons"])
    assert responses.betas.shape == shape
    mean = responses.betas.astype(np.float64).mean()
    assert mean == pytest.approx(reference["mean_rate"], abs=1e-5)
    assert responses.pictures[shape[0] - 1].shape == (112, 112, 3)


def test_found_numbers_of_trials_are_those_of_the_publishers(folder):
    about = {"190923": 14, "201025": 12, "210621": 16, "210325": 8}
    for recording, n in about.items():
        n_repeats = load_v4_images(folder, recording).stimuli["n_repeats"]
        assert n_repeats.mean() == pytest.approx(n, abs=0.6)
    # Where they are known, they are found.
    responses = load_v4_images(folder, "210325")
    np.testing.assert_array_equal(
        count_repeats(responses.betas), responses.stimuli["n_repeats"]
    )


def test_reliability_of_the_single_trials_is_that_of_the_source(folder):
    values = json.loads((folder / "reference_values.json").read_text())["values"]
    reference = values["210325"]
    responses = load_v4_images(folder, "210325", trials=True)
    keys = [responses.stimuli["stimulus_id"], responses.stimuli["repeat"] % 2]
    half_1, half_0 = (
        responses.select_stimuli((keys[1] == k).to_numpy()).average().betas
        for k in (1, 0)
    )
    r = np.array(
        [np.corrcoef(a, b)[0, 1] for a, b in zip(half_0.T, half_1.T, strict=True)]
    )
    assert r.mean() == pytest.approx(
        reference["split_half_r_even_odd_repeats_mean"], abs=6e-5
    )
    corrected = (2 * r / (1 + r)).mean()
    assert corrected == pytest.approx(reference["spearman_brown_mean"], abs=6e-5)
