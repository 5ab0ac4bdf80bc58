"""Sparse activations: keep the strongest units, silence the others."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_between, check_option


def keep_top_k(
    tokens: ArrayLike,
    share: float,
    *,
    per: str = "token",
    by: str = "magnitude",
) -> NDArray[np.float32]:
    """Keep the largest activations, and set all others to 0.

    Parameters
    ----------
    tokens : array_like of float, shape (..., rows, columns, n_channels)
        Activations at the places of pictures, such as those of
        `tasks.picture_features.read_tokens`.
    share : float
        Share of the units that is kept, 0 < share <= 1; at least one is.
    per : {"token", "channel"}
        Whether the channels of one place compete, or the places of one channel.
    by : {"magnitude", "value"}
        What is largest: the absolute value, or the value. After a rectifier both are
        the same.

    Returns
    -------
    ndarray of float32, shape (..., rows, columns, n_channels)
        ``K = max(1, round(share n))`` of n competing units keep their activation.
        Units that equal the smallest one kept are kept too.

    Raises
    ------
    TypeError, ValueError
        If `share` is out of range, an option is unknown, or `tokens` has fewer than
        three axes.

    Notes
    -----
    Li et al. (2023, "Emergence of shape bias in convolutional neural networks through
    activation sparsity") let the places of a channel compete.

    Examples
    --------
    >>> keep_top_k(np.array([[[0.1, -3.0, 2.0, 0.5]]]), 0.5).tolist()
    [[[0.0, -3.0, 2.0, 0.0]]]
    """
    check_option("per", per, ("token", "channel"))
    check_option("by", by, ("magnitude", "value"))
    check_between("share", share, low=0, high=1)
    if share == 0:
        raise ValueError("`share` must be above 0: with 0 nothing would be kept.")
    x = np.asarray(tokens, np.float32)
    if x.ndim < 3:
        raise ValueError(
            f"`tokens` must have shape (..., rows, columns, n_channels); got {x.shape}."
        )
    # (..., groups, units that compete with each other)
    places = x.reshape(*x.shape[:-3], -1, x.shape[-1])
    groups = places if per == "token" else np.swapaxes(places, -1, -2)
    strength = np.abs(groups) if by == "magnitude" else groups
    n = groups.shape[-1]
    k = max(1, round(share * n))
    least = np.partition(strength, n - k, axis=-1)[..., n - k : n - k + 1]
    kept = np.where(strength >= least, groups, np.float32(0))
    if per == "channel":
        kept = np.swapaxes(kept, -1, -2)
    return np.ascontiguousarray(kept.reshape(x.shape))
