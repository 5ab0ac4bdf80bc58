"""What the documentation says is true of the code."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import runpy
import tomllib
from functools import cache, cached_property
from pathlib import Path
from textwrap import dedent

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import yaml
from numpydoc.validate import validate
from typer.main import get_command

import neurovis
from analysis.scanpath_measures import MEASURES
from data_loaders.gaze import make_gaze_data
from neurovis.cli import app
from stimuli.search_arrays import make_search_arrays
from tasks.search_asymmetry import run_searches

ROOT = Path(__file__).parents[2]
PACKAGES = ("neurovis", "stimuli", "data_loaders", "analysis", "tasks")
PAGES = sorted(
    path
    for path in (ROOT / "docs").rglob("*.rst")
    if not {"_build", "_templates", "gallery", "generated"} & set(path.parts)
)
TEXTS = [*sorted(ROOT.glob("*.md")), *PAGES]
IDS = [str(path.relative_to(ROOT)) for path in TEXTS]
MODULES = [
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")
]
CHECKS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "numpydoc_validation"
]["checks"]
# Pages whose Python runs here, and a name that it leaves behind.
RUNNABLE = {
    "getting_started.rst": "scores",
    "how_to/brain_data.rst": "ceiling",
    "how_to/caption_voxels.rst": "told",
    "how_to/compare_decisions.rst": "score",
    "how_to/compare_recognition.rst": "score",
    "how_to/compare_scanpaths.rst": "scores",
    "how_to/crowding_and_navon.rst": "fit",
    "how_to/drive_regions.rst": "made",
    "how_to/compare_representations.rst": "stack",
    "how_to/fit_encoding_models.rst": "shares",
    "how_to/fixation_maps.rst": "gain",
    "how_to/human_gaze_data.rst": "mine",
    "how_to/make_stimuli.rst": "folder",
    "how_to/mental_rotation.rst": "stimuli",
    "how_to/odd_one_out.rst": "table",
    "how_to/own_backbone.rst": "responses",
    "how_to/manipulate_pictures.rst": "means",
    "how_to/run_experiments_with_people.rst": "people",
    "how_to/run_studies.rst": "study",
    "how_to/train_backbone.rst": "features",
    "how_to/train_encoders.rst": "fit",
    "how_to/train_module.rst": "again",
    "how_to/train_oat.rst": "scores",
}
OWN_FILES = "# With files of your own."
# The command line has a page of its own; the core is its modules.
UNLISTED = {
    "neurovis.cli",
    "neurovis.cli_brain",
    "neurovis.cli_captions",
    "neurovis.cli_sweep",
    "neurovis.cli_data",
    "neurovis.cli_decisions",
    "neurovis.cli_people",
    "neurovis.cli_encoder",
    "neurovis.cli_fit",
    "neurovis.cli_foveation",
    "neurovis.cli_metamers",
    "neurovis.cli_run",
    "neurovis.cli_stimuli",
    "neurovis.cli_train",
    "neurovis.cli_generate",
    "neurovis.core",
}


def blocks(path, language):
    """Code blocks of a page, Markdown or reStructuredText."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    pattern = rf"\.\. code-block:: {language}\n\n((?:(?: +.*)?\n)+)"
    return [dedent(block) for block in re.findall(pattern, text)]


def run(code, namespace):
    exec(compile(code, "documentation", "exec"), namespace)


def test_pages_and_modules_are_found():
    assert ROOT / "docs" / "troubleshooting.rst" in PAGES
    assert {"stimuli.save", "neurovis.adapters.eccnet"} <= set(MODULES)


# ------------------------------------------------------------------- code


def test_the_example_of_the_readme_runs(capsys):
    namespace = {}
    (code,) = blocks(ROOT / "README.md", "python")
    run(code, namespace)
    assert {"human", "eccnet"} == set(namespace["scores"]["model"])
    printed = capsys.readouterr().out
    assert "eccnet" in printed
    assert "left_right" in printed


# More than five seconds each.
LONG = (
    *("how_to/brain_data.rst", "how_to/caption_voxels.rst"),
    *("how_to/compare_decisions.rst", "how_to/crowding_and_navon.rst"),
    "how_to/fit_encoding_models.rst",
)
RUN_PAGES = [
    pytest.param(page, marks=pytest.mark.slow) if page in LONG else page
    for page in RUNNABLE
]


@pytest.mark.parametrize("page", RUN_PAGES)
def test_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    codes = [b for b in blocks(ROOT / "docs" / page, "python") if ">>>" not in b]
    for code in codes:
        if not code.startswith(OWN_FILES):
            run(code, namespace)
    assert RUNNABLE[page] in namespace


