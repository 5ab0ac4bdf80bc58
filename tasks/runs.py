"""A run: searches that resume, one folder, tables with provenance.

Every experiment keeps finished parts of its work in a store beside its tables, so
that an interrupted run goes on where it stopped and ends with identical tables.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from neurovis.core.checks import check_option
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    check_writable_folder,
    plain,
    read_json,
    read_table,
    sha256_json,
    write_json,
    write_table,
)
from neurovis.core.log import progress
from neurovis.core.observers import Searcher, SearchRules, SearchTrial
from neurovis.core.provenance import code_fingerprint, collect
from neurovis.core.store import Store
from neurovis.core.types import FIXATION_COLUMNS, Provenance, Score
from tasks.models import check_names

SCORE_FILES = ("scores.parquet", "provenance.json")
"""What `Score.save` writes."""

# Ends of the names that runs write: a part of somebody's archive is no leftover.
_WRITTEN = (
    *(".probe", ".csv", ".json", ".parquet", ".png", ".html", ".npy"),
    *(".npz", ".safetensors", ".mgh", ".nii.gz", ".svg", ".txt"),
)
_OLD_S = 3600.0


@dataclass(frozen=True)
class SearchBlock:
    """Displays that are searched under one set of rules and kept together.

    Parameters
    ----------
    fingerprint : str
        Content hash of the displays, targets and areas.
    rules : SearchRules
        Rules of the experiment.
    n_trials : int
        Number of displays.
    load : callable
        Returns the displays, a list of SearchTrial; called only when something has
        to be searched.
    """

    fingerprint: str
    rules: SearchRules
    n_trials: int
    load: Callable[[], Sequence[SearchTrial]]


def search_blocks(
    searchers: Sequence[Searcher],
    blocks: Sequence[SearchBlock],
    *,
    task: str,
    seed: int = 0,
    store: Store | None = None,
) -> list[list[pd.DataFrame]]:
    """Let every observer search every block.

    Parameters
    ----------
    searchers : sequence of Searcher
        Observers with distinct names.
    blocks : sequence of SearchBlock
        Displays.
    task : str
        Name of the experiment, part of what is kept.
    seed : int, default 0
        Seed of observers that draw.
    store : Store, optional
        Where finished blocks are kept; with it an interrupted run resumes.

    Returns
    -------
    list of list of DataFrame
        For each observer, one fixation table per block, with the column `found`.

    Raises
    ------
    ValueError
        If two observers share a name, or one has that of people.
    """
    check_names(searchers)
    code = code_fingerprint()
    n_trials = sum(block.n_trials for block in blocks)
    bar = progress(n_trials * len(searchers), "searching", unit="trial")
    tables: list[list[pd.DataFrame]] = []
    with bar:
        for searcher in searchers:
            tables.append([])
            for block in blocks:
                found = _search_block(searcher, block, task, seed, store, code)
                tables[-1].append(found.assign(subject=searcher.name))
                bar.update(block.n_trials)
    return tables


def _search_block(
    searcher: Searcher,
    block: SearchBlock,
    task: str,
    seed: int,
    store: Store | None,
    code: str,
) -> pd.DataFrame:
    """Return the fixations of one block, from the store when they are there."""

    def compute() -> pd.DataFrame:
        paths = searcher.search(block.load(), block.rules, seed=seed)
        tables = [path.to_table().assign(found=path.found) for path in paths]
        return pd.concat(tables, ignore_index=True)

    if store is None:
        return compute()
    parts = {
        "task": task,
        "code": code,
        "observer": dict(searcher.identity),
        "stimuli": block.fingerprint,
        "rules": asdict(block.rules),
        "seed": seed,
    }
    return store.get_or_compute(parts, compute)


def model_fingerprints(observers: Sequence[Any]) -> dict[str, str]:
    """Return what identifies each model, for the provenance of a run.

    Parameters
    ----------
    observers : sequence of object with `name` and `identity`
        Models.

    Returns
    -------
    dict of str to str
        SHA-256 of each identity, under ``model <name>``.
    """
    return {
        f"model {observer.name}": sha256_json(dict(observer.identity))
        for observer in observers
    }


def run_provenance(
    observers: Sequence[Any],
    arguments: Mapping[str, Any],
    *,
    fingerprints: Mapping[str, str],
    device: object = "cpu",
    dtype: str = "float32",
    notes: Sequence[str] = (),
) -> Provenance:
    """Return how a run came about.

    Parameters
    ----------
    observers : sequence of object with `name`, `notes` and `identity`
        Models.
    arguments : mapping
        Full call, with its "seed".
    fingerprints : mapping of str to str
        Content hashes of stimuli and data; those of the models are added.
    device : str or torch.device, default "cpu"
        Where models computed.
    dtype : str, default "float32"
        In which precision.
    notes : sequence of str
        What a reader must know besides the notes of the models.

    Returns
    -------
    Provenance
        For the score of the run.
    """
    return collect(
        arguments["seed"],
        device=device,
        dtype=dtype,
        fingerprints={**fingerprints, **model_fingerprints(observers)},
        call=arguments,
        notes=[*(note for observer in observers for note in observer.notes), *notes],
    )


def is_untrained(observer: Any) -> bool:
    """Return whether a model says that its weights are untrained.

    Parameters
    ----------
    observer : object with `notes`
        Model.

    Returns
    -------
    bool
        True for random weights.
    """
    # A label may have the word too.
    return any(
        "untrained" in note.removeprefix(f"{observer.name}: ")
        for note in observer.notes
    )


def begin_run(out: str | Path, arguments: Mapping[str, Any]) -> Path:
    """Open the folder of a run, or of the same run interrupted before.

    Of the latter, temporary files that killed processes left an hour ago or earlier
    are removed.

    Parameters
    ----------
    out : str or Path
        Folder; made when missing.
    arguments : mapping
        Full call as JSON values, with the name of the experiment under "task".

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If the folder holds a run with other arguments, or one has no JSON form.
    DataCorruptError
        If its ``run.json`` is damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If it cannot be written.
    """
    now: dict[str, Any] = plain(arguments)
    folder = check_writable_folder(out)
    if not (folder / "run.json").exists():
        write_json(folder / "run.json", now)
        _remove_old_leftovers(folder.glob("run.json.part-*"))
        return folder
    before = read_call(folder)
    names = [*now, *(k for k in before if k not in now)]
    differing = [k for k in names if before.get(k) != now.get(k)]
    if differing:
        k = differing[0]
        raise ValueError(
            f"{out} holds a run with {k}={before.get(k)!r}; now {k}={now.get(k)!r} was "
            "asked for. Choose another folder, or remove this one."
        )
    _remove_old_leftovers(folder.rglob("*.part-*"))
    return folder


def _remove_old_leftovers(paths: Iterable[Path]) -> None:
    """Remove temporary files of killed processes, if nobody can be writing them.

    Another process may be at work in the folder. On this machine its number tells that
    it lives; on another one, that its file is young.
    """
    for path in list(paths):
        name, _, number = path.name.rpartition(".part-")
        if not (name.endswith(_WRITTEN) and re.fullmatch("[0-9]{1,9}", number)):
            continue
        with suppress(FileNotFoundError):  # it has just got its name
            age_s = time.time() - path.stat().st_mtime
            if age_s > _OLD_S and path.is_file() and not _is_alive(int(number)):
                path.unlink()


def _is_alive(process: int) -> bool:
    with suppress(PermissionError):  # somebody else's
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def check_same_run(out: str | Path, arguments: Mapping[str, Any]) -> None:
    """Refuse a folder of another run, before anything is loaded.

    Parameters
    ----------
    out : str or Path
        Folder; may be missing.
    arguments : mapping
        As `begin_run`.

    Raises
    ------
    ValueError
        If the folder holds a run with other arguments.
    """
    if (Path(out) / "run.json").exists():
        begin_run(out, arguments)


def read_call(folder: Path) -> dict[str, Any]:
    """Read what `begin_run` wrote.

    Parameters
    ----------
    folder : Path
        Folder of a run.

    Returns
    -------
    dict
        Full call, with the name of the experiment under "task".

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If ``run.json`` is missing, damaged, or no call.
    """
    file = folder / "run.json"
    call = read_json(file)
    if not isinstance(call, dict):
        raise DataCorruptError(
            f"{file} is not the call of a run. Choose another folder, or remove it."
        )
    return call


@dataclass(frozen=True)
class Run:
    """What a run left in its folder.

    Parameters
    ----------
    folder : Path
        Where it lies.
    trials, fixations : DataFrame
        Responses of all models; `fixations` is empty where nobody moved the eyes.
    scores : DataFrame
        Scores of all models and of people.
    provenance : Provenance
        How it came about.
    """

    folder: Path
    trials: pd.DataFrame
    fixations: pd.DataFrame
    scores: pd.DataFrame
    provenance: Provenance

    def mark(self, model: str) -> str:
        """Return the name of a model, with a word when its weights are random.

        Parameters
        ----------
        model : str
            Name in the tables.

        Returns
        -------
        str
            For figures and tables.
        """
        start = f"{model}: "
        notes = [note for note in self.provenance.notes if note.startswith(start)]
        untrained = any("untrained" in note.removeprefix(start) for note in notes)
        return f"{model} (untrained)" if untrained else model


def save_run(
    folder: Path, *, trials: pd.DataFrame, score: Score, fixations: pd.DataFrame | None
) -> None:
    """Write the tables of a finished run.

    Parameters
    ----------
    folder : Path
        What `begin_run` returned.
    trials : DataFrame
        One row per trial (or picture) and observer.
    score : Score
        Scores with provenance.
    fixations : DataFrame or None
        Long table of fixations.
    """
    if fixations is None:
        fixations = pd.DataFrame(columns=list(FIXATION_COLUMNS))
    write_table(folder / "trials.parquet", trials)
    write_table(folder / "fixations.parquet", fixations)
    score.save(folder)


def load_run(folder: str | Path, task: str | None = None) -> Run:
    """Read the tables of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run.
    task : str, optional
        Experiment that it must be.

    Returns
    -------
    Run
        Its tables.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    DataCorruptError
        If one of its files is damaged.
    ValueError
        If it holds a run of another experiment.
    """
    folder = Path(folder)
    tables = ("trials.parquet", "fixations.parquet")
    score = load_scores(folder, (*tables, *SCORE_FILES), task)
    trials, fixations = (read_table(folder / name) for name in tables)
    return Run(folder, trials, fixations, score.table, score.provenance)


def load_scores(folder: Path, needed: Sequence[str], task: str | None = None) -> Score:
    """Read the scores of a finished run, whatever else it left.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    needed : sequence of str
        Files of a finished run.
    task : str, optional
        Experiment that it must be.

    Returns
    -------
    Score
        Its scores.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    DataCorruptError
        If one of its files is damaged.
    ValueError
        If it holds a run of another experiment.
    """
    absent = [name for name in needed if not (folder / name).is_file()]
    if absent:
        verb = task or "<experiment>"
        if (folder / "run.json").is_file():
            verb = read_call(folder).get("task", verb)
        raise FileNotFoundError(
            f"{folder} holds no finished run: {absent[0]} is missing. Run "
            f"`neurovis run {verb} --out {folder}` (again) to finish it."
        )
    score = Score.load(folder)
    if task is not None:
        check_option(f"task of {folder}", score.provenance.call.get("task"), (task,))
    return score
