"""Style transfer in windows, with codecs whose answers are known."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from neurovis.foveation.style_codec import (
    StyleCodecTexture,
    adain,
    coral,
    foveated_adain,
)
from neurovis.foveation.windows import texture_weights

SHAPE = (64, 64)


def normal(*shape, seed=0):
    numbers = np.random.default_rng(seed).standard_normal(shape)
    return torch.from_numpy(numbers.astype(np.float32))


def pictures(n=2, shape=SHAPE):
    return torch.from_numpy(np.random.default_rng(5).random((n, 3, *shape), np.float32))


class Blocks(nn.Module):
    """Every pixel of a block of 4 x 4 is a channel: loses nothing."""

    def forward(self, x):
        return nn.functional.pixel_unshuffle(x, 4)


def make(shape=SHAPE, encoder=None, decoder=None, **options):
    options = {"render_px": max(shape), "fovea_deg": 3} | options
    encoder, decoder = encoder or Blocks(), decoder or nn.PixelShuffle(4)
    return StyleCodecTexture(shape, encoder, decoder, **options)


# ------------------------------------------------------------------------- statistics


def test_adain_gives_the_statistics_of_the_style():
    content, style = normal(2, 3, 40), 5 * normal(2, 3, 60, seed=1) + 2
    out = adain(content, style)
    np.testing.assert_allclose(out.mean(-1), style.mean(-1), atol=1e-5)
    np.testing.assert_allclose(out.std(-1), style.std(-1), rtol=1e-4)
    same = torch.stack([out[:, :, 0], content[:, :, 0]])
    assert not torch.allclose(*same)
    np.testing.assert_allclose(adain(content, content), content, atol=1e-6)


def test_adain_of_a_flat_channel_is_the_mean_of_the_style():
    flat = torch.full((1, 1, 8), 3.0)
    style = normal(1, 1, 8)
    np.testing.assert_allclose(
        adain(flat, style), style.mean().expand(1, 1, 8), atol=1e-6
    )


def test_coral_gives_means_deviations_and_covariances_of_the_target():
    source = normal(3, 40, 40)
    mixing = torch.tensor([[1.0, 0.8, 0.3], [0, 0.5, 0.4], [0, 0, 0.2]])
    target = torch.einsum("ij,jhw->ihw", mixing.T, normal(3, 50, 32, seed=1)) + 0.5
    out = coral(source, target)
    np.testing.assert_allclose(out.mean((1, 2)), target.mean((1, 2)), atol=1e-5)
    wanted = np.cov(target.flatten(1).numpy())
    # Equal but for the identity that is added to sums over 1600 pixels.
    np.testing.assert_allclose(np.cov(out.flatten(1).numpy()), wanted, rtol=2e-3)


def test_coral_to_itself_changes_nothing():
    image = pictures(1)[0]
    np.testing.assert_allclose(coral(image, image), image, atol=1e-6)


def test_coral_of_a_flat_channel_is_finite():
    target = pictures(1)[0].clone()
    target[1] = 0.25
    out = coral(normal(3, *SHAPE), target)
    np.testing.assert_allclose(out[1], 0.25, atol=1e-6)


def plain_foveated_adain(content, noise, masks, alpha):
    """The same by loops over pictures, regions and channels."""
    out = content.double().numpy().copy()
    content, noise = content.double().numpy(), noise.double().numpy()
    for b in range(len(content)):
        for mask, share in zip(masks.numpy() > 0.001, alpha, strict=True):
            for c in range(content.shape[1]):
                x, n = content[b, c][mask], noise[b, c][mask]
                deviations = [np.sqrt(v.var(ddof=1) + 1e-5) for v in (x, n)]
                texture = (n - n.mean()) / deviations[1] * deviations[0] + x.mean()
                out[b, c][mask] = (1 - share) * x + share * texture
    return out


def test_foveated_adain_is_that_of_loops_with_later_regions_on_top():
    content, noise = normal(2, 3, 9, 10), normal(2, 3, 9, 10, seed=1)
    masks = torch.from_numpy(np.random.default_rng(2).random((5, 9, 10)))
    masks[masks < 0.6] = 0
    alpha = [0, 0.3, 0.5, 0.8, 1]
    ours = foveated_adain(content, noise, masks, alpha)
    theirs = plain_foveated_adain(content, noise, masks, alpha)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    other_order = foveated_adain(content, noise, masks.flip(0), alpha[::-1])
    assert not torch.allclose(ours, other_order, atol=0.1)


def test_regions_of_one_place_and_no_region_keep_the_content():
    content, noise = normal(1, 2, 4, 4), normal(1, 2, 4, 4, seed=1)
    masks = torch.zeros(2, 4, 4)
    masks[0, 1, 1] = 1
    assert torch.equal(foveated_adain(content, noise, masks, [1, 1]), content)


# -------------------------------------------------------------------------- transform


def test_the_reference_of_a_lossless_codec_is_the_picture():
    images = pictures()
    assert torch.equal(make(reference=True)(images), images)


def test_the_fovea_keeps_its_features_and_the_periphery_does_not():
    images = pictures(1)
    codec = make()
    made = codec(images)
    change = (made - images).abs().mean((0, 1))
    assert change[29:35, 29:35].max() == 0
    assert change[:8, :8].mean() > 0.05


def test_features_are_mixed_as_the_parts_say():
    images = pictures(1)
    codec = make(scale=0.5)
    seen = []

    class Listening(Blocks):
        def forward(self, x):
            seen.append(x.clone())
            return super().forward(x)

    made = make(scale=0.5, encoder=Listening())(images, keys=["a"], seed=3)
    picture, noise = seen
    assert torch.equal(picture, images)
    np.testing.assert_allclose(noise.mean((2, 3)), images.mean((2, 3)), atol=1e-5)
    encoder = Blocks()
    masks = codec._masks(encoder(images))
    assert masks.any(0).all()
    mixed = foveated_adain(
        encoder(images), encoder(noise), masks, texture_weights(codec.windows)
    )
    expected = nn.PixelShuffle(4)(mixed).clamp(0, 1)
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_keys_and_seed_decide_and_the_batch_does_not():
    images = pictures(1).expand(3, -1, -1, -1)
    codec = make()
    made = codec(images, keys=["a", "b", "a"], seed=1)
    assert torch.equal(made[0], made[2])
    assert not torch.equal(made[0], made[1])
    assert torch.equal(codec(images[:1], keys=["b"], seed=1)[0], made[1])
    assert not torch.equal(codec(images[:1], keys=["b"], seed=2)[0], made[1])
    shared = codec(images)
    assert torch.equal(shared[0], shared[1])


def test_more_texture_where_windows_are_larger():
    images = pictures(1, (128, 128))
    codec = make((128, 128))
    change = (codec(images) - images).abs().mean((0, 1)).numpy()
    place = np.arange(128) + 0.5 - 64
    radius = np.hypot(place, place[:, None])
    by_ring = [
        change[(radius >= a) & (radius < b)].mean()
        for a, b in ((0, 12), (18, 26), (32, 42), (48, 62))
    ]
    assert by_ring == sorted(by_ring)


def test_the_fixation_moves_what_is_kept():
    images = pictures(1)
    made = make(fixation_px=(16, 48))(images)
    change = (made - images).abs().mean((0, 1))
    assert change[46:50, 14:18].max() == 0
    assert change[29:35, 29:35].mean() > 0


def test_other_sizes_are_rendered_and_brought_back():
    images = pictures(1, (48, 70))
    codec = make((48, 70), render_px=128)
    assert codec.render_shape == (88, 128)
    assert codec.windows.px_per_deg == pytest.approx(128 / 26)
    assert codec.windows.fixation_px == (64, 44)
    made = codec(images)
    assert made.shape == images.shape
    assert 0 <= made.min() <= made.max() <= 1


def test_a_decoder_that_gives_more_is_cut():
    class Rounding(nn.Module):
        def forward(self, x):
            return nn.functional.avg_pool2d(x, 4, ceil_mode=True)

    codec = make((50, 50), encoder=Rounding(), decoder=nn.Upsample(scale_factor=4))
    images = torch.full((1, 3, 50, 50), 0.3)
    np.testing.assert_allclose(codec(images), images, atol=0.02)


def test_published_areas_give_the_border_less_texture():
    clipped, whole = make(area="clipped").alpha, make().alpha
    assert (clipped <= whole + 0.05).all()
    assert clipped[-1] < whole[-1]


def test_identity_tells_codecs_and_references_apart():
    class Weighted(Blocks):
        def __init__(self, value):
            super().__init__()
            self.value = nn.Parameter(torch.tensor(value))

    identities = [
        make().identity,
        make(reference=True).identity,
        make(scale=0.5).identity,
        make(area="clipped").identity,
        make(encoder=Weighted(1.0)).identity,
        make(encoder=Weighted(2.0)).identity,
    ]
    texts = {json.dumps(identity, sort_keys=True) for identity in identities}
    assert len(texts) == len(identities)
    assert identities[0] == make().identity
    assert make(notes=["untrained"]).notes == ("untrained",)


def test_results_of_a_known_picture_stay_the_same():
    rows, columns = torch.meshgrid(
        torch.arange(64.0), torch.arange(64.0), indexing="ij"
    )
    planes = [((a * rows + b * columns) % 31) / 31 for a, b in ((1, 3), (2, 5), (7, 1))]
    image = torch.stack(planes)[None]
    made = make()(image, keys=["known"], seed=4).double()
    found = [made.mean().item(), made.std().item(), (made - image).abs().mean().item()]
    np.testing.assert_allclose(found, [0.485598, 0.244554, 0.221946], atol=2e-6)


# ------------------------------------------------------------------------- refusals


def test_codecs_of_wrong_sizes_are_refused():
    images = pictures(1)
    with pytest.raises(ValueError, match=r"`encoder` must give.*\(1, any, any, any\)"):
        make(encoder=nn.Flatten())(images)
    with pytest.raises(ValueError, match="`decoder` must give pictures of 64 x 64"):
        make(decoder=nn.PixelShuffle(2), encoder=Small())(images)
    with pytest.raises(ValueError, match="not finite"):
        make(encoder=Broken())(images)


class Small(nn.Module):
    def forward(self, x):
        return nn.functional.pixel_unshuffle(x, 4)[:, :12]


class Broken(Blocks):
    def forward(self, x):
        return super().forward(x) / 0


def test_bad_arguments_are_refused():
    images = pictures(1)
    with pytest.raises(ValueError, match="one key per picture: 1; got 2"):
        make()(images, keys=[1, 2])
    with pytest.raises(ValueError, match=r"shape \(B, 3, 64, 64\)"):
        make()(images[..., :-1])
    with pytest.raises(ValueError, match="`area` must be one of"):
        make(area="analytic")
    with pytest.raises(ValueError, match="`render_px`"):
        make(render_px=8)
    with pytest.raises(ValueError, match="agree in batch and channels"):
        adain(normal(1, 2, 5), normal(1, 3, 5))
    with pytest.raises(ValueError, match="2 places or more"):
        adain(normal(1, 2, 1), normal(1, 2, 5))
    with pytest.raises(ValueError, match="has 3 channels, but `target` has 2"):
        coral(normal(3, 4, 4), normal(2, 4, 4))
    with pytest.raises(ValueError, match=r"`source` must have shape \(C, H, W\)"):
        coral(normal(3, 4), normal(3, 4, 4))
    maps = normal(1, 2, 4, 4)
    with pytest.raises(ValueError, match=r"`masks` must have shape \(K, 4, 4\)"):
        foveated_adain(maps, maps, torch.ones(1, 5, 4), [1])
    with pytest.raises(ValueError, match=r"`alpha` must have shape \(1\)"):
        foveated_adain(maps, maps, torch.ones(1, 4, 4), [1, 1])
    with pytest.raises(ValueError, match=r"`alpha` must be within \[0, 1\]"):
        foveated_adain(maps, maps, torch.ones(1, 4, 4), [1.5])
    with pytest.raises(ValueError, match="one shape"):
        foveated_adain(maps, maps[:, :1], torch.ones(1, 4, 4), [1])
