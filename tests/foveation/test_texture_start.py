"""Starts of the texture transform: fields, moved pictures, noise."""

import numpy as np
import torch

from neurovis.foveation.texture_start import (
    coloured_noise,
    displacement_field,
    move,
    sampling_grid,
)


def test_fields_have_mean_zero_and_variance_one_at_every_pixel():
    fields = torch.stack(
        [displacement_field((16, 24), px_per_deg=3.0, key=key) for key in range(600)]
    )
    # Standard errors over 600 fields: 0.041 and 0.058.
    assert fields.mean(dim=0).abs().max() < 0.2
    assert (fields.var(dim=0) - 1).abs().max() < 0.3
    assert abs(float(fields.var(dim=0).mean()) - 1) < 0.05


def test_both_parts_of_a_field_are_independent():
    fields = torch.stack(
        [displacement_field((8, 8), px_per_deg=3.0, key=key) for key in range(600)]
    )
    assert abs(float((fields[:, 0] * fields[:, 1]).mean())) < 0.1


def test_a_field_is_smooth():
    field = displacement_field((64, 64), px_per_deg=10.0)
    assert (field[:, :, 1:] - field[:, :, :-1]).abs().max() < 0.6


def test_a_field_depends_on_seed_and_key_alone():
    def draw(**kwargs):
        return displacement_field((16, 16), px_per_deg=2.0, **kwargs)

    assert torch.equal(draw(seed=3, key="a"), draw(seed=3, key="a"))
    for other in ({"seed": 4, "key": "a"}, {"seed": 3, "key": "b"}):
        assert (draw(seed=3, key="a") - draw(**other)).abs().max() > 0.1
    assert not torch.equal(draw(key=1), draw(key="1"))


def test_a_finer_picture_of_the_same_angle_gets_the_same_field():
    coarse = displacement_field((32, 48), px_per_deg=4.0, seed=1)
    fine = displacement_field((64, 96), px_per_deg=8.0, seed=1)
    pooled = torch.nn.functional.avg_pool2d(fine[None], 2)[0]
    assert (pooled - coarse).abs().max() < 0.05


def test_global_random_state_is_neither_read_nor_changed():
    state = torch.get_rng_state()
    displacement_field((16, 16), px_per_deg=2.0)
    coloured_noise(torch.rand(1, 3, 8, 8, generator=torch.Generator()), keys=[0])
    assert torch.equal(state, torch.get_rng_state())


def test_no_displacement_leaves_a_picture_as_it_is():
    image = torch.rand(1, 3, 17, 20, generator=torch.Generator().manual_seed(0))
    field = displacement_field((17, 20), px_per_deg=2.0)
    moved = move(image, sampling_grid(field, torch.zeros(17, 20)))
    assert torch.allclose(moved, image, atol=1e-5)


def test_a_displacement_of_whole_pixels_is_a_shift_with_mirrored_edges():
    image = np.random.default_rng(0).random((1, 2, 6, 9)).astype(np.float32)
    field = torch.stack([torch.full((6, 9), 2.0), torch.full((6, 9), -1.0)])
    moved = move(torch.from_numpy(image), sampling_grid(field, torch.ones(6, 9)))
    mirrored = np.pad(image, ((0, 0), (0, 0), (1, 0), (0, 2)), mode="symmetric")
    np.testing.assert_allclose(moved.numpy(), mirrored[..., :6, 2:], atol=1e-5)


def test_noise_has_the_colours_of_the_picture():
    generator = torch.Generator().manual_seed(1)
    mix = torch.tensor([[1.0, 0.2, 0.0], [0.5, 0.3, 0.1], [0.0, 0.1, 0.4]])
    picture = torch.einsum(
        "ij,bjhw->bihw", mix, torch.randn(2, 3, 64, 64, generator=generator)
    )
    picture = picture * 0.2 + torch.tensor([0.5, 0.1, -0.3])[:, None, None]
    noise = coloured_noise(picture, seed=2, keys=["a", "b"])
    for one, other in zip(picture, noise, strict=True):
        wanted, found = (np.cov(part.flatten(1).numpy()) for part in (one, other))
        np.testing.assert_allclose(found, wanted, atol=0.05 * wanted.max())
        assert (one.mean(dim=(1, 2)) - other.mean(dim=(1, 2))).abs().max() < 0.02
    # White: neighbours do not correlate.
    flat = noise[0, 0] - noise[0, 0].mean()
    assert abs(float((flat[:, 1:] * flat[:, :-1]).mean() / flat.var())) < 0.05


def test_noise_of_a_picture_does_not_depend_on_the_batch():
    pictures = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    together = coloured_noise(pictures, seed=5, keys=["a", "b", "c"])
    alone = coloured_noise(pictures[1:2], seed=5, keys=["b"])
    assert torch.allclose(together[1:2], alone, atol=1e-6)
