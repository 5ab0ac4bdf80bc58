"""Pictures of one category's shape with another's texture, filled or synthesised."""

import functools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.device import resolve
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.manipulated_sets import REFERENCE_PX_PER_DEG
from stimuli.shape_texture import (
    GROUND,
    check_shapes,
    check_textures,
    make_shape_texture_set,
    mask_fill,
    paired_set,
)
from tasks.texture_pictures import check_sides, synthesise_pictures

FloatArray = NDArray[np.float64]

METHODS = ("mask_fill", "texture_synthesis")


def make_cue_conflict(
    shapes: Mapping[str, ArrayLike] | None = None,
    textures: Mapping[str, ArrayLike] | None = None,
    *,
    method: str = "mask_fill",
    fill: str = "quilt",
    ground: float = GROUND,
    include_same: bool = True,
    size_px: int = 224,
    px_per_deg: float = REFERENCE_PX_PER_DEG,
    n_steps: int = 5,
    seed: int = 0,
    device: str = "cpu",
) -> StimulusSet:
    """Show every shape with every texture.

    Parameters
    ----------
    shapes : mapping of str to array_like of bool, shape (H, W), optional
        Masks of one size by name, such as "bear1"; drawn by rule by default.
    textures : mapping of str to array_like of float, shape (h, w, 3), optional
        Exemplars by name, 0..1; made by formula by default.
    method : {"mask_fill", "texture_synthesis"}
        Lay the exemplar itself inside the mask, or a new texture that has its
        statistics (Portilla & Simoncelli), from another place of it for each shape.
    fill : {"quilt", "mirror", "tile"}
        For "mask_fill": how exemplars of another size are brought to that of the
        masks.
    ground : float, default 0.7614
        Grey around the shape, 0..1.
    include_same : bool, default True
        Show shapes with a texture of their own category too.
    size_px : int, default 224
        Side where shapes are drawn.
    px_per_deg : float, default 74.2
        Pixels per degree.
    n_steps : int, default 5
        Steps of the synthesis.
    seed : int, default 0
        Seed, >= 0.
    device : str, default "cpu"
        Where textures are synthesised.

    Returns
    -------
    StimulusSet
        As `stimuli.shape_texture.make_shape_texture_set`, with the column `method`.
        Each texture is synthesised once, when a picture needs it first.

    Raises
    ------
    TypeError, ValueError
        If a mask, a texture, a name or an option is not as it must be.

    References
    ----------
    Geirhos et al. (2019), arXiv:1811.12231. Portilla & Simoncelli (2000),
    doi:10.1023/A:1026553619983.
    """
    check_option("method", method, METHODS)
    if method == "mask_fill":
        made = make_shape_texture_set(
            shapes,
            textures,
            fill=fill,
            ground=ground,
            include_same=include_same,
            size_px=size_px,
            px_per_deg=px_per_deg,
            seed=seed,
        )
        return replace(made, table=made.table.assign(method=method))
    check_between("ground", ground, low=0, high=1)
    check_whole("n_steps", n_steps, low=1)
    check_whole("seed", seed, low=0)
    place = resolve(device)
    masks = check_shapes(shapes, size_px=size_px, seed=seed)
    rows, columns = next(iter(masks.values())).shape
    surfaces = check_textures(textures, size_px=min(rows, columns), seed=seed)
    for surface in surfaces.values():
        check_sides([*surface.shape[:2], rows, columns])

    @functools.cache
    def synthesised(texture: str) -> FloatArray:
        own = int(generator(seed, "synthesised texture", texture).integers(2**31))
        return synthesise_pictures(
            surfaces[texture],
            [own],
            shape=(rows, columns),
            n_steps=n_steps,
            device=place,
        )[0]

    def paint(shape: str, texture: str) -> FloatArray:
        # Synthesised textures are periodic: any place can be the corner.
        shift = generator(seed, "texture of", shape, texture).integers(
            0, (rows, columns)
        )
        surface = np.roll(synthesised(texture), shift, axis=(0, 1))
        return mask_fill(masks[shape], surface, ground=ground)

    made = paired_set(
        "cue-conflict",
        list(masks),
        list(surfaces),
        paint,
        (rows, columns),
        px_per_deg,
        ground,
        include_same,
    )
    return replace(made, table=made.table.assign(method=method))
