"""Forced choices between two sets of images: what people are shown, and their answers.

Two pictures stand side by side and the participant chooses one. What an experiment
needs does not tell which is which; the key to it is a file of its own.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.stats import bootstrap_ci, wilson_interval
from neurovis.core.checks import check_columns, check_option, check_path, check_whole
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    atomic_path,
    check_writable_folder,
    read_table,
    sha256_file,
    sha256_json,
    write_table,
)
from neurovis.core.rng import generator
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS
from tasks.braindive import MANIFEST
from tasks.real_pictures import REAL_FILE

TASK = "forced-choice"
PAIRS_FILE, KEY_FILE = "pairs.csv", "pairs_key.csv"
QUESTION = "Which of the two pictures shows more of {region}?"

MEAN = "mean of people"
"""What `subject` is in rows of the group."""

PAIR_COLUMNS = ("trial", "pair", "left", "right", "question")
"""Of the table for the experiment, which does not tell the conditions."""

KEY_COLUMNS = (
    *PAIR_COLUMNS,
    *("side_of_first", "region", "first_condition", "second_condition"),
    *("first_seed", "second_seed", "first_file", "second_file"),
    *("first_sha256", "second_sha256"),
)
"""Of the table that tells which is which; files are relative to the run."""

_NEEDED = ("condition", "region", "seed", "file", "sha256")
_SIDES = ("left", "right")
_CHANCE = 0.5


def forced_choice_pairs(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    n_trials: int | None = None,
    by_seed: bool = True,
    question: str = QUESTION,
    seed: int = 0,
) -> pd.DataFrame:
    """Pair the images of two conditions and counterbalance their sides.

    Parameters
    ----------
    first, second : DataFrame
        Rows of a manifest of `tasks.braindive.generate_images`: `condition`, `region`,
        `seed`, `file`, `sha256`.
    n_trials : int, optional
        Trials, by default one per pair. With fewer, pairs are drawn at random; with
        more they come again, the sides swapped.
    by_seed : bool, default True
        Pair images of one seed; otherwise at random, each image once.
    question : str, default "Which of the two pictures shows more of {region}?"
        What is asked; "{region}" becomes what is driven.
    seed : int, default 0
        Of pairs, sides and order.

    Returns
    -------
    DataFrame
        One row per trial, in random order: `KEY_COLUMNS`. Each condition stands left
        as often as right, or once more or less if trials are odd in number.

    Raises
    ------
    ValueError
        If columns are missing, a condition is empty or compared with itself, or no
        image has a partner.
    """
    check_whole("seed", seed, low=0)
    names = [_condition("first", first), _condition("second", second)]
    if names[0] == names[1]:
        raise ValueError(
            f"`first` and `second` are both {names[0]!r}: give two conditions."
        )
    rng = generator(seed, TASK, *names)
    rows = [rng.permutation(len(table)) for table in (first, second)]
    if by_seed:
        places = [pd.Index(table["seed"]) for table in (first, second)]
        shared = rng.permutation(np.intersect1d(*places))
        rows = [place.get_indexer(shared) for place in places]
    n_pairs = min(map(len, rows))
    if not n_pairs:
        raise ValueError(
            f"{names[0]!r} and {names[1]!r} have no seed in common: images cannot be "
            "paired by seed."
        )
    n = n_pairs if n_trials is None else check_whole("n_trials", n_trials, low=1)
    trial = np.arange(n)
    pair, again = trial % n_pairs, trial // n_pairs
    # Sides alternate along pairs, and swap when all of them come again.
    is_left = (pair + again + int(rng.integers(2))) % 2 == 0
    order = rng.permutation(n)
    pair, is_left = pair[order], is_left[order]
    shown = [
        table.iloc[own[pair]].reset_index(drop=True)
        for table, own in zip((first, second), rows, strict=True)
    ]
    region = [
        own or other
        for own, other in zip(*(_texts(part["region"]) for part in shown), strict=True)
    ]
    copies = [part["sha256"].map(_copy_name) for part in shown]
    key = pd.DataFrame(
        {
            "trial": trial,
            "pair": pair,
            "left": np.where(is_left, *copies),
            "right": np.where(is_left, *copies[::-1]),
            "question": [question.replace("{region}", name) for name in region],
            "side_of_first": np.where(is_left, *_SIDES),
            "region": region,
        }
    )
    for name, part, condition in zip(("first", "second"), shown, names, strict=True):
        key[f"{name}_condition"] = condition
        for column in ("seed", "file", "sha256"):
            key[f"{name}_{column}"] = part[column]
    return key[list(KEY_COLUMNS)]


def export_forced_choice(
    run: str | Path,
    out: str | Path | None = None,
    *,
    first: str = "guided",
    second: str = "unguided",
    n_trials: int | None = None,
    question: str = QUESTION,
    seed: int = 0,
) -> pd.DataFrame:
    """Write a forced choice between two conditions of a run.

    Parameters
    ----------
    run : str or Path
        Folder with ``manifest.csv`` and, with real pictures, ``real_pictures.csv``.
    out : str or Path, optional
        Folder for ``pairs.csv`` and ``images``, which an experiment needs, and
        ``pairs_key.csv``, which participants must not see. Default ``pairs`` in `run`.
    first, second : str
        Conditions: names of folders below ``images``. Generated images are paired by
        seed, real ones at random.
    n_trials : int, optional
        As `forced_choice_pairs`.
    question : str, default "Which of the two pictures shows more of {region}?"
        As `forced_choice_pairs`.
    seed : int, default 0
        As `forced_choice_pairs`.

    Returns
    -------
    DataFrame
        The key, see `forced_choice_pairs`. Copies of images are called by their
        content.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If a manifest or an image is missing, or not the one of the manifest.
    ValueError
        If a condition is unknown, or `out` holds other pairs.
    PermissionError, NotADirectoryError
        If `out` cannot be written.
    """
    folder = check_path("run", run, kind="folder")
    table = _read_conditions(folder)
    parts = []
    for name, condition in (("first", first), ("second", second)):
        check_option(name, condition, tuple(table["condition"].drop_duplicates()))
        parts.append(table[table["condition"] == condition])
    key = forced_choice_pairs(
        *parts,
        n_trials=n_trials,
        by_seed=not any(part["is_real"].any() for part in parts),
        question=question,
        seed=seed,
    )
    files = {
        file: mark
        for name in ("first", "second")
        for file, mark in key[[f"{name}_file", f"{name}_sha256"]].to_numpy()
    }
    for file, mark in files.items():
        if sha256_file(check_path("image", folder / file)) != mark:
            raise DataCorruptError(
                f"{folder / file} is not the image of the manifest: generate it again."
            )
    home = folder / "pairs" if out is None else Path(out)
    if (home / KEY_FILE).is_file() and not _is_same(home / KEY_FILE, key):
        raise ValueError(
            f"{home} holds other pairs, which may have been answered: choose another "
            "folder."
        )
    home = check_writable_folder(home)
    for file, mark in files.items():
        with atomic_path(home / _copy_name(mark)) as part:
            shutil.copyfile(folder / file, part)
    write_table(home / KEY_FILE, key)
    write_table(home / PAIRS_FILE, key[list(PAIR_COLUMNS)])
    return key


def score_forced_choice(
    key: str | Path | pd.DataFrame,
    answers: str | Path | pd.DataFrame,
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score how often people chose the first condition.

    Parameters
    ----------
    key : str, Path or DataFrame
        ``pairs_key.csv``.
    answers : str, Path or DataFrame
        One row per answer: `subject`, `trial`, and `response`, "left" or "right";
        rows without a response are left out.
    n_bootstrap : int, default 2000
        Resamples of people, >= 1.
    seed : int, default 0
        Of resamples.

    Returns
    -------
    DataFrame
        `SCORE_COLUMNS` and `p_value`; the metric is "share_first", by chance 0.5.
        One row per person, with Wilson's interval over the `n` answers and the
        two-sided binomial p; then the mean of people, with a bootstrap over the `n`
        people, and no p.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If a file is missing or damaged.
    ValueError
        If columns are missing, a trial is unknown or answered twice, or a response is
        neither "left" nor "right".

    Examples
    --------
    >>> key = pd.DataFrame({"trial": [0, 1], "side_of_first": ["left", "right"]})
    >>> key = key.assign(first_condition="guided", second_condition="unguided")
    >>> key = key.assign(region="face")
    >>> said = pd.DataFrame({"subject": "ann", "trial": [0, 1], "response": "left"})
    >>> score_forced_choice(key, said)["value"].tolist()
    [0.5, 0.5]
    """
    check_whole("n_bootstrap", n_bootstrap, low=1)
    trials, said = (
        table if isinstance(table, pd.DataFrame) else read_table(table)
        for table in (key, answers)
    )
    columns = ["trial", "side_of_first", "region", "first_condition"]
    columns.append("second_condition")
    check_columns("key", trials.columns, columns)
    said = _check_answers(said, trials)
    table = said.merge(trials[columns], on="trial", how="left")
    table["is_first"] = table["response"] == table["side_of_first"]
    rows: list[dict[str, Any]] = []
    for subject, own in table.groupby("subject", sort=False):
        k, n = int(own["is_first"].sum()), len(own)
        limits = [float(limit) for limit in wilson_interval(k, n)]
        p = float(stats.binomtest(k, n, _CHANCE).pvalue)
        rows.append(_score_row(subject, k / n, limits, n, p))
    shares = np.array([row["value"] for row in rows])
    rng = generator(seed, TASK, "people")
    over_people = bootstrap_ci(shares, n_bootstrap=n_bootstrap, rng=rng)
    mean = float(shares.mean())
    rows.append(_score_row(MEAN, mean, over_people, len(shares), float("nan")))
    names = [" or ".join(trials[column].unique()) for column in columns[3:]]
    told = trials[columns].astype(str)
    regions = sorted(set(_texts(trials["region"])))
    scores = pd.DataFrame(rows).reindex(columns=[*SCORE_COLUMNS, "p_value"])
    return scores.assign(
        model=HUMAN_MODEL,
        stimuli=f"{TASK}:{sha256_json(told.to_numpy().tolist())[:12]}",
        task=TASK,
        metric="share_first",
        region=regions[0] if len(regions) == 1 else "all",
        condition=f"{names[0]} against {names[1]}",
        seed=seed,
        unit="share",
    )


