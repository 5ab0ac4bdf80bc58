"""Pictures of block figures: cubes in depth, shaded, with their edges drawn.

The camera looks at the centroid of the object. Azimuth carries it round the vertical
axis, from the front (+z) towards +x; elevation lifts it; roll turns the finished
picture counter-clockwise. Cubes are painted from far to near, which hides exactly what
nearer cubes hide: between two cubes of a lattice there is a plane of the lattice, and
the cube on the camera's side of it is the nearer one.

Faces are sampled at `oversample` times the pixels and averaged. Polygons laid over each
other by coverage would let the ground shine through where two faces meet.

References
----------
Shepard and Metzler (1971). Mental rotation of three-dimensional objects. Science 171,
701-703. doi:10.1126/science.171.3972.701
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option
from stimuli.block_figures import (
    CUBE_SIDE,
    bounding_radius,
    check_shape,
    cube_cells,
    cube_centres,
)
from stimuli.canvas import cos_sin
from stimuli.display import GREY, PX_PER_DEG, SIZE_DEG, Display, ground, size_px

FloatArray = NDArray[np.float64]

PROJECTIONS = ("orthographic", "perspective")

DIAMETER_DEG = 4.5
"""Of the sphere that holds the object however it is turned."""

CAMERA_DISTANCE = 25.0
"""From the centroid, in the unit in which a cube has a side of 2."""

AMBIENT, DIFFUSE = 0.35, 0.6
LIGHT = (0.3, 0.8, 0.5)
"""Towards the light, from the camera's place: right, up, back."""

OUTLINE_PX = 1.25
STEREO_DEG = 3.0
"""Azimuth of each eye from the middle."""

_WHITE, _BLACK = 1.0, 0.0
# Corners are rounded to so many steps per pixel, as in `stimuli.canvas`.
_SUBPIXELS = 256
_OVERSAMPLES = (1, 2, 4, 8, 16)

# Axis and side of each face; the corners go round it.
_FACES = tuple((axis, side) for axis in range(3) for side in (-1, 1))
_ROUND = ((-1, -1), (1, -1), (1, 1), (-1, 1))


@dataclass(frozen=True, eq=False)
class _Paint:
    """One face: corners in pixels (x right, y down) and luminance."""

    corners_px: FloatArray
    luminance: float


def draw_block_figure(
    shape: str,
    *,
    azimuth_deg: float = 30.0,
    elevation_deg: float = 25.0,
    roll_deg: float = 0.0,
    projection: str = "orthographic",
    shading: bool = True,
    outline_px: float = OUTLINE_PX,
    background: float = GREY,
    diameter_deg: float = DIAMETER_DEG,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    oversample: int = 8,
) -> Display:
    """Draw a block figure.

    Parameters
    ----------
    shape : str
        Directions, see `stimuli.block_figures`.
    azimuth_deg : float, default 30
        Of the camera, from the front towards +x.
    elevation_deg : float, default 25
        Of the camera, -90 (below) to 90 (above).
    roll_deg : float, default 0
        Turn of the picture, counter-clockwise; the shading turns with it.
    projection : {"orthographic", "perspective"}
        Parallel rays, or a camera at `CAMERA_DISTANCE`.
    shading : bool, default True
        Faces have the luminance ``0.35 + 0.6 max(0, n l)``, where n is the normal of
        the face and l points to the light (`LIGHT`, of length 1, in the frame of the
        camera). Otherwise they are white.
    outline_px : float, default 1.25
        Width of the black edges of cubes in pixels; 0 for none.
    background : float, default 0.5
        Luminance of the ground, 0..1.
    diameter_deg : float, default 4.5
        Diameter of the picture of the sphere about the centroid that holds the object.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.
    oversample : {8, 1, 2, 4, 16}
        Samples per pixel along each axis.

    Returns
    -------
    Display
        `geometry` has `shape`, the angles, `projection`, `cube_deg` (side of a cube at
        the centroid) and `visible_faces` (number drawn); the mask "figure" covers
        faces and edges.

    Raises
    ------
    TypeError, ValueError
        If the string is none of an object, or a number is out of range.

    Examples
    --------
    >>> display = draw_block_figure("uuubbrrrd", px_per_deg=16)
    >>> display.image.shape, display.geometry["visible_faces"]
    ((112, 112), 21)
    """
    check_shape("shape", shape)
    check_between("azimuth_deg", azimuth_deg)
    check_between("elevation_deg", elevation_deg, low=-90, high=90)
    check_between("roll_deg", roll_deg)
    check_option("projection", projection, PROJECTIONS)
    check_between("outline_px", outline_px, low=0)
    check_between("background", background, low=0, high=1)
    check_between("diameter_deg", diameter_deg, low=1e-6)
    check_option("oversample", oversample, _OVERSAMPLES)
    rows, columns = size_px(size_deg, px_per_deg)
    camera = view_matrix(azimuth_deg, elevation_deg)
    radius = bounding_radius(shape)
    distance = CAMERA_DISTANCE if projection == "perspective" else math.inf
    # Of a sphere a camera sees the cone that touches it.
    widest = radius if math.isinf(distance) else _silhouette(radius, distance)
    scale_deg = diameter_deg / 2 / widest
    cos, sin = cos_sin(roll_deg)
    light = np.array(LIGHT) / math.sqrt(sum(x * x for x in LIGHT))
    paints = []
    for centre, axis, side in _visible_faces(shape, camera, distance):
        seen = _turned(_face_corners(centre, axis, side), camera)
        nearness = 1.0 if math.isinf(distance) else distance / (distance - seen[:, 2:])
        x, y = (scale_deg * nearness * seen[:, :2]).T
        x, y = cos * x - sin * y, sin * x + cos * y
        corners = np.column_stack(
            [columns / 2 + px_per_deg * x, rows / 2 - px_per_deg * y]
        )
        normal = side * camera[:, axis]
        lit = AMBIENT + DIFFUSE * max(0.0, float((normal * light).sum()))
        paints.append(_Paint(corners, lit if shading else _WHITE))
    image = ground(size_deg, px_per_deg, background)
    cover = _lay_faces(image, paints, outline_px, oversample)
    geometry: dict[str, Any] = {
        "shape": shape,
        "azimuth_deg": azimuth_deg,
        "elevation_deg": elevation_deg,
        "roll_deg": roll_deg,
        "projection": projection,
        "cube_deg": CUBE_SIDE * scale_deg,
        "visible_faces": len(paints),
    }
    return Display(image, px_per_deg, geometry, {"figure": cover >= 0.5})


