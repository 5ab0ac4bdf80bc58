"""From fixations to symbols: cells of grids, labels, and time as repetition.

Measures of strings compare sequences of symbols. A symbol is a whole number, such as a
grid cell, a cluster or an object of the display, or a label, such as the class of
what was looked at.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.scanpath_sets import ScanpathSet, pack_scanpaths
from neurovis.core.checks import check_array, check_between, check_option

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Numbers below this are used as they are; larger ones are numbered anew.
_FEW = 4096


@dataclass(frozen=True)
class SymbolSet:
    """Sequences of symbols of any lengths in a padded array.

    Parameters
    ----------
    symbols : ndarray of int64 or of str, shape (n_sequences, longest)
        Numbers 0 or more, or labels. -1 or "" is an undefined symbol, and what stands
        beyond the end of a sequence.
    n_symbols : ndarray of int64, shape (n_sequences,)
        Length of each sequence, 0 or more.

    Raises
    ------
    TypeError
        If the symbols are neither whole numbers nor text.
    ValueError
        If the shapes do not fit together.

    Examples
    --------
    >>> pack_symbols([["car", "tree"], ["tree"]]).n_symbols
    array([2, 1])
    """

    symbols: NDArray[Any]
    n_symbols: IntArray

    def __post_init__(self) -> None:
        shape = check_array("symbols", self.symbols, shape=(None, None)).shape
        check_array("n_symbols", self.n_symbols, shape=shape[:1])
        if self.symbols.dtype.kind not in "iU":
            raise TypeError(
                "`symbols` must be whole numbers or text; got dtype "
                f"{self.symbols.dtype}. Use `pack_symbols` for lists."
            )
        if len(self) and not 0 <= self.n_symbols.min() <= self.longest <= shape[1]:
            raise ValueError(
                f"`n_symbols` must be within [0, {shape[1]}], the width of `symbols`; "
                f"got {self.n_symbols.min()} to {self.longest}."
            )

    def __len__(self) -> int:
        return len(self.n_symbols)

    @property
    def longest(self) -> int:
        """Symbols of the longest sequence; 0 for an empty set."""
        return int(self.n_symbols.max(initial=0))

    @property
    def labelled(self) -> bool:
        """Whether the symbols are text."""
        return self.symbols.dtype.kind == "U"

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Which entries of `symbols` belong to a sequence."""
        return np.arange(self.symbols.shape[1]) < self.n_symbols[:, None]

    @cached_property
    def defined(self) -> NDArray[np.bool_]:
        """Sequences with at least one symbol and no undefined one."""
        unknown = self.symbols == "" if self.labelled else self.symbols < 0
        return ~np.any(unknown & self.inside, axis=1) & (self.n_symbols > 0)

    def cut(self, n_symbols: int) -> "SymbolSet":
        """Return the sequences without what follows the first symbols.

        Parameters
        ----------
        n_symbols : int
            Most symbols that are kept, >= 0.

        Returns
        -------
        SymbolSet
            The beginnings.
        """
        n = max(int(n_symbols), 0)
        return SymbolSet(self.symbols[:, :n], np.minimum(self.n_symbols, n))


def pack_symbols(sequences: Any) -> SymbolSet:
    """Put sequences of symbols into a padded array.

    Parameters
    ----------
    sequences : SymbolSet, or sequence of (sequence of int or str)
        Numbers 0 or more, or labels, not both; `[]` is a sequence without symbols.

    Returns
    -------
    SymbolSet
        The same sequences; a SymbolSet is returned as it is.

    Raises
    ------
    TypeError
        If the symbols are neither all whole numbers nor all text.
    ValueError
        If an element is not a sequence of symbols, or a number is negative.

    Examples
    --------
    >>> pack_symbols([[3, 1, 4], [], [1]]).symbols
    array([[ 3,  1,  4],
           [-1, -1, -1],
           [ 1, -1, -1]])
    """
    if isinstance(sequences, SymbolSet):
        return sequences
    rows = [
        check_array(f"sequences[{i}]", row, shape=(None,))
        for i, row in enumerate(sequences)
    ]
    lengths = np.array([len(row) for row in rows], np.int64)
    rows = [row for row in rows if len(row)]
    kinds = {"i" if row.dtype.kind == "u" else row.dtype.kind for row in rows}
    if kinds not in ({"i"}, {"U"}, set()):
        raise TypeError(
            "`sequences` must hold whole numbers only, or text only; got "
            f"{', '.join(sorted({str(row.dtype) for row in rows}))}."
        )
    flat = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    flat = flat if kinds == {"U"} else flat.astype(np.int64)
    if kinds == {"i"} and flat.min() < 0:
        raise ValueError(f"`sequences` must hold numbers >= 0; got {flat.min()}.")
    width = int(lengths.max(initial=0))
    symbols = np.full((len(lengths), width), "" if kinds == {"U"} else -1, flat.dtype)
    symbols[np.arange(width) < lengths[:, None]] = flat
    return SymbolSet(symbols, lengths)


