"""Time training steps of the transformer brain encoder against its literal form.

    ours      stored feature maps; a unit reads the sum of the tokens of its queries
    literal   stored feature maps; torch's MultiheadAttention, and a linear map per
              hemisphere that predicts every unit from every query, masked and summed
              (with one query per unit: the diagonal of units x units)
    backbone  the literal form on pictures, through a frozen ViT of random weights

Maps, pictures and responses are noise. A step is forward, backward and AdamW, with
dropout. Weights are the same; predictions and gradients of the first two are compared
first, without dropout. The three run in this process,
interleaved; medians of CPU seconds (on a GPU of wall seconds). Peak memory is that of
one process each (VmHWM, beside what it was before the first step; on a GPU torch's
maximum), which fails rather than takes more than --limit-gib. Reading stored maps from
disk is not timed. Units lie in one of 24 regions per hemisphere at random or in none,
1 in 10 in the next one too.

    OMP_NUM_THREADS=1 python benchmarks/brain_encoder.py [--size real] [--repeats 3]
    OMP_NUM_THREADS=1 python benchmarks/brain_encoder.py --queries units
    python benchmarks/brain_encoder.py --device cuda --precision mixed --size real
"""

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional as F

from neurovis.adapters.brain_encoder import BrainEncoder
from neurovis.adapters.unit_queries import UnitQueries, queries_from_masks
from neurovis.core.device import autocast_dtype, exact_float32, is_out_of_memory
from neurovis.core.rng import generator, torch_generator

N_REGIONS = 24
VARIANTS = ("ours", "literal", "backbone")


@dataclass(frozen=True)
class Size:
    """Maps, units, batch, and the ViT that makes such maps."""

    shape: tuple
    n_units: int
    batch: int
    vit: str
    image_px: int


SIZES = {
    "small": Size((384, 16, 16), 4_000, 8, "vit_small_patch14_dinov2", 224),
    "real": Size((768, 31, 31), 40_000, 16, "vit_base_patch14_dinov2", 434),
}


def make_queries(kind, n_units):
    half = n_units // 2
    if kind == "units":
        return UnitQueries(tuple(map(str, range(2 * half))), 2 * half)
    rng = generator(0, "brain encoder benchmark", n_units)
    masks = {}
    for side in ("lh", "rh"):
        region = rng.integers(N_REGIONS + 1, size=half)
        mask = region == np.arange(N_REGIONS)[:, None]
        mask[1:] |= mask[:-1] & (rng.random(half) < 0.1)
        masks[side] = mask
    return queries_from_masks(masks)


class Literal(nn.Module):
    """One decoder layer with the norm first, and every unit from every query."""

    def __init__(self, ours):
        super().__init__()
        config, width = ours.config, ours.query_embed.shape[1]
        layer = ours.decoder.layers[0]
        self.attention = nn.MultiheadAttention(
            width, config.n_heads, config.dropout, batch_first=True
        )
        self.attention.load_state_dict(layer.multihead_attn.state_dict())
        self.norm1, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, config.feedforward)
        self.linear2 = nn.Linear(config.feedforward, width)
        for name in ("norm1", "norm3", "linear1", "linear2"):
            own, other = getattr(self, name), getattr(layer, name)
            own.load_state_dict(other.state_dict())
        self.norm = nn.LayerNorm(width)
        self.norm.load_state_dict(ours.decoder.norm.state_dict())
        self.drop = nn.Dropout(config.dropout)
        self.query_embed = nn.Parameter(ours.query_embed.detach().clone())
        self.register_buffer("pos", ours.positions.clone())
        self.half = ours.n_units // 2
        back = ours.readout.inverse
        for side, rows in (("lh", back[: self.half]), ("rh", back[self.half :])):
            linear = nn.Linear(width, self.half)
            with torch.no_grad():
                linear.weight.copy_(ours.readout.weight[rows])
                linear.bias.copy_(ours.readout.bias[rows])
            setattr(self, side, linear)
        self.masks = ours.queries.mask
        if self.masks is not None:
            parts = np.split(self.masks, [self.half], axis=1)
            left = parts[0].any(axis=1)
            for side, mask, at in (("lh", parts[0], left), ("rh", parts[1], ~left)):
                values = torch.from_numpy(mask[at].astype(np.float32).T)
                self.register_buffer(f"{side}_mask", values)

    def forward(self, maps):
        memory = maps.flatten(2).transpose(1, 2)
        queries = self.query_embed.expand(len(maps), -1, -1)
        target = torch.zeros_like(queries)
        found, _ = self.attention(
            self.norm1(target) + queries, memory + self.pos, memory, need_weights=False
        )
        target = target + self.drop(found)
        hidden = self.drop(F.relu(self.linear1(self.norm3(target))))
        tokens = self.norm(target + self.drop(self.linear2(hidden)))
        left = tokens.shape[1] // 2
        if self.masks is not None:
            left = self.lh_mask.shape[1]
        parts = []
        for side, own in (("lh", tokens[:, :left]), ("rh", tokens[:, left:])):
            every = getattr(self, side)(own).transpose(1, 2)  # batch, units, queries
            if self.masks is None:
                parts.append(torch.diagonal(every, dim1=1, dim2=2))
            else:
                parts.append((every * getattr(self, f"{side}_mask")).sum(dim=-1))
        return torch.cat(parts, dim=1)


