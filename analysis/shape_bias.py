"""Shape or texture: what decides when the two cues of a picture disagree.

A response counts as a shape decision if it names the category of the shape, as a
texture decision if it names that of the texture; any other response, or none, is
neither. Pictures whose two categories agree say nothing and count only in `n`.

References
----------
Geirhos, Rubisch, Michaelis, Bethge, Wichmann and Brendel (2019). ImageNet-trained CNNs
are biased towards texture; increasing shape bias improves accuracy and robustness.
ICLR. arXiv:1811.12231.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.stats import percentile_interval
from neurovis.core.checks import check_array, check_between, check_option, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

OVER = ("images", "observers", "both")
"""To what an interval of a shape bias generalises."""


@dataclass(frozen=True)
class ShapeBias:
    """How often shape, and how often texture, decided.

    Parameters
    ----------
    fraction_shape : float
        Shape decisions among all trials, 0..1.
    fraction_texture : float
        Texture decisions among all trials, 0..1.
    shape_bias : float
        ``fraction_shape / (fraction_shape + fraction_texture)``, 0..1; NaN without
        such a decision.
    n : int
        Trials, those without a conflict included.
    n_conflict : int
        Trials in which shape and texture differ.
    """

    fraction_shape: float
    fraction_texture: float
    shape_bias: float
    n: int
    n_conflict: int


def shape_bias(response: ArrayLike, shape: ArrayLike, texture: ArrayLike) -> ShapeBias:
    """Compute the shape bias of a set of trials.

    Parameters
    ----------
    response : array-like of str, shape (n_trials,)
        What was answered; "na" or a missing value is neither shape nor texture.
    shape : array-like of str, shape (n_trials,)
        Category of the shape.
    texture : array-like of str, shape (n_trials,)
        Category of the texture.

    Returns
    -------
    ShapeBias
        Fractions are of all trials passed in, as published.

    Raises
    ------
    ValueError
        If lengths differ.

    Examples
    --------
    >>> bias = shape_bias(
    ...     ["cat", "cat", "dog", "na"],
    ...     ["cat", "cat", "cat", "cat"],
    ...     ["dog", "car", "dog", "cat"],
    ... )
    >>> round(bias.shape_bias, 3), bias.fraction_texture, bias.n_conflict
    (0.667, 0.25, 3)
    """
    by_shape, by_texture, conflict = _decisions(response, shape, texture)
    n = len(conflict)
    n_shape, n_texture = int(by_shape.sum()), int(by_texture.sum())
    decided = n_shape + n_texture
    return ShapeBias(
        n_shape / n if n else np.nan,
        n_texture / n if n else np.nan,
        n_shape / decided if decided else np.nan,
        n,
        int(conflict.sum()),
    )


def shape_bias_by_category(
    response: ArrayLike, shape: ArrayLike, texture: ArrayLike
) -> pd.DataFrame:
    """Compute the shape bias for each category of the shape.

    Parameters
    ----------
    response : array-like of str, shape (n_trials,)
        As for `shape_bias`.
    shape : array-like of str, shape (n_trials,)
        Likewise.
    texture : array-like of str, shape (n_trials,)
        Likewise.

    Returns
    -------
    DataFrame
        One row per category, sorted: `category` and the fields of `ShapeBias`;
        fractions are of the trials of the category.

    Raises
    ------
    ValueError
        If lengths differ.

    Examples
    --------
    >>> table = shape_bias_by_category(["cat", "car"], ["cat", "dog"], ["car", "car"])
    >>> table.set_index("category")["shape_bias"].to_dict()
    {'cat': 1.0, 'dog': 0.0}
    """
    given = [np.asarray(column, dtype=object) for column in (response, shape, texture)]
    _decisions(*given)
    rows = []
    for category in sorted(set(given[1].tolist())):
        own = given[1] == category
        found = shape_bias(*(column[own] for column in given))
        rows.append({"category": category, **asdict(found)})
    columns = ["category", *ShapeBias.__dataclass_fields__]
    return pd.DataFrame(rows, columns=columns)


def shape_bias_interval(
    response: ArrayLike,
    shape: ArrayLike,
    texture: ArrayLike,
    *,
    image_id: Sequence[Any] | None = None,
    observer: Sequence[Any] | None = None,
    over: str = "images",
    n_bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap an interval of the pooled shape bias.

    Parameters
    ----------
    response : array-like of str, shape (n_trials,)
        As for `shape_bias`.
    shape : array-like of str, shape (n_trials,)
        Likewise.
    texture : array-like of str, shape (n_trials,)
        Likewise.
    image_id : sequence, shape (n_trials,), optional
        Which picture was shown; each trial has its own by default. Trials of several
        observers with one picture are drawn together.
    observer : sequence, shape (n_trials,), optional
        Who answered; one observer by default.
    over : {"images", "observers", "both"}, default "images"
        What is drawn with replacement: the interval tells how far the shape bias
        would move with other such pictures ("images", these observers stay), with
        other such people ("observers", these pictures stay), or both.
    n_bootstrap : int, default 1000
        Resamples, >= 1.
    level : float, default 0.95
        Coverage aimed at, 0..1.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    low, high : float
        Percentile limits, 0..1; NaN with fewer than two of what is drawn, or when
        too many resamples hold no decision for shape or texture.

    Raises
    ------
    TypeError, ValueError
        If lengths differ or an argument is out of range.

    Examples
    --------
    >>> low, high = shape_bias_interval(["cat", "dog"] * 20, ["cat"] * 40, ["dog"] * 40)
    >>> low < 0.5 < high
    True
    """
    check_option("over", over, OVER)
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=1)
    check_between("level", level, low=0, high=1)
    by_shape, by_texture, conflict = _decisions(response, shape, texture)
    n = len(conflict)
    image = _codes("image_id", np.arange(n) if image_id is None else image_id, n)
    who = _codes("observer", np.zeros(n, int) if observer is None else observer, n)
    n_images, n_observers = (int(c.max()) + 1 if n else 0 for c in (image, who))
    drawn = {"images": (n_images,), "observers": (n_observers,)}
    if min(drawn.get(over, (n_images, n_observers))) < 2:
        return np.nan, np.nan
    counts = np.zeros((2, n_observers, n_images))
    np.add.at(counts[0], (who, image), by_shape)
    np.add.at(counts[1], (who, image), by_texture)
    rng = generator(seed, "shape bias", over)
    images, people = (
        _weights(rng, size, n_bootstrap, draw=over in (kind, "both"))
        for kind, size in (("images", n_images), ("observers", n_observers))
    )
    shapes, textures = (((images @ c.T) * people).sum(axis=1) for c in counts)
    total = shapes + textures
    draws = np.divide(shapes, total, out=np.full_like(total, np.nan), where=total > 0)
    low, high = percentile_interval(draws, level=level)
    return float(low), float(high)


