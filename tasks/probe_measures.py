"""What is measured of a network itself: a linear probe, and tuning to gratings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from analysis.tuning import grating_tuning
from data_loaders.class_folders import open_class_folder
from data_loaders.class_pictures import WHOLE, ClassPictures, draw_splits
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.feature_layers import parse_layer
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.feature_stream import plan
from neurovis.adapters.features import extract_features
from neurovis.core.checks import check_array, check_whole
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from neurovis.fitting.ridge import RidgeCV
from tasks.feature_specs import FeatureSpec
from tasks.probes_models import ProbedModel

FloatArray = NDArray[np.float64]

TEST_SHARE = 0.3
"""Share of each class that is tested where a set has no test part."""

N_FOLDS = 5
"""Folds within the training pictures."""

ALPHAS = tuple(10.0 ** (k / 2) for k in range(-2, 15))
"""Penalties of a probe: two per decade from 0.1 to 1e7, of standardised features."""

# Standard deviations below this share of the typical one are raised to it.
_LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class ProbeFit:
    """A linear classifier, and what it names pictures that it has not seen.

    Parameters
    ----------
    predicted : ndarray of int64, shape (n_test,)
        0-based classes.
    alpha : float
        Penalty that cross-validation chose.
    cv_error : float
        Mean squared error of left-out training pictures, over classes.
    """

    predicted: NDArray[np.int64]
    alpha: float
    cv_error: float


def fit_probe(
    train: ArrayLike,
    labels: ArrayLike,
    test: ArrayLike,
    n_classes: int,
    *,
    seed: int = 0,
    device: Any = "cpu",
) -> ProbeFit:
    """Fit a ridge classifier to features, and name the classes of others.

    Each class is a target of 1 for its pictures and 0 for all others, centred; the
    class with the largest prediction is named. One penalty for all classes has the
    smallest squared error of cross-validation within the training rows.

    Parameters
    ----------
    train : array-like of float, shape (n_train, n_features)
        Features of the training pictures.
    labels : array-like of int, shape (n_train,)
        0-based classes of them.
    test : array-like of float, shape (n_test, n_features)
        Features of other pictures.
    n_classes : int
        Number of classes, 2 or more.
    seed : int, default 0
        Seed of the folds.
    device : str or torch.device, default "cpu"
        Where it is fitted.

    Returns
    -------
    ProbeFit
        Predictions, penalty and error within training.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, there are fewer rows than folds, or a label is no class.

    References
    ----------
    Hoerl and Kennard (1970). Technometrics 12, 55-67.
    doi:10.1080/00401706.1970.10488634

    Examples
    --------
    >>> labels = np.arange(40) % 2
    >>> features = labels[:, None] + np.linspace(0, 0.1, 40)[:, None]
    >>> fit_probe(features, labels, [[0.0], [1.1]], 2).predicted.tolist()
    [0, 1]
    """
    check_whole("n_classes", n_classes, low=2)
    known = check_array("train", np.asarray(train), shape=(None, None))
    new = check_array("test", np.asarray(test), shape=(None, known.shape[1]))
    classes = check_array("labels", np.asarray(labels), shape=(len(known),))
    if not np.issubdtype(classes.dtype, np.integer) or (
        len(classes) and (classes.min() < 0 or classes.max() >= n_classes)
    ):
        raise ValueError(
            f"`labels` must be whole numbers from 0 to {n_classes - 1}, one per row."
        )
    if len(known) < N_FOLDS:
        raise ValueError(
            f"`train` has {len(known)} rows: at least {N_FOLDS} are needed, one per "
            "fold."
        )
    # Neighbours in a list are often alike: folds are drawn, not cut.
    order = generator(seed, "probe folds").permutation(len(known))
    targets = np.eye(n_classes)[classes[order]]
    model = RidgeCV(
        ALPHAS,
        cv=N_FOLDS,
        selection="shared",
        standardize=_LEAST_SPREAD,
        device=device,
        # With few pictures, small penalties ask for more than float32 has.
        dtype="float64",
    ).fit(known[order], targets)
    scores = model.predict(new)
    # A class that no training picture has carries no score.
    error = -float(np.nanmean(model.cv_scores_)) if len(scores) else np.nan
    return ProbeFit(
        np.argmax(scores, axis=1).astype(np.int64),
        float(np.nanmax(model.alphas_)),
        error,
    )


def open_labelled(
    name: str, root: str | Path, *, n_per_class: int | None = None, seed: int = 0
) -> ClassPictures:
    """Open pictures with classes, with a part to train on and a part to test on.

    Parameters
    ----------
    name : str
        Name of the set in tables.
    root : str or Path
        As for `data_loaders.class_folders.open_class_folder`.
    n_per_class : int, optional
        Keep at most so many pictures of each class in each part, drawn at random.
    seed : int, default 0
        Seed of draws.

    Returns
    -------
    ClassPictures
        With the parts "train" and "test". A part "val" is tested where there is no
        "test", and left out otherwise; a set without either is divided at random.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If nothing is there, or it is damaged.
    ValueError
        If a set has a single class, or no pictures to train on.
    """
    if n_per_class is not None:
        check_whole("n_per_class", n_per_class, low=1)
    shown = open_class_folder(root, name=name, seed=seed)
    splits = set(shown.table["split"])
    if not splits & {WHOLE, "train"}:
        raise ValueError(
            f"`labelled` {name!r} has the parts {sorted(splits)}: a probe is trained, "
            "add a part 'train'."
        )
    if not splits & {"test", "val"}:
        shown = draw_splits(shown, {"test": TEST_SHARE}, seed=seed)
    tested = "test" if "test" in set(shown.table["split"]) else "val"
    rows: list[int] = []
    for split in ("train", tested):
        part = shown.table[shown.table["split"] == split]
        for category, own in part.groupby("category"):
            places = own.sort_values("stimulus_id").index.to_numpy()
            draw = generator(seed, "probe pictures", split, str(category))
            rows += draw.permutation(places)[:n_per_class].tolist()
    rows = sorted(rows)
    table = shown.table.iloc[rows].reset_index(drop=True)
    kept = replace(
        shown,
        table=table.assign(split=table["split"].replace({"val": "test"})),
        pictures=LazyPictures(shown.pictures.__getitem__, rows),
    )
    trained = kept.table.loc[kept.table["split"] == "train", "label"]
    if len(kept.classes) < 2 or trained.nunique() < len(kept.classes):
        raise ValueError(
            f"`labelled` {name!r} must have two classes or more, each with pictures to "
            f"train on; {trained.nunique()} of {len(kept.classes)} have."
        )
    return kept


def probe_predictions(
    model: ProbedModel,
    shown: ClassPictures,
    *,
    fingerprint: str | None = None,
    store: str | Path | None = None,
    seed: int = 0,
    device: Any = "cpu",
) -> pd.DataFrame:
    """Probe every layer of a model.

    Parameters
    ----------
    model : ProbedModel
        Network with layers.
    shown : ClassPictures
        From `open_labelled`.
    fingerprint : str, optional
        Content hash of the pictures, when it is known.
    store : str or Path, optional
        Where features are kept.
    seed : int, default 0
        Seed of the folds.
    device : str or torch.device, default "cpu"
        Where network and probe compute.

    Returns
    -------
    DataFrame
        One row per layer and tested picture: `layer`, `stimulus_id`, `label`,
        `predicted`, and `alpha` and `cv_error` of the layer.

    Raises
    ------
    TypeError, ValueError, MemoryError, OSError
        As `neurovis.adapters.features.extract_features` and `fit_probe`.
    """
    read = extract_features(
        model.spec.load_backbone(),
        shown.pictures,
        model.requests,
        device=device,
        store=store,
        fingerprint=fingerprint,
    )
    split = shown.table["split"].to_numpy()
    train, test = (np.flatnonzero(split == name) for name in ("train", "test"))
    labels = shown.table["label"].to_numpy(np.int64)
    ids = shown.table["stimulus_id"].to_numpy()[test]
    tables = []
    for layer, parts in model.layers.items():
        rows = np.hstack([read[part] for part in parts])
        fit = fit_probe(
            rows[train],
            labels[train],
            rows[test],
            len(shown.classes),
            seed=seed,
            device=device,
        )
        tables.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "stimulus_id": ids,
                    "label": labels[test],
                    "predicted": fit.predicted,
                    "alpha": fit.alpha,
                    "cv_error": fit.cv_error,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


# --------------------------------------------------------------------- tuning


@dataclass(frozen=True)
class CentrePosition:
    """Keeps one position of a square map: one unit per channel.

    Parameters
    ----------
    n_channels : int
        Channels.
    side : int
        Rows and columns of the map; the one kept has the index ``side // 2`` in both.
    """

    n_channels: int
    side: int

    @property
    def n_features(self) -> int:
        """Features that come in."""
        return self.n_channels * self.side**2

    @property
    def n_components(self) -> int:
        """Features that go out."""
        return self.n_channels

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that it depends on."""
        return {"projection": "centre", "shape": [self.n_channels, self.side]}

    @property
    def source(self) -> dict[str, str]:
        """Empty: it is fitted to nothing."""
        return {}

    def transform(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keep the centre.

        Parameters
        ----------
        rows : ndarray of float32, shape (n, n_features)
            Maps, channel by channel.

        Returns
        -------
        ndarray of float32, shape (n, n_components)
            One value per channel.

        Examples
        --------
        >>> CentrePosition(1, 3).transform(np.arange(9, dtype=np.float32)[None])
        array([[4.]], dtype=float32)
        """
        maps = rows.reshape(len(rows), self.n_channels, self.side, self.side)
        centre = self.side // 2
        return np.ascontiguousarray(maps[:, :, centre, centre])


def load_for_gratings(spec: FeatureSpec, size_px: int) -> Backbone:
    """Build a network whose input has the size of the gratings.

    Parameters
    ----------
    spec : FeatureSpec
        Network.
    size_px : int
        Side of the gratings: they are not scaled.

    Returns
    -------
    Backbone
        On the CPU.

    Raises
    ------
    ValueError, FileNotFoundError, DataCorruptError, MissingDependencyError
        As `neurovis.adapters.backbones.load_backbone`.
    """
    return load_backbone(spec.name, spec.weights, size_px=size_px, resize="squash")


def tuned_layers(backbone: Backbone, requests: Sequence[str]) -> dict[str, str]:
    """Return the layers that have a place in the picture, pooled or not.

    Parameters
    ----------
    backbone : Backbone
        Network.
    requests : sequence of str
        Requests such as "stage3:grid3"; how they are pooled does not matter.

    Returns
    -------
    dict of str to str
        By module ("stage3", "relu@2"): the request for its whole map. Vectors and
        attention are left out.

    Raises
    ------
    TypeError, ValueError
        If a layer is unknown.
    """
    found = {}
    for reading in plan(backbone, requests, torch.device("cpu")):
        request = parse_layer(reading.text)
        grid = reading.activation.grid
        if grid is None or grid[0] != grid[1] or reading.part is not None:
            continue
        name = request.path + (f"@{request.call}" if request.call else "")
        order = f":{request.order}" if request.order else ""
        found[name] = f"{name}:grid{grid[0]}{order}"
    return found


def tuning_of(
    backbone: Backbone,
    requests: Sequence[str],
    gratings: StimulusSet,
    *,
    device: Any = "cpu",
) -> pd.DataFrame:
    """Measure the tuning of the units at the centre of maps.

    Responses below zero count as none, as a rectified unit gives them.

    Parameters
    ----------
    backbone : Backbone
        From `load_for_gratings`.
    requests : sequence of str
        Layers, see `tuned_layers`.
    gratings : StimulusSet
        From `stimuli.gratings.make_gratings`: all orientations, frequencies and
        phases, crossed.
    device : str or torch.device, default "cpu"
        Where the network runs.

    Returns
    -------
    DataFrame
        `analysis.tuning.grating_tuning` with `layer` (the module) and its units.

    Raises
    ------
    ValueError
        If no layer has a place in the picture, or gratings are not crossed.
    """
    layers = tuned_layers(backbone, requests)
    if not layers:
        raise ValueError(
            f"{backbone.name} has no layer with a place in the picture among "
            f"{list(requests)}: name one that gives a map, or leave tuning out."
        )
    readings = plan(backbone, list(layers.values()), torch.device("cpu"))
    centres = {r.text: CentrePosition(r.shape[0], r.shape[1]) for r in readings}
    rows = extract_features(
        backbone,
        gratings.images,
        list(layers.values()),
        device=device,
        projection=centres,
    )
    axes, places = _grating_axes(gratings.table)
    tables = []
    for layer, request in layers.items():
        seen = np.maximum(rows[request].astype(np.float64), 0)
        responses = np.full((seen.shape[1], *(len(a) for a in axes)), np.nan)
        responses[:, places[0], places[1], places[2]] = seen.T
        tuned = grating_tuning(responses, axes[0], axes[1])
        tables.append(tuned.assign(layer=layer))
    return pd.concat(tables, ignore_index=True)


def _grating_axes(
    table: pd.DataFrame,
) -> tuple[list[FloatArray], list[NDArray[np.intp]]]:
    """Return sorted orientations, frequencies and phases, and each grating's place."""
    names = ("orientation_deg", "frequency_cpd", "phase_deg")
    found = [np.unique(table[name], return_inverse=True) for name in names]
    n = int(np.prod([len(values) for values, _ in found]))
    if len(table) != n or table.duplicated(list(names)).any():
        raise ValueError(
            f"`gratings` has {len(table)} pictures; every orientation, frequency and "
            f"phase must be crossed, which makes {n}."
        )
    return [values for values, _ in found], [place for _, place in found]
