"""Sets of degraded photographs, with the conditions of the published experiments.

References
----------
Geirhos et al. (2018). Generalisation in humans and deep neural networks. NeurIPS 31,
arXiv:1808.08750. Geirhos et al. (2021). Partial success in closing the gap between
human and machine vision. NeurIPS 34, arXiv:2106.07411.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from neurovis.core.checks import check_array, check_image, check_option, check_whole
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet, Viewing
from stimuli.colour_opponency import false_colour
from stimuli.display import to_8_bit
from stimuli.eidolons import MIXTURES, WORK_PX, disarray
from stimuli.manipulations import (
    add_salt_and_pepper,
    add_uniform_noise,
    cutoff_sigma_px,
    high_pass,
    low_pass,
    reduce_contrast,
    rgb_to_grey,
    rotate_quarter,
)
from stimuli.monitor_gamma import MONITOR_GAMMA
from stimuli.phase_scrambling import (
    VARIANTS,
    equalise_power,
    mean_amplitude_spectrum,
    scramble_phase,
)

FloatArray = NDArray[np.float64]
Picture = NDArray[np.uint8]

_REACHES = (1, 2, 4, 8, 16, 32, 64, 128)

MANIPULATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "colour": ("cr", "bw"),
        "contrast": ("c100", "c50", "c30", "c15", "c10", "c05", "c03", "c01"),
        "high-pass": ("inf", "3.0", "1.5", "1.0", "0.7", "0.55", "0.45", "0.4"),
        "low-pass": ("0", "1", "3", "5", "7", "10", "15", "40"),
        "phase-scrambling": ("0", "30", "60", "90", "120", "150", "180"),
        "power-equalisation": ("0", "pow"),
        "false-colour": ("True", "False"),
        "rotation": ("0", "90", "180", "270"),
        "eidolonI": tuple(f"{reach}-10-10" for reach in _REACHES),
        "eidolonII": tuple(f"{reach}-3-10" for reach in _REACHES),
        "eidolonIII": tuple(f"{reach}-0-10" for reach in _REACHES),
        "uniform-noise": ("0.0", "0.03", "0.05", "0.1", "0.2", "0.35", "0.6", "0.9"),
        "salt-and-pepper": ("0.0", "0.1", "0.2", "0.35", "0.5", "0.65", "0.8", "0.95"),
    }
)
"""Conditions by manipulation, from nothing to most; names are those of the published
tables. Salt and pepper belongs to an earlier study; its levels are recalled."""

REFERENCE_PX_PER_DEG = 74.2
"""Pixels per degree of the experiments: 224 px are 3.02 degrees."""

_NUMBER = r"(\d+(?:\.\d+)?)"
_CUTOFF = rf"(?!0+(?:\.0+)?cpd){_NUMBER}(?:cpd)?"
# Form of a level, with the limits of the number in brackets.
_FORMS: Mapping[str, tuple[str, float, float]] = MappingProxyType(
    {
        "colour": ("cr|bw", 0, 0),
        "contrast": (r"c(\d{1,3})", 0, 100),
        "high-pass": (f"inf|{_CUTOFF}", 1e-6, math.inf),
        "low-pass": (_CUTOFF, 0, math.inf),
        "phase-scrambling": (_NUMBER, 0, 180),
        "power-equalisation": ("0|pow", 0, 0),
        "false-colour": ("True|False", 0, 0),
        "rotation": ("0|90|180|270", 0, 0),
        "eidolonI": (r"(\d+)-10-[1-9]\d*", 0, math.inf),
        "eidolonII": (r"(\d+)-3-[1-9]\d*", 0, math.inf),
        "eidolonIII": (r"(\d+)-0-[1-9]\d*", 0, math.inf),
        "uniform-noise": (_NUMBER, 0, math.inf),
        "salt-and-pepper": (_NUMBER, 0, 1),
    }
)


@dataclass(frozen=True, eq=False)
class ManipulationOptions:
    """What manipulations need besides their level.

    Parameters
    ----------
    variant : {"reference", "symmetric"}
        As of `stimuli.phase_scrambling.scramble_phase`.
    mixture : {"convex", "snapshot"}
        As of `stimuli.eidolons.disarray`.
    work_px : int or None, default 256
        Side at which eidolons are made; they come back to the size of the picture.
    gamma : ndarray of float64, shape (256,), optional
        As of `stimuli.colour_opponency.false_colour`; that of the study by default.
    mean_amplitude : ndarray of float64, shape (H, W), optional
        As of `stimuli.phase_scrambling.equalise_power`; by default that of the
        pictures themselves.
    px_per_deg : float, optional
        Pixels per degree, for cut-offs in cycles per degree.

    Raises
    ------
    ValueError
        If an option is unknown or a number out of range.
    """

    variant: str = "reference"
    mixture: str = "convex"
    work_px: int | None = WORK_PX
    gamma: ArrayLike | None = None
    mean_amplitude: ArrayLike | None = None
    px_per_deg: float | None = None

    def __post_init__(self) -> None:
        check_option("variant", self.variant, VARIANTS)
        check_option("mixture", self.mixture, MIXTURES)


def manipulate(
    image: ArrayLike,
    manipulation: str,
    level: str,
    *,
    seed: int = 0,
    options: ManipulationOptions | None = None,
) -> FloatArray:
    """Degrade one picture as a published condition does.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3)
        Picture, 0..1.
    manipulation : str
        One of `MANIPULATIONS`.
    level : str
        Condition, such as "c30", "1.5" or "16-3-10"; other numbers of the same form
        are taken too. Filters take cut-offs in cycles per degree, such as "4cpd".
    seed : int, default 0
        Of what is random, 0..2³² - 1.
    options : ManipulationOptions, optional
        What else is needed.

    Returns
    -------
    ndarray of float64, shape (H, W) or (H, W, 3)
        Luminance, or colour for "cr" and "false-colour", 0..1.

    Raises
    ------
    TypeError, ValueError
        If the manipulation or level is unknown, the picture is none, or something
        that is needed is missing.

    Examples
    --------
    >>> float(manipulate(np.ones((8, 8, 3)), "contrast", "c50").max().round(6))
    0.75
    """
    return _apply(image, _check_level(manipulation, level), level, seed, options)


def make_manipulated(
    pictures: StimulusSet | Sequence[Picture],
    manipulation: str,
    levels: str | Sequence[str] = "all",
    *,
    seed: int = 0,
    options: ManipulationOptions | None = None,
) -> StimulusSet:
    """Make all levels of a manipulation of every picture.

    Parameters
    ----------
    pictures : StimulusSet or sequence of ndarray of uint8, shape (H, W, 3)
        Pictures; without a set they have `REFERENCE_PX_PER_DEG`.
    manipulation : str
        One of `MANIPULATIONS`.
    levels : str or sequence of str, default "all"
        Conditions, see `manipulate`; "all" are the published ones.
    seed : int, default 0
        Seed, >= 0. What is random depends on it, the identity of the picture and the
        condition.
    options : ManipulationOptions, optional
        What else is needed.

    Returns
    -------
    StimulusSet
        8-bit pictures, made when asked for. The table has `stimulus_id`, `source_id`,
        `experiment`, `condition`, and the other columns of the set.

    Raises
    ------
    TypeError, ValueError
        If there is no picture, a level is unknown or repeats, or something that is
        needed is missing or does not fit the pictures.

    Examples
    --------
    >>> grey = [np.full((32, 32, 3), 90, np.uint8)]
    >>> make_manipulated(grey, "rotation").table["condition"].tolist()
    ['0', '90', '180', '270']
    """
    check_option("manipulation", manipulation, tuple(MANIPULATIONS))
    listed = list(MANIPULATIONS[manipulation]) if levels == "all" else levels
    chosen = [listed] if isinstance(listed, str) else list(listed)
    for level in chosen:
        _check_level(manipulation, level)
    if not chosen or len(set(chosen)) != len(chosen):
        raise ValueError(f"`levels` must be different conditions; got {chosen}.")
    seed = check_whole("seed", seed, low=0)
    source = _as_set(pictures)
    used = _complete(source, manipulation, chosen, options or ManipulationOptions())
    plan = [(i, level) for i in range(len(source)) for level in chosen]
    ids = source.table["stimulus_id"].astype(str).tolist()
    rows = source.table.iloc[[i for i, _ in plan]].reset_index(drop=True)
    names = [f"{ids[i]}_{manipulation}_{level}" for i, level in plan]
    first = pd.DataFrame(
        {
            "stimulus_id": names,
            "source_id": [ids[i] for i, _ in plan],
            "experiment": manipulation,
            "condition": [level for _, level in plan],
        }
    )
    others = rows.drop(columns=[name for name in first if name in rows])

    def draw(step: tuple[int, str]) -> Picture:
        index, level = step
        stream = generator(seed, "manipulated", manipulation, ids[index], level)
        own = int(stream.integers(2**32))
        image = source.load(index) / 255
        return to_8_bit(_apply(image, manipulation, level, own, used))

    return StimulusSet(
        f"{source.name}-{manipulation}",
        first.join(others),
        source.viewing,
        LazyPictures(draw, plan),
    )


def _apply(
    image: ArrayLike,
    manipulation: str,
    level: str,
    seed: int,
    options: ManipulationOptions | None,
) -> FloatArray:
    used = options or ManipulationOptions()
    picture = np.asarray(image, np.float64)
    check_array("image", picture, shape=(None, None, 3))
    if level in ("cr", "True"):
        rgb_to_grey(picture)  # its checks
        return picture.copy()
    if manipulation == "false-colour":
        table = MONITOR_GAMMA if used.gamma is None else used.gamma
        return false_colour(picture, table)
    if level == "pow":
        if used.mean_amplitude is None:
            raise ValueError(
                "`mean_amplitude` of `options` is needed for 'pow': the amplitudes "
                "that the picture gets, such as those of `mean_amplitude_spectrum`."
            )
        return equalise_power(picture, used.mean_amplitude)
    if manipulation in ("colour", "power-equalisation"):
        return rgb_to_grey(picture)
    if manipulation == "contrast":
        return reduce_contrast(picture, int(level[1:]) / 100)
    if manipulation in ("low-pass", "high-pass"):
        filtered = low_pass if manipulation == "low-pass" else high_pass
        return filtered(picture, _sigma_px(level, used.px_per_deg))
    if manipulation == "rotation":
        return rotate_quarter(picture, int(level))
    if manipulation == "uniform-noise":
        return add_uniform_noise(picture, float(level), seed=seed)
    if manipulation == "salt-and-pepper":
        return add_salt_and_pepper(picture, float(level), seed=seed)
    if manipulation == "phase-scrambling":
        return scramble_phase(picture, float(level), variant=used.variant, seed=seed)
    return _eidolon(picture, level, seed, used)


def _eidolon(
    picture: FloatArray, level: str, seed: int, options: ManipulationOptions
) -> FloatArray:
    reach, coherence, grain = (float(part) for part in level.split("-"))
    made = disarray(
        picture,
        reach,
        coherence / 10,
        grain_px=grain,
        mixture=options.mixture,
        work_px=options.work_px,
        seed=seed,
    )
    if made.shape == picture.shape[:2]:
        return made
    height, width = picture.shape[:2]
    back = Image.fromarray(made.astype(np.float32)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(back, np.float64), 0, 1)


def _sigma_px(level: str, px_per_deg: float | None) -> float:
    if not level.endswith("cpd"):
        return float(level)
    if px_per_deg is None:
        raise ValueError(
            f"`px_per_deg` of `options` is needed for the cut-off {level!r} in cycles "
            "per degree."
        )
    return cutoff_sigma_px(float(level.removesuffix("cpd")), px_per_deg)


def _check_level(manipulation: str, level: str) -> str:
    check_option("manipulation", manipulation, tuple(MANIPULATIONS))
    form, low, high = _FORMS[manipulation]
    found = re.fullmatch(form, level)
    number = found[1] if found and found.re.groups else None
    if found is None or (number is not None and not low <= float(number) <= high):
        raise ValueError(
            f"{level!r} is no level of {manipulation!r}: its conditions are "
            f"{', '.join(MANIPULATIONS[manipulation])}, or other numbers of that form "
            "within their range."
        )
    return manipulation


def _as_set(pictures: StimulusSet | Sequence[Picture]) -> StimulusSet:
    if isinstance(pictures, StimulusSet):
        if not len(pictures):
            raise ValueError("`pictures` is empty: at least one picture is needed.")
        return pictures
    if not len(pictures):
        raise ValueError("`pictures` is empty: at least one picture is needed.")
    first = check_image("pictures[0]", pictures[0])
    table = pd.DataFrame({"stimulus_id": [f"p{i:05d}" for i in range(len(pictures))]})
    viewing = Viewing(REFERENCE_PX_PER_DEG, first.shape[1], first.shape[0])
    return StimulusSet("pictures", table, viewing, pictures)


def _complete(
    source: StimulusSet,
    manipulation: str,
    levels: Sequence[str],
    options: ManipulationOptions,
) -> ManipulationOptions:
    """Return options with what the set tells, after checks against its pictures."""
    if options.px_per_deg is None:
        options = replace(options, px_per_deg=source.viewing.px_per_deg)
    if manipulation == "power-equalisation" and "pow" in levels:
        if options.mean_amplitude is None:
            images = (source.load(i) / 255 for i in range(len(source)))
            options = replace(options, mean_amplitude=mean_amplitude_spectrum(images))
        else:
            shape = source.load(0).shape[:2]
            check_array("mean_amplitude", options.mean_amplitude, shape=shape)
    return options
