"""Foveated texture by style transfer between an encoder and a decoder.

The features of a picture in each pooling window are mixed with noise that has their
means and standard deviations, and the mixture is decoded (Deza, Jonnalagadda and
Eckstein 2019, arXiv:1705.10041). Encoder and decoder are the user's own modules;
`neurovis.adapters.vgg_codec` reads those that were published.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from neurovis.core.checks import check_array, check_between, check_option, check_whole
from neurovis.core.rng import torch_generator
from neurovis.core.tensors import hash_state_dict
from neurovis.foveation.image_batches import (
    check_images,
    check_shape,
    full_precision,
)
from neurovis.foveation.windows import (
    FOVEA_DEG,
    IMAGE_DEG,
    PoolingWindows,
    check_fixation,
    pooling_windows,
    texture_weights,
    window_matrix,
)

VARIANCE_FLOOR = 1e-5
"""Added to variances of features before their root."""

WINDOW_THRESHOLD = 1e-3
"""Average weight above which a place of a feature map belongs to a window."""


# ------------------------------------------------------------------------- statistics


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Give one picture the means and covariances of the channels of another.

    Both are standardised channel by channel, whitened and coloured by roots of
    ``X X' + I`` (sums over pixels), and brought to the means and standard deviations
    of the target.

    Parameters
    ----------
    source : Tensor of float, shape (C, H, W)
        What is recoloured.
    target : Tensor of float, shape (C, h, w)
        What gives the statistics. As many pixels as in `source`: sums are compared, so
        that otherwise deviations differ by the root of the ratio.

    Returns
    -------
    Tensor, shape (C, H, W)
        With the dtype of `source`; computed in float64. Not clipped to any range.

    Raises
    ------
    ValueError
        If the shapes do not fit or there are fewer than 2 pixels.

    References
    ----------
    Sun, Feng and Saenko (2016). AAAI 30, 2058-2065. arXiv:1511.05547.

    Examples
    --------
    >>> image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> noise = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1))
    >>> like = coral(noise, image)
    >>> bool(torch.allclose(like.mean((1, 2)), image.mean((1, 2)), atol=1e-5))
    True
    """
    for name, image in (("source", source), ("target", target)):
        if image.ndim != 3 or image[0].numel() < 2:
            raise ValueError(
                f"`{name}` must have shape (C, H, W) with 2 pixels or more; got "
                f"{tuple(image.shape)}."
            )
    if len(source) != len(target):
        raise ValueError(
            f"`source` has {len(source)} channels, but `target` has {len(target)}."
        )
    standard, _, _ = _standardised(source)
    wanted, mean, deviation = _standardised(target)
    moved = _root(wanted) @ torch.linalg.solve(_root(standard), standard)
    return (moved * deviation + mean).reshape(source.shape).to(source.dtype)


