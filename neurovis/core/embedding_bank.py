"""Embeddings of many images, far more than fit into memory, in files that are mapped.

`open_bank` reads what `tasks.bank_build` made, and banks of others by their path.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_columns, check_whole
from neurovis.core.embedding_files import (
    BANK_FILE,
    IMAGES_FILE,
    damaged_bank,
    foreign_files,
    foreign_fingerprint,
    map_shard,
    read_card,
)
from neurovis.core.files import canonical_json, plain, read_table, sha256_file
from neurovis.core.log import progress
from neurovis.core.rng import generator

IMAGE_COLUMNS = ("image", "sha256")
"""Path below the folder of pictures, and hash of size and pixels."""

_DTYPES = ("float16", "float32", "float64")
_SCAN_ROWS = 8192


@dataclass(frozen=True, eq=False)
class EmbeddingBank:
    """Embeddings of images, row by row.

    Parameters
    ----------
    name : str
        For tables and messages.
    shards : tuple of ndarray of float16, float32 or float64, shape (n_i, n_features)
        Rows in their order, not scaled to length 1; mapped from files where they come
        from files.
    embedding : mapping
        What made them, as JSON values, such as the `weights_hash` of the network; empty
        when that is not known.
    images : DataFrame or None
        One row per embedding: `IMAGE_COLUMNS`. None when the images are not known.
    fingerprint : str
        SHA-256 that tells this bank from others.
    notes : tuple of str, default ()
        What a reader must know.

    Raises
    ------
    ValueError
        If there are no rows, a shard is no matrix of floating-point numbers, their
        widths differ, or `images` has another number of rows.
    """

    name: str
    shards: tuple[NDArray[Any], ...]
    embedding: Mapping[str, Any]
    images: pd.DataFrame | None
    fingerprint: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_shards(self.shards, [f"shards[{i}]" for i in range(len(self.shards))])
        if self.images is not None:
            check_columns("images", self.images.columns, IMAGE_COLUMNS)
            if len(self.images) != self.n_images:
                raise ValueError(
                    f"`images` must have one row per embedding, {self.n_images}; got "
                    f"{len(self.images)}."
                )

    @cached_property
    def _edges(self) -> NDArray[np.int64]:
        """First row of each shard, and the number of all rows."""
        sizes = [len(shard) for shard in self.shards]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @property
    def n_images(self) -> int:
        """Number of rows."""
        return int(self._edges[-1])

    @property
    def n_features(self) -> int:
        """Numbers per embedding."""
        return int(self.shards[0].shape[1])

    def check_rows(self, rows: ArrayLike) -> NDArray[np.int64]:
        """Return numbers of rows if all of them exist.

        Parameters
        ----------
        rows : array-like of int, shape (n,)
            0 to ``n_images - 1``.

        Returns
        -------
        ndarray of int64, shape (n,)
            The numbers.

        Raises
        ------
        TypeError
            If they are not whole numbers.
        ValueError
            If one is out of range, or they are no vector.
        """
        index = np.asarray(rows)
        if index.ndim != 1:
            raise ValueError(f"`rows` must be a vector; got shape {index.shape}.")
        if index.size and index.dtype.kind not in "iu":
            raise TypeError(f"`rows` must be whole numbers; got dtype {index.dtype}.")
        outside = (index < 0) | (index >= self.n_images)
        if outside.any():
            raise ValueError(
                f"`rows` must be within 0 and {self.n_images - 1}; got "
                f"{index[outside][0]}."
            )
        return index.astype(np.int64)

    def rows(self, index: ArrayLike) -> NDArray[np.float32]:
        """Read some embeddings.

        Parameters
        ----------
        index : array-like of int, shape (n,)
            Which rows, in any order.

        Returns
        -------
        ndarray of float32, shape (n, n_features)
            In the order of `index`.

        Raises
        ------
        TypeError, ValueError
            As `check_rows`.
        """
        return _to_float32(self._pick(self.check_rows(index)))

    def _pick(self, index: NDArray[np.int64]) -> NDArray[Any]:
        dtype = np.result_type(*(shard.dtype for shard in self.shards))
        found = np.empty((len(index), self.n_features), dtype)
        numbers = np.searchsorted(self._edges, index, side="right") - 1
        for number in np.unique(numbers):
            at = numbers == number
            found[at] = self.shards[number][index[at] - self._edges[number]]
        return found

    def _slice(self, start: int, stop: int) -> NDArray[Any]:
        first, last = np.searchsorted(self._edges, [start, stop - 1], side="right") - 1
        parts = [
            self.shards[k][max(start - self._edges[k], 0) : stop - self._edges[k]]
            for k in range(first, last + 1)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def stored_blocks(
        self, n_rows: int, rows: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Read the bank block by block, in the precision in which it is stored.

        Blocks are equal whatever the shards.

        Parameters
        ----------
        n_rows : int
            Rows of a block; the last one may have fewer.
        rows : array-like of int, shape (n,), optional
            Which rows, in any order; all by default.

        Yields
        ------
        tuple of ndarray of int64, shape (b,), and ndarray, shape (b, n_features)
            Numbers of the rows, and their embeddings: perhaps a view of a file.

        Raises
        ------
        TypeError, ValueError
            If `n_rows` is no whole number >= 1, or as `check_rows`.
        """
        size = check_whole("n_rows", n_rows, low=1)
        index = None if rows is None else self.check_rows(rows)
        total = self.n_images if index is None else len(index)
        for start in range(0, total, size):
            stop = min(start + size, total)
            if index is None:
                yield np.arange(start, stop), self._slice(start, stop)
            else:
                yield index[start:stop], self._pick(index[start:stop])

    def blocks(
        self, n_rows: int, rows: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Read the bank block by block, as float32.

        Parameters
        ----------
        n_rows : int
            Rows of a block; the last one may have fewer.
        rows : array-like of int, shape (n,), optional
            Which rows, in any order; all by default.

        Yields
        ------
        tuple of ndarray of int64, shape (b,), and of float32, shape (b, n_features)
            Numbers of the rows, and their embeddings: perhaps a view of a file.

        Raises
        ------
        TypeError, ValueError
            As `stored_blocks`.
        """
        for index, block in self.stored_blocks(n_rows, rows):
            yield index, _to_float32(block)


def _to_float32(block: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # infinite, which is found where it matters
        return block.astype(np.float32, copy=False)


def _check_shards(shards: Sequence[NDArray[Any]], names: Sequence[str]) -> None:
    for shard, name in zip(shards, names, strict=True):
        if shard.ndim != 2:
            raise ValueError(
                f"{name} must be a matrix with one row per image; it has shape "
                f"{shard.shape}."
            )
        if shard.dtype.name not in _DTYPES:
            raise ValueError(
                f"{name} must hold {', '.join(_DTYPES)}; it holds {shard.dtype}."
            )
        if shard.shape[1] != shards[0].shape[1]:
            raise ValueError(
                f"All shards must have the same width: {names[0]} has "
                f"{shards[0].shape[1]} features, {name} has {shard.shape[1]}. They "
                "were made by different networks."
            )
    if not sum(shard.size for shard in shards):
        raise ValueError("The bank is empty: it has no embedding.")


def bank_of(
    embeddings: NDArray[Any] | Sequence[NDArray[Any]],
    name: str = "",
    *,
    embedding: Mapping[str, Any] | None = None,
) -> EmbeddingBank:
    """Make a bank of embeddings in memory.

    Parameters
    ----------
    embeddings : ndarray of float, shape (n, n_features), or sequence of such
        One row per image, not scaled to length 1; several arrays are shards.
    name : str, default ""
        For tables and messages.
    embedding : mapping, optional
        What made them, as JSON values; not known by default.

    Returns
    -------
    EmbeddingBank
        Without names of images. The fingerprint is that of dtypes, shapes and values.

    Raises
    ------
    TypeError, ValueError
        If there are no rows, widths differ, an array holds something else, or
        `embedding` has no JSON form.

    Examples
    --------
    >>> bank = bank_of(np.eye(3, dtype=np.float32))
    >>> bank.n_images, bank.rows([2]).tolist()
    (3, [[0.0, 0.0, 1.0]])
    """
    given = [embeddings] if isinstance(embeddings, np.ndarray) else list(embeddings)
    shards = tuple(np.asarray(shard) for shard in given)
    _check_shards(shards, [f"embeddings[{i}]" for i in range(len(shards))])
    sha = hashlib.sha256()
    for shard in shards:
        sha.update(canonical_json([shard.dtype.str, shard.shape]).encode())
        sha.update(np.ascontiguousarray(shard).data)
    return EmbeddingBank(name, shards, plain(embedding or {}), None, sha.hexdigest())


def open_bank(
    path: str | Path,
    *,
    embedding: Mapping[str, Any] | None = None,
    verify: bool = False,
) -> EmbeddingBank:
    """Open a bank on disk; its embeddings stay there until they are read.

    Parameters
    ----------
    path : str or Path
        Folder that `tasks.bank_build.build_bank` made; or embeddings of others: one
        ``.npy`` file, a folder of such files, or one with them in a folder ``img_emb``
        as clip-retrieval writes them. Files are taken in the order of the numbers in
        their names.
    embedding : mapping, optional
        For a bank of others: what made it, as JSON values, with the `weights_hash` of
        the network if it is known.
    verify : bool, default False
        Compare the SHA-256 of every file of a bank of ours, which reads all of it.
        Lengths and shapes are always compared.

    Returns
    -------
    EmbeddingBank
        The fingerprint of a bank of ours is the SHA-256 of its ``bank.json``, which has
        those of all other files. That of others is one over names, shapes, sizes and
        the first and last MiB of each file.

    Raises
    ------
    FileNotFoundError
        If nothing is there, or no embeddings are.
    DataCorruptError
        If a file is missing, cut or changed.
    ValueError
        If there are no rows, widths or dtypes do not fit, a bank of ours is not
        complete or was written by a newer version, or an argument is for the other
        kind of bank.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            "`bank` must be a folder of embeddings or a `.npy` file; there is nothing "
            f"at {path}."
        )
    if (path / BANK_FILE).is_file():
        if embedding is not None:
            raise ValueError(
                f"{path} tells itself what made its embeddings: leave `embedding` out."
            )
        return _open_own(path, verify)
    if verify:
        raise ValueError(
            f"{path} has no {BANK_FILE} with hashes to compare: leave `verify` out."
        )
    made_by = plain(embedding or {})
    files = foreign_files(path)
    shards = tuple(map_shard(file) for file in files)
    _check_shards(shards, [str(file) for file in files])
    notes = () if made_by else (f"{path.stem}: what made its embeddings is not told",)
    mark = foreign_fingerprint(files, shards)
    return EmbeddingBank(path.stem, shards, made_by, None, mark, notes)


