"""What is computed for a block of units: z-scores, averages of repeats, ncsnr.

Every number depends on its own unit only and is summed in an order that depends on the
trials only, so that the size of blocks changes no bit.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.noise_ceiling import signal_to_noise

_TILE_BYTES = 2**20  # small enough for the cache of a core


@dataclass(frozen=True, eq=False)
class TrialDesign:
    """Which trials belong to which session and image.

    Parameters
    ----------
    order : ndarray of int64, shape (n_trials,), optional
        Trials session by session; None where they come so already.
    runs : tuple of (int, int, int)
        Runs of sessions of one length: first place in `order`, sessions, trials each.
    repeats : tuple of ndarray of int64
        Places in `order` of the first trials of images, of the second ones of images
        that have some, and so on. Images come by falling number of trials.
    n_repeats : ndarray of int64, shape (n_images,)
        Number of trials, falling.
    rows : ndarray of int64, shape (n_images,)
        Images by ascending identity, as places in the order of `repeats`.
    """

    order: NDArray[np.int64] | None
    runs: tuple[tuple[int, int, int], ...]
    repeats: tuple[NDArray[np.int64], ...]
    n_repeats: NDArray[np.int64]
    rows: NDArray[np.int64]

    @property
    def n_trials(self) -> int:
        """Trials in all."""
        return int(self.n_repeats.sum())

    @property
    def n_images(self) -> int:
        """Images in all."""
        return len(self.n_repeats)

    @property
    def triples(self) -> slice:
        """Images with exactly three trials, as places in the order of `repeats`."""
        more, enough = ((self.n_repeats > n).sum() for n in (3, 2))
        return slice(int(more), int(enough))


def make_design(stimulus_id: pd.Series, session: pd.Series) -> TrialDesign:
    """Sort trials into sessions and images.

    Parameters
    ----------
    stimulus_id : Series of str, shape (n_trials,)
        Image of each trial, in the order of time.
    session : Series of int, shape (n_trials,)
        Session of each trial.

    Returns
    -------
    TrialDesign
        The sessions and images.

    Examples
    --------
    >>> ids = pd.Series(["b", "a", "b", "b"])
    >>> design = make_design(ids, pd.Series([1, 1, 2, 2]))
    >>> design.runs, design.n_repeats.tolist(), design.triples
    (((0, 2, 2),), [3, 1], slice(0, 1, None))
    >>> [places.tolist() for places in design.repeats], design.rows.tolist()
    ([[0, 1], [2], [3]], [1, 0])
    """
    n_trials = len(stimulus_id)
    codes = pd.factorize(session)[0]
    order = np.argsort(codes, kind="stable").astype(np.int64)
    place = np.empty(n_trials, np.int64)
    place[order] = np.arange(n_trials)
    lengths = np.bincount(codes)
    edges = [0, *(np.flatnonzero(np.diff(lengths)) + 1).tolist(), len(lengths)]
    firsts = np.concatenate([[0], np.cumsum(lengths)])
    runs = [
        (int(firsts[i]), j - i, int(lengths[i])) for i, j in itertools.pairwise(edges)
    ]
    images, ids = pd.factorize(stimulus_id, sort=True)
    counts = np.bincount(images, minlength=len(ids))
    by_count = np.argsort(-counts, kind="stable")
    rows = np.empty(len(ids), np.int64)
    rows[by_count] = np.arange(len(ids))
    trials = np.argsort(images, kind="stable")
    first = (np.cumsum(counts) - counts)[by_count]
    falling = counts[by_count]
    repeats = [
        place[trials[first[: (falling > k).sum()] + k]] for k in range(counts.max())
    ]
    is_sorted = bool((order == np.arange(n_trials)).all())
    return TrialDesign(
        None if is_sorted else order, tuple(runs), tuple(repeats), falling, rows
    )


def prepare_block(
    raw: NDArray[np.float32],
    design: TrialDesign,
    *,
    z_score: bool,
    average: bool,
    incomplete: str,
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Prepare a block of units.

    Parameters
    ----------
    raw : ndarray of float32, shape (n_units, n_trials)
        Responses in the order of time, contiguous. The result takes their place.
    design : TrialDesign
        Sessions and images of the trials.
    z_score : bool
        Whether each session gets the mean 0 and the population standard deviation 1.
    average : bool
        Whether the trials of an image are averaged.
    incomplete : {"drop", "nan", "zero"}
        What becomes of a unit that is constant or not finite in a session.

    Returns
    -------
    betas : ndarray of float32, shape (n_kept, n_images or n_trials)
        A view of `raw`. Images ascend by identity; trials come in the order of time.
    record : DataFrame
        One row per unit: `kept`, `ncsnr`, `n_incomplete_sessions`.
    """
    n_units, n_trials = raw.shape
    n_rows = design.n_images if average else n_trials
    # Rows of the result are no longer than those of `raw`, and are written after
    # what lies there was used.
    betas = raw.reshape(-1)[: n_units * n_rows].reshape(n_units, n_rows)
    n_tile = max(1, _TILE_BYTES // (8 * n_trials))
    space = np.empty((2, min(n_tile, n_units), n_trials))
    kept = np.ones(n_units, np.bool_)
    ncsnr = np.empty(n_units)
    n_bad = np.empty(n_units, np.int64)
    back = None
    if design.order is not None:
        back = np.empty(n_trials, np.int64)
        back[design.order] = np.arange(n_trials)
    n_done = 0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for start in range(0, n_units, n_tile):
            tile = slice(start, min(start + n_tile, n_units))
            z, work = space[:, : tile.stop - start]
            bad = _standardise(raw[tile], design, z_score, z, work)
            n_bad[tile] = bad
            # By image: first trials, second ones and so on.
            repeats = [z.take(places, axis=1) for places in design.repeats]
            prepared = z if back is None else z[:, back]
            if average:
                prepared = _average(repeats, design)
            ncsnr[tile] = _ncsnr(repeats, design)
            # A session that was made up, of zeros too, tells nothing of noise.
            ncsnr[tile][bad > 0] = np.nan
            if incomplete == "nan":
                prepared[bad > 0] = np.nan
            elif incomplete == "drop" and bad.any():
                kept[tile] = bad == 0
                prepared = prepared[bad == 0]
            betas[n_done : n_done + len(prepared)] = prepared
            n_done += len(prepared)
    record = pd.DataFrame(
        {"kept": kept, "ncsnr": ncsnr, "n_incomplete_sessions": n_bad}
    )
    return betas[:n_done], record


def _standardise(
    raw: NDArray[np.float32],
    design: TrialDesign,
    z_score: bool,
    z: NDArray[np.float64],
    work: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Fill `z` session by session; return in how many sessions a unit is incomplete.

    A session is incomplete where a value is not finite or all are equal. It is 0 then.
    """
    if design.order is not None:
        raw = raw.take(design.order, axis=1)
    n_bad = np.zeros(len(raw), np.int64)
    for start, n_sessions, length in design.runs:
        stop = start + n_sessions * length
        shape = (len(raw), n_sessions, length)
        x, out, square = (a[:, start:stop].reshape(shape) for a in (raw, z, work))
        # Relative to the first trial equal values are exactly 0, and stay so.
        out[...] = x
        out -= out[..., :1].copy()
        # Over the last axis, which is contiguous: sums in one order for any block.
        out -= np.add.reduce(out, axis=-1, keepdims=True) / length
        np.multiply(out, out, out=square)
        variance = np.add.reduce(square, axis=-1, keepdims=True) / length
        complete = variance > 0 if length > 1 else np.isfinite(x)
        if z_score:
            out /= np.sqrt(variance)
        else:
            out[...] = x
        if not complete.all():
            bad = ~complete[..., 0]
            out[bad] = 0
            n_bad += bad.sum(axis=1)
    return n_bad


def _average(
    repeats: Sequence[NDArray[np.float64]], design: TrialDesign
) -> NDArray[np.float64]:
    total = repeats[0].copy()
    for trials in repeats[1:]:
        total[:, : trials.shape[1]] += trials
    total /= design.n_repeats
    return total.take(design.rows, axis=1)


def _ncsnr(
    repeats: Sequence[NDArray[np.float64]], design: TrialDesign
) -> NDArray[np.float64]:
    """Noise-ceiling signal-to-noise ratio from images with exactly three trials."""
    chosen = design.triples
    n_images = chosen.stop - chosen.start
    n_units = len(repeats[0])
    if not n_images:
        return np.full(n_units, np.nan)
    trials = [r[:, chosen] for r in repeats[:3]]
    total = trials[0] + trials[1]
    total += trials[2]
    mean = np.add.reduce(total, axis=1, keepdims=True) / (3 * n_images)
    total /= 3
    noise, spread = np.zeros(n_units), np.zeros(n_units)
    off = np.empty_like(total)
    for trial in trials:
        np.subtract(trial, total, out=off)
        noise += np.add.reduce(np.multiply(off, off, out=off), axis=1)
        np.subtract(trial, mean, out=off)
        spread += np.add.reduce(np.multiply(off, off, out=off), axis=1)
    return signal_to_noise(noise / (2 * n_images), spread / (3 * n_images - 1))
