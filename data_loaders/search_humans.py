"""Visual search of people: published reaction times and published model results.

The small tables are facts from the literature; ``tables/README.md`` gives the source
of each number. Reaction times are in milliseconds; a fixation count is the number of
fixations after the initial one.

References
----------
Gupta, Zhang, Wu, Wolfe and Kreiman (2021). Visual search asymmetry: deep nets and
humans share similar inherent biases. NeurIPS 34. arXiv:2106.02953.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_table
from neurovis.core.types import TRIAL_COLUMNS, Responses

HUMAN_SUBJECT = "human mean"
PUBLISHED_TRIALS_FILE = "asymmetry_trials.csv.gz"
_PUBLISHED_TRIALS_COLUMNS = (
    "model",
    "paradigm",
    "condition",
    "trial",
    "set_size",
    "num_fixations",
    "found",
)


def load_human_rt() -> pd.DataFrame:
    """Load the mean reaction times of people in six search asymmetry experiments.

    Returns
    -------
    DataFrame
        40 rows, one per condition and set size: `experiment` (int, 1..6),
        `experiment_name`, `paradigm`, `condition`, `label` (str), `set_size` (int,
        items), `rt_ms` (float, ms). In each experiment the condition that people
        find easier comes first.

    Notes
    -----
    The values are means over observers, taken from regression lines or figures of
    Wolfe, Yee and Friedman-Hill (1992, doi:10.1068/p210465), Kleffner and
    Ramachandran (1992, doi:10.3758/BF03206757), Wolfe and DiMase (2003,
    doi:10.1068/p3414) and Wolfe, Friedman-Hill, Stewart and O'Connell (1992,
    doi:10.1037/0096-1523.18.1.34), as Gupta et al. (2021) used them. There are no
    trials behind them, so a noise ceiling cannot be computed.

    Examples
    --------
    >>> human = load_human_rt()
    >>> float(human.query("condition == 'cross' and set_size == 3")["rt_ms"].item())
    829.0
    """
    table = _read_own_table("search_asymmetry_human_rt.csv")
    return table.astype({"rt_ms": np.float64})


def load_published_asymmetry() -> pd.DataFrame:
    """Load the asymmetry indices that Gupta et al. (2021) report.

    Returns
    -------
    DataFrame
        One row per number: `model` (str; people are "human"), `metric`
        ("asymmetry_index" or "mean_asymmetry_index"), `experiment` (nullable int,
        1..6, missing for the mean) and `value` (float, -1..1, three digits).

    Notes
    -----
    Only the mean is known for GBVS, chance, pixelMatch and the models with augmented
    training.

    Examples
    --------
    >>> table = load_published_asymmetry()
    >>> float(table.query("model == 'eccNET' and experiment == 5")["value"].item())
    -1.0
    """
    table = _read_own_table("search_asymmetry_published.csv")
    return table.astype({"experiment": "Int64", "value": np.float64})


def load_published_eccnet_fixations() -> pd.DataFrame:
    """Load the mean fixation counts of the published eccNET.

    Returns
    -------
    DataFrame
        40 rows: `condition` (str), `set_size` (int, items), `mean_fixations`
        (float, fixations after the initial one, three digits).

    Notes
    -----
    Gupta et al. (2021), model trained on ImageNet.

    Examples
    --------
    >>> table = load_published_eccnet_fixations()
    >>> float(table.query("condition == 'Ls'")["mean_fixations"].max())
    4.111
    """
    table = _read_own_table("search_asymmetry_eccnet_fixations.csv")
    return table.astype({"mean_fixations": np.float64})


def human_responses() -> Responses:
    """Return the mean reaction times of people in the form of every observer.

    Returns
    -------
    Responses
        One row per condition and set size, with the subject "human mean"; what was
        pressed (`response`) and whether it was right (`correct`) are missing. The
        factors of `load_human_rt` follow.

    Examples
    --------
    >>> human_responses().table["subject"].unique().tolist()
    ['human mean']
    """
    table = load_human_rt()
    identity = table["condition"] + "/n=" + table["set_size"].astype(str)
    table = table.assign(
        subject=HUMAN_SUBJECT,
        stimulus_id=identity,
        trial=np.arange(len(table)),
        response=pd.array([None] * len(table), dtype="str"),
        correct=pd.array([None] * len(table), dtype="boolean"),
    )
    factors = [c for c in table.columns if c not in TRIAL_COLUMNS]
    return Responses(table[[*TRIAL_COLUMNS, *factors]])


def load_published_trials(folder: str | Path) -> pd.DataFrame:
    """Read the trials of the published models from a folder of the user.

    Parameters
    ----------
    folder : str or Path
        Folder with ``asymmetry_trials.csv.gz``: one row per model and trial, columns
        `model`, `paradigm`, `condition`, `trial` (from 1), `set_size`,
        `num_fixations` and `found`.

    Returns
    -------
    DataFrame
        One row per trial, in the order of the file: `subject` and `model` (str),
        `stimulus_id` (str), `trial` (int, from 0 in each condition), the factors
        `experiment`, `experiment_name`, `paradigm`, `condition`, `label` and
        `set_size` (int, items), `n_fixations` (int, after the initial one; when not
        found the largest set size of the condition), `found` (bool) and `untrained`
        (bool, False).

    Raises
    ------
    FileNotFoundError
        If the folder or the file is not there.
    DataCorruptError
        If the file is cut, is not gzip, lacks a column, or has values that cannot
        be.

    Notes
    -----
    Reaction times are not in the file: they follow from the fixation counts with
    `analysis.psychophysics.fixations_to_rt_ms`.
    """
    folder = check_path("folder", folder, kind="folder")
    path = check_path(PUBLISHED_TRIALS_FILE, folder / PUBLISHED_TRIALS_FILE)
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            table = pd.read_csv(file)
    except (EOFError, OSError, zlib.error, ValueError) as error:
        raise DataCorruptError(
            f"{path} must be a whole gzip file of comma-separated text; it is not "
            f"({error}). Get it again from its source."
        ) from error
    _check_published_trials(path, table)
    factors = load_human_rt().drop(columns=["set_size", "rt_ms"]).drop_duplicates()
    identity = table["condition"] + "/" + table["trial"].map("{:03d}".format)
    table = table.drop(columns="paradigm").merge(factors, on="condition", how="left")
    table = table.assign(
        subject=table["model"],
        stimulus_id=identity,
        trial=table["trial"] - 1,
        n_fixations=table["num_fixations"],
        untrained=False,
    )
    columns = ["subject", "model", "stimulus_id", "trial", *factors.columns]
    return table[[*columns, "set_size", "n_fixations", "found", "untrained"]]


def _read_own_table(name: str) -> pd.DataFrame:
    return read_table(Path(__file__).parent / "tables" / name)


def _check_published_trials(path: Path, table: pd.DataFrame) -> None:
    """Raise DataCorruptError unless the columns and values are possible."""
    missing = [c for c in _PUBLISHED_TRIALS_COLUMNS if c not in table.columns]
    if missing:
        raise DataCorruptError(
            f"{path} must have the columns {list(_PUBLISHED_TRIALS_COLUMNS)}; it lacks "
            f"{missing}. Get it again from its source."
        )
    counts = ["trial", "set_size", "num_fixations"]
    whole = all(pd.api.types.is_integer_dtype(table[c]) for c in counts)
    if not whole or not pd.api.types.is_bool_dtype(table["found"]):
        raise DataCorruptError(
            f"{path} must have whole numbers in {counts} and True or False in found; "
            f"its types are {table[[*counts, 'found']].dtypes.astype(str).to_dict()}."
        )
    if table["model"].isna().any() or (table[counts] < [1, 1, 0]).any(axis=None):
        raise DataCorruptError(
            f"{path} has an empty model, or a count below the least possible one "
            "(trial 1, set_size 1, num_fixations 0)."
        )
    cells = ["condition", "set_size"]
    known = pd.MultiIndex.from_frame(load_human_rt()[cells])
    unknown = table[~pd.MultiIndex.from_frame(table[cells]).isin(known)]
    if len(unknown):
        first = unknown.iloc[0]
        raise DataCorruptError(
            f"{path} has {len(unknown)} trials of no experiment, such as condition "
            f"{first['condition']!r} with set size {first['set_size']}."
        )
