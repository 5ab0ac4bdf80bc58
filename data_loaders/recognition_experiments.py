"""The experiments of model-vs-human: conditions, and what names of pictures tell.

References
----------
Geirhos et al. (2021). Partial success in closing the gap between human and machine
vision. NeurIPS 34. arXiv:2106.07411.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from neurovis.core.checks import check_option, suggest

CATEGORY_NAMES = (
    "airplane",
    "bear",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "car",
    "cat",
    "chair",
    "clock",
    "dog",
    "elephant",
    "keyboard",
    "knife",
    "oven",
    "truck",
)
"""What could be answered."""


@dataclass(frozen=True)
class Experiment:
    """What is known of one experiment.

    Parameters
    ----------
    conditions : tuple of str
        Canonical names of the conditions; "0" alone if there is one.
    excluded : tuple of str
        Conditions that the benchmark leaves out: undistorted pictures, and those of
        which people recognise less than a fifth.
    n_observers : int
        People.
    n_trials : int
        Trials of each of them.
    """

    conditions: tuple[str, ...]
    excluded: tuple[str, ...]
    n_observers: int
    n_trials: int


def _experiment(
    conditions: str, excluded: str = "", n_observers: int = 4, n_trials: int = 1280
) -> Experiment:
    return Experiment(
        tuple(conditions.split()), tuple(excluded.split()), n_observers, n_trials
    )


def _eidolon(coherence: int, excluded: Sequence[int]) -> Experiment:
    names = {
        reach: f"{reach}-{coherence}-10" for reach in (1, 2, 4, 8, 16, 32, 64, 128)
    }
    return _experiment(" ".join(names.values()), " ".join(names[r] for r in excluded))


EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "colour": _experiment("cr bw", "cr"),
        "contrast": _experiment("c100 c50 c30 c15 c10 c05 c03 c01", "c100 c03 c01"),
        "high-pass": _experiment(
            "inf 3.0 1.5 1.0 0.7 0.55 0.45 0.4", "inf 0.55 0.45 0.4"
        ),
        "low-pass": _experiment("0 1 3 5 7 10 15 40", "0 15 40"),
        "phase-scrambling": _experiment(
            "0 30 60 90 120 150 180", "0 150 180", n_trials=1120
        ),
        "power-equalisation": _experiment("0 pow", "0", n_trials=1120),
        "false-colour": _experiment("True False", "True", n_trials=1120),
        "rotation": _experiment("0 90 180 270", "0"),
        "eidolonI": _eidolon(10, (1, 64, 128)),
        "eidolonII": _eidolon(3, (1, 32, 64, 128)),
        "eidolonIII": _eidolon(0, (1, 16, 32, 64, 128)),
        "uniform-noise": _experiment(
            "0.0 0.03 0.05 0.1 0.2 0.35 0.6 0.9", "0.0 0.6 0.9"
        ),
        "sketch": _experiment("0", n_observers=7, n_trials=800),
        "stylized": _experiment("0", n_observers=5, n_trials=800),
        "edge": _experiment("0", n_observers=10, n_trials=160),
        "silhouette": _experiment("0", n_observers=10, n_trials=160),
        "cue-conflict": _experiment("0", n_observers=10),
    }
)
"""The experiments: 90 observers with 85,120 trials."""

_NUMBERED = ("high-pass", "uniform-noise")


def canonical_condition(experiment: str, raw: str) -> str:
    """Turn the name of a condition in a file into its canonical name.

    Files differ in how they write truth values ("true") and numbers ("3", "0.10").

    Parameters
    ----------
    experiment : str
        One of `EXPERIMENTS`.
    raw : str
        As a file has it.

    Returns
    -------
    str
        One of the conditions of the experiment.

    Raises
    ------
    ValueError
        If the experiment or the condition is unknown.

    Examples
    --------
    >>> (
    ...     canonical_condition("false-colour", "true"),
    ...     canonical_condition("high-pass", "3"),
    ... )
    ('True', '3.0')
    """
    check_option("experiment", experiment, tuple(EXPERIMENTS))
    name = raw
    if experiment == "false-colour":
        name = raw.capitalize()
    elif experiment in _NUMBERED:
        try:
            name = str(float(raw))
        except ValueError:
            name = raw
    known = EXPERIMENTS[experiment].conditions
    if name not in known:
        raise ValueError(
            f"The experiment {experiment!r} has the conditions {', '.join(known)}; got "
            f"{raw!r}.{suggest(name, known)}"
        )
    return name


def image_id_of(imagename: str) -> str:
    """Return the part of a file name that tells which picture it was.

    Parameters
    ----------
    imagename : str
        As a file has it, with number, observer and condition before the picture.

    Returns
    -------
    str
        The same for all observers: the last piece between underscores, with the one
        before if that is an ImageNet class ("n0...").

    Examples
    --------
    >>> image_id_of("0000_cl_s01_bw_boat_40_n02951358_5952.JPEG")
    'n02951358_5952.JPEG'
    >>> image_id_of("0001_s5n_s01_0_bird_00_bird3-bird2.png")
    'bird3-bird2.png'
    """
    pieces = imagename.split("_")
    if len(pieces) > 1 and pieces[-2].startswith("n0"):
        return "_".join(pieces[-2:])
    return pieces[-1]


def texture_of(imagename: str) -> str:
    """Return the texture category of a cue-conflict picture.

    Parameters
    ----------
    imagename : str
        File name or picture, such as "bird3-clock2.png".

    Returns
    -------
    str
        What comes after the last "-", without digits and suffix.

    Raises
    ------
    ValueError
        If the name has no such part.

    Examples
    --------
    >>> texture_of("0001_s5n_s01_0_bird_00_bird3-clock2.png")
    'clock'
    """
    stem = imagename.split("_")[-1].split(".")[0]
    shape, dash, texture = stem.rpartition("-")
    name = re.sub(r"\d", "", texture)
    if not (shape and dash and name):
        raise ValueError(
            f"`imagename` must end in SHAPE-TEXTURE.SUFFIX; got {imagename!r}."
        )
    return name
