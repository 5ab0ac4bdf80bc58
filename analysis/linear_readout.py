"""A linear readout of classes: logistic regression, the penalty by cross-validation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from neurovis.core.checks import check_array, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

PENALTIES = tuple(10.0**power for power in range(-1, 6))
"""Of half the squared weights of standardised features."""

_SMALL = 1e-9
_MOST_STEPS = 500


@dataclass(frozen=True, eq=False)
class LinearReadout:
    """Weights of a fitted readout.

    Parameters
    ----------
    classes : tuple
        Labels, in sorted order.
    weights : ndarray of float64, shape (n_classes, n_features)
        Of the features as they come.
    intercept : ndarray of float64, shape (n_classes,)
        Added to their sums.
    penalty : float
        The one that was chosen.
    cv_loss : float
        Its mean log loss on held-out training rows, in nats; NaN where there was
        nothing to choose.
    """

    classes: tuple[Any, ...]
    weights: FloatArray
    intercept: FloatArray
    penalty: float
    cv_loss: float

    def logits(self, features: ArrayLike) -> FloatArray:
        """Return the log odds of the classes, up to what they have in common.

        Parameters
        ----------
        features : array_like of float, shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of float64, shape (n, n_classes)
            The larger, the more likely. With two classes those of the first are 0.
        """
        x = check_array(
            "features",
            np.asarray(features, np.float64),
            shape=(None, self.weights.shape[1]),
        )
        return np.asarray(x @ self.weights.T + self.intercept)

    def probabilities(self, features: ArrayLike) -> FloatArray:
        """Return the probabilities of the classes.

        Parameters
        ----------
        features : array_like of float, shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of float64, shape (n, n_classes)
            Each row sums to 1.
        """
        logits = self.logits(features)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def predict(self, features: ArrayLike) -> NDArray[Any]:
        """Return the likeliest class of each row.

        Parameters
        ----------
        features : array_like of float, shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of object, shape (n,)
            Labels; of equally likely ones the first.
        """
        labels = np.empty(len(self.classes), object)
        labels[:] = self.classes
        return np.asarray(labels[self.logits(features).argmax(axis=1)])


def fit_linear_readout(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    penalties: tuple[float, ...] = PENALTIES,
    n_folds: int = 5,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> LinearReadout:
    """Fit a (multinomial) logistic regression on standardised features.

    The summed log loss plus ``penalty / 2 |w|^2`` is minimised; intercepts are free.

    Parameters
    ----------
    features : array_like of float, shape (n, n_features)
        Training rows; each feature is brought to mean 0 and standard deviation 1, and
        constant ones are left out.
    labels : array_like, shape (n,)
        Classes, at least two.
    penalties : tuple of float
        To choose from, each above 0: the one with the least mean log loss on held-out
        rows; of equal ones the largest.
    n_folds : int, default 5
        Folds, at most as many as there are groups, >= 2.
    groups : array_like, shape (n,), optional
        Rows of one group are held out together. By default every row is a group.
    seed : int, default 0
        Of the folds.

    Returns
    -------
    LinearReadout
        Fitted to all rows with the chosen penalty.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or there is one class only.

    Notes
    -----
    Folds in which a class is missing from the training rows are left out of the
    choice. With fewer rows than features the fit is done in the space that the rows
    span, which gives the same weights.

    Examples
    --------
    >>> readout = fit_linear_readout([[0.0], [1.0], [5.0], [6.0]], list("aabb"))
    >>> readout.predict([[0.5], [9.0]]).tolist()
    ['a', 'b']
    """
    x = check_array(
        "features", np.asarray(features, np.float64), shape=(None, None), finite=True
    )
    names = np.asarray(labels)
    check_array("labels", names, shape=(len(x),))
    check_whole("n_folds", n_folds, low=2)
    if not penalties or min(penalties) <= 0:
        raise ValueError(f"`penalties` must be above 0; got {penalties}.")
    classes, codes = np.unique(names, return_inverse=True)
    if len(classes) < 2:
        raise ValueError("`labels` must name two classes or more; there is one only.")
    centre, scale = x.mean(axis=0), x.std(axis=0)
    usable = scale > _SMALL * np.maximum(1.0, np.abs(centre))
    scale = np.where(usable, scale, 1.0)
    z = np.where(usable, (x - centre) / scale, 0.0)
    # Weights outside of what the rows span are 0 at the minimum.
    left, sizes, right = np.linalg.svd(z, full_matrices=False)
    kept = sizes > _SMALL * max(float(sizes.max(initial=0.0)), 1.0)
    rows = left[:, kept] * sizes[kept]
    ordered = sorted(penalties, reverse=True)
    penalty, loss = float(ordered[0]), np.nan
    if len(ordered) > 1:
        losses = _held_out_losses(rows, codes, ordered, groups, n_folds, seed)
        if np.isfinite(losses).any():
            best = int(np.nanargmin(losses))
            penalty, loss = float(ordered[best]), float(losses[best])
    own, intercept = _fit(rows, codes, len(classes), [penalty])[0]
    weights = np.where(usable, own @ right[kept] / scale, 0.0)
    labels_of = tuple(classes.tolist())
    return LinearReadout(
        labels_of, weights, intercept - weights @ centre, penalty, loss
    )


def group_folds(
    groups: ArrayLike, n_folds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Cut rows into folds of whole groups, at random.

    Parameters
    ----------
    groups : array_like, shape (n,)
        Group of every row.
    n_folds : int
        Folds; as many as there are groups if these are fewer.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of int64, shape (n,)
        Fold of every row, from 0.
    """
    unique, inverse = np.unique(np.asarray(groups), return_inverse=True)
    order = rng.permutation(len(unique))
    fold = np.empty(len(unique), np.int64)
    fold[order] = np.arange(len(unique)) % min(n_folds, len(unique))
    return np.asarray(fold[inverse])


