"""Descent to images with the pooled statistics of others."""

import numpy as np
import pytest
import torch

from neurovis.foveation.pooled_errors import statistics_errors
from neurovis.foveation.pooled_statistics import PooledStatistics
from neurovis.foveation.refine import noise_start, refine
from neurovis.foveation.windows import fovea_weight, pooling_windows
from stimuli.category_pictures import make_category_pictures


@pytest.fixture(scope="module")
def picture():
    """One grey picture, shape (1, 1, 32, 32), float32 in [0, 1]."""
    image = make_category_pictures(1, size_px=32).load(0)
    return torch.from_numpy(image / 255).float().mean(2)[None, None]


@pytest.fixture(scope="module")
def texture():
    """Texture statistics in a few windows of 32 pixels."""
    windows = pooling_windows((32, 32), 0.8, fovea_deg=4)
    return PooledStatistics(windows, n_scales=2, neighbourhood=3)


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
def test_every_family_comes_nearer_and_the_image_is_another(
    picture, texture, optimiser
):
    # Unlike the default start, this one has no statistic in common with the picture.
    start = torch.rand(picture.shape, generator=torch.Generator().manual_seed(3))
    found = refine(
        picture, texture, start=start, n_steps=35, optimiser=optimiser, tolerance=0
    )
    errors = found.errors.set_index("statistic")
    assert len(errors) == 15
    assert (errors["final"] < errors["start"]).all()
    assert errors["final"].sum() < 0.4 * errors["start"].sum()
    curve = found.curve
    assert list(curve.columns[:5]) == [
        "image",
        "step",
        "loss",
        "gradient_norm",
        "change",
    ]
    assert curve["loss"].iloc[-1] < 0.4 * curve["loss"].iloc[0]
    assert found.images.shape == picture.shape
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    outside = torch.from_numpy(fovea_weight(texture.windows) == 0)
    difference = (found.images - picture).abs()[0, 0][outside]
    assert difference.mean() > 0.02


def test_luminance_metamers_have_equal_means_in_every_window(picture):
    model = PooledStatistics(pooling_windows((32, 32), 0.8), model="luminance")
    generator = torch.Generator().manual_seed(1)
    start = torch.rand(picture.shape, generator=generator)
    found = refine(picture, model, start=start, n_steps=150, optimiser="lbfgs")
    wanted, got = (model(x)["pixel_mean"] for x in (picture, found.images))
    assert (wanted - got).abs().max() < 2e-3
    assert (found.images - picture).abs().mean() > 0.05


def test_the_fovea_stays_exact(picture, texture):
    found = refine(picture, texture, n_steps=3)
    inside = torch.from_numpy(fovea_weight(texture.windows) == 1)
    assert inside.any()
    assert torch.equal(found.images[..., inside], picture[..., inside])
    free = refine(picture, texture, n_steps=3, keep_fovea=False)
    assert not torch.equal(free.images[..., inside], picture[..., inside])


def test_the_same_seed_gives_the_same_image_and_another_another(picture, texture):
    images = [
        refine(picture, texture, n_steps=3, seed=seed).images for seed in (0, 0, 1)
    ]
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_an_image_does_not_depend_on_its_batch(picture, texture):
    both = torch.cat([picture, picture.flip(3)])
    together = refine(both, texture, n_steps=2, keys=["a", "b"]).images
    alone = refine(both[1:], texture, n_steps=2, keys=["b"]).images
    assert torch.equal(together[1:], alone)


def test_the_original_is_a_fixed_point(picture, texture):
    found = refine(picture, texture, start=picture, n_steps=5)
    assert found.errors["final"].max() < 1e-9
    assert (found.images - picture).abs().max() < 1e-6


def test_no_steps_return_the_start(picture, texture):
    start = noise_start(picture, texture)
    found = refine(picture, texture, start=start, n_steps=0, keep_fovea=False)
    assert torch.equal(found.images, start)
    assert found.curve.empty
    assert (found.errors["start"] == found.errors["final"]).all()


def test_the_best_image_is_kept(picture, texture):
    found = refine(
        picture, texture, n_steps=8, learning_rate=0.5, tolerance=0, keep_fovea=False
    )
    assert found.errors["final"].sum() <= found.curve["loss"].min() * 1.01


