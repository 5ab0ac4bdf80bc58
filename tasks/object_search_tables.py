"""A finished object search as its report sees it: the run, and its tables in print."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.plot_style import number_text
from analysis.report import ReportTable
from neurovis.core.checks import check_path
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.object_displays import Display
from neurovis.core.object_scanpaths import KNOWLEDGE
from neurovis.core.types import HUMAN_MODEL
from stimuli.shelf_displays import draw_shelf
from tasks.object_models import MODELS
from tasks.object_search import load_object_run
from tasks.object_search_data import PUBLISHED_FOLDS, ObjectSearchData
from tasks.object_search_inputs import read_source, search_data, split_data
from tasks.object_search_scores import LEAVE_ONE_OUT, LEAVE_ONE_OUT_RAW
from tasks.runs import Run
from tasks.simulated_search import SimulatedSearch, simulated_shelves

TOLD = {
    "none": "nothing of the target",
    "recognition": "whether the fixated object is the target",
    "appearance": "what the target and all objects look like",
    "position": "where the target is",
}
"""`KNOWLEDGE` in words."""
SHOWN = ("human_nearest_target", "nearest_unvisited_oracle_stop", "saccade_markov")
"""Heuristics that are worth a look beside models of one's own."""
SURPRISE = {
    "nats_per_token": ("Nats per token (less is better)", 3),
    "perplexity": ("Perplexity (less is better)", 1),
}
"""Measures, as `score_table` takes them: printed name and decimals."""
SCANPATHS = {
    "SS": ("SS", 3),
    "nFED": ("nFED (less is better)", 3),
    "ScanMatch": ("ScanMatch", 3),
    "STDE": ("STDE", 3),
}
MULTIMATCH = {
    "MM_vector": ("Vector", 3),
    "MM_direction": ("Direction", 3),
    "MM_length": ("Length", 3),
    "MM_position": ("Position", 3),
    "MM_avg": ("Mean", 3),
}
SEARCH = {
    "delta": ("Delta (less is better)", 3),
    "TFP10": ("TFP 10", 3),
    "TFP30": ("TFP 30", 3),
    "TFP_nAUC30": ("TFP, mean to 30", 3),
    "prob_mismatch30": ("Mismatch (less is better)", 2),
}
BEHAVIOUR = {
    "correct": ("Ends on target", 3),
    "length": ("Fixations", 2),
    "search": ("New object", 3),
    "refix": ("Same object", 3),
    "revisit": ("Seen before", 3),
}
_STATISTICS = {
    "n_fixations": ("Fixations", 1),
    "ends_on_target": ("Scanpaths that end on the target", 2),
    "refixation": ("Stays on the object", 3),
    "revisit": ("Goes back to an object", 3),
    "saccade_down": ("Saccade, up or down (cells)", 2),
    "saccade_right": ("Saccade, left or right (cells)", 2),
    "saccade": ("Saccade (cells)", 2),
    "target_from_1": ("Goes to the target from 1 cell", 3),
    "target_from_2": ("Goes to the target from 2 cells", 3),
    "target_from_3": ("Goes to the target from 3 cells", 3),
    "target_from_4": ("Goes to the target from 4 cells", 3),
    "stop_on_target": ("Stops when on the target", 3),
    "stop_elsewhere": ("Stops when elsewhere", 3),
    "start_down": ("Starts at, share of the height", 3),
    "start_right": ("Starts at, share of the width", 3),
}
_NAMES = {"SS": "SS", "ScanMatch": "ScanMatch", "nats_per_token": "Nats"}
# Models of one's own stand beside these in each fold: reference and measure.
_COMPARED = (
    ("human_nearest_target", "SS"),
    ("human_nearest_target", "ScanMatch"),
    ("displacement_jump_tokens", "nats_per_token"),
)
_MOST_FOLDS = 12


