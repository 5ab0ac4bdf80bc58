"""What to ask Slurm for: profiles, their checks, and the script of a job."""

import re
import shlex
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurovis.core.checks import (
    check_between,
    check_option,
    check_path,
    check_whole,
    suggest,
)
from tasks.engine_workers import (
    SCRATCH,
    WorkerNeeds,
    encryption_files,
    worker_command,
    worker_variables,
)

_WALLTIME = re.compile(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)")
_WORD = re.compile(r"[^\s\"']+")
_REQUIRED = ("memory_gib", "walltime", "workers")
# Part of a job's memory that Dask's own processes take.
_OVERHEAD_GIB = 0.25


@dataclass(frozen=True)
class SlurmProfile:
    """Jobs of Slurm that are one worker each.

    Parameters
    ----------
    name : str
        Name, for messages.
    memory_gib : float
        Memory of a job in GiB, at least 0.5.
    walltime : str
        Longest time of a job, "HH:MM:SS" or "D-HH:MM:SS".
    workers : int
        Jobs at the same time, >= 1; the largest number when `min_workers` is given.
    min_workers : int, optional
        With it the number of jobs follows the work, between this (>= 0) and `workers`.
    cores : int, default 1
        Processors of a job, >= 1.
    gpus_per_worker : int, default 0
        CUDA devices of a job, asked for as ``--gres=gpu:N`` unless `directives` do.
    partition, account : str, optional
        Where jobs run and who pays; the site's default otherwise.
    prologue : tuple of str
        Lines of the shell before the worker starts, such as ``module load cuda``.
    directives : tuple of str
        More options of ``sbatch``, such as ``--constraint=a100``.
    python : str, optional
        Interpreter on the nodes; the one that runs now by default.
    interface : str, optional
        Network interface of scheduler and workers, such as "ib0".
    scheduler_port : int, default 0
        Port that the workers connect to; 0 takes a free one.
    encryption : bool, default True
        Encrypt connections. Without it anyone who reaches the port can run code.

    Raises
    ------
    TypeError
        If an entry has the wrong kind.
    ValueError
        If an entry cannot be.
    """

    name: str
    memory_gib: float
    walltime: str
    workers: int
    min_workers: int | None = None
    cores: int = 1
    gpus_per_worker: int = 0
    partition: str | None = None
    account: str | None = None
    prologue: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    python: str | None = None
    interface: str | None = None
    scheduler_port: int = 0
    encryption: bool = True

    def __post_init__(self) -> None:
        check_between("memory_gib", self.memory_gib, low=2 * _OVERHEAD_GIB)
        check_whole("workers", self.workers, low=1)
        if self.min_workers is not None:
            check_whole("min_workers", self.min_workers, low=0, high=self.workers)
        check_whole("cores", self.cores, low=1)
        check_whole("gpus_per_worker", self.gpus_per_worker, low=0)
        check_whole("scheduler_port", self.scheduler_port, low=0, high=65_535)
        if not isinstance(self.encryption, bool):
            raise TypeError(f"`encryption` must be true or false; {self.encryption!r}.")
        if not isinstance(self.walltime, str) or not _WALLTIME.fullmatch(self.walltime):
            raise ValueError(
                f"`walltime` must be text such as '12:00:00' (hours, minutes, seconds) "
                f"or '2-00:00:00'; got {self.walltime!r}."
            )
        for entry in ("partition", "account", "interface"):
            value = getattr(self, entry)
            if value is not None and not _is_word(value):
                raise ValueError(f"`{entry}` must be one word; got {value!r}.")
        if self.python is not None and not _is_line(self.python):
            raise ValueError(f"`python` must be a path; got {self.python!r}.")
        for line in self.prologue:
            if not _is_line(line):
                raise ValueError(f"`prologue` must be lines of text; got {line!r}.")
        for line in self.directives:
            if not _is_line(line) or not line.startswith("-"):
                raise ValueError(
                    "`directives` must be options such as '--constraint=a100'; got "
                    f"{line!r}."
                )

    @property
    def minutes(self) -> float:
        """Longest time of a job in minutes."""
        found = _WALLTIME.fullmatch(self.walltime)
        days, hours, minutes, seconds = (int(n or 0) for n in found.groups())  # type: ignore[union-attr]
        return 1440 * days + 60 * hours + minutes + seconds / 60


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(_WORD.fullmatch(value))


