"""Letter identification: answers, scores, resumed runs and reports."""

import shutil

import numpy as np
import pandas as pd
import pytest

from analysis.plots_letters import plot_letter_layers
from neurovis.core.store import Store
from neurovis.core.types import SCORE_COLUMNS, Score
from tasks.letter_identification import TASK, run_letter_identification
from tasks.letter_identification_report import finish_letter_identification
from tasks.letter_scores import OWN_COLUMNS, letter_directions, letter_scores
from tasks.letter_sets import letter_tests

CALL = {
    "models": ["control:pixels:pixels:grid32", "net=compact_vgg@seeded:0:stage3:grid2"],
    "arrangements": ["inner", "outer", "radial", "tangential"],
    "spacings_deg": [0.65, 1.4],
    "n_train": 5,
    "n_test": 1,
    "px_per_deg": 16.0,
    "n_bootstrap": 20,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run; not to be changed."""
    out = tmp_path_factory.mktemp("letters") / "run"
    run_letter_identification(out, **CALL)
    return out


@pytest.fixture(scope="module")
def trials(run):
    return pd.read_parquet(run / "trials.parquet")


def test_every_layer_answers_every_question_once(trials):
    assert not trials.duplicated(["model", "layer", "stimulus_id", "asked"]).any()
    counts = trials.groupby(["model", "test", "asked"]).size()
    assert len(trials["model"].unique()) == 2
    for model in trials["model"].unique():
        # 30 single letters, and 10 in 4 arrangements with 2 spacings.
        assert counts[model, "crowding", ""] == 30 + 10 * 4 * 2
        # 16 single letters, 16 pairs, 4 neutral ones.
        assert counts[model, "navon", "global"] == 16 + 16 + 4
        assert counts[model, "navon", "local"] == 16 + 16 + 4
    assert (trials["correct"] == (trials["truth"] == trials["response"])).all()
    assert trials["rt_or_cost"].between(0, 1).all()
    assert (trials["task"] == TASK).all()
    single = trials["model"] == "net"
    assert trials.loc[single, "untrained"].all()
    assert not trials.loc[~single, "untrained"].any()


def test_training_letters_are_no_test_letters():
    for one in letter_tests(
        ["crowding", "navon"], arrangements=["radial"], spacings_deg=[0.7, 1.0],
        eccentricity_deg=5.0, height_deg=0.6, view="target", n_train=2, n_test=1,
        px_per_deg=16.0, seed=0,
    ):  # fmt: skip
        trained = {picture.tobytes() for picture in one.train.images}
        assert not trained & {picture.tobytes() for picture in one.shown.images}
        assert (
            "flankers" not in one.train.table
            or (one.train.table["arrangement"] == "none").all()
        )
        assert set(one.labels) == set(one.truth) - {""}


def test_single_letters_are_read_by_pixels_and_chance_stands_beside(run):
    table = Score.load(run).table
    assert list(table.columns) == [*SCORE_COLUMNS, *OWN_COLUMNS]
    rows = table[(table["metric"] == "accuracy") & (table["condition"] == "single")]
    pixels = rows[rows["model"] == "control:pixels"]["value"].iloc[0]
    assert pixels > 0.15
    chance = table[table["model"] == "chance"].set_index("test")["value"]
    assert chance.to_dict() == {"crowding": 0.1, "navon": 0.25}
    assert table["value"].dropna().ge(-1).all()


def test_scores_are_shares_of_right_answers(run, trials):
    table = Score.load(run).table
    mine = table[(table["metric"] == "accuracy") & (table["test"] == "crowding")]
    for row in mine[mine["model"] != "chance"].to_dict("records"):
        own = trials[
            (trials["model"] == row["model"])
            & (trials["layer"] == row["layer"])
            & (trials["test"] == "crowding")
            & (trials["condition"] == row["condition"])
        ]
        assert row["value"] == own["correct"].mean()
        assert row["n"] == len(own)


def test_an_observer_with_a_known_critical_spacing_gets_it(trials):
    own = trials[(trials["model"] == "net") & (trials["test"] == "crowding")]
    parts = []
    rng = np.random.default_rng(0)
    for i, spacing in enumerate((0.5, 1.0, 2.0, 4.0)):
        for kind, critical in (("radial", 2.0), ("tangential", 1.0)):
            share = 1 / (1 + (spacing / critical) ** -3)
            n = 300
            parts.append(
                pd.DataFrame(
                    {
                        "condition": f"{kind}_{spacing:g}",
                        "arrangement": kind,
                        "spacing_deg": spacing,
                        "stimulus_id": [f"{kind}{i}_{k:03d}" for k in range(n)],
                        "correct": rng.random(n) < 0.1 + 0.85 * share,
                    }
                )
            )
    single = pd.DataFrame(
        {
            "condition": "single",
            "arrangement": "none",
            "spacing_deg": np.nan,
            "stimulus_id": [f"s{k:03d}" for k in range(300)],
            "correct": rng.random(300) < 0.95,
        }
    )
    told = pd.concat([*parts, single], ignore_index=True).assign(
        **{
            name: own[name].iloc[0]
            for name in ("model", "layer", "test", "kind", "untrained", "asked")
        },
        eccentricity_deg=5.0,
        chosen=True,
    )
    scores = letter_scores(told, n_bootstrap=50).set_index(["metric", "condition"])
    found = scores.loc["critical_spacing_deg"]
    assert found.loc["radial", "value"] == pytest.approx(2.0, rel=0.15)
    assert found.loc["tangential", "value"] == pytest.approx(1.0, rel=0.15)
    assert found.loc["radial", "ci_low"] < found.loc["radial", "value"]
    ratio = scores.loc[("critical_spacing_over_eccentricity", "radial"), "value"]
    assert ratio == pytest.approx(found.loc["radial", "value"] / 5)
    verdicts = letter_directions(told, n_bootstrap=50).set_index("claim")["verdict"]
    assert verdicts["single letters above letters with near radial flankers"] == "holds"
    assert verdicts["far radial flankers above near ones"] == "holds"
    assert verdicts["tangential flankers above radial ones"] == "holds"
    assert "inner flanker above outer one" not in verdicts


def test_directions_name_their_sources_as_recalled(run):
    table = pd.read_parquet(run / "directions.parquet")
    assert table["source"].str.endswith("(recalled)").all()
    assert set(table["model"]) == {"control:pixels", "net"}
    assert table.loc[table["model"] == "net", "untrained"].all()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_interrupted_run_resumes_with_identical_tables(run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    keys = Store(out / "parts").keys()
    # As if it had been killed after some of its parts.
    shutil.rmtree(out / "parts" / keys[0])
    names = ("trials.parquet", "directions.parquet", "scores.parquet")
    for name in (*names, "provenance.json"):
        (out / name).unlink()
    run_letter_identification(out, **CALL)
    assert Store(out / "parts").keys() == keys
    for name in names:
        assert (out / name).read_bytes() == (run / name).read_bytes(), name


def test_another_run_in_the_same_folder_is_refused(run):
    with pytest.raises(ValueError, match="holds a run with seed=0"):
        run_letter_identification(run, **{**CALL, "seed": 1})


def test_a_report_tells_critical_spacings_and_directions(run, undrawn_figures):
    lines = finish_letter_identification(run)
    assert lines[0].startswith("letter identification")
    assert any("critical spacing, radial" in line for line in lines)
    assert any("precedence of the large letter" in line for line in lines)
    assert lines[-1] == f"report {run / 'report.html'}"
    text = (run / "report.html").read_text()
    assert "Letter identification: crowding and Navon figures" in text
    assert "recalled" in text
    assert (run / "figures" / "directions.png").is_file()
    assert (run / "figures" / "crowding_net.png").is_file()


def test_undefined_spacings_are_told_in_words(run):
    table = Score.load(run).table
    ax = plot_letter_layers(table, metric="critical_spacing_deg", condition="radial")
    wanted = (table["metric"] == "critical_spacing_deg") & (
        table["condition"] == "radial"
    )
    texts = [text.get_text() for text in ax.texts]
    assert len(texts) == table.loc[wanted, "value"].isna().sum()
    assert len(ax.get_yticks()) == wanted.sum() == 2
    with pytest.raises(ValueError, match="has no rows 'no'"):
        plot_letter_layers(table, metric="no")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tests": ["crowing"]}, "Did you mean 'crowding'"),
        ({"tests": []}, "must name one thing or more"),
        ({"spacings_deg": [0.5]}, "`spacings_deg` must be within"),
        ({"arrangements": ["none"]}, "`arrangements` must be one of"),
        ({"n_train": 4}, "`n_train` must be within"),
        ({"view": "foveal"}, "`view` must be one of"),
        ({"models": ["given:x"]}, "`models` must name networks"),
    ],
)
def test_wrong_arguments_leave_nothing(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        run_letter_identification(tmp_path / "run", **{**CALL, **change})
    assert not (tmp_path / "run").exists()
