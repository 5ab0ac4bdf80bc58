"""Time projections of voxels onto a bank of image embeddings.

    streamed   ours: all voxels at once, block by block of the bank
    dense      as published: the bank is normalised once in float32, which is not
               counted; then four voxels at a time, a softmax over the whole bank

Both run in this process on the same threads, interleaved; medians of CPU seconds (on a
GPU of wall seconds), and what they gave is compared. The bank has clustered directions
and lengths that vary, the voxels point near some of its images.

    OMP_NUM_THREADS=1 python benchmarks/brainscuba.py [--images 100000] [--features 512]
        [--voxels 200] [--repeats 3] [--inverse-temperature 150] [--device cuda]
    python benchmarks/brainscuba.py --full [--images 2000000] [--voxels 1000]

With --full the bank is written as float16 into a temporary folder and read from there
once, by us only; the memory of the process is told, with and without files in it.
"""

import argparse
import resource
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from neurovis.core.device import exact_float32
from neurovis.core.embedding_bank import bank_of, open_bank
from neurovis.core.rng import generator
from neurovis.generation.bank_projection import project_onto_bank

BLOCK = 50_000
FOUR = 4  # voxels at a time, as published
NOISE = 2  # standard deviation, where lengths of embeddings are about 10


def draw_block(number, n_rows, width):
    """Return embeddings, float16: a common direction, one of 50 clusters, and noise."""
    common = generator(0, "brainscuba benchmark", width).standard_normal((51, width))
    rng = generator(0, "brainscuba benchmark", width, number)
    rows = rng.standard_normal((n_rows, width), dtype=np.float32)
    rows += common[rng.integers(1, 51, n_rows)].astype(np.float32)
    rows += common[0].astype(np.float32)
    length = rng.normal(10, 1, (n_rows, 1)).astype(np.float32)
    rows *= length / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16)


def blocks(options):
    for number, start in enumerate(range(0, options.images, BLOCK)):
        n_rows = min(BLOCK, options.images - start)
        yield draw_block(number, n_rows, options.features)


def draw_voxels(options):
    near = draw_block(0, BLOCK, options.features)[: options.voxels].astype(np.float32)
    rng = generator(0, "brainscuba benchmark", "voxels")
    n_more = options.voxels - len(near)
    near = np.concatenate([near, near[np.arange(max(n_more, 0)) % len(near)]])
    return near + NOISE * rng.standard_normal(near.shape).astype(np.float32)


def project_densely(weights, directions, lengths, beta):
    """Project as published, four voxels at a time."""
    unit = torch.nn.functional.normalize(weights, dim=1)
    found = []
    with exact_float32(), torch.inference_mode():
        for start in range(0, len(unit), FOUR):
            share = torch.softmax(beta * unit[start : start + FOUR] @ directions.T, -1)
            mean = torch.nn.functional.normalize(share @ directions, dim=1)
            found.append(mean * (share @ lengths)[:, None])
    return torch.cat(found).cpu().numpy()


def timed(call, device):
    clock = time.perf_counter if device == "cuda" else time.process_time
    start = clock()
    result = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start, result


def compare_projections(options):
    bank = bank_of(list(blocks(options)), "benchmark")
    weights = draw_voxels(options)
    beta, device = options.inverse_temperature, options.device
    rows = torch.from_numpy(bank.rows(np.arange(bank.n_images))).to(device)
    lengths = rows.norm(dim=1)
    directions = rows / lengths[:, None]
    moved = torch.from_numpy(weights).to(device)
    calls = {
        "streamed": lambda: (
            project_onto_bank(
                weights, bank, inverse_temperature=beta, device=device
            ).vectors
        ),
        "dense": lambda: project_densely(moved, directions, lengths, beta),
    }
    seconds = {name: [] for name in calls}
    found = {}
    for _ in range(options.repeats):
        for name, call in calls.items():
            spent, found[name] = timed(call, device)
            seconds[name].append(spent)
    difference = np.linalg.norm(found["streamed"] - found["dense"], axis=1)
    largest = (difference / np.linalg.norm(found["dense"], axis=1)).max()
    print(f"largest difference: {largest:.1e} of the length")
    if not largest < 1e-3:
        raise AssertionError(f"streamed and dense projections differ by {largest:.1e}")
    # Four products and sums per voxel, image and feature.
    work = 4 * options.voxels * options.images * options.features / 1e9
    for name, values in seconds.items():
        spent = statistics.median(values)
        print(
            f"{name}: {spent:.2f} s, {options.voxels / spent:.1f} voxels/s, "
            f"{work / spent:.0f} GFLOP/s of products"
        )
    ratios = [d / s for s, d in zip(*seconds.values(), strict=True)]
    print(f"streamed is {statistics.median(ratios):.1f} times as fast")


class Memory:
    """Peak of what the process holds besides files, looked at ten times a second."""

    def __init__(self):
        self.peak = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._ended.wait(0.1):
            self.peak = max(self.peak, _own_memory())

    def __enter__(self):
        self.start = _own_memory()
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()


def _own_memory():
    """Return GiB that are not mapped from files (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 2**20
    return float("nan")


def project_large(options):
    with tempfile.TemporaryDirectory() as folder:
        for number, rows in enumerate(blocks(options)):
            np.save(Path(folder) / f"embeddings_{number}.npy", rows)
        bank = open_bank(folder)
        weights = draw_voxels(options)
        with Memory() as memory:
            spent, found = timed(
                lambda: project_onto_bank(
                    weights,
                    bank,
                    inverse_temperature=options.inverse_temperature,
                    device=options.device,
                ),
                options.device,
            )
    work = 4 * options.voxels * options.images * options.features / 1e9
    print(
        f"{spent:.1f} s, {options.voxels / spent:.1f} voxels/s, "
        f"{work / spent:.0f} GFLOP/s of products; median effective number "
        f"{np.median(found.effective_number):.1f}"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"peak memory {memory.peak:.2f} GiB (before {memory.start:.2f}), with mapped "
        f"files {peak:.2f} GiB; the bank has "
        f"{2 * options.images * options.features / 2**30:.2f} GiB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--voxels", type=int)
    parser.add_argument("--inverse-temperature", type=float, default=150.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    options.images = options.images or (2_000_000 if options.full else 100_000)
    options.voxels = options.voxels or (1000 if options.full else 200)
    print(
        f"{options.images} images x {options.features} features, {options.voxels} "
        f"voxels, inverse temperature {options.inverse_temperature:g}, "
        f"{options.device}, {torch.get_num_threads()} thread(s), torch "
        f"{torch.__version__}"
    )
    if options.full:
        project_large(options)
    else:
        compare_projections(options)


if __name__ == "__main__":
    main()
