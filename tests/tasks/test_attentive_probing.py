"""The attentive-probing experiment: readouts, intervals, resuming, report."""

import numpy as np
import pandas as pd
import pytest

from neurovis.core.pictures import write_png
from neurovis.core.types import SCORE_COLUMNS
from neurovis.fitting.efficient_probe import EfficientProbeSettings
from tasks.attentive_probing import run_attentive_probing
from tasks.attentive_probing_report import finish_attentive_probing
from tasks.attentive_probing_scores import probe_scores

MODELS = ["vit=timm:test_vit@seeded:0:blocks.1"]
SMALL = {
    "models": MODELS,
    "n_pictures": 36,
    "n_queries": 4,
    "n_epochs": 2,
    "n_seeds": 2,
    "n_bootstrap": 100,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probing") / "run"
    return folder, run_attentive_probing(folder, **SMALL)


def test_run_leaves_complete_tables(run):
    folder, score = run
    table = score.table
    own = ["kind", "untrained", "probe", "n_parameters", "chance"]
    assert list(table.columns) == [*SCORE_COLUMNS, *own]
    rows = table[table["metric"] == "accuracy"].set_index("probe")
    assert set(rows.index) == {
        "efficient",
        "linear",
        "linear, class token",
        "nearest neighbours",
    }
    assert rows["untrained"].all()
    assert (rows["ci_low"] <= rows["value"]).all()
    assert (rows["value"] <= rows["ci_high"]).all()
    assert rows.loc["efficient", "n_parameters"] == 4 * 64 + 64 * 64 + 6 * 65
    assert rows.loc["linear", "n_parameters"] == 6 * 65
    trials = pd.read_parquet(folder / "trials.parquet")
    needed = ["task", "trial", "condition", "truth", "response", "correct", "seed"]
    assert {*needed, "rt_or_cost"} <= set(trials.columns)
    for probe, part in trials.groupby("probe"):
        assert rows.loc[probe, "value"] == pytest.approx(part["correct"].mean())
    heads = trials[trials["probe"] == "efficient"]
    linear = trials[trials["probe"] == "linear"]
    gains = table[table["metric"] == "gain_over_linear"].set_index("probe")
    gain = heads["correct"].mean() - linear["correct"].mean()
    assert gains.loc["efficient", "value"] == pytest.approx(gain)
    prefix = trials["stimulus_id"].str.partition("-")[0]
    assert (prefix == trials["truth"]).all()


def test_choices_are_made_without_tested_pictures(run):
    folder, _ = run
    choices = pd.read_parquet(folder / "choices.parquet")
    chosen = choices[choices["chosen"]]
    assert len(chosen) == 1
    assert chosen["held_loss"].iloc[0] == choices["held_loss"].min()


def test_a_run_again_gives_the_same_tables(run):
    folder, score = run
    pd.testing.assert_frame_equal(
        run_attentive_probing(folder, **SMALL).table, score.table
    )
    with pytest.raises(ValueError, match="holds a run with"):
        run_attentive_probing(folder, **{**SMALL, "n_seeds": 1})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_another_folder_gets_the_same_tables(run, tmp_path):
    fresh = run_attentive_probing(tmp_path / "other", **SMALL).table
    pd.testing.assert_frame_equal(fresh, run[1].table)


def test_report_tells_the_main_figures(run):
    folder, _ = run
    lines = finish_attentive_probing(folder)
    assert lines[0].startswith("accuracy of frozen tokens")
    assert any("vit blocks.1 (untrained), linear" in line for line in lines)
    assert lines[-1] == f"report {folder / 'report.html'}"
    assert "arXiv:2506.10178" in (folder / "report.html").read_text()
    assert (folder / "figures" / "gains.png").is_file()


def test_intervals_hold_the_true_gain_in_simulations():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(20):
        parts = []
        for probe, p, n_seeds in (("efficient", 0.8, 3), ("linear", 0.6, 1)):
            for number in range(n_seeds):
                part = pd.DataFrame({"trial": np.arange(150)})
                hits = rng.random(150) < p
                parts.append(part.assign(probe=probe, head_seed=number, correct=hits))
        trials = pd.concat(parts, ignore_index=True).assign(
            model="m", layer="l", kind="network", untrained=False, n_channels=8
        )
        looks = trials[trials["probe"] == "efficient"].assign(map_similarity=0.5)
        settings = EfficientProbeSettings(n_queries=2)
        scores, lines = probe_scores(trials, looks, settings, 2, 100, 0)
        gain = scores[scores["metric"] == "gain_over_linear"].iloc[0]
        inside += gain["ci_low"] <= 0.2 <= gain["ci_high"]
        assert len(lines) == 1
    assert inside >= 16


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_folder_of_classes_is_read(tmp_path):
    rng = np.random.default_rng(1)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in range(12):
            noise = rng.integers(-30, 30, (24, 24, 3))
            picture = np.clip(level + noise, 0, 255).astype(np.uint8)
            write_png(tmp_path / "data" / name / f"{k}.png", picture)
    call = {**SMALL, "data": tmp_path / "data", "n_seeds": 1, "n_epochs": 20}
    table = run_attentive_probing(tmp_path / "run", **call).table
    accuracy = table[table["metric"] == "accuracy"].set_index("probe")["value"]
    assert accuracy["linear"] == 1.0
    assert accuracy["efficient"] == 1.0
    assert table.loc[table["metric"] == "accuracy", "chance"].eq(0.5).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_queries": 7}, "no multiple"),
        ({"n_pictures": 3}, "n_pictures"),
        ({"test_share": 1.0}, "test_share"),
        ({"models": ["timm:test_vit@seeded:0:head"]}, "places"),
    ],
)
def test_bad_calls_write_nothing(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        run_attentive_probing(tmp_path / "run", **{**SMALL, **change})
    assert not (tmp_path / "run").exists()
