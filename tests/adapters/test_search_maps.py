"""Maps of attention against OpenCV, SciPy and hand calculation."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.signal import correlate2d

from neurovis.adapters.search_maps import (
    combine_maps,
    enlarge_map,
    enlargement,
    gaussian_blur,
    gaussian_kernel,
    match_map,
    normalise_map,
    sharpen_map,
)
from tasks.search_asymmetry import SHARPENING


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# ------------------------------------------------------------- blur and sharpen

# Versions of OpenCV differ in the fixed kernel of 9 taps, which no experiment uses.
KERNELS = [(k, s) for k in (1, 3, 5, 7) for s in (0.0, -1.0, 0.5, 1.0, 3.0, 5.0)]
KERNELS += [(9, 2.0), (11, 0.0), (15, 0.0), (15, 4.0)]


@pytest.mark.parametrize(("size", "sigma"), KERNELS)
def test_kernels_are_those_of_opencv(size, sigma):
    expected = cv2.getGaussianKernel(size, sigma, cv2.CV_64F).ravel()
    kernel = gaussian_kernel(size, sigma)
    np.testing.assert_allclose(kernel, expected, rtol=1e-12, atol=1e-15)
    assert kernel.sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("shape", [(13, 13), (16, 9), (4, 5), (2, 30)])
@pytest.mark.parametrize(("size", "sigma"), KERNELS)
def test_blur_is_that_of_opencv(shape, size, sigma):
    x = draw(*shape)
    expected = cv2.GaussianBlur(x, (size, size), sigma)
    np.testing.assert_allclose(gaussian_blur(x, size, sigma), expected, atol=1e-12)


@pytest.mark.parametrize("size", [0, 2, 4, -3])
def test_kernels_of_even_or_no_size_are_refused(size):
    with pytest.raises(
        ValueError, match=f"`size` must be odd and positive; got {size}"
    ):
        gaussian_kernel(size, 1.0)


@pytest.mark.parametrize("paradigm", SHARPENING)
def test_sharpening_adds_the_difference_of_two_blurs_three_times(paradigm):
    x = draw(26, 26)
    (small, small_sigma), (large, large_sigma) = SHARPENING[paradigm]
    expected = x
    for _ in range(3):
        narrow = cv2.GaussianBlur(expected, (small, small), small_sigma)
        wide = cv2.GaussianBlur(expected, (large, large), large_sigma)
        expected = expected + (narrow - wide)
    found = sharpen_map(x, SHARPENING[paradigm])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_sharpening_leaves_a_constant_map_and_raises_a_peak():
    kernels = ((3, 1.0), (5, 3.0))
    np.testing.assert_allclose(sharpen_map(np.full((9, 9), 2.5), kernels), 2.5)
    peak = np.zeros((9, 9))
    peak[4, 4] = 1
    sharp = sharpen_map(peak, kernels)
    assert sharp[4, 4] > 1
    assert sharp[4, 6] < 0
    np.testing.assert_allclose(sharp, sharp.T, atol=1e-15)


# ----------------------------------------------------------------- enlargement


@pytest.mark.parametrize(
    ("n_in", "n_out"),
    [(13, 208), (13, 205), (13, 200), (33, 524), (51, 806), (85, 1358), (7, 7), (1, 9)],
)
def test_enlarging_is_that_of_opencv(n_in, n_out):
    x = draw(n_in, n_in)
    expected = cv2.resize(x, (n_out, n_out), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(enlarge_map(x, n_out), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("n_in", "n_out"), [(15, 185), (21, 330), (10, 148), (14, 58), (20, 332), (22, 50)]
)
def test_pixels_on_a_border_of_cells_fall_as_in_opencv(n_in, n_out):
    x = draw(n_in, n_in)
    expected = cv2.resize(x, (n_out, n_out), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(enlarge_map(x, n_out), expected, atol=1e-6)


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(0, 300))
def test_enlarging_any_map_is_that_of_opencv(n_in, more):
    x = draw(n_in, n_in, seed=n_in)
    n_out = n_in + more
    expected = cv2.resize(x, (n_out, n_out), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(enlarge_map(x, n_out), expected, atol=1e-6)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 30), st.integers(0, 100))
def test_a_part_of_an_enlarged_map_is_cut_from_the_whole(data, n_in, more):
    side = n_in + more
    x = draw(n_in, n_in, seed=n_in)
    spans = []
    for _ in range(2):
        first = data.draw(st.integers(0, side))
        spans.append((first, data.draw(st.integers(first, side))))
    part = enlarge_map(x, side, *spans)
    whole = enlarge_map(x, side)[slice(*spans[0]), slice(*spans[1])]
    np.testing.assert_array_equal(part, whole)


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 12))
def test_whole_factors_replicate_exactly(n_in, factor):
    x = draw(n_in, n_in, seed=n_in)
    expected = np.kron(x, np.ones((factor, factor)))
    np.testing.assert_array_equal(enlarge_map(x, n_in * factor), expected)


def test_enlarging_never_leaves_the_range_of_the_map():
    for n_out in range(13, 60):
        _, _, share = enlargement(13, n_out)
        assert share.min() >= 0
        assert share.max() < 1


def test_maps_do_not_shrink():
    with pytest.raises(ValueError, match="`n_out` must be at least n_in=9; got 8"):
        enlarge_map(draw(9, 9), 8)


# ------------------------------------------------------- normalise and combine


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_normalising_is_that_of_opencv(scale):
    x = (draw(26, 26) * scale + scale).astype(np.float32)
    expected = cv2.normalize(x, None, 0, 1, cv2.NORM_MINMAX, cv2.CV_32F)
    found = normalise_map(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=3e-7)


def test_a_constant_map_becomes_zero_as_in_opencv():
    x = np.full((4, 4), 3.5, np.float32)
    expected = cv2.normalize(x, None, 0, 1, cv2.NORM_MINMAX, cv2.CV_32F)
    np.testing.assert_array_equal(normalise_map(x), expected)
    assert not normalise_map(x).any()


finite_maps = hnp.arrays(
    np.float32, (6, 6), elements=st.floats(-1000, 1000, width=32)
).filter(lambda x: np.ptp(x) > 1e-3)


@given(finite_maps)
def test_a_normalised_map_runs_from_zero_to_one(x):
    found = normalise_map(x)
    assert abs(found.min()) <= 1e-3 * max(1, abs(x).max() / np.ptp(x))
    assert abs(found.max() - 1) <= 1e-3 * max(1, abs(x).max() / np.ptp(x))
    # Order is kept.
    order = np.argsort(x, axis=None)
    assert (np.diff(found.ravel()[order]) >= -1e-6).all()


@given(finite_maps, st.sampled_from(["max", "equal"]), st.tuples(*[st.booleans()] * 3))
def test_weights_of_layers_add_up_to_one(x, weighting, kept):
    kept = kept if any(kept) else (True, True, True)
    # Layers that agree give the common map back, however they are weighed.
    positive = x - x.min() + 1
    raw = np.stack([positive * gain for gain in (1, 4, 0.5)])
    combined = combine_maps(raw, [float(k) for k in kept], weighting)
    np.testing.assert_allclose(combined, normalise_map(positive), atol=2e-4)


# Two layers of four places; normalised: (0, 1, 1/2, 0) and (1, 0, 0, 1/4).
RAW = np.array([[[2, 6], [4, 2]], [[9, 1], [1, 3]]], np.float32)


@pytest.mark.parametrize(
    ("layers", "weighting", "expected"),
    [
        # Maxima 6 and 9 weigh 0.4 and 0.6.
        ((1, 1), "max", [[0.6, 0.4], [0.2, 0.15]]),
        ((1, 1), "equal", [[0.5, 0.5], [0.25, 0.125]]),
        ((1, 0), "max", [[0, 1], [0.5, 0]]),
        ((0, 1), "equal", [[1, 0], [0, 0.25]]),
    ],
)
def test_weighting_as_worked_by_hand(layers, weighting, expected):
    found = combine_maps(RAW, layers, weighting)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_layers_that_match_nowhere_weigh_the_same():
    found = combine_maps(np.zeros((2, 3, 3), np.float32), (1, 1), "max")
    np.testing.assert_array_equal(found, np.zeros((3, 3)))


def test_an_unknown_weighting_is_refused():
    with pytest.raises(ValueError, match=r"`weighting`.*'equal'; got 'mean'"):
        combine_maps(RAW, (1, 1), "mean")


# ------------------------------------------------------------------------ match


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (4, 4), (2, 5), (6, 1)])
def test_matching_is_a_correlation_with_the_surplus_padding_at_the_end(kernel):
    height, width = kernel
    features, target = draw(5, 11, 11, seed=1), draw(5, *kernel, seed=2)
    full = sum(correlate2d(x, t) for x, t in zip(features, target, strict=True))
    # Output (i, j) has its kernel's place ((h - 1) // 2, (w - 1) // 2) on (i, j).
    top, left = height - 1 - (height - 1) // 2, width - 1 - (width - 1) // 2
    expected = full[top : top + 11, left : left + 11]
    found = match_map(torch.from_numpy(features), torch.from_numpy(target))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_copy_of_the_target_matches_best_where_it_is(size):
    target = torch.from_numpy(np.abs(draw(4, size, size)))
    features = torch.zeros(4, 12, 12, dtype=torch.float64)
    features[:, 6 : 6 + size, 3 : 3 + size] = target
    best = int(match_map(features, target).argmax())
    assert divmod(best, 12) == (6 + (size - 1) // 2, 3 + (size - 1) // 2)
