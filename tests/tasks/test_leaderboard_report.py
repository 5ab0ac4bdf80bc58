"""The report of a leaderboard: what it shows, and which command writes it."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from neurovis.core.store import Store
from neurovis.core.types import Score
from tasks.encoding_scores import HELD_OUT, WHOLE
from tasks.leaderboard import merge_results, merge_scores
from tasks.leaderboard_report import (
    finish_leaderboard,
    main_boards,
    report_results,
    write_leaderboard_report,
)
from tasks.study import Job, Study
from tasks.sweep_keys import KeyedJob
from tasks.sweep_records import SweepFolder, write_sweep
from tests.tasks.leaderboard_examples import make_grid, make_run, make_score, save_run


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """Two networks and people on three subjects, one network untrained."""
    home = tmp_path_factory.mktemp("leaderboard")
    grid = make_grid(n_subjects=3, n_seeds=1, truth={"net": 0.5, "<b>raw</b>": 0.3})
    notes = ("<b>raw</b>: untrained weights",)
    scores = [make_score({"human": 0.9}, subject="human", mark="f" * 12)]
    scores += [
        Score(run.score.table, replace(run.score.provenance, notes=notes))
        for run in grid
    ]
    folders = [
        save_run(home / "runs" / str(i), score) for i, score in enumerate(scores)
    ]
    merge_results(folders, home / "out")
    return home / "out"


def test_the_report_shows_marks_ranks_and_pairs(merged):
    report = write_leaderboard_report(merged)
    text = report.read_text()
    assert "7 runs of 1 experiment, 2 models." in text
    assert "&lt;b&gt;raw&lt;/b&gt; (untrained)" in text
    assert "<b>raw" not in text
    assert "people" in text
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", text)
    assert "3 (3 x 1)" in cells
    assert "3 subjects: p cannot be below 0.25" in cells
    assert not re.search(r">\s*(nan|None|NaN)\s*<", text)
    assert [path.name for path in (merged / "figures").iterdir()] == [
        "rsa_set_rsa_spearman_V1_best.png"
    ]


def test_two_reports_have_the_same_bytes(merged):
    first = write_leaderboard_report(merged).read_bytes()
    assert write_leaderboard_report(merged).read_bytes() == first


@pytest.mark.usefixtures("undrawn_figures")
def test_the_best_models_are_told_in_words(merged):
    lines = finish_leaderboard(merged)
    assert lines[0] == "rsa set: rsa_spearman (V1, best)"
    assert re.match(r"  1\. net: \d\.\d{3} \[", lines[1])
    assert re.match(r"  2\. <b>raw</b> \(untrained\): ", lines[2])
    assert lines[3:] == [f"report {merged / 'report.html'}"]
    # The same by the door of all reports.
    assert report_results([merged]) == lines


@pytest.mark.usefixtures("undrawn_figures")
def test_several_folders_are_merged_and_one_is_not(tmp_path):
    folders = [
        save_run(tmp_path / m, make_score({m: 0.2}, method=m)) for m in ("a", "b")
    ]
    out = tmp_path / "out"
    lines = report_results(folders, out, varying=["method"], csv=True)
    assert lines[1].startswith("  1. a [method=a]: 0.200")
    assert (out / "leaderboard.csv").is_file()
    with pytest.raises(ValueError, match="are for a leaderboard"):
        report_results(folders[:1], varying=["method"])
    with pytest.raises(FileNotFoundError, match=r"no finished run: run\.json"):
        report_results([tmp_path / "nowhere"])
    # One folder has the report of its own experiment, which asks for more tables.
    with pytest.raises(FileNotFoundError, match=r"comparisons\.parquet is missing"):
        report_results(folders[:1])


def keep_sweep(folder, scores):
    """Leave the folder of a sweep whose jobs left these scores."""
    sweep = SweepFolder(folder)
    keyed = []
    for n, score in enumerate(scores):
        keyed.append(KeyedJob(Job("rsa", seed=n), {"n": n}, Store.key(n=n)))
        sweep.store.get_or_fill({"n": n}, score.save)
    study = Study("s", tuple(each.job for each in keyed))
    write_sweep(sweep, study, keyed, "local")
    return [each.name for each in keyed]


@pytest.mark.usefixtures("undrawn_figures")
def test_the_finished_jobs_of_a_sweep_are_merged(tmp_path):
    grid = make_grid(n_subjects=2, n_seeds=1)
    names = keep_sweep(tmp_path / "sweep", [run.score for run in grid])
    out = tmp_path / "sweep" / "leaderboard"
    lines = report_results([tmp_path / "sweep"], out)
    assert re.match(r"  1\. good: ", lines[1])
    assert set(Score.load(out).table["run"]) == set(names)
    shutil.rmtree(tmp_path / "sweep" / "store")
    with pytest.raises(FileNotFoundError, match="holds no finished job"):
        report_results([tmp_path / "sweep"], out)


def test_boards_over_all_come_first_and_single_regions_where_there_is_none():
    def boards(**columns):
        columns = {f"row_{name}": value for name, value in columns.items()}
        run = make_run("a", {f"m{i}": 0.1 for i in range(3)}, **columns)
        return [board[2:] for board in main_boards(merge_scores([run]).entries)]

    regions = ["V1", "V4", WHOLE]
    own = {"family": ["f", "f", ""], "condition": HELD_OUT, "metric": "r_mean"}
    assert boards(region=regions, **own) == [("r_mean", WHOLE, HELD_OUT)]
    assert boards(region=["V1", "V4", "V2"]) == [
        ("rsa_spearman", region, "best") for region in ("V1", "V2", "V4")
    ]
    metrics = ["mean_rt_ms", "rt_pearson_r", "mean_rt_ms"]
    found = boards(region="", metric=metrics, condition=["all", "all", "n=3"])
    assert found == [("rt_pearson_r", "", "all"), ("mean_rt_ms", "", "all")]
    assert boards(condition=["best optimistic", "layer", "best"]) == [
        ("rsa_spearman", "V1", "best")
    ]


@pytest.mark.usefixtures("undrawn_figures")
def test_of_many_models_the_pairs_of_the_best_are_shown(tmp_path):
    rng = np.random.default_rng(0)
    folders = [
        save_run(
            tmp_path / s,
            make_score(
                {f"m{i}": 1 - i / 10 + rng.normal(scale=0.01) for i in range(8)},
                subject=s,
            ),
        )
        for s in ("s1", "s2")
    ]
    merge_results(folders, tmp_path / "out")
    text = write_leaderboard_report(tmp_path / "out").read_text()
    assert "Paired differences, pairs of m0" in text
    table = text[text.index("Paired differences, pairs of m0") :]
    pairs = re.findall(r"<td[^>]*>(m\d)</td>\s*<td[^>]*>(m\d)</td>", table)
    assert len(pairs) == 7
    assert all("m0" in pair for pair in pairs)
