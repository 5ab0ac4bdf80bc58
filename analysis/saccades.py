"""Saccades, the way to the target, and the share found by each saccade.

Published conventions have a name. ``"gupta2021"`` is that of the natural search figures
of Gupta et al. (2021): saccades from the first, given fixation are left out.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.scanpath_sets import ScanpathSet, pack_scanpaths
from analysis.stats import percentile_interval, wilson_interval
from neurovis.core.checks import check_array, check_between, check_option
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CONVENTIONS = ("plain", "gupta2021")


def saccade_table(
    paths: Any, *, px_per_deg: float | None = None, convention: str = "plain"
) -> pd.DataFrame:
    """List the saccades of scanpaths with their amplitude and direction.

    Parameters
    ----------
    paths : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    px_per_deg : float, optional
        Pixels per degree of visual angle, > 0.
    convention : {"plain", "gupta2021"}
        All saccades, or all but the first of each scanpath.

    Returns
    -------
    DataFrame
        One row per saccade: `scanpath` (row of the set), `saccade` (1 leads from
        fixation 0 to 1), `amplitude_px`, `amplitude_deg` (NaN without `px_per_deg`)
        and `direction_deg` (counter-clockwise from rightwards, 0 <= d < 360; NaN for
        amplitude 0). Undefined coordinates give NaN.

    Raises
    ------
    ValueError
        If `px_per_deg` is not above 0 or the convention is unknown.

    References
    ----------
    Gupta, Zhang, Wu, Wolfe and Kreiman (2021). Visual search asymmetry: deep nets and
    humans share similar inherent biases. NeurIPS. arXiv:2106.02953

    Examples
    --------
    >>> saccade_table([[(0, 0), (0, -60), (80, -60)]], px_per_deg=20)
       scanpath  saccade  amplitude_px  amplitude_deg  direction_deg
    0         0        1          60.0            3.0           90.0
    1         0        2          80.0            4.0            0.0
    """
    check_option("convention", convention, CONVENTIONS)
    scale = _px_per_deg(px_per_deg)
    paths = pack_scanpaths(paths)
    dx = np.diff(paths.x_px[:, : paths.longest], axis=1)
    dy = np.diff(paths.y_px[:, : paths.longest], axis=1)
    number = np.arange(1, dx.shape[1] + 1)
    wanted = number < paths.n_fixations[:, None]
    if convention == "gupta2021":
        wanted &= number > 1
    row, place = np.nonzero(wanted)
    dx, dy = dx[wanted], dy[wanted]
    amplitude = np.hypot(dx, dy)
    direction = np.degrees(np.arctan2(-dy, dx)) % 360
    # A tiny negative angle is 360 after the modulus.
    direction[direction == 360] = 0.0
    direction[~(amplitude > 0)] = np.nan
    return pd.DataFrame(
        {
            "scanpath": row,
            "saccade": number[place],
            "amplitude_px": amplitude,
            "amplitude_deg": amplitude / scale,
            "direction_deg": direction,
        }
    )


def _px_per_deg(value: float | None) -> float:
    """Return the scale, NaN when it is not known."""
    if value is None:
        return np.nan
    return float(check_between("px_per_deg", value, low=1e-6))


def degree_histogram(
    values_deg: ArrayLike,
    *,
    bin_deg: float = 0.5,
    largest_deg: float = 40.0,
    convention: str = "plain",
) -> pd.DataFrame:
    """Count amplitudes or distances in bins of visual angle from 0 on.

    Parameters
    ----------
    values_deg : array-like of float
        Degrees; NaN is left out.
    bin_deg : float, default 0.5
        Width of a bin, > 0.
    largest_deg : float, default 40
        End of the last bin, a multiple of `bin_deg`.
    convention : {"plain", "gupta2021"}
        Whether `proportion` is of all values, or of those up to `largest_deg`. The
        published figures have 40 degrees for saccades and 30 for distances.

    Returns
    -------
    DataFrame
        `bin_left_deg`, `count`, `proportion` (NaN when there is no value). A value on
        a border belongs to the bin that it begins, in the last bin the end too.

    Raises
    ------
    ValueError
        If a width is out of range or the convention is unknown.

    Examples
    --------
    >>> degree_histogram([0.2, 0.6, 0.7, 9.0], largest_deg=1)
       bin_left_deg  count  proportion
    0           0.0      1        0.25
    1           0.5      2        0.50
    """
    check_option("convention", convention, CONVENTIONS)
    check_between("bin_deg", bin_deg, low=1e-9)
    check_between("largest_deg", largest_deg, low=bin_deg)
    n_bins = round(largest_deg / bin_deg)
    if not np.isclose(n_bins * bin_deg, largest_deg):
        raise ValueError(
            f"`largest_deg` must be a multiple of `bin_deg` = {bin_deg}; got "
            f"{largest_deg}."
        )
    values = np.asarray(values_deg, np.float64)
    values = values[~np.isnan(values)]
    edges = np.linspace(0, largest_deg, n_bins + 1)
    count = np.histogram(values, edges)[0]
    total = len(values) if convention == "plain" else count.sum()
    proportion = count / total if total else np.full(n_bins, np.nan)
    return pd.DataFrame(
        {"bin_left_deg": edges[:-1], "count": count, "proportion": proportion}
    )


def compact_object_array(paths: Any) -> ScanpathSet:
    """Move the fixations of the object array task closer to the centre, as published.

    Positions are stored on a screen of 1280 x 1024 px with objects 275 px (x) and
    476 px (y) apart; saccades were measured with 150 and 260 px, by a table of the
    seven positions. The table is this scaling about the centre.

    Parameters
    ----------
    paths : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels of the screen of 1280 x 1024.

    Returns
    -------
    ScanpathSet
        The scanpaths where they were measured.

    References
    ----------
    Gupta, Zhang, Wu, Wolfe and Kreiman (2021). NeurIPS. arXiv:2106.02953

    Examples
    --------
    >>> moved = compact_object_array([[(640, 512), (90, 512), (915, 36)]])
    >>> moved.x_px.tolist(), moved.y_px.tolist()
    ([[640.0, 340.0, 790.0]], [[512.0, 512.0, 252.0]])
    """
    paths = pack_scanpaths(paths)
    return ScanpathSet(
        640 + (paths.x_px - 640) * 150 / 275,
        512 + (paths.y_px - 512) * 260 / 476,
        paths.duration_ms,
        paths.n_fixations,
    )


def distances_before_end(
    paths: Any,
    target_px: ArrayLike | None = None,
    *,
    n_lags: int = 6,
    convention: str = "plain",
) -> FloatArray:
    """Measure how far the last fixations, and those before, are from the target.

    Parameters
    ----------
    paths : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    target_px : array-like of float, shape (n_scanpaths, 2) or (2,), optional
        x and y of the target; by default where the scanpath ended.
    n_lags : int, default 6
        Lags 0 (the last fixation) to n_lags - 1, >= 1.
    convention : {"plain", "gupta2021"}
        All fixations, or all but fixation 0.

    Returns
    -------
    ndarray of float64, shape (n_scanpaths, n_lags)
        Pixels; NaN where a scanpath has no fixation so long before its end.

    Raises
    ------
    ValueError
        If the shapes do not fit or the convention is unknown.

    References
    ----------
    Gupta, Zhang, Wu, Wolfe and Kreiman (2021). NeurIPS. arXiv:2106.02953

    Examples
    --------
    >>> distances_before_end([[(0, 0), (30, 0), (30, 40)]], (30, 50), n_lags=4)
    array([[10.        , 50.        , 58.30951895,         nan]])
    """
    check_option("convention", convention, CONVENTIONS)
    lags = np.arange(int(check_between("n_lags", n_lags, low=1)))
    paths = pack_scanpaths(paths)
    n = len(paths)
    x, y = (np.pad(v, ((0, 0), (1, 0))) for v in (paths.x_px, paths.y_px))
    # A column in front, so that a place before the beginning can be asked for.
    place = np.maximum(paths.n_fixations[:, None] - lags, 0)
    rows = np.arange(n)[:, None]
    x, y = x[rows, place], y[rows, place]
    if target_px is None:
        target = np.column_stack([x[:, 0], y[:, 0]])
    else:
        target = np.asarray(target_px, np.float64)
        if target.ndim == 1:
            target = np.broadcast_to(target, (n, *target.shape))
        check_array("target_px", target, shape=(n, 2))
    distance = np.hypot(x - target[:, :1], y - target[:, 1:])
    first = 1 if convention == "plain" else 2
    return np.where(place >= first, distance, np.nan)


def cumulative_performance(
    found_at: ArrayLike, *, n_fixations: int, level: float = 0.95
) -> pd.DataFrame:
    """Compute the share of trials found by each fixation.

    Parameters
    ----------
    found_at : array-like of float, shape (n_trials,)
        Fixation that found the target, 0 the initial one; NaN when not found.
    n_fixations : int
        Fixations 0..n_fixations - 1, >= 1.
    level : float, default 0.95
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        `fixation`, `cumulative_performance` (0..1), `ci_low` and `ci_high` (Wilson),
        and `sem_increment`, the error bar of the published figures: the standard
        error (ddof 0) of the share found exactly at this fixation, not of the sum.

    Raises
    ------
    ValueError
        If `n_fixations` is below 1 or `found_at` is not one-dimensional.

    Notes
    -----
    The published figures begin at fixation 1. A trial that was stopped counts as not
    found; `kaplan_meier_found` takes account of that.

    References
    ----------
    Gupta, Zhang, Wu, Wolfe and Kreiman (2021). NeurIPS. arXiv:2106.02953

    Examples
    --------
    >>> table = cumulative_performance([1, 2, 2, np.nan], n_fixations=3)
    >>> table["cumulative_performance"].tolist()
    [0.0, 0.25, 0.75]
    """
    check_between("n_fixations", n_fixations, low=1)
    at = check_array("found_at", np.asarray(found_at, np.float64), shape=(None,))
    fixation = np.arange(int(n_fixations))
    n_trials = len(at)
    n_now = (at[:, None] == fixation).sum(axis=0)
    n_found = n_now.cumsum()
    low, high = wilson_interval(n_found, np.full(len(fixation), n_trials), level=level)
    trials = n_trials if n_trials else np.nan
    share = n_now / trials
    return pd.DataFrame(
        {
            "fixation": fixation,
            "cumulative_performance": n_found / trials,
            "ci_low": low,
            "ci_high": high,
            "sem_increment": np.sqrt(share * (1 - share) / trials),
        }
    )


def kaplan_meier_found(
    n_saccades: ArrayLike,
    found: ArrayLike,
    allowed: ArrayLike | None = None,
    *,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate the share found by each saccade when trials were stopped early.

    A trial that was stopped tells that the target was not found so far, and nothing
    about later: ``1 - prod_{t <= s} (1 - n_found(t) / n_at_risk(t))``.

    Parameters
    ----------
    n_saccades : array-like of int, shape (n_trials,)
        Saccades made, >= 0; in a found trial up to the one that found the target.
    found : array-like of bool, shape (n_trials,)
        Whether the target was found.
    allowed : array-like of float, shape (n_trials,) or (), optional
        Saccades after which the trial was stopped, >= 0; what was done later does
        not count. By default trials that were not found were stopped after
        `n_saccades`.
    clusters : array-like, shape (n_trials,), optional
        Which trials belong together, such as those of one subject.
    level : float, default 0.95
        Coverage of the intervals.
    n_bootstrap : int, default 1000
        Resamples of clusters.
    seed : int, default 0
        Seed of the resamples.

    Returns
    -------
    DataFrame
        `n_saccades` from 0 to the largest number seen, `n_at_risk`, `n_found`,
        `n_stopped`, `share_found` (cumulative, 0..1), `ci_low`, `ci_high`. Without
        `clusters` the interval is Greenwood's on the scale log(-log), NaN while the
        share is 0 and when it is 1. With `clusters` it is the percentile bootstrap
        over clusters, which Greenwood's formula would make too narrow.

    Raises
    ------
    ValueError
        If lengths differ, a number is negative or not whole, or there is no trial.

    Notes
    -----
    Stopping must not depend on how near the target was: a limit set in advance is
    such a stop, giving up is not.

    References
    ----------
    Kaplan and Meier (1958). J. Am. Stat. Assoc. 53, 457-481.
    doi:10.1080/01621459.1958.10501452
    Kalbfleisch and Prentice (2002). The statistical analysis of failure time data.
    Wiley. Section 1.4.

    Examples
    --------
    Two trials were stopped after one saccade: what is known of the second saccade
    comes from the others.

    >>> table = kaplan_meier_found([1, 1, 1, 2], [True, False, False, True])
    >>> table["share_found"].tolist()
    [0.0, 0.25, 1.0]
    """
    check_between("level", level, low=0, high=1)
    check_between("n_bootstrap", n_bootstrap, low=1)
    times = _whole("n_saccades", np.asarray(n_saccades, np.float64), None)
    n = len(times)
    if n == 0:
        raise ValueError("`n_saccades` is empty: at least one trial is needed.")
    hits = check_array("found", np.asarray(found), shape=(n,)).astype(bool)
    if allowed is not None:
        most = np.asarray(allowed, np.float64)
        limit = _whole("allowed", np.full(n, most) if most.ndim == 0 else most, n)
        hits = hits & (times <= limit)
        times = np.minimum(times, limit)
    if clusters is None:
        number, n_clusters = np.zeros(n, np.int64), 1
    else:
        labels = check_array("clusters", np.asarray(clusters), shape=(n,))
        number, kinds = pd.factorize(labels)
        n_clusters = len(kinds)
        if (number < 0).any():
            raise ValueError("`clusters` has undefined values: name the one of each.")
    n_found, n_ended = np.zeros((2, n_clusters, times.max() + 1), np.int64)
    np.add.at(n_found, (number[hits], times[hits]), 1)
    np.add.at(n_ended, (number, times), 1)
    at_risk = n_ended[:, ::-1].cumsum(axis=1)[:, ::-1]
    d, r = n_found.sum(axis=0), at_risk.sum(axis=0)
    left = share_left(d, r)
    if clusters is None:
        low, high = _greenwood(left, d, r, level)
    elif n_clusters < 2:
        low = high = np.full(len(d), np.nan)
    else:
        rng = generator(seed, "kaplan-meier")
        chance = np.full(n_clusters, 1 / n_clusters)
        weights = rng.multinomial(n_clusters, chance, size=n_bootstrap)
        draws = 1 - share_left(weights @ n_found, weights @ at_risk)
        low, high = percentile_interval(draws.T, level=level)
    return pd.DataFrame(
        {
            "n_saccades": np.arange(len(d)),
            "n_at_risk": r,
            "n_found": d,
            "n_stopped": n_ended.sum(axis=0) - d,
            "share_found": 1 - left,
            "ci_low": low,
            "ci_high": high,
        }
    )


