"""Masks and label images that a lab keeps beside its responses."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.bids_files import read_tsv
from data_loaders.nsd_maps import read_map_and_affine
from data_loaders.nsd_regions import read_ctab
from data_loaders.pickled_npy import read_pickled_npy
from data_loaders.source_files import read_arrays
from neurovis.core.brain_space import VolumeSpace
from neurovis.core.checks import check_array, check_option, check_path
from neurovis.core.errors import DataCorruptError

Image = str | Path | NDArray[Any]
Names = Mapping[int, str] | str | Path


@dataclass(frozen=True, eq=False)
class UnitPlaces:
    """Which units are wanted, and where they lie.

    Parameters
    ----------
    places : ndarray of int64, shape (n_units,)
        0-based places in the files of responses, ascending; of volumes x fastest.
    units : DataFrame
        `unit_id` and the columns of place.
    space : VolumeSpace or None
        None if nothing tells where the units lie.
    voxels : ndarray of int64, shape (n_units,), or None
        0-based places in `space`, x fastest.
    """

    places: NDArray[np.int64]
    units: pd.DataFrame
    space: VolumeSpace | None = None
    voxels: NDArray[np.int64] | None = None


def place_units(
    grid: tuple[int, ...],
    affine: NDArray[np.float64] | None,
    mask: Image | None,
    *,
    name: str,
    mask_order: str = "C",
) -> UnitPlaces:
    """Tell which units a mask takes, and where they lie.

    Parameters
    ----------
    grid : tuple of int
        (X, Y, Z) of the responses, or (n_units,).
    affine : ndarray of float64, shape (4, 4), or None
        Of the responses, if they tell it.
    mask : path or array, optional
        Units above 0 are taken. Of the shape `grid`; or, for (n_units,), a volume with
        as many voxels above 0 as there are units, which tells where they lie.
    name : str
        Name of the space.
    mask_order : {"C", "F"}
        Order in which the voxels of a volume became units: "C" has z fastest, as
        ``data[mask]`` of NumPy and the maskers of nilearn; "F" has x fastest, as in
        MATLAB.

    Returns
    -------
    UnitPlaces
        The units.

    Raises
    ------
    FileNotFoundError
        If the mask is missing.
    ValueError
        If the mask has another grid or place, or takes nothing.
    DataCorruptError
        If the file is damaged.
    """
    check_option("mask_order", mask_order, ("C", "F"))
    if mask is None:
        everything = np.arange(int(np.prod(grid)))
        return _placed(everything, grid, affine, name)
    values, own_affine, label = _read_image("mask", mask)
    if not np.isfinite(values).all():
        raise ValueError(f"{label} holds values that are not finite; use 0 and 1.")
    inside = values > 0
    if not inside.any():
        raise ValueError(f"{label} takes no unit: none of its values is above 0.")
    if len(grid) == 1 and inside.ndim == 3:
        n_inside = int(inside.sum())
        if n_inside != grid[0]:
            raise ValueError(
                f"{label} has {n_inside} voxels above 0, but the responses have "
                f"{grid[0]} units: one voxel per unit is needed."
            )
        space = VolumeSpace(name, _three(inside.shape), own_affine)
        axes = np.nonzero(inside if mask_order == "C" else inside.T)
        axes = axes if mask_order == "C" else axes[::-1]
        voxels = np.ravel_multi_index(axes, inside.shape, order="F")
        places = np.arange(grid[0])
        return UnitPlaces(places, space.locate(voxels), space, voxels)
    _check_grid(label, inside.shape, grid)
    _check_affine(label, own_affine, affine)
    places = np.flatnonzero(inside.ravel(order="F"))
    return _placed(places, grid, own_affine if affine is None else affine, name)


def label_units(
    family: str,
    image: Image,
    names: Names | None,
    grid: tuple[int, ...],
    affine: NDArray[np.float64] | None,
    placed: UnitPlaces,
) -> pd.Categorical:
    """Read the labels of units from a label image.

    Parameters
    ----------
    family : str
        Name of the family of regions, for messages.
    image : path or array
        Whole numbers, of the grid of the responses or of the volume of their mask:
        below 0 outside of the atlas, 0 without a label.
    names : mapping, path, or None
        Name by number; or a table with columns `index` and `name` (BIDS), a ``.ctab``
        or ``.txt`` of lines "number name", a ``.json`` or a pickled ``.npy``. By
        default such a file beside the image; else labels are the numbers.
    grid : tuple of int
        (X, Y, Z) of the responses, or (n_units,).
    affine : ndarray of float64, shape (4, 4), or None
        Of the responses, if they tell it.
    placed : UnitPlaces
        The units.

    Returns
    -------
    Categorical, length n_units
        Labels, "" without one, NaN outside.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If the grid or place differs, or a number is not whole or has no name.
    DataCorruptError
        If a file is damaged.
    """
    values, own_affine, label = _read_image(f"regions[{family!r}]", image)
    if len(grid) == 1 and values.ndim == 3 and placed.space is not None:
        _check_grid(label, values.shape, placed.space.shape)
        _check_affine(label, own_affine, placed.space.affine)
        numbers = values.ravel(order="F")[placed.voxels]
    else:
        _check_grid(label, values.shape, grid)
        _check_affine(label, own_affine, affine)
        numbers = values.ravel(order="F")[placed.places]
    found = np.unique(numbers[numbers > 0])
    fractions = found[found != np.floor(found)]
    if len(fractions):
        raise ValueError(
            f"{label} must hold whole numbers; it holds {fractions[0]:g}. Labels must "
            "be resampled by nearest neighbour."
        )
    known = _read_names(family, image, names)
    if known is None:
        known = {int(n): str(int(n)) for n in found}
    unnamed = [int(n) for n in found if int(n) not in known]
    if unnamed:
        raise ValueError(
            f"{label} holds the number {unnamed[0]}, which has no name; names are "
            f"there for {sorted(known)[:20]}."
        )
    ordered = [n for n in sorted(known) if n > 0]
    inside = numbers >= 0
    codes = np.full(len(numbers), -1, np.int64)
    codes[inside] = np.searchsorted([0, *ordered], numbers[inside])
    categories = pd.Index(["", *(known[n] for n in ordered)], dtype="str")
    return pd.Categorical.from_codes(codes.tolist(), categories=categories)


def read_mask_volume(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Read a brain mask of a BIDS derivative.

    Parameters
    ----------
    path : Path
        NIfTI file.

    Returns
    -------
    inside : ndarray of bool, shape (X, Y, Z)
        True above 0.
    affine : ndarray of float64, shape (4, 4)
        From 0-based voxels to millimetres.

    Raises
    ------
    DataCorruptError
        If the file is damaged.
    """
    values, affine = read_map_and_affine(path)
    return values > 0, affine


