"""How much a brain encoder attends to the objects of images, against other images.

Attention is as in `analysis.attention_maps`. Boxes come from annotated objects, such as
faces, in pixels of the picture.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.attention_maps import check_attention, maps_of_query, picture_frame
from neurovis.core.checks import check_array, check_whole

FloatArray = NDArray[np.float64]


def mass_in_boxes(
    attention: ArrayLike,
    boxes: ArrayLike,
    size: tuple[float, float],
    *,
    pad: tuple[float, float] = (0, 0),
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Measure the share of attention on an object of each image.

    Cells that a box cuts count by the part of their area inside.

    Parameters
    ----------
    attention : array-like of float, shape (n_images, n_queries, h, w)
        Shares that add up to 1 over the grid.
    boxes : array-like of float, shape (n_images, 4)
        Left, top, right, bottom in pixels of the picture, y down; NaN where an image
        has no object. What lies outside the picture does not count.
    size : pair of float
        Height and width of the picture in pixels, without padding.
    pad : pair of float, default (0, 0)
        Pixels that were added at the bottom and on the right.
    names : sequence of str, optional
        Names of the queries; their 0-based numbers by default.

    Returns
    -------
    DataFrame
        One row per image and query, images outermost: `image` (0-based), `query`,
        `mass` (share of attention in the box), `area` (share of the padded area: what
        even attention gives), `ratio` (mass / area) and `mass_other` (mean mass that
        the maps of the other images with an object have in this box: what does not
        depend on the image, such as a liking for the centre, is in both). NaN without
        an object, for a map with NaN, for a ratio to no area, and as `mass_other` of a
        single image.

    Raises
    ------
    TypeError, ValueError
        If a box is empty or known in part, or another argument does not fit.

    Examples
    --------
    >>> maps = np.full((1, 1, 2, 2), 0.25)
    >>> found = mass_in_boxes(maps, [[0, 0, 50, 75]], (100, 100))
    >>> found.loc[0, ["mass", "area", "ratio"]].tolist()
    [0.375, 0.375, 1.0]
    """
    maps, queries, parts, area, has_box = _boxed(attention, boxes, size, pad, names)
    n_images, n_queries = maps.shape[:2]
    mass = np.full((n_images, n_queries), np.nan)
    other = mass.copy()
    for j in range(n_queries):
        inside = parts @ maps_of_query(maps, j)[has_box].T
        own = np.diagonal(inside)
        mass[has_box, j] = own
        other[has_box, j] = np.where(np.isnan(own), np.nan, _mean_of_others(inside))
    areas = np.repeat(area, n_queries)
    return pd.DataFrame(
        {
            "image": np.repeat(np.arange(n_images), n_queries),
            "query": queries * n_images,
            "mass": mass.ravel(),
            "area": areas,
            "ratio": mass.ravel() / np.where(areas > 0, areas, np.nan),
            "mass_other": other.ravel(),
        }
    )


