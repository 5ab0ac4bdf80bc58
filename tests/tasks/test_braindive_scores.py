"""Scores of driven images, against scipy, statsmodels and counts by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import pdist
from statsmodels.stats.proportion import proportion_confint

from neurovis.core.types import SCORE_COLUMNS
from tasks.braindive_scores import (
    BEST_QUARTER,
    BRAINDIVE_COLUMNS,
    GUIDED,
    METRICS,
    SHARES,
    UNGUIDED,
    braindive_scores,
    label_shares,
)

REGIONS = ("face", "place", "word")
CONDITIONS = {UNGUIDED: 0.0, GUIDED: 3.0, "sweep 1": 1.0, "pixel ascent": np.nan}
N = 20


def looks(n=N, conditions=CONDITIONS, seed=0):
    rng = np.random.default_rng(seed)
    parts = []
    for condition, scale in conditions.items():
        lift = 0.0 if np.isnan(scale) else scale / 3
        for region in REGIONS:
            table = pd.DataFrame(
                rng.normal(lift, 1, (n, len(METRICS))), columns=list(METRICS)
            )
            for name in SHARES:
                table[name] = (rng.random(n) < 0.2 + 0.5 * lift).astype(float)
            parts.append(
                table.assign(
                    condition=condition,
                    region=region,
                    scale=scale,
                    seed=np.arange(n),
                    judge_label=rng.choice(list(REGIONS), n),
                )
            )
    return pd.concat(parts, ignore_index=True)


def embedded(images, seed=1, width=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(images), width)).astype(np.float32)


def scored(images, embeddings=None, **options):
    options = {"regions": REGIONS, "n_bootstrap": 500} | options
    if embeddings is None:
        embeddings = embedded(images)
    return braindive_scores(images, embeddings, **options)


def row(table, model, region, metric):
    found = table[
        (table["model"] == model)
        & (table["region"] == region)
        & (table["metric"] == metric)
    ]
    assert len(found) == 1
    return found.iloc[0]


def values(images, condition, region, metric):
    own = (images["condition"] == condition) & (images["region"] == region)
    return images.loc[own, metric].to_numpy()


@pytest.fixture(scope="module")
def images():
    """Looks of four conditions; not to be changed."""
    return looks()


@pytest.fixture(scope="module")
def table(images):
    """Their scores; not to be changed."""
    return scored(images)


# ------------------------------------------------------------ single conditions


def test_the_table_has_every_condition_region_and_measure(table):
    assert list(table.columns) == [*SCORE_COLUMNS, *BRAINDIVE_COLUMNS]
    models = [*CONDITIONS, BEST_QUARTER, f"{GUIDED} - {UNGUIDED}"]
    assert list(table["model"].drop_duplicates()) == models
    assert not table.duplicated(["model", "region", "metric"]).any()
    n_single = len(REGIONS) * (len(METRICS) + 1) + len(METRICS)
    assert len(table) == 5 * n_single + len(REGIONS) * len(METRICS)
    assert (table["condition"] == table["model"]).all()
    assert set(table["task"]) == {"braindive"}
    assert table["unit"].notna().all()
    assert (table["note"] == "").all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_values_are_means_over_images_and_then_over_regions(
    images, table, condition, metric
):
    means = [values(images, condition, region, metric).mean() for region in REGIONS]
    for region, mean in zip(REGIONS, means, strict=True):
        found = row(table, condition, region, metric)
        assert found["value"] == pytest.approx(mean, abs=1e-12)
        assert found["n"] == N
        np.testing.assert_equal(found["scale"], CONDITIONS[condition])
    whole = row(table, condition, "all", metric)
    assert whole["value"] == pytest.approx(np.mean(means), abs=1e-12)
    assert whole["n"] == N * len(REGIONS)
    assert whole["ci_low"] < whole["value"] < whole["ci_high"]


@pytest.mark.parametrize("metric", SHARES)
def test_intervals_of_shares_are_those_of_wilson(images, table, metric):
    for region in REGIONS:
        hits = int(values(images, GUIDED, region, metric).sum())
        low, high = proportion_confint(hits, N, method="wilson")
        found = row(table, GUIDED, region, metric)
        assert (found["ci_low"], found["ci_high"]) == pytest.approx((low, high))


def test_intervals_of_means_are_those_of_a_bootstrap(images, table):
    for metric in ("guide_activation", "off_target_activation"):
        sample = values(images, GUIDED, "place", metric)
        expected = stats.bootstrap(
            (sample,), np.mean, method="percentile", n_resamples=5000, rng=0
        ).confidence_interval
        found = row(table, GUIDED, "place", metric)
        spread = expected.high - expected.low
        assert found["ci_low"] == pytest.approx(expected.low, abs=0.1 * spread)
        assert found["ci_high"] == pytest.approx(expected.high, abs=0.1 * spread)


def test_diversity_is_the_mean_distance_of_pairs(images, table):
    embeddings = embedded(images)
    for condition in (UNGUIDED, GUIDED):
        own = (images["condition"] == condition) & (images["region"] == "face")
        expected = pdist(embeddings[own].astype(float)).mean()
        found = row(table, condition, "face", "diversity")
        assert found["value"] == pytest.approx(expected, rel=1e-9)
        assert np.isnan(found["ci_low"])
        assert found["unit"] == "distance"


def test_equal_images_have_no_diversity(images):
    same = np.tile(embedded(images)[:1], (len(images), 1))
    found = row(scored(images, same), GUIDED, "face", "diversity")
    assert found["value"] == pytest.approx(0, abs=1e-5)


def test_images_of_one_seed_are_drawn_together_in_all_regions(images):
    # Unguided images are the same for all regions, and each has one label: the mean
    # accuracy over regions is 1 / 3 in every resample.
    shared = images.copy()
    labels = np.random.default_rng(3).choice(list(REGIONS), N)
    for region in REGIONS:
        own = (shared["condition"] == UNGUIDED) & (shared["region"] == region)
        shared.loc[own, "judge_accuracy"] = (labels == region).astype(float)
    found = row(scored(shared), UNGUIDED, "all", "judge_accuracy")
    limits = found[["ci_low", "value", "ci_high"]].tolist()
    assert limits == pytest.approx([1 / 3] * 3)


def test_the_mean_over_regions_needs_all_of_them(images):
    part = images[(images["condition"] != "sweep 1") | (images["region"] != "word")]
    found = scored(part.reset_index(drop=True))
    regions = found.loc[found["model"] == "sweep 1", "region"]
    assert set(regions) == {"face", "place"}
    other = found.loc[found["model"] == GUIDED, "region"]
    assert set(other) == {*REGIONS, "all"}


def test_scales_that_differ_over_regions_have_no_mean(images):
    mixed = images.copy()
    own = (mixed["condition"] == GUIDED) & (mixed["region"] == "face")
    mixed.loc[own, "scale"] = 5.0
    found = scored(mixed)
    assert np.isnan(row(found, GUIDED, "all", "guide_activation")["scale"])
    assert row(found, GUIDED, "face", "guide_activation")["scale"] == 5
    assert row(found, "sweep 1", "all", "guide_activation")["scale"] == 1


# ----------------------------------------------------------------- best quarter


def test_the_best_quarter_is_chosen_by_the_guide(images, table):
    for region in REGIONS:
        guide = values(images, GUIDED, region, "guide_activation")
        best = np.argsort(-guide)[: N // 4]
        for metric in METRICS:
            found = row(table, BEST_QUARTER, region, metric)
            sample = values(images, GUIDED, region, metric)[best]
            assert found["value"] == pytest.approx(sample.mean())
            assert found["n"] == N // 4
        own = np.flatnonzero(
            (images["condition"] == GUIDED) & (images["region"] == region)
        )
        expected = pdist(embedded(images)[own[best]].astype(float)).mean()
        found = row(table, BEST_QUARTER, region, "diversity")
        assert found["value"] == pytest.approx(expected)


@pytest.mark.parametrize(("n", "kept"), [(2, 1), (4, 1), (7, 1), (8, 2), (11, 2)])
def test_a_quarter_has_one_image_at_least(n, kept):
    found = scored(looks(n))
    assert row(found, BEST_QUARTER, "face", "guide_activation")["n"] == kept


def test_without_guided_images_nothing_is_chosen_or_compared():
    found = scored(looks(conditions={UNGUIDED: 0.0}))
    assert set(found["model"]) == {UNGUIDED}


# ------------------------------------------------------------------ differences


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("region", REGIONS)
def test_differences_are_paired_by_seed(images, metric, region):
    order = np.random.default_rng(2).permutation(len(images))
    mixed = images.iloc[order]
    table = scored(mixed, embedded(images)[order])
    found = row(table, f"{GUIDED} - {UNGUIDED}", region, f"{metric}_difference")
    gap = values(images, GUIDED, region, metric) - values(
        images, UNGUIDED, region, metric
    )
    assert found["value"] == pytest.approx(gap.mean())
    assert found["ci_low"] < found["value"] < found["ci_high"]
    assert found["n"] == N
    assert found["p_value"] == pytest.approx(stats.wilcoxon(gap).pvalue)
    assert found["unit"] == row(table, GUIDED, region, metric)["unit"]


def test_only_seeds_of_both_are_compared(images):
    fewer = images[(images["condition"] != GUIDED) | (images["seed"] >= 5)]
    found = row(
        scored(fewer.reset_index(drop=True)),
        f"{GUIDED} - {UNGUIDED}",
        "face",
        "heldout_activation_difference",
    )
    gap = values(images, GUIDED, "face", "heldout_activation") - values(
        images, UNGUIDED, "face", "heldout_activation"
    )
    assert found["n"] == N - 5
    assert found["value"] == pytest.approx(gap[5:].mean())


def test_intervals_exclude_each_other_where_they_do(images):
    far = images.copy()
    guided = far["condition"] == GUIDED
    far.loc[guided & (far["region"] == "face"), "heldout_activation"] += 10
    far.loc[guided & (far["region"] == "place"), "heldout_activation"] -= 10
    own = (far["condition"] == UNGUIDED) & (far["region"] == "word")
    far.loc[guided & (far["region"] == "word"), "heldout_activation"] = far.loc[
        own, "heldout_activation"
    ].to_numpy()
    table = scored(far)
    name, metric = f"{GUIDED} - {UNGUIDED}", "heldout_activation_difference"
    found = {region: row(table, name, region, metric) for region in REGIONS}
    assert [bool(found[r]["excludes"]) for r in REGIONS] == [True, True, False]
    assert found["face"]["p_value"] < 1e-4
    assert found["word"]["value"] == 0
    assert np.isnan(found["word"]["p_value"])  # no pair differs: no test
    assert table.loc[table["model"] != name, "excludes"].isna().all()


# --------------------------------------------------------------- what is undefined


@pytest.mark.parametrize("where", ["all", "one"])
@pytest.mark.parametrize("metric", ["judge_accuracy", "heldout_activation"])
def test_what_is_undefined_stays_so(images, table, metric, where):
    holes = images.copy()
    own = holes["condition"].isin([GUIDED, UNGUIDED]) & (holes["region"] == "face")
    if where == "one":
        own &= holes["seed"] == 3
    holes.loc[own, metric] = np.nan
    found = scored(holes)
    numbers = ["value", "ci_low", "ci_high"]
    for condition in (GUIDED, UNGUIDED):
        for region in ("face", "all"):
            cells = row(found, condition, region, metric)[numbers]
            assert cells.isna().all()
        pd.testing.assert_series_equal(
            row(found, condition, "place", metric)[numbers],
            row(table, condition, "place", metric)[numbers],
            check_names=False,
        )
    name = f"{GUIDED} - {UNGUIDED}"
    gap = row(found, name, "face", f"{metric}_difference")
    assert gap[[*numbers, "p_value", "excludes"]].isna().all()
    other = row(found, name, "place", f"{metric}_difference")
    assert other[[*numbers, "p_value", "excludes"]].notna().all()


def test_without_judge_and_second_brain_the_guide_is_still_scored(images):
    bare = images.copy()
    unknown = [name for name in METRICS if name not in ("guide_activation",)]
    bare[unknown] = np.nan
    table = scored(bare, np.full((len(bare), 1), np.nan, np.float32))
    known = table[table["metric"].str.startswith("guide_activation")]
    assert known["value"].notna().all()
    assert table.loc[~table.index.isin(known.index), "value"].isna().all()


def test_a_single_image_has_a_value_and_no_interval():
    found = scored(looks(1))
    cells = row(found, GUIDED, "face", "guide_activation")
    assert np.isfinite(cells["value"])
    assert np.isnan(cells["ci_low"])
    assert np.isnan(row(found, GUIDED, "face", "diversity")["value"])
    assert not found["model"].str.contains(" - ").any()


# ------------------------------------------------------------------ randomness


def test_equal_seeds_give_equal_tables_and_others_other_intervals(images, table):
    pd.testing.assert_frame_equal(table, scored(images))
    other = scored(images, seed=1)
    np.testing.assert_array_equal(other["value"], table["value"])
    assert (other["ci_low"] != table["ci_low"]).any()
    assert (other["seed"] == 1).all()


def test_other_conditions_change_no_row(images, table):
    kept = images[images["condition"] != "sweep 1"]
    found = scored(kept.reset_index(drop=True), embedded(images)[kept.index])
    expected = table[table["model"] != "sweep 1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)


# -------------------------------------------------------------------- bad input


@pytest.mark.parametrize("column", ["condition", "region", "seed", "scale", *METRICS])
def test_missing_columns_are_named(images, column):
    with pytest.raises(ValueError, match=column):
        scored(images.drop(columns=column))


def test_lengths_must_agree(images):
    with pytest.raises(ValueError, match="one row per row"):
        scored(images, embedded(images)[1:])
    with pytest.raises(ValueError, match="n_bootstrap"):
        scored(images, n_bootstrap=1)


def test_strengths_are_not_mixed_in_one_condition(images):
    mixed = images.replace({"condition": {"sweep 1": GUIDED}})
    with pytest.raises(ValueError, match="one row per condition, region and seed"):
        scored(mixed)


# ----------------------------------------------------------------------- labels


def test_shares_of_labels_are_counts(images):
    found = label_shares(images, REGIONS, REGIONS)
    assert list(found.columns) == ["condition", "region", "label", "share"]
    assert len(found) == len(CONDITIONS) * 9
    sums = found.groupby(["condition", "region"])["share"].sum()
    np.testing.assert_allclose(sums, 1)
    own = (images["condition"] == GUIDED) & (images["region"] == "face")
    count = (images.loc[own, "judge_label"] == "word").mean()
    cell = found[
        (found["condition"] == GUIDED)
        & (found["region"] == "face")
        & (found["label"] == "word")
    ]
    assert cell["share"].item() == pytest.approx(count)


def test_labels_that_nobody_sees_have_a_share_of_0_and_other_regions_are_left_out():
    images = pd.DataFrame(
        {
            "condition": ["a", "a", "b"],
            "region": ["face", "face", "car"],
            "judge_label": ["face", "food", "face"],
        }
    )
    found = label_shares(images, ["face", "word", "food"], ["face"])
    assert found["share"].tolist() == [0.5, 0.0, 0.5]
    assert set(found["condition"]) == {"a"}
    assert label_shares(images, ["face"], []).empty
