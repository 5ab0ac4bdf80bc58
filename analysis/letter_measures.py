"""Measures of letter identification: critical spacing, precedence, interference."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from neurovis.core.checks import check_array, check_between, check_columns, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class CriticalSpacing:
    """Where accuracy is half-way between chance and that of single letters.

    Parameters
    ----------
    spacing : float
        In the unit of the tested spacings; NaN unless `side` is "within".
    side : {"within", "below", "above", "undefined"}
        "below": accuracy is higher than half-way at all tested spacings; "above": it is
        lower at all; "undefined": single letters are not told better than by chance.
    """

    spacing: float
    side: str


def critical_spacing(
    spacing: ArrayLike,
    accuracy: ArrayLike,
    *,
    chance: float,
    asymptote: float,
    n_trials: ArrayLike | None = None,
) -> CriticalSpacing:
    """Find the spacing at which accuracy is half-way between chance and asymptote.

    Accuracies are first made not to fall with spacing (isotonic regression), then
    joined by straight lines over the logarithm of spacing.

    Parameters
    ----------
    spacing : array_like of float, shape (n_spacings,)
        Tested spacings, > 0, all different, in any order.
    accuracy : array_like of float, shape (n_spacings,)
        Shares of right answers, 0..1.
    chance : float
        Accuracy of guessing, 0..1.
    asymptote : float
        Accuracy without flankers, 0..1.
    n_trials : array_like of float, shape (n_spacings,), optional
        Trials behind each accuracy, as weights; the same by default.

    Returns
    -------
    CriticalSpacing
        The smallest spacing at which the half-way accuracy is reached.

    Raises
    ------
    ValueError
        If a number is out of range or the lengths differ.

    Examples
    --------
    >>> found = critical_spacing([1, 2, 4], [0.1, 0.5, 0.9], chance=0.1, asymptote=0.9)
    >>> found.spacing, found.side
    (2.0, 'within')
    """
    x = check_array(
        "spacing", np.asarray(spacing, np.float64), shape=(None,), finite=True
    )
    y = check_array(
        "accuracy", np.asarray(accuracy, np.float64), shape=(len(x),), finite=True
    )
    weights = np.ones(len(x)) if n_trials is None else np.asarray(n_trials, np.float64)
    check_array("n_trials", weights, shape=(len(x),), finite=True)
    check_between("chance", chance, low=0, high=1)
    check_between("asymptote", asymptote, low=0, high=1)
    if not len(x) or x.min() <= 0 or len(np.unique(x)) < len(x):
        raise ValueError(
            f"`spacing` must be above 0 and all different; got {x.tolist()}."
        )
    if weights.min() <= 0 or y.min() < 0 or y.max() > 1:
        raise ValueError("`accuracy` must lie within 0..1 and `n_trials` above 0.")
    if asymptote <= chance:
        return CriticalSpacing(np.nan, "undefined")
    half = (chance + asymptote) / 2
    order = np.argsort(x)
    rising = isotonic_regression(y[order], weights=weights[order]).x
    if rising[0] > half:
        return CriticalSpacing(np.nan, "below")
    if rising[-1] < half:
        return CriticalSpacing(np.nan, "above")
    first = int(np.searchsorted(rising, half, side="left"))
    log_x = np.log(x[order])
    if rising[first] == half or first == 0:
        return CriticalSpacing(float(np.exp(log_x[first])), "within")
    share = (half - rising[first - 1]) / (rising[first] - rising[first - 1])
    at = log_x[first - 1] + share * (log_x[first] - log_x[first - 1])
    return CriticalSpacing(float(np.exp(at)), "within")


def accuracy_draws(
    trials: pd.DataFrame, *, n_bootstrap: int = 1000, seed: int = 0
) -> dict[tuple[str, str], FloatArray]:
    """Compute accuracies, and what they would be with other pictures.

    Parameters
    ----------
    trials : DataFrame
        Trials of one observer: `condition` of the picture, `asked` (what about it),
        `stimulus_id` and `correct`.
    n_bootstrap : int, default 1000
        Resamples of the pictures of each condition.
    seed : int, default 0
        Seed. Resamples depend on the condition and its number of pictures only: those
        of several observers, and of several questions about one picture, are paired.

    Returns
    -------
    dict of (str, str) to ndarray of float64, shape (1 + n_bootstrap,)
        By condition and question: the accuracy, then that of each resample.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "condition": "single",
    ...         "asked": "",
    ...         "stimulus_id": ["a", "b"],
    ...         "correct": 1,
    ...     }
    ... )
    >>> accuracy_draws(table, n_bootstrap=2)["single", ""].tolist()
    [1.0, 1.0, 1.0]
    """
    check_columns(
        "trials", trials.columns, ["condition", "asked", "stimulus_id", "correct"]
    )
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=0)
    found = {}
    for (condition, asked), part in trials.groupby(["condition", "asked"], sort=False):
        values = part.sort_values("stimulus_id")["correct"].to_numpy(np.float64)
        rng = generator(seed, "letter-accuracy", str(condition))
        rows = rng.integers(0, len(values), (n_bootstrap, len(values)))
        means = np.concatenate([[values.mean()], values[rows].mean(axis=1)])
        found[str(condition), str(asked)] = means
    return found


def navon_effects(
    accuracy: Mapping[tuple[str, str], ArrayLike],
) -> dict[str, FloatArray]:
    """Compute precedence and interference from accuracies with Navon figures.

    Parameters
    ----------
    accuracy : mapping of (str, str) to array_like of float, shape (n,)
        Accuracies by condition ("congruent", "incongruent") and by the level that was
        asked for ("global", "local"), such as those of `accuracy_draws`.

    Returns
    -------
    dict of str to ndarray of float64, shape (n,)
        "precedence": global minus local accuracy with incongruent figures;
        "interference_global" and "interference_local": congruent minus incongruent
        accuracy when asked for this level; "asymmetry": the interference with the local
        level minus that with the global one.

    Raises
    ------
    KeyError
        If an accuracy is missing.

    Notes
    -----
    Precedence is that of incongruent figures: congruent ones have the same answer at
    both levels.

    Examples
    --------
    >>> accuracy = {
    ...     ("congruent", "global"): 1.0,
    ...     ("incongruent", "global"): 0.9,
    ...     ("congruent", "local"): 0.9,
    ...     ("incongruent", "local"): 0.5,
    ... }
    >>> {name: round(float(v), 1) for name, v in navon_effects(accuracy).items()}
    {'precedence': 0.4, 'interference_global': 0.1, 'interference_local': 0.4, \
'asymmetry': 0.3}
    """
    same = {
        level: np.asarray(accuracy["congruent", level], np.float64)
        for level in ("global", "local")
    }
    other = {
        level: np.asarray(accuracy["incongruent", level], np.float64)
        for level in ("global", "local")
    }
    interference = {level: same[level] - other[level] for level in same}
    return {
        "precedence": other["global"] - other["local"],
        "interference_global": interference["global"],
        "interference_local": interference["local"],
        "asymmetry": interference["local"] - interference["global"],
    }