@pytest.mark.parametrize("path", TEXTS, ids=IDS)
def test_python_of_a_page_names_what_exists(path):
    for block in blocks(path, "python"):
        if ">>>" in block:
            parser = doctest.DocTestParser()
            test = parser.get_doctest(block, {}, str(path), str(path), 0)
            assert doctest.DocTestRunner().run(test).failed == 0
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                missing = [a.name for a in node.names if not hasattr(module, a.name)]
                assert missing == [], f"{path}: {node.module}"


def test_recipes_of_the_contributing_page_run(tmp_path):
    namespace = {}
    for code in blocks(ROOT / "CONTRIBUTING.md", "python"):
        run(code, namespace)
    stimuli = make_search_arrays("Ts", set_sizes=[3, 6], trials=2, seed=0)
    searcher = namespace["load_reading"]("reading", label="reader")
    table = run_searches([searcher], stimuli).table
    assert table["subject"].unique().tolist() == ["reader"]
    score = namespace["run_first_saccades"]([searcher], conditions=["Ts"], trials=2)
    assert score.table["value"].between(0, 1).all()
    score.save(tmp_path)
    rows = {"observer": "a", "display": ["x", "y"], "rt_ms": 1.0, "key": "found"}
    pd.DataFrame(rows).to_csv(tmp_path / "trials.csv", index=False)
    responses = namespace["load_my_search"](tmp_path)
    assert responses.table["trial"].tolist() == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", [p.name for p in (ROOT / "examples").glob("*.py")])
def test_example_runs_and_draws(name, monkeypatch, capsys):
    monkeypatch.setattr(plt, "show", lambda: None)
    text = (ROOT / "examples" / name).read_text(encoding="utf-8")
    runpy.run_path(str(ROOT / "examples" / name))
    assert "What you should see" in text
    assert len(plt.get_fignums()) >= 1
    told = capsys.readouterr().out
    assert "human" in told or "Simulated data" in told
    plt.close("all")


# ------------------------------------------------------- links and names


@pytest.mark.parametrize("path", TEXTS, ids=IDS)
def test_relative_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        targets = re.findall(r"\]\(([^)#]+)\)", text)
        files = [path.parent / t for t in targets if "://" not in t]
    else:
        docs = re.findall(r":doc:`(?:[^`<]*<)?([^`>]+)>?`", text)
        for body in re.findall(r"\.\. toctree::\n(?: +:.*\n)*\n((?: +.+\n)+)", text):
            lines = [line.strip() for line in body.splitlines()]
            docs += [re.sub(r".*<(.*)>", r"\1", line) for line in lines]
        files = [document(path, name) for name in docs]
        pictures = re.findall(r"\.\. image:: (\S+)", text)
        files += [path.parent / name for name in pictures]
    missing = [str(file) for file in files if not file.exists()]
    assert missing == []


def document(page, name):
    """Source of a page; those of the gallery are made from scripts."""
    folder = ROOT / "docs" if name.startswith("/") else page.parent
    target = (folder / name.lstrip("/")).resolve()
    gallery = ROOT / "docs" / "gallery"
    if target.is_relative_to(gallery):
        if target.name == "index":
            return ROOT / "examples" / "GALLERY_HEADER.rst"
        return ROOT / "examples" / f"{target.name}.py"
    markdown = target.with_name(f"{target.name}.md")
    return markdown if markdown.exists() else target.with_name(f"{target.name}.rst")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_of_our_code_exist(page):
    text = re.sub(r"``.*?``", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"\.\. code-block.*\n\n((?: +.*)?\n)+", "\n", text)
    found = re.findall(r"(?<![:`])`(?:[^`<]*<)?([\w.\s]+?)>?`", text)
    names = {name.strip() for name in found if name.strip().startswith(PACKAGES)}
    assert [name for name in sorted(names) if not resolves(name)] == []


def resolves(name):
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


def test_every_public_module_is_in_the_reference():
    text = (ROOT / "docs" / "reference" / "index.rst").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   ([a-z0-9_]+(?:\.[a-z0-9_]+)+)$", text, re.MULTILINE))
    assert listed == set(MODULES) - UNLISTED


def test_every_measure_of_scanpaths_is_explained():
    page = ROOT / "docs" / "explanation" / "scanpath_measures.rst"
    explained = re.findall(r"^   \* - ``(\w+)``", page.read_text("utf-8"), re.M)
    assert sorted(explained) == sorted(MEASURES)


def test_every_command_is_in_the_reference():
    page = ROOT / "docs" / "reference" / "command_line.rst"
    shown = re.findall(r"^neurovis (.+)$", page.read_text(encoding="utf-8"), re.M)

    def commands(group, prefix=""):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from commands(command, f"{prefix}{name} ")
            else:
                yield f"{prefix}{name}"

    assert sorted(shown) == sorted(commands(get_command(app)))


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == neurovis.__version__
    assert {"message", "title", "authors"} <= set(citation)
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)


# ------------------------------------------------------------ docstrings


