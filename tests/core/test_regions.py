"""Names of regions and the units that they stand for."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurovis.core.regions import (
    REGION_UNIONS,
    find_region,
    region_labels,
    region_mask,
)

FAMILIES = ("prf-visualrois", "Kastner2015", "floc-faces")
LABELS = st.sampled_from(["V1v", "V1d", "V2v", "hV4", "", None])


def table():
    return pd.DataFrame(
        {
            "unit_id": list("abcdef"),
            "prf-visualrois": ["V1d", "V1v", "", "hV4", None, np.nan],
            "Kastner2015": ["V1v", "", "LO1", "LO1", None, "V1d"],
            "floc-faces": ["", "", "FFA-1", "FFA-2", "OFA", None],
        }
    )


def test_labels_come_in_the_order_of_their_first_unit_and_empty_ones_do_not_count():
    assert region_labels(table(), FAMILIES) == {
        "prf-visualrois": ["V1d", "V1v", "hV4"],
        "Kastner2015": ["V1v", "LO1", "V1d"],
        "floc-faces": ["FFA-1", "FFA-2", "OFA"],
    }


def test_labels_of_categories_come_in_their_order_and_absent_ones_do_not():
    kinds = ["V1v", "V1d", "V2v", "", "hV4"]
    column = pd.Categorical(["hV4", "V1d", "", None], categories=kinds)
    units = pd.DataFrame({"prf": column})
    assert region_labels(units, ["prf"]) == {"prf": ["V1d", "hV4"]}
    assert region_mask(units, ["prf"], "V1").tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("region", "inside"),
    [
        ("hV4", "d"),
        ("LO1", "cd"),
        ("FFA", "cd"),
        ("FFA-2", "d"),
        ("floc-faces", "cde"),
        ("prf-visualrois", "abd"),
        ("prf-visualrois:V1", "ab"),
        ("Kastner2015:V1", "af"),
        ("Kastner2015:V1v", "a"),
        ("floc-faces:OFA", "e"),
    ],
)
def test_a_name_stands_for_these_units(region, inside):
    units = table()
    assert "".join(units["unit_id"][region_mask(units, FAMILIES, region)]) == inside


@pytest.mark.parametrize("region", ["V1", "V1v"])
def test_a_name_that_two_families_know_must_be_told_apart(region):
    choices = f"'prf-visualrois:{region}' or 'Kastner2015:{region}'"
    with pytest.raises(ValueError, match=choices):
        region_mask(table(), FAMILIES, region)


@pytest.mark.parametrize(
    ("region", "hint"),
    [("hv4", "hV4"), ("floc-face", "floc-faces"), ("prf-visualroi", "prf-visualrois")],
)
def test_an_unknown_name_gets_a_near_one(region, hint):
    with pytest.raises(KeyError, match=f"Did you mean '{hint}"):
        region_mask(table(), FAMILIES, region)


@pytest.mark.parametrize(
    "region", ["", "floc-faces:V1v", "floc:OFA", "floc-faces:", "nan"]
)
def test_what_no_unit_carries_is_unknown(region):
    with pytest.raises(KeyError, match="no region"):
        region_mask(table(), FAMILIES, region)


def test_units_without_labels_say_so():
    with pytest.raises(KeyError, match="have no labels"):
        region_mask(table(), (), "V1")
    with pytest.raises(ValueError, match="lacks the columns"):
        region_labels(table(), ["streams"])


def test_the_parts_of_a_union_are_told():
    assert find_region(table(), FAMILIES, "FFA") == ("floc-faces", ("FFA-1", "FFA-2"))
    assert find_region(table(), FAMILIES, "floc-faces:OFA") == ("floc-faces", ("OFA",))
    half = table().replace({"FFA-2": ""})
    assert find_region(half, FAMILIES, "FFA") == ("floc-faces", ("FFA-1",))


@given(st.lists(LABELS, min_size=1, max_size=20))
def test_a_union_is_the_union_of_its_parts_and_a_family_that_of_its_labels(labels):
    units = pd.DataFrame({"prf": pd.Series(labels, dtype=object)})
    known = region_labels(units, ["prf"])["prf"]
    masks = {label: region_mask(units, ["prf"], label) for label in known}
    nothing = np.zeros(len(labels), bool)
    for mask in masks.values():
        assert mask.dtype == bool
    whole = np.sum([nothing, *masks.values()], axis=0)
    np.testing.assert_array_equal(region_mask(units, ["prf"], "prf"), whole)
    assert whole.max() <= 1
    for union, parts in REGION_UNIONS.items():
        there = [masks[part] for part in parts if part in masks]
        if there:
            mask = region_mask(units, ["prf"], union)
            np.testing.assert_array_equal(mask, np.any(there, axis=0))
