"""Representational dissimilarity matrices (RDMs) of features and responses.

An RDM is condensed: the dissimilarities of the pairs (0, 1), (0, 2), ..., the order of
`neurovis.core.rdm_stack.RDMStack` and of SciPy's ``squareform``. Features are read in
blocks of columns, so that memory-mapped arrays are never copied whole; all sums are in
float64.

Dissimilarities are rounded at a part in 10**12 of the largest one. What is equal in
theory then is equal in the result, and ranks do not sort ties by rounding errors.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular

from analysis.metrics import unit_blocks
from analysis.stats import ROUNDING
from neurovis.core.checks import check_array, check_option
from neurovis.core.rdm_stack import RDMStack

FloatArray = NDArray[np.float64]

MEASURES = {
    "correlation": "1 - Pearson r",
    "cosine": "1 - cosine",
    "euclidean": "Euclidean",
    "squared_euclidean": "squared Euclidean per feature",
    "mahalanobis": "squared Mahalanobis per feature",
}
"""Names of measures, and how `RDMStack` tells them."""

NAN_POLICIES = ("raise", "omit", "propagate")

# 2**-40 is about 1e-12: coarser than the errors of the sums, finer than any data.
_ROUNDED_BITS = 40


def make_rdm(
    features: ArrayLike,
    measure: str = "correlation",
    *,
    noise_covariance: ArrayLike | None = None,
    nan: str = "raise",
) -> FloatArray:
    """Compute the dissimilarities of all pairs of stimuli.

    Parameters
    ----------
    features : array-like of float, shape (n_stimuli, ...)
        One row per stimulus; further axes are flattened. May be a memory map.
    measure : str, default "correlation"
        - "correlation": one minus Pearson's r over features, 0..2;
        - "cosine": one minus the cosine, 0..2;
        - "euclidean": the distance;
        - "squared_euclidean": its square, divided by the number of features;
        - "mahalanobis": the square of the distance after whitening with the noise
          covariance, divided by the number of features.
    noise_covariance : array-like of float, shape (n_features, n_features) or \
(n_features,), optional
        For "mahalanobis" only: covariance of the noise of features, or variances
        alone. See `analysis.noise_covariance`.
    nan : {"raise", "omit", "propagate"}, default "raise"
        What to do about values that are not finite: refuse them; leave out features
        that have any; or make all dissimilarities of the stimulus NaN.

    Returns
    -------
    ndarray of float64, shape (n_stimuli * (n_stimuli - 1) / 2,)
        Condensed RDM. NaN where a stimulus has NaN, where "correlation" meets a
        constant row or "cosine" a row of zeros.

    Raises
    ------
    ValueError
        If shapes do not fit, an option is unknown, values are not finite or the
        noise covariance is not positive definite.

    Notes
    -----
    All but "correlation" and "cosine" of measured responses are biased upwards by
    noise, the more the noisier; `make_crossnobis_rdm` is not.

    References
    ----------
    Walther et al. (2016). NeuroImage 137, 188-200.
    doi:10.1016/j.neuroimage.2015.12.012

    Examples
    --------
    >>> make_rdm([[0.0, 0.0], [3.0, 4.0], [0.0, 4.0]], "euclidean").tolist()
    [5.0, 4.0, 3.0]
    """
    check_option("measure", measure, MEASURES)
    x = _flat_rows("features", features)
    if (measure == "mahalanobis") != (noise_covariance is not None):
        raise ValueError(
            "`noise_covariance` belongs to the measure 'mahalanobis': give it there "
            f"and only there; the measure is {measure!r}."
        )
    kept, undefined = _find_not_finite("features", x, nan)
    whitening = _make_whitening(noise_covariance, x.shape[1])
    n_features = int(kept.sum())
    if not n_features:
        return np.full(len(x) * (len(x) - 1) // 2, np.nan)
    if measure in ("correlation", "cosine"):
        distances = _angles(x, kept, undefined, centred=measure == "correlation")
    else:
        gram = np.zeros((len(x), len(x)))
        for block in _blocks(x, kept, undefined, whitening):
            # Distances from one stimulus: as large as what is asked for, at most.
            shifted = block - block[:1]
            gram += shifted @ shifted.T
        distances = _distances(gram)
        distances = (
            np.sqrt(distances) if measure == "euclidean" else distances / n_features
        )
    distances[_any_of_pair(undefined)] = np.nan
    return distances


def make_crossnobis_rdm(
    trials: ArrayLike,
    *,
    noise_covariance: ArrayLike | None = None,
    nan: str = "raise",
) -> FloatArray:
    """Estimate squared distances without the bias that noise brings.

    The difference between two stimuli in one partition is multiplied by that in
    another, ``(a1 - b1) S^-1 (a2 - b2) / n_features``, and averaged over all pairs of
    partitions. Noise that is independent between partitions cancels on average: equal
    stimuli give 0, and single values may be negative. They are kept.

    Parameters
    ----------
    trials : array-like of float, shape (n_stimuli, n_partitions, n_features)
        Independent measurements of each stimulus, at least two, such as runs,
        sessions or the repeats of `analysis.ceilings.stack_trials`. A trial that is
        NaN in all features counts as absent. May be a memory map.
    noise_covariance : array-like of float, shape (n_features, n_features) or \
