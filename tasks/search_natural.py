"""Search in natural scenes: models beside people on the same pictures.

Every observer looks for the picture of a target in a scene, from the same starting
point and under the same rules. Compared are the share found by each saccade, the
sizes of saccades, which scenes are hard, and the scanpaths themselves.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.scanpath_measures import MeasureSettings
from analysis.scanpaths import score_scanpaths
from analysis.scene_search import scene_search_scores
from neurovis.adapters.search_loop import items_fixated
from neurovis.core.checks import check_between, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import sha256_json
from neurovis.core.log import progress
from neurovis.core.observers import SearchTrial
from neurovis.core.store import Store
from neurovis.core.types import (
    HUMAN_MODEL,
    SCORE_COLUMNS,
    Scanpath,
    Score,
)
from tasks.models import ModelSpec, check_names, model_specs, used_device
from tasks.runs import (
    SearchBlock,
    begin_run,
    is_untrained,
    run_provenance,
    save_run,
    search_blocks,
)
from tasks.search_scenes import Scenes, load_scenes, trial_fingerprint

TASK = "search-natural"
# Displays that are computed and kept together: the most an interruption costs.
DISPLAYS_PER_BLOCK = 4
MEASURES = (
    "scanmatch",
    "sequence_score",
    "edit_distance_normalised",
    "multimatch_mean",
    "multimatch_vector",
    "multimatch_direction",
    "multimatch_length",
    "multimatch_position",
    "stde",
    "dtw_px",
)
# Cells of ScanMatch and of the strings, rows and columns (Gupta et al., 2021).
SETTINGS = MeasureSettings(grid=(8, 12))


def run_search_natural(
    models: Sequence[ModelSpec | str],
    data: str | Path,
    out: str | Path,
    *,
    layout: str = "auto",
    dataset: str | None = None,
    displays: int | None = None,
    max_saccades: int | None = None,
    px_per_deg: float | None = None,
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
        Folder of pictures and people, see `tasks.search_scenes.load_scenes`.
    out : str or Path
        Folder for ``trials.parquet``, ``fixations.parquet`` (models and people, in
        pixels of the screen), ``scores.parquet``, ``provenance.json`` and the kept
        parts of the run.
    layout : {"auto", "interiors", "kreimanlab"}
        What kind of folder it is.
    dataset : str, optional
        Name of the set in the kreimanlab layout.
    displays : int, optional
        Take so many displays, spread evenly over the set; all by default.
    max_saccades : int, optional
        Most saccades of a search; 12 (interiors) or the published number.
    px_per_deg : float, optional
        Pixels of the screen per degree, where the default is not right.
    seed : int, default 0
        Seed of observers, chance and bootstrap.
    device : str, default "auto"
        Where networks compute.
    n_bootstrap : int, default 1000
        Bootstrap samples of intervals.

    Returns
    -------
    Score
        Scores of every observer, of people, and of chance.

    Raises
    ------
    ValueError
        If an argument is wrong, or `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError
        If the data are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.
    """
    specs = model_specs(models)
    check_whole("n_bootstrap", n_bootstrap, low=0)
    check_whole("seed", seed, low=0)
    resolve(device)
    scenes = load_scenes(
        data,
        layout=layout,
        dataset=dataset,
        max_saccades=max_saccades,
        px_per_deg=px_per_deg,
    )
    if displays is not None:
        check_between("displays", displays, low=1, high=len(scenes))
        scenes = scenes.select(spread_rows(len(scenes), displays))
    searchers = [spec.load(device) for spec in specs]
    check_names(searchers)
    arguments = {
        "task": TASK,
        "models": [asdict(spec) for spec in specs],
        "data": str(Path(data).resolve()),
        "layout": layout,
        "dataset": dataset,
        "displays": displays,
        "max_saccades": max_saccades,
        "px_per_deg": px_per_deg,
        "seed": seed,
        "n_bootstrap": n_bootstrap,
    }
    folder = begin_run(out, arguments)
    blocks = _blocks(scenes)
    with deterministic():
        found = search_blocks(
            searchers, blocks, task=TASK, seed=seed, store=Store(folder / "parts")
        )
    tables = [
        _on_screen(pd.concat(parts, ignore_index=True), scenes) for parts in found
    ]
    fixations = pd.concat([*tables, *_human_fixations(scenes)], ignore_index=True)
    trials = pd.concat(
        [
            *(
                _model_trials(searcher, table, scenes)
                for searcher, table in zip(searchers, tables, strict=True)
            ),
            *_human_trials(scenes),
        ],
        ignore_index=True,
    )
    fingerprint = sha256_json([block.fingerprint for block in blocks])
    table = natural_scores(
        trials, fixations, scenes, seed=seed, n_bootstrap=n_bootstrap
    )
    table["stimuli"] = f"{scenes.name}:{fingerprint[:12]}"
    untrained = trials.groupby("model")["untrained"].any()
    table["untrained"] = table["model"].map(untrained).fillna(False).astype(bool)
    people_notes = () if scenes.people is None else scenes.people.notes
    provenance = run_provenance(
        searchers,
        arguments,
        device=used_device(specs, device),
        fingerprints={"displays": fingerprint},
        notes=[*scenes.notes, *people_notes],
    )
    score = Score(table, provenance)
    save_run(folder, trials=trials, score=score, fixations=fixations)
    return score


def spread_rows(n: int, wanted: int) -> list[int]:
    """Return so many rows, spread evenly.

    Parameters
    ----------
    n : int
        Rows that there are.
    wanted : int
        Rows to take, 1..n.

    Returns
    -------
    list of int
        Increasing 0-based rows.

    Examples
    --------
    >>> spread_rows(10, 4)
    [0, 2, 5, 7]
    """
    return [int(row) for row in np.arange(wanted) * n / wanted]


