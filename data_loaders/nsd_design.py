"""Which picture was shown when in the Natural Scenes Dataset.

Three files tell it, each counting from another base: ``nsd_expdesign.mat`` (all from
1), ``nsd_stim_info_merged.csv`` (pictures from 0, trials from 1, 0 for "never") and
``responses.tsv`` of each subject (all from 1). Here everything counts from 0, except
subjects and sessions. They are read in full and compared with each other.

Allen et al. 2022, Nat Neurosci 25, 116-126, doi:10.1038/s41593-021-00962-x.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import scipy.io
from numpy.typing import ArrayLike, NDArray

from data_loaders.nsd_files import (
    TRIALS_PER_SESSION,
    check_sessions,
    subject_name,
    subject_number,
)
from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt

DESIGN_FILE = "nsddata/experiments/nsd/nsd_expdesign.mat"

# Runs 1, 3, ... of a session have 63 trials, runs 2, 4, ... have 62.
_RUN_LENGTHS = (63, 62) * 6
_MAT_ERRORS = (
    *DECODER_ERRORS,
    zlib.error,
    NotImplementedError,  # an unknown version of the format
    OverflowError,
    MemoryError,  # a header that claims a huge array
    scipy.io.matlab.MatReadError,
)
_ADVICE = " Get both files again from one release of the data."


@dataclass(frozen=True)
class NSDDesign:
    """The order of pictures for all subjects.

    Parameters
    ----------
    path : Path
        Where it was read.
    order : ndarray of int64, shape (n_trials,)
        Position (0-based) in the list of a subject that each trial shows. It is one
        for all subjects; who came for fewer sessions saw its beginning.
    images : ndarray of int64, shape (n_subjects, n_positions)
        Picture (0-based of 73,000) at each position of the list of each subject.
    shared : ndarray of int64, shape (n_shared,)
        Pictures in the lists of all subjects, 0-based, ascending.
    """

    path: Path
    order: NDArray[np.int64]
    images: NDArray[np.int64]
    shared: NDArray[np.int64]

    @property
    def n_subjects(self) -> int:
        """Number of lists."""
        return len(self.images)

    @property
    def n_sessions(self) -> int:
        """Sessions that were planned."""
        return len(self.order) // TRIALS_PER_SESSION

    def shown(self, subject: int | str) -> NDArray[np.int64]:
        """Return the picture of each planned trial of a subject.

        Parameters
        ----------
        subject : int or str
            1-based number, or "subj01".

        Returns
        -------
        ndarray of int64, shape (n_trials,)
            0-based of 73,000.

        Raises
        ------
        ValueError
            If the design has no such subject.
        """
        number = subject_number(subject)
        if number > self.n_subjects:
            raise ValueError(
                f"`subject` {subject_name(subject)} is not in {self.path}, which has "
                f"{self.n_subjects} subjects."
            )
        shown: NDArray[np.int64] = self.images[number - 1][self.order]
        return shown


# ------------------------------------------------------------------- reading


def read_design(path: str | Path) -> NSDDesign:
    """Read ``nsd_expdesign.mat`` of MATLAB version 5 to 7, or 7.3 (HDF5).

    Parameters
    ----------
    path : str or Path
        The file, or the root of the data set.

    Returns
    -------
    NSDDesign
        Its numbers, from 0.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is damaged, lacks an array, or its arrays contradict each other.
    """
    path = Path(path)
    path = check_path(
        "nsd_expdesign.mat", path / DESIGN_FILE if path.is_dir() else path
    )
    arrays = _read_mat(path, ("masterordering", "subjectim", "sharedix"))
    order, images, shared = (_from_one(path, n, a) for n, a in arrays.items())
    order, shared = order.ravel(), np.sort(shared.ravel())
    if images.ndim != 2 or order.max() >= images.shape[1]:
        raise DataCorruptError(
            f"{path} has `masterordering` up to {order.max() + 1}, but `subjectim` of "
            f"shape {images.shape}: one row per subject and one column per position "
            "are needed. Are its axes swapped?"
        )
    if len(order) % TRIALS_PER_SESSION or not len(order):
        raise DataCorruptError(
            f"{path} must have {TRIALS_PER_SESSION} trials per session in "
            f"`masterordering`; it has {len(order)} trials."
        )
    # Only the set of the first columns is relied on, never their order.
    for number, row in enumerate(images, 1):
        if len(np.unique(row)) != len(row):
            raise DataCorruptError(f"{path} repeats a picture of subject {number}.")
        if not np.array_equal(np.sort(row[: len(shared)]), shared):
            raise DataCorruptError(
                f"{path} must list the {len(shared)} pictures of `sharedix` in the "
                f"first columns of `subjectim`; those of subject {number} differ."
            )
    return NSDDesign(path, order, images, shared)


def _read_mat(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                # MATLAB's first axis is the last one of HDF5.
                return {n: np.asarray(file[n][()]).T for n in names}
        content = scipy.io.loadmat(path, variable_names=list(names))
        return {n: np.asarray(content[n]) for n in names}
    except _MAT_ERRORS as error:
        raise corrupt(path, "MATLAB", error) from error


def _from_one(path: Path, name: str, array: NDArray[Any]) -> NDArray[np.int64]:
    """Return whole numbers from 1 as such from 0."""
    right = array.dtype.kind in "iuf" and array.size > 0
    if not right or not (array == np.floor(array)).all() or array.min() < 1:
        raise DataCorruptError(
            f"{path} must have whole numbers from 1 in `{name}`; it has "
            f"{array.dtype} of shape {array.shape}"
            + (f" from {array.min()}." if right else ".")
        )
    return array.astype(np.int64) - 1


# -------------------------------------------------------------------- trials


def trial_table(
    design: NSDDesign,
    subject: int | str,
    *,
    sessions: Sequence[int] | None = None,
    behaviour: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the trials of a subject, chronological.

    Parameters
    ----------
    design : NSDDesign
        From `read_design`.
    subject : int or str
        1-based number, or "subj01".
    sessions : sequence of int, optional
        1-based sessions, in any order; default all that were planned.
    behaviour : DataFrame, optional
        From `read_behaviour`: its runs are taken. Otherwise runs follow the rule
        that odd ones have 63 trials and even ones 62.

    Returns
    -------
    DataFrame
        `session` (1-based), `run` and `trial_in_run` (0-based), `row` (0-based in
        the file of the session), `trial` (0-based, over all sessions), `nsd_id`
        (0-based), `position` (0-based in the list of the subject), `repeat` (0-based
        count of earlier trials with the picture, over all sessions), `shared`.

    Raises
    ------
    ValueError
        If the design has no such subject or session.
    """
    nsd_id = design.shown(subject)
    trial = np.arange(len(nsd_id))
    run = np.repeat(np.arange(len(_RUN_LENGTHS)), _RUN_LENGTHS)
    in_run = np.concatenate([np.arange(n) for n in _RUN_LENGTHS])
    table = pd.DataFrame(
        {
            "session": trial // TRIALS_PER_SESSION + 1,
            "run": np.tile(run, design.n_sessions),
            "trial_in_run": np.tile(in_run, design.n_sessions),
            "row": trial % TRIALS_PER_SESSION,
            "trial": trial,
            "nsd_id": nsd_id,
            "position": design.order,
            "shared": np.isin(nsd_id, design.shared),
        }
    )
    table.insert(7, "repeat", table.groupby("nsd_id").cumcount())
    if behaviour is not None:
        n = min(len(behaviour), len(table))
        for column in ("run", "trial_in_run"):
            table.loc[: n - 1, column] = behaviour[column].to_numpy()[:n]
    if sessions is None:
        return table
    wanted = check_sessions(sessions)
    if wanted[-1] > design.n_sessions:
        raise ValueError(
            f"`sessions` names session {wanted[-1]}, but {design.path} has "
            f"{design.n_sessions}."
        )
    return table[table["session"].isin(wanted)].reset_index(drop=True)


