"""Time decoding of OAT with kept keys and values against decoding without.

Without, the decoder reads the whole scanpath anew for every fixation; all else is the
same: displays are encoded once, scanpaths are decoded side by side in equal batches,
and those that ended leave. Weights are random, except that the end is foretold about as
often as people end their scanpaths: 1 in 13 fixations, cut at 55. Both run in this
process on the same threads, interleaved, with the same random numbers; CPU seconds,
median of the repeats.

    OMP_NUM_THREADS=1 python benchmarks/oat.py [--architecture published]
        [--displays 100] [--samples 100] [--repeats 3] [--seed 0]

Displays have 6 x 14 objects with 120 features each.
"""

import argparse
import math
import statistics
import time
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from neurovis.adapters.oat import OAT
from neurovis.adapters.oat_decoding import CachedDecoder, decode
from neurovis.adapters.oat_layers import sinusoids
from neurovis.adapters.oat_network import (
    OATNetwork,
    object_batch,
    published_config,
    small_config,
)
from neurovis.core.object_displays import regular_display
from neurovis.core.rng import generator

ARCHITECTURES = {"published": published_config, "small": small_config}
MEAN_LENGTH, LONGEST, N_FEATURES = 13, 55, 120


class PrefixDecoder(CachedDecoder):
    """Keeps the tokens of scanpaths only and decodes all of them at every step."""

    def __init__(self, network, batch):
        super().__init__(network, batch)
        fixated = self.encoded.fixated
        self.tokens = fixated.new_empty(len(fixated), 1, 0, fixated.shape[2])

    def step(self, cells):
        encoded, width = self.encoded, self.network.config.width
        rows = torch.arange(len(cells), device=cells.device)[:, None]
        order = sinusoids(self.n_done, 1, width).to(encoded.fixated)
        new = (encoded.fixated[rows, cells] + order)[:, :, None]
        self.tokens = torch.cat([self.tokens, new], dim=2)
        self.n_done += 1
        tokens = self.tokens
        layers = zip(self.network.decoder, encoded.keys, strict=True)
        for layer, objects in layers:
            tokens = whole_layer(layer, tokens, objects)
        # The others' scores would be thrown away.
        last = tokens[:, :, -1]
        return self.network.pointer(last, encoded.pointed, encoded.mask)

    def keep(self, displays, slots):
        rows = (self.n_samples * displays[:, None] + slots).flatten()
        self.tokens = self.tokens.flatten(0, 1)[rows].unflatten(0, slots.shape)
        self.n_samples = slots.shape[1]
        if len(displays) < len(self.encoded.fixated):
            self.encoded = self.encoded.take(displays)


def whole_layer(layer, tokens, objects):
    """Apply a decoder layer to (displays, samples, tokens, width)."""
    shape = tokens.shape
    own, other = layer.self_attn, layer.multihead_attn
    tokens = tokens.flatten(0, 1)
    query, keys, values = own.project(tokens, 0, 3)
    tokens = layer.norm1(tokens + own.attend(query, keys, values, causal=True))
    # Every display has its objects: samples and tokens stand in one row.
    tokens = tokens.view(shape[0], -1, shape[-1])
    (query,) = other.project(tokens, 0)
    tokens = layer.norm2(tokens + other.attend(query, *objects))
    hidden = layer.linear2(F.relu(layer.linear1(tokens)))
    return layer.norm3(tokens + hidden).view(shape)


def make_displays(n, seed):
    draw = generator(seed, "OAT benchmark")
    displays = []
    for number in range(n):
        looks = draw.standard_normal((84, N_FEATURES)).astype(np.float32)
        display = regular_display(
            f"display {number}",
            rows=6,
            cols=14,
            size_px=(2560, 1600),
            target_cell=int(draw.integers(84)),
        )
        displays.append(replace(display, appearance=looks))
    return displays


