"""Search in object arrays, in Waldo scenes and in natural designs.

Fixations of 15 observers for each set, and of the published eccNET and IVSN, as they
stand in the repository of Gupta et al. (2021).

References
----------
Zhang, Feng, Ma, Lim, Zhao and Kreiman (2018). Finding any Waldo with zero-shot
invariant and efficient visual search. Nature Communications 9:3730.
doi:10.1038/s41467-018-06217-x (stimuli and observers).
Gupta, Zhang, Wu, Wolfe and Kreiman (2021). Visual search asymmetry: deep nets and
humans share similar inherent biases. NeurIPS 34. arXiv:2106.02953.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.gaze import GazeData, make_gaze_data
from data_loaders.source_files import content_of, read_arrays
from neurovis.core.checks import check_option, check_path

NATURAL_SEARCH_SETS = ("ObjArr", "Waldo", "NaturalDesign")
NATURAL_SEARCH_OBSERVERS = ("human", "eccNET", "IVSN")
WIDTH_PX, HEIGHT_PX = 1280, 1024
PX_PER_DEG = 156 / 5
_N_STIMULI = {"ObjArr": 300, "Waldo": 67, "NaturalDesign": 240}
_FILE = "natural_search_original.npz"
_ROOTS = ("out", "vs_saccade_exp/out", ".")
# The publication stores (x, y) for one set and (row, column) for the others.
_SWAPPED = ("Waldo", "NaturalDesign")
# Sets whose flags of people stand in another order than their fixations.
_NOT_ALIGNED = {
    "ObjArr": "The flags of people that tell at which fixation the target was found "
    "stand in another order of trials than their fixations: `found` is undefined, and "
    "`cp_index` serves for means over trials only. Scanpaths of people go on after "
    "the target was first fixated.",
    "NaturalDesign": "The flags of people that tell at which fixation the target was "
    "found contradict their fixations trial by trial: `found` is undefined, and "
    "`cp_index` serves for means over trials only.",
}


def load_natural_search(
    folder: str | Path,
    dataset: str = "all",
    *,
    observers: str | Sequence[str] = "human",
) -> GazeData:
    """Load fixations of people and of published models in natural search.

    Parameters
    ----------
    folder : str or Path
        Folder with ``natural_search_original.npz`` (arrays ``<dataset>/fix/...``),
        or the published repository, its ``vs_saccade_exp`` or its ``out`` folder
        with ``<dataset>/fix/human_all.npy``, ``ifix/I_human_all.npy``,
        ``cp/CP_human_all.npy`` and ``target_pos.npy``.
    dataset : {"all", "ObjArr", "Waldo", "NaturalDesign"}, default "all"
        Which of the three sets, or all in one: identities of displays and people
        are then "<dataset>/001" and "<dataset>/human01", because the people of the
        sets are numbered anew.
    observers : str or sequence of str, default "human"
        "human" (15 people), "eccNET", "IVSN".

    Returns
    -------
    GazeData
        `subject` is "human01".."human15" or the name of the model, `stimulus_id`
        the number of the display from 1 ("001"), `trial` that number minus 1 (of
        "all": counted on from set to set).
        Positions are in the frame of 1280 x 1024 px with 31.2 px per degree;
        fixation 0 is the initial one. Further columns:

        - stimuli: `target_x_px`, `target_y_px` (px, centre of the target; NaN for
          ObjArr). The size of a target is not known: its box is NaN;
        - trials: `cp_index` (nullable int, the fixation at which the target was
          found by the published flags, missing when never) and `found` (nullable
          bool, whether there is such a fixation; missing where flags and fixations
          of people do not belong together: ObjArr and NaturalDesign).

        Durations, `response`, `rt_ms` and `correct` are undefined.

    Raises
    ------
    FileNotFoundError
        If the folder or a file is not there.
    DataCorruptError
        If a file is damaged or holds what cannot be.
    ValueError
        If `dataset` or an observer is unknown.
    """
    folder = check_path("folder", folder, kind="folder")
    check_option("dataset", dataset, ("all", *NATURAL_SEARCH_SETS))
    names = [observers] if isinstance(observers, str) else list(observers)
    for name in names or [""]:
        check_option("observers", name, NATURAL_SEARCH_OBSERVERS)
    several = dataset == "all"
    stimuli, trials, fixations, notes = [], [], [], []
    offset = 0
    for each in NATURAL_SEARCH_SETS if several else (dataset,):
        displays = _make_stimuli(folder, each)
        parts = [_read_observer(folder, each, name) for name in dict.fromkeys(names)]
        prefix = f"{each}/" if several else ""
        stimuli.append(_prefixed(displays, prefix))
        trials += [_prefixed(part[0], prefix, offset) for part in parts]
        fixations += [_prefixed(part[1], prefix, offset) for part in parts]
        if "human" in names and each in _NOT_ALIGNED:
            notes.append(f"{each}: {_NOT_ALIGNED[each]}")
        offset += len(displays)
    with content_of(folder):
        return make_gaze_data(
            "natural-search" if several else f"natural-search-{dataset}",
            trials=pd.concat(trials, ignore_index=True),
            fixations=pd.concat(fixations, ignore_index=True),
            stimuli=pd.concat(stimuli, ignore_index=True),
            px_per_deg=PX_PER_DEG,
            notes=notes,
        )


def _prefixed(table: pd.DataFrame, prefix: str, offset: int = 0) -> pd.DataFrame:
    """Tell the displays, people and trials of a set from those of another."""
    table = table.assign(stimulus_id=prefix + table["stimulus_id"])
    if "subject" in table:
        person = table["subject"].str.startswith("human")
        subject = table["subject"].where(~person, prefix + table["subject"])
        table = table.assign(subject=subject, trial=table["trial"] + offset)
    return table


def _stimulus_ids(dataset: str) -> list[str]:
    return [f"{i + 1:03d}" for i in range(_N_STIMULI[dataset])]


def _make_stimuli(folder: Path, dataset: str) -> pd.DataFrame:
    n = _N_STIMULI[dataset]
    row_col = np.full((n, 2), np.nan)
    if dataset in _SWAPPED:
        path, arrays = _read(folder, dataset, {"target_pos": "target_pos"})
        row_col = arrays["target_pos"].astype(np.float64)
        with content_of(path):
            if row_col.shape != (n, 2) or not np.isfinite(row_col).all():
                raise ValueError(
                    f"{dataset}/target_pos must have shape ({n}, 2) and be finite; it "
                    f"has shape {row_col.shape}."
                )
    return pd.DataFrame(
        {
            "stimulus_id": _stimulus_ids(dataset),
            "width_px": WIDTH_PX,
            "height_px": HEIGHT_PX,
            "target_x_px": row_col[:, 1],
            "target_y_px": row_col[:, 0],
        }
    )


def _read_observer(
    folder: Path, dataset: str, observer: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the trials and fixations of people or of one model."""
    who = "human_all" if observer == "human" else observer
    files = {f"fix/{who}": f"fix/{who}", f"ifix/{who}": f"ifix/I_{who}"}
    path, arrays = _read(folder, dataset, {**files, f"cp/{who}": f"cp/CP_{who}"})
    fix, ifix, cp = (arrays[f"{part}/{who}"] for part in ("fix", "ifix", "cp"))
    if ifix.shape == (len(ifix), 1):
        ifix = ifix[:, 0]
    n_stimuli = _N_STIMULI[dataset]
    with content_of(path):
        _check_arrays(f"{dataset}/{who}", fix, ifix, cp, n_stimuli)
    n_observers = len(fix) // n_stimuli
    people = [f"human{i + 1:02d}" for i in range(n_observers)]
    found = np.asarray(cp.any(axis=1))
    index = pd.array(np.argmax(cp, axis=1), dtype="Int64")
    index[~found] = pd.NA
    flags = pd.Series(found, dtype="boolean")
    if observer == "human" and dataset in _NOT_ALIGNED:
        flags[:] = pd.NA
    person = np.repeat(people, n_stimuli) if observer == "human" else observer
    trials = pd.DataFrame(
        {
            "subject": person,
            "stimulus_id": _stimulus_ids(dataset) * n_observers,
            "trial": np.tile(np.arange(n_stimuli), n_observers),
            "found": flags,
            "cp_index": index,
        }
    )
    first, second = (0, 1) if dataset not in _SWAPPED else (1, 0)
    trial, fixation = np.nonzero(np.arange(fix.shape[1]) < ifix[:, None])
    points = fix[trial, fixation].astype(np.float64)
    fixations = trials[["subject", "stimulus_id", "trial"]].iloc[trial]
    fixations = fixations.reset_index(drop=True).assign(
        fixation=fixation, x_px=points[:, first], y_px=points[:, second]
    )
    return trials, fixations


