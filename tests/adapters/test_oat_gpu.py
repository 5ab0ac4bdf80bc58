"""OAT on a CUDA device as on the CPU (run by hand: pytest -m gpu)."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from neurovis.adapters.oat import OAT
from neurovis.adapters.oat_network import OATNetwork, published_config, small_config
from neurovis.core.object_displays import regular_display
from neurovis.core.object_scanpaths import ObjectTrial


def make_displays():
    draw = np.random.default_rng(0)
    displays = []
    for number, (rows, cols) in enumerate(((6, 14), (3, 9), (2, 11))):
        looks = draw.standard_normal((rows * cols, 20)).astype(np.float32)
        display = regular_display(
            f"d{number}", rows=rows, cols=cols, size_px=(1680, 1050), target_cell=5
        )
        displays.append(replace(display, appearance=looks))
    return displays


@pytest.fixture(params=[small_config, published_config], ids=["small", "published"])
def observers(request):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    network = OATNetwork(request.param(appearance="features", n_features=20), 1)
    return OAT(network, 25), OAT(copy.deepcopy(network).to("cuda"), 25)


@pytest.mark.gpu
def test_likelihoods_on_cuda_equal_those_on_the_cpu(observers):
    draw = np.random.default_rng(1)
    trials = [
        ObjectTrial(d, "ann", draw.integers(d.n_cells, size=n))
        for d in make_displays()
        for n in (1, 7, 24)
    ]
    on_cpu, on_cuda = (observer.log_likelihood(trials) for observer in observers)
    for one, other in zip(on_cpu, on_cuda, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("greedy", [False, True])
def test_scanpaths_on_cuda_equal_those_on_the_cpu(observers, greedy):
    # A number drawn within rounding of a border may fall on its other side.
    made = [
        replace(observer, greedy=greedy).sample_displays(make_displays(), 20, seed=2)
        for observer in observers
    ]
    pairs = [
        (one, other)
        for on_cpu, on_cuda in zip(*made, strict=True)
        for one, other in zip(on_cpu, on_cuda, strict=True)
    ]
    same = [np.array_equal(one, other) for one, other in pairs]
    assert np.mean(same) > 0.95
