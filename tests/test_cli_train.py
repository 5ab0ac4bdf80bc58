"""`neurovis train backbone`, as users call it."""

import re
import sys

import pytest

from neurovis.adapters.compact_vgg import load_compact
from neurovis.cli import main
from neurovis.cli_train import Diet, Objective
from neurovis.core.files import read_json, sha256_file
from neurovis.core.pictures import write_png
from stimuli.category_pictures import make_category_pictures
from stimuli.diets import DIETS
from tasks.backbone_recipe import OBJECTIVES, compact_recipe

# The tests of each report draw its figures.
pytestmark = pytest.mark.usefixtures("undrawn_figures")

WIDTHS = "3,6,12,16,24"
OPTIONS = (
    *("images", "objective", "diet", "teacher", "epochs", "batch-size", "widths"),
    *("precision", "mirror", "name", "licence", "out", "seed", "device"),
)


def call(*words, capsys):
    """Run the command line in this process; return exit code, output and errors."""
    old, sys.argv = sys.argv, ["neurovis", "train", *map(str, words)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = old
    told = capsys.readouterr()
    return code or 0, told.out, told.err


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "drawn"
    drawn = make_category_pictures(8, size_px=64, seed=1)
    for i in range(8):
        write_png(folder / ("sea", "land")[i % 2] / f"{i}.png", drawn.load(i))
    return folder


def small(images, out, *words):
    given = ("--images", images, "--out", out, "--widths", WIDTHS, "--device", "cpu")
    return ("backbone", *given, "--epochs", 1, "--batch-size", 2, *words)


def one_error(told, message, code=1):
    found, output, errors = told
    assert (found, output) == (code, ""), errors
    line = errors.splitlines()[-1]
    assert line.lower().startswith("error: ")
    assert re.search(message, line), errors
    others = errors.splitlines()[:-1]
    assert all(e.startswith(("Usage:", "Try ")) for e in others if e), errors


def test_help_has_a_word_on_every_option(capsys):
    code, output, errors = call("backbone", "--help", capsys=capsys)
    assert (code, errors) == (0, "")
    assert "neurovis train backbone [OPTIONS]" in output.splitlines()[0]
    options = re.findall(r"^  --\S+.*(?:\n {6,}.*)*", output, re.MULTILINE)
    assert [o.split()[0].removeprefix("--") for o in options[:-1]] == list(OPTIONS)
    for option in options:
        assert len(re.split(r"\s{2,}", option.strip(), maxsplit=1)) == 2, option
    flat = "".join(output.split())
    assert f"--objective<{'|'.join(OBJECTIVES)}>" in flat
    assert f"--diet<{'|'.join(DIETS)}>" in flat


def test_choices_are_those_of_the_library():
    assert tuple(objective.value for objective in Objective) == OBJECTIVES
    assert tuple(diet.value for diet in Diet) == DIETS


def test_help_tells_the_defaults_of_the_recipe(capsys):
    flat = " ".join(call("backbone", "--help", capsys=capsys)[1].split())
    recipe = compact_recipe()
    assert f"[{recipe.batch_size}]" in flat
    assert f"[{','.join(map(str, recipe.widths))}]" in flat
    assert f"[{recipe.settings.precision}]" in flat


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_small_network_is_trained_and_told(images, tmp_path, capsys, objective):
    out = tmp_path / "out"
    words = ["--objective", objective, "--seed", 3, "--licence", "CC0"]
    words += ["--diet", "upside-down", "--name", "drawings"]
    if objective == "distil":
        layers = ",".join(f"stage{k}:gap" for k in (3, 4, 5))
        words += ["--teacher", f"compact_vgg@seeded:0/8:{layers}"]
    code, output, errors = call(*small(images, out, *words), capsys=capsys)
    assert code == 0, errors
    first, second = output.splitlines()
    accuracy = "" if objective == "distil" else r", accuracy [01]\.\d{3}"
    assert re.fullmatch(rf"validation: loss \d+\.\d{{3}}{accuracy}", first)
    weights = out / "backbone.safetensors"
    assert second == f"{weights} (0.0 MB)"
    card = read_json(out / "card.json")
    assert card["sha256"] == sha256_file(weights)
    assert card["licence_of_pictures"] == "CC0"
    assert "pictures of drawings" in card["notes"][0]
    call_ = card["provenance"]["call"]
    assert call_["seed"] == 3
    assert call_["recipe"]["batch_size"] == 2
    assert call_["recipe"]["settings"]["max_epochs"] == 1
    assert call_["recipe"]["settings"]["precision"] == "bfloat16"
    about = load_compact(weights).about
    assert about["widths"] == [3, 6, 12, 16, 24]
    assert (about["objective"], about["diet"]) == (objective, "upside-down")


def test_a_whole_recipe_is_named_and_another_is_own(images, tmp_path, capsys):
    words = small(images, tmp_path, "--precision", "float32")
    assert call(*words, capsys=capsys)[0] == 0
    recipe = read_json(tmp_path / "run.json")["recipe"]
    assert recipe["name"] == "own"
    assert recipe["settings"]["precision"] == "float32"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--widths", "3,6"), "`widths` must be five numbers"),
        (("--widths", "3,6,12,16,x"), "`widths` must be five whole numbers such as"),
        (("--widths", "3,6,12,16,-2"), "`widths` must be five whole numbers such as"),
        (("--epochs", 0), "`max_epochs` must be"),
        (("--batch-size", 1), "`batch_size` must be"),
        (("--precision", "float8"), "`precision` must be one of"),
        (("--seed", -1), "`seed` must be"),
        (("--device", "tpu"), "device"),
        (("--objective", "distil"), "`teacher` belongs to the objective 'distil'"),
        (("--teacher", "given:x"), "must be a network with layers"),
        (("--teacher", "compact_vgg:stage5:gap"), "got 'selfsup' with a teacher"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    images, tmp_path, capsys, words, message
):
    out = tmp_path / "out"
    one_error(call(*small(images, out, *words), capsys=capsys), message)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--objective", "both"), "'both' is not one of 'selfsup'"),
        (("--diet", "bread"), "'bread' is not one of 'natural'"),
        (("--epochs", "many"), "'--epochs': Input should be a valid integer"),
    ],
)
def test_wrong_options_are_told_with_a_hint(images, tmp_path, capsys, words, message):
    told = call(*small(images, tmp_path / "out", *words), capsys=capsys)
    one_error(told, message, code=2)


def test_missing_pictures_are_told(tmp_path, capsys):
    absent = tmp_path / "absent"
    one_error(call(*small(absent, tmp_path / "out"), capsys=capsys), "absent")
    one_error(call("backbone", capsys=capsys), "Missing option '--images'", code=2)
    assert list(tmp_path.iterdir()) == []


def test_diets_take_networks_that_were_trained_on_the_command_line(
    images, tmp_path, capsys, monkeypatch
):
    # Name and terms are in the call that a network is known by.
    seen = {}

    def run(*given, **options):
        seen.update(options)

    monkeypatch.setattr("tasks.diet.run_diet", run)
    monkeypatch.setattr("neurovis.cli_train.finish", lambda out: None)
    words = ["run", "diet", "--images", str(images), "--out", str(tmp_path / "out")]
    words += ["--name", "drawn", "--licence", "CC0", "--synthetic"]
    monkeypatch.setattr(sys, "argv", ["neurovis", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code, capsys.readouterr().err
    assert (seen["name"], seen["licence"], seen["synthetic"]) == ("drawn", "CC0", True)
