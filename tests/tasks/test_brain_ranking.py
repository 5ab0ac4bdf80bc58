"""Models ranked on responses and on matrices: choices, pooling, differences, report."""

import numpy as np
import pandas as pd
import pytest

from analysis.encoding_comparison import compare_encoding, pool_recordings
from analysis.multiple_tests import fdr_adjusted
from neurovis.core.files import read_table
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS, Score
from neurovis.core.unit_responses import UnitResponses, save_responses
from tasks.brain_ranking import DEFAULT_FEATURES, run_brain_ranking
from tasks.brain_ranking_parts import ranking_table
from tasks.brain_ranking_report import _joined_notes, load_rankings
from tasks.brain_ranking_tables import (
    ENCODING,
    ENCODING_R,
    ENCODING_SHARE,
    KEYS,
    MEAN,
    RSA,
    pooled_tables,
)
from tasks.brain_sources import load_brain
from tasks.encoding_run import load_encoding
from tasks.encoding_scores import WHOLE
from tasks.feature_specs import parse_features
from tasks.reports import finish_run
from tasks.rsa_scores import BEST, LAYER, OPTIMISTIC

CALL = {"n_bootstrap": 60, "n_permutations": 40, "n_splits": 6, "device": "cpu"}
TABLES = ("scores.parquet", "comparisons.parquet")
N = 60