@torch.inference_mode()
def make_observer(architecture, displays, seed):
    """Random weights, and an end that comes at the same rate after every fixation.

    The first head of the pointer gets the direction in which the encoded target token
    differs from objects, and asks for it whatever was fixated.
    """
    config = ARCHITECTURES[architecture](appearance="features", n_features=N_FEATURES)
    network = OATNetwork(config, seed).eval()
    tokens, _ = network.embed(object_batch(displays[:8], config))
    for layer in network.encoder:
        tokens = layer(tokens, None)
    wanted = torch.zeros(tokens.shape[:2])
    wanted[:, -1] = 1.0
    rows = F.pad(tokens.flatten(0, 1).double(), (0, 1), value=1.0)
    balance = rows.T @ rows + 1e-2 * torch.eye(rows.shape[1])
    found = torch.linalg.solve(balance, rows.T @ wanted.flatten().double()).float()
    pointer = network.pointer
    for part in (pointer.objects[0], pointer.tokens[0]):
        part.weight.zero_()
        part.bias.zero_()
    pointer.objects[0].weight[0] = found[:-1]
    pointer.objects[0].bias[0] = found[-1]
    pointer.tokens[0].bias[0] = config.width**0.5
    observer = OAT(network, LONGEST)
    end = math.log(84 / (MEAN_LENGTH - 1))
    for trial in range(5):
        pointer.readout.weight[0, 0] = end
        made = observer.sample_displays(displays[:8], 20, seed + trial)
        lengths = np.array([len(path) for paths in made for path in paths])
        rate = ((lengths < LONGEST).sum() + 1) / (lengths.sum() + 1)
        end += math.log((1 / rate - 1) / (MEAN_LENGTH - 1))
    return observer


def uncached(observer, displays, n_samples, seed):
    """Sample as `OAT.sample_displays` does, without keys and values being kept."""
    made = []
    step = max(1, min(32, 512 // n_samples))
    for first in range(0, len(displays), step):
        part = displays[first : first + step]
        with torch.inference_mode():
            batch = object_batch(part, observer.network.config)
            paths = decode(
                PrefixDecoder(observer.network, batch),
                n_samples=n_samples,
                max_fixations=observer.max_fixations,
                draws=observer._draws(part, n_samples, seed),
            ).numpy()
        made += [[path[path >= 0] for path in of_one] for of_one in paths]
    return made


def cpu_seconds(function):
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="published")
    parser.add_argument("--displays", type=int, default=100)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    n, seed = options.samples, options.seed
    displays = make_displays(options.displays, seed)
    observer = make_observer(options.architecture, displays, seed)
    observer.sample_displays(displays[:2], 2, seed)  # what is made at the first call
    uncached(observer, displays[:2], 2, seed)
    with_cache, without = [], []
    for _ in range(options.repeats):
        seconds, paths = cpu_seconds(
            lambda: observer.sample_displays(displays, n, seed)
        )
        with_cache.append(seconds)
        seconds, others = cpu_seconds(lambda: uncached(observer, displays, n, seed))
        without.append(seconds)
    pairs = [
        (a, b)
        for ours, theirs in zip(paths, others, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    ]
    lengths = np.array([len(a) for a, _ in pairs])
    fast, slow = statistics.median(with_cache), statistics.median(without)
    print(
        f"{options.architecture}, {options.displays} displays x {n} scanpaths, "
        f"{lengths.sum()} fixations (mean {lengths.mean():.1f}, longest "
        f"{lengths.max()}), {torch.get_num_threads()} threads: cached {fast:.2f} s "
        f"({min(with_cache):.2f} to {max(with_cache):.2f}; "
        f"{fast / lengths.sum() * 1e6:.0f} us per fixation), uncached {slow:.2f} s "
        f"({min(without):.2f} to {max(without):.2f}): {slow / fast:.1f}x; equal "
        f"scanpaths: {sum(np.array_equal(a, b) for a, b in pairs)} of {len(pairs)}",
        flush=True,
    )
    if options.displays < 100 or n < 100:
        share = 100 * 100 / (options.displays * n)
        print(
            f"times {share:.3g}, for 100 displays x 100 scanpaths: cached about "
            f"{fast * share:.0f} s, uncached about {slow * share:.0f} s"
        )


if __name__ == "__main__":
    main()
