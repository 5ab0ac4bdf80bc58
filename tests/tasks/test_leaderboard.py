"""Merging runs: what is one cell, what is refused, and what comes out."""

import numpy as np
import pandas as pd
import pytest

from analysis.multiple_tests import fdr_adjusted
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_table, write_json
from neurovis.core.types import Score
from tasks.comparable import RunScore, check_varying, factor_text
from tasks.encoding_scores import HELD_OUT, PERMUTED, WHOLE
from tasks.leaderboard import better_of, merge_results, merge_scores
from tasks.leaderboard_rows import drop_repeats, join_scores, load_results
from tests.tasks.leaderboard_examples import make_grid, make_run, make_score, save_run

TABLES = ("scores.parquet", "leaderboard.parquet", "comparisons.parquet")


def entries_of(*runs, **options):
    return merge_scores(runs, **options).entries.set_index("model")


def assert_same(first, other):
    for name in ("scores", "entries", "comparisons"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(other, name))


# --------------------------------------------------------------------- numbers


def test_what_is_known_to_differ_is_found_in_a_grid_of_runs():
    merged = merge_scores(make_grid())
    rows = merged.entries.set_index("model")
    assert rows.index.tolist() == ["good", "middle", "bad"]
    assert rows["rank"].tolist() == [1, 2, 3]
    assert (
        rows[["n_cells", "n_subjects", "n_seeds"]].to_numpy().tolist()
        == [[12, 6, 2]] * 3
    )
    pairs = merged.comparisons.set_index(["model_a", "model_b"])
    truth = {("bad", "good"): -0.3, ("bad", "middle"): -0.2, ("good", "middle"): 0.1}
    for pair, value in truth.items():
        row = pairs.loc[pair]
        assert row["difference"] == pytest.approx(value, abs=0.03)
        assert row["ci_low"] < value < row["ci_high"]
        assert row["p_value"] == 1 / 32  # the least of six subjects
    assert pairs["p_fdr"].tolist() == fdr_adjusted(pairs["p_value"]).tolist()
    # Intervals of models alone are about subjects, who differ far more.
    assert (rows["ci_high"] - rows["ci_low"]).min() > 0.2
    assert (pairs["ci_high"] - pairs["ci_low"]).max() < 0.06


def test_ceilings_and_shares_are_means_and_not_cut():
    runs = [
        make_run(
            s, {"m": v}, subject=s, row_ceiling_low=c, row_value_over_ceiling=v / c
        )
        for s, v, c in (("a", 0.6, 0.5), ("b", 0.5, 0.4))
    ]
    row = entries_of(*runs).loc["m"]
    assert row["ceiling_low"] == pytest.approx(0.45)
    assert row["value_over_ceiling"] == pytest.approx((1.2 + 1.25) / 2)


def test_one_run_keeps_its_numbers():
    rows = entries_of(make_run("a"))
    assert rows.loc["good", ["value", "ci_low", "ci_high"]].tolist() == [0.5, 0.4, 0.6]
    assert rows.loc["good", "over"] == "within the run"
    assert rows.loc["good", "note"] == "one cell: interval of the run"


def test_undefined_values_come_last_with_their_reason():
    run = make_run("a", {"a": np.nan, "b": 0.1}, row_note=["a constant layer", ""])
    rows = merge_scores([run]).entries
    assert rows["model"].tolist() == ["b", "a"]
    assert rows["rank"].tolist()[0] == 1
    assert np.isnan(rows["rank"].iloc[1])
    assert rows["note"].iloc[1] == "1 undefined (a constant layer)"
    assert rows["n_undefined"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("metric", "first", "ranks"),
    [("rsa_cosine", "high", [1, 2]), ("kl", "low", [1, 2]), ("mean_rt_ms", "high", [])],
)
def test_ranks_follow_the_direction_of_a_metric(metric, first, ranks):
    run = make_run("a", {"low": 0.1, "high": 0.9}, row_metric=metric)
    rows = merge_scores([run]).entries
    assert rows["model"].iloc[0] == first
    assert rows["rank"].dropna().tolist() == ranks
    assert rows["better"].iloc[0] == better_of(metric)


