"""Time predicted similarities and an epoch of SPoSE against plain implementations.

Both run in this process on one thread, interleaved; CPU seconds, median over the
repeats; results must agree. Plain is the published form, written anew: for every pair
of objects a sum over all others; for an epoch one-hot rows times the weights, the
gradient by autograd, and Adam as torch has it by default. The plain matrix gets a part
of the pairs, and its time is scaled.

    OMP_NUM_THREADS=1 python benchmarks/spose.py [--objects 1854] [--dimensions 66]
        [--triplets 5000] [--batch 100] [--part 0.03] [--repeats 3]
"""

import argparse
import statistics
import time

import numpy as np
import torch

from analysis.odd_one_out import predicted_similarity
from analysis.simulated_triplets import draw_triplets, sparse_embedding
from neurovis.core.rng import generator
from neurovis.fitting.spose import START_MEAN, START_SD, fit_spose
from neurovis.fitting.spose_loss import SposeSettings

PENALTY = 0.008


def plain_similarity(logits, rows):
    """The first `rows` rows: one pair at a time, a vector over the other objects."""
    e = np.exp(logits)
    n = len(e)
    found = np.zeros((rows, n))
    for i in range(rows):
        for j in range(i + 1, n):
            others = np.delete(np.arange(n), [i, j])
            found[i, j] = (e[i, j] / (e[i, j] + e[i, others] + e[j, others])).mean()
    return found


def plain_epoch(weights, triplets, batch_size):
    """One epoch with one-hot rows and autograd; returns the weights."""
    n = len(weights)
    w = weights.clone().requires_grad_()
    adam = torch.optim.Adam([w], lr=0.001)
    one_hot = torch.eye(n)
    for rows in triplets.split(batch_size):
        i, j, k = (one_hot[rows[:, c]] @ w for c in range(3))
        logits = torch.stack([(i * j).sum(1), (i * k).sum(1), (j * k).sum(1)], dim=1)
        loss = -torch.log_softmax(logits, dim=1)[:, 0].mean()
        loss = loss + 0.01 * torch.relu(-w).sum() + PENALTY / n * w.abs().sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return w.detach()


def cpu_seconds(function):
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def report(title, ours, theirs, difference, note=""):
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(
        f"{title}: {mine:.3g} s ({min(ours):.3g} to {max(ours):.3g}) against "
        f"{other:.3g} s ({min(theirs):.3g} to {max(theirs):.3g}{note}): "
        f"{other / mine:.3g}x; largest difference {difference:.1e}",
        flush=True,
    )


def time_similarity(arguments):
    """Predicted similarities of all objects."""
    x = sparse_embedding(arguments.objects, arguments.dimensions, mean=0.5)
    rows = max(1, round(arguments.part * arguments.objects / 2))
    n = arguments.objects
    part = (rows * n - rows * (rows + 1) / 2) / (n * (n - 1) / 2)
    ours, theirs = [], []
    for _ in range(arguments.repeats):
        seconds, found = cpu_seconds(lambda: predicted_similarity(x))
        ours.append(seconds)
        seconds, expected = cpu_seconds(lambda: plain_similarity(x @ x.T, rows))
        theirs.append(seconds / part)
    upper = np.triu_indices(n, 1)
    upper = tuple(index[upper[0] < rows] for index in upper)
    difference = np.abs(found[upper] - expected[upper]).max()
    note = f", scaled from {part:.2g} of the pairs"
    title = f"predicted similarity, {n} objects, {x.shape[1]} dimensions"
    report(title, ours, theirs, difference, note)


def time_epoch(arguments):
    """One epoch of a fit, from the same start with the same batches."""
    n, d = arguments.objects, 90
    triplets = draw_triplets(n, arguments.triplets)
    settings = SposeSettings(
        n_dimensions=d,
        penalty=PENALTY,
        batch_size=arguments.batch,
        max_epochs=1,
        least_maximum=0.0,
    )
    ours, theirs = [], []
    for _ in range(arguments.repeats):
        seconds, fit = cpu_seconds(
            lambda: fit_spose(triplets, n_objects=n, settings=settings)
        )
        ours.append(seconds)
        start, shuffled = same_start(triplets, n, settings)
        seconds, expected = cpu_seconds(
            lambda start=start, shuffled=shuffled: plain_epoch(
                start, shuffled, arguments.batch
            )
        )
        theirs.append(seconds)
    difference = np.abs(fit.weights - expected.numpy()).max()
    title = f"one epoch, {len(triplets)} triplets in batches of {arguments.batch}"
    report(f"{title}, {n} x {d} weights", ours, theirs, difference)


def same_start(triplets, n_objects, settings, seed=0):
    """The first weights of a fit, and its triplets in the order of the first epoch."""
    shape = n_objects, settings.n_dimensions
    start = generator(seed, "spose start").normal(START_MEAN, START_SD, shape)
    order = generator(seed, "spose batches", 0).permutation(len(triplets))
    return torch.from_numpy(start.astype(np.float32)), torch.from_numpy(triplets[order])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1854)
    parser.add_argument("--dimensions", type=int, default=66)
    parser.add_argument("--triplets", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--part", type=float, default=0.03)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    time_similarity(arguments)
    time_epoch(arguments)


if __name__ == "__main__":
    main()
