"""The jobs of a study up to the point where each would begin to compute.

Every experiment checks its arguments and opens its data before it opens its folder
(`tasks.runs.begin_run`), and refuses the folder of another run. A rehearsal gives it
such a folder: what is wrong comes to light before anything is computed.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from neurovis.core.files import write_json
from neurovis.core.log import progress
from tasks.study import Job, Study
from tasks.study_calls import call_task

_OTHER_RUN = "<rehearsal of a study>"


def rehearse(study: Study, *, store: str | Path | None = None) -> None:
    """Check jobs of a study as their experiments check them; nothing is computed.

    Data are opened and networks loaded. Each model, subject and region of an experiment
    is in at least one of the jobs that are checked, not every combination.

    Parameters
    ----------
    study : Study
        The study.
    store : str or Path, optional
        Where prepared responses are kept, for the jobs to find them; in a temporary
        folder by default.

    Raises
    ------
    ValueError
        If there are jobs that could not run; all that were found are named.
    """
    jobs = list(_cover(study.jobs))
    wrong = []
    with (
        tempfile.TemporaryDirectory(prefix="neurovis-rehearsal-") as name,
        progress(len(jobs), "checking", unit="job") as bar,
    ):
        out = Path(name) / "run"
        write_json(out / "run.json", {"task": _OTHER_RUN})
        kept = Path(name) / "store" if store is None else Path(store)
        for job in jobs:
            if error := _error_of(job, out, kept):
                wrong.append(f"{job.title}: {error}")
            bar.update()
    if wrong:
        lines = "\n".join(f"  {line}" for line in wrong)
        raise ValueError(
            f"{len(wrong)} of {len(jobs)} jobs that were checked cannot run; nothing "
            f"was computed. Correct the study:\n{lines}"
        )


def _error_of(job: Job, out: Path, store: Path) -> str:
    try:
        call_task(job, out, store=store, device="cpu")
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        text = str(error.args[0] if isinstance(error, KeyError) else error)
        return "" if repr(_OTHER_RUN) in text else text
    raise RuntimeError(f"{job.task} did not open its folder by `begin_run`.")


def _cover(jobs: Sequence[Job]) -> Iterator[Job]:
    """Yield jobs so that every value of an axis is in one of them."""
    seen: set[tuple[Any, ...]] = set()
    for job in jobs:
        kind = (job.task, job.data, repr(job.options))
        values = {
            (*kind, axis, repr(value))
            for axis, value in (
                ("model", job.model),
                ("subject", job.subject),
                ("region", job.region),
            )
        }
        if not values <= seen:
            seen |= values
            yield job
