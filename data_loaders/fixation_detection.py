"""Fixations from samples of gaze, by a threshold on velocity.

References
----------
Salvucci and Goldberg (2000). Identifying fixations and saccades in eye-tracking
protocols. ETRA, 71-78. doi:10.1145/355017.355028 (algorithm I-VT).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_between

DETECTED_COLUMNS = ("start_ms", "duration_ms", "x_px", "y_px", "n_samples")


@dataclass(frozen=True)
class VelocityThreshold:
    """Parameters of `detect_fixations`.

    Parameters
    ----------
    velocity_deg_s : float, default 30
        Samples slower than this, in degrees per second, belong to fixations; > 0.
    window_ms : float, default 20
        Velocity is taken between the first and the last sample within this time
        around a sample; 0, or less than two samples, is from one sample to the next,
        as published. Wider windows stand more noise and take up to half a window
        from each end of a fixation.
    min_duration_ms : float, default 60
        Shorter fixations are dropped; >= 0.
    max_gap_ms : float, default 75
        Longest time between samples that a fixation may bridge; > 0. Blinks are
        longer, so they end a fixation.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    velocity_deg_s: float = 30.0
    window_ms: float = 20.0
    min_duration_ms: float = 60.0
    max_gap_ms: float = 75.0

    def __post_init__(self) -> None:
        check_between("velocity_deg_s", self.velocity_deg_s, low=1e-6)
        check_between("window_ms", self.window_ms, low=0)
        check_between("min_duration_ms", self.min_duration_ms, low=0)
        check_between("max_gap_ms", self.max_gap_ms, low=1e-6)


def detect_fixations(
    t_ms: ArrayLike,
    x_px: ArrayLike,
    y_px: ArrayLike,
    *,
    px_per_deg: float,
    rule: VelocityThreshold | None = None,
) -> pd.DataFrame:
    """Find the fixations in one recording.

    Neighbouring samples below the threshold form a fixation; its position is their
    mean.

    Parameters
    ----------
    t_ms : array-like of float, shape (n_samples,)
        Times in ms, growing.
    x_px, y_px : array-like of float, shape (n_samples,)
        Gaze in pixels; NaN where the eye was lost (blinks).
    px_per_deg : float
        Pixels per degree of visual angle, > 0.
    rule : VelocityThreshold, optional
        Parameters; by default those of `VelocityThreshold()`.

    Returns
    -------
    DataFrame
        One row per fixation, in the order of time, with the `DETECTED_COLUMNS`:
        `start_ms` (time of the first sample), `duration_ms` (up to the last sample
        and one usual interval beyond), `x_px`, `y_px` (mean of its samples) and
        `n_samples` (int). Nothing but lost samples gives no row.

    Raises
    ------
    ValueError
        If lengths differ, times do not grow or are not finite, or `px_per_deg` is
        out of range.

    Notes
    -----
    Across a short loss the velocity is that between the samples before and behind it,
    so that the loss splits a fixation only when the eye has moved on. Smooth pursuit
    below the threshold counts as fixation.

    Examples
    --------
    >>> x = np.repeat([100.0, 300.0], 50)
    >>> found = detect_fixations(np.arange(100.0) * 4, x, x, px_per_deg=30)
    >>> found[["start_ms", "duration_ms", "x_px"]].values.tolist()
    [[0.0, 192.0, 100.0], [208.0, 192.0, 300.0]]
    """
    rule = rule or VelocityThreshold()
    check_between("px_per_deg", px_per_deg, low=1e-6)
    times = np.asarray(t_ms, np.float64)
    n = len(check_array("t_ms", times, shape=(None,), finite=True))
    x = check_array("x_px", np.asarray(x_px, np.float64), shape=(n,))
    y = check_array("y_px", np.asarray(y_px, np.float64), shape=(n,))
    steps = np.diff(times)
    if (steps <= 0).any():
        late = int(np.flatnonzero(steps <= 0)[0]) + 1
        raise ValueError(
            f"`t_ms` must grow; sample {late} is at {times[late]:g} ms, after "
            f"{times[late - 1]:g} ms. Sort the samples and drop those that repeat a "
            "time."
        )
    valid = np.isfinite(x) & np.isfinite(y)
    interval = float(np.median(steps)) if n > 1 else 0.0
    times, x, y = times[valid], x[valid], y[valid]
    if not len(times):
        return pd.DataFrame(columns=list(DETECTED_COLUMNS), dtype=np.float64)
    limit_px_ms = rule.velocity_deg_s * px_per_deg / 1000
    gap = np.diff(times)
    # A window narrower than a loss would not see a saccade that the loss hides.
    hidden = (gap > 1.5 * interval) & (
        np.hypot(np.diff(x), np.diff(y)) >= gap * limit_px_ms
    )
    part = np.concatenate([[0], np.cumsum(hidden | (gap > rule.max_gap_ms))])
    first, last = _window(times, part, rule.window_ms)
    with np.errstate(invalid="ignore"):  # a lone sample has no velocity
        speed = np.hypot(x[last] - x[first], y[last] - y[first]) / (
            times[last] - times[first]
        )
    slow = speed < limit_px_ms
    change = np.flatnonzero((np.diff(slow) != 0) | (np.diff(part) != 0)) + 1
    starts = np.concatenate([[0], change])
    counts = np.diff(np.concatenate([starts, [len(times)]]))
    ends = starts + counts - 1
    found = pd.DataFrame(
        {
            "start_ms": times[starts],
            "duration_ms": times[ends] - times[starts] + interval,
            "x_px": np.add.reduceat(x, starts) / counts,
            "y_px": np.add.reduceat(y, starts) / counts,
            "n_samples": counts,
        }
    )
    kept = slow[starts] & (found["duration_ms"].to_numpy() >= rule.min_duration_ms)
    return found.iloc[np.flatnonzero(kept)].reset_index(drop=True)


def _window(
    times: NDArray[np.float64], part: NDArray[np.intp], window_ms: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return first and last sample of the window around each sample of its part."""
    here = np.arange(len(times))
    part_first = np.searchsorted(part, part, side="left")
    part_last = np.searchsorted(part, part, side="right") - 1
    half_ms = window_ms / 2 + 1e-6  # times such as 1000 / 3 are not exact
    first = np.searchsorted(times, times - half_ms, side="left")
    last = np.searchsorted(times, times + half_ms, side="right") - 1
    first, last = np.maximum(first, part_first), np.minimum(last, part_last)
    alone = first == last
    last = np.where(alone, np.minimum(here + 1, part_last), last)
    first = np.where(alone & (last == here), np.maximum(here - 1, part_first), first)
    return first, last
