"""What a run tells beside its scores: folds, statistics, learning, attention."""

import numpy as np
import pandas as pd
import pytest

from analysis.policy_statistics import policy_statistics
from neurovis.adapters.oat_network import OATConfig
from neurovis.adapters.object_baselines import ObjectBaseline
from neurovis.adapters.object_tokens import TokenBaseline
from neurovis.core.object_scanpaths import ObjectTrial
from neurovis.fitting.train import TrainSettings
from tasks.oat_model import OATModel
from tasks.oat_training import OATRecipe
from tasks.object_predictions import predict_trials, score_samples
from tasks.object_search_data import search_splits
from tasks.object_search_data import tested_trials as keep_tested
from tasks.object_search_extras import (
    FOLD_MEASURES,
    attention_table,
    fold_values,
    learning_curves,
    statistics_table,
)
from tasks.simulated_search import SimulatedSearch, simulated_object_search

TINY = OATConfig(
    appearance="none",
    appearance_width=4,
    position_width=28,
    n_heads=2,
    feedforward=16,
    n_encoder_layers=1,
    n_decoder_layers=2,
    n_pointer_heads=1,
)
SEED = 3


@pytest.fixture(scope="module")
def data():
    simulation = SimulatedSearch(
        n_shelves=8, targets_per_shelf=2, n_observers=3, rows=2, cols=4
    )
    return simulated_object_search(simulation, appearance="none")


@pytest.fixture(scope="module")
def splits(data):
    """The first three of eight."""
    return search_splits(data)[:3]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    settings = TrainSettings(max_epochs=2, monitor="nats")
    shared = {"config": TINY, "recipe": OATRecipe(settings), "folder": folder}
    return [
        OATModel("oat", **shared),
        OATModel("oat-greedy", greedy=True, **shared),
        ObjectBaseline("chance_uniform"),
        TokenBaseline("unigram_tokens"),
    ]


@pytest.fixture(scope="module")
def predictions(data, splits, models):
    return {
        model.name: predict_trials(model, data, splits, n_samples=2, seed=SEED)
        for model in models
    }


# ------------------------------------------------------------------------ folds


def test_values_of_folds_are_means_over_their_test_trials(data, splits, predictions):
    tested, tests = keep_tested(data, splits)
    scores = {
        name: score_samples(name, made.samples, tested, tests)
        for name, made in predictions.items()
        if len(made.samples)
    }
    tokens = {name: made.tokens for name, made in predictions.items()}
    table = fold_values(tested, tests, scores, tokens)
    assert list(table.columns) == ["model", "split", "metric", "value", "n"]
    n_oat = 3 * len(FOLD_MEASURES) * 3
    assert len(table) == n_oat + 3 * 3
    rows = table.set_index(["model", "split", "metric"])
    for split in tests:
        part = scores["oat"].table.iloc[split.test]
        row = rows.loc[("oat", split.name, "SS")]
        assert row["value"] == pytest.approx(part["SS"].mean())
        assert row["n"] == len(split.test) == 6
        nats, where = tokens["unigram_tokens"], set()
        for i in split.test:
            where.add((tested.trials[i].subject, tested.trials[i].display.stimulus_id))
        own = [
            value
            for who, stimulus, value in zip(
                nats["subject"], nats["stimulus_id"], nats["nats"], strict=True
            )
            if (who, stimulus) in where
        ]
        row = rows.loc[("unigram_tokens", split.name, "nats_per_token")]
        assert row["value"] == pytest.approx(np.mean(own))
        assert row["n"] == sum(len(tested.trials[i].cells) + 1 for i in split.test)
    # Weighted by their tokens, folds give the mean of all.
    part = table[(table["model"] == "oat") & (table["metric"] == "nats_per_token")]
    mean = np.average(part["value"], weights=part["n"])
    assert mean == pytest.approx(tokens["oat"]["nats"].mean())


# ------------------------------------------------------------------- statistics


