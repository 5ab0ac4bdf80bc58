"""Block figures as strings: geometry, mirror images, all of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from stimuli.block_figures import (
    CUBE_SIDE,
    arm_lengths,
    bounding_radius,
    canonical_key,
    check_shape,
    crosses_itself,
    cube_cells,
    cube_centres,
    is_chiral,
    mirror_pair_key,
    mirror_shape,
    quarter_rotations,
    reverse_shape,
    shape_extent,
)
from stimuli.block_survey import draw_block_shapes, enumerate_shapes

STEPS = {
    **{"l": (-1, 0, 0), "r": (1, 0, 0), "d": (0, -1, 0)},
    **{"u": (0, 1, 0), "b": (0, 0, -1), "f": (0, 0, 1)},
}
strings = st.text(alphabet="lrdubf", min_size=1, max_size=9)
objects = strings.filter(lambda text: not crosses_itself(text))
# All rotations of an object take a while.
few = settings(max_examples=25)


@pytest.fixture(scope="module")
def survey():
    return enumerate_shapes()


def walk(shape):
    """The cells of a string, step by step."""
    cell, cells = (0, 0, 0), [(0, 0, 0)]
    for letter in shape:
        cell = tuple(a + b for a, b in zip(cell, STEPS[letter], strict=True))
        cells.append(cell)
    return cells


def turned_keys(shape):
    """Sorted cells of all rotations that scipy knows of the cube's group."""
    cells = np.array(walk(shape))
    keys = []
    for rotation in Rotation.create_group("O"):
        turned = np.rint(rotation.apply(cells)).astype(int)
        keys.append(sorted(map(tuple, (turned - turned.min(axis=0)).tolist())))
    return keys


# ------------------------------------------------------------------- one object


@given(strings)
def test_cells_are_the_walk_and_centres_have_their_mean_at_the_origin(shape):
    assert list(map(tuple, cube_cells(shape).tolist())) == walk(shape)
    centres = cube_centres(shape)
    np.testing.assert_allclose(centres.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(centres, axis=0), axis=1), CUBE_SIDE, atol=1e-12
    )
    np.testing.assert_allclose(shape_extent(shape), np.ptp(centres, axis=0), atol=1e-12)


def test_numbers_of_two_objects_stay_as_they_are():
    """Our own output where it agreed with an independent enumeration."""
    np.testing.assert_array_equal(
        cube_centres("uuubbrrrd")[[0, 9]], [[-1.8, -4.6, 2.2], [4.2, -0.6, -1.8]]
    )
    assert shape_extent("uuubbrrrd").tolist() == [6.0, 6.0, 4.0]
    assert reverse_shape("bbdddddfd") == "ubuuuuuff"
    assert mirror_shape("uubbbrruu") == "uufffrruu"
    assert arm_lengths("ubbbbddff") == [1, 4, 2, 2]
    assert [is_chiral(s) for s in ("uuubbrrrd", "bbdddddfd", "ubbbbddff")] == [
        True,
        False,
        False,
    ]


@given(strings)
def test_reversal_and_mirror_undo_themselves(shape):
    assert reverse_shape(reverse_shape(shape)) == shape
    assert mirror_shape(mirror_shape(shape)) == shape
    mirrored = cube_centres(shape) * [1, 1, -1]
    np.testing.assert_allclose(cube_centres(mirror_shape(shape)), mirrored, atol=1e-12)
    np.testing.assert_allclose(
        cube_centres(reverse_shape(shape)), cube_centres(shape)[::-1], atol=1e-12
    )


@given(strings)
def test_a_walk_crosses_itself_when_a_cell_comes_twice(shape):
    assert crosses_itself(shape) == (len(set(walk(shape))) < len(shape) + 1)


@few
@given(objects)
def test_the_key_is_the_smallest_of_all_rotations(shape):
    key = [list(cell) for cell in canonical_key(shape)]
    assert key == [list(cell) for cell in min(turned_keys(shape))]


@few
@given(objects, st.integers(0, 23))
def test_keys_do_not_change_with_rotation_or_reversal(shape, number):
    rotation = quarter_rotations()[number]
    letter_of = {step: letter for letter, step in STEPS.items()}
    turned = "".join(letter_of[tuple(rotation @ STEPS[c])] for c in shape)
    assert canonical_key(turned) == canonical_key(shape)
    assert canonical_key(reverse_shape(shape)) == canonical_key(shape)
    assert mirror_pair_key(mirror_shape(turned)) == mirror_pair_key(shape)


@few
@given(objects)
def test_an_object_is_achiral_when_a_rotation_makes_its_mirror_image(shape):
    cells = np.array(walk(mirror_shape(shape)))
    mirrored = sorted(map(tuple, (cells - cells.min(axis=0)).tolist()))
    assert is_chiral(shape) == (mirrored not in turned_keys(shape))


