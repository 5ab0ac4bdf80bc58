"""Weights of voxels moved to where embeddings of natural images lie (BrainSCUBA).

For a unit weight w and bank embeddings e_k = n_k d_k of length n_k, with
s = softmax_k(β w·d_k), the projection has the direction of Σ s_k d_k and the length
Σ s_k n_k: embeddings that are averaged with their lengths would shrink.

The bank is read once, block by block, with the softmax summed as it goes: Milakov &
Gimelshein 2018 (arXiv:1805.02867). Products are float32; what is summed over blocks is
float64.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.device import exact_float32, free_memory_bytes, resolve
from neurovis.core.embedding_bank import EmbeddingBank
from neurovis.core.log import progress

SHARPEST_FLOAT32 = 1000.0
"""Above this inverse temperature products are float64: it multiplies their errors."""

_SHARPEST = 1e9  # beyond it float64 cannot tell cosines well enough
_TIE = {torch.float32: 1e-6, torch.float64: 1e-12}  # cosines that count as equal
_LIFT = 10.0  # logits may exceed the running maximum by so much
_LOWEST = -60.0  # 1e-26: below that float32 gets slow, and nothing is left of it
_NEGLIGIBLE = 1e-12  # share of a sum that a block may lack
_LARGE = 0.01  # share of the weights from which on a single one is added in float64
_PAIRS_AT_ONCE = 8192
_NO_DIRECTION = 1e-6  # length of a mean direction that is rounding
_CPU_ROWS, _GPU_ROWS = 2048, 16384  # longer blocks are not faster
_VOXELS_AT_ONCE = 1024
_SHARE_OF_MEMORY = 0.25
_NAMED = 5


@dataclass(frozen=True, eq=False)
class BankProjection:
    """Weights of voxels, projected.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n_voxels, n_features)
        Projections; NaN where directions of images cancel.
    norm : ndarray of float64, shape (n_voxels,)
        Their lengths.
    effective_number : ndarray of float64, shape (n_voxels,)
        Images that a projection is made of, exp of the entropy of s, 1 to the number
        of images: close to 1 it is the nearest image, close to all the mean of all.
    cosine : ndarray of float64, shape (n_voxels,)
        Of weight and projection.
    nearest_cosine : ndarray of float64, shape (n_voxels,)
        Of weight and nearest image.
    nearest : ndarray of int64, shape (n_voxels,)
        Row of the nearest image in the bank; the first of equally near ones.
    """

    vectors: NDArray[np.float32]
    norm: NDArray[np.float64]
    effective_number: NDArray[np.float64]
    cosine: NDArray[np.float64]
    nearest_cosine: NDArray[np.float64]
    nearest: NDArray[np.int64]


def project_onto_bank(
    weights: ArrayLike,
    bank: EmbeddingBank,
    *,
    inverse_temperature: float = 150.0,
    rows: ArrayLike | None = None,
    block_rows: int | Literal["auto"] = "auto",
    device: str | torch.device = "cpu",
) -> BankProjection:
    """Project weights of voxels onto a bank of image embeddings.

    The bank may be far larger than memory. The result equals that of a softmax over all
    of it at once to 1e-5 of the length of a projection.

    Parameters
    ----------
    weights : array-like of float, shape (n_voxels, n_features)
        Weights of an encoder of embeddings; only their directions matter.
    bank : EmbeddingBank
        Embeddings of the same network, not scaled to length 1.
    inverse_temperature : float, default 150
        β, 0 to 1e9: 0 gives the mean of all images, a large number the nearest one.
    rows : array-like of int, shape (n,), optional
        Rows of the bank to use, each once; all by default.
    block_rows : int or "auto"
        Rows that are read at once; it changes results by rounding only.
    device : str or torch.device, default "cpu"
        Where to compute: the CPU or CUDA.

    Returns
    -------
    BankProjection
        One entry per voxel.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, the widths differ, a weight is zero or not
        finite, or an embedding is.

    Notes
    -----
    Images whose cosines differ by less than 1e-6 count as equally near.

    References
    ----------
    Luo et al. 2024, BrainSCUBA, arXiv:2310.04420.

    Examples
    --------
    >>> from neurovis.core.embedding_bank import bank_of
    >>> bank = bank_of(np.array([[3, 0, 0], [0, 2, 0], [2, 2, 1]], np.float32))
    >>> found = project_onto_bank([[1, 0.2, 0]], bank, inverse_temperature=10)
    >>> found.vectors.round(4)
    array([[2.9859, 0.2571, 0.128 ]], dtype=float32)
    >>> found.effective_number.round(2), found.nearest
    (array([1.46]), array([0]))
    """
    check_between("inverse_temperature", inverse_temperature, low=0, high=_SHARPEST)
    beta = float(inverse_temperature)
    place = resolve(device)
    if place.type == "mps":
        raise ValueError("Sums are float64, which MPS lacks: use device='cpu'.")
    given = _check_weights(weights, bank)
    chosen = None if rows is None else _distinct(bank.check_rows(rows))
    if isinstance(block_rows, str):
        check_option("block_rows", block_rows, ("auto",))
    else:
        check_whole("block_rows", block_rows, low=1)
    dtype = torch.float32 if beta <= SHARPEST_FLOAT32 else torch.float64
    n_rows, n_voxels = _sizes(bank.n_features, place, dtype)
    if not isinstance(block_rows, str):
        n_rows = int(block_rows)
    total = bank.n_images if chosen is None else len(chosen)
    n_rows = min(n_rows, total)
    passes = range(0, len(given), n_voxels)
    parts = []
    with (
        exact_float32(),
        torch.inference_mode(),
        progress(total * len(passes), "projecting", unit="image") as bar,
    ):
        for start in passes:
            unit = _directions(given[start : start + n_voxels])
            sums = _Sums(torch.from_numpy(unit).to(place), beta, n_rows, dtype)
            for index, block in bank.stored_blocks(n_rows, chosen):
                # A copy: torch wants memory that it may write, of this byte order.
                own = np.array(block, block.dtype.newbyteorder("="), order="C")
                sums.add(index, torch.from_numpy(own).to(place))
                bar.update(len(index))
            parts.append(_finish(sums, unit, bank, total))
    return BankProjection(
        *(np.concatenate(column) for column in zip(*parts, strict=True))
    )


def _check_weights(weights: ArrayLike, bank: EmbeddingBank) -> NDArray[Any]:
    given = np.asarray(weights)
    if given.ndim != 2 or not len(given) or given.dtype.kind not in "iuf":
        raise ValueError(
            "`weights` must be numbers of shape (n_voxels, n_features), with at least "
            f"one voxel; got {given.dtype} of shape {given.shape}."
        )
    if given.shape[1] != bank.n_features:
        raise ValueError(
            f"`weights` have {given.shape[1]} features; the embeddings of the bank "
            f"{bank.name!r} have {bank.n_features}. Take the bank of the network that "
            "the weights belong to."
        )
    largest = np.maximum(given.max(axis=1), -given.min(axis=1))
    bad = ~np.isfinite(largest) | (largest == 0)
    if bad.any():
        raise ValueError(
            f"`weights` of {int(bad.sum())} of {len(given)} voxels are zero or not "
            f"finite, such as of voxel {_some(np.flatnonzero(bad))}: leave them out."
        )
    return given


def _directions(weights: NDArray[Any]) -> NDArray[np.float64]:
    values = weights.astype(np.float64)
    # Scaled first, so that no square gets too large or too small.
    values /= np.abs(values).max(axis=1, keepdims=True)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def _distinct(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if not len(rows):
        raise ValueError("`rows` is empty: give at least one row of the bank.")
    found, counts = np.unique(rows, return_counts=True)
    if len(found) < len(rows):
        raise ValueError(
            f"`rows` must hold each row once; {found[counts > 1][0]} comes "
            f"{counts.max()} times."
        )
    return found


def _some(numbers: NDArray[np.int64]) -> str:
    return ", ".join(str(n) for n in numbers[:_NAMED])


def _sizes(width: int, place: torch.device, dtype: torch.dtype) -> tuple[int, int]:
    """Return rows of a block and voxels of a pass that fit into memory."""
    free = min(free_memory_bytes(place), free_memory_bytes(torch.device("cpu")))
    room = int(_SHARE_OF_MEMORY * free)
    each = dtype.itemsize
    # A row: as it is stored and prepared; its cosines and what is found by them.
    row = 3 * 8 * width + (2 * each + 8) * _VOXELS_AT_ONCE
    most = _CPU_ROWS if place.type == "cpu" else _GPU_ROWS
    n_rows = min(max(room // row, 1), most)
    voxel = 6 * 8 * (width + 2)  # in float64: directions, sums, what is made of them
    n_voxels = max(room // voxel, 1)
    return n_rows, n_voxels


class _Sums:
    """What is known of the projections of some voxels after some blocks.

    Weights of images are relative to that of a reference cosine, which is raised where
    a block exceeds it by much.
    """

    def __init__(
        self, unit: Tensor, beta: float, n_rows: int, dtype: torch.dtype
    ) -> None:
        n_voxels, width = unit.shape
        self.exact, self.unit, self.beta = unit, unit.to(dtype), beta
        self.reference = unit.new_zeros(n_voxels)
        # Σ s d, Σ s n and Σ s.
        self.sums = unit.new_zeros(n_voxels, width + 2)
        self.best = self.unit.new_full((n_voxels,), -math.inf)
        self.nearest = torch.zeros(n_voxels, dtype=torch.int64, device=unit.device)
        self.is_first = True
        # Directions, lengths and ones: one product gives all three sums.
        self.bank = self.unit.new_ones(n_rows, width + 2)
        self.cosines = self.unit.new_empty(min(n_voxels, _VOXELS_AT_ONCE) * n_rows)

    def add(self, index: NDArray[np.int64], block: Tensor) -> None:
        """Take the next rows of the bank, in any precision."""
        n, width = block.shape
        bank = self.bank[:n]
        bank[:, :width] = block
        lengths = torch.linalg.vector_norm(bank[:, :width], dim=1, dtype=torch.float64)
        _check_lengths(lengths, index)
        bank[:, :width] /= lengths[:, None].to(bank)
        bank[:, width] = lengths.to(bank)
        numbers = torch.from_numpy(index).to(bank.device)
        for start in range(0, len(self.unit), _VOXELS_AT_ONCE):
            some = slice(start, min(start + _VOXELS_AT_ONCE, len(self.unit)))
            cosines = self.cosines[: (some.stop - start) * n].view(-1, n)
            torch.mm(self.unit[some], bank[:, :width].T, out=cosines)
            top = cosines.amax(1)
            self._note_nearest(some, cosines, top, numbers)
            self._raise_reference(some, top.double())
            self._add_weighted(some, cosines, top.double(), bank, block, lengths)
        self.is_first = False

    def _raise_reference(self, some: slice, top: Tensor) -> None:
        reference = self.reference[some]
        if self.is_first:
            reference.copy_(top)
            return
        raised = self.beta * (top - reference) > _LIFT
        if raised.any():
            higher = torch.where(raised, top, reference)
            self.sums[some] *= (self.beta * (reference - higher)).exp()[:, None]
            reference.copy_(higher)

    def _add_weighted(
        self,
        some: slice,
        cosines: Tensor,
        top: Tensor,
        bank: Tensor,
        block: Tensor,
        lengths: Tensor,
    ) -> None:
        # The most that a row of this block can weigh.
        most = (self.beta * (top - self.reference[some])).exp()
        n_sum, s_sum = self.sums[some, -2], self.sums[some, -1]
        live = (most * len(bank) > _NEGLIGIBLE * s_sum) | (
            most * lengths.sum() > _NEGLIGIBLE * n_sum
        )
        voxels = some.start + live.nonzero()[:, 0]
        if not len(voxels):
            return
        if len(voxels) > len(live) / 2:  # all: cheaper than a copy
            voxels = torch.arange(some.start, some.stop, device=bank.device)
        else:
            cosines, most = cosines[live], most[live]
        weights = cosines.sub_(self.reference[voxels, None].to(cosines))
        weights.mul_(self.beta).clamp_(min=_LOWEST).exp_()
        if weights.dtype == torch.float32:
            bar = _LARGE * (self.sums[voxels, -1] + weights.sum(1))
            large = (most > bar).nonzero()[:, 0]
            if len(large):
                found = weights[large] > bar[large, None].to(weights)
                which, rows = found.nonzero(as_tuple=True)
                weights[large[which], rows] = 0
                self._add_exactly(voxels[large[which]], block, lengths, rows)
        self.sums[voxels] += weights @ bank

    def _add_exactly(
        self, voxels: Tensor, block: Tensor, lengths: Tensor, rows: Tensor
    ) -> None:
        """Add in float64 what weighs so much that errors of cosines would show."""
        for start in range(0, len(voxels), _PAIRS_AT_ONCE):
            at = slice(start, start + _PAIRS_AT_ONCE)
            length = lengths[rows[at], None]
            direction = block[rows[at]].double() / length
            cosine = (self.exact[voxels[at]] * direction).sum(1)
            weight = (self.beta * (cosine - self.reference[voxels[at]])).exp()
            each = torch.cat([direction, length, torch.ones_like(length)], 1)
            self.sums.index_add_(0, voxels[at], weight[:, None] * each)

    def _note_nearest(
        self, some: slice, cosines: Tensor, top: Tensor, numbers: Tensor
    ) -> None:
        tie = _TIE[cosines.dtype]
        best, nearest = self.best[some], self.nearest[some]
        nearer = (top > best + tie).nonzero()[:, 0]
        if not len(nearer):
            return
        rows = cosines[nearer]
        # Equal images may differ by rounding, and the first one is wanted.
        is_top = rows >= top[nearer, None] - tie
        places = torch.arange(rows.shape[1], device=rows.device)
        first = torch.where(is_top, places, rows.shape[1]).amin(1)
        best[nearer] = rows.gather(1, first[:, None])[:, 0]
        nearest[nearer] = numbers[first]


def _check_lengths(lengths: Tensor, index: NDArray[np.int64]) -> None:
    bad = ~(torch.isfinite(lengths) & (lengths > 0))
    if bad.any():
        rows = index[bad.cpu().numpy()]
        raise ValueError(
            "Embeddings of the bank are zero or not finite, such as those of rows "
            f"{_some(rows)}: images that failed. Leave them out by --drop-failed, or "
            "`rows=sound_rows(bank)`, from neurovis.core.embedding_bank."
        )


def _finish(
    sums: _Sums, unit: NDArray[np.float64], bank: EmbeddingBank, n_images: int
) -> tuple[NDArray[Any], ...]:
    """Return the fields of a `BankProjection` for some voxels."""
    values = sums.sums.cpu().numpy()
    total = values[:, -1]
    mean = values[:, :-2] / total[:, None]
    # -Σ s log s, by the logits that the sums hold.
    logit = (unit * mean).sum(axis=1) - sums.reference.cpu().numpy()
    entropy = np.clip(np.log(total) - sums.beta * logit, 0, math.log(n_images))
    length = np.linalg.norm(mean, axis=1)
    length[length < _NO_DIRECTION] = np.nan
    mean /= length[:, None]
    norm = values[:, -2] / total + 0 * length
    nearest = sums.nearest.cpu().numpy()
    near = np.empty(len(unit))
    for start in range(0, len(unit), _VOXELS_AT_ONCE):
        some = slice(start, start + _VOXELS_AT_ONCE)
        found = bank.rows(nearest[some]).astype(np.float64)
        near[some] = (unit[some] * _directions(found)).sum(axis=1)
    return (
        (norm[:, None] * mean).astype(np.float32),
        norm,
        np.exp(entropy),
        (unit * mean).sum(axis=1),
        near,
        nearest,
    )
