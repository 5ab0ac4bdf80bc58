"""Published numbers of visual search and their loaders."""

import gzip
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from data_loaders.search_humans import (
    PUBLISHED_TRIALS_FILE,
    human_responses,
    load_human_rt,
    load_published_asymmetry,
    load_published_eccnet_fixations,
    load_published_trials,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_table, write_table
from neurovis.core.types import TRIAL_COLUMNS
from stimuli.search_conditions import SEARCH_CONDITIONS


def _grid(step, *heights):
    """Points read off a figure: grid line in ms, height above it in steps."""
    return [Fraction(base) + Fraction(q) * 200 / Fraction(step) for base, q in heights]


FORMULAS = {
    "curve_in_lines": [510 + Fraction(8, 10) * (n - 8) for n in (8, 16, 32)],
    "line_in_curves": [565, 640, 750],
    "top_down": _grid("7.5", (400, "1"), (400, "1.2"), (400, "2.7")),
    "left_right": _grid("7.5", (400, "3.3"), (600, "2.8"), (600, "5.8")),
    "non_cross": [510 + 45 * n for n in (3, 6, 9)],
    "cross": [541 + 96 * n for n in (3, 6, 9)],
    "Ts": [499 + 14 * n for n in (3, 6, 9)],
    "Ls": [474 + 33 * n for n in (3, 6, 9)],
    "homo_t20": _grid("9.5", (400, ".7"), (400, "1.8"), (400, "1.95"), (400, "2.1")),
    "homo_t0": _grid("9.5", (400, "1.5"), (400, "7"), (400, "7.25"), (400, "7.5")),
    "hetero_t0": _grid("9.5", (400, "1.5"), (400, "8"), (600, "1.6"), (600, "5.1")),
    "hetero_t20": _grid("9.5", (400, "6"), (800, "1.5"), (1000, "4"), (1200, "6")),
}


def test_human_times_are_those_of_the_formulas_to_the_last_bit():
    human = load_human_rt()
    got = {c: part["rt_ms"].tolist() for c, part in human.groupby("condition")}
    assert got == {c: [float(v) for v in values] for c, values in FORMULAS.items()}
    assert len(human) == 40


def test_factors_are_those_of_the_displays():
    columns = ["experiment", "experiment_name", "paradigm", "label"]
    human = load_human_rt()
    for condition, part in human.groupby("condition"):
        display = SEARCH_CONDITIONS[condition]
        assert part[columns].drop_duplicates().to_numpy().tolist() == [
            [getattr(display, c) for c in columns]
        ]
        assert tuple(part["set_size"]) == display.set_sizes
    order = list(human["condition"].unique())
    assert [SEARCH_CONDITIONS[c].harder_for_humans for c in order] == [False, True] * 6


def test_published_indices_give_the_published_means():
    table = load_published_asymmetry()
    assert set(table["metric"]) == {"asymmetry_index", "mean_asymmetry_index"}
    single = table[table["metric"] == "asymmetry_index"]
    means = table[table["metric"] == "mean_asymmetry_index"].set_index("model")["value"]
    for _, part in single.groupby("model"):
        assert part["experiment"].tolist() == [1, 2, 3, 4, 5, 6]
    averaged = single.groupby("model")["value"].mean()
    # Six numbers rounded to three digits: their mean is within half a digit of each.
    assert (averaged - means[averaged.index]).abs().max() <= 0.001
    assert means["GBVS"] == -0.018
    assert len(means) == 14


def test_published_fixation_counts_cover_every_cell():
    cells = ["condition", "set_size"]
    table = load_published_eccnet_fixations()
    assert (
        table[cells].to_numpy().tolist() == load_human_rt()[cells].to_numpy().tolist()
    )
    assert table.query("condition == 'homo_t20'")["mean_fixations"].tolist() == [
        1.0,
        1.967,
        3.633,
        5.333,
    ]


def test_people_are_observers_in_the_common_form(tmp_path):
    table = human_responses().table
    assert tuple(table.columns[:6]) == TRIAL_COLUMNS
    assert set(table["subject"]) == {"human mean"}
    assert table["response"].isna().all()
    assert table["correct"].isna().all()
    assert table["stimulus_id"].is_unique
    assert table["rt_ms"].tolist() == load_human_rt()["rt_ms"].tolist()
    model = table.head(1).assign(subject="model", correct=True, response="found")
    both = pd.concat([table, model], ignore_index=True)
    assert both["correct"].dtype == "boolean"
    write_table(tmp_path / "trials.parquet", both)
    pd.testing.assert_frame_equal(read_table(tmp_path / "trials.parquet"), both)


def _trials():
    return pd.DataFrame(
        {
            "model": "eccNET",
            "paradigm": "intersection",
            "condition": ["Ts", "Ts", "Ls", "Ls"],
            "trial": [1, 2, 1, 2],
            "set_size": [3, 6, 3, 6],
            "num_fixations": [1, 2, 1, 9],
            "found": [True, True, True, False],
        }
    )


def _write(folder, table):
    data = gzip.compress(table.to_csv(index=False).encode(), mtime=0)
    (folder / PUBLISHED_TRIALS_FILE).write_bytes(data)
    return data


def test_published_trials_are_read_in_the_common_form(tmp_path):
    _write(tmp_path, _trials())
    table = load_published_trials(tmp_path)
    assert table["subject"].tolist() == ["eccNET"] * 4
    assert table["trial"].tolist() == [0, 1, 0, 1]
    assert table["n_fixations"].tolist() == [1, 2, 1, 9]
    assert table["found"].tolist() == [True, True, True, False]
    assert table["experiment"].tolist() == [4] * 4
    assert table["label"].tolist() == ["T", "T", "L", "L"]
    assert not table["untrained"].any()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_corrupt(tmp_path, share):
    data = _write(tmp_path, _trials())
    (tmp_path / PUBLISHED_TRIALS_FILE).write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match="whole gzip file"):
        load_published_trials(tmp_path)


