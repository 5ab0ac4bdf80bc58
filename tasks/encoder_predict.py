"""Fitted models of units as functions of pictures, linear and trained ones alike.

The networks that a model looks through are loaded as it describes them, and must be
those that it was fitted with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.features import extract_features
from neurovis.adapters.projections import Projection, load_projection
from neurovis.core.brain_space import BrainSpace, read_space
from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import atomic_path, corrupt, plain, read_json, sha256_file
from neurovis.fitting.encoding_model import (
    MODEL_FILE,
    EncodingModel,
    FeatureSpace,
    load_encoding_model,
)
from neurovis.fitting.fwrf_maps import MapSpace
from neurovis.fitting.fwrf_model import FwRFModel
from tasks.encoder_maps import MapLayout, MapRows
from tasks.encoder_model import ENCODER_FILE, FittedEncoder, load_encoder
from tasks.encoder_networks import core_config, core_shape
from tasks.encoding_fwrf import LAYERS
from tasks.encoding_parts import projection_file

ATTENTION_FILE = "attention.npz"
CLIP_FILE = "clip_encoder.json"
"""Description of an encoder of embeddings, see `tasks.clip_encoder_model`."""

Fitted = EncodingModel | FwRFModel | FittedEncoder
# By name, weights and rule of resizing.
_Networks = dict[tuple[str, str | None, str | None], Backbone]

_MOST_BYTES = 2**31


@dataclass(frozen=True)
class ModelCard:
    """What the folder of a model tells, before its weights are read.

    Parameters
    ----------
    home : Path
        Folder.
    fingerprint : str
        SHA-256 of its description, which has those of its files.
    features, training : dict
        What it looks at, and what it was fitted to.
    """

    home: Path
    fingerprint: str
    features: dict[str, Any]
    training: dict[str, Any]

    @property
    def spaces(self) -> list[dict[str, Any]]:
        """Descriptions of its features, one per space."""
        return list(self.features.get("spaces", []))

    @property
    def names(self) -> tuple[str, str, str]:
        """Subject, model and layer, as tables of fits have them."""
        spaces = self.spaces
        # A second map of an encoder is no layer of its own.
        is_one = len(spaces) == 1 or (self.home / ENCODER_FILE).is_file()
        layer = spaces[0]["layer"] if spaces and is_one else LAYERS
        return str(self.training["subject"]), str(self.features["model"]), str(layer)

    @property
    def space(self) -> BrainSpace | None:
        """Where its units lie; None where the model does not tell, as linear ones."""
        try:
            return read_space(self.training.get("space"))
        except (KeyError, TypeError, ValueError) as error:
            raise corrupt(self.home / ENCODER_FILE, "encoder", error) from error

    @property
    def is_untrained(self) -> bool:
        """Whether it looks through a network with random weights."""
        return any(bool(facts["untrained"]) for facts in self.spaces)

    def check_source(self) -> None:
        """Refuse features that `load_picture_model` cannot compute for pictures.

        Raises
        ------
        ValueError
            If they came from outside, or are what an encoder of embeddings looks at.
        """
        if (self.home / CLIP_FILE).is_file():
            raise ValueError(
                f"{self.home} holds an encoder of embeddings: take a linear or trained "
                "model, or `tasks.picture_gradients.load_gradient_encoder`."
            )
        for facts in self.spaces:
            if facts["source"] != "network":
                is_encoder = (self.home / ENCODER_FILE).is_file()
                kind = FittedEncoder if is_encoder else EncodingModel
                raise ValueError(
                    f"The features {facts['title']!r} of the model came from outside, "
                    "so that they cannot be computed for pictures. Compute them, and "
                    f"use `{kind.__name__}.predict`."
                )


def read_model_card(folder: str | Path) -> ModelCard:
    """Read what is told of a model of any kind.

    Parameters
    ----------
    folder : str or Path
        Folder of one model, below ``models`` of a finished fit.

    Returns
    -------
    ModelCard
        Its description; the weights are not read.

    Raises
    ------
    FileNotFoundError
        If the folder holds no model.
    DataCorruptError
        If its description is damaged.
    """
    home = check_path("model", folder, kind="folder")
    files = [home / name for name in (ENCODER_FILE, MODEL_FILE, CLIP_FILE)]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"{home} holds no encoding model: neither {MODEL_FILE} nor {ENCODER_FILE} "
            f"nor {CLIP_FILE} is there. Give one of the folders below `models` of a "
            "finished fit."
        )
    meta = read_json(file)
    try:
        card = ModelCard(home, sha256_file(file), meta["features"], meta["training"])
    except (KeyError, TypeError) as error:
        raise corrupt(file, "description of a model", error) from error
    return card


@dataclass(frozen=True, eq=False)
class PictureModel:
    """A fitted model with the networks that it looks through.

    Parameters
    ----------
    card : ModelCard
        What it is.
    fitted : EncodingModel, FwRFModel or FittedEncoder
        From features to responses.
    backbones : tuple of Backbone
        From pictures to features, one per space.
    projections : tuple of mapping of str to Projection
        By request, one mapping per space.
    """

    card: ModelCard
    fitted: Fitted
    backbones: tuple[Backbone, ...]
    projections: tuple[Mapping[str, Projection], ...]

    @property
    def units(self) -> pd.DataFrame:
        """One row per unit."""
        return self.fitted.units

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        return (*self.fitted.notes, self.fitted.licence)

    def look(
        self,
        pictures: Sequence[NDArray[np.uint8]],
        *,
        store: Path,
        fingerprint: str,
        device: str = "cpu",
    ) -> "SeenPictures":
        """Compute the features of pictures.

        Parameters
        ----------
        pictures : sequence of ndarray of uint8, shape (H, W, 3)
            What is shown.
        store : Path
            Where features are kept.
        fingerprint : str
            Content hash of the pictures.
        device : str, default "cpu"
            Where the networks run.

        Returns
        -------
        SeenPictures
            For predictions and attention; features stay on disk.

        Raises
        ------
        ValueError, MemoryError, OSError
            As `neurovis.adapters.features.extract_features`.
        """
        spaces = []
        for facts, backbone, own in zip(
            self.card.spaces, self.backbones, self.projections, strict=True
        ):
            found = extract_features(
                backbone,
                pictures,
                facts["requests"],
                device=device,
                store=store,
                projection=own,
                fingerprint=fingerprint,
            )
            spaces.append(tuple(found[request] for request in facts["requests"]))
        return SeenPictures(self, tuple(spaces), device)

    def check_attention(self, n_pictures: int) -> None:
        """Refuse maps of attention that are not there, or would be too large.

        Parameters
        ----------
        n_pictures : int
            Pictures.

        Raises
        ------
        ValueError
            If the readout has no queries, or the maps take more than 2 GiB.
        """
        fitted = self.fitted
        if not isinstance(fitted, FittedEncoder) or fitted.queries is None:
            kind = (
                f"readout {fitted.options.readout!r}"
                if isinstance(fitted, FittedEncoder)
                else f"method {fitted.method!r}"
            )
            raise ValueError(
                f"`attention` needs an encoder with queries, 'transformer' or 'masks'; "
                f"this model has the {kind}. Leave `attention` out."
            )
        shape = fitted.in_shape
        if fitted.with_core:
            shape = core_shape(core_config(fitted.options.core), shape)
        n_queries = len(fitted.query_names)
        n_bytes = 4 * n_pictures * n_queries * shape[1] * shape[2]
        if n_bytes > _MOST_BYTES:
            n_most = _MOST_BYTES * n_pictures // n_bytes
            raise ValueError(
                f"`attention` of {n_pictures} pictures, {n_queries} queries and "
                f"{shape[1]} x {shape[2]} places takes {n_bytes / 2**30:.1f} GiB, more "
                f"than 2 GiB: give {n_most} pictures at most, or leave it out."
            )


@dataclass(frozen=True, eq=False)
class SeenPictures:
    """Features of pictures, as one model looks at them.

    Parameters
    ----------
    model : PictureModel
        The model.
    spaces : tuple of tuple of ndarray of float32, each of shape (n_pictures, n_part)
        Parts of each space, memory-mapped.
    device : str
        Where to compute.
    """

    model: PictureModel
    spaces: tuple[tuple[NDArray[np.float32], ...], ...]
    device: str = "cpu"

    def predict(self) -> NDArray[np.float32]:
        """Predict responses.

        Returns
        -------
        ndarray of float32, shape (n_pictures, n_units)
            NaN for units that could not be fitted.
        """
        fitted = self.model.fitted
        if isinstance(fitted, FittedEncoder):
            return fitted.predict(*self._maps(), device=self.device)
        spaces: tuple[FeatureSpace | MapSpace, ...] = fitted.spaces
        # Whole maps are large: what stands alone stays on disk.
        features = {
            space.name: np.hstack(parts) if len(parts) > 1 else parts[0]
            for space, parts in zip(spaces, self.spaces, strict=True)
        }
        return fitted.predict(features)

    def attention(self) -> NDArray[np.float32]:
        """Return where the queries of an encoder look.

        Returns
        -------
        ndarray of float32, shape (n_pictures, n_queries, h, w)
            See `tasks.encoder_model.FittedEncoder.attention`.

        Raises
        ------
        ValueError
            As `PictureModel.check_attention`.
        """
        fitted = self.model.fitted
        self.model.check_attention(len(self.spaces[0][0]))
        assert isinstance(fitted, FittedEncoder)
        return fitted.attention(self._maps()[0], device=self.device)

    def _maps(self) -> list[MapRows]:
        rows = np.arange(len(self.spaces[0][0]))
        return [
            MapRows(parts, saved_layouts(facts), rows)
            for facts, parts in zip(self.model.card.spaces, self.spaces, strict=True)
        ]


def saved_layouts(facts: Mapping[str, Any]) -> tuple[MapLayout, ...]:
    """Return how the features of an encoder are arranged as maps.

    Parameters
    ----------
    facts : mapping
        Description of a feature space, as an encoder keeps it.

    Returns
    -------
    tuple of MapLayout
        Of each part.

    Examples
    --------
    >>> saved_layouts({"layouts": [{"shape": [8, 3, 3], "is_tokens": True}]})
    (MapLayout(shape=(8, 3, 3), is_tokens=True),)
    """
    found = []
    for told in facts["layouts"]:
        channels, height, width = told["shape"]
        found.append(MapLayout((channels, height, width), told["is_tokens"]))
    return tuple(found)


def load_picture_model(
    folder: str | Path,
    *,
    weights: str | Path | None = None,
    networks: _Networks | None = None,
) -> PictureModel:
    """Load a fitted model with its networks, after both were verified.

    Parameters
    ----------
    folder : str or Path
        Folder of one model, below ``models`` of a finished fit.
    weights : str or Path, optional
        Weights of the network, if they lie elsewhere by now.
    networks : dict, optional
        Networks that are loaded already; others are added.

    Returns
    -------
    PictureModel
        Ready for pictures.

    Raises
    ------
    ValueError
        If features came from outside, the model is an encoder of embeddings, or a
        network is not that of the model.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If the model or weights are missing or damaged.
    """
    card = read_model_card(folder)
    card.check_source()
    fitted: Fitted
    if (card.home / ENCODER_FILE).is_file():
        fitted = load_encoder(card.home)
    else:
        fitted = load_encoding_model(card.home)
    backbones = load_networks(card.spaces, weights, networks)
    projections = [
        _projections(card.home, k, facts) for k, facts in enumerate(card.spaces)
    ]
    return PictureModel(card, fitted, tuple(backbones), tuple(projections))


def load_networks(
    spaces: Sequence[Mapping[str, Any]],
    weights: str | Path | None = None,
    networks: _Networks | None = None,
) -> list[Backbone]:
    """Load the network of each feature space, each once, and check it.

    Parameters
    ----------
    spaces : sequence of mapping
        Descriptions of features.
    weights : str or Path, optional
        Weights of the only network, if they lie elsewhere by now.
    networks : dict, optional
        Networks that are loaded already; others are added.

    Returns
    -------
    list of Backbone
        One per space.

    Raises
    ------
    ValueError
        If a network is not the one described, or `weights` cannot be meant for all.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If weights are missing or damaged.
    """
    loaded: _Networks = {} if networks is None else networks
    wanted = {(f["name"], f["weights"], f["resize"]) for f in spaces}
    if weights is not None and len(wanted) > 1:
        raise ValueError(
            f"The model has {len(wanted)} networks, and `weights` can replace those of "
            "one only: put the files back where they were."
        )
    for key in wanted:
        if key not in loaded:
            loaded[key] = load_backbone(key[0], weights or key[1], resize=key[2])
    backbones = [loaded[f["name"], f["weights"], f["resize"]] for f in spaces]
    for facts, backbone in zip(spaces, backbones, strict=True):
        _check_network(facts, backbone)
    return backbones


def save_attention(path: Path, names: Sequence[str], maps: NDArray[np.float32]) -> None:
    """Write maps of attention.

    Parameters
    ----------
    path : Path
        ``.npz`` file, with the arrays `names` and `maps`.
    names : sequence of str
        What the queries stand for.
    maps : ndarray of float32, shape (n_pictures, n_queries, h, w)
        Each sums to 1.
    """
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, names=np.array(names), maps=maps)


def _check_network(facts: Mapping[str, Any], backbone: Backbone) -> None:
    found = {
        "weights_hash": backbone.weights_hash,
        "architecture": backbone.architecture,
        "preprocessing": plain(backbone.preprocessing.identity),
    }
    for name, value in found.items():
        if facts[name] != value:
            raise ValueError(
                f"The network {backbone.name} is not the one that the model was fitted "
                f"with: {name} is {value!r}, and was {facts[name]!r}. Give the same "
                "`weights`, and the same versions of the packages."
            )


def _projections(
    home: Path, number: int, facts: Mapping[str, Any]
) -> dict[str, Projection]:
    found: dict[str, Projection] = {}
    for request, identity in facts["projections"].items():
        path = home / projection_file(number, request)
        projection = load_projection(path)
        if plain(dict(projection.identity)) != identity:
            raise DataCorruptError(
                f"{path} is not the projection that the model was fitted with. Fit the "
                "model again."
            )
        found[request] = projection
    return found
