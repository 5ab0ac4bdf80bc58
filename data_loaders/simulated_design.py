"""The experiment of simulated data: which picture when, and what subjects answered.

The rules are those of NSD (Allen et al. 2022, Nat Neurosci 25, 116-126,
doi:10.1038/s41593-021-00962-x): each picture up to three times, spread over sessions;
12 runs of 62 or 63 stimulus trials; "seen before?" after every picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_whole
from neurovis.core.rng import generator

Ints = NDArray[np.int64]

TRIALS_PER_SESSION = 750
N_REPEATS = 3
RUN_TRIALS = (63, 62) * 6
"""Stimulus trials of the runs of a session."""

_RUN_SLOTS = 75
_LEAD_IN, _LEAD_OUT = 3, 4  # blank trials around each run
_SPREAD = 0.055  # of the near repeats, as a share of the experiment
_NEAR = 0.7  # share of presentations that stay near the others


@dataclass(frozen=True)
class SimulatedDesign:
    """Who sees which picture when; numbers as in the files, 1-based.

    Parameters
    ----------
    n_sessions : tuple of int
        Acquired sessions of each subject.
    n_withheld : int
        Last sessions of each subject of which there are no files.
    masterordering : ndarray of int64, shape (750 * most sessions,)
        Position in the list of pictures, 1-based, shown at each trial; the same for
        all subjects, shorter ones see its beginning.
    subjectim : ndarray of int64, shape (n_subjects, n_images)
        1-based number of each picture of each list; shared ones come first.
    sharedix : ndarray of int64, shape (n_shared,)
        Ascending 1-based numbers of the pictures that all subjects share.
    stimpattern : ndarray of uint8, shape (most sessions, 12, 75)
        1 where a trial shows a picture, 0 where it is blank.
    """

    n_sessions: tuple[int, ...]
    n_withheld: int
    masterordering: Ints
    subjectim: Ints
    sharedix: Ints
    stimpattern: NDArray[np.uint8]

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return len(self.n_sessions)

    @property
    def n_images(self) -> int:
        """Number of pictures of each list."""
        return int(self.subjectim.shape[1])

    def n_files(self, subject: int) -> int:
        """Return how many sessions of a subject have files.

        Parameters
        ----------
        subject : int
            1-based.

        Returns
        -------
        int
            The first ones of those acquired.
        """
        return self.n_sessions[subject - 1] - self.n_withheld

    def positions(self, subject: int) -> Ints:
        """Return what is shown in the trials with files.

        Parameters
        ----------
        subject : int
            1-based.

        Returns
        -------
        ndarray of int64, shape (n_trials,)
            0-based positions in the list of pictures of the subject.
        """
        n_trials = self.n_files(subject) * TRIALS_PER_SESSION
        return self.masterordering[:n_trials] - 1

    @cached_property
    def presentations(self) -> Ints:
        """1-based trials of the pictures of the lists, shape (n_images, 3)."""
        order = np.argsort(self.masterordering, kind="stable")
        trials: Ints = order.reshape(self.n_images, N_REPEATS) + 1
        return trials

    @cached_property
    def basiccnt(self) -> Ints:
        """Pictures seen at least once, twice, thrice by the end of each session."""
        last = len(self.masterordering) // TRIALS_PER_SESSION
        ends = np.arange(1, last + 1) * TRIALS_PER_SESSION
        seen = self.presentations[:, :, None] <= ends
        counts: Ints = seen.sum(axis=0)
        return counts


def check_sessions(
    n_subjects: int, n_sessions: int | Sequence[int], n_withheld: int
) -> tuple[int, ...]:
    """Return the number of sessions of each subject.

    Parameters
    ----------
    n_subjects : int
        1 to 8.
    n_sessions : int or sequence of int
        For all, or for each subject.
    n_withheld : int
        Sessions without files; fewer than any subject has.

    Returns
    -------
    tuple of int
        One per subject.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or the lengths differ.
    """
    n_subjects = check_whole("n_subjects", n_subjects, low=1, high=8)
    n_withheld = check_whole("n_withheld", n_withheld, low=0)
    if isinstance(n_sessions, Sequence | np.ndarray):
        each = list(n_sessions)
    else:
        each = [n_sessions] * n_subjects
    if len(each) != n_subjects:
        raise ValueError(
            f"`n_sessions` must be one number, or one for each of {n_subjects} "
            f"subjects; got {len(each)}."
        )
    return tuple(
        check_whole("n_sessions", n, low=n_withheld + 1, high=99) for n in each
    )


def make_design(
    n_pictures: int,
    n_sessions: tuple[int, ...],
    *,
    n_shared: int,
    n_withheld: int = 0,
    seed: int = 0,
) -> SimulatedDesign:
    """Draw an experiment.

    The lists are as long as the longest subject needs to see each picture three
    times: 250 pictures per session.

    Parameters
    ----------
    n_pictures : int
        Pictures to draw from, enough for all lists.
    n_sessions : tuple of int
        Sessions of each subject.
    n_shared : int
        Pictures that all subjects share.
    n_withheld : int, default 0
        Last sessions of each subject without files.
    seed : int, default 0
        Seed.

    Returns
    -------
    SimulatedDesign
        Depends on the arguments only.
    """
    longest = max(n_sessions)
    n_images = longest * TRIALS_PER_SESSION // N_REPEATS
    chosen = generator(seed, "pictures").permutation(n_pictures) + 1
    shared, rest = chosen[:n_shared], chosen[n_shared:]
    own = n_images - n_shared
    lists = [
        np.concatenate([shared, rest[i * own : (i + 1) * own]])
        for i in range(len(n_sessions))
    ]
    return SimulatedDesign(
        n_sessions,
        n_withheld,
        _draw_order(n_images, longest, generator(seed, "order")),
        np.stack(lists).astype(np.int64),
        np.sort(shared).astype(np.int64),
        _draw_pattern(longest, generator(seed, "blanks")),
    )


def _draw_order(n_images: int, n_sessions: int, rng: np.random.Generator) -> Ints:
    """Draw the order of presentations, without immediate repeats.

    The sessions of the three presentations of a picture are drawn around a common
    time, mostly near and sometimes far. Within a session the order is random, so that
    slow drifts do not favour any picture.
    """
    centre = rng.random((n_images, 1))
    near = rng.random((n_images, N_REPEATS)) < _NEAR
    step = _SPREAD * rng.standard_normal((n_images, N_REPEATS))
    moment = np.where(near, centre + step, rng.random((n_images, N_REPEATS))) % 1
    order = np.argsort(moment.ravel(), kind="stable") // N_REPEATS + 1
    sessions = order.reshape(n_sessions, TRIALS_PER_SESSION)
    for session in sessions:
        rng.shuffle(session)
    order = sessions.ravel()
    while len(again := np.flatnonzero(order[1:] == order[:-1]) + 1):
        for trial in again:
            start = trial // TRIALS_PER_SESSION * TRIALS_PER_SESSION
            other = start + rng.integers(TRIALS_PER_SESSION)
            order[[trial, other]] = order[[other, trial]]
    return order.astype(np.int64)


def _draw_pattern(n_sessions: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    pattern = np.zeros((n_sessions, len(RUN_TRIALS), _RUN_SLOTS), np.uint8)
    slots = np.arange(_LEAD_IN + 1, _RUN_SLOTS - _LEAD_OUT)
    for session in pattern:
        for run, n_trials in zip(session, RUN_TRIALS, strict=True):
            run[_LEAD_IN : _RUN_SLOTS - _LEAD_OUT] = 1
            n_blank = _RUN_SLOTS - _LEAD_IN - _LEAD_OUT - n_trials
            run[rng.choice(slots, n_blank, replace=False)] = 0
    return pattern


# ------------------------------------------------------------------ tables


def trial_table(design: SimulatedDesign, subject: int) -> pd.DataFrame:
    """Return the stimulus trials of the sessions with files, in order.

    Parameters
    ----------
    design : SimulatedDesign
        The experiment.
    subject : int
        1-based.

    Returns
    -------
    DataFrame
        `session`, `run`, `trial` (1-based, within the run), `slot` (0-based trial of
        the run, blank ones counted), `position` (0-based in the list of pictures),
        `nsd_id` (0-based number of the picture), `lag_recent` and `lag_first`
        (stimulus trials since it was last and first seen; NaN at its first time),
        `lag_session` (since it was last seen in this session).
    """
    n_files = design.n_files(subject)
    position = design.positions(subject)
    runs = np.repeat(np.arange(1, len(RUN_TRIALS) + 1), RUN_TRIALS)
    within = np.concatenate([np.arange(1, n + 1) for n in RUN_TRIALS])
    slots = np.nonzero(design.stimpattern[:n_files])[2]
    table = pd.DataFrame(
        {
            "session": np.repeat(np.arange(1, n_files + 1), TRIALS_PER_SESSION),
            "run": np.tile(runs, n_files),
            "trial": np.tile(within, n_files),
            "slot": slots,
            "position": position,
            "nsd_id": design.subjectim[subject - 1, position] - 1,
        }
    )
    number = pd.Series(np.arange(len(table), dtype=np.float64))
    recent = number.groupby(position).shift()
    first = number.groupby(position).transform("first")
    table["lag_recent"] = number - recent
    table["lag_first"] = (number - first).where(recent.notna())
    start = (table["session"] - 1) * TRIALS_PER_SESSION
    table["lag_session"] = table["lag_recent"].where(recent >= start)
    return table


def draw_behaviour(
    design: SimulatedDesign, subject: int, *, seed: int = 0
) -> pd.DataFrame:
    """Draw the answers of a subject in continuous recognition.

    Hits become rarer with the logarithm of the lag, false alarms more frequent over
    sessions; wrong answers are slower. Two percent of the answers are missing.

    Parameters
    ----------
    design : SimulatedDesign
        The experiment.
    subject : int
        1-based.
    seed : int, default 0
        Seed.

    Returns
    -------
    DataFrame
        The columns of ``responses.tsv`` of NSD, one row per stimulus trial of the
        sessions with files.
    """
    trials = trial_table(design, subject)
    rng = generator(seed, f"subj{subject:02d}", "behaviour")
    n = len(trials)
    is_old = trials["lag_recent"].notna().to_numpy()
    lag = trials["lag_recent"].fillna(1).to_numpy()
    hit = np.clip(0.97 - 0.10 * np.log10(lag), 0.5, 1)
    share = trials["session"].to_numpy() / max(design.n_sessions)
    says_old = rng.random(n) < np.where(is_old, hit, 0.08 + 0.15 * share)
    missing = rng.random(n) < 0.02
    correct = (says_old == is_old).astype(float)
    in_session = trials["lag_session"].notna().to_numpy()
    speed = rng.standard_normal(n)
    rt_ms = np.clip(np.exp(6.75 + 0.12 * (correct == 0) + 0.25 * speed), 250, 4000)
    changed = (rng.random(n) < 0.03).astype(float)
    answered = [correct, rt_ms, changed, (says_old == in_session).astype(float)]
    correct, rt_ms, changed, correct_now = (
        np.where(missing, np.nan, column) for column in answered
    )
    button = np.where(missing, np.nan, 1.0 + says_old)
    # Days since the year 0, as MATLAB counts; a week between sessions.
    day = 737_000 + 7 * trials["session"] + 0.4
    seconds = 400 * (trials["run"] - 1) + 4 * trials["slot"]
    return pd.DataFrame(
        {
            "SUBJECT": subject,
            "SESSION": trials["session"],
            "RUN": trials["run"],
            "TRIAL": trials["trial"],
            "73KID": trials["nsd_id"] + 1,
            "10KID": trials["position"] + 1,
            "TIME": day + seconds / 86_400,
            "ISOLD": is_old.astype(int),
            "ISCORRECT": correct,
            "RT": rt_ms,
            "CHANGEMIND": changed,
            "MEMORYRECENT": trials["lag_recent"] - 1,
            "MEMORYFIRST": trials["lag_first"] - 1,
            "ISOLDCURRENT": in_session.astype(int),
            "ISCORRECTCURRENT": correct_now,
            "TOTAL1": (button == 1).astype(int) + (changed == 1) * (button == 2),
            "TOTAL2": (button == 2).astype(int) + (changed == 1) * (button == 1),
            "BUTTON": button,
            "MISSINGDATA": missing.astype(int),
        }
    )


def stimulus_table(
    design: SimulatedDesign, n_pictures: int, *, seed: int = 0
) -> pd.DataFrame:
    """Return the columns of ``nsd_stim_info_merged.csv``, one row per picture.

    Parameters
    ----------
    design : SimulatedDesign
        The experiment.
    n_pictures : int
        Pictures in the stimulus file.
    seed : int, default 0
        Seed of the numbers that stand for those of COCO.

    Returns
    -------
    DataFrame
        Columns for eight subjects, 0 for absent ones. `subjectK_repJ` is the 1-based
        trial of the whole experiment, whether or not it was acquired; 0 = not in the
        list.
    """
    rng = generator(seed, "stimulus table")
    nsd_id = np.arange(n_pictures)
    crop = rng.integers(0, 25, n_pictures) / 100
    wide = rng.random(n_pictures) < 0.5
    is_val = rng.random(n_pictures) < 0.04
    boxes = [
        str((0, 0, float(c), float(c)) if w else (float(c), float(c), 0, 0))
        for c, w in zip(crop, wide, strict=True)
    ]
    table = pd.DataFrame(
        {
            "cocoId": np.sort(rng.choice(600_000, n_pictures, replace=False)),
            "cocoSplit": np.where(is_val, "val2017", "train2017"),
            "cropBox": boxes,
            "loss": np.round(crop * rng.random(n_pictures), 6),
            "nsdId": nsd_id,
            "flagged": rng.random(n_pictures) < 0.01,
            "BOLD5000": rng.random(n_pictures) < 0.02,
            "shared1000": np.isin(nsd_id, design.sharedix - 1),
        }
    )
    shown: dict[str, Ints] = {}
    for k in range(8):
        times = np.zeros((n_pictures, N_REPEATS), np.int64)
        if k < design.n_subjects:
            times[design.subjectim[k] - 1] = design.presentations
        shown[f"subject{k + 1}"] = (times[:, 0] > 0).astype(np.int64)
        shown |= {f"subject{k + 1}_rep{j}": times[:, j] for j in range(N_REPEATS)}
    names = [f"subject{k}" for k in range(1, 9)]
    reps = [f"{name}_rep{j}" for name in names for j in range(N_REPEATS)]
    return pd.concat([table, pd.DataFrame(shown)[names + reps]], axis=1)
