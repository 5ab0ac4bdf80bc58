"""The same search on a CUDA device as on the CPU (run by hand: pytest -m gpu)."""

import numpy as np
import pytest
import torch

from neurovis.adapters.eccnet import load_eccnet
from stimuli.search_arrays import make_search_arrays
from tasks.search_asymmetry import search_rules, search_trial


@pytest.mark.gpu
@pytest.mark.parametrize("variant", ["eccnet", "ivsn"])
def test_fixations_on_cuda_equal_those_on_the_cpu(variant):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    stimuli = make_search_arrays("hetero_t20", trials=2, seed=3)
    trials = [search_trial(stimuli, i) for i in range(len(stimuli))]
    rules = search_rules(stimuli.table.iloc[0].to_dict())
    paths = {}
    for device in ("cpu", "cuda"):
        model = load_eccnet(variant, weights="seeded:100/4", device=device)
        paths[device] = model.search(trials, rules)
    for ours, theirs in zip(paths["cpu"], paths["cuda"], strict=True):
        np.testing.assert_array_equal(ours.x_px, theirs.x_px)
        np.testing.assert_array_equal(ours.y_px, theirs.y_px)
