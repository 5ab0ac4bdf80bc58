"""The odd-one-out experiment from choices to its report."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

import tasks.odd_one_out as odd_one_out
from analysis.odd_one_out import predicted_similarity
from analysis.plots_odd_one_out import (
    plot_choice_likelihood,
    plot_odd_one_out,
    plot_spose_curves,
)
from analysis.simulated_triplets import (
    draw_triplets,
    simulate_choices,
    sparse_embedding,
)
from neurovis.core.files import read_table
from neurovis.core.types import SCORE_COLUMNS
from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.spose_loss import SposeSettings
from neurovis.fitting.triplet_alignment import cross_validate_alignment
from tasks.odd_one_out import run_odd_one_out, split_triplets
from tasks.odd_one_out_report import finish_odd_one_out

QUICK = SposeSettings(n_dimensions=6, learning_rate=0.05, max_epochs=15, batch_size=200)
N = 20


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Choices of two observers with one embedding, and files of embeddings."""
    folder = tmp_path_factory.mktemp("choices")
    truth = sparse_embedding(N, 4, share=0.7)
    triplets = draw_triplets(N, 900)
    for seed, name in enumerate(("first", "second")):
        rows = simulate_choices(truth, triplets, seed=seed)
        np.savetxt(folder / f"{name}.txt", rows, fmt="%d")
    np.save(folder / "truth.npy", truth)
    np.save(folder / "noise.npy", np.random.default_rng(0).normal(size=(N, 4)))
    np.save(folder / "matrix.npy", predicted_similarity(truth))
    return folder


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """A run with everything."""
    out = tmp_path_factory.mktemp("run")
    call = {
        "data": [f"a={files}/first.txt", files / "second.txt"],
        "embeddings": [files / "truth.npy", files / "noise.npy"],
        "matrices": [f"given={files}/matrix.npy"],
        "spose": True,
        "penalties": [0.02, 0.1],
        "settings": QUICK,
        "n_bootstrap": 100,
        "device": "cpu",
    }
    return out, call, run_odd_one_out(out, **call)


def one(table, **factors):
    for name, value in factors.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_the_true_embedding_wins_and_noise_does_not(run):
    _, _, score = run
    table = score.table
    assert list(table.columns[: len(SCORE_COLUMNS)]) == list(SCORE_COLUMNS)
    accuracy = {
        name: one(table, model=name, subject="a", metric="accuracy", condition="dot")
        for name in ("truth", "noise")
    }
    assert accuracy["truth"]["value"] > 0.55
    assert accuracy["noise"]["value"] < 0.45
    assert accuracy["truth"]["ci_low"] < accuracy["truth"]["value"]
    best = one(
        table, model="truth", subject="a", metric="nll", condition="temperature 1"
    )
    fitted = one(
        table, model="truth", subject="a", metric="nll", condition="temperature fitted"
    )
    assert best["value"] == pytest.approx(fitted["value"], abs=0.03)
    assert best["value"] < np.log(3) - 0.15
    noise = one(
        table, model="noise", subject="a", metric="nll", condition="temperature fitted"
    )
    assert noise["value"] == pytest.approx(np.log(3), abs=0.02)
    agreement = one(table, model="second", metric="agreement")
    assert agreement["subject"] == "a"
    assert 0.4 < agreement["value"] < 0.9


def test_predicted_similarities_are_compared(run):
    _, _, score = run
    row = one(score.table, model="truth", condition="given", metric="rsa_spearman")
    assert row["value"] == pytest.approx(1)
    assert row["n"] == N * (N - 1) / 2


def test_the_fit_is_judged_on_choices_that_it_has_not_seen(run):
    out, _, score = run
    row = one(
        score.table,
        model="spose",
        metric="accuracy",
        condition="dot, held-out triplets",
    )
    rows = np.loadtxt(run[1]["data"][0].partition("=")[2], dtype=int)
    parts = split_triplets(rows)
    assert row["n"] == len(parts[2])
    assert row["value"] > 0.45
    kinds = [{tuple(sorted(r)) for r in part.tolist()} for part in parts]
    assert not kinds[0] & kinds[2]
    assert not kinds[1] & kinds[2]
    assert sum(map(len, parts)) == len(rows)
    assert np.load(out / "spose.npy").shape[0] == N


def test_trials_have_the_common_columns(run):
    out, _, score = run
    trials = read_table(out / "trials.parquet")
    needed = {"task", "trial", "condition", "truth", "response", "correct"}
    assert {*needed, "rt_or_cost", "seed", "item_1"} <= set(trials)
    mine = trials[(trials["model"] == "truth") & (trials["condition"] == "dot")]
    row = one(score.table, model="truth", subject="a", metric="accuracy",
              condition="dot")  # fmt: skip
    assert mine["correct"].mean() == row["value"]
    assert mine["rt_or_cost"].between(0, np.log(3) + 1e-9).all()
    assert "spose" not in set(trials["model"])


def test_the_report_tells_the_scores(run, undrawn_figures):
    out, _, score = run
    lines = finish_odd_one_out(out)
    assert lines[0] == "share of triplets with the choice of: a"
    row = one(score.table, model="truth", subject="a", metric="accuracy",
              condition="dot")  # fmt: skip
    assert any("truth" in line and f"{row['value']:.3f}" in line for line in lines)
    html = (out / "report.html").read_text()
    assert "Fitted embedding" in html
    assert (out / "figures" / "likelihood.png").exists()
    assert lines[-1].endswith("report.html")


