"""The diet experiment: scores of simulated searches, and small runs."""

import shutil
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.psychophysics import search_slopes
from analysis.search_asymmetry import (
    human_slopes,
    mean_asymmetry_indices,
    slope_agreement,
)
from data_loaders.search_humans import (
    load_human_rt,
    load_published_asymmetry,
    load_published_trials,
)
from neurovis.adapters import load_model
from neurovis.core.checks import check_columns
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, sha256_file, write_json
from neurovis.core.provenance import collect
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS, Score
from stimuli.diets import DIETS
from stimuli.search_arrays import make_search_arrays
from tasks.backbone_recipe import compact_recipe
from tasks.diet import load_diet_run, run_diet
from tasks.diet_measures import SUMMARIES, crossed_seeds, measure_networks
from tasks.diet_networks import diet_recipe, untrained_weights
from tasks.diet_scores import DIET_COLUMNS, diet_scores
from tasks.diet_verdicts import conclusions, verdict_of
from tasks.search_asymmetry import run_searches
from tests.tasks.diet_examples import (
    many_searches,
    rows_of,
    scores_of,
    searches,
    small_recipe,
    write_pictures,
)

MEAN, DEFINED = "mean_asymmetry_index", "mean_defined_index"
DIFFERENCE = f"{MEAN}_difference"
LIKE = [0.8, 0.7, 0.4, 0.4, 0.6, 0.5]
UNLIKE = [-0.9, -0.8, -0.1, -0.2, -0.6, 0.8]


def shifted(indices, by):
    return [None if i is None else i + by for i in indices]


def wobbling(indices, step=0.05):
    """Indices of the networks of a diet: those of seed 1 are the given ones."""
    return lambda seed: shifted(indices, step * (seed - 1))


@cache
def two_diets():
    """Scores of two diets; not to be changed."""
    return scores_of(
        many_searches({"natural": wobbling(LIKE), "lines": wobbling(UNLIKE, 0.03)})
    )


# ------------------------------------------------------------ single networks


def test_measures_of_a_network_are_those_of_the_analysis_functions():
    trials = many_searches({"natural": lambda seed: LIKE}, noise=1.5, n=6)
    human = load_human_rt()
    found = measure_networks(trials, human, n_bootstrap=2, seed=0)
    lines = human_slopes(human)
    slopes = search_slopes(trials, by=("subject", "experiment", "condition"),
                           n_bootstrap=0)  # fmt: skip
    means = mean_asymmetry_indices(slopes, lines).set_index("subject")
    r = slope_agreement(slopes, lines, n_permutations=1).set_index("subject")
    for name, row in zip(found.names, found.observed, strict=True):
        own = dict(zip(found.keys, row, strict=True))
        assert own[MEAN, 0] == pytest.approx(means.loc[name, "mean_asymmetry_index"])
        assert own["slope_pearson_r", 0] == pytest.approx(r.loc[name, "pearson_r"])
    assert found.n_trials == 6


def test_known_indices_come_back_exactly():
    trials = searches("natural seed 0", "natural", 0, [*UNLIKE[:5], None])
    table = scores_of(trials)
    network = rows_of(table, "network", "asymmetry_index").set_index("experiment")
    np.testing.assert_allclose(network["value"].iloc[:5], UNLIKE[:5], atol=1e-9)
    assert np.isnan(network["value"].iloc[5])
    known = {k: rows_of(table, "diet", k)["value"].item() for k in SUMMARIES}
    assert known[MEAN] == pytest.approx(sum(UNLIKE[:5]) / 6)  # undefined: 0
    assert known[DEFINED] == pytest.approx(sum(UNLIKE[:5]) / 5)  # left out
    assert known["n_defined_experiments"] == 5
    assert known["polarity_agreement"] == 0
    alone = rows_of(table, "network", DEFINED)["value"].item()
    assert alone == pytest.approx(known[DEFINED])