def test_directions_are_those_of_the_measures():
    directions = {
        "higher": ["r_mean", "nss", "scanmatch", "slope_pearson_r", "top5_accuracy"],
        "lower": [
            "kl",
            "dtw_px",
            "FED",
            "rt_rmse_ms",
            "slope_rmse_ms_per_item",
            "tde_px",
        ],
        "": ["mean_asymmetry_index", "critical_scale", "corm", "error_rate", "unheard"],
    }
    for direction, metrics in directions.items():
        assert {better_of(metric) for metric in metrics} == {direction}


def test_people_and_chance_stand_beside_models_without_a_rank():
    values = {"human": 0.8, "net": 0.5, "centre": 0.3, "chance": 0.1}
    merged = merge_scores([make_run("a", values, row_subject=list(values))])
    rows = merged.entries.set_index("model")
    assert rows["kind"].tolist() == ["people", "model", "baseline", "chance"]
    assert rows["rank"].fillna(0).tolist() == [0, 1, 2, 0]
    assert "human" not in merged.comparisons[["model_a", "model_b"]].to_numpy()
    assert len(merged.comparisons) == 3


def test_untrained_weights_stay_marked_by_column_and_by_note():
    column = make_run("a", row_untrained=[False, True])
    note = make_run("b", notes=["bad: untrained weights (seeded:0)"], subject="s2")
    for runs in ([column], [note]):
        merged = merge_scores(runs)
        marks = merged.entries.set_index("model")["untrained"]
        assert marks.to_dict() == {"good": False, "bad": True}
        assert "bad: untrained weights" in merged.provenance.notes


# -------------------------------------------------------------------- identity


def test_a_run_merged_with_itself_is_itself(tmp_path):
    score = make_score()
    one, copy = (save_run(tmp_path / name, score) for name in ("a", "b"))
    alone = merge_scores(load_results([one]))
    assert_same(merge_scores(load_results([one, one])), alone)
    both = merge_scores(load_results([copy, one]))
    assert both.scores["n_runs"].tolist() == [2, 2]
    assert both.scores["run"].unique().tolist() == ["a"]
    pd.testing.assert_frame_equal(both.entries, alone.entries)
    pd.testing.assert_frame_equal(both.comparisons, alone.comparisons)


def test_the_order_of_runs_changes_nothing():
    runs = make_grid(n_subjects=3)
    mixed = [runs[i] for i in np.random.default_rng(0).permutation(len(runs))]
    assert_same(merge_scores(mixed), merge_scores(runs))


def test_what_several_runs_have_counts_once():
    values = [{"chance": 0.1, "good": 0.5}, {"chance": 0.1 + 1e-12, "bad": 0.2}]
    merged = merge_scores([make_run(f"r{i}", v) for i, v in enumerate(values)])
    chance = merged.scores[merged.scores["model"] == "chance"]
    assert chance[["run", "n_runs"]].to_numpy().tolist() == [["r0", 2]]
    assert merged.entries.set_index("model").loc["chance", "n_cells"] == 1


def test_one_measurement_with_two_values_is_refused_by_name():
    runs = [make_run("here", {"m": 0.5}), make_run("there", {"m": 0.6})]
    message = r"model 'm'.*subject 's1'.* is 0\.5 in here and 0\.6 in there"
    with pytest.raises(ValueError, match=message):
        merge_scores(runs)
    half = make_run("there", {"m": np.nan})
    with pytest.raises(ValueError, match=r"0\.5 in here and nan in there"):
        merge_scores([runs[0], half])


# ----------------------------------------------------------------------- cells


def test_a_model_that_is_its_own_subject_is_paired_seed_by_seed():
    runs = [
        make_run(
            f"{model}{seed}",
            {model: value + 0.01 * seed},
            subject=model,
            seed=seed,
            mark=f"{seed:012d}",
        )
        for model, value in (("a", 0.5), ("b", 0.4))
        for seed in range(6)
    ]
    row = merge_scores(runs).comparisons.iloc[0]
    assert row["difference"] == pytest.approx(0.1)
    assert row[["n_cells", "over", "p_value"]].tolist() == [6, "seeds", 1 / 32]