@pytest.mark.parametrize("module", MODULES)
def test_doctests_pass(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def public_objects(module):
    """Public functions, classes and methods that a module defines, with paths."""
    for name, thing in vars(module).items():
        own = getattr(thing, "__module__", None) == module.__name__
        if name.startswith("_") or not own:
            continue
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield f"{module.__name__}.{name}", thing
        if inspect.isclass(thing):
            kinds = (property, cached_property, classmethod, staticmethod)
            for key, member in vars(thing).items():
                described = inspect.isfunction(member) or isinstance(member, kinds)
                if described and not key.startswith("_"):
                    yield f"{module.__name__}.{name}.{key}", member


@pytest.mark.parametrize(
    "name", [m for m in MODULES if not m.startswith("neurovis.cli")]
)
def test_docstrings_follow_numpydoc(name):
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip()
    problems = []
    for path, thing in public_objects(module):
        # A Protocol is not called, and has no parameters to describe.
        skipped = {"PR01"} if getattr(thing, "_is_protocol", False) else set()
        for code, text in validate(path)["errors"]:
            if code in CHECKS and code not in skipped:
                problems.append(f"{path} {code} {text}")
    assert problems == []


def test_every_option_of_the_command_line_has_help():
    def parameters(group):
        for name, command in group.commands.items():
            assert command.help, name
            if hasattr(command, "commands"):
                yield from parameters(command)
            else:
                yield from ((name, each) for each in command.params)

    silent = [(n, p.name) for n, p in parameters(get_command(app)) if not p.help]
    assert silent == []


# --------------------------------------------------------------- messages


def pattern(node):
    """Regular expression of a text in the source: values match anything."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value.strip("\n"))
    if isinstance(node, ast.JoinedStr):
        return "".join(pattern(part) for part in ast.iter_child_nodes(node))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return pattern(node.left) + pattern(node.right)
    if isinstance(node, ast.IfExp):
        either = [pattern(node.body), pattern(node.orelse)]
        return f"(?:{'|'.join(either)})" if all(either) else ".*"
    return ".*"


def longest_words(text):
    """Longest piece of a pattern that stands in every text that it matches."""
    fixed = re.sub(r"\(\?:(?:[^()\\]|\\.)*\)", ".*", text)
    return max((re.sub(r"\\(.)", r"\1", part) for part in fixed.split(".*")), key=len)


@cache
def source_patterns():
    """Patterns of all texts in the source that say something, with words of them."""
    found = set()
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            # A text that stands by itself is documentation: nobody writes it.
            alone = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
            for node in ast.walk(tree):
                if id(node) in alone:
                    continue
                if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                    text = pattern(node)
                    if len(re.findall("[A-Za-z]", text)) >= 8:
                        found.add(text)
    return [(longest_words(text), text) for text in found]


def is_in_the_source(message):
    """Whether some text of the source can become this message."""
    return any(
        words in message and re.fullmatch(text, message)
        for words, text in source_patterns()
    )


MESSAGES = [
    block.strip()
    for page in ("troubleshooting.rst", "how_to/resume.rst")
    for block in blocks(ROOT / "docs" / page, "text")
]


STIMULI = pd.DataFrame({"stimulus_id": ["1.jpg"], "width_px": 800, "height_px": 600})
TRIALS = pd.DataFrame({"subject": ["ann"], "stimulus_id": ["1.jpg"]})
FIXATIONS = TRIALS.assign(fixation=0, x_px=400.0, y_px=300.0)
# Messages that are put together at run time, by how they begin: what leads to them.
RAISED = {
    "`fixations` repeats a fixation": {"fixations": pd.concat([FIXATIONS] * 2)},
    "`fixations` has no trial": {"fixations": FIXATIONS.assign(subject="bob")},
    "`trials` has a stimulus": {"trials": TRIALS.assign(stimulus_id="2.jpg")},
    "`trials` repeats a trial": {"trials": pd.concat([TRIALS] * 2)},
    "`trials` has a number": {"trials": TRIALS.assign(n_fixations=3)},
}


@pytest.mark.parametrize(
    "message", [m for m in MESSAGES if not m.startswith(tuple(RAISED))]
)
def test_message_of_the_documentation_is_in_the_source(message):
    assert is_in_the_source(message)


@pytest.mark.parametrize("beginning", RAISED)
def test_message_about_a_table_of_gaze_is_the_documented_one(beginning):
    tables = {"trials": TRIALS, "fixations": FIXATIONS, "stimuli": STIMULI}
    with pytest.raises(ValueError) as caught:
        make_gaze_data("mine", **(tables | RAISED[beginning]))
    assert str(caught.value) in [m for m in MESSAGES if m.startswith(beginning)]


def test_a_message_that_nobody_writes_is_noticed():
    invented = "`weights` must be a file of VGG16; vgg16.h5 is not."
    assert not is_in_the_source(invented)
    assert len(MESSAGES) > 25
