"""COCO-Search18 (target present and absent) and COCO-FreeView.

References
----------
Chen, Yang, Ahn, Samaras, Hoai and Zelinsky (2021). COCO-Search18 fixation dataset for
predicting goal-directed attention control. Scientific Reports 11:8776.
doi:10.1038/s41598-021-87715-9.
Yang et al. (2020). Predicting goal-directed human attention using inverse
reinforcement learning. CVPR, 193-202. arXiv:2005.14310.
Chen et al. (2022). Characterizing target-absent human attention. CVPR Workshops,
5031-5040 (COCO-FreeView).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_loaders.gaze import TARGET_COLUMNS, GazeData, make_gaze_data
from data_loaders.source_files import content_of, read_source_json
from neurovis.core.checks import check_between, check_option, check_path
from neurovis.core.errors import DataCorruptError

SCREENS = ((1680, 1050), (512, 320))
"""Frames of the published coordinates: the display, and the one of model training."""
_PATTERNS = ("*fixations*.json", "*fixations*.json.gz")
_CONDITIONS = ("present", "absent", "freeview")
_FREE_TASKS = (None, "none", "freeview")
_KEY = ["subject", "stimulus_id"]


def load_coco_search(
    folder: str | Path,
    *,
    files: Sequence[str] | None = None,
    screen_px: tuple[int, int] = (1680, 1050),
    px_per_deg: float | None = None,
) -> GazeData:
    """Load scanpaths of target search, or of free viewing, on COCO pictures.

    Parameters
    ----------
    folder : str or Path
        Folder with the published lists of scanpaths, JSON or gzipped JSON.
    files : sequence of str, optional
        Names of the lists to read and put together; by default every file of the
        folder with "fixations" in its name. Lists of search and of free viewing
        number their observers alike and cannot be mixed.
    screen_px : (1680, 1050) or (512, 320)
        Width and height of the frame that the coordinates refer to, px. Scanpaths
        start near its centre, and an error says when these do not.
    px_per_deg : float, optional
        Pixels per degree of visual angle in this frame, > 0; the files do not tell.

    Returns
    -------
    GazeData
        `stimulus_id` is "<task>/<name>" for search and the name of the picture for
        free viewing; `trial` is the place of a stimulus among those of the subject
        (the order of the experiment is not known). Further columns:

        - stimuli: `name`, `task` (str, missing for free viewing), `condition`
          ("present", "absent" or "freeview"); the box of the target in the columns
          of `TARGET_COLUMNS`, NaN unless it is present;
        - trials: `response` ("present" or "absent", from `correct`), `rt_ms` (ms),
          `correct`; the same three factors; `split` (str, of the publication);
          `first_in_target_box` (nullable int, fixation number from 0, edges of the
          box included), `steps_to_target` (nullable int, the first fixation counts
          1, edges of the box excluded), both missing when never; `found` (nullable
          bool, whether `first_in_target_box` is known; missing without a target);
        - fixations: `in_target_box` (edges included) and `inside_target_box` (edges
          excluded), bool.

    Raises
    ------
    FileNotFoundError
        If the folder or a file is not there.
    DataCorruptError
        If a file is damaged or holds what cannot be.
    ValueError
        If the coordinates do not fit `screen_px`, a scanpath stands in two files, or
        files of search and of free viewing are mixed.

    Notes
    -----
    Two rules for a hit are published: with edges, the first fixation having the
    number 0 (cumulative probability of target fixation), and without edges, the
    first fixation being step 1 (search efficiency of models). Both are given. The
    first fixation is the one near the centre, where a trial starts.
    """
    folder = check_path("folder", folder, kind="folder")
    check_option("screen_px", tuple(screen_px), SCREENS)
    if px_per_deg is not None:
        check_between("px_per_deg", px_per_deg, low=1e-6)
    paths = _find(folder, files)
    entries = [entry for path in paths for entry in _read_list(path)]
    with content_of(folder):
        stimuli = _gather_stimuli(entries)
    _check_mixture(entries)
    stimuli = stimuli.assign(width_px=screen_px[0], height_px=screen_px[1])
    fixations = _gather_fixations(entries, stimuli)
    _check_screen(fixations, screen_px)
    kept = [*_KEY, "response", "rt_ms", "correct", "split"]
    trials = pd.DataFrame([{k: e[k] for k in kept} for e in entries])
    text = {"response": "str", "split": "str", "correct": "boolean"}
    factors = ["stimulus_id", "name", "task", "condition"]
    trials = trials.astype(text).merge(stimuli[factors], on="stimulus_id", how="left")
    trials = _add_hits(trials, fixations)
    names = "free viewing" if _is_free(entries[0]) else "search"
    with content_of(folder):
        return make_gaze_data(
            "coco-freeview" if _is_free(entries[0]) else "coco-search18",
            trials=trials,
            fixations=fixations,
            stimuli=stimuli,
            px_per_deg=px_per_deg,
            notes=[
                f"Scanpaths of {names} from {', '.join(p.name for p in paths)}, in the "
                f"frame of {screen_px[0]} x {screen_px[1]} px.",
                "The first fixation is that near the centre, where a trial starts.",
                "The pictures are not part of the data.",
            ],
        )


def _find(folder: Path, files: Sequence[str] | None) -> list[Path]:
    if files is not None:
        names = [files] if isinstance(files, str) else list(files)
        paths = [check_path("files", folder / name) for name in names]
    else:
        paths = sorted(p for pattern in _PATTERNS for p in folder.glob(pattern))
    if not paths:
        raise FileNotFoundError(
            f"`folder` must hold a list of scanpaths with `fixations` in its name; "
            f"{folder} has none. Name the files with `files`."
        )
    return paths


# ------------------------------------------------------------- the entries


def _read_list(path: Path) -> list[dict[str, Any]]:
    entries = read_source_json(path)
    if not isinstance(entries, list) or not entries:
        raise DataCorruptError(f"{path} must hold a list of scanpaths.")
    checked = []
    for i, entry in enumerate(entries):
        try:
            checked.append(_check_entry(entry))
        except (KeyError, TypeError, ValueError) as error:
            raise DataCorruptError(
                f"{path}: scanpath {i} of {len(entries)} cannot be "
                f"({type(error).__name__}: {error}). Get the file again from its "
                "source."
            ) from error
    return checked


def _check_entry(entry: Any) -> dict[str, Any]:
    """Return one scanpath with our names; anything wrong raises."""
    if not isinstance(entry, dict):
        raise TypeError("it is not an object")
    name, task = _text(entry, "name"), entry.get("task")
    free = task in _FREE_TASKS
    condition = entry.get("condition", "freeview" if free else None)
    if condition not in _CONDITIONS or free != (condition == "freeview"):
        raise ValueError(f"task {task!r} with condition {condition!r}")
    x, y = (_numbers(entry, key) for key in ("X", "Y"))
    times = _numbers(entry, "T") if "T" in entry else np.full(len(x), np.nan)
    said = entry.get("length", len(x))
    if {len(x), len(y), len(times)} != {said}:
        raise ValueError(f"X, Y, T have {len(x)}, {len(y)}, {len(times)} of {said}")
    box = entry.get("bbox") if condition == "present" else None
    edges = np.full(4, np.nan) if box is None else _numbers(entry, "bbox")
    if condition == "present" and (edges.shape != (4,) or not (edges[2:] > 0).all()):
        raise ValueError(f"bbox {box!r} is not x, y, width and height")
    correct = entry.get("correct")
    if correct not in (None, 0, 1):
        raise ValueError(f"correct {correct!r} is not 0 or 1")
    subject = entry["subject"]
    if type(subject) is not int and not (isinstance(subject, str) and subject):
        raise ValueError(f"subject {subject!r}")
    rt_ms = entry.get("RT")
    if rt_ms is not None and type(rt_ms) not in (int, float):
        raise ValueError(f"RT {rt_ms!r} is not a number")
    return {
        "subject": str(subject),
        "stimulus_id": name if free else f"{_text(entry, 'task')}/{name}",
        "name": name,
        "task": None if free else task,
        "condition": condition,
        "box": tuple(edges.tolist()),
        "x": x,
        "y": y,
        "times": times,
        "response": None if free or correct is None else _answer(condition, correct),
        "rt_ms": np.nan if rt_ms is None else float(rt_ms),
        "correct": None if correct is None else bool(correct),
        "split": None if entry.get("split") is None else _text(entry, "split"),
    }


def _answer(condition: str, correct: int) -> str:
    return (
        condition if correct else {"present": "absent", "absent": "present"}[condition]
    )


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} {value!r} is not text")
    return value


def _numbers(entry: dict[str, Any], key: str) -> Any:
    values = entry[key]
    if not isinstance(values, list) or any(
        v is not None and type(v) not in (int, float) for v in values
    ):
        raise ValueError(f"{key} is not a list of numbers")
    return np.array([np.nan if v is None else v for v in values], np.float64)


def _is_free(entry: dict[str, Any]) -> bool:
    return bool(entry["condition"] == "freeview")


# --------------------------------------------------------------- the tables


def _gather_stimuli(entries: list[dict[str, Any]]) -> pd.DataFrame:
    columns = ["stimulus_id", "name", "task", "condition", "box"]
    table = pd.DataFrame([{c: e[c] for c in columns} for e in entries])
    table["task"] = pd.array(table["task"].tolist(), dtype="str")
    # NaN differs from itself: compare the text of the boxes.
    table = table[~table.astype({"box": "str"}).duplicated()].reset_index(drop=True)
    repeats = table["stimulus_id"][table["stimulus_id"].duplicated()]
    if len(repeats):
        raise ValueError(
            f"The target of {repeats.iloc[0]!r} has several boxes or conditions."
        )
    left, top, width, height = np.array(table.pop("box").tolist()).T
    edges = (left, top, left + width, top + height)
    return table.assign(**dict(zip(TARGET_COLUMNS, edges, strict=True)))


def _gather_fixations(
    entries: list[dict[str, Any]], stimuli: pd.DataFrame
) -> pd.DataFrame:
    n = [len(e["x"]) for e in entries]
    table = pd.DataFrame(
        {
            "subject": np.repeat([e["subject"] for e in entries], n),
            "stimulus_id": np.repeat([e["stimulus_id"] for e in entries], n),
            "fixation": np.concatenate([np.arange(length) for length in n]),
            "x_px": np.concatenate([e["x"] for e in entries]),
            "y_px": np.concatenate([e["y"] for e in entries]),
            "duration_ms": np.concatenate([e["times"] for e in entries]),
        }
    )
    boxes = stimuli.set_index("stimulus_id").loc[table["stimulus_id"]]
    left, top, right, bottom = (boxes[edge].to_numpy() for edge in TARGET_COLUMNS)
    x, y = table["x_px"], table["y_px"]
    return table.assign(
        in_target_box=(left <= x) & (x <= right) & (top <= y) & (y <= bottom),
        inside_target_box=(left < x) & (x < right) & (top < y) & (y < bottom),
    )


def _add_hits(trials: pd.DataFrame, fixations: pd.DataFrame) -> pd.DataFrame:
    first = {}
    for rule in ("in_target_box", "inside_target_box"):
        hits = fixations[fixations[rule]].groupby(_KEY)["fixation"].min()
        first[rule] = hits.rename(rule).astype("Int64")
    wide = trials.join(first["in_target_box"], on=_KEY)
    wide = wide.join(first["inside_target_box"], on=_KEY)
    found = wide["in_target_box"].notna().astype("boolean")
    return trials.assign(
        first_in_target_box=wide["in_target_box"],
        steps_to_target=wide["inside_target_box"] + 1,
        found=found.where(trials["condition"] == "present"),
    )


# --------------------------------------------------------------- the checks


def _check_mixture(entries: list[dict[str, Any]]) -> None:
    if len({_is_free(e) for e in entries}) > 1:
        raise ValueError(
            "`files` must be lists of search or of free viewing; these are both. Read "
            "them one after the other: equal numbers are not the same observer."
        )
    keys = pd.DataFrame([{k: e[k] for k in _KEY} for e in entries])
    repeats = keys[keys.duplicated()]
    if len(repeats):
        row = repeats.iloc[0]
        raise ValueError(
            "`files` must hold each scanpath once; that of subject "
            f"{row['subject']} on {row['stimulus_id']!r} and {len(repeats) - 1} others "
            "repeat. Name the files of one split with `files`."
        )


def _check_screen(fixations: pd.DataFrame, screen_px: tuple[int, int]) -> None:
    """Raise when scanpaths start nearer to the centre of the other frame."""
    start = fixations.loc[fixations["fixation"] == 0, ["x_px", "y_px"]].median()
    if start.isna().any():
        return
    away = [np.hypot(*(start.to_numpy() - np.array(s) / 2)) for s in SCREENS]
    nearest = SCREENS[int(np.argmin(away))]
    if nearest != tuple(screen_px):
        raise ValueError(
            f"`screen_px` is {tuple(screen_px)}, but the scanpaths start at about "
            f"({start['x_px']:.0f}, {start['y_px']:.0f}) px, the centre of {nearest}. "
            f"Pass `screen_px={nearest}`."
        )
