"""Files of single-trial responses as labs keep them: one per session or per run."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_loaders.bids_files import parse_name
from neurovis.core.checks import check_path, check_whole

SUFFIXES = (".npy", ".h5", ".hdf5", ".mat", ".nii", ".nii.gz", ".mgh", ".mgz")
"""Kinds of files that can hold responses."""

_SESSION = re.compile(r"session[-_ ]?(\d+)|(?<![a-z])sess?[-_ ]?(\d+)")
_RUN = re.compile(r"(?<![a-z])run[-_ ]?(\d+)")
_GLMSINGLE = ("TYPED", "TYPEC", "TYPEB")


@dataclass(frozen=True)
class SessionFile:
    """A file of trials, and when they were measured.

    Parameters
    ----------
    path : Path
        The file.
    session : int or None
        1-based; None if one file holds all sessions, so that the events must tell.
    run : int or None
        1-based run within the session; None if the file holds a whole session.
    is_assumed : bool
        Whether the order of the files alone told the session.
    """

    path: Path
    session: int | None
    run: int | None = None
    is_assumed: bool = False

    def __str__(self) -> str:
        run = "" if self.run is None else f" run {self.run}"
        when = "" if self.session is None else f" (session {self.session}{run})"
        return f"{self.path.name}{when}"


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts numbers in names by their value.

    Parameters
    ----------
    text : str
        Name.

    Returns
    -------
    tuple
        For `sorted`.

    Examples
    --------
    >>> sorted(["session10", "session2"], key=natural_key)
    ['session2', 'session10']
    """
    parts = re.split(r"(\d+)", text.lower())
    return tuple((1, int(p), "") if p.isdigit() else (0, 0, p) for p in parts)


def session_notes(files: Sequence[SessionFile]) -> list[str]:
    """Return remarks on sessions that were assumed, or are missing in between.

    Parameters
    ----------
    files : sequence of SessionFile
        In chronological order.

    Returns
    -------
    list of str
        No or one sentence.
    """
    if any(file.is_assumed for file in files):
        names = [file.path.name for file in files]
        if len(set(names)) < len(names):
            names = ["/".join(file.path.parts[-2:]) for file in files]
        shown = names if len(names) < 6 else [*names[:3], "...", names[-1]]
        return [
            "File names tell no session; in this order the files were taken for the "
            f"sessions 1 to {len(files)}: {', '.join(shown)}."
        ]
    named = {file.session for file in files if file.session is not None}
    gaps = sorted(set(range(min(named, default=1), max(named, default=0))) - named)
    listed = ", ".join(map(str, gaps))
    return [f"There are no files of the sessions {listed}."] if gaps else []


def find_session_files(
    betas: str | Path | Sequence[str | Path], sessions: Sequence[int] | None = None
) -> list[SessionFile]:
    """Find files of trials and tell their sessions from their names.

    A session is a number after "session", "sess" or "ses" ("betas_session02.hdf5",
    "sub-01_ses-02_task-images_statmap.nii.gz"), a run one after "run". Where file
    names repeat, such as outputs of GLMsingle in one folder per session, the names of
    their folders tell. Where nothing tells, each file is taken for a session, in the
    natural order of the names or that of the list (`session_notes` says so).

    Parameters
    ----------
    betas : path or sequence of paths
        A file; a folder (its files with "beta" in their names if any, or the outputs
        of GLMsingle); a pattern such as ``derivatives/*_betas.nii.gz``; or files in
        chronological order.
    sessions : sequence of int, optional
        1-based session of each file, in the order of the files, when names do not
        tell. Several files may belong to one session.

    Returns
    -------
    list of SessionFile
        In chronological order.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If the order of sessions cannot be told, two files belong to one run, or files
        that were listed are not in chronological order.
    """
    is_list = not isinstance(betas, str | Path)
    if isinstance(betas, str | Path):
        paths = _look_up(betas)
    else:
        paths = [check_path("betas", p) for p in betas]
    if not paths:
        raise FileNotFoundError("`betas` is empty: name at least one file.")
    for path in paths:
        if not path.name.lower().endswith(SUFFIXES):
            raise ValueError(
                f"`betas` has {path.name}, whose kind is not known. Known are "
                f"{', '.join(SUFFIXES)}."
            )
    if sessions is not None:
        return _numbered(paths, sessions)
    labels = [path.name for path in paths]
    if len(set(labels)) < len(labels):
        labels = ["_".join(path.parts[-3:]) for path in paths]
    found = [
        SessionFile(path, _number(_SESSION, label), _number(_RUN, label))
        for path, label in zip(paths, labels, strict=True)
    ]
    for file in found:
        entities = getattr(parse_name(file.path), "entities", {})
        if file.session is None and "ses" in entities:
            raise ValueError(
                f"The session of {file.path.name} is {entities['ses']!r}, which tells "
                "no order. List the files in chronological order and give their "
                "numbers in `sessions`."
            )
    return _in_order(_complete(found), is_list)


