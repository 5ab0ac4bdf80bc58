"""Observers without a network: chance, centre bias, pixel matching, saliency.

They obey the same rules as eccNET (`search_loop`). The published chance and pixel
matching differ in ways that are errors of their scripts (a shift by one trial, item
masks that double instead of vanish); these are the sound versions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from neurovis.adapters.saliency_maps import centre_map, saliency_map
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
        # A scene fills the screen; an array of items lies on a uniform surround.
        is_scene = trial.item_areas is None
        surround = None if is_scene else rules.background
        return saliency_map(trial.image, background=surround)


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
