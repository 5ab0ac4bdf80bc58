"""Search for a book cover among 84: six observers, 100 collages, five targets.

Everything is derived from ``Amazon.json`` of the STI data set; only the folds of
cross-validation come from a table beside it, when one is there.

References
----------
Sattar, Müller, Fritz and Bulling (2015). Prediction of search targets from fixations
in open-world settings. CVPR (eye movements).
Stauden, Barz and Sonntag (2018). Visual search target inference using bag of deep
visual words. KI 2018. doi:10.1007/978-3-030-00111-7_25 (target boxes).
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.gaze import TARGET_COLUMNS, GazeData, make_gaze_data
from data_loaders.source_files import content_of, read_columns, read_source_json
from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.rng import generator

GRID_ROWS, GRID_COLS = 6, 14
LONGEST_SCANPATH = 55
"""Fixations of the longest scanpath that the protocol of this suite uses: the mean
plus three standard deviations of all 600 trials; 585 trials are at most as long."""
N_FOLDS = 10
FOLD_SEED = 0

# Fitted to the 100 target boxes; as shares of the width and the height.
_FIRST_X, _STEP_X = 0.04316397, 0.0701913
_FIRST_Y, _STEP_Y = 0.08804598, 0.16463256

_FILE = "Amazon.json"
_FOLD_FILES = ("collages.csv", "trials.csv")
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_NOTES = (
    "The pictures of collages and covers are not part of the data: a model sees "
    "made-up covers, or none.",
    "The data have no fixation durations and no reaction times.",
    "Positions are whole pixels; whether 0 is the edge or the centre of the first "
    "pixel is not documented.",
)


def lattice_cells(
    x_px: Any, y_px: Any, width_px: Any, height_px: Any
) -> NDArray[np.int64]:
    """Return the cover that is nearest to each position.

    The centre of the cover in row r and column c lies at ``(0.04316397 +
    0.0701913 c)`` of the width and ``(0.08804598 + 0.16463256 r)`` of the height
    (fitted to the target boxes, largest deviation 18 px).

    Parameters
    ----------
    x_px, y_px : float array-like, broadcast together
        Positions, px from the top-left corner of the collage.
    width_px, height_px : float array-like, broadcast with the positions
        Size of the collage, px, > 0.

    Returns
    -------
    ndarray of int64
        Cell 14 r + c, 0..83, row by row from the top left; positions outside
        belong to the nearest cell, and -1 is a position that is NaN.

    Examples
    --------
    >>> lattice_cells([10, 2550, np.nan], [10, 1590, 0], 2560, 1600)
    array([ 0, 83, -1])
    """
    x, y, width, height = np.broadcast_arrays(
        *(np.asarray(v, np.float64) for v in (x_px, y_px, width_px, height_px))
    )
    col = np.clip(np.rint((x / width - _FIRST_X) / _STEP_X), 0, GRID_COLS - 1)
    row = np.clip(np.rint((y / height - _FIRST_Y) / _STEP_Y), 0, GRID_ROWS - 1)
    cell = row * GRID_COLS + col
    return np.where(np.isnan(cell), -1, cell).astype(np.int64)


def lattice_centres(width_px: float, height_px: float) -> NDArray[np.float64]:
    """Return the centres of the covers of a collage.

    Parameters
    ----------
    width_px, height_px : float
        Size of the collage, px, > 0.

    Returns
    -------
    ndarray of float64, shape (84, 2)
        x and y of every cell, px, in the order of `lattice_cells`.

    Examples
    --------
    >>> lattice_centres(2560, 1600)[15].round(1).tolist()
    [290.2, 404.3]
    """
    row, col = np.divmod(np.arange(GRID_ROWS * GRID_COLS), GRID_COLS)
    x = (_FIRST_X + col * _STEP_X) * width_px
    y = (_FIRST_Y + row * _STEP_Y) * height_px
    return np.column_stack([x, y])


def load_amazon_covers(folder: str | Path) -> GazeData:
    """Load fixations on collages of book covers.

    Parameters
    ----------
    folder : str or Path
        Folder with ``Amazon.json``. Folds are read from the column `fold10` of
        ``collages.csv`` or ``trials.csv`` when one of them is there; otherwise the
        collages of each target are dealt to ten folds in a random order of fixed
        seed, and a note says so.

    Returns
    -------
    GazeData
        `stimulus_id` is the name of the collage ("1.jpg"), `trial` its number
        minus 1 (the order of the experiment is not known). Further columns:

        - stimuli: `collage` (int, from 1), `target_id` (int, 0..4), `target_row`,
          `target_col`, `target_cell` (int, lattice), `fold10` (int, 0..9) and
          `fold_target` (int, equal to `target_id`);
        - trials: the same `collage`, `target_id`, `target_cell` and folds;
          `first_on_target_cell`, `first_in_target_box` (nullable int, from 0,
          missing when never); `last_on_target_cell`, `last_in_target_box`
          (nullable bool, missing without fixations); `found` (bool, the cell of the
          target was fixated at some time);
        - fixations: `row`, `col`, `cell` (int, lattice; -1 for no position),
          `on_target_cell` and `in_target_box` (bool, edges included).

        `response`, `rt_ms` and `correct` are undefined.

    Raises
    ------
    FileNotFoundError
        If the folder or the file is not there.
    DataCorruptError
        If a file is damaged or holds what cannot be.
    """
    folder = check_path("folder", folder, kind="folder")
    path = check_path(_FILE, folder / _FILE)
    stimuli, fixations, trials = _read_collages(path)
    stimuli, fold_note = _add_folds(folder, stimuli)
    shared = ["stimulus_id", "collage", "target_id", "target_cell"]
    shared += ["fold10", "fold_target"]
    trials = trials.merge(stimuli[shared], on="stimulus_id", how="left")
    trials["trial"] = trials["collage"] - 1
    fixations = _add_cells(fixations, stimuli)
    trials = _add_visits(trials, fixations)
    with content_of(path):
        return make_gaze_data(
            "amazon-covers",
            trials=trials,
            fixations=fixations,
            stimuli=stimuli,
            notes=[*_NOTES, fold_note],
        )


def _read_collages(path: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return stimuli, fixations and trials as they stand in the file."""
    collages = read_source_json(path)
    if not isinstance(collages, dict) or not collages:
        raise DataCorruptError(f"{path} must hold an object with one key per collage.")
    stimuli, fixations, trials = [], [], []
    for name, collage in collages.items():
        stimulus = _read_collage(path, name, collage)
        stimuli.append(stimulus)
        for subject, points in collage["fixations"].items():
            _check_points(path, name, subject, points)
            trials.append((subject, name))
            fixations += [(subject, name, i, x, y) for i, (x, y) in enumerate(points)]
    points_of = ["subject", "stimulus_id", "fixation", "x_px", "y_px"]
    table = pd.DataFrame(fixations, columns=points_of)
    table = table.astype({"x_px": np.float64, "y_px": np.float64})
    return (
        pd.DataFrame(stimuli),
        table,
        pd.DataFrame(trials, columns=["subject", "stimulus_id"]),
    )


