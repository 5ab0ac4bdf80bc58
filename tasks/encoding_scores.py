"""Scores of encoding models: units tested against chance, regions with limits.

Chance: pictures are permuted within each split, the same way for all units. Limits:
pictures are drawn with replacement within each split.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.metrics import noise_normalised, pearson_r, r_squared, unit_blocks
from analysis.multiple_tests import fdr_adjusted
from analysis.stats import percentile_interval
from neurovis.core.regions import region_labels, region_mask
from neurovis.core.rng import generator
from tasks.encoding_data import HeldOut
from tasks.encoding_fwrf import FIELD_COLUMNS

FloatArray = NDArray[np.float64]
ALPHA_FDR = 0.05
WHOLE = "all units"
"""What `region` is for all units of a subject."""

HELD_OUT, PERMUTED = "held-out pictures", "permuted pictures"
"""What `condition` is for scores, and for chance."""

BASELINE = "training mean"
"""What `model` is for the prediction of the mean of the training rows."""

CHOSEN = ("cv_score", "alpha", "at_smallest", "at_largest")
"""What was chosen within training rows, and the score that it was chosen by."""

# Equal arrangements differ by rounding; they count as equal.
_EQUAL = 1e-6
_CONSTANT = 1e-12


@dataclass(frozen=True, eq=False)
class UnitScores:
    """Scores of every unit, and what they would be by chance or with other pictures.

    Parameters
    ----------
    r, r2 : ndarray of float64, shape (n_units,)
        Pearson's r and R2 of held-out pictures, averaged over groups.
    p : ndarray of float64, shape (n_units,)
        Share of permutations with r as large; NaN where r is undefined or there are
        no permutations.
    permuted_r : ndarray of float32, shape (n_permutations, n_units)
        r with permuted pictures.
    drawn_r, drawn_r2 : ndarray of float32, shape (n_bootstrap, n_units)
        Scores of resampled pictures.
    """

    r: FloatArray
    r2: FloatArray
    p: FloatArray
    permuted_r: NDArray[np.float32]
    drawn_r: NDArray[np.float32]
    drawn_r2: NDArray[np.float32]


def score_units(
    measured: NDArray[np.floating[Any]],
    predicted: NDArray[np.floating[Any]],
    groups: Sequence[NDArray[np.intp]],
    *,
    n_permutations: int = 1000,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> UnitScores:
    """Score predictions unit by unit.

    Parameters
    ----------
    measured, predicted : ndarray of float, shape (n_test, n_units)
        Held-out responses and their predictions, one row per picture.
    groups : sequence of ndarray of int
        Rows that are scored together; scores are averaged over groups.
    n_permutations : int, default 1000
        Permutations of pictures, besides the true order.
    n_bootstrap : int, default 1000
        Samples of pictures.
    seed : int, default 0
        Of both; the same draws for every model.

    Returns
    -------
    UnitScores
        NaN where a score is undefined in one of the groups.

    Notes
    -----
    With leave-one-out, r of data without signal lies below 0, so that p values are
    too large rather than too small.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.standard_normal((40, 2))
    >>> guess = y + [0.5, 50.0] * rng.standard_normal((40, 2))
    >>> found = score_units(y, guess, [np.arange(40)], n_permutations=99)
    >>> (found.p < 0.05).tolist()
    [True, False]
    """
    n_units = measured.shape[1]
    r = np.mean([pearson_r(measured[g], predicted[g]) for g in groups], axis=0)
    r2 = np.mean([r_squared(measured[g], predicted[g]) for g in groups], axis=0)
    orders = [_orders(seed, i, len(g), n_permutations) for i, g in enumerate(groups)]
    counts = [_counts(seed, i, len(g), n_bootstrap) for i, g in enumerate(groups)]
    permuted_r = np.empty((n_permutations, n_units), np.float32)
    drawn = np.empty((2, n_bootstrap, n_units), np.float32)
    rows = max(n_permutations, n_bootstrap, len(measured))
    for block in unit_blocks(16 * rows, n_units):
        pairs = [(measured[g, block], predicted[g, block]) for g in groups]
        permuted_r[:, block] = np.mean(
            [_permuted(*pair, o) for pair, o in zip(pairs, orders, strict=True)], axis=0
        )
        drawn[:, :, block] = np.mean(
            [_drawn(*pair, c) for pair, c in zip(pairs, counts, strict=True)], axis=0
        )
    p = np.full(n_units, np.nan)
    if n_permutations:
        as_large = (permuted_r >= r - _EQUAL).sum(axis=0)
        p = np.where(np.isnan(r), np.nan, (1 + as_large) / (1 + n_permutations))
    return UnitScores(r, r2, p, permuted_r, drawn[0], drawn[1])


def _orders(seed: int, group: int, n: int, n_orders: int) -> NDArray[np.intp]:
    draw = generator(seed, "encoding: permuted pictures", group, n)
    return np.stack([draw.permutation(n) for _ in range(n_orders)] or [np.arange(n)])[
        :n_orders
    ]


def _counts(seed: int, group: int, n: int, n_draws: int) -> FloatArray:
    """Return how often each picture is in each sample."""
    draw = generator(seed, "encoding: resampled pictures", group, n)
    drawn: Any = draw.multinomial(n, np.full(n, 1 / n), size=n_draws)
    counts: FloatArray = drawn.astype(np.float64)
    return counts


def _standardised(values: NDArray[np.floating[Any]]) -> FloatArray:
    x = np.asarray(values, np.float64)
    scale = (x**2).sum(axis=0)
    x = x - x.mean(axis=0)
    square = (x**2).sum(axis=0)
    length = np.sqrt(np.where(square > _CONSTANT * scale, square, np.nan))
    standardised: FloatArray = x / length
    return standardised


def _permuted(
    measured: NDArray[np.floating[Any]],
    predicted: NDArray[np.floating[Any]],
    orders: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Correlate with permuted pictures, in float32: one per permutation and unit."""
    y, p = (_standardised(v).astype(np.float32) for v in (measured, predicted))
    found = np.empty((len(orders), y.shape[1]), np.float32)
    for i, order in enumerate(orders):
        np.einsum("ij,ij->j", y[order], p, out=found[i])
    return found


