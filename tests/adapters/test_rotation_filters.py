"""Filters that turn, against loops over pixels, quarter turns, and torch's layers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurovis.adapters.rotation_filters import (
    RotationConv,
    pixel_basis,
    steerable_basis,
)

SIZES = [1, 3, 5, 7, 9]


def draw(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=shape))


def quarter(maps, n=1):
    return torch.rot90(maps, n, (-2, -1))


def members_by_loop(size, degrees):
    """Members of the basis, turned counter-clockwise, pixel by pixel."""
    reach, found = size // 2, []
    for ring in range(reach + 1):
        highest = 2 * ring - 1 if ring == reach else 2 * ring
        for m in range(max(highest, 0) + 1):
            parts = np.zeros((2, size, size))
            for row in range(size):
                for column in range(size):
                    x, y = column - reach, reach - row
                    r = np.hypot(x, y)
                    if r == 0 and m > 0:
                        continue
                    profile = np.exp(-0.5 * ((r - ring) / 0.45) ** 2)
                    angle = m * (np.arctan2(y, x) - np.radians(degrees))
                    parts[:, row, column] = profile * np.array(
                        [np.cos(angle), np.sin(angle)]
                    )
            parts = parts[: 1 + (m > 0)]
            found.extend(parts / np.sqrt((parts**2).sum() / len(parts)))
    return np.array(found)


# ----------------------------------------------------------------------- bases


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [1, 3, 8])
def test_the_steerable_basis_matches_a_loop_over_pixels(size, n):
    basis = steerable_basis(size, n).numpy()
    for g in range(n):
        expected = members_by_loop(size, 360 * g / n)
        np.testing.assert_allclose(basis[g], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [4, 8, 12])
def test_a_quarter_turn_of_the_basis_is_a_quarter_turn_of_the_grid(size, n):
    basis = steerable_basis(size, n)
    turned = basis.roll(-n // 4, 0)
    torch.testing.assert_close(turned, quarter(basis), rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [*SIZES, 15])
def test_no_member_of_the_basis_is_an_alias_of_others(size):
    flat = steerable_basis(size, 1)[0].flatten(1).numpy()
    assert np.linalg.matrix_rank(flat) == len(flat) <= size**2


@pytest.mark.parametrize("size", SIZES)
def test_the_norm_of_a_random_filter_does_not_depend_on_its_orientation(size):
    # Each pair of members has a mean sum of squares of 1 in every orientation.
    squares = steerable_basis(size, 16).square().sum((2, 3))
    whole = torch.full((16,), float(squares.shape[1]), dtype=torch.float64)
    torch.testing.assert_close(squares.sum(1), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_pixels_turn_as_the_grid_does(n):
    basis = pixel_basis(3, n)
    assert torch.equal(basis[0].flatten(1), torch.eye(9, dtype=torch.float64))
    for g in range(n):
        assert torch.equal(basis[g], quarter(basis[0], 4 * g // n))


# ---------------------------------------------------------------- convolutions


@pytest.mark.parametrize("filters", ["steerable", "pixels"])
def test_kernels_match_a_loop_over_fields_and_orientations(filters):
    n = 4
    layer = RotationConv(2, 3, 5, n, filters=filters, seed=3)
    make = steerable_basis if filters == "steerable" else pixel_basis
    basis, weight = make(5, n).numpy(), layer.weight.detach().numpy()
    expected = np.zeros((3 * n, 2 * n, 5, 5))
    for f in range(3):
        for g in range(n):
            for field in range(2):
                for h in range(n):
                    shares = weight[f, field, (h - g) % n]
                    kernel = sum(w * b for w, b in zip(shares, basis[g], strict=True))
                    expected[f * n + g, field * n + h] = kernel
    kernels = layer.kernels().detach().numpy()
    np.testing.assert_allclose(kernels, expected, rtol=0, atol=2e-6)


def test_the_filters_of_a_picture_are_one_filter_in_each_orientation():
    layer = RotationConv(3, 2, 5, 8, sees_picture=True, seed=1)
    expected = torch.einsum(
        "fcsb,gbxy->fgcxy", layer.weight.double(), steerable_basis(5, 8)
    ).flatten(0, 1)
    torch.testing.assert_close(layer.kernels().double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sees_picture", [True, False])
def test_with_one_orientation_pixels_are_an_ordinary_convolution(sees_picture):
    layer = RotationConv(3, 4, 5, 1, sees_picture=sees_picture, filters="pixels")
    plain = torch.nn.Conv2d(3, 4, 5, padding=2)
    with torch.no_grad():
        layer.bias.copy_(draw(4))
        plain.weight.copy_(layer.weight.reshape(4, 3, 5, 5))
        plain.bias.copy_(layer.bias)
    maps = draw(2, 3, 9, 12).float()
    torch.testing.assert_close(layer(maps), plain(maps), rtol=0, atol=1e-6)


@settings(max_examples=25)
@given(
    st.sampled_from([("steerable", 4), ("steerable", 8), ("pixels", 4)]),
    st.sampled_from(SIZES),
    st.booleans(),
    st.integers(1, 11),
    st.integers(0, 99),
)
def test_turning_the_input_by_a_quarter_turns_the_output(
    kind, size, sees_picture, side, seed
):
    filters, n = kind
    layer = RotationConv(
        2, 3, size, n, sees_picture=sees_picture, filters=filters, seed=seed
    ).double()
    with torch.no_grad():
        layer.bias.copy_(draw(3, seed=seed))
    maps = draw(1, 2, layer.n_in_orientations, side, side, seed=seed)
    moved = quarter(maps) if sees_picture else quarter(maps).roll(n // 4, 2)
    turned = layer(moved.flatten(1, 2)).unflatten(1, (3, n))
    expected = quarter(layer(maps.flatten(1, 2)).unflatten(1, (3, n))).roll(n // 4, 2)
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("filters", ["steerable", "pixels"])
@pytest.mark.parametrize("sees_picture", [True, False])
@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_noise_and_uniform_maps_keep_their_mean_square_at_the_start(
    size, filters, sees_picture
):
    layer = RotationConv(
        8, 400, size, 4, sees_picture=sees_picture, filters=filters, seed=size
    )
    n_channels = 8 * layer.n_in_orientations
    noise, uniform = draw(1, n_channels, 16, 16), draw(1, n_channels, 1, 1)
    uniform = (uniform / uniform.square().mean().sqrt()).expand(-1, -1, 16, 16)
    for maps in (noise / noise.square().mean().sqrt(), uniform):
        inner = layer(maps.float())[..., 3:-3, 3:-3]  # without the zeros around
        assert inner.square().mean().item() == pytest.approx(1, abs=0.2)


def test_the_gain_scales_the_initial_filters():
    one = RotationConv(2, 3, 3, 8, gain=1.0, seed=5).weight
    two = RotationConv(2, 3, 3, 8, gain=2.0, seed=5).weight
    torch.testing.assert_close(two, 2 * one)


def test_the_gradient_of_the_weights_is_that_of_finite_differences():
    layer = RotationConv(1, 2, 3, 4).double()
    maps = draw(1, 4, 5, 5)

    def output(weight, bias):
        given = {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, given, (maps,))

    weight, bias = (p.detach().requires_grad_() for p in layer.parameters())
    assert torch.autograd.gradcheck(output, (weight, bias))


def test_initial_filters_depend_on_seed_and_key_only():
    state = torch.get_rng_state()
    first = RotationConv(2, 3, 3, 8, seed=1, key=0).weight
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(RotationConv(2, 3, 3, 8, seed=1, key=0).weight, first)
    assert not torch.equal(RotationConv(2, 3, 3, 8, seed=2, key=0).weight, first)
    assert not torch.equal(RotationConv(2, 3, 3, 8, seed=1, key=1).weight, first)


def test_only_what_is_learnt_is_saved():
    assert set(RotationConv(2, 3, 3, 8).state_dict()) == {"weight", "bias"}
    layer = RotationConv(2, 3, 3, 8, has_bias=False)
    assert set(layer.state_dict()) == {"weight"}
    assert layer(torch.ones(1, 16, 4, 4)).shape == (1, 24, 4, 4)


# ---------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"size": 4}, ValueError, "`size` must be odd.*got 4. Use 3 or 5"),
        ({"size": 17}, ValueError, r"`size` must be within \[1, 15\]; got 17"),
        ({"size": "5"}, TypeError, "`size` must be a number"),
        ({"n_orientations": 0}, ValueError, "`n_orientations` must be within"),
        ({"n_orientations": 2.5}, ValueError, "`n_orientations` must be a whole"),
        ({"in_fields": 0}, ValueError, "`in_fields` must be within"),
        ({"out_fields": 1.5}, ValueError, "`out_fields` must be a whole number"),
        ({"gain": -1}, ValueError, "`gain` must be within"),
        ({"filters": "pixel"}, ValueError, "Did you mean 'pixels'"),
        ({"filters": "pixels"}, ValueError, "must be 1, 2 or 4.*got 8.*steerable"),
        ({"seed": -1}, ValueError, "`seed` must be 0 or more"),
    ],
)
def test_a_wrong_argument_gets_one_clear_error(change, error, message):
    given = {"in_fields": 2, "out_fields": 3, "size": 5, "n_orientations": 8}
    with pytest.raises(error, match=message):
        RotationConv(**(given | change))


@pytest.mark.parametrize("shape", [(1, 15, 4, 4), (16, 4, 4)])
def test_maps_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(n_images, 16, height, width\)"):
        RotationConv(2, 3, 3, 8)(torch.zeros(shape))
