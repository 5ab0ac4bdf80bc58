"""Central bias: how large the centre of a picture must be until its class wins.

A table of predictions has one row per picture, run and size of the centre: `system`,
`run`, `foveal_weight` (mean weight of the centre, 0..1), `stimulus_id`,
`peripheral_label`, `foveal_label` and `predicted`.

References
----------
Deza and Konkle (2020). Emergent properties of foveated perceptual systems.
arXiv:2006.07991.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.crossed_bootstrap import CrossedBootstrap, bootstrap_crossed
from analysis.crossed_runs import RESAMPLED, check_options, paired_values
from neurovis.core.checks import check_array, check_columns, check_option
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

CONFLICT_COLUMNS = (
    "system",
    "run",
    "foveal_weight",
    "stimulus_id",
    "peripheral_label",
    "foveal_label",
    "predicted",
)
"""Columns of a table of predictions for pictures of two classes."""

_SIDES = ("peripheral", "foveal")


def cross_over(
    x: ArrayLike, peripheral: ArrayLike, foveal: ArrayLike, *, ties: str = "cross"
) -> FloatArray:
    """Find where the foveal class starts to be named more often than the peripheral.

    That is where straight lines between the points of the two curves meet, in the
    first interval that starts with more peripheral and ends with more foveal answers.

    Parameters
    ----------
    x : array-like of float, shape (n_levels,)
        Mean foveal weight of each level, increasing.
    peripheral, foveal : array-like of float, shape (..., n_levels)
        Shares (or percentages) of answers that name either class.
    ties : {"cross", "published"}, default "cross"
        What happens where both are exactly equal at a level: it is the cross-over
        (the middle of it, if several levels are equal), or none is seen there.

    Returns
    -------
    ndarray of float64, shape (...)
        Cross-over in the unit of `x`; NaN where there is none. Smaller means a
        stronger central bias.

    Raises
    ------
    ValueError
        If shapes do not fit, `x` does not increase, or `ties` is unknown.

    References
    ----------
    Deza and Konkle (2020), arXiv:2006.07991.

    Examples
    --------
    >>> float(cross_over([0.0, 0.5, 1.0], [0.8, 0.6, 0.0], [0.0, 0.2, 0.8]))
    0.6666666666666666
    >>> float(cross_over([0.0, 0.5, 1.0], [0.8, 0.4, 0.0], [0.0, 0.4, 0.8]))
    0.5
    """
    check_option("ties", ties, ("cross", "published"))
    at, (around, centre) = _check_curves(x, peripheral, foveal)
    lead = around - centre
    places = np.arange(len(at))
    if ties == "published":
        before = np.broadcast_to(np.maximum(places - 1, 0), lead.shape)
    else:
        # The last level before this one at which the two differed.
        differed = np.maximum.accumulate(np.where(lead != 0, places, 0), axis=-1)
        before = np.concatenate(
            [np.zeros_like(differed[..., :1]), differed[..., :-1]], axis=-1
        )
    falls = (np.take_along_axis(lead, before, axis=-1) > 0) & (lead < 0)
    end = np.argmax(falls, axis=-1)[..., None]
    start = np.take_along_axis(before, end, axis=-1)
    high, low = (np.take_along_axis(lead, i, axis=-1) for i in (start, end))
    with np.errstate(divide="ignore", invalid="ignore"):
        met = at[start] + (at[end] - at[start]) * high / (high - low)
    level = (at[np.minimum(start + 1, len(at) - 1)] + at[np.maximum(end - 1, 0)]) / 2
    found = np.where(end - start > 1, level, met)[..., 0]
    undefined = ~falls.any(axis=-1) | np.isnan(lead).any(axis=-1)
    return np.where(undefined, np.nan, found)


def area_published(x: ArrayLike, accuracy: ArrayLike) -> FloatArray:
    """Compute the published area under a curve, which leaves out the first interval.

    Parameters
    ----------
    x : array-like of float, shape (n_levels,)
        Mean foveal weight of each level, increasing.
    accuracy : array-like of float, shape (..., n_levels)
        One curve, in percent as published.

    Returns
    -------
    ndarray of float64, shape (...)
        Trapezoids from the second point on, times 100.

    Raises
    ------
    ValueError
        If shapes do not fit or `x` does not increase.

    Notes
    -----
    It depends on where the first levels lie; `mean_over_weight` does not.

    Examples
    --------
    >>> float(area_published([0.0, 0.5, 1.0], [9.0, 60.0, 40.0]))
    2500.0
    """
    at, (curve,) = _check_curves(x, accuracy)
    return np.asarray(100 * np.trapezoid(curve[..., 1:], at[1:], axis=-1))


def mean_over_weight(x: ArrayLike, accuracy: ArrayLike) -> FloatArray:
    """Average a curve over the foveal weight, from the first to the last level.

    Parameters
    ----------
    x : array-like of float, shape (n_levels,)
        Mean foveal weight of each level, increasing, two or more levels.
    accuracy : array-like of float, shape (..., n_levels)
        One curve.

    Returns
    -------
    ndarray of float64, shape (...)
        Area of all trapezoids over the range of `x`, in the unit of `accuracy`.

    Raises
    ------
    ValueError
        If shapes do not fit or `x` does not increase.

    Examples
    --------
    >>> float(mean_over_weight([0.0, 0.5, 1.0], [0.0, 0.5, 1.0]))
    0.5
    """
    at, (curve,) = _check_curves(x, accuracy)
    return np.asarray(np.trapezoid(curve, at, axis=-1) / (at[-1] - at[0]))


def conflict_curves(predictions: pd.DataFrame) -> pd.DataFrame:
    """Compute how often either class is named, by system, run and foveal weight.

    Parameters
    ----------
    predictions : DataFrame
        With the columns of `CONFLICT_COLUMNS`. A picture whose two classes are one
        counts for both, as published; leave such rows out before, if there are any.

    Returns
    -------
    DataFrame
        One row per system (in order of appearance), run and foveal weight (sorted):
        `peripheral` and `foveal` (shares, 0..1) and `n_images`.

    Raises
    ------
    ValueError
        If a column is missing or there are no rows.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "system": "net",
    ...         "run": 1,
    ...         "foveal_weight": 0.3,
    ...         "stimulus_id": ["a", "b", "c", "d"],
    ...         "peripheral_label": 0,
    ...         "foveal_label": 1,
    ...         "predicted": [0, 0, 1, 2],
    ...     }
    ... )
    >>> conflict_curves(table)[["peripheral", "foveal"]].values.tolist()
    [[0.5, 0.25]]
    """
    table = _with_hits(predictions)
    keys = ["system", "run", "foveal_weight"]
    order = {name: i for i, name in enumerate(table["system"].unique())}
    groups = table.groupby(keys, sort=True)
    curves = groups[list(_SIDES)].mean().assign(n_images=groups.size()).reset_index()
    return curves.sort_values("system", key=lambda s: s.map(order), kind="stable")[
        [*keys, *_SIDES, "n_images"]
    ].reset_index(drop=True)


def central_bias(
    predictions: pd.DataFrame,
    *,
    ties: str = "cross",
    over: str = "both",
    n_bootstrap: int = 1000,
    coverage: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Find the cross-over of each system, with its uncertainty.

    Curves are averaged over runs and pictures first, then the cross-over is found.

    Parameters
    ----------
    predictions : DataFrame
        With the columns of `CONFLICT_COLUMNS`; all systems, runs and foveal weights
        have the same pictures.
    ties : {"cross", "published"}, default "cross"
        As in `cross_over`.
    over : {"both", "images", "runs"}, default "both"
        To what the interval generalises; with a single run only "images" is defined.
    n_bootstrap : int, default 1000
        Resamples, the same ones for all systems.
    coverage : float, default 0.95
        Coverage of the intervals, 0..1.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    DataFrame
        One row per system, in order of appearance: `system`, `cross_over`, `ci_low`,
        `ci_high` (NaN where undefined, as when more than 5 % of the resamples have no
        cross-over), `share_undefined` (of the resamples), `sd_runs_published`
        (standard deviation over the cross-overs of runs, divisor n; NaN if a run has
        none), `peripheral_mean`, `foveal_mean` (see `mean_over_weight`), `n_images`
        and `n_runs`.

    Raises
    ------
    TypeError, ValueError
        If a column is missing, the pictures differ, or an option is unknown.

    References
    ----------
    Schütt et al. (2023), eLife 12, e82566, doi:10.7554/eLife.82566 (crossed
    bootstrap).
    """
    x, systems, hits, found = _bootstrap(
        predictions, None, ties, over, n_bootstrap, coverage, seed
    )
    low, high = found.interval(level=coverage)
    # (n_runs, n_systems, 2, n_levels)
    curves = hits.mean(axis=0)
    by_run = cross_over(x, curves[:, :, 0], curves[:, :, 1], ties=ties)
    means = mean_over_weight(x, curves.mean(axis=0))
    return pd.DataFrame(
        {
            "system": systems,
            "cross_over": found.estimate,
            "ci_low": low,
            "ci_high": high,
            "share_undefined": np.isnan(found.draws[found.over]).mean(axis=0),
            "sd_runs_published": by_run.std(axis=0),
            "peripheral_mean": means[:, 0],
            "foveal_mean": means[:, 1],
            "n_images": hits.shape[0],
            "n_runs": hits.shape[1],
        }
    )