def _look_up(betas: str | Path) -> list[Path]:
    where = Path(betas)
    if where.is_dir():
        inside = [p for p in where.iterdir() if p.name.lower().endswith(SUFFIXES)]
        for kind in _GLMSINGLE:
            fitted = [p for p in inside if p.name.startswith(f"{kind}_")]
            if fitted:
                return sorted(fitted, key=lambda p: natural_key(p.name))
        inside = [p for p in inside if "beta" in p.name.lower()] or inside
        if not inside:
            raise FileNotFoundError(
                f"`betas` must hold files of responses ({', '.join(SUFFIXES)}); "
                f"{where} has none. In sub-folders? Give a pattern or a list."
            )
        return sorted(inside, key=lambda p: natural_key(p.name))
    if "*" in where.as_posix():
        fixed = [part for part in where.parts if "*" not in part]
        n_fixed = next(i for i, part in enumerate(where.parts) if "*" in part)
        root = Path(*fixed[:n_fixed]) if n_fixed else Path()
        pattern = Path(*where.parts[n_fixed:]).as_posix()
        hits = [p for p in root.glob(pattern) if p.is_file()]
        if not hits:
            raise FileNotFoundError(f"`betas` is a pattern that no file fits: {where}.")
        return sorted(hits, key=lambda p: natural_key(p.as_posix()))
    return [check_path("betas", where)]


def _number(pattern: re.Pattern[str], label: str) -> int | None:
    match = pattern.search(label.lower())
    return None if match is None else int(next(g for g in match.groups() if g))


def _numbered(paths: list[Path], sessions: Sequence[int]) -> list[SessionFile]:
    numbers = [check_whole("sessions", n, low=1) for n in sessions]
    if len(numbers) != len(paths):
        raise ValueError(
            f"`sessions` has {len(numbers)} numbers for {len(paths)} files: one per "
            f"file is needed, in this order: {', '.join(p.name for p in paths)}."
        )
    if numbers != sorted(numbers):
        raise ValueError(
            f"`sessions` must ascend, because files are taken in chronological order; "
            f"got {numbers}. List the files in the order in which they were measured."
        )
    return [SessionFile(p, n) for p, n in zip(paths, numbers, strict=True)]


def _complete(files: list[SessionFile]) -> list[SessionFile]:
    """Give sessions to files whose names tell none."""
    if all(file.session is not None for file in files) or len(files) == 1:
        return files
    unnamed = [file.path.name for file in files if file.session is None]
    if len(unnamed) < len(files):
        raise ValueError(
            f"Some of the names of `betas` tell a session and some do not, such as "
            f"{unnamed[0]}. Rename them, or list the files and give their sessions in "
            "`sessions`."
        )
    if all(file.run is not None for file in files):
        return [SessionFile(file.path, 1, file.run) for file in files]
    return [
        SessionFile(file.path, i, is_assumed=True)
        for i, file in enumerate(files, start=1)
    ]


def _in_order(files: list[SessionFile], is_list: bool) -> list[SessionFile]:
    def when(file: SessionFile) -> tuple[int, int]:
        return file.session or 0, file.run or 0

    ordered = sorted(files, key=when)
    for first, second in itertools.pairwise(ordered):
        if when(first) == when(second):
            raise ValueError(
                f"Two files are of one session and run: {first.path.name} and "
                f"{second.path.name}. Are they one recording in two forms? Name one "
                "form, by a list or a pattern, or give `sessions`."
            )
    if is_list and ordered != files:
        raise ValueError(
            f"`betas` must be in chronological order; got "
            f"{', '.join(map(str, files))}. Sort them, or give their numbers in "
            "`sessions`."
        )
    return ordered
