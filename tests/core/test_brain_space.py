"""Places of units: numbering, and the way back onto the brain."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurovis.core.brain_space import (
    SurfaceSpace,
    VolumeSpace,
    describe_space,
    flat_places,
    read_space,
    unit_maps,
)

SIZES = st.integers(1, 6)
VOLUMES = st.builds(VolumeSpace, st.just("v"), st.tuples(SIZES, SIZES, SIZES))
SURFACES = st.builds(SurfaceSpace, st.just("s"), st.tuples(SIZES, SIZES))


@st.composite
def located(draw):
    """A space and some of its places in any order."""
    space = draw(st.one_of(VOLUMES, SURFACES))
    places = st.integers(0, space.n_units - 1)
    return space, draw(st.lists(places, unique=True))


@given(located())
def test_flat_places_is_the_inverse_of_locate(case):
    space, flat = case
    units = space.locate(flat)
    assert flat_places(units, space).tolist() == flat
    assert units["unit_id"].is_unique


@given(located(), st.randoms())
def test_a_map_holds_each_value_at_its_place_and_nothing_elsewhere(case, random):
    space, flat = case
    random.shuffle(flat)
    values = np.arange(len(flat)) + 0.25
    maps = unit_maps(values, space.locate(flat), space, fill=-1)
    whole = np.concatenate([part.ravel(order="F") for part in maps.values()])
    assert whole.dtype == np.float64
    np.testing.assert_array_equal(whole[flat], values)
    assert (np.delete(whole, flat) == -1).all()


def test_x_runs_fastest_in_a_volume_as_in_nifti():
    space = VolumeSpace("v", (3, 4, 5))
    units = space.locate([0, 1, 3, 12, 59])
    assert units["x"].tolist() == [0, 1, 0, 0, 2]
    assert units["y"].tolist() == [0, 0, 1, 0, 3]
    assert units["z"].tolist() == [0, 0, 0, 1, 4]
    assert units["unit_id"].iloc[-1] == "x2-y3-z4"
    volume = unit_maps([7.0], space.locate([1 + 3 * (2 + 4 * 3)]), space)["volume"]
    assert volume.shape == (3, 4, 5)
    assert np.argwhere(~np.isnan(volume)).tolist() == [[1, 2, 3]]


def test_places_agree_with_numpy_for_the_grid_of_a_subject():
    space = VolumeSpace("func1pt8mm", (81, 104, 83))
    flat = np.random.default_rng(0).integers(0, space.n_units, 50)
    grid = np.arange(space.n_units, dtype=np.int64).reshape(space.shape, order="F")
    units = space.locate(flat)
    np.testing.assert_array_equal(grid[units["x"], units["y"], units["z"]], flat)


def test_left_vertices_come_before_right_ones():
    space = SurfaceSpace("fsaverage5", (10, 20))
    units = space.locate([9, 10, 29])
    assert units["unit_id"].tolist() == ["lh-9", "rh-0", "rh-19"]
    maps = unit_maps([1, 2, 3], units, space)
    assert {side: part.shape for side, part in maps.items()} == {
        "lh": (10,),
        "rh": (20,),
    }
    assert maps["lh"][9] == 1
    assert maps["rh"][[0, 19]].tolist() == [2, 3]


@pytest.mark.parametrize(
    "space", [VolumeSpace("v", (2, 2, 2)), SurfaceSpace("s", (4, 4))]
)
def test_places_outside_a_space_are_refused(space):
    for wrong in ([8], [-1]):
        with pytest.raises(ValueError, match="where 0 to 7 exist"):
            space.locate(wrong)
    units = space.locate([7])
    column = "x" if "x" in units else "vertex"
    with pytest.raises(ValueError, match="lie outside the space"):
        flat_places(units.assign(**{column: 9}), space)
    with pytest.raises(ValueError, match="lie outside the space"):
        flat_places(units.assign(**{column: -1}), space)


def test_a_mask_or_fractions_are_no_places():
    space = VolumeSpace("v", (2, 2, 2))
    with pytest.raises(TypeError, match="flatnonzero"):
        space.locate(np.ones(8, bool))
    with pytest.raises(TypeError, match="whole numbers"):
        space.locate([0.5])
    assert len(space.locate([])) == 0
    assert space.locate(np.array([7], np.uint16))["x"].tolist() == [1]


def test_a_hemisphere_of_another_name_is_not_taken_for_the_left():
    units = pd.DataFrame({"hemisphere": ["lh", "RH"], "vertex": [0, 0]})
    with pytest.raises(ValueError, match="'lh', 'rh'; got 'RH'"):
        flat_places(units, SurfaceSpace("s", (2, 2)))


def test_units_at_one_place_make_no_map():
    space = SurfaceSpace("s", (2, 2))
    with pytest.raises(ValueError, match="1 units at the place of another"):
        unit_maps([1, 2, 3], space.locate([0, 1, 0]), space)


def test_values_of_another_number_or_missing_columns_are_refused():
    space = SurfaceSpace("s", (2, 2))
    units = space.locate([0, 3])
    with pytest.raises(ValueError, match=r"`values` must have shape \(2\)"):
        unit_maps([1, 2, 3], units, space)
    with pytest.raises(ValueError, match="lacks the columns"):
        flat_places(units, VolumeSpace("v", (2, 2, 2)))


def test_spaces_are_equal_when_all_their_parts_are():
    shape, affine = (2, 3, 4), np.diag([1.8, 1.8, 1.8, 1])
    space = VolumeSpace("v", shape, affine)
    assert space == VolumeSpace("v", shape, affine.copy())
    assert hash(space) == hash(VolumeSpace("v", shape, affine.tolist()))
    assert space != VolumeSpace("v", shape)
    assert space != VolumeSpace("v", shape, 2 * affine)
    assert VolumeSpace("v", shape) == VolumeSpace("v", shape)
    assert space != SurfaceSpace("v", (2, 3))


def test_impossible_spaces_are_refused():
    with pytest.raises(ValueError, match="three numbers"):
        VolumeSpace("v", (2, 3))
    with pytest.raises(ValueError, match="within"):
        VolumeSpace("v", (2, 3, 0))
    with pytest.raises(ValueError, match=r"shape \(4, 4\)"):
        VolumeSpace("v", (2, 3, 4), np.eye(3))
    with pytest.raises(ValueError, match="two numbers"):
        SurfaceSpace("s", (3,))
    with pytest.raises(ValueError, match="whole number"):
        SurfaceSpace("s", (3, 1.5))


@pytest.mark.parametrize(
    "space",
    [
        None,
        SurfaceSpace("s", (2, 3)),
        VolumeSpace("v", (2, 3, 4)),
        VolumeSpace("v", (2, 3, 4), np.diag([1.8, 1.8, 1.8, 1])),
    ],
)
def test_spaces_are_read_back_from_json(space):
    text = json.dumps(describe_space(space))
    assert read_space(json.loads(text)) == space
