"""ScanMatch, edit distances and sequence scores against loops, packages and data."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import LCSseq, Levenshtein

from analysis.scanpath_sets import ScanpathSet, pack_scanpaths
from analysis.scanpath_strings import (
    cell_scanmatch,
    levenshtein,
    prefix_scanmatch,
    scanmatch,
    sequence_score,
    string_edit_distance,
)
from analysis.scanpath_symbols import (
    expand_by_duration,
    pack_symbols,
    scanmatch_cells,
    string_edit_cells,
)

SCREEN, GRID = (800, 600), (6, 8)
WORDS = st.lists(st.integers(0, 5), min_size=1, max_size=9)
ANIMALS = np.array(["cat", "dog", "owl", "bee", "ant", "elk"])


def random_paths(seed, lengths, size=SCREEN):
    """Scanpaths with durations in ms."""
    rng = np.random.default_rng(seed)
    return [
        np.column_stack([rng.uniform(0, size, (n, 2)), rng.integers(20, 500, n)])
        for n in lengths
    ]


def rows_of(symbols):
    return [
        row[:n].tolist()
        for row, n in zip(symbols.symbols, symbols.n_symbols, strict=True)
    ]


def plain_scanmatch(a, b, columns, threshold=3.5, gap=0.0):
    """ScanMatch of two lists of cells, cell by cell."""
    table = np.zeros((len(a) + 1, len(b) + 1))
    table[:, 0], table[0] = gap * np.arange(len(a) + 1), gap * np.arange(len(b) + 1)
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            far = np.hypot(p // columns - q // columns, p % columns - q % columns)
            table[i + 1, j + 1] = max(
                table[i, j] + threshold - far,
                table[i, j + 1] + gap,
                table[i + 1, j] + gap,
            )
    return table.max() / (threshold * max(len(a), len(b)))


@pytest.mark.parametrize("threshold", [3.5, 1.0])
@pytest.mark.parametrize("gap", [0.0, -0.7])
@pytest.mark.parametrize("bin_ms", [None, 100.0])
def test_scanmatch_matches_a_loop(threshold, gap, bin_ms):
    pred = random_paths(0, [1, 2, 5, 9, 14], (900, 700))
    human = random_paths(1, [3, 7, 1, 11])
    options = {"threshold": threshold, "gap": gap, "temporal_bin_ms": bin_ms}
    values = scanmatch(pred, human, screen_px=SCREEN, grid=GRID, **options)
    strings = []
    for paths in (pred, human):
        cells = scanmatch_cells(paths, screen_px=SCREEN, grid=GRID)
        if bin_ms:
            times = pack_scanpaths(paths).duration_ms
            cells = expand_by_duration(cells, times, bin_ms, rounding="nearest")
        strings.append(rows_of(cells))
    expected = [
        [plain_scanmatch(a, b, GRID[1], threshold, gap) for b in strings[1]]
        for a in strings[0]
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_cells_of_a_display_need_no_pixels():
    pred, human = random_paths(2, [4, 9]), random_paths(3, [6, 5, 2])
    a, b = (scanmatch_cells(p, screen_px=SCREEN, grid=GRID) for p in (pred, human))
    expected = scanmatch(pred, human, screen_px=SCREEN, grid=GRID)
    np.testing.assert_array_equal(cell_scanmatch(a, b, grid=GRID), expected)
    lists = cell_scanmatch(rows_of(a), rows_of(b), grid=GRID)
    np.testing.assert_array_equal(lists, expected)


def test_every_pair_can_have_its_own_screen():
    pred, human = random_paths(4, [5, 8]), random_paths(5, [6, 4])
    pairs = np.array([(0, 1), (1, 1), (0, 0), (0, 1)])
    screens = np.array([(800, 600), (640, 480), (1600, 900), (300, 300)])
    for bin_ms in (None, 50):
        together = scanmatch(
            pred,
            human,
            screen_px=screens,
            grid=GRID,
            pairs=pairs,
            temporal_bin_ms=bin_ms,
        )
        for value, pair, screen in zip(together, pairs, screens, strict=True):
            alone = scanmatch(
                pred,
                human,
                screen_px=screen,
                grid=GRID,
                pairs=[pair],
                temporal_bin_ms=bin_ms,
            )
            assert value == alone[0]
    edits = string_edit_distance(pred, human, screen_px=screens, pairs=pairs)
    alone = string_edit_distance(pred, human, screen_px=SCREEN)
    assert edits[0] == alone[0, 1]
    assert np.isnan(edits[3])
    matrix = np.broadcast_to(screens[:2, None], (2, 2, 2))
    values = scanmatch(pred, human, screen_px=matrix, grid=GRID)
    expected = scanmatch(pred[1:], human, screen_px=screens[1], grid=GRID)
    np.testing.assert_array_equal(values[1:], expected)


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, min_size=1, max_size=4))
@settings(max_examples=40)
def test_string_measures_match_rapidfuzz_and_their_laws(a, b):
    edits, score = levenshtein(a, b), sequence_score(a, b)
    share = levenshtein(a, b, normalise=True)
    for (i, j), value in np.ndenumerate(edits):
        longer = max(len(a[i]), len(b[j]))
        assert value == Levenshtein.distance(a[i], b[j])
        assert share[i, j] == value / longer
        assert score[i, j] == LCSseq.similarity(a[i], b[j]) / longer
    matches = cell_scanmatch(a, b, grid=(2, 3))
    for measure, values in (
        (levenshtein, edits),
        (sequence_score, score),
        (lambda p, h: cell_scanmatch(p, h, grid=(2, 3)), matches),
    ):
        np.testing.assert_allclose(measure(b, a).T, values, rtol=1e-12)
        best = 0 if measure is levenshtein else 1
        np.testing.assert_allclose(np.diag(measure(a, a)), best, rtol=1e-12)
    assert ((score >= 0) & (score <= 1)).all()
    assert ((matches >= 0) & (matches <= 1 + 1e-12)).all()
    # What is looked at may be named or numbered.
    named = [ANIMALS[row] for row in a], [ANIMALS[row].tolist() for row in b]
    np.testing.assert_array_equal(levenshtein(*named), edits)
    np.testing.assert_array_equal(sequence_score(*named), score)


def test_order_and_choice_of_pairs_do_not_matter():
    pred, human = random_paths(6, range(1, 20)), random_paths(7, range(30, 1, -3))
    cells = [scanmatch_cells(p, screen_px=SCREEN, grid=GRID) for p in (pred, human)]
    chosen = np.random.default_rng(0).integers(0, (len(pred), len(human)), (50, 2))
    for measure, sets, options in (
        (scanmatch, (pred, human), {"screen_px": SCREEN, "grid": GRID}),
        (string_edit_distance, (pred, human), {"screen_px": SCREEN}),
        (levenshtein, cells, {}),
        (sequence_score, cells, {"first": 4}),
    ):
        matrix = measure(*sets, **options)
        values = measure(*sets, pairs=chosen, **options)
        np.testing.assert_array_equal(values, matrix[tuple(chosen.T)])
        assert measure(*sets, pairs=[], **options).shape == (0,)


def test_sequence_scores_of_first_symbols():
    pred, human = [[1, 2, 3, 4, 5, 6]], [[3, 1, 2, 5, 6, 9, 9, 9]]
    assert sequence_score(pred, human) == 4 / 8
    assert sequence_score(pred, human, first=2) == 1 / 2
    assert sequence_score(pred, human, first=4) == 2 / 4
    assert sequence_score(pred, human, first=2, cut="pred") == 2 / 8
    assert sequence_score(pred, human, first=99) == sequence_score(pred, human)


def test_string_edit_distances_count_cells_and_time():
    pred, human = random_paths(8, [2, 6, 9]), random_paths(9, [5, 1])
    cells = [rows_of(string_edit_cells(p, screen_px=SCREEN)) for p in (pred, human)]
    values = string_edit_distance(pred, human, screen_px=SCREEN)
    timed = string_edit_distance(pred, human, screen_px=SCREEN, temporal_bin_ms=50)
    for (i, j), value in np.ndenumerate(values):
        assert value == Levenshtein.distance(cells[0][i], cells[1][j])
        longer = [
            np.repeat(cells[side][k], (paths[k][:, 2] // 50).astype(int)).tolist()
            for side, paths, k in ((0, pred, i), (1, human, j))
        ]
        expected = Levenshtein.distance(*longer) if all(longer) else np.nan
        np.testing.assert_equal(timed[i, j], expected)
    assert np.isnan(timed).tolist() == [[False, True]] * 3


def test_undefined_is_nan_and_never_zero():
    good = [(10, 10, 100)]
    bad = [[], [(np.nan, 10, 100)], [(10, 10, 100), (10, np.inf, 100)]]
    off = [[(10, 10, 100), (800, 10, 100)]]
    options = {"screen_px": SCREEN, "grid": GRID}
    assert np.isnan(scanmatch(bad, [good], **options)).all()
    assert scanmatch(off, [good], **options) > 0
    assert np.isnan(string_edit_distance(bad + off, [good], screen_px=SCREEN)).all()
    short = [[(10, 10, 20)], [(10, 10)], [(10, 10, -5)]]
    assert np.isnan(scanmatch(short, [good], temporal_bin_ms=50, **options)).all()
    assert (scanmatch(short, [good], **options) == 1).all()
    for symbols in ([[]], pack_symbols([[0]]).cut(0)):
        assert np.isnan(levenshtein(symbols, [[1]])).all()
        assert np.isnan(sequence_score([[1]], symbols)).all()
    assert np.isnan(levenshtein([["tree", ""]], [["tree"]])).all()
    assert np.isnan(prefix_scanmatch([[]], [[(1, 1)]]))
    assert np.isnan(prefix_scanmatch([], []))


def plain_prefix_scanmatch(pred, human, *, swap=False):
    """Scores of beginnings, one stimulus and one length at a time."""
    strings = []
    for paths in (pred, human):
        strings.append([])
        for path in paths:
            points = path[1:] if len(path) > 1 else path
            cells = []
            for x, y in points:
                u, v = (y, x) if swap else (x, y)
                u, v = int(u) / 1280 * 1024, int(v) / 1024 * 768
                u = 1 if u <= 0 else 1023 if u >= 1024 else round(u)
                v = 1 if v <= 0 else 767 if v >= 768 else round(v)
                cells.append((v - 1) * 8 // 768 * 12 + (u - 1) * 12 // 1024)
            strings[-1].append(cells)
    by_length = []
    for m in range(1, 30):
        scores = [
            plain_scanmatch(a[:m], b[:m], 12)
            for a, b in zip(*strings, strict=True)
            if min(len(a), len(b)) >= m
        ]
        if scores:
            by_length.append(np.mean(scores))
    return np.mean(by_length)


def test_prefix_scanmatch_matches_a_loop():
    rng = np.random.default_rng(10)
    pred, human = (
        [rng.uniform(-200, 1500, (n, 2)) for n in rng.integers(1, 9, 12)] for _ in "ab"
    )
    for axes, swap in (("xy", False), ("published", True)):
        expected = plain_prefix_scanmatch(pred, human, swap=swap)
        value = prefix_scanmatch(pred, human, axes=axes)
        assert value == pytest.approx(expected, abs=1e-12)
    assert prefix_scanmatch(pred, pred) == pytest.approx(1, abs=1e-12)


def test_prefix_scanmatch_gives_the_published_scores_of_natural_search(data_folder):
    folder = data_folder / "visual_search"
    published = pd.read_csv(folder / "scanmatch_pairs.csv")
    with np.load(folder / "natural_search_original.npz") as arrays:
        for dataset, rows in published.groupby("dataset"):
            # Object arrays are stored as x and y, the natural sets as row and column.
            axes = "xy" if dataset == "ObjArr" else "published"
            people = natural_paths(arrays, dataset, "human_all", axes)
            n = len(people) // 15
            sets = {
                f"human{k + 1:02d}": people.select(slice(k * n, (k + 1) * n))
                for k in range(15)
            }
            for model in ("eccNET", "IVSN"):
                sets[model] = natural_paths(arrays, dataset, model, axes)
            scores = [
                prefix_scanmatch(sets[a], sets[b], axes=axes)
                for a, b in zip(rows["a"], rows["b"], strict=True)
            ]
            np.testing.assert_allclose(scores, rows["score"], rtol=0, atol=1e-11)
    assert len(published) == 405


def natural_paths(arrays, dataset, who, axes):
    fixations = arrays[f"{dataset}/fix/{who}"].astype(float)
    n_fixations = arrays[f"{dataset}/ifix/{who}"].astype(np.int64).reshape(-1)
    beyond = np.arange(fixations.shape[1]) >= n_fixations[:, None]
    fixations[beyond] = np.nan
    first, second = fixations[..., 0], fixations[..., 1]
    x, y = (first, second) if axes == "xy" else (second, first)
    return ScanpathSet(x, y, np.full_like(x, np.nan), n_fixations)


def test_measures_stay_as_they_were():
    pred, human = random_paths(20, [7, 12]), random_paths(21, [9])
    options = {"screen_px": SCREEN, "grid": GRID}
    frozen = {
        "scanmatch": (scanmatch(pred, human, **options), [0.2943881663, 0.2976190476]),
        "with time": (
            scanmatch(pred, human, temporal_bin_ms=50, **options),
            [0.2923271152, 0.2877922755],
        ),
        "edits": (string_edit_distance(pred, human, screen_px=SCREEN), [7, 11]),
        "beginnings": (prefix_scanmatch(pred, pred[::-1]), [0.393934813]),
    }
    for name, (values, expected) in frozen.items():
        np.testing.assert_allclose(np.ravel(values), expected, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a: scanmatch(a, a, screen_px=SCREEN, grid=GRID, threshold=0),
            "`threshold` must be within",
        ),
        (
            lambda a: scanmatch(a, a, screen_px=SCREEN, grid=GRID, gap=1),
            "`gap` must be within",
        ),
        (
            lambda a: scanmatch(a, a, screen_px=SCREEN, grid=(2, 2, 2)),
            r"`grid` must have shape \(2\)",
        ),
        (
            lambda a: scanmatch(a, a, screen_px=SCREEN, grid=GRID, temporal_bin_ms=0),
            "`bin_ms` must be within",
        ),
        (
            lambda a: cell_scanmatch([[4]], [[1]], grid=(2, 2)),
            "`pred_cells` must hold cells of the grid.* below 4; got up to 4",
        ),
        (
            lambda a: cell_scanmatch([[1]], [["x"]], grid=(2, 2)),
            "`human_cells` must hold cells of the grid.*; got labels",
        ),
        (
            lambda a: sequence_score([[1]], [[1]], first=0),
            "`first` must be within",
        ),
        (
            lambda a: sequence_score([[1]], [[1]], first=2, cut="human"),
            "`cut` must be one of 'both', 'pred'",
        ),
        (
            lambda a: prefix_scanmatch(a, a[:1]),
            "`pred` has 2 scanpaths but `human` has 1",
        ),
        (
            lambda a: prefix_scanmatch(a, a, axes="yx"),
            "`axes` must be one of 'xy', 'published'",
        ),
    ],
)
def test_bad_arguments_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_paths(11, [3, 4]))
