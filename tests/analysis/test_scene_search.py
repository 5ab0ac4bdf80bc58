"""Search in scenes: curves, saccades and difficulty against counts by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.saccades import kaplan_meier_found
from analysis.scene_search import (
    display_rates,
    found_curve,
    saccade_histograms,
    saccade_sizes,
    scene_search_scores,
)


def simulate(seed=0, n_displays=30, n_people=12, hit=0.2, model_hit=0.2):
    """People and a model that find the target with a fixed chance per saccade."""
    rng = np.random.default_rng(seed)
    trials, fixations = [], []
    for model, subjects in (("human", n_people), ("model", 1)):
        for subject in range(subjects):
            for display in range(n_displays):
                allowed = 12 if model == "model" else int(rng.choice([2, 4, 8, 12]))
                chance = model_hit if model == "model" else hit
                need = int(rng.geometric(chance))
                made = min(need, allowed)
                key = {
                    "model": model,
                    "subject": f"{model}{subject}",
                    "stimulus_id": f"d{display:02d}",
                    "trial": display,
                }
                trials.append(
                    key
                    | {
                        "found": need <= allowed,
                        "n_saccades": made,
                        "max_saccades": allowed,
                    }
                )
                points = rng.uniform(0, 300, (made + 1, 2))
                fixations += [
                    key | {"fixation": i, "x_px": x, "y_px": y, "duration_ms": np.nan}
                    for i, (x, y) in enumerate(points)
                ]
    return pd.DataFrame(trials), pd.DataFrame(fixations)


@pytest.fixture(scope="module")
def scores():
    trials, fixations = simulate()
    return scene_search_scores(
        trials, fixations, px_per_deg=30, n_saccades=12, n_bootstrap=100
    )


def test_early_stops_do_not_bias_the_curve():
    trials, _ = simulate(n_displays=400, n_people=20)
    people = trials[trials["model"] == "human"]
    truth = 1 - 0.8 ** np.arange(13)
    np.testing.assert_allclose(found_curve(people, 12), truth, atol=0.02)
    naive = [(people["found"] & (people["n_saccades"] <= k)).mean() for k in range(13)]
    assert naive[-1] < truth[-1] - 0.15


@given(st.integers(0, 50))
def test_rates_of_one_display_are_the_mean_of_its_kaplan_meier_curve(seed):
    trials, _ = simulate(seed, n_displays=1, n_people=6)
    people = trials[trials["model"] == "human"].assign(max_saccades=12)
    table = kaplan_meier_found(
        people["n_saccades"], people["found"], people["max_saccades"]
    ).set_index("n_saccades")["share_found"]
    curve = table.reindex(range(1, 13)).ffill()
    known = np.arange(1, 13) <= people["n_saccades"].max()
    if table.iloc[-1] == 1:
        known[:] = True
    expected = curve[known].mean()
    assert display_rates(people, 12).iloc[0] == pytest.approx(expected)


def test_a_display_that_all_find_at_once_has_rate_one():
    trials = pd.DataFrame(
        {"stimulus_id": "a", "found": [True] * 3, "n_saccades": 1, "max_saccades": 2}
    )
    assert display_rates(trials, 5).tolist() == [1.0]


def test_what_no_trial_reached_is_undefined():
    trials = pd.DataFrame(
        {"found": [False, False], "n_saccades": [2, 2], "max_saccades": 2}
    )
    curve = found_curve(trials, 4)
    assert curve[:3].tolist() == [0, 0, 0]
    assert np.isnan(curve[3:]).all()


def test_a_model_like_people_agrees_with_them_as_halves_of_people_do(scores):
    rows = scores[scores["model"] == "model"].set_index("metric")
    assert rows.loc["found_mismatch", "value"] < 0.15
    assert 0 < rows.loc["found_mismatch", "ceiling_low"] < 0.1
    assert rows.loc["saccade_ks", "value"] < 0.15
    assert abs(rows.loc["difficulty_spearman_r", "value"]) < 0.5


def test_a_better_searcher_has_a_higher_curve():
    trials, fixations = simulate(model_hit=0.5)
    table = scene_search_scores(
        trials, fixations, px_per_deg=30, n_saccades=8, n_bootstrap=0
    )
    auc = table[table["metric"] == "found_auc"].set_index("model")["value"]
    assert auc["model"] > auc["human"] + 0.2


def test_saccade_sizes_are_distances_in_degrees():
    _, fixations = simulate(n_displays=3)
    sizes = saccade_sizes(fixations, 30)
    key = ["model", "subject", "stimulus_id", "trial"]
    expected = []
    for _, path in fixations.groupby(key, sort=False):
        step = np.diff(path[["x_px", "y_px"]].to_numpy(), axis=0)
        expected += (np.hypot(*step.T) / 30).tolist()
    assert sizes["amplitude_deg"].tolist() == pytest.approx(expected)


def test_distances_of_amplitudes_are_those_of_scipy(scores):
    _, fixations = simulate()
    sizes = saccade_sizes(fixations, 30)
    one, two = (
        sizes.loc[sizes["model"] == m, "amplitude_deg"] for m in ("model", "human")
    )
    rows = scores[scores["model"] == "model"].set_index("metric")["value"]
    assert rows["saccade_ks"] == pytest.approx(stats.ks_2samp(one, two).statistic)
    assert rows["saccade_wasserstein_deg"] == pytest.approx(
        stats.wasserstein_distance(one, two)
    )


def test_histograms_hold_every_saccade_once():
    _, fixations = simulate()
    sizes = saccade_sizes(fixations, 30)
    table = saccade_histograms(sizes, width_deg=1, limit_deg=30, n_bootstrap=20)
    for name, part in table.groupby("model"):
        assert part["value"].sum() == pytest.approx(1), name
        assert (part["ci_low"] <= part["value"] + 1e-9).mean() > 0.8


def test_the_order_of_rows_changes_nothing(scores):
    trials, fixations = simulate()
    order = np.random.default_rng(1)
    mixed = []
    for table in (trials, fixations):
        people = table[table["model"] == "human"]
        others = table[table["model"] != "human"]
        mixed.append(pd.concat([people.sample(frac=1, random_state=order), others]))
    again = scene_search_scores(
        *mixed, px_per_deg=30, n_saccades=12, n_bootstrap=0
    ).sort_values(["model", "metric", "condition"])
    first = scores.sort_values(["model", "metric", "condition"])
    np.testing.assert_allclose(again["value"], first["value"])


def test_unaligned_flags_leave_difficulty_undefined():
    trials, fixations = simulate()
    table = scene_search_scores(
        trials, fixations, px_per_deg=30, n_saccades=4, aligned=False, n_bootstrap=0
    )
    rows = table[table["metric"] == "difficulty_spearman_r"]
    assert rows["value"].isna().all()


def test_one_observer_gives_no_ceiling():
    trials, fixations = simulate(n_people=1)
    table = scene_search_scores(
        trials, fixations, px_per_deg=30, n_saccades=4, n_bootstrap=0
    )
    assert table["ceiling_low"].isna().all()


def test_without_people_models_are_scored_alone():
    trials, fixations = simulate()
    table = scene_search_scores(
        trials[trials["model"] == "model"],
        fixations[fixations["model"] == "model"],
        px_per_deg=30,
        n_saccades=4,
        n_bootstrap=0,
    )
    assert set(table["model"]) == {"model"}
    assert "found_mismatch" not in set(table["metric"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"px_per_deg": 0}, "`px_per_deg`"),
        ({"n_saccades": 0}, "`n_saccades`"),
    ],
)
def test_wrong_arguments_are_told(change, message):
    trials, fixations = simulate(n_displays=2)
    with pytest.raises(ValueError, match=message):
        scene_search_scores(
            trials, fixations, **({"px_per_deg": 30, "n_saccades": 4} | change)
        )


def test_missing_columns_are_told():
    trials, fixations = simulate(n_displays=2)
    with pytest.raises(ValueError, match="max_saccades"):
        scene_search_scores(
            trials.drop(columns="max_saccades"), fixations, px_per_deg=1, n_saccades=1
        )