def _drawn(
    measured: NDArray[np.floating[Any]],
    predicted: NDArray[np.floating[Any]],
    counts: FloatArray,
) -> FloatArray:
    """Return r and R2 of samples, from weighted sums: shape (2, n_draws, n_units)."""
    y = np.asarray(measured, np.float64)
    p = np.asarray(predicted, np.float64)
    # Sums of squares lose nothing about means that are near 0.
    middle = y.mean(axis=0)
    error, y, p = (y - p) ** 2, y - middle, p - p.mean(axis=0)
    n = counts.shape[1]
    y_mean, p_mean, yy, pp, yp, ee = (
        counts @ v / n for v in (y, p, y**2, p**2, y * p, error)
    )
    y_var, p_var = yy - y_mean**2, pp - p_mean**2
    with np.errstate(invalid="ignore", divide="ignore"):
        y_var = np.where(y_var > _CONSTANT * yy, y_var, np.nan)
        p_var = np.where(p_var > _CONSTANT * pp, p_var, np.nan)
        r = (yp - y_mean * p_mean) / np.sqrt(y_var * p_var)
        return np.stack([np.clip(r, -1, 1), 1 - ee / y_var])


def unit_table(
    held: HeldOut, scores: UnitScores, chosen: Mapping[str, FloatArray]
) -> pd.DataFrame:
    """Return one row per unit.

    Parameters
    ----------
    held : HeldOut
        What was predicted.
    scores : UnitScores
        From `score_units`.
    chosen : mapping of str to ndarray of float64, shape (n_units,)
        `units` of `tasks.encoding_fits.Fit`.

    Returns
    -------
    DataFrame
        `unit_id`, labels of regions, `ncsnr` where it is known, `r`, `r2`, `ceiling`,
        `ceiling_kind`, `r2_noise_normalised`, the columns of `chosen`, `p`, `p_fdr`,
        `n_train`, `n_test`.
    """
    responses = held.data.responses
    columns = ["unit_id", *responses.families]
    columns += ["ncsnr"] if "ncsnr" in responses.units else []
    table = responses.units[columns].reset_index(drop=True)
    fields = [name for name in FIELD_COLUMNS if name in chosen]
    return table.assign(
        r=scores.r,
        r2=scores.r2,
        ceiling=held.ceiling,
        ceiling_kind=held.ceiling_kind,
        r2_noise_normalised=noise_normalised(scores.r, held.ceiling),
        **{name: chosen[name] for name in (*CHOSEN, *fields)},
        p=scores.p,
        p_fdr=fdr_adjusted(scores.p),
        n_train=held.n_train,
        n_test=len(held.table),
    )


