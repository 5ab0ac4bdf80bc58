"""Fits of encoding models: predictions of held-out rows, and the model that is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.metrics import unit_blocks
from analysis.variance import split_r_squared
from neurovis.core.files import plain
from neurovis.fitting.banded import BandedRidgeCV
from neurovis.fitting.encoding_model import EncodingModel, FeatureSpace
from neurovis.fitting.fractional_ridge import FractionalRidgeCV
from neurovis.fitting.fwrf import FwRF
from neurovis.fitting.fwrf_model import FwRFModel, make_fwrf_model
from neurovis.fitting.ridge import RidgeCV
from tasks.encoding_data import HeldOut, without_infinite
from tasks.encoding_features import FeatureSource
from tasks.encoding_fwrf import (
    FIELD_COLUMNS,
    LAYERS,
    METHOD,
    FeatureMaps,
    FieldGrid,
    choose_maps,
    default_field_alphas,
    field_choice,
    fit_fields,
)
from tasks.encoding_layers import Layer, RowView

METHODS = ("ridge", "fractional", "banded", METHOD)
# Memory for targets: fixed, so that rounding does not depend on what is free.
_TARGET_BYTES = 2**30
# Penalties as multiples of the variance of all features together.
_RELATIVE_ALPHAS = tuple(10.0 ** (k / 2) for k in range(-6, 9))
LEAST_SPREAD = 1e-3
"""Share of the typical spread of a layer that no feature is divided by less than."""

_MEDIANS = ("alpha", *FIELD_COLUMNS)  # over splits

LICENCE = (
    "These weights were fitted to the responses named under `training` and to features "
    "named under `features`: the terms of both hold for them."
)


@dataclass(frozen=True)
class FitSettings:
    """How models are fitted.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    alphas : tuple of float, optional
        Penalties to choose from (not "fractional"); by default `default_alphas`.
    cv : int or str
        How they are compared within the training rows: a number of folds of stimuli;
        "loo", "gcv" ("ridge", "banded"); "holdout" ("fwrf").
    search : {"window", "full"}
        As `neurovis.fitting.ridge.RidgeCV` ("ridge", "banded").
    n_iter : int
        Weightings of feature spaces that are tried ("banded").
    seed : int
        Of their draw.
    device : str
        Where to compute.
    grid : FieldGrid
        Pools and maps ("fwrf").
    """

    method: str = "ridge"
    alphas: tuple[float, ...] | None = None
    cv: int | str = 5
    search: str = "window"
    n_iter: int = 50
    seed: int = 0
    device: str = "cpu"
    grid: FieldGrid = field(default_factory=FieldGrid)

    def identity(self) -> dict[str, Any]:
        """Return what fits depend on.

        Returns
        -------
        dict
            JSON values.
        """
        facts: dict[str, Any] = {"method": self.method, "cv": self.cv}
        if self.method == METHOD:
            facts |= {"alphas": self.alphas, **vars(self.grid)}
        elif self.method != "fractional":
            facts |= {"alphas": self.alphas, "search": self.search}
        if self.method == "banded":
            facts |= {"n_iter": self.n_iter, "seed": self.seed}
        found: dict[str, Any] = plain(facts)
        return found


@dataclass(frozen=True, eq=False)
class Candidate:
    """What one model of one subject is fitted to.

    Parameters
    ----------
    model, layer : str
        Names in tables.
    members : tuple of tuple of FeatureSource and str
        Sources with titles of layers; several are feature spaces of one model.
    """

    model: str
    layer: str
    members: tuple[tuple[FeatureSource, str], ...]

    @property
    def spaces(self) -> tuple[str, ...]:
        """Names of the feature spaces."""
        return tuple(
            f"{source.spec.title} {layer}".strip() for source, layer in self.members
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know, each note once."""
        found = [
            f"{self.model}: {note}" if self.model != source.spec.title else note
            for source, _ in self.members
            for note in source.notes
        ]
        return tuple(dict.fromkeys(found))

    @property
    def is_untrained(self) -> bool:
        """Whether a network has random weights."""
        return any(source.is_untrained for source, _ in self.members)

    def identity(self, train: NDArray[np.int64]) -> list[Any]:
        """Return all that the features depend on.

        Parameters
        ----------
        train : ndarray of int64
            Rows that projections are fitted to.

        Returns
        -------
        list
            JSON values.
        """
        return [source.identity(layer, train) for source, layer in self.members]


