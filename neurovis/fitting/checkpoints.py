"""The folder of a training: its checkpoint while it runs, its result at the end.

``checkpoint.safetensors`` holds everything that a run needs to go on, in one file
that is replaced atomically. At the end ``model.safetensors``, ``curves.csv`` and, last,
``training.json`` take its place. Nothing in them depends on the clock or the machine.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    canonical_json,
    read_json,
    read_table,
    sha256_bytes,
    sha256_file,
    write_bytes,
    write_json,
    write_table,
)
from neurovis.core.tensors import hash_state_dict

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"
CURVES = "curves.csv"
RESULT = "training.json"

# Safetensors writes several entries of metadata in random order: one is enough.
_ENTRY = "training"


def cpu_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of named tensors on the CPU.

    Parameters
    ----------
    state : mapping of str to Tensor
        Such as the state dict of a module.

    Returns
    -------
    dict of str to Tensor
        Contiguous tensors that share no memory with `state`, nor with each other.
    """
    return {
        name: torch.empty(value.shape, dtype=value.dtype).copy_(value.detach())
        for name, value in state.items()
    }


def check_same_run(folder: Path, before: Any, now: Mapping[str, Any]) -> None:
    """Raise unless a folder holds the run that is asked for.

    Parameters
    ----------
    folder : Path
        For the message.
    before, now : mapping
        What the two runs depend on, as plain JSON values.

    Raises
    ------
    ValueError
        If they differ; the first differing entry is named.
    """
    for key in [*now, *(k for k in before if k not in now)]:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            names = [*new, *(k for k in old if k not in new)]
            inner = next((k for k in names if old.get(k) != new.get(k)), None)
            if inner is None:
                continue
            key, old, new = f"{key}.{inner}", old.get(inner), new.get(inner)
        if old != new:
            raise ValueError(
                f"{folder} holds a training with {key}={old!r}; now {key}={new!r} was "
                "asked for. Choose another folder, or remove this one."
            )


def write_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> None:
    """Replace the checkpoint of a run, atomically.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    tensors : mapping of str to Tensor
        All arrays of numbers, on the CPU.
    meta : mapping
        Everything else, as JSON values.
    """
    text = canonical_json(meta)
    # Safetensors has no checksum of its own.
    sums = {"json": sha256_bytes(text.encode()), "tensors": hash_state_dict(tensors)}
    entry = canonical_json({"meta": text, "sha256": sums})
    # `save_file` writes to a file of its own first, which a kill would leave behind.
    write_bytes(folder / CHECKPOINT, save(dict(tensors), {_ENTRY: entry}))


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read the checkpoint of a run.

    Parameters
    ----------
    folder : Path
        Folder of the run.

    Returns
    -------
    tuple of dict, or None
        Tensors by name and everything else; None when there is no checkpoint.

    Raises
    ------
    DataCorruptError
        If it is cut or changed.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        # Not memory-mapped for longer: the file is going to be replaced.
        tensors = {name: value.clone() for name, value in load_file(path).items()}
        with safetensors.safe_open(path, "pt") as file:
            entry = json.loads(file.metadata()[_ENTRY])
        text, sums = entry["meta"], entry["sha256"]
        found = {
            "json": sha256_bytes(text.encode()),
            "tensors": hash_state_dict(tensors),
        }
        if found != sums:
            raise ValueError("its checksum differs")
        meta: dict[str, Any] = json.loads(text)
    except (safetensors.SafetensorError, OSError, ValueError, LookupError, TypeError,
            AttributeError) as error:  # fmt: skip
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    return tensors, meta


def _damaged(path: Path, reason: str) -> DataCorruptError:
    return DataCorruptError(
        f"{path} is damaged ({reason}). Remove the folder {path.parent}; the training "
        "then starts from its beginning."
    )


def snapshot_file(n_epochs: int) -> str:
    """Return the name of the file with the weights after so many epochs.

    Parameters
    ----------
    n_epochs : int
        Number of epochs, 0 or more.

    Returns
    -------
    str
        Name inside the folder of the training.

    Examples
    --------
    >>> snapshot_file(5)
    'epoch-0005.safetensors'
    """
    return f"epoch-{n_epochs:04d}.safetensors"


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write named tensors, atomically.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file to write or replace.
    state : mapping of str to Tensor
        Weights on the CPU.
    """
    write_bytes(path, save(dict(state)))


def write_result(
    folder: Path,
    state: Mapping[str, Tensor],
    curves: pd.DataFrame,
    meta: Mapping[str, Any],
) -> None:
    """Write what a finished run leaves, and remove its checkpoint.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    state : mapping of str to Tensor
        Best weights, on the CPU.
    curves : DataFrame
        Learning curves.
    meta : mapping
        The rest of the result, as JSON values.
    """
    write_weights(folder / MODEL, state)
    write_table(folder / CURVES, curves)
    sums = {name: sha256_file(folder / name) for name in (MODEL, CURVES)}
    # A run is finished when this file stands; until then the checkpoint counts.
    write_json(folder / RESULT, {**meta, "sha256": sums, "finished": True})
    (folder / CHECKPOINT).unlink(missing_ok=True)


def read_result(
    folder: Path, identity: Mapping[str, Any]
) -> tuple[dict[str, Tensor], pd.DataFrame, dict[str, Any]] | None:
    """Read a finished run.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    identity : mapping
        What the run must depend on, as plain JSON values.

    Returns
    -------
    tuple of dict, DataFrame and dict, or None
        Best weights, learning curves, the rest; None when the run is not finished.

    Raises
    ------
    ValueError
        If it is a run of something else.
    DataCorruptError
        If a file is missing or changed.
    """
    path = folder / RESULT
    if not path.exists():
        return None
    meta = read_json(path)
    needed = {"identity", "sha256", "best_epoch", "n_epochs", "stopped"}
    if not isinstance(meta, dict) or not needed <= set(meta):
        raise _damaged(path, "it is not the result of a training")
    check_same_run(folder, meta["identity"], identity)
    for name, sha256 in meta["sha256"].items():
        file = folder / name
        if not file.is_file() or sha256_file(file) != sha256:
            raise _damaged(file, "it is missing or has another hash")
    state = {name: value.clone() for name, value in load_file(folder / MODEL).items()}
    curves = read_table(folder / CURVES)
    (folder / CHECKPOINT).unlink(missing_ok=True)  # killed before it was removed
    return state, curves, meta
