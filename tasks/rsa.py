"""Representational similarity analysis: layers of networks beside brain regions."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.crossed_bootstrap import OVER
from analysis.rsa import MEASURES as COMPARISONS
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import atomic_path, sha256_bytes, sha256_json, write_table
from neurovis.core.provenance import code_fingerprint, collect
from neurovis.core.store import Store
from neurovis.core.types import Score
from tasks.brain_sources import split_source
from tasks.encoding_features import FeatureSource, plan_features
from tasks.feature_specs import FeatureSpec, parse_features
from tasks.rsa_scores import (
    BEST,
    TASK,
    ModelRDM,
    RSASettings,
    make_model_rdms,
    score_target,
)
from tasks.rsa_targets import MEASURES, RSATarget, load_targets
from tasks.runs import begin_run, check_same_run

VERSION = 1
"""Raised when the same call gives other numbers."""

TABLES = ("scores", "pairs", "comparisons")
# Above this, of all layers only those that were chosen are written to rdms.npz.
_ALL_LAYERS_BYTES = 2**25


def run_rsa(
    data: str,
    features: Sequence[FeatureSpec | str],
    out: str | Path,
    *,
    measure: str = "correlation",
    compare: str = "spearman",
    regions: Sequence[str] | None = None,
    subjects: Sequence[str | int] | None = None,
    source: str | Sequence[str] | None = None,
    stimuli: int | None = None,
    over: str | None = None,
    n_splits: int = 50,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    resize: str | None = None,
    store: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Compare the RDMs of layers with those of brain regions, and leave tables.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    data : str
        ``NAME:PATH``: published matrices ("objects92", "net2brain78") or responses of
        units, see `tasks.brain_sources`. Subjects with different stimuli, such as the
        recordings of "v4-images", are compared on their own; others on the stimuli
        that all of them saw.
    features : sequence of FeatureSpec or str
        Models with their layers, see `tasks.feature_specs.parse_features`.
    out : str or Path
        Folder for the tables.
    measure : {"correlation", "cosine", "euclidean", "squared_euclidean", "crossnobis"}
        Dissimilarity (`analysis.rdms`); "crossnobis" needs single trials and takes
        squared Euclidean distances of features.
    compare : str, default "spearman"
        Similarity of two RDMs, as `analysis.rsa.compare_rdms`.
    regions : sequence of str, optional
        Regions of units, one comparison each; by default all units as one.
    subjects : sequence of str or int, optional
        Which subjects; of published matrices, "mean" is the average of the source.
    source : str or sequence of str, optional
        Which published matrices, such as "human IT"; by default all measured ones.
    stimuli : int, optional
        Take so many stimuli, spread evenly over the set; all by default.
    over : {"both", "images", "subjects"}, optional
        What is resampled: stimuli and subjects, for conclusions about new ones of both
        (the default with several subjects), or one of them. With one subject it is
        always the stimuli.
    n_splits : int, default 50
        Random halves of the stimuli for the choice of layers
        (`analysis.rsa_selection`).
    n_bootstrap : int, default 1000
        Number of resamples.
    n_permutations : int, default 1000
        Exchanges of the labels of stimuli, for chance.
    resize : str, optional
        How pictures come to the size of a network's input, where `features` are text:
        "squash" keeps all of the picture. The network's own rule by default.
    store : str or Path, optional
        Folder for features; ``out/features`` by default.
    seed : int, default 0
        Seed of all draws.
    device : str, default "auto"
        Where networks compute.

    Returns
    -------
    Score
        The table of ``scores.parquet``: one row per layer (condition "layer"), per
        model with the layer chosen on other stimuli ("best", `layer` being the one
        chosen most often) and with the largest value ("best optimistic"). Beside
        `SCORE_COLUMNS`: `kind` of the model, `depth` of the layer (0..1), `untrained`,
        `simulated`, `n_subjects`, `over` (what was resampled), `standard_error`,
        `degrees_of_freedom`, `chosen_share` (of the splits), `p_value` (chance, by
        exchanged labels; of a model: of its best layer), `p_fdr` (over layers or
        models), `p_family`, `chance_low` and `chance_high` (central 95 %). For
        responses of units there are rows of the metric "cka_debiased" too.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument is wrong, or `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError
        If data or weights are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    The folder gets ``scores.parquet`` with ``provenance.json``; ``pairs.parquet``
    (every layer with every subject, and subjects with each other);
    ``comparisons.parquet`` (paired differences of models, each with the layer that was
    chosen on other stimuli; where both stimuli and subjects were resampled, a second
    time with `over` "images": for new stimuli and these subjects); and ``rdms.npz``
    (float32: ``REGION SUBJECT/subjects``, ``.../layers`` and their names; of many
    stimuli the chosen layers only).

    References
    ----------
    Kriegeskorte, Mur and Bandettini (2008). Front. Syst. Neurosci. 2, 4.
    doi:10.3389/neuro.06.004.2008. Nili et al. (2014). PLoS Comput. Biol. 10, e1003553.
    doi:10.1371/journal.pcbi.1003553. Schütt et al. (2023). eLife 12, e82566.
    doi:10.7554/eLife.82566
    """
    settings = RSASettings(
        check_option("measure", measure, MEASURES),
        check_option("compare", compare, COMPARISONS),
        None if over is None else check_option("over", over, OVER),
        check_whole("n_bootstrap", n_bootstrap, low=1),
        check_whole("n_permutations", n_permutations, low=1),
        check_whole("n_splits", n_splits, low=1),
        check_whole("seed", seed, low=0),
    )
    place = resolve(device)
    specs = feature_specs(features, resize)
    name, path = split_source(data)
    arguments: dict[str, Any] = {
        "task": TASK,
        "data": f"{name}:{path.resolve()}",
        "features": [asdict(spec) for spec in specs],
        "measure": measure,
        "compare": compare,
        "regions": None if regions is None else list(regions),
        "subjects": None if subjects is None else [str(s) for s in subjects],
        "source": [source] if isinstance(source, str) else source,
        "stimuli": stimuli,
        "over": over,
        "n_splits": n_splits,
        "n_bootstrap": n_bootstrap,
        "n_permutations": n_permutations,
        "seed": seed,
    }
    check_same_run(out, arguments)
    groups, sources = plan_rsa(
        data,
        specs,
        kept=Path(store) if store is not None else Path(out) / "parts",
        measure=measure,
        compare=compare,
        regions=regions,
        subjects=subjects,
        source=source,
        stimuli=stimuli,
        store=store,
        seed=seed,
        device=str(place),
    )
    targets = [target for group in groups for target in group]
    folder = begin_run(out, arguments)
    results = Store(folder / "parts" / "rsa")
    found: list[dict[str, pd.DataFrame]] = []
    arrays: dict[str, Any] = {}
    with deterministic():
        for group, own in zip(groups, sources, strict=True):
            models = make_model_rdms(own, group, settings)
            for target in group:
                tables = _scored(target, models, settings, results)
                found.append(tables)
                arrays |= _arrays(target, models, tables["scores"])
    tables = {
        key: pd.concat([part[key] for part in found], ignore_index=True)
        for key in TABLES
    }
    write_table(folder / "pairs.parquet", tables["pairs"])
    write_table(folder / "comparisons.parquet", tables["comparisons"])
    with atomic_path(folder / "rdms.npz") as part, part.open("wb") as file:
        np.savez(file, **arrays)
    score = Score(
        tables["scores"],
        collect(
            seed,
            device=place,
            fingerprints=_fingerprints(targets, sources),
            call=arguments,
            notes=_notes(targets, sources),
        ),
    )
    score.save(folder)
    return score


