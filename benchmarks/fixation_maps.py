"""Time AUC, NSS and densities of many fixation maps against plain NumPy.

Plain is what public code does, one map at a time: AUC-Judd and the exact AUC as a loop
over the fixated values, each compared with all pixels; NSS of the z-scored map; a
density as `scipy.ndimage.gaussian_filter` or an FFT of the fixation counts, the other
observers' pooled anew for each observer. Both run in this process on one thread,
interleaved; the values must agree.

    OMP_NUM_THREADS=1 python benchmarks/fixation_maps.py [--maps 1000] [--repeats 3]
    OMP_NUM_THREADS=1 python benchmarks/fixation_maps.py --free-viewing 10
"""

import argparse
import statistics
import time

import numpy as np
from scipy import fft, ndimage

from analysis.fixated_pixels import fixated_pixels
from analysis.fixation_auc import auc, auc_judd
from analysis.fixation_density import (
    fixation_counts,
    fixation_density,
    leave_one_out_density,
)
from analysis.fixation_maps import cc, information_gain, kl_divergence, nss, sim
from neurovis.core.rng import generator

SIGMA_PX = 24
BATCH_BYTES = 200_000_000


def plain_judd(values, fixated):
    """Area of the curve with one point per fixated pixel."""
    values = (values - values.min()) / (values.max() - values.min())
    thresholds = np.sort(values[fixated])[::-1]
    n, n_pixels = len(thresholds), values.size
    hits, alarms = np.zeros(n + 2), np.zeros(n + 2)
    hits[-1] = alarms[-1] = 1
    for i, threshold in enumerate(thresholds, start=1):
        above = (values >= threshold).sum()
        hits[i] = i / n
        alarms[i] = (above - i) / (n_pixels - n)
    return np.trapezoid(hits, alarms)


def plain_auc(values, fixated):
    """Share of unfixated pixels below each fixated one, ties half."""
    negatives = values[~fixated]
    shares = [
        (negatives < value).mean() + (negatives == value).mean() / 2
        for value in values[fixated]
    ]
    return np.mean(shares)


def plain_nss(values, fixated):
    return ((values - values.mean()) / values.std())[fixated].mean()


MEASURES = {
    "AUC-Judd": (auc_judd, plain_judd),
    "AUC": (auc, plain_auc),
    "NSS": (nss, plain_nss),
}


def one_by_one(measure, maps, fixated):
    return [measure(*pair) for pair in zip(maps, fixated, strict=True)]


def cpu_seconds(function, *arguments, **options):
    start = time.process_time()
    result = function(*arguments, **options)
    return time.process_time() - start, result


