"""Devices, memory and precision of torch."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from neurovis.core.checks import check_between, check_option

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

# Limit, use, and what of it can be had back, in control groups of both versions.
_GROUPS_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_GROUPS_2 = ("memory.max", "memory.current", "inactive_file")

AUTO_BATCH = 32
"""First batch size of "auto" when the memory that an item needs is not known."""

# How allocators other than CUDA's say that memory is short.
_OUT_OF_MEMORY = re.compile(
    "allocate memory|not enough memory|out of memory|_ALLOC_FAILED"
)


def resolve(device: str | torch.device) -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    device : str or torch.device
        "auto" (CUDA, else MPS, else the CPU), "cpu", "cuda", "cuda:1" or "mps".

    Returns
    -------
    torch.device
        An existing device; CUDA with its index.

    Raises
    ------
    ValueError
        If the name is unknown, or the device was asked for by name and is absent:
        only "auto" falls back.

    Examples
    --------
    >>> resolve("cpu")
    device(type='cpu')
    """
    name = str(device)
    kind, _, index = name.partition(":")
    if name == "auto":
        has_mps = torch.backends.mps.is_available()
        kind = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    check_option("device", kind, ("auto", "cpu", "cuda", "mps"))
    if index and not index.isdecimal():
        raise ValueError(f"`device` must be such as 'cuda:1'; got {name!r}.")
    if kind == "cpu":
        return torch.device("cpu")
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise _absent(name, "this machine or this build of torch has no MPS")
        return torch.device("mps")
    if not torch.cuda.is_available():
        raise _absent(
            name, "torch finds no usable CUDA device (see nvidia-smi and the driver)"
        )
    n_devices = torch.cuda.device_count()
    number = int(index) if index else torch.cuda.current_device()
    if number >= n_devices:
        raise _absent(name, f"the CUDA devices here are 0 to {n_devices - 1}")
    return torch.device("cuda", number)


def _absent(name: str, reason: str) -> ValueError:
    return ValueError(
        f"`device` {name!r} is not available: {reason}. Use device='auto' to take the "
        "best that there is, or 'cpu'."
    )


def autocast_dtype(device: torch.device) -> torch.dtype:
    """Return the 16-bit dtype for mixed precision on a device.

    Parameters
    ----------
    device : torch.device
        Where the computation runs.

    Returns
    -------
    torch.dtype
        bfloat16 on the CPU and on CUDA devices that have it, else float16.

    Examples
    --------
    >>> autocast_dtype(torch.device("cpu"))
    torch.bfloat16
    """
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16
    return torch.float16 if device.type == "mps" else torch.bfloat16


