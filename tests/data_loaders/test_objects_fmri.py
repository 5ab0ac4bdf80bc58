"""Voxels of seven regions and 65 categories of objects."""

import json

import numpy as np
import pytest

from data_loaders.objects_fmri import (
    FEATURES,
    N_CATEGORIES,
    N_VOXELS,
    load_objects_features,
    load_objects_fmri,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file
from neurovis.core.unit_responses import open_responses, save_responses

REGIONS = ["EVC", "OPA", "PPA", "LOC", "PFS", "OFA", "FFA"]


def _arrays():
    rng = np.random.default_rng(0)
    betas = rng.normal(size=(N_CATEGORIES, N_VOXELS)).astype(np.float32)
    betas[:, 5] = betas[:, 690]
    return {
        "betas": betas,
        "roi_index": np.sort(np.arange(N_VOXELS) % 7 + 1).astype(np.int8),
        "roi_names": np.array(REGIONS),
        "categories": np.array([f"thing {i}" for i in range(N_CATEGORIES)]),
        "alexnet_pcs": rng.normal(size=(N_CATEGORIES, 20)).astype(np.float32),
        "word2vec_pcs": rng.normal(size=(N_CATEGORIES, 30)).astype(np.float32),
    }


def _write(folder, **changes):
    arrays = _arrays() | changes
    kept = {name: a for name, a in arrays.items() if a is not None}
    np.savez_compressed(folder / "data.npz", **kept)


def test_small_files_give_the_common_form(tmp_path):
    _write(tmp_path)
    responses = load_objects_fmri(tmp_path)
    arrays = _arrays()
    np.testing.assert_array_equal(responses.betas, arrays["betas"])
    assert responses.betas.dtype == np.float32
    assert responses.pictures is None
    assert responses.space is None
    assert responses.stimuli["stimulus_id"].tolist()[:2] == ["thing_0", "thing_1"]
    assert responses.stimuli["category"].tolist() == arrays["categories"].tolist()
    assert (responses.stimuli["n_repeats"] == 1).all()
    assert (responses.stimuli["n_pictures"] == 10).all()
    assert responses.regions() == {"region": REGIONS}
    assert responses.units["unit_id"].iloc[[0, -1]].tolist() == [
        "voxel-000",
        "voxel-695",
    ]
    ppa = responses.select_units("PPA")
    np.testing.assert_array_equal(
        ppa.betas, arrays["betas"][:, arrays["roi_index"] == 3]
    )
    assert ppa.units["voxel"].tolist() == list(range(ppa.n_units))
    assert responses.fingerprints == {"data.npz": sha256_file(tmp_path / "data.npz")}
    assert responses.notes[1].startswith("1 of 696 voxels repeat")


def test_features_have_the_rows_of_the_responses(tmp_path):
    _write(tmp_path)
    features = load_objects_features(tmp_path)
    assert tuple(features) == FEATURES
    for name, values in features.items():
        np.testing.assert_array_equal(values, _arrays()[name])
        assert values.dtype == np.float32


def test_what_is_loaded_comes_back_from_disk(tmp_path):
    _write(tmp_path)
    responses = load_objects_fmri(tmp_path)
    save_responses(tmp_path / "saved", responses)
    back = open_responses(tmp_path / "saved")
    np.testing.assert_array_equal(back.betas, responses.betas)
    assert back.units.equals(responses.units)
    assert back.stimuli.equals(responses.stimuli)
    assert back.notes == responses.notes


def _with(name, where, value):
    array = _arrays()[name]
    array[where] = value
    return {name: array}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"betas": None}, r"lacks the arrays \['betas'\]"),
        ({"roi_index": None}, r"lacks the arrays \['roi_index'\]"),
        ({"categories": None}, "categories"),
        ({"betas": _arrays()["betas"][:64]}, r"`betas` must have shape \(65, 696\)"),
        ({"betas": _arrays()["betas"].T}, r"got \(696, 65\)"),
        ({"betas": np.ones((65, 696), np.int16)}, "floating-point numbers; it holds i"),
        (_with("betas", (3, 4), np.nan), "1 values that are not finite"),
        (_with("betas", (3, 4), np.inf), "1 values that are not finite"),
        ({"roi_index": _arrays()["roi_index"][1:]}, "`roi_index` must have shape"),
        ({"roi_index": _arrays()["roi_index"] - 1}, "every number of a region, 1..7"),
        ({"roi_index": np.ones(696, np.int8)}, "every number of a region, 1..7"),
        ({"roi_index": np.ones(696)}, "float64 from 1.0 to 1.0"),
        ({"roi_names": np.array(REGIONS[:6])}, "every number of a region, 1..6"),
        ({"roi_names": np.array(["EVC"] * 7)}, "`roi_names` must hold distinct"),
        ({"roi_names": np.arange(7)}, "`roi_names` must be a list of text"),
        ({"categories": np.array(["a", "b"])}, "must be 65 names; it has 2"),
        (_with("categories", 1, "thing_0"), "differ in special signs only"),
        (_with("categories", 1, "thing 0"), "`categories` must hold distinct"),
        ({"betas": np.full((65, 696), None)}, "Object arrays"),
        ({"categories": np.full(65, None)}, "Object arrays"),
    ],
)
def test_impossible_content_is_corrupt(tmp_path, change, match):
    _write(tmp_path, **change)
    with pytest.raises(DataCorruptError, match=match):
        load_objects_fmri(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"alexnet_pcs": None}, r"lacks the arrays \['alexnet_pcs'\]"),
        ({"word2vec_pcs": np.zeros((64, 30), np.float32)}, "`word2vec_pcs` must have"),
        (_with("alexnet_pcs", (0, 0), np.nan), "`alexnet_pcs` has 1 values"),
    ],
)
def test_impossible_features_are_corrupt(tmp_path, change, match):
    _write(tmp_path, **change)
    with pytest.raises(DataCorruptError, match=match):
        load_objects_features(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_corrupt(tmp_path, share):
    _write(tmp_path)
    data = (tmp_path / "data.npz").read_bytes()
    (tmp_path / "data.npz").write_bytes(data[: int(share * len(data))])
    for load in (load_objects_fmri, load_objects_features):
        with pytest.raises(DataCorruptError, match=r"data\.npz is not a readable"):
            load(tmp_path)


def test_a_changed_byte_is_found_by_the_checksum(tmp_path):
    _write(tmp_path)
    data = bytearray((tmp_path / "data.npz").read_bytes())
    data[2000] ^= 255
    (tmp_path / "data.npz").write_bytes(bytes(data))
    with pytest.raises(DataCorruptError, match="not a readable NumPy file"):
        load_objects_fmri(tmp_path)


def test_a_missing_file_or_folder_is_named(tmp_path):
    for load in (load_objects_fmri, load_objects_features):
        with pytest.raises(FileNotFoundError, match=r"data\.npz"):
            load(tmp_path)
        with pytest.raises(FileNotFoundError, match="`folder` must be an existing"):
            load(tmp_path / "nothing")


# ------------------------------------------------------------ the real file


@pytest.fixture(scope="module")
def folder(data_folder):
    return data_folder / "objects_fmri"


def test_regions_and_categories_are_those_of_the_source(folder):
    responses = load_objects_fmri(folder)
    assert responses.betas.shape == (65, 696)
    sizes = {r: int(responses.in_region(r).sum()) for r in REGIONS}
    assert sizes == dict.fromkeys(REGIONS, 100) | {"LOC": 96}
    assert (responses.stimuli["stimulus_id"] == responses.stimuli["category"]).all()
    assert {"airplane", "swivel_chair", "vase"} <= set(responses.stimuli["category"])
    assert responses.notes[1].startswith("17 of 696 voxels repeat")


def _leave_one_out_r(x, y, penalty):
    """Correlate each voxel with predictions from ridge fits to the other rows."""
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    x = np.column_stack([x, np.ones(len(x))])
    penalties = penalty * np.diag(np.arange(x.shape[1]) < x.shape[1] - 1)
    predicted = np.empty_like(y)
    for row in range(len(y)):
        rest = np.arange(len(y)) != row
        gram = x[rest].T @ x[rest] + penalties
        predicted[row] = x[row] @ np.linalg.solve(gram, x[rest].T @ y[rest])
    a, b = predicted - predicted.mean(axis=0), y - y.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))


@pytest.mark.parametrize("name", FEATURES)
def test_cross_validated_ridge_gives_the_reference_scores(folder, name):
    reference = json.loads((folder / "reference_values.json").read_text())["values"]
    responses = load_objects_fmri(folder)
    features = load_objects_features(folder)[name].astype(np.float64)
    r = _leave_one_out_r(features, responses.betas.astype(np.float64), 10.0)
    for region, value in reference[name].items():
        score = float(r[responses.in_region(region)].mean())
        assert score == pytest.approx(value, abs=6e-5)
