"""People and models answer the same questions."""

import numpy as np
import pandas as pd
import pytest

from analysis.error_consistency import error_consistency
from neurovis.core.files import read_table, write_table
from neurovis.core.rng import generator
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS, StimulusSet, Viewing
from stimuli.save import save_stimuli
from tasks.decision_models import model_decisions, questions_of
from tasks.decision_scores import consistency_rows, psychometric_rows
from tasks.decision_trials import read_decisions, simulate_decisions, with_showings
from tasks.decisions import run_decisions
from tasks.decisions_report import finish_decisions
from tasks.picture_features import picture_models

PIXELS = "pixels=control:pixels:pixels:grid4"


def bright_and_dark(n=40, seed=0):
    """Pictures whose brightness tells the answer, with noise."""
    rng = generator(seed, "bright")
    answers = ["bright" if i % 2 else "dark" for i in range(n)]
    levels = [(150 if a == "bright" else 100) + rng.normal(0, 15) for a in answers]
    pictures = [
        np.clip(level + rng.normal(0, 4, (16, 16, 3)), 0, 255).astype(np.uint8)
        for level in levels
    ]
    table = pd.DataFrame({"stimulus_id": [f"p{i:02d}" for i in range(n)]})
    table["answer"] = answers
    table["half"] = ["left" if i < n / 2 else "right" for i in range(n)]
    return StimulusSet("levels", table, Viewing(16, 16, 16), pictures)


def people_of(stimuli, n=3, right=0.97, seed=0):
    """People who are wrong on pictures of their own and on hard ones of all."""
    rng = generator(seed, "people")
    hard = rng.random(len(stimuli)) < 0.3
    parts = []
    for k in range(n):
        truth = stimuli.table["answer"].to_numpy(object)
        good = np.where(
            hard, rng.random(len(truth)) < 0.3, rng.random(len(truth)) < right
        )
        other = np.where(truth == "bright", "dark", "bright")
        part = pd.DataFrame({"stimulus_id": stimuli.table["stimulus_id"]})
        part["subject"], part["trial"] = f"s{k}", np.arange(len(truth))
        part["response"] = np.where(good, truth, other)
        part["correct"], part["truth"] = good, truth
        part["rt_ms"] = 500 + 300 * hard + rng.random(len(truth))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decisions")
    stimuli = bright_and_dark()
    save_stimuli(stimuli, folder / "set", progress=False)
    write_table(folder / "people.parquet", people_of(stimuli))
    return folder


@pytest.fixture(scope="module")
def run(saved):
    out = saved / "run"
    trials = [saved / "people.parquet"]
    options = {"stimuli": saved / "set", "models": [PIXELS], "by": ["half"]}
    score = run_decisions(trials, out, **options, n_bootstrap=60, device="cpu")
    return out, score, trials, options


def rows(score, **wanted):
    table = score.table
    for name, value in wanted.items():
        table = table[table[name] == value]
    return table


def test_scores_of_everybody_stand_in_one_table(run):
    _, score, _, _ = run
    assert set(SCORE_COLUMNS) <= set(score.table.columns)
    accuracy = rows(score, metric="accuracy", condition="all")
    assert list(accuracy["subject"]) == [
        *("s0", "s1", "s2", "pixels", "mean of people", "chance")
    ]
    assert rows(score, subject="chance")["value"].item() == 0.5
    assert set(score.table["condition"]) == {"all", "half=left", "half=right"}
    assert not score.table["simulated"].any()


def test_a_readout_finds_what_the_pictures_tell(run):
    _, score, _, _ = run
    value = rows(score, metric="accuracy", condition="all", subject="pixels")["value"]
    assert value.item() >= 0.9
    d_prime = rows(score, metric="d_prime", condition="all", subject="pixels")["value"]
    assert d_prime.item() > 2


def test_kappa_with_people_is_the_mean_over_pairs(run):
    out, score, _, _ = run
    trials = read_table(out / "trials.parquet")
    wide = trials.pivot_table(index="stimulus_id", columns="subject", values="correct")
    right = {name: wide[name].to_numpy() == 1 for name in wide}
    people = ["s0", "s1", "s2"]
    expected = np.mean([error_consistency(right["pixels"], right[p]) for p in people])
    row = rows(score, metric="error_consistency", subject="pixels").iloc[0]
    assert row["value"] == pytest.approx(expected)
    pairs = [("s0", "s1"), ("s0", "s2"), ("s1", "s2")]
    ceiling = np.mean([error_consistency(right[a], right[b]) for a, b in pairs])
    assert row["ceiling_high"] == pytest.approx(ceiling)
    assert row["value_over_ceiling"] == pytest.approx(expected / ceiling)
    assert row["ci_low"] <= row["value"] <= row["ci_high"]


