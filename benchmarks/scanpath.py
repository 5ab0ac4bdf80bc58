"""Time measures of scanpaths on all pairs against pair-by-pair implementations.

Both run in this process on one thread, interleaved; CPU seconds, median over the
repeats. The slow implementation gets a random subset of the pairs, the same in every
repeat, and its time is scaled to all pairs; values must agree on the subset.

    OMP_NUM_THREADS=1 python benchmarks/scanpath.py [--only multimatch,scanmatch]
        [--scanpaths 200] [--subset 400] [--repeats 5] [--seed 0]
"""

import argparse
import math
import statistics
import time
from dataclasses import dataclass
from functools import partial

import multimatch_gaze
import numpy as np

from analysis.multimatch import Simplification, multimatch
from analysis.scanpath_sets import ScanpathSet, pack_scanpaths
from analysis.scanpath_strings import cell_scanmatch, levenshtein, sequence_score
from analysis.scanpath_symbols import expand_by_duration, grid_cells, scanmatch_cells
from neurovis.core.rng import generator


@dataclass(frozen=True)
class Workload:
    """Simulated predictions and humans of one kind of experiment."""

    name: str
    screen_px: tuple[int, int]
    grid: tuple[int, int]  # rows, columns
    pred: ScanpathSet
    human: ScanpathSet
    subset: np.ndarray  # pairs for the slow implementation


def make_workloads(n, n_subset, seed):
    """Simulate free viewing of photographs and long search of large displays."""

    def short(rng):
        return np.clip(rng.normal(9, 2, n).round().astype(int), 3, 15)

    def long(rng):
        return np.clip(rng.lognormal(2.3, 0.7, n).round().astype(int), 3, 55)

    kinds = (
        ("OSIE-like", (800, 600), (12, 16), short),
        ("Amazon-like", (2560, 1600), (6, 14), long),
    )
    works = []
    for name, screen, grid, lengths in kinds:
        rng = generator(seed, "scanpath benchmark", name)
        sets = [simulate(lengths(rng), screen, rng) for _ in range(2)]
        chosen = rng.choice(n * n, min(n_subset, n * n), replace=False)
        subset = np.column_stack(np.divmod(chosen, n))
        works.append(Workload(name, screen, grid, *sets, subset))
    return works


def simulate(lengths, screen_px, rng):
    """Simulate scanpaths: saccades of log-normal size in any direction, on screen."""
    paths, screen = [], np.array(screen_px)
    for n in lengths:
        points = [rng.uniform(0, screen)]
        while len(points) < n:
            size = 0.15 * math.hypot(*screen_px) * rng.lognormal(0, 0.6)
            angle = rng.uniform(0, 2 * math.pi)
            point = points[-1] + size * np.array([math.cos(angle), math.sin(angle)])
            if ((point >= 0) & (point < screen)).all():
                points.append(point)
        durations_ms = rng.gamma(4, 65, n).round() + 50
        paths.append(np.column_stack([points, durations_ms]))
    return pack_scanpaths(paths)


def cpu_seconds(function):
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def compare(title, work, fast, slow, repeats):
    """Time `fast()`, a matrix of all pairs, and `slow(i, j)` on the subset.

    Prints both times, their ratio, and how far the values are apart.
    """
    fast(), slow(*work.subset[0])  # what is loaded or kept at the first call
    ours, theirs = [], []
    for _ in range(repeats):
        seconds, matrix = cpu_seconds(fast)
        ours.append(seconds)
        seconds, values = cpu_seconds(lambda: [slow(i, j) for i, j in work.subset])
        theirs.append(seconds)
    n_pairs = len(work.pred) * len(work.human)
    mine = statistics.median(ours)
    scaled = statistics.median(theirs) / len(work.subset) * n_pairs
    found, expected = matrix[tuple(work.subset.T)], np.array(values, float)
    undefined = np.isnan(found) != np.isnan(expected)
    print(
        f"{title}, {work.name}: {n_pairs} pairs in {mine * 1e3:.1f} ms "
        f"({min(ours) * 1e3:.1f} to {max(ours) * 1e3:.1f}; "
        f"{mine / n_pairs * 1e6:.2f} us per pair) against {scaled:.2f} s, scaled from "
        f"{len(work.subset)} pairs in {statistics.median(theirs):.2f} s "
        f"({min(theirs):.2f} to {max(theirs):.2f}): {scaled / mine:.0f}x; largest "
        f"difference {np.nanmax(np.abs(found - expected)):.1e}, undefined on one side "
        f"only: {undefined.sum()}",
        flush=True,
    )


