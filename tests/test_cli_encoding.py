"""`neurovis fit encoding` and `neurovis predict`, as users call them."""

import sys

import numpy as np
import pytest

from neurovis.cli import main
from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import write_png
from tasks.encoding_run import load_encoding

# The tests of each report draw its figures.
pytestmark = pytest.mark.usefixtures("undrawn_figures")


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


def fit_words(tree, out, features=("control:gabor:low=cycles4:grid4",)):
    return (
        *("fit", "encoding", "--data", f"nsd:{tree}", "--subject", "1"),
        *("--roi", "early", "--permutations", "20", "--bootstrap", "20"),
        *(word for name in features for word in ("--features", name)),
        *("--components", "40", "--device", "cpu", "--out", out),
    )


def test_a_fit_is_told_reported_and_used_for_predictions(tree, tmp_path, capsys):
    features = ("control:colour", "control:gabor:low=cycles4:grid4")
    words = fit_words(tree, tmp_path / "fit", features)
    code, out, err = run(*words, capsys=capsys)
    assert (code, err) == (0, "")
    assert "subj01, simulated  control:gabor low: 0." in out
    assert f"report {tmp_path / 'fit' / 'report.html'}" in out
    tables = load_encoding(tmp_path / "fit")
    assert set(tables.units["model"]) == {"control:colour", "control:gabor"}
    assert (tables.units["streams"] == "early").all()
    assert tables.units["simulated"].all()
    code, again, _ = run("report", tmp_path / "fit", capsys=capsys)
    assert (code, again) == (0, out)
    for i in range(2):
        rng = np.random.default_rng(i)
        picture = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        write_png(tmp_path / "pictures" / f"{i}.png", picture)
    model = tmp_path / "fit" / "models" / "subj01" / "control_gabor" / "low"
    code, out, _ = run(
        *("predict", "--model", model, "--pictures", tmp_path / "pictures"),
        *("--out", tmp_path / "new", "--device", "cpu"),
        capsys=capsys,
    )
    n_units = tables.units["unit_id"].nunique()
    assert code == 0
    assert f"2 pictures, {n_units} units" in out
    assert np.load(tmp_path / "new" / "predictions.npy").shape == (2, n_units)
    names = read_table(tmp_path / "new" / "stimuli.parquet")["stimulus_id"]
    assert names.tolist() == ["0.png", "1.png"]


def test_options_reach_the_fit(tree, tmp_path, capsys):
    words = [*fit_words(tree, tmp_path), "--method", "fractional", "--test", "folds-2"]
    words += ["--cv", "3", "--no-models", "--seed", "4", "--space", "fsaverage"]
    code, _, err = run(*words, "--resize", "squash", capsys=capsys)
    assert (code, err) == (0, "")
    call = read_json(tmp_path / "run.json")
    expected = {"method": "fractional", "test": "folds-2", "cv": 3, "seed": 4}
    expected |= {"keep_models": False, "regions": ["early"], "subjects": ["1"]}
    expected |= {"space": "fsaverage", "n_components": 40}
    assert {name: call[name] for name in expected} == expected
    assert {spec["resize"] for spec in call["features"]} == {"squash"}
    assert not (tmp_path / "models").exists()
    assert list((tmp_path / "maps").rglob("lh.*_r.mgh"))


def test_receptive_fields_are_fitted_with_their_options(tree, tmp_path, capsys):
    words = [word for word in fit_words(tree, tmp_path) if word not in ("40",)]
    words.remove("--components")
    words += ["--method", "fwrf", "--maps", "5", "--sigmas", "2", "--cv", "2"]
    words += ["--smallest-sigma", "0.3", "--alphas", "10,100"]
    code, out, err = run(*words, capsys=capsys)
    assert (code, err) == (0, "")
    assert "control:gabor low: " in out
    call = read_json(tmp_path / "run.json")
    expected = {"method": "fwrf", "n_maps": 5, "n_sigmas": 2, "smallest_sigma": 0.3}
    assert {name: call[name] for name in expected} == expected
    assert call["alphas"] == [10, 100]
    units = load_encoding(tmp_path).units
    assert set(units["rf_sigma"].round(6)) == {0.3, 0.4}
    assert (tmp_path / "figures" / "receptive_fields_control_gabor.png").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--alphas", "1,x"], "`alphas` must be numbers separated by commas"),
        (["--cv", "many"], "`cv` must be one of 'loo', 'gcv'"),
        (["--roi", "V9"], "There is no region 'V9'"),
        (["--features", "control:color"], "color"),
        (["--test", "shared-500"], "or for nsd one of shared, shared-907"),
        (["--data", "nsd"], "must be NAME:PATH"),
        (["--components", "0"], "`n_components` must be within"),
    ],
)
def test_wrong_options_give_one_line(tree, tmp_path, capsys, changes, message):
    words = [*fit_words(tree, tmp_path / "out"), *changes]
    code, out, err = run(*words, capsys=capsys)
    assert code == 1
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
