"""Low-level against high-level similarity: triplets of pictures, and who chooses how.

References
----------
Piriyajitakonkij, Itthipuripat, Ballard and Pappas (2024). What makes a face look like a
hat: decoupling low-level and high-level visual properties with image triplets.
arXiv:2409.02241
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from analysis.level_triplets import find_level_triplets, level_similarity
from data_loaders.picture_folder import open_picture_folder
from data_loaders.source_files import read_columns
from neurovis.core.checks import check_between, check_path, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file, sha256_json, write_table
from neurovis.core.provenance import collect
from neurovis.core.rng import generator
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS, Score
from stimuli.category_pictures import make_category_pictures
from tasks.level_triplets_scores import (
    TASK,
    agreement_rows,
    cell_table,
    level_directions,
    observer_rows,
)
from tasks.picture_features import PictureModel, Pictures, embed, picture_models
from tasks.runs import begin_run, check_same_run, save_run

NETWORK = "compact_vgg:stage2=stage2:flat,stage5=stage5:flat"
OBSERVERS = (
    "compact_vgg:stage1=stage1:flat,stage3=stage3:flat,stage4=stage4:flat",
    "untrained=compact_vgg@seeded:0:stage2=stage2:flat,stage5=stage5:flat",
    "image=control:pixels:pixels=pixels:flat",
)
"""Whose choices are scored by default, besides the two layers of the search."""

SIMULATED = "simulated"
TRUE_WEIGHTS = (0.0, 1.5, 0.75)
"""Bias and weights of the simulated observer."""

ANSWERS = 10
"""Times that it answers to each triplet."""

_ROLES = ("root", "i", "j")

SIZE_PX = 64
N_PICTURES = 200


def run_level_triplets(
    out: str | Path,
    *,
    network: str = NETWORK,
    observers: Sequence[str] = OBSERVERS,
    pictures: str | Path | None = None,
    n_pictures: int = N_PICTURES,
    n_loops: int = 20,
    n_roots: int = 20,
    tolerance: float = 0.01,
    people: str | Path | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Search triplets in two layers of a network and score who chooses how.

    A triplet is a root and two pictures; the question is which of them is more like
    the root. Interrupted, the run resumes when called again and ends with identical
    tables.

    Parameters
    ----------
    out : str or Path
        Folder for ``triplets.parquet``, ``trials.parquet``, ``scores.parquet``,
        ``cells.parquet`` (agreement with people), ``directions.parquet`` and
        ``provenance.json``.
    network : str, default `NETWORK`
        A network with two layers, the low one first, as
        `tasks.picture_features.picture_models` reads it. Of VGG-16 with batch norm,
        the published search takes ``features.27:flat,features.43:flat``.
    observers : sequence of str, default `OBSERVERS`
        Networks whose layers choose, each layer one observer.
    pictures : str or Path, optional
        Folder of pictures; by default drawings are made.
    n_pictures : int, default 200
        Number of drawings.
    n_loops : int, default 20
        As `analysis.level_triplets.find_level_triplets`.
    n_roots : int, default 20
        Roots tried for one pair of bins; the published search tries one, among about
        26 000 pictures.
    tolerance : float, default 0.01
        How far a difference may lie from what is wanted.
    people : str or Path, optional
        Table of choices (``.csv``, ``.csv.gz`` or ``.parquet``): `subject`, `triplet`
        (row of ``triplets.parquet``) and `response` ("i" or "j"). Run once without it
        to get the triplets that people are to see.
    n_bootstrap : int, default 1000
        Bootstrap samples of trials.
    seed : int, default 0
        Seed of drawings, search, simulated observer and bootstrap.
    device : str, default "auto"
        Where networks compute.

    Returns
    -------
    Score
        The table of ``scores.parquet``. Beside `SCORE_COLUMNS`: `kind` ("layer",
        "simulated", "people") and `untrained`. Metrics: `choice_high` (share of
        choices of the picture that is more alike in the high layer; conditions
        "conflict", "congruent", "all"), `weight_high`, `weight_low`, `weight_ratio`
        and `bias` of a logistic regression, and `agreement_people`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, no triplet is found, or `out` holds a run with other
        arguments.
    FileNotFoundError, DataCorruptError
        If pictures, weights or choices are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.
    """
    for name, value, least in (
        ("n_pictures", n_pictures, 3),
        ("n_loops", n_loops, 1),
        ("n_roots", n_roots, 1),
        ("n_bootstrap", n_bootstrap, 1),
        ("seed", seed, 0),
    ):
        check_whole(name, value, low=least)
    check_between("tolerance", tolerance, low=1e-9)
    place = resolve(device)
    source = picture_models([network])[0]
    if len(source.layers) != 2:
        raise ValueError(
            "`network` must name two layers, the low one first, such as "
            f"{NETWORK!r}; got {list(source.layers)}."
        )
    others = picture_models(observers) if observers else []
    if pictures is not None:
        check_path("pictures", pictures, kind="folder")
    marks = {}
    if people is not None:
        marks["people"] = sha256_file(check_path("people", people))
    arguments: dict[str, Any] = {
        "task": TASK,
        "network": network,
        "observers": list(observers),
        "pictures": None if pictures is None else str(Path(pictures).resolve()),
        "n_pictures": n_pictures,
        "n_loops": n_loops,
        "n_roots": n_roots,
        "tolerance": tolerance,
        "people": None if people is None else str(Path(people).resolve()),
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    check_same_run(out, arguments)
    shown, names, mark = open_pictures(pictures, n_pictures, seed)
    answers = None if people is None else _read_people(people)
    folder = begin_run(out, arguments)
    store = folder / "parts" / "features"
    with deterministic():
        levels = _similarities(source, shown, place, store)
        layers = list(levels)
        low, high = levels[layers[0]], levels[layers[1]]
        similar = {(source.title, k, source.untrained): v for k, v in levels.items()}
        for model in others:
            found = _similarities(model, shown, place, store)
            similar |= {(model.title, k, model.untrained): v for k, v in found.items()}
    # A picture without variation in a layer is like no other one there.
    kept = np.flatnonzero(np.isfinite(low.diagonal() + high.diagonal()))
    low, high = (matrix[np.ix_(kept, kept)] for matrix in (low, high))
    if len(kept) < 3:
        raise ValueError(
            f"Only {len(kept)} of {len(names)} pictures vary in both layers of "
            "`network`: 3 or more are needed."
        )
    triplets = find_level_triplets(
        high, low, n_loops=n_loops, n_roots=n_roots, tolerance=tolerance, seed=seed
    )
    triplets = triplets.assign(**{role: kept[triplets[role]] for role in _ROLES})
    if not len(triplets):
        raise ValueError(
            f"No triplet was found in {len(names)} pictures: give more pictures, or "
            "raise `tolerance`, `n_loops` or `n_roots`."
        )
    triplets = _named(triplets, names, seed)
    write_table(folder / "triplets.parquet", triplets)
    parts = [_layer_trials(triplets, matrix, *who) for who, matrix in similar.items()]
    sds = {"sd_high": float(high.std()), "sd_low": float(low.std())}
    parts.append(_simulated_trials(triplets, sds, seed))
    if answers is not None:
        parts += _people_trials(triplets, answers, str(people))
    trials = pd.concat(parts, ignore_index=True).assign(seed=seed)
    rows = []
    for _, part in trials.groupby(["subject", "layer"], sort=False):
        rows += observer_rows(part, sds, n_bootstrap, seed)
    cells = cell_table(trials)
    rows += agreement_rows(trials)
    table = pd.DataFrame(rows).assign(stimuli=f"pictures:{mark[:12]}", seed=seed)
    table = table[[*SCORE_COLUMNS, "kind", "untrained"]]
    write_table(folder / "cells.parquet", cells)
    write_table(folder / "directions.parquet", level_directions(table))
    models = {source.title: source, **{model.title: model for model in others}}
    notes = [note for model in models.values() for note in model.notes]
    if len(kept) < len(names):
        notes.append(
            f"{len(names) - len(kept)} pictures do not vary in a layer of the search "
            "and were left out."
        )
    notes.append(
        f"{SIMULATED}: an observer with the weights {TRUE_WEIGHTS[1]} (high) and "
        f"{TRUE_WEIGHTS[2]} (low), to show what the fit recovers."
    )
    if pictures is None:
        notes.append("The pictures are drawings of this suite, not photographs.")
    if people is None:
        notes.append("No choices of people were given, and none are public.")
    fingerprints = {f"model {k}": sha256_json(m.identity) for k, m in models.items()}
    score = Score(
        table,
        collect(
            seed,
            device=place,
            fingerprints={"pictures": mark, **marks, **fingerprints},
            call=arguments,
            notes=notes,
        ),
    )
    save_run(folder, trials=trials, score=score, fixations=None)
    return score


def open_pictures(
    pictures: str | Path | None, n_pictures: int, seed: int
) -> tuple[Pictures, list[str], str]:
    """Open a folder of pictures, or draw some.

    Parameters
    ----------
    pictures : str, Path or None
        Folder; None for drawings.
    n_pictures : int
        Number of drawings.
    seed : int
        Seed of the drawings.

    Returns
    -------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures.
    names : list of str
        Their identities.
    mark : str
        Hash of what they are.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder is missing or holds fewer than three pictures.
    """
    if pictures is None:
        drawn = make_category_pictures(n_pictures, size_px=SIZE_PX, seed=seed)
        shown = [drawn.load(i) for i in range(len(drawn))]
        return shown, drawn.table["stimulus_id"].tolist(), drawn.fingerprint
    found, labels = open_picture_folder(pictures)
    names = labels["stimulus_id"].tolist()
    if len(names) < 3:
        raise ValueError(
            f"`pictures` must hold 3 pictures or more; {pictures} has {len(names)}."
        )
    root = Path(pictures)
    mark = sha256_json([[name, sha256_file(root / name)] for name in names])
    return found, names, mark


def _similarities(
    model: PictureModel, pictures: Pictures, place: Any, store: Path
) -> dict[str, NDArray[np.float64]]:
    features = embed(model, pictures, device=place, store=store)
    return {layer: level_similarity(rows) for layer, rows in features.items()}


def _named(triplets: pd.DataFrame, names: list[str], seed: int) -> pd.DataFrame:
    """Add the identities of the pictures, and which one stands on the left."""
    named = triplets.assign(
        **{f"{role}_id": [names[k] for k in triplets[role]] for role in _ROLES}
    )
    left = generator(seed, "sides").random(len(triplets)) < 0.5
    named.insert(0, "triplet", np.arange(len(named)))
    return named.assign(left=np.where(left, "i", "j"))


def _read_people(path: str | Path) -> pd.DataFrame:
    kinds = {"subject": "text", "triplet": "whole", "response": "text"}
    table = read_columns(path, kinds)
    wrong = ~table["response"].isin(["i", "j"])
    if wrong.any() or not len(table):
        row = int(np.flatnonzero(wrong)[0]) if wrong.any() else 0
        raise DataCorruptError(
            f"{path} must have the response 'i' or 'j' in every row; row {row + 1} has "
            f"{table['response'].iloc[row]!r}."
            if len(table)
            else f"{path} has no row."
        )
    return table


# ------------------------------------------------------------------ trials


def _trials(
    triplets: pd.DataFrame, response: Any, cost: Any, **known: Any
) -> pd.DataFrame:
    """Return the trials of one observer.

    The truth is the picture that is more alike in both layers; in conflict triplets
    there is none.
    """
    parameters = ["root", "i", "j", "bin_high", "bin_low", "d_high", "d_low"]
    table = triplets[["triplet", *parameters, "conflict"]].reset_index(drop=True)
    conflict = table["conflict"].to_numpy(bool)
    table.insert(0, "trial", np.arange(len(table)))
    table = table.assign(
        task=TASK,
        condition=np.where(conflict, "conflict", "congruent"),
        truth=np.where(conflict, "", "j"),
        response=response,
        rt_or_cost=cost,
    )
    right = (table["response"] == table["truth"]).astype("boolean")
    table["correct"] = right.mask(conflict)
    return table.assign(**known)


def _layer_trials(
    triplets: pd.DataFrame,
    similarity: NDArray[np.float64],
    model: str,
    layer: str,
    untrained: bool,
) -> pd.DataFrame:
    """Let a layer choose; the cost is 1 less the margin of the two correlations."""
    root, i, j = (triplets[name].to_numpy() for name in ("root", "i", "j"))
    margin = similarity[root, j] - similarity[root, i]
    response = np.select([margin > 0, margin < 0], ["j", "i"], "")
    return _trials(
        triplets,
        response,
        1 - np.abs(margin),
        subject=f"{model} {layer}",
        model=model,
        layer=layer,
        kind="layer",
        untrained=untrained,
    )


def _simulated_trials(
    triplets: pd.DataFrame, sds: dict[str, float], seed: int
) -> pd.DataFrame:
    bias, high, low = TRUE_WEIGHTS
    triplets = pd.concat([triplets] * ANSWERS, ignore_index=True)
    drive = bias + high * triplets["d_high"] / sds["sd_high"]
    p = expit(drive + low * triplets["d_low"] / sds["sd_low"])
    draws = generator(seed, "simulated observer").random(len(triplets))
    known = {"subject": SIMULATED, "model": SIMULATED, "layer": ""}
    response = np.where(draws < p, "j", "i")
    return _trials(
        triplets, response, np.nan, **known, kind="simulated", untrained=False
    )


def _people_trials(
    triplets: pd.DataFrame, answers: pd.DataFrame, path: str
) -> list[pd.DataFrame]:
    outside = ~answers["triplet"].between(0, len(triplets) - 1)
    if outside.any():
        raise ValueError(
            f"`people` names the triplet {answers.loc[outside, 'triplet'].iloc[0]}, "
            f"but there are {len(triplets)}: {path} belongs to another search."
        )
    return [
        _trials(
            triplets.iloc[part["triplet"].to_numpy()],
            part["response"].to_numpy(),
            np.nan,
            subject=f"{HUMAN_MODEL} {subject}",
            model=HUMAN_MODEL,
            layer="",
            kind="people",
            untrained=False,
        )
        for subject, part in answers.groupby("subject", sort=True)
    ]
