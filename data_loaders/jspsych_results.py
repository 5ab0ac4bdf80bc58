"""Answers of people from a browser: experiments of this suite, and plain jsPsych."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

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
    picture_name,
    select_rows,
    typed,
)
from neurovis.core.checks import check_columns, check_option
from neurovis.core.types import Responses, StimulusSet

ROLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "subject": (
            *("subject", "subject_id", "participant", "participant_id"),
            *("prolific_pid", "worker_id", "workerid", "subj"),
        ),
        "stimulus": ("stimulus_id", "stimulus", "image", "picture"),
        "response": ("response", "key_press"),
        "rt": ("rt", "rt_ms"),
        "trial": ("trial", "trial_index"),
        "truth": ("truth", "correct_response", "correct_answer"),
        "correct": ("correct",),
    }
)
"""What a column of a plain jsPsych file can mean, and the names that are recognised."""

_OWN = "experiment_version"
_NUMBERS = (
    *("trial", "block", "place", "rt_ms", "onset_ms", "offset_ms", "frame_ms"),
    *("frames_asked", "frames_shown", "frames_dropped", "load_wait_ms"),
    *("click_x_px", "click_y_px", "n_trials", "order", "seed", "px_per_deg", "scale"),
    *("viewing_distance_cm", "window_width_px", "window_height_px"),
    "device_pixel_ratio",
)
_IDENTITY = r"[A-Za-z0-9._+-]+"
_FLAGS = ("practice", "correct", "left_page", "on_target")
_TEXTS = (
    *("participant", "session", "task", "stimulus_id", "picture_1", "truth", "keys"),
    *("key", "input", "response", "calibration", "browser", "user_agent"),
    *("set_fingerprint", _OWN),
)

logger = logging.getLogger(__name__)


def load_jspsych(
    paths: str | Path | Sequence[str | Path],
    stimuli: StimulusSet | None = None,
    *,
    practice: bool = False,
    columns: Mapping[str, str | None] | None = None,
    where: Mapping[str, str] | None = None,
    time_unit: str = "ms",
    encoding: str = "utf-8",
) -> Responses:
    r"""Load answers from the browser, one or several participants.

    Parameters
    ----------
    paths : str, Path, or sequence of them
        CSV files that an exported experiment has saved, or CSV or JSON of any jsPsych
        experiment (JSON also with one list per line, as servers collect them).
    stimuli : StimulusSet, optional
        The set that was shown; every picture must be in it, and its fingerprint must be
        the one in the files.
    practice : bool, default False
        Keep trials for practice (of an exported experiment).
    columns : mapping of str to (str or None), optional
        For plain jsPsych: meaning to column, keys as in `ROLES`. ``"subject": None``
        takes the name of the file.
    where : mapping of str to str, optional
        For plain jsPsych: keep rows with these values, such as
        ``{"trial_type": "image-keyboard-response"}``.
    time_unit : {"ms", "s"}
        For plain jsPsych: unit of `rt`.
    encoding : str, default "utf-8"
        Encoding of the text; a byte order mark is allowed.

    Returns
    -------
    Responses
        One row per trial: `TRIAL_COLUMNS`, then all other columns; for an exported
        experiment `truth`, factors, pictures from left to right, times and geometry.
        Where pictures were to be chosen, `response` is the identity of the one chosen.
        Without an answer `response` and `rt_ms` are NaN and `correct` is False;
        `correct` is NaN where nothing is right or wrong.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is empty, cut, not UTF-8 or has other columns; if numbers are none, or
        decimal marks are mixed; if a participant or a trial comes twice; if files come
        from different versions of an experiment, or another set; if a picture is not
        in the set; if an identity is a formula; or if times have another unit.

    Notes
    -----
    Semicolons or tabs between cells, and decimal commas with them, are read, for
    spreadsheets write such files. A decimal comma between commas is refused. An
    apostrophe before "=", "+", "-" or "@" is taken off: the experiment has put it
    there. A factor that is a formula gets it back. `correct` is compared with
    `response` and `truth`, so that an edited file is found.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.csv"
    >>> _ = path.write_text(
    ...     '"rt","stimulus","response","subject"\n"512.5","img/a.png","f","s1"\n'
    ... )
    >>> load_jspsych(path).table[["subject", "stimulus_id", "rt_ms"]].values.tolist()
    [['s1', 'a', 512.5]]
    """
    check_option("time_unit", time_unit, ("ms", "s"))
    files = [read_answers(path, encoding=encoding) for path in list_paths(paths)]
    own = [_OWN in file.cells for file in files]
    if any(own) != all(own):
        raise ValueError(
            f"{files[own.index(True)].path} comes from an exported experiment and "
            f"{files[own.index(False)].path} does not: load them one by one."
        )
    if not all(own):
        tables = {
            file.path: _plain_trials(
                select_rows(file, where or {}), dict(columns or {}), time_unit, stimuli
            )
            for file in files
        }
        return Responses(join_participants(tables))
    if columns or where:
        raise ValueError(
            "`columns` and `where` are for plain jsPsych files; these come from an "
            "exported experiment, which names its columns."
        )
    for file in files:
        _check_version(file)
    _check_same(files, _OWN, "versions of the experiment")
    _check_same(files, "set_fingerprint", "sets of pictures")
    mark = files[0].cells["set_fingerprint"].iloc[0]
    if stimuli is not None and stimuli.fingerprint != mark:
        raise ValueError(
            f"{files[0].path} was made with a set of the fingerprint {mark[:12]}..., "
            f"but `stimuli` has {stimuli.fingerprint[:12]}...: give the set that was "
            "shown."
        )
    tables = {file.path: _own_trials(file, stimuli, practice) for file in files}
    table = join_participants(tables)
    for subject, rows in table.groupby("subject", sort=False):
        n_main = int((~rows["practice"]).sum())
        if n_main < rows["n_trials"].iloc[0]:
            wanted = int(rows["n_trials"].iloc[0])
            logger.warning("%s has %d of %d trials", subject, n_main, wanted)
    return Responses(table)


# ----------------------------------------------------------- exported experiments


def _check_version(file: AnswerFile) -> None:
    check_columns(file.path.name, file.cells.columns, (*_TEXTS, *_NUMBERS, *_FLAGS))
    versions = file.cells[_OWN]
    first, last = versions.iloc[0], versions.iloc[-1]
    # The version is the last cell of a row, so that a cut shows in it.
    if first != last and first.startswith(last):
        raise ValueError(
            f"{file.path} ends inside line {versions.index[-1]}: the file was cut. Get "
            "it again, or delete this line to keep the others."
        )
    others = versions[versions != first]
    if len(others):
        raise ValueError(
            f"{file.path} has rows of different versions of an experiment: {first} and "
            f"{others.iloc[0]} (line {others.index[0]}). Load them from separate files."
        )


def _check_same(files: Sequence[AnswerFile], column: str, what: str) -> None:
    for file in files:
        for mark in file.cells[column].unique():
            expected = files[0].cells[column].iloc[0]
            if mark != expected:
                raise ValueError(
                    f"{files[0].path} and {file.path} come from different {what} "
                    f"({expected[:12]} and {mark[:12]}): load them one by one."
                )


def _own_trials(
    file: AnswerFile, stimuli: StimulusSet | None, practice: bool
) -> pd.DataFrame:
    cells = file.cells
    check_identities(file, cells["participant"], "participant")
    file.fail(
        ~cells["stimulus_id"].str.fullmatch(_IDENTITY),
        "`stimulus_id` names no picture",
        "Do not edit it.",
    )
    if stimuli is not None:
        check_known_pictures(file, cells["stimulus_id"], stimuli)
    table = pd.DataFrame(index=cells.index)
    numbers = file.numbers(_NUMBERS)
    decimal = file.decimal_mark(_NUMBERS)
    for name in map(str, cells):
        if name in _NUMBERS:
            table[name] = numbers[name]
        elif name in _FLAGS:
            table[name] = _flags(file, name)
        elif name in _TEXTS or name.startswith("picture_"):
            table[name] = cells[name].mask(cells[name] == "", other=np.nan)
        else:
            table[name] = typed(inert(cells[name]), decimal)
    for name in ("trial", "block", "n_trials", "order", "seed"):
        whole = (table[name] % 1 == 0) & (table[name] >= 0)
        file.fail(~whole, f"{name!r} must be a whole number", "Do not edit the file.")
        table[name] = table[name].astype(np.int64)
    check_times(table["rt_ms"], "ms", file.path)
    _check_answers(file, table)
    table = table.rename(columns={"participant": "subject"})
    table["practice"] = table["practice"].astype(bool)
    for warm_up, rows in table.groupby("practice"):
        if not warm_up or practice:
            join_participants({file.path: rows})  # trials of each kind are numbered
    table = table if practice else table[~table["practice"]]
    if table.empty:
        raise ValueError(f"{file.path} has trials for practice only.")
    # Trials for practice are numbered from -1 downwards: both begin at 0.
    return table.assign(
        trial=table["trial"].where(~table["practice"], -1 - table["trial"])
    )


def _flags(file: AnswerFile, name: str) -> pd.Series:
    known = {"true": True, "false": False, "": np.nan}
    cells = file.cells[name].str.lower()
    file.fail(
        ~cells.isin(known), f"{name!r} must be true, false or empty", "Do not edit it."
    )
    values = cells.map(known)
    return values.astype(bool) if values.notna().all() else values.astype(object)


def _check_answers(file: AnswerFile, table: pd.DataFrame) -> None:
    """Raise where `correct` is not what answer and truth say."""
    same = table["response"] == table["truth"]
    right = table["correct"].map(lambda value: value is True or value is np.True_)
    known = table["correct"].notna()
    clicked = table["on_target"].map(lambda value: value is False)
    wrong = (known & right & ~same) | (known & ~right & same & ~clicked)
    wrong |= known != table["truth"].notna()
    file.fail(
        wrong,
        "`correct` contradicts `response` and `truth`",
        "The file was edited: take it as the experiment wrote it.",
    )


# ------------------------------------------------------------------ plain jsPsych


def _plain_trials(
    file: AnswerFile,
    columns: dict[str, str | None],
    time_unit: str,
    stimuli: StimulusSet | None,
) -> pd.DataFrame:
    names = find_columns(
        file, ROLES, columns, needed=("subject", "stimulus", "response", "rt")
    )
    for role in ("stimulus", "response", "rt"):
        if role not in names:
            raise ValueError(f"`columns` must name the column of the {role}, not None.")
    # Pages without a stimulus, such as loading and full screen, are no trials.
    shown = ~file.cells[names["stimulus"]].isin(UNDEFINED)
    if not shown.any():
        raise ValueError(f"{file.path} shows no stimulus in {names['stimulus']!r}.")
    file = AnswerFile(file.path, file.cells[shown], file.separator)
    cells = file.cells
    pictures = cells[names["stimulus"]].map(picture_name)
    markup = pictures.str.contains(r"<\w", regex=True)
    file.fail(
        markup,
        "the stimulus is markup of a page",
        "Keep rows of pictures with `where`, or name the column of the identity: "
        "columns={'stimulus': NAME}.",
    )
    check_identities(file, pictures, "stimulus")
    if stimuli is not None:
        check_known_pictures(file, pictures, stimuli)
    if "subject" in names:
        subject = cells[names["subject"]]
    else:
        subject = pd.Series(file.path.stem, index=cells.index)
    check_identities(file, subject, "subject")
    table = pd.DataFrame({"subject": subject, "stimulus_id": pictures})
    if "trial" in names:
        number = file.numbers([names["trial"]])[names["trial"]]
        file.fail(
            number.isna() | (number % 1 != 0), "the trial has no number", "Fill it in."
        )
        table["trial"] = number.astype(np.int64)
    else:
        table["trial"] = table.groupby("subject").cumcount()
    response = cells[names["response"]]
    table["response"] = response.mask(response.isin(UNDEFINED), other=np.nan)
    formula = response.map(is_formula) & (response.str.len() > 1)
    file.fail(
        formula, "the response begins as a formula of a spreadsheet", "Look at it."
    )
    rt = file.numbers([names["rt"]])[names["rt"]]
    table["rt_ms"] = check_times(rt, time_unit, file.path)
    table["correct"] = _plain_correct(file, table, names).to_numpy()
    if "truth" in names:
        table["truth"] = cells[names["truth"]].mask(
            cells[names["truth"]].isin(UNDEFINED), other=np.nan
        )
    decimal = file.decimal_mark([names["rt"]])
    for name in [c for c in cells if c not in names.values() and c not in table]:
        own = inert(cells[name].mask(cells[name].isin(UNDEFINED), ""))
        table[name] = typed(own, decimal)
    return table


def _plain_correct(
    file: AnswerFile, table: pd.DataFrame, names: Mapping[str, str]
) -> pd.Series:
    known: dict[str, Any] = {"true": True, "1": True, "false": False, "0": False}
    if "correct" in names:
        said = file.cells[names["correct"]].str.lower()
        empty = said.isin([text.lower() for text in UNDEFINED])
        file.fail(
            ~(said.isin(known) | empty),
            f"{names['correct']!r} must be true or false",
            "Name another column with `columns`.",
        )
        return as_correct([known.get(value) for value in said])
    if "truth" in names:
        truth = file.cells[names["truth"]]
        pairs = zip(truth, table["response"], strict=True)
        return as_correct([None if t in UNDEFINED else t == r for t, r in pairs])
    return as_correct([None] * len(table))
