"""The network of latent rotation: shapes, equivariance, weights."""

import numpy as np
import pytest
import torch

from neurovis.adapters.latent_rotation import (
    axis_rotation,
    rotate_volume,
    sphere_mask,
)
from neurovis.adapters.latent_rotation_network import (
    LatentRotation,
    build_latent_rotation,
    load_latent_rotation,
    maps_of_volume,
    save_latent_rotation,
    turn_by_corners,
    turn_volume,
    volume_of_maps,
)
from neurovis.adapters.latent_rotation_settings import (
    SMALL,
    TINY,
    LatentRotationSettings,
)
from neurovis.core.errors import DataCorruptError
from stimuli.block_figures import mirror_pair_key, mirror_shape

SHAPE = "uuubbrrrd"
ABOUT = {"notes": ["made for a test"], "seed": 1, "shapes": [SHAPE]}


def rotations(n, seed=0):
    draw = torch.Generator().manual_seed(seed)
    axes = torch.nn.functional.normalize(torch.randn(n, 3, generator=draw), dim=1)
    return axis_rotation(axes, 360 * torch.rand(n, generator=draw))


@pytest.fixture(scope="module")
def network():
    return build_latent_rotation(TINY, 3).eval().requires_grad_(False)


def test_the_defaults_have_the_published_shapes():
    with torch.device("meta"):
        network = LatentRotation()
        volume = network.encode(torch.empty(2, 3, 128, 128))
        pictures = network.decode(volume)
        lifted = network.lift(network.look(torch.empty(2, 3, 128, 128)))
    assert lifted.shape == (2, 32 * 32, 32, 32)
    assert volume.shape == (2, 64, 32, 32, 32)
    assert pictures.shape == (2, 3, 128, 128)


@pytest.mark.parametrize("settings", [SMALL, TINY])
def test_the_decoder_leads_back_to_pictures(settings):
    network = build_latent_rotation(settings, 0).eval()
    images = torch.rand(2, 3, settings.size_px, settings.size_px)
    with torch.no_grad():
        volume = network.encode(images)
        drawn = network(images, torch.eye(3).expand(2, 3, 3))
    assert volume.shape == (2, settings.n_channels, *(settings.side,) * 3)
    assert drawn.shape == images.shape
    assert 0 < drawn.min() <= drawn.max() < 1


def test_a_volume_is_empty_outside_the_sphere(network):
    volume = network.encode(torch.rand(1, 3, 16, 16))
    inside = sphere_mask(TINY.side)
    assert (volume[..., ~inside] == 0).all()
    assert (volume[..., inside] != 0).any()


@pytest.mark.parametrize(
    ("axis", "planes"),
    [((0, 0, 1), (4, 3)), ((0, 1, 0), (2, 4)), ((1, 0, 0), (3, 2))],
)
def test_a_quarter_turn_of_the_latent_is_that_of_the_array(network, axis, planes):
    """About z the x axis goes to y, about y it is z to x, about x it is y to z."""
    volume = network.encode(torch.rand(2, 3, 16, 16))
    turn = axis_rotation(torch.tensor([axis] * 2).float(), torch.tensor([90.0] * 2))
    turned = turn_volume(volume, turn)
    torch.testing.assert_close(
        turned, torch.rot90(volume, 1, planes), atol=1e-6, rtol=0
    )
    assert (turned - volume).abs().max() > 0.01


def test_rows_of_a_picture_run_downwards_and_voxels_upwards():
    maps = torch.arange(2 * 3 * 4.0).reshape(1, 2 * 3, 4, 1).expand(-1, -1, -1, 4)
    volume = volume_of_maps(maps, 3)
    assert volume.shape == (1, 2, 3, 4, 4)
    assert (volume[0, 1, 2, 0] == maps[0, 5, 3]).all()
    assert torch.equal(maps_of_volume(volume), maps)


