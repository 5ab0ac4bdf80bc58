"""Search slopes: feature, conjunction and 2-among-5 search beside people.

Displays in the manner of Wolfe, Palmer & Horowitz (2010, Vision Research 50,
1304-1311, doi:10.1016/j.visres.2009.11.002) are searched by models; fixations become
reaction times; slopes with and without a target, errors and distributions stand
beside those of people.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.reaction_times import filter_rts
from analysis.search_slopes import QUITTING_RULES
from analysis.slope_samples import design_cells
from analysis.slope_scores import slope_scores
from data_loaders.wolfe_search import load_wolfe_search
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.observers import Searcher, SearchRules, SearchTrial
from neurovis.core.store import Store
from neurovis.core.types import Score, StimulusSet
from stimuli.slope_arrays import item_areas, make_slope_arrays, target_area
from tasks.models import ModelSpec, check_names, model_specs, used_device
from tasks.runs import (
    SearchBlock,
    begin_run,
    is_untrained,
    run_provenance,
    save_run,
    search_blocks,
)

TASK = "search-slopes"
# Displays that are computed and kept together: the most an interruption costs.
DISPLAYS_PER_BLOCK = 4
# Landing this close to the cell of the target counts, pixels at 30 per degree.
TOLERANCE_PX = 10


def run_search_slopes(
    models: Sequence[ModelSpec | str],
    data: str | Path,
    out: str | Path,
    *,
    tasks: str | Sequence[str] = "all",
    trials: int = 20,
    quitting: str = "both",
    seed: int = 0,
    device: str = "auto",
    n_bootstrap: int = 1000,
) -> Score:
    """Run the experiment and leave tables in a folder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    models : sequence of ModelSpec or str
        Observers; a plain name takes the model's defaults (for networks the
        weights that come with the suite).
    data : str or Path
        Folder with the trials of people, see
        `data_loaders.wolfe_search.load_wolfe_search`.
    out : str or Path
        Folder for ``trials.parquet``, ``fixations.parquet``, ``scores.parquet``,
        ``provenance.json`` and the kept parts of the run.
    tasks : str or sequence of str, default "all"
        Of `stimuli.slope_arrays.SLOPE_TASKS`.
    trials : int, default 20
        Displays per task, set size and presence, at least 2.
    quitting : {"both", "exhaustive", "matched_misses"}
        When models answer "absent", see `analysis.search_slopes.quit_searches`.
    seed : int, default 0
        Seed of displays, observers, halves and bootstrap.
    device : str, default "auto"
        Where networks compute.
    n_bootstrap : int, default 1000
        Bootstrap samples of intervals.

    Returns
    -------
    Score
        Scores of every observer and of people, see
        `analysis.slope_scores.slope_scores`.

    Raises
    ------
    ValueError
        If an argument is wrong, people did not do all of `tasks`, or `out` holds a
        run with other arguments.
    FileNotFoundError, DataCorruptError
        If the data are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    Displays without a target are not searched: a model that recognises perfectly
    stops there only when it has inspected all items, or when its quitting rule ends
    the search, and both follow from the number of items and from the displays with
    a target.
    """
    specs = model_specs(models)
    check_whole("n_bootstrap", n_bootstrap, low=0)
    check_whole("seed", seed, low=0)
    check_whole("trials", trials, low=2)
    if isinstance(tasks, str) and tasks != "all":
        tasks = [tasks]
    check_option("quitting", quitting, ("both", *QUITTING_RULES))
    resolve(device)
    people = human_slope_trials(data)
    arguments = {
        "task": TASK,
        "models": [asdict(spec) for spec in specs],
        "data": str(Path(data).resolve()),
        "tasks": tasks if isinstance(tasks, str) else list(tasks),
        "trials": trials,
        "quitting": quitting,
        "seed": seed,
        "n_bootstrap": n_bootstrap,
    }
    displays = make_slope_arrays(tasks, trials=trials, seed=seed)
    _check_cells(people, displays.table)
    searchers = [spec.load(device) for spec in specs]
    check_names(searchers)
    folder = begin_run(out, arguments)
    shown = displays.table["target_present"].to_numpy(bool)
    blocks = _blocks(displays.select(np.flatnonzero(shown)))
    with deterministic():
        found = search_blocks(
            searchers, blocks, task=TASK, seed=seed, store=Store(folder / "parts")
        )
    fixations = [pd.concat(parts, ignore_index=True) for parts in found]
    searches = pd.concat(
        [
            _trials(searcher, table, displays.table)
            for searcher, table in zip(searchers, fixations, strict=True)
        ],
        ignore_index=True,
    )
    table = slope_scores(
        searches,
        people,
        rules=QUITTING_RULES if quitting == "both" else (quitting,),
        stimuli=f"{displays.name}:{displays.fingerprint[:12]}",
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    provenance = run_provenance(
        searchers,
        arguments,
        device=used_device(specs, device),
        fingerprints={"stimuli": displays.fingerprint},
        notes=[
            "Models recognise perfectly: their false alarms are 0 by construction, "
            "and they miss only by giving up.",
            "Sizes and places of items are recalled from the published experiment, "
            "not verified; shifts, strokes and colours are choices.",
        ],
    )
    score = Score(table, provenance)
    scanpaths = pd.concat(fixations, ignore_index=True)
    save_run(folder, trials=searches, score=score, fixations=scanpaths)
    return score


def human_slope_trials(data: str | Path) -> pd.DataFrame:
    """Read the trials of people.

    Parameters
    ----------
    data : str or Path
        See `data_loaders.wolfe_search.load_wolfe_search`.

    Returns
    -------
    DataFrame
        One row per trial: `subject`, `task`, `set_size`, `target_present`, `error`
        (bool), `rt_ms`, and more.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the data are missing or damaged.
    """
    table = load_wolfe_search(data).table
    return table.assign(error=~table["correct"].astype(bool))


def _check_cells(people: pd.DataFrame, displays: pd.DataFrame) -> None:
    """Raise unless people have usable times for every kind of display."""
    cells = design_cells(displays)
    usable = filter_rts(people).trials[list(cells.columns)]
    have = set(usable.itertuples(index=False, name=None))
    absent = [c for c in cells.itertuples(index=False, name=None) if c not in have]
    if absent:
        raise ValueError(
            f"`data` has no usable reaction time for (task, target present, set size) "
            f"{absent[0]}. Leave the task out of `tasks`, or complete the data."
        )


def slope_rules(width_px: int, n_items: int, background: int) -> SearchRules:
    """Return the rules of the search for displays of one size and number of items.

    Parameters
    ----------
    width_px : int
        Side of the square display.
    n_items : int
        Set size; the search may visit each item once.
    background : int
        Grey level of the ground.

    Returns
    -------
    SearchRules
        Reach = the display; sharpening as in the published orientation displays.
    """
    return SearchRules(
        eye_radius_px=width_px,
        max_saccades=n_items,
        tolerance_px=TOLERANCE_PX,
        background=background,
        layer_weighting="max",
        sharpening=((3, 1.0), (5, 3.0)),
    )


def slope_trial(stimuli: StimulusSet, index: int) -> SearchTrial:
    """Return one display with a target as a `Searcher` gets it.

    Parameters
    ----------
    stimuli : StimulusSet
        Displays of `stimuli.slope_arrays.make_slope_arrays`.
    index : int
        0-based row.

    Returns
    -------
    SearchTrial
        Display, target picture and areas.
    """
    row = stimuli.table.iloc[index]
    assert stimuli.targets is not None
    return SearchTrial(
        str(row["stimulus_id"]),
        stimuli.load(index),
        stimuli.targets[index],
        target_area(row),
        item_areas(row),
    )


def _blocks(displays: StimulusSet) -> list[SearchBlock]:
    """Cut displays into blocks of one set size."""
    blocks = []
    for _, rows in displays.table.groupby(["task", "set_size"], sort=False):
        for start in range(0, len(rows), DISPLAYS_PER_BLOCK):
            part = displays.select(list(rows.index[start : start + DISPLAYS_PER_BLOCK]))
            first = part.table.iloc[0]
            rules = slope_rules(
                int(first["width_px"]),
                int(first["set_size"]),
                int(first["background"]),
            )

            def load(part: StimulusSet = part) -> list[SearchTrial]:
                return [slope_trial(part, i) for i in range(len(part))]

            blocks.append(SearchBlock(part.fingerprint, rules, len(part), load))
    return blocks


def _trials(
    searcher: Searcher, fixations: pd.DataFrame, displays: pd.DataFrame
) -> pd.DataFrame:
    """Return searches without giving up; without a target all items are inspected."""
    groups = fixations.groupby("stimulus_id", sort=False)
    ids = displays["stimulus_id"]
    found = groups["found"].first().reindex(ids, fill_value=False).to_numpy(bool)
    made = groups["fixation"].max().reindex(ids).to_numpy()
    sizes = displays["set_size"].to_numpy()
    return pd.DataFrame(
        {
            "subject": searcher.name,
            "model": searcher.name,
            "untrained": is_untrained(searcher),
            "stimulus_id": ids.to_numpy(),
            "trial": np.arange(len(ids)),
            "task": displays["task"].to_numpy(),
            "set_size": sizes,
            "target_present": displays["target_present"].to_numpy(bool),
            "n_fixations": np.where(found, made, sizes).astype(int),
            "found": found,
            "response": pd.NA,
            "rt_ms": np.nan,
            "correct": pd.NA,
        }
    )
