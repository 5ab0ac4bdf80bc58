"""How much of a measured response can be explained at all.

The definitions of the Natural Scenes Dataset (Allen et al. 2022, Nat Neurosci 25,
116-126, doi:10.1038/s41593-021-00962-x), from variances to ceilings.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def signal_to_noise(
    noise_variance: ArrayLike, total_variance: ArrayLike
) -> NDArray[np.float64]:
    """Return the noise-ceiling signal-to-noise ratio, ncsnr.

    ``sqrt(max(total - noise, 0)) / sqrt(noise)``: standard deviation of the signal
    over images, divided by that of the noise over trials.

    Parameters
    ----------
    noise_variance : array_like of float, shape (n_units,)
        Variance over repeats of an image (ddof 1), averaged over images.
    total_variance : array_like of float, shape (n_units,)
        Variance over all single trials of these images (ddof 1).

    Returns
    -------
    ndarray of float64, shape (n_units,)
        >= 0; NaN where a variance is NaN or both are 0, inf without noise.

    Raises
    ------
    ValueError
        If the shapes differ or a variance is negative.

    Examples
    --------
    >>> signal_to_noise([1.0, 1.0], [1.25, 0.9]).tolist()
    [0.5, 0.0]
    """
    noise = np.asarray(noise_variance, np.float64)
    total = np.asarray(total_variance, np.float64)
    if noise.shape != total.shape or (noise < 0).any() or (total < 0).any():
        raise ValueError(
            "`noise_variance` and `total_variance` must have one shape and be >= 0; "
            f"got {noise.shape} and {total.shape}."
        )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.sqrt(np.maximum(total - noise, 0)) / np.sqrt(noise)


def repeat_factor(n_repeats: ArrayLike) -> float:
    """Return kappa, the share of single-trial noise variance that averaging leaves.

    The mean of 1/n over images. With A, B and C images averaged over three, two and
    one trials this is ``(A/3 + B/2 + C) / (A + B + C)``.

    Parameters
    ----------
    n_repeats : array_like of int, shape (n_images,)
        Trials averaged for each evaluated image, >= 1.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If there are no images or a number is below 1.

    Examples
    --------
    >>> repeat_factor([2, 2, 1, 1])
    0.75
    """
    counts = np.asarray(n_repeats, np.float64)
    if counts.ndim != 1 or not len(counts) or not (counts >= 1).all():
        raise ValueError(
            "`n_repeats` must be one whole number >= 1 per evaluated image; got "
            f"shape {counts.shape}"
            + (f" with the smallest {counts.min():g}." if counts.size else ".")
        )
    return float((1 / counts).mean())


def explainable_fraction(ncsnr: ArrayLike, n_repeats: ArrayLike) -> NDArray[np.float64]:
    """Return the noise ceiling: explainable variance of averaged responses.

    ``ncsnr**2 / (ncsnr**2 + kappa)`` with `repeat_factor`. It bounds R2, so that it
    divides r**2; r itself is divided by its root.

    Parameters
    ----------
    ncsnr : array_like of float, shape (n_units,)
        From `signal_to_noise`, >= 0.
    n_repeats : array_like of int, shape (n_images,)
        Trials averaged for each evaluated image.

    Returns
    -------
    ndarray of float64, shape (n_units,)
        Between 0 and 1; NaN where `ncsnr` is.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> explainable_fraction([1.0, 0.0], [3, 3, 3]).tolist()
    [0.75, 0.0]
    """
    ratio = np.asarray(ncsnr, np.float64)
    if (ratio < 0).any():
        raise ValueError(f"`ncsnr` must be >= 0; got {np.nanmin(ratio):g}.")
    # Written with 1/ncsnr**2, because inf / inf would be undefined.
    with np.errstate(divide="ignore", over="ignore"):
        return 1 / (1 + repeat_factor(n_repeats) / ratio**2)
