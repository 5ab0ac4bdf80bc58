"""Drawings of six categories, for simulations and demos.

Faces, bodies, places, words, food and objects are what experiments compare to find
regions of visual cortex. The drawings are simple and not realistic. Within a category
the kind, place, size, colour and background vary, so that the category shows in the
shapes and not in one pixel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from neurovis.core.checks import check_option, check_whole
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet, Viewing
from stimuli.category_brush import Brush, Figure, hsv
from stimuli.category_people import BODIES, FACES
from stimuli.category_places import PLACES
from stimuli.category_things import FOOD, OBJECTS, WORDS

FIGURES: Mapping[str, Mapping[str, Figure]] = MappingProxyType(
    {
        "face": FACES,
        "body": BODIES,
        "place": PLACES,
        "word": WORDS,
        "food": FOOD,
        "object": OBJECTS,
    }
)
"""What is drawn, by category and kind."""

CATEGORIES = tuple(FIGURES)

BACKGROUNDS = ("noise", "gradient", "both")

SIZE_DEG = 8.4
"""Width of a picture on the screen, as in the Natural Scenes Dataset."""

_GREY_SHARE = 0.2
_OVERSAMPLING = 3
_NOISE_PX = 128
"""Noise is made at this size, so that it is the same in pictures of any size."""

# Range of the width of a figure, as a share of the picture.
_WIDTHS = {"word": (0.5, 0.85), "body": (0.55, 0.9)}
_OTHER_WIDTHS = (0.45, 0.85)

_Floats = NDArray[np.float32]

_LIGHTNESS: _Floats = np.array([[0.3], [0.59], [0.11]], np.float32)
_FREQUENCY = np.hypot(np.fft.fftfreq(_NOISE_PX)[:, None], np.fft.rfftfreq(_NOISE_PX))
_LOG_FREQUENCY: _Floats = np.log(np.maximum(_FREQUENCY, 1e-9)).astype(np.float32)


def make_category_pictures(
    n: int,
    *,
    size_px: int = 128,
    categories: str | Sequence[str] = CATEGORIES,
    seed: int = 0,
) -> StimulusSet:
    """Make a set of drawings in which the categories are equally frequent.

    They serve simulations and demos, and do not stand for photographs.

    Parameters
    ----------
    n : int
        Number of pictures, >= 1.
    size_px : int, default 128
        Width and height, 16..2048.
    categories : str or sequence of str, default all of `CATEGORIES`
        Which categories. They follow each other in blocks that have each once, in
        random order.
    seed : int, default 0
        Seed of the set, >= 0. A picture depends on the seed, its category and its
        number: the first pictures of a longer set are those of a shorter one.

    Returns
    -------
    StimulusSet
        Pictures are drawn when asked for. The table has the columns `stimulus_id`
        ("face-00012": category and number), `category`, `kind` (what is drawn, such
        as "mug"), `x_px`, `y_px` (centre of the figure), `width_px` (its size; that
        of the picture for a place), `tilt_deg` (counter-clockwise), `hue_deg` (main
        colour, 0..360), `background` (one of `BACKGROUNDS`;
        "scene" for a place) and
        `grey` (bool, a picture without colour).

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or a category is unknown or repeats.

    Notes
    -----
    On one machine the same call gives the same levels. Machines and versions of
    Pillow can differ in single levels, and so in the fingerprint of the set.

    Examples
    --------
    >>> stimuli = make_category_pictures(12, size_px=32)
    >>> stimuli.table["category"].value_counts().unique().tolist()
    [2]
    >>> stimuli.load(0).shape
    (32, 32, 3)
    """
    n = check_whole("n", n, low=1)
    size_px = check_whole("size_px", size_px, low=16, high=2048)
    listed = [categories] if isinstance(categories, str) else list(categories)
    names = [str(check_option("categories", name, CATEGORIES)) for name in listed]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"`categories` must be different names; got {categories!r}.")
    order: list[str] = []
    for block in range(-(-n // len(names))):
        shuffled = generator(seed, "category-order", block).permutation(len(names))
        order += [names[i] for i in shuffled]
    sources = list(zip(order[:n], range(n), strict=True))
    designs = [_design(category, _stream(seed, category, i)) for category, i in sources]
    table = pd.DataFrame(
        {
            "stimulus_id": [f"{category}-{i:05d}" for category, i in sources],
            "category": [category for category, _ in sources],
            "kind": [design.kind for design in designs],
            "x_px": [design.x * size_px for design in designs],
            "y_px": [design.y * size_px for design in designs],
            "width_px": [design.width * size_px for design in designs],
            "tilt_deg": [design.tilt_deg for design in designs],
            "hue_deg": [design.hue_deg for design in designs],
            "background": [design.background for design in designs],
            "grey": [design.grey for design in designs],
        }
    )

    def draw(source: tuple[str, int]) -> NDArray[np.uint8]:
        return draw_category_picture(*source, size_px=size_px, seed=seed)

    return StimulusSet(
        "category-pictures",
        table,
        Viewing(px_per_deg=size_px / SIZE_DEG, width_px=size_px, height_px=size_px),
        LazyPictures(draw, sources),
    )


def draw_category_picture(
    category: str, number: int, *, size_px: int = 128, seed: int = 0
) -> NDArray[np.uint8]:
    """Draw one picture of a category.

    Parameters
    ----------
    category : str
        One of `CATEGORIES`.
    number : int
        Which picture, >= 0.
    size_px : int, default 128
        Width and height, 16..2048. Pictures of different size show the same.
    seed : int, default 0
        Seed of the set, >= 0.

    Returns
    -------
    ndarray of uint8, shape (size_px, size_px, 3)
        The picture; edges are anti-aliased.

    Raises
    ------
    TypeError, ValueError
        If the category is unknown or a number is out of range.

    Examples
    --------
    >>> draw_category_picture("face", 3, size_px=64).shape
    (64, 64, 3)
    """
    check_option("category", category, CATEGORIES)
    number = check_whole("number", number, low=0)
    size_px = check_whole("size_px", size_px, low=16, high=2048)
    rng = _stream(seed, category, number)
    design = _design(category, rng)
    large_px = size_px * _OVERSAMPLING
    canvas = Image.new("RGB", (large_px, large_px))
    if design.background in BACKGROUNDS:
        ground = Image.fromarray(_to_levels(_background(rng, design, size_px)))
        canvas = ground.resize((large_px, large_px), Image.Resampling.NEAREST)
    x, y, unit = (large_px * v for v in (design.x, design.y, design.width / 2))
    brush = Brush(
        canvas, x, y, unit, tilt_deg=design.tilt_deg, mirrored=design.mirrored
    )
    FIGURES[category][design.kind](brush, rng, design.hue_deg)
    drawn = np.asarray(canvas.reduce(_OVERSAMPLING), np.float32)
    return _finish(rng, design, drawn)


@dataclass(frozen=True)
class _Design:
    """What is drawn where; lengths as shares of the picture."""

    kind: str
    x: float
    y: float
    width: float
    tilt_deg: float
    hue_deg: float
    background: str
    grey: bool
    mirrored: bool


def _stream(seed: int, category: str, number: int) -> np.random.Generator:
    return generator(seed, "category-picture", category, number)


def _design(category: str, rng: np.random.Generator) -> _Design:
    kinds = list(FIGURES[category])
    kind = kinds[int(rng.integers(len(kinds)))]
    hue, grey, mirrored = rng.uniform(0, 360), rng.random() < _GREY_SHARE, rng.random()
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    width = rng.uniform(*_WIDTHS.get(category, _OTHER_WIDTHS))
    tilt, x, y = rng.normal(0, 6), *rng.uniform(-1, 1, 2)
    if category == "place":
        return _Design(kind, 0.5, 0.5, 1.0, 0.0, hue, "scene", grey, mirrored < 0.5)
    # Figures may leave the picture by a little.
    room = 0.5 - 0.45 * width
    x, y = 0.5 + room * x, 0.5 + room * y
    return _Design(
        kind,
        x,
        y,
        width,
        tilt,
        hue,
        background,
        grey,
        mirrored < 0.5 and category != "word",
    )


# ----------------------------------------------------------------------- surfaces


def _background(rng: np.random.Generator, design: _Design, size_px: int) -> _Floats:
    """Return levels of 1/f noise, of a gradient or of both, 0..255."""
    # Mostly darker or lighter than the figure.
    light = rng.uniform(0.12, 0.4) if rng.random() < 0.5 else rng.uniform(0.62, 0.92)
    first = np.array(hsv(rng.uniform(0, 360), rng.uniform(0, 0.5), light), np.float32)
    ground = np.broadcast_to(first, (size_px, size_px, 3))
    if design.background in ("gradient", "both"):
        light = max(0.05, light + rng.uniform(-0.25, 0.25))
        last = np.array(hsv(rng.uniform(0, 360), 0.3, light), np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        at = np.linspace(-0.5, 0.5, size_px, dtype=np.float32)
        along = 0.5 + (np.cos(angle) * at + np.sin(angle) * at[:, None]) / 1.41
        ground = first + along[..., None] * (last - first)
    if design.background in ("noise", "both"):
        strong = rng.uniform(0.05, 0.16)
        tint = (1 + rng.uniform(-0.5, 0.5, 3)).astype(np.float32)
        ground = ground + strong * _noise(rng, size_px)[..., None] * tint
    return ground * np.float32(255)


def _noise(rng: np.random.Generator, size_px: int) -> _Floats:
    """Return noise with amplitudes of about 1/f, mean 0 and standard deviation 1."""
    white = rng.standard_normal((_NOISE_PX, _NOISE_PX), dtype=np.float32)
    falling = np.exp(_LOG_FREQUENCY * np.float32(-rng.uniform(1.0, 1.5)))
    falling[0, 0] = 0
    field = np.fft.irfft2(np.fft.rfft2(white) * falling).astype(np.float32)
    field /= field.std()
    if size_px != _NOISE_PX:
        image = Image.fromarray(field).resize(
            (size_px, size_px), Image.Resampling.BICUBIC
        )
        field = np.asarray(image)
    return field


def _finish(
    rng: np.random.Generator, design: _Design, drawn: _Floats
) -> NDArray[np.uint8]:
    """Lay texture, light and contrast over the whole drawing."""
    texture = 1 + rng.uniform(0.02, 0.12) * _noise(rng, len(drawn))
    light = rng.uniform(0.8, 1.1, 3).astype(np.float32)
    contrast, mean = rng.uniform(0.6, 1.0), rng.uniform(100, 150)
    if design.grey:
        drawn = np.repeat(drawn @ _LIGHTNESS, 3, axis=2)
        light[:] = light[0]
    drawn = drawn * texture[..., None] * light
    return _to_levels(mean + np.float32(contrast) * (drawn - mean))


def _to_levels(values: _Floats) -> NDArray[np.uint8]:
    return (np.clip(values, 0, 255) + 0.5).astype(np.uint8)