def same_place(
    first: NDArray[np.float64] | None, second: NDArray[np.float64] | None
) -> bool:
    """Tell whether two affines agree to a thousandth of a millimetre.

    Parameters
    ----------
    first, second : ndarray of float64, shape (4, 4), or None
        None agrees with anything: formats without an affine tell no place.

    Returns
    -------
    bool
        True if they agree.
    """
    if first is None or second is None:
        return True
    return bool(np.allclose(first, second, rtol=1e-4, atol=1e-3))


def _placed(
    places: NDArray[np.int64],
    grid: tuple[int, ...],
    affine: NDArray[np.float64] | None,
    name: str,
) -> UnitPlaces:
    if len(grid) == 1:
        units = pd.DataFrame({"unit_id": [f"unit-{i}" for i in places]})
        return UnitPlaces(places, units.assign(position=places))
    space = VolumeSpace(name, _three(grid), affine)
    return UnitPlaces(places, space.locate(places), space, places)


def _three(shape: Sequence[int]) -> tuple[int, int, int]:
    return int(shape[0]), int(shape[1]), int(shape[2])


def _read_image(
    name: str, image: Image
) -> tuple[NDArray[Any], NDArray[np.float64] | None, str]:
    """Return the numbers, the affine if there is one, and what to call it."""
    if isinstance(image, np.ndarray):
        values, affine, label = image, None, f"`{name}`"
    else:
        path = check_path(name, image)
        label = f"`{name}` ({path.name})"
        if path.suffix == ".npy":
            values, affine = read_arrays(path, ["values"])["values"], None
        else:
            values, affine = read_map_and_affine(path)
            if path.name.endswith((".mgh", ".mgz")):
                affine = None
    if values.dtype.kind not in "biuf" or values.ndim not in (1, 3):
        raise ValueError(
            f"{label} must hold one number per voxel or unit; it has dtype "
            f"{values.dtype} and shape {values.shape}."
        )
    return check_array(name, values), affine, label


