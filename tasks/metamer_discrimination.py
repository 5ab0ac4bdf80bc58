"""Can observers tell metamers apart? ABX answers to critical scales.

People are read from a table; observers that see pictures as pooled statistics answer
the same trials. Analysis and figures treat them alike.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.abx_discrimination import proportion_correct
from analysis.critical_scale import fit_critical_scales
from analysis.stats import bootstrap_ci, wilson_interval
from neurovis.core.checks import check_between, check_columns, check_option, check_whole
from neurovis.core.device import resolve
from neurovis.core.files import plain, read_table, sha256_json, write_table
from neurovis.core.pictures import write_png
from neurovis.core.provenance import code_fingerprint
from neurovis.core.rng import generator
from neurovis.core.store import Store
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS, Score
from stimuli.abx import COMPARISONS
from tasks.metamer_observers import (
    ANSWER_COLUMNS,
    AbxObserver,
    PooledObserver,
    answer_trials,
    pairs_of,
)
from tasks.metamers import Metamers, convergence, load_metamers
from tasks.runs import begin_run, run_provenance

TASK = "metamers"
VERSION = 1
"""Raised when the same call gives other numbers."""

MEAN = "mean of people"
"""What `subject` is in rows of the group."""

ANSWERS, PSYCHOMETRIC, FITS = "trials.parquet", "psychometric.parquet", "fits.parquet"
PAIRS, CONVERGENCE, CURVES = "pairs.parquet", "convergence.parquet", "curves.parquet"
EXAMPLES = "examples"

_GIVEN = ("answer", "response", "key_resp.keys")
_RIGHT = ("correct_answer", "corrAns", "correct_response", "correct")
_WORDS = {
    "true": True,
    "false": False,
    "1": True,
    "0": False,
    "1.0": True,
    "0.0": False,
}
_N_EXAMPLES = 2


def read_abx_answers(answers: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read what people answered in ABX trials.

    Parameters
    ----------
    answers : str, Path or DataFrame
        One row per trial (``.csv`` or ``.parquet``): `subject`, `comparison`, `scale`
        and, optionally, `image`; and `correct` (true or false, 1 or 0), or what was
        answered (`answer`, `response` or `key_resp.keys`) beside what was right
        (`correct_answer`, `corrAns`, `correct_response`, or a `correct` of "a" and
        "b"). Where there is a column `task`, only rows of "abx" count.

    Returns
    -------
    DataFrame
        `subject` (str), `comparison`, `scale` (float), `correct` (bool), and `image`
        when it was there; rows without an answer are wrong.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the file is missing or damaged.
    ValueError
        If a column is missing, or a value is none of those above.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "subject": 1,
    ...         "comparison": "sample-sample",
    ...         "scale": [0.3, 0.3],
    ...         "response": ["1", "2"],
    ...         "corrAns": "1",
    ...     }
    ... )
    >>> read_abx_answers(table)["correct"].tolist()
    [True, False]
    """
    table = answers if isinstance(answers, pd.DataFrame) else read_table(answers)
    if "task" in table.columns:
        table = table[table["task"] == "abx"]
    check_columns("responses", table.columns, ANSWER_COLUMNS[:-1])
    if table.empty:
        raise ValueError("`responses` has no answer: one row per trial is needed.")
    scale = pd.to_numeric(table["scale"], errors="coerce").to_numpy(np.float64)
    if not (scale > 0).all():
        raise ValueError("`scale` of `responses` must be above 0 in every row.")
    for name in table["comparison"].unique():
        check_option("comparison of `responses`", name, COMPARISONS)
    if table["subject"].isna().any():
        raise ValueError("`subject` of `responses` must name somebody in every row.")
    found = pd.DataFrame(
        {
            "subject": table["subject"].astype(str).to_numpy(str).astype(object),
            "comparison": table["comparison"].to_numpy(),
            "scale": scale,
            "correct": _is_correct(table),
        }
    )
    if "image" in table:
        found.insert(2, "image", table["image"].astype(str).to_numpy())
    if (found["subject"] == MEAN).any():
        raise ValueError(f"`subject` of `responses` must not be {MEAN!r}.")
    return found


