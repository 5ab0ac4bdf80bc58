"""The report of encoders of embeddings: true to its tables, marked where untrained."""

import html
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from neurovis.core.files import read_json, read_table, write_json
from neurovis.core.unit_responses import UnitResponses
from stimuli.category_pictures import make_category_pictures
from tasks.brain_sources import BrainData
from tasks.clip_encoder import fit_clip_encoder
from tasks.clip_encoder_recipe import ClipEncoderRecipe
from tasks.clip_encoder_report import finish_clip_encoder, write_clip_encoder_report
from tasks.reports import finish_run

NETWORK, LAYER = "compact_vgg@seeded:3/8", "stage3:gap"
CALL = {"n_permutations": 19, "n_bootstrap": 20, "device": "cpu", "layer": LAYER}
RECIPE = ClipEncoderRecipe(
    20, 16, 0.02, gain=0, shift_px=0, noise_sd=0, name="braindive, changed"
)
N = 60


def brain(subject, *, notes=()):
    drawn = make_category_pictures(N, size_px=16)
    pictures = list(drawn.images)
    rng = np.random.default_rng(len(subject))
    level = np.stack(pictures).mean((1, 2)) / 255
    betas = level[:, [0, 1, 2, 0, 1, 2, 0]] + 0.1 * rng.normal(size=(N, 7))
    betas[:, 6] = 1
    units = pd.DataFrame(
        {
            "unit_id": list("abcdefg"),
            "region": ["V1"] * 5 + [""] * 2,
            "noise_ceiling": 0.8,
        }
    )
    responses = UnitResponses(
        "tiny",
        subject,
        betas.astype(np.float32),
        pd.DataFrame({"stimulus_id": [f"p{i:02d}" for i in range(N)], "n_repeats": 3}),
        units,
        families=("region",),
        pictures=pictures,
        notes=notes,
    )
    return BrainData(responses)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A fit with a report, and what is told of it; not to be changed."""
    out = tmp_path_factory.mktemp("clip") / "run"
    fit_clip_encoder([brain("s1")], NETWORK, out, recipe=RECIPE, **CALL)
    return out, finish_clip_encoder(out)


def page_of(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    return re.sub(r'src="data:[^"]*"', "", page)


def text_of(folder):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page_of(folder))))


def test_the_report_tells_how_encoders_were_trained(finished):
    out, _ = finished
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", page_of(out), re.S)
    assert [re.sub(r"<[^>]+>", "", title).strip() for title in titles] == [
        "The question",
        "Scores of regions",
        "Units",
        "Training",
        "Sources",
        "Provenance",
    ]
    text = text_of(out)
    assert "Encoders of embeddings" in text
    assert f"Embedding {LAYER} of {NETWORK} (untrained); subjects: 1; units: 7" in text
    assert "nothing was chosen" in text
    assert "(untrained) says that the network which embeds pictures has random" in text
    assert "simulated" not in text.lower().partition("provenance")[0]
    # Nothing that is not so here: no penalties, no layers that compete.
    assert "cross-validation" not in text
    assert "enalties" not in text
    for line in ("Recipe braindive, changed", "Epochs 20", "Pictures per step 16"):
        assert line in text
    assert "s1 7 6 48 60 12" in text  # 20 epochs of 3 batches
    assert {path.stem for path in (out / "figures").iterdir()} == {
        *("regions", "distribution")
    }


def test_what_is_told_is_in_the_table(finished):
    out, told = finished
    scores = read_table(out / "scores.parquet")
    own = scores[(scores["metric"] == "r_mean") & (scores["model"] == NETWORK)]
    row = own[(own["region"] == "all units") & (own["condition"] != "permuted")]
    row = row[row["condition"] == "held-out pictures"].iloc[0]
    values = [f"{row[key]:.3f}" for key in ("value", "ci_low", "ci_high")]
    expected = "{} [{}, {}]".format(*values).replace("-", "−")
    assert told[0] == "mean r over units (95 % interval over held-out pictures)"
    assert f"{NETWORK} (untrained) {LAYER}: {expected}" in told[1]
    assert expected in text_of(out)
    assert told[-1] == f"report {out / 'report.html'}"
    assert row["value"] > 0.3


def test_simulated_responses_are_marked_and_subjects_stand_side_by_side(tmp_path):
    data = [brain(name, notes=["Simulated responses."]) for name in ("s1", "s22")]
    fit_clip_encoder(data, NETWORK, tmp_path, recipe=RECIPE, **CALL)
    told = finish_run(tmp_path)
    assert [line.split(",")[0].strip() for line in told[1:3]] == ["s1", "s22"]
    assert all(", simulated" in line for line in told[1:3])
    text = text_of(tmp_path)
    assert "Encoders of embeddings: simulated data" in text
    assert text.count("Simulated: ") >= 2
    assert "Bars are means over subjects, dots are subjects" in text


def test_the_one_door_to_reports_writes_the_same_bytes(finished, tmp_path):
    copy = shutil.copytree(finished[0], tmp_path / "run")
    assert finish_run(copy)[-1] == f"report {copy / 'report.html'}"
    again = (copy / "report.html").read_bytes()
    assert again == (finished[0] / "report.html").read_bytes()


def test_unfinished_and_other_fits_are_told(finished, tmp_path):
    copy = shutil.copytree(finished[0], tmp_path / "run")
    (copy / "scores.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="`neurovis fit clip-encoder --out"):
        finish_run(copy)
    other = shutil.copytree(finished[0], tmp_path / "other")
    values = read_json(other / "provenance.json")
    values["call"]["task"] = "encoding"
    write_json(other / "provenance.json", values)
    with pytest.raises(ValueError, match=r"task of .* must be one of 'clip-encoder'"):
        write_clip_encoder_report(other)
