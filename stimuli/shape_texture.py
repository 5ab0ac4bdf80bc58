"""Shape against texture: the outline of one category, the surface of another.

What an observer calls such a picture tells what it goes by. Silhouettes and edges show
the shape without any texture.

References
----------
Geirhos, Rubisch, Michaelis, Bethge, Wichmann & Brendel (2019). ImageNet-trained CNNs
are biased towards texture. ICLR, arXiv:1811.12231. Their pictures were stylised by a
network; those here have one texture inside a mask.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion

from neurovis.core.checks import check_array, check_between, check_option, check_whole
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet, Viewing
from stimuli.category_outlines import SHAPES, draw_silhouette
from stimuli.category_textures import TEXTURES, draw_texture
from stimuli.display import to_8_bit
from stimuli.manipulated_sets import REFERENCE_PX_PER_DEG
from stimuli.texture_quilting import FILLS, extend_texture

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

GROUND = 0.7614
"""Mean grey level of the published pictures."""

KINDS = ("cue-conflict", "silhouette", "edge")

_NAME = re.compile(r"[A-Za-z]+[0-9]*")


def mask_fill(
    mask: ArrayLike, texture: ArrayLike, *, ground: float = GROUND
) -> FloatArray:
    """Show a texture inside a mask.

    Parameters
    ----------
    mask : array_like of bool, shape (H, W)
        True inside.
    texture : array_like of float, shape (H, W, 3)
        Texture, 0..1; `stimuli.texture_quilting.extend_texture` brings one to size.
    ground : float, default 0.7614
        Grey around, 0..1.

    Returns
    -------
    ndarray of float64, shape (H, W, 3)
        Borders are sharp: no pixel has a mixture.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit or a value is out of range.

    Examples
    --------
    >>> mask_fill([[True, False]], np.zeros((1, 2, 3)))[0, :, 0].tolist()
    [0.0, 0.7614]
    """
    level = check_between("ground", ground, low=0, high=1)
    inside = _check_mask(mask)
    surface = np.asarray(texture, np.float64)
    check_array("texture", surface, shape=(*inside.shape, 3), finite=True)
    if surface.min() < 0 or surface.max() > 1:
        raise ValueError("`texture` must lie within 0..1. Divide 8-bit levels by 255.")
    return np.where(inside[..., None], surface, level)


def show_silhouette(mask: ArrayLike) -> FloatArray:
    """Show a mask in black on white.

    Parameters
    ----------
    mask : array_like of bool, shape (H, W)
        True inside.

    Returns
    -------
    ndarray of float64, shape (H, W)
        0 inside, 1 outside.

    Raises
    ------
    TypeError, ValueError
        If it is no mask.

    Examples
    --------
    >>> show_silhouette([[True, False]]).tolist()
    [[0.0, 1.0]]
    """
    return np.where(_check_mask(mask), 0.0, 1.0)


def show_edges(mask: ArrayLike) -> FloatArray:
    """Show the border of a mask as black lines of one pixel on white.

    Parameters
    ----------
    mask : array_like of bool, shape (H, W)
        True inside.

    Returns
    -------
    ndarray of float64, shape (H, W)
        0 on pixels inside that touch the outside with a side, 1 elsewhere. Beyond the
        picture is outside.

    Raises
    ------
    TypeError, ValueError
        If it is no mask.

    Examples
    --------
    >>> int((show_edges(np.ones((4, 5), bool)) == 0).sum())
    14
    """
    inside = _check_mask(mask)
    return np.where(inside & ~binary_erosion(inside), 0.0, 1.0)


def generated_shapes(
    n_per_category: int = 1, *, size_px: int = 224, seed: int = 0
) -> dict[str, Mask]:
    """Draw masks of all sixteen categories.

    Parameters
    ----------
    n_per_category : int, default 1
        Exemplars of each, >= 1.
    size_px : int, default 224
        Side.
    seed : int, default 0
        Seed of the exemplars.

    Returns
    -------
    dict of str to ndarray of bool, shape (size_px, size_px)
        By category and number from 1, such as "bear1".

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """
    n = check_whole("n_per_category", n_per_category, low=1)
    return {
        f"{category}{i + 1}": draw_silhouette(
            category, size_px=size_px, number=i, seed=seed
        )
        for category in SHAPES
        for i in range(n)
    }


def generated_textures(
    n_per_category: int = 1, *, size_px: int = 224, seed: int = 0
) -> dict[str, FloatArray]:
    """Make textures of all sixteen categories.

    Parameters
    ----------
    n_per_category : int, default 1
        Exemplars of each, >= 1.
    size_px : int, default 224
        Side.
    seed : int, default 0
        Seed of the exemplars.

    Returns
    -------
    dict of str to ndarray of float64, shape (size_px, size_px, 3)
        By category and number from 1, such as "bear1".

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """
    n = check_whole("n_per_category", n_per_category, low=1)
    return {
        f"{category}{i + 1}": draw_texture(
            category, size_px=size_px, number=i, seed=seed
        )
        for category in TEXTURES
        for i in range(n)
    }


def category_of(name: str) -> str:
    """Return the category of a shape or texture: its name without the number.

    Parameters
    ----------
    name : str
        Letters, then digits.

    Returns
    -------
    str
        The letters.

    Raises
    ------
    ValueError
        If the name has another form.

    Examples
    --------
    >>> category_of("bear12")
    'bear'
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name of a shape or texture: write letters for the "
            "category and digits for the exemplar, such as 'bear1'."
        )
    return name.rstrip("0123456789")


