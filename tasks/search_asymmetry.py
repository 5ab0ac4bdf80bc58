"""Search asymmetry: whether models find the odd item as people do.

Six experiments, each with two conditions in which target and distractors change
roles (Gupta et al., 2021, NeurIPS, arXiv:2106.02953). Every observer searches the
same displays under the same rules; saccades become reaction times; slopes and
asymmetry indices are compared with those of people.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.psychophysics import fixations_to_rt_ms
from analysis.search_scores import search_scores
from data_loaders.search_humans import load_human_rt
from neurovis.core.checks import check_columns, check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.observers import Searcher, SearchRules, SearchTrial
from neurovis.core.store import Store
from neurovis.core.types import FIXATION_COLUMNS, Responses, Score, StimulusSet
from stimuli.save import load_stimuli
from stimuli.search_arrays import item_areas, make_search_arrays, target_area
from stimuli.search_conditions import SEARCH_CONDITIONS
from tasks.models import ModelSpec, check_names, model_specs, used_device
from tasks.runs import (
    Run,
    SearchBlock,
    begin_run,
    is_untrained,
    load_run,
    run_provenance,
    save_run,
    search_blocks,
)

TASK = "search-asymmetry"
# Small and large Gaussian of the sharpening step (kernel, sigma), as published.
SHARPENING = {
    "curvature": ((3, 1.0), (5, 3.0)),
    "categorization": ((3, 1.0), (5, 3.0)),
    "intersection": ((5, 3.0), (7, 5.0)),
    "lightning_dir": ((3, 0.0), (5, 1.0)),
}
# Landing this close to the target's cell counts, pixels at 30 per degree.
TOLERANCE_PX = 10
# Trials that are computed and kept together: the most an interruption costs.
TRIALS_PER_SHARD = 5


def search_rules(row: Mapping[Any, Any]) -> SearchRules:
    """Return the rules of the published experiments for one display.

    Parameters
    ----------
    row : mapping
        Row of the table of `stimuli.search_arrays.make_search_arrays`.

    Returns
    -------
    SearchRules
        Reach = the display, one saccade per place and one more, 10 pixels of
        tolerance at 30 pixels per degree.
    """
    n_places = row["grid"] ** 2 if row["layout"] == "grid" else row["set_size"]
    scale = row["px_per_deg"] / 30.0
    return SearchRules(
        eye_radius_px=int(row["width_px"]),
        max_saccades=int(n_places) + 1,
        tolerance_px=round(TOLERANCE_PX * scale),
        background=int(row["background"]),
        layer_weighting="max",
        sharpening=SHARPENING[row["paradigm"]],
        px_per_deg=float(row["px_per_deg"]),
    )


def search_trial(stimuli: StimulusSet, index: int) -> SearchTrial:
    """Return one display as a `Searcher` gets it.

    Parameters
    ----------
    stimuli : StimulusSet
        Set of search arrays.
    index : int
        0-based row.

    Returns
    -------
    SearchTrial
        Display, target picture and areas.
    """
    if stimuli.targets is None:
        raise ValueError(f"{stimuli.name} has no target pictures to search for.")
    row = stimuli.table.iloc[index]
    return SearchTrial(
        str(row["stimulus_id"]),
        stimuli.load(index),
        stimuli.targets[index],
        target_area(row),
        item_areas(row),
    )


def run_searches(
    searchers: Sequence[Searcher],
    stimuli: StimulusSet,
    *,
    seed: int = 0,
    store: Store | None = None,
) -> Responses:
    """Let every observer search every display.

    Parameters
    ----------
    searchers : sequence of Searcher
        Observers with distinct names.
    stimuli : StimulusSet
        Set of search arrays.
    seed : int, default 0
        Seed of observers that draw.
    store : Store, optional
        Where finished trials are kept; with it an interrupted run resumes.

    Returns
    -------
    Responses
        Trials (see `trial_table`) and fixations, in the order of observers, then
        displays.

    Raises
    ------
    ValueError
        If two observers share a name, or one has that of people.
    """
    shards = list(_shards(stimuli.table))
    blocks = [_block(stimuli.select(rows)) for rows in shards]
    tables = search_blocks(searchers, blocks, task=TASK, seed=seed, store=store)
    trials = [
        trial_table(searcher, stimuli.table.iloc[rows], table)
        for searcher, parts in zip(searchers, tables, strict=True)
        for rows, table in zip(shards, parts, strict=True)
    ]
    fixations = [table for parts in tables for table in parts]
    return Responses(
        pd.concat(trials, ignore_index=True),
        pd.concat(fixations, ignore_index=True)[list(FIXATION_COLUMNS)],
    )


def _block(part: StimulusSet) -> SearchBlock:
    """Return displays of one condition as what is searched together."""

    def load() -> list[SearchTrial]:
        return [search_trial(part, i) for i in range(len(part))]

    rules = search_rules(part.table.iloc[0].to_dict())
    return SearchBlock(part.fingerprint, rules, len(part), load)


def _shards(table: pd.DataFrame) -> Iterator[list[int]]:
    """Split the rows, in order, into runs of one condition under one set of rules."""
    rows = table.to_dict("records")
    kinds = [(row["condition"], search_rules(row)) for row in rows]
    start = 0
    for end in range(1, len(rows) + 1):
        full = end - start == TRIALS_PER_SHARD
        if full or end == len(rows) or kinds[end] != kinds[start]:
            yield list(range(start, end))
            start = end


def trial_table(
    searcher: Searcher, stimuli: pd.DataFrame, fixations: pd.DataFrame
) -> pd.DataFrame:
    """Turn fixations into trials with reaction times.

    Parameters
    ----------
    searcher : Searcher
        Observer.
    stimuli : DataFrame
        Rows of the stimulus table.
    fixations : DataFrame
        Long table of fixations with the column `found`.

    Returns
    -------
    DataFrame
        One row per display: `n_fixations` counts those after the initial one; as
        published, a target that was not found counts as the largest set size of
        its condition. `rt_ms` is linear in it.
    """
    groups = fixations.groupby("stimulus_id", sort=False)
    saccades = groups["fixation"].max().reindex(stimuli["stimulus_id"]).to_numpy()
    found = groups["found"].first().reindex(stimuli["stimulus_id"]).to_numpy(bool)
    rows = stimuli.to_dict("records")
    limits = [search_rules(row).max_saccades for row in rows]
    # A target found with the very last saccade was not recorded (published rule).
    found = found & (saccades < np.array(limits))
    largest = [
        max(row["set_size"], *SEARCH_CONDITIONS[row["condition"]].set_sizes)
        for row in rows
    ]
    n_fixations = np.where(found, saccades, largest)
    factors = [
        "experiment",
        "experiment_name",
        "paradigm",
        "condition",
        "label",
        "set_size",
    ]
    return pd.DataFrame(
        {
            "subject": searcher.name,
            "stimulus_id": stimuli["stimulus_id"].to_numpy(),
            "trial": stimuli["trial"].to_numpy(),
            "response": np.where(found, "found", "not found"),
            "rt_ms": fixations_to_rt_ms(n_fixations),
            "correct": found,
            "model": searcher.name,
            "untrained": is_untrained(searcher),
            **{name: stimuli[name].to_numpy() for name in factors},
            "n_fixations": n_fixations,
            "found": found,
        }
    )


def run_search_asymmetry(
    models: Sequence[ModelSpec | str],
    out: str | Path,
    *,
    conditions: str | Sequence[str] = "all",
    trials: int | None = None,
    seed: int = 0,
    device: str = "auto",
    rendering: str = "published",
    jpeg: bool = False,
    stimuli: str | Path | None = None,
    n_bootstrap: int = 1000,
) -> Score:
    """Run the experiment and leave tables in a folder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    models : sequence of ModelSpec or str
        Observers; a plain name takes the model's defaults (for networks the
        weights that come with the suite).
    out : str or Path
        Folder for ``trials.parquet``, ``fixations.parquet``, ``scores.parquet``,
        ``provenance.json`` and the kept parts of the run.
    conditions : str or sequence of str, default "all"
        Conditions of `stimuli.search_conditions.SEARCH_CONDITIONS`.
    trials : int, optional
        Trials per set size; the published number by default.
    seed : int, default 0
        Seed of displays, observers and bootstrap.
    device : str, default "auto"
        Where networks compute.
    rendering : {"published", "smooth"}
        See `stimuli.search_arrays.make_search_arrays`.
    jpeg : bool, default False
        Pass displays through JPEG as the published files were.
    stimuli : str or Path, optional
        Folder of displays that were saved by `stimuli.save.save_stimuli`, instead
        of new ones; every picture is checked before anything is computed.
    n_bootstrap : int, default 1000
        Bootstrap samples of intervals.

    Returns
    -------
    Score
        Scores of every observer and of people.

    Raises
    ------
    ValueError
        If an argument is wrong, or `out` holds a run with other arguments.
    DataCorruptError
        If a saved display is damaged or not as it was made.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.
    """
    specs = model_specs(models)
    check_whole("n_bootstrap", n_bootstrap, low=0)
    check_whole("seed", seed, low=0)
    resolve(device)
    arguments = {
        "task": TASK,
        "models": [asdict(spec) for spec in specs],
        "conditions": conditions if isinstance(conditions, str) else list(conditions),
        "trials": trials,
        "seed": seed,
        "rendering": rendering,
        "jpeg": jpeg,
        "stimuli": None if stimuli is None else str(Path(stimuli).resolve()),
        "n_bootstrap": n_bootstrap,
    }
    displays = make_run_stimuli(arguments)
    searchers = [spec.load(device) for spec in specs]
    check_names(searchers)
    folder = begin_run(out, arguments)
    with deterministic():
        responses = run_searches(
            searchers, displays, seed=seed, store=Store(folder / "parts")
        )
    human = load_human_rt()
    table = search_scores(
        responses.table,
        human[human["experiment"].isin(responses.table["experiment"])],
        stimuli=f"{displays.name}:{displays.fingerprint[:12]}",
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    provenance = run_provenance(
        searchers,
        arguments,
        device=used_device(specs, device),
        fingerprints={"stimuli": displays.fingerprint},
    )
    score = Score(table, provenance)
    save_run(folder, trials=responses.table, score=score, fixations=responses.scanpaths)
    return score


def make_run_stimuli(arguments: Mapping[str, Any]) -> StimulusSet:
    """Make the displays of a run from its recorded arguments.

    Parameters
    ----------
    arguments : mapping
        The call in the provenance of a run.

    Returns
    -------
    StimulusSet
        The displays.

    Raises
    ------
    ValueError
        If a folder of displays is not one of search arrays, or is combined with
        options for making new ones.
    """
    if arguments["stimuli"] is not None:
        return _load_displays(arguments)
    return make_search_arrays(
        arguments["conditions"],
        trials=arguments["trials"],
        seed=arguments["seed"],
        rendering=arguments["rendering"],
        jpeg=arguments["jpeg"],
    )


def _load_displays(arguments: Mapping[str, Any]) -> StimulusSet:
    defaults = {
        "conditions": "all",
        "trials": None,
        "rendering": "published",
        "jpeg": False,
    }
    for name, default in defaults.items():
        if arguments[name] != default:
            raise ValueError(
                f"`{name}` makes new displays and cannot go with `stimuli`, a folder "
                "of saved ones."
            )
    displays = load_stimuli(arguments["stimuli"], verify=True)
    needed = ["condition", "set_size", "trial", "paradigm", "layout", "items"]
    check_columns(f"table of {arguments['stimuli']}", displays.table.columns, needed)
    for name in displays.table["condition"].unique():
        check_option("condition", name, tuple(SEARCH_CONDITIONS))
    return displays


def load_search_run(folder: str | Path) -> Run:
    """Read the tables of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run.

    Returns
    -------
    Run
        Its tables.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    ValueError
        If it holds a run of another experiment.
    """
    run = load_run(folder, TASK)
    check_columns("trials.parquet", run.trials.columns, ["model", "condition", "rt_ms"])
    return run