def test_adding_up_corners_is_trilinear_resampling_with_its_gradient():
    volume = torch.rand(4, 3, 6, 6, 6, requires_grad=True)
    turn, weight = rotations(4), torch.rand(4, 3, 6, 6, 6)
    found = []
    for function in (rotate_volume, turn_by_corners):
        turned = function(volume, turn)
        (gradient,) = torch.autograd.grad((turned * weight).sum(), volume)
        found.append((turned.detach(), gradient))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert (found[0][0] - volume.detach()).abs().max() > 0.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gradients_have_equal_bits_on_cuda():
    from neurovis.core.device import deterministic

    found = []
    with deterministic():
        for _ in range(2):
            network = build_latent_rotation(TINY, 3).cuda()
            images = torch.rand(4, 3, 16, 16, generator=torch.manual_seed(0)).cuda()
            network(images, rotations(4).cuda()).square().sum().backward()
            found.append(network.look[0][0].weight.grad.clone())
    assert torch.equal(*found)


def test_weights_come_back_with_what_they_are(tmp_path, network):
    path = tmp_path / "net.safetensors"
    save_latent_rotation(path, network.state_dict(), TINY, ABOUT)
    before = path.read_bytes()
    save_latent_rotation(path, network.state_dict(), TINY, ABOUT)
    assert before == path.read_bytes()
    loaded = load_latent_rotation(path)
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded.encode(images), network.encode(images))
    assert loaded.settings == TINY
    assert loaded.trained
    assert loaded.notes == ("made for a test",)
    assert loaded.mirror_pair_keys == {mirror_pair_key(mirror_shape(SHAPE))}


def test_seeded_weights_are_untrained_and_know_no_object():
    state = torch.get_rng_state()
    first, second = (load_latent_rotation("seeded:4") for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    assert not first.trained
    assert not first.mirror_pair_keys
    assert "random weights" in first.notes[0]


def test_damaged_and_foreign_files_are_refused(tmp_path, network):
    path = tmp_path / "net.safetensors"
    state = network.state_dict()
    with pytest.raises(ValueError, match="name the objects"):
        save_latent_rotation(path, state, TINY, {"notes": []})
    with pytest.raises(ValueError, match="do not fit"):
        save_latent_rotation(path, state, SMALL, ABOUT)
    with pytest.raises(ValueError, match="seeded:0"):
        load_latent_rotation("seeded:x")
    with pytest.raises(FileNotFoundError):
        load_latent_rotation(tmp_path / "none.safetensors")
    save_latent_rotation(path, state, TINY, {**ABOUT, "shapes": ["up"]})
    with pytest.raises(DataCorruptError, match="description"):
        load_latent_rotation(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataCorruptError):
        load_latent_rotation(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_px": 2}, "size_px"),
        ({"widths_2d": ()}, "widths_2d"),
        ({"strides_2d": (1, 2)}, "one step per width"),
        ({"strides_3d": (1, 1, 3, 1, 1, -2, 1, 1)}, "strides_3d"),
        ({"size_px": 100}, "halved"),
        ({"widths_lift": (256, 1000)}, "multiple of the depth"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        LatentRotationSettings(**change)


def test_pictures_of_another_size_are_refused(network):
    with pytest.raises(ValueError, match="16, 16"):
        network.encode(torch.zeros(1, 3, 32, 32))


def test_the_encoder_keeps_left_and_right_apart(network):
    """Volume and picture share a frame: what is on the right stays on the right."""
    plain = torch.full((1, 3, 16, 16), 0.5)
    marked = plain.clone()
    marked[..., 1:3, 13:15] = 1.0  # above, right
    # Before normalisation mixes places: the first stage alone.
    with torch.no_grad():
        change = (network.look[0][0](marked) - network.look[0][0](plain)).abs()
    volume = volume_of_maps(change.sum(1, keepdim=True), 1)[0, 0, 0].numpy()
    y, x = np.unravel_index(volume.argmax(), volume.shape)
    assert y >= 6
    assert x >= 6
