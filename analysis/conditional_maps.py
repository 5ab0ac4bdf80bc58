"""Measures of predictions of the next fixation, given those before it.

A model that is given the first fixations of a person predicts a map for the next one.
The maps of all steps of all scanpaths form one stack, and each has at most one
fixation; steps without a next fixation score NaN and drop out of averages
(`numpy.nanmean` over all steps, as published). For the steps of a scanpath::

    human = fixated_pixels(x_px, y_px, shape, map_index=np.arange(len(x_px)))

References
----------
Yang et al. (2024), Unifying top-down and bottom-up scanpath prediction using
transformers (HAT), doi:10.1109/CVPR52733.2024.00166.
"""

from typing import Any

import numpy as np

from analysis.fixated_pixels import FixatedPixels, FloatArray, check_maps
from analysis.fixation_auc import pixel_ranks
from analysis.fixation_maps import information_gain_per_fixation, standardised_at


def conditional_information_gain(
    pred: Any, human: FixatedPixels, baseline: Any
) -> FloatArray:
    """Compute the information gain at the next fixation (cIG).

    Parameters
    ----------
    pred : array-like of float, shape (n_steps, H, W)
        Predicted maps, not negative; each is divided by its sum.
    human : FixatedPixels
        The next fixation of each step, one group per step.
    baseline : array-like of float, shape (H, W) or (n_steps, H, W)
        Map of the baseline, such as a centre bias; divided by its sum.

    Returns
    -------
    ndarray of float64, shape (n_steps,)
        Bits; NaN for a step without a next fixation.

    Raises
    ------
    ValueError
        If maps and fixations do not fit, or a step has more than one fixation.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> step = fixated_pixels([0], [0], (1, 4))
    >>> conditional_information_gain([[2, 1, 1, 0]], step, [[1, 1, 1, 1]])
    array([1.])
    """
    _check_steps(human)
    gain = information_gain_per_fixation(pred, human, baseline)
    return _per_step(gain, human)


def conditional_nss(pred: Any, human: FixatedPixels) -> FloatArray:
    """Compute the normalised scanpath saliency at the next fixation (cNSS).

    Parameters
    ----------
    pred : array-like of float, shape (n_steps, H, W)
        Predicted maps.
    human : FixatedPixels
        The next fixation of each step, one group per step.

    Returns
    -------
    ndarray of float64, shape (n_steps,)
        In sample standard deviations of the map; 0 on a constant map; NaN for a step
        without a next fixation.

    Raises
    ------
    ValueError
        If maps and fixations do not fit, or a step has more than one fixation.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> step = fixated_pixels([0], [0], (1, 3))
    >>> conditional_nss([[2.0, 1.0, 0.0]], step)
    array([1.])
    """
    _check_steps(human)
    return _per_step(standardised_at("pred", pred, human, ddof=1, constant=0.0), human)


def conditional_auc(pred: Any, human: FixatedPixels) -> FloatArray:
    """Compute the area under the curve of the next fixation (cAUC).

    The curve has a single point between its ends, at the value of the fixation, so
    that the area is 1 - f / 2 with f the share of the other pixels at or above it: at
    least 0.5, and 0.75 by chance. The exact area, with 0.5 by chance, is
    `fixation_auc.auc`.

    Parameters
    ----------
    pred : array-like of float, shape (n_steps, H, W)
        Predicted maps.
    human : FixatedPixels
        The next fixation of each step, one group per step.

    Returns
    -------
    ndarray of float64, shape (n_steps,)
        0.5..1; NaN for a step without a next fixation.

    Raises
    ------
    ValueError
        If maps and fixations do not fit, or a step has more than one fixation.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> step = fixated_pixels([1], [0], (1, 3))
    >>> conditional_auc([[2.0, 1.0, 0.0]], step)
    array([0.75])
    """
    _check_steps(human)
    maps = check_maps("pred", pred, human)
    below, _, n_pixels = pixel_ranks(maps, human, above=False)
    with np.errstate(invalid="ignore"):
        others_at_or_above = (n_pixels - below - 1) / (n_pixels - 1)
    return _per_step(1 - others_at_or_above / 2, human)


def _check_steps(human: FixatedPixels) -> None:
    most = human.n_fixations.max(initial=0)
    if most > 1:
        step = int(human.n_fixations.argmax())
        raise ValueError(
            f"`human` has {most} fixations in group {step}: each step has one next "
            "fixation. Give `fixated_pixels` one `map_index` per step."
        )


def _per_step(values: FloatArray, human: FixatedPixels) -> FloatArray:
    out = np.full(human.n_maps, np.nan)
    out[human.map_index] = values
    return out
