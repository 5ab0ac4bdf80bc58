"""Odd-one-out choices: embeddings and observers beside people.

References
----------
Hebart, Zheng, Pereira and Baker (2020). Nature Human Behaviour 4, 1173-1185.
doi:10.1038/s41562-020-00951-3. Muttenthaler et al. (2023). Human alignment of neural
network representations. ICLR. arXiv:2211.01201
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from analysis.odd_one_out import CHANCE, predicted_similarity
from analysis.stats import bootstrap_ci
from neurovis.core.array_files import write_array
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import sha256_bytes, sha256_json, write_table
from neurovis.core.provenance import code_fingerprint, collect
from neurovis.core.rng import generator
from neurovis.core.store import Store
from neurovis.core.types import Score
from neurovis.fitting.spose import choose_penalty
from neurovis.fitting.spose_loss import SposeSettings
from neurovis.fitting.triplet_alignment import cross_validate_alignment
from tasks.directions import Direction, direction_row, directions_table
from tasks.odd_one_out_inputs import (
    ObjectEmbedding,
    TripletData,
    load_embeddings,
    load_triplet_data,
)
from tasks.odd_one_out_scores import (
    MOST_TRIALS,
    TASK,
    embedding_rows,
    observer_rows,
    rsa_rows,
    score_row,
    score_table,
    trial_table,
)
from tasks.runs import begin_run, check_same_run, save_run

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

VERSION = 1
"""Raised when the same call gives other numbers."""

PENALTIES = (0.005, 0.01, 0.02, 0.05, 0.1)
MOST_OBJECTS = 4000
"""Objects up to which predicted similarities are computed: the time grows as n³."""

_SPOSE = "spose"
_TEST, _VALIDATION = 0.2, 0.1
_HEBART = "Hebart et al. (2020), doi:10.1038/s41562-020-00951-3"
_ABOVE_CHANCE = Direction(
    "choices above chance",
    "people agree with each other on 67 % of triplets (recalled, not verified)",
    _HEBART,
)
_GPT4 = Direction(
    "GPT-4 nearer to people than ChatGPT-3.5",
    "agreement with people 0.457 and 0.347 on 2171 triplets",
    "the data set; Du et al. (2024), arXiv:2407.01067",
)


def run_odd_one_out(
    out: str | Path,
    *,
    data: str | Path | Sequence[str | Path] | None = None,
    embeddings: Sequence[str | Path] = (),
    matrices: Sequence[str | Path] = (),
    spose: bool = False,
    penalties: Sequence[float] = PENALTIES,
    settings: SposeSettings | None = None,
    align: bool = False,
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Hold embeddings against odd-one-out choices, and leave tables.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    out : str or Path
        Folder for ``scores.parquet``, ``provenance.json``, ``trials.parquet``,
        ``directions.parquet`` and ``similarities/`` (matrices, with ``names.csv``);
        with `spose` also for
        ``spose.npy`` (the embedding), ``spose_curves.parquet`` and
        ``spose_penalties.parquet``.
    data : str, Path or sequence of these, optional
        Folder of the sample of THINGS (`data_loaders.things_triplets`), or files of
        choices, ``[NAME=]PATH``, one per observer, all about the same triplets; the
        first observer is whom embeddings are compared with first. By default choices
        of a known embedding are simulated.
    embeddings : sequence of str or Path, default ()
        ``[NAME=]PATH`` of numbers with one row per object, in the order of the
        indices. Categories that come with the data are embeddings too.
    matrices : sequence of str or Path, default ()
        ``[NAME=]PATH`` of other similarity matrices of all objects, to compare
        predicted similarities with.
    spose : bool, default False
        Fit an embedding to the choices of the first observer; a tenth of the triplets
        chooses the penalty, a fifth judges.
    penalties : sequence of float, default (0.005, 0.01, 0.02, 0.05, 0.1)
        Penalties of that fit.
    settings : SposeSettings, optional
        How it is fitted otherwise.
    align : bool, default False
        Learn a square matrix for each embedding, judged on objects that were not used
        (`neurovis.fitting.triplet_alignment`).
    n_bootstrap : int, default 1000
        Bootstrap samples of triplets.
    seed : int, default 0
        Seed of all draws.
    device : str, default "auto"
        Where embeddings are fitted.

    Returns
    -------
    Score
        The table of ``scores.parquet``. Beside `SCORE_COLUMNS`: `kind` ("observer",
        "embedding", "category", "simulated", "fitted", "chance") and `untrained`.
        Metrics: `agreement` of observers (`subject` is the other one);
        `agreement_informative` of categories (triplets in which exactly one pair
        shares one; in all others they are ties); `accuracy` of embeddings (condition:
        the similarity), `nll` and `calibration_error` (at the temperature 1, and one
        fitted on other triplets); `noise_ceiling` where triplets repeat;
        `rsa_spearman` of predicted similarities (condition: the other matrix).

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, files do not fit together, or `out` holds a run with
        other arguments.
    FileNotFoundError, DataCorruptError
        If a file is missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    Intervals are over triplets: they hold for new triplets of the same objects.
    """
    check_whole("n_bootstrap", n_bootstrap, low=1)
    check_whole("seed", seed, low=0)
    for name, flag in (("spose", spose), ("align", align)):
        check_option(name, flag, (True, False))
    for value in penalties:
        check_between("penalties", value, low=0)
    if spose and not len(penalties):
        raise ValueError("`penalties` is empty: give one or more.")
    place = resolve(device)
    settings = settings or SposeSettings()
    listed = [data] if isinstance(data, str | Path) else data
    arguments: dict[str, Any] = {
        "task": TASK,
        "data": None if listed is None else [str(one) for one in listed],
        "embeddings": [str(one) for one in embeddings],
        "matrices": [str(one) for one in matrices],
        "spose": spose,
        "penalties": [float(value) for value in penalties],
        "settings": asdict(settings),
        "align": align,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    check_same_run(out, arguments)
    found, given = load_embeddings(embeddings), load_embeddings(matrices)
    n_objects = len(found[0].rows) if found else None
    known = load_triplet_data(data, n_objects=n_objects, seed=seed)
    _check_inputs(known, found, given)
    reference = known.observers[known.reference]
    parts = split_triplets(reference, seed=seed)
    if spose and not all(map(len, parts)):
        raise ValueError("`spose` needs 10 different triplets or more.")
    folder = begin_run(out, arguments)
    models = [*known.embeddings, *found]
    store = Store(folder / "parts")
    key = {"task": TASK, "version": VERSION, "code": code_fingerprint()}
    data_mark = sha256_json(
        {name: sha256_bytes(r.tobytes()) for name, r in known.observers.items()}
    )
    rows = observer_rows(known, n_bootstrap, seed)
    notes = [*known.notes]
    with deterministic():
        for one in models:
            rows += embedding_rows(one, known.observers, n_bootstrap, seed)
            if align:
                part = {**key, "align": one.fingerprint, "data": data_mark}
                table = store.get_or_compute(
                    {**part, "seed": seed},
                    partial(_aligned, one, known, seed, place),
                )
                rows += _alignment_rows(one, known.reference, table)
        if spose:
            where = folder / "parts" / f"spose-{data_mark[:12]}"
            fit, table = choose_penalty(
                *parts[:2],
                penalties,
                n_objects=known.n_objects,
                settings=settings,
                seed=seed,
                device=place,
                folder=where,
            )
            write_array(folder / "spose.npy", fit.embedding)
            write_table(folder / "spose_curves.parquet", fit.curves)
            write_table(folder / "spose_penalties.parquet", table)
            models.append(_fitted_embedding(fit.embedding))
            rows += _spose_rows(models[-1], table, parts, known, n_bootstrap, seed)
    similar = _similarities(models, known.n_objects, store, key)
    similar |= {one.name: one.rows for one in given}
    marks = {m.name: {"kind": m.kind, "untrained": m.untrained} for m in models}
    marks |= {m.name: {"kind": "matrix", "untrained": False} for m in given}
    rows += rsa_rows(similar, marks)
    if known.n_objects > MOST_OBJECTS:
        notes.append(
            f"No predicted similarities: {known.n_objects} objects are more than "
            f"{MOST_OBJECTS}."
        )
    if len(known.observers[known.reference]) > MOST_TRIALS:
        notes.append(f"trials.parquet has the first {MOST_TRIALS} triplets only.")
    # The fitted embedding knows most of these choices: it has no trials of its own.
    shown = [one for one in models if one.kind != "fitted"]
    trials = trial_table(known, shown, seed)
    table = score_table(rows, known, seed)
    write_table(folder / "directions.parquet", _directions(table, known, seed))
    _write_matrices(folder, similar)
    provenance = collect(
        seed,
        device=place,
        fingerprints={
            **known.fingerprints,
            **{f"embedding {one.name}": one.fingerprint for one in models},
            **{f"matrix {one.name}": one.fingerprint for one in given},
        },
        call=arguments,
        notes=notes,
    )
    score = Score(table, provenance)
    save_run(folder, trials=trials, score=score, fixations=None)
    return score


def _check_inputs(
    data: TripletData,
    embeddings: Sequence[ObjectEmbedding],
    matrices: Sequence[ObjectEmbedding],
) -> None:
    names = [one.name for one in (*data.embeddings, *embeddings, *matrices)]
    taken = {*data.observers, "chance", "human", _SPOSE}
    for name in names:
        if names.count(name) > 1 or name in taken:
            raise ValueError(
                f"The name {name!r} is taken twice or stands for an observer: write "
                "NAME=PATH to give another one."
            )
    for one in embeddings:
        if len(one.rows) != data.n_objects:
            raise ValueError(
                f"`embeddings` {one.name!r} has {len(one.rows)} rows, but there are "
                f"{data.n_objects} objects: one row per object is needed, in the order "
                "of the indices."
            )
    for one in matrices:
        if one.rows.shape != (data.n_objects, data.n_objects):
            raise ValueError(
                f"`matrices` {one.name!r} must have shape "
                f"({data.n_objects}, {data.n_objects}); got {one.rows.shape}."
            )


def _similarities(
    models: Sequence[ObjectEmbedding],
    n_objects: int,
    store: Store,
    key: dict[str, Any],
) -> dict[str, FloatArray]:
    """Return predicted similarities, from the store when they are there."""
    if n_objects > MOST_OBJECTS:
        return {}

    def compute(rows: FloatArray) -> dict[str, FloatArray]:
        return {"similarity": predicted_similarity(rows)}

    return {
        one.name: store.get_or_compute(
            {**key, "similarity": one.fingerprint}, partial(compute, one.rows)
        )["similarity"]
        for one in models
    }


def _write_matrices(folder: Path, matrices: dict[str, FloatArray]) -> None:
    for number, name in enumerate(matrices):
        values = matrices[name].astype(np.float32)
        write_array(folder / "similarities" / f"{number:02d}.npy", values)
    names = pd.DataFrame({"file": range(len(matrices)), "name": list(matrices)})
    names["file"] = names["file"].map("{:02d}.npy".format)
    write_table(folder / "similarities" / "names.csv", names)


# ------------------------------------------------------------------- fits


def split_triplets(
    triplets: IntArray, *, seed: int = 0
) -> tuple[IntArray, IntArray, IntArray]:
    """Divide choices into those to learn from, to choose by, and to judge on.

    Parameters
    ----------
    triplets : ndarray of int64, shape (n_triplets, 3)
        Choices.
    seed : int, default 0
        Seed of the division.

    Returns
    -------
    train, validation, test : ndarray of int64, shape (n, 3)
        About 70, 10 and 20 % of the different triplets, each with all its answers.

    Examples
    --------
    >>> rows = np.array([[0, 1, n] for n in range(2, 102)])
    >>> [len(part) for part in split_triplets(rows)]
    [70, 10, 20]
    """
    ordered = np.sort(triplets, axis=1)
    _, which = np.unique(ordered, axis=0, return_inverse=True)
    which = which.reshape(-1)
    n = int(which.max()) + 1
    rank = generator(seed, "triplet parts").permutation(n)[which]
    test, validation = round(_TEST * n), round((_TEST + _VALIDATION) * n)
    part = np.digitize(rank, [test, validation])
    return triplets[part == 2], triplets[part == 1], triplets[part == 0]


def _fitted_embedding(values: FloatArray) -> ObjectEmbedding:
    # Where the penalty left nothing, all similarities are 0.
    rows = values if values.shape[1] else np.zeros((len(values), 1))
    return ObjectEmbedding(_SPOSE, rows, "fitted")


def _spose_rows(
    embedding: ObjectEmbedding,
    table: pd.DataFrame,
    parts: tuple[IntArray, IntArray, IntArray],
    data: TripletData,
    n_bootstrap: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Judge the fit on the choices that it has not seen."""
    judged = {data.reference: parts[2]}
    rows = [
        row | {"condition": f"{row['condition']}, held-out triplets"}
        for row in embedding_rows(embedding, judged, n_bootstrap, seed)
    ]
    counts = {"n": len(parts[0]), "subject": data.reference, "kind": "fitted"}
    chosen = table[table["chosen"]].iloc[0]
    return rows + [
        score_row(_SPOSE, metric, float(chosen[metric])) | counts
        for metric in ("n_dimensions", "penalty")
    ]


def _aligned(
    one: ObjectEmbedding, data: TripletData, seed: int, place: torch.device
) -> pd.DataFrame:
    rows = data.observers[data.reference]
    return cross_validate_alignment(one.rows, rows, seed=seed, device=place)


def _alignment_rows(
    one: ObjectEmbedding, reference: str, table: pd.DataFrame
) -> list[dict[str, Any]]:
    """Pool the folds, weighted with their test triplets."""
    tested = table[table["accuracy"].notna()]
    n = int(tested["n_test"].sum())
    rows = []
    for metric, column, condition in (
        ("accuracy", "accuracy", "aligned, held-out objects"),
        ("accuracy", "accuracy_before", "dot, the same triplets"),
        ("nll", "nll", "aligned, held-out objects"),
    ):
        value, limits = float("nan"), (float("nan"), float("nan"))
        if n:
            value = float(np.average(tested[column], weights=tested["n_test"]))
            if metric == "accuracy":
                half = 1.96 * np.sqrt(value * (1 - value) / n)
                limits = (value - half, value + half)
        rows.append(
            score_row(one.name, metric, value, condition=condition, n=n)
            | {"ci_low": limits[0], "ci_high": limits[1], "subject": reference}
            | {"kind": one.kind, "untrained": one.untrained}
        )
    return rows


# ------------------------------------------------------------- directions


def _directions(scores: pd.DataFrame, data: TripletData, seed: int) -> pd.DataFrame:
    # With categories most triplets are ties, which count as wrong.
    accuracy = scores[
        (scores["metric"] == "accuracy")
        & (scores["subject"] == data.reference)
        & scores["condition"].isin(["dot", "dot, held-out triplets"])
        & ~scores["kind"].isin(["category", "chance"])
    ]
    above = _ABOVE_CHANCE
    if "people" not in data.observers:
        above = replace(above, people=f"{above.people}; here: {data.reference}")
    rows = [
        direction_row(
            above,
            model=row["model"],
            value=row["value"] - CHANCE,
            interval=(row["ci_low"] - CHANCE, row["ci_high"] - CHANCE),
            untrained=row["untrained"],
            n=row["n"],
        )
        for row in accuracy.to_dict("records")
    ]
    if {"people", "gpt4", "chatgpt3.5"} <= set(data.observers):
        truth = data.observers["people"][:, 2]
        right = {
            name: data.observers[name][:, 2] == truth for name in ("gpt4", "chatgpt3.5")
        }
        difference = right["gpt4"].astype(float) - right["chatgpt3.5"]
        rng = generator(seed, "language models")
        rows.append(
            direction_row(
                _GPT4,
                model="gpt4",
                value=float(difference.mean()),
                interval=bootstrap_ci(difference, rng=rng),
                n=len(truth),
            )
        )
    return directions_table(rows)
