"""The tree of the Natural Scenes Dataset: which subjects, spaces and sessions exist.

Allen et al. 2022, Nat Neurosci 25, 116-126, doi:10.1038/s41593-021-00962-x. `root` is
always the folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_option, check_path, check_whole
from neurovis.core.errors import DataCorruptError

TRIALS_PER_SESSION = 750
PUBLISHED_SESSIONS = (40, 40, 32, 30, 40, 32, 40, 30)
"""Sessions that subjects 1 to 8 came for."""
PREPARATIONS = MappingProxyType(
    {
        "b1": "betas_assumehrf",
        "b2": "betas_fithrf",
        "b3": "betas_fithrf_GLMdenoise_RR",
    }
)
"""Short names of the published preparations."""
SIMULATION_FILE = "neurovis_simulation.json"
"""Stands in the root of a tree that was simulated."""

# Quick to read at random first; what is compressed comes last.
_FORMATS = ("hdf5", "h5", "mat", "mgh", "npy", "nii", "mgz", "nii.gz")
_SESSION_FILE = re.compile(
    r"(?:(lh|rh)\.)?betas_session(\d+)\.(" + "|".join(map(re.escape, _FORMATS)) + ")"
)


# ---------------------------------------------------------------------- tree


def check_root(root: str | Path) -> Path:
    """Return `root` if it is the folder of the Natural Scenes Dataset.

    Parameters
    ----------
    root : str or Path
        Folder that holds ``nsddata`` and ``nsddata_betas``.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If it is no folder, or holds neither.
    """
    path = check_path("root", root, kind="folder")
    if (path / "nsddata").is_dir() or (path / "nsddata_betas").is_dir():
        return path
    inside = next((p for p in path.absolute().parents if p.name == "nsddata"), None)
    if path.absolute().name in ("nsddata", "nsddata_betas"):
        inside = path.absolute()
    hint = f" Did you mean {inside.parent}?" if inside else ""
    have = sorted(p.name for p in path.iterdir())[:5]
    raise FileNotFoundError(
        f"`root` must hold the folders nsddata and nsddata_betas; {path} holds "
        f"{', '.join(have) if have else 'nothing'}.{hint}"
    )


def subject_name(subject: int | str) -> str:
    """Return the name of a subject's folder.

    Parameters
    ----------
    subject : int or str
        1-based number as the field counts them, or "subj01".

    Returns
    -------
    str
        Such as "subj01".

    Raises
    ------
    TypeError, ValueError
        If it is neither.

    Examples
    --------
    >>> subject_name(1), subject_name("subj01")
    ('subj01', 'subj01')
    """
    if isinstance(subject, str):
        match = re.fullmatch(r"subj0*(\d+)", subject)
        if match is None:
            raise ValueError(
                "`subject` must be a number from 1, or a name such as 'subj01'; got "
                f"{subject!r}."
            )
        subject = int(match[1])
    return f"subj{check_whole('subject', subject, low=1):02d}"


def subject_number(subject: int | str) -> int:
    """Return the 1-based number of a subject.

    Parameters
    ----------
    subject : int or str
        1-based number, or "subj01".

    Returns
    -------
    int
        1 or more.

    Raises
    ------
    TypeError, ValueError
        If it is neither.
    """
    return int(subject_name(subject).removeprefix("subj"))


def find_subjects(root: str | Path) -> list[str]:
    """Return the subjects that have a folder.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.

    Returns
    -------
    list of str
        Such as "subj01", sorted.

    Raises
    ------
    FileNotFoundError
        If `root` is not the folder of the data set.
    """
    root = check_root(root)
    folders = [root / part / "ppdata" for part in ("nsddata", "nsddata_betas")]
    names = {p.name for folder in folders if folder.is_dir() for p in folder.iterdir()}
    return sorted(n for n in names if re.fullmatch(r"subj\d{2,}", n))


def find_preparations(root: str | Path, subject: int | str) -> dict[str, list[str]]:
    """Return the preparations of betas that a subject has, by space.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    subject : int or str
        1-based number, or "subj01".

    Returns
    -------
    dict of str to list of str
        Folders of preparations with at least one session, by space, both sorted.

    Raises
    ------
    FileNotFoundError
        If `root` is not the folder of the data set.
    """
    folder = check_root(root) / "nsddata_betas" / "ppdata" / subject_name(subject)
    found: dict[str, list[str]] = {}
    for space in sorted(p for p in folder.glob("*") if p.is_dir()):
        names = sorted(
            p.name for p in space.iterdir() if p.is_dir() and find_beta_files(p)
        )
        if names:
            found[space.name] = names
    return found


def _betas_folder(
    root: str | Path, subject: int | str, space: str, preparation: str
) -> Path:
    """Return the folder of the betas of a subject, or tell which there are."""
    found = find_preparations(root, subject)
    folder = Path(root) / "nsddata_betas" / "ppdata" / subject_name(subject)
    if not found:
        have = [s for s in find_subjects(root) if find_preparations(root, s)]
        raise FileNotFoundError(
            f"There are no betas of {subject_name(subject)}: expected files such as "
            f"{folder / 'func1pt8mm' / PREPARATIONS['b3'] / 'betas_session01.hdf5'}. "
            f"Subjects with betas here: {', '.join(have) if have else 'none'}."
        )
    check_option("space", space, tuple(found))
    names = found[space]
    if preparation not in names:
        preparation = PREPARATIONS.get(preparation, preparation)
    check_option("preparation", preparation, tuple(names))
    return folder / space / preparation


# ------------------------------------------------------------------ sessions


@dataclass(frozen=True)
class SessionFiles:
    """Files of betas of one subject in one space, session by session.

    Parameters
    ----------
    subject : str
        Such as "subj01".
    space : str
        Such as "func1pt8mm".
    preparation : str
        Name of the folder, such as "betas_fithrf".
    folder : Path
        Where they lie.
    files : mapping of int to tuple of Path
        1-based session to its file, or to those of the left and the right
        hemisphere; ascending.
    notes : tuple of str
        What a reader must know.
    """

    subject: str
    space: str
    preparation: str
    folder: Path
    files: Mapping[int, tuple[Path, ...]]
    notes: tuple[str, ...] = ()

    @property
    def sessions(self) -> tuple[int, ...]:
        """1-based sessions, ascending."""
        return tuple(self.files)

    @property
    def is_surface(self) -> bool:
        """Whether each session has a file per hemisphere."""
        return len(next(iter(self.files.values()))) == 2

    def companion(self, name: str) -> tuple[Path, ...]:
        """Return the files of a map that lies beside the betas, such as "ncsnr".

        Parameters
        ----------
        name : str
            Name without hemisphere and suffix.

        Returns
        -------
        tuple of Path
            One file, or one per hemisphere; empty when one is missing.
        """
        suffixes = (".mgh", ".mgz") if self.is_surface else (".nii.gz", ".nii")
        for suffix in suffixes:
            heads = [f"{h}." for h in HEMISPHERES] if self.is_surface else [""]
            paths = tuple(self.folder / f"{head}{name}{suffix}" for head in heads)
            if all(p.is_file() for p in paths):
                return paths
        return ()


def find_sessions(
    root: str | Path,
    subject: int | str,
    *,
    space: str = "func1pt8mm",
    preparation: str = "b3",
    volume_format: str | None = None,
    sessions: Iterable[int] | None = None,
) -> SessionFiles:
    """Find the files of betas of a subject, from names alone.

    All sessions there are taken when they run from 1 on without a gap and share one
    format. The last ones may be missing: NSD withheld three until August 2023.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    subject : int or str
        1-based number, or "subj01".
    space : str, default "func1pt8mm"
        Folder of the space.
    preparation : str, default "b3"
        Folder of the preparation, or its short name.
    volume_format : str, optional
        "hdf5", "nii.gz", "nii", "mat" or "mgh": take files of this kind only. By
        default the one that reads fastest among those that have every session.
    sessions : iterable of int, optional
        1-based sessions wanted, in any order; default all. Named ones may leave gaps
        and differ in format.

    Returns
    -------
    SessionFiles
        The sessions, ascending.

    Raises
    ------
    FileNotFoundError
        If the subject has no betas.
    ValueError
        If an option is unknown; if sessions are named twice or are not there; if
        none are named and some are missing in the middle, have one hemisphere only,
        or no format has them all.
    """
    wanted = None if sessions is None else check_sessions(sessions)
    folder = _betas_folder(root, subject, space, preparation)
    found = find_beta_files(folder)
    if volume_format is not None:
        check_option("volume_format", volume_format, tuple(found))
        found = {volume_format: found[volume_format]}
    whole = {name: _whole_sessions(files) for name, files in found.items()}
    where = f"{subject_name(subject)} {space} {folder.name}"
    if wanted is None:
        name = _only_format(where, found, whole)
        chosen = {s: whole[name][s] for s in sorted(whole[name])}
    else:
        chosen = _choose(where, wanted, whole)
    kinds = {_format(paths[0]) for paths in chosen.values()}
    notes = (f"Formats are mixed: {', '.join(sorted(kinds))}.",) * (len(kinds) > 1)
    return SessionFiles(
        subject_name(subject), space, folder.name, folder, chosen, notes
    )


def find_beta_files(folder: Path) -> dict[str, dict[int, dict[str, Path]]]:
    """Return all files of betas of a folder.

    Parameters
    ----------
    folder : Path
        Folder of a preparation.

    Returns
    -------
    dict of str to dict of int to dict of str to Path
        Files by format, 1-based session, and "lh", "rh" or "" for a volume. Others in
        the folder, such as unfinished downloads, are left out.

    Raises
    ------
    DataCorruptError
        If a session is there twice in one format.
    """
    found: dict[str, dict[int, dict[str, Path]]] = {}
    for path in sorted(folder.iterdir()):
        match = _SESSION_FILE.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        hemisphere, number, name = match[1] or "", int(match[2]), match[3]
        parts = found.setdefault(name, {}).setdefault(number, {})
        if hemisphere in parts:
            raise DataCorruptError(
                f"{folder} has session {number} twice: {parts[hemisphere].name} and "
                f"{path.name}. Move one of them away."
            )
        parts[hemisphere] = path
    return {name: found[name] for name in _FORMATS if name in found}


def check_sessions(sessions: Iterable[int]) -> list[int]:
    """Return sessions ascending.

    Parameters
    ----------
    sessions : iterable of int
        1-based sessions.

    Returns
    -------
    list of int
        The same, sorted.

    Raises
    ------
    TypeError, ValueError
        If there are none, one is not a whole number from 1, or one comes twice.
    """
    if isinstance(sessions, str) or not isinstance(sessions, Iterable):
        raise TypeError(
            f"`sessions` must be a list of numbers such as [1, 2]; got {sessions!r}."
        )
    wanted = sorted(check_whole("sessions", s, low=1) for s in sessions)
    twice = [a for a, b in itertools.pairwise(wanted) if a == b]
    if twice or not wanted:
        came = f"session {twice[0]} comes twice" if twice else "it is empty"
        raise ValueError(f"`sessions` must name each session once; {came}.")
    return wanted


def write_ranges(numbers: Iterable[int]) -> str:
    """Return whole numbers as text, runs joined.

    Parameters
    ----------
    numbers : iterable of int
        In any order.

    Returns
    -------
    str
        Ascending.

    Examples
    --------
    >>> write_ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    parts: list[list[int]] = []
    for n in sorted(numbers):
        if parts and n == parts[-1][-1] + 1:
            parts[-1][1:] = [n]
        else:
            parts.append([n])
    return ", ".join("-".join(map(str, part)) for part in parts)


