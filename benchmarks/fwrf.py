"""Time the search for receptive fields against a plain loop over candidates in NumPy.

The loop does what public code does, one pool after the other: pool all maps, z-score,
invert one matrix per penalty, compute weights and held-out errors for every target,
and keep what is strictly better. Both are float32, on the same threads, in this
process, interleaved; the table gives medians, and how well the two agree. Maps are
smoothed Gaussian noise, targets read them through pools of the grid plus noise of the
same variance.

    OMP_NUM_THREADS=1 python benchmarks/fwrf.py [--size full] [--repeats 3]
    OMP_NUM_THREADS=1 python benchmarks/fwrf.py --size 1000,200,96,500,60
"""

import argparse
import statistics
import time

import numpy as np
from scipy import ndimage

from neurovis.core.rng import generator
from neurovis.fitting.fwrf import FwRF, candidate_grid, gaussian_pools

ALPHAS = np.logspace(3, 7, 9)
# Images, held-out images among them, maps, targets, candidates.
SIZES = {
    "quick": [(800, 200, 96, 500, 60), (800, 200, 96, 3000, 60)],
    "full": [
        (2000, 400, 192, 1000, 20),
        (2000, 400, 192, 5000, 20),
        (2000, 400, 1000, 5000, 6),
        (3000, 500, 1000, 10000, 4),
        (600, 150, 1000, 2000, 8),
    ],
}


def make_data(n, n_maps, v, candidates):
    rng = generator(0, "fwrf benchmark", n, n_maps, v)
    maps = []
    for share, side in ((3, 14), (6, 7)):
        shape = (n, n_maps * share // 9, side, side)
        noise = rng.standard_normal(shape, dtype=np.float32)
        maps.append(ndimage.gaussian_filter(noise, (0, 0, 0.7, 0.7)))
    rest = n_maps - sum(part.shape[1] for part in maps)
    if rest:
        maps.append(rng.standard_normal((n, rest, 1, 1), dtype=np.float32))
    y = np.empty((n, v), np.float32)
    truth = rng.integers(0, len(candidates), v)
    for number in np.unique(truth):
        x = pool(maps, candidates[number])
        x /= x.std(0)
        at = truth == number
        signal = x @ rng.standard_normal((x.shape[1], at.sum()), dtype=np.float32)
        y[:, at] = signal / signal.std(0)
    y += rng.standard_normal(y.shape, dtype=np.float32)
    return maps, y


def pool(maps, candidate):
    columns = []
    for part in maps:
        weights = gaussian_pools(part.shape[-1], candidate[None])[0].astype(np.float32)
        columns.append(np.tensordot(part, weights, ((2, 3), (0, 1))))
    return np.concatenate(columns, 1)


def plain_loop(maps, y, candidates, holdout, at_once=100):
    """Search as public code does; return losses, pools, penalties and weights."""
    n_train, v = len(y) - holdout, y.shape[1]
    loss = np.full(v, np.inf, np.float32)
    best_pool, best_alpha = np.full(v, -1), np.full(v, -1)
    weights = np.zeros((v, sum(part.shape[1] for part in maps) + 1), np.float32)
    for number, candidate in enumerate(candidates):
        x = pool(maps, candidate)
        x = (x - x.mean(0)) / (x.std(0) + np.float32(1e-6))
        x = np.concatenate([x, np.ones((len(x), 1), np.float32)], 1)
        train, held = x[:n_train], x[n_train:]
        gram, unit = train.T @ train, np.eye(x.shape[1], dtype=np.float32)
        inverses = [np.linalg.inv(gram + np.float32(a) * unit) for a in ALPHAS]
        factors = np.stack([inverse @ train.T for inverse in inverses])
        for start in range(0, v, at_once):
            at = slice(start, start + at_once)
            betas = factors @ y[:n_train, at]
            errors = ((y[n_train:, at] - held @ betas) ** 2).sum(1)
            chosen = errors.argmin(0)
            least = errors.min(0)
            better = np.flatnonzero(least < loss[at])
            rows = start + better
            loss[rows], best_pool[rows] = least[better], number
            best_alpha[rows] = chosen[better]
            weights[rows] = betas[chosen[better], :, better]
    return loss, best_pool, best_alpha, weights


def ours(maps, y, candidates, holdout):
    return FwRF(candidates, ALPHAS, holdout=holdout, device="cpu").fit(maps, y)


def compare(size, repeats):
    n, holdout, n_maps, v, n_candidates = size
    grid = candidate_grid()
    candidates = grid[:: len(grid) // n_candidates][:n_candidates]
    maps, y = make_data(n, n_maps, v, candidates)
    calls = {"loop": plain_loop, "ours": ours}
    wall, cpu, found = {k: [] for k in calls}, {k: [] for k in calls}, {}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter(), time.process_time()
            found[name] = call(maps, y, candidates, holdout)
            wall[name].append(time.perf_counter() - start[0])
            cpu[name].append(time.process_time() - start[1])
    wall, cpu = (
        {name: statistics.median(all_) for name, all_ in times.items()}
        for times in (wall, cpu)
    )
    model, (loss, best_pool, best_alpha, weights) = found["ours"], found["loop"]
    index = np.abs(np.log(ALPHAS[:, None] / model.alphas_)).argmin(0)
    same = (model.candidate_ == best_pool) & (index == best_alpha)
    coef = np.vstack([model.coef_, model.intercept_]).T
    apart = np.linalg.norm(coef - weights, axis=1) / np.linalg.norm(weights, axis=1)
    worse = (model.losses_ / loss - 1)[~same]
    print(
        f"{n} images ({holdout} held out), {n_maps} maps, {v} targets, "
        f"{len(candidates)} pools, {len(ALPHAS)} alphas: loop {wall['loop']:.2f} s "
        f"(CPU {cpu['loop']:.2f}), ours {wall['ours']:.2f} s (CPU {cpu['ours']:.2f}): "
        f"{wall['loop'] / wall['ours']:.1f}x (CPU {cpu['loop'] / cpu['ours']:.1f}x); "
        f"{100 * same.mean():.2f} % of choices equal, weights of those within "
        f"{apart[same].max():.0e}, losses of the others within "
        f"{np.abs(worse).max(initial=0):.0e}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    text = "quick, full or images,held-out,maps,targets,pools"
    parser.add_argument("--size", default="quick", help=text)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    own = [arguments.size.split(",")] if "," in arguments.size else []
    for size in SIZES.get(arguments.size) or own:
        compare(tuple(int(number) for number in size), arguments.repeats)


if __name__ == "__main__":
    main()