def test_means_of_subjects_give_way_to_the_subjects():
    table = make_score({"a": 0.2, "b": 0.4, "c": 0.9}).table
    table = table.assign(model="m", subject=["s1", "s2", "mean"])
    run = RunScore("r", "rsa", Score(table, make_score().provenance))
    row = merge_scores([run]).entries.iloc[0]
    assert row["value"] == pytest.approx(0.3)
    assert row["n_subjects"] == 2
    alone = RunScore("r", "rsa", Score(table.iloc[2:], make_score().provenance))
    assert merge_scores([alone]).entries["value"].tolist() == [0.9]


def test_layers_are_rows_of_their_own_unless_the_best_was_chosen():
    options = {"row_layer": ["conv1", "conv2"], "row_model": "net"}
    each = merge_scores([make_run("a", row_condition="layer", **options)]).entries
    assert each["layer"].tolist() == ["conv1", "conv2"]
    parts = [
        make_run(s, {"net": v}, subject=s, row_layer=k)
        for s, v, k in (("s1", 0.5, "conv1"), ("s2", 0.3, "conv2"))
    ]
    row = merge_scores(parts).entries.iloc[0]
    assert row[["layer", "n_subjects"]].tolist() == ["", 2]
    assert row["value"] == pytest.approx(0.4)


def test_permuted_responses_are_chance_beside_what_was_held_out():
    table = make_score({"net": 0.5, "also": 0.01}).table.assign(
        model="net", condition=[HELD_OUT, PERMUTED], family="", region=WHOLE
    )
    rows = join_scores(
        [RunScore("r", "encoding", Score(table, make_score().provenance))]
    )
    assert rows["kind"].tolist() == ["model", "chance"]
    held = rows.iloc[0]
    assert held[["chance_low", "chance_high"]].tolist() == pytest.approx([-0.09, 0.11])


def test_regions_that_a_run_cut_say_so():
    def region(chosen, family, label):
        run = make_run(
            "r", {"m": 1}, regions=chosen, row_family=family, row_region=label
        )
        return join_scores([run])["region"].iloc[0]

    assert region(None, "", WHOLE) == WHOLE
    assert region(["V1"], "", WHOLE) == f"{WHOLE} within V1"
    assert region("('V1',)", "", WHOLE) == f"{WHOLE} within V1"
    assert region(["V1"], "prf", "V1v") == "prf:V1v"
    assert region(["prf"], "prf", "V4") == "prf:V4"
    assert region(["prf:V4"], "prf", "V4") == "prf:V4"
    assert region(["V1"], "streams", "early") == "streams:early within V1"


def test_further_factors_join_the_condition():
    table = make_score({"a": 0.1, "b": 0.2}).table
    table = table.assign(model="m", rule=["exhaustive", None], condition="feature")
    run = RunScore("r", "search-slopes", Score(table, make_score().provenance))
    conditions = join_scores([run])["condition"].tolist()
    assert conditions == ["feature [rule=exhaustive]", "feature"]
    assert len(drop_repeats(join_scores([run]))) == 2


def test_models_that_lack_cells_are_told():
    runs = [make_run("a"), make_run("b", {"good": 0.6}, subject="s2")]
    merged = merge_scores(runs)
    notes = merged.entries.set_index("model")["note"]
    assert notes["good"] == ""
    assert notes["bad"].startswith("1 of 2 cells of this board")
    assert any("lack cells" in note for note in merged.provenance.notes)
    assert merged.comparisons["n_cells"].tolist() == [1]


# --------------------------------------------------------------- comparability


def refused(*runs, **options):
    with pytest.raises(ValueError, match="do not belong on one leaderboard") as caught:
        merge_scores(runs, **options)
    return str(caught.value)


def test_other_stimuli_in_one_cell_are_refused():
    a = make_run("a", {"x": 0.1}, trials=2)
    b = make_run("b", {"y": 0.1}, trials=4, mark="1" * 12)
    told = refused(a, b)
    assert "Different stimuli or responses: rsa (V1, best, s1, seed 0)" in told
    assert f"set:{'0' * 12} in a, set:{'1' * 12} (trials: 2 / 4) in b" in told
    assert "Report them apart" in told