def repeats_in_all(design: NSDDesign, n_sessions: Sequence[int]) -> NDArray[np.int64]:
    """Return how often every subject saw a picture at least.

    Of the 1000 shared pictures of NSD, 907 were seen by all eight subjects, 766 by
    all twice or more, and 515 by all three times.

    Parameters
    ----------
    design : NSDDesign
        From `read_design`.
    n_sessions : sequence of int, length n_subjects
        Sessions that each subject came for.

    Returns
    -------
    ndarray of int64, shape (n_pictures,)
        Smallest number of trials over subjects, by 0-based picture.

    Raises
    ------
    ValueError
        If there is not one number of sessions per subject, or one is too large.
    """
    counts = list(n_sessions)
    if len(counts) != design.n_subjects or max(counts) > design.n_sessions:
        raise ValueError(
            f"`n_sessions` must have {design.n_subjects} numbers up to "
            f"{design.n_sessions}, one per subject; got {counts}."
        )
    least = None
    n_pictures = int(design.images.max()) + 1
    for number, count in enumerate(counts, 1):
        seen = design.shown(number)[: count * TRIALS_PER_SESSION]
        times = np.bincount(seen, minlength=n_pictures)
        least = times if least is None else np.minimum(least, times)
    return np.asarray(least, np.int64)


