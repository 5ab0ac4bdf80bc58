"""The report of trained encoders: whole, marked, and true to its tables."""

import html
import re
import shutil

import numpy as np
import pytest

from analysis.plots_training import plot_learning_curves
from data_loaders.simulated_routing import simulate_routing
from neurovis.core.files import read_json, read_table, write_table
from tasks import brain_encoder_report, encoder_attention_report
from tasks.brain_encoder import fit_brain_encoder
from tasks.brain_encoder_report import finish_brain_encoder
from tasks.brain_sources import BrainData
from tasks.encoder_options import EncoderOptions
from tasks.encoding_report_parts import layer_figure
from tasks.encoding_run import load_encoding
from tasks.encoding_scores import WHOLE
from tasks.reports import finish_run

CALL = {
    "settings": {"max_epochs": 2},
    "n_permutations": 19,
    "n_bootstrap": 20,
    "device": "cpu",
}
READOUTS = ("transformer", "masks", "factorised", "ridge")
PARTS = ("The question", "Scores of regions", "Differences", "Units", "Training")


def make_data(n_subjects=1, names=("maps",)):
    brain = simulate_routing(
        120,
        grid=(10, 10),
        n_channels=16,
        n_categories=3,
        units_per_region=10,
        n_subjects=n_subjects,
    )
    found = []
    for subject in brain.subjects:
        maps = brain.maps[subject.rows]
        features = {n: maps.reshape(len(maps), -1) + i for i, n in enumerate(names)}
        shapes = dict.fromkeys(names, maps.shape[1:])
        found.append(BrainData(subject.responses, features=features, map_shapes=shapes))
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Four models of a simulated subject."""
    out = tmp_path_factory.mktemp("fit") / "run"
    fit_brain_encoder(make_data(), ["given:maps"], out, readouts=READOUTS, **CALL)
    return out


@pytest.fixture(scope="module")
def told(finished):
    """What is told of the run, once its report is written."""
    return finish_run(finished)


def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def headings(folder):
    return re.findall(r"<h2[^>]*>([^<]*)<", page(folder))


def cells(folder):
    """Return the rows of all tables of a report as lists of text."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page(folder), re.DOTALL)
    tags = re.compile(r"<[^>]+>")
    return [
        [
            html.unescape(tags.sub("", cell)).strip()
            for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
        ]
        for row in rows
    ]


def changed(finished, folder, **tables):
    """Copy a run and change some of its tables."""
    shutil.copytree(finished, folder)
    for name, change in tables.items():
        path = folder / f"{name}.parquet"
        write_table(path, change(read_table(path)))
    return folder


def test_the_report_is_one_file_with_all_parts_and_marks(finished, told):
    text = page(finished)
    assert [h for h in headings(finished) if h in PARTS] == list(PARTS)
    assert {"Attention", "Provenance"} < set(headings(finished))
    assert "Maps" not in headings(finished)  # units have no place in the brain
    assert "Layers" not in headings(finished)  # there is one
    assert "<h1>Trained brain encoders: simulated data</h1>" in text
    assert "Simulated data: see" in text
    assert not re.search(r"(src|href)=\"https?://", text)
    assert "(untrained)" not in text
    for words in (
        "10 % of the training stimuli",
        "5-fold cross-validation within them",
        "layers of one model can be compared by it, models cannot",
        "Attention is no proof of what an encoder uses.",
        "4 models of the features maps; 1 subject, 30 units; seed 0.",
    ):
        assert words in text
    assert told[-1] == f"report {finished / 'report.html'}"
    names = {p.stem for p in (finished / "figures").glob("*.png")}
    expected = {"models", "differences_subj01", "distribution", "penalties", "curves"}
    expected |= {f"attention_subj01_{model}" for model in READOUTS[:2]}
    assert expected <= names
    assert not any(name.startswith("attention_pictures_subj01_masks") for name in names)


def test_what_is_told_are_the_numbers_of_the_tables(finished, told):
    run = load_encoding(finished)
    assert len(told) == 2 + len(READOUTS)
    for line in told[1:-1]:
        subject, model = re.match(r"  (\w+), simulated  (\w+):", line).groups()
        units = run.units[
            (run.units["subject"] == subject) & (run.units["model"] == model)
        ]
        r = f"{units['r'].mean():.3f}".replace("-", "−")
        assert f": {r} [" in line
        assert f"ceiling {np.sqrt(units['ceiling']).mean():.3f}" in line


