"""The report of captions of units, from runs that were made by hand."""

import html
import re
import shutil

import numpy as np
import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, read_table, write_json
from tasks.reports import finish_run
from tasks.voxel_caption_verdicts import caption_conclusions, naming_rows, region_rows
from tasks.voxel_captions_report import finish_captions, write_captions_report
from tests.tasks.caption_examples import N_BANK, write_captions_run
from tests.undrawn import figures_not_drawn

SIMULATED = ("Simulated responses: nothing about a brain.", "Captions are statements.")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A simulated run on a surface, with a localiser, and what is told of it."""
    folder = tmp_path_factory.mktemp("captions") / "run"
    write_captions_run(folder, space="surface", localised=True, notes=SIMULATED)
    return folder, finish_captions(folder)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """One caption of each unit of a volume, without baselines."""
    folder = tmp_path_factory.mktemp("captions") / "run"
    notes = ("The encoder looks through an untrained network.",)
    options = {"baselines": False, "n_repeats": 1, "numbers": (1.0, 900.0)}
    write_captions_run(folder, space="volume", notes=notes, **options)
    return folder, finish_run(folder)


def page_of(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    return re.sub(r'src="data:[^"]*"', "", page)


def text_of(folder):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page_of(folder))))


def cells_of(folder, start):
    """Rows of the table whose caption has these words, header first."""
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


def captions_of(folder):
    page = page_of(folder)
    found = re.findall(r"<figcaption.*?</figcaption>", page, re.S)
    return found + re.findall(r'<div class="caption".*?</div>', page, re.S)


def text(row):
    return "{value:.2f} [{ci_low:.2f}, {ci_high:.2f}]".format(**row)


def test_the_report_tells_what_was_done_and_what_follows(finished):
    folder, told = finished
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", page_of(folder), re.S)
    assert [re.sub(r"<[^>]+>", "", title).strip() for title in titles] == [
        "What it is",
        "What the data allow to say",
        "Known preferences",
        "Examples",
        "Nouns",
        "Regions",
        "Pictures that count",
        "Maps",
        "Sources",
        "Provenance",
    ]
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        *("naming-regions", "naming-localiser", "people"),
        *("effective-number", "map-people"),
    }
    assert told[:2] == list(SIMULATED)
    assert told[-1] == f"report {folder / 'report.html'}"
    shown = text_of(folder)
    assert all(line in shown for line in told[:-1])
    assert shown.index(SIMULATED[0]) < shown.index("What it is")
    assert "40 units of sim00; repeats: 3, each from 333 of 1000 pictures" in shown


def test_every_figure_and_table_says_what_is_simulated_or_untrained(finished, sparse):
    assert len(captions_of(finished[0])) == 8
    assert all("Simulated: " in caption for caption in captions_of(finished[0]))
    assert "<h1>Simulated: captions of units</h1>" in page_of(finished[0])
    assert all("Untrained: " in caption for caption in captions_of(sparse[0]))
    assert "simulated" not in text_of(sparse[0]).lower().partition("provenance")[0]


def test_preferences_are_told_with_chance_and_against_baselines(finished):
    folder, told = finished
    scores = read_table(folder / "scores.parquet")
    for truth, words in (("regions", "the region"), ("localiser", "what its encoder")):
        [line] = [
            x for x in told if x.startswith(f"Known preferences, told by {words}")
        ]
        rows = naming_rows(scores, truth)
        rows = rows[rows["region"] == "all"].set_index("condition")
        main = rows.loc["projection"]
        assert f"named in {text(main)} of the captions" in line
        assert f"chance {main['chance']:.2f}, p = 0.010." in line
        raw = text(rows.loc["raw weights"])
        assert f"more often than raw weights ({raw})" in line
        near = text(rows.loc["nearest image"])
        assert f"not distinguishable from nearest image ({near})" in line


def test_concepts_at_chance_are_named(finished):
    scores = read_table(finished[0] / "scores.parquet")
    is_place = (scores["region"] == "place") & (scores["condition"] == "projection")
    scores.loc[is_place, "p_value"] = 0.4
    told = caption_conclusions(scores, np.array([3.0]), n_bank=100)
    assert "Not above chance (p > 0.05, uncorrected): place." in told[0]
    better = scores["condition"] == "nearest image"
    scores.loc[better, ["value", "ci_low", "ci_high"]] = 0.99
    told = caption_conclusions(scores, np.array([3.0]), n_bank=100)
    assert "less often than nearest image (0.99 [0.99, 0.99])" in told[0]


def test_people_are_told_of_the_regions_that_are_shown(finished):
    folder, told = finished
    [line] = [x for x in told if x.startswith("People are named")]
    rows = region_rows(read_table(folder / "scores.parquet"), "people_share_mean")
    rows = rows.set_index("region")
    assert f"named in {text(rows.loc['all'])} of" in line
    assert f"most in FFA-1, {text(rows.loc['FFA-1'])}" in line
    assert "least in PPA, 0.00 [0.00, 0.00]" in line


def test_the_use_of_the_bank_is_told_with_warnings(finished, sparse):
    assert "Warning" not in finished[1][-2]
    assert "of 333 (median of units)." in finished[1][-2]
    line = sparse[1][-2]
    known = read_table(sparse[0] / "units.parquet")["effective_number"]
    retrieval, mean = 100 * (known <= 2).mean(), 100 * (known >= N_BANK / 2).mean()
    assert retrieval > 0
    assert mean > 0
    assert f"Warning: {retrieval:.1f} % of units count 2 pictures or fewer" in line
    assert f"Warning: {mean:.1f} % of units count 50 % of the bank or more" in line
    assert f"of {N_BANK} (median of units)" in line


def test_repeats_are_compared_only_where_there_are_several(finished, sparse):
    [line] = [x for x in finished[1] if x.startswith("Two repeats")]
    rows = region_rows(
        read_table(finished[0] / "scores.parquet"), "concept_agreement_mean"
    )
    assert text(rows.set_index("region").loc["all"]) in line
    assert not any(x.startswith("Two repeats") for x in sparse[1])
    assert "Repeats agree: concepts" in cells_of(finished[0], "in common")[0]
    assert "Repeats agree: concepts" not in cells_of(sparse[0], "in common")[0]


def test_examples_are_the_clearest_and_the_first_units_of_each_region(finished):
    folder, _ = finished
    head, *rows = cells_of(folder, "captions of units")
    assert head == ["Region", "Chosen as", "Unit", "Cosine", "Projection",
                    "Raw weights, mean norm", "Nearest image"]  # fmt: skip
    assert [row[1] for row in rows[:5]] == ["clear"] * 3 + ["first"] * 2
    # The cosine rises with the number of the unit.
    assert [row[2] for row in rows[:5]] == ["lh-38", "lh-36", "lh-34", "lh-0", "lh-2"]
    assert list(dict.fromkeys(row[0] for row in rows)) == ["FFA-1", "PPA", "ventral"]
    captions = read_table(folder / "captions.parquet")
    is_first = (captions["repeat"] == 0) & (captions["unit"] == 0)
    said = captions[is_first].set_index("condition")["caption"]
    shown = ["projection", "raw weights, mean norm", "nearest image"]
    assert rows[3][4:] == said[shown].tolist()


def test_nouns_of_regions_are_those_of_the_table(finished):
    folder, _ = finished
    _, *rows = cells_of(folder, "nouns of captions")
    nouns = read_table(folder / "nouns.parquet")
    assert [row[0] for row in rows] == ["all", "FFA-1", "PPA", "ventral"]
    assert rows[0][2] == "–"
    own = nouns[(nouns["region"] == "FFA-1") & (nouns["log_odds_low"] > 0)]
    expected = [
        f"{row['noun']} {row['share']:.2f} ({row['share_elsewhere']:.2f})"
        for row in own.to_dict("records")
    ]
    assert rows[1][2] == ", ".join(expected)
    assert rows[2][3].startswith("room ")


def test_regions_of_the_same_units_stand_once(finished):
    _, *rows = cells_of(finished[0], "in common")
    assert [row[:2] for row in rows] == [
        ["all", "40"],
        ["FFA-1", "20"],
        ["PPA", "20"],
        ["ventral", "20"],
    ]


def test_a_cortex_that_can_be_turned_is_written_for_surfaces(finished, sparse):
    page = (finished[0] / "cortex.html").read_text(encoding="utf-8")
    assert "Simulated: people in captions" in page
    assert "simulated data" in page
    assert "`cortex.html` beside this report" in text_of(finished[0])
    assert (sparse[0] / "figures" / "map-people.png").is_file()
    assert not (sparse[0] / "cortex.html").exists()
    assert "cortex.html" not in text_of(sparse[0])


@pytest.mark.parametrize("space", [None, "native"])
def test_units_without_a_known_place_have_no_map(tmp_path, space):
    folder = write_captions_run(tmp_path / "run", space=space, baselines=False)
    with figures_not_drawn():
        write_captions_report(folder)
    assert "map-people" not in {x.stem for x in (folder / "figures").iterdir()}
    assert ">Maps<" not in page_of(folder)
    assert "<h1>Captions of units</h1>" in page_of(folder)


def test_the_same_run_gives_the_same_report(sparse, tmp_path):
    folder = shutil.copytree(sparse[0], tmp_path / "run")
    before = (folder / "report.html").read_bytes()
    assert write_captions_report(folder).read_bytes() == before


@pytest.mark.parametrize(
    "name", ["captions.parquet", "units.parquet", "maps/people_share.nii.gz"]
)
def test_damaged_runs_are_told(sparse, tmp_path, name):
    folder = shutil.copytree(sparse[0], tmp_path / "run")
    file = folder / name
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataCorruptError, match=file.name):
        write_captions_report(folder)


def test_unfinished_runs_and_those_of_other_experiments_are_told(sparse, tmp_path):
    folder = shutil.copytree(sparse[0], tmp_path / "run")
    told = read_json(folder / "provenance.json")
    told["call"]["task"] = "encoding"
    write_json(folder / "provenance.json", told)
    with pytest.raises(ValueError, match="task"):
        write_captions_report(folder)
    (folder / "nouns.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"nouns\.parquet is missing"):
        finish_run(folder)
