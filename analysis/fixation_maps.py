"""Measures of fixation maps: NSS, CC, SIM, KL, log likelihood, information gain.

A prediction is a map (H, W) or a stack (n_maps, H, W). Fixations are `FixatedPixels`
with one group per map; a single map may serve all groups. Every measure returns one
value per map, NaN where it is undefined. Averages: `numpy.nanmean`, with the number of
NaN reported beside it.

Public implementations differ in details that change the value. Each is to be had by
name; tables of them are in Bylinskii et al. (2019, doi:10.1109/TPAMI.2018.2815601) and
Kümmerer, Wallis and Bethge (2018, doi:10.1007/978-3-030-01270-0_47).
"""

from typing import Any

import numpy as np

from analysis.fixated_pixels import (
    FixatedPixels,
    FloatArray,
    Rows,
    check_maps,
    map_blocks,
    mean_per_map,
    row_of,
    values_at,
)
from analysis.fixation_density import density_at, density_rows
from neurovis.core.checks import check_option

# Constants of the public implementations; scores depend on them.
EPS_MIT = 2.2204e-16
EPS_VAME = 1e-12
MINIMUM_PYSALIENCY = 1e-20


def nss(pred: Any, human: FixatedPixels, *, variant: str = "pysaliency") -> FloatArray:
    """Compute the normalised scanpath saliency.

    The mean over fixations of (s - mean) / sd of the map s. Chance is 0; the unit is
    standard deviations of the map.

    Parameters
    ----------
    pred : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps.
    human : FixatedPixels
        Fixations.
    variant : {"pysaliency", "vame"}
        "pysaliency": population sd, each fixation counts, a constant map scores 0.
        "vame": sample sd, each fixated pixel counts once, a constant map is undefined.

    Returns
    -------
    ndarray of float64, shape (n_maps,)
        NaN for a map without fixations or with NaN.

    Raises
    ------
    ValueError
        If map and fixations do not fit or the variant is unknown.

    References
    ----------
    Peters, Iyer, Itti and Koch (2005), doi:10.1016/j.visres.2005.03.019.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> nss([[0.0, 0.0], [0.0, 4.0]], fixated_pixels([1], [1], (2, 2))).round(3)
    array([1.732])
    """
    check_option("variant", variant, ("pysaliency", "vame"))
    if variant == "pysaliency":
        return mean_per_map(nss_per_fixation(pred, human), human)
    pixels = human.distinct()
    return mean_per_map(standardised_at("pred", pred, pixels, ddof=1), pixels)


def nss_per_fixation(pred: Any, human: FixatedPixels) -> FloatArray:
    """Compute the normalised scanpath saliency of each fixation.

    Parameters
    ----------
    pred : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps.
    human : FixatedPixels
        Fixations.

    Returns
    -------
    ndarray of float64, shape (n_fixations,)
        In the order of `human`, in population standard deviations; 0 on a constant
        map.

    Raises
    ------
    ValueError
        If map and fixations do not fit.
    """
    return standardised_at("pred", pred, human, constant=0.0)


