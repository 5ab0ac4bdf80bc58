"""Finished parts of a run on attention heads: maps measured, heads left out."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from analysis.head_importance import EFFECTS, prune_effects
from analysis.head_patterns import shrink_pattern
from analysis.head_profiles import profile_heads, strength_by_ring
from neurovis.adapters.attention_heads import (
    Images,
    head_gradients,
    head_outputs,
    stream_attention,
)
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.head_layers import HeadLayer
from neurovis.core.files import sha256_bytes
from neurovis.core.log import progress
from neurovis.core.provenance import code_fingerprint
from neurovis.core.store import Store
from tasks.attention_heads_scores import TASK, HeadMeasures, effect_names

# Pictures whose maps are measured and kept together: the most an interruption costs.
_BLOCK = 8


def measure_maps(
    kind: str,
    network: Backbone,
    layers: list[HeadLayer],
    images: Images,
    store: Store,
    place: torch.device,
) -> tuple[HeadMeasures, NDArray[np.float64]]:
    """Measure the maps of all heads, and average those between patches.

    Parameters
    ----------
    kind : {"network", "random", "masked"}
        What the network is in the run.
    network : Backbone
        Network.
    layers : list of HeadLayer
        Its layers.
    images : ndarray of uint8, shape (n_pictures, h, w, 3)
        From `neurovis.adapters.attention_heads.prepare_images`.
    store : Store
        Where blocks of pictures are kept.
    place : torch.device
        Where the network runs.

    Returns
    -------
    measures : HeadMeasures
        Of every picture and head.
    maps : ndarray of float64, shape (n_all_heads, p, p)
        Mean maps from patches to patches, at most 16 x 16 of them.
    """
    found = []
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        found.append(
            store.get_or_compute(
                _parts("maps", network, block),
                partial(_profile, network, layers, block, place),
            )
        )
    sums = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    maps = sums.pop("mean_map")
    sizes = np.array([len(part["rings"]) for part in found], float)
    mean = np.tensordot(sizes / sizes.sum(), maps, axes=1)
    rings = sums.pop("rings")
    heads = pd.DataFrame(
        [
            {"layer": layer.path, "depth": depth, "head": head}
            for depth, layer in enumerate(layers)
            for head in range(layer.n_heads)
        ]
    )
    title = network.name if kind == "network" else f"{network.name} ({kind})"
    untrained = not network.trained
    return HeadMeasures(
        title, kind, untrained, heads, layers[0].grid, sums, rings
    ), mean


def _profile(
    network: Backbone, layers: list[HeadLayer], images: Images, place: torch.device
) -> dict[str, NDArray[Any]]:
    """Return measures per picture and head, and the mean map of the block."""
    grid, prefix = layers[0].grid, network.prefix_tokens
    size = network.preprocessing.size_px
    rows: list[dict[str, NDArray[np.float64]]] = []
    total: Any = 0.0
    for maps in stream_attention(network, images, device=place, batch_size=_BLOCK):
        own: list[dict[str, NDArray[np.float64]]] = []
        patches = []
        for layer in layers:
            attention = maps[layer.path].astype(np.float64)
            profile = profile_heads(
                attention,
                grid,
                prefix=prefix,
                class_token=network.class_token,
                patch_size=(size[0] / grid[0], size[1] / grid[1]),
            )
            profile["rings"] = strength_by_ring(attention, grid, prefix=prefix)
            own.append(profile)
            patches.append(shrink_pattern(attention[:, prefix:, prefix:], grid))
        rows.append({k: np.concatenate([one[k] for one in own]) for k in own[0]})
        total = total + np.concatenate(patches)
    found = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return {**found, "mean_map": total[None] / len(images)}


def leave_heads_out(
    network: Backbone,
    layers: list[HeadLayer],
    images: Images,
    truth: NDArray[np.int64] | None,
    store: Store,
    place: torch.device,
) -> tuple[pd.DataFrame, dict[str, NDArray[np.float64]]]:
    """Leave every head out, and then all others of its layer.

    Parameters
    ----------
    network : Backbone
        Network.
    layers : list of HeadLayer
        Its layers.
    images : ndarray of uint8, shape (n_pictures, h, w, 3)
        From `neurovis.adapters.attention_heads.prepare_images`.
    truth : ndarray of int64, shape (n_pictures,), or None
        Classes of pictures; None for what the whole network says.
    store : Store
        Where layers are kept.
    place : torch.device
        Where the network runs.

    Returns
    -------
    trials : DataFrame
        One row per picture and condition ("whole", "without", "alone"): `picture`,
        `response` (class, -1 for none), `rt_or_cost` (loss in nats), `condition`,
        `layer`, `head` (-1 for none) and the measures of
        `analysis.head_importance.EFFECTS`.
    effects : dict of str to ndarray of float64, shape (n_pictures, n_all_heads)
        The same by measure, and `gradient`; NaN for a network without classes.
    """
    n = len(images)
    whole = head_outputs(network, images, device=place)
    targets = truth
    if targets is None and whole.logits is not None:
        targets = whole.logits.argmax(axis=1)
    told = [] if targets is None else targets.tolist()

    def answer(outputs: Any, **known: Any) -> pd.DataFrame:
        table = pd.DataFrame({"picture": np.arange(n)})
        effects = prune_effects(
            whole.logits,
            outputs.logits,
            targets=targets,
            cls_before=whole.cls,
            cls_after=outputs.cls,
        )
        response, cost = np.full(n, -1), np.full(n, np.nan)
        if outputs.logits is not None and targets is not None:
            response = outputs.logits.argmax(axis=1)
            cost = _losses(outputs.logits, targets)
        return table.assign(response=response, rt_or_cost=cost, **known, **effects)

    def leave(layer: HeadLayer) -> pd.DataFrame:
        tables = []
        for head in range(layer.n_heads):
            alone = np.arange(layer.n_heads) == head
            for condition, kept in (("without", ~alone), ("alone", alone)):
                outputs = head_outputs(
                    network, images, kept={layer.path: kept}, device=place
                )
                tables.append(
                    answer(outputs, condition=condition, layer=layer.path, head=head)
                )
        return pd.concat(tables, ignore_index=True)

    tables = [answer(whole, condition="whole", layer="", head=-1)]
    n_heads = sum(layer.n_heads for layer in layers)
    with progress(n_heads, "leaving out", unit="head") as bar:
        for layer in layers:
            parts = _parts("heads", network, images, targets=told, layer=layer.path)
            tables.append(store.get_or_compute(parts, partial(leave, layer)))
            bar.update(layer.n_heads)
    trials = pd.concat(tables, ignore_index=True)
    effects = {}
    for condition, names in (
        ("without", effect_names()[: len(EFFECTS)]),
        ("alone", effect_names()[len(EFFECTS) :]),
    ):
        part = trials[trials["condition"] == condition]
        for column, name in zip(EFFECTS, names, strict=True):
            effects[name] = part[column].to_numpy(np.float64).reshape(n_heads, n).T
    if targets is None:
        effects["gradient"] = np.full((n, n_heads), np.nan)
    else:
        parts = _parts("gradients", network, images, targets=told)
        slopes = store.get_or_compute(
            parts, lambda: head_gradients(network, images, targets, device=place)
        )
        columns = [np.abs(slopes[layer.path]) for layer in layers]
        effects["gradient"] = np.concatenate(columns, axis=1).astype(np.float64)
    return trials, effects


def _losses(
    logits: NDArray[np.float32], targets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the cross-entropy of each picture in nats."""
    values = torch.from_numpy(logits).double()
    wanted = torch.from_numpy(targets.astype(np.int64))
    losses = torch.nn.functional.cross_entropy(values, wanted, reduction="none")
    found: NDArray[np.float64] = losses.numpy()
    return found


def _parts(part: str, network: Backbone, images: Images, **more: Any) -> dict[str, Any]:
    return {
        "task": TASK,
        "part": part,
        "code": code_fingerprint(),
        "model": network.identity,
        "images": [list(images.shape), sha256_bytes(images.tobytes())],
        **more,
    }
