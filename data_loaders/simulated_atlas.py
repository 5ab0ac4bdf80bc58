"""Where the regions of simulated brains lie: a schematic atlas on fsaverage5.

Early visual areas are bands on both sides of the calcarine sulcus; the other regions
are discs around published peaks. Borders are drawn on the sphere of fsaverage5, so
that every region is one piece of cortex. It is a sketch for simulations, not an atlas
to be applied to data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
from nilearn.datasets import load_fsaverage
from numpy.typing import NDArray

from neurovis.core.brain_space import HEMISPHERES

Floats = NDArray[np.float64]

N_VERTICES = 10_242
"""Vertices of one hemisphere of fsaverage5."""

FAMILY_LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
        "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
        "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
        "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
        "floc-places": ("OPA", "PPA", "RSC"),
        "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
        "streams": (
            *("early", "midventral", "midlateral", "midparietal"),
            *("ventral", "lateral", "parietal"),
        ),
        "nsdgeneral": ("nsdgeneral",),
        "Kastner2015": (
            *("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4", "VO1", "VO2"),
            *("PHC1", "PHC2", "MST", "hMT", "LO2", "LO1", "V3b", "V3a", "IPS0"),
            *("IPS1", "IPS2", "IPS3", "IPS4", "IPS5", "SPL1", "FEF"),
        ),
    }
)
"""Labels of each family in the order of their numbers, 1 first."""

ATLAS_FAMILIES = ("streams", "nsdgeneral", "Kastner2015")
"""Families that are the same for every subject; the others are drawn for each."""

# Peaks in mm as on the right side (x is mirrored for the left), and radius on a sphere
# of radius 100. Coordinates are typical ones of the functional-localiser literature
# and of Wang, Mruczek, Arcaro & Kastner (2015, Cereb Cortex 25, 3911-3931,
# doi:10.1093/cercor/bhu277), rounded.
_DISCS: Mapping[str, Mapping[str, tuple[float, float, float, float]]] = {
    "floc-bodies": {
        "EBA": (48, -70, 4, 14),
        "FBA-1": (42, -56, -20, 8),
        "FBA-2": (42, -43, -20, 8),
        "mTL-bodies": (46, -30, -24, 7),
    },
    "floc-faces": {
        "OFA": (42, -78, -10, 9),
        "FFA-1": (40, -62, -18, 9),
        "FFA-2": (41, -48, -20, 9),
        "mTL-faces": (42, -32, -22, 7),
        "aTL-faces": (36, -8, -36, 8),
    },
    "floc-places": {
        "OPA": (34, -82, 22, 11),
        "PPA": (28, -46, -10, 12),
        "RSC": (16, -56, 14, 9),
    },
    "floc-words": {
        "OWFA": (38, -84, -10, 9),
        "VWFA-1": (43, -62, -14, 8),
        "VWFA-2": (45, -50, -16, 8),
        "mfs-words": (37, -42, -20, 7),
        "mTL-words": (54, -36, -18, 7),
    },
    "streams": {
        "midventral": (28, -76, -13, 16),
        "midlateral": (36, -88, 2, 16),
        "midparietal": (22, -86, 28, 14),
        "ventral": (36, -52, -18, 32),
        "lateral": (48, -66, 6, 26),
        "parietal": (26, -66, 44, 24),
    },
    "Kastner2015": {
        "VO1": (28, -62, -12, 7),
        "VO2": (27, -56, -10, 7),
        "PHC1": (27, -52, -8, 7),
        "PHC2": (28, -44, -9, 7),
        "MST": (48, -64, 6, 6),
        "hMT": (46, -72, 4, 6),
        "LO2": (41, -82, 2, 7),
        "LO1": (33, -89, 4, 7),
        "V3b": (30, -84, 16, 7),
        "V3a": (20, -88, 27, 7),
        "IPS0": (26, -78, 30, 7),
        "IPS1": (23, -73, 42, 7),
        "IPS2": (20, -66, 54, 7),
        "IPS3": (24, -58, 58, 7),
        "IPS4": (28, -52, 56, 7),
        "IPS5": (33, -46, 52, 7),
        "SPL1": (14, -62, 60, 7),
        "FEF": (32, -4, 52, 9),
    },
}
# Landmarks of the calcarine sulcus, mm as on the right side.
_FOVEA = (20.0, -99.0, -6.0)
_PERIPHERY = (22.0, -61.0, 6.0)
_CUNEUS = (6.0, -84.0, 18.0)
# Borders on each side of the calcarine, on a sphere of radius 100, at its middle.
_BORDERS = (0.0, 22.0, 36.0, 48.0, 62.0)
_HV4_REACH = 0.55  # share of the length, from the fovea
MAX_ECCENTRICITY_DEG = 5.5
_ECCENTRICITY_EDGES_DEG = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class CorticalMesh:
    """One hemisphere of fsaverage5.

    Parameters
    ----------
    white, pial, sphere : ndarray of float64, shape (10242, 3)
        Positions; mm, and on a sphere of radius 100.
    """

    white: Floats
    pial: Floats
    sphere: Floats

    @property
    def middle(self) -> Floats:
        """Half-way between white and pial surface, mm."""
        return (self.white + self.pial) / 2


@cache
def cortical_meshes() -> Mapping[str, CorticalMesh]:
    """Return both hemispheres of the fsaverage5 that comes with nilearn.

    Returns
    -------
    mapping of str to CorticalMesh
        "lh" and "rh".
    """
    meshes = load_fsaverage("fsaverage5")
    found = {}
    for hemisphere, side in zip(HEMISPHERES, ("left", "right"), strict=True):
        white, pial, sphere = (
            np.asarray(meshes[kind].parts[side].coordinates, np.float64)
            for kind in ("white_matter", "pial", "sphere")
        )
        radius = np.linalg.norm(sphere, axis=1, keepdims=True)
        found[hemisphere] = CorticalMesh(white, pial, 100 * sphere / radius)
    return MappingProxyType(found)


def _on_sphere(mesh: CorticalMesh, peak: tuple[float, ...], side: int) -> Floats:
    """Return the place on the sphere of the vertex nearest to a peak."""
    wanted = np.array(peak[:3]) * (side, 1, 1)
    nearest = np.linalg.norm(mesh.middle - wanted, axis=1).argmin()
    place: Floats = mesh.sphere[nearest]
    return place


def _shifted(place: Floats, jitter: float, rng: np.random.Generator | None) -> Floats:
    if rng is None:
        return place
    moved = place + jitter * rng.standard_normal(3)
    onto: Floats = 100 * moved / np.linalg.norm(moved)
    return onto


def _arc(sphere: Floats, place: Floats) -> Floats:
    """Return distances along the sphere of radius 100."""
    distance: Floats = 100 * np.arccos(np.clip(sphere @ place / 1e4, -1, 1))
    return distance


@dataclass(frozen=True)
class EarlyAreas:
    """Early visual areas of one hemisphere.

    Parameters
    ----------
    area : ndarray of int, shape (10242,)
        1 V1v .. 7 hV4; 0 elsewhere.
    eccentricity_deg : ndarray of float64, shape (10242,)
        Distance from fixation; NaN elsewhere.
    angle_deg : ndarray of float64, shape (10242,)
        Elevation in the opposite half of the visual field: 90 upper vertical, 0
        horizontal, -90 lower vertical meridian; NaN elsewhere.
    is_near : ndarray of bool, shape (10242,)
        Inside the band of V1 to V3, whatever the area.
    """

    area: NDArray[np.int64]
    eccentricity_deg: Floats
    angle_deg: Floats
    is_near: NDArray[np.bool_]


def place_early_areas(
    hemisphere: str,
    *,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
) -> EarlyAreas:
    """Draw V1 to V3 and hV4 of one hemisphere.

    From the occipital pole along the calcarine sulcus eccentricity grows
    exponentially; across it the polar angle turns back at each border: horizontal
    meridian within V1 and between V2 and V3, vertical one between V1 and V2 and
    beyond V3. Dorsal parts see the lower field.

    Parameters
    ----------
    hemisphere : {"lh", "rh"}
        Which side.
    jitter : float, default 0.0
        Standard deviation of shifts of the landmarks, on a sphere of radius 100.
    rng : numpy.random.Generator, optional
        Draws the shifts; None leaves the landmarks in place.

    Returns
    -------
    EarlyAreas
        One entry per vertex.
    """
    mesh = cortical_meshes()[hemisphere]
    side = 1 if hemisphere == "rh" else -1
    fovea, periphery, cuneus = (
        _shifted(_on_sphere(mesh, peak, side), jitter, rng)
        for peak in (_FOVEA, _PERIPHERY, _CUNEUS)
    )
    across = np.cross(fovea, periphery)
    across /= np.linalg.norm(across)
    across *= np.sign(cuneus @ across)  # dorsal is positive
    along = np.cross(across, fovea) / 100 * np.sign(np.cross(across, fovea) @ periphery)
    height = 100 * np.arcsin(np.clip(mesh.sphere @ across / 100, -1, 1))
    turn = np.arctan2(mesh.sphere @ along, mesh.sphere @ fovea / 100)
    length = np.arccos(np.clip(fovea @ periphery / 1e4, -1, 1))
    share = turn / length
    inside = (share >= 0) & (share <= 1)
    taper = np.sqrt(np.clip(1 - 0.8 * (2 * share - 1) ** 2, 0.1, None))
    depth = np.abs(height) / taper
    band = np.searchsorted(_BORDERS, depth, side="right") - 1  # 0 V1, 1 V2, 2 V3, 3
    ventral = height < 0
    is_near = inside & (band <= 2)
    hv4 = inside & (band == 3) & ventral & (share <= _HV4_REACH)
    area = np.where(is_near, 2 * np.minimum(band, 2) + np.where(ventral, 1, 2), 0)
    area[hv4] = 7
    growth = np.log(1 + MAX_ECCENTRICITY_DEG / 0.25)
    reach = np.where(hv4, share / _HV4_REACH, share)  # hV4 is short, but sees as far
    eccentricity = 0.25 * np.expm1(growth * np.clip(reach, 0, 1))
    low = np.array(_BORDERS)[np.clip(band, 0, 3)]
    high = np.array(_BORDERS)[np.clip(band, 0, 3) + 1]
    part = np.clip((depth - low) / (high - low), 0, 1)
    elevation = np.where(band == 1, 90 * (1 - part), 90 * part)
    angle = np.where(ventral, elevation, -elevation)
    angle = np.where(hv4, 90 - 150 * part, angle)
    labelled = area > 0
    return EarlyAreas(
        area.astype(np.int64),
        np.where(labelled, eccentricity, np.nan),
        np.where(labelled, angle, np.nan),
        is_near,
    )


def eccentricity_labels(eccentricity_deg: Floats) -> NDArray[np.int64]:
    """Return the number of the eccentricity label of each vertex.

    Parameters
    ----------
    eccentricity_deg : ndarray of float64, shape (n,)
        Distance from fixation; NaN outside early areas.

    Returns
    -------
    ndarray of int64, shape (n,)
        1 up to 0.5 degrees .. 5 beyond 4 degrees; 0 where undefined.
    """
    label = np.searchsorted(_ECCENTRICITY_EDGES_DEG, eccentricity_deg) + 1
    return np.where(np.isnan(eccentricity_deg), 0, label).astype(np.int64)


def place_discs(
    family: str,
    hemisphere: str,
    *,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
) -> NDArray[np.int64]:
    """Draw the regions of a family that are discs around peaks.

    Parameters
    ----------
    family : str
        A "floc-" family, "streams" or "Kastner2015".
    hemisphere : {"lh", "rh"}
        Which side.
    jitter : float, default 0.0
        Standard deviation of shifts of the peaks, on a sphere of radius 100.
    rng : numpy.random.Generator, optional
        Draws the shifts; None leaves the peaks in place.

    Returns
    -------
    ndarray of int64, shape (10242,)
        Number of the label as in `FAMILY_LABELS`, 1 first; 0 elsewhere.
    """
    mesh = cortical_meshes()[hemisphere]
    side = 1 if hemisphere == "rh" else -1
    discs = _DISCS[family]
    reach = np.empty((len(discs), N_VERTICES))
    for row, peak in zip(reach, discs.values(), strict=True):
        centre = _shifted(_on_sphere(mesh, peak, side), jitter, rng)
        row[:] = _arc(mesh.sphere, centre) / peak[3]
    numbers = np.array([FAMILY_LABELS[family].index(name) + 1 for name in discs])
    return np.where(reach.min(axis=0) <= 1, numbers[reach.argmin(axis=0)], 0)


@cache
def atlas_labels(family: str, hemisphere: str) -> NDArray[np.int64]:
    """Return the labels of a family that is the same for every subject.

    Parameters
    ----------
    family : {"streams", "nsdgeneral", "Kastner2015"}
        Which family.
    hemisphere : {"lh", "rh"}
        Which side.

    Returns
    -------
    ndarray of int64, shape (10242,)
        Number of the label, 1 first; 0 elsewhere. Not writable.
    """
    early = place_early_areas(hemisphere)
    if family == "nsdgeneral":
        labels = _near_regions(hemisphere, early).astype(np.int64)
    else:
        labels = place_discs(family, hemisphere)
        if family == "streams":
            labels = np.where(early.is_near, 1, labels)
        else:
            labels = np.where(early.area > 0, early.area, labels)
    labels.setflags(write=False)
    return labels


def _near_regions(hemisphere: str, early: EarlyAreas) -> NDArray[np.bool_]:
    """Tell which vertices lie in or near a visual region.

    The retrosplenial and the anterior temporal region are left out, as in the data.
    """
    sphere = cortical_meshes()[hemisphere].sphere
    core = early.area > 0
    for family in ("floc-bodies", "floc-faces", "floc-places", "floc-words"):
        labels = place_discs(family, hemisphere)
        names = np.array(["", *FAMILY_LABELS[family]])[labels]
        core |= (labels > 0) & ~np.isin(names, ("RSC", "aTL-faces"))
    near = core.copy()
    for start in range(0, N_VERTICES, 1024):
        block = slice(start, start + 1024)
        cosine = sphere[block] @ sphere[core].T / 1e4
        near[block] = cosine.max(axis=1) >= np.cos(6 / 100)
    rsc = FAMILY_LABELS["floc-places"].index("RSC") + 1
    near[place_discs("floc-places", hemisphere) == rsc] = False
    return near
