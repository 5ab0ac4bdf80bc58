"""Time banded ridge regression against himalaya's MultipleKernelRidgeCV.

Both try the same rows of gammas and the same alphas by 5 consecutive folds without
intercept, in float32 on the same threads; Gram matrices and fits included, himalaya
with its torch backend (torch_cuda on a GPU). They run in this process, interleaved; the
table gives medians. Features are Gaussian with standard deviations that fall as
1 / sqrt(k); each target is linear in some of the spaces, plus noise.

    OMP_NUM_THREADS=1 python benchmarks/banded.py [--repeats 3]
    OMP_NUM_THREADS=1 python benchmarks/banded.py --rows 2000 --targets 5000

Needs `pip install himalaya`.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from neurovis.core.rng import generator
from neurovis.fitting.banded import BandedRidgeCV
from neurovis.fitting.banded_spaces import draw_gammas

N_FOLDS, N_TEST = 5, 200


def make_data(n, widths, v):
    rng = generator(0, "banded benchmark", n, *widths, v)
    Xs, parts = [], []
    for p in widths:
        X = rng.standard_normal((n + N_TEST, p), dtype=np.float32)
        X *= np.arange(1, p + 1, dtype=np.float32) ** -0.5
        signal = X @ rng.standard_normal((p, v), dtype=np.float32)
        Xs.append(X)
        parts.append(signal / signal.std(0))
    share = rng.integers(0, 2, (len(widths), 1, v)).astype(np.float32)
    signal = (np.stack(parts) * share).sum(0) * rng.uniform(0.1, 0.7, v)
    Y = signal.astype(np.float32)
    Y += rng.standard_normal((n + N_TEST, v), dtype=np.float32)
    return Xs, Y


def ours(Xs, Y, gammas, alphas, device, search):
    model = BandedRidgeCV(
        alphas,
        gammas=gammas,
        cv=N_FOLDS,
        fit_intercept=False,
        search=search,
        device=device,
    )
    return model.fit(Xs, Y)


def theirs(Xs, Y, gammas, alphas, device):
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import MultipleKernelRidgeCV

    set_backend("torch" if device == "cpu" else "torch_cuda")
    params = {
        "n_iter": torch.from_numpy(gammas.astype(np.float32)),
        "alphas": torch.from_numpy(alphas.astype(np.float32)),
        "progress_bar": False,
    }
    model = MultipleKernelRidgeCV(
        kernels="precomputed",
        solver="random_search",
        solver_params=params,
        cv=N_FOLDS,
    )
    return model.fit(torch.stack([X @ X.T for X in Xs]), Y)


def compare(n, widths, v, n_iter, n_alphas, repeats, device):
    Xs, Y = make_data(n, widths, v)
    train = [torch.from_numpy(X[:n]).to(device) for X in Xs]
    test = [torch.from_numpy(X[n:]).to(device) for X in Xs]
    targets = torch.from_numpy(Y[:n]).to(device)
    gammas, alphas = draw_gammas(n_iter, len(widths)), np.logspace(0, 5, n_alphas)
    arguments = (train, targets, gammas, alphas, device)
    calls = {
        "full": lambda: ours(*arguments, "full"),
        "window": lambda: ours(*arguments, "window"),
        "himalaya": lambda: theirs(*arguments),
    }
    times, models = {name: [] for name in calls}, {}
    for _ in range(repeats):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            models[name] = call()
            if device != "cpu":
                torch.cuda.synchronize()
            now = time.perf_counter(), time.process_time()
            times[name].append((now[0] - wall, now[1] - cpu))
    wall, cpu = (
        {name: statistics.median(t[k] for t in all_) for name, all_ in times.items()}
        for k in (0, 1)
    )
    print(
        f"n {n}, spaces {widths}, v {v}, {n_iter} rows of gammas, {n_alphas} alphas, "
        f"{torch.get_num_threads()} threads:"
    )
    peer = models["himalaya"]
    deltas = peer.deltas_.cpu().numpy()
    kernels = torch.stack([a @ b.T for a, b in zip(test, train, strict=True)])
    expected = peer.predict(kernels).cpu().numpy()
    print(f"  himalaya {wall['himalaya']:.2f} s (CPU {cpu['himalaya']:.2f} s)")
    for name in ("full", "window"):
        model = models[name]
        same = np.isclose(model.deltas_.numpy(), deltas, rtol=1e-4, atol=1e-3).all(0)
        found = model.predict(test).cpu().numpy()
        norms = np.linalg.norm(found - expected, axis=0)
        worst = (norms / np.linalg.norm(expected, axis=0))[same].max()
        scores = model.cv_scores_per_iter_.numpy() - peer.cv_scores_.cpu().numpy()
        print(
            f"  {name} {wall[name]:.2f} s (CPU {cpu[name]:.2f} s): "
            f"{wall['himalaya'] / wall[name]:.1f}x "
            f"(CPU {cpu['himalaya'] / cpu[name]:.1f}x); {100 * same.mean():.2f} % of "
            f"choices (gammas and alpha) equal, predictions of those within "
            f"{worst:.0e}; CV scores of all rows within {np.abs(scores).max():.0e}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--widths", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--targets", type=int, default=2000)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--alphas", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    given = parser.parse_args()
    size = (given.rows, given.widths, given.targets, given.iterations, given.alphas)
    compare(*size, given.repeats, given.device)


if __name__ == "__main__":
    main()
