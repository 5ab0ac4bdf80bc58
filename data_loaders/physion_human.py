"""How often people foresaw contact in each movie of eight physical scenarios.

References
----------
Bear et al. (2021). Physion: evaluating physical prediction from vision in humans and
machines. NeurIPS Datasets and Benchmarks. arXiv:2106.08261.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from data_loaders.source_files import content_of, read_columns
from neurovis.core.checks import check_path

SCENARIOS = (
    "dominoes",
    "towers",
    "collision",
    "containment",
    "drop",
    "linking",
    "rollingsliding",
    "clothiness",
)
"""The scenarios (Dominoes, Support, Collide, Contain, Drop, Link, Roll, Drape)."""


def load_physion_human(folder: str | Path) -> pd.DataFrame:
    """Load the accuracy of people for each movie.

    Parameters
    ----------
    folder : str or Path
        Folder with one ``human_accuracy-SCENARIO_*.csv`` per scenario, with the
        columns `stim_ID`, `correct` and `c`.

    Returns
    -------
    DataFrame
        One row per movie, scenarios in the order of `SCENARIOS`: `scenario`,
        `stimulus_id` (str, unique within a scenario), `accuracy` (share of the
        participants who were right, 0..1), `n_correct` and `n_participants` (int).

    Raises
    ------
    FileNotFoundError
        If the folder or the file of a scenario is not there.
    DataCorruptError
        If a file is damaged or holds what cannot be, such as a share that is no
        number of people.

    Notes
    -----
    The column `c` is the number of participants: it is the same for all movies of a
    scenario, and `correct` times `c` is a whole number.
    """
    folder = check_path("folder", folder, kind="folder")
    return pd.concat(
        [_read_scenario(folder, name) for name in SCENARIOS], ignore_index=True
    )


def check_physion_human(folder: str | Path) -> list[str]:
    """Check a folder of accuracies.

    Parameters
    ----------
    folder : str or Path
        As for `load_physion_human`.

    Returns
    -------
    list of str
        Total, then one line per scenario.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        As `load_physion_human`.
    """
    table = load_physion_human(folder)
    lines = [f"{len(table)} movies in {len(SCENARIOS)} scenarios"]
    for name, own in table.groupby("scenario", sort=False):
        lines.append(
            f"{name}: {len(own)} movies, {own['n_participants'].max()} people, right "
            f"{own['accuracy'].mean():.3f}"
        )
    return lines


def _read_scenario(folder: Path, name: str) -> pd.DataFrame:
    found = sorted(folder.glob(f"human_accuracy-{name}_*.csv"))
    if len(found) != 1:
        raise FileNotFoundError(
            f"{folder} must hold one file human_accuracy-{name}_*.csv; it holds "
            f"{len(found)}."
        )
    raw = read_columns(found[0], {"stim_ID": "text", "correct": "number", "c": "whole"})
    with content_of(found[0]):
        n_correct = (raw["correct"] * raw["c"]).round()
        whole = np.isclose(n_correct, raw["correct"] * raw["c"], rtol=0, atol=1e-6)
        right = whole & raw["correct"].between(0, 1) & (raw["c"] > 0)
        if not len(raw) or not right.all() or raw["stim_ID"].duplicated().any():
            raise ValueError(
                "Every movie must come once, with a share of right answers that is a "
                "number of participants."
            )
    return pd.DataFrame(
        {
            "scenario": name,
            "stimulus_id": raw["stim_ID"],
            "accuracy": raw["correct"],
            "n_correct": n_correct.astype(int),
            "n_participants": raw["c"],
        }
    )
