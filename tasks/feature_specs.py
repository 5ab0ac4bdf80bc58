"""Features as a user asks for them: a network, its weights, its layers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.adapters.backbones import SMALL_NETWORKS, load_backbone
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.features import extract_features
from neurovis.adapters.projections import Projection
from neurovis.core.checks import check_option, check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt, sha256_file
from neurovis.core.pictures import LazyPictures
from neurovis.core.unit_responses import UnitResponses
from tasks.brain_sources import BrainData

SHIPPED_FEATURES = "compact_vgg"
"""The network that comes with weights: what is taken when nothing is asked for."""

_HUB_NETWORK = r"(?:timm|torchvision|open_clip|transformers|control):[^:@]+"
_FORM = re.compile(
    rf"(?P<network>{_HUB_NETWORK}|{'|'.join(SMALL_NETWORKS)})"
    r"(?:@(?P<weights>seeded:\d+(?:/\d)?|[^:]+))?(?::(?P<layers>.+))?"
)
# Read layer by layer when none are named: from early to late.
DEFAULT_LAYERS: Mapping[str, tuple[str, ...]] = {
    "compact_vgg": tuple(f"stage{k}:grid3" for k in range(1, 6)),
    "squeezenet1_0": tuple(
        f"{layer}:grid3" for layer in ("conv1", *(f"fire{k}" for k in range(2, 10)))
    ),
    "darknet_tiny": tuple(f"conv{k}:grid3" for k in (1, 2, 4, 6, 8, 10, 12, 14, 15)),
    "control:gabor": (
        "energy=" + "+".join(f"cycles{n}:grid8" for n in (4, 8, 16, 32)),
    ),
    "control:pyramid": ("energy=" + "+".join(f"level{n}:grid8" for n in range(1, 5)),),
    "control:colour": ("statistics", "lab:grid4"),
    "control:pixels": ("pixels:flat",),
}
"""Layers of networks that are known beforehand."""


@dataclass(frozen=True)
class FeatureSpec:
    """Features as a user asks for them.

    Parameters
    ----------
    source : {"network", "given", "file"}
        Layers of a network, features that came with the data, or a file.
    name : str
        Name of the network (see `neurovis.adapters.backbones.load_backbone`), of the
        features, or the path of the file.
    layers : tuple of str
        Each ``[TITLE=]REQUEST[+REQUEST...]``, with requests as
        `neurovis.adapters.feature_layers` describes them: several stand side by side
        as one set of features. For a file of named arrays, their names; else empty.
    weights : str, optional
        Weights of the network.
    label : str
        Name in tables.
    resize : str, optional
        How pictures come to the size of the network's input; its own rule by default.
    """

    source: str
    name: str
    layers: tuple[str, ...]
    weights: str | None = None
    label: str = ""
    resize: str | None = None

    @property
    def title(self) -> str:
        """The label, or what stands for it."""
        if self.label:
            return self.label
        name = Path(self.name).stem if self.source == "file" else self.name
        if self.weights is None:
            return name
        if self.weights.startswith("seeded:"):
            return f"{name}@{self.weights}"
        return f"{name}@{Path(self.weights).stem}"

    def load_backbone(self) -> Backbone:
        """Build the network, on the CPU.

        Returns
        -------
        Backbone
            With its weights.

        Raises
        ------
        ValueError, FileNotFoundError, DataCorruptError, MissingDependencyError
            As `neurovis.adapters.backbones.load_backbone`.
        """
        check_option("source", self.source, ("network",))
        resize: Any = self.resize
        return load_backbone(self.name, self.weights, resize=resize)


def parse_features(
    text: str, *, label: str = "", resize: str | None = None
) -> FeatureSpec:
    """Read a request for features.

    Parameters
    ----------
    text : str
        ``NETWORK[@WEIGHTS][:LAYER,LAYER...]`` such as
        "timm:resnet50:layer3:gap,layer4:gap", "squeezenet1_0@weights.safetensors",
        "timm:vit_base_patch16_224@seeded:0:blocks.5:cls" or "control:gabor", layers
        as `FeatureSpec` has them;
        ``given:NAME`` for features that came with the data; ``file:PATH`` for a
        ``.npy`` file with one row per row of the responses, or ``file:PATH:NAME`` for
        an array of an ``.npz`` file that has `stimulus_id` beside.
    label : str, optional
        Name in tables.
    resize : str, optional
        As `FeatureSpec`.

    Returns
    -------
    FeatureSpec
        The request.

    Raises
    ------
    TypeError, ValueError
        If the text has another form, or a network that is not known beforehand has no
        layers.

    Examples
    --------
    >>> spec = parse_features("timm:resnet18@seeded:0:layer3:gap,layer4:gap")
    >>> spec.name, spec.weights, spec.layers
    ('timm:resnet18', 'seeded:0', ('layer3:gap', 'layer4:gap'))
    >>> parse_features("given:word2vec_pcs").source
    'given'
    """
    if not isinstance(text, str):
        raise TypeError(f"`features` must be text; got {text!r}.")
    source, _, rest = text.partition(":")
    if source in ("given", "file") and rest:
        name, colon, arrays = (
            rest.partition(":") if source == "file" else (rest, "", "")
        )
        layers = tuple(part for part in arrays.split(",") if part) if colon else ()
        return FeatureSpec(source, name, layers, label=label)
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(
            "`features` must be NETWORK[@WEIGHTS][:LAYER,...] with a network "
            "'timm:NAME', 'torchvision:NAME', 'open_clip:NAME', "
            "'transformers:NAME', 'control:NAME', "
            f"{', '.join(repr(n) for n in SMALL_NETWORKS)}, or 'given:NAME' or "
            f"'file:PATH'; got {text!r}."
        )
    network = found["network"]
    layers = tuple(part for part in (found["layers"] or "").split(",") if part)
    layers = layers or DEFAULT_LAYERS.get(network, ())
    titles = [split_layer(layer)[0] for layer in layers]
    if len(set(titles)) < len(titles):
        raise ValueError(f"`features` {text!r} names a layer twice.")
    if not layers:
        raise ValueError(
            f"`features` {text!r} names no layers: write {network}:LAYER,LAYER. "
            "`neurovis.adapters.backbones.list_layers` tells what there is."
        )
    return FeatureSpec("network", network, layers, found["weights"], label, resize)


def load_features(
    spec: FeatureSpec,
    data: BrainData,
    *,
    backbone: Backbone | None = None,
    store: str | Path | None = None,
    projection: Mapping[str, Projection] | None = None,
    batch_size: int | str = "auto",
    device: Any = "cpu",
) -> dict[str, NDArray[np.float32]]:
    """Compute or read features of all rows of responses.

    Parameters
    ----------
    spec : FeatureSpec
        What to compute.
    data : BrainData
        Responses with pictures or with features that came with them.
    backbone : Backbone, optional
        The network of `spec`, when it is loaded already.
    store : str or Path, optional
        Folder where features of networks are kept and found again.
    projection : mapping of str to Projection, optional
        By layer, as `neurovis.adapters.features.extract_features`.
    batch_size : int or "auto"
        Pictures at once.
    device : str or torch.device, default "cpu"
        Where the network runs.

    Returns
    -------
    dict of str to ndarray of float32, shape (n_rows, n_features)
        By layer; a set of features without layers has one entry, "".

    Raises
    ------
    ValueError, KeyError
        If the data have no pictures, or no such features, or rows do not fit.
    FileNotFoundError, DataCorruptError
        If a file is missing or damaged.
    """
    parts, codes = load_feature_parts(
        spec,
        data,
        backbone=backbone,
        store=store,
        projection=projection,
        batch_size=batch_size,
        device=device,
    )
    every_row = np.array_equal(codes, np.arange(len(data.responses)))
    joined = {}
    for title, arrays in parts.items():
        rows = arrays[0] if len(arrays) == 1 else np.hstack(arrays)
        joined[title] = rows if every_row else rows[codes]
    return joined


def load_feature_parts(
    spec: FeatureSpec,
    data: BrainData,
    *,
    backbone: Backbone | None = None,
    store: str | Path | None = None,
    projection: Mapping[str, Projection] | None = None,
    batch_size: int | str = "auto",
    device: Any = "cpu",
    fingerprint: str | None = None,
) -> tuple[dict[str, list[NDArray[np.float32]]], NDArray[np.intp]]:
    """Compute or read features without joining or repeating them in memory.

    Parameters
    ----------
    spec : FeatureSpec
        What to compute.
    data : BrainData
        As for `load_features`.
    backbone : Backbone, optional
        As for `load_features`.
    store : str or Path, optional
        As for `load_features`.
    projection : mapping of str to Projection, optional
        As for `load_features`.
    batch_size : int or "auto"
        As for `load_features`.
    device : str or torch.device, default "cpu"
        As for `load_features`.
    fingerprint : str, optional
        Content hash of the pictures of `distinct_stimuli`, when it is known.

    Returns
    -------
    parts : dict of str to list of ndarray of float32, shape (n_found, n_features)
        By layer: sets of features that stand side by side, memory-mapped when there
        is a `store`.
    codes : ndarray of int, shape (n_rows,)
        Which of these rows belongs to each row of the responses.

    Raises
    ------
    ValueError, KeyError, FileNotFoundError, DataCorruptError
        As `load_features`.
    """
    everything = np.arange(len(data.responses))
    if spec.source == "given":
        check_option(
            "features that came with the data", spec.name, tuple(data.features)
        )
        found = {"": data.features[spec.name]}
    elif spec.source == "file":
        found = _read_file(spec, data)
    if spec.source != "network":
        _check_finite(spec, data, found)
        return {name: [array] for name, array in found.items()}, everything
    pictures = pictures_of(spec, data)
    codes, _ = distinct_stimuli(data.responses)
    size: Any = batch_size
    requests = {layer: split_layer(layer) for layer in spec.layers}
    read = extract_features(
        backbone or spec.load_backbone(),
        pictures,
        list(dict.fromkeys(part for _, parts in requests.values() for part in parts)),
        batch_size=size,
        device=device,
        store=store,
        projection=projection,
        fingerprint=fingerprint,
    )
    by_title = {
        title: [read[part] for part in parts] for title, parts in requests.values()
    }
    return by_title, codes


def pictures_of(spec: FeatureSpec, data: BrainData) -> Sequence[NDArray[np.uint8]]:
    """Return one picture per distinct stimulus, in the order of their first rows.

    Parameters
    ----------
    spec : FeatureSpec
        Who wants to look, for the message.
    data : BrainData
        Responses with pictures.

    Returns
    -------
    sequence of ndarray of uint8, shape (H, W, 3)
        Read when asked for.

    Raises
    ------
    ValueError
        If the data have no pictures.
    """
    pictures = data.responses.pictures
    if pictures is None:
        raise ValueError(
            f"{data.name} has no pictures, so that {spec.title} cannot look at them. "
            "Use features that came with the data (given:NAME) or a file (file:PATH)."
        )
    # Trials of one stimulus share their features: each picture is seen once.
    _, first = distinct_stimuli(data.responses)
    return LazyPictures(pictures.__getitem__, [int(row) for row in first])


def distinct_stimuli(
    responses: UnitResponses,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the number of each row's stimulus, and the first row of each stimulus.

    Parameters
    ----------
    responses : UnitResponses
        Averages or single trials.

    Returns
    -------
    codes : ndarray of int, shape (n_rows,)
        0, 1, ... in the order of first rows.
    first : ndarray of int, shape (n_stimuli,)
        0-based rows, ascending.
    """
    codes, _ = responses.stimuli["stimulus_id"].factorize()
    return codes.astype(np.intp), np.unique(codes, return_index=True)[1]


