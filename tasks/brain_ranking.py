"""Models ranked on several sets of brain data, by encoding models and by RSA."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analysis.encoding_comparison import FEWEST_TEST_IMAGES, OVER
from analysis.rsa import MEASURES as COMPARISONS
from analysis.rsa_selection import FEWEST_STIMULI
from neurovis.adapters.feature_stream import plan
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import resolve
from neurovis.core.files import check_writable_folder, read_table, write_table
from neurovis.core.provenance import collect
from neurovis.core.types import Provenance, Score
from tasks.brain_ranking_tables import (
    RankingSettings,
    encoding_tables,
    finished_tables,
    pooled_tables,
    rsa_tables,
)
from tasks.brain_sources import (
    LEAVE_ONE_OUT,
    UNIT_SOURCES,
    load_brain,
    split_rows,
    split_source,
)
from tasks.encoding import fit_encoding
from tasks.encoding_layers import file_name
from tasks.encoding_run import load_encoding
from tasks.feature_specs import FeatureSpec, split_layer
from tasks.rsa import feature_specs, plan_rsa, run_rsa
from tasks.rsa_scores import depths_of
from tasks.rsa_targets import MEASURES
from tasks.runs import begin_run, check_same_run

TASK = "brain-ranking"

DEFAULT_FEATURES = (
    "compact_vgg",
    "compact_vgg@seeded:0",
    "control:gabor",
    "control:pyramid",
    "control:colour",
)
"""Models that need no file: the shipped network, its untrained twin, baselines."""

METHODS = ("ridge", "fractional")


def run_brain_ranking(
    data: Sequence[str],
    features: Sequence[FeatureSpec | str] | None,
    out: str | Path,
    *,
    regions: Sequence[str] | None = None,
    source: str | Sequence[str] | None = None,
    method: str = "ridge",
    over: str = "both",
    measure: str = "correlation",
    compare: str = "spearman",
    stimuli: int | None = None,
    resize: str | None = "squash",
    n_splits: int = 50,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    store: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Rank models, layer by layer, on several data sets.

    Responses of units are predicted by encoding models (`tasks.encoding.fit_encoding`)
    and compared by RSA; published dissimilarities by RSA alone (`tasks.rsa.run_rsa`).
    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    data : sequence of str
        Each ``NAME:PATH``, see `tasks.brain_sources`.
    features : sequence of FeatureSpec or str, or None
        Models with their layers, see `tasks.feature_specs.parse_features`; None takes
        `DEFAULT_FEATURES`.
    out : str or Path
        Folder for ``scores.parquet``, ``comparisons.parquet`` and
        ``provenance.json``; the runs they come from are in ``encoding`` and ``rsa``.
    regions : sequence of str, optional
        Regions of units, one ranking each; by default all units as one.
    source : str or sequence of str, optional
        Which published matrices, such as "human IT"; by default all measured ones.
    method : {"ridge", "fractional"}
        How encoding models are fitted.
    over : {"both", "images", "units"}
        What is resampled for limits and differences of encoding models: both for
        conclusions about new images and other units.
    measure, compare : str
        As `tasks.rsa.run_rsa`.
    stimuli : int, optional
        For RSA take so many stimuli, spread evenly; all by default.
    resize : str, optional
        How pictures come to the size of a network's input, where `features` are text.
        "squash", the default, keeps all of the picture for every model; None is each
        network's own rule.
    n_splits, n_bootstrap, n_permutations : int
        As `tasks.rsa.run_rsa`; the last two for encoding models too.
    store : str or Path, optional
        Folder for features; ``out/store`` by default.
    seed : int, default 0
        Seed of all draws.
    device : str, default "auto"
        Where networks run and models are fitted.

    Returns
    -------
    Score
        One row per layer (condition "layer"), per model with its best layer ("best")
        and with its largest value ("best optimistic"), for every data set, analysis
        ("encoding", "rsa"), metric, region and subject. Best layers are chosen on data
        that are not scored: by cross-validation within the training images (encoding),
        or on other stimuli (RSA). Rows of the subject "mean" average recordings that
        were compared one by one. Beside `SCORE_COLUMNS` and the columns of
        `tasks.rsa.run_rsa`: `data`, `analysis`, `n_units`, `rank` (of "best" rows).

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
    ``comparisons.parquet`` has paired differences of all models: `data`, `analysis`,
    `metric`, `region`, `subject`, `model_a`, `layer_a`, `model_b`, `layer_b`,
    `difference` (a minus b), `standard_error`, `degrees_of_freedom`, `ci_low`,
    `ci_high`, `p_value`, `p_fdr` (over the pairs of one ranking), `over`, `n`.
    """
    listed = [data] if isinstance(data, str) else list(data)
    if not listed:
        raise ValueError("`data` is empty: name at least one set, as NAME:PATH.")
    sets = [split_source(where) for where in listed]
    check_option("method", method, METHODS)
    check_option("over", over, OVER)
    check_option("measure", measure, MEASURES)
    check_option("compare", compare, COMPARISONS)
    for name, number, low in (
        ("n_splits", n_splits, 1),
        ("n_bootstrap", n_bootstrap, 1),
        ("n_permutations", n_permutations, 1),
        ("seed", seed, 0),
    ):
        check_whole(name, number, low=low)
    place = resolve(device)
    specs = feature_specs(DEFAULT_FEATURES if features is None else features, resize)
    depths = _check_models(specs)
    names = _distinct_names([name for name, _ in sets])
    arguments: dict[str, Any] = {
        "task": TASK,
        "data": [f"{name}:{path.resolve()}" for name, path in sets],
        "features": [asdict(spec) for spec in specs],
        "regions": None if regions is None else list(regions),
        "source": [source] if isinstance(source, str) else source,
        "method": method,
        "over": over,
        "measure": measure,
        "compare": compare,
        "stimuli": stimuli,
        "n_splits": n_splits,
        "n_bootstrap": n_bootstrap,
        "n_permutations": n_permutations,
        "seed": seed,
    }
    check_same_run(out, arguments)
    place_of_features = Path(out) / "store" if store is None else Path(store)
    for where, (kind, _) in zip(listed, sets, strict=True):
        of_units = kind in UNIT_SOURCES
        if of_units:
            _check_held_out(where, store)
        plan_rsa(
            where,
            specs,
            kept=place_of_features,
            measure=measure,
            compare=compare,
            regions=regions if of_units else None,
            source=None if of_units else source,
            stimuli=stimuli if of_units else None,
            store=store,
        )
    folder = begin_run(out, arguments)
    kept = check_writable_folder(place_of_features)
    settings = RankingSettings(over, n_bootstrap, seed)
    parts: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    found: dict[str, Provenance] = {}
    for where, (kind, _), name in zip(listed, sets, names, strict=True):
        of_units = kind in UNIT_SOURCES
        if of_units:
            home = folder / "encoding" / name
            fitted = fit_encoding(
                where,
                specs,
                home,
                method=method,
                regions=regions,
                keep_models=False,
                store=kept,
                n_permutations=n_permutations,
                n_bootstrap=n_bootstrap,
                seed=seed,
                device=device,
            )
            found[f"{name} encoding"] = fitted.provenance
            run = load_encoding(home)
            parts.append(encoding_tables(run, specs, depths, name, regions, settings))
        home = folder / "rsa" / name
        score = run_rsa(
            where,
            specs,
            home,
            measure=measure,
            compare=compare,
            regions=regions if of_units else None,
            source=None if of_units else source,
            stimuli=stimuli if of_units else None,
            n_splits=n_splits,
            n_bootstrap=n_bootstrap,
            n_permutations=n_permutations,
            store=kept,
            seed=seed,
            device=device,
        )
        found[f"{name} rsa"] = score.provenance
        differences = read_table(home / "comparisons.parquet")
        parts.append(rsa_tables(score.table, differences, name))
    parts += [pooled_tables(*part) for part in parts]
    scores, comparisons = finished_tables(
        _joined([rows for rows, _ in parts]), _joined([rows for _, rows in parts])
    )
    write_table(folder / "comparisons.parquet", comparisons)
    provenance = collect(
        seed,
        device=place,
        fingerprints=_fingerprints(found),
        call=arguments,
        notes=list(dict.fromkeys(n for p in found.values() for n in p.notes)),
    )
    score = Score(scores, provenance)
    score.save(folder)
    return score


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    # Columns of empty tables have no kind, and would take that of others away.
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def _check_models(specs: Sequence[FeatureSpec]) -> dict[str, dict[str, float]]:
    """Refuse a missing file or layer; return depths of layers by title of the model."""
    titles = [spec.title for spec in specs]
    twice = [title for title in titles if titles.count(title) > 1]
    if not titles or twice:
        raise ValueError(
            f"`features` has {f'{twice[0]!r} twice' if twice else 'no model'}: name "
            "each model once, with all its layers."
        )
    depths = {}
    for spec in specs:
        backbone = None
        if spec.source == "network":
            parts = [p for layer in spec.layers for p in split_layer(layer)[1]]
            backbone = spec.load_backbone()
            plan(backbone, list(dict.fromkeys(parts)), torch.device("cpu"))
        depths[spec.title] = depths_of(spec, backbone)
    return depths