def test_options_of_stimuli_must_agree_unless_hashes_do():
    a, b = make_run("a", {"x": 0.1}), make_run("b", {"y": 0.1}, trials=4)
    assert len(merge_scores([a, b]).entries) == 2
    elsewhere = make_run("b", {"y": 0.1}, trials=4, mark="1" * 12, subject="s2")
    assert "rsa: `trials` is 2 in a, 4 in b" in refused(a, elsewhere)
    # A name without a hash says nothing of what was shown.
    c, d = (
        make_run(n, {n: 0.1}, trials=k, row_stimuli="set")
        for n, k in (("c", 2), ("d", 4))
    )
    assert "Different stimuli or responses: rsa: `trials`" in refused(c, d)


def test_other_splits_are_refused():
    a, b = make_run("a", {"x": 0.1}), make_run("b", {"y": 0.1}, test="every-5")
    assert "Different splits: rsa: `test` is auto in a, every-5 in b." in refused(a, b)


def test_other_definitions_are_refused():
    a, b = make_run("a", {"x": 0.1}), make_run("b", {"y": 0.1}, method="banded")
    told = refused(a, b)
    assert "Different definitions: rsa: `method` is ridge in a, banded in b." in told
    assert "--varying method" in told
    nested = [
        make_run(n, {n: 0.1}, recipe={"epochs": k, "rate": 1})
        for n, k in (("a", 1), ("b", 2))
    ]
    assert "`recipe` is epochs: 1 in a, epochs: 2 in b" in refused(*nested)


@pytest.mark.parametrize("column", ["unit", "ceiling_kind"])
def test_other_units_and_ceilings_are_refused(column):
    a = make_run("a", {"x": 0.1})
    b = make_run("b", {"y": 0.1}, **{f"row_{column}": "another"})
    told = refused(a, b)
    assert f"rsa rsa_spearman: `{column}` is " in told
    assert "'another' in b" in told
    assert "--varying" not in told


def test_all_kinds_of_differences_are_told_at_once_and_in_short():
    runs = [make_run("a", {"x": 0.1})]
    runs += [
        make_run(f"b{i}", {f"y{i}": 0.1}, mark=f"{i + 1:012d}", test="t", method="m")
        for i in range(6)
    ]
    told = refused(*runs)
    places = [told.index(w) for w in ("stimuli or", "splits:", "definitions:")]
    assert places == sorted(places)
    assert len(told) < 900


def test_models_of_one_name_with_other_weights_are_refused():
    def run(source, weights, **options):
        prints = {"model x": weights}
        return make_run(source, {"x": 0.1}, fingerprints=prints, **options)

    a, b = run("a", "1" * 64), run("b", "2" * 64, subject="s2", mark="2" * 12)
    told = refused(a, b)
    assert f"rsa: `model x` is {'1' * 12} in a, {'2' * 12} in b" in told
    other_seed = run("b", "2" * 64, seed=1, mark="2" * 12)
    notes = merge_scores([a, other_seed]).provenance.notes
    assert "model x: other weights or settings under other seeds." in notes


def test_axes_may_differ():
    a = make_run(
        "a", {"x": 0.1}, regions=None, device="cpu", data="/here", models=["x"]
    )
    b = make_run("b", {"y": 0.1}, n_bootstrap=10, data="/there", models=["y"])
    assert entries_of(a, b)["n_cells"].tolist() == [1, 1]


def test_only_models_of_both_runs_need_equal_options():
    a, b, c = (
        make_run(name, {name: 0.1}, options=options)
        for name, options in (
            ("a", {"linear": {"x": 1}}),
            ("b", {"masks": {"x": 2}}),
            ("c", {"linear": {"x": 3}}),
        )
    )
    assert len(merge_scores([a, b]).entries) == 2
    assert "`options` is linear: x: 1 in a, linear: x: 3 in c" in refused(a, c)


def test_other_experiments_data_sets_and_metrics_are_boards_of_their_own():
    a = make_run("a", {"x": 0.1})
    others = [
        make_run("b", {"x": 0.2}, row_stimuli="other:111111111111", method="m"),
        make_run("c", {"x": 0.3}, row_metric="rsa_cosine", method="n"),
        make_run("d", {"x": 0.4}, row_task="encoding", task="encoding", method="o"),
    ]
    for other in others:
        assert len(merge_scores([a, other]).entries) == 2


