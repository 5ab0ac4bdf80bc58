"""Attentive probing: what queries that look at tokens gain over a linear probe.

References
----------
Psomas et al. (2025). Attention, please! Revisiting attentive probing through the lens
of efficiency. ICLR. arXiv:2506.10178
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.linear_readout import fit_linear_readout
from analysis.nearest_neighbours import predict_by_neighbours
from data_loaders.class_folders import open_class_folder
from data_loaders.class_pictures import WHOLE
from neurovis.adapters.features import extract_features, fingerprint_pictures
from neurovis.core.checks import check_between, check_path, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain, sha256_json, write_table
from neurovis.core.log import progress
from neurovis.core.provenance import code_fingerprint, collect
from neurovis.core.rng import generator
from neurovis.core.store import Store
from neurovis.core.types import SCORE_COLUMNS, Score
from neurovis.fitting.efficient_probe import EfficientProbeSettings, map_similarity
from neurovis.fitting.efficient_probe_fit import (
    choose_efficient_probe,
    fit_efficient_probe,
)
from stimuli.category_pictures import make_category_pictures
from tasks.attentive_probing_scores import PROBES, probe_scores
from tasks.directions import directions_table
from tasks.feature_specs import FeatureSpec
from tasks.gestalt_reading import observe
from tasks.picture_features import PictureModel, picture_models, read_tokens
from tasks.runs import begin_run, check_same_run, save_run

TASK = "attentive-probing"

VERSION = 1
"""Raised when the same call gives other numbers."""

DEFAULT_MODELS = (
    "compact_vgg:stage5",
    "untrained=compact_vgg@seeded:0:stage5",
)
"""The network that comes with weights, and the same untrained."""

NOTES = (
    "Learning rate, weight decay and penalties are chosen within training pictures.",
    "Intervals are over tested pictures and over seeds of the heads, resampled "
    "together; with few seeds they say little about seeds.",
    "Heads are fitted by AdamW on a small set; published numbers are of ImageNet-1k.",
)

_SIZE_PX = 128
_OWN = ("kind", "untrained", "probe", "n_parameters", "chance")


def run_attentive_probing(
    out: str | Path,
    *,
    models: str | Sequence[str | FeatureSpec] = DEFAULT_MODELS,
    data: str | Path | None = None,
    n_pictures: int = 300,
    test_share: float = 0.3,
    n_queries: int = 32,
    reduction: int = 1,
    n_epochs: int = 30,
    n_seeds: int = 2,
    n_neighbours: int = 20,
    n_bootstrap: int = 1000,
    resize: str | None = "squash",
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Classify pictures from frozen tokens in three ways and leave tables in a folder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    out : str or Path
        Folder for ``trials.parquet``, ``scores.parquet``, ``choices.parquet`` (rates
        and decays that were tried), ``attention.parquet``, ``directions.parquet`` and
        ``provenance.json``.
    models : str or sequence of str or FeatureSpec, default `DEFAULT_MODELS`
        Networks with layers that have places, as
        `tasks.picture_features.picture_models` reads them; "default" stands for
        `DEFAULT_MODELS`.
    data : str or Path, optional
        Pictures with classes, see `data_loaders.class_folders.open_class_folder`; by
        default drawings of six categories.
    n_pictures : int, default 300
        Number of drawings.
    test_share : float, default 0.3
        Share of each class that is tested where a set has no test part.
    n_queries : int, default 32
        Queries of the head; must divide the channels over `reduction`.
    reduction : int, default 1
        Factor by which the value projection has fewer channels.
    n_epochs : int, default 30
        Passes of each fit of the head.
    n_seeds : int, default 2
        Heads that are fitted with their own start and batches.
    n_neighbours : int, default 20
        Pictures that vote.
    n_bootstrap : int, default 1000
        Bootstrap samples.
    resize : str or None, default "squash"
        How pictures come to the size of a network's input.
    seed : int, default 0
        Seed of drawings, parts, fits and bootstrap.
    device : str, default "auto"
        Where networks compute and heads are fitted.

    Returns
    -------
    Score
        The table of ``scores.parquet``. Metrics: `accuracy`, `gain_over_linear` (of
        the head, and of neighbours) and `map_similarity` (mean cosine of the maps of
        two queries). Beside `SCORE_COLUMNS`: `kind`, `untrained`, `probe`,
        `n_parameters` and `chance` (share of the most frequent class).

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, a layer has no places, or `out` holds a run with other
        arguments.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If data or weights are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.
    """
    for name, value, low in (
        ("n_pictures", n_pictures, 24),
        ("n_seeds", n_seeds, 1),
        ("n_neighbours", n_neighbours, 1),
        ("n_bootstrap", n_bootstrap, 1),
        ("seed", seed, 0),
    ):
        check_whole(name, value, low=low)
    check_between("test_share", test_share, low=0.05, high=0.9)
    settings = EfficientProbeSettings(n_queries, reduction, n_epochs)
    place = resolve(device)
    if data is not None:
        check_path("data", data, kind="folder" if Path(data).is_dir() else "file")
    asked = [models] if isinstance(models, str | FeatureSpec) else list(models)
    named = [
        m for one in asked for m in (DEFAULT_MODELS if one == "default" else [one])
    ]
    loaded = picture_models(named, resize=resize)
    for model in loaded:
        _check_channels(model, settings)
    shown, labels, ids, test, mark = _open(data, n_pictures, test_share, seed)
    marks = {f"model {m.title}": sha256_json(plain(m.identity)) for m in loaded}
    arguments = plain(
        {
            "task": TASK,
            "models": marks,
            "data": None if data is None else str(Path(data).resolve()),
            "pictures": mark,
            "n_pictures": n_pictures,
            "test_share": test_share,
            "settings": asdict(settings),
            "n_seeds": n_seeds,
            "n_neighbours": n_neighbours,
            "n_bootstrap": n_bootstrap,
            "seed": seed,
        }
    )
    check_same_run(out, arguments)
    folder = begin_run(out, arguments)
    store = Store(folder / "parts")
    fitted = {k: v for k, v in arguments.items() if k not in ("models", "n_bootstrap")}
    trials, choices, maps = [], [], []
    with deterministic():
        for model in progress(loaded, "attentive probing"):
            for title, parts in model.layers.items():
                path = parts[0].partition(":")[0]
                features = folder / "parts" / "features"
                source = {
                    "fit": TASK,
                    "version": VERSION,
                    "code": code_fingerprint(),
                    "model": marks[f"model {model.title}"],
                    "layer": path,
                }
                tokens = read_tokens(
                    model.backbone, shown, path, device=place, store=features
                )
                token = _class_token(model, shown, path, place, features)
                rows, tried, looked = _layer(
                    tokens.reshape(len(tokens), -1, tokens.shape[-1]),
                    token,
                    labels,
                    test,
                    settings,
                    {**fitted, **source},
                    store,
                    place,
                )
                known: dict[str, Any] = {
                    "model": model.title,
                    "layer": title,
                    "kind": model.kind,
                    "untrained": model.untrained,
                    "n_channels": tokens.shape[-1],
                }
                trials.append(rows.assign(**known))
                choices.append(tried.assign(**known))
                maps.append(looked.assign(**known))
    table = pd.concat(trials, ignore_index=True)
    table = table.assign(task=TASK, condition="all", seed=seed, rt_or_cost=np.nan)
    table["stimulus_id"] = ids[test][table["trial"]]
    looks = pd.concat(maps, ignore_index=True)
    usual = pd.Series(labels[test]).value_counts(normalize=True).iloc[0]
    n_classes = len(set(labels))
    scores, lines = probe_scores(table, looks, settings, n_classes, n_bootstrap, seed)
    scores = scores.assign(
        subject=scores["model"],
        stimuli=f"pictures:{mark[:12]}",
        task=TASK,
        region="",
        condition="all",
        seed=seed,
    )
    scores["chance"] = np.where(scores["metric"] == "accuracy", usual, np.nan)
    scores = scores.reindex(columns=[*SCORE_COLUMNS, *_OWN])
    write_table(folder / "choices.parquet", pd.concat(choices, ignore_index=True))
    write_table(folder / "attention.parquet", looks)
    write_table(folder / "directions.parquet", directions_table(lines))
    notes = [
        f"{m.title}: {note.removeprefix(f'{m.backbone.name}: ')}"
        for m in loaded
        for note in m.notes
    ]
    notes += NOTES
    if data is None:
        notes.append("The pictures are drawings of this suite, not photographs.")
    provenance = collect(
        seed,
        device=place,
        fingerprints={**marks, "pictures": mark},
        call=arguments,
        notes=notes,
    )
    score = Score(scores, provenance)
    save_run(folder, trials=table, score=score, fixations=None)
    return score


