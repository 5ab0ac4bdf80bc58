"""The report of captions of simulated voxels, from runs that were made by hand."""

import html
import re
import shutil
from functools import cache

import numpy as np
import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, read_table, write_json
from tasks.brainscuba_report import finish_brainscuba, write_brainscuba_report
from tasks.brainscuba_verdicts import (
    bank_use,
    concept_names,
    conclusions,
    listed,
    noise_levels,
    score_rows,
)
from tasks.reports import finish_run
from tests.tasks.scuba_examples import (
    BETA,
    CONCEPTS,
    LEVELS,
    N_BANK,
    NOISE,
    many_captions,
    scores_of,
    write_scuba_run,
)
from tests.undrawn import figures_not_drawn

CHOSEN = tuple(name for name in LEVELS if name.endswith("chosen penalty"))
FIGURES = {"naming", "temperature", "words"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with a report, and what is told of it; not to be changed."""
    folder = write_scuba_run(tmp_path_factory.mktemp("scuba") / "run", many_captions())
    return folder, finish_brainscuba(folder)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """A report of one brain; some captions name several concepts, or none."""
    levels = {"nearest image": (0.1, 0.9, 0.9)}
    captions = many_captions(levels, n_brains=1, leave_out=CHOSEN)
    is_own = captions["condition"] == "projection"
    captions.loc[is_own & (captions["noise_sd"] == 1), "named"] = "food,face"
    captions.loc[is_own & (captions["noise_sd"] == 3), "named"] = ""
    is_own = captions["condition"] == "nearest image"
    captions.loc[is_own & (captions["noise_sd"] == 3), "named"] = "food,face"
    folder = write_scuba_run(tmp_path_factory.mktemp("sparse") / "run", captions)
    with figures_not_drawn():
        finish_run(folder)
    return folder


def page_of(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    return re.sub(r'src="data:[^"]*"', "", page)


def text_of(folder):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page_of(folder))))


def cells_of(folder, start):
    """Rows of the table whose caption begins so, header first."""
    page = page_of(folder)
    at = next(
        m.end()
        for m in re.finditer(r'<div class="caption".*?</div>', page, re.S)
        if start in html.unescape(m.group(0))
    )
    table = page[at : page.index("</table>", at)]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]
    return [[html.unescape(cell).strip() for cell in row] for row in found]


def told_of(levels=None, *, change=None, leave_out=CHOSEN, **more):
    if levels is None and change is None and leave_out is CHOSEN and not more:
        return told_by_default()
    captions = many_captions(levels, leave_out=leave_out, **more)
    if change is not None:
        captions = change(captions)
    scores = scores_of(captions, n_bootstrap=50)
    return conclusions(scores, inverse_temperature=BETA, n_bank=N_BANK)


@cache
def told_by_default():
    return told_of(leave_out=())


def about(start, *args, **more):
    return " ".join(line for line in told_of(*args, **more) if line.startswith(start))


def test_the_report_tells_what_was_done_and_what_follows(finished):
    folder, told = finished
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", page_of(folder), re.S)
    assert [re.sub(r"<[^>]+>", "", title).strip() for title in titles] == [
        "The question",
        "What the data allow to say",
        "How often the concept is named",
        "Inverse temperature",
        "Words by concept",
        "Examples",
        "Encoders",
        "Sources",
        "Provenance",
    ]
    assert {path.stem for path in (folder / "figures").iterdir()} == FIGURES
    scores = read_table(folder / "scores.parquet")
    lines = conclusions(scores, inverse_temperature=BETA, n_bank=N_BANK)
    assert told == ["A note of the run.", *lines, f"report {folder / 'report.html'}"]
    text = text_of(folder)
    assert text.index("A note of the run.") < text.index("The question")
    assert all(line in text for line in lines)
    assert "2 brains, 10 voxels for each of 5 concepts" in text
    assert "arXiv:2310.04420" in text
    assert "nothing about a brain" in text


def test_every_figure_and_table_says_that_voxels_are_simulated(finished):
    page = page_of(finished[0])
    captions = re.findall(r"<figcaption.*?</figcaption>", page, re.S)
    captions += re.findall(r'<div class="caption".*?</div>', page, re.S)
    assert len(captions) == len(FIGURES) + 5
    assert all("Simulated voxels" in caption for caption in captions)


def test_the_table_of_conditions_has_the_rates_and_limits_of_the_scores(finished):
    folder, _ = finished
    head, *rows = cells_of(folder, "share of captions that name the concept, with 95")
    assert head == ["Condition", "Noise 0.3", "Noise 1", "Noise 3"]
    names = [row[0] for row in rows]
    assert names == [
        "Raw weights",
        "Raw weights, mean norm",
        "Nearest image",
        "Random image",
        "Shuffled responses",
        "Projection, 1",
        "Projection, 150",
        "Projection, 1000",
        "Pictures",
        "Projection, 150, chosen penalty",
        "Raw weights, chosen penalty",
        "Raw weights, mean norm, chosen penalty",
        "Nearest image, chosen penalty",
    ]
    for name, *cells in rows:
        key = name.lower().replace("projection, ", "projection ")
        for cell, level in zip(cells, LEVELS[key], strict=True):
            value, low, high = (float(x) for x in re.findall(r"\d\.\d\d", cell))
            assert value == pytest.approx(level)
            assert low <= value <= high


def test_each_brain_stands_apart(finished):
    _, *rows = cells_of(finished[0], "each brain apart")
    assert [row[:2] for row in rows] == [
        [f"{n:g}", str(b)] for n in NOISE for b in (0, 1)
    ]
    assert [row[2] for row in rows] == ["1.00"] * 4 + ["0.90"] * 2
    head = cells_of(finished[0], "each brain apart")[0]
    assert head[2:4] == ["Projection", "Raw weights"]


def test_examples_are_the_first_voxels_and_wrong_captions_are_crossed(finished):
    head, *rows = cells_of(finished[0], "captions, projection")
    assert head == ["Concept", "Noise", "Voxel", "Projection", "Raw weights",
                    "Nearest image"]  # fmt: skip
    assert len(rows) == 2 * len(CONCEPTS) * len(NOISE)
    faces = [row for row in rows if row[0] == "face"]
    assert [row[2] for row in faces] == ["sim00-0000", "sim00-0001"] * 3
    assert faces[0][3] == "a face in projection 150 ."
    assert not any(cell.startswith("✗") for row in rows for cell in row)


def test_captions_that_name_something_else_are_crossed(sparse):
    _, *rows = cells_of(sparse, "captions, projection")
    faces = [row for row in rows if row[:2] == ["face", "0.3"]]
    assert [row[5].startswith("✗ ") for row in faces] == [False, True]


def test_a_run_of_one_brain_and_one_kind_of_encoder_says_no_more(sparse):
    text = text_of(sparse)
    assert "1 brain, 10 voxels" in text
    assert "small marks" not in text
    assert "Encoders with a chosen penalty." not in text
    names = [row[0] for row in cells_of(sparse, "share of captions that name")]
    assert names[-1] == "Pictures"


def test_how_many_concepts_captions_name_is_counted(finished, sparse):
    assert "on average: projection 1.00, raw weights 1.00" in text_of(finished[0])
    # Of the projections at three levels of noise, one names two and one none.
    assert "on average: projection 1.00, raw weights 1.00" in text_of(sparse)
    assert "nearest image 1.33" in text_of(sparse)


def test_encoders_and_effective_numbers_are_told(finished):
    _, *rows = cells_of(finished[0], "how well encoders predict")
    kinds = {row[0] for row in rows}
    assert kinds == {"fixed penalty", "chosen penalty"}
    assert rows[0][1:] == ["0.3", "0", "0.692", "0.769", "0.90"]
    _, *rows = cells_of(finished[0], "pictures that count (median")
    assert rows[0][:2] == ["0.3", "1"]
    assert rows[0][2].startswith("450.0 [")
    assert rows[-1][:2] == ["3", "1000"]
    assert rows[-1][2].startswith("1.3 [")
    assert rows[-1][3].startswith("0.30 [")


def test_the_projection_is_told_by_noise():
    text = about("Projection at inverse temperature 150")
    assert "named in 1.00 [0.96, 1.00] at noise 0.3" in text
    assert "0.90 [0.83, 0.94] at noise 3" in text
    assert "levels of noise: 0.90 to 1.00." in text
    assert "Single brains" not in about("Projection", n_brains=1)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((1.0, 0.7, 0.4), "The limits lie above 0 at noise 1 and 3."),
        ((1.0, 1.0, 0.9), "The limits do not exclude 0 at any noise."),
        ((1.0, 1.0, 1.0), "They lie below 0, a loss, at noise 3."),
        ((0.5, 1.0, 1.0), "above 0 at noise 0.3. They lie below 0, a loss, at noise 3"),
    ],
)
def test_gains_are_told_by_their_limits(levels, expected):
    assert expected in about(
        "Gain of the projection over the raw", {"raw weights": levels}
    )


def test_encoders_with_a_chosen_penalty_are_told_apart():
    found = [x for x in told_of() if x.startswith("Encoders with a chosen penalty. ")]
    assert len(found) == 4
    assert "named in 1.00 [0.96, 1.00] at noise 0.3" in found[0]
    assert "over the raw weights, voxel by voxel: 0.10 [" in found[1]
    assert found[1].endswith("The limits lie above 0 at noise 0.3 and 1.")
    assert found[2].endswith("The limits do not exclude 0 at any noise.")


def test_all_three_comparisons_are_told():
    found = [line for line in told_of() if line.startswith("Gain")]
    assert [line.split(",")[0] for line in found] == [
        "Gain of the projection over the raw weights",
        "Gain of the projection over raw weights of mean norm",
        "Gain of the projection over the nearest picture of the bank",
    ]
    some = [
        x for x in told_of(leave_out=(*CHOSEN, "raw weights")) if x.startswith("Gain")
    ]
    assert len(some) == 2


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("shuffled responses", "Control, voxels whose responses were shuffled"),
        ("random image", "Control, random pictures"),
    ],
)
def test_controls_beside_chance_are_told(name, start):
    assert "All limits include chance (0.20)." in about(start)
    above = about(start, {name: (0.2, 0.4, 0.5)})
    assert "Above chance (0.20) at noise 1 and 3: this control fails." in above
    below = about(start, {name: (0.0, 0.2, 0.2)})
    assert "Below chance (0.20) at noise 0.3." in below
    assert "fails" not in below


def test_temperatures_that_differ_beyond_doubt_are_named():
    text = about("Other inverse temperatures than 150")
    assert "at noise 0.3 worse at 1;" in text
    assert "at noise 1 worse at 1 and 1000;" in text
    better = about("Other", {"projection 150": (0.5, 0.5, 0.5)})
    assert "at noise 0.3 worse at 1 and better at 1000" in better
    same = about("Other", {"projection 1": (1, 1, 1), "projection 1000": (1, 1, 1)})
    assert "at noise 0.3 none is worse or better" in same
    only = ("projection 1", "projection 1000")
    assert about("Other", leave_out=(*CHOSEN, *only)) == ""


def test_repeats_and_the_captioner_are_told():
    assert "concepts in 1.00 [1.00, 1.00] at noise 0.3" in about("Two repeats")
    text = about("The captioner", {"pictures": (0.9, 0.9, 0.9)})
    assert "names the concept of 0.90 [0.83, 0.94] of new drawings" in text


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (5.0, "of 500: neither the nearest picture alone nor the mean of the bank."),
        (1.2, "of 500: this is retrieval: the caption is that of the nearest picture."),
        (400.0, "of 500: the captions are those of the mean picture of the bank."),
    ],
)
def test_effective_numbers_warn_of_retrieval_and_of_the_mean(number, expected):
    def change(captions):
        is_main = captions["inverse_temperature"] == BETA
        known = captions["effective_number"].mask(is_main, number)
        return captions.assign(effective_number=known)

    text = about("Pictures that count", change=change)
    assert expected in text
    assert "Retrieval at inverse temperature 1000." in text
    assert "The mean picture at inverse temperature 1." in text


def test_uses_of_the_bank_that_differ_by_noise_are_told_apart():
    def change(captions):
        is_high = (captions["inverse_temperature"] == BETA) & (captions["noise_sd"] > 2)
        return captions.assign(
            effective_number=captions["effective_number"].mask(is_high, 1.5)
        )

    text = about("Pictures that count", change=change)
    assert "that of the nearest picture at noise 3; neither" in text
    assert "nor the mean of the bank at noise 0.3 and 1." in text


def test_small_words_are_right():
    scores = scores_of(many_captions(n_brains=1, leave_out=CHOSEN))
    assert noise_levels(scores) == list(NOISE)
    assert concept_names(scores) == list(CONCEPTS)
    assert listed(["a", "b"]) == "a and b"
    assert [bank_use(x, 500) for x in (2.0, 2.1, 249.9, 250.0)] == [
        *("retrieval", "mixture", "mixture", "mean")
    ]
    rows = score_rows(scores, "naming_rate", "raw weights", region="food")
    assert np.allclose(rows["value"], LEVELS["raw weights"])


def test_the_same_run_gives_the_same_report(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    before = (folder / "report.html").read_bytes()
    assert write_brainscuba_report(folder).read_bytes() == before


@pytest.mark.parametrize("name", ["captions.parquet", "encoders.parquet"])
def test_unfinished_and_damaged_runs_are_told(finished, tmp_path, name):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    file = folder / name
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataCorruptError, match=name):
        write_brainscuba_report(folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        finish_run(folder)


def test_a_run_of_another_experiment_is_refused(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    told = read_json(folder / "provenance.json")
    told["call"]["task"] = "braindive"
    write_json(folder / "provenance.json", told)
    with pytest.raises(ValueError, match="task"):
        write_brainscuba_report(folder)
