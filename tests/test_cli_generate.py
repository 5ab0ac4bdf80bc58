"""Commands of images that drive a brain, as users call them."""

import json
import re
import sys

import numpy as np
import pytest

from neurovis.cli import main
from neurovis.cli_generate import ClipPrecision, ClipRecipe, Kind, ModelPrecision
from neurovis.cli_generate import Sampler as SamplerOption
from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import read_image, write_png
from neurovis.generation.sampling import SAMPLERS
from tasks.clip_encoder_recipe import PRECISIONS, RECIPES, ClipEncoderRecipe
from tasks.encoding_run import load_encoding, model_folder
from tasks.picture_gradients import load_gradient_encoder
from tests.undrawn import figures_not_drawn

# The tests of each report draw its figures.
pytestmark = pytest.mark.usefixtures("undrawn_figures")

NETWORK, LAYER = "compact_vgg@seeded:3/8", "stage3:gap"

GUIDED = (
    *("encoder", "region", "generator", "against", "ratio", "images", "first-seed"),
    *("scale", "relative", "start", "stop", "copies", "shift", "noise"),
    *("fixed-noise", "steps", "sampler", "self-attention", "precision"),
    *("save-memory", "download", "weights", "heldout", "judge", "category"),
    *("real", "real-images", "store", "batch-size", "bootstrap", "out", "device"),
)
OPTIONS = {
    "generate braindive": GUIDED,
    "generate pairs": ("first", "second", "trials", "question", "out", "seed"),
    "run braindive": (
        *("generator", "images", "controls", "scale", "scales", "steps", "sampler"),
        *("batch-size", "bootstrap", "out", "seed", "device"),
    ),
    "train generator": ("kind", "pictures", "epochs", "out", "seed", "device"),
    "fit clip-encoder": (
        *("data", "backbone", "layer", "recipe", "epochs", "learning-rate"),
        *("batch-size", "weight-decay", "no-augment", "precision", "resize"),
        *("subject", "regions", "min-ncsnr", "test", "store", "permutations"),
        *("bootstrap", "out", "seed", "device"),
    ),
}


