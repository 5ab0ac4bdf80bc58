"""Recognition: networks beside people, on simulated people and pictures."""

import gzip
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.aligned_trials import align_trials
from analysis.error_consistency import error_consistency
from analysis.plot_style import Look
from analysis.plots_recognition import (
    plot_condition_curves,
    plot_confusion,
    plot_consistency_by_experiment,
    plot_kappa_matrix,
    plot_shape_bias_by_category,
    recognition_looks,
)
from analysis.recognition_benchmark import benchmark_summary
from analysis.shape_bias import shape_bias
from analysis.sixteen_classes import CATEGORIES
from neurovis.core.files import read_table
from neurovis.core.types import SCORE_COLUMNS, Score
from tasks.recognition import run_recognition
from tasks.recognition_chance import chance_spread
from tasks.recognition_models import DeciderSpec, baseline_trials, parse_decider
from tasks.recognition_parts import (
    benchmark_scopes,
    keep_shared,
    largest_part,
    picture_parts,
)
from tasks.recognition_report import finish_recognition, write_recognition_report
from tasks.recognition_simulation import (
    MODEL_NAME,
    simulated_decisions,
    simulated_pictures,
)
from tests.undrawn import figures_not_drawn

NETWORK = "timm:test_vit@seeded:0"
CALL = {"n_bootstrap": 40, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Simulated people, a simulated model and an untrained network; not changed."""
    out = tmp_path_factory.mktemp("recognition") / "run"
    run_recognition(None, out, models=[NETWORK], **CALL)
    return out


@pytest.fixture(scope="module")
def scores(run):
    return Score.load(run).table


def one(scores, model, metric, stimuli="cue-conflict", condition="all", **more):
    own = scores[
        (scores["model"] == model)
        & (scores["metric"] == metric)
        & (scores["stimuli"] == stimuli)
        & (scores["condition"] == condition)
        & (scores["subject"] == more.get("subject", model))
    ]
    assert len(own) == 1, (model, metric, stimuli, condition)
    return own.iloc[0]


# ---------------------------------------------------------------- what is simulated


def test_simulated_people_share_difficulties_and_the_model_has_its_own():
    table = pd.concat(
        [simulated_decisions(seed).assign(seed=seed) for seed in range(4)]
    )
    kappas = {"people": [], "model": []}
    for cell in align_trials(table, ["seed", "experiment", "condition"]):
        correct = dict(zip(cell.subjects, cell.correct.astype(bool), strict=True))
        if 0.2 < np.mean(cell.correct) < 0.9:
            one, other = correct["subject-01"], correct["subject-02"]
            kappas["people"].append(error_consistency(one, other))
            kappas["model"].append(error_consistency(one, correct[MODEL_NAME]))
    assert np.mean(kappas["people"]) > 0.25
    spread = np.std(kappas["model"]) / np.sqrt(len(kappas["model"]))
    assert abs(np.mean(kappas["model"])) < 3 * spread


def test_simulated_pictures_are_those_of_the_simulated_decisions():
    shown = simulated_pictures(0)
    table = simulated_decisions(0)
    for name, stimuli in shown.items():
        assert set(stimuli.table["image_id"]) == set(
            table.loc[table["experiment"] == name, "image_id"]
        )
        assert stimuli.load(0).shape == (224, 224, 3)
    again = simulated_pictures(0)["edge"].load(3)
    np.testing.assert_array_equal(shown["edge"].load(3), again)
    assert (simulated_pictures(1)["edge"].load(3) != again).any()
    black = shown["silhouette"].load(0) < 128
    assert 0.1 < black.mean() < 0.5


# ---------------------------------------------------------------------- the numbers


def test_benchmark_values_of_the_run_are_those_of_its_trials(run, scores):
    trials = read_table(run / "trials.parquet")
    trials = trials[trials["kind"].isin(("people", "simulated"))]
    found = benchmark_summary(trials).set_index(
        ["decision_maker", "experiment", "metric"]
    )["value"]
    for maker, model, subject in (
        (MODEL_NAME, MODEL_NAME, MODEL_NAME),
        ("humans", "human", "people"),
    ):
        for metric in ("error_consistency", "ood_accuracy", "accuracy_difference"):
            row = one(scores, model, metric, "contrast", subject=subject)
            assert row["value"] == pytest.approx(found[maker, "contrast", metric])
            whole = scores[
                (scores["condition"] == "benchmark")
                & (scores["model"] == model)
                & (scores["metric"] == metric)
                & scores["stimuli"].str.contains("contrast")
            ]
            assert whole["value"].item() == pytest.approx(found[maker, "all", metric])


def test_rows_of_pairs_give_the_means(run, scores):
    pairs = read_table(run / "pairs.parquet")
    own = pairs[
        (pairs["experiment"] == "edge")
        & pairs["first"].str.startswith("subject-")
        & (pairs["second"] == MODEL_NAME)
    ]
    assert len(own) == 6
    row = one(scores, MODEL_NAME, "error_consistency", "edge")
    assert row["value"] == pytest.approx(own["kappa"].mean())
    expected = one(scores, MODEL_NAME, "expected_consistency", "edge")
    assert expected["value"] == pytest.approx(own["expected"].mean())


def test_what_is_known_of_the_simulation_is_recovered(scores):
    people = one(scores, "human", "error_consistency", subject="people")
    assert people["ci_low"] > 0.15
    model = one(scores, MODEL_NAME, "error_consistency", "contrast")
    assert abs(model["value"]) < 2 * model["null_high"]
    bias = one(scores, "human", "shape_bias", subject="people")
    assert bias["value"] > 0.9
    assert bias["people_ci_low"] < bias["value"] < bias["people_ci_high"]
    assert one(scores, MODEL_NAME, "shape_bias")["ci_high"] < 0.5


def test_baselines_are_what_they_must_be(scores):
    assert one(scores, "shape only", "shape_bias")["value"] == 1
    assert one(scores, "shape only", "ood_accuracy")["value"] == 1
    assert one(scores, "shape only", "error_consistency")["value"] == 0
    assert one(scores, "texture only", "shape_bias")["value"] == 0
    # A fifth of the pictures has the texture of its shape.
    assert one(scores, "texture only", "ood_accuracy")["value"] == pytest.approx(0.2)
    chance = one(scores, "chance", "ood_accuracy", "contrast")
    assert abs(chance["value"] - 1 / 16) < 0.03


def test_a_copy_of_a_person_agrees_with_others_as_that_person_does(run, scores):
    pairs = read_table(run / "pairs.parquet")
    own = pairs[pairs["experiment"] == "silhouette"]
    copy = own[
        (own["second"] == "copy of a person") & own["first"].str.contains("subj")
    ]
    by_first = copy.set_index("first")["kappa"]
    assert by_first["subject-01"] == 1
    person = one(
        scores, "human", "error_consistency", "silhouette", subject="subject-01"
    )
    assert by_first.drop("subject-01").mean() == pytest.approx(person["value"])


def test_ceilings_are_people_with_each_other(scores):
    people = one(scores, "human", "error_consistency", "edge", subject="people")
    model = one(scores, MODEL_NAME, "error_consistency", "edge")
    assert model["ceiling_low"] == model["ceiling_high"] == people["value"]
    ratio = model["value"] / people["value"]
    assert model["value_over_ceiling"] == pytest.approx(ratio)
    assert people["value_over_ceiling"] == 1
    difference = one(scores, MODEL_NAME, "accuracy_difference", "edge")
    assert np.isnan(difference["ceiling_low"])


def test_every_row_tells_what_it_is_about(run, scores):
    assert set(SCORE_COLUMNS) <= set(scores)
    assert scores["simulated"].all()
    untrained = scores["model"] == "timm:test_vit@seeded:0"
    assert scores.loc[untrained, "untrained"].all()
    assert not scores.loc[~untrained, "untrained"].any()
    provenance = Score.load(run).provenance
    assert any("simulated" in note for note in provenance.notes)
    assert any("untrained" in note for note in provenance.notes)
    trials = read_table(run / "trials.parquet")
    needed = {"task", "trial", "condition", "truth", "response", "correct", "seed"}
    assert needed | {"rt_or_cost"} <= set(trials)
    own = trials[trials["kind"] == "network"]
    assert own["rt_or_cost"].between(0, 1).all()


def test_chance_spread_is_that_of_shuffled_answers():
    trials = simulated_decisions(0).assign(excluded=False)
    trials = trials[trials["experiment"] == "silhouette"]
    (part,) = picture_parts(trials)
    spread = chance_spread(part)
    (cell,) = align_trials(part.trials, ["condition"])
    rng = np.random.default_rng(0)
    model = cell.correct[cell.subjects.index(MODEL_NAME)].astype(bool)
    people = [
        c.astype(bool)
        for c, name in zip(cell.correct, cell.subjects, strict=True)
        if name != MODEL_NAME
    ]
    with_model, among = [], []
    for _ in range(1500):
        drawn = rng.permutation(model)
        with_model.append(np.mean([error_consistency(drawn, p) for p in people]))
        shuffled = [rng.permutation(p) for p in people[:3]]
        among.append(
            np.mean(
                [
                    error_consistency(shuffled[i], shuffled[j])
                    for i, j in ((0, 1), (0, 2), (1, 2))
                ]
            )
        )
    assert spread[MODEL_NAME] == pytest.approx(np.std(with_model), rel=0.08)
    first = set(list(cell.subjects)[:3])
    few = replace(part, trials=part.trials[part.trials["subject"].isin(first)])
    few = replace(few, makers=())
    assert chance_spread(few)["humans"] == pytest.approx(np.std(among), rel=0.08)


# ------------------------------------------------------------------------- pictures


def trial_rows(subject, images, *, experiment="edge", is_human=False):
    return pd.DataFrame(
        {
            "subject": subject,
            "is_human": is_human,
            "experiment": experiment,
            "condition": "0",
            "image_id": images,
            "truth": "cat",
            "response": "cat",
            "correct": True,
            "excluded": False,
        }
    )


def test_observers_are_compared_on_the_pictures_they_share():
    trials = pd.concat(
        [
            trial_rows("subject-01", list("abcd"), is_human=True),
            trial_rows("subject-02", list("abcd"), is_human=True),
            trial_rows("whole", list("dcba")),
            trial_rows("half", list("abz")),
            trial_rows("other", list("cd")),
        ]
    )
    kept, notes = keep_shared(trials)
    assert notes == [
        "half: 1 of 3 trials were left out because people did not see these pictures."
    ]
    parts = picture_parts(kept)
    assert [(p.label, p.makers) for p in parts] == [
        ("all", ("whole",)),
        ("2 of 4", ("whole", "half")),
        ("2 of 4, set 2", ("whole", "other")),
    ]
    assert set(parts[1].trials["image_id"]) == {"a", "b"}
    assert len(parts[1].trials) == 8
    assert largest_part(parts, "edge", "half") is parts[1]
    assert largest_part(parts, "sketch", "half") is None
    scopes = benchmark_scopes(parts, ["whole", "half"])
    assert [(s.title, s.makers) for s in scopes] == [
        ("edge", ("whole",)),
        ("edge (2 of 4)", ("whole", "half")),
    ]


def test_an_observer_without_a_picture_of_people_is_refused():
    trials = pd.concat(
        [
            trial_rows("subject-01", list("ab"), is_human=True),
            trial_rows("net", ["p.png"]),
        ]
    )
    with pytest.raises(ValueError, match="'net' has no picture in common with people"):
        keep_shared(trials)


def test_chance_does_not_depend_on_who_else_is_there():
    people = simulated_decisions(0)
    people = people[people["is_human"]].assign(texture="")
    few = people[people["subject"].isin(("subject-01", "subject-02"))]
    keys = ["experiment", "condition", "image_id", "response"]
    found = [
        table.loc[table["subject"] == "chance", keys].reset_index(drop=True)
        for table in (baseline_trials(people), baseline_trials(few))
    ]
    pd.testing.assert_frame_equal(*found)


# ------------------------------------------------------------------------ the folder


def test_a_run_resumes_and_ends_with_the_same_tables(tmp_path):
    out = tmp_path / "run"
    call = {"models": [NETWORK], "experiments": "edge", **CALL}
    run_recognition(None, out, **call)
    names = ("scores", "trials", "pairs", "benchmark", "directions", "probabilities")
    before = {name: (out / f"{name}.parquet").read_bytes() for name in names}
    kept = sorted(path.name for path in (out / "parts").iterdir())
    # One finished part and all tables are lost.
    shutil.rmtree(out / "parts" / kept[0])
    for name in names:
        (out / f"{name}.parquet").unlink()
    run_recognition(None, out, **call)
    assert sorted(path.name for path in (out / "parts").iterdir()) == kept
    for name in names:
        assert (out / f"{name}.parquet").read_bytes() == before[name], name
    with pytest.raises(ValueError, match="holds a run with n_bootstrap=40"):
        run_recognition(None, out, **(call | {"n_bootstrap": 10}))


def test_decisions_of_a_file_join_the_others(tmp_path):
    table = simulated_decisions(0)
    own = table[(table["subject"] == MODEL_NAME) & (table["experiment"] == "edge")]
    path = tmp_path / "edge_mynet.csv.gz"
    frame = pd.DataFrame(
        {
            "subj": "mynet",
            "session": 1,
            "trial": np.arange(len(own)),
            "rt": "NaN",
            "object_response": own["response"].to_numpy(),
            "category": own["truth"].to_numpy(),
            "condition": "0",
            "imagename": own["image_id"].to_numpy(),
        }
    )
    with gzip.open(path, "wt") as file:
        frame.to_csv(file, index=False)
    call = {"experiments": "edge", "decisions": [path], **CALL}
    score = run_recognition(None, tmp_path / "run", **call)
    mine = one(score.table, "mynet", "error_consistency", "edge")
    twin = one(score.table, MODEL_NAME, "error_consistency", "edge")
    assert mine["value"] == twin["value"]
    assert mine["kind"] == "decisions"
    ranks = read_table(tmp_path / "run" / "benchmark.parquet")
    assert (
        ranks.loc[ranks["scope"] == "edge", "mean_rank"].dropna().tolist() == [1.5] * 2
    )
    path.rename(tmp_path / "sketch_mynet.csv.gz")
    call["decisions"] = [tmp_path / "sketch_mynet.csv.gz"]
    with pytest.raises(ValueError, match="trials of the experiment 'sketch'"):
        run_recognition(None, tmp_path / "other", **call)
    assert not (tmp_path / "other").exists()


def test_without_resamples_there_are_values_and_no_intervals(tmp_path):
    score = run_recognition(
        None, tmp_path / "run", experiments="silhouette", n_bootstrap=0, device="cpu"
    )
    row = one(score.table, MODEL_NAME, "error_consistency", "silhouette")
    assert np.isfinite(row["value"])
    assert np.isnan(row["ci_low"])
    directions = read_table(tmp_path / "run" / "directions.parquet")
    assert set(directions["verdict"]) == {"undecided"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"experiments": "sketches"}, "Did you mean 'sketch'"),
        ({"experiments": ()}, "`experiments` is empty"),
        ({"experiments": "stylized"}, "must be one of"),
        ({"sizing": "big"}, "`sizing` must be one of"),
        ({"rule": "median"}, "`rule` must be one of"),
        ({"models": ["a@b@"]}, "suffix|must be"),
        ({"models": ["chance=timm:test_vit@seeded:0"]}, "names two observers"),
        ({"models": [NETWORK], "experiments": "contrast"}, "There are pictures of"),
        ({"models": [NETWORK], "data": "data"}, "Networks need pictures"),
        ({"n_bootstrap": -1}, "`n_bootstrap`"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(tmp_path, call, message):
    call = {"data": None, "device": "cpu"} | call
    with pytest.raises(ValueError, match=message):
        run_recognition(out=tmp_path / "run", **call)
    assert not (tmp_path / "run").exists()


def test_requests_for_networks_are_read():
    assert parse_decider("a=timm:resnet50@seeded:0") == DeciderSpec(
        "timm:resnet50", "seeded:0", "a"
    )
    assert parse_decider("darknet_tiny@/x/y=z.safetensors").weights == (
        "/x/y=z.safetensors"
    )
    assert parse_decider("torchvision:alexnet") == DeciderSpec("torchvision:alexnet")
    with pytest.raises(ValueError, match="A model must look like"):
        parse_decider("=@")
    with pytest.raises(TypeError, match="must be text"):
        parse_decider(3)


# ------------------------------------------------------------------------ the report


def test_the_report_tells_biases_consistencies_and_that_people_are_simulated(
    run, tmp_path
):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    with figures_not_drawn():
        lines = finish_recognition(copy)
    assert lines[0].startswith("recognition")
    assert lines[-1] == f"report {copy / 'report.html'}"
    assert any("shape bias, cue-conflict: people 0.9" in line for line in lines)
    text = (copy / "report.html").read_text(encoding="utf-8")
    assert "People, the model and pictures are simulated" in text
    assert "timm:test_vit (untrained)" in text
    assert "<script" not in text
    names = {path.stem for path in (copy / "figures").iterdir()}
    assert names == {
        *("shape_bias_1", "error_consistency", "kappa_matrix_1", "accuracy_curves"),
        *("consistency_curves", "confusion", "directions"),
    }


def test_a_report_needs_a_finished_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no finished run"):
        write_recognition_report(tmp_path)


def test_figures_show_the_numbers_that_they_are_given(tmp_path):
    observers = pd.DataFrame(
        {
            "model": ["human", "net@w", "net@seeded:0", "old", "chance"],
            "kind": ["people", "network", "network", "published", "baseline"],
            "untrained": [False, False, True, False, False],
        }
    )
    looks = recognition_looks(observers)
    assert [look.label for look in looks.values()] == [
        "people",
        "net@w",
        "net@seeded:0 (untrained)",
        "old",
    ]
    assert isinstance(looks["old"], Look)
    table = pd.DataFrame(
        {
            "model": ["human", "human", "net@w", "net@w"],
            "category": ["bear", "cat"] * 2,
            "shape_bias": [0.9, 1.0, 0.2, np.nan],
        }
    )
    ax = plot_shape_bias_by_category(table, looks)
    drawn = [list(line.get_xdata()) for line in ax.lines]
    assert [0.9, 1.0] in drawn
    rows = pd.DataFrame(
        {
            "model": ["human", "old"],
            "title": "edge",
            "value": [0.4, 0.1],
            "ci_low": [0.3, 0.0],
            "ci_high": [0.5, 0.2],
            "null_low": -0.05,
            "null_high": 0.05,
        }
    )
    ax = plot_consistency_by_experiment(rows, looks)
    points = [
        float(line.get_xdata()[0]) for line in ax.lines if len(line.get_xdata()) == 1
    ]
    assert points == [0.4, 0.1]
    curve = rows.assign(condition=["c10", "c10"])
    ax = plot_condition_curves(
        curve, looks, conditions=["c30", "c10"], excluded=["c30"]
    )
    assert [t.get_color() for t in ax.get_xticklabels()] == ["#A9A9A9", "black"]
    kappa = np.array([[1, 0.2], [0.2, 1]])
    ax = plot_kappa_matrix(["people", "old"], kappa, n_people=1)
    shown = np.asarray(ax.images[0].get_array().filled(np.nan))
    assert np.isnan(shown[0, 0])
    assert shown[0, 1] == 0.2
    with pytest.raises(ValueError, match="must have shape"):
        plot_kappa_matrix(["a"], kappa, n_people=1)
    percent = pd.DataFrame(
        np.eye(2) * 100, index=["cat", "dog"], columns=["cat", "dog"]
    )
    assert plot_confusion(percent).images[0].get_array().max() == 100


# ---------------------------------------------------------------- frozen small numbers


def test_a_small_run_gives_the_numbers_that_it_gave(scores):
    """Of this version: they change only with the simulation or a definition."""
    people = one(scores, "human", "error_consistency", subject="people")
    model = one(scores, MODEL_NAME, "error_consistency")
    bias = one(scores, MODEL_NAME, "shape_bias")
    assert people["value"] == pytest.approx(0.370195, abs=1e-6)
    assert model["value"] == pytest.approx(-0.074069, abs=1e-6)
    assert bias["value"] == pytest.approx(0.264151, abs=1e-6)
    table = simulated_decisions(0)
    own = table[
        (table["subject"] == MODEL_NAME) & (table["experiment"] == "cue-conflict")
    ]
    textures = own["image_id"].str.extract(r"-([a-z]+)")[0]
    found = shape_bias(own["response"], own["truth"], textures)
    assert bias["value"] == found.shape_bias
    assert set(own["truth"]) == set(CATEGORIES)


def test_pictures_that_networks_get_are_those_that_are_drawn():
    stimuli = simulated_pictures(0)["cue-conflict"]
    picture = stimuli.load(0)
    assert Image.fromarray(picture).size == (224, 224)
    assert (picture[0, 0] == 194).all()