def _read_collage(path: Path, name: str, collage: Any) -> dict[str, Any]:
    number = re.fullmatch(r"(\d+)\.jpg", name)
    try:
        (box,) = collage["ground_truth"]
        target = re.fullmatch(r"target_(\d+)\.jpg", collage["target"])
        edges = [box[edge] for edge in _EDGES]
        size = [collage["size"][side] for side in ("width", "height")]
        whole = all(type(v) is int for v in [*edges, *size]) and min(size) > 0
        if not (number and target and whole and isinstance(collage["fixations"], dict)):
            raise ValueError("a name or a number is of another form")
    except (KeyError, TypeError, ValueError) as error:
        raise DataCorruptError(
            f"{path} must have fixations, one box in ground_truth, size and target "
            f"for each collage; collage {name!r} has not ({error!r})."
        ) from error
    return {
        "stimulus_id": name,
        "width_px": size[0],
        "height_px": size[1],
        **dict(zip(TARGET_COLUMNS, edges, strict=True)),
        "collage": int(number[1]),
        "target_id": int(target[1]),
    }


def _check_points(path: Path, name: str, subject: str, points: Any) -> None:
    pairs = isinstance(points, list) and all(
        isinstance(point, list)
        and len(point) == 2
        and all(v is None or type(v) in (int, float) for v in point)
        for point in points
    )
    if not pairs:
        raise DataCorruptError(
            f"{path} must have a list of [x, y] for each observer; observer "
            f"{subject!r} of collage {name!r} has not."
        )