def test_a_network_without_any_slope_has_no_index_and_a_published_mean_of_0():
    table = scores_of(searches("natural seed 0", "natural", 0, [None] * 6))
    assert rows_of(table, "diet", MEAN)["value"].item() == 0
    assert np.isnan(rows_of(table, "diet", DEFINED)["value"].item())
    assert np.isnan(rows_of(table, "diet", "slope_pearson_r")["value"].item())
    assert rows_of(table, "diet", "n_defined_experiments")["value"].item() == 0


def test_resamples_of_trials_are_shared_by_all_networks():
    first = searches("natural seed 0", "natural", 0, LIKE, noise=1.5)
    twin = first.assign(subject="lines seed 0", model="lines seed 0", diet="lines")
    mixed = twin.sample(frac=1, random_state=1)
    trials = pd.concat([first, mixed], ignore_index=True)
    found = measure_networks(trials, load_human_rt(), n_bootstrap=40, seed=3)
    np.testing.assert_array_equal(found.draws[0], found.draws[1])
    assert np.ptp(found.draws[0, :, 0]) > 0.05
    table = scores_of(trials)
    difference = rows_of(table, "difference", DIFFERENCE).loc["natural - lines"]
    assert difference["value"] == 0
    # Equal in every resample is no interval of width 0.
    assert difference[["ci_low", "ci_high", "p_value", "p_holm"]].isna().all()
    assert difference["note"] == (
        "no interval: equal in all resamples; "
        "published networks differ in classes too: 1000 and 100"
    )
    assert difference["verdict"] == "undecided"


def test_an_index_at_its_bound_in_all_resamples_has_no_interval():
    # The easier lines are flat in every network: 1 throughout, and no other value.
    trials = many_searches({"natural": lambda _: [1.0] * 6, "lines": lambda _: LIKE})
    table = scores_of(trials)
    for metric in (MEAN, "asymmetry_index"):
        rows = table[(table["level"] == "diet") & (table["metric"] == metric)]
        rows = rows[rows["model"] == "natural"]
        np.testing.assert_array_equal(rows["value"], 1)
        assert rows[["ci_low", "ci_high"]].isna().all(axis=None)
        assert (rows["note"] == "no interval: equal in all resamples").all()


def test_observers_must_have_searched_the_same_displays():
    first = searches("natural seed 0", "natural", 0, LIKE)
    other = searches("lines seed 0", "lines", 0, LIKE).iloc[1:]
    trials = pd.concat([first, other], ignore_index=True)
    with pytest.raises(ValueError, match="160 and 159, of which 159 are shared"):
        measure_networks(trials, load_human_rt(), n_bootstrap=2, seed=0)


def test_half_an_experiment_has_no_index():
    trials = searches("natural seed 0", "natural", 0, LIKE)
    with pytest.raises(ValueError, match="Experiment 4 needs its two conditions"):
        scores_of(trials[trials["condition"] != "Ls"])


# ------------------------------------------------------------------- diets


def test_means_and_ranges_are_those_of_the_networks():
    table = two_diets()
    diets = rows_of(table, "diet", MEAN)
    middle = sum(LIKE) / 6
    assert diets.loc["natural", "value"] == pytest.approx(middle)
    assert diets.loc["natural", "seed_low"] == pytest.approx(middle - 0.05)
    assert diets.loc["natural", "seed_high"] == pytest.approx(middle + 0.05)
    assert diets["n_networks"].tolist() == [3, 3]
    assert diets["freedom"].tolist() == pytest.approx([2, 2])
    assert diets["published"].tolist() == [0.513, 0.109]
    np.testing.assert_allclose(diets["human_value"], 0.564, atol=5e-4)
    polarity = rows_of(table, "diet", "polarity_agreement")["value"]
    assert polarity.to_dict() == pytest.approx({"natural": 1, "lines": 1 / 6})


