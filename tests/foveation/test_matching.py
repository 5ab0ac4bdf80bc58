"""Recovery of known blurs, and of no blur at all."""

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.image_similarity import grey, mse, ssim
from neurovis.foveation.blur import FoveatedBlur, Reference, UniformBlur
from neurovis.foveation.matching import CRITERIA, image_fidelity, match_blur

SHAPE = (64, 72)


@pytest.fixture(scope="module")
def images():
    """Noise with edges, such that every blur takes something away."""
    rng = np.random.default_rng(3)
    coarse = rng.random((5, 3, 8, 9)).repeat(8, axis=2).repeat(8, axis=3)
    mixed = 0.7 * coarse + 0.3 * rng.random((5, 3, *SHAPE))
    return torch.from_numpy(mixed.astype(np.float32))


def uniform(sigma):
    return UniformBlur(SHAPE, sigma)


class Noisy:
    """Adds noise that depends on keys and seed."""

    def __call__(self, images, *, keys=None, seed=0):
        keys = [0] * len(images) if keys is None else keys
        planes = [
            torch.randn(
                images.shape[1:],
                generator=torch.Generator().manual_seed(1000 * seed + key),
            )
            for key in keys
        ]
        return (images + 0.1 * torch.stack(planes)).clamp(0, 1)


@pytest.mark.parametrize("criterion", ["ssim", "mse"])
def test_the_sigma_of_a_uniform_blur_is_found(images, criterion):
    match = match_blur(
        uniform,
        images,
        uniform(1.7),
        low=0,
        high=6,
        criterion=criterion,
        tolerance=1e-5,
    )
    assert match.parameter == pytest.approx(1.7, abs=2e-3)
    assert abs(match.found - match.target) <= 1e-5
    np.testing.assert_allclose(
        match.per_image,
        image_fidelity(uniform(match.parameter), images, criterion=criterion),
    )


def test_the_factor_of_a_foveated_blur_is_found(images):
    base = FoveatedBlur(SHAPE, 0, fovea_deg=1)
    match = match_blur(
        base.with_factor, images, base.with_factor(0.31), low=0, high=2, tolerance=1e-5
    )
    assert match.parameter == pytest.approx(0.31, abs=2e-3)


def test_two_blurs_lose_the_same_after_matching(images):
    foveated = FoveatedBlur(SHAPE, 0.8, fovea_deg=1)
    match = match_blur(uniform, images, foveated, low=0, high=6)
    lost = [
        image_fidelity(t, images).mean() for t in (foveated, uniform(match.parameter))
    ]
    assert lost[0] == pytest.approx(lost[1], abs=1e-3)
    assert 0.2 < lost[0] < 0.95


def test_a_number_is_a_target(images):
    match = match_blur(uniform, images, 0.8, low=0, high=6)
    assert match.target == 0.8
    assert match.found == pytest.approx(0.8, abs=1e-3)


def test_a_target_that_loses_nothing_needs_no_blur(images):
    match = match_blur(uniform, images, Reference(SHAPE), low=0, high=6)
    assert match.parameter == 0
    assert match.target == match.found == 1
    assert len(match.evaluations) == 2


def test_every_evaluation_is_kept_and_the_bracket_halves(images):
    match = match_blur(uniform, images, 0.8, low=0, high=6)
    table = match.evaluations
    assert list(table) == ["parameter", "mean", "sd", "low", "high"]
    assert table["parameter"].tolist()[:3] == [0, 6, 3]
    last = table.iloc[-1]
    assert (last["parameter"], last["mean"]) == (match.parameter, match.found)
    assert last["parameter"] == (last["low"] + last["high"]) / 2
    np.testing.assert_allclose(
        table["high"] - table["low"], [6, 6, *6 / 2.0 ** np.arange(len(table) - 2)]
    )
    tried = table.sort_values("parameter")["mean"]
    assert tried.is_monotonic_decreasing


def test_fidelity_is_the_measure_of_grey_pictures(images):
    made = uniform(2)(images)
    before, after = (grey(x.numpy(), channel_axis=1) for x in (images, made))
    found = {c: image_fidelity(uniform(2), images, criterion=c) for c in CRITERIA}
    np.testing.assert_array_equal(found["ssim"], ssim(before, after, data_range=1))
    np.testing.assert_array_equal(found["mse"], mse(before, after))


def test_batches_and_lists_change_nothing(images):
    keys = [4, 3, 2, 1, 0]
    found = [
        image_fidelity(Noisy(), some, keys=keys, seed=7, batch_size=size)
        for some, size in ((images, 5), (images, 2), (list(images), 3))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    other = image_fidelity(Noisy(), images, keys=keys, seed=8)
    assert (other != found[0]).all()


def test_matching_twice_gives_the_same(images):
    first, again = (
        match_blur(uniform, images, Noisy(), low=0, high=6, keys=range(5), seed=2)
        for _ in range(2)
    )
    assert first.identity == again.identity
    assert first.identity["n_images"] == 5
    assert first.evaluations.equals(again.evaluations)


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("low", "high"), [(0, 0.3), (4, 6)])
def test_a_target_out_of_reach_is_refused_with_both_ends(images, low, high):
    with pytest.raises(ValueError, match=f"out of reach.*`low` = {low:g}.*= {high:g}"):
        match_blur(uniform, images, uniform(1.5), low=low, high=high)


def test_a_blur_that_jumps_over_the_target_is_refused(images):
    def steps(sigma):
        return uniform(0 if sigma < 1 else 3)

    with pytest.raises(ValueError, match=r"jumps.* at 1"):
        match_blur(steps, images, uniform(1), low=0, high=4)


def test_bad_arguments_are_refused(images):
    with pytest.raises(ValueError, match="at least one picture"):
        image_fidelity(Reference(SHAPE), images[:0])
    with pytest.raises(ValueError, match="one key per picture: 5; got 2"):
        image_fidelity(Reference(SHAPE), images, keys=[1, 2])
    with pytest.raises(ValueError, match="`criterion` must be one of 'ssim', 'mse'"):
        match_blur(uniform, images, 0.9, low=0, high=1, criterion="psnr")
    with pytest.raises(ValueError, match="`high` must be within"):
        match_blur(uniform, images, 0.9, low=2, high=1)
    with pytest.raises(ValueError, match="`tolerance`"):
        match_blur(uniform, images, 0.9, low=0, high=1, tolerance=0)


# ------------------------------------------------------------------------ photographs


def test_blurs_of_photographs_match_as_measured_before(data_folder):
    ids = (1001, 1004, 1010, 1100)
    images = []
    for number in ids:
        with Image.open(data_folder / "osie" / "stimuli" / f"{number}.jpg") as picture:
            pixels = np.asarray(picture.convert("RGB"))[172:428, 272:528]
        images.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255)
    shape = (256, 256)
    sigma = match_blur(
        lambda s: UniformBlur(shape, s), images, 0.705, low=0, high=8
    ).parameter
    factor = match_blur(
        FoveatedBlur(shape, 0).with_factor, images, 0.705, low=0, high=1
    ).parameter
    assert sigma == pytest.approx(2, rel=0.1)
    assert factor == pytest.approx(0.15, rel=0.1)
