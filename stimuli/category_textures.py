"""Textures for sixteen categories, made by formula.

They differ in scale, orientation, form and colour, and remind of the surface of their
category at best: what is learned from photographs need not hold for them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_option, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]
Rgb = tuple[float, float, float]

_GRID = 256
"""Fields are made at this size at least, so that sizes show the same texture."""


@dataclass(frozen=True)
class _Texture:
    """A field of 0..1 between two colours."""

    field: Callable[[np.random.Generator, int], FloatArray]
    dark: Rgb
    light: Rgb


def _noise(
    stream: np.random.Generator,
    side: int,
    cycles: float,
    *,
    octaves: float = 1.0,
    angle_deg: float | None = None,
    spread_deg: float = 15.0,
) -> FloatArray:
    """Return periodic band-pass noise of mean 0 and standard deviation 1.

    `cycles` are per picture; `angle_deg` is that of the stripes, counter-clockwise.
    """
    white = stream.standard_normal((_GRID, _GRID))
    y, x = np.fft.fftfreq(_GRID, 1 / _GRID)[:, None], np.fft.rfftfreq(_GRID, 1 / _GRID)
    frequency = np.maximum(np.hypot(x, y), 1e-9)
    gain = np.exp(-0.5 * (np.log2(frequency / cycles) / (octaves / 2)) ** 2)
    if angle_deg is not None:
        across = np.rad2deg(np.arctan2(-y, x)) - angle_deg - 90
        across = (across + 90) % 180 - 90
        gain = gain * np.exp(-0.5 * (across / spread_deg) ** 2)
    gain[0, 0] = 0
    spectrum = np.fft.rfft2(white) * gain
    # Zero-padding and cutting spectra keep the field when the side changes.
    field = np.fft.irfft2(_fit(spectrum, side), s=(side, side))
    return np.asarray(field / field.std())


def _fit(spectrum: NDArray[np.complex128], side: int) -> NDArray[np.complex128]:
    half = min(side, _GRID) // 2
    fitted = np.zeros((side, side // 2 + 1), np.complex128)
    fitted[:half, :half] = spectrum[:half, :half]
    fitted[-half + 1 :, :half] = spectrum[-half + 1 :, :half]
    return fitted


def _unit(field: FloatArray) -> FloatArray:
    """Bring a field to 0..1; values beyond two standard deviations are clipped."""
    return np.asarray(np.clip(0.5 + field / (4 * field.std()), 0, 1))


def _place(side: int) -> tuple[FloatArray, FloatArray]:
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    return x, y


def _fur(
    cycles: float, angle_deg: float, spread_deg: float
) -> Callable[..., FloatArray]:
    def field(stream: np.random.Generator, side: int) -> FloatArray:
        hair = _noise(
            stream,
            side,
            cycles,
            octaves=1.6,
            angle_deg=angle_deg,
            spread_deg=spread_deg,
        )
        return _unit(hair + 0.4 * _noise(stream, side, 4, octaves=1.5))

    return field


def _stripes(
    cycles: float, angle_deg: float, wobble: float, sharp: float
) -> Callable[..., FloatArray]:
    def field(stream: np.random.Generator, side: int) -> FloatArray:
        x, y = _place(side)
        angle = np.deg2rad(angle_deg)
        along = x * np.sin(angle) + y * np.cos(angle)
        bent = along + wobble * _noise(stream, side, 3, octaves=1.5)
        wave = np.tanh(sharp * np.sin(2 * np.pi * cycles * bent)) / np.tanh(sharp)
        return _unit(wave + 0.25 * _noise(stream, side, 40))

    return field


def _ridges(cycles: float) -> Callable[..., FloatArray]:
    def field(stream: np.random.Generator, side: int) -> FloatArray:
        folds = np.abs(_noise(stream, side, cycles)) + 0.5 * np.abs(
            _noise(stream, side, 2.5 * cycles)
        )
        return _unit(folds - folds.mean())

    return field


def _tiles(rows: int, columns: int, gap: float) -> Callable[..., FloatArray]:
    def field(stream: np.random.Generator, side: int) -> FloatArray:
        x, y = _place(side)
        inside = np.maximum(np.abs(x * columns % 1 - 0.5), np.abs(y * rows % 1 - 0.5))
        edge = 0.5 - gap
        bright = np.clip((edge - inside) / 0.06 + 0.5, 0, 1)
        level = stream.uniform(0.7, 1.0, (rows, columns))
        shade = level[(y * rows).astype(int), (x * columns).astype(int)]
        return np.asarray(
            np.clip(bright * shade + 0.03 * _noise(stream, side, 50), 0, 1)
        )

    return field


def _scales(rows: int) -> Callable[..., FloatArray]:
    def field(stream: np.random.Generator, side: int) -> FloatArray:
        x, y = _place(side)
        row = np.floor(y * rows)
        across = (x * rows + row % 2 / 2) % 1 - 0.5
        down = y * rows - row
        # Each scale is darkest where the arc of the one above ends.
        arc = down - np.sqrt(np.maximum(0.25 - across**2, 0)) * 1.4
        return _unit(
            np.where(arc > 0, arc, arc + 1) - 0.5 + 0.1 * _noise(stream, side, 45)
        )

    return field


def _dots(rows: int, radius: float) -> Callable[..., FloatArray]:
    def field(stream: np.random.Generator, side: int) -> FloatArray:
        x, y = _place(side)
        row = np.floor(y * rows)
        across = (x * rows + row % 2 / 2) % 1 - 0.5
        distance = np.hypot(across, y * rows - row - 0.5)
        dots = np.clip((radius - distance) / 0.08 + 0.5, 0, 1)
        sheen = 0.5 + 0.12 * _noise(stream, side, 2.5)
        return np.asarray(np.clip(0.75 * dots + 0.35 * sheen, 0, 1))

    return field


_TEXTURES: Mapping[str, _Texture] = MappingProxyType(
    {
        "airplane": _Texture(_dots(9, 0.12), (0.62, 0.66, 0.72), (0.95, 0.96, 0.98)),
        "bear": _Texture(_fur(28, 70, 18), (0.14, 0.08, 0.04), (0.52, 0.34, 0.2)),
        "bicycle": _Texture(_tiles(7, 7, 0.12), (0.85, 0.86, 0.88), (0.12, 0.12, 0.14)),
        "bird": _Texture(_scales(11), (0.1, 0.2, 0.42), (0.62, 0.78, 0.86)),
        "boat": _Texture(
            _stripes(6, 0, 0.01, 0.8), (0.45, 0.26, 0.12), (0.86, 0.64, 0.4)
        ),
        "bottle": _Texture(
            _stripes(4, 90, 0.02, 0.3), (0.05, 0.28, 0.12), (0.6, 0.86, 0.62)
        ),
        "car": _Texture(_fur(3, 10, 25), (0.5, 0.02, 0.04), (1.0, 0.4, 0.36)),
        "cat": _Texture(
            _stripes(9, 55, 0.05, 1.5), (0.32, 0.18, 0.08), (0.9, 0.66, 0.38)
        ),
        "chair": _Texture(
            _stripes(14, 90, 0.015, 0.6), (0.34, 0.18, 0.08), (0.7, 0.45, 0.24)
        ),
        "clock": _Texture(_dots(6, 0.3), (0.9, 0.86, 0.74), (0.3, 0.24, 0.16)),
        "dog": _Texture(_ridges(16), (0.95, 0.9, 0.8), (0.5, 0.38, 0.26)),
        "elephant": _Texture(_ridges(8), (0.3, 0.29, 0.3), (0.66, 0.64, 0.63)),
        "keyboard": _Texture(_tiles(6, 8, 0.07), (0.08, 0.08, 0.09), (0.5, 0.52, 0.55)),
        "knife": _Texture(_fur(60, 0, 4), (0.5, 0.52, 0.55), (0.93, 0.94, 0.96)),
        "oven": _Texture(
            _stripes(12, 0, 0.0, 3.0), (0.05, 0.05, 0.06), (0.5, 0.34, 0.24)
        ),
        "truck": _Texture(
            _stripes(5, 45, 0.0, 6.0), (0.1, 0.1, 0.1), (0.95, 0.75, 0.1)
        ),
    }
)

TEXTURES: tuple[str, ...] = tuple(_TEXTURES)
"""The sixteen categories, in alphabetical order."""


def draw_texture(
    category: str, *, size_px: int = 224, number: int = 0, seed: int = 0
) -> FloatArray:
    """Make a texture of a category.

    Parameters
    ----------
    category : str
        One of `TEXTURES`.
    size_px : int, default 224
        Side, 16..4096.
    number : int, default 0
        Which exemplar, >= 0.
    seed : int, default 0
        Seed, >= 0.

    Returns
    -------
    ndarray of float64, shape (size_px, size_px, 3)
        Red, green and blue, 0..1.

    Raises
    ------
    TypeError, ValueError
        If the category is unknown or a number is out of range.

    Examples
    --------
    >>> draw_texture("bear", size_px=32).shape
    (32, 32, 3)
    """
    check_option("category", category, TEXTURES)
    side = check_whole("size_px", size_px, low=16, high=4096)
    number = check_whole("number", number, low=0)
    check_whole("seed", seed, low=0)
    made = _TEXTURES[category]
    share = made.field(generator(seed, "texture", category, number), side)[..., None]
    dark, light = np.array(made.dark), np.array(made.light)
    return dark + share * (light - dark)
