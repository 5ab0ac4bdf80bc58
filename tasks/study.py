"""A study: experiments over a grid of models, subjects, regions and seeds.

A study is a TOML file. Each cell of its grid is one job, a pure function of what the
file says and of the content of the files that it names.
"""

import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from neurovis.core.checks import check_between, check_option, check_path, check_whole
from tasks.study_tasks import (
    SIMULATED,
    SWEEP_TASKS,
    check_model,
    check_options,
)

AXES = ("models", "subjects", "regions", "seeds")
_EXPERIMENT_KEYS = ("run", "data", *AXES, "options", "resources")
_STUDY_KEYS = ("name", "experiments", "resources", "slurm", *AXES)
# Options that name files or folders.
_PATHS = ("stimuli", "weights", "training_folder", "labelled")
_FILE_IN_MODEL = re.compile(r"(?P<mark>^file:|@)(?P<path>[^:]+)")


@dataclass(frozen=True)
class Resources:
    """What a job needs.

    Parameters
    ----------
    threads : int, default 1
        Threads of its computations. Sums are split by threads: results of another
        number differ in their last digits.
    memory_gib : float
        Memory in GiB.
    gpus : int, default 0
        CUDA devices: 0 or 1.
    minutes : float, optional
        Expected time, if the study tells one.
    disk_mib : float, optional
        What the job leaves, in MiB, if the study tells it.
    """

    threads: int = 1
    memory_gib: float = 1.5
    gpus: int = 0
    minutes: float | None = None
    disk_mib: float | None = None


@dataclass(frozen=True)
class Job:
    """One cell of a grid.

    Parameters
    ----------
    task : str
        Experiment, one of `tasks.study_tasks.SWEEP_TASKS`.
    model : str, dict or None
        Model; None takes the defaults of the experiment.
    subject : str, int or None
        Subject; None takes all.
    region : str or None
        Region; None takes all units.
    seed : int
        Seed.
    data : str or None
        Data.
    options : mapping
        Further arguments of the function of the experiment.
    resources : Resources
        What it needs; no part of its meaning.
    """

    task: str
    model: Any = None
    subject: str | int | None = None
    region: str | None = None
    seed: int = 0
    data: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)

    @property
    def model_name(self) -> str:
        """Model as text, empty for the defaults of the experiment."""
        if isinstance(self.model, dict):
            return str(self.model.get("label") or self.model["name"])
        return self.model or ""

    @property
    def title(self) -> str:
        """Short text for names of files: letters, digits, ``-``, ``_`` and ``.``."""
        subject = "" if self.subject is None else str(self.subject)
        parts = [self.task, self.model_name, subject, self.region or ""]
        text = "-".join([part for part in parts if part] + [f"seed{self.seed}"])
        return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:100]

    def meaning(self) -> dict[str, Any]:
        """Return all that the result depends on, as far as the study says it.

        Returns
        -------
        dict
            JSON values, without `resources`.
        """
        values = asdict(self)
        del values["resources"]
        return values


@dataclass(frozen=True)
class Study:
    """Jobs of a grid.

    Parameters
    ----------
    name : str
        Name of the study.
    jobs : tuple of Job
        Jobs without repeats, in the order of the file.
    profiles : mapping of str to mapping
        Tables ``[slurm.NAME]`` of the file.
    """

    name: str
    jobs: tuple[Job, ...]
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """Experiments in the order in which they come."""
        return list(dict.fromkeys(job.task for job in self.jobs))


def read_study(path: str | Path) -> Study:
    """Read and check the file of a study.

    Parameters
    ----------
    path : str or Path
        TOML file. ``[[experiments]]`` tables have ``run`` (one of
        `tasks.study_tasks.SWEEP_TASKS`), the axes ``models``, ``subjects``, ``regions``
        and ``seeds`` (lists; what is left out is not split), ``data``, a table
        ``options`` (arguments of the function of the experiment) and a table
        ``resources`` (`Resources`). Axes and resources at the top hold for all
        experiments that take them and do not name their own. Paths are relative to the
        file.

    Returns
    -------
    Study
        Its jobs.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or one that it names is missing.
    TypeError, ValueError, KeyError
        If it is no TOML, or has an unknown or wrong entry.
    """
    path = Path(check_path("study", path))
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}.") from error
    return make_study(values, base=path.absolute().parent, where=str(path))


