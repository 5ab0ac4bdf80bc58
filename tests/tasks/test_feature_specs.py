"""Features as a user asks for them: requests, and what they give."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features
from neurovis.adapters.projections import sparse_projection
from neurovis.core.errors import DataCorruptError
from neurovis.core.pictures import LazyPictures
from neurovis.core.unit_responses import UnitResponses
from tasks.brain_sources import BrainData
from tasks.feature_specs import (
    DEFAULT_LAYERS,
    FeatureSpec,
    distinct_stimuli,
    fingerprint_features,
    load_feature_parts,
    load_features,
    parse_features,
    split_layer,
)

COLOUR = ["lab:grid2", "statistics"]


def picture(number):
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def make_data(ids="abcd", pictures=True, **options):
    ids = list(ids)
    numbers = [ord(name) for name in ids]
    responses = UnitResponses(
        "tiny",
        "s1",
        np.zeros((len(ids), 2), np.float32),
        pd.DataFrame({"stimulus_id": ids, "n_repeats": 1}),
        pd.DataFrame({"unit_id": ["u0", "u1"]}),
        pictures=LazyPictures(picture, numbers) if pictures else None,
    )
    return BrainData(responses, **options)


def direct(ids, layers):
    backbone = load_backbone("control:colour")
    return extract_features(backbone, [picture(ord(n)) for n in ids], layers)


# -------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        (
            "timm:resnet50:layer3:gap,layer4:gap",
            FeatureSpec("network", "timm:resnet50", ("layer3:gap", "layer4:gap")),
        ),
        (
            "timm:vit_base_patch16_224@seeded:0:blocks.5:cls",
            FeatureSpec(
                "network", "timm:vit_base_patch16_224", ("blocks.5:cls",), "seeded:0"
            ),
        ),
        (
            "squeezenet1_0@dir/w.safetensors:early=conv1:gap+fire2:gap",
            FeatureSpec(
                "network",
                "squeezenet1_0",
                ("early=conv1:gap+fire2:gap",),
                "dir/w.safetensors",
            ),
        ),
        ("given:word2vec_pcs", FeatureSpec("given", "word2vec_pcs", ())),
        ("file:x/y.npy", FeatureSpec("file", "x/y.npy", ())),
        ("file:x/y.npz:a,b", FeatureSpec("file", "x/y.npz", ("a", "b"))),
    ],
)
def test_requests_are_read(text, spec):
    assert parse_features(text) == spec


def test_networks_that_are_known_have_layers_of_their_own():
    for name, layers in DEFAULT_LAYERS.items():
        assert parse_features(name).layers == layers
        assert parse_features(f"{name}@seeded:3").weights == "seeded:3"
    for name in ("control:gabor", "control:pyramid", "control:colour"):
        parts = [p for layer in DEFAULT_LAYERS[name] for p in split_layer(layer)[1]]
        found = extract_features(load_backbone(name), [picture(0)], parts)
        assert set(found) == set(parts)


def test_titles_tell_weights_apart():
    titles = [
        parse_features(text).title
        for text in (
            "control:colour",
            "squeezenet1_0@seeded:1",
            "squeezenet1_0@a/b.safetensors",
            "file:a/b.npz",
            "given:pcs",
        )
    ]
    expected = ["control:colour", "squeezenet1_0@seeded:1", "squeezenet1_0@b", "b"]
    assert titles == [*expected, "pcs"]
    assert parse_features("given:pcs", label="words").title == "words"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("resnet50:layer3:gap", ValueError, "with a network 'timm:NAME'"),
        ("timm:resnet50", ValueError, "names no layers: write timm:resnet50:LAYER"),
        ("given:", ValueError, "must be NETWORK"),
        ("squeezenet1_0:conv1:gap,conv1:gap", ValueError, "names a layer twice"),
        ("squeezenet1_0:a=+conv1:gap", ValueError, "none of them empty"),
        ("", ValueError, "must be NETWORK"),
        (7, TypeError, "must be text"),
    ],
)
def test_requests_of_another_form_are_refused(text, error, message):
    with pytest.raises(error, match=message):
        parse_features(text)


# -------------------------------------------------------------------- features


def test_features_of_a_network_are_those_of_its_layers():
    data = make_data()
    spec = parse_features("control:colour:statistics,both=lab:grid2+statistics")
    found = load_features(spec, data)
    expected = direct("abcd", COLOUR)
    np.testing.assert_array_equal(found["statistics"], expected["statistics"])
    both = np.hstack([expected["lab:grid2"], expected["statistics"]])
    np.testing.assert_array_equal(found["both"], both)


def test_trials_of_one_stimulus_share_features_and_each_picture_is_seen_once():
    data = make_data("bacab")
    seen = []

    def counted(number):
        seen.append(number)
        return picture(number)

    pictures = LazyPictures(counted, [ord(name) for name in "bacab"])
    data = replace(data, responses=replace(data.responses, pictures=pictures))
    found = load_features(parse_features("control:colour:statistics"), data)
    assert sorted(seen) == [ord(name) for name in "abc"]
    expected = direct("bacab", ["statistics"])["statistics"]
    np.testing.assert_array_equal(found["statistics"], expected)
    codes, first = distinct_stimuli(data.responses)
    assert codes.tolist() == [0, 1, 2, 1, 0]
    assert first.tolist() == [0, 1, 2]


def test_a_store_gives_the_same_numbers_and_keeps_them(tmp_path):
    data = make_data()
    spec = parse_features("control:colour:lab:grid2")
    kept = load_features(spec, data, store=tmp_path)["lab:grid2"]
    np.testing.assert_array_equal(kept, load_features(spec, data)["lab:grid2"])
    parts, codes = load_feature_parts(spec, data, store=tmp_path)
    assert isinstance(parts["lab:grid2"][0], np.memmap)
    assert codes.tolist() == [0, 1, 2, 3]
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1


def test_projections_are_applied_by_request():
    data = make_data()
    spec = parse_features("control:colour:both=lab:grid2+statistics")
    projection = sparse_projection(12, 5)
    found = load_features(spec, data, projection={"lab:grid2": projection})["both"]
    expected = direct("abcd", COLOUR)
    np.testing.assert_allclose(
        found[:, :5], projection.transform(expected["lab:grid2"]), rtol=1e-6
    )
    np.testing.assert_array_equal(found[:, 5:], expected["statistics"])


def test_given_features_are_found_by_name():
    deep = np.arange(8, dtype=np.float32).reshape(4, 2)
    data = make_data(pictures=False, features={"deep": deep})
    np.testing.assert_array_equal(
        load_features(parse_features("given:deep"), data)[""], deep
    )
    with pytest.raises(ValueError, match="Did you mean 'deep'"):
        load_features(parse_features("given:depe"), data)
    with pytest.raises(ValueError, match="has no pictures, so that control:colour"):
        load_features(parse_features("control:colour"), data)


def test_files_are_read_by_row_or_by_stimulus(tmp_path):
    rows = np.arange(8.0).reshape(4, 2)
    np.save(tmp_path / "rows.npy", rows)
    data = make_data("abca")
    found = load_features(parse_features(f"file:{tmp_path}/rows.npy"), data)
    assert found[""].dtype == np.float32
    np.testing.assert_array_equal(found[""], rows)
    path = tmp_path / "named.npz"
    np.savez(path, stimulus_id=np.array(["c", "a", "x", "b"]), one=rows, two=-rows)
    found = load_features(parse_features(f"file:{path}"), data)
    assert list(found) == ["one", "two"]
    np.testing.assert_array_equal(found["one"], rows[[1, 3, 0, 1]])
    found = load_features(parse_features(f"file:{path}:two"), data)
    np.testing.assert_array_equal(found["two"], -rows[[1, 3, 0, 1]])


def test_files_that_do_not_fit_are_refused(tmp_path):
    data = make_data()
    with pytest.raises(FileNotFoundError, match="`features` must be an existing file"):
        load_features(parse_features(f"file:{tmp_path}/none.npy"), data)
    np.save(tmp_path / "short.npy", np.ones((3, 2)))
    with pytest.raises(DataCorruptError, match=r"of shape \(4, n_features\); got"):
        load_features(parse_features(f"file:{tmp_path}/short.npy"), data)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "short.npy").read_bytes()[:60])
    with pytest.raises(DataCorruptError, match="file of features"):
        load_features(parse_features(f"file:{tmp_path}/cut.npy"), data)
    ids = np.array(["a", "b", "c"])
    np.savez(tmp_path / "few.npz", stimulus_id=ids, x=np.ones((3, 2)))
    with pytest.raises(ValueError, match="no features of 1 stimuli, such as 'd'"):
        load_features(parse_features(f"file:{tmp_path}/few.npz"), data)
    np.savez(tmp_path / "two.npz", stimulus_id=np.array(["a", "a"]), x=np.ones((2, 2)))
    with pytest.raises(ValueError, match="several rows of one stimulus_id"):
        load_features(parse_features(f"file:{tmp_path}/two.npz"), data)
    np.savez(tmp_path / "bare.npz", x=np.ones((4, 2)))
    with pytest.raises(DataCorruptError, match="no array `stimulus_id`"):
        load_features(parse_features(f"file:{tmp_path}/bare.npz"), data)


def test_fingerprints_follow_weights_and_files(tmp_path):
    one = fingerprint_features(parse_features("squeezenet1_0@seeded:0"))
    other = fingerprint_features(parse_features("squeezenet1_0@seeded:1"))
    assert set(one) == {"weights"}
    assert one != other
    np.save(tmp_path / "a.npy", np.ones((2, 2)))
    assert len(fingerprint_features(parse_features(f"file:{tmp_path}/a.npy"))) == 1
    assert fingerprint_features(parse_features("given:x")) == {}
