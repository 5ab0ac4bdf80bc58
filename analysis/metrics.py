"""How well predicted responses match measured ones, unit by unit.

Rows are stimuli, columns are units (voxels, vertices, neurons). Undefined is NaN:
Pearson's r of a constant prediction, R2 of a constant measurement, any measure of a
unit with NaN. Only the rule of the Algonauts challenge turns an undefined r into 0.

Columns are taken in blocks, so that memory-mapped or float32 arrays are never copied
whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis import stats
from neurovis.core.checks import check_array

FloatArray = NDArray[np.float64]

_VALUES_AT_ONCE = 2**21
# What the challenge puts in the place of a ceiling of 0.
_SMALLEST_CEILING = 1e-14


@dataclass(frozen=True)
class ChallengeScore:
    """Algonauts scores of all vertices in two numbers.

    Parameters
    ----------
    median : float
        The score of the challenge, 0..100.
    mean : float
        Mean over the same vertices, 0..100.
    n_vertices : int
        Vertices given.
    n_undefined : int
        Vertices that were not measured, left out of both.
    """

    median: float
    mean: float
    n_vertices: int
    n_undefined: int


def unit_blocks(n_values: int, n_units: int) -> Iterator[slice]:
    """Split units into blocks of bounded memory.

    Parameters
    ----------
    n_values : int
        Numbers held per unit, such as the rows.
    n_units : int
        Number of units.

    Yields
    ------
    slice
        Consecutive units: about two million numbers, at least one unit.

    Examples
    --------
    >>> list(unit_blocks(2**20, 5))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, _VALUES_AT_ONCE // max(1, n_values))
    for start in range(0, n_units, step):
        yield slice(start, min(start + step, n_units))


def pearson_r(measured: ArrayLike, predicted: ArrayLike) -> FloatArray:
    """Correlate each column of the prediction with that of the measurement.

    `analysis.stats.pearson_r` over rows, in float64 whatever comes.

    Parameters
    ----------
    measured, predicted : array-like of float, shape (n_rows, n_units)
        One row per stimulus, one column per unit, in one order.

    Returns
    -------
    ndarray of float64, shape (n_units,)
        Correlations, -1..1; NaN where a column is constant or holds a value that is
        not finite, or with fewer than two rows.

    Raises
    ------
    ValueError
        If the shapes differ or are not two-dimensional.

    Examples
    --------
    >>> measured = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    >>> pearson_r(measured, [[2, 5], [4, 5], [6, 5]]).tolist()
    [1.0, nan]
    """
    a, b = _pairs(measured, predicted)
    r = np.full(a.shape[1], np.nan)
    with np.errstate(invalid="ignore"):
        for block in unit_blocks(*a.shape):
            r[block] = stats.pearson_r(a[:, block].T, b[:, block].T)
    return r