def make_study(
    values: Mapping[str, Any], *, base: str | Path = ".", where: str = "study"
) -> Study:
    """Check what the file of a study says, and list its jobs.

    Parameters
    ----------
    values : mapping
        As `read_study` tells.
    base : str or Path, default "."
        Folder that paths are relative to.
    where : str, default "study"
        For messages.

    Returns
    -------
    Study
        Its jobs.

    Raises
    ------
    FileNotFoundError
        If a file or folder that it names is missing.
    TypeError, ValueError, KeyError
        If an entry is unknown or wrong.

    Examples
    --------
    >>> experiment = {"run": "search-asymmetry", "models": ["chance"], "seeds": [0, 1]}
    >>> study = make_study({"name": "two seeds", "experiments": [experiment]})
    >>> [job.title for job in study.jobs]
    ['search-asymmetry-chance-seed0', 'search-asymmetry-chance-seed1']
    """
    for name in values:
        check_option(f"entry of {where}", name, _STUDY_KEYS)
    title = values.get("name")
    if not isinstance(title, str) or not title.strip():
        raise ValueError(f'{where}: `name` must be a text such as name = "my study".')
    experiments = values.get("experiments")
    if not _is_tables(experiments) or not experiments:
        raise ValueError(
            f"{where}: at least one [[experiments]] table is needed, with `run` one of "
            f"{', '.join(SWEEP_TASKS)}."
        )
    slurm = values.get("slurm", {})
    if not isinstance(slurm, dict) or not _is_tables(list(slurm.values())):
        raise ValueError(f"{where}: profiles must be tables such as [slurm.short].")
    common = {name: values[name] for name in (*AXES, "resources") if name in values}
    jobs: dict[str, Job] = {}
    for number, experiment in enumerate(experiments, start=1):
        place = f"{where}, experiment {number}"
        for job in _expand(experiment, common, Path(base), place):
            jobs.setdefault(repr(job.meaning()), job)
    return Study(title, tuple(jobs.values()), slurm)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _expand(
    experiment: Mapping[str, Any], common: Mapping[str, Any], base: Path, where: str
) -> Iterator[Job]:
    for name in experiment:
        check_option(f"entry of {where}", name, _EXPERIMENT_KEYS)
    task = check_option(f"run of {where}", experiment.get("run"), tuple(SWEEP_TASKS))
    known = SWEEP_TASKS[task]
    takes = {
        "models": known.models is not None,
        "subjects": known.has("subjects"),
        "regions": known.has("regions"),
        "seeds": True,
    }
    axes = {}
    for name in AXES:
        # A shared axis is for the experiments that have it.
        shared = common.get(name) if takes[name] else None
        axes[name] = _axis(name, experiment.get(name, shared), where)
        if axes[name] != [None] and not takes[name]:
            raise ValueError(f"{where}: {task} takes no `{name}`; remove them.")
    if axes["models"] == [None] and known.models and not known.takes_no_models:
        raise ValueError(f"{where}: {task} needs `models`, a list.")
    for model in axes["models"]:
        if model is not None:
            check_model(task, model, where)
    options = experiment.get("options", {})
    if not isinstance(options, dict):
        raise ValueError(f"{where}: `options` must be a table; got {options!r}.")
    check_options(task, options, where)
    options = {
        name: _paths(value, base, f"{where}: `{name}`") if name in _PATHS else value
        for name, value in options.items()
    }
    data = _data(task, experiment.get("data"), base, where)
    wishes = common.get("resources", {})
    resources = _resources(task, wishes, experiment.get("resources", {}), where)
    models = [_with_files(model, base) for model in axes["models"]]
    grid = itertools.product(models, axes["subjects"], axes["regions"], axes["seeds"])
    for model, subject, region, seed in grid:
        yield Job(
            task,
            model,
            subject,
            region,
            0 if seed is None else seed,
            data,
            options,
            resources,
        )


