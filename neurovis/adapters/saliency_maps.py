"""Bottom-up saliency and other maps of where people look, without a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from neurovis.core.checks import check_image, check_option

FloatArray = NDArray[np.float64]

# Width in pixels of the picture whose spectrum is taken, and of the blur of its map, as
# in the code that Hou and Zhang published with their article.
_SPECTRUM_WIDTH = 64
_SPECTRUM_SIGMA = 2.5
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class MapModel:
    """Says for every pixel how likely it is to be looked at.

    Parameters
    ----------
    kind : {"saliency", "spectral-residual", "centre", "chance"}
        `saliency_map`, `spectral_residual_map`, `centre_map`, or the same value
        everywhere; the last two whatever the picture.
    name : str
        Name in tables.
    notes : tuple of str, default ()
        What a reader must know.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """

    kind: str
    name: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_option("kind", self.kind, tuple(MAP_MODELS))

    @property
    def identity(self) -> dict[str, str]:
        """All that its maps depend on besides the picture."""
        return {"observer": self.kind}

    def saliency(self, image: NDArray[np.uint8]) -> FloatArray:
        """Map a picture.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W, 3)
            Picture.

        Returns
        -------
        ndarray of float64, shape (H, W)
            More is more likely; >= 0, not a density.

        Raises
        ------
        TypeError, ValueError
            If `image` is not a picture.
        """
        return MAP_MODELS[self.kind](check_image("image", image))


def load_map_model(kind: str, *, label: str | None = None) -> MapModel:
    """Build a model that maps pictures.

    Parameters
    ----------
    kind : {"saliency", "spectral-residual", "centre", "chance"}
        Which.
    label : str, optional
        Name in tables; the kind by default.

    Returns
    -------
    MapModel
        Ready to map.

    Raises
    ------
    ValueError
        If the kind is unknown (the nearest one is suggested).

    Examples
    --------
    >>> load_map_model("chance").saliency(np.zeros((2, 3, 3), np.uint8))
    array([[1., 1., 1.],
           [1., 1., 1.]])
    """
    return MapModel(kind, label or kind)


def centre_map(shape: tuple[int, ...]) -> FloatArray:
    """Return nearness to the centre of a picture, equal for like shapes.

    Parameters
    ----------
    shape : tuple of int
        Height and width.

    Returns
    -------
    ndarray of float64, shape (H, W)
        1 at the centre, 0 in the corners; the same along ellipses of the aspect
        ratio of the picture.

    Examples
    --------
    >>> centre_map((3, 3)).argmax()
    np.int64(4)
    """
    height, width = shape
    y = (np.arange(height)[:, None] + 0.5) / height - 0.5
    x = (np.arange(width) + 0.5) / width - 0.5
    nearness: FloatArray = 1 - np.hypot(x, y) / np.hypot(0.5, 0.5)
    return nearness


def spectral_residual_map(image: NDArray[np.uint8]) -> FloatArray:
    """Return saliency by the spectral residual of the luminance.

    The picture is reduced to a width of 64 pixels. What its log amplitude spectrum has
    beyond the local mean (3 x 3 frequencies) is transformed back with the phase of the
    picture; the squared result is blurred.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        Picture.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Saliency, >= 0; 0 everywhere for a uniform picture.

    Raises
    ------
    TypeError, ValueError
        If `image` is not a picture.

    Notes
    -----
    The spectrum is taken as periodic where frequencies are averaged. The blur is a
    Gaussian of 2.5 reduced pixels with zeros beyond the edge, as in the published code
    (8 in the article), centred on the pixel (there half a pixel off). Linear
    interpolation brings the map to the size of the picture. Smaller pictures are not
    enlarged.

    References
    ----------
    Hou and Zhang (2007). Saliency detection: a spectral residual approach. CVPR.
    doi:10.1109/CVPR.2007.383267.

    Examples
    --------
    >>> image = np.random.default_rng(0).integers(100, 150, (48, 64, 3), np.uint8)
    >>> image[20:26, 50:56] = 255
    >>> np.unravel_index(spectral_residual_map(image).argmax(), (48, 64))
    (np.int64(23), np.int64(52))
    """
    luminance = check_image("image", image) @ np.array(_LUMA)
    if luminance.max() - luminance.min() < 1e-9:
        return np.zeros(luminance.shape)
    factor = min(1.0, _SPECTRUM_WIDTH / luminance.shape[1])
    rows, columns = (max(1, round(n * factor)) for n in luminance.shape)
    small = _cell_means(rows, luminance.shape[0]) @ luminance
    small = small @ _cell_means(columns, luminance.shape[1]).T
    spectrum = fft.fft2(small)
    amplitude = np.abs(spectrum)
    # Frequencies that a drawn picture lacks are noise of rounding.
    log_amplitude = np.log(np.maximum(amplitude, 1e-9 * amplitude.max()))
    local_mean = ndimage.uniform_filter(log_amplitude, 3, mode="wrap")
    # exp(log a - mean) with the phase of the spectrum F = a exp(i phase).
    residual = fft.ifft2(spectrum * np.exp(-local_mean))
    blurred = ndimage.gaussian_filter(
        np.abs(residual) ** 2, _SPECTRUM_SIGMA, mode="constant"
    )
    return _resize(blurred, luminance.shape)


def _cell_means(n_cells: int, n_pixels: int) -> FloatArray:
    """Matrix that averages pixels over equal cells, shape (n_cells, n_pixels)."""
    edges = np.arange(n_cells + 1)[:, None] * (n_pixels / n_cells)
    covered = np.clip(edges - np.arange(n_pixels), 0, 1)
    cells: FloatArray = (covered[1:] - covered[:-1]) * (n_cells / n_pixels)
    return cells


def saliency_map(
    image: NDArray[np.uint8], *, background: int | None = None
) -> FloatArray:
    """Return bottom-up saliency: intensity, colour and orientation contrast.

    The scheme of Itti, Koch & Niebur (1998, IEEE PAMI 20, 1254-1259,
    doi:10.1109/34.730558): dyadic pyramids, centre-surround differences between
    levels 2-4 and levels 3-4 coarser, maps promoted when they have few peaks.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        Display.
    background : int, optional
        Grey level outside the display; its border is continued when missing.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Saliency, >= 0.
    """
    margin = 64
    pads = ((margin, margin), (margin, margin), (0, 0))
    if background is None:
        padded = np.pad(image / 255.0, pads, mode="edge")
    else:
        padded = np.pad(image / 255.0, pads, constant_values=background / 255.0)
    red, green, blue = np.moveaxis(padded, -1, 0)
    levels = _pyramid(padded.mean(-1))
    colour = _conspicuity(_pyramid(red - green))
    colour += _conspicuity(_pyramid(blue - (red + green) / 2))
    orientation = np.zeros_like(colour)
    for angle in range(4):
        bars = [_oriented(level, angle) for level in levels]
        orientation += _promote(_conspicuity(bars))
    total = _promote(_conspicuity(levels)) + _promote(colour) + _promote(orientation)
    whole = _resize(total / 3, padded.shape[:2])
    return whole[margin:-margin, margin:-margin]


def _pyramid(values: FloatArray) -> list[FloatArray]:
    """Levels 2 to 8 of a dyadic Gaussian pyramid, as many as there are."""
    levels = [values]
    while len(levels) < 9 and min(levels[-1].shape) > 4:
        # Rows that the next level drops are not blurred along the other axis.
        rows = ndimage.gaussian_filter1d(levels[-1], 1.0, axis=0, mode="nearest")[::2]
        both = ndimage.gaussian_filter1d(rows, 1.0, axis=1, mode="nearest")
        levels.append(both[:, ::2])
    return levels[2:]


def _oriented(values: FloatArray, angle: int) -> FloatArray:
    """Energy of a Gabor pair at `angle` times 45 degrees, period 5 pixels."""
    y, x = np.mgrid[-4:5, -4:5]
    turn = np.deg2rad(45 * angle)
    phase = 2 * np.pi * (x * np.cos(turn) + y * np.sin(turn)) / 5
    window = np.exp(-(x**2 + y**2) / (2 * 1.8**2))
    even, odd = np.cos(phase) * window, np.sin(phase) * window
    even -= window * (even.sum() / window.sum())
    filtered = [ndimage.convolve(values, k, mode="nearest") for k in (even, odd)]
    energy: FloatArray = np.hypot(*filtered)
    return energy


def _conspicuity(levels: Sequence[FloatArray]) -> FloatArray:
    """Sum of promoted centre-surround differences, at the finest level given."""
    sized = [_resize(level, levels[0].shape) for level in levels[:7]]
    total = np.zeros(levels[0].shape)
    for centre in (0, 1, 2):
        for surround in (centre + 3, centre + 4):
            if surround < len(sized):
                total += _promote(np.abs(sized[centre] - sized[surround]))
    return total


def _resize(values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Interpolate linearly between pixel centres; the border is continued.

    The same numbers as of `scipy.ndimage.zoom` with order 1 on a grid of pixels, in the
    same order, a few times faster.
    """
    if values.shape == tuple(shape):
        return values
    (top, bottom, below), (left, right, beyond) = (
        _taps(m, n) for m, n in zip(values.shape, shape, strict=True)
    )
    upper = values[top] * (1 - below)[:, None]
    lower = values[bottom] * below[:, None]
    resized = upper.take(left, axis=1)
    resized *= 1 - beyond
    for rows, columns, weight in (
        (upper, right, beyond),
        (lower, left, 1 - beyond),
        (lower, right, beyond),
    ):
        resized += rows.take(columns, axis=1) * weight
    return resized


