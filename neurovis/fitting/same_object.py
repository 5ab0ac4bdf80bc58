"""Probes of object binding: whether two tokens of a picture are of one object.

A probe gives every ordered pair of tokens a logit. The linear one adds up what each
token says alone; the two quadratic ones compare tokens. Fitting is in
`neurovis.fitting.same_object_fit`.

References
----------
Li, Salehi, Ungar and Kording (2025). Does object binding naturally emerge in large
pretrained vision transformers? arXiv:2510.24709. Formulas as in the public code
liyihao0302/vit-object-binding.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from neurovis.core.checks import check_array, check_between, check_option, check_whole

FloatArray = NDArray[np.float64]

PROBES = ("linear", "diagonal", "quadratic")
"""Kinds of probes, from the weakest to the strongest."""


@dataclass(frozen=True, eq=False)
class PairProbe:
    """A probe with its weights.

    Parameters
    ----------
    kind : {"linear", "diagonal", "quadratic"}
        Formula, see `pair_logits`.
    weights : ndarray of float64, shape (n_channels,) or (n_channels, n_channels)
        W of the quadratic probe, w of the others.
    bias : float
        Added to every logit, twice by the linear probe.

    Raises
    ------
    ValueError
        If the kind is unknown, or shapes do not fit.
    """

    kind: str
    weights: FloatArray
    bias: float

    def __post_init__(self) -> None:
        _check_weights(self.kind, self.weights)
        check_between("bias", self.bias)

    @property
    def form(self) -> FloatArray:
        """S, where the logit is ``x S y + b``, of a probe that compares tokens."""
        if self.kind == "linear":
            raise ValueError("A linear probe compares no tokens and has no form.")
        if self.kind == "diagonal":
            return np.diag(self.weights)
        return quadratic_form(self.weights)

    def logits(self, tokens: ArrayLike) -> FloatArray:
        """Return the logits of all ordered pairs of tokens.

        Parameters
        ----------
        tokens : array_like of float, shape (..., n_tokens, n_channels)
            Tokens of one or more pictures.

        Returns
        -------
        ndarray of float64, shape (..., n_tokens, n_tokens)
            Above 0 for "the same object".
        """
        return pair_logits(self.kind, tokens, self.weights, self.bias)


def pair_logits(
    kind: str, tokens: ArrayLike, weights: ArrayLike, bias: float = 0.0
) -> FloatArray:
    """Compute the logits of all ordered pairs of tokens.

    Parameters
    ----------
    kind : {"linear", "diagonal", "quadratic"}
        For tokens x and y of C channels

        - linear: ``w x + b + w y + b`` (the bias enters twice);
        - diagonal: ``w (x * y) + b``;
        - quadratic: ``x S y + b`` with ``S = (W + W') / (2 sqrt(C))``.
    tokens : array_like of float, shape (..., n_tokens, n_channels)
        Tokens of one or more pictures.
    weights : array_like of float, shape (n_channels,) or (n_channels, n_channels)
        W of the quadratic probe, w of the others.
    bias : float, default 0
        b.

    Returns
    -------
    ndarray of float64, shape (..., n_tokens, n_tokens)
        Symmetric; above 0 for "the same object".

    Raises
    ------
    ValueError
        If the kind is unknown, shapes do not fit, or a value is not finite.

    Examples
    --------
    >>> pair_logits("linear", [[1.0], [3.0]], [2.0], 0.5).tolist()
    [[5.0, 9.0], [9.0, 13.0]]
    >>> pair_logits("diagonal", [[1.0], [3.0]], [2.0], 0.5).tolist()
    [[2.5, 6.5], [6.5, 18.5]]
    """
    w = _check_weights(kind, weights)
    x = check_array("tokens", np.asarray(tokens, np.float64), finite=True)
    if x.ndim < 2 or x.shape[-1] != w.shape[-1]:
        raise ValueError(
            f"`tokens` must have shape (..., n_tokens, {w.shape[-1]}), as the weights "
            f"have; got {x.shape}."
        )
    check_between("bias", bias)
    found = tensor_logits(
        kind,
        torch.from_numpy(np.ascontiguousarray(x)),
        torch.from_numpy(np.ascontiguousarray(w)),
        torch.tensor(float(bias), dtype=torch.float64),
    )
    return np.asarray(found.numpy())


def tensor_logits(kind: str, tokens: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Compute `pair_logits` of tensors, with gradients.

    Parameters
    ----------
    kind : {"linear", "diagonal", "quadratic"}
        Formula.
    tokens : Tensor, shape (..., n_tokens, n_channels)
        Tokens.
    weights : Tensor, shape (n_channels,) or (n_channels, n_channels)
        W of the quadratic probe, w of the others.
    bias : Tensor, shape ()
        b.

    Returns
    -------
    Tensor, shape (..., n_tokens, n_tokens)
        Logits.
    """
    if kind == "linear":
        alone = tokens @ weights + bias
        return alone.unsqueeze(-1) + alone.unsqueeze(-2)
    if kind == "diagonal":
        return (tokens * weights) @ tokens.mT + bias
    form = (weights + weights.mT) / (2 * math.sqrt(len(weights)))
    return tokens @ form @ tokens.mT + bias


def quadratic_form(weights: ArrayLike) -> FloatArray:
    """Return S of the quadratic probe, ``(W + W') / (2 sqrt(C))``.

    Parameters
    ----------
    weights : array_like of float, shape (n_channels, n_channels)
        W.

    Returns
    -------
    ndarray of float64, shape (n_channels, n_channels)
        Symmetric.

    Raises
    ------
    ValueError
        If W is not square or not finite.

    Examples
    --------
    >>> quadratic_form(2 * np.eye(4)).diagonal().tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    w = _check_weights("quadratic", weights)
    return np.asarray((w + w.T) / (2 * math.sqrt(len(w))))


# ------------------------------------------------------------------- measures


def same_pairs(labels: ArrayLike) -> NDArray[np.bool_]:
    """Tell which ordered pairs of tokens have the same label.

    Parameters
    ----------
    labels : array_like of int, shape (..., n_tokens)
        Objects; the ground counts as one.

    Returns
    -------
    ndarray of bool, shape (..., n_tokens, n_tokens)
        True where they are equal.

    Examples
    --------
    >>> same_pairs([0, 1, 0]).astype(int).tolist()
    [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    """
    marks = np.asarray(labels)
    if marks.ndim < 1:
        raise ValueError("`labels` must have one label per token; got one number.")
    return np.asarray(marks[..., :, None] == marks[..., None, :])


def pair_loss(logits: ArrayLike, labels: ArrayLike) -> float:
    """Compute the binary cross-entropy over all ordered pairs, self pairs too.

    Parameters
    ----------
    logits : array_like of float, shape (..., n_tokens, n_tokens)
        Of `pair_logits`.
    labels : array_like of int, shape (..., n_tokens)
        Objects.

    Returns
    -------
    float
        Mean in nats.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> round(pair_loss(np.zeros((2, 2)), [0, 1]), 4)  # log 2
    0.6931
    """
    z, same = _check_pairs(logits, labels)
    return float(np.mean(np.logaddexp(0.0, z) - same * z))


def pair_accuracy(
    logits: ArrayLike, labels: ArrayLike, *, diagonal: bool = True
) -> float:
    """Compute the share of pairs that are judged rightly.

    Parameters
    ----------
    logits : array_like of float, shape (..., n_tokens, n_tokens)
        Of `pair_logits`; "the same" where above 0.
    labels : array_like of int, shape (..., n_tokens)
        Objects.
    diagonal : bool, default True
        Count the pair of each token with itself, as the published measure does.

    Returns
    -------
    float
        Over the upper triangle, 0..1; NaN where it has no pair.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> pair_accuracy([[1.0, -1.0], [-1.0, 1.0]], [0, 0])
    0.6666666666666666
    >>> pair_accuracy([[1.0, -1.0], [-1.0, 1.0]], [0, 0], diagonal=False)
    0.0
    """
    z, same = _check_pairs(logits, labels)
    rows, columns = np.triu_indices(z.shape[-1], k=0 if diagonal else 1)
    right = ((z > 0) == same)[..., rows, columns]
    return float(right.mean()) if right.size else float("nan")


# ----------------------------------------------------------- rank and ablation


def form_spectrum(form: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Compute eigenvalues and eigenvectors of S, the largest in size first.

    Parameters
    ----------
    form : array_like of float, shape (n_channels, n_channels)
        Symmetric, as `PairProbe.form`.

    Returns
    -------
    values : ndarray of float64, shape (n_channels,)
        By falling absolute value; negative ones speak for different objects.
    vectors : ndarray of float64, shape (n_channels, n_channels)
        Columns in the same order, orthonormal; the largest entry of each is positive.

    Raises
    ------
    ValueError
        If the form is not square, symmetric and finite.

    Examples
    --------
    >>> form_spectrum(np.diag([1.0, -3.0]))[0].tolist()
    [-3.0, 1.0]
    """
    s = check_array("form", np.asarray(form, np.float64), shape=(None, None))
    if s.shape[0] != s.shape[1] or not np.allclose(s, s.T):  # NaN is not close
        raise ValueError(f"`form` must be symmetric and finite; got shape {s.shape}.")
    values, vectors = np.linalg.eigh(s)
    order = np.argsort(-np.abs(values), kind="stable")
    values, vectors = values[order], vectors[:, order]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))]
    return values, vectors * np.where(largest < 0, -1.0, 1.0)


