"""The report of images that drive regions, from a run that was made by hand."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, read_table, write_json, write_table
from tasks.braindive_report import (
    _contact_sheets,
    finish_braindive,
    write_braindive_report,
)
from tasks.braindive_scores import METRICS, label_shares
from tasks.braindive_tables import load_braindive_run
from tasks.braindive_verdicts import compare_rows, conclusions, strength_rows
from tasks.reports import finish_run
from tests.tasks.braindive_examples import (
    LEVELS,
    NOT_DRIVEN,
    REGIONS,
    SCALE,
    SCALES,
    many_looks,
    scores_of,
    write_run,
)

SWEEPS = tuple(f"sweep {scale:g}" for scale in SCALES)
FIGURES = {"conditions", "strength", "labels", *(f"pictures-{r}" for r in REGIONS)}


@pytest.fixture(scope="module")
def looks():
    return many_looks()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, looks):
    """A run with a report; not to be changed."""
    return write_run(tmp_path_factory.mktemp("braindive") / "run", looks)


@pytest.fixture(scope="module")
def told(finished):
    return finish_braindive(finished)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory, looks):
    """A run of an untrained generator without controls; one region is undefined.

    Its folder, and what is told of it.
    """
    few = looks[looks["condition"].isin(["guided", "unguided"])]
    note = "sketch:latent: untrained weights"
    folder = tmp_path_factory.mktemp("sparse") / "run"
    write_run(folder, few, notes=[note])

    def hole(table):
        return (table["region"] == "face") & (table["condition"] == "guided")

    known = few["heldout_activation"].mask(hole(few))
    write_table(folder / "looks.parquet", few.assign(heldout_activation=known))
    table = load_braindive_run(folder).scores
    own = hole(table) & (table["metric"] == "heldout_activation")
    for name in ("value", "ci_low", "ci_high"):
        table[name] = table[name].mask(own)
    write_table(folder / "scores.parquet", table)
    return folder, finish_braindive(folder)


@pytest.fixture
def run(finished, tmp_path):
    """A copy without the report."""
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "report.html").unlink(missing_ok=True)
    shutil.rmtree(folder / "figures", ignore_errors=True)
    return folder


def text_of(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    page = re.sub(r'src="data:[^"]*"', "", page)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("&#39;", "'")


def figures_of(folder):
    return {path.stem for path in (folder / "figures").iterdir()}


def about(word, levels=None, *, keep=(), change=None):
    """The sentences of a run with other levels that begin with a word.

    Besides guided and unguided images there are only conditions in `levels` and `keep`.
    """
    looks = many_looks(levels)
    kept = {"guided", "unguided", *(levels or {}), *keep}
    looks = looks[looks["condition"].isin(kept)]
    if change is not None:
        looks = change(looks)
    labels = label_shares(looks, REGIONS, REGIONS)
    return " ".join(
        line for line in conclusions(scores_of(looks), labels) if line.startswith(word)
    )


def test_the_report_tells_what_was_done_and_what_follows(finished, told):
    page = (finished / "report.html").read_text(encoding="utf-8")
    titles = [re.sub(r"<[^>]+>", "", t).strip()
              for t in re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.S)]  # fmt: skip
    assert titles == [
        "The question",
        "What the data allow to say",
        "Conditions",
        "Strength of guidance",
        "What the judge sees",
        "Pictures",
        "Encoders",
        "Sources",
        "Provenance",
    ]
    assert figures_of(finished) == FIGURES
    run = load_braindive_run(finished)
    lines = conclusions(run.scores, run.labels)
    assert told == ["A note of the run.", *lines, f"report {finished / 'report.html'}"]
    text = text_of(finished)
    assert text.index("A note of the run.") < text.index("The question")
    assert "5 regions, 24 guided images each; generator sketch:latent; seed 0" in text
    assert "arXiv:2306.03089" in text
    assert "can be claimed only from new measurements" in text


@pytest.mark.usefixtures("told")
def test_every_figure_and_table_says_that_brains_are_simulated(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption.*?</figcaption>", page, re.S)
    captions += re.findall(r'<div class="caption".*?</div>', page, re.S)
    assert len(captions) == len(FIGURES) + 3
    assert all("simulated brains" in caption for caption in captions)


@pytest.mark.usefixtures("told")
def test_numbers_of_the_report_are_those_of_the_tables(finished):
    text = text_of(finished)
    table = load_braindive_run(finished).scores
    shown = table[table["metric"].isin(METRICS[:4]) & (table["region"] == "all")]
    shown = shown[shown["model"].isin(LEVELS)]
    assert len(shown) == 4 * len(LEVELS)
    apart = table[table["metric"].isin([f"{m}_difference" for m in METRICS[:4]])]
    assert len(apart) == 4 * len(REGIONS)
    for row in pd.concat([shown, apart]).to_dict("records"):
        numbers = [f"{row[key]:.2f}" for key in ("value", "ci_low", "ci_high")]
        numbers = [n if float(n) else n.lstrip("-") for n in numbers]
        assert "{} [{}, {}]".format(*numbers).replace("-", "−") in text
    for p in apart["p_value"].dropna():
        assert ("< 0.001" if p < 0.001 else f"{p:.3f}") in text.replace("&lt;", "<")
    assert "0.665 0.700 0.95" in text  # test r, ceiling and their ratio
    for scale in (*SCALES, SCALE):
        assert f" guided {scale:g} " in text
    assert f" suppressed −{SCALE:g} " in text


def test_guidance_is_judged_region_by_region():
    brain, judge = about("Held-out brain"), about("Judge")
    for text in (brain, judge):
        assert "in 4 of 5 regions (face, place, body, food)" in text
        assert f"overlapping in {NOT_DRIVEN} (" in text
    assert "more often" in judge
    assert "against 0.20 [0." in judge.partition("Mean of regions")[2]
    none = about("Held-out brain", {"guided": (0.0, 0.0, 0.2)})
    assert "in 0 of 5 regions; overlapping in face (" in none
    less = about("Held-out brain", {"guided": (0.9, -0.9, 0.2)})
    assert "smaller in face (" in less


@pytest.mark.parametrize(
    ("condition", "level", "expected"),
    [
        ("pixel ascent", (3.6, 0, 0.2), "not transfer: held-out activation is not"),
        (
            "pixel ascent",
            (3.6, -0.6, 0.2),
            "not transfer: held-out activation is below",
        ),
        ("pixel ascent", (3.6, 0.6, 0.2), "it transfers: held-out activation is above"),
        ("permuted regions", (0, 0, 0.25), "the interval includes chance (0.20)"),
        (
            "permuted regions",
            (0, 0, 0.9),
            "does not include chance: this control fails",
        ),
        ("suppressed", (-0.5, -0.4, 0), "turned lowers held-out activation: −0.3"),
        ("suppressed", (-0.5, 0, 0), "does not change held-out activation"),
        ("suppressed", (-0.5, 0.5, 0), "raises held-out activation, which it should"),
    ],
)
def test_controls_are_judged_by_their_intervals(condition, level, expected):
    assert expected in about("", {condition: level})


def test_the_regions_whose_permuted_control_is_at_chance_are_counted():
    plain = about("Permuted", keep=["permuted regions"])
    assert "By region, 5 of 5 intervals" in plain
    # 11 of 12 images in every region.
    off = about("Permuted", {"permuted regions": (0.0, 0.0, 0.92)})
    assert "By region, 0 of 5 intervals" in off


def test_the_quarter_that_the_guide_prefers_is_compared_with_all():
    assert "prefers is larger than that of all guided images: " in about(
        "Held-out activation"
    )


def test_an_inverted_u_is_told_where_both_ends_are_below_the_peak():
    text = about("Strength", keep=SWEEPS)
    assert "largest at scale 3, 0.5" in text
    assert "an inverted U." in text
    assert "own prediction is largest at scale 100, 1." in text
    assert "keeps rising beyond the peak" in text


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"sweep 100": (1.2, 0.55, 0.2)}, "an inverted U is not certain"),
        ({"sweep 100": (1.2, 2.0, 0.2)}, "the largest scale that was tried: no peak"),
        ({"sweep 0.1": (0.2, 2.0, 0.2)}, "the smallest scale that was tried: no peak"),
        ({"sweep 10": (0.2, 0.4, 0.2), "sweep 100": (0.1, 0.0, 0.2)}, "the same scale"),
        (
            {
                "sweep 1": (2.2, 0.4, 0.2),
                "sweep 10": (1.0, 0.4, 0.2),
                "sweep 100": (1.0, 0.0, 0.2),
            },
            "at a smaller scale.",
        ),
    ],
)
def test_other_courses_of_strength_are_told_as_they_are(levels, expected):
    assert expected in about("Strength", levels, keep=SWEEPS)


def test_strengths_are_found_by_scale_whatever_their_names(looks):
    named = scores_of(looks)
    renamed = named.assign(model=named["model"].str.replace(r"sweep .*", "sweep",
                                                            regex=True))  # fmt: skip
    for table in (named, renamed):
        rows = strength_rows(table, "heldout_activation")
        mean = rows[rows["region"] == "all"]
        assert mean["scale"].tolist() == sorted([*SCALES, SCALE])


def test_what_the_generator_seldom_draws_is_told():
    text = about("Unguided")
    assert "word 0.04" in text
    assert "of 24 images" in text
    assert "Rarely drawn: word." in text

    def even(looks):
        labels = [REGIONS[i % 5] for i in range(len(looks))]
        plain = looks["condition"] == "unguided"
        return looks.assign(judge_label=looks["judge_label"].mask(plain, labels))

    assert "No category is rarer" in about("Unguided", change=even)


def test_conditions_that_were_not_run_are_left_out(sparse):
    folder, lines = sparse
    starts = [line.split()[0] for line in lines]
    assert starts[1:] == ["Held-out", "Judge:", "Held-out", "Unguided,", "report"]
    assert figures_of(folder) == FIGURES - {"strength", "pictures-face"}
    assert "Only one strength was tried." in text_of(folder)
    assert "pixel ascent" not in text_of(folder)


def test_what_is_undefined_is_told_as_such_and_not_as_zero(sparse):
    folder, lines = sparse
    assert "in 3 of 5 regions" in lines[1]
    assert "undefined in face (undefined against" in lines[1]
    assert "Held-out brain (z) face undefined" in text_of(folder)
    assert "pictures-face" not in figures_of(folder)


def test_an_untrained_generator_is_told_in_every_caption(sparse):
    folder, lines = sparse
    assert lines[0] == "sketch:latent: untrained weights"
    text = text_of(folder)
    assert text.index(lines[0]) < text.index("The question")
    n = text.count("simulated brains; sketch:latent (untrained)")
    assert n == len(figures_of(folder)) + 3


@pytest.mark.slow
@pytest.mark.usefixtures("told")
def test_the_one_door_to_reports_writes_the_same_bytes(finished, run):
    assert finish_run(run)[-1] == f"report {run / 'report.html'}"
    again = (run / "report.html").read_bytes()
    assert again == (finished / "report.html").read_bytes()


def test_a_sheet_shows_the_best_and_worst_by_the_held_out_brain(finished, looks):
    run = load_braindive_run(finished)
    name, item = _contact_sheets(run)[0]
    assert name == "pictures-face"
    [axes] = item.figure.axes
    own = looks[(looks["condition"] == "guided") & (looks["region"] == "face")]
    values = np.sort(own["heldout_activation"])
    below = [text.get_text() for text in axes.texts]
    shown = [float(t.split()[0].replace("−", "-")) for t in below if t]
    np.testing.assert_allclose(shown[:6], values[::-1][:6], atol=0.006)
    np.testing.assert_allclose(shown[12:18], values[:6], atol=0.006)
    # Guided and unguided images of one seed have the disc in one place.
    pictures = np.array([image.get_array() for image in axes.images])
    assert len(pictures) == 30
    rows = pictures.reshape(5, 6, 32, 32, 3)
    discs = (rows != 230).any(axis=-1)
    np.testing.assert_array_equal(discs[0], discs[1])
    np.testing.assert_array_equal(discs[2], discs[3])
    assert (rows[0] != rows[1]).any()


def test_damaged_and_unfinished_runs_are_told(run):
    manifest = read_table(run / "manifest.csv")
    write_table(run / "manifest.csv", manifest.iloc[:30])
    with pytest.raises(DataCorruptError, match=r"manifest\.csv lacks images"):
        write_braindive_report(run)
    write_table(run / "manifest.csv", manifest)
    for image in (run / "images" / "guided-word-3").iterdir():
        image.write_bytes(b"no image")
    with pytest.raises(DataCorruptError, match="is not the image of the manifest"):
        write_braindive_report(run)
    (run / "looks.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataCorruptError):
        write_braindive_report(run)
    (run / "labels.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels\.parquet is missing"):
        finish_braindive(run)
    assert not (run / "report.html").exists()


def test_a_run_of_another_experiment_is_told(run):
    values = read_json(run / "provenance.json")
    values["call"]["task"] = "diet"
    write_json(run / "provenance.json", values)
    with pytest.raises(ValueError, match=r"task of .* must be"):
        write_braindive_report(run)


def test_tables_of_something_else_are_told(looks):
    labels = label_shares(looks, REGIONS, REGIONS)
    with pytest.raises(ValueError, match="scale"):
        conclusions(scores_of(looks).drop(columns="scale"), labels)
    with pytest.raises(ValueError, match="share"):
        conclusions(scores_of(looks), labels.drop(columns="share"))


@pytest.mark.parametrize(
    ("first", "second", "sign"),
    [
        ((2, 3), (0, 1), 1),
        ((0, 1), (2, 3), -1),
        ((0, 2), (1, 3), 0),
        ((0, 1), (1, 2), 0),
        ((np.nan, np.nan), (1, 2), None),
        ((0, 1), (np.nan, 2), None),
    ],
)
def test_values_are_compared_by_their_intervals(first, second, sign):
    rows = [{"ci_low": low, "ci_high": high} for low, high in (first, second)]
    assert compare_rows(*rows) is sign