(n_features,), optional
        S, the covariance (or variances) of the noise of features. Without it features
        count as they are: the cross-validated squared Euclidean distance.
    nan : {"raise", "omit", "propagate"}, default "raise"
        What to do about other values that are not finite: refuse them; leave out
        features that have any; or make all dissimilarities of the stimulus NaN.

    Returns
    -------
    ndarray of float64, shape (n_stimuli * (n_stimuli - 1) / 2,)
        Condensed RDM; NaN where two stimuli share fewer than two partitions.

    Raises
    ------
    ValueError
        If shapes do not fit, there are fewer than two partitions, values are not
        finite or the noise covariance is not positive definite.

    Notes
    -----
    It is free of bias if S is fixed or comes from other data. From the residuals of
    the same trials it is not quite: what is noise in them looks smaller than it is.
    See the notes of `analysis.noise_covariance.estimate_noise_covariance`.

    References
    ----------
    Walther et al. (2016). NeuroImage 137, 188-200.
    doi:10.1016/j.neuroimage.2015.12.012. Diedrichsen et al. (2020). arXiv:2007.02789

    Examples
    --------
    >>> make_crossnobis_rdm([[[0.0], [0.0]], [[1.0], [3.0]]]).tolist()
    [3.0]
    """
    x = np.asanyarray(trials)
    if x.ndim != 3 or x.shape[0] < 2 or x.shape[1] < 2:
        raise ValueError(
            "`trials` needs at least two stimuli and two partitions, shape "
            f"(n_stimuli, n_partitions, n_features); got {x.shape}."
        )
    n_stimuli, n_partitions, n_features = x.shape
    flat = x.reshape(-1, n_features)
    absent = _find_absent(flat)
    kept, undefined = _find_not_finite("trials", flat, nan, ignored=absent)
    whitening = _make_whitening(noise_covariance, n_features)
    there = ~absent.reshape(n_stimuli, n_partitions)
    lost = np.logical_or.reduce(undefined.reshape(n_stimuli, -1), axis=1)
    shape = (n_stimuli, n_partitions, -1)
    total = np.zeros((n_stimuli, n_stimuli))
    # Differences within a partition do not change when it is shifted.
    first = there.argmax(axis=0)
    for block in _blocks(flat, kept, undefined | absent, whitening):
        t = block.reshape(shape)
        t = (t - t[first, np.arange(n_partitions)]) * there[:, :, None]
        total += _cross_products(t, there)
    n_used = there.astype(float) @ there.T
    n_products = _condense(n_used * (n_used - 1)) * kept.sum()
    if there.all():
        distances = _distances(total, keep_negative=True)
    else:
        distances = _round(_condense(total), abs(total).max())
    distances = distances / np.where(n_products > 0, n_products, np.nan)
    distances[_any_of_pair(lost)] = np.nan
    return distances


def make_rdm_stack(
    features: Mapping[str, ArrayLike],
    stimulus_id: Sequence[str],
    measure: str = "correlation",
    *,
    name: str = "features",
    nan: str = "raise",
) -> RDMStack:
    """Compute one RDM for each of several feature spaces, such as layers.

    Parameters
    ----------
    features : mapping of str to array-like of float, shape (n_stimuli, ...)
        Feature spaces by name, rows in one order of stimuli.
    stimulus_id : sequence of str, length n_stimuli
        What the rows are.
    measure : str, default "correlation"
        As in `make_rdm`, but not "mahalanobis".
    name : str, default "features"
        Name of the stack.
    nan : {"raise", "omit", "propagate"}, default "raise"
        As in `make_rdm`.

    Returns
    -------
    RDMStack
        One RDM per feature space, whose name is its `source`.

    Raises
    ------
    ValueError
        If numbers of rows differ, or as `make_rdm`.

    Examples
    --------
    >>> layers = {"conv1": np.eye(3), "fc": [[0.0, 1], [1, 0], [1, 2]]}
    >>> stack = make_rdm_stack(layers, ["a", "b", "c"], "squared_euclidean")
    >>> stack.table["source"].tolist(), stack.rdms[1].tolist()
    (['conv1', 'fc'], [1.0, 1.0, 2.0])
    """
    ids = [str(identity) for identity in stimulus_id]
    for key, values in features.items():
        n_rows = np.shape(values)[:1]
        if n_rows != (len(ids),):
            raise ValueError(
                f"`features[{key!r}]` has shape {np.shape(values)}, but `stimulus_id` "
                f"names {len(ids)} stimuli: one row per stimulus is needed."
            )
    rdms = [make_rdm(values, measure, nan=nan) for values in features.values()]
    table = pd.DataFrame(
        {"source": list(features), "subject": "", "measure": MEASURES[measure]}
    )
    n_pairs = len(ids) * (len(ids) - 1) // 2
    stacked = np.reshape(rdms, (len(rdms), n_pairs))
    return RDMStack(name, stacked, table, pd.DataFrame({"stimulus_id": ids}))


def _flat_rows(name: str, values: ArrayLike) -> NDArray[np.generic]:
    x = np.asanyarray(values)
    if x.ndim < 2 or len(x) < 2:
        raise ValueError(
            f"`{name}` needs one row for each of at least two stimuli, shape "
            f"(n_stimuli, n_features); got {x.shape}."
        )
    return x.reshape(len(x), -1)


def _find_not_finite(
    name: str,
    x: NDArray[np.generic],
    nan: str,
    *,
    ignored: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which columns are used and which rows are undefined."""
    check_option("nan", nan, NAN_POLICIES)
    kept, undefined = np.ones(x.shape[1], bool), np.zeros(len(x), bool)
    n_bad = 0
    for block in unit_blocks(*x.shape):
        bad = ~np.isfinite(x[:, block])
        if ignored is not None:
            bad &= ~ignored[:, None]
        kept[block] = ~bad.any(axis=0)
        undefined |= bad.any(axis=1)
        n_bad += int(bad.sum())
    if n_bad and nan == "raise":
        raise ValueError(
            f"`{name}` has {n_bad} values that are not finite, in "
            f"{int((~kept).sum())} of {len(kept)} features. Use nan='omit' to leave "
            "these features out, or nan='propagate'."
        )
    if nan == "omit":
        return kept, np.zeros(len(x), bool)
    return np.ones(x.shape[1], bool), undefined


