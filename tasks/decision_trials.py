"""Trials of observers, people and models, in one table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.psychometric import psychometric_rate
from neurovis.core.checks import check_columns, check_path, suggest
from neurovis.core.files import read_table
from neurovis.core.rng import generator
from neurovis.core.types import HUMAN_MODEL, TRIAL_COLUMNS, StimulusSet
from stimuli.texture_segmentation import make_textures

SIMULATED_PEOPLE = 6
SIMULATED_LEVEL, SIMULATED_ANSWER = "orientation_difference_deg", "answer"
JOINT = "+"
"""Between the identities of pictures that are shown together."""


def read_decisions(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Read tables of trials and put them under each other.

    Parameters
    ----------
    paths : sequence of str or Path
        Tables in the common form (parquet or CSV): `subject`, `stimulus_id`, `trial`,
        `response`, `rt_ms`, `correct`. A column `model` tells models from people.

    Returns
    -------
    DataFrame
        All trials; `model` is "human" for people, `rt_ms` a number, `correct` True,
        False or NaN, `showing` counts how often the observer had seen the stimulus
        before, and `untrained` marks models with random weights.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If a file is missing or damaged.
    ValueError
        If a column is missing, a trial has no stimulus, `correct` is something else, or
        an observer is in two files.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    if not listed:
        raise ValueError("`trials` is empty: name at least one table of trials.")
    parts: list[pd.DataFrame] = []
    where: dict[str, Path] = {}
    for given in listed:
        path = check_path("trials", given)
        part = _checked(path, read_table(path))
        for subject in part["subject"].unique():
            if subject in where:
                raise ValueError(
                    f"The observer {subject!r} is in {where[subject]} and in {path}: "
                    "give each observer a name of its own, or leave one file out."
                )
            where[subject] = path
        parts.append(part)
    return with_showings(pd.concat(parts, ignore_index=True))


def _checked(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    check_columns(path.name, table.columns, TRIAL_COLUMNS)
    if table.empty:
        raise ValueError(f"{path} holds no trials.")
    table = table.reset_index(drop=True)
    for name in ("subject", "stimulus_id"):
        if table[name].isna().any():
            row = int(np.flatnonzero(table[name].isna())[0])
            raise ValueError(f"{path}: `{name}` is empty in row {row}.")
    right = table["correct"]
    values = right.dropna().map(lambda value: value in (True, False, 0, 1))
    if not values.all():
        value = right.dropna()[~values].iloc[0]
        raise ValueError(
            f"{path}: `correct` must be true, false or empty; it holds {value!r}."
        )
    model = table.get("model", HUMAN_MODEL)
    untrained = table.get("untrained", False)
    answered = table["response"].notna()
    return table.assign(
        subject=table["subject"].astype(str),
        stimulus_id=table["stimulus_id"].astype(str),
        response=table["response"].astype(str).where(answered, None).astype(object),
        rt_ms=pd.to_numeric(table["rt_ms"], errors="coerce").astype(np.float64),
        correct=right.map(lambda v: np.nan if pd.isna(v) else float(v)).astype(float),
        model=model,
        untrained=untrained,
    )


def with_showings(table: pd.DataFrame) -> pd.DataFrame:
    """Count how often an observer has seen each stimulus before.

    Parameters
    ----------
    table : DataFrame
        `subject`, `stimulus_id` and `trial`.

    Returns
    -------
    DataFrame
        With the column `showing`, 0 for the first time, in the order of `trial`.
    """
    ordered = table.sort_values("trial", kind="stable")
    return table.assign(showing=ordered.groupby(["subject", "stimulus_id"]).cumcount())


def add_factors(trials: pd.DataFrame, stimuli: StimulusSet) -> pd.DataFrame:
    """Add the columns of a set of stimuli to trials that show one picture each.

    Parameters
    ----------
    trials : DataFrame
        Trials of `read_decisions`.
    stimuli : StimulusSet
        What was shown.

    Returns
    -------
    DataFrame
        With the columns of the set that the trials had not; NaN where several pictures
        were shown together.

    Raises
    ------
    ValueError
        If a trial shows a picture that the set has not.
    """
    known = stimuli.table.set_index("stimulus_id")
    for identity in trials["stimulus_id"].unique():
        for name in [identity] if identity in known.index else identity.split(JOINT):
            if name not in known.index:
                raise ValueError(
                    f"A trial shows {name!r}, which the set {stimuli.name!r} has not."
                    f"{suggest(name, known.index)} Give the set that was shown."
                )
    new = [name for name in known.columns if name not in trials.columns]
    return trials.join(known[new], on="stimulus_id")


def simulate_decisions(seed: int = 0) -> tuple[pd.DataFrame, StimulusSet]:
    """Simulate people who tell where a texture differs, for runs without data.

    Parameters
    ----------
    seed : int, default 0
        Seed of stimuli and people.

    Returns
    -------
    trials : DataFrame
        Six simulated people: right answers rise with the difference of orientation,
        with a threshold of their own and an ease of each picture that all share.
    stimuli : StimulusSet
        The pictures.
    """
    stimuli = make_textures(
        (("bar", "bar"),),
        orientation_sds_deg=(10.0,),
        repeats=4,
        n_cells=10,
        region_cells=(3, 6),
        px_per_deg=16.0,
    )
    # Each picture is looked at several times: they are drawn once.
    stimuli = replace(stimuli, images=[stimuli.load(i) for i in range(len(stimuli))])
    table = stimuli.table
    levels = table[SIMULATED_LEVEL].to_numpy(np.float64)
    answers = table[SIMULATED_ANSWER].to_numpy(object)
    ease = generator(seed, "decisions", "ease").normal(0, 0.5, len(table))
    parts = []
    for number in range(SIMULATED_PEOPLE):
        rng = generator(seed, "decisions", "person", number)
        threshold = 15.0 * np.exp(rng.normal(0, 0.25))
        seen = levels * np.exp(ease + rng.normal(0, 0.3, len(table)))
        rate = psychometric_rate(
            seen, location=threshold, slope=2.0, guess=0.5, lapse=0.02
        )
        right = rng.random(len(table)) < rate
        other = np.where(answers == answers[0], answers[-1], answers[0])
        time_ms = 350 + 900 * (1 - rate) + rng.gamma(2, 60, len(table))
        part = pd.DataFrame(
            {
                "subject": f"simulated person {number + 1}",
                "stimulus_id": table["stimulus_id"],
                "trial": rng.permutation(len(table)),
                "response": np.where(right, answers, other),
                "rt_ms": time_ms.round(1),
                "correct": right.astype(float),
                "model": HUMAN_MODEL,
                "untrained": False,
            }
        )
        parts.append(part)
    return with_showings(pd.concat(parts, ignore_index=True)), stimuli
