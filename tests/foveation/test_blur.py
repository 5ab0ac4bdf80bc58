"""Blurs against SciPy, and what they must leave alone."""

import json

import numpy as np
import pytest
import torch
from scipy import ndimage

from neurovis.foveation.acuity_blur import AcuityBlur, acuity_cutoff_cpd
from neurovis.foveation.blur import (
    FoveatedBlur,
    Reference,
    UniformBlur,
    ring_radii_px,
)
from neurovis.foveation.gaussian_mixture import HALF_AMPLITUDE
from neurovis.foveation.image_batches import check_images
from neurovis.foveation.windows import fovea_weight, pooling_windows, ring_weights

SHAPE = (70, 93)
EVERY = {
    "reference": lambda shape: Reference(shape),
    "uniform": lambda shape: UniformBlur(shape, 2.5),
    "foveated": lambda shape: FoveatedBlur(shape, 0.4, fovea_deg=1),
    "acuity": lambda shape: AcuityBlur(shape, px_per_deg=40, half_resolution_deg=0.3),
}


def pictures(n=2, shape=SHAPE, seed=0):
    numbers = np.random.default_rng(seed).random((n, 3, *shape), np.float32)
    return torch.from_numpy(numbers)


def scipy_blur(images, sigma):
    values = images.numpy().astype(float)
    return ndimage.gaussian_filter(values, (0, 0, sigma, sigma), mode="nearest")


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1, 2.2, 10, 40, 300])
def test_uniform_blur_is_that_of_scipy(sigma):
    images = pictures()
    ours = UniformBlur(SHAPE, sigma)(images)
    np.testing.assert_allclose(ours, scipy_blur(images, sigma), atol=1.5e-6)


@pytest.mark.parametrize("sigma", [0, 0.1])
def test_no_blur_returns_the_pictures(sigma):
    images = pictures()
    assert torch.equal(UniformBlur(SHAPE, sigma)(images), images)
    assert torch.equal(FoveatedBlur(SHAPE, 0)(images), images)
    assert torch.equal(Reference(SHAPE)(images), images)


def test_foveated_blur_is_a_sum_of_blurs_weighted_by_rings():
    images = pictures()
    blur = FoveatedBlur(
        SHAPE, 0.3, scale=0.5, px_per_deg=8, fixation_px=(30, 50), fovea_deg=1
    )
    expected = images.numpy() * fovea_weight(blur.windows)
    rings = ring_weights(blur.windows)
    for sigma, weight in zip(0.3 * ring_radii_px(blur.windows), rings, strict=True):
        expected = expected + weight * scipy_blur(images, sigma)
    np.testing.assert_allclose(blur(images), expected, atol=1.5e-6)


@pytest.mark.parametrize("factor", [0.15, 3])
def test_the_fovea_stays_to_the_bit_wherever_it_is(factor):
    images = pictures()
    blur = FoveatedBlur(SHAPE, factor, fixation_px=(60, 20), fovea_deg=3)
    untouched = torch.from_numpy(fovea_weight(blur.windows) == 1)
    made = blur(images)
    assert untouched.sum() > 150
    assert untouched[20, 60]
    assert torch.equal(made[..., untouched], images[..., untouched])
    assert (made - images).abs()[..., ~untouched].mean() > 0.1


def test_rings_have_the_radii_of_the_published_geometry():
    radii = ring_radii_px(pooling_windows((256, 256), 0.4))
    np.testing.assert_allclose(
        radii, [3.46, 5.15, 7.66, 11.40, 16.96, 25.23], atol=0.01
    )
    both = [ring_radii_px(pooling_windows((n, n), 0.4)) for n in (256, 512)]
    np.testing.assert_allclose(2 * both[0], both[1], rtol=1e-12)


def test_a_scale_of_zero_leaves_everything_to_the_fovea():
    images = pictures()
    assert torch.equal(FoveatedBlur(SHAPE, 2, scale=0)(images), images)