def test_without_noise_of_trials_the_interval_is_that_of_students_t():
    values = np.array([-0.1, 0.0, 0.2])
    trials = many_searches(
        {"natural": lambda seed: shifted(LIKE[2:5] * 2, values[seed])}
    )
    row = rows_of(scores_of(trials, n_bootstrap=4000), "diet", MEAN).loc["natural"]
    reach = stats.t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    assert (row["ci_high"] - row["ci_low"]) / 2 == pytest.approx(reach, rel=0.05)


def test_differences_are_paired_by_seed():
    # Seeds differ by far more than diets do.
    base, little = {0: -0.3, 1: 0.0, 2: 0.3}, {0: -0.01, 1: 0.0, 2: 0.01}
    trials = many_searches(
        {
            "natural": lambda seed: shifted(
                [0.2] * 6, base[seed] + 0.15 + little[seed]
            ),
            "rotated-90": lambda seed: shifted([0.2] * 6, base[seed]),
        }
    )
    table = scores_of(trials)
    diets = rows_of(table, "diet", MEAN)
    assert (diets["ci_low"] < 0).all()
    row = rows_of(table, "difference", DIFFERENCE).loc["natural - rotated-90"]
    assert row["value"] == pytest.approx(0.15)
    assert row["ci_low"] == pytest.approx(0.15, abs=0.04)
    assert row["ci_high"] == pytest.approx(0.15, abs=0.04)
    assert row["published"] == pytest.approx(0.918)
    assert row["verdict"] == "as published"


def test_published_networks_that_differ_in_more_than_diet_are_marked():
    trials = many_searches(
        {"natural": wobbling(LIKE), "lines": wobbling(UNLIKE),
         "rotated-90": wobbling(UNLIKE)},
        noise=0.4, n=10,
    )  # fmt: skip
    table = scores_of(trials, n_bootstrap=200)
    note = rows_of(table, "difference", DIFFERENCE)["note"]
    assert "differ in classes too: 1000 and 100" in note["natural - lines"]
    assert "classes" not in note["natural - rotated-90"]
    told = [t for t in conclusions(Score(table, collect(0))) if "than lines:" in t]
    assert "(of networks that differ in their number of classes too)" in told[0]


def test_a_known_effect_is_recovered_from_noisy_trials():
    trials = many_searches(
        {"natural": wobbling(LIKE), "rotated-90": wobbling(UNLIKE),
         "upside-down": wobbling(LIKE)},
        noise=0.4, n=10,
    )  # fmt: skip
    row = rows_of(scores_of(trials), "difference", DIFFERENCE)
    truth = (sum(LIKE) - sum(UNLIKE)) / 6
    rotated = row.loc["natural - rotated-90"]
    assert rotated["value"] == pytest.approx(truth, abs=0.1)
    assert rotated["ci_low"] < truth < rotated["ci_high"]
    assert rotated["verdict"] == "as published"
    turned = row.loc["natural - upside-down"]
    assert turned["ci_low"] < 0 < turned["ci_high"]
    assert turned["verdict"] == "undecided"
    assert np.isnan(turned["published"])
    assert row["n"].tolist() == [2, 2]
    expected = multipletests(row["p_value"], method="holm")[1]
    np.testing.assert_allclose(row["p_holm"], expected)


def test_networks_before_training_are_the_control_of_every_diet():
    trials = many_searches(
        {"natural": wobbling(LIKE), "lines": wobbling(UNLIKE),
         "untrained": wobbling([0.0] * 6)},
        chance=True,
    )  # fmt: skip
    table = scores_of(trials)
    pairs = rows_of(table, "difference", DIFFERENCE)
    assert pairs["value"].to_dict() == pytest.approx(
        {
            "natural - lines": (sum(LIKE) - sum(UNLIKE)) / 6,
            "natural - untrained": sum(LIKE) / 6,
            "lines - untrained": sum(UNLIKE) / 6,
        }
    )
    assert pairs["n"].tolist() == [1, 2, 2]
    diets = rows_of(table, "diet", MEAN)
    assert diets["untrained"].to_dict() == {
        "natural": False, "lines": False, "untrained": True,
    }  # fmt: skip
    levels = table.groupby("level")["subject"].unique()
    assert levels["baseline"].tolist() == ["chance"]
    assert levels["people"].tolist() == ["human mean"]
    assert len(levels["network"]) == 9


