"""Parts of a run of encoding models: found again after an interruption."""

import logging
import shutil
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.adapters.projections import save_projection
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file, sha256_json
from neurovis.core.provenance import code_fingerprint
from neurovis.core.store import Store
from neurovis.fitting.encoding_model import (
    MODEL_FILE,
    load_encoding_model,
    save_encoding_model,
)
from tasks.encoding_data import HeldOut
from tasks.encoding_fits import Candidate, Fit, FitSettings, Kept, fit_candidate
from tasks.encoding_layers import file_name
from tasks.encoding_run import (
    TASK,
    model_folder,
    open_matrix,
    prediction_file,
    save_matrix,
)
from tasks.encoding_scores import region_scores, score_units, unit_table

logger = logging.getLogger(__name__)

VERSION = 1
"""Raised when the same call gives other numbers."""


def projection_file(number: int, request: str) -> str:
    """Return the name of the file of a projection beside a model.

    Parameters
    ----------
    number : int
        0-based feature space.
    request : str
        Request for a layer.

    Returns
    -------
    str
        Name in the folder of the model.

    Examples
    --------
    >>> projection_file(0, "layer4:flat")
    'projection-0-layer4_flat.safetensors'
    """
    return f"projection-{number}-{file_name(request)}.safetensors"


class Fitter(Protocol):
    """How a kind of models is fitted and kept."""

    def identity(self) -> dict[str, Any]:
        """Return what fits depend on.

        Returns
        -------
        dict
            JSON values.
        """
        ...

    def fit(
        self,
        candidate: Candidate,
        held: HeldOut,
        *,
        keep_model: bool,
        key: str,
        folder: Path,
    ) -> Fit:
        """Fit all splits, and the model that is kept.

        Parameters
        ----------
        candidate : Candidate
            Names and features.
        held : HeldOut
            Splits and responses.
        keep_model : bool
            Whether a model is wanted.
        key : str
            Hash of all that the fit depends on, kept with the model.
        folder : Path
            Where a fit that was killed is found again.

        Returns
        -------
        Fit
            Predictions, and the model.
        """
        ...

    def save(self, home: Path, kept: Any) -> None:
        """Write what `fit` kept.

        Parameters
        ----------
        home : Path
            Folder.
        kept : object
            ``Fit.kept``.
        """
        ...

    def saved_key(self, home: Path) -> str | None:
        """Return the key of what `save` wrote.

        Parameters
        ----------
        home : Path
            Folder.

        Returns
        -------
        str or None
            None where there is nothing.
        """
        ...


@dataclass(frozen=True)
class LinearFitter:
    """Fits by estimators of `neurovis.fitting`.

    Parameters
    ----------
    settings : FitSettings
        How to fit.
    """

    settings: FitSettings

    def identity(self) -> dict[str, Any]:
        """Return what fits depend on.

        Returns
        -------
        dict
            JSON values.
        """
        return self.settings.identity()

    def fit(
        self,
        candidate: Candidate,
        held: HeldOut,
        *,
        keep_model: bool,
        key: str,
        folder: Path,
    ) -> Fit:
        """Fit; see `tasks.encoding_fits.fit_candidate`.

        Parameters
        ----------
        candidate, held, keep_model, key, folder : object
            As there.

        Returns
        -------
        Fit
            Predictions, and the model.
        """
        return fit_candidate(
            candidate,
            held,
            self.settings,
            keep_model=keep_model,
            key=key,
            folder=folder,
        )

    def save(self, home: Path, kept: Kept) -> None:
        """Write a model with its projections.

        Parameters
        ----------
        home : Path
            Folder.
        kept : Kept
            What `fit` returned.
        """
        for number, layer in enumerate(kept.layers):
            for request, fitted in layer.projections.items():
                save_projection(home / projection_file(number, request), fitted)
        save_encoding_model(home, kept.model)

    def saved_key(self, home: Path) -> str | None:
        """Return the key of a saved model.

        Parameters
        ----------
        home : Path
            Folder.

        Returns
        -------
        str or None
            None where there is no model.
        """
        if not (home / MODEL_FILE).is_file():
            return None
        return str(load_encoding_model(home).training["key"])


