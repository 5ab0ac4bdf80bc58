"""Simulated brains whose units read scenes by a known rule: by place, or by content.

Units with fixed receptive fields are what Gaussian, factorised and ridge readouts were
made for. Units that read one category wherever its object is need a readout that
attends: no weighting of places that is the same for all pictures can tell the code of
that object from the codes of the others.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.simulated_scenes import Scenes, SceneStyle, make_scenes
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import (
    check_array,
    check_between,
    check_columns,
    check_option,
    check_whole,
)
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import generator
from neurovis.core.unit_responses import UnitResponses

NAME = "simulated-routing"
"""Name of the data set in its responses."""

KINDS = ("content", "fixed")
"""Rules by which units read scenes."""

FIELDS = ("region", "unit")
"""Whether units with fixed fields share one per region and hemisphere."""

_ECCENTRICITY = 0.25  # of the fields of regions, widths of the picture
_ECCENTRICITIES = (0.1, 0.4)  # of the fields of units
_WIDEST_DEG = 67.5  # polar angle from the horizontal
_MOST_IMAGES = 100_000  # in names of five digits
_MOST_PRESENCE = 0.99
_LEAST_SIZE = 1e-3


@dataclass(frozen=True, eq=False)
class RoutedSubject:
    """Responses of one simulated subject, and why its units respond as they do.

    Parameters
    ----------
    responses : UnitResponses
        What was measured; see `simulate_routing`.
    rows : ndarray of int64, shape (n_rows,)
        Scene of each row of `responses`.
    signals : ndarray of float32, shape (n_rows, n_units)
        Responses without noise; mean 0 and standard deviation 1 over the scenes of
        the subject.
    weights : ndarray of float64, shape (n_units, n_code) or (n_units, n_channels)
        Unit vectors: of the numbers of the code of the preferred object ("content"),
        or of the channels ("fixed").
    """

    responses: UnitResponses
    rows: NDArray[np.int64]
    signals: NDArray[np.float32]
    weights: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RoutedBrain:
    """Simulated subjects who saw scenes.

    Parameters
    ----------
    kind : {"content", "fixed"}
        Rule by which units read scenes.
    scenes : Scenes
        All scenes, with maps, boxes, codes and pictures.
    subjects : tuple of RoutedSubject
        One or more.
    """

    kind: str
    scenes: Scenes
    subjects: tuple[RoutedSubject, ...]

    @property
    def responses(self) -> UnitResponses:
        """Responses of the first subject."""
        return self.subjects[0].responses

    @property
    def maps(self) -> NDArray[np.float32]:
        """Feature maps of all scenes, shape (n_images, n_channels, H, W)."""
        return self.scenes.maps

    @property
    def boxes(self) -> NDArray[np.float64]:
        """Left, top, right, bottom by scene and category, pixels; NaN if absent."""
        return self.scenes.boxes

    @cached_property
    def joined(self) -> UnitResponses:
        """Units of all subjects side by side, one row per scene, averaged over trials.

        NaN where a subject did not see a scene. The column `subject` of `units` tells
        whose unit it is.
        """
        n_images = len(self.scenes)
        averaged, units = [], []
        for subject in self.subjects:
            one = subject.responses.average()
            betas = np.full((n_images, one.n_units), np.nan, np.float32)
            betas[np.unique(subject.rows)] = one.betas
            averaged.append(betas)
            units.append(one.units.assign(subject=one.subject))
        stimuli = {
            "stimulus_id": [f"scene-{i:05d}" for i in range(n_images)],
            "n_repeats": one.stimuli["n_repeats"].iloc[0],
        }
        return replace(
            self.responses,
            subject="+".join(subject.responses.subject for subject in self.subjects),
            betas=np.concatenate(averaged, axis=1),
            stimuli=pd.DataFrame(stimuli),
            units=pd.concat(units, ignore_index=True),
            pictures=self.scenes.pictures,
        )


def simulate_routing(
    n_images: int = 1500,
    *,
    kind: str = "content",
    grid: tuple[int, int] = (12, 12),
    n_channels: int = 32,
    n_categories: int = 4,
    units_per_region: int = 20,
    noise_ceiling: float | tuple[float, float] = 0.72,
    n_repeats: int = 1,
    trials: bool = False,
    n_subjects: int = 1,
    shared: float = 1.0,
    presence: float = 0.2,
    fields: str = "region",
    field_size: float = 0.1,
    style: SceneStyle | None = None,
    seed: int = 0,
) -> RoutedBrain:
    """Simulate units that read scenes by content or by place.

    There are as many regions as categories, each with units in both hemispheres.

    - "content": the units of a region respond to the object of one category, wherever
      it is, and to nothing else: ``b + w · z`` if it is there and 0 if not, with the
      code z of the object, a unit vector w of each unit, and one b for all.
    - "fixed": ``sum over cells of g · (w · maps)``, with a Gaussian g around a place of
      the contralateral half of the picture (positive x in "lh"), which sums to 1, and
      a unit vector w over channels. Objects matter by what they do to the maps.

    Parameters
    ----------
    n_images : int, default 1500
        Scenes of all subjects together, 2..100000.
    kind : {"content", "fixed"}
        Rule.
    grid : tuple of int, default (12, 12)
        Height and width of the maps, cells.
    n_channels, n_categories : int, default 32 and 4
        As in `make_scenes`.
    units_per_region : int, default 20
        Units of a region, both hemispheres together; the first half is in "lh".
    noise_ceiling : float or tuple of float, default 0.72
        Share of the variance of responses, averaged over `n_repeats`, that is signal:
        one number for all units, or the bounds of a uniform distribution; above 0 and
        at most 1. A perfect model correlates by its root.
    n_repeats : int, default 1
        Trials of each scene.
    trials : bool, default False
        Whether rows are single trials, sorted by scene, instead of averages.
    n_subjects : int, default 1
        Subjects, each with units of its own.
    shared : float, default 1
        Share of the scenes that all subjects see, 0..1: the first ones. The others are
        dealt to the subjects in turn.
    presence : float, default 0.2
        For "content": share of the variance of signals that comes from whether the
        object is there, 0..0.99; without effect if every scene has one.
    fields : {"region", "unit"}
        For "fixed": whether the units of a region in one hemisphere have the same
        field, as the queries of regions suppose, or each unit has its own. Then they
        go around the fovea by their order in the region, from the lower to the upper
        end, at random eccentricities, and get larger with eccentricity.
    field_size : float, default 0.1
        For "fixed": standard deviation of fields, widths of the picture; of units at
        the eccentricity of 0.25 for "unit".
    style : SceneStyle, optional
        How scenes look.
    seed : int, default 0
        Seed.

    Returns
    -------
    RoutedBrain
        Scenes, and for each subject responses, signals and weights. In `responses`:

        - stimuli: `stimulus_id` ("scene-00012": row 12 of the maps), `n_repeats`, and
          with `trials` the column `repeat`;
        - units: `unit_id`, `hemisphere`, `region` (a family: name of the category, or
          "field-1"..), `ncsnr` (true, of single trials), and for "fixed" `rf_x`
          (right), `rf_y` (up) and `rf_size`, from the centre of the picture and in
          widths of it.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or scenes are too few.

    Notes
    -----
    Why linear models of whole maps fail for "content": objects of all categories write
    their codes along the same axes, so that a weighted sum over places adds the codes
    of all. With c categories no such sum correlates with the part ``w · z`` of the
    signals by more than ``1 / sqrt(c)``.

    With the default arguments and the first 1000 scenes to train on, responses of the
    other 500 correlate with predictions by 0.24 (ridge regression on whole maps), 0.82
    (on `pool_boxes` of the category) and 0.85 (signals) for "content", and by 0.77
    (whole maps), 0.84 (maps pooled over `field_masks`) and 0.85 (signals) for "fixed".

    Examples
    --------
    >>> brain = simulate_routing(20, units_per_region=2, n_channels=8)
    >>> brain.responses.regions()["region"]
    ['disc', 'square', 'triangle', 'diamond']
    >>> brain.responses.betas.shape, brain.maps.shape
    ((20, 8), (20, 8, 12, 12))
    """
    check_option("kind", kind, KINDS)
    check_option("fields", fields, FIELDS)
    check_whole("n_images", n_images, low=2, high=_MOST_IMAGES)
    check_whole("units_per_region", units_per_region, low=1)
    low, high = _ceiling_bounds(noise_ceiling)
    check_whole("n_repeats", n_repeats, low=1)
    seen = _deal(n_images, n_subjects, shared)
    check_between("presence", presence, low=0, high=_MOST_PRESENCE)
    check_between("field_size", field_size, low=_LEAST_SIZE)
    scenes = make_scenes(
        n_images,
        grid=grid,
        n_channels=n_channels,
        n_categories=n_categories,
        style=style,
        seed=seed,
    )
    gain = _presence_gain(presence, n_categories, scenes.style.max_objects)
    n_inputs = n_channels if kind == "fixed" else scenes.style.n_code
    subjects = []
    for number, rows in enumerate(seen):
        name = f"subj{number + 1:02d}"
        units = _lay_units(name, n_categories, units_per_region)
        rng = generator(seed, "routing", name)
        weights = rng.standard_normal((len(units), n_inputs))
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        ceiling = rng.uniform(low, high, len(units))
        if kind == "fixed":
            units = _lay_fields(units, fields, field_size, rng)
            exact = _read_places(scenes.maps, rows, units, weights)
        else:
            names = [scenes.categories[k] for k in units["region_number"]]
            units = units.assign(region=names)
            exact = _read_objects(scenes, rows, units, weights, gain)
        units = units.drop(columns="region_number")
        signals = _standardise(exact, units, name)
        with np.errstate(divide="ignore"):  # without noise the ratio is infinite
            ncsnr = np.sqrt(ceiling / (1 - ceiling) / n_repeats)
        units = units.assign(ncsnr=ncsnr)
        responses = _measure(name, scenes, rows, signals, units, n_repeats, rng)
        if not trials:
            known = responses.stimuli.drop(columns="repeat")
            responses = replace(responses, stimuli=known).average()
        each = np.repeat(np.arange(len(rows)), n_repeats if trials else 1)
        subjects.append(RoutedSubject(responses, rows[each], signals[each], weights))
    return RoutedBrain(kind, scenes, tuple(subjects))


def field_masks(units: pd.DataFrame, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Return the receptive fields of units as weights of the cells of the maps.

    Parameters
    ----------
    units : DataFrame
        `rf_x`, `rf_y` and `rf_size` as in `simulate_routing`.
    grid : tuple of int
        Height and width of the maps, cells.

    Returns
    -------
    ndarray of float32, shape (n_units, H, W)
        Gaussians at the centres of the cells; each sums to 1.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> units = pd.DataFrame({"rf_x": [0.25], "rf_y": [0.25], "rf_size": [0.01]})
    >>> field_masks(units, (2, 2))[0].tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    check_columns("units", units.columns, ("rf_x", "rf_y", "rf_size"))
    height, width = grid
    x, y, size = (
        units[name].to_numpy(np.float64)[:, None, None]
        for name in ("rf_x", "rf_y", "rf_size")
    )
    right = (np.arange(width) + 0.5 - width / 2) / width
    up = (height / 2 - np.arange(height) - 0.5) / width
    exponent = -((right - x) ** 2 + (up[:, None] - y) ** 2) / (2 * size**2)
    # The nearest cell has weight 1, so that no field vanishes.
    masks: NDArray[np.float64] = np.exp(
        exponent - exponent.max(axis=(1, 2), keepdims=True)
    )
    masks /= masks.sum(axis=(1, 2), keepdims=True)
    return masks.astype(np.float32)


def _ceiling_bounds(ceiling: float | tuple[float, float]) -> tuple[float, float]:
    pair = ceiling if isinstance(ceiling, tuple) else (ceiling, ceiling)
    check_array("noise_ceiling", pair, shape=(2,))
    low, high = (float(check_between("noise_ceiling", b, low=0, high=1)) for b in pair)
    if low == 0 or low > high:
        raise ValueError(
            "`noise_ceiling` must be a number above 0, or a lower and an upper bound; "
            f"got {ceiling!r}."
        )
    return low, high


def _deal(n_images: int, n_subjects: int, shared: float) -> list[NDArray[np.int64]]:
    """Return the scenes that each subject sees, ascending."""
    check_whole("n_subjects", n_subjects, low=1)
    check_between("shared", shared, low=0, high=1)
    n_shared = round(shared * n_images)
    rows = np.arange(n_images)
    seen = [
        rows[(rows < n_shared) | ((rows - n_shared) % n_subjects == k)]
        for k in range(n_subjects)
    ]
    if min(map(len, seen)) < 2:
        raise ValueError(
            f"`n_images` {n_images} is too small: each of {n_subjects} subjects must "
            "see two scenes or more. Ask for more scenes, or share more of them."
        )
    return seen


def _presence_gain(presence: float, n_categories: int, max_objects: int) -> float:
    """Return b, with which the share `presence` of the variance is that of presence."""
    probability = (1 + max_objects) / 2 / n_categories
    if probability == 1:  # always there
        return 0.0
    return float(np.sqrt(presence / ((1 - presence) * (1 - probability))))


def _lay_units(name: str, n_regions: int, units_per_region: int) -> pd.DataFrame:
    """Return units of the left hemisphere, then of the right, region by region."""
    n_left = (units_per_region + 1) // 2
    counts = (n_left, units_per_region - n_left)
    sides = np.repeat(HEMISPHERES, [n * n_regions for n in counts])
    regions = np.concatenate([np.repeat(np.arange(n_regions), n) for n in counts])
    return pd.DataFrame(
        {
            "unit_id": [f"{name}-{i:04d}" for i in range(len(sides))],
            "hemisphere": sides,
            "region_number": regions,
        }
    )


def _lay_fields(
    units: pd.DataFrame, fields: str, field_size: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Give units names of regions and contralateral fields."""
    number = units["region_number"]
    if fields == "region":
        place, n_places = number, pd.Series(number.max() + 1, number.index)
        eccentricity = np.full(len(units), _ECCENTRICITY)
        size = np.full(len(units), field_size)
    else:
        parts = units.groupby(["hemisphere", "region_number"])["unit_id"]
        place, n_places = parts.cumcount(), parts.transform("size")
        eccentricity = rng.uniform(*_ECCENTRICITIES, len(units))
        size = field_size * (0.5 + 0.5 * eccentricity / _ECCENTRICITY)
    step = 2 * _WIDEST_DEG / np.maximum(n_places - 1, 1)
    angle = np.where(n_places > 1, place * step - _WIDEST_DEG, 0.0)
    side = np.where(units["hemisphere"] == "lh", 1, -1)
    return units.assign(
        region=[f"field-{k + 1}" for k in number],
        rf_x=side * eccentricity * np.cos(np.deg2rad(angle)),
        rf_y=eccentricity * np.sin(np.deg2rad(angle)),
        rf_size=size,
    )


