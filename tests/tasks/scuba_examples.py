"""Runs of captions of simulated voxels, made by hand: how often each names is known."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from neurovis.core.files import plain, write_json, write_table
from neurovis.core.provenance import collect
from neurovis.core.types import Score
from tasks.brainscuba_experiment import ScubaSettings, encoder_table
from tasks.brainscuba_scores import brainscuba_scores
from tasks.sketch_captions import CONCEPT_WORDS

CONCEPTS = tuple(CONCEPT_WORDS)
NOISE = (0.3, 1.0, 3.0)
BETAS = (1.0, 150.0, 1000.0)
BETA = 150.0
N_EACH, N_BANK = 10, 500
# Share of voxels of each concept that are named, by noise.
LEVELS = {
    "projection 1": (0.2, 0.2, 0.2),
    "projection 150": (1.0, 1.0, 0.9),
    "projection 1000": (1.0, 0.9, 0.8),
    "shuffled responses": (0.2, 0.2, 0.2),
    "raw weights": (1.0, 0.7, 0.4),
    "raw weights, mean norm": (1.0, 1.0, 0.7),
    "nearest image": (1.0, 0.9, 0.9),
    "random image": (0.2, 0.2, 0.2),
    "pictures": (1.0, 1.0, 1.0),
    "projection 150, chosen penalty": (1.0, 1.0, 1.0),
    "raw weights, chosen penalty": (0.9, 0.9, 1.0),
    "raw weights, mean norm, chosen penalty": (1.0, 1.0, 1.0),
    "nearest image, chosen penalty": (1.0, 1.0, 0.9),
}
NUMBERS = {1.0: 450.0, 150.0: 5.0, 1000.0: 1.1}


def split_name(name):
    """Condition and inverse temperature of a name of `LEVELS`."""
    if name == "shuffled responses":
        return name, BETA
    first, _, rest = name.partition(" ")
    if first != "projection":
        return name, np.nan
    beta, _, suffix = rest.partition(",")
    return first + ("," + suffix) * bool(suffix), float(beta)


def _told(n_right, n):
    """Concepts named by n voxels of each concept: the first are right."""
    rows = []
    for place, concept in enumerate(CONCEPTS):
        other = CONCEPTS[(place + 1) % len(CONCEPTS)]
        rows += [(concept, concept if i < n_right else other) for i in range(n)]
    return rows


def many_captions(levels=None, *, n_brains=2, n_repeats=2, leave_out=()):
    """One row per voxel, noise and condition, as a run leaves them."""
    known = LEVELS | (levels or {})
    tables = []
    for brain in range(n_brains):
        for k, noise in enumerate(NOISE):
            jobs = [(name, 0) for name in known]
            jobs += [("projection 150", 1 + i) for i in range(n_repeats)]
            for name, repeat in jobs:
                if name in leave_out:
                    continue
                told = _told(round(known[name][k] * N_EACH), N_EACH)
                table = pd.DataFrame(told, columns=["region", "named"])
                condition, beta = split_name(name)
                number = NUMBERS.get(beta, np.nan) * (1 + 0.1 * k)
                words = [CONCEPT_WORDS[x][k % 2] for x in table["named"]]
                table = table.assign(
                    unit=range(len(table)),
                    unit_id=[f"sim{brain:02d}-{i:04d}" for i in range(len(table))],
                    test_r=0.9 / (1 + noise),
                    ceiling=1 / (1 + noise),
                    condition=condition,
                    inverse_temperature=beta,
                    repeat=repeat,
                    effective_number=number,
                    cosine=0.5 - 0.1 * k if np.isfinite(number) else np.nan,
                    caption=[f"a {word} in {name} ." for word in words],
                    brain=brain,
                    noise_sd=noise,
                    correct=table["region"] == table["named"],
                )
                tables.append(table)
    return pd.concat(tables, ignore_index=True)


def scores_of(captions, n_bootstrap=100):
    return brainscuba_scores(
        captions, inverse_temperature=BETA, n_bootstrap=n_bootstrap
    )


def write_scuba_run(folder, captions, *, notes=("A note of the run.",)):
    """Leave what a finished run of `run_brainscuba` leaves."""
    folder.mkdir(parents=True)
    settings = ScubaSettings(
        noise_sds=NOISE,
        inverse_temperatures=BETAS,
        inverse_temperature=BETA,
        n_voxels=N_EACH,
        n_bank=N_BANK,
        n_repeats=2,
        n_brains=int(captions["brain"].nunique()),
    )
    call = plain({"task": "brainscuba", "settings": asdict(settings), "seed": 0})
    write_json(folder / "run.json", call)
    write_table(folder / "captions.parquet", captions)
    write_table(folder / "encoders.parquet", encoder_table(captions))
    Score(scores_of(captions), collect(0, call=call, notes=notes)).save(folder)
    return folder
