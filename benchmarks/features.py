"""Time the extraction of features into a store against the bare forward pass.

The bare pass gets preprocessed batches that are in memory already, in either memory
layout (the faster one counts), and keeps nothing. The extraction begins with pictures
of 425 x 425 pixels: it resamples and normalises them, reads a middle and the last
layer, pools, and writes shards with checksums. Both run in this process with the same
thread count, interleaved. With one thread of torch, the CPU time of the main thread is
what the forward pass waits for: reading, resampling and writing run beside it.

    python benchmarks/features.py [--networks timm:resnet50,...] [--pictures 256]
        [--batch 32] [--repeats 3] [--threads 1] [--device cpu]
"""

import argparse
import tempfile
import time

import numpy as np
import torch

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features, fingerprint_pictures
from neurovis.core.device import exact_float32, resolve

# By network: a middle and the last layer. None keeps less than 512 numbers.
LAYERS = {
    "timm:resnet18": ["layer2:grid4", "layer4:flat"],
    "timm:resnet50": ["layer2:grid4", "layer4:flat"],
    "timm:vit_tiny_patch16_224": ["blocks.5:patches", "blocks.11:patches"],
    "timm:vit_small_patch16_224": ["blocks.5:patches", "blocks.11:q"],
}
SIDE_PX = 425


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(function):
    """Return seconds by the clock, of the main thread and of all threads."""
    clocks = (time.perf_counter, time.thread_time, time.process_time)
    starts = [clock() for clock in clocks]
    function()
    return np.array([clock() - t for clock, t in zip(clocks, starts, strict=True)])


def bare(module, inputs, device):
    with torch.inference_mode(), exact_float32():
        for batch in inputs:
            module(batch)
    wait(device)


def compare(name, pictures, batch, repeats, device):
    backbone = load_backbone(name, "seeded:0")
    rule, module = backbone.preprocessing, backbone.module.to(device)
    prepared = torch.from_numpy(np.stack([rule.prepare(p) for p in pictures]))
    last = [
        rule.normalise(some.to(device)) for some in prepared.split(batch)
    ]  # channels last
    first = [x.contiguous() for x in last]
    mark = fingerprint_pictures(pictures)
    found = {"first": [], "last": [], "store": [], "hash": []}
    n_bytes = 0

    def extract():
        nonlocal n_bytes
        with tempfile.TemporaryDirectory() as folder:
            features = extract_features(
                *(backbone, pictures, LAYERS[name]),
                batch_size=batch,
                device=device,
                store=folder,
                fingerprint=mark,
            )
            n_bytes = sum(values.nbytes for values in features.values())

    for repeat in range(repeats + 1):
        round_ = {
            "first": timed(lambda: bare(module, first, device)),
            "last": timed(lambda: bare(module, last, device)),
            "store": timed(extract),
            "hash": timed(lambda: fingerprint_pictures(pictures)),
        }
        if repeat:  # the first round warms up
            for key, value in round_.items():
                found[key].append(1e3 * value / len(pictures))
    ms = {key: np.median(value, axis=0) for key, value in found.items()}
    best = np.minimum(found["first"], found["last"])
    over = 100 * (np.median(np.array(found["store"]) / best, axis=0) - 1)
    print(f"{name}, {n_bytes / 2**20:.0f} MiB; ms per picture: clock, main thread, all")
    print("  bare, channels first  {:8.2f} {:8.2f} {:8.2f}".format(*ms["first"]))
    print("  bare, channels last   {:8.2f} {:8.2f} {:8.2f}".format(*ms["last"]))
    print("  into the store        {:8.2f} {:8.2f} {:8.2f}".format(*ms["store"]))
    print("  over the faster bare  {:+7.1f}% {:+7.1f}% {:+7.1f}%".format(*over))
    print("  hashing the pictures  {:8.2f} {:8.2f} {:8.2f}".format(*ms["hash"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(LAYERS))
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = (arguments.pictures, SIDE_PX, SIDE_PX, 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s)")
    for name in arguments.networks.split(","):
        compare(
            *(name, list(pictures), arguments.batch, arguments.repeats),
            resolve(arguments.device),
        )


if __name__ == "__main__":
    main()