def _score_row(
    subject: Any, value: float, limits: Sequence[float], n: int, p: float
) -> dict[str, Any]:
    row = {"subject": subject, "value": value, "n": n, "p_value": p}
    return row | dict(zip(("ci_low", "ci_high"), limits, strict=True))


def _condition(name: str, table: pd.DataFrame) -> str:
    """Return the one condition of a table."""
    check_columns(name, table.columns, _NEEDED)
    found = table["condition"].unique().tolist()
    if len(found) != 1 or table["seed"].duplicated().any():
        raise ValueError(
            f"`{name}` must be images of one condition with different seeds; got "
            f"{len(table)} of {found}."
        )
    return str(found[0])


def _texts(values: pd.Series) -> list[str]:
    # An empty cell of a file is undefined.
    return ["" if pd.isna(value) else str(value) for value in values]


def _copy_name(mark: str) -> str:
    return f"images/{mark[:16]}.png"


def _read_conditions(folder: Path) -> pd.DataFrame:
    """Return all images of a run; a condition is called as its folder."""
    found = []
    for name in (MANIFEST, REAL_FILE):
        if name == MANIFEST or (folder / name).is_file():
            path = check_path("manifest", folder / name)
            table = read_table(path)
            check_columns(str(path), table.columns, _NEEDED)
            found.append(table[list(_NEEDED)].assign(is_real=name == REAL_FILE))
    table = pd.concat(found, ignore_index=True)
    return table.assign(condition=[Path(file).parent.name for file in table["file"]])


