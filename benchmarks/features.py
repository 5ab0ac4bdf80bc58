"""Time the extraction of features into a store against the bare forward pass.

The bare pass gets batches that are normalised and in memory already, in either memory
layout (the faster one counts), runs all of the network, and keeps nothing. The
extractions read a middle and the last layer, pool, and write shards with checksums:

- "input": from arrays of the size of the input: stacking, normalising, hooks, pooling,
  writing, and once in a call the blank passes of three pictures that tell the shapes;
- "resized": from arrays of 425 x 425 pixels;
- "decoded": from JPEG files of that size, decoded and resized;
- "memory": as "input", but into memory.

All run in one process with the same number of threads, interleaved; the ratios are
those of the fastest rounds. With one thread of torch, the CPU time of the main thread
is what the network waits for: reading, resizing and writing run beside it. On a busy
machine look at CPU times, and at the bare pass of the same run only.

    python benchmarks/features.py [--networks timm:resnet18,...] [--pictures 128]
        [--weights FILE] [--batch 32] [--repeats 7] [--threads 1] [--device cpu]
"""

import argparse
import io
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.feature_stream import plan
from neurovis.adapters.features import extract_features, fingerprint_pictures
from neurovis.core.device import exact_float32, resolve
from neurovis.core.pictures import LazyPictures

# By network: a middle and the last layer. None keeps less than 512 numbers.
LAYERS = {
    "squeezenet1_0": ["fire5:grid3", "conv10:flat"],
    "timm:resnet18": ["layer2:grid4", "layer4:flat"],
    "timm:resnet50": ["layer2:grid4", "layer4:flat"],
    "timm:vit_tiny_patch16_224": ["blocks.5:patches", "blocks.11:patches"],
    "timm:vit_small_patch16_224": ["blocks.5:patches", "blocks.11:q"],
}
DEFAULT = ["squeezenet1_0", "timm:resnet18", "timm:vit_tiny_patch16_224"]
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


def make_pictures(n):
    """Smooth noise, which decodes as fast as photographs do."""
    draw = np.random.default_rng(0)
    size = (SIDE_PX, SIDE_PX)
    for _ in range(n):
        coarse = Image.fromarray(draw.integers(0, 256, (60, 60, 3), np.uint8))
        yield np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))


def as_jpeg(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def bare(module, inputs, device):
    with torch.inference_mode(), exact_float32():
        for batch in inputs:
            module(batch)
    wait(device)


def extract(backbone, pictures, layers, batch, device, stored=True):
    with tempfile.TemporaryDirectory() as folder:
        features = extract_features(
            *(backbone, pictures, layers),
            batch_size=batch,
            device=device,
            store=folder if stored else None,
            fingerprint="known" if stored else None,
        )
        return sum(values.nbytes for values in features.values())


def compare(name, weights, pictures, batch, repeats, device):
    backbone = load_backbone(name, weights, resize="squash")
    rule, module = backbone.preprocessing, backbone.module.to(device)
    ready = [rule.prepare(picture) for picture in pictures]
    batches = torch.from_numpy(np.stack(ready)).split(batch)
    last = [rule.normalise(some.to(device)) for some in batches]
    first = [x.contiguous() for x in last]
    files = [as_jpeg(picture) for picture in pictures]
    layers = LAYERS[name]
    run = partial(extract, backbone, layers=layers, batch=batch, device=device)
    tasks = {
        "bare, channels first": partial(bare, module, first, device),
        "bare, channels last": partial(bare, module, last, device),
        "memory": partial(run, ready, stored=False),
        "input": partial(run, ready),
        "resized": partial(run, pictures),
        "decoded": partial(run, LazyPictures(decode, files)),
        "hashing": partial(fingerprint_pictures, pictures),
        "blank passes": partial(plan, backbone, layers, device),
    }
    found = {task: [] for task in tasks}
    for repeat in range(repeats + 1):
        for task, function in tasks.items():
            seconds = timed(function)
            if repeat:  # the first round warms up
                found[task].append(1e3 * seconds / len(pictures))
    fastest = {task: np.min(values, axis=0) for task, values in found.items()}
    best = np.minimum(*(fastest[task] for task in list(tasks)[:2]))
    size = run(ready[:batch]) / batch / 1024
    what = f"{name} ({Path(weights).name}), {', '.join(layers)}"
    print(f"{what}: {size:.0f} KiB per picture")
    print(f"  {'ms per picture':22}{'clock':>9}{'main':>9}{'all':>9}   over the bare")
    for task, values in fastest.items():
        numbers = "".join(f"{value:9.2f}" for value in values)
        added = values if task in ("hashing", "blank passes") else values - best
        ratios = "".join(f"{100 * r:+8.1f}%" for r in added / best)
        over = "" if task.startswith("bare") else ratios
        print(f"  {task:22}{numbers}   {over}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(DEFAULT))
    parser.add_argument("--weights", default="seeded:0")
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pictures = list(make_pictures(arguments.pictures))
    print(f"torch {torch.__version__}, {arguments.threads} thread(s)")
    for name in arguments.networks.split(","):
        compare(
            *(name, arguments.weights, pictures, arguments.batch, arguments.repeats),
            resolve(arguments.device),
        )


if __name__ == "__main__":
    main()
