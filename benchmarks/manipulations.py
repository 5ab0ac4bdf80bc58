"""Time eidolons and scrambled phases against plain NumPy and SciPy.

Plain is the definition read aloud: every blur a spatial convolution that wraps around,
every coherent field summed anew for its slice, every displacement looked up slice by
slice; phases as angles, one by one, and the picture by an inverse transform of
``|F| exp(i phase)``. Both get the same random numbers and run in this process on one
thread, interleaved; the pictures must agree.

    OMP_NUM_THREADS=1 python benchmarks/manipulations.py [--repeats 3]
"""

import argparse
import statistics
import time

import numpy as np
from scipy import ndimage

from neurovis.core.rng import generator
from stimuli.category_pictures import draw_category_picture
from stimuli.eidolons import disarray, embed
from stimuli.manipulations import rgb_to_grey
from stimuli.phase_scrambling import count_draws, scramble_phase

MAX_SIGMA, GRAIN = 64.0, 10.0


def blur(field, sigma):
    return ndimage.gaussian_filter(field, sigma, mode="wrap", truncate=6)


def standard(field):
    return (field - field.mean()) / field.std()


def noise(kind, k, shape, sigma):
    drawn = generator(0, "eidolon", kind, k).standard_normal((*shape, 2))
    return [standard(blur(drawn[..., axis], sigma)) for axis in (0, 1)]


def plain_eidolon(image, reach, coherence):
    frame, middle = embed(np.floor(255 * rgb_to_grey(image) + 0.5))
    scales = 2 ** ((np.arange(12) - 1) / 2)
    blurred = [blur(frame, scale) for scale in scales]
    total = np.zeros_like(frame)
    rows, columns = np.indices(frame.shape)
    for k in range(12):
        part = blurred[k] - blurred[k + 1] if k < 11 else blurred[k]
        fields = [np.zeros(frame.shape), np.zeros(frame.shape)]
        for j in range(k, 12):
            for axis, field in enumerate(noise("coherent", j, frame.shape, scales[j])):
                fields[axis] += scales[j] / MAX_SIGMA * field
        own = noise("incoherent", k, frame.shape, GRAIN)
        moved = [
            coherence * field + (1 - coherence) * other
            for field, other in zip(fields, own, strict=True)
        ]
        at = [
            np.clip((place + reach * move).astype(int), 0, side - 1)
            for place, move, side in zip(
                (rows, columns), moved, frame.shape, strict=True
            )
        ]
        total += part[at[0], at[1]]
    return np.clip(total[middle], 0, 255) / 255


def plain_phases(image, width_deg, draws):
    spectrum = np.fft.fftshift(np.fft.fft2(rgb_to_grey(image)))
    amplitude, phase = np.abs(spectrum), np.angle(spectrum)
    turns = np.deg2rad(width_deg) * (2 * draws - 1)
    block = phase[1:, 1:].ravel()
    half = len(draws)
    for i in range(half):
        block[i] += turns[i]
        block[half + 1 + i] -= turns[i]
    phase[1:, 1:] = block.reshape(phase[1:, 1:].shape)
    made = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phase)))
    return np.clip(made.real, 0, 1)


def cpu_seconds(function, *arguments, **options):
    start = time.process_time()
    result = function(*arguments, **options)
    return time.process_time() - start, result


def compare(name, ours, plain, repeats):
    seconds = []
    for _ in range(repeats):
        fast, made = cpu_seconds(ours)
        slow, other = cpu_seconds(plain)
        seconds.append((fast, slow))
    fast, slow = (statistics.median(column) for column in zip(*seconds, strict=True))
    differing = np.abs(made - other)
    print(
        f"{name}: CPU ms {1e3 * fast:.1f} against {1e3 * slow:.1f} plain: "
        f"{slow / fast:.0f}x; mean difference {differing.mean():.1e}, "
        f"{100 * (differing > 1e-3).mean():.2f} % of pixels differ by more than 0.001"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    picture = draw_category_picture("object", 3, size_px=256) / 255
    for coherence in (1.0, 0.3):
        compare(
            f"eidolon, 256 px, reach 16, coherence {coherence:g}",
            lambda c=coherence: disarray(picture, 16, c),
            lambda c=coherence: plain_eidolon(picture, 16, c),
            repeats,
        )
    small = picture[:224, :224]
    draws = np.random.default_rng(0).random(count_draws((224, 224)))
    compare(
        "scrambled phases, 224 px, 90 degrees",
        lambda: scramble_phase(small, 90, draws=draws),
        lambda: plain_phases(small, 90, draws),
        repeats,
    )


if __name__ == "__main__":
    main()
