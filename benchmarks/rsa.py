"""Time the analysis of RDMs against plain loops, SciPy and textbook formulas.

Both run in this process on one thread, interleaved; CPU seconds, median over the
repeats. The plain implementation is what public code does: SciPy for one pair at a
time, loops over pairs of stimuli, partitions, resamples and permutations, matrices as
large as the formula says. Where it would take long it gets a part of the work, and its
time is scaled; values must agree on that part.

    OMP_NUM_THREADS=1 python benchmarks/rsa.py [--only rdms,crossnobis]
        [--stimuli 92] [--subjects 12] [--models 8] [--repeats 3] [--seed 0]
"""

import argparse
import itertools
import statistics
import time
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from analysis.cka import linear_cka
from analysis.multiple_tests import sign_flip_test
from analysis.rdms import make_crossnobis_rdm, make_rdm
from analysis.rsa import compare_rdms, rdm_ceiling
from analysis.rsa_inference import bootstrap_rsa, permute_stimuli
from neurovis.core.rng import generator


@dataclass(frozen=True)
class Workload:
    """Simulated subjects and models."""

    features: np.ndarray  # (n_stimuli, 20_000), float32
    trials: np.ndarray  # (n_stimuli, 4, 500)
    people: np.ndarray
    models: np.ndarray
    rng: np.random.Generator


def make_workload(n_stimuli, n_subjects, n_models, seed):
    rng = generator(seed, "rsa benchmark")
    signal = rng.standard_normal((n_stimuli, 30))

    def rdm(noise):
        pattern = signal @ rng.standard_normal((30, 100))
        pattern += noise * rng.standard_normal((n_stimuli, 100))
        return make_rdm(pattern)

    return Workload(
        rng.standard_normal((n_stimuli, 20_000), np.float32),
        rng.standard_normal((n_stimuli, 4, 500)),
        np.stack([rdm(10) for _ in range(n_subjects)]),
        np.stack([rdm(3) for _ in range(n_models)]),
        rng,
    )


def cpu_seconds(function):
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def compare(title, fast, slow, repeats, *, part=1.0, of_part=lambda values: values):
    """Time `fast()` and `slow()`, which does a part of the work of `fast`."""
    fast()
    ours, theirs = [], []
    for _ in range(repeats):
        seconds, found = cpu_seconds(fast)
        ours.append(seconds)
        seconds, expected = cpu_seconds(slow)
        theirs.append(seconds / part)
    mine, other = statistics.median(ours), statistics.median(theirs)
    difference = np.abs(np.ravel(of_part(found)) - np.ravel(expected)).max()
    scaled = "" if part == 1 else f", scaled from {part:.2g} of the work"
    print(
        f"{title}: {mine * 1e3:.3g} ms ({min(ours) * 1e3:.3g} to "
        f"{max(ours) * 1e3:.3g}) against {other * 1e3:.3g} ms "
        f"({min(theirs) * 1e3:.3g} to {max(theirs) * 1e3:.3g}{scaled}): "
        f"{other / mine:.3g}x; largest difference {difference:.1e}",
        flush=True,
    )


def time_rdms(work, repeats):
    """RDMs of 20 000 features against SciPy's pdist."""
    for measure, name, divisor in (
        ("correlation", "correlation", 1),
        ("squared_euclidean", "sqeuclidean", work.features.shape[1]),
    ):
        compare(
            f"RDM, {measure}, {work.features.shape}",
            partial(make_rdm, work.features, measure),
            lambda name=name, divisor=divisor: pdist(work.features, name) / divisor,
            repeats,
        )


def time_crossnobis(work, repeats):
    """Cross-validated distances against loops over stimuli and partitions."""
    trials = work.trials
    n_features = trials.shape[2]
    root = work.rng.standard_normal((n_features, 2 * n_features))
    noise = root @ root.T / n_features

    def slow():
        precision = np.linalg.inv(noise)
        distances = []
        for i, j in itertools.combinations(range(len(trials)), 2):
            products = [
                (trials[i, a] - trials[j, a])
                @ precision
                @ (trials[i, b] - trials[j, b])
                for a, b in itertools.permutations(range(trials.shape[1]), 2)
            ]
            distances.append(np.mean(products) / n_features)
        return distances

    fast = partial(make_crossnobis_rdm, trials, noise_covariance=noise)
    compare(f"crossnobis, {trials.shape}", fast, slow, repeats)


