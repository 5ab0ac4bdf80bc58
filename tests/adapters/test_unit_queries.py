"""Which query drives which unit: tables of units, masks, and faults."""

import numpy as np
import pandas as pd
import pytest

from data_loaders.nsd import load_nsd
from data_loaders.simulated_nsd import simulate_nsd
from data_loaders.synthetic import n_pictures
from neurovis.adapters.unit_queries import (
    PUBLISHED_REGIONS,
    UnitQueries,
    make_queries,
    queries_from_masks,
)

FAMILIES = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words")


def table(hemispheres=None, **families):
    n = len(next(iter(families.values())))
    columns = {"unit_id": [f"u{i}" for i in range(n)]}
    if hemispheres is not None:
        columns["hemisphere"] = hemispheres
    return pd.DataFrame(columns | families)


def drives(queries):
    """Units of each query, by name."""
    assert len(set(queries.names)) == len(queries.names)
    rows = zip(queries.names, queries.mask, strict=True)
    return {name: np.flatnonzero(row).tolist() for name, row in rows}


# ------------------------------------------------------------------------ tables


def test_every_label_gets_a_query_and_the_rest_share_one():
    units = table(prf=["V2", "V1", "", "V2"])
    found = make_queries("regions", units, ["prf"])
    assert drives(found) == {"V2": [0, 3], "V1": [1], "no region": [2]}
    assert found.n_units == 4
    assert found.n_overlapping == 0


def test_no_query_for_the_rest_where_all_units_have_a_region():
    assert make_queries("regions", table(prf=["A", "B"]), ["prf"]).names == ("A", "B")


def test_hemispheres_have_queries_of_their_own_left_first():
    units = table(["rh", "lh", "rh", "lh"], prf=["V1", "V1", "V2", ""])
    found = make_queries("regions", units, ["prf"])
    # V2 has no unit on the left, and all units on the right have a region.
    wanted = {"lh V1": [1], "lh no region": [3], "rh V1": [0], "rh V2": [2]}
    assert drives(found) == wanted
    assert list(drives(found)) == list(wanted)


def test_units_of_several_families_have_several_queries():
    units = table(prf=["V1", "", "V1", ""], floc=["", "FFA", "FFA", ""])
    found = make_queries("regions", units, ["prf", "floc"])
    assert drives(found) == {"V1": [0, 2], "FFA": [1, 2], "no region": [3]}
    assert found.per_unit.tolist() == [1, 1, 2, 1]
    assert found.n_overlapping == 1
    assert "1 units lie in several regions" in found.describe()
    assert "several" not in make_queries("regions", units, ["prf"]).describe()


def test_nan_labels_are_no_region():
    units = table(prf=["V1", np.nan, None, ""])
    found = make_queries("regions", units, ["prf"])
    assert drives(found) == {"V1": [0], "no region": [1, 2, 3]}


def test_categorical_labels_keep_the_order_of_their_categories():
    labels = pd.Categorical(["c", "a", None, "c"], categories=["unused", "a", "b", "c"])
    found = make_queries("regions", table(prf=labels), ["prf"])
    assert drives(found) == {"a": [1], "c": [0, 3], "no region": [2]}
    assert found.names == ("a", "c", "no region")


def test_a_label_of_two_families_is_told_apart():
    units = table(one=["V1", "", "x"], two=["", "V1", "V1"])
    found = make_queries("regions", units, ["one", "two"])
    assert drives(found) == {"one:V1": [0], "x": [2], "two:V1": [1, 2]}


def test_chosen_regions_may_be_unions_families_and_labels():
    units = table(
        prf=["V1v", "V1d", "V2v", "hV4", "", ""],
        floc=["", "", "", "FFA-1", "FFA-2", ""],
        words=["", "", "", "", "OWFA", "OWFA"],
    )
    families = ["prf", "floc", "words"]
    chosen = ["FFA", "V1", "words", "prf:hV4"]
    found = make_queries("regions", units, families, regions=chosen)
    assert drives(found) == {
        "FFA": [3, 4],
        "V1": [0, 1],
        "words": [4, 5],
        "prf:hV4": [3],
        "no region": [2],
    }
    assert found.names[:4] == tuple(chosen)


def test_without_chosen_regions_all_units_share_the_query_of_the_rest():
    units = table(["lh", "rh"], prf=["V1", "V1"])
    found = make_queries("regions", units, ["prf"], regions=[])
    assert drives(found) == {"lh no region": [0], "rh no region": [1]}
    assert make_queries("regions", units).names == found.names


def test_hemispheres_have_one_query_each():
    units = table(["rh", "lh", "rh"], prf=["a", "b", "c"])
    assert drives(make_queries("hemispheres", units)) == {"lh": [1], "rh": [0, 2]}
    one = make_queries("hemispheres", units[units["hemisphere"] == "rh"])
    assert drives(one) == {"rh": [0, 1]}
    alone = make_queries("hemispheres", units.drop(columns="hemisphere"))
    assert drives(alone) == {"all units": [0, 1, 2]}


def test_units_have_queries_with_their_names_and_no_mask():
    found = make_queries("units", table(["rh", "lh"], prf=["a", "b"]))
    assert (found.names, found.mask) == (("u0", "u1"), None)
    sets, pattern = found.patterns()
    assert sets.tolist() == np.eye(2, dtype=bool).tolist()
    assert pattern.tolist() == [0, 1]
    assert found.per_unit.tolist() == [1, 1]


