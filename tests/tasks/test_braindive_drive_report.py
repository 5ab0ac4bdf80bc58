"""The report of images that should drive a region: true to its tables, and marked."""

import html
import re
import shutil

import numpy as np
import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, read_table, write_json, write_table
from neurovis.generation.sampling import SamplingSettings
from tasks.braindive import MANIFEST
from tasks.braindive_drive import GuideSettings, drive_region
from tasks.braindive_drive_report import (
    _contact_sheet,
    _load,
    finish_drive,
    write_drive_report,
)
from tasks.picture_gradients import load_gradient_encoder
from tasks.reports import finish_run
from tasks.runs import begin_run
from tests.generation.toy_generators import gaussian_generator
from tests.tasks.drive_examples import (
    NETWORK,
    PIXELS,
    colour_judge,
    colour_trials,
    fit_colours,
)

SEEDS = tuple(range(8))


def drive(out, encoder, *, scale=0.4, seeds=SEEDS, trained=True, **options):
    made = gaussian_generator(
        0.0, 0.4, shape=(3, 8, 8), size_px=(8, 8), trained=trained, fingerprint="toy"
    )
    drive_region(
        made,
        encoder,
        out,
        region="red",
        seeds=seeds,
        guide=GuideSettings(scale=scale, scale_kind="relative"),
        sampling=SamplingSettings(3, "ddim"),
        n_bootstrap=50,
        **options,
    )
    return out


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    home = tmp_path_factory.mktemp("encoders")
    guide = fit_colours(home / "guide", f"{PIXELS}:pixels:grid16")
    other = fit_colours(home / "other", f"{NETWORK}:stage1:grid2", subject="s2", seed=1)
    return [load_gradient_encoder(folder) for folder in (guide, other)]


@pytest.fixture(scope="module")
def full(encoders, tmp_path_factory):
    """A run with held-out brain and judge, and what is told of it."""
    guide, heldout = encoders
    options = {"heldout": heldout, "judge": colour_judge(), "category": "red"}
    out = drive(tmp_path_factory.mktemp("full") / "run", guide, **options)
    return out, finish_drive(out)


@pytest.fixture(scope="module")
def alone(encoders, tmp_path_factory):
    """A run that nobody but the guide looked at."""
    out = tmp_path_factory.mktemp("alone") / "run"
    drive(out, encoders[0], trained=False, against="blue", ratio=0.5)
    return out, finish_drive(out)


@pytest.fixture
def copy(full, tmp_path):
    return shutil.copytree(full[0], tmp_path / "run")


