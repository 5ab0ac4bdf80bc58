"""Who answers in a recognition experiment: networks, and baselines beside them.

Trials of every decision maker have one form, that of people: one row per picture with
`subject`, `experiment`, `condition`, `image_id`, `truth` and `response`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.sixteen_classes import CATEGORIES
from neurovis.adapters.sixteen_way import (
    PROBABILITY_COLUMNS,
    SixteenWayDecider,
    Sizing,
    load_sixteen_way,
)
from neurovis.core.log import progress
from neurovis.core.provenance import code_fingerprint
from neurovis.core.rng import generator
from neurovis.core.store import Store
from neurovis.core.types import StimulusSet

CHANCE = "chance"
SHAPE_ONLY = "shape only"
TEXTURE_ONLY = "texture only"
COPY = "copy of a person"
BASELINES = (CHANCE, SHAPE_ONLY, TEXTURE_ONLY, COPY)
"""Names of observers that know nothing, or one thing only."""

CUE_CONFLICT = "cue-conflict"

# Pictures that are decided on and kept together: the most an interruption costs.
_BLOCK = 80
_FORM = re.compile(
    r"(?P<name>(?:timm|torchvision|open_clip|transformers):[^:@=]+|[^:@=]+)"
    r"(?:@(?P<weights>.+))?"
)


@dataclass(frozen=True)
class DeciderSpec:
    """A network of 1000 ImageNet classes as a user asks for it.

    Parameters
    ----------
    name : str
        Network, see `neurovis.adapters.sixteen_way.load_sixteen_way`.
    weights : str, optional
        File, or ``"seeded:N"``; see there.
    label : str, optional
        Name in tables; made of the two by default.
    """

    name: str
    weights: str | None = None
    label: str | None = None

    def load(self, *, sizing: Sizing, rule: str, device: str) -> SixteenWayDecider:
        """Build the observer.

        Parameters
        ----------
        sizing : {"whole", "published", "own"}
            How pictures come to the size of the input.
        rule : {"mean", "sum", "max"}
            How probabilities of classes become those of categories.
        device : str
            Where the network computes.

        Returns
        -------
        SixteenWayDecider
            The observer.

        Raises
        ------
        ValueError, FileNotFoundError, DataCorruptError, MissingDependencyError
            As `neurovis.adapters.sixteen_way.load_sixteen_way`.
        """
        return load_sixteen_way(
            self.name,
            self.weights,
            label=self.label,
            sizing=sizing,
            rule=rule,
            device=device,
        )


def parse_decider(text: str) -> DeciderSpec:
    """Read a request for a network.

    Parameters
    ----------
    text : str
        ``[LABEL=]NETWORK[@WEIGHTS]`` such as
        "SqueezeNet=squeezenet1_0@squeezenet.safetensors" or
        "timm:resnet50@seeded:0".

    Returns
    -------
    DeciderSpec
        The request.

    Raises
    ------
    TypeError, ValueError
        If it is no text or has another form.

    Examples
    --------
    >>> parse_decider("tiny=darknet_tiny@seeded:1")
    DeciderSpec(name='darknet_tiny', weights='seeded:1', label='tiny')
    """
    if not isinstance(text, str):
        raise TypeError(f"A model must be text; got {type(text).__name__}.")
    label, equals, request = text.partition("=")
    if not equals or "@" in label or not label.strip():
        label, request = "", text
    found = _FORM.fullmatch(request.strip())
    if found is None:
        raise ValueError(
            "A model must look like 'NETWORK', 'NETWORK@WEIGHTS' or "
            f"'LABEL=NETWORK@WEIGHTS', such as 'timm:resnet50@seeded:0'; got {text!r}."
        )
    return DeciderSpec(found["name"], found["weights"], label.strip() or None)


def decide_pictures(
    deciders: Sequence[SixteenWayDecider],
    pictures: Mapping[str, StimulusSet],
    *,
    task: str,
    store: Store,
) -> pd.DataFrame:
    """Let networks answer to all pictures; finished parts are kept.

    Parameters
    ----------
    deciders : sequence of SixteenWayDecider
        Networks with distinct names.
    pictures : mapping of str to StimulusSet
        Pictures by experiment, with the columns `image_id` and `truth`.
    task : str
        Name of the experiment, part of what is kept.
    store : Store
        Where finished blocks are kept.

    Returns
    -------
    DataFrame
        One row per network and picture: `subject`, `experiment`, `condition` ("0"),
        `image_id`, `stimulus_id`, `truth`, `response`, `correct`, `rt_ms` (NaN),
        `trial`, `cost` and the 16 scores. The cost is 1 minus the margin of the best
        over the second score, of scores that sum to 1.
    """
    code = code_fingerprint()
    tables = []
    total = len(deciders) * sum(map(len, pictures.values()))
    with progress(total, "deciding", unit="picture") as bar:
        for decider in deciders:
            for experiment, stimuli in pictures.items():
                for start in range(0, len(stimuli), _BLOCK):
                    stop = min(start + _BLOCK, len(stimuli))
                    block = stimuli.select(range(start, stop))
                    parts = {
                        "task": task,
                        "code": code,
                        "observer": dict(decider.identity),
                        "stimuli": block.fingerprint,
                    }
                    table = store.get_or_compute(
                        parts, partial(_decide, decider, block)
                    )
                    told: dict[str, Any] = {
                        # The name is no part of what is kept.
                        "subject": decider.name,
                        "experiment": experiment,
                        "condition": "0",
                        "image_id": block.table["image_id"].to_numpy(object),
                        "truth": block.table["truth"].to_numpy(object),
                        "trial": np.arange(start, stop),
                    }
                    tables.append(table.assign(**told))
                    bar.update(len(block))
    trials = pd.concat(tables, ignore_index=True)
    trials["correct"] = (trials["response"] == trials["truth"]).to_numpy(bool)
    return trials.assign(cost=_cost(trials[list(PROBABILITY_COLUMNS)].to_numpy(float)))


def _decide(decider: SixteenWayDecider, block: StimulusSet) -> pd.DataFrame:
    return decider.decide(block).table.drop(columns=["correct"])


def _cost(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.sort(scores / scores.sum(axis=1, keepdims=True), axis=1)
    return np.asarray(1 - (shares[:, -1] - shares[:, -2]))


def baseline_trials(people: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Answer to the pictures that people saw without looking at them.

    Parameters
    ----------
    people : DataFrame
        Trials of people, with `texture` ("" where there is none).
    seed : int, default 0
        Of what is drawn.

    Returns
    -------
    DataFrame
        Trials of `BASELINES`: a category drawn at random for each picture; the
        category of the shape, and that of the texture, for cue conflicts; and the
        answers of the first person of each experiment, which must come out as one of
        the people.
    """
    keys = ["experiment", "condition", "image_id"]
    ordered = people.sort_values(["subject", *keys], kind="stable")
    shown = ordered.drop_duplicates(keys).sort_values(keys, ignore_index=True)
    shown = shown.assign(rt_ms=np.nan, trial=shown.groupby("experiment").cumcount())
    draws = [
        generator(seed, CHANCE, *row).integers(len(CATEGORIES))
        for row in shown[keys].itertuples(index=False, name=None)
    ]
    conflict = shown[shown["experiment"] == CUE_CONFLICT]
    firsts = people.groupby("experiment")["subject"].transform("min")
    made: dict[str, tuple[pd.DataFrame, Any]] = {
        CHANCE: (shown, np.asarray(CATEGORIES, object)[draws]),
        SHAPE_ONLY: (conflict, conflict["truth"]),
        TEXTURE_ONLY: (conflict, conflict["texture"]),
        COPY: (copy := people[people["subject"] == firsts], copy["response"]),
    }
    tables = [
        trials.assign(subject=name, response=np.asarray(response, object))
        for name, (trials, response) in made.items()
        if len(trials)
    ]
    table = pd.concat(tables, ignore_index=True)
    table["correct"] = (table["response"] == table["truth"]).to_numpy(bool)
    return table