def _format(path: Path) -> str:
    match = _SESSION_FILE.fullmatch(path.name)
    return match[3] if match else path.suffix


def _whole_sessions(
    files: Mapping[int, Mapping[str, Path]],
) -> dict[int, tuple[Path, ...]]:
    """Return the sessions that have their volume, or both hemispheres."""
    whole = {}
    for session, parts in files.items():
        names = HEMISPHERES if set(parts) - {""} else ("",)
        if set(names) <= set(parts):
            whole[session] = tuple(parts[name] for name in names)
    return whole


def _only_format(
    where: str,
    found: Mapping[str, Mapping[int, Any]],
    whole: Mapping[str, Mapping[int, Any]],
) -> str:
    """Return the first format that has every session, or say why there is none."""
    every = {s for files in found.values() for s in files}
    complete = {s for files in whole.values() for s in files}
    half = every - complete
    gaps = set(range(1, max(every) + 1)) - every
    for name, files in whole.items():
        if set(files) == every and not gaps:
            return name
    if gaps:
        what = f"missing sessions: {write_ranges(gaps)}"
    elif half:
        what = f"sessions with one hemisphere only: {write_ranges(half)}"
    else:
        parts = [f"{n} has {write_ranges(files)}" for n, files in whole.items()]
        what = f"no format has all sessions: {'; '.join(parts)}"
    if not complete:
        raise ValueError(f"{where}: {what}. Get the missing files.")
    usable = f"[{', '.join(map(str, sorted(complete)[:3]))}, ...]"
    raise ValueError(
        f"{where}: {what}. Get the missing files, or name the sessions wanted, such "
        f"as sessions={usable}."
    )


def _choose(
    where: str, wanted: Sequence[int], whole: Mapping[str, Mapping[int, Any]]
) -> dict[int, Any]:
    there = {s for files in whole.values() for s in files}
    absent = set(wanted) - there
    if absent:
        raise ValueError(
            f"`sessions` names {write_ranges(absent)}, which are not (wholly) there: "
            f"{where} has {write_ranges(there) if there else 'none'}."
        )
    # One format for all when there is such a one.
    full = [files for files in whole.values() if set(wanted) <= set(files)]
    sources = full[:1] or list(whole.values())
    return {s: next(files[s] for files in sources if s in files) for s in wanted}
