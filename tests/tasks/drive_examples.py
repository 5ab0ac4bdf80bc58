"""Encoders that see colours, and a judge that names them, for images that drive."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.trunks import INPUT_FORMATS
from neurovis.adapters.zero_shot import ZeroShotJudge
from neurovis.core.unit_responses import UnitResponses
from tasks.brain_sources import BrainData
from tasks.encoding import fit_encoding
from tasks.encoding_run import model_folder
from tasks.real_pictures import MeasuredTrials

PIXELS, NETWORK = "control:pixels", "compact_vgg@seeded:3/8"
CALL = {"n_permutations": 2, "n_bootstrap": 2, "device": "cpu"}
N = 40


def picture(number, side=16):
    """Four patches of one colour each."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((side // 2, side // 2, 1), np.uint8))


def colour_brain(subject="s1", *, seed=0, regions=("red", "red", "blue", "flat")):
    """Units that respond to mean red, red, blue, and nothing."""
    pictures = [picture(i) for i in range(N)]
    level = np.stack(pictures).mean((1, 2)) / 255
    betas = level[:, [0, 0, 2, 0]] + 0.02 * np.random.default_rng(seed).normal(
        size=(N, 4)
    )
    betas[:, 3] = 1
    units = pd.DataFrame(
        {
            "unit_id": list("abcd"),
            "region": list(regions),
            "wide": ["warm", "warm", "", "warm"],
        }
    )
    responses = UnitResponses(
        "tiny",
        subject,
        betas.astype(np.float32),
        pd.DataFrame({"stimulus_id": [f"p{i:02d}" for i in range(N)], "n_repeats": 1}),
        units,
        families=("region", "wide"),
        response_unit="spikes/s",
        pictures=pictures,
    )
    return BrainData(responses)


def colour_trials(n_trials=4, *, subject="s1", **options):
    """Noisy trials of a colour brain, with the pictures that the fit held out."""
    responses = colour_brain(subject).responses
    rows = np.repeat(np.arange(N), n_trials)
    noise = 0.05 * np.random.default_rng(3).normal(size=(len(rows), 4))
    trials = responses.select_stimuli(rows)
    trials = replace(trials, betas=(trials.betas + noise).astype(np.float32))
    ids = frozenset(responses.stimuli["stimulus_id"][4::5])
    return MeasuredTrials(trials, **({"held_out": ids} | options))


def fit_colours(out, features, **options):
    """Leave a linear encoder of a colour brain; return its folder."""
    data = colour_brain(**options)
    fit_encoding([data], [features], out, **CALL)
    network, layer, choice = features.rsplit(":", 2)
    return model_folder(out, data.subject, network, f"{layer}:{choice}")


class MeanColour(nn.Module):
    """Embeds a picture by its mean colour."""

    def __init__(self):
        super().__init__()
        self.register_buffer("gain", torch.ones(1))

    def forward(self, inputs):
        return self.gain * inputs.mean((2, 3))


def colour_judge(**changes):
    """Names the largest of red, green and blue."""
    options = {
        "name": "colours",
        "module": MeanColour().eval(),
        "preprocessing": Preprocessing((8, 8), pixels=INPUT_FORMATS["unit"]),
        "classes": ("red", "green", "blue"),
        "texts": torch.eye(3),
        "temperature": 5.0,
        "trained": True,
    }
    return ZeroShotJudge(**(options | changes))
