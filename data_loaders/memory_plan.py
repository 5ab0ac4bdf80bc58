"""How many units of a recording fit into memory at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from data_loaders.beta_layouts import BUFFER_BYTES
from data_loaders.beta_recording import Recording
from neurovis.core.checks import check_between, check_whole

IMPORT_BYTES = int(0.6 * 2**30)
"""What Python and its packages take, torch among them."""
WORK_BYTES = 5 * BUFFER_BYTES
"""Buffers of reading and of computing."""
_BLOCK_BYTES = 2**29  # more is no faster where units lie together in the files
_FEWEST_UNITS = 64


@dataclass(frozen=True)
class MemoryPlan:
    """What a preparation will need.

    Parameters
    ----------
    units_per_block : int
        Units whose trials are held at once.
    n_blocks : int
        Blocks of units, over all parts.
    peak_bytes : int
        Memory of the whole process at most.
    result_bytes : int
        Size of the prepared responses, if no unit is left out.
    work_bytes : int
        Size of files that exist only meanwhile: chosen units of compressed files,
        unpacked once because those cannot be read block by block.
    """

    units_per_block: int
    n_blocks: int
    peak_bytes: int
    result_bytes: int
    work_bytes: int


def plan_blocks(
    n_units: Sequence[int],
    n_trials: int,
    n_rows: int,
    *,
    memory_gib: float,
    other_bytes: int = 0,
    unpacked_bytes: int = 0,
    is_by_trial: bool = False,
    in_memory: bool = False,
    units_per_block: int | None = None,
) -> MemoryPlan:
    """Choose the blocks of a preparation.

    Parameters
    ----------
    n_units : sequence of int
        Units of each part; a block lies within one part.
    n_trials, n_rows : int
        Trials that are read, and rows of the result.
    memory_gib : float
        Memory that the whole process may use, in GiB.
    other_bytes : int, default 0
        Memory of tables and of single large lines of a file.
    unpacked_bytes : int, default 0
        Size of the chosen units of compressed files.
    is_by_trial : bool, default False
        Whether trials lie one after the other in the files, so that every block
        costs a seek per trial: blocks are then as large as memory allows.
    in_memory : bool, default False
        Whether the result stays in memory.
    units_per_block : int, optional
        Smaller blocks than memory would allow.

    Returns
    -------
    MemoryPlan
        What will be needed.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or `memory_gib` is too small; the message names
        the smallest that works.

    Examples
    --------
    >>> plan = plan_blocks([15_724], 30_000, 10_000, memory_gib=4)
    >>> plan.n_blocks, plan.units_per_block
    (4, 4473)
    """
    check_between("memory_gib", memory_gib, low=0)
    largest = max(n_units)
    if units_per_block is not None:
        check_whole("units_per_block", units_per_block, low=1)
    per_unit = 4 * n_trials
    result_bytes = 4 * n_rows * sum(n_units)
    fixed = IMPORT_BYTES + WORK_BYTES + other_bytes + in_memory * result_bytes
    most = min(largest, units_per_block or largest)
    fewest = min(_FEWEST_UNITS, most)
    least = (fixed + fewest * per_unit) / 2**30
    if memory_gib < least:
        advice = (
            f", of which {result_bytes / 2**30:.2f} GiB are the result. Name a folder "
            "as `store`, so that it stays on disk"
            if in_memory
            else f" for {n_trials} trials. Allow more memory"
        )
        raise ValueError(
            f"`memory_gib` must be at least {math.ceil(100 * least) / 100:.2f} here; "
            f"got {memory_gib}. So much is needed at least{advice}, or choose fewer "
            "units."
        )
    free = int(memory_gib * 2**30) - fixed
    fit = min(most, max(1, free // per_unit))
    if not is_by_trial:
        fit = min(fit, max(fewest, _BLOCK_BYTES // per_unit))
    return MemoryPlan(
        units_per_block=fit,
        n_blocks=sum(math.ceil(n / fit) for n in n_units),
        peak_bytes=fixed + fit * per_unit,
        result_bytes=result_bytes,
        # A compressed file that is read once needs no unpacked copy.
        work_bytes=unpacked_bytes if fit < largest else 0,
    )


def plan_memory(
    recording: Recording,
    *,
    average: bool = True,
    memory_gib: float = 4.0,
    in_memory: bool = False,
    units_per_block: int | None = None,
) -> MemoryPlan:
    """Tell what `prepare_responses` will need; nothing is read.

    Parameters
    ----------
    recording : Recording
        What is to be prepared.
    average : bool, default True
        Whether the trials of an image are averaged.
    memory_gib : float, default 4
        Memory that the whole process may use, in GiB.
    in_memory : bool, default False
        Whether the result stays in memory, as without a `store`.
    units_per_block : int, optional
        Smaller blocks than memory would allow.

    Returns
    -------
    MemoryPlan
        Blocks, memory and disk.

    Raises
    ------
    TypeError, ValueError
        If `memory_gib` is too small; the message names the smallest that works.
    """
    trials, units = recording.trials, recording.units
    lines = unpacked = 0
    is_by_trial = False
    for part in recording.parts:
        for file in part.files:
            is_by_trial |= file.is_by_trial
            if file.is_sequential and len(part.places):
                size = file.dtype.itemsize
                lines = max(lines, 2 * file.n_places * size)
                unpacked += file.n_trials * len(part.places) * size
    tables = [int(t.memory_usage(deep=True).sum()) for t in (trials, units)]
    n_rows = trials["stimulus_id"].nunique() if average else len(trials)
    return plan_blocks(
        [len(part.places) for part in recording.parts],
        len(trials),
        n_rows,
        memory_gib=memory_gib,
        other_bytes=3 * sum(tables) + lines,
        unpacked_bytes=unpacked,
        is_by_trial=is_by_trial,
        in_memory=in_memory,
        units_per_block=units_per_block,
    )
