"""Search in grey interior scenes: 45 observers, 134 scenes, a limit of saccades.

An observer saw a template, then searched for it until a number of saccades that was
set beforehand, and reported where the target was.

References
----------
Bujia, Sclar, Vita, Solovey and Kamienkowski (2022). Modeling human visual search in
natural scenes: a combined Bayesian searcher and saliency map approach. Frontiers in
Systems Neuroscience 16:882315. doi:10.3389/fnsys.2022.882315.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from data_loaders.gaze import TARGET_COLUMNS, GazeData, make_gaze_data
from data_loaders.source_files import ZipPictures, content_of, read_columns
from neurovis.core.checks import check_between, check_columns, check_path

WIDTH_PX, HEIGHT_PX = 1024, 768
IMAGE_SCALE = 2
"""Pixels of the coordinates per pixel of the stored pictures, which are half size."""
_TRIALS, _FIXATIONS, _TARGETS = "trials.csv.gz", "fixations.csv.gz", "targets.csv"
_TRIAL_KINDS = {
    "trial_id": "whole",
    "subject": "whole",
    "image": "text",
    "trial_order": "whole",
    "saccades_allowed": "whole",
    "start_x": "number",
    "start_y": "number",
    "target_found": "flag",
    "search_rt_s": "number",
    "n_fix": "whole",
    "resp_x": "number",
    "resp_y": "number",
    "resp_size": "number",
}
_FIXATION_KINDS = {
    "trial_id": "whole",
    "fix": "whole",
    "x": "number",
    "y": "number",
    "t_ms": "number",
    "dur_ms": "number",
}
_TARGET_KINDS = {
    "image": "text",
    "source_name": "text",
    "x1": "number",
    "y1": "number",
    "x2": "number",
    "y2": "number",
}


def load_search_interiors(
    folder: str | Path, *, px_per_deg: float | None = None
) -> GazeData:
    """Load search for a template in interior scenes.

    Parameters
    ----------
    folder : str or Path
        Folder with ``trials.csv.gz``, ``fixations.csv.gz`` and ``targets.csv``. The
        pictures are not needed; see `open_interiors`.
    px_per_deg : float, optional
        Pixels per degree of visual angle, > 0; the files do not tell it.

    Returns
    -------
    GazeData
        `stimulus_id` is the number of the scene ("000".."133"), `trial` the order
        in which the observer saw it, from 0. Positions are in the frame of 1024 x
        768 px. Further columns:

        - stimuli: the box of the target, 72 px wide (the source counts pixels from
          1), and `source_name` (str);
        - trials: `rt_ms` (ms, duration of the search), `found` (bool, by the rule
          of the source: the last fixation landed on the target), `saccades_allowed`
          (int), `start_x_px`, `start_y_px` (nominal start), `response_x_px`,
          `response_y_px` (reported place) and `response_size` (uncertainty, unit of
          the source), `trial_id` (int, of the source);
        - fixations: `onset_ms` (ms after the first fixation) and `clipped` (bool,
          x_px is 1024 or y_px is 768: a sample off the picture, moved to its edge).

        `response` and `correct` are undefined: a place was reported.

    Raises
    ------
    FileNotFoundError
        If the folder or a file is not there.
    DataCorruptError
        If a file is damaged or holds what cannot be.
    ValueError
        If `px_per_deg` is out of range.
    """
    folder = check_path("folder", folder, kind="folder")
    if px_per_deg is not None:
        check_between("px_per_deg", px_per_deg, low=1e-6)
    paths = [check_path(f, folder / f) for f in (_TRIALS, _FIXATIONS, _TARGETS)]
    trials = read_columns(paths[0], _TRIAL_KINDS)
    fixations = read_columns(paths[1], _FIXATION_KINDS)
    stimuli = _make_stimuli(read_columns(paths[2], _TARGET_KINDS))
    with content_of(paths[0]):
        repeats = trials["trial_id"][trials["trial_id"].duplicated()]
        if len(repeats):
            raise ValueError(f"trial_id {repeats.iloc[0]} stands in several rows.")
    trials = _name_trials(trials)
    key = trials.set_index("trial_id")[["subject", "trial"]]
    with content_of(paths[1]):
        lost = fixations["trial_id"][~fixations["trial_id"].isin(key.index)]
        if len(lost):
            raise ValueError(f"trial_id {lost.iloc[0]} is not in {_TRIALS}.")
    fixations = fixations.join(key, on="trial_id").drop(columns="trial_id")
    names = {"fix": "fixation", "x": "x_px", "y": "y_px", "dur_ms": "duration_ms"}
    fixations = fixations.rename(columns={**names, "t_ms": "onset_ms"})
    clipped = (fixations["x_px"] == WIDTH_PX) | (fixations["y_px"] == HEIGHT_PX)
    with content_of(folder):
        return make_gaze_data(
            "search-interiors",
            trials=trials,
            fixations=fixations.assign(clipped=clipped),
            stimuli=stimuli,
            px_per_deg=px_per_deg,
            notes=[
                f"{int(clipped.sum())} of {len(fixations)} fixations lie on the right "
                "or lower edge, where the source moved samples off the picture; they "
                "count as on the screen.",
                "The first recorded fixation is often far from the nominal start: take "
                "it as the start.",
                "`found` is the flag of the source; it does not follow from the last "
                "fixation and the box alone.",
            ],
        )


def open_interiors(
    folder: str | Path, stimuli: pd.DataFrame
) -> tuple[ZipPictures, ZipPictures]:
    """Open the scenes and the templates; each is decoded when asked for.

    Parameters
    ----------
    folder : str or Path
        Folder with ``images_512x384.zip`` and ``templates.zip``.
    stimuli : DataFrame
        Table with the column `stimulus_id`, such as `GazeData.stimuli`.

    Returns
    -------
    scenes : ZipPictures
        512 x 384 px, `IMAGE_SCALE` times smaller than the frame of the fixations, in
        the order of `stimuli`.
    templates : ZipPictures
        72 x 72 px, at the scale of the fixations.

    Raises
    ------
    FileNotFoundError
        If the folder or a zip file is not there.
    DataCorruptError
        If a zip file is damaged or lacks a picture.
    ValueError
        If `stimuli` lacks the column.
    """
    folder = check_path("folder", folder, kind="folder")
    check_columns("stimuli", stimuli.columns, ["stimulus_id"])
    names = stimuli["stimulus_id"].tolist()
    files = {"images": "images_512x384.zip", "templates": "templates.zip"}
    scenes, templates = (
        ZipPictures(
            check_path(file, folder / file), tuple(f"{part}/{n}.jpg" for n in names)
        )
        for part, file in files.items()
    )
    return scenes, templates


def _make_stimuli(targets: pd.DataFrame) -> pd.DataFrame:
    # Column 1 of MATLAB starts at 0 here. With this shift, and no other, a template
    # correlates with its scene (r = .99).
    edges = [targets[c] - 1 for c in ("x1", "y1", "x2", "y2")]
    return pd.DataFrame(
        {
            "stimulus_id": targets["image"],
            "width_px": WIDTH_PX,
            "height_px": HEIGHT_PX,
            **dict(zip(TARGET_COLUMNS, edges, strict=True)),
            "source_name": targets["source_name"],
        }
    )


def _name_trials(trials: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject": trials["subject"].astype(str),
            "stimulus_id": trials["image"],
            "trial": trials["trial_order"] - 1,
            "rt_ms": trials["search_rt_s"] * 1000.0,
            "found": trials["target_found"],
            "saccades_allowed": trials["saccades_allowed"],
            "start_x_px": trials["start_x"],
            "start_y_px": trials["start_y"],
            "response_x_px": trials["resp_x"],
            "response_y_px": trials["resp_y"],
            "response_size": trials["resp_size"],
            "trial_id": trials["trial_id"].astype(np.int64),
            "n_fixations": trials["n_fix"],
        }
    )
