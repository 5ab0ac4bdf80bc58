"""Fitted receptive fields as a model of units, without the search that found them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_columns
from neurovis.core.device import exact_float32
from neurovis.fitting.encoding_inputs import check_same_rows, features_by_space
from neurovis.fitting.fwrf import FwRF
from neurovis.fitting.fwrf_maps import MapSpace, MapView
from neurovis.fitting.fwrf_pools import pool_maps

KIND = "receptive fields"
"""What files say that they hold."""

_POOLED_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class FwRFModel:
    """A model of units that see feature maps through one Gaussian pool each.

    ``prediction = intercept + sum over maps of (pooled - mean) @ coef``, where
    ``pooled`` is a map weighed with the pool of the unit and summed over positions
    (`neurovis.fitting.fwrf_pools.gaussian_pools`).

    Parameters
    ----------
    spaces : tuple of MapSpace
        At least one; names are unique.
    pools : ndarray of float64, shape (n_pools, 3)
        x (to the right), y (upwards) and sigma of the pools that units have, from the
        centre of the picture, in its sides.
    pool : ndarray of int64, shape (n_units,)
        Pool of each unit, 0-based; -1 for units that are their intercept.
    mean : ndarray of float64, shape (n_pools, n_features)
        Means of pooled maps over the training rows, by pool.
    coef : ndarray of float32, shape (n_features, n_units)
        Weights of pooled maps as they are, not standardised; NaN for units that could
        not be fitted.
    intercept : ndarray of float64, shape (n_units,)
        Prediction for pooled maps at their means.
    units : DataFrame
        As `neurovis.fitting.encoding_model.EncodingModel`, as are all that follow.
    alphas : ndarray of float64, shape (n_units,)
        Penalty of each unit; NaN where undefined.
    method : str
        "fwrf".
    features, training : mapping
        What the features are, and what it was fitted to.
    notes : tuple of str
        What a reader must know.
    licence : str
        Terms of the weights.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes do not fit, there is no space, or names repeat.

    Examples
    --------
    >>> space = MapSpace("conv", ((1, 1, 1),), (np.array([0]),))
    >>> model = FwRFModel(
    ...     (space,),
    ...     np.array([[0.0, 0.0, 0.01]]),
    ...     np.array([0]),
    ...     np.array([[1.0]]),
    ...     np.array([[2.0]], np.float32),
    ...     np.array([5.0]),
    ...     pd.DataFrame({"unit_id": ["a"]}),
    ...     np.array([1.0]),
    ... )
    >>> model.predict(np.array([[1.0], [2.0]])).tolist()
    [[5.0], [7.0]]
    """

    spaces: tuple[MapSpace, ...]
    pools: NDArray[np.float64]
    pool: NDArray[np.int64]
    mean: NDArray[np.float64]
    coef: NDArray[np.float32]
    intercept: NDArray[np.float64]
    units: pd.DataFrame
    alphas: NDArray[np.float64]
    method: str = "fwrf"
    features: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    licence: str = ""

    def __post_init__(self) -> None:
        names = [space.name for space in self.spaces]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"`spaces` must be one or more, with names of their own; got {names}."
            )
        check_columns("units", self.units.columns, ["unit_id"])
        n_units, n_pools = len(self.units), len(self.pools)
        n_features = sum(space.n_maps for space in self.spaces)
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "pools": ((n_pools, 3), np.float64),
            "pool": ((n_units,), np.int64),
            "mean": ((n_pools, n_features), np.float64),
            "coef": ((n_features, n_units), np.float32),
            "intercept": ((n_units,), np.float64),
            "alphas": ((n_units,), np.float64),
        }
        for name, (shape, dtype) in shapes.items():
            check_array(name, getattr(self, name), shape=shape, dtype=dtype)
        if n_units and not (self.pool.min() >= -1 and self.pool.max() < n_pools):
            raise ValueError(
                f"`pool` must be from -1 to {n_pools - 1}; got {self.pool.min()} to "
                f"{self.pool.max()}."
            )

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.units)

    @property
    def fields(self) -> NDArray[np.float64]:
        """Pool of each unit, shape (n_units, 3); NaN where there is none."""
        found = np.full((self.n_units, 3), np.nan)
        there = self.pool >= 0
        found[there] = self.pools[self.pool[there]]
        return found

    def predict(self, features: ArrayLike | Mapping[str, Any]) -> NDArray[np.float32]:
        """Predict responses.

        Parameters
        ----------
        features : array-like of float, or mapping of such
            All maps of the only space, or by name of space: flattened, shape
            (n, n_features), parts side by side; of a space of one part also
            (n, n_maps, H, W).

        Returns
        -------
        ndarray of float32, shape (n, n_units)
            Predictions; NaN for units that could not be fitted.

        Raises
        ------
        ValueError
            If a space is missing or unknown, shapes do not fit, or a feature is not
            finite.
        """
        maps = self._views(features)
        n, cpu = len(maps[0]), torch.device("cpu")
        out = np.tile(self.intercept.astype(np.float32), (n, 1))
        row_bytes = 8 * max(1, n) * self.mean.shape[1]
        at_once = int(np.clip(_POOLED_BYTES // row_bytes, 1, 32))
        with torch.no_grad(), exact_float32():
            for start in range(0, len(self.pools) if n else 0, at_once):
                some = self.pools[start : start + at_once]
                pooled = pool_maps(tuple(maps), some, 1.0, torch.float32, cpu)
                for k, seen in enumerate(pooled.numpy(), start):
                    at = np.flatnonzero(self.pool == k)
                    away = (seen - self.mean[k]).astype(np.float32)
                    out[:, at] += away @ self.coef[:, at]
        return out

    def _views(self, features: ArrayLike | Mapping[str, Any]) -> list[MapView]:
        given = features_by_space(features, [space.name for space in self.spaces])
        views = []
        for space, values in zip(self.spaces, given, strict=True):
            array = np.asarray(values)
            if array.ndim == 4 and array.shape[1:] == space.shapes[0]:
                array = array.reshape(len(array), -1)
            label = f"features[{space.name!r}]"
            check_array(label, array, shape=(None, space.n_features))
            views += space.views(space.split(array))
        check_same_rows([len(view) for view in views])
        return views

    def content(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Take the model apart, for files.

        Returns
        -------
        dict
            Description of what `EncodingModel` does not have, as JSON values.
        dict of str to ndarray
            Arrays.
        """
        names = ("pools", "pool", "mean", "coef", "intercept", "alphas")
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in names}
        for k, space in enumerate(self.spaces):
            for j, kept in enumerate(space.kept):
                arrays[f"kept.{k}.{j}"] = kept
        shapes = [[list(shape) for shape in space.shapes] for space in self.spaces]
        return {"kind": KIND, "shapes": shapes}, arrays

    @classmethod
    def from_content(
        cls,
        meta: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        units: pd.DataFrame,
    ) -> "FwRFModel":
        """Put a model together again.

        Parameters
        ----------
        meta : mapping
            Description of the model.
        arrays : mapping of str to ndarray
            From `content`.
        units : DataFrame
            Units.

        Returns
        -------
        FwRFModel
            With equal arrays.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing or does not fit.
        """
        spaces = []
        for k, (name, shapes) in enumerate(
            zip(meta["spaces"], meta["shapes"], strict=True)
        ):
            kept = tuple(arrays[f"kept.{k}.{j}"] for j in range(len(shapes)))
            sizes = [(int(c), int(h), int(w)) for c, h, w in shapes]
            spaces.append(MapSpace(name, tuple(sizes), kept))
        names = ("pools", "pool", "mean", "coef", "intercept", "alphas")
        given: dict[str, Any] = {name: arrays[name] for name in names}
        for name in ("method", "features", "training", "licence"):
            given[name] = meta[name]
        return cls(tuple(spaces), units=units, notes=tuple(meta["notes"]), **given)