def _held_out_losses(
    rows: FloatArray,
    codes: NDArray[np.intp],
    penalties: list[float],
    groups: ArrayLike | None,
    n_folds: int,
    seed: int,
) -> FloatArray:
    """Return the mean log loss on held-out rows, one per penalty; NaN without any."""
    labels = np.arange(len(rows)) if groups is None else np.asarray(groups)
    check_array("groups", labels, shape=(len(rows),))
    fold = group_folds(labels, n_folds, generator(seed, "readout folds"))
    n_classes = int(codes.max()) + 1
    losses: list[list[FloatArray]] = [[] for _ in penalties]
    for number in np.unique(fold):
        held = fold == number
        if len(np.unique(codes[~held])) < n_classes:
            continue
        for place, (weights, intercept) in enumerate(
            _fit(rows[~held], codes[~held], n_classes, penalties)
        ):
            logits = rows[held] @ weights.T + intercept
            whole = np.logaddexp.reduce(logits, axis=1)
            losses[place].append(whole - logits[np.arange(len(logits)), codes[held]])
    return np.array([np.concatenate(one).mean() if one else np.nan for one in losses])


def _fit(
    rows: FloatArray, codes: NDArray[np.intp], n_classes: int, penalties: list[float]
) -> list[tuple[FloatArray, FloatArray]]:
    """Return weights and intercepts for every penalty, from strong to weak."""
    if not rows.shape[1]:  # no feature varies: the shares of the classes are all
        counts = np.bincount(codes, minlength=n_classes)
        none = (np.zeros((n_classes, 0)), np.log(counts / counts.sum()))
        return [none for _ in penalties]
    width = rows.shape[1] + 1
    design = np.column_stack([rows, np.ones(len(rows))])
    # Two classes need one vector; more have one each, as the penalty is shared.
    n_vectors = 1 if n_classes == 2 else n_classes
    at = np.zeros(n_vectors * width)
    found = []
    for penalty in penalties:
        # The weaker penalty begins where the stronger one ended.
        at = minimize(
            _loss,
            at,
            args=(design, codes, n_classes, penalty),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MOST_STEPS, "ftol": 1e-12, "gtol": 1e-6},
        ).x
        vectors = _all_vectors(at.reshape(n_vectors, width), n_classes)
        found.append((vectors[:, :-1], vectors[:, -1]))
    return found


def _all_vectors(vectors: FloatArray, n_classes: int) -> FloatArray:
    """Return one vector per class; of two classes that of the first is 0."""
    if len(vectors) == n_classes:
        return vectors
    return np.vstack([np.zeros_like(vectors), vectors])


def _loss(
    at: FloatArray,
    design: FloatArray,
    codes: NDArray[np.intp],
    n_classes: int,
    penalty: float,
) -> tuple[float, FloatArray]:
    """Return the penalised log loss per row, and its gradient."""
    vectors = at.reshape(-1, design.shape[1])
    logits = design @ _all_vectors(vectors, n_classes).T
    whole = np.logaddexp.reduce(logits, axis=1, keepdims=True)
    places = np.arange(len(codes))
    loss = float((whole[:, 0] - logits[places, codes]).sum())
    excess = np.exp(logits - whole)
    excess[places, codes] -= 1
    gradient = excess[:, -len(vectors) :].T @ design
    gradient[:, :-1] += penalty * vectors[:, :-1]
    loss += penalty / 2 * float((vectors[:, :-1] ** 2).sum())
    n = len(codes)
    return loss / n, np.asarray(gradient.ravel() / n)
