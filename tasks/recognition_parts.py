"""Which pictures observers of a recognition experiment have in common.

Observers are compared on the same pictures only. Where a decision maker answered to a
part of the pictures that people saw, everything (people with each other too) is
computed once more for this part, with all who answered to all of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

ALL = "all"
"""Name of the part that holds every picture that people saw."""

PEOPLE = "people"
"""Name of all people together in tables."""

_Pictures = frozenset[tuple[str, str]]
_KEYS = ["condition", "image_id"]


@dataclass(frozen=True)
class Settings:
    """How intervals are computed.

    Parameters
    ----------
    n_bootstrap : int
        Resamples; 0 for no intervals.
    seed : int
        Seed of all draws.
    """

    n_bootstrap: int
    seed: int


@dataclass(frozen=True, eq=False)
class Part:
    """Pictures of an experiment, and everybody who answered to all of them.

    Parameters
    ----------
    experiment : str
        Experiment.
    label : str
        "all", or such as "320 of 1280".
    n_images : int
        Pictures, over all conditions.
    makers : tuple of str
        Decision makers who are no people.
    trials : DataFrame
        Trials of people and makers with these pictures.
    """

    experiment: str
    label: str
    n_images: int
    makers: tuple[str, ...]
    trials: pd.DataFrame

    @property
    def title(self) -> str:
        """Name for people, such as "cue-conflict (320 of 1280)"."""
        return self.experiment + ("" if self.label == ALL else f" ({self.label})")


@dataclass(frozen=True, eq=False)
class Scope:
    """Parts of several experiments that some decision makers have in common.

    Parameters
    ----------
    title : str
        Name for people.
    parts : tuple of Part
        One per experiment.
    makers : tuple of str
        Who answered to all of it.
    """

    title: str
    parts: tuple[Part, ...]
    makers: tuple[str, ...]

    @property
    def trials(self) -> pd.DataFrame:
        """Trials of people and makers with these pictures."""
        kept = [
            part.trials[
                part.trials["is_human"] | part.trials["subject"].isin(self.makers)
            ]
            for part in self.parts
        ]
        return pd.concat(kept, ignore_index=True)


def keep_shared(trials: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out trials with pictures that people did not see.

    Parameters
    ----------
    trials : DataFrame
        Trials of people and others: `subject`, `is_human`, `experiment`, `condition`
        and `image_id`.

    Returns
    -------
    kept : DataFrame
        Trials with pictures that people saw, in that condition.
    notes : list of str
        For whom how many trials were left out.

    Raises
    ------
    ValueError
        If somebody shares no picture with people.
    """
    keys = ["experiment", *_KEYS]
    shown = trials.loc[trials["is_human"], keys].drop_duplicates()
    is_shown = pd.MultiIndex.from_frame(trials[keys]).isin(
        pd.MultiIndex.from_frame(shown)
    )
    notes = []
    for name in trials.loc[~is_shown, "subject"].unique():
        own = trials["subject"] == name
        n_out = int((own & ~is_shown).sum())
        if n_out == own.sum():
            raise ValueError(
                f"{name!r} has no picture in common with people: their image names "
                f"(such as {trials.loc[own, 'image_id'].iloc[0]!r}), conditions or "
                "experiments differ. See `data_loaders.model_vs_human`."
            )
        notes.append(
            f"{name}: {n_out} of {own.sum()} trials were left out because people did "
            "not see these pictures."
        )
    return trials[is_shown].reset_index(drop=True), notes


def picture_parts(trials: pd.DataFrame) -> list[Part]:
    """Find the sets of pictures on which observers can be compared.

    Parameters
    ----------
    trials : DataFrame
        As for `keep_shared`, without pictures that people did not see.

    Returns
    -------
    list of Part
        By experiment in order of appearance; all pictures first, then each other set
        that is all that some decision maker answered to.
    """
    parts = []
    for experiment, table in trials.groupby("experiment", sort=False):
        shown = _pictures(table[table["is_human"]])
        own = {
            str(name): _pictures(group)
            for name, group in table[~table["is_human"]].groupby("subject", sort=False)
        }
        for label, pictures in _labels(shown, own).items():
            makers = tuple(name for name, seen in own.items() if pictures <= seen)
            kept = table[table["is_human"] | table["subject"].isin(makers)]
            if pictures != shown:
                index = pd.MultiIndex.from_frame(kept[_KEYS])
                kept = kept[index.isin(sorted(pictures))]
            parts.append(
                Part(
                    str(experiment),
                    label,
                    len(pictures),
                    makers,
                    kept.reset_index(drop=True),
                )
            )
    return parts


def _pictures(table: pd.DataFrame) -> _Pictures:
    return frozenset(table[_KEYS].itertuples(index=False, name=None))


def _labels(shown: _Pictures, own: Mapping[str, _Pictures]) -> dict[str, _Pictures]:
    sets = {ALL: shown}
    for pictures in own.values():
        if pictures in sets.values():
            continue
        label = f"{len(pictures)} of {len(shown)}"
        same = sum(known.startswith(label) for known in sets)
        sets[f"{label}, set {same + 1}" if same else label] = pictures
    return sets


def largest_part(parts: list[Part], experiment: str, maker: str) -> Part | None:
    """Return the most pictures of an experiment that somebody answered to.

    Parameters
    ----------
    parts : list of Part
        From `picture_parts`.
    experiment : str
        Experiment.
    maker : str
        Decision maker.

    Returns
    -------
    Part or None
        None if there are none.
    """
    own = [p for p in parts if p.experiment == experiment and maker in p.makers]
    return max(own, key=lambda part: part.n_images, default=None)


def benchmark_scopes(parts: list[Part], makers: list[str]) -> list[Scope]:
    """Gather experiments over which decision makers can be ranked.

    Parameters
    ----------
    parts : list of Part
        From `picture_parts`.
    makers : list of str
        Each opens a scope with all that it answered to; others join it who answered
        to all of that.

    Returns
    -------
    list of Scope
        All that people did first; each set of parts once.
    """
    parts = [part for part in parts if not part.trials["excluded"].all()]
    experiments = list(dict.fromkeys(part.experiment for part in parts))
    whole = tuple(part for part in parts if part.label == ALL)
    chosen = {_identity(whole): whole} if whole else {}
    for maker in makers:
        found = [largest_part(parts, e, maker) for e in experiments]
        own = tuple(part for part in found if part is not None)
        if own:
            chosen.setdefault(_identity(own), own)
    scopes = []
    for own in chosen.values():
        together = set.intersection(*(set(part.makers) for part in own))
        title = ", ".join(part.title for part in own)
        if len(own) > 4:
            smaller = [part.title for part in own if part.label != ALL]
            title = f"{len(own)} experiments" + (
                f" (of {', '.join(smaller)})" if smaller else ""
            )
        order = [name for name in own[0].makers if name in together]
        scopes.append(Scope(title, own, tuple(order)))
    return scopes


def _identity(parts: tuple[Part, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((part.experiment, part.label) for part in parts)
