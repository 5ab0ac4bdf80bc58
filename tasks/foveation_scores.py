"""Accuracies, central biases, and which of the published directions hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.classification import (
    accuracy_table,
    confusion_matrix,
    hits_at,
)
from analysis.crossed_runs import bootstrap_hits, paired_values
from analysis.cue_conflict import central_bias, central_bias_difference
from analysis.multiple_tests import fdr_adjusted
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS

CELL = ("experiment", "system", "epoch", "condition", "level", "value")
CONFLICTS = ("window-conflict", "square-conflict")
FAMILIES = ("high-pass", "low-pass")
EQUAL_WITHIN = 0.05
"""Accuracies that differ by less count as equal in a claim of equality."""
PLOTTED_OCCLUSION = range(2, 9)
"""Levels of occlusion that are published, without the one that hides nothing."""


@dataclass(frozen=True)
class Claim:
    """One direction that Deza and Konkle (2020) report.

    Parameters
    ----------
    number : str
        Short name.
    text : str
        What is claimed, with the systems.
    experiment : str
        From which experiment.
    first, second : str
        Systems that are compared.
    measure : str
        "iid", "high-pass", "low-pass", "occlusion" or "cross-over".
    expected : int
        Sign of the difference of the first and the second; 0: no difference.
    """

    number: str
    text: str
    experiment: str
    first: str
    second: str
    measure: str
    expected: int


def published_claims() -> list[Claim]:
    """Return the directions of the paper's abstract, one comparison each.

    Returns
    -------
    list of Claim
        In the order of the abstract.

    References
    ----------
    Deza and Konkle (2020). arXiv:2006.07991.
    """
    rest = ("reference", "uniform-blur", "foveated-blur")
    texts = {
        "iid": "own test pictures: {0} is as accurate as {1}",
        "high-pass": "high-pass pictures: {0} loses less than {1}",
        "low-pass": "low-pass pictures: {0} loses more than {1}",
        "occlusion": "occluded pictures: {0} is more accurate than {1}",
    }
    equal = texts["iid"].format("texture", "reference")
    claims = [
        Claim("1a", equal, "generalisation", "texture", "reference", "iid", 0),
    ]
    for other in rest[1:]:
        text = f"own test pictures: texture is more accurate than {other}"
        claims.append(Claim("1b", text, "generalisation", "texture", other, "iid", 1))
    for number, measure, experiment, sign in (
        ("2a", "high-pass", "spatial-frequency", 1),
        ("2b", "low-pass", "spatial-frequency", -1),
        ("2c", "occlusion", "occlusion", 1),
    ):
        for other in rest:
            text = texts[measure].format("texture", other)
            claims.append(
                Claim(number, text, experiment, "texture", other, measure, sign)
            )
    for number, experiment in (("3a", CONFLICTS[0]), ("3b", CONFLICTS[1])):
        for first in ("texture", "foveated-blur"):
            for other in ("reference", "uniform-blur"):
                word = experiment.partition("-")[0]
                text = f"{word} cue conflict: {first} has a stronger centre bias than "
                text += other
                claims.append(
                    Claim(number, text, experiment, first, other, "cross-over", -1)
                )
    return claims


def accuracies(
    answers: pd.DataFrame, n_classes: int, *, k: int, n_bootstrap: int, seed: int
) -> pd.DataFrame:
    """Return accuracies of all cells with intervals over runs and pictures.

    Parameters
    ----------
    answers : DataFrame
        Table of answers, see `tasks.foveation_predictions.COLUMNS`.
    n_classes : int
        Number of classes.
    k : int
        Guesses that count.
    n_bootstrap : int
        Resamples.
    seed : int
        Seed of these.

    Returns
    -------
    DataFrame
        `CELL`, `k`, and what `analysis.classification.accuracy_table` gives.
    """
    over = _over(answers)
    table = accuracy_table(
        answers,
        k=k,
        n_classes=n_classes,
        by=CELL,
        over=over,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    table.insert(len(CELL), "k", k)
    return table


def confusions(answers: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return who is taken for whom, for every pair of training and test.

    Parameters
    ----------
    answers : DataFrame
        Answers of the experiment "generalisation".
    classes : sequence of str
        Names of the classes.

    Returns
    -------
    DataFrame
        `system`, `epoch`, `condition`, `label`, `predicted` (names) and `share` of
        the pictures of the label, over all runs.
    """
    rows = []
    keys = ["system", "epoch", "condition"]
    for (system, epoch, condition), part in answers.groupby(keys, sort=False):
        matrix = confusion_matrix(part, range(len(classes)), share=True)
        values = np.asarray(matrix, np.float64)
        for i, j in np.ndindex(values.shape):
            rows.append(
                (system, epoch, condition, classes[i], classes[j], values[i, j])
            )
    names = ["system", "epoch", "condition", "label", "predicted", "share"]
    return pd.DataFrame(rows, columns=names)


