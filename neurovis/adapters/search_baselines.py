"""Observers without a network: chance, centre bias, pixel matching, saliency.

They obey the same rules as eccNET (`search_loop`). The published chance and pixel
matching differ in ways that are errors of their scripts (a shift by one trial, item
masks that double instead of vanish); these are the sound versions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from neurovis.adapters.search_loop import (
    SearchState,
    check_trials,
    search_by_priority,
)
from neurovis.adapters.search_maps import gaussian_blur
from neurovis.core.checks import check_option
from neurovis.core.observers import SearchRules, SearchTrial
from neurovis.core.rng import generator
from neurovis.core.types import Scanpath

# Means of the Caffe VGG networks, red, green, blue.
_MEAN_RGB = (123.68, 116.779, 103.939)


@dataclass(frozen=True)
class ChanceSearcher:
    """Looks anywhere it has not looked yet, all places equally likely.

    Parameters
    ----------
    name : str, default "chance"
        Name in tables.
    notes : tuple of str, default ()
        What a reader must know.
    """

    name: str = "chance"
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> dict[str, str]:
        """All that its responses depend on besides display, rules and seed."""
        return {"observer": "chance"}

    def search(
        self, trials: Sequence[SearchTrial], rules: SearchRules, *, seed: int = 0
    ) -> list[Scanpath]:
        """Search every display.

        Parameters
        ----------
        trials : sequence of SearchTrial
            Displays.
        rules : SearchRules
            Rules of the experiment.
        seed : int
            Seed; each trial draws from its own stream.

        Returns
        -------
        list of Scanpath
            One per trial.
        """
        check_trials(trials, rules)
        paths = []
        for trial in trials:
            draw = generator(seed, "chance", trial.stimulus_id)
            state = SearchState(trial, rules)
            while state.begin_glance():
                part = state.reachable()
                rows, columns = np.nonzero(state.allowed[part])
                if len(rows) == 0:
                    break
                pick = int(draw.integers(len(rows)))
                state.fixate(
                    int(rows[pick]) + part[0].start, int(columns[pick]) + part[1].start
                )
            paths.append(state.scanpath(self.name))
        return paths


@dataclass(frozen=True)
class PrioritySearcher:
    """Visits the places of one fixed map, best first.

    Parameters
    ----------
    kind : {"pixel-match", "saliency", "centre"}
        Map: correlation of the pixels with the picture of the target, bottom-up
        saliency, or nearness to the centre, the last two whatever the target.
    name : str
        Name in tables.
    notes : tuple of str, default ()
        What a reader must know.
    """

    kind: str
    name: str
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> dict[str, str]:
        """All that its responses depend on besides display, rules and seed."""
        return {"observer": self.kind}

    def search(
        self, trials: Sequence[SearchTrial], rules: SearchRules, *, seed: int = 0
    ) -> list[Scanpath]:
        """Search every display.

        Parameters
        ----------
        trials : sequence of SearchTrial
            Displays.
        rules : SearchRules
            Rules of the experiment.
        seed : int
            Not used: the maps are deterministic.

        Returns
        -------
        list of Scanpath
            One per trial.
        """
        check_trials(trials, rules)
        return [
            search_by_priority(
                SearchState(trial, rules), self._priority(trial, rules), self.name
            )
            for trial in trials
        ]

    def _priority(self, trial: SearchTrial, rules: SearchRules) -> NDArray[np.float64]:
        if self.kind == "pixel-match":
            return pixel_match_map(trial.image, trial.target)
        if self.kind == "centre":
            return centre_map(trial.image.shape[:2])
        return saliency_map(trial.image, background=rules.background)


def load_baseline(
    kind: str, *, label: str | None = None
) -> ChanceSearcher | PrioritySearcher:
    """Build an observer without a network.

    Parameters
    ----------
    kind : {"chance", "pixel-match", "saliency", "centre"}
        Which.
    label : str, optional
        Name in tables; the kind by default.

    Returns
    -------
    ChanceSearcher or PrioritySearcher
        Ready to search.

    Raises
    ------
    ValueError
        If the kind is unknown.

    Examples
    --------
    >>> load_baseline("saliency").name
    'saliency'
    """
    check_option("kind", kind, ("chance", "pixel-match", "saliency", "centre"))
    if kind == "chance":
        return ChanceSearcher(label or kind)
    return PrioritySearcher(kind, label or kind)


def centre_map(shape: tuple[int, ...]) -> NDArray[np.float64]:
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
    nearness: NDArray[np.float64] = 1 - np.hypot(x, y) / np.hypot(0.5, 0.5)
    return nearness


def pixel_match_map(
    image: NDArray[np.uint8], target: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Correlate a display with the picture of the target.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        Display.
    target : ndarray of uint8, shape (h, w, 3)
        Target.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Cross-correlation of mean-subtracted colours, summed over channels, zero
        padded ("same", larger padding at the end), blurred (7 taps, sigma 3).
    """
    height, width = target.shape[:2]
    top, left = (height - 1) // 2, (width - 1) // 2
    pads = ((top, height - 1 - top), (left, width - 1 - left))
    total = np.zeros(image.shape[:2])
    for channel, mean in enumerate(_MEAN_RGB):
        padded = np.pad(image[..., channel] - mean, pads)
        kernel = target[..., channel] - mean
        total += signal.oaconvolve(padded, kernel[::-1, ::-1], mode="valid")
    return gaussian_blur(total, 7, 3.0)