def make_shape_texture_set(
    shapes: Mapping[str, ArrayLike] | None = None,
    textures: Mapping[str, ArrayLike] | None = None,
    *,
    kind: str = "cue-conflict",
    fill: str = "quilt",
    ground: float = GROUND,
    include_same: bool = True,
    size_px: int = 224,
    px_per_deg: float = REFERENCE_PX_PER_DEG,
    seed: int = 0,
) -> StimulusSet:
    """Make pictures of shapes with textures, or of shapes alone.

    Parameters
    ----------
    shapes : mapping of str to array_like of bool, shape (H, W), optional
        Masks of one size by name, such as "bear1"; `generated_shapes` by default.
    textures : mapping of str to array_like of float, shape (h, w, 3), optional
        Exemplars by name, 0..1; `generated_textures` by default. Not used for
        silhouettes and edges.
    kind : {"cue-conflict", "silhouette", "edge"}
        What is shown: every shape with every texture; or every shape in black on
        white, or as its edges.
    fill : {"quilt", "mirror", "tile"}
        How textures of another size are brought to that of the masks, see
        `stimuli.texture_quilting.extend_texture`.
    ground : float, default 0.7614
        Grey around shapes with a texture, 0..1.
    include_same : bool, default True
        Show shapes with a texture of their own category too, as controls.
    size_px : int, default 224
        Side of the pictures where shapes are generated.
    px_per_deg : float, default 74.2
        Pixels per degree.
    seed : int, default 0
        Seed of quilts and of what is generated.

    Returns
    -------
    StimulusSet
        8-bit pictures, made when asked for. The table has `stimulus_id`
        ("bear1-clock1": shape and texture), `category` (of the shape), `shape`,
        `texture`, `texture_category`, `conflict` (bool), `kind`, and `condition`
        ("0", as in published tables).

    Raises
    ------
    TypeError, ValueError
        If a mask, a texture, a name or an option is not as it must be.

    Examples
    --------
    >>> pictures = make_shape_texture_set(size_px=32)
    >>> int(pictures.table["conflict"].sum()), len(pictures)
    (240, 256)
    """
    check_option("kind", kind, KINDS)
    check_option("fill", fill, FILLS)
    check_between("ground", ground, low=0, high=1)
    check_whole("seed", seed, low=0)
    masks = check_shapes(shapes, size_px=size_px, seed=seed)
    size = next(iter(masks.values())).shape
    surfaces: dict[str, FloatArray] = {}
    if kind == "cue-conflict":
        surfaces = check_textures(textures, size_px=min(size), seed=seed)

    def paint(shape: str, texture: str) -> FloatArray:
        mask = masks[shape]
        if kind == "silhouette":
            return show_silhouette(mask)
        if kind == "edge":
            return show_edges(mask)
        surface = surfaces[texture]
        if surface.shape[:2] != mask.shape:
            own = int(generator(seed, "texture of", shape, texture).integers(2**31))
            surface = extend_texture(surface, mask.shape, fill=fill, seed=own)
        return mask_fill(mask, surface, ground=ground)

    return paired_set(
        kind, list(masks), list(surfaces), paint, size, px_per_deg, ground, include_same
    )


