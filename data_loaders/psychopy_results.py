"""Answers of people from PsychoPy: the wide CSV of Builder, and of PsychoJS."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from data_loaders.response_files import (
    UNDEFINED,
    AnswerFile,
    is_formula,
    list_paths,
    read_answers,
)
from data_loaders.response_tables import (
    as_correct,
    check_identities,
    check_known_pictures,
    check_times,
    find_columns,
    inert,
    join_participants,
    key_answers,
    picture_name,
    select_rows,
    typed,
)
from neurovis.core.checks import check_columns, check_option
from neurovis.core.types import Responses, StimulusSet

ROLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "subject": ("participant", "participant_id", "subject", "subject_id", "subj"),
        "stimulus": ("stimulus_id",),
        "truth": ("truth",),
    }
)
"""What a column of a wide CSV can mean, and the names that are recognised. Without
`stimulus_id` the picture is `image_file`, `image` or `stimulus`; without `truth` the
right key is `corrAns`."""

_PICTURES = ("image_file", "image", "stimulus", "stim_file", "picture")


def load_psychopy(
    paths: str | Path | Sequence[str | Path],
    stimuli: StimulusSet | None = None,
    *,
    component: str | None = None,
    loop: str | None = None,
    answers: Mapping[str, str] | None = None,
    columns: Mapping[str, str | None] | None = None,
    where: Mapping[str, str] | None = None,
    time_unit: str = "s",
    encoding: str = "utf-8",
) -> Responses:
    r"""Load answers from PsychoPy, one or several participants.

    Parameters
    ----------
    paths : str, Path, or sequence of them
        Wide CSV files ("trial-by-trial") of Builder or of PsychoJS.
    stimuli : StimulusSet, optional
        The set that was shown; every picture must be in it.
    component : str, optional
        Name of the keyboard component with the answer, such as "key_resp"; needed when
        several have answers in these rows.
    loop : str, optional
        Name of the loop of the trials, such as "trials"; needed when rows come from
        different loops, such as practice and trials.
    answers : mapping of str to str, optional
        Key to what it means, such as ``{"f": "absent"}``; by default as the column
        `keys` of `stimuli.export.export_psychopy_choices` says, and otherwise the
        answer is the key itself.
    columns : mapping of str to (str or None), optional
        Meaning to column, keys as in `ROLES`. ``"subject": None`` takes the name of the
        file.
    where : mapping of str to str, optional
        Keep rows with these values.
    time_unit : {"s", "ms"}
        Unit of ``.rt``; PsychoPy writes seconds.
    encoding : str, default "utf-8"
        Encoding of the text; a byte order mark is allowed.

    Returns
    -------
    Responses
        One row per trial, numbered from 0 in the order of the file: `TRIAL_COLUMNS`,
        `truth` and `key`, then all other columns. Where pictures were to be chosen,
        `response` is the identity of the one chosen. Without an answer ("None")
        `response` and `rt_ms` are NaN.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is empty, cut, or not UTF-8; if columns are missing or could mean
        several things; if several keys were kept in one cell; if numbers are none or
        decimal marks are mixed; if a participant comes twice; if a picture is not in
        the set; if an identity is a formula; or if times have another unit.

    Notes
    -----
    `correct` is ``.corr`` where PsychoPy stored it, and otherwise whether the answer is
    the right one; NaN where no answer is right. A row without a picture is no trial.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "s1.csv"
    >>> _ = path.write_text(
    ...     "image,corrAns,key_resp.keys,key_resp.rt,key_resp.corr,participant,\n"
    ...     "images/a.png,f,f,0.5125,1,s1,\n"
    ... )
    >>> load_psychopy(path).table[["stimulus_id", "rt_ms", "correct"]].values.tolist()
    [['a', 512.5, True]]
    """
    check_option("time_unit", time_unit, ("s", "ms"))
    tables = {}
    for path in list_paths(paths):
        file = select_rows(read_answers(path, encoding=encoding), where or {})
        names = find_columns(file, ROLES, dict(columns or {}), needed=("subject",))
        if "stimulus" not in names:
            names["stimulus"] = _picture_column(file)
        file = _trial_rows(file, names["stimulus"], loop)
        part = _answer_component(file, component)
        tables[path] = _trials(
            file, names, part, dict(answers or {}), time_unit, stimuli
        )
    return Responses(join_participants(tables))


# ------------------------------------------------------------------------- columns


def _picture_column(file: AnswerFile) -> str:
    found = [c for c in file.cells if str(c).lower() in _PICTURES]
    if len(found) != 1:
        raise ValueError(
            f"{file.path.name} must tell the picture of a trial; columns that could do "
            f"so: {found}, of {[*file.cells][:40]}. Give columns={{'stimulus': NAME}}."
        )
    return str(found[0])


def _trial_rows(file: AnswerFile, stimulus: str, loop: str | None) -> AnswerFile:
    """Return the rows of trials; they must come from one loop, or from nested ones."""
    cells = file.cells
    shown = ~cells[stimulus].isin(UNDEFINED)
    counters = [str(c) for c in cells if str(c).endswith(".thisN")]
    if loop is not None:
        check_columns(file.path.name, cells.columns, [f"{loop}.thisN"])
        shown &= cells[f"{loop}.thisN"] != ""
    if not shown.any():
        raise ValueError(f"{file.path} has no row with a picture in {stimulus!r}.")
    rows = cells[shown]
    filled = (rows[counters] != "").drop_duplicates()
    if loop is None and counters and len(filled) > 1:
        loops = [c.removesuffix(".thisN") for c in counters if (rows[c] != "").any()]
        raise ValueError(
            f"{file.path} has trials of different loops, {loops}: choose one with "
            f"`loop`, such as {loops[-1]!r}."
        )
    return AnswerFile(file.path, rows, file.separator)


def _answer_component(file: AnswerFile, component: str | None) -> str:
    have = [
        str(c).removesuffix(".keys") for c in file.cells if str(c).endswith(".keys")
    ]
    if component is not None:
        check_columns(file.path.name, file.cells.columns, [f"{component}.keys"])
        return component
    used = [c for c in have if not file.cells[f"{c}.keys"].isin(UNDEFINED).all()]
    if len(used) != 1:
        raise ValueError(
            f"{file.path} must have one keyboard component with answers; it has "
            f"{used or have} (columns that end in '.keys'). Choose with `component`."
        )
    return used[0]


# -------------------------------------------------------------------------- trials


def _trials(
    file: AnswerFile,
    names: Mapping[str, str],
    component: str,
    answers: dict[str, str],
    time_unit: str,
    stimuli: StimulusSet | None,
) -> pd.DataFrame:
    cells = file.cells
    check_columns(file.path.name, cells.columns, [f"{component}.rt"])
    pictures = cells[names["stimulus"]].map(picture_name)
    check_identities(file, pictures, "picture")
    if stimuli is not None:
        check_known_pictures(file, pictures, stimuli)
    if "subject" in names:
        subject = cells[names["subject"]]
    else:
        subject = pd.Series(file.path.stem, index=cells.index)
    check_identities(file, subject, "participant")
    keys = _single(file, f"{component}.keys")
    formula = keys.map(is_formula) & (keys.str.len() > 1)
    file.fail(formula, "the answer begins as a formula of a spreadsheet", "Look at it.")
    table = pd.DataFrame({"subject": subject, "stimulus_id": pictures})
    table["trial"] = table.groupby("subject").cumcount()
    table["key"] = keys.mask(keys == "", other=np.nan)
    table["response"] = _meanings(file, keys, answers)
    times = AnswerFile(
        file.path,
        pd.DataFrame({f"{component}.rt": _single(file, f"{component}.rt")}),
        file.separator,
    )
    rt = times.numbers([f"{component}.rt"])[f"{component}.rt"]
    table["rt_ms"] = check_times(rt, time_unit, file.path)
    truth = cells[names["truth"]] if "truth" in names else None
    if truth is None and "corrAns" in cells:
        truth = _meanings(file, cells["corrAns"], answers).fillna("")
    if truth is not None:
        table["truth"] = truth.mask(truth.isin(UNDEFINED), other=np.nan)
    table["correct"] = _correct(file, f"{component}.corr", table).to_numpy()
    decimal = times.decimal_mark([f"{component}.rt"])
    own = [f"{component}.{part}" for part in ("keys", "rt", "corr")]
    for name in [c for c in cells if c not in (*names.values(), *own, *table)]:
        text = inert(cells[name].mask(cells[name].isin(UNDEFINED), ""))
        table[name] = typed(text, decimal)
    return table


def _single(file: AnswerFile, name: str) -> "pd.Series[str]":
    """Return cells without the brackets of a list of one; raise if there are more."""
    cells = file.cells[name]
    cells = cells.mask(cells.isin(UNDEFINED), "")
    lists = cells.str.startswith("[")
    several = lists & cells.str.contains(",")
    file.fail(
        several,
        f"{name!r} has several values in one cell",
        "Let the component store the first or the last key only, or keep one here.",
    )
    return cells.map(lambda cell: re.sub(r"^\[['\"]?(.*?)['\"]?\]$", r"\1", cell))


def _meanings(
    file: AnswerFile, keys: "pd.Series[str]", answers: dict[str, str]
) -> pd.Series:
    """Return what each key means; where pictures are chosen, the identity chosen."""
    cells = file.cells
    shown = [c for c in ("picture_1", "picture_2", "picture_3") if c in cells]
    found: list[str | float] = []
    for row, (line, key) in enumerate(keys.items()):
        known = answers or (
            key_answers(cells["keys"].iloc[row]) if "keys" in cells else {}
        )
        if key in UNDEFINED:
            found.append(np.nan)
        elif not known:
            found.append(key)
        elif key not in known:
            raise ValueError(
                f"{file.path}, line {line}: the key {key!r} has no meaning; known are "
                f"{known}. Give `answers`."
            )
        elif len(shown) > 1 and not answers:
            found.append(str(cells[shown[list(known).index(key)]].iloc[row]))
        else:
            found.append(known[key])
    return pd.Series(found, index=keys.index, dtype=object)


def _correct(file: AnswerFile, name: str, table: pd.DataFrame) -> pd.Series:
    if name in file.cells:
        said = file.numbers([name])[name]
        file.fail(
            ~(said.isin((0, 1)) | said.isna()),
            f"{name!r} must be 0 or 1",
            "Take the file as PsychoPy wrote it.",
        )
        # Without a truth of its own an exported trial has no wrong answer.
        open_ended = table["truth"].isna() if "keys" in file.cells else said.isna()
        pairs = zip(said, open_ended, strict=True)
        return as_correct([None if o or v != v else bool(v) for v, o in pairs])
    if "truth" not in table:
        return as_correct([None] * len(table))
    pairs = zip(table["truth"], table["response"], strict=True)
    return as_correct([None if pd.isna(t) else t == r for t, r in pairs])
