"""Scores of models by RSA: layers, chosen layers, differences, ceilings, chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.cka import cka_matrix, linear_gram
from analysis.multiple_tests import fdr_adjusted, permutation_p
from analysis.rdms import make_rdm
from analysis.rsa import compare_rdms, rdm_ceiling
from analysis.rsa_inference import RSAPermutation, permute_stimuli
from analysis.rsa_selection import LayerSelection, select_layers
from neurovis.adapters.feature_models import Backbone
from neurovis.core.log import progress
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS
from tasks.encoding_features import FeatureSource
from tasks.feature_specs import FeatureSpec, split_layer
from tasks.rsa_targets import RSATarget

FloatArray = NDArray[np.float64]

TASK = "rsa"
LAYER, BEST, OPTIMISTIC = "layer", "best", "best optimistic"
"""Values of `condition`: one layer; the layer chosen on other stimuli than those it is
scored on; the largest value, which is too high by luck."""

PACKAGED = "packaged"
"""`kind` of models whose RDMs came with the data."""

BOTH = "images and subjects"
"""What `over` is where both were resampled."""

CKA = "cka_debiased"
_LEAVE_ONE_OUT = "leave one subject out"
_REPEATS = "halves of repeats"
# Features are free of noise: there is nothing to cross-validate.
_OF_FEATURES = {"crossnobis": "squared_euclidean"}
_FIRST_COLUMNS = ("region", "subject", "model", "layer", "kind", "metric", "value")


@dataclass(frozen=True)
class ModelRDM:
    """What one layer of a model makes of the stimuli.

    Parameters
    ----------
    model, layer : str
        Names in tables.
    kind : str
        "network", "control", "given", "file", or "packaged".
    depth : float
        Place among the layers of the model, 0..1; NaN where there is no order.
    untrained : bool
        Whether the network has random weights.
    rdm : ndarray of float64, shape (n_pairs,)
        Dissimilarities; NaN where undefined.
    cka : mapping of str to ndarray of float64, shape (n_subjects,)
        Debiased linear CKA with the responses of each subject, by name of the target.
    """

    model: str
    layer: str
    kind: str
    depth: float
    untrained: bool
    rdm: FloatArray
    cka: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class RSASettings:
    """How RDMs are made, compared and tested.

    Parameters
    ----------
    measure, compare : str
        As `tasks.rsa.run_rsa`.
    over : str or None
        As `tasks.rsa.run_rsa`.
    n_bootstrap, n_permutations, n_splits : int
        As `tasks.rsa.run_rsa`.
    seed : int
        Seed of all draws.
    """

    measure: str = "correlation"
    compare: str = "spearman"
    over: str | None = None
    n_bootstrap: int = 1000
    n_permutations: int = 1000
    n_splits: int = 50
    seed: int = 0

    @property
    def metric(self) -> str:
        """Name of the score in tables."""
        return f"rsa_{self.compare}"


def kind_of(spec: FeatureSpec) -> str:
    """Return what kind of model features are.

    Parameters
    ----------
    spec : FeatureSpec
        Features.

    Returns
    -------
    str
        "network", "control" (a network without weights), "given" or "file".

    Examples
    --------
    >>> kind_of(FeatureSpec("network", "control:gabor", ("energy",)))
    'control'
    """
    if spec.source == "network" and spec.name.startswith("control:"):
        return "control"
    return spec.source


def depths_of(spec: FeatureSpec, backbone: Backbone | None = None) -> dict[str, float]:
    """Return the relative depth of each layer.

    Parameters
    ----------
    spec : FeatureSpec
        Features.
    backbone : Backbone, optional
        Network of `spec`, whose modules tell the order of the layers, however they
        are listed; without it they are taken as listed from early to late.

    Returns
    -------
    dict of str to float
        By title of the layer: 0 for the first of those asked for, 1 for the last; the
        same for what is read from one module. NaN for a single module and for what is
        no network. Empty where layers have no names yet.

    Examples
    --------
    >>> depths_of(FeatureSpec("network", "timm:resnet18", ("layer1:gap", "layer4:gap")))
    {'layer1:gap': 0.0, 'layer4:gap': 1.0}
    """
    requests = dict(split_layer(layer) for layer in spec.layers)
    nowhere = dict.fromkeys(requests, float("nan"))
    if kind_of(spec) != "network":
        return nowhere
    places = {title: k for k, title in enumerate(requests)}
    if backbone is not None:
        order = {path: k for k, (path, _) in enumerate(backbone.module.named_modules())}
        paths = {
            title: [part.partition(":")[0].partition("@")[0] for part in parts]
            for title, parts in requests.items()
        }
        # Of several modules side by side, the last tells how deep they are.
        places = {
            title: max(order.get(path, len(order)) for path in own)
            for title, own in paths.items()
        }
    ranks = {place: k for k, place in enumerate(sorted(set(places.values())))}
    if len(ranks) < 2:
        return nowhere
    return {title: ranks[place] / (len(ranks) - 1) for title, place in places.items()}


def make_model_rdms(
    sources: Sequence[FeatureSource],
    targets: Sequence[RSATarget],
    settings: RSASettings,
) -> list[ModelRDM]:
    """Compute the RDM of every layer, and its CKA with responses.

    Parameters
    ----------
    sources : sequence of FeatureSource
        Features for the stimuli of the targets.
    targets : sequence of RSATarget
        Targets with the same stimuli.
    settings : RSASettings
        How.

    Returns
    -------
    list of ModelRDM
        All layers of the first source, then of the second, and so on.
    """
    measure = _OF_FEATURES.get(settings.measure, settings.measure)
    nobody = np.empty(0, np.int64)
    grams = {
        target.name: np.array([linear_gram(array) for array in target.responses])
        for target in targets
        if target.responses
    }
    found = []
    with progress(sum(len(s.layers) for s in sources), "RDMs", unit="layer") as bar:
        for source in sources:
            depths = depths_of(source.spec, source.backbone)
            for title in source.layers:
                layer = source.load(title, nobody)
                parts = [part[layer.codes] for part in layer.parts[1:]]
                rows: NDArray[Any] = layer.parts[0]
                if not np.array_equal(layer.codes, np.arange(len(rows))):
                    rows = rows[layer.codes]
                if parts:
                    rows = np.hstack([rows, *parts])
                own: list[FloatArray] = []
                if grams:
                    own = [linear_gram(rows)[None]]
                found.append(
                    ModelRDM(
                        source.spec.title,
                        title,
                        kind_of(source.spec),
                        depths.get(title, float("nan")),
                        source.is_untrained,
                        make_rdm(rows, measure),
                        {
                            name: cka_matrix(own[0], gram, debiased=True)[0]
                            for name, gram in grams.items()
                        },
                    )
                )
                bar.update(1)
    return found


def score_target(
    target: RSATarget, models: Sequence[ModelRDM], settings: RSASettings
) -> dict[str, pd.DataFrame]:
    """Score all layers of all models on one target.

    Parameters
    ----------
    target : RSATarget
        Region of one or several subjects.
    models : sequence of ModelRDM
        Layers in order; models that came with the data are added.
    settings : RSASettings
        How.

    Returns
    -------
    dict of str to DataFrame
        "scores", "pairs" and "comparisons", see `tasks.rsa.run_rsa`.
    """
    packaged = [
        ModelRDM(f"{name} (of the data)", "", PACKAGED, np.nan, False, rdm)
        for name, rdm in target.packaged.items()
    ]
    layers = [*models, *packaged]
    rdms = np.array([layer.rdm for layer in layers])
    over = settings.over or "both"
    if len(target.subjects) == 1:
        over = "images"  # one subject says nothing about others
    choice = select_layers(
        rdms,
        [layer.model for layer in layers],
        target.rdms,
        settings.compare,
        over=over,
        n_splits=settings.n_splits,
        n_bootstrap=settings.n_bootstrap,
        rng=generator(settings.seed, "rsa bootstrap", target.name),
    )
    chance = _permute(target, rdms, settings)
    base = _base(target, settings, over)
    rows = _layer_rows(layers, choice, chance)
    rows = pd.concat([rows, _model_rows(layers, choice, chance)], ignore_index=True)
    for name, value in base.items():
        rows[name] = value
    cka = _cka_rows(target, layers)
    for name in set(base) - {"metric", "standard_error", "over", "n_splits"}:
        cka[name] = base[name]
    for column, bound in zip(
        ("ceiling_low", "ceiling_high"), _ceiling(target, settings), strict=True
    ):
        rows[column] = bound
    rows["ceiling_kind"] = _ceiling_kind(target, rows["ceiling_low"])
    reached = rows["ceiling_low"].where(rows["ceiling_low"] > 0)
    rows["value_over_ceiling"] = rows["value"] / reached
    scores = pd.concat([rows, cka], ignore_index=True) if len(cka) else rows
    first = list(SCORE_COLUMNS)
    others = [c for c in rows.columns if c not in first]
    return {
        "scores": scores.reindex(columns=[*first, *others]),
        "pairs": _pairs(target, layers, choice.scores, settings),
        "comparisons": _comparisons(target, layers, choice, settings, over),
    }


def _base(target: RSATarget, settings: RSASettings, over: str) -> dict[str, Any]:
    data = target.data
    return {
        "subject": target.subject,
        "stimuli": target.stimuli,
        "task": TASK,
        "metric": settings.metric,
        "region": target.region,
        "n": target.n_stimuli,
        "seed": settings.seed,
        "unit": "r",
        "n_subjects": len(target.subjects),
        "over": BOTH if over == "both" else over,
        "n_splits": settings.n_splits,
        "simulated": data.is_simulated,
    }


def _of_layers(layers: Sequence[ModelRDM]) -> pd.DataFrame:
    names = ("model", "layer", "kind", "depth", "untrained")
    return pd.DataFrame({n: [getattr(layer, n) for layer in layers] for n in names})


def _layer_rows(
    layers: Sequence[ModelRDM], choice: LayerSelection, chance: RSAPermutation
) -> pd.DataFrame:
    found = choice.layer_table().drop(columns="model")
    table = pd.concat([_of_layers(layers), found], axis=1)
    table = table.rename(columns={"score": "value", "low": "ci_low", "high": "ci_high"})
    p = chance.p_value()
    low, high = np.quantile(chance.null, [0.025, 0.975], axis=0)
    return table.assign(
        condition=LAYER,
        p_value=p,
        p_fdr=fdr_adjusted(p),
        p_family=chance.p_family(),
        chance_low=low,
        chance_high=high,
    )


def _model_rows(
    layers: Sequence[ModelRDM], choice: LayerSelection, chance: RSAPermutation
) -> pd.DataFrame:
    """Return the chosen layer of each model, and the largest value beside."""
    table = choice.model_table()
    of_layers = _of_layers(layers)
    # The largest of all layers of the model, in every exchange of labels.
    largest = np.array(
        [
            np.fmax.reduce(chance.null[:, choice.model_of == m], axis=1)
            for m in range(len(choice.models))
        ]
    ).T
    p = permutation_p(largest[0], largest, alternative="greater")
    low, high = np.quantile(largest, [0.025, 0.975], axis=0)
    both = []
    for condition, where in ((BEST, "layer"), (OPTIMISTIC, "best_layer")):
        rows = of_layers.iloc[table[where]].reset_index(drop=True)
        fair = condition == BEST
        rows = rows.assign(
            condition=condition,
            value=table["score"] if fair else table["best_score"],
            chosen_share=choice.share[table[where]],
            p_value=p,
            p_fdr=fdr_adjusted(p),
            chance_low=low,
            chance_high=high,
        )
        if fair:
            rows = rows.assign(
                ci_low=table["low"],
                ci_high=table["high"],
                standard_error=table["standard_error"],
                degrees_of_freedom=table["degrees_of_freedom"],
            )
        both.append(rows)
    return pd.concat(both, ignore_index=True)


def _permute(
    target: RSATarget, rdms: FloatArray, settings: RSASettings
) -> RSAPermutation:
    """Exchange labels of stimuli; a layer that is undefined stays undefined."""
    known = np.asarray(np.isfinite(rdms).all(axis=1))
    found = permute_stimuli(
        np.where(known[:, None], rdms, np.arange(rdms.shape[1])),
        target.rdms,
        settings.compare,
        n_permutations=settings.n_permutations,
        rng=generator(settings.seed, "rsa permutation", target.name),
    )
    return RSAPermutation(
        np.where(known, found.scores, np.nan),
        np.where(known, found.null, np.nan),
        found.exact,
    )


def _ceiling(target: RSATarget, settings: RSASettings) -> tuple[float, float]:
    if len(target.subjects) > 1:
        bounds = rdm_ceiling(target.rdms, settings.compare)
        return float(bounds.lower), float(bounds.upper)
    return target.repeat_ceiling, target.repeat_ceiling


def _ceiling_kind(target: RSATarget, ceiling: pd.Series) -> pd.Series:
    kind = _LEAVE_ONE_OUT if len(target.subjects) > 1 else _REPEATS
    return pd.Series(kind, index=ceiling.index).where(ceiling.notna())


def _cka_rows(target: RSATarget, layers: Sequence[ModelRDM]) -> pd.DataFrame:
    known = [layer for layer in layers if target.name in layer.cka]
    return _of_layers(known).assign(
        condition=LAYER,
        metric=CKA,
        unit="share",
        value=[float(layer.cka[target.name].mean()) for layer in known],
    )


def _pairs(
    target: RSATarget,
    layers: Sequence[ModelRDM],
    scores: FloatArray,
    settings: RSASettings,
) -> pd.DataFrame:
    """Return the similarity of every layer with every subject, and of subjects."""
    names = _of_layers(layers)[["model", "layer", "kind"]]
    parts = []
    for k, subject in enumerate(target.subjects):
        common = {"region": target.region, "subject": subject}
        parts.append(names.assign(**common, metric=settings.metric, value=scores[:, k]))
        known = [layer for layer in layers if target.name in layer.cka]
        parts.append(
            _of_layers(known)[["model", "layer", "kind"]].assign(
                **common,
                metric=CKA,
                value=[float(layer.cka[target.name][k]) for layer in known],
            )
        )
    similar = compare_rdms(target.rdms, target.rdms, settings.compare)
    between = [
        {
            "region": target.region,
            "subject": target.subjects[a],
            "model": f"subject {target.subjects[b]}",
            "layer": "",
            "kind": "between subjects",
            "metric": settings.metric,
            "value": similar[a, b],
        }
        for a, b in combinations(range(len(target.subjects)), 2)
    ]
    parts += [pd.DataFrame(between)] if between else []
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return table[list(_FIRST_COLUMNS)]


def _comparisons(
    target: RSATarget,
    layers: Sequence[ModelRDM],
    choice: LayerSelection,
    settings: RSASettings,
    over: str,
) -> pd.DataFrame:
    usual = choice.model_table().set_index("model")["layer"]
    layer_of = {model: layers[row].layer for model, row in usual.items()}
    base = _base(target, settings, over)
    found = [choice.differences().assign(over=base["over"])]
    if over == "both":
        # The same draws, with these subjects taken as they are.
        fixed = replace(choice, chosen=replace(choice.chosen, over="images"))
        found.append(fixed.differences().assign(over="images"))
    table = pd.concat(found, ignore_index=True)
    table = table.rename(columns={"low": "ci_low", "high": "ci_high"})
    table = table.assign(
        layer_a=table["model_a"].map(layer_of), layer_b=table["model_b"].map(layer_of)
    )
    kept = ("task", "metric", "region", "subject", "stimuli", "n", "seed")
    table = table.assign(**{name: base[name] for name in kept})
    first = ["task", "metric", "region", "subject", "stimuli"]
    first += ["model_a", "layer_a", "model_b", "layer_b"]
    return table[[*first, *(c for c in table.columns if c not in first)]]
