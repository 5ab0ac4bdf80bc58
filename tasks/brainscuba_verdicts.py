"""What can be concluded about captions of simulated voxels, in plain sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.plot_style import number_text
from neurovis.adapters.brainscuba import NEAREST, PROJECTION, RANDOM, RAW, SCALED
from neurovis.core.checks import check_columns, check_whole
from tasks.brainscuba_scores import ALL, CHOSEN, PICTURES, SHUFFLED
from tasks.report_parts import value_text

RETRIEVAL = 2.0
"""Up to this effective number a projection is taken for the nearest picture."""
MEAN_SHARE = 0.5
"""From this share of the bank on it is taken for the mean picture."""

_NAMES = {
    RAW: "the raw weights",
    SCALED: "raw weights of mean norm",
    NEAREST: "the nearest picture of the bank",
}
_BEGIN = {"": "", CHOSEN: "Encoders with a chosen penalty. "}
_CONTROLS = {
    SHUFFLED: "Control, voxels whose responses were shuffled before the fit",
    RANDOM: "Control, random pictures of the bank",
}
_USES = {
    "retrieval": "this is retrieval: the caption is that of the nearest picture",
    "mean": "the captions are those of the mean picture of the bank",
    "mixture": "neither the nearest picture alone nor the mean of the bank",
}

Row = dict[str, Any]


def conclusions(
    scores: pd.DataFrame, *, inverse_temperature: float, n_bank: int
) -> list[str]:
    """Tell what the limits allow to say, and no more.

    Parameters
    ----------
    scores : DataFrame
        What `tasks.brainscuba_scores.brainscuba_scores` returns.
    inverse_temperature : float
        The one that was compared with other conditions.
    n_bank : int
        Pictures of the bank, >= 2.

    Returns
    -------
    list of str
        Sentences about the projection and its gains, with both kinds of encoders,
        controls, temperatures, repeats, the pictures that count, and the captioner;
        those about conditions that the table lacks are left out.

    Raises
    ------
    ValueError
        If the table lacks columns.
    """
    needed = ["condition", "region", "metric", "value", "ci_low", "ci_high"]
    needed += ["noise_sd", "inverse_temperature", "brain"]
    check_columns("table of scores", scores.columns, needed)
    check_whole("n_bank", n_bank, low=2)
    return [
        *_about_projection(scores, inverse_temperature),
        *_about_gains(scores),
        *_about_projection(scores, inverse_temperature, CHOSEN),
        *_about_gains(scores, CHOSEN),
        *_about_controls(scores),
        *_about_temperatures(scores, inverse_temperature),
        *_about_repeats(scores),
        *_about_effective_numbers(scores, inverse_temperature, n_bank),
        *_about_captioner(scores),
    ]


def noise_levels(scores: pd.DataFrame) -> list[float]:
    """Return the levels of noise of a table of scores.

    Parameters
    ----------
    scores : DataFrame
        With `noise_sd`.

    Returns
    -------
    list of float
        Ascending.
    """
    return sorted(float(level) for level in scores["noise_sd"].dropna().unique())


def concept_names(scores: pd.DataFrame) -> list[str]:
    """Return the concepts of a table of scores, in order.

    Parameters
    ----------
    scores : DataFrame
        With `region`.

    Returns
    -------
    list of str
        Without "all".
    """
    return [str(name) for name in scores["region"].unique() if name != ALL]


def score_rows(
    scores: pd.DataFrame,
    metric: str,
    condition: str,
    *,
    inverse_temperature: float | None = None,
    region: str = ALL,
    by_brain: bool = False,
) -> pd.DataFrame:
    """Return what was measured of a condition, quietest voxels first.

    Parameters
    ----------
    scores : DataFrame
        What `tasks.brainscuba_scores.brainscuba_scores` returns.
    metric, condition : str
        Which measure, of what.
    inverse_temperature : float, optional
        Of one temperature only.
    region : str, default "all"
        Concept that voxels stand for.
    by_brain : bool, default False
        Rows of single brains instead of those of all together.

    Returns
    -------
    DataFrame
        Rows by noise.
    """
    is_own = (scores["metric"] == metric) & (scores["condition"] == condition)
    is_own &= (scores["region"] == region) & (scores["brain"].notna() == by_brain)
    if inverse_temperature is not None:
        is_own &= scores["inverse_temperature"] == inverse_temperature
    return scores[is_own].sort_values("noise_sd", kind="stable")


def bank_use(effective_number: float, n_bank: int) -> str:
    """Tell how a projection uses its bank.

    Parameters
    ----------
    effective_number : float
        Pictures that count.
    n_bank : int
        Pictures of the bank.

    Returns
    -------
    {"retrieval", "mean", "mixture"}
        Up to `RETRIEVAL` pictures, from `MEAN_SHARE` of the bank on, between.

    Examples
    --------
    >>> [bank_use(number, 2000) for number in (1.2, 7.5, 1950)]
    ['retrieval', 'mixture', 'mean']
    """
    if effective_number <= RETRIEVAL:
        return "retrieval"
    return "mean" if effective_number >= MEAN_SHARE * n_bank else "mixture"


def listed(parts: Sequence[str]) -> str:
    """Join words as a sentence has them.

    Parameters
    ----------
    parts : sequence of str
        Words.

    Returns
    -------
    str
        With commas, and "and" before the last.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _records(table: pd.DataFrame) -> list[Row]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _by_noise(rows: Sequence[Row], digits: int = 2) -> str:
    return ", ".join(
        f"{value_text(row, digits)} at noise {row['noise_sd']:g}" for row in rows
    )


