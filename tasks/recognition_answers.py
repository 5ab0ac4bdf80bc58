"""What observers answered in recognition: shape or texture, confusions, entropy."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from analysis.response_entropy import confusion_of_responses, response_entropy
from analysis.shape_bias import (
    shape_bias,
    shape_bias_by_category,
    shape_bias_interval,
)
from tasks.recognition_parts import ALL, PEOPLE, Part, Settings


def answers_of(part: Part) -> dict[str, pd.DataFrame]:
    """Return the trials of each decision maker, people as one.

    Parameters
    ----------
    part : Part
        Trials.

    Returns
    -------
    dict of str to DataFrame
        People first.
    """
    by_name = {name: t for name, t in part.trials.groupby("subject", sort=False)}
    people = {PEOPLE: part.trials[part.trials["is_human"]]}
    return people | {name: by_name[name] for name in part.makers}


def entropy_rows(part: Part) -> list[dict[str, Any]]:
    """Compute the response entropy of each decision maker in each condition.

    Parameters
    ----------
    part : Part
        Trials.

    Returns
    -------
    list of dict
        Rows of scores; of people the mean over them.
    """
    rows = []
    for condition, table in part.trials.groupby("condition", sort=False):
        people = table[table["is_human"]]
        groups = {PEOPLE: [t for _, t in people.groupby("subject")]}
        groups |= {name: [table[table["subject"] == name]] for name in part.makers}
        for name, tables in groups.items():
            values = [response_entropy(t["response"], t["truth"]) for t in tables]
            rows.append(
                {
                    "model": name,
                    "metric": "response_entropy",
                    "condition": condition,
                    "value": float(np.mean(values)),
                    "n": len(tables[0]),
                    "unit": "bits",
                }
            )
    return rows


def bias_rows(part: Part, settings: Settings) -> list[dict[str, Any]]:
    """Compute shape biases of people, each person and each decision maker.

    Parameters
    ----------
    part : Part
        Trials with cue conflicts.
    settings : Settings
        How intervals are computed.

    Returns
    -------
    list of dict
        Rows of scores; of all people pooled, with an interval over people too.
    """
    tables: dict[tuple[str, str], pd.DataFrame] = {
        (name, name): table for name, table in answers_of(part).items()
    }
    humans = part.trials[part.trials["is_human"]]
    tables |= {(PEOPLE, str(s)): t for s, t in humans.groupby("subject", sort=False)}
    rows = []
    for (model, subject), table in tables.items():
        columns = (table["response"], table["truth"], table["texture"])
        found = asdict(shape_bias(*columns))
        for metric in ("shape_bias", "fraction_shape", "fraction_texture"):
            limits: dict[str, float] = {}
            if metric == "shape_bias" and settings.n_bootstrap:
                limits = _bias_limits(table, subject, settings)
            rows.append(
                {
                    "model": model,
                    "subject": subject,
                    "metric": metric,
                    "condition": ALL,
                    "value": found[metric],
                    "n": found["n_conflict"],
                    **limits,
                }
            )
    return rows


def _bias_limits(
    table: pd.DataFrame, subject: str, settings: Settings
) -> dict[str, float]:
    columns = (table["response"], table["truth"], table["texture"])
    kinds = {"images": "ci"} | ({"observers": "people_ci"} if subject == PEOPLE else {})
    limits: dict[str, float] = {}
    for over, prefix in kinds.items():
        low, high = shape_bias_interval(
            *columns,
            image_id=table["image_id"].tolist(),
            observer=table["subject"].tolist(),
            over=over,
            n_bootstrap=settings.n_bootstrap,
            seed=settings.seed,
        )
        limits |= {f"{prefix}_low": low, f"{prefix}_high": high}
    return limits


def bias_by_category(part: Part) -> pd.DataFrame:
    """Compute shape biases by category of the shape.

    Parameters
    ----------
    part : Part
        Trials with cue conflicts.

    Returns
    -------
    DataFrame
        As `analysis.shape_bias.shape_bias_by_category`, with `model`.
    """
    tables = [
        shape_bias_by_category(t["response"], t["truth"], t["texture"]).assign(
            model=name
        )
        for name, t in answers_of(part).items()
    ]
    return pd.concat(tables, ignore_index=True)


def confusions(part: Part) -> pd.DataFrame:
    """Count what is answered for what.

    Parameters
    ----------
    part : Part
        Trials.

    Returns
    -------
    DataFrame
        One row per decision maker, response ("na" included) and truth: `model`,
        `response`, `truth` and `percent` of the trials with that truth.
    """
    tables = []
    for name, trials in answers_of(part).items():
        table = confusion_of_responses(
            trials["response"], trials["truth"], with_na=True
        )
        long = table.melt(ignore_index=False, var_name="truth", value_name="percent")
        tables.append(long.reset_index(names="response").assign(model=name))
    return pd.concat(tables, ignore_index=True)
