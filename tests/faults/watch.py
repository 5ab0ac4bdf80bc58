"""Run commands in this process and write down all that they touched.

`python -m tests.faults.watch FOLDER GROUP` makes the inputs of a group of
`tests.faults.verbs` in a folder, runs its commands one after another and leaves
`watched.json`. A process of its own: nobody can take an audit hook back.
"""

import contextlib
import hashlib
import importlib
import io
import json
import logging
import os
import pkgutil
import random
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path

PACKAGES = ("neurovis", "stimuli", "data_loaders", "analysis", "tasks")
# Packages of others: some set filters of warnings and make caches when imported. That
# of dask writes into the home folder: no verb here may import it.
OTHERS = (
    *("torch", "torchvision", "timm", "matplotlib.pyplot", "pandas", "h5py"),
    *("nilearn.surface", "nilearn.plotting", "sklearn", "diffusers", "transformers"),
    *("open_clip", "nltk"),
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Where a path, and the descriptor of its folder, stand among the arguments.
CHANGES = {
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
}
NETWORK = (
    *("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"),
    *("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"),
)
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")


class Watch:
    """What was written, asked of the network and started while it was on.

    Libraries in C write files that no event tells: compare `file_marks` too.
    """

    def __init__(self):
        self.on = False
        self.written, self.asked, self.started = set(), [], []
        sys.addaudithook(self._note)

    def _note(self, event, arguments):
        if not self.on:
            return
        if event == "open":
            path, _, flags = arguments
            if flags and flags & WRITING:
                self._add(path)
        elif event in CHANGES:
            for place, folder in CHANGES[event]:
                path = arguments[place]
                # To make a folder that is there changes nothing.
                if event != "os.mkdir" or not os.path.isdir(path):  # noqa: PTH112
                    self._add(path, -1 if folder is None else arguments[folder])
        elif event in NETWORK:
            self.asked.append(f"{event} {arguments[1:]!r}")
            raise PermissionError(f"no network under watch: {event} {arguments!r}")
        elif event in STARTS:
            self.started.append(f"{event} {arguments[:2]!r}")

    def _add(self, path, folder=-1):
        if path is None or isinstance(path, int):
            return  # a descriptor: noted under its name when it was opened
        path = Path(os.fsdecode(path))
        if folder >= 0:
            path = Path(f"/proc/self/fd/{folder}").readlink() / path
        self.written.add(os.path.abspath(path))  # noqa: PTH100

    @contextlib.contextmanager
    def __call__(self):
        self.written, self.asked, self.started = set(), [], []
        self.on = True
        try:
            yield
        finally:
            self.on = False


# ---------------------------------------------------------------- global states


def global_states():
    """What all parts of a process share, as text, by name."""
    import matplotlib as mpl
    import numpy as np
    import torch

    legacy = np.random.get_state()  # noqa: NPY002
    root, cudnn = logging.getLogger(), torch.backends.cudnn
    umask = os.umask(0o022)
    os.umask(umask)
    states = {
        "random numbers of Python": random.getstate(),
        "random numbers of numpy": (*legacy[:1], legacy[1].tobytes(), *legacy[2:]),
        "random numbers of torch": torch.get_rng_state().numpy().tobytes(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "types": (torch.get_default_dtype(), torch.get_default_device()),
        "gradients": (torch.is_grad_enabled(), torch.is_anomaly_enabled()),
        "determinism": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        ),
        "precision": torch.get_float32_matmul_precision(),
        "looks of figures": [f"{name} {mpl.rcParams[name]}" for name in mpl.rcParams],
        "warnings": [str(each) for each in warnings.filters],
        # Values may be secrets: they are compared and not told.
        "environment": [f"{k} {_hash(v)}" for k, v in sorted(os.environ.items())],
        "working folder": Path.cwd(),
        "logging": (root.level, root.disabled, root.handlers, root.filters),
        "errors of numpy": (np.geterr(), np.geterrcall(), np.get_printoptions()),
        "signals": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)],
        "paths of modules": sys.path,
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "rights of files": umask,
    }
    return {name: _short(repr(state)) for name, state in states.items()}


def _short(text):
    return text if len(text) < 5000 else _hash(text)


def _hash(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(before, after):
    """Values that changed, by name: before and after."""
    names = sorted(before.keys() | after.keys())
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


# ---------------------------------------------------------------- files


def file_marks(folder):
    """When each file was written, how large it is, where it lies on the disk."""
    found = [path for path in folder.rglob("*") if not path.is_dir()]
    stats = {str(path): path.lstat() for path in found}
    return {name: (s.st_mtime_ns, s.st_size, s.st_ino) for name, s in stats.items()}


def file_hashes(folder):
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def is_given(path, folders):
    """Whether a path lies in one of the folders, or in one that becomes it."""
    return any(
        Path(path).is_relative_to(folder) or str(path).startswith(f"{folder}.part-")
        for folder in folders
    )


# ---------------------------------------------------------------- commands


def call(words):
    """Run the program in this process: code or traceback, output, errors."""
    from neurovis.cli import main

    output, errors = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["neurovis", *words]
    code = 0
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            main()
    except SystemExit as end:
        code = end.code or 0
    except Exception:  # noqa: BLE001  # the test shows it
        code = traceback.format_exc()
    finally:
        sys.argv = before
    return code, output.getvalue(), errors.getvalue()


def import_all():
    """Import every module of the suite."""
    for package in PACKAGES:
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            importlib.import_module(module.name)


def watch_group(place, verbs):
    """Run commands, below the folders that `place` holds; return what each did."""
    watch = Watch()
    for name in OTHERS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    before = global_states()
    import_all()
    record = {"imports": differences(before, global_states()), "verbs": []}
    call(["data", "list"])  # the first command of a process sets logging up
    hashes = file_hashes(place / "made")
    for verb in verbs:
        words, given = verb.line(place)
        files, states = file_marks(place), global_states()
        with watch():
            code, output, errors = call(words)
        elsewhere = {path for path in watch.written if not is_given(path, given)}
        # What is gone again from the folder for temporary files was never there.
        temporary = [str(place / "tmp")]
        elsewhere -= {
            path
            for path in elsewhere
            if is_given(path, temporary) and not os.path.lexists(path)
        }
        changed = differences(files, file_marks(place))
        elsewhere |= {path for path in changed if not is_given(path, given)}
        record["verbs"].append(
            {
                "name": verb.name,
                "code": code,
                "output": output,
                "errors": errors,
                "written elsewhere": sorted(elsewhere),
                "asked of the network": watch.asked,
                "started": watch.started,
                "shared states changed": differences(states, global_states()),
            }
        )
    record["inputs changed"] = differences(hashes, file_hashes(place / "made"))
    return record


def main(place, group):
    """Leave what the commands of a group touched in `watched.json`."""
    from tests.faults.verbs import VERBS, make_inputs, make_small

    make_inputs(place, group)
    make_small()
    record = watch_group(place, [verb for verb in VERBS if verb.group == group])
    (place / "watched.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