def draw_stereo_pair(
    shape: str, *, azimuth_deg: float = 30.0, **options: Any
) -> tuple[Display, Display]:
    """Draw what the left and the right eye see of a block figure.

    Parameters
    ----------
    shape : str
        Directions, see `stimuli.block_figures`.
    azimuth_deg : float, default 30
        Of the middle between the eyes.
    **options : object
        As `draw_block_figure`.

    Returns
    -------
    left, right : Display
        From azimuths that are `STEREO_DEG` less and more.

    Raises
    ------
    TypeError, ValueError
        As `draw_block_figure`.

    Examples
    --------
    >>> left, right = draw_stereo_pair("uuubbrrrd", px_per_deg=8)
    >>> left.geometry["azimuth_deg"], right.geometry["azimuth_deg"]
    (27.0, 33.0)
    """
    check_between("azimuth_deg", azimuth_deg)
    left, right = (
        draw_block_figure(shape, azimuth_deg=azimuth_deg + shift, **options)
        for shift in (-STEREO_DEG, STEREO_DEG)
    )
    return left, right


def draw_reference_figure(
    shape: str,
    *,
    azimuth_deg: float = 30.0,
    elevation_deg: float = 25.0,
    camera_distance: float = CAMERA_DISTANCE,
    half_width: float = 0.5,
    outline_pt: float = 1.0,
    dots_per_inch: float = 100.0,
    size_px: int = 128,
    size_deg: float = SIZE_DEG,
    oversample: int = 8,
) -> Display:
    """Draw a block figure as the public renderer of Metzler figures does.

    The camera stands at ``Ry(azimuth) Rx(elevation) (0, 0, r)``, so that it is *below*
    the object where elevation is positive. The vertical field of view is 90 degrees.
    Faces are white with black edges on white, all six of every cube, painted from the
    largest mean clip-space w to the smallest; that rule can fail where faces are close
    to each other in depth, and is kept as it is.

    Parameters
    ----------
    shape : str
        Directions, see `stimuli.block_figures`.
    azimuth_deg : float, default 30
        Turn about the vertical axis.
    elevation_deg : float, default 25
        Turn about the horizontal axis, before the other.
    camera_distance : float, default 25
        Of the camera from the centroid, where a cube has a side of 2.
    half_width : float, default 0.5
        Part of the normalised device coordinates that the picture shows to each side.
    outline_pt : float, default 1
        Width of edges in points; 0.8 to 1.5 in the published pictures.
    dots_per_inch : float, default 100
        Pixels of 72 points.
    size_px : int, default 128
        Side of the picture in pixels.
    size_deg : float, default 7
        Side of the picture in degrees.
    oversample : {8, 1, 2, 4, 16}
        Samples per pixel along each axis.

    Returns
    -------
    Display
        `geometry` has `shape`, the angles and `camera_distance`; the mask "figure"
        covers faces and edges.

    Raises
    ------
    TypeError, ValueError
        If the string is none of an object, a number is out of range, or the camera
        would stand inside the object.

    Examples
    --------
    >>> draw_reference_figure("uuubbrrrd").image.shape
    (128, 128)
    """
    check_shape("shape", shape)
    check_between("azimuth_deg", azimuth_deg)
    check_between("elevation_deg", elevation_deg)
    check_between("camera_distance", camera_distance, low=bounding_radius(shape) + 0.1)
    check_between("half_width", half_width, low=1e-6)
    check_between("outline_pt", outline_pt, low=0)
    check_between("dots_per_inch", dots_per_inch, low=1)
    check_between("size_px", size_px, low=1)
    check_option("oversample", oversample, _OVERSAMPLES)
    px_per_deg = size_px / check_between("size_deg", size_deg, low=1e-6)
    camera = view_matrix(azimuth_deg, -elevation_deg)
    faces = []
    for centre in cube_centres(shape):
        for axis, side in _FACES:
            seen = _turned(_face_corners(centre, axis, side), camera)
            depth = camera_distance - seen[:, 2]
            x, y = (seen[:, :2] / depth[:, None] / half_width / 2).T
            corners = np.column_stack([size_px * (x + 0.5), size_px * (0.5 - y)])
            faces.append((float(depth.mean()), _Paint(corners, _WHITE)))
    faces.sort(key=lambda face: -face[0])
    image = ground(size_deg, px_per_deg, _WHITE)
    width_px = outline_pt * dots_per_inch / 72
    cover = _lay_faces(image, [paint for _, paint in faces], width_px, oversample)
    geometry: dict[str, Any] = {
        "shape": shape,
        "azimuth_deg": azimuth_deg,
        "elevation_deg": elevation_deg,
        "camera_distance": camera_distance,
    }
    return Display(image, px_per_deg, geometry, {"figure": cover >= 0.5})


