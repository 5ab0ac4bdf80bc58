"""Error consistency by chance: what observers show whose errors are independent."""

from typing import Any

import numpy as np

from analysis.aligned_trials import AlignedTrials, align_trials
from analysis.recognition_benchmark import HUMANS
from tasks.recognition_parts import Part


def chance_spread(part: Part) -> dict[str, float]:
    """Compute how far mean kappas lie from 0 if right answers come in random order.

    Parameters
    ----------
    part : Part
        Trials.

    Returns
    -------
    dict of str to float
        Standard deviation of the mean error consistency with people (over the
        conditions that count), by decision maker; "humans" for that over pairs of
        people. The mean is 0.

    Notes
    -----
    It is exact: with accuracies fixed, kappa is linear in the number of pictures on
    which both are right, which is a sum over a random choice of pictures. That people
    resemble each other is kept in the values of other decision makers.
    """
    variances: dict[str, list[float]] = {HUMANS: [], **{m: [] for m in part.makers}}
    kept = part.trials[~part.trials["excluded"].to_numpy(bool)]
    people = set(kept.loc[kept["is_human"], "subject"])
    for cell in align_trials(kept, ["condition"]):
        for name in variances:
            variances[name].append(_null_variance(cell, name, people))
    return {
        name: float(np.sqrt(np.sum(values)) / len(values))
        for name, values in variances.items()
    }


def _null_variance(cell: AlignedTrials, maker: str, people: set[str]) -> float:
    humans = [row for row, name in enumerate(cell.subjects) if name in people]
    n = len(cell.images)
    right = cell.correct.sum(axis=1)
    accuracy = right / n
    if n < 2 or (maker == HUMANS and len(humans) < 2):
        return np.nan
    if maker == HUMANS:
        one, other = np.triu_indices(len(humans), k=1)
        first, second = np.array(humans)[one], np.array(humans)[other]
        slope = _slope(accuracy[first], accuracy[second], n)
        spread = right * (n - right)
        both = spread[first] * spread[second] / (n**2 * (n - 1))
        return float(np.sum(slope**2 * both) / len(one) ** 2)
    row = cell.subjects.index(maker)
    weights = _slope(accuracy[row], accuracy[humans], n) / len(humans)
    gain = weights @ cell.correct[humans]
    spread = right[row] * (n - right[row]) / (n * (n - 1))
    return float(spread * np.sum((gain - gain.mean()) ** 2))


def _slope(p1: Any, p2: Any, n: int) -> Any:
    """By how much kappa grows with one more picture that both are right on."""
    room = p1 + p2 - 2 * p1 * p2
    return np.divide(2 / n, room, out=np.zeros_like(room), where=room > 0)
