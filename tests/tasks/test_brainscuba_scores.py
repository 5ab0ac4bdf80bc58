"""Scores of captions of simulated voxels, against plain counting."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neurovis.core.types import SCORE_COLUMNS
from tasks.brainscuba_scores import SCUBA_COLUMNS, brainscuba_scores
from tests.tasks.scuba_examples import (
    BETA,
    CONCEPTS,
    LEVELS,
    N_EACH,
    NOISE,
    NUMBERS,
    many_captions,
    scores_of,
    split_name,
)


@pytest.fixture(scope="module")
def captions():
    return many_captions()


@pytest.fixture(scope="module")
def scores(captions):
    return scores_of(captions)


def rows_of(scores, metric, condition, beta=None):
    own = scores[(scores["metric"] == metric) & (scores["condition"] == condition)]
    return own if beta is None else own[own["inverse_temperature"] == beta]


def test_the_table_has_the_columns_of_all_scores(scores):
    assert list(scores) == [*SCORE_COLUMNS, *SCUBA_COLUMNS]
    assert (scores["task"] == "brainscuba").all()
    assert (scores["model"] == scores["condition"]).all()
    assert scores["unit"].notna().all()
    assert str(scores["brain"].dtype) == "Int64"


@pytest.mark.parametrize("name", list(LEVELS))
def test_naming_rates_are_shares_of_voxels_with_wilson_limits(scores, name):
    condition, beta = split_name(name)
    own = rows_of(scores, "naming_rate", condition, None if np.isnan(beta) else beta)
    whole = own[(own["region"] == "all") & own["brain"].isna()].set_index("noise_sd")
    for noise, level in zip(NOISE, LEVELS[name], strict=True):
        n = 2 * len(CONCEPTS) * N_EACH
        row = whole.loc[noise]
        assert (row["value"], row["n"]) == (pytest.approx(level), n)
        expected = stats.binomtest(round(level * n), n).proportion_ci(method="wilson")
        assert row["ci_low"] == pytest.approx(expected.low)
        assert row["ci_high"] == pytest.approx(expected.high)
    assert len(own) == len(NOISE) * (1 + len(CONCEPTS) + 2)
    assert (own.loc[own["brain"].notna(), "n"] == len(CONCEPTS) * N_EACH).all()
    assert (own.loc[own["region"] != "all", "n"] == 2 * N_EACH).all()


def test_repeats_from_parts_of_the_bank_do_not_count_as_voxels(captions, scores):
    fewer = captions[captions["repeat"] < 1]
    own = rows_of(scores_of(fewer), "naming_rate", "projection")
    kept = rows_of(scores, "naming_rate", "projection")
    pd.testing.assert_frame_equal(
        own.reset_index(drop=True), kept.reset_index(drop=True)
    )


@pytest.mark.parametrize(
    "name",
    ["raw weights", "raw weights, mean norm", "nearest image", "random image",
     "shuffled responses"],
)  # fmt: skip
def test_differences_are_those_of_the_chosen_projection_voxel_by_voxel(scores, name):
    own = rows_of(scores, "naming_rate_difference", name).set_index("noise_sd")
    for k, noise in enumerate(NOISE):
        gap = LEVELS["projection 150"][k] - LEVELS[name][k]
        row = own.loc[noise]
        assert row["value"] == pytest.approx(gap)
        assert row["ci_low"] <= gap + 1e-12
        assert row["ci_high"] >= gap - 1e-12
        assert row["n"] == 2 * len(CONCEPTS) * N_EACH
    # Voxels that are all alike leave no doubt.
    if name == "raw weights":
        assert own.loc[0.3, ["ci_low", "ci_high"]].tolist() == [0, 0]
        assert own.loc[3.0, "ci_low"] > 0


@pytest.mark.parametrize("name", ["raw weights", "nearest image"])
def test_encoders_with_a_chosen_penalty_are_compared_among_themselves(scores, name):
    name = f"{name}, chosen penalty"
    own = rows_of(scores, "naming_rate_difference", name).set_index("noise_sd")
    gaps = np.subtract(LEVELS["projection 150, chosen penalty"], LEVELS[name])
    assert own["value"].tolist() == pytest.approx(gaps.tolist())


def test_differences_pair_voxels_whatever_the_order_of_rows(captions):
    mixed = captions.sample(frac=1, random_state=1)
    found = rows_of(scores_of(mixed), "naming_rate_difference", "raw weights")
    values = found.set_index("noise_sd")["value"]
    assert values[3.0] == pytest.approx(0.5)


def test_effective_numbers_are_medians_and_cosines_means(captions, scores):
    rng = np.random.default_rng(0)
    is_main = (captions["condition"] == "projection") & (captions["repeat"] == 0)
    is_main &= (captions["inverse_temperature"] == BETA) & (captions["noise_sd"] == 1)
    numbers = np.exp(rng.normal(size=int(is_main.sum())))
    changed = captions.copy()
    changed.loc[is_main, "effective_number"] = numbers
    changed.loc[is_main, "cosine"] = numbers / 100
    found = scores_of(changed)
    for metric, value in (
        ("effective_number", np.median(numbers)),
        ("cosine", numbers.mean() / 100),
    ):
        rows = rows_of(found, metric, "projection", BETA).set_index("noise_sd")
        row = rows.loc[1.0]
        assert row["value"] == pytest.approx(value)
        assert row["ci_low"] < value < row["ci_high"]
    plain = rows_of(scores, "effective_number", "projection", 1.0)
    assert plain["value"].tolist() == pytest.approx(
        [NUMBERS[1.0] * (1 + 0.1 * k) for k in range(3)]
    )
    # Nothing is projected in other conditions.
    assert set(scores.loc[scores["metric"] == "cosine", "condition"]) == {
        "projection",
        "projection, chosen penalty",
        "shuffled responses",
    }


def test_agreement_is_that_of_repeats_from_parts_and_not_of_the_whole_bank(captions):
    changed = captions.copy()
    is_second = (changed["repeat"] == 2) & (changed["noise_sd"] == 3.0)
    half = is_second & (changed["unit"] % 2 == 0)
    other = {c: CONCEPTS[(k + 2) % 5] for k, c in enumerate(CONCEPTS)}
    changed.loc[half, "caption"] = [
        f"a {dict(face='face', place='room', body='body', word='text', food='cake')[x]}"
        for x in changed.loc[half, "named"].map(other)
    ]
    rows = rows_of(scores_of(changed), "repeat_agreement", "projection")
    values = rows.set_index("noise_sd")["value"]
    assert values.to_dict() == pytest.approx({0.3: 1.0, 1.0: 1.0, 3.0: 0.5})
    assert (rows["inverse_temperature"] == BETA).all()
    assert (rows["n"] == 2 * len(CONCEPTS) * N_EACH).all()


def test_agreement_is_undefined_where_repeats_name_nothing(captions):
    silent = captions.copy()
    silent.loc[silent["repeat"] > 0, "caption"] = "something ."
    rows = rows_of(scores_of(silent), "repeat_agreement", "projection")
    assert rows["value"].isna().all()
    assert (rows["n"] == 0).all()


def test_conditions_that_were_not_run_have_no_rows(captions):
    left_out = ("nearest image", "pictures")
    found = scores_of(many_captions(n_brains=1, leave_out=left_out))
    assert not {"nearest image", "pictures"} & set(found["condition"])


def test_scores_are_those_of_the_seed(captions, scores):
    pd.testing.assert_frame_equal(scores_of(captions), scores)
    other = brainscuba_scores(
        captions, inverse_temperature=BETA, n_bootstrap=100, seed=1
    )
    same = other["metric"] == "naming_rate"
    columns = ["value", "ci_low", "ci_high"]
    pd.testing.assert_frame_equal(other.loc[same, columns], scores.loc[same, columns])


def test_wrong_arguments_are_told(captions):
    with pytest.raises(ValueError, match="one that occurs; got 7"):
        brainscuba_scores(captions, inverse_temperature=7.0)
    with pytest.raises(ValueError, match="correct"):
        brainscuba_scores(captions.drop(columns="correct"), inverse_temperature=BETA)
    with pytest.raises(ValueError, match="n_bootstrap"):
        brainscuba_scores(captions, inverse_temperature=BETA, n_bootstrap=1)
