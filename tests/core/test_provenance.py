"""Provenance: all that a second run needs, and nothing that differs between runs."""

import json
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch

from neurovis.core import provenance
from neurovis.core.provenance import collect
from neurovis.core.types import Provenance

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is absent")


@pytest.fixture
def repository(tmp_path):
    """Make a repository with one commit of one file."""

    def git(*arguments):
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet")
    (tmp_path / "code.py").write_text("x = 1\n")
    git("add", "code.py")
    git("commit", "--quiet", "-m", "first")
    provenance._git_revision.cache_clear()
    yield tmp_path, git
    provenance._git_revision.cache_clear()


def test_two_equal_runs_have_equal_provenance():
    arguments = {"seed": 3, "call": {"sizes": (1, 2)}, "notes": ["untrained weights"]}
    assert collect(**arguments) == collect(**arguments)
    assert collect(seed=4) != collect(seed=3)


def test_another_process_finds_the_same(tmp_path):
    code = (
        "import json; from neurovis.core.provenance import collect\n"
        "print(json.dumps(collect(3, fingerprints={'stimuli': 'ab'}).to_dict()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    here = collect(3, fingerprints={"stimuli": "ab"})
    assert Provenance.from_dict(json.loads(done.stdout)) == here


def test_versions_are_those_of_the_installed_packages():
    versions = collect(0).versions
    assert versions["python"] == platform.python_version()
    for name in ("numpy", "torch", "pandas", "scipy", "timm", "pillow", "neurovis"):
        assert versions[name] == version(name)
    assert versions["platform"] == platform.platform()
    assert versions["cpu"]
    assert collect(0).code.startswith(f"neurovis {version('neurovis')}")


def test_an_absent_package_is_said_to_be_absent():
    assert provenance._version("no-such-package-of-ours") == "not installed"


def test_arguments_become_plain_values_that_survive_json():
    found = collect(
        seed=1,
        device=torch.device("cpu"),
        dtype=torch.float32,
        call={"sizes": (8, 16), "sigma": np.float64(0.5), "grid": np.arange(2)},
        notes=("a", "b"),
    )
    assert (found.device, found.dtype) == ("cpu", "float32")
    assert found.call == {"sizes": [8, 16], "sigma": 0.5, "grid": [0, 1]}
    text = json.dumps(found.to_dict())
    assert Provenance.from_dict(json.loads(text)) == found


def test_arguments_without_a_json_form_are_refused():
    with pytest.raises(TypeError, match="JSON"):
        collect(0, call={"model": object()})


def test_no_time_of_day_is_recorded():
    text = json.dumps(collect(0).to_dict())
    assert not re.search(r"\d\d:\d\d:\d\d|20\d\d-\d\d-\d\d", text)


@needs_git
def test_the_revision_of_a_clean_tree_is_its_commit(repository):
    folder, git = repository
    found = provenance._git_revision(folder / "code.py")
    assert found == git("rev-parse", "HEAD")
    assert re.fullmatch(r"[0-9a-f]{40}", found)


@needs_git
def test_a_changed_tree_is_marked_dirty(repository):
    folder, git = repository
    (folder / "code.py").write_text("x = 2\n")
    found = provenance._git_revision(folder / "code.py")
    assert found == git("rev-parse", "HEAD") + "+dirty"


@needs_git
def test_an_untracked_file_takes_no_revision_from_the_repository_around(repository):
    folder, _ = repository
    (folder / "installed.py").write_text("x = 1\n")
    assert provenance._git_revision(folder / "installed.py") == ""


@needs_git
def test_variables_of_a_git_hook_do_not_mislead(repository, monkeypatch, tmp_path):
    folder, git = repository
    commit = git("rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert provenance._git_revision(folder / "code.py") == commit


def test_without_git_or_repository_there_is_no_revision(tmp_path, monkeypatch):
    (tmp_path / "code.py").write_text("x = 1\n")
    provenance._git_revision.cache_clear()
    assert provenance._git_revision(tmp_path / "code.py") == ""
    monkeypatch.setenv("PATH", "")
    (tmp_path / "other.py").write_text("x = 1\n")
    assert provenance._git_revision(tmp_path / "other.py") == ""