def test_labels_that_pictures_do_not_tell_are_at_chance():
    stimuli = bright_and_dark(60)
    rng = generator(5, "labels")
    stimuli.table["answer"] = rng.permutation(stimuli.table["answer"].to_numpy())
    asked = questions_of(people_of(stimuli, 1), stimuli, answer="answer")
    (model,) = picture_models([PIXELS])
    found = model_decisions(model, stimuli, asked)
    assert 0.25 < found["correct"].mean() < 0.75
    assert found["layer"].eq("pixels:grid4").all()


def test_groups_are_never_learnt_from_when_one_of_them_is_asked_about():
    # Every group has one answer and one brightness of its own: only a copy tells.
    rng = generator(6, "copies")
    levels = rng.permutation(np.linspace(40, 220, 12))
    answers = rng.permutation(np.repeat(["a", "b"], 6))
    pictures, table = [], []
    for group in range(12):
        for copy in range(5):
            pictures.append(np.full((8, 8, 3), levels[group], np.uint8))
            table.append((f"g{group}_{copy}", answers[group], group))
    frame = pd.DataFrame(table, columns=["stimulus_id", "answer", "group"])
    stimuli = StimulusSet("copies", frame, Viewing(8, 8, 8), pictures)
    seen = frame.assign(subject="s", trial=0, response="a", correct=True, rt_ms=1.0)
    asked = questions_of(seen, stimuli, answer="answer", groups="group")
    (model,) = picture_models([PIXELS])
    answered = model_decisions(model, stimuli, asked).merge(frame, on="stimulus_id")
    assert answered.groupby("group")["response"].nunique().max() == 1
    held = asked.table.groupby("group").size()
    assert (held == 5).all()


def test_odd_pictures_are_picked_by_every_layer_without_learning():
    pictures = [np.full((8, 8, 3), v, np.uint8) for v in (10, 20, 30, 240)]
    for picture in pictures:
        picture[:4, :, 0] = 128  # a direction to differ in
    table = pd.DataFrame({"stimulus_id": list("abcd")})
    stimuli = StimulusSet("four", table, Viewing(8, 8, 8), pictures)
    shown = pd.DataFrame({"stimulus_id": ["a+b+d", "a+d+c", "a+b+c"]})
    people = shown.assign(subject="s", trial=range(3), response="d", rt_ms=1.0)
    people = people.assign(correct=np.nan, truth=None)
    asked = questions_of(people, stimuli)
    assert asked.kind == "odd"
    two = "two=control:pixels:pixels:grid2,pixels:grid4"
    found = model_decisions(picture_models([two])[0], stimuli, asked)
    assert sorted(found["subject"].unique()) == ["two pixels:grid2", "two pixels:grid4"]
    picked = found[found["subject"] == "two pixels:grid2"].set_index("stimulus_id")
    assert picked.loc["a+b+d", "response"] == "d"
    assert picked.loc["a+d+c", "response"] == "d"
    assert found["correct"].isna().all()


def test_thresholds_of_simulated_people_are_recovered():
    levels = np.repeat([2.0, 4.0, 8.0, 16.0, 32.0], 60)
    rate = 0.5 + 0.5 * (1 - np.exp(-((levels / 9.0) ** 2)))
    parts = []
    for k in range(8):
        right = generator(0, "observer", k).random(300) < rate
        part = pd.DataFrame({"level": levels, "correct": right.astype(float)})
        parts.append(part.assign(subject=f"s{k}", model=HUMAN_MODEL, untrained=False))
    found, curves = psychometric_rows(
        pd.concat(parts), "level", guess=0.5, n_bootstrap=100, seed=0
    )
    thresholds = [row for row in found if row["metric"] == "threshold"]
    values = np.array([row["value"] for row in thresholds])
    assert np.median(np.abs(values / 9.0 - 1)) < 0.12
    inside = [row["ci_low"] < 9.0 < row["ci_high"] for row in thresholds]
    assert sum(inside) >= 6
    assert (curves["function"] == "weibull").all()


def test_rates_that_do_not_rise_have_no_threshold():
    trials = pd.DataFrame({"level": np.repeat([1.0, 2.0, 4.0], 40)})
    trials["correct"] = np.tile([1.0, 0.0], 60)
    trials = trials.assign(subject="m", model="m", untrained=True)
    found, curves = psychometric_rows(
        trials, "level", guess=0.5, n_bootstrap=50, seed=0
    )
    assert np.isnan([row["value"] for row in found]).all()
    assert curves["untrained"].all()


def test_a_model_that_shares_peoples_hard_pictures_has_higher_kappa():
    rng = generator(9, "hard")
    hard = rng.random(200) < 0.5
    ids = [f"p{i}" for i in range(200)]

    def observer(name, model, share):
        good = rng.random(200) < np.where(share, np.where(hard, 0.4, 0.95), 0.675)
        table = pd.DataFrame({"stimulus_id": ids, "correct": good.astype(float)})
        return table.assign(subject=name, model=model, showing=0)

    everybody = [observer(f"s{k}", HUMAN_MODEL, True) for k in range(4)]
    everybody += [observer("alike", "alike", True), observer("other", "other", False)]
    found, _ = consistency_rows(pd.concat(everybody), n_bootstrap=100, seed=0)
    kappa = {row["subject"]: row for row in found}
    assert kappa["alike"]["ci_low"] > 0.1
    assert abs(kappa["other"]["value"]) < 0.1
    assert kappa["alike"]["value_over_ceiling"] > 0.7