class WithBackbone(nn.Module):
    """An encoder behind a frozen ViT."""

    def __init__(self, encoder, size):
        super().__init__()
        self.encoder, self.shape = encoder, size.shape
        self.vit = make_vit(size).requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        self.vit.eval()
        return self

    def forward(self, images):
        return self.encoder(vit_maps(self.vit, images, self.shape))


def make_vit(size):
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch_generator(0, "vit").get_state())
        return timm.create_model(
            size.vit, pretrained=False, img_size=size.image_px, num_classes=0
        ).eval()


@torch.no_grad()
def vit_maps(vit, images, shape):
    tokens = vit.forward_features(images)[:, vit.num_prefix_tokens :]
    return tokens.transpose(1, 2).reshape(-1, *shape)


class Trainer:
    """One variant with its optimiser."""

    def __init__(self, module, inputs, targets, options):
        self.device = torch.device(options.device)
        self.module = module.to(self.device).train()
        self.inputs, self.targets = inputs.to(self.device), targets.to(self.device)
        own = [p for p in module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(own, lr=5e-4, weight_decay=1e-4)
        self.mixed = options.precision == "mixed"

    def loss(self):
        dtype = autocast_dtype(self.device)
        here = torch.autocast(self.device.type, dtype) if self.mixed else nullcontext()
        with here:
            found = self.module(self.inputs)
        half = found.shape[1] // 2
        parts = zip(found.split(half, 1), self.targets.split(half, 1), strict=True)
        return found, sum(F.mse_loss(a.float(), b) for a, b in parts)

    def step(self):
        self.loss()[1].backward()
        self.optimiser.step()
        self.optimiser.zero_grad()

    def seconds(self, n_steps):
        if self.device.type != "cpu":
            torch.cuda.synchronize()
        clock = time.process_time if self.device.type == "cpu" else time.perf_counter
        start = clock()
        for _ in range(n_steps):
            self.step()
        if self.device.type != "cpu":
            torch.cuda.synchronize()
        return (clock() - start) / n_steps


def make_inputs(size, seed, *shape):
    draw = torch_generator(seed, "brain encoder benchmark", *shape)
    return torch.randn(size.batch, *shape, generator=draw)


def make_trainer(variant, size, options, maps, images, targets):
    ours = BrainEncoder(size.shape, make_queries(options.queries, size.n_units))
    if variant == "ours":
        return Trainer(ours, maps, targets, options)
    literal = Literal(ours)
    if variant == "literal":
        return Trainer(literal, maps, targets, options)
    return Trainer(WithBackbone(literal, size), images, targets, options)


def compare(trainers):
    """Print how far predictions and gradients of ours and the literal form differ."""
    ours, literal = trainers["ours"], trainers["literal"]
    for trainer in (ours, literal):
        trainer.module.eval()
    (found, loss), (wanted, other) = ours.loss(), literal.loss()
    loss.backward()
    other.backward()
    a, b = ours.module, literal.module
    layer, heads = a.decoder.layers[0], a.decoder.layers[0].multihead_attn
    order, rows = a.readout.order, (b.lh, b.rh)
    pairs = {
        "predictions": (found.detach(), wanted.detach()),
        "queries": (a.query_embed.grad, b.query_embed.grad),
        "in_proj": (heads.in_proj_weight.grad, b.attention.in_proj_weight.grad),
        "linear1": (layer.linear1.weight.grad, b.linear1.weight.grad),
        "readout weights": (
            a.readout.weight.grad,
            torch.cat([r.weight.grad for r in rows])[order],
        ),
        "readout constants": (
            a.readout.bias.grad,
            torch.cat([r.bias.grad for r in rows])[order],
        ),
    }
    gaps = {
        name: ((x - y).abs().max() / y.abs().max()).item()
        for name, (x, y) in pairs.items()
    }
    worst = max(gaps, key=gaps.get)
    print(f"  largest relative difference {gaps[worst]:.0e} ({worst})")
    bound = 0.1 if ours.mixed else 1e-4
    if gaps[worst] > bound:
        raise SystemExit(f"ours and the literal form differ: {gaps}")
    for trainer in (ours, literal):
        trainer.optimiser.zero_grad()
        trainer.module.train()


def data(size):
    images = make_inputs(size, 1, 3, size.image_px, size.image_px)
    targets = make_inputs(size, 2, size.n_units)
    return make_inputs(size, 0, *size.shape), images, targets


def resident_gib(what):
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+) kB", text)[1]) / 2**20


