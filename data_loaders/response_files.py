"""Files of answers, as programs for experiments write them and spreadsheets save them.

Text is read as text: what a cell means is decided by the loaders, `jspsych_results` and
`psychopy_results`. Nothing is guessed where a guess could be wrong.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurovis.core.checks import check_path

UNDEFINED = ("", "null", "None", "NaN", "nan", "undefined")
"""Cells that stand for no answer, or an unknown number."""

_SEPARATORS = (",", ";", "\t")
_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")


@dataclass(frozen=True)
class AnswerFile:
    """The cells of one file, as text.

    Parameters
    ----------
    path : Path
        Where it lies.
    cells : DataFrame of str
        One row per line below the header; the index tells the line of the file.
    separator : str
        What stands between cells, or "" in JSON.
    """

    path: Path
    cells: pd.DataFrame
    separator: str

    def numbers(self, names: Iterable[str]) -> pd.DataFrame:
        """Return columns as float64; `UNDEFINED` becomes NaN.

        Parameters
        ----------
        names : iterable of str
            Columns.

        Returns
        -------
        DataFrame of float64
            The columns.

        Raises
        ------
        ValueError
            If a cell is no number, or decimal marks are mixed or could be something
            else.
        """
        names = list(names)
        text: pd.DataFrame = self.cells[names]
        text = text.mask(text.isin(UNDEFINED))
        if self.decimal_mark(names) == ",":
            text = text.apply(lambda column: column.str.replace(",", "."))
        numbers: pd.DataFrame = text.apply(pd.to_numeric, errors="coerce")
        numbers = numbers.astype(np.float64)
        for name in names:
            wrong = (numbers[name].isna() & text[name].notna()) | np.isinf(
                numbers[name]
            )
            if wrong.any():
                line: Any = wrong.idxmax()
                raise ValueError(
                    f"{self.path} must have numbers in {name!r}; line {line} has "
                    f"{self.cells.loc[line, name]!r}. Unknown ones must be empty."
                )
        return numbers

    def decimal_mark(self, names: Iterable[str]) -> str:
        """Return the one decimal mark of columns of numbers.

        Parameters
        ----------
        names : iterable of str
            Columns.

        Returns
        -------
        str
            "." or ",".

        Raises
        ------
        ValueError
            If both are used, or a comma could be something else.
        """
        found: dict[str, tuple[Any, str, str]] = {}
        for name in names:
            for line, cell in self.cells[name].items():
                if _COMMA_NUMBER.fullmatch(cell):
                    found.setdefault(",", (line, name, cell))
                elif "." in cell and _NUMBER.fullmatch(cell):
                    found.setdefault(".", (line, name, cell))
        if "," not in found:
            return "."
        line, name, cell = found[","]
        if self.separator not in (";", "\t"):
            raise ValueError(
                f"{self.path} has {cell!r} in {name!r}, line {line}: a decimal comma "
                "where commas stand between cells could also be a sign of thousands. "
                "Save the table again with decimal points."
            )
        if "." in found:
            other, column, point = found["."]
            raise ValueError(
                f"{self.path} mixes decimal marks: {cell!r} in {name!r}, line {line}, "
                f"and {point!r} in {column!r}, line {other}. Take the file as the "
                "experiment wrote it, not as a spreadsheet saved it."
            )
        return ","

    def fail(self, wrong: "pd.Series[bool]", what: str, advice: str) -> None:
        """Raise if something is wrong in any row, naming the first.

        Parameters
        ----------
        wrong : Series of bool
            Which rows.
        what : str
            What is wrong.
        advice : str
            What to do.

        Raises
        ------
        ValueError
            If any row is wrong.
        """
        if wrong.any():
            line: Any = wrong.idxmax()
            more = f" and {int(wrong.sum()) - 1} more" if wrong.sum() > 1 else ""
            raise ValueError(f"{self.path}, line {line}{more}: {what}. {advice}")


# ------------------------------------------------------------------- the file


def list_paths(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return paths of existing files, each once.

    Parameters
    ----------
    paths : str, Path, or sequence of them
        Files of answers.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    FileNotFoundError
        If one is missing.
    ValueError
        If there is none, or one is named twice.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    found = [check_path("paths", path) for path in named]
    if not found:
        raise ValueError("`paths` is empty: name at least one file of answers.")
    resolved = [path.resolve() for path in found]
    twice = [path for path in resolved if resolved.count(path) > 1]
    if twice:
        raise ValueError(f"`paths` names {twice[0]} twice.")
    return found


def read_answers(path: Path, *, encoding: str = "utf-8") -> AnswerFile:
    """Read the text of all cells of a CSV or JSON file.

    Parameters
    ----------
    path : Path
        CSV with a header, separated by commas, semicolons or tabs; or JSON, an array of
        objects, or one such array per line.
    encoding : str, default "utf-8"
        Encoding of the text; a byte order mark is allowed.

    Returns
    -------
    AnswerFile
        Cells without the apostrophe that keeps a spreadsheet from running them.

    Raises
    ------
    ValueError
        If the file is empty, cut, has another encoding, or is no table.
    """
    text = _decode(path, encoding)
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("[", "{"):
        return AnswerFile(path, _json_cells(path, text), "")
    header = text.lstrip("\n").partition("\n")[0]
    if not header.strip():
        raise ValueError(f"{path} is empty: a header and rows are needed.")
    separator = max(_SEPARATORS, key=header.count)
    if separator not in header:
        raise ValueError(
            f"{path} is no table of answers: the first line, {header[:80]!r}, has no "
            "comma, semicolon or tab."
        )
    return AnswerFile(path, _csv_cells(path, text, separator), separator)


def _decode(path: Path, encoding: str) -> str:
    data = path.read_bytes()
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
        if "\0" in text:
            raise ValueError("it has NUL characters")
    except LookupError as error:
        raise ValueError(
            f"`encoding` must be one that Python knows; got {encoding!r}."
        ) from error
    except ValueError as error:
        hint = "'utf-16'" if wide else "'cp1252' or 'utf-16'"
        raise ValueError(
            f"{path} is not {encoding} text ({error}). Give `encoding`, perhaps "
            f"{hint}, or save the table as UTF-8."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _csv_cells(path: Path, text: str, separator: str) -> pd.DataFrame:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        lines = [(rows.line_num, row) for row in rows if any(c.strip() for c in row)]
    except csv.Error as error:
        raise ValueError(
            f"{path} is no table, at line {rows.line_num}: {error}. The file is cut, "
            "or a quotation mark is not closed."
        ) from error
    names = [name.strip() for name in lines[0][1]]
    for position, (number, row) in enumerate(lines):
        if len(row) != len(names):
            if position == len(lines) - 1:
                reason = (
                    "It is the last line: the file was cut while it was written or "
                    "copied. Get it again, or delete this line to keep the others."
                )
            else:
                reason = (
                    f"A cell with the sign {separator!r}, such as a decimal comma, "
                    "must stand in quotation marks."
                )
            raise ValueError(
                f"{path} has {len(row)} cells in line {number} but {len(names)} in "
                f"its header. {reason}"
            )
    if len(lines) == 1:
        raise ValueError(f"{path} has a header but no row: there is no answer.")
    _check_names(path, [name for name in names if name])
    index = pd.Index([number for number, _ in lines[1:]], name="line")
    cells: pd.DataFrame = pd.DataFrame(
        [row for _, row in lines[1:]], index=index, dtype=object
    )
    nameless = [i for i, name in enumerate(names) if not name]
    if nameless and (cells[nameless] != "").any(axis=None):
        raise ValueError(f"{path} has a column with values but without a name.")
    cells.columns = pd.Index(names)
    cells = cells.loc[:, [bool(name) for name in names]]
    plain: pd.DataFrame = cells.apply(lambda c: c.str.strip().map(_unquoted))
    return plain


def _check_names(path: Path, names: Sequence[str]) -> None:
    repeated = {n for n in names if list(names).count(n) > 1}
    if repeated:
        raise ValueError(f"{path} has the column {min(repeated)!r} twice. Rename one.")


def _unquoted(cell: str) -> str:
    """Take off the apostrophe that was put before a formula."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell[1:]) else cell


def _json_cells(path: Path, text: str) -> pd.DataFrame:
    if not text.strip():
        raise ValueError(f"{path} is empty: a list of trials is needed.")
    try:
        try:
            found = [json.loads(text)]
        except ValueError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(
            f"{path} is no JSON ({error}). The file is cut or was edited: get it again."
        ) from error
    rows = [
        row for part in found for row in (part if isinstance(part, list) else [part])
    ]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} must hold a list of trials, each with named values.")
    cells = pd.DataFrame([{k: _json_cell(v) for k, v in row.items()} for row in rows])
    cells.index = pd.RangeIndex(1, len(rows) + 1, name="line")
    return cells.fillna("").astype(object)


def _json_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | list | dict):
        return json.dumps(value)
    return str(value).strip()


def is_formula(text: str) -> bool:
    """Tell whether a spreadsheet would run a text; numbers are none.

    Parameters
    ----------
    text : str
        A cell.

    Returns
    -------
    bool
        True if it begins with "=", "+", "-", "@" or a control sign, and is no number.

    Examples
    --------
    >>> is_formula("=SUM(A1)"), is_formula("-3.5"), is_formula("cat")
    (True, False, False)
    """
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)
