"""What fits of networks are made of: checked data, batches and fingerprints."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from neurovis.fitting.fwrf_problem import fingerprint
from neurovis.fitting.ridge_features import tensor_of

Rows = NDArray[np.intp]

_ROWS_AT_ONCE = 1024
_CPU = torch.device("cpu")


def check_inputs(inputs: Any) -> tuple[Any, ...]:
    """Return the inputs of a network as a tuple.

    Parameters
    ----------
    inputs : array-like, shape (n_images, ...), or tuple or list of such
        What has `shape` and can be indexed with ascending rows.

    Returns
    -------
    tuple of array-like
        All with the same number of rows.

    Raises
    ------
    TypeError, ValueError
        If one has no rows, or another number of them.

    Examples
    --------
    >>> len(check_inputs([np.zeros((3, 2)), np.zeros((3, 4, 4))]))
    2
    """
    several = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    if not several:
        raise ValueError("`inputs` is empty: give an array, or a sequence of arrays.")
    for k, values in enumerate(several):
        shape = getattr(values, "shape", None)
        if shape is None or not len(shape):
            raise TypeError(
                "`inputs` must be an array with one row per image, or a tuple or list "
                f"of such; entry {k} is a {type(values).__name__} without rows. Use "
                "np.asarray for lists of numbers."
            )
    n_rows = [int(values.shape[0]) for values in several]
    if len(set(n_rows)) > 1:
        raise ValueError(
            f"`inputs` have {n_rows} rows: each needs one row per image, in one order."
        )
    return several


def check_parts(parts: ArrayLike, n_units: int) -> Rows:
    """Give parts of units the numbers 0, 1, ... in ascending order.

    Parameters
    ----------
    parts : array-like of int, shape (n_units,)
        Part of each unit, such as 0 and 1 for the hemispheres.
    n_units : int
        Number of units.

    Returns
    -------
    ndarray of int, shape (n_units,)
        From 0; no number is left out.

    Raises
    ------
    TypeError, ValueError
        If these are no whole numbers, or not one per unit.

    Examples
    --------
    >>> check_parts([7, 3, 7], 3).tolist()
    [1, 0, 1]
    """
    number = np.asarray(parts)
    if number.shape != (n_units,):
        raise ValueError(
            f"`parts` must have one entry per unit, shape ({n_units},); got shape "
            f"{number.shape}."
        )
    if number.dtype.kind not in "iu":
        raise TypeError(
            "`parts` must be whole numbers, such as 0 and 1 for the hemispheres; got "
            f"dtype {number.dtype}."
        )
    return np.unique(number, return_inverse=True)[1].reshape(-1)


@dataclass(frozen=True)
class Targets:
    """Responses with what is known of the missing ones.

    Parameters
    ----------
    values : Tensor of float32, shape (n_images, n_units)
        Responses; NaN where a unit was not measured.
    parts : Tensor of int64, shape (n_units,)
        Part of each unit, from 0.
    n_measured : Tensor of float64, shape (n_images, n_parts)
        Measured units of each picture.
    """

    values: Tensor
    parts: Tensor
    n_measured: Tensor


def check_targets(responses: Any, n_rows: int, parts: ArrayLike | None) -> Targets:
    """Return responses as `Targets`, after all checks.

    Parameters
    ----------
    responses : array-like, shape (n_images, n_units)
        Responses; NaN where a unit was not measured.
    n_rows : int
        Number of pictures that inputs have.
    parts : array-like of int, shape (n_units,), optional
        Part of each unit; one for all by default.

    Returns
    -------
    Targets
        On the CPU.

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, a value is infinite, or a unit or a picture has no
        finite value.

    Examples
    --------
    >>> check_targets(np.array([[1.0, np.nan]]), 1, [0, 0])
    Traceback (most recent call last):
    ValueError: `responses` of 1 of 2 units are NaN for all pictures (the first is \
unit 1). Leave those units out.
    """
    values = tensor_of(responses, torch.float32, _CPU)
    if values.ndim != 2 or len(values) != n_rows or not values.shape[1]:
        raise ValueError(
            f"`responses` must have shape ({n_rows}, n_units), one row per picture of "
            f"`inputs`; got {tuple(values.shape)}."
        )
    n_units = values.shape[1]
    number = np.zeros(n_units, int) if parts is None else check_parts(parts, n_units)
    part = torch.from_numpy(number)
    member = torch.nn.functional.one_hot(part).float()
    counts, has_value = [], torch.zeros(n_units, dtype=torch.bool)
    is_infinite = torch.zeros(n_units, dtype=torch.bool)
    for block in torch.split(values, _ROWS_AT_ONCE):
        finite = block.isfinite()
        counts.append((finite.float() @ member).double())
        has_value |= finite.any(0)
        is_infinite |= block.isinf().any(0)
    n_measured = torch.cat(counts)
    empty = n_measured.sum(1) == 0
    _refuse(
        is_infinite, "have infinite values", "unit", "Write NaN for what is missing"
    )
    _refuse(~has_value, "are NaN for all pictures", "unit", "Leave those units out")
    _refuse(empty, "are NaN for all units", "picture", "Leave those pictures out")
    return Targets(values, part, n_measured)


def _refuse(bad: Tensor, what: str, kind: str, advice: str) -> None:
    if bad.any():
        raise ValueError(
            f"`responses` of {int(bad.sum())} of {len(bad)} {kind}s {what} (the first "
            f"is {kind} {int(bad.int().argmax())}). {advice}."
        )


@dataclass(frozen=True)
class Batch:
    """Some pictures.

    Parameters
    ----------
    inputs : tuple of Tensor
        Inputs, float32.
    measured : Tensor, shape (n_images, n_units)
        Responses; NaN where a unit was not measured.
    scale : Tensor of float32, shape (n_units,)
        Factor of the squared errors of each unit in the loss "mean".
    is_whole : bool
        Whether every unit was measured with every picture.
    """

    inputs: tuple[Tensor, ...]
    measured: Tensor
    scale: Tensor
    is_whole: bool


@dataclass(frozen=True)
class Batches(Sequence[Batch]):
    """Batches that are read when asked for.

    Parameters
    ----------
    inputs : tuple of array-like
        Inputs.
    targets : Targets
        Responses.
    rows : ndarray of int
        Rows in the order of use, each once.
    size : int
        Pictures per batch.
    per_step : int, default 1
        Batches per optimiser step.
    """

    inputs: tuple[Any, ...]
    targets: Targets
    rows: Rows
    size: int
    per_step: int = 1

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def __getitem__(self, index: Any) -> Any:
        rows = self.rows[index * self.size : (index + 1) * self.size]
        ascending = np.sort(rows)  # HDF5 reads no other order
        at, targets = torch.from_numpy(ascending), self.targets
        measured = targets.values[at]
        is_whole = int(targets.n_measured[at].sum()) == measured.numel()
        inputs = read_rows(self.inputs, ascending)
        return Batch(inputs, measured, self._scale(index), is_whole)

    def __iter__(self) -> Iterator[Batch]:
        return (self[index] for index in range(len(self)))

    def _scale(self, index: int) -> Tensor:
        """Return pictures per measured entry, over the whole optimiser step."""
        first = index // self.per_step * self.per_step * self.size
        rows = self.rows[first : first + self.per_step * self.size]
        n_measured = self.targets.n_measured[torch.from_numpy(rows)].sum(0)
        scale = torch.where(n_measured > 0, len(rows) / n_measured, 0.0)
        return scale.float()[self.targets.parts]


def read_rows(inputs: tuple[Any, ...], ascending: Rows) -> tuple[Tensor, ...]:
    """Read some rows of all inputs.

    Parameters
    ----------
    inputs : tuple of array-like
        Inputs.
    ascending : ndarray of int
        Rows, each once.

    Returns
    -------
    tuple of Tensor
        float32, on the CPU.

    Examples
    --------
    >>> read_rows((np.eye(3),), np.array([0, 2]))[0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    return tuple(tensor_of(v[ascending], torch.float32, _CPU) for v in inputs)


def mark(values: Any) -> str:
    """Return what tells one input from another.

    Parameters
    ----------
    values : array-like
        An input of a network.

    Returns
    -------
    str
        Its own `fingerprint` where that is text, else a SHA-256 over all values.

    Examples
    --------
    >>> mark(np.zeros(2)) == mark(np.ones(2))
    False
    """
    own = getattr(values, "fingerprint", None)
    if isinstance(own, str):
        return own
    if hasattr(values, "dtype"):
        return fingerprint(values)
    sha = hashlib.sha256(f"{tuple(values.shape)}".encode())
    for start in range(0, int(values.shape[0]), _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, int(values.shape[0]))
        (block,) = read_rows((values,), np.arange(start, stop))
        sha.update(np.ascontiguousarray(block.numpy()).data)
    return sha.hexdigest()


def describe(module: nn.Module) -> Mapping[str, str]:
    """Return the kinds and options of a module's parts, which weights do not tell.

    Parameters
    ----------
    module : torch.nn.Module
        Network.

    Returns
    -------
    dict of str to str
        One entry per part, by its name.

    Examples
    --------
    >>> describe(nn.Dropout(0.5))
    {'module': 'Dropout(inplace=False, p=0.5)'}
    """
    kinds = (bool, int, float, str, tuple, type(None))
    found = {}
    for name, part in module.named_modules():
        options = ", ".join(
            f"{key}={value!r}"
            for key, value in sorted(vars(part).items())
            if not key.startswith("_") and key != "training" and _is_plain(value, kinds)
        )
        found[name or "module"] = f"{type(part).__name__}({options})"
    return found


def _is_plain(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(entry, kinds) for entry in value)
    return isinstance(value, kinds) or hasattr(value, "__dataclass_params__")
