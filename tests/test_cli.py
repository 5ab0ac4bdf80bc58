"""The command line: what it prints, how it fails, what it leaves behind."""

import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import neurovis
from neurovis import cli
from neurovis.adapters.oat import load_oat
from neurovis.cli import main
from tasks import fit_oat, object_search, object_search_tables
from tasks.models import ModelSpec
from tasks.object_search_inputs import search_data
from tasks.run_config import run_options
from tests.tasks.leaderboard_examples import make_score, save_run

ROOT = Path(neurovis.__file__).parents[1]
ENTRY = [sys.executable, "-c", "from neurovis.cli import main; main()"]
VERBS = [
    "stimuli",
    "run",
    "sweep",
    "fit",
    "train",
    "generate",
    "bank",
    "predict",
    "report",
    "demo",
    "data",
    "weights",
    "doctor",
]
STIMULI = ["stimuli", "search-asymmetry"]
TASK = "search-asymmetry"
RUN = ["run", TASK]


def spawn(*words, cwd, **variables):
    """Run the command in a process of its own, away from the source tree."""
    return subprocess.run(
        [*ENTRY, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | variables,
        timeout=55,
    )


def run_here(*words, cwd):
    """Run the command in this process: code, output, errors."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", ["neurovis", *map(str, words)])
        patch.chdir(cwd)
        with pytest.raises(SystemExit) as end:
            main()
    return end.value.code or 0, output.getvalue(), errors.getvalue()


@pytest.fixture
def call(tmp_path):
    """Run the command in this process, in an empty folder: code, output, errors."""

    def call(*words):
        return run_here(*words, cwd=tmp_path)

    return call


def listing(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def assert_one_error(code, output, errors, message):
    assert code not in (0, 130)
    assert output == ""
    assert "Traceback" not in errors
    lines = [e for e in errors.splitlines() if e.lower().startswith("error:")]
    assert len(lines) == 1, errors
    assert re.search(message, lines[0]), lines[0]
    # Words about usage stand before the error; nothing else does.
    others = [e for e in errors.splitlines() if e.strip() and e not in lines]
    assert all(e.startswith(("Usage:", "Try ")) for e in others), errors


# ------------------------------------------------------------------------- help


def test_help_names_every_verb(call):
    code, output, errors = call("--help")
    assert (code, errors) == (0, "")
    found = re.findall(r"^  (\w+)  ", output.split("Commands:")[1], re.MULTILINE)
    assert set(found) == set(VERBS)


@pytest.mark.parametrize(
    "words",
    [
        STIMULI,
        RUN,
        ["run", "search-natural"],
        ["run", "search-slopes"],
        ["run", "localiser"],
        ["run", "foveation"],
        ["run", "metamers"],
        ["run", "decisions"],
        ["run", "recognition"],
        ["stimuli", "make"],
        ["stimuli", "export", "jspsych"],
        ["data", "import", "jspsych"],
        ["stimuli", "foveate"],
        ["stimuli", "metamers"],
        ["predict"],
        ["run", "probes"],
        ["run", "diet"],
        ["train", "backbone"],
        ["bank", "build"],
        ["fit", "brain-encoder"],
        ["report"],
        ["demo"],
        ["data", "list"],
        ["data", "check"],
        ["weights", "convert-keras"],
        ["weights", "convert-clipcap"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_every_verb_has_help_with_a_word_on_every_option(call, words):
    code, output, errors = call(*words, "--help")
    assert (code, errors) == (0, "")
    assert f"neurovis {' '.join(words)} [OPTIONS]" in output.splitlines()[0]
    options = re.findall(r"^  --\S+.*(?:\n {6,}.*)*", output, re.MULTILINE)
    assert options
    for option in options:
        described = re.split(r"\s{2,}", option.strip(), maxsplit=1)
        assert len(described) == 2, option


def test_the_version_is_that_of_the_package(call):
    assert call("--version") == (0, f"neurovis {neurovis.__version__}\n", "")


def test_the_installed_command_works_anywhere(tmp_path):
    command = Path(sys.executable).with_name("neurovis")
    if not command.exists():
        pytest.skip("neurovis is not installed beside this Python")
    done = subprocess.run(
        [command, "data", "list"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "https://arxiv.org/abs/2106.02953" in done.stdout


# ---------------------------------------------------------------------- stimuli


def hashes(folder):
    return {
        name: hashlib.sha256(data).hexdigest()
        for name, data in listing(folder).items()
        if data is not None
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_seed_draws_the_same_files(tmp_path):
    words = [*STIMULI, "--trials", 2, "--seed", 7]
    found = []
    for number in (1, 2):
        out = tmp_path / str(number)
        done = spawn(*words, "--out", out, cwd=tmp_path, PYTHONHASHSEED=str(number))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"80 stimuli in {out}\nfingerprint ")
        found.append(hashes(out))
    assert found[0] == found[1]
    assert sum(name.startswith("images/") for name in found[0]) == 80


def test_another_seed_draws_other_displays(call, tmp_path):
    words = [*STIMULI, "--trials", 1, "--conditions", "cross", "--set-sizes", "3,6"]
    found = []
    for seed in (7, 8):
        assert call(*words, "--seed", seed, "--out", tmp_path / str(seed))[0] == 0
        found.append(hashes(tmp_path / str(seed)))
    images = [{k for k in h if k.startswith("images/")} for h in found]
    assert (
        images[0]
        == images[1]
        == {
            "images/cross_n03_t000.png",
            "images/cross_n06_t000.png",
        }
    )
    assert all(found[0][name] != found[1][name] for name in images[0])


def test_a_truncated_picture_is_drawn_again(call, tmp_path):
    words = [*STIMULI, "--trials", 1, "--conditions", "left_right", "--out", "set"]
    assert call(*words)[0] == 0
    before = hashes(tmp_path / "set")
    picture = tmp_path / "set" / "images" / "left_right_n06_t000.png"
    picture.write_bytes(picture.read_bytes()[:100])
    assert call(*words)[0] == 0
    assert hashes(tmp_path / "set") == before


def test_exports_lie_beside_the_set(call, tmp_path):
    words = [*STIMULI, "--trials", 1, "--conditions", "left_right", "--out", "set"]
    code, output, _ = call(*words, "--export", "psychopy", "--export", "bids")
    assert code == 0
    assert output.startswith("3 stimuli in set\n")
    assert {p.name for p in (tmp_path / "set").iterdir() if p.is_dir()} >= {
        "images",
        "psychopy",
        "bids",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--conditions", "crosss"], r"`conditions`.*Did you mean 'cross'"),
        (["--conditions", ","], "`conditions` is empty"),
        (["--trials", "0"], "`trials`"),
        (["--trials", "many"], "--trials"),
        (["--seed", "-1"], "`seed`"),
        (["--set-sizes", "3,x"], "`set_sizes` must be whole numbers.*'3,x'"),
        (["--set-sizes", "99"], "99"),
        (["--px-per-deg", "40"], "rendering='smooth'"),
        (["--px-per-deg", "0", "--rendering", "smooth"], "`px_per_deg`"),
        (["--item-deg", "40", "--rendering", "smooth"], "item"),
        (["--rendering", "drawn"], "--rendering"),
        (["--background", "300", "--rendering", "smooth"], "background"),
        (["--background", "²"], "`background` must be a grey level"),
        (["--foreground", "red"], "`foreground` must be a grey level.*'red'"),
        (["--foreground", "#ff"], "`foreground` must be a grey level.*'#ff'"),
        (["--foreground", "0"], "rendering='smooth'"),
        (["--export", "matlab"], "--export"),
        (["--colour", "red"], "--colour"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_of_stimuli_leave_nothing(call, tmp_path, words, message):
    assert_one_error(*call(*STIMULI, "--out", "set", *words), message)
    assert listing(tmp_path) == {}


def test_another_set_and_foreign_files_are_not_overwritten(call, tmp_path):
    words = [*STIMULI, "--trials", 1, "--conditions", "left_right", "--out"]
    assert call(*words, "set", "--seed", 1)[0] == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    before = listing(tmp_path)
    for out, message in (
        ("set", "another stimulus set"),
        ("mine", "'notes.txt'"),
        ("file", "file is a file"),
        ("file/set", "file is a file"),
    ):
        assert_one_error(*call(*words, out, "--seed", 2), message)
        assert listing(tmp_path) == before
    assert call(*words, "set", "--seed", 2, "--overwrite")[0] == 0
    assert listing(tmp_path) != before


# -------------------------------------------------------------------------- run


@pytest.fixture(scope="module")
def wrong_weights(tmp_path_factory):
    """Files that are no weights of VGG16."""
    folder = tmp_path_factory.mktemp("weights")
    save_file({"conv1.weight": torch.ones(4, 3, 3, 3)}, folder / "other.safetensors")
    data = (folder / "other.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(data[:-20])
    (folder / "page.safetensors").write_text("<!DOCTYPE html>")
    (folder / "weights.bin").write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "eccnt"], r"`models`.*Did you mean 'eccnet'"),
        (["--models", ","], "`models` is empty"),
        (["--models", "ivsn,ivsn"], "Two models are called 'ivsn'"),
        (["--models", "eccnet-mnist"], "trained on MNIST digits"),
        (["--conditions", "left-right"], "Did you mean 'left_right'"),
        (["--weights", "seeded:one"], "seeded:0/8.*'seeded:one'"),
        (["--weights", "nowhere.pth"], "`weights` must be an existing file; nowhere"),
        (["--weights", "{}/other.safetensors"], "other.safetensors do not fit: 26"),
        (["--weights", "{}/cut.safetensors"], "cut.safetensors.*truncated or damaged"),
        (["--weights", "{}/page.safetensors"], "page.safetensors.*It is a web page"),
        (["--weights", "{}/weights.bin"], r"suffix.*'\.safetensors'.*got '\.bin'"),
        (["--backbone", "vgg19"], "Did you mean 'vgg16'"),
        (["--trials", "-2"], "`trials`"),
        (["--trials", "1.5"], "--trials"),
        (["--seed", "-1"], "`seed`"),
        (["--device", "tpu"], "`device`.*'tpu'"),
        (["--device", "cuda:x"], "`device` must be such as 'cuda:1'"),
        (["--rendering", "drawn"], "--rendering"),
        (["--config", "absent.toml"], "`config`.*absent.toml is nothing"),
        (["--stimuli", "absent"], "absent is nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_of_a_run_leave_nothing(
    call, tmp_path, wrong_weights, words, message
):
    words = [word.format(wrong_weights) for word in words]
    if "--models" not in words:
        words += ["--models", "eccnet"]
    result = call(*RUN, "--out", "results", *words)
    assert_one_error(*result, message)
    assert listing(tmp_path) == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_absent_device_is_an_error_and_not_replaced(call, tmp_path):
    result = call(*RUN, "--out", "out", "--models", "chance", "--device", "cuda")
    assert_one_error(*result, r"`device` 'cuda' is not available.*device='auto'")
    assert listing(tmp_path) == {}


def test_a_file_in_the_way_of_results_is_named(call, tmp_path):
    (tmp_path / "taken").write_text("a file")
    words = [*RUN, "--models", "chance", "--out"]
    message = "taken is a file. Move that file"
    assert_one_error(*call(*words, "taken"), message)
    assert_one_error(*call(*words, "taken/below/it"), message)
    assert listing(tmp_path) == {"taken": b"a file"}


def test_a_truncated_picture_among_saved_displays_is_named(call, tmp_path):
    make = ["--trials", 1, "--conditions", "left_right", "--out", "set"]
    assert call(*STIMULI, *make)[0] == 0
    picture = tmp_path / "set" / "images" / "left_right_n06_t000.png"
    picture.write_bytes(picture.read_bytes()[:200])
    before = listing(tmp_path)
    words = [*RUN, "--models", "chance", "--stimuli", "set", "--out", "out"]
    assert_one_error(*call(*words), r"left_right_n06_t000.png.*truncated or damaged")
    assert listing(tmp_path) == before


TOML = """
experiment = "search-asymmetry"
conditions = ["left_right", "top_down"]
trials = 2
seed = 3
rendering = "smooth"
jpeg = true
{}
[[models]]
name = "eccnet"
label = "small"
weights = "seeded:0/8"

[[models]]
name = "chance"
"""


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("trails = 3", "'trails'.*Did you mean 'trials'"),
        ("n_bootstrap = 'many'", "`n_bootstrap` cannot be 'many'"),
        ("n_bootstrap = true", "`n_bootstrap` cannot be True"),
        ("n_bootstrap = -5", "`n_bootstrap`"),
        ("n_bootstrap = ", "is not a TOML file"),
        ("models = 'eccnet'", "TOML"),
        ("[[models]]\nlabel = 'x'", r"a \[\[models\]\] table lacks `name`"),
        ("[[models]]\nname = 'ivs'", "Did you mean 'ivsn'"),
        ("[[models]]\nname = 'ivsn'\nwidth = 3", "'width'"),
        ("[[models]]\nname = 'ivsn'\nweights = 3", "`weights` of a model cannot be 3"),
        ("[[models]]\nname = 'chance'\nweights = 'x'", "'weights'"),
        ("[[models]]\nname = 'saliency'\nlabel = 'human'", "called 'human'"),
    ],
    ids=lambda value: value if "=" in value else "",
)
def test_bad_entries_of_a_file_leave_nothing(call, tmp_path, entry, message):
    (tmp_path / "run.toml").write_text(TOML.format(entry).replace("jpeg = true", ""))
    before = listing(tmp_path)
    assert_one_error(*call(*RUN, "--config", "run.toml", "--out", "out"), message)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xfe\x00", "is not a TOML file"),
        (b"experiment = 'scanpaths'", "`experiment` must be one of 'search-asymm"),
        (b"models = 'eccnet'", r"`models` must be \[\[models\]\] tables"),
        (b"[models]\nname = 'eccnet'", r"`models` must be \[\[models\]\] tables"),
        (b"conditions = 3", "`conditions` cannot be 3"),
        (b"conditions = [3]", "`conditions` must be one of"),
        (b"trials = 2.5", "`trials` cannot be 2.5"),
    ],
)
def test_files_of_another_kind_are_refused(call, tmp_path, data, message):
    (tmp_path / "run.toml").write_bytes(data)
    assert_one_error(*call(*RUN, "--config", "run.toml", "--out", "out"), message)
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_a_file_and_flags_ask_for_the_same_run(tmp_path):
    (tmp_path / "run.toml").write_text(TOML.format("").replace('label = "small"', ""))
    flags = run_options(
        TASK,
        models="eccnet,chance",
        weights="seeded:0/8",
        conditions="left_right, top_down",
        trials=2,
        seed=3,
        rendering="smooth",
        jpeg=True,
    )
    assert run_options(TASK, tmp_path / "run.toml") == flags


def test_flags_win_over_the_file(tmp_path):
    (tmp_path / "run.toml").write_text(TOML.format("n_bootstrap = 7"))
    found = run_options(
        TASK,
        tmp_path / "run.toml",
        weights="seeded:5/8",
        conditions="all",
        seed=0,
        jpeg=False,
        trials=None,
    )
    assert found == {
        "models": [
            ModelSpec("eccnet", label="small", weights="seeded:5/8"),
            ModelSpec("chance"),
        ],
        "conditions": "all",
        "trials": 2,
        "seed": 0,
        "rendering": "smooth",
        "jpeg": False,
        "n_bootstrap": 7,
    }
    found = run_options(TASK, tmp_path / "run.toml", models="saliency")
    assert found["models"] == [ModelSpec("saliency")]


def test_without_words_the_default_models_run():
    names = [spec.name for spec in run_options(TASK)["models"]]
    assert names == ["eccnet", "ivsn", "chance"]


# ---------------------------------------------------- run beside data of people

WITH_DATA = ("search-natural", "search-slopes")


def write_slopes(folder):
    """Trials of two people in the form of the published file."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    lines = ["task,subject,trial,set_size,target_present,error,outcome,rt_ms"]
    for subject in (1, 2):
        for size in (3, 6, 12, 18):
            for there, outcome in ((1, "HIT"), (0, "TNEG")):
                for trial in range(5):
                    rt = 400 + (20 - 10 * there) * size + draw.integers(0, 200)
                    cell = f"feature,{subject},{trial},{size},{there}"
                    lines.append(f"{cell},0,{outcome},{rt}")
    data = gzip.compress("\n".join(lines).encode(), mtime=0)
    (folder / "trials.csv.gz").write_bytes(data)


def write_scenes(folder):
    """Two pictures in the layout of the published repository, without people."""
    root = folder / "dataset" / "Waldo"
    draw = np.random.default_rng(0)
    for part in ("stimuli", "target", "gt"):
        (root / part).mkdir(parents=True)
    for k in (1, 2):
        picture = draw.integers(60, 200, (256, 320)).astype(np.uint8)
        area = np.zeros(picture.shape, np.uint8)
        area[100 * k : 100 * k + 30, 40 : 40 + 30] = 255
        Image.fromarray(picture).save(root / "stimuli" / f"s_{k}.jpg")
        target = Image.fromarray(picture[100 * k : 100 * k + 30, 40:70])
        target.save(root / "target" / f"t_{k}.jpg")
        Image.fromarray(area).save(root / "gt" / f"gt_{k}.jpg", quality=95)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data of both kinds, in which commands run."""
    folder = tmp_path_factory.mktemp("runs")
    write_scenes(folder / "scenes")
    write_slopes(folder / "people")
    (folder / "small.toml").write_text("n_bootstrap = 5\n")
    return folder


@pytest.fixture(scope="module", params=WITH_DATA)
def ran(request, place):
    """A small run: its name, its folder, what it said; slopes in a process of its own.

    A process takes seconds to start, so it is one alone.
    """
    words = {
        "search-natural": ["--data", "scenes", "--max-saccades", 3],
        "search-slopes": ["--data", "people", "--tasks", "feature", "--trials", 2],
    }[request.param]
    words += ["--models", "chance,centre", "--config", "small.toml", "--seed", 1]
    out = f"{request.param} out"
    words = ["run", request.param, *words, "--out", out]
    if request.param == "search-slopes":
        done = spawn(*words, cwd=place)
        code, said, errors = done.returncode, done.stdout, done.stderr
    else:
        code, said, errors = run_here(*words, cwd=place)
    assert (code, errors) == (0, "")
    return request.param, place / out, said.splitlines()


def test_a_run_says_its_main_figures_and_where_its_report_is(ran):
    task, out, lines = ran
    beginning = {
        "search-natural": r"\s+found\s+saccade deg$",
        "search-slopes": r"slopes in ms per item \(present / absent\)$",
    }[task]
    assert re.match(beginning, lines[0])
    for model in ("chance", "centre"):
        assert [line for line in lines if line.startswith(f"  {model}")]
    assert lines[-1] == f"report {task} out/report.html"
    names = {path.name for path in out.iterdir()}
    assert names >= {"report.html", "figures", "scores.parquet", "run.json"}
    text = (out / "report.html").read_text()
    assert not re.search(r">\s*(nan|None|NaN)\s*<", text)


def test_the_report_of_each_kind_of_run_is_written_again_anywhere(ran, call):
    _, out, lines = ran
    before = (out / "report.html").read_bytes()
    tables = {p.name: p.read_bytes() for p in out.glob("*.parquet")}
    (out / "report.html").unlink()
    # From another folder: the paths of the data were written out in full.
    code, output, errors = call("report", out)
    assert (code, errors) == (0, "")
    assert output.splitlines() == [*lines[:-1], f"report {out / 'report.html'}"]
    assert (out / "report.html").read_bytes() == before
    assert {p.name: p.read_bytes() for p in out.glob("*.parquet")} == tables


def test_another_run_in_the_same_folder_is_refused(ran, place, call):
    task, out, _ = ran
    before = listing(out)
    words = ["--data", place / "people", "--models", "chance,centre", "--seed", 1]
    words += ["--config", place / "small.toml", "--tasks", "feature", "--trials", 3]
    message = {
        "search-natural": "task='search-natural'; now task='search-slopes'",
        "search-slopes": "holds a run with trials=2; now trials=3",
    }[task]
    assert_one_error(*call("run", "search-slopes", *words, "--out", out), message)
    assert listing(out) == before


@pytest.mark.usefixtures("undrawn_figures")
def test_the_report_of_an_asymmetry_run_is_written_again(call, place, tmp_path):
    words = ["--models", "chance", "--conditions", "left_right", "--trials", 1]
    words += ["--config", place / "small.toml"]
    code, said, errors = call(*RUN, *words, "--out", "out")
    assert (code, errors) == (0, "")
    assert said.splitlines()[-1] == "report out/report.html"
    before = (tmp_path / "out" / "report.html").read_bytes()
    (tmp_path / "out" / "report.html").unlink()
    assert call("report", "out") == (0, said, "")
    assert (tmp_path / "out" / "report.html").read_bytes() == before


@pytest.mark.usefixtures("undrawn_figures")
def test_reports_of_several_runs_are_one_leaderboard(call, place, tmp_path):
    words = ["--conditions", "left_right", "--trials", 1, "--config"]
    for out, model in (("a", "chance"), ("b", "centre")):
        more = [place / "small.toml", "--models", model, "--out", out]
        assert call(*RUN, *words, *more)[0] == 0
    code, said, errors = call("report", "a", "b", "--out", "board", "--csv")
    assert (code, errors) == (0, "")
    assert said.splitlines()[-1] == "report board/report.html"
    table = (tmp_path / "board" / "leaderboard.csv").read_text()
    assert ",chance," in table
    assert ",centre," in table
    before = listing(tmp_path / "board")
    # Written again by itself, from one folder.
    assert call("report", "board") == (0, said, "")
    assert listing(tmp_path / "board") == before


def test_runs_that_do_not_belong_together_are_refused_in_one_line(call, tmp_path):
    for name, options in (("a", {}), ("b", {"method": "banded", "test": "every-5"})):
        save_run(tmp_path / name, make_score({name: 0.1}, **options))
    before = listing(tmp_path)
    message = (
        r"^error: These runs do not belong on one leaderboard\. Different splits: rsa: "
        r"`test` is auto in a, every-5 in b\. Different definitions: rsa: `method` is "
        r"ridge in a, banded in b\. Report them apart"
    )
    assert_one_error(*call("report", "a", "b"), message)
    refused = call("report", "a", "b", "--varying", "metod")
    assert_one_error(
        *refused, "no run has an option of this name. Did you mean 'method'"
    )
    assert_one_error(*call("report", "a", "--csv"), "name several folders")
    assert listing(tmp_path) == before


def test_the_report_of_an_unfinished_run_names_the_command_to_finish_it(call, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text('{"task": "search-slopes"}')
    before = listing(tmp_path)
    message = r"trials\.parquet is missing. Run `neurovis run search-slopes --out out`"
    assert_one_error(*call("report", "out"), message)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("text", ["{", "[]", '{"task": "sech-slopes"}'])
def test_the_report_of_a_damaged_run_fails_in_one_line(call, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(text)
    assert_one_error(*call("report", "out"), r"run\.json|Did you mean 'search-slopes'")


@pytest.mark.parametrize("task", WITH_DATA)
def test_data_are_asked_for(call, tmp_path, task):
    message = f"`--data` is needed: the folder with the data of {task}.*`neurovis data"
    assert_one_error(*call("run", task, "--out", "out"), message)
    assert_one_error(*call("run", task, "--models", "chance"), message)
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    ("task", "words", "message"),
    [
        ("search-natural", ["--data", "nowhere"], "`folder`|`data`|nowhere"),
        ("search-natural", ["--data", "."], "neither the interiors set"),
        ("search-natural", ["--layout", "interior"], "--layout"),
        ("search-natural", ["--dataset", "Wally"], "must be one of 'Waldo'"),
        ("search-natural", ["--displays", "9"], "`displays`"),
        ("search-natural", ["--displays", "0"], "`displays`"),
        ("search-natural", ["--max-saccades", "0"], "`max_saccades`"),
        ("search-natural", ["--px-per-deg", "0"], "`px_per_deg`"),
        ("search-natural", ["--seed", "-1"], "`seed`"),
        ("search-natural", ["--models", "centr"], "Did you mean 'centre'"),
        ("search-natural", ["--device", "tpu"], "`device`.*'tpu'"),
        ("search-natural", ["--quitting", "both"], "--quitting"),
        ("search-slopes", ["--data", "nowhere"], "`folder` must be an existing folder"),
        ("search-slopes", ["--data", "."], r"trials\.csv\.gz"),
        ("search-slopes", ["--tasks", "features"], "Did you mean 'feature'"),
        ("search-slopes", ["--tasks", ","], "`tasks` must name at least one"),
        ("search-slopes", ["--tasks", "all"], r"no usable.*\('conjunction', True, 3\)"),
        ("search-slopes", ["--trials", "1"], r"`trials` must be within \[2, inf\]"),
        ("search-slopes", ["--quitting", "never"], "--quitting"),
        ("search-slopes", ["--weights", "nowhere.pth", "--models", "ivsn"], "nowhere"),
        ("search-slopes", ["--seed", "-1"], "`seed`"),
        ("search-slopes", ["--conditions", "cross"], "--conditions"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_of_a_run_beside_data_leave_nothing(
    call, place, tmp_path, task, words, message
):
    data = {"search-natural": "scenes", "search-slopes": "people"}[task]
    defaults = {"--data": place / data, "--models": "chance"}
    if task == "search-slopes":
        defaults["--tasks"] = "feature"
    given = [w for k, v in defaults.items() if k not in words for w in (k, v)]
    assert_one_error(*call("run", task, "--out", "out", *given, *words), message)
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    ("task", "entry", "message"),
    [
        ("search-natural", "px_per_deg = 'many'", "`px_per_deg` cannot be 'many'"),
        ("search-natural", "displays = 2.5", "`displays` cannot be 2.5"),
        ("search-natural", "displays = true", "`displays` cannot be True"),
        ("search-natural", "trials = 3", "'trials'"),
        ("search-natural", "experiment = 'search-slopes'", "must be one of 'search-n"),
        ("search-slopes", "tasks = 3", "`tasks` cannot be 3"),
        ("search-slopes", "quiting = 'both'", "Did you mean 'quitting'"),
        ("search-slopes", "quitting = 'never'", "`quitting` must be one of"),
        ("search-slopes", "tasks = ['feature', 'feature']", "none twice"),
        ("search-slopes", "rendering = 'smooth'", "'rendering'"),
        ("search-slopes", "data = 3", "`data` cannot be 3"),
    ],
    ids=lambda value: value if "=" in value else "",
)
def test_bad_entries_of_a_file_beside_data_leave_nothing(
    call, place, tmp_path, task, entry, message
):
    (tmp_path / "run.toml").write_text(entry)
    data = {"search-natural": "scenes", "search-slopes": "people"}[task]
    words = ["--models", "chance", "--config", "run.toml", "--out", "out"]
    if "data" not in entry:
        words += ["--data", place / data]
    assert_one_error(*call("run", task, *words), message)
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_options_of_natural_search_come_from_a_file(tmp_path):
    (tmp_path / "run.toml").write_text(
        """
        experiment = "search-natural"
        data = "scenes"
        layout = "kreimanlab"
        dataset = "Waldo"
        displays = 2
        max_saccades = 4
        px_per_deg = 31
        seed = 2
        [[models]]
        name = "centre"
        label = "middle"
        """
    )
    found = run_options("search-natural", tmp_path / "run.toml", seed=5, displays=None)
    assert found == {
        "data": "scenes",
        "layout": "kreimanlab",
        "dataset": "Waldo",
        "displays": 2,
        "max_saccades": 4,
        "px_per_deg": 31,
        "seed": 5,
        "models": [ModelSpec("centre", label="middle")],
    }


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ("'all'", "all"),
        ("'feature, conjunction'", ["feature", "conjunction"]),
        ("['feature']", ["feature"]),
        ("'feature'", ["feature"]),
    ],
)
def test_tasks_of_a_file_and_of_the_command_are_alike(tmp_path, tasks, expected):
    (tmp_path / "run.toml").write_text(f"tasks = {tasks}\nquitting = 'exhaustive'")
    found = run_options("search-slopes", tmp_path / "run.toml", models="chance")
    assert found == {
        "tasks": expected,
        "quitting": "exhaustive",
        "models": [ModelSpec("chance")],
    }
    words = tasks.strip("'")
    if not words.startswith("["):
        flags = run_options("search-slopes", models="chance", tasks=words)
        assert flags["tasks"] == expected


def test_data_of_a_file_are_enough(call, place, tmp_path):
    (tmp_path / "run.toml").write_text(f"data = '{place / 'people'}'\ntrials = 1\n")
    words = ["run", "search-slopes", "--models", "chance", "--config", "run.toml"]
    # The file names the data; what is amiss now is its number of trials.
    assert_one_error(*call(*words), "`trials` must be within")


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("search-natural", ["eccnet", "ivsn", "saliency", "centre", "chance"]),
        ("search-slopes", ["eccnet", "ivsn", "saliency", "chance"]),
    ],
)
def test_without_words_the_default_models_of_each_experiment_run(task, names):
    assert [spec.name for spec in run_options(task)["models"]] == names


# ------------------------------------------------------------------ other verbs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rn"], "Did you mean 'run'"),
        (["report", "nowhere"], "no finished run: run.json is missing"),
        (["report"], "(?i)missing argument"),
        (["demo", "serch"], "Did you mean 'search'"),
        (["data", "check", "search-asymetry", "."], "Did you mean 'search-asymmetry'"),
        (["data", "check", "search-asymmetry-trials", "nowhere"], "`folder`.*nothing"),
        (["data", "check", "search-asymmetry-trials", "damaged"], "truncated|damaged"),
        (["data", "check", "search-asymmetry-trials", "empty"], "asymmetry_trials.csv"),
        (["weights", "convert-keras", "absent.h5", "new.safetensors"], "absent.h5"),
        (["weights", "convert-keras", "cut.h5", "new.safetensors"], "cut.h5.*damaged"),
        (["weights", "convert-keras", "cut.h5", "new.pth"], "'.safetensors'.*'.pth'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_verbs_fail_in_one_line_and_leave_nothing(call, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "asymmetry_trials.csv.gz").write_bytes(b"\x1f\x8b\x08")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    before = listing(tmp_path)
    assert_one_error(*call(*words), message)
    assert listing(tmp_path) == before


def test_a_set_that_ships_needs_no_folder(call):
    code, output, _ = call("data", "check", "search-asymmetry", "nowhere")
    assert code == 0
    assert output.startswith("40 mean reaction times in 12 conditions\n")


def test_the_converted_weights_are_named(call, tmp_path):
    draw = np.random.default_rng(0)
    channels = 3
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        for block, n in enumerate((2, 2, 3, 3, 3), 1):
            for conv in range(1, n + 1):
                group = file.create_group(f"block{block}_conv{conv}")
                group["kernel"] = draw.normal(size=(3, 3, channels, 4))
                group["bias"] = np.zeros(4)
                channels = 4
    words = ["weights", "convert-keras", "keras.h5", "new.safetensors"]
    assert call(*words) == (0, "wrote new.safetensors\n", "")
    assert (tmp_path / "new.safetensors").stat().st_size > 13 * 4 * 4


def test_verbose_shows_where_an_error_came_from(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["neurovis", "--verbose", "report", "nowhere"])
    with pytest.raises(FileNotFoundError, match="no finished run"):
        main()


def test_notes_of_an_error_stand_below_it(monkeypatch, capsys):
    def fail():
        error = MemoryError("item 3 does not fit")
        error.add_note("Make the batches smaller.")
        error.add_note("Or use another device.")
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["neurovis"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr() == (
        "",
        "error: item 3 does not fit\nMake the batches smaller.\n"
        "Or use another device.\n",
    )


def test_numbers_that_are_not_finite_are_one_line(monkeypatch, capsys):
    def fail():
        raise FloatingPointError("4 of 4 gradients were not finite.")

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["neurovis"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr().err == "error: 4 of 4 gradients were not finite.\n"


def test_a_shortage_of_torch_is_one_line_and_any_other_defect_is_shown(
    monkeypatch, capsys
):
    errors = [RuntimeError("CUDA out of memory. Tried 2 GiB."), RuntimeError("defect")]

    def fail():
        raise errors.pop(0)

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["neurovis"])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err
    assert told.startswith("error: memory is short (CUDA out of memory. Tried 2 GiB)")
    assert told.count("\n") == 1
    with pytest.raises(RuntimeError, match="defect"):
        main()


# ----------------------------------------------------------------------- doctor


def test_the_doctor_finds_nothing_amiss_here(tmp_path):
    done = spawn("doctor", cwd=tmp_path, NEUROVIS_DATA="")
    assert (done.returncode, done.stderr) == (0, "")
    assert not re.search("^AMISS", done.stdout, re.MULTILINE)
    for package in ("neurovis", "stimuli", "data_loaders", "analysis", "tasks"):
        assert f"package {package}: {ROOT / package}\n" in done.stdout
    assert f"torch: {torch.__version__.split('+')[0]}" in done.stdout
    assert "NEUROVIS_DATA is not set" in done.stdout


def test_the_doctor_names_modules_that_stand_before_ours(tmp_path):
    # `python -c`, notebooks and scripts look into their folder first, and every
    # Python looks into PYTHONPATH before installed packages.
    here, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder, name in ((here, "analysis"), (elsewhere, "stimuli")):
        folder.mkdir()
        (folder / f"{name}.py").write_text("answer = 42\n")
    done = spawn("doctor", cwd=here, PYTHONPATH=f"{elsewhere}{os.pathsep}{ROOT}")
    assert done.returncode == 1
    amiss = [e for e in done.stdout.splitlines() if e.startswith("AMISS")]
    assert len(amiss) == 2
    for line, folder, name in zip(
        sorted(amiss), (here, elsewhere), ("analysis", "stimuli"), strict=True
    ):
        assert f"package {name}: {folder / f'{name}.py'} shadows ours" in line
        assert "rename it" in line


def test_the_doctor_says_that_a_data_folder_is_absent(call, monkeypatch):
    monkeypatch.setenv("NEUROVIS_DATA", "nowhere")
    code, output, _ = call("doctor")
    assert code == 1
    assert "AMISS data: NEUROVIS_DATA=nowhere is not a folder" in output


# --------------------------------------------------------------- the source text


def sources(*suffixes):
    """Text files of the project; hidden and made folders left out."""
    made = {"results", "_build", "gallery", "generated", "__pycache__", "build", "dist"}
    for folder, below, names in os.walk(ROOT):
        kept = [n for n in below if not n.startswith(".") and n not in made]
        below[:] = kept  # the others are not entered
        for name in names:
            path = Path(folder) / name
            if not name.startswith(".") and path.suffix in suffixes:
                yield path


def test_only_one_module_opens_python_objects():
    pattern = re.compile(r"torch\.load\(|\bpickle\b|\ballow_pickle\b|\bjoblib\b")
    found = {
        str(path.relative_to(ROOT))
        for path in sources(".py")
        if pattern.search(path.read_text(encoding="utf-8"))
        and path.relative_to(ROOT).parts[0] != "tests"
    }
    assert found == {"neurovis/adapters/weights.py"}


# Folders of one machine; put together here, so that this file does not match.
PLACES = re.compile(
    r"(?<![\w/.\-])(?:"
    + "|".join(["/" + "work", "/" + "root", "/" + "farm", r"\.\./" + "shared"])
    + r")(?![\w-])"
)


def test_no_file_names_a_place_on_one_machine():
    assert PLACES.search("see /" + "work/data")
    assert not PLACES.search("see https://example.org/" + "work and net/" + "work")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sources(".py", ".rst", ".md", ".toml", ".html", ".css", ".cff", "")
        for match in PLACES.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


# ------------------------------------------------------------- search of objects

FIT = ["fit", "oat"]
OBJECTS = ["run", "object-search"]


@pytest.mark.parametrize("words", [FIT, OBJECTS], ids=" ".join)
def test_verbs_about_objects_have_a_word_on_every_option(call, words):
    code, output, errors = call(*words, "--help")
    assert (code, errors) == (0, "")
    options = re.findall(r"^  --\S+.*(?:\n {6,}.*)*", output, re.MULTILINE)
    assert len(options) > 10
    for option in options:
        assert len(re.split(r"\s{2,}", option.strip(), maxsplit=1)) == 2, option
    if words == OBJECTS:
        assert re.search(r"trial\s+and\s+published\s+LEAK", output)


kept_search_data = cache(search_data)


@pytest.fixture(scope="module", autouse=True)
def _one_simulation():
    """Simulate the searches of equal options once; nobody changes them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (fit_oat, object_search, object_search_tables):
            patch.setattr(module, "search_data", kept_search_data)
        yield


@pytest.fixture(scope="module")
def fitted_oat(tmp_path_factory):
    """One epoch on simulated searches."""
    folder = tmp_path_factory.mktemp("fit")
    words = ["--data", "simulated", "--appearance", "none", "--target-position"]
    words += ["true", "--epochs", 1, "--fold", 2, "--seed", 1, "--device", "cpu"]
    code, said, errors = run_here(*FIT, *words, "--out", "out", cwd=folder)
    assert (code, errors) == (0, "")
    return folder / "out", words, said


def test_oat_is_trained_and_kept_by_one_command(fitted_oat, call):
    out, words, said = fitted_oat
    first, second = said.splitlines()
    assert re.fullmatch(r"\d+ parameters, told of the target: position", first)
    assert second == "weights out/oat.safetensors, curves out/curves.png"
    names = {path.name for path in out.iterdir()}
    assert names == {"run.json", "card.json", "curves.png", "fit", "oat.safetensors"}
    notes = load_oat(weights=out / "oat.safetensors", device="cpu").notes
    assert notes[0].startswith("Trained on 480 trials of simulated_shelves without")
    # The same command reads what is there.
    before = (out / "fit" / "model.safetensors").stat().st_mtime_ns
    code, output, errors = call(*FIT, *words, "--out", out)
    assert (code, errors) == (0, "")
    assert output.splitlines()[0] == first
    assert (out / "fit" / "model.safetensors").stat().st_mtime_ns == before


def test_another_fit_in_the_same_folder_is_refused(fitted_oat, call):
    out, words, _ = fitted_oat
    before = listing(out)
    message = "holds a run with epochs=1; now epochs=2"
    assert_one_error(*call(*FIT, *words, "--epochs", 2, "--out", out), message)
    assert listing(out) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--data", "."], r"Amazon\.json"),
        (["--size", "large"], "--size"),
        (["--start", "shiped"], "`start` must be an existing file; shiped is nothing"),
        (["--start", "shipped", "--appearance", "none"], "another architecture"),
        (["--appearance", "crops"], "--appearance"),
        (["--target-position", "told"], "--target-position"),
        (["--fold", "10"], r"`fold` must be within \[0, 9\]; got 10"),
        (["--epochs", "0"], r"`epochs` must be within \[1, inf\]"),
        (["--epochs", "many"], "--epochs"),
        (["--learning-rate", "0"], "`learning_rate` must be above 0"),
        (["--mirrors", "horizonal"], "`mirrors`.*Did you mean 'horizontal'"),
        (["--precision", "float16"], "--precision"),
        (["--accumulate", "0"], "`accumulate`"),
        (["--seed", "-1"], "`seed`"),
        (["--device", "tpu"], "`device`.*'tpu'"),
        (["--models", "oat"], "--models"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_of_a_fit_leave_nothing(call, tmp_path, words, message):
    if "--data" not in words:
        words = ["--data", "simulated", *words]
    assert_one_error(*call(*FIT, "--out", "out", *words), message)
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "published"], "Without `data` .*leave out `size`"),
        (["--start", "shipped"], "Without `data` .*leave out `start`"),
        (["--mirrors", "vertical"], "Without `data` .*leave out `mirrors`"),
        (["--learning-rate", "1"], "Without `data` .*leave out `learning_rate`"),
        (["--epochs", "-1"], "`epochs`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_without_data_most_options_of_a_fit_are_refused(call, tmp_path, words, message):
    assert_one_error(*call(*FIT, "--out", "out", *words), message)
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "`--data` is needed: the folder with the data of object-search"),
        (["--data", "."], r"Amazon\.json"),
        (["--models", "oat-smal"], "`models`.*Did you mean 'oat-small'"),
        (["--models", ","], "`models` is empty"),
        (["--models", "oat-tuned"], "appearance='synthetic', or oat-small"),
        (["--models", "oat-small,oat-small"], "Two models are called 'oat-small'"),
        (["--folds", "fold"], "--folds"),
        (["--splits", "11"], r"`n_splits` must be within \[1, 10\]"),
        (["--splits", "2", "--folds", "published"], r"`n_splits` .* \[1, 1\]"),
        (["--appearance", "crops"], "--appearance"),
        (["--target-position", "told"], "--target-position"),
        (["--samples", "0"], "`n_samples`"),
        (["--epochs", "0"], "`epochs`"),
        (["--seed", "-1"], "`seed`"),
        (["--device", "tpu"], "`device`.*'tpu'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_of_an_object_search_leave_nothing(call, tmp_path, words, message):
    if words and "--data" not in words:
        words = ["--data", "simulated", *words]
    assert_one_error(*call(*OBJECTS, "--out", "out", *words), message)
    assert listing(tmp_path) == {}


@pytest.mark.usefixtures("undrawn_figures")
def test_a_simulated_object_search_needs_no_data(call, tmp_path):
    words = ["--data", "simulated", "--models", "chance_uniform,unigram_tokens"]
    words += ["--splits", 1, "--samples", 1, "--out", "out"]
    code, output, errors = call(*OBJECTS, *words)
    assert (code, errors) == (0, "")
    assert output.splitlines()[-1] == "report out/report.html"
    html = (tmp_path / "out" / "report.html").read_text()
    assert "Simulated observers of a known rule on generated shelves" in html
    assert "Only 1 of 10 test sets were used." in html
