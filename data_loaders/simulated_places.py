"""Where the units of simulated data lie: voxels and vertices around fsaverage5."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, Delaunay, KDTree

from data_loaders.simulated_atlas import N_VERTICES, cortical_meshes
from neurovis.core.brain_space import (
    HEMISPHERES,
    BrainSpace,
    SurfaceSpace,
    VolumeSpace,
)
from neurovis.core.rng import generator

VOLUME_SPACES = ("func1pt8mm", "func1mm")
SURFACE_SPACES = ("fsaverage", "nativesurface")
OUTSIDE = 9999.0
"""Stands in warps where the source does not reach."""


@dataclass(frozen=True)
class SimulatedPlaces:
    """The places of one space.

    Parameters
    ----------
    space : VolumeSpace or SurfaceSpace
        The grid or the meshes.
    vertex : ndarray of int64, shape (n_places,)
        Vertex of fsaverage5 (left before right) that a place takes after; -1 where a
        voxel is not in cortex. In the order of `space.locate`.
    in_brain : ndarray of bool, shape (n_places,)
        Where responses are recorded.
    """

    space: BrainSpace
    vertex: NDArray[np.int64]
    in_brain: NDArray[np.bool_]

    @property
    def affine(self) -> NDArray[np.float64]:
        """From 0-based voxel indices to mm; volumes only."""
        assert isinstance(self.space, VolumeSpace)
        assert self.space.affine is not None
        return self.space.affine

    @property
    def parts(self) -> dict[str, slice]:
        """Places of each file of a session, by hemisphere; "" for a volume."""
        if isinstance(self.space, VolumeSpace):
            return {"": slice(0, self.space.n_units)}
        left = self.space.n_vertices[0]
        return {"lh": slice(0, left), "rh": slice(left, self.space.n_units)}


def head_affine(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return the affine that fits the head into a grid, one voxel free on each side.

    Parameters
    ----------
    shape : tuple of int
        Voxels along x, y and z, at least 6 each.

    Returns
    -------
    ndarray of float64, shape (4, 4)
        From 0-based voxel indices to mm of fsaverage (RAS); voxels need not be cubes.
    """
    pial = np.concatenate([mesh.pial for mesh in cortical_meshes().values()])
    low, high = pial.min(axis=0), pial.max(axis=0)
    size = (high - low) / (np.array(shape) - 3)
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = low - size
    return affine


def volume_places(name: str, shape: tuple[int, int, int]) -> SimulatedPlaces:
    """Return the voxels of a grid around the head.

    A voxel is cortex when its centre lies near the middle of the cortical sheet, and
    brain when it lies inside the convex hull of the pial surfaces too.

    Parameters
    ----------
    name : str
        Name of the space.
    shape : tuple of int
        Voxels along x, y and z.

    Returns
    -------
    SimulatedPlaces
        x fastest.
    """
    affine = head_affine(shape)
    index = np.unravel_index(np.arange(np.prod(shape)), shape, order="F")
    centre = np.stack(index, axis=1) @ affine[:3, :3].T + affine[:3, 3]
    meshes = cortical_meshes().values()
    distance, vertex = KDTree(np.concatenate([m.middle for m in meshes])).query(centre)
    near = distance <= max(2.5, 0.5 * np.linalg.norm(np.diag(affine)[:3]))
    pial = np.concatenate([m.pial for m in meshes])
    hull = Delaunay(pial[ConvexHull(pial).vertices])
    return SimulatedPlaces(
        VolumeSpace(name, shape, affine),
        np.where(near, vertex, -1).astype(np.int64),
        near | (hull.find_simplex(centre) >= 0),
    )


def surface_places(name: str, n_vertices: tuple[int, int]) -> SimulatedPlaces:
    """Return the first vertices of two icosahedral meshes.

    The first 642, 2562 or 10242 vertices of fsaverage are those of fsaverage3, 4 and
    5. Larger meshes use the positions of fsaverage5 again and again, in its order:
    vertex 10242 lies where vertex 0 does.

    Parameters
    ----------
    name : str
        Name of the space.
    n_vertices : tuple of int
        Left and right.

    Returns
    -------
    SimulatedPlaces
        Left vertices first.
    """
    vertex = np.concatenate(
        [np.arange(n) % N_VERTICES + i * N_VERTICES for i, n in enumerate(n_vertices)]
    )
    return SimulatedPlaces(
        SurfaceSpace(name, n_vertices), vertex, np.ones(len(vertex), bool)
    )


@dataclass(frozen=True)
class NativeMesh:
    """How the native surface of one hemisphere matches fsaverage, 0-based.

    Parameters
    ----------
    to_fsaverage : ndarray of int64, shape (n_fsaverage,)
        Native vertex nearest to each vertex of fsaverage.
    from_fsaverage : ndarray of int64, shape (n_native,)
        Vertex of fsaverage nearest to each native vertex.
    """

    to_fsaverage: NDArray[np.int64]
    from_fsaverage: NDArray[np.int64]


def native_meshes(
    n_vertices: tuple[int, int], subject: str, seed: int
) -> dict[str, NativeMesh]:
    """Draw native surfaces: all vertices of fsaverage shuffled, some of them doubled.

    Parameters
    ----------
    n_vertices : tuple of int
        Of fsaverage, left and right.
    subject : str
        Whose surfaces.
    seed : int
        Seed of the simulation.

    Returns
    -------
    dict of str to NativeMesh
        "lh" and "rh"; the native meshes have 2 to 10 % more vertices.
    """
    meshes = {}
    for hemisphere, n in zip(HEMISPHERES, n_vertices, strict=True):
        rng = generator(seed, subject, hemisphere, "native surface")
        extra = rng.integers(n // 50 + 1, n // 10 + 2)
        source = np.concatenate([np.arange(n), rng.integers(n, size=extra)])
        source = rng.permutation(source)
        back = np.empty(n, np.int64)
        back[source[::-1]] = np.arange(len(source))[::-1]  # the first of doubles
        meshes[hemisphere] = NativeMesh(back, source)
    return meshes


def native_places(
    fsaverage: SimulatedPlaces, meshes: dict[str, NativeMesh]
) -> SimulatedPlaces:
    """Return the vertices of native surfaces.

    Parameters
    ----------
    fsaverage : SimulatedPlaces
        From `surface_places`.
    meshes : dict of str to NativeMesh
        From `native_meshes`.

    Returns
    -------
    SimulatedPlaces
        Left vertices first.
    """
    vertex = np.concatenate(
        [
            fsaverage.vertex[fsaverage.parts[h]][meshes[h].from_fsaverage]
            for h in HEMISPHERES
        ]
    )
    left, right = (len(meshes[h].from_fsaverage) for h in HEMISPHERES)
    space = SurfaceSpace("nativesurface", (left, right))
    return SimulatedPlaces(space, vertex, np.ones(len(vertex), bool))
