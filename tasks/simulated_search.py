"""Searches of simulated observers on generated shelves: data whose rule is known.

They stand where the data of people stand, so that the whole experiment runs without
any data, and so that it can be checked: a model must recover the rule.
"""

from dataclasses import dataclass

import pandas as pd

from neurovis.adapters.search_policy import (
    SHELF_SEARCHER,
    SearchPolicy,
    simulate_trials,
)
from neurovis.core.checks import check_option, check_whole
from neurovis.core.types import StimulusSet
from stimuli.shelf_displays import make_shelves, shelf_displays
from tasks.oat_looks import APPEARANCES, COVER_SIZE_PX
from tasks.object_search_data import N_FOLDS, ObjectSearchData

NOTE = (
    "Simulated observers of a known rule on generated shelves, no people: scores tell "
    "whether a model recovers that rule, not how well it describes anybody."
)


@dataclass(frozen=True)
class SimulatedSearch:
    """How many simulated observers search which shelves.

    Parameters
    ----------
    n_shelves : int, default 50
        Shelves, at least 3: folds are made of them.
    targets_per_shelf : int, default 2
        Objects that are searched for on each, one at a time.
    n_observers : int, default 6
        Observers of the same rule.
    rows, cols : int, default 6 and 14
        The grid of all shelves.
    seed : int, default 0
        Seed of shelves and observers.
    policy : SearchPolicy
        The rule.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """

    n_shelves: int = 50
    targets_per_shelf: int = 2
    n_observers: int = 6
    rows: int = 6
    cols: int = 14
    seed: int = 0
    policy: SearchPolicy = SHELF_SEARCHER

    def __post_init__(self) -> None:
        check_whole("n_shelves", self.n_shelves, low=3)
        for name in ("targets_per_shelf", "n_observers", "rows", "cols"):
            check_whole(name, getattr(self, name), low=1)
        check_whole("seed", self.seed, low=0)


def simulated_shelves(simulation: SimulatedSearch) -> StimulusSet:
    """Return the shelves that simulated observers search.

    Parameters
    ----------
    simulation : SimulatedSearch
        How many, and of which grid.

    Returns
    -------
    StimulusSet
        From `stimuli.shelf_displays.make_shelves`, one row per shelf and target.

    Raises
    ------
    ValueError
        If a shelf has fewer objects than targets.
    """
    return make_shelves(
        simulation.n_shelves,
        rows=simulation.rows,
        cols=simulation.cols,
        targets_per_shelf=simulation.targets_per_shelf,
        seed=simulation.seed,
    )


def simulated_object_search(
    simulation: SimulatedSearch, *, appearance: str = "synthetic"
) -> ObjectSearchData:
    """Let simulated observers search generated shelves.

    Parameters
    ----------
    simulation : SimulatedSearch
        How many, and by which rule.
    appearance : {"synthetic", "none"}
        Whether displays have the features of their covers, or nothing.

    Returns
    -------
    ObjectSearchData
        Both kinds of folds keep all searches on a shelf together.

    Raises
    ------
    ValueError
        If an option is unknown.
    """
    check_option("appearance", appearance, APPEARANCES)
    stimuli = simulated_shelves(simulation)
    displays = shelf_displays(
        stimuli,
        appearance="features" if appearance == "synthetic" else None,
        size_px=COVER_SIZE_PX,
    )
    trials = simulate_trials(
        simulation.policy,
        displays,
        n_observers=simulation.n_observers,
        seed=simulation.seed,
    )
    shelf, _ = pd.factorize(stimuli.table["shelf"])
    n_folds = min(N_FOLDS, simulation.n_shelves)
    table = stimuli.table[
        ["stimulus_id", "shelf", "width_px", "height_px", "rows", "cols", "target_cell"]
    ].assign(fold10=shelf % n_folds, fold_target=shelf % n_folds)
    return ObjectSearchData(
        "simulated_shelves", tuple(trials), table.reset_index(drop=True), (NOTE,)
    )
