"""Measures of perceptual organisation on the tokens of a network, and on choices."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from analysis.choices import similarity
from neurovis.core.checks import check_array, check_between, check_whole

FloatArray = NDArray[np.float64]

_MOST_ATTRACTION = 100.0
# Differences of tokens below this share of their length are rounding.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class FillIn:
    """How much more the inside of an illusory figure differs from its ground.

    Parameters
    ----------
    index : ndarray of float64, shape (n_pictures,)
        -1..1 per picture; NaN where nothing differs at all.
    mean : float
        Over pictures.
    p_value : float
        One-sided, from exchanges of inside and outside; NaN without an index.
    """

    index: FloatArray
    mean: float
    p_value: float


@dataclass(frozen=True)
class Attraction:
    """How steeply grouping by proximity falls off.

    Parameters
    ----------
    s : float
        Slope of the attraction law; people have about 2.9, recalled from Kubovy and
        Wagemans (1995).
    temperature : float
        What similarities were divided by; NaN for choices.
    n : int
        Lattices or choices behind it.
    """

    s: float
    temperature: float
    n: int


# ---------------------------------------------------------- illusory contours


def ic_index(
    illusory: ArrayLike,
    control: ArrayLike,
    real: ArrayLike,
    *,
    blank: ArrayLike | None = None,
) -> FloatArray:
    """Compute how much more an illusory contour resembles a real one than a control.

    ``(s(illusory, real) - s(control, real)) / (|s(illusory, real)| + |s(control,
    real)|)`` with s the cosine of mean tokens over the patches that the illusory edge
    crosses and no inducer touches.

    Parameters
    ----------
    illusory, control, real : array_like of float, shape (..., n_channels)
        Mean tokens of the same patches of three pictures: inducers in place, turned
        outward, and the luminance-defined outline.
    blank : array_like of float, shape (..., n_channels), optional
        The same of an empty picture, which is subtracted from all three: what the
        pictures evoke. By default nothing is.

    Returns
    -------
    ndarray of float64, shape (...)
        -1..1; NaN where a token is undefined, or nothing is evoked.

    Raises
    ------
    ValueError
        If the vectors do not fit together.

    Examples
    --------
    >>> float(ic_index([1.0, 0.0], [1.0, 1.0], [1.0, 0.0]).round(4))
    0.1716
    """
    vectors = [np.asarray(v, np.float64) for v in (illusory, control, real)]
    if blank is not None:
        empty = np.asarray(blank, np.float64)
        vectors = [_evoked(v, empty) for v in vectors]
    first = similarity(vectors[0], vectors[2])
    second = similarity(vectors[1], vectors[2])
    size = np.abs(first) + np.abs(second)
    with np.errstate(invalid="ignore"):
        return np.asarray((first - second) / np.where(size > 0, size, np.nan))


def _evoked(vector: FloatArray, blank: FloatArray) -> FloatArray:
    change = vector - blank
    length = np.linalg.norm(change, axis=-1, keepdims=True)
    whole = np.linalg.norm(blank, axis=-1, keepdims=True)
    return np.where(length > _ROUNDING * whole, change, np.nan)


def fill_in(
    illusory: list[tuple[FloatArray, FloatArray]],
    control: list[tuple[FloatArray, FloatArray]],
    *,
    n_permutations: int = 1000,
    rng: np.random.Generator,
) -> FillIn:
    """Compare inside minus outside of illusory figures with that of controls.

    ``(|d_illusory| - |d_control|) / (|d_illusory| + |d_control|)`` with d the mean
    token inside minus the mean token outside.

    Parameters
    ----------
    illusory, control : list of tuple of two ndarray, shape (n_pairs, n_channels)
        Tokens inside and outside, per picture. Row k inside and row k outside have the
        same eccentricity; the rows of illusory figure and control are the same places.
    n_permutations : int, default 1000
        Random exchanges of inside and outside within pairs, the same for the illusory
        figure and its control.
    rng : numpy.random.Generator
        Source of exchanges.

    Returns
    -------
    FillIn
        A picture with fewer than two pairs has no index.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, or there is no picture.
    """
    check_whole("n_permutations", n_permutations, low=1)
    if len(illusory) != len(control) or not illusory:
        raise ValueError(
            "`illusory` and `control` must hold as many pictures, at least one; got "
            f"{len(illusory)} and {len(control)}."
        )
    observed, shuffled = [], []
    for (ill_in, ill_out), (ctl_in, ctl_out) in zip(illusory, control, strict=True):
        inside = np.asarray(ill_in, np.float64)
        for name, part in (("illusory", ill_out), ("control", ctl_in)):
            check_array(name, part, shape=inside.shape)
        check_array("control", ctl_out, shape=inside.shape)
        n = len(inside)
        first = inside - np.asarray(ill_out, np.float64)
        second = np.asarray(ctl_in, np.float64) - np.asarray(ctl_out, np.float64)
        least = _ROUNDING * float(np.linalg.norm(inside, axis=1).max(initial=0.0))
        signs = np.vstack([np.ones(n), rng.choice([-1.0, 1.0], (n_permutations, n))])
        if n < 2:
            values = np.full(n_permutations + 1, np.nan)
        else:
            values = _contrast(signs @ first / n, signs @ second / n, least)
        observed.append(values[0])
        shuffled.append(values[1:])
    index, draws = np.array(observed), np.array(shuffled)
    usable = np.isfinite(index)
    if not usable.any():
        return FillIn(index, np.nan, np.nan)
    mean = float(index[usable].mean())
    # A shuffle in which nothing differs says that nothing differs.
    chance = np.nan_to_num(draws[usable]).mean(axis=0)
    as_large = int(np.sum(chance >= mean - 1e-12))
    return FillIn(index, mean, (as_large + 1) / (n_permutations + 1))


def _contrast(first: FloatArray, second: FloatArray, least: float) -> FloatArray:
    a, b = np.linalg.norm(first, axis=-1), np.linalg.norm(second, axis=-1)
    size = a + b
    return np.asarray((a - b) / np.where(size > least, size, np.nan))


# ------------------------------------------------------------------- proximity


def fit_attraction(aspect: ArrayLike, chose_b: ArrayLike) -> Attraction:
    """Fit the attraction law to choices between two groupings of a lattice.

    ``ln(p(b) / p(a)) = -s (|b| / |a| - 1)``, by maximum likelihood with the prior of
    Jeffreys, so that s is finite where all choices follow proximity.

    Parameters
    ----------
    aspect : array_like of float, shape (n,)
        ``|b| / |a|`` of each lattice, at least 1.
    chose_b : array_like of bool, shape (n,)
        Whether the grouping along b, the longer distance, was seen.

    Returns
    -------
    Attraction
        `s` is NaN if all aspects are 1.

    Raises
    ------
    ValueError
        If shapes do not fit, an aspect is below 1, or there is no choice.

    References
    ----------
    Kubovy and Wagemans (1995). Psychol. Sci. 6, 225-234.
    doi:10.1111/j.1467-9280.1995.tb00597.x. Firth (1993). Biometrika 80, 27-38.
    doi:10.1093/biomet/80.1.27

    Examples
    --------
    >>> fit = fit_attraction([1.5] * 100, [False] * 80 + [True] * 20)
    >>> round(fit.s, 1)  # ln(80 / 20) / 0.5 is 2.8
    2.7
    """
    excess, picked = _lattices(aspect, np.asarray(chose_b, bool))
    if not (excess > 0).any():
        return Attraction(np.nan, np.nan, len(excess))

    def cost(s: float) -> float:
        odds = -s * excess
        loss = np.logaddexp(0, np.where(picked, -odds, odds)).sum()
        p = 1 / (1 + np.exp(-odds))
        information = float((p * (1 - p) * excess**2).sum())
        return float(loss - 0.5 * math.log(max(information, 1e-300)))

    found = optimize.minimize_scalar(
        cost, bounds=(-_MOST_ATTRACTION, _MOST_ATTRACTION), method="bounded"
    )
    return Attraction(float(found.x), np.nan, len(excess))


def without_orientation_bias(
    evidence: ArrayLike, orientation_deg: ArrayLike, equal: ArrayLike
) -> FloatArray:
    """Take from the evidence of lattices what speaks for an orientation as such.

    A lattice with equal distances is the same when it is turned by 90 degrees, but a
    and b change places. Half the difference of the evidence of both is a liking for
    one orientation, half the sum an accident of the lattices.

    Parameters
    ----------
    evidence : array_like of float, shape (n,)
        For the grouping along b.
    orientation_deg : array_like of float, shape (n,)
        Direction of a; there must be equal lattices at each one, and at 90 degrees
        from it.
    equal : array_like of bool, shape (n,)
        Whether a lattice has equal distances, and nothing else that favours one.

    Returns
    -------
    ndarray of float64, shape (n,)
        Evidence minus the bias of its orientation. That of equal lattices is brought
        to the spread of a single one (times the square root of 2).

    Raises
    ------
    ValueError
        If shapes do not fit or an orientation has no equal lattice.

    Examples
    --------
    >>> without_orientation_bias([3.0, -1.0, 1.0], [0, 90, 0], [1, 1, 0]).round(3)
    array([ 1.414,  1.414, -1.   ])
    """
    given = np.asarray(evidence, np.float64)
    angles = np.asarray(orientation_deg, np.float64) % 180
    same = np.asarray(equal, bool)
    check_array("orientation_deg", angles, shape=given.shape)
    check_array("equal", same, shape=given.shape)
    means: dict[float, float] = {}
    for angle in np.unique(angles):
        for one in (angle, (angle + 90) % 180):
            here = same & np.isclose(angles, one)
            if not here.any():
                raise ValueError(
                    f"There is no lattice with equal distances at {one:g} degrees."
                )
            means[float(one)] = float(given[here].mean())
    bias = {a: (m - means[(a + 90) % 180]) / 2 for a, m in means.items()}
    rest = given - np.array([bias[float(a)] for a in angles])
    return np.where(same, math.sqrt(2) * rest, rest)


def attraction_from_evidence(aspect: ArrayLike, evidence: ArrayLike) -> Attraction:
    """Fit the attraction law to similarities, with a temperature fitted too.

    The choice is a softmax of the similarities to stripes along a and along b. Its
    temperature is that of a logistic distribution with the standard deviation of the
    evidence on lattices with equal distances, where nothing but the accidents of a
    lattice speak for one grouping.

    Parameters
    ----------
    aspect : array_like of float, shape (n,)
        ``|b| / |a|`` of each lattice, at least 1; some must be 1.
    evidence : array_like of float, shape (n,)
        Similarity to stripes along b minus similarity to stripes along a.

    Returns
    -------
    Attraction
        `s` is minus the slope of evidence on ``|b| / |a| - 1`` (least squares) over the
        temperature. NaN where the temperature is 0 or undefined.

    Raises
    ------
    ValueError
        If shapes do not fit, or an aspect is below 1.

    Examples
    --------
    >>> aspect = [1.0, 1.0, 1.5, 1.5]
    >>> fit = attraction_from_evidence(aspect, [0.1, -0.1, -0.9, -1.1])
    >>> round(fit.s * fit.temperature, 6)  # the slope is -2
    2.0
    """
    excess, given = _lattices(aspect, np.asarray(evidence, np.float64))
    usable = np.isfinite(given)
    excess, given = excess[usable], given[usable]
    equal = given[excess == 0]
    spread = float(equal.std(ddof=1)) if len(equal) > 1 else 0.0
    temperature = spread * math.sqrt(3) / math.pi
    if temperature <= 1e-12 or not (excess > 0).any():
        return Attraction(np.nan, np.nan, len(excess))
    centred = excess - excess.mean()
    slope = float(centred @ given / (centred @ centred))
    return Attraction(-slope / temperature, temperature, len(excess))


def _lattices(
    aspect: ArrayLike, given: NDArray[np.generic]
) -> tuple[FloatArray, NDArray[np.generic]]:
    x = np.asarray(aspect, np.float64)
    check_array("aspect", x, shape=given.shape, finite=True)
    if x.ndim != 1 or len(x) == 0 or x.min() < 1 - 1e-9:
        raise ValueError("`aspect` must be a list of numbers, each at least 1.")
    return np.maximum(x - 1, 0.0), given


# ------------------------------------------------------------------ thresholds


def threshold_of_curve(
    level: ArrayLike, share: ArrayLike, n: ArrayLike, *, wanted: float = 0.75
) -> float:
    """Return the level at which a rising curve reaches a share of right answers.

    The shares are made to rise by weighted monotone regression (pool adjacent
    violators), then interpolated over the logarithm of the level.

    Parameters
    ----------
    level : array_like of float, shape (n_levels,)
        Levels, rising, each above 0.
    share : array_like of float, shape (n_levels,)
        Right answers, 0..1.
    n : array_like of float, shape (n_levels,)
        Trials of each level: the weights.
    wanted : float, default 0.75
        Share at threshold.

    Returns
    -------
    float
        NaN if the curve does not reach it; the smallest level if it begins above it.

    Raises
    ------
    ValueError
        If shapes do not fit or levels do not rise from above 0.

    Examples
    --------
    >>> round(threshold_of_curve([1, 2, 4], [0.5, 0.5, 1.0], [8, 8, 8]), 3)
    2.828
    """
    x = check_array("level", np.asarray(level, np.float64), shape=(None,), finite=True)
    y = check_array("share", np.asarray(share, np.float64), shape=x.shape, finite=True)
    weights = check_array("n", np.asarray(n, np.float64), shape=x.shape, finite=True)
    check_between("wanted", wanted, low=0, high=1)
    if len(x) == 0 or x[0] <= 0 or np.any(np.diff(x) <= 0) or weights.min() <= 0:
        raise ValueError(
            "`level` must rise from above 0, and `n` be above 0 at every level."
        )
    smooth = np.asarray(optimize.isotonic_regression(y, weights=weights).x)
    above = np.flatnonzero(smooth >= wanted)
    if len(above) == 0:
        return math.nan
    k = int(above[0])
    if k == 0:
        return float(x[0])
    part = (wanted - smooth[k - 1]) / (smooth[k] - smooth[k - 1])
    return float(x[k - 1] * (x[k] / x[k - 1]) ** part)
