"""What a recognition experiment works on: decisions of people and others, pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from data_loaders.model_vs_human import load_model_vs_human, texture_of
from data_loaders.texture_shape import load_texture_shape
from neurovis.adapters.sixteen_way import PROBABILITY_COLUMNS, SixteenWayDecider
from neurovis.core.checks import check_option
from neurovis.core.files import sha256_bytes
from neurovis.core.types import StimulusSet
from tasks.models import HUMAN_NAMES
from tasks.recognition_models import BASELINES, CUE_CONFLICT, baseline_trials
from tasks.recognition_simulation import simulated_decisions, simulated_pictures

_KINDS = ("people", "network", "published", "decisions", "baseline", "simulated")


@dataclass(frozen=True, eq=False)
class RecognitionData:
    """Decisions of people and others, and pictures for networks.

    Parameters
    ----------
    decisions : DataFrame
        As `data_loaders.model_vs_human.load_model_vs_human` gives, of people and of
        networks whose decisions were published.
    pictures : mapping of str to StimulusSet
        By experiment, with the columns `image_id` and `truth`.
    simulated : bool
        Whether people and pictures are simulated.
    fingerprints : mapping of str to str
        Content hashes.
    notes : tuple of str
        What a reader must know.
    """

    decisions: pd.DataFrame
    pictures: Mapping[str, StimulusSet]
    simulated: bool
    fingerprints: Mapping[str, str]
    notes: tuple[str, ...] = ()


def load_recognition_data(
    data: str | Path | None,
    images: str | Path | None,
    experiments: str | Sequence[str],
    with_pictures: bool,
    *,
    seed: int = 0,
) -> RecognitionData:
    """Load, or simulate, decisions of people and pictures.

    Parameters
    ----------
    data : str or Path or None
        As `run_recognition`.
    images : str or Path or None
        As `run_recognition`.
    experiments : str or sequence of str
        "all", or names.
    with_pictures : bool
        Whether networks will look at pictures.
    seed : int, default 0
        Of what is simulated.

    Returns
    -------
    RecognitionData
        Decisions, pictures of the experiments, and where they are from.

    Raises
    ------
    ValueError
        If networks have no pictures of these experiments.
    FileNotFoundError, DataCorruptError
        If data are missing or damaged.
    """
    if with_pictures and data is not None and images is None:
        raise ValueError(
            "Networks need pictures: name the folder of them as `images`, or leave "
            "`models` out to compare published decisions."
        )
    fingerprints: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, StimulusSet] = {}
    simulated = data is None and images is None
    if images is not None:
        shown = load_texture_shape(images)
        pictures, decisions = shown.stimuli, shown.responses
        fingerprints |= {f"images {n}": mark for n, mark in shown.fingerprints.items()}
    if data is not None:
        decisions = load_model_vs_human(data, experiments, observers="all").table
    if simulated:
        decisions = simulated_decisions(seed)
        pictures = simulated_pictures(seed) if with_pictures else {}
        notes = (
            "People, the model and pictures are simulated: the numbers say nothing "
            "about people or networks.",
        )
    if experiments != "all":
        there = set(decisions["experiment"])
        for name in experiments:
            check_option("experiments", name, tuple(sorted(there)))
        decisions = decisions[decisions["experiment"].isin(experiments)]
        decisions = decisions.reset_index(drop=True)
    fingerprints["people and published networks"] = decisions_hash(decisions)
    used = set(decisions["experiment"])
    return RecognitionData(
        decisions,
        {name: _with_truth(s) for name, s in pictures.items() if name in used},
        simulated,
        fingerprints,
        notes,
    )


def decisions_hash(table: pd.DataFrame) -> str:
    """Hash who answered what to which picture.

    Parameters
    ----------
    table : DataFrame
        Trials.

    Returns
    -------
    str
        SHA-256.
    """
    keys = ["subject", "experiment", "condition", "image_id", "truth", "response"]
    return sha256_bytes(table[keys].to_csv(index=False).encode())


def check_recognition_names(
    known: pd.DataFrame,
    deciders: Sequence[SixteenWayDecider],
    own: Sequence[pd.DataFrame],
) -> None:
    """Refuse names that would be taken for those of somebody else.

    Parameters
    ----------
    known : DataFrame
        Trials of people and published networks.
    deciders : sequence of SixteenWayDecider
        Networks that will look at pictures.
    own : sequence of DataFrame
        Decisions of the user's networks, perhaps one file per experiment.

    Raises
    ------
    ValueError
        If a name has two meanings, or decisions are of an experiment that people did
        not do.
    """
    there = set(known["experiment"])
    for table in own:
        people = table.loc[table["is_human"], "subject"]
        if len(people):
            raise ValueError(
                f"`decisions` holds trials of {people.iloc[0]!r}, a name of people: "
                "give the network another one."
            )
        experiment = table["experiment"].iloc[0]
        if experiment not in there:
            raise ValueError(
                f"`decisions` holds trials of the experiment {experiment!r}; those of "
                f"people are of {', '.join(sorted(there))}. Leave the file out, or "
                "name its experiment in `experiments`."
            )
    taken = {*HUMAN_NAMES, "humans", *BASELINES, *known["subject"]}
    for names in (
        [decider.name for decider in deciders],
        sorted({str(name) for table in own for name in table["subject"]}),
    ):
        for name in names:
            if name in taken:
                raise ValueError(
                    f"{name!r} names two observers: give the network another name "
                    "('LABEL=NETWORK@WEIGHTS', or the column `subj`)."
                )
            taken.add(name)


def pictures_to_show(found: RecognitionData, needed: bool) -> Mapping[str, StimulusSet]:
    """Return the pictures that networks will look at.

    Parameters
    ----------
    found : RecognitionData
        Decisions of people, and pictures.
    needed : bool
        Whether there are networks.

    Returns
    -------
    mapping of str to StimulusSet
        By experiment.

    Raises
    ------
    ValueError
        If there are none of these experiments, or people saw none of them.
    """
    if not needed:
        return {}
    if not found.pictures:
        raise ValueError(
            "There are pictures of cue-conflict, edge and silhouette only: name one of "
            "them in `experiments`, or leave `models` out."
        )
    known = found.decisions
    for name, stimuli in found.pictures.items():
        shown = set(known.loc[known["experiment"] == name, "image_id"])
        if not shown & set(stimuli.table["image_id"]):
            raise ValueError(
                f"No picture of {name!r} in `images` is among those that people of "
                "`data` saw."
            )
    return found.pictures


def known_trials(
    found: RecognitionData, own: Sequence[pd.DataFrame], seed: int
) -> pd.DataFrame:
    """Return trials of people, published networks, own decisions and baselines.

    Parameters
    ----------
    found : RecognitionData
        Decisions of people and published networks.
    own : sequence of DataFrame
        Decisions of the user's networks.
    seed : int
        Of baselines that draw.

    Returns
    -------
    DataFrame
        With `kind` ("people", "published", "simulated", "decisions" or "baseline")
        and `texture` ("" where there is none).
    """
    known = found.decisions
    others = "simulated" if found.simulated else "published"
    tables = [known.assign(kind=np.where(known["is_human"], "people", others))]
    tables += [table.assign(kind="decisions") for table in own]
    trials = _with_textures(pd.concat(tables, ignore_index=True))
    baselines = baseline_trials(trials[trials["kind"] == "people"], seed=seed)
    baselines = baselines.assign(kind="baseline", is_human=False)
    return pd.concat([trials, baselines], ignore_index=True)


def network_trials(answers: pd.DataFrame) -> pd.DataFrame:
    """Give the answers of networks the form of other trials.

    Parameters
    ----------
    answers : DataFrame
        From `tasks.recognition_models.decide_pictures`.

    Returns
    -------
    DataFrame
        With `kind` "network".
    """
    table = answers.drop(columns=list(PROBABILITY_COLUMNS))
    return _with_textures(table.assign(kind="network", is_human=False, excluded=False))


def observers_of(
    trials: pd.DataFrame, deciders: Sequence[SixteenWayDecider], simulated: bool
) -> pd.DataFrame:
    """Tell what each observer is.

    Parameters
    ----------
    trials : DataFrame
        Trials of all.
    deciders : sequence of SixteenWayDecider
        Networks that looked at pictures.
    simulated : bool
        Whether people and pictures are simulated.

    Returns
    -------
    DataFrame
        `model`, `kind`, `untrained` and `simulated`; people as one, first.
    """
    rows = [("people", "people", False, simulated)]
    untrained = {decider.name for decider in deciders if not decider.trained}
    others = trials[~trials["is_human"].astype(bool)]
    kinds = others.drop_duplicates("subject").set_index("subject")["kind"]
    order = sorted(kinds.index, key=lambda name: _KINDS.index(kinds[name]))
    rows += [(name, kinds[name], name in untrained, simulated) for name in order]
    return pd.DataFrame(rows, columns=["model", "kind", "untrained", "simulated"])


def _with_textures(trials: pd.DataFrame) -> pd.DataFrame:
    is_conflict = trials["experiment"] == CUE_CONFLICT
    names = trials.loc[is_conflict, "image_id"].unique()
    textures = {name: texture_of(name) for name in names}
    return trials.assign(
        texture=trials["image_id"].map(textures).where(is_conflict, "").astype(object)
    )


def _with_truth(stimuli: StimulusSet) -> StimulusSet:
    """Call the columns of pictures as those of decisions are called."""
    table = stimuli.table
    if "truth" not in table:
        table = table.assign(truth=table["shape"], image_id=table["stimulus_id"])
    return replace(stimuli, table=table)