def box_guidance(
    attention: ArrayLike,
    boxes: ArrayLike,
    size: tuple[float, float],
    *,
    pad: tuple[float, float] = (0, 0),
    names: Sequence[str] | None = None,
    n_permutations: int = 1000,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Test whether queries follow the objects of images.

    Maps are exchanged between the images that have an object: attention that always
    goes to the same place loses nothing by that.

    Parameters
    ----------
    attention, boxes : array-like of float
        Shares (n_images, n_queries, h, w) and boxes (n_images, 4), as `mass_in_boxes`.
    size, pad : pair of float
        Picture and padding in pixels, as `mass_in_boxes`.
    names : sequence of str, optional
        Names of the queries; their 0-based numbers by default.
    n_permutations : int, default 1000
        Random arrangements of the maps, the same for all queries.
    rng : numpy.random.Generator
        Source of the arrangements.

    Returns
    -------
    DataFrame
        One row per query: `query`, `n_images` (with an object and a defined map),
        `mass`, `area` (means over these), `ratio` (of the two means), `mass_other`
        (mean mass of maps of other images, over all pairs) and `p_value` (one-sided,
        that exchanged maps have as much mass in the boxes; the arrangement of the data
        counts as one). NaN where undefined: no image, or `mass_other` and `p_value` of
        one image.

    Raises
    ------
    TypeError, ValueError
        As `mass_in_boxes`.

    Notes
    -----
    p values of queries are not corrected for their number: see
    `analysis.multiple_tests`.

    Examples
    --------
    >>> maps = np.zeros((6, 1, 1, 2))
    >>> maps[:3, 0, 0, 0] = maps[3:, 0, 0, 1] = 1
    >>> boxes = [[0, 0, 10, 10]] * 3 + [[10, 0, 20, 10]] * 3
    >>> found = box_guidance(maps, boxes, (10, 20), rng=np.random.default_rng(0))
    >>> found[["mass", "area", "ratio", "mass_other"]].round(6).values.tolist()
    [[1.0, 0.5, 2.0, 0.4]]
    """
    check_whole("n_permutations", n_permutations, low=1)
    maps, queries, parts, area, has_box = _boxed(attention, boxes, size, pad, names)
    n_boxes = int(has_box.sum())
    arrangements = rng.permuted(
        np.tile(np.arange(n_boxes), (n_permutations, 1)), axis=1
    )
    table = []
    for j, query in enumerate(queries):
        rows = maps_of_query(maps, j)[has_box]
        known = ~np.isnan(rows[:, 0])
        n = int(known.sum())
        inside = parts[known] @ rows[known].T
        mass, of_area, other, p = (np.nan,) * 4
        if n:
            mass = float(np.diagonal(inside).mean())
            of_area = float(area[has_box][known].mean())
        if n > 1:
            other = float(_mean_of_others(inside).mean())
            orders = arrangements
            if n < n_boxes:  # the same arrangements without what is not known
                rank = np.cumsum(known) - 1
                orders = rank[orders[known[orders]]].reshape(n_permutations, n)
            draws = inside[np.arange(n), orders].mean(axis=1)
            n_as_large = int((draws >= mass - 1e-12).sum())
            p = (1 + n_as_large) / (1 + n_permutations)
        table.append(
            {
                "query": query,
                "n_images": n,
                "mass": mass,
                "area": of_area,
                "ratio": mass / of_area if of_area > 0 else np.nan,
                "mass_other": other,
                "p_value": p,
            }
        )
    return pd.DataFrame(table)


def _boxed(
    attention: ArrayLike,
    boxes: ArrayLike,
    size: tuple[float, float],
    pad: tuple[float, float],
    names: Sequence[str] | None,
) -> tuple[
    NDArray[np.floating],
    list[int] | list[str],
    FloatArray,
    FloatArray,
    NDArray[np.bool_],
]:
    """Return maps, names, parts of cells in boxes (n_boxes, h * w), areas, who has."""
    maps, queries = check_attention(attention, names)
    frame = picture_frame(maps.shape[-2:], size, pad)
    sides = check_array("boxes", np.asarray(boxes, float), shape=(len(maps), 4))
    missing = np.isnan(sides)
    has_box: NDArray[np.bool_] = ~missing.any(axis=1)
    whole = missing.all(axis=1) | has_box
    known = sides[has_box]
    right_way = (known[:, 2:] > known[:, :2]).all(axis=1)
    if not whole.all() or not right_way.all() or np.isinf(sides).any():
        bad = ~whole | np.isinf(sides).any(axis=1)
        bad[has_box] |= ~right_way
        row = int(bad.argmax())
        raise ValueError(
            "`boxes` must hold left, top, right, bottom with left < right and top < "
            f"bottom, or NaN alone; image {row} has {sides[row].tolist()}."
        )
    limits = (frame.width, frame.height)
    cells = (frame.cell_width, frame.cell_height)
    h, w = maps.shape[-2:]
    along = []
    for axis, n_cells in enumerate((w, h)):
        low = np.clip(known[:, axis], 0, limits[axis])[:, None]
        high = np.clip(known[:, axis + 2], 0, limits[axis])[:, None]
        edges = np.arange(n_cells + 1) * cells[axis]
        overlap = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
        along.append(np.maximum(overlap, 0) / cells[axis])
    parts = (along[1][:, :, None] * along[0][:, None, :]).reshape(len(known), h * w)
    area = np.full(len(maps), np.nan)
    area[has_box] = parts.mean(axis=1)
    return maps, queries, parts, area, has_box


def _mean_of_others(inside: FloatArray) -> FloatArray:
    """Average each row without its own map, and without maps with NaN."""
    n = len(inside)
    apart = ~np.eye(n, dtype=bool) & ~np.isnan(inside)
    count = apart.sum(axis=1)
    total = np.where(apart, inside, 0).sum(axis=1)
    return total / np.where(count > 0, count, np.nan)