@dataclass(frozen=True, eq=False)
class Kept:
    """A model with what is needed to compute its features.

    Parameters
    ----------
    model : EncodingModel or FwRFModel
        The model.
    layers : tuple of Layer
        Features of its spaces, with their projections.
    """

    model: EncodingModel | FwRFModel
    layers: tuple[Layer, ...]


@dataclass(frozen=True, eq=False)
class Fit:
    """What the fits of one candidate to all splits of one subject gave.

    Parameters
    ----------
    predictions : ndarray of float32, shape (n_test, n_units)
        Of the rows of `HeldOut.table`; NaN for units that could not be fitted.
    units : mapping of str to ndarray of float64, shape (n_units,)
        `alpha` (penalty, the median over splits), `cv_score` (share of the variance of
        training rows explained in cross-validation within them, mean over splits),
        `at_smallest` and `at_largest` (share of splits whose penalty is an end of the
        grid, 0..1); with receptive fields `rf_x`, `rf_y`, `rf_sigma` (medians).
    shares : ndarray of float64, shape (n_spaces, n_units), or None
        Of several spaces: R2 of held-out rows divided by the product measure.
    kept : object or None
        The model, where it is wanted: `Kept`, or what another fitter keeps.
    """

    predictions: NDArray[np.float32]
    units: Mapping[str, NDArray[np.float64]]
    shares: NDArray[np.float64] | None
    kept: Any


def make_candidates(sources: Sequence[FeatureSource], method: str) -> list[Candidate]:
    """Return what models are fitted to for one subject.

    Parameters
    ----------
    sources : sequence of FeatureSource
        Features of one subject.
    method : str
        One of `METHODS`.

    Returns
    -------
    list of Candidate
        One per layer; for "fwrf" one per source, for "banded" one of all together.

    Raises
    ------
    ValueError
        If "banded" has one feature space only.
    """
    if method == METHOD:
        own = [[(s, layer) for layer in s.layers] for s in sources]
        return [
            Candidate(s.spec.title, LAYERS if len(m) > 1 else m[0][1], tuple(m))
            for s, m in zip(sources, own, strict=True)
        ]
    members = [(source, layer) for source in sources for layer in source.layers]
    if method != "banded":
        return [Candidate(s.spec.title, layer, ((s, layer),)) for s, layer in members]
    if len(members) < 2:
        raise ValueError(
            "method='banded' weighs several feature spaces against each other: give "
            "several `features` or layers, or take method='ridge'."
        )
    titles = dict.fromkeys(source.spec.title for source in sources)
    return [Candidate(" + ".join(titles), LAYERS, tuple(members))]


def default_alphas(total_variance: float) -> tuple[float, ...]:
    """Return penalties from a thousandth to 10,000 times a variance, two per decade.

    Parameters
    ----------
    total_variance : float
        Sum of the variances of all features: their number, if standardised.

    Returns
    -------
    tuple of float
        Ascending.

    Examples
    --------
    >>> alphas = default_alphas(100)
    >>> round(alphas[0], 6), round(alphas[-1])
    (0.1, 1000000)
    """
    return tuple(total_variance * alpha for alpha in _RELATIVE_ALPHAS)