def test_another_factor_equals_a_new_transform():
    images = pictures()
    base = FoveatedBlur(SHAPE, 0.1, fovea_deg=1)
    other = base.with_factor(0.35)
    new = FoveatedBlur(SHAPE, 0.35, fovea_deg=1)
    assert torch.equal(other(images), new(images))
    assert other.identity == new.identity != base.identity
    assert base.factor == 0.1


def test_acuity_at_fixation_and_at_half_resolution():
    values = acuity_cutoff_cpd([0, 2.3, 6.9])
    np.testing.assert_allclose(values, np.log(64) / 0.106 / np.array([1, 2, 4]))


def test_acuity_blur_has_half_amplitude_at_the_cutoff():
    # A grating on an iso-eccentric arc far away: along its stripes the blur is even.
    px_per_deg, x = 30.0, np.arange(256) + 0.5
    blur = AcuityBlur((64, 256), px_per_deg=px_per_deg, fixation_px=(-2000, 32))
    for column in (60, 128, 200):
        eccentricity = np.hypot(x[column] + 2000, 0) / px_per_deg
        cutoff = acuity_cutoff_cpd(eccentricity) / px_per_deg
        phase = 2 * np.pi * cutoff * (x - x[column])
        grating = 0.5 + 0.5 * np.cos(phase)
        image = torch.tensor(grating, dtype=torch.float32).expand(1, 3, 64, 256)
        seen = (blur(image)[0, 0, 32, column] - 0.5) / 0.5
        assert seen == pytest.approx(0.5, abs=0.01)


def test_acuity_blur_keeps_what_the_eye_resolves():
    small = pictures(1, (40, 40))
    # 4 px per degree, 7 degrees to the corner: coarser than the eye everywhere.
    assert torch.equal(AcuityBlur((40, 40), px_per_deg=4)(small), small)
    images = pictures(1, (128, 128))
    blur = AcuityBlur((128, 128), px_per_deg=20)
    dx = np.arange(128) + 0.5 - 64
    radius_deg = np.hypot(dx, dx[:, None]) / 20
    kept = torch.from_numpy(acuity_cutoff_cpd(radius_deg) >= 20)
    made = blur(images)
    assert torch.equal(made[..., kept], images[..., kept])
    change = (made - images).abs().mean((0, 1))
    assert change[~kept].mean() > 0.005


def test_gaussians_have_half_amplitude_where_they_say():
    sigma = 3.0
    x = np.arange(-40, 41)
    kernel = np.exp(-0.5 * (x / sigma) ** 2)
    amplitude = (kernel * np.cos(2 * np.pi * x * HALF_AMPLITUDE / sigma)).sum()
    assert amplitude / kernel.sum() == pytest.approx(0.5, abs=1e-9)


# ------------------------------------------------------------------------- all of them


@pytest.fixture(params=EVERY)
def make(request):
    return EVERY[request.param]


def test_a_flat_picture_stays_flat(make):
    images = torch.full((1, 3, *SHAPE), 0.7)
    np.testing.assert_allclose(make(SHAPE)(images), images, atol=1e-6)


def test_values_stay_within_the_range(make):
    images = (pictures() > 0.5).float()
    made = make(SHAPE)(images)
    assert made.shape == images.shape
    assert made.dtype == torch.float32
    assert made.min() >= 0
    assert made.max() <= 1


def test_a_picture_does_not_depend_on_its_batch(make):
    images = pictures(3, (33, 47))
    transform = make((33, 47))
    whole = transform(images)
    for i in range(3):
        assert torch.equal(transform(images[i : i + 1])[0], whole[i])


def test_the_pictures_given_are_left_alone(make):
    images = pictures()
    before = images.clone()
    made = make(SHAPE)(images, keys=["a", 1], seed=5)
    made.zero_()
    assert torch.equal(images, before)


def test_no_pictures_give_none(make):
    assert make(SHAPE)(torch.zeros(0, 3, *SHAPE)).shape == (0, 3, *SHAPE)


