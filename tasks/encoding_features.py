"""Features of an encoding model, projected by what training rows tell alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurovis.adapters.feature_components import principal_components
from neurovis.adapters.feature_layers import Reading
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.feature_stream import plan
from neurovis.adapters.features import fingerprint_pictures, fit_principal_components
from neurovis.adapters.projections import (
    Projection,
    load_projection,
    save_projection,
    sparse_projection,
)
from neurovis.core.checks import check_option, check_whole
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import plain, sha256_bytes, sha256_json
from neurovis.core.pictures import LazyPictures
from tasks.brain_sources import BrainData, Split
from tasks.encoding_fwrf import MapShape, coarse_note, map_shapes
from tasks.encoding_layers import Layer, file_name
from tasks.feature_specs import (
    FeatureSpec,
    distinct_stimuli,
    load_feature_parts,
    parse_features,
    pictures_of,
    split_layer,
)

PROJECTIONS = ("pca", "sparse")


@dataclass(frozen=True, eq=False)
class FeatureSource:
    """The features that one request gives for one subject.

    Parameters
    ----------
    spec : FeatureSpec
        Request.
    data : BrainData
        Subject.
    backbone : Backbone, optional
        Network of the request.
    sizes : mapping of str to int
        Features of each request for a layer, or of each array.
    store : Path
        Where features and projections are kept.
    n_components : int, optional
        Layers with more features are projected to so many.
    projection : {"pca", "sparse"}
        How.
    seed : int
        Seed of random projections.
    device : str
        Where networks run.
    shapes : mapping of str to tuple of int
        Maps, height and width of each request, where whole maps are wanted.
    """

    spec: FeatureSpec
    data: BrainData
    backbone: Backbone | None
    sizes: Mapping[str, int]
    store: Path
    n_components: int | None = None
    projection: str = "pca"
    seed: int = 0
    device: str = "cpu"
    shapes: Mapping[str, MapShape] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[str, ...]:
        """Titles."""
        return tuple(self._requests)

    @property
    def is_untrained(self) -> bool:
        """Whether the network has random weights."""
        return self.backbone is not None and not self.backbone.trained

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        coarse = coarse_note(self.shapes, self.spec.title) if self.shapes else ()
        if not self.is_untrained:
            return coarse
        assert self.backbone is not None
        name = self.backbone.weights_name
        return (f"{self.spec.title}: untrained weights ({name})", *coarse)

    @cached_property
    def _requests(self) -> dict[str, tuple[str, ...]]:
        if self.spec.source == "network":
            return dict(split_layer(layer) for layer in self.spec.layers)
        return {name: (name,) for name in self.sizes}

    @cached_property
    def _mark(self) -> str:
        """Hash of the pictures, or of the arrays."""
        if self.spec.source == "network":
            return fingerprint_pictures(pictures_of(self.spec, self.data))
        parts, _ = load_feature_parts(self.spec, self.data)
        texts = [
            f"{name} {array.shape} {sha256_bytes(array.tobytes())}"
            for name, (array,) in parts.items()
        ]
        return sha256_bytes("\n".join(texts).encode())

    def map_shapes(self, layer: str) -> tuple[MapShape, ...]:
        """Return the shapes of the parts of a layer.

        Parameters
        ----------
        layer : str
            Title.

        Returns
        -------
        tuple of tuple of int
            Maps, height and width, in the order of the parts.
        """
        return tuple(self.shapes[request] for request in self._requests[layer])

    def _projected(self, layer: str) -> list[str]:
        """Return the requests of a layer that have too many features."""
        most = self.n_components
        wide = self._requests[layer] if most is not None else ()
        return [part for part in wide if self.sizes[part] > (most or 0)]

    def identity(self, layer: str, train: NDArray[np.int64]) -> dict[str, Any]:
        """Return all that the features of a layer depend on.

        Parameters
        ----------
        layer : str
            Title.
        train : ndarray of int64
            Rows that projections are fitted to.

        Returns
        -------
        dict
            JSON values.
        """
        network = None if self.backbone is None else self.backbone.identity
        return {
            "content": self._mark,
            "network": network,
            "requests": list(self._requests[layer]),
            "projections": {
                part: self._projection_parts(part, train)
                for part in self._projected(layer)
            },
        }

    def _projection_parts(
        self, request: str, train: NDArray[np.int64]
    ) -> dict[str, Any]:
        """Return all that a projection depends on."""
        parts: dict[str, Any] = {
            "kind": self.projection,
            "n_features": self.sizes[request],
            "n_components": self.n_components,
        }
        if self.projection == "sparse":
            return parts | {"seed": self.seed}
        stimuli = self._training_stimuli(train)
        return parts | {
            "request": request,
            "content": self._mark,
            "network": None if self.backbone is None else self.backbone.identity,
            "stimuli": sha256_json(stimuli.tolist()),
        }

    def _training_stimuli(self, train: NDArray[np.int64]) -> NDArray[np.intp]:
        codes, _ = distinct_stimuli(self.data.responses)
        return np.unique(codes[train])

    def load(self, layer: str, train: NDArray[np.int64]) -> Layer:
        """Compute or read the features of a layer for all rows.

        Parameters
        ----------
        layer : str
            Title.
        train : ndarray of int64
            Rows that projections are fitted to.

        Returns
        -------
        Layer
            Features of networks are memory-mapped.

        Raises
        ------
        ValueError, FileNotFoundError, DataCorruptError, OSError
            As `tasks.feature_specs.load_features`.
        """
        wide = [part for name in self.layers for part in self._projected(name)]
        projections = self._projections(list(dict.fromkeys(wide)), train)
        if self.spec.source != "network":
            return self._load_given(layer, projections)
        key = tuple(projections[part].identity["arrays"] for part in projections)
        if self._memory.get("key") != key:
            # One pass through the network gives all layers.
            parts, codes = load_feature_parts(
                self.spec,
                self.data,
                backbone=self.backbone,
                store=self.store / "features",
                projection=projections,
                device=self.device,
                fingerprint=self._mark,
            )
            self._memory.update(key=key, parts=parts, codes=codes)
        own = {r: projections[r] for r in self._projected(layer)}
        return Layer(
            layer, tuple(self._memory["parts"][layer]), self._memory["codes"], own
        )

    @cached_property
    def _memory(self) -> dict[str, Any]:
        """What the last pass gave: files, not their content."""
        return {}

    def _load_given(self, layer: str, projections: dict[str, Projection]) -> Layer:
        parts, codes = load_feature_parts(self.spec, self.data)
        (array,) = parts[layer]
        own = {r: projections[r] for r in self._projected(layer)}
        if own:
            array = projections[layer].transform(np.ascontiguousarray(array))
        return Layer(layer, (array,), codes, own)

    def _projections(
        self, requests: Sequence[str], train: NDArray[np.int64]
    ) -> dict[str, Projection]:
        """Return projections, from the store where they are there."""
        n_components = self.n_components or 0
        found: dict[str, Projection] = {}
        paths = {}
        for request in requests:
            parts = self._projection_parts(request, train)
            if self.projection == "sparse":
                size = self.sizes[request]
                found[request] = sparse_projection(size, n_components, seed=self.seed)
                continue
            name = f"{sha256_json(parts)}.safetensors"
            paths[request] = self.store / "projections" / name
            if paths[request].is_file():
                try:
                    found[request] = load_projection(paths[request])
                except DataCorruptError:
                    paths[request].unlink()
        missing = [request for request in requests if request not in found]
        if missing:
            fitted = self._fit_components(missing, train)
            for request in missing:
                save_projection(paths[request], fitted[request])
                found[request] = load_projection(paths[request])
        return {request: found[request] for request in requests}

    def _fit_components(
        self, requests: list[str], train: NDArray[np.int64]
    ) -> Mapping[str, Projection]:
        n_components = self.n_components or 0
        if self.backbone is None:
            arrays, _ = load_feature_parts(self.spec, self.data)
            return {
                name: principal_components([arrays[name][0][train]], n_components)
                for name in requests
            }
        pictures = pictures_of(self.spec, self.data)
        stimuli = [int(i) for i in self._training_stimuli(train)]
        return fit_principal_components(
            self.backbone,
            LazyPictures(pictures.__getitem__, stimuli),
            requests,
            n_components,
            device=self.device,
        )

    def describe(self, layer: Layer) -> dict[str, Any]:
        """Describe features so that they can be computed for other pictures.

        Parameters
        ----------
        layer : Layer
            From `load`.

        Returns
        -------
        dict
            JSON values; projections are told by request and hash.
        """
        facts: dict[str, Any] = {
            "title": self.spec.title,
            "source": self.spec.source,
            "name": self.spec.name,
            "layer": layer.title,
            "requests": list(self._requests[layer.title]),
            "untrained": self.is_untrained,
            "projections": {r: dict(p.identity) for r, p in layer.projections.items()},
        }
        if self.backbone is None:
            return facts | {"content": self._mark}
        weights = self.spec.weights
        if weights is not None and Path(weights).is_file():
            weights = str(Path(weights).resolve())
        return facts | {
            "weights": weights,
            "resize": self.spec.resize,
            "weights_hash": self.backbone.weights_hash,
            "architecture": self.backbone.architecture,
            "preprocessing": plain(self.backbone.preprocessing.identity),
        }


def plan_features(
    features: Sequence[FeatureSpec | str],
    brains: Sequence[BrainData],
    splits: Mapping[str, Sequence[Split]],
    *,
    store: Path,
    n_components: int | None = None,
    projection: str = "pca",
    seed: int = 0,
    device: str = "cpu",
    whole_maps: bool = False,
) -> dict[str, list[FeatureSource]]:
    """Check requests for features against networks and data, before any is computed.

    Parameters
    ----------
    features : sequence of FeatureSpec or str
        Requests, see `tasks.feature_specs.parse_features`.
    brains : sequence of BrainData
        Subjects.
    splits : mapping of str to sequence of Split
        Of each subject, by its name.
    store : Path
        Where features and projections will be kept.
    n_components : int, optional
        Layers with more features are projected to so many.
    projection : {"pca", "sparse"}
        Principal components of the training pictures, or a random projection.
    seed : int, default 0
        Seed of random projections.
    device : str, default "cpu"
        Where networks will run.
    whole_maps : bool, default False
        Refuse what has no places in the picture.

    Returns
    -------
    dict of str to list of FeatureSource
        One list per subject, by its name, in the order of the requests.

    Raises
    ------
    TypeError, ValueError
        If there is no request, two have one title, a layer does not exist, or there
        are too few training pictures for the components.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If weights or files are missing or damaged.
    """
    if isinstance(features, str | FeatureSpec):
        features = [features]
    check_option("projection", projection, PROJECTIONS)
    specs = [parse_features(f) if isinstance(f, str) else f for f in features]
    if not specs:
        raise ValueError("`features` is empty: name a network, given:NAME, file:PATH.")
    names = [file_name(spec.title) for spec in specs]
    twice = [spec for spec in specs if names.count(file_name(spec.title)) > 1]
    if twice:
        raise ValueError(
            f"`features` has two sets called {twice[0].title!r}: join their layers, or "
            "tell them apart with FeatureSpec(label=...)."
        )
    if n_components is not None:
        check_whole("n_components", n_components, low=1)
    sources: dict[str, list[FeatureSource]] = {brain.name: [] for brain in brains}
    for spec in specs:
        backbone = spec.load_backbone() if spec.source == "network" else None
        sizes: dict[str, int] = {}
        shapes: dict[str, MapShape] = {}
        if backbone is not None:
            readings = read_layers(spec, backbone)
            sizes = {reading.text: reading.n_features for reading in readings}
            shapes = map_shapes(readings, spec.title) if whole_maps else {}
        elif whole_maps:
            raise ValueError(
                f"method='fwrf' pools feature maps, and {spec.source}:{spec.name} has "
                "none: name a network."
            )
        for brain in brains:
            if backbone is not None:
                pictures_of(spec, brain)
            else:
                arrays, _ = load_feature_parts(spec, brain)
                sizes = {name: int(a.shape[1]) for name, (a,) in arrays.items()}
            source = FeatureSource(
                spec,
                brain,
                backbone,
                sizes,
                store,
                n_components,
                projection,
                seed,
                device,
                shapes,
            )
            _check_source(source, splits[brain.name])
            sources[brain.name].append(source)
    return sources


def read_layers(spec: FeatureSpec, backbone: Backbone) -> list[Reading]:
    """Return the layers of a request as a network understands them.

    Parameters
    ----------
    spec : FeatureSpec
        Request for a network.
    backbone : Backbone
        The network.

    Returns
    -------
    list of Reading
        Each request once, in its order.

    Raises
    ------
    ValueError
        If a layer does not exist or needs a choice.
    """
    requests = [part for layer in spec.layers for part in split_layer(layer)[1]]
    return plan(backbone, list(dict.fromkeys(requests)), torch.device("cpu"))


def _check_source(source: FeatureSource, splits: Sequence[Split]) -> None:
    files = [file_name(layer) for layer in source.layers]
    if len(set(files)) < len(files):
        raise ValueError(
            f"The layers {list(source.layers)} of {source.spec.title} cannot be told "
            "apart in names of files: give titles, as TITLE=REQUEST."
        )
    wide = [part for name in source.layers for part in source._projected(name)]
    if not wide or source.projection != "pca":
        return
    fewest = min(len(source._training_stimuli(split.train)) for split in splits)
    most = source.n_components or 0
    if most >= fewest:
        raise ValueError(
            f"`n_components` must be below the number of training pictures; got {most} "
            f"for {fewest} pictures of {source.data.name}."
        )
