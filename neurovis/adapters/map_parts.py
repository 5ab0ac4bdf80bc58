"""Parts of maps: which are needed, cutting them out, pasting them in.

Ranges are half open; rows and columns are those of the whole map, so that a part may
reach over its border, where it is zero as the padding of a convolution is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from neurovis.adapters.eccentric_pooling import PoolingRule
from neurovis.adapters.trunks import ConvLayer

Range = tuple[int, int]
Box = tuple[Range, Range]


def content_boxes(image: NDArray[np.uint8], background: int, margin: int) -> list[Box]:
    """Return boxes that together hold every pixel that is not background.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        Display.
    background : int
        Grey level of the surround.
    margin : int
        Context, in pixels on each side, that a part costs on top of its content:
        boxes are merged where one larger box is cheaper.

    Returns
    -------
    list of Box
        Half-open row and column ranges; empty for a bare display.

    Examples
    --------
    >>> image = np.full((20, 20, 3), 9, np.uint8)
    >>> image[3:5, 4:9] = 0
    >>> content_boxes(image, 9, margin=2)
    [((3, 5), (4, 9))]
    """
    differs = (image != background).any(-1)
    labels, n_parts = ndimage.label(differs, np.ones((3, 3)))
    if n_parts == 0:
        return []
    boxes = np.array(
        [
            (rows.start, rows.stop, columns.start, columns.stop)
            for rows, columns in ndimage.find_objects(labels)
        ]
    )

    def cost(b: NDArray[np.int64]) -> NDArray[np.int64]:
        height = b[..., 1] - b[..., 0] + 2 * margin
        return height * (b[..., 3] - b[..., 2] + 2 * margin)

    if len(boxes) > 64:  # texture: not worth the search
        boxes = np.array([_hull(boxes)])
    while len(boxes) > 1:
        one, two = boxes[:, None], boxes[None]
        union = np.where([True, False, True, False], np.minimum(one, two), 0)
        union += np.where([False, True, False, True], np.maximum(one, two), 0)
        saving = cost(one) + cost(two) - cost(union)
        np.fill_diagonal(saving, -1)
        best = int(saving.argmax())
        i, j = divmod(best, len(boxes))
        if saving[i, j] < 0:
            break
        merged = union[i, j]
        boxes = np.vstack([np.delete(boxes, [i, j], 0), merged])
    return [((int(a), int(b)), (int(c), int(d))) for a, b, c, d in boxes]


def _hull(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    low, high = boxes.min(0), boxes.max(0)
    return np.array([low[0], high[1], low[2], high[3]])


def layer_touched(span: Range, layer: ConvLayer, side_out: int) -> Range:
    """Return the outputs of a convolution that an input range can change.

    Parameters
    ----------
    span : tuple of int
        Half-open range of input rows (or columns).
    layer : ConvLayer
        The convolution.
    side_out : int
        Side of its whole output.

    Returns
    -------
    tuple of int
        Half-open range of outputs.
    """
    first = -((layer.halo - span[0]) // layer.stride)
    last = (span[1] - 1 + layer.halo) // layer.stride + 1
    return max(first, 0), min(last, side_out)


def layer_needs(span: Range, layer: ConvLayer) -> Range:
    """Return the inputs that an output range needs, padding included.

    Parameters
    ----------
    span : tuple of int
        Half-open range of output rows (or columns).
    layer : ConvLayer
        The convolution.

    Returns
    -------
    tuple of int
        Half-open range of inputs; it may reach over the border.
    """
    first = span[0] * layer.stride - layer.halo
    return first, (span[1] - 1) * layer.stride + layer.halo + 1


def zero_outside(x: Tensor, corner: tuple[int, int], side: int) -> Tensor:
    """Zero what lies outside the map, in place: the next layer's padding.

    Parameters
    ----------
    x : Tensor, shape (..., h, w)
        A part of a map.
    corner : tuple of int
        Row and column of ``x[..., 0, 0]`` on the map.
    side : int
        Side of the whole map.

    Returns
    -------
    Tensor, shape (..., h, w)
        `x` itself.
    """
    height, width = x.shape[-2:]
    if corner[0] < 0:
        x[..., : -corner[0], :] = 0
    if corner[1] < 0:
        x[..., : -corner[1]] = 0
    if corner[0] + height > side:
        x[..., max(side - corner[0], 0) :, :] = 0
    if corner[1] + width > side:
        x[..., max(side - corner[1], 0) :] = 0
    return x


@dataclass(frozen=True)
class Patch:
    """A part of a map.

    Parameters
    ----------
    x : Tensor, shape (1, C, h, w)
        Values.
    corner : tuple of int
        Row and column of ``x[..., 0, 0]`` on the map.
    """

    x: Tensor
    corner: tuple[int, int]

    @property
    def box(self) -> Box:
        """Half-open ranges that the patch covers."""
        (r, c), (h, w) = self.corner, self.x.shape[-2:]
        return (r, r + h), (c, c + w)


def empty_map(like: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Return a map of the dtype and device of another, channels-last, not filled.

    Parameters
    ----------
    like : Tensor
        Gives dtype and device.
    shape : tuple of int
        ``(B, C, h, w)``.

    Returns
    -------
    Tensor, shape (B, C, h, w)
        Memory with any content.
    """
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def region(
    base: Tensor, patches: Sequence[Patch], rows: Range, columns: Range
) -> Tensor:
    """Cut a region out of a map with patches pasted in, zero outside the map.

    Parameters
    ----------
    base : Tensor, shape (1, C, n, n)
        The whole map.
    patches : sequence of Patch
        Parts that replace what `base` has there; a later one wins.
    rows, columns : tuple of int
        Half-open ranges wanted; they may reach over the border.

    Returns
    -------
    Tensor, shape (1, C, n_rows, n_columns)
        A new tensor in channels-last memory.
    """
    side = base.shape[-1]
    spans = [(max(a, 0), min(b, side)) for a, b in (rows, columns)]
    inner = np.s_[..., spans[0][0] : spans[0][1], spans[1][0] : spans[1][1]]
    shape = (1, base.shape[1], rows[1] - rows[0], columns[1] - columns[0])
    out = empty_map(base, shape)
    if (rows, columns) != tuple(spans):
        out.zero_()
    corner = (rows[0], columns[0])
    sources = [(base[inner], (spans[0][0], spans[1][0]))]
    sources += [(patch.x, patch.corner) for patch in patches]
    for x, first in sources:
        cut, paste = [], []
        for axis, (lo, hi) in enumerate((rows, columns)):
            a = max(first[axis], lo)
            b = min(first[axis] + x.shape[axis - 2], hi)
            cut.append(slice(a - first[axis], max(b, a) - first[axis]))
            paste.append(slice(a - corner[axis], max(b, a) - corner[axis]))
        out[..., paste[0], paste[1]] = x[..., cut[0], cut[1]]
    return out