@pytest.mark.slow
def test_the_same_run_gives_the_same_report(finished, told):
    first = (finished / "report.html").read_bytes()
    assert finish_run(finished) == told
    assert (finished / "report.html").read_bytes() == first


def differences_in(folder):
    """Return the printed differences over all units, by subject and model."""
    found = {}
    for row in cells(folder):
        if len(row) == 6 and row[1] == WHOLE:
            numbers = re.findall(r"−?\d\.\d+", row[4])
            found[row[0], row[3]] = [float(n.replace("−", "-")) for n in numbers]
    return found


def test_differences_are_those_from_ridge(finished, told):
    units = load_encoding(finished).units
    mean = units.groupby(["subject", "model"])["r"].mean()
    found = differences_in(finished)
    assert len(found) == 3
    for (subject, model), (difference, low, high) in found.items():
        expected = mean[subject, model] - mean[subject, "ridge"]
        assert difference == pytest.approx(expected, abs=6e-4)
        assert low < difference < high
    assert "minus that of ridge" in page(finished)


@pytest.mark.slow
def test_without_ridge_differences_are_those_from_the_first_model(tmp_path):
    readouts = ("factorised", "masks")
    fit_brain_encoder(make_data(2), ["given:maps"], tmp_path, readouts=readouts, **CALL)
    told = finish_run(tmp_path)
    assert len(told) == 2 + 2 * 2
    mean = load_encoding(tmp_path).units.groupby(["subject", "model"])["r"].mean()
    found = differences_in(tmp_path)
    assert set(found) == {("subj01", "masks"), ("subj02", "masks")}
    for (subject, _), (difference, low, high) in found.items():
        expected = mean[subject, "masks"] - mean[subject, "factorised"]
        assert difference == pytest.approx(expected, abs=6e-4)
        assert low < difference < high
    assert "dots are subjects" in page(tmp_path)
    assert "minus that of factorised" in page(tmp_path)
    assert "Ridge" not in page(tmp_path)
    # One difference needs no matrix, and penalties of all units are the same.
    names = {p.stem for p in (tmp_path / "figures").glob("*.png")}
    assert not names & {"differences_subj01", "penalties"}


def test_trainings_are_told_as_they_were(finished, told):
    rows = [row for row in cells(finished) if len(row) == 8 and row[2] == "features"]
    found = {(row[0], row[1]): row[3:] for row in rows}
    assert len(found) == 3  # ridge is not trained
    for (subject, model), told_of in found.items():
        card = read_json(
            finished / "models" / subject / model / "features/encoder.json"
        )
        training = card["training"]
        parameters, n_rows, penalty, runs, epochs = told_of
        if model == "factorised":  # mask, channels and bias of each unit
            assert parameters == f"{30 * (100 + 16 + 1):,}".replace(",", " ")
        assert int(n_rows.replace(" ", "")) == training["n_train"] == 96
        assert float(penalty) == training["penalty"]
        assert int(runs) == 1
        assert epochs == f"{training['best_epochs'][0] + 1} of 2"


@pytest.mark.slow
def test_learning_curves_are_those_that_are_kept(finished, told, monkeypatch):
    drawn = []

    def spy(curves, **options):
        drawn.append((curves, options))
        return plot_learning_curves(curves, **options)

    monkeypatch.setattr(brain_encoder_report, "plot_learning_curves", spy)
    finish_run(finished)
    assert len(drawn) == 3  # ridge has none
    for (curves, options), model in zip(drawn, READOUTS, strict=False):
        home = finished / "models/subj01" / model / "features"
        kept = read_table(home / "curves.parquet")
        assert options["title"] == f"Simulated: {model}"
        assert curves["epoch"].tolist() == [1, 2]
        np.testing.assert_array_equal(curves["val_r"], kept["val_r"])
        np.testing.assert_array_equal(curves["best"], kept["best"])


