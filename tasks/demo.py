"""Embedded defaults: each capability on small inputs, offline, in minutes."""

from collections.abc import Callable
from pathlib import Path

from tasks.models import ModelSpec
from tasks.object_search import run_object_search
from tasks.object_search_report import finish_object_search
from tasks.search_asymmetry import run_search_asymmetry
from tasks.search_asymmetry_report import finish_search_run
from tasks.simulated_search import SimulatedSearch

# Random weights of an eighth of the width: a picture of the machinery, not a claim.
DEMO_WEIGHTS = "seeded:0/8"


def demo_search(out: Path) -> list[str]:
    """Search asymmetry: untrained eccNET, its ablations and baselines with people.

    Parameters
    ----------
    out : Path
        Folder for tables, figures and the report.

    Returns
    -------
    list of str
        The main figures, and where the report lies.
    """
    networks = ("eccnet", "eccnet-18-17", "eccnet-noecc", "ivsn")
    models = [ModelSpec(name, weights=DEMO_WEIGHTS) for name in networks]
    baselines = [ModelSpec(name) for name in ("chance", "pixel-match", "saliency")]
    run_search_asymmetry([*models, *baselines], out, trials=3, seed=0)
    return finish_search_run(out)


def demo_scanpaths(out: Path) -> list[str]:
    """Object search: OAT as it comes, and heuristics, with simulated observers.

    Parameters
    ----------
    out : Path
        Folder for tables, figures and the report.

    Returns
    -------
    list of str
        The main figures, and where the report lies.
    """
    run_object_search(
        SimulatedSearch(n_shelves=20, targets_per_shelf=1, n_observers=4),
        out,
        models=("baselines", "oat-shipped", "oat-shipped-greedy"),
        appearance="synthetic",
        n_samples=5,
        n_bootstrap=200,
    )
    return finish_object_search(out)


DEMOS: dict[str, Callable[[Path], list[str]]] = {
    "search": demo_search,
    "scanpaths": demo_scanpaths,
}
