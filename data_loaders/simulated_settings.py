"""What simulations of all forms share: checks, signals, marks of simulation."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.simulated_brain import (
    SimulatedBrain,
    SimulatedCortex,
    preferred_categories,
)
from data_loaders.simulated_design import (
    N_REPEATS,
    TRIALS_PER_SESSION,
    check_sessions,
)
from data_loaders.simulated_features import picture_signals
from neurovis.core.checks import check_columns, check_option, check_whole
from neurovis.core.files import write_json, write_table
from neurovis.core.provenance import collect

SETTINGS_FILE = "neurovis_simulation.json"
"""Marks a folder as simulated."""

TRUTH_FOLDER = "neurovis_simulation"
"""Folder of the tables of truth."""


def check_each(
    name: str, values: Sequence[str], allowed: tuple[str, ...]
) -> tuple[str, ...]:
    """Return `values` if they are distinct names among `allowed`, at least one.

    Parameters
    ----------
    name : str
        Argument name for the message.
    values : sequence of str
        What came.
    allowed : tuple of str
        What is accepted.

    Returns
    -------
    tuple of str
        The names.

    Raises
    ------
    TypeError, ValueError
        If they are not.
    """
    if isinstance(values, str):
        raise TypeError(f"`{name}` must be a sequence of names; got {values!r}.")
    for value in values:
        check_option(name, value, allowed)
    if not len(values) or len(set(values)) != len(values):
        raise ValueError(f"`{name}` must hold distinct names; got {list(values)}.")
    return tuple(values)


def check_vertices(n_vertices: tuple[int, int]) -> tuple[int, int]:
    """Return numbers of vertices, left and right, if both are at least 100.

    Parameters
    ----------
    n_vertices : tuple of int
        What came.

    Returns
    -------
    tuple of int
        The numbers.

    Raises
    ------
    TypeError, ValueError
        If they are not two whole numbers of that size.
    """
    if len(n_vertices) != 2:
        raise ValueError(f"`n_vertices` must be two numbers; got {n_vertices}.")
    left, right = (check_whole("n_vertices", n, low=100) for n in n_vertices)
    return left, right


def check_categories(
    labels: pd.DataFrame, n_pictures: int
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the category of each picture as a number, and the names.

    Parameters
    ----------
    labels : DataFrame
        One row per picture, with the column `category`.
    n_pictures : int
        Pictures given.

    Returns
    -------
    numbers : ndarray of int64, shape (n_pictures,)
        Positions in the names.
    names : list of str
        Sorted.

    Raises
    ------
    ValueError
        If rows or categories are missing.
    """
    check_columns("labels", labels.columns, ("category",))
    if len(labels) != n_pictures:
        raise ValueError(
            f"`labels` has {len(labels)} rows but there are {n_pictures} pictures: one "
            "row per picture is needed."
        )
    if labels["category"].isna().any():
        raise ValueError("`labels` has pictures without a category: name one for each.")
    numbers, names = pd.factorize(labels["category"].astype(str), sort=True)
    return numbers.astype(np.int64), [str(name) for name in names]


def n_pictures(
    n_subjects: int, n_sessions: int | Sequence[int], n_shared: int | None = None
) -> int:
    """Return how many pictures a simulation needs.

    Parameters
    ----------
    n_subjects : int
        1 to 8.
    n_sessions : int or sequence of int
        Sessions of all subjects, or of each. Each subject sees 250 pictures for each
        session of the longest.
    n_shared : int, optional
        Pictures that all subjects see; by default a tenth of those of a subject.

    Returns
    -------
    int
        Distinct pictures.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> n_pictures(8, 40)
    73000
    """
    sessions = check_sessions(n_subjects, n_sessions, 0)
    n_images, n_shared = _list_lengths(sessions, n_shared)
    return n_shared + len(sessions) * (n_images - n_shared)


def _list_lengths(sessions: tuple[int, ...], n_shared: int | None) -> tuple[int, int]:
    n_images = max(sessions) * TRIALS_PER_SESSION // N_REPEATS
    if n_shared is None:
        n_shared = n_images // 10
    return n_images, check_whole("n_shared", n_shared, low=1, high=n_images)


