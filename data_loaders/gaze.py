"""Human gaze data in one form: trials, fixations, stimuli.

Every loader of fixations ends in `make_gaze_data`, so that each data set is checked
by the same rules and every measure meets the same columns. It is also the door for
data of your own.

Coordinates are pixels, x right, y down, from the outer corner of the top-left pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_columns, suggest
from neurovis.core.types import FIXATION_COLUMNS, TRIAL_COLUMNS, Responses

TARGET_COLUMNS = (
    "target_left_px",
    "target_top_px",
    "target_right_px",
    "target_bottom_px",
)
STIMULUS_COLUMNS = ("stimulus_id", "width_px", "height_px", *TARGET_COLUMNS)
_POINT = ["x_px", "y_px"]
_TRIAL = ["subject", "trial"]


@dataclass(frozen=True)
class GazeData:
    """Fixations of observers on stimuli; made by `make_gaze_data`.

    Parameters
    ----------
    name : str
        Name of the data set.
    responses : Responses
        `table`, one row per trial: the columns of `TRIAL_COLUMNS`, `n_fixations`
        (int) and factors. `scanpaths`, one row per fixation: the columns of
        `FIXATION_COLUMNS`, `trial` (int, unique within a subject) and `on_screen`
        (bool). Both are sorted by subject, trial and fixation.
    stimuli : DataFrame
        One row per stimulus: `stimulus_id` (str, unique), `width_px`, `height_px`
        (pixels of the frame of the coordinates), the box of the target in the
        columns of `TARGET_COLUMNS` (px; NaN where there is none), and factors.
    px_per_deg : float or None
        Pixels per degree of visual angle; None where it is not known.
    notes : tuple of str
        What a reader of results must know.

    Raises
    ------
    ValueError
        If a column is missing.
    """

    name: str
    responses: Responses
    stimuli: pd.DataFrame
    px_per_deg: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_columns("trials", self.trials.columns, ["n_fixations"])
        check_columns("fixations", self.fixations.columns, ["trial", "on_screen"])
        check_columns("stimuli", self.stimuli.columns, STIMULUS_COLUMNS)

    @property
    def trials(self) -> pd.DataFrame:
        """The table of trials."""
        return self.responses.table

    @property
    def fixations(self) -> pd.DataFrame:
        """The table of fixations."""
        if self.responses.scanpaths is None:
            raise ValueError(
                "`responses` must have scanpaths. Build gaze data with "
                "`make_gaze_data`."
            )
        return self.responses.scanpaths

    def select(
        self,
        subjects: str | Sequence[str] | None = None,
        stimuli: str | Sequence[str] | None = None,
    ) -> "GazeData":
        """Return the data of some observers, some stimuli, or both.

        Parameters
        ----------
        subjects, stimuli : str or sequence of str, optional
            Identities to keep; None keeps all. Stimuli that remain without a trial
            stay in the table of stimuli unless `stimuli` leaves them out.

        Returns
        -------
        GazeData
            The part, in the order of the whole, with its own counts in the notes.

        Raises
        ------
        ValueError
            If an identity does not occur.
        """
        trials, kept = self.trials, self.stimuli
        if subjects is not None:
            wanted = _identities("subjects", subjects, trials["subject"])
            trials = trials[trials["subject"].isin(wanted)]
        if stimuli is not None:
            wanted = _identities("stimuli", stimuli, kept["stimulus_id"])
            trials = trials[trials["stimulus_id"].isin(wanted)]
            kept = kept[kept["stimulus_id"].isin(wanted)]
        rows = _positions(trials, self.fixations) >= 0
        counted = _count_notes(self.trials, self.fixations)
        return make_gaze_data(
            self.name,
            trials=trials,
            fixations=self.fixations[rows],
            stimuli=kept,
            px_per_deg=self.px_per_deg,
            notes=[note for note in self.notes if note not in counted],
        )

    def describe(self) -> list[str]:
        """Count what the data hold.

        Returns
        -------
        list of str
            One line each: sizes, fixations per trial, durations, frame; then the
            notes.
        """
        trials, fixations = self.trials, self.fixations
        lines = [
            f"{trials['subject'].nunique()} subjects, {len(self.stimuli)} stimuli, "
            f"{len(trials)} trials, {len(fixations)} fixations"
        ]
        n = trials["n_fixations"]
        if len(n):
            lines.append(
                f"{n.min()} to {n.max()} fixations per trial, mean {n.mean():.2f}, "
                f"median {n.median():g}"
            )
        times = fixations["duration_ms"].dropna()
        lines.append(
            f"fixation durations {times.min():g} to {times.max():g} ms, mean "
            f"{times.mean():.1f} ms"
            if len(times)
            else "no fixation durations"
        )
        if len(self.stimuli):
            size = self.stimuli[["width_px", "height_px"]]
            (w0, h0), (w1, h1) = size.min(), size.max()
            one = (w0, h0) == (w1, h1)
            range_ = "" if one else f" to {w1:g} x {h1:g}"
            lines.append(f"frame {w0:g} x {h0:g}{range_} px")
            boxes = int(self.stimuli["target_left_px"].notna().sum())
            lines.append(f"{boxes} stimuli with a target box")
        return [*lines, *(f"note: {note}" for note in self.notes)]


def make_gaze_data(
    name: str,
    *,
    trials: pd.DataFrame,
    fixations: pd.DataFrame,
    stimuli: pd.DataFrame,
    px_per_deg: float | None = None,
    notes: Sequence[str] = (),
) -> GazeData:
    """Check and complete tables of gaze.

    Parameters
    ----------
    name : str
        Name of the data set.
    trials : DataFrame
        One row per trial with `subject` and `stimulus_id` (text, or whole numbers
        that become text). `trial` (whole number, unique within a subject) may be
        absent when each subject saw each stimulus once: trials are then numbered
        from 0 in the order of `stimulus_id`. `response`, `rt_ms` (ms, >= 0) and
        `correct` are added as undefined when absent; a column `n_fixations` must
        agree with `fixations`. Other columns are factors and stay.
    fixations : DataFrame
        One row per fixation with `subject`, `fixation` (whole number, from 0),
        `x_px` and `y_px` (NaN where the eye was lost), and `trial` or
        `stimulus_id` or both. `duration_ms` (ms, >= 0) may be absent. Other columns
        stay. Trials without fixations are allowed.
    stimuli : DataFrame
        One row per stimulus with `stimulus_id`, `width_px` and `height_px` (> 0).
        The columns of `TARGET_COLUMNS` are added as NaN when absent.
    px_per_deg : float, optional
        Pixels per degree of visual angle, > 0.
    notes : sequence of str
        What a reader of results must know; counts of trials without fixations, and
        of fixations without position or off the screen, are added.

    Returns
    -------
    GazeData
        New tables, sorted by subject, trial and fixation, subjects in the order of
        their text; the order of rows that came in has no effect. `on_screen` is
        True where 0 <= x_px <= width_px and 0 <= y_px <= height_px.

    Raises
    ------
    ValueError
        If a column is missing, an identity is missing or repeats, a fixation has
        no trial or a trial no stimulus, or a number cannot be. The message gives
        the first example.

    Examples
    --------
    >>> data = make_gaze_data(
    ...     "mine",
    ...     trials=pd.DataFrame({"subject": ["a"], "stimulus_id": ["1.jpg"]}),
    ...     fixations=pd.DataFrame(
    ...         {
    ...             "subject": ["a", "a"],
    ...             "stimulus_id": ["1.jpg", "1.jpg"],
    ...             "fixation": [0, 1],
    ...             "x_px": [400.0, 801.0],
    ...             "y_px": [300.0, 10.0],
    ...         }
    ...     ),
    ...     stimuli=pd.DataFrame(
    ...         {"stimulus_id": ["1.jpg"], "width_px": [800], "height_px": [600]}
    ...     ),
    ... )
    >>> data.fixations["on_screen"].tolist()
    [True, False]
    >>> data.notes
    ('1 of 2 fixations lie off the screen.',)
    """
    if px_per_deg is not None:
        check_between("px_per_deg", px_per_deg, low=1e-6)
    stimuli = _complete_stimuli(stimuli)
    trials = _complete_trials(trials, stimuli)
    fixations = _complete_fixations(fixations, trials, stimuli)
    # An empty table has no largest index to count up to.
    counts = np.bincount(_positions(trials, fixations), minlength=len(trials))
    if "n_fixations" in trials:
        said = _whole("trials", "n_fixations", trials)
        _refuse(
            "trials",
            trials,
            said != counts,
            "has a number of fixations that `fixations` does not have",
            "Drop the column `n_fixations` to have it counted",
            [*_TRIAL, "n_fixations"],
        )
    trials["n_fixations"] = counts.astype(np.int64)
    told = [*notes, *_count_notes(trials, fixations)]
    responses = Responses(trials, fixations)
    return GazeData(name, responses, stimuli, px_per_deg, tuple(told))


# ---------------------------------------------------------------- the tables


def _complete_stimuli(stimuli: pd.DataFrame) -> pd.DataFrame:
    check_columns("stimuli", stimuli.columns, STIMULUS_COLUMNS[:3])
    stimuli = stimuli.reset_index(drop=True)
    stimuli["stimulus_id"] = _text("stimuli", "stimulus_id", stimuli)
    key = ["stimulus_id"]
    repeats = stimuli.duplicated(key)
    advice = "One row per stimulus is needed"
    _refuse("stimuli", stimuli, repeats, "repeats an identity", advice, key)
    for size in ("width_px", "height_px"):
        values = _number("stimuli", size, stimuli)
        wrong = ~(values > 0)
        advice = "Give the size of the frame that the coordinates refer to"
        _refuse("stimuli", stimuli, wrong, "has no size", advice, [*key, size])
        stimuli[size] = values
    for edge in TARGET_COLUMNS:
        absent = edge not in stimuli
        stimuli[edge] = np.nan if absent else _number("stimuli", edge, stimuli)
    left, top, right, bottom = (stimuli[edge] for edge in TARGET_COLUMNS)
    inverted = (right < left) | (bottom < top)
    unknown = stimuli[list(TARGET_COLUMNS)].isna().sum(axis=1)
    wrong = inverted | unknown.isin([1, 2, 3])
    advice = "Give left <= right and top <= bottom, or NaN in all four"
    shown = [*key, *TARGET_COLUMNS]
    _refuse("stimuli", stimuli, wrong, "has no box for its target", advice, shown)
    rest = [c for c in stimuli.columns if c not in STIMULUS_COLUMNS]
    stimuli = stimuli.sort_values("stimulus_id", ignore_index=True)
    return stimuli[[*STIMULUS_COLUMNS, *rest]]


def _complete_trials(trials: pd.DataFrame, stimuli: pd.DataFrame) -> pd.DataFrame:
    check_columns("trials", trials.columns, ["subject", "stimulus_id"])
    trials = trials.reset_index(drop=True)
    for column in ("subject", "stimulus_id"):
        trials[column] = _text("trials", column, trials)
    unknown = ~trials["stimulus_id"].isin(stimuli["stimulus_id"])
    pair = ["subject", "stimulus_id"]
    advice = "Add the stimulus to `stimuli`"
    what = "has a stimulus that `stimuli` lacks"
    _refuse("trials", trials, unknown, what, advice, pair)
    if "trial" in trials:
        trials["trial"] = _whole("trials", "trial", trials)
        repeats = trials.duplicated(_TRIAL)
        advice = "Number the trials of each subject"
    else:
        trials = trials.sort_values(pair, ignore_index=True)
        trials["trial"] = trials.groupby("subject").cumcount().astype(np.int64)
        repeats = trials.duplicated(pair)
        advice = "Add the column `trial` to tell them apart"
    _refuse("trials", trials, repeats, "repeats a trial", advice, [*pair, "trial"])
    undefined: dict[str, Any] = {"response": "str", "correct": "boolean"}
    for column, kind in undefined.items():
        if column not in trials:
            trials[column] = pd.array([None] * len(trials), dtype=kind)
    trials["correct"] = _flag("trials", "correct", trials)
    given = "rt_ms" in trials
    trials["rt_ms"] = _number("trials", "rt_ms", trials) if given else np.nan
    negative = trials["rt_ms"] < 0
    advice = "Use NaN for an unknown time"
    what = "has a negative time"
    _refuse("trials", trials, negative, what, advice, [*_TRIAL, "rt_ms"])
    rest = [c for c in trials.columns if c not in TRIAL_COLUMNS]
    trials = trials.sort_values(_TRIAL, ignore_index=True)
    return trials[[*TRIAL_COLUMNS, *rest]]


def _complete_fixations(
    fixations: pd.DataFrame, trials: pd.DataFrame, stimuli: pd.DataFrame
) -> pd.DataFrame:
    key = next((c for c in ("trial", "stimulus_id") if c in fixations), "trial")
    needed = ["subject", "fixation", *_POINT, key]
    check_columns("fixations", fixations.columns, needed)
    fixations = fixations.reset_index(drop=True)
    fixations["subject"] = _text("fixations", "subject", fixations)
    if key == "stimulus_id":
        trials_of_pair = trials.groupby(["subject", key])["trial"]
        if trials_of_pair.size().max() > 1:
            raise ValueError(
                "`fixations` needs the column `trial`: a subject saw a stimulus more "
                "than once."
            )
        fixations[key] = _text("fixations", key, fixations)
        pair = trials_of_pair.first().rename("trial")
        fixations = fixations.join(pair, on=["subject", key])
        lost = fixations["trial"].isna()
    else:
        fixations["trial"] = _whole("fixations", "trial", fixations)
        lost = pd.Series(_positions(trials, fixations) < 0)
    advice = "Add the trial to `trials`"
    _refuse("fixations", fixations, lost, "has no trial", advice, ["subject", key])
    fixations["trial"] = fixations["trial"].astype(np.int64)
    seen = trials["stimulus_id"].iloc[_positions(trials, fixations)]
    seen = seen.reset_index(drop=True)
    if "stimulus_id" in fixations:
        other = _text("fixations", "stimulus_id", fixations) != seen
        what = "has another stimulus than its trial"
        shown = [*_TRIAL, "stimulus_id"]
        _refuse("fixations", fixations, other, what, "Correct one of them", shown)
    fixations["stimulus_id"] = seen
    fixations = _complete_points(fixations)
    sizes = stimuli.set_index("stimulus_id")[["width_px", "height_px"]]
    inside = pd.Series(True, index=fixations.index)
    for column, size in zip(_POINT, ("width_px", "height_px"), strict=True):
        limit = fixations["stimulus_id"].map(sizes[size]).astype(np.float64)
        inside &= (fixations[column] >= 0) & (fixations[column] <= limit)
    fixations["on_screen"] = inside.astype(bool)
    own = [*FIXATION_COLUMNS, "trial", "on_screen"]
    rest = [c for c in fixations.columns if c not in own]
    fixations = fixations.sort_values([*_TRIAL, "fixation"], ignore_index=True)
    return fixations[[*own, *rest]]


def _complete_points(fixations: pd.DataFrame) -> pd.DataFrame:
    fixations["fixation"] = _whole("fixations", "fixation", fixations)
    shown = [*_TRIAL, "fixation"]
    negative = fixations["fixation"] < 0
    advice = "Count the fixations of a trial from 0"
    what = "has a negative fixation number"
    _refuse("fixations", fixations, negative, what, advice, shown)
    repeats = fixations.duplicated(shown)
    what = "repeats a fixation"
    _refuse("fixations", fixations, repeats, what, advice, shown)
    for column in _POINT:
        fixations[column] = _number("fixations", column, fixations)
    given = "duration_ms" in fixations
    times = _number("fixations", "duration_ms", fixations) if given else np.nan
    fixations["duration_ms"] = times
    negative = fixations["duration_ms"] < 0
    advice = "Use NaN for an unknown duration"
    shown = [*shown, "duration_ms"]
    what = "has a negative duration"
    _refuse("fixations", fixations, negative, what, advice, shown)
    return fixations


def _positions(trials: pd.DataFrame, fixations: pd.DataFrame) -> NDArray[np.intp]:
    """Return the row of `trials` of each fixation; -1 where there is none."""
    index = pd.MultiIndex.from_frame(trials[_TRIAL])
    return index.get_indexer(pd.MultiIndex.from_frame(fixations[_TRIAL]))


def _count_notes(trials: pd.DataFrame, fixations: pd.DataFrame) -> list[str]:
    lost = fixations[_POINT].isna().any(axis=1)
    counts = [
        (int((trials["n_fixations"] == 0).sum()), "trials have no fixation"),
        (int(lost.sum()), "fixations have no position (NaN)"),
        (int((~fixations["on_screen"] & ~lost).sum()), "fixations lie off the screen"),
    ]
    return [
        f"{n} of {len(trials if what.startswith('trials') else fixations)} {what}."
        for n, what in counts
        if n
    ]


# --------------------------------------------------------------- the columns


def _refuse(
    name: str, table: pd.DataFrame, wrong: Any, what: str, advice: str, shown: list[str]
) -> None:
    """Raise with the first of the wrong rows."""
    rows = np.flatnonzero(np.asarray(wrong, bool))
    if len(rows):
        row = table.iloc[rows[0]]
        example = ", ".join(f"{c} {row[c]!s}" for c in shown if c in table)
        more = f" and {len(rows) - 1} more rows" if len(rows) > 1 else ""
        raise ValueError(f"`{name}` {what} in: {example}{more}. {advice}.")


def _text(name: str, column: str, table: pd.DataFrame) -> pd.Series:
    """Return identities as text; whole numbers are written out."""
    values = table[column].astype(object)
    is_text = values.map(lambda v: isinstance(v, str) and v != "")
    is_whole = values.map(
        lambda v: isinstance(v, int | np.integer) and not isinstance(v, bool)
    )
    wrong = ~(is_text.astype(bool) | is_whole.astype(bool))
    advice = f"`{column}` must be text or a whole number"
    _refuse(name, table, wrong, "has no identity", advice, [column])
    return values.map(str).astype("str")


def _number(name: str, column: str, table: pd.DataFrame) -> pd.Series:
    """Return finite numbers or NaN as float64."""
    try:
        values = table[column].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must have numbers in `{column}` ({error}). Use NaN where there "
            "is none."
        ) from error
    advice = "Use NaN for what is unknown"
    infinite = np.isinf(values)
    _refuse(name, table, infinite, "has an infinite number", advice, [column])
    return values


def _whole(name: str, column: str, table: pd.DataFrame) -> pd.Series:
    """Return whole numbers as int64."""
    values = _number(name, column, table)
    advice = f"`{column}` must be a whole number"
    wrong = ~(values == np.floor(values))
    _refuse(name, table, wrong, "has a wrong number", advice, [column])
    return values.astype(np.int64)


def _flag(name: str, column: str, table: pd.DataFrame) -> pd.Series:
    """Return True, False or missing as nullable booleans."""
    try:
        return table[column].astype("boolean")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must have True, False or nothing in `{column}` ({error})."
        ) from error


def _identities(
    name: str, wanted: str | Sequence[str], known: "pd.Series[str]"
) -> list[str]:
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    have = set(known)
    absent = [n for n in names if n not in have]
    if absent:
        hint = suggest(absent[0], sorted(have))
        raise ValueError(
            f"`{name}` must be among the {len(have)} that the data have; "
            f"{absent[0]!r} is not.{hint}"
        )
    return names