def _standardised(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    values = image.flatten(1).double()
    mean, deviation = values.mean(1, keepdim=True), values.std(1, keepdim=True)
    # A flat channel has nothing to divide.
    return (values - mean) / torch.where(deviation > 0, deviation, 1), mean, deviation


def _root(values: Tensor) -> Tensor:
    """Symmetric root of ``X X' + I``."""
    products = values @ values.T + torch.eye(len(values)).to(values)
    eigenvalues, vectors = torch.linalg.eigh(products)
    return (vectors * eigenvalues.sqrt()) @ vectors.T


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Give each channel the mean and the standard deviation that another has.

    Adaptive instance normalisation; variances are unbiased, plus `VARIANCE_FLOOR`.

    Parameters
    ----------
    content : Tensor of float, shape (B, C, ...)
        What is normalised, 2 places or more per channel.
    style : Tensor of float, shape (B, C, ...)
        What gives mean and standard deviation; may have other places.

    Returns
    -------
    Tensor
        With shape and dtype of `content`.

    Raises
    ------
    ValueError
        If batches or channels differ, or there are fewer than 2 places.

    References
    ----------
    Huang and Belongie (2017). ICCV, 1510-1519. doi:10.1109/ICCV.2017.167.

    Examples
    --------
    >>> content = torch.tensor([[[1.0, 2.0, 3.0]]])
    >>> adain(content, 10 * content).round(decimals=2)
    tensor([[[10., 20., 30.]]])
    """
    if content.shape[:2] != style.shape[:2]:
        raise ValueError(
            "`content` and `style` must agree in batch and channels; got shapes "
            f"{tuple(content.shape)} and {tuple(style.shape)}."
        )
    flat, other = content.flatten(2), style.flatten(2)
    if min(flat.shape[-1], other.shape[-1]) < 2:
        raise ValueError("`content` and `style` must have 2 places or more; got 1.")
    return _adain(flat, other).reshape(content.shape)


def _adain(content: Tensor, style: Tensor) -> Tensor:
    """As `adain`, for (B, C, n)."""
    (variance, mean), (wanted, to) = (
        torch.var_mean(values, -1, keepdim=True) for values in (content, style)
    )
    gain = ((wanted + VARIANCE_FLOOR) / (variance + VARIANCE_FLOOR)).sqrt()
    return (content - mean) * gain + to


def foveated_adain(
    content: Tensor, noise: Tensor, masks: Tensor | ArrayLike, alpha: ArrayLike
) -> Tensor:
    """Mix features with noise that has their statistics, region by region.

    Inside region i the result is ``(1 - alpha_i) content + alpha_i texture``, with
    texture = `adain` of the noise to the content there. Where regions overlap the
    later one holds, which makes hard seams, as published. Regions of fewer than 2
    places, and places in no region, keep the content.

    Parameters
    ----------
    content, noise : Tensor of float, shape (B, C, h, w)
        Features of pictures and of noise.
    masks : Tensor or array-like, shape (K, h, w)
        Regions: bool, or weights, which count above `WINDOW_THRESHOLD`.
    alpha : array-like of float, shape (K,)
        Share of the texture, within [0, 1].

    Returns
    -------
    Tensor, shape (B, C, h, w)
        With the dtype of `content`.

    Raises
    ------
    ValueError
        If shapes do not fit or a share is out of range.

    Examples
    --------
    >>> maps = torch.rand(2, 1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    >>> half = torch.ones(1, 5, 5)
    >>> half[:, :2] = 0
    >>> out = foveated_adain(maps[0], maps[1], half, [1.0])
    >>> bool((out[..., :2, :] == maps[0][..., :2, :]).all())
    True
    """
    if content.ndim != 4 or content.shape != noise.shape:
        raise ValueError(
            "`content` and `noise` must have one shape (B, C, h, w); got "
            f"{tuple(content.shape)} and {tuple(noise.shape)}."
        )
    regions = torch.as_tensor(masks, device=content.device)
    if regions.dtype != torch.bool:
        regions = regions > WINDOW_THRESHOLD
    if regions.ndim != 3 or regions.shape[1:] != content.shape[2:]:
        raise ValueError(
            f"`masks` must have shape (K, {content.shape[2]}, {content.shape[3]}), as "
            f"the features; got {tuple(regions.shape)}."
        )
    shares = check_array("alpha", np.asarray(alpha, float), shape=(len(regions),))
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError("`alpha` must be within [0, 1] for every region.")
    flat, grain = content.flatten(2), noise.flatten(2)
    out = flat.clone()
    for region, share in zip(regions.flatten(1), shares.tolist(), strict=True):
        places = region.nonzero()[:, 0]
        here = flat[..., places]
        if share > 0 and len(places) > 1:
            texture = _adain(grain[..., places], here)
            here = (1 - share) * here + share * texture
        out[..., places] = here
    return out.reshape(content.shape)


# -------------------------------------------------------------------------- transform


class StyleCodecTexture:
    """Foveated texture that a decoder makes from features of an encoder.

    Noise is recoloured to each picture (`coral`), both are encoded, features are mixed
    in each pooling window (`foveated_adain`), decoded, clipped to [0, 1] and resized.
    All of the picture goes through the codec, the fovea too: compare with
    ``reference=True``, which leaves only the mixture out. How true the codec is to
    pictures is not checked here; look at what the reference makes of them.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the pictures, pixels.
    encoder : Module
        Takes (B, 3, H, W) in [0, 1], gives features (B, C, h, w), h and w > 1.
    decoder : Module
        Takes features, gives (B, 3, H, W) of the size that was encoded, or larger: it
        is cut at the right and below.
    scale : float, default 0.4
        Width of windows over eccentricity.
    px_per_deg : float, optional
        Pixels of the given pictures per degree; by default the longer side spans 26
        degrees.
    fixation_px : (float, float), optional
        x and y from the outer corner of the top-left pixel; the centre by default.
    fovea_deg : float, default 1.82165
        Radius of the fovea at half height, degrees.
    area : {"unclipped", "clipped"}
        How the share of texture grows with the area of windows, as in
        `texture_weights`; "clipped" as published.
    render_px : int, default 512
        Longer side at which pictures are encoded; they are resized to it and back,
        bilinearly with anti-aliasing.
    reference : bool, default False
        Encode and decode only.
    notes : sequence of str, optional
        What a reader must know of the codec, such as "untrained weights".

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Notes
    -----
    The published program goes through 8-bit files between its steps, which this does
    not. The modules are set to evaluation and are moved to the device of the pictures.

    References
    ----------
    Deza, Jonnalagadda and Eckstein (2019). ICLR. arXiv:1705.10041.

    Examples
    --------
    >>> encoder, decoder = nn.AvgPool2d(8), nn.Upsample(scale_factor=8)
    >>> codec = StyleCodecTexture((64, 64), encoder, decoder, render_px=64)
    >>> codec(torch.rand(2, 3, 64, 64), keys=["a", "b"], seed=1).shape
    torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self,
        shape: Sequence[int],
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        scale: float = 0.4,
        px_per_deg: float | None = None,
        fixation_px: Sequence[float] | None = None,
        fovea_deg: float = FOVEA_DEG,
        area: Literal["unclipped", "clipped"] = "unclipped",
        render_px: int = 512,
        reference: bool = False,
        notes: Sequence[str] = (),
    ) -> None:
        height, width = self.shape = check_shape(shape)
        check_option("area", area, ("unclipped", "clipped"))
        check_whole("render_px", render_px, low=16)
        if px_per_deg is None:
            px_per_deg = max(self.shape) / IMAGE_DEG
        check_between("px_per_deg", px_per_deg, low=1e-6)
        growth = render_px / max(self.shape)
        self.render_shape = (
            max(round(height * growth), 1),
            max(round(width * growth), 1),
        )
        x, y = check_fixation(fixation_px, self.shape)
        self.windows: PoolingWindows = pooling_windows(
            self.render_shape,
            scale,
            px_per_deg=px_per_deg * growth,
            fixation_px=(
                x * self.render_shape[1] / width,
                y * self.render_shape[0] / height,
            ),
            fovea_deg=fovea_deg,
        )
        self.alpha = texture_weights(self.windows, area=area)
        self.area = area
        self.reference = reference
        self.notes = tuple(notes)
        self.encoder, self.decoder = encoder.eval(), decoder.eval()
        self._regions: Tensor | None = None
        hashes = [hash_state_dict(m.state_dict()) for m in (encoder, decoder)]
        self._codec = {
            name: f"{type(module).__name__} {value}"
            for name, module, value in zip(
                ("encoder", "decoder"), (encoder, decoder), hashes, strict=True
            )
        }

    @property
    def name(self) -> str:
        """The kind of transform."""
        return "style-codec-reference" if self.reference else "style-codec"

    @property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values.

        Of the modules: their classes, and the hashes of their weights when the
        transform was made.
        """
        identity: dict[str, Any] = {
            "transform": self.name,
            "shape": list(self.shape),
            "render_shape": list(self.render_shape),
            **self._codec,
        }
        if not self.reference:
            identity |= {"windows": self.windows.identity, "area": self.area}
        return identity

    def __call__(
        self, images: Tensor, *, keys: Sequence[str | int] | None = None, seed: int = 0
    ) -> Tensor:
        """Texturise pictures.

        Parameters
        ----------
        images : Tensor of float32, shape (B, 3, H, W)
            Pictures in [0, 1] on any device.
        keys : sequence of (str or int), optional
            Identity of each picture, for noise of its own; without them all pictures
            get the same noise.
        seed : int, default 0
            Seed of the noise.

        Returns
        -------
        Tensor of float32, shape (B, 3, H, W)
            In [0, 1], on the same device.

        Raises
        ------
        TypeError, ValueError
            If `images` are not pictures of this size, in [0, 1], there is not one key
            for each, or what encoder or decoder give has another shape.
        """
        check_images(images, self.shape)
        if keys is not None and len(keys) != len(images):
            raise ValueError(
                f"`keys` must hold one key per picture: {len(images)}; got {len(keys)}."
            )
        keys = [0] * len(images) if keys is None else keys
        self.encoder.to(images.device)
        self.decoder.to(images.device)
        # One by one: memory for one picture at 512 px, and no trace of the batch.
        with torch.no_grad(), full_precision(images.device):
            made = [
                self._one(image[None].clone(), key, seed)
                for image, key in zip(images, keys, strict=True)
            ]
        return torch.cat(made) if made else images.clone()

    def _one(self, image: Tensor, key: str | int, seed: int) -> Tensor:
        image = _resized(image, self.render_shape)
        features = self._checked("encoder", self.encoder, image, (1, None, None, None))
        if not self.reference:
            numbers = torch_generator(seed, "style codec noise", key)
            noise = torch.randn(3, *self.render_shape, generator=numbers)
            noise = coral(noise, image[0].cpu()).to(image)[None]
            grain = self._checked("encoder", self.encoder, noise, features.shape)
            masks = self._masks(features)
            features = foveated_adain(features, grain, masks, self.alpha)
        decoded = self._checked("decoder", self.decoder, features, (1, 3, None, None))
        height, width = self.render_shape
        decoded = decoded[..., :height, :width]
        if decoded.shape != image.shape:
            raise ValueError(
                f"`decoder` must give pictures of {height} x {width} pixels or more "
                f"from features of shape {tuple(features.shape)}; got "
                f"{tuple(decoded.shape[2:])}. Take another `render_px`."
            )
        return _resized(decoded.clamp(0, 1), self.shape).clamp(0, 1)

    def _checked(
        self,
        name: str,
        module: Callable[[Tensor], Tensor],
        value: Tensor,
        shape: Sequence[int | None],
    ) -> Tensor:
        out = module(value)
        fits = len(out.shape) == len(shape) and all(
            want in (None, got) for want, got in zip(shape, out.shape, strict=True)
        )
        if not fits or not torch.isfinite(out).all():
            words = ", ".join("any" if side is None else str(side) for side in shape)
            raise ValueError(
                f"`{name}` must give finite values of shape ({words}) for pictures of "
                f"{self.render_shape[0]} x {self.render_shape[1]} pixels; got shape "
                f"{tuple(out.shape)}, or values that are not finite."
            )
        return out

    def _masks(self, features: Tensor) -> Tensor:
        """Regions of the feature map, kept for the next picture."""
        size = (features.shape[2], features.shape[3])
        found = self._regions
        if found is None or found.shape[1:] != size:
            matrix = window_matrix(self.windows)
            regions = torch.zeros(matrix.shape[0], *size, dtype=torch.bool)
            for region, row in zip(regions, matrix, strict=True):
                weights = torch.from_numpy(row.toarray()).reshape(self.render_shape)
                average = F.adaptive_avg_pool2d(weights[None, None], size)
                region.copy_(average[0, 0] > WINDOW_THRESHOLD)
            found = regions
        self._regions = found = found.to(features.device)
        return found


def _resized(images: Tensor, shape: tuple[int, int]) -> Tensor:
    if images.shape[2:] == shape:
        return images
    out: Tensor = F.interpolate(images, shape, mode="bilinear", antialias=True)
    return out
