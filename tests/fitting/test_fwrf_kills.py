"""A search for receptive fields that is killed goes on, and ends with equal bits."""

import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

from neurovis.core.rng import generator
from neurovis.core.store import Store
from neurovis.fitting import fwrf_search
from neurovis.fitting.fwrf import FwRF, candidate_grid

# One process imports torch; every attempt is a fork of it.
PROGRAM = """
import os, random, signal, sys, time
from pathlib import Path

import numpy as np
import torch

from neurovis.core.rng import generator
from neurovis.fitting.fwrf import FwRF, candidate_grid

folder = Path(sys.argv[1])
torch.set_num_threads(1)
rng = generator(0, "kills")
maps = [rng.standard_normal((90, 12, side, side)) for side in (8, 4)]
y = rng.standard_normal((90, 40)).astype(np.float32)


def attempt(name, n_syncs=None):
    child = os.fork()
    if child:
        return child
    sync, calls = os.fsync, []

    def counted(handle):
        calls.append(handle)
        if len(calls) == n_syncs:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = counted
    model = FwRF(
        candidate_grid(3, 0.1, 0.3), [1.0, 100.0], cv=3, device="cpu",
        n_candidates_batch=40, folder=folder / name,
    )
    model.fit(maps, y)
    values = [model.losses_, model.candidate_, model.coef_, model.intercept_]
    values += [model.feature_mean_, model.predict(maps)]
    np.savez(folder / f"{name}.npz", *values)
    os._exit(0)


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


start = time.monotonic()
assert wait(attempt("whole")) == 0
duration = time.monotonic() - start
draw, codes = random.Random(7), []
while 0 not in codes:
    if len(codes) % 2:
        child = attempt("killed", 7 + 3 * len(codes))
    else:
        child = attempt("killed")
        # Longer and longer, because a busy machine may need that.
        time.sleep(draw.uniform(0.3, 0.7) * duration * (1 + len(codes) / 10))
        os.kill(child, signal.SIGKILL)
    codes.append(wait(child))
    assert codes[-1] in (0, -signal.SIGKILL), codes
print(len(codes))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kills_at_any_moment_or_write_change_no_bit(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with (
        np.load(tmp_path / "whole.npz") as one,
        np.load(tmp_path / "killed.npz") as two,
    ):
        assert len(one.files) == 6
        for name in one.files:
            np.testing.assert_array_equal(one[name], two[name])
            assert one[name].dtype == two[name].dtype
    assert int(done.stdout) > 2


@pytest.fixture
def case():
    rng = generator(1, "kills")
    maps = [rng.standard_normal((60, 3, 6, 6))]
    y = rng.standard_normal((60, 5))
    grid = candidate_grid(2, 0.15, 0.3)
    return FwRF(grid, [1.0, 10.0], holdout=20, device="cpu"), maps, y


def test_finished_blocks_are_not_computed_again(case, tmp_path, monkeypatch):
    model, maps, y = case
    expected = clone(model).fit(maps, y)
    model.set_params(folder=tmp_path, n_candidates_batch=8)
    search, seen = fwrf_search._search_block, []

    def interrupted(problem, targets, at_once, candidates, bar):
        seen.append(candidates.tolist())
        if len(seen) == 3:
            raise KeyboardInterrupt
        return search(problem, targets, at_once, candidates, bar)

    monkeypatch.setattr(fwrf_search, "_search_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        clone(model).fit(maps, y)
    again = clone(model).fit(maps, y)
    n_blocks = -(-len(model.candidates) // 8)
    assert len(seen) == n_blocks + 1
    assert seen[2] == seen[3]
    np.testing.assert_array_equal(again.candidate_, expected.candidate_)
    np.testing.assert_allclose(again.coef_, expected.coef_, rtol=1e-10, atol=1e-12)
    n_calls = len(seen)
    third = clone(model).fit(maps, y)
    assert len(seen) == n_calls
    np.testing.assert_array_equal(third.coef_, again.coef_)


def test_other_data_and_options_are_other_entries(case, tmp_path):
    model, maps, y = case
    model.set_params(folder=tmp_path)
    clone(model).fit(maps, y)
    counts = [len(Store(tmp_path).keys())]
    changed = maps[0].copy()
    changed[3, 1, 2, 2] += 1e-9
    fits = [
        (clone(model), [changed], y),
        (clone(model), maps, y[:, ::-1]),
        (clone(model).set_params(bias="free"), maps, y),
        (clone(model).set_params(alphas=[1.0, 20.0]), maps, y),
        (clone(model).set_params(holdout=21), maps, y),
        (clone(model).set_params(zscore=False), maps, y),
        (clone(model).set_params(activation="log-tanh"), maps, y),
        (clone(model).set_params(aperture=1.1), maps, y),
        (clone(model).set_params(dtype="float32"), maps, y),
        (clone(model).set_params(refit=True), maps, y),
    ]
    for other, some, targets in fits:
        stored = other.fit(some, targets)
        plain = clone(other).set_params(folder=None).fit(some, targets)
        np.testing.assert_array_equal(stored.coef_, plain.coef_)
        counts.append(len(Store(tmp_path).keys()))
    assert (np.diff(counts) > 0).all()


def test_the_first_run_decides_how_the_work_is_cut(case, tmp_path, monkeypatch):
    model, maps, y = case
    model.set_params(folder=tmp_path)
    first = clone(model).fit(maps, y)
    n_entries = len(Store(tmp_path).keys())
    monkeypatch.setattr(fwrf_search, "free_memory_bytes", lambda device: 10_000)
    second = clone(model).fit(maps, y)
    assert len(Store(tmp_path).keys()) == n_entries
    np.testing.assert_array_equal(second.coef_, first.coef_)


def test_a_damaged_block_is_computed_again(case, tmp_path, caplog):
    model, maps, y = case
    model.set_params(folder=tmp_path)
    first = clone(model).fit(maps, y)
    for path in tmp_path.glob("*/arrays.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    second = clone(model).fit(maps, y)
    assert "computing again" in caplog.text
    np.testing.assert_array_equal(second.coef_, first.coef_)