def _is_same(path: Path, key: pd.DataFrame) -> bool:
    before = read_table(path)
    same = list(before.columns) == list(key.columns) and len(before) == len(key)
    return same and all(_texts(before[name]) == _texts(key[name]) for name in key)


def _check_answers(said: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    check_columns("answers", said.columns, ("subject", "trial", "response"))
    said = said[said["response"].notna()].reset_index(drop=True)
    if said.empty:
        raise ValueError("`answers` has no response: one row per answer is needed.")
    for value in said["response"].unique():
        check_option("response of `answers`", value, _SIDES)
    if said["subject"].isna().any() or (said["subject"] == MEAN).any():
        raise ValueError(
            f"`subject` of `answers` must name somebody in every row, not {MEAN!r}."
        )
    said = said.assign(subject=said["subject"].astype(str))
    unknown = said.loc[~said["trial"].isin(trials["trial"]), "trial"]
    if len(unknown):
        raise ValueError(
            f"`answers` has the trial {unknown.iloc[0]}, which `key` lacks: give the "
            "key of the pairs that people saw."
        )
    twice = said[said.duplicated(["subject", "trial"])]
    if len(twice):
        subject, trial = twice.iloc[0][["subject", "trial"]]
        raise ValueError(f"`answers` has trial {trial} of {subject!r} twice: keep one.")
    return said
