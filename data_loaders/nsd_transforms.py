"""Maps of the Natural Scenes Dataset moved between its spaces.

The files hold places that count from 1. Between surfaces they are vertices; from
volumes they are decimal voxels, with 9999 where there is none. Names are those of the
folder ``transforms``, such as "func1pt8-to-layerB2".

Follows ``nsd_mapdata`` of the authors (cvnlab/nsdcode): a place outside of the grid of
the source is undefined. Unlike there, an undefined value of the source stays so.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_loaders.nsd_files import check_root, subject_name
from data_loaders.nsd_maps import read_map
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_array, check_option, suggest
from neurovis.core.errors import DataCorruptError

_NOWHERE = 9999


def map_to_fsaverage(
    root: str | Path, subject: int | str, maps: Mapping[str, ArrayLike]
) -> dict[str, NDArray[Any]]:
    """Move maps from the native surface of a subject to fsaverage.

    Each vertex takes the value of the nearest native one: labels stay labels.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    subject : int or str
        1-based number, or "subj01".
    maps : mapping of str to array_like, shape (n_native, ...)
        "lh", "rh" or both.

    Returns
    -------
    dict of str to ndarray, shape (163842, ...)
        The same hemispheres, of the same dtype.

    Raises
    ------
    FileNotFoundError
        If the table of a hemisphere is missing.
    ValueError
        If a map has another number of vertices than the table tells.
    DataCorruptError
        If the table holds what cannot be.
    """
    return _map_nearest(root, subject, maps, "white-to-fsaverage")


def map_to_native(
    root: str | Path, subject: int | str, maps: Mapping[str, ArrayLike]
) -> dict[str, NDArray[Any]]:
    """Move maps from fsaverage to the native surface of a subject.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    subject : int or str
        1-based number, or "subj01".
    maps : mapping of str to array_like, shape (163842, ...)
        "lh", "rh" or both.

    Returns
    -------
    dict of str to ndarray, shape (n_native, ...)
        The same hemispheres, of the same dtype.

    Raises
    ------
    FileNotFoundError, ValueError, DataCorruptError
        As `map_to_fsaverage`.
    """
    return _map_nearest(root, subject, maps, "fsaverage-to-white")


def map_to_surface(
    root: str | Path,
    subject: int | str,
    volume: ArrayLike,
    *,
    transform: str = "func1pt8-to-layerB2",
    order: int = 1,
    outside: float = float("nan"),
) -> dict[str, NDArray[np.float64]]:
    """Sample a volume at the vertices of the native surface.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    subject : int or str
        1-based number, or "subj01".
    volume : array_like of float, shape (X, Y, Z)
        A map in the space before "-to-".
    transform : str, default "func1pt8-to-layerB2"
        Name of the files without hemisphere and suffix.
    order : {0, 1}, default 1
        0 takes the nearest voxel (labels), 1 interpolates linearly.
    outside : float, default NaN
        Value of vertices that lie outside of the volume; the authors use 0.

    Returns
    -------
    dict of str to ndarray of float64, shape (n_native,)
        "lh" and "rh".

    Raises
    ------
    FileNotFoundError
        If there is no such transform; those there are named.
    ValueError
        If `volume` or `order` is not as above.
    DataCorruptError
        If the file does not hold three numbers per vertex.
    """
    volume = _check_volume(volume, order)
    sampled = {}
    for hemisphere in HEMISPHERES:
        path = _find(root, subject, f"{hemisphere}.{transform}.mgz")
        places = read_map(path)
        if places.ndim != 2 or places.shape[1] != 3:
            raise DataCorruptError(
                f"{path} must hold three numbers per vertex; its shape is "
                f"{places.shape}."
            )
        sampled[hemisphere] = sample_volume(volume, places, order, outside)
    return sampled


def map_to_volume(
    root: str | Path,
    subject: int | str,
    volume: ArrayLike,
    *,
    transform: str,
    order: int = 1,
    outside: float = float("nan"),
) -> NDArray[np.float64]:
    """Sample a volume at the voxels of another volume.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    subject : int or str
        1-based number, or "subj01".
    volume : array_like of float, shape (X, Y, Z)
        A map in the space before "-to-".
    transform : str
        Name of the file without suffix, such as "func1pt8-to-anat0pt8" or
        "func1pt8-to-MNI".
    order : {0, 1}, default 1
        0 takes the nearest voxel (labels), 1 interpolates linearly.
    outside : float, default NaN
        Value of voxels that lie outside of the source; the authors use 0.

    Returns
    -------
    ndarray of float64, shape (X', Y', Z')
        The map in the space after "-to-". In MNI the first axis is flipped, as the
        authors do when they save it.

    Raises
    ------
    FileNotFoundError
        If there is no such transform; those there are named.
    ValueError
        If `volume` or `order` is not as above.
    DataCorruptError
        If the file does not hold three numbers per voxel.
    """
    volume = _check_volume(volume, order)
    path = _find(root, subject, f"{transform}.nii.gz")
    places = read_map(path)
    if places.ndim != 4 or places.shape[3] != 3:
        raise DataCorruptError(
            f"{path} must hold three numbers per voxel; its shape is {places.shape}."
        )
    flat = sample_volume(volume, places.reshape(-1, 3), order, outside)
    moved = flat.reshape(places.shape[:3])
    return np.flip(moved, axis=0) if transform.endswith("-to-MNI") else moved


def sample_volume(
    volume: NDArray[np.float64],
    places: ArrayLike,
    order: int = 1,
    outside: float = float("nan"),
) -> NDArray[np.float64]:
    """Sample a volume at decimal places that count from 1.

    Parameters
    ----------
    volume : ndarray of float64, shape (X, Y, Z)
        The source.
    places : array_like of float, shape (n_places, 3)
        1 is the centre of the first voxel; 9999 is nowhere.
    order : {0, 1}, default 1
        0 takes the nearest voxel (of two the one further on), 1 interpolates
        linearly. A voxel that is NaN counts only where its weight is above 0.
    outside : float, default NaN
        Value where a place is nowhere, below 1 or above the size of the volume.

    Returns
    -------
    ndarray of float64, shape (n_places,)
        The samples.

    Examples
    --------
    >>> volume = np.array([[[10.0]], [[20.0]]])
    >>> sample_volume(volume, [[1, 1, 1], [1.25, 1, 1], [9999, 9999, 9999]]).tolist()
    [10.0, 12.5, nan]
    """
    place = np.asarray(places, np.float64) - 1
    limit = np.array(volume.shape) - 1
    inside = ((place >= 0) & (place <= limit)).all(axis=1)
    result = np.full(len(place), outside, np.float64)
    place = place[inside]
    if order == 0:
        x, y, z = np.floor(place + 0.5).astype(np.int64).T
        result[inside] = volume[x, y, z]
        return result
    low = np.minimum(np.floor(place).astype(np.int64), np.maximum(limit - 1, 0))
    part = place - low
    total = np.zeros(len(place))
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(np.array(corner) == 1, part, 1 - part).prod(axis=1)
        x, y, z = np.minimum(low + corner, limit).T
        # 0 * NaN would be NaN.
        total += np.where(weight > 0, weight * volume[x, y, z], 0)
    result[inside] = total
    return result


def read_nearest(path: str | Path, n_source: int) -> NDArray[np.int64]:
    """Read a table of the nearest vertices.

    Parameters
    ----------
    path : str or Path
        ``.mgz`` file of vertices that count from 1.
    n_source : int
        Vertices of the mesh that they are of.

    Returns
    -------
    ndarray of int64, shape (n_vertices,)
        0-based vertices.

    Raises
    ------
    ValueError
        If a vertex is above `n_source`.
    DataCorruptError
        If it holds anything but whole numbers from 1.
    """
    table = read_map(path)
    whole = table.ndim == 1 and np.isfinite(table).all()
    if not whole or not (table == np.floor(table)).all() or table.min() < 1:
        raise DataCorruptError(
            f"{path} must hold one whole number from 1 per vertex; its shape is "
            f"{table.shape} and its smallest number {table.min()}."
        )
    if table.max() > n_source:
        raise ValueError(
            f"The map has {n_source} vertices, but {path} speaks of vertex "
            f"{int(table.max())} (from 1). Is it of another subject or surface?"
        )
    return table.astype(np.int64) - 1


def _map_nearest(
    root: str | Path, subject: int | str, maps: Mapping[str, ArrayLike], name: str
) -> dict[str, NDArray[Any]]:
    moved = {}
    for hemisphere, values in maps.items():
        check_option("hemisphere", hemisphere, HEMISPHERES)
        path = _find(root, subject, f"{hemisphere}.{name}.mgz")
        source = np.asarray(values)
        moved[hemisphere] = source[read_nearest(path, len(source))]
    return moved


def _find(root: str | Path, subject: int | str, name: str) -> Path:
    person = subject_name(subject)
    folder = check_root(root) / "nsddata" / "ppdata" / person / "transforms"
    path = folder / name
    if path.is_file():
        return path
    have = sorted(p.name for p in folder.glob("*") if p.is_file())
    listed = ", ".join(have) if have else "none"
    raise FileNotFoundError(
        f"There is no transform {name} of {person}.{suggest(name, have)} In "
        f"{folder} are: {listed}."
    )


def _check_volume(volume: ArrayLike, order: int) -> NDArray[np.float64]:
    check_option("order", order, (0, 1))
    numbers = np.asarray(volume, np.float64)
    return check_array("volume", numbers, shape=(None, None, None))
