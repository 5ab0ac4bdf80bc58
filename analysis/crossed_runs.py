"""Pictures crossed with runs of a system: every run was tested on every picture.

Runs of a network stand for its population as subjects do: `analysis.crossed_bootstrap`
resamples both.
"""

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.crossed_bootstrap import CrossedBootstrap, bootstrap_crossed
from neurovis.core.checks import check_between, check_option, check_whole

FloatArray = NDArray[np.float64]

RESAMPLED = MappingProxyType({"both": "both", "images": "images", "runs": "subjects"})
"""What can be resampled, and how `bootstrap_crossed` calls it."""


def crossed_values(table: pd.DataFrame, value: str) -> FloatArray:
    """Arrange values as pictures by runs.

    Parameters
    ----------
    table : DataFrame
        One row per picture and run: `stimulus_id`, `run`, `value`.
    value : str
        Column to arrange.

    Returns
    -------
    ndarray of float64, shape (n_images, n_runs)
        Sorted by identity and run.

    Raises
    ------
    ValueError
        If a picture comes twice in a run, or runs differ in their pictures.
    """
    if table.duplicated(["run", "stimulus_id"]).any():
        twice = table[table.duplicated(["run", "stimulus_id"])].iloc[0]
        raise ValueError(
            f"The picture {twice['stimulus_id']!r} comes twice in run {twice['run']!r}."
        )
    wide = table.pivot_table(
        index="stimulus_id", columns="run", values=value, aggfunc="first"
    ).astype(np.float64)
    if wide.isna().to_numpy().any() or wide.size != len(table):
        raise ValueError(
            "Every run must have the same pictures, with known values; "
            f"{wide.size} values are needed and {len(table)} rows came. Keep the "
            "pictures that all runs have."
        )
    return wide.to_numpy()


def paired_values(
    table: pd.DataFrame, value: str, systems: Sequence[str]
) -> FloatArray:
    """Arrange values as pictures by runs by systems.

    Parameters
    ----------
    table : DataFrame
        One row per picture, run and system.
    value : str
        Column to arrange.
    systems : sequence of str
        Names in the column `system`, in the order of the last axis.

    Returns
    -------
    ndarray of float64, shape (n_images, n_runs, n_systems)
        Sorted by identity and run.

    Raises
    ------
    ValueError
        If the systems differ in pictures or runs, or as `crossed_values`.
    """
    parts = [table[table["system"] == system] for system in systems]
    units = [
        tuple(sorted(set(part[name])) for name in ("stimulus_id", "run"))
        for part in parts
    ]
    for system, unit in zip(systems, units, strict=True):
        if unit != units[0]:
            raise ValueError(
                f"{systems[0]!r} and {system!r} must have the same pictures and runs: "
                f"{len(units[0][0])} pictures in {len(units[0][1])} runs are not the "
                f"{len(unit[0])} in {len(unit[1])}. Keep what both have."
            )
    return np.stack([crossed_values(part, value) for part in parts], axis=-1)


def bootstrap_hits(
    values: FloatArray,
    over: str,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> CrossedBootstrap:
    """Resample pictures and runs of mean values.

    Parameters
    ----------
    values : ndarray of float64, shape (n_images, n_runs, ...)
        What is averaged over both.
    over : {"both", "images", "runs"}
        What to resample.
    n_bootstrap : int
        Number of resamples.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    CrossedBootstrap
        Its "subjects" are the runs.
    """
    n_images, n_runs = values.shape[:2]
    flat = values.reshape(n_images, -1)

    def mean_over(images: NDArray[np.intp]) -> FloatArray:
        weights = np.bincount(images, minlength=n_images) / len(images)
        return np.asarray(weights @ flat).reshape(values.shape[1:])

    return bootstrap_crossed(
        mean_over,
        n_images,
        n_runs,
        over=RESAMPLED[over],
        n_bootstrap=n_bootstrap,
        rng=rng,
    )


def check_options(
    over: str, n_bootstrap: int, coverage: float, *, least: int = 0
) -> None:
    """Raise unless these arguments of an interval are in range.

    Parameters
    ----------
    over : str
        "both", "images" or "runs".
    n_bootstrap : int
        `least` or more.
    coverage : float
        0..1.
    least : int, default 0
        Smallest number of resamples.

    Raises
    ------
    TypeError, ValueError
        If one is not.
    """
    check_option("over", over, tuple(RESAMPLED))
    check_whole("n_bootstrap", n_bootstrap, low=least)
    check_between("coverage", coverage, low=0, high=1)
