"""How responses spread over categories, and which category is taken for which.

References
----------
Geirhos et al. (2018). Generalisation in humans and deep neural networks. NeurIPS 31.
arXiv:1808.08750.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.aligned_trials import NO_RESPONSE
from analysis.classification import confusion_matrix
from analysis.sixteen_classes import CATEGORIES
from neurovis.core.checks import check_array, check_columns

_SMALLEST_SHARE = 1e-5


def response_entropy(response: ArrayLike, truth: ArrayLike) -> float:
    """Compute the entropy of the responses of one observer, in bits.

    ``-sum p log2 p``, where p is the share of all trials with a response, for the
    categories that occur in `truth`; shares of at most 1e-5 are left out.

    Parameters
    ----------
    response : array-like of str, shape (n_trials,)
        What was answered. Answers that are no category of `truth`, such as "na", are
        in no share, so shares need not sum to 1.
    truth : array-like of str, shape (n_trials,)
        What was right.

    Returns
    -------
    float
        At most ``log2`` of the number of categories (4 bits for sixteen), for
        responses that use all of them equally; NaN without trials.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> response_entropy(["cat", "dog", "cat", "dog"], ["cat", "cat", "dog", "dog"])
    1.0
    """
    given, right = _texts(response, truth)
    if not len(given):
        return np.nan
    shares = np.array([np.mean(given == name) for name in set(right.tolist())])
    shares = np.sort(shares[shares > _SMALLEST_SHARE])
    return 0.0 - float((shares * np.log2(shares)).sum())


def mean_response_entropy(
    trials: pd.DataFrame, *, by: Sequence[str] = ("experiment", "condition")
) -> pd.DataFrame:
    """Average the response entropy over observers.

    Parameters
    ----------
    trials : DataFrame
        One row per trial, with `subject`, `response`, `truth` and the columns `by`.
    by : sequence of str, default ("experiment", "condition")
        Columns that tell conditions apart, at least one.

    Returns
    -------
    DataFrame
        One row per condition, in order of appearance: `by`, `entropy_bits` and
        `n_observers`.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> trials = pd.DataFrame(
    ...     {"truth": ["cat", "dog"] * 2, "response": ["cat", "dog", "cat", "cat"]}
    ... ).assign(subject=["ann", "ann", "bob", "bob"], condition="c10")
    >>> float(mean_response_entropy(trials, by=["condition"])["entropy_bits"].iloc[0])
    0.5
    """
    keys = list(by)
    check_columns("trials", trials.columns, [*keys, "subject", "response", "truth"])
    rows = []
    for key, own in trials.groupby([*keys, "subject"], sort=False, dropna=False):
        bits = response_entropy(own["response"], own["truth"])
        rows.append((*key[:-1], bits))
    table = pd.DataFrame(rows, columns=[*keys, "bits"])
    cells = table.groupby(keys, sort=False, dropna=False)["bits"]
    return cells.agg(entropy_bits="mean", n_observers="size").reset_index()


def confusion_of_responses(
    response: ArrayLike,
    truth: ArrayLike,
    categories: Sequence[str] = CATEGORIES,
    *,
    with_na: bool = False,
) -> pd.DataFrame:
    """Compute which categories are answered for which, in percent.

    Parameters
    ----------
    response : array-like of str, shape (n_trials,)
        What was answered; "na" or a missing value is no answer.
    truth : array-like of str, shape (n_trials,)
        What was right.
    categories : sequence of str, default the sixteen `CATEGORIES`
        All categories, in the order of rows and columns.
    with_na : bool, default False
        Whether a first row "na" counts trials without an answer. If not, those trials
        are left out.

    Returns
    -------
    DataFrame
        Rows are responses, columns the truth; each column sums to 100, or is NaN
        where the truth does not occur.

    Raises
    ------
    ValueError
        If lengths differ, or something is no category.

    Examples
    --------
    >>> table = confusion_of_responses(
    ...     ["cat", "dog", "cat", "na"], ["cat", "cat", "dog", "dog"], ["cat", "dog"]
    ... )
    >>> table.to_numpy().tolist()
    [[50.0, 100.0], [50.0, 0.0]]
    """
    given, right = _texts(response, truth)
    kept = np.ones(len(given), np.bool_) if with_na else given != NO_RESPONSE
    table = pd.DataFrame({"label": right[kept], "predicted": given[kept]})
    # There, rows are the truth, and both sides have the same classes.
    classes = [NO_RESPONSE, *categories]
    counts = confusion_matrix(table, classes).T
    if counts[:, 0].any():
        raise ValueError(f"`truth` has {NO_RESPONSE!r}: it must be a category.")
    shown = pd.DataFrame(counts, index=classes, columns=classes).iloc[:, 1:]
    shown = shown if with_na else shown.iloc[1:]
    return 100 * shown / shown.sum().replace(0, np.nan)


def _texts(
    response: ArrayLike, truth: ArrayLike
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    right = check_array("truth", np.asarray(truth, dtype=object), shape=(None,))
    given = np.asarray(response, dtype=object)
    check_array("response", given, shape=right.shape)
    return np.where(pd.isna(given), NO_RESPONSE, given), right
