"""The cortical surface fsaverage5, and how maps come onto it.

fsaverage5 has 10242 vertices in each hemisphere and comes with nilearn: nothing is
downloaded. The meshes of fsaverage are subdivisions of an icosahedron (Fischl et al.
1999, Hum Brain Mapp 8, 272-284); a finer mesh keeps the vertices of the coarser one
as its first ones, so that the first 10242 of the 163842 vertices of fsaverage are
those of fsaverage5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import KDTree

from neurovis.core.brain_space import HEMISPHERES, BrainSpace, SurfaceSpace, unit_maps
from neurovis.core.checks import check_array, check_option, check_whole
from neurovis.core.regions import region_labels, region_mask

N_VERTICES = 10_242
"""Vertices of one hemisphere of fsaverage5."""

MNI305_TO_MNI152 = np.array(
    [
        [0.9975, -0.0073, 0.0176, -0.0429],
        [0.0146, 1.0009, -0.0024, 1.5496],
        [-0.0130, -0.0093, 0.9971, 1.1840],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
"""From the millimetres of fsaverage to those of MNI152 (FreeSurfer's documentation of
coordinate systems)."""

_SIDES = {"lh": "left", "rh": "right"}
_ICOSAHEDRAL = tuple(10 * 4**k + 2 for k in range(8))
_LEAST_COVERED = 0.5


@dataclass(frozen=True)
class HemisphereMesh:
    """One hemisphere of fsaverage5.

    Parameters
    ----------
    surfaces : mapping of str to ndarray of float32, shape (10242, 3)
        Coordinates in mm (x right, y anterior, z superior) of the surfaces "pial",
        "white" and "inflated", and of "sphere" (radius 100) and "flat" (x and y only).
    faces : ndarray of int32, shape (20480, 3)
        Vertices of each triangle, counter-clockwise seen from outside.
    flat_faces : ndarray of int32, shape (n, 3)
        The triangles that the cuts of the flat surface leave.
    sulcal_depth : ndarray of float32, shape (10242,)
        Above 0 in sulci, below 0 on gyri.
    """

    surfaces: Mapping[str, NDArray[np.float32]]
    faces: NDArray[np.int32]
    flat_faces: NDArray[np.int32]
    sulcal_depth: NDArray[np.float32]


@dataclass(frozen=True)
class Cortex:
    """Both hemispheres of fsaverage5.

    Parameters
    ----------
    lh, rh : HemisphereMesh
        Left and right.
    """

    lh: HemisphereMesh
    rh: HemisphereMesh

    def __getitem__(self, hemisphere: str) -> HemisphereMesh:
        check_option("hemisphere", hemisphere, HEMISPHERES)
        return self.lh if hemisphere == "lh" else self.rh


def load_cortex() -> Cortex:
    """Read fsaverage5 from the files that come with nilearn.

    Returns
    -------
    Cortex
        Meshes and sulcal depth; its arrays cannot be written to.

    Examples
    --------
    >>> load_cortex().lh.surfaces["pial"].shape
    (10242, 3)
    """
    # Importing nilearn takes seconds, which only these figures are worth.
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_data, load_surf_mesh

    files = fetch_surf_fsaverage("fsaverage5")
    names = {"pial": "pial", "white": "white", "infl": "inflated"}
    names |= {"sphere": "sphere", "flat": "flat"}
    hemispheres = {}
    for hemisphere, side in _SIDES.items():
        meshes = {
            name: load_surf_mesh(files[f"{key}_{side}"]) for key, name in names.items()
        }
        hemispheres[hemisphere] = HemisphereMesh(
            {k: _frozen(m.coordinates, np.float32) for k, m in meshes.items()},
            _frozen(meshes["pial"].faces, np.int32),
            _frozen(meshes["flat"].faces, np.int32),
            _frozen(load_surf_data(files[f"sulc_{side}"]), np.float32),
        )
    return Cortex(**hemispheres)


def _frozen(values: Any, dtype: type) -> NDArray[Any]:
    array: NDArray[Any] = np.array(values, dtype)
    array.flags.writeable = False
    return array


def to_fsaverage5(
    maps: Mapping[str, ArrayLike], space: BrainSpace
) -> dict[str, NDArray[Any]]:
    """Move maps of a mesh of the fsaverage family onto fsaverage5.

    Of a finer mesh the vertices that both share are taken, without smoothing. Of a
    coarser mesh, such as simulated data have, each vertex of fsaverage5 takes the value
    of the nearest one on the sphere: good for a look, not for statistics.

    Parameters
    ----------
    maps : mapping of str to array_like, shape (n_vertices,)
        Values by hemisphere, "lh" and "rh", as `neurovis.core.brain_space.unit_maps`
        gives them.
    space : SurfaceSpace
        Where the values lie. Its name must begin with "fsaverage".

    Returns
    -------
    dict of str to ndarray, shape (10242,)
        The same values, dtype kept; NaN stays NaN.

    Raises
    ------
    TypeError
        If the space is a volume.
    ValueError
        If the mesh is another one, or a length does not match `space`.

    Examples
    --------
    >>> space = SurfaceSpace("fsaverage", (163_842, 163_842))
    >>> maps = {h: np.arange(163_842) for h in ("lh", "rh")}
    >>> to_fsaverage5(maps, space)["rh"][-1].item()
    10241
    """
    if not isinstance(space, SurfaceSpace):
        raise TypeError(
            f"`space` must be a SurfaceSpace; {space.name} is a volume. Volumes in MNI "
            "space come onto fsaverage5 by `volume_to_fsaverage5`."
        )
    sizes = dict(zip(HEMISPHERES, space.n_vertices, strict=True))
    known = [n in _ICOSAHEDRAL for n in sizes.values()]
    if not space.name.startswith("fsaverage") or not all(known):
        raise ValueError(
            f"`space` {space.name!r} with {space.n_vertices} vertices is no mesh of "
            "the fsaverage family (fsaverage itself has 163842 per hemisphere). "
            "Native surfaces must first be moved to fsaverage, by the transforms of "
            "their data set."
        )
    arrays = {
        check_option("hemisphere", h, HEMISPHERES): check_array(
            f"maps[{h!r}]", values, shape=(sizes[h],)
        )
        for h, values in maps.items()
    }
    if all(sizes[h] >= N_VERTICES for h in arrays):
        return {h: values[:N_VERTICES] for h, values in arrays.items()}
    cortex = load_cortex()
    moved = {}
    for h, values in arrays.items():
        sphere = cortex[h].surfaces["sphere"]
        nearest = KDTree(sphere[: len(values)]).query(sphere)[1]
        moved[h] = values[nearest]
    return moved


def check_cortex_maps(
    name: str, maps: Mapping[str, ArrayLike], hemispheres: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Return the maps of some hemispheres if they lie on fsaverage5.

    Parameters
    ----------
    name : str
        Argument name for the message.
    maps : mapping of str to array_like, shape (10242,)
        Values of "lh" and "rh".
    hemispheres : sequence of str
        Which of them are needed.

    Returns
    -------
    dict of str to ndarray of float64, shape (10242,)
        Those that are needed.

    Raises
    ------
    ValueError
        If one is missing or has another shape.
    """
    missing = [h for h in hemispheres if h not in maps]
    if missing:
        raise ValueError(
            f"`{name}` has no values of {missing}; it has {sorted(maps)}. Leave a "
            "hemisphere out by `hemispheres`."
        )
    checked = {}
    for h in hemispheres:
        values = np.asarray(maps[h])
        if values.shape != (N_VERTICES,):
            raise ValueError(
                f"`{name}[{h!r}]` must have shape ({N_VERTICES},), the vertices of "
                f"fsaverage5; got {values.shape}. Use `to_fsaverage5` first."
            )
        checked[h] = values.astype(np.float64)
    return checked


