"""What RSA compares models with: subjects, stimuli, units, repeats."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.cka import linear_cka
from analysis.rdms import make_crossnobis_rdm, make_rdm
from analysis.rsa import compare_rdms
from data_loaders.synthetic import n_pictures, simulate_nsd
from stimuli.category_pictures import make_category_pictures
from tasks.brain_sources import BrainData, load_brain
from tasks.rsa import run_rsa
from tasks.rsa_scores import CKA, LAYER
from tasks.rsa_targets import load_targets, repeat_ceiling
from tests.tasks.rsa_examples import CALL, DATA, make_units, rows_of


def test_sessions_of_a_subject_are_averaged(objects):
    (target,) = load_targets(DATA.format(objects), source="human IT")
    with np.load(objects / "rdms.npz") as file:
        expected = file["humanIT_subjects"].astype(float).mean(axis=1)
    np.testing.assert_allclose(target.rdms, expected)
    assert target.subjects == ("1", "2", "3")
    assert target.subject == "mean"


def test_the_average_of_the_source_can_be_asked_for(objects):
    (target,) = load_targets(DATA.format(objects), source="human IT", subjects=["mean"])
    with np.load(objects / "rdms.npz") as file:
        np.testing.assert_allclose(target.rdms[0], file["humanIT_mean"].astype(float))


def test_responses_of_units_are_compared_by_region(units, tmp_path):
    data, features, responses, hidden = units
    out = tmp_path / "run"
    run_rsa(data, [features], out, regions=["V1", "V4"], **CALL)
    table = rows_of(out, condition=LAYER, metric="rsa_spearman")
    assert table["region"].unique().tolist() == ["V1", "V4"]
    average = responses.average()
    for region in ("V1", "V4"):
        rows = table[table["region"] == region].set_index("layer")
        assert rows["value"].idxmax() == "hidden"
        betas = average.betas[:, average.in_region(region)]
        expected = compare_rdms(make_rdm(hidden), make_rdm(betas))[0, 0]
        assert rows.loc["hidden", "value"] == pytest.approx(expected)
        # Repeats tell how well a model without error would do.
        assert 0.5 < rows.loc["hidden", "ceiling_low"] < 1
        assert rows.loc["hidden", "ceiling_kind"] == "halves of repeats"
        cka = rows_of(out, metric=CKA, region=region).set_index("layer")["value"]
        direct = linear_cka(hidden, betas, debiased=True)
        assert cka["hidden"] == pytest.approx(direct)
        assert cka["hidden"] > cka["other"] + 0.2


def test_crossnobis_takes_the_single_trials(units, tmp_path):
    data, features, responses, hidden = units
    out = tmp_path / "run"
    run_rsa(data, [features], out, measure="crossnobis", compare="cosine", **CALL)
    table = rows_of(out, condition=LAYER, metric="rsa_cosine").set_index("layer")
    trials = responses.betas.reshape(30, 4, 24)
    people = make_crossnobis_rdm(trials)
    expected = compare_rdms(make_rdm(hidden, "squared_euclidean"), people, "cosine")
    assert table.loc["hidden", "value"] == pytest.approx(expected[0, 0])


def test_subjects_are_compared_on_the_stimuli_that_all_of_them_saw(monkeypatch):
    hidden, responses = make_units()
    own = [np.r_[5:20, 0:3], np.r_[25:30, 19:1:-1]]
    brains = [
        BrainData(
            replace(
                responses.average().select_stimuli(rows),
                subject=f"s{k}",
                pictures=[np.full((2, 2, 3), row, np.uint8) for row in rows],
            ),
            features={"hidden": hidden[rows]},
        )
        for k, rows in enumerate(own)
    ]
    monkeypatch.setattr("tasks.rsa_targets.load_brain", lambda *a, **k: brains)
    (target,) = load_targets("responses:.")
    common = sorted({*own[0]} & {*own[1]})
    assert target.stimulus_id == [f"p{row:02d}" for row in common]
    expected = make_rdm(responses.average().betas[common])
    np.testing.assert_allclose(target.rdms, [expected] * 2, atol=1e-9)
    shown = [picture[0, 0, 0] for picture in target.data.responses.pictures]
    assert shown == common
    np.testing.assert_array_equal(target.data.features["hidden"], hidden[common])
    n = len(common)
    told = f"tiny: compared are {n} of the {n} stimuli that all subjects saw."
    assert target.notes == (told,)
    (few,) = load_targets("responses:.", stimuli=9)
    assert few.notes == (told.replace(f"are {n}", "are 9"),)


@pytest.mark.slow
def test_subjects_of_nsd_are_compared_on_the_stimuli_that_all_of_them_saw(tmp_path):
    drawn = make_category_pictures(n_pictures(2, 1), size_px=32, seed=5)
    root = simulate_nsd(
        tmp_path / "nsd",
        drawn.images,
        drawn.table,
        n_subjects=2,
        n_sessions=1,
        n_shared=60,
        volume_shape=(9, 11, 9),
        spaces=("func1pt8mm",),
        picture_px=32,
        seed=3,
    )
    (target,) = load_targets(f"nsd:{root}", store=tmp_path / "store")
    assert target.subjects == ("subj01", "subj02")
    assert (target.subject, target.n_stimuli) == ("mean", 60)
    brains = load_brain(f"nsd:{root}", store=tmp_path / "store")
    for rdm, brain in zip(target.rdms, brains, strict=True):
        ids = brain.responses.stimuli["stimulus_id"].tolist()
        rows = [ids.index(name) for name in target.stimulus_id]
        betas = brain.responses.betas[rows]
        finite = np.isfinite(betas).all(axis=0)
        np.testing.assert_allclose(rdm, make_rdm(betas[:, finite]), atol=1e-9)
    pictures = target.data.responses.pictures
    own = brains[0].responses
    row = own.stimuli["stimulus_id"].tolist().index(target.stimulus_id[7])
    np.testing.assert_array_equal(pictures[7], own.pictures[row])


@pytest.mark.parametrize(
    "compare", ["pearson", "spearman", "kendall_tau_a", "whitened_cosine"]
)
def test_the_ceiling_from_repeats_is_what_the_truth_reaches(compare):
    found = []
    for seed in range(20):
        hidden, responses = make_units(n=40, n_repeats=6, noise=3.0, seed=seed)
        same = np.random.default_rng(seed)
        same.normal(size=hidden.shape)
        truth = make_rdm(hidden @ same.normal(size=(10, 24)))
        measured = make_rdm(responses.average().betas)
        trials = responses.betas.reshape(40, 6, 24)
        ceiling = repeat_ceiling(trials, "correlation", compare)
        found.append((compare_rdms(truth, measured, compare)[0, 0], ceiling))
    reached, ceiling = np.mean(found, axis=0)
    assert ceiling == pytest.approx(reached, abs=0.03)


def test_so_many_stimuli_are_spread_evenly(units, objects):
    data, *_ = units
    (target,) = load_targets(data, stimuli=10)
    assert target.stimulus_id == [f"p{i:02d}" for i in range(0, 30, 3)]
    (target,) = load_targets(DATA.format(objects), source="monkey IT", stimuli=23)
    whole = load_targets(DATA.format(objects), source="monkey IT")[0]
    rows = np.arange(23) * 92 // 23
    i, j = np.triu_indices(92, 1)
    square = np.zeros((92, 92))
    square[i, j] = square[j, i] = whole.rdms[0]
    chosen = square[np.ix_(rows, rows)][np.triu_indices(23, 1)]
    np.testing.assert_array_equal(target.rdms[0], chosen)
    assert target.stimulus_id == [whole.stimulus_id[r] for r in rows]


def test_a_region_or_source_named_twice_is_compared_once(units, objects):
    data, *_ = units
    assert [t.region for t in load_targets(data, regions=["V1", "V1"])] == ["V1"]
    twice = load_targets(DATA.format(objects), source=["human IT"] * 2)
    assert [t.region for t in twice] == ["human IT"]
    (target,) = load_targets(
        DATA.format(objects), source="human IT", subjects=["2", 1, "2"]
    )
    assert target.subjects == ("2", "1")
