"""Responses of units: averages, repeats, and files that survive."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurovis.core import unit_responses
from neurovis.core.brain_space import SurfaceSpace, VolumeSpace
from neurovis.core.errors import DataCorruptError
from neurovis.core.unit_responses import (
    UnitResponses,
    open_responses,
    save_responses,
)

VOLUME = VolumeSpace("v", (3, 4, 2), np.diag([1.8, 1.8, 1.8, 1.0]))
SURFACE = SurfaceSpace("s", (6, 7))


def responses_of(ids, n_repeats=1, *, n_units=5, space=VOLUME, seed=0, **columns):
    rng = np.random.default_rng(seed)
    betas = rng.normal(size=(len(ids), n_units)).astype(np.float32)
    stimuli = pd.DataFrame({"stimulus_id": ids, "n_repeats": n_repeats, **columns})
    n_places = space.n_units if space else n_units
    place = rng.choice(n_places, n_units, replace=False)
    units = (
        space.locate(place)
        if space
        else pd.DataFrame({"unit_id": [f"u{i}" for i in range(n_units)]})
    )
    labels = ["V1v", "", "V1d", None, "hV4"]
    units["prf"] = pd.Series(list(itertools.islice(itertools.cycle(labels), n_units)))
    units["ncsnr"] = np.linspace(0, 1, n_units)
    return UnitResponses(
        name="made",
        subject="subj01",
        betas=betas,
        stimuli=stimuli,
        units=units,
        families=("prf",),
        space=space,
        response_unit="z-score",
        fingerprints={"a.nii": "ab12"},
        notes=("made up",),
    )


def numbered_pictures(n):
    return [np.full((2, 2, 3), i, np.uint8) for i in range(n)]


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours.betas, theirs.betas)
    pd.testing.assert_frame_equal(ours.stimuli, theirs.stimuli)
    pd.testing.assert_frame_equal(ours.units, theirs.units)
    for name in ("name", "subject", "families", "space", "response_unit", "notes"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert dict(ours.fingerprints) == dict(theirs.fingerprints)


# ----------------------------------------------------------------------- averages


@given(
    st.lists(
        st.tuples(st.sampled_from("dacb"), st.integers(1, 4)), min_size=1, max_size=12
    )
)
def test_an_average_is_weighted_by_trials_and_sorted_by_identity(rows):
    ids, n_repeats = (list(part) for part in zip(*rows, strict=True))
    single = responses_of(ids, n_repeats)
    averaged = single.average()
    assert averaged.stimuli["stimulus_id"].tolist() == sorted(set(ids))
    assert averaged.is_averaged
    for i, name in enumerate(sorted(set(ids))):
        rows = [r for r, each in enumerate(ids) if each == name]
        weights = np.array(n_repeats)[rows]
        trials = np.repeat(single.betas[rows].astype(np.float64), weights, axis=0)
        np.testing.assert_allclose(averaged.betas[i], trials.mean(axis=0), rtol=1e-6)
        assert averaged.stimuli["n_repeats"].iloc[i] == weights.sum()
    pd.testing.assert_frame_equal(averaged.units, single.units)


def test_an_average_of_averages_changes_nothing():
    once = responses_of(list("dacbadda"), n_units=5).average()
    assert_same(once.average(), once)
    assert once.betas.dtype == np.float32


def test_averages_do_not_depend_on_the_blocks_of_units(monkeypatch):
    single = responses_of(list("dacbadda"), [1, 2, 3, 1, 1, 1, 2, 1], n_units=20)
    whole = single.average()
    monkeypatch.setattr(unit_responses, "_VALUES_AT_ONCE", 8 * 3)
    np.testing.assert_array_equal(single.average().betas, whole.betas)


def test_an_average_with_an_undefined_trial_is_undefined():
    single = responses_of(list("aab"))
    single.betas[1, 2] = np.nan
    undefined = np.isnan(single.average().betas)
    assert np.argwhere(undefined).tolist() == [[0, 2]]


def test_columns_that_differ_between_trials_leave_the_average():
    averaged = responses_of(
        list("abab"),
        nsd_id=[7, 3, 7, 3],
        shared=[True, False, True, False],
        unknown=[np.nan, 1.0, np.nan, 1.0],
        half_known=[np.nan, 1.0, 2.0, 1.0],
        half_right=pd.array([True, None, None, None], dtype="boolean"),
        all_right=pd.array([True, None, True, None], dtype="boolean"),
        session=[1, 1, 2, 2],
        category=pd.Categorical(["x", "y", "x", "y"]),
    ).average()
    kept = "stimulus_id n_repeats nsd_id shared unknown all_right category"
    assert averaged.stimuli.columns.tolist() == kept.split()
    assert averaged.stimuli["nsd_id"].tolist() == [7, 3]


def test_each_average_keeps_the_picture_of_its_stimulus():
    single = responses_of(list("caab"))
    pictures = numbered_pictures(4)
    averaged = UnitResponses(
        "d", "s", single.betas, single.stimuli, single.units, pictures=pictures
    ).average()
    assert [int(p[0, 0, 0]) for p in averaged.pictures] == [1, 3, 0]
    part = averaged.select_stimuli([2, 0])
    assert [int(p[0, 0, 0]) for p in part.pictures] == [0, 1]


def test_no_rows_and_no_units_are_averaged_too():
    assert responses_of([]).average().betas.shape == (0, 5)
    none = responses_of(list("aab"), n_units=0).average()
    assert none.betas.shape == (2, 0)
    assert none.stimuli["n_repeats"].tolist() == [2, 1]


# ------------------------------------------------------------------------ repeats


def test_repeats_are_gathered_in_the_order_of_time():
    ids = list("bacabcbad")
    single = responses_of(ids)
    single.betas[:, 0] = np.arange(9)
    three, names = single.repeats(3)
    assert names.tolist() == ["a", "b"]
    assert three[:, :, 0].tolist() == [[1, 3, 7], [0, 4, 6]]
    two, names = single.repeats(2)
    assert names.tolist() == ["c"]
    assert two[:, :, 0].tolist() == [[2, 5]]
    assert two.shape == (1, 2, 5)


def test_repeats_and_averages_do_not_read_the_index_of_the_table():
    single = responses_of(list("bacabcbad"))
    moved = UnitResponses(
        "d",
        "s",
        single.betas,
        single.stimuli.set_axis(range(40, 31, -1)),
        single.units,
    )
    np.testing.assert_array_equal(moved.repeats(3)[0], single.repeats(3)[0])
    np.testing.assert_array_equal(moved.average().betas, single.average().betas)
    assert moved.repeats(3)[1].tolist() == ["a", "b"]


def test_repeats_that_are_not_there_are_refused():
    single = responses_of(list("aab"))
    with pytest.raises(ValueError, match=r"exactly 3 times.*are \[1, 2\]"):
        single.repeats(3)
    with pytest.raises(ValueError, match="within"):
        single.repeats(1)
    with pytest.raises(ValueError, match="Load the data without averaging"):
        single.average().repeats(2)


# ---------------------------------------------------------------------- selection


def test_units_are_selected_by_rows_masks_and_regions():
    whole = responses_of(list("ab"))
    assert whole.regions() == {"prf": ["V1v", "V1d", "hV4"]}
    for which, rows in [
        ("V1", [0, 2]),
        ("prf", [0, 2, 4]),
        ([3, 0], [3, 0]),
        (whole.units["ncsnr"] > 0.4, [2, 3, 4]),
        (whole.in_region("hV4"), [4]),
        (1, [1]),
        ([], []),
    ]:
        part = whole.select_units(which)
        np.testing.assert_array_equal(part.betas, whole.betas[:, rows])
        wanted = whole.units["unit_id"].iloc[rows]
        assert part.units["unit_id"].tolist() == wanted.tolist()
        assert part.units.index.tolist() == list(range(len(rows)))
        assert part.n_units == len(rows)


def test_stimuli_are_selected_by_rows_and_masks():
    whole = responses_of(list("abcd"))
    for which, rows in [([3, 1], [3, 1]), ([], []), (whole.stimuli.index > 1, [2, 3])]:
        part = whole.select_stimuli(which)
        np.testing.assert_array_equal(part.betas, whole.betas[rows])
        assert part.stimuli["stimulus_id"].tolist() == [list("abcd")[r] for r in rows]
        assert len(part) == len(rows)


def test_a_selection_that_does_not_fit_is_refused():
    whole = responses_of(list("ab"))
    with pytest.raises(IndexError):
        whole.select_units([5])
    with pytest.raises(IndexError):
        whole.select_units([True, False])
    with pytest.raises(IndexError):
        whole.select_stimuli([2])
    with pytest.raises(KeyError, match="no region 'V5'"):
        whole.select_units("V5")


@pytest.mark.parametrize("space", [VOLUME, SURFACE])
def test_values_go_back_to_the_places_of_their_units(space):
    responses = responses_of(list("ab"), space=space)
    maps = responses.to_maps(responses.units["ncsnr"])
    whole = np.concatenate([part.ravel(order="F") for part in maps.values()])
    assert np.isfinite(whole).sum() == 5
    for value, unit in zip(
        responses.units["ncsnr"], responses.units.index, strict=True
    ):
        row = responses.units.loc[unit]
        at = (
            maps["volume"][row["x"], row["y"], row["z"]]
            if space is VOLUME
            else maps[row["hemisphere"]][row["vertex"]]
        )
        assert at == value


def test_units_of_unknown_place_make_no_map():
    with pytest.raises(ValueError, match="no known place"):
        responses_of(list("ab"), space=None).to_maps(np.zeros(5))


# -------------------------------------------------------------------------- checks


def test_parts_that_do_not_match_are_refused():
    good = responses_of(list("aab"))

    def make(**changes):
        parts = {
            "name": "d",
            "subject": "s",
            "betas": good.betas,
            "stimuli": good.stimuli,
            "units": good.units,
        }
        return UnitResponses(**{**parts, **changes})

    ids = good.units["unit_id"].tolist()
    two = pd.DataFrame({"stimulus_id": ["a", None, "b"], "n_repeats": 1})
    for error, message, changes in [
        (ValueError, r"shape \(3, 4\).*need \(3, 5\)", {"betas": good.betas[:, :4]}),
        (
            TypeError,
            "must hold floats; got dtype int16",
            {"betas": np.ones((3, 5), np.int16)},
        ),
        (
            ValueError,
            "repeats unit_id",
            {"units": good.units.assign(unit_id=ids[:1] * 5)},
        ),
        (ValueError, "without a stimulus_id", {"stimuli": two}),
        (ValueError, "2 pictures for 3 rows", {"pictures": numbered_pictures(2)}),
        (ValueError, r"lacks the columns \['streams'\]", {"families": ("streams",)}),
        (ValueError, "outside the space", {"space": VolumeSpace("v", (1, 1, 1))}),
        (ValueError, "lacks the columns", {"space": SURFACE}),
        *(
            (
                ValueError,
                "whole numbers >= 1",
                {"stimuli": good.stimuli.assign(n_repeats=wrong)},
            )
            for wrong in (0, 1.5, np.nan)
        ),
    ]:
        with pytest.raises(error, match=message):
            make(**changes)


def test_responses_describe_themselves_without_reading_betas():
    averaged = responses_of(list("aab")).average()
    assert averaged.describe() == [
        "made subj01: 2 rows of 2 stimuli, 5 units, z-score",
        "rows by trials averaged: 1 of 2, 1 of 1",
        "prf: V1v 1, V1d 1, hV4 1",
        "ncsnr: median 0.500 over 5 units",
        "note: made up",
    ]


# --------------------------------------------------------------------------- files


@settings(max_examples=10)
@given(st.integers(0, 5), st.integers(0, 6), st.sampled_from([VOLUME, SURFACE, None]))
def test_saved_responses_come_back_equal(tmp_path_factory, n_rows, n_units, space):
    folder = tmp_path_factory.mktemp("saved") / "new"
    responses = responses_of(
        [f"s{i}" for i in range(n_rows)], n_units=n_units, space=space
    )
    save_responses(folder, responses)
    assert_same(open_responses(folder), responses)


def test_saved_betas_lie_unit_by_unit_and_are_not_read_until_indexed(tmp_path):
    responses = responses_of([f"s{i}" for i in range(4)])
    save_responses(tmp_path, responses)
    opened = open_responses(tmp_path, pictures=numbered_pictures(4))
    assert isinstance(opened.betas, np.memmap)
    assert opened.betas.flags.f_contiguous
    assert not opened.betas.flags.writeable
    raw = (tmp_path / "betas.npy").read_bytes()[-4 * 5 * 4 :]
    stored = np.frombuffer(raw, "<f4").reshape(5, 4)
    np.testing.assert_array_equal(stored, responses.betas.T)
    part = opened.select_units("V1")
    assert not isinstance(part.betas, np.memmap)
    np.testing.assert_array_equal(part.betas, responses.select_units("V1").betas)
    assert len(opened.pictures) == 4


def test_opened_responses_can_replace_themselves(tmp_path):
    responses = responses_of(list("aab"))
    save_responses(tmp_path, responses)
    opened = open_responses(tmp_path)
    save_responses(tmp_path, opened.average())
    assert_same(open_responses(tmp_path), responses.average())


@pytest.mark.parametrize("part", ["stimuli", "units", "notes"])
def test_a_save_that_stops_half_way_leaves_no_mixture(tmp_path, part):
    save_responses(tmp_path, responses_of(list("aab")))
    new = responses_of(list("xxy"), seed=1)
    unwritable = (object(),)
    if part != "notes":
        unwritable = getattr(new, part).assign(odd=lambda t: [object()] * len(t))
    with pytest.raises((TypeError, ValueError)):
        save_responses(tmp_path, replace(new, **{part: unwritable}))
    with pytest.raises(FileNotFoundError, match=r"responses\.json"):
        open_responses(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:100],
        lambda raw: raw[:3],
        lambda raw: b"",
        lambda raw: raw + b"more",
        lambda raw: b"PK" + raw[2:],
    ],
    ids=["one byte short", "no data", "no header", "empty", "too long", "other kind"],
)
def test_a_damaged_array_is_told(tmp_path, damage):
    save_responses(tmp_path, responses_of(list("aab")))
    path = tmp_path / "betas.npy"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataCorruptError, match=r"betas\.npy is not a readable NumPy"):
        open_responses(tmp_path)


def test_an_array_of_objects_is_never_loaded(tmp_path):
    save_responses(tmp_path, responses_of(list("aab")))
    objects = np.array([["x"] * 5] * 3, object)
    np.save(tmp_path / "betas.npy", objects, allow_pickle=True)
    with pytest.raises(DataCorruptError, match="Python objects"):
        open_responses(tmp_path)


@pytest.mark.parametrize("name", ["stimuli.parquet", "units.parquet", "responses.json"])
def test_cut_tables_are_told(tmp_path, name):
    save_responses(tmp_path, responses_of(list("aab")))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataCorruptError, match=name.replace(".", r"\.")):
        open_responses(tmp_path)


@pytest.mark.parametrize(
    "name", ["betas.npy", "stimuli.parquet", "units.parquet", "responses.json"]
)
def test_a_missing_file_is_told(tmp_path, name):
    save_responses(tmp_path, responses_of(list("aab")))
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        open_responses(tmp_path)
    with pytest.raises(FileNotFoundError, match="existing folder"):
        open_responses(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["betas.npy", "stimuli.parquet", "units.parquet"])
def test_files_of_two_recordings_do_not_belong_together(tmp_path, name):
    save_responses(tmp_path / "a", responses_of(list("aab")))
    save_responses(tmp_path / "b", responses_of(list("aabb"), n_units=6))
    (tmp_path / "b" / name).replace(tmp_path / "a" / name)
    with pytest.raises(DataCorruptError, match="do not belong together"):
        open_responses(tmp_path / "a")


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"space": 3}', '{"space": {"name": "v"}}', "null"]
)
def test_meta_data_of_another_form_are_told(tmp_path, text):
    save_responses(tmp_path, responses_of(list("aab")))
    (tmp_path / "responses.json").write_text(text)
    with pytest.raises(DataCorruptError, match="do not belong together"):
        open_responses(tmp_path)
