"""Feature maps that lie flattened on disk, and which of them a model looks at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_whole

_READ_BYTES = 2**27


class MapView:
    """Some maps of flattened features, read block by block when they are asked for.

    Parameters
    ----------
    rows : array-like, shape (n_images, n_maps * H * W)
        Features in the order of maps, rows and columns; what can be sliced stays
        where it is.
    shape : tuple of int
        Maps, height and width.
    kept : ndarray of int, shape (n_kept,)
        0-based maps.

    Examples
    --------
    >>> view = MapView(np.arange(8.0).reshape(1, 8), (2, 2, 2), np.array([1]))
    >>> view.shape, view[:].tolist()
    ((1, 1, 2, 2), [[[[4.0, 5.0], [6.0, 7.0]]]])
    """

    def __init__(
        self, rows: Any, shape: tuple[int, int, int], kept: NDArray[np.integer[Any]]
    ) -> None:
        self._rows, self._of_one, self._kept = rows, shape, kept
        self.shape = (int(rows.shape[0]), len(kept), *shape[1:])
        self.dtype = rows.dtype
        self.ndim = 4

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        maps: NDArray[Any] = np.asarray(self._rows[key]).reshape(-1, *self._of_one)
        # Choosing all would copy them.
        return maps if len(self._kept) == self._of_one[0] else maps[:, self._kept]


@dataclass(frozen=True, eq=False)
class MapSpace:
    """The feature maps of one layer, and those of them that a model looks at.

    Parameters
    ----------
    name : str
        Name of the features, such as the title of a layer.
    shapes : tuple of tuple of int
        Maps, height and width of each part; parts stand side by side, flattened.
    kept : tuple of ndarray of int64
        For each part the 0-based maps that are used, ascending.

    Raises
    ------
    ValueError
        If they do not fit.

    Examples
    --------
    >>> space = MapSpace("conv1", ((4, 2, 2),), (np.array([0, 3]),))
    >>> space.n_features, space.n_maps
    (16, 2)
    """

    name: str
    shapes: tuple[tuple[int, int, int], ...]
    kept: tuple[NDArray[np.int64], ...]

    def __post_init__(self) -> None:
        if not self.shapes or len(self.shapes) != len(self.kept):
            raise ValueError(
                f"{self.name!r} needs one shape, and one choice of maps, per part; got "
                f"{len(self.shapes)} and {len(self.kept)}."
            )
        for shape, kept in zip(self.shapes, self.kept, strict=True):
            good = len(kept) > 0 and kept[0] >= 0 and kept[-1] < shape[0]
            if not good or (np.diff(kept) < 1).any():
                raise ValueError(
                    f"`kept` of {self.name!r} must be ascending numbers from 0 to "
                    f"{shape[0] - 1}, at least one; got {kept}."
                )

    @property
    def n_features(self) -> int:
        """Values per picture, as they are given."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    @property
    def n_maps(self) -> int:
        """Maps that are used."""
        return sum(map(len, self.kept))

    def views(self, parts: Sequence[Any]) -> list[MapView]:
        """Return the maps that are used.

        Parameters
        ----------
        parts : sequence of array-like, each of shape (n_images, n_part)
            Features, one array per part.

        Returns
        -------
        list of MapView
            One per part.
        """
        triples = zip(parts, self.shapes, self.kept, strict=True)
        return [MapView(*triple) for triple in triples]

    def split(self, features: NDArray[Any]) -> list[NDArray[Any]]:
        """Take features apart that stand side by side.

        Parameters
        ----------
        features : ndarray, shape (n_images, n_features)
            Features.

        Returns
        -------
        list of ndarray
            Views, one per part.
        """
        edges = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        return np.split(features, edges[:-1], axis=1)


def most_varying_maps(maps: Any, n_maps: int | None) -> NDArray[np.int64]:
    """Choose the maps that vary most over images.

    Parameters
    ----------
    maps : array-like, shape (n_images, n_all, H, W)
        Feature maps, read in blocks of images, twice.
    n_maps : int or None
        How many are wanted, >= 1; None keeps all.

    Returns
    -------
    ndarray of int64
        0-based, ascending: the `n_maps` with the largest variance over images (at
        each position, averaged over positions; in float64), of equal ones the first.

    Raises
    ------
    TypeError, ValueError
        If `n_maps` is below 1.

    Examples
    --------
    >>> maps = np.zeros((2, 3, 1, 1))
    >>> maps[1, :, 0, 0] = 1, 3, 2
    >>> most_varying_maps(maps, 2)
    array([1, 2])
    """
    n_all = int(maps.shape[1])
    if n_maps is None or check_whole("n_maps", n_maps, low=1) >= n_all:
        return np.arange(n_all, dtype=np.int64)
    n_images = int(maps.shape[0])
    mean = sum(block.sum(0) for block in _blocks(maps)) / n_images
    squares = sum(((block - mean) ** 2).sum(0) for block in _blocks(maps))
    variance = np.asarray(squares).reshape(n_all, -1).sum(1)
    order = np.argsort(-variance, kind="stable")
    return np.sort(order[:n_maps]).astype(np.int64)


def _blocks(maps: Any) -> Iterator[NDArray[np.float64]]:
    row_bytes = 8 * int(np.prod(maps.shape[1:]))
    at_once = max(1, _READ_BYTES // row_bytes)
    for start in range(0, int(maps.shape[0]), at_once):
        yield np.asarray(maps[start : start + at_once], np.float64)
