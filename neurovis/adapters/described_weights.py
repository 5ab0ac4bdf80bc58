"""Weights of the suite's own networks: one file that also tells what they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import safetensors
from torch import Tensor

from neurovis.adapters.weights import read_state_dict
from neurovis.core.checks import check_option
from neurovis.core.errors import DataCorruptError

_T = TypeVar("_T")


def read_described_weights(
    path: Path,
    entry: str,
    understand: Callable[[dict[str, Any]], _T],
    *,
    what: str,
    writer: str,
    sha256: str | None = None,
) -> tuple[dict[str, Tensor], _T]:
    """Read tensors with the description that lies in the same file.

    Parameters
    ----------
    path : Path
        ``.safetensors`` file.
    entry : str
        Entry of its metadata that holds the description, as JSON.
    understand : callable
        From the description to what it means; it may raise KeyError, TypeError or
        ValueError.
    what : str
        What is described, with its article, for messages: "an OAT".
    writer : str
        What writes such files, for messages.
    sha256 : str, optional
        Hash that the file must have.

    Returns
    -------
    state : dict of str to Tensor
        As `neurovis.adapters.weights.read_state_dict` gives it.
    meaning : object
        What `understand` returned.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    DataCorruptError
        If it is damaged, has another hash, or its description makes no sense.
    ValueError
        If it has another suffix, or no such description.
    """
    check_option("suffix of weights", path.suffix, (".safetensors",))
    state = read_state_dict(path, sha256)
    with safetensors.safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(entry)
    if text is None:
        raise ValueError(
            f"{path} holds tensors, but no description of {what}: it was not written "
            f"by {writer}."
        )
    try:
        return state, understand(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise DataCorruptError(
            f"{path} holds a description that is none of {what} "
            f"({type(error).__name__}: {error}). Get the file again."
        ) from error