def _taps(
    n_old: int, n_new: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    """Old pixels before and after each new one, and the weight of the later."""
    place = (np.arange(n_new) + 0.5) * (n_old / n_new) - 0.5
    before = np.floor(place).astype(np.intp)
    weight = place - before
    return before.clip(0, n_old - 1), (before + 1).clip(0, n_old - 1), weight


def _promote(values: FloatArray) -> FloatArray:
    """Scale to [0, 1], then weigh by (1 - mean of the other local maxima) squared."""
    values = values - values.min()
    if values.max() < 1e-9:
        return np.zeros_like(values)
    values = values / values.max()
    size = max(3, min(values.shape) // 10)
    peaks = values[(_largest_nearby(values, size) == values) & (values > 0.05)]
    others = np.sort(peaks)[:-1]
    mean = float(others.mean()) if len(others) else 0.0
    return values * (1 - mean) ** 2


def _largest_nearby(values: FloatArray, size: int) -> FloatArray:
    """Maximum within a square of `size` pixels, the part of it inside the map.

    The number of `scipy.ndimage.maximum_filter`, by comparing ever wider runs.
    """
    for axis in (0, 1):
        n = values.shape[axis]
        pads = [(0, 0), (0, 0)]
        pads[axis] = (size // 2, size - 1 - size // 2)
        runs = np.pad(values, pads, constant_values=-np.inf).swapaxes(0, axis)
        width = 1
        while 2 * width <= size:
            runs = np.maximum(runs[:-width], runs[width:])
            width *= 2
        rest = size - width
        values = np.maximum(runs[:n], runs[rest : rest + n]).swapaxes(0, axis)
    return values


def _uniform_map(image: NDArray[np.uint8]) -> FloatArray:
    return np.ones(image.shape[:2])


def _centre_map_of(image: NDArray[np.uint8]) -> FloatArray:
    return centre_map(image.shape[:2])


MAP_MODELS: dict[str, Callable[[NDArray[np.uint8]], FloatArray]] = {
    "saliency": saliency_map,
    "spectral-residual": spectral_residual_map,
    "centre": _centre_map_of,
    "chance": _uniform_map,
}
"""Map of a picture by the kind of model."""
