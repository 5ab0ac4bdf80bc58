"""The report of the diet experiment, from simulated searches."""

import re
import shutil

import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, write_json
from tasks.diet import load_diet_run
from tasks.diet_report import finish_diet, write_diet_report
from tasks.diet_verdicts import conclusions
from tests.tasks.diet_examples import many_searches, rows_of, write_run

DIETS = ("natural", "rotated-90", "lines")
LIKE = [0.8, 0.7, 0.4, 0.4, 0.6, 0.5]
UNLIKE = [-0.9, -0.8, -0.1, -0.2, -0.6, None]


def wobbling(indices):
    return lambda seed: [None if i is None else i + seed / 20 for i in indices]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with a report; not to be changed."""
    trials = many_searches(
        {"natural": wobbling(LIKE), "rotated-90": wobbling(UNLIKE),
         "lines": wobbling(LIKE), "untrained": wobbling([0.0] * 6)},
        seeds=(0, 1), chance=True, noise=0.5,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("diet") / "run"
    write_run(folder, trials, diets=DIETS, n_seeds=2)
    return folder


@pytest.fixture(scope="module")
def told(finished):
    return finish_diet(finished)


@pytest.fixture
def run(finished, tmp_path):
    """A copy without the report."""
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "report.html").unlink(missing_ok=True)
    return folder


def text_of(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    page = re.sub(r'src="data:[^"]*"', "", page)
    page = re.sub(r"<svg.*?</svg>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def figures_of(folder):
    return {path.stem for path in (folder / "figures").iterdir()}


def test_the_report_tells_what_was_done_and_what_follows(finished, told):
    page = (finished / "report.html").read_text(encoding="utf-8")
    titles = [re.sub(r"<[^>]+>", "", t).strip()
              for t in re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.S)]  # fmt: skip
    assert titles == [
        "The question",
        "The diets",
        "What the data allow to say",
        "Mean asymmetry",
        "Experiments",
        "Training",
        "Sources",
        "Provenance",
    ]
    assert figures_of(finished) == {"diets", "mean_index", "experiments", "training"}
    score = load_diet_run(finished).score
    assert told == [
        *score.provenance.notes,
        *conclusions(score),
        f"report {finished / 'report.html'}",
    ]
    text = text_of(finished)
    assert "A note of the run." in text
    assert text.index("A note of the run.") < text.index("The question")
    assert "6 experiments, 4 displays per set size" in text
    assert "3 diets, 2 networks each (6 trained here)" in text


@pytest.mark.usefixtures("told")
def test_numbers_of_the_report_are_those_of_the_tables(finished):
    text, table = text_of(finished), load_diet_run(finished).score.table
    minus = str.maketrans("-", "−")
    means = rows_of(table, "diet", "mean_asymmetry_index")
    for row in means.to_dict("records"):
        for name in ("value", "ci_low", "ci_high"):
            assert f"{row[name]:.2f}".translate(minus) in text
    single = rows_of(table, "network", "mean_asymmetry_index")["value"]
    for value in single:
        assert f"{value:.2f}".translate(minus) in text
    pairs = rows_of(table, "difference", "mean_asymmetry_index_difference")
    assert set(pairs.index) == {
        "natural - rotated-90", "natural - lines", "natural - untrained",
        "rotated-90 - untrained", "lines - untrained",
    }  # fmt: skip
    for name, row in pairs.iterrows():
        assert str(name).replace(" - ", " − ") in text
        assert f"{row['value']:.2f}".translate(minus) in text
        assert row["verdict"] in text
    assert "0.92" in text  # published
    assert "630 pictures, 2 steps" in text
    assert "5.0" in text  # experiments that are defined with rotated pictures


@pytest.mark.usefixtures("undrawn_figures")
def test_synthetic_pictures_are_told_in_table_and_figure(run):
    for name in ("run.json", "provenance.json"):
        values = read_json(run / name)
        call = values.get("call", values)
        call["synthetic"] = True
        write_json(run / name, values)
    write_diet_report(run)
    assert text_of(run).count("630 synthetic pictures") >= 3


@pytest.mark.usefixtures("undrawn_figures")
def test_without_examples_only_their_figure_is_missing(run):
    shutil.rmtree(run / "examples")
    shutil.rmtree(run / "figures", ignore_errors=True)
    write_diet_report(run)
    assert figures_of(run) == {"mean_index", "experiments", "training"}


def test_one_diet_with_one_network_has_a_report(tmp_path):
    trials = many_searches({"lines": wobbling(LIKE)}, seeds=(0,))
    folder = write_run(tmp_path / "run", trials, diets=("lines",), n_seeds=1)
    lines = finish_diet(folder)
    assert "One network per diet: intervals are over trials" in " ".join(lines)
    assert "intervals are over trials alone" in text_of(folder)
    assert "lines" in text_of(folder)


def test_two_reports_of_one_run_are_the_same_bytes(run):
    first = write_diet_report(run).read_bytes()
    assert write_diet_report(run).read_bytes() == first


def test_unfinished_and_damaged_runs_are_told(run):
    (run / "networks.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataCorruptError):
        write_diet_report(run)
    (run / "networks.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"networks\.parquet is missing"):
        finish_diet(run)