@pytest.mark.usefixtures("undrawn_figures")
def test_one_training_of_all_subjects_has_one_curve_for_each_run(tmp_path, monkeypatch):
    drawn = []

    def spy(curves, **options):
        drawn.append(curves)
        return plot_learning_curves(curves, **options)

    fit_brain_encoder(
        make_data(2),
        ["given:maps"],
        tmp_path,
        readouts=("masks",),
        options=EncoderOptions("masks", n_runs=2),
        together=True,
        **CALL,
    )
    monkeypatch.setattr(brain_encoder_report, "plot_learning_curves", spy)
    finish_run(tmp_path)
    (curves,) = drawn
    assert set(curves["subject"]) == {"all subjects"}
    assert len(curves) == 2 * 2
    assert set(curves["fold"]) == {0, 1}


def test_attention_is_told_as_in_its_table(finished, told):
    table = read_table(finished / "attention.parquet")
    queries = table["query"].unique()
    rows = [r for r in cells(finished) if len(r) == 6 and r[0] in queries]
    assert len(rows) == len(table) == 2 * 6
    for row, (_, expected) in zip(rows, table.iterrows(), strict=True):
        names = ("x", "y", "spread", "spread_per_image", "routing_index")
        values = [float(cell.replace("−", "-")) for cell in row[1:]]
        np.testing.assert_allclose(
            values, [expected[name] for name in names], atol=6e-4
        )
    assert "On the object" not in page(finished)


@pytest.mark.slow
def test_objects_marks_and_long_lists_are_told(finished, tmp_path, monkeypatch):
    def untrained(table):
        return table.assign(untrained=table["model"] != "training mean")

    def known(table):
        return table.assign(
            n_with_object=9, mass=0.3, area=0.1, ratio=3.0, mass_other=0.1, p_value=1e-5
        )

    names = ("layers", "units", "scores")
    changes = dict.fromkeys(names, untrained) | {"attention": known}
    folder = changed(finished, tmp_path / "run", **changes)
    monkeypatch.setattr(encoder_attention_report, "_MOST_QUERIES", 3)
    told = finish_run(folder)
    text = page(folder)
    # Networks with random weights.
    assert told[1].startswith("  subj01, simulated  transformer (untrained): ")
    assert "whose maps are read has random weights" in text
    assert "Simulated: subj01: transformer (untrained)" in text
    # Objects at known places, of the first queries of each model.
    rows = [row for row in cells(folder) if row[-2:] == ["3.00", "< 0.001"]]
    assert len(rows) == 2 * 3
    assert text.count("the first 3 of 6 queries") == 2
    assert "which object a region responds to" in text
    assert (folder / "figures/attention_objects_subj01_transformer.png").is_file()


@pytest.mark.slow
def test_layers_and_their_ensemble_have_a_part_of_their_own(tmp_path, monkeypatch):
    shown = []

    def spy(run):
        shown.extend(run.scores["layer"].unique())
        return layer_figure(run)

    monkeypatch.setattr(brain_encoder_report, "layer_figure", spy)
    layers = "control:pixels:pixels:grid8,pixels:grid16"
    fit_brain_encoder(
        make_data(),
        [layers],
        tmp_path,
        readouts=("factorised",),
        **CALL,
    )
    finish_run(tmp_path)
    assert "Layers" in headings(tmp_path)
    assert "Attention" not in headings(tmp_path)
    assert any(row[:1] == ["ensemble"] for row in cells(tmp_path))
    assert (tmp_path / "figures" / "layers.png").is_file()
    assert {"pixels:grid8", "pixels:grid16"} <= set(shown)
    assert "all layers" not in shown  # it has no place among them


def test_a_single_model_without_weights_is_reported_too(tmp_path):
    fit_brain_encoder(
        make_data(),
        ["given:maps"],
        tmp_path,
        readouts=("transformer",),
        keep_models=False,
        **CALL,
    )
    told = finish_run(tmp_path)
    assert len(told) == 3
    text = page(tmp_path)
    assert "There is one model only" in text
    assert "No weights of trained readouts were kept" in text
    assert "Attention" not in headings(tmp_path)
    assert "1 model of the features maps; 1 subject, 30 units" in text


def test_folders_without_a_finished_fit_are_refused(tmp_path, finished):
    with pytest.raises(FileNotFoundError, match="holds no finished fit"):
        finish_brain_encoder(tmp_path)
    (tmp_path / "run.json").write_bytes((finished / "run.json").read_bytes())
    message = r"units\.parquet is missing\. Run `neurovis fit brain-encoder"
    with pytest.raises(FileNotFoundError, match=message):
        finish_run(tmp_path)
