"""Batches of a fit, and the thread that reads the next one while one is used."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from neurovis.fitting.network_parts import Rows, Targets
from neurovis.fitting.ridge_features import tensor_of

Item = TypeVar("Item")

_SMALL_BYTES = 64 * 2**20
_CPU = torch.device("cpu")


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

    Nothing here computes with several threads: what a second thread of Python reads
    does not disturb those of the step.

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
    pin : bool, default False
        As `read_rows`.
    """

    inputs: tuple[Any, ...]
    targets: Targets
    rows: Rows
    size: int
    per_step: int = 1
    pin: bool = False

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def __getitem__(self, index: Any) -> Any:
        rows = self.rows[index * self.size : (index + 1) * self.size]
        ascending = np.sort(rows)  # HDF5 reads no other order
        measured = self.targets.take(ascending)
        n_measured = self.targets.n_measured.numpy()[ascending].sum()
        inputs = read_rows(self.inputs, ascending, pin=self.pin)
        tensors = (measured, self._scale(index))
        if self.pin:
            tensors = (measured.pin_memory(), tensors[1].pin_memory())
        return Batch(inputs, *tensors, is_whole=int(n_measured) == measured.numel())

    def __iter__(self) -> Iterator[Batch]:
        return (self[index] for index in range(len(self)))

    def _scale(self, index: int) -> Tensor:
        """Return pictures per measured entry, over the whole optimiser step."""
        first = index // self.per_step * self.per_step * self.size
        rows = self.rows[first : first + self.per_step * self.size]
        n_measured = self.targets.n_measured.numpy()[rows].sum(0)
        scale = np.zeros(len(n_measured))
        np.divide(len(rows), n_measured, out=scale, where=n_measured > 0)
        of_unit = scale.astype(np.float32)[self.targets.parts.numpy()]
        return torch.from_numpy(of_unit)


@dataclass(frozen=True)
class InputBatches(Sequence[tuple[Tensor, ...]]):
    """Inputs alone, batch by batch.

    Parameters
    ----------
    inputs : tuple of array-like
        Inputs.
    rows : ndarray of int
        Rows, ascending, each once.
    size : int
        Pictures per batch.
    pin : bool, default False
        As `read_rows`.
    """

    inputs: tuple[Any, ...]
    rows: Rows
    size: int
    pin: bool = False

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def __getitem__(self, index: Any) -> Any:
        rows = self.rows[index * self.size : (index + 1) * self.size]
        return read_rows(self.inputs, rows, pin=self.pin)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return (self[index] for index in range(len(self)))


def read_rows(
    inputs: tuple[Any, ...], ascending: Rows, *, pin: bool = False
) -> tuple[Tensor, ...]:
    """Read some rows of all inputs.

    Parameters
    ----------
    inputs : tuple of array-like
        Inputs.
    ascending : ndarray of int
        Rows, each once.
    pin : bool, default False
        Into memory that CUDA can copy from while it computes.

    Returns
    -------
    tuple of Tensor
        float32, on the CPU, in the memory order in which they were read.

    Examples
    --------
    >>> read_rows((np.eye(3),), np.array([0, 2]))[0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    found = tuple(tensor_of(v[ascending], torch.float32, _CPU) for v in inputs)
    return tuple(v.pin_memory() for v in found) if pin else found


def are_small(inputs: tuple[Any, ...], n_rows: int) -> bool:
    """Tell whether a thread that reads ahead would not pay.

    Parameters
    ----------
    inputs : tuple of array-like
        Inputs.
    n_rows : int
        Rows that are read.

    Returns
    -------
    bool
        Whether all are in memory, and small.

    Examples
    --------
    >>> are_small((np.zeros((9, 2)),), 9)
    True
    """
    in_memory = all(isinstance(v, Tensor) or type(v) is np.ndarray for v in inputs)
    n_numbers = sum(n_rows * math.prod(v.shape[1:]) for v in inputs)
    return in_memory and 4 * n_numbers < _SMALL_BYTES


class ReadAhead:
    """One thread, until the end of the block, that makes the next item of a sequence.

    Items are made one at a time, in the order in which they are asked for, so that
    what is read is the same with a thread and without.

    Parameters
    ----------
    is_threaded : bool, default True
        Otherwise each item is made where it is asked for: right for small ones.

    Examples
    --------
    >>> with ReadAhead() as ahead:
    ...     list(ahead.over([3, 1, 2]))
    [3, 1, 2]
    """

    def __init__(self, *, is_threaded: bool = True) -> None:
        self._pool: ThreadPoolExecutor | None = None
        if is_threaded:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")

    def over(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return a sequence of which the next item is made while one is used.

        Parameters
        ----------
        items : sequence
            What makes an item when it is asked for. An error is raised where its item
            is asked for; that of an item that nobody asks for is not.

        Returns
        -------
        sequence
            The same items. It can start anywhere.
        """
        return items if self._pool is None else _Ahead(items, self._pool)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


class _Ahead(Sequence[Item], Generic[Item]):
    """Items of which one more than was asked for is made."""

    def __init__(self, items: Sequence[Item], pool: ThreadPoolExecutor) -> None:
        self._items, self._pool = items, pool
        self._next: tuple[int, Future[Item]] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        found, self._next = self._next, None
        if found is not None and found[0] == index:
            made = found[1]
        else:
            made = self._pool.submit(self._items.__getitem__, index)
        del found
        try:
            item = made.result()
        finally:
            del made  # its error would hold this frame, and the frame the error
        if index + 1 < len(self):
            after = self._pool.submit(self._items.__getitem__, index + 1)
            self._next = index + 1, after
        return item
