"""Oddity with distorted pictures: whether a network sees more than local texture.

A picture is shown beside two versions that keep its parts and lose its structure. Who
goes by the whole finds the intact one; who goes by parts cannot.

References
----------
Li et al. (2025). From local cues to global percepts. No code was found; trials follow
the abstract, and details are choices.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.choices import SIMILARITIES, choose_odd
from analysis.disrt import disrt_scores
from neurovis.adapters.top_k import keep_top_k
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import sha256_json, write_table
from neurovis.core.log import progress
from neurovis.core.pictures import LazyPictures
from neurovis.core.provenance import code_fingerprint, collect
from neurovis.core.rng import generator
from neurovis.core.store import Store
from neurovis.core.types import Score
from stimuli.save import picture_hash
from tasks.directions import directions_table
from tasks.disrt_pictures import (
    DISTORTIONS,
    Condition,
    brighter,
    check_size,
    disrt_pictures,
    distorted_pairs,
)
from tasks.disrt_verdicts import disrt_directions
from tasks.picture_features import PictureModel, embed, picture_models, read_tokens
from tasks.runs import begin_run, check_same_run

TASK = "disrt"
VERSION = 1
"""Raised when the same call gives other numbers."""

Picture = NDArray[np.uint8]


def run_disrt(
    out: str | Path,
    *,
    models: str | Sequence[str] = "default",
    images: str | Path | None = None,
    distortions: str | Sequence[str] = "all",
    n_pictures: int = 16,
    size_px: int = 128,
    texture_pictures: int = 2,
    texture_steps: int = 2,
    similarity: str = "cosine",
    top_k: Sequence[float] = (),
    top_k_per: str = "token",
    n_bootstrap: int = 1000,
    store: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Let models pick the odd one of three pictures, and leave tables.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    out : str or Path
        Folder for ``trials.parquet``, ``scores.parquet``, ``directions.parquet`` and
        ``provenance.json``.
    models : str or sequence of str, default "default"
        Networks with layers, see `tasks.picture_features.picture_models`.
    images : str or Path, optional
        Folder of pictures, which are cut to their middle square; drawn objects by
        default.
    distortions : str or sequence of str, default "all"
        Of `DISTORTIONS`.
    n_pictures : int, default 16
        Pictures, >= 2; of a folder those spread evenly over it.
    size_px : int, default 128
        Side of the pictures; 16 must divide it.
    texture_pictures : int, default 2
        How many of them are also synthesised as textures ("texsyn"), >= 1.
    texture_steps : int, default 2
        Steps of that synthesis, see `tasks.texture_pictures.synthesise_pictures`.
    similarity : {"cosine", "pearson", "neg_euclidean", "dot"}
        Similarity of two pictures in a layer.
    top_k : sequence of float, optional
        Shares of the units that stay active, such as 0.05, 0.1, 0.2, 0.5: layers with
        places are then read once more, all other units at 0, as means over 3 x 3
        fields. What the rest of the network would make of it is not looked at.
    top_k_per : {"token", "channel"}
        Which units compete, see `neurovis.adapters.top_k.keep_top_k`.
    n_bootstrap : int, default 1000
        Resamples of the pictures.
    store : str or Path, optional
        Folder for features; ``out/parts/features`` by default.
    seed : int, default 0
        Seed of pictures, distortions, positions and resamples.
    device : str, default "auto"
        Where networks compute and textures are synthesised.

    Returns
    -------
    Score
        Table of `analysis.disrt.disrt_scores`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If pictures or weights are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    With default arguments it needs no data, no network and under a minute on one core.
    An oddity trial shows the intact picture and two distorted versions; a control
    trial the intact picture twice, once up to 5 % brighter or darker, and a distorted
    version. Chance is 1/3 in both. Ties count as wrong.
    """
    names = list(DISTORTIONS) if distortions == "all" else distortions
    chosen = [names] if isinstance(names, str) else list(names)
    for name in chosen:
        check_option("distortions", name, tuple(DISTORTIONS))
    if not chosen or len(set(chosen)) != len(chosen):
        raise ValueError(f"`distortions` must be different names; got {chosen}.")
    check_whole("n_pictures", n_pictures, low=2)
    check_whole("texture_pictures", texture_pictures, low=1)
    check_whole("texture_steps", texture_steps, low=1)
    check_whole("n_bootstrap", n_bootstrap, low=1)
    check_whole("seed", seed, low=0)
    check_option("similarity", similarity, SIMILARITIES)
    check_option("top_k_per", top_k_per, ("token", "channel"))
    shares = sorted({check_between("top_k", s, low=1e-6, high=1) for s in top_k})
    check_size(size_px, chosen)
    place = resolve(device)
    arguments: dict[str, Any] = {
        "task": TASK,
        "models": [models] if isinstance(models, str) else [str(m) for m in models],
        "images": None if images is None else str(Path(images).resolve()),
        "distortions": chosen,
        "n_pictures": n_pictures,
        "size_px": size_px,
        "texture_pictures": texture_pictures,
        "texture_steps": texture_steps,
        "similarity": similarity,
        "top_k": shares,
        "top_k_per": top_k_per,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    check_same_run(out, arguments)
    ids, pictures = disrt_pictures(images, n=n_pictures, size_px=size_px, seed=seed)
    loaded = picture_models(arguments["models"])
    folder = begin_run(out, arguments)
    kept = folder / "parts" / "features" if store is None else Path(store)
    conditions = [
        Condition(name, strength, texture_pictures if name == "texsyn" else len(ids))
        for name in chosen
        for strength in DISTORTIONS[name]
    ]
    shown = sha256_json([picture_hash(picture) for picture in pictures])
    parts = {
        **{"task": TASK, "version": VERSION, "code": code_fingerprint()},
        **{"pictures": shown, "ids": ids, "seed": seed, "similarity": similarity},
        **{"top_k": shares, "top_k_per": top_k_per, "steps": texture_steps},
    }
    results = Store(folder / "parts" / "trials")
    tables = []
    with (
        deterministic(),
        progress(len(conditions) * len(loaded), TASK, unit="block") as bar,
    ):
        read = functools.partial(
            _read_layers, shares=shares, per=top_k_per, device=place, store=kept
        )
        intact = {
            model.title: functools.cache(
                functools.partial(
                    read, model, [*pictures, *brighter(ids, pictures, seed)]
                )
            )
            for model in loaded
        }
        for condition in conditions:
            distorted = functools.cache(
                functools.partial(
                    distorted_pairs,
                    condition,
                    ids,
                    pictures,
                    texture_steps,
                    seed,
                    place,
                )
            )
            for model in loaded:

                def compute(
                    model: PictureModel = model,
                    condition: Condition = condition,
                    distorted: Any = distorted,
                ) -> pd.DataFrame:
                    return _answer(
                        condition,
                        ids,
                        intact[model.title](),
                        read(model, distorted()),
                        similarity,
                        seed,
                    )

                own = {
                    **parts,
                    "model": model.identity,
                    "condition": condition.name,
                    "n": condition.pictures,
                }
                found = results.get_or_compute(own, compute)
                told: dict[str, Any] = {
                    **{"task": TASK, "subject": model.title, "model": model.title},
                    **{"model_kind": model.kind, "untrained": model.untrained},
                }
                tables.append(found.assign(**told))
                bar.update()
    trials = pd.concat(tables, ignore_index=True)
    stimuli = f"{'drawings' if images is None else Path(images).name}:{shown[:12]}"
    table = disrt_scores(trials, stimuli=stimuli, n_bootstrap=n_bootstrap, seed=seed)
    write_table(folder / "trials.parquet", trials)
    rows = disrt_directions(trials, loaded, n_bootstrap, seed)
    write_table(folder / "directions.parquet", directions_table(rows))
    fingerprints = {f"model {m.title}": sha256_json(m.identity) for m in loaded}
    score = Score(
        table,
        collect(
            seed,
            device=place,
            fingerprints={"pictures": shown, **fingerprints},
            call=arguments,
            notes=_notes(loaded, images, chosen),
        ),
    )
    score.save(folder)
    return score


def _read_layers(
    model: PictureModel,
    pictures: Sequence[Picture],
    *,
    shares: Sequence[float],
    per: str,
    device: Any,
    store: Path,
) -> dict[tuple[str, float | None], NDArray[np.float32]]:
    """Return features by layer and share of active units (None: as they are)."""
    shown = LazyPictures(lambda picture: picture, list(pictures))
    found = embed(model, shown, device=device, store=store)
    features: dict[tuple[str, float | None], NDArray[np.float32]] = {
        (layer, None): rows for layer, rows in found.items()
    }
    if not shares or model.kind == "control":
        return features
    for layer, requests in model.layers.items():
        path = requests[0].partition(":")[0]
        if len(requests) > 1 or not path:
            continue
        tokens = read_tokens(model.backbone, shown, path, device=device, store=store)
        for share in dict.fromkeys([1.0, *shares]):
            features[layer, share] = _fields(keep_top_k(tokens, share, per=per))
    return features


def _fields(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average tokens over 3 x 3 fields."""
    rows = np.array_split(np.arange(tokens.shape[1]), 3)
    columns = np.array_split(np.arange(tokens.shape[2]), 3)
    parts = [
        tokens[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1].mean(axis=(1, 2))
        for r in rows
        for c in columns
        if len(r) and len(c)
    ]
    return np.concatenate(parts, axis=1)


def _answer(
    condition: Condition,
    ids: Sequence[str],
    intact: Mapping[tuple[str, float | None], NDArray[np.float32]],
    distorted: Mapping[tuple[str, float | None], NDArray[np.float32]],
    similarity: str,
    seed: int,
) -> pd.DataFrame:
    """Return the answers of a model to all trials of a condition."""
    n = min(condition.pictures, len(ids))
    tables = []
    for (layer, share), rows in intact.items():
        first, again = rows[:n], rows[len(ids) : len(ids) + n]
        one, two = distorted[layer, share][:n], distorted[layer, share][n:]
        for kind, items in (
            ("oddity", (first, one, two)),
            ("control", (one, first, again)),
        ):
            order = np.stack([_positions(kind, condition, i, seed) for i in ids[:n]])
            placed = np.take_along_axis(np.stack(items, 1), order[..., None], axis=1)
            choices = choose_odd(placed, similarity)
            truth = np.argmax(order == 0, axis=1)
            tables.append(
                pd.DataFrame(
                    {
                        "trial": np.arange(n),
                        "condition": condition.name,
                        "distortion": condition.distortion,
                        "strength": float(condition.strength),
                        "kind": kind,
                        "stimulus_id": list(ids[:n]),
                        "layer": layer,
                        "top_k": np.nan if share is None else share,
                        "truth": truth,
                        "response": choices.picked,
                        "correct": choices.picked == truth,
                        "rt_or_cost": 1 - choices.margin,
                        "seed": seed,
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def _positions(kind: str, condition: Condition, name: str, seed: int) -> NDArray[Any]:
    stream = generator(seed, "positions", kind, condition.name, name)
    return stream.permutation(3)


def _notes(
    models: Sequence[PictureModel], images: str | Path | None, distortions: list[str]
) -> list[str]:
    notes = [note for model in models for note in model.notes]
    if images is None:
        notes.append("Pictures are drawings of objects and food, not photographs.")
    if "texsyn" in distortions:
        notes.append(
            "texsyn: Portilla-Simoncelli statistics per principal axis of colour, few "
            "steps and few pictures; not part of the mean over conditions where it "
            "shows fewer pictures."
        )
    notes.append("Trials follow an abstract: distortions and strengths are choices.")
    return notes
