"""How one job of a study calls the function of its experiment."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from tasks.study import Job
from tasks.study_tasks import (
    IMAGE_GENERATORS,
    SIMULATED,
    SWEEP_TASKS,
    SweepTask,
    find,
    model_spec,
)


def call_task(job: Job, out: Path, *, store: Path, device: str) -> None:
    """Run one cell of a grid; its tables are left in a folder.

    Parameters
    ----------
    job : Job
        The cell.
    out : Path
        Folder of the run.
    store : Path
        Where features are kept that other jobs need too.
    device : str
        Where to compute.
    """
    known = SWEEP_TASKS[job.task]
    arguments: dict[str, Any] = {"out": out}
    fills: dict[str, Any] = {"seed": job.seed, "device": device, "store": store}
    arguments |= {name: value for name, value in fills.items() if known.has(name)}
    rest = dict(job.options)
    if known.settings is not None and known.settings_class is not None:
        kind = find(known.settings_class)
        names = {field.name for field in fields(kind)}
        chosen = {name: rest.pop(name) for name in list(rest) if name in names}
        chosen = {k: tuple(v) if isinstance(v, list) else v for k, v in chosen.items()}
        if "seed" in names and not known.has("seed"):
            chosen["seed"] = job.seed
        if known.models in names and job.model is not None:
            chosen[str(known.models)] = (job.model,)
        if chosen:
            arguments[known.settings] = kind(**chosen)
    if known.models is not None and known.has(known.models):
        if job.model is not None:
            arguments[known.models] = _make_model(known, job.model, device)
        elif known.needs_models:
            arguments[known.models] = None
    if job.data is not None and known.data is not None:
        arguments[known.data] = _make_data(job, job.data)
    if job.subject is not None:
        arguments["subjects"] = [job.subject]
    if job.region is not None:
        arguments["regions"] = [job.region]
    known.function(**arguments, **rest)


def _make_model(known: SweepTask, model: Any, device: str) -> Any:
    if known.form == "specs":
        return [model_spec(model, "the study")]
    if known.form == "names":
        return [model]
    if known.load is None:
        return model
    if known.load == IMAGE_GENERATORS:
        return find(known.load)(model, device=device)
    name, _, weights = model.partition("@")
    return find(known.load)(name, weights or None)


def _make_data(job: Job, data: str) -> Any:
    if job.task == "object-search" and data == SIMULATED:
        from tasks.simulated_search import SimulatedSearch

        return SimulatedSearch(seed=job.seed)
    if job.task == "recognition" and data == SIMULATED:
        return None  # it simulates people itself
    if job.task == "brain-ranking":
        return [data]
    return data