def test_without_the_natural_diet_there_is_nothing_to_compare_with():
    table = scores_of(many_searches({"lines": wobbling(LIKE)}))
    assert "difference" not in set(table["level"])


def test_one_network_has_an_interval_over_trials_alone():
    trials = many_searches({"natural": lambda seed: LIKE}, seeds=(0,), noise=1.0, n=8)
    table = scores_of(trials)
    row = rows_of(table, "diet", MEAN).loc["natural"]
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert row["freedom"] == 7
    assert row["note"] == "interval over trials alone: one network"


def test_one_trial_per_set_size_leaves_no_interval():
    trials = many_searches({"natural": wobbling(LIKE), "lines": wobbling(LIKE)}, n=1)
    table = scores_of(trials)
    rows = table[table["level"].isin(["diet", "difference"])]
    assert rows["ci_low"].isna().all()
    assert rows_of(table, "difference", DIFFERENCE)["verdict"].tolist() == ["undecided"]
    told = conclusions(Score(table, collect(0)))
    assert "No interval, no conclusion." in told[0]
    assert told[-1] == "One trial per condition and set size: nothing has an interval."


def test_published_means_stand_only_beside_all_six_experiments():
    trials = many_searches({"natural": wobbling(LIKE), "lines": wobbling(LIKE)})
    human = load_human_rt()
    table = diet_scores(
        trials[trials["experiment"] < 4], human[human["experiment"] < 4],
        load_published_asymmetry(), n_bootstrap=10,
    )  # fmt: skip
    assert rows_of(table, "diet", MEAN)["published"].isna().all()
    assert rows_of(table, "difference", DIFFERENCE)["published"].isna().all()
    single = rows_of(table, "diet", "asymmetry_index").loc["natural", "published"]
    assert single.tolist() == [1.0, 1.0, 0.495]


def test_every_diet_needs_the_same_seeds():
    trials = many_searches({"natural": wobbling(LIKE), "lines": wobbling(LIKE)})
    with pytest.raises(ValueError, match=r"'lines' has \[0, 2\]"):
        scores_of(trials[trials["subject"] != "lines seed 1"])


def test_scores_are_tidy_and_the_same_again():
    table = two_diets()
    assert list(table.columns) == [*SCORE_COLUMNS, *DIET_COLUMNS]
    keys = ["level", "model", "subject", "condition", "metric"]
    assert not table.duplicated(keys).any()
    assert set(table["task"]) == {"diet"}
    assert table["unit"].notna().all()
    pd.testing.assert_frame_equal(table, two_diets.__wrapped__())


def test_numbers_of_a_simulated_experiment_stay_as_they_are():
    trials = many_searches(
        {"natural": wobbling(LIKE), "rotated-90": wobbling(UNLIKE)},
        noise=1.0,
        n=8,
    )
    table = scores_of(trials, n_bootstrap=200)
    diets = rows_of(table, "diet", MEAN)[["value", "ci_low", "ci_high"]]
    np.testing.assert_allclose(diets.to_numpy(), FROZEN[:2], atol=1e-6)
    row = rows_of(table, "difference", DIFFERENCE)[["value", "ci_low", "ci_high"]]
    np.testing.assert_allclose(row.to_numpy(), FROZEN[2:], atol=1e-6)


FROZEN = [
    [0.6807057, 0.3595576, 1.0],
    [-0.339094, -0.5961458, -0.0820422],
    [1.0197997, 0.7073448, 1.3322545],
]