def time_comparisons(work, repeats):
    """All models with all subjects against SciPy, one pair at a time."""
    models, people = work.models, work.people
    ties = np.round(models, 2)

    def tau_a(x, y):
        """From tau-b, by its definition."""
        n_pairs = len(x) * (len(x) - 1) / 2
        untied = [
            n_pairs - sum(c * (c - 1) / 2 for c in np.unique(z, return_counts=True)[1])
            for z in (x, y)
        ]
        return stats.kendalltau(x, y).statistic * np.sqrt(np.prod(untied)) / n_pairs

    pairs = f"{len(models)} models x {len(people)} subjects, {models.shape[1]} pairs"
    for measure, one in (
        ("spearman", lambda x, y: stats.spearmanr(x, y).statistic),
        ("kendall_tau_a", tau_a),
    ):
        compare(
            f"{measure}, {pairs}",
            partial(compare_rdms, ties, people, measure),
            lambda one=one: [[one(x, y) for y in people] for x in ties],
            repeats,
        )


def time_whitening(work, repeats):
    """The whitened cosine against its formula with the whole covariance."""
    models, people = work.models, work.people
    n = len(squareform(models[0]))
    i, j = np.triu_indices(n, 1)

    def slow():
        contrasts = np.zeros((len(i), n))
        contrasts[np.arange(len(i)), i] = 1
        contrasts[np.arange(len(i)), j] = -1
        covariance = (contrasts @ contrasts.T) ** 2
        solved = np.linalg.solve(covariance, np.concatenate([models, people]).T)
        a, b = solved[:, : len(models)], solved[:, len(models) :]
        lengths = np.outer(
            np.einsum("ij,ji->i", models, a), np.einsum("ij,ji->i", people, b)
        )
        return models @ b / np.sqrt(lengths)

    fast = partial(compare_rdms, models, people, "whitened_cosine")
    compare(f"whitened cosine, {n} stimuli", fast, slow, 1 if n > 60 else repeats)


def time_bootstrap(work, repeats):
    """Resampled stimuli and subjects, scores and ceilings, against a plain loop."""
    models, people = work.models, work.people
    n = len(squareform(models[0]))
    n_bootstrap, n_slow = 200, 4

    def resampled(rdm, stimuli):
        square = squareform(rdm)
        np.fill_diagonal(square, np.nan)
        return square[np.ix_(stimuli, stimuli)][np.triu_indices(n, 1)]

    def slow():
        rng = np.random.default_rng(0)
        draws = []
        for _ in range(n_slow):
            drawn = rng.integers(0, n, n), rng.integers(0, len(people), len(people))
            whole = np.arange(n), np.arange(len(people))
            for stimuli, subjects in (
                (drawn[0], whole[1]),
                (whole[0], drawn[1]),
                drawn,
            ):
                rivals, rows = (
                    np.stack([resampled(rdm, stimuli) for rdm in rdms])
                    for rdms in (models, people[subjects])
                )
                used = ~np.isnan(rows[0])
                rivals, rows = rivals[:, used], rows[:, used]
                scores = [
                    np.mean([stats.spearmanr(x, y).statistic for y in rows])
                    for x in rivals
                ]
                ranks = np.stack([stats.rankdata(row) for row in rows])
                lower, upper = [], []
                for k, row in enumerate(rows):
                    others = ranks[subjects != subjects[k]].mean(axis=0)
                    lower.append(stats.spearmanr(row, others).statistic)
                    everyone = ranks.mean(axis=0)
                    upper.append(stats.spearmanr(row, everyone).statistic)
                draws.append([*scores, np.mean(lower), np.mean(upper)])
        return draws

    def fast():
        rng = np.random.default_rng(0)
        found = bootstrap_rsa(models, people, n_bootstrap=n_bootstrap, rng=rng)
        kinds = [found.bootstrap.draws[kind] for kind in ("images", "subjects", "both")]
        return np.stack(kinds, axis=1)

    compare(
        f"bootstrap of both, {n_bootstrap} resamples of three kinds",
        fast,
        slow,
        repeats,
        part=n_slow / n_bootstrap,
        of_part=lambda values: values[:n_slow],
    )


