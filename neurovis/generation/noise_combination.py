"""How predictions of noise for several views become one.

References
----------
Diffusion-based visual anagram as multi-task learning (2025). WACV. arXiv:2412.02693.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from neurovis.core.checks import check_between

PUBLISHED_STEPS = 30
"""Steps of the runs for which `balance_weights` was made."""

# The greatest overlap of two maps, and how much less of it each further view asks for.
_MOST_OVERLAP, _LESS_OVERLAP = 0.5, 0.05
# Where views cancel each other, nothing can be restored.
_LEAST_VARIANCE = 1e-6
_LEAST_ALIGNMENT = 1e-6


def balance_weights(alignments: Tensor, step: float) -> Tensor:
    """Return weights that favour views that are poorly expressed, ever more so.

    Parameters
    ----------
    alignments : Tensor, shape (k, ...)
        How well each view shows what it should, > 0.
    step : float
        Steps that are done, of 30.

    Returns
    -------
    Tensor of float64, shape (k, ...)
        Proportional to ``alignments ** (-1 - step / 30)``; they sum to 1.

    Raises
    ------
    TypeError, ValueError
        If an alignment is not positive, or the step negative.

    References
    ----------
    arXiv:2412.02693.

    Examples
    --------
    >>> balance_weights(torch.tensor([0.3, 0.2]), 0).numpy().round(6).tolist()
    [0.4, 0.6]
    """
    check_between("step", step, low=0)
    if not (alignments > 0).all():
        raise ValueError("`alignments` must be positive: see `to_alignments`.")
    exponent = -1 - step / PUBLISHED_STEPS
    return torch.softmax(exponent * alignments.double().log(), 0)


def to_alignments(
    objectives: Tensor, baselines: Sequence[tuple[float, float]] | None = None
) -> Tensor:
    """Return objectives, which may be negative, as positive alignments.

    Parameters
    ----------
    objectives : Tensor, shape (k, n)
        Of k views of n samples, such as mean z-scored responses.
    baselines : sequence of (float, float), optional
        Mean and standard deviation of the objective of each view over unguided images;
        0 and 1 by default.

    Returns
    -------
    Tensor of float64, shape (k, n)
        ``log(1 + exp(z))``: .69 for views that are expressed as in any image, close to
        z far above, close to 0 far below.

    Raises
    ------
    TypeError, ValueError
        If there is not one baseline per view, or a standard deviation is not positive.

    Examples
    --------
    >>> to_alignments(torch.tensor([[0.0], [2.0]])).numpy().round(3).tolist()
    [[0.693], [2.127]]
    """
    z = objectives.double()
    if baselines is not None:
        check_baselines(baselines, len(objectives))
        mean, sd = torch.tensor(baselines, dtype=torch.float64).to(z.device).T
        z = (z - mean[:, None]) / sd[:, None]
    return F.softplus(z).clamp(min=_LEAST_ALIGNMENT)


def rectification(weights: Tensor, correlations: Tensor) -> Tensor:
    """Return the factor that gives combined noise its variance back.

    Parameters
    ----------
    weights : Tensor, shape (k, ...)
        Of k predictions of noise.
    correlations : Tensor, shape (k, k, ...)
        Between them; 1 on the diagonal.

    Returns
    -------
    Tensor of float64, shape (...)
        ``1 / sqrt(sum_ij weights_i weights_j correlations_ij)``: 1 for equal noise.

    References
    ----------
    arXiv:2412.02693.

    Examples
    --------
    >>> rho = torch.tensor([[1.0, 0.4], [0.4, 1.0]])
    >>> round(float(rectification(torch.tensor([0.5, 0.5]), rho)), 6)
    1.195229
    """
    pairs = weights.double()[:, None] * weights.double()[None]
    variance = (pairs * correlations.double()).sum((0, 1))
    return variance.clamp(min=_LEAST_VARIANCE).rsqrt()


def correlate_noises(noises: Tensor) -> Tensor:
    """Return the correlations of predictions of noise, around 0.

    Parameters
    ----------
    noises : Tensor, shape (k, n, C, h, w)
        K predictions for n samples.

    Returns
    -------
    Tensor of float64, shape (k, k, n)
        Mean products, divided by the root mean squares.

    Notes
    -----
    The paper (arXiv:2412.02693) takes mean products, for noise of unit variance. That
    of a single sample differs from 1 by a few percent, and a factor for it would scale
    all noise: the first steps, where next to no signal is left, multiply such an error
    by a thousand. Equal predictions must give a factor of 1.
    """
    flat = noises.flatten(2).double().movedim(1, 0)
    unit = F.normalize(flat, dim=2)
    return (unit @ unit.mT).movedim(0, 2)


def combine_noise(noises: Tensor, weights: Tensor, *, rectify: bool = True) -> Tensor:
    """Return the weighted sum of predictions of noise, with the variance of each.

    Parameters
    ----------
    noises : Tensor of float32, shape (k, n, C, h, w)
        Predictions for k views, mapped back to the picture.
    weights : Tensor, shape (k,) or (k, n)
        Of views, or of views for each sample.
    rectify : bool, default True
        Multiply by `rectification`: the mean of different noise has less variance
        than each, and pictures from it are grey and smooth.

    Returns
    -------
    Tensor of float32, shape (n, C, h, w)
        The sum.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if noises.ndim != 5 or weights.shape not in (noises.shape[:1], noises.shape[:2]):
        raise ValueError(
            "`noises` and `weights` must have the shapes (k, n, C, h, w) and (k,) or "
            f"(k, n); got {tuple(noises.shape)} and {tuple(weights.shape)}."
        )
    shares = weights.double().to(noises.device)
    if shares.ndim == 1:
        shares = shares[:, None].expand(noises.shape[:2])
    if rectify and len(noises) > 1:
        shares = shares * rectification(shares, correlate_noises(noises))
    return (shares.to(noises)[..., None, None, None] * noises).sum(0)


