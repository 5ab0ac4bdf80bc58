"""Trials from files of answers: which column means what, and what a trial must have."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from data_loaders.response_files import UNDEFINED, AnswerFile, is_formula
from neurovis.core.checks import check_columns, check_option, suggest
from neurovis.core.types import TRIAL_COLUMNS, StimulusSet

_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_PICTURE = re.compile(r"\.(png|jpe?g|gif|bmp|webp|svg)$", re.IGNORECASE)
_LONGEST_MEDIAN_S = 60.0

# ------------------------------------------------------------------- meanings


def find_columns(
    file: AnswerFile,
    roles: Mapping[str, Sequence[str]],
    columns: Mapping[str, str | None],
    needed: Sequence[str],
) -> dict[str, str]:
    """Return the name of the column of each meaning that has one.

    Parameters
    ----------
    file : AnswerFile
        Its cells.
    roles : mapping of str to sequence of str
        Meaning to names that are recognised, whatever their case.
    columns : mapping of str to (str or None)
        Meaning to name, as the user says; None for a meaning that no column has.
    needed : sequence of str
        Meanings that must have a column, unless `columns` says None.

    Returns
    -------
    dict of str to str
        Meaning to name.

    Raises
    ------
    ValueError
        If a column is missing, or two could be meant.
    """
    for role in columns:
        check_option("key of `columns`", role, tuple(roles))
    have = [str(name) for name in file.cells]
    names = {role: name for role, name in columns.items() if name is not None}
    check_columns(file.path.name, have, names.values())
    for role, known in roles.items():
        if role in columns:
            continue
        found = [n for n in have if n.lower() in known and n not in names.values()]
        if len(found) > 1:
            raise ValueError(
                f"{file.path.name} has {len(found)} columns that could be the {role}: "
                f"{found}. Tell which, such as columns={{{role!r}: {found[0]!r}}}."
            )
        if found:
            names[role] = found[0]
        elif role in needed:
            raise ValueError(
                f"{file.path.name} has no column that is known to be the {role}; it "
                f"has {have[:40]}. Give columns={{{role!r}: NAME}}."
            )
    return names


def select_rows(file: AnswerFile, where: Mapping[str, str]) -> AnswerFile:
    """Return the rows in which columns have the values told.

    Parameters
    ----------
    file : AnswerFile
        All rows.
    where : mapping of str to str
        Column to value.

    Returns
    -------
    AnswerFile
        The rows, at least one.

    Raises
    ------
    ValueError
        If a column is missing or no row is left.
    """
    check_columns(file.path.name, file.cells.columns, where)
    cells = file.cells
    for name, value in where.items():
        if (cells[name] == value).sum() == 0:
            there = cells[name].unique().tolist()
            raise ValueError(
                f"{file.path} has no row with {name} = {value!r}; there is "
                f"{there[:10]}.{suggest(value, there)}"
            )
        cells = cells[cells[name] == value]
    return AnswerFile(file.path, cells, file.separator)


def check_identities(file: AnswerFile, cells: "pd.Series[str]", what: str) -> None:
    """Raise if an identity is missing or would be run by a spreadsheet.

    Parameters
    ----------
    file : AnswerFile
        Where they come from.
    cells : Series of str
        Identities.
    what : str
        Meaning, for the message.

    Raises
    ------
    ValueError
        If one is empty or begins as a formula.
    """
    file.fail(cells.isin(UNDEFINED), f"the {what} is missing", "Fill it in.")
    formula = cells.map(is_formula).astype(bool)
    if formula.any():
        shown = cells[formula].iloc[0][:60]
        file.fail(
            formula,
            f"the {what} {shown!r} begins as a formula of a spreadsheet",
            "Rename it.",
        )


def inert(cells: "pd.Series[str]") -> "pd.Series[str]":
    """Return text that no spreadsheet runs: formulas get an apostrophe.

    Parameters
    ----------
    cells : Series of str
        Any text.

    Returns
    -------
    Series of str
        The text.
    """
    return cells.where(~cells.map(is_formula).astype(bool), "'" + cells)


def picture_name(text: str) -> str:
    """Return the identity of a picture from its path, or the text itself.

    Parameters
    ----------
    text : str
        Such as "images/cat_1.png".

    Returns
    -------
    str
        Such as "cat_1".

    Examples
    --------
    >>> picture_name("images/cat_1.png"), picture_name("cat_1")
    ('cat_1', 'cat_1')
    """
    last = re.split(r"[/\\]", text)[-1]
    return _PICTURE.sub("", last) if _PICTURE.search(text) else text


def key_answers(text: str) -> dict[str, str]:
    """Return which key means what, from one cell.

    Parameters
    ----------
    text : str
        Such as "f:absent|j:present".

    Returns
    -------
    dict of str to str
        Key to answer.

    Examples
    --------
    >>> key_answers("f:absent|j:present")
    {'f': 'absent', 'j': 'present'}
    """
    found = [re.match(r"(.[^:]*):(.*)", part) for part in text.split("|")]
    return {match[1]: match[2] for match in found if match}


def check_times(
    rt: "pd.Series[float]", time_unit: str, path: Path
) -> "pd.Series[float]":
    """Return reaction times in milliseconds; raise if they have another unit.

    Parameters
    ----------
    rt : Series of float
        Times, NaN without an answer.
    time_unit : {"ms", "s"}
        Their unit.
    path : Path
        The file, for the message.

    Returns
    -------
    Series of float
        Milliseconds.

    Raises
    ------
    ValueError
        If a time is negative, or all are too short or half are too long for the unit.
    """
    known = rt.dropna()
    if (known < 0).any():
        raise ValueError(f"{path} has the negative reaction time {known.min():g}.")
    if time_unit == "ms" and len(known) and known.max() < 20:
        raise ValueError(
            f"{path}: reaction times are taken as ms, but none is above "
            f"{known.max():g}. Give time_unit='s' if these are seconds."
        )
    factor = 1000.0 if time_unit == "s" else 1.0
    if len(known) and known.median() * factor > 1000 * _LONGEST_MEDIAN_S:
        raise ValueError(
            f"{path}: half of the reaction times are above {known.median():g} "
            f"{time_unit}. They have another unit (`time_unit`), or lost their decimal "
            "mark in a spreadsheet."
        )
    return rt * factor


def typed(cells: "pd.Series[str]", decimal: str = ".") -> pd.Series:
    """Return a column as numbers, or True and False, if all of its cells are such.

    Parameters
    ----------
    cells : Series of str
        Text; empty is undefined.
    decimal : {".", ","}
        Decimal mark.

    Returns
    -------
    Series
        float64, int64, bool, or text. Text such as "007" stays text.
    """
    if decimal == ",":
        plain = cells.str.replace(",", ".")
        cells = cells.mask(plain.str.fullmatch(_PLAIN_NUMBER), plain)
    known = cells[cells != ""]
    if len(known) and known.str.lower().isin(("true", "false")).all():
        values = cells.str.lower().map({"true": True, "false": False})
        return values.astype(bool) if len(known) == len(cells) else values
    if len(known) and known.str.fullmatch(_PLAIN_NUMBER).all():
        return pd.to_numeric(cells.mask(cells == ""))
    return cells.mask(cells == "", other=np.nan)


# -------------------------------------------------------------------- assembly


def check_known_pictures(
    file: AnswerFile, cells: "pd.Series[str]", stimuli: StimulusSet
) -> None:
    """Raise if a picture is not in the set.

    Parameters
    ----------
    file : AnswerFile
        Where the identities come from.
    cells : Series of str
        Identities; several are joined by "+".
    stimuli : StimulusSet
        The set.

    Raises
    ------
    ValueError
        If one is unknown.
    """
    known = set(stimuli.table["stimulus_id"].astype(str))
    unknown = cells.map(lambda c: c not in known and not set(c.split("+")) <= known)
    if unknown.any():
        shown = cells[unknown.astype(bool)].iloc[0]
        file.fail(
            unknown.astype(bool),
            f"the picture {shown[:80]!r} is not in the set {stimuli.name!r}",
            f"Give the set that was shown.{suggest(shown, known)}",
        )


def join_participants(tables: Mapping[Path, pd.DataFrame]) -> pd.DataFrame:
    """Return the trials of all files; a participant comes from one file only.

    Parameters
    ----------
    tables : mapping of Path to DataFrame
        File to trials, at least `TRIAL_COLUMNS`.

    Returns
    -------
    DataFrame
        `TRIAL_COLUMNS`, then the other columns; rows in the order of the files.

    Raises
    ------
    ValueError
        If a participant comes twice, or a trial of one is there twice.
    """
    home: dict[str, Path] = {}
    for path, table in tables.items():
        for subject in table["subject"].unique():
            if subject in home:
                raise ValueError(
                    f"The participant {subject!r} is in {home[subject]} and in {path}. "
                    "Keep one of the files, or rename the participant in one."
                )
            home[subject] = path
        twice = table[table.duplicated(["subject", "trial"], keep=False)]
        if len(twice):
            lines = twice.index.tolist()[:2]
            first = twice.iloc[0]
            raise ValueError(
                f"{path} has trial {first['trial']} of {first['subject']!r} in lines "
                f"{lines[0]} and {lines[1]}: keep one."
            )
    joined = pd.concat([t.reset_index(drop=True) for t in tables.values()])
    rest = [name for name in joined if name not in TRIAL_COLUMNS]
    return joined[[*TRIAL_COLUMNS, *rest]].reset_index(drop=True)


def as_correct(right: Sequence[bool | None]) -> pd.Series:
    """Return a column `correct`: boolean, or with NaN where nothing is right or wrong.

    Parameters
    ----------
    right : sequence of (bool or None)
        One per trial.

    Returns
    -------
    Series
        bool, or object with NaN.
    """
    if all(value is not None for value in right):
        return pd.Series([bool(value) for value in right], dtype=bool)
    return pd.Series([np.nan if v is None else bool(v) for v in right], dtype=object)