def view_matrix(azimuth_deg: float, elevation_deg: float) -> FloatArray:
    """Return the turn from the frame of the object to that of the camera.

    Parameters
    ----------
    azimuth_deg : float
        Of the camera, from the front (+z) towards +x.
    elevation_deg : float
        Of the camera, upwards.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        Its rows point to the right, up, and towards the camera.

    Examples
    --------
    >>> view_matrix(90, 0).tolist()
    [[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    cos_a, sin_a = cos_sin(azimuth_deg)
    cos_e, sin_e = cos_sin(elevation_deg)
    rows = [
        [cos_a, 0.0, -sin_a],
        [-sin_e * sin_a, cos_e, -sin_e * cos_a],
        [cos_e * sin_a, sin_e, cos_e * cos_a],
    ]
    return np.array(rows) + 0.0  # no negative zeros


def _silhouette(radius: float, distance: float) -> float:
    """Return how far a sphere reaches in the plane through its centre, as seen."""
    if distance <= radius:
        raise ValueError(
            f"The camera at {distance:g} is inside the sphere of radius {radius:.3g} "
            "that holds the object: draw it orthographic."
        )
    return radius * distance / math.sqrt(distance**2 - radius**2)


def _turned(points: FloatArray, camera: FloatArray) -> FloatArray:
    # No matrix product: libraries differ in the last bit.
    return np.asarray((points[:, None, :] * camera).sum(axis=2))


def _face_corners(centre: FloatArray, axis: int, side: int) -> FloatArray:
    first, second = (k for k in range(3) if k != axis)
    corners = np.repeat(centre[None], 4, axis=0)
    corners[:, axis] += side * CUBE_SIDE / 2
    corners[:, first] += [a * CUBE_SIDE / 2 for a, _ in _ROUND]
    corners[:, second] += [b * CUBE_SIDE / 2 for _, b in _ROUND]
    return corners


def _visible_faces(
    shape: str, camera: FloatArray, distance: float
) -> list[tuple[FloatArray, int, int]]:
    """Return faces that are on the outside and face the camera, far cubes first."""
    cells, centres = cube_cells(shape), cube_centres(shape)
    taken = {tuple(cell) for cell in cells}
    towards = camera[2]
    if math.isinf(distance):
        far = -_turned(centres, camera)[:, 2]
    else:
        far = ((centres - distance * towards) ** 2).sum(axis=1)
    found = []
    for cube in np.argsort(-far, kind="stable"):
        for axis, side in _FACES:
            beside = cells[cube].copy()
            beside[axis] += side
            middle = float(centres[cube, axis]) + side * CUBE_SIDE / 2
            eye = math.inf if math.isinf(distance) else distance * towards[axis]
            faces = side * (towards[axis] if math.isinf(eye) else eye - middle) > 0
            if faces and tuple(beside) not in taken:
                found.append((centres[cube], axis, side))
    return found


def _lay_faces(
    image: FloatArray, paints: list[_Paint], outline_px: float, oversample: int
) -> FloatArray:
    """Paint faces over a picture, in their order, in place; return what they cover."""
    levels = sorted({paint.luminance for paint in paints})
    corners = [np.floor(p.corners_px * _SUBPIXELS + 0.5) for p in paints]
    half_width = outline_px * _SUBPIXELS / 2
    reach = np.vstack(corners)
    low = np.floor((reach.min(axis=0) - half_width) / _SUBPIXELS).astype(int)
    high = np.ceil((reach.max(axis=0) + half_width) / _SUBPIXELS).astype(int)
    left, top = np.clip(low, 0, image.shape[::-1])
    right, bottom = np.clip(high, 0, image.shape[::-1])
    box = (slice(top, bottom), slice(left, right))
    rows, columns = image[box].shape
    sheet = _Sheet(
        np.zeros((rows * oversample, columns * oversample), np.uint8),
        np.array([left, top]) * float(_SUBPIXELS),
        _SUBPIXELS // oversample,
    )
    for paint, face in zip(paints, corners, strict=True):
        sheet.fill(face, 2 + levels.index(paint.luminance))
        if outline_px:
            for first, last in zip(face, np.roll(face, -1, axis=0), strict=True):
                sheet.draw_line(first, last, half_width)
    blocks = (rows, oversample, columns, oversample)
    cover = np.zeros(image.shape)
    cover[box] = (sheet.labels > 0).reshape(blocks).mean(axis=(1, 3))
    inks = np.array([0.0, _BLACK, *levels])[sheet.labels].reshape(blocks)
    # Samples of the ground are 0 here and keep what the picture has.
    image[box] = (1 - cover[box]) * image[box] + inks.mean(axis=(1, 3))
    return cover


@dataclass(frozen=True, eq=False)
class _Sheet:
    """Samples of a picture by what they show: 0 ground, 1 line, 2 and more faces.

    Points are in parts of a pixel; `origin` is the corner of the first sample, and
    `step` the distance of samples.
    """

    labels: NDArray[np.uint8]
    origin: FloatArray
    step: int

    def fill(self, corners: FloatArray, label: int) -> None:
        """Give a label to all samples in a convex polygon."""
        x, y, box = self._around(corners.min(axis=0), corners.max(axis=0))
        left, right = np.full(y.shape, -np.inf), np.full(y.shape, np.inf)
        following = np.roll(corners, -1, axis=0)
        doubled_area = (corners[:, 0] * following[:, 1]).sum()
        doubled_area -= (corners[:, 1] * following[:, 0]).sum()
        if not doubled_area:
            return
        for (x0, y0), (x1, y1) in zip(corners, following, strict=True):
            if y0 == y1:
                continue  # the box ends there
            crossing = x0 + (x1 - x0) * (y - y0) / (y1 - y0)
            if doubled_area * (y1 - y0) > 0:
                right = np.minimum(right, crossing)
            else:
                left = np.maximum(left, crossing)
        within = (x >= left[:, None]) & (x <= right[:, None])
        self.labels[box][within] = label

    def draw_line(self, first: FloatArray, last: FloatArray, half_width: float) -> None:
        """Draw a line with a round end."""
        along = last - first
        length = math.hypot(*along)
        if length:
            side = np.array([-along[1], along[0]]) / length * half_width
            strip = [first + side, first - side, last - side, last + side]
            self.fill(np.floor(np.array(strip) + 0.5), 1)
        x, y, box = self._around(last - half_width, last + half_width)
        near = (x - last[0]) ** 2 + ((y - last[1]) ** 2)[:, None] <= half_width**2
        self.labels[box][near] = 1

    def _around(
        self, low: FloatArray, high: FloatArray
    ) -> tuple[FloatArray, FloatArray, tuple[slice, slice]]:
        """Return x and y of the samples between two points, and where they are."""
        first = np.ceil((low - self.origin) / self.step - 0.5).astype(int)
        last = np.floor((high - self.origin) / self.step - 0.5).astype(int) + 1
        columns, rows = np.clip([first, last], 0, self.labels.shape[::-1]).T
        x = self.origin[0] + (np.arange(*columns) + 0.5) * self.step
        y = self.origin[1] + (np.arange(*rows) + 0.5) * self.step
        return x, y, (slice(*rows), slice(*columns))
