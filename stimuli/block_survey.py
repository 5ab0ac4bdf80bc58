"""All block figures of a number of cubes and elbows, and draws from them.

Ten cubes with three elbows make 21504 walks. 480 enter a cell twice; the others are
434 objects up to rotation and reversal, of which 334 are chiral: 167 mirror pairs.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_whole
from neurovis.core.rng import generator
from stimuli.block_figures import LETTERS, STEPS, arm_lengths, quarter_rotations

IntArray = NDArray[np.int64]

N_CUBES = 10
N_ELBOWS = 3
LONGEST_ARM = 6
"""Of objects that are drawn: steps in one direction."""


@dataclass(frozen=True, eq=False)
class ShapeSurvey:
    """All objects of one number of cubes and elbows.

    Parameters
    ----------
    n_walks : int
        Strings with so many elbows.
    n_crossing : int
        Of these, strings that enter a cell twice.
    objects : DataFrame
        One row per object, that is up to rotation and reversal: `shape` (a string
        that begins with u, then b), `chiral` (bool), `mirror_pair` (number shared by
        an object and its mirror image; an achiral one has its own), `n_walks`
        (strings that make it) and `longest_arm` (steps).
    """

    n_walks: int
    n_crossing: int
    objects: pd.DataFrame

    @property
    def n_chiral(self) -> int:
        """Objects that differ from their mirror image."""
        return int(self.objects["chiral"].sum())

    @property
    def n_mirror_pairs(self) -> int:
        """Pairs of a chiral object and its mirror image."""
        chiral = self.objects[self.objects["chiral"]]
        return int(chiral["mirror_pair"].nunique())


def enumerate_shapes(n_cubes: int = N_CUBES, n_elbows: int = N_ELBOWS) -> ShapeSurvey:
    """Find all objects of a number of cubes and elbows.

    Parameters
    ----------
    n_cubes : int, default 10
        Cubes, 2 to 16.
    n_elbows : int, default 3
        Changes of direction, each by a right angle, 0 to 4.

    Returns
    -------
    ShapeSurvey
        Counts, and one row per object.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or there are more elbows than cubes allow.

    Examples
    --------
    >>> survey = enumerate_shapes(4, 2)
    >>> len(survey.objects), survey.n_chiral, survey.n_mirror_pairs
    (4, 2, 1)
    """
    n_cubes = check_whole("n_cubes", n_cubes, low=2, high=16)
    n_elbows = check_whole("n_elbows", n_elbows, low=0, high=4)
    if n_elbows > n_cubes - 2:
        raise ValueError(
            f"`n_elbows` must be at most {n_cubes - 2} with {n_cubes} cubes; got "
            f"{n_elbows}."
        )
    walks = _standing_walks(n_cubes - 1, n_elbows)
    # Every other walk is one of these, rotated; a straight one has fewer rotations.
    n_rotations = 24 if n_elbows else 6
    cells = np.zeros((len(walks), n_cubes, 3), np.int64)
    cells[:, 1:] = np.cumsum(STEPS[walks], axis=1)
    crossing = _crossing(cells)
    n_walks, n_crossing = n_rotations * len(walks), n_rotations * int(crossing.sum())
    walks, cells = walks[~crossing], cells[~crossing]
    keys = _keys(cells)
    mirrored = _keys(cells * np.array([1, 1, -1]))
    _, first, number, counts = np.unique(
        keys, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    object_of = {tuple(keys[i]): n for n, i in enumerate(first)}
    own_mirror = np.array([object_of[tuple(mirrored[i])] for i in first])
    n_objects = len(first)
    strings: list[list[str]] = [[] for _ in range(n_objects)]
    for walk, n in zip(walks, number.reshape(-1), strict=True):
        strings[n].append("".join(LETTERS[i] for i in walk))
    representative = [min(texts) for texts in strings]
    index = np.arange(n_objects)
    objects = pd.DataFrame(
        {
            "shape": representative,
            "chiral": own_mirror != index,
            "mirror_pair": np.minimum(own_mirror, index),
            "n_walks": n_rotations * counts,
            "longest_arm": [max(arm_lengths(shape)) for shape in representative],
        }
    )
    objects = objects.sort_values("shape", ignore_index=True)
    objects["mirror_pair"] = pd.factorize(objects["mirror_pair"])[0]
    return ShapeSurvey(n_walks, n_crossing, objects)


def draw_block_shapes(
    n: int, seed: int = 0, *, n_cubes: int = N_CUBES, n_elbows: int = N_ELBOWS
) -> list[str]:
    """Draw objects of different mirror pairs.

    Objects are chiral and their arms are not all equally long; none has more than
    `LONGEST_ARM` steps. A chiral object spans all three axes.

    Parameters
    ----------
    n : int
        Objects, at most one per mirror pair (167 with ten cubes and three elbows).
    seed : int, default 0
        Of the draw.
    n_cubes : int, default 10
        Cubes of an object.
    n_elbows : int, default 3
        Elbows of an object.

    Returns
    -------
    list of str
        Strings; no two are the same object or mirror images. With a larger `n` and
        the same seed the first ones are the same.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or there are fewer mirror pairs.

    Examples
    --------
    >>> from stimuli.block_figures import is_chiral
    >>> shapes = draw_block_shapes(3, seed=1)
    >>> len(shapes), all(is_chiral(shape) for shape in shapes)
    (3, True)
    """
    check_whole("n", n, low=1)
    check_whole("seed", seed, low=0)
    objects = enumerate_shapes(n_cubes, n_elbows).objects
    usable = objects[objects["chiral"] & (objects["longest_arm"] <= LONGEST_ARM)]
    unequal = [len(set(arm_lengths(shape))) > 1 for shape in usable["shape"]]
    pairs = [list(part["shape"]) for _, part in usable[unequal].groupby("mirror_pair")]
    if n > len(pairs):
        raise ValueError(
            f"`n` must be at most {len(pairs)}, the mirror pairs of chiral objects of "
            f"{n_cubes} cubes with {n_elbows} elbows; got {n}."
        )
    rng = generator(seed, "block shapes", n_cubes, n_elbows)
    order = rng.permutation(len(pairs))
    sides = rng.integers(2, size=len(pairs))
    return [pairs[i][sides[i] % len(pairs[i])] for i in order[:n]]


def _standing_walks(n_steps: int, n_elbows: int) -> IntArray:
    """Return walks that go up, then back, as numbers of letters, one per row."""
    axis = np.arange(6) // 2
    arms = [[LETTERS.index("u")]]
    for elbow in range(n_elbows):
        others = [LETTERS.index("b")] if elbow == 0 else range(6)
        arms = [[*row, d] for row in arms for d in others if axis[d] != axis[row[-1]]]
    bends = itertools.combinations(range(1, n_steps), n_elbows)
    places = np.arange(n_steps)
    arm_of = [np.searchsorted(bend, places, side="right") for bend in bends]
    return np.concatenate([np.array(arms)[:, arm] for arm in arm_of])


def _crossing(cells: IntArray) -> NDArray[np.bool_]:
    shifted = cells - cells.min(axis=1, keepdims=True)
    codes = np.sort(_codes(shifted, cells.shape[1]), axis=1)
    return np.asarray((np.diff(codes, axis=1) == 0).any(axis=1))


def _codes(cells: IntArray, base: int) -> IntArray:
    """Return one number per cell, ordered as the cells are."""
    return np.asarray((cells[..., 0] * base + cells[..., 1]) * base + cells[..., 2])


def _keys(cells: IntArray) -> IntArray:
    """Return a row of numbers per object that is its canonical key."""
    n_cubes = cells.shape[1]
    best: IntArray | None = None
    for rotation in quarter_rotations():
        turned = cells @ rotation.T
        turned -= turned.min(axis=1, keepdims=True)
        codes = np.sort(_codes(turned, n_cubes), axis=1)
        best = codes if best is None else _smaller_rows(best, codes)
    assert best is not None  # there are 24 rotations
    return best


def _smaller_rows(first: IntArray, second: IntArray) -> IntArray:
    """Return the smaller of each two rows, compared from the left."""
    differs = first != second
    column = differs.argmax(axis=1)[:, None]
    second_wins = np.take_along_axis(second, column, 1) < np.take_along_axis(
        first, column, 1
    )
    return np.where(second_wins, second, first)
