"""What lies in the golden folder is either checked or named as not yet supported."""

import ast
import os
from fnmatch import fnmatch
from pathlib import Path

import pytest

SUPPORTED = ("behaviour", "eccnet", "encoding", "foveation", "scanpath")


def test_the_golden_folder_holds_a_family(golden):
    if golden is None:
        if os.environ.get("NEUROVIS_REQUIRE_DATA") == "1":
            pytest.fail("no golden folder: give --golden DIR or NEUROVIS_GOLDEN")
        pytest.skip("no golden folder: give --golden DIR or NEUROVIS_GOLDEN")
    found = {p.name for p in Path(golden).iterdir() if p.is_dir()}
    assert found & {*SUPPORTED}, f"{golden} holds no family of golden files"


def test_family_is_known(golden_family):
    assert golden_family in SUPPORTED


def patterns_of(path):
    """The files that a module checks: its constant PATTERNS."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "PATTERNS":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path.name} has no PATTERNS")


@pytest.mark.parametrize(("family", "n_modules"), [("foveation", 4), ("behaviour", 5)])
def test_every_file_of_a_family_is_checked_by_one_module(golden, family, n_modules):
    if golden is None:
        pytest.skip("no golden folder: give --golden DIR or NEUROVIS_GOLDEN")
    modules = sorted(Path(__file__).parent.glob(f"test_golden_{family}_*.py"))
    patterns = [patterns_of(path) for path in modules]
    assert len(patterns) == n_modules
    folder = Path(golden) / family
    names = [p.name for p in folder.glob("*") if p.name != "README.md"]
    for name in names:
        owners = sum(any(fnmatch(name, p) for p in some) for some in patterns)
        assert owners == 1, f"{name} is checked by {owners} modules"
