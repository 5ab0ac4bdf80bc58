"""Features as users hand them to a fitted encoding model."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from neurovis.core.checks import suggest


def features_by_space(
    features: ArrayLike | Mapping[str, Any], names: Sequence[str]
) -> list[Any]:
    """Return the features of each space of a model, in its order.

    Parameters
    ----------
    features : array-like, or mapping of str to array-like
        Features of the only space, or by name of space.
    names : sequence of str
        Spaces of the model.

    Returns
    -------
    list of array-like
        One per space, as they are given.

    Raises
    ------
    ValueError
        If a space is missing or unknown, or there are several and no mapping.

    Examples
    --------
    >>> features_by_space({"late": 2, "early": 1}, ["early", "late"])
    [1, 2]
    """
    names = list(names)
    if isinstance(features, Mapping):
        given = {str(name): value for name, value in features.items()}
    elif len(names) == 1:
        given = {names[0]: features}
    else:
        raise ValueError(
            f"The model has the spaces {names}: `features` must be a mapping from "
            "these names to arrays."
        )
    wrong = [name for name in given if name not in names]
    missing = [name for name in names if name not in given]
    if wrong or missing:
        hint = suggest(wrong[0], names) if wrong else ""
        raise ValueError(
            f"`features` must have the spaces {names}; got {list(given)}.{hint}"
        )
    return [given[name] for name in names]


def check_same_rows(n_rows: Sequence[int]) -> None:
    """Raise unless all spaces have features of the same pictures.

    Parameters
    ----------
    n_rows : sequence of int
        Rows of each space.

    Raises
    ------
    ValueError
        If they differ.

    Examples
    --------
    >>> check_same_rows([3, 3])
    """
    if len(set(n_rows)) > 1:
        raise ValueError(
            f"`features` of all spaces need the same rows; got {list(n_rows)}."
        )
