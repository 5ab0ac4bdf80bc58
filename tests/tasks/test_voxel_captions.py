"""The verb that captions units, and the one that draws captions: whole runs."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.noun_tagger import NAME
from data_loaders.category_pictures import CategoryPictures
from neurovis.adapters.brainscuba import BASELINES, PROJECTION
from neurovis.adapters.captioner import load_captioner
from neurovis.core.embedding_bank import bank_of, open_bank
from neurovis.core.files import read_json, read_table, sha256_file
from neurovis.generation.sampling import SamplingSettings
from tasks import voxel_captions
from tasks.braindive_observers import to_pixels
from tasks.caption_images import (
    BANK,
    BANK_BEST,
    BEST,
    DRAWN,
    UNPROMPTED,
    CaptionImageSettings,
    draw_captions,
)
from tasks.clip_encoder_model import load_clip_encoder
from tasks.reports import finish_run
from tasks.sketch_captions import CONCEPT_WORDS
from tasks.sketch_training import draw_sketches
from tasks.voxel_captions import CaptionSettings, caption_voxels, choose_units
from tests.tasks.captioned_brain import N_BANK, N_EACH, REGIONS, fit_brain, make_bank

SMALL = CaptionSettings(n_repeats=2, beam=2)
CALL = {"n_permutations": 20, "n_bootstrap": 20, "device": "cpu"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return fit_brain(tmp_path_factory.mktemp("fit"))


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return make_bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture(scope="module")
def done(tmp_path_factory, encoder, bank):
    out = tmp_path_factory.mktemp("captions") / "run"
    score = caption_voxels(encoder, bank, "sketch", out, settings=SMALL, **CALL)
    return out, score


# ------------------------------------------------------------------------ captions


def test_every_unit_has_a_caption_per_repeat_and_baseline(done):
    told = read_table(done[0] / "captions.parquet")
    n = len(REGIONS) * N_EACH
    counts = told.groupby(["condition", "repeat"]).size()
    assert counts.to_dict() == {
        (PROJECTION, 0): n,
        (PROJECTION, 1): n,
        **{(name, 0): n for name in BASELINES},
    }
    assert told["caption"].str.endswith(".").mean() > 0.95
    own = told[told["condition"] == PROJECTION]
    assert own["effective_number"].between(1, N_BANK / 2).all()
    assert told.loc[told["condition"] != PROJECTION, "cosine"].isna().all()


def test_captions_are_those_of_the_projected_weights(done, encoder, bank):
    told = read_table(done[0] / "captions.parquet")
    model, pictures = load_clip_encoder(encoder), open_bank(bank)
    first = told[(told["condition"] == PROJECTION) & (told["repeat"] == 0)]
    rows = np.sort(np.unique(first["nearest"]))
    assert rows.max() < pictures.n_images
    # The first repeat again, in plain numpy.
    parts = voxel_captions.bank_parts(pictures.n_images, 2, seed=0)
    bank_rows = pictures.rows(parts[0]).astype(float)
    length = np.linalg.norm(bank_rows, axis=1)
    unit = model.weight / np.linalg.norm(model.weight, axis=1, keepdims=True)
    logits = 150 * unit.astype(float) @ (bank_rows / length[:, None]).T
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    direction = share @ (bank_rows / length[:, None])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    vectors = ((share @ length)[:, None] * direction).astype(np.float32)
    own = load_captioner("sketch").caption(vectors, beam=2)
    assert first["caption"].tolist() == own["caption"].tolist()
    np.testing.assert_allclose(first["log_prob"], own["log_prob"], atol=1e-3)


def test_regions_are_named_above_chance_and_random_pictures_are_not(done):
    scores = done[1].table
    rate = scores[(scores["metric"] == "naming_rate") & (scores["region"] == "all")]
    rate = rate.set_index("condition")
    assert rate.loc[PROJECTION, "value"] > 0.7
    assert rate.loc[PROJECTION, "p_value"] < 0.1
    assert rate.loc["random image", "ci_low"] < 0.2
    assert (rate["truth"] == "regions").all()


def test_words_of_units_are_shares_of_their_captions(done):
    words = read_table(done[0] / "units.parquet")
    told = read_table(done[0] / "captions.parquet")
    assert len(words) == len(REGIONS) * N_EACH
    own = told[told["condition"] == PROJECTION]
    named = own.assign(
        face=own["caption"].str.contains(r"\b(?:face|portrait|head|woman|man)\b")
    )
    share = named.groupby("unit")["face"].mean()
    np.testing.assert_allclose(words.set_index("unit")["names_face"], share)
    assert words["test_r"].between(-1, 1).all()
    faces = words[words["region"] == "face"]
    assert faces["people_share"].mean() > words["people_share"].mean()


def test_the_run_says_what_is_simulated_and_the_report_is_written(done):
    out, score = done
    assert score.provenance.notes[0].startswith("Simulated responses")
    assert any("statements of models" in note for note in score.provenance.notes)
    lines = finish_run(out)
    assert (out / "report.html").is_file()
    assert lines[-1].startswith("report ")
    readable = pd.read_csv(out / "captions.csv")
    assert readable.columns.tolist() == ["unit_id", PROJECTION, *BASELINES]


def test_an_interrupted_run_goes_on_and_ends_with_equal_tables(
    tmp_path, done, encoder, bank, monkeypatch
):
    out = tmp_path / "run"
    captioner = load_captioner("sketch")
    calls = []
    own = type(captioner).caption

    def stopping(self, *args, **options):
        calls.append(len(args[0]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return own(self, *args, **options)

    monkeypatch.setattr(type(captioner), "caption", stopping)
    with pytest.raises(KeyboardInterrupt):
        caption_voxels(encoder, bank, captioner, out, settings=SMALL, **CALL)
    assert not (out / "captions.parquet").exists()
    calls.clear()
    calls += [0] * 10
    caption_voxels(encoder, bank, captioner, out, settings=SMALL, **CALL)
    assert len(calls) - 10 == 4  # six jobs, two of which were done
    for name in ("captions.parquet", "units.parquet", "nouns.parquet"):
        assert sha256_file(out / name) == sha256_file(done[0] / name)


def test_regions_and_a_least_correlation_choose_units(encoder):
    model = load_clip_encoder(encoder)
    faces = choose_units(model, ["face"], None)
    assert faces.tolist() == np.flatnonzero(model.units["region"] == "face").tolist()
    good = choose_units(model, None, 0.3)
    assert set(good) == set(np.flatnonzero(model.test_r >= 0.3))
    with pytest.raises(ValueError, match="No unit is left"):
        choose_units(model, None, 1.0)
    with pytest.raises(ValueError, match="regions"):
        choose_units(model, ["elsewhere"], None)


def test_another_call_for_the_same_folder_is_refused(done, encoder, bank):
    with pytest.raises(ValueError, match="holds a run with seed=0"):
        caption_voxels(encoder, bank, "sketch", done[0], settings=SMALL, seed=1, **CALL)


def test_a_bank_of_another_network_is_refused_before_a_folder_is_made(
    tmp_path, encoder, bank
):
    other = shutil.copytree(bank, tmp_path / "bank")
    card = read_json(other / "bank.json")
    card["embedding"]["weights_hash"] = "0" * 64
    (other / "bank.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="different networks cannot be mixed"):
        caption_voxels(encoder, other, "sketch", tmp_path / "out", **CALL)
    assert not (tmp_path / "out").exists()


def test_a_localiser_tells_what_the_encoder_prefers(tmp_path, encoder, bank):
    drawn, table = draw_sketches(60, seed=40)
    names = table["category"]
    known = {"stimulus_id": names.index.astype(str), "category": names, "domain": names}
    shown = CategoryPictures("drawings", pd.DataFrame(known), list(to_pixels(drawn)))
    out = tmp_path / "run"
    score = caption_voxels(
        encoder, bank, "sketch", out, settings=SMALL, localiser=shown, **CALL
    )
    words = read_table(out / "units.parquet")
    assert (words["preferred"] == words["region"]).mean() > 0.7
    assert {"d_prime_face", "d_prime_word"} <= set(words)
    rows = score.table[score.table["truth"] == "localiser"]
    rate = rows[(rows["condition"] == PROJECTION) & (rows["region"] == "all")]
    assert rate["value"].item() > 0.7
    assert any("nobody was measured" in note for note in score.provenance.notes)


def test_failed_rows_of_a_bank_are_refused_or_left_out(tmp_path, encoder, bank):
    own = open_bank(bank)
    rows = own.rows(np.arange(own.n_images))
    rows = np.insert(rows, [3, 50], 0, axis=0)
    broken = bank_of(rows, "broken", embedding=own.embedding)
    call = {"settings": CaptionSettings(n_repeats=1, beam=1, baselines=()), **CALL}
    with pytest.raises(ValueError, match="rows 3, 51: images that failed"):
        caption_voxels(encoder, broken, "sketch", tmp_path / "one", **call)
    call["settings"] = replace(call["settings"], drop_failed=True)
    caption_voxels(encoder, broken, "sketch", tmp_path / "two", **call)
    told = read_table(tmp_path / "two" / "captions.parquet")
    assert not set(told["nearest"]) & {3, 51}


def test_a_bank_of_embeddings_of_length_1_is_noted(tmp_path, done, encoder, bank):
    own = open_bank(bank)
    rows = own.rows(np.arange(own.n_images))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    score = caption_voxels(
        encoder,
        bank_of(unit, "unit", embedding=own.embedding),
        "sketch",
        tmp_path,
        settings=CaptionSettings(n_repeats=1, beam=1, baselines=()),
        **CALL,
    )
    assert any("have length 1" in note for note in score.provenance.notes)
    assert not any("have length 1" in note for note in done[1].provenance.notes)


# -------------------------------------------------------------------------- images


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, done, encoder, bank):
    pytest.importorskip("diffusers")
    out = tmp_path_factory.mktemp("images") / "run"
    settings = CaptionImageSettings(2, 4, sampling=SamplingSettings(10, "ddim"))
    score = draw_captions(
        done[0], encoder, "sketch:latent", out, bank=bank, settings=settings,
        n_bootstrap=20, device="cpu",
    )  # fmt: skip
    return out, score


def test_images_of_captions_drive_their_encoder_more_than_images_of_none(drawn):
    out, score = drawn
    wide = score.table.pivot_table(index="region", columns="condition", values="value")
    assert sorted(wide.index) == sorted(REGIONS)
    assert wide[DRAWN].mean() > wide[UNPROMPTED].mean() + 0.2
    assert (wide[BEST] >= wide[DRAWN]).all()
    assert (wide[BANK_BEST] > wide[BANK]).all()
    assert (out / "report.html").is_file() or finish_run(out)


def test_each_image_is_shown_to_each_region(drawn):
    table = read_table(drawn[0] / "drawn.parquet")
    n_images = len(list((drawn[0] / "images").rglob("*.png")))
    assert len(table) == len(REGIONS) * n_images
    assert table["caption"].isna().sum() == 4 * len(REGIONS)


def test_an_encoder_of_another_run_is_refused(tmp_path, done, encoder):
    other = shutil.copytree(encoder, tmp_path / "other")
    card = read_json(other / "clip_encoder.json")
    (other / "clip_encoder.json").write_text(json.dumps(card | {"licence": "another"}))
    with pytest.raises(ValueError, match="`encoder` is not the one"):
        draw_captions(done[0], other, "sketch:latent", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nouns_can_be_told_by_a_tagger(tmp_path, encoder, bank):
    perceptron = pytest.importorskip("nltk.tag.perceptron")
    nouns = [
        "woman",
        "man",
        "person",
        "face",
        "room",
        "street",
        "pizza",
        "cake",
        "hair",
        "shirt",
    ]
    others = {"DT": ["a", "an", "the"], "IN": ["with", "in", "on", "of"], ".": ["."]}
    known = [(word, "NN") for word in nouns]
    known += [(word, tag) for tag, words in others.items() for word in words]
    tagger = perceptron.PerceptronTagger(load=False)
    tagger.train([known] * 5, nr_iter=5)
    home = tmp_path / NAME
    home.mkdir()
    parts = {
        "weights": tagger.model.weights,
        "tagdict": tagger.tagdict,
        "classes": sorted(tagger.classes),
    }
    for part, content in parts.items():
        (home / f"{NAME}.{part}.json").write_text(json.dumps(content))
    settings = CaptionSettings(n_repeats=1, beam=1, baselines=())
    call = {"settings": settings, **CALL}
    out = tmp_path / "out"
    caption_voxels(encoder, bank, "sketch", out, tagger=home, **call)
    nouns = read_table(out / "nouns.parquet")
    assert set(nouns["noun"]) - {w for own in CONCEPT_WORDS.values() for w in own}