def standardised_at(
    name: str,
    maps: Any,
    human: FixatedPixels,
    *,
    ddof: int = 0,
    constant: float = np.nan,
) -> FloatArray:
    """Return the z-scored value of its map at each fixation.

    Parameters
    ----------
    name : str
        Argument name for a message.
    maps : array-like of float, shape (H, W) or (n_maps, H, W)
        Maps.
    human : FixatedPixels
        Fixations.
    ddof : int, default 0
        1 for the sample standard deviation.
    constant : float, default NaN
        Value on a map that is constant, that is, whose extremes are equal.

    Returns
    -------
    ndarray of float64, shape (n_fixations,)
        In standard deviations of the map.

    Raises
    ------
    ValueError
        If map and fixations do not fit.
    """
    rows = check_maps(name, maps, human)
    mean, sd = np.empty((2, len(rows)))
    same = np.empty(len(rows), bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        for part, block in map_blocks(rows):
            mean[part] = block.mean(axis=1)
            centred = block - mean[part, None]
            sd[part] = np.sqrt(_dot(centred, centred) / max(block.shape[1] - ddof, 0))
            # The sd of a constant map can be rounding noise instead of 0.
            same[part] = block.min(axis=1) == block.max(axis=1)
        index = row_of(rows, human)
        z = (values_at(rows, human) - mean[index]) / sd[index]
    return np.where(same[index], constant, z)


def _check_pair(pred: Any, human: Any) -> tuple[Rows, Rows, FloatArray]:
    """Check two stacks of maps; return their rows and room for the result."""
    p, q = check_maps("pred", pred), check_maps("human", human)
    size_p, size_q = np.shape(pred)[-2:], np.shape(human)[-2:]
    if size_p != size_q:
        raise ValueError(
            f"`pred` has maps of {size_p[0]} x {size_p[1]} pixels (height x width) but "
            f"`human` of {size_q[0]} x {size_q[1]}: resample one of them."
        )
    if len(p) != len(q) and 1 not in (len(p), len(q)):
        raise ValueError(
            f"`pred` has {len(p)} maps but `human` has {len(q)}: give as many, or a "
            "single map on one side."
        )
    return p, q, np.empty(max(len(p), len(q)) if len(p) and len(q) else 0)


def cc(pred: Any, human: Any) -> FloatArray:
    """Compute the Pearson correlation of maps over their pixels.

    Parameters
    ----------
    pred, human : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps and maps of people, such as `fixation_density`; a single map
        on one side is compared with all of the other.

    Returns
    -------
    ndarray of float64, shape (n_maps,)
        -1..1. A constant prediction scores 0; NaN for a constant map of people.

    Raises
    ------
    ValueError
        If the maps do not fit.

    References
    ----------
    Le Meur, Le Callet and Barba (2007), doi:10.1016/j.visres.2007.06.015.

    Examples
    --------
    >>> cc([[1.0, 2.0, 3.0]], [[[1.0, 2.0, 3.0]], [[9.0, 6.0, 3.0]]]).round(6)
    array([ 1., -1.])
    """
    rows_p, rows_q, out = _check_pair(pred, human)
    with np.errstate(invalid="ignore", divide="ignore"):
        for part, p, q in map_blocks(rows_p, rows_q):
            a, b = p - p.mean(axis=1)[:, None], q - q.mean(axis=1)[:, None]
            aa, bb, ab = _dot(a, a), _dot(b, b), _dot(a, b)
            r = ab / (np.sqrt(aa) * np.sqrt(bb))
            flat_p, flat_q = (m.min(axis=1) == m.max(axis=1) for m in (p, q))
            out[part] = np.where(flat_q, np.nan, np.where(flat_p, 0 * bb, r))
    return out


def _dot(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.einsum("ij,ij->i", a, b)


def sim(pred: Any, human: Any, *, variant: str = "sum") -> FloatArray:
    """Compute the similarity (histogram intersection) of maps: sum of min(p, q).

    Parameters
    ----------
    pred, human : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps and maps of people; a single map on one side is compared with
        all of the other.
    variant : {"sum", "range"}
        How maps become p and q. "sum": as in `to_density`. "range": scaled to 0..1,
        then divided by the sum; undefined for a constant map.

    Returns
    -------
    ndarray of float64, shape (n_maps,)
        0..1.

    Raises
    ------
    ValueError
        If the maps do not fit or the variant is unknown.

    References
    ----------
    Judd, Durand and Torralba (2012), MIT-CSAIL-TR-2012-001.

    Examples
    --------
    >>> sim([[1.0, 1.0]], [[3.0, 1.0]])
    array([0.75])
    """
    check_option("variant", variant, ("sum", "range"))
    rows_p, rows_q, out = _check_pair(pred, human)
    for part, p, q in map_blocks(rows_p, rows_q):
        if variant == "range":
            p, q = _from_zero(p), _from_zero(q)
        both = np.minimum(density_rows(p), density_rows(q))
        out[part] = both.sum(axis=1)
    return out


def _from_zero(rows: FloatArray) -> FloatArray:
    """Subtract the minimum; NaN for a constant map."""
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    return np.where(low == high, np.nan, rows - low)


def kl_divergence(pred: Any, human: Any, *, variant: str = "mit") -> FloatArray:
    """Compute the Kullback-Leibler divergence of a prediction from people.

    The sum over pixels of q log(q / p) in nats, with p the prediction and q people:
    0 is perfect. Predictions of 0 where people looked decide the value, and variants
    treat them differently.

    Parameters
    ----------
    pred, human : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps and maps of people; a single map on one side is compared with
        all of the other.
    variant : {"mit", "pysaliency", "vame", "plain"}
        "mit": sum of q log(e + q / (p + e)), e = 2.2204e-16, densities of `to_density`.
        "pysaliency": 1e-20 is added to maps before they are made densities.
        "vame": sum of q log(q / (p + e) + e), e = 1e-12, maps divided by their sum;
        undefined for a map with negative values or of sum 0.
        "plain": no constant; infinite where p = 0 < q.

    Returns
    -------
    ndarray of float64, shape (n_maps,)
        Nats, 0 or more up to the effect of the constants.

    Raises
    ------
    ValueError
        If the maps do not fit or the variant is unknown.

    Examples
    --------
    >>> kl_divergence([[1.0, 1.0]], [[1.0, 0.0]]).round(6)
    array([0.693147])
    """
    check_option("variant", variant, ("mit", "pysaliency", "vame", "plain"))
    rows_p, rows_q, out = _check_pair(pred, human)
    with np.errstate(invalid="ignore", divide="ignore"):
        for part, p, q in map_blocks(rows_p, rows_q):
            if variant == "vame":
                p, q = (_plain_density(m) for m in (p, q))
                logs = _log_ratio(p, q, EPS_VAME)
            elif variant == "mit":
                p, q = density_rows(p), density_rows(q)
                logs = _log_ratio(p, q, EPS_MIT)
            else:
                minimum = MINIMUM_PYSALIENCY if variant == "pysaliency" else 0.0
                p, q = (density_rows(m, minimum=minimum) for m in (p, q))
                # Where q is 0 the term is 0, unless p is undefined.
                nothing = (q == 0) & ~np.isnan(p)
                log_q, log_p = (np.log(np.where(nothing, 1.0, m)) for m in (q, p))
                logs = log_q - log_p
            out[part] = _dot(q, logs)
    return out


def _log_ratio(p: FloatArray, q: FloatArray, eps: float) -> FloatArray:
    ratio = q / (p + eps)
    ratio += eps
    return np.log(ratio, out=ratio)


def _plain_density(rows: FloatArray) -> FloatArray:
    """Divide by the sum; NaN for a map with negative values or of sum 0."""
    total = rows.sum(axis=1, keepdims=True)
    negative = rows.min(axis=1, keepdims=True) < 0
    return rows / np.where(negative | (total == 0), np.nan, total)


def log_likelihood(pred: Any, human: FixatedPixels) -> FloatArray:
    """Compute the mean log density of fixations.

    Parameters
    ----------
    pred : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps, made densities by `to_density`.
    human : FixatedPixels
        Fixations.

    Returns
    -------
    ndarray of float64, shape (n_maps,)
        Nats per fixation; a uniform map scores -log(H W). NaN for a map without
        fixations or where a fixation has the density 0.

    Raises
    ------
    ValueError
        If map and fixations do not fit.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> log_likelihood(np.ones((2, 2)), fixated_pixels([0], [1], (2, 2))).round(3)
    array([-1.386])
    """
    density = density_at("pred", pred, human)
    return mean_per_map(_log(density), human)


def _log(density: FloatArray) -> FloatArray:
    return np.log(np.where(density > 0, density, np.nan))


def information_gain(
    pred: Any, human: FixatedPixels, baseline: Any, *, variant: str = "mit"
) -> FloatArray:
    """Compute the information gain over a baseline density, such as a centre bias.

    Parameters
    ----------
    pred : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps, made densities p by `to_density`.
    human : FixatedPixels
        Fixations.
    baseline : array-like of float, shape (H, W) or (n_maps, H, W)
        Maps of the baseline, made densities b likewise.
    variant : {"mit", "pysaliency"}
        "mit": mean of log2(p + e) - log2(b + e), e = 2.2204e-16. "pysaliency": no
        constant; undefined where a fixation has the density 0 in either.

    Returns
    -------
    ndarray of float64, shape (n_maps,)
        Bits per fixation; NaN for a map without fixations.

    Raises
    ------
    ValueError
        If maps and fixations do not fit or the variant is unknown.

    References
    ----------
    Kümmerer, Wallis and Bethge (2015), doi:10.1073/pnas.1510393112.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> pixels = fixated_pixels([0], [0], (1, 4))
    >>> information_gain([[2, 1, 1, 0]], pixels, [[1, 1, 1, 1]])
    array([1.])
    """
    return mean_per_map(
        information_gain_per_fixation(pred, human, baseline, variant=variant), human
    )


def information_gain_per_fixation(
    pred: Any, human: FixatedPixels, baseline: Any, *, variant: str = "mit"
) -> FloatArray:
    """Compute the information gain of each fixation.

    Parameters
    ----------
    pred : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps.
    human : FixatedPixels
        Fixations.
    baseline : array-like of float, shape (H, W) or (n_maps, H, W)
        Maps of the baseline.
    variant : {"mit", "pysaliency"}
        As in `information_gain`.

    Returns
    -------
    ndarray of float64, shape (n_fixations,)
        Bits, in the order of `human`.

    Raises
    ------
    ValueError
        As in `information_gain`.
    """
    check_option("variant", variant, ("mit", "pysaliency"))
    p, b = density_at("pred", pred, human), density_at("baseline", baseline, human)
    if variant == "mit":
        return np.log2(p + EPS_MIT) - np.log2(b + EPS_MIT)
    return (_log(p) - _log(b)) / np.log(2)
