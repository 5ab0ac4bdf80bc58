"""Time cross-validated ridge regression against himalaya.

Against its KernelRidgeCV and, for fewer features than samples, where it advises that,
RidgeCV too; ratios are to the faster of the two. All choose one alpha per target by 5
consecutive folds without intercept, in float32 on the same threads, fit included;
himalaya with its torch backend (torch_cuda on a GPU). They run in this process,
interleaved; the table gives medians. Features are Gaussian with standard deviations
that fall as 1 / sqrt(k), targets linear in them plus noise, with signal-to-noise
ratios from 0.05 to 1.

    OMP_NUM_THREADS=1 python benchmarks/ridge.py [--sizes full] [--repeats 3]
    OMP_NUM_THREADS=1 python benchmarks/ridge.py --sizes 2000,4000,5000 --alphas 30
    OMP_NUM_THREADS=1 python benchmarks/ridge.py --parts 2000,4000,5000
    OMP_NUM_THREADS=1 python benchmarks/ridge.py --memory 9000,20000,20000
    python benchmarks/ridge.py --device cuda --sizes full

Needs `pip install himalaya`, but for --parts and --memory.
"""

import argparse
import resource
import statistics
import time
from functools import partial

import numpy as np
import torch

from neurovis.core.device import exact_float32
from neurovis.core.rng import generator
from neurovis.fitting import ridge_dual
from neurovis.fitting.ridge import RidgeCV
from neurovis.fitting.ridge_dual import Blocks, Rotated, chunks
from neurovis.fitting.ridge_eigen import decompose, rotate
from neurovis.fitting.ridge_features import Features, gram_matrix
from neurovis.fitting.ridge_folds import contiguous_folds, sort_by_fold

N_FOLDS = 5
SIZES = {
    "quick": [(500, 1000, 1000), (1000, 2000, 2000), (2000, 500, 5000)],
    "full": [(1000, 2000, 3000), (2000, 4000, 5000), (3000, 6000, 5000)],
}


def make_data(n, p, v, n_test=200):
    rng = generator(0, "ridge benchmark", n, p, v)
    X = rng.standard_normal((n + n_test, p), dtype=np.float32)
    X *= np.arange(1, p + 1, dtype=np.float32) ** -0.5
    signal = X @ rng.standard_normal((p, v), dtype=np.float32)
    signal *= rng.uniform(0.05, 1, v).astype(np.float32) / signal.std(0)
    Y = signal + rng.standard_normal((n + n_test, v), dtype=np.float32)
    return X[:n], Y[:n], X[n:]


def grid(n_alphas):
    return np.logspace(0, 5, n_alphas)


def seconds(function, device):
    """Wall and CPU seconds of a call, and what it returned."""
    if device != "cpu":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def ours(X, Y, n_alphas, search, device):
    options = {"cv": N_FOLDS, "fit_intercept": False, "device": device}
    return RidgeCV(grid(n_alphas), search=search, **options).fit(X, Y)


def theirs(X, Y, n_alphas, device, kind):
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.ridge import RidgeCV as PrimalRidgeCV

    set_backend("torch" if device == "cpu" else "torch_cuda")
    alphas = torch.tensor(grid(n_alphas), dtype=torch.float32, device=device)
    if kind == "himalaya kernel":
        return KernelRidgeCV(alphas=alphas, cv=N_FOLDS, warn=False).fit(X, Y)
    return PrimalRidgeCV(alphas=alphas, cv=N_FOLDS).fit(X, Y)


def nearest(alphas, n_alphas):
    """Place in the grid: himalaya returns alphas through a logarithm."""
    distance = np.abs(np.log(grid(n_alphas))[:, None] - np.log(alphas)[None])
    return distance.argmin(0)


