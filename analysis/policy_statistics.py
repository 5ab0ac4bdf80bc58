"""How searches over objects start, move and stop, one line per statistic.

Made to judge whether a model recovered the rule of a searcher, simulated or human.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from neurovis.core.object_displays import FloatArray
from neurovis.core.object_scanpaths import ObjectTrial

# Distances to the target that are looked at, whole cells.
_DISTANCES = (1, 2, 3, 4)


def policy_statistics(trials: Sequence[ObjectTrial]) -> pd.DataFrame:
    """Describe how scanpaths start, move and stop.

    Parameters
    ----------
    trials : sequence of ObjectTrial
        Scanpaths of people, models or simulated searchers, at least one. Distances
        are in `Display.coordinates` (cells of a grid).

    Returns
    -------
    DataFrame
        Columns `statistic`, `value`, `standard_error` (of the mean over cases as if
        they were independent) and `n` (cases). The statistics:

        - `n_fixations`, `ends_on_target`: mean length, and share of scanpaths that
          end on the target;
        - `refixation`, `revisit`: share of transitions that stay on an object, and
          that return to one fixated before but for the present one;
        - `saccade_down`, `saccade_right`, `saccade`: mean absolute and Euclidean size
          of moves to another object;
        - `target_from_1` .. `target_from_4`: share of transitions from another object
          that land on the target, by its distance, rounded down, at least 1;
        - `stop_on_target`, `stop_elsewhere`: share of fixations that are the last. A
          limit of length counts as a stop;
        - `start_down`, `start_right`: mean place of the first object, share of height
          and width.

        NaN where there is no case, and the error where there is one.

    Raises
    ------
    ValueError
        If there is no trial.

    Examples
    --------
    >>> from neurovis.core.object_displays import regular_display
    >>> display = regular_display("a", rows=1, cols=4, size_px=(4, 1), target_cell=3)
    >>> table = policy_statistics([ObjectTrial(display, "ann", [0, 0, 2, 3])])
    >>> table.set_index("statistic").loc[["refixation", "target_from_1"], "value"]
    statistic
    refixation       0.333333
    target_from_1    1.000000
    Name: value, dtype: float64
    """
    if not len(trials):
        raise ValueError("`trials` is empty: at least one scanpath is needed.")
    cases = [_cases(trial) for trial in trials]
    rows = [
        (name, *_mean_and_error(np.concatenate([case[name] for case in cases])))
        for name in cases[0]
    ]
    return pd.DataFrame(rows, columns=["statistic", "value", "standard_error", "n"])


def _cases(trial: ObjectTrial) -> dict[str, FloatArray]:
    """All cases of each statistic in one scanpath."""
    display, cells = trial.display, trial.cells
    on_target = cells == display.target_cell
    last = np.arange(len(cells)) == len(cells) - 1
    here, there = cells[:-1], cells[1:]
    places = display.coordinates
    move = np.abs(places[there] - places[here])[there != here]
    _, first, which = np.unique(cells, return_index=True, return_inverse=True)
    back = (first[which] < np.arange(len(cells)))[1:] & (there != here)
    # Whole distances stay whole where rounding put them a hair below.
    apart = np.hypot(*(places[here] - places[display.target_cell]).T) + 1e-9
    distance = np.where(on_target[:-1], 0, np.maximum(apart.astype(np.int64), 1))
    x, y = display.centres_px[cells[0]]
    cases = {
        "n_fixations": [len(cells)],
        "ends_on_target": on_target[-1:],
        "refixation": there == here,
        "revisit": back,
        "saccade_down": move[:, 0],
        "saccade_right": move[:, 1],
        "saccade": np.hypot(move[:, 0], move[:, 1]),
        **{f"target_from_{d}": on_target[1:][distance == d] for d in _DISTANCES},
        "stop_on_target": last[on_target],
        "stop_elsewhere": last[~on_target],
        "start_down": [y / display.height_px],
        "start_right": [x / display.width_px],
    }
    return {name: np.asarray(values, np.float64) for name, values in cases.items()}


def _mean_and_error(values: FloatArray) -> tuple[float, float, int]:
    n = len(values)
    mean = float(values.mean()) if n else np.nan
    error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return mean, error, n
