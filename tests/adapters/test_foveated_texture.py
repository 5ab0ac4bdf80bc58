"""Two-stage systems: a transform, then a classifier."""

import numpy as np
import pytest
import torch

from neurovis.adapters.foveated_texture import (
    TwoStageSystem,
    load_system,
    make_stage,
    resized,
    save_system,
    to_bytes,
    to_unit,
)
from neurovis.adapters.scene_classifier import (
    ClassifierSpec,
    SceneClassifier,
    build_classifier,
    save_classifier,
    to_input,
)
from neurovis.foveation.transforms import FoveationSettings

TINY = {"channels": [8, 8, 8, 8], "stem_type": ""}
SPEC = ClassifierSpec("timm:resnet10t", ("sea", "wood", "town"), 32, TINY)
TEXTURE = FoveationSettings(px_per_deg=3.0, fixation_px=(20.0, 30.0))


@pytest.fixture(scope="module")
def classifier():
    network = build_classifier(SPEC, seed=1)
    return SceneClassifier("net", SPEC, network, {"n_epochs": 1})


def pictures(n, height=64, width=64):
    return list(
        np.random.default_rng(n).integers(0, 256, (n, height, width, 3), np.uint8)
    )


def test_bytes_come_back_from_the_unit_range():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = np.stack([ramp, ramp[::-1], ramp.T], axis=-1)
    unit = to_unit([picture, picture[::-1]])
    assert (unit.dtype, unit.shape) == (torch.float32, (2, 3, 16, 16))
    assert (unit.min(), unit.max()) == (0, 1)
    back = to_bytes(unit)
    assert np.array_equal(back[0], picture)
    assert np.array_equal(back[1], picture[::-1])


def test_resizing_is_left_out_where_the_size_fits():
    images = torch.rand(1, 3, 24, 24)
    assert resized(images, None) is images
    assert resized(images, 24) is images
    small = resized(images, 12)
    assert small.shape == (1, 3, 12, 12)
    torch.testing.assert_close(small.mean(), images.mean(), atol=0.01, rtol=0)
    white = resized(torch.ones(1, 3, 9, 20), 7)
    assert white.max() <= 1
    torch.testing.assert_close(white, torch.ones(1, 3, 7, 7))


def test_a_system_is_its_stages_one_after_the_other(classifier):
    system = TwoStageSystem("texture", TEXTURE, classifier)
    shown = pictures(2)
    found = system.classify(shown, keys=["a", "b"], seed=4)
    seen = make_stage(TEXTURE, (64, 64))(to_unit(shown), keys=["a", "b"], seed=4)
    pixels = to_input(to_bytes(resized(seen, 32)), 32)
    assert torch.equal(found, classifier.logits(pixels))
    assert not torch.equal(found, system.classify(shown, keys=["a", "b"], seed=5))
    raw = TwoStageSystem("raw", FoveationSettings("reference"), classifier)
    plain = classifier.logits(to_input(shown, 32))
    # Halves of levels may be rounded to either side.
    torch.testing.assert_close(raw.classify(shown), plain, atol=2e-3, rtol=0)


def test_pictures_of_any_size_are_seen_one_by_one(classifier):
    system = TwoStageSystem("texture", TEXTURE, classifier)
    shown = [*pictures(1, 40, 64), *pictures(1, 64, 50), *pictures(1, 40, 64)]
    found = system.classify(shown, keys=[0, 1, 2])
    alone = [system.classify([p], keys=[i]) for i, p in enumerate(shown)]
    torch.testing.assert_close(found, torch.cat(alone), atol=2e-6, rtol=1e-5)


def test_settings_are_in_pixels_of_the_rendering(classifier):
    blur = FoveationSettings("uniform-blur", sigma_px=4.0)
    shown = pictures(1, 128, 96)
    squared = to_input(shown, 64)[0].permute(1, 2, 0).numpy()
    system = TwoStageSystem("blur", blur, classifier, render_px=64)
    plain = TwoStageSystem("blur", blur, classifier)
    assert torch.equal(system.classify(shown), plain.classify([squared]))
    assert not torch.equal(system.classify(shown), plain.classify(shown))
    assert system.identity != plain.identity


@pytest.mark.parametrize("render_px", [None, 48])
def test_a_system_comes_back_from_its_folder(classifier, tmp_path, render_px):
    made = TwoStageSystem("texture", TEXTURE, classifier, render_px)
    save_system(made, tmp_path / "system")
    found = load_system(tmp_path / "system")
    assert (found.name, found.settings) == (made.name, made.settings)
    assert (found.identity, found.render_px) == (made.identity, render_px)
    shown = pictures(1)
    assert torch.equal(found.classify(shown), made.classify(shown))
    with pytest.raises(FileExistsError):
        save_system(made, tmp_path / "system")


def test_a_codec_must_be_that_of_the_training(classifier, tmp_path):
    files = tuple(str(tmp_path / name) for name in ("encoder", "decoder"))
    for file in files:
        with open(file, "w") as out:  # noqa: PTH123
            out.write(file)
    coded = FoveationSettings("style-codec", codec=files)
    save_system(TwoStageSystem("coded", coded, classifier), tmp_path / "system")
    assert load_system(tmp_path / "system", codec=files).settings == coded
    with pytest.raises(ValueError, match="`codec`"):
        load_system(tmp_path / "system")
    with pytest.raises(ValueError, match="must be the files with which"):
        load_system(tmp_path / "system", codec=files[::-1])


def test_a_classifier_alone_is_no_system(classifier, tmp_path):
    save_classifier(classifier, tmp_path / "net")
    with pytest.raises(ValueError, match="without a first stage"):
        load_system(tmp_path / "net")


def test_untrained_weights_are_told_under_the_name_of_the_system(classifier):
    bare = SceneClassifier("net", SPEC, classifier.network)
    system = TwoStageSystem("texture", TEXTURE, bare)
    assert system.notes == ("texture: untrained weights",)
    assert TwoStageSystem("texture", TEXTURE, classifier).notes == ()


def test_what_is_no_picture_is_refused(classifier):
    system = TwoStageSystem("texture", TEXTURE, classifier)
    with pytest.raises(TypeError, match="`image`"):
        system.classify([np.zeros((64, 64, 3))])
    with pytest.raises(ValueError, match=r"`shape` must be within \[32"):
        system.classify(pictures(1, 24, 64))
