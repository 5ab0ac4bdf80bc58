"""Trials of observers whose search slopes are known."""

import numpy as np
import pandas as pd
import pytest

from analysis.psychophysics import fixations_to_rt_ms
from analysis.search_asymmetry import human_slopes
from data_loaders.search_humans import load_human_rt


def simulate_trials(subject, slope_of, *, untrained=False, n=30, seed=0):
    """Trials with Poisson fixation counts around a line of known slope (ms/item)."""
    rng = np.random.default_rng(seed)
    cells = load_human_rt().drop(columns="rt_ms")
    trials = cells.loc[cells.index.repeat(n)].reset_index(drop=True)
    slope = trials["condition"].map(slope_of).to_numpy(float)
    extra = slope * (trials["set_size"] - 1) / 252.359
    count = 1 + rng.poisson(np.maximum(extra, 0))
    largest = trials.groupby("condition")["set_size"].transform("max")
    found = rng.random(len(trials)) < 0.998
    return trials.assign(
        subject=subject,
        model=subject,
        untrained=untrained,
        stimulus_id=[f"d{i}" for i in range(len(trials))],
        trial=np.arange(len(trials)),
        response="found",
        n_fixations=np.where(found, count, largest),
        found=found,
        correct=found,
        rt_ms=lambda t: fixations_to_rt_ms(t["n_fixations"]),
    )


@pytest.fixture(scope="session")
def human():
    return load_human_rt()


def two_observers(n):
    """One observer like people, and one untrained with all slopes equal."""
    lines = human_slopes(load_human_rt()).set_index("condition")["slope_ms_per_item"]
    same = dict.fromkeys(lines.index, 20.0)
    alike = simulate_trials("alike", lines.to_dict(), n=n, seed=1)
    flat = simulate_trials("flat", same, untrained=True, n=n)
    return pd.concat([alike, flat], ignore_index=True)


@pytest.fixture(scope="session")
def trials():
    """As many trials as in the published experiments."""
    return two_observers(30)


@pytest.fixture(scope="session")
def many_trials():
    """Enough trials to know the slopes well."""
    return two_observers(500)
