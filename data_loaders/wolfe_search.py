"""Reaction times of 87 811 trials of visual search: feature, conjunction, 2 among 5s.

References
----------
Wolfe, Palmer and Horowitz (2010). Reaction time distributions constrain models of
visual search. Vision Research 50:1304-1311. doi:10.1016/j.visres.2009.11.002.
Palmer, Horowitz, Torralba and Wolfe (2011). What are the shapes of response time
distributions in visual search? J. Exp. Psychol. Hum. Percept. Perform. 37:58-71.
doi:10.1037/a0020747.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from data_loaders.source_files import content_of, read_columns
from neurovis.core.checks import check_between, check_path
from neurovis.core.types import TRIAL_COLUMNS, Responses

WOLFE_TASKS = ("feature", "conjunction", "spatial_configuration")
SHORTEST_RT_MS, LONGEST_RT_MS = 200.0, 10_000.0
_FILE = "trials.csv.gz"
_COLUMNS = {
    "task": "text",
    "subject": "whole",
    "trial": "whole",
    "set_size": "whole",
    "target_present": "flag",
    "error": "flag",
    "outcome": "text",
    "rt_ms": "number",
}
# What was pressed, and whether a target was there.
_OUTCOMES = {
    "HIT": ("present", True),
    "MISS": ("absent", True),
    "TNEG": ("absent", False),
    "FA": ("present", False),
}


def load_wolfe_search(folder: str | Path) -> Responses:
    """Load the trials of three classic search tasks, as they were recorded.

    Parameters
    ----------
    folder : str or Path
        Folder with ``trials.csv.gz``: columns `task`, `subject`, `trial`,
        `set_size`, `target_present`, `error`, `outcome`, `rt_ms`.

    Returns
    -------
    Responses
        One row per trial and no scanpaths: `subject` (str, "feature-1"; people are
        numbered within a task), `stimulus_id` (str, the kind of display, such as
        "feature/present/n=3": single displays are not known), `trial` (int, from 0,
        unique within a subject), `response` ("present" or "absent"), `rt_ms`
        (ms, >= 0, raw), `correct` (bool); then `task` (str), `set_size` (int,
        items), `target_present` (bool) and `source_trial` (int, the number in the
        source, which repeats within a subject). Sorted by subject and trial.

    Raises
    ------
    FileNotFoundError
        If the folder or the file is not there.
    DataCorruptError
        If the file is damaged or holds what cannot be.

    Notes
    -----
    Nothing is filtered: reaction times of 0 ms and of 12 s occur. Error rates are
    taken over all trials; for reaction times use `usable_trials` first. The source
    does not mark blocks, so trials with the same number are in the order of their
    content, not of time.
    """
    folder = check_path("folder", folder, kind="folder")
    path = check_path(_FILE, folder / _FILE)
    table = read_columns(path, _COLUMNS)
    with content_of(path):
        _check_trials(table)
    # The order of rows must not matter: ties are broken by what the trials hold.
    content = ["set_size", "target_present", "rt_ms", "error"]
    table = table.rename(columns={"trial": "source_trial"})
    table = table.sort_values(["task", "subject", "source_trial", *content])
    subject = table["task"] + "-" + table["subject"].astype(str)
    state = table["target_present"].map({True: "present", False: "absent"})
    size = table["set_size"].astype(str)
    table = table.assign(
        subject=subject,
        stimulus_id=table["task"] + "/" + state + "/n=" + size,
        trial=table.groupby(subject).cumcount(),
        response=table["outcome"].map({k: v[0] for k, v in _OUTCOMES.items()}),
        correct=(~table["error"]).astype("boolean"),
    )
    factors = ["task", "set_size", "target_present", "source_trial"]
    table = table.sort_values(["subject", "trial"], ignore_index=True)
    return Responses(table[[*TRIAL_COLUMNS, *factors]])


def usable_trials(
    responses: Responses,
    *,
    shortest_ms: float = SHORTEST_RT_MS,
    longest_ms: float = LONGEST_RT_MS,
) -> Responses:
    """Keep correct trials with a plausible reaction time.

    Parameters
    ----------
    responses : Responses
        Trials of `load_wolfe_search`.
    shortest_ms, longest_ms : float, default 200 and 10 000
        Reaction times that are kept, ms, bounds included.

    Returns
    -------
    Responses
        Rows with ``correct`` and ``shortest_ms <= rt_ms <= longest_ms``.

    Raises
    ------
    TypeError, ValueError
        If a bound is not a number >= 0, or the bounds are exchanged.
    """
    check_between("shortest_ms", shortest_ms, low=0)
    check_between("longest_ms", longest_ms, low=shortest_ms)
    table = responses.table
    right = table["correct"].fillna(False).astype(bool)
    timely = table["rt_ms"].between(shortest_ms, longest_ms)
    return Responses(table[right & timely].reset_index(drop=True))


def _check_trials(table: pd.DataFrame) -> None:
    """Raise ValueError unless outcome, target and error tell the same."""
    if not len(table):
        raise ValueError("It has no trial.")
    for column, allowed in (("task", WOLFE_TASKS), ("outcome", tuple(_OUTCOMES))):
        other = table[column][~table[column].isin(allowed)]
        if len(other):
            raise ValueError(
                f"The column `{column}` must have one of {allowed}; it has "
                f"{other.iloc[0]!r}."
            )
    rt = table["rt_ms"]
    if not (rt >= 0).all() or table["set_size"].min() < 1:
        raise ValueError("A reaction time is missing or negative, or a set is empty.")
    pressed, there = zip(*table["outcome"].map(_OUTCOMES), strict=True)
    right = (np.array(pressed) == "present") == np.array(there)
    wrong = (table["target_present"].to_numpy() != there) | (table["error"] == right)
    if wrong.any():
        row = table[wrong].iloc[0]
        raise ValueError(
            f"Trials that contradict themselves: {int(wrong.sum())}, such as outcome "
            f"{row['outcome']} with target_present {row['target_present']} and error "
            f"{row['error']}."
        )
