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
from numpy.typing import NDArray
from torch import Tensor

from neurovis.adapters.eccentric_pooling import (
    PoolingRule,
    PoolKind,
    eccentric_pool,
    halve,
    lead_padding,
    pool_part,
    pool_reach,
    pool_touched,
    pooling_zones,
)
from neurovis.adapters.map_parts import (
    Box,
    Patch,
    Range,
    content_boxes,
    empty_map,
    hull_patch,
    layer_needs,
    layer_touched,
    pool_padded,
    region,
    zero_each,
)
from neurovis.adapters.trunks import ConvLayer, Trunk, pooling_rules

# Stages up to this stride are position independent and run as one on each part.
_EARLY_STRIDE = 4


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
    together : bool, optional
        Run parts of one size in one batch; by default on accelerators only.
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
        together: bool | None = None,
    ) -> None:
        if [2 * s for s in trunk.strides[-3:-1]] != list(trunk.strides[-2:]):
            raise ValueError(
                f"The strides of the last three stages of {trunk.name} must double; "
                f"got {trunk.strides}."
            )
        self.trunk = trunk
        self.side = side
        self.background = background
        self.kind = kind
        self.together = trunk.device.type != "cpu" if together is None else together
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
            seen.append(halve(maps[stage - self.early + 1], halvings, self.kind))
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
    ) -> list[Patch | None]:
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
        return [hull_patch(base, parts) if parts else None for parts in found]

    def _groups(self, jobs: list[tuple[int, Box]]) -> list[list[tuple[int, Box]]]:
        """Split parts into batches: of one size, or each its own."""
        if not self.together:
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
        # Few distinct sizes: many parts run at once.
        unit = 8 if self.together else 1
        spans = []
        for span in (rows, columns):
            for step, side_in, side_out in self._early_steps:
                if isinstance(step, ConvLayer):
                    span = layer_touched(span, step, side_out)
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
                span = layer_needs(span, step)
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
        zero_each(x, corners, self.side)
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
                x = pool_padded(x, corners, side_in, step)
                lead = lead_padding(side_in, step.window)
                corners = [((r + lead) // 2, (c + lead) // 2) for r, c in corners]
            zero_each(x, corners, side_out)
        return x

    def _late_patches(
        self, stage: int, patches: list[Patch | None]
    ) -> list[Patch | None]:
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
            view = region(base, [patch], *reach)
            corner = (reach[0][0], reach[1][0])
            part = pool_part(view, corner, before, rule, rows, columns)
            pooled[trial] = Patch(part, (rows[0], columns[0]))
            for number, layer in enumerate(layers):
                rows = layer_touched(rows, layer, sides[number + 1])
                columns = layer_touched(columns, layer, sides[number + 1])
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
            inputs.append(region(pooled_base, [pooled[trial]], *spans))
            corners.append((spans[0][0], spans[1][0]))
        x = torch.cat(inputs)
        for number, layer in enumerate(layers):
            x = layer(x)
            corners = [(r + layer.halo, c + layer.halo) for r, c in corners]
            zero_each(x, corners, sides[number + 1])
        out: list[Patch | None] = [None] * len(patches)
        for row, trial in enumerate(boxes):
            out[trial] = Patch(x[row : row + 1], corners[row])
        return out

    def _reduce(self, stage: int, patches: list[Patch | None]) -> Tensor:
        """Halve the output of a stage down to the last stage's resolution."""
        late = stage - self.early + 1
        base = self.surround.maps[late]
        halvings = self.halvings[stage]
        step, side = 2**halvings, self.sides[stage][-1]
        seen = self.surround.seen[list(self.halvings).index(stage)]
        out = empty_map(seen, (len(patches), *seen.shape[1:])).copy_(seen)
        for trial, patch in enumerate(patches):
            if patch is None:
                continue
            spans = [
                (a // step * step, min(-(-b // step) * step, side))
                for a, b in patch.box
            ]
            x = region(base, [patch], *spans)
            x = halve(x, halvings, self.kind)
            row, column = spans[0][0] // step, spans[1][0] // step
            height, width = x.shape[-2:]
            out[trial, :, row : row + height, column : column + width] = x[0]
        return out
