"""Random-dot motion: some dots move together, the others are plotted anew.

Dots come in interleaved sets, three by default: each frame shows one set, so that a dot
is compared with itself three frames earlier. Of these dots a share, the coherence, is
displaced by ``speed * 3 / rate``; the others get random places. A dot that leaves the
aperture comes in again at the opposite end of its path, so that the density is the
same everywhere.

People and monkeys, recalled: 82 % correct at about 6 to 15 % coherence.

References
----------
Britten, Shadlen, Newsome and Movshon (1992). Journal of Neuroscience 12, 4745-4765.
doi:10.1523/JNEUROSCI.12-12-04745.1992. Palmer, Huk and Shadlen (2005). Journal of
Vision 5(5), 1. doi:10.1167/5.5.1
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.canvas import cos_sin
from stimuli.display import (
    PX_PER_DEG,
    BoolArray,
    Display,
    FloatArray,
    display_set,
    ground,
    lay,
    to_8_bit,
)
from stimuli.glyphs import union_coverage
from stimuli.outlines import regular_polygon

_DOT_CORNERS = 24
_SIMULATED = (
    *("coherence", "direction_deg", "n_frames", "radius_deg", "speed_deg_per_s"),
    *("density_per_deg2_s", "rate_hz", "n_sets", "seed"),
)
_DRAWN = ("dot_deg", "luminance", "background", "size_deg", "px_per_deg")


@dataclass(frozen=True, eq=False)
class DotMotion:
    """Dots of a movie.

    Parameters
    ----------
    places_deg : ndarray of float64, shape (n_frames, n_dots, 2)
        Where the dots of each frame are (x, y), from the centre of the aperture.
    moves_deg : ndarray of float64, shape (n_frames, n_dots, 2)
        Displacement of each dot against the last frame of its set. Where it came in
        again at the other end this is the displacement before. NaN in the first
        frame of each set.
    coherent : ndarray of bool, shape (n_frames, n_dots)
        Which dots moved with the others; none in the first frames.
    radius_deg, rate_hz, speed_deg_per_s, direction_deg, coherence : float
        As `simulate_dots`.
    n_sets : int
        Interleaved sets.
    """

    places_deg: FloatArray
    moves_deg: FloatArray
    coherent: BoolArray
    radius_deg: float
    rate_hz: float
    speed_deg_per_s: float
    direction_deg: float
    coherence: float
    n_sets: int

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.places_deg)


def dots_per_frame(density_per_deg2_s: float, radius_deg: float, rate_hz: float) -> int:
    """Return how many dots a frame shows.

    Parameters
    ----------
    density_per_deg2_s : float
        Dots per square degree and second.
    radius_deg : float
        Radius of the aperture.
    rate_hz : float
        Frames per second.

    Returns
    -------
    int
        ``density * pi * radius**2 / rate``, rounded to the nearest whole number.

    Raises
    ------
    ValueError
        If a number is not above 0, or there would be no dot.

    Examples
    --------
    >>> dots_per_frame(16.7, 5.0, 60)
    22
    """
    check_between("density_per_deg2_s", density_per_deg2_s, low=1e-6)
    check_between("radius_deg", radius_deg, low=1e-6)
    check_between("rate_hz", rate_hz, low=1e-6)
    n = math.floor(density_per_deg2_s * math.pi * radius_deg**2 / rate_hz + 0.5)
    if n < 1:
        raise ValueError(
            f"A density of {density_per_deg2_s:.3g} dots per square degree and second "
            f"gives no dot in an aperture of {radius_deg:.3g} deg at {rate_hz:g} Hz. "
            "Use a higher `density_per_deg2_s` or a larger `radius_deg`."
        )
    return n


def simulate_dots(
    coherence: float,
    direction_deg: float = 0.0,
    *,
    n_frames: int = 60,
    radius_deg: float = 2.5,
    speed_deg_per_s: float = 5.0,
    density_per_deg2_s: float = 16.7,
    rate_hz: float = 60.0,
    n_sets: int = 3,
    seed: int = 0,
    movie: str = "",
) -> DotMotion:
    """Simulate the dots of a movie.

    Parameters
    ----------
    coherence : float
        Chance of each dot, in each frame, to move with the others, 0..1.
    direction_deg : float, default 0
        Direction of motion, counter-clockwise from the right.
    n_frames : int, default 60
        Number of frames.
    radius_deg : float, default 2.5
        Radius of the round aperture.
    speed_deg_per_s : float, default 5
        Speed of coherent dots.
    density_per_deg2_s : float, default 16.7
        Dots per square degree and second.
    rate_hz : float, default 60
        Frames per second.
    n_sets : int, default 3
        Interleaved sets of dots.
    seed : int, default 0
        Seed, >= 0.
    movie : str, optional
        Gives the movie a stream of its own.

    Returns
    -------
    DotMotion
        Places, displacements and which dots were coherent.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or a step is longer than the aperture.

    Examples
    --------
    >>> motion = simulate_dots(1.0, n_frames=6)
    >>> motion.places_deg.shape, motion.moves_deg[3, 0].round(6).tolist()
    ((6, 5, 2), [0.25, 0.0])
    """
    check_between("coherence", coherence, low=0, high=1)
    check_between("direction_deg", direction_deg)
    n_frames = check_whole("n_frames", n_frames, low=1)
    n_sets = check_whole("n_sets", n_sets, low=1)
    n = dots_per_frame(density_per_deg2_s, radius_deg, rate_hz)
    step = speed_deg_per_s * n_sets / rate_hz
    check_between("speed_deg_per_s", speed_deg_per_s, low=0)
    if step >= 2 * radius_deg:
        raise ValueError(
            f"Dots of {speed_deg_per_s:.3g} deg/s move {step:.3g} deg between frames "
            f"of their set, more than the aperture is wide ({2 * radius_deg:.3g} deg). "
            "Use a lower `speed_deg_per_s` or `n_sets`, or a larger `radius_deg`."
        )
    rng = generator(seed, "dot-motion", movie)
    cos, sin = cos_sin(direction_deg)
    along = np.array([cos, sin])
    places = np.empty((n_frames, n, 2))
    moves = np.full((n_frames, n, 2), np.nan)
    coherent = np.zeros((n_frames, n), np.bool_)
    for frame in range(n_frames):
        anew = _uniform(n, radius_deg, rng)
        if frame < n_sets:
            places[frame] = anew
            continue
        before = places[frame - n_sets]
        coherent[frame] = rng.random(n) < coherence
        moved = _wrapped(before + step * along, along, radius_deg)
        is_coherent = coherent[frame][:, None]
        places[frame] = np.where(is_coherent, moved, anew)
        moves[frame] = np.where(is_coherent, step * along, anew - before)
    return DotMotion(
        places, moves, coherent, radius_deg, rate_hz, speed_deg_per_s, direction_deg,
        coherence, n_sets,
    )  # fmt: skip


def draw_dot_frame(
    motion: DotMotion,
    frame: int,
    *,
    dot_deg: float = 0.1,
    luminance: float = 1.0,
    background: float = 0.0,
    size_deg: float | None = None,
    px_per_deg: float = PX_PER_DEG,
) -> Display:
    """Draw one frame.

    Parameters
    ----------
    motion : DotMotion
        From `simulate_dots`.
    frame : int
        0-based number of the frame.
    dot_deg : float, default 0.1
        Diameter of the dots.
    luminance : float, default 1
        Of the dots, 0..1.
    background : float, default 0
        Of the ground, 0..1.
    size_deg : float, optional
        Side of the picture; the aperture and 0.5 degrees on each side by default.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    Display
        Mask "dots": pixels covered by half or more; geometry `places_deg`.

    Raises
    ------
    ValueError
        If a number is out of range, or the aperture leaves the picture.
    """
    frame = check_whole("frame", frame, low=0, high=motion.n_frames - 1)
    check_between("dot_deg", dot_deg, low=1e-3)
    check_between("luminance", luminance, low=0, high=1)
    needed = 2 * motion.radius_deg + dot_deg
    side = 2 * motion.radius_deg + 1.0 if size_deg is None else size_deg
    if side < needed - 1e-9:
        raise ValueError(
            f"`size_deg` is {side:.3g}: dots need {needed:.3g} degrees or more."
        )
    image = ground(side, px_per_deg, background)
    angle = 2 * math.pi / _DOT_CORNERS
    # A polygon of the same area as the dot.
    radius = dot_deg / 2 * math.sqrt(angle / math.sin(angle))
    dot = regular_polygon(_DOT_CORNERS, radius)
    places = motion.places_deg[frame]
    cover = union_coverage([dot + place for place in places], image.shape, px_per_deg)
    lay(image, cover, luminance)
    return Display(image, px_per_deg, {"places_deg": places}, {"dots": cover >= 0.5})


def draw_dot_movie(
    motion: DotMotion, *, dtype: str = "float64", **look: Any
) -> NDArray[Any]:
    """Draw all frames.

    Parameters
    ----------
    motion : DotMotion
        From `simulate_dots`.
    dtype : {"float64", "uint8"}
        Luminance 0..1, or grey levels 0..255.
    **look : object
        Options of `draw_dot_frame`.

    Returns
    -------
    ndarray of float64 or uint8, shape (n_frames, H, W)
        The movie.

    Raises
    ------
    ValueError
        If an option is out of range.

    Examples
    --------
    >>> draw_dot_movie(simulate_dots(0.5, n_frames=4), px_per_deg=8).shape
    (4, 48, 48)
    """
    check_option("dtype", dtype, ("float64", "uint8"))
    frames = [draw_dot_frame(motion, i, **look).image for i in range(motion.n_frames)]
    if dtype == "uint8":
        return np.stack([to_8_bit(frame)[..., 0] for frame in frames])
    return np.stack(frames)


def make_dot_motion(
    coherences: Sequence[float] = (0.0, 0.064, 0.128, 0.256, 0.512),
    directions_deg: Sequence[float] = (0.0, 180.0),
    *,
    movies: int = 1,
    n_frames: int = 15,
    radius_deg: float = 2.5,
    speed_deg_per_s: float = 5.0,
    density_per_deg2_s: float = 16.7,
    rate_hz: float = 60.0,
    n_sets: int = 3,
    dot_deg: float = 0.1,
    luminance: float = 1.0,
    background: float = 0.0,
    size_deg: float = 6.0,
    seed: int = 0,
    px_per_deg: float = PX_PER_DEG,
) -> StimulusSet:
    """Make movies of dots, one picture per frame.

    Parameters
    ----------
    coherences : sequence of float
        Shares of dots that move together, 0..1.
    directions_deg : sequence of float, default (0, 180)
        Directions of motion, counter-clockwise from the right.
    movies : int, default 1
        Movies of each coherence and direction.
    n_frames : int, default 15
        Frames of each movie.
    radius_deg : float, default 2.5
        Radius of the aperture.
    speed_deg_per_s : float, default 5
        Speed of coherent dots.
    density_per_deg2_s : float, default 16.7
        Dots per square degree and second.
    rate_hz : float, default 60
        Frames per second.
    n_sets : int, default 3
        Interleaved sets of dots.
    dot_deg : float, default 0.1
        Diameter of the dots.
    luminance : float, default 1
        Of the dots, 0..1.
    background : float, default 0
        Of the ground, 0..1.
    size_deg : float, default 6
        Side of the picture in degrees.
    seed : int, default 0
        Seed, >= 0.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    StimulusSet
        One row per frame: `movie`, `frame`, `time_ms` of its onset, `condition`,
        `n_dots`, and the arguments of `simulate_dots` and `draw_dot_frame`. Frames of
        a movie stand together, in order.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> stimuli = make_dot_motion([0.5], [90.0], n_frames=3)
    >>> stimuli.table[["movie", "frame"]].to_numpy().tolist()[-1]
    ['c0.5_d90_m000', 2]
    """
    movies = check_whole("movies", movies, low=1)
    seed = check_whole("seed", seed, low=0)
    check_between("size_deg", size_deg, low=2 * radius_deg + dot_deg)
    n_dots = dots_per_frame(density_per_deg2_s, radius_deg, rate_hz)
    rows = []
    for coherence, direction, number in itertools.product(
        coherences, directions_deg, range(movies)
    ):
        movie = f"c{coherence:g}_d{direction:g}_m{number:03d}"
        shared: dict[str, Any] = {
            "coherence": float(coherence),
            "direction_deg": float(direction),
            "n_frames": n_frames,
            "radius_deg": radius_deg,
            "speed_deg_per_s": speed_deg_per_s,
            "density_per_deg2_s": density_per_deg2_s,
            "rate_hz": rate_hz,
            "n_sets": n_sets,
            "seed": seed,
        }
        # Refuses what cannot be before any picture is drawn.
        simulate_dots(**{**shared, "n_frames": 1}, movie=movie)
        rows += [
            {
                "stimulus_id": f"{movie}_f{frame:03d}",
                "movie": movie,
                "frame": frame,
                "time_ms": 1000 * frame / rate_hz,
                "condition": f"c{coherence:g}_d{direction:g}",
                "n_dots": n_dots,
                **shared,
                "dot_deg": dot_deg,
                "luminance": luminance,
                "background": background,
                "size_deg": size_deg,
                "px_per_deg": px_per_deg,
            }
            for frame in range(check_whole("n_frames", n_frames, low=1))
        ]
    return display_set(
        "dot_motion",
        pd.DataFrame(rows),
        _draw_row,
        size_deg=size_deg,
        px_per_deg=px_per_deg,
        background=background,
    )


def motion_of_row(row: Mapping[str, Any] | pd.Series) -> DotMotion:
    """Return the dots of the movie to which a row belongs.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_dot_motion`.

    Returns
    -------
    DotMotion
        Places in all frames.
    """
    return simulate_dots(**{k: row[k] for k in _SIMULATED}, movie=str(row["movie"]))


def _draw_row(row: Mapping[str, Any]) -> Display:
    look = {name: row[name] for name in _DRAWN}
    return draw_dot_frame(motion_of_row(row), int(row["frame"]), **look)


def _uniform(n: int, radius_deg: float, rng: np.random.Generator) -> FloatArray:
    """Draw places in a disc."""
    # From the square around it: sines differ between machines in the last bit.
    found = np.zeros((0, 2))
    while len(found) < n:
        square = rng.uniform(-radius_deg, radius_deg, (2 * n, 2))
        found = np.vstack([found, square[(square**2).sum(axis=1) <= radius_deg**2]])
    return found[:n]


def _wrapped(places: FloatArray, along: FloatArray, radius_deg: float) -> FloatArray:
    """Bring dots that left the aperture in again at the other end of their chord."""
    forward = places @ along
    aside = places @ np.array([-along[1], along[0]])
    chord = np.sqrt(np.maximum(radius_deg**2 - aside**2, 0.0))
    # Moving along a chord and around keeps an even density even.
    length = np.maximum(2 * chord, 1e-12)
    inside = (forward + chord) % length - chord
    return places + np.outer(inside - forward, along)
