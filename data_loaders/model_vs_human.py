"""Human and network trials of recognising distorted pictures in sixteen categories.

References
----------
Geirhos, Temme, Rauber, Schütt, Bethge and Wichmann (2018). Generalisation in humans and
deep neural networks. NeurIPS 31. arXiv:1808.08750. Geirhos et al. (2019).
ImageNet-trained CNNs are biased towards texture. ICLR. arXiv:1811.12231. Geirhos et al.
(2021). Partial success in closing the gap between human and machine vision. NeurIPS 34.
arXiv:2106.07411.
"""

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from data_loaders.recognition_experiments import (
    CATEGORY_NAMES,
    EXPERIMENTS,
    Experiment,
    canonical_condition,
    image_id_of,
    texture_of,
)
from data_loaders.source_files import content_of, read_columns
from neurovis.core.checks import check_option, check_path, suggest
from neurovis.core.types import TRIAL_COLUMNS, Responses

__all__ = [
    "CATEGORY_NAMES",
    "DECISION_COLUMNS",
    "EXPERIMENTS",
    "NO_RESPONSE",
    "OBSERVERS",
    "Experiment",
    "canonical_condition",
    "check_model_vs_human",
    "image_id_of",
    "load_decisions_csv",
    "load_model_vs_human",
    "make_decisions",
    "texture_of",
]

OBSERVERS = ("human", "cnn", "all")
"""Whose trials can be asked for."""

NO_RESPONSE = "na"
"""Response of people who did not answer in time."""

DECISION_COLUMNS = (
    *TRIAL_COLUMNS,
    "experiment",
    "condition",
    "truth",
    "image_id",
    "session",
    "excluded",
    "is_human",
)
"""Columns of the tables of this module."""


_COLUMNS = {
    "subj": "text",
    "session": "whole",
    "trial": "whole",
    "rt": "number",
    "object_response": "text",
    "category": "text",
    "condition": "text",
    "imagename": "text",
}
_PERSON = re.compile(r"subject-\d+")


def load_model_vs_human(
    folder: str | Path,
    experiments: str | Sequence[str] = "all",
    *,
    observers: str = "human",
) -> Responses:
    """Load trials of people, of networks, or of both.

    Parameters
    ----------
    folder : str or Path
        Folder with ``human/EXPERIMENT.csv.gz`` and ``cnn/EXPERIMENT.csv.gz``, or the
        published repository (or its ``raw-data``) with
        ``EXPERIMENT/EXPERIMENT_OBSERVER_session_1.csv``.
    experiments : str or sequence of str, default "all"
        Names among `EXPERIMENTS`. "all" asks for every experiment with people, and
        for networks in those that have them.
    observers : {"human", "cnn", "all"}, default "human"
        Whose trials; all that are no "subject-NN" count as networks.

    Returns
    -------
    Responses
        One row per trial, in the order of `EXPERIMENTS` and of the files, with
        `DECISION_COLUMNS`: `subject` (people of different experiments share names),
        `stimulus_id` ("EXPERIMENT/CONDITION/IMAGE"), `trial` (number in the source),
        `response` (a category or "na"), `rt_ms` (from the onset of the response
        screen; NaN without a response and for networks), `correct` (bool, False for
        "na"), `experiment`, `condition` (canonical), `truth` (category), `image_id`
        (the same for all observers), `session`, `excluded` (bool, left out of the
        benchmark) and `is_human` (bool).

    Raises
    ------
    FileNotFoundError
        If the folder or the trials of an experiment are not there.
    DataCorruptError
        If a file is damaged, or has a condition, category or response that is
        unknown, or a picture twice for one observer in one condition.
    ValueError
        If an argument is out of range.
    """
    check_option("observers", observers, OBSERVERS)
    folder = check_path("folder", folder, kind="folder")
    names = (experiments,) if isinstance(experiments, str) else tuple(experiments)
    whole = names == ("all",)
    for name in () if whole else names:
        check_option("experiments", name, ("all", *EXPERIMENTS))
    parts = []
    for name in EXPERIMENTS:
        if not whole and name not in names:
            continue
        found = [
            _read_decisions(path, name) for path in _files(folder, name, observers)
        ]
        if observers != "all":
            found = [t[t["is_human"] == (observers == "human")] for t in found]
        found = [table for table in found if len(table)]
        if not found and not (whole and observers == "cnn"):
            raise FileNotFoundError(
                f"{folder} holds no trials ({observers}) of {name!r}: neither "
                f"human/{name}.csv.gz or cnn/{name}.csv.gz nor {name}/{name}_*.csv."
            )
        parts += found
    if not parts:
        raise FileNotFoundError(f"{folder} holds no trials of networks.")
    return Responses(pd.concat(parts, ignore_index=True))


def load_decisions_csv(path: str | Path, experiment: str | None = None) -> Responses:
    """Load the decisions of a network of yours, or of other people.

    Parameters
    ----------
    path : str or Path
        ``.csv`` or ``.csv.gz`` with the columns `subj` (name of the network; people
        are "subject-NN"), `session`, `trial`, `rt` (s, or NaN), `object_response`,
        `category`, `condition` and `imagename`; "Session" will do.
    experiment : str, optional
        One of `EXPERIMENTS`; by default the text before the first "_" of the name of
        the file, as in ``cue-conflict_mynet_session-1.csv``.

    Returns
    -------
    Responses
        As `load_model_vs_human`.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    DataCorruptError
        As `load_model_vs_human`; also without a trial.
    ValueError
        If the experiment is unknown.
    """
    path = check_path("path", path)
    if experiment is None:
        experiment = path.name.split(".")[0].split("_")[0]
        if experiment not in EXPERIMENTS:
            raise ValueError(
                f"`experiment` is not given, and {path.name} does not begin with one "
                f"of {', '.join(EXPERIMENTS)}: name it."
                f"{suggest(experiment, EXPERIMENTS)}"
            )
    check_option("experiment", experiment, tuple(EXPERIMENTS))
    table = _read_decisions(path, experiment)
    with content_of(path):
        if table.empty:
            raise ValueError("It has no trial.")
    return Responses(table)