def write_data(folder, name, seed, *, ncsnr=True):
    """Units that follow the layer "late" of a model, and its features in a file."""
    rng = np.random.default_rng(seed)
    arrays = {k: rng.normal(size=(N, 8)).astype("f4") for k in ("early", "late")}
    other = rng.normal(size=(N, 8)).astype("f4")
    signal = arrays["late"] @ rng.normal(size=(8, 10)) / 3
    betas = (signal + 0.7 * rng.normal(size=signal.shape)).astype(np.float32)
    units = pd.DataFrame({"unit_id": [f"{name}{i}" for i in range(10)]})
    units["area"] = np.where(np.arange(10) < 5, "V1", "V4")
    if ncsnr:
        units["ncsnr"] = signal.std(axis=0) / 0.7
    ids = [f"{name}-{i:02d}" for i in range(N)]
    stimuli = pd.DataFrame({"stimulus_id": ids, "n_repeats": 1})
    responses = UnitResponses("tiny", name, betas, stimuli, units, families=("area",))
    save_responses(folder / name, responses)
    return ids, arrays, other


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Two sets of responses with models in files; one explains both."""
    folder = tmp_path_factory.mktemp("inputs")
    sets = [write_data(folder, name, seed) for name, seed in (("a", 0), ("b", 1))]
    ids = np.concatenate([np.array(s[0]) for s in sets])
    good = {k: np.concatenate([s[1][k] for s in sets]) for k in ("early", "late")}
    np.savez(folder / "good.npz", stimulus_id=ids, **good)
    bad = np.concatenate([s[2] for s in sets])
    np.savez(folder / "bad.npz", stimulus_id=ids, only=bad)
    data = [f"responses:{folder / name}" for name in ("a", "b")]
    return data, [f"file:{folder / name}.npz" for name in ("good", "bad")]


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    """A ranking of two models on two sets; not to be changed."""
    out = tmp_path_factory.mktemp("ranking") / "run"
    run_brain_ranking(*inputs, out, **CALL)
    return out


def scores_of(out, **wanted):
    table = Score.load(out).table
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def contents(out):
    return {name: (out / name).read_bytes() for name in TABLES}


# ------------------------------------------------------------------ what is ranked


@pytest.mark.parametrize("analysis", [ENCODING, RSA])
def test_the_model_with_the_true_layer_is_first_by_that_layer(finished, analysis):
    best = scores_of(finished, analysis=analysis, condition=BEST)
    best = best[best["metric"] != ENCODING_SHARE]
    assert set(best["data"]) == {"responses", "responses-2"}
    for _, part in best.groupby("data"):
        rows = part.set_index("model")
        assert rows["rank"].to_dict() == {"good": 1.0, "bad": 2.0}
        assert rows.loc["good", "layer"] == "late"
        assert rows.loc["good", "ci_low"] > 0
        assert rows.loc["good", "value"] > rows.loc["bad", "value"] + 0.2


def test_every_layer_has_a_row_with_chance(finished):
    layers = scores_of(finished, condition=LAYER, data="responses")
    for analysis, metric in ((ENCODING, ENCODING_R), (RSA, "rsa_spearman")):
        rows = layers[layers["analysis"] == analysis]
        assert rows["metric"].eq(metric).all()
        assert rows[["model", "layer"]].to_numpy().tolist() == [
            ["good", "early"],
            ["good", "late"],
            ["bad", "only"],
        ]
        assert (rows["chance_low"] < 0).all()
        assert (rows["chance_high"] > 0).all()
        assert rows["kind"].eq("file").all()


def test_encoding_layers_are_those_chosen_within_the_training_images(finished):
    run = load_encoding(finished / "encoding" / "responses")
    layers = run.layers[run.layers["region"] == WHOLE].set_index(["model", "layer"])
    best = scores_of(finished, data="responses", metric=ENCODING_R, condition=BEST)
    for _, row in best.iterrows():
        assert layers.loc[(row["model"], row["layer"]), "chosen"]
    top = scores_of(finished, data="responses", metric=ENCODING_R, condition=OPTIMISTIC)
    largest = layers.groupby("model")["r"].max()
    np.testing.assert_allclose(top["value"], largest[top["model"]], atol=1e-6)


def test_encoding_scores_are_those_of_the_predictions(finished):
    run = load_encoding(finished / "encoding" / "responses")
    measured = np.array(run.measured("a"))
    guesses = {
        "good": np.array(run.predictions("a", "good", "late")),
        "bad": np.array(run.predictions("a", "bad", "only")),
    }
    found = compare_encoding(
        measured,
        guesses,
        over="both",
        n_bootstrap=60,
        rng=generator(0, "encoding comparison", "responses", "a"),
    )
    best = scores_of(finished, data="responses", metric=ENCODING_R, condition=BEST)
    expected = found.models()
    np.testing.assert_allclose(best["value"], expected["score"])
    np.testing.assert_allclose(best["ci_low"], expected["low"])
    np.testing.assert_allclose(best["p_fdr"], fdr_adjusted(expected["p_zero"]))
    table = read_table(finished / "comparisons.parquet")
    mine = table[(table["data"] == "responses") & (table["metric"] == ENCODING_R)]
    np.testing.assert_allclose(mine["difference"], found.differences()["difference"])
    assert mine["over"].tolist() == ["images and units"]


def test_shares_are_there_where_noise_is_known(finished):
    best = scores_of(finished, data="responses", metric=ENCODING_SHARE, condition=BEST)
    assert best["model"].tolist() == ["good", "bad"]
    assert best["value"].iloc[0] > 0.5
    rows = scores_of(finished, data="responses", metric=ENCODING_R, condition=BEST)
    units = load_encoding(finished / "encoding" / "responses").units
    first = units[units["layer"] == "late"]
    np.testing.assert_allclose(rows["ceiling_low"], np.sqrt(first["ceiling"]).mean())
    assert rows["ceiling_kind"].eq("ncsnr").all()
    expected = rows["value"] / rows["ceiling_low"]
    np.testing.assert_allclose(rows["value_over_ceiling"], expected)


def test_regions_are_ranked_one_by_one(inputs, tmp_path):
    data, features = inputs
    run_brain_ranking(
        data[:1], features, tmp_path / "run", regions=["V1", "V4"], **CALL
    )
    best = scores_of(tmp_path / "run", condition=BEST, metric=ENCODING_R)
    assert best["region"].tolist() == ["V1", "V1", "V4", "V4"]
    assert best["n_units"].eq(5).all()
    by_rsa = scores_of(tmp_path / "run", condition=BEST, analysis=RSA)
    assert by_rsa["region"].unique().tolist() == ["V1", "V4"]


def test_tables_have_the_columns_of_all_scores_and_one_row_per_claim(finished):
    table = Score.load(finished).table
    assert list(table.columns[: len(SCORE_COLUMNS)]) == list(SCORE_COLUMNS)
    keys = [*KEYS, "condition", "model"]
    rest = table[table["condition"] != LAYER]
    assert not rest.duplicated(keys).any()
    assert not table.duplicated([*keys, "layer"]).any()
    ranked = table["rank"].notna()
    assert (table.loc[ranked, "condition"] == BEST).all()


# ------------------------------------------------------------------------- pooling


def make_rows(subjects=("s1", "s2", "s3"), ceilings=(0.8, 0.8, 0.8)):
    scores, pairs = [], []
    for k, (subject, ceiling) in enumerate(zip(subjects, ceilings, strict=True)):
        common = {
            **dict(
                zip(KEYS[:4], ("d", ENCODING, ENCODING_R, "all units"), strict=True)
            ),
            **{"subject": subject, "kind": "network", "depth": 0.5, "unit": "r"},
            **{"untrained": False, "simulated": False, "stimuli": "d:1", "task": "t"},
            **{"n": 40, "seed": 0, "n_subjects": 1, "n_units": 10.0, "over": "images"},
            **{"ceiling_low": ceiling, "ceiling_high": ceiling, "ceiling_kind": "k"},
            **{"chance_low": -0.2, "chance_high": 0.2, "chosen_share": 1.0},
            **{"standard_error": 0.02 * (k + 1), "degrees_of_freedom": 39},
        }
        for model, value in (("m", 0.4), ("n", 0.1)):
            for condition in (LAYER, BEST, OPTIMISTIC):
                layer = "l2" if k == 0 and condition == BEST else "l1"
                scores.append(
                    common
                    | {"model": model, "layer": layer, "condition": condition}
                    | {"value": value + 0.03 * k}
                    | {"value_over_ceiling": (value + 0.03 * k) / ceiling}
                )
        pairs.append(
            common
            | {"model_a": "m", "model_b": "n", "layer_a": "l1", "layer_b": "l1"}
            | {"difference": 0.3 - 0.01 * k}
        )
    return pd.DataFrame(scores), pd.DataFrame(pairs)


def test_recordings_are_averaged_with_independent_errors():
    scores, pairs = make_rows()
    found, compared = pooled_tables(scores, pairs)
    assert found["subject"].eq(MEAN).all()
    best = found[(found["condition"] == BEST) & (found["model"] == "m")].iloc[0]
    expected = pool_recordings([0.4, 0.43, 0.46], [0.02, 0.04, 0.06], [39] * 3)
    assert best["value"] == pytest.approx(expected["estimate"])
    assert best["ci_low"] == pytest.approx(expected["low"])
    assert best["standard_error"] == pytest.approx(expected["standard_error"])
    assert best["layer"] == "l1"
    assert best["chosen_share"] == pytest.approx(2 / 3)
    assert best["n_subjects"] == 3
    assert best["n_units"] == 30
    assert best["chance_high"] == pytest.approx(0.2 / 3**0.5)
    row = compared.iloc[0]
    expected = pool_recordings([0.3, 0.29, 0.28], [0.02, 0.04, 0.06], [39] * 3)
    assert row["difference"] == pytest.approx(expected["estimate"])
    assert row["p_value"] == row["p_fdr"] == pytest.approx(expected["p_value"])
    assert row["over"] == "images, mean over recordings"


def test_errors_of_shared_images_do_not_average_out():
    scores, pairs = (table.assign(shared_images=True) for table in make_rows())
    found, compared = pooled_tables(scores, pairs)
    best = found[(found["condition"] == BEST) & (found["model"] == "m")].iloc[0]
    assert best["standard_error"] == pytest.approx(0.04)
    assert best["chance_high"] == pytest.approx(0.2)
    assert best["n"] == 40
    row = compared.iloc[0]
    assert row["standard_error"] == pytest.approx(0.04)
    assert row["degrees_of_freedom"] == 39


def test_a_single_model_has_a_false_discovery_rate_for_the_mean_too():
    scores, pairs = make_rows()
    found, _ = pooled_tables(scores[scores["model"] == "m"], pairs.iloc[:0])
    best = found[found["condition"] == BEST].iloc[0]
    assert best["p_fdr"] == best["p_value"] > 0


def test_a_ceiling_that_one_recording_lacks_is_unknown_for_the_mean():
    found, _ = pooled_tables(*make_rows(ceilings=(0.8, np.nan, 0.8)))
    assert found[["ceiling_low", "value_over_ceiling"]].isna().all().all()
    assert found["ceiling_kind"].isna().all()


def test_a_single_recording_is_not_averaged():
    found, compared = pooled_tables(*make_rows(("s1",), (0.8,)))
    assert found.empty
    assert compared.empty


# ------------------------------------------------------------------ runs and report


def test_a_finished_ranking_is_left_as_it_is(finished, inputs):
    before = contents(finished)
    run_brain_ranking(*inputs, finished, **CALL)
    assert contents(finished) == before


@pytest.mark.slow
def test_an_interrupted_ranking_ends_with_identical_tables(
    finished, inputs, tmp_path, monkeypatch
):
    data, features = inputs
    whole = tmp_path / "run"

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    # The first set is done, the second one fitted: then somebody presses Ctrl-C.
    with monkeypatch.context() as patch:
        patch.setattr("tasks.brain_ranking.pooled_tables", stop)
        with pytest.raises(KeyboardInterrupt):
            run_brain_ranking(data, features, whole, **CALL)
    assert not (whole / "scores.parquet").exists()
    run_brain_ranking(data, features, whole, **CALL)
    assert contents(whole) == contents(finished)


def test_another_ranking_in_the_same_folder_is_refused(finished, inputs):
    with pytest.raises(ValueError, match="holds a run with over='both'"):
        run_brain_ranking(*inputs, finished, over="images", **CALL)


def test_the_report_holds_every_ranking_with_its_figures(finished):
    lines = finish_run(finished)
    assert lines[-1] == f"report {finished / 'report.html'}"
    titles = [line.partition(": Pearson")[0] for line in lines if "Pearson r" in line]
    assert titles == [
        "responses: all units, a (encoding)",
        "responses-2: all units, b (encoding)",
    ]
    text = (finished / "report.html").read_text(encoding="utf-8")
    for words in ("optimistic", "Share of explainable variance", "row minus column"):
        assert words in text, words
    figures = sorted(path.name for path in (finished / "figures").iterdir())
    assert len(figures) == 12
    assert {name.rpartition("_")[2] for name in figures} == {
        "layers.png",
        "best.png",
        "differences.png",
    }


def test_rankings_can_be_read_again(finished):
    rankings = load_rankings(finished)
    ranking = rankings["responses", ENCODING, ENCODING_R, WHOLE, "a"]
    assert ranking.order == ["good", "bad"]
    assert len(ranking.comparisons) == 1


# -------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": []}, "`data` is empty"),
        ({"data": ["nowhere:."]}, "`data set` must be one of"),
        ({"features": []}, "no model"),
        ({"features": ["control:gabor", "control:gabor"]}, "'control:gabor' twice"),
        ({"features": ["control:gabor:cycles5"]}, "no layer 'cycles5'"),
        ({"method": "banded"}, "`method` must be one of"),
        ({"over": "voxels"}, "`over` must be one of"),
        ({"measure": "l1"}, "`measure` must be one of"),
        ({"compare": "l1"}, "`compare` must be one of"),
        ({"n_permutations": 0}, "`n_permutations`"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_written(
    inputs, tmp_path, change, message
):
    data, features = inputs
    call = {"data": data, "features": features} | change
    first = [call.pop(name) for name in ("data", "features")]
    with pytest.raises(ValueError, match=message):
        run_brain_ranking(*first, tmp_path / "run", **call)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("n", "change", "message"),
    [
        (7, {}, "has 7 stimuli: a ranking needs at least 8"),
        (14, {}, "14 stimuli, 2 of them held out"),
        (20, {"measure": "crossnobis"}, "needs single trials"),
        (20, {"stimuli": 3}, "`stimuli`"),
        (20, {"source": "human TI"}, "no features of"),
    ],
)
def test_what_only_a_later_set_lacks_is_told_before_anything_is_written(
    inputs, objects, tmp_path, n, change, message
):
    ids, arrays, _ = write_data(tmp_path, "few", 3)
    saved = load_brain(f"responses:{tmp_path / 'few'}")[0].responses
    save_responses(tmp_path / "cut", saved.select_stimuli(np.arange(n)))
    path = tmp_path / "few.npz"
    np.savez(path, stimulus_id=np.array(ids), **arrays)
    data = [f"responses:{tmp_path / name}" for name in ("few", "cut")]
    if "source" in change:
        data[1] = f"objects92:{objects}"
        message = "Did you mean 'human IT'"
    with pytest.raises(ValueError, match=message):
        run_brain_ranking(data, [f"file:{path}"], tmp_path / "run", **change)
    assert not (tmp_path / "run").exists()


def test_notes_of_several_subjects_are_told_once():
    notes = ["tiny a: no ceilings.", "net: untrained", "tiny b: no ceilings.", "Plain."]
    notes += ["a: x: y", "b: x: y"]
    told = ["tiny a, tiny b: no ceilings.", "net: untrained", "Plain.", "a, b: x: y"]
    assert _joined_notes(notes) == told


def test_tables_of_the_report_are_narrow_enough_to_read(finished):
    ranking = load_rankings(finished)["responses", ENCODING, ENCODING_R, WHOLE, "a"]
    told = ranking_table(ranking)
    assert list(told.table) == ["rank", "model", "layer", "score", "share", "p", "best"]
    assert told.table["layer"].tolist() == ["late", "only"]
    assert "noise between repeats, as published" in told.caption
    rsa = load_rankings(finished)["responses", RSA, "rsa_spearman", WHOLE, "a"]
    assert "share" not in ranking_table(rsa).table  # no ceiling is known


def test_models_of_no_names_need_no_file():
    specs = [parse_features(text) for text in DEFAULT_FEATURES]
    assert {spec.name for spec in specs[:2]} == {"compact_vgg"}
    assert [spec.weights for spec in specs[:2]] == [None, "seeded:0"]
    assert {spec.name for spec in specs[2:]} == {
        "control:gabor",
        "control:pyramid",
        "control:colour",
    }
