"""The tables that a comparison of foveated systems left."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurovis.core.checks import check_path
from neurovis.core.files import read_table
from neurovis.core.types import Provenance
from tasks.foveation import TASK
from tasks.foveation_examples import TestPictures, find_test_pictures
from tasks.foveation_systems import PUBLISHED_NAMES, SYSTEMS
from tasks.runs import SCORE_FILES, load_scores

_NEEDED = (*SCORE_FILES, "systems.parquet", "curves.parquet", "accuracy.parquet")
_LIMITS = ["ci_low", "ci_high"]


@dataclass(frozen=True, eq=False)
class FoveationRun:
    """Tables of a finished comparison of foveated systems.

    Parameters
    ----------
    folder : Path
        Where it lies.
    stages, curves, accuracy, bias : DataFrame
        First stages, training, accuracies, and cross-overs (empty without cue
        conflicts); limits of intervals are cut at 0 and 1.
    directions, confusion : DataFrame or None
        None if no test was made for them.
    provenance : Provenance
        How it came about.
    """

    folder: Path
    stages: pd.DataFrame
    curves: pd.DataFrame
    accuracy: pd.DataFrame
    bias: pd.DataFrame
    directions: pd.DataFrame | None
    confusion: pd.DataFrame | None
    provenance: Provenance

    @property
    def call(self) -> Mapping[str, Any]:
        """What was asked for."""
        return self.provenance.call

    @property
    def last(self) -> int:
        """Epochs of the finished training."""
        return int(self.accuracy["epoch"].max())

    @cached_property
    def systems(self) -> list[str]:
        """Names in the order of all tables and figures."""
        return [name for name in SYSTEMS if name in set(self.stages["system"])]

    @cached_property
    def names(self) -> dict[str, str]:
        """Name of each system with that of the paper."""
        return {name: f"{name} ({PUBLISHED_NAMES[name]})" for name in self.systems}

    def cells(self, experiment: str, *, k: int = 1, final: bool = True) -> pd.DataFrame:
        """Return accuracies of one experiment.

        Parameters
        ----------
        experiment : str
            Which one.
        k : int, default 1
            Guesses that count.
        final : bool, default True
            Only after the last epoch.

        Returns
        -------
        DataFrame
            Rows of `accuracy`, systems in order.
        """
        table = self.accuracy
        rows = (table["experiment"] == experiment) & (table["k"] == k)
        if final:
            rows &= table["epoch"] == self.last
        return self._in_order(table[rows])

    def own_accuracy(self, *, k: int = 1, final: bool = True) -> pd.DataFrame:
        """Return accuracies of systems on pictures of their own kind.

        Parameters
        ----------
        k : int, default 1
            Guesses that count.
        final : bool, default True
            Only after the last epoch.

        Returns
        -------
        DataFrame
            Rows of `accuracy`, systems in order.
        """
        rows = self.cells("generalisation", k=k, final=final)
        return rows[rows["condition"] == rows["system"]].reset_index(drop=True)

    def bias_of(self, experiment: str, *, final: bool = True) -> pd.DataFrame:
        """Return cross-overs of one cue conflict.

        Parameters
        ----------
        experiment : str
            Which one.
        final : bool, default True
            Only after the last epoch.

        Returns
        -------
        DataFrame
            Rows of `bias`, systems in order.
        """
        rows = self.bias[self.bias["experiment"] == experiment]
        return self._in_order(rows[rows["epoch"] == self.last] if final else rows)

    def answers(self, experiment: str) -> pd.DataFrame:
        """Return what networks answered after the last epoch.

        Parameters
        ----------
        experiment : str
            Which test.

        Returns
        -------
        DataFrame
            One row per answer.
        """
        table = read_table(self.folder / "answers" / f"{experiment}.parquet")
        return table[table["epoch"] == self.last].reset_index(drop=True)

    @cached_property
    def pictures(self) -> TestPictures | None:
        """Test pictures, unless they were removed."""
        for experiment in self.call["experiments"]:
            if (self.folder / "answers" / f"{experiment}.parquet").is_file():
                answers = self.answers(experiment)
                return find_test_pictures(self.folder, self.systems, answers)
        return None

    def _in_order(self, rows: pd.DataFrame) -> pd.DataFrame:
        place = rows["system"].map({name: i for i, name in enumerate(self.systems)})
        order = np.argsort(place.to_numpy(), kind="stable")
        return rows.iloc[order].reset_index(drop=True)


def read_foveation_run(folder: str | Path) -> FoveationRun:
    """Read the tables of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.foveation.run_foveation` wrote.

    Returns
    -------
    FoveationRun
        Its tables.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    folder = check_path("results", folder, kind="folder")
    score = load_scores(folder, _NEEDED, TASK)
    stages, curves, accuracy = (read_table(folder / name) for name in _NEEDED[-3:])
    others: dict[str, pd.DataFrame] = {}
    for name in ("bias", "directions", "confusion"):
        path = folder / f"{name}.parquet"
        if path.is_file():
            others[name] = read_table(path)
    bias = others.get("bias", pd.DataFrame(columns=["experiment", "epoch", "system"]))
    for table in (accuracy, bias):
        if len(table):
            table[_LIMITS] = table[_LIMITS].clip(0, 1)
    return FoveationRun(
        folder,
        stages,
        curves,
        accuracy,
        bias,
        others.get("directions"),
        others.get("confusion"),
        score.provenance,
    )