def _decisions(
    response: ArrayLike, shape: ArrayLike, texture: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell decisions for shape, for texture, and trials with a conflict."""
    answer = check_array("response", np.asarray(response, dtype=object), shape=(None,))
    form, surface = (
        check_array(name, np.asarray(column, dtype=object), shape=answer.shape)
        for name, column in (("shape", shape), ("texture", texture))
    )
    for name, column in (("shape", form), ("texture", surface)):
        if pd.isna(column).any():
            raise ValueError(
                f"`{name}` has {int(pd.isna(column).sum())} missing values: every "
                "picture has a category of either cue."
            )
    # A missing answer equals no category; pandas' NA would answer with NA.
    answer = np.where(pd.isna(answer), "na", answer)
    conflict = np.asarray(form != surface, np.bool_)
    return (answer == form) & conflict, (answer == surface) & conflict, conflict


def _codes(name: str, labels: Sequence[Any] | NDArray[Any], n: int) -> NDArray[np.intp]:
    values = check_array(name, np.asarray(labels, dtype=object), shape=(n,))
    codes = pd.factorize(values)[0]
    if (codes < 0).any():
        raise ValueError(f"`{name}` has {int((codes < 0).sum())} missing values.")
    return codes


def _weights(
    rng: np.random.Generator, size: int, n_bootstrap: int, *, draw: bool
) -> FloatArray:
    """How often each unit is in each resample; once in all if it is not drawn."""
    if not draw:
        return np.ones((1, size))
    share = np.full(size, 1 / size)
    return np.asarray(rng.multinomial(size, share, size=n_bootstrap), np.float64)