def _whole(name: str, value: FloatArray, n: int | None) -> IntArray:
    """Return counts as int64."""
    array = check_array(name, value, shape=(n,), finite=True)
    if ((array < 0) | (array != np.floor(array))).any():
        raise ValueError(f"`{name}` must be whole numbers of saccades, 0 or more.")
    return array.astype(np.int64)


def share_left(n_found: NDArray[Any], at_risk: NDArray[Any]) -> FloatArray:
    """Return the Kaplan-Meier share of targets not found by each saccade.

    Parameters
    ----------
    n_found, at_risk : ndarray, shape (..., n_saccades)
        Targets found with each saccade, and trials that went so far.

    Returns
    -------
    ndarray of float64, shape (..., n_saccades)
        0..1, falling; NaN where no trial went so far, unless all are found before.

    Examples
    --------
    >>> share_left(np.array([0, 1, 0]), np.array([2, 2, 0])).tolist()
    [1.0, 0.5, nan]
    """
    passed = np.where(at_risk > 0, (at_risk - n_found) / np.maximum(at_risk, 1), 1.0)
    left = np.cumprod(passed, axis=-1)
    # Once all are found the share stays known.
    return np.where((at_risk > 0) | (left == 0), left, np.nan)


def _greenwood(
    left: FloatArray, n_found: IntArray, at_risk: IntArray, level: float
) -> tuple[FloatArray, FloatArray]:
    """Return limits of the share found, from the scale log(-log(share left))."""
    inner = np.where((left > 0) & (left < 1), left, np.nan)
    still = np.where(at_risk > n_found, at_risk - n_found, np.nan)
    spread = np.sqrt(np.cumsum(n_found / (at_risk * still)))
    z = stats.norm.ppf((1 + level) / 2)
    half = z * spread / np.abs(np.log(inner))
    return 1 - inner ** np.exp(-half), 1 - inner ** np.exp(half)
