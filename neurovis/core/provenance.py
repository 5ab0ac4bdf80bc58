"""How a result came about, collected at the end of a task."""

import importlib.util
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from neurovis.core.files import plain, sha256_bytes, sha256_file
from neurovis.core.types import Provenance

PACKAGES = ("numpy", "torch", "pandas", "scipy", "timm", "pillow", "neurovis")


def collect(
    seed: int | None,
    device: object = "cpu",
    dtype: object = "float32",
    fingerprints: Mapping[str, str] | None = None,
    call: Mapping[str, Any] | None = None,
    notes: Iterable[str] = (),
) -> Provenance:
    """Return the provenance of a result that was computed in this process.

    It holds no times, so two equal runs on one machine have equal provenance.

    Parameters
    ----------
    seed : int or None
        Seed of the run.
    device : str or torch.device
        Where it was computed; the name of a CUDA device is added.
    dtype : str or torch.dtype
        Precision.
    fingerprints : mapping of str to str, optional
        Content hashes of stimuli, weights and data.
    call : mapping, optional
        Arguments of the call, as `neurovis.core.files.plain` takes them.
    notes : iterable of str
        What a reader must know.

    Returns
    -------
    Provenance
        Versions of Python and packages ("not installed" when absent), platform
        and processor, and the git revision of the source tree when it is one.

    Raises
    ------
    TypeError, ValueError
        If an argument of the call has no JSON form.

    Examples
    --------
    >>> collect(seed=1, call={"n_trials": 20}).call
    {'n_trials': 20}
    """
    versions = {"python": platform.python_version()}
    versions |= {name: _version(name) for name in PACKAGES}
    versions |= {"platform": platform.platform(), "cpu": _cpu_name()}
    revision = _git_revision(Path(__file__).resolve())
    return Provenance(
        versions=versions,
        device=_device_name(str(device)),
        dtype=str(dtype).removeprefix("torch."),
        seed=seed,
        fingerprints=dict(fingerprints or {}),
        call=plain(call or {}),
        code=f"neurovis {versions['neurovis']}" + (f" {revision}" if revision else ""),
        notes=tuple(notes),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch  # here, so that `stimuli` can use this module without torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


@cache
def _git_revision(file: Path) -> str:
    """Return the commit of a tracked file, "+dirty" when the tree has changes.

    A file that lies inside a repository without being tracked by it, such as an
    installed package, has no revision: the repository is somebody else's.
    """
    # Set inside hooks, where they point to another repository.
    outside = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(file.parent), *arguments],
            capture_output=True,
            text=True,
            env=outside,
            timeout=30,
            check=True,
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        # `git describe --dirty` would write the index of the repository.
        changes = git("--no-optional-locks", "status", "--porcelain", "-uno")
        return git("rev-parse", "HEAD") + ("+dirty" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def code_fingerprint() -> str:
    """Return the content hash of the code that computes responses.

    Returns
    -------
    str
        SHA-256 over the source files of `neurovis.adapters`, `neurovis.fitting`,
        `neurovis.foveation` and `neurovis.generation`: results that were kept by other
        code are not taken for results of this one.
    """
    package = Path(__file__).resolve().parents[1]
    parts = ("adapters", "fitting", "foveation", "generation")
    files = sorted(file for part in parts for file in package.glob(f"{part}/*.py"))
    return sha256_bytes(b"".join(sha256_file(file).encode() for file in files))


@cache
def source_fingerprint() -> str:
    """Return the content hash of all source files of the suite.

    Returns
    -------
    str
        SHA-256 over the files of the five packages and their places in them: what was
        scored by other code is not taken for a result of this one.
    """
    lines = []
    for package in ("neurovis", "stimuli", "data_loaders", "analysis", "tasks"):
        spec = importlib.util.find_spec(package)
        roots = list(spec.submodule_search_locations or ()) if spec else []
        for root in roots:
            lines += [
                f"{package}/{file.relative_to(root).as_posix()} {sha256_file(file)}"
                for file in Path(root).rglob("*.py")
            ]
    return sha256_bytes("\n".join(sorted(lines)).encode())
