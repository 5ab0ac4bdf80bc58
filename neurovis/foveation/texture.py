"""Foveated texture: what lies in the periphery becomes texture with its statistics.

The fovea stays as it is. Around it the picture is moved about at random within the
width of its pooling windows, or noise takes its place, and the coefficients of its
steerable pyramid are given back the local statistics that they had in every window.
Nothing is learnt, no gradient is taken. Mixing picture and texture the more the larger
the window is the idea of Deza, Jonnalagadda and Eckstein (2019), arXiv:1705.10041;
magnitudes of a pyramid stand where they have the features of a network.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.foveation.image_batches import (
    check_images,
    check_shape,
    full_precision,
)
from neurovis.foveation.pooling import PoolingOperators
from neurovis.foveation.steerable_pyramid import Coefficients, SteerablePyramid
from neurovis.foveation.texture_matching import (
    LocalStatistics,
    local_statistics,
    match_moments,
    match_statistics,
)
from neurovis.foveation.texture_start import (
    coloured_noise,
    displacement_field,
    move,
    sampling_grid,
)
from neurovis.foveation.windows import (
    FOVEA_DEG,
    PoolingWindows,
    check_fixation,
    fovea_weight,
    pixel_polar,
    pooling_windows,
    texture_weights,
)

Quality = Literal["fast", "fine"]
Start = Literal["jitter", "noise"]

# Rounds of matching before the picture is mixed in.
N_ITERATIONS = {"fast": 3, "fine": 5}
# Displacement of a start by jitter over the half width of a window.
JITTER = 0.5
SMALLEST_SIDE = 32
BATCH_SIZE = 16


@dataclasses.dataclass(frozen=True)
class _Parts:
    """What lies on the device of the pictures, for pictures with their margin."""

    device: torch.device
    pyramid: SteerablePyramid
    operators: PoolingOperators
    shares: tuple[Tensor, ...]
    amplitude_px: Tensor
    fovea: Tensor

    def to(self, device: torch.device) -> "_Parts":
        if device == self.device:
            return self
        return _Parts(
            device,
            self.pyramid.to(device),
            self.operators.to(device),
            tuple(share.to(device) for share in self.shares),
            self.amplitude_px.to(device),
            self.fovea.to(device),
        )


class FoveatedTexture:
    """Turn the periphery of pictures into texture.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the pictures, >= 32 pixels.
    scale : float, default 0.4
        Width of pooling windows over eccentricity; 0 leaves pictures as they are.
    px_per_deg : float, optional
        Pixels per degree of visual angle; by default the longer side spans 26.
    fixation_px : tuple of float, optional
        Point that is fixated, (x, y) from the outer corner of the top-left pixel,
        within the picture; the centre by default.
    fovea_deg : float, default 1.82165
        Radius of the fovea at half height, degrees.
    quality : {"fast", "fine"}
        3 rounds of matching; or 5, with `orientation_matching`.
    n_iterations : int, optional
        Rounds of matching, >= 0, where `quality` shall not decide.
    orientation_matching : bool, optional
        Match covariances of magnitudes across orientations.
    start : {"jitter", "noise"}
        Of the texture: the picture moved about within its windows, or noise of its
        colours.
    strength : float or {"unclipped", "clipped"}
        Share of texture in the mixture, 0 to 1, same everywhere; or growing with the
        area of windows, as `neurovis.foveation.windows.texture_weights`, whole or as
        far as they lie in the picture.
    n_scales : int, default 4
        Scales of the pyramid; fewer for sides below 64 pixels.
    n_orientations : int, default 4
        Orientations of the pyramid, 2 to 16.
    batch_size : int, optional
        Pictures worked on at once; by default one on the CPU, where more are no
        faster and results then do not depend on the batch, to the bit; 16 elsewhere.

    Attributes
    ----------
    name : str
        "texture".
    identity : dict
        All that the result depends on, as JSON values.
    windows : PoolingWindows
        In the frame of the pictures.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of range.

    Notes
    -----
    In opponent colours, with a mirrored margin around the picture:

    1. Mean and variance are measured in every window: of the pixels, of both residuals
       of a complex steerable pyramid, of the magnitudes of its bands.
    2. A start: the picture moved by a smooth random field, as far as a quarter of
       the width of a window (root mean square), or noise.
    3. Rounds of: pyramid, coefficients matched, picture, its pixels matched.
    4. Bands mixed, ``sqrt(1 - a²) picture + a texture``, which keeps energy; the low
       pass ``(1 - a) picture + a texture``. a is the weight of the texture.
    5. One more round; the fovea comes back.

    Examples
    --------
    >>> texture = FoveatedTexture((64, 64))
    >>> picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> seen = texture(picture)
    >>> bool((seen[..., 31:33, 31:33] == picture[..., 31:33, 31:33]).all())
    True
    """

    name = "texture"

    def __init__(
        self,
        shape: Sequence[int],
        *,
        scale: float = 0.4,
        px_per_deg: float | None = None,
        fixation_px: Sequence[float] | None = None,
        fovea_deg: float = FOVEA_DEG,
        quality: Quality = "fast",
        n_iterations: int | None = None,
        orientation_matching: bool | None = None,
        start: Start = "jitter",
        strength: float | Literal["unclipped", "clipped"] = "unclipped",
        n_scales: int = 4,
        n_orientations: int = 4,
        batch_size: int | None = None,
    ) -> None:
        self.shape = check_shape(shape)
        check_whole("shape", min(self.shape), low=SMALLEST_SIDE)
        self.windows = pooling_windows(
            self.shape,
            scale,
            px_per_deg=px_per_deg,
            fixation_px=_checked_fixation(fixation_px, self.shape),
            fovea_deg=fovea_deg,
        )
        check_option("quality", quality, tuple(N_ITERATIONS))
        if n_iterations is None:
            n_iterations = N_ITERATIONS[quality]
        self.n_iterations = check_whole("n_iterations", n_iterations, low=0)
        if orientation_matching is None:
            orientation_matching = quality == "fine"
        self.orientation_matching = bool(orientation_matching)
        self.start: Start = check_option("start", start, ("jitter", "noise"))
        if isinstance(strength, str):
            check_option("strength", strength, ("unclipped", "clipped"))
        else:
            check_between("strength", strength, low=0, high=1)
        self.strength = strength
        most = int(np.log2(min(self.shape))) - 2
        self.n_scales = min(check_whole("n_scales", n_scales, low=1), most)
        self.n_orientations = check_whole(
            "n_orientations", n_orientations, low=2, high=16
        )
        if batch_size is not None:
            check_whole("batch_size", batch_size, low=1)
        self.batch_size = batch_size
        self._padding = _padding(self.shape, 2**self.n_scales)
        is_active = bool(self.windows.rings) and self.strength != 0
        self._parts = self._make_parts() if is_active else None
        self._last_grid: tuple[Any, Tensor] | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        return {
            "transform": self.name,
            "algorithm": 1,
            "windows": self.windows.identity,
            "n_iterations": self.n_iterations,
            "orientation_matching": self.orientation_matching,
            "start": self.start,
            "strength": self.strength,
            "n_scales": self.n_scales,
            "n_orientations": self.n_orientations,
        }

    def _make_parts(self) -> _Parts:
        left, right, top, bottom = self._padding
        height, width = self.shape
        x, y = self.windows.fixation_px
        padded = dataclasses.replace(
            self.windows,
            shape=(height + top + bottom, width + left + right),
            fixation_px=(x + left, y + top),
        )
        operators = PoolingOperators(padded, self.n_scales + 1)
        weights = self._weights(padded)
        shares = tuple(
            operators.spread(level, weights[None, None])[0, 0].clamp(0, 1)
            for level in range(self.n_scales + 1)
        )
        radius = pixel_polar(padded)[0].reshape(padded.shape)
        amplitude = JITTER * self.windows.scale * radius / 2
        amplitude *= 1 - fovea_weight(padded)
        pyramid = SteerablePyramid(
            padded.shape,
            n_scales=self.n_scales,
            n_orientations=self.n_orientations,
            tight_frame=True,
        )
        return _Parts(
            torch.device("cpu"),
            pyramid,
            operators,
            shares,
            torch.from_numpy(amplitude.astype(np.float32)),
            torch.from_numpy(fovea_weight(self.windows).astype(np.float32)),
        )

    def _weights(self, padded: PoolingWindows) -> Tensor:
        values = np.zeros(padded.n_windows)
        # Windows that only the margin reaches stay picture.
        own = np.searchsorted(padded.grid_numbers, self.windows.grid_numbers)
        if isinstance(self.strength, str):
            values[own] = texture_weights(self.windows, area=self.strength)
        else:
            values[own] = self.strength
            values[0] = 0
        return torch.from_numpy(values.astype(np.float32))

    @torch.no_grad()
    def __call__(
        self, images: Tensor, *, keys: Sequence[str | int] | None = None, seed: int = 0
    ) -> Tensor:
        """Transform pictures.

        Parameters
        ----------
        images : Tensor of float32, shape (B, 3, H, W)
            Pictures in [0, 1] on any device.
        keys : sequence of (str or int), optional
            Identity of each picture; without them all get the random numbers of key 0.
        seed : int, default 0
            Seed of the random numbers.

        Returns
        -------
        Tensor of float32, shape (B, 3, H, W)
            In [0, 1], on the same device. Pictures of three equal channels stay so.

        Raises
        ------
        TypeError, ValueError
            If the pictures are not such, or there is not one key for each.
        """
        check_images(images, self.shape)
        names = _checked_keys(keys, len(images))
        if self._parts is None:
            return images.clone()
        # A local name: another thread may come with another device.
        parts = self._parts = self._parts.to(images.device)
        size = self.batch_size or (1 if images.device.type == "cpu" else BATCH_SIZE)
        seen = torch.empty_like(images)
        grey = (images == images[:, :1]).flatten(1).all(dim=1)
        with full_precision(images.device):
            for is_grey in (True, False):
                alike = torch.nonzero(grey == is_grey)[:, 0]
                for first in range(0, len(alike), size):
                    block = alike[first : first + size]
                    chosen = [names[i] for i in block.tolist()]
                    seen[block] = self._transform(
                        parts, images[block], chosen, seed, is_grey
                    )
        return seen

    def _transform(
        self,
        parts: _Parts,
        images: Tensor,
        keys: Sequence[str | int],
        seed: int,
        is_grey: bool,
    ) -> Tensor:
        left, right, top, bottom = self._padding
        pixels = images[:, :1] if is_grey else _to_opponent(images)
        pixels = torch.nn.functional.pad(pixels, self._padding, mode="reflect")
        texture = self._synthesise(parts, pixels, keys, seed)
        height, width = texture.shape[-2:]
        texture = texture[..., top : height - bottom, left : width - right]
        texture = texture.expand(-1, 3, -1, -1) if is_grey else _to_rgb(texture)
        mixed = torch.lerp(texture.clamp(0, 1), images, parts.fovea).clamp_(0, 1)
        # Where the fovea is all there is, not even a rounding error.
        return torch.where(parts.fovea == 1, images, mixed)

    def _synthesise(
        self, parts: _Parts, pixels: Tensor, keys: Sequence[str | int], seed: int
    ) -> Tensor:
        pyramid, operators = parts.pyramid, parts.operators
        original = pyramid.analyse(pixels)
        target = local_statistics(
            operators,
            pixels,
            original,
            orientation_matching=self.orientation_matching,
        )
        if self.start == "noise":
            begin = coloured_noise(pixels, seed=seed, keys=keys)
        else:
            grids = torch.cat([self._grid(parts, key, seed) for key in keys])
            begin = move(pixels, grids)
        found = pyramid.analyse(begin)
        for _ in range(self.n_iterations):
            found = pyramid.analyse(_matched(parts, found, target))
        mixture = pyramid.synthesise(_mixed(original, found, parts.shares))
        return _matched(parts, pyramid.analyse(mixture), target)

    def _grid(self, parts: _Parts, key: str | int, seed: int) -> Tensor:
        # Kept, as all pictures without keys of their own share one.
        label, last = (seed, key, parts.device), self._last_grid
        if last is None or last[0] != label:
            field = displacement_field(
                parts.pyramid.shape,
                px_per_deg=self.windows.px_per_deg,
                seed=seed,
                key=key,
            )
            grid = sampling_grid(field.to(parts.device), parts.amplitude_px)
            last = self._last_grid = label, grid
        return last[1]


def _matched(parts: _Parts, found: Coefficients, target: LocalStatistics) -> Tensor:
    changed = match_statistics(parts.operators, found, target)
    pixels = parts.pyramid.synthesise(changed)
    return match_moments(parts.operators, 0, pixels, target.pixels)


def _mixed(
    original: Coefficients, texture: Coefficients, shares: Sequence[Tensor]
) -> Coefficients:
    # Unrelated bands add in energy, not in amplitude; the low pass is not unrelated.
    kept = [(1 - share * share).clamp_min(0).sqrt() for share in shares]
    return Coefficients(
        kept[0] * original.highpass + shares[0] * texture.highpass,
        tuple(
            rest * one + share * other
            for rest, share, one, other in zip(
                kept, shares, original.bands, texture.bands, strict=False
            )
        ),
        torch.lerp(original.lowpass, texture.lowpass, shares[-1]),
    )


def _to_opponent(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(dim=1)
    light = (red + green + blue) / 3
    return torch.stack([light, (red - blue) / 2, green / 2 - (red + blue) / 4], dim=1)


def _to_rgb(opponent: Tensor) -> Tensor:
    light, red_blue, green = opponent.unbind(dim=1)
    rest = light - green * (2 / 3)
    return torch.stack(
        [rest + red_blue, light + green * (4 / 3), rest - red_blue], dim=1
    )


def _checked_fixation(
    fixation: Sequence[float] | None, shape: tuple[int, int]
) -> tuple[float, float]:
    height, width = shape
    x, y = check_fixation(fixation, shape)
    if not (0 <= x <= width and 0 <= y <= height):
        raise ValueError(
            f"`fixation_px` must be (x, y) within the picture of {width} x {height} "
            f"px; got {fixation!r}."
        )
    return x, y


def _checked_keys(
    keys: Sequence[str | int] | None, n_images: int
) -> Sequence[str | int]:
    if keys is None:
        return [0] * n_images
    if isinstance(keys, str) or len(keys) != n_images:
        raise ValueError(
            f"`keys` must hold one key per picture, {n_images} in all; got {keys!r}."
        )
    return keys


def _padding(shape: tuple[int, int], multiple: int) -> tuple[int, int, int, int]:
    # A margin, as the pyramid would join opposite borders of the picture.
    (top, bottom), (left, right) = (
        (multiple + extra // 2, multiple + extra - extra // 2)
        for extra in (-side % multiple for side in shape)
    )
    return left, right, top, bottom
