"""Pooling whose window grows with distance from the point of gaze.

The rule is that of Gupta et al. (2021, NeurIPS, arXiv:2106.02953), section 3: around
the centre of the map a fovea is pooled with the network's own window; outside it
lie rings whose window grows linearly with eccentricity. The stride never changes,
so the map keeps its size and every window is a "same"-padded pooling of the input.

General rule for any stage: the layer input has a stride ``s`` in picture pixels, so
one degree is ``round(px_per_deg / s)`` of its pixels; the slope of window size
against ring diameter is ``SLOPES[s]`` (0 below stride 4).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_between, check_option

PoolKind = Literal["average", "max"]

# Window growth per pixel of ring diameter, by stride of the layer input: 0.02
# degrees of window times 3.5, 8 and 16 (published constants).
SLOPES = {1: 0.0, 2: 0.0, 4: 3.5 * 0.02, 8: 8 * 0.02, 16: 16 * 0.02}


@dataclass(frozen=True)
class PoolingRule:
    """How one pooling stage depends on eccentricity.

    Parameters
    ----------
    px_per_deg : int
        Pixels of the layer input per degree of visual angle.
    slope : float
        Growth of the window per pixel of ring diameter; 0 gives one uniform window.
    window : int, default 2
        Window of the fovea, pixels of the layer input.
    kind : {"average", "max"}
        Average divides by the number of valid samples; max ignores padding.
    fovea_deg : float, default 4.0
        Radius of the fovea in degrees of output pixels, as published.
    ring_deg : float, default 1.0
        Width of one ring, likewise.
    """

    px_per_deg: int
    slope: float
    window: int = 2
    kind: PoolKind = "average"
    fovea_deg: float = 4.0
    ring_deg: float = 1.0

    def __post_init__(self) -> None:
        check_between("px_per_deg", self.px_per_deg, low=1)
        check_between("slope", self.slope, low=0)
        check_between("window", self.window, low=1)
        check_option("kind", self.kind, ("average", "max"))


def stage_rule(
    stride: int,
    *,
    window: int,
    kind: PoolKind = "average",
    eccentric: bool = True,
    px_per_deg: float = 30.0,
) -> PoolingRule:
    """Return the rule for a pooling stage of any convolutional trunk.

    Parameters
    ----------
    stride : int
        Picture pixels per pixel of the layer input.
    window : int
        The trunk's own pooling window.
    kind : {"average", "max"}
        What is taken of each window.
    eccentric : bool, default True
        False gives one uniform window.
    px_per_deg : float, default 30.0
        Picture pixels per degree.

    Returns
    -------
    PoolingRule
        Rule with the published slope of that stride, or slope 0.

    Raises
    ------
    ValueError
        If no slope is defined for `stride`.

    Examples
    --------
    >>> round(stage_rule(8, window=2).slope, 6)
    0.16
    """
    check_option("stride", stride, tuple(SLOPES))
    # Python rounds half to even, as the published code does (7.5 -> 8).
    scaled = max(1, round(px_per_deg / stride))
    return PoolingRule(scaled, SLOPES[stride] if eccentric else 0.0, window, kind)


@dataclass(frozen=True)
class PoolingZones:
    """Rings of one pooling stage on a square map.

    Parameters
    ----------
    windows : tuple of int
        Window of each zone, centre outwards.
    diameters : tuple of int
        Outer diameter of each zone in layer-input pixels; the last zone has no
        outer border.
    index : ndarray of int64, shape (side_out, side_out)
        Zone of every output pixel.
    window : ndarray of int64, shape (side_out, side_out)
        Window of every output pixel.
    lead : ndarray of int64, shape (side_out, side_out)
        "Same" padding before the first row or column for that window.
    """

    windows: tuple[int, ...]
    diameters: tuple[int, ...]
    index: NDArray[np.int64]
    window: NDArray[np.int64]
    lead: NDArray[np.int64]

    @property
    def uniform(self) -> bool:
        """Whether every output pixel has the same window."""
        return len(set(self.windows)) == 1


def lead_padding(side: int, window: int) -> int:
    """Return the "same" padding before a stride-2 pooling.

    Parameters
    ----------
    side : int
        Input side.
    window : int
        Pooling window.

    Returns
    -------
    int
        Rows (or columns) of padding at the start.
    """
    side_out = (side + 1) // 2
    return max((side_out - 1) * 2 + window - side, 0) // 2


@lru_cache(maxsize=256)
def pooling_zones(side: int, rule: PoolingRule) -> PoolingZones:
    """Return the zones of a square map of `side` input pixels.

    Parameters
    ----------
    side : int
        Side of the (square) layer input in pixels.
    rule : PoolingRule
        Rule of the stage.

    Returns
    -------
    PoolingZones
        Zones; one zone when the fovea covers the map.

    Examples
    --------
    >>> pooling_zones(202, PoolingRule(8, 0.07)).windows
    (2, 3, 3, 4, 4, 5, 5, 6, 6, 7)
    """
    side_out = (side + 1) // 2
    centre = side_out // 2
    fovea_px = rule.fovea_deg * rule.px_per_deg
    radius = round(fovea_px / 2)
    step = max(1, round(rule.ring_deg * rule.px_per_deg / 2))
    windows, diameters = [rule.window], [2 * radius]
    steps = np.arange(side_out) - centre
    distance2 = steps[:, None] ** 2 + steps[None, :] ** 2
    index = np.zeros((side_out, side_out), np.int64)
    if radius <= side_out / 2:
        # The ring that passes the border of the map takes everything outside.
        while True:
            index[distance2 >= radius**2] = len(windows)
            radius += step
            windows.append(rule.window + round(rule.slope * (2 * radius - fovea_px)))
            diameters.append(2 * radius)
            if radius >= side_out / 2:
                break
    leads = [lead_padding(side, k) for k in windows]
    return PoolingZones(
        tuple(windows),
        tuple(diameters),
        index,
        np.asarray(windows)[index],
        np.asarray(leads)[index],
    )


def same_pool(x: Tensor, window: int, kind: PoolKind) -> Tensor:
    """Pool with stride 2, "same" padding and one window.

    Parameters
    ----------
    x : Tensor, shape (B, C, H, W)
        Layer input.
    window : int
        Side of the pooling window.
    kind : {"average", "max"}
        Padding counts in neither.

    Returns
    -------
    Tensor, shape (B, C, ceil(H / 2), ceil(W / 2))
        Pooled map.
    """
    height, width = x.shape[-2:]
    pads = []
    for side in (width, height):
        total = max(((side + 1) // 2 - 1) * 2 + window - side, 0)
        pads += [total // 2, total - total // 2]
    if kind == "max":
        if any(pads):
            x = F.pad(x, pads, value=-torch.inf)
        return F.max_pool2d(x, window, 2)
    if not any(pads):
        return F.avg_pool2d(x, window, 2)
    pooled = F.avg_pool2d(F.pad(x, pads), window, 2)
    inside = F.pad(x.new_ones(1, 1, height, width), pads)
    return pooled / F.avg_pool2d(inside, window, 2)


def halve(x: Tensor, times: int, kind: PoolKind) -> Tensor:
    """Apply ordinary 2 x 2 pooling several times.

    Parameters
    ----------
    x : Tensor, shape (B, C, H, W)
        Maps.
    times : int
        How often, >= 0.
    kind : {"average", "max"}
        What is taken of each window.

    Returns
    -------
    Tensor, shape (B, C, ceil(H / 2**times), ceil(W / 2**times))
        Pooled maps.
    """
    for _ in range(times):
        x = same_pool(x, 2, kind)
    return x


def pool_part(
    x: Tensor,
    corner: tuple[int, int],
    side: int,
    rule: PoolingRule,
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> Tensor:
    """Pool a part of square maps, every output with the window of its zone.

    Parameters
    ----------
    x : Tensor, shape (B, C, h, w)
        The part of the layer input that the windows touch (see `pool_reach`).
    corner : tuple of int
        Row and column of ``x[..., 0, 0]`` on the map.
    side : int
        Side of the whole layer input.
    rule : PoolingRule
        Rule of the stage.
    rows, columns : tuple of int
        Half-open ranges of the output pixels wanted.

    Returns
    -------
    Tensor, shape (B, C, n_rows, n_columns)
        Pooled values, same dtype and memory format as `x`.
    """
    window = pooling_zones(side, rule).window[slice(*rows), slice(*columns)]
    out = torch.empty(
        (*x.shape[:2], *window.shape),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    # Outer zones first: each window is pooled only on the box around its zone.
    for k in np.unique(window)[::-1].tolist():
        zone = window == k
        box = [_extent(zone.any(axis)) for axis in (1, 0)]
        (first_row, last_row), (first_column, last_column) = box
        shift = lead_padding(side, k)
        block = _pool_block(
            x,
            2 * (rows[0] + first_row) - shift - corner[0],
            2 * (columns[0] + first_column) - shift - corner[1],
            (last_row - first_row, last_column - first_column),
            k,
            rule.kind,
        )
        place = np.s_[first_row:last_row, first_column:last_column]
        here = torch.from_numpy(zone[place]).to(x.device)
        before = out[(..., *place)]
        before.copy_(torch.where(here, block, before))
    return out


def _extent(hit: NDArray[np.bool_]) -> tuple[int, int]:
    """Half-open range from the first to the last true value."""
    where = np.flatnonzero(hit)
    return int(where[0]), int(where[-1]) + 1


def _pool_block(
    x: Tensor, top: int, left: int, shape: tuple[int, int], k: int, kind: PoolKind
) -> Tensor:
    """Pool a block with one window; what lies outside `x` does not count."""
    height, width = (2 * (n - 1) + k for n in shape)
    over = [
        max(-left, 0),
        max(left + width - x.shape[-1], 0),
        max(-top, 0),
        max(top + height - x.shape[-2], 0),
    ]
    rows = slice(max(top, 0), top + height)
    columns = slice(max(left, 0), left + width)
    block = x[..., rows, columns]
    if kind == "max":
        if any(over):
            block = F.pad(block, over, value=-torch.inf)
        return F.max_pool2d(block, k, 2)
    if not any(over):
        return _average(block, k)
    valid = F.pad(x.new_ones(1, 1, *block.shape[-2:]), over)
    share = F.avg_pool2d(valid, k, 2).clamp_min(1e-6)
    return _average(F.pad(block, over), k) / share


def _average(x: Tensor, k: int) -> Tensor:
    if k < 5:
        return F.avg_pool2d(x, k, 2)
    return F.avg_pool2d(F.avg_pool2d(x, (k, 1), (2, 1)), (1, k), (1, 2))


def pool_reach(
    outputs: tuple[int, int], side: int, rule: PoolingRule
) -> tuple[int, int]:
    """Return the input range that any window of an output range can touch.

    Parameters
    ----------
    outputs : tuple of int
        Half-open range of output rows (or columns).
    side : int
        Side of the layer input.
    rule : PoolingRule
        Rule of the stage.

    Returns
    -------
    tuple of int
        Half-open range on the layer input.
    """
    windows = set(pooling_zones(side, rule).windows)
    first = min(2 * outputs[0] - lead_padding(side, k) for k in windows)
    last = max(2 * (outputs[1] - 1) - lead_padding(side, k) + k for k in windows)
    return max(first, 0), min(last, side)


def pool_touched(
    rows: tuple[int, int], columns: tuple[int, int], side: int, rule: PoolingRule
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the bounding box of outputs whose windows meet an input rectangle.

    Parameters
    ----------
    rows, columns : tuple of int
        Half-open ranges of the input rectangle, not empty.
    side : int
        Side of the layer input.
    rule : PoolingRule
        Rule of the stage.

    Returns
    -------
    tuple of tuple of int
        Half-open ranges of output rows and columns.
    """
    zones = pooling_zones(side, rule)
    start = 2 * np.arange(len(zones.window))
    row = start[:, None] - zones.lead
    column = start[None, :] - zones.lead
    meets = (row < rows[1]) & (row + zones.window > rows[0])
    meets &= (column < columns[1]) & (column + zones.window > columns[0])
    hit_rows = np.flatnonzero(meets.any(1))
    hit_columns = np.flatnonzero(meets.any(0))
    return (
        (int(hit_rows[0]), int(hit_rows[-1]) + 1),
        (int(hit_columns[0]), int(hit_columns[-1]) + 1),
    )


def eccentric_pool(x: Tensor, rule: PoolingRule) -> Tensor:
    """Pool whole maps around their centre.

    Parameters
    ----------
    x : Tensor, shape (B, C, H, W)
        Layer input; if it is not square, zeros fill the short side and count as
        samples (as published).
    rule : PoolingRule
        Rule of the stage.

    Returns
    -------
    Tensor, shape (B, C, S, S) with S = ceil(max(H, W) / 2)
        Pooled maps, same dtype as `x`.
    """
    height, width = x.shape[-2:]
    side = max(height, width)
    if height != width:
        top, left = (side - height) // 2, (side - width) // 2
        x = F.pad(x, [left, side - width - left, top, side - height - top])
    zones = pooling_zones(side, rule)
    if zones.uniform:
        return same_pool(x, rule.window, rule.kind)
    whole = (0, len(zones.window))
    return pool_part(x, (0, 0), side, rule, whole, whole)
