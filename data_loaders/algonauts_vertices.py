"""Vertices of the Algonauts 2023 challenge: places, names of regions, ceilings.

Columns of responses follow the challenge vertices of one hemisphere. Masks of all
vertices place them on fsaverage; labels are numbers, which mappings name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.pickled_npy import read_pickled_npy
from data_loaders.source_files import read_arrays
from neurovis.core.brain_space import HEMISPHERES, SurfaceSpace
from neurovis.core.checks import suggest
from neurovis.core.errors import DataCorruptError

FAMILIES = (
    "prf-visualrois",
    "floc-bodies",
    "floc-faces",
    "floc-places",
    "floc-words",
    "streams",
)
"""Families of regions that the challenge distributed."""


_FSAVERAGE = {
    163_842: "fsaverage",
    40_962: "fsaverage6",
    10_242: "fsaverage5",
    2_562: "fsaverage4",
    642: "fsaverage3",
}


def read_ceilings(
    subject: Path, n_vertices: Sequence[int]
) -> NDArray[np.float64] | None:
    """Read the noise ceilings of the test responses.

    They are fractions of explainable variance, ``ncsnr**2 / (ncsnr**2 + kappa)`` with
    kappa from the repeats of the test pictures, as the code that made the challenge
    data writes them.

    Parameters
    ----------
    subject : Path
        Folder of the subject.
    n_vertices : sequence of int
        Challenge vertices, left and right.

    Returns
    -------
    ndarray of float64, shape (n_lh + n_rh,), or None
        Between 0 and 1 or NaN; None if they were not distributed.

    Raises
    ------
    DataCorruptError
        If only one file is there, lengths differ, or a value is no fraction.
    """
    folder = subject / "test_split" / "noise_ceiling"
    paths = [folder / f"{h}_noise_ceiling.npy" for h in HEMISPHERES]
    if not any(p.is_file() for p in paths):
        return None
    values = [
        _vertex_values(path, n).astype(np.float64)
        for path, n in zip(paths, n_vertices, strict=True)
    ]
    ceilings = np.concatenate(values)
    if (ceilings < 0).any() or (ceilings > 1).any():
        raise DataCorruptError(
            f"{folder} must hold fractions of explainable variance from 0 to 1; values "
            f"reach from {np.nanmin(ceilings):g} to {np.nanmax(ceilings):g}. If they "
            "are percent, divide them by 100 and save them again."
        )
    return ceilings


def find_families(subject: Path) -> list[str]:
    """Return the families of regions that both hemispheres have.

    Parameters
    ----------
    subject : Path
        Folder of the subject.

    Returns
    -------
    list of str
        Those of `FAMILIES` first, others sorted.
    """
    tail = "_challenge_space.npy"
    sets = [
        {p.name[len(h) + 1 : -len(tail)] for p in _masks(subject).glob(f"{h}.*{tail}")}
        for h in HEMISPHERES
    ]
    both = sets[0] & sets[1]
    return [f for f in FAMILIES if f in both] + sorted(both - set(FAMILIES))


def vertex_table(
    subject: Path, n_vertices: Sequence[int], families: Sequence[str] | None
) -> tuple[pd.DataFrame, tuple[str, ...], SurfaceSpace | None, tuple[str, ...]]:
    """Read places and labels of the challenge vertices, left before right.

    Parameters
    ----------
    subject : Path
        Folder of the subject.
    n_vertices : sequence of int
        Challenge vertices, left and right.
    families : sequence of str or None
        Families of regions; None takes those that are there.

    Returns
    -------
    units : DataFrame
        `unit_id`, `hemisphere`, `vertex` (0-based on fsaverage; not without masks),
        `challenge_vertex` (0-based column of the hemisphere's files), and a
        categorical column of labels per family.
    families : tuple of str
        The columns of labels.
    space : SurfaceSpace or None
        None if the masks of all vertices were not distributed.
    notes : tuple of str
        What a reader must know.

    Raises
    ------
    FileNotFoundError
        If a mapping from numbers to names is missing.
    ValueError
        If a family is not there; those there are named.
    DataCorruptError
        If lengths differ, or a number has no name.
    """
    have = find_families(subject)
    wanted = tuple(have if families is None else families)
    for family in wanted:
        if family not in have:
            raise ValueError(
                f"`families` has {family!r}, but {_masks(subject)} has labels of "
                f"{have}.{suggest(family, have)}"
            )
    absent = [f for f in FAMILIES if f not in have]
    notes = [f"Labels of {', '.join(absent)} are not there."] * bool(absent)
    places = _places(subject, n_vertices)
    column = np.concatenate([np.arange(n) for n in n_vertices])
    if places is None:
        hemisphere = np.repeat(HEMISPHERES, n_vertices)
        ids = [f"{h}-challenge-{v}" for h, v in zip(hemisphere, column, strict=True)]
        units = pd.DataFrame({"unit_id": ids, "hemisphere": hemisphere})
        space = None
        notes.append(
            "The masks of all vertices are not there: the place of the vertices on "
            "fsaverage is not known, and no brain map can be made."
        )
    else:
        lengths, flat = places
        name = _FSAVERAGE.get(lengths[0], "surface")
        space = SurfaceSpace(name, (lengths[0], lengths[1]))
        units = space.locate(flat)
    units = units.assign(challenge_vertex=column)
    for family in wanted:
        units[family] = _labels(subject, family, n_vertices)
    return units, wanted, space, tuple(notes)


def check_labels(subject: Path, n_vertices: Sequence[int]) -> None:
    """Compare labels of challenge vertices with those on fsaverage.

    Parameters
    ----------
    subject : Path
        Folder of the subject.
    n_vertices : sequence of int
        Challenge vertices, left and right.

    Raises
    ------
    DataCorruptError
        If they disagree, or lengths differ.
    """
    for hemisphere, n in zip(HEMISPHERES, n_vertices, strict=True):
        mask = _masks(subject) / f"{hemisphere}.all-vertices_fsaverage_space.npy"
        for family in find_families(subject):
            path = _masks(subject) / f"{hemisphere}.{family}_fsaverage_space.npy"
            if not (mask.is_file() and path.is_file()):
                continue
            inside = _vertex_values(mask, None) > 0
            on_fsaverage = _vertex_values(path, len(inside))[inside]
            here = path.with_name(f"{hemisphere}.{family}_challenge_space.npy")
            if not np.array_equal(on_fsaverage, _vertex_values(here, n)):
                raise DataCorruptError(
                    f"{here} differs from {path.name} at the challenge vertices. Are "
                    "the files of one subject? Get them again from their source."
                )


def _masks(subject: Path) -> Path:
    return subject / "roi_masks"


def _places(
    subject: Path, n_vertices: Sequence[int]
) -> tuple[list[int], NDArray[np.int64]] | None:
    paths = [
        _masks(subject) / f"{h}.all-vertices_fsaverage_space.npy" for h in HEMISPHERES
    ]
    if not any(p.is_file() for p in paths):
        return None
    lengths: list[int] = []
    flat = []
    for path, n in zip(paths, n_vertices, strict=True):
        mask = _vertex_values(path, None)
        inside = np.flatnonzero(mask > 0)
        if len(inside) != n:
            raise DataCorruptError(
                f"{path} marks {len(inside)} vertices, but the responses have {n}. Are "
                "the files of one subject?"
            )
        flat.append(inside + sum(lengths))
        lengths.append(len(mask))
    return lengths, np.concatenate(flat)


def _labels(subject: Path, family: str, n_vertices: Sequence[int]) -> pd.Categorical:
    path = _masks(subject) / f"mapping_{family}.npy"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: it tells the names of the regions of {family}. Get it "
            "from the challenge data, or leave this family out with `families`."
        )
    names = _read_mapping(path)
    parts = []
    for hemisphere, n in zip(HEMISPHERES, n_vertices, strict=True):
        file = _masks(subject) / f"{hemisphere}.{family}_challenge_space.npy"
        numbers = _vertex_values(file, n)
        unknown = sorted(set(numbers[numbers > 0].tolist()) - set(names))
        if unknown:
            raise DataCorruptError(
                f"{file} holds the label {unknown[0]:g}, but {path.name} names only "
                f"{sorted(names)}."
            )
        parts.append(numbers)
    cells = [
        names.get(number, "") if number >= 0 else None
        for number in np.concatenate(parts).tolist()
    ]
    return pd.Categorical(cells, categories=["", *dict.fromkeys(names.values())])


def _read_mapping(path: Path) -> dict[float, str]:
    """Read the names of regions by their number, 0 left out."""
    mapping: Any = read_pickled_npy(path)
    well = isinstance(mapping, dict) and all(
        isinstance(k, int | float) and isinstance(v, str) and v
        for k, v in mapping.items()
    )
    if not well or len(set(mapping.values())) != len(mapping):
        raise DataCorruptError(
            f"{path} must hold a dictionary from numbers to distinct names of regions; "
            f"it holds {str(mapping)[:80]!a}."
        )
    return {number: mapping[number] for number in sorted(mapping) if number > 0}


def _vertex_values(path: Path, n: int | None) -> NDArray[Any]:
    if not path.is_file():
        raise DataCorruptError(f"{path} is missing, but its other hemisphere is there.")
    values = read_arrays(path, ["values"])["values"]
    wanted = f"{n}" if n is not None else "one per vertex"
    if values.ndim != 1 or (n is not None and len(values) != n):
        raise DataCorruptError(
            f"{path} must hold {wanted} numbers, one per vertex; it has the shape "
            f"{values.shape}. Is it of another subject?"
        )
    return values
