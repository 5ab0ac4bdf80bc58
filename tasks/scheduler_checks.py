"""What a scheduler that others started must offer before jobs are sent to it."""

import platform
import secrets
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from neurovis.core.files import write_text
from neurovis.core.provenance import source_fingerprint
from tasks.engine_workers import GPU_TAG, MEMORY_TAG, SCRATCH, WorkerNeeds

_NUMERICAL = ("numpy", "scipy", "pandas", "torch")


def check_workers(
    client: Any, folder: Path, on_event: Callable[[str], None], *, address: str
) -> None:
    """Raise unless all workers run this code and see the folder of the sweep.

    Parameters
    ----------
    client : distributed.Client
        Connected, with workers.
    folder : Path
        Folder of the sweep.
    on_event : callable
        Takes sentences for the user: numerical packages that differ are told.
    address : str
        Name of the scheduler, for messages.

    Raises
    ------
    ValueError
        If a worker runs other versions or other code.
    FileNotFoundError
        If a worker does not see the folder.
    """
    token = secrets.token_hex(8)
    file = folder / SCRATCH / f"seen-{token}.txt"
    write_text(file, token)
    try:
        answers = client.run(_make_probe(str(file), _NUMERICAL), on_error="return")
    finally:
        file.unlink(missing_ok=True)
    here = {
        "python": platform.python_version(),
        "distributed": version("distributed"),
        "neurovis": version("neurovis"),
        "source": source_fingerprint(),
    }
    for worker, answer in sorted(answers.items()):
        _check_answer(worker, answer, here, token, folder, address)
    told = {name: version(name) for name in _NUMERICAL}
    for name, mine in told.items():
        others = sorted({answer[name] for answer in answers.values()} - {mine})
        if others:
            on_event(
                f"{name} is {mine} here and {', '.join(others)} on workers: numbers "
                "can differ in their last digits"
            )


def _make_probe(file: str, packages: tuple[str, ...]) -> Callable[[], dict[str, str]]:
    # A function inside a function is sent with its code: it also runs where neurovis
    # is missing or older.
    def probe() -> dict[str, str]:
        import platform
        import time
        from importlib.metadata import PackageNotFoundError, version
        from pathlib import Path

        def version_of(package: str) -> str:
            try:
                return version(package)
            except PackageNotFoundError:
                return "not installed"

        names = ("distributed", "neurovis", *packages)
        answer = {name: version_of(name) for name in names}
        answer["python"] = platform.python_version()
        try:
            from neurovis.core.provenance import source_fingerprint

            answer["source"] = source_fingerprint()
        except ImportError as error:
            answer["source"] = f"cannot be imported ({error})"
        answer["token"] = ""
        # Network file systems show a new file to others after a while.
        for _ in range(5):
            if Path(file).is_file():
                answer["token"] = Path(file).read_text()
                break
            time.sleep(0.5)
        return answer

    return probe


def _check_answer(
    worker: str,
    answer: dict[str, str] | BaseException,
    here: Mapping[str, str],
    token: str,
    folder: Path,
    address: str,
) -> None:
    if isinstance(answer, BaseException):
        raise ValueError(
            f"The worker {worker} of {address} could not be asked: {answer!r}."
        )
    for name in ("python", "distributed", "neurovis"):
        if answer[name] != here[name]:
            raise ValueError(
                f"The worker {worker} of {address} has {name} {answer[name]} and this "
                f"process {here[name]}. Start the workers from this environment."
            )
    if answer["source"] != here["source"]:
        raise ValueError(
            f"The worker {worker} of {address} runs other source code of neurovis "
            f"{here['neurovis']} than this process ({answer['source'][:12]}, "
            f"{here['source'][:12]} here). Start the workers anew, from this "
            "environment."
        )
    if answer["token"] != token:
        raise FileNotFoundError(
            f"The worker {worker} of {address} does not see the folder {folder}. "
            "Choose for `--out` a folder that all workers share, under the same path."
        )


def check_tags(
    workers: Mapping[str, Mapping[str, Any]],
    needs: WorkerNeeds,
    on_event: Callable[[str], None],
    *,
    address: str,
) -> None:
    """Raise unless a worker has what the largest job needs.

    Parameters
    ----------
    workers : mapping of str to mapping
        As `distributed.Client.scheduler_info` tells them.
    needs : WorkerNeeds
        The largest that a job needs.
    on_event : callable
        Takes sentences for the user: workers that get no jobs are told.
    address : str
        Address of the scheduler.

    Raises
    ------
    ValueError
        If there is none, or a worker does several jobs in one process.
    """
    tags = f"{MEMORY_TAG}={needs.memory_gib:g}"
    if needs.gpus:
        tags += f",{GPU_TAG}={needs.gpus}"
    how = f'Start workers by: dask worker {address} --nthreads 1 --resources "{tags}"'
    tagged = [w for w in workers.values() if w.get("resources", {}).get(MEMORY_TAG)]
    for worker in tagged:
        if worker["nthreads"] != 1:
            raise ValueError(
                f"The worker {worker['name']} of {address} has {worker['nthreads']} "
                f"threads: jobs would share its process. {how}"
            )
    able = [
        worker
        for worker in tagged
        if worker["resources"][MEMORY_TAG] >= needs.memory_gib
        and worker["resources"].get(GPU_TAG, 0) >= needs.gpus
    ]
    if not able:
        raise ValueError(
            f"None of the {len(workers)} worker(s) of {address} has {tags}, which the "
            f"largest job of this study needs. {how}"
        )
    if len(able) < len(workers):
        on_event(
            f"{len(workers) - len(able)} of {len(workers)} workers of {address} lack "
            f"{tags}: the largest jobs do not run there"
        )
