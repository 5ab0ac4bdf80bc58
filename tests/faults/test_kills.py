"""Verbs that are killed or interrupted in the middle of their work.

Each verb is run through its command line, in processes of its own, and gets its signal
at a step of its writing: a file was just opened and is empty, or is about to be
synchronised, renamed or removed.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import numpy as np
import pytest

from neurovis.core.files import sha256_file
from neurovis.core.pictures import write_png
from stimuli.category_pictures import make_category_pictures
from tasks.runs import begin_run
from tests.faults import kill_scripts

KILL, INTERRUPT = signal.SIGKILL, signal.SIGINT
TOLD = "interrupted: run the same command again to resume where it stopped\n"
# Words of an attempt; and when a file was looked at whose hash is kept.
NO_RESULT = re.compile(r"(output|errors)\.txt|.*/hashes/\w+\.json")
LEFTOVER = re.compile(r"\.part\b|\.lock$")
HOUR_S = 3600


@dataclass(frozen=True)
class Verb:
    """A command line, and what its working folder begins with.

    A kill hits the moment when `opens` is written, and may leave `leaves`: stores are
    for many writers, who cannot know each other's leftovers.
    """

    words: str
    begins_with: str | None = None
    opens: str = "run.json"
    leaves: str = r".*/\w{64}\.lock|store/(.*/)?(\.probe|hashes/\w+\.json)\.part-\d+"

    @property
    def name(self):
        return " ".join(self.words.split()[:2])


@contextmanager
def attempts():
    """Yield a function that runs a command line: code, errors, number of steps."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NEUROVIS_PROGRESS": "0"}
    with subprocess.Popen(
        [sys.executable, "-P", kill_scripts.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:

        def attempt(words, folder, **options):
            asked = {"words": words.split(), "cwd": str(folder), **options}
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        try:
            yield attempt
        finally:
            process.stdin.close()


def contents(folder):
    """Return the results below a folder, and what is left of killed processes."""
    results, leftovers = {}, []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        inside = name.startswith(tuple(f"{outer}/" for outer in leftovers))
        if inside or NO_RESULT.fullmatch(name):
            continue
        if LEFTOVER.search(path.name):
            leftovers.append(name)
        elif path.is_file():
            results[name] = path.read_bytes()
    return results, leftovers


def assert_ended_well(ended):
    assert (ended["code"], ended["errors"]) == (0, "")


def assert_ended_by(number, ended):
    if number == KILL:
        assert ended["code"] == -KILL
    else:
        assert (ended["code"], ended["errors"]) == (130, TOLD)


# Where a named file is empty; near the end; three times, each time some way from where
# it was resumed.
LIVES = (
    ((KILL, None),),
    ((KILL, (0.6, 0.97)),),
    ((KILL, (0.05, 0.3)), (KILL, (0.05, 0.3)), (INTERRUPT, (0.05, 0.3))),
)


def assert_equal_bytes_under_fire(verb, words, attempt, begin, home):
    """Run a verb in peace, then in each life until it ends; all end alike."""
    draw = random.Random(verb.words)
    whole = begin(home / "whole")
    ended = attempt(words, whole)
    assert_ended_well(ended)
    expected, leftovers = contents(whole)
    assert leftovers == []
    for number, shots in enumerate(LIVES):
        folder = begin(home / f"life {number}")
        for shot, shares in shots:
            moment = verb.opens
            if shares is not None:
                moment = round(ended["steps"] * draw.uniform(*shares))
            assert_ended_by(shot, attempt(words, folder, number=shot, moment=moment))
        for name in contents(folder)[1]:
            changed_s = (folder / name).stat().st_mtime - 2 * HOUR_S
            os.utime(folder / name, (changed_s, changed_s))
        assert_ended_well(attempt(words, folder))
        found, leftovers = contents(folder)
        assert found.keys() == expected.keys()
        assert [name for name in found if found[name] != expected[name]] == []
        output = (folder / "output.txt").read_text()
        assert output == (whole / "output.txt").read_text()
        assert [n for n in leftovers if not re.fullmatch(verb.leaves, n)] == []
        assert len(leftovers) <= len(shots)


def tell(told, verb):
    told(
        f"`neurovis {verb.name}`: killed while it writes `{verb.opens}`; near its end; "
        "twice on its way, and interrupted by Ctrl-C; each time run again",
        f'Ctrl-C: exit code 130 and "{TOLD.strip()}"; all files of the reruns have the '
        "bytes of an undisturbed run",
    )


EXPORT = Verb(
    "stimuli search-asymmetry --trials 1 --conditions left_right --set-sizes 6 "
    "--rendering smooth --px-per-deg 8 --export psychopy --export bids --out set",
    opens="stimuli.csv",
    leaves=r"set/.*\.part-\d+",
)


def test_an_export_that_is_killed_and_interrupted_ends_with_equal_bytes(tmp_path, told):
    def begin(folder):
        folder.mkdir()
        return folder

    with attempts() as attempt:
        assert_equal_bytes_under_fire(EXPORT, EXPORT.words, attempt, begin, tmp_path)
        tell(told, EXPORT)
        edited = tmp_path / "whole" / "set" / "psychopy" / "conditions.csv"
        edited.write_text("mine")
        ended = attempt(EXPORT.words, tmp_path / "whole")
    assert ended["code"] == 1
    assert ended["errors"] == (
        "error: set/psychopy exists already. Remove it or choose another folder.\n"
    )
    assert edited.read_text() == "mine"
    told("an export in the folder that was edited since", ended["errors"])


# ----------------------------------------------------------- verbs with networks


SIMULATE = (
    "data simulate nsd --out nsd --subjects 1 --sessions 1 --shape 9,11,9 "
    "--vertices 162 --picture-px 32 --seed 3"
)
FIT = (
    "fit encoding --data nsd:{given}/nsd --roi early --store store --device cpu "
    "--features compact_vgg@seeded:3/8:stage2:gap,stage3:gap --features control:colour "
    "--permutations 9 --bootstrap 9 --out out"
)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Folder of what verbs begin with; `provide` fills it."""
    return tmp_path_factory.mktemp("given")


def provide(attempt, words, home):
    """Make what a command line names: pictures, a simulated brain, a finished fit."""
    if f"{home}/pictures" in words and not (home / "pictures").exists():
        drawn = make_category_pictures(12, size_px=64, seed=1)
        for i in range(12):
            path = home / "pictures" / ("sea", "land")[i % 2] / f"{i}.png"
            write_png(path, drawn.load(i))
    if f"{home}/nsd" in words and not (home / "nsd").exists():
        assert_ended_well(attempt(SIMULATE, home))
    if f"{home}/fitted" in words and not (home / "fitted").exists():
        fit = FIT.format(given=home)
        provide(attempt, fit, home)
        (home / "fitted").mkdir()
        assert_ended_well(attempt(fit, home / "fitted"))


VERBS = (
    Verb(SIMULATE, opens="nsd_stim_info", leaves=r"nsd\.part-\d+"),
    Verb("data prepare nsd:{given}/nsd --store store", opens="prepared.json"),
    Verb(FIT),
    Verb(
        "fit brain-encoder --data nsd:{given}/nsd --roi early --device cpu --out out "
        "--features control:gabor:cycles4:grid4 --heads 2 --epochs 2 "
        "--readout transformer --permutations 9 --bootstrap 9"
    ),
    Verb(
        "train backbone --images {given}/pictures --widths 3,6,12,16,24 --epochs 2 "
        "--batch-size 2 --device cpu --out out"
    ),
    Verb(
        "train generator --kind pixel --pictures 64 --epochs 1 --device cpu --out out"
    ),
    Verb(
        "generate braindive --region early --generator sketch:seeded:pixel:0 "
        "--encoder {given}/fitted/out/models/subj01/compact_vgg_seeded_3_8/stage3_gap "
        "--images 2 --steps 2 --scale 1 --relative --sampler ddim --bootstrap 20 "
        "--device cpu --out out"
    ),
    Verb(
        "bank build {given}/pictures --backbone compact_vgg@seeded:0/8 --shard 4 "
        "--layer stage3:gap --batch-size 2 --device cpu --out out",
        opens="bank.json",
    ),
    Verb(
        "run search-asymmetry --models eccnet --weights seeded:0/16 --trials 1 "
        "--conditions cross,left_right --device cpu --out out"
    ),
    Verb("report out", "fitted", "report.html", leaves=r"out/.*\.part-\d+"),
)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_verb_that_is_killed_and_interrupted_ends_with_equal_bytes(
    verb, given, tmp_path, told
):
    words = verb.words.format(given=given)
    start = "" if verb.begins_with is None else str(given / verb.begins_with)

    def begin(folder):
        if start:
            shutil.copytree(start, folder)
        else:
            folder.mkdir()
        return folder

    with attempts() as attempt:
        provide(attempt, f"{words} {start}", given)
        assert_equal_bytes_under_fire(verb, words, attempt, begin, tmp_path)
    tell(told, verb)


@pytest.mark.parametrize(
    ("name", "writer", "age_h", "goes"),
    [
        ("scores.parquet", "dead", 2, True),
        ("figures/rt.png", "dead", 2, True),
        (".probe", "dead", 2, True),
        ("scores.parquet", "dead", 0.5, False),
        ("scores.parquet", "living", 2, False),
        ("results.zip", "dead", 2, False),
    ],
)
def test_old_temporary_files_of_dead_processes_leave_the_folder_of_a_run(
    name, writer, age_h, goes, tmp_path, told
):
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    number = {"dead": child.pid, "living": os.getppid()}[writer]
    begin_run(tmp_path, {"task": "none"})
    path = tmp_path / f"{name}.part-{number}"
    path.parent.mkdir(exist_ok=True)
    path.write_text("half")
    changed_s = time.time() - age_h * HOUR_S
    os.utime(path, (changed_s, changed_s))
    begin_run(tmp_path, {"task": "none"})
    assert path.exists() is not goes
    told(
        f"`{name}.part-PID` in the folder of a run, {age_h:g} h old, PID {writer}",
        "gone when the run goes on" if goes else "left where it is",
    )


# ---------------------------------------------------------------------- download


class Handler(BaseHTTPRequestHandler):
    """Sends a file up to the next place where it falls silent."""

    def log_message(self, *arguments):
        """Say nothing."""

    def do_GET(self):
        server, data = self.server, self.server.data
        server.seen.append(self.headers.get("Range"))
        first = 0
        if server.ranges and server.seen[-1]:
            first = int(re.fullmatch(r"bytes=(\d+)-", server.seen[-1])[1])
        self.send_response(206 if first else 200)
        if first:
            span = f"bytes {first}-{len(data) - 1}/{len(data)}"
            self.send_header("Content-Range", span)
        self.send_header("Content-Length", str(len(data) - first))
        self.send_header("ETag", '"one"')
        self.end_headers()
        server.starts.append(first)
        silent = server.silences.pop(0) if server.silences else len(data)
        self.wfile.write(data[first:silent])
        if silent < len(data):
            self.wfile.flush()
            server.end.wait(30)


@contextmanager
def serve(data, *, ranges, silences):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.data, server.ranges, server.silences = data, ranges, list(silences)
        server.seen, server.starts, server.end = [], [], Event()
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.end.set()
            server.shutdown()
            thread.join()


def make_archive(path):
    """Write an archive of noise: it cannot be made smaller."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(6):
            name = zipfile.ZipInfo(f"images/{i}.bin")
            archive.writestr(name, rng.bytes(150_000))


@pytest.mark.slow
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_download_that_is_killed_and_interrupted_ends_with_equal_bytes(
    ranges, tmp_path, told
):
    make_archive(tmp_path / "near.zip")
    data, sha256 = (
        (tmp_path / "near.zip").read_bytes(),
        sha256_file(tmp_path / "near.zip"),
    )
    n, words, part = len(data), "data fetch near --to set", "set/near.zip.part"
    silences = [n // 3, 2 * n // 3]
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    with attempts() as attempt, serve(data, ranges=ranges, silences=silences) as server:
        url = f"http://127.0.0.1:{server.server_port}/near.zip"
        near = {"url": url, "sha256": sha256, "n_bytes": n}

        def fetch(folder, **options):
            return attempt(words, tmp_path / folder, near=near, **options)

        for number, share in ((KILL, 0.25), (INTERRUPT, 0.55)):
            ended = fetch("killed", number=number, grown=[part, round(share * n)])
            assert_ended_by(number, ended)
        # The rest of the file, then its members.
        for moment in (5, 20, 25):
            assert_ended_by(KILL, fetch("killed", number=KILL, moment=moment))
        lock, members = contents(tmp_path / "killed")[1]
        assert lock == "set/pictures.lock"
        assert re.fullmatch(r"set/pictures\.part-\d+", members)
        assert_ended_well(fetch("killed"))
        assert_ended_well(fetch("whole"))
    assert server.seen[1] == f"bytes={n // 3}-"
    assert server.starts[1] == (n // 3 if ranges else 0)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert contents(tmp_path / "whole")[1] == []
    told(
        f"`neurovis data fetch`, a server {'with' if ranges else 'without'} ranges: "
        "killed and interrupted by Ctrl-C on the way, killed while the archive was "
        "unpacked, then run again",
        f"{'only what was missing' if ranges else 'the whole file'} was sent; all "
        "files have the bytes of an undisturbed download, nothing else is left",
    )