def time_multimatch(work, repeats):
    """MultiMatch against the package multimatch-gaze, without and with grouping."""
    records = [
        [record(paths, i) for i in range(len(paths))]
        for paths in (work.pred, work.human)
    ]
    diagonal = math.hypot(*work.screen_px)
    for title, rule in (("MultiMatch", None), ("MultiMatch grouped", Simplification())):

        def slow(i, j, rule=rule):
            grouping = {}
            if rule:
                grouping = {
                    "grouping": True,
                    "TDir": rule.direction_deg,
                    "TDur": rule.duration_ms / 1000,
                    "TAmp": rule.amplitude * diagonal,
                }
            pair = records[0][i], records[1][j]
            try:
                return multimatch_gaze.docomparison(*pair, work.screen_px, **grouping)
            except IndexError:  # its grouping fails on some scanpaths
                return np.full(5, np.nan)

        fast = partial(
            multimatch, work.pred, work.human, screen_px=work.screen_px, simplify=rule
        )
        compare(title, work, fast, slow, repeats)


def record(paths, i):
    """Return a scanpath as multimatch-gaze wants it, durations in seconds."""
    n = paths.n_fixations[i]
    names = ("start_x", "start_y", "duration")
    values = (paths.x_px, paths.y_px, paths.duration_ms / 1000)
    array = np.empty(n, [(name, float) for name in names])
    for name, value in zip(names, values, strict=True):
        array[name] = value[i, :n]
    return array


def strings(symbols):
    """Return symbols as lists, for implementations that take one pair."""
    return [
        row[:n].tolist()
        for row, n in zip(symbols.symbols, symbols.n_symbols, strict=True)
    ]


def needleman_wunsch(a, b, gain):
    """Fill the table of scores cell by cell; return its largest value."""
    scores = np.zeros((len(a) + 1, len(b) + 1))
    for i, p in enumerate(a, 1):
        for j, q in enumerate(b, 1):
            paired = scores[i - 1, j - 1] + gain(p, q)
            scores[i, j] = max(paired, scores[i - 1, j], scores[i, j - 1])
    return scores.max()


def time_scanmatch(work, repeats):
    """ScanMatch, without and with durations, against a loop over the cells."""
    n_rows, n_columns = work.grid
    row, column = np.divmod(np.arange(n_rows * n_columns), n_columns)
    gains = 3.5 - np.hypot(row[:, None] - row, column[:, None] - column)
    cells = [
        scanmatch_cells(paths, screen_px=work.screen_px, grid=work.grid)
        for paths in (work.pred, work.human)
    ]
    timed = [
        expand_by_duration(symbols, paths.duration_ms, 100, rounding="nearest")
        for symbols, paths in zip(cells, (work.pred, work.human), strict=True)
    ]
    for title, sets in (("ScanMatch", cells), ("ScanMatch 100 ms", timed)):
        lists = [strings(symbols) for symbols in sets]

        def slow(i, j, lists=lists):
            a, b = lists[0][i], lists[1][j]
            best = needleman_wunsch(a, b, lambda p, q: gains[p, q])
            return best / (3.5 * max(len(a), len(b)))

        fast = partial(cell_scanmatch, *sets, grid=work.grid)
        compare(title, work, fast, slow, repeats)


def time_sequence_score(work, repeats):
    """Sequence score and edit distance against loops over the cells."""
    sets = [
        grid_cells(paths, screen_px=work.screen_px, grid=work.grid)
        for paths in (work.pred, work.human)
    ]
    lists = [strings(symbols) for symbols in sets]

    def slow_score(i, j):
        a, b = lists[0][i], lists[1][j]
        return needleman_wunsch(a, b, lambda p, q: p == q) / max(len(a), len(b))

    def slow_edits(i, j):
        a, b = lists[0][i], lists[1][j]
        previous = list(range(len(b) + 1))
        for row, p in enumerate(a, 1):
            current = [row]
            for k, q in enumerate(b, 1):
                replaced = previous[k - 1] + (p != q)
                current.append(min(replaced, previous[k] + 1, current[-1] + 1))
            previous = current
        return previous[-1]

    compare("Sequence score", work, partial(sequence_score, *sets), slow_score, repeats)
    compare("Edit distance", work, partial(levenshtein, *sets), slow_edits, repeats)


# A further section: a function of a workload and the number of repeats, named here.
SECTIONS = {
    "multimatch": time_multimatch,
    "scanmatch": time_scanmatch,
    "sequence_score": time_sequence_score,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by comma")
    parser.add_argument("--scanpaths", type=int, default=200, help="per side")
    parser.add_argument("--subset", type=int, default=400, help="pairs for the slow")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(SECTIONS):
        parser.error(f"unknown sections {sorted(unknown)}; known are {list(SECTIONS)}")
    works = make_workloads(arguments.scanpaths, arguments.subset, arguments.seed)
    for work in works:
        n = np.concatenate([work.pred.n_fixations, work.human.n_fixations])
        print(
            f"{work.name}: {n.mean():.1f} fixations (sd {n.std():.1f}, {n.min()} to "
            f"{n.max()}), screen {work.screen_px}, grid {work.grid}"
        )
    for name in names:
        for work in works:
            SECTIONS[name](work, arguments.repeats)


if __name__ == "__main__":
    main()
