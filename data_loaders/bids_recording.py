"""One recording of gaze in BIDS: samples, events, clock and screen."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.bids_files import BidsFile, parse_name, read_sidecar, read_tsv
from neurovis.core.checks import check_columns
from neurovis.core.errors import DataCorruptError

_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
}
_PIXELS = ("pixel", "pixels", "px")
_CORNERS = {"top-left", "top-right", "bottom-left", "bottom-right"}
_TIMES = ("timestamp", "eye_timestamp")
_POSITIONS = ("x_coordinate", "y_coordinate")
_LOST_PX = (-32768.0, 1e8)  # EyeLink writes these for a lost eye
_PLAUSIBLE_PX_PER_DEG = (3.0, 300.0)


@dataclass(frozen=True)
class Screen:
    """What the metadata tell of a screen.

    Parameters
    ----------
    size_px : tuple of float
        Width and height in pixels.
    corner : str
        Origin of the coordinates: "top-left", "bottom-left" ...
    px_per_deg : float or None
        Pixels per degree at the centre; None where it is not known.
    notes : tuple of str
        What a reader of results must know.
    """

    size_px: tuple[float, float]
    corner: str
    px_per_deg: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Recording:
    """Gaze of one eye in one run.

    Parameters
    ----------
    t_s : ndarray of float64, shape (n_samples,)
        Times in seconds on the clock of ``*_events.tsv``, growing.
    x_px, y_px : ndarray of float64, shape (n_samples,)
        Pixels from the top left, y down; NaN where the eye was lost.
    in_blink : ndarray of bool, shape (n_samples,)
        Samples in a blink that the eye tracker reports.
    events : DataFrame or None
        Rows of ``*_physioevents.tsv.gz``: `kind` (str, lower case), `start_s`,
        `duration_ms`, and `x_px`, `y_px` if the file has them.
    notes : tuple of str
        What a reader of results must know.
    """

    t_s: NDArray[np.float64]
    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    in_blink: NDArray[np.bool_]
    events: pd.DataFrame | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Clock:
    """Turns what a file calls a time into seconds."""

    start_s: float
    first: float
    unit_s: float
    step_s: float

    def seconds(self, times: Any) -> Any:
        return self.start_s + (times - self.first) * self.unit_s


# ------------------------------------------------------------------ the screen


def read_screen(
    root: Path,
    file: BidsFile,
    size_px: tuple[float, float] | None,
    px_per_deg: float | None,
) -> Screen:
    """Read the screen of a recording.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    file : BidsFile
        Recording.
    size_px : tuple of float or None
        Width and height in pixels that count instead of the metadata.
    px_per_deg : float or None
        Pixels per degree that count instead of the metadata.

    Returns
    -------
    Screen
        From StimulusPresentation in ``*_events.json``, or from the JSON file of the
        recording, where drafts had it.

    Raises
    ------
    ValueError
        If the size is not known, or the origin is no corner of the screen.
    """
    own = read_sidecar(root, file, file.suffix)
    shown = read_sidecar(root, file, "events").get("StimulusPresentation")
    facts = own | (shown if isinstance(shown, dict) else {})
    size = _pair(facts.get("ScreenResolution")) if size_px is None else size_px
    if size is None:
        raise ValueError(
            f"The size of the screen of {file.path} is not known: give `screen_px`, or "
            "ScreenResolution as StimulusPresentation in *_events.json."
        )
    origin = facts.get("ScreenOrigin", facts.get("EnvironmentCoordinates"))
    words = origin if isinstance(origin, list) else str(origin).split("-")
    corner = "-".join(str(w).lower() for w in words) if origin else "top-left"
    if corner not in _CORNERS:
        raise ValueError(
            f"The origin of the coordinates of {file.path} must be a corner of the "
            f"screen, as in ['top', 'left']; its metadata say {origin!r}, which leaves "
            "the direction of y open. Convert the samples first."
        )
    notes = [] if origin else ["The origin is taken to be the top left: none is told."]
    if px_per_deg is None:
        px_per_deg = _px_per_deg(facts, size)
        measured = "ScreenSize" in facts and "ScreenDistance" in facts
        if px_per_deg is None and measured:
            notes.append("ScreenSize and ScreenDistance cannot both be in metres.")
    return Screen((float(size[0]), float(size[1])), corner, px_per_deg, tuple(notes))


def _pair(value: Any) -> tuple[float, float] | None:
    try:
        width, height = (float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _px_per_deg(facts: dict[str, Any], size_px: tuple[float, float]) -> float | None:
    """Return the pixels of one degree at the centre of the screen."""
    size, distance = _pair(facts.get("ScreenSize")), facts.get("ScreenDistance")
    if size is None or not isinstance(distance, int | float):
        return None
    one_deg = 2 * distance * math.tan(math.radians(0.5))
    px_per_deg = one_deg * size_px[0] / size[0]
    low, high = _PLAUSIBLE_PX_PER_DEG
    return px_per_deg if low < px_per_deg < high else None


# --------------------------------------------------------------- the recording


def read_recording(
    root: Path,
    file: BidsFile,
    screen: Screen,
    eye: str | None,
    position_unit: str | None,
    duration_unit: str | None,
    start_time_s: float | None,
) -> Recording:
    """Read samples and events of one eye.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    file : BidsFile
        ``*_physio.tsv.gz`` or ``*_eyetrack.tsv[.gz]``.
    screen : Screen
        Where the coordinates lie.
    eye : str or None
        Prefix of the columns in drafts with both eyes in one file; None for the
        first.
    position_unit, duration_unit, start_time_s : optional
        As in `load_gaze_bids`.

    Returns
    -------
    Recording
        Sorted by time.

    Raises
    ------
    DataCorruptError
        If a file is damaged or contradicts its metadata.
    ValueError
        If metadata that are needed are missing, or coordinates are not on a screen.
    """
    sidecar = read_sidecar(root, file, file.suffix)
    system = sidecar.get("SampleCoordinateSystem", "gaze-on-screen")
    if system != "gaze-on-screen":
        raise ValueError(
            f"{file.path} must have positions on a screen; its SampleCoordinateSystem "
            f"is {system!r}."
        )
    columns = sidecar.get("Columns")
    if columns is None and file.extension == ".tsv.gz" and file.suffix == "physio":
        raise ValueError(
            f"{file.path} has no header, so its JSON file must name its columns, as "
            '"Columns": ["timestamp", "x_coordinate", "y_coordinate"].'
        )
    table = _read_samples(file, columns)
    x_name, y_name, pupil_name = _eye_columns(file, list(table.columns), eye)
    clock, t_s, notes = _read_clock(file, sidecar, table, start_time_s)
    unit = position_unit or _unit_of(file, sidecar, x_name)
    scale = screen.size_px if unit == "fraction" else (1.0, 1.0)
    x, y = table[x_name].to_numpy(copy=True), table[y_name].to_numpy(copy=True)
    lost = np.isin(x, _LOST_PX) | np.isin(y, _LOST_PX)
    if pupil_name in table:
        lost |= table[pupil_name].to_numpy() == 0
    x[lost] = y[lost] = np.nan
    x, y = _from_top_left(x * scale[0], y * scale[1], screen)
    events = _read_events(root, file, clock, scale, screen, duration_unit)
    return Recording(t_s, x, y, _in_blinks(t_s, events), events, tuple(notes))


def _in_blinks(
    t_s: NDArray[np.float64], events: pd.DataFrame | None
) -> NDArray[np.bool_]:
    inside = np.zeros(len(t_s), bool)
    if events is not None:
        blinks = events[events["kind"] == "blink"]
        start_s = blinks["start_s"].to_numpy(np.float64)
        end_s = start_s + blinks["duration_ms"].to_numpy(np.float64) / 1000
        for first, last in zip(*np.searchsorted(t_s, [start_s, end_s]), strict=True):
            inside[first:last] = True
    return inside


def _read_samples(file: BidsFile, columns: list[str] | None) -> pd.DataFrame:
    numbers = [*_TIMES, "sample"]
    if columns is None:  # a draft with a header
        columns_here = list(read_tsv(file.path, None, ()).columns)
    else:
        columns_here = [str(c) for c in columns]
    numbers += [c for c in columns_here if c.endswith((*_POSITIONS, "pupil_size"))]
    return read_tsv(file.path, columns, numbers)


def _eye_columns(
    file: BidsFile, columns: list[str], eye: str | None
) -> tuple[str, str, str]:
    x = _POSITIONS[0]
    eyes = [c.removesuffix(x) for c in columns if c.endswith(x)]
    if not eyes:
        check_columns(file.path.name, columns, _POSITIONS)
    label = "" if "" in eyes else f"{eye}_" if eye is not None else eyes[0]
    if label not in eyes:
        raise ValueError(
            f"`recording` must be one of {[e.removesuffix('_') for e in eyes]} for "
            f"{file.path}; got {eye!r}."
        )
    names = [label + p for p in (*_POSITIONS, "pupil_size")]
    check_columns(file.path.name, columns, names[:2])
    return names[0], names[1], names[2]


def _unit_of(file: BidsFile, sidecar: dict[str, Any], column: str) -> str:
    about = sidecar.get(column)
    unit = about.get("Units") if isinstance(about, dict) else None
    unit = sidecar.get("SampleCoordinateUnits") if unit is None else unit
    if unit not in _PIXELS:
        raise ValueError(
            f"{file.path} must have positions in pixels; the Units of {column} in its "
            f"metadata are {unit!r}. Give `position_unit`, or convert the samples."
        )
    return "px"


def _from_top_left(x: Any, y: Any, screen: Screen) -> tuple[Any, Any]:
    width_px, height_px = screen.size_px
    return (
        width_px - x if screen.corner.endswith("right") else x,
        height_px - y if screen.corner.startswith("bottom") else y,
    )


# -------------------------------------------------------------------- the clock


def _read_clock(
    file: BidsFile,
    sidecar: dict[str, Any],
    table: pd.DataFrame,
    start_time_s: float | None,
) -> tuple[_Clock, NDArray[np.float64], list[str]]:
    notes = []
    rate = sidecar.get("SamplingFrequency")
    step_s = 1 / rate if isinstance(rate, int | float) and rate > 0 else math.nan
    start_s = sidecar.get("StartTime") if start_time_s is None else start_time_s
    if start_s is None:
        start_s = 0.0
        notes.append("StartTime is not told: the first sample is taken to be at 0 s.")
    if not isinstance(start_s, int | float):
        raise ValueError(
            f"StartTime of {file.path} must be a number of seconds; it is {start_s!r}. "
            "Give `start_time_s`."
        )
    name = next((c for c in _TIMES if c in table), None)
    if name is None or not len(table):
        if math.isnan(step_s):
            raise ValueError(
                f"{file.path} must have a column 'timestamp', or SamplingFrequency in "
                "its JSON file."
            )
        clock = _Clock(float(start_s), 0.0, step_s, step_s)
        return clock, clock.seconds(np.arange(float(len(table)))), notes
    times = table[name].to_numpy(np.float64)
    steps = np.diff(times)
    if not np.isfinite(times).all() or (steps < 0).any():
        raise DataCorruptError(
            f"{file.path} must have times that grow in {name!r}; one is missing or "
            "earlier than the one before."
        )
    unit_s = _time_unit(file, sidecar, name, steps, step_s)
    clock = _Clock(float(start_s), float(times[0]), unit_s, step_s)
    t_s = clock.seconds(times)
    if (steps == 0).any():
        # Whole milliseconds at 2000 Hz: the rows that share one follow each other.
        if math.isnan(step_s):
            raise DataCorruptError(f"{file.path} repeats times in {name!r}.")
        first = np.concatenate([[True], steps > 0])
        place = np.arange(len(times))
        t_s = t_s + (place - np.maximum.accumulate(np.where(first, place, 0))) * step_s
        if (np.diff(t_s) <= 0).any():
            raise DataCorruptError(
                f"{file.path} repeats times in {name!r} more often than its "
                "SamplingFrequency explains: rows are there twice."
            )
    return clock, t_s, notes


def _time_unit(
    file: BidsFile, sidecar: dict[str, Any], name: str, steps: Any, step_s: float
) -> float:
    about = sidecar.get(name)
    unit = about.get("Units") if isinstance(about, dict) else None
    if unit in _SECONDS:
        return _SECONDS[unit]
    typical = float(np.median(steps)) if len(steps) else math.nan
    fitting = [u for u in (1.0, 1e-3, 1e-6, 1e-9) if 0.5 < typical * u / step_s < 2]
    if unit is not None or not fitting:
        raise ValueError(
            f"The Units of {name!r} in the JSON file of {file.path} must be 's', 'ms', "
            f"'us' or 'ns'; they are {unit!r}, and SamplingFrequency does not tell."
        )
    return fitting[0]


# ------------------------------------------------------------------- the events


def _read_events(
    root: Path,
    file: BidsFile,
    clock: _Clock,
    scale: tuple[float, float],
    screen: Screen,
    duration_unit: str | None,
) -> pd.DataFrame | None:
    path = file.path.with_name(
        file.path.name.replace(f"_{file.suffix}.tsv", "_physioevents.tsv")
    )
    events_file = parse_name(path)
    if not path.is_file() or events_file is None:
        return None
    sidecar = read_sidecar(root, events_file, "physioevents")
    columns = sidecar.get("Columns")
    if not isinstance(columns, list):
        raise ValueError(
            f"{path} has no header, so its JSON file must name its columns, as "
            '"Columns": ["onset", "duration", "trial_type"].'
        )
    check_columns(path.name, columns, ["onset", "duration", "trial_type"])
    table = read_tsv(path, columns, ["onset", "duration", "blink", *_POSITIONS])
    source = sidecar.get("OnsetSource", sidecar.get("ForeignIndexColumn"))
    if source in _TIMES:
        start_s, unit_s = clock.seconds(table["onset"]), clock.unit_s
    elif source in (None, "n/a"):
        # Rows of the recording: from 0, but from 1 in drafts without OnsetSource.
        row = table["onset"] - (0 if source == "n/a" else 1)
        start_s, unit_s = clock.start_s + row * clock.step_s, 1.0
    else:
        raise ValueError(
            f"OnsetSource in the JSON file of {path} must be 'timestamp' or 'n/a'; it "
            f"is {source!r}."
        )
    about = sidecar.get("duration")
    unit = about.get("Units") if isinstance(about, dict) else None
    unit = unit if duration_unit is None else duration_unit
    # The specification's own example has durations in the unit of the time stamps.
    duration_ms = table["duration"] * _SECONDS.get(str(unit), unit_s) * 1000
    events = pd.DataFrame(
        {
            "kind": table["trial_type"].str.lower(),
            "start_s": start_s,
            "duration_ms": duration_ms,
        }
    )
    if "blink" in table:  # a saccade of a closed eye
        events.loc[table["blink"] == 1, "kind"] = "blink"
    if set(_POSITIONS) <= set(table.columns):
        x, y = (table[c] * s for c, s in zip(_POSITIONS, scale, strict=True))
        events["x_px"], events["y_px"] = _from_top_left(x, y, screen)
    events = events[events["start_s"].notna()].reset_index(drop=True)
    _check_events(path, events[events["kind"] == "fixation"])
    return events


def _check_events(path: Path, fixations: pd.DataFrame) -> None:
    times = fixations["duration_ms"]
    if (times < 0).any():
        raise DataCorruptError(f"{path} has a fixation of {times.min():g} ms.")
    if len(times) and not 5 <= times.median() <= 60_000:
        raise ValueError(
            f"Fixations of {path} would last {times.median():g} ms (median). Give "
            "`duration_unit`, or Units of 'duration' in its JSON file."
        )
