"""Reaction times of three classic search tasks."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from data_loaders.wolfe_search import load_wolfe_search, usable_trials
from neurovis.core.errors import DataCorruptError
from neurovis.core.types import TRIAL_COLUMNS, Responses

FILE = "trials.csv.gz"


def _trials():
    rows = [
        ("feature", 2, 1, 3, 1, 0, "HIT", 556),
        ("feature", 2, 1, 3, 0, 0, "TNEG", 199),
        ("feature", 1, 2, 18, 1, 1, "MISS", 0),
        ("conjunction", 1, 1, 12, 0, 1, "FA", 12_720),
        ("conjunction", 1, 1, 12, 0, 0, "TNEG", 10_000),
        ("conjunction", 1, 1, 6, 0, 0, "TNEG", 200),
    ]
    columns = ["task", "subject", "trial", "set_size", "target_present", "error"]
    return pd.DataFrame(rows, columns=[*columns, "outcome", "rt_ms"])


def _write(folder, table):
    data = gzip.compress(table.to_csv(index=False).encode(), mtime=0)
    (folder / FILE).write_bytes(data)
    return data


def test_a_small_file_gives_the_common_form(tmp_path):
    _write(tmp_path, _trials())
    responses = load_wolfe_search(tmp_path)
    table = responses.table
    assert responses.scanpaths is None
    assert tuple(table.columns[:6]) == TRIAL_COLUMNS
    assert table["subject"].tolist() == ["conjunction-1"] * 3 + [
        "feature-1",
        "feature-2",
        "feature-2",
    ]
    assert table["trial"].tolist() == [0, 1, 2, 0, 0, 1]
    assert table["source_trial"].tolist() == [1, 1, 1, 2, 1, 1]
    assert table["response"].tolist() == [
        "absent",
        "absent",
        "present",
        "absent",
        "absent",
        "present",
    ]
    assert table["correct"].tolist() == [True, True, False, False, True, True]
    assert table["stimulus_id"].iloc[-1] == "feature/present/n=3"
    assert table["rt_ms"].tolist() == [200, 10_000, 12_720, 0, 199, 556]
    assert not table.duplicated(["subject", "trial"]).any()


def test_usable_trials_are_right_and_neither_too_fast_nor_too_slow(tmp_path):
    _write(tmp_path, _trials())
    responses = load_wolfe_search(tmp_path)
    assert usable_trials(responses).table["rt_ms"].tolist() == [200, 10_000, 556]
    assert usable_trials(responses, longest_ms=9999).table["rt_ms"].tolist() == [
        200,
        556,
    ]
    wide = usable_trials(responses, shortest_ms=0, longest_ms=1e6)
    assert wide.table["rt_ms"].tolist() == [200, 10_000, 199, 556]
    assert_frame_equal(responses.table, load_wolfe_search(tmp_path).table)
    unknown = responses.table.assign(correct=pd.array([None] * 6, dtype="boolean"))
    assert len(usable_trials(Responses(unknown)).table) == 0
    with pytest.raises(ValueError, match="`longest_ms`"):
        usable_trials(responses, shortest_ms=300, longest_ms=200)
    with pytest.raises(ValueError, match="`shortest_ms`"):
        usable_trials(responses, shortest_ms=-1)


def test_one_observer_is_enough(tmp_path):
    _write(tmp_path, _trials().iloc[:1])
    assert load_wolfe_search(tmp_path).table["subject"].tolist() == ["feature-2"]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_the_order_of_rows_does_not_matter(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("wolfe")
    trials = pd.concat([_trials(), _trials().iloc[:2]])
    _write(folder, trials)
    one = load_wolfe_search(folder).table
    _write(folder, trials.sample(frac=1, random_state=seed))
    assert_frame_equal(one, load_wolfe_search(folder).table)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_corrupt(tmp_path, share):
    data = _write(tmp_path, _trials())
    (tmp_path / FILE).write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match="not a readable"):
        load_wolfe_search(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.drop(columns="outcome"), r"lacks \['outcome'\]"),
        (lambda t: t.iloc[:0], "It has no trial"),
        (lambda t: t.assign(task="Stroop"), "`task` must have one of .* 'Stroop'"),
        (lambda t: t.assign(outcome="YES"), "`outcome` must have one of"),
        (lambda t: t.assign(rt_ms=-1), "missing or negative"),
        (lambda t: t.assign(rt_ms=np.nan), "missing or negative"),
        (lambda t: t.assign(set_size=0), "a set is empty"),
        (
            lambda t: t.assign(error=[0, 0, 0, 1, 0, 0]),
            "themselves: 1, .* MISS",
        ),
        (lambda t: t.assign(target_present=0), "themselves: 2, .* HIT"),
        (lambda t: t.assign(error=2), "0 or 1 in the column `error`"),
        (lambda t: t.assign(rt_ms="fast"), "finite numbers in the column `rt_ms`"),
        (lambda t: t.assign(set_size=3.5), "whole numbers in the column `set_size`"),
    ],
)
def test_impossible_content_is_corrupt(tmp_path, change, match):
    _write(tmp_path, change(_trials()))
    with pytest.raises(DataCorruptError, match=match):
        load_wolfe_search(tmp_path)


def test_another_encoding_and_a_missing_file_are_told(tmp_path):
    text = _trials().to_csv(index=False).replace("feature", "é")
    (tmp_path / FILE).write_bytes(gzip.compress(text.encode("latin-1")))
    with pytest.raises(DataCorruptError, match="UnicodeDecodeError"):
        load_wolfe_search(tmp_path)
    (tmp_path / FILE).write_text("<html>not found</html>")
    with pytest.raises(DataCorruptError, match="BadGzipFile"):
        load_wolfe_search(tmp_path)
    (tmp_path / FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"trials\.csv\.gz"):
        load_wolfe_search(tmp_path)


# ------------------------------------------------------------ the real file

CELL = ["task", "target_present", "set_size"]


@pytest.fixture(scope="module")
def wolfe(data_folder):
    folder = data_folder / "search_rt_wolfe2010"
    reference = json.loads((folder / "reference_values.json").read_text())
    return load_wolfe_search(folder), reference


def _reference(rows, columns):
    table = pd.DataFrame(rows).astype({"target_present": bool})
    return table.set_index(columns).sort_index()


def test_means_medians_and_counts_are_those_of_the_reference(wolfe):
    responses, reference = wolfe
    cells = usable_trials(responses).table.groupby(CELL)["rt_ms"]
    got = cells.agg(["mean", "median", "count"])
    wanted = _reference(reference["mean_rt"], CELL)
    assert len(wanted) == 24
    assert got["mean"].round(3).to_dict() == wanted["mean"].to_dict()
    assert got["median"].to_dict() == wanted["median"].to_dict()
    assert got["count"].to_dict() == wanted["count"].to_dict()


def test_slopes_are_those_of_the_reference(wolfe):
    responses, reference = wolfe
    table = usable_trials(responses).table
    keys = [*CELL[:2], "subject"]
    means = table.pivot_table(values="rt_ms", index=keys, columns="set_size")
    wanted = _reference(reference["slopes_ms_per_item"], CELL[:2])
    assert len(wanted) == 6
    for cell, row in wanted.iterrows():
        part = means.loc[cell]
        lines = np.polyfit(part.columns.to_numpy(float), part.to_numpy().T, 1)
        slope, intercept = lines.mean(axis=1)
        assert round(slope, 3) == row["slope"]
        assert round(intercept, 3) == row["intercept"]


def test_error_rates_and_counts_are_those_of_the_reference(wolfe):
    responses, reference = wolfe
    table = responses.table
    wrong = 1 - table["correct"].astype(float)
    got = wrong.groupby([table[c] for c in CELL]).mean().round(5)
    assert got.to_dict() == _reference(reference["error_rate"], CELL)["error"].to_dict()
    assert len(table) == 87_811
    assert len(table) == reference["n_trials"]
    assert table.groupby("task")["subject"].nunique().to_dict() == {
        "conjunction": 8,
        "feature": 7,
        "spatial_configuration": 7,
    }
    assert (table["rt_ms"].min(), table["rt_ms"].max()) == (0, 12_720)
    assert not table.duplicated(["subject", "trial"]).any()