def split_layer(layer: str) -> tuple[str, tuple[str, ...]]:
    """Take one entry of `FeatureSpec.layers` apart.

    Parameters
    ----------
    layer : str
        ``[TITLE=]REQUEST[+REQUEST...]``.

    Returns
    -------
    str
        Title, by default the requests.
    tuple of str
        Requests for single layers.

    Raises
    ------
    ValueError
        If a part is empty.

    Examples
    --------
    >>> split_layer("early=conv1:gap+conv2:gap")
    ('early', ('conv1:gap', 'conv2:gap'))
    >>> split_layer("fire5:grid3")
    ('fire5:grid3', ('fire5:grid3',))
    """
    title, equals, requests = layer.partition("=")
    parts = tuple((requests if equals else layer).split("+"))
    if not title or not all(parts):
        raise ValueError(
            f"A layer must be [TITLE=]REQUEST[+REQUEST...], none of them empty; got "
            f"{layer!r}."
        )
    return (title if equals else layer), parts


def fingerprint_features(spec: FeatureSpec) -> dict[str, str]:
    """Return what identifies features, for provenance and for stores.

    Parameters
    ----------
    spec : FeatureSpec
        Features.

    Returns
    -------
    dict of str to str
        "weights" (hash of the network's) or "file" (SHA-256); empty for features that
        came with the data, which are hashed with them.
    """
    if spec.source == "given":
        return {}
    if spec.source == "file":
        return {"file": sha256_file(check_path("features", spec.name))}
    return {"weights": spec.load_backbone().weights_hash}


