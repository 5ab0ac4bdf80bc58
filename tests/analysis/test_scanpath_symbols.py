"""Cells, labels and time as repetition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.scanpath_sets import pack_scanpaths
from analysis.scanpath_symbols import (
    SymbolSet,
    expand_by_duration,
    grid_cells,
    number_symbols,
    pack_symbols,
    scanmatch_cells,
    string_edit_cells,
)

COORDINATES = st.floats(-100, 1500, allow_nan=False)


@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=5))
def test_cells_follow_their_definitions(points):
    width, height, rows, columns = 1280, 720, 6, 14
    whole = grid_cells([points], screen_px=(width, height), grid=(rows, columns))
    cut = scanmatch_cells([points], screen_px=(width, height), grid=(rows, columns))
    edit = string_edit_cells([points], screen_px=(width, height))
    for k, (x, y) in enumerate(points):
        column = min(max(int(np.floor(x * columns / width)), 0), columns - 1)
        row = min(max(int(np.floor(y * rows / height)), 0), rows - 1)
        assert whole.symbols[0, k] == row * columns + column
        px, py = int(min(max(x, 0), width - 1)), int(min(max(y, 0), height - 1))
        expected = py * rows // height * columns + px * columns // width
        assert cut.symbols[0, k] == expected
        on_screen = 0 <= x < width and 0 <= y < height
        expected = int(x) // 256 + int(y) // 144 * 5 if on_screen else -1
        assert edit.symbols[0, k] == expected


def test_pixels_left_over_spill_into_the_next_cell():
    points = [(100, 0), (101, 0), (0, 50), (0, 51)]
    cells = string_edit_cells([points], screen_px=(103, 52), n_cells=5)
    assert cells.symbols.tolist() == [[5, 5, 25, 25]]


def test_scanpaths_can_have_their_own_screens():
    path = [(150, 90)]
    screens = [(160, 100), (320, 100)]
    for find in (grid_cells, scanmatch_cells):
        cells = find([path, path], screen_px=screens, grid=(10, 16))
        assert cells.symbols.tolist() == [[9 * 16 + 15], [9 * 16 + 7]]
    cells = string_edit_cells([path, path], screen_px=[(200, 100), (140, 100)])
    assert cells.symbols.tolist() == [[3 + 4 * 5], [-1]]


def test_undefined_points_are_undefined_symbols():
    paths = [[(np.nan, 1), (5, 5)], [(5, 5)]]
    for cells in (
        grid_cells(paths, screen_px=(10, 10), grid=(2, 2)),
        scanmatch_cells(paths, screen_px=(10, 10), grid=(2, 2)),
        string_edit_cells(paths, screen_px=(10, 10)),
    ):
        assert cells.symbols[0, 0] == -1
        assert cells.defined.tolist() == [False, True]


def test_repeats_round_half_to_even_or_down_from_whole_milliseconds():
    times = np.array([[50, 150, 250, 350, 49.6, 349.4]])
    for rounding, repeats in (
        ("nearest", [0, 2, 2, 4, 0, 3]),
        ("down", [0, 1, 2, 3, 0, 3]),
    ):
        symbols = expand_by_duration([range(6)], times, 100, rounding=rounding)
        assert symbols.symbols.tolist() == [np.repeat(range(6), repeats).tolist()]


def test_repeats_keep_sequences_apart():
    paths = pack_scanpaths([[(0, 0, 200), (0, 0, 100)], [(0, 0, 300)], [], [(0, 0)]])
    labels = [["a", "b"], ["c"], [], ["d"]]
    symbols = expand_by_duration(labels, paths.duration_ms, 100, rounding="down")
    assert symbols.n_symbols.tolist() == [3, 3, 0, 1]
    assert symbols.symbols[:2].tolist() == [["a", "a", "b"], ["c", "c", "c"]]
    assert symbols.defined.tolist() == [True, True, False, False]


def test_an_undefined_symbol_of_no_bin_is_not_forgotten():
    cells = grid_cells([[(np.nan, 1), (5, 5)]], screen_px=(10, 10), grid=(2, 2))
    symbols = expand_by_duration(cells, [[10, 200]], 100, rounding="nearest")
    assert symbols.symbols.tolist() == [[-1]]


@given(st.lists(st.lists(st.integers(0, 10**6), max_size=4), min_size=1, max_size=6))
def test_numbers_are_equal_where_symbols_are(rows):
    human = [[5, 10**9]]
    for kind in (int, str):
        first = [[kind(v) for v in row] for row in rows]
        second = [[kind(v) for v in row] for row in human]
        a, b, n_kinds = number_symbols(first, second)
        codes = [*a.symbols[a.inside], *b.symbols[b.inside]]
        values = [v for row in first + second for v in row]
        pairs = set(zip(codes, values, strict=True))
        assert len(pairs) == len(set(codes)) == len(set(values)) == n_kinds
        assert max(codes) == n_kinds - 1


def test_undefined_symbols_stay_undefined_when_numbered():
    for symbols in (np.array([["a", "", "b"]]), np.array([[7, -1, 9000]])):
        a, b, n_kinds = number_symbols(
            SymbolSet(symbols, np.array([3])), SymbolSet(symbols[:, :1], np.array([1]))
        )
        assert a.symbols.tolist() == [[0, -1, 1]]
        assert b.symbols.tolist() == [[0]]
        assert n_kinds == 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pack_symbols([[1.5]]), TypeError, "whole numbers only, or text only"),
        (lambda: pack_symbols([[1], ["a"]]), TypeError, "got <U1, int64"),
        (lambda: pack_symbols([[-1]]), ValueError, "numbers >= 0; got -1"),
        (lambda: pack_symbols([3]), ValueError, r"`sequences\[0\]` must have shape"),
        (
            lambda: pack_symbols(["abc"]),
            ValueError,
            r"`sequences\[0\]` must have shape",
        ),
        (
            lambda: SymbolSet(np.zeros((1, 2)), np.array([1])),
            TypeError,
            "must be whole numbers or text",
        ),
        (
            lambda: SymbolSet(np.zeros((1, 2), int), np.array([3])),
            ValueError,
            "must be within",
        ),
        (
            lambda: number_symbols([[1]], [["a"]]),
            TypeError,
            "both hold whole numbers or both hold labels; got int64 and <U1",
        ),
        (
            lambda: grid_cells([], screen_px=(1, 1), grid=(0, 3)),
            ValueError,
            r"`grid` must be \(rows, columns\)",
        ),
        (
            lambda: scanmatch_cells([], screen_px=(1, 1), grid=(1.5, 3)),
            ValueError,
            r"got \(1.5, 3\)",
        ),
        (
            lambda: string_edit_cells([[(1, 1)]], screen_px=(4, 100)),
            ValueError,
            "at least `n_cells` = 5",
        ),
        (
            lambda: grid_cells([[(1, 1)]], screen_px=[(4, 1)] * 2, grid=(1, 1)),
            ValueError,
            r"one row for each, \(1, 2\); got shape \(2, 2\)",
        ),
        (
            lambda: expand_by_duration([[1]], np.ones((1, 1)), 50, rounding="up"),
            ValueError,
            "`rounding` must be one of",
        ),
        (
            lambda: expand_by_duration([[1, 2]], np.ones((1, 1)), 50, rounding="down"),
            ValueError,
            "one duration per symbol",
        ),
    ],
)
def test_bad_arguments_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