def _open_own(folder: Path, verify: bool) -> EmbeddingBank:
    card = read_card(folder, verify=verify)
    shards = []
    for entry in card["shards"]:
        shard = map_shard(folder / entry["file"])
        if shard.shape != (entry["rows"], card["n_features"]):
            raise damaged_bank(folder, f"{entry['file']} has another shape")
        shards.append(shard)
    if not (folder / IMAGES_FILE).is_file():
        raise damaged_bank(folder, f"{IMAGES_FILE} is missing")
    images = read_table(folder / IMAGES_FILE)
    if not len(images) == card["n_images"] == sum(map(len, shards)):
        raise damaged_bank(folder, f"{IMAGES_FILE} has another number of rows")
    return EmbeddingBank(
        card["name"],
        tuple(shards),
        card["embedding"],
        images,
        sha256_file(folder / BANK_FILE),
        tuple(card["notes"]),
    )


def sound_rows(bank: EmbeddingBank, rows: ArrayLike | None = None) -> NDArray[np.int64]:
    """Return the rows that are neither zero nor have values that are not finite.

    Builders that keep failed images give them embeddings of zeros or NaN.

    Parameters
    ----------
    bank : EmbeddingBank
        Read once, block by block.
    rows : array-like of int, shape (n,), optional
        Among which; all by default.

    Returns
    -------
    ndarray of int64, shape (m,)
        Numbers of rows.

    Raises
    ------
    TypeError, ValueError
        If `rows` do not fit the bank.

    Examples
    --------
    >>> sound_rows(bank_of(np.array([[1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]])))
    array([0])
    """
    kept = []
    total = bank.n_images if rows is None else len(np.asarray(rows))
    with progress(total, "checking", unit="image") as bar:
        for index, block in bank.blocks(_SCAN_ROWS, rows):
            kept.append(index[np.isfinite(block).all(axis=1) & block.any(axis=1)])
            bar.update(len(index))
    return np.concatenate([np.zeros(0, np.int64), *kept])