def free_memory_bytes(device: torch.device) -> int:
    """Return how much memory a computation can take now.

    Parameters
    ----------
    device : torch.device
        Where the computation runs.

    Returns
    -------
    int
        Bytes. On CUDA what torch holds in reserve counts as free; on Linux the
        limits of the control group (container, cluster job) and of the process
        (``ulimit``) count too.

    Examples
    --------
    >>> free_memory_bytes(torch.device("cpu")) > 0
    True
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved = torch.cuda.memory_reserved(device)
        return int(free + reserved - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        limit = torch.mps.recommended_max_memory()
        return max(int(limit - torch.mps.current_allocated_memory()), 0)
    return min(_host_memory(), _control_group_memory(), _memory_within_limits())


def _host_memory() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        if found:
            return int(found[1]) * 1024
    # Elsewhere the free part is not told: take half of what is built in.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _control_group_memory(
    groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> int:
    """Return what the control groups of this process, such as a Slurm job, leave it."""
    free = [sys.maxsize]
    with suppress(OSError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                free += _memory_of_groups(mount, path, _GROUPS_2)
            elif "memory" in controllers.split(","):
                free += _memory_of_groups(mount / "memory", path, _GROUPS_1)
    return min(free)


def _memory_of_groups(
    mount: Path, path: str, names: tuple[str, str, str]
) -> Iterator[int]:
    limit_name, used_name, cache_name = names
    group = mount / path.lstrip("/")
    # The limit of each group holds for all groups below it.
    for folder in (group, *group.parents):
        # In a container the path may be one of its host.
        with suppress(OSError, ValueError):  # no such group, or no limit ("max")
            limit = int((folder / limit_name).read_text())
            used = int((folder / used_name).read_text())
            stat = (folder / "memory.stat").read_text()
            cache = re.search(rf"\b{cache_name} (\d+)", stat)
            yield max(limit - used + (int(cache[1]) if cache else 0), 0)
        if folder == mount:
            return


def _memory_within_limits() -> int:
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        return sys.maxsize
    import resource  # Windows has none

    pages = statm.read_text().split()
    free = [sys.maxsize]
    # All of the address space; data and stack.
    for limit, used in (("RLIMIT_AS", pages[0]), ("RLIMIT_DATA", pages[5])):
        most, _ = resource.getrlimit(getattr(resource, limit))
        if most != resource.RLIM_INFINITY:
            free.append(max(most - int(used) * resource.getpagesize(), 0))
    return min(free)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory was short.

    Parameters
    ----------
    error : BaseException
        What was raised.

    Returns
    -------
    bool
        True for MemoryError, and for what torch raises then, on any device.

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate"))
    True
    >>> is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    False
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


def in_batches(
    function: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    batch_size: int | Literal["auto"] = "auto",
    *,
    item_bytes: int | None = None,
    device: torch.device | None = None,
) -> list[Result]:
    """Apply a function to batches of items; take smaller ones when memory is short.

    After an out-of-memory error the batch is tried again at half its size, and the
    smaller size is kept; this is logged. Results keep the order of `items`.

    Parameters
    ----------
    function : callable
        Takes some consecutive items and returns as many results; called again with
        the same items after an error, so it must not change anything else.
    items : sequence
        What to work on.
    batch_size : int or "auto"
        Largest batch, >= 1. "auto" fills half of the free memory when `item_bytes`
        is given, and starts at `AUTO_BATCH` when not.
    item_bytes : int, optional
        Memory that one item needs on `device`, activations included.
    device : torch.device, optional
        Where `function` computes; the CPU by default.

    Returns
    -------
    list
        One result per item.

    Raises
    ------
    MemoryError
        If a single item does not fit.
    ValueError
        If `batch_size` is out of range, or `function` returns another number of
        results than it got items.

    Examples
    --------
    >>> in_batches(lambda some: [2 * i for i in some], [1, 2, 3], batch_size=2)
    [2, 4, 6]
    """
    device = device or torch.device("cpu")
    if isinstance(batch_size, str):
        check_option("batch_size", batch_size, ("auto",))
        size = AUTO_BATCH
        if item_bytes is not None:
            check_between("item_bytes", item_bytes, low=1)
            size = max(1, free_memory_bytes(device) // (2 * item_bytes))
    else:
        size = int(check_between("batch_size", batch_size, low=1))
    results: list[Result] = []
    while len(results) < len(items):
        batch = items[len(results) : len(results) + size]
        found, shortage = _try_batch(function, batch)
        if found is None:
            if len(batch) == 1:
                raise MemoryError(
                    f"Item {len(results)} alone does not fit into the memory of "
                    f"{device} ({free_memory_bytes(device)} bytes free): {shortage}. "
                    "Use a smaller input, free memory, or another device."
                )
            size = len(batch) // 2
            logger.warning("out of memory on %s: batch size is now %d", device, size)
            _release_memory()
        elif len(found) != len(batch):
            raise ValueError(
                f"`function` must return one result per item; it got {len(batch)} "
                f"items and returned {len(found)} results."
            )
        else:
            results.extend(found)
    return results


def _try_batch(
    function: Callable[[Sequence[Item]], Sequence[Result]], batch: Sequence[Item]
) -> tuple[Sequence[Result] | None, str]:
    # The traceback of an error holds the tensors that filled the memory: it must
    # be gone before the next try, so only its text leaves this function.
    try:
        return function(batch), ""
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None, f"{type(error).__name__}: {error}"


def _release_memory() -> None:
    torch.cuda.empty_cache()  # does nothing before CUDA is in use
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


@contextmanager
def deterministic() -> Iterator[None]:
    """Make torch use deterministic algorithms inside the block.

    Same version, device, seed and batch size then give equal bits. An operation
    without a deterministic form raises RuntimeError. All settings are restored at
    the end, also after an error; they belong to the process, so use one block at a
    time.

    Yields
    ------
    None
        Nothing.

    Notes
    -----
    Sets ``torch.use_deterministic_algorithms``, ``CUBLAS_WORKSPACE_CONFIG``, and
    turns the benchmark mode of cuDNN off. A process that has used cuBLAS before
    keeps its workspace: enter the block first.

    Examples
    --------
    >>> with deterministic():
    ...     torch.are_deterministic_algorithms_enabled()
    True
    """
    variable = "CUBLAS_WORKSPACE_CONFIG"
    workspace = os.environ.get(variable)
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    benchmark, cudnn_deterministic = cudnn.benchmark, cudnn.deterministic
    try:
        os.environ[variable] = ":4096:8"
        torch.use_deterministic_algorithms(True)
        cudnn.benchmark, cudnn.deterministic = False, True
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = benchmark, cudnn_deterministic
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        if workspace is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = workspace


def _precision_modules() -> list[Any]:
    # torch 2.9 gave each kind of operation a precision of its own.
    if not hasattr(torch.backends, "fp32_precision"):
        return []
    cudnn: Any = torch.backends.cudnn
    mkldnn: Any = torch.backends.mkldnn
    kinds = [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn]
    return [*kinds, mkldnn.matmul, mkldnn.conv, mkldnn.rnn]


def _legacy_flags() -> tuple[str | None, bool | None]:
    # torch refuses to tell a flag that the newer settings contradict.
    try:
        matmul: str | None = torch.get_float32_matmul_precision()
    except RuntimeError:
        matmul = None
    try:
        convolution: bool | None = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        convolution = None
    return matmul, convolution


def _set_legacy_flags(matmul: str | None, convolution: bool | None) -> None:
    if matmul is not None:
        torch.set_float32_matmul_precision(matmul)
    if convolution is not None:
        torch.backends.cudnn.allow_tf32 = convolution


@contextmanager
def exact_float32() -> Iterator[None]:
    """Keep float32 products exact inside the block: no TF32, no bfloat16.

    Holds for matrix products, convolutions and recurrent layers, on CUDA and on
    the CPU. The settings are restored at the end, also after an error; they belong
    to the process.

    Yields
    ------
    None
        Nothing.

    Examples
    --------
    >>> with exact_float32():
    ...     torch.get_float32_matmul_precision()
    'highest'
    """
    flags = _legacy_flags()
    modules = _precision_modules()
    precisions = [module.fp32_precision for module in modules]
    try:
        # Both kinds of settings, old first, so that either can be read inside.
        _set_legacy_flags("highest", False)
        for module in modules:
            module.fp32_precision = "ieee"
        yield
    finally:
        _set_legacy_flags(*flags)
        for module, precision in zip(modules, precisions, strict=True):
            module.fp32_precision = precision
