"""Pictures blurred alike everywhere, or the more the farther from fixation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_between
from neurovis.foveation.gaussian_mixture import (
    TRUNCATE,
    BlurMixture,
    blur_layer,
    gaussian_kernel,
)
from neurovis.foveation.image_batches import check_images, check_shape
from neurovis.foveation.window_sizes import half_height_area
from neurovis.foveation.windows import (
    FOVEA_DEG,
    PoolingWindows,
    fovea_weight,
    pooling_windows,
    ring_weights,
)

FloatArray = NDArray[np.float64]


class Reference:
    """Pictures as they are.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the pictures, pixels.

    Raises
    ------
    TypeError, ValueError
        If `shape` is not two whole numbers above 0.

    Examples
    --------
    >>> import torch
    >>> images = torch.rand(1, 3, 4, 5)
    >>> bool((Reference((4, 5))(images) == images).all())
    True
    """

    name = "reference"

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = check_shape(shape)

    @property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        return {"transform": self.name, "shape": list(self.shape)}

    def __call__(
        self, images: Tensor, *, keys: Sequence[str | int] | None = None, seed: int = 0
    ) -> Tensor:
        """Return a copy.

        Parameters
        ----------
        images : Tensor of float32, shape (B, 3, H, W)
            Pictures in [0, 1].
        keys : sequence of (str or int), optional
            Not used: nothing is drawn.
        seed : int, default 0
            Not used.

        Returns
        -------
        Tensor of float32, shape (B, 3, H, W)
            Equal to `images`.

        Raises
        ------
        TypeError, ValueError
            If `images` are not pictures of this size, in [0, 1].
        """
        return check_images(images, self.shape).clone()


class UniformBlur:
    """One Gaussian blur everywhere; beyond the border the outermost pixels go on.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the pictures, pixels.
    sigma_px : float
        Standard deviation, 0 or more; the kernel ends at `TRUNCATE` times that. Below
        1/8 px nothing changes.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import torch
    >>> edge = torch.zeros(1, 3, 1, 6)
    >>> edge[..., 3:] = 1
    >>> UniformBlur((1, 6), 1)(edge)[0, 0, 0].numpy().round(2)
    array([0.  , 0.06, 0.3 , 0.7 , 0.94, 1.  ], dtype=float32)
    """

    name = "uniform-blur"

    def __init__(self, shape: Sequence[int], sigma_px: float) -> None:
        self.shape = check_shape(shape)
        self.sigma_px = float(check_between("sigma_px", sigma_px, low=0))
        self._mixture = BlurMixture(None, [blur_layer(self.shape, self.sigma_px)])

    @property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        return {
            "transform": self.name,
            "shape": list(self.shape),
            "sigma_px": self.sigma_px,
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
        unchanged = len(images) == 0 or len(gaussian_kernel(self.sigma_px)) == 1
        return images.clone() if unchanged else self._mixture(images)


class FoveatedBlur:
    """Gaussian blur that grows in rings around fixation, as pooling windows do.

    The picture is blurred once per ring and mixed by the weights of the rings. The
    standard deviation is `factor` times the radius of a disc with the area of one
    window of the ring (`ring_radii_px`). The fovea stays as it is, to the bit.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the pictures, pixels.
    factor : float
        Standard deviation over the radius of a window, 0 or more.
    scale : float, default 0.4
        Width of rings over eccentricity; 0 leaves pictures as they are.
    px_per_deg : float, optional
        Pixels per degree; by default the longer side spans 26 degrees.
    fixation_px : (float, float), optional
        x and y from the outer corner of the top-left pixel; the centre by default.
    fovea_deg : float, default 1.82165
        Radius of the fovea at half height, degrees.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    References
    ----------
    Deza and Konkle (2020), arXiv:2006.07991, compare such a blur with textures; how
    its width grows is not published in numbers, and is a choice here.

    Examples
    --------
    >>> blur = FoveatedBlur((256, 256), 0.15)
    >>> blur.sigmas_px.round(2)
    array([0.52, 0.77, 1.15, 1.71, 2.54, 3.79])
    """

    name = "foveated-blur"

    def __init__(
        self,
        shape: Sequence[int],
        factor: float,
        *,
        scale: float = 0.4,
        px_per_deg: float | None = None,
        fixation_px: Sequence[float] | None = None,
        fovea_deg: float = FOVEA_DEG,
    ) -> None:
        self.windows = pooling_windows(
            shape,
            scale,
            px_per_deg=px_per_deg,
            fixation_px=fixation_px,
            fovea_deg=fovea_deg,
        )
        fovea = fovea_weight(self.windows)
        rings = ring_weights(self.windows) if self.windows.rings else fovea[:0, None]
        self._set_factor(factor, (fovea, rings))

    def _set_factor(
        self, factor: float, weights: tuple[FloatArray, FloatArray]
    ) -> None:
        self.factor = float(check_between("factor", factor, low=0))
        self.shape = self.windows.shape
        self.sigmas_px = self.factor * ring_radii_px(self.windows)
        self._weights = weights
        fovea, rings = weights
        layers = [
            blur_layer(self.shape, sigma, ring)
            for sigma, ring in zip(self.sigmas_px, rings, strict=True)
            if ring.any()
        ]
        self._mixture = BlurMixture(fovea, layers)

    def with_factor(self, factor: float) -> "FoveatedBlur":
        """Return the same blur with another strength; the windows are shared.

        Parameters
        ----------
        factor : float
            Standard deviation over the radius of a window, 0 or more.

        Returns
        -------
        FoveatedBlur
            A new transform.

        Raises
        ------
        TypeError, ValueError
            If `factor` is out of range.
        """
        other = FoveatedBlur.__new__(FoveatedBlur)
        other.windows = self.windows
        other._set_factor(factor, self._weights)
        return other

    @property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        return {
            "transform": self.name,
            "factor": self.factor,
            "windows": self.windows.identity,
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
        unchanged = len(images) == 0 or not self.sigmas_px.any()
        return images.clone() if unchanged else self._mixture(images)


def ring_radii_px(windows: PoolingWindows) -> FloatArray:
    """Return the radius of a disc with the area of one window, for each ring.

    The area is that of the region above half height, as if the picture had no end.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.

    Returns
    -------
    ndarray of float64, shape (n_rings,)
        Pixels.

    Examples
    --------
    >>> ring_radii_px(pooling_windows((256, 256), 0.4)).round(2)
    array([ 3.46,  5.15,  7.66, 11.4 , 16.96, 25.23])
    """
    return windows.ring_centres_px * np.sqrt(half_height_area(windows) / np.pi)