def draw_repeats(
    n_images: int, n_repeats: int, n_each: int, *, seed: int
) -> list[NDArray[np.int64]]:
    """Draw disjoint parts of a bank, for repeats that share no image.

    Parameters
    ----------
    n_images : int
        Rows of the bank.
    n_repeats : int
        Number of parts.
    n_each : int
        Rows of each part.
    seed : int
        Seed of the draw.

    Returns
    -------
    list of ndarray of int64, shape (n_each,)
        Numbers of rows, sorted, for the `rows` of
        `neurovis.generation.bank_projection.project_onto_bank`.

    Raises
    ------
    TypeError, ValueError
        If a number is no whole number >= 1, or the bank has too few rows.

    Examples
    --------
    >>> [len(part) for part in draw_repeats(10, 3, 3, seed=0)]
    [3, 3, 3]
    """
    n_images = check_whole("n_images", n_images, low=1)
    n_repeats = check_whole("n_repeats", n_repeats, low=1)
    n_each = check_whole("n_each", n_each, low=1)
    if n_repeats * n_each > n_images:
        raise ValueError(
            f"{n_repeats} parts of {n_each} images that share none need "
            f"{n_repeats * n_each} images; the bank has {n_images}. Take at most "
            f"{n_images // n_repeats} images each, or fewer parts."
        )
    order = generator(seed, "bank repeats").permutation(n_images)
    return list(np.sort(order[: n_repeats * n_each].reshape(n_repeats, n_each)))
