"""Fitted models from features to units, in torch: the same numbers, with gradients."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from neurovis.fitting.encoding_model import EncodingModel
from neurovis.fitting.fwrf_model import FwRFModel
from neurovis.fitting.fwrf_pools import gaussian_pools
from tasks.clip_encoder_model import ClipEncoder
from tasks.encoder_maps import MapLayout
from tasks.encoder_model import FittedEncoder
from tasks.encoder_predict import Fitted, ModelCard, saved_layouts

BoolArray = NDArray[np.bool_]

# Parts of each feature space, side by side, each of shape (n, n_part).
Features = list[list[Tensor]]

Readout = Callable[[Features], Tensor]


def make_readout(
    card: ModelCard, fitted: Fitted | ClipEncoder, place: torch.device
) -> tuple[BoolArray, BoolArray, Readout]:
    """Return which units are predicted, and the function that predicts these.

    Parameters
    ----------
    card : ModelCard
        What the model is.
    fitted : EncodingModel, FwRFModel, FittedEncoder or ClipEncoder
        From features to responses.
    place : torch.device
        Where to compute.

    Returns
    -------
    known : ndarray of bool, shape (n_units,)
        Units that are predicted.
    fitted : ndarray of bool, shape (n_units,)
        Those of them whose prediction depends on the picture.
    respond : callable
        From features to responses of these units, (n, n_known); gradients flow.
    """
    if isinstance(fitted, ClipEncoder):
        known = fitted.known
        return known, known, _embedding_readout(fitted, place)
    if isinstance(fitted, FittedEncoder):
        layouts = [saved_layouts(facts) for facts in card.spaces]
        known = fitted.columns >= 0
        return known, known, _network_readout(fitted, layouts, place)
    if isinstance(fitted, FwRFModel):
        return _field_readout(fitted, place)
    assert isinstance(fitted, EncodingModel)
    return _linear_readout(fitted, place)


def _tensor(values: Any, place: torch.device) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32)).to(place)


def _linear_readout(
    model: EncodingModel, place: torch.device
) -> tuple[BoolArray, BoolArray, Readout]:
    known = np.isfinite(model.intercept)
    fitted = np.zeros_like(known)
    for space in model.spaces:
        known &= np.isfinite(space.coef).all(0)
        fitted |= (space.coef != 0).any(0)
    parts = [
        (_tensor(space.mean, place), _tensor(space.coef[:, known], place))
        for space in model.spaces
    ]
    start = _tensor(model.intercept[known], place)

    def respond(spaces: Features) -> Tensor:
        total = start
        for rows, (mean, coef) in zip(spaces, parts, strict=True):
            total = total + (torch.cat(rows, 1) - mean) @ coef
        return total

    return known, known & fitted, respond


def _field_readout(
    model: FwRFModel, place: torch.device
) -> tuple[BoolArray, BoolArray, Readout]:
    """Pools are fixed: what they see of a map is linear in the map."""
    # Units without a field are their intercept.
    weights = np.where(model.pool >= 0, model.coef, 0)
    known = np.isfinite(model.intercept) & np.isfinite(weights).all(0)
    pool, numbers = model.pool.clip(0)[known], np.arange(len(model.pools))
    own = [np.flatnonzero(pool == k) for k in numbers]
    start = _tensor(model.intercept[known], place)
    mean = _tensor(model.mean, place)
    coef = [_tensor(weights[:, known][:, at], place) for at in own]
    order = torch.from_numpy(np.argsort(np.concatenate(own))).to(place)
    shapes = [shape for space in model.spaces for shape in space.shapes]
    kept = [
        torch.from_numpy(maps).to(place)
        for space in model.spaces
        for maps in space.kept
    ]
    masks = [
        _tensor(gaussian_pools(shape[1], model.pools), place).flatten(1)
        for shape in shapes
    ]

    def respond(spaces: Features) -> Tensor:
        rows = [part for parts in spaces for part in parts]
        seen = []
        for row, shape, maps, mask in zip(rows, shapes, kept, masks, strict=True):
            chosen = row.reshape(len(row), shape[0], -1)[:, maps]
            seen.append(torch.einsum("nfx,px->pnf", chosen, mask))
        away = torch.cat(seen, 2) - mean[:, None]
        found = torch.cat([away[k] @ coef[k] for k in numbers], 1)
        return start + found[:, order]

    return known, known & (weights != 0).any(0), respond


def _network_readout(
    encoder: FittedEncoder,
    layouts: Sequence[Sequence[MapLayout]],
    place: torch.device,
) -> Readout:
    networks = [
        copy.deepcopy(network).to(place).eval().requires_grad_(False)
        for network in encoder.networks
    ]
    known = encoder.columns >= 0
    columns = torch.from_numpy(encoder.columns[known]).to(place)
    scale = _tensor(encoder.unit_scale[known], place)
    mean = _tensor(encoder.unit_mean[known], place)
    moments = [
        None if m is None else (_tensor(m, place), _tensor(s, place))
        for m, s in (
            (encoder.channel_mean, encoder.channel_scale),
            (encoder.context_mean, encoder.context_scale),
        )
    ]

    def respond(spaces: Features) -> Tensor:
        given = []
        for parts, own, scaled in zip(spaces, layouts, moments, strict=False):
            maps = torch.cat(
                [_as_maps(*pair) for pair in zip(parts, own, strict=True)], 1
            )
            if scaled is not None:
                maps = (maps - scaled[0][:, None, None]) / scaled[1][:, None, None]
            given.append(maps)
        found: Tensor = sum(network(*given) for network in networks) / len(networks)
        return found[:, columns] * scale + mean

    return respond


def _as_maps(rows: Tensor, layout: MapLayout) -> Tensor:
    channels, height, width = layout.shape
    if layout.is_tokens:
        return rows.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
    return rows.reshape(-1, channels, height, width)


def _embedding_readout(encoder: ClipEncoder, place: torch.device) -> Readout:
    weight, bias, mean, scale = (
        _tensor(values, place)
        for values in (encoder.weight, encoder.bias, encoder.mean, encoder.scale)
    )

    def respond(spaces: Features) -> Tensor:
        ((embedding,),) = spaces
        found = F.linear(F.normalize(embedding, dim=1), weight, bias)
        return found * scale + mean

    return respond
