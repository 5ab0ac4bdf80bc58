"""Views are undone exactly and keep noise noise; what they do, against plain NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import label

from neurovis.generation.views import VIEWS, View, make_view

RANDOM = ("patch-permutation", "pixel-permutation", "jigsaw")


def draw_noise(n=2, channels=3, size_px=32, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, size_px, size_px, generator=stream)


def number_pixels(size_px):
    return torch.arange(size_px**2).reshape(1, 1, size_px, size_px)


# ---------------------------------------------------------------- all views


@pytest.mark.parametrize("size_px", [32, 64])
@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_undone_bit_for_bit(name, size_px):
    view, x = make_view(name, size_px), draw_noise(size_px=size_px)
    assert torch.equal(view.invert(view.apply(x)), x)
    assert torch.equal(view.apply(view.invert(x)), x)
    assert torch.equal(view.map_noise_back(view.apply(x)), x)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_of_white_noise_is_white_noise(name):
    view, x = make_view(name, 32), draw_noise(64).double()
    seen = view.apply(x)
    assert seen.mean().abs() == pytest.approx(float(x.mean().abs()), abs=1e-12)
    assert float(seen.var()) == pytest.approx(float(x.var()), rel=1e-6)
    # No pixel goes with its neighbour: 1 / sqrt(n) is the chance level.
    for axis in (2, 3):
        pairs = seen * seen.roll(1, axis)
        assert abs(float(pairs.mean())) < 4 / np.sqrt(pairs.numel())


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_keeps_inner_products(name):
    view = make_view(name, 32)
    x, y = draw_noise().double(), draw_noise(seed=1).double()
    turned = (view.apply(x) * view.apply(y)).sum()
    assert float(turned) == pytest.approx(float((x * y).sum()), rel=1e-9)


@pytest.mark.parametrize("name", VIEWS)
def test_gradients_come_back_through_the_inverse(name):
    view, x = make_view(name, 32), draw_noise().requires_grad_()
    pull = draw_noise(seed=1)
    (view.apply(x) * pull).sum().backward()
    assert torch.equal(x.grad, view.invert(pull))


@pytest.mark.parametrize("name", VIEWS)
def test_pictures_are_seen_as_their_samples_are(name):
    view, images = make_view(name, 32), draw_noise().sigmoid()
    seen = view.apply_to_images(images)
    decoded = view.apply(2 * images - 1) / 2 + 0.5
    assert torch.allclose(seen, decoded, atol=1e-6)
    assert seen.min() >= 0
    assert seen.max() <= 1


@pytest.mark.parametrize("name", VIEWS)
def test_only_random_views_depend_on_the_seed(name):
    orders = [make_view(name, 32, seed).order for seed in (0, 0, 1)]
    assert torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2]) is (name not in RANDOM)


@given(st.integers(1, 6), st.integers(0, 2**31), st.sampled_from([1, -1]))
def test_any_order_of_pixels_is_undone(size_px, seed, sign):
    order = torch.from_numpy(np.random.default_rng(seed).permutation(size_px**2))
    view = View("own", order.reshape(size_px, size_px), sign)
    x = draw_noise(1, 2, size_px, seed)
    assert torch.equal(view.invert(view.apply(x)), x)
    assert view.size_px == size_px


# ---------------------------------------------------------------- each view


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", lambda x: x),
        ("vertical-flip", lambda x: np.flip(x, 2)),
        ("horizontal-flip", lambda x: np.flip(x, 3)),
        ("rotate-ccw", lambda x: np.rot90(x, 1, (2, 3))),
        ("rotate-cw", lambda x: np.rot90(x, -1, (2, 3))),
        ("rotate-180", lambda x: x[:, :, ::-1, ::-1]),
        ("negate", lambda x: -x),
    ],
)
@pytest.mark.parametrize("size_px", [2, 5, 32])
def test_flips_and_turns_are_those_of_numpy(name, expected, size_px):
    x = draw_noise(size_px=size_px)
    found = make_view(name, size_px).apply(x).numpy()
    assert np.array_equal(found, expected(x.numpy()))


@pytest.mark.parametrize("size_px", [8, 9, 32])
def test_skew_rolls_each_column_by_one_and_a_half_pixels_more(size_px):
    x = draw_noise(1, 1, size_px)
    found = make_view("skew", size_px).apply(x)[0, 0]
    for column in range(size_px):
        shift = int(1.5 * (column - size_px // 2))
        for row in range(size_px):
            assert found[(row + shift) % size_px, column] == x[0, 0, row, column]


@pytest.mark.parametrize("size_px", [31, 32, 64])
def test_the_inner_circle_turns_and_the_rest_stays(size_px):
    numbers = number_pixels(size_px)
    found = make_view("inner-circle", size_px).apply(numbers)[0, 0]
    centre, n_inside = (size_px - 1) / 2, 0
    for row in range(size_px):
        for column in range(size_px):
            inside = (row - centre) ** 2 + (column - centre) ** 2 < (
                3 / 8 * size_px
            ) ** 2
            n_inside += inside
            own = numbers[0, 0, row, column]
            other = numbers[0, 0, size_px - 1 - row, size_px - 1 - column]
            assert found[row, column] == (other if inside else own)
    assert n_inside == pytest.approx(np.pi * (3 / 8 * size_px) ** 2, rel=0.03)


@pytest.mark.parametrize(("size_px", "rim"), [(9, 0), (32, 1), (64, 0)])
def test_nine_squares_turn_and_neighbours_turn_against_each_other(size_px, rim):
    x = draw_noise(1, 1, size_px)[0, 0].numpy()
    found = make_view("square-hinge", size_px).apply(torch.from_numpy(x)[None, None])
    expected, side = x.copy(), size_px // 3
    for row in range(3):
        for column in range(3):
            rows = slice(rim + row * side, rim + (row + 1) * side)
            columns = slice(rim + column * side, rim + (column + 1) * side)
            turns = 3 if (row + column) % 2 == 0 else 1
            expected[rows, columns] = np.rot90(x[rows, columns], turns)
    assert np.array_equal(found[0, 0].numpy(), expected)


def test_patches_change_places_and_stay_whole():
    x = draw_noise(1, 1, 32)[0, 0].numpy()
    found = make_view("patch-permutation", 32).apply(torch.from_numpy(x)[None, None])
    squares = [(slice(i, i + 4), slice(j, j + 4)) for i, j in np.ndindex(32, 32)]
    squares = [s for s in squares if s[0].start % 4 == 0 == s[1].start % 4]
    before = {x[s].tobytes() for s in squares}
    after = [found[0, 0].numpy()[s] for s in squares]
    assert {patch.tobytes() for patch in after} == before
    assert len(before) == 64
    moved = [not np.array_equal(x[s], p) for s, p in zip(squares, after, strict=True)]
    assert sum(moved) > 50


def test_a_permutation_of_pixels_leaves_few_neighbours_together():
    found = make_view("pixel-permutation", 32).apply(number_pixels(32))[0, 0]
    assert torch.equal(found.flatten().sort().values, torch.arange(1024))
    assert (found[:, 1:] - found[:, :-1] == 1).float().mean() < 0.01


# ---------------------------------------------------------------- jigsaw


@pytest.mark.parametrize("size_px", [28, 32, 64, 100])
@pytest.mark.parametrize("seed", [0, 3])
def test_sixteen_whole_pieces_turn_and_change_places(size_px, seed):
    order = make_view("jigsaw", size_px, seed).order.numpy()
    least, covered, n_motions = 0.7 * (size_px // 4) ** 2, np.zeros_like(order), 0
    for turn in range(4):
        # Where a pixel came from, less where the turn alone would take it from: one
        # shift for all pixels of a piece.
        turned = np.rot90(np.arange(size_px**2).reshape(order.shape), turn)
        shift = np.stack(np.divmod(order, size_px)) - np.divmod(turned, size_px)
        shifts, n_of = np.unique(shift.reshape(2, -1), axis=1, return_counts=True)
        for found in shifts.T[n_of >= least]:
            moved, n_pieces = label((shift == found[:, None, None]).all(0))
            sizes = np.bincount(moved.ravel())[1:]
            for piece in range(n_pieces):
                if sizes[piece] >= least:
                    covered += moved == piece + 1
                    n_motions += 1
    # Neighbours that move together count as one.
    assert 8 <= n_motions <= 16
    assert (covered == 1).all()


def test_pieces_of_a_jigsaw_interlock_and_only_like_ones_change_places():
    rows, columns = np.indices((64, 64)) // 16
    cell = rows * 4 + columns
    border = np.array([0, 1, 1, 0, 1, 2, 2, 1, 1, 2, 2, 1, 0, 1, 1, 0])
    strange = np.zeros((10, 16))
    for seed in range(10):
        came = cell.ravel()[make_view("jigsaw", 64, seed).order.numpy()]
        # Middles of squares belong to one piece for sure.
        middle = came[8::16, 8::16].ravel()
        assert sorted(middle) == list(range(16))
        assert np.array_equal(border[middle], border)
        # Knobs come from another square than the middle.
        strange[seed] = [(came[cell == k] != middle[k]).mean() for k in range(16)]
    assert strange.max() < 0.3
    assert strange.mean(0).min() > 0.02


@pytest.mark.parametrize("seed", range(5))
def test_a_knob_crosses_the_middle_of_every_border_between_pieces(seed):
    order = make_view("jigsaw", 64, seed).order.numpy()
    rows, columns = order // 64, order % 64
    steps = [
        np.abs(places[15:63:16] - places[16:64:16])[:, 8::16]
        for source in (rows, columns)
        for places in (source, source.T)
    ]
    # Both sides come from neighbouring pixels, down and across.
    assert (steps[0] + steps[2] == 1).all()
    assert (steps[1] + steps[3] == 1).all()


def test_all_edge_pieces_of_a_jigsaw_come_to_all_edges():
    edges = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 2), (3, 1), (2, 0), (1, 0)]
    seen = set()
    for seed in range(200):
        order = make_view("jigsaw", 28, seed).order[3::7, 3::7]
        for i, j in edges:
            from_row, from_column = divmod(int(order[i, j]), 28)
            seen.add(((i, j), (from_row // 7, from_column // 7)))
    assert seen == {(a, b) for a in edges for b in edges}


# ---------------------------------------------------------------- noise channels


def test_negate_turns_the_sign_of_noise_but_not_of_variances():
    view, output = make_view("negate", 8), draw_noise(channels=6, size_px=8)
    found = view.map_noise_back(output, n_noise=3)
    assert torch.equal(found[:, :3], -output[:, :3])
    assert torch.equal(found[:, 3:], output[:, 3:])
    assert torch.equal(view.map_noise_back(output), -output)


def test_variances_change_places_with_the_noise():
    view, output = make_view("rotate-cw", 8), draw_noise(channels=6, size_px=8)
    assert torch.equal(view.map_noise_back(output, n_noise=3), view.invert(output))


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("name", "size_px", "error", "message"),
    [
        ("jigsaws", 32, ValueError, "Did you mean 'jigsaw'"),
        ("rotate", 32, ValueError, "`name` must be one of 'identity'"),
        ("jigsaw", 34, ValueError, "multiple of 4 for 'jigsaw'; got 34"),
        ("jigsaw", 16, ValueError, "at least 28 for a jigsaw; got 16"),
        ("patch-permutation", 33, ValueError, "multiple of 8"),
        ("identity", 2.5, ValueError, "whole number"),
        ("identity", 0, ValueError, r"\[2, inf\]"),
        ("identity", "32", TypeError, "`size_px` must be a number"),
    ],
)
def test_a_view_that_cannot_be_is_refused(name, size_px, error, message):
    with pytest.raises(error, match=message):
        make_view(name, size_px)


@pytest.mark.parametrize(
    ("order", "sign", "error", "message"),
    [
        ([[0, 0], [1, 2]], 1, ValueError, "each pixel of 0 to 3 once"),
        ([[0, 1], [2, 4]], 1, ValueError, "each pixel of 0 to 3 once"),
        ([[0, 1, 2]], 1, ValueError, r"square; got the shape \(1, 3\)"),
        ([[0.0]], 1, TypeError, "int64; got torch.float32"),
        ([[0]], 2, ValueError, "`sign` must be one of 1, -1"),
    ],
)
def test_an_order_that_cannot_be_undone_is_refused(order, sign, error, message):
    with pytest.raises(error, match=message):
        View("own", torch.tensor(order), sign)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 3, 32, 31), (1, 12, 16, 16)])
def test_samples_of_another_size_are_refused(shape):
    view = make_view("identity", 32)
    for call in (view.apply, view.invert, view.map_noise_back, view.apply_to_images):
        with pytest.raises(ValueError, match=r"'identity' needs the shape \(n, C, 32"):
            call(torch.zeros(shape))


def test_eight_bit_pictures_are_refused():
    view = make_view("negate", 32)
    for wrong in (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), np.zeros((1, 3, 32))):
        with pytest.raises(TypeError, match="Divide 8-bit pictures by 255"):
            view.apply_to_images(wrong)


@pytest.mark.parametrize("n_noise", [0, 4])
def test_noise_channels_that_are_not_there_are_refused(n_noise):
    with pytest.raises(ValueError, match="`n_noise` must be within"):
        make_view("negate", 8).map_noise_back(torch.zeros(1, 3, 8, 8), n_noise)