@dataclass(frozen=True)
class ObjectRun:
    """A finished run with what its report needs.

    Parameters
    ----------
    run : Run
        Its tables.
    models : DataFrame
        ``models.csv``: one row per model.
    data : ObjectSearchData
        All trials that it was made from.
    n_splits : int
        How many splits there are, used or not.
    simulation : SimulatedSearch, optional
        Where they come from, if not from people.
    """

    run: Run
    models: pd.DataFrame
    data: ObjectSearchData
    n_splits: int
    simulation: SimulatedSearch | None = None

    @property
    def who(self) -> str:
        """Whom models are compared with."""
        return "people" if self.simulation is None else "simulated observers"

    @property
    def one(self) -> str:
        """One of them."""
        return "person" if self.simulation is None else "simulated observer"

    @property
    def leaks(self) -> bool:
        """Whether models may have learnt from what they are tested on."""
        return self.run.provenance.call["folds"] in PUBLISHED_FOLDS

    @property
    def own(self) -> list[str]:
        """Models that are no baselines, in their order."""
        people = (LEAVE_ONE_OUT, LEAVE_ONE_OUT_RAW)
        return [n for n in self.models["baseline"] if n not in (*MODELS, *people)]

    @cached_property
    def displays(self) -> dict[str, Display]:
        """Displays by name."""
        return {t.display.stimulus_id: t.display for t in self.data.trials}

    @cached_property
    def _shelves(self) -> dict[str, dict[Hashable, Any]]:
        made = self.simulation
        if made is None:
            return {}
        rows = simulated_shelves(made).table.to_dict("records")
        return {str(row["stimulus_id"]): row for row in rows}

    def label(self, model: str) -> str:
        """Return a model as figures and tables print it.

        Parameters
        ----------
        model : str
            Name in the tables of the run.

        Returns
        -------
        str
            Whom models are compared with by name; untrained models are marked.
        """
        people = {
            HUMAN_MODEL: self.who,
            LEAVE_ONE_OUT: f"{self.who}, leave one out",
            LEAVE_ONE_OUT_RAW: f"{self.who}, where exactly they looked",
        }
        return people.get(model) or self.run.mark(model)

    def table(self, name: str) -> pd.DataFrame:
        """Read one of the tables of the run.

        Parameters
        ----------
        name : str
            File in its folder.

        Returns
        -------
        DataFrame
            Its content.

        Raises
        ------
        FileNotFoundError
            If it is gone.
        """
        return read_table(check_path(name, self.run.folder / name))

    def picture(self, stimulus: str) -> NDArray[np.uint8] | None:
        """Return a display as it is seen.

        Parameters
        ----------
        stimulus : str
            Name of the display.

        Returns
        -------
        ndarray of uint8, shape (H, W, 3), or None
            The generated shelf; None where pictures are not part of the data.
        """
        row = self._shelves.get(stimulus)
        return None if row is None else draw_shelf({str(k): v for k, v in row.items()})


def read_object_run(folder: str | Path) -> ObjectRun:
    """Read a finished run and the data that it was made from.

    Parameters
    ----------
    folder : str or Path
        Folder of the run.

    Returns
    -------
    ObjectRun
        Its models in order of what they are told.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run, or its data are gone.
    PermissionError
        If nothing can be written there.
    """
    run = load_object_run(folder)
    check_writable_folder(run.folder)
    models = read_table(check_path("models.csv", run.folder / "models.csv"))
    order = {name: place for place, name in enumerate((HUMAN_MODEL, *KNOWLEDGE))}
    models = models.sort_values("knows", key=lambda k: k.map(order), kind="stable")
    call = run.provenance.call
    source = read_source(call["data"])
    everything = search_data(source, call["appearance"])
    data, splits = split_data(everything, call["folds"], seed=call["seed"])
    simulation = source if isinstance(source, SimulatedSearch) else None
    return ObjectRun(run, models.reset_index(drop=True), data, len(splits), simulation)


def score_table(
    made: ObjectRun, columns: Mapping[str, tuple[str, int]], title: str
) -> ReportTable:
    """Return measures with standard errors, one row per model that has one.

    Parameters
    ----------
    made : ObjectRun
        A run.
    columns : mapping of str to tuple of str and int
        Measure to printed name and decimals.
    title : str
        What the table holds.

    Returns
    -------
    ReportTable
        The table.
    """
    rows = []
    # Simulated observers look at the centres of objects.
    exact = made.simulation is None and not {*columns}.isdisjoint(MULTIMATCH)
    for row in made.models.to_dict("records"):
        name = str(row["baseline"])
        again = name == LEAVE_ONE_OUT_RAW and not exact
        if again or all(pd.isna(row[metric]) for metric in columns):
            continue
        texts = {
            header: _with_error(row[metric], row[f"{metric}_se"], digits)
            for metric, (header, digits) in columns.items()
        }
        told = "–" if row["knows"] == HUMAN_MODEL else row["knows"]
        rows.append({"Model": made.label(name), "Told": told, **texts})
    return ReportTable(
        pd.DataFrame(rows),
        caption=f"{title}: mean ± standard error over displays.",
    )


