"""Representational similarity analysis: comparing RDMs, and how well it could be done.

RDMs are condensed rows, as in `neurovis.core.rdm_stack.RDMStack`. Undefined is NaN.
Resampling and tests are in `analysis.rsa_inference`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.ceilings import LeaveOneOutCeiling, means_of_others
from analysis.rdm_whitening import Pairs, solve_whitening
from analysis.rdms import NAN_POLICIES
from analysis.row_correlations import correlate_rows, midranks, unit_rows
from neurovis.core.checks import check_option

FloatArray = NDArray[np.float64]

# Measures, and the scaling of RDMs whose mean is most similar to them all.
_BEST_AVERAGE = {
    "pearson": "z_scored",
    "spearman": "ranks",
    "kendall_tau_a": "ranks",
    "rho_a": "ranks",
    "cosine": "unit_length",
    "whitened_pearson": "whitened_z_scored",
    "whitened_cosine": "whitened_length",
}
MEASURES = tuple(_BEST_AVERAGE)
"""Names of measures that compare RDMs."""

AVERAGES = ("best", "plain", *dict.fromkeys(_BEST_AVERAGE.values()))
"""Names of the ways in which RDMs of subjects are averaged."""


def compare_rdms(
    rdms: ArrayLike,
    others: ArrayLike,
    measure: str = "spearman",
    *,
    noise_covariance: ArrayLike | None = None,
    nan: str = "raise",
) -> FloatArray:
    """Compare every RDM of one stack with every RDM of another.

    Parameters
    ----------
    rdms : array-like of float, shape (m, n_pairs)
        Condensed RDMs; one may come as shape (n_pairs,).
    others : array-like of float, shape (k, n_pairs)
        RDMs of the same stimuli in the same order.
    measure : str, default "spearman"
        - "pearson", "spearman", "kendall_tau_a", "rho_a", "cosine": see
          `analysis.row_correlations.correlate_rows`;
        - "whitened_cosine": cosine after decorrelating the errors of dissimilarities
          that share stimuli (`analysis.rdm_whitening`). It is meant for squared
          distances; of those that are not cross-validated it is the linear CKA of the
          features;
        - "whitened_pearson": the same after subtracting the mean dissimilarity.
    noise_covariance : array-like of float, shape (n_stimuli, n_stimuli) or \
