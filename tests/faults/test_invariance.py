"""Batches, threads, order and interruption: what they must not change."""

import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from neurovis.adapters import feature_stream
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.captioner import load_captioner
from neurovis.adapters.features import extract_features
from neurovis.adapters.image_generators import load_image_generator
from neurovis.adapters.oat import load_oat
from neurovis.cli import app
from neurovis.core.rng import generator
from neurovis.generation.sampling import SamplingSettings
from stimuli.category_pictures import make_category_pictures
from stimuli.search_arrays import make_search_arrays
from stimuli.shelf_displays import make_shelves, shelf_displays
from tasks import bank_build
from tasks.braindive import DriveCondition, generate_images
from tasks.encoding import fit_encoding
from tests.faults.verbs import draw_pictures
from tests.tasks.drive_examples import colour_brain

SIZES = (1, 3, "auto")


def slow(test):
    return pytest.mark.slow(pytest.mark.timeout(900)(test))


def run(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def contents(folder):
    """Bytes of the files of a folder, by name."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def tables(folder):
    """Bytes of the tables of a run, and of where they came from."""
    names = [*folder.glob("*.parquet"), *folder.glob("*.csv"), *folder.glob("*.json")]
    assert len(names) > 1
    return {path.name: path.read_bytes() for path in sorted(names)}


def lose_half(folder):
    """Remove every second finished part, as if a run had been ended half-way."""
    parts = sorted(path for path in folder.iterdir() if path.is_dir())
    assert len(parts) > 1
    for path in parts[::2]:
        shutil.rmtree(path)


def sorted_rows(folder, name, by):
    table = pd.read_parquet(folder / f"{name}.parquet")
    return table.sort_values(by, ignore_index=True)


# ---------------------------------------------------------------- stimuli


def test_conditions_in_another_order_and_alone_have_the_same_pictures(told):
    options = {"set_sizes": [3, 6], "trials": 2, "seed": 5}

    def pixels(stimuli):
        names = stimuli.table["stimulus_id"]
        return {name: stimuli.load(i).tobytes() for i, name in enumerate(names)}

    whole = pixels(make_search_arrays(["cross", "non_cross"], **options))
    back = pixels(make_search_arrays(["non_cross", "cross"], **options))
    alone = pixels(make_search_arrays("cross", **options))
    assert back == whole
    assert alone == {name: whole[name] for name in alone}
    told("displays of conditions in another order, or one alone", "the same pixels")


# ---------------------------------------------------------------- extraction


class Interrupted(list):
    """Pictures whose reading is interrupted, once."""

    def __init__(self, pictures, at):
        super().__init__(pictures)
        self.at = at

    def __getitem__(self, index):
        if index == self.at:
            self.at = None
            raise KeyboardInterrupt
        return super().__getitem__(index)


LAYERS = ["stage2:grid3", "stage5:gap"]


@pytest.fixture(scope="module")
def network():
    return load_backbone("compact_vgg", "seeded:0/8")


@pytest.fixture(scope="module")
def pictures():
    drawn = make_category_pictures(11, size_px=48, seed=2)
    return [drawn.load(i) for i in range(11)]


def test_batches_and_order_change_features_by_rounding(network, pictures, told):
    order = [4, 10, 1, 6, 0, 9, 2, 5, 8, 3, 7]
    whole = extract_features(network, pictures, LAYERS, batch_size=11)
    calls = [(pictures, slice(None), size) for size in SIZES]
    calls.append(([pictures[i] for i in order], order, 11))
    for shown, rows, size in calls:
        found = extract_features(network, shown, LAYERS, batch_size=size)
        for layer in LAYERS:
            scale = np.abs(whole[layer]).max()
            assert np.abs(found[layer] - whole[layer][rows]).max() <= 2e-6 * scale
    told(
        "features of pictures in batches of 1, 3, auto, and in another order",
        "equal up to 2e-6 of the largest value of a layer",
    )


def test_readers_and_an_interruption_change_no_bit_of_features(
    network, pictures, tmp_path, monkeypatch, told
):
    options = {"batch_size": 3, "shard_size": 3}
    whole = extract_features(network, pictures, LAYERS, store=tmp_path / "a", **options)
    for n_readers in (1, 3, 8):
        monkeypatch.setattr(feature_stream, "_n_workers", lambda n=n_readers: n)
        found = extract_features(network, pictures, LAYERS, **options)
        for layer in LAYERS:
            assert np.array_equal(found[layer], whole[layer])
    again = Interrupted(pictures, at=7)
    options["store"] = tmp_path / "b"
    fingerprint = "0" * 64  # or every picture is read before the first is extracted
    with pytest.raises(KeyboardInterrupt):
        extract_features(network, again, LAYERS, fingerprint=fingerprint, **options)
    found = extract_features(network, again, LAYERS, fingerprint=fingerprint, **options)
    for layer in LAYERS:
        assert np.array_equal(found[layer], whole[layer])
    told("features read by 1, 3 or 8 threads", "equal bits")
    told("features, Ctrl-C after half of the pictures, then again", "equal bits")


@slow
def test_readers_shards_and_an_interruption_of_a_bank(
    network, tmp_path, monkeypatch, told
):
    draw_pictures(tmp_path)
    words = ("bank", "build", tmp_path / "many", "--backbone", "sketch_clip")
    words += ("--device", "cpu", "--name", "many", "--shard", 12, "--out")
    run(*words, tmp_path / "whole")
    for n_readers in (1, 8):
        monkeypatch.setattr(bank_build, "_READERS", n_readers)
        run(*words, tmp_path / f"{n_readers}")
        assert contents(tmp_path / f"{n_readers}") == contents(tmp_path / "whole")
    # What an interruption leaves: some shards, and no card.
    half = shutil.copytree(tmp_path / "whole", tmp_path / "half")
    for path in sorted(half.iterdir())[::2]:
        path.unlink() if path.is_file() else shutil.rmtree(path)
    run(*words, half)
    assert contents(half) == contents(tmp_path / "whole")
    told("a bank of pictures read by 1 or 8 threads", "equal bytes")
    told("a bank of which half of the files is gone, built again", "equal bytes")


# ---------------------------------------------------------------- search


@slow
@pytest.mark.usefixtures("undrawn_figures")
def test_order_of_observers_and_an_interruption_of_a_search(tmp_path, told):
    (tmp_path / "few.toml").write_text("n_bootstrap = 9\n")
    words = ("run", "search-asymmetry", "--conditions", "top_down,left_right")
    words += ("--trials", 2, "--weights", "seeded:0/8", "--device", "cpu")
    words += ("--config", tmp_path / "few.toml")
    names = ["ivsn", "saliency", "chance"]
    outs = [tmp_path / name for name in ("whole", "back", "alone")]
    for out, some in zip(outs, (names, names[::-1], names[:1]), strict=True):
        run(*words, "--models", ",".join(some), "--out", out)
    whole, back, alone = outs
    keys = {
        "trials": ["subject", "stimulus_id"],
        "fixations": ["subject", "stimulus_id", "fixation"],
    }
    for name, by in keys.items():
        expected = sorted_rows(whole, name, by)
        pd.testing.assert_frame_equal(sorted_rows(back, name, by), expected)
        own = expected[expected["subject"] == "ivsn"].reset_index(drop=True)
        pd.testing.assert_frame_equal(sorted_rows(alone, name, by), own)
    by = ["subject", "condition", "metric", "experiment"]
    expected = sorted_rows(whole, "scores", by)
    pd.testing.assert_frame_equal(sorted_rows(back, "scores", by), expected)
    told("a search with its models in another order, or one alone", "equal rows")

    before = tables(whole)
    lose_half(whole / "parts")
    run(*words, "--models", ",".join(names), "--out", whole)
    assert tables(whole) == before
    told("a search of which half of the parts is gone, run again", "equal tables")


# ---------------------------------------------------------------- encoding


@slow
def test_order_of_subjects_and_features_and_an_interruption_of_a_fit(tmp_path, told):
    brains = [colour_brain("s1"), colour_brain("s2", seed=1)]
    features = ["control:colour:lab:grid2", "control:pixels:pixels:grid4"]
    call = {"n_permutations": 5, "n_bootstrap": 5, "device": "cpu", "seed": 3}
    fit_encoding(brains, features, tmp_path / "whole", **call)
    fit_encoding(brains[::-1], features[::-1], tmp_path / "back", **call)
    # One subject first; its features are then in the store.
    call["store"] = tmp_path / "store"
    fit_encoding(brains[:1], features, tmp_path / "first", **call)
    fit_encoding(brains, features, tmp_path / "second", **call)
    fit_encoding(brains[:1], features[:1], tmp_path / "alone", **call)
    whole, back, first, second, alone = (
        sorted_rows(tmp_path / name, "units", ["subject", "model", "unit_id"])
        for name in ("whole", "back", "first", "second", "alone")
    )
    pd.testing.assert_frame_equal(back, whole)
    pd.testing.assert_frame_equal(second, whole)
    is_first = whole["subject"] == "s1"
    pd.testing.assert_frame_equal(first, whole[is_first].reset_index(drop=True))
    own = whole[is_first & (whole["model"] == "control:colour")]
    pd.testing.assert_frame_equal(alone, own.reset_index(drop=True))
    told(
        "encoding models with subjects and features in another order, or one alone",
        "equal rows for every unit, chance and intervals too",
    )
    told("one subject, then both with the same store", "the tables of both at once")


# ---------------------------------------------------------------- scanpaths


def test_displays_together_alone_and_backwards_have_the_same_scanpaths(told):
    observer = load_oat(device="cpu")
    shelves = make_shelves(3, rows=(2, 3), cols=(3, 6), targets_per_shelf=2, seed=1)
    displays = shelf_displays(shelves)
    together = observer.sample_displays(displays, 4, seed=5)
    backwards = observer.sample_displays(displays[::-1], 4, seed=5)[::-1]
    alone = [observer.sample(display, 4, seed=5) for display in displays]
    fewer = observer.sample_displays(displays, 2, seed=5)
    for paths, *others, two in zip(together, backwards, alone, fewer, strict=True):
        for other in others:
            for one, another in zip(paths, other, strict=True):
                assert np.array_equal(one, another)
        for one, another in zip(paths[:2], two, strict=True):
            assert np.array_equal(one, another)
    told(
        "scanpaths on displays together, alone, in another order, and fewer of them",
        "the same objects",
    )


@slow
@pytest.mark.usefixtures("undrawn_figures")
def test_order_of_models_and_an_interruption_of_an_object_search(tmp_path, told):
    words = ("run", "object-search", "--data", "simulated", "--splits", 2)
    words += ("--samples", 2, "--device", "cpu")
    names = ["chance_uniform", "unigram_tokens", "oat-small"]
    for out, some in (("whole", names), ("back", names[::-1])):
        extra = ("--models", ",".join(some), "--epochs", 1, "--out", tmp_path / out)
        run(*words, *extra)
    whole, back = tmp_path / "whole", tmp_path / "back"
    for name, by in {
        "trials": ["model", "stimulus_id", "subject"],
        "scores": ["model", "condition", "metric"],
    }.items():
        found, expected = (sorted_rows(f, name, by) for f in (back, whole))
        pd.testing.assert_frame_equal(found, expected)
    told("an object search with its models in another order", "equal rows")
    before = tables(whole)
    lose_half(whole / "parts")
    run(*words, "--models", ",".join(names), "--epochs", 1, "--out", whole)
    assert tables(whole) == before
    told("an object search of which half of the parts is gone", "equal tables")


# ---------------------------------------------------------------- captions


@slow
def test_batches_and_order_change_no_caption(told):
    captioner = load_captioner("sketch")
    shape = (7, captioner.mapper.n_features)
    embeddings = generator(0, "embeddings").standard_normal(shape).astype(np.float32)
    whole = captioner.caption(embeddings, max_tokens=9, batch_size=7)
    exact = ["caption", "n_tokens", "finished"]
    order = [3, 0, 6, 1, 5, 2, 4]
    calls = [(slice(None), size) for size in SIZES] + [(order, 7)]
    for rows, size in calls:
        found = captioner.caption(embeddings[rows], max_tokens=9, batch_size=size)
        expected = whole.iloc[rows].reset_index(drop=True)
        pd.testing.assert_frame_equal(found[exact], expected[exact])
        assert np.abs(found["log_prob"] - expected["log_prob"]).max() <= 1e-5
    told(
        "captions of embeddings in batches of 1, 3, auto, and in another order",
        "the same words; their log-probabilities within 1e-5",
    )


# ---------------------------------------------------------------- generation


@slow
def test_batches_order_and_an_interruption_change_no_byte_of_images(tmp_path, told):
    made = load_image_generator("sketch:seeded:pixel:0")
    settings = SamplingSettings(2, "ddim")

    def images(name, seeds, **options):
        wish = [DriveCondition("unguided", None, seeds)]
        generate_images(made, wish, tmp_path / name, settings=settings, **options)
        return contents(tmp_path / name / "images")

    whole = images("whole", range(5), batch_size=5)
    assert len(whole) == 5
    for size in SIZES:
        assert images(f"{size}", range(5), batch_size=size) == whole
    assert images("back", (4, 3, 2, 1, 0)) == whole
    assert len(images("half", (0, 3))) == 2
    assert images("half", range(5)) == whole
    told(
        "images in batches of 1, 3, auto, and of seeds in another order", "equal bytes"
    )
    told("images of two seeds first, then of all five", "equal bytes")