def truncate_probe(probe: PairProbe, rank: int) -> PairProbe:
    """Keep the largest eigenvalues of S only.

    Parameters
    ----------
    probe : PairProbe
        A quadratic or diagonal probe.
    rank : int
        Eigenvalues to keep, at most as many as there are channels.

    Returns
    -------
    PairProbe
        A quadratic probe with the same bias.

    Raises
    ------
    TypeError, ValueError
        If the probe is linear or the rank out of range.

    Examples
    --------
    >>> full = PairProbe("diagonal", np.array([1.0, -3.0]), 0.0)
    >>> np.diag(truncate_probe(full, 1).form).tolist()
    [0.0, -3.0]
    """
    values, vectors = form_spectrum(probe.form)
    kept = check_whole("rank", rank, low=1, high=len(values))
    part = vectors[:, :kept]
    form = (part * values[:kept]) @ part.T
    # W is symmetric here: S = W / sqrt(C).
    return PairProbe("quadratic", form * math.sqrt(len(form)), probe.bias)


def ablate_directions(
    tokens: ArrayLike, directions: ArrayLike, amount: float = 1.0
) -> FloatArray:
    """Take what lies in a subspace out of tokens, ``x - amount P x``.

    Parameters
    ----------
    tokens : array_like of float, shape (..., n_channels)
        Tokens.
    directions : array_like of float, shape (n_channels, n_directions)
        Orthonormal columns, such as the first eigenvectors of S; P projects on them.
    amount : float, default 1
        0 leaves the tokens, 1 takes all of it out.

    Returns
    -------
    ndarray of float64, shape (..., n_channels)
        New tokens.

    Raises
    ------
    ValueError
        If shapes do not fit, or the columns are not orthonormal.

    Examples
    --------
    >>> ablate_directions([[2.0, 3.0]], [[1.0], [0.0]], 0.5).tolist()
    [[1.0, 3.0]]
    """
    x, basis = _check_subspace(tokens, directions)
    check_between("amount", amount)
    return np.asarray(x - amount * ((x @ basis) @ basis.T))