def _is_line(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\n" not in value


def read_profile(
    profile: str, profiles: Mapping[str, Mapping[str, Any]] | None = None
) -> SlurmProfile:
    """Return a profile from a file of its own or from those of a study.

    Parameters
    ----------
    profile : str
        Name of a table ``[slurm.NAME]`` of the study, or a file that ends in ``.toml``
        and has the entries themselves.
    profiles : mapping of str to mapping, optional
        Tables of the study by name.

    Returns
    -------
    SlurmProfile
        Checked entries.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KeyError
        If the study has no such table.
    TypeError, ValueError
        If the file is no TOML, an entry is unknown, missing, or cannot be.

    Examples
    --------
    >>> tables = {"a": {"memory_gib": 8, "walltime": "01:00:00", "workers": 4}}
    >>> read_profile("a", tables).minutes
    60.0
    """
    profiles = profiles or {}
    if profile.endswith(".toml"):
        path = check_path("profile", profile)
        try:
            entries: Mapping[str, Any] = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a TOML file: {error}.") from error
    elif profile in profiles:
        entries = profiles[profile]
    else:
        known = ", ".join(profiles) or "none"
        raise KeyError(
            f"The study has no table [slurm.{profile}]; it has {known}."
            f"{suggest(profile, profiles)} A file is named with its ending: "
            "slurm:FILE.toml."
        )
    where = f"Slurm profile {profile!r}"
    if not isinstance(entries, Mapping):
        raise TypeError(f"{where}: a table of entries is needed; got {entries!r}.")
    known_entries = tuple(n for n in SlurmProfile.__dataclass_fields__ if n != "name")
    for entry in entries:
        check_option(f"entry of the {where}", entry, known_entries)
    missing = [name for name in _REQUIRED if name not in entries]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(f'`{name}`' for name in missing)}.")
    values = dict(entries)
    for entry in ("prologue", "directives"):
        value = values.get(entry, [])
        if not isinstance(value, list | tuple):
            raise TypeError(f"{where}: `{entry}` must be a list; got {value!r}.")
        values[entry] = tuple(value)
    try:
        return SlurmProfile(name=profile, **values)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from error


def check_profile(profile: SlurmProfile, needs: WorkerNeeds) -> None:
    """Raise unless the jobs of a profile can do those of a study.

    Parameters
    ----------
    profile : SlurmProfile
        What is asked of Slurm.
    needs : WorkerNeeds
        The largest that a job of the study needs.

    Raises
    ------
    ValueError
        If something is too small; all of it is named.
    """
    pairs = (
        ("cores", profile.cores, needs.threads, "threads"),
        ("memory_gib", profile.memory_gib, needs.memory_gib, "GiB"),
        ("gpus_per_worker", profile.gpus_per_worker, needs.gpus, "CUDA devices"),
        ("walltime", profile.minutes, needs.minutes or 0, "minutes"),
    )
    short = [
        f"`{entry}` gives {has:g} {unit} and a job needs {wants:g}"
        for entry, has, wants, unit in pairs
        if has < wants
    ]
    if short:
        raise ValueError(
            f"Slurm profile {profile.name!r} is too small for this study: "
            f"{'; '.join(short)}. Raise these entries, or ask for less in the study."
        )


def job_script(
    profile: SlurmProfile,
    needs: WorkerNeeds,
    folder: str | Path,
    *,
    address: str | None = None,
    worker: str = "neurovis-0",
) -> str:
    """Return the script of one job, which is one worker.

    Parameters
    ----------
    profile : SlurmProfile
        What is asked of Slurm.
    needs : WorkerNeeds
        The largest that a job of the study needs.
    folder : str or Path
        Folder of the sweep, seen by all nodes: the log goes to ``slurm/JOB.log``.
    address : str, optional
        Address of the scheduler; a place-holder before it runs.
    worker : str, optional
        Name of the worker.

    Returns
    -------
    str
        Text for ``sbatch``.

    Raises
    ------
    ValueError
        If the profile is too small, or the folder has a name that Slurm cannot take.
    """
    check_profile(profile, needs)
    folder = Path(folder).absolute()
    if set('"\\\n') & set(str(folder)):
        raise ValueError(
            f"Slurm takes no quotes and backslashes in names of folders: {folder}."
        )
    log = f"{folder}/slurm/".replace("%", "%%") + "%j.log"
    options = [
        "--job-name=neurovis",
        f'--output="{log}"',
        *([f"--partition={profile.partition}"] if profile.partition else []),
        *([f"--account={profile.account}"] if profile.account else []),
        "--ntasks=1",
        f"--cpus-per-task={profile.cores}",
        f"--mem={round(profile.memory_gib * 1024)}M",
        f"--time={profile.walltime}",
    ]
    if profile.gpus_per_worker and not re.search(
        r"(?m)^(--gres|--gpus|-G)", "\n".join(profile.directives)
    ):
        options.append(f"--gres=gpu:{profile.gpus_per_worker}")
    encryption = encryption_files(folder) if profile.encryption else None
    command = worker_command(
        address or f"{'tls' if encryption else 'tcp'}://SCHEDULER:PORT",
        worker,
        python=profile.python or sys.executable,
        memory_gib=profile.memory_gib,
        limit_gib=profile.memory_gib - _OVERHEAD_GIB,
        gpus=profile.gpus_per_worker,
        scratch=folder / SCRATCH,
        encryption=encryption,
        interface=profile.interface,
    )
    variables = worker_variables(needs.threads)
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in (*options, *profile.directives)),
            "",
            *profile.prologue,
            *(f"export {name}={value}" for name, value in variables.items()),
            f"exec {shlex.join(command)}",
            "",
        ]
    )