def fold_table(made: ObjectRun, folds: pd.DataFrame) -> ReportTable:
    """Return how the values of each model differ among folds.

    Parameters
    ----------
    made : ObjectRun
        A run.
    folds : DataFrame
        ``folds.csv``.

    Returns
    -------
    ReportTable
        One row per model.
    """
    rows = []
    for model in made.models["baseline"]:
        if model == LEAVE_ONE_OUT_RAW:
            continue
        row = {"Model": made.label(model)}
        for metric, name in _NAMES.items():
            part = folds[(folds["model"] == model) & (folds["metric"] == metric)]
            values = part["value"].dropna()
            row[name] = _with_error(values.mean(), values.std(), 3)
            ends = [number_text(float(v), 3) for v in (values.min(), values.max())]
            row[f"{name}, range"] = " to ".join(ends) if len(values) else "–"
        rows.append(row)
    return ReportTable(
        pd.DataFrame(rows),
        caption="Mean over folds ± standard deviation over folds, and from the lowest "
        "to the highest fold. Folds differ in size, so that this mean is not quite "
        "that over trials.",
    )


def difference_tables(made: ObjectRun, folds: pd.DataFrame) -> list[ReportTable]:
    """Return models of one's own less a reference, fold by fold.

    Parameters
    ----------
    made : ObjectRun
        A run.
    folds : DataFrame
        ``folds.csv``.

    Returns
    -------
    list of ReportTable
        One table, or none where the references or such models are not there.
    """
    rows = []
    for reference, metric in _COMPARED:
        part = folds[folds["metric"] == metric]
        values = part.pivot_table(
            index="split", columns="model", values="value", sort=False
        )
        if reference not in values:
            continue
        for model in made.own:
            if model not in values:
                continue
            less = (values[model] - values[reference]).dropna()
            won = less < 0 if metric == "nats_per_token" else less > 0
            row = {
                "Model": made.label(model),
                "Less": reference,
                "Measure": _NAMES[metric],
                "Mean": _with_error(less.mean(), less.std(), 3),
                "Better in": f"{won.sum()} of {len(less)}",
            }
            if len(values) <= _MOST_FOLDS:
                row |= {str(k): number_text(float(v), 3) for k, v in less.items()}
            rows.append(row)
    if not rows:
        return []
    return [
        ReportTable(
            pd.DataFrame(rows),
            caption="Difference in each fold, with its mean ± standard deviation over "
            "folds. Both references are told where the target is. For nats, below 0 "
            "is better.",
        )
    ]


def statistics_table(made: ObjectRun) -> ReportTable:
    """Return how scanpaths start, move and stop, models side by side.

    Parameters
    ----------
    made : ObjectRun
        A run.

    Returns
    -------
    ReportTable
        Those of people first, then models of one's own, then some heuristics.
    """
    table = made.table("statistics.csv")
    order = dict.fromkeys([HUMAN_MODEL, *made.own, *SHOWN])
    models = [name for name in order if (table["model"] == name).any()]
    cells = table.set_index(["statistic", "model"])[["value", "standard_error"]]
    rows = []
    for statistic, (name, digits) in _STATISTICS.items():
        row = {"": name}
        for model in models:
            value, error = cells.loc[[(statistic, model)]].to_numpy(float)[0]
            row[made.label(model)] = _with_error(value, error, digits)
        rows.append(row)
    shown = pd.DataFrame(rows)
    return ReportTable(
        shown,
        caption="Mean ± standard error as if all cases were independent: true errors "
        "are larger. All models are in statistics.csv.",
        # Long names must break somewhere.
        headers={str(c): str(c).replace("_", "_\u200b") for c in shown.columns},
    )


def _with_error(value: float, error: float, digits: int) -> str:
    text = number_text(float(value), digits)
    return text if pd.isna(value) or pd.isna(error) else f"{text} ± {error:.{digits}f}"
