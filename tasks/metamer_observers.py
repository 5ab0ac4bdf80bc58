"""Observers of ABX trials: pooling windows of their own, noise, and no more."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from analysis.abx_discrimination import abx_proportion_correct, proportion_correct
from neurovis.adapters.foveated_texture import to_unit
from neurovis.core.checks import check_between, check_columns, check_option
from neurovis.core.device import exact_float32, resolve
from neurovis.core.files import plain
from neurovis.core.log import progress
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from neurovis.foveation.pooled_errors import statistics_errors
from tasks.metamer_design import MODELS, MetamerDesign, pooled_statistics

ANSWER_COLUMNS = ("subject", "comparison", "scale", "correct")
"""Columns of every table of answers."""

_NEEDED = ("comparison", "image", "scale", "a", "b")


class AbxObserver(Protocol):
    """What answers ABX trials.

    An attribute `lapse`, if there is one, is the share of trials that it guesses.
    """

    @property
    def name(self) -> str:
        """Name in tables; that of a simulated observer says so."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """All that its answers depend on, as JSON values."""
        ...

    def sensitivity(
        self, pairs: pd.DataFrame, stimuli: StimulusSet, *, device: str = "cpu"
    ) -> NDArray[np.float64]:
        """Tell how well pairs of pictures are told apart.

        Parameters
        ----------
        pairs : DataFrame
            `a` and `b`: identities of two pictures.
        stimuli : StimulusSet
            The pictures, and how they are seen.
        device : str, default "cpu"
            Where to compute.

        Returns
        -------
        ndarray of float64, shape (n_pairs,)
            d', 0 or more.
        """
        ...


@dataclass(frozen=True)
class PooledObserver:
    """Sees pictures as statistics in windows of its own, with noise.

    d' of a pair is the distance of its pooled statistics over the noise; the distance
    is the root of the mean squared relative difference over families of statistics.

    Parameters
    ----------
    scale : float
        Width of its windows over eccentricity, in (0, 2].
    noise : float, default 0.2
        Standard deviation of its noise, as a relative error.
    model : {"texture", "energy", "luminance"}
        Its statistics.
    lapse : float, default 0
        Share of trials that it answers by guessing, 0..1.
    design : MetamerDesign, optional
        Where it looks and how large its fovea is; by default the centre, and the
        published fovea.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.

    Notes
    -----
    Statistics are not linear in pixels, windows of other scales are not unions of each
    other, and descent leaves a rest: the critical scale of such an observer is near
    the scale of its windows, not equal to it.
    """

    scale: float
    noise: float = 0.2
    model: str = "texture"
    lapse: float = 0.0
    design: MetamerDesign | None = None

    def __post_init__(self) -> None:
        check_between("scale", self.scale, low=0.01, high=2)
        check_between("noise", self.noise, low=1e-6)
        check_option("model", self.model, MODELS)
        check_between("lapse", self.lapse, low=0, high=1)

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"simulated {self.model} {self.scale:g}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        return (
            f"{self.name}: nobody was measured; windows of scale {self.scale:g}, noise "
            f"of {100 * self.noise:g} % of the statistics. Its critical scale need "
            "not be that of its windows.",
        )

    @property
    def identity(self) -> dict[str, Any]:
        """All that its answers depend on, as JSON values."""
        design = self.design or MetamerDesign()
        looks = ("fixation_px", "fovea_deg", "n_scales")
        return {
            "observer": "pooled",
            "scale": self.scale,
            "noise": self.noise,
            "model": self.model,
            "lapse": self.lapse,
            **{name: plain(asdict(design))[name] for name in looks},
        }

    def sensitivity(
        self, pairs: pd.DataFrame, stimuli: StimulusSet, *, device: str = "cpu"
    ) -> NDArray[np.float64]:
        """Tell how well pairs of pictures are told apart.

        Parameters
        ----------
        pairs : DataFrame
            `a` and `b`: identities of two pictures.
        stimuli : StimulusSet
            Square pictures of one size, and how they are seen.
        device : str, default "cpu"
            Where to compute.

        Returns
        -------
        ndarray of float64, shape (n_pairs,)
            d', 0 or more.

        Raises
        ------
        ValueError
            If the pictures are no squares.
        """
        check_columns("pairs", pairs.columns, ["a", "b"])
        viewing, place = stimuli.viewing, resolve(device)
        if viewing.width_px != viewing.height_px:
            raise ValueError(
                f"`stimuli` must be squares; got {viewing.width_px} x "
                f"{viewing.height_px} px."
            )
        design = replace(
            self.design or MetamerDesign(),
            size_px=viewing.width_px,
            px_per_deg=viewing.px_per_deg,
        )
        model = pooled_statistics(design, self.scale, self.model)
        where = {name: i for i, name in enumerate(stimuli.table["stimulus_id"])}

        # Pairs come sorted by picture: the last few are enough.
        @lru_cache(maxsize=16)
        def look(name: str) -> tuple[Any, Any]:
            image = to_unit([stimuli.load(where[name])])
            grey = bool((image == image[:, :1]).all())
            image = image.to(place)
            return image, model(image[:, :1].contiguous()) if grey else None

        distances = []
        with torch.inference_mode(), exact_float32():
            for a, b in progress(
                pairs[["a", "b"]].to_numpy().tolist(), self.name, unit="pair"
            ):
                (one, first), (other, second) = look(a), look(b)
                if first is None or second is None:
                    first, second = model(one), model(other)
                distances.append(_distance(first, second))
        return np.asarray(distances, np.float64) / self.noise


def _distance(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Return the root mean squared relative difference, relative to both in turn."""
    errors = [
        float(error)
        for pair in ((a, b), (b, a))
        for error in statistics_errors(*pair).values()
    ]
    return float(np.sqrt(np.mean(errors)))


