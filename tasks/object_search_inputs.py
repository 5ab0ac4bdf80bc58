"""What an object search is run on: displays, trials and splits from its arguments."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from neurovis.adapters.search_policy import SearchPolicy
from neurovis.core.checks import check_option, check_whole
from tasks.oat_looks import APPEARANCES, dress_displays
from tasks.object_search_data import (
    FOLDS,
    PUBLISHED_FOLDS,
    ObjectSearchData,
    Split,
    load_object_search,
    published_search,
    search_splits,
)
from tasks.simulated_search import SimulatedSearch, simulated_object_search

Source = str | Path | SimulatedSearch


def source_call(source: Source) -> str | dict[str, Any]:
    """Return the JSON form of where trials come from.

    Parameters
    ----------
    source : str, Path or SimulatedSearch
        A folder, or a simulation.

    Returns
    -------
    str or dict
        An absolute path, or the fields of the simulation.
    """
    if isinstance(source, SimulatedSearch):
        return asdict(source)
    return str(Path(source).resolve())


def read_source(call: str | Mapping[str, Any]) -> Source:
    """Return where trials come from; undoes `source_call`.

    Parameters
    ----------
    call : str or mapping
        From `source_call`.

    Returns
    -------
    Path or SimulatedSearch
        A folder, or a simulation.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is no call from there.
    """
    if isinstance(call, str):
        return Path(call)
    parts = dict(call)
    rule = dict(parts.pop("policy"))
    pairs = ("start", "start_sd", "saccade_sd", "guidance")
    rule |= {name: tuple(rule[name]) for name in pairs}
    return SimulatedSearch(**parts, policy=SearchPolicy(**rule))


def search_data(source: Source, appearance: str = "none") -> ObjectSearchData:
    """Read or simulate trials.

    Parameters
    ----------
    source : str, Path or SimulatedSearch
        Folder of the book covers (see
        `data_loaders.amazon_covers.load_amazon_covers`), or a simulation.
    appearance : {"none", "synthetic"}
        Whether displays have the features of generated covers.

    Returns
    -------
    ObjectSearchData
        Trials and folds.

    Raises
    ------
    ValueError
        If the option is unknown.
    FileNotFoundError, DataCorruptError
        If the data are missing or damaged.
    """
    check_option("appearance", appearance, APPEARANCES)
    if isinstance(source, SimulatedSearch):
        return simulated_object_search(source, appearance=appearance)
    data = load_object_search(source)
    return dress_displays(data) if appearance == "synthetic" else data


def split_data(
    data: ObjectSearchData, folds: str, *, n_splits: int | None = None, seed: int = 0
) -> tuple[ObjectSearchData, list[Split]]:
    """Divide trials for training, validation and test.

    Parameters
    ----------
    data : ObjectSearchData
        Trials.
    folds : {"fold10", "fold_target", "observer", "trial", "published"}
        What is left out: see `tasks.object_search_data.search_splits` for the first
        three; the last two leak, see `tasks.object_search_data.published_search`.
    n_splits : int, optional
        Use the first so many splits only.
    seed : int, default 0
        Seed of the splits that are drawn.

    Returns
    -------
    data : ObjectSearchData
        The trials, with a note if not all splits are used, or if the split leaks.
    splits : list of Split
        The splits.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown, there are fewer splits, or too few trials to divide.
    """
    check_option("folds", folds, (*FOLDS, *PUBLISHED_FOLDS))
    if folds in PUBLISHED_FOLDS:
        data, splits = published_search(data, folds, seed)
    else:
        splits = search_splits(data, folds)
    if n_splits is None:
        return data, splits
    check_whole("n_splits", n_splits, low=1, high=len(splits))
    if n_splits < len(splits):
        note = f"Only {n_splits} of {len(splits)} test sets were used."
        data = replace(data, notes=(*data.notes, note))
    return data, splits[:n_splits]
