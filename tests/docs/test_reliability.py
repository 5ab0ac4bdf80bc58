"""The page of faults names the tests that there are."""

import ast
from pathlib import Path

from tests.faults.page import Fault, named_tests, write_page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"


def those_that_tell():
    """Names of tests that take `told`, and whether they need a GPU."""
    for file in sorted((ROOT / "tests" / "faults").glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or node.name[:5] != "test_":
                continue
            if "told" in {argument.arg for argument in node.args.args}:
                marks = " ".join(map(ast.unparse, node.decorator_list))
                name = f"{file.relative_to(ROOT).as_posix()}::{node.name}"
                yield name, "gpu" in marks


def test_the_page_of_faults_names_every_test_and_no_other():
    found = dict(those_that_tell())
    named = named_tests(PAGE.read_text(encoding="utf-8"))
    assert named <= set(found)
    assert {name for name in found if name not in named and not found[name]} == set()


def test_signs_of_markdown_and_html_stand_on_the_page_as_they_are(tmp_path):
    test = "tests/faults/test_texts.py::test_a[b]"
    write_page(tmp_path / "page.md", [Fault(test, "a | b", "<b> & *c* _d_ `e`")])
    row = (tmp_path / "page.md").read_text().splitlines()[-1]
    assert row == (
        "| a &#124; b | &lt;b> &amp; \\*c\\* \\_d\\_ \\`e\\` | <sub>test_<wbr>a</sub> |"
    )