def run_metamers(
    responses: str | Path | pd.DataFrame | None,
    out: str | Path = "results/metamers",
    *,
    stimuli: str | Path | Metamers | None = None,
    observers: Sequence[float | AbxObserver] = (),
    noise: float = 0.2,
    n_repeats: int = 1,
    lapse: float | None = None,
    decision: str = "published",
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Fit critical scales of people and of simulated observers.

    Parameters
    ----------
    responses : str, Path, DataFrame or None
        Answers of people (see `read_abx_answers`); None when there are none.
    out : str or Path
        Folder for tables.
    stimuli : str, Path or Metamers, optional
        What `tasks.metamers.make_metamers` made; observers need it.
    observers : sequence of float or AbxObserver
        Who else answers its trials; a number is the scale of the windows of a
        `PooledObserver` that looks as the set was made for.
    noise : float, default 0.2
        Of observers given by a number.
    n_repeats : int, default 1
        How often simulated observers answer every trial.
    lapse : float or None, default None
        Share of guesses; None fits one per observer, up to 0.2.
    decision : {"published", "signal_detection"}, default "published"
        As of `analysis.abx_discrimination.proportion_correct`.
    n_bootstrap : int, default 1000
        Resamples for intervals.
    seed : int, default 0
        Seed of all draws.
    device : str, default "auto"
        Where observers compute.

    Returns
    -------
    Score
        The table of ``scores.parquet``: "critical_scale", "gain" and "lapse" per
        observer and comparison (`condition`), with 95 % intervals over trials, and
        the mean critical scale of people, with an interval over people. `model` is
        "human" or the name of the observer.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, nobody answers, somebody saw one scale only, or `out`
        holds another run.
    FileNotFoundError, DataCorruptError
        If a file is missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError, OSError
        If `out` cannot be written.

    Notes
    -----
    The folder gets ``trials.parquet`` (all answers), ``psychometric.parquet`` (shares
    of correct answers, with those of the fits), ``fits.parquet``, and with `stimuli`
    also ``pairs.parquet`` (d' of observers), ``convergence.parquet``,
    ``curves.parquet`` and ``examples/``.

    References
    ----------
    Freeman and Simoncelli (2011), doi:10.1038/nn.2889.
    """
    check_between("noise", noise, low=1e-6)
    check_whole("n_repeats", n_repeats, low=1)
    people = None if responses is None else read_abx_answers(responses)
    made = stimuli if isinstance(stimuli, Metamers | None) else load_metamers(stimuli)
    if observers and made is None:
        raise ValueError(
            "`observers` need `stimuli`: a folder that `neurovis stimuli metamers` "
            "made."
        )
    watching = [_observer(one, made, noise) for one in observers]
    if people is None and not watching:
        raise ValueError("Nobody answers: give `responses`, `observers`, or both.")
    _check_names(people, watching)
    if people is not None:
        _check_scales(people)
        _check_known(people, made)
    if made is not None and watching:
        _check_scales(made.trials.assign(subject="of `observers`"))
    marks = {} if made is None else {"stimuli": made.stimuli.fingerprint}
    if people is not None:
        marks["responses"] = sha256_json(people.to_dict("list"))
    arguments = plain(
        {
            "task": TASK,
            "version": VERSION,
            **marks,
            "observers": [one.identity for one in watching],
            "n_repeats": n_repeats,
            "lapse": lapse,
            "decision": decision,
            "n_bootstrap": n_bootstrap,
            "seed": seed,
        }
    )
    home = begin_run(out, arguments)
    place = resolve(device)
    answers, pairs = _answers(people, made, watching, n_repeats, seed, home, str(place))
    options: dict[str, Any] = {"lapse": lapse, "decision": decision, "seed": seed}
    # The order of trials must not matter.
    ordered = answers.sort_values("comparison", kind="stable")
    fits = fit_critical_scales(
        ordered, by=("model", "subject"), n_bootstrap=n_bootstrap, **options
    )
    fits["note"] = fits["note"].where(fits["note"] != "", None)
    shares = _shares(answers, fits, decision)
    for name, table in ((ANSWERS, answers), (PSYCHOMETRIC, shares), (FITS, fits)):
        write_table(home / name, table)
    notes: list[str] = []
    if made is not None:
        notes += made.provenance.notes
        _describe(made, home)
        if pairs is not None:
            write_table(home / PAIRS, pairs)
    provenance = run_provenance(
        watching, arguments, fingerprints=marks, device=place, notes=notes
    )
    name = "metamers" if made is None else made.stimuli.name
    score = Score(_scores(fits, name, n_bootstrap, seed), provenance)
    score.save(home)
    return score


# --------------------------------------------------------------------- answers


def _is_correct(table: pd.DataFrame) -> Any:
    if "correct" in table:
        words = table["correct"].astype(str).str.strip().str.lower()
        if words.isin(_WORDS).all():
            return words.map(_WORDS).to_numpy(bool)
    given = next((name for name in _GIVEN if name in table), None)
    right = next((name for name in _RIGHT if name in table), None)
    if given is None or right is None:
        raise ValueError(
            "`responses` must tell whether answers were right: a column `correct` of "
            "true and false or 1 and 0, or what was answered (one of "
            f"{', '.join(_GIVEN)}) beside what was right (one of {', '.join(_RIGHT)}); "
            f"got the columns {list(map(str, table.columns))}."
        )
    both = [table[name].map(_key) for name in (given, right)]
    if (both[1] == "").any():
        raise ValueError(f"`{right}` of `responses` must be known in every row.")
    return (both[0] == both[1]).to_numpy(bool)


def _key(value: Any) -> str:
    """Return a key as text; a table with gaps has turned 1 into 1.0."""
    if pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()


def _observer(
    one: float | AbxObserver, made: Metamers | None, noise: float
) -> AbxObserver:
    if not isinstance(one, int | float) or made is None:
        return one  # type: ignore[return-value]
    design = replace(made.design, n_steps=1)  # how it was made does not matter
    return PooledObserver(float(one), noise=noise, model=design.model, design=design)


def _check_names(people: pd.DataFrame | None, watching: Sequence[AbxObserver]) -> None:
    names = [one.name for one in watching]
    taken = [] if people is None else people["subject"].unique().tolist()
    for name in names:
        if names.count(name) > 1 or name in [*taken, MEAN, HUMAN_MODEL]:
            raise ValueError(f"`observers` and people must have names of their own; "
                             f"{name!r} is there twice.")  # fmt: skip


def _check_scales(answers: pd.DataFrame) -> None:
    counts = answers.groupby(["subject", "comparison"])["scale"].nunique()
    few = counts[counts < 2]
    if len(few):
        subject, comparison = few.index[0]
        raise ValueError(
            f"The trials of {subject} in {comparison!r} have one scale only: a "
            "critical scale needs two or more, better five."
        )


def _check_known(people: pd.DataFrame, made: Metamers | None) -> None:
    if made is None:
        return
    there = made.samples["scale"].to_numpy()
    for scale in people["scale"].unique():
        if not np.isclose(there, scale, rtol=1e-6).any():
            raise ValueError(
                f"`responses` has answers at the scale {scale:g}, but `stimuli` has "
                f"{', '.join(f'{s:g}' for s in np.unique(there))}: give the set that "
                "people saw, or none."
            )


def _answers(
    people: pd.DataFrame | None,
    made: Metamers | None,
    watching: Sequence[AbxObserver],
    n_repeats: int,
    seed: int,
    home: Path,
    device: str,
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return all answers, and the d' of observers."""
    parts = [] if people is None else [people.assign(model=HUMAN_MODEL)]
    told = []
    if made is not None and watching:
        store, code = Store(home / "parts"), code_fingerprint()
        pairs = pairs_of(made.trials)
        trials = pd.concat([made.trials] * n_repeats, ignore_index=True)
        both = np.sort(trials[["a", "b"]].to_numpy(str), axis=1)
        for one in watching:

            def compute(one: AbxObserver = one) -> dict[str, Any]:
                found = one.sensitivity(pairs, made.stimuli, device=device)
                return {"sensitivity": found}

            parts_of = {
                "code": code,
                "device": device,
                "observer": dict(one.identity),
                "stimuli": made.stimuli.fingerprint,
                "pairs": sha256_json(pairs.to_dict("list")),
            }
            found = store.get_or_compute(parts_of, compute)["sensitivity"]
            known = dict(
                zip(zip(pairs["a"], pairs["b"], strict=True), found, strict=True)
            )
            each = np.array([known[a, b] for a, b in both])
            lapse = float(getattr(one, "lapse", 0.0))
            answers = answer_trials(trials, each, one.name, lapse=lapse, seed=seed)
            parts.append(answers.assign(model=one.name))
            told.append(pairs.assign(observer=one.name, sensitivity=found))
    answers = pd.concat(parts, ignore_index=True)
    first = ["model", "subject", "comparison", "scale", "correct"]
    answers = answers[[*first, *answers.columns.drop(first)]]
    return answers, pd.concat(told, ignore_index=True) if told else None


# ---------------------------------------------------------------------- tables


def _shares(answers: pd.DataFrame, fits: pd.DataFrame, decision: str) -> pd.DataFrame:
    keys = ["model", "subject", "comparison"]
    cells = answers.groupby([*keys, "scale"], sort=False)["correct"].agg(
        ["sum", "size"]
    )
    table = cells.reset_index().rename(columns={"sum": "n_correct", "size": "n_trials"})
    table = table.sort_values([*keys, "scale"], ignore_index=True)
    table["value"] = table["n_correct"] / table["n_trials"]
    low, high = wilson_interval(table["n_correct"], table["n_trials"])
    table["ci_low"], table["ci_high"] = low, high
    table["chance"] = 0.5
    own = table.merge(fits, on=keys, how="left", suffixes=("", "_fit"))
    known = own["critical_scale"].notna().to_numpy()
    table["fitted"] = np.nan
    part = own[known]
    table.loc[known, "fitted"] = proportion_correct(
        part["scale"], part["critical_scale"], part["gain"], lapse=part["lapse"],
        decision=decision,
    )  # fmt: skip
    return table


def _scores(
    fits: pd.DataFrame, stimuli: str, n_bootstrap: int, seed: int
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for row in fits.to_dict("records"):
        label = {"model": row["model"], "subject": row["subject"]}
        label |= {"condition": row["comparison"], "n": row["n_trials"]}
        limits = {k: row[k] for k in ("ci_low", "ci_high")}
        value = {"metric": "critical_scale", "value": row["critical_scale"]}
        rows.append({**label, **value, **limits})
        rows += [{**label, "metric": k, "value": row[k]} for k in ("gain", "lapse")]
    people = fits[fits["model"] == HUMAN_MODEL]
    for comparison, part in people.groupby("comparison", sort=False):
        known = part["critical_scale"].dropna().to_numpy()
        low = high = np.nan
        if len(known) > 1 and n_bootstrap:
            rng = generator(seed, "mean critical scale", str(comparison))
            low, high = bootstrap_ci(known, n_bootstrap=n_bootstrap, rng=rng)
        rows.append(
            {
                "model": HUMAN_MODEL,
                "subject": MEAN,
                "condition": comparison,
                "metric": "critical_scale",
                "value": known.mean() if len(known) else np.nan,
                "ci_low": low,
                "ci_high": high,
                "n": len(known),
            }
        )
    table = pd.DataFrame(rows).reindex(columns=list(SCORE_COLUMNS))
    return table.assign(stimuli=stimuli, task=TASK, seed=seed)


def _describe(made: Metamers, home: Path) -> None:
    """Keep what a report shows of the pictures."""
    write_table(home / CONVERGENCE, convergence(made))
    write_table(home / CURVES, made.curves)
    table = made.stimuli.table
    chosen = table["image"].drop_duplicates().iloc[:_N_EXAMPLES]
    shown = table[table["image"].isin(chosen) & (table["sample"] <= 2)]
    (home / EXAMPLES).mkdir(exist_ok=True)
    for i, name in zip(shown.index, shown["stimulus_id"], strict=True):
        write_png(home / EXAMPLES / f"{name}.png", made.stimuli.load(int(i)))
    columns = ["stimulus_id", "image", "kind", "scale", "sample", "converged"]
    write_table(home / EXAMPLES / "examples.csv", shown[columns])
