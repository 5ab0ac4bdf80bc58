"""Fitted linear encoding models: from features to units, kept as plain files.

Layout of a folder: ``weights.safetensors`` (arrays), ``units.parquet`` (one row per
unit), ``model.json`` (everything else, with the hashes of the other two; written last).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
from numpy.typing import ArrayLike, NDArray

from analysis.metrics import unit_blocks
from neurovis.core.array_files import write_arrays
from neurovis.core.checks import check_array, check_columns, check_path
from neurovis.core.files import (
    DECODER_ERRORS,
    corrupt,
    plain,
    read_table,
    sha256_file,
    write_json,
    write_table,
)
from neurovis.core.verified_cards import read_verified_card
from neurovis.fitting.encoding_inputs import check_same_rows, features_by_space
from neurovis.fitting.fwrf_model import KIND, FwRFModel

MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
UNITS_FILE = "units.parquet"
_FILES = (WEIGHTS_FILE, UNITS_FILE)
_VERSION = 1


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """What a model weighs of one set of features.

    Parameters
    ----------
    name : str
        Name of the features, such as the title of a layer.
    coef : ndarray of float32, shape (n_features, n_units)
        Weights of the features as they are given, not standardised; NaN for units
        that could not be fitted.
    mean : ndarray of float64, shape (n_features,)
        Means over the training rows; features count as deviations from these.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes do not fit.
    """

    name: str
    coef: NDArray[np.float32]
    mean: NDArray[np.float64]

    def __post_init__(self) -> None:
        check_array("coef", self.coef, shape=(None, None), dtype=np.float32)
        shape = (self.coef.shape[0],)
        check_array("mean", self.mean, shape=shape, dtype=np.float64, finite=True)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.coef.shape[0])


@dataclass(frozen=True, eq=False)
class EncodingModel:
    """A linear model of the responses of units.

    ``prediction = intercept + sum over spaces of (features - mean) @ coef``.

    Parameters
    ----------
    spaces : tuple of FeatureSpace
        At least one; names are unique.
    intercept : ndarray of float64, shape (n_units,)
        Prediction for features at their means.
    units : DataFrame
        One row per unit: `unit_id`, places, labels of regions, as
        `neurovis.core.unit_responses.UnitResponses` has them.
    alphas : ndarray of float64, shape (n_units,)
        Penalty of each unit; NaN where undefined.
    method : str
        How it was fitted, such as "ridge".
    features : mapping
        What the features are, as JSON values: network, hash of its weights, layer,
        preprocessing, projection.
    training : mapping
        What it was fitted to, as JSON values: data set, subject, hashes, number of
        rows.
    notes : tuple of str
        What a reader must know: untrained networks, simulated data.
    licence : str
        Terms of the weights.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes do not fit, there is no space, or names repeat.

    Notes
    -----
    The weights take ``4 n_features n_units`` bytes: 3.2 GB for 20,000 features and
    40,000 voxels. They are held once in memory, and once more while they are written.

    Examples
    --------
    >>> space = FeatureSpace("layer", np.ones((2, 1), np.float32), np.array([1.0, 0.0]))
    >>> units = pd.DataFrame({"unit_id": ["a"]})
    >>> model = EncodingModel(
    ...     (space,), np.array([5.0]), units, np.array([1.0]), "ridge"
    ... )
    >>> model.predict(np.array([[1.0, 0.0], [2.0, 3.0]])).tolist()
    [[5.0], [9.0]]
    """

    spaces: tuple[FeatureSpace, ...]
    intercept: NDArray[np.float64]
    units: pd.DataFrame
    alphas: NDArray[np.float64]
    method: str
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
        n = len(self.units)
        for name in ("intercept", "alphas"):
            check_array(name, getattr(self, name), shape=(n,), dtype=np.float64)
        for space in self.spaces:
            check_array(f"coef of {space.name!r}", space.coef, shape=(None, n))

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.units)

    def predict(self, features: ArrayLike | Mapping[str, Any]) -> NDArray[np.float32]:
        """Predict responses.

        Parameters
        ----------
        features : array-like of float, shape (n, n_features), or mapping of such
            Features of the only space, or by name of space.

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
        parts = self._parts(features)
        total = np.empty((len(parts[0]), self.n_units), np.float32)
        for at, block in self._blocks(parts):
            total[:, at] = sum(block, self.intercept[at])
        return total

    def predict_spaces(
        self, features: ArrayLike | Mapping[str, Any]
    ) -> NDArray[np.float32]:
        """Return what each space adds to predictions; the intercept is left out.

        Parameters
        ----------
        features : array-like of float, shape (n, n_features), or mapping of such
            As for `predict`.

        Returns
        -------
        ndarray of float32, shape (n_spaces, n, n_units)
            For `analysis.variance.split_r_squared`.

        Raises
        ------
        ValueError
            As `predict`.
        """
        parts = self._parts(features)
        shape = (len(parts), len(parts[0]), self.n_units)
        shares = np.empty(shape, np.float32)
        for at, block in self._blocks(parts):
            for k, values in enumerate(block):
                shares[k, :, at] = values
        return shares

    def _blocks(self, parts: list[NDArray[Any]]) -> Any:
        """Yield units, and what each space adds to their predictions."""
        away = [
            (part - space.mean).astype(np.float32)
            for part, space in zip(parts, self.spaces, strict=True)
        ]
        for at in unit_blocks(max(map(len, parts)), self.n_units):
            yield (
                at,
                [
                    rows @ space.coef[:, at]
                    for rows, space in zip(away, self.spaces, strict=True)
                ],
            )

    def _parts(self, features: ArrayLike | Mapping[str, Any]) -> list[NDArray[Any]]:
        given = features_by_space(features, [space.name for space in self.spaces])
        parts = []
        for space, values in zip(self.spaces, given, strict=True):
            label = f"features[{space.name!r}]"
            array = np.asarray(values)
            check_array(label, array, shape=(None, space.n_features), finite=True)
            parts.append(array)
        check_same_rows([len(part) for part in parts])
        return parts

    def content(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Take the model apart, for files.

        Returns
        -------
        dict
            Description of what only models of this kind have: nothing.
        dict of str to ndarray
            Arrays.
        """
        arrays: dict[str, NDArray[Any]] = {
            "intercept": self.intercept,
            "alphas": self.alphas,
        }
        for k, space in enumerate(self.spaces):
            arrays[f"coef.{k}"] = space.coef
            arrays[f"mean.{k}"] = space.mean
        return {}, arrays

    @classmethod
    def from_content(
        cls,
        meta: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        units: pd.DataFrame,
    ) -> "EncodingModel":
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
        EncodingModel
            With equal arrays.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing or does not fit.
        """
        return cls(
            spaces=tuple(
                FeatureSpace(name, arrays[f"coef.{k}"], arrays[f"mean.{k}"])
                for k, name in enumerate(meta["spaces"])
            ),
            intercept=arrays["intercept"],
            units=units,
            alphas=arrays["alphas"],
            notes=tuple(meta["notes"]),
            **{k: meta[k] for k in ("method", "features", "training", "licence")},
        )


def save_encoding_model(folder: str | Path, model: EncodingModel | FwRFModel) -> None:
    """Write a model as plain files; what else lies in the folder stays.

    Parameters
    ----------
    folder : str or Path
        Where; made when missing. A model that is there is replaced.
    model : EncodingModel or FwRFModel
        What to write.

    Raises
    ------
    TypeError, ValueError
        If a description has no JSON form.
    OSError
        If the folder cannot be written.
    """
    folder = Path(folder)
    meta: dict[str, Any] = plain(
        {
            "version": _VERSION,
            "method": model.method,
            "spaces": [space.name for space in model.spaces],
            "features": dict(model.features),
            "training": dict(model.training),
            "notes": list(model.notes),
            "licence": model.licence,
        }
    )
    own, given = model.content()
    arrays = {name: np.ascontiguousarray(array) for name, array in given.items()}
    # Without it the folder holds no model, so that old and new files never mix.
    (folder / MODEL_FILE).unlink(missing_ok=True)
    write_arrays(folder / WEIGHTS_FILE, arrays)
    write_table(folder / UNITS_FILE, model.units)
    hashes = {n: sha256_file(folder / n) for n in _FILES}
    write_json(folder / MODEL_FILE, meta | own | {"sha256": hashes})


def load_encoding_model(folder: str | Path) -> EncodingModel | FwRFModel:
    """Read what `save_encoding_model` wrote, after its hashes were verified.

    Parameters
    ----------
    folder : str or Path
        Folder of a model.

    Returns
    -------
    EncodingModel or FwRFModel
        With equal arrays.

    Raises
    ------
    FileNotFoundError
        If there is no model in the folder.
    DataCorruptError
        If a file is missing, cut or changed.
    ValueError
        If a later version wrote it.
    """
    folder = check_path("model", folder, kind="folder")
    if not (folder / MODEL_FILE).is_file():
        raise FileNotFoundError(
            f"{folder} holds no encoding model: {MODEL_FILE} is missing. Give one of "
            "the folders below `models` of a finished fit."
        )
    meta = read_verified_card(folder / MODEL_FILE, _FILES, _VERSION, "a model")
    try:
        with safetensors.safe_open(folder / WEIGHTS_FILE, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        units = read_table(folder / UNITS_FILE)
        if meta.get("kind") == KIND:
            return FwRFModel.from_content(meta, arrays, units)
        return EncodingModel.from_content(meta, arrays, units)
    except (safetensors.SafetensorError, *DECODER_ERRORS) as error:
        raise corrupt(folder / MODEL_FILE, "encoding model", error) from error
