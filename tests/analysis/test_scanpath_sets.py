"""Scanpaths in padded arrays: packed, gathered, selected, cut, paired."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.scanpath_sets import (
    CELLS_PER_BLOCK,
    ScanpathSet,
    check_pairs,
    pack_scanpaths,
    pair_blocks,
    scanpaths_from_table,
)
from neurovis.core.types import FIXATION_COLUMNS, Scanpath

NAN = float("nan")
POINTS = st.tuples(*[st.floats(-1e4, 1e4)] * 2)
TIMED = st.tuples(POINTS, st.floats(0, 1e4) | st.just(NAN)).map(lambda p: (*p[0], p[1]))
PATHS = st.lists(st.lists(TIMED, max_size=6), max_size=6)


def rows_of(paths, i):
    """One scanpath of a set as rows of x, y, duration."""
    n = paths.n_fixations[i]
    layers = (paths.x_px, paths.y_px, paths.duration_ms)
    return np.column_stack([layer[i, :n] for layer in layers])


def assert_same(one, other):
    for name in ("x_px", "y_px", "duration_ms", "n_fixations"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


# ---------------------------------------------------------------------- packing


@given(PATHS)
def test_a_packed_scanpath_is_what_it_was_and_nan_beyond_its_end(lists):
    paths = pack_scanpaths(lists)
    assert len(paths) == len(lists)
    assert paths.n_fixations.tolist() == [len(each) for each in lists]
    assert paths.longest == max(map(len, lists), default=0)
    assert paths.x_px.shape == (len(lists), paths.longest)
    for layer in (paths.x_px, paths.y_px, paths.duration_ms):
        assert layer.dtype == np.float64
        assert layer.shape == paths.x_px.shape
    for i, each in enumerate(lists):
        expected = np.array(each, float).reshape(-1, 3)
        np.testing.assert_array_equal(rows_of(paths, i), expected)
        for layer in (paths.x_px, paths.y_px, paths.duration_ms):
            assert np.isnan(layer[i, len(each) :]).all()


def test_arrays_lists_and_scanpaths_are_packed_alike():
    x, y, time = np.array([[1.0, 2, 3], [4, 5, 6], [200, 100, NAN]])
    array = np.column_stack([x, y, time])
    for path in (array, array.tolist(), Scanpath("a", "s", x, y, time)):
        assert_same(pack_scanpaths([path, []]), pack_scanpaths([array, np.empty(0)]))


def test_without_durations_they_are_undefined():
    paths = pack_scanpaths([[(1, 2), (3, 4)], [(5, 6, 70)]])
    assert np.isnan(paths.duration_ms[0]).all()
    assert paths.duration_ms[1, 0] == 70
    assert paths.timed.tolist() == [False, True]


def test_a_set_is_returned_as_it_is():
    paths = pack_scanpaths([[(1, 2)]])
    assert pack_scanpaths(paths) is paths


def test_nothing_is_a_set():
    paths = pack_scanpaths([])
    assert (len(paths), paths.longest, paths.x_px.shape) == (0, 0, (0, 0))
    assert paths.defined.shape == paths.timed.shape == (0,)


def test_packing_does_not_alter_what_came():
    array = np.array([[1.0, 2], [3, 4]])
    before = array.copy()
    paths = pack_scanpaths([array])
    paths.x_px[0, 0] = 99
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    "path", [np.ones((2, 4)), np.ones((2, 1)), np.ones(2), np.ones((1, 2, 3)), None]
)
def test_what_is_no_list_of_points_is_told_with_its_place(path):
    with pytest.raises(ValueError, match=r"Scanpath 1 must have shape \(n_fixations"):
        pack_scanpaths([[(1, 2)], path])


def test_one_scanpath_alone_is_not_taken_for_many():
    with pytest.raises(ValueError, match="Scanpath 0 must have shape"):
        pack_scanpaths(np.ones((4, 2)))


def test_shapes_and_lengths_that_do_not_fit_are_told():
    ok = np.zeros((2, 3))
    n = np.array([1, 3])
    assert ScanpathSet(ok, ok, ok, n).longest == 3
    for name, values in (
        ("y_px", (ok, np.zeros((2, 4)), ok, n)),
        ("duration_ms", (ok, ok, np.zeros((3, 3)), n)),
        ("n_fixations", (ok, ok, ok, np.array([1, 2, 3]))),
        ("x_px", (np.zeros(3), ok, ok, n)),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must have shape"):
            ScanpathSet(*values)
    for lengths in ([1, 4], [-1, 3]):
        with pytest.raises(ValueError, match=r"`n_fixations` must be within \[0, 3\]"):
            ScanpathSet(ok, ok, ok, np.array(lengths))


# ------------------------------------------------------------- defined and timed


def test_only_scanpaths_with_all_positions_are_defined():
    paths = pack_scanpaths(
        [
            [(1, 2), (3, 4)],
            [(1, NAN)],
            [(NAN, 2), (3, 4)],
            [],
            [(1, float("inf"))],
            [(0, 0)],
        ]
    )
    assert paths.defined.tolist() == [True, False, False, False, False, True]


def test_only_scanpaths_with_all_durations_are_timed():
    paths = pack_scanpaths(
        [[(1, 2, 0), (3, 4, 100)], [(1, 2, 5), (3, 4, NAN)], [], [(NAN, NAN, 3)]]
    )
    assert paths.timed.tolist() == [True, False, False, True]


@given(PATHS)
def test_cutting_forgets_the_rest_of_each_scanpath(lists):
    paths = pack_scanpaths(lists)
    for n in (-1, 0, 1, 3, 99):
        assert_same_paths(paths.cut(n), [each[: max(n, 0)] for each in lists])


def assert_same_paths(paths, lists):
    assert len(paths) == len(lists)
    for i, each in enumerate(lists):
        expected = np.array(each, float).reshape(-1, 3)
        np.testing.assert_array_equal(rows_of(paths, i), expected)


def test_a_cut_scanpath_may_become_defined():
    paths = pack_scanpaths([[(1, 2), (NAN, NAN)]])
    assert not paths.defined[0]
    assert paths.cut(1).defined[0]
    assert not paths.cut(0).defined[0]


@given(PATHS, st.data())
def test_selected_scanpaths_come_in_the_order_asked_for(lists, data):
    paths = pack_scanpaths(lists)
    if lists:
        rows = data.draw(st.lists(st.integers(-len(lists), len(lists) - 1)))
        assert_same_paths(paths.select(np.array(rows, int)), [lists[i] for i in rows])
    chosen = np.array([len(each) > 2 for each in lists], bool)
    assert_same_paths(paths.select(chosen), [each for each in lists if len(each) > 2])
    assert_same_paths(paths.select(slice(1, None, 2)), lists[1::2])


def test_a_part_does_not_share_what_it_knows_with_the_whole():
    paths = pack_scanpaths([[(1, 2)], []])
    assert paths.defined.tolist() == [True, False]
    assert paths.select([1, 0]).defined.tolist() == [False, True]


# ------------------------------------------------------------------------ tables


def table_of(*rows):
    """Rows of subject, stimulus, fixation, x."""
    table = pd.DataFrame(rows, columns=["subject", "stimulus_id", "fixation", "x_px"])
    return table.assign(y_px=table["x_px"] + 0.5, duration_ms=table["x_px"] * 10)


def test_rows_are_gathered_by_key_and_ordered_by_number():
    table = table_of(
        ("b", "s", 2, 3.0),
        ("a", "s", 0, 4.0),
        ("b", "s", 0, 1.0),
        ("b", "t", 7, 6.0),
        ("b", "s", 1, 2.0),
    )
    paths, keys = scanpaths_from_table(table)
    assert keys.to_dict("list") == {
        "subject": ["b", "a", "b"],
        "stimulus_id": ["s", "s", "t"],
    }
    assert keys.index.tolist() == [0, 1, 2]
    assert paths.n_fixations.tolist() == [3, 1, 1]
    assert paths.x_px[0].tolist() == [1, 2, 3]
    assert paths.y_px[0].tolist() == [1.5, 2.5, 3.5]
    assert paths.duration_ms[0].tolist() == [10, 20, 30]
    assert paths.x_px[2, 0] == 6


TABLES = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 5)),
    unique=True,
    max_size=25,
)


@given(TABLES, st.randoms())
def test_gathering_agrees_with_a_loop_whatever_the_order_of_rows(keys, random):
    keys = list(keys)
    random.shuffle(keys)
    table = table_of(*[(*key, float(i)) for i, key in enumerate(keys)])
    # Rows are found by their place and not by their label.
    table.index = random.choices(range(3), k=len(table))
    before = table.copy()
    paths, found = scanpaths_from_table(table)
    groups = {}
    for i, (subject, stimulus, number) in enumerate(keys):
        groups.setdefault((subject, stimulus), []).append((number, float(i)))
    assert list(found.itertuples(index=False, name=None)) == list(groups)
    for i, rows in enumerate(groups.values()):
        xs = [x for _, x in sorted(rows)]
        assert paths.x_px[i, : paths.n_fixations[i]].tolist() == xs
    pd.testing.assert_frame_equal(table, before)


@given(PATHS)
def test_what_is_written_into_a_table_comes_back(lists):
    kept = [each for each in lists if each]
    tables = [
        Scanpath("me", str(i), *np.array(each, float).T).to_table()
        for i, each in enumerate(kept)
    ]
    empty = pd.DataFrame(columns=list(FIXATION_COLUMNS))
    paths, keys = scanpaths_from_table(pd.concat(tables) if tables else empty)
    assert keys["stimulus_id"].tolist() == [str(i) for i in range(len(kept))]
    assert_same_paths(paths, kept)


def test_a_stimulus_seen_twice_needs_the_trial():
    table = table_of(("a", "s", 0, 1.0), ("a", "s", 0, 2.0), ("a", "s", 1, 3.0))
    message = "more than one row for subject a, stimulus_id s, fixation 0: .* `trial`"
    with pytest.raises(ValueError, match=message):
        scanpaths_from_table(table)
    table["trial"] = [0, 5, 5]
    paths, keys = scanpaths_from_table(table, by=("subject", "stimulus_id", "trial"))
    assert keys["trial"].tolist() == [0, 5]
    assert paths.x_px[1].tolist() == [2, 3]
    again, _ = scanpaths_from_table(table, by=["subject", "trial"])
    assert_same(again, paths)


@pytest.mark.parametrize("column", ["subject", "stimulus_id", "fixation"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_row_without_a_key_is_told(column, place):
    table = table_of(("a", "s", 0, 1.0), ("a", "s", 1, 2.0), ("b", "s", 0, 3.0))
    values = table[column].astype(object)
    values.iloc[place] = None
    with pytest.raises(ValueError, match=f"rows without a value in .'{column}'"):
        scanpaths_from_table(table.assign(**{column: values}))


def test_a_missing_column_is_told():
    table = table_of(("a", "s", 0, 1.0))
    with pytest.raises(ValueError, match=r"lacks the columns \['y_px'\]"):
        scanpaths_from_table(table.drop(columns="y_px"))
    with pytest.raises(ValueError, match=r"lacks the columns \['trial'\]"):
        scanpaths_from_table(table, by=["subject", "trial"])


def test_categories_that_do_not_occur_make_no_scanpath():
    table = table_of(("b", "s", 0, 1.0), ("a", "s", 0, 2.0))
    table["subject"] = pd.Categorical(table["subject"], ["c", "a", "b"])
    paths, keys = scanpaths_from_table(table)
    assert keys["subject"].tolist() == ["b", "a"]
    assert paths.x_px[:, 0].tolist() == [1, 2]


def test_an_empty_table_gives_an_empty_set():
    paths, keys = scanpaths_from_table(table_of())
    assert (len(paths), len(keys)) == (0, 0)
    assert list(keys) == ["subject", "stimulus_id"]


# ------------------------------------------------------------------------- pairs


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0), (2, 3)])
def test_without_pairs_each_is_paired_with_each_human_fastest(n, m):
    pairs = check_pairs(None, n, m)
    assert pairs.tolist() == [[i, j] for i in range(n) for j in range(m)]
    assert pairs.dtype == np.int64
    assert pairs.shape == (n * m, 2)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64, np.int64])
def test_whole_numbers_of_any_kind_are_pairs(kind):
    pairs = check_pairs(np.array([[1, 0], [0, 2], [1, 0]], kind), 2, 3)
    assert pairs.dtype == np.int64
    assert pairs.tolist() == [[1, 0], [0, 2], [1, 0]]


def test_no_pairs_are_pairs():
    for pairs in ([], np.zeros((0, 2), int)):
        assert check_pairs(pairs, 2, 2).shape == (0, 2)


@pytest.mark.parametrize(
    ("pairs", "kind", "message"),
    [
        ([(0.0, 1.0)], TypeError, "`pairs` must be whole numbers; got float64"),
        (np.ones((2, 2), bool), TypeError, "whole numbers; got bool"),
        ([("0", "1")], TypeError, "whole numbers; got <U1"),
        ([0, 1], ValueError, r"`pairs` must have shape \(any, 2\); got \(2,\)"),
        ([(0, 1, 0)], ValueError, r"must have shape \(any, 2\); got \(1, 3\)"),
        ([(2, 0)], ValueError, r"2 pred and 3 human.*got \[2, 0\] to \[2, 0\]"),
        ([(0, 3)], ValueError, "2 pred and 3 human"),
        ([(0, 0), (0, -1)], ValueError, r"got \[0, -1\] to \[0, 0\]"),
        (np.array([[2**64 - 1, 0]], np.uint64), ValueError, "2 pred and 3 human"),
    ],
)
def test_wrong_pairs_are_refused(pairs, kind, message):
    with pytest.raises(kind, match=message):
        check_pairs(pairs, 2, 3)


# ------------------------------------------------------------------------ blocks


LENGTHS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60)


@given(LENGTHS, st.integers(1, 5000))
def test_blocks_hold_every_pair_once_within_their_bound(lengths, cells):
    n, m = np.array(lengths, np.int64).reshape(-1, 2).T
    blocks = list(pair_blocks(n, m, cells=cells))
    together = np.concatenate([np.zeros(0, np.int64), *blocks])
    assert sorted(together.tolist()) == list(range(len(lengths)))
    for block in blocks:
        assert len(block) > 0
        used = n[block].max() * m[block].max() * len(block)
        assert used <= cells or len(block) == 1


@given(LENGTHS)
def test_blocks_are_of_similar_length(lengths):
    n, m = np.array(lengths, np.int64).reshape(-1, 2).T
    blocks = list(pair_blocks(n, m, cells=200))
    order = np.concatenate([np.zeros(0, np.int64), *blocks])
    assert (np.diff(n[order]) >= 0).all()


def test_a_pair_above_the_bound_is_a_block_of_its_own():
    n = np.array([10, 3000, 10])
    blocks = [block.tolist() for block in pair_blocks(n, n, cells=250)]
    assert blocks == [[0, 2], [1]]


def test_equal_pairs_fill_blocks_to_the_brim():
    n = np.full(1000, 10)
    sizes = [len(block) for block in pair_blocks(n, n, cells=10_000)]
    assert sizes == [100] * 10
    assert [len(b) for b in pair_blocks(n, n)] == [1000]
    assert CELLS_PER_BLOCK >= 1000 * 100


def test_no_pairs_make_no_block():
    none = np.zeros(0, np.int64)
    assert list(pair_blocks(none, none)) == []
