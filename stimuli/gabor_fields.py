"""Fields of Gabor patches in which some lie along a contour.

Observers find a path of patches whose orientations follow it among others of random
orientation (Field, Hayes and Hess 1993, Vision Res. 33, 173-193,
doi:10.1016/0042-6989(93)90156-Q).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_whole
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.canvas import cos_sin
from stimuli.display import GREY, Display, display_set, pixel_centres
from stimuli.gabors import draw_gabors

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

PATH_ANGLES_DEG = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0)

_TRIES = 200


@dataclass(frozen=True, eq=False)
class GaborField:
    """Where patches are, and which belong to the contour.

    Parameters
    ----------
    x_deg, y_deg : ndarray of float64, shape (n,)
        Centres.
    theta_deg : ndarray of float64, shape (n,)
        Orientation as `stimuli.gabors.draw_gabors` takes it: 0 has vertical bars.
    phase_deg : ndarray of float64, shape (n,)
        Phases.
    on_path : ndarray of bool, shape (n,)
        Whether a patch stands on the path; the first ones do, in order.
    """

    x_deg: FloatArray
    y_deg: FloatArray
    theta_deg: FloatArray
    phase_deg: FloatArray
    on_path: BoolArray


def place_contour_field(
    *,
    grid: int = 16,
    cell_deg: float = 1.0,
    jitter_deg: float = 0.3,
    path_length: int = 12,
    path_angle_deg: float = 15.0,
    closed: bool = False,
    present: bool = True,
    orientation_jitter_deg: float = 0.0,
    min_distance_deg: float = 0.65,
    seed: int = 0,
) -> GaborField:
    """Place patches: some along a path, the others on a jittered grid.

    Parameters
    ----------
    grid : int, default 16
        Cells to a side; there are ``grid ** 2`` patches.
    cell_deg : float, default 1
        Side of a cell, and distance of neighbours on the path.
    jitter_deg : float, default 0.3
        Largest shift of a patch from the centre of its cell, along each axis.
    path_length : int, default 12
        Patches on the path, at least 3.
    path_angle_deg : float, default 15
        Change of direction from one patch of the path to the next, to one side or the
        other by chance, 0..90. Not used for closed contours.
    closed : bool, default False
        The path is a ring: all changes are 360 / `path_length` degrees to one side.
    present : bool, default True
        Patches on the path point along it. Otherwise all is the same, but they point
        anywhere: a control with the same places.
    orientation_jitter_deg : float, default 0
        Largest turn of patches away from the path, 0..90.
    min_distance_deg : float, default 0.65
        Smallest distance of any two patches.
    seed : int, default 0
        Of places, orientations and phases.

    Returns
    -------
    GaborField
        ``grid ** 2`` patches.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or there is no room.

    Examples
    --------
    >>> field = place_contour_field(grid=8, path_length=6)
    >>> len(field.x_deg), int(field.on_path.sum())
    (64, 6)
    """
    check_whole("grid", grid, low=4)
    check_whole("path_length", path_length, low=3, high=grid**2)
    check_between("cell_deg", cell_deg, low=1e-3)
    check_between("jitter_deg", jitter_deg, low=0, high=cell_deg / 2)
    check_between("path_angle_deg", path_angle_deg, low=0, high=90)
    check_between("orientation_jitter_deg", orientation_jitter_deg, low=0, high=90)
    check_between("min_distance_deg", min_distance_deg, low=0)
    check_whole("seed", seed, low=0)
    if min_distance_deg > cell_deg - jitter_deg:
        raise ValueError(
            f"`min_distance_deg` must be at most `cell_deg` - `jitter_deg` "
            f"({cell_deg - jitter_deg:.3g}), so that every cell has room; got "
            f"{min_distance_deg}."
        )
    rng = generator(seed, "contour field", int(closed), path_length, grid)
    half = grid * cell_deg / 2
    for _ in range(_TRIES):
        path = _path(
            rng, half - cell_deg / 2, cell_deg, path_length, path_angle_deg, closed
        )
        if path is None or _closest(path[:, :2]) < min_distance_deg:
            continue
        others = _fill_cells(
            rng, path[:, :2], grid, cell_deg, jitter_deg, min_distance_deg
        )
        if others is not None:
            break
    else:
        raise ValueError(
            f"No room was found for a path of {path_length} patches among {grid} x "
            f"{grid}: shorten it, lower `min_distance_deg`, or raise `grid`."
        )
    n = grid**2
    # Bars along the path: theta is the direction across them.
    along = path[:, 2] - 90 + rng.uniform(-1, 1, path_length) * orientation_jitter_deg
    random = rng.uniform(0, 180, n)
    theta = np.concatenate([along if present else random[:path_length],
                            random[path_length:]])  # fmt: skip
    places = np.vstack([path[:, :2], others])
    return GaborField(
        places[:, 0],
        places[:, 1],
        theta % 180,
        rng.uniform(0, 360, n),
        np.arange(n) < path_length,
    )


def draw_contour_field(
    *,
    grid: int = 16,
    path_length: int = 12,
    seed: int = 0,
    cell_deg: float = 1.0,
    jitter_deg: float = 0.3,
    path_angle_deg: float = 15.0,
    orientation_jitter_deg: float = 0.0,
    min_distance_deg: float = 0.65,
    closed: bool = False,
    present: bool = True,
    wavelength_deg: float = 0.25,
    sigma_deg: float = 0.18,
    contrast: float = 0.9,
    background: float = GREY,
    px_per_deg: float = 16.0,
) -> Display:
    """Draw a field of patches with a contour, or its control.

    Parameters
    ----------
    grid, path_length, seed : int
        As `place_contour_field`; the picture is ``grid * cell_deg`` degrees wide.
    cell_deg, jitter_deg, path_angle_deg : float
        As `place_contour_field`.
    orientation_jitter_deg, min_distance_deg : float
        As `place_contour_field`.
    closed, present : bool
        As `place_contour_field`.
    wavelength_deg, sigma_deg : float
        As `stimuli.gabors.draw_gabors`.
    contrast : float, default 0.9
        Of the patches; a little below 1, because neighbours add.
    background : float, default 0.5
        Luminance of the ground.
    px_per_deg : float, default 16
        Pixels per degree.

    Returns
    -------
    Display
        Mask "path": within two standard deviations of a patch on the path.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or there is no room.
    """
    field = place_contour_field(
        grid=grid,
        cell_deg=cell_deg,
        jitter_deg=jitter_deg,
        path_length=path_length,
        path_angle_deg=path_angle_deg,
        closed=closed,
        present=present,
        orientation_jitter_deg=orientation_jitter_deg,
        min_distance_deg=min_distance_deg,
        seed=seed,
    )
    shown = draw_gabors(
        field.x_deg,
        field.y_deg,
        field.theta_deg,
        wavelength_deg=wavelength_deg,
        sigma_deg=sigma_deg,
        phase_deg=field.phase_deg,
        contrast=contrast,
        background=background,
        size_deg=grid * cell_deg,
        px_per_deg=px_per_deg,
    )
    x, y = pixel_centres(shown.image.shape, px_per_deg)
    path = np.zeros(shown.image.shape, bool)
    for k in np.flatnonzero(field.on_path):
        path |= np.hypot(x - field.x_deg[k], y - field.y_deg[k]) <= 2 * sigma_deg
    geometry = {**shown.geometry, "on_path": field.on_path, "present": present}
    image = np.clip(shown.image, 0, 1)
    return Display(image, px_per_deg, geometry, {"path": path})


def contour_display(row: Mapping[str, Any]) -> Display:
    """Draw the picture of a row of a set.

    Parameters
    ----------
    row : mapping
        A row of the table of `make_contour_fields`.

    Returns
    -------
    Display
        With masks and geometry.
    """
    left_out = ("stimulus_id", "pair")
    return draw_contour_field(**{k: v for k, v in row.items() if k not in left_out})


def make_contour_fields(
    *,
    path_angles_deg: Sequence[float] = PATH_ANGLES_DEG,
    n_fields: int = 4,
    closed: Sequence[bool] = (False,),
    grid: int = 16,
    path_length: int = 12,
    cell_deg: float = 1.0,
    jitter_deg: float = 0.3,
    orientation_jitter_deg: float = 0.0,
    wavelength_deg: float = 0.25,
    sigma_deg: float = 0.18,
    contrast: float = 0.9,
    background: float = GREY,
    px_per_deg: float = 16.0,
    seed: int = 0,
) -> StimulusSet:
    """Make pairs of fields: with a contour, and the same places without.

    Parameters
    ----------
    path_angles_deg : sequence of float, default 0 to 75 in steps of 15
        Changes of direction; of closed contours there is one only.
    n_fields : int, default 4
        Pairs of each kind.
    closed : sequence of bool, default (False,)
        Open paths, rings, or both.
    grid, path_length : int
        As `place_contour_field`.
    cell_deg, jitter_deg, orientation_jitter_deg : float
        As `place_contour_field`.
    wavelength_deg, sigma_deg, contrast, background : float
        As `draw_contour_field`.
    px_per_deg : float, default 16
        Pixels per degree.
    seed : int, default 0
        Of all draws; every pair has its own.

    Returns
    -------
    StimulusSet
        One row per picture, with the arguments of `draw_contour_field` as columns and
        `pair` (the same for a field and its control).

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or there is no room.

    Examples
    --------
    >>> stimuli = make_contour_fields(path_angles_deg=[0], n_fields=1)
    >>> stimuli.table["present"].tolist()
    [True, False]
    """
    check_whole("n_fields", n_fields, low=1)
    check_whole("seed", seed, low=0)
    kinds = [(False, float(angle)) for angle in path_angles_deg if False in closed]
    if True in closed:
        kinds.append((True, 360 / check_whole("path_length", path_length, low=3)))
    rows: list[dict[str, Any]] = []
    for pair, ((ring, angle), field) in enumerate(product(kinds, range(n_fields))):
        own = generator(seed, "contour pair", int(ring), round(1000 * angle), field)
        number = int(own.integers(2**31))
        rows += [
            {
                "stimulus_id": f"contour_{pair:04d}_{'path' if there else 'none'}",
                "pair": pair,
                "present": there,
                "closed": ring,
                "path_angle_deg": min(angle, 90.0),
                "grid": grid,
                "path_length": path_length,
                "cell_deg": float(cell_deg),
                "jitter_deg": float(jitter_deg),
                "orientation_jitter_deg": float(orientation_jitter_deg),
                "wavelength_deg": float(wavelength_deg),
                "sigma_deg": float(sigma_deg),
                "contrast": float(contrast),
                "background": float(background),
                "px_per_deg": float(px_per_deg),
                "seed": number,
            }
            for there in (True, False)
        ]
    if not rows:
        raise ValueError("There is no field: give `path_angles_deg` and `closed`.")
    table = pd.DataFrame(rows)
    contour_display(rows[0])  # a faulty factor is told before it is used
    return display_set(
        "contour-fields",
        table,
        contour_display,
        size_deg=grid * cell_deg,
        px_per_deg=px_per_deg,
        background=background,
    )


def _path(
    rng: np.random.Generator,
    half: float,
    step: float,
    n: int,
    angle_deg: float,
    closed: bool,
) -> FloatArray | None:
    """Return x, y and direction of the patches of a path, or None if it leaves."""
    signs = np.ones(n) if closed else rng.choice([-1.0, 1.0], n)
    turns = signs * (360 / n if closed else angle_deg)
    start = rng.uniform(0, 360)
    directions = start + np.concatenate([[0.0], np.cumsum(turns[1:])])
    # A step halves the change of direction between its two patches.
    ways = [cos_sin(float(d)) for d in directions[:-1] + turns[1:] / 2]
    places = np.vstack([np.zeros((1, 2)), np.cumsum(step * np.array(ways), axis=0)])
    low, high = places.min(axis=0), places.max(axis=0)
    if np.any(high - low > 2 * half):
        return None
    places += rng.uniform(-half - low, half - high)
    return np.column_stack([places, directions])


def _closest(places: FloatArray) -> float:
    distances = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    distances[np.diag_indices(len(places))] = np.inf
    return float(distances.min())


def _fill_cells(
    rng: np.random.Generator,
    path: FloatArray,
    grid: int,
    cell: float,
    jitter: float,
    min_distance: float,
) -> FloatArray | None:
    """Place one patch in each free cell until there are enough; None without room."""
    wanted = grid**2 - len(path)
    half = grid * cell / 2
    taken = {tuple(c) for c in np.floor((path + half) / cell).astype(int)}
    cells = [c for c in product(range(grid), repeat=2) if c not in taken]
    placed = path.copy()
    for place in rng.permutation(len(cells)):
        if len(placed) == grid**2:
            break
        centre = (np.array(cells[place]) + 0.5) * cell - half
        shifts = rng.uniform(-jitter, jitter, (_TRIES, 2))
        candidates = np.vstack([centre + shifts, centre[None]])
        near = placed[np.abs(placed - centre).max(axis=1) <= jitter + 2 * cell]
        gaps = np.hypot(*(candidates[:, None] - near[None]).transpose(2, 0, 1))
        room = np.flatnonzero((gaps >= min_distance).all(axis=1))
        if len(room):
            placed = np.vstack([placed, candidates[room[0]]])
    # Cells beside the path may have no room: other places make up for them.
    for _ in range(50 * _TRIES):
        if len(placed) == grid**2:
            break
        candidate = rng.uniform(-half + cell / 4, half - cell / 4, 2)
        if np.hypot(*(placed - candidate).T).min() >= min_distance:
            placed = np.vstack([placed, candidate])
    return placed[len(path) :] if len(placed) == wanted + len(path) else None
