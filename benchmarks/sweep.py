"""Time a sweep of small jobs against a plain loop over the same calls.

    loop     the experiment called in this process, job after job, nothing kept
    local:1  `neurovis sweep` on one worker process
    local:2  on two

All compute with one thread, interleaved; medians of wall seconds. Each is run with ten
jobs and with more, and the difference is divided by the further jobs: the start of
workers (some seconds) is no part of it. What a sweep adds to a job is that time, less
what the jobs themselves took, as their records tell.

    python benchmarks/sweep.py [--jobs 100] [--trials 2] [--repeats 3]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tasks.study import make_study
from tasks.study_calls import call_task
from tasks.sweep import run_sweep
from tasks.sweep_keys import key_jobs
from tasks.sweep_records import SweepFolder


def study_of(n_jobs, trials, first_seed=0):
    experiment = {
        "run": "search-asymmetry",
        "models": ["chance"],
        "seeds": [*range(first_seed, first_seed + n_jobs)],
        "options": {
            "conditions": ["curve_in_lines"],
            "trials": trials,
            "n_bootstrap": 100,
        },
        "resources": {"memory_gib": 1},
    }
    return make_study({"name": "benchmark", "experiments": [experiment]})


def time_loop(study):
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        for number, job in enumerate(study.jobs):
            call_task(
                job, Path(name) / str(number), store=Path(name) / "store", device="cpu"
            )
        return time.perf_counter() - start


def time_sweep(study, engine):
    """Return wall seconds, and those of the jobs alone."""
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        run_sweep(study, name, engine=engine, on_event=print)
        wall = time.perf_counter() - start
        folder = SweepFolder(Path(name))
        ends = [folder.attempts(each.name)[-1] for each in key_jobs(study)]
        return wall, sum(end.seconds for end in ends)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    few = study_of(10, options.trials)
    many = study_of(10 + options.jobs, options.trials)
    time_loop(few)
    loops, added, each = [], [], {"local:1": [], "local:2": []}
    for _ in range(options.repeats):
        loops.append((time_loop(many) - time_loop(few)) / options.jobs)
        for engine, times in each.items():
            first, first_work = time_sweep(few, engine)
            wall, work = time_sweep(many, engine)
            times.append((wall - first) / options.jobs)
            if engine == "local:1":
                added.append((wall - work - first + first_work) / options.jobs)
    loop = statistics.median(loops)
    print(f"loop     {1000 * loop:7.1f} ms per job")
    for engine, times in each.items():
        one = statistics.median(times)
        print(f"{engine}  {1000 * one:7.1f} ms per job, {loop / one:.2f} x the loop")
    print(f"a sweep adds {1000 * statistics.median(added):.1f} ms to a job")
    one, two = (statistics.median(times) for times in each.values())
    print(f"from one process to two: {one / two:.2f} x")


if __name__ == "__main__":
    main()