def test_published_trials_give_the_published_difference(data_folder):
    published = load_published_trials(data_folder / "visual_search")
    named = {"eccNET": "natural", "eccNET_Rot90": "rotated-90"}
    trials = published[published["model"].isin(named)]
    diet = trials["model"].map(named)
    trials = trials.assign(
        diet=diet,
        subject=diet + " seed 0",
        model=diet + " seed 0",
        seed=0,
        rt_ms=252.359 * trials["n_fixations"] + 376.271,
    )
    table = scores_of(trials)
    diets = rows_of(table, "diet", MEAN)
    np.testing.assert_allclose(diets["value"], diets["published"], atol=5.1e-4)
    row = rows_of(table, "difference", DIFFERENCE).loc["natural - rotated-90"]
    assert row["value"] == pytest.approx(0.918, abs=1e-3)
    assert row["verdict"] == "as published"


# --------------------------------------------------------------- resampling


def test_draws_of_seeds_are_means_of_the_drawn_networks():
    trials = many_searches(
        {"natural": wobbling([*LIKE[:5], None]), "lines": wobbling(UNLIKE)},
        noise=2.0,
    )
    found = measure_networks(trials, load_human_rt(), n_bootstrap=30, seed=1)
    assert np.isnan(found.draws).any()
    roles = trials[["subject", "diet", "seed"]].drop_duplicates()
    spread = crossed_seeds(found, roles, ["natural", "lines"], [0, 1, 2], seed=5)
    picks = generator(5, "diet", "seeds").integers(0, 3, (30, 3))
    for s, diet in enumerate(["natural", "lines"]):
        rows = [found.names.index(f"{diet} seed {k}") for k in range(3)]
        for draw in range(30):
            chosen = [rows[k] for k in picks[draw]]
            for m in range(len(found.keys)):
                for kind, values in (
                    ("images", found.draws[rows, draw, m]),
                    ("subjects", found.observed[chosen, m]),
                    ("both", found.draws[chosen, draw, m]),
                ):
                    known = values[~np.isnan(values)]
                    mean = known.mean() if len(known) else np.nan
                    np.testing.assert_allclose(spread.draws[kind][draw, m, s], mean)


# ----------------------------------------------------------------- verdicts

ROW = {"value": 0.4, "ci_low": 0.1, "ci_high": 0.7, "p_holm": 0.02, "published": 0.9}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "as published"),
        ({"published": -0.9}, "the other way"),
        ({"published": np.nan}, "differs"),
        ({"published": 0.0}, "differs"),
        ({"value": -0.4, "ci_low": -0.7, "ci_high": -0.1}, "the other way"),
        ({"ci_low": -0.1}, "undecided"),
        ({"ci_low": 0.0}, "undecided"),
        ({"p_holm": 0.06}, "undecided"),
        ({"p_holm": np.nan}, "undecided"),
        ({"ci_low": np.nan, "ci_high": np.nan}, "undecided"),
    ],
)
def test_a_verdict_needs_the_interval_and_the_correction(changes, verdict):
    assert verdict_of(ROW | changes) == verdict


@cache
def three_diets():
    """Scores of three diets and chance; not to be changed."""
    trials = many_searches(
        {"natural": wobbling(LIKE), "rotated-90": wobbling(UNLIKE, 0.03),
         "upside-down": wobbling(LIKE, 0.1)},
        chance=True,
    )  # fmt: skip
    return scores_of(trials)


def told(changes=None):
    """Conclusions about three diets, with one difference changed."""
    table = three_diets().copy()
    pair = table["model"] == "natural - rotated-90"
    for name, value in (changes or {}).items():
        table.loc[pair, name] = value
    return conclusions(Score(table, collect(0)))