def _check_grid(label: str, shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
    if shape == grid:
        return
    swapped = sorted(shape) == sorted(grid)
    hint = (
        " Its axes are swapped: np.transpose puts them right."
        if swapped
        else " Bring it into the space of the responses first, by nearest neighbour."
    )
    raise ValueError(f"{label} has the grid {shape}, but the responses {grid}.{hint}")


def _check_affine(
    label: str,
    affine: NDArray[np.float64] | None,
    wanted: NDArray[np.float64] | None,
) -> None:
    if not same_place(affine, wanted):
        own, other = (np.round(np.asarray(a), 4).tolist() for a in (affine, wanted))
        raise ValueError(
            f"{label} has the grid of the responses, but another place in the brain: "
            f"its affine is {own}, that of the responses {other}. Resample it to them "
            "first."
        )


# ------------------------------------------------------------------------ names


def _read_names(
    family: str, image: Image, names: Names | None
) -> dict[int, str] | None:
    if names is None and not isinstance(image, np.ndarray):
        names = _beside(Path(image))
    if names is None:
        return None
    if isinstance(names, Mapping):
        found: dict[Any, Any] = dict(names)
    else:
        found = _read_name_file(check_path(f"names of {family!r}", names))
    well = all(isinstance(v, str) and v for v in found.values())
    keys = [int(k) for k in found if float(k) == int(k)]
    if not well or len(keys) != len(found) or len(set(found.values())) != len(found):
        raise ValueError(
            f"Names of {family!r} must be distinct texts by whole number; got "
            f"{str(found)[:80]}."
        )
    return dict(zip(keys, found.values(), strict=True))


def _beside(path: Path) -> Path | None:
    """Return the file of names that lies beside a label image, if any."""
    name = path.name
    stem = name.removesuffix(".gz").rpartition(".")[0]
    for other in (f"{name}.ctab", f"{stem}.ctab", f"{stem}.tsv"):
        if (path.parent / other).is_file():
            return path.parent / other
    return None


def _read_name_file(path: Path) -> dict[Any, Any]:
    if path.suffix == ".npy":
        found = read_pickled_npy(path)
    elif path.suffix == ".json":
        found = json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".tsv":
        table = read_tsv(path, None, ("index",))
        if not {"index", "name"} <= set(table):
            raise DataCorruptError(
                f"{path} must have the columns 'index' and 'name'; it has "
                f"{list(table)}."
            )
        found = dict(zip(table["index"], table["name"], strict=True))
    else:
        found = read_ctab(path)
    if not isinstance(found, dict):
        raise DataCorruptError(f"{path} must hold names by number.")
    if path.suffix == ".json":
        # JSON has no numbers as keys; some write {"V1": 1}, some {"1": "V1"}.
        turned = all(isinstance(v, int) for v in found.values())
        found = {v: k for k, v in found.items()} if turned else found
    return found
