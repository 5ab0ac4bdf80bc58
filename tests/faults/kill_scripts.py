"""A process that runs command lines in forks of itself and ends them at a step.

One process imports what a verb needs; each attempt at the verb is a fork of it, which
calls what the console script `neurovis` calls. A step is whatever an attempt does to a
file of its working folder: it opens it to write, synchronises, renames or removes it,
or makes a folder. It ends just before that; of opening, just after, with an empty file.
"""

import importlib
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
POLL_S = 0.005


class Steps:
    """Counts steps, and sends this process a signal at one of them.

    The moment is a number of steps, or the begin of the name of a file to be opened.
    """

    def __init__(self, number, moment):
        self.number, self.moment, self.count = number, moment, 0

    def step(self, opened=None):
        self.count += 1
        if isinstance(self.moment, str):
            now = opened is not None and opened.startswith(self.moment)
        else:
            now = self.count == self.moment
        if now and opened is not None:
            sys.setprofile(self.send)  # as soon as the file is there, and empty
        elif now:
            self.send()

    def send(self, frame=None, event=None, argument=None):
        if frame is None or frame.f_code.co_filename != __file__:
            sys.setprofile(None)
            os.kill(os.getpid(), self.number)

    def start(self):
        home, sync = os.getcwd(), os.fsync  # noqa: PTH109

        def counted(handle):
            self.step()
            sync(handle)

        def hear(event, arguments):
            opened = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if not (opened or event in CHANGES):
                return
            # Caches of the system and of Python are no files of the verb.
            if isinstance(arguments[0], str | bytes | os.PathLike):
                path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100
                if path.startswith(home):
                    self.step(os.path.basename(path) if opened else None)  # noqa: PTH119

        os.fsync = counted
        sys.addaudithook(hear)


def know(near):
    """Add a data set that lies on this machine, as one archive, to those known."""
    from data_loaders import sources
    from data_loaders.fetch import RemoteFile

    file = RemoteFile(name="near.zip", unpack="pictures", **near)
    source = sources.Source(
        **{"name": "near", "what": "", "url": "", "licence": "", "citation": ""},
        **{"loader": "none", "files": (file,)},
    )
    sources.SOURCES = {"near": source}


def attempt(words, cwd, near, number, moment, say):
    """Run one command line; what it did is told when it ends by itself."""
    from neurovis.cli import main

    if near:
        know(near)
    os.chdir(cwd)
    for stream, name in ((1, "output.txt"), (2, "errors.txt")):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
        os.close(file)
    # A shell's background jobs, and so their children, do not hear Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    steps = Steps(number, moment)
    steps.start()
    try:
        sys.argv = ["neurovis", *words]
        main()
    finally:
        told = {"steps": steps.count, "modules": list(sys.modules)}
        os.write(say, json.dumps(told).encode())


def follow(child, number, path, size):
    """Send a signal to a process as soon as a file has grown to a size."""
    while True:
        with suppress(FileNotFoundError):
            if path.stat().st_size >= size:
                os.kill(child, number)
                return
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(POLL_S)


def run(words, cwd, near=None, number=None, moment=None, grown=None):
    """Fork an attempt; return its exit code, errors and number of steps."""
    hear, say = os.pipe()
    child = os.fork()
    if not child:
        os.close(hear)
        attempt(words, cwd, near, number, moment, say)
        sys.exit(0)
    os.close(say)
    if grown:
        follow(child, number, Path(cwd, grown[0]), grown[1])
    with os.fdopen(hear, "rb") as file:
        told = json.loads(file.read() or "{}")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for name in told.get("modules", ()):
        if name != "__main__":
            with suppress(Exception):  # some make themselves up when used
                importlib.import_module(name)
    errors = Path(cwd, "errors.txt").read_text()
    return {"code": code, "errors": errors, "steps": told.get("steps")}


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(**json.loads(line))) + "\n")
        sys.stdout.flush()
