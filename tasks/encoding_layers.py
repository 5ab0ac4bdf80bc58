"""Features of a layer as estimators read them, and names of files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.adapters.projections import Projection
from neurovis.core.files import sha256_bytes

_FEATURES_AT_ONCE = 4096
_LONGEST_NAME = 72


class RowView:
    """Some rows of a matrix, read block by block when they are asked for.

    Parameters
    ----------
    matrix : ndarray, shape (n, n_columns)
        In memory or not.
    rows : ndarray of int, shape (n_rows,)
        0-based rows, some perhaps more than once.
    """

    def __init__(self, matrix: NDArray[Any], rows: NDArray[np.integer[Any]]) -> None:
        self._matrix, self._rows = matrix, rows
        self.shape = (len(rows), int(matrix.shape[1]))
        self.dtype = matrix.dtype
        self.ndim = 2

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        block: NDArray[Any] = np.asarray(self._matrix[:, columns])[self._rows[rows]]
        return block


@dataclass(frozen=True, eq=False)
class Layer:
    """The features of one layer for all rows, and how they were projected.

    Parameters
    ----------
    title : str
        Name in tables; "" for features without layers.
    parts : tuple of ndarray of float32, each of shape (n_found, n_part)
        Side by side.
    codes : ndarray of int, shape (n_rows,)
        Row of the parts for each row of the responses.
    projections : mapping of str to Projection
        By request.
    """

    title: str
    parts: tuple[NDArray[np.float32], ...]
    codes: NDArray[np.intp]
    projections: Mapping[str, Projection] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return sum(int(part.shape[1]) for part in self.parts)

    def rows(self, which: NDArray[np.integer[Any]]) -> list[RowView]:
        """Return some rows, as an estimator takes them.

        Parameters
        ----------
        which : ndarray of int, shape (n,)
            0-based rows of the responses.

        Returns
        -------
        list of RowView
            Side by side, each of shape (n, n_part).
        """
        return [RowView(part, self.codes[which]) for part in self.parts]

    def moments(self, which: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return means and variances of features over rows.

        Parameters
        ----------
        which : ndarray of int, shape (n,)
            0-based rows of the responses.

        Returns
        -------
        ndarray of float64, shape (2, n_features)
            Means and (population) variances.
        """
        found = []
        for view in self.rows(which):
            for start in range(0, view.shape[1], _FEATURES_AT_ONCE):
                block = view[:, start : start + _FEATURES_AT_ONCE].astype(np.float64)
                found.append(np.stack([block.mean(axis=0), block.var(axis=0)]))
        return np.concatenate(found, axis=1)


def file_name(text: str) -> str:
    """Return text as the name of a file.

    Parameters
    ----------
    text : str
        Title of a model, layer or subject.

    Returns
    -------
    str
        Letters, digits, "-", "_", "." and "+" are kept, all others become "_";
        "features" for no text. Names of more than 72 signs end in a hash instead: file
        systems take 255, and some names are joined.

    Examples
    --------
    >>> file_name("timm:resnet18@seeded:0"), file_name("")
    ('timm_resnet18_seeded_0', 'features')
    """
    kept = "".join(
        c if c.isascii() and (c.isalnum() or c in "-_.+") else "_" for c in text
    )
    name = kept.strip(".") or "features"
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 13]}-{sha256_bytes(text.encode())[:12]}"
    return name
