"""Forced choices: fair pairs, a key apart from them, and answers that are recovered."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_table, sha256_file, write_table
from neurovis.core.pictures import write_png
from neurovis.core.types import SCORE_COLUMNS
from tasks.braindive import MANIFEST
from tasks.forced_choice import (
    KEY_COLUMNS,
    MEAN,
    PAIR_COLUMNS,
    export_forced_choice,
    forced_choice_pairs,
    score_forced_choice,
)
from tasks.real_pictures import REAL_FILE


def rows(condition, seeds, region="face"):
    """Rows of a manifest."""
    marks = [f"{condition}-{seed}".encode().hex().ljust(64, "0") for seed in seeds]
    files = [f"images/{condition}/{seed:012d}.png" for seed in seeds]
    table = pd.DataFrame({"condition": condition, "region": region, "seed": seeds})
    return table.assign(file=files, sha256=marks)


GUIDED, UNGUIDED = rows("guided", range(9)), rows("unguided", range(9), region=np.nan)


def pairs(first=GUIDED, second=UNGUIDED, **options):
    return forced_choice_pairs(first, second, **options)


def answer(key, rate, *, people=1, seed=0):
    """Let people choose the first condition with one probability."""
    rng = np.random.default_rng(seed)
    tables = []
    for person in range(people):
        right = rng.random(len(key)) < rate
        other = np.where(key["side_of_first"] == "left", "right", "left")
        said = np.where(right, key["side_of_first"], other)
        table = pd.DataFrame({"subject": f"p{person}", "trial": key["trial"]})
        tables.append(table.assign(response=said))
    return pd.concat(tables, ignore_index=True)


# ------------------------------------------------------------------------- pairs


def test_images_of_one_seed_are_paired_and_shown_once():
    key = pairs()
    assert list(key.columns) == list(KEY_COLUMNS)
    assert key["trial"].tolist() == list(range(9))
    assert sorted(key["first_seed"]) == list(range(9))
    assert (key["first_seed"] == key["second_seed"]).all()
    assert sorted(key["pair"]) == list(range(9))
    assert (key["first_condition"] == "guided").all()
    assert key["question"].unique() == ["Which of the two pictures shows more of face?"]
    for row in key.to_dict("records"):
        sides = ["first", "second"]
        if row["side_of_first"] == "right":
            sides.reverse()
        for place, side in zip(("left", "right"), sides, strict=True):
            assert row[place] == f"images/{row[f'{side}_sha256'][:16]}.png"
            condition, seed = row[f"{side}_condition"], row[f"{side}_seed"]
            assert row[f"{side}_file"] == f"images/{condition}/{seed:012d}.png"


@pytest.mark.parametrize("n", [1, 2, 5, 8, 9, 10, 13, 18, 27, 31])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sides_are_counterbalanced_exactly(n, seed):
    key = pairs(n_trials=n, seed=seed)
    n_left = int((key["side_of_first"] == "left").sum())
    assert abs(2 * n_left - n) == n % 2
    shown = key["pair"].value_counts()
    assert shown.max() - shown.reindex(range(9), fill_value=0).min() <= 1
    for _, own in key.groupby("pair"):
        assert abs((own["side_of_first"] == "left").sum() * 2 - len(own)) <= 1


def test_over_seeds_each_side_and_order_is_equally_likely():
    keys = [pairs(n_trials=1, seed=seed) for seed in range(200)]
    left = sum(key["side_of_first"].iloc[0] == "left" for key in keys)
    assert stats.binomtest(left, 200).pvalue > 0.001
    counts = pd.Series([key["first_seed"].iloc[0] for key in keys]).value_counts()
    assert stats.chisquare(counts.reindex(range(9), fill_value=0)).pvalue > 0.001


def test_the_order_is_shuffled_and_follows_the_seed():
    key = pairs()
    pd.testing.assert_frame_equal(key, pairs())
    assert not key.equals(pairs(seed=1))
    assert key["first_seed"].tolist() != sorted(key["first_seed"])


def test_only_shared_seeds_are_paired():
    key = pairs(second=rows("unguided", [8, 3, 20]))
    assert sorted(key["first_seed"]) == [3, 8]
    with pytest.raises(ValueError, match="'guided' and 'unguided' have no seed in"):
        pairs(second=rows("unguided", [20]))


def test_images_without_common_seeds_are_paired_at_random_once_each():
    key = pairs(second=rows("real-best", range(100, 106)), by_seed=False)
    assert len(key) == 6
    assert key["first_seed"].is_unique
    assert sorted(key["second_seed"]) == list(range(100, 106))


def test_the_question_can_be_another():
    key = pairs(question="Which is more real?")
    assert key["question"].unique() == ["Which is more real?"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second": GUIDED}, "`first` and `second` are both 'guided'"),
        ({"first": pd.concat([GUIDED, UNGUIDED])}, "`first` must be images of one"),
        ({"first": GUIDED[:0]}, r"`first` must be images of one condition.*0 of \[\]"),
        ({"second": UNGUIDED.drop(columns="sha256")}, "sha256"),
        ({"n_trials": 0}, "`n_trials` must be"),
        ({"seed": -1}, "`seed` must be"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        pairs(**change)


# ------------------------------------------------------------------------- files


@pytest.fixture
def folder(tmp_path):
    """A run of small images: four guided and unguided, three real ones."""
    draw = np.random.default_rng(0)
    run = tmp_path / "run"
    tables = []
    for name, n in (("unguided", 4), ("guided", 4), ("real-best", 3)):
        table = rows(name, range(n), region="" if name == "unguided" else "face")
        for file in table["file"]:
            write_png(run / file, draw.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        tables.append(
            table.assign(sha256=[sha256_file(run / f) for f in table["file"]])
        )
    write_table(run / MANIFEST, pd.concat(tables[:2], ignore_index=True))
    real = tables[2].assign(condition="real, best measured")
    write_table(run / REAL_FILE, real)
    return run


def test_what_participants_get_does_not_tell_the_conditions(folder):
    key = export_forced_choice(folder)
    home = folder / "pairs"
    shown = read_table(home / "pairs.csv")
    assert list(shown.columns) == list(PAIR_COLUMNS)
    pd.testing.assert_frame_equal(shown, key[list(PAIR_COLUMNS)])
    assert "guided" not in (home / "pairs.csv").read_text()
    names = {path.name for path in home.iterdir()}
    assert names == {"pairs.csv", "pairs_key.csv", "images"}
    kept = read_table(home / "pairs_key.csv")
    pd.testing.assert_frame_equal(kept, key, check_dtype=False)
    for row in key.to_dict("records"):
        sides = {row["side_of_first"]: "first"}
        for place in ("left", "right"):
            side = sides.get(place, "second")
            copy = (home / row[place]).read_bytes()
            assert copy == (folder / row[f"{side}_file"]).read_bytes()
    assert len(list((home / "images").iterdir())) == 8


def test_real_pictures_are_paired_at_random(folder):
    key = export_forced_choice(folder, first="real-best", second="guided", seed=2)
    assert len(key) == 3
    assert (key["first_condition"] == "real-best").all()
    assert (key["region"] == "face").all()
    seeds = key[["first_seed", "second_seed"]]
    assert (seeds["first_seed"] != seeds["second_seed"]).any()


def test_pairs_that_may_have_been_answered_are_kept(folder, tmp_path):
    export_forced_choice(folder)
    before = (folder / "pairs" / "pairs_key.csv").read_bytes()
    export_forced_choice(folder)  # the same once more
    assert (folder / "pairs" / "pairs_key.csv").read_bytes() == before
    with pytest.raises(ValueError, match=r"holds other pairs.*choose another folder"):
        export_forced_choice(folder, seed=1)
    export_forced_choice(folder, tmp_path / "other", seed=1)
    assert (folder / "pairs" / "pairs_key.csv").read_bytes() == before


def test_missing_and_other_images_are_told(folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"`second` must be one of .*Did you mean"):
        export_forced_choice(folder, out, second="unguidde")
    path = folder / "images" / "guided" / f"{2:012d}.png"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataCorruptError, match="is not the image of the manifest"):
        export_forced_choice(folder, out)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="image"):
        export_forced_choice(folder, out)
    (folder / MANIFEST).unlink()
    with pytest.raises(FileNotFoundError, match="manifest"):
        export_forced_choice(folder, out)
    assert not out.exists()


# ----------------------------------------------------------------------- answers


def test_choices_of_simulated_people_are_recovered():
    key = pairs(n_trials=96)
    table = score_forced_choice(key, answer(key, 0.8, people=20))
    people, group = table[:-1], table.iloc[-1]
    assert group["subject"] == MEAN
    assert group["n"] == 20
    assert abs(group["value"] - 0.8) < 3 * np.sqrt(0.16 / (96 * 20))
    assert group["ci_low"] < 0.8 < group["ci_high"]
    assert group["ci_high"] - group["ci_low"] < 0.06
    assert np.isnan(group["p_value"])
    assert (people["p_value"] < 1e-3).all()
    inside = (people["ci_low"] < 0.8) & (people["ci_high"] > 0.8)
    assert inside.sum() >= 17
    assert (table["condition"] == "guided against unguided").all()
    assert table["region"].unique() == ["face"]


def test_those_who_see_no_difference_are_at_chance():
    key = pairs(n_trials=96)
    table = score_forced_choice(key, answer(key, 0.5, people=20, seed=1))
    group = table.iloc[-1]
    assert group["ci_low"] < 0.5 < group["ci_high"]
    assert (table["p_value"][:-1] < 0.05).sum() <= 3


def test_those_who_always_choose_one_side_say_nothing():
    key = pairs(n_trials=18)
    said = pd.DataFrame({"subject": "ann", "trial": key["trial"], "response": "left"})
    row = score_forced_choice(key, said).iloc[0]
    assert (row["value"], row["p_value"]) == (0.5, 1.0)


def test_limits_and_p_are_those_of_other_packages():
    key = pairs(n_trials=30)
    table = score_forced_choice(key, answer(key, 0.7, people=3, seed=4), n_bootstrap=50)
    assert list(table.columns) == [*SCORE_COLUMNS, "p_value"]
    for row in table[:-1].to_dict("records"):
        k, n = round(row["value"] * row["n"]), row["n"]
        low, high = proportion_confint(k, n, method="wilson")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
        tail = 2 * stats.binom.sf(max(k, n - k) - 1, n, 0.5)
        assert row["p_value"] == pytest.approx(min(tail, 1))
    assert table["value"].iloc[-1] == pytest.approx(table["value"][:-1].mean())


def test_answers_are_read_of_files_and_gaps_left_out(folder):
    key = export_forced_choice(folder)
    said = answer(key, 1.0, people=2)
    said.loc[said.index[:1], "response"] = np.nan
    said["subject"] = [7] * 4 + [8] * 4
    write_table(folder / "answers.csv", said.iloc[::-1].reset_index(drop=True))
    table = score_forced_choice(
        folder / "pairs" / "pairs_key.csv", folder / "answers.csv", n_bootstrap=10
    )
    assert table["subject"].tolist() == ["8", "7", MEAN]
    assert table["n"].tolist() == [4, 3, 2]
    assert table["value"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"response": "middle"}, "response of `answers`.*'left', 'right'"),
        ({"response": np.nan}, "`answers` has no response"),
        ({"trial": 99}, "has the trial 99, which `key` lacks"),
        ({"trial": 3}, "`answers` has trial 3 of 'p0' twice"),
        ({"subject": MEAN}, "must name somebody"),
        ({"subject": np.nan}, "must name somebody"),
    ],
)
def test_answers_that_make_no_sense_are_refused(change, message):
    key = pairs()
    with pytest.raises(ValueError, match=message):
        score_forced_choice(key, answer(key, 0.8).assign(**change))
    with pytest.raises(ValueError, match="response"):
        score_forced_choice(key, answer(key, 0.8).drop(columns="response"))
