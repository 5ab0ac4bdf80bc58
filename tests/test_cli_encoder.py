"""`neurovis fit brain-encoder`, as users call it."""

import sys

import pytest

from neurovis.cli import main
from neurovis.core.files import read_json
from tasks.encoding_run import load_encoding

# The tests of each report draw its figures.
pytestmark = pytest.mark.usefixtures("undrawn_figures")

FEATURES = "control:gabor:cycles4:grid4"


def run(*words, capsys):
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


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
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


def fit_words(tree, out, features=FEATURES):
    return (
        *("fit", "brain-encoder", "--data", f"nsd:{tree}", "--subject", "1"),
        *("--roi", "early", "--features", features, "--heads", "2"),
        *("--permutations", "9", "--bootstrap", "9", "--device", "cpu"),
        *("--epochs", "2", "--out", out),
    )


def test_a_fit_is_told_and_reported(tree, tmp_path, capsys):
    code, out, err = run(*fit_words(tree, tmp_path / "fit"), capsys=capsys)
    assert (code, err) == (0, "")
    assert "  subj01, simulated  transformer cycles4:grid4: " in out
    assert "  subj01, simulated  ridge cycles4:grid4: " in out
    assert f"report {tmp_path / 'fit' / 'report.html'}" in out
    tables = load_encoding(tmp_path / "fit")
    assert set(tables.units["model"]) == {"transformer", "ridge"}
    assert (tables.units["streams"] == "early").all()
    code, again, err = run("report", tmp_path / "fit", capsys=capsys)
    assert (code, again, err) == (0, out, "")


def test_options_reach_the_fit(tree, tmp_path, capsys):
    words = [
        *fit_words(tree, tmp_path),
        *("--readout", "masks, factorised", "--queries", "hemispheres"),
        *("--core", "rotation", "--width", "6", "--feedforward", "11"),
        *("--dropout", "0.3", "--norm", "last", "--encoder-layers", "1"),
        *("--decoder-layers", "2", "--scale", "none", "--penalty", "0.1,0.2"),
        *("--validation", "0.2", "--batch-size", "8", "--runs", "2"),
        *("--patience", "none", "--learning-rate", "0.002", "--weight-decay", "0.03"),
        *("--clip-norm", "none", "--precision", "float32", "--accumulate", "2"),
        *("--temperature", "7", "--min-ncsnr", "0.01", "--space", "fsaverage"),
        *("--test", "every-4", "--cv", "3", "--no-models", "--seed", "4"),
    ]
    code, _, err = run(*words, capsys=capsys)
    assert (code, err) == (0, "")
    call = read_json(tmp_path / "run.json")
    expected = {
        **{"readouts": ["masks", "factorised"], "together": False, "temperature": 7},
        **{"test": "every-4", "cv": 3, "keep_models": False, "seed": 4},
        **{"n_permutations": 9, "n_bootstrap": 9, "space": "fsaverage"},
        **{"min_ncsnr": "0.01"},
    }
    assert {name: call[name] for name in expected} == expected
    for readout, penalties in (("masks", [0]), ("factorised", [0.1, 0.2])):
        options = call["options"][readout]
        expected = {"queries": "hemispheres", "core": "rotation", "scale": "none"}
        expected |= {"validation": 0.2, "batch_size": 8, "n_runs": 2}
        expected |= {"penalties": penalties}
        assert {name: options[name] for name in expected} == expected
        assert options["changes"] == {
            **{"width": 6, "n_heads": 2, "feedforward": 11, "dropout": 0.3},
            **{"norm_first": False, "n_encoder_layers": 1, "n_decoder_layers": 2},
        }
        expected = {"max_epochs": 2, "patience": None, "learning_rate": 0.002}
        expected |= {"weight_decay": 0.03, "clip_norm": None, "accumulate": 2}
        expected |= {"precision": "float32"}
        assert {name: options["settings"][name] for name in expected} == expected
    assert not (tmp_path / "models").exists()