def paired_set(
    kind: str,
    shapes: Sequence[str],
    textures: Sequence[str],
    paint: Callable[[str, str], FloatArray],
    size: tuple[int, ...],
    px_per_deg: float,
    ground: float,
    include_same: bool,
) -> StimulusSet:
    """Pair shapes with textures and return the set of their pictures.

    Parameters
    ----------
    kind : str
        Name of the set.
    shapes, textures : sequence of str
        Names; without textures every shape is shown alone.
    paint : callable
        Makes the picture of a shape and a texture ("" for none), 0..1.
    size : tuple of int
        Rows and columns.
    px_per_deg : float
        Pixels per degree.
    ground : float
        Grey around, 0..1.
    include_same : bool
        Pair shapes with textures of their own category too.

    Returns
    -------
    StimulusSet
        As `make_shape_texture_set`.

    Raises
    ------
    ValueError
        If there is no pair.
    """
    pairs = [
        (shape, texture)
        for shape in shapes
        for texture in textures or [""]
        if include_same or not texture or category_of(shape) != category_of(texture)
    ]
    if not pairs:
        raise ValueError(
            "No shape has a texture of another category: give more categories, or "
            "`include_same`."
        )
    own = [category_of(shape) for shape, _ in pairs]
    other = [category_of(texture) if texture else "" for _, texture in pairs]
    table = pd.DataFrame(
        {
            "stimulus_id": [f"{s}-{t}" if t else s for s, t in pairs],
            "category": own,
            "shape": [shape for shape, _ in pairs],
            "texture": [texture or None for _, texture in pairs],
            "texture_category": [name or None for name in other],
            "conflict": [bool(b) and a != b for a, b in zip(own, other, strict=True)],
            "kind": kind,
            "condition": "0",
        }
    )
    level = ground if textures else 1.0
    viewing = Viewing(px_per_deg, size[1], size[0], background=int(255 * level + 0.5))

    def draw(pair: tuple[str, str]) -> NDArray[np.uint8]:
        return to_8_bit(paint(*pair))

    return StimulusSet(kind, table, viewing, LazyPictures(draw, pairs))


def check_shapes(
    shapes: Mapping[str, ArrayLike] | None, *, size_px: int, seed: int
) -> Mapping[str, Mask]:
    """Return masks of one size, generated where none are given.

    Parameters
    ----------
    shapes : mapping of str to array_like of bool, shape (H, W), or None
        Masks by name.
    size_px : int
        Side of generated ones.
    seed : int
        Seed of generated ones.

    Returns
    -------
    mapping of str to ndarray of bool, shape (H, W)
        At least one.

    Raises
    ------
    TypeError, ValueError
        If there is none, a name has another form, or sizes differ.
    """
    if shapes is None:
        return generated_shapes(size_px=size_px, seed=seed)
    masks = {name: _check_mask(mask) for name, mask in shapes.items()}
    for name in masks:
        category_of(name)
    sizes = {mask.shape for mask in masks.values()}
    if len(sizes) != 1:
        raise ValueError(f"`shapes` must be masks of one size; got {sorted(sizes)}.")
    return MappingProxyType(masks)


def check_textures(
    textures: Mapping[str, ArrayLike] | None, *, size_px: int, seed: int
) -> dict[str, FloatArray]:
    """Return exemplars of textures, generated where none are given.

    Parameters
    ----------
    textures : mapping of str to array_like of float, shape (h, w, 3), or None
        Exemplars by name, 0..1.
    size_px : int
        Side of generated ones.
    seed : int
        Seed of generated ones.

    Returns
    -------
    dict of str to ndarray of float64, shape (h, w, 3)
        At least one.

    Raises
    ------
    TypeError, ValueError
        If there is none, a name has another form, or one is no texture.
    """
    if textures is None:
        return generated_textures(size_px=size_px, seed=seed)
    if not textures:
        raise ValueError("`textures` is empty: give at least one exemplar.")
    surfaces = {}
    for name, texture in textures.items():
        category_of(name)
        surface = np.asarray(texture, np.float64)
        check_array(f"textures[{name!r}]", surface, shape=(None, None, 3), finite=True)
        if not surface.size or surface.min() < 0 or surface.max() > 1:
            raise ValueError(
                f"`textures[{name!r}]` must have pixels within 0..1. Divide 8-bit "
                "levels by 255."
            )
        surfaces[name] = surface
    return surfaces


def _check_mask(mask: ArrayLike) -> Mask:
    inside = check_array("mask", np.asarray(mask), shape=(None, None), dtype=np.bool_)
    if not inside.any():
        raise ValueError("`mask` has no pixel inside.")
    return inside
