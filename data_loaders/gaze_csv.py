"""Fixation tables of any laboratory: CSV or TSV, one row per fixation.

What a column means is guessed from its name only where the name is a common one;
units are never guessed.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from data_loaders.gaze import GazeData, make_gaze_data
from neurovis.core.checks import check_between, check_columns, check_option, check_path
from neurovis.core.files import corrupt
from neurovis.core.types import FIXATION_COLUMNS

ROLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "subject": (
            "subject",
            "subject_id",
            "participant",
            "participant_id",
            "participant_name",
            "recording_session_label",
            "observer",
            "subj",
            "sub",
        ),
        "stimulus": (
            "stimulus_id",
            "stimulus",
            "stim",
            "stim_file",
            "image",
            "image_id",
            "image_name",
            "picture",
            "media_name",
            "presented_media_name",
        ),
        "trial": ("trial", "trial_index", "trial_id", "trial_number"),
        "fixation": (
            "fixation",
            "fixation_index",
            "fixation_number",
            "fix_index",
            "current_fix_index",
            "fpogid",
        ),
        "x": (
            "x_px",
            "x",
            "fix_x",
            "fixation_x",
            "fixation_point_x",
            "current_fix_x",
            "fpogx",
            "gaze_x",
            "mean_x",
        ),
        "y": (
            "y_px",
            "y",
            "fix_y",
            "fixation_y",
            "fixation_point_y",
            "current_fix_y",
            "fpogy",
            "gaze_y",
            "mean_y",
        ),
        "duration": (
            "duration_ms",
            "duration",
            "fix_duration",
            "fixation_duration",
            "current_fix_duration",
            "gaze_event_duration",
            "fpogd",
        ),
    }
)
"""What a column can mean, and the names that are recognised, whatever their case;
spaces count as underscores."""

UNDEFINED = ("", ".", "NA", "N/A", "n/a", "NaN", "nan")
"""Cells that stand for an unknown number."""

_OWN = (*FIXATION_COLUMNS, "trial", "on_screen")
_SEPARATORS = ("\t", ";", ",")
_LONGEST_FIXATION_S = 60.0


def load_gaze_csv(
    path: str | Path,
    *,
    screen_px: tuple[float, float],
    position_unit: str = "px",
    time_unit: str = "ms",
    columns: Mapping[str, str | None] | None = None,
    subject: str | None = None,
    stimulus: str | None = None,
    keep: Sequence[str] = (),
    separator: str | None = None,
    decimal: str = ".",
    encoding: str = "utf-8",
    stimuli: pd.DataFrame | None = None,
    px_per_deg: float | None = None,
    name: str | None = None,
) -> GazeData:
    r"""Load a table of fixations.

    Parameters
    ----------
    path : str or Path
        Text with a header, one row per fixation; gzipped when it ends in ``.gz``.
    screen_px : tuple of float
        Width and height in pixels, > 0, of the frame that positions refer to.
    position_unit : {"px", "fraction"}
        Pixels, or shares of width and height; x right, y down from the top left.
    time_unit : {"ms", "s"}
        Unit of durations.
    columns : mapping of str to (str or None), optional
        Meaning to name, such as ``{"x": "eye_x", "subject": "VP"}``; None for a meaning
        that no column has. The meanings are the keys of `ROLES`; those left out are
        found by the names there.
    subject, stimulus : str, optional
        Who looked, or at what, when the file holds a single one and no column says.
    keep : sequence of str
        Further columns to keep with each fixation.
    separator : str, optional
        One character; by default a tab, semicolon or comma, whichever the header has.
    decimal : {".", ","}
        Decimal mark.
    encoding : str, default "utf-8"
        Encoding of the text; a byte order mark is allowed.
    stimuli : DataFrame, optional
        Table of stimuli as `make_gaze_data` takes it, with sizes of their own and
        boxes of targets; by default every stimulus has the size `screen_px`.
    px_per_deg : float, optional
        Pixels per degree of visual angle, > 0.
    name : str, optional
        Name of the data set; by default that of the file.

    Returns
    -------
    GazeData
        Without a column of trials each pair of subject and stimulus is one trial.
        Trials are numbered from 0 in the order of their first rows within a subject;
        `source_trial` (str) is what the file says. Fixations are numbered from 0 in
        the order of their own numbers, or of the rows when they have none.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If a gzipped file is truncated or damaged.
    ValueError
        If an argument is impossible; if encoding, separator or decimal mark are
        others; if a column is missing or two could be meant; if a cell is no number;
        if numbers cannot have the unit told; or if trials contradict themselves.

    Notes
    -----
    Positions that all lie within 2 px, and durations that are all below 10 ms, are
    refused: they have another unit. Rows without a position stay, as NaN.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.csv"
    >>> _ = path.write_text(
    ...     "participant,image,FPOGX,FPOGY,FPOGD\na,1.jpg,0.5,0.25,0.3\n"
    ... )
    >>> data = load_gaze_csv(
    ...     path, screen_px=(800, 600), position_unit="fraction", time_unit="s"
    ... )
    >>> data.fixations[["x_px", "y_px", "duration_ms"]].values.tolist()
    [[400.0, 150.0, 300.0]]
    """
    for side in screen_px:
        check_between("screen_px", side, low=1)
    check_option("position_unit", position_unit, ("px", "fraction"))
    check_option("time_unit", time_unit, ("ms", "s"))
    check_option("decimal", decimal, (".", ","))
    for role in columns or {}:
        check_option("key of `columns`", role, tuple(ROLES))
    path = check_path("path", path)
    cells = _read_cells(path, separator, encoding)
    if cells.empty:
        raise ValueError(f"{path} has a header but no row: there is no fixation.")
    given = {"subject": subject, "stimulus": stimulus}
    names = _find_columns(path, [*cells.columns], dict(columns or {}), given)
    check_columns(path.name, cells.columns, keep)
    taken = [column for column in keep if column in _OWN]
    if taken:
        raise ValueError(
            f"`keep` may not have {taken[0]!r}: the result has a column of that name. "
            "Rename it in the file."
        )

    table = pd.DataFrame(index=cells.index)
    for role, constant in given.items():
        table[role] = constant if constant is not None else cells[names[role]]
    for role in ("x", "y", "duration", "fixation"):
        if role in names:
            table[role] = _numbers(path, names[role], cells[names[role]], decimal)
    if "trial" in names:
        table["source_trial"] = cells[names["trial"]]
    _check_units(table, position_unit, time_unit)
    scale = screen_px if position_unit == "fraction" else (1.0, 1.0)
    fixations = pd.DataFrame(
        {
            "subject": table["subject"],
            "stimulus_id": table["stimulus"],
            "trial": _number_trials(path, table),
            "fixation": 0,
            "x_px": table["x"] * scale[0],
            "y_px": table["y"] * scale[1],
            **{column: cells[column] for column in keep},
        }
    )
    if "duration" in table:
        fixations["duration_ms"] = table["duration"] * (1000 if time_unit == "s" else 1)
    fixations["fixation"] = _number_fixations(path, table, fixations)
    trials = fixations[["subject", "stimulus_id", "trial"]]
    if "trial" in names:
        trials = trials.assign(source_trial=table["source_trial"])
    trials = trials.drop_duplicates(["subject", "trial"])
    if stimuli is None:
        stimuli = pd.DataFrame({"stimulus_id": trials["stimulus_id"].unique()})
        stimuli = stimuli.assign(width_px=screen_px[0], height_px=screen_px[1])
    repeats = int((cells == cells.shift()).all(axis=1).sum())
    return make_gaze_data(
        path.name.split(".")[0] if name is None else name,
        trials=trials,
        fixations=fixations,
        stimuli=stimuli,
        px_per_deg=px_per_deg,
        notes=[f"{repeats} rows repeat the row before them."] if repeats else [],
    )


# ------------------------------------------------------------------- the file


def _read_cells(path: Path, separator: str | None, encoding: str) -> pd.DataFrame:
    """Return the text of all cells; every row must be as wide as the header."""
    text = _decode(path, encoding)
    header = text.lstrip("\n").partition("\n")[0]
    if not header.strip():
        raise ValueError(f"{path} is empty: a header and rows are needed.")
    if separator is None:
        separator = max(_SEPARATORS, key=header.count)
    if len(separator) != 1 or separator not in header:
        raise ValueError(
            f"`separator` must be the character between the columns of {path.name}; "
            f"the header {header[:80]!r} has no {separator!r}."
        )
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        lines = [(rows.line_num, row) for row in rows if row]
    except csv.Error as error:
        raise ValueError(
            f"{path} is no table, at line {rows.line_num}: {error}. Look for a "
            "quotation mark that is not closed."
        ) from error
    width = len(lines[0][1])
    for number, row in lines:
        if len(row) != width:
            raise ValueError(
                f"{path} has {len(row)} cells in line {number} but {width} in its "
                f"header, with `separator` {separator!r}. The file is cut, or a text "
                "with this character is not in quotation marks."
            )
    names = [name.strip() for name in lines[0][1]]
    repeated = {n for n in names if names.count(n) > 1}
    if repeated:
        raise ValueError(f"{path} has the column {min(repeated)!r} twice. Rename one.")
    index = pd.Index([number for number, _ in lines[1:]], name="line")
    cells = pd.DataFrame([row for _, row in lines[1:]], columns=names, index=index)
    return cells.apply(lambda column: column.str.strip()) if len(cells) else cells


def _decode(path: Path, encoding: str) -> str:
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise corrupt(path, "gzip", error) from error
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    hint = "'utf-16'" if wide else "'latin-1' or 'utf-16'"
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
        if "\0" in text:
            raise ValueError("it has NUL characters")
    except LookupError as error:
        raise ValueError(
            f"`encoding` must be one that Python knows; got {encoding!r}."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{path} is not {encoding} text ({error}). Give `encoding`, perhaps "
            f"{hint}, or save the table as UTF-8."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _find_columns(
    path: Path,
    have: list[str],
    columns: dict[str, str | None],
    given: Mapping[str, str | None],
) -> dict[str, str]:
    """Return the name of the column of each meaning that has one."""
    told = [role for role in columns if given.get(role) is not None]
    if told:
        raise ValueError(f"`columns` and `{told[0]}` both tell it. Drop one of them.")
    names = {role: name for role, name in columns.items() if name is not None}
    check_columns(path.name, have, names.values())
    plain = {name: "_".join(name.lower().split()) for name in have}
    for role, known in ROLES.items():
        if role in names or given.get(role) is not None:
            continue
        free = [n for n in have if role not in columns and n not in names.values()]
        found = [n for n in free if plain[n] in known]
        if len(found) > 1:
            raise ValueError(
                f"{path.name} has {len(found)} columns that could be the {role}: "
                f"{found}. Tell which, such as columns={{{role!r}: {found[0]!r}}}."
            )
        if found:
            names[role] = found[0]
        elif role in ("subject", "stimulus", "x", "y"):
            alone = f", or {role}='...' for a single one" if role in given else ""
            raise ValueError(
                f"{path.name} has no column that is known to be the {role}; it has "
                f"{have}. Give columns={{{role!r}: NAME}}{alone}."
            )
    return names


def _numbers(path: Path, name: str, cells: pd.Series, decimal: str) -> pd.Series:
    text = cells.mask(cells.isin(UNDEFINED))
    if decimal == ",":
        text = text.str.replace(".", "!").str.replace(",", ".")
    numbers = pd.to_numeric(text, errors="coerce").astype(np.float64)
    wrong = (numbers.isna() & text.notna()) | np.isinf(numbers)
    if wrong.any():
        line: Any = wrong.idxmax()
        mark = "." if decimal == "," else ","
        hint = f" Is the decimal mark {mark!r}?" if mark in cells[line] else ""
        raise ValueError(
            f"{path} must have numbers in {name!r}; line {line} has {cells[line]!r}, "
            f"and {int(wrong.sum()) - 1} more are none.{hint} Unknown ones must be one "
            f"of {UNDEFINED}."
        )
    return numbers


def _check_units(table: pd.DataFrame, position_unit: str, time_unit: str) -> None:
    largest = table[["x", "y"]].abs().max().max()
    if position_unit == "px" and 0 < largest < 2:
        raise ValueError(
            f"`position_unit` is 'px', but no position is beyond {largest:g}. Give "
            "position_unit='fraction' if these are shares of the screen."
        )
    if position_unit == "fraction" and largest > 20:
        raise ValueError(
            f"`position_unit` is 'fraction', but positions go up to {largest:g}. Give "
            "position_unit='px' if these are pixels."
        )
    times = table["duration"].dropna() if "duration" in table else pd.Series([0.0])
    longest, middle = times.max(), times.median()
    if time_unit == "ms" and 0 < longest < 10:
        raise ValueError(
            f"`time_unit` is 'ms', but no fixation is longer than {longest:g}. Give "
            "time_unit='s' if these are seconds."
        )
    if time_unit == "s" and middle > _LONGEST_FIXATION_S:
        raise ValueError(
            f"`time_unit` is 's', but half of the fixations are longer than "
            f"{middle:g}. Give time_unit='ms' if these are milliseconds."
        )


# --------------------------------------------------------------- the numbering


def _number_trials(path: Path, table: pd.DataFrame) -> pd.Series:
    """Return the number of each row's trial among those of its subject, from 0."""
    for role in ("subject", "stimulus", "source_trial"):
        if role in table and (table[role] == "").any():
            line = (table[role] == "").idxmax()
            raise ValueError(
                f"{path} must tell the {role.removeprefix('source_')} of every row; "
                f"line {line} is empty there."
            )
    trial = ["subject", "source_trial" if "source_trial" in table else "stimulus"]
    mixed = table.groupby(trial)["stimulus"].transform("nunique") > 1
    if mixed.any():
        row: Any = table[mixed].iloc[0]
        raise ValueError(
            f"{path} has several stimuli in trial {row['source_trial']!r} of subject "
            f"{row['subject']!r}. Give columns={{'trial': NAME}} with numbers that do "
            "not repeat within a subject, or None if each stimulus is one trial."
        )
    in_order = table.groupby(trial, sort=False).ngroup()
    numbers = in_order.groupby(table["subject"]).rank(method="dense") - 1
    return numbers.astype(np.int64)


def _number_fixations(
    path: Path, table: pd.DataFrame, fixations: pd.DataFrame
) -> pd.Series:
    trial = ["subject", "trial"]
    if "fixation" not in table:
        return fixations.groupby(trial).cumcount()
    numbers = fixations[trial].assign(number=table["fixation"])
    wrong = numbers["number"].isna() | numbers.duplicated()
    if wrong.any():
        line: Any = wrong.idxmax()
        said = table["fixation"][line]
        problem = "no number" if np.isnan(said) else f"the number {said:g} again"
        raise ValueError(
            f"{path} must number the fixations of a trial; line {line} has {problem}. "
            "Perhaps trials need a column of their own: columns={'trial': NAME}."
        )
    ranks = numbers.groupby(trial)["number"].rank() - 1
    return ranks.astype(np.int64)