def central_bias_difference(
    predictions: pd.DataFrame,
    first: str,
    second: str,
    *,
    ties: str = "cross",
    over: str = "both",
    n_bootstrap: int = 1000,
    coverage: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the cross-overs of two systems on the same pictures, and run by run.

    Parameters
    ----------
    predictions : DataFrame
        As for `central_bias`.
    first, second : str
        Names in the column `system`.
    ties : {"cross", "published"}, default "cross"
        As in `cross_over`.
    over : {"both", "images", "runs"}, default "both"
        As in `central_bias`.
    n_bootstrap : int, default 1000
        Resamples, the same ones for both systems.
    coverage : float, default 0.95
        Coverage of the interval, 0..1.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    DataFrame
        One row: `first`, `second`, `difference` (cross-over of the first minus that
        of the second: below 0 if the first has the stronger central bias), `ci_low`,
        `ci_high`, `p_value` (two-sided, of no difference), `n_images`, `n_runs`.

    Raises
    ------
    TypeError, ValueError
        As `central_bias`, or if there is no such system.
    """
    check_columns("predictions", predictions.columns, CONFLICT_COLUMNS)
    known = predictions["system"].unique().tolist()
    for name, system in (("first", first), ("second", second)):
        check_option(name, system, known)
    _, _, hits, found = _bootstrap(
        predictions, (first, second), ties, over, n_bootstrap, coverage, seed
    )
    difference = found.contrast([1, -1])
    low, high = difference.interval(level=coverage)
    return pd.DataFrame(
        {
            "first": [first],
            "second": [second],
            "difference": [float(difference.estimate)],
            "ci_low": [float(low)],
            "ci_high": [float(high)],
            "p_value": [float(difference.p_value())],
            "n_images": [hits.shape[0]],
            "n_runs": [hits.shape[1]],
        }
    )


def _bootstrap(
    predictions: pd.DataFrame,
    systems: Sequence[str] | None,
    ties: str,
    over: str,
    n_bootstrap: int,
    coverage: float,
    seed: int,
) -> tuple[FloatArray, Sequence[str], FloatArray, CrossedBootstrap]:
    """Return x, systems, hits (pictures, runs, systems, 2, levels) and resamples."""
    check_option("ties", ties, ("cross", "published"))
    check_options(over, n_bootstrap, coverage, least=1)
    table = _with_hits(predictions)
    names = systems or table["system"].unique().tolist()
    x = np.sort(table["foveal_weight"].unique()).astype(np.float64)
    shown = {
        frozenset(part) for _, part in table.groupby("foveal_weight")["stimulus_id"]
    }
    if len(shown) > 1:
        raise ValueError(
            "Every foveal weight must have the same pictures; they differ. Keep those "
            "that all weights have."
        )
    levels = []
    for weight in x:
        part = table[table["foveal_weight"] == weight]
        levels.append(np.stack([paired_values(part, s, names) for s in _SIDES], -1))
    if len({level.shape for level in levels}) > 1:
        raise ValueError("Every foveal weight must have the same runs; they differ.")
    hits = np.stack(levels, axis=-1)
    n_images, n_runs = hits.shape[:2]
    flat = hits.reshape(n_images, -1)

    def curves_of(images: NDArray[np.intp]) -> FloatArray:
        weights = np.bincount(images, minlength=n_images) / len(images)
        return np.asarray(weights @ flat).reshape(hits.shape[1:])

    def cross_over_of(curves: FloatArray, runs: NDArray[np.intp]) -> FloatArray:
        mean = curves[runs].mean(axis=0)
        return cross_over(x, mean[:, 0], mean[:, 1], ties=ties)

    found = bootstrap_crossed(
        curves_of,
        n_images,
        n_runs,
        combine=cross_over_of,
        over=RESAMPLED[over],
        n_bootstrap=n_bootstrap,
        rng=generator(seed, "central bias"),
    )
    return x, names, hits, found


def _with_hits(predictions: pd.DataFrame) -> pd.DataFrame:
    check_columns("predictions", predictions.columns, CONFLICT_COLUMNS)
    if predictions.empty:
        raise ValueError("`predictions` has no rows.")
    named = predictions["predicted"].to_numpy()
    hits = {side: predictions[f"{side}_label"].to_numpy() == named for side in _SIDES}
    return predictions.assign(**hits).reset_index(drop=True)


def _check_curves(
    x: ArrayLike, *curves: ArrayLike
) -> tuple[FloatArray, list[FloatArray]]:
    at = np.asarray(x, np.float64)
    check_array("x", at, shape=(None,), finite=True)
    if len(at) < 2 or not (np.diff(at) > 0).all():
        raise ValueError(
            f"`x` must increase over two or more levels; got {at.tolist()}."
        )
    values = [np.asarray(curve, np.float64) for curve in curves]
    for value in values:
        if value.shape[-1:] != at.shape or value.shape != values[0].shape:
            raise ValueError(
                f"Each curve must have {len(at)} levels, as `x`, and one shape; got "
                f"{[v.shape for v in values]}."
            )
    return at, values