def _check_channels(model: PictureModel, settings: EfficientProbeSettings) -> None:
    """Refuse layers without places, or with channels that queries do not divide."""
    for layer in observe(model).layers:
        step = settings.n_queries * settings.reduction
        if layer.n_channels % step:
            raise ValueError(
                f"The layer {layer.title!r} of {model.title} has {layer.n_channels} "
                f"channels, no multiple of `n_queries` x `reduction` = {step}: give "
                "other numbers."
            )


def _open(
    data: str | Path | None, n_pictures: int, test_share: float, seed: int
) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[np.bool_], str]:
    """Return pictures, classes, identities, which ones are tested, and a hash."""
    if data is None:
        drawn = make_category_pictures(n_pictures, size_px=_SIZE_PX, seed=seed)
        labels = drawn.table["category"].to_numpy(str)
        test = _draw_test(labels, test_share, seed)
        shown = [drawn.load(i) for i in range(len(drawn))]
        names = drawn.table["stimulus_id"].to_numpy(str)
        return shown, labels, names, test, drawn.fingerprint
    found = open_class_folder(data)
    labels = found.table["category"].to_numpy(str)
    split = found.table["split"].to_numpy(str)
    test = split == "test"
    if (split == WHOLE).all() or not test.any():
        test = _draw_test(labels, test_share, seed)
    if len(set(labels[~test])) < 2:
        raise ValueError(
            f"`data` must have two classes or more to learn from; {data} has one."
        )
    mark = fingerprint_pictures(found.pictures)
    return found.pictures, labels, found.table["stimulus_id"].to_numpy(str), test, mark


