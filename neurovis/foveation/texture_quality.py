"""How well a texture keeps the local statistics of the picture that it is made from."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from analysis.image_similarity import LUMA
from neurovis.core.checks import check_between
from neurovis.foveation.image_batches import check_images
from neurovis.foveation.pooling import PoolingOperators
from neurovis.foveation.steerable_pyramid import SteerablePyramid
from neurovis.foveation.windows import PoolingWindows, pixel_polar, ring_weights

Array = NDArray[np.float64]

# Radius beyond which high frequencies are compared, as a share of the longer side.
FAR_SHARE = 90 / 256
FINE_SIGMA_PX = 2.0
N_SCALES, N_ORIENTATIONS = 4, 4
# Variation that is rounding, in pictures of [0, 1].
NOTHING = 1e-8


def texture_quality(
    original: Tensor,
    transformed: Tensor,
    windows: PoolingWindows,
    *,
    min_area_px: float = 64,
) -> pd.DataFrame:
    """Compare the luminance of pictures with what a transform made of it.

    Parameters
    ----------
    original, transformed : Tensor of float32, shape (B, 3, H, W)
        Pictures in [0, 1], before and after.
    windows : PoolingWindows
        Of the pictures, with a fovea and at least one ring; sides that
        16 divides (8 below 64 pixels).
    min_area_px : float, default 64
        Windows with fewer pixels at half height are left out of the errors.

    Returns
    -------
    DataFrame
        One row per picture and measure: ``image`` (place in the batch), ``measure``,
        ``ring`` (missing where a measure has none) and ``value``. Measures:

        - ``magnitude_mean_error``, ``magnitude_sd_error`` of a complex steerable
          pyramid (4 orientations), ``orientation_correlation_error`` of these
          magnitudes, ``kurtosis_error`` of real coefficients, ``pixel_sd_error`` and
          ``pixel_skew_error``: absolute difference of a statistic, averaged over
          windows, over the standard deviation of the statistic of the original
          across windows; averaged over bands;
        - ``fine_correlation`` and ``fine_energy`` (ratio) of the picture less its
          Gaussian average (2 px), beyond 90/256 of the longer side from fixation;
        - ``distortion``: mean absolute difference in a ring; ring 0 is the fovea.

        NaN where nothing can be measured, as in a flat picture.

    Raises
    ------
    TypeError, ValueError
        If pictures or windows are not such.

    Examples
    --------
    >>> from neurovis.foveation.windows import pooling_windows
    >>> picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> table = texture_quality(picture, picture, pooling_windows((64, 64), 0.5))
    >>> float(table.set_index("measure").loc["fine_energy", "value"])
    1.0
    """
    for images in (original, transformed):
        check_images(images, windows.shape)
    if len(original) != len(transformed):
        raise ValueError(
            f"`original` and `transformed` must be as many pictures; got "
            f"{len(original)} and {len(transformed)}."
        )
    if not (windows.has_fovea and windows.rings):
        raise ValueError(
            "`windows` must have a fovea and rings: see `pooling_windows`."
        )
    check_between("min_area_px", min_area_px, low=0)
    n_scales = min(N_SCALES, int(np.log2(min(windows.shape))) - 2)
    operators = PoolingOperators(windows, n_scales)
    margin = 2**n_scales
    height, width = windows.shape
    pyramid = SteerablePyramid(
        (height + 2 * margin, width + 2 * margin),
        n_scales=n_scales,
        n_orientations=N_ORIENTATIONS,
        tight_frame=True,
        dtype=torch.float64,
    )
    kept = _large(windows, min_area_px)
    rows: list[dict[str, Any]] = []
    for image in range(len(original)):
        before, after = (
            _luminance(images[image : image + 1]) for images in (original, transformed)
        )
        found = [_statistics(operators, pyramid, grey) for grey in (before, after)]
        values: dict[str, float] = {
            f"{name}_error": _error(found[0][name][:, kept], found[1][name][:, kept])
            for name in found[0]
        }
        pair = [grey[0, 0].numpy() for grey in (before, after)]
        values |= _fine(windows, *pair)
        rows += [
            {"image": image, "measure": name, "ring": None, "value": value}
            for name, value in values.items()
        ]
        change = (original[image] - transformed[image]).abs().mean(dim=0)
        rows += [
            {"image": image, "measure": "distortion", "ring": ring, "value": value}
            for ring, value in enumerate(_by_ring(windows, change.cpu().numpy()))
        ]
    table = pd.DataFrame(rows, columns=["image", "measure", "ring", "value"])
    return table.astype({"ring": "Int64", "value": float})


def _luminance(images: Tensor) -> Tensor:
    weights = torch.tensor(LUMA, dtype=torch.float64)
    return (images.cpu().double() * weights[:, None, None]).sum(dim=1, keepdim=True)


def _large(windows: PoolingWindows, min_area_px: float) -> NDArray[np.bool_]:
    entries = windows.entries
    high = entries.window[entries.weight > 0.5]
    kept = np.bincount(high, minlength=windows.n_windows) >= min_area_px
    kept[0] = False  # the fovea is not pooled
    return kept


def _statistics(
    operators: PoolingOperators, pyramid: SteerablePyramid, grey: Tensor
) -> dict[str, Array]:
    """Statistics by name, each (n_numbers, n_windows)."""
    first, second = np.tril_indices(N_ORIENTATIONS, -1)
    found: dict[str, list[Array]] = {
        "magnitude_mean": [],
        "magnitude_sd": [],
        "orientation_correlation": [],
        "kurtosis": [],
    }
    # Mirrored, as the pyramid would join opposite borders of the picture.
    margin = 2**pyramid.n_scales
    mirrored = torch.nn.functional.pad(grey, [margin] * 4, mode="reflect")
    for level, whole in enumerate(pyramid.analyse(mirrored).bands):
        cut = margin >> level
        band = whole[0, 0, :, cut:-cut, cut:-cut]
        real, magnitude = band.real, band.abs()
        maps = [
            magnitude,
            magnitude**2,
            magnitude[first] * magnitude[second],
            real,
            real**2,
            real**3,
            real**4,
        ]
        pooled = operators.pool(level, torch.cat(maps)[None])[0].numpy()
        sizes = np.cumsum([len(part) for part in maps])[:-1]
        mean, square, product, *raw = np.split(pooled, sizes)
        variance = np.maximum(square - mean**2, 0)
        sd = np.sqrt(variance)
        found["magnitude_mean"].append(mean)
        found["magnitude_sd"].append(sd)
        covariance = product - mean[first] * mean[second]
        found["orientation_correlation"].append(
            _ratio(covariance, sd[first] * sd[second])
        )
        _, second_moment, _, fourth = _central(*raw)
        found["kurtosis"].append(_ratio(fourth, second_moment**2))
    maps_grey = torch.cat([grey, grey**2, grey**3, grey**4], dim=1)
    raw_grey = operators.pool(0, maps_grey)[0].numpy()[:, None]
    _, variance, third, _ = _central(*raw_grey)
    found["pixel_sd"] = [np.sqrt(variance)]
    found["pixel_skew"] = [_ratio(third, variance**1.5)]
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _central(
    one: Array, two: Array, three: Array, four: Array
) -> tuple[Array, Array, Array, Array]:
    # Central moments from raw ones.
    variance = np.maximum(two - one**2, 0)
    third = three - 3 * one * two + 2 * one**3
    fourth = four - 4 * one * three + 6 * one**2 * two - 3 * one**4
    return one, variance, third, fourth


def _ratio(part: Array, whole: Array) -> Array:
    # `whole` is a variance or its square, at least.
    valid = whole > NOTHING**3
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=valid)


def _error(before: Array, after: Array) -> float:
    valid = np.isfinite(before) & np.isfinite(after)
    errors = []
    for old, new, both in zip(before, after, valid, strict=True):
        if both.sum() > 1 and old[both].std() > NOTHING:
            change = np.abs(new[both] - old[both]).mean()
            errors.append(change / old[both].std())
    return float(np.mean(errors)) if errors else float("nan")


def _fine(windows: PoolingWindows, before: Array, after: Array) -> dict[str, float]:
    radius, _ = pixel_polar(windows)
    far = radius > FAR_SHARE * max(windows.shape)
    one, other = (
        (grey - ndimage.gaussian_filter(grey, FINE_SIGMA_PX, mode="nearest")).ravel()[
            far
        ]
        for grey in (before, after)
    )
    energy = float((one**2).mean()) if far.any() else 0.0
    if energy < NOTHING**2:
        return {"fine_correlation": float("nan"), "fine_energy": float("nan")}
    flat = min(one.std(), other.std()) < NOTHING
    correlation = float("nan") if flat else float(np.corrcoef(one, other)[0, 1])
    return {
        "fine_correlation": correlation,
        "fine_energy": float((other**2).mean() / energy),
    }


def _by_ring(windows: PoolingWindows, change: NDArray[np.float32]) -> list[float]:
    rings = ring_weights(windows)
    weights = np.concatenate([1 - rings.sum(axis=0, keepdims=True), rings])
    pairs = [(weight, weight.sum()) for weight in weights]
    return [
        float((weight * change).sum() / total) if total else float("nan")
        for weight, total in pairs
    ]
