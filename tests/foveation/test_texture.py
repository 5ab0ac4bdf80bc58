"""The foveated texture transform."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from neurovis.foveation.blur import FoveatedBlur
from neurovis.foveation.matching import match_blur
from neurovis.foveation.texture import FoveatedTexture
from neurovis.foveation.texture_quality import texture_quality
from neurovis.foveation.windows import fovea_weight, pooling_windows

OPTIONS = [
    {},
    {"quality": "fine"},
    {"start": "noise"},
    {"strength": "clipped"},
    {"strength": 1.0, "n_iterations": 1},
]


def _picture(shape=(128, 128), seed=0):
    """Coloured noise of a natural spectrum behind discs and stripes."""
    generator = np.random.default_rng(seed)
    height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(generator.standard_normal((3, *shape))) / frequency
    image = np.fft.irfft2(spectrum, s=shape)
    image = 0.5 + 0.13 * image / image.std()
    rows, columns = np.mgrid[:height, :width]
    for _ in range(12):
        x, y = generator.random(2) * (width, height)
        inside = np.hypot(rows - y, columns - x) < generator.uniform(4, 16)
        stripes = np.sin(generator.uniform(0.3, 1.5) * (rows + columns))
        colour = generator.random(3)[:, None, None] + 0.1 * stripes
        image = np.where(inside, colour, image)
    return torch.from_numpy(np.clip(image, 0, 1)).float()[None]


@pytest.fixture(scope="module")
def picture():
    return _picture()


@pytest.fixture(scope="module")
def photographs(data_folder):
    """Middle 256 x 256 pixels of four OSIE photographs."""
    crops = []
    for number in (1004, 1010, 1200, 1001):
        with Image.open(data_folder / "osie" / "stimuli" / f"{number}.jpg") as image:
            pixels = np.asarray(image.convert("RGB"))
        top, left = ((side - 256) // 2 for side in pixels.shape[:2])
        crops.append(pixels[top : top + 256, left : left + 256])
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def _measure(before, after, windows):
    table = texture_quality(before, after, windows)
    table = table[table["ring"].isna()]
    return table.pivot_table(index="measure", columns="image", values="value")


# ----------------------------------------------------------------- what it leaves


@pytest.mark.parametrize("options", OPTIONS)
def test_the_fovea_stays_exactly_as_it_is(picture, options):
    texture = FoveatedTexture((128, 128), **options)
    seen = texture(picture)
    fovea = torch.from_numpy(fovea_weight(texture.windows)) == 1
    assert fovea.sum() > 180
    assert torch.equal(seen[..., fovea], picture[..., fovea])
    assert (seen - picture).abs()[..., ~fovea].mean() > 0.01


@pytest.mark.parametrize(
    "options", [{"scale": 0}, {"strength": 0.0}, {"fovea_deg": 90.0}]
)
def test_nothing_changes_where_nothing_is_pooled(picture, options):
    seen = FoveatedTexture((128, 128), **options)(picture)
    assert torch.equal(seen, picture)
    assert seen.data_ptr() != picture.data_ptr()


def test_next_to_no_texture_is_next_to_no_change(picture):
    seen = FoveatedTexture((128, 128), strength=1e-6)(picture)
    assert (seen - picture).abs().max() < 1e-3
    assert (seen - picture).abs().mean() < 2e-5


@pytest.mark.parametrize("options", OPTIONS)
def test_grey_pictures_stay_grey(picture, options):
    grey = picture[:, 1:2].expand(-1, 3, -1, -1)
    both = torch.cat([grey, picture])
    seen = FoveatedTexture((128, 128), **options)(both)
    assert torch.equal(seen[0, 0], seen[0, 1])
    assert torch.equal(seen[0, 0], seen[0, 2])
    assert (seen[1, 0] - seen[1, 1]).abs().max() > 0.1


def test_a_flat_picture_stays_flat():
    flat = torch.tensor([0.2, 0.5, 0.7])[None, :, None, None].expand(1, 3, 64, 64)
    seen = FoveatedTexture((64, 64))(flat)
    assert (seen - flat).abs().max() < 1e-4


def test_input_is_left_alone_and_output_is_a_picture(picture):
    before = picture.clone()
    seen = FoveatedTexture((128, 128), strength=1.0)(picture)
    assert torch.equal(picture, before)
    assert seen.dtype == torch.float32
    assert seen.shape == picture.shape
    assert not seen.requires_grad
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_the_intact_disc_moves_with_fixation(picture):
    near, far = (30.0, 90.0), (100.0, 40.0)
    for here, there in ((near, far), (far, near)):
        seen = FoveatedTexture((128, 128), fixation_px=here)(picture)
        change = (seen - picture).abs().amax(dim=1)[0]
        x, y = (int(part) for part in here)
        assert (change[y - 5 : y + 5, x - 5 : x + 5] == 0).all()
        x, y = (int(part) for part in there)
        assert change[y - 5 : y + 5, x - 5 : x + 5].mean() > 0.01


# ----------------------------------------------------------------- random numbers


def test_the_same_seed_gives_the_same_bits(picture):
    for start in ("jitter", "noise"):
        seen = [
            FoveatedTexture((128, 128), start=start)(picture, keys=["a"], seed=3)
            for _ in range(2)
        ]
        assert torch.equal(*seen)


def test_another_seed_differs_in_the_periphery_only(picture):
    texture = FoveatedTexture((128, 128))
    one, other = (texture(picture, seed=seed) for seed in (0, 1))
    fovea = torch.from_numpy(fovea_weight(texture.windows)) == 1
    difference = (one - other).abs()
    assert difference[..., fovea].max() == 0
    assert difference[..., ~fovea].mean() > 0.01


def test_a_picture_does_not_depend_on_its_batch():
    pictures = torch.cat([_picture((64, 64), seed) for seed in range(3)])
    pictures[1] = pictures[1, :1]
    texture = FoveatedTexture((64, 64))
    keys = ["a", 7, "c"]
    together = texture(pictures, keys=keys)
    reverse = texture(pictures.flip(0), keys=keys[::-1])
    assert torch.equal(together, reverse.flip(0))
    for i, key in enumerate(keys):
        assert torch.equal(
            texture(pictures[i : i + 1], keys=[key]), together[i : i + 1]
        )


@pytest.mark.parametrize("start", ["jitter", "noise"])
def test_pictures_worked_on_together_agree_with_those_alone(start):
    pictures = torch.cat([_picture((64, 64), seed) for seed in range(3)])
    alone, together = (
        FoveatedTexture((64, 64), start=start, batch_size=size)(
            pictures, keys=["a", "b", "c"]
        )
        for size in (1, 3)
    )
    assert (alone - together).abs().max() < 1e-4


def test_pictures_without_keys_share_their_random_numbers(picture):
    texture = FoveatedTexture((128, 128))
    twice = texture(torch.cat([picture, picture]))
    assert torch.equal(twice[0], twice[1])
    assert torch.equal(twice[:1], texture(picture, keys=[0]))
    assert not torch.equal(twice[:1], texture(picture, keys=["0"]))


def test_an_empty_batch_stays_empty():
    texture = FoveatedTexture((64, 64))
    assert texture(torch.zeros(0, 3, 64, 64)).shape == (0, 3, 64, 64)


# ------------------------------------------------------------------ sizes, identity


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (64, 90), (101, 70)])
@pytest.mark.parametrize("start", ["jitter", "noise"])
def test_any_size_from_32_px_works(shape, start):
    picture = _picture(shape)
    texture = FoveatedTexture(shape, start=start)
    seen = texture(picture)
    assert seen.shape == picture.shape
    fovea = torch.from_numpy(fovea_weight(texture.windows)) == 1
    assert torch.equal(seen[..., fovea], picture[..., fovea])
    means = [part.mean(dim=(2, 3)) for part in (seen, picture)]
    assert (means[0] - means[1]).abs().max() < 0.02


def test_a_margin_keeps_opposite_borders_apart():
    picture = torch.full((1, 3, 64, 64), 0.4)
    picture[..., :8] = 1.0
    seen = FoveatedTexture((64, 64), strength=1.0)(picture)
    # Circular filters would bring the bright border to the right one.
    assert (seen[..., 60:] - 0.4).abs().max() < 0.01


def test_identity_tells_all_that_matters():
    def identity(**options):
        texture = FoveatedTexture((64, 64), **options)
        return json.dumps(texture.identity, sort_keys=True)

    same = identity()
    assert same == identity(quality="fast", batch_size=4, n_iterations=3)
    others = [
        {"scale": 0.5},
        {"quality": "fine"},
        {"orientation_matching": True},
        {"n_iterations": 4},
        {"start": "noise"},
        {"strength": "clipped"},
        {"strength": 0.5},
        {"fixation_px": (30, 32)},
        {"fovea_deg": 3.0},
        {"px_per_deg": 4.0},
        {"n_scales": 3},
        {"n_orientations": 6},
    ]
    assert len({same, *(identity(**other) for other in others)}) == len(others) + 1


def test_fine_is_five_rounds_with_orientations(picture):
    fine = FoveatedTexture((128, 128), quality="fine")
    spelt = FoveatedTexture((128, 128), n_iterations=5, orientation_matching=True)
    assert torch.equal(fine(picture), spelt(picture))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (31, 64)}, r"`shape` must be within \[32, inf\]; got 31"),
        ({"shape": 64}, "`shape` must be"),
        ({"scale": -0.1}, "`scale` must be within"),
        ({"fixation_px": (65, 3)}, "within the picture of 64 x 64 px; got"),
        ({"fixation_px": (3, -1)}, "within the picture of 64 x 64 px; got"),
        ({"quality": "fats"}, "Did you mean 'fast'"),
        ({"start": "noisy"}, "Did you mean 'noise'"),
        ({"strength": "clip"}, "Did you mean 'clipped'"),
        ({"strength": 1.5}, r"`strength` must be within \[0, 1\]; got 1.5"),
        ({"n_iterations": -1}, "`n_iterations` must be within"),
        ({"n_orientations": 1}, "`n_orientations` must be within"),
        ({"batch_size": 0}, "`batch_size` must be within"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FoveatedTexture(**{"shape": (64, 64), **options})


def test_what_is_no_picture_is_refused():
    texture = FoveatedTexture((64, 64))
    with pytest.raises(ValueError, match="must have shape"):
        texture(torch.zeros(1, 3, 64, 65))
    with pytest.raises(TypeError, match="float32"):
        texture(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        texture(torch.full((1, 3, 64, 64), 1.01))
    with pytest.raises(ValueError, match="one key per picture, 1 in all"):
        texture(torch.zeros(1, 3, 64, 64), keys=["a", "b"])
    with pytest.raises(ValueError, match="one key per picture, 1 in all"):
        texture(torch.zeros(1, 3, 64, 64), keys="a")


# -------------------------------------------------------------------- what it keeps


def test_local_statistics_stay_where_blur_loses_them():
    before = torch.cat([_picture(seed=seed) for seed in range(3)])
    windows = pooling_windows((128, 128), 0.4)
    blurred = FoveatedBlur((128, 128), factor=0.15)(before)
    lost = _measure(before, blurred, windows).mean(axis=1)
    for options in ({}, {"start": "noise"}):
        seen = FoveatedTexture((128, 128), **options)(before)
        kept = _measure(before, seen, windows).mean(axis=1)
        assert kept["magnitude_mean_error"] < 0.5 * lost["magnitude_mean_error"]
        assert kept["magnitude_sd_error"] < 0.65 * lost["magnitude_sd_error"]
        assert 0.85 < kept["fine_energy"] < 1.15
        assert lost["fine_energy"] < 0.3


def test_fine_keeps_correlations_of_orientations_better_than_fast():
    before = torch.cat([_picture(seed=seed) for seed in range(2)])
    windows = pooling_windows((128, 128), 0.4)
    fast, fine = (
        _measure(before, FoveatedTexture((128, 128), quality=quality)(before), windows)
        for quality in ("fast", "fine")
    )
    for name in ("orientation_correlation_error", "magnitude_sd_error"):
        assert fine.loc[name].mean() < fast.loc[name].mean()


def test_full_strength_leaves_no_fine_detail_in_place():
    before = torch.cat([_picture(seed=seed) for seed in range(2)])
    windows = pooling_windows((128, 128), 0.4)
    for start in ("jitter", "noise"):
        seen = FoveatedTexture((128, 128), strength=1.0, start=start)(before)
        assert abs(_measure(before, seen, windows).loc["fine_correlation"].mean()) < 0.1


def test_distortion_grows_with_eccentricity_and_with_scale():
    before = torch.cat([_picture(seed=seed) for seed in range(4)])
    windows = pooling_windows((128, 128), 0.4)
    means = []
    for scale in (0.2, 0.4, 0.8):
        seen = FoveatedTexture((128, 128), scale=scale)(before)
        table = texture_quality(before, seen, windows)
        rings = table[table["measure"] == "distortion"].groupby("ring")["value"].mean()
        means.append((before - seen).abs().mean().item())
        # The last ring lies in the corners.
        assert rings.iloc[:-1].is_monotonic_increasing
    assert means == sorted(means)


def test_numbers_of_this_version():
    ramp = torch.linspace(0, 1, 64)
    red = (0.5 + 0.4 * torch.sin(20 * ramp[:, None] * ramp)).expand(64, 64)
    picture = torch.stack([red, red.flip(1), ramp.expand(64, 64)])[None]
    for options, wanted in FROZEN:
        seen = FoveatedTexture((64, 64), **options)(picture, keys=["p"], seed=1)
        found = seen[0, :, 5::27, 7]
        np.testing.assert_allclose(found.flatten(), wanted, atol=2e-3)


FROZEN = []


# --------------------------------------------------------------------- photographs


@pytest.fixture(scope="module")
def lost(photographs):
    """What a blur loses that is as unlike the photographs as the texture."""
    blur = FoveatedBlur((256, 256), factor=0.1)
    texture = FoveatedTexture((256, 256))
    match = match_blur(blur.with_factor, photographs, texture, low=0.02, high=0.3)
    blurred = blur.with_factor(match.parameter)(photographs)
    return _measure(photographs, blurred, pooling_windows((256, 256), 0.4))


@pytest.mark.parametrize(
    "quality", ["fast", pytest.param("fine", marks=pytest.mark.slow)]
)
def test_photographs_keep_their_local_statistics(photographs, lost, quality):
    seen = FoveatedTexture((256, 256), quality=quality)(photographs)
    kept = _measure(photographs, seen, pooling_windows((256, 256), 0.4))
    assert (kept.loc["magnitude_mean_error"] <= 0.20).all()
    assert (kept.loc["magnitude_sd_error"] <= 0.27).all()
    for name in ("magnitude_mean_error", "magnitude_sd_error"):
        assert kept.loc[name].mean() < 0.5 * lost.loc[name].mean()
    assert kept.loc["fine_energy"].between(0.85, 1.15).all()
    assert (lost.loc["fine_energy"] < 0.3).all()


def test_photographs_at_full_strength_keep_no_fine_detail_in_place(photographs):
    seen = FoveatedTexture((256, 256), strength=1.0)(photographs)
    found = _measure(photographs, seen, pooling_windows((256, 256), 0.4))
    assert (found.loc["fine_correlation"].abs() < 0.1).all()


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives(picture):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    texture = FoveatedTexture((128, 128))
    here = texture(picture)
    there = texture(picture.to("cuda"))
    assert there.device.type == "cuda"
    assert (there.cpu() - here).abs().max() < 2e-3


def test_another_thread_in_between_does_not_swap_random_numbers(picture):
    class Raced(FoveatedTexture):
        @property
        def _last_grid(self):
            return self.__dict__.get("kept")

        @_last_grid.setter
        def _last_grid(self, value):
            if value is not None:
                # What another picture would leave at this very moment.
                value = ("another", value[1].flip(1))
            self.__dict__["kept"] = value

    alone = FoveatedTexture((128, 128), n_iterations=0)(picture, keys=["a"])
    raced = Raced((128, 128), n_iterations=0)(picture, keys=["a"])
    assert (raced == alone).all()


@pytest.mark.parametrize("options", [{}, {"start": "noise", "quality": "fine"}])
def test_mixed_precision_of_the_caller_changes_nothing(picture, options):
    small = picture[..., :48, :48].contiguous()
    texture = FoveatedTexture((48, 48), **options)
    plain = texture(small)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (texture(small) == plain).all()


def test_degrees_much_smaller_than_a_pixel_are_no_problem(picture):
    texture = FoveatedTexture((32, 32), px_per_deg=1e-6)
    seen = texture(picture[..., :32, :32])
    assert seen.isfinite().all()
    assert (seen != picture[..., :32, :32]).any()