def test_conclusions_name_diets_differences_and_their_limits():
    lines = told()
    assert len(lines) == 3 + 2 + 2
    assert lines[0].startswith("natural: mean asymmetry index 0.57 [0.4")
    assert (
        "over 3 networks (0.52 to 0.62); people 0.56, within the interval" in lines[0]
    )
    assert lines[0].endswith("Above 0: on average asymmetric in the sense of people.")
    assert lines[1].endswith("Below 0: on average asymmetric in the opposite sense.")
    assert lines[3].startswith("natural has a larger index than rotated-90: difference")
    assert lines[3].endswith("; published +0.92 (−0.39 with Places365): as published.")
    assert lines[4].startswith("natural is not distinguishable from upside-down:")
    assert lines[4].endswith("after correction for 2 comparisons; not published: "
                             "undecided.")  # fmt: skip
    assert lines[5].startswith("Fixations per search (fewer: better): natural ")
    assert "chance" in lines[5]
    assert "3 networks per diet" in lines[6]
    assert "degrees of freedom of the mean index, by Satterthwaite: 2.0" in lines[6]
    assert "only large differences can show" in lines[6]


def test_conclusions_claim_no_more_than_the_intervals():
    undecided = {"ci_low": -0.2, "ci_high": 0.31, "value": 0.05, "p_holm": 0.4,
                 "verdict": "undecided"}  # fmt: skip
    assert told(undecided)[3] == (
        "natural is not distinguishable from rotated-90: difference 0.05 [−0.20, "
        "0.31], p = 0.400 after correction for 2 comparisons; published +0.92 (−0.39 "
        "with Places365): undecided."
    )
    weak = {"ci_low": 0.01, "ci_high": 0.5, "value": 0.25, "p_holm": 0.08,
            "verdict": "undecided"}  # fmt: skip
    assert "leaves out 0, but that does not outlast the correction" in told(weak)[3]
    other = {"ci_low": -0.5, "ci_high": -0.1, "value": -0.3, "p_holm": 0.01,
             "verdict": "the other way"}  # fmt: skip
    line = told(other)[3]
    assert line.startswith("natural has a smaller index than rotated-90: difference")
    assert line.endswith("the other way.")


def test_conclusions_tell_when_undefined_indices_decide():
    table = two_diets().copy()
    defined = table["metric"] == f"{DEFINED}_difference"
    table.loc[defined, "verdict"] = "undecided"
    line = conclusions(Score(table, collect(0)))[2]
    assert line.endswith("as published. With undefined indices left out: undecided.")


def test_scores_of_another_experiment_are_refused():
    table = two_diets()
    with pytest.raises(ValueError, match="verdict"):
        conclusions(Score(table.drop(columns="verdict"), collect(0)))


# --------------------------------------------------------------------- runs

CALL = {
    "diets": ["natural", "rotated-90"],
    "n_seeds": 2,
    "conditions": ["top_down", "left_right"],
    "trials": 1,
    "seed": 4,
    "device": "cpu",
    "baselines": ["chance"],
    "n_bootstrap": 20,
    "synthetic": True,
}
TABLES = ("trials", "fixations", "scores", "networks", "curves")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("diet") / "pictures")


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory):
    """A small run; not to be changed."""
    folder = tmp_path_factory.mktemp("run") / "small"
    run_diet(pictures, folder, recipe=small_recipe(), **CALL)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def contents(folder):
    names = [*(f"{name}.parquet" for name in TABLES), "provenance.json", "run.json"]
    return {name: (folder / name).read_bytes() for name in names}


