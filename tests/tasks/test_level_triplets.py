"""The experiment of low-level against high-level triplets, and its report."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import tasks.level_triplets as level_triplets
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_table
from tasks.level_triplets import run_level_triplets
from tasks.level_triplets_report import finish_level_triplets

# Controls need no weights and little time.
CALL = {
    "network": "n=control:pixels:fine=pixels:grid8,coarse=pixels:grid2",
    "observers": ["o=control:pixels:middle=pixels:grid4"],
    "n_pictures": 60,
    "n_loops": 4,
    "tolerance": 0.05,
    "n_bootstrap": 60,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out, run_level_triplets(out, **CALL)


def share(table, subject, condition):
    rows = table[(table["subject"] == subject) & (table["condition"] == condition)]
    return rows[rows["metric"] == "choice_high"]["value"].iloc[0]


def test_the_two_layers_follow_themselves(run):
    table = run[1].table
    assert share(table, "n fine", "conflict") == 0
    assert share(table, "n coarse", "conflict") == 1
    assert share(table, "n fine", "congruent") == 1
    assert share(table, "n coarse", "all") == 1
    weights = table[(table["subject"] == "n coarse") & (table["metric"] == "bias")]
    assert weights["value"].isna().all()


def test_trials_and_triplets_tell_the_same(run):
    out, _ = run
    triplets = read_table(out / "triplets.parquet")
    trials = read_table(out / "trials.parquet")
    assert triplets["triplet"].tolist() == list(range(len(triplets)))
    assert len(triplets) >= 10
    assert set(triplets["left"]) <= {"i", "j"}
    needed = {"task", "trial", "condition", "truth", "response", "correct", "seed"}
    assert needed | {"rt_or_cost", "d_high", "d_low"} <= set(trials)
    mine = trials[trials["subject"] == "o middle"]
    assert mine["triplet"].tolist() == triplets["triplet"].tolist()
    congruent = mine[mine["condition"] == "congruent"]
    assert (congruent["correct"] == (congruent["response"] == "j")).all()
    assert mine.loc[mine["condition"] == "conflict", "correct"].isna().all()


def test_the_simulated_observer_is_told_apart(run):
    table = run[1].table
    rows = table[table["subject"] == "simulated"].set_index("metric")
    assert rows.loc["weight_low", "ci_low"] > 0
    assert rows["kind"].eq("simulated").all()


def test_people_are_scored_and_compared(run, tmp_path, undrawn_figures):
    out, _ = run
    triplets = read_table(out / "triplets.parquet")
    rng = np.random.default_rng(0)
    rows = [
        {"subject": f"p{person}", "triplet": t, "response": "j"}
        for person in range(3)
        for t in triplets["triplet"]
    ]
    table = pd.DataFrame(rows)
    # Two always follow the high layer, one answers at random.
    last = table["subject"] == "p2"
    table.loc[last, "response"] = rng.choice(["i", "j"], int(last.sum()))
    path = tmp_path / "people.csv"
    table.to_csv(path, index=False)
    score = run_level_triplets(tmp_path / "out", **CALL, people=path)
    assert share(score.table, "human p0", "conflict") == 1
    agreement = score.table[score.table["metric"] == "agreement_people"]
    agreement = agreement.set_index("subject")["value"]
    high = (table["response"] == "j").mean()
    assert agreement["n coarse"] == pytest.approx(high)
    others = table[table["subject"] != "p0"]
    assert agreement["human p0"] == pytest.approx((others["response"] == "j").mean())
    cells = read_table(tmp_path / "out" / "cells.parquet")
    assert cells.loc[cells["subject"] == "n coarse", "n"].sum() == len(table)
    finish_level_triplets(tmp_path / "out")
    assert "Agreement with people" in (tmp_path / "out" / "report.html").read_text()


def test_answers_to_other_triplets_are_refused(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("subject,triplet,response\np,999,i\n")
    with pytest.raises(ValueError, match="999"):
        run_level_triplets(tmp_path / "a", **CALL, people=path)
    path.write_text("subject,triplet,response\np,0,left\n")
    with pytest.raises(DataCorruptError, match="'left'"):
        run_level_triplets(tmp_path / "b", **CALL, people=path)
    assert not (tmp_path / "b").exists()


def test_equal_runs_are_identical_and_another_one_is_refused(run, tmp_path):
    out, _ = run
    run_level_triplets(tmp_path, **CALL)
    for name in ("scores.parquet", "trials.parquet", "triplets.parquet"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()
    with pytest.raises(ValueError, match="seed"):
        run_level_triplets(tmp_path, **CALL, seed=1)


def test_a_folder_of_pictures_is_searched(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    flat = Image.new("RGB", (16, 16), (90, 90, 90))
    flat.save(folder / "flat.png")
    for number in range(40):
        small = rng.integers(0, 255, (2, 2, 3), np.uint8)
        picture = Image.fromarray(small).resize((16, 16))
        noise = np.asarray(picture, int) + rng.integers(-60, 60, (16, 16, 3))
        noisy = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
        noisy.save(folder / f"{number:02d}.png")
    call = {**CALL, "pictures": folder, "tolerance": 0.1}
    score = run_level_triplets(tmp_path / "out", **call)
    assert any("1 pictures do not vary" in note for note in score.provenance.notes)
    triplets = read_table(tmp_path / "out" / "triplets.parquet")
    names = sorted(path.name for path in folder.iterdir())
    for role in ("root", "i", "j"):
        assert triplets[f"{role}_id"].tolist() == [names[k] for k in triplets[role]]
        assert "flat.png" not in set(triplets[f"{role}_id"])


def test_the_report_tells_the_shares(run, undrawn_figures):
    out, _ = run
    lines = finish_level_triplets(out)
    assert lines[0] == "conflict triplets: share that follows the high layer"
    assert any("n coarse" in line and "1.00" in line for line in lines)
    html = (out / "report.html").read_text()
    assert "Piriyajitakonkij" in html
    assert "drawings of this suite" in html


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_shipped_network_goes_from_low_to_high(tmp_path):
    score = run_level_triplets(tmp_path, device="cpu")
    names = [f"compact_vgg stage{k}" for k in (2, 3, 4, 5)]
    shares = [share(score.table, name, "conflict") for name in names]
    assert shares == sorted(shares)
    untrained = score.table[score.table["untrained"]]["subject"].unique()
    assert set(untrained) == {"untrained stage2", "untrained stage5"}


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path):
    out = tmp_path / "out"
    for wrong, text in (
        ({"network": "control:pixels:pixels:grid4"}, "two layers"),
        ({"n_pictures": 2}, "n_pictures"),
        ({"n_loops": 0}, "n_loops"),
        ({"tolerance": 0}, "tolerance"),
        ({"device": "tpu"}, "device"),
    ):
        with pytest.raises(ValueError, match=text):
            run_level_triplets(out, **{**CALL, **wrong})
    with pytest.raises(FileNotFoundError, match="pictures"):
        run_level_triplets(out, **CALL, pictures=tmp_path / "none")
    assert not out.exists()
    assert level_triplets.TASK == "level-triplets"