def segregation_loss(maps: Tensor) -> Tensor:
    """Return how far views are from drawing on the same places of a picture.

    Parameters
    ----------
    maps : Tensor, shape (k, n, h, w)
        Where in the picture each of k >= 2 views finds its content, >= 0, mapped back
        to the picture. Gradients can flow.

    Returns
    -------
    Tensor, shape (n,)
        Mean over pairs of ``|target - sum(min) / sum(both)|``, where the target is .5,
        full overlap, less .05 for each view after the first. NaN where both maps of a
        pair are 0.

    Raises
    ------
    ValueError
        If there are fewer than two views, or negative values.

    References
    ----------
    arXiv:2412.02693.

    Examples
    --------
    >>> first, second = [0.5, 0.5, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0]
    >>> maps = torch.tensor([[[first]], [[second]]])
    >>> round(float(segregation_loss(maps)), 6)
    0.2
    """
    if maps.ndim != 4 or len(maps) < 2:
        raise ValueError(
            "`maps` must have the shape (k, n, h, w) with two views or more; got "
            f"{tuple(maps.shape)}."
        )
    if (maps < 0).any():
        raise ValueError("`maps` must not be negative.")
    target = _MOST_OVERLAP - _LESS_OVERLAP * (len(maps) - 1)
    losses = []
    for one, other in combinations(maps, 2):
        shared = torch.minimum(one, other).sum((1, 2))
        losses.append((target - shared / (one + other).sum((1, 2))).abs())
    return torch.stack(losses).mean(0)


def check_baselines(baselines: Sequence[tuple[float, float]], n_views: int) -> None:
    """Raise unless there is a mean and a standard deviation for each view.

    Parameters
    ----------
    baselines : sequence of (float, float)
        What came.
    n_views : int
        Views.

    Raises
    ------
    TypeError, ValueError
        If there are more or fewer, or a standard deviation is not positive.
    """
    if len(baselines) != n_views:
        raise ValueError(
            f"`baselines` must hold a mean and a standard deviation per view "
            f"({n_views}); got {len(baselines)}."
        )
    for mean, sd in baselines:
        check_between("baselines", mean)
        check_between("baselines", sd, low=0)
        if sd == 0:
            raise ValueError("Standard deviations in `baselines` must not be 0.")
