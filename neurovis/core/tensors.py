"""Named tensors, such as the weights of a network, as content."""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from neurovis.core.errors import DataCorruptError


def hash_state_dict(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, dtypes, shapes and values, sorted by name.

    Order, device, memory layout and file format do not matter.

    Parameters
    ----------
    state : mapping of str to Tensor
        Named tensors.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> ones, zeros = torch.ones(2), torch.zeros(2)
    >>> first = hash_state_dict({"a": ones, "b": zeros})
    >>> first == hash_state_dict({"b": zeros, "a": ones})
    True
    """
    sha = hashlib.sha256()
    for name in sorted(state):
        # A fresh copy: strided, conjugate and negative views become plain bytes.
        tensor = state[name].detach().cpu().clone(memory_format=torch.contiguous_format)
        head = [name, str(tensor.dtype), list(tensor.shape)]
        sha.update(json.dumps(head).encode())
        # bfloat16 has no NumPy form: hash raw bytes.
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def check_no_nan(state: Mapping[str, Tensor], source: str) -> None:
    """Raise if a tensor holds NaN: all that a network computes of it would be NaN.

    Infinity is let through: masks of attention may hold it.

    Parameters
    ----------
    state : mapping of str to Tensor
        Named tensors.
    source : str
        Where they came from, for the message.

    Raises
    ------
    DataCorruptError
        If one does; all are counted and the first few are named.

    Examples
    --------
    >>> check_no_nan({"bias": torch.zeros(3)}, "example")
    """
    broken = [name for name, value in state.items() if value.isnan().any()]
    if broken:
        shown = ", ".join(broken[:4]) + (", ..." if len(broken) > 4 else "")
        raise DataCorruptError(
            f"{source} holds NaN in {len(broken)} of {len(state)} tensors ({shown}): "
            "its training failed, or it is damaged. Get or make it again."
        )
