"""Scores of recognition: how right, how much like people, by shape or by texture."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.error_consistency import consistency_table
from analysis.recognition_benchmark import (
    HUMANS,
    METRICS,
    WHOLE,
    benchmark_ranks,
    benchmark_summary,
    consistency_by_condition,
)
from analysis.stats import wilson_interval
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS
from tasks.recognition_answers import (
    bias_by_category,
    bias_rows,
    confusions,
    entropy_rows,
)
from tasks.recognition_chance import chance_spread
from tasks.recognition_models import BASELINES, CUE_CONFLICT
from tasks.recognition_parts import ALL, PEOPLE, Part, Scope, Settings

TASK = "recognition"
CEILING_KIND = "people with each other, same pictures"
# Measures whose value for people is the most that can be expected.
_BOUNDED = ("ood_accuracy", "accuracy", "observed_consistency", "error_consistency")
_ALL = "all"


def score_part(part: Part, settings: Settings) -> dict[str, pd.DataFrame]:
    """Score all observers on one set of pictures of one experiment.

    Parameters
    ----------
    part : Part
        Trials.
    settings : Settings
        How intervals are computed.

    Returns
    -------
    dict of str to DataFrame
        "scores" (rows as `tasks.recognition.run_recognition` describes them), "pairs"
        (every pair of observers in every condition), "shape_bias" (by category, of
        cue conflicts only) and "confusion".
    """
    pairs = consistency_table(
        part.trials,
        n_bootstrap=settings.n_bootstrap,
        n_null=settings.n_bootstrap,
        seed=settings.seed,
    )
    rows = _with_ceilings(
        [
            *_experiment_rows(part, pairs, settings),
            *_condition_rows(part),
            *entropy_rows(part),
        ]
    )
    rows += _person_rows(part, pairs)
    told = {"experiment": part.experiment, "part": part.label}
    found = {
        "pairs": pairs.assign(part=part.label),
        "confusion": confusions(part).assign(**told),
    }
    if part.experiment == CUE_CONFLICT:
        rows += bias_rows(part, settings)
        found["shape_bias"] = bias_by_category(part).assign(**told)
    return found | {"scores": _score_table(rows, part, settings.seed)}


def score_scope(scope: Scope, settings: Settings) -> dict[str, pd.DataFrame]:
    """Average over experiments, and rank decision makers.

    Parameters
    ----------
    scope : Scope
        Experiments and decision makers.
    settings : Settings
        How intervals are computed.

    Returns
    -------
    dict of str to DataFrame
        "benchmark": one row per decision maker with the values, their intervals over
        pictures and over people, the ranks (NaN for people and baselines), `scope` and
        `n_experiments`.
    """
    trials = scope.trials
    found = {over: _summary(trials, over, settings) for over in ("images", "humans")}
    table = found["images"]
    whole = table[table["experiment"] == WHOLE]
    ranked = table[~table["decision_maker"].isin((HUMANS, *BASELINES))]
    wide = whole.pivot_table(
        index="decision_maker", columns="metric", values="value", dropna=False
    )
    for over, prefix in (("images", "ci"), ("humans", "people_ci")):
        means = found[over][found[over]["experiment"] == WHOLE]
        for side in ("low", "high"):
            limits = means.pivot_table(
                index="decision_maker",
                columns="metric",
                values=f"ci_{side}",
                dropna=False,
            )
            wide = wide.join(limits.add_suffix(f"_{prefix}_{side}"))
    if len(ranked):
        ranks = benchmark_ranks(ranked).set_index("decision_maker")
        wide = wide.join(ranks.drop(columns=list(METRICS)))
    else:
        wide["mean_rank"] = np.nan
    wide = wide.rename(index={HUMANS: PEOPLE}).reset_index(names="model")
    counts = whole.groupby("decision_maker")["n_experiments"].first()
    wide.insert(0, "scope", scope.title)
    wide["n_experiments"] = int(counts.iloc[0])
    is_person = wide["model"] != PEOPLE
    order = wide.assign(is_person=is_person).sort_values(
        ["is_person", "mean_rank", "model"], kind="stable"
    )
    return {"benchmark": order.drop(columns="is_person").reset_index(drop=True)}


def benchmark_rows(
    benchmark: pd.DataFrame, observers: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Turn a benchmark table into rows of scores.

    Parameters
    ----------
    benchmark : DataFrame
        From `score_scope`.
    observers : DataFrame
        `model`, `kind`, `untrained` and `simulated` of all.
    seed : int
        Of the run.

    Returns
    -------
    DataFrame
        One row per decision maker, scope and metric, condition "benchmark".
    """
    rows = []
    for _, group in benchmark.groupby("scope", sort=False):
        people = group[group["model"] == PEOPLE].to_dict("records")[0]
        for record in group.to_dict("records"):
            for metric in (*METRICS, "mean_rank"):
                limits = {
                    name: record.get(f"{metric}_{name}", np.nan)
                    for name in ("ci_low", "ci_high", "people_ci_low", "people_ci_high")
                }
                ceiling = people[metric] if metric in _BOUNDED else np.nan
                rows.append(
                    {
                        "model": record["model"],
                        "subject": record["model"],
                        "stimuli": record["scope"],
                        "condition": "benchmark",
                        "metric": metric,
                        "value": record[metric],
                        "n": record["n_experiments"],
                        **limits,
                        **_ceiling(record[metric], ceiling),
                    }
                )
    return mark_observers(_frame(rows, seed), observers)