def call(*words, capsys):
    """Run the command line in this process; return exit code, output and errors."""
    old, sys.argv = sys.argv, ["neurovis", *map(str, words)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = old
    told = capsys.readouterr()
    return code or 0, told.out, told.err


def one_error(told, message, code=1):
    found, output, errors = told
    assert (found, output) == (code, ""), errors
    line = errors.splitlines()[-1]
    assert line.lower().startswith("error: ")
    assert re.search(message, line), errors
    others = errors.splitlines()[:-1]
    assert all(e.startswith(("Usage:", "Try ")) for e in others if e), errors


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Simulated fMRI of one subject."""
    folder = tmp_path_factory.mktemp("data") / "nsd"
    words = [
        *("neurovis", "data", "simulate", "nsd", "--out", str(folder)),
        *("--subjects", "1", "--sessions", "1", "--shape", "9,11,9"),
        *("--vertices", "162", "--picture-px", "32", "--seed", "3"),
    ]
    old, sys.argv = sys.argv, words
    try:
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
    finally:
        sys.argv = old
    return folder


def fit_words(tree, out, *more):
    return (
        *("fit", "clip-encoder", "--data", f"nsd:{tree}", "--backbone", NETWORK),
        *("--layer", LAYER, "--no-augment", "--permutations", "19"),
        *("--bootstrap", "20", "--device", "cpu", "--out", out, *more),
    )


@pytest.fixture(scope="module")
def fitted(tree, tmp_path_factory):
    """An encoder of embeddings, fitted on the command line, and what that printed."""
    out = tmp_path_factory.mktemp("fit") / "run"
    words = fit_words(tree, out, "--epochs", "6", "--learning-rate", "0.03")
    with pytest.MonkeyPatch.context() as patch, figures_not_drawn():
        told = []
        patch.setattr("neurovis.cli_run.say", told.append)
        patch.setattr(sys, "argv", ["neurovis", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code
    return out, told


def encoder_of(out):
    return model_folder(out, "subj01", NETWORK, LAYER)


# ------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", OPTIONS)
def test_help_has_a_word_on_every_option(command, capsys):
    code, output, errors = call(*command.split(), "--help", capsys=capsys)
    assert (code, errors) == (0, "")
    assert f"neurovis {command} [OPTIONS]" in output.splitlines()[0]
    options = re.findall(r"^  --\S+.*(?:\n {6,}.*)*", output, re.MULTILINE)
    names = [option.split()[0].removeprefix("--") for option in options[:-1]]
    assert names == list(OPTIONS[command])
    for option in options:
        assert len(re.split(r"\s{2,}", option.strip(), maxsplit=1)) == 2, option


def test_the_verb_names_its_commands(capsys):
    code, output, _ = call("generate", "--help", capsys=capsys)
    assert code == 0
    found = re.findall(r"^  ([\w-]+)  ", output.split("Commands:")[1], re.MULTILINE)
    assert "braindive" in found


def test_choices_are_those_of_the_library():
    assert set(SamplerOption) == set(SAMPLERS)
    assert tuple(ClipRecipe) == RECIPES
    assert tuple(ClipPrecision) == PRECISIONS
    assert tuple(Kind) == ("latent", "pixel")
    assert set(ModelPrecision) == {"auto", "float32", "float16", "bfloat16"}


def test_help_tells_the_defaults_of_the_recipe(capsys):
    flat = " ".join(call("fit", "clip-encoder", "--help", capsys=capsys)[1].split())
    recipe = ClipEncoderRecipe()
    assert f"[{recipe.epochs}]" in flat
    assert f"[{recipe.learning_rate:.4f}]" in flat
    assert f"[{recipe.batch_size}, brainscuba: 32]" in flat
    assert f"[{recipe.weight_decay}, brainscuba: 0.015]" in flat


# --------------------------------------------------------------- fit clip-encoder


def test_an_encoder_is_fitted_told_and_reported(fitted, capsys):
    out, told = fitted
    assert told[0] == "mean r over units (95 % interval over held-out pictures)"
    assert re.search(r"subj01, simulated  compact_vgg\S* \(untrained\) stage3", told[1])
    assert told[-1] == f"report {out / 'report.html'}"
    assert (encoder_of(out) / "clip_encoder.json").is_file()
    code, again, errors = call("report", out, capsys=capsys)
    assert (code, errors) == (0, "")
    assert again.splitlines() == told
    recipe = read_json(out / "run.json")["recipe"]
    assert recipe["name"] == "braindive, changed"
    assert (recipe["epochs"], recipe["learning_rate"]) == (6, 0.03)
    assert (recipe["gain"], recipe["shift_px"], recipe["noise_sd"]) == (0, 0, 0)
    assert (recipe["batch_size"], recipe["weight_decay"]) == (64, 0.02)


def test_options_reach_the_fit(tree, tmp_path, capsys, monkeypatch):
    # A network of its own would take long.
    seen = {}

    def fit(data, backbone, out, **options):
        seen.update(options, data=data, backbone=backbone)

    monkeypatch.setattr("tasks.clip_encoder.fit_clip_encoder", fit)
    monkeypatch.setattr("neurovis.cli_generate.finish", lambda out: None)
    words = ["fit", "clip-encoder", "--data", f"nsd:{tree}", "--recipe", "brainscuba"]
    assert call(*words, capsys=capsys) == (0, "", "")
    assert seen["recipe"] == ClipEncoderRecipe(
        batch_size=32, weight_decay=0.015, name="brainscuba"
    )
    assert seen["backbone"] == "timm:vit_base_patch16_clip_224.laion2b"
    words += ["--batch-size", 8, "--weight-decay", 0.1, "--precision", "autocast"]
    words += ["--resize", "squash", "--min-ncsnr", 0.2, "--regions", "V1,early"]
    words += ["--subject", "1", "--test", "folds-2", "--seed", 4]
    assert call(*words, capsys=capsys) == (0, "", "")
    assert seen["recipe"] == ClipEncoderRecipe(
        batch_size=8,
        weight_decay=0.1,
        precision="autocast",
        name="brainscuba, changed",
    )
    expected = {"resize": "squash", "min_ncsnr": 0.2, "regions": ["V1", "early"]}
    expected |= {"subjects": [1], "test": "folds-2", "seed": 4}
    assert {name: seen[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--epochs", 0), "`epochs` must be"),
        (("--learning-rate", -1), "`learning_rate` must be"),
        (("--batch-size", 0), "`batch_size` must be"),
        (("--weight-decay", -1), "`weight_decay` must be"),
        (("--layer", "stage9:gap"), "stage9"),
        (("--backbone", "compact_vg"), "'compact_vgg'.*; got 'compact_vg:stage3"),
        (("--regions", "V9"), "There is no region 'V9'"),
        (("--data", "nsd"), "must be NAME:PATH"),
        (("--device", "tpu"), "device"),
    ],
)
def test_wrong_options_of_a_fit_give_one_line(tree, tmp_path, capsys, words, message):
    out = tmp_path / "out"
    one_error(call(*fit_words(tree, out, *words), capsys=capsys), message)
    assert not out.exists()


# ------------------------------------------------------------- generate braindive


def drive_words(fitted, out, *more):
    return (
        *("generate", "braindive", "--encoder", encoder_of(fitted[0])),
        *("--region", "early", "--generator", "sketch:seeded:pixel:0"),
        *("--images", "2", "--steps", "2", "--scale", "1", "--relative"),
        *("--sampler", "ddim", "--bootstrap", "20", "--device", "cpu"),
        *("--out", out, *more),
    )


def test_images_are_generated_told_and_resumed(fitted, tmp_path, capsys):
    out = tmp_path / "out"
    words = drive_words(fitted, out, "--first-seed", "5", "--stop", "0.9")
    code, output, errors = call(*words, capsys=capsys)
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert any("untrained weights" in line for line in lines)
    assert any(line.startswith("Guide") for line in lines)
    assert lines[-1] == f"report {out / 'report.html'}"
    looks = read_table(out / "looks.parquet")
    assert looks["seed"].tolist() == [5, 6, 5, 6]
    assert read_image(out / looks["file"][3]).shape == (32, 32, 3)
    sampling = read_json(out / "run.json")["sampling"]
    assert sampling == {"n_steps": 2, "sampler": "ddim", "self_attention": 0.0}
    guide = read_json(out / "run.json")["guide"]
    assert (guide["scale"], guide["scale_kind"], guide["stop"]) == (1, "relative", 0.9)
    images = {path: path.stat().st_mtime_ns for path in out.rglob("images/*/*.png")}
    assert len(images) == 4
    assert call(*words, capsys=capsys) == (0, output, "")
    assert {path: path.stat().st_mtime_ns for path in images} == images
    assert call("report", out, capsys=capsys) == (0, output, "")


def test_real_pictures_and_pairs_for_people(fitted, tree, tmp_path, capsys):
    out = tmp_path / "out"
    words = (
        "--real",
        f"nsd:{tree}",
        "--real-images",
        "2",
        "--store",
        tmp_path / "kept",
    )
    code, output, errors = call(*drive_words(fitted, out, *words), capsys=capsys)
    assert (code, errors) == (0, "")
    measured = [line for line in output.splitlines() if line.startswith("Measured (")]
    assert len(measured) == 1
    real = read_table(out / "real_pictures.csv")
    rows = load_encoding(fitted[0]).rows("subj01")
    assert set(real["stimulus_id"]) <= set(rows["stimulus_id"])
    assert (tmp_path / "kept").is_dir()

    told = call("generate", "pairs", out, "--seed", "3", capsys=capsys)
    home = out / "pairs"
    assert told == (
        0,
        "2 trials, 2 pairs; guided left in 1\n"
        f"for the experiment {home / 'pairs.csv'}\nkey {home / 'pairs_key.csv'}\n",
        "",
    )
    words = ("--first", "guided", "--second", "real-best", "--trials", "4")
    words += ("--question", "Which is real?", "--out", tmp_path / "real")
    code, output, _ = call("generate", "pairs", out, *words, capsys=capsys)
    assert (code, output.splitlines()[0]) == (
        0,
        "4 trials, 2 pairs; guided left in 2",
    )
    key = read_table(tmp_path / "real" / "pairs_key.csv")
    assert (key["question"] == "Which is real?").all()
    assert (key["second_condition"] == "real-best").all()
    message = "`second` must be one of .*'real-best'; got 'reel-best'.*Did you mean"
    words = ("generate", "pairs", out, "--second", "reel-best")
    one_error(call(*words, capsys=capsys), message)


def test_a_judge_of_texts_looks_at_the_images(fitted, tmp_path, capsys):
    open_clip = pytest.importorskip("open_clip")
    tower = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16}
    text = {"context_length": 8, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 8, "vision_cfg": {**tower, "head_width": 8}}
    path = tmp_path / "tiny-judge-of-commands.json"
    path.write_text(json.dumps(config | {"text_cfg": text}))
    open_clip.add_model_config(path)
    out = tmp_path / "out"
    judge = ("--judge", "open_clip:tiny-judge-of-commands@seeded:0")
    words = drive_words(fitted, out, *judge, "--category", "face")
    code, output, errors = call(*words, capsys=capsys)
    assert (code, errors) == (0, "")
    told = "judge open_clip:tiny-judge-of-commands: untrained weights"
    assert told in output.splitlines()
    assert any(line.startswith("Judge: ") for line in output.splitlines())
    labels = read_table(out / "labels.parquet")
    assert labels["label"].tolist() == ["face", "place", "body", "word", "food"] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--region", "erly"), "no region 'erly'.*Did you mean 'early'"),
        (("--against", "erly"), "Did you mean 'early'"),
        (("--images", "0"), "at least one"),
        (("--steps", "0"), "`n_steps` must be"),
        (("--start", "1"), "`start` must be below `stop`"),
        (("--generator", "sketch:latnt"), "latnt"),
        (("--judge", "open_clip:ViT-B-32"), "`judge` must be open_clip:NAME.TAG@FILE"),
        (("--judge", "timm:test_vit@seeded:0"), "networks read texts"),
        (("--category", "face"), "`category` needs a `judge`"),
        (("--heldout", "nowhere"), "nowhere"),
        (("--real", "algonauts:."), "`real` needs single trials"),
        (("--real", "nsd"), "must be NAME:PATH"),
        (("--device", "tpu"), "device"),
    ],
)
def test_wrong_options_of_guidance_give_one_line(
    fitted, tmp_path, capsys, words, message
):
    out = tmp_path / "out"
    one_error(call(*drive_words(fitted, out, *words), capsys=capsys), message)
    assert not out.exists()


def test_wrong_choices_are_told_with_a_hint(fitted, tmp_path, capsys):
    words = drive_words(fitted, tmp_path, "--sampler", "euler")
    one_error(call(*words, capsys=capsys), "'euler' is not one of", code=2)
    words = fit_words("tree", tmp_path, "--recipe", "braincuba")
    one_error(call(*words, capsys=capsys), "'braincuba' is not one of", code=2)


# ---------------------------------------------------------------------- predict


def test_the_encoder_predicts_pictures(fitted, tmp_path, capsys):
    draw = np.random.default_rng(0)
    pictures = list(draw.integers(0, 256, (3, 40, 40, 3), dtype=np.uint8))
    for number, picture in enumerate(pictures):
        write_png(tmp_path / "pictures" / f"{number}.png", picture)
    home = encoder_of(fitted[0])
    code, output, _ = call(
        *("predict", "--model", home, "--pictures", tmp_path / "pictures"),
        *("--out", tmp_path / "new", "--device", "cpu"),
        capsys=capsys,
    )
    expected = load_gradient_encoder(home).predict(pictures)
    assert code == 0
    assert f"3 pictures, {expected.shape[1]} units" in output
    found = np.load(tmp_path / "new" / "predictions.npy")
    np.testing.assert_array_equal(found, expected)
