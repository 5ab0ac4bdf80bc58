"""Views of pictures: reproducible, crops and colours as said, against PIL and scipy."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from torch.nn import functional

from neurovis.core.pictures import read_image
from neurovis.core.rng import generator
from neurovis.fitting.views import ViewSettings, centre_views, make_views

LUMA = np.array([0.299, 0.587, 0.114])
# Crops alone, and not even those.
CROPS = ViewSettings(
    size_px=16,
    mirror=0,
    brightness=0,
    contrast=0,
    saturation=0,
    channel_gain=0,
    grey=0,
    blur=0,
)
WHOLE = replace(CROPS, area=(1.0, 1.0), aspect=(1.0, 1.0))


def draw_pictures(n=6, height=30, width=40, seed=0):
    levels = generator(seed, "pictures").integers(0, 256, (n, 3, height, width))
    return torch.from_numpy(levels.astype(np.uint8))


def view(pictures, rows, settings, seed=0, keys=("test",)):
    return make_views(pictures, rows, settings, seed=seed, keys=keys)


def ramps(height, width):
    """A picture that tells where its pixels are: column, row, and nothing."""
    rows, columns = np.mgrid[:height, :width]
    levels = np.stack([columns, rows, np.zeros_like(rows)])
    return torch.from_numpy(levels.astype(np.uint8))


def measure_crops(height, width, settings, n, size_px=32):
    """Return left, top, width and height of crops, read off their pixels."""
    settings = replace(settings, size_px=size_px)
    views = view([ramps(height, width)], [0] * n, settings).double().numpy() * 255
    inner = np.arange(size_px // 4, 3 * size_px // 4)
    x, y = views[:, 0].mean(1)[:, inner], views[:, 1].mean(2)[:, inner]
    centres = inner + 0.5
    crops = []
    for a, b in zip(x, y, strict=True):
        slopes = [np.polyfit(centres, v, 1) for v in (a, b)]
        (step_x, left), (step_y, top) = slopes
        crops.append([left + 0.5, top + 0.5, step_x * size_px, step_y * size_px])
    return np.array(crops).T


# ---------------------------------------------------------------- reproducibility


def test_equal_keys_give_equal_bits_and_other_keys_other_views():
    pictures, rows = draw_pictures(), [0, 3, 3, 5]
    first = view(pictures, rows, ViewSettings())
    assert torch.equal(view(pictures, rows, ViewSettings()), first)
    for other in ({"seed": 1}, {"keys": ("test", 0)}, {"keys": (0,)}):
        again = view(pictures, rows, ViewSettings(), **other)
        assert (again != first).flatten(1).any(1).all()


def test_a_view_depends_on_its_place_but_not_on_the_rest_of_the_batch():
    pictures, settings = draw_pictures(), ViewSettings(size_px=21)
    whole = view(pictures, [0, 1, 2, 3, 4, 4], settings)
    for n in (1, 2, 5):
        assert torch.equal(view(pictures, range(n), settings), whole[:n])
    others = view(pictures, [5, 1, 5, 5, 4, 5], settings)
    assert torch.equal(others[[1, 4]], whole[[1, 4]])
    assert not torch.equal(whole[4], whole[5])


@pytest.mark.parametrize(("size_px", "n"), [(50, 1), (50, 9), (64, 40), (129, 1)])
def test_the_number_of_threads_does_not_matter(size_px, n):
    pictures, settings = draw_pictures(height=150, width=160), ViewSettings(size_px)
    rows, before = [i % 6 for i in range(n)], torch.get_num_threads()
    found = []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            found.append(view(pictures, rows, settings))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_memory_and_kind_of_the_pictures_do_not_matter():
    pictures, rows = draw_pictures(), [4, 0, 1]
    expected = view(pictures, rows, ViewSettings())
    side_by_side = pictures.contiguous(memory_format=torch.channels_last)
    for same in (side_by_side, list(pictures), tuple(side_by_side)):
        assert torch.equal(view(same, rows, ViewSettings()), expected)
    for same in (np.array(rows), torch.tensor(rows), tuple(rows)):
        assert torch.equal(view(pictures, same, ViewSettings()), expected)


def test_views_are_float32_in_range_channels_last_and_leave_the_pictures_alone():
    pictures = draw_pictures()
    before = pictures.clone()
    views = view(pictures, [0, 1, 2, 3], ViewSettings(size_px=24))
    assert views.shape == (4, 3, 24, 24)
    assert views.dtype == torch.float32
    assert views.is_contiguous(memory_format=torch.channels_last)
    assert views.min() >= 0
    assert views.max() <= 1
    assert torch.equal(pictures, before)


def test_numbers_of_this_version_stay():
    pictures = draw_pictures(3, 90, 120)
    smooth = functional.avg_pool2d(pictures.float(), 9, 1, 4).byte()
    views = view(smooth, [0, 1, 2], ViewSettings(size_px=32))
    # Resizing may round otherwise on other machines.
    np.testing.assert_allclose(
        views.mean((1, 2, 3)), [0.30492, 0.52201, 0.76892], atol=1e-3
    )
    np.testing.assert_allclose(
        views.std((1, 2, 3)), [0.01765, 0.05553, 0.02151], atol=1e-3
    )
    np.testing.assert_allclose(views[:, 0, 10, 20], [0.3159, 0.5023, 0.7707], atol=6e-3)


# -------------------------------------------------------------------------- crops


def test_the_view_of_a_whole_square_is_the_resized_picture():
    pictures = draw_pictures(4, 50, 50)
    views = view(pictures, range(4), WHOLE)
    expected = functional.interpolate(
        pictures.float(), (16, 16), mode="bilinear", antialias=True
    )
    assert (views * 255 - expected).abs().max() <= 1
    assert torch.equal(views, centre_views(pictures, range(4), 16))


@pytest.mark.parametrize(("height", "width"), [(37, 61), (90, 33), (20, 20), (7, 9)])
def test_centre_views_are_those_of_pil(height, width):
    pictures = draw_pictures(3, height, width)
    side, views = min(height, width), centre_views(pictures, [2, 0], 16)
    top, left = (height - side) // 2, (width - side) // 2
    for found, row in zip(views, [2, 0], strict=True):
        whole = Image.fromarray(pictures[row].permute(1, 2, 0).numpy())
        square = whole.crop((left, top, left + side, top + side))
        expected = np.asarray(square.resize((16, 16), Image.Resampling.BILINEAR))
        levels = found.permute(1, 2, 0).numpy() * 255
        assert np.abs(levels - expected).max() <= 1.01


def test_centre_views_of_photographs_are_those_of_pil(data_folder):
    paths = sorted((data_folder / "osie" / "stimuli").glob("*.jpg"))[:3]
    images = [read_image(path) for path in paths]
    pictures = [torch.from_numpy(image).permute(2, 0, 1) for image in images]
    views = centre_views(pictures, range(3), 64).permute(0, 2, 3, 1).numpy()
    for found, image in zip(views, images, strict=True):
        square = Image.fromarray(image).crop((100, 0, 700, 600))
        expected = np.asarray(square.resize((64, 64), Image.Resampling.BILINEAR))
        assert np.abs(found * 255 - expected).max() <= 1.01
    random = view(pictures, range(3), ViewSettings(size_px=64))
    assert 0.1 < random.std() < 0.4


def test_crops_cover_the_drawn_area_and_ratio():
    settings = replace(CROPS, area=(0.1, 1.0), aspect=(3 / 4, 4 / 3))
    n = 400
    left, top, width, height = measure_crops(180, 240, settings, n)
    area = width * height / (180 * 240)
    error = 0.9 / math.sqrt(12 * n)
    assert abs(area.mean() - 0.55) < 3 * error
    assert abs(area.std() - 0.9 / math.sqrt(12)) < 3 * error
    assert area.min() < 0.13
    assert area.max() > 0.95
    ratio = width / height
    assert ratio.min() > 0.75 - 0.02
    assert ratio.max() < 4 / 3 + 0.03
    assert (ratio < 1).any()
    for low, size, whole in ((left, width, 240), (top, height, 180)):
        assert low.min() > -1
        assert (low + size).max() < whole + 1
        rest = whole - size
        place = (low / rest)[rest > 20]
        assert abs(place.mean() - 0.5) < 3 / math.sqrt(12 * len(place))


def test_ratios_of_small_crops_are_uniform_in_the_logarithm():
    settings = replace(CROPS, area=(0.2, 0.2), aspect=(1 / 3, 3.0))
    _, _, width, height = measure_crops(200, 200, settings, 400)
    logs = np.log(width / height) / math.log(3)
    assert abs(logs.mean()) < 3 / math.sqrt(3 * 400)
    assert abs(np.square(logs).mean() - 1 / 3) < 3 * math.sqrt(4 / 45 / 400)


def test_pictures_longer_than_the_ratios_limit_the_area():
    settings = replace(CROPS, area=(1.0, 1.0))
    left, _, width, height = measure_crops(60, 240, settings, 30)
    np.testing.assert_allclose(height, 60, atol=2)
    np.testing.assert_allclose(width, 80, atol=2)
    assert left.max() - left.min() > 80


def test_ratios_are_limited_to_those_that_fit():
    settings = replace(CROPS, area=(1.0, 1.0))
    _, _, width, height = measure_crops(180, 240, settings, 20)
    np.testing.assert_allclose(height, 180, atol=3)
    np.testing.assert_allclose(width, 240, atol=3)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    low=st.floats(1e-6, 1),
    seed=st.integers(0, 10**6),
)
def test_pictures_of_any_size_and_shape_have_views(height, width, low, seed):
    pictures = [draw_pictures(1, height, width)[0], draw_pictures(1, 9, 4)[0]]
    settings = ViewSettings(size_px=8, area=(low, 1.0), aspect=(0.2, 5.0))
    views = view(pictures, [0, 1, 0], settings, seed=seed)
    assert views.shape == (3, 3, 8, 8)
    assert ((views >= 0) & (views <= 1)).all()
    assert centre_views(pictures, [0, 1], 5).shape == (2, 3, 5, 5)


# ---------------------------------------------------------------- mirror, colours


def test_a_mirrored_view_is_the_view_from_right_to_left():
    pictures, rows = draw_pictures(), [0, 1, 2, 3]
    settings = ViewSettings(size_px=20, mirror=0.0)
    plain = view(pictures, rows, settings)
    mirrored = view(pictures, rows, replace(settings, mirror=1.0))
    assert torch.equal(mirrored, plain.flip(-1))
    half = view(pictures, rows * 50, replace(settings, mirror=0.5))
    either = view(pictures, rows * 50, settings)
    is_plain = (half == either).flatten(1).all(1)
    assert torch.equal(half[~is_plain], either[~is_plain].flip(-1))
    assert 70 < is_plain.sum() < 130


def test_views_of_one_colour_stay_of_one_colour():
    levels = torch.tensor([60, 90, 120], dtype=torch.uint8)[:, None, None]
    settings = ViewSettings(size_px=12)
    views = view([levels.expand(3, 20, 30)], [0] * 40, settings).double()
    low, high = views.amin((2, 3)), views.amax((2, 3))
    assert (high - low).max() < 1e-6
    assert low.std(0).min() > 0.05


def test_brightness_scales_and_is_uniform():
    pictures, rows = draw_pictures() // 2, [i % 6 for i in range(300)]
    plain = view(pictures, rows, WHOLE)
    bright = view(pictures, rows, replace(WHOLE, brightness=0.4))
    gains = bright.mean((1, 2, 3)) / plain.mean((1, 2, 3))
    assert torch.allclose(bright, plain * gains[:, None, None, None], atol=1e-6)
    assert abs(gains.mean() - 1) < 3 * 0.8 / math.sqrt(12 * 300)
    assert 0.6 <= gains.min() < 0.63
    assert 1.37 < gains.max() <= 1.4


def test_contrast_scales_the_distance_to_the_mean_of_the_view():
    pictures, rows = draw_pictures() // 4 + 96, [i % 6 for i in range(100)]
    plain = view(pictures, rows, WHOLE).double()
    other = view(pictures, rows, replace(WHOLE, contrast=0.4)).double()
    mean = plain.mean((1, 2, 3), keepdim=True)
    gains = other.std((1, 2, 3)) / plain.std((1, 2, 3))
    expected = mean + (plain - mean) * gains[:, None, None, None]
    assert torch.allclose(other, expected, atol=1e-6)
    assert gains.min() < 0.7
    assert gains.max() > 1.3
    assert abs(gains - 1).max() <= 0.4 + 1e-5


def test_saturation_scales_the_distance_to_the_luma_and_keeps_it():
    pictures, rows = draw_pictures() // 4 + 96, [i % 6 for i in range(100)]
    plain = view(pictures, rows, WHOLE).double().numpy()
    other = view(pictures, rows, replace(WHOLE, saturation=0.4)).double().numpy()
    luma = np.einsum("c,bchw->bhw", LUMA, plain)[:, None]
    gains = (other - luma).std((1, 2, 3)) / (plain - luma).std((1, 2, 3))
    expected = luma + (plain - luma) * gains[:, None, None, None]
    np.testing.assert_allclose(other, expected, atol=1e-6)
    assert 0.6 <= gains.min() < 0.7
    assert 1.3 < gains.max() <= 1.4


def test_each_channel_has_a_gain_of_its_own():
    pictures, rows = draw_pictures() // 2, [i % 6 for i in range(200)]
    plain = view(pictures, rows, WHOLE)
    other = view(pictures, rows, replace(WHOLE, channel_gain=0.2))
    gains = other.mean((2, 3)) / plain.mean((2, 3))
    assert torch.allclose(other, plain * gains[:, :, None, None], atol=1e-6)
    assert abs(gains - 1).max() <= 0.2 + 1e-5
    assert torch.corrcoef(gains.T).triu(1).abs().max() < 3 / math.sqrt(200)


def test_grey_views_have_equal_channels_with_the_luma():
    pictures, rows = draw_pictures(), [0, 1, 2]
    plain = view(pictures, rows, WHOLE).numpy()
    grey = view(pictures, rows, replace(WHOLE, grey=1.0))
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])
    expected = np.einsum("c,bchw->bhw", LUMA, plain)
    np.testing.assert_allclose(grey[:, 0], expected, atol=1e-6)


def test_only_what_leaves_the_range_after_all_changes_is_cut():
    pictures = draw_pictures(1, 20, 20)
    settings = replace(WHOLE, brightness=1.0, contrast=1.0)
    plain = view(pictures, [0] * 50, WHOLE).double()
    other = view(pictures, [0] * 50, settings).double()
    inside = (other > 0) & (other < 1)
    for found, before, kept in zip(other, plain, inside, strict=True):
        slope, start = np.polyfit(before[kept], found[kept], 1)
        expected = (start + slope * before).clamp(0, 1)
        assert torch.allclose(found, expected, atol=1e-4)
    assert inside.double().mean() < 0.95


def test_probabilities_are_those_of_the_settings():
    pictures, n = draw_pictures(1), 500
    plain = view(pictures, [0] * n, WHOLE)
    for name, share in (("grey", 0.2), ("blur", 0.5)):
        settings = replace(WHOLE, blur_sigma_px=(1.0, 1.5), **{name: share})
        changed = (view(pictures, [0] * n, settings) != plain).flatten(1).any(1)
        error = math.sqrt(share * (1 - share) / n)
        assert abs(changed.double().mean() - share) < 3 * error


# --------------------------------------------------------------------------- blur


@pytest.mark.parametrize("sigma_px", [0.1, 0.6, 1.5, 3.0])
def test_blur_is_that_of_scipy(sigma_px):
    pictures, rows = draw_pictures(), [0, 1, 2]
    plain = view(pictures, rows, WHOLE).double().numpy()
    settings = replace(WHOLE, blur=1.0, blur_sigma_px=(sigma_px, sigma_px))
    expected = plain
    for axis in (2, 3):
        expected = gaussian_filter1d(
            expected, sigma_px, axis=axis, mode="mirror", radius=3
        )
    np.testing.assert_allclose(view(pictures, rows, settings), expected, atol=1e-6)


def test_blur_lowers_high_frequencies_and_keeps_the_mean():
    pictures, rows = draw_pictures(height=64, width=64), range(6)
    sharp = replace(WHOLE, size_px=64)
    plain = view(pictures, rows, sharp)
    blurred = view(pictures, rows, replace(sharp, blur=1.0, blur_sigma_px=(0.8, 1.5)))
    powers = [torch.fft.rfft2(v).abs().square() for v in (plain, blurred)]
    fast = [power[..., 16:48, 16:].mean((1, 2, 3)) for power in powers]
    assert (fast[1] < 0.05 * fast[0]).all()
    assert torch.allclose(blurred.mean((1, 2, 3)), plain.mean((1, 2, 3)), atol=0.005)


# ------------------------------------------------------------------------- checks


def test_parameters_are_json_values_of_all_settings():
    settings = ViewSettings(size_px=32, aspect=(1.0, 1.5))
    values = json.loads(json.dumps(settings.parameters))
    assert values["aspect"] == [1.0, 1.5]
    pairs = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    assert ViewSettings(**pairs) == settings


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("size_px", 3, "within"),
        ("size_px", 8.5, "whole number"),
        ("mirror", 1.1, r"within \[0, 1\]"),
        ("grey", -0.1, r"within \[0, 1\]"),
        ("blur", math.nan, r"within \[0, 1\]"),
        ("brightness", 1.5, r"within \[0, 1\]"),
        ("contrast", -1, r"within \[0, 1\]"),
        ("saturation", 2, r"within \[0, 1\]"),
        ("channel_gain", 2, r"within \[0, 1\]"),
        ("area", (0, 1), "above 0"),
        ("area", (0.5, 1.2), r"within \[0, 1\]"),
        ("area", (0.5, 0.2), "low first"),
        ("aspect", (0.0, 1.0), "above 0"),
        ("aspect", (1.0, math.inf), "within"),
        ("blur_sigma_px", (0.1, 4.0), r"within \[0, 3\]"),
    ],
)
def test_settings_out_of_range_are_refused(name, value, message):
    with pytest.raises(ValueError, match=f"`{name}` must be.*{message}"):
        ViewSettings(**{name: value})


@pytest.mark.parametrize("value", [0.5, (0.1,), "ab", (0.1, 0.2, 0.3)])
def test_ranges_are_two_numbers(value):
    with pytest.raises(TypeError, match="`area` must be"):
        ViewSettings(area=value)


def test_rows_are_whole_numbers_of_pictures():
    pictures = draw_pictures(3)
    for rows in ([], [[0, 1]], [0.0, 1.0], [True], 0, "ab"):
        with pytest.raises(ValueError, match="`rows` must be one or more whole"):
            view(pictures, rows, CROPS)
    for rows in ([0, 3], [-1]):
        with pytest.raises(ValueError, match="`rows` must be within 0 and 2"):
            view(pictures, rows, CROPS)
        with pytest.raises(ValueError, match="`rows` must be within 0 and 2"):
            centre_views(pictures, rows, 8)


def test_pictures_are_8_bit_tensors_on_the_cpu():
    pictures = draw_pictures(2)
    for wrong, kind in ((pictures.float(), "torch.float32"), (["a", "b"], "str")):
        with pytest.raises(TypeError, match=f"tensors of uint8; number 1 is {kind}"):
            view(wrong, [1], CROPS)
    with pytest.raises(TypeError, match="tensors of uint8; number 0 is ndarray"):
        view([pictures[0].numpy()], [0], CROPS)
    for wrong in ("ab", pictures.numpy(), None):
        with pytest.raises(TypeError, match="`pictures` must be a tensor"):
            view(wrong, [0], CROPS)
    with pytest.raises(ValueError, match="Put a single picture into a list"):
        view(pictures[0], [0], CROPS)
    for wrong in (pictures[:, :1], pictures[:, :, :0], [pictures]):
        with pytest.raises(ValueError, match=r"shape \(3, H, W\), not empty; number 0"):
            centre_views(wrong, [0], 8)
    with pytest.raises(ValueError, match="must be on the CPU; number 0 is on meta"):
        view(pictures.to("meta"), [0], CROPS)


def test_seed_keys_settings_and_sizes_are_checked():
    pictures = draw_pictures(2)
    with pytest.raises(TypeError, match="`keys` must be a tuple"):
        view(pictures, [0], CROPS, keys="epoch")
    with pytest.raises(TypeError, match="`keys` must be text or whole numbers"):
        view(pictures, [0], CROPS, keys=(0.5,))
    with pytest.raises(ValueError, match="`seed` must be 0 or more"):
        view(pictures, [0], CROPS, seed=-1)
    with pytest.raises(TypeError, match="`settings` must be ViewSettings"):
        view(pictures, [0], {"size_px": 8})
    with pytest.raises(ValueError, match="`size_px` must be within"):
        centre_views(pictures, [0], 0)