def mark_observers(table: pd.DataFrame, observers: pd.DataFrame) -> pd.DataFrame:
    """Say of each row what kind of observer it is about.

    Parameters
    ----------
    table : DataFrame
        With `model`; "people" becomes the name that people have in all scores.
    observers : DataFrame
        `model`, `kind`, `untrained` and `simulated`.

    Returns
    -------
    DataFrame
        With these columns.
    """
    known = observers.set_index("model")
    names = table["model"]
    marked = table.assign(
        **{
            name: names.map(known[name]).to_numpy()
            for name in ("kind", "untrained", "simulated")
        }
    )
    return marked.assign(model=names.replace({PEOPLE: HUMAN_MODEL}))


# --------------------------------------------------------------------- consistency


def _summary(trials: pd.DataFrame, over: str, settings: Settings) -> pd.DataFrame:
    return benchmark_summary(
        trials, over=over, n_bootstrap=settings.n_bootstrap, seed=settings.seed
    )


def _experiment_rows(
    part: Part, pairs: pd.DataFrame, settings: Settings
) -> list[dict[str, Any]]:
    """Means over conditions and people, with intervals and chance."""
    if part.trials["excluded"].all():
        return []
    found = {
        over: _summary(part.trials, over, settings) for over in ("images", "humans")
    }
    # Both have the same rows.
    records = {
        over: table[table["experiment"] != WHOLE].to_dict("records")
        for over, table in found.items()
    }
    spread = chance_spread(part)
    rows: list[dict[str, Any]] = []
    for row, people in zip(records["images"], records["humans"], strict=True):
        maker, metric = row["decision_maker"], row["metric"]
        null = 1.96 * spread[maker] if metric == "error_consistency" else np.nan
        rows.append(
            {
                "model": PEOPLE if maker == HUMANS else maker,
                "metric": metric,
                "condition": _ALL,
                "value": float(row["value"]),
                "ci_low": row["ci_low"],
                "ci_high": row["ci_high"],
                "people_ci_low": people["ci_low"],
                "people_ci_high": people["ci_high"],
                "null_low": -null,
                "null_high": null,
                "n": part.n_images,
            }
        )
    expected = _means_with_people(part, pairs, "expected")
    return rows + [
        {
            "model": name,
            "metric": "expected_consistency",
            "condition": _ALL,
            "value": value,
            "n": part.n_images,
        }
        for name, value in expected.items()
    ]