def compare(size, n_alphas, repeats, device):
    X, Y, X_test = (torch.from_numpy(a).to(device) for a in make_data(*size))
    n, p, v = size
    peers = ["himalaya kernel"] + ["himalaya primal"] * (p < n)
    calls = {
        "full": lambda: ours(X, Y, n_alphas, "full", device),
        "window": lambda: ours(X, Y, n_alphas, "window", device),
        **{k: partial(theirs, X, Y, n_alphas, device, k) for k in peers},
    }
    times = {name: [] for name in calls}
    models = {}
    for _ in range(repeats):
        for name, call in calls.items():
            wall, cpu, models[name] = seconds(call, device)
            times[name].append((wall, cpu))
    wall, cpu = (
        {name: statistics.median(t[k] for t in all_) for name, all_ in times.items()}
        for k in (0, 1)
    )
    print(f"n {n}, p {p}, v {v}, {n_alphas} alphas, {torch.get_num_threads()} threads:")
    for name in peers:
        print(f"  {name} {wall[name]:.2f} s (CPU {cpu[name]:.2f} s)")
    peer = min(peers, key=lambda name: cpu[name] if device == "cpu" else wall[name])
    place = nearest(models[peer].best_alphas_.cpu().numpy(), n_alphas)
    expected = models[peer].predict(X_test).cpu().numpy()
    for name in ("full", "window"):
        model = models[name]
        same = nearest(model.alphas_.numpy(), n_alphas) == place
        found = model.predict(X_test).cpu().numpy()
        norms = np.linalg.norm(found - expected, axis=0)
        worst = (norms / np.linalg.norm(expected, axis=0))[same].max()
        print(
            f"  {name} {wall[name]:.2f} s (CPU {cpu[name]:.2f} s): "
            f"{wall[peer] / wall[name]:.1f}x "
            f"(CPU {cpu[peer] / cpu[name]:.1f}x); {100 * same.mean():.2f} % of "
            f"alphas equal, predictions of those within {worst:.0e}",
            flush=True,
        )


def parts(size, repeats):
    """Time the parts of a search and print how fast each multiplies."""
    n, p, v = size
    X, Y, _ = make_data(*size, n_test=0)
    features = Features((X,), None, None, torch.device("cpu"))
    folds = sort_by_fold(contiguous_folds(n, N_FOLDS), n).slices
    gram = gram_matrix(features, torch.float32)
    eigen = decompose(gram, torch.float32)
    y = torch.from_numpy(Y).T.contiguous()
    targets = ridge_dual.DualTargets(eigen, folds, y)
    _ = targets.z
    blocks = Blocks(targets, 10.0, folds)
    rotated = Rotated(targets, 10.0, folds)

    def every_chunk(errors):
        for rows in chunks(v, y):
            errors(rows)

    def forget():
        targets._recent.clear()
        return Rotated(targets, 10.0, folds)

    cube, held = n**3, n / N_FOLDS
    timed = {
        "Gram matrix": (n * n * p, lambda: gram_matrix(features, torch.float32)),
        "eigh (as n^3)": (cube, lambda: torch.linalg.eigh(gram)),
        "rotate targets": (2 * n * n * v, lambda: rotate(eigen, y)),
        "per alpha: residual matrix": (
            cube,
            lambda: ridge_dual.residual_matrix(targets, 10.0),
        ),
        "per alpha: all of Blocks": (
            cube + 3 * n * n * held,
            lambda: Blocks(targets, 10.0, folds),
        ),
        "per alpha: Blocks.errors": (
            2 * n * (n - held) * v,
            lambda: every_chunk(blocks.errors),
        ),
        "per alpha: all of Rotated": (2 * n * n * held, forget),
        "per alpha: Rotated.errors": (
            2 * n * (n + held) * v,
            lambda: every_chunk(rotated.errors),
        ),
    }
    print(f"n {n}, p {p}, v {v}, {N_FOLDS} folds:")
    for name, (flop, call) in timed.items():
        spent = statistics.median(seconds(call, "cpu")[1] for _ in range(repeats))
        print(
            f"  {name}: {flop / 1e9:.1f} GFLOP in {spent:.3f} CPU s, "
            f"{flop / 1e9 / spent:.0f} GFLOP/s"
        )


def memory(size, search):
    """Fit once and print the peak memory of the process."""
    X, Y, _ = make_data(*size, n_test=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    wall, cpu, model = seconds(lambda: ours(X, Y, 10, search, "cpu"), "cpu")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    held = (X.nbytes + Y.nbytes) / 2**30
    print(
        f"{size} {search}: {wall:.0f} s (CPU {cpu:.0f} s); peak {after:.2f} GiB (while "
        f"data were made {before:.2f}; X and Y are {held:.2f}); "
        f"{model.n_at_largest_} targets at the largest alpha"
    )


def size_of(text):
    return tuple(int(number) for number in text.split(","))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="quick", help="quick, full or n,p,v")
    parser.add_argument("--alphas", type=int, nargs="+", default=[10])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--parts", type=size_of, metavar="N,P,V")
    parser.add_argument("--memory", type=size_of, metavar="N,P,V")
    parser.add_argument("--search", default="window", choices=("full", "window"))
    arguments = parser.parse_args()
    if arguments.memory:
        memory(arguments.memory, arguments.search)
        return
    if arguments.parts:
        with torch.no_grad(), exact_float32():
            parts(arguments.parts, arguments.repeats)
        return
    sizes = SIZES.get(arguments.sizes) or [size_of(arguments.sizes)]
    for size in sizes:
        for n_alphas in arguments.alphas:
            compare(size, n_alphas, arguments.repeats, arguments.device)


if __name__ == "__main__":
    main()
