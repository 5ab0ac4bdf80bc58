"""The encoder and decoder of style transfer by adaptive instance normalisation.

The encoder is VGG-19 with normalised weights up to relu4_1, with reflected borders and
a first convolution that prepares the colours; the decoder mirrors it (Huang & Belongie
2017, doi:10.1109/ICCV.2017.167; Gatys et al. 2016, doi:10.1109/CVPR.2016.265). Both
take and give pictures in [0, 1]. No weights come with this package: the user brings
the files ``vgg_normalised.pth`` and ``decoder.pth`` of a published port to torch, or
files of other training with the same names.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from neurovis.adapters.weights import check_state_dict, read_state_dict
from neurovis.core.rng import torch_generator

N_FEATURES = 512
"""Channels of the features."""

# Channels after each convolution; None halves, or doubles, both sides.
_ENCODER = (64, 64, None, 128, 128, None, 256, 256, 256, 256, None, 512)
_DECODER = (256, None, 256, 256, 256, 128, None, 128, 64, None, 64, 3)


@dataclass(frozen=True)
class VggCodec:
    """Encoder and decoder, as `StyleCodecTexture` takes them.

    Parameters
    ----------
    encoder : Module
        Pictures (B, 3, H, W) to features (B, 512, H / 8, W / 8), sides rounded up.
    decoder : Module
        Features (B, 512, h, w) to pictures (B, 3, 8 h, 8 w), not clipped.
    notes : tuple of str
        What a reader must know.
    """

    encoder: nn.Sequential
    decoder: nn.Sequential
    notes: tuple[str, ...] = ()


def load_vgg_codec(
    encoder_file: str | Path,
    decoder_file: str | Path,
    *,
    encoder_sha256: str | None = None,
    decoder_sha256: str | None = None,
) -> VggCodec:
    """Read encoder and decoder from files of the user.

    Parameters
    ----------
    encoder_file : str or Path
        ``.safetensors``, ``.pt`` or ``.pth`` with the tensors "0.weight", "0.bias",
        "2.weight" ... of a sequential VGG-19; layers beyond relu4_1 are ignored.
    decoder_file : str or Path
        The same of the decoder: "1.weight" ... "28.bias".
    encoder_sha256, decoder_sha256 : str, optional
        Hashes that the files must have, or their first digits.

    Returns
    -------
    VggCodec
        In evaluation mode on the CPU, float32.

    Raises
    ------
    FileNotFoundError
        If a file is absent.
    DataCorruptError
        If a file is damaged or has another hash.
    ValueError
        If names or shapes of tensors differ, or a file would run code.

    Notes
    -----
    Weights of VGG-19 are under the licence of their authors, as are those of a decoder
    that was trained on pictures of others. What a decoder loses is not checked: see
    what it makes of pictures with ``StyleCodecTexture(..., reference=True)``.
    """
    state = read_state_dict(encoder_file, encoder_sha256)
    beyond = len(_layers_of_encoder())
    state = {name: state[name] for name in state if not _is_beyond(name, beyond)}
    encoder = _filled(_layers_of_encoder(), state, str(encoder_file))
    state = read_state_dict(decoder_file, decoder_sha256)
    return VggCodec(encoder, _filled(_layers_of_decoder(), state, str(decoder_file)))


def untrained_vgg_codec(seed: int = 0) -> VggCodec:
    """Make an encoder and a decoder with random weights, to try things out.

    What it decodes is no picture.

    Parameters
    ----------
    seed : int, default 0
        Seed of the weights: normal, with a variance of 2 over the inputs of a unit,
        and biases of 0.

    Returns
    -------
    VggCodec
        With a note that says so.
    """
    modules = []
    parts = {"encoder": _layers_of_encoder(), "decoder": _layers_of_decoder()}
    for name, layers in parts.items():
        state = {}
        for key, tensor in layers.state_dict().items():
            state[key] = torch.zeros(tensor.shape)
            if key.endswith("weight"):
                numbers = torch_generator(seed, "vgg codec", name, key)
                spread = math.sqrt(2 / math.prod(tensor.shape[1:]))
                state[key].normal_(0, spread, generator=numbers)
        modules.append(_filled(layers, state, "the generator"))
    note = f"The style codec is untrained: random weights of seed {seed}."
    return VggCodec(modules[0], modules[1], (note,))


def _layers_of_encoder() -> nn.Sequential:
    """Layers without weights, numbered as in the published files."""
    with torch.device("meta"):
        layers: list[nn.Module] = [nn.Conv2d(3, 3, 1)]
        channels = 3
        for width in _ENCODER:
            if width is None:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            else:
                layers += [*_convolution(channels, width), nn.ReLU()]
                channels = width
    return nn.Sequential(*layers)


def _layers_of_decoder() -> nn.Sequential:
    with torch.device("meta"):
        layers: list[nn.Module] = []
        channels = N_FEATURES
        for width in _DECODER:
            if width is None:
                layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
            else:
                layers += [*_convolution(channels, width), nn.ReLU()]
                channels = width
    return nn.Sequential(*layers[:-1])  # pictures are not rectified


def _convolution(n_inputs: int, n_outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.ReflectionPad2d(1), nn.Conv2d(n_inputs, n_outputs, 3)


def _is_beyond(name: str, n_layers: int) -> bool:
    number = name.partition(".")[0]
    return number.isdecimal() and int(number) >= n_layers


def _filled(
    layers: nn.Sequential, state: Mapping[str, Tensor], source: str
) -> nn.Sequential:
    shapes = {key: tuple(value.shape) for key, value in layers.state_dict().items()}
    check_state_dict(state, shapes, source)
    layers.load_state_dict({k: v.float() for k, v in state.items()}, assign=True)
    return layers.eval().requires_grad_(False)