def test_a_run_leaves_networks_tables_and_examples(finished):
    run = load_diet_run(finished)
    assert run.diets == ["natural", "rotated-90"]
    names = [f"{d}-seed{k}" for d in run.diets for k in range(2)]
    assert sorted(p.name for p in (finished / "networks").iterdir()) == names
    shown = {p.name for p in (finished / "examples").iterdir()}
    assert shown == {"natural.png", "rotated-90.png"}
    subjects = [f"{d} seed {k}" for d in [*run.diets, "untrained"] for k in range(2)]
    assert run.trials["subject"].unique().tolist() == [*subjects, "chance"]
    seeds = run.trials.groupby("subject", sort=False)["seed"].first()
    assert seeds.iloc[:6].tolist() == [0, 1] * 3
    assert seeds.iloc[6:].isna().all()
    untrained = run.trials.groupby("diet")["untrained"].mean()
    assert untrained.to_dict() == {"": 0, "natural": 0, "rotated-90": 0, "untrained": 1}
    for row in run.networks.to_dict("records"):
        path = finished / "networks" / f"{row['diet']}-seed{row['seed']}"
        weights = path / "backbone.safetensors"
        assert row["sha256"] == sha256_file(weights)
        marks = run.provenance.fingerprints
        assert marks[f"weights {row['diet']} seed {row['seed']}"] == row["sha256"]
    assert run.networks["sha256"].nunique() == 4
    assert run.networks["n_training"].tolist() == [10] * 4
    check_columns("curves", run.curves.columns, ["diet", "seed", "epoch", "val_loss"])
    assert len(run.provenance.fingerprints["pictures"]) == 64
    notes = " ".join(run.provenance.notes)
    assert "on 10 pictures of pictures for 2 steps" in notes
    assert "no replication at the published scale" in notes
    assert "Synthetic pictures" in notes
    assert ("views were mirrored" in notes) == bool(small_recipe().views.mirror)
    assert not list(finished.rglob("*.lock"))


def test_searches_are_those_of_the_networks(finished):
    run = load_diet_run(finished)
    displays = make_search_arrays(CALL["conditions"], trials=1, seed=4)
    weights = finished / "networks" / "rotated-90-seed1" / "backbone.safetensors"
    sources = {
        "rotated-90 seed 1": str(weights),
        "untrained seed 1": "seeded:1/8",
    }
    options = {"backbone": "compact_vgg", "device": "cpu"}
    models = [
        load_model("eccnet", label=name, weights=source, **options)
        for name, source in sources.items()
    ]
    alone = run_searches(models, displays, seed=4).table
    for name in sources:
        own = run.trials[run.trials["subject"] == name]
        expected = alone[alone["subject"] == name]
        np.testing.assert_array_equal(own["n_fixations"], expected["n_fixations"])
        np.testing.assert_array_equal(own["stimulus_id"], expected["stimulus_id"])


def test_an_interrupted_run_ends_with_equal_bytes(copy, finished, pictures):
    for name in (*(f"{name}.parquet" for name in TABLES), "provenance.json"):
        (copy / name).unlink()
    network = copy / "networks" / "rotated-90-seed1"
    for path in (network / "training").glob("model.safetensors"):
        path.unlink()
    shutil.rmtree(network)
    (copy / "networks" / "natural-seed1" / "card.json").unlink()
    for path in sorted((copy / "parts").iterdir())[::2]:
        shutil.rmtree(path)
    run_diet(pictures, copy, recipe=small_recipe(), **CALL)
    assert contents(copy) == contents(finished)


def test_networks_trained_before_are_taken_as_they_are(finished, pictures, tmp_path):
    home = tmp_path / "networks"
    shutil.copytree(finished / "networks", home)
    before = {p: p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file()}
    out = tmp_path / "out"
    call = CALL | {"diets": ["rotated-90"], "baselines": [], "untrained": False}
    score = run_diet(pictures, out, recipe=small_recipe(), training_folder=home, **call)
    assert {p: p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file()} == before
    assert not (out / "networks").exists()
    first = load_diet_run(finished)
    own = first.trials[first.trials["diet"] == "rotated-90"].reset_index(drop=True)
    pd.testing.assert_frame_equal(load_diet_run(out).trials, own)
    assert set(score.table["level"]) == {"people", "network", "diet"}


