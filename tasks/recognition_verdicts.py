"""What was found about people and networks in recognition, held against a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.aligned_trials import AlignedTrials, align_trials, consistencies
from analysis.stats import percentile_interval
from neurovis.core.rng import generator
from tasks.directions import Direction, direction_row, directions_table
from tasks.recognition_models import CUE_CONFLICT
from tasks.recognition_parts import Part, Settings, largest_part
from tasks.recognition_scores import TASK

FloatArray = NDArray[np.float64]

_TEXTURE_2019 = "Geirhos et al. (2019), ICLR, arXiv:1811.12231"
_BEYOND_2020 = "Geirhos, Meding & Wichmann (2020), NeurIPS, arXiv:2006.16736"
_IMAGENET, _STYLIZED = "resnet50", "resnet50-train-60-epochs"

MORE_SHAPE = Direction(
    "shape bias of people above that of the network",
    "people .96, networks trained on ImageNet .17 to .43",
    _TEXTURE_2019,
)
MORE_ACCURATE = Direction(
    "{experiment}: people more often right than the network",
    "people are right more often with outlines and conflicting textures",
    _TEXTURE_2019,
)
PEOPLE_ALIKE = Direction(
    "{experiment}: people err more like each other than the network errs like them",
    "error consistency within people exceeds that with networks",
    _BEYOND_2020,
)
NETWORKS_ALIKE = Direction(
    "{experiment}: errs more like other networks than like people",
    "networks are consistent with each other, hardly with people",
    _BEYOND_2020,
)
SILHOUETTES_NEARER = Direction(
    "errs more like people with silhouettes than with cue conflicts",
    "kappas with people: silhouettes well above cue conflicts for every network",
    _BEYOND_2020,
)
STYLIZED_SHAPE = Direction(
    "more shape bias than the same network trained on ImageNet",
    "ResNet-50: .81 after Stylized-ImageNet, .22 after ImageNet",
    _TEXTURE_2019,
)
STYLIZED_NEARER = Direction(
    "cue-conflict: errs more like people than the network trained on ImageNet",
    "training on Stylized-ImageNet brings ResNet-50 nearer to people",
    _BEYOND_2020,
)


def recognition_directions(
    parts: list[Part], observers: pd.DataFrame, settings: Settings
) -> pd.DataFrame:
    """Hold the networks of a run against what was found about people and networks.

    Parameters
    ----------
    parts : list of Part
        Trials.
    observers : DataFrame
        `model`, `kind` and `untrained`.
    settings : Settings
        How intervals are computed.

    Returns
    -------
    DataFrame
        As `tasks.directions.directions_table`. Intervals are over pictures; where two
        experiments are compared their pictures are drawn independently.
    """
    is_network = ~observers["kind"].isin(("people", "baseline"))
    networks = observers.loc[is_network].set_index("model")["untrained"]
    rows: list[dict[str, Any]] = []
    for name, untrained in networks.items():
        kappas = {}
        told = {"model": str(name), "untrained": bool(untrained)}
        for experiment in (CUE_CONFLICT, "edge", "silhouette"):
            part = largest_part(parts, experiment, str(name))
            if part is None:
                continue
            others = [m for m in part.makers if m in networks.index and m != name]
            draws = _Draws(part, settings)
            people = draws.people
            kappas[experiment] = mine = draws.kappa([str(name)], people)
            right = draws.accuracy(people) - draws.accuracy([str(name)])
            rows.append(_row(MORE_ACCURATE, right, part, told))
            rows.append(_row(PEOPLE_ALIKE, draws.kappa(people) - mine, part, told))
            if others and name != _STYLIZED:
                among = draws.kappa([str(name)], others)
                rows.append(_row(NETWORKS_ALIKE, among - mine, part, told))
            if experiment == CUE_CONFLICT:
                bias = draws.bias(people) - draws.bias([str(name)])
                rows.append(_row(MORE_SHAPE, bias, part, told))
                if name == _STYLIZED and _IMAGENET in others:
                    gain = draws.bias([_STYLIZED]) - draws.bias([_IMAGENET])
                    rows.append(_row(STYLIZED_SHAPE, gain, part, told))
                    nearer = mine - draws.kappa([_IMAGENET], people)
                    rows.append(_row(STYLIZED_NEARER, nearer, part, told))
        if {CUE_CONFLICT, "silhouette"} <= set(kappas):
            nearer = kappas["silhouette"] - kappas[CUE_CONFLICT]
            part = largest_part(parts, "silhouette", str(name))
            assert part is not None
            rows.append(_row(SILHOUETTES_NEARER, nearer, part, told))
    table = directions_table(rows)
    order = {claim: i for i, claim in enumerate(dict.fromkeys(table["claim"]))}
    return table.sort_values(
        "claim", key=lambda claims: claims.map(order), kind="stable", ignore_index=True
    )


def _row(
    direction: Direction, draws: FloatArray, part: Part, told: dict[str, Any]
) -> dict[str, Any]:
    """First the number itself, then its resamples."""
    claim = direction.claim.format(experiment=part.experiment)
    named = Direction(claim, direction.people, direction.source, direction.expected)
    low, high = np.nan, np.nan
    if len(draws) > 1:
        low, high = map(float, percentile_interval(draws[1:], level=0.95))
    return direction_row(
        named, value=draws[0], interval=(low, high), n=part.n_images, **told
    )


class _Draws:
    """Measures of one set of pictures: the number, then resamples of the pictures."""

    def __init__(self, part: Part, settings: Settings) -> None:
        self.cell: AlignedTrials = next(align_trials(part.trials, ["condition"]))
        is_human = part.trials["is_human"].astype(bool)
        people = set(part.trials.loc[is_human, "subject"])
        self.people = [name for name in self.cell.subjects if name in people]
        self.trials = part.trials
        n = len(self.cell.images)
        rng = generator(settings.seed, TASK, "directions", part.experiment, n)
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=settings.n_bootstrap)
        self.weights = np.vstack([np.ones((1, n)), drawn])

    def _rows(self, names: Sequence[str]) -> NDArray[np.intp]:
        return np.array([self.cell.subjects.index(name) for name in names], np.intp)

    def accuracy(self, names: Sequence[str]) -> FloatArray:
        """Mean accuracy."""
        mean = self.cell.correct[self._rows(names)].mean(axis=0)
        return np.asarray(self.weights @ mean / len(mean))

    def kappa(
        self, names: Sequence[str], others: Sequence[str] | None = None
    ) -> FloatArray:
        """Mean error consistency of each with each other one, or among `names`."""
        rows = self._rows(names)
        if others is None:
            one, other = np.triu_indices(len(rows), k=1)
            first, second = rows[one], rows[other]
        else:
            others_rows = self._rows(others)
            first = np.repeat(rows, len(others_rows))
            second = np.tile(others_rows, len(rows))
        correct = self.cell.correct
        both = self.weights @ (correct[first] * correct[second]).T
        right = self.weights @ correct.T
        n = correct.shape[1]
        kappas = consistencies(right[:, first], right[:, second], both, n)[2]
        return np.asarray(kappas.mean(axis=1))

    def bias(self, names: Sequence[str]) -> FloatArray:
        """Shape bias of the pooled answers."""
        table = self.trials[self.trials["subject"].isin(names)]
        table = table[table["truth"] != table["texture"]]
        place = pd.Index(self.cell.images).get_indexer(pd.Index(table["image_id"]))
        sums = []
        for cue in ("truth", "texture"):
            hit = (table["response"] == table[cue]).to_numpy(float)
            counts = np.bincount(place, hit, minlength=len(self.cell.images))
            sums.append(self.weights @ counts)
        total = sums[0] + sums[1]
        found = np.full(len(total), np.nan)
        np.divide(sums[0], total, out=found, where=total > 0)
        return found