def test_simulated_nsd_has_the_published_queries_in_their_order(tmp_path):
    n = n_pictures(1, 1)
    kinds = np.array(["body", "face", "object", "place", "word"])
    tree = simulate_nsd(
        tmp_path / "nsd",
        [np.full((8, 8, 3), i % 251, np.uint8) for i in range(n)],
        pd.DataFrame({"category": kinds[np.arange(n) % 5]}),
        n_subjects=1,
        n_sessions=1,
        spaces=("fsaverage",),
        n_vertices=(2562, 2562),
        picture_px=16,
    )
    units = load_nsd(tree, 1, space="fsaverage", families=FAMILIES).units
    found = make_queries("regions", units, FAMILIES)
    own = (*PUBLISHED_REGIONS, "no region")
    assert found.names == tuple(f"{h} {name}" for h in ("lh", "rh") for name in own)
    assert found.n_queries == 50
    side = units["hemisphere"].to_numpy()
    for name, row in zip(found.names, found.mask, strict=True):
        half, _, label = name.partition(" ")
        labels = units[list(FAMILIES)].astype(object)
        inside = labels.eq(label).any(axis=1)
        if label == "no region":
            inside = ~labels.isin(PUBLISHED_REGIONS).any(axis=1)
        assert np.array_equal(row, inside.to_numpy() & (side == half)), name
    again = make_queries("regions", units, FAMILIES, regions=PUBLISHED_REGIONS)
    assert again.names == found.names
    assert np.array_equal(again.mask, found.mask)


# ------------------------------------------------------------------------- masks


def test_masks_of_hemispheres_are_joined_and_lost_units_get_a_query():
    masks = {"lh": [[1, 0, 0], [1, 1, 0]], "rh": [[0, 1], [0, 0]]}
    found = queries_from_masks(masks)
    assert drives(found) == {
        "lh 0": [0],
        "lh 1": [0, 1],
        "lh no region": [2],
        "rh 0": [4],
        "rh 1": [],
        "rh no region": [3],
    }


def test_patterns_tell_the_set_of_queries_of_every_unit():
    mask = np.random.default_rng(0).random((4, 60)) < 0.4
    mask[0] |= ~mask.any(axis=0)
    queries = UnitQueries(("a", "b", "c", "d"), 60, mask)
    sets, pattern = queries.patterns()
    assert len(np.unique(sets, axis=0)) == len(sets)
    assert np.array_equal(sets[pattern].T, mask)
    assert np.array_equal(queries.per_unit, mask.sum(axis=0))


def test_queries_keep_a_copy_of_the_mask_that_nobody_can_change():
    mask = np.ones((1, 2), bool)
    queries = UnitQueries(("a",), 2, mask)
    mask[0, 0] = False
    assert queries.mask.all()
    with pytest.raises(ValueError, match="read-only"):
        queries.mask[0, 0] = False


# ------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("a",), 2, None), "`names` has 1 entries for 2 units"),
        ((("a",), 0, None), "`n_units`"),
        ((("a",), 2, [[1, 0]]), r"1 units have no query \(the first is unit 1\)"),
        ((("a", "b"), 2, [[1, 1]]), r"`mask`.*\(2, 2\)"),
        ((("a",), 2, [[1, 2]]), "must hold True and False"),
        ((("a",), 2, [[1, np.nan]]), "True and False"),
    ],
)
def test_queries_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        UnitQueries(*arguments)


def test_unknown_kinds_regions_and_hemispheres_are_refused():
    units = table(["lh", "rh"], prf=["V1", "V1"])
    with pytest.raises(ValueError, match="`queries`"):
        make_queries("region", units)
    with pytest.raises(KeyError, match="no region 'V9'"):
        make_queries("regions", units, ["prf"], regions=["V9"])
    with pytest.raises(ValueError, match="`hemisphere`"):
        make_queries("regions", units.assign(hemisphere=["lh", "left"]), ["prf"])
    with pytest.raises(ValueError, match="floc"):
        make_queries("regions", units, ["floc"])
    twice = units.assign(floc="V1")
    with pytest.raises(ValueError, match="'prf:V1' or 'floc:V1'"):
        make_queries("regions", twice, ["prf", "floc"], regions=["V1"])


@pytest.mark.parametrize("kind", ["regions", "hemispheres", "units"])
def test_a_table_without_units_is_refused(kind):
    units = table(["lh"], prf=["V1"])[:0]
    with pytest.raises(ValueError, match=r"`len\(units\)` must be"):
        make_queries(kind, units, ["prf"])


def test_published_regions_are_those_that_occur_in_the_published_order():
    units = pd.DataFrame(
        {
            "unit_id": list("abcd"),
            "floc": ["FFA-1", "", "EBA", ""],
            "prf": ["", "hV4", "", ""],
            "streams": ["ventral"] * 4,
        }
    )
    queries = make_queries(
        "regions", units, ["floc", "prf", "streams"], regions="published"
    )
    assert queries.names == ("hV4", "EBA", "FFA-1", "no region")
    with pytest.raises(ValueError, match="`regions` must be"):
        make_queries("regions", units, ["floc"], regions="publish")
