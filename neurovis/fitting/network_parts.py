"""What fits of networks are made of: checked data and fingerprints."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from neurovis.fitting.fwrf_problem import fingerprint
from neurovis.fitting.ridge_features import tensor_of

Rows = NDArray[np.intp]

_ROWS_AT_ONCE = 1024
_NUMBERS_AT_ONCE = 2**22
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


@dataclass(frozen=True, eq=False)
class ResponseBlocks:
    """Responses of subjects with pictures and units of their own.

    Side by side they are one matrix: the pictures of the first block come first, and
    so do its units. Between blocks nothing was measured, and nothing is kept.

    Parameters
    ----------
    blocks : tuple of array-like, each of shape (n_images, n_units)
        Responses of each subject; NaN where a unit was not measured.

    Examples
    --------
    >>> ResponseBlocks((np.zeros((3, 2)), np.ones((1, 4)))).shape
    (4, 6)
    """

    blocks: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Pictures and units of all blocks."""
        sizes = [block.shape for block in self.blocks]
        return sum(n for n, _ in sizes), sum(n for _, n in sizes)


@dataclass(frozen=True, eq=False)
class Targets:
    """Responses with what is known of the missing ones.

    Parameters
    ----------
    blocks : tuple of ndarray of float32, each of shape (n_images, n_units)
        Responses, as `ResponseBlocks`; NaN where a unit was not measured.
    parts : Tensor of int64, shape (n_units,)
        Part of each unit, from 0.
    n_measured : Tensor of float64, shape (n_images, n_parts)
        Measured units of each picture.
    """

    blocks: tuple[NDArray[np.float32], ...]
    parts: Tensor
    n_measured: Tensor

    def __len__(self) -> int:
        return len(self.n_measured)

    def take(self, rows: Rows) -> Tensor:
        """Return the responses to some pictures.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)
            Rows, from 0.

        Returns
        -------
        Tensor of float32, shape (n, n_units)
            NaN where nothing was measured.
        """
        if len(self.blocks) == 1:
            return torch.from_numpy(np.take(self.blocks[0], rows, axis=0))
        found = np.full((len(rows), len(self.parts)), np.nan, np.float32)
        for at, own, units, block in self.pieces(rows):
            found[at, units] = np.take(block, own, axis=0)
        return torch.from_numpy(found)

    def pieces(
        self, rows: Rows
    ) -> Iterator[tuple[Rows, Rows, slice, NDArray[np.float32]]]:
        """Tell where some pictures lie.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)
            Rows, from 0.

        Yields
        ------
        at : ndarray of int
            Places in `rows` of the pictures of a block that has some.
        own : ndarray of int
            Their rows in the block.
        units : slice
            Units of the block.
        block : ndarray of float32, shape (n_images, n_units)
            Its responses.
        """
        row = unit = 0
        for block in self.blocks:
            at = np.flatnonzero((rows >= row) & (rows < row + len(block)))
            if len(at):
                yield at, rows[at] - row, slice(unit, unit + block.shape[1]), block
            row, unit = row + len(block), unit + block.shape[1]


def check_targets(responses: Any, n_rows: int, parts: ArrayLike | None) -> Targets:
    """Return responses as `Targets`, after all checks.

    Parameters
    ----------
    responses : array-like, shape (n_images, n_units), or ResponseBlocks
        Responses; NaN where a unit was not measured. What is float32 already is not
        copied.
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
    given = responses.blocks if isinstance(responses, ResponseBlocks) else (responses,)
    blocks = tuple(_float32(block) for block in given)
    shapes = [block.shape for block in blocks]
    whole = (
        shapes[0] if len(shapes) == 1 else tuple(map(sum, zip(*shapes, strict=True)))
    )
    if {len(s) for s in shapes} != {2} or whole[0] != n_rows or not whole[1]:
        raise ValueError(
            f"`responses` must have shape ({n_rows}, n_units), one row per picture of "
            f"`inputs`; got {whole}."
        )
    n_units = whole[1]
    number = np.zeros(n_units, int) if parts is None else check_parts(parts, n_units)
    n_parts = int(number.max()) + 1
    counts, known, infinite = [], [], []
    start = 0
    for block in blocks:
        part = number[start : start + block.shape[1]]
        member = (part[:, None] == np.arange(n_parts)).astype(np.float32)
        has_value = np.zeros(len(part), bool)
        is_infinite = np.zeros(len(part), bool)
        for rows in row_blocks(block):
            finite = np.isfinite(block[rows])
            counts.append((finite.astype(np.float32) @ member).astype(np.float64))
            has_value |= finite.any(0)
            is_infinite |= np.isinf(block[rows]).any(0)
        known.append(has_value)
        infinite.append(is_infinite)
        start += len(part)
    n_measured = np.concatenate(counts)
    _refuse(
        np.concatenate(infinite),
        "have infinite values",
        "unit",
        "Write NaN for what is missing",
    )
    unknown = ~np.concatenate(known)
    _refuse(unknown, "are NaN for all pictures", "unit", "Leave those units out")
    empty = n_measured.sum(1) == 0
    _refuse(empty, "are NaN for all units", "picture", "Leave those pictures out")
    return Targets(blocks, torch.from_numpy(number), torch.from_numpy(n_measured))


def row_blocks(values: NDArray[Any]) -> Iterator[slice]:
    """Return blocks of rows that are small beside a large matrix.

    Parameters
    ----------
    values : ndarray, shape (n_rows, n_columns)
        Matrix.

    Yields
    ------
    slice
        Rows.

    Examples
    --------
    >>> [rows.stop for rows in row_blocks(np.empty((2, 2**22)))]
    [1, 2]
    """
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, values.shape[1]))
    for start in range(0, len(values), at_once):
        yield slice(start, min(start + at_once, len(values)))


def _float32(values: Any) -> NDArray[np.float32]:
    if not isinstance(values, Tensor):
        values = np.asarray(values)
        if values.dtype == np.float32 and values.dtype.isnative:
            return cast(NDArray[np.float32], values)  # a memory map stays on disk
    return cast(NDArray[np.float32], tensor_of(values, torch.float32, _CPU).numpy())


def _refuse(bad: NDArray[np.bool_], what: str, kind: str, advice: str) -> None:
    if bad.any():
        raise ValueError(
            f"`responses` of {int(bad.sum())} of {len(bad)} {kind}s {what} (the first "
            f"is {kind} {int(bad.argmax())}). {advice}."
        )


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
        block = tensor_of(values[np.arange(start, stop)], torch.float32, _CPU)
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
