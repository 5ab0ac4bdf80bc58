"""Trials of a choice experiment with people: what is shown, asked, and right.

In "2afc" one picture is shown and two answers are offered, or two pictures side by
side, of which one is chosen; in "search" the target is reported as present or absent;
in "odd-one-out" three pictures stand in a row and the one that fits least is chosen.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neurovis.core.checks import check_columns, check_option, check_whole, suggest
from neurovis.core.rng import generator
from neurovis.core.types import PATH_COLUMNS, StimulusSet

TASKS = ("2afc", "search", "odd-one-out")
"""Tasks that can be exported."""

PICTURE_COLUMNS = ("picture_1", "picture_2", "picture_3")
"""Identities of the pictures of a trial, in tables of pairs and triplets."""

ANSWER = "answer"
"""Column of pairs and triplets: the identity of the picture that is right, if any."""

PRESENT = "target_present"
"""Column that tells whether a display holds its target."""

PLACES: Mapping[int, tuple[str, ...]] = {
    2: ("left", "right"),
    3: ("left", "middle", "right"),
}
"""Names of the places of pictures side by side, from left to right."""

NAMED_KEYS = ("space", "left", "right", "up", "down", "return", "tab")
"""Keys with a name; every other key is named by its sign."""

_DEFAULT_KEYS = {1: ("space",), 2: ("f", "j"), 3: ("1", "2", "3")}
_BOXES = (
    ("area_left_px", "area_top_px", "area_right_px", "area_bottom_px"),
    ("target_left_px", "target_top_px", "target_width_px", "target_height_px"),
)


@dataclass(frozen=True)
class ChoiceTrials:
    """What an experiment shows and asks, before any order is drawn.

    Parameters
    ----------
    task : str
        One of `TASKS`.
    table : DataFrame
        One row per trial: `stimulus_id` (identities joined by "+" in the order of the
        table, whatever their places), `truth` (the right answer, or None) and the
        factors.
    pictures : tuple of tuple of int
        Rows of the set that each trial shows.
    keys : mapping of str to str
        Answer, or place of the picture, to key.
    boxes : tuple of (tuple of float or None)
        Left, top, right and bottom of the target in pixels, one per trial, where known.
    """

    task: str
    table: pd.DataFrame
    pictures: tuple[tuple[int, ...], ...]
    keys: Mapping[str, str]
    boxes: tuple[tuple[float, ...] | None, ...]

    @property
    def key_text(self) -> str:
        """Keys and their answers in one cell, such as "f:absent|j:present"."""
        return "|".join(f"{key}:{answer}" for answer, key in self.keys.items())

    def __len__(self) -> int:
        return len(self.table)

    @property
    def n_pictures(self) -> int:
        """Pictures of one trial."""
        return len(self.pictures[0])

    @property
    def factors(self) -> list[str]:
        """Columns of `table` that are factors of the design."""
        own = ("stimulus_id", "truth")
        return [str(c) for c in self.table if c not in own]


def make_choice_trials(
    stimuli: StimulusSet,
    task: str,
    *,
    answer_column: str | None = None,
    groups: pd.DataFrame | None = None,
    keys: Mapping[str, str] | None = None,
    keep: Sequence[str] | None = None,
    reserved: Sequence[str] = (),
) -> ChoiceTrials:
    """Say what is shown, asked and right in each trial.

    Parameters
    ----------
    stimuli : StimulusSet
        Pictures.
    task : {"2afc", "search", "odd-one-out"}
        See the module.
    answer_column : str, optional
        One picture per trial: column of the set with the right answer. "2afc" needs
        two different answers; for "search" it has True or "present", False or "absent",
        by default `target_present` when there is one, and without it every display
        holds its target.
    groups : DataFrame, optional
        Pictures side by side: `picture_1`, `picture_2` (and `picture_3`), identities of
        the set; `answer`, the identity that is right, if there is a right one; other
        columns are factors.
    keys : mapping of str to str, optional
        Answer, or place ("left", "middle", "right"), to key: a sign or one of
        `NAMED_KEYS`. By default F and J, or 1, 2 and 3, or the space bar.
    keep : sequence of str, optional
        Factors to keep; by default all columns that are no lists.
    reserved : sequence of str
        Names that factors may not have: such a factor is called ``stimulus_<name>``.

    Returns
    -------
    ChoiceTrials
        One trial per picture, or per row of `groups`.

    Raises
    ------
    ValueError
        If the task is unknown, a column or an identity is missing, answers do not fit
        the task, or keys do not fit the answers.

    Examples
    --------
    >>> from stimuli.slope_arrays import make_slope_arrays
    >>> displays = make_slope_arrays("feature", set_sizes=[3], trials=1)
    >>> trials = make_choice_trials(displays, "search")
    >>> trials.table["truth"].tolist(), trials.keys
    (['present', 'absent'], {'absent': 'f', 'present': 'j'})
    """
    check_option("task", task, TASKS)
    if not len(stimuli):
        raise ValueError("`stimuli` is empty: an experiment needs pictures.")
    if task == "odd-one-out" and groups is None:
        raise ValueError(
            "The task 'odd-one-out' needs `groups`, the triplets that are shown. "
            "`draw_triplets` makes some."
        )
    if task == "search" and groups is not None:
        raise ValueError("The task 'search' shows one display at a time: no `groups`.")
    if groups is not None and answer_column is not None:
        raise ValueError(
            "`answer_column` is for one picture per trial; with `groups` the column "
            f"{ANSWER!r} of `groups` tells what is right."
        )
    boxes: tuple[tuple[float, ...] | None, ...]
    pictures: tuple[tuple[int, ...], ...]
    truth: Sequence[str | None]
    if groups is None:
        source = stimuli.table
        choices, truth = _answers(stimuli.table, task, answer_column)
        pictures = tuple((row,) for row in range(len(stimuli)))
        boxes = _target_boxes(stimuli.table, truth) if task == "search" else ()
    else:
        source = groups
        size = 3 if task == "odd-one-out" else 2
        pictures, truth = _grouped(stimuli, groups, size)
        choices, boxes = PLACES[size], ()
    identities = stimuli.table["stimulus_id"].astype(str).tolist()
    used = (*PICTURE_COLUMNS, ANSWER) if groups is not None else ()
    factors = _factors(source, keep, used, (*reserved, "truth"))
    table = pd.DataFrame(
        {
            "stimulus_id": ["+".join(identities[i] for i in own) for own in pictures],
            "truth": pd.Series(truth, dtype=object),
        }
    )
    return ChoiceTrials(
        task,
        pd.concat([table, factors], axis=1),
        pictures,
        _keys(choices, keys),
        boxes or (None,) * len(pictures),
    )


def draw_triplets(
    identities: Sequence[str], n_triplets: int, *, seed: int = 0
) -> pd.DataFrame:
    """Draw different triplets of pictures at random.

    Parameters
    ----------
    identities : sequence of str
        Identities to draw from, at least three.
    n_triplets : int
        How many, >= 1 and not more than there are.
    seed : int, default 0
        Of the draw.

    Returns
    -------
    DataFrame
        `PICTURE_COLUMNS`, one row per triplet; no triplet comes twice.

    Raises
    ------
    ValueError
        If there are fewer triplets than asked for.

    Examples
    --------
    >>> len(draw_triplets(["a", "b", "c", "d"], 4))
    4
    """
    names = list(dict.fromkeys(identities))
    n = len(names)
    n_all = n * (n - 1) * (n - 2) // 6
    check_whole("n_triplets", n_triplets, low=1)
    if n_triplets > n_all:
        raise ValueError(
            f"`n_triplets` is {n_triplets}, but {n} pictures have {n_all} triplets."
        )
    rng = generator(seed, "triplets")
    if n_all <= 4 * n_triplets:
        every = list(itertools.combinations(range(n), 3))
        rows = [every[i] for i in rng.permutation(n_all)[:n_triplets]]
    else:
        drawn: dict[tuple[int, ...], None] = {}
        while len(drawn) < n_triplets:
            three = rng.choice(n, size=3, replace=False)
            drawn[tuple(sorted(three.tolist()))] = None
        rows = [(a, b, c) for a, b, c in drawn]
    return pd.DataFrame(
        [[names[i] for i in row] for row in rows], columns=list(PICTURE_COLUMNS)
    )


def draw_orders(
    n_trials: int,
    n_places: int,
    *,
    n_repeats: int = 1,
    n_orders: int = 1,
    seed: int = 0,
) -> list[list[tuple[int, int]]]:
    """Draw random orders of trials, with places that are counterbalanced.

    Parameters
    ----------
    n_trials : int
        Different trials, >= 1.
    n_places : int
        Pictures side by side, >= 1.
    n_repeats : int, default 1
        How often each trial comes; all come once before one comes again.
    n_orders : int, default 1
        Independent orders.
    seed : int, default 0
        Of the draw.

    Returns
    -------
    list of (list of (int, int))
        For each order the trials, and for each the arrangement of its pictures: a
        number among ``itertools.permutations(range(n_places))``. In each order the
        arrangements are used equally often, up to one, and a trial that comes again
        has another one than the time before.

    Examples
    --------
    >>> draw_orders(2, 1, n_repeats=2)[0]
    [(1, 0), (0, 0), (0, 0), (1, 0)]
    """
    n_arrangements = len(list(itertools.permutations(range(n_places))))
    orders = []
    for number in range(n_orders):
        rng = generator(seed, "order", number)
        rank = rng.permutation(n_trials)
        shift = int(rng.integers(n_arrangements))
        order: list[tuple[int, int]] = []
        for repeat in range(n_repeats):
            # One line through all trials and repeats, so that counts stay even.
            line = rank + repeat * n_trials + shift
            if n_trials % n_arrangements == 0:
                line = line + repeat
            own = line % n_arrangements
            order += [(int(t), int(own[t])) for t in rng.permutation(n_trials)]
        orders.append(order)
    return orders


def order_of(participant: str, n_orders: int) -> int:
    """Return which order a participant gets: a hash of the identity.

    Parameters
    ----------
    participant : str
        Identity of the participant.
    n_orders : int
        Orders of the experiment, >= 1.

    Returns
    -------
    int
        FNV-1a, 32 bits, of the UTF-8 text, modulo `n_orders`.

    Examples
    --------
    >>> order_of("p01", 20)
    16
    """
    hashed = 0x811C9DC5
    for byte in participant.encode():
        hashed = ((hashed ^ byte) * 0x01000193) % 2**32
    return hashed % n_orders


# --------------------------------------------------------------------- answers


def _answers(
    table: pd.DataFrame, task: str, column: str | None
) -> tuple[tuple[str, ...], list[str]]:
    """Return the answers that are offered, and the right one of each picture."""
    if task == "search":
        if column is None and PRESENT not in table:
            return ("present",), ["present"] * len(table)
        name = column or PRESENT
        check_columns("stimuli.table", table.columns, [name])
        known = {"true": "present", "present": "present", "1": "present"}
        known |= {"false": "absent", "absent": "absent", "0": "absent"}
        said = [str(value).lower() for value in table[name]]
        wrong = [value for value in said if value not in known]
        if wrong:
            raise ValueError(
                f"`answer_column` {name!r} must have True or 'present', False or "
                f"'absent' for a search; got {wrong[0]!r}."
            )
        truth = [known[value] for value in said]
        both = ("absent", "present")
        return (both if "absent" in truth else ("present",)), truth
    if column is None:
        raise ValueError(
            "The task '2afc' needs `answer_column`, the column with the right answer "
            f"to one picture (the set has {list(table.columns)}), or `groups`, pairs "
            "of pictures to choose from."
        )
    check_columns("stimuli.table", table.columns, [column])
    if table[column].isna().any():
        row = int(np.flatnonzero(table[column].isna())[0])
        raise ValueError(
            f"`answer_column` {column!r} has no answer for "
            f"{table['stimulus_id'].iloc[row]!r}: select the pictures that have one."
        )
    truth = [str(value) for value in table[column]]
    choices = tuple(sorted(set(truth)))
    if len(choices) != 2:
        raise ValueError(
            f"`answer_column` {column!r} must have two different answers for '2afc'; "
            f"it has {len(choices)}: {list(choices[:5])}."
        )
    return choices, truth


def _grouped(
    stimuli: StimulusSet, groups: pd.DataFrame, size: int
) -> tuple[tuple[tuple[int, ...], ...], list[str | None]]:
    columns = list(PICTURE_COLUMNS[:size])
    check_columns("groups", groups.columns, columns)
    if size == 2 and PICTURE_COLUMNS[2] in groups:
        raise ValueError(
            "`groups` has three pictures per row, but '2afc' shows two: give pairs, or "
            "the task 'odd-one-out'."
        )
    if groups.empty:
        raise ValueError("`groups` has no row: an experiment needs trials.")
    known = {str(name): i for i, name in enumerate(stimuli.table["stimulus_id"])}
    rows = [[str(value) for value in row] for row in groups[columns].to_numpy()]
    for number, row in enumerate(rows):
        for value in row:
            if value not in known:
                raise ValueError(
                    f"`groups` names {value!r} in row {number}, which `stimuli` lacks."
                    f"{suggest(value, known)}"
                )
        if len(set(row)) < size:
            raise ValueError(f"`groups` shows a picture with itself in row {number}.")
    truth: list[str | None] = [None] * len(rows)
    if ANSWER in groups:
        truth = [None if pd.isna(v) else str(v) for v in groups[ANSWER]]
        for number, (right, row) in enumerate(zip(truth, rows, strict=True)):
            if right is not None and right not in row:
                raise ValueError(
                    f"`groups` has the answer {right!r} in row {number}, which shows "
                    f"{row}: the answer is the identity of a picture that is shown."
                )
    return tuple(tuple(known[value] for value in row) for row in rows), truth


def _keys(choices: Sequence[str], keys: Mapping[str, str] | None) -> Mapping[str, str]:
    if any("|" in name for name in choices):
        raise ValueError(f"Answers may not have the sign '|'; got {list(choices)}.")
    if keys is None:
        return dict(zip(choices, _DEFAULT_KEYS[len(choices)], strict=True))
    wrong = sorted(set(keys) ^ set(choices))
    if wrong:
        raise ValueError(
            f"`keys` must name the keys of {list(choices)}; got those of {list(keys)}."
        )
    for name, key in keys.items():
        is_sign = len(key) == 1 and key.isprintable() and key not in " |"
        if key not in NAMED_KEYS and not is_sign:
            raise ValueError(
                f"`keys` has {key!r} for {name!r}: give one sign, or one of "
                f"{NAMED_KEYS}.{suggest(key, NAMED_KEYS)}"
            )
    own = [keys[name].lower() for name in choices]
    if len(set(own)) < len(own):
        raise ValueError(f"`keys` has one key for two answers: {dict(keys)}.")
    return {name: keys[name] for name in choices}


def _target_boxes(
    table: pd.DataFrame, truth: Sequence[str | None]
) -> tuple[tuple[float, ...] | None, ...]:
    """Return where a click on the target counts, for displays that tell it."""
    columns = next((c for c in _BOXES if set(c) <= set(table.columns)), None)
    if columns is None:
        return ()
    boxes: list[tuple[float, ...] | None] = []
    for right, row in zip(truth, table[list(columns)].to_numpy(float), strict=True):
        left, top, third, fourth = row.tolist()
        if columns == _BOXES[1]:
            third, fourth = left + third, top + fourth
        known = right == "present" and not np.isnan(row).any()
        boxes.append((left, top, third, fourth) if known else None)
    return tuple(boxes)


def _factors(
    table: pd.DataFrame,
    keep: Sequence[str] | None,
    used: Sequence[str],
    reserved: Sequence[str],
) -> pd.DataFrame:
    own = {"stimulus_id", *PATH_COLUMNS, *used}
    if keep is None:
        names = [n for n in table if n not in own and not _has_lists(table[n])]
    else:
        check_columns("table of factors", table.columns, keep)
        names = [name for name in dict.fromkeys(keep) if name not in own]
    called = {n: f"stimulus_{n}" if n in reserved else str(n) for n in names}
    twice = [n for n in called.values() if list(called.values()).count(n) > 1]
    if twice:
        raise ValueError(
            f"Two factors would be called {twice[0]!r} in the results: rename one, or "
            "leave it out with `keep`."
        )
    return table[names].rename(columns=called).reset_index(drop=True)


def _has_lists(column: pd.Series) -> bool:
    return any(isinstance(v, str) and v.strip()[:1] in ("[", "{") for v in column)


def cell_values(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain JSON values; undefined is None.

    Parameters
    ----------
    table : DataFrame
        Numbers, True and False, or text.

    Returns
    -------
    list of dict
        One per row.
    """
    columns = {
        str(name): [None if pd.isna(v) else v for v in column.tolist()]
        for name, column in table.items()
    }
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ] or [{} for _ in range(len(table))]
