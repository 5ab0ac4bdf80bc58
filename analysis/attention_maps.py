"""Where the queries of a brain encoder look, and whether that depends on the image.

Attention is what cross-attention weighs image patches with, averaged over heads: for
each image and query (a region or a unit) shares on a grid of patches that add up to 1.
Map j belongs to query j, 0-based. Ensembles are averaged map by map beforehand.

Places are told from the centre of the picture, x to the right and y upwards, in widths
of the picture or in degrees. A picture that was padded to whole patches at the bottom
and on the right (425 to 434 pixels, for patches of 14) does not fill the grid: give its
`size` and the `pad`, or centres are off. Undefined is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, rel_entr

from analysis.stats import pearson_r
from neurovis.core.checks import (
    check_array,
    check_between,
    check_columns,
    check_option,
    check_whole,
)

FloatArray = NDArray[np.float64]

UPSAMPLING = ("nearest", "linear")
"""How maps are brought to the size of the picture."""

# Of sums of shares: room for maps that were rounded to float16.
_ROUNDING = 2e-3


@dataclass(frozen=True)
class FieldAgreement:
    """How attention centres lie to receptive fields.

    Parameters
    ----------
    n_used : int
        Queries with a defined centre and field.
    r_x, r_y, r_eccentricity : float
        Pearson correlations of the coordinates and of the distances from the centre of
        the picture, -1..1.
    median_distance : float
        Median distance of a centre from its own field, in the unit of both.
    median_distance_other : float
        The same for the fields of other queries: what to expect by chance.
    """

    n_used: int
    r_x: float
    r_y: float
    r_eccentricity: float
    median_distance: float
    median_distance_other: float


@dataclass(frozen=True)
class PictureFrame:
    """How a picture lies in the grid that covers it and its padding.

    Parameters
    ----------
    height, width : float
        Size of the picture in pixels, without padding.
    cell_height, cell_width : float
        Size of one cell of the grid in pixels.
    """

    height: float
    width: float
    cell_height: float
    cell_width: float


def attention_per_image(
    attention: ArrayLike,
    *,
    width: float = 1.0,
    size: tuple[float, float] | None = None,
    pad: tuple[float, float] = (0, 0),
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Describe each map by its centre, spread, entropy and peak.

    Parameters
    ----------
    attention : array-like of float, shape (n_images, n_queries, h, w)
        Shares that add up to 1 over the grid.
    width : float, default 1
        Width of the picture in the unit of the results, such as 8.4 degrees.
    size : pair of float, optional
        Height and width of the picture in pixels, without padding; the whole grid, of
        square cells, by default.
    pad : pair of float, default (0, 0)
        Pixels that were added at the bottom and on the right; needs `size`.
    names : sequence of str, optional
        Names of the queries; their 0-based numbers by default.

    Returns
    -------
    DataFrame
        One row per image and query, images outermost: `image` (0-based), `query`, `x`,
        `y` (centre of mass), `spread` (root mean square distance from it,
        ``sqrt(sum(p * ((x_i - x)**2 + (y_i - y)**2)))``, cells counted as their
        centres), `entropy_bits` (``-sum(p * log2(p))``) and `peak_share` (of the
        strongest cell). All NaN for a map with NaN.

    Raises
    ------
    TypeError, ValueError
        If shares are negative or do not add up to 1, or another argument does not fit.

    Examples
    --------
    >>> maps = np.zeros((1, 1, 2, 2))
    >>> maps[0, 0, 0] = 0.5  # the upper half
    >>> attention_per_image(maps).iloc[0, 2:].tolist()
    [0.0, 0.25, 0.25, 1.0, 0.5]
    """
    maps, queries = check_attention(attention, names)
    place = _places(picture_frame(maps.shape[-2:], size, pad), maps.shape[-2:], width)
    n_images, n_queries = maps.shape[:2]
    found = np.empty((n_queries, n_images, 5))
    for j in range(n_queries):
        found[j] = _describe(maps_of_query(maps, j), place)
    table = pd.DataFrame(
        {
            "image": np.repeat(np.arange(n_images), n_queries),
            "query": queries * n_images,
        }
    )
    columns = ("x", "y", "spread", "entropy_bits", "peak_share")
    values = found.transpose(1, 0, 2).reshape(-1, 5)
    return table.assign(**dict(zip(columns, values.T, strict=True)))


