"""Probes of networks: is what they learnt better than what they started from.

Trained networks are put beside untrained twins and simple controls, by a linear probe
of categories, by RSA, by encoding models of units of the brain, and by the tuning of
their units to gratings. Several training seeds of one kind are a group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from data_loaders.class_pictures import ClassPictures
from neurovis.adapters.features import fingerprint_pictures
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain, read_table, sha256_json, write_table
from neurovis.core.log import progress
from neurovis.core.provenance import code_fingerprint, collect
from neurovis.core.store import Store
from neurovis.core.types import Score, StimulusSet
from stimuli.gratings import make_gratings
from tasks.brain_ranking import run_brain_ranking
from tasks.brain_sources import RDM_SOURCES, UNIT_SOURCES, split_source
from tasks.feature_specs import FeatureSpec
from tasks.probe_measures import (
    load_for_gratings,
    open_labelled,
    probe_predictions,
    tuned_layers,
    tuning_of,
)
from tasks.probes_groups import group_tables
from tasks.probes_models import (
    BASELINES,
    ModelFacts,
    ProbedModel,
    inspect_models,
    read_models,
)
from tasks.probes_tables import (
    PROBE,
    TUNING,
    brain_rows,
    finished_rows,
    probe_rows,
    tuning_rows,
)
from tasks.rsa import plan_rsa
from tasks.runs import begin_run, check_same_run

TASK = "probes"
SHIPPED_MODELS = (
    "trained=compact_vgg",
    *(f"untrained=compact_vgg@seeded:{seed}" for seed in range(3)),
)
"""What is compared when nothing is asked for."""

VERSION = 1
"""Raised when the same call gives other numbers."""


@dataclass(frozen=True)
class _Asked:
    """What a run measures, checked."""

    models: list[ProbedModel]
    facts: Mapping[str, ModelFacts]
    labelled: Mapping[str, ClassPictures]
    marks: Mapping[str, str]
    brains: list[str]
    gratings: StimulusSet | None
    seed: int
    device: str


def run_probes(
    models: Sequence[str | FeatureSpec] = SHIPPED_MODELS,
    out: str | Path = "results/probes",
    *,
    labelled: Mapping[str, str | Path] | None = None,
    rdms: str | None = None,
    units: Sequence[str] = (),
    tuning: bool = True,
    groups: Mapping[str, str] | None = None,
    baselines: Sequence[str | FeatureSpec] = BASELINES,
    n_per_class: int | None = None,
    regions: Sequence[str] | None = None,
    source: str | Sequence[str] | None = None,
    stimuli: int | None = None,
    grating_px: int = 96,
    resize: str | None = "squash",
    n_splits: int = 50,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    store: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Measure what the layers of networks are worth, group by group.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    models : sequence of str or FeatureSpec, default `SHIPPED_MODELS`
        Networks with their layers, see `tasks.probes_models.read_models`; text may
        begin with ``GROUP=``, as "trained=squeezenet1_0@run0.safetensors:fire5:grid3".
        The first group is compared with every other.
    out : str or Path
        Folder for the tables.
    labelled : mapping of str to str or Path, optional
        For linear probes: pictures with classes, by the name of the set, see
        `data_loaders.class_folders.open_class_folder`. Where a set has no test part,
        30 % of each class are drawn.
    rdms : str, optional
        For RSA: ``NAME:PATH`` of published dissimilarities, as "objects92:PATH".
    units : sequence of str
        For encoding models, and for RSA too: ``NAME:PATH`` of responses of units, as
        "v4-images:PATH".
    tuning : bool, default True
        Measure the tuning of units to gratings; layers that are no maps are left out.
    groups : mapping of str to str, optional
        Group of models by title, where the text names none.
    baselines : sequence of str or FeatureSpec
        Controls beside the networks: pixels of small pictures, and colour.
    n_per_class : int, optional
        For linear probes take at most so many pictures of each class in each part.
    regions : sequence of str, optional
        Regions of units, one score each; by default all units as one.
    source : str or sequence of str, optional
        Which published matrices, such as "human IT"; by default all measured ones.
    stimuli : int, optional
        For RSA of units take so many stimuli, spread evenly; all by default.
    grating_px : int, default 96
        Side of the gratings, and of the network's input while it sees them.
    resize : str or None, default "squash"
        How pictures come to the size of a network's input, where `models` are text.
    n_splits, n_bootstrap, n_permutations : int
        As `tasks.brain_ranking.run_brain_ranking`.
    store : str or Path, optional
        Folder for features; ``out/store`` by default.
    seed : int, default 0
        Seed of all draws.
    device : str, default "auto"
        Where networks run and models are fitted.

    Returns
    -------
    Score
        The table of ``scores.parquet``, one row per model, layer (condition "layer")
        and metric, and one with the layer that was chosen without the data scored on
        ("best"): by the error of cross-validation within the training pictures
        (probe, encoding) or on other stimuli (RSA). Beside `SCORE_COLUMNS`: `measure`
        ("probe", "rsa", "encoding", "tuning"), `group`, `data`, `kind` ("network" or
        "control"), `depth`, `untrained`, `simulated`, `standard_error`,
        `degrees_of_freedom`, `chosen_share`, `chance_low`, `chance_high`, `p_value`,
        `n_units`, `over`, `alpha` and `cv_error`. Metrics: "accuracy" (0..1, with
        Wilson's limits over tested pictures), those of a ranking, and those of
        `analysis.tuning.tuning_summary` for each layer and for "all layers".

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument is wrong, nothing is to be measured, a layer is unknown, or
        `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If data or weights are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError, MemoryError, OSError
        If `out` or `store` cannot be written.

    Notes
    -----
    The folder gets ``groups.parquet`` and ``differences.parquet``
    (`tasks.probes_groups.group_tables`), ``predictions.parquet`` (the class that each
    probe names each tested picture), ``tuning.parquet`` (one row per unit), and
    ``brain``, the ranking that RSA and encoding come from.

    References
    ----------
    Alain and Bengio (2016), arXiv:1610.01644 (linear probes); Kriegeskorte, Mur and
    Bandettini (2008). Front. Syst. Neurosci. 2, 4. doi:10.3389/neuro.06.004.2008
    """
    place = resolve(device)
    for name, number, low in (
        ("grating_px", grating_px, 16),
        ("n_splits", n_splits, 1),
        ("n_bootstrap", n_bootstrap, 1),
        ("n_permutations", n_permutations, 1),
        ("seed", seed, 0),
    ):
        check_whole(name, number, low=low)
    sets = dict(labelled or {})
    brains = _brains(rdms, units)
    if not (sets or brains or tuning):
        raise ValueError(
            "Nothing is to be measured: give `labelled`, `rdms` or `units`, or leave "
            "`tuning` on."
        )
    probed = read_models(models, groups, baselines=baselines, resize=resize)
    facts = inspect_models(probed)
    gratings = make_gratings(size_px=grating_px) if tuning else None
    if tuning:
        _check_tuned(probed, grating_px)
    shown = {
        name: open_labelled(name, root, n_per_class=n_per_class, seed=seed)
        for name, root in sets.items()
    }
    marks = {name: fingerprint_pictures(s.pictures) for name, s in shown.items()}
    arguments = plain(
        {
            "task": TASK,
            "models": [
                {**asdict(m.spec), "group": m.group, "mark": facts[m.title].weights}
                for m in probed
            ],
            "labelled": marks,
            "brains": brains,
            "gratings": None if gratings is None else gratings.fingerprint,
            "n_per_class": n_per_class,
            "regions": regions,
            "source": source,
            "stimuli": stimuli,
            "n_splits": n_splits,
            "n_bootstrap": n_bootstrap,
            "n_permutations": n_permutations,
            "seed": seed,
        }
    )
    check_same_run(out, arguments)
    kept = Path(out) / "store" if store is None else Path(store)
    specs = [model.spec for model in probed]
    for where in brains:
        of_units = where.partition(":")[0] in UNIT_SOURCES
        plan_rsa(
            where,
            specs,
            kept=kept,
            measure="correlation",
            compare="spearman",
            regions=regions if of_units else None,
            source=None if of_units else source,
            stimuli=stimuli if of_units else None,
        )
    folder = begin_run(out, arguments)
    asked = _Asked(probed, facts, shown, marks, brains, gratings, seed, str(place))
    tables: list[pd.DataFrame] = []
    comparisons = pd.DataFrame()
    notes, fingerprints = _notes(probed, facts), dict[str, str]()
    if brains:
        ranked = run_brain_ranking(
            brains,
            specs,
            folder / "brain",
            regions=regions,
            source=source,
            stimuli=stimuli,
            resize=resize,
            n_splits=n_splits,
            n_bootstrap=n_bootstrap,
            n_permutations=n_permutations,
            store=kept,
            seed=seed,
            device=device,
        )
        tables.append(brain_rows(ranked.table))
        comparisons = read_table(folder / "brain" / "comparisons.parquet")
        # Of several runs of one network, notes of the network tell none.
        names = tuple(f"{model.spec.name}: untrained" for model in probed)
        notes += [n for n in ranked.provenance.notes if not n.startswith(names)]
        fingerprints |= dict(ranked.provenance.fingerprints)
    parts = Store(folder / "parts")
    with deterministic():
        predictions = _predictions(asked, parts, kept)
        tuned = _tunings(asked, parts, grating_px)
    hits: dict[tuple[str, str, str], Any] = {}
    if sets:
        rows, hits = probe_rows(predictions, marks)
        tables.insert(0, rows)
        write_table(folder / "predictions.parquet", predictions)
    if gratings is not None:
        tables.append(tuning_rows(tuned, gratings))
        write_table(folder / "tuning.parquet", tuned)
    scores = finished_rows(tables, probed, facts, TASK, seed)
    means, differences = group_tables(scores, hits, comparisons, probed[0].group)
    write_table(folder / "groups.parquet", means)
    write_table(folder / "differences.parquet", differences)
    for model in probed:
        fingerprints[f"model {model.title}"] = facts[model.title].weights
    for name, one in shown.items():
        fingerprints[f"pictures {name}"] = marks[name]
        fingerprints |= {f"{name}: {k}": v for k, v in one.fingerprints.items()}
    if gratings is not None:
        fingerprints["gratings"] = gratings.fingerprint
    provenance = collect(
        seed,
        place,
        fingerprints=fingerprints,
        call=arguments,
        notes=list(dict.fromkeys(notes)),
    )
    score = Score(scores, provenance)
    score.save(folder)
    return score