def _add_cells(fixations: pd.DataFrame, stimuli: pd.DataFrame) -> pd.DataFrame:
    known = stimuli.set_index("stimulus_id").loc[fixations["stimulus_id"]]
    x, y = (fixations[c].to_numpy() for c in ("x_px", "y_px"))
    cell = lattice_cells(x, y, known["width_px"], known["height_px"])
    left, top, right, bottom = (known[edge].to_numpy() for edge in TARGET_COLUMNS)
    row, col = np.divmod(cell, GRID_COLS)
    return fixations.assign(
        row=row,
        col=np.where(cell < 0, -1, col),
        cell=cell,
        on_target_cell=cell == known["target_cell"].to_numpy(),
        in_target_box=(left <= x) & (x <= right) & (top <= y) & (y <= bottom),
    )


def _add_visits(trials: pd.DataFrame, fixations: pd.DataFrame) -> pd.DataFrame:
    key = ["subject", "stimulus_id"]
    for place in ("on_target_cell", "in_target_box"):
        first = fixations[fixations[place]].groupby(key)["fixation"].min()
        trials = trials.join(first.rename(f"first_{place}").astype("Int64"), on=key)
    for place in ("on_target_cell", "in_target_box"):
        # The rows of a scanpath stand in its order.
        last = fixations.groupby(key)[place].last()
        trials = trials.join(last.rename(f"last_{place}").astype("boolean"), on=key)
    return trials.assign(found=trials["first_on_target_cell"].notna())


def _add_folds(folder: Path, stimuli: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Add what follows from the target, and the folds."""
    left, top, right, bottom = (stimuli[edge] for edge in TARGET_COLUMNS)
    size = stimuli["width_px"], stimuli["height_px"]
    cell = lattice_cells((left + right) / 2, (top + bottom) / 2, *size)
    row, col = np.divmod(cell, GRID_COLS)
    stimuli = stimuli.assign(target_row=row, target_col=col, target_cell=cell)
    file = next((f for f in _FOLD_FILES if (folder / f).is_file()), None)
    if file is None:
        folds = _deal_folds(stimuli)
        note = (
            f"fold10 is dealt here (seed {FOLD_SEED}): no table of folds lies beside "
            f"{_FILE}."
        )
    else:
        folds = _read_folds(folder / file, stimuli)
        note = f"fold10 is that of {file}."
    target = stimuli["target_id"]
    return stimuli.assign(fold10=folds, fold_target=target), note


def _read_folds(path: Path, stimuli: pd.DataFrame) -> NDArray[np.int64]:
    kinds = {"collage": "whole", "fold10": "whole"}
    table = read_columns(path, kinds).drop_duplicates()
    folds = table.set_index("collage")["fold10"]
    lacking = stimuli["collage"][~stimuli["collage"].isin(folds.index)]
    if folds.index.has_duplicates or len(lacking) or not folds.between(0, 9).all():
        raise DataCorruptError(
            f"{path} must give one fold of 0..9 to each collage of {_FILE}; it leaves "
            f"out {len(lacking)} collages, gives several folds to "
            f"{folds.index.duplicated().sum()}, and other numbers to "
            f"{(~folds.between(0, 9)).sum()}."
        )
    return folds.loc[stimuli["collage"]].to_numpy()


def _deal_folds(stimuli: pd.DataFrame) -> NDArray[np.int64]:
    """Deal the collages of each target to the folds, one after the other."""
    folds = np.zeros(len(stimuli), np.int64)
    ordered = stimuli.reset_index(drop=True).sort_values("collage")
    dealt = 0
    for target in sorted(stimuli["target_id"].unique().tolist()):
        rows = ordered.index[ordered["target_id"] == target]
        stream = generator(FOLD_SEED, "amazon covers", "fold10", target)
        for row in stream.permutation(rows.to_numpy()):
            folds[row] = dealt % N_FOLDS
            dealt += 1
    return folds
