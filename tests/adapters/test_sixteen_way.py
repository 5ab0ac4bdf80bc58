"""Networks of 1000 classes as observers with 16 answers."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from analysis.sixteen_classes import CATEGORIES, CLASS_INDICES
from neurovis.adapters.classifiers import load_classifier
from neurovis.adapters.sixteen_way import (
    PROBABILITY_COLUMNS,
    SIZINGS,
    load_sixteen_way,
)
from neurovis.adapters.trunk_weights import seeded_state, squeezenet_shapes
from neurovis.core.types import StimulusSet, Viewing


def pictures(n=3, side=224):
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (side, side, 3)).astype(np.uint8) for _ in range(n)]


def stimuli(images, **columns):
    table = pd.DataFrame({"stimulus_id": [f"p{i}" for i in range(len(images))]})
    return StimulusSet("set", table.assign(**columns), Viewing(74, 224, 224), images)


@pytest.fixture(scope="module")
def vit():
    return load_sixteen_way("timm:test_vit", "seeded:0", device="cpu")


def test_probabilities_are_the_softmax_of_the_network_itself(tmp_path):
    state = seeded_state(squeezenet_shapes(), 3)
    path = tmp_path / "net.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    shown = pictures(2)
    found = load_sixteen_way("squeezenet1_0", path, device="cpu").probabilities(shown)
    resized = [
        np.array(Image.fromarray(p).resize((227, 227), Image.Resampling.BICUBIC))
        for p in shown
    ]
    logits = load_classifier("squeezenet1_0", str(path)).logits(
        torch.from_numpy(np.stack(resized))
    )
    expected = torch.softmax(logits.double(), dim=1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


def test_the_response_is_the_category_with_the_largest_mean_probability(vit):
    shown = pictures(4)
    probabilities = vit.probabilities(shown)
    table = vit.decide(stimuli(shown)).table
    for row, own in zip(probabilities, table.to_dict("records"), strict=True):
        means = {c: row[list(i)].mean() for c, i in CLASS_INDICES.items()}
        assert own["response"] == max(means, key=means.get)
        scores = [own[name] for name in PROBABILITY_COLUMNS]
        np.testing.assert_allclose(scores, [means[c] for c in CATEGORIES], rtol=1e-12)


def test_probabilities_sum_to_one_whatever_the_batch(vit):
    shown = pictures(5)
    small = load_sixteen_way("timm:test_vit", "seeded:0", device="cpu", batch_size=2)
    together, apart = vit.probabilities(shown), small.probabilities(shown)
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(together, apart, rtol=1e-4)
    assert vit.probabilities([]).shape == (0, 1000)


def test_answers_are_right_where_they_name_the_truth_and_unknown_without_it(vit):
    shown = pictures(3)
    answers = vit.decide(stimuli(shown)).table
    assert answers["correct"].isna().all()
    truth = [answers["response"][0], "no such", answers["response"][2]]
    known = vit.decide(stimuli(shown, truth=truth)).table
    assert known["correct"].tolist() == [True, False, True]
    assert known["rt_ms"].isna().all()


@pytest.mark.parametrize("sizing", SIZINGS)
def test_every_sizing_brings_pictures_to_the_input(sizing):
    observer = load_sixteen_way(
        "timm:test_vit", "seeded:0", sizing=sizing, device="cpu"
    )
    (picture,) = pictures(1, 300)
    assert observer._prepare(picture).shape == (160, 160, 3)


def test_sizings_keep_all_cut_the_border_or_leave_the_picture_alone():
    # A picture whose border differs from its centre tells what was cut away.
    picture = np.zeros((448, 448, 3), np.uint8)
    picture[24:-24, 24:-24] = 200
    found = {
        sizing: load_sixteen_way(
            "darknet_tiny", "seeded:0", sizing=sizing, device="cpu"
        )
        for sizing in ("whole", "published")
    }
    whole = found["whole"]._prepare(picture)
    cut = found["published"]._prepare(picture)
    assert whole.shape == cut.shape == (224, 224, 3)
    assert (whole[0] == 0).all()
    assert cut.min() > 150
    exact = np.ascontiguousarray(picture[:224, :224])
    assert found["published"]._prepare(exact) is exact
    np.testing.assert_array_equal(found["whole"]._prepare(exact), exact)


def test_published_sizing_gives_squeezenet_224_pixels_and_whole_227():
    sides = {
        sizing: load_sixteen_way(
            "squeezenet1_0", "seeded:0", sizing=sizing, device="cpu"
        ).backbone.preprocessing.size_px
        for sizing in ("published", "whole", "own")
    }
    assert sides == {"published": (224, 224), "whole": (227, 227), "own": (227, 227)}


def test_random_weights_are_told_and_identity_depends_on_all_that_matters(vit):
    assert vit.name == "timm:test_vit@seeded:0"
    assert "untrained" in vit.notes[0]
    assert not vit.trained
    others = [
        load_sixteen_way("timm:test_vit", "seeded:1", device="cpu"),
        load_sixteen_way("timm:test_vit", "seeded:0", device="cpu", rule="max"),
        load_sixteen_way("timm:test_vit", "seeded:0", device="cpu", sizing="own"),
    ]
    again = load_sixteen_way("timm:test_vit", "seeded:0", device="cpu", label="other")
    assert again.identity == vit.identity
    assert again.name == "other"
    assert all(other.identity != vit.identity for other in others)


def test_a_network_without_1000_classes_is_refused():
    with pytest.raises(ValueError, match="must give 1000 ImageNet logits"):
        load_sixteen_way("compact_vgg", "shipped", device="cpu")


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="`sizing` must be one of"):
        load_sixteen_way("timm:test_vit", "seeded:0", sizing="all")
    with pytest.raises(ValueError, match="`rule` must be one of"):
        load_sixteen_way("timm:test_vit", "seeded:0", rule="median")
    with pytest.raises(FileNotFoundError):
        load_sixteen_way("darknet_tiny", "nowhere.safetensors")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_answers_on_a_gpu_are_those_on_the_cpu(vit):
    shown = pictures(4)
    there = load_sixteen_way("timm:test_vit", "seeded:0", device="cuda")
    np.testing.assert_allclose(
        there.probabilities(shown), vit.probabilities(shown), rtol=1e-3, atol=1e-6
    )