def make_maps(rng, n_maps, shape, n_fixations):
    """Smooth maps, and distinct pixels drawn with their help."""
    coarse = rng.standard_normal((n_maps, 8, 8))
    zoom = (shape[0] / 8, shape[1] / 8)
    maps = np.stack([ndimage.zoom(m, zoom, order=3) for m in coarse])
    noisy = maps + rng.standard_normal((n_maps, *shape))
    flat = np.argsort(noisy.reshape(n_maps, -1), axis=1)[:, :: -noisy[0].size // 3000]
    pixels = np.stack([rng.choice(f, n_fixations, replace=False) for f in flat])
    row, column = np.divmod(pixels, shape[1])
    index = np.repeat(np.arange(n_maps), n_fixations)
    human = fixated_pixels(column.ravel(), row.ravel(), shape, map_index=index)
    return maps, human, fixation_counts(human) > 0


def compare_measures(shape, n_fixations, n_maps, repeats):
    batch = max(1, min(n_maps, BATCH_BYTES // (8 * shape[0] * shape[1])))
    seconds = {name: ([0.0] * repeats, [0.0] * repeats) for name in MEASURES}
    worst = dict.fromkeys(MEASURES, 0.0)
    for start in range(0, n_maps, batch):
        size = min(batch, n_maps - start)
        rng = generator(0, "benchmark", start)
        maps, human, fixated = make_maps(rng, size, shape, n_fixations)
        for name, (ours, plain) in MEASURES.items():
            for turn in range(repeats):
                fast, values = cpu_seconds(ours, maps, human)
                slow, others = cpu_seconds(one_by_one, plain, maps, fixated)
                seconds[name][0][turn] += fast
                seconds[name][1][turn] += slow
            worst[name] = max(worst[name], np.abs(values - others).max())
    for name, both in seconds.items():
        fast, slow = map(statistics.median, both)
        print(
            f"{name}: {n_maps} maps of {shape[0]} x {shape[1]}, {n_fixations} "
            f"fixations each; CPU seconds {fast:.3f} against {slow:.3f} plain: "
            f"{slow / fast:.1f}x; largest difference {worst[name]:.0e}"
        )


def filtered(counts):
    return ndimage.gaussian_filter(counts, SIGMA_PX, mode="constant", truncate=4)


def transformed(counts):
    """Multiply the spectrum by that of the kernel; zeros around the picture."""
    pad = 8 * SIGMA_PX
    size = [fft.next_fast_len(n + pad, real=True) for n in counts.shape]
    rows = np.exp(-2 * (np.pi * SIGMA_PX * fft.fftfreq(size[0])) ** 2)
    columns = np.exp(-2 * (np.pi * SIGMA_PX * fft.rfftfreq(size[1])) ** 2)
    spectrum = fft.rfft2(counts, size) * rows[:, None] * columns
    return fft.irfft2(spectrum, size)[: counts.shape[0], : counts.shape[1]]


def draw_observers(rng, n_observers=15, shape=(600, 800)):
    """About nine fixations per observer around a few places, as in free viewing."""
    places = rng.uniform(0.2, 0.8, (6, 2))
    index = np.repeat(np.arange(n_observers), rng.integers(6, 13, n_observers))
    centre = places[rng.integers(6, size=len(index))]
    share = centre + 0.05 * rng.standard_normal(centre.shape)
    y, x = share.T * np.array(shape)[:, None]
    return fixated_pixels(x, y, shape, map_index=index, n_maps=n_observers)


def compare_densities(repeats):
    human = draw_observers(generator(0, "observers"))
    others = [np.delete(np.arange(human.n_maps), i) for i in range(human.n_maps)]
    pooled = [fixation_counts(human.select(o).pool())[0] for o in others]
    n_others = (len(human) - human.n_fixations)[:, None, None]
    # Only far from the edge, where no kernel is cut, do all rules agree.
    inner = (slice(None), slice(250, 350), slice(300, 500))
    print(f"density of the other 14 of 15 observers, 600 x 800, sigma {SIGMA_PX} px:")
    for name, plain in (("gaussian_filter", filtered), ("FFT", transformed)):
        pairs = []
        for _ in range(repeats):
            fast, ours = cpu_seconds(leave_one_out_density, human, SIGMA_PX)
            slow, theirs = cpu_seconds(lambda p=plain: np.stack([*map(p, pooled)]))
            pairs.append((1e3 * fast / human.n_maps, 1e3 * slow / human.n_maps))
        fast, slow = (statistics.median(column) for column in zip(*pairs, strict=True))
        worst = np.abs(ours - theirs / n_others)[inner].max() / ours.max()
        print(
            f"CPU ms per map {fast:.1f} against {slow:.1f} with {name}: "
            f"{slow / fast:.0f}x; largest difference {worst:.0e} of the maximum"
        )


def free_viewing(n_images):
    """Score 15 observers per image, each predicted from the others."""
    images = [draw_observers(generator(0, "image", i)) for i in range(n_images)]
    seconds = {}

    def timed(name, function, *arguments, **options):
        used, result = cpu_seconds(function, *arguments, **options)
        seconds[name] = seconds.get(name, 0.0) + used
        return result

    mixed = {"sigma_px": SIGMA_PX, "uniform": 0.01}
    for i, human in enumerate(images):
        rest = (images[:i] + images[i + 1 :]) * (700 // n_images)
        x, y = (
            np.concatenate([getattr(r, n) for r in rest]) for n in ("column", "row")
        )
        other = fixated_pixels(x, y, human.shape)
        base = timed("centre bias", fixation_density, other, **mixed)
        pred = timed("others' density", leave_one_out_density, human, **mixed)
        own = timed("own density", fixation_density, human, SIGMA_PX)
        timed("NSS", nss, pred, human)
        timed("CC", cc, pred, own)
        timed("SIM", sim, pred, own)
        timed("KL", kl_divergence, pred, own)
        timed("AUC", auc, pred, human)
        timed("sAUC", auc, pred, human, other)
        timed("IG", information_gain, pred, human, base)
    n_maps = 15 * n_images
    parts = ", ".join(f"{k} {1e3 * v / n_maps:.2f}" for k, v in seconds.items())
    total = sum(seconds.values()) / n_maps
    print(
        f"{n_images} images x 15 observers, 600 x 800; CPU ms per map: {parts}; all "
        f"{1e3 * total:.1f}, that is {10_500 * total:.0f} s for 700 images"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--free-viewing", type=int, metavar="IMAGES")
    arguments = parser.parse_args()
    if arguments.free_viewing:
        compare_densities(arguments.repeats)
        free_viewing(arguments.free_viewing)
        return
    for shape in ((60, 80), (600, 800)):
        for n_fixations in (10, 140):
            compare_measures(shape, n_fixations, arguments.maps, arguments.repeats)


if __name__ == "__main__":
    main()