def _brains(rdms: str | None, units: Sequence[str]) -> list[str]:
    """Check names and folders of data of brains; return them with absolute paths."""
    found = []
    for argument, asked, known in (
        ("units", units, tuple(UNIT_SOURCES)),
        ("rdms", rdms, tuple(RDM_SOURCES)),
    ):
        for where in _listed(asked):
            name, path = split_source(where)
            check_option(f"data set of {argument}", name, known)
            found.append(f"{name}:{path.resolve()}")
    return found


def _listed(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _check_tuned(models: Sequence[ProbedModel], size_px: int) -> None:
    """Refuse networks that no grating can be shown to, or that have no maps."""
    networks = [m for m in models if m.kind == "network"]
    if not any(
        tuned_layers(load_for_gratings(m.spec, size_px), m.requests) for m in networks
    ):
        raise ValueError(
            "`tuning` is measured of units that have a place in the picture, but no "
            "layer that was asked for is a map: name one, or set tuning=False."
        )


def _notes(models: Sequence[ProbedModel], facts: Mapping[str, ModelFacts]) -> list[str]:
    found = [note for model in models for note in facts[model.title].notes]
    sizes = pd.Series([m.group for m in models if m.kind == "network"]).value_counts()
    alone = [str(name) for name, n in sizes.items() if n < 2]
    if alone:
        found.append(
            "A single run tells nothing of other runs, so that its group has no "
            f"interval: {', '.join(sorted(alone))}."
        )
    return found


# ------------------------------------------------------------------- measuring


def _predictions(asked: _Asked, parts: Store, kept: Path) -> pd.DataFrame:
    """Probe every model with every set; finished ones come from the store."""
    found = []
    n = len(asked.labelled) * len(asked.models)
    with progress(n, "probing", unit="model") as bar:
        for name, shown in asked.labelled.items():
            classes = shown.table[["stimulus_id", "label", "split"]]
            for model in asked.models:
                key = {
                    **_key(model, asked),
                    "measure": PROBE,
                    "pictures": asked.marks[name],
                    "classes": sha256_json(classes.to_numpy(str).tolist()),
                    "seed": asked.seed,
                }
                compute = partial(
                    probe_predictions,
                    model,
                    shown,
                    fingerprint=asked.marks[name],
                    store=kept,
                    seed=asked.seed,
                    device=asked.device,
                )
                table = parts.get_or_compute(key, compute)
                found.append(table.assign(data=name, model=model.title))
                bar.update()
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _tunings(asked: _Asked, parts: Store, size_px: int) -> pd.DataFrame:
    """Measure the tuning of every network; finished ones come from the store."""
    gratings = asked.gratings
    networks = [m for m in asked.models if m.kind == "network"]
    if gratings is None:
        return pd.DataFrame()
    found = []
    with progress(len(networks), "gratings", unit="model") as bar:
        for model in networks:

            def compute(model: ProbedModel = model) -> pd.DataFrame:
                backbone = load_for_gratings(model.spec, size_px)
                return tuning_of(
                    backbone, model.requests, gratings, device=asked.device
                )

            backbone = load_for_gratings(model.spec, size_px)
            if tuned_layers(backbone, model.requests):
                key = {
                    **_key(model, asked),
                    "measure": TUNING,
                    "gratings": gratings.fingerprint,
                }
                table = parts.get_or_compute(key, compute)
                found.append(table.assign(model=model.title))
            bar.update()
    return pd.concat(found, ignore_index=True)


def _key(model: ProbedModel, asked: _Asked) -> dict[str, Any]:
    return {
        "task": TASK,
        "version": VERSION,
        "code": code_fingerprint(),
        "network": model.spec.name,
        "weights": asked.facts[model.title].weights,
        "resize": model.spec.resize,
        "layers": list(model.spec.layers),
    }