def saliency_map(
    image: NDArray[np.uint8], *, background: int | None = None
) -> NDArray[np.float64]:
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


def _pyramid(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Levels 2 to 8 of a dyadic Gaussian pyramid, as many as there are."""
    levels = [values]
    while len(levels) < 9 and min(levels[-1].shape) > 4:
        blurred = ndimage.gaussian_filter(levels[-1], 1.0, mode="nearest")
        levels.append(blurred[::2, ::2])
    return levels[2:]


def _oriented(values: NDArray[np.float64], angle: int) -> NDArray[np.float64]:
    """Energy of a Gabor pair at `angle` times 45 degrees, period 5 pixels."""
    y, x = np.mgrid[-4:5, -4:5]
    turn = np.deg2rad(45 * angle)
    phase = 2 * np.pi * (x * np.cos(turn) + y * np.sin(turn)) / 5
    window = np.exp(-(x**2 + y**2) / (2 * 1.8**2))
    even, odd = np.cos(phase) * window, np.sin(phase) * window
    even -= window * (even.sum() / window.sum())
    filtered = [ndimage.convolve(values, k, mode="nearest") for k in (even, odd)]
    energy: NDArray[np.float64] = np.hypot(*filtered)
    return energy


def _conspicuity(levels: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Sum of promoted centre-surround differences, at the finest level given."""
    total = np.zeros(levels[0].shape)
    for centre in (0, 1, 2):
        for surround in (centre + 3, centre + 4):
            if surround < len(levels):
                near = _resize(levels[centre], total.shape)
                far = _resize(levels[surround], total.shape)
                total += _promote(np.abs(near - far))
    return total


def _resize(values: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    factors = [n / m for n, m in zip(shape, values.shape, strict=True)]
    resized: NDArray[np.float64] = ndimage.zoom(
        values, factors, order=1, mode="nearest", grid_mode=True
    )
    return resized


def _promote(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale to [0, 1], then weigh by (1 - mean of the other local maxima) squared."""
    values = values - values.min()
    if values.max() < 1e-9:
        return np.zeros_like(values)
    values = values / values.max()
    size = max(3, min(values.shape) // 10)
    peaks = values[(ndimage.maximum_filter(values, size) == values) & (values > 0.05)]
    others = np.sort(peaks)[:-1]
    mean = float(others.mean()) if len(others) else 0.0
    return values * (1 - mean) ** 2
