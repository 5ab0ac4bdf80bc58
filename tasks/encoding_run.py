"""What a finished fit of encoding models left in its folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.array_files import write_array
from neurovis.core.checks import check_array, check_option, check_path
from neurovis.core.files import (
    DECODER_ERRORS,
    corrupt,
    read_table,
    write_table,
)
from neurovis.core.types import Provenance, Score
from tasks.encoding_data import HeldOut
from tasks.encoding_layers import file_name
from tasks.runs import read_call

TASK, ENCODERS, CLIP_ENCODERS = "encoding", "brain-encoder", "clip-encoder"
"""Experiments that leave such folders: linear models, trained encoders, and encoders of
embeddings."""

TABLES = ("units", "regions", "layers", "scores")
_MEASURED, _ROWS, _UNITS = "measured.npy", "rows.parquet", "units.parquet"


@dataclass(frozen=True)
class EncodingRun:
    """Tables of a finished fit.

    Parameters
    ----------
    folder : Path
        Where it lies.
    units : DataFrame
        One row per unit, model and layer.
    regions : DataFrame
        Measures summarised by region.
    layers : DataFrame
        Layers compared within each region; `chosen` by cross-validation within the
        training rows.
    scores : DataFrame
        Scores with limits.
    provenance : Provenance
        How it came about.
    spaces : DataFrame, optional
        R2 of each unit divided among feature spaces ("banded").
    """

    folder: Path
    units: pd.DataFrame
    regions: pd.DataFrame
    layers: pd.DataFrame
    scores: pd.DataFrame
    provenance: Provenance
    spaces: pd.DataFrame | None = None

    def rows(self, subject: str) -> pd.DataFrame:
        """Return which stimuli were predicted.

        Parameters
        ----------
        subject : str
            As in the tables.

        Returns
        -------
        DataFrame
            One row per prediction: `stimulus_id`, `n_repeats`, `split`, `row`.
        """
        return read_table(subject_folder(self.folder, subject) / _ROWS)

    def unit_places(self, subject: str) -> pd.DataFrame:
        """Return all that is known of the units, places included.

        Parameters
        ----------
        subject : str
            As in the tables.

        Returns
        -------
        DataFrame
            One row per unit, in the order of predictions.
        """
        return read_table(subject_folder(self.folder, subject) / _UNITS)

    def measured(self, subject: str) -> NDArray[np.float32]:
        """Open the held-out responses.

        Parameters
        ----------
        subject : str
            As in the tables.

        Returns
        -------
        ndarray of float32, shape (n_test, n_units)
            Memory-mapped.

        Raises
        ------
        FileNotFoundError, DataCorruptError
            If the file is missing or damaged.
        """
        return open_matrix(subject_folder(self.folder, subject) / _MEASURED)

    def predictions(self, subject: str, model: str, layer: str) -> NDArray[np.float32]:
        """Open the predictions of held-out responses.

        Parameters
        ----------
        subject, model, layer : str
            As in the tables.

        Returns
        -------
        ndarray of float32, shape (n_test, n_units)
            Memory-mapped.

        Raises
        ------
        FileNotFoundError, DataCorruptError
            If the file is missing or damaged.
        """
        return open_matrix(prediction_file(self.folder, subject, model, layer))


def subject_folder(folder: Path, subject: str) -> Path:
    """Return where the predictions of a subject lie.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    subject : str
        As in the tables.

    Returns
    -------
    Path
        Perhaps not there yet.
    """
    return folder / "predictions" / file_name(subject)


def prediction_file(folder: Path, subject: str, model: str, layer: str) -> Path:
    """Return where the predictions of a model lie.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    subject, model, layer : str
        As in the tables.

    Returns
    -------
    Path
        ``predictions/SUBJECT/MODEL/LAYER.npy``, perhaps not there yet.
    """
    name = f"{file_name(layer)}.npy"
    return subject_folder(folder, subject) / file_name(model) / name


def model_folder(folder: Path, subject: str, model: str, layer: str) -> Path:
    """Return where a fitted model lies.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    subject, model, layer : str
        As in the tables.

    Returns
    -------
    Path
        ``models/SUBJECT/MODEL/LAYER``, perhaps not there yet.
    """
    names = [file_name(name) for name in (subject, model, layer)]
    return folder.joinpath("models", *names)


def save_matrix(path: Path, values: NDArray[np.float32]) -> None:
    """Write a matrix atomically.

    Parameters
    ----------
    path : Path
        ``.npy`` file.
    values : ndarray of float32, shape (n_rows, n_units)
        Content.
    """
    write_array(path, np.ascontiguousarray(values, np.float32))


def open_matrix(path: Path) -> NDArray[np.float32]:
    """Open what `save_matrix` wrote.

    Parameters
    ----------
    path : Path
        ``.npy`` file.

    Returns
    -------
    ndarray of float32, shape (n_rows, n_units)
        Memory-mapped and read-only.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the file is missing or damaged.
    """
    check_path("predictions", path)
    try:
        values = np.load(path, mmap_mode="r")
        return check_array("predictions", values, shape=(None, None), dtype=np.float32)
    except DECODER_ERRORS as error:
        raise corrupt(path, "NumPy array", error) from error


def save_held_out(folder: Path, held: HeldOut) -> None:
    """Write what is predicted for a subject, unless it is there.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    held : HeldOut
        Responses that models do not see.
    """
    home = subject_folder(folder, held.data.subject)
    save_matrix(home / _MEASURED, held.measured)
    write_table(home / _ROWS, held.table)
    write_table(home / _UNITS, held.data.responses.units)


def load_encoding(folder: str | Path) -> EncodingRun:
    """Read the tables of a finished fit.

    Parameters
    ----------
    folder : str or Path
        What `tasks.encoding.fit_encoding` wrote.

    Returns
    -------
    EncodingRun
        Its tables.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished fit.
    DataCorruptError
        If one of its files is damaged.
    ValueError
        If it holds something else.
    """
    folder = Path(folder)
    if (folder / "run.json").is_file():
        task = read_call(folder).get("task")
        check_option(f"task of {folder}", task, (TASK, ENCODERS, CLIP_ENCODERS))
    needed = [*(f"{name}.parquet" for name in TABLES), "provenance.json"]
    absent = [name for name in needed if not (folder / name).is_file()]
    if absent:
        task = read_call(folder)["task"] if (folder / "run.json").is_file() else TASK
        raise FileNotFoundError(
            f"{folder} holds no finished fit: {absent[0]} is missing. Run `neurovis "
            f"fit {task} --out {folder}` (again) to finish it."
        )
    score = Score.load(folder)
    tables = {name: read_table(folder / f"{name}.parquet") for name in TABLES[:3]}
    spaces = folder / "spaces.parquet"
    return EncodingRun(
        folder,
        scores=score.table,
        provenance=score.provenance,
        spaces=read_table(spaces) if spaces.is_file() else None,
        **tables,
    )
