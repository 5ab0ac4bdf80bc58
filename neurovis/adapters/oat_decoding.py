"""Decoding of OAT: scanpaths of many displays side by side, fixation by fixation.

Displays are encoded once. Keys and values of earlier fixations are kept, and scanpaths
that ended leave the batch.
"""

from typing import cast

import torch
from torch import Tensor

from neurovis.adapters.oat_layers import KeyCache, sinusoids
from neurovis.adapters.oat_network import OATNetwork, ObjectBatch

# Ended scanpaths are taken out when the batch shrinks at least to this share by it.
_SHRINK = 0.85


class CachedDecoder:
    """Decodes scanpaths of several displays token by token, one per display at first.

    Parameters
    ----------
    network : OATNetwork
        In evaluation mode.
    batch : ObjectBatch
        Displays, on the device of the network; encoded at once.
    """

    def __init__(self, network: OATNetwork, batch: ObjectBatch) -> None:
        self.network, self.n_cells = network, batch.n_cells
        self.encoded = encoded = network.encode(batch)
        heads, width = network.config.n_heads, network.config.width
        room = len(encoded.fixated), heads, 0, width // heads
        self.caches = [
            KeyCache(encoded.fixated.new_empty(room), encoded.fixated.new_empty(room))
            for _ in network.decoder
        ]
        self.n_samples, self.n_done = 1, 0

    def step(self, cells: Tensor) -> Tensor:
        """Decode the next token of every scanpath.

        Parameters
        ----------
        cells : Tensor of int64, shape (n_displays, n_samples)
            What was fixated last; the number of objects for the start.

        Returns
        -------
        Tensor, shape (n_displays, n_samples, n_objects + 2)
            Logits, as in `OATNetwork.forward`.
        """
        encoded = self.encoded
        rows = torch.arange(len(cells), device=cells.device)[:, None]
        order = sinusoids(self.n_done, 1, self.network.config.width)
        tokens = encoded.fixated[rows, cells] + order.to(encoded.fixated)
        mask = None if encoded.mask is None else encoded.mask[:, None, None]
        layers = zip(self.network.decoder, encoded.keys, self.caches, strict=True)
        for layer, objects, cache in layers:
            tokens = layer(tokens, objects, mask, cache)
        self.n_done += 1
        return cast(Tensor, self.network.pointer(tokens, encoded.pointed, encoded.mask))

    def keep(self, displays: Tensor, slots: Tensor) -> None:
        """Go on with some scanpaths of some displays.

        Parameters
        ----------
        displays : Tensor of int64, shape (n_kept,)
            Which displays.
        slots : Tensor of int64, shape (n_kept, n_samples)
            Which scanpaths of each; one may come several times.
        """
        rows = (self.n_samples * displays[:, None] + slots).flatten()
        self.caches = [cache.keep(rows) for cache in self.caches]
        self.n_samples = slots.shape[1]
        if len(displays) < len(self.encoded.fixated):
            self.encoded = self.encoded.take(displays)


def decode(
    decoder: CachedDecoder,
    *,
    n_samples: int,
    max_fixations: int,
    draws: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Decode scanpaths.

    Parameters
    ----------
    decoder : CachedDecoder
        Displays, nothing decoded yet; used up.
    n_samples : int
        Scanpaths per display, >= 1.
    max_fixations : int
        Where scanpaths are cut, >= 1.
    draws : Tensor of float64, shape (n_displays, n_samples, max_fixations), optional
        Random numbers from 0 to below 1, one per fixation; the most probable token is
        taken without.
    temperature : float, default 1
        Divides the logits, > 0.

    Returns
    -------
    Tensor of int64, shape (n_displays, n_samples, max_fixations)
        Objects, on the CPU; -1 after the end.
    """
    n_cells, n = decoder.n_cells, decoder.encoded.fixated.shape[1] - 1
    where = n_cells.device
    paths = torch.full((len(n_cells), n_samples, max_fixations), -1, device=where)
    numbers = None if draws is None else draws.to(where)
    # What is decoded: rows of displays, and which of their scanpaths.
    rows = torch.arange(len(paths), device=where)
    slots = torch.arange(n_samples, device=where).expand(len(paths), -1)
    ends = n_cells[:, None]
    alive = torch.ones_like(slots, dtype=torch.bool)
    last = torch.full_like(slots, n)
    for place in range(max_fixations):
        # All scanpaths of a display have the same start.
        logits = decoder.step(last if place else last[:, :1])[..., :-1].double()
        if place == 0:
            decoder.keep(rows, torch.zeros_like(slots))
            # There is at least one fixation.
            logits = logits.scatter(2, ends[:, None], -torch.inf)
            logits = logits.expand(-1, n_samples, -1)
        number = None if numbers is None else numbers[rows[:, None], slots, place]
        last = _choose(logits / temperature, number)
        alive = alive & (last != ends)
        before = paths[rows[:, None], slots, place]
        paths[rows[:, None], slots, place] = torch.where(alive, last, before)
        last = last.clamp(max=n - 1)
        going = alive.sum(dim=1)
        on, most = going.nonzero()[:, 0], int(going.max())
        if not most:
            break
        if most * len(on) <= _SHRINK * alive.numel():
            # Those that go on first; ended ones fill up the rows.
            kept = (~alive[on]).to(torch.int8).argsort(dim=1, stable=True)[:, :most]
            decoder.keep(on, kept)
            rows, ends = rows[on], ends[on]
            slots, last, alive = (
                each[on].gather(1, kept) for each in (slots, last, alive)
            )
    return paths.cpu()


def _choose(logits: Tensor, number: Tensor | None) -> Tensor:
    """Take the most probable class, or that where the running sum passes a number."""
    if number is None:
        return logits.argmax(dim=-1)
    running = logits.softmax(dim=-1).cumsum(dim=-1)
    passed = running <= (number * running[..., -1])[..., None]
    # Rounding must not choose a class of probability 0 after the last one.
    last = (logits > -torch.inf).long().cumsum(dim=-1).argmax(dim=-1)
    return torch.minimum(passed.sum(dim=-1), last)