def _check_finite(
    spec: FeatureSpec, data: BrainData, found: Mapping[str, NDArray[np.float32]]
) -> None:
    for name, array in found.items():
        finite = np.isfinite(array)
        if finite.all():
            continue
        row = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise ValueError(
            f"{':'.join(filter(None, (spec.source, spec.name, name)))} has "
            f"{int((~finite).sum())} values that are NaN or infinite, the first for "
            f"{data.responses.stimuli['stimulus_id'].iloc[row]!r}: every feature must "
            "be finite. Mend or leave out these stimuli or features."
        )


def _read_file(spec: FeatureSpec, data: BrainData) -> dict[str, NDArray[np.float32]]:
    path = check_path("features", spec.name)
    ids = data.responses.stimuli["stimulus_id"].astype(str).to_numpy()
    try:
        content = np.load(path)
        if isinstance(content, np.ndarray):
            arrays = {"": content}
            own = ids
        else:
            with content:
                if "stimulus_id" not in content.files:
                    raise ValueError("it has no array `stimulus_id`")
                own = content["stimulus_id"].astype(str)
                names = spec.layers or tuple(
                    n for n in content.files if n != "stimulus_id"
                )
                lacking = [n for n in names if n not in content.files]
                if lacking:
                    raise ValueError(f"it has no array {lacking[0]!r}")
                arrays = {n: content[n] for n in names}
    except DECODER_ERRORS as error:
        raise corrupt(path, "file of features", error) from error
    place = {name: row for row, name in enumerate(own)}
    if own is not ids and len(place) < len(own):
        raise ValueError(f"{path} has several rows of one stimulus_id: keep one each.")
    missing = [name for name in ids if name not in place]
    if missing:
        raise ValueError(
            f"{path} has no features of {len(set(missing))} stimuli, such as "
            f"{missing[0]!r}. Add them, or leave those stimuli out."
        )
    rows = np.array([place[name] for name in ids])
    found = {}
    for name, array in arrays.items():
        if array.ndim != 2 or len(array) != len(own) or array.dtype.kind not in "fiu":
            raise DataCorruptError(
                f"{path}: {name or 'the array'} must hold numbers of shape "
                f"({len(own)}, n_features); got {array.dtype} of {array.shape}."
            )
        # Rows of a plain array are the rows of the responses as they come.
        taken = array if own is ids else array[rows]
        found[name] = np.ascontiguousarray(taken, dtype=np.float32)
    return found
