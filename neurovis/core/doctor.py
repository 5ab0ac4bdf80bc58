"""What is installed, where it comes from, and what is amiss."""

import os
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("neurovis", "stimuli", "data_loaders", "analysis", "tasks")
NEEDED = ("torch", "torchvision", "timm", "nilearn", "numpy", "pandas", "scipy")


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    Parameters
    ----------
    topic : str
        What.
    fine : bool
        Whether nothing needs to be done.
    text : str
        What was found, and what to do.
    """

    topic: str
    fine: bool
    text: str


def examine() -> list[Finding]:
    """Examine versions, packages, devices, data folders and caches.

    Returns
    -------
    list of Finding
        In the order in which a person would ask.
    """
    return [*_versions(), *_origins(), _device(), _data(), *_caches()]


def _versions() -> list[Finding]:
    findings = []
    for name in ("neurovis", *NEEDED):
        try:
            findings.append(Finding(name, True, version(name)))
        except PackageNotFoundError:
            advice = "not installed: `pip install neurovis` brings it"
            findings.append(Finding(name, False, advice))
    return findings


def _origins() -> list[Finding]:
    """Tell when another module of the same name stands before one of ours."""
    home = Path(__file__).resolve().parents[2]
    findings = []
    for name in PACKAGES:
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None:
            text = f"cannot be imported; it belongs to {home}"
        elif origin == home / name / "__init__.py":
            findings.append(Finding(f"package {name}", True, str(origin.parent)))
            continue
        else:
            text = f"{origin} shadows ours in {home}: rename it or run elsewhere"
        findings.append(Finding(f"package {name}", False, text))
    return findings


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = {
            torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
        }
        text = f"{torch.cuda.device_count()} CUDA: {', '.join(sorted(names))}"
    elif torch.backends.mps.is_available():
        text = "mps"
    else:
        text = f"cpu only, {torch.get_num_threads()} threads"
    return Finding("devices", True, text)


def _data() -> Finding:
    folder = os.environ.get("NEUROVIS_DATA")
    if not folder:
        return Finding("data", True, "NEUROVIS_DATA is not set: give paths yourself")
    if not Path(folder).is_dir():
        return Finding("data", False, f"NEUROVIS_DATA={folder} is not a folder")
    found = sorted(p.name for p in Path(folder).iterdir() if p.is_dir())
    return Finding("data", True, f"{folder}: {', '.join(found) or 'empty'}")


def _caches() -> list[Finding]:
    import torch
    from huggingface_hub.constants import HF_HUB_CACHE

    findings = []
    for topic, folder in (
        ("torch hub cache", Path(torch.hub.get_dir()) / "checkpoints"),
        ("hugging face cache", Path(HF_HUB_CACHE)),
        ("results", Path.cwd()),
    ):
        nearest = folder
        while not nearest.exists():
            nearest = nearest.parent
        try:
            with tempfile.TemporaryFile(dir=nearest):
                findings.append(Finding(topic, True, f"{folder} (writable)"))
        except OSError as error:
            text = f"{folder} cannot be written: {error.strerror}"
            findings.append(Finding(topic, False, text))
    return findings
