"""Features of what is seen from one fixation, computed only where it differs.

A search display lies on a uniform surround, and the window around a fixation is much
larger than the display. The response to the bare surround depends on the window
alone: it is computed once. Each glance then recomputes the parts of every stage that
the display can reach and pastes them into the response to the surround. The result
equals a full pass up to the order of float32 sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from neurovis.adapters.eccentric_pooling import (
    PoolingRule,
    PoolKind,
    eccentric_pool,
    lead_padding,
    pool_part,
    pool_reach,
    pool_touched,
    pooling_zones,
    same_pool,
    stage_rule,
)
from neurovis.adapters.trunks import ConvLayer, Trunk

Range = tuple[int, int]
Box = tuple[Range, Range]

# Stages up to this stride are position independent and run as one on each part.
_EARLY_STRIDE = 4


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


def _layer_touched(span: Range, layer: ConvLayer, side_out: int) -> Range:
    """Return the outputs of a convolution that an input range can change."""
    first = -((layer.halo - span[0]) // layer.stride)
    last = (span[1] - 1 + layer.halo) // layer.stride + 1
    return max(first, 0), min(last, side_out)


def _layer_needs(span: Range, layer: ConvLayer) -> Range:
    """Return the inputs that an output range needs, padding included."""
    first = span[0] * layer.stride - layer.halo
    return first, (span[1] - 1) * layer.stride + layer.halo + 1


def _zero_outside(x: Tensor, corner: tuple[int, int], side: int) -> Tensor:
    """Zero what lies outside the map: the next layer sees it as padding."""
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
class Surround:
    """Response of the network to the bare surround.

    Parameters
    ----------
    maps : tuple of Tensor, shape (1, C, n, n)
        Output of the early stages and of each later stage.
    pooled : tuple of Tensor, shape (1, C, m, m)
        Input of each later stage.
    seen : tuple of Tensor, shape (1, C, M, M)
        Features that search compares, one per feature stage.
    """

    maps: tuple[Tensor, ...]
    pooled: tuple[Tensor, ...]
    seen: tuple[Tensor, ...]


class GazeWindow:
    """The part of a display that one glance covers, as a network sees it.

    Parameters
    ----------
    trunk : Trunk
        Network.
    side : int
        Side of the window in picture pixels, even.
    background : int
        Grey level of the surround, 0..255.
    eccentric : bool, default True
        Whether pooling windows grow with eccentricity.
    kind : {"average", "max"}
        What is taken of each pooling window.
    px_per_deg : float, default 30.0
        Picture pixels per degree.
    """

    def __init__(
        self,
        trunk: Trunk,
        side: int,
        background: int,
        *,
        eccentric: bool = True,
        kind: PoolKind = "average",
        px_per_deg: float = 30.0,
    ) -> None:
        self.trunk = trunk
        self.side = side
        self.background = background
        self.kind = kind
        self.rules = pooling_rules(
            trunk, eccentric=eccentric, kind=kind, px_per_deg=px_per_deg
        )
        strides = trunk.strides
        self.early = max(i for i, s in enumerate(strides) if s <= _EARLY_STRIDE) + 1
        # Sides of the input of each stage and of each layer's output within it.
        self.sides: list[list[int]] = []
        n = side
        for index, stage in enumerate(trunk.stages):
            n = n if index == 0 else (n + 1) // 2
            self.sides.append([n])
            for layer in stage:
                n = (n - 1) // layer.stride + 1
                self.sides[-1].append(n)
        self.map_side = n
        # Stage outputs compared in search, with the halvings down to the last map.
        last = len(strides) - 1
        self.halvings = {s: last - s for s in range(last - 2, last + 1)}

    # -- the surround ---------------------------------------------------------

    @cached_property
    def surround(self) -> Surround:
        """Response to the bare surround, computed at first use."""
        maps = [self._early_surround()]
        pooled = []
        for stage in range(self.early, len(self.trunk.stages)):
            pooled.append(eccentric_pool(maps[-1], self.rules[stage - 1]))
            maps.append(self.trunk.run_stage(stage, pooled[-1]))
        seen = []
        for stage, halvings in self.halvings.items():
            x = maps[stage - self.early + 1]
            for _ in range(halvings):
                x = same_pool(x, 2, self.kind)
            seen.append(x)
        return Surround(tuple(maps), tuple(pooled), tuple(seen))

    def _early_surround(self) -> Tensor:
        """Early stages of a bare window: a small one, stretched in its middle.

        Away from the border the response is the same everywhere, so that a small
        window of equal phase holds every distinct value.
        """
        phase = 2 ** (self.early - 1) * self.trunk.strides[0]
        reach = 2 * self._early_reach() + 4 * phase
        small = self.side % phase + phase * (reach // phase + 1)
        small = min(small, self.side)
        shape = (1, small, small, 3)
        pixels = torch.full(
            shape, self.background, dtype=torch.uint8, device=self.trunk.device
        )
        x = self.trunk.preprocess(pixels)
        for stage in range(self.early):
            if stage:
                x = eccentric_pool(x, self._uniform_rule(stage - 1))
            x = self.trunk.run_stage(stage, x)
        n_small, n = x.shape[-1], self.sides[self.early - 1][-1]
        middle = n_small // 2
        index = torch.arange(n, device=x.device)
        index = torch.where(
            index < middle,
            index,
            torch.where(index >= n - (n_small - middle), index - (n - n_small), middle),
        )
        fast = torch.channels_last
        return x[:, :, index][..., index].contiguous(memory_format=fast)

    def _uniform_rule(self, stage: int) -> PoolingRule:
        """Rule of an early pooling: its window must not depend on eccentricity."""
        rule = self.rules[stage]
        if not pooling_zones(self.sides[stage][-1], rule).uniform:
            raise ValueError(
                f"Pooling {stage + 1} of {self.trunk.name} depends on eccentricity "
                f"at a stride below {_EARLY_STRIDE}; slopes there must be 0."
            )
        return rule

    def _early_reach(self) -> int:
        """Picture pixels on each side that can change an early-stage output."""
        reach, stride = 0, 1
        for stage in range(self.early):
            if stage:
                reach += (self.trunk.pool_window - 1) * stride
                stride *= 2
            for layer in self.trunk.stages[stage]:
                reach += layer.halo * stride
                stride *= layer.stride
        return reach

    # -- one glance -----------------------------------------------------------

    def see(
        self, image: NDArray[np.uint8], fixation: tuple[int, int]
    ) -> tuple[Tensor, ...]:
        """Return the features of the window around a fixation.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W, 3)
            Display; the surround is `background`.
        fixation : tuple of int
            Row and column of the fixated pixel of `image`.

        Returns
        -------
        tuple of Tensor, shape (C, M, M)
            Features of the last three stages, all at the last stage's resolution.
        """
        return tuple(x[0] for x in self.see_many([image], [fixation]))

    def see_many(
        self,
        images: Sequence[NDArray[np.uint8]],
        fixations: Sequence[tuple[int, int]],
    ) -> tuple[Tensor, ...]:
        """Return the features of several windows, computed together.

        Parameters
        ----------
        images : sequence of ndarray of uint8, shape (H, W, 3)
            Displays.
        fixations : sequence of tuple of int
            Row and column of the fixated pixel, one per display.

        Returns
        -------
        tuple of Tensor, shape (B, C, M, M)
            Features of the last three stages.
        """
        patches = self._early_patches(images, fixations)
        seen = []
        for stage in range(self.early - 1, len(self.trunk.stages)):
            if stage >= self.early:
                patches = self._late_patches(stage, patches)
            if stage in self.halvings:
                seen.append(self._reduce(stage, patches))
        return tuple(seen)

    def _early_patches(
        self,
        images: Sequence[NDArray[np.uint8]],
        fixations: Sequence[tuple[int, int]],
    ) -> list["Patch | None"]:
        """Output of the early stages wherever the display can change it."""
        jobs: list[tuple[int, Box]] = []
        for trial, (image, fixation) in enumerate(zip(images, fixations, strict=True)):
            shift = [self.side // 2 - f for f in fixation]
            for box in content_boxes(image, self.background, self._early_reach()):
                inside = [
                    (max(a + d, 0), min(b + d, self.side))
                    for (a, b), d in zip(box, shift, strict=True)
                ]
                if all(a < b for a, b in inside):
                    jobs.append((trial, self._early_box(*inside)))
        found: list[list[Patch]] = [[] for _ in images]
        for group in self._groups(jobs):
            corners, crops = [], []
            for trial, box in group:
                spans = [self._early_needs(span) for span in box]
                corners.append((spans[0][0], spans[1][0]))
                crops.append(self._crop(images[trial], fixations[trial], *spans))
            x = self._run_early(np.stack(crops), corners)
            for (trial, (rows, columns)), out in zip(group, x, strict=True):
                found[trial].append(Patch(out[None], (rows[0], columns[0])))
        base = self.surround.maps[0]
        return [_hull_patch(base, parts) if parts else None for parts in found]

    def _groups(self, jobs: list[tuple[int, Box]]) -> list[list[tuple[int, Box]]]:
        """Parts that run together: of one size on an accelerator, single on a CPU."""
        if self.trunk.device.type == "cpu":
            return [[job] for job in jobs]
        by_size: dict[tuple[int, int], list[tuple[int, Box]]] = {}
        for job in jobs:
            (a, b), (c, d) = job[1]
            by_size.setdefault((b - a, d - c), []).append(job)
        return list(by_size.values())

    @cached_property
    def _early_steps(self) -> list[tuple[ConvLayer | PoolingRule, int, int]]:
        """Layers and poolings of the early stages with their input, output side."""
        steps: list[tuple[ConvLayer | PoolingRule, int, int]] = []
        for stage in range(self.early):
            sides = self.sides[stage]
            if stage:
                before = self.sides[stage - 1][-1]
                steps.append((self._uniform_rule(stage - 1), before, sides[0]))
            for number, layer in enumerate(self.trunk.stages[stage]):
                steps.append((layer, sides[number], sides[number + 1]))
        return steps

    def _early_box(self, rows: Range, columns: Range) -> Box:
        """Early outputs that a picture box can change."""
        # Few distinct sizes let an accelerator run many parts at once.
        unit = 1 if self.trunk.device.type == "cpu" else 8
        spans = []
        for span in (rows, columns):
            for step, side_in, side_out in self._early_steps:
                if isinstance(step, ConvLayer):
                    span = _layer_touched(span, step, side_out)
                else:
                    lead = lead_padding(side_in, step.window)
                    first = max((span[0] + lead - step.window) // 2 + 1, 0)
                    span = first, min((span[1] + lead + 1) // 2, side_out)
            side = self.sides[self.early - 1][-1]
            size = min(-unit * ((span[0] - span[1]) // unit), side)
            first = min(span[0], side - size)
            spans.append((first, first + size))
        return spans[0], spans[1]

    def _early_needs(self, span: Range) -> Range:
        """Picture range that a range of early outputs needs."""
        for step, side_in, _ in reversed(self._early_steps):
            if isinstance(step, ConvLayer):
                span = _layer_needs(span, step)
            else:
                first = 2 * span[0] - lead_padding(side_in, step.window)
                span = first, first + 2 * (span[1] - span[0] - 1) + step.window
        return span

    def _crop(
        self,
        image: NDArray[np.uint8],
        fixation: tuple[int, int],
        rows: Range,
        columns: Range,
    ) -> NDArray[np.uint8]:
        """Cut a part of the window out of a display on its surround."""
        shape = (rows[1] - rows[0], columns[1] - columns[0], 3)
        crop = np.full(shape, self.background, np.uint8)
        cut, paste = [], []
        for (first, last), f, n in zip(
            (rows, columns), fixation, image.shape[:2], strict=True
        ):
            shift = f - self.side // 2  # window to display
            a, b = max(first + shift, 0), min(last + shift, n)
            if a >= b:
                return crop
            cut.append(slice(a, b))
            paste.append(slice(a - shift - first, b - shift - first))
        crop[tuple(paste)] = image[tuple(cut)]
        return crop

    def _run_early(
        self, crops: NDArray[np.uint8], corners: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Run the early stages on parts of one size."""
        x = self.trunk.preprocess(torch.from_numpy(crops).to(self.trunk.device))
        _zero_each(x, corners, self.side)
        for step, side_in, side_out in self._early_steps:
            if isinstance(step, ConvLayer):
                x = step(x)
                corners = [
                    (
                        (r + step.halo) // step.stride,
                        (c + step.halo) // step.stride,
                    )
                    for r, c in corners
                ]
            else:
                x = _pool_padded(x, corners, side_in, step)
                lead = lead_padding(side_in, step.window)
                corners = [((r + lead) // 2, (c + lead) // 2) for r, c in corners]
            _zero_each(x, corners, side_out)
        return x

    def _late_patches(
        self, stage: int, patches: list["Patch | None"]
    ) -> list["Patch | None"]:
        """Pool, then run a later stage wherever the display can change it."""
        rule, layers = self.rules[stage - 1], self.trunk.stages[stage]
        before = self.sides[stage - 1][-1]
        sides = self.sides[stage]
        base = self.surround.maps[stage - self.early]
        pooled_base = self.surround.pooled[stage - self.early]
        pooled: dict[int, Patch] = {}
        boxes: dict[int, Box] = {}
        for trial, patch in enumerate(patches):
            if patch is None:
                continue
            rows, columns = pool_touched(*patch.box, before, rule)
            reach = tuple(pool_reach(span, before, rule) for span in (rows, columns))
            region = _region(base, [patch], *reach)
            corner = (reach[0][0], reach[1][0])
            part = pool_part(region, corner, before, rule, rows, columns)
            pooled[trial] = Patch(part, (rows[0], columns[0]))
            for number, layer in enumerate(layers):
                rows = _layer_touched(rows, layer, sides[number + 1])
                columns = _layer_touched(columns, layer, sides[number + 1])
            boxes[trial] = (rows, columns)
        if not boxes:
            return patches
        halo = sum(layer.halo for layer in layers)
        size = tuple(
            max(box[axis][1] - box[axis][0] for box in boxes.values())
            for axis in (0, 1)
        )
        inputs, corners = [], []
        for trial, box in boxes.items():
            first = [min(box[axis][0], sides[-1] - size[axis]) for axis in (0, 1)]
            spans = [(f - halo, f + n + halo) for f, n in zip(first, size, strict=True)]
            inputs.append(_region(pooled_base, [pooled[trial]], *spans))
            corners.append((spans[0][0], spans[1][0]))
        x = torch.cat(inputs)
        for number, layer in enumerate(layers):
            x = layer(x)
            corners = [(r + layer.halo, c + layer.halo) for r, c in corners]
            _zero_each(x, corners, sides[number + 1])
        out: list[Patch | None] = [None] * len(patches)
        for row, trial in enumerate(boxes):
            out[trial] = Patch(x[row : row + 1], corners[row])
        return out

    def _reduce(self, stage: int, patches: list["Patch | None"]) -> Tensor:
        """Halve the output of a stage down to the last stage's resolution."""
        late = stage - self.early + 1
        base = self.surround.maps[late]
        halvings = self.halvings[stage]
        step, side = 2**halvings, self.sides[stage][-1]
        seen = self.surround.seen[list(self.halvings).index(stage)]
        out = seen.repeat(len(patches), 1, 1, 1)
        for trial, patch in enumerate(patches):
            if patch is None:
                continue
            spans = [
                (a // step * step, min(-(-b // step) * step, side))
                for a, b in patch.box
            ]
            x = _region(base, [patch], *spans)
            for _ in range(halvings):
                x = same_pool(x, 2, self.kind)
            row, column = spans[0][0] // step, spans[1][0] // step
            height, width = x.shape[-2:]
            out[trial, :, row : row + height, column : column + width] = x[0]
        return out


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


def _region(
    base: Tensor, patches: Sequence[Patch], rows: Range, columns: Range
) -> Tensor:
    """Cut a region out of a map with patches pasted in, zero outside the map."""
    side = base.shape[-1]
    spans = [(max(a, 0), min(b, side)) for a, b in (rows, columns)]
    inner = np.s_[..., spans[0][0] : spans[0][1], spans[1][0] : spans[1][1]]
    shape = (1, base.shape[1], rows[1] - rows[0], columns[1] - columns[0])
    out = base.new_zeros(shape).contiguous(memory_format=torch.channels_last)
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


def _hull_patch(base: Tensor, patches: Sequence[Patch]) -> Patch:
    """Join patches of one map into one, the surround between them."""
    if len(patches) == 1:
        return patches[0]
    boxes = [patch.box for patch in patches]
    rows, columns = (
        (min(b[axis][0] for b in boxes), max(b[axis][1] for b in boxes))
        for axis in (0, 1)
    )
    return Patch(_region(base, patches, rows, columns), (rows[0], columns[0]))


def _touches_border(x: Tensor, corner: tuple[int, int], side: int) -> bool:
    ends = zip(corner, x.shape[-2:], strict=True)
    return any(first < 0 or first + n > side for first, n in ends)


def _zero_each(x: Tensor, corners: Sequence[tuple[int, int]], side: int) -> None:
    for row, corner in enumerate(corners):
        _zero_outside(x[row], corner, side)


def _pool_padded(
    x: Tensor, corners: Sequence[tuple[int, int]], side: int, rule: PoolingRule
) -> Tensor:
    """Pool parts that may reach over the border: padding counts in neither kind."""
    k = rule.window
    if rule.kind == "average":
        pooled = F.avg_pool2d(x, k, 2)
        for row, corner in enumerate(corners):
            if _touches_border(x, corner, side):
                inside = _zero_outside(x.new_ones(1, *x.shape[-2:]), corner, side)
                pooled[row] /= F.avg_pool2d(inside, k, 2).clamp_min(1e-6)
        return pooled
    for row, corner in enumerate(corners):
        if _touches_border(x, corner, side):
            inside = _zero_outside(x.new_ones(1, *x.shape[-2:]), corner, side)
            x[row].masked_fill_(inside == 0, -torch.inf)
    return F.max_pool2d(x, k, 2)


def pooling_rules(
    trunk: Trunk,
    *,
    eccentric: bool = True,
    kind: PoolKind = "average",
    px_per_deg: float = 30.0,
) -> tuple[PoolingRule, ...]:
    """Return the rule of the pooling after each stage of a trunk.

    Parameters
    ----------
    trunk : Trunk
        Network.
    eccentric : bool, default True
        Whether windows grow with eccentricity.
    kind : {"average", "max"}
        What is taken of each window.
    px_per_deg : float, default 30.0
        Picture pixels per degree.

    Returns
    -------
    tuple of PoolingRule
        One per stage; the last one belongs to the target network.
    """
    return tuple(
        stage_rule(
            stride,
            window=trunk.pool_window,
            kind=kind,
            eccentric=eccentric,
            px_per_deg=px_per_deg,
        )
        for stride in trunk.strides
    )


def full_pass(
    trunk: Trunk, images: Tensor, rules: Sequence[PoolingRule]
) -> tuple[list[Tensor], list[Tensor]]:
    """Run all stages on whole pictures, pooling around the picture centre.

    Parameters
    ----------
    trunk : Trunk
        Network.
    images : Tensor of uint8, shape (B, H, W, 3)
        Pictures on the trunk's device.
    rules : sequence of PoolingRule
        One per stage.

    Returns
    -------
    tuple of list of Tensor
        Output of each stage, and of the pooling after each stage.
    """
    stages, pooled = [], []
    x = trunk.preprocess(images)
    for stage, rule in enumerate(rules):
        stages.append(trunk.run_stage(stage, x))
        x = eccentric_pool(stages[-1], rule)
        pooled.append(x)
    return stages, pooled
