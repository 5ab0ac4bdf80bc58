"""Maps of category selectivity against each other, and against regions.

Maps are those of `analysis.selectivity`: one d' per unit and category. Two of them tell
how well selectivity repeats, or how well an encoder predicts it; regions tell whether
the units that localisers name are those that prefer the category. Undefined is NaN.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from analysis.selectivity import (
    EXCLUDED,
    Selectivity,
    category_selectivity,
    text_labels,
)
from analysis.stats import pearson_r, spearman_r
from neurovis.core.checks import check_array, check_option, check_whole


def compare_selectivity(first: Selectivity, second: Selectivity) -> pd.DataFrame:
    """Correlate two selectivity maps over units, category by category.

    For two halves of the pictures, two sessions, or measured and predicted responses.

    Parameters
    ----------
    first, second : Selectivity
        Of the same units in the same order. Categories that both have are compared.

    Returns
    -------
    DataFrame
        One row per category, in the order of `first`: `category`, `r` (Pearson) and
        `rank_r` (Spearman) of d' over units, -1..1, and `n_units`, those defined in
        both. NaN where one of them is constant or with fewer than two units.

    Raises
    ------
    ValueError
        If numbers of units differ, or no category is in both.

    Notes
    -----
    There is no p value: neighbouring units are not independent.
    """
    if len(first.d_prime) != len(second.d_prime):
        raise ValueError(
            f"`second` has {len(second.d_prime)} units, but `first` has "
            f"{len(first.d_prime)}: both need the same units in one order."
        )
    shared = [name for name in first.categories if name in second.categories]
    if not shared:
        raise ValueError(
            f"`first` has the categories {list(first.categories)} and `second` has "
            f"{list(second.categories)}: none is in both."
        )
    table = []
    for name in shared:
        a, b = first.of(name), second.of(name)
        known = np.isfinite(a) & np.isfinite(b)
        r, rank_r = (float(f(a[known], b[known])) for f in (pearson_r, spearman_r))
        table.append((name, r, rank_r, int(known.sum())))
    return pd.DataFrame(table, columns=["category", "r", "rank_r", "n_units"])


def selectivity_reliability(
    responses: ArrayLike,
    categories: Sequence[str] | ArrayLike,
    *,
    halves: ArrayLike | str = "even-odd",
    n_top: int = 10,
    contrast: str | Sequence[str] | None = None,
    against: str | Sequence[str] | None = None,
    exclude: Sequence[str] = EXCLUDED,
    epsilon: float = 0.0,
) -> pd.DataFrame:
    """Compute how well selectivity repeats in other pictures of the same categories.

    Parameters
    ----------
    responses : array-like of float, shape (n_images, n_units)
        One row per picture, measured or predicted.
    categories : array-like of str, shape (n_images,)
        Category of each picture.
    halves : "even-odd" or array-like of bool, shape (n_images,)
        True for the first half; by default pictures of each category alternate, the
        first one in the first half.
    n_top : int, default 10
        Most selective units whose d' is measured anew.
    contrast, against : str or sequence of str, optional
        As `analysis.selectivity.category_selectivity`.
    exclude : sequence of str, default ("scrambled",)
        As there.
    epsilon : float, default 0
        As there.

    Returns
    -------
    DataFrame
        One row per category: `category`, `r` (correlation of d' of the two halves over
        units), `spearman_brown` (``2 r / (1 + r)``, the reliability of the map of all
        pictures), `n_units` (defined in both), `top_d_prime` (mean d' in the second
        half of the `n_top` units that were most selective in the first, which is not
        inflated by the choice) and `n_top`, of how many units that is.

    Raises
    ------
    ValueError
        As `category_selectivity`, of each half; or if `halves` does not fit.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> kinds = np.repeat(["face", "place"], 20)
    >>> likes = np.linspace(-1, 1, 50)
    >>> responses = np.where(kinds[:, None] == "face", likes, 0)
    >>> responses += rng.normal(size=(40, 50))
    >>> table = selectivity_reliability(responses, kinds, contrast="face")
    >>> bool(table["r"][0] > 0.4)
    True
    """
    check_whole("n_top", n_top, low=1)
    x = check_array("responses", responses, shape=(None, None))
    kinds = text_labels("categories", categories, len(x), "row of `responses`")
    if isinstance(halves, str):
        check_option("halves", halves, ("even-odd",))
        place = pd.Series(kinds).groupby(kinds).cumcount().to_numpy()
        chosen = place % 2 == 0
    else:
        chosen = check_array("halves", halves, shape=(len(x),), dtype=bool)
    first, second = (
        category_selectivity(
            x[half],
            kinds[half],
            contrast=contrast,
            against=against,
            exclude=exclude,
            epsilon=epsilon,
        )
        for half in (chosen, ~chosen)
    )
    table = compare_selectivity(first, second)
    r = table["r"].to_numpy(np.float64)
    table.insert(2, "spearman_brown", 2 * r / np.where(r > -1, 1 + r, np.nan))
    tops = []
    for name in table["category"]:
        a, b = first.of(name), second.of(name)
        units = np.flatnonzero(np.isfinite(a) & np.isfinite(b))
        best = units[np.argsort(-a[units], kind="stable")[:n_top]]
        tops.append((float(b[best].mean()) if len(best) else np.nan, len(best)))
    table["top_d_prime"] = [value for value, _ in tops]
    table["n_top"] = [n for _, n in tops]
    return table.drop(columns="rank_r")


def selectivity_agreement(
    selectivity: Selectivity, labels: Sequence[str] | ArrayLike
) -> pd.DataFrame:
    """Compare the units of each region with all other units.

    Parameters
    ----------
    selectivity : Selectivity
        Of all units.
    labels : array-like of str, shape (n_units,)
        Region of each unit, such as a family of `neurovis.core.regions`; "" or missing
        outside all of them. Units of other regions count among the others.

    Returns
    -------
    DataFrame
        One row per region, in order of first occurrence, and category: `region`,
        `category`, `n_units` (of the region), `n_defined` (with a d'), `d_prime` (their
        mean), `d_prime_others` (mean of all other units) and `auc` (see `unit_auc`).

    Raises
    ------
    ValueError
        If the number of labels differs, or there is no region.

    Examples
    --------
    >>> responses = np.array([[5.0, 1.0], [6.0, 2.0], [2.0, 4.0], [1.0, 4.5]])
    >>> found = category_selectivity(responses, ["face", "face", "place", "place"])
    >>> table = selectivity_agreement(found, ["FFA", ""])
    >>> table[["region", "category", "auc"]].values.tolist()
    [['FFA', 'face', 1.0], ['FFA', 'place', 0.0]]
    """
    n = len(selectivity.d_prime)
    regions = text_labels("labels", labels, n, "unit", missing=True)
    names = [name for name in dict.fromkeys(regions) if name]
    if not names:
        raise ValueError("`labels` has no region: every label is empty or missing.")
    table = []
    for name in names:
        inside = regions == name
        for k, category in enumerate(selectivity.categories):
            values = selectivity.d_prime[:, k]
            known = ~np.isnan(values)
            own, rest = values[inside & known], values[~inside & known]
            means = (float(v.mean()) if len(v) else np.nan for v in (own, rest))
            area = unit_auc(values, inside)
            table.append((name, category, int(inside.sum()), len(own), *means, area))
    columns = ["region", "category", "n_units", "n_defined", "d_prime"]
    return pd.DataFrame(table, columns=[*columns, "d_prime_others", "auc"])


def unit_auc(values: ArrayLike, inside: ArrayLike) -> float:
    """Compute how well a value tells the units of a region from all others.

    Parameters
    ----------
    values : array-like of float, shape (n_units,)
        One number per unit; NaN is left out.
    inside : array-like of bool, shape (n_units,)
        Whether the unit lies in the region.

    Returns
    -------
    float
        Area under the ROC curve: the probability that a unit of the region has the
        larger value, ties counting half. 0.5 is chance; NaN without units on one side.

    Raises
    ------
    TypeError, ValueError
        If `inside` is not a mask of the same length.

    Examples
    --------
    >>> unit_auc([3.0, 1.0, 2.0, 1.0], [True, True, False, False])
    0.625
    """
    numbers = check_array("values", np.asarray(values, np.float64), shape=(None,))
    mask = check_array("inside", inside, shape=numbers.shape, dtype=bool)
    known = ~np.isnan(numbers)
    n_in, n_out = int((mask & known).sum()), int((~mask & known).sum())
    if not n_in or not n_out:
        return float("nan")
    ranks = stats.rankdata(numbers[known])
    above = ranks[mask[known]].sum() - n_in * (n_in + 1) / 2
    return float(above / (n_in * n_out))