def peak(variant, size, options):
    """In a child: make steps and print the peak memory."""
    on_cpu = options.device == "cpu"
    if on_cpu:
        limit = int(options.limit_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        trainer = make_trainer(variant, size, options, *data(size))
        before = resident_gib("VmRSS")
        if not on_cpu:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated() / 2**30
        for _ in range(options.steps_of_peak):
            trainer.step()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        print(json.dumps({"short": str(error).splitlines()[0]}))
        return
    most = resident_gib("VmHWM")
    if not on_cpu:
        most = torch.cuda.max_memory_allocated() / 2**30
    print(json.dumps({"peak": most, "before": before}))


def print_peaks(variants, options):
    for variant in variants:
        call = [sys.executable, __file__, *sys.argv[1:], "--peak-of", variant]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            print(f"  {variant}: no peak, exit status {done.returncode} {last}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        if "short" in found:
            limit = f"{options.limit_gib:g} GiB" if options.device == "cpu" else "GPU"
            text = f"does not fit into {limit} ({found['short'][:120]})"
        else:
            text = f"peak {found['peak']:.2f} GiB ({found['before']:.2f} before steps)"
        print(f"  {variant}: {text}", flush=True)


def times(variants, size, options):
    found = data(size)
    trainers = {v: make_trainer(v, size, options, *found) for v in variants}
    if {"ours", "literal"} <= set(variants):
        compare(trainers)
    spent = {v: [] for v in variants}
    for variant in set(variants) - {"backbone"}:
        trainers[variant].step()  # what is made at the first step
    for _ in range(options.repeats):
        for variant in variants:
            # A step through the ViT costs as much as many others.
            n = 1 if variant == "backbone" else options.steps
            spent[variant].append(trainers[variant].seconds(n))
    kind = "CPU s" if options.device == "cpu" else "s"
    ours = statistics.median(spent["ours"]) if "ours" in spent else None
    for variant, values in spent.items():
        median = statistics.median(values)
        print(
            f"  {variant}: {median:.3f} {kind} per step ({min(values):.3f} to "
            f"{max(values):.3f}), {1 / median:.2f} steps/s"
            + (f"; {median / ours:.2f}x ours" if ours else ""),
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--queries", choices=("regions", "units"), default="regions")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--parts", choices=("all", "times", "peaks"), default="all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--steps-of-peak", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="float32", choices=("float32", "mixed"))
    parser.add_argument("--limit-gib", type=float, default=20)
    parser.add_argument("--peak-of", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = SIZES[options.size]
    with exact_float32():
        if options.peak_of:
            peak(options.peak_of, size, options)
            return
        print(
            f"{options.size}: maps {size.shape}, {size.n_units} units, queries of "
            f"{options.queries}, batch {size.batch}, {options.device}, "
            f"{options.precision}, {torch.get_num_threads()} threads",
            flush=True,
        )
        if options.parts != "peaks":
            times(options.variants, size, options)
    if options.parts != "times":
        print_peaks(options.variants, options)


if __name__ == "__main__":
    main()
