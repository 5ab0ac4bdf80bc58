"""The report of probes: what it says is what the tables hold."""

import pandas as pd
import pytest

from analysis.plot_style import number_text
from neurovis.core.files import read_table, write_table
from neurovis.core.types import Score
from tasks.probes import run_probes
from tasks.probes_report import _comparisons, finish_probes, write_probes_report
from tasks.report_parts import value_text
from tests.tasks.test_probes import CALL, MODELS, classes

__all__ = ["classes"]


@pytest.fixture(scope="module")
def run(classes, tmp_path_factory):
    """Two groups with a probe and tuning, without brains; not to be changed."""
    out = tmp_path_factory.mktemp("report") / "run"
    run_probes(MODELS, out, labelled={"colours": classes}, **CALL)
    return out


def test_report_has_means_differences_and_figures(run):
    text = write_probes_report(run).read_text()
    means = read_table(run / "groups.parquet")
    best = means[means["condition"] == "best"]
    assert len(best) == 4
    for _, row in best.iterrows():
        assert value_text(row, 3) in text
    apart = read_table(run / "differences.parquet")
    for _, row in apart[apart["condition"] == "best"].iterrows():
        assert value_text(row.rename({"difference": "value"}), 3) in text
    names = {path.name for path in (run / "figures").iterdir()}
    assert names == {"groups.png", "layers.png", "tuning.png"}
    assert "first (untrained)" in text
    assert "untrained weights (seeded:0)" in text


@pytest.mark.usefixtures("undrawn_figures")
def test_tuning_is_told_layer_by_layer(run):
    text = write_probes_report(run).read_text()
    means = read_table(run / "groups.parquet")
    rows = means[means["metric"] == "circular_variance_median"]
    assert len(rows) == 6
    for _, row in rows.iterrows():
        assert number_text(row["value"], 2) in text


@pytest.mark.usefixtures("undrawn_figures")
def test_a_run_is_told_in_words(run):
    lines = finish_probes(run)
    best = Score.load(run).table.query("condition == 'best' and group == 'second'")
    assert lines[0].startswith("colours: accuracy: first (untrained) ")
    assert f"second (untrained) {best['value'].mean():.3f}" in lines[0]
    assert lines[1].startswith("gratings: circular variance, median: first")
    assert lines[-1] == f"report {run / 'report.html'}"
    assert len(lines) == 3


def test_of_several_recordings_the_mean_is_shown():
    table = pd.DataFrame(
        {
            "measure": "encoding",
            "data": ["v4", "v4", "v4", "other"],
            "metric": "encoding_r",
            "region": "whole",
            "subject": ["a", "b", "mean", "a"],
            "condition": "best",
            "layer": "one",
            "value": [0.1, 0.3, 0.2, 0.5],
        }
    )
    found = _comparisons(table)
    assert [title for title, _ in found] == [
        "v4 whole: encoding, mean r",
        "other whole a: encoding, mean r",
    ]
    assert [rows["value"].tolist() for _, rows in found] == [[0.2], [0.5]]


@pytest.mark.usefixtures("undrawn_figures")
def test_a_report_needs_a_finished_run_of_probes(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="results"):
        write_probes_report(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no finished run"):
        write_probes_report(tmp_path)
    score = Score.load(run)
    other = tmp_path / "other"
    score.save(other)
    for name in ("groups", "differences"):
        write_table(other / f"{name}.parquet", read_table(run / f"{name}.parquet"))
    # Without units there is no section of tuning, and the rest stands.
    text = write_probes_report(other).read_text()
    assert "Tuning of each layer" not in text
    assert "first (untrained)" in text
