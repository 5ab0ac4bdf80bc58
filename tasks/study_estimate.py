"""What a study will take: jobs, memory, disk and time, before anything runs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.study_tasks import SWEEP_TASKS
from tasks.sweep_keys import KeyedJob
from tasks.sweep_records import SweepFolder

MEASURED, STATED, USUAL = "measured", "stated", "a rough guess"


@dataclass(frozen=True)
class Estimate:
    """What the jobs of a sweep that are not finished will take.

    Parameters
    ----------
    table : DataFrame
        One row per experiment: `task`, `jobs`, `finished`, `memory_gib` (of one job),
        `gpus`, `minutes` and `disk_mib` (of one job) and `source` of the minutes:
        "measured" on jobs of the same experiment that are finished in this folder,
        "stated" by the study, or "a rough guess" for the defaults of the experiment.
    n_workers : int
        Jobs at a time.
    """

    table: pd.DataFrame
    n_workers: int

    @property
    def n_left(self) -> int:
        """Jobs that are not finished."""
        return int((self.table["jobs"] - self.table["finished"]).sum())

    @property
    def memory_gib(self) -> float:
        """Memory of all workers together."""
        return float(self.table["memory_gib"].max() * self.n_workers)

    @property
    def disk_mib(self) -> float:
        """Disk that the remaining jobs will fill."""
        left = self.table["jobs"] - self.table["finished"]
        return float((left * self.table["disk_mib"]).sum())

    @property
    def minutes(self) -> float:
        """Time until the last job ends, if jobs share out evenly."""
        left = self.table["jobs"] - self.table["finished"]
        longest = float(self.table["minutes"].where(left > 0, 0.0).max())
        return max(
            float((left * self.table["minutes"]).sum()) / self.n_workers, longest
        )

    def lines(self) -> list[str]:
        """Return the estimate as text.

        Returns
        -------
        list of str
            One line per experiment, and the sum.
        """
        lines = []
        for row in self.table.to_dict("records"):
            gpu = ", 1 GPU" if row["gpus"] else ""
            jobs = f"{_jobs(row['jobs'])}, {row['finished']} finished"
            lines.append(
                f"{row['task']}: {jobs}; each about {_time(row['minutes'])}, "
                f"{row['memory_gib']:.3g} GiB memory, "
                f"{_size(row['disk_mib'])} disk{gpu} ({row['source']})"
            )
        return [
            *lines,
            f"{_jobs(self.n_left)} to do, {self.n_workers} at a time: about "
            f"{_time(self.minutes)}, {self.memory_gib:.3g} GiB memory, "
            f"{_size(self.disk_mib)} disk",
        ]


def _jobs(number: int) -> str:
    return f"{number} job{'s' * (number != 1)}"


def _size(mib: float) -> str:
    return f"{mib:.3g} MiB" if mib < 1024 else f"{mib / 1024:.3g} GiB"


def _time(minutes: float) -> str:
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def estimate_sweep(
    keyed: Sequence[KeyedJob], folder: SweepFolder, *, n_workers: int
) -> Estimate:
    """Estimate what the rest of a sweep will take.

    Parameters
    ----------
    keyed : sequence of KeyedJob
        Jobs.
    folder : SweepFolder
        Its folder; may be missing.
    n_workers : int
        Jobs at a time.

    Returns
    -------
    Estimate
        For the jobs that are not finished.
    """
    store = folder.store
    rows = []
    for task in dict.fromkeys(each.job.task for each in keyed):
        jobs = [each for each in keyed if each.job.task == task]
        done = [each for each in jobs if each.key in store]
        needs = [each.job.resources for each in jobs]
        usual = SWEEP_TASKS[task]
        stated = [need.minutes for need in needs if need.minutes is not None]
        minutes = np.mean(stated) if stated else usual.minutes
        disk_mib = np.mean([need.disk_mib or usual.disk_mib for need in needs])
        ends = [folder.attempts(each.name)[-1:] for each in done]
        seconds = [end.seconds for last in ends for end in last if end.seconds]
        if seconds:
            minutes = np.median(seconds) / 60
            disk_mib = np.mean([_size_mib(store.root / each.key) for each in done])
        rows.append(
            {
                "task": task,
                "jobs": len(jobs),
                "finished": len(done),
                "memory_gib": max(need.memory_gib for need in needs),
                "gpus": max(need.gpus for need in needs),
                "minutes": float(minutes),
                "disk_mib": float(disk_mib),
                "source": MEASURED if seconds else STATED if stated else USUAL,
            }
        )
    return Estimate(pd.DataFrame(rows), n_workers)


def _size_mib(folder: Path) -> float:
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(sizes) / 2**20


def free_disk_mib(folder: Path) -> float:
    """Return the free space where a folder is, or will be.

    Parameters
    ----------
    folder : Path
        Folder; may be missing.

    Returns
    -------
    float
        MiB.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    state = os.statvfs(place)
    return state.f_bavail * state.f_frsize / 2**20