(n_stimuli,), optional
        For whitened measures only: covariance or variances of the noise of stimuli.
    nan : {"raise", "omit", "propagate"}, default "raise"
        What to do about dissimilarities that are not finite: refuse them; leave the
        pair of stimuli out where either RDM lacks it; or return NaN.

    Returns
    -------
    ndarray of float64, shape (m, k)
        Similarities, -1..1; NaN where undefined, such as correlations with a constant
        RDM.

    Raises
    ------
    ValueError
        If shapes do not fit, an option is unknown or dissimilarities are not finite.

    References
    ----------
    Diedrichsen et al. (2021). Neurons, Behavior, Data analysis, and Theory 5.
    arXiv:2007.02789. Nili et al. (2014). PLoS Comput. Biol. 10, e1003553.
    doi:10.1371/journal.pcbi.1003553

    Examples
    --------
    >>> compare_rdms([1, 2, 3], [[1, 2, 4], [2, 2, 2]]).tolist()
    [[1.0, nan]]
    """
    check_option("measure", measure, MEASURES)
    a, b = _condensed("rdms", rdms), _condensed("others", others)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"`rdms` has {a.shape[1]} pairs of stimuli, but `others` has {b.shape[1]}: "
            "both need the same stimuli in the same order."
        )
    _check_noise(measure, noise_covariance)
    a, missing_a = _find_missing("rdms", a, nan)
    b, missing_b = _find_missing("others", b, nan)
    pairs = _all_pairs(a.shape[1]) if _is_whitened(measure) else None
    if nan != "omit" or not (missing_a.any() or missing_b.any()):
        return compare_pairs(a, b, measure, pairs, noise_covariance=noise_covariance)
    similarity = np.empty((len(a), len(b)))
    patterns_a, which_a = np.unique(missing_a, axis=0, return_inverse=True)
    patterns_b, which_b = np.unique(missing_b, axis=0, return_inverse=True)
    for i, lacks_a in enumerate(patterns_a):
        for j, lacks_b in enumerate(patterns_b):
            used = ~(lacks_a | lacks_b)
            rows = np.flatnonzero(which_a.reshape(-1) == i)
            columns = np.flatnonzero(which_b.reshape(-1) == j)
            similarity[np.ix_(rows, columns)] = compare_pairs(
                a[np.ix_(rows, used)],
                b[np.ix_(columns, used)],
                measure,
                None if pairs is None else (pairs[0][used], pairs[1][used]),
                noise_covariance=noise_covariance,
            )
    return similarity


def compare_pairs(
    a: NDArray[np.generic],
    b: NDArray[np.generic],
    measure: str,
    pairs: Pairs | None,
    *,
    noise_covariance: ArrayLike | None = None,
) -> FloatArray:
    """Compare dissimilarities of chosen pairs of stimuli; nothing is checked.

    Parameters
    ----------
    a, b : ndarray, shapes (m, n_pairs) and (k, n_pairs)
        Dissimilarities, or their codes (`analysis.row_correlations.rank_codes`) for
        measures of ranks.
    measure : str
        As in `compare_rdms`.
    pairs : tuple of two ndarray of int, shape (n_pairs,), or None
        The stimuli of each pair; needed for whitened measures only.
    noise_covariance : array-like of float, optional
        As in `compare_rdms`.

    Returns
    -------
    ndarray of float64, shape (m, k)
        Similarities; NaN where undefined.

    Examples
    --------
    >>> compare_pairs(np.eye(3), np.eye(3)[:1], "cosine", None).tolist()
    [[1.0], [0.0], [0.0]]
    """
    if not _is_whitened(measure):
        return correlate_rows(a, b, measure)
    if pairs is None:
        raise ValueError(f"`pairs` is needed for the measure {measure!r}.")
    if a.shape[1] < 2:
        return np.full((len(a), len(b)), np.nan)
    centred = measure == "whitened_pearson"
    first, second = (
        whitened_units(x, pairs, noise_covariance=noise_covariance, centred=centred)
        for x in (a, b)
    )
    solved = solve_whitening(np.nan_to_num(second), pairs, noise_covariance)
    solved[np.isnan(second)] = np.nan
    return np.clip(first @ solved.T, -1.0, 1.0)


def rdm_ceiling(
    rdms: ArrayLike,
    measure: str = "spearman",
    *,
    average: str = "best",
    subjects: ArrayLike | None = None,
    squared: bool = False,
    noise_covariance: ArrayLike | None = None,
    nan: str = "raise",
) -> LeaveOneOutCeiling:
    """Bound how similar a model can be to the RDMs of single subjects.

    The lower bound compares each subject with the mean of the others, the upper one
    with the mean of all. See `analysis.ceilings.leave_one_subject_out` for what the
    bounds are worth.

    Parameters
    ----------
    rdms : array-like of float, shape (n_subjects, n_pairs)
        Condensed RDMs.
    measure : str, default "spearman"
        As in `compare_rdms`.
    average : str, default "best"
        What RDMs are turned into before they are averaged:

        - "plain": nothing;
        - "ranks", mean ranks for ties; the best for "spearman", "rho_a" and
          "kendall_tau_a";
        - "z_scored", the best for "pearson";
        - "unit_length", the best for "cosine";
        - "whitened_length" and "whitened_z_scored", the same with the length of
          whitened RDMs; the best for "whitened_cosine" and "whitened_pearson";
        - "best": the one that is best for the measure.
    subjects : array-like, shape (n_subjects,), optional
        Whose each RDM is, if subjects have several: these are left out together.
    squared : bool, default False
        Square each similarity before the mean over subjects.
    noise_covariance : array-like of float, optional
        As in `compare_rdms`.
    nan : {"raise", "omit", "propagate"}, default "raise"
        What to do about dissimilarities that are not finite: refuse them; leave out
        pairs that any RDM lacks; or return NaN for these subjects.

    Returns
    -------
    LeaveOneOutCeiling
        Bounds per RDM, shape (n_subjects,), and their means.

    Raises
    ------
    ValueError
        As `compare_rdms`, or if there are fewer than two RDMs.

    Notes
    -----
    With the best average no model exceeds the upper bound, for "pearson", "cosine",
    the whitened measures and "rho_a". For "spearman" this holds for models without
    ties (its denominator favours ties), and for "kendall_tau_a" only nearly: the best
    order is not that of mean ranks.

    References
    ----------
    Nili et al. (2014). PLoS Comput. Biol. 10, e1003553.
    doi:10.1371/journal.pcbi.1003553

    Examples
    --------
    >>> rdms = [[1, 2, 3], [1, 3, 2], [1, 2, 3]]
    >>> ceiling = rdm_ceiling(rdms, "rho_a")
    >>> round(float(ceiling.lower), 3), round(float(ceiling.upper), 3)
    (0.667, 0.833)
    """
    check_option("measure", measure, MEASURES)
    check_option("average", average, AVERAGES)
    rows = _condensed("rdms", rdms)
    _check_noise(measure, noise_covariance)
    rows, missing = _find_missing("rdms", rows, nan)
    needs_pairs = _is_whitened(measure) or _is_whitened(average)
    pairs = _all_pairs(rows.shape[1]) if needs_pairs else None
    if nan == "omit" and missing.any():
        used = ~missing.any(axis=0)
        rows = rows[:, used]
        pairs = None if pairs is None else (pairs[0][used], pairs[1][used])
    return ceiling_of_pairs(
        rows,
        measure,
        pairs,
        average=average,
        subjects=subjects,
        squared=squared,
        noise_covariance=noise_covariance,
    )


def ceiling_of_pairs(
    rows: NDArray[np.generic],
    measure: str,
    pairs: Pairs | None,
    *,
    average: str = "best",
    subjects: ArrayLike | None = None,
    squared: bool = False,
    noise_covariance: ArrayLike | None = None,
) -> LeaveOneOutCeiling:
    """Compute `rdm_ceiling` of chosen pairs of stimuli; little is checked.

    Parameters
    ----------
    rows : ndarray, shape (n_subjects, n_pairs)
        Dissimilarities, or their codes for measures and averages of ranks.
    measure : str
        As in `compare_rdms`.
    pairs : tuple of two ndarray of int, shape (n_pairs,), or None
        The stimuli of each pair; needed for whitened measures only.
    average : str, default "best"
        As in `rdm_ceiling`.
    subjects : array-like, shape (n_subjects,), optional
        As in `rdm_ceiling`.
    squared : bool, default False
        As in `rdm_ceiling`.
    noise_covariance : array-like of float, optional
        As in `rdm_ceiling`.

    Returns
    -------
    LeaveOneOutCeiling
        Bounds per RDM.

    Examples
    --------
    >>> ceiling_of_pairs(np.ones((2, 3)), "cosine", None).upper.round(6).tolist()
    1.0
    """
    name = _BEST_AVERAGE[measure] if average == "best" else average
    prepared: dict[str, Callable[[], FloatArray]] = {
        "plain": lambda: np.asarray(rows, np.float64),
        "ranks": lambda: midranks(rows),
        "z_scored": lambda: unit_rows(rows, centred=True),
        "unit_length": lambda: unit_rows(rows, centred=False),
    }
    if name in prepared:
        scaled = prepared[name]()
    else:
        if pairs is None:
            raise ValueError(f"`pairs` is needed for the average {name!r}.")
        centred = name == "whitened_z_scored"
        scaled = whitened_units(
            rows, pairs, noise_covariance=noise_covariance, centred=centred
        )

    def compare(some: NDArray[np.generic], mean: FloatArray) -> FloatArray:
        found = compare_pairs(
            some, mean[None], measure, pairs, noise_covariance=noise_covariance
        )
        return found[:, 0]

    lower = np.empty(len(rows))
    for own, others in means_of_others(scaled, subjects):
        lower[own] = compare(rows[own], others)
    upper = compare(rows, scaled.mean(axis=0))
    if squared:
        lower, upper = lower**2, upper**2
    return LeaveOneOutCeiling(lower, upper)


def whitened_units(
    rows: NDArray[np.generic],
    pairs: Pairs,
    *,
    noise_covariance: ArrayLike | None = None,
    centred: bool,
) -> FloatArray:
    """Scale RDMs to length 1 after whitening.

    Parameters
    ----------
    rows : ndarray, shape (n_rdms, n_pairs)
        Dissimilarities.
    pairs : tuple of two ndarray of int, shape (n_pairs,)
        The stimuli of each pair.
    noise_covariance : array-like of float, optional
        As in `compare_rdms`.
    centred : bool
        Subtract the mean dissimilarity first.

    Returns
    -------
    ndarray of float64, shape (n_rdms, n_pairs)
        RDMs d with ``d' V^-1 d = 1``, V as in `analysis.rdm_whitening`; NaN for zeros
        or, when centred, a constant RDM.

    Examples
    --------
    >>> pairs = np.triu_indices(3, 1)
    >>> whitened_units(np.ones((1, 3)), pairs, centred=False).round(3).tolist()
    [[1.414, 1.414, 1.414]]
    """
    units = unit_rows(rows, centred=centred)
    solved = solve_whitening(np.nan_to_num(units), pairs, noise_covariance)
    squares = np.einsum("ij,ij->i", units, solved)
    return units / np.sqrt(squares)[:, None]


def count_stimuli(n_pairs: int) -> int:
    """Return the number of stimuli that have a number of pairs.

    Parameters
    ----------
    n_pairs : int
        Length of a condensed RDM.

    Returns
    -------
    int
        Number of stimuli.

    Raises
    ------
    ValueError
        If no number of stimuli has so many pairs.

    Examples
    --------
    >>> count_stimuli(4186)
    92
    """
    n = round((1 + (1 + 8 * n_pairs) ** 0.5) / 2)
    if n * (n - 1) // 2 != n_pairs:
        raise ValueError(
            f"A condensed RDM cannot have {n_pairs} dissimilarities: {n} stimuli have "
            f"{n * (n - 1) // 2} pairs. Give the upper triangle, without the diagonal."
        )
    return n


def _is_whitened(name: str) -> bool:
    return name.startswith("whitened")


def _all_pairs(n_pairs: int) -> Pairs:
    i, j = np.triu_indices(count_stimuli(n_pairs), 1)
    return i, j


def _condensed(name: str, rdms: ArrayLike) -> FloatArray:
    rows = np.atleast_2d(np.asarray(rdms, np.float64))
    if rows.ndim != 2:
        raise ValueError(
            f"`{name}` must hold condensed RDMs, shape (n_rdms, n_pairs); got "
            f"{rows.shape}. SciPy's squareform condenses a square one."
        )
    return rows


def _check_noise(measure: str, noise_covariance: ArrayLike | None) -> None:
    if noise_covariance is not None and not _is_whitened(measure):
        raise ValueError(
            "`noise_covariance` belongs to whitened measures: leave it out, or use "
            f"'whitened_cosine'; the measure is {measure!r}."
        )


def _find_missing(
    name: str, rows: FloatArray, nan: str
) -> tuple[FloatArray, NDArray[np.bool_]]:
    check_option("nan", nan, NAN_POLICIES)
    missing = ~np.isfinite(rows)
    if nan == "raise" and missing.any():
        raise ValueError(
            f"`{name}` has {int(missing.sum())} dissimilarities that are not finite. "
            "Use nan='omit' to leave these pairs of stimuli out, or nan='propagate'."
        )
    return np.where(missing, np.nan, rows), missing
