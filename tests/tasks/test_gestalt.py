"""The Gestalt battery from pictures to report."""

import numpy as np
import pandas as pd
import pytest

import tasks.gestalt as gestalt
from neurovis.core.files import read_table
from neurovis.core.types import SCORE_COLUMNS, Score
from tasks.directions import COLUMNS, VERDICTS
from tasks.gestalt import run_gestalt
from tasks.gestalt_measures import TESTS, check_tests
from tasks.gestalt_reading import TRIAL_COLUMNS, observe, read_places
from tasks.gestalt_report import finish_gestalt
from tasks.gestalt_tables import gestalt_tables
from tasks.picture_features import picture_models, read_tokens

MODELS = [
    "untrained=compact_vgg@seeded:0:stage4:grid3",
    "control:pixels:pixels:grid8",
]
CALL = {
    "models": MODELS,
    "n_displays": 2,
    "px_per_deg": 16.0,
    "n_permutations": 50,
    "n_bootstrap": 50,
    "device": "cpu",
    "seed": 2,
}
SOME = ("illusory-contours", "proximity", "lower-region")
TABLES = ("trials.parquet", "scores.parquet", "directions.parquet")


def people(correct=(1, 1, 0)):
    return pd.DataFrame(
        {
            "subject": ["s1", "s1", "s2"],
            "test": "proximity",
            "condition": "dots",
            "level": 1.2,
            "correct": correct,
        }
    )