def plan_rsa(
    data: str,
    specs: Sequence[FeatureSpec],
    *,
    kept: Path,
    seed: int = 0,
    device: str = "cpu",
    **wanted: Any,
) -> tuple[list[list[RSATarget]], list[list[FeatureSource]]]:
    """Check data and features against each other, before anything is computed.

    Parameters
    ----------
    data : str
        As `run_rsa`.
    specs : sequence of FeatureSpec
        Models with their layers.
    kept : Path
        Where features will be kept.
    seed : int, default 0
        Seed of all draws.
    device : str, default "cpu"
        Where networks will compute.
    **wanted : object
        Arguments of `tasks.rsa_targets.load_targets`.

    Returns
    -------
    targets : list of list of RSATarget
        Those of the same stimuli together.
    sources : list of list of FeatureSource
        For each of these lists, the features of its stimuli.

    Raises
    ------
    TypeError, ValueError, KeyError, FileNotFoundError, DataCorruptError
        As `run_rsa`.
    """
    groups = _groups(load_targets(data, **wanted))
    sources = []
    for group in groups:
        first = group[0].data
        found = plan_features(
            specs, [first], {first.name: ()}, store=kept, seed=seed, device=device
        )
        sources.append(found[first.name])
    return groups, sources


def feature_specs(
    features: Sequence[FeatureSpec | str], resize: str | None = None
) -> list[FeatureSpec]:
    """Read requests for features, text with one rule of resizing.

    Parameters
    ----------
    features : sequence of FeatureSpec or str
        Requests.
    resize : str, optional
        For requests that are text and name a network.

    Returns
    -------
    list of FeatureSpec
        At least one.

    Raises
    ------
    TypeError, ValueError
        If a request has another form.

    Examples
    --------
    >>> feature_specs(["control:gabor"], "squash")[0].resize
    'squash'
    """
    listed = [features] if isinstance(features, str | FeatureSpec) else list(features)
    return [
        spec if isinstance(spec, FeatureSpec) else parse_features(spec, resize=resize)
        for spec in listed
    ]


