"""A training that is killed again and again ends as one that was not."""

import os
import subprocess
import sys

import pytest

# One process imports torch; every attempt to train is a fork of it.
PROGRAM = """
import os, random, signal, sys, time
from pathlib import Path

import torch
from torch import nn

from neurovis.fitting.train import TrainSettings, train

folder, n_epochs = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
settings = TrainSettings(
    max_epochs=n_epochs, learning_rate=0.01, accumulate=2, ema_decay=0.9,
    validate_every=2, patience=None, schedule="cosine", checkpoint_s=0.0,
)


def network():
    torch.manual_seed(1)
    layers = [nn.Linear(4, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(64, 1))


def batches(epoch):
    draw = torch.Generator().manual_seed(epoch)
    return [torch.randn(16, 4, generator=draw) for _ in range(5)]


def loss(module, x):
    return (module(x)[:, 0] - x.prod(1)).square().sum(), len(x)


def validate(module):
    return {"loss": loss(module, batches(10**6)[0])[0].item() / 16}


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
    train(network(), batches, loss, settings=settings, validate=validate,
          folder=folder / name, seed=3)
    os._exit(0)


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# What torch loads for its first step is loaded before the forks.
warm = network()
for parameter in warm.parameters():
    parameter.grad = torch.zeros_like(parameter)
torch.optim.Adam(warm.parameters()).step()

start = time.monotonic()
assert wait(attempt("whole", None)) == 0
duration = time.monotonic() - start
draw, codes = random.Random(7), []
while 0 not in codes:
    if len(codes) % 2:
        child = attempt("killed", 1 + len(codes) % 7)
    else:
        child = attempt("killed", None)
        # Longer and longer, because a busy machine may need that.
        share = draw.uniform(0.02, 0.3) * (1 + len(codes) / 10)
        time.sleep(share * duration)
        os.kill(child, signal.SIGKILL)
    codes.append(wait(child))
    assert codes[-1] in (0, -signal.SIGKILL), codes
print(len(codes))
"""


def train_under_fire(folder, n_epochs):
    """Return how often the training was started until it ended."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(n_epochs)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    contents = [
        {path.name: path.read_bytes() for path in (folder / name).iterdir()}
        for name in ("whole", "killed")
    ]
    assert sorted(contents[0]) == ["curves.csv", "model.safetensors", "training.json"]
    assert contents[0] == contents[1]
    return int(done.stdout)


@pytest.mark.slow
def test_kills_at_any_moment_or_write_change_no_byte(tmp_path):
    assert train_under_fire(tmp_path, 10) > 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kills_of_a_longer_training_change_no_byte(tmp_path):
    assert train_under_fire(tmp_path, 200) > 3