def stimulus_ids(nsd_id: ArrayLike) -> list[str]:
    """Return the identities of pictures of NSD.

    Parameters
    ----------
    nsd_id : array_like of int
        0-based of 73,000.

    Returns
    -------
    list of str
        Such as "nsd-02950".

    Examples
    --------
    >>> stimulus_ids([2950])
    ['nsd-02950']
    """
    return [f"nsd-{i:05d}" for i in np.asarray(nsd_id).tolist()]


# ---------------------------------------------------------------- comparison


def check_stimulus_info(design: NSDDesign, info: pd.DataFrame, path: Path) -> None:
    """Raise unless the table of pictures tells what the design tells.

    Parameters
    ----------
    design : NSDDesign
        From `read_design`.
    info : DataFrame
        From `read_stimulus_info`.
    path : Path
        Where `info` was read, for the message.

    Raises
    ------
    DataCorruptError
        If shared pictures or the pictures of trials differ.
    """
    shared = np.sort(info.loc[info["shared"], "nsd_id"].to_numpy())
    if not np.array_equal(shared, design.shared):
        both = len(np.intersect1d(shared, design.shared))
        raise DataCorruptError(
            f"{path} marks {len(shared)} pictures as shared and {design.path} "
            f"{len(design.shared)}, of which {both} are the same.{_ADVICE}"
        )
    nsd_id = info["nsd_id"].to_numpy()
    for number in range(1, design.n_subjects + 1):
        columns = [c for c in info if str(c).startswith(f"subject{number}_rep")]
        shown = np.full(len(design.order), -1)
        for column in columns:
            trial = info[column].to_numpy(np.int64, na_value=-1)
            if trial.max(initial=-1) >= len(shown):
                raise DataCorruptError(
                    f"{path} names trial {trial.max() + 1} in `{column}`, but "
                    f"{design.path} has {len(shown)} trials.{_ADVICE}"
                )
            shown[trial[trial >= 0]] = nsd_id[trial >= 0]
        if columns:
            _compare(design, number, shown, path)


def check_behaviour(design: NSDDesign, behaviour: pd.DataFrame, path: Path) -> None:
    """Raise unless the answers of a subject belong to the pictures of the design.

    Parameters
    ----------
    design : NSDDesign
        From `read_design`.
    behaviour : DataFrame
        From `read_behaviour`.
    path : Path
        Where `behaviour` was read, for the message.

    Raises
    ------
    DataCorruptError
        If it has more sessions, or other pictures or positions.
    """
    if len(behaviour) > len(design.order):
        raise DataCorruptError(
            f"{path} has {len(behaviour)} trials, but {design.path} "
            f"{len(design.order)}.{_ADVICE}"
        )
    number = int(behaviour["subject"].iloc[0])
    _compare(design, number, behaviour["nsd_id"].to_numpy(), path)
    position = behaviour["position"].to_numpy()
    wrong = np.flatnonzero(position != design.order[: len(position)])
    if len(wrong):
        t = int(wrong[0])
        raise DataCorruptError(
            f"{path} and {design.path} contradict each other in {len(wrong)} trials: "
            f"10KID of trial {t + 1} is {position[t] + 1}, but `masterordering` says "
            f"{design.order[t] + 1}.{_ADVICE}"
        )


def _compare(
    design: NSDDesign, subject: int, shown: NDArray[np.int64], path: Path
) -> None:
    expected = design.shown(subject)[: len(shown)]
    wrong = np.flatnonzero(shown != expected)
    if not len(wrong):
        return
    t = int(wrong[0])
    there = f"picture {shown[t]}" if shown[t] >= 0 else "no picture"
    shifts = np.unique(shown - expected)
    hint = f" All differ by {shifts[0]}." if len(shifts) == 1 else ""
    raise DataCorruptError(
        f"{path} and {design.path} contradict each other in {len(wrong)} trials of "
        f"{subject_name(subject)}: trial {t} (from 0) shows {there} in the first and "
        f"picture {expected[t]} (from 0) in the second.{hint}{_ADVICE}"
    )
