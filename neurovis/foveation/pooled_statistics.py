"""Statistics of images in every pooling window: models of what the periphery keeps."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from neurovis.core.checks import check_option, check_whole
from neurovis.foveation.pooling import PoolingOperators
from neurovis.foveation.pyramid_masks import Masks
from neurovis.foveation.pyramid_parts import (
    PyramidParts,
    ScaleParts,
    above_rounding,
    half_neighbourhood,
    lag_products,
    rounding_energy,
)
from neurovis.foveation.windows import PoolingWindows, window_table

Model = Literal["texture", "energy", "luminance"]

# Fewer samples than this, in effect, have no shape: no skew, kurtosis, correlation.
_FEWEST_SAMPLES = 8.0
# Maps that are multiplied and pooled at once: a bound on memory.
_MAPS_AT_ONCE = 128


class PooledStatistics:
    """Statistics of images, averaged in every pooling window.

    - "luminance": mean of the pixels.
    - "energy": that, and the mean squared magnitude of each oriented band (complex
      cells of V1).
    - "texture": the families of Portilla and Simoncelli (2000),
      doi:10.1023/A:1026553619983, each average weighted by the window, as in the
      mid-ventral model of Freeman and Simoncelli (2011), doi:10.1038/nn.2889.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry; its shape is that of the images. Windows of scale 0 weigh every
        pixel by 1: the statistics are then those of the whole image.
    model : {"texture", "energy", "luminance"}
        Which statistics.
    n_scales : int, default 4
        Scales of the pyramid.
    n_orientations : int, default 4
        Orientations, 2 to 16.
    neighbourhood : int, default 7
        Odd side of the neighbourhood of autocorrelations, samples of their scale.
    masks : {"exact", "table"}
        As of `SteerablePyramid`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of bounds, or the shape is not divisible by
        ``2**n_scales``.

    Notes
    -----
    Calling returns a dict of tensors (B, C, n_windows, ...); S scales fine to coarse,
    O orientations, L lags (`lags`):

    ============================================ ==============================
    ``pixel_mean, _variance, _skew, _kurtosis``  ()
    ``magnitude_mean, magnitude_std``            (O, S)
    ``auto_correlation_magnitude``               (L, O, S)
    ``cross_orientation_correlation_magnitude``  (O (O - 1) / 2, S)
    ``cross_scale_correlation_magnitude``        (O, O, S - 1)
    ``cross_scale_correlation_real``             (O, 2 O, S - 1)
    ``std_, skew_, kurtosis_reconstructed``      (S + 1)
    ``auto_correlation_reconstructed``           (L, S + 1)
    ``var_highpass_residual``                    ()
    ``energy`` (model "energy")                  (O, S)
    ============================================ ==============================

    Variances divide by the sum of weights. NaN, for not defined, are: skew, kurtosis
    and correlations in windows of fewer than 8 samples of the scale (in effect, by
    ``(sum w)**2 / sum w**2``), or where a variance is below 1e-6 (float64: 1e-15) of
    the largest of any window; and lags that reach farther than half the half-height
    width of a window.
    Range is not among the statistics: soft windows have none.

    Examples
    --------
    >>> from neurovis.foveation.windows import pooling_windows
    >>> model = PooledStatistics(pooling_windows((64, 64), 0.5), n_scales=2)
    >>> found = model(torch.rand(2, 1, 64, 64))
    >>> found["magnitude_std"].shape == (2, 1, model.n_windows, 4, 2)
    True
    """

    def __init__(
        self,
        windows: PoolingWindows,
        *,
        model: Model = "texture",
        n_scales: int = 4,
        n_orientations: int = 4,
        neighbourhood: int = 7,
        masks: Masks = "exact",
    ) -> None:
        self.windows = windows
        self.model: Model = check_option(
            "model", model, ("texture", "energy", "luminance")
        )
        self.n_scales = check_whole("n_scales", n_scales, low=1)
        self.n_orientations = check_whole(
            "n_orientations", n_orientations, low=2, high=16
        )
        self.neighbourhood = check_whole("neighbourhood", neighbourhood, low=1)
        check_option("masks", masks, ("exact", "table"))
        if self.neighbourhood % 2 == 0:
            raise ValueError(f"`neighbourhood` must be odd; got {neighbourhood}.")
        divisor = 2**self.n_scales
        smallest = min(windows.shape) // divisor
        if self.model != "luminance":
            if any(side % divisor for side in windows.shape):
                raise ValueError(
                    f"`windows` must have a shape divisible by 2^n_scales = {divisor}; "
                    f"got {windows.shape}. Pad the images, or use fewer scales."
                )
            needed = self.neighbourhood if self.model == "texture" else 4
            if smallest < needed:
                raise ValueError(
                    f"`windows` of shape {windows.shape} leave {smallest} samples "
                    f"after {n_scales} scales; at least {needed} are needed. Use "
                    "larger images, fewer scales or a smaller neighbourhood."
                )
        self.lags = half_neighbourhood(self.neighbourhood)
        n_levels = 1 if self.model == "luminance" else self.n_scales + 1
        self.operators = PoolingOperators(windows, n_levels)
        self._parts = (
            None
            if self.model == "luminance"
            else PyramidParts(windows.shape, n_scales, n_orientations, masks)
        )
        self._has_lag = self._lags_that_fit()
        self._enough = self._enough_samples()

    @property
    def n_windows(self) -> int:
        """Number of windows, the fovea included."""
        return self.windows.n_windows

    @property
    def identity(self) -> dict[str, object]:
        """All that the values depend on, as JSON values."""
        return {
            "model": self.model,
            "windows": self.windows.identity,
            "n_scales": self.n_scales,
            "n_orientations": self.n_orientations,
            "neighbourhood": self.neighbourhood,
        }

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the statistics of each channel by itself.

        Parameters
        ----------
        images : Tensor of float32 or float64, shape (B, C, H, W)
            Of the windows' shape, on any device.

        Returns
        -------
        dict of str to Tensor, shape (B, C, n_windows, ...)
            See the notes of the class; gradients flow.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape differ.
        """
        self.check_images(images)
        if self.model == "luminance" or self._parts is None:
            return {"pixel_mean": self.operators.pool(0, images)}
        if self.model == "energy":
            energy = [
                self.operators.pool(level, _energy(parts.bands).flatten(1, 2))
                for level, parts in enumerate(
                    self._parts.scales(images, is_oriented_only=True)
                )
            ]
            by_window = self._by_window(torch.stack(energy, -1), images)
            growth = 16.0 ** torch.arange(self.n_scales, device=images.device)
            noise = rounding_energy(images)[..., None, None] * growth
            return {
                "pixel_mean": self.operators.pool(0, images),
                "energy": above_rounding(by_window, noise),
            }
        return self._texture(images, self._parts)

    def vector(self, values: Mapping[str, Tensor]) -> Tensor:
        """Lay the statistics out in one line: families in turn, windows first.

        Parameters
        ----------
        values : mapping of str to Tensor
            What calling returned.

        Returns
        -------
        Tensor, shape (B, C, n)
            NaN where a statistic is not defined; `table` names the entries.
        """
        return torch.cat([each.flatten(2) for each in values.values()], -1)

    def table(self, values: Mapping[str, Tensor]) -> pd.DataFrame:
        """Name the entries of `vector`.

        Parameters
        ----------
        values : mapping of str to Tensor
            What calling returned.

        Returns
        -------
        DataFrame
            One row per entry: `statistic`, `window`, `entry` (place in the other axes
            of the statistic, in C order).
        """
        parts = []
        for name, each in values.items():
            window, entry = np.divmod(
                np.arange(each[0, 0].numel()), max(each[0, 0, 0].numel(), 1)
            )
            parts.append(
                pd.DataFrame({"statistic": name, "window": window, "entry": entry})
            )
        return pd.concat(parts, ignore_index=True)

    def check_images(self, images: Tensor, name: str = "images") -> None:
        """Raise unless images are of a kind that can be measured.

        Parameters
        ----------
        images : Tensor
            What came.
        name : str, default "images"
            Argument name for the message.

        Raises
        ------
        TypeError
            If they are not a tensor of float32 or float64.
        ValueError
            If their shape is not (B, C, H, W) of the windows, or there are none.
        """
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        if kind not in (torch.float32, torch.float64):
            raise TypeError(
                f"`{name}` must be a float32 or float64 tensor; got {kind}."
            )
        if images.ndim != 4 or tuple(images.shape[2:]) != self.windows.shape:
            raise ValueError(
                f"`{name}` must have shape (B, C, {self.windows.shape[0]}, "
                f"{self.windows.shape[1]}), that of the windows; got "
                f"{tuple(images.shape)}."
            )
        if images.numel() == 0:
            raise ValueError(f"`{name}` is empty: at least one image is needed.")

    # ------------------------------------------------------------------ families

    def _texture(self, images: Tensor, parts: PyramidParts) -> dict[str, Tensor]:
        pool = self.operators.pool
        noise = rounding_energy(images)
        moments = self._moments(0, images, noise)
        found = {
            name: moment.to(images.dtype)
            for name, moment in zip(_MOMENTS, moments, strict=True)
        }
        oriented, lows = [], []
        for level, scale in enumerate(parts.scales(images)):
            lows.append(self._low(level, scale.low, noise))
            if level < self.n_scales:
                oriented.append(self._oriented(level, scale, noise))
            noise = 16 * noise
        for i, name in enumerate(_ORIENTED):
            each = [scale[i] for scale in oriented if i < len(scale)]
            if each:
                found[name] = torch.stack(each, -1)
        for i, name in enumerate(_LOW):
            found[name] = torch.stack([low[i] for low in lows], -1)
        residual = pool(0, parts.highpass(images).square())
        found["var_highpass_residual"] = above_rounding(
            residual, rounding_energy(images)
        )
        return found

    def _moments(self, level: int, maps: Tensor, noise: Tensor) -> list[Tensor]:
        """Mean, variance, skew and kurtosis in every window, float64."""
        # Central moments are small differences of large sums.
        x = maps.double()
        square = x * x
        powers = torch.cat([x, square, square * x, square * square], 1)
        m1, m2, m3, m4 = self.operators.pool(level, powers).chunk(4, 1)
        variance = m2 - m1 * m1
        third = m3 - 3 * m1 * m2 + 2 * m1**3
        fourth = m4 - 4 * m1 * m3 + 6 * m1 * m1 * m2 - 3 * m1**4
        defined = self._is_defined(level, variance, m2, noise, maps.dtype)
        safe = variance.where(defined, 1.0)
        return [
            m1,
            above_rounding(variance, noise.maximum(_cancelled(m2))),
            (third / safe**1.5).where(defined, torch.nan),
            (fourth / safe**2).where(defined, torch.nan),
        ]

    def _low(self, level: int, low: Tensor, noise: Tensor) -> list[Tensor]:
        mean, variance, skew, kurtosis = self._moments(level, low, noise)
        centre = mean[..., None]
        covariance = self._lag_means(level, low.double()) - centre * centre
        defined = skew.isfinite()
        correlation = covariance / variance.where(defined, 1.0)[..., None]
        fits = defined[..., None] & self._fits(level, low)
        values = [
            _root(variance),
            skew,
            kurtosis,
            correlation.where(fits, torch.nan),
        ]
        return [value.to(low.dtype) for value in values]

    def _oriented(self, level: int, scale: ScaleParts, noise: Tensor) -> list[Tensor]:
        o = self.n_orientations
        bands = scale.bands
        magnitudes = _energy(bands).clamp(min=torch.finfo(bands.real.dtype).tiny).sqrt()
        fine = magnitudes[:, :, :o]
        below = np.tril_indices(o, -1)
        rows, columns = (torch.as_tensor(part, device=bands.device) for part in below)
        # Means, squares and products of pairs share one call.
        maps = [
            magnitudes,
            magnitudes * magnitudes,
            fine[:, :, rows] * fine[:, :, columns],
        ]
        is_last = bands.shape[2] == o
        if not is_last:
            across = fine[:, :, :, None] * magnitudes[:, :, None, o:]
            maps.append(across.flatten(2, 3))
        sizes = [each.shape[2] for each in maps]
        pooled = self._pool_each(level, torch.cat(maps, 2))
        mean, square, pairs, *rest = torch.split(pooled, sizes, -1)
        variance = square - mean * mean
        defined = self._is_defined(level, variance, square, noise, variance.dtype)
        safe = variance.where(defined, 1.0)
        deviation = safe.sqrt()
        lags = self._lag_means(level, fine.flatten(1, 2))
        lags = lags.reshape(len(fine), -1, o, *lags.shape[2:])
        lags = lags.movedim(2, -1) - (mean[..., :o] ** 2)[..., None, :]
        fits = defined[..., None, :o] & self._fits(level, magnitudes)[..., None]
        own = (lags / safe[..., None, :o]).where(fits, torch.nan)

        def correlate(product: Tensor, a: slice | Tensor, b: slice | Tensor) -> Tensor:
            """Correlation from mean products; entries undefined where a part is."""
            covariance = product - mean[..., a] * mean[..., b]
            value = covariance / (deviation[..., a] * deviation[..., b])
            return value.where(defined[..., a] & defined[..., b], torch.nan)

        small = noise[..., None]
        found = [
            mean[..., :o].where(~(square[..., :o] <= small), 0.0),
            _root(above_rounding(variance[..., :o], small)),
            own,
            correlate(pairs, rows, columns),
        ]
        if is_last:
            return found
        first = torch.arange(o, device=bands.device).repeat_interleave(o)
        second = o + torch.arange(o, device=bands.device).repeat(o)
        across = correlate(rest[0], first, second)
        across = across.reshape(*across.shape[:-1], o, o)
        return [*found, across, self._phase(level, bands, magnitudes, noise)]

    def _phase(
        self, level: int, bands: Tensor, magnitudes: Tensor, noise: Tensor
    ) -> Tensor:
        """Real parts against coarser bands of doubled phase, about zero."""
        o = self.n_orientations
        real, imaginary = bands.real[:, :, o:], bands.imag[:, :, o:]
        length = magnitudes[:, :, o:]
        a, b = real / length, imaginary / length
        doubled = torch.cat([real * a - imaginary * b, 2 * a * imaginary], 2)
        fine = bands.real[:, :, :o]
        squares = torch.cat([fine, doubled], 2).square()
        products = (fine[:, :, :, None] * doubled[:, :, None]).flatten(2, 3)
        pooled = self._pool_each(level, torch.cat([squares, products], 2))
        square, product = torch.split(pooled, [3 * o, 2 * o * o], -1)
        defined = self._is_defined(level, square, square, noise, square.dtype)
        deviation = square.where(defined, 1.0).sqrt()
        outer = deviation[..., :o, None] * deviation[..., None, o:]
        both = defined[..., :o, None] & defined[..., None, o:]
        return (product.reshape(outer.shape) / outer).where(both, torch.nan)

    # ------------------------------------------------------------------- helpers

    def _pool_each(self, level: int, maps: Tensor) -> Tensor:
        """Pool (B, C, n, h, w) to (B, C, n_windows, n)."""
        pooled = self.operators.pool(level, maps.flatten(1, 2))
        return pooled.reshape(*maps.shape[:3], -1).mT

    def _lag_means(self, level: int, maps: Tensor) -> Tensor:
        """Mean products at all lags: (B, C, h, w) to (B, C, n_windows, L)."""
        n_lags = len(self.lags)
        flat = maps.flatten(0, 1)
        if not n_lags:
            return maps.new_zeros(*maps.shape[:2], self.n_windows, 0)
        step = max(_MAPS_AT_ONCE // n_lags, 1)
        pooled = [
            self.operators.pool(level, lag_products(part, self.lags))
            for part in torch.split(flat, step)
        ]
        return torch.cat(pooled).reshape(*maps.shape[:2], n_lags, -1).mT

    def _by_window(self, values: Tensor, images: Tensor) -> Tensor:
        """(B, C * O, n_windows, S) to (B, C, n_windows, O, S)."""
        shape = (*images.shape[:2], self.n_orientations, *values.shape[2:])
        return values.reshape(shape).movedim(3, 2)

    def _lags_that_fit(self) -> list[Tensor]:
        """Per level, (n_windows, L): whether a window is wide enough for the lag."""
        table = window_table(self.windows)
        width = table[["radial_width_deg", "tangential_width_deg"]].min(axis=1)
        width_px = width.to_numpy() * self.windows.px_per_deg
        size = np.array([max(abs(i), abs(j)) for i, j in self.lags])
        return [
            torch.from_numpy(width_px[:, None] / 2**level >= 2 * size + 1)
            for level in range(self.operators.n_levels)
        ]

    def _enough_samples(self) -> list[Tensor]:
        """Per level, (n_windows,): whether a window holds samples enough."""
        sums = self.operators.window_sums
        return [
            torch.from_numpy(sums[level] ** 2 / squares >= _FEWEST_SAMPLES)
            for level, squares in enumerate(self.operators.window_squares)
        ]

    def _is_defined(
        self,
        level: int,
        variance: Tensor,
        square: Tensor,
        noise: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        """Whether a variance (B, C, n_windows, ...) is more than rounding.

        Rounding is a share of the largest variance, of the mean square that it was
        taken from, and of the images (`noise`, (B, C, 1)).
        """
        values = variance.detach()
        floor = torch.finfo(dtype).resolution * values.amax(2, keepdim=True)
        small = noise.reshape(*noise.shape, *[1] * (values.ndim - 3))
        above = values > floor.maximum(_cancelled(square)).maximum(small)
        enough = self._enough[level].to(values.device)
        return above & enough.reshape(-1, *[1] * (values.ndim - 3))

    def _fits(self, level: int, like: Tensor) -> Tensor:
        return self._has_lag[level].to(like.device)


_MOMENTS = ("pixel_mean", "pixel_variance", "pixel_skew", "pixel_kurtosis")
_ORIENTED = (
    "magnitude_mean",
    "magnitude_std",
    "auto_correlation_magnitude",
    "cross_orientation_correlation_magnitude",
    "cross_scale_correlation_magnitude",
    "cross_scale_correlation_real",
)
_LOW = (
    "std_reconstructed",
    "skew_reconstructed",
    "kurtosis_reconstructed",
    "auto_correlation_reconstructed",
)


def _energy(bands: Tensor) -> Tensor:
    return bands.real.square() + bands.imag.square()


def _cancelled(square: Tensor) -> Tensor:
    """Bound what rounding leaves of a mean square less a squared mean."""
    return 16 * torch.finfo(square.dtype).eps * square.detach()


def _root(variance: Tensor) -> Tensor:
    """Square root; 0, with a finite gradient, where rounding left nothing."""
    used = ~(variance <= torch.finfo(variance.dtype).tiny)  # NaN stays
    return variance.where(used, 1.0).sqrt().where(used, 0.0)