def number_symbols(pred: Any, human: Any) -> tuple[SymbolSet, SymbolSet, int]:
    """Replace the symbols of two sets by common numbers.

    Parameters
    ----------
    pred, human : SymbolSet, or what `pack_symbols` takes
        Sequences of the same kind of symbols.

    Returns
    -------
    pred, human : SymbolSet
        The sequences in numbers from 0 to ``n_kinds - 1``, equal for equal symbols;
        -1 where undefined.
    n_kinds : int
        How many numbers are needed.

    Raises
    ------
    TypeError
        If one set has numbers and the other has labels.

    Examples
    --------
    >>> number_symbols([["sky", "car"]], [["car"]])[0].symbols
    array([[1, 0]])
    """
    sets = (pack_symbols(pred), pack_symbols(human))
    kinds = {s.labelled for s in sets if s.longest}
    if len(kinds) > 1:
        raise TypeError(
            "`pred` and `human` must both hold whole numbers or both hold labels; got "
            f"{sets[0].symbols.dtype} and {sets[1].symbols.dtype}."
        )
    labelled = kinds == {True}
    values = [s.symbols[s.inside] for s in sets if s.labelled == labelled]
    symbols = np.concatenate([np.zeros(0, "U1" if labelled else np.int64), *values])
    if not labelled and symbols.max(initial=-1) < _FEW:
        return sets[0], sets[1], int(symbols.max(initial=-1)) + 1
    distinct, numbers = np.unique(symbols, return_inverse=True)
    undefined = distinct[0] == "" if labelled else distinct[0] < 0  # sorted first
    parts = np.split(numbers - int(undefined), [int(sets[0].inside.sum())])
    numbered = []
    for each, own in zip(sets, parts, strict=True):
        codes = np.full(each.symbols.shape, -1, np.int64)
        codes[each.inside] = own
        numbered.append(SymbolSet(codes, each.n_symbols))
    return numbered[0], numbered[1], len(distinct) - int(undefined)


