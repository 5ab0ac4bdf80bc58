"""Rows of the score table of the odd-one-out experiment."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from analysis.odd_one_out import (
    CHANCE,
    CHANCE_NLL,
    calibration_error,
    choice_probabilities,
    fit_temperature,
    odd_one_out_choices,
    pair_similarities,
)
from analysis.rsa import compare_rdms
from analysis.triplet_agreement import (
    TripletCeiling,
    category_choices,
    choice_agreement,
    share_of,
    triplet_ceiling,
)
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS
from tasks.odd_one_out_inputs import ObjectEmbedding, TripletData

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Row = dict[str, Any]

TASK = "odd-one-out"
EXTRA_COLUMNS = ("kind", "untrained")
SIMILARITIES = ("dot", "cosine")
MOST_TRIALS = 100_000
"""Triplets whose choices are written one by one."""


def score_row(model: str, metric: str, value: float, **known: Any) -> Row:
    """Make one row; what is not known is undefined.

    Parameters
    ----------
    model : str
        Whose score it is.
    metric : str
        What it is.
    value : float
        Its value.
    **known : object
        Other columns.

    Returns
    -------
    dict
        Columns of the table.
    """
    words = ("subject", "region", "layer", "condition", "unit", "ceiling_kind")
    row: Row = dict.fromkeys(SCORE_COLUMNS, np.nan) | dict.fromkeys(words, "")
    row |= {"model": model, "task": TASK, "metric": metric, "value": float(value)}
    row |= {"kind": "", "untrained": False, "n": 0}
    return row | known


def observer_rows(data: TripletData, n_bootstrap: int, seed: int) -> list[Row]:
    """Score observers against each other, categories, guessing, and the ceiling.

    Parameters
    ----------
    data : TripletData
        Choices.
    n_bootstrap : int
        Bootstrap samples of triplets.
    seed : int
        Seed of the samples.

    Returns
    -------
    list of dict
        Rows of the score table.
    """
    rows = []
    names = list(data.observers)
    for first, name in enumerate(names):
        for other in names[first + 1 :]:
            found = choice_agreement(
                data.observers[name],
                data.observers[other],
                n_bootstrap=n_bootstrap,
                seed=seed,
            )
            rows.append(
                score_row(other, "agreement", found.value, subject=name)
                | {"ci_low": found.ci_low, "ci_high": found.ci_high, "n": found.n}
                | {"kind": "observer", "unit": "share"}
            )
    for label, values in data.labels.items():
        for name in names:
            chosen = category_choices(values, data.observers[name])
            informative = chosen >= 0
            share = share_of(
                chosen[informative] == 2, n_bootstrap=n_bootstrap, seed=seed
            )
            rows.append(
                score_row(f"category {label}", "agreement_informative", share.value)
                | {"ci_low": share.ci_low, "ci_high": share.ci_high, "n": share.n}
                | {"subject": name, "kind": "category", "unit": "share"}
            )
    n = len(data.observers[data.reference])
    for metric, value in (("accuracy", CHANCE), ("nll", CHANCE_NLL)):
        rows.append(
            score_row("chance", metric, value, kind="chance", n=n)
            | {"subject": data.reference, "condition": "guessing"}
        )
    for name in names:
        ceiling = triplet_ceiling(data.observers[name])
        if ceiling.n_triplets:
            rows += [
                score_row(name, "noise_ceiling", value, subject=name, condition=bound)
                | {"kind": "observer", "n": ceiling.n_triplets, "unit": "share"}
                for bound, value in (("low", ceiling.low), ("high", ceiling.high))
            ]
    return rows


def embedding_rows(
    embedding: ObjectEmbedding,
    observers: Mapping[str, IntArray],
    n_bootstrap: int,
    seed: int,
) -> list[Row]:
    """Score an embedding on the choices of every observer.

    Parameters
    ----------
    embedding : ObjectEmbedding
        Features.
    observers : mapping of str to ndarray of int64, shape (n_triplets, 3)
        Choices.
    n_bootstrap : int
        Bootstrap samples of triplets.
    seed : int
        Seed of the samples and of the halves on which temperatures are fitted.

    Returns
    -------
    list of dict
        Accuracy by similarity; likelihood and calibration with the temperature 1 and
        with one that was fitted on the other half of the triplets.
    """
    rows = []
    own = {"kind": embedding.kind, "untrained": embedding.untrained}
    for name, triplets in observers.items():
        same: Row = {"subject": name, "n": len(triplets), **own}
        ceiling = triplet_ceiling(triplets)
        # With categories most triplets are ties; see `observer_rows`.
        kinds = () if embedding.kind == "category" else SIMILARITIES
        for kind in kinds:
            right = odd_one_out_choices(embedding.rows, triplets, kind) == 2
            share = share_of(right, n_bootstrap=n_bootstrap, seed=seed)
            row = score_row(embedding.name, "accuracy", share.value, condition=kind)
            limits = {"ci_low": share.ci_low, "ci_high": share.ci_high}
            rows.append(row | same | limits | _ceiling(share.value, ceiling))
        plain = choice_probabilities(embedding.rows, triplets)
        tuned, temperature = _tuned_probabilities(embedding.rows, triplets, seed)
        for condition, p in (("temperature 1", plain), ("temperature fitted", tuned)):
            if np.isnan(p).any():
                continue
            with np.errstate(divide="ignore"):  # a probability that is 0 in float64
                loss = -np.log(p[:, 0])
            half = 1.96 * loss.std() / np.sqrt(len(loss))
            row = score_row(embedding.name, "nll", loss.mean(), condition=condition)
            limits = {"ci_low": loss.mean() - half, "ci_high": loss.mean() + half}
            rows.append(row | same | limits | {"unit": "nats"})
            if kinds:
                error = calibration_error(p)
                row = score_row(embedding.name, "calibration_error", error)
                rows.append(row | same | {"condition": condition})
        row = score_row(embedding.name, "temperature", temperature)
        rows.append(row | same | {"condition": "temperature fitted"})
    return rows


def _ceiling(value: float, ceiling: TripletCeiling) -> Row:
    if not ceiling.n_triplets:
        return {}
    return {
        "ceiling_low": ceiling.low,
        "ceiling_high": ceiling.high,
        "ceiling_kind": "repeated triplets",
        "value_over_ceiling": value / ceiling.low,
    }


def _tuned_probabilities(
    rows: FloatArray, triplets: IntArray, seed: int
) -> tuple[FloatArray, float]:
    """Return probabilities under a temperature of the other half, and its mean."""
    order = generator(seed, "temperature halves").permutation(len(triplets))
    halves = order[::2], order[1::2]
    p = np.full((len(triplets), 3), np.nan)
    if not len(halves[1]):
        return p, float("nan")
    found = []
    for judged, fitted in (halves, halves[::-1]):
        temperature = fit_temperature(rows, triplets[fitted])
        found.append(temperature)
        if np.isfinite(temperature):
            logits = pair_similarities(rows, triplets[judged]) / temperature
            p[judged] = softmax(logits, axis=1)
    return p, float(np.mean(found))


def rsa_rows(matrices: Mapping[str, FloatArray], marks: Mapping[str, Row]) -> list[Row]:
    """Compare similarity matrices by Spearman's correlation over pairs of objects.

    Parameters
    ----------
    matrices : mapping of str to ndarray of float64, shape (n_objects, n_objects)
        Similarities.
    marks : mapping of str to dict
        Columns `kind` and `untrained` of each.

    Returns
    -------
    list of dict
        One row per pair of matrices.
    """
    names = list(matrices)
    if len(names) < 2:
        return []
    triangle = np.triu_indices(len(matrices[names[0]]), 1)
    vectors = np.stack([matrices[name][triangle] for name in names])
    r = compare_rdms(vectors, vectors, "spearman")
    return [
        score_row(name, "rsa_spearman", r[i, j], condition=names[j])
        | {"n": vectors.shape[1], **marks[name]}
        for i, name in enumerate(names)
        for j in range(i + 1, len(names))
    ]


def trial_table(
    data: TripletData, embeddings: list[ObjectEmbedding], seed: int
) -> pd.DataFrame:
    """Tell the choices of all observers and embeddings triplet by triplet.

    Parameters
    ----------
    data : TripletData
        Choices.
    embeddings : list of ObjectEmbedding
        Features.
    seed : int
        Seed of the run.

    Returns
    -------
    DataFrame
        One row per triplet and observer, of the first `MOST_TRIALS` triplets: `task`,
        `trial`, `condition` (similarity, or "choices"), `item_1` to `item_3` (indices
        in rising order), `truth` (the odd one of the first observer), `response`
        (index, -1 for a tie), `correct`, `rt_or_cost` (entropy of the probabilities of
        the pairs at the temperature 1, nats; NaN for data), `seed`, `subject`, `model`
        and `untrained`.
    """
    reference = data.observers[data.reference][:MOST_TRIALS]
    items = np.sort(reference, axis=1)
    base = pd.DataFrame(items, columns=["item_1", "item_2", "item_3"])
    base.insert(0, "trial", np.arange(len(base)))
    base["truth"] = reference[:, 2]
    base["seed"] = seed
    parts = []
    for name, rows in data.observers.items():
        chosen = rows[:MOST_TRIALS, 2]
        part = base.assign(response=chosen, rt_or_cost=np.nan, subject=name, model=name)
        parts.append(part.assign(condition="choices", untrained=False))
    for one in embeddings:
        p = choice_probabilities(one.rows, reference)
        cost = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
        for kind in SIMILARITIES[:1] if one.kind == "category" else SIMILARITIES:
            position = odd_one_out_choices(one.rows, reference, kind)
            taken = np.take_along_axis(reference, position[:, None], axis=1)[:, 0]
            part = base.assign(
                response=np.where(position < 0, -1, taken),
                rt_or_cost=cost if kind == "dot" else np.nan,
                subject=one.name,
                model=one.name,
            )
            parts.append(part.assign(condition=kind, untrained=one.untrained))
    table = pd.concat(parts, ignore_index=True).assign(task=TASK)
    table["correct"] = table["response"] == table["truth"]
    first = ["task", "trial", "condition", "item_1", "item_2", "item_3"]
    last = ["truth", "response", "correct", "rt_or_cost", "seed"]
    return table[[*first, *last, "subject", "model", "untrained"]]


def score_table(rows: list[Row], data: TripletData, seed: int) -> pd.DataFrame:
    """Put rows into the table of scores.

    Parameters
    ----------
    rows : list of dict
        Of the functions above.
    data : TripletData
        Choices.
    seed : int
        Seed of the run.

    Returns
    -------
    DataFrame
        `SCORE_COLUMNS`, then `EXTRA_COLUMNS`.
    """
    table = pd.DataFrame(rows).assign(seed=seed)
    # Choices of different people are different data: they are not averaged.
    whose = [f", choices of {name}" if name else "" for name in table["subject"]]
    table["stimuli"] = [f"{data.name}{text}" for text in whose]
    return table[[*SCORE_COLUMNS, *EXTRA_COLUMNS]]