def time_permutations(work, repeats):
    """Exchanged labels against a plain loop."""
    models, people = work.models, work.people
    n = len(squareform(models[0]))
    n_permutations, n_slow = 1000, 10

    def slow():
        rng = np.random.default_rng(0)
        orders = np.tile(np.arange(n), (n_permutations, 1))
        orders[1:] = rng.permuted(orders[1:], axis=1)
        null = []
        for order in orders[:n_slow]:
            moved = [squareform(squareform(r)[np.ix_(order, order)]) for r in people]
            null.append(
                [
                    np.mean([stats.spearmanr(x, y).statistic for y in moved])
                    for x in models
                ]
            )
        return null

    def fast():
        rng = np.random.default_rng(0)
        return permute_stimuli(
            models, people, n_permutations=n_permutations, rng=rng
        ).null

    compare(
        f"{n_permutations} permutations",
        fast,
        slow,
        repeats,
        part=n_slow / n_permutations,
        of_part=lambda values: values[:n_slow],
    )


def time_ceilings(work, repeats):
    """Ceilings of Spearman's correlation against SciPy."""

    def slow():
        ranks = np.stack([stats.rankdata(row) for row in work.people])
        bounds = []
        for k, row in enumerate(work.people):
            others = np.delete(ranks, k, axis=0).mean(axis=0)
            pair = [stats.spearmanr(row, m) for m in (others, ranks.mean(axis=0))]
            bounds.append([found.statistic for found in pair])
        return np.array(bounds).T

    def fast():
        found = rdm_ceiling(work.people)
        return found.lower_per_subject, found.upper_per_subject

    compare(f"ceiling of {len(work.people)} subjects", fast, slow, repeats)


def time_cka(work, repeats):
    """CKA of few features of many stimuli against Gram matrices."""
    rng = work.rng
    x, y = rng.standard_normal((2, 2000, 64))

    def slow():
        n = len(x)
        centre = np.eye(n) - 1 / n
        grams = [centre @ (z @ z.T) @ centre for z in (x, y)]
        a, b = grams
        return np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))

    compare(f"linear CKA, {x.shape}", partial(linear_cka, x, y), slow, repeats)


def time_sign_flips(work, repeats):
    """Sign flips of 8 subjects in many voxels against SciPy."""
    values = work.rng.standard_normal((8, 20_000)) + 0.5
    n_slow = 2000

    def slow():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return stats.permutation_test(
                (values[:, :n_slow],),
                lambda x, axis: x.mean(axis),
                permutation_type="samples",
                vectorized=True,
            ).pvalue

    compare(
        f"sign flips, {values.shape}, all 256",
        lambda: sign_flip_test(values, rng=np.random.default_rng(0)).p_value,
        slow,
        repeats,
        part=n_slow / values.shape[1],
        of_part=lambda p: p[:n_slow],
    )


# A further section: a function of a workload and the number of repeats, named here.
SECTIONS = {
    "rdms": time_rdms,
    "crossnobis": time_crossnobis,
    "comparisons": time_comparisons,
    "whitening": time_whitening,
    "ceilings": time_ceilings,
    "bootstrap": time_bootstrap,
    "permutations": time_permutations,
    "cka": time_cka,
    "sign_flips": time_sign_flips,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by comma")
    parser.add_argument("--stimuli", type=int, default=92)
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(SECTIONS):
        parser.error(f"unknown sections {sorted(unknown)}; known are {list(SECTIONS)}")
    sizes = arguments.stimuli, arguments.subjects, arguments.models
    work = make_workload(*sizes, arguments.seed)
    print("{} stimuli, {} subjects, {} models".format(*sizes))
    for name in names:
        SECTIONS[name](work, arguments.repeats)


if __name__ == "__main__":
    main()
