"""Pictures of two classes at once: one in the centre, the other around it.

What a system calls such a picture tells where it looks: the larger the centre must be
before its class wins, the weaker the central bias.

References
----------
Deza and Konkle (2020). Emergent properties of foveated perceptual systems.
arXiv:2006.07991.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_whole
from neurovis.core.rng import generator
from stimuli.occluders import square_mask

Picture = NDArray[np.uint8]


def window_conflict(
    image: Picture, decoy: Picture, foveal_weight: ArrayLike
) -> Picture:
    """Blend a decoy into the centre of a picture, with a soft border.

    Parameters
    ----------
    image : ndarray of uint8, shape (..., H, W, 3)
        What is seen around: the peripheral class.
    decoy : ndarray of uint8, shape (..., H, W, 3)
        What is seen in the centre: the foveal class.
    foveal_weight : array-like of float, shape (H, W)
        Weight of the decoy, 0..1, such as the foveal window of pooling windows.

    Returns
    -------
    ndarray of uint8, shape (..., H, W, 3)
        ``decoy F + image (1 - F)``, rounded half up.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes differ, or a weight is outside 0..1.

    Examples
    --------
    >>> black, white = np.zeros((1, 3, 3), np.uint8), np.full((1, 3, 3), 255, np.uint8)
    >>> window_conflict(black, white, [[0.0, 0.5, 1.0]])[0, :, 0].tolist()
    [0, 128, 255]
    """
    around, centre = _check_pair("image", image, "decoy", decoy)
    weight = np.asarray(foveal_weight, np.float64)
    check_array("foveal_weight", weight, shape=around.shape[-3:-1], finite=True)
    if weight.min() < 0 or weight.max() > 1:
        raise ValueError(
            "`foveal_weight` must be within [0, 1]; got "
            f"{weight.min():g} to {weight.max():g}. Divide 8-bit templates by 255."
        )
    share = weight[..., None]
    return np.floor(centre * share + around * (1 - share) + 0.5).astype(np.uint8)


def square_conflict(
    inside: Picture,
    outside: Picture,
    half_px: float,
    *,
    point_px: tuple[float, float] | None = None,
) -> Picture:
    """Put the middle of one picture into another, with a sharp square border.

    Parameters
    ----------
    inside, outside : ndarray of uint8, shape (..., H, W, 3)
        What is seen within and around the square, each at its own place.
    half_px : float
        Half the side of the square, px, >= 0; the 17 published ones are those of
        `stimuli.occluders.square_half_px`.
    point_px : tuple of float, optional
        Centre ``(x, y)`` of the square, px; that of the picture by default.

    Returns
    -------
    ndarray of uint8, shape (..., H, W, 3)
        The mixed picture.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes differ, or a number is out of range.

    Examples
    --------
    >>> black, white = np.zeros((2, 4, 3), np.uint8), np.full((2, 4, 3), 255, np.uint8)
    >>> square_conflict(white, black, 1)[0, :, 0].tolist()
    [0, 255, 255, 0]
    """
    within, around = _check_pair("inside", inside, "outside", outside)
    height, width = within.shape[-3:-1]
    mask = square_mask(half_px, (height, width), point_px=point_px)
    return np.where(mask[..., None], within, around)


def decoy_pairs(n_classes: int, numbers: Sequence[int]) -> pd.DataFrame:
    """Pair each picture with the same number of the next class, as published.

    Parameters
    ----------
    n_classes : int
        Number of classes, >= 2.
    numbers : sequence of int
        Numbers of the pictures of every class.

    Returns
    -------
    DataFrame
        One row per picture, classes in order: `base_class`, `image_number` and
        `other_class`, 1-based; the class after the last is the first.

    Raises
    ------
    TypeError, ValueError
        If there are less than two classes, or no numbers.

    Notes
    -----
    A class is only ever mixed with one other: what the two have in common cannot be
    told from the bias. `balanced_pairs` has no such flaw.

    Examples
    --------
    >>> decoy_pairs(3, [7])["other_class"].tolist()
    [2, 3, 1]
    """
    table = _every_picture(n_classes, numbers)
    return table.assign(other_class=table["base_class"] % n_classes + 1)


def published_pairs(n_classes: int, numbers: Sequence[int]) -> pd.DataFrame:
    """Pair the pictures of the square conflict exactly as published.

    A counter goes through the classes while pictures are taken class by class. It
    skips the class of the picture, but after its return to class 1 this is not looked
    at again.

    Parameters
    ----------
    n_classes : int
        Number of classes, >= 2.
    numbers : sequence of int
        Numbers of the pictures of every class.

    Returns
    -------
    DataFrame
        One row per picture, classes in order: `base_class`, `image_number` and
        `other_class`, 1-based. Some rows of class 1 pair it with itself: 12 of 5000
        with 20 classes of 250 pictures.

    Raises
    ------
    TypeError, ValueError
        If there are less than two classes, or no numbers.

    Examples
    --------
    >>> published_pairs(3, [1, 2, 3])["other_class"].tolist()
    [2, 3, 1, 3, 1, 3, 1, 2, 1]
    """
    table = _every_picture(n_classes, numbers)
    others, counter = [], 1
    for own in table["base_class"].tolist():
        if counter == own:
            counter += 1
        if counter == n_classes + 1:
            counter = 1
        others.append(counter)
        counter += 1
    return table.assign(other_class=others)


def balanced_pairs(
    labels: Sequence[Any] | NDArray[Any], *, seed: int = 0
) -> pd.DataFrame:
    """Pair every picture with one of another class, all pairs of classes alike.

    Parameters
    ----------
    labels : sequence, shape (n_pictures,)
        Class of each picture; at least two classes.
    seed : int, default 0
        Seed of the draw.

    Returns
    -------
    DataFrame
        One row per picture, in their order: `base` and `other` (0-based places in
        `labels`), `base_class` and `other_class`. A class is never paired with
        itself; a class meets each other class equally often, or once more; the
        pictures of a class are others equally often, or once more.

    Raises
    ------
    TypeError, ValueError
        If there are less than two classes, or the seed is none.

    Examples
    --------
    >>> pairs = balanced_pairs(["sea", "sea", "wood", "wood", "town", "town"])
    >>> pairs.groupby(["base_class", "other_class"]).size().tolist()
    [1, 1, 1, 1, 1, 1]
    """
    kinds, own = np.unique(np.asarray(labels), return_inverse=True)
    n = len(kinds)
    if own.ndim != 1 or n < 2:
        raise ValueError(
            f"`labels` must be one row with at least two classes; got shape "
            f"{np.shape(labels)} with {n}."
        )
    rng = generator(seed, "balanced pairs")
    # Classes stand in a random circle and meet those at distance 1, 2 and so on. What
    # does not divide evenly falls to the nearest for all: each is met equally often.
    circle = rng.permutation(n)
    supply = [rng.permutation(np.flatnonzero(own == k)) for k in range(n)]
    used = [0] * n
    other = np.empty(len(own), np.intp)
    for place, k in enumerate(circle):
        members = rng.permutation(np.flatnonzero(own == k))
        for i, row in enumerate(members):
            met = circle[(place + 1 + i % (n - 1)) % n]
            other[row] = supply[met][used[met] % len(supply[met])]
            used[met] += 1
    return pd.DataFrame(
        {
            "base": np.arange(len(own)),
            "other": other,
            "base_class": kinds[own],
            "other_class": kinds[own[other]],
        }
    )


def _every_picture(n_classes: int, numbers: Sequence[int]) -> pd.DataFrame:
    n_classes = check_whole("n_classes", n_classes, low=2)
    listed = [check_whole("numbers", number) for number in numbers]
    if not listed:
        raise ValueError("`numbers` is empty: at least one picture is needed.")
    return pd.DataFrame(
        {
            "base_class": np.repeat(np.arange(1, n_classes + 1), len(listed)),
            "image_number": np.tile(listed, n_classes),
        }
    )


def _check_pair(
    name: str, first: Picture, other: str, second: Picture
) -> tuple[Picture, Picture]:
    a = check_array(name, first, dtype=np.uint8)
    b = check_array(other, second, dtype=np.uint8)
    if a.ndim < 3 or a.shape[-1] != 3 or a.shape != b.shape or not a.size:
        raise ValueError(
            f"`{name}` and `{other}` must have one shape, (..., H, W, 3); got "
            f"{a.shape} and {b.shape}."
        )
    return a, b
