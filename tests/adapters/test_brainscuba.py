"""Captions of weights: what is projected, what stands in for it, what is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from neurovis.adapters.brainscuba import (
    BASELINES,
    NEAREST,
    RANDOM,
    RAW,
    SCALED,
    VoxelCaptioner,
    bank_parts,
    mean_norm,
    projection_table,
)
from neurovis.core.embedding_bank import bank_of
from tests.adapters.toy_captioners import N_FEATURES, make_captioner

HASH = "ab" * 32


def draw(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, N_FEATURES), dtype=np.float32)


@pytest.fixture(scope="module")
def captioner():
    return make_captioner()


@pytest.fixture(scope="module")
def scuba(captioner):
    return VoxelCaptioner(bank_of(2 * draw(90), name="small"), captioner)


# ------------------------------------------------------------------------ captions


def test_a_caption_is_that_of_the_projection_of_the_weights(scuba):
    weights = draw(4, seed=1)
    told = scuba.caption(weights, inverse_temperature=20, beam=2, max_tokens=6)
    found = scuba.project(weights, inverse_temperature=20)
    own = scuba.captioner.caption(found.vectors, beam=2, max_tokens=6)
    pd.testing.assert_frame_equal(told[own.columns.tolist()], own)
    pd.testing.assert_frame_equal(
        told[projection_table(found).columns.tolist()], projection_table(found)
    )
    assert told["unit"].tolist() == [0, 1, 2, 3]
    assert (told["repeat"] == 0).all()


def test_only_the_direction_of_weights_matters(scuba):
    weights = draw(3, seed=2)
    one = scuba.caption(weights, beam=2, max_tokens=5)
    other = scuba.caption(
        weights * np.float32([[0.01], [3], [500]]), beam=2, max_tokens=5
    )
    assert one["caption"].tolist() == other["caption"].tolist()
    np.testing.assert_allclose(one["cosine"], other["cosine"], atol=1e-6)


def test_repeats_take_disjoint_parts_of_the_bank(scuba):
    told = scuba.caption(draw(5, seed=3), n_repeats=3, beam=1, max_tokens=4)
    assert told.groupby("repeat").size().tolist() == [5, 5, 5]
    parts = bank_parts(scuba.bank.n_images, 3)
    assert len(np.unique(np.concatenate(parts))) == 90
    for repeat, rows in enumerate(parts):
        own = told[told["repeat"] == repeat]
        assert set(own["nearest"]) <= set(rows)
        assert (own["effective_number"] <= 30 + 1e-9).all()


def test_parts_of_a_given_size_are_drawn_from_all_of_the_bank():
    (part,) = bank_parts(1000, 1, 10, seed=4)
    assert len(part) == 10
    assert part.max() > 500
    assert (np.diff(part) > 0).all()
    with pytest.raises(ValueError, match="3"):
        bank_parts(10, 3, 4)


# ----------------------------------------------------------------------- baselines


def test_raw_weights_have_length_one_or_that_of_embeddings(scuba):
    weights = draw(4, seed=5)
    raw = scuba.stand_ins(RAW, weights)
    np.testing.assert_allclose(np.linalg.norm(raw, axis=1), 1, rtol=1e-6)
    scaled = scuba.stand_ins(SCALED, weights)
    mean = np.linalg.norm(2 * draw(90).astype(float), axis=1).mean()
    assert mean_norm(scuba.bank) == pytest.approx(mean, rel=1e-6)
    np.testing.assert_allclose(scaled, mean * raw, rtol=1e-5)


def test_the_nearest_image_is_the_one_with_the_largest_cosine(scuba):
    weights, bank = draw(6, seed=6), 2 * draw(90)
    length = np.linalg.norm(bank, axis=1)
    expected = bank[(weights @ bank.T / length).argmax(axis=1)]
    np.testing.assert_array_equal(scuba.stand_ins(NEAREST, weights), expected)
    rows = np.arange(10, 30)
    expected = bank[rows][(weights @ bank[rows].T / length[rows]).argmax(axis=1)]
    found = scuba.stand_ins(NEAREST, weights, rows=rows)
    np.testing.assert_array_equal(found, expected)


def test_random_images_are_rows_of_the_bank_and_depend_on_the_seed_only(scuba):
    one, other = (scuba.stand_ins(RANDOM, draw(20, seed=s), seed=7) for s in (8, 9))
    np.testing.assert_array_equal(one, other)
    bank = {row.tobytes() for row in 2 * draw(90)}
    assert {row.tobytes() for row in one} <= bank
    third = scuba.stand_ins(RANDOM, draw(20), seed=8)
    assert (third != one).any()


@pytest.mark.parametrize("kind", BASELINES)
def test_baselines_refuse_weights_that_point_nowhere(scuba, kind):
    weights = draw(3)
    weights[1] = 0
    with pytest.raises(ValueError, match="unit 1 are all 0"):
        scuba.stand_ins(kind, weights)


# -------------------------------------------------------------------------- faults


def test_bank_and_captioner_of_different_width_are_refused(captioner):
    bank = bank_of(np.ones((4, N_FEATURES + 1), np.float32), name="other")
    with pytest.raises(
        ValueError, match=f"other holds embeddings of {N_FEATURES + 1} values"
    ):
        VoxelCaptioner(bank, captioner)


def test_embeddings_of_different_networks_are_not_mixed(captioner):
    bank = bank_of(draw(5), embedding={"weights_hash": HASH})
    VoxelCaptioner(bank, captioner, {"weights_hash": HASH})
    with pytest.raises(ValueError, match="different networks cannot be mixed"):
        VoxelCaptioner(bank, captioner, {"weights_hash": "cd" * 32})
    known = replace(captioner, embedding={"weights_hash": "ef" * 32})
    with pytest.raises(ValueError, match=r"the captioner .*efefef"):
        VoxelCaptioner(bank, known)


def test_a_captioner_that_does_not_tell_its_network_is_noted(captioner):
    unknown = replace(captioner, embedding={})
    notes = VoxelCaptioner(bank_of(draw(5)), unknown).notes
    assert any("only the number of values was checked" in note for note in notes)
    told = replace(captioner, embedding={"weights_hash": HASH})
    notes = VoxelCaptioner(bank_of(draw(5)), told).notes
    assert not any("only the number of values" in note for note in notes)


def test_weights_of_another_width_are_refused_before_anything(scuba):
    with pytest.raises(ValueError, match="have 9 features; the embeddings of the bank"):
        scuba.caption(np.ones((2, N_FEATURES + 3), np.float32))
    with pytest.raises(ValueError, match="finite"):
        scuba.caption(np.full((2, N_FEATURES), np.nan, np.float32))