def region_masks(held: HeldOut) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield family, label and units of all regions; first all units together.

    Parameters
    ----------
    held : HeldOut
        Whose units.

    Yields
    ------
    family : str
        "" for all units.
    region : str
        `WHOLE` for all units.
    mask : ndarray of bool, shape (n_units,)
        Units.
    """
    responses = held.data.responses
    yield "", WHOLE, np.ones(responses.n_units, np.bool_)
    units, families = responses.units, responses.families
    for family, labels in region_labels(units, families).items():
        for label in labels:
            yield family, label, region_mask(units, families, f"{family}:{label}")


def region_scores(
    held: HeldOut, scores: UnitScores, units: pd.DataFrame
) -> pd.DataFrame:
    """Return scores of regions with 95 % limits over pictures.

    Parameters
    ----------
    held : HeldOut
        What was predicted.
    scores : UnitScores
        From `score_units`.
    units : DataFrame
        From `unit_table`.

    Returns
    -------
    DataFrame
        `family`, `region`, `metric`, `condition`, `value`, `ci_low`, `ci_high`,
        `ceiling`, `unit`, `n_units`, `n_defined`. Metrics: "r_mean", "r_median",
        "r2_mean", "r2_noise_normalised_median", "share_significant" (of units, at a
        false discovery rate of 0.05 over all units); chance is "r_mean" of permuted
        pictures.
    """
    rows: list[dict[str, Any]] = []
    r, r2, ceiling = scores.r, scores.r2, held.ceiling
    normalised = units["r2_noise_normalised"].to_numpy()
    positive = np.where(ceiling > 0, ceiling, np.nan)
    drawn_share = np.sign(scores.drawn_r) * scores.drawn_r**2 / positive
    tested = np.where(units["p_fdr"].isna(), np.nan, units["p_fdr"] < ALPHA_FDR)
    for family, region, mask in region_masks(held):
        known = mask & np.isfinite(r)
        place = {
            "family": family,
            "region": region,
            "n_units": int(mask.sum()),
            "n_defined": int(known.sum()),
        }
        one = "share of explainable variance"
        kinds: list[tuple[str, Any, FloatArray, Any, FloatArray, str]] = [
            ("r_mean", np.nanmean, r, scores.drawn_r, np.sqrt(ceiling), "r"),
            ("r_median", np.nanmedian, r, scores.drawn_r, np.sqrt(ceiling), "r"),
            ("r2_mean", np.nanmean, r2, scores.drawn_r2, ceiling, "share of variance"),
            (
                "r2_noise_normalised_median",
                np.nanmedian,
                normalised,
                drawn_share,
                np.where(np.isfinite(normalised), 1.0, np.nan),
                one,
            ),
        ]
        for metric, centre, values, draws, limit, unit in kinds:
            low, high = _limits(centre, draws[:, known])
            rows.append(
                {
                    **place,
                    "metric": metric,
                    "condition": HELD_OUT,
                    "value": _centre(centre, values[known]),
                    "ci_low": low,
                    "ci_high": high,
                    "ceiling": _centre(centre, limit[known]),
                    "unit": unit,
                }
            )
        low, high = _limits(np.nanmean, scores.permuted_r[:, known])
        chance = _centre(np.nanmean, scores.permuted_r[:, known].ravel())
        common = {**place, "ceiling": np.nan}
        rows.append(
            {
                **common,
                "metric": "r_mean",
                "condition": PERMUTED,
                "value": chance,
                "ci_low": low,
                "ci_high": high,
                "unit": "r",
            }
        )
        rows.append(
            {
                **common,
                "metric": "share_significant",
                "condition": HELD_OUT,
                "value": _centre(np.nanmean, tested[known]),
                "ci_low": np.nan,
                "ci_high": np.nan,
                "unit": "share of units",
            }
        )
    return pd.DataFrame(rows)


def baseline_scores(held: HeldOut) -> pd.DataFrame:
    """Return what predicting the mean of the training rows explains, by region.

    Parameters
    ----------
    held : HeldOut
        What is predicted.

    Returns
    -------
    DataFrame
        As `region_scores`, the metric "r2_mean" only: 0 if the means of training and
        held-out rows agree, below 0 as they differ. Its r is undefined.
    """
    predicted = np.empty(held.measured.shape, np.float32)
    betas = held.data.responses.betas
    for block in unit_blocks(*betas.shape):
        values = np.asarray(betas[:, block], np.float64)
        for split in held.splits:
            at, _ = held.places(split)
            predicted[at, block] = values[split.train].mean(axis=0)
    measured = held.measured
    r2 = np.mean([r_squared(measured[g], predicted[g]) for g in held.groups], axis=0)
    rows = []
    for family, region, mask in region_masks(held):
        known = mask & np.isfinite(r2)
        rows.append(
            {
                "family": family,
                "region": region,
                "n_units": int(mask.sum()),
                "n_defined": int(known.sum()),
                "metric": "r2_mean",
                "condition": HELD_OUT,
                "value": _centre(np.nanmean, r2[known]),
                "ci_low": np.nan,
                "ci_high": np.nan,
                "ceiling": _centre(np.nanmean, held.ceiling[known]),
                "unit": "share of variance",
            }
        )
    return pd.DataFrame(rows)


def _centre(centre: Any, values: NDArray[Any]) -> float:
    known = values[np.isfinite(values)]
    return float(centre(known.astype(np.float64))) if len(known) else float("nan")


def _limits(centre: Any, draws: NDArray[Any]) -> tuple[float, float]:
    """Return percentiles over draws of the centre over units."""
    finite = np.isfinite(draws)
    there = finite.any(axis=1)
    if not there.any():
        return float("nan"), float("nan")
    if finite.all():  # much faster
        centre = {np.nanmean: np.mean, np.nanmedian: np.median}[centre]
    values = np.full(len(draws), np.nan)
    values[there] = centre(draws[there].astype(np.float64), axis=1)
    low, high = percentile_interval(values)
    return float(low), float(high)
