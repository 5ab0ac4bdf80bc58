"""Tables of the report of a recognition run."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.plot_style import Look, number_text
from analysis.report import ReportTable
from neurovis.core.types import HUMAN_MODEL
from tasks.recognition_parts import ALL, PEOPLE
from tasks.report_parts import value_text
from tasks.runs import Run

# Printed name, and whether the interval stands beside it.
_COLUMNS = {
    "ood_accuracy": ("Accuracy", True),
    "accuracy_difference": ("Accuracy difference", False),
    "observed_consistency": ("Observed consistency", False),
    "error_consistency": ("Error consistency", True),
}


def group_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """Return rows of people together and of decision makers, over an experiment.

    Parameters
    ----------
    scores : DataFrame
        Scores of a run.

    Returns
    -------
    DataFrame
        Means over conditions; nobody's alone among people.
    """
    own = (scores["condition"] == ALL) & (
        (scores["model"] != HUMAN_MODEL) | (scores["subject"] == PEOPLE)
    )
    return scores[own]


def _observer(name: str, looks: Mapping[str, Look]) -> str:
    return looks[name].label if name in looks else name


def bias_table(run: Run, looks: Mapping[str, Look]) -> ReportTable:
    """Tabulate shape biases.

    Parameters
    ----------
    run : Run
        A finished run.
    looks : mapping of str to Look
        Names and looks of observers.

    Returns
    -------
    ReportTable
        One row per observer and part of the pictures.
    """
    rows = group_rows(run.scores)
    rows = rows[(rows["metric"] == "shape_bias") & ~rows["model"].isin(("chance",))]
    table = pd.DataFrame(
        [
            {
                "observer": _observer(row["model"], looks),
                "pictures": row["part"],
                "shape bias": value_text(row, 3),
                "over people": value_text(
                    {
                        "value": row["value"],
                        "ci_low": row["people_ci_low"],
                        "ci_high": row["people_ci_high"],
                    },
                    3,
                )
                if np.isfinite(row["people_ci_low"])
                else "–",
                "trials": int(row["n"]),
            }
            for row in rows.to_dict("records")
        ]
    )
    return ReportTable(
        table,
        caption="Shape bias with 95 % intervals over pictures; of people also over "
        "people. Trials are those with a conflict.",
        headers={
            "observer": "Observer",
            "pictures": "Pictures",
            "shape bias": "Shape bias [over pictures]",
            "over people": "[over people]",
            "trials": "Trials",
        },
    )


def agreement_table(run: Run, looks: Mapping[str, Look]) -> ReportTable:
    """Tabulate accuracy and consistency with people.

    Parameters
    ----------
    run : Run
        A finished run.
    looks : mapping of str to Look
        Names and looks of observers.

    Returns
    -------
    ReportTable
        One row per observer, in experiments with networks.
    """
    rows = group_rows(run.scores)
    wide = []
    for keys, own in rows.groupby(["stimuli", "part", "model"], sort=False):
        values = {row["metric"]: row for row in own.to_dict("records")}
        kappa = values.get("error_consistency")
        if kappa is None:
            continue
        shared = rows[(rows["stimuli"] == keys[0]) & (rows["part"] == keys[1])]
        # Experiments of people alone stand in the figure.
        if not set(shared["model"]) & set(looks) - {HUMAN_MODEL}:
            continue
        agreed = "observed_consistency", "expected_consistency"
        wide.append(
            {
                "pictures": kappa["stimuli"],
                "observer": _observer(str(keys[2]), looks),
                "accuracy": number_text(values["ood_accuracy"]["value"], 3),
                "agreed": " / ".join(
                    number_text(values[name]["value"], 3) for name in agreed
                ),
                "kappa": value_text(kappa, 3),
                "over people": " to ".join(
                    number_text(kappa[f"people_ci_{side}"], 3)
                    for side in ("low", "high")
                ),
                "null": f"±{number_text(kappa['null_high'], 3)}",
                "ceiling": number_text(kappa["ceiling_low"], 3),
            }
        )
    table = pd.DataFrame(wide)
    headers = {
        "pictures": "Pictures",
        "observer": "Observer",
        "accuracy": "Accuracy",
        "agreed": "Observed / expected",
        "kappa": "Kappa [over pictures]",
        "over people": "Over people",
        "null": "If independent",
        "ceiling": "People",
    }
    return ReportTable(
        table,
        caption="Agreement with people in experiments with networks: observed and "
        "expected consistency, kappa with 95 % intervals, what independent errors "
        "give, and people with each other on the same pictures. Baselines: chance "
        "answers at random, others know the shape or the texture only, or repeat what "
        "the first person said.",
        headers=headers if wide else {},
    )


def rank_tables(
    benchmark: pd.DataFrame, looks: Mapping[str, Look]
) -> list[ReportTable]:
    """Tabulate means over experiments, with ranks.

    Parameters
    ----------
    benchmark : DataFrame
        As ``benchmark.parquet``.
    looks : mapping of str to Look
        Names and looks of observers.

    Returns
    -------
    list of ReportTable
        One per set of experiments.
    """
    tables = []
    for scope, own in benchmark.groupby("scope", sort=False):
        rows = []
        for row in own.to_dict("records"):
            told = {"observer": _observer(row["model"], looks)}
            for metric, (name, with_limits) in _COLUMNS.items():
                sides = ("low", "high") if with_limits else ()
                limits = {f"ci_{side}": row[f"{metric}_ci_{side}"] for side in sides}
                empty = {"ci_low": np.nan, "ci_high": np.nan}
                told[name] = value_text({"value": row[metric], **empty, **limits}, 3)
            told["Mean rank"] = number_text(row["mean_rank"], 2)
            rows.append(told)
        tables.append(
            ReportTable(
                pd.DataFrame(rows),
                caption=f"Means over: {scope}.",
                headers={"observer": "Observer"},
            )
        )
    return tables


def direction_tables(directions: pd.DataFrame) -> list[ReportTable]:
    """Tabulate published claims.

    Parameters
    ----------
    directions : DataFrame
        As ``directions.parquet``.

    Returns
    -------
    list of ReportTable
        One table, or none without claims.
    """
    if directions.empty:
        return []
    rows = [
        {
            "claim": row["claim"],
            "network": str(row["model"]).partition("@")[0]
            + (" (untrained)" if row["untrained"] else ""),
            "difference": value_text(row | {"value": row["difference"]}, 2),
            "verdict": row["verdict"],
            "people": row["people"],
            "source": row["source"],
        }
        for row in directions.to_dict("records")
    ]
    return [
        ReportTable(
            pd.DataFrame(rows),
            caption="Every claim for every network.",
            headers={
                "claim": "Claim",
                "network": "Network",
                "difference": "Difference",
                "verdict": "Verdict",
                "people": "Published",
                "source": "Source",
            },
        )
    ]
