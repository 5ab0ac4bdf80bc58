"""Finished runs as a leaderboard reads them, written without computing anything."""

import numpy as np
import pandas as pd

from neurovis.core.files import write_json
from neurovis.core.types import SCORE_COLUMNS, Provenance, Score
from tasks.comparable import RunScore

CALL = {"task": "rsa", "method": "ridge", "test": "auto", "trials": 2, "n_bootstrap": 9}
VALUES = {"good": 0.5, "bad": 0.2}


def make_score(values=VALUES, *, subject="s1", seed=0, mark="0" * 12, **options):
    """Scores of models on one subject; entries that are tables replace columns."""
    columns = {k[4:]: options.pop(k) for k in [*options] if k.startswith("row_")}
    notes = options.pop("notes", ())
    prints = options.pop("fingerprints", {})
    code = options.pop("code", "neurovis 1")
    table = pd.DataFrame(
        {"model": list(values), "value": [*map(float, values.values())]}
    )
    low, high = table["value"] - 0.1, table["value"] + 0.1
    table = table.assign(subject=subject, seed=seed, stimuli=f"set:{mark}", task="rsa")
    table = table.assign(ci_low=low, ci_high=high, metric="rsa_spearman", region="V1")
    table = table.assign(layer="", condition="best", n=30, unit="r")
    table = table.assign(ceiling_low=0.6, ceiling_high=0.8, ceiling_kind="halves")
    table = table.assign(value_over_ceiling=table["value"] / 0.6).assign(**columns)
    more = [c for c in table if c not in SCORE_COLUMNS]
    call = {**CALL, "seed": seed, **options}
    versions = {"python": "3", "numpy": "2"}
    provenance = Provenance(
        versions, "cpu", "float32", seed, prints, call, code, tuple(notes)
    )
    return Score(table[[*SCORE_COLUMNS, *more]], provenance)


def make_run(source, values=VALUES, **options):
    score = make_score(values, **options)
    return RunScore(source, score.provenance.call["task"], score)


def make_grid(seed=0, *, n_subjects=6, n_seeds=2, truth=None):
    """One run per model, subject and seed, as a sweep leaves them."""
    truth = truth or {"good": 0.5, "middle": 0.4, "bad": 0.2}
    rng = np.random.default_rng(seed)
    ease = rng.normal(scale=0.3, size=n_subjects)
    return [
        make_run(
            f"{model}-s{i}-{k}",
            {model: value + ease[i] + rng.normal(scale=0.02)},
            subject=f"s{i}",
            seed=k,
            mark=f"{i:012d}",
        )
        for model, value in truth.items()
        for i in range(n_subjects)
        for k in range(n_seeds)
    ]


def save_run(folder, score):
    """Write what a finished run leaves."""
    score.save(folder)
    write_json(folder / "run.json", dict(score.provenance.call))
    return folder