def _means_with_people(
    part: Part, pairs: pd.DataFrame, column: str
) -> dict[str, float]:
    """Average a column of pairs over conditions, then over people."""
    excluded = part.trials.groupby("condition")["excluded"].first()
    kept = pairs[~pairs["condition"].map(excluded).to_numpy(bool)]
    people = set(part.trials.loc[part.trials["is_human"], "subject"])
    both = kept[kept["first"].isin(people) & kept["second"].isin(people)]
    means = {PEOPLE: float(both.groupby(["first", "second"])[column].mean().mean())}
    for name in part.makers:
        own = kept[
            ((kept["first"] == name) & kept["second"].isin(people))
            | ((kept["second"] == name) & kept["first"].isin(people))
        ]
        means[name] = float(own.groupby(["first", "second"])[column].mean().mean())
    return means


def _condition_rows(part: Part) -> list[dict[str, Any]]:
    table = consistency_by_condition(part.trials)
    if table["condition"].nunique() < 2:
        return []
    n_people = part.trials.loc[part.trials["is_human"], "subject"].nunique()
    rows = []
    for record in table.to_dict("records"):
        is_people = record["decision_maker"] == HUMANS
        n = int(record["n_images"])
        n_trials = n * (n_people if is_people else 1)
        n_right = round(record["accuracy"] * n_trials)
        for metric in ("accuracy", "observed_consistency", "error_consistency"):
            limits: tuple[Any, Any] = (np.nan, np.nan)
            if metric == "accuracy":
                limits = wilson_interval(n_right, n_trials)
            rows.append(
                {
                    "model": PEOPLE if is_people else record["decision_maker"],
                    "metric": metric,
                    "condition": record["condition"],
                    "value": record[metric],
                    "ci_low": limits[0],
                    "ci_high": limits[1],
                    "n": n,
                }
            )
    return rows


def _person_rows(part: Part, pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """Each person on their own, with the others (leave one out)."""
    kept = part.trials[part.trials["is_human"] & ~part.trials["excluded"]]
    people = list(kept["subject"].unique())
    conditions = set(kept["condition"])
    own = pairs[pairs["condition"].isin(conditions)]
    own = own[own["first"].isin(people) & own["second"].isin(people)]
    rows = []
    for name, table in kept.groupby("subject", sort=False):
        with_others = own[(own["first"] == name) | (own["second"] == name)]
        by_other = with_others.groupby(["first", "second"])["kappa"].mean()
        for metric, value in (
            ("ood_accuracy", table["correct"].mean()),
            ("error_consistency", by_other.mean() if len(by_other) else np.nan),
        ):
            rows.append(
                {
                    "model": PEOPLE,
                    "subject": name,
                    "metric": metric,
                    "condition": _ALL,
                    "value": float(value),
                    "n": part.n_images,
                }
            )
    return rows


# ------------------------------------------------------------------------- tables


def _with_ceilings(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set the value of people with each other beside each row."""
    people = {
        (row["metric"], row["condition"]): row["value"]
        for row in rows
        if row["model"] == PEOPLE and row["metric"] in _BOUNDED
    }
    return [
        row
        | _ceiling(row["value"], people.get((row["metric"], row["condition"]), np.nan))
        for row in rows
    ]


def _ceiling(value: float, ceiling: float) -> dict[str, Any]:
    if np.isnan(ceiling):
        return {}
    over = value / ceiling if ceiling > 0 else np.nan
    return {
        "ceiling_low": ceiling,
        "ceiling_high": ceiling,
        "value_over_ceiling": over,
        "ceiling_kind": CEILING_KIND,
    }


def _score_table(rows: list[dict[str, Any]], part: Part, seed: int) -> pd.DataFrame:
    shown = "" if part.label == ALL else f" ({part.label})"
    told = {"stimuli": part.experiment + shown, "part": part.label}
    return _frame([told | {"subject": row["model"]} | row for row in rows], seed)


_OWN = ("part", "people_ci_low", "people_ci_high", "null_low", "null_high")
_TEXT = ("model", "subject", "stimuli", "metric", "condition", "unit", "ceiling_kind")


def _frame(rows: Sequence[Mapping[str, Any]], seed: int) -> pd.DataFrame:
    table = pd.DataFrame(rows).assign(task=TASK, seed=seed, region="", layer="")
    table = table.reindex(columns=[*SCORE_COLUMNS, *_OWN])
    for name in (*_TEXT, "part"):
        texts = table[name].astype(object)
        table[name] = texts.where(texts.notna(), "").astype(str)
    return table
