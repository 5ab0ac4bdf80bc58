"""`neurovis stimuli foveate` and `neurovis run foveation`, as users call them."""

import re
import sys

import numpy as np
import pandas as pd
import pytest

from neurovis.cli import main
from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import read_image, write_png
from neurovis.foveation.transforms import TRANSFORMS
from stimuli.category_pictures import make_category_pictures
from tasks.foveation_stimuli import EXPERIMENTS
from tasks.foveation_systems import SYSTEMS

# The tests of each report draw its figures.
pytestmark = pytest.mark.usefixtures("undrawn_figures")


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


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    drawn = make_category_pictures(3, size_px=64, seed=1)
    for i in range(3):
        write_png(folder / f"{i}.png", drawn.load(i))
    return folder


def foveate(source, out, *words):
    return ("stimuli", "foveate", source, "--out", out, "--device", "cpu", *words)


def one_error(told, message):
    code, output, errors = told
    assert (code, output) == (1, ""), errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    assert re.search(message, errors), errors


# ------------------------------------------------------------------------- help


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("stimuli", "foveate"), TRANSFORMS),
        (("run", "foveation"), (*SYSTEMS, *EXPERIMENTS)),
    ],
    ids=["foveate", "foveation"],
)
def test_help_names_what_there_is_and_has_a_word_on_every_option(words, named, capsys):
    code, output, errors = call(*words, "--help", capsys=capsys)
    assert (code, errors) == (0, "")
    # Lines are broken at hyphens too.
    flat = re.sub(r"\s+", "", output)
    for name in named:
        assert name in flat, name
    options = re.findall(r"^  --\S+.*(?:\n {6,}.*)*", output, re.MULTILINE)
    assert len(options) > 10
    for option in options:
        assert len(re.split(r"\s{2,}", option.strip(), maxsplit=1)) == 2, option
    group = call(words[0], "--help", capsys=capsys)[1]
    assert re.search(rf"^  {words[1]} ", group, re.MULTILINE)


# ---------------------------------------------------------------------- pictures


def test_a_folder_is_foveated_and_told(source, tmp_path, capsys):
    words = foveate(source, tmp_path / "out", "--fixation", "20, 30")
    code, output, errors = call(*words, capsys=capsys)
    assert (code, errors) == (0, "")
    assert "span 26 degrees" in output
    assert f"3 pictures in {tmp_path / 'out'}" in output
    table = pd.read_csv(tmp_path / "out" / "pictures.csv")
    assert table["transform"].tolist() == ["texture"] * 3
    assert table[["x_px", "y_px"]].to_numpy().tolist() == [[20, 30]] * 3
    shown, seen = (read_image(f / "1.png") for f in (source, tmp_path / "out/pictures"))
    assert np.array_equal(shown[28:32, 18:22], seen[28:32, 18:22])
    assert not np.array_equal(shown, seen)
    assert call(*words, capsys=capsys) == (0, output, "")


def test_options_reach_the_transform(source, tmp_path, capsys):
    words = ["--px-per-deg", "4", "--fovea-deg", "1.5", "--scale", "0.6"]
    words += ["--quality", "fine", "--strength", "0.5", "--size-px", "40"]
    words += ["--seed", "7", "--batch-size", "2"]
    code, _, errors = call(*foveate(source, tmp_path, *words), capsys=capsys)
    assert (code, errors) == (0, "")
    found = read_json(tmp_path / "run.json")
    expected = {"px_per_deg": 4, "fovea_deg": 1.5, "scale": 0.6, "quality": "fine",
                "strength": 0.5, "size_px": 40, "seed": 7}  # fmt: skip
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("blur", "name"), [("uniform-blur", "sigma_px"), ("foveated-blur", "factor")]
)
def test_a_blur_without_its_width_is_matched_to_the_texture(
    source, tmp_path, capsys, blur, name
):
    words = foveate(source, tmp_path, "--transform", blur, "--px-per-deg", "2.5")
    code, output, errors = call(*words, capsys=capsys)
    assert (code, errors) == (0, "")
    found = re.search(
        rf"^{name} (\S+): mean SSIM (\S+), that of the texture (\S+), on 3 pictures$",
        output,
        re.MULTILINE,
    )
    assert float(found[2]) == pytest.approx(float(found[3]), abs=2e-3)
    width = read_json(tmp_path / "run.json")[name]
    assert width == pytest.approx(float(found[1]), rel=1e-3)
    option = "--" + name.replace("_", "-")
    given = foveate(source, tmp_path, "--transform", blur, "--px-per-deg", "2.5",
                    option, width)  # fmt: skip
    code, again, errors = call(*given, capsys=capsys)
    assert (code, errors) == (0, "")
    assert "SSIM" not in again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fixation", "left"], "`fixation` must be two numbers, x,y in pixels"),
        (["--fixation", "1,2,3"], "`fixation` must be two numbers"),
        (["--fixation", "nan,2"], r"`fixation_px` must be \(x, y\)"),
        (["--fixation", "65,2"], r"0\.png: `fixation_px` must lie within"),
        (["--fixations", "absent.csv"], r"absent\.csv"),
        (["--scale", "-1"], "`scale` must be within"),
        (["--strength", "2"], "`strength` must be within"),
        (["--px-per-deg", "0"], "`px_per_deg` must be within"),
        (["--size-px", "4"], "`size_px` must be within"),
        (["--seed", "-1"], "`seed` must be"),
        (["--device", "abacus"], "`device` must be one of"),
        (["--transform", "style-codec"], "needs `codec`"),
        (["--transform", "style-codec", "--encoder", "a", "--decoder", "b"], "'a'|a"),
        (["--transform", "uniform-blur", "--sigma-px", "-2"], "`sigma_px` must be"),
    ],
    ids=" ".join,
)
def test_wrong_words_give_one_line(source, tmp_path, capsys, words, message):
    out = tmp_path / "out"
    one_error(call(*foveate(source, out, *words), capsys=capsys), message)
    assert not out.exists()


