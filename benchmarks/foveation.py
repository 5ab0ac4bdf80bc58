"""Time pyramid and texture statistics against plenoptic, and the texture transform.

Both run in this process on the same threads, interleaved; CPU seconds of the process,
median over the repeats, and the median ratio of neighbours; results must agree. Images
are smoothed noise, float32.

    OMP_NUM_THREADS=1 python benchmarks/foveation.py
        [--only pyramid,statistics,synthesis,texture] [--size 128,256]
        [--batch 1,8] [--channels 1,3] [--repeats 7]
"""

import argparse
import statistics
import time

import torch
from plenoptic import Metamer, remove_grad
from plenoptic.models import PortillaSimoncelli as PlenopticStatistics
from plenoptic.process import SteerablePyramidFreq
from scipy import ndimage

from neurovis.core.rng import generator
from neurovis.foveation.portilla_simoncelli import PortillaSimoncelli
from neurovis.foveation.steerable_pyramid import SteerablePyramid
from neurovis.foveation.texture import FoveatedTexture
from neurovis.foveation.texture_synthesis import synthesise_texture


def make_images(*shape):
    noise = generator(0, "foveation benchmark", *shape).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, (0, 0, 1.5, 1), mode="wrap")
    return torch.as_tensor(smooth, dtype=torch.float32)


def compare(name, ours, theirs, repeats, tolerance):
    """Time two calls in turns; the results of both are lists of tensors."""
    for a, b in zip(ours(), theirs(), strict=True):
        error = float((a - b).abs().max() / b.abs().max())
        if not error < tolerance:
            raise AssertionError(f"{name}: results differ by {error:.1e}")
    seconds = {ours: [], theirs: []}
    for _ in range(repeats):
        for call, times in seconds.items():
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    mine, other = (1e3 * statistics.median(times) for times in seconds.values())
    ratio = statistics.median(ratios)
    print(f"| {name} | {mine:.2f} | {other:.2f} | {ratio:.1f} |", flush=True)


def time_pyramid(size, batch, channels, repeats):
    x = make_images(batch, channels, size, size)
    for kind in ("complex", "real"):
        is_complex = kind == "complex"
        options = {"is_complex": is_complex, "tight_frame": True}
        ours = SteerablePyramid((size, size), masks="table", **options)
        theirs = SteerablePyramidFreq((size, size), height=4, order=3, **options)
        found, expected = ours.analyse(x), theirs(x)

        def forward(ours=ours):
            found = ours.analyse(x)
            return [found.highpass, *found.bands, found.lowpass]

        def forward_theirs(theirs=theirs):
            return list(theirs(x).values())

        def inverse(ours=ours, found=found):
            return [ours.synthesise(found)]

        def inverse_theirs(theirs=theirs, expected=expected):
            return [theirs.recon_pyr(expected)]

        what = f"{kind}, {batch} x {channels} x {size}²"
        with torch.no_grad():
            compare(f"forward, {what}", forward, forward_theirs, repeats, 1e-5)
            compare(f"inverse, {what}", inverse, inverse_theirs, repeats, 1e-5)


def time_statistics(size, batch, channels, repeats):
    x = make_images(batch, channels, size, size)
    ours = PortillaSimoncelli((size, size), masks="table")
    theirs = PlenopticStatistics((size, size))

    def gradient(model):
        image = x.clone().requires_grad_()
        model(image).square().mean().backward()
        return [image.grad]

    def vector(image):
        return ours(image).vector()

    what = f"{batch} x {channels} x {size}²"
    with torch.no_grad():
        compare(
            f"statistics, {what}",
            lambda: [vector(x)],
            lambda: [theirs(x)],
            repeats,
            1e-4,
        )
    compare(
        f"and gradient, {what}",
        lambda: gradient(vector),
        lambda: gradient(theirs),
        repeats,
        1e-3,
    )


def time_synthesis(size, batch, channels, repeats):
    """Time ten steps of Adam towards the statistics of one grey picture."""
    if batch > 1 or channels > 1:
        return
    x = make_images(1, 1, size, size).mul_(0.2).add_(0.5).clamp_(0, 1)
    options = {"masks": "table"}
    target = PortillaSimoncelli((size, size), **options)(x)
    theirs = PlenopticStatistics((size, size))
    theirs.eval()
    remove_grad(theirs)
    seconds = {"ours": [], "theirs": []}
    for _ in range(repeats):
        start = time.process_time()
        synthesise_texture(
            target, (size, size), n_steps=10, optimiser="adam", **options
        )
        seconds["ours"].append(time.process_time() - start)
        metamer = Metamer(x, theirs)
        metamer.setup(optimizer=torch.optim.Adam, optimizer_kwargs={"lr": 0.01})
        start = time.process_time()
        metamer.synthesize(max_iter=10)
        seconds["theirs"].append(time.process_time() - start)
    mine, other = (100 * statistics.median(times) for times in seconds.values())
    ratio = statistics.median(b / a for a, b in zip(*seconds.values(), strict=True))
    what = f"synthesis, a step of Adam, {size}²"
    print(f"| {what} | {mine:.1f} | {other:.1f} | {ratio:.1f} |", flush=True)


def time_texture(size, batch, channels, repeats):
    """Time the texture transform; nothing maintained does the same."""
    if channels != 3:
        return
    x = make_images(batch, 3, size, size).mul_(0.5).add_(0.5).clamp_(0, 1)
    for options in ({}, {"quality": "fine"}, {"start": "noise"}):
        setup, calls = [], []
        for _ in range(repeats):
            start = time.process_time()
            texture = FoveatedTexture((size, size), **options)
            ready = time.process_time()
            texture(x[:1])
            begun = time.process_time()
            texture(x)
            setup.append(1e3 * (ready - start))
            calls.append(1e3 * (time.process_time() - begun) / batch)
        what = f"{options or 'texture'}, one of {batch} x {size}²"
        made, done = statistics.median(setup), statistics.median(calls)
        print(f"| {what}; made in {made:.0f} | {done:.0f} | | |", flush=True)


PARTS = {
    "pyramid": time_pyramid,
    "statistics": time_statistics,
    "synthesis": time_synthesis,
    "texture": time_texture,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--size", default="128,256")
    parser.add_argument("--batch", default="1,8")
    parser.add_argument("--channels", default="1,3")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    sizes, batches, channels = (
        [int(n) for n in text.split(",")]
        for text in (options.size, options.batch, options.channels)
    )
    print(f"{torch.get_num_threads()} thread(s), torch {torch.__version__}\n")
    print("| call | ours, ms | plenoptic, ms | ratio |\n|---|---|---|---|")
    for part in options.only.split(","):
        for size in sizes:
            for batch in batches:
                for n in channels:
                    PARTS[part](size, batch, n, options.repeats)


if __name__ == "__main__":
    main()
