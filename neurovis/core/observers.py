"""What models can do, as small Protocols, and the records that they take.

An adapter has the methods of the Protocols it can serve, and no base class. Arrays
and tensors stand as `Any` here: this module does not import torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import (
    check_array,
    check_between,
    check_image,
    check_option,
    check_whole,
)
from neurovis.core.types import Responses, Scanpath, StimulusSet


@dataclass(frozen=True)
class SearchTrial:
    """One search display as a `Searcher` gets it.

    Parameters
    ----------
    stimulus_id : str
        Identity of the display.
    image : ndarray of uint8, shape (H, W, 3)
        The display.
    target : ndarray of uint8, shape (h, w, 3)
        Picture of what must be found.
    target_area : ndarray of bool, shape (H, W)
        Where a landing counts as found.
    item_areas : ndarray of bool, shape (n_items, H, W), optional
        Areas that are attended, erased and inhibited as a whole; without them a
        square around each fixation is inhibited and the picture is not altered.
    start : tuple of int, optional
        Row and column of the pixel that is fixated first; the centre by default.

    Raises
    ------
    ValueError, TypeError
        If shapes or dtypes do not fit together, or `start` is off the display.
    """

    stimulus_id: str
    image: NDArray[np.uint8]
    target: NDArray[np.uint8]
    target_area: NDArray[np.bool_]
    item_areas: NDArray[np.bool_] | None = None
    start: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        height, width = check_image("image", self.image).shape[:2]
        check_image("target", self.target)
        area = (height, width)
        check_array("target_area", self.target_area, shape=area, dtype=np.bool_)
        if self.item_areas is not None:
            areas = (None, *area)
            check_array("item_areas", self.item_areas, shape=areas, dtype=np.bool_)
        if self.start is not None:
            check_whole("start row", self.start[0], low=0, high=height - 1)
            check_whole("start column", self.start[1], low=0, high=width - 1)


@dataclass(frozen=True)
class SearchRules:
    """Rules of a search experiment, the same for every observer.

    Parameters
    ----------
    eye_radius_px : int
        Half side of the square that one glance covers; also the reach of a
        saccade along each axis.
    max_saccades : int
        The search ends, not found, after this many saccades.
    tolerance_px : int
        Found when the target area meets the square of this side (rounded down
        to even) around the fixation.
    background : int
        Grey level around the display, 0..255.
    layer_weighting : {"max", "equal"}
        Layers weighted by the maximum of their match, or equally.
    sharpening : pair of (kernel_px, sigma)
        Small and large Gaussian of the sharpening step; sigma 0 takes the
        fixed binomial kernel.
    px_per_deg : float, default 30
        Pixels per degree of visual angle of the display.
    inhibition_px : int, optional
        Side (rounded down to even) of the square around each fixation that is not
        visited again where a trial has no item areas; `tolerance_px` by default, as
        published.

    Raises
    ------
    ValueError
        If a number or an option is out of range.
    """

    eye_radius_px: int
    max_saccades: int
    tolerance_px: int
    background: int
    layer_weighting: str = "max"
    sharpening: tuple[tuple[int, float], tuple[int, float]] = ((3, 1.0), (5, 3.0))
    px_per_deg: float = 30.0
    inhibition_px: int | None = None

    def __post_init__(self) -> None:
        check_between("eye_radius_px", self.eye_radius_px, low=1)
        check_between("max_saccades", self.max_saccades, low=1)
        check_between("tolerance_px", self.tolerance_px, low=2)
        check_between("background", self.background, low=0, high=255)
        check_option("layer_weighting", self.layer_weighting, ("max", "equal"))
        check_between("px_per_deg", self.px_per_deg, low=1)
        if self.inhibition_px is not None:
            check_between("inhibition_px", self.inhibition_px, low=2)
        for size, sigma in self.sharpening:
            check_option("sharpening size", size, (1, 3, 5, 7, 9, 11, 13, 15))
            check_between("sharpening sigma", sigma)


class Searcher(Protocol):
    """An observer that looks for a target."""

    @property
    def name(self) -> str:
        """Name in tables and figures."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know, such as "untrained weights"."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that its responses depend on besides display, rules and seed."""

    def search(
        self, trials: Sequence[SearchTrial], rules: SearchRules, *, seed: int = 0
    ) -> list[Scanpath]:
        """Search every display; the order and grouping of trials do not matter.

        Parameters
        ----------
        trials : sequence of SearchTrial
            Displays of one size.
        rules : SearchRules
            Rules of the experiment.
        seed : int
            Seed; each trial draws from its own stream.

        Returns
        -------
        list of Scanpath
            One per trial; the initial fixation is at index 0.
        """


class MapPredictor(Protocol):
    """A model of where people look in a picture."""

    @property
    def name(self) -> str:
        """Name in tables and figures."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that its maps depend on besides the picture."""

    def saliency(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return a map: the larger, the more likely to be looked at.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W, 3)
            Picture.

        Returns
        -------
        ndarray of float64, shape (H, W)
            Not necessarily a density; the same on every call.
        """


class FeatureModel(Protocol):
    """A network whose layers can be read."""

    def features(self, images: Any, layers: Sequence[str]) -> Mapping[str, Any]:
        """Return activations.

        Parameters
        ----------
        images : Tensor of float32, shape (B, 3, H, W), 0..1
            Pictures at the model's size; it normalises them itself.
        layers : sequence of str
            Module paths.

        Returns
        -------
        mapping of str to Tensor, shape (B, ...)
            One entry per layer.
        """


class Decider(Protocol):
    """An observer that gives one response per stimulus."""

    def decide(self, stimuli: StimulusSet, *, seed: int = 0) -> Responses:
        """Respond to every stimulus.

        Parameters
        ----------
        stimuli : StimulusSet
            What is shown.
        seed : int
            Seed of observers that draw.

        Returns
        -------
        Responses
            One trial per stimulus.
        """


class Predictor(Protocol):
    """A fitted model of brain responses."""

    def predict(self, features: Any) -> Any:
        """Predict responses of units.

        Parameters
        ----------
        features : array, shape (n_stimuli, n_features)
            What the model was fitted on.

        Returns
        -------
        array, shape (n_stimuli, n_units)
            Predicted responses.
        """


class Generator(Protocol):
    """A model that makes pictures for an objective."""

    def generate(self, objective: Any, *, n_images: int, seed: int = 0) -> StimulusSet:
        """Make pictures.

        Parameters
        ----------
        objective : object
            What the pictures shall drive.
        n_images : int
            How many.
        seed : int
            Seed of the first picture; each has its own stream.

        Returns
        -------
        StimulusSet
            The pictures.
        """
