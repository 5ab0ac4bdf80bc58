"""What an image generator promises, with networks of a few numbers."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from neurovis.generation.image_generator import ImageGenerator


class Denoiser(nn.Module):
    """Multiplies; tells what it was given."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.given = []

    def forward(self, x, step, condition=None):
        self.given.append((x.dtype, int(step), condition))
        total = self.factor * x
        return SimpleNamespace(sample=total if condition is None else total + 1)


class Decoder(nn.Module):
    """Three channels from two, as a tensor or as diffusers wrap it."""

    def __init__(self, wrapped=False):
        super().__init__()
        self.mix = nn.Conv2d(2, 3, 1, bias=False)
        self.wrapped = wrapped

    def forward(self, x):
        found = self.mix(x)
        return SimpleNamespace(sample=found) if self.wrapped else found


def made(**changes):
    options = {
        "name": "toy",
        "denoiser": Denoiser(),
        "decoder": None,
        "shape": (2, 4, 4),
        "scheduler": {"prediction_type": "v_prediction"},
    }
    return ImageGenerator(**(options | changes))


def test_a_generator_without_a_decoder_shows_what_it_denoises():
    clean = torch.linspace(-1.5, 1.5, 2 * 16).reshape(1, 2, 4, 4)
    shown = made().decode(clean)
    torch.testing.assert_close(shown, (clean + 1) / 2)
    assert shown.min() < 0
    assert shown.max() > 1


@pytest.mark.parametrize("wrapped", [False, True])
def test_latents_are_divided_by_their_scaling_before_they_are_decoded(wrapped):
    decoder = Decoder(wrapped)
    clean = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    shown = made(decoder=decoder, scaling=0.18215).decode(clean)
    expected = torch.einsum("oi,nihw->nohw", decoder.mix.weight[..., 0, 0], clean)
    torch.testing.assert_close(shown, expected / 0.18215 / 2 + 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_networks_get_their_own_type_and_answers_are_float32(dtype):
    generator = made(denoiser=Denoiser().to(dtype), decoder=Decoder().to(dtype))
    x = torch.ones(2, 2, 4, 4)
    found = generator.denoise(x, 3)
    assert generator.denoiser.given == [(dtype, 3, None)]
    assert generator.dtype == dtype
    assert found.dtype == generator.decode(x).dtype == torch.float32
    torch.testing.assert_close(found, x / 2)


def test_one_condition_serves_all_images_of_a_batch():
    condition = torch.arange(6.0).reshape(1, 2, 3)
    generator = made(condition=condition)
    found = generator.denoise(torch.zeros(5, 2, 4, 4), torch.tensor(7))
    ((_, step, given),) = generator.denoiser.given
    assert step == 7
    torch.testing.assert_close(given, condition.repeat(5, 1, 1))
    torch.testing.assert_close(found, torch.ones(5, 2, 4, 4))


def test_gradients_flow_through_denoiser_and_decoder():
    generator = made(decoder=Decoder())
    x = torch.ones(1, 2, 4, 4, requires_grad=True)
    total = generator.decode(generator.denoise(x, 0)).sum()
    (gradient,) = torch.autograd.grad(total, x)
    columns = generator.decoder.mix.weight.detach()[..., 0, 0].sum(0) / 4
    torch.testing.assert_close(gradient, columns[None, :, None, None].expand_as(x))


def test_moving_takes_networks_and_condition_along():
    plain = made(decoder=Decoder())
    assert plain.to("cpu") is plain
    held = made(decoder=Decoder(), condition=torch.zeros(1, 2, 3))
    moved = held.to("meta")
    places = {moved.device.type, moved.condition.device.type}
    places |= {p.device.type for p in moved.decoder.parameters()}
    assert places == {"meta"}
    assert (moved.name, moved.shape) == (held.name, held.shape)


def test_noise_is_predicted_unless_told_otherwise():
    assert made(scheduler={}).prediction == "epsilon"
    assert made().prediction == "v_prediction"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (2, 0, 4)}, "shape"),
        ({"shape": (2, 4, -4)}, "shape"),
        ({"shape": (2, 4.5, 4)}, "whole number"),
        ({"scheduler": {"prediction_type": "flow_prediction"}}, "prediction_type"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)