def attention_summary(
    attention: ArrayLike,
    *,
    width: float = 1.0,
    size: tuple[float, float] | None = None,
    pad: tuple[float, float] = (0, 0),
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Describe the mean map of each query, and how far images move it.

    A wide mean map may be wide in every image, or narrow in each and in other places:
    then attention is routed by what the image shows.

    Parameters
    ----------
    attention : array-like of float, shape (n_images, n_queries, h, w)
        Shares that add up to 1 over the grid.
    width : float, default 1
        Width of the picture in the unit of the results.
    size, pad : pair of float, optional
        Picture and padding in pixels, as `attention_per_image`.
    names : sequence of str, optional
        Names of the queries; their 0-based numbers by default.

    Returns
    -------
    DataFrame
        One row per query. Of the mean map: `query`, `n_images` (without NaN), `x`, `y`,
        `spread`, `entropy_bits`, `peak_share`, as `attention_per_image`. Of the maps of
        images: `spread_per_image` (root mean square), `entropy_bits_per_image` and
        `peak_share_per_image` (means), `centre_scatter` (root mean square distance of
        the centres from their mean). Beside: `routing_bits` (0 or more),
        `routing_index` (0..1; NaN where the mean map has no entropy) and
        `max_entropy_bits` (of even attention).

    Raises
    ------
    TypeError, ValueError
        As `attention_per_image`.

    Notes
    -----
    `routing_bits` is the mutual information of image and attended place: the mean over
    images of the Kullback-Leibler divergence of the map from the mean map. 0 says that
    every image is looked at alike. `routing_index` is its share of the entropy of the
    mean map (Theil's uncertainty coefficient): 1 says that the image decides the place.
    Of n images `routing_bits` is at most ``log2(n)``, and few images give too little.

    ``spread**2 == spread_per_image**2 + centre_scatter**2`` and
    ``entropy_bits == entropy_bits_per_image + routing_bits``, exactly.

    References
    ----------
    Cover and Thomas (2006). Elements of Information Theory. Wiley.
    doi:10.1002/047174882X

    Examples
    --------
    >>> left, right = [[1.0, 0.0]], [[0.0, 1.0]]
    >>> table = attention_summary(
    ...     [[left, left], [right, left]], names=["moves", "stays"]
    ... )
    >>> table["routing_bits"].tolist()
    [1.0, 0.0]
    """
    maps, queries = check_attention(attention, names)
    place = _places(picture_frame(maps.shape[-2:], size, pad), maps.shape[-2:], width)
    table = []
    for j, query in enumerate(queries):
        rows = maps_of_query(maps, j)
        rows = rows[~np.isnan(rows[:, 0])]
        row: dict[str, object] = {"query": query, "n_images": len(rows)}
        mean = rows.mean(axis=0) if len(rows) else np.full(rows.shape[1], np.nan)
        whole = _describe(mean[None], place)[0]
        keys = ("x", "y", "spread", "entropy_bits", "peak_share")
        row |= dict(zip(keys, map(float, whole), strict=True))
        own = _describe(rows, place) if len(rows) else np.full((1, 5), np.nan)
        away = ((own[:, :2] - whole[:2]) ** 2).sum(axis=1)
        bits = float(rel_entr(rows, mean).sum() / np.log(2))
        routing = bits / len(rows) if len(rows) else np.nan
        row |= {
            "spread_per_image": float(np.sqrt((own[:, 2] ** 2).mean())),
            "entropy_bits_per_image": float(own[:, 3].mean()),
            "peak_share_per_image": float(own[:, 4].mean()),
            "centre_scatter": float(np.sqrt(away.mean())),
            "routing_bits": routing,
            "routing_index": routing / whole[3] if whole[3] > 0 else np.nan,
            "max_entropy_bits": float(np.log2(rows.shape[1])),
        }
        table.append(row)
    return pd.DataFrame(table)


def upsample_attention(
    attention: ArrayLike,
    size: tuple[int, int],
    *,
    pad: tuple[int, int] = (0, 0),
    method: str = "nearest",
) -> FloatArray:
    """Bring maps to the size of the picture, in multiples of even attention.

    Parameters
    ----------
    attention : array-like of float, shape (..., h, w)
        Shares that add up to 1 over the grid.
    size : pair of int
        Height and width of the picture in pixels, without padding.
    pad : pair of int, default (0, 0)
        Pixels that were added at the bottom and on the right; they are cut off again.
    method : {"nearest", "linear"}
        The cell that a pixel lies in, as blocks; or interpolated between the centres of
        cells, constant beyond the outermost.

    Returns
    -------
    ndarray of float64, shape (..., height, width)
        Share of attention divided by share of area: 1 everywhere for even attention.
        NaN throughout a map with NaN.

    Raises
    ------
    TypeError, ValueError
        If shares do not add up to 1, or another argument does not fit.

    Examples
    --------
    >>> upsample_attention([[0.5, 0.25, 0.25, 0.0]], (1, 6), pad=(0, 2)).tolist()
    [[2.0, 2.0, 1.0, 1.0, 1.0, 1.0]]
    """
    check_option("method", method, UPSAMPLING)
    maps = np.asarray(attention)
    if maps.ndim < 2:
        raise ValueError(f"`attention` must have shape (..., h, w); got {maps.shape}.")
    _check_shares(maps)
    lengths = [check_whole("size", n, low=1) for n in _pair("size", size)]
    extra = [check_whole("pad", n, low=0) for n in _pair("pad", pad)]
    values = np.asarray(maps, np.float64) * np.prod(maps.shape[-2:])
    values[np.isnan(values).any(axis=(-2, -1))] = np.nan
    by_row, by_column = (
        _sampling(n_cells, n, n + more, method)
        for n_cells, n, more in zip(maps.shape[-2:], lengths, extra, strict=True)
    )
    return by_row @ values @ by_column.T


def fields_from_attention(
    summary: pd.DataFrame, fields: pd.DataFrame
) -> FieldAgreement:
    """Compare attention centres of queries with receptive fields measured otherwise.

    Parameters
    ----------
    summary : DataFrame
        `x` and `y` of one query per row, as by `attention_summary`.
    fields : DataFrame
        `rf_x` and `rf_y` of the same queries in the same order and unit; NaN where not
        known.

    Returns
    -------
    FieldAgreement
        NaN with fewer than two defined pairs (distances: one).

    Raises
    ------
    ValueError
        If a column is missing or the lengths differ.

    Examples
    --------
    >>> summary = pd.DataFrame({"x": [0.1, -0.1, 0.2], "y": [0.0, 0.2, 0.1]})
    >>> fields = pd.DataFrame({"rf_x": [0.2, -0.2, 0.4], "rf_y": [0.0, 0.4, 0.2]})
    >>> round(fields_from_attention(summary, fields).r_x, 6)
    1.0
    """
    check_columns("summary", summary.columns, ["x", "y"])
    check_columns("fields", fields.columns, ["rf_x", "rf_y"])
    if len(summary) != len(fields):
        raise ValueError(
            f"`fields` has {len(fields)} rows, but `summary` has {len(summary)}: both "
            "need one row per query, in one order."
        )
    centres = summary[["x", "y"]].to_numpy(np.float64)
    others = fields[["rf_x", "rf_y"]].to_numpy(np.float64)
    known = np.isfinite(centres).all(axis=1) & np.isfinite(others).all(axis=1)
    a, b = centres[known], others[known]
    distance = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    apart = ~np.eye(len(a), dtype=bool)
    r = pearson_r(a.T, b.T)
    r_far = pearson_r(np.hypot(*a.T), np.hypot(*b.T))
    return FieldAgreement(
        n_used=len(a),
        r_x=float(r[0]),
        r_y=float(r[1]),
        r_eccentricity=float(r_far),
        median_distance=_median(np.diagonal(distance)),
        median_distance_other=_median(distance[apart]),
    )


def _median(values: FloatArray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def check_attention(
    attention: ArrayLike, names: Sequence[str] | None = None
) -> tuple[NDArray[np.floating], list[int] | list[str]]:
    """Return maps that hold shares, and what their queries are called.

    Parameters
    ----------
    attention : array-like of float, shape (n_images, n_queries, h, w)
        Shares that add up to 1 over the grid.
    names : sequence of str, optional
        Names of the queries, no two alike; their 0-based numbers by default.

    Returns
    -------
    maps : ndarray of float, shape (n_images, n_queries, h, w)
        The maps, unchanged.
    queries : list of int or list of str
        One per query.

    Raises
    ------
    ValueError
        If the shape is another, shares are negative or do not add up to 1, or names do
        not fit.
    """
    maps = check_array("attention", attention, shape=(None,) * 4)
    _check_shares(maps)
    if names is None:
        return maps, list(range(maps.shape[1]))
    if len(names) != maps.shape[1] or len(set(names)) != len(names):
        raise ValueError(
            f"`names` must name each of {maps.shape[1]} queries once; got {len(names)} "
            f"names, {len(set(names))} of them different."
        )
    return maps, list(names)


def _check_shares(maps: NDArray[np.floating]) -> None:
    if maps.dtype.kind not in "fiu" or 0 in maps.shape[-2:]:
        raise ValueError(
            f"`attention` must hold numbers on a grid; got dtype {maps.dtype}, shape "
            f"{maps.shape}."
        )
    total = maps.sum(axis=(-2, -1), dtype=np.float64)
    known = total[~np.isnan(total)]
    off = abs(known - 1)
    if (maps < 0).any() or (off > _ROUNDING).any():
        worst = known[off.argmax()] if len(off) else np.nan
        raise ValueError(
            "`attention` must hold shares that add up to 1 over the grid, softmax "
            f"weights averaged over heads; got values from {np.nanmin(maps):g} and a "
            f"map with the sum {worst:g}."
        )


def maps_of_query(maps: NDArray[np.floating], query: int) -> FloatArray:
    """Return the maps of one query as rows that add up to 1 without rounding.

    Parameters
    ----------
    maps : ndarray of float, shape (n_images, n_queries, h, w)
        As from `check_attention`.
    query : int
        Which query, 0-based.

    Returns
    -------
    ndarray of float64, shape (n_images, h * w)
        Cells row by row from the top; all NaN for a map with NaN.
    """
    rows = np.asarray(maps[:, query], np.float64).reshape(len(maps), -1)
    # A NaN makes the sum, and with it the whole map, NaN.
    return rows / rows.sum(axis=1, keepdims=True)


def _pair(name: str, values: tuple[float, float]) -> tuple[float, float]:
    if np.shape(values) != (2,):
        raise ValueError(
            f"`{name}` must be two numbers, along the height and the width; got "
            f"{values!r}."
        )
    return values


def picture_frame(
    grid: tuple[int, ...],
    size: tuple[float, float] | None = None,
    pad: tuple[float, float] = (0, 0),
) -> PictureFrame:
    """Return how a picture lies in a grid of patches.

    Parameters
    ----------
    grid : pair of int
        Rows and columns of the grid.
    size : pair of float, optional
        Height and width of the picture in pixels, without padding; the whole grid, of
        square cells, by default.
    pad : pair of float, default (0, 0)
        Pixels that were added at the bottom and on the right; needs `size`.

    Returns
    -------
    PictureFrame
        Sizes of picture and cells.

    Raises
    ------
    TypeError, ValueError
        If a size is not above 0, a padding is negative, or `size` is missing.

    Examples
    --------
    >>> picture_frame((31, 31), (425, 425), (9, 9)).cell_width
    14.0
    """
    extra = [check_between("pad", n, low=0) for n in _pair("pad", pad)]
    if size is None and any(extra):
        raise ValueError(
            f"`pad` is {pad!r}, but `size` is not given: say how large the picture is "
            "without padding, in pixels."
        )
    height, width = (grid[0], grid[1]) if size is None else _pair("size", size)
    for length in (height, width):
        if not check_between("size", length, low=0) > 0:
            raise ValueError(f"`size` must be above 0; got {size!r}.")
    return PictureFrame(
        height, width, (height + extra[0]) / grid[0], (width + extra[1]) / grid[1]
    )


def _places(frame: PictureFrame, grid: tuple[int, ...], width: float) -> FloatArray:
    """Return x and y of the centres of cells, shape (2, h * w)."""
    if not check_between("width", width, low=0) > 0:
        raise ValueError(f"`width` must be above 0; got {width!r}.")
    x = (np.arange(grid[1]) + 0.5) * frame.cell_width - frame.width / 2
    y = frame.height / 2 - (np.arange(grid[0]) + 0.5) * frame.cell_height
    places = np.stack([np.tile(x, grid[0]), np.repeat(y, grid[1])])
    return places * (width / frame.width)


def _describe(rows: FloatArray, place: FloatArray) -> FloatArray:
    """Return x, y, spread, entropy in bits and peak of maps, shape (n_maps, 5)."""
    centre = rows @ place.T
    # Around each centre, not from mean squares: a narrow map far out keeps its digits.
    spread = np.zeros(len(rows))
    for of_axis, middle in zip(place, centre.T, strict=True):
        spread += (rows * (of_axis - middle[:, None]) ** 2).sum(axis=1)
    bits = entr(rows).sum(axis=1) / np.log(2)
    return np.column_stack([centre, np.sqrt(spread), bits, rows.max(axis=1)])


def _sampling(n_cells: int, n: int, n_padded: int, method: str) -> FloatArray:
    """Return the weights of cells for each pixel, shape (n, n_cells)."""
    at = (np.arange(n) + 0.5) * n_cells / n_padded
    weights = np.zeros((n, n_cells))
    pixels = np.arange(n)
    if method == "nearest":
        weights[pixels, np.floor(at).astype(int)] = 1
        return weights
    at = np.clip(at - 0.5, 0, n_cells - 1)
    low = np.floor(at).astype(int)
    weights[pixels, low] = 1 - (at - low)
    weights[pixels, np.minimum(low + 1, n_cells - 1)] += at - low
    return weights