def fit_candidate(
    candidate: Candidate,
    held: HeldOut,
    settings: FitSettings,
    *,
    keep_model: bool = True,
    key: str = "",
    folder: Path | None = None,
) -> Fit:
    """Fit every split, predict what was left out, and fit the model that is kept.

    Parameters
    ----------
    candidate : Candidate
        Features.
    held : HeldOut
        Splits and responses.
    settings : FitSettings
        How.
    keep_model : bool, default True
        Return a model: that of the split, or one of all rows if there are several.
    key : str, optional
        Hash of all that the model depends on, kept with it.
    folder : Path, optional
        Where a search for receptive fields that was killed is found again.

    Returns
    -------
    Fit
        Predictions, what was chosen within training rows, and the model.

    Raises
    ------
    ValueError, FileNotFoundError, DataCorruptError, OSError
        If features cannot be computed or are not finite.
    """
    shape = (len(held.table), held.data.responses.n_units)
    predictions = np.full(shape, np.nan, np.float32)
    n_spaces = len(candidate.members) if settings.method == "banded" else 1
    shares = np.full((n_spaces, *shape), np.nan, np.float32) if n_spaces > 1 else None
    found = []
    kept = None
    for split in held.splits:
        features = _load(candidate, split.train, settings)
        estimator = _fit(features, held, split.train, settings, folder)
        at, rows = held.places(split)
        new = features.rows(rows)
        predictions[at] = estimator.predict(new)
        if shares is not None:
            shares[:, at] = estimator.predict(new, split=True)
        found.append(_choice(estimator, held, split.train))
        if keep_model and len(held.splits) == 1:
            kept = _keep(candidate, features, held, estimator, settings, key)
    if keep_model and kept is None:
        features = _load(candidate, held.final_train, settings)
        estimator = _fit(features, held, held.final_train, settings, folder)
        kept = _keep(candidate, features, held, estimator, settings, key)
    units = {
        name: (np.median if name in _MEDIANS else np.mean)([f[name] for f in found], 0)
        for name in found[0]
    }
    divided = None
    if shares is not None:
        parts = [split_r_squared(held.measured[g], shares[:, g]) for g in held.groups]
        divided = np.mean(parts, axis=0)
    return Fit(predictions, units, divided, kept)


@dataclass(frozen=True, eq=False)
class _SideBySide:
    """Features of one or more spaces."""

    spaces: tuple[str, ...]
    layers: tuple[Layer, ...]

    def rows(self, which: NDArray[np.integer[Any]]) -> Any:
        """Return some rows as the estimator takes them."""
        parts = [layer.rows(which) for layer in self.layers]
        if len(parts) == 1:
            return parts[0]
        return dict(zip(self.spaces, parts, strict=True))


def _load(
    candidate: Candidate, train: NDArray[np.int64], settings: FitSettings
) -> _SideBySide | FeatureMaps:
    """Return features, chosen and projected by what training rows tell."""
    members = candidate.members
    layers = tuple(source.load(layer, train) for source, layer in members)
    if settings.method != METHOD:
        return _SideBySide(candidate.spaces, layers)
    shapes = [source.map_shapes(layer) for source, layer in members]
    return choose_maps(candidate.spaces, layers, shapes, train, settings.grid.n_maps)


