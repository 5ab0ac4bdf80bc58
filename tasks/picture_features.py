"""Models as observers of pictures: embeddings and tokens of their layers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.adapters.feature_layers import plan_readings
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.features import extract_features
from tasks.feature_specs import FeatureSpec, parse_features, split_layer
from tasks.models import HUMAN_NAMES
from tasks.rsa_scores import kind_of

Pictures = Sequence[NDArray[np.uint8]]

DEFAULT_MODELS = (
    "compact_vgg:stage2:grid3,stage4:grid3,stage5:grid3",
    "untrained=compact_vgg@seeded:0:stage2:grid3,stage4:grid3,stage5:grid3",
    "control:pixels:pixels:grid16",
)
"""The network that comes with weights, the same untrained, and small pictures."""


@dataclass(frozen=True, eq=False)
class PictureModel:
    """A network with the layers that are read.

    Parameters
    ----------
    title : str
        Name in tables.
    kind : {"network", "control"}
        A control has no weights.
    backbone : Backbone
        The network.
    layers : dict of str to tuple of str
        Requests by title of the layer, as `tasks.feature_specs.split_layer` gives
        them: several stand side by side.
    """

    title: str
    kind: str
    backbone: Backbone
    layers: dict[str, tuple[str, ...]]

    @property
    def untrained(self) -> bool:
        """Whether it is a network with random weights."""
        return self.kind == "network" and not self.backbone.trained

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        return self.backbone.notes

    @property
    def identity(self) -> dict[str, Any]:
        """All that its features depend on besides the pictures."""
        layers = {title: list(parts) for title, parts in self.layers.items()}
        return {**self.backbone.identity, "layers": layers}


def picture_models(
    models: Sequence[str | FeatureSpec] = DEFAULT_MODELS,
    *,
    resize: str | None = "squash",
) -> list[PictureModel]:
    """Load the models that look at pictures.

    Parameters
    ----------
    models : sequence of str or FeatureSpec
        Networks or controls with their layers, as `tasks.feature_specs.parse_features`
        reads them, such as "timm:vit_small_patch16_224.dino:blocks.11:cls"; text may
        begin with ``TITLE=``. The text "default" stands for `DEFAULT_MODELS`.
    resize : str or None, default "squash"
        How pictures come to the size of the input, where models are text. "squash"
        keeps all of the picture.

    Returns
    -------
    list of PictureModel
        On the CPU.

    Raises
    ------
    TypeError, ValueError
        If there is none, a request has another form, is no network, or two titles are
        the same or stand for people.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If weights are missing or damaged.

    Examples
    --------
    >>> [model.title for model in picture_models(["small=control:pixels:pixels:grid4"])]
    ['small']
    """
    listed = [models] if isinstance(models, str | FeatureSpec) else list(models)
    if not listed:
        raise ValueError("`models` is empty: name at least one network.")
    asked = [one for m in listed for one in (DEFAULT_MODELS if m == "default" else [m])]
    specs = [_spec(one, resize) for one in asked]
    titles = [spec.title for spec in specs]
    for title in titles:
        if titles.count(title) > 1 or title in HUMAN_NAMES:
            raise ValueError(
                f"`models` has the title {title!r} twice, or it stands for people: "
                "write TITLE=NETWORK:LAYER to give each model its own."
            )
    return [_load(spec) for spec in specs]


def embed(
    model: PictureModel,
    pictures: Pictures,
    *,
    device: Any = "cpu",
    store: str | Path | None = None,
    batch_size: int | str = "auto",
) -> dict[str, NDArray[np.float32]]:
    """Return one vector per picture from every layer of a model.

    Parameters
    ----------
    model : PictureModel
        From `picture_models`.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures.
    device : str or torch.device, default "cpu"
        Where the network runs.
    store : str or Path, optional
        Folder where features are kept and found again.
    batch_size : int or "auto"
        Pictures at once.

    Returns
    -------
    dict of str to ndarray of float32, shape (n_pictures, n_features)
        By title of the layer.

    Raises
    ------
    ValueError
        If a layer does not fit the network, or features are not finite.
    """
    requests = list(dict.fromkeys(r for parts in model.layers.values() for r in parts))
    size: Any = batch_size
    found = extract_features(
        model.backbone, pictures, requests, batch_size=size, device=device, store=store
    )
    return {
        title: found[parts[0]]
        if len(parts) == 1
        else np.hstack([found[part] for part in parts])
        for title, parts in model.layers.items()
    }


def read_tokens(
    backbone: Backbone,
    pictures: Pictures,
    layer: str,
    *,
    device: Any = "cpu",
    store: str | Path | None = None,
    batch_size: int | str = "auto",
) -> NDArray[np.float32]:
    """Return what a layer holds at every place of the picture.

    Parameters
    ----------
    backbone : Backbone
        Network.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures.
    layer : str
        Path of a module that returns tokens or a map, without a choice, such as
        "blocks.5" or "stage4".
    device : str or torch.device, default "cpu"
        Where the network runs.
    store : str or Path, optional
        Folder where features are kept and found again.
    batch_size : int or "auto"
        Pictures at once.

    Returns
    -------
    ndarray of float32, shape (n_pictures, rows, columns, n_channels)
        Patches of a transformer without its other tokens, or places of a map; row 0
        is at the top.

    Raises
    ------
    ValueError
        If the layer has no places.

    Examples
    --------
    >>> from neurovis.adapters.backbones import load_backbone
    >>> network = load_backbone("timm:test_vit", "seeded:0", resize="squash")
    >>> grey = np.full((32, 32, 3), 128, np.uint8)
    >>> read_tokens(network, [grey], "blocks.1").shape
    (1, 10, 10, 64)
    """
    flat = plan_readings(
        backbone.module, backbone.layout, [f"{layer}:flat"], backbone.name
    )[0].activation
    if flat.grid is None or flat.kind not in ("tokens", "map"):
        raise ValueError(
            f"The layer {layer!r} of {backbone.name} has no places (its output has "
            f"shape {flat.shape}): name one that returns tokens or a map."
        )
    request = f"{layer}:patches" if flat.kind == "tokens" else f"{layer}:flat"
    size: Any = batch_size
    rows = extract_features(
        backbone, pictures, [request], batch_size=size, device=device, store=store
    )[request]
    height, width = flat.grid
    channels = rows.shape[1] // math.prod(flat.grid)
    if flat.kind == "tokens" or flat.order == "channels-last":
        return rows.reshape(len(rows), height, width, channels)
    maps = rows.reshape(len(rows), channels, height, width)
    return np.ascontiguousarray(maps.transpose(0, 2, 3, 1))


def _spec(asked: str | FeatureSpec, resize: str | None) -> FeatureSpec:
    if isinstance(asked, FeatureSpec):
        spec = asked
    else:
        title, equals, rest = str(asked).partition("=")
        # A colon or an at sign comes first where "=" belongs to the title of a layer.
        titled = bool(equals) and not set(":@") & set(title)
        text, label = (rest, title) if titled else (asked, "")
        spec = parse_features(text, label=label, resize=resize)
    if spec.source != "network":
        raise ValueError(
            f"`models` must name networks or controls; got {spec.title!r} from "
            f"{spec.source!r}."
        )
    return spec


def _load(spec: FeatureSpec) -> PictureModel:
    layers = dict(split_layer(layer) for layer in spec.layers)
    return PictureModel(spec.title, kind_of(spec), spec.load_backbone(), layers)
