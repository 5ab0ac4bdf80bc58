"""How much a head matters: what a network says with it and without it.

Importance compares outputs for the same pictures before and after a change, such as a
head put to zero. All numbers are per picture; their mean over pictures is the
importance of the head. Undefined is NaN.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, rel_entr

from analysis.choices import similarity
from neurovis.core.checks import check_array

FloatArray = NDArray[np.float64]

EFFECTS = ("d_prob", "d_loss", "d_cls", "d_js")
"""Names of the measures, see `prune_effects`."""


def prune_effects(
    before: ArrayLike | None,
    after: ArrayLike | None,
    *,
    targets: ArrayLike | None = None,
    cls_before: ArrayLike | None = None,
    cls_after: ArrayLike | None = None,
) -> dict[str, FloatArray]:
    """Compare what a network says about pictures before and after a change.

    Parameters
    ----------
    before, after : array-like of float, shape (n_images, n_classes), or None
        Logits; None for a network without classes.
    targets : array-like of int, shape (n_images,), optional
        Class of each picture, 0-based; by default the one with the largest logit in
        `before` (the first of equal ones).
    cls_before, cls_after : array-like of float, shape (n_images, width), optional
        Class tokens.

    Returns
    -------
    dict of str to ndarray of float64, shape (n_images,)
        `d_prob`: drop of the probability of the target, -1..1. `d_loss`: growth of its
        cross-entropy in nats. `d_cls`: 1 less the cosine of the class tokens, 0..2.
        `d_js`: Jensen-Shannon divergence of the two distributions in bits, 0..1. NaN
        where logits or class tokens are not given, or a class token is 0.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, or nothing is given.

    References
    ----------
    Lin (1991). Divergence measures based on the Shannon entropy. IEEE Trans. Inf.
    Theory 37, 145-151. doi:10.1109/18.61115

    Examples
    --------
    >>> effects = prune_effects([[0.0, 0.0]], [[0.0, np.log(3.0)]], targets=[0])
    >>> float(effects["d_prob"][0]), round(float(effects["d_loss"][0]), 3)
    (0.25, 0.693)
    """
    first, second = _pair("before", before, "after", after)
    one, other = _pair("cls_before", cls_before, "cls_after", cls_after)
    if first is None and one is None:
        raise ValueError("Logits or class tokens are needed; neither was given.")
    n = len(first) if first is not None else len(one) if one is not None else 0
    if first is not None and one is not None and len(one) != n:
        raise ValueError(
            f"`cls_before` has {len(one)} rows but `before` has {n}: one per picture "
            "is needed."
        )
    found = {name: np.full(n, np.nan) for name in EFFECTS}
    if first is not None and second is not None:
        target = _targets(targets, first)[:, None]
        log_p, log_q = log_softmax(first, axis=1), log_softmax(second, axis=1)
        own, others = (
            np.take_along_axis(log, target, axis=1)[:, 0] for log in (log_p, log_q)
        )
        found["d_prob"] = np.exp(own) - np.exp(others)
        found["d_loss"] = own - others
        found["d_js"] = jensen_shannon(np.exp(log_p), np.exp(log_q))
    if one is not None and other is not None:
        found["d_cls"] = 1 - np.clip(similarity(one, other), -1, 1)
    return found


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Return the Jensen-Shannon divergence of distributions in bits.

    Parameters
    ----------
    p, q : array-like of float, shape (..., n_classes)
        Probabilities; each row adds up to 1.

    Returns
    -------
    ndarray of float64, shape (...)
        0 for equal ones, 1 for those that share no class.

    Raises
    ------
    ValueError
        If a value is negative or not finite, a row does not add up to 1, or shapes
        differ.

    References
    ----------
    Lin (1991). Divergence measures based on the Shannon entropy. IEEE Trans. Inf.
    Theory 37, 145-151. doi:10.1109/18.61115

    Examples
    --------
    >>> float(jensen_shannon([1.0, 0.0], [0.0, 1.0]))
    1.0
    """
    first = check_array("p", np.asarray(p, np.float64), finite=True)
    second = check_array("q", np.asarray(q, np.float64), finite=True)
    if first.shape != second.shape or first.ndim == 0:
        raise ValueError(
            f"`p` and `q` must have the same shape (..., n_classes); got {first.shape} "
            f"and {second.shape}."
        )
    for name, rows in (("p", first), ("q", second)):
        if (rows < 0).any() or (np.abs(rows.sum(axis=-1) - 1) > 1e-6).any():
            raise ValueError(f"Rows of `{name}` must be 0 or more and add up to 1.")
    middle = (first + second) / 2
    nats = (rel_entr(first, middle) + rel_entr(second, middle)).sum(axis=-1) / 2
    bits: FloatArray = np.clip(nats / np.log(2), 0, 1)
    return bits


def _pair(
    name: str, value: ArrayLike | None, other_name: str, other: ArrayLike | None
) -> tuple[FloatArray | None, FloatArray | None]:
    if value is None and other is None:
        return None, None
    if value is None or other is None:
        raise ValueError(f"`{name}` and `{other_name}` must be given together.")
    first = check_array(name, np.asarray(value, np.float64), shape=(None, None))
    second = np.asarray(other, np.float64)
    check_array(other_name, second, shape=first.shape, finite=True)
    return check_array(name, first, finite=True), second


def _targets(targets: ArrayLike | None, logits: FloatArray) -> NDArray[np.int64]:
    if targets is None:
        return logits.argmax(axis=1)
    wanted = check_array("targets", targets, shape=(len(logits),))
    n_classes = logits.shape[1]
    if not np.issubdtype(wanted.dtype, np.integer) or (
        len(wanted) and not (wanted.min() >= 0 and wanted.max() < n_classes)
    ):
        raise ValueError(
            f"`targets` must be whole numbers from 0 to {n_classes - 1}; got "
            f"{wanted.dtype} {wanted[:3].tolist()}."
        )
    return wanted.astype(np.int64)