def _fit(
    features: _SideBySide | FeatureMaps,
    held: HeldOut,
    train: NDArray[np.int64],
    settings: FitSettings,
    folder: Path | None,
) -> Any:
    """Return a fitted estimator."""
    responses = held.data.responses
    # Trials of one stimulus are held out together.
    groups = responses.stimuli["stimulus_id"].to_numpy()[train]
    if isinstance(features, FeatureMaps):
        alphas = settings.alphas or default_field_alphas(settings.cv)
        return fit_fields(
            features,
            responses.betas,
            groups,
            train,
            alphas=alphas or default_alphas(features.n_features),
            cv=settings.cv,
            grid=settings.grid,
            folder=folder,
            device=settings.device,
        )
    layers = features.layers
    # Components keep their variances: small ones are mostly noise.
    is_projected = any(layer.projections for layer in layers)
    standardize = False if is_projected else LEAST_SPREAD
    common: dict[str, Any] = {
        "cv": settings.cv,
        "standardize": standardize,
        "device": settings.device,
        "n_targets_batch": max(1, _TARGET_BYTES // (32 * len(train))),
        "nan": "omit",
    }
    alphas = settings.alphas
    if alphas is None and not is_projected:
        alphas = default_alphas(sum(layer.n_features for layer in layers))
    elif alphas is None:
        total = sum(layer.moments(train)[1].sum() for layer in layers)
        alphas = default_alphas(float(total) or 1.0)
    estimator: Any
    if settings.method == "fractional":
        estimator = FractionalRidgeCV(**common)
    elif settings.method == "banded":
        estimator = BandedRidgeCV(
            alphas,
            search=settings.search,
            n_iter=settings.n_iter,
            seed=settings.seed,
            **common,
        )
    else:
        estimator = RidgeCV(alphas, search=settings.search, **common)
    rows = features.rows(train)
    return estimator.fit(rows, RowView(responses.betas, train), groups)


def _choice(
    estimator: Any, held: HeldOut, train: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Return what was chosen for each unit, and its score in cross-validation."""
    variance = _moments(held, train)[1]
    variance[variance == 0] = np.nan
    if isinstance(estimator, FwRF):
        return field_choice(estimator, variance, len(train))
    chosen, grid = estimator.alphas_, estimator.get_params().get("alphas")
    ends = (None, None) if grid is None else (min(grid), max(grid))
    if grid is None:  # the largest fraction has the smallest penalty
        chosen, grid = estimator.fracs_, estimator.fracs
        ends = (max(grid), min(grid))
    return {
        "alpha": estimator.alphas_,
        "cv_score": 1 + estimator.cv_scores_ / variance,
        "at_smallest": np.where(np.isnan(chosen), np.nan, chosen == ends[0]),
        "at_largest": np.where(np.isnan(chosen), np.nan, chosen == ends[1]),
    }


def _keep(
    candidate: Candidate,
    features: _SideBySide | FeatureMaps,
    held: HeldOut,
    estimator: Any,
    settings: FitSettings,
    key: str,
) -> Kept:
    responses, train = held.data.responses, held.final_train
    layers = features.layers
    notes = [*candidate.notes, *held.data_notes]
    if len(held.splits) > 1:
        notes.append(
            f"Fitted to all {len(train)} rows; the scores beside it are those of "
            f"{len(held.splits)} models that did not see what they predict."
        )
    training: dict[str, Any] = plain(
        {
            "data": responses.name,
            "subject": held.data.subject,
            "response_unit": responses.response_unit,
            "families": responses.families,
            "n_train": len(train),
            "fingerprints": dict(responses.fingerprints),
            "simulated": held.data.is_simulated,
            "key": key,
        }
    )
    described = [
        source.describe(layer)
        for (source, _), layer in zip(candidate.members, layers, strict=True)
    ]
    facts: dict[str, Any] = {
        "features": {"model": candidate.model, "spaces": described},
        "training": training,
        "notes": tuple(notes),
        "licence": LICENCE,
    }
    if isinstance(features, FeatureMaps):
        fields = make_fwrf_model(estimator, features.spaces, responses.units, **facts)
        return Kept(fields, layers)
    weights = estimator.coef_
    spaces = []
    for name, layer in zip(candidate.spaces, layers, strict=True):
        coef = weights[name] if isinstance(weights, dict) else weights
        spaces.append(
            FeatureSpace(name, np.asarray(coef, np.float32), layer.moments(train)[0])
        )
    model = EncodingModel(
        tuple(spaces),
        _moments(held, train)[0],
        responses.units,
        np.asarray(estimator.alphas_, np.float64),
        settings.method,
        **facts,
    )
    return Kept(model, layers)


def _moments(held: HeldOut, train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return mean and variance of each unit over rows."""
    betas = held.data.responses.betas
    found = np.empty((2, betas.shape[1]))
    for block in unit_blocks(*betas.shape):
        values = without_infinite(betas[:, block])[train]
        found[:, block] = values.mean(axis=0), values.var(axis=0)
    return found
