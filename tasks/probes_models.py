"""Models that are probed: what was asked for, and which of them belong together."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from neurovis.adapters.feature_stream import plan
from neurovis.core.checks import suggest
from tasks.feature_specs import FeatureSpec, parse_features, split_layer
from tasks.rsa_scores import depths_of, kind_of

BASELINES = ("control:pixels:pixels:grid16", "control:colour")
"""Controls that stand beside every network: small pictures, and colour."""

# A colon or an at sign comes first where "=" belongs to the title of a layer.
_GROUPED = re.compile(r"(?P<group>[^=:@]+)=(?P<features>.+)")


@dataclass(frozen=True)
class ProbedModel:
    """One model, and the group that it is a run of.

    Parameters
    ----------
    spec : FeatureSpec
        Network and layers.
    group : str
        Models of one kind, such as training seeds, have one group.
    """

    spec: FeatureSpec
    group: str

    @property
    def title(self) -> str:
        """Name in tables."""
        return self.spec.title

    @property
    def kind(self) -> str:
        """Whether it is a "network" or a "control"."""
        return kind_of(self.spec)

    @property
    def layers(self) -> dict[str, tuple[str, ...]]:
        """Requests for single layers, by title of the set that they make."""
        return dict(split_layer(layer) for layer in self.spec.layers)

    @property
    def requests(self) -> list[str]:
        """All requests for single layers, each once."""
        return list(dict.fromkeys(p for parts in self.layers.values() for p in parts))


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model before anything is computed.

    Parameters
    ----------
    weights : str
        Hash of its weights.
    untrained : bool
        Whether it is a network with random weights.
    notes : tuple of str
        What a reader must know.
    depths : mapping of str to float
        Depth of each layer, 0..1; NaN where there is no order.
    """

    weights: str
    untrained: bool
    notes: tuple[str, ...]
    depths: Mapping[str, float]


def read_models(
    models: Sequence[str | FeatureSpec],
    groups: Mapping[str, str] | None = None,
    *,
    baselines: Sequence[str | FeatureSpec] = BASELINES,
    resize: str | None = "squash",
) -> list[ProbedModel]:
    """Read what is to be probed, baselines last.

    Parameters
    ----------
    models : sequence of str or FeatureSpec
        Networks or controls with their layers, as `tasks.feature_specs.parse_features`
        reads them; text may begin with ``GROUP=``. Several of one such group are
        called "GROUP 1", "GROUP 2" and so on, a single one like its group.
    groups : mapping of str to str, optional
        Group of models by their title, where the text names none.
    baselines : sequence of str or FeatureSpec
        Models that are added unless `models` name them.
    resize : str or None, default "squash"
        How pictures come to the size of the input, where models are text.

    Returns
    -------
    list of ProbedModel
        Models without a group are one of their own.

    Raises
    ------
    TypeError, ValueError
        If a request has another form or is no network, a title comes twice, or
        `groups` names a model that is not there.

    Examples
    --------
    >>> asked = [f"old=squeezenet1_0@seeded:{k}:fire5:gap" for k in (0, 1)]
    >>> [(m.title, m.group) for m in read_models(asked, baselines=())]
    [('old 1', 'old'), ('old 2', 'old')]
    """
    listed = [models] if isinstance(models, str | FeatureSpec) else list(models)
    if not listed:
        raise ValueError("`models` is empty: name at least one network.")
    named = [_split_group(asked) for asked in listed]
    counts: dict[str, int] = {}
    found = []
    for group, asked in named:
        spec = _as_spec(asked, resize)
        if group:
            counts[group] = counts.get(group, 0) + 1
            several = sum(other == group for other, _ in named) > 1
            spec = replace(spec, label=f"{group} {counts[group]}" if several else group)
        found.append((group, spec))
    there = {(spec.name, spec.layers) for _, spec in found}
    for asked in baselines:
        spec = _as_spec(asked, resize)
        if (spec.name, spec.layers) not in there:
            found.append(("", spec))
    titles = [spec.title for _, spec in found]
    twice = [title for title in titles if titles.count(title) > 1]
    if twice:
        raise ValueError(
            f"`models` has {twice[0]!r} twice: name each once with all its layers, or "
            "put runs of one kind into a group, as GROUP=NETWORK@WEIGHTS:LAYERS."
        )
    given = dict(groups or {})
    for title in given:
        if title not in titles:
            raise ValueError(
                f"`groups` names {title!r}, which is no model.{suggest(title, titles)}"
            )
    return [
        ProbedModel(spec, given.get(spec.title) or group or spec.title)
        for group, spec in found
    ]


def inspect_models(models: Sequence[ProbedModel]) -> dict[str, ModelFacts]:
    """Load every model once and check its layers.

    Parameters
    ----------
    models : sequence of ProbedModel
        What was asked for.

    Returns
    -------
    dict of str to ModelFacts
        By title.

    Raises
    ------
    ValueError, FileNotFoundError, DataCorruptError, MissingDependencyError
        If weights are missing or damaged, or a layer is unknown.
    """
    found = {}
    for model in models:
        backbone = model.spec.load_backbone()
        plan(backbone, model.requests, torch.device("cpu"))
        found[model.title] = ModelFacts(
            backbone.weights_hash,
            model.kind == "network" and not backbone.trained,
            # The title says which of several runs it is.
            tuple(
                f"{model.title}: {note.removeprefix(f'{backbone.name}: ')}"
                for note in backbone.notes
            ),
            depths_of(model.spec, backbone),
        )
    return found


def _split_group(asked: str | FeatureSpec) -> tuple[str, str | FeatureSpec]:
    if not isinstance(asked, str):
        return "", asked
    match = _GROUPED.fullmatch(asked)
    return (match["group"].strip(), match["features"]) if match else ("", asked)


def _as_spec(asked: Any, resize: str | None) -> FeatureSpec:
    spec = (
        asked
        if isinstance(asked, FeatureSpec)
        else parse_features(asked, resize=resize)
    )
    if spec.source != "network":
        raise ValueError(
            f"`models` must be networks or controls, which can be shown pictures; got "
            f"{spec.source}:{spec.name}."
        )
    return spec
