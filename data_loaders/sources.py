"""Data sets that the suite reads: what they are and where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from data_loaders.search_humans import (
    load_human_rt,
    load_published_asymmetry,
    load_published_trials,
)
from neurovis.core.checks import check_option, check_path

_REPOSITORY = "https://github.com/kreimanlab/VisualSearchAsymmetry"


@dataclass(frozen=True)
class Source:
    """A data set.

    Parameters
    ----------
    name : str
        Name on the command line.
    what : str
        What it holds.
    url : str
        Public source.
    licence : str
        Terms.
    ships : bool
        Whether its numbers come with the suite.
    """

    name: str
    what: str
    url: str
    licence: str
    ships: bool


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            Source(
                "search-asymmetry",
                "mean reaction times of people and published indices of eccNET and "
                "its ablations in six search-asymmetry experiments; ships",
                "https://arxiv.org/abs/2106.02953",
                "published facts",
                True,
            ),
            Source(
                "search-asymmetry-trials",
                "trials of eccNET, its ablations and baselines "
                "(asymmetry_trials.csv.gz: model, condition, set_size, fixations)",
                _REPOSITORY,
                "the repository states none: research use, not redistributed here",
                False,
            ),
        )
    }
)


def check_source(name: str, folder: str | Path) -> list[str]:
    """Check a local folder of a data set.

    Parameters
    ----------
    name : str
        One of `SOURCES`.
    folder : str or Path
        Where its files lie; not looked at when the set ships.

    Returns
    -------
    list of str
        Counts, one line each.

    Raises
    ------
    ValueError
        If the name is unknown or a file lacks columns.
    FileNotFoundError
        If the folder or a file is missing.
    DataCorruptError
        If a file is damaged.
    """
    check_option("name", name, tuple(SOURCES))
    if SOURCES[name].ships:
        people, models = load_human_rt(), load_published_asymmetry()
        return [
            f"{len(people)} mean reaction times in {people['condition'].nunique()} "
            "conditions",
            f"{models['model'].nunique()} models with published indices",
        ]
    trials = load_published_trials(check_path("folder", folder, kind="folder"))
    return [
        f"{len(trials)} trials",
        *(f"{model}: {n}" for model, n in trials["model"].value_counts().items()),
    ]