def check_pictures(
    n_given: int, sessions: tuple[int, ...], n_shared: int | None
) -> int:
    """Return the number of shared pictures, if there are pictures enough.

    Parameters
    ----------
    n_given : int
        Pictures given.
    sessions : tuple of int
        Sessions of each subject.
    n_shared : int or None
        Shared ones asked for; None is a tenth of those of a subject.

    Returns
    -------
    int
        Shared pictures.

    Raises
    ------
    TypeError, ValueError
        If there are too few pictures or `n_shared` is out of range.
    """
    n_images, n_shared = _list_lengths(sessions, n_shared)
    needed = n_pictures(len(sessions), sessions, n_shared)
    if n_given < needed:
        raise ValueError(
            f"`pictures` must be at least {needed}: {len(sessions)} subjects see "
            f"{n_images} each, {n_shared} of them shared; got {n_given}. Give more "
            "pictures, share more of them, or ask for fewer subjects or sessions."
        )
    return n_shared


def check_free_space(folder: Path, n_bytes: int) -> None:
    """Raise unless a disk can take so many bytes and 5 % more.

    Parameters
    ----------
    folder : Path
        Where they are going to be written; need not exist.
    n_bytes : int
        How many.

    Raises
    ------
    OSError
        If there is too little space.
    """
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if free < 1.05 * n_bytes:
        raise OSError(
            f"{folder} needs {n_bytes / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} "
            "GB left. Free some space, choose another disk, or simulate less."
        )


def subject_signals(
    cortex: SimulatedCortex,
    grey: NDArray[np.uint8],
    category: NDArray[np.int64],
    order: NDArray[np.int64],
) -> tuple[SimulatedCortex, NDArray[np.int64], NDArray[np.float32]]:
    """Return the noiseless responses of a subject to its list of pictures.

    Parameters
    ----------
    cortex : SimulatedCortex
        The subject.
    grey : ndarray of uint8, shape (n_pictures, 64, 64)
        From `luminance`.
    category : ndarray of int64, shape (n_pictures,)
        Category of each picture.
    order : ndarray of int64, shape (n_images,)
        0-based numbers of the pictures of the list.

    Returns
    -------
    cortex : SimulatedCortex
        With `ncsnr` 0 where the response would be the same to all pictures.
    rows : ndarray of int64, shape (20484,)
        Row of the signals of each vertex; -1 without a signal.
    signals : ndarray of float32, shape (n_signals, n_images)
        Mean 0, standard deviation 1.
    """
    driven = np.flatnonzero(cortex.vertices["energy_share"].notna())
    tuning = cortex.vertices.iloc[driven]
    weights = cortex.weights[driven]
    signals = picture_signals(tuning, weights, grey, category, order)
    varies = signals.any(axis=1)
    ncsnr = cortex.vertices["ncsnr"].to_numpy(copy=True)
    ncsnr[driven[~varies]] = 0.0
    rows = np.full(len(ncsnr), -1)
    rows[driven[varies]] = np.arange(varies.sum())
    vertices = cortex.vertices.assign(ncsnr=ncsnr)
    return replace(cortex, vertices=vertices), rows, signals[varies]


def write_picture_truth(root: Path, labels: pd.DataFrame) -> None:
    """Write the identity, number and category of each picture.

    Parameters
    ----------
    root : Path
        Top of the tree.
    labels : DataFrame
        One row per picture, with the column `category`.
    """
    number = np.arange(len(labels))
    table = {
        "stimulus_id": [f"nsd-{i:05d}" for i in number],
        "nsd_id": number,
        "category": labels["category"].astype(str).to_numpy(),
    }
    write_table(root / TRUTH_FOLDER / "pictures.parquet", pd.DataFrame(table))


def write_settings(
    root: Path,
    form: str,
    settings: Mapping[str, Any],
    brain: SimulatedBrain,
    categories: Sequence[str],
    seed: int,
) -> None:
    """Write the file that marks a folder as simulated.

    Parameters
    ----------
    root : Path
        Top of the tree.
    form : {"nsd", "algonauts"}
        Which data set it looks like.
    settings : mapping
        Arguments of the call, as JSON values.
    brain : SimulatedBrain
        Parameters of the brains.
    categories : sequence of str
        Of the pictures.
    seed : int
        Seed of the simulation.
    """
    provenance = collect(seed).to_dict()
    values = {
        "simulated": True,
        "form": form,
        "seed": seed,
        "settings": settings,
        "categories": categories,
        "preferred_categories": preferred_categories(brain, categories),
        "versions": provenance["versions"],
        "code": provenance["code"],
    }
    write_json(root / SETTINGS_FILE, values)
