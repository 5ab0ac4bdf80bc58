"""Training of encoders of embeddings: views through a frozen network, a linear map."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.metrics import pearson_r, r_squared, unit_blocks
from neurovis.core.brain_space import describe_space
from neurovis.core.device import autocast_dtype, exact_float32, free_memory_bytes
from neurovis.core.files import plain
from neurovis.core.rng import own_torch_stream
from neurovis.fitting.train import train
from tasks.backbone_views import Batch
from tasks.clip_encoder_model import (
    ClipEncoder,
    read_clip_card,
    save_clip_encoder,
)
from tasks.clip_encoder_recipe import ClipEncoderRecipe, augment_views, batches_of
from tasks.encoder_predict import CLIP_FILE
from tasks.encoding_data import HeldOut
from tasks.encoding_features import FeatureSource
from tasks.encoding_fits import LICENCE, Candidate, Fit
from tasks.encoding_layers import Layer
from tasks.feature_specs import distinct_stimuli, pictures_of
from tasks.picture_networks import NetworkReader, prepare_pictures

_VERSION = 1
_AT_ONCE = 64
_INITIAL = 0.5  # of the initial weights of torch
_SHARE_OF_MEMORY = 0.8


@dataclass(frozen=True, eq=False)
class ClipFitter:
    """Trains a linear map of embeddings for one subject.

    Parameters
    ----------
    recipe : ClipEncoderRecipe
        How.
    source : FeatureSource
        Pictures of the subject, and the network.
    reader : NetworkReader
        The network on its device.
    seed : int
        Seed of initial weights, order and views.
    device : torch.device
        Where to compute.
    """

    recipe: ClipEncoderRecipe
    source: FeatureSource
    reader: NetworkReader
    seed: int
    device: torch.device

    @property
    def _request(self) -> str:
        return next(iter(self.reader.sizes))

    @cached_property
    def _pixels(self) -> Tensor:
        """Pictures of the distinct stimuli, at the size of the network."""
        pictures = pictures_of(self.source.spec, self.source.data)
        height, width = self.reader.rule.size_px
        n_bytes = 3 * len(pictures) * height * width
        free = free_memory_bytes(torch.device("cpu"))
        if n_bytes > _SHARE_OF_MEMORY * free:
            raise MemoryError(
                f"{len(pictures)} pictures of {height} x {width} pixels need "
                f"{n_bytes / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are "
                "free. Take fewer pictures, or a machine with more memory."
            )
        return prepare_pictures(pictures, self.reader.rule)

    def identity(self) -> dict[str, Any]:
        """Return what fits depend on.

        Returns
        -------
        dict
            JSON values.
        """
        recipe = self.recipe.parameters
        return {"clip encoder": _VERSION, "recipe": recipe, "seed": self.seed}

    def fit(
        self,
        candidate: Candidate,
        held: HeldOut,
        *,
        keep_model: bool,
        key: str,
        folder: Path,
    ) -> Fit:
        """Train every split, predict what was left out, and keep an encoder.

        Parameters
        ----------
        candidate : Candidate
            Names.
        held : HeldOut
            Subject that is predicted.
        keep_model : bool
            Return an encoder: that of the split, or one of all rows if there are
            several.
        key : str
            Hash of all that the fit depends on, kept with the encoder.
        folder : Path
            Where a training that was killed is found again.

        Returns
        -------
        Fit
            Nothing is chosen within training rows: `cv_score` is NaN.
        """
        n_units = held.data.responses.n_units
        codes, _ = distinct_stimuli(held.data.responses)
        predictions = np.full((len(held.table), n_units), np.nan, np.float32)
        weights: dict[str, Any] = {}
        for number, split in enumerate(held.splits):
            place = folder / f"split{number}"
            weights = self._train(held, split.train, key, place, candidate)
            one = self._encoder(candidate, held, weights, key)
            at, rows = held.places(split)
            predictions[at] = one.predict(self._embed(codes[rows]))
        kept = None
        if keep_model:
            if len(held.splits) > 1:
                place = folder / "all"
                weights = self._train(held, held.final_train, key, place, candidate)
            kept = self._encoder(candidate, held, weights, key, predictions)
        nothing = np.full(n_units, np.nan)
        names = ("alpha", "cv_score", "at_smallest", "at_largest")
        return Fit(predictions, dict.fromkeys(names, nothing), None, kept)

    def save(self, home: Path, kept: ClipEncoder) -> None:
        """Write an encoder.

        Parameters
        ----------
        home : Path
            Folder.
        kept : ClipEncoder
            What `fit` kept.
        """
        save_clip_encoder(home, kept)

    def saved_key(self, home: Path) -> str | None:
        """Return the key of a saved encoder.

        Parameters
        ----------
        home : Path
            Folder.

        Returns
        -------
        str or None
            None where there is none.
        """
        if not (home / CLIP_FILE).is_file():
            return None
        return str(read_clip_card(home)["training"]["key"])

    def _see(self, pixels: Tensor) -> Tensor:
        """Return embeddings of length 1, on the device."""
        mixed: Any = nullcontext()
        if self.recipe.precision == "autocast":
            mixed = torch.autocast(self.device.type, autocast_dtype(self.device))
        with torch.no_grad(), exact_float32(), mixed:
            found = self.reader.read(pixels.to(self.device))[self._request]
        return F.normalize(found.float(), dim=1)

    def _embed(self, stimuli: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return embeddings of pictures as they are."""
        parts = [
            self._see(self._pixels[torch.from_numpy(stimuli[at : at + _AT_ONCE])]).cpu()
            for at in range(0, len(stimuli), _AT_ONCE)
        ]
        return torch.cat(parts).numpy()

    def _train(
        self,
        held: HeldOut,
        rows: NDArray[np.int64],
        key: str,
        folder: Path,
        candidate: Candidate,
    ) -> dict[str, Any]:
        """Return weights and scales of the units that can be trained."""
        responses = held.data.responses
        codes, _ = distinct_stimuli(responses)
        targets, mean, scale, index = _targets(
            responses.betas, rows, self.recipe.standardise
        )
        if not len(index):
            raise ValueError(
                f"No unit of {held.data.name} is defined in all training rows and "
                "varies over them."
            )
        with own_torch_stream(self.seed, "clip encoder", "initial weights"):
            module = nn.Linear(self.reader.sizes[self._request], len(index))
        with torch.no_grad():
            module.weight.mul_(_INITIAL)
        training = train(
            module,
            batches_of(self.recipe, len(rows), self.seed),
            self._loss(torch.from_numpy(codes[rows]), torch.from_numpy(targets)),
            settings=self.recipe.settings,
            seed=self.seed,
            device=self.device,
            folder=folder,
            identity={"key": key},
            description=f"{candidate.model} {candidate.layer}".strip(),
        )
        return {
            "weight": training.state["weight"].numpy(),
            "bias": training.state["bias"].numpy(),
            "mean": mean,
            "scale": scale,
            "voxel_index": index,
        }

    def _loss(
        self, stimuli: Tensor, targets: Tensor
    ) -> Callable[[nn.Module, Batch], tuple[Tensor, float]]:
        fixed: Tensor | None = None
        if not self.recipe.is_augmented:
            # Every epoch sees the same.
            fixed = torch.from_numpy(self._embed(stimuli.numpy())).to(self.device)
        rule = self.reader.rule.pixels

        def loss(module: nn.Module, batch: Batch) -> tuple[Tensor, float]:
            chosen = torch.tensor(batch.rows)
            if fixed is None:
                shown = self._pixels[stimuli[chosen]].to(self.device)
                keys = (self.seed, batch.epoch, batch.number)
                seen = self._see(augment_views(shown, rule, self.recipe, *keys))
            else:
                seen = fixed[chosen.to(self.device)]
            value = F.mse_loss(module(seen), targets[chosen].to(self.device))
            return len(chosen) * value, float(len(chosen))

        return loss

    def _encoder(
        self,
        candidate: Candidate,
        held: HeldOut,
        weights: dict[str, Any],
        key: str,
        predictions: NDArray[np.float32] | None = None,
    ) -> ClipEncoder:
        responses = held.data.responses
        unknown = np.full(responses.n_units, np.nan)
        r, r2 = unknown, unknown
        if predictions is not None:
            pairs = [(held.measured[g], predictions[g]) for g in held.groups]
            r = np.mean([pearson_r(*pair) for pair in pairs], axis=0)
            r2 = np.mean([r_squared(*pair) for pair in pairs], axis=0)
        notes = [*candidate.notes, *held.data_notes]
        if len(held.splits) > 1:
            notes.append(
                f"Trained on all rows; the scores beside it are those of "
                f"{len(held.splits)} encoders that did not see what they predict."
            )
        (layer,) = self.source.layers
        codes, _ = distinct_stimuli(responses)
        space = self.source.describe(Layer(layer, (), codes, {}))
        training = plain(
            {
                "data": responses.name,
                "subject": held.data.subject,
                "response_unit": responses.response_unit,
                "families": responses.families,
                "space": describe_space(responses.space),
                "n_train": len(held.final_train),
                "n_test": len(held.table),
                "fingerprints": dict(responses.fingerprints),
                "simulated": held.data.is_simulated,
                "recipe": self.recipe.parameters,
                "seed": self.seed,
                "key": key,
            }
        )
        return ClipEncoder(
            **weights,
            units=responses.units,
            test_r=r,
            test_r2=r2,
            ceiling=held.ceiling,
            features={"model": candidate.model, "spaces": [space]},
            training=training,
            notes=tuple(dict.fromkeys(notes)),
            licence=LICENCE,
        )


def _targets(
    betas: NDArray[Any], rows: NDArray[np.int64], standardise: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], Any]:
    """Return training responses of the units that can be trained, and their scales."""
    n_units = betas.shape[1]
    mean, spread = np.zeros((2, n_units))
    for block in unit_blocks(len(rows), n_units):
        values = np.asarray(betas[:, block])[rows].astype(np.float64)
        mean[block], spread[block] = values.mean(axis=0), values.std(axis=0)
    usable = np.isfinite(spread) & (spread > 1e-12 * np.abs(mean)) & (spread > 0)
    index = np.flatnonzero(usable)
    mean, spread = mean[index], spread[index]
    if not standardise:
        mean, spread = np.zeros_like(mean), np.ones_like(spread)
    found = np.empty((len(rows), len(index)), np.float32)
    for block in unit_blocks(len(rows), len(index)):
        values = np.asarray(betas[:, index[block]])[rows].astype(np.float64)
        found[:, block] = (values - mean[block]) / spread[block]
    return found, mean.astype(np.float32), spread.astype(np.float32), index
