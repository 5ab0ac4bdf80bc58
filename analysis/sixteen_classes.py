"""Sixteen everyday categories: what a network with 1000 ImageNet classes decides.

References
----------
Geirhos et al. (2018). Generalisation in humans and deep neural networks. NeurIPS 31.
arXiv:1808.08750 (the categories; probabilities of their members are averaged).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_option

N_CLASSES = 1000
"""Classes of ImageNet-1k, in the order of their WordNet numbers."""

RULES = ("mean", "sum", "max")
"""How the probabilities of the members of a category become one number."""

# First and last index of each run of members.
_RUNS = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898-899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385-386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}


def _members(runs: str) -> tuple[int, ...]:
    ends = [[int(end) for end in run.split("-")] for run in runs.split()]
    return tuple(i for run in ends for i in range(run[0], run[-1] + 1))


CATEGORIES = tuple(_RUNS)
"""The sixteen categories, in alphabetical order."""

CLASS_INDICES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {name: _members(runs) for name, runs in _RUNS.items()}
)
"""ImageNet classes of each category, 0-based; 207 in all, none in two categories."""


def sixteen_class_probabilities(
    probabilities: ArrayLike, rule: str = "mean"
) -> NDArray[np.float64]:
    """Give each of the sixteen categories one number from those of its classes.

    Parameters
    ----------
    probabilities : array-like of float, shape (n_pictures, 1000)
        Softmax over the ImageNet classes in their standard order; rows sum to 1.
    rule : {"mean", "sum", "max"}, default "mean"
        The mean, as published: with the sum a category of many classes wins more
        often (dog has 109, knife one).

    Returns
    -------
    ndarray of float64, shape (n_pictures, 16)
        Columns in the order of `CATEGORIES`. They do not sum to 1: 793 classes belong
        to no category.

    Raises
    ------
    ValueError
        If the shape is another one, a number is not finite, or rows are not
        probabilities (take the softmax of logits first).

    Examples
    --------
    >>> flat = np.full((1, 1000), 0.001)
    >>> sixteen_class_probabilities(flat, "sum")[0, [0, 10]].round(3).tolist()
    [0.001, 0.109]
    """
    check_option("rule", rule, RULES)
    values = np.asarray(
        check_array(
            "probabilities", probabilities, shape=(None, N_CLASSES), finite=True
        ),
        np.float64,
    )
    sums = values.sum(axis=1)
    # Half precision leaves sums a little off.
    if len(values) and (values.min() < 0 or np.abs(sums - 1).max() > 1e-2):
        raise ValueError(
            "`probabilities` must be at least 0 and sum to 1 in each row; got a "
            f"smallest value of {values.min():.3g} and sums from {sums.min():.4g} to "
            f"{sums.max():.4g}. Take the softmax of logits first."
        )
    columns = []
    for members in CLASS_INDICES.values():
        own = values[:, list(members)]
        summed = own.max(axis=1) if rule == "max" else own.sum(axis=1)
        columns.append(summed / len(members) if rule == "mean" else summed)
    return np.stack(columns, axis=1)


def sixteen_class_decisions(
    probabilities: ArrayLike, rule: str = "mean"
) -> NDArray[Any]:
    """Decide for one of the sixteen categories.

    Parameters
    ----------
    probabilities : array-like of float, shape (n_pictures, 1000)
        As for `sixteen_class_probabilities`.
    rule : {"mean", "sum", "max"}, default "mean"
        Likewise.

    Returns
    -------
    ndarray of str, shape (n_pictures,)
        The category with the largest number; of equal ones the first in the alphabet.

    Raises
    ------
    ValueError
        As `sixteen_class_probabilities`.

    Examples
    --------
    >>> sure = np.zeros((1, 1000))
    >>> sure[0, 766] = 1
    >>> sixteen_class_decisions(sure).tolist()
    ['oven']
    """
    best = sixteen_class_probabilities(probabilities, rule).argmax(axis=1)
    return np.array(CATEGORIES)[best]
