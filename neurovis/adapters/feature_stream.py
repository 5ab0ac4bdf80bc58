"""Pictures through a network, batch by batch, while the next are being prepared."""

import hashlib
import os
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.feature_layers import Reading, plan_readings, read_layers
from neurovis.adapters.feature_models import Backbone
from neurovis.core.checks import check_between, check_image, check_option
from neurovis.core.device import (
    AUTO_BATCH,
    autocast_dtype,
    exact_float32,
    in_batches,
    is_out_of_memory,
)
from neurovis.core.log import progress

Precision = Literal["float32", "autocast"]
Pictures = Sequence[NDArray[np.uint8]]
Block = list[NDArray[np.float32]]

_MOST_WORKERS = 8


@contextmanager
def placed(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Keep a network on a device inside the block, and put it back afterwards.

    Parameters
    ----------
    module : torch.nn.Module
        Network, all on one device.
    device : torch.device
        Where to.

    Yields
    ------
    None
        Nothing.
    """
    held = next(module.parameters(), next(module.buffers(), None))
    origin = device if held is None else held.device
    try:
        module.to(device)
        yield
    finally:
        module.to(origin)


def hash_picture(picture: NDArray[np.uint8], name: str) -> bytes:
    """Return the SHA-256 of size and pixels of a picture.

    Parameters
    ----------
    picture : ndarray of uint8, shape (H, W, 3)
        Picture.
    name : str
        What it is called in messages.

    Returns
    -------
    bytes
        32 bytes.

    Raises
    ------
    TypeError, ValueError
        If it is no picture.
    """
    check_image(name, picture)
    sha = hashlib.sha256(str(picture.shape).encode())
    sha.update(np.ascontiguousarray(picture).data)
    return sha.digest()


class HashedPictures(Sequence[NDArray[np.uint8]]):
    """Pictures that are hashed when they are read, and some of which are refused.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures.
    name : str
        What they are called in messages.
    """

    def __init__(self, pictures: Pictures, name: str) -> None:
        self._pictures, self._name = pictures, name
        self._refused: dict[bytes, str] = {}
        self.digests: dict[int, bytes] = {}

    def refuse(self, picture: NDArray[np.uint8], name: str) -> None:
        """Raise from now on when a picture equal to this one is read.

        Parameters
        ----------
        picture : ndarray of uint8, shape (H, W, 3)
            Picture.
        name : str
            What it is called in the message.

        Raises
        ------
        TypeError, ValueError
            If it is no picture.
        """
        self._refused.setdefault(hash_picture(picture, name), name)

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: Any) -> Any:
        """Return one picture, uint8 of shape (H, W, 3), after it was hashed."""
        picture = self._pictures[index]
        name = f"{self._name}[{index}]"
        digest = hash_picture(picture, name)
        if digest in self._refused:
            raise ValueError(
                f"`{name}` is the same picture as `{self._refused[digest]}`: what a "
                "model is tested on must not be fitted to. Take it out of either."
            )
        self.digests[index] = digest
        return picture


def check_batches(pictures: Pictures, batch_size: int | str, precision: str) -> int:
    """Return the number of pictures that go through a network at once.

    Parameters
    ----------
    pictures : sequence of ndarray
        Pictures.
    batch_size : int or "auto"
        What was asked for.
    precision : {"float32", "autocast"}
        What was asked for.

    Returns
    -------
    int
        Batch size.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or there are no pictures.
    """
    check_option("precision", precision, ("float32", "autocast"))
    if len(pictures) == 0:
        raise ValueError("`pictures` is empty: give at least one picture.")
    if isinstance(batch_size, str):
        check_option("batch_size", batch_size, ("auto",))
        return AUTO_BATCH
    return int(check_between("batch_size", batch_size, low=1))


def plan(
    backbone: Backbone, layers: Sequence[str], device: torch.device
) -> list[Reading]:
    """Check requests against a network, on the device that it will run on.

    Parameters
    ----------
    backbone : Backbone
        Network.
    layers : sequence of str
        Requests.
    device : torch.device
        Where it will run.

    Returns
    -------
    list of Reading
        One per request.

    Raises
    ------
    TypeError, ValueError
        If a request has no sense for this network; the message names what has.
    """
    with placed(backbone.module, device):
        return plan_readings(backbone.module, backbone.layout, layers, backbone.name)


def stream_features(
    backbone: Backbone,
    pictures: Pictures,
    readings: Sequence[Reading],
    *,
    first: int = 0,
    batch_size: int = AUTO_BATCH,
    device: torch.device,
    precision: Precision = "float32",
) -> Generator[tuple[int, Block], None, None]:
    """Yield features batch by batch; pictures are prepared ahead by other threads.

    Close the generator when not all of it is used: the network is then put back to
    the device that it came from.

    Parameters
    ----------
    backbone : Backbone
        Network.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures of any sizes.
    readings : sequence of Reading
        From `plan`.
    first : int, default 0
        Picture to begin with.
    batch_size : int
        Pictures at once; halved when memory is short.
    device : torch.device
        Where the network runs.
    precision : {"float32", "autocast"}
        "autocast" lets torch compute parts in 16 bits.

    Yields
    ------
    tuple of int and list of ndarray of float32, shape (n, n_features)
        Index of the first picture of the batch, and one array per reading.
    """
    size = batch_size
    module, rule = backbone.module, backbone.preprocessing
    mixed = (
        torch.autocast(device.type, autocast_dtype(device))
        if precision == "autocast"
        else nullcontext()
    )

    def forward(
        some: Sequence[NDArray[np.uint8]],
    ) -> list[tuple[NDArray[np.float32], ...]]:
        nonlocal size
        try:
            with torch.inference_mode(), exact_float32(), mixed:
                images = torch.from_numpy(np.stack(some)).to(device)
                rows = read_layers(module, rule.normalise(images), readings)
                found = [value.cpu().numpy() for value in rows]
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):  # the next batches are smaller, too
                size = max(1, len(some) // 2)
            raise
        return list(zip(*found, strict=True))

    with (
        placed(module, device),
        progress(len(pictures), "features", unit="picture") as bar,
    ):
        bar.update(first)
        for start, prepared in _prepared(rule, pictures, first, batch_size):
            rows = in_batches(forward, prepared, size, device=device)
            yield start, [np.stack(column) for column in zip(*rows, strict=True)]
            bar.update(len(prepared))


def _prepared(
    rule: Preprocessing, pictures: Pictures, first: int, batch_size: int
) -> Iterator[tuple[int, list[NDArray[np.uint8]]]]:
    """Yield batches at the size of the network, two batches ahead of their use."""
    one_at_a_time = threading.Lock()

    def prepare(index: int) -> NDArray[np.uint8]:
        with one_at_a_time:  # a sequence need not be made for threads
            picture = pictures[index]
        try:
            return rule.prepare(picture)
        except (TypeError, ValueError) as error:
            raise type(error)(f"`pictures[{index}]`: {error}") from error

    starts = iter(range(first, len(pictures), batch_size))
    ahead: deque[tuple[int, list[Future[NDArray[np.uint8]]]]] = deque()
    with ThreadPoolExecutor(_n_workers()) as pool:

        def begin() -> None:
            start = next(starts, None)
            if start is not None:
                stop = min(start + batch_size, len(pictures))
                work = [pool.submit(prepare, index) for index in range(start, stop)]
                ahead.append((start, work))

        try:
            begin()
            begin()
            while ahead:
                start, work = ahead.popleft()
                begin()
                yield start, [future.result() for future in work]
        finally:
            pool.shutdown(cancel_futures=True)


def _n_workers() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(_MOST_WORKERS, max(1, cores - 1))