def _check_held_out(where: str, store: str | Path | None) -> None:
    """Refuse data that leave too few images to compare encoding models on."""
    for brain in load_brain(where, store=store):
        n = brain.responses.stimuli["stimulus_id"].nunique()
        if n < FEWEST_STIMULI:
            raise ValueError(
                f"{brain.name} has {n} stimuli: a ranking needs at least "
                f"{FEWEST_STIMULI}."
            )
        if brain.test == LEAVE_ONE_OUT:
            continue
        for split in split_rows(brain.responses, brain.test):
            held_out = brain.responses.stimuli["stimulus_id"].iloc[split.test].nunique()
            if held_out < FEWEST_TEST_IMAGES:
                raise ValueError(
                    f"{brain.name} has {n} stimuli, {held_out} of them held out "
                    f"({split.name}): encoding models are compared on at least "
                    f"{FEWEST_TEST_IMAGES}. Use `neurovis run rsa`, or more stimuli."
                )


def _distinct_names(names: Sequence[str]) -> list[str]:
    """Append a number to names of data sets that occur again."""
    told = []
    for place, name in enumerate(names):
        before = names[:place].count(name)
        told.append(file_name(name if not before else f"{name}-{before + 1}"))
    return told


def _fingerprints(found: Mapping[str, Provenance]) -> dict[str, str]:
    return {
        f"{name}: {key}": mark
        for name, provenance in found.items()
        for key, mark in provenance.fingerprints.items()
    }