def text_of(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    page = re.sub(r'src="data:[^"]*"', "", page)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def titles_of(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    found = re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.S)
    return [re.sub(r"<[^>]+>", "", title).strip() for title in found]


def number(value):
    text = f"{value:.2f}"
    text = text if float(text) else text.lstrip("-")
    return text.replace("-", "−")


def test_the_report_asks_and_answers(full):
    out, told = full
    assert titles_of(out) == [
        "The question",
        "What the data allow to say",
        "Guided and unguided images",
        "What the judge sees",
        "Pictures",
        "Settings",
        "Sources",
        "Provenance",
    ]
    text = text_of(out)
    assert "Does guiding toy by the gradient of s1 control:pixels" in text
    assert "make images that drive red?" in text
    assert f"s2 {NETWORK} stage1:grid2, the encoder of another brain, looks" in text
    assert "colours, a judge that does not guide, says whether it sees 'red'" in text
    assert "8 guided and 8 unguided images" in text
    assert "arXiv:2306.03089" in text
    notes = read_json(out / "provenance.json")["notes"]
    assert told[: len(notes)] == notes
    for note in notes:
        assert text.index(note) < text.index("The question")
    assert told[-1] == f"report {out / 'report.html'}"
    assert {path.stem for path in (out / "figures").iterdir()} == {
        *("conditions", "labels", "pictures")
    }


def test_numbers_are_those_of_the_table(full):
    out, told = full
    text, table = text_of(out), read_table(out / "scores.parquet")
    table = table[(table["region"] == "red") & table["value"].notna()]
    for metric in ("heldout_activation", "judge_accuracy", "guide_activation"):
        own = table[table["metric"].str.startswith(metric)]
        assert len(own) == 4  # three sets of images, and a difference
        for row in own.to_dict("records"):
            if np.isnan(row["ci_low"]):
                continue
            values = [number(row[key]) for key in ("value", "ci_low", "ci_high")]
            assert "{} [{}, {}]".format(*values) in text
    (line,) = [line for line in told if line.startswith("Held-out encoder (spikes/s)")]
    assert "guided images are above unguided ones" in line
    assert line.endswith(", p = 0.008, 8 pairs.")


def test_real_pictures_are_shown_with_what_was_measured(encoders, tmp_path):
    options = {"heldout": encoders[1], "judge": colour_judge(), "category": "red"}
    out = drive(
        tmp_path,
        encoders[0],
        measured=colour_trials(),
        n_real=3,
        seeds=[1, 2],
        **options,
    )
    told = finish_drive(out)
    assert titles_of(out)[4:6] == ["Pictures", "Real pictures"]
    text, table = text_of(out), read_table(out / "scores.parquet")
    table = table[(table["region"] == "red") & table["model"].str.startswith("real")]
    assert set(table["model"]) == {"real, random", "real, best measured"}
    metrics = ("heldout_activation", "guide_activation", "measured_activation")
    for row in table[table["metric"].isin(metrics)].to_dict("records"):
        values = [number(row[key]) for key in ("value", "ci_low", "ci_high")]
        assert "{} [{}, {}]".format(*values) in text
    (line,) = [line for line in told if line.startswith("Measured (spikes/s): ")]
    assert "the best real pictures are " in line
    lines = [line for line in told if "the best real pictures, " in line]
    assert [line.split(" (")[0].split(":")[0] for line in lines] == [
        *("Held-out encoder", "Judge", "Guide")
    ]
    assert (out / "figures" / "real_pictures.png").is_file()
    again = (out / "report.html").read_bytes()
    (out / "real_pictures.csv").unlink()
    with pytest.raises(FileNotFoundError, match="real pictures"):
        write_drive_report(out)
    assert (out / "report.html").read_bytes() == again


@pytest.mark.usefixtures("undrawn_figures")
def test_suppression_is_told_as_a_decrease(encoders, tmp_path):
    out = drive(tmp_path, encoders[0], scale=-0.4, heldout=encoders[1])
    told = finish_drive(out)
    (line,) = [line for line in told if line.startswith("Held-out encoder (")]
    assert "guided images are below unguided ones" in line
    assert "What the judge sees" not in titles_of(out)


@pytest.mark.usefixtures("undrawn_figures")
def test_no_strength_is_told_as_no_difference(encoders, tmp_path):
    out = drive(tmp_path, encoders[0], scale=0.0)
    told = finish_drive(out)
    (line,) = [line for line in told if line.startswith("Guide (")]
    assert "are not told apart from unguided ones" in line
    assert "difference 0.00 [0.00, 0.00], p = –" in line


def test_what_only_the_guide_saw_is_told_as_no_evidence(alone):
    out, told = alone
    text = text_of(out)
    assert "Images that drive red minus 0.5 times blue" in text
    assert "nobody else looked at the images, so that the question stays open" in text
    assert any("no evidence" in line for line in told)
    assert sum(line.startswith(("Held-out", "Judge")) for line in told) == 0
    assert "because there is no held-out encoder: the best are those that please" in (
        text
    )
    assert "What the judge sees" not in titles_of(out)


def test_untrained_parts_are_told_in_every_caption(full, alone):
    for out, n_figures, n_tables in ((full[0], 3, 3), (alone[0], 2, 3)):
        page = (out / "report.html").read_text(encoding="utf-8")
        captions = re.findall(r"<figcaption.*?</figcaption>", page, re.S)
        captions += re.findall(r'<div class="caption".*?</div>', page, re.S)
        assert len(captions) == n_figures + n_tables
        marked = ["toy; with untrained networks" in caption for caption in captions]
        assert sum(marked) == len(captions) - 1  # that of the settings


@pytest.mark.parametrize("who", ["full", "alone"])
def test_the_sheet_shows_best_and_worst_by_the_best_witness(who, request):
    out, _ = request.getfixturevalue(who)
    run = _load(out)
    _, item = _contact_sheet(run)
    column = "heldout_activation" if who == "full" else "guide_activation"
    looks = read_table(out / "looks.parquet")
    guided = looks[looks["condition"] == "guided"].sort_values(column)
    unguided = looks[looks["condition"] == "unguided"].set_index("seed")
    [axes] = item.figure.axes
    texts = [text.get_text() for text in axes.texts]
    expected = []
    for part in (guided[::-1][:6], guided[:6]):
        for rows in (part, unguided.loc[part["seed"]]):
            expected += [
                f"{number(value)} {label}".strip()
                for value, label in zip(rows[column], rows["judge_label"], strict=True)
            ]
    assert texts == expected
    assert len(axes.images) == 24


def test_one_image_each_has_a_report(encoders, tmp_path):
    out = drive(tmp_path, encoders[0], seeds=[3], heldout=encoders[1])
    told = finish_drive(out)
    assert "A single pair of images allows no comparison." in told


def test_the_one_door_to_reports_writes_the_same_bytes(full, copy):
    assert finish_run(copy)[-1] == f"report {copy / 'report.html'}"
    again = (copy / "report.html").read_bytes()
    assert again == (full[0] / "report.html").read_bytes()


def test_unfinished_and_damaged_runs_are_told(copy, tmp_path):
    begin_run(tmp_path / "new", {"task": "braindive-drive"})
    with pytest.raises(FileNotFoundError, match="`neurovis generate braindive --out"):
        finish_run(tmp_path / "new")
    manifest = read_table(copy / MANIFEST)
    write_table(copy / MANIFEST, manifest[manifest["condition"] == "guided"])
    with pytest.raises(DataCorruptError, match=r"manifest\.csv lacks images"):
        write_drive_report(copy)
    write_table(copy / MANIFEST, manifest)
    (copy / manifest["file"].iloc[-1]).write_bytes(b"no image")
    with pytest.raises(DataCorruptError, match="is not the image of the manifest"):
        write_drive_report(copy)
    (copy / "labels.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="labels"):
        write_drive_report(copy)
    values = read_json(copy / "provenance.json")
    values["call"]["task"] = "braindive"
    write_json(copy / "provenance.json", values)
    with pytest.raises(ValueError, match=r"task of .* must be"):
        write_drive_report(copy)