def table_bytes(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run of three tests; not to be changed."""
    out = tmp_path_factory.mktemp("gestalt") / "run"
    run_gestalt(out, tests=SOME, people=people(), **CALL)
    return out


def test_trials_and_scores_have_their_columns_and_mark_untrained(finished):
    trials, score = read_table(finished / "trials.parquet"), Score.load(finished)
    assert list(trials.columns) == list(TRIAL_COLUMNS)
    assert list(score.table.columns[: len(SCORE_COLUMNS)]) == list(SCORE_COLUMNS)
    assert set(trials["test"]) == set(SOME)
    models = score.table[score.table["kind"] != "people"]
    untrained = models.groupby("model")["untrained"].unique().map(list).to_dict()
    assert untrained == {"untrained": [True], "control:pixels": [False]}
    directions = read_table(finished / "directions.parquet")
    assert list(directions.columns) == list(COLUMNS)
    assert set(directions["verdict"]) <= set(VERDICTS)
    assert any("recalled" in note for note in score.provenance.notes)


def test_pixels_neither_see_contours_nor_choose_a_region(finished):
    table = Score.load(finished).table
    own = table[(table["model"] == "control:pixels") & table["level"].isna()]
    index = own[(own["metric"] == "ic_index") & (own["condition"] == "tokens")]
    assert index["value"].abs().max() < 1e-3
    evoked = own[(own["metric"] == "ic_index") & (own["condition"] == "evoked")]
    assert evoked["value"].isna().all()
    directions = read_table(finished / "directions.parquet")
    lower = directions[directions["claim"].str.startswith("lower")]
    pixels = lower[lower["model"] == "control:pixels"].iloc[0]
    assert pixels["verdict"] == "undecided"


def test_people_stand_beside_models(finished):
    table = Score.load(finished).table
    row = table[table["model"] == "human"].iloc[0]
    assert (row["test"], row["level"], row["n"]) == ("proximity", 1.2, 3)
    assert row["value"] == pytest.approx(2 / 3)


def test_an_interrupted_run_goes_on_and_ends_the_same(finished, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    done = []
    test = TESTS["proximity"]

    def stop(*args):
        if len(done) == 1:
            raise Stopped
        done.append(args)
        return test.measure(*args)

    cut = type(test)(test.show, stop, test.level_name)
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(gestalt, "TESTS", {**TESTS, "proximity": cut})
        with pytest.raises(Stopped):
            run_gestalt(out, tests=SOME, people=people(), **CALL)
    assert not (out / "scores.parquet").exists()
    kept = len(list((out / "parts").iterdir()))
    assert kept == 3  # both models in one test, and one model in the next
    run_gestalt(out, tests=SOME, people=people(), **CALL)
    assert table_bytes(out) == table_bytes(finished)


def test_a_folder_of_another_run_is_refused(finished):
    with pytest.raises(ValueError, match="another folder"):
        run_gestalt(finished, tests=SOME, people=people(), **{**CALL, "seed": 3})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tests": ["closur"]}, "Did you mean 'closure'"),
        ({"tests": []}, "empty"),
        ({"n_displays": 1}, "n_displays"),
        ({"top_k": (0.0,)}, "top_k"),
        ({"models": ["compact_vgg@seeded:0:no_such"]}, "no_such"),
        ({"people": people((1, 2, 0))}, "0 or 1"),
        ({"people": people().assign(test="x")}, "known are"),
        ({"people": people().drop(columns="level")}, "level"),
    ],
)
def test_a_faulty_argument_is_told_before_anything_is_written(
    tmp_path, change, message
):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        run_gestalt(out, **(CALL | change))
    assert not out.exists()


def test_places_are_the_tokens_of_the_layer():
    model = picture_models(MODELS[:1])[0]
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    found = read_places(observe(model), pictures, lambda tokens, *_: tokens)
    title = next(iter(model.layers))
    np.testing.assert_array_equal(
        np.array(found[title]), read_tokens(model.backbone, pictures, "stage4")
    )


def test_a_layer_without_places_is_told():
    model = picture_models(["control:colour:statistics"])[0]
    with pytest.raises(ValueError, match="no places"):
        observe(model)


def test_tests_are_named_once_and_in_order():
    assert check_tests("all") == list(TESTS)
    assert check_tests(["closure", "proximity", "closure"]) == ["proximity", "closure"]


# ---------------------------------------------------------- observers we know


def trials_of_observer(test, condition, level, correct, value=None, chance=0.5):
    n = len(level)
    table = pd.DataFrame({"level": level, "condition": condition})
    right = np.asarray(correct, float)
    return table.assign(
        task="gestalt", test=test, trial=range(n), stimulus_id="s", model="m",
        kind="network", untrained=False, layer="l", truth="yes",
        response=np.where(right == 1, "yes", "no"), correct=right, rt_or_cost=0.0,
        value=right if value is None else value, p_value=np.nan, chance=chance, seed=0,
    )  # fmt: skip


def verdict_of(trials):
    _, directions = gestalt_tables(
        trials,
        stimuli=dict.fromkeys(TESTS, "s"),
        n_bootstrap=200,
        seed=0,
    )
    return directions.set_index("claim")["verdict"].to_dict()


def test_an_observer_like_people_holds_and_its_opposite_is_reversed():
    rng = np.random.default_rng(0)
    level = np.tile([0.0, 15, 30, 45, 60, 75], 60)
    p = np.interp(level, [30, 75], [0.97, 0.5])
    like = trials_of_observer("contours", "open", level, rng.random(360) < p)
    assert set(verdict_of(like).values()) == {"holds"}
    unlike = trials_of_observer("contours", "open", level, rng.random(360) > p)
    assert set(verdict_of(unlike).values()) == {"reversed"}


def test_grouping_by_proximity_is_recovered_by_the_tables():
    rng = np.random.default_rng(1)
    level = np.tile([1.0, 1.1, 1.2, 1.3, 1.4, 1.5], 400)
    evidence = 0.1 * (-2.9 * (level - 1) + rng.logistic(size=len(level)))
    trials = trials_of_observer("proximity", "dots", level, evidence < 0, evidence)
    scores, directions = gestalt_tables(
        trials, stimuli=dict.fromkeys(TESTS, "s"), n_bootstrap=100, seed=0
    )
    values = scores.set_index("metric")["value"]
    assert values["attraction_s"] == pytest.approx(2.9, abs=0.6)
    assert values["attraction_s_of_choices"] == pytest.approx(2.9, abs=0.5)
    assert directions["verdict"].tolist() == ["holds"]


# ---------------------------------------------------------------- whole battery


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_battery_runs_and_its_report_is_complete(tmp_path):
    out = tmp_path / "run"
    score = run_gestalt(out, **{**CALL, "contour_grid": 6, "top_k": (0.1, 0.5)})
    assert set(score.table["test"]) == set(TESTS)
    lines = finish_gestalt(out)
    assert lines[0].startswith("Gestalt battery")
    page = (out / "report.html").read_text()
    for word in ("Illusory contours", "Border ownership", "recalled", "untrained"):
        assert word in page
    assert len(list((out / "figures").glob("*.png"))) == 14
    table = score.table
    sparse = table[(table["condition"] == "top 10 %") & table["level"].isna()]
    assert sparse["value"].notna().any()


@pytest.mark.usefixtures("undrawn_figures")
def test_the_report_of_some_tests_tells_the_verdicts(finished, tmp_path):
    for name in (*TABLES, "provenance.json", "run.json"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    lines = finish_gestalt(tmp_path)
    assert "untrained stage4:grid3" in lines[1]
    assert lines[-1] == f"report {tmp_path / 'report.html'}"
    assert "Lower region" in (tmp_path / "report.html").read_text()
