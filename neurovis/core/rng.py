"""Random numbers keyed by identity: order, batch and worker count do not matter.

Every stream is made from a seed and keys by SHA-256. No function here reads or
changes a global random state.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from neurovis.core.files import sha256_json

if TYPE_CHECKING:
    import torch


def _digest(seed: int, keys: tuple[str | int, ...]) -> int:
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole:
        raise TypeError(f"`seed` must be an int; got {seed!r}.")
    if seed < 0:
        raise ValueError(f"`seed` must be 0 or more; got {seed}.")
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, str | int | np.integer):
            raise TypeError(
                f"`keys` must be text or whole numbers; got {key!r} "
                f"({type(key).__name__})."
            )
    # The canonical text keeps 1 and "1" apart, and ("a", "b") and ("ab",).
    return int(sha256_json([seed, *keys]), 16)


def generator(seed: int, *keys: str | int) -> np.random.Generator:
    """Return the stream of a seed and keys.

    Parameters
    ----------
    seed : int
        Seed of the run, 0 or more.
    *keys : str or int
        What the numbers are for; other keys give an independent stream.

    Returns
    -------
    numpy.random.Generator
        A PCG64 generator at its start.

    Raises
    ------
    TypeError, ValueError
        If the seed is not a whole number >= 0, or a key is neither text nor a
        whole number.

    Examples
    --------
    >>> first = generator(0, "jitter", 3).integers(100, size=4)
    >>> again = generator(0, "jitter", 3).integers(100, size=4)
    >>> bool((first == again).all())
    True
    """
    sequence = np.random.SeedSequence(_digest(seed, keys))
    return np.random.Generator(np.random.PCG64(sequence))


def spawn_for_item(seed: int, key: str | int) -> np.random.Generator:
    """Return the stream of one item, such as a trial or a stimulus.

    It depends on the identity of the item only, and differs from
    ``generator(seed, key)``.

    Parameters
    ----------
    seed : int
        Seed of the run, 0 or more.
    key : str or int
        Identity of the item, such as its `stimulus_id`.

    Returns
    -------
    numpy.random.Generator
        A PCG64 generator at its start.

    Raises
    ------
    TypeError, ValueError
        As `generator`.

    Examples
    --------
    >>> draws = {key: spawn_for_item(7, key).random() for key in ("a", "b")}
    >>> draws["b"] == spawn_for_item(7, "b").random()
    True
    """
    return generator(seed, "item", key)


def torch_generator(seed: int, *keys: str | int) -> "torch.Generator":
    """Return the torch stream of a seed and keys, on the CPU.

    Draw on the CPU and move the numbers, so that every device gets the same ones.

    Parameters
    ----------
    seed : int
        Seed of the run, 0 or more.
    *keys : str or int
        What the numbers are for.

    Returns
    -------
    torch.Generator
        A CPU generator at its start.

    Raises
    ------
    TypeError, ValueError
        As `generator`.

    Notes
    -----
    The CPU generator of torch keeps 32 bits of a seed: among n streams two are
    equal with probability about n² / 2³³. For very many streams draw with
    `generator` and ``torch.from_numpy``.
    """
    import torch  # here, so that `stimuli` can use this module without torch

    return torch.Generator("cpu").manual_seed(_digest(seed, keys) % 2**63)


@contextmanager
def own_torch_stream(seed: int, *keys: str | int) -> Iterator[None]:
    """Let what draws from torch's default generator draw from a stream of its own.

    For constructors of networks, which take no generator; that of the caller goes on
    as if nothing had been drawn.

    Parameters
    ----------
    seed : int
        Seed of the run, 0 or more.
    *keys : str or int
        What the numbers are for.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    TypeError, ValueError
        As `generator`.
    """
    import torch

    stream = torch_generator(seed, *keys).get_state()
    state = torch.get_rng_state()
    try:
        torch.set_rng_state(stream)
        yield
    finally:
        torch.set_rng_state(state)