def test_networks_of_other_pictures_or_recipes_are_refused(
    finished, pictures, tmp_path
):
    home = shutil.copytree(finished / "networks", tmp_path / "networks")
    other = shutil.copytree(pictures, tmp_path / "other")
    with pytest.raises(ValueError, match="holds a run with images="):
        run_diet(other, tmp_path / "a", recipe=small_recipe(), training_folder=home,
                 **CALL)  # fmt: skip
    longer = replace(small_recipe(), steps_per_epoch=3)
    with pytest.raises(ValueError, match="holds a run with recipe="):
        run_diet(pictures, tmp_path / "b", recipe=longer, training_folder=home, **CALL)


def test_a_damaged_card_is_told(finished, pictures, tmp_path):
    home = shutil.copytree(finished / "networks", tmp_path / "networks")
    card = read_json(home / "natural-seed0" / "card.json")
    del card["sha256"]
    write_json(home / "natural-seed0" / "card.json", card)
    with pytest.raises(DataCorruptError, match=r"card\.json is not the card of a"):
        run_diet(pictures, tmp_path / "a", recipe=small_recipe(), training_folder=home,
                 **CALL)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"diets": ["natural", "rotated"]}, ValueError, "rotated-90"),
        ({"diets": "natural"}, TypeError, "must be a list of names"),
        ({"diets": []}, ValueError, "`diets` must be one or more distinct names"),
        ({"diets": ["lines", "lines"]}, ValueError, "distinct names"),
        ({"n_seeds": 0}, ValueError, "n_seeds"),
        ({"n_bootstrap": 1}, ValueError, "n_bootstrap"),
        ({"trials": 0}, ValueError, "trials"),
        ({"seed": -1}, ValueError, "seed"),
        ({"baselines": ["eccnet"]}, ValueError, "baselines"),
        ({"conditions": ["cross"]}, ValueError, "'cross' without 'non_cross'"),
        ({"conditions": "cros"}, ValueError, "cross"),
        ({"recipe": compact_recipe("distil")}, ValueError, "a teacher has a diet"),
        ({"recipe": replace(small_recipe(), widths=(3, 6, 12, 5, 32))}, ValueError,
         "untrained=False"),
        ({"images": "nowhere"}, FileNotFoundError, "nowhere"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_told_before_anything_is_made(
    changes, error, match, pictures, tmp_path
):
    out = tmp_path / "out"
    call = {"images": pictures, "recipe": small_recipe()} | CALL | changes
    with pytest.raises(error, match=match):
        run_diet(out=out, **call)
    assert not out.exists()


@pytest.mark.parametrize("argument", ["out", "training_folder"])
def test_a_folder_inside_the_pictures_is_refused(argument, pictures, tmp_path):
    before = sorted(pictures.rglob("*"))
    call = {"out": tmp_path / "out", argument: pictures / "below"} | CALL
    with pytest.raises(ValueError, match=f"`{argument}` .* lies inside `images`"):
        run_diet(pictures, recipe=small_recipe(), **call)
    assert sorted(pictures.rglob("*")) == before
    assert not (tmp_path / "out").exists()


def test_a_folder_with_another_run_is_refused(copy, pictures):
    before = contents(copy)
    with pytest.raises(ValueError, match="holds a run with n_seeds=2; now n_seeds=3"):
        run_diet(pictures, copy, recipe=small_recipe(), **(CALL | {"n_seeds": 3}))
    assert contents(copy) == before


def test_an_unfinished_or_other_run_cannot_be_loaded(copy):
    (copy / "curves.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"curves\.parquet is missing"):
        load_diet_run(copy)
    with pytest.raises(FileNotFoundError, match="results"):
        load_diet_run(copy / "nowhere")


def test_defaults_are_all_diets_and_a_shorter_recipe_of_the_shipped_weights():
    assert diet_recipe().objective == "selfsup"
    assert diet_recipe().views.mirror == 0
    assert diet_recipe(mirrors=True) == compact_recipe().shortened(4)
    shipped = compact_recipe().settings.max_epochs
    assert diet_recipe().settings.max_epochs < shipped
    assert DIETS[0] == "natural"
    assert untrained_weights(small_recipe().widths, 3) == "seeded:3/8"
