"""Blur that removes what the eye cannot resolve at each eccentricity."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from neurovis.core.checks import check_between
from neurovis.foveation.gaussian_mixture import (
    HALF_AMPLITUDE,
    TRUNCATE,
    BlurMixture,
    blur_layer,
)
from neurovis.foveation.image_batches import check_images, check_shape
from neurovis.foveation.windows import IMAGE_DEG, check_fixation

FloatArray = NDArray[np.float64]

HUMAN_ACUITY = {
    "half_resolution_deg": 2.3,
    "contrast_threshold": 1 / 64,
    "frequency_decay": 0.106,
}
"""Constants of Geisler and Perry (1998), doi:10.1117/12.320120."""


class AcuityBlur:
    """Remove what the eye cannot resolve at each eccentricity.

    The picture is blurred by Gaussians of half-amplitude frequencies one octave apart,
    at full resolution, and the two nearest are mixed so that the mixture has half
    amplitude at `acuity_cutoff_cpd`. Where that is at or above one cycle per pixel the
    picture stays as it is, to the bit. The blur is weak by design: at 10 px per degree
    an adult eye resolves all that the picture has up to 16 degrees from fixation. It is
    stronger with more pixels per degree or a smaller `half_resolution_deg`.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the pictures, pixels.
    px_per_deg : float, optional
        Pixels per degree; by default the longer side spans 26 degrees.
    fixation_px : (float, float), optional
        x and y from the outer corner of the top-left pixel; the centre by default.
    half_resolution_deg : float, default 2.3
        Eccentricity of half the foveal resolution, > 0.
    contrast_threshold : float, default 1/64
        Lowest visible contrast, in (0, 1).
    frequency_decay : float, default 0.106
        Growth of the logarithm of the threshold with frequency, degrees, > 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    References
    ----------
    Geisler and Perry (1998). Proc. SPIE 3299, 294-305. doi:10.1117/12.320120.
    Perry and Geisler (2002). Proc. SPIE 4662, 57-69. doi:10.1117/12.469554 (mixture
    with half amplitude at the wanted frequency).

    Examples
    --------
    >>> import torch
    >>> image = torch.rand(1, 3, 128, 128)
    >>> same = AcuityBlur((128, 128), px_per_deg=20)(image) == image
    >>> bool(same[..., 64, 64].all()), bool(same[..., 0, 0].any())
    (True, False)
    """

    name = "acuity-blur"

    def __init__(
        self,
        shape: Sequence[int],
        *,
        px_per_deg: float | None = None,
        fixation_px: Sequence[float] | None = None,
        half_resolution_deg: float = HUMAN_ACUITY["half_resolution_deg"],
        contrast_threshold: float = HUMAN_ACUITY["contrast_threshold"],
        frequency_decay: float = HUMAN_ACUITY["frequency_decay"],
    ) -> None:
        height, width = self.shape = check_shape(shape)
        self.px_per_deg = max(self.shape) / IMAGE_DEG
        if px_per_deg is not None:
            self.px_per_deg = float(check_between("px_per_deg", px_per_deg, low=1e-6))
        self.fixation_px = check_fixation(fixation_px, self.shape)
        self.acuity = {
            "half_resolution_deg": half_resolution_deg,
            "contrast_threshold": contrast_threshold,
            "frequency_decay": frequency_decay,
        }
        dx = np.arange(width) + 0.5 - self.fixation_px[0]
        dy = np.arange(height)[:, None] + 0.5 - self.fixation_px[1]
        radius_deg = np.hypot(dx, dy) / self.px_per_deg
        cutoff = acuity_cutoff_cpd(radius_deg, **self.acuity) / self.px_per_deg
        # From one cycle per pixel on, all stays.
        self._mixture = self._make_mixture(np.minimum(cutoff, 1))

    def _make_mixture(self, cutoff_cpp: FloatArray) -> BlurMixture:
        """Weights of blurs with half amplitude at 1, 1/2, 1/4 ... cycles per pixel."""
        depth = max(int(np.ceil(-np.log2(cutoff_cpp.min()))), 0)
        finer = np.floor(-np.log2(cutoff_cpp)).clip(0, max(depth - 1, 0))
        # Amplitudes, at the cut-off, of the two blurs that it lies between.
        a, b = (2 ** -((cutoff_cpp * 2**level) ** 2) for level in (finer, finer + 1))
        share = ((0.5 - b) / (a - b)).clip(0, 1)
        weights = [
            np.where(finer == level, share, 0)
            + np.where(finer + 1 == level, 1 - share, 0)
            for level in range(depth + 1)
        ]
        layers = [
            blur_layer(self.shape, HALF_AMPLITUDE * 2**level, weight)
            for level, weight in enumerate(weights)
            if level and weight.any()
        ]
        return BlurMixture(weights[0], layers)

    @property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        return {
            "transform": self.name,
            "shape": list(self.shape),
            "px_per_deg": self.px_per_deg,
            "fixation_px": list(self.fixation_px),
            **self.acuity,
            "truncate": TRUNCATE,
        }

    def __call__(
        self, images: Tensor, *, keys: Sequence[str | int] | None = None, seed: int = 0
    ) -> Tensor:
        """Blur pictures.

        Parameters
        ----------
        images : Tensor of float32, shape (B, 3, H, W)
            Pictures in [0, 1] on any device.
        keys : sequence of (str or int), optional
            Not used: nothing is drawn.
        seed : int, default 0
            Not used.

        Returns
        -------
        Tensor of float32, shape (B, 3, H, W)
            In [0, 1], on the same device.

        Raises
        ------
        TypeError, ValueError
            If `images` are not pictures of this size, in [0, 1].
        """
        check_images(images, self.shape)
        return self._mixture(images) if len(images) else images.clone()


def acuity_cutoff_cpd(
    eccentricity_deg: ArrayLike,
    *,
    half_resolution_deg: float = HUMAN_ACUITY["half_resolution_deg"],
    contrast_threshold: float = HUMAN_ACUITY["contrast_threshold"],
    frequency_decay: float = HUMAN_ACUITY["frequency_decay"],
) -> FloatArray:
    """Return the highest frequency that is visible at full contrast.

    Parameters
    ----------
    eccentricity_deg : array-like of float, shape (...)
        Distance from fixation, 0 or more.
    half_resolution_deg : float, default 2.3
        Eccentricity of half the foveal resolution, > 0.
    contrast_threshold : float, default 1/64
        Lowest visible contrast, in (0, 1).
    frequency_decay : float, default 0.106
        Growth of the logarithm of the threshold with frequency, degrees, > 0.

    Returns
    -------
    ndarray of float64, shape (...)
        Cycles per degree.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    References
    ----------
    Geisler and Perry (1998). Proc. SPIE 3299, 294-305. doi:10.1117/12.320120.

    Examples
    --------
    >>> acuity_cutoff_cpd([0, 2.3, 20]).round(1)
    array([39.2, 19.6,  4. ])
    """
    eccentricity = np.asarray(eccentricity_deg, np.float64)
    if not (eccentricity >= 0).all():
        raise ValueError(
            "`eccentricity_deg` must be 0 or more; got a minimum of "
            f"{eccentricity.min():g}."
        )
    half = check_between("half_resolution_deg", half_resolution_deg, low=1e-6)
    check_between("contrast_threshold", contrast_threshold, low=1e-6, high=1 - 1e-6)
    decay = check_between("frequency_decay", frequency_decay, low=1e-6)
    foveal = -np.log(contrast_threshold) / decay
    return foveal * half / (eccentricity + half)
