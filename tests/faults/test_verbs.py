"""What commands leave alone: other files, the network, what a process shares."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import neurovis
from neurovis.cli import app
from tests.faults.verbs import GROUPS, VERBS, WITHOUT_A_CALL, draw_pictures, make_inputs
from tests.faults.watch import (
    differences,
    file_hashes,
    file_marks,
    global_states,
    is_given,
)

ROOT = Path(neurovis.__file__).parents[1]
CHEAP = ("data check", "stimuli search-slopes", "stimuli foveate")


def commands(command, *names):
    """Names of all commands below a command."""
    if not hasattr(command, "commands"):
        return {" ".join(names)}
    below = [commands(each, *names, name) for name, each in command.commands.items()]
    return set().union(*below)


def test_every_verb_has_a_tiny_call_or_a_reason_to_have_none():
    called = [verb.name for verb in VERBS]
    assert len(called) == len(set(called))
    assert set(called).isdisjoint(WITHOUT_A_CALL)
    assert {*called, *WITHOUT_A_CALL} == commands(typer.main.get_command(app))


def python(*words, cwd, **variables):
    """Run Python in a process of its own, with folders of its own."""
    kept = {k: v for k, v in os.environ.items() if k not in UNSET}
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=kept | {k: str(v) for k, v in variables.items()},
        timeout=850,
    )


# Where they are set, the network would not be asked, and data of others be found.
UNSET = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "NEUROVIS_DATA", "NEUROVIS_GOLDEN")


WATCHED = """
import json, os, socket, subprocess, sys
from pathlib import Path
from tests.faults.watch import Watch

