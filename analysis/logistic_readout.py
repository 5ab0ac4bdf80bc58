"""A linear readout of two classes: logistic regression with a penalty chosen by CV."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

PENALTIES = tuple(10.0**power for power in range(-3, 6))
"""Of the squared weights of standardised features."""

_MOST_STEPS = 60
_SMALL = 1e-9


@dataclass(frozen=True, eq=False)
class LogisticReadout:
    """Weights of a fitted readout.

    Parameters
    ----------
    weights : ndarray of float64, shape (n_features,)
        Of the features as they come.
    intercept : float
        Added to their sum.
    penalty : float
        The one that was chosen.
    cv_loss : float
        Its mean log loss on held-out training pictures, in nats; NaN where there was
        nothing to choose.
    """

    weights: FloatArray
    intercept: float
    penalty: float
    cv_loss: float

    def logits(self, features: ArrayLike) -> FloatArray:
        """Return the log odds of the second class.

        Parameters
        ----------
        features : array_like of float, shape (..., n_features)
            Features.

        Returns
        -------
        ndarray of float64, shape (...)
            Above 0 for the second class.
        """
        return np.asarray(features, np.float64) @ self.weights + self.intercept


def fit_logistic_readout(
    features: ArrayLike,
    second: ArrayLike,
    *,
    penalties: tuple[float, ...] = PENALTIES,
    n_folds: int = 5,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> LogisticReadout:
    """Fit a logistic regression on standardised features.

    ``sum_i log(1 + exp(-y_i f_i)) + penalty / 2 |w|^2`` is minimised, with y = 1 for
    the second class and -1 for the first; the intercept is free.

    Parameters
    ----------
    features : array_like of float, shape (n, n_features)
        Training features; each is brought to mean 0 and standard deviation 1.
    second : array_like of bool, shape (n,)
        Whether a row belongs to the second class; both classes must be there.
    penalties : tuple of float
        To choose from, each above 0: the one with the least mean log loss on held-out
        rows; of equal ones the largest.
    n_folds : int, default 5
        Folds, at most as many as there are groups.
    groups : array_like of int or str, shape (n,), optional
        Rows of one group are held out together. By default every row is a group.
    seed : int, default 0
        Of the folds.

    Returns
    -------
    LogisticReadout
        Fitted on all rows with the chosen penalty.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or a class is missing.

    Notes
    -----
    With fewer rows than features the fit is done in the space of the rows, which gives
    the same weights.

    Examples
    --------
    >>> readout = fit_logistic_readout([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    >>> (readout.logits([[0.0], [3.0]]) > 0).tolist()
    [False, True]
    """
    x = check_array(
        "features", np.asarray(features, np.float64), shape=(None, None), finite=True
    )
    y = np.asarray(second, bool)
    check_array("second", y, shape=(len(x),))
    check_whole("n_folds", n_folds, low=2)
    if y.all() or not y.any():
        raise ValueError("`second` must have rows of both classes; it has one only.")
    if not penalties or min(penalties) <= 0:
        raise ValueError(f"`penalties` must be above 0; got {penalties}.")
    centre, scale = x.mean(axis=0), x.std(axis=0)
    usable = scale > _SMALL * np.maximum(1.0, np.abs(centre))
    scale = np.where(usable, scale, 1.0)
    z = np.where(usable, (x - centre) / scale, 0.0)
    # Rows in coordinates of their own span: weights outside of it are 0 anyway.
    left, sizes, right = np.linalg.svd(z, full_matrices=False)
    kept = sizes > _SMALL * max(float(sizes.max(initial=0.0)), 1.0)
    rows = left[:, kept] * sizes[kept]
    signs = np.where(y, 1.0, -1.0)
    penalty, loss = float(max(penalties)), np.nan
    if len(penalties) > 1:
        folds = _folds(groups, len(x), n_folds, seed)
        losses = [
            _held_out_loss(rows, signs, folds, value)
            for value in sorted(penalties, reverse=True)
        ]
        if np.isfinite(losses).any():
            best = int(np.nanargmin(losses))
            penalty, loss = sorted(penalties, reverse=True)[best], losses[best]
    weights, intercept = _newton(rows, signs, penalty)
    own = right[kept].T @ weights / scale
    own = np.where(usable, own, 0.0)
    return LogisticReadout(own, intercept - float(own @ centre), penalty, float(loss))


def _folds(
    groups: ArrayLike | None, n: int, n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Return the fold of every row."""
    labels = np.arange(n) if groups is None else np.asarray(groups)
    check_array("groups", labels, shape=(n,))
    unique, inverse = np.unique(labels, return_inverse=True)
    order = generator(seed, "readout folds").permutation(len(unique))
    fold = np.empty(len(unique), np.int64)
    fold[order] = np.arange(len(unique)) % min(n_folds, len(unique))
    return fold[inverse]


def _held_out_loss(
    rows: FloatArray, signs: FloatArray, folds: NDArray[np.int64], penalty: float
) -> float:
    losses = []
    for fold in np.unique(folds):
        held = folds == fold
        train = signs[~held]
        if len(train) == 0 or abs(train.sum()) == len(train):
            continue  # one class only: nothing to learn
        weights, intercept = _newton(rows[~held], train, penalty)
        margins = signs[held] * (rows[held] @ weights + intercept)
        losses.append(np.logaddexp(0, -margins))
    return float(np.concatenate(losses).mean()) if losses else np.nan


def _newton(
    rows: FloatArray, signs: FloatArray, penalty: float
) -> tuple[FloatArray, float]:
    """Minimise the penalised loss by damped Newton steps."""
    design = np.column_stack([rows, np.ones(len(rows))])
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 0.0

    def loss(w: FloatArray) -> float:
        margins = signs * (design @ w)
        return float(np.logaddexp(0, -margins).sum() + (ridge * w * w).sum() / 2)

    w = np.zeros(design.shape[1])
    now = loss(w)
    for _ in range(_MOST_STEPS):
        margins = signs * (design @ w)
        wrong = 1 / (1 + np.exp(np.clip(margins, -500, 500)))
        gradient = -design.T @ (signs * wrong) + ridge * w
        curvature = wrong * (1 - wrong)
        hessian = (design * curvature[:, None]).T @ design + np.diag(ridge)
        hessian[-1, -1] += _SMALL  # the intercept has no penalty
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (new := loss(w - size * step)) > now and size > 1e-6:
            size /= 2
        w = w - size * step
        if now - new <= 1e-10 * (1 + abs(new)):
            break
        now = new
    return w[:-1], float(w[-1])