def hull_patch(base: Tensor, patches: Sequence[Patch]) -> Patch:
    """Join patches of one map into one, the surround between them.

    Parameters
    ----------
    base : Tensor, shape (1, C, n, n)
        The whole map, for what lies between the patches.
    patches : sequence of Patch
        At least one.

    Returns
    -------
    Patch
        The smallest rectangle that holds all of them.
    """
    if len(patches) == 1:
        return patches[0]
    boxes = [patch.box for patch in patches]
    rows, columns = (
        (min(b[axis][0] for b in boxes), max(b[axis][1] for b in boxes))
        for axis in (0, 1)
    )
    return Patch(region(base, patches, rows, columns), (rows[0], columns[0]))


def _touches_border(x: Tensor, corner: tuple[int, int], side: int) -> bool:
    ends = zip(corner, x.shape[-2:], strict=True)
    return any(first < 0 or first + n > side for first, n in ends)


def zero_each(x: Tensor, corners: Sequence[tuple[int, int]], side: int) -> None:
    """Zero what lies outside the map in every part of a batch, in place.

    Parameters
    ----------
    x : Tensor, shape (B, C, h, w)
        Parts of one size.
    corners : sequence of tuple of int
        Row and column of ``x[i, ..., 0, 0]`` on its map, one per part.
    side : int
        Side of the whole map.
    """
    for row, corner in enumerate(corners):
        zero_outside(x[row], corner, side)


def pool_padded(
    x: Tensor, corners: Sequence[tuple[int, int]], side: int, rule: PoolingRule
) -> Tensor:
    """Pool parts that may reach over the border: padding counts in neither kind.

    Parameters
    ----------
    x : Tensor, shape (B, C, h, w)
        Parts of one size, zero outside the map; with "max" they are changed there.
    corners : sequence of tuple of int
        Row and column of ``x[i, ..., 0, 0]`` on its map, one per part.
    side : int
        Side of the whole map.
    rule : PoolingRule
        Kind and window; the window must be the same everywhere.

    Returns
    -------
    Tensor, shape (B, C, ceil((h - k + 1) / 2), ceil((w - k + 1) / 2))
        Pooled parts, for a window of k.
    """
    k = rule.window
    if rule.kind == "average":
        pooled = F.avg_pool2d(x, k, 2)
        for row, corner in enumerate(corners):
            if _touches_border(x, corner, side):
                inside = zero_outside(x.new_ones(1, *x.shape[-2:]), corner, side)
                pooled[row] /= F.avg_pool2d(inside, k, 2).clamp_min(1e-6)
        return pooled
    for row, corner in enumerate(corners):
        if _touches_border(x, corner, side):
            inside = zero_outside(x.new_ones(1, *x.shape[-2:]), corner, side)
            x[row].masked_fill_(inside == 0, -torch.inf)
    return F.max_pool2d(x, k, 2)