def test_missing_and_damaged_pictures_give_one_line(tmp_path, capsys):
    out = tmp_path / "out"
    one_error(call(*foveate(tmp_path / "no", out), capsys=capsys), "no")
    (tmp_path / "some").mkdir()
    one_error(call(*foveate(tmp_path / "some", out), capsys=capsys), "no picture")
    (tmp_path / "some" / "1.png").write_text("text")
    one_error(call(*foveate(tmp_path / "some", out), capsys=capsys), r"1\.png")
    assert not out.exists()


# ------------------------------------------------------------------- comparisons

TINY = (
    *("--architecture", "timm:resnet10t", "--recipe", "compact", "--epochs", "1"),
    *("--architecture-options", '{"channels": [8, 8, 8, 8], "stem_type": ""}'),
    *("--runs", "1", "--render-px", "64", "--size-px", "32", "--bootstrap", "9"),
    *("--device", "cpu"),
)


def test_a_comparison_runs_to_its_report(tmp_path, capsys):
    words = ["run", "foveation", "drawings:5", "--out", tmp_path / "run", *TINY]
    words += ["--systems", "reference, texture", "--test-epochs", "0,1"]
    words += ["--experiments", "generalisation", "--px-per-deg", "3"]
    words += ["--seed", "4"]
    code, output, errors = call(*words, capsys=capsys)
    assert (code, errors) == (0, "")
    assert str(tmp_path / "run") in output
    found = read_json(tmp_path / "run" / "run.json")
    expected = {"systems": ["reference", "texture"], "n_runs": 1, "epochs": [0, 1],
                "render_px": 64, "size_px": 32, "seed": 4, "n_bootstrap": 9,
                "experiments": ["generalisation"]}  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["texture"]["px_per_deg"] == 3
    scores = read_table(tmp_path / "run" / "scores.parquet")
    assert set(scores["metric"]) == {"top1_accuracy", "top5_accuracy"}
    assert set(scores["chance"].round(6)) == {round(1 / 6, 6), round(5 / 6, 6)}
    assert set(scores["model"]) == {"reference", "texture"}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "drawings" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--systems", "textur"], "Did you mean 'texture'"),
        (["--systems", ","], "`systems` must be distinct names"),
        (["--experiments", "blinking"], "`experiments` must be one of"),
        (["--recipe", "published"], "`epochs` is for `--recipe compact`"),
        (["--epochs", "0"], "`max_epochs` must be within"),
        (["--test-epochs", "1,x"], "`test_epochs` must be whole numbers; got '1,x'"),
        (["--test-epochs", "2"], "`epochs` must be within"),
        (["--architecture", "resnet19"], "Did you mean 'resnet1"),
        (["--architecture-options", "[1]"], "must be a JSON object such as"),
        (["--architecture-options", "{"], "must be a JSON object such as"),
        (["--architecture-options", '{"depth": 3}'], "cannot be built with `options`"),
        (["--runs", "0"], "`n_runs` must be within"),
        (["--render-px", "16"], "`render_px` must be within"),
        (["--sigma-px", "-1"], "`sigma_px` must be within"),
        (["--bootstrap", "0"], "`n_bootstrap` must be within"),
        (["--scale", "3"], "`scale` must be within"),
    ],
    ids=" ".join,
)
def test_wrong_designs_give_one_line(tmp_path, capsys, words, message):
    out = tmp_path / "run"
    told = call("run", "foveation", "drawings:5", "--out", out, *TINY, *words,
                capsys=capsys)  # fmt: skip
    one_error(told, message)
    assert not out.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [("absent", "absent"), ("drawings:4", "`number of drawings` must be within")],
)
def test_missing_data_give_one_line(tmp_path, capsys, data, message):
    out = tmp_path / "run"
    told = call("run", "foveation", data, "--out", out, *TINY, capsys=capsys)
    one_error(told, message)
    assert not out.exists()
