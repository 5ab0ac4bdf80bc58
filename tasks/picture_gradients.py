"""Fitted models of units as differentiable functions of images.

What predicts responses to pictures can also say how a picture must change for a unit
to respond more: every model that the suite writes is put into torch, from the pixels
to the units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.adapters.feature_models import Backbone
from neurovis.core.device import exact_float32, resolve
from neurovis.core.regions import REGION_UNIONS, region_labels, region_mask
from tasks.clip_encoder_model import ClipEncoder, load_clip_encoder
from tasks.encoder_predict import (
    CLIP_FILE,
    Fitted,
    ModelCard,
    PictureModel,
    load_networks,
    load_picture_model,
)
from tasks.picture_networks import (
    NetworkReader,
    TensorMap,
    fit_to_input,
    prepare_pictures,
    project_rows,
    read_network,
)
from tasks.picture_readouts import BoolArray, Readout, make_readout

_AT_ONCE = 32


def unit_regions(units: pd.DataFrame, families: Sequence[str]) -> dict[str, BoolArray]:
    """Return which units lie in each region, by all names that a region has.

    Parameters
    ----------
    units : DataFrame
        One row per unit, one column per family of regions, as
        `neurovis.core.regions` describes them.
    families : sequence of str
        Columns that hold labels.

    Returns
    -------
    dict of str to ndarray of bool, shape (n_units,)
        Families ("floc-faces": any of its labels), labels ("FFA-1") and unions of
        them ("FFA") that one family alone has, and all of these as "family:label".

    Raises
    ------
    ValueError
        If `units` lacks a family.

    Examples
    --------
    >>> units = pd.DataFrame({"unit_id": list("abc"), "prf": ["V1v", "V1d", ""]})
    >>> {name: mask.tolist() for name, mask in unit_regions(units, ["prf"]).items()}[
    ...     "V1"
    ... ]
    [True, True, False]
    """
    labels = {f: own for f, own in region_labels(units, families).items() if own}
    names: dict[str, list[str]] = {}
    for family, own in labels.items():
        unions = [
            union
            for union, parts in REGION_UNIONS.items()
            if union not in own and set(parts) & set(own)
        ]
        names[family] = [*own, *unions]
    found = {}
    for family, own in names.items():
        # Copies, because tables lend arrays that cannot be written.
        found[family] = region_mask(units, families, family).copy()
        for label in own:
            mask = region_mask(units, families, f"{family}:{label}").copy()
            found[f"{family}:{label}"] = mask
            is_shared = sum(label in other for other in names.values()) > 1
            # A family of that name comes first, as everywhere.
            if not is_shared and label not in names:
                found[label] = mask
    return found


@dataclass(frozen=True, eq=False)
class _Space:
    """Which network a feature space is read of, and how it is projected."""

    reader: int
    requests: tuple[str, ...]
    projections: Mapping[str, TensorMap]

    def parts(self, rows: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:
        found = []
        for request in self.requests:
            part, own = rows[self.reader][request], self.projections.get(request)
            found.append(part if own is None else own(part))
        return found


@dataclass(frozen=True, eq=False)
class GradientEncoder:
    """A fitted model that maps images to responses, and lets gradients through.

    Called with images, it gives responses: `__call__` describes both.

    Parameters
    ----------
    name : str
        Subject, model and layer, for tables.
    units : DataFrame
        One row per unit.
    families : tuple of str
        Columns of `units` that hold labels of regions.
    known : Tensor of bool, shape (n_units,)
        Units with predictions, on the CPU; those of the others are NaN, and no
        gradient comes from them.
    fitted : Tensor of bool, shape (n_units,)
        Those of them that differ between pictures: what can be driven. A unit that
        did not vary in training is predicted as a constant.
    notes : tuple of str
        What a user must know.
    fingerprint : str
        SHA-256 of the description of the model, which has those of its files.
    device : torch.device
        Where it computes.
    readers : tuple of NetworkReader
        Networks that it looks through.
    spaces : tuple
        Which of their layers it weighs.
    readout : callable
        From features to the units that are fitted.
    antialias : bool, default True
        As `tasks.picture_networks.fit_to_input`.
    response_unit : str, default ""
        Unit of responses; "" where it is not known.
    """

    name: str
    units: pd.DataFrame
    families: tuple[str, ...]
    known: Tensor
    fitted: Tensor
    notes: tuple[str, ...]
    fingerprint: str
    device: torch.device
    readers: tuple[NetworkReader, ...]
    spaces: tuple[_Space, ...]
    readout: Readout
    antialias: bool = True
    response_unit: str = ""

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.units)

    @property
    def regions(self) -> dict[str, BoolArray]:
        """Units of each region, see `unit_regions`."""
        return unit_regions(self.units, self.families)

    def __call__(self, images: Tensor) -> Tensor:
        """Predict responses to images; gradients flow back to their pixels.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, H, W), 0..1
            RGB, on the device of the encoder, of any size; see
            `tasks.picture_networks.fit_to_input` for how it is seen.

        Returns
        -------
        Tensor of float32, shape (n, n_units)
            Responses in their own unit; NaN for units that are not `known`.

        Raises
        ------
        TypeError, ValueError
            If the shape or the type does not fit.
        """
        if not isinstance(images, Tensor) or not images.is_floating_point():
            kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(
                f"`images` must be a tensor of floats of 0..1; got {kind}. For "
                "pictures of 0..255 there is `predict`."
            )
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"`images` must have shape (n, 3, H, W); got {tuple(images.shape)}."
            )
        with exact_float32():
            rows = [
                reader(fit_to_input(images, reader.rule, antialias=self.antialias))
                for reader in self.readers
            ]
            return self._respond(rows)

    def predict(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predict responses to pictures, prepared as for all fits.

        Parameters
        ----------
        pictures : sequence of ndarray of uint8, shape (H, W, 3)
            RGB, of any sizes; or one array (n, H, W, 3).

        Returns
        -------
        ndarray of float32, shape (n, n_units)
            As the fitted model itself predicts them.

        Raises
        ------
        TypeError, ValueError
            If there are none, or one is no picture.
        """
        if not len(pictures):
            raise ValueError("`pictures` is empty: give at least one picture.")
        found = []
        for start in range(0, len(pictures), _AT_ONCE):
            some = pictures[start : start + _AT_ONCE]
            with torch.no_grad(), exact_float32():
                rows = [
                    reader.read(prepare_pictures(some, reader.rule).to(self.device))
                    for reader in self.readers
                ]
                found.append(self._respond(rows).cpu().numpy())
        return np.concatenate(found)

    def _respond(self, rows: Sequence[Mapping[str, Tensor]]) -> Tensor:
        values = self.readout([space.parts(rows) for space in self.spaces])
        if bool(self.known.all()):
            return values
        known = torch.nonzero(self.known)[:, 0].to(values.device)
        nothing = values.new_full((len(values), self.n_units), torch.nan)
        return nothing.index_copy(1, known, values)


