"""Trials of the mental rotation experiment: split by mirror pair, beside people's own.

What is fitted (thresholds, a comparing network) is fitted on other objects than those
it is tested with. An object and its mirror image count as one: who has learnt to tell
an object from its mirror image knows the mirror image too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurovis.core.checks import check_columns, check_path, check_whole
from neurovis.core.files import read_table
from neurovis.core.types import HUMAN_MODEL, Responses
from stimuli.block_figures import check_shape, mirror_pair_key
from stimuli.block_sets import ANGLES_DEG, ROTATIONS, TRUTHS, plan_rotation_pairs
from stimuli.block_survey import draw_block_shapes

TASK = "mental-rotation"

N_MIRROR_PAIRS = 167
"""Chiral objects of ten cubes with three elbows, mirror images counted once."""

N_OBJECTS = 16
PAIRS_PER_ANGLE = 8
TRAINING_PAIRS_PER_ANGLE = 4

TRIAL_COLUMNS = (
    *("task", "trial", "condition", "subject", "model", "layer", "readout"),
    *("stimulus_id", "rotation", "angle_deg", "object", "truth", "response", "correct"),
    *("evidence", "rt_or_cost", "rt_ms", "kind", "untrained", "seed"),
)
"""Of ``trials.parquet``."""

PEOPLE = "people"
"""`readout` and `kind` of people."""


@dataclass(frozen=True, eq=False)
class RotationTrials:
    """Pairs to fit on and pairs to test with.

    Parameters
    ----------
    training, test : DataFrame
        Tables of `stimuli.block_sets.plan_rotation_pairs`; no object of one is an
        object of the other, or its mirror image.

    Raises
    ------
    ValueError
        If they share a mirror pair.
    """

    training: pd.DataFrame
    test: pd.DataFrame

    def __post_init__(self) -> None:
        keys = [
            {mirror_pair_key(shape): shape for shape in sorted(set(part["left_shape"]))}
            for part in (self.training, self.test)
        ]
        shared = [keys[1][key] for key in keys[1] if key in keys[0]]
        if shared:
            raise ValueError(
                f"The test object {shared[0]!r}, or its mirror image, is among the "
                "training objects: split by mirror pair."
            )

    @property
    def both(self) -> pd.DataFrame:
        """All pairs, those of the training first, with the column `split`."""
        parts = {"training": self.training, "test": self.test}
        tables = [part.assign(split=name) for name, part in parts.items()]
        return pd.concat(tables, ignore_index=True)


def plan_mental_rotation(
    n_objects: int = N_OBJECTS,
    *,
    rotations: str | Sequence[str] = ROTATIONS,
    angles_deg: Sequence[float] = ANGLES_DEG,
    pairs_per_angle: int = PAIRS_PER_ANGLE,
    training_pairs_per_angle: int = TRAINING_PAIRS_PER_ANGLE,
    apart_from: Sequence[str] = (),
    seed: int = 0,
) -> RotationTrials:
    """Draw objects, give half of them to the training, and plan the pairs.

    Parameters
    ----------
    n_objects : int, default 16
        Objects in all, of different mirror pairs; at least 2. Of an odd number the
        test gets one more.
    rotations : str or sequence of str, default ("depth", "picture-plane")
        Kinds of rotation.
    angles_deg : sequence of float, default (0, 20, ..., 180)
        Angles between two views.
    pairs_per_angle : int, default 8
        Test pairs per kind and angle; even.
    training_pairs_per_angle : int, default 4
        Training pairs per kind and angle; even.
    apart_from : sequence of str, default ()
        Objects that somebody has learnt before: neither they nor their mirror images
        are drawn.
    seed : int, default 0
        Of objects and pairs.

    Returns
    -------
    RotationTrials
        Pairs of both parts.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or too few objects are left.

    Examples
    --------
    >>> trials = plan_mental_rotation(4, angles_deg=[0, 90], pairs_per_angle=4)
    >>> len(trials.training), len(trials.test)
    (16, 16)
    """
    n = check_whole("n_objects", n_objects, low=2)
    shapes = _unseen_shapes(n, apart_from, seed)
    options: dict[str, Any] = {"rotations": rotations, "angles_deg": angles_deg}
    parts = [
        plan_rotation_pairs(own, pairs_per_angle=per_angle, seed=seed, **options)
        for own, per_angle in (
            (shapes[: n // 2], training_pairs_per_angle),
            (shapes[n // 2 :], pairs_per_angle),
        )
    ]
    parts[1]["object"] += n // 2
    return RotationTrials(*parts)


def _unseen_shapes(n: int, apart_from: Sequence[str], seed: int) -> list[str]:
    if not apart_from:
        return draw_block_shapes(n, seed)
    seen = {mirror_pair_key(check_shape("apart_from", shape)) for shape in apart_from}
    shapes = draw_block_shapes(N_MIRROR_PAIRS, seed)
    unseen = (shape for shape in shapes if mirror_pair_key(shape) not in seen)
    left = list(islice(unseen, n))
    if len(left) < n:
        raise ValueError(
            f"`n_objects` must be at most {len(left)}: a network has learnt the other "
            f"{N_MIRROR_PAIRS - len(left)} of {N_MIRROR_PAIRS} mirror pairs; got {n}. "
            "Ask for fewer objects, or train on fewer."
        )
    return left


def load_people(
    people: Responses | pd.DataFrame | str | Path, pairs: pd.DataFrame, seed: int = 0
) -> pd.DataFrame:
    """Read what people answered to the test pairs.

    Parameters
    ----------
    people : Responses, DataFrame, str or Path
        Trials, or a CSV or Parquet file of them: `subject`, `stimulus_id` (as the set
        that `stimuli.block_sets.make_rotation_pairs` makes side by side), `rt_ms`, and
        `correct` or `response` ("same" or "different").
    pairs : DataFrame
        Test pairs.
    seed : int, default 0
        Of the run, for the table.

    Returns
    -------
    DataFrame
        The columns of `TRIAL_COLUMNS`; a missing answer is wrong.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the file is missing or damaged.
    ValueError
        If a column is missing, a picture is none of the test, a time is not above 0,
        or there is no trial.
    """
    if isinstance(people, str | Path):
        table = read_table(check_path("people", people))
    else:
        table = people.table if isinstance(people, Responses) else people
    check_columns("people", table.columns, ["subject", "stimulus_id", "rt_ms"])
    answered = "response" in table and table["response"].isin(TRUTHS).any()
    if not answered and "correct" not in table:
        raise ValueError(
            "`people` must have the column `correct`, or `response` with "
            f"{' and '.join(map(repr, TRUTHS))}; it has {list(table.columns)}."
        )
    known = pairs.set_index("pair")
    names = table["stimulus_id"].astype(str)
    strange = names[~names.isin(known.index)]
    if len(strange) or not len(table):
        which = f"{strange.iloc[0]!r} is none" if len(strange) else "there is no trial"
        raise ValueError(
            f"`people` must have seen the {len(pairs)} test pairs of the run: {which}. "
            "Run with the objects, angles and seed that their pictures were made with."
        )
    rt_ms = pd.to_numeric(table["rt_ms"], errors="coerce").to_numpy(np.float64)
    if not (rt_ms[~np.isnan(rt_ms)] > 0).all():
        raise ValueError("`people` has times in `rt_ms` that are not above 0 ms.")
    own = known.loc[list(names)].reset_index()
    if answered:
        response = table["response"].to_numpy(object)
        correct = response == own["truth"].to_numpy(object)
    else:
        correct = table["correct"].isin([True, 1, "true", "True"]).to_numpy(bool)
        other = own["truth"].map({"same": "different", "different": "same"})
        response = np.where(correct, own["truth"], other)
    return trial_rows(
        own,
        response=response,
        correct=correct,
        evidence=np.nan,
        rt_or_cost=rt_ms,
        rt_ms=rt_ms,
        seed=seed,
        subject=table["subject"].astype(str).to_numpy(object),
        model=HUMAN_MODEL,
        readout=PEOPLE,
        kind=PEOPLE,
    )


def trial_rows(
    pairs: pd.DataFrame,
    *,
    response: Any,
    correct: Any,
    evidence: Any,
    rt_or_cost: Any,
    rt_ms: Any,
    seed: int,
    subject: Any,
    model: str,
    readout: str,
    kind: str,
    layer: str = "",
    untrained: bool = False,
) -> pd.DataFrame:
    """Put answers to pairs into a table.

    Parameters
    ----------
    pairs : DataFrame
        One row per trial, with the columns of a table of pairs.
    response : array_like of str, shape (n_trials,)
        "same" or "different".
    correct : array_like of bool, shape (n_trials,)
        Whether it is right.
    evidence : array_like of float, shape (n_trials,)
        What the answer was made from, larger for "same"; NaN for none.
    rt_or_cost : array_like of float, shape (n_trials,)
        Reaction time in ms, or what stands for it.
    rt_ms : array_like of float, shape (n_trials,)
        Reaction time in ms; NaN for a cost without unit.
    seed : int
        Of the run.
    subject : array_like of str
        Who answered: a name, or one per trial.
    model : str
        Whose answers they are.
    readout : str
        How they were read.
    kind : str
        What the model is: "network", "control", "baseline", "surrogate" or "people".
    layer : str, optional
        Where it was read.
    untrained : bool, default False
        Whether it has random weights.

    Returns
    -------
    DataFrame
        The columns of `TRIAL_COLUMNS`.
    """
    table = pd.DataFrame(
        {
            "task": TASK,
            "trial": np.arange(len(pairs)),
            "condition": pairs["rotation"].to_numpy(object),
            "subject": subject,
            "model": model,
            "layer": layer,
            "readout": readout,
            "stimulus_id": pairs["pair"].to_numpy(object),
            "rotation": pairs["rotation"].to_numpy(object),
            "angle_deg": pairs["angle_deg"].to_numpy(np.float64),
            "object": pairs["object"].to_numpy(np.int64),
            "truth": pairs["truth"].to_numpy(object),
            "response": response,
            "correct": np.asarray(correct, bool),
            "evidence": evidence,
            "rt_or_cost": rt_or_cost,
            "rt_ms": rt_ms,
            "kind": kind,
            "untrained": untrained,
            "seed": seed,
        }
    )
    return table[list(TRIAL_COLUMNS)]
