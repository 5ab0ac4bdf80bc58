"""OSIE: free viewing of 700 scenes by 15 observers.

References
----------
Xu, Jiang, Wang, Kankanhalli and Zhao (2014). Predicting human gaze beyond pixels.
Journal of Vision 14(1):28. doi:10.1167/14.1.28.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.io

from data_loaders.gaze import GazeData, make_gaze_data
from data_loaders.source_files import content_of, read_columns
from neurovis.core.checks import check_between, check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt

WIDTH_PX, HEIGHT_PX = 800, 600
_TABLE = "fixations.parquet"
_IMAGES = "images.csv"
_MAT_FILES = ("data/eye/fixations.mat", "eye/fixations.mat", "fixations.mat")
_PICTURES = ("stimuli", "data/stimuli")
_COLUMNS = {
    "image": "text",
    "subject": "whole",
    "index": "whole",
    "x": "number",
    "y": "number",
    "duration_ms": "number",
}
_MAT_ERRORS = (
    *DECODER_ERRORS,
    scipy.io.matlab.MatReadError,
    NotImplementedError,  # a newer kind of file
    MemoryError,  # a header that claims a huge array
)
_NOTES = (
    "Positions are those of the source minus half a pixel: MATLAB counts the centre "
    "of the first pixel as 1.",
    "Durations add up to about 2 s of the 3 s that a picture was shown.",
)


def load_osie(folder: str | Path, *, px_per_deg: float | None = None) -> GazeData:
    """Load free viewing of natural scenes.

    Parameters
    ----------
    folder : str or Path
        Either a folder with ``fixations.parquet`` (columns `image`, `subject`,
        `index`, `x`, `y`, `duration_ms`) and ``images.csv`` (`image`, `width`,
        `height`, `test_split70`), or the published repository with
        ``data/eye/fixations.mat``. Pictures are looked for in ``stimuli`` and in
        ``data/stimuli``.
    px_per_deg : float, optional
        Pixels per degree of visual angle, > 0; the files do not tell it.

    Returns
    -------
    GazeData
        `stimulus_id` is the name of the picture ("1001.jpg"), `subject` "1".."15",
        `trial` the place of the picture in the list of all pictures (the order of
        the experiment is not known). Stimuli also have `path` (str, missing where
        the picture is not there) and `test_split70` (nullable bool, the 70 test
        pictures of Chen et al. 2021; missing for the published repository).
        `duration_ms` is known; `response`, `rt_ms` and `correct` are undefined.

    Raises
    ------
    FileNotFoundError
        If the folder or its files are not there.
    DataCorruptError
        If a file is damaged or holds what cannot be.
    ValueError
        If `px_per_deg` is out of range.
    """
    folder = check_path("folder", folder, kind="folder")
    if px_per_deg is not None:
        check_between("px_per_deg", px_per_deg, low=1e-6)
    if (folder / _TABLE).is_file():
        path = folder / _TABLE
        fixations = read_columns(path, _COLUMNS)
        stimuli = _read_images(check_path(_IMAGES, folder / _IMAGES))
        seen = fixations[["subject", "image"]].drop_duplicates()
    else:
        path = _find_mat(folder)
        fixations, seen = _read_mat(path)
        images = sorted(seen["image"].unique())
        stimuli = pd.DataFrame({"stimulus_id": images})
        stimuli = stimuli.assign(width_px=WIDTH_PX, height_px=HEIGHT_PX)
        unknown = pd.array([None] * len(stimuli), dtype="boolean")
        stimuli["test_split70"] = unknown
    stimuli["path"] = _find_pictures(folder, stimuli["stimulus_id"])
    fixations = fixations.rename(columns={"image": "stimulus_id", "index": "fixation"})
    fixations = fixations.assign(
        x_px=fixations["x"] - 0.5, y_px=fixations["y"] - 0.5
    ).drop(columns=["x", "y"])
    trials = seen.rename(columns={"image": "stimulus_id"}).reset_index(drop=True)
    place = {name: i for i, name in enumerate(sorted(stimuli["stimulus_id"]))}
    trials["trial"] = trials["stimulus_id"].map(place)
    with content_of(path):
        known = trials["trial"].notna()
        if not known.all():
            first = trials["stimulus_id"][~known].iloc[0]
            raise ValueError(f"The picture {first!r} is not in {_IMAGES}.")
        return make_gaze_data(
            "osie",
            trials=trials,
            fixations=fixations,
            stimuli=stimuli,
            px_per_deg=px_per_deg,
            notes=_NOTES,
        )


def _read_images(path: Path) -> pd.DataFrame:
    kinds = {"image": "text", "width": "whole", "height": "whole"}
    table = read_columns(path, {**kinds, "test_split70": "flag"})
    names = {"image": "stimulus_id", "width": "width_px", "height": "height_px"}
    return table.rename(columns=names).astype({"test_split70": "boolean"})


def _find_pictures(folder: Path, names: pd.Series) -> Any:
    """Return the path of each picture, missing where there is none."""
    there = {
        path.name: str(path)
        for part in reversed(_PICTURES)
        if (folder / part).is_dir()
        for path in sorted((folder / part).iterdir())
    }
    return pd.array([there.get(name) for name in names], dtype="str")


def _find_mat(folder: Path) -> Path:
    path = next((folder / f for f in _MAT_FILES if (folder / f).is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"`folder` must hold {_TABLE} and {_IMAGES}, or {_MAT_FILES[0]} of the "
            f"published repository; {folder} has none of them."
        )
    return path


def _read_mat(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return fixations and trials of the published file.

    It holds one cell array `fixations`, one struct per picture with `img` and
    `subjects`, a cell array of structs with `fix_x`, `fix_y` and `fix_duration`.
    """
    try:
        data = scipy.io.loadmat(path, simplify_cells=False)
        scanpaths = list(_scanpaths(data["fixations"]))
    except _MAT_ERRORS as error:
        raise corrupt(path, "MATLAB", error) from error
    if not scanpaths:
        raise DataCorruptError(f"{path} holds no scanpath.")
    parts = [
        pd.DataFrame(
            {
                "image": image,
                "subject": subject,
                "index": np.arange(len(points)),
                "x": points[:, 0],
                "y": points[:, 1],
                "duration_ms": points[:, 2],
            }
        )
        for image, subject, points in scanpaths
    ]
    seen = pd.DataFrame([s[:2] for s in scanpaths], columns=["image", "subject"])
    return pd.concat(parts, ignore_index=True), seen[["subject", "image"]]


def _scanpaths(pictures: Any) -> Iterator[tuple[str, int, Any]]:
    for picture in pictures.ravel():
        whole = picture[0, 0]
        image = str(whole["img"].item())
        for subject, observer in enumerate(whole["subjects"].ravel(), start=1):
            fields = observer[0, 0]
            columns = [
                np.asarray(fields[name], np.float64).ravel()
                for name in ("fix_x", "fix_y", "fix_duration")
            ]
            if len({len(column) for column in columns}) != 1:
                raise ValueError(
                    f"{image}: fix_x, fix_y, fix_duration differ in length"
                )
            yield image, subject, np.column_stack(columns)