def test_errors_are_not_compared_on_fewer_than_ten_shared_pictures():
    table = pd.DataFrame({"stimulus_id": list("abc") * 2, "correct": 1.0})
    table = table.assign(subject=["s"] * 3 + ["t"] * 3, model=HUMAN_MODEL, showing=0)
    found, pairs = consistency_rows(table, n_bootstrap=5, seed=0)
    assert found == []
    assert pairs.empty


def test_repeated_pictures_are_counted_in_the_order_of_trials():
    table = pd.DataFrame({"subject": "s", "stimulus_id": ["a", "a", "b", "a"]})
    table["trial"] = [5, 1, 2, 3]
    assert with_showings(table)["showing"].tolist() == [2, 0, 0, 1]


def test_the_same_call_resumes_with_the_same_tables(run, saved):
    out, score, trials, options = run
    before = (out / "scores.parquet").read_bytes()
    again = run_decisions(trials, out, **options, n_bootstrap=60, device="cpu")
    assert (out / "scores.parquet").read_bytes() == before
    pd.testing.assert_frame_equal(again.table, score.table)
    with pytest.raises(ValueError, match="holds a run with seed=0"):
        run_decisions(trials, out, **options, n_bootstrap=60, device="cpu", seed=1)


def test_the_report_tells_people_models_and_chance(run):
    out, _, _, _ = run
    lines = finish_decisions(out)
    assert lines[1].startswith("  mean of people")
    assert any(line.startswith("  pixels") for line in lines)
    assert lines[-1] == f"report: {out / 'report.html'}"
    text = (out / "report.html").read_text()
    assert "Errors on the same pictures" in text
    assert (out / "figures" / "accuracy.png").is_file()


def test_simulated_people_are_marked_everywhere(tmp_path):
    trials, stimuli = simulate_decisions()
    assert trials["subject"].str.startswith("simulated person").all()
    assert stimuli.table["stimulus_id"].is_unique
    score = run_decisions(None, tmp_path / "out", n_bootstrap=20)
    people = score.table[score.table["model"] == HUMAN_MODEL]
    assert people["simulated"].all()
    assert score.provenance.notes[0].startswith("Simulated data")
    assert finish_decisions(tmp_path / "out")[1].startswith("  mean of people (simul")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"correct": "perhaps"}, "true, false or empty"),
        ({"stimulus_id": None}, "`stimulus_id` is empty in row 0"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, change, words):
    table = people_of(bright_and_dark(4), 1)
    table = table.astype(object)
    for name, value in change.items():
        table.loc[0, name] = value
    table["correct"] = table["correct"].astype(str)
    write_table(tmp_path / "a.parquet", table)
    if "correct" not in change:
        write_table(tmp_path / "a.parquet", table.assign(correct=True))
    with pytest.raises(ValueError, match=words):
        read_decisions([tmp_path / "a.parquet"])


def test_an_observer_in_two_files_is_refused(tmp_path):
    for name in ("a", "b"):
        write_table(tmp_path / f"{name}.parquet", people_of(bright_and_dark(4), 1))
    with pytest.raises(ValueError, match=r"'s0' is in .*a.parquet and in .*b"):
        read_decisions([tmp_path / "a.parquet", tmp_path / "b.parquet"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "half"}, "'half' holds 'left'"),
        ({"by": ["halves"]}, "halves"),
        ({"models": ["s0=control:pixels:pixels:grid4"]}, "has trials already"),
        ({"models": [PIXELS], "answer": "truth_is"}, "no column 'truth_is'"),
        ({"models": [PIXELS], "by": ["response"]}, "differs between trials"),
    ],
)
def test_bad_options_are_refused_before_the_folder_is_opened(
    saved, tmp_path, options, words
):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=words):
        run_decisions([saved / "people.parquet"], out, stimuli=saved / "set", **options)
    assert not out.exists()


def test_models_without_pictures_are_refused(saved, tmp_path):
    with pytest.raises(ValueError, match="look at pictures"):
        run_decisions([saved / "people.parquet"], tmp_path / "o", models=[PIXELS])


def test_pictures_that_the_set_has_not_are_named(saved, tmp_path):
    table = people_of(bright_and_dark(4), 1)
    table["stimulus_id"] = ["p00", "p01", "q02", "p03"]
    write_table(tmp_path / "a.parquet", table)
    with pytest.raises(ValueError, match="'q02', which the set 'levels' has not"):
        run_decisions([tmp_path / "a.parquet"], tmp_path / "o", stimuli=saved / "set")