def _find_absent(x: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Tell which rows are NaN everywhere."""
    absent = np.ones(len(x), bool)
    for block in unit_blocks(*x.shape):
        absent &= np.isnan(x[:, block]).all(axis=1)
    return absent


def _make_whitening(covariance: ArrayLike | None, n_features: int) -> FloatArray | None:
    """Return what whitens rows: factors (n,) or an upper triangle (n, n)."""
    if covariance is None:
        return None
    noise = np.asarray(covariance, np.float64)
    if noise.ndim == 1:
        check_array("noise_covariance", noise, shape=(n_features,), finite=True)
        if (noise <= 0).any():
            raise ValueError(
                f"`noise_covariance` has {int((noise <= 0).sum())} variances that are "
                "not above 0: leave out features without noise."
            )
        return noise**-0.5
    shape = (n_features, n_features)
    check_array("noise_covariance", noise, shape=shape, finite=True)
    if abs(noise - noise.T).max(initial=0) > 1e-6 * abs(noise).max(initial=0):
        raise ValueError("`noise_covariance` must be symmetric.")
    try:
        lower = np.linalg.cholesky(noise)
    except np.linalg.LinAlgError:
        raise ValueError(
            "`noise_covariance` is not positive definite: estimate it from more "
            "residuals than features, or shrink it "
            "(`analysis.noise_covariance.estimate_noise_covariance`)."
        ) from None
    return solve_triangular(lower, np.eye(n_features), lower=True).T


def _blocks(
    x: NDArray[np.generic],
    kept: NDArray[np.bool_],
    zeroed: NDArray[np.bool_],
    whitening: FloatArray | None,
) -> Iterator[FloatArray]:
    """Read blocks of columns in float64, whitened; some rows as zeros."""
    if whitening is not None and whitening.ndim == 2 and not kept.all():
        raise ValueError(
            "nan='omit' cannot be used with a full `noise_covariance`: leave the "
            "features out of both."
        )

    def read(block: slice) -> FloatArray:
        values = np.array(x[:, block], np.float64)
        values[zeroed] = 0
        return values if kept[block].all() else values[:, kept[block]]

    n_columns = x.shape[1]
    for block in unit_blocks(*x.shape):
        if whitening is None:
            yield read(block)
        elif whitening.ndim == 1:
            yield read(block) * whitening[block][kept[block]]
        else:
            # An upper triangle: later columns add nothing to these.
            earlier = unit_blocks(len(x), min(block.stop, n_columns))
            parts = (read(part) @ whitening[part, block] for part in earlier)
            yield sum(parts, np.zeros(1))


def _angles(
    x: NDArray[np.generic],
    kept: NDArray[np.bool_],
    undefined: NDArray[np.bool_],
    *,
    centred: bool,
) -> FloatArray:
    """Return one minus the correlation or the cosine of all pairs of rows."""
    means, scale = np.zeros(len(x)), np.zeros(len(x))
    for block in _blocks(x, kept, undefined, None):
        means += block.sum(axis=1) / kept.sum()
        scale += np.einsum("ij,ij->i", block, block)
    gram = np.zeros((len(x), len(x)))
    for block in _blocks(x, kept, undefined, None):
        rows = block - means[:, None] if centred else block
        gram += rows @ rows.T
    squares = gram.diagonal()
    defined = squares > ROUNDING**2 * scale
    norms = np.sqrt(np.where(defined, squares, np.nan))
    return _round(np.clip(1 - _condense(gram / np.outer(norms, norms)), 0, 2), 2.0)


def _distances(gram: FloatArray, *, keep_negative: bool = False) -> FloatArray:
    """Return squared distances from products of all pairs of rows."""
    squares = gram.diagonal()
    distances = _condense(squares[:, None] + squares - 2 * gram)
    distances = _round(distances, abs(squares).max(initial=0))
    return distances if keep_negative else np.maximum(distances, 0)


def _cross_products(t: FloatArray, there: NDArray[np.bool_]) -> FloatArray:
    """Add up products of responses in different partitions.

    Products of all pairs of stimuli when every trial is there, (n_stimuli, n_stimuli);
    otherwise squared distances, each over the partitions that both stimuli have.
    """
    if there.all():
        rows, total = t.reshape(len(t), -1), t.sum(axis=1)
        return total @ total.T - rows @ rows.T
    distances = np.zeros((len(t), len(t)))
    for i in range(t.shape[1]):
        for j in range(i):
            products = t[:, i] @ t[:, j].T
            squares = products.diagonal()
            both = there[:, i] & there[:, j]
            cross = squares[:, None] + squares - products - products.T
            distances += 2 * cross * np.outer(both, both)
    return distances


def _condense(square: FloatArray) -> FloatArray:
    return square[np.triu_indices(len(square), 1)]


def _any_of_pair(rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    i, j = np.triu_indices(len(rows), 1)
    return rows[i] | rows[j]


def _round(values: FloatArray, scale: float) -> FloatArray:
    """Round to a power of two that is a small part of the scale."""
    if not scale or not np.isfinite(scale):
        return values
    step = 2.0 ** (np.floor(np.log2(scale)) - _ROUNDED_BITS)
    return np.round(values / step) * step