def test_an_interrupted_run_ends_with_identical_tables(run, tmp_path, monkeypatch):
    out, call, _ = run

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(odd_one_out, "rsa_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            run_odd_one_out(tmp_path, **call)
    with monkeypatch.context() as patch:
        patch.setattr(odd_one_out, "predicted_similarity", None)  # it is kept
        run_odd_one_out(tmp_path, **call)
    for name in ("scores.parquet", "trials.parquet", "directions.parquet", "spose.npy"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()
    with pytest.raises(ValueError, match="seed"):
        run_odd_one_out(tmp_path, **call, seed=1)


def test_the_simulation_needs_no_data(tmp_path, undrawn_figures):
    score = run_odd_one_out(tmp_path, n_bootstrap=50, device="cpu")
    table = score.table[score.table["subject"] == "simulated observer"]
    value = {
        name: one(table, model=name, metric="accuracy", condition="dot")
        for name in ("generator", "random")
    }
    assert value["random"]["untrained"]
    assert value["generator"]["value"] > value["random"]["value"] + 0.2
    # The generator is the best that there can be: the ceiling.
    low = value["generator"]["ceiling_low"]
    assert low == pytest.approx(value["generator"]["value"], abs=0.05)
    directions = read_table(tmp_path / "directions.parquet").set_index("model")
    assert directions.loc["generator", "verdict"] == "holds"
    assert directions.loc["random", "verdict"] != "holds"
    assert any("Simulated" in note for note in score.provenance.notes)


def test_features_are_aligned_on_other_objects(files, tmp_path, monkeypatch):
    few = TrainSettings(max_epochs=3)
    quick = partial(cross_validate_alignment, penalties=[0.01], settings=few)
    monkeypatch.setattr(odd_one_out, "cross_validate_alignment", quick)
    score = run_odd_one_out(
        tmp_path,
        data=files / "first.txt",
        embeddings=[files / "noise.npy"],
        align=True,
        n_bootstrap=20,
        device="cpu",
    )
    row = one(score.table, metric="accuracy", condition="aligned, held-out objects")
    # Of three folds: 35, 20 and 35 of 1140 triplets, at most.
    assert 30 < row["n"] < 150
    assert 0 <= row["ci_low"] < row["value"] < row["ci_high"] <= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_sample_gives_the_measured_agreement(data_folder, tmp_path):
    folder = data_folder / "things_oddoneout_sample"
    score = run_odd_one_out(tmp_path, data=folder, device="cpu")
    table = score.table[score.table["subject"] == "people"]
    assert one(table, model="gpt4")["value"] == pytest.approx(0.4573929064947029)
    row = one(table, model="category manual", metric="agreement_informative")
    assert (row["n"], row["value"]) == (164, 137 / 164)
    directions = read_table(tmp_path / "directions.parquet")
    assert directions["verdict"].tolist() == ["holds"]
    lines = finish_odd_one_out(tmp_path)
    assert any("gpt4" in line and "0.457 [0.437, 0.478]" in line for line in lines)


def test_frozen_numbers_of_the_simulation(run):
    _, _, score = run
    row = one(score.table, model="truth", subject="a", metric="accuracy",
              condition="dot")  # fmt: skip
    again = simulate_choices(sparse_embedding(N, 4, share=0.7), draw_triplets(N, 900))
    assert (
        again[:2].tolist()
        == np.loadtxt(run[1]["data"][0].partition("=")[2], dtype=int)[:2].tolist()
    )
    assert row["n"] == 900


# ----------------------------------------------------------------- bad input


def test_what_does_not_fit_together_is_refused_before_anything_is_written(
    files, tmp_path
):
    np.save(tmp_path / "short.npy", np.ones((5, 2)))
    np.save(tmp_path / "square.npy", np.eye(5))
    out = tmp_path / "out"
    first = files / "first.txt"
    wrong = [
        ({"data": first, "matrices": [tmp_path / "square.npy"]}, "shape"),
        ({"data": None, "embeddings": [tmp_path / "short.npy"]}, "5 rows"),
        ({"data": [first, first]}, "NAME=PATH"),
        ({"data": first, "embeddings": [f"first={files}/truth.npy"]}, "taken"),
        ({"data": []}, "empty"),
        ({"spose": True, "penalties": []}, "penalties"),
        ({"spose": "yes"}, "spose"),
        ({"n_bootstrap": 0}, "n_bootstrap"),
    ]
    for call, text in wrong:
        with pytest.raises(ValueError, match=text):
            run_odd_one_out(out, **call)
    with pytest.raises(FileNotFoundError):
        run_odd_one_out(out, data=tmp_path / "none.txt")
    assert not out.exists()


def test_figures_refuse_tables_without_their_rows(run):
    _, _, score = run
    with pytest.raises(ValueError, match="nobody"):
        plot_odd_one_out(score.table, subject="nobody")
    with pytest.raises(ValueError, match="nobody"):
        plot_choice_likelihood(score.table, subject="nobody")
    with pytest.raises(ValueError, match="n_dimensions"):
        plot_spose_curves(pd.DataFrame({"epoch": [0], "nll": [1.0]}))
    axes = plot_odd_one_out(score.table, subject="a")
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert "truth" in labels
    assert any(label.startswith("spose (held-out triplets") for label in labels)
