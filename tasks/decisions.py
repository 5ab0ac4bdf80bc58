"""Decisions: people and models answer the same questions about the same pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurovis.core.checks import check_between, check_columns, check_path, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import sha256_file, sha256_json, write_table
from neurovis.core.provenance import code_fingerprint, collect
from neurovis.core.store import Store
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS, Score, StimulusSet
from stimuli.save import load_stimuli
from tasks.decision_models import Questions, model_decisions, questions_of
from tasks.decision_scores import (
    ACCURACY,
    CHANCE,
    TASK,
    accuracy_rows,
    condition_names,
    consistency_rows,
    psychometric_rows,
    sensitivity_rows,
    time_rows,
)
from tasks.decision_trials import (
    SIMULATED_ANSWER,
    SIMULATED_LEVEL,
    add_factors,
    read_decisions,
    simulate_decisions,
)
from tasks.picture_features import PictureModel, picture_models
from tasks.runs import begin_run, check_same_run

SIMULATED = "simulated"
TRIAL_FRONT = (
    *("subject", "model", "untrained", "stimulus_id", "trial", "showing"),
    *("condition", "truth", "response", "correct", "rt_ms", "cost", "layer"),
)
"""First columns of ``trials.parquet``; factors follow."""


def run_decisions(
    trials: Sequence[str | Path] | None,
    out: str | Path,
    *,
    stimuli: str | Path | None = None,
    models: Sequence[str] = (),
    answer: str | None = None,
    by: Sequence[str] = (),
    level: str | None = None,
    guess: float | None = None,
    groups: str | None = None,
    n_folds: int = 5,
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Compare what people and models decide, and leave tables in a folder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    trials : sequence of str or Path, or None
        Tables of trials (``neurovis data import`` writes them): people, and models
        with a column `model`. None simulates six people on textures, to try the rest.
    out : str or Path
        Folder for the tables.
    stimuli : str or Path, optional
        Saved set that was shown: its columns become factors, and models look at it.
    models : sequence of str
        Models that look at the pictures, as `tasks.picture_features.picture_models`
        reads them; "default" stands for the networks that come with the suite.
    answer : str, optional
        Column of the set with the right answers, for models that learn them; by
        default the column `truth` of the trials.
    by : sequence of str
        Columns that tell conditions apart.
    level : str, optional
        Column with a number that makes the task easier the larger it is: a
        psychometric function is fitted to each observer.
    guess : float, optional
        Rate of right answers by guessing, 0..1; by default 1 over the number of
        different right answers, or 1/3 for three pictures.
    groups : str, optional
        Column of the set: pictures with one value are never learnt from when one of
        them is asked about.
    n_folds : int, default 5
        Parts into which pictures are cut for models that learn, >= 2.
    n_bootstrap : int, default 1000
        Resamples for intervals, >= 1.
    seed : int, default 0
        Seed of all draws.
    device : str, default "auto"
        Where networks run.

    Returns
    -------
    Score
        The table of ``scores.parquet``: `SCORE_COLUMNS`, `untrained` and `simulated`.
        Metrics: accuracy, d_prime and criterion (two answers), error_consistency (mean
        kappa with people; the ceiling is that of people with each other),
        median_rt_ms, cost_rt_r, threshold and slope.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, a table has other columns, trials show pictures that
        the set has not, or `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError
        If a file is missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    People are told the question; a model learns it from right answers (see
    `tasks.decision_models.model_decisions`), always on other pictures than those that
    it is asked about. Besides the scores the folder gets ``trials.parquet`` (all
    observers), ``pairs.parquet`` (errors of each pair) and, with `level`,
    ``psychometric.parquet``.
    """
    check_whole("n_folds", n_folds, low=2)
    check_whole("n_bootstrap", n_bootstrap, low=1)
    check_whole("seed", seed, low=0)
    if guess is not None:
        check_between("guess", guess, low=0, high=1)
    place = resolve(device)
    listed = [trials] if isinstance(trials, str | Path) else trials
    arguments: dict[str, Any] = {
        "task": TASK,
        "trials": None if listed is None else [str(Path(t).resolve()) for t in listed],
        "stimuli": None if stimuli is None else str(Path(stimuli).resolve()),
        "models": [str(model) for model in models],
        "answer": answer,
        "by": list(by),
        "level": level,
        "guess": guess,
        "groups": groups,
        "n_folds": n_folds,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    check_same_run(out, arguments)
    shown: StimulusSet | None
    if listed is None:
        if stimuli is not None:
            raise ValueError("`stimuli` needs `trials` of people who saw them.")
        table, shown = simulate_decisions(seed)
        level, by = level or SIMULATED_LEVEL, by or [SIMULATED_LEVEL]
        answer = answer or SIMULATED_ANSWER
    else:
        table = read_decisions(listed)
        shown = (
            None
            if stimuli is None
            else load_stimuli(check_path("stimuli", stimuli, kind="folder"))
        )
    table = table if shown is None else add_factors(table, shown)
    if answer is not None and answer in table and "truth" not in table:
        table = table.assign(truth=table[answer].astype(str))
    check_columns("trials", table.columns, [*by, *([level] if level else [])])
    if level is not None:
        _check_level(table, level)
    observers: list[PictureModel] = []
    if models:
        if shown is None:
            raise ValueError(
                "`models` look at pictures: name the folder of the set that was shown "
                "with `stimuli`."
            )
        questions = questions_of(table, shown, answer=answer, groups=groups)
        observers = picture_models(models)
        _check_new(observers, table, by)
    folder = begin_run(out, arguments)
    parts = [table]
    if observers:
        assert shown is not None
        with deterministic():
            parts += [
                _asked(model, shown, questions, n_folds, seed, place, folder)
                for model in observers
            ]
    joined = _joined(parts, table, by)
    fixed = _guess(joined, guess)
    rows = accuracy_rows(joined, n_bootstrap=n_bootstrap, seed=seed)
    rows += sensitivity_rows(joined)
    shared, pairs = consistency_rows(joined, n_bootstrap=n_bootstrap, seed=seed)
    rows += shared + time_rows(joined)
    if level is not None and np.isfinite(fixed):
        found, curves = psychometric_rows(
            joined, level, guess=fixed, n_bootstrap=n_bootstrap, seed=seed
        )
        rows += found
        write_table(folder / "psychometric.parquet", curves)
    scores = _scores(rows, joined, fixed, shown, listed is None, seed)
    write_table(folder / "pairs.parquet", pairs)
    write_table(folder / "trials.parquet", joined)
    score = Score(
        scores,
        collect(
            seed,
            device=place if observers else "cpu",
            fingerprints=_fingerprints(listed, shown, observers),
            call=arguments,
            notes=_notes(observers, joined, shared, listed is None),
        ),
    )
    score.save(folder)
    return score


def _check_level(table: pd.DataFrame, level: str) -> None:
    values = pd.to_numeric(table[level], errors="coerce")
    wrong = table.loc[values.isna() & table[level].notna(), level]
    if len(wrong):
        raise ValueError(
            f"`level` needs a column of numbers; {level!r} holds {wrong.iloc[0]!r}."
        )
    if len(values.dropna().unique()) < 3:
        raise ValueError(
            f"`level` needs three levels or more; {level!r} has "
            f"{len(values.dropna().unique())}."
        )


def _check_new(
    observers: Sequence[PictureModel], table: pd.DataFrame, by: Sequence[str]
) -> None:
    for model in observers:
        if model.title in set(table["subject"]):
            raise ValueError(
                f"The model {model.title!r} has trials already: write TITLE=NETWORK to "
                "give it another name."
            )
    for name in by:
        if not _is_factor(table, name):
            raise ValueError(
                f"`by` names {name!r}, which differs between trials of one picture: "
                "models have no such condition. Leave it out, or leave out `models`."
            )


def _is_factor(table: pd.DataFrame, name: str) -> bool:
    """Whether a column has one value per picture."""
    return bool(table.groupby("stimulus_id")[name].nunique(dropna=False).max() <= 1)


def _asked(
    model: PictureModel,
    shown: StimulusSet,
    questions: Questions,
    n_folds: int,
    seed: int,
    place: Any,
    folder: Path,
) -> pd.DataFrame:
    """Return what a model answers, from the store when it is there."""
    store = Store(folder / "parts" / "models")
    parts = {
        "task": TASK,
        "code": code_fingerprint(),
        "model": model.identity,
        "title": model.title,
        "stimuli": shown.fingerprint,
        "questions": sha256_json(
            {"kind": questions.kind, "table": questions.table.to_dict("list")}
        ),
        "n_folds": n_folds,
        "seed": seed,
    }

    def compute() -> pd.DataFrame:
        return model_decisions(
            model,
            shown,
            questions,
            n_folds=n_folds,
            seed=seed,
            device=place,
            store=folder / "parts" / "features",
        )

    return store.get_or_compute(parts, compute)


def _joined(
    parts: Sequence[pd.DataFrame], people: pd.DataFrame, by: Sequence[str]
) -> pd.DataFrame:
    """Return all trials in one table, models with the factors of their pictures."""
    table = pd.concat(parts, ignore_index=True)
    known = people.drop_duplicates("stimulus_id").set_index("stimulus_id")
    for name in people.columns.difference(list(TRIAL_FRONT)):
        if _is_factor(people, name):
            table[name] = table["stimulus_id"].map(known[name])
    for name in ("truth", "cost", "layer"):
        if name not in table:
            table[name] = np.nan
    table["condition"] = condition_names(table, by)
    table["untrained"] = table["untrained"].fillna(False).astype(bool)
    front = [name for name in TRIAL_FRONT if name in table]
    return table[[*front, *(c for c in table.columns if c not in front)]]


def _guess(table: pd.DataFrame, guess: float | None) -> float:
    if guess is not None:
        return guess
    if "picture_3" in table or table["stimulus_id"].str.count(r"\+").eq(2).all():
        return 1 / 3
    n = len(table["truth"].dropna().unique())
    return 1 / n if n > 1 else np.nan


def _scores(
    rows: list[dict[str, Any]],
    trials: pd.DataFrame,
    guess: float,
    shown: StimulusSet | None,
    simulated: bool,
    seed: int,
) -> pd.DataFrame:
    if np.isfinite(guess):
        chance = dict.fromkeys(SCORE_COLUMNS, np.nan) | {
            "model": CHANCE,
            "subject": CHANCE,
            "task": TASK,
            "metric": ACCURACY,
            "condition": "all",
            "value": guess,
            "region": "",
            "layer": "",
            "unit": "",
            "ceiling_kind": "",
        }
        rows = [*rows, chance]
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    untrained = set(trials.loc[trials["untrained"], "subject"])
    name = "trials" if shown is None else f"{shown.name}:{shown.fingerprint[:12]}"
    return table.assign(
        stimuli=name,
        seed=seed,
        untrained=table["subject"].isin(untrained),
        simulated=simulated & (table["model"] == HUMAN_MODEL),
    )


def _fingerprints(
    listed: Sequence[str | Path] | None,
    shown: StimulusSet | None,
    observers: Sequence[PictureModel],
) -> dict[str, str]:
    found = {}
    for path in listed or ():
        found[f"trials {Path(path).name}"] = sha256_file(path)
    if shown is not None:
        found["stimuli"] = shown.fingerprint
    for model in observers:
        found[f"model {model.title}"] = model.backbone.weights_hash
    return found


def _notes(
    observers: Sequence[PictureModel],
    trials: pd.DataFrame,
    shared: Sequence[Any],
    simulated: bool,
) -> list[str]:
    notes = []
    if simulated:
        notes.append(
            "Simulated data: the people are simulated, to try the analysis. Nothing "
            "here is a result about people."
        )
    notes += [note for model in observers for note in model.notes]
    if observers and trials["truth"].notna().any():
        notes.append(
            "Models learn the question from right answers on other pictures; people "
            "are told it."
        )
    if (trials["showing"] > 0).any():
        notes.append("Errors are compared on the first showing of each picture.")
    if not shared:
        notes.append(
            "Errors are not compared: fewer than ten pictures were answered by all "
            "observers, or there are no people."
        )
    return notes
