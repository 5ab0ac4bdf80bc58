"""What encoders are trained on: standardised responses, subjects side by side."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import tasks.encoder_training
from neurovis.core.brain_space import HEMISPHERES
from tasks.encoder_maps import MapLayout, MapRows
from tasks.encoder_model import ScaledMaps
from tasks.encoder_training import Member, _FingerprintedMaps, _gather


def subject(name, n, n_units, seed, order="C"):
    rng = np.random.default_rng(seed)
    betas = (rng.standard_normal((n, n_units)) * 3 + 7).astype(np.float32)
    sides = np.array(HEMISPHERES)[np.arange(n_units) % 2]
    responses = SimpleNamespace(
        betas=np.asarray(betas, order=order),
        n_units=n_units,
        stimuli=pd.DataFrame({"stimulus_id": [f"p{i}" for i in range(n)]}),
        units=pd.DataFrame(
            {"unit_id": np.arange(n_units).astype(str), "hemisphere": sides}
        ),
    )
    train = np.sort(rng.permutation(n)[: n - 5])
    data = SimpleNamespace(responses=responses, name=f"data/{name}", subject=name)
    return Member(SimpleNamespace(data=data, final_train=train), None)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("at_once", [2**22, 100, 1])
def test_responses_are_standardised_unit_by_unit(order, at_once, monkeypatch):
    monkeypatch.setattr(tasks.encoder_training, "_NUMBERS_AT_ONCE", at_once)
    member = subject("s1", 40, 7, 0, order)
    betas, train = member.held.data.responses.betas, member.held.final_train
    betas[:, 2] = 4.25
    betas[train[3], 5] = np.nan
    found = _gather([member], None)
    wide = betas[train].astype(np.float64)
    good = [0, 1, 3, 4, 6]
    expected = (wide - wide.mean(0)) / np.where(wide.std(0) > 0, wide.std(0), 1)
    (block,) = found.responses.blocks
    assert block.dtype == np.float32
    assert block.flags.c_contiguous
    np.testing.assert_allclose(block, expected[:, good], rtol=1e-6, atol=1e-7)
    assert found.columns[0].tolist() == [0, 1, -1, 2, 3, -1, 4]
    assert found.units["unit_id"].tolist() == [str(k) for k in good]
    assert found.parts.tolist() == [0, 1, 1, 0, 0]
    np.testing.assert_allclose(found.mean[0], wide.mean(0), rtol=1e-6)
    spread = np.where(np.isin(np.arange(7), good), wide.std(0), np.nan)
    np.testing.assert_allclose(found.scale[0], spread, rtol=1e-6)


def test_subjects_have_blocks_of_their_own():
    members = [subject("s1", 40, 6, 0), subject("s2", 30, 4, 1)]
    found = _gather(members, None)
    assert [block.shape for block in found.responses.blocks] == [(35, 6), (25, 4)]
    assert found.responses.shape == (60, 10)
    assert found.rows == (slice(0, 35), slice(35, 60))
    assert [c.tolist() for c in found.columns] == [[*range(6)], [*range(6, 10)]]
    assert found.units["unit_id"].tolist()[5:7] == ["s1 5", "s2 0"]
    assert sorted(set(found.parts[6:])) == [2, 3]
    train = members[1].held.final_train
    assert found.groups[35:].tolist() == [f"p{i}" for i in train]


def test_responses_that_do_not_fit_are_refused_before_they_are_made(monkeypatch):
    members = [subject("s1", 40, 6, 0), subject("s2", 30, 4, 1)]
    needed = 4 * (35 * 6 + 25 * 4)
    target = "free_memory_bytes"
    monkeypatch.setattr(tasks.encoder_training, target, lambda _: int(needed / 0.7))
    assert _gather(members, None).responses.shape == (60, 10)
    monkeypatch.setattr(tasks.encoder_training, target, lambda _: needed)
    monkeypatch.setattr(tasks.encoder_training, "_unit_moments", None)
    with pytest.raises(MemoryError, match=r"data/s1, data/s2 .*subjects one by one"):
        _gather(members, None)
    monkeypatch.setattr(tasks.encoder_training, target, lambda _: 1)
    with pytest.raises(MemoryError, match=r"Choose fewer regions or units\.$"):
        _gather(members[:1], None)


def test_maps_are_scaled_in_place_with_the_bits_of_those_that_predict():
    layout = MapLayout((4, 3, 5), is_tokens=True)
    rng = np.random.default_rng(0)
    stored = rng.standard_normal((9, 60), np.float32)
    before = stored.copy()
    maps = MapRows((stored,), (layout,), np.arange(9))
    moments = rng.standard_normal((2, 4)).astype(np.float32)
    for rows in (np.array([0, 4, 5]), np.array([7, 7, 1]), np.arange(9)):
        np.testing.assert_array_equal(
            _FingerprintedMaps(maps, *moments)[rows], ScaledMaps(maps, *moments)[rows]
        )
    np.testing.assert_array_equal(stored, before)
