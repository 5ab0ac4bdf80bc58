"""The report of foveated systems, from the tables of simulated networks."""

import re
import shutil

import numpy as np
import pytest

from analysis.cue_conflict import conflict_curves
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_table, write_table
from neurovis.core.pictures import read_image
from stimuli.cue_conflict import square_conflict, window_conflict
from stimuli.frequency_filters import filter_level
from tasks.foveation_examples import (
    conflict_examples,
    find_test_pictures,
    frequency_examples,
    occlusion_examples,
)
from tasks.foveation_report import finish_foveation, write_foveation_report
from tasks.foveation_report_parts import (
    conflict_part,
    confusions_part,
    epochs_part,
    occlusion_part,
)
from tasks.foveation_scores import as_conflicts
from tasks.foveation_stimuli import EXPERIMENTS, conflict_pairs
from tasks.foveation_systems import PUBLISHED_NAMES, SYSTEMS
from tasks.foveation_tables import read_foveation_run
from tasks.reports import finish_run
from tests.tasks.foveation_examples import CROSSES, SHARES, SIZE, write_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of all systems with pictures; not to be changed."""
    folder = tmp_path_factory.mktemp("foveation")
    return write_run(folder, pictures=True, per_class=10)


@pytest.fixture(scope="module")
def told(finished):
    """What is told of it; the report lies in its folder."""
    return finish_run(finished)


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    """A small run without pictures; not to be changed."""
    folder = tmp_path_factory.mktemp("plain")
    return write_run(
        folder, experiments=("generalisation", "square-conflict"), n_runs=1,
        systems=("foveated-blur", "texture"), n_bootstrap=10, n_classes=3,
    )  # fmt: skip


@pytest.fixture
def run(plain_run, tmp_path):
    """A copy of the small run."""
    return shutil.copytree(plain_run, tmp_path / "run")


def text_of(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    page = re.sub(r'src="data:[^"]*"', "", page)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def figures_of(folder):
    return {path.stem for path in (folder / "figures").iterdir()}


def titles_of(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    return [re.sub(r"<[^>]+>", "", t).strip()
            for t in re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.S)]  # fmt: skip


def test_the_report_shows_what_was_tested_and_tells_the_main_figures(finished, told):
    run, lines = finished, told
    assert lines[-1] == f"report {run / 'report.html'}"
    assert titles_of(run) == [
        "The question",
        "First stages",
        "Training",
        "Generalisation",
        "Occlusion",
        "Cue conflict: windows",
        "Which published directions hold here",
        "Confusions",
        "Sources",
        "Provenance",
    ]
    assert figures_of(run) == {
        "first_stages",
        "training",
        "own_accuracy",
        "generalisation",
        "occlusion",
        "window-conflict_examples",
        "window-conflict_curves",
        "window-conflict_cross_overs",
        "directions_accuracy",
        "directions_cross_over",
        "confusions",
    }
    found_of = {}
    for line in lines:
        for system, name in PUBLISHED_NAMES.items():
            found = re.match(rf"  {system} \({name}\)\s+([0-9.]+)", line)
            if found:
                found_of.setdefault(system, []).append(float(found[1]))
    assert list(found_of) == list(SYSTEMS)
    for system, (share, met) in found_of.items():
        # 120 answers per system: four standard errors.
        assert share == pytest.approx(SHARES[system], abs=0.18)
        assert met == pytest.approx(CROSSES[system], abs=0.2)


@pytest.mark.usefixtures("told")
def test_numbers_of_the_report_are_those_of_the_tables(finished):
    run, text = finished, text_of(finished)
    table = read_table(run / "accuracy.parquet")
    own = table[table["condition"] == table["system"]]
    assert len(own) == 8  # one guess, and five
    for value in own["accuracy"]:
        assert f"{value:.3f}" in text
    assert "Among five guesses" in text
    directions = read_table(run / "directions.parquet")
    for row in directions.itertuples():
        assert row.claim in text
    counts = directions["verdict"].value_counts()
    for verdict, n in counts.items():
        assert f"{verdict} {n}" in text
    for name in PUBLISHED_NAMES.values():
        assert name in text
    assert "What this run cannot say: A note of the run." in text


@pytest.mark.slow
def test_two_reports_of_one_run_are_the_same_bytes(run):
    first = write_foveation_report(run).read_bytes()
    assert write_foveation_report(run).read_bytes() == first


def test_limits_of_the_reading_stand_above_everything(finished, told):
    assert "Only 2 runs per system" in " ".join(told)
    page = text_of(finished)
    assert page.index("Only 2 runs per system") < page.index("The question")
    assert page.index("A note of the run.") < page.index("The question")


@pytest.mark.usefixtures("undrawn_figures")
@pytest.mark.parametrize("epochs", [0, 1])
def test_networks_that_only_guess_are_named(tmp_path, epochs):
    folder = write_run(
        tmp_path, experiments=("generalisation",), systems=("texture", "reference"),
        n_runs=1, n_epochs=max(epochs, 1), epochs=(0,), n_bootstrap=10,
    )  # fmt: skip
    table = read_table(folder / "accuracy.parquet")
    if epochs == 0:
        write_table(folder / "accuracy.parquet", table[table["epoch"] == 0])
    else:
        low = table["ci_low"].where(table["system"] != "texture", 0.1)
        write_table(folder / "accuracy.parquet", table.assign(ci_low=low))
    text = " ".join(finish_foveation(folder))
    assert ("Networks are untrained" in text) == (epochs == 0)
    assert "Not shown to be better than guessing:" in text
    assert "One run per system" in text
    if epochs:
        assert "guessing: texture. Tests" in text


@pytest.mark.usefixtures("undrawn_figures")
def test_blurs_that_were_given_are_told(run):
    table = read_table(run / "systems.parquet")
    write_table(run / "systems.parquet", table.assign(matched=False))
    text = " ".join(finish_foveation(run))
    assert "its width was given: foveated-blur." in text
    assert text_of(run).count("no, given") == 1


@pytest.mark.usefixtures("undrawn_figures")
def test_parts_without_tests_are_left_out(tmp_path):
    folder = write_run(
        tmp_path, experiments=("occlusion",), systems=("uniform-blur", "texture"),
        n_bootstrap=10,
    )  # fmt: skip
    finish_foveation(folder)
    assert figures_of(folder) == {"training", "occlusion", "directions_accuracy"}
    assert "Generalisation" not in titles_of(folder)
    assert "During training" not in titles_of(folder)
    run = read_foveation_run(folder)
    assert run.systems == ["texture", "uniform-blur"]  # the order of the paper
    assert confusions_part(run) is None
    assert epochs_part(run) is None


def test_one_system_alone_has_a_report(tmp_path):
    folder = write_run(
        tmp_path, experiments=("generalisation", "square-conflict"), n_classes=3,
        systems=("reference",), n_runs=1, n_bootstrap=5,
    )  # fmt: skip
    lines = finish_foveation(folder)
    assert not any("published directions" in line for line in lines)
    assert "Which published directions hold here" not in titles_of(folder)
    assert "square-conflict_curves" in figures_of(folder)
    assert "Among five guesses" not in text_of(folder)


@pytest.mark.slow
def test_all_experiments_have_a_part(tmp_path):
    folder = write_run(tmp_path, experiments=EXPERIMENTS, pictures=True, per_class=4,
                       epochs=(0,), n_bootstrap=5)  # fmt: skip
    finish_foveation(folder)
    assert {
        "spatial_frequency",
        "frequency_examples",
        "square-conflict_curves",
        "square-conflict_examples",
        "epochs",
    } <= figures_of(folder)
    assert {"Spatial frequencies", "During training"} <= set(titles_of(folder))
    # No filter passes only what is finer than pixels.
    assert "Grey: finer than the pixels" in text_of(folder)


def test_accuracies_over_occlusion_are_drawn_as_the_table_has_them(finished):
    read = read_foveation_run(finished)
    _, [(_, item)] = occlusion_part(read)
    table = read.cells("occlusion")
    panels = [ax for ax in item.figure.axes if ax.get_xlabel()]
    assert len(panels) == 4
    for axes, kind in zip(panels, ("scotoma", "glaucoma", "left2right", "top2bottom"),
                          strict=True):  # fmt: skip
        lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
        for line, system in zip(lines, SYSTEMS, strict=True):
            own = table[(table["system"] == system) & (table["condition"] == kind)]
            own = own.sort_values("value")
            np.testing.assert_allclose(line.get_xdata(), 100 * own["value"])
            np.testing.assert_allclose(line.get_ydata(), own["accuracy"])


def test_limits_of_shares_are_cut_at_0_and_1(run):
    table = read_table(run / "accuracy.parquet")
    write_table(run / "accuracy.parquet", table.assign(ci_low=-0.4, ci_high=1.3))
    read = read_foveation_run(run)
    assert set(read.accuracy["ci_low"]) == {0.0}
    assert set(read.accuracy["ci_high"]) == {1.0}


def test_without_pictures_only_the_examples_are_missing(finished, tmp_path):
    some = shutil.copytree(finished, tmp_path / "some")
    assert read_foveation_run(some).pictures is not None
    (some / "pictures" / "texture" / "pictures" / "0003.png").unlink()
    run = read_foveation_run(some)
    assert run.pictures is None
    section, figures = conflict_part(run, "window-conflict")
    assert [name.rpartition("_")[2] for name, _ in figures] == ["curves", "overs"]
    assert len(section.tables) == 1
    assert len(occlusion_part(run)[1]) == 1


def test_pictures_are_found_by_names_that_read_as_numbers(finished):
    run, read = finished, read_foveation_run(finished)
    answers = read.answers("generalisation")
    found = find_test_pictures(run, SYSTEMS, answers)
    np.testing.assert_array_equal(found.labels, np.repeat(np.arange(6), 10))
    rows = np.array([3, 59])
    home = run / "pictures" / "texture" / "pictures"
    expected = [read_image(home / f"{row:04d}.png") for row in rows]
    np.testing.assert_array_equal(found.make("texture", rows), expected)
    assert found.labels[found.examples(3)].tolist() == [0, 2, 5]
    assert len(found.examples(40)) == 6


@pytest.mark.parametrize("experiment", ["window-conflict", "square-conflict"])
def test_examples_of_conflicts_are_the_pictures_that_were_shown(finished, experiment):
    run, read = finished, read_foveation_run(finished)
    shown = conflict_examples(read.pictures, "texture", experiment, read.call, 5)
    weights = [weight for weight, _ in shown]
    assert weights == sorted(weights)
    assert (weights[0], weights[-1]) == (0, 1)
    partners, _ = conflict_pairs(
        read.pictures.labels, experiment, pairing="balanced", seed=0
    )
    around, centre = read.pictures.make("texture", np.array([5, partners[5]]))
    np.testing.assert_array_equal(shown[0][1], around)
    np.testing.assert_array_equal(shown[-1][1], centre)
    if experiment == "square-conflict":
        half = SIZE / 4  # a quarter of the picture
        places = [i for i, weight in enumerate(weights) if weight == 0.25]
        expected = square_conflict(centre, around, half)
        np.testing.assert_array_equal(shown[places[0]][1], expected)
    else:
        table = read_table(run / "answers" / "window-conflict.parquet")
        np.testing.assert_allclose(weights, np.unique(table["value"]))
        whole = window_conflict(around, centre, np.ones((SIZE, SIZE)))
        np.testing.assert_array_equal(shown[-1][1], whole)


def test_examples_of_occlusion_and_filters_change_the_picture_as_the_tests_do():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for hidden in occlusion_examples(picture).values():
        changed = (hidden != picture).any(axis=-1)
        assert changed.mean() == pytest.approx(0.25, abs=0.03)
        assert set(np.unique(hidden[changed])) == {128}
    assert {p.shape for p in occlusion_examples(None).values()} == {(64, 64, 3)}
    low = frequency_examples(picture)["low-pass"]
    for level, shown in zip((2, 4, 6, 8), low, strict=True):
        np.testing.assert_array_equal(shown, filter_level(picture, "low", level))


def test_curves_of_conflicts_are_means_over_the_answers(finished):
    read = read_foveation_run(finished)
    answers = read.answers("window-conflict")
    assert set(answers["epoch"]) == {4}
    table = conflict_curves(as_conflicts(answers))
    own = answers[(answers["system"] == "texture") & (answers["level"] == 4)]
    share = (own["predicted"] == own["other"]).mean()
    rows = table[(table["system"] == "texture")
                 & (table["foveal_weight"] == own["value"].iloc[0])]  # fmt: skip
    assert rows["foveal"].mean() == pytest.approx(share)


def test_unfinished_damaged_and_other_runs_are_told(run, tmp_path):
    (run / "accuracy.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"accuracy\.parquet is missing"):
        finish_foveation(run)
    (run / "accuracy.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataCorruptError, match=r"accuracy\.parquet"):
        finish_foveation(run)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        finish_foveation(tmp_path / "nowhere")
