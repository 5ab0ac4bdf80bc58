"""A fit of a network that is killed again and again ends as one that was not."""

import os
import subprocess
import sys

import pytest

# As in test_train_kills.py: one process imports torch, and forks try to fit.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path

import numpy as np
import torch

from neurovis.core.rng import generator
from neurovis.fitting.network_fit import fit_network
from neurovis.fitting.semantic_readout import SemanticSpatialReadout
from neurovis.fitting.train import TrainSettings

folder = Path(sys.argv[1])
torch.set_num_threads(1)
settings = TrainSettings(
    max_epochs=3, learning_rate=0.01, optimiser="adamw", weight_decay=1e-3,
    accumulate=2, monitor="r", more_is_better=True, patience=None, clip_norm=0.1,
    checkpoint_s=0.0,
)
rng = generator(0, "killed fits")
maps, context, responses = (
    rng.standard_normal(shape).astype(np.float32)
    for shape in ((60, 3, 5, 5), (60, 2, 3, 3), (60, 8))
)
responses[rng.random((60, 8)) < 0.3] = np.nan


class Lazy:
    '''Not in memory: a thread reads ahead.'''

    shape, fingerprint = maps.shape, "maps"

    def __getitem__(self, rows):
        return maps[rows]


readout = SemanticSpatialReadout(
    (3, 5, 5), 8, context_shape=(2, 3, 3), init_noise=0.1, seed=3
)


def attempt(name, n_syncs):
    child = os.fork()
    if child:
        return child
    sync, calls = os.fsync, []

    def counted(handle):
        # Either before a file is renamed to its name, or just after.
        calls.append(handle)
        if len(calls) == n_syncs:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = counted
    fit_network(readout, (Lazy(), context), responses, parts=np.arange(8) % 2,
                loss="mean+ccc", penalty=1e-3, batch_size=8, settings=settings,
                seed=5, folder=folder / name)
    os._exit(0)


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# What torch loads for its first step is loaded before the forks.
warm = torch.nn.Linear(2, 2)
for parameter in warm.parameters():
    parameter.grad = torch.zeros_like(parameter)
torch.optim.AdamW(warm.parameters()).step()

assert wait(attempt("whole", None)) == 0
codes = []
while 0 not in codes:
    codes.append(wait(attempt("killed", 3 + len(codes) % 6)))
    assert codes[-1] in (0, -signal.SIGKILL), codes
print(len(codes))
"""


@pytest.mark.slow
def test_kills_at_any_write_change_no_byte_of_a_fit(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("whole", "killed")
    ]
    assert sorted(contents[0]) == ["curves.csv", "model.safetensors", "training.json"]
    assert contents[0] == contents[1]
    assert int(done.stdout) > 3
