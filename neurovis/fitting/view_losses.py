"""Objectives of training without labels, on two batches of embeddings.

Row i of both batches belongs to the same picture. Sums are made in float32, also under
autocast; float64 stays float64. Values that are not finite give NaN.
"""

import torch
from torch import Tensor
from torch.nn import functional

from neurovis.core.checks import check_between

# Cosines this close are equal but for rounding in float64.
_TIE = 1e-9


def nt_xent(a: Tensor, b: Tensor, temperature: float = 0.2) -> Tensor:
    """Return the contrastive loss of two views per picture.

    For each of the 2B views, the cross-entropy of finding its partner p among the
    2B - 1 others by cosines: ``-log(exp(s_ip / t) / sum_{k != i} exp(s_ik / t))``.

    Parameters
    ----------
    a, b : Tensor of float, shape (B, n_features), B >= 2
        Embeddings of the first and the second views. The lengths of rows do not
        matter; a row of zeros has no direction, and cosines of 0.
    temperature : float, default 0.2
        t, > 0.

    Returns
    -------
    Tensor, shape ()
        Mean over views, >= 0; ``log(2B - 1)`` when all embeddings are equal.

    Raises
    ------
    TypeError, ValueError
        If the batches are not two matrices of one shape, or the temperature is not
        above 0.

    References
    ----------
    Chen, Kornblith, Norouzi & Hinton (2020), doi:10.48550/arXiv.2002.05709.

    Examples
    --------
    >>> a = torch.eye(2)
    >>> round(nt_xent(a, a, temperature=1).item(), 4)
    0.5514
    """
    if check_between("temperature", temperature, low=0) == 0:
        raise ValueError("`temperature` must be above 0; got 0.")
    a, b = _check_pair(a, b)
    n_pictures = len(a)
    with torch.autocast(a.device.type, enabled=False):
        similarity = _cosines(a, b) / temperature
        itself = torch.eye(2 * n_pictures, dtype=torch.bool, device=a.device)
        similarity = similarity.masked_fill(itself, -torch.inf)
        return functional.cross_entropy(similarity, _partners(a))


def distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Return how far a student is from the features of a teacher.

    ``1 - mean over features of Pearson's r`` over the batch; this is half the mean
    squared error between features that were standardised over the batch. Gains and
    offsets of single features do not matter; any other map from the student's features
    to the teacher's, such as a linear one that is trained with it, is the caller's.

    Parameters
    ----------
    student : Tensor of float, shape (B, n_features), B >= 2
        Prediction of the teacher's features.
    teacher : Tensor of float, shape (B, n_features)
        Features to learn; they get no gradient.

    Returns
    -------
    Tensor, shape ()
        From 0 to 2. Features for which r is not defined, because one of the two is
        constant over the batch, are left out and get no gradient; NaN where all are.

    Raises
    ------
    TypeError, ValueError
        If the batches are not two matrices of one shape.

    Notes
    -----
    The idea of learning from another network's output is that of Hinton et al. (2015),
    of learning its features through a trained map that of Romero et al. (2015); both
    use other losses.

    References
    ----------
    Hinton, Vinyals & Dean (2015), doi:10.48550/arXiv.1503.02531; Romero et al. (2015),
    doi:10.48550/arXiv.1412.6550.

    Examples
    --------
    >>> x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    >>> round(distillation(3 * x - 1, x).item(), 4)
    0.0
    >>> round(distillation(-x, x).item(), 4)
    2.0
    """
    student, teacher = _check_pair(student, teacher, ("student", "teacher"))
    teacher = teacher.detach()
    with torch.autocast(student.device.type, enabled=False):
        is_defined = _varies(student) & _varies(teacher)
        x, y = (_standardised(v, is_defined) for v in (student, teacher))
        distances = (x - y).square().sum(0) / 2
        return torch.where(is_defined, distances, 0).sum() / is_defined.sum()


def retrieval_accuracy(a: Tensor, b: Tensor) -> float:
    """Return how often the nearest other view is the one of the same picture.

    Parameters
    ----------
    a, b : Tensor of float, shape (B, n_features), B >= 2
        Embeddings of the first and the second views.

    Returns
    -------
    float
        Share of the 2B views whose partner has the largest cosine among the 2B - 1
        others, from 0 to 1. Partners that share the first place with others count by
        their part, so that equal embeddings give chance, ``1 / (2B - 1)``. NaN if a
        value is not finite.

    Raises
    ------
    TypeError, ValueError
        If the batches are not two matrices of one shape.

    Examples
    --------
    >>> retrieval_accuracy(torch.eye(3), torch.eye(3))
    1.0
    """
    a, b = _check_pair(a, b)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        # Not every accelerator has float64.
        a, b = a.cpu().double(), b.cpu().double()
        similarity = _cosines(a, b)
        similarity.fill_diagonal_(-torch.inf)
        is_first = similarity >= similarity.amax(1, keepdim=True) - _TIE
        hits = is_first.gather(1, _partners(a)[:, None])[:, 0].double()
        return float((hits / is_first.sum(1)).mean())


def _check_pair(
    a: Tensor, b: Tensor, names: tuple[str, str] = ("a", "b")
) -> tuple[Tensor, Tensor]:
    """Return both in one dtype, float32 or float64."""
    for name, value in zip(names, (a, b), strict=True):
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"`{name}` must be a tensor of floats; got {kind}.")
    if a.ndim != 2 or a.shape != b.shape or len(a) < 2 or not a.shape[1]:
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` must have one shape (B, n_features), with "
            f"B of 2 or more; got {tuple(a.shape)} and {tuple(b.shape)}."
        )
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    views = functional.normalize(torch.cat([a, b]), dim=1)
    return views @ views.T


def _partners(a: Tensor) -> Tensor:
    """Return which view belongs to each of the 2B views."""
    return torch.arange(2 * len(a), device=a.device).roll(len(a))


def _varies(values: Tensor) -> Tensor:
    # The mean of equal numbers is not always that number. NaN is unlike itself, and so
    # is not left out in silence.
    return values.amax(0) != values.amin(0)


def _standardised(values: Tensor, is_defined: Tensor) -> Tensor:
    """Centre columns and give them length 1; the others become 0."""
    centred = torch.where(is_defined, values - values.mean(0), 0)
    # Scaled first: squares of tiny or huge numbers leave the range of float32.
    centred = centred / torch.where(is_defined, centred.detach().abs().amax(0), 1)
    squares = centred.square().sum(0)
    return centred / torch.where(is_defined, squares, 1).sqrt()