def r_squared(measured: ArrayLike, predicted: ArrayLike) -> FloatArray:
    """Compute the share of variance that a prediction explains, without fitting it.

    ``1 - sum((measured - predicted)**2) / sum((measured - mean)**2)``: scale and
    offset of the prediction count, unlike in the square of r.

    Parameters
    ----------
    measured, predicted : array-like of float, shape (n_rows, n_units)
        One row per stimulus, one column per unit, in one order.

    Returns
    -------
    ndarray of float64, shape (n_units,)
        At most 1; 0 for the mean itself, negative for worse. NaN where the measured
        column is constant, a value is not finite, or with fewer than two rows.

    Raises
    ------
    ValueError
        If the shapes differ or are not two-dimensional.

    Examples
    --------
    >>> measured = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    >>> r_squared(measured, [[1, 2], [2, 2], [3, 2]]).tolist()
    [1.0, 0.0]
    """
    a, b = _pairs(measured, predicted)
    explained = np.full(a.shape[1], np.nan)
    if len(a) < 2:
        return explained
    with np.errstate(invalid="ignore", divide="ignore"):
        for block in unit_blocks(*a.shape):
            x = np.asarray(a[:, block].T, np.float64)
            # NaN where x is constant up to rounding, by the one rule for it.
            varies = stats.pearson_r(x, x)
            total = ((x - x.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
            rest = ((x - b[:, block].T) ** 2).sum(axis=1)
            explained[block] = np.where(np.isnan(varies), np.nan, 1 - rest / total)
    return explained


def noise_normalised(r: ArrayLike, ceiling: ArrayLike) -> FloatArray:
    """Divide squared correlations by the noise ceiling: ``sign(r) * r**2 / ceiling``.

    The ceiling is a share of variance (`neurovis.core.noise_ceiling`), so that r is
    squared. The sign of r is kept: an opposite prediction is not a good one. Nothing
    is clipped; through noise the result may exceed 1.

    Parameters
    ----------
    r : array-like of float, shape (n_units,)
        Correlations, -1..1.
    ceiling : array-like of float, shape (n_units,)
        Noise ceilings, 0..1.

    Returns
    -------
    ndarray of float64, shape (n_units,)
        Share of the explainable variance; NaN where r or the ceiling is NaN, or the
        ceiling is 0.

    Raises
    ------
    ValueError
        If the shapes differ or a number is out of range.

    Examples
    --------
    >>> noise_normalised([0.6, -0.6, 0.6], [0.72, 0.72, 0.0]).tolist()
    [0.5, -0.5, nan]
    """
    shares = np.asarray(ceiling, np.float64)
    signed = np.asarray(r, np.float64)
    check_array("ceiling", shares, shape=signed.shape)
    # Room for correlations that were rounded to float32.
    if (abs(signed) > 1 + 1e-6).any():
        raise ValueError(
            f"`r` must hold correlations, -1..1; got {np.nanmax(abs(signed)):g}."
        )
    _check_shares("ceiling", shares)
    return np.sign(signed) * signed**2 / np.where(shares == 0, np.nan, shares)


def algonauts_score(
    measured: ArrayLike, predicted: ArrayLike, noise_ceiling: ArrayLike
) -> FloatArray:
    """Score predictions of vertices by the rule of the Algonauts 2023 challenge.

    Per vertex ``100 * max(r, 0)**2 / noise_ceiling``, at most 100. An undefined r
    (a constant prediction or measurement, a prediction with NaN) counts as 0, and a
    ceiling of 0 as 1e-14: a vertex without signal gives 0 or 100 by chance of sign.

    Parameters
    ----------
    measured : array-like of float, shape (n_rows, n_vertices)
        Responses to the test pictures.
    predicted : array-like of float, shape (n_rows, n_vertices)
        Their predictions.
    noise_ceiling : array-like of float, shape (n_vertices,)
        Share of variance that can be explained, 0..1.

    Returns
    -------
    ndarray of float64, shape (n_vertices,)
        Scores, 0..100; NaN where a measurement is not finite or the ceiling is NaN.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two rows, or a ceiling is out of range.

    References
    ----------
    Gifford et al. (2023). The Algonauts Project 2023 challenge. arXiv:2301.03198

    Examples
    --------
    >>> measured = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    >>> algonauts_score(measured, [[1, 5], [2, 5], [3, 5]], [1.0, 0.5]).tolist()
    [100.0, 0.0]
    """
    truth, guess = _pairs(measured, predicted)
    n_rows, n_vertices = truth.shape
    ceilings = np.asarray(noise_ceiling, np.float64)
    check_array("noise_ceiling", ceilings, shape=(n_vertices,))
    _check_shares("noise_ceiling", ceilings)
    if n_rows < 2:
        raise ValueError(f"`measured` has {n_rows} rows: a correlation needs two.")
    r = pearson_r(truth, guess)
    counted = np.where(np.isnan(r), 0, np.maximum(r, 0))
    for block in unit_blocks(*truth.shape):
        known = np.isfinite(truth[:, block]).all(axis=0)
        counted[block] = np.where(known, counted[block], np.nan)
    ceilings = np.where(ceilings == 0, _SMALLEST_CEILING, ceilings)
    return np.minimum(100 * noise_normalised(counted, ceilings), 100)


def challenge_score(scores: Iterable[ArrayLike]) -> ChallengeScore:
    """Combine Algonauts scores over hemispheres and subjects.

    The challenge takes the median over all vertices at once: a subject with more
    vertices weighs more.

    Parameters
    ----------
    scores : iterable of array-like of float, shape (n_vertices,)
        What `algonauts_score` gave, one array per hemisphere and subject.

    Returns
    -------
    ChallengeScore
        Median and mean; NaN without any defined vertex.

    Raises
    ------
    ValueError
        If an array is not one-dimensional.

    Examples
    --------
    >>> challenge_score([[10.0, 20.0], [90.0, np.nan]])
    ChallengeScore(median=20.0, mean=40.0, n_vertices=4, n_undefined=1)
    """
    parts = [check_array("scores", np.asarray(s, float), shape=(None,)) for s in scores]
    every = np.concatenate([np.empty(0), *parts])
    known = every[~np.isnan(every)]
    middle, mean = (
        (float(np.median(known)), float(known.mean()))
        if len(known)
        else (float("nan"), float("nan"))
    )
    return ChallengeScore(middle, mean, len(every), len(every) - len(known))


def _pairs(
    measured: ArrayLike, predicted: ArrayLike
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    a = check_array("measured", measured, shape=(None, None))
    b = np.asarray(predicted)
    if a.shape != b.shape:
        raise ValueError(
            f"`predicted` has shape {b.shape}, but `measured` has {a.shape}: both need "
            "one row per stimulus and one column per unit, in one order."
        )
    return a, b


def _check_shares(name: str, values: FloatArray) -> None:
    if (values < 0).any() or (values > 1).any():
        raise ValueError(
            f"`{name}` must hold shares of variance, 0..1; got "
            f"{np.nanmin(values):g} to {np.nanmax(values):g}. Divide percentages by "
            "100."
        )