def load_gradient_encoder(
    folder: str | Path,
    *,
    weights: str | Path | None = None,
    networks: dict[tuple[str, str | None, str | None], Backbone] | None = None,
    device: str | torch.device = "cpu",
    antialias: bool = True,
) -> GradientEncoder:
    """Load a fitted model of any kind as a function of images with gradients.

    Parameters
    ----------
    folder : str or Path
        Folder of one model, below ``models`` of a finished fit: linear, with
        receptive fields, a trained encoder, or an encoder on embeddings
        (`tasks.clip_encoder.fit_clip_encoder`).
    weights : str or Path, optional
        Weights of the network, if they lie elsewhere by now.
    networks : dict, optional
        Networks that are loaded already, by name, weights and rule of resizing; others
        are added. They are moved to `device` and frozen.
    device : str or torch.device, default "cpu"
        Where to compute.
    antialias : bool, default True
        As `tasks.picture_networks.fit_to_input`; False as BrainDiVE was published.

    Returns
    -------
    GradientEncoder
        Verified and ready.

    Raises
    ------
    ValueError
        If features came from outside, a network is not that of the model, or no unit
        was fitted.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If the model or weights are missing or damaged.
    """
    place = resolve(device)
    if (Path(folder) / CLIP_FILE).is_file():
        encoder = load_clip_encoder(folder)
        backbones = load_networks(encoder.card.spaces, weights, networks)
        nothing: Mapping[str, Any] = {}
        return _gradient_encoder(
            encoder.card,
            encoder,
            backbones,
            [nothing],
            (*encoder.notes, encoder.licence),
            place,
            antialias,
        )
    model = load_picture_model(folder, weights=weights, networks=networks)
    return differentiate(model, device=place, antialias=antialias)


def differentiate(
    model: PictureModel,
    *,
    device: str | torch.device = "cpu",
    antialias: bool = True,
) -> GradientEncoder:
    """Return a loaded model as a function of images with gradients.

    Parameters
    ----------
    model : PictureModel
        From `tasks.encoder_predict.load_picture_model`. Its networks are moved to
        `device` and frozen.
    device : str or torch.device, default "cpu"
        Where to compute.
    antialias : bool, default True
        As `tasks.picture_networks.fit_to_input`.

    Returns
    -------
    GradientEncoder
        Ready for images.

    Raises
    ------
    ValueError
        If no unit was fitted.
    """
    return _gradient_encoder(
        model.card,
        model.fitted,
        model.backbones,
        model.projections,
        model.notes,
        resolve(device),
        antialias,
    )


def _gradient_encoder(
    card: ModelCard,
    fitted: Fitted | ClipEncoder,
    backbones: Sequence[Backbone],
    projections: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    place: torch.device,
    antialias: bool,
) -> GradientEncoder:
    known, driven, readout = make_readout(card, fitted, place)
    if not driven.any():
        raise ValueError(f"{card.home} has no unit that was fitted: nothing to drive.")
    # Spaces of one network are read in one pass.
    distinct = list({id(backbone): backbone for backbone in backbones}.values())
    requests: list[list[str]] = [[] for _ in distinct]
    spaces = []
    for facts, backbone, own in zip(card.spaces, backbones, projections, strict=True):
        number = [backbone is other for other in distinct].index(True)
        requests[number] += facts["requests"]
        maps = {name: project_rows(one, place) for name, one in own.items()}
        spaces.append(_Space(number, tuple(facts["requests"]), maps))
    readers = [
        read_network(backbone, own, place)
        for backbone, own in zip(distinct, requests, strict=True)
    ]
    return GradientEncoder(
        name=" ".join(filter(None, card.names)),
        units=fitted.units,
        families=tuple(card.training.get("families", ())),
        known=torch.from_numpy(known),
        fitted=torch.from_numpy(driven),
        notes=tuple(dict.fromkeys(filter(None, notes))),
        fingerprint=card.fingerprint,
        device=place,
        readers=tuple(readers),
        spaces=tuple(spaces),
        readout=readout,
        antialias=antialias,
        response_unit=str(card.training.get("response_unit") or ""),
    )