def check_model_vs_human(folder: str | Path) -> list[str]:
    """Check a folder of trials of people and, where there are any, of networks.

    Parameters
    ----------
    folder : str or Path
        As for `load_model_vs_human`.

    Returns
    -------
    list of str
        Totals, then one line per experiment.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        As `load_model_vs_human`.
    """
    table = load_model_vs_human(folder, observers="all").table
    human = table[table["is_human"]]
    n_people = len(human[["experiment", "subject"]].drop_duplicates())
    lines = [
        f"{len(human)} trials of {n_people} people (counted by experiment) and "
        f"{len(table) - len(human)} of networks in {human['experiment'].nunique()} "
        "experiments"
    ]
    for name, part in table.groupby("experiment", sort=False):
        own = part[part["is_human"]]
        nets = part[~part["is_human"]]["subject"].nunique()
        lines.append(
            f"{name}: {own['subject'].nunique()} people, {len(own)} trials, right "
            f"{own['correct'].mean():.1%}; {nets} networks"
        )
    return lines


def _files(folder: Path, experiment: str, observers: str) -> list[Path]:
    kinds = ("human", "cnn") if observers == "all" else (observers,)
    packed = [folder / kind / f"{experiment}.csv.gz" for kind in kinds]
    there = [path for path in packed if path.is_file()]
    if there:
        return there
    for root in (folder / "raw-data", folder):
        if (root / experiment).is_dir():
            found = sorted((root / experiment).glob(f"{experiment}_*.csv"))
            people = [p for p in found if p.name.startswith(f"{experiment}_subject-")]
            if observers == "all":
                return found
            return people if observers == "human" else sorted({*found} - {*people})
    return []


def _read_decisions(path: Path, experiment: str) -> pd.DataFrame:
    names = dict(_COLUMNS)
    if "Session" in _header(path):
        names = {k if k != "session" else "Session": v for k, v in names.items()}
    raw = read_columns(path, names).rename(columns={"Session": "session"})
    with content_of(path):
        return make_decisions(
            experiment,
            subject=raw["subj"],
            trial=raw["trial"],
            rt_ms=1000 * raw["rt"],
            response=raw["object_response"],
            truth=raw["category"],
            condition=raw["condition"],
            imagename=raw["imagename"],
            session=raw["session"],
        )


def _header(path: Path) -> list[str]:
    """Return the names of columns, or none: what is damaged is told by who reads on."""
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error):
        return []


def make_decisions(
    experiment: str,
    *,
    subject: Iterable[str],
    trial: Iterable[int],
    rt_ms: Iterable[float],
    response: Iterable[str],
    truth: Iterable[str],
    condition: Iterable[str],
    imagename: Iterable[str],
    session: Iterable[int],
) -> pd.DataFrame:
    """Make the common table of decisions in an experiment, checked.

    Parameters
    ----------
    experiment : str
        One of `EXPERIMENTS`.
    subject : iterable of str
        Observers; "subject-NN" are people.
    trial : iterable of int
        Numbers of the trials.
    rt_ms : iterable of float
        Reaction times in ms, NaN where none.
    response : iterable of str
        Categories, or "na".
    truth : iterable of str
        Categories.
    condition : iterable of str
        Conditions as a file has them.
    imagename : iterable of str
        File names of the pictures.
    session : iterable of int
        Numbers of the sessions.

    Returns
    -------
    DataFrame
        `DECISION_COLUMNS`, as `load_model_vs_human` describes them.

    Raises
    ------
    ValueError
        If a condition, category or response is unknown, or an observer saw a picture
        twice in a condition.
    """
    check_option("experiment", experiment, tuple(EXPERIMENTS))
    table = pd.DataFrame(
        {
            "subject": subject,
            "trial": trial,
            "response": response,
            "rt_ms": rt_ms,
            "condition": condition,
            "truth": truth,
            "imagename": imagename,
            "session": session,
        }
    )
    for column, allowed in (
        ("truth", CATEGORY_NAMES),
        ("response", (*CATEGORY_NAMES, NO_RESPONSE)),
    ):
        strange = table[column][~table[column].isin(allowed)]
        if len(strange):
            raise ValueError(
                f"`{column}` must be one of {', '.join(allowed)}; got "
                f"{strange.iloc[0]!r}.{suggest(strange.iloc[0], allowed)}"
            )
    names = {
        raw: canonical_condition(experiment, raw) for raw in table["condition"].unique()
    }
    table["condition"] = table["condition"].map(names).astype("str")
    table["image_id"] = pd.array(
        [image_id_of(name) for name in table["imagename"]], dtype="str"
    )
    repeated = table.duplicated(["subject", "condition", "image_id"])
    if repeated.any():
        row = table[repeated].iloc[0]
        raise ValueError(
            f"{row['subject']!r} has the picture {row['image_id']!r} twice in the "
            f"condition {row['condition']!r}."
        )
    place = f"{experiment}/" + table["condition"] + "/" + table["image_id"]
    return table.assign(
        stimulus_id=place,
        correct=(table["response"] == table["truth"]).to_numpy(np.bool_),
        experiment=pd.array([experiment] * len(table), dtype="str"),
        excluded=table["condition"].isin(EXPERIMENTS[experiment].excluded),
        is_human=[bool(_PERSON.fullmatch(name)) for name in table["subject"]],
    )[list(DECISION_COLUMNS)]