watch, place = Watch(), Path(sys.argv[1])
(place / "before").write_text("not watched")
with watch():
    (place / "before").read_text()
    (place / "a").write_text("1")
    (place / "a").rename(place / "b")
    (place / "made").mkdir()
    (place / "made").mkdir(exist_ok=True)
    (place / "missing").exists()
    folder = os.open(place / "made", os.O_RDONLY)
    os.close(os.open("below", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
    os.unlink("below", dir_fd=folder)
    try:
        socket.create_connection(("localhost", 9))
    except PermissionError:
        pass
    subprocess.run(["true"])
written = sorted(os.path.relpath(path, place) for path in watch.written)
print(json.dumps([written, len(watch.asked), len(watch.started)]))
"""


def test_the_watch_sees_what_is_written_asked_and_started(tmp_path):
    done = python("-c", WATCHED, tmp_path, cwd=tmp_path, PYTHONPATH=ROOT)
    assert done.returncode == 0, done.stderr
    written, n_asked, n_started = json.loads(done.stdout)
    # No event tells in which folder `os.open` opened "below".
    assert written == ["a", "b", "below", "made", "made/below"]
    assert (n_asked, n_started) == (1, 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", GROUPS)
def test_verbs_touch_what_they_were_given_and_nothing_else(group, tmp_path, told):
    folders = {name: tmp_path / name for name in ("home", "caches", "tmp", "here")}
    for folder in folders.values():
        folder.mkdir()
    done = python(
        *("-m", "tests.faults.watch", tmp_path, group),
        cwd=folders["here"],
        HOME=folders["home"],
        # Fonts that matplotlib found: a file of its own, where the user wants caches.
        MPLCONFIGDIR=folders["caches"],
        XDG_CACHE_HOME=folders["caches"],
        TMPDIR=folders["tmp"],
        PYTHONPATH=ROOT,
        PYTHONDONTWRITEBYTECODE="1",
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "watched.json").read_text())
    names = [verb.name for verb in VERBS if verb.group == group]
    assert [verb["name"] for verb in record["verbs"]] == names
    for verb in record["verbs"]:
        assert (verb["name"], verb["code"], verb["errors"]) == (verb["name"], 0, "")

    def found(what):
        return {verb["name"]: verb[what] for verb in record["verbs"] if verb[what]}

    assert found("written elsewhere") == {}
    assert found("asked of the network") == {}
    started = [line for lines in found("started").values() for line in lines]
    assert [line for line in started if "['git', " not in line] == []
    assert record["imports"] == {}
    assert found("shared states changed") == {}
    assert record["inputs changed"] == {}
    assert list(folders["here"].iterdir()) == []
    assert list(folders["home"].iterdir()) == []
    told(
        f"`neurovis` {', '.join(names)}: each under watch of files, sockets, processes "
        "and of what a process shares",
        "files only below the folders that were given; no question to the network; "
        "random numbers of Python, numpy and torch, threads, precision, warnings, "
        "logging, looks of figures, environment and working folder as before; inputs "
        "with their bytes and times",
    )


def test_cheap_verbs_leave_states_inputs_and_other_folders_alone(
    tmp_path, monkeypatch, told
):
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # Libraries set filters of warnings when they are imported, the first time.
    for time in ("first", "second"):
        draw_pictures(tmp_path / time / "made")
        hashes = file_hashes(tmp_path)
        for verb in VERBS:
            if verb.name not in CHEAP:
                continue
            words, given = verb.line(tmp_path / time)
            files, states = file_marks(tmp_path), global_states()
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, done.output
            if time == "second":
                assert differences(states, global_states()) == {}
            changed = differences(files, file_marks(tmp_path))
            assert all(is_given(path, given) for path in changed)
            assert bool(changed) == bool(given)
        now = file_hashes(tmp_path)
        assert {name: now[name] for name in hashes} == hashes
    told(
        f"`neurovis` {', '.join(CHEAP)}, inside a running program",
        "the program's random numbers, settings and folders are as before",
    )


# ---------------------------------------------------------------- the network

# A judge is read before the encoder that it judges.
DRIVE = "generate braindive --encoder nowhere --region all --judge"
# Commands that name what is not here, and what the error says. Weights with a name are
# fetched, so that for them downloads are off.
NAMED = {
    "": [
        ("generate anagram --generator owner/name", "owner/name"),
        ("run braindive --generator owner/name", "owner/name"),
        ("run brainscuba --captioner owner/name", "owner/name"),
        ("weights convert-clipcap {made}/clipcap.pt {out}", "openai-community/gpt2"),
        (f"{DRIVE} open_clip:ViT-B-16-SigLIP@seeded:0", "timm/ViT-B-16-SigLIP"),
    ],
    "NEUROVIS_OFFLINE": [
        ("run search-asymmetry --models ivsn --weights imagenet-caffe", "vgg16_feat"),
        ("bank build {made}/three --backbone timm:resnet18", "timm/resnet18"),
        (f"{DRIVE} open_clip:roberta-ViT-B-32@seeded:0", "roberta-base"),
    ],
}
ASKING = """
import json, sys
from tests.faults.watch import Watch, call

watch, found = Watch(), []
for words in json.loads(sys.argv[1]):
    with watch():
        found.append([*call(words), watch.asked])
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("variable", NAMED)
def test_what_is_not_here_is_named_and_not_fetched(variable, tmp_path, told):
    make_inputs(tmp_path, "pictures")
    made, out = tmp_path / "made", tmp_path / "new"
    lines = [line for line, _ in NAMED[variable]]
    words = [
        [word.format(made=made, out=out) for word in line.split()]
        + ([] if "{out}" in line else ["--out", str(out)])
        for line in lines
    ]
    done = python(
        *("-c", ASKING, json.dumps(words)),
        cwd=tmp_path,
        HOME=tmp_path,
        PYTHONPATH=ROOT,
        **({variable: "1"} if variable else {}),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for (line, name), (code, output, errors, asked) in zip(
        NAMED[variable], found, strict=True
    ):
        assert (line, code, output, asked) == (line, 1, "", [])
        assert errors.startswith("error: ")
        assert "Traceback" not in errors
        assert name in errors.splitlines()[0]
        told(
            f"`neurovis {line}`" + f", with {variable}=1" * bool(variable),
            errors.splitlines()[0],
        )
    assert not out.exists()


COLLECT = """
from neurovis.core.provenance import collect

print(collect(0).to_dict())
"""


@pytest.mark.skipif(shutil.which("git") is None, reason="git is absent")
def test_a_checkout_is_asked_for_its_revision_and_not_written(tmp_path, told):
    home = tmp_path / "checkout"
    core = shutil.copytree(ROOT / "neurovis" / "core", home / "neurovis" / "core")
    shutil.copy(ROOT / "neurovis" / "__init__.py", home / "neurovis")

    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", home, *who, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    # Then git would note anew when the file was written.
    os.utime(core / "provenance.py", (10**9, 10**9))
    before = file_marks(home), file_hashes(home)
    done = python(
        *("-c", COLLECT),
        cwd=tmp_path,
        PYTHONPATH=home,
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert done.returncode == 0, done.stderr
    assert git("rev-parse", "HEAD") in done.stdout
    assert "+dirty" not in done.stdout
    assert (file_marks(home), file_hashes(home)) == before
    told(
        "a run from a git checkout",
        "no file of the checkout is written, its index neither",
    )