def volume_to_fsaverage5(
    volume: ArrayLike,
    affine: ArrayLike,
    *,
    template: str = "mni152",
    interpolation: str = "linear",
    n_depths: int = 5,
    cortex: Cortex | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Sample a volume in MNI space on fsaverage5, between white and pial surface.

    A volume in the native space of a subject, such as func1pt8mm of NSD, must not be
    passed: its millimetres are not those of fsaverage. Use the transforms of the data
    set, or show it by `analysis.plots_volume.plot_volume_map`.

    Parameters
    ----------
    volume : array_like of float, shape (X, Y, Z)
        Values; NaN is undefined.
    affine : array_like of float, shape (4, 4)
        From 0-based voxel indices to millimetres of the template.
    template : {"mni152", "mni305"}, default "mni152"
        Which space the millimetres belong to; fsaverage itself lies in MNI305.
    interpolation : {"linear", "nearest"}, default "linear"
        "linear": mean over depths of trilinear samples, for measures. A sample next
        to an undefined voxel is undefined and left out of the mean. "nearest": the
        voxel at half depth, for labels, and for maps with holes.
    n_depths : int, default 5
        Samples from white to pial surface, with "linear".
    cortex : Cortex, optional
        Already loaded surfaces.

    Returns
    -------
    dict of str to ndarray of float64, shape (10242,)
        "lh" and "rh"; NaN outside the volume and where all samples are undefined.

    Raises
    ------
    ValueError
        If a shape or option is wrong, or the volume covers less than half of the
        cortex, because it then lies in another space.
    """
    values = check_array("volume", volume, shape=(None, None, None)).astype(np.float64)
    matrix = np.asarray(affine, np.float64)
    check_array("affine", matrix, shape=(4, 4), finite=True)
    check_option("template", template, ("mni152", "mni305"))
    check_option("interpolation", interpolation, ("linear", "nearest"))
    check_whole("n_depths", n_depths, low=1)
    if abs(np.linalg.det(matrix)) < 1e-9:
        raise ValueError(
            "`affine` cannot be inverted: its columns must span 3-D space."
        )
    linear = interpolation == "linear"
    depths = np.linspace(0, 1, n_depths) if linear and n_depths > 1 else [0.5]
    to_voxels = np.linalg.inv(matrix)
    if template == "mni152":
        to_voxels = to_voxels @ MNI305_TO_MNI152
    cortex = cortex or load_cortex()
    last = np.array(values.shape) - 1
    moved, covered = {}, []
    for h in HEMISPHERES:
        surfaces = cortex[h].surfaces
        white, pial = (surfaces[s].astype(np.float64) for s in ("white", "pial"))
        total, n_defined = np.zeros(len(white)), np.zeros(len(white))
        for depth in depths:
            places = white + depth * (pial - white)
            voxels = to_voxels[:3, :3] @ places.T + to_voxels[:3, 3:]
            sample = map_coordinates(
                values, voxels, order=int(linear), mode="nearest", prefilter=False
            )
            # Half a voxel beyond the centres of the outermost ones is still inside.
            inside = ((voxels >= -0.5) & (voxels <= last[:, None] + 0.5)).all(axis=0)
            covered.append(inside.mean())
            use = inside & ~np.isnan(sample)
            total[use] += sample[use]
            n_defined += use
        moved[h] = np.full(len(white), np.nan)
        np.divide(total, n_defined, out=moved[h], where=n_defined > 0)
    if np.mean(covered) < _LEAST_COVERED:
        raise ValueError(
            f"`volume` covers only {np.mean(covered):.0%} of the cortex of fsaverage: "
            "its affine does not lead to MNI space. Volumes in the native space of a "
            "subject must first be moved there by the transforms of their data set."
        )
    return moved


def region_outlines(
    units: pd.DataFrame,
    families: Sequence[str],
    space: BrainSpace,
    regions: Sequence[str] | None = None,
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Find which vertices of fsaverage5 lie in regions, for outlines on maps.

    Parameters
    ----------
    units : DataFrame
        Places and labels, see `neurovis.core.unit_responses.UnitResponses`.
    families : sequence of str
        Columns of labels.
    space : SurfaceSpace
        Where the units lie: a mesh of the fsaverage family.
    regions : sequence of str, optional
        Names as for `neurovis.core.regions.region_mask`; all labels by default.

    Returns
    -------
    dict of str to dict of str to ndarray of bool, shape (10242,)
        By region and hemisphere; regions may overlap. A region that no vertex of
        fsaverage5 hits is there with False only.

    Raises
    ------
    KeyError, ValueError
        If a region is unknown or ambiguous, or the mesh is another one.

    Examples
    --------
    >>> space = SurfaceSpace("fsaverage5", (10_242, 10_242))
    >>> units = space.locate([3, 4, 10_245]).assign(streams=["early", "", "early"])
    >>> masks = region_outlines(units, ["streams"], space)
    >>> np.flatnonzero(masks["early"]["lh"]).tolist()
    [3]
    """
    if regions is None:
        labels = region_labels(units, families)
        regions = [f"{f}:{label}" for f, known in labels.items() for label in known]
        plain = [name.partition(":")[2] for name in regions]
        names = [
            short if plain.count(short) == 1 else name
            for short, name in zip(plain, regions, strict=True)
        ]
    else:
        names = list(regions)
    return {
        name: {
            h: values == 1
            for h, values in to_fsaverage5(
                unit_maps(region_mask(units, families, region), units, space), space
            ).items()
        }
        for name, region in zip(names, regions, strict=True)
    }