def _check_arrays(
    name: str,
    fix: NDArray[Any],
    ifix: NDArray[Any],
    cp: NDArray[Any],
    n_stimuli: int,
) -> None:
    """Raise ValueError unless the three arrays can belong together."""
    shapes = fix.ndim == 3 and fix.shape[2:] == (2,) and fix.shape[:2] == cp.shape
    if not shapes or ifix.shape != cp.shape[:1]:
        raise ValueError(
            f"The arrays of {name} must have the shapes (trials, fixations, 2), "
            f"(trials,) and (trials, fixations); they have {fix.shape}, {ifix.shape} "
            f"and {cp.shape}."
        )
    people = name.endswith("human_all")
    if not len(fix) or len(fix) % n_stimuli or not (people or len(fix) == n_stimuli):
        raise ValueError(
            f"The arrays of {name} must have {n_stimuli} trials per observer; they "
            f"have {len(fix)}."
        )
    whole = np.array_equal(ifix, np.rint(ifix))
    if not whole or ifix.min() < 1 or ifix.max() > fix.shape[1]:
        raise ValueError(
            f"The numbers of fixations of {name} must be whole and within [1, "
            f"{fix.shape[1]}]; they run from {ifix.min()} to {ifix.max()}."
        )
    if not np.isin(cp, [0, 1]).all() or cp.sum(axis=1).max() > 1:
        raise ValueError(
            f"The flags of {name} must be 0, with at most one 1 per trial."
        )


def _read(
    folder: Path, dataset: str, files: dict[str, str]
) -> tuple[Path, dict[str, NDArray[Any]]]:
    """Return where the arrays lie, and the arrays under their names in the npz file."""
    if (folder / _FILE).is_file():
        path = folder / _FILE
        arrays = read_arrays(path, [f"{dataset}/{name}" for name in files])
        return path, {name: arrays[f"{dataset}/{name}"] for name in files}
    roots = [folder / root / dataset for root in _ROOTS]
    root = next((r for r in roots if r.is_dir()), None)
    if root is None:
        raise FileNotFoundError(
            f"`folder` must hold {_FILE}, or out/{dataset} of the published "
            f"repository; {folder} has neither."
        )
    return root, {
        name: read_arrays(root / f"{file}.npy", [name])[name]
        for name, file in files.items()
    }
