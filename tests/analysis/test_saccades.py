"""Saccades, the way to the target, performance curves and stopped trials."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from statsmodels.duration.survfunc import SurvfuncRight

from analysis.saccades import (
    compact_object_array,
    cumulative_performance,
    degree_histogram,
    distances_before_end,
    kaplan_meier_found,
    saccade_table,
)
from analysis.scanpath_sets import ScanpathSet, pack_scanpaths
from analysis.search_efficiency import tfp_auc
from analysis.stats import wilson_interval

PX_PER_DEG = 156 / 5
PATHS = st.lists(
    st.integers(1, 6).flatmap(
        lambda n: arrays(float, (n, 2), elements=st.integers(0, 1000))
    ),
    min_size=1,
    max_size=5,
)


def test_amplitudes_and_directions_follow_a_loop():
    rng = np.random.default_rng(0)
    paths = [rng.uniform(0, 500, (n, 2)) for n in (4, 1, 7, 2)]
    rows = []
    for i, path in enumerate(paths):
        for j in range(1, len(path)):
            dx, dy = path[j] - path[j - 1]
            angle = math.degrees(math.atan2(-dy, dx))
            rows.append(
                (i, j, math.hypot(dx, dy), angle if angle >= 0 else angle + 360)
            )
    table = saccade_table([*paths, []], px_per_deg=30)
    np.testing.assert_array_equal(table[["scanpath", "saccade"]], [r[:2] for r in rows])
    np.testing.assert_allclose(
        table[["amplitude_px", "direction_deg"]], [r[2:] for r in rows], rtol=1e-12
    )
    np.testing.assert_allclose(table["amplitude_deg"] * 30, table["amplitude_px"])


def test_directions_are_counter_clockwise_on_a_screen_with_y_down():
    path = [(0, 0), (10, 0), (10, -10), (0, -10), (0, 0), (10, 10), (10, 10)]
    table = saccade_table([path])
    np.testing.assert_allclose(table["direction_deg"][:5], [0, 90, 180, 270, 315])
    assert np.isnan(table["direction_deg"][5])
    assert table["amplitude_px"][5] == 0
    assert table["amplitude_deg"].isna().all()


def test_published_convention_leaves_out_the_first_saccade():
    plain = saccade_table([[(0, 0), (3, 4), (3, 10)], [(0, 0), (9, 0)]])
    published = saccade_table(
        [[(0, 0), (3, 4), (3, 10)], [(0, 0), (9, 0)]], convention="gupta2021"
    )
    assert plain["amplitude_px"].tolist() == [5, 6, 9]
    assert published["amplitude_px"].tolist() == [6]


@given(PATHS, st.floats(-500, 500), st.floats(0.1, 10))
def test_saccades_ignore_place_and_grow_with_scale(paths, shift, scale):
    table = saccade_table(paths)
    moved = saccade_table([(p + shift) * scale for p in paths])
    np.testing.assert_allclose(
        moved["amplitude_px"], scale * table["amplitude_px"], rtol=1e-6, atol=1e-6
    )
    assert (table["direction_deg"].dropna().between(0, 360, inclusive="left")).all()


def test_undefined_fixation_makes_its_saccades_undefined():
    table = saccade_table([[(0, 0), (np.nan, 4), (3, 4), (3, 9)]])
    np.testing.assert_array_equal(table["amplitude_px"], [np.nan, np.nan, 5])


def test_proportions_are_of_all_values_or_of_those_in_range():
    values = [0.0, 0.49, 0.5, 39.9, 40.0, 41.0, np.nan]
    plain = degree_histogram(values)
    published = degree_histogram(values, convention="gupta2021")
    assert plain["count"].tolist() == [2, 1, *[0] * 77, 2]
    assert plain["proportion"].sum() == pytest.approx(5 / 6)
    assert published["proportion"].sum() == pytest.approx(1)
    assert degree_histogram([])["proportion"].isna().all()


def test_distances_before_the_end_follow_a_loop():
    rng = np.random.default_rng(1)
    paths = [rng.uniform(0, 500, (n, 2)) for n in (5, 1, 3, 0)]
    target = rng.uniform(0, 500, (4, 2))
    for convention, first in (("plain", 0), ("gupta2021", 1)):
        expected = np.full((4, 6), np.nan)
        for i, path in enumerate(paths):
            for lag in range(6):
                place = len(path) - 1 - lag
                if place >= first:
                    expected[i, lag] = math.dist(path[place], target[i])
        got = distances_before_end(paths, target, convention=convention)
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    own = distances_before_end(paths)
    np.testing.assert_array_equal(own[:, 0], [0, 0, 0, np.nan])


def test_performance_counts_trials_and_its_error_bar_is_of_the_increment():
    rng = np.random.default_rng(2)
    found_at = np.where(rng.random(200) < 0.8, rng.integers(0, 12, 200), np.nan)
    table = cumulative_performance(found_at, n_fixations=10)
    one_hot = found_at[:, None] == np.arange(10)
    np.testing.assert_allclose(
        table["cumulative_performance"], np.cumsum(one_hot.mean(axis=0))
    )
    sem = one_hot.std(axis=0) / np.sqrt(200)
    np.testing.assert_allclose(table["sem_increment"], sem, rtol=1e-12)
    low, high = wilson_interval(one_hot.sum(axis=0).cumsum(), np.full(10, 200))
    np.testing.assert_allclose(
        table[["ci_low", "ci_high"]], np.column_stack([low, high])
    )
    empty = cumulative_performance([], n_fixations=2)
    assert empty.drop(columns="fixation").isna().all(axis=None)


# Trials that were stopped


def _simulate(n, hazard, limits, seed):
    """Trials with a constant chance per saccade, stopped after a random limit."""
    rng = np.random.default_rng(seed)
    needed = rng.geometric(hazard, n)
    allowed = rng.choice(limits, n)
    return np.minimum(needed, allowed), needed <= allowed, allowed


def test_kaplan_meier_matches_statsmodels():
    n_saccades, found, _ = _simulate(400, 0.15, [2, 4, 8, 12], 0)
    table = kaplan_meier_found(n_saccades, found)
    reference = SurvfuncRight(n_saccades, found.astype(int))
    at = reference.surv_times.astype(int)
    rows = table.set_index("n_saccades").loc[at]
    np.testing.assert_allclose(rows["share_found"], 1 - reference.surv_prob)
    np.testing.assert_array_equal(rows["n_at_risk"], reference.n_risk)
    np.testing.assert_array_equal(rows["n_found"], reference.n_events)
    # Greenwood's standard error of the survival S becomes s / (S |log S|) here.
    left = reference.surv_prob
    half = 1.959963984540054 * reference.surv_prob_se / (left * np.abs(np.log(left)))
    np.testing.assert_allclose(rows["ci_low"], 1 - left ** np.exp(-half))
    np.testing.assert_allclose(rows["ci_high"], 1 - left ** np.exp(half))


def test_kaplan_meier_recovers_what_stopping_hides():
    n_saccades, found, _ = _simulate(20_000, 0.15, [2, 4, 8, 12], 1)
    table = kaplan_meier_found(n_saccades, found)
    truth = 1 - 0.85 ** table["n_saccades"]
    np.testing.assert_allclose(table["share_found"], truth, atol=0.02)
    naive = cumulative_performance(np.where(found, n_saccades, np.nan), n_fixations=13)
    assert naive["cumulative_performance"].iloc[-1] < truth.iloc[-1] - 0.25
    assert table["share_found"].is_monotonic_increasing


@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_cover_the_truth(clustered):
    covered = []
    for seed in range(100):
        n_saccades, found, _ = _simulate(120, 0.2, [3, 6, 9], 100 + seed)
        clusters = np.arange(120) // 4 if clustered else None
        row = kaplan_meier_found(
            n_saccades, found, clusters=clusters, n_bootstrap=200, seed=seed
        ).iloc[5]
        covered.append(row["ci_low"] <= 1 - 0.8**5 <= row["ci_high"])
    assert 0.88 <= np.mean(covered) <= 1.0


def test_clusters_widen_the_interval_when_observers_differ():
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(20), 30)
    hazard = rng.beta(1, 3, 20)[clusters]
    needed = rng.geometric(hazard)
    single = kaplan_meier_found(needed, needed <= 5, 5)
    grouped = kaplan_meier_found(needed, needed <= 5, 5, clusters=clusters)
    width = [t.loc[4, "ci_high"] - t.loc[4, "ci_low"] for t in (single, grouped)]
    assert width[1] > 1.5 * width[0]
    assert (single["share_found"] == grouped["share_found"]).all()


def test_resamples_in_which_all_were_found_stay_at_one():
    # Half of the resamples of two clusters hold one cluster only.
    table = kaplan_meier_found(
        [1, 1, 4, 4], [True] * 4, clusters=[0, 0, 1, 1], n_bootstrap=400
    )
    assert table["share_found"].tolist() == [0, 0.5, 0.5, 0.5, 1]
    assert table["ci_low"].tolist() == [0, 0, 0, 0, 1]
    assert table["ci_high"].tolist() == [0, 1, 1, 1, 1]


def test_what_follows_the_allowed_saccades_does_not_count():
    table = kaplan_meier_found([3, 5, 2, 4], [True, True, False, True], 3)
    assert table["n_saccades"].iloc[-1] == 3
    assert table["n_found"].tolist() == [0, 0, 0, 1]
    assert table["n_stopped"].tolist() == [0, 0, 1, 2]
    assert table["share_found"].iloc[-1] == pytest.approx(1 / 3)


def test_without_stops_it_is_the_share_found():
    n_saccades = np.array([0, 1, 1, 2, 4])
    table = kaplan_meier_found(n_saccades, np.ones(5, bool))
    np.testing.assert_allclose(table["share_found"], [0.2, 0.6, 0.8, 0.8, 1.0])
    # Limits are undefined at the ends, where nothing varies.
    assert table[["ci_low", "ci_high"]].iloc[-1].isna().all()
    one = kaplan_meier_found(n_saccades, np.ones(5, bool), clusters=np.zeros(5))
    assert one[["ci_low", "ci_high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: saccade_table([], convention="gupta"), "Did you mean 'gupta2021'"),
        (lambda: saccade_table([], px_per_deg=0), "`px_per_deg` must be within"),
        (lambda: degree_histogram([1.0], bin_deg=0.3), "multiple of `bin_deg`"),
        (
            lambda: distances_before_end([[(1, 2)]], [[1, 2, 3]]),
            "`target_px` must have",
        ),
        (lambda: distances_before_end([[(1, 2)]], n_lags=0), "`n_lags` must be within"),
        (lambda: cumulative_performance([1], n_fixations=0), "`n_fixations` must be"),
        (lambda: kaplan_meier_found([], []), "`n_saccades` is empty"),
        (lambda: kaplan_meier_found([1.5], [True]), "whole numbers of saccades"),
        (lambda: kaplan_meier_found([1], [True, False]), "`found` must have shape"),
        (lambda: kaplan_meier_found([1], [True], [1, 2]), "`allowed` must have shape"),
        (
            lambda: kaplan_meier_found([1], [True], clusters=[None]),
            "`clusters` has undefined values",
        ),
    ],
)
def test_wrong_arguments_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


# The published natural search data (Gupta et al., 2021)

DATASETS = ("ObjArr", "Waldo", "NaturalDesign")
MODELS = ("human_all", "eccNET", "IVSN")
RUNS = [(d, m) for d in DATASETS for m in MODELS]


@pytest.fixture(scope="module")
def folder(data_folder):
    return data_folder / "visual_search"


@pytest.fixture(scope="module")
def published(folder):
    """Scanpaths as measured, one-hot of the finding fixation, target positions."""
    runs = {}
    with np.load(folder / "natural_search_original.npz") as stored:
        for dataset, model in RUNS:
            fix, lengths, cp = (
                stored[f"{dataset}/{part}/{model}"] for part in ("fix", "ifix", "cp")
            )
            swap = 1 if dataset == "ObjArr" else -1
            x, y = np.moveaxis(fix.astype(float)[..., ::swap], -1, 0)
            outside = np.arange(fix.shape[1]) >= lengths[:, None]
            x, y = (np.where(outside, np.nan, v) for v in (x, y))
            paths = ScanpathSet(
                x, y, np.full(x.shape, np.nan), lengths.astype(np.int64)
            )
            target = None
            if dataset == "ObjArr":
                paths = compact_object_array(paths)
            else:
                target = stored[f"{dataset}/target_pos"][:, ::-1].astype(float)
                target = np.tile(target, (len(paths) // len(target), 1))
            found_at = np.where(cp.any(axis=1), cp.argmax(axis=1), np.nan)
            runs[dataset, model] = paths, found_at, cp.shape[1], target
    return runs


def _assert_as_printed(got, printed):
    got, printed = np.asarray(got, float), np.asarray(printed, float)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(printed))
    np.testing.assert_allclose(got, printed, rtol=5.1e-10, atol=1e-11)


def _reference(folder, name):
    table = pd.read_csv(folder / f"natural_{name}.csv")
    return {run: rows for run, rows in table.groupby(["dataset", "model"])}


@pytest.mark.paper
def test_published_cumulative_performance(published, folder):
    reference = _reference(folder, "cumulative_performance")
    for run, (_, found_at, n_fixations, _) in published.items():
        table = cumulative_performance(found_at, n_fixations=n_fixations)
        for column in ("fixation", "cumulative_performance", "sem_increment"):
            _assert_as_printed(table[column], reference[run][column])


@pytest.mark.paper
def test_published_saccade_sizes(published, folder):
    reference = _reference(folder, "saccade_sizes")
    options = {"convention": "gupta2021"}
    for run, (paths, *_) in published.items():
        sizes = saccade_table(paths, px_per_deg=PX_PER_DEG, **options)["amplitude_deg"]
        table = degree_histogram(sizes, **options)
        for column in ("bin_left_deg", "count", "proportion"):
            _assert_as_printed(table[column], reference[run][column])


@pytest.mark.paper
def test_published_distances_to_target(published, folder):
    reference = _reference(folder, "distance_to_target")
    for run, (paths, _, _, target) in published.items():
        distance = distances_before_end(paths, target, convention="gupta2021")
        distance /= PX_PER_DEG
        _assert_as_printed((~np.isnan(distance)).sum(axis=0), reference[run]["n"])
        _assert_as_printed(
            np.nanmedian(distance, axis=0),
            reference[run]["median_distance_to_target_deg"],
        )
        _assert_as_printed(
            np.nanmean(distance, axis=0), reference[run]["mean_distance_deg"]
        )


@pytest.mark.paper
def test_published_summary(published, folder):
    reference = _reference(folder, "summary")
    for run, (paths, found_at, n_fixations, _) in published.items():
        sizes = saccade_table(paths, px_per_deg=PX_PER_DEG, convention="gupta2021")
        curve = cumulative_performance(found_at, n_fixations=n_fixations)
        found = ~np.isnan(found_at)
        last = found_at == paths.n_fixations - 1
        values = {
            "n_trials": len(paths),
            "max_fix": n_fixations,
            "n_found": found.sum(),
            "frac_found": found.mean(),
            "cp_argmax_equals_I_minus_1": last[found].mean(),
            "mean_fixations_found": np.nanmean(found_at),
            "median_fixations_found": np.nanmedian(found_at),
            "mean_I": paths.n_fixations.mean(),
            "cp_auc": tfp_auc(curve["cumulative_performance"]),
            "mean_saccade_deg": sizes["amplitude_deg"].mean(),
            "median_saccade_deg": sizes["amplitude_deg"].median(),
            "n_saccades": len(sizes),
        }
        _assert_as_printed(list(values.values()), reference[run][list(values)].iloc[0])


@pytest.mark.paper
def test_published_human_subjects(published, folder):
    table = pd.read_csv(folder / "natural_human_subjects.csv")
    for dataset, rows in table.groupby("dataset"):
        _, found_at, n_fixations, _ = published[dataset, "human_all"]
        for subject, row in rows.set_index("subject").iterrows():
            own = np.split(found_at, 15)[subject - 1]
            curve = cumulative_performance(own, n_fixations=n_fixations)
            share = curve["cumulative_performance"].iloc[-1]
            got = [(~np.isnan(own)).sum(), share, np.nanmean(own)]
            _assert_as_printed(
                got, row[["n_found", "frac_found", "mean_fixations_found"]]
            )


def test_object_array_moves_as_the_published_table_does():
    was = {"x": [640, 365, 90, 915, 1190], "y": [512, 988, 36]}
    now = {"x": [640, 490, 340, 790, 940], "y": [512, 772, 252]}
    grid = [(x, y) for x in was["x"] for y in was["y"]]
    moved = compact_object_array(pack_scanpaths([grid]))
    expected = [(x, y) for x in now["x"] for y in now["y"]]
    assert list(zip(moved.x_px[0], moved.y_px[0], strict=True)) == expected
