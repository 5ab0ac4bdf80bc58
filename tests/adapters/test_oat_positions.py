"""Codes of places whose similarity is a Gaussian of their distance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurovis.adapters.oat_positions import (
    ROW_NORM,
    SIGMA,
    place_codes,
    position_codes,
    position_table,
)


def cosines(codes):
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    return unit @ unit.T


def gaussian(places, sigma):
    return np.exp(-((np.subtract.outer(places, places)) ** 2) / (2 * sigma**2))


# ------------------------------------------------------------------------ table


@pytest.mark.parametrize("n_places", [1, 11, 14, 86])
@pytest.mark.parametrize("sigma", [1.5, 2.0, 2.5])
def test_similarity_of_rows_is_a_gaussian_of_their_distance(n_places, sigma):
    # The published tables, fitted by gradient descent, are off by up to 5e-4.
    table = position_table(n_places, sigma=sigma)
    assert table.shape == (n_places, 86)
    assert np.abs(cosines(table) - gaussian(np.arange(n_places), sigma)).max() < 1e-13


def test_all_rows_have_the_length_of_the_published_ones():
    lengths = np.linalg.norm(position_table(14), axis=1)
    np.testing.assert_allclose(lengths, 8.764, rtol=0, atol=1e-12)
    assert ROW_NORM == 8.764
    lengths = np.linalg.norm(position_table(11, norm=5.895), axis=1)
    np.testing.assert_allclose(lengths, 5.895, rtol=0, atol=1e-12)


def test_first_rows_do_not_depend_on_how_many_there_are():
    np.testing.assert_array_equal(position_table(14)[:11], position_table(11))


def test_rows_are_spread_over_all_columns():
    # Cut to 84 columns, a code keeps most of its length: the mass is not in a few.
    table = position_table(14)
    kept = np.linalg.norm(table[:, :84], axis=1) / ROW_NORM
    assert kept.min() > 0.95
    mass = (table**2).sum(axis=0)
    assert mass.max() < 0.1 * mass.sum()


def test_another_seed_turns_the_codes_and_keeps_their_similarities():
    one, other = position_table(14), position_table(14, seed=1)
    assert np.abs(one - other).max() > 1
    np.testing.assert_allclose(cosines(one), cosines(other), atol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_places": 0}, "`n_places`"),
        ({"n_places": 87}, "`n_places`"),
        ({"n_places": 5.5}, "`n_places` must be a whole number"),
        ({"n_places": 5, "sigma": 0.4}, "`sigma`"),
        ({"n_places": 5, "sigma": 3.1}, "`sigma`"),
        ({"n_places": 5, "norm": 0.0}, "`norm`"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        position_table(**arguments)


# --------------------------------------------------------------- between places


@given(
    st.lists(st.floats(0, 21), min_size=1, max_size=6),
    st.sampled_from([22, 86]),
)
def test_similarity_between_whole_numbers_is_nearly_the_gaussian(places, width):
    codes = place_codes(places, width=width)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), ROW_NORM)
    found = cosines(codes) - gaussian(np.array(places), SIGMA)
    assert np.abs(found).max() < 2e-5


def test_codes_of_whole_numbers_are_rows_of_the_table_to_the_last_bit():
    places = [5.0, 0.0, 13.0, 5.0, 7.25]
    codes = place_codes(places)
    np.testing.assert_array_equal(codes[:4], position_table(14)[[5, 0, 13, 5]])
    np.testing.assert_array_equal(place_codes(np.zeros(0)), np.zeros((0, 86)))


def test_codes_are_continuous_at_whole_numbers():
    near = place_codes([4 - 1e-9, 4 + 1e-9])
    np.testing.assert_allclose(near, position_table(5)[[4, 4]], atol=1e-7)


@pytest.mark.parametrize("places", [[-0.01], [85.01], [np.nan], [np.inf]])
def test_places_outside_the_table_are_refused(places):
    with pytest.raises(ValueError, match=r"`places` must lie in 0\.\.85.* too many"):
        place_codes(places)


# ------------------------------------------------------------------ three parts


def test_a_code_is_row_column_and_flag_cut_to_256():
    table = position_table(14)
    codes = position_codes([[5, 13], [0, 2]], [0, 1])
    assert codes.dtype == np.float32
    assert codes.shape == (2, 256)
    expected = [
        np.concatenate([table[5], table[13], table[0][:84]]),
        np.concatenate([table[0], table[2], table[1][:84]]),
    ]
    np.testing.assert_allclose(codes, expected, rtol=1e-6)


def test_narrower_codes_have_three_parts_of_a_third_each():
    codes = position_codes([[2, 3.5]], [1], width=64)
    parts = place_codes([2, 3.5, 1], width=22)
    np.testing.assert_allclose(codes[0], parts.ravel()[:64], rtol=1e-6)


def test_flags_other_than_0_and_1_are_refused():
    with pytest.raises(ValueError, match=r"`flags` must be 0 or 1; got \[0, 2\]"):
        position_codes([[0, 0], [0, 1]], [0, 2])


@pytest.mark.parametrize(
    ("coordinates", "flags", "name"),
    [([[0, 0, 0]], [0], "coordinates"), ([[0, 0]], [0, 1], "flags")],
)
def test_codes_of_arrays_of_another_shape_are_refused(coordinates, flags, name):
    with pytest.raises(ValueError, match=f"`{name}` must have shape"):
        position_codes(coordinates, flags)


def test_a_grid_too_large_for_the_width_is_refused():
    position_codes([[0, 21]], [0], width=64)
    with pytest.raises(ValueError, match=r"0\.\.21; .* too many rows or columns"):
        position_codes([[0, 22]], [0], width=64)