def test_damage_inside_the_file_is_found(tmp_path):
    data = bytearray(_write(tmp_path, pd.concat([_trials()] * 50)))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / PUBLISHED_TRIALS_FILE).write_bytes(bytes(data))
    with pytest.raises(DataCorruptError):
        load_published_trials(tmp_path)


def test_plain_text_under_the_name_is_corrupt(tmp_path):
    (tmp_path / PUBLISHED_TRIALS_FILE).write_text("<html>not found</html>")
    with pytest.raises(DataCorruptError, match="whole gzip file"):
        load_published_trials(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.drop(columns="found"), "lacks \\['found'\\]"),
        (lambda t: t.assign(num_fixations=[1, 2, 1, -1]), "below the least possible"),
        (lambda t: t.assign(num_fixations=[1, 2, 1, 1.5]), "whole numbers"),
        (lambda t: t.assign(found=["yes", "no", "yes", "no"]), "True or False"),
        (lambda t: t.assign(set_size=[3, 6, 3, 7]), "'Ls' with set size 7"),
        (lambda t: t.assign(condition="Qs"), "no experiment"),
        (lambda t: t.assign(model=[None, "a", "a", "a"]), "empty model"),
        (lambda t: t.iloc[:0], "whole numbers"),
    ],
)
def test_impossible_content_is_corrupt(tmp_path, change, match):
    _write(tmp_path, change(_trials()))
    with pytest.raises(DataCorruptError, match=match):
        load_published_trials(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=PUBLISHED_TRIALS_FILE):
        load_published_trials(tmp_path)


def test_human_times_are_those_of_the_reference_to_its_ten_digits(data_folder):
    path = data_folder / "visual_search" / "human_rt.csv"
    reference = pd.read_csv(path, dtype={"human_rt_ms": str})
    human = load_human_rt()
    columns = ["experiment", "paradigm", "condition", "label", "set_size"]
    assert human[columns].to_numpy().tolist() == reference[columns].to_numpy().tolist()
    assert [f"{v:.10g}" for v in human["rt_ms"]] == reference["human_rt_ms"].tolist()


def test_published_numbers_are_those_of_the_reference_to_three_digits(data_folder):
    folder = data_folder / "visual_search"
    table = load_published_asymmetry()
    reference = pd.read_csv(folder / "asymmetry_index.csv")
    single = table[table["metric"] == "asymmetry_index"]
    pairs = single.astype({"experiment": int}).merge(
        reference, on=["model", "experiment"], validate="one_to_one"
    )
    assert len(pairs) == len(single) == 42
    assert (pairs["value"] - pairs["index"]).abs().max() <= 0.0005 + 1e-9
    summary = pd.read_csv(folder / "asymmetry_model_summary.csv").set_index("model")
    means = table[table["metric"] == "mean_asymmetry_index"].set_index("model")["value"]
    assert set(means.index) - set(summary.index) == {"GBVS"}
    difference = summary["mean_asymmetry_index"] - means.reindex(summary.index)
    assert difference.abs().max() <= 0.0005 + 1e-9
    cells = pd.read_csv(folder / "asymmetry_conditions.csv").query("model == 'eccNET'")
    pairs = load_published_eccnet_fixations().merge(
        cells, on=["condition", "set_size"], suffixes=("", "_reference")
    )
    assert len(pairs) == 40
    difference = pairs["mean_fixations"] - pairs["mean_fixations_reference"]
    assert difference.abs().max() <= 0.0005 + 1e-9


def test_all_published_trials_are_read(data_folder):
    folder = data_folder / "visual_search"
    table = load_published_trials(folder)
    assert (table.groupby("model").size() == 1272).all()
    assert table["model"].nunique() == 12
    assert not table.duplicated(["subject", "stimulus_id"]).any()
    cells = pd.read_csv(folder / "asymmetry_conditions.csv")
    keys = ["model", "condition", "set_size"]
    counts = (
        table.groupby(keys)["n_fixations"]
        .mean()
        .reindex(pd.MultiIndex.from_frame(cells[keys]))
    )
    np.testing.assert_allclose(counts, cells["mean_fixations"], rtol=1e-9)