def _read_places(
    maps: NDArray[np.float32],
    rows: NDArray[np.int64],
    units: pd.DataFrame,
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    n_images, n_channels, height, width = maps.shape
    masks = field_masks(units, (height, width)).reshape(len(units), -1)
    masks, which = np.unique(masks, axis=0, return_inverse=True)
    flat = maps.reshape(n_images, n_channels, -1)
    signals = np.empty((len(rows), len(units)))
    for k, mask in enumerate(masks):
        mine = which.reshape(-1) == k
        signals[:, mine] = (flat @ mask)[rows] @ weights[mine].T
    return signals


def _read_objects(
    scenes: Scenes,
    rows: NDArray[np.int64],
    units: pd.DataFrame,
    weights: NDArray[np.float64],
    gain: float,
) -> NDArray[np.float64]:
    signals = np.empty((len(rows), len(units)))
    for k, category in enumerate(scenes.categories):
        mine = units["region"].eq(category).to_numpy()
        present = scenes.present[rows, k, None]
        told = gain + np.nan_to_num(scenes.codes[rows, k]) @ weights[mine].T
        signals[:, mine] = present * told
    return signals


def _standardise(
    signals: NDArray[np.float64], units: pd.DataFrame, name: str
) -> NDArray[np.float32]:
    spread = signals.std(axis=0)
    still = np.flatnonzero(spread == 0)
    if len(still):
        raise ValueError(
            f"`n_images` is too small: the {len(signals)} scenes that {name} sees are "
            f"all the same to the units of {units['region'].iloc[still[0]]!r}. Ask for "
            "more scenes."
        )
    scaled: NDArray[np.float64] = (signals - signals.mean(axis=0)) / spread
    return scaled.astype(np.float32)


def _measure(
    name: str,
    scenes: Scenes,
    rows: NDArray[np.int64],
    signals: NDArray[np.float32],
    units: pd.DataFrame,
    n_repeats: int,
    rng: np.random.Generator,
) -> UnitResponses:
    """Return single trials: signals with noise."""
    trial_rows = np.repeat(rows, n_repeats)
    betas = np.repeat(signals, n_repeats, axis=0)
    noise = rng.standard_normal(betas.shape, dtype=np.float32)
    betas += noise / units["ncsnr"].to_numpy(np.float32)
    stimuli = {
        "stimulus_id": [f"scene-{i:05d}" for i in trial_rows],
        "n_repeats": 1,
        "repeat": np.tile(np.arange(n_repeats), len(rows)),
    }
    return UnitResponses(
        NAME,
        name,
        betas,
        pd.DataFrame(stimuli),
        units,
        families=("region",),
        response_unit="standard deviations of the signal",
        pictures=LazyPictures(scenes.pictures.__getitem__, trial_rows.tolist()),
        notes=("Simulated data: see `data_loaders.simulated_routing`.",),
    )