def test_three_equal_channels_stay_equal(make):
    images = pictures()[:, :1].expand(-1, 3, -1, -1)
    made = make(SHAPE)(images)
    assert torch.equal(made[:, 0], made[:, 1])
    assert torch.equal(made[:, 0], made[:, 2])


def test_small_pictures_work(make):
    images = pictures(1, (32, 35))
    assert make((32, 35))(images).shape == images.shape


def test_identity_is_json_and_names_the_transform(make):
    transform = make(SHAPE)
    identity = json.loads(json.dumps(transform.identity))
    assert identity == transform.identity
    assert identity["transform"] == transform.name
    assert transform.shape == SHAPE


def test_other_pictures_are_refused(make):
    transform = make(SHAPE)
    with pytest.raises(
        ValueError, match=r"shape \(B, 3, 70, 93\); got \(2, 3, 93, 70\)"
    ):
        transform(pictures().mT)
    with pytest.raises(TypeError, match=r"float32; got torch\.float64"):
        transform(pictures().double())
    with pytest.raises(TypeError, match="float32; got uint8"):
        transform(np.zeros((1, 3, *SHAPE), np.uint8))
    with pytest.raises(ValueError, match=r"within \[0, 1\]; got values from"):
        transform(pictures() * 255)
    broken = pictures()
    broken[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        transform(broken)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives(make):
    images = pictures()
    transform = make(SHAPE)
    made = transform(images.cuda())
    assert made.is_cuda
    np.testing.assert_allclose(made.cpu(), transform(images), atol=1e-5)


def test_results_of_known_pictures_stay_the_same():
    rows, columns = torch.meshgrid(
        torch.arange(64.0), torch.arange(48.0), indexing="ij"
    )
    planes = [((a * rows + b * columns) % 31) / 31 for a, b in ((1, 3), (2, 5), (7, 1))]
    image = torch.stack(planes)[None]
    found = [
        make(image.shape[2:])(image).double().std().item() for make in EVERY.values()
    ]
    expected = [0.2882826, 0.0475902, 0.1340647, 0.2296097]
    np.testing.assert_allclose(found, expected, atol=3e-7)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`sigma_px` must be within"):
        UniformBlur(SHAPE, -1)
    with pytest.raises(ValueError, match="`factor` must be within"):
        FoveatedBlur(SHAPE, np.nan)
    with pytest.raises(ValueError, match=r"`shape` must be \(height, width\); got 64"):
        Reference(64)
    with pytest.raises(ValueError, match="`contrast_threshold` must be within"):
        AcuityBlur(SHAPE, contrast_threshold=1)
    with pytest.raises(ValueError, match="`eccentricity_deg` must be 0 or more"):
        acuity_cutoff_cpd([-1, 2])
    with pytest.raises(TypeError, match="float32"):
        check_images([1], SHAPE)


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_mixed_precision_of_the_caller_changes_nothing(make):
    images, blur = pictures(1), make(SHAPE)
    plain = blur(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (blur(images) == plain).all()


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_blurs_are_linear_so_their_gradient_is_their_transpose(make):
    blur = make((24, 32))
    images = (0.4 + 0.2 * pictures(1, (24, 32))).requires_grad_()
    weight = pictures(1, (24, 32), seed=1)
    (blur(images) * weight).sum().backward()
    # <w, B x> = <B' w, x> for linear B without clipping.
    left = float((blur(images.detach()) * weight).double().sum())
    assert float((images.grad * images.detach()).double().sum()) == pytest.approx(
        left, rel=1e-5
    )


@pytest.mark.parametrize("px_per_deg", [1e-6, 0.1, 2.0])
def test_acuity_blur_leaves_coarse_pictures_alone(px_per_deg):
    images = pictures(1)
    assert (AcuityBlur(SHAPE, px_per_deg=px_per_deg)(images) == images).all()
