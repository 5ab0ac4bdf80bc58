"""The pictures on which foveated systems are tested, made when they are asked for.

All changes are made to what the first stage let through, as published: two-stage
systems differ in their input, and the tests ask what they learnt from it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_option
from neurovis.foveation.windows import fovea_templates, pooling_windows
from stimuli.cue_conflict import (
    balanced_pairs,
    decoy_pairs,
    published_pairs,
    square_conflict,
    window_conflict,
)
from stimuli.frequency_filters import filter_level, frequency_levels
from stimuli.occluders import (
    KINDS,
    N_LEVELS,
    occlude,
    occlusion_mask,
    square_half_px,
    square_mask,
)

EXPERIMENTS = (
    "generalisation",
    "spatial-frequency",
    "occlusion",
    "window-conflict",
    "square-conflict",
)
PAIRINGS = ("balanced", "published")
_FAMILIES = {"low": "low-pass", "high": "high-pass"}

Stack = NDArray[np.uint8]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TestSet:
    """One condition of one experiment.

    Parameters
    ----------
    experiment : str
        One of `EXPERIMENTS`.
    condition : str
        Test system, family of filters, or kind of occluder.
    level : int
        Number of the level, from 1.
    value : float
        What the level is: cut-off in cycles per picture, share of the picture that is
        hidden, or mean weight of the centre; NaN where there is none.
    make : callable
        ``make(rows)`` returns these pictures, uint8 of shape (n, S, S, 3).
    others : ndarray of int64, shape (n_pictures,), optional
        Class that is shown in the centre of each, for cue conflicts.
    """

    __test__ = False  # pytest

    experiment: str
    condition: str
    level: int
    value: float
    make: Callable[[Rows], Stack]
    others: NDArray[np.int64] | None = None


def generalisation_sets(
    sources: Mapping[str, Callable[[Rows], Stack]],
) -> list[TestSet]:
    """Return the test pictures of every system.

    Parameters
    ----------
    sources : mapping of str to callable
        For each first stage, a function from rows to its pictures.

    Returns
    -------
    list of TestSet
        One per first stage.
    """
    return [
        TestSet("generalisation", name, 1, np.nan, make)
        for name, make in sources.items()
    ]


def frequency_sets(
    make: Callable[[Rows], Stack],
    size_px: int,
    mean_rgb: NDArray[np.float64],
    *,
    grey: bool = True,
) -> list[TestSet]:
    """Return low-pass and high-pass versions.

    Parameters
    ----------
    make : callable
        From rows to the pictures of the system.
    size_px : int
        Their side.
    mean_rgb : ndarray of float64, shape (3,)
        Mean colour of the system's validation pictures, 0..1.
    grey : bool, default True
        Have versions without colour too.

    Returns
    -------
    list of TestSet
        Eight levels per family; the first is not filtered.
    """
    sets = []
    for is_grey in (False, True) if grey else (False,):
        for family, word in _FAMILIES.items():
            table = frequency_levels(family, size_px=size_px)
            for level, cutoff in zip(
                table["level"], table["cutoff_cycles_per_image"], strict=True
            ):
                change = partial(
                    filter_level,
                    family=family,
                    level=int(level),
                    mean_rgb=mean_rgb,
                    grey=is_grey,
                )
                name = f"{word}, grey" if is_grey else word
                sets.append(
                    TestSet(
                        "spatial-frequency",
                        name,
                        int(level),
                        float(cutoff),
                        partial(_changed, make, change),
                    )
                )
    return sets


def occlusion_sets(make: Callable[[Rows], Stack], size_px: int) -> list[TestSet]:
    """Return pictures with grey occluders.

    Parameters
    ----------
    make : callable
        From rows to the pictures of the system.
    size_px : int
        Their side.

    Returns
    -------
    list of TestSet
        Seventeen levels for each of four kinds; `value` is the true share.
    """
    sets = []
    for kind in KINDS:
        for level in range(1, N_LEVELS + 1):
            mask = occlusion_mask(kind, level, (size_px, size_px))
            change = partial(_hidden, mask)
            made = partial(_changed, make, change)
            sets.append(TestSet("occlusion", kind, level, float(mask.mean()), made))
    return sets


def window_sets(
    make: Callable[[Rows], Stack],
    size_px: int,
    pairs: tuple[Rows, NDArray[np.int64]],
    *,
    scale: float,
    fovea_deg: float,
    px_per_deg: float,
    fixation_px: tuple[float, float] | None = None,
) -> list[TestSet]:
    """Return pictures whose centre, with a soft border, is of another class.

    Parameters
    ----------
    make : callable
        From rows to the pictures of the system.
    size_px : int
        Their side.
    pairs : tuple of ndarray of int64, shape (n_pictures,)
        For each picture the row of the other one, and the class of that.
    scale, fovea_deg, px_per_deg : float
        Windows whose rings are the borders; as
        `neurovis.foveation.windows.pooling_windows`.
    fixation_px : tuple of float, optional
        Centre of the windows.

    Returns
    -------
    list of TestSet
        From no centre to nothing but centre.
    """
    windows = pooling_windows(
        (size_px, size_px),
        scale,
        fovea_deg=fovea_deg,
        px_per_deg=px_per_deg,
        fixation_px=fixation_px,
    )
    partners, others = pairs
    sets = []
    for index, weight in enumerate(fovea_templates(windows)):
        made = partial(_blended, make, partners, weight)
        value = float(weight.mean())
        sets.append(
            TestSet("window-conflict", "window", index + 1, value, made, others)
        )
    return sets


def square_sets(
    make: Callable[[Rows], Stack],
    size_px: int,
    pairs: tuple[Rows, NDArray[np.int64]],
) -> list[TestSet]:
    """Return pictures with a square of another class in the middle.

    Parameters
    ----------
    make : callable
        From rows to the pictures of the system.
    size_px : int
        Their side.
    pairs : tuple of ndarray of int64, shape (n_pictures,)
        For each picture the row of the other one, and the class of that.

    Returns
    -------
    list of TestSet
        Seventeen sizes of the square.
    """
    partners, others = pairs
    sets = []
    for level in range(1, N_LEVELS + 1):
        half = square_half_px(level, size_px)
        value = float(square_mask(half, (size_px, size_px)).mean())
        made = partial(_squared, make, partners, half)
        sets.append(TestSet("square-conflict", "square", level, value, made, others))
    return sets


def conflict_pairs(
    labels: NDArray[np.int64], experiment: str, *, pairing: str, seed: int
) -> tuple[Rows, NDArray[np.int64]]:
    """Pair each picture with one that is shown in its centre.

    Parameters
    ----------
    labels : ndarray of int64, shape (n_pictures,)
        Classes from 0.
    experiment : {"window-conflict", "square-conflict"}
        What the pairs are for.
    pairing : {"balanced", "published"}
        Every pair of classes alike, or as published, which needs equal numbers of
        pictures per class: the next class for windows; for squares a counter that
        pairs some pictures of the first class with their own class.
    seed : int
        Seed of "balanced".

    Returns
    -------
    partners : ndarray of int64, shape (n_pictures,)
        Row of the other picture.
    others : ndarray of int64, shape (n_pictures,)
        Its class.

    Raises
    ------
    ValueError
        If the numbers of pictures differ between classes and "published" is asked
        for.
    """
    check_option("pairing", pairing, PAIRINGS)
    if pairing == "balanced":
        pairs = balanced_pairs(labels, seed=seed)
        partners = pairs["other"].to_numpy(np.int64)
        return partners, labels[partners]
    counts = np.bincount(labels)
    if len(set(counts.tolist())) > 1:
        raise ValueError(
            "pairing='published' needs equally many test pictures of every class; "
            f"there are {counts.min()} to {counts.max()}. Take 'balanced'."
        )
    members = [np.flatnonzero(labels == k) for k in range(len(counts))]
    listed = decoy_pairs if experiment == "window-conflict" else published_pairs
    table = listed(len(counts), list(range(int(counts[0]))))
    partners = np.empty(len(labels), np.int64)
    own, number, other = (
        table[name].to_numpy() for name in ("base_class", "image_number", "other_class")
    )
    for base, k, shown in zip(own, number, other, strict=True):
        partners[members[base - 1][k]] = members[shown - 1][k]
    return partners, labels[partners]


def batches_of(n: int, size: int) -> Iterator[Rows]:
    """Go through rows in blocks.

    Parameters
    ----------
    n : int
        Number of rows.
    size : int
        Largest block.

    Yields
    ------
    ndarray of int64
        Consecutive rows.
    """
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))


def _changed(
    make: Callable[[Rows], Stack], change: Callable[[Stack], Stack], rows: Rows
) -> Stack:
    return change(make(rows))


def _hidden(mask: NDArray[np.bool_], pictures: Stack) -> Stack:
    return occlude(pictures, mask)


def _blended(
    make: Callable[[Rows], Stack],
    partners: Rows,
    weight: NDArray[np.float64],
    rows: Rows,
) -> Stack:
    return window_conflict(make(rows), make(partners[rows]), weight)


def _squared(
    make: Callable[[Rows], Stack], partners: Rows, half_px: float, rows: Rows
) -> Stack:
    return square_conflict(make(partners[rows]), make(rows), half_px)
