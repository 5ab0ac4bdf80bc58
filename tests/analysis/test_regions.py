"""Summaries by region."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.regions import TABLE_COLUMNS, region_table

UNITS = pd.DataFrame(
    {
        "unit_id": list("abcdefg"),
        "hemisphere": ["lh", "lh", "rh", "rh", "lh", "rh", "lh"],
        "prf": ["V1v", "V1d", "V1d", "hV4", "", None, "V1d"],
        "faces": ["", "", "FFA-1", "FFA-1", "FFA-2", "FFA-2", None],
    }
)
R = np.array([0.1, 0.2, 0.4, 0.8, np.nan, 0.5, 0.9])


def rows_of(table, *columns):
    return table[list(columns)].to_numpy().tolist()


def test_every_label_of_every_family_gets_a_row_in_order():
    table = region_table({"r": R}, UNITS, ["prf", "faces"])
    assert table.columns.tolist() == list(TABLE_COLUMNS)
    assert rows_of(table, "family", "region", "n_units", "n_defined") == [
        ["prf", "V1v", 1, 1],
        ["prf", "V1d", 3, 3],
        ["prf", "hV4", 1, 1],
        ["faces", "FFA-1", 2, 2],
        ["faces", "FFA-2", 2, 1],
    ]
    assert set(table["hemisphere"]) == {"both"}
    assert set(table["measure"]) == {"r"}


def test_frozen_numbers_of_one_region():
    row = region_table({"r": R}, UNITS, ["prf"], regions=["V1"]).iloc[0]
    assert row["n_units"] == 4
    numbers = row[["median", "mean", "q25", "q75"]].astype(float)
    np.testing.assert_allclose(numbers, [0.3, 0.4, 0.175, 0.525])


def test_regions_are_named_as_elsewhere():
    names = ["V1", "faces", "FFA", "faces:FFA-2", "hV4"]
    table = region_table({"r": R}, UNITS, ["prf", "faces"], regions=names)
    assert rows_of(table, "family", "region", "n_units") == [
        ["prf", "V1", 4],
        ["faces", "faces", 4],
        ["faces", "FFA", 4],
        ["faces", "FFA-2", 2],
        ["prf", "hV4", 1],
    ]
    with pytest.raises(KeyError, match="no region 'V2'"):
        region_table({"r": R}, UNITS, ["prf", "faces"], regions=["V2"])


def test_hemispheres_come_apart_and_an_empty_one_is_undefined():
    table = region_table(
        {"r": R}, UNITS, ["prf"], regions=["V1", "hV4"], hemispheres=True
    )
    assert rows_of(table, "region", "hemisphere", "n_units") == [
        ["V1", "lh", 3],
        ["V1", "rh", 1],
        ["hV4", "lh", 0],
        ["hV4", "rh", 1],
    ]
    assert table["n_defined"].tolist() == [3, 1, 0, 1]
    assert table["median"].tolist()[:2] == pytest.approx([0.2, 0.4])
    assert np.isnan(table["mean"].iloc[2])
    with pytest.raises(ValueError, match=r"lacks the columns \['hemisphere'\]"):
        region_table({"r": R}, UNITS[["prf"]], ["prf"], hemispheres=True)


def test_infinite_values_are_not_summarised():
    table = region_table({"ncsnr": np.where(R > 0.8, np.inf, R)}, UNITS, ["prf"])
    row = table[table["region"] == "V1d"].iloc[0]
    assert (row["n_units"], row["n_defined"]) == (3, 2)
    assert row["mean"] == pytest.approx(0.3)


def test_several_measures_come_from_a_mapping_or_a_table_of_any_index():
    both = {"r": R, "ncsnr": 2 * R}
    table = region_table(both, UNITS, ["prf"])
    frame = pd.DataFrame(both, index=np.arange(7)[::-1])
    pd.testing.assert_frame_equal(region_table(frame, UNITS, ["prf"]), table)
    assert table["measure"].tolist() == ["r", "ncsnr"] * 3
    wide = table.pivot_table(index="region", columns="measure", values="median")
    np.testing.assert_allclose(wide["ncsnr"], 2 * wide["r"])


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.floats(-5, 5)), min_size=1),
    st.sets(st.integers(0, 3)),
)
def test_summaries_are_those_of_pandas(rows, undefined):
    units = pd.DataFrame(rows, columns=["label", "value"])
    units.loc[units.index.isin(undefined), "value"] = np.nan
    table = region_table({"v": units["value"]}, units, ["label"])
    assert table["n_units"].sum() == len(units)
    for row in table.itertuples():
        values = units["value"][units["label"] == row.region]
        ours = [row.n_defined, row.median, row.mean, row.q25, row.q75]
        quartiles = values.quantile([0.25, 0.75])
        theirs = [values.count(), values.median(), values.mean(), *quartiles]
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_measures_of_another_form_are_refused():
    with pytest.raises(ValueError, match=r"`values\['r'\]` has shape \(3,\).*7 rows"):
        region_table({"r": R[:3]}, UNITS, ["prf"])
    with pytest.raises(ValueError, match="at least one measure"):
        region_table({}, UNITS, ["prf"])
    with pytest.raises(ValueError, match=r"lacks the columns \['streams'\]"):
        region_table({"r": R}, UNITS, ["streams"])


def test_units_without_labels_give_an_empty_table():
    table = region_table({"r": R}, UNITS.assign(prf=None), ["prf"])
    assert len(table) == 0
    assert table.columns.tolist() == list(TABLE_COLUMNS)
