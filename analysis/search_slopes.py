"""From fixations to present and absent responses, and from those to search slopes.

A searcher that never gives up finds every target and never says "absent". A quitting
rule gives each display a number of fixations after which the answer is "absent"; a
target found before is answered "present". Reaction times are linear in fixations.

A trial table of searchers has one row per display: `subject` (label of the observer),
`stimulus_id`, `task`, `set_size` (items), `target_present` (bool, or 0 and 1),
`n_fixations` (after the initial one, until the target was found or the search ended)
and `found` (bool). A table of people has the columns of `analysis.reaction_times`.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.psychophysics import fixations_to_rt_ms
from analysis.reaction_times import error_summary, flags
from neurovis.core.checks import check_array, check_columns, check_option
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

QUITTING_RULES = ("exhaustive", "matched_misses")
"""When a search ends without a target: see `quit_searches`.

:meta hide-value:
"""

_CELL = ("task", "set_size")
_COLUMNS = ("subject", "stimulus_id", *_CELL, "target_present", "n_fixations", "found")


def quit_searches(
    trials: pd.DataFrame,
    human: pd.DataFrame | None = None,
    *,
    rule: str = "matched_misses",
    seed: int = 0,
) -> pd.DataFrame:
    """Give searches an end, and so a response, an error and a reaction time.

    "exhaustive": the answer is "absent" when as many fixations were made as there are
    items. "matched_misses": after c fixations, where c is the smallest count within
    which the share of targets found is at least one minus the miss rate of people for
    the same task and set size. It is fitted on one half of the displays and applied
    to the other half, and the other way round, so that no display sets its own limit.

    Parameters
    ----------
    trials : DataFrame
        Trials of searchers that do not give up (see the module).
    human : DataFrame, optional
        Trials of people: `task`, `set_size`, `target_present`, `error`; needed by
        "matched_misses". Every trial counts, whatever its reaction time.
    rule : {"matched_misses", "exhaustive"}, default "matched_misses"
        When to give up.
    seed : int, default 0
        Seed of the halves.

    Returns
    -------
    DataFrame
        `trials` with `rule`, `half` (0 or 1; -1 for "exhaustive"), `limit` (fixations
        before giving up), `response` ("present" or "absent"), `error` (0 or 1) and
        `rt_ms`; `n_fixations` is now the count until the response. Where the limit is
        undefined, `response` is missing and the others are NaN.

    Raises
    ------
    ValueError
        If a column is missing, a display is repeated for a subject, a target was found
        where there is none, or people lack a cell.

    Notes
    -----
    A searcher says "present" only at a target: there are no false alarms by
    construction. When the target is found less often than people find it, whatever
    the number of fixations, the limit is the longest search. With few displays the
    limit is coarse: with k displays a half, the share found is a multiple of 1/k. A
    limit is undefined when the other half holds no target.

    Examples
    --------
    >>> trials = pd.DataFrame(
    ...     {
    ...         "subject": "m",
    ...         "stimulus_id": ["a", "b", "c"],
    ...         "task": "t",
    ...         "set_size": 3,
    ...         "target_present": [True, True, False],
    ...         "n_fixations": [1, 2, 3],
    ...         "found": [True, True, False],
    ...     }
    ... )
    >>> done = quit_searches(trials, rule="exhaustive")
    >>> done["response"].tolist(), done["rt_ms"].round(1).tolist()
    (['present', 'present', 'absent'], [628.6, 881.0, 1133.3])
    """
    check_option("rule", rule, QUITTING_RULES)
    present = check_searches(trials)
    if rule == "exhaustive":
        half = np.full(len(trials), -1)
        limit = trials["set_size"].to_numpy(np.float64)
    else:
        if human is None:
            raise ValueError(
                "`human` must be given: the rule 'matched_misses' takes the miss rates "
                "of people. Use `rule='exhaustive'` without them."
            )
        misses = human_miss_rates(human)
        half = halve_displays(trials, seed=seed)
        limit = _cross_fitted_limits(trials, present, half, misses)
    count = trials["n_fixations"].to_numpy(np.float64)
    hit = flags("found", trials["found"]) & (count <= limit)
    known = np.isfinite(limit)
    made = np.where(hit, count, limit)
    response = pd.Series(np.where(hit, "present", "absent"), dtype="str")
    return trials.assign(
        rule=rule,
        half=half,
        limit=limit,
        n_fixations=made,
        response=response.where(known).to_numpy(),
        error=np.where(known, present != hit, np.nan),
        rt_ms=fixations_to_rt_ms(made),
    )


def human_miss_rates(human: pd.DataFrame) -> pd.DataFrame:
    """Compute how often people miss a target, over all trials of a cell.

    Parameters
    ----------
    human : DataFrame
        Trials of people: `task`, `set_size`, `target_present`, `error`.

    Returns
    -------
    DataFrame
        `task`, `set_size`, `miss_rate` (0..1, NaN without targets), sorted.

    Raises
    ------
    ValueError
        If a column is missing, or a flag is neither 0 nor 1.

    Examples
    --------
    >>> human = pd.DataFrame(
    ...     {"task": "t", "set_size": 3, "target_present": 1, "error": [0, 0, 0, 1]}
    ... )
    >>> human_miss_rates(human)["miss_rate"].tolist()
    [0.25]
    """
    return error_summary(human, by=_CELL)[[*_CELL, "miss_rate"]]


def halve_displays(trials: pd.DataFrame, *, seed: int = 0) -> NDArray[np.int64]:
    """Split the displays of each cell at random into halves, alike for all subjects.

    Parameters
    ----------
    trials : DataFrame
        `stimulus_id`, `task`, `set_size`, `target_present`.
    seed : int, default 0
        Seed; each cell has its own stream.

    Returns
    -------
    ndarray of int64, shape (n_trials,)
        0 or 1; the first half of a cell has one display more when they are odd.

    Raises
    ------
    ValueError
        If a column is missing, or a display is in two cells.

    Examples
    --------
    >>> trials = pd.DataFrame(
    ...     {"stimulus_id": list("abcd"), "task": "t", "set_size": 3}
    ... ).assign(target_present=True)
    >>> sorted(halve_displays(trials).tolist())
    [0, 0, 1, 1]
    """
    cell = [*_CELL, "target_present"]
    check_columns("trials", trials.columns, ["stimulus_id", *cell])
    present = flags("target_present", trials["target_present"]).astype(int)
    displays = trials[["stimulus_id", *cell]].assign(target_present=present)
    displays = displays.drop_duplicates()
    repeated = displays["stimulus_id"][displays["stimulus_id"].duplicated()]
    if len(repeated):
        raise ValueError(
            f"`trials` has the display {repeated.iloc[0]!r} with more than one task, "
            "set size or presence: identities must be unique."
        )
    halves: dict[str, int] = {}
    for key, part in displays.groupby(cell):
        names = sorted(part["stimulus_id"])
        rng = generator(seed, "halves", *(str(k) for k in key))
        for place, i in enumerate(rng.permutation(len(names))):
            halves[names[i]] = place % 2
    return np.array([halves[name] for name in trials["stimulus_id"]], np.int64)


def quitting_limit(
    n_fixations: ArrayLike,
    found: ArrayLike,
    miss_rate: float,
    *,
    weights: ArrayLike | None = None,
) -> FloatArray:
    """Return the smallest count within which enough targets are found.

    Parameters
    ----------
    n_fixations : array-like of float, shape (n_displays,)
        Fixations of searches with a target, until found or ended.
    found : array-like of bool, shape (n_displays,)
        Whether the target was found.
    miss_rate : float
        Share of targets that may be missed, 0..1.
    weights : array-like of float, shape (n_draws, n_displays), optional
        How often each display counts, such as in bootstrap resamples; each once by
        default.

    Returns
    -------
    ndarray of float64, shape () or (n_draws,)
        Number of fixations; the longest search when no count is enough; NaN without
        displays or when `miss_rate` is NaN.

    Raises
    ------
    ValueError
        If shapes do not fit together.

    Examples
    --------
    >>> counts, found = [1, 2, 2, 5], [True, True, True, True]
    >>> limits = [quitting_limit(counts, found, rate) for rate in (0.25, 0.2)]
    >>> [float(limit) for limit in limits]
    [2.0, 5.0]
    """
    count = check_array(
        "n_fixations", np.asarray(n_fixations, np.float64), shape=(None,)
    )
    hit = check_array("found", np.asarray(found, bool), shape=count.shape)
    if weights is None:
        once = np.ones((1, len(count)))
        return quitting_limit(count, hit, miss_rate, weights=once)[0]
    times = np.asarray(weights, np.float64)
    check_array("weights", times, shape=(None, len(count)))
    if not len(count) or not np.isfinite(miss_rate):
        return np.full(len(times), np.nan)
    order = np.argsort(count, kind="stable")
    count, times = count[order], times[:, order]
    # Rounding of a share such as 1 - 0.2 must not ask for one display more.
    needed = np.ceil(times.sum(axis=1) * (1 - miss_rate) - 1e-9)
    enough = np.cumsum(times * hit[order], axis=1) >= needed[:, None]
    longest = np.where(times > 0, count, -np.inf).max(axis=1)
    limit = np.where(enough.any(axis=1), count[enough.argmax(axis=1)], longest)
    return np.where(needed > 0, limit, 0.0)


def slope_ratio(absent_slope: ArrayLike, present_slope: ArrayLike) -> FloatArray:
    """Divide the slope without by the slope with a target.

    A serial search that stops at the target has a ratio of about two.

    Parameters
    ----------
    absent_slope, present_slope : array-like of float, shape (...)
        Slopes in ms per item.

    Returns
    -------
    ndarray of float64, shape (...)
        Ratios; NaN where the slope with a target is not above 0, or undefined.

    Examples
    --------
    >>> slope_ratio([40.0, 5.0], [20.0, 0.0]).tolist()
    [2.0, nan]
    """
    absent = np.asarray(absent_slope, np.float64)
    present = np.asarray(present_slope, np.float64)
    return absent / np.where(present > 0, present, np.nan)


def check_searches(trials: pd.DataFrame) -> NDArray[np.bool_]:
    """Check a table of searchers (see the module).

    Parameters
    ----------
    trials : DataFrame
        One row per subject and display.

    Returns
    -------
    ndarray of bool, shape (n_trials,)
        Which displays hold a target.

    Raises
    ------
    ValueError
        If a column is missing, a display is repeated for a subject, a target was found
        where there is none, or a count is undefined or below 0.
    """
    check_columns("trials", trials.columns, _COLUMNS)
    pairs = trials[["subject", "stimulus_id"]]
    if pairs.duplicated().any():
        subject, display = pairs[pairs.duplicated()].iloc[0]
        raise ValueError(
            f"`trials` has the display {display!r} more than once for {subject!r}: one "
            "search per display is needed."
        )
    present = flags("target_present", trials["target_present"])
    alarm = flags("found", trials["found"]) & ~present
    if alarm.any():
        raise ValueError(
            f"`trials` says that a target was found in "
            f"{trials['stimulus_id'][alarm].iloc[0]!r}, which has none."
        )
    count = trials["n_fixations"].to_numpy(np.float64)
    if not (np.isfinite(count) & (count >= 0)).all():
        raise ValueError("`n_fixations` must be 0 or more in every trial.")
    return present


def _cross_fitted_limits(
    trials: pd.DataFrame,
    present: NDArray[np.bool_],
    half: NDArray[np.int64],
    misses: pd.DataFrame,
) -> FloatArray:
    """Limit of each trial, from the displays of the other half."""
    rates: dict[Any, float] = misses.set_index(list(_CELL))["miss_rate"].to_dict()
    groups: dict[Any, Any] = trials.groupby(["subject", *_CELL]).indices
    count = trials["n_fixations"].to_numpy(np.float64)
    found = flags("found", trials["found"])
    limit = np.full(len(trials), np.nan)
    for (_, *key), rows in groups.items():
        cell = tuple(key)
        if cell not in rates:
            raise ValueError(
                f"`human` has no trials of task and set size {cell}; it has "
                f"{sorted(rates)}."
            )
        for side in (0, 1):
            fitted = rows[present[rows] & (half[rows] != side)]
            found_within = quitting_limit(count[fitted], found[fitted], rates[cell])
            limit[rows[half[rows] == side]] = found_within
    return limit