def _draw_test(labels: NDArray[Any], share: float, seed: int) -> NDArray[np.bool_]:
    test = np.zeros(len(labels), bool)
    for name in np.unique(labels):
        mine = np.flatnonzero(labels == name)
        rng = generator(seed, "tested pictures", str(name))
        count = min(max(1, round(share * len(mine))), len(mine) - 1)
        test[rng.permutation(mine)[:count]] = True
    return test


def _class_token(
    model: PictureModel, pictures: Any, path: str, place: Any, store: Path
) -> NDArray[np.float32] | None:
    """Return the class token of a layer, or None where it has none."""
    request = f"{path}:cls"
    try:
        found = extract_features(
            model.backbone, pictures, [request], device=place, store=store
        )
    except ValueError:
        return None
    return found[request]


def _layer(
    tokens: NDArray[np.float32],
    token: NDArray[np.float32] | None,
    labels: NDArray[Any],
    test: NDArray[np.bool_],
    settings: EfficientProbeSettings,
    source: Mapping[str, Any],
    store: Store,
    place: Any,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return answers, tried settings, and how alike the maps of queries are."""
    seed = source["seed"]
    train = ~test

    def choose() -> pd.DataFrame:
        _, table = choose_efficient_probe(
            tokens[train], labels[train], settings=settings, seed=seed, device=place
        )
        return table

    tried = store.get_or_compute({**source, "part": "choice"}, choose)
    best = tried[tried["chosen"]].iloc[0]
    chosen = replace(
        settings,
        learning_rate=float(best["learning_rate"]),
        weight_decay=float(best["weight_decay"]),
    )

    def answers(probe: str, number: int) -> pd.DataFrame:
        looked = np.full(int(test.sum()), np.nan)
        if probe == "efficient":
            head = fit_efficient_probe(
                tokens[train],
                labels[train],
                settings=chosen,
                seed=seed + number,
                device=place,
            )
            response = head.predict(tokens[test])
            looked = map_similarity(head.attention(tokens[test]))
        elif probe == "nearest neighbours":
            mean = tokens.mean(axis=1)
            response = predict_by_neighbours(
                mean[train],
                labels[train],
                mean[test],
                n_neighbours=source["n_neighbours"],
            )
        else:
            rows = tokens.mean(axis=1) if probe == "linear" else token
            assert rows is not None
            readout = fit_linear_readout(rows[train], labels[train], seed=seed)
            response = readout.predict(rows[test])
        return pd.DataFrame(
            {
                "trial": np.arange(int(test.sum())),
                "probe": probe,
                "head_seed": number,
                "truth": labels[test],
                "response": response.astype(str),
                "map_similarity": looked,
            }
        )

    found = []
    for probe in PROBES:
        if probe == "linear, class token" and token is None:
            continue
        # Only heads have a start that is drawn.
        for number in range(source["n_seeds"] if probe == "efficient" else 1):
            parts = {**source, "part": probe, "head_seed": number}
            found.append(store.get_or_compute(parts, partial(answers, probe, number)))
    rows = pd.concat(found, ignore_index=True)
    rows["correct"] = rows["truth"] == rows["response"]
    looks = rows.loc[
        rows["probe"] == "efficient", ["trial", "head_seed", "map_similarity"]
    ]
    return rows.drop(columns="map_similarity"), tried, looks