def _groups(targets: Sequence[RSATarget]) -> list[list[RSATarget]]:
    """Gather targets of the same stimuli: features are computed once for them."""
    groups: dict[str, list[RSATarget]] = {}
    for target in targets:
        groups.setdefault(target.stimuli, []).append(target)
    return list(groups.values())


def _scored(
    target: RSATarget,
    models: Sequence[ModelRDM],
    settings: RSASettings,
    store: Store,
) -> dict[str, pd.DataFrame]:
    """Return the tables of a target, from the store when they are there."""
    parts = {
        "task": TASK,
        "version": VERSION,
        "code": code_fingerprint(),
        "target": [target.name, target.stimuli, target.fingerprint],
        "models": sha256_json(
            [
                [m.model, m.layer, m.kind, m.untrained, str(m.depth)]
                + [sha256_bytes(array.tobytes()) for array in (m.rdm, *m.cka.values())]
                for m in models
            ]
        ),
        "settings": asdict(settings),
    }
    computed: dict[str, pd.DataFrame] = {}

    def compute(key: str) -> pd.DataFrame:
        if not computed:
            computed.update(score_target(target, models, settings))
        return computed[key]

    return {
        key: store.get_or_compute({**parts, "table": key}, partial(compute, key))
        for key in TABLES
    }


def _arrays(
    target: RSATarget, models: Sequence[ModelRDM], scores: pd.DataFrame
) -> dict[str, np.ndarray[Any, Any]]:
    n_bytes = 4 * len(models) * target.rdms.shape[1]
    best = scores[scores["condition"] == BEST]
    chosen = set(zip(best["model"], best["layer"], strict=True))
    kept = [
        m
        for m in models
        if n_bytes <= _ALL_LAYERS_BYTES or (m.model, m.layer) in chosen
    ]
    names = [f"{m.model} {m.layer}".strip() for m in kept]
    rows = {
        "subjects": target.rdms.astype(np.float32),
        "subject_names": np.array(target.subjects),
        "layers": np.array([m.rdm for m in kept], np.float32),
        "layer_names": np.array(names),
        "stimulus_id": np.array(target.stimulus_id),
    }
    listed = target.data.responses.stimuli
    if "category" in listed:
        rows["category"] = listed["category"].to_numpy(str)
    return {f"{target.name}/{key}": array for key, array in rows.items()}


def _fingerprints(
    targets: Sequence[RSATarget], sources: Sequence[Sequence[FeatureSource]]
) -> dict[str, str]:
    marks = {f"rdms {target.name}": target.fingerprint for target in targets}
    for target in targets:
        name = target.data.name.strip()
        for file, mark in target.data.responses.fingerprints.items():
            marks[f"{name} {file}"] = mark
    nobody = np.empty(0, np.int64)
    for source in sources[0]:
        parts = [source.identity(layer, nobody) for layer in source.layers]
        marks[f"model {source.spec.title}"] = sha256_json(parts)
    return marks


def _notes(
    targets: Sequence[RSATarget], sources: Sequence[Sequence[FeatureSource]]
) -> list[str]:
    notes = [note for source in sources[0] for note in source.notes]
    for target in targets:
        name = target.data.name.strip()
        notes += [f"{name}: {note}" for note in target.data.responses.notes]
        notes += target.notes
    return list(dict.fromkeys(notes))