def shuffle_directions(
    tokens: ArrayLike, directions: ArrayLike, rng: np.random.Generator
) -> FloatArray:
    """Exchange what lies in a subspace among the tokens of each picture.

    Parameters
    ----------
    tokens : array_like of float, shape (..., n_tokens, n_channels)
        Tokens of one or more pictures.
    directions : array_like of float, shape (n_channels, n_directions)
        Orthonormal columns.
    rng : numpy.random.Generator
        Draws an order for every picture.

    Returns
    -------
    ndarray of float64, shape (..., n_tokens, n_channels)
        The subspace holds the same vectors, at other places; the rest is unchanged.

    Raises
    ------
    ValueError
        If shapes do not fit, or the columns are not orthonormal.
    """
    x, basis = _check_subspace(tokens, directions)
    if x.ndim < 2:
        raise ValueError(f"`tokens` must have two axes or more; got shape {x.shape}.")
    inside = x @ basis
    order = np.argsort(rng.random(x.shape[:-1]), axis=-1)[..., None]
    return np.asarray(x + (np.take_along_axis(inside, order, -2) - inside) @ basis.T)


# --------------------------------------------------------------------- checks


def _check_weights(kind: str, weights: ArrayLike) -> FloatArray:
    check_option("kind", kind, PROBES)
    axes = (None, None) if kind == "quadratic" else (None,)
    w = check_array("weights", np.asarray(weights, np.float64), shape=axes, finite=True)
    if w.shape[0] != w.shape[-1] or not w.size:
        raise ValueError(f"`weights` must be square and not empty; got {w.shape}.")
    return w


def _check_pairs(
    logits: ArrayLike, labels: ArrayLike
) -> tuple[FloatArray, NDArray[np.bool_]]:
    same = same_pairs(labels)
    z = check_array("logits", np.asarray(logits, np.float64), shape=same.shape)
    return z, same


def _check_subspace(
    tokens: ArrayLike, directions: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    x = np.asarray(tokens, np.float64)
    if x.ndim < 1:
        raise ValueError("`tokens` must have channels; got one number.")
    basis = check_array(
        "directions", np.asarray(directions, np.float64), shape=(x.shape[-1], None)
    )
    if not np.allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-6):
        raise ValueError("`directions` must have orthonormal columns.")
    return x, basis
