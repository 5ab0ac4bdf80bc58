"""Single-trial responses of simulated units, computed a run of places at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.simulated_brain import SimulatedBrain
from data_loaders.simulated_design import N_REPEATS, TRIALS_PER_SESSION
from data_loaders.simulated_places import SimulatedPlaces
from neurovis.core.brain_space import VolumeSpace
from neurovis.core.noise_ceiling import signal_to_noise
from neurovis.core.rng import generator

Floats = NDArray[np.float32]

RUN_OF_PLACES = 1024
"""Places computed together; part of the definition of the random numbers."""

_SATURATED_PERCENT = 60.0  # noise of saturated units: 7 % of trials beyond the ends
_N_WAVES = 3
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class SpecialPlaces:
    """Places whose recording is flawed, as in real data; flat, ascending.

    Parameters
    ----------
    saturated : ndarray of int64
        So noisy that values are cut at the ends of 16 bits; volumes only.
    incomplete : ndarray of int64
        Zero during the whole of one session.
    has_nan : ndarray of int64
        NaN during the last session with a file; "fsaverage" only.
    """

    saturated: NDArray[np.int64]
    incomplete: NDArray[np.int64]
    has_nan: NDArray[np.int64]


def choose_special(
    places: SimulatedPlaces,
    vertices: pd.DataFrame,
    numbers: tuple[int, int, int],
    seed: int,
    subject: str,
) -> SpecialPlaces:
    """Choose flawed places among those of nsdgeneral that have no signal.

    Parameters
    ----------
    places : SimulatedPlaces
        The space.
    vertices : DataFrame
        From `draw_cortex`.
    numbers : tuple of int
        How many are saturated, incomplete, and NaN.
    seed : int
        Seed of the simulation.
    subject : str
        Whose brain.

    Returns
    -------
    SpecialPlaces
        Disjoint; fewer where there are not enough.
    """
    silent = (vertices["ncsnr"] == 0) & (vertices["nsdgeneral"] > 0)
    inside = places.vertex >= 0
    candidates = np.flatnonzero(inside & silent.to_numpy()[places.vertex])
    rng = generator(seed, subject, places.space.name, "special places")
    shuffled = rng.permutation(candidates)
    is_volume = isinstance(places.space, VolumeSpace)
    n_saturated = numbers[0] if is_volume else 0
    n_nan = numbers[2] if places.space.name == "fsaverage" else 0
    ends = np.cumsum([n_saturated, numbers[1], n_nan])
    first, second, third, _ = np.split(shuffled, ends)
    return SpecialPlaces(np.sort(first), np.sort(second), np.sort(third))


@dataclass(frozen=True)
class BetaSource:
    """Everything that single-trial responses of one subject and space follow from.

    Parameters
    ----------
    brain : SimulatedBrain
        Declared parameters.
    subject : str
        Whose brain.
    places : SimulatedPlaces
        Where.
    special : SpecialPlaces
        Flawed places.
    vertices : DataFrame
        From `draw_cortex`.
    signal_row : ndarray of int64, shape (20484,)
        Row of `signals` of each vertex; -1 without a signal.
    signals : ndarray of float32, shape (n_signals, n_images)
        Standardised over the list of pictures.
    positions : ndarray of int64, shape (n_trials,)
        0-based position in that list, for all trials with files, in order.
    seed : int
        Seed of the simulation.
    """

    brain: SimulatedBrain
    subject: str
    places: SimulatedPlaces
    special: SpecialPlaces
    vertices: pd.DataFrame
    signal_row: NDArray[np.int64]
    signals: Floats
    positions: NDArray[np.int64]
    seed: int

    @property
    def n_sessions(self) -> int:
        """Sessions with files."""
        return len(self.positions) // TRIALS_PER_SESSION

    @property
    def is_integer(self) -> bool:
        """Whether files of this space hold integers."""
        return self.places.space.name != "fsaverage"

    def runs(self, part: str) -> Iterator[slice]:
        """Yield the runs of places of a part.

        Parameters
        ----------
        part : str
            "" of a volume, "lh" or "rh" of surfaces.

        Yields
        ------
        slice
            Flat places in the whole space.
        """
        whole = self.places.parts[part]
        for start in range(whole.start, whole.stop, RUN_OF_PLACES):
            yield slice(start, min(start + RUN_OF_PLACES, whole.stop))

    def percent(self, run: slice, preparation: str) -> Floats:
        """Return responses of consecutive places.

        Parameters
        ----------
        run : slice
            One of `runs`.
        preparation : str
            How betas were estimated: decides how noisy they are.

        Returns
        -------
        ndarray of float32, shape (n_places, n_trials)
            Percent signal change; 0 outside the brain.
        """
        flat = np.arange(run.start, run.stop)
        inside = np.flatnonzero(self.places.in_brain[run])
        values = np.zeros((len(flat), len(self.positions)), np.float32)
        if len(inside):
            values[inside] = self._draw(flat[inside], run.start, preparation)
        return values

    def _draw(self, flat: NDArray[np.int64], start: int, preparation: str) -> Floats:
        n, n_sessions = len(flat), self.n_sessions
        name = self.places.space.name
        rng = generator(self.seed, self.subject, name, "noise", start)
        drift = self.brain.drift_share
        responses = rng.standard_normal((n, len(self.positions)), np.float32)
        responses *= np.float32(np.sqrt(1 - drift))
        amplitudes = rng.standard_normal((n, n_sessions, _N_WAVES), np.float32)
        # Of one size in all sessions: z-scoring must not change the share of signal.
        amplitudes /= np.linalg.norm(amplitudes, axis=2, keepdims=True)
        amplitudes *= np.float32(np.sqrt(2 * drift))
        by_session = responses.reshape(n, n_sessions, TRIALS_PER_SESSION)
        by_session += amplitudes @ _waves()
        offset = rng.standard_normal((n, n_sessions, 1), np.float32)
        factor = self.brain.relative_ncsnr[preparation]
        if factor < 1:
            more = generator(self.seed, self.subject, name, preparation, start)
            extra = more.standard_normal(responses.shape, np.float32)
            extra *= np.float32(np.sqrt(factor**-2 - 1))
            responses += extra
        vertex = self.places.vertex[flat]
        table = self.vertices.iloc[vertex]  # -1: the last one, whose signal is not used
        row = np.where(vertex >= 0, self.signal_row[vertex], -1)
        driven = np.flatnonzero(row >= 0)
        ncsnr = table["ncsnr"].to_numpy(np.float32)[driven]
        signal = self.signals[row[driven]] * ncsnr[:, None]
        responses[driven] += signal[:, self.positions]
        noise = table["noise_percent"].to_numpy(np.float32)
        noise[np.isin(flat, self.special.saturated)] = _SATURATED_PERCENT
        responses *= noise[:, None]
        by_session += table["mean_percent"].to_numpy(np.float32)[:, None, None]
        by_session *= self._gains()[:, None]
        offset *= np.float32(self.brain.session_offset) * noise[:, None, None]
        by_session += offset
        by_session[np.isin(flat, self.special.has_nan), -1] = np.nan
        for place, session in self.lost_sessions().items():
            by_session[flat == place, session] = 0
        return responses

    def lost_sessions(self) -> dict[int, int]:
        """Return in which session each incomplete place is zero.

        Returns
        -------
        dict of int to int
            0-based session by flat place.
        """
        n = self.n_sessions
        return {int(p): i % n for i, p in enumerate(self.special.incomplete)}

    def _gains(self) -> Floats:
        rng = generator(self.seed, self.subject, "session gains")
        spread = rng.standard_normal(self.n_sessions)
        return np.exp(self.brain.session_gain * spread).astype(np.float32)


def _waves() -> Floats:
    """Return slow cosines of one session, whose mean is 0 and mean square a half."""
    phase = np.pi * (np.arange(TRIALS_PER_SESSION) + 0.5) / TRIALS_PER_SESSION
    return np.cos(np.arange(1, _N_WAVES + 1)[:, None] * phase).astype(np.float32)


# ---------------------------------------------------------------- from the files


def z_scored(values: Floats) -> Floats:
    """Return responses z-scored within sessions (population standard deviation).

    Parameters
    ----------
    values : ndarray of float32, shape (n_places, n_trials)
        Whole sessions, one after another.

    Returns
    -------
    ndarray of float32, shape (n_places, n_trials)
        NaN in sessions without variance.
    """
    scores = np.empty_like(values)
    for start in range(0, values.shape[1], TRIALS_PER_SESSION):
        block = slice(start, start + TRIALS_PER_SESSION)
        session = values[:, block].astype(np.float64)
        session -= session.mean(axis=1, keepdims=True)
        spread = np.sqrt((session**2).mean(axis=1, keepdims=True))
        scores[:, block] = session / np.where(spread > 0, spread, np.nan)
    return scores


def trials_of_repeated(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the trials of pictures that were shown three times.

    Parameters
    ----------
    positions : ndarray of int64, shape (n_trials,)
        Picture of each trial.

    Returns
    -------
    ndarray of int64, shape (n_repeated, 3)
        0-based trials.
    """
    counts = np.bincount(positions)
    order = np.argsort(positions, kind="stable")
    order = order[counts[positions[order]] == N_REPEATS]
    trials: NDArray[np.int64] = order.reshape(-1, N_REPEATS)
    return trials


def measured_ncsnr(scores: Floats, trials: NDArray[np.int64]) -> Floats:
    """Estimate the noise-ceiling signal-to-noise ratio, as NSD does.

    Parameters
    ----------
    scores : ndarray of float32, shape (n_places, n_trials)
        From `z_scored`.
    trials : ndarray of int64, shape (n_repeated, 3)
        From `trials_of_repeated`.

    Returns
    -------
    ndarray of float32, shape (n_places,)
        NaN where a session is incomplete, or no picture was shown three times.
    """
    if not len(trials):
        return np.full(len(scores), np.nan, np.float32)
    noise, total = (np.empty(len(scores)) for _ in range(2))
    for start in range(0, len(scores), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        values = scores[rows][:, trials].astype(np.float64)
        deviation = values - values.mean(axis=2, keepdims=True)
        noise[rows] = (deviation**2).sum(axis=2).mean(axis=1) / (N_REPEATS - 1)
        total[rows] = values.reshape(len(values), -1).var(axis=1, ddof=1)
    return signal_to_noise(noise, total).astype(np.float32)
