"""Embedded defaults: each capability on small inputs, offline, in minutes."""

from collections.abc import Callable
from pathlib import Path

from tasks.models import ModelSpec
from tasks.search_asymmetry import run_search_asymmetry
from tasks.search_asymmetry_report import finish_search_run

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


DEMOS: dict[str, Callable[[Path], list[str]]] = {"search": demo_search}