def check_grid(grid: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns of a grid.

    Parameters
    ----------
    grid : tuple of int
        Rows and columns, 1 or more.

    Returns
    -------
    tuple of int
        The same.

    Raises
    ------
    ValueError
        If these are not two whole numbers of 1 or more.
    """
    array = check_array("grid", grid, shape=(2,))
    if array.dtype.kind not in "iu" or array.min() < 1:
        raise ValueError(
            f"`grid` must be (rows, columns), whole numbers of 1 or more; got {grid!r}."
        )
    return int(array[0]), int(array[1])


def check_screen(screen_px: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """Return the size of the screen, one for all or one each.

    Parameters
    ----------
    screen_px : array-like of float, shape (2,) or (..., 2)
        Width and height in pixels, > 0; one for all, or broadcast to `shape`.
    shape : tuple of int
        Numbers of what has a screen: (n_pairs,), (n_pred, n_human) or (n_scanpaths,).

    Returns
    -------
    ndarray of float64, shape (2,) or (n, 2)
        One row each, last axis of `shape` fastest, unless there is one for all.

    Raises
    ------
    ValueError
        If the shape differs or a size is not positive.

    Examples
    --------
    >>> check_screen((800, 600), (2, 5))
    array([800., 600.])
    """
    screen = np.asarray(screen_px, np.float64)
    if not (np.isfinite(screen) & (screen > 0)).all():
        raise ValueError("`screen_px` must be finite and above 0 everywhere.")
    if screen.shape == (2,):
        return screen
    try:
        if screen.shape[-1:] != (2,):
            raise ValueError
        return np.broadcast_to(screen, (*shape, 2)).reshape(-1, 2)
    except ValueError:
        raise ValueError(
            "`screen_px` must be (width, height) or broadcast to one row for each, "
            f"{(*shape, 2)}; got shape {screen.shape}."
        ) from None


def scanpaths_on_screens(
    paths: ScanpathSet, index: IntArray, screen: FloatArray
) -> tuple[ScanpathSet, FloatArray, IntArray]:
    """Repeat scanpaths so that each has one screen.

    Parameters
    ----------
    paths : ScanpathSet
        Scanpaths.
    index : ndarray of int64, shape (n_pairs,)
        Which scanpath a pair has.
    screen : ndarray of float64, shape (2,) or (n_pairs, 2)
        Width and height in pixels, as `check_screen` returns it.

    Returns
    -------
    paths : ScanpathSet
        Scanpaths; the given ones when there is one screen.
    screen : ndarray of float64, shape (2,) or (n_scanpaths, 2)
        Their screens.
    index : ndarray of int64, shape (n_pairs,)
        Which of them a pair has.
    """
    if screen.ndim == 1:
        return paths, screen, index
    keys, at = np.unique(np.column_stack([index, screen]), axis=0, return_inverse=True)
    return paths.select(keys[:, 0].astype(np.int64)), keys[:, 1:], at.reshape(-1)


def grid_cells(paths: Any, *, screen_px: ArrayLike, grid: tuple[int, int]) -> SymbolSet:
    """Find the cells of a grid that fixations fall into, numbered row by row from 0.

    Points beyond the screen count as in the nearest cell at its edge.

    Parameters
    ----------
    paths : ScanpathSet, or what `pack_scanpaths` takes
        Scanpaths in pixels.
    screen_px : array-like of float, shape (2,) or (n_scanpaths, 2)
        Width and height of the screen, or of each scanpath's.
    grid : tuple of int
        Rows and columns.

    Returns
    -------
    SymbolSet
        ``row * n_columns + column``, 0 to ``n_rows * n_columns - 1``.

    Raises
    ------
    ValueError
        If a size is not positive.

    Examples
    --------
    >>> path = [(10, 10), (790, 10), (10, 590), (-5, 700)]
    >>> grid_cells([path], screen_px=(800, 600), grid=(2, 4)).symbols
    array([[0, 3, 4, 4]])
    """
    paths = pack_scanpaths(paths)
    rows, columns = check_grid(grid)
    width, height = check_screen(screen_px, (len(paths),)).T[..., None]
    column = np.clip(np.floor(paths.x_px * columns / width), 0, columns - 1)
    row = np.clip(np.floor(paths.y_px * rows / height), 0, rows - 1)
    return _cell_symbols(row * columns + column, paths)


def scanmatch_cells(
    paths: Any, *, screen_px: ArrayLike, grid: tuple[int, int]
) -> SymbolSet:
    """Find cells as ScanMatch does, from whole pixels.

    Points are clipped to the screen, 0 to size - 1, and cut to whole pixels before
    they are divided, so a point just behind a border of cells can count as before it.

    Parameters
    ----------
    paths : ScanpathSet, or what `pack_scanpaths` takes
        Scanpaths in pixels.
    screen_px : array-like of float, shape (2,) or (n_scanpaths, 2)
        Width and height of the screen, or of each scanpath's.
    grid : tuple of int
        Rows and columns.

    Returns
    -------
    SymbolSet
        ``row * n_columns + column``, 0 to ``n_rows * n_columns - 1``.

    Raises
    ------
    ValueError
        If a size is not positive.

    Examples
    --------
    >>> path = [(91.5, 0)]
    >>> scanmatch_cells([path], screen_px=(1280, 720), grid=(6, 14)).symbols
    array([[0]])
    >>> grid_cells([path], screen_px=(1280, 720), grid=(6, 14)).symbols
    array([[1]])
    """
    paths = pack_scanpaths(paths)
    rows, columns = check_grid(grid)
    width, height = check_screen(screen_px, (len(paths),)).T[..., None]
    x = np.trunc(np.clip(paths.x_px, 0, width - 1))
    y = np.trunc(np.clip(paths.y_px, 0, height - 1))
    cells = np.floor(y * rows / height) * columns + np.floor(x * columns / width)
    return _cell_symbols(cells, paths)


def string_edit_cells(
    paths: Any, *, screen_px: ArrayLike, n_cells: int = 5
) -> SymbolSet:
    """Find cells of a square grid as the string edit distance of VAME does.

    Cells are ``size // n_cells`` whole pixels wide and high. Where `n_cells` does not
    divide the size, the pixels left over on the right count to the first cell of the
    next row, and those at the bottom to a further row, as in the published code.

    Parameters
    ----------
    paths : ScanpathSet, or what `pack_scanpaths` takes
        Scanpaths in pixels.
    screen_px : array-like of float, shape (2,) or (n_scanpaths, 2)
        Width and height of the screen, or of each scanpath's, `n_cells` or more.
    n_cells : int, default 5
        Cells in each direction.

    Returns
    -------
    SymbolSet
        Numbers of cells; -1, undefined, for points off the screen.

    Raises
    ------
    ValueError
        If the screen is smaller than `n_cells`.

    Examples
    --------
    >>> path = [(10, 10), (799, 10), (800, 10)]
    >>> string_edit_cells([path], screen_px=(800, 600)).symbols
    array([[ 0,  4, -1]])
    """
    paths = pack_scanpaths(paths)
    check_between("n_cells", n_cells, low=1)
    screen = check_screen(screen_px, (len(paths),))
    if screen.min(initial=n_cells) < n_cells:
        raise ValueError(
            f"`screen_px` must be at least `n_cells` = {n_cells} wide and high; got "
            f"{screen.min()}."
        )
    width, height = screen.T[..., None]
    on_screen = (paths.x_px >= 0) & (paths.x_px < width)
    on_screen &= (paths.y_px >= 0) & (paths.y_px < height)
    column, row = (
        np.floor(np.where(on_screen, place, 0)) // (size // n_cells)
        for place, size in ((paths.x_px, width), (paths.y_px, height))
    )
    return _cell_symbols(np.where(on_screen, column + row * n_cells, np.nan), paths)


def expand_by_duration(
    symbols: Any, duration_ms: NDArray[np.float64], bin_ms: float, *, rounding: str
) -> SymbolSet:
    """Repeat each symbol as often as time bins fit into its fixation.

    Parameters
    ----------
    symbols : SymbolSet, or what `pack_symbols` takes
        One symbol per fixation.
    duration_ms : ndarray of float64, shape (n_sequences, >= longest)
        Durations of the fixations, such as `ScanpathSet.duration_ms`; rounded to whole
        milliseconds first.
    bin_ms : float
        Length of a bin, > 0.
    rounding : {"nearest", "down"}
        How a number of bins becomes whole: to the nearest, half to even (ScanMatch), or
        down (string edit distance with time). A fixation of no bin is dropped.

    Returns
    -------
    SymbolSet
        Longer sequences; a sequence with an undefined symbol or an unknown duration is
        one undefined symbol.

    Raises
    ------
    ValueError
        If `bin_ms` is not positive, `rounding` unknown, or shapes differ.

    Examples
    --------
    >>> times = np.array([[120.0, 30.0, 250.0]])
    >>> expand_by_duration([[5, 6, 7]], times, 100, rounding="nearest").symbols
    array([[5, 7, 7]])
    """
    check_option("rounding", rounding, ("nearest", "down"))
    check_between("bin_ms", bin_ms, low=1e-9)
    symbols = pack_symbols(symbols)
    times = check_array("duration_ms", duration_ms, shape=(len(symbols), None))
    if times.shape[1] < symbols.longest:
        raise ValueError(
            f"`duration_ms` has {times.shape[1]} columns but the longest sequence has "
            f"{symbols.longest} symbols: one duration per symbol is needed."
        )
    inside = symbols.inside[:, : symbols.longest]
    times = np.where(inside, times[:, : symbols.longest], 0.0)
    known = (np.isfinite(times) & (times >= 0)).all(axis=1)
    known &= symbols.defined | (symbols.n_symbols == 0)
    bins = np.rint(np.where(known[:, None], times, 0.0)) / bin_ms
    repeats = (np.rint(bins) if rounding == "nearest" else np.floor(bins)).astype(int)
    lengths = np.where(known, repeats.sum(axis=1), 1)
    values = symbols.symbols[:, : symbols.longest]
    nothing = "" if symbols.labelled else -1
    expanded = np.full(
        (len(symbols), int(lengths.max(initial=0))), nothing, values.dtype
    )
    places = np.arange(expanded.shape[1]) < np.where(known, lengths, 0)[:, None]
    expanded[places] = np.repeat(values, repeats.reshape(-1))
    return SymbolSet(expanded, lengths)


def _cell_symbols(cells: FloatArray, paths: ScanpathSet) -> SymbolSet:
    """Return cells of fixations as symbols, undefined where a point or cell is."""
    known = np.isfinite(cells) & np.isfinite(paths.x_px) & np.isfinite(paths.y_px)
    symbols = np.where(known, cells, -1).astype(np.int64)
    return SymbolSet(symbols, paths.n_fixations)
