"""What all transforms promise, whichever they are."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from neurovis.adapters.foveated_texture import make_stage
from neurovis.adapters.vgg_codec import untrained_vgg_codec
from neurovis.core.errors import DataCorruptError
from neurovis.foveation.transforms import (
    CODECS,
    TRANSFORMS,
    FoveationSettings,
    geometry,
    make_transform,
)

PLAIN = tuple(name for name in TRANSFORMS if name not in CODECS)
SHAPES = [(64, 64), (48, 67), (33, 80)]
# Codecs work at 512 px: narrow pictures keep them fast.
NARROW = (64, 4)


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec")
    made = untrained_vgg_codec(0)
    files = (str(folder / "encoder.safetensors"), str(folder / "decoder.safetensors"))
    for file, module in zip(files, (made.encoder, made.decoder), strict=True):
        save_file(module.state_dict(), file)
    return files


def settings(name, codec=None, **changes):
    own = {"uniform-blur": {"sigma_px": 1.5}, "foveated-blur": {"factor": 0.3}}
    if name in CODECS:
        return FoveationSettings(name, codec=codec, **changes)
    if name == "acuity-blur":
        changes = {"px_per_deg": 30.0, **changes}
    return FoveationSettings(name, **{**own.get(name, {}), **changes})


def pictures(shape, n=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, *shape, generator=draw)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", PLAIN)
def test_results_are_pictures_that_depend_on_neither_batch_nor_call(name, shape):
    images = pictures(shape)
    before = images.clone()
    transform = make_transform(settings(name), shape)
    assert (transform.name, transform.shape) == (name, shape)
    keys = ["a", "b", "c"]
    made = transform(images, keys=keys, seed=3)
    assert torch.equal(images, before)
    assert (made.shape, made.dtype) == (images.shape, torch.float32)
    assert made.min() >= 0
    assert made.max() <= 1
    assert torch.isfinite(made).all()
    again = make_transform(settings(name), shape)(images, keys=keys, seed=3)
    assert torch.equal(made, again)
    turned = transform(images.flip(0), keys=keys[::-1], seed=3).flip(0)
    assert torch.equal(made, turned)
    alone = [transform(images[i : i + 1], keys=[keys[i]], seed=3) for i in range(3)]
    assert torch.equal(made, torch.cat(alone))
    assert transform(images[:0]).shape == (0, 3, *shape)
    assert torch.equal(made, images) == (name == "reference")


@pytest.mark.parametrize("name", CODECS)
def test_codecs_keep_the_same_promises(name, codec):
    images = pictures(NARROW, n=2)
    stage = make_stage(settings(name, codec), NARROW)
    assert (stage.name, stage.shape) == (name, NARROW)
    made = stage(images, keys=["a", 7], seed=1)
    assert (made.shape, made.dtype) == (images.shape, torch.float32)
    assert 0 <= made.min() <= made.max() <= 1
    alone = stage(images[1:], keys=[7], seed=1)
    assert torch.equal(made[1:], alone)
    other = stage(images[1:], keys=[7], seed=2)
    assert torch.equal(other, alone) == (name == "style-codec-reference")
    assert json.loads(json.dumps(stage.identity)) == stage.identity


@pytest.mark.parametrize("name", PLAIN)
def test_only_the_texture_draws_and_draws_by_key_and_seed(name):
    shape = (48, 64)
    images = pictures(shape, n=1).expand(3, -1, -1, -1).contiguous()
    transform = make_transform(settings(name), shape)
    drawn = name == "texture"
    made = transform(images, keys=["a", "b", 0], seed=0)
    assert torch.equal(made[0], made[1]) != drawn
    other = transform(images[:1], keys=["a"], seed=1)
    assert torch.equal(made[:1], other) != drawn
    without = transform(images)
    assert torch.equal(without[0], without[2])
    assert torch.equal(without[0], made[2])


@pytest.mark.parametrize("name", PLAIN)
def test_grey_pictures_stay_grey_to_the_bit(name):
    shape = (40, 64)
    grey = pictures(shape, n=2)[:, :1].expand(-1, 3, -1, -1).contiguous()
    made = make_transform(settings(name), shape)(grey, keys=[1, 2])
    assert torch.equal(made[:, 0], made[:, 1])
    assert torch.equal(made[:, 0], made[:, 2])


@pytest.mark.parametrize("name", ["texture", "foveated-blur", "acuity-blur"])
def test_what_is_fixated_stays_as_it_is_and_moves_with_fixation(name):
    shape = (64, 96)
    images = pictures(shape, n=1)
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    kept = {}
    for point in ((24.0, 20.0), (70.0, 44.0)):
        density = 30.0 if name == "acuity-blur" else 8.0
        own = settings(name, px_per_deg=density, fixation_px=point, fovea_deg=1.0)
        made = make_transform(own, shape)(images)
        # The fovea has weight 1 within 0.9 of its radius: exp(-w / 4).
        radius = 0.9 * 8.0 if name != "acuity-blur" else 4.0
        inside = torch.hypot(x - point[0], y - point[1]) < radius
        same = (made == images).all(dim=1)[0]
        assert same[inside].all()
        kept[point] = same
    for point, other in (((24.0, 20.0), (70.0, 44.0)), ((70.0, 44.0), (24.0, 20.0))):
        at = int(other[1]), int(other[0])
        assert not kept[point][at[0] - 2 : at[0] + 3, at[1] - 2 : at[1] + 3].all()
        assert kept[other][at]


CHANGES = {
    "scale": 0.6,
    "fovea_deg": 3.0,
    "px_per_deg": 5.0,
    "fixation_px": (20.0, 30.0),
    "strength": "clipped",
    "quality": "fine",
    "sigma_px": 3.0,
    "factor": 0.6,
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("change", CHANGES)
def test_the_identity_changes_if_and_only_if_the_result_does(name, change):
    shape, images = (64, 64), pictures((64, 64), n=1)
    one = settings(name)
    other = replace(one, **{change: CHANGES[change]})
    made = [make_transform(which, shape) for which in (one, other)]
    same = torch.equal(*(transform(images) for transform in made))
    assert (made[0].identity == made[1].identity) == same
    assert one.parameters != other.parameters
    matters = {
        "reference": (),
        "texture": ("scale", "fovea_deg", "px_per_deg", "fixation_px", "strength",
                    "quality"),
        "uniform-blur": ("sigma_px",),
        "foveated-blur": ("scale", "fovea_deg", "px_per_deg", "fixation_px", "factor"),
        "acuity-blur": ("px_per_deg", "fixation_px"),
    }  # fmt: skip
    assert same == (change not in matters[name])


def test_names_of_transforms_differ_in_their_identity(codec):
    kinds = [make_transform(settings(name), (64, 64)) for name in PLAIN]
    kinds += [make_stage(settings(name, codec), (64, 64)) for name in CODECS]
    found = [json.dumps(kind.identity, sort_keys=True) for kind in kinds]
    assert len(set(found)) == len(TRANSFORMS)
    assert [kind.name for kind in kinds] == list(TRANSFORMS)


def test_parameters_of_a_codec_name_its_content_not_its_place(codec, tmp_path):
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(Path(codec[0]).read_bytes())
    one, other = (
        settings("style-codec", pair) for pair in (codec, (str(moved), codec[1]))
    )
    assert one.parameters == other.parameters
    swapped = settings("style-codec", (codec[1], codec[0]))
    assert swapped.parameters != one.parameters


def test_the_geometry_is_published_unless_given():
    assert geometry(FoveationSettings(), (512, 512)) == (512 / 26, (256.0, 256.0))
    given = FoveationSettings(px_per_deg=20.0, fixation_px=(0, 64))
    assert geometry(given, (64, 128)) == (20.0, (0, 64))
    with pytest.raises(ValueError, match=r"picture of 128 x 64 px; got \(0, 65\)"):
        geometry(replace(given, fixation_px=(0, 65)), (64, 128))
    with pytest.raises(ValueError, match=r"`shape` must be within \[32"):
        geometry(FoveationSettings(), (31, 64))
    assert geometry(settings("reference"), (8, 13))[0] == 0.5


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"transform": "textur"}, "Did you mean 'texture'"),
        ({"quality": "best"}, "`quality` must be one of"),
        ({"scale": -0.1}, "`scale` must be within"),
        ({"scale": 2.1}, "`scale` must be within"),
        ({"fovea_deg": 0}, "`fovea_deg` must be within"),
        ({"px_per_deg": 0}, "`px_per_deg` must be within"),
        ({"fixation_px": (1, 2, 3)}, "`fixation_px` must be"),
        ({"fixation_px": (1, float("nan"))}, "`fixation_px` must be"),
        ({"strength": 1.1}, "`strength` must be within"),
        ({"strength": "half"}, "`strength` must be one of"),
        ({"transform": "uniform-blur"}, "needs `sigma_px`"),
        ({"transform": "uniform-blur", "factor": 1.0}, "needs `sigma_px`"),
        ({"transform": "foveated-blur"}, "needs `factor`"),
        ({"transform": "uniform-blur", "sigma_px": -1}, "`sigma_px` must be within"),
        ({"transform": "style-codec"}, "needs `codec`"),
        ({"transform": "style-codec", "codec": ("a",)}, "needs `codec`"),
        (
            {"transform": "style-codec", "codec": ("a", "b"), "strength": 0.5},
            "`strength` of a style codec",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_that_make_no_sense_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        FoveationSettings(**values)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        (torch.zeros(1, 3, 32, 40, dtype=torch.float64), TypeError, "float32"),
        (torch.zeros(1, 3, 40, 32), ValueError, r"\(B, 3, 32, 40\)"),
        (torch.zeros(3, 32, 40), ValueError, r"\(B, 3, 32, 40\)"),
        (torch.full((1, 3, 32, 40), 2.0), ValueError, r"within \[0, 1\]"),
        (torch.full((1, 3, 32, 40), torch.nan), ValueError, r"within \[0, 1\]"),
    ],
    ids=["float64", "turned", "one", "range", "nan"],
)
def test_what_is_no_batch_of_pictures_is_refused(name, images, error, match):
    with pytest.raises(error, match=match):
        make_transform(settings(name), (32, 40))(images)


def test_codecs_need_the_maker_that_reads_weights(codec, tmp_path):
    with pytest.raises(ValueError, match="`transform` must be one of"):
        make_transform(settings("style-codec", codec), NARROW)
    with pytest.raises(FileNotFoundError):
        make_stage(settings("style-codec", (codec[0], "absent.pth")), NARROW)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"1234567890")
    with pytest.raises(DataCorruptError):
        make_stage(settings("style-codec", (codec[0], str(cut))), NARROW)
    outside = settings("style-codec", codec, fixation_px=(5, 5))
    with pytest.raises(ValueError, match="picture of 4 x 64 px"):
        make_stage(outside, NARROW)