def test_a_factor_makes_models_of_its_values():
    runs = [
        make_run(m, {"human": 0.9, "x": v}, method=m)
        for m, v in (("ridge", 0.1), ("banded", 0.3))
    ]
    rows = entries_of(*runs, varying=["method"])
    assert rows.index.tolist() == ["human", "x [method=banded]", "x [method=ridge]"]
    trials = [
        make_run(f"t{n}", {"human": v, "x": v}, trials=n, mark=f"{n:012d}")
        for n, v in ((2, 0.1), (4, 0.2))
    ]
    rows = entries_of(*trials, varying=["trials"])
    assert set(rows.index) == {
        f"{model} [trials={n}]" for model in ("human", "x") for n in (2, 4)
    }


def test_a_factor_that_no_run_has_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="Did you mean 'method'"):
        check_varying([make_run("a")], ["metod"])
    assert check_varying([make_run("a")], ["test", "method", "test"]) == (
        "method",
        "test",
    )
    assert factor_text({"a": {"b": 1}}, ["a", "c"]) == ' [a={"b":1}]'


def test_other_versions_are_no_reason_to_refuse_but_told():
    a, b = make_run("a", {"x": 0.1}), make_run("b", {"y": 0.1}, code="neurovis 2")
    notes = merge_scores([a, b]).provenance.notes
    assert "Runs differ in code: neurovis 1 (a ...); neurovis 2 (b ...)." in notes


# --------------------------------------------------------------------- folders


def test_a_leaderboard_is_a_folder_of_tables_with_the_same_bytes_each_time(tmp_path):
    folders = [
        save_run(tmp_path / "runs" / run.source, run.score)
        for run in make_grid(n_subjects=2, n_seeds=1)
    ]
    merged = merge_results(folders, tmp_path / "one", csv=True)
    merge_results([*reversed(folders), folders[0]], tmp_path / "two")
    for name in TABLES:
        data = [(tmp_path / home / name).read_bytes() for home in ("one", "two")]
        assert data[0] == data[1]
    home = tmp_path / "one"
    pd.testing.assert_frame_equal(
        read_table(home / "leaderboard.parquet"), merged.entries
    )
    again = Score.load(home)
    assert again.provenance == merged.provenance
    assert again.table["run"].unique().tolist() == sorted(p.name for p in folders)
    names = {path.name for path in home.iterdir()}
    assert names == {
        *(*TABLES, "leaderboard.csv", "comparisons.csv", "provenance.json", "run.json")
    }
    # The tables name no folder of this machine.
    for name in ("leaderboard.csv", "comparisons.csv"):
        assert str(tmp_path) not in (home / name).read_text()


def test_runs_are_named_by_what_tells_their_folders_apart(tmp_path):
    places = ["a/one", "a/two", "b/one"]
    folders = [
        save_run(tmp_path / place, make_score(subject=place, mark=f"{i:012d}"))
        for i, place in enumerate(places)
    ]
    assert [run.source for run in load_results(folders)] == places
    assert [run.source for run in load_results(folders[:1])] == ["one"]


def test_a_refused_merge_leaves_nothing(tmp_path):
    folders = [
        save_run(tmp_path / m, make_score({m: 0.1}, method=m)) for m in ("a", "b")
    ]
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="Different definitions"):
        merge_results(folders, out)
    with pytest.raises(ValueError, match="one of the results that are merged"):
        merge_results(folders, folders[0] / ".." / "a")
    assert not out.exists()
    merge_results(folders, out, varying=["method"])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError, match="holds a run with results="):
        merge_results(folders[:1], out)
    with pytest.raises(ValueError, match="holds a leaderboard already"):
        merge_results([folders[0], out], tmp_path / "more")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_folders_without_a_finished_run_are_told(tmp_path):
    with pytest.raises(ValueError, match="`results` is empty"):
        load_results([])
    with pytest.raises(FileNotFoundError, match=r"nowhere holds no finished run"):
        load_results([tmp_path / "nowhere"])
    write_json(tmp_path / "run.json", {"task": "rsa"})
    with pytest.raises(FileNotFoundError, match=r"scores\.parquet is missing"):
        load_results([tmp_path])
    folder = save_run(tmp_path / "a", make_score())
    path = folder / "scores.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataCorruptError, match=r"scores\.parquet"):
        load_results([folder])