def answer_trials(
    trials: pd.DataFrame,
    sensitivity: NDArray[np.float64],
    subject: str,
    *,
    lapse: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Draw the answers of an observer without bias.

    Parameters
    ----------
    trials : DataFrame
        ABX trials with `comparison`, `image` and `scale`.
    sensitivity : ndarray of float64, shape (n_trials,)
        d' of the pair of each trial.
    subject : str
        Name of the observer, which has a stream of its own.
    lapse : float, default 0
        Share of guesses.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    DataFrame
        One row per trial: `subject`, `comparison`, `image`, `scale`, `correct`.

    Raises
    ------
    ValueError
        If a sensitivity is negative, or a column is missing.
    """
    check_columns("trials", trials.columns, ["comparison", "image", "scale"])
    p = (1 - lapse) * abx_proportion_correct(sensitivity) + lapse / 2
    return _drawn(trials, p, subject, seed)


def answer_by_formula(
    trials: pd.DataFrame,
    critical_scales: Mapping[str, float],
    subject: str,
    *,
    gain: float = 4.0,
    lapse: float = 0.02,
    decision: str = "published",
    seed: int = 0,
) -> pd.DataFrame:
    """Draw the answers of somebody whose critical scales are known.

    For checks of an analysis, and to plan how many trials are needed.

    Parameters
    ----------
    trials : DataFrame
        ABX trials with `comparison`, `image` and `scale`.
    critical_scales : mapping of str to float
        Critical scale of each comparison in `trials`.
    subject : str
        Name of the observer; say that it is simulated.
    gain : float, default 4
        As of `analysis.critical_scale.proportion_correct`.
    lapse : float, default 0.02
        Share of guesses.
    decision : {"published", "signal_detection"}, default "published"
        As there.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    DataFrame
        As `answer_trials`.

    Raises
    ------
    ValueError
        If a comparison has no critical scale, or a value is out of range.

    Examples
    --------
    >>> trials = pd.DataFrame(
    ...     {"comparison": "sample-sample", "image": "sea", "scale": [0.3] * 4}
    ... )
    >>> answers = answer_by_formula(trials, {"sample-sample": 0.5}, "simulated 1")
    >>> answers["correct"].dtype
    dtype('bool')
    """
    check_columns("trials", trials.columns, ["comparison", "image", "scale"])
    check_columns("critical_scales", critical_scales, trials["comparison"].unique())
    critical = trials["comparison"].map(dict(critical_scales)).to_numpy(np.float64)
    p = proportion_correct(
        trials["scale"].to_numpy(), critical, gain, lapse=lapse, decision=decision
    )
    return _drawn(trials, p, subject, seed)


def _drawn(
    trials: pd.DataFrame, p: NDArray[np.float64], subject: str, seed: int
) -> pd.DataFrame:
    draws = generator(seed, "abx answers", subject).random(len(trials))
    answers = trials[["comparison", "image", "scale"]].reset_index(drop=True)
    answers.insert(0, "subject", subject)
    return answers.assign(correct=draws < p)


def pairs_of(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs that trials compare, each once.

    Parameters
    ----------
    trials : DataFrame
        With `comparison`, `image`, `scale`, `a`, `b`.

    Returns
    -------
    DataFrame
        These columns, sorted by image; a and b in alphabetical order.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("trials", trials.columns, _NEEDED)
    pairs = trials[list(_NEEDED)].copy()
    both = np.sort(pairs[["a", "b"]].to_numpy(str), axis=1)
    pairs["a"], pairs["b"] = both[:, 0], both[:, 1]
    pairs = pairs.drop_duplicates()
    return pairs.sort_values(["image", "scale", "a", "b"], ignore_index=True)
