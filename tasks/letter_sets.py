"""The pictures of letter identification: training on single letters, tests beyond."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.types import StimulusSet
from stimuli.crowding import make_crowded_letters
from stimuli.glyphs import SLOAN_LETTERS
from stimuli.navon import LEVELS, make_navon

TESTS = ("crowding", "navon")
NAVON_LETTERS = ("H", "S", "T", "X")

SINGLE = "single"
"""Condition of a letter without flankers that no readout was trained on."""

_JITTER_DEG = 0.15
_NAVON_JITTER_DEG = 0.3
_CONTRASTS = (0.5, 1.0)
# Single letters that are tested, for each that is in a condition with flankers.
_MORE_SINGLE = 3
# Small letters stand anywhere in the figure: there is more to learn.
_MORE_NAVON = 2


@dataclass(frozen=True, eq=False)
class LetterTest:
    """One readout: what it is trained on, and what it is asked.

    Parameters
    ----------
    test : {"crowding", "navon"}
        The experiment.
    asked : {"", "global", "local"}
        Level that is asked for; "" where there is one letter only.
    train, shown : StimulusSet
        Single letters to train on, and the pictures of the test.
    labels : ndarray of str, shape (n_train,)
        Letters of the training pictures.
    truth : ndarray of str, shape (n_shown,)
        Right answers; "" for pictures that are not asked about.
    """

    test: str
    asked: str
    train: StimulusSet
    shown: StimulusSet
    labels: NDArray[np.str_]
    truth: NDArray[np.str_]


def letter_tests(
    tests: Sequence[str],
    *,
    arrangements: Sequence[str],
    spacings_deg: Sequence[float],
    eccentricity_deg: float,
    height_deg: float,
    view: str,
    n_train: int,
    n_test: int,
    px_per_deg: float,
    seed: int,
) -> list[LetterTest]:
    """Make the pictures of all readouts; they are drawn once.

    Parameters
    ----------
    tests : sequence of str
        Of `TESTS`.
    arrangements : sequence of str
        Arrangements of flankers, see `stimuli.crowding.ARRANGEMENTS`.
    spacings_deg : sequence of float
        From the centre of the target to flankers.
    eccentricity_deg, height_deg : float
        Of the target letters.
    view : {"target", "fixation"}
        What is in the middle of the pictures of crowding.
    n_train : int
        Training pictures of each letter; twice as many of Navon figures.
    n_test : int
        Pictures of each letter (or pair of letters) in each condition.
    px_per_deg : float
        Pixels per degree.
    seed : int
        Seed of the pictures.

    Returns
    -------
    list of LetterTest
        One per readout.

    Raises
    ------
    ValueError
        If letters overlap or leave the picture.
    """
    found = []
    if "crowding" in tests:
        reach = max(spacings_deg) + height_deg / 2 + _JITTER_DEG
        if view == "fixation":
            reach += eccentricity_deg
        shared: dict[str, Any] = {
            "eccentricities_deg": [eccentricity_deg],
            "heights_deg": [height_deg],
            "jitter_deg": _JITTER_DEG,
            "contrast_range": _CONTRASTS,
            "view": view,
            "size_deg": math.ceil(4 * reach) / 2,
            "seed": seed,
            "px_per_deg": px_per_deg,
        }
        train, single, flanked = (
            make_crowded_letters(
                SLOAN_LETTERS,
                arrangements=kinds,
                spacings_deg=spacings_deg,
                repeats=repeats,
                name=f"crowding_{name}",
                **shared,
            )
            for name, kinds, repeats in (
                ("train", ["none"], n_train),
                ("single", ["none"], _MORE_SINGLE * n_test),
                ("flanked", list(arrangements), n_test),
            )
        )
        shown = _joined("crowding", [single, flanked])
        found.append(
            LetterTest(
                "crowding", "", _drawn(train), shown, _text(train.table["target"]),
                _text(shown.table["target"]),
            )
        )  # fmt: skip
    if "navon" in tests:
        looks: dict[str, Any] = {
            "jitter_deg": _NAVON_JITTER_DEG,
            "contrast_range": _CONTRASTS,
            "seed": seed,
            "px_per_deg": px_per_deg,
        }
        figures = make_navon(
            NAVON_LETTERS, neutral=True, repeats=n_test, name="navon_test", **looks
        )
        for level in LEVELS:
            train, single = (
                make_navon(
                    NAVON_LETTERS,
                    levels=[level],
                    repeats=repeats,
                    name=f"navon_{name}",
                    **looks,
                )
                for name, repeats in (
                    ("train", _MORE_NAVON * n_train),
                    (SINGLE, 4 * n_test),
                )
            )
            shown = _joined("navon", [single, figures])
            letter = f"{level}_letter"
            truth = _text(shown.table[letter])
            truth = np.where(np.isin(truth, NAVON_LETTERS), truth, "")
            labels = _text(train.table[letter])
            found.append(
                LetterTest("navon", level, _drawn(train), shown, labels, truth)
            )
    return found


def _drawn(stimuli: StimulusSet) -> StimulusSet:
    """Return a set whose pictures are kept, for several models look at them."""
    return replace(stimuli, images=[stimuli.load(i) for i in range(len(stimuli))])


def _joined(name: str, parts: Sequence[StimulusSet]) -> StimulusSet:
    table = pd.concat([part.table for part in parts], ignore_index=True)
    table["condition"] = table["condition"].replace({"none": SINGLE})
    images = [part.load(i) for part in parts for i in range(len(part))]
    return StimulusSet(name, table, parts[0].viewing, images)


def _text(column: pd.Series) -> NDArray[np.str_]:
    return np.array(column.to_list(), np.str_)
