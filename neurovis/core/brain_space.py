"""Where units lie: voxels of a volume, vertices of a cortical surface.

A unit is found again by its place, so that any column of numbers, one per unit,
can be put back onto the brain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_columns, check_option, check_whole

HEMISPHERES = ("lh", "rh")
FSAVERAGE_VERTICES = 163_842
"""Vertices of one hemisphere of fsaverage."""


@dataclass(frozen=True, eq=False)
class VolumeSpace:
    """A grid of voxels.

    Parameters
    ----------
    name : str
        Such as "func1pt8mm".
    shape : tuple of int
        Voxels along X, Y and Z, the order of NIfTI.
    affine : ndarray of float64, shape (4, 4), optional
        From 0-based voxel indices to millimetres; None when the files tell none.

    Raises
    ------
    TypeError, ValueError
        If `shape` is not three positive numbers or `affine` not (4, 4).

    Examples
    --------
    >>> VolumeSpace("func1pt8mm", (81, 104, 83)).n_units
    699192
    """

    name: str
    shape: tuple[int, int, int]
    affine: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 3:
            raise ValueError(f"`shape` must be three numbers; got {self.shape}.")
        shape = tuple(check_whole("shape", n, low=1) for n in self.shape)
        object.__setattr__(self, "shape", shape)
        if self.affine is not None:
            affine = np.asarray(self.affine, np.float64)
            check_array("affine", affine, shape=(4, 4))
            object.__setattr__(self, "affine", affine)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VolumeSpace):
            return NotImplemented
        return self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[str, tuple[int, ...], tuple[float, ...] | None]:
        affine = self.affine
        return self.name, self.shape, None if affine is None else tuple(affine.flat)

    @property
    def n_units(self) -> int:
        """Number of voxels of the whole grid."""
        return int(np.prod(self.shape))

    def locate(self, flat: ArrayLike) -> pd.DataFrame:
        """Return identity and place of voxels.

        Parameters
        ----------
        flat : array_like of int, shape (n_units,)
            0-based position in the grid, x fastest: ``x + X * (y + Y * z)``.

        Returns
        -------
        DataFrame
            Columns `unit_id` (str, such as "x40-y21-z9"), `x`, `y`, `z` (0-based).

        Raises
        ------
        TypeError, ValueError
            If `flat` is no list of whole numbers or one lies outside the grid.
        """
        place = _check_flat(flat, self)
        x, y, z = np.unravel_index(place, self.shape, order="F")
        ids = [f"x{a}-y{b}-z{c}" for a, b, c in zip(x, y, z, strict=True)]
        return pd.DataFrame({"unit_id": ids, "x": x, "y": y, "z": z})


@dataclass(frozen=True)
class SurfaceSpace:
    """Two meshes of vertices, left and right.

    Parameters
    ----------
    name : str
        Such as "fsaverage", "fsaverage5" or "nativesurface".
    n_vertices : tuple of int
        Vertices of the left and of the right mesh.

    Raises
    ------
    TypeError, ValueError
        If `n_vertices` is not two positive numbers.

    Examples
    --------
    >>> SurfaceSpace("fsaverage5", (10_242, 10_242)).n_units
    20484
    """

    name: str
    n_vertices: tuple[int, int]

    def __post_init__(self) -> None:
        if len(self.n_vertices) != 2:
            raise ValueError(f"`n_vertices` must be two numbers; {self.n_vertices}.")
        counts = tuple(check_whole("n_vertices", n, low=1) for n in self.n_vertices)
        object.__setattr__(self, "n_vertices", counts)

    @property
    def n_units(self) -> int:
        """Number of vertices of both hemispheres."""
        return sum(self.n_vertices)

    def locate(self, flat: ArrayLike) -> pd.DataFrame:
        """Return identity and place of vertices.

        Parameters
        ----------
        flat : array_like of int, shape (n_units,)
            0-based position, all left vertices before all right ones.

        Returns
        -------
        DataFrame
            Columns `unit_id` (str, such as "lh-1042"), `hemisphere` ("lh" or "rh")
            and `vertex` (0-based in its hemisphere).

        Raises
        ------
        TypeError, ValueError
            If `flat` is no list of whole numbers or one lies outside the meshes.
        """
        place = _check_flat(flat, self)
        right = place >= self.n_vertices[0]
        vertex = np.where(right, place - self.n_vertices[0], place)
        hemisphere = np.where(right, "rh", "lh")
        ids = [f"{h}-{v}" for h, v in zip(hemisphere, vertex, strict=True)]
        columns = {"unit_id": ids, "hemisphere": hemisphere, "vertex": vertex}
        return pd.DataFrame(columns)


BrainSpace = VolumeSpace | SurfaceSpace


def describe_space(space: BrainSpace | None) -> dict[str, Any] | None:
    """Return a space as JSON values.

    Parameters
    ----------
    space : VolumeSpace, SurfaceSpace or None
        A space, or None where there is none.

    Returns
    -------
    dict or None
        What `read_space` reads.

    Examples
    --------
    >>> describe_space(SurfaceSpace("tiny", (2, 3)))
    {'name': 'tiny', 'n_vertices': [2, 3]}
    """
    if space is None:
        return None
    if isinstance(space, SurfaceSpace):
        return {"name": space.name, "n_vertices": list(space.n_vertices)}
    affine = None if space.affine is None else space.affine.tolist()
    return {"name": space.name, "shape": list(space.shape), "affine": affine}


def read_space(place: Mapping[str, Any] | None) -> BrainSpace | None:
    """Return the space that `describe_space` told.

    Parameters
    ----------
    place : mapping or None
        JSON values.

    Returns
    -------
    VolumeSpace, SurfaceSpace or None
        An equal space.

    Raises
    ------
    KeyError, TypeError, ValueError
        If these are not the values of a space.

    Examples
    --------
    >>> read_space({"name": "tiny", "n_vertices": [2, 3]})
    SurfaceSpace(name='tiny', n_vertices=(2, 3))
    """
    if place is None:
        return None
    if "n_vertices" in place:
        left, right = place["n_vertices"]
        return SurfaceSpace(place["name"], (left, right))
    x, y, z = place["shape"]
    affine = place["affine"]
    return VolumeSpace(
        place["name"], (x, y, z), None if affine is None else np.array(affine)
    )


def _check_flat(flat: ArrayLike, space: BrainSpace) -> NDArray[np.int64]:
    place = check_array("flat", flat, shape=(None,))
    if place.size and place.dtype.kind not in "iu":
        hint = " Use numpy.flatnonzero(mask)." if place.dtype.kind == "b" else ""
        raise TypeError(
            f"`flat` must be whole numbers, 0-based places in {space.name}; got dtype "
            f"{place.dtype}.{hint}"
        )
    if place.size and (place.min() < 0 or place.max() >= space.n_units):
        raise ValueError(
            f"`flat` lies outside the space {space.name}: places from {place.min()} to "
            f"{place.max()}, where 0 to {space.n_units - 1} exist."
        )
    return place.astype(np.int64)


def flat_places(units: pd.DataFrame, space: BrainSpace) -> NDArray[np.int64]:
    """Return the 0-based place of units in a space, the inverse of `locate`.

    Parameters
    ----------
    units : DataFrame
        The columns of place that `space.locate` gives.
    space : VolumeSpace or SurfaceSpace
        Where they lie.

    Returns
    -------
    ndarray of int64, shape (n_units,)
        Volume: x fastest. Surface: all left vertices first.

    Raises
    ------
    ValueError
        If a column is missing, a hemisphere is neither "lh" nor "rh", or a place lies
        outside the space.
    """
    if isinstance(space, VolumeSpace):
        check_columns("units", units.columns, ("x", "y", "z"))
        places = [units[c].to_numpy(np.int64) for c in ("x", "y", "z")]
        limits = list(space.shape)
    else:
        check_columns("units", units.columns, ("hemisphere", "vertex"))
        strange = units["hemisphere"][~units["hemisphere"].isin(HEMISPHERES)]
        if len(strange):
            check_option("hemisphere", strange.iloc[0], HEMISPHERES)
        right = (units["hemisphere"] == "rh").to_numpy(bool)
        vertex = units["vertex"].to_numpy(np.int64)
        places = [vertex[~right], vertex[right]]
        limits = list(space.n_vertices)
    for place, limit in zip(places, limits, strict=True):
        if len(place) and (place.min() < 0 or place.max() >= limit):
            raise ValueError(
                f"`units` lie outside the space {space.name}: places from "
                f"{place.min()} to {place.max()}, where 0 to {limit - 1} exist."
            )
    if isinstance(space, VolumeSpace):
        x, y, z = places
        return x + space.shape[0] * (y + space.shape[1] * z)
    return vertex + right * space.n_vertices[0]


def unit_maps(
    values: ArrayLike,
    units: pd.DataFrame,
    space: BrainSpace,
    *,
    fill: float = float("nan"),
) -> dict[str, NDArray[np.float64]]:
    """Put one number per unit back onto the brain.

    Parameters
    ----------
    values : array_like of float, shape (n_units,)
        One number per row of `units`.
    units : DataFrame
        Places, as `space.locate` gives them.
    space : VolumeSpace or SurfaceSpace
        Where the units lie.
    fill : float, default NaN
        Value where there is no unit.

    Returns
    -------
    dict of str to ndarray of float64
        ``{"volume": (X, Y, Z)}``, or ``{"lh": (n_lh,), "rh": (n_rh,)}``.

    Raises
    ------
    ValueError
        If the lengths differ, a unit lies outside the space, or two lie at one place.

    Examples
    --------
    >>> space = SurfaceSpace("tiny", (2, 3))
    >>> maps = unit_maps([5.0, 7.0], space.locate([1, 2]), space)
    >>> maps["lh"].tolist(), maps["rh"].tolist()
    ([nan, 5.0], [7.0, nan, nan])
    """
    numbers = np.asarray(values, np.float64)
    check_array("values", numbers, shape=(len(units),))
    places = flat_places(units, space)
    n_hidden = len(places) - len(np.unique(places))
    if n_hidden:
        raise ValueError(
            f"`units` has {n_hidden} units at the place of another, which a map cannot "
            "show. Map them separately."
        )
    flat = np.full(space.n_units, fill, np.float64)
    flat[places] = numbers
    if isinstance(space, VolumeSpace):
        return {"volume": flat.reshape(space.shape, order="F")}
    left, right = np.split(flat, [space.n_vertices[0]])
    return {"lh": left, "rh": right}