@few
@given(objects)
def test_the_sphere_holds_every_corner_and_touches_one(shape):
    corners = [
        centre + np.array(signs)
        for centre in cube_centres(shape)
        for signs in itertools.product((-1, 1), repeat=3)
    ]
    assert bounding_radius(shape) == pytest.approx(max(map(np.linalg.norm, corners)))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("uuxx", "lrdubf"),
        ("", "1 to 63 letters"),
        ("U", "lrdubf"),
        ("u" * 64, "1 to 63 letters"),
        ("urdl", "enters a cell twice"),
    ],
)
def test_strange_strings_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        check_shape("shape", shape)


def test_what_is_no_text_is_refused():
    with pytest.raises(TypeError, match="string of directions"):
        cube_cells(["u", "b"])


# ------------------------------------------------------------------ all objects


def test_ten_cubes_with_three_elbows_are_334_chiral_objects_in_167_pairs(survey):
    assert (survey.n_walks, survey.n_crossing) == (21504, 480)
    assert len(survey.objects) == 434
    assert (survey.n_chiral, survey.n_mirror_pairs) == (334, 167)


@pytest.mark.parametrize(("n_cubes", "n_elbows"), [(2, 0), (4, 1), (5, 2), (6, 3)])
def test_enumeration_agrees_with_all_strings_one_by_one(n_cubes, n_elbows):
    """Brute force over the whole alphabet, keys by scipy's rotations."""
    walks, crossing, keys = 0, 0, {}
    for letters in itertools.product("lrdubf", repeat=n_cubes - 1):
        bends = [a != b for a, b in itertools.pairwise(letters)]
        axes = [set(a + b) in ({"l", "r"}, {"d", "u"}, {"b", "f"})
                for a, b in itertools.pairwise(letters)]  # fmt: skip
        if sum(bends) != n_elbows or any(axes):
            continue
        walks += 1
        shape = "".join(letters)
        if len(set(walk(shape))) < n_cubes:
            crossing += 1
        elif shape.startswith("u") and shape.lstrip("u")[:1] in ("", "b"):
            keys.setdefault(tuple(min(turned_keys(shape))), shape)
    mirrored = {k: tuple(min(turned_keys(mirror_shape(s)))) for k, s in keys.items()}
    survey = enumerate_shapes(n_cubes, n_elbows)
    assert (survey.n_walks, survey.n_crossing) == (walks, crossing)
    assert len(survey.objects) == len(keys)
    assert survey.n_chiral == sum(k != m for k, m in mirrored.items())
    assert survey.objects["n_walks"].sum() == walks - crossing


def test_rows_tell_what_the_functions_tell(survey):
    some = survey.objects.iloc[::9]
    assert [is_chiral(shape) for shape in some["shape"]] == some["chiral"].tolist()
    for _, pair in survey.objects.groupby("mirror_pair"):
        assert len(pair) == 1 + int(pair["chiral"].iloc[0])
    pair = survey.objects[survey.objects["chiral"]].groupby("mirror_pair")["shape"]
    for _, (first, second) in itertools.islice(pair, 0, None, 20):
        assert canonical_key(mirror_shape(first)) == canonical_key(second)


def test_chiral_objects_span_three_axes_and_have_no_long_arm(survey):
    """So the further conditions of the default set leave none of ten cubes out."""
    for shape in survey.objects.loc[survey.objects["chiral"], "shape"]:
        assert (shape_extent(shape) > 0).all()
        assert len(set(arm_lengths(shape))) > 1
        assert max(arm_lengths(shape)) <= 6


def test_draws_are_chiral_of_distinct_pairs_and_a_longer_draw_begins_alike():
    shapes = draw_block_shapes(167, seed=4)
    assert len({mirror_pair_key(shape) for shape in shapes}) == 167
    assert all(is_chiral(shape) for shape in shapes)
    assert draw_block_shapes(9, seed=4) == shapes[:9]
    assert draw_block_shapes(9, seed=5) != shapes[:9]


def test_both_hands_are_drawn():
    """No mirror image is preferred: a draw holds about as many of each kind."""
    first = {min(part) for part in _pairs()}
    share = np.mean([shape in first for shape in draw_block_shapes(167)])
    assert 0.35 < share < 0.65


def _pairs():
    objects = enumerate_shapes().objects
    return objects[objects["chiral"]].groupby("mirror_pair")["shape"].apply(list)


def test_more_objects_than_there_are_are_refused():
    with pytest.raises(ValueError, match="at most 167"):
        draw_block_shapes(168)
    with pytest.raises(ValueError, match="at most 0, the mirror pairs"):
        draw_block_shapes(1, n_cubes=4, n_elbows=2)
    with pytest.raises(ValueError, match="`n_elbows` must be at most 1"):
        enumerate_shapes(3, 2)