def test_statistics_are_those_of_the_scanpaths_people_first(data, predictions):
    table = statistics_table(data, predictions)
    assert list(table["model"].unique()) == [
        *("human", "oat", "oat-greedy", "chance_uniform")
    ]
    assert list(table.columns[:2]) == ["model", "statistic"]
    displays = {t.display.stimulus_id: t.display for t in data.trials}
    for name in ("oat", "chance_uniform"):
        groups = predictions[name].samples.groupby(["stimulus_id", "sample"])
        paths = [
            ObjectTrial(displays[stimulus], "", part["cell"].to_numpy())
            for (stimulus, _), part in groups
        ]
        own = table[table["model"] == name].drop(columns="model")
        expected = policy_statistics(paths)
        pd.testing.assert_frame_equal(
            own.reset_index(drop=True), expected, check_exact=False
        )
    people = table[table["model"] == "human"].drop(columns="model")
    pd.testing.assert_frame_equal(
        people.reset_index(drop=True), policy_statistics(data.trials)
    )


# --------------------------------------------------------------------- learning


def test_learning_curves_are_those_of_every_fit(data, splits, models, predictions):
    assert set(predictions) >= {"oat"}
    table = learning_curves(models, data, splits, SEED)
    assert list(table.columns[:3]) == ["model", "fold", "epoch"]
    assert list(table["model"].unique()) == ["oat"]
    assert list(table["fold"].unique()) == [split.name for split in splits]
    assert table.groupby("fold")["epoch"].agg(list).tolist() == [[0, 1]] * 3
    assert table.groupby("fold")["best"].sum().tolist() == [1, 1, 1]
    assert table["val_nats"].between(0.5, 4).all()


def test_without_trained_models_there_are_no_curves(data, splits, models):
    table = learning_curves(models[2:], data, splits, SEED)
    assert list(table.columns) == ["model", "fold", "epoch"]
    assert len(table) == 0


def test_a_greedy_model_is_shown_only_without_the_model_that_draws(
    data, splits, models, predictions
):
    # The models are trained by the predictions.
    assert "oat" in predictions
    both, alone = (
        learning_curves(some, data, splits, SEED) for some in (models, models[1:])
    )
    assert set(both["model"]) == {"oat"}
    assert set(alone["model"]) == {"oat-greedy"}
    columns = [name for name in both if name != "model"]
    pd.testing.assert_frame_equal(both[columns], alone[columns])


# -------------------------------------------------------------------- attention


def test_attention_and_expectation_are_shares_along_tested_scanpaths(
    data, splits, models, predictions
):
    assert set(predictions) >= {"oat"}
    table = attention_table(models, data, splits, SEED)
    assert list(table["model"].unique()) == ["oat"]
    keys = ["model", "subject", "stimulus_id", "token"]
    sums = table.groupby(keys)[["attention", "probability"]].sum()
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    assert (table.groupby(keys)["cell"].agg(list).map(len) == 9).all()
    tested = {
        (data.trials[i].subject, data.trials[i].display.stimulus_id): data.trials[i]
        for i in splits[0].test
    }
    rows = [data.trials[i] for i in (*splits[0].training, *splits[0].validation)]
    training, validation = (
        rows[: len(splits[0].training)],
        rows[len(splits[0].training) :],
    )
    observer = models[0].fit(training, validation, seed=SEED)
    shown = table.groupby(["subject", "stimulus_id"], sort=False)
    assert 1 <= len(shown) <= 3
    assert len({stimulus for (_, stimulus), _ in shown}) == len(shown)
    for key, part in shown:
        trial = tested[key]
        assert trial.cells[-1] == trial.display.target_cell
        assert 5 <= len(trial.cells) <= 9
        shape = len(trial.cells) + 1, 9
        given = observer.token_probabilities(trial.display, trial.cells)
        np.testing.assert_allclose(part["probability"].to_numpy().reshape(shape), given)
        last = observer.attention(trial.display, trial.cells)[-1]
        np.testing.assert_allclose(part["attention"].to_numpy().reshape(shape), last)


def test_models_without_attention_leave_an_empty_table(data, splits, models):
    table = attention_table(models[2:], data, splits, SEED)
    assert len(table) == 0
    assert list(table.columns) == [
        *("model", "subject", "stimulus_id", "token", "cell"),
        *("attention", "probability"),
    ]
