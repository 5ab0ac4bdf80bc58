"""Free viewing: maps of models beside people on the same pictures.

Each picture is scored with its own fixations, pixels of `analysis.fixated_pixels`,
against what is known from the pictures of other folds (`analysis.map_calibration`).
People are scored by people: each observer by all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.fixated_pixels import FixatedPixels, FloatArray, IntArray, fixated_pixels
from analysis.fixation_auc import auc, auc_borji, auc_judd, auc_per_fixation
from analysis.fixation_density import fixation_density, leave_one_out_density
from analysis.fixation_maps import (
    cc,
    information_gain,
    information_gain_per_fixation,
    kl_divergence,
    nss,
    nss_per_fixation,
    sim,
)
from analysis.map_calibration import N_BINS, fit_centre_bias
from analysis.stats import percentile_interval
from neurovis.core.checks import (
    check_array,
    check_between,
    check_columns,
    check_option,
)
from neurovis.core.rng import generator
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS

JOINT_MODEL = "human, own included"
"""People predicted from a density that includes their own fixations."""
CENTRE_BIAS = "centre bias"

CALIBRATED = "information_gain_calibrated"
UNITS = {
    "nss": "sd",
    "auc": "area",
    "sauc": "area",
    "cc": "r",
    "sim": "share",
    "kl": "nats",
    "information_gain": "bits/fixation",
    CALIBRATED: "bits/fixation",
    "auc_judd": "area",
    "auc_borji": "area",
}
"""Unit of each measure."""

METRICS = tuple(UNITS)[:8]
"""Measures that are always taken."""

OPTIONAL_METRICS = ("auc_judd", "auc_borji")
"""Measures that are taken on request."""

# Share of the centre bias in densities of people, so that no fixation is impossible.
# On OSIE, with a kernel of 24 px, other shares predict new fixations worse.
CENTRE_SHARE = 0.05
N_SPLITS = 5
# Values of chance are 0: shares of the ceiling mean something.
_FROM_ZERO = ("nss", "cc", "information_gain", CALIBRATED)
_LEAVE_ONE_OUT = "observers, each from all others; high: own fixations included"
_HALVES = f"halves of observers, mean of {N_SPLITS} splits"
_CEILINGS = {
    **dict.fromkeys(("nss", "auc", "sauc", "information_gain"), _LEAVE_ONE_OUT),
    CALIBRATED: _LEAVE_ONE_OUT,
    **dict.fromkeys(("cc", "sim", "kl"), _HALVES),
}
_NOTES = {
    "information_gain": "map divided by its sum, over the centre bias of other folds",
    CALIBRATED: f"{N_BINS} ranks of the map weigh the centre bias, both fitted on "
    "other folds",
    "auc_judd": "no ceiling: it depends on the number of fixations",
    "auc_borji": "no ceiling: it depends on the number of fixations",
}


@dataclass(frozen=True)
class FreeViewing:
    """Where people looked, and what is known of it from other pictures.

    Made by `make_free_viewing`.

    Parameters
    ----------
    human : FixatedPixels
        Fixations, one group per picture.
    observer : ndarray of int64, shape (n_fixations,)
        Whose each fixation of `human` is.
    fold : ndarray of int64, shape (n_pictures,)
        Fold of each picture, 0..n_folds - 1.
    centre_bias : ndarray of float64, shape (n_folds, H, W)
        For each fold the density of the fixations on all other folds, sum 1.
    centre_sigma_px : ndarray of float64, shape (n_folds,)
        Width of its kernel in pixels, chosen on the other folds.
    sigma_px : float
        Width of the kernel of densities of people in pixels.
    """

    human: FixatedPixels
    observer: IntArray
    fold: IntArray
    centre_bias: FloatArray
    centre_sigma_px: FloatArray
    sigma_px: float

    def bias_of(self, picture: int) -> FloatArray:
        """Return the centre bias that does not know a picture.

        Parameters
        ----------
        picture : int
            Group of `human`.

        Returns
        -------
        ndarray of float64, shape (H, W)
            Density.
        """
        return self.centre_bias[self.fold[picture]]

    def others_of(self, picture: int) -> FixatedPixels:
        """Return the fixations on all other pictures as one group.

        Parameters
        ----------
        picture : int
            Group of `human`.

        Returns
        -------
        FixatedPixels
            Negatives of the shuffled AUC.
        """
        return self.human.select(np.arange(self.human.n_maps) != picture).pool()


def make_free_viewing(
    human: FixatedPixels, observer: Any, fold: Any, *, sigma_px: float = 24.0
) -> FreeViewing:
    """Join fixations with the centre bias of each fold.

    Parameters
    ----------
    human : FixatedPixels
        Fixations, one group per picture.
    observer : array-like of int, shape (n_fixations,)
        Whose each fixation of `human` is, in its order.
    fold : array-like of int, shape (n_pictures,)
        Folds from 0, such as of `analysis.map_calibration.picture_folds`.
    sigma_px : float, default 24
        Width of the kernel of densities of people in pixels; 1 degree is usual.

    Returns
    -------
    FreeViewing
        Ready to score pictures.

    Raises
    ------
    ValueError
        If lengths differ or a number is out of range.
    """
    check_between("sigma_px", sigma_px, low=1e-3)
    who = check_array("observer", observer, shape=(len(human),)).astype(np.int64)
    folds = check_array("fold", fold, shape=(human.n_maps,)).astype(np.int64)
    bias, widths = fit_centre_bias(human, folds)
    return FreeViewing(human, who, folds, bias, widths, float(sigma_px))


# ------------------------------------------------------------ scores of a picture


def score_map(
    viewing: FreeViewing,
    picture: int,
    saliency: Any,
    *,
    metrics: Sequence[str] = METRICS,
    seed: int = 0,
    key: str | int | None = None,
) -> dict[str, float]:
    """Score the map of one picture.

    Parameters
    ----------
    viewing : FreeViewing
        Where people looked.
    picture : int
        Group of `viewing.human`.
    saliency : array-like of float, shape (H, W)
        Map of a model.
    metrics : sequence of str
        Of `METRICS` and `OPTIONAL_METRICS`; the calibrated gain is not among the
        results, see `analysis.map_calibration`.
    seed : int, default 0
        Seed of the draws of AUC-Borji.
    key : str or int, optional
        Identity of the picture, which decides its draws; its number by default.

    Returns
    -------
    dict of str to float
        All fixations of a picture count alike. `nss` (sd), `auc` (negatives:
        unfixated pixels), `sauc` (negatives: fixations on all other pictures), `cc`,
        `sim`, `kl` (nats; against the density of all fixations on the picture),
        `information_gain` (bits over the centre bias), `auc_judd` (the original
        form), `auc_borji`. NaN where undefined.

    Raises
    ------
    ValueError
        If the map does not fit or a measure is unknown.
    """
    for name in metrics:
        check_option("metrics", name, tuple(UNITS))
    own = viewing.human.select([picture])
    pred = check_array("saliency", saliency, shape=own.shape)
    density = fixation_density(own, viewing.sigma_px)[0]
    keys = [picture if key is None else key]
    measures = {
        "nss": lambda: nss(pred, own),
        "auc": lambda: auc(pred, own),
        "sauc": lambda: auc(pred, own, viewing.others_of(picture)),
        "cc": lambda: cc(pred, density),
        "sim": lambda: sim(pred, density),
        "kl": lambda: kl_divergence(pred, density),
        "information_gain": lambda: information_gain(
            pred, own, viewing.bias_of(picture)
        ),
        "auc_judd": lambda: auc_judd(pred, own),
        "auc_borji": lambda: auc_borji(pred, own, seed=seed, keys=keys),
    }
    return {m: float(measures[m]()[0]) for m in metrics if m != CALIBRATED}


def score_people(
    viewing: FreeViewing, picture: int, *, seed: int = 0, key: str | int | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """Score people by people on one picture: the ceiling.

    Parameters
    ----------
    viewing : FreeViewing
        Where people looked.
    picture : int
        Group of `viewing.human`.
    seed : int, default 0
        Seed of split halves.
    key : str or int, optional
        Identity of the picture, which decides its splits; its number by default.

    Returns
    -------
    low : dict of str to float
        `nss`, `auc`, `sauc`, `information_gain` (and `information_gain_calibrated`,
        the same: a density needs no calibration): fixations of each observer under
        the density of all other observers, averaged over fixations. `cc`, `sim`,
        `kl`: the density of a random half of the observers against that of the others,
        mean of five splits. NaN with fewer than two observers.
    high : dict of str to float
        The first five measures of all fixations under their own density.

    Notes
    -----
    A density that predicts has a Gaussian kernel of `viewing.sigma_px` and a share of
    0.05 of the centre bias of the other folds.
    """
    own = viewing.human.select([picture])
    part = slice(*viewing.human.bounds[picture : picture + 2])
    names, observer = np.unique(viewing.observer[part], return_inverse=True)
    bias, others = viewing.bias_of(picture), viewing.others_of(picture)
    high = _gaze_measures(
        _mixed(fixation_density(own, viewing.sigma_px), bias), own, others, bias
    )
    halves = dict.fromkeys(("cc", "sim", "kl"), np.nan)
    if len(names) < 2:
        return dict.fromkeys(high, np.nan) | halves, high
    each = _regroup(own, observer, len(names))
    density = _mixed(leave_one_out_density(each, viewing.sigma_px), bias)
    low = _gaze_measures(density, each, others, bias)
    draw = generator(seed, "halves of observers", picture if key is None else key)
    values = []
    for _ in range(N_SPLITS):
        side = np.zeros(len(names), np.int64)
        side[draw.permutation(len(names))[: len(names) // 2]] = 1
        two = fixation_density(_regroup(own, side[observer], 2), viewing.sigma_px)
        pred, human = _mixed(two[1:].copy(), bias)[0], two[0]
        values.append([m(pred, human)[0] for m in (cc, sim, kl_divergence)])
    halves = dict(zip(halves, np.mean(values, axis=0).tolist(), strict=True))
    return low | halves, high


def _regroup(pixels: FixatedPixels, group: NDArray[Any], n: int) -> FixatedPixels:
    return fixated_pixels(
        pixels.column, pixels.row, pixels.shape, map_index=group, n_maps=n
    )


def _mixed(density: FloatArray, bias: FloatArray) -> FloatArray:
    """Mix a share of the centre bias into densities, in place."""
    density *= 1 - CENTRE_SHARE
    density += CENTRE_SHARE * bias
    return density


def _gaze_measures(
    pred: FloatArray, human: FixatedPixels, others: FixatedPixels, bias: FloatArray
) -> dict[str, float]:
    """Measures averaged over the fixations of all groups."""
    values = {
        "nss": nss_per_fixation(pred, human),
        "auc": auc_per_fixation(pred, human),
        "sauc": auc_per_fixation(pred, human, others),
        "information_gain": information_gain_per_fixation(pred, human, bias),
    }
    n = len(human)
    means = {k: float(v.mean()) if n else np.nan for k, v in values.items()}
    # A density needs no calibration.
    return means | {CALIBRATED: means["information_gain"]}


# --------------------------------------------------------------------- the table


def free_viewing_scores(
    units: pd.DataFrame, *, seed: int = 0, n_bootstrap: int = 1000
) -> pd.DataFrame:
    """Average scores of pictures, with intervals and ceilings.

    Parameters
    ----------
    units : DataFrame
        One row per model and picture: `model`, `stimulus_id` and a column per measure.
        People are the models `HUMAN_MODEL` (from others) and `JOINT_MODEL` (own
        fixations included), as of `score_people`.
    seed : int, default 0
        Seed of the bootstrap.
    n_bootstrap : int, default 1000
        Resamples of pictures for 95 % intervals, the same for all models; 0 for none.

    Returns
    -------
    DataFrame
        The columns of `neurovis.core.types.SCORE_COLUMNS`, `n_undefined` and `note`.
        `value` is the mean over the `n` pictures where the measure is defined.
        `value_over_ceiling` is the share of `ceiling_low`, for measures that are 0 by
        chance.

    Raises
    ------
    ValueError
        If a column is missing, or a model lacks a picture.
    """
    check_columns("units", units.columns, ["model", "stimulus_id"])
    check_between("n_bootstrap", n_bootstrap, low=0)
    metrics = [m for m in UNITS if m in units.columns]
    pictures = list(dict.fromkeys(units["stimulus_id"]))
    weights = _resamples(len(pictures), seed, n_bootstrap)
    rows: list[dict[str, Any]] = []
    for model, part in units.groupby("model", sort=False):
        values = part.set_index("stimulus_id")[metrics].reindex(pictures)
        if len(part) != len(pictures) or part["stimulus_id"].nunique() != len(pictures):
            raise ValueError(
                f"`units` must have each of {len(pictures)} pictures once per model; "
                f"{model!r} has {len(part)} rows."
            )
        table = values.to_numpy(np.float64)
        low = high = np.full(len(metrics), np.nan)
        if len(weights):
            low, high = percentile_interval(_weighted_means(table, weights).T)
        known = ~np.isnan(table)
        means = _weighted_means(table, np.ones((1, len(pictures))))[0]
        rows += [
            {
                "model": model,
                "subject": model,
                "metric": metric,
                "value": means[i],
                "ci_low": low[i],
                "ci_high": high[i],
                "n": int(known[:, i].sum()),
                "n_undefined": int((~known[:, i]).sum()),
                "unit": UNITS[metric],
                "note": _NOTES.get(metric),
                "seed": seed,
            }
            for i, metric in enumerate(metrics)
        ]
    return _with_ceilings(pd.DataFrame(rows))


def _resamples(n: int, seed: int, n_bootstrap: int) -> FloatArray:
    """How often each resample has each picture, shape (n_bootstrap, n)."""
    if n < 2:
        return np.zeros((0, n))
    picks = generator(seed, "pictures").integers(n, size=(n_bootstrap, n))
    counts = [np.bincount(p, minlength=n) for p in picks]
    return np.array(counts, np.float64).reshape(n_bootstrap, n)


def _weighted_means(table: FloatArray, weights: FloatArray) -> FloatArray:
    """Means of the columns where they are defined, shape (n_weights, n_columns)."""
    known = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        return (weights @ np.where(known, table, 0)) / (weights @ known)


def _with_ceilings(table: pd.DataFrame) -> pd.DataFrame:
    """Put what people reach beside each row; drop what people have no value for."""
    means = table.set_index(["model", "metric"])["value"]
    for column, model in (("ceiling_low", HUMAN_MODEL), ("ceiling_high", JOINT_MODEL)):
        reached = {metric: means.get((model, metric)) for metric in UNITS}
        table[column] = table["metric"].map(reached).astype(np.float64)
    share = table["value"] / table["ceiling_low"]
    table["value_over_ceiling"] = share.where(table["metric"].isin(_FROM_ZERO))
    kinds = table["metric"].map(_CEILINGS)
    table["ceiling_kind"] = kinds.where(table["ceiling_low"].notna())
    people = table["model"] == HUMAN_MODEL
    kept = (table["model"] != JOINT_MODEL) & ~(people & table["value"].isna())
    return (
        table[kept]
        .reindex(columns=[*SCORE_COLUMNS, "n_undefined", "note"])
        .reset_index(drop=True)
    )
