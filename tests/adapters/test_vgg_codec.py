"""The codec of style transfer, with random weights in files."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from neurovis.adapters.vgg_codec import load_vgg_codec, untrained_vgg_codec
from neurovis.foveation.style_codec import StyleCodecTexture


@pytest.fixture(scope="module")
def codec():
    return untrained_vgg_codec(seed=3)


@pytest.fixture(scope="module")
def files(codec, tmp_path_factory):
    """Files as they are published: the encoder goes on to relu5_4."""
    folder = tmp_path_factory.mktemp("weights")
    state = dict(codec.encoder.state_dict())
    for number in (32, 35, 38, 42):
        state[f"{number}.weight"] = torch.zeros(512, 512, 3, 3, dtype=torch.float16)
        state[f"{number}.bias"] = torch.zeros(512)
    torch.save(state, folder / "vgg_normalised.pth")
    torch.save(dict(codec.decoder.state_dict()), folder / "decoder.pth")
    for name, module in (("encoder", codec.encoder), ("decoder", codec.decoder)):
        save_file(dict(module.state_dict()), folder / f"{name}.safetensors")
    return folder


def published_encoder():
    """VGG-19 to relu4_1, written out."""

    def conv(n_in, n_out):
        return [nn.ReflectionPad2d(1), nn.Conv2d(n_in, n_out, 3), nn.ReLU()]

    def pool():
        return [nn.MaxPool2d(2, 2, ceil_mode=True)]

    return nn.Sequential(
        nn.Conv2d(3, 3, 1),
        *conv(3, 64),
        *conv(64, 64),
        *pool(),
        *conv(64, 128),
        *conv(128, 128),
        *pool(),
        *conv(128, 256),
        *conv(256, 256),
        *conv(256, 256),
        *conv(256, 256),
        *pool(),
        *conv(256, 512),
    )


@pytest.mark.parametrize(
    "names", [("vgg_normalised.pth", "decoder.pth"), ("encoder", "decoder")]
)
def test_both_kinds_of_files_give_the_codec_that_was_saved(codec, files, names):
    paths = [files / (n if n.endswith("h") else f"{n}.safetensors") for n in names]
    loaded = load_vgg_codec(*paths)
    image = torch.rand(1, 3, 40, 52, generator=torch.Generator().manual_seed(0))
    features = loaded.encoder(image)
    assert torch.equal(features, codec.encoder(image))
    assert torch.equal(loaded.decoder(features), codec.decoder(features))
    assert loaded.notes == ()


def test_the_encoder_is_the_written_out_one(codec):
    plain = published_encoder()
    plain.load_state_dict(codec.encoder.state_dict())
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(codec.encoder(image), plain(image), rtol=0, atol=0)


def test_sides_are_rounded_up_and_the_decoder_has_nine_convolutions(codec):
    features = codec.encoder(torch.rand(1, 3, 33, 40))
    assert features.shape == (1, 512, 5, 5)
    assert features.min() >= 0
    assert codec.decoder(features).shape == (1, 3, 40, 40)
    convolutions = [m for m in codec.decoder if isinstance(m, nn.Conv2d)]
    widths = [(m.in_channels, m.out_channels) for m in convolutions]
    assert widths == [
        (512, 256),
        *3 * [(256, 256)],
        (256, 128),
        (128, 128),
        (128, 64),
        (64, 64),
        (64, 3),
    ]
    assert codec.decoder(features).min() < 0


def test_untrained_codecs_say_so_and_follow_their_seed(codec):
    assert "untrained" in codec.notes[0]
    state = torch.random.get_rng_state()
    again, other = untrained_vgg_codec(seed=3), untrained_vgg_codec(seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, weight in codec.encoder.state_dict().items():
        assert torch.equal(again.encoder.state_dict()[name], weight)
    assert not torch.equal(other.encoder[2].weight, codec.encoder[2].weight)


def test_the_codec_drives_the_texture(codec):
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    texture, reference = (
        StyleCodecTexture(
            (64, 64),
            codec.encoder,
            codec.decoder,
            render_px=128,
            reference=reference,
            notes=codec.notes,
        )
        for reference in (False, True)
    )
    change = (texture(image) - reference(image)).abs().mean((0, 1))
    assert change.mean() > 0
    assert "untrained" in texture.notes[0]
    assert texture.identity["encoder"] == reference.identity["encoder"]


def test_files_of_another_network_are_refused(files, tmp_path):
    with pytest.raises(ValueError, match=r"do not fit: .*missing.*0\.weight"):
        load_vgg_codec(files / "decoder.pth", files / "decoder.pth")
    with pytest.raises(ValueError, match="do not fit"):
        load_vgg_codec(files / "vgg_normalised.pth", files / "encoder.safetensors")
    state = {f"module.{k}": v for k, v in torch.load(files / "decoder.pth").items()}
    save_file(state, tmp_path / "prefixed.safetensors")
    with pytest.raises(ValueError, match="prefix such as 'module"):
        load_vgg_codec(files / "vgg_normalised.pth", tmp_path / "prefixed.safetensors")
    with pytest.raises(FileNotFoundError, match="existing file"):
        load_vgg_codec(tmp_path / "absent.pth", files / "decoder.pth")
