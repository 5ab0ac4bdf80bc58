"""Samples of metamers, one at a time: started, refined, measured, kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.adapters.foveated_texture import to_bytes, to_unit
from neurovis.core.device import exact_float32
from neurovis.core.log import progress
from neurovis.core.provenance import code_fingerprint
from neurovis.core.store import Store
from neurovis.foveation.pooled_errors import statistics_errors
from neurovis.foveation.pooled_statistics import PooledStatistics
from neurovis.foveation.refine import noise_start, refine
from neurovis.foveation.texture import FoveatedTexture
from stimuli.save import picture_hash
from tasks.metamer_design import MetamerDesign, pooled_statistics

VERSION = 1
"""Raised when the same call gives other pictures."""

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """One finished sample.

    Parameters
    ----------
    image : str
        Name of its original.
    scale : float
        Of the windows.
    number : int
        Which one of this picture and scale, from 1.
    picture : ndarray of uint8, shape (H, W, 3)
        Pixels.
    curve : DataFrame
        Descent, as of `neurovis.foveation.refine.Refinement`; empty without steps.
    errors : DataFrame
        `statistic`, `start`, `final`: relative errors of the start and of `picture`.
    """

    image: str
    scale: float
    number: int
    picture: Image
    curve: pd.DataFrame
    errors: pd.DataFrame

    @property
    def name(self) -> str:
        """Identity, which can name a file."""
        return f"{self.image}_s{self.scale:g}_{self.number}"


def make_samples(
    originals: Mapping[str, Image],
    design: MetamerDesign,
    folder: Path,
    place: torch.device,
) -> list[Sample]:
    """Make the samples that are not there yet, and return all.

    Parameters
    ----------
    originals : mapping of str to ndarray of uint8, shape (size_px, size_px, 3)
        Base pictures by name; of equal channels where the design is grey.
    design : MetamerDesign
        What to make.
    folder : Path
        Folder of the store.
    place : torch.device
        Where to compute.

    Returns
    -------
    list of Sample
        By scale, then picture, then number.
    """
    store, code = Store(folder), code_fingerprint()
    # What a single sample depends on is not the whole design.
    free = ("scales", "n_samples", "n_per_pair", "tolerance")
    fixed = {k: v for k, v in design.parameters.items() if k not in free}
    made = []
    n = len(design.scales) * len(originals) * design.n_samples
    with progress(n, "metamers", unit="sample") as bar, exact_float32():
        for scale in design.scales:
            maker = _Maker(design, scale, place)
            for image, original in originals.items():
                for number in range(1, design.n_samples + 1):
                    parts = {
                        "version": VERSION,
                        "code": code,
                        "device": place.type,
                        "picture": picture_hash(original),
                        "image": image,
                        "scale": scale,
                        "sample": number,
                        **fixed,
                    }
                    compute = partial(maker, original, image, number)
                    kept = store.get_or_compute(parts, compute)
                    made.append(_unpacked(kept, image, scale, number))
                    bar.update(1)
    return made


class _Maker:
    """Makes samples of one scale; its operators are made when first needed."""

    def __init__(
        self, design: MetamerDesign, scale: float, place: torch.device
    ) -> None:
        self.design, self.scale, self.place = design, scale, place

    @cached_property
    def statistics(self) -> PooledStatistics:
        return pooled_statistics(self.design, self.scale)

    @cached_property
    def texture(self) -> FoveatedTexture:
        design = self.design
        return FoveatedTexture(
            (design.size_px, design.size_px),
            scale=self.scale,
            px_per_deg=design.viewing.px_per_deg,
            fixation_px=design.fixation,
            fovea_deg=design.fovea_deg,
            strength=1.0,
        )

    def __call__(
        self, original: Image, image: str, number: int
    ) -> dict[str, NDArray[Any]]:
        design, key = self.design, f"{image} {self.scale!r} {number}"
        target = self._tensor(original)
        if design.start == "noise":
            start = noise_start(target, self.statistics, key=key, seed=design.seed)
        else:
            start = self.texture(
                to_unit([original]).to(self.place), keys=[key], seed=design.seed
            )[:, : target.shape[1]].contiguous()
        final, curve = start, pd.DataFrame()
        if design.n_steps:
            found = refine(
                target,
                self.statistics,
                start=start,
                n_steps=design.n_steps,
                optimiser=cast(Any, design.optimiser),
                keys=[key],
                seed=design.seed,
            )
            final, curve = found.images, found.curve.drop(columns="image")
        (picture,) = to_bytes(final.expand(-1, 3, -1, -1))
        kept: dict[str, NDArray[Any]] = {"picture": picture}
        with torch.no_grad():
            aim = self.statistics(target)
            ends = [
                statistics_errors(aim, self.statistics(one))
                for one in (start, self._tensor(picture))
            ]
        for name in ends[0]:
            both = [float(end[name]) ** 0.5 for end in ends]
            kept[f"error {name}"] = np.array(both)
        for name in curve.columns:
            kept[f"curve {name}"] = curve[name].to_numpy(np.float64)
        return kept

    def _tensor(self, picture: Image) -> Tensor:
        channels = 1 if self.design.grey else 3
        return to_unit([picture])[:, :channels].contiguous().to(self.place)


def _unpacked(
    kept: dict[str, NDArray[Any]], image: str, scale: float, number: int
) -> Sample:
    # A store gives names in an order of its own.
    names = sorted(kept)
    columns = [n.removeprefix("curve ") for n in names if n.startswith("curve ")]
    first = [c for c in ("step", "loss", "gradient_norm", "change") if c in columns]
    columns = first + [c for c in columns if c not in first]
    curve = pd.DataFrame({c: kept[f"curve {c}"] for c in columns})
    families = [n.removeprefix("error ") for n in names if n.startswith("error ")]
    values = np.array([kept[f"error {name}"] for name in families])
    errors = pd.DataFrame(
        {"statistic": families, "start": values[:, 0], "final": values[:, 1]}
    )
    return Sample(image, scale, number, kept["picture"], curve, errors)