def _axis(name: str, value: Any, where: str) -> list[Any]:
    if value is None:
        return [None]
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where}: `{name}` must be a list; got {value!r}.")
    for item in value:
        if name == "seeds":
            check_whole(f"seeds of {where}", item, low=0)
        elif name == "models":
            if not isinstance(item, str | dict):
                raise ValueError(f"{where}: a model cannot be {item!r}.")
        elif not isinstance(item, str | int) or isinstance(item, bool):
            raise ValueError(f"{where}: `{name}` cannot hold {item!r}.")
    texts = [repr(item) for item in value]
    if repeated := [text for text in texts if texts.count(text) > 1]:
        raise ValueError(f"{where}: `{name}` names {repeated[0]} more than once.")
    return list(value)


def _data(task: str, data: Any, base: Path, where: str) -> str | None:
    known = SWEEP_TASKS[task]
    if data is None:
        if known.needs_data:
            raise ValueError(
                f"{where}: {task} needs `data`. See `neurovis data list` for where "
                "they come from."
            )
        return None
    if known.data is None:
        raise ValueError(f"{where}: {task} takes no `data`; remove them.")
    if not isinstance(data, str) or not data:
        raise ValueError(f"{where}: `data` must be text; got {data!r}.")
    if data.partition(":")[0] in (SIMULATED, "drawings"):
        return data
    from tasks.brain_sources import RDM_SOURCES, UNIT_SOURCES

    name, colon, path = data.partition(":")
    if colon and name in (*UNIT_SOURCES, *RDM_SOURCES):
        return f"{name}:{_existing(path, base, f'{where}: `data`')}"
    if known.models == "features":
        raise ValueError(
            f"{where}: `data` of {task} must be NAME:PATH with NAME one of "
            f"{', '.join((*UNIT_SOURCES, *RDM_SOURCES))}; got {data!r}."
        )
    return str(_existing(data, base, f"{where}: `data`"))


def _paths(value: Any, base: Path, what: str) -> Any:
    if isinstance(value, dict):
        return {name: _paths(text, base, what) for name, text in value.items()}
    # `stimuli` is a folder in some experiments and a number in others.
    return str(_existing(value, base, what)) if isinstance(value, str) else value


def _existing(text: str, base: Path, what: str) -> Path:
    path = base / Path(text).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"{what}: there is no {path}. Paths are relative to the file of the study."
        )
    return path.resolve()


def _with_files(model: Any, base: Path) -> Any:
    """Make paths in the text of a model absolute: workers run elsewhere."""
    if isinstance(model, dict):
        return {key: _with_file(value, base) for key, value in model.items()}
    if not isinstance(model, str):
        return model
    return _FILE_IN_MODEL.sub(
        lambda found: found["mark"] + _with_file(found["path"], base), model
    )


def _with_file(text: str, base: Path) -> str:
    path = base / text
    is_path = path.exists() and ("/" in text or path.is_file())
    return str(path.resolve()) if is_path else text


def _resources(task: str, common: Any, own: Any, where: str) -> Resources:
    known = SWEEP_TASKS[task]
    for table in (common, own):
        if not isinstance(table, dict):
            raise ValueError(f"{where}: `resources` must be a table; got {table!r}.")
    values = {"memory_gib": known.memory_gib, **common, **own}
    for name in values:
        check_option(f"resource of {where}", name, tuple(_resource_names()))
    check_whole(f"threads of {where}", values.get("threads", 1), low=1)
    check_whole(f"gpus of {where}", values.get("gpus", 0), low=0, high=1)
    for name in ("memory_gib", "minutes", "disk_mib"):
        if name in values:
            check_between(f"{name} of {where}", values[name], low=1e-6)
    return Resources(**values)


def _resource_names() -> Sequence[str]:
    return [entry.name for entry in fields(Resources)]
