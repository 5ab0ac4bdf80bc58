"""Quitting rules, and scores of searchers whose truth is known."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.psychophysics import fixations_to_rt_ms
from analysis.reaction_times import filter_rts, rt_summary, subject_slopes
from analysis.rt_fits import ks_distance, wasserstein_ms
from analysis.search_slopes import (
    QUITTING_RULES,
    halve_displays,
    human_miss_rates,
    quit_searches,
    quitting_limit,
    slope_ratio,
)
from analysis.slope_scores import EXTRA_COLUMNS, HUMAN_SUBJECT, UNITS, slope_scores
from neurovis.core.types import SCORE_COLUMNS

CELL = ["task", "target_present", "set_size"]


def simulate_people(n_subjects=3, n=40, seed=0):
    """People with slopes 10 and 20 (easy), 40 and 90 (hard), and known errors."""
    rng = np.random.default_rng(seed)
    parts = []
    for task, slopes, miss in (("easy", (10, 20), 0.0), ("hard", (40, 90), 0.1)):
        for subject in range(n_subjects):
            for size in (3, 6, 12):
                for there in (1, 0):
                    mean = 400 + slopes[1 - there] * size + 15 * subject
                    rt = mean - 60 + rng.exponential(60, n)
                    wrong = np.arange(n) < round(miss * n) * there
                    parts.append(
                        pd.DataFrame(
                            {
                                "subject": subject + 1,
                                "task": task,
                                "set_size": size,
                                "target_present": there,
                                "error": wrong.astype(int),
                                "rt_ms": rt,
                            }
                        )
                    )
    return pd.concat(parts, ignore_index=True)


def simulate_searcher(name, *, n=40, guided=("easy",), seed=0, untrained=False):
    """A searcher that finds guided targets at once and visits others one by one."""
    rng = np.random.default_rng(seed)
    rows = []
    for task in ("easy", "hard"):
        for size in (3, 6, 12):
            for there in (True, False):
                for i in range(n):
                    serial = 1 if task in guided else int(rng.integers(1, size + 1))
                    rows.append(
                        {
                            "subject": name,
                            "model": name,
                            "untrained": untrained,
                            "stimulus_id": f"{task}{size}{there}{i}",
                            "task": task,
                            "set_size": size,
                            "target_present": there,
                            "n_fixations": serial if there else size,
                            "found": there,
                        }
                    )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def people():
    return simulate_people()


@pytest.fixture(scope="module")
def searches():
    guided = simulate_searcher("guided")
    blind = simulate_searcher("blind", guided=(), seed=1, untrained=True)
    return pd.concat([guided, blind], ignore_index=True)


@pytest.fixture(scope="module")
def scores(searches, people):
    return slope_scores(searches, people, n_bootstrap=60)


def _value(scores, subject, metric, condition, rule=None, column="value"):
    rows = scores[
        (scores["subject"] == subject)
        & (scores["metric"] == metric)
        & (scores["condition"] == condition)
    ]
    rows = rows[rows["rule"].isna() if rule is None else rows["rule"] == rule]
    assert len(rows) == 1
    return rows[column].iloc[0]


# ---------------------------------------------------------------- quitting rules


def test_an_exhaustive_search_says_absent_after_every_item(searches):
    done = quit_searches(searches, rule="exhaustive")
    absent = done[~done["target_present"]]
    assert (absent["n_fixations"] == absent["set_size"]).all()
    assert (absent["response"] == "absent").all()
    assert (done["error"] == 0).all()
    assert (done["rt_ms"] == fixations_to_rt_ms(done["n_fixations"])).all()
    present = done[done["target_present"]]
    assert (present["n_fixations"] == searches["n_fixations"][present.index]).all()


def test_a_target_beyond_the_last_item_is_missed_exhaustively(searches):
    late = searches.assign(n_fixations=searches["set_size"] + 1)
    done = quit_searches(late, rule="exhaustive")
    assert (done["error"] == done["target_present"]).all()
    assert (done["n_fixations"] == done["set_size"]).all()


def test_limits_of_a_half_are_order_statistics_of_the_other_half(searches, people):
    done = quit_searches(searches, people, seed=3)
    rates = human_miss_rates(people).set_index(["task", "set_size"])["miss_rate"]
    groups = done.groupby(["subject", "task", "set_size", "half"])
    assert len(groups) == 2 * 6 * 2
    for (subject, task, size, half), part in groups:
        other = searches[
            (searches["subject"] == subject)
            & (searches["task"] == task)
            & (searches["set_size"] == size)
            & searches["target_present"]
            & searches["stimulus_id"].isin(
                done.loc[done["half"] != half, "stimulus_id"]
            )
        ]
        counts = other["n_fixations"].to_numpy()
        assert len(counts) == 20
        shares = [(counts <= c).mean() for c in range(size + 1)]
        least = int(np.argmax(np.array(shares) >= 1 - rates[task, size] - 1e-12))
        assert (part["limit"] == least).all()


def test_no_display_changes_its_own_limit(searches, people):
    before = quit_searches(searches, people)
    changed = searches.copy()
    own = (before["half"] == 0) & before["target_present"]
    changed.loc[own, "n_fixations"] = 1
    after = quit_searches(changed, people)
    mine = before["half"] == 0
    assert (before["limit"][mine] == after["limit"][mine]).all()
    assert (before["limit"][~mine] > after["limit"][~mine]).any()


def test_misses_match_those_of_people_within_what_displays_can_tell(people):
    many = simulate_searcher("m", n=2000, guided=())
    done = quit_searches(many, people)
    hard = done[(done["task"] == "hard") & done["target_present"]]
    for size, part in hard.groupby("set_size"):
        # One more item per fixation: the share found comes in steps of 1 / size.
        assert part["error"].mean() == pytest.approx(
            np.floor(0.1 * size + 1e-9) / size, abs=0.02
        )
    easy = done[(done["task"] == "easy")]
    assert (easy["error"] == 0).all()
    assert (easy["limit"] == easy["set_size"]).all()


def test_there_are_no_false_alarms_by_construction(searches, people):
    for rule in QUITTING_RULES:
        done = quit_searches(searches, people, rule=rule)
        assert (done.loc[~done["target_present"], "error"] == 0).all()


def test_a_searcher_that_finds_too_little_searches_to_its_end(people):
    poor = simulate_searcher("m", guided=())
    poor["found"] = poor["target_present"] & (poor["n_fixations"] < poor["set_size"])
    poor["n_fixations"] = poor["n_fixations"].where(poor["found"], 30)
    done = quit_searches(poor, people)
    # People never miss an easy target.
    easy = done["task"] == "easy"
    assert (done.loc[easy, "limit"] == 30).all()
    assert done.loc[easy & poor["found"], "error"].eq(0).all()
    unfound = easy & poor["target_present"] & ~poor["found"]
    assert done.loc[unfound, "error"].eq(1).all()


def test_a_cell_without_targets_in_a_half_has_no_limit(people):
    few = simulate_searcher("m", n=1)
    done = quit_searches(few, people)
    undefined = done["limit"].isna()
    # The only target is in the first half, and it sets the limit of the second one.
    assert (undefined == (done["half"] == 0)).all()
    assert done.loc[undefined, ["error", "rt_ms", "n_fixations"]].isna().all(axis=None)
    assert done.loc[undefined, "response"].isna().all()


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=30),
    st.floats(0, 1),
)
def test_limit_is_the_smallest_that_is_enough(counts, miss_rate):
    counts = np.array(counts)
    limit = float(quitting_limit(counts, np.ones(len(counts), bool), miss_rate))
    assert (counts <= limit).mean() >= 1 - miss_rate - 1e-9
    assert limit == 0 or (counts < limit).mean() < 1 - miss_rate + 1e-9


@given(st.lists(st.integers(0, 3), min_size=6, max_size=6), st.sampled_from([0, 0.2]))
def test_weights_are_repeats(weights, miss_rate):
    counts, found = np.array([1, 2, 3, 5, 8, 9]), np.array([1, 1, 0, 1, 1, 0], bool)
    repeated = np.repeat(np.arange(6), weights)
    if len(repeated):
        expected = quitting_limit(counts[repeated], found[repeated], miss_rate)
        got = quitting_limit(counts, found, miss_rate, weights=[weights, weights])
        assert got.tolist() == [float(expected)] * 2


def test_halves_are_balanced_and_the_same_for_all_searchers(searches):
    half = halve_displays(searches)
    table = searches.assign(half=half)
    assert table.groupby([*CELL, "subject"])["half"].mean().eq(0.5).all()
    assert table.groupby("stimulus_id")["half"].nunique().eq(1).all()
    shuffled = searches.sample(frac=1, random_state=0)
    assert (halve_displays(shuffled) == table.loc[shuffled.index, "half"]).all()
    as_numbers = searches.assign(target_present=searches["target_present"].astype(int))
    assert (halve_displays(as_numbers) == half).all()
    assert (halve_displays(searches, seed=1) != half).any()


def test_wrong_searches_are_refused(searches, people):
    with pytest.raises(ValueError, match="`human` must be given"):
        quit_searches(searches)
    with pytest.raises(ValueError, match="Did you mean 'exhaustive'"):
        quit_searches(searches, rule="exhaustiv")
    with pytest.raises(ValueError, match="which has none"):
        quit_searches(searches.assign(found=True), people)
    with pytest.raises(ValueError, match="more than once for 'guided'"):
        quit_searches(pd.concat([searches, searches[:1]]), people)
    with pytest.raises(ValueError, match="no trials of task"):
        quit_searches(searches, people[people["task"] == "easy"])
    with pytest.raises(ValueError, match="0 or more"):
        quit_searches(searches.assign(n_fixations=-1), people)
    with pytest.raises(ValueError, match="identities must be unique"):
        halve_displays(searches.assign(stimulus_id="same"))
    with pytest.raises(ValueError, match="lacks the columns"):
        quit_searches(searches.drop(columns="found"), people)


def test_slope_ratio_needs_a_rising_line():
    ratio = slope_ratio([40.0, -1.0, 5.0, np.nan], [20.0, 2.0, -1.0, 1.0])
    assert ratio[:2].tolist() == [2.0, -0.5]
    assert np.isnan(ratio[2:]).all()


# ----------------------------------------------------------------------- scores


def test_table_has_the_columns_and_units_of_every_score_table(scores, people):
    assert list(scores.columns) == [*SCORE_COLUMNS, *EXTRA_COLUMNS]
    assert set(scores["metric"]) == set(UNITS)
    assert (scores["unit"] == scores["metric"].map(UNITS)).all()
    keys = ["subject", "rule", "metric", "condition"]
    assert not scores.duplicated(keys).any()
    assert scores["subject"].iloc[0] == HUMAN_SUBJECT
    assert (scores["n"] > 0).all()
    buffer = io.BytesIO()
    scores.to_parquet(buffer)
    pd.testing.assert_frame_equal(pd.read_parquet(buffer), scores, check_dtype=False)


def test_values_of_people_are_means_over_subjects(scores, people):
    kept = filter_rts(people).trials
    lines = subject_slopes(kept).groupby(["task", "target_present"]).mean()
    for (task, there), line in lines.iterrows():
        condition = f"{task}/{'present' if there else 'absent'}"
        got = _value(scores, HUMAN_SUBJECT, "slope_ms_per_item", condition)
        assert got == pytest.approx(line["slope_ms_per_item"])
        got = _value(scores, HUMAN_SUBJECT, "intercept_ms", condition)
        assert got == pytest.approx(line["intercept_ms"])
    rate = _value(scores, HUMAN_SUBJECT, "error_rate", "hard/present/n=6")
    assert rate == pytest.approx(0.1)
    ratio = _value(scores, HUMAN_SUBJECT, "slope_ratio", "hard")
    slopes = [
        _value(scores, HUMAN_SUBJECT, "slope_ms_per_item", f"hard/{p}")
        for p in ("absent", "present")
    ]
    assert ratio == pytest.approx(slopes[0] / slopes[1])


def test_known_slopes_of_people_lie_in_their_intervals(scores):
    for condition, truth in (
        ("easy/present", 10),
        ("easy/absent", 20),
        ("hard/present", 40),
        ("hard/absent", 90),
    ):
        args = (scores, HUMAN_SUBJECT, "slope_ms_per_item", condition)
        value = _value(*args)
        low, high = (_value(*args, column=c) for c in ("ci_low", "ci_high"))
        assert low < value < high
        assert value == pytest.approx(truth, abs=4)


@pytest.mark.parametrize("rule", QUITTING_RULES)
def test_values_of_searchers_are_those_of_their_trials(scores, searches, people, rule):
    done = quit_searches(searches, people, rule=rule)
    right = done[done["error"] == 0]
    means = rt_summary(right, by=["subject", *CELL])
    assert len(means) == 24
    rates = done.groupby(["subject", *CELL])["error"].mean()
    times = {key: part for key, part in right.groupby(["subject", *CELL])["rt_ms"]}
    human = {
        key: part for key, part in filter_rts(people).trials.groupby(CELL)["rt_ms"]
    }
    for _, row in means.iterrows():
        key = (row["subject"], *row[CELL])
        presence = "present" if row["target_present"] else "absent"
        condition = f"{row['task']}/{presence}/n={row['set_size']}"
        theirs = human[tuple(row[CELL])]
        mine = times[key]
        expected = {
            "mean_rt_ms": row["mean_ms"],
            "error_rate": rates[key],
            "ks_to_human": ks_distance(mine, theirs),
            "wasserstein_to_human_ms": wasserstein_ms(mine, theirs),
        }
        for metric, value in expected.items():
            got = _value(scores, row["subject"], metric, condition, rule)
            assert got == pytest.approx(value, abs=1e-9)


def test_a_serial_exhaustive_search_has_twice_the_slope_without_a_target(people):
    many = simulate_searcher("m", n=800, guided=())
    scores = slope_scores(many, people, rules=["exhaustive"], n_bootstrap=50)
    args = (scores, "m", "slope_ratio", "hard", "exhaustive")
    assert _value(*args) == pytest.approx(2, abs=0.15)
    assert _value(*args, column="ci_low") < 2.1
    assert _value(*args, column="ci_high") > 1.9
    slope = _value(scores, "m", "slope_ms_per_item", "hard/absent", "exhaustive")
    assert slope == pytest.approx(252.359)


def test_matched_misses_make_a_guided_search_flat(scores):
    for condition in ("easy/present", "easy/absent"):
        args = (scores, "guided", "slope_ms_per_item", condition)
        assert _value(*args, "matched_misses") == 0
    exhaustive = _value(*args, "exhaustive")
    assert exhaustive == pytest.approx(252.359)
    ratio = _value(scores, "guided", "slope_ratio", "easy", "matched_misses")
    assert np.isnan(ratio)
    note = _value(
        scores, "guided", "slope_ratio", "easy", "matched_misses", column="note"
    )
    assert note.startswith("undefined: slope with a target not above 0")


def test_the_searcher_that_is_guided_as_people_agrees_more(scores):
    for metric in ("rt_pearson_r", "slope_pearson_r"):
        guided, blind = (
            _value(scores, name, metric, "all", "matched_misses")
            for name in ("guided", "blind")
        )
        assert guided > 0.9 > blind
    guided, blind = (
        _value(scores, name, "rt_rmse_ms", "all", "matched_misses")
        for name in ("guided", "blind")
    )
    assert guided < blind


def test_people_as_a_searcher_reach_the_ceiling():
    # A searcher whose mean times are those of people up to a line.
    people = simulate_people(4, n=200)
    cells = rt_summary(filter_rts(people).trials)
    rows = []
    for _, row in cells[cells["target_present"] == 1].iterrows():
        count = round((row["mean_ms"] - 376) / 10)
        rows += [
            {
                "stimulus_id": f"{row['task']}{row['set_size']}{i}",
                "task": row["task"],
                "set_size": row["set_size"],
                "target_present": True,
                "n_fixations": count,
                "found": True,
            }
            for i in range(10)
        ]
    trials = pd.DataFrame(rows).assign(subject="m", model="m", untrained=False)
    scores = slope_scores(trials, people, rules=["matched_misses"], n_bootstrap=50)
    args = (scores, "m", "rt_pearson_r", "all", "matched_misses")
    assert _value(*args) > 0.999
    assert _value(*args, column="ceiling_low") > 0.98
    high = _value(*args, column="ceiling_high")
    low = _value(*args, column="ceiling_low")
    assert high == pytest.approx(np.sqrt(2 * low / (1 + low)))
    assert _value(*args, column="value_over_ceiling") == pytest.approx(
        _value(*args) / high
    )
    assert np.isnan(_value(*args[:2], "rt_rmse_ms", *args[3:], column="ceiling_high"))


def test_intervals_are_about_displays_and_shrink_with_them(people):
    widths = []
    for n in (40, 360):
        trials = simulate_searcher("m", n=n, guided=(), seed=5)
        table = slope_scores(trials, people, rules=["exhaustive"], n_bootstrap=100)
        args = (table, "m", "slope_ms_per_item", "hard/present", "exhaustive")
        low, high = (_value(*args, column=c) for c in ("ci_low", "ci_high"))
        assert low < _value(*args) < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(3, rel=0.3)


def test_intervals_of_absent_times_know_of_the_limit(scores):
    args = (scores, "blind", "mean_rt_ms", "hard/absent/n=12", "matched_misses")
    assert _value(*args, column="ci_low") < _value(*args)
    exhaustive = (*args[:4], "exhaustive")
    assert _value(*exhaustive, column="ci_low") == _value(*exhaustive)


def test_scores_do_not_depend_on_order_or_company(scores, searches, people):
    alone = searches[searches["subject"] == "blind"].sample(frac=1, random_state=1)
    mixed = people.sample(frac=1, random_state=2)
    again = slope_scores(alone, mixed, n_bootstrap=60)
    keys = ["subject", "rule", "metric", "condition"]
    before = scores[scores["subject"] != "guided"]
    pair = again.merge(before, on=keys, validate="one_to_one")
    assert len(pair) == len(before) == len(again)
    for name in ("value", "ci_low", "ci_high"):
        left, right = pair[f"{name}_x"], pair[f"{name}_y"]
        assert left.to_numpy() == pytest.approx(right.to_numpy(), nan_ok=True)


def test_what_is_undefined_is_nan_and_has_a_reason(people):
    few = simulate_searcher("m", n=2)
    scores = slope_scores(few, people, n_bootstrap=20)
    own = scores[scores["subject"] == "m"]
    fits = own[own["metric"].str.startswith("exgaussian")]
    assert fits["value"].isna().all()
    assert fits["note"].str.startswith("undefined: fewer than 10").all()
    slopes = own[own["metric"] == "slope_ms_per_item"]
    assert slopes["ci_low"].isna().all()
    assert slopes["value"].notna().all()
    one = slope_scores(few[few["set_size"] == 3], people, n_bootstrap=0)
    assert one.loc[one["metric"] == "slope_ms_per_item", "value"].isna().all()
    assert (
        one["ci_low"].isna().all()
        or one.loc[one["ci_low"].notna(), "metric"].eq("error_rate").all()
    )


def test_untrained_searchers_and_missing_false_alarms_are_told(scores):
    blind = scores[scores["subject"] == "blind"]
    assert blind["untrained"].all()
    assert blind["note"].str.contains("untrained weights").all()
    note = _value(
        scores, "guided", "error_rate", "hard/absent/n=3", "exhaustive", column="note"
    )
    assert note == "no false alarms by construction"


def test_wrong_tables_are_refused(searches, people):
    with pytest.raises(ValueError, match="label of people"):
        slope_scores(
            searches.assign(subject=HUMAN_SUBJECT, stimulus_id="x")[:1], people
        )
    models = searches.assign(model=np.arange(len(searches)).astype(str))
    with pytest.raises(ValueError, match="more than one `model`"):
        slope_scores(models, people)
    with pytest.raises(ValueError, match="no usable trials in the cell"):
        slope_scores(searches, people[people["set_size"] != 6])
    with pytest.raises(ValueError, match="`rules` must be one of"):
        slope_scores(searches, people, rules=["never"])


# ------------------------------------------------------------------- real people


@pytest.mark.paper
def test_wolfe_people_have_the_reference_slopes_and_a_high_ceiling(data_folder):
    real = pd.read_csv(data_folder / "search_rt_wolfe2010" / "trials.csv.gz")
    cells = real[CELL].drop_duplicates().reset_index(drop=True)
    trials = cells.assign(
        subject="m",
        model="m",
        untrained=False,
        stimulus_id=[str(i) for i in range(len(cells))],
        n_fixations=cells["set_size"],
        found=cells["target_present"],
    )
    scores = slope_scores(trials, real, rules=["exhaustive"], n_bootstrap=100)
    expected = {
        "conjunction/absent": 24.286,
        "conjunction/present": 8.882,
        "feature/absent": -0.6,
        "feature/present": 1.295,
        "spatial_configuration/absent": 93.149,
        "spatial_configuration/present": 42.666,
    }
    for condition, slope in expected.items():
        got = _value(scores, HUMAN_SUBJECT, "slope_ms_per_item", condition)
        assert round(got, 3) == slope
    ceiling = _value(
        scores, "m", "rt_pearson_r", "all", "exhaustive", column="ceiling_low"
    )
    assert 0.97 < ceiling < 1
    ratio = _value(scores, HUMAN_SUBJECT, "slope_ratio", "spatial_configuration")
    assert ratio == pytest.approx(93.149 / 42.666, abs=1e-3)
