"""Real pictures: chosen by half of their trials, measured by the others."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from data_loaders.v4_images import load_v4_images
from neurovis.core.files import read_table, sha256_file
from neurovis.core.pictures import read_image
from neurovis.core.unit_responses import UnitResponses
from tasks.braindive_experiment import REAL, REAL_BEST
from tasks.encoding import fit_encoding
from tasks.encoding_run import model_folder
from tasks.real_pictures import (
    REAL_COLUMNS,
    MeasuredTrials,
    choose_real_pictures,
    find_real_pictures,
    held_out_pictures,
    load_measured_trials,
    save_real_pictures,
)
from tests.tasks.drive_examples import CALL, PIXELS, colour_brain, fit_colours, picture

N_TRIALS = 4


def choose(values, n=24, seed=0):
    """Choose from an array of pictures and trials."""
    ids = np.repeat([f"p{i:04d}" for i in range(len(values))], values.shape[1])
    return choose_real_pictures(values.ravel(), ids, n_pictures=n, seed=seed)


def part(table, condition):
    return table[table["condition"] == condition]


def brain(*, n=10, trials=3, subject="s1"):
    """Trials of the units of the colour brain: picture, and 100 times the trial."""
    rows = np.repeat(np.arange(n), trials)
    trial = np.tile(np.arange(trials), n)
    betas = np.stack([rows, rows, 100 * trial, np.ones(len(rows))], axis=1)
    units = pd.DataFrame({"unit_id": list("abcd"), "region": list("rrbf")})
    return UnitResponses(
        "tiny",
        subject,
        betas.astype(np.float32),
        pd.DataFrame({"stimulus_id": [f"p{i:02d}" for i in rows], "n_repeats": 1}),
        units,
        families=("region",),
        response_unit="spikes/s",
        pictures=[picture(int(i)) for i in rows],
    )


# What find_real_pictures asks of an encoder.
ENCODER = SimpleNamespace(
    name="s1 control:pixels pixels:grid16",
    response_unit="spikes/s",
    units=pd.DataFrame({"unit_id": list("dcba")}),
    n_units=4,
)
WEIGHTS = torch.tensor([0, 0, 0.5, 0.5])


def find(responses=None, *, held_out=None, encoder=ENCODER, weights=WEIGHTS, n=2):
    trials = MeasuredTrials(brain() if responses is None else responses, held_out)
    return find_real_pictures(trials, encoder, weights, n_pictures=n)


# --------------------------------------------------------------------- selection


@pytest.mark.parametrize("seed", range(5))
def test_of_noise_the_best_are_as_good_as_all(seed):
    noise = np.random.default_rng(seed).normal(size=(500, N_TRIALS))
    best = part(choose(noise, seed=seed), REAL_BEST)
    error = np.sqrt(1 / (2 * len(best)))  # means of two trials
    assert abs(best["measured_activation"].mean() - noise.mean()) < 3 * error
    # Those who report the trials that chose find a large effect.
    assert best["chosen_by"].mean() > noise.mean() + 8 * error


def test_without_noise_the_best_are_the_best():
    level = np.random.default_rng(0).permutation(100.0 * np.arange(60))
    table = choose(np.repeat(level[:, None], 2, axis=1), n=5)
    best = part(table, REAL_BEST)
    expected = np.sort(level)[::-1][:5].tolist()
    assert best["measured_activation"].tolist() == expected
    assert best["chosen_by"].tolist() == expected
    assert best["row"].tolist() == (2 * np.argsort(-level)[:5]).tolist()
    assert best["seed"].tolist() == [0, 1, 2, 3, 4]


def test_signal_in_noise_is_measured_without_bias():
    rng = np.random.default_rng(1)
    signal = rng.normal(size=2000)
    trials = signal[:, None] + rng.normal(size=(2000, N_TRIALS))
    best = part(choose(trials, n=100), REAL_BEST)
    gap = best["measured_activation"] - signal[best["row"] // N_TRIALS]
    assert abs(gap.mean()) < 3 * np.sqrt(1 / 200)
    assert best["measured_activation"].mean() > 1


def test_random_pictures_are_like_all_of_them():
    level = np.repeat(np.arange(1000.0)[:, None], 2, axis=1)
    random = part(choose(level, n=200), REAL)
    assert random["stimulus_id"].is_unique
    error = level[:, 0].std() / np.sqrt(200)
    assert abs(random["measured_activation"].mean() - 499.5) < 3 * error


@pytest.mark.parametrize(("trials", "halves"), [(2, (1, 1)), (3, (1, 2)), (8, (4, 4))])
def test_halves_share_no_trial_and_leave_none_out(trials, halves):
    values = 2.0 ** np.arange(20 * trials).reshape(20, trials) % 1009
    table = choose(values, n=10)
    assert list(table.columns) == list(REAL_COLUMNS)
    for row in table.to_dict("records"):
        assert (row["n_chosen_by"], row["n_measured"]) == halves
        total = halves[0] * row["chosen_by"] + halves[1] * row["measured_activation"]
        assert total == pytest.approx(values[row["row"] // trials].sum())


def test_halves_are_random_and_follow_the_seed():
    # The first trials are larger: halves in order would tell.
    values = np.random.default_rng(2).normal(size=(400, 4))
    values += np.array([9, 6, 3, 0])
    table = choose(values, n=100)
    random = part(table, REAL)
    assert abs((random["chosen_by"] - random["measured_activation"]).mean()) < 1.5
    pd.testing.assert_frame_equal(table, choose(values, n=100))
    assert not table.equals(choose(values, n=100, seed=1))


def test_pictures_of_one_trial_are_never_chosen():
    ids = ["once", "a", "a", "b", "b"]
    table = choose_real_pictures([9, 1, 1, 2, 2], ids, n_pictures=1)
    assert "once" not in set(table["stimulus_id"])
    assert part(table, REAL_BEST)["stimulus_id"].tolist() == ["b"]


@pytest.mark.parametrize(
    ("values", "n", "message"),
    [
        (np.ones((4, 1)), 1, "more than half of the 0 pictures"),
        (np.ones((5, 2)), 3, "3 would be more than half of the 5 pictures"),
        (np.ones((4, 2)), 0, "`n_pictures` must be within"),
        (np.full((4, 2), np.nan), 1, "`activation`"),
    ],
)
def test_choices_that_cannot_be_made_are_refused(values, n, message):
    with pytest.raises(ValueError, match=message):
        choose(values, n=n)


# -------------------------------------------------------------------- of a brain


def test_units_are_matched_by_name_and_predictions_play_no_part():
    real = find()  # the encoder cannot even predict
    best = part(real.table, REAL_BEST)
    assert best["stimulus_id"].tolist() == ["p09", "p08"]
    assert best["measured_activation"].tolist() == [9, 8]
    assert best["row"].tolist() == [27, 24]
    less = find(weights=torch.tensor([0, -1.0, 0.5, 0.5])).table
    assert (less["measured_activation"] < 0).any()  # unit c counts trials


def test_only_held_out_pictures_are_chosen_where_they_are_known():
    few = frozenset(f"p{i:02d}" for i in range(6)) | {"elsewhere"}
    real = find(held_out=few)
    assert part(real.table, REAL_BEST)["stimulus_id"].tolist() == ["p05", "p04"]
    assert part(real.table, REAL_BEST)["row"].tolist() == [15, 12]
    assert not any("may have been fitted" in note for note in real.notes)
    assert any("may have been fitted to the real" in note for note in find().notes)
    with pytest.raises(ValueError, match="none of the 1 pictures that s1 control"):
        find(held_out=frozenset({"elsewhere"}))


def test_undefined_and_single_trials_are_left_out_and_told():
    responses = brain()
    responses.betas[28:, 0] = np.nan  # one trial of p09 is left
    responses.betas[24:27, 0] = np.nan  # none of p08
    real = find(responses)
    assert part(real.table, REAL_BEST)["stimulus_id"].tolist() == ["p07", "p06"]
    assert "tiny s1: 1 of 9 pictures were shown once" in real.notes[0]


def test_the_fingerprint_follows_what_was_chosen_from():
    changed = brain()
    changed.betas[3, 1] += 1
    marks = {find().fingerprint, find(n=3).fingerprint}
    assert len(marks) == 1
    marks |= {find(changed).fingerprint}
    marks |= {find(held_out=frozenset({f"p{i:02d}" for i in range(8)})).fingerprint}
    assert len(marks) == 3


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        (brain(subject="s2"), "those of s2, but the encoder is s1 control:pixels"),
        (replace(brain(), response_unit="z"), "in 'z', but s1 .* to 'spikes/s'"),
        (brain().select_units([0, 2, 3]), "lacks 1 of the 2 units .* such as 'b'"),
    ],
)
def test_trials_of_another_brain_are_refused(responses, message):
    with pytest.raises(ValueError, match=message):
        find(responses)


def test_averages_and_trials_without_pictures_are_refused():
    with pytest.raises(ValueError, match="are averages of several trials"):
        MeasuredTrials(brain().average())
    with pytest.raises(ValueError, match="have no pictures to show"):
        MeasuredTrials(replace(brain(), pictures=None))


# ------------------------------------------------------------------------- files


def test_pictures_are_written_with_what_manifests_have(tmp_path):
    real = find()
    table = save_real_pictures(tmp_path, real, "red")
    assert table["file"].tolist() == [
        f"images/real-{name}/{i:012d}.png"
        for name in ("random", "best")
        for i in (0, 1)
    ]
    for row in table.to_dict("records"):
        shown = picture(int(row["stimulus_id"][1:]))
        np.testing.assert_array_equal(read_image(tmp_path / row["file"]), shown)
        assert sha256_file(tmp_path / row["file"]) == row["sha256"]
        assert row["saturated"] == np.isin(shown, (0, 255)).mean()
    assert (table["region"] == "red").all()
    kept = read_table(tmp_path / "real_pictures.csv")
    pd.testing.assert_frame_equal(kept, table, check_dtype=False)


def test_pictures_of_two_sizes_are_refused(tmp_path):
    # The best one is smaller.
    mixed = [picture(i, side=8 if i >= 27 else 16) for i in range(30)]
    with pytest.raises(ValueError, match="must have one size"):
        save_real_pictures(tmp_path, find(replace(brain(), pictures=mixed)), "red")
    assert list(tmp_path.iterdir()) == []


def test_what_a_fit_held_out_is_read_of_its_folder(tmp_path):
    home = fit_colours(tmp_path / "fit", f"{PIXELS}:pixels:grid4")
    assert held_out_pictures(home) == {f"p{i:02d}" for i in range(4, 40, 5)}
    data = colour_brain()
    fit_encoding(
        [data], [f"{PIXELS}:pixels:grid4"], tmp_path / "folds", test="folds-3", **CALL
    )
    folds = model_folder(tmp_path / "folds", "s1", PIXELS, "pixels:grid4")
    assert held_out_pictures(folds) is None  # fitted to all
    (home.parents[3] / "rows").mkdir()
    home.rename(home.parents[3] / "rows" / "moved")
    assert held_out_pictures(home.parents[3] / "rows" / "moved") is None


# --------------------------------------------------------------------- real data


def fitted_to(subject, tmp_path):
    return fit_colours(tmp_path / "fit", f"{PIXELS}:pixels:grid4", subject=subject)


def test_trials_of_a_recording_are_loaded(data_folder, tmp_path):
    source = f"v4-images:{data_folder / 'v4_images'}"
    trials = load_measured_trials(source, fitted_to("PE 210325", tmp_path))
    expected = load_v4_images(data_folder / "v4_images", "210325", trials=True)
    np.testing.assert_array_equal(trials.responses.betas, expected.betas)
    assert len(trials.held_out) == 8
    with pytest.raises(ValueError, match="published as averages over trials"):
        load_measured_trials(source, fitted_to("PE 201025", tmp_path / "other"))


def test_data_without_trials_or_pictures_are_refused(tmp_path):
    home = fitted_to("s1", tmp_path)
    for name in ("algonauts", "objects-fmri", "responses"):
        with pytest.raises(
            ValueError, match=f"`real` needs single trials.*{name} does"
        ):
            load_measured_trials(f"{name}:{tmp_path}", home)
    with pytest.raises(ValueError, match="must be NAME:PATH"):
        load_measured_trials("nsd", home)