def as_conflicts(answers: pd.DataFrame) -> pd.DataFrame:
    """Name the columns of answers as `analysis.cue_conflict` has them.

    Parameters
    ----------
    answers : DataFrame
        Answers of one cue-conflict experiment.

    Returns
    -------
    DataFrame
        With `foveal_weight`, `peripheral_label` and `foveal_label`. Of levels of one
        weight, as small pictures have them, the first one: their pictures are equal.
    """
    same = ["system", "run", "epoch", "experiment", "value", "stimulus_id"]
    answers = answers.drop_duplicates(same)
    names = {
        "value": "foveal_weight",
        "label": "peripheral_label",
        "other": "foveal_label",
    }
    return answers.rename(columns=names)


def biases(answers: pd.DataFrame, *, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Return the cross-overs of all systems in both cue conflicts.

    Parameters
    ----------
    answers : DataFrame
        Answers of the cue-conflict experiments.
    n_bootstrap : int
        Resamples.
    seed : int
        Seed of these.

    Returns
    -------
    DataFrame
        `experiment`, `epoch`, and what `analysis.cue_conflict.central_bias` gives.
    """
    over = _over(answers)
    parts = []
    for (experiment, epoch), part in answers.groupby(
        ["experiment", "epoch"], sort=False
    ):
        found = central_bias(
            as_conflicts(part), over=over, n_bootstrap=n_bootstrap, seed=seed
        )
        found["experiment"], found["epoch"] = str(experiment), int(str(epoch))
        parts.append(found)
    return pd.concat(parts, ignore_index=True)


def directions(
    answers: pd.DataFrame, size_px: int, *, n_bootstrap: int, seed: int
) -> pd.DataFrame:
    """Ask which of the published directions hold for these systems.

    Parameters
    ----------
    answers : DataFrame
        Answers to all experiments that were run, of one epoch.
    size_px : int
        Side of the pictures. Filters whose cut-off lies beyond what such pictures can
        hold (half a cycle per pixel) do nothing or leave nothing: they do not count.
    n_bootstrap : int
        Resamples.
    seed : int
        Seed of these.

    Returns
    -------
    DataFrame
        One row per claim for which there are systems and experiments: `number`,
        `claim`, `experiment`, `first`, `second`, `measure`, `expected`, `difference`,
        `ci_low`, `ci_high` (95 %, over runs and pictures), `p_value`, `p_fdr` (over
        all claims), `n_images`, `n_runs` and `verdict`: "holds" or "reversed" when
        the interval lies on one side of 0, else "undecided". Of a claim of equality:
        "holds" when the interval lies within `EQUAL_WITHIN` of 0, "fails" when it
        leaves out 0 and reaches further, else "undecided".
    """
    systems = set(answers["system"])
    experiments = set(answers["experiment"])
    rows = []
    for claim in published_claims():
        if {claim.first, claim.second} <= systems and claim.experiment in experiments:
            part = answers[answers["experiment"] == claim.experiment]
            if claim.measure in FAMILIES and not _seen(part, claim, size_px / 2).any():
                continue
            found = _compare(part, claim, size_px / 2, n_bootstrap, seed)
            rows.append(
                {
                    "number": claim.number,
                    "claim": claim.text,
                    "experiment": claim.experiment,
                    "first": claim.first,
                    "second": claim.second,
                    "measure": claim.measure,
                    "expected": claim.expected,
                    **found,
                    "verdict": _verdict(claim.expected, found),
                }
            )
    table = pd.DataFrame(rows)
    if len(table):
        place = table.columns.get_loc("p_value")
        assert isinstance(place, int)
        table.insert(place + 1, "p_fdr", fdr_adjusted(table["p_value"]))
    return table


def _over(answers: pd.DataFrame) -> str:
    return "both" if len(answers["run"].unique()) > 1 else "images"


def _verdict(expected: int, found: dict[str, Any]) -> str:
    low, high = found["ci_low"], found["ci_high"]
    if not (np.isfinite(low) and np.isfinite(high)):
        return "undecided"
    if expected == 0:
        if max(-low, high) <= EQUAL_WITHIN:
            return "holds"
        return "fails" if low > 0 or high < 0 else "undecided"
    if low <= 0 <= high:
        return "undecided"
    return "holds" if np.sign(found["difference"]) == expected else "reversed"


def _compare(
    answers: pd.DataFrame, claim: Claim, highest: float, n_bootstrap: int, seed: int
) -> dict[str, Any]:
    over = _over(answers)
    pair = (claim.first, claim.second)
    if claim.measure == "cross-over":
        table = central_bias_difference(
            as_conflicts(answers), *pair, over=over, n_bootstrap=n_bootstrap, seed=seed
        )
        names = ("difference", "ci_low", "ci_high", "p_value", "n_images", "n_runs")
        return {name: table[name].iloc[0] for name in names}
    values = paired_values(_measured(answers, claim, highest), "measured", pair)
    rng = generator(seed, "direction", claim.number, *pair)
    found = bootstrap_hits(values, over, n_bootstrap, rng).contrast([1, -1])
    low, high = found.interval(level=0.95)
    return {
        "difference": float(found.estimate),
        "ci_low": float(low),
        "ci_high": float(high),
        "p_value": float(found.p_value()),
        "n_images": values.shape[0],
        "n_runs": values.shape[1],
    }


def _measured(answers: pd.DataFrame, claim: Claim, highest: float) -> pd.DataFrame:
    """Return one number per picture, run and system, whose mean is compared.

    `highest` is the largest frequency that the pictures hold, in cycles per picture.
    """
    mine = answers[answers["system"].isin([claim.first, claim.second])]
    table = mine.assign(hit=hits_at(mine).astype(np.float64))
    keys = ["system", "run", "stimulus_id"]
    if claim.measure == "iid":
        own = table[table["condition"] == table["system"]]
        return own.rename(columns={"hit": "measured"})[[*keys, "measured"]]
    if claim.measure == "occlusion":
        some = table[table["level"].isin(PLOTTED_OCCLUSION)]
        return _mean_of(some, keys)
    family = table[table["condition"] == claim.measure]
    # What is lost against the same picture without a filter.
    filtered = _mean_of(family[_seen(family, claim, highest)], keys)
    whole = _mean_of(family[family["level"] == 1], keys)
    joined = filtered.merge(whole, on=keys, suffixes=("", "_whole"))
    lost = joined["measured"] - joined["measured_whole"]
    return joined[keys].assign(measured=lost)


def _seen(answers: pd.DataFrame, claim: Claim, highest: float) -> pd.Series:
    """Tell which rows are of a filter that changes such pictures and leaves some."""
    return (answers["condition"] == claim.measure) & (answers["value"] < highest)


def _mean_of(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    means = table.groupby(keys, sort=False)["hit"].mean()
    return means.rename("measured").reset_index()


def score_rows(
    accuracy: pd.DataFrame, bias: pd.DataFrame, *, stimuli: str, task: str, seed: int
) -> pd.DataFrame:
    """Bring accuracies and cross-overs into the common form of scores.

    Parameters
    ----------
    accuracy : DataFrame
        What `accuracies` returns, of one or more k.
    bias : DataFrame
        What `biases` returns; may be empty.
    stimuli, task : str
        Values of these columns.
    seed : int
        Likewise.

    Returns
    -------
    DataFrame
        The common columns of scores, then `experiment`, `level`, `epoch`, `x`,
        `chance` and `n_runs`.
    """
    parts = [
        pd.DataFrame(
            {
                "model": accuracy["system"],
                "metric": "top" + accuracy["k"].astype(str) + "_accuracy",
                "condition": accuracy["condition"],
                "value": accuracy["accuracy"],
                "ci_low": accuracy["ci_low"],
                "ci_high": accuracy["ci_high"],
                "n": accuracy["n_images"],
                "unit": "share",
                "experiment": accuracy["experiment"],
                "level": accuracy["level"],
                "epoch": accuracy["epoch"],
                "x": accuracy["value"],
                "chance": accuracy["chance"],
                "n_runs": accuracy["n_runs"],
            }
        )
    ]
    if len(bias):
        parts.append(
            pd.DataFrame(
                {
                    "model": bias["system"],
                    "metric": "cross_over",
                    "condition": bias["experiment"].str.partition("-")[0],
                    "value": bias["cross_over"],
                    "ci_low": bias["ci_low"],
                    "ci_high": bias["ci_high"],
                    "n": bias["n_images"],
                    "unit": "share of the picture",
                    "experiment": bias["experiment"],
                    "level": 0,
                    "epoch": bias["epoch"],
                    "x": np.nan,
                    "chance": np.nan,
                    "n_runs": bias["n_runs"],
                }
            )
        )
    table = pd.concat(parts, ignore_index=True).assign(
        stimuli=stimuli, task=task, seed=seed
    )
    table[["subject", "region", "layer", "ceiling_kind"]] = ""
    table[["ceiling_low", "ceiling_high", "value_over_ceiling"]] = np.nan
    own = [name for name in table.columns if name not in SCORE_COLUMNS]
    return table[[*SCORE_COLUMNS, *own]]


def majority_accuracy(train: NDArray[np.int64], test: NDArray[np.int64]) -> float:
    """Return the accuracy of always naming the commonest class of training.

    Parameters
    ----------
    train, test : ndarray of int64
        Classes from 0.

    Returns
    -------
    float
        Share of the test pictures, 0..1.

    Examples
    --------
    >>> majority_accuracy(np.array([0, 1, 1]), np.array([0, 1, 1, 1]))
    0.75
    """
    return float((test == np.bincount(train).argmax()).mean())