def make_fwrf_model(
    estimator: FwRF, spaces: Sequence[MapSpace], units: pd.DataFrame, **facts: Any
) -> FwRFModel:
    """Keep what a fitted search found.

    Parameters
    ----------
    estimator : FwRF
        Fitted, for several targets given as an array, with an aperture of 1 and
        without an activation.
    spaces : sequence of MapSpace
        Its maps.
    units : DataFrame
        Its targets, with `unit_id`.
    **facts : object
        `features`, `training`, `notes` and `licence` of `FwRFModel`.

    Returns
    -------
    FwRFModel
        Predicts what the estimator does, but for rounding.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, or the estimator has an activation or another aperture.
    """
    if estimator.activation is not None or estimator.aperture != 1:
        raise ValueError(
            "A model is made of estimators with activation=None and aperture=1; got "
            f"{estimator.activation!r} and {estimator.aperture!r}."
        )
    candidate, fitted = estimator.candidate_, estimator.tables_
    there = np.flatnonzero(candidate >= 0)
    _, first, index = np.unique(
        candidate[there], return_index=True, return_inverse=True
    )
    pool = np.full(len(candidate), -1, np.int64)
    pool[there] = index
    coef = np.array(fitted.weights[:, :-1].T.numpy(), np.float32, order="C")
    for k, scale in enumerate(fitted.scale.numpy()):
        at = np.flatnonzero(pool == k)
        coef[:, at] = (coef[:, at] / scale[:, None]).astype(np.float32)
    return FwRFModel(
        spaces=tuple(spaces),
        pools=np.ascontiguousarray(estimator.pools_[there][first]),
        pool=pool,
        mean=np.ascontiguousarray(fitted.mean.numpy()),
        coef=coef,
        intercept=fitted.weights[:, -1].double().numpy(),
        units=units,
        alphas=np.asarray(estimator.alphas_, np.float64),
        **facts,
    )