def test_descent_stops_when_nothing_is_gained(picture, texture):
    found = refine(
        picture,
        texture,
        n_steps=40,
        learning_rate=1e-9,
        tolerance=0.01,
        patience=4,
    )
    assert len(found.curve) == 5


def test_the_noise_has_the_local_mean_and_contrast(texture):
    flat = torch.full((1, 1, 32, 32), 0.5)
    assert (noise_start(flat, texture) - flat).abs().max() < 2e-3
    y = torch.linspace(0, 1, 32)[:, None].expand(1, 1, 32, 32).contiguous()
    start = noise_start(y, texture)
    assert float((start[..., :8, :] - y[..., :8, :]).mean().abs()) < 0.05


def test_errors_are_relative_and_skip_what_is_undefined():
    target = {
        "pixel_mean": torch.tensor([[[1.0, 3.0]]]),
        "pixel_skew": torch.tensor([[[torch.nan, 0.0]]]),
        "magnitude_mean": torch.tensor([[[1.0, 3.0]]]),
        "correlation": torch.tensor([[[[0.5, 0.0], [0.5, torch.nan]]]]),
        "none": torch.tensor([[[torch.nan]]]),
    }
    found = {
        "pixel_mean": torch.tensor([[[1.0, 2.0]]]),
        "pixel_skew": torch.tensor([[[7.0, torch.nan]]]),
        "magnitude_mean": torch.tensor([[[1.0, 2.0]]]),
        "correlation": torch.tensor([[[[0.5, 0.5], [0.5, 9.0]]]]),
        "none": torch.tensor([[[1.0]]]),
    }
    errors = statistics_errors(target, found)
    assert list(errors) == list(target)[:4]
    expected = [0.5, 0.0, 0.1, 0.5]
    np.testing.assert_allclose([float(e) for e in errors.values()], expected)
    with pytest.raises(ValueError, match="`found` must have the families"):
        statistics_errors(target, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimiser": "sgd"}, "`optimiser` must be"),
        ({"n_steps": -1}, "`n_steps`"),
        ({"learning_rate": 0}, "`learning_rate`"),
        ({"tolerance": 2}, "`tolerance`"),
        ({"patience": 0}, "`patience`"),
        ({"range_penalty": -1}, "`range_penalty`"),
        ({"keys": ["a", "b"]}, "`keys` must have one entry per image, 1; got 2"),
        ({"start": torch.zeros(1, 1, 4, 4)}, "`start` must be like `images`"),
        ({"start": torch.full((1, 1, 32, 32), 2.0)}, "`start` must be within"),
    ],
)
def test_bad_arguments_are_named(picture, texture, options, message):
    with pytest.raises(ValueError, match=message):
        refine(picture, texture, **options)


def test_images_out_of_range_are_refused(picture, texture):
    with pytest.raises(ValueError, match=r"`images` must be within \[0, 1\]"):
        refine(picture * 255, texture)
    with pytest.raises(ValueError, match="`images` is empty"):
        refine(picture[:0], texture)
    with pytest.raises(ValueError, match=r"`images` must be within"):
        refine(picture * torch.nan, texture)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_mode_of_gradients_of_the_caller_does_not_matter(picture, texture, mode):
    expected = refine(picture, texture, n_steps=3).images
    with mode():
        found = refine(picture.clone(), texture, n_steps=3).images
    assert (found == expected).all()


def test_a_flat_channel_does_not_drown_the_others(picture, texture):
    both = torch.cat([picture, torch.full_like(picture, 0.4)], 1)
    found = refine(both, texture, n_steps=5, optimiser="adam", tolerance=0)
    assert found.errors["start"].max() < 100
    # Of a relative error to rounding, nothing of the other channel would be left.
    lone = refine(picture, texture, n_steps=5, optimiser="adam", tolerance=0)
    assert found.curve["loss"].iloc[0] < 100 * lone.curve["loss"].iloc[0]


def test_a_start_must_be_a_tensor(picture, texture):
    with pytest.raises(TypeError, match="`start` must be a tensor"):
        refine(picture, texture, start=[picture], n_steps=1)
