"""Whether runs can share a leaderboard: their stimuli, splits and definitions."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from neurovis.core.checks import suggest
from neurovis.core.files import canonical_json
from neurovis.core.types import Score

STIMULI, SPLIT, DEFINITION = "stimuli", "split", "definition"
"""Values of `Difference.kind`: what was shown, what was held out, what a number is."""

AXES = frozenset(
    {
        *("task", "models", "features", "readouts", "observers", "baselines", "diets"),
        *("systems", "backbone", "layer", "weights", "subjects", "regions", "source"),
        *("seed", "data", "responses", "brains", "store", "device", "keep_models"),
        *("memory_gib", "n_bootstrap", "n_permutations", "optional_metrics"),
        *("quitting", "licence", "training_folder", "name", "split_half"),
    }
)
"""Options that may differ: they say which rows a run has, where it read and wrote, and
how often it drew. What is behind a name or a path is compared by content hashes."""

STIMULUS_OPTIONS = frozenset(
    {
        *("stimuli", "conditions", "trials", "tasks", "rendering", "jpeg", "images"),
        *("layout", "dataset", "displays", "pictures", "labelled", "gratings"),
        *("n_per_class", "classes", "space", "preparation", "min_ncsnr"),
        *("render_px", "size_px", "n_bank", "bank"),
    }
)
"""Options that say what was shown, or which responses to it were kept: all that they
change is in the content hashes of a run."""

SPLIT_OPTIONS = frozenset(
    {"test", "cv", "folds", "n_splits", "validation", "pairing", "holdout"}
)
"""Options that say what was learnt from and what was held out."""

PER_MODEL = frozenset({"options"})
"""Options with one entry per model: only models of both runs are compared."""

_MARK = re.compile(r".+:[0-9a-f]{12}$")  # a data set with the hash of its content
_MOST_TOLD = 3
_LONGEST = 60
_WHAT = {
    STIMULI: "Different stimuli or responses",
    SPLIT: "Different splits",
    DEFINITION: "Different definitions",
}


@dataclass(frozen=True)
class RunScore:
    """Scores of one run, or of one job of a sweep.

    Parameters
    ----------
    source : str
        Name of the run, unique among those that are merged.
    task : str
        Experiment.
    score : Score
        What it left.
    """

    source: str
    task: str
    score: Score


@dataclass(frozen=True)
class Difference:
    """Why two runs do not belong on one leaderboard.

    Parameters
    ----------
    kind : {"stimuli", "split", "definition"}
        What differs.
    where : str
        Experiment, and the cell if it is about one.
    name : str
        Option or column.
    values : tuple of str
        What two runs have.
    runs : tuple of str
        These two runs.
    option : bool, default True
        Whether it is an option, which can be made a factor.
    """

    kind: str
    where: str
    name: str
    values: tuple[str, str]
    runs: tuple[str, str]
    option: bool = True

    def __str__(self) -> str:
        (first, other), (a, b) = self.values, self.runs
        return f"{self.where}: `{self.name}` is {first} in {a}, {other} in {b}"


def check_varying(runs: Sequence[RunScore], varying: Sequence[str]) -> tuple[str, ...]:
    """Refuse factors that are no option of any run.

    Parameters
    ----------
    runs : sequence of RunScore
        Runs to merge.
    varying : sequence of str
        Options that are to be factors.

    Returns
    -------
    tuple of str
        Each once, sorted.

    Raises
    ------
    ValueError
        If no run has an option of this name; the nearest one is suggested.
    """
    known = {name for run in runs for name in run.score.provenance.call} - {"task"}
    for name in varying:
        if name not in known:
            raise ValueError(
                f"`--varying {name}`: no run has an option of this name."
                f"{suggest(name, known)} Options: {', '.join(sorted(known))}."
            )
    return tuple(sorted(set(varying)))


def factor_text(call: Mapping[str, Any], varying: Iterable[str]) -> str:
    """Return what stands behind the name of a model, for options that are factors.

    Parameters
    ----------
    call : mapping
        Full call of a run.
    varying : iterable of str
        Options that are factors.

    Returns
    -------
    str
        Starts with a space; empty where the run has none of the options.

    Examples
    --------
    >>> factor_text({"method": "banded", "cv": 5}, ["method"])
    ' [method=banded]'
    """
    told = [f"{name}={_short(call[name])}" for name in varying if name in call]
    return f" [{', '.join(told)}]" if told else ""


def check_comparable(
    runs: Sequence[RunScore], rows: pd.DataFrame, varying: Sequence[str] = ()
) -> None:
    """Refuse to merge runs whose numbers do not mean the same.

    Parameters
    ----------
    runs : sequence of RunScore
        Runs to merge.
    rows : DataFrame
        Their rows in one form, see `tasks.leaderboard_rows.join_scores`.
    varying : sequence of str, optional
        Options that are factors: they may differ.

    Raises
    ------
    ValueError
        If they differ; all kinds of differences are named at once.

    Notes
    -----
    Runs are compared where they share an experiment, a data set and a metric:

    - stimuli: within one cell (subject, region, condition, seed) all models must have
      seen the same, by content hash; and the options that say what is shown must agree
      unless the hashes of all that was shown do;
    - splits: options that say what was held out;
    - definitions: all other options except `AXES`; `unit` and `ceiling_kind`; and the
      content hash of a model of one name under one seed.
    """
    found = [
        *_cell_differences(runs, rows, varying),
        *_option_differences(runs, rows, varying),
        *_column_differences(rows),
        *_model_differences(runs, varying),
    ]
    if found:
        raise ValueError(_message(found))


def _message(found: Sequence[Difference]) -> str:
    parts = []
    for kind, title in _WHAT.items():
        mine = list(dict.fromkeys(str(d) for d in found if d.kind == kind))
        if mine:
            rest = len(mine) - _MOST_TOLD
            more = f"; and {rest} more" if rest > 0 else ""
            parts.append(f"{title}: {'; '.join(mine[:_MOST_TOLD])}{more}.")
    factors = sorted({d.name for d in found if d.option})
    advice = "Report them apart, or run them again alike"
    if factors:
        advice += f"; an option becomes a factor by --varying {factors[0]}"
    return f"These runs do not belong on one leaderboard. {' '.join(parts)} {advice}."


def _cell_differences(
    runs: Sequence[RunScore], rows: pd.DataFrame, varying: Sequence[str]
) -> list[Difference]:
    """Find cells in which models saw different stimuli."""
    keys = ["task", "data", "region", "condition", "subject", "seed"]
    table = rows[[*keys, "stimuli", "run", "factors"]]
    seen = table.drop_duplicates([*keys, "stimuli", "factors"])
    kinds = seen.groupby([*keys, "factors"], dropna=False)["stimuli"]
    calls = {run.source: run.score.provenance.call for run in runs}
    found = []
    for _, part in seen[kinds.transform("nunique") > 1].groupby([*keys, "factors"]):
        two = part.drop_duplicates("stimuli").sort_values("run").iloc[:2]
        first, other = (calls[name] for name in two["run"])
        names = sorted((STIMULUS_OPTIONS | {"regions"}) - set(varying))
        why = [
            f"{name}: {_short(first.get(name))} / {_short(other.get(name))}"
            for name in names
            if _text(first.get(name)) != _text(other.get(name))
        ]
        row = two.iloc[0]
        place = [str(row[k]) for k in ("region", "condition", "subject") if row[k]]
        where = f"{row['task']} ({', '.join([*place, f'seed {row.seed}'])})"
        a, b = two["stimuli"].astype(str)
        told = (a, f"{b} ({'; '.join(why)})" if why else b)
        pair = (str(two["run"].iloc[0]), str(two["run"].iloc[1]))
        found.append(Difference(STIMULI, where, "stimuli", told, pair, option=False))
    # Two runs are told once, not cell by cell.
    pairs = [each.runs for each in found]
    return [each for i, each in enumerate(found) if each.runs not in pairs[:i]]


def _option_differences(
    runs: Sequence[RunScore], rows: pd.DataFrame, varying: Sequence[str]
) -> list[Difference]:
    by_name = {run.source: run for run in runs}
    shown = {
        key: frozenset(part)
        for key, part in rows.groupby(["task", "data", "run"])["stimuli"]
    }
    groups = {
        (str(task), str(data), tuple(sorted(part.unique())))
        for (task, data, _), part in rows.groupby(["task", "data", "metric"])["run"]
    }
    found = []
    for task, data, names in sorted(groups):
        calls = {name: by_name[name].score.provenance.call for name in names}
        options = {option for call in calls.values() for option in call}
        for option in sorted(options - AXES - set(varying)):
            two = _unlike(option, calls)
            if two is None:
                continue
            kind = _kind_of(option)
            marks = [shown[task, data, name] for name in names]
            hashes = [_content(by_name[name]) for name in names]
            if kind == STIMULI and _are_same(marks, hashes):
                continue
            values = _told_values(*(calls[name].get(option) for name in two))
            found.append(Difference(kind, task, option, values, two))
    return list(dict.fromkeys(found))


def _unlike(
    option: str, calls: Mapping[str, Mapping[str, Any]]
) -> tuple[str, str] | None:
    """Return two runs with different values of an option, the first such ones."""
    if option in PER_MODEL:
        for a, b in combinations(calls, 2):
            first, other = (calls[name].get(option) or {} for name in (a, b))
            both = set(first) & set(other)
            if any(_text(first[name]) != _text(other[name]) for name in both):
                return a, b
        return None
    names = list(calls)
    first = _text(calls[names[0]].get(option))
    for name in names[1:]:
        if _text(calls[name].get(option)) != first:
            return names[0], name
    return None


def _kind_of(option: str) -> str:
    if option in STIMULUS_OPTIONS:
        return STIMULI
    return SPLIT if option in SPLIT_OPTIONS else DEFINITION


def _are_same(
    marks: Sequence[frozenset[Any]], hashes: Sequence[Mapping[str, str]]
) -> bool:
    """Return whether content hashes say that all saw the same."""
    known = all(_MARK.match(str(mark)) for each in marks for mark in each)
    alike = all(each == hashes[0] for each in hashes)
    return known and alike and len(set(marks)) == 1


def _content(run: RunScore) -> dict[str, str]:
    """Return the hashes of what was shown; those of one thing have its name too."""
    marks = run.score.provenance.fingerprints
    return {name: mark for name, mark in marks.items() if " " not in name}


def _column_differences(rows: pd.DataFrame) -> list[Difference]:
    found = []
    for column in ("unit", "ceiling_kind"):
        known = rows[rows[column] != ""]
        keys = ["task", "data", "metric", "region"]
        seen = known.drop_duplicates([*keys, column])
        several = seen[seen.duplicated(keys, keep=False)]
        for (task, _, metric, _), part in several.groupby(keys):
            two = part.sort_values("run").iloc[:2]
            values = (repr(two[column].iloc[0]), repr(two[column].iloc[1]))
            pair = (str(two["run"].iloc[0]), str(two["run"].iloc[1]))
            if pair[0] != pair[1]:
                where = f"{task} {metric}"
                found.append(
                    Difference(DEFINITION, where, column, values, pair, option=False)
                )
    return found


def _model_differences(
    runs: Sequence[RunScore], varying: Sequence[str]
) -> list[Difference]:
    """Find models of one name and seed that are not the same model."""
    first: dict[tuple[str, str, Any, str], tuple[str, str]] = {}
    found = []
    for run in runs:
        provenance = run.score.provenance
        factors = factor_text(provenance.call, varying)
        for name, mark in model_marks(run).items():
            key = (run.task, name, provenance.seed, factors)
            source, known = first.setdefault(key, (run.source, mark))
            if known != mark:
                values = (known[:12], mark[:12])
                found.append(
                    Difference(
                        DEFINITION,
                        run.task,
                        name,
                        values,
                        (source, run.source),
                        option=False,
                    )
                )
    return found


def model_marks(run: RunScore) -> dict[str, str]:
    """Return the content hashes of the models of a run.

    Parameters
    ----------
    run : RunScore
        The run.

    Returns
    -------
    dict of str to str
        By "model NAME" or "weights NAME".
    """
    marks = run.score.provenance.fingerprints
    return {k: v for k, v in marks.items() if k.startswith(("model ", "weights "))}


def _told_values(first: Any, other: Any) -> tuple[str, str]:
    """Return two values as text; of two tables, the first entry that differs."""
    if isinstance(first, Mapping) and isinstance(other, Mapping):
        for name in sorted({*first, *other}):
            a, b = first.get(name), other.get(name)
            if _text(a) != _text(b):
                told = _told_values(a, b)
                return (f"{name}: {told[0]}", f"{name}: {told[1]}")
    return _short(first), _short(other)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else _text(value)
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return text[:12]
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 2]} …"


def _text(value: Any) -> str:
    return canonical_json(value)