def _levels(rows: Sequence[Row]) -> str:
    return "noise " + listed([f"{row['noise_sd']:g}" for row in rows])


def _about_projection(
    scores: pd.DataFrame, beta: float, encoder: str = ""
) -> list[str]:
    options: dict[str, Any] = {"inverse_temperature": beta}
    name = PROJECTION + encoder
    rows = _records(score_rows(scores, "naming_rate", name, **options))
    if not rows:
        return []
    text = f"{_BEGIN[encoder]}Projection at inverse temperature {beta:g}: the concept "
    text += f"of a voxel is named in {_by_noise(rows)}."
    brains = score_rows(scores, "naming_rate", name, **options, by_brain=True)
    if len(set(brains["brain"])) > 1:
        low, high = brains["value"].min(), brains["value"].max()
        text += f" Single brains and levels of noise: {number_text(low, 2)} to "
        text += f"{number_text(high, 2)}."
    return [text]


def _about_gains(scores: pd.DataFrame, encoder: str = "") -> list[str]:
    found = []
    for condition, name in _NAMES.items():
        own = score_rows(scores, "naming_rate_difference", condition + encoder)
        rows = _records(own)
        if not rows:
            continue
        text = f"{_BEGIN[encoder]}Gain of the projection over {name}, voxel by voxel: "
        text += f"{_by_noise(rows)}. "
        more = [row for row in rows if row["ci_low"] > 0]
        less = [row for row in rows if row["ci_high"] < 0]
        if more:
            text += f"The limits lie above 0 at {_levels(more)}."
        if less:
            text += f"{' ' * bool(more)}They lie below 0, a loss, at {_levels(less)}."
        if not more and not less:
            text += "The limits do not exclude 0 at any noise."
        found.append(text)
    return found


def _about_controls(scores: pd.DataFrame) -> list[str]:
    found = []
    chance = 1 / max(len(concept_names(scores)), 1)
    for condition, name in _CONTROLS.items():
        rows = _records(score_rows(scores, "naming_rate", condition))
        if not rows:
            continue
        text = f"{name}: named in {_by_noise(rows)}. "
        above = [row for row in rows if row["ci_low"] > chance]
        below = [row for row in rows if row["ci_high"] < chance]
        told = f"chance ({number_text(chance, 2)})"
        if above:
            text += f"Above {told} at {_levels(above)}: this control fails."
        if below:
            text += f"{' ' * bool(above)}Below {told} at {_levels(below)}."
        if not above and not below:
            text += f"All limits include {told}."
        found.append(text)
    return found


def _about_temperatures(scores: pd.DataFrame, beta: float) -> list[str]:
    every = score_rows(scores, "naming_rate", PROJECTION)
    if every["inverse_temperature"].nunique() < 2:
        return []
    found = []
    for level, own in every.groupby("noise_sd", sort=True):
        rows = {row["inverse_temperature"]: row for row in _records(own)}
        if beta not in rows:
            continue
        main = rows[beta]
        worse = [b for b, row in rows.items() if row["ci_high"] < main["ci_low"]]
        better = [b for b, row in rows.items() if row["ci_low"] > main["ci_high"]]
        told = [
            f"{word} at {listed([f'{b:g}' for b in sorted(which)])}"
            for word, which in (("worse", worse), ("better", better))
            if which
        ]
        found.append(
            f"at noise {level:g} {listed(told) if told else 'none is worse or better'}"
        )
    return [
        f"Other inverse temperatures than {beta:g}, by limits that exclude each "
        f"other: {'; '.join(found)}."
    ]


def _about_repeats(scores: pd.DataFrame) -> list[str]:
    rows = _records(score_rows(scores, "repeat_agreement", PROJECTION))
    if not rows:
        return []
    return [
        "Two repeats, from different parts of the bank, name the same concepts in "
        f"{_by_noise(rows)}."
    ]


def _about_effective_numbers(
    scores: pd.DataFrame, beta: float, n_bank: int
) -> list[str]:
    every = score_rows(scores, "effective_number", PROJECTION)
    rows = _records(every[every["inverse_temperature"] == beta])
    if not rows:
        return []
    text = f"Pictures that count (effective number, median) at {beta:g}: "
    text += f"{_by_noise(rows, 1)}, of {n_bank}: "
    by_use: Mapping[str, list[Row]] = {use: [] for use in _USES}
    for row in rows:
        by_use[bank_use(float(row["value"]), n_bank)].append(row)
    told = [
        f"{_USES[use]}" + ("" if len(own) == len(rows) else f" at {_levels(own)}")
        for use, own in by_use.items()
        if own
    ]
    text += f"{'; '.join(told)}."
    for use, name in (("retrieval", "Retrieval"), ("mean", "The mean picture")):
        medians = every.groupby("inverse_temperature")["value"].median()
        others = [b for b in medians.index if b != beta]
        own_use = [b for b in others if bank_use(float(medians[b]), n_bank) == use]
        if own_use:
            where = listed([f"{b:g}" for b in sorted(own_use)])
            text += f" {name} at inverse temperature {where}."
    return [text]


def _about_captioner(scores: pd.DataFrame) -> list[str]:
    # Noise is of voxels: these pictures are the same at all of its levels.
    rows = _records(score_rows(scores, "naming_rate", PICTURES))[:1]
    return [
        f"The captioner names the concept of {value_text(row, 2)} of new drawings that "
        "it is shown as they are: no condition can be expected to do better."
        for row in rows
        if not np.isnan(row["value"])
    ]