def test_the_published_recipe_is_that_of_the_paper(tree, tmp_path, capsys):
    words = [*fit_words(tree, tmp_path), "--recipe", "published"]
    code, _, err = run(*words, "--readout", "transformer", capsys=capsys)
    assert (code, err) == (0, "")
    options = read_json(tmp_path / "run.json")["options"]["transformer"]
    assert (options["batch_size"], options["scale"]) == (16, "none")
    assert (options["loss"], options["queries"]) == ("mean", "regions")
    settings = {
        **{"max_epochs": 2},  # told, and before the recipe's 15
        **{"patience": None, "optimiser": "adamw", "learning_rate": 5e-4},
        **{"weight_decay": 1e-4, "clip_norm": 0.1, "monitor": "r"},
    }
    assert {name: options["settings"][name] for name in settings} == settings
    architecture = {"width": None, "feedforward": 1024, "dropout": 0.1}
    architecture |= {"norm_first": True, "n_encoder_layers": 0, "n_decoder_layers": 1}
    config = {**options["config"], **options["changes"]}
    assert {name: config[name] for name in architecture} == architecture
    assert (config["n_heads"], options["config"]["n_heads"]) == (2, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--data", "nsd"], "`data` must be NAME:PATH"),
        (["--data", "simulated:contents"], "Did you mean 'simulated:content'"),
        (["--features", "control:color:a:flat"], "color"),
        (["--features", "control:gabor:cycles5:flat"], "no layer 'cycles5'"),
        (["--features", "control:gabor:cycles4:gap"], "No layer of `features` fits"),
        (["--readout", "transfomer"], "Did you mean 'transformer'"),
        (["--readout", ""], "`readouts` is empty"),
        (["--readout", "ridge,ridge"], "names 'ridge' twice"),
        (["--readout", "vector"], "which reads vectors, such as 'PATH:cls'"),
        (["--query-regions", ","], "`query_regions` is empty"),
        (["--query-regions", "V9"], "There is no region 'V9'"),
        (["--width", "7"], "The width of tokens must be even"),
        (["--heads", "5"], "5 heads (`n_heads`) must divide it; got 64"),
        (["--validation", "0"], "`validation` must be above 0 and below 1"),
        (["--temperature", "-1"], "`temperature` must be within"),
        (["--context", "control:colour:red:gap"], "red"),
        (["--together"], "`together` trains one encoder for several subjects"),
        (["--width", "1"], "`width` must be within"),
        (["--heads", "0"], "`n_heads` must be within"),
        (["--feedforward", "0"], "`feedforward` must be within"),
        (["--dropout", "1"], "`dropout` must be below 1"),
        (["--encoder-layers", "-1"], "`n_encoder_layers` must be within"),
        (["--decoder-layers", "0"], "`n_decoder_layers` must be within"),
        (["--penalty", "1,x"], "`penalty` must be numbers separated by commas"),
        (["--penalty", "-1"], "`penalties` must be within"),
        (["--penalty", ""], "`penalties` is empty"),
        (["--validation", "1.5"], "`validation` must be"),
        (["--batch-size", "0"], "`batch_size` must be within"),
        (["--runs", "0"], "`n_runs` must be within"),
        (["--epochs", "0"], "`max_epochs` must be within"),
        (["--patience", "long"], "`patience` must be a whole number, or none; got"),
        (["--patience", "0"], "`patience` must be within"),
        (["--learning-rate", "0"], "`learning_rate` must be above 0"),
        (["--weight-decay", "-1"], "`weight_decay` must be within"),
        (["--clip-norm", "big"], "`clip_norm` must be a number, or none; got 'big'"),
        (["--clip-norm", "0"], "`clip_norm` must be above 0"),
        (["--accumulate", "0"], "`accumulate` must be within"),
        (["--subject", "9"], "9"),
        (["--roi", "V9"], "There is no region 'V9'"),
        (["--roi", ""], "`roi` is empty"),
        (["--min-ncsnr", "99"], "ncsnr"),
        (["--space", "mni"], "mni"),
        (["--preparation", "b9"], "b9"),
        (["--test", "shared-500"], "or for nsd one of shared, shared-907"),
        (["--cv", "1"], "`cv` must be within"),
        (["--permutations", "-1"], "`n_permutations` must be within"),
        (["--bootstrap", "0"], "`n_bootstrap` must be within"),
        (["--seed", "-1"], "`seed` must be within"),
        (["--device", "gpu"], "`device` must be one of"),
    ],
    ids=lambda words: "".join(words).lstrip("-") if isinstance(words, list) else "",
)
def test_wrong_options_give_one_line(tree, tmp_path, capsys, changes, message):
    out = tmp_path / "out"
    if changes[0] == "--features":  # repeatable
        words = fit_words(tree, out, changes[1])
    else:
        words = (*fit_words(tree, out), *changes)
    code, told, err = run(*words, capsys=capsys)
    assert (code, told) == (1, "")
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    "option",
    ["recipe", "queries", "core", "norm", "scale", "precision"],
)
def test_words_that_are_not_offered_are_refused(tmp_path, capsys, option):
    words = ("fit", "brain-encoder", "--out", tmp_path / "out", f"--{option}", "other")
    code, told, err = run(*words, capsys=capsys)
    assert (code, told) == (2, "")
    assert f"Invalid value for '--{option}'" in err
    assert not (tmp_path / "out").exists()