def natural_scores(
    trials: pd.DataFrame,
    fixations: pd.DataFrame,
    scenes: Scenes,
    *,
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> pd.DataFrame:
    """Score a natural search: efficiency, saccades, difficulty, scanpaths.

    Parameters
    ----------
    trials, fixations : DataFrame
        Tables of a run, people included under the model "human".
    scenes : Scenes
        What was searched.
    seed : int, default 0
        Seed of chance, split halves and bootstrap.
    n_bootstrap : int, default 1000
        Resamples of displays.

    Returns
    -------
    DataFrame
        The columns of `neurovis.core.types.SCORE_COLUMNS` and more, see
        `analysis.scene_search.scene_search_scores` and
        `analysis.scanpaths.score_scanpaths`.
    """
    people = scenes.people
    n_saccades = int(min(scenes.rules.max_saccades, trials["max_saccades"].max()))
    parts = [
        scene_search_scores(
            trials,
            fixations,
            px_per_deg=scenes.px_per_deg,
            n_saccades=n_saccades,
            aligned=scenes.aligned,
            seed=seed,
            n_bootstrap=n_bootstrap,
        )
    ]
    if people is not None:
        is_human = fixations["model"] == HUMAN_MODEL
        scanpaths = score_scanpaths(
            fixations[~is_human],
            fixations[is_human],
            people.stimuli,
            measures=MEASURES,
            settings=SETTINGS,
            skip_first=True,
            seed=seed,
            n_bootstrap=n_bootstrap,
        )
        parts.append(scanpaths)
    table = pd.concat(parts, ignore_index=True)
    table["task"] = TASK
    first = [*SCORE_COLUMNS]
    return table[first + [c for c in table.columns if c not in first]]


def _blocks(scenes: Scenes) -> list[SearchBlock]:
    """Cut the displays into blocks; each picture is read once to be known by hash."""
    marks = []
    with progress(len(scenes), "reading", unit="display") as bar:
        for row in range(len(scenes)):
            marks.append(trial_fingerprint(scenes.make(row)))
            bar.update(1)
    blocks = []
    for start in range(0, len(scenes), DISPLAYS_PER_BLOCK):
        rows = range(start, min(start + DISPLAYS_PER_BLOCK, len(scenes)))

        def load(rows: range = rows) -> list[SearchTrial]:
            return [scenes.make(row) for row in rows]

        mark = sha256_json([marks[row] for row in rows])
        blocks.append(SearchBlock(mark, scenes.rules, len(rows), load))
    return blocks


def _on_screen(table: pd.DataFrame, scenes: Scenes) -> pd.DataFrame:
    """Bring fixations of one model into the frame of people."""
    order = {name: row for row, name in enumerate(scenes.displays["stimulus_id"])}
    table = table.assign(
        model=table["subject"],
        trial=table["stimulus_id"].map(order),
        max_fixations=scenes.rules.max_saccades + 1,
    )
    if scenes.item_places is None:
        return table.assign(
            x_px=table["x_px"] * scenes.scale[0], y_px=table["y_px"] * scenes.scale[1]
        )
    parts = []
    for name, part in table.groupby("stimulus_id", sort=False):
        areas = scenes.make(order[str(name)]).item_areas
        assert areas is not None
        x, y, times = (part[c].to_numpy() for c in ("x_px", "y_px", "duration_ms"))
        items = items_fixated(Scanpath("", str(name), x, y, times), areas)
        places = scenes.item_places[items]
        parts.append(part.assign(x_px=places[:, 0], y_px=places[:, 1]))
    return pd.concat(parts, ignore_index=True)


def _model_trials(
    searcher: Any, fixations: pd.DataFrame, scenes: Scenes
) -> pd.DataFrame:
    groups = fixations.groupby("stimulus_id", sort=False)
    ids = scenes.displays["stimulus_id"]
    found = groups["found"].first().reindex(ids).to_numpy(bool)
    saccades = groups["fixation"].max().reindex(ids).to_numpy()
    return pd.DataFrame(
        {
            "model": searcher.name,
            "subject": searcher.name,
            "stimulus_id": ids,
            "trial": np.arange(len(ids)),
            "response": np.where(found, "found", "not found"),
            "rt_ms": np.nan,
            "correct": found,
            "found": found,
            "n_saccades": saccades,
            "max_saccades": scenes.rules.max_saccades,
            "untrained": is_untrained(searcher),
        }
    )


def _human_trials(scenes: Scenes) -> list[pd.DataFrame]:
    if scenes.people is None:
        return []
    columns = ["subject", "stimulus_id", "trial", "response", "rt_ms", "correct"]
    columns += ["found", "n_saccades", "max_saccades"]
    trials = scenes.people.trials
    known = trials[trials["n_fixations"] > 0]
    return [known[columns].assign(model=HUMAN_MODEL, untrained=False)]


def _human_fixations(scenes: Scenes) -> list[pd.DataFrame]:
    if scenes.people is None:
        return []
    people = scenes.people
    columns = ["subject", "stimulus_id", "trial", "fixation"]
    columns += ["x_px", "y_px", "duration_ms"]
    limits = people.trials[["subject", "trial", "max_saccades"]]
    table = people.fixations[columns].merge(limits, on=["subject", "trial"])
    table["max_fixations"] = table.pop("max_saccades") + 1
    return [table.assign(model=HUMAN_MODEL)]
