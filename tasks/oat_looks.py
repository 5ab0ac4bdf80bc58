"""Generated covers stand for pictures that are not at hand."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from neurovis.core.object_displays import Display
from neurovis.core.object_scanpaths import ObjectTrial
from stimuli.shelf_covers import cover_features, draw_covers
from tasks.object_search_data import ObjectSearchData

APPEARANCES = ("none", "synthetic")
"""What displays look like: nothing, or generated covers."""
COVER_SIZE_PX = (10, 16)
"""Generated covers are described by mean colours: they need not be larger."""
N_FEATURES = 120
N_LOOKS = 4000
NOTE = (
    "Covers are synthetic: the pictures of the displays are not part of the data. "
    "Every place of a display has a generated cover of its own and every target one "
    "of five; models that use appearance see these, not what people saw."
)


def synthetic_looks(seed: int, n: int = N_LOOKS) -> NDArray[np.float32]:
    """Return features of generated covers, to train on other ones in every batch.

    Parameters
    ----------
    seed : int
        Seed of the covers.
    n : int, default 4000
        How many.

    Returns
    -------
    ndarray of float32, shape (n, 120)
        See `stimuli.shelf_covers.cover_features`.

    Raises
    ------
    TypeError, ValueError
        If the seed is none.
    """
    return _features([f"training cover {k}" for k in range(n)], seed)


def display_looks(display: Display, seed: int) -> NDArray[np.float32]:
    """Return features of generated covers, one for each object of a display.

    Parameters
    ----------
    display : ObjectDisplay or FreeDisplay
        The display; its `stimulus_id` and the object name the cover.
    seed : int
        Seed of the covers.

    Returns
    -------
    ndarray of float32, shape (n_cells, 120)
        See `stimuli.shelf_covers.cover_features`.

    Raises
    ------
    TypeError, ValueError
        If the seed is none.
    """
    return _features(
        [f"{display.stimulus_id} {k}" for k in range(display.n_cells)], seed
    )


def dress_displays(data: ObjectSearchData, seed: int = 0) -> ObjectSearchData:
    """Give displays synthetic covers.

    Parameters
    ----------
    data : ObjectSearchData
        Trials on displays without appearance.
    seed : int, default 0
        Seed of the covers.

    Returns
    -------
    ObjectSearchData
        The same trials; each display has features of one cover per object, drawn by
        display and object, and at the target the cover of its `fold_target`. None of
        these covers is among `synthetic_looks`.

    Raises
    ------
    TypeError, ValueError
        If the seed is none.
    """
    target_of: Mapping[str, int] = dict(
        zip(data.displays["stimulus_id"], data.displays["fold_target"], strict=True)
    )
    targets = _features([f"target {k}" for k in sorted(set(target_of.values()))], seed)
    place = {k: row for row, k in enumerate(sorted(set(target_of.values())))}
    dressed = {}
    for trial in data.trials:
        display = trial.display
        if display.stimulus_id in dressed:
            continue
        looks = display_looks(display, seed)
        looks[display.target_cell] = targets[place[target_of[display.stimulus_id]]]
        dressed[display.stimulus_id] = replace(display, appearance=looks)
    trials = tuple(
        ObjectTrial(dressed[t.display.stimulus_id], t.subject, t.cells, t.xy_px)
        for t in data.trials
    )
    return replace(data, trials=trials, notes=(*data.notes, NOTE))


def _features(keys: list[str], seed: int) -> NDArray[np.float32]:
    return cover_features(draw_covers(keys, seed=seed, size_px=COVER_SIZE_PX))