@dataclass(frozen=True, eq=False)
class Part:
    """One model of one subject: computed, or found where it was left.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    candidate : Candidate
        Features.
    held : HeldOut
        Splits and responses.
    fitter : Fitter
        How to fit.
    responses : str
        Content hash of the responses.
    """

    folder: Path
    candidate: Candidate
    held: HeldOut
    fitter: Fitter
    responses: str

    @property
    def _names(self) -> tuple[str, str, str]:
        return self.held.data.subject, self.candidate.model, self.candidate.layer

    @property
    def _store(self) -> Store:
        return Store(self.folder / "parts")

    @property
    def _file(self) -> Path:
        return prediction_file(self.folder, *self._names)

    @property
    def _model(self) -> Path:
        return model_folder(self.folder, *self._names)

    @cached_property
    def _parts(self) -> dict[str, Any]:
        """All that the fit depends on."""
        held = self.held
        splits = [[s.name, s.train.tolist(), s.test.tolist()] for s in held.splits]
        return {
            "task": TASK,
            "version": VERSION,
            "code": code_fingerprint(),
            "responses": self.responses,
            "splits": sha256_json(splits),
            "features": self.candidate.identity(held.final_train),
            "settings": self.fitter.identity(),
        }

    @cached_property
    def key(self) -> str:
        """Hash of all that the fit depends on."""
        return Store.key(**self._parts, part="fit")

    @property
    def model_folder(self) -> Path:
        """Where the fitted model lies."""
        return self._model

    def fit(self, keep_model: bool) -> Fit:
        """Fit, or find what an earlier run left.

        Parameters
        ----------
        keep_model : bool
            Whether the model itself is wanted.

        Returns
        -------
        Fit
            Its predictions are those on disk.

        Raises
        ------
        ValueError, OSError
            If features cannot be computed, or the folder cannot be written.
        """
        parts, key = {**self._parts, "part": "fit"}, self.key
        search = self.folder / "search" / key
        fit = self._found(key, keep_model)
        if fit is not None:
            logger.info("%s is there already", self._file)
            _remove(search)
            return fit
        done = self.fitter.fit(
            self.candidate, self.held, keep_model=keep_model, key=key, folder=search
        )
        if done.kept is not None:
            self.fitter.save(self._model, done.kept)
        save_matrix(self._file, done.predictions)
        digest = bytes.fromhex(sha256_file(self._file))
        arrays: dict[str, NDArray[Any]] = {
            **done.units,
            "sha256": np.frombuffer(digest, np.uint8),
        }
        if done.shares is not None:
            arrays["shares"] = done.shares
        self._store.put(parts, arrays)
        fit = self._found(key, keep_model)
        if fit is None:
            raise DataCorruptError(
                f"{self._file} is not what was written just now: the disk is faulty."
            )
        _remove(search)
        return fit

    def _found(self, key: str, keep_model: bool) -> Fit | None:
        """Return what was left, if all of it is sound."""
        try:
            arrays: Any = self._store.get(key)
            digest = bytes(arrays.pop("sha256")).hex()
            if not self._file.is_file() or sha256_file(self._file) != digest:
                return None
            if keep_model and self.fitter.saved_key(self._model) != key:
                return None
            shares = arrays.pop("shares", None)
            return Fit(open_matrix(self._file), arrays, shares, None)
        except KeyError:
            return None
        except DataCorruptError as error:
            logger.warning("computing again: %s", error)
            return None

    def score(
        self, fit: Fit, n_permutations: int, n_bootstrap: int, seed: int
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Score, or find the scores of an earlier run.

        Parameters
        ----------
        fit : Fit
            From `fit`.
        n_permutations, n_bootstrap, seed : int
            As `tasks.encoding_scores.score_units`.

        Returns
        -------
        units : DataFrame
            From `tasks.encoding_scores.unit_table`.
        regions : DataFrame
            From `tasks.encoding_scores.region_scores`.
        """
        draws = {"permutations": n_permutations, "samples": n_bootstrap, "seed": seed}
        parts = {**self._parts, **draws}
        held = self.held
        memory: list[Any] = []

        def compute() -> Any:
            if not memory:
                scores = score_units(
                    held.measured,
                    fit.predictions,
                    held.groups,
                    n_permutations=n_permutations,
                    n_bootstrap=n_bootstrap,
                    seed=seed,
                )
                memory.extend((scores, unit_table(held, scores, fit.units)))
            return memory

        units = self._store.get_or_compute(
            {**parts, "part": "units"}, lambda: compute()[1]
        )
        regions = self._store.get_or_compute(
            {**parts, "part": "regions"}, lambda: region_scores(held, *compute())
        )
        return units, regions


def _remove(search: Path) -> None:
    """Remove what only an unfinished search needs."""
    shutil.rmtree(search, ignore_errors=True)
    with suppress(OSError):  # it holds those of other models
        search.parent.rmdir()
