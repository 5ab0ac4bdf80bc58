"""Images that drive a simulated region, and what others than their guide see in them.

The whole loop of BrainDiVE without data of anybody: simulated brains with declared
selectivity, an encoder that guides, and observers that did not: a judge, a second
brain seen through another network, pixel ascent, real pictures, permuted regions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from data_loaders.simulated_selectivity import simulate_selective_units
from neurovis.adapters.braindive import BrainGuidance, contrast_weights
from neurovis.adapters.sketch_generator import CATEGORIES
from neurovis.core.checks import check_between, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import sha256_json, write_table
from neurovis.core.provenance import collect
from neurovis.core.rng import generator as numpy_generator
from neurovis.core.store import Store
from neurovis.core.types import Score
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.pixel_ascent import ascend_pixels
from neurovis.generation.sampling import MOST_SEED, SamplingSettings
from tasks.braindive import DriveCondition, generate_images, load_generated
from tasks.braindive_observers import (
    Observers,
    encoder_table,
    look_at,
    make_observers,
    region_columns,
    simulation_notes,
    to_pixels,
)
from tasks.braindive_scores import (
    GUIDED,
    TASK,
    UNGUIDED,
    braindive_scores,
    label_shares,
)
from tasks.runs import begin_run, check_same_run
from tasks.sketch_training import draw_sketches

FloatArray = NDArray[np.float64]
Pictures = NDArray[np.uint8]

SWEEP = "sweep"
SUPPRESSED, PERMUTED, ASCENT = "suppressed", "permuted regions", "pixel ascent"
REAL, REAL_BEST = "real, random", "real, best measured"
_CANDIDATES = 606


@dataclass(frozen=True)
class DiveSettings:
    """Size and strength of the experiment.

    Parameters
    ----------
    n_images : int, default 96
        Images per region of the conditions "guided" and "unguided".
    n_controls : int, default 48
        Images per region of controls and of every other strength.
    scale : float, default 100
        Strength of guidance: as much as the generator that ships bears without losing
        the look of its drawings.
    scales : tuple of float, default (1, 10, 1e3, 1e4, 1e5, 1e6)
        Other strengths that are tried.
    n_steps : int, default 25
        Steps from noise to image.
    sampler : str, default "ddim"
        See `neurovis.generation.sampling.SamplingSettings`.
    copies : int, default 1
        Copies over which gradients are averaged; see
        `neurovis.adapters.braindive.BrainGuidance`.
    shift_px : int, default 0
        Pixels that copies are shifted by, at most.
    noise_sd : float, default 0
        Noise that is added to copies.
    n_drawn : int, default 4000
        Drawings to train each network on, and to show each brain.
    n_candidates : int, default 1000
        Drawings among which those with the largest measured responses are chosen.
    epochs : int, default 12
        Epochs of each network.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """

    n_images: int = 96
    n_controls: int = 48
    scale: float = 100.0
    scales: tuple[float, ...] = (1.0, 10.0, 1e3, 1e4, 1e5, 1e6)
    n_steps: int = 25
    sampler: str = "ddim"
    copies: int = 1
    shift_px: int = 0
    noise_sd: float = 0.0
    n_drawn: int = 4000
    n_candidates: int = 1000
    epochs: int = 12

    def __post_init__(self) -> None:
        check_whole("n_images", self.n_images, low=4)
        check_whole("n_controls", self.n_controls, low=2, high=self.n_images)
        check_whole("n_drawn", self.n_drawn, low=100)
        check_whole("n_candidates", self.n_candidates, low=2 * self.n_controls)
        check_whole("epochs", self.epochs, low=1)
        for scale in (self.scale, *self.scales):
            if check_between("scale", scale, low=0) == 0:
                raise ValueError("`scale` and `scales` must be above 0.")
        # As names of folders tell them.
        told = [f"{scale:g}" for scale in (self.scale, *self.scales)]
        if len(set(told)) < len(told):
            raise ValueError(
                "`scales` must differ from each other and from `scale` "
                f"({self.scale}) in six digits; got {self.scales}."
            )
        SamplingSettings(self.n_steps, self.sampler)
        check_whole("copies", self.copies, low=1)
        check_whole("shift_px", self.shift_px, low=0)
        check_between("noise_sd", self.noise_sd, low=0)


def run_braindive(
    image_generator: ImageGenerator,
    out: str | Path = "results/braindive",
    *,
    settings: DiveSettings | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
    n_bootstrap: int = 2000,
) -> Score:
    """Generate images for five simulated regions and let others judge them.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    image_generator : ImageGenerator
        Generator of 32 x 32 pixels, such as
        ``load_image_generator("sketch:latent")``.
    out : str or Path
        Folder for images and tables.
    settings : DiveSettings, optional
        Size and strength.
    seed : int, default 0
        Seed of networks, brains, and images (image k of each condition has the seed
        ``1000 seed + k``).
    device : str, default "auto"
        Where networks run.
    batch_size : int or "auto", default "auto"
        Images at once.
    n_bootstrap : int, default 2000
        Resamples for intervals.

    Returns
    -------
    Score
        Table of `tasks.braindive_scores.braindive_scores`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, the generator makes other sizes, or `out` holds
        another run.
    FloatingPointError
        If samples or too many gradients are not finite.
    PermissionError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    `out` gets ``images``, ``manifest.csv``, ``networks``, ``looks.parquet`` (one row
    per image and region), ``labels.parquet``, ``encoders.parquet``,
    ``scores.parquet`` and ``provenance.json``.

    References
    ----------
    Luo, Henderson, Wehbe and Tarr (2023). NeurIPS 36. arXiv:2306.03089.
    """
    settings = DiveSettings() if settings is None else settings
    check_whole("seed", seed, low=0, high=(MOST_SEED - settings.n_images) // 1000)
    check_whole("n_bootstrap", n_bootstrap, low=2)
    place = resolve(device)
    if image_generator.size_px != (32, 32):
        raise ValueError(
            "The simulated observers look at 32 x 32 pixels; this generator makes "
            f"{image_generator.size_px}. Use 'sketch:latent' or 'sketch:pixel'."
        )
    arguments: dict[str, Any] = {
        "task": TASK,
        "generator": image_generator.name,
        "fingerprint": image_generator.fingerprint,
        "settings": asdict(settings),
        "seed": seed,
        "n_bootstrap": n_bootstrap,
    }
    check_same_run(out, arguments)
    folder = begin_run(out, arguments)
    with deterministic():
        seen = make_observers(
            folder / "networks",
            n_drawn=settings.n_drawn,
            epochs=settings.epochs,
            seed=seed,
            device=place,
        )
        conditions = _conditions(seen, settings, seed)
        manifest = generate_images(
            image_generator.to(place),
            conditions,
            folder,
            settings=SamplingSettings(settings.n_steps, settings.sampler),
            batch_size=batch_size,
        )
        sets = [
            (name, region, load_generated(folder, part), part)
            for name, region in dict.fromkeys((c.name, c.region) for c in conditions)
            for part in [manifest[manifest["condition"] == name]]
        ]
        looks, embeddings = _look_at_all(folder, sets, seen, settings, seed, place)
    write_table(folder / "looks.parquet", looks)
    shares = label_shares(looks, CATEGORIES, CATEGORIES)
    write_table(folder / "labels.parquet", shares)
    write_table(folder / "encoders.parquet", encoder_table(seen))
    scores = braindive_scores(
        looks,
        embeddings,
        regions=CATEGORIES,
        stimuli=f"{TASK}:{sha256_json(manifest['sha256'].tolist())[:12]}",
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    provenance = collect(
        seed,
        place,
        fingerprints={
            "generator": image_generator.fingerprint,
            "guide": seen.guide.fingerprint,
            "held-out brain": seen.heldout.fingerprint,
        },
        call=arguments,
        notes=simulation_notes(image_generator, seen),
    )
    score = Score(scores, provenance)
    score.save(folder)
    return score


def condition_name(kind: str, region: str, scale: float) -> str:
    """Return the name of the folder of a condition.

    Parameters
    ----------
    kind, region : str
        What it is.
    scale : float
        Strength.

    Returns
    -------
    str
        Such as "guided-face-3".

    Examples
    --------
    >>> condition_name("guided", "face", 0.3)
    'guided-face-0.3'
    """
    return "-".join([*kind.split(), region, f"{scale:g}"])


def _conditions(
    seen: Observers, settings: DiveSettings, seed: int
) -> list[DriveCondition]:
    seeds = tuple(1000 * seed + k for k in range(settings.n_images))
    few = seeds[: settings.n_controls]
    mark = seen.guide.fingerprint
    masks = region_columns(seen.responses[0])
    n_units = len(seen.responses[0].units)
    found = [DriveCondition(UNGUIDED, None, seeds)]

    def add(kind: str, scale: float, seeds: tuple[int, ...], order: Any = None) -> None:
        for region in CATEGORIES:
            mask = masks[region]
            if order is not None:
                mask = mask[order]
            guidance = BrainGuidance(
                seen.guide,
                contrast_weights(n_units, mask),
                scale=scale,
                copies=settings.copies,
                shift_px=settings.shift_px,
                noise_sd=settings.noise_sd,
            )
            name = condition_name(kind, region, scale)
            found.append(DriveCondition(name, guidance, seeds, region, mark))

    add(GUIDED, settings.scale, seeds)
    for scale in settings.scales:
        add(SWEEP, scale, few)
    add(SUPPRESSED, -settings.scale, few)
    # Permuted voxels still prefer something, by chance: a permutation for each image.
    for each in few:
        rng = numpy_generator(seed, TASK, "permuted regions", each)
        add(PERMUTED, settings.scale, (each,), rng.permutation(n_units))
    return found


def _kind(name: str, region: str) -> str:
    """Return what a condition is called in tables: "sweep 0.3" for other strengths."""
    if not region:
        return name
    kind, scale = name.split(f"-{region}-")
    return f"{SWEEP} {scale}" if kind == SWEEP else kind.replace("-", " ")


def _look_at_all(
    folder: Path,
    sets: Sequence[tuple[str, str, Pictures, pd.DataFrame]],
    seen: Observers,
    settings: DiveSettings,
    seed: int,
    device: torch.device,
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Let all observers look at generated images, real ones, and pixel ascent."""
    tables, embeddings = [], []

    def take(kind: str, region: str, shown: Pictures, scale: float, seeds: Any) -> None:
        table, embedding = look_at(shown, region, seen)
        tables.append(
            table.assign(condition=kind, region=region, scale=scale, seed=seeds)
        )
        embeddings.append(embedding)

    for name, region, shown, rows in sets:
        seeds = rows["seed"].to_numpy()
        scale = float(rows["scale"].iloc[0])
        for own in (region,) if region else CATEGORIES:
            take(_kind(name, region), own, shown, scale, seeds)
    for region, shown in _ascended(folder, seen, settings, seed, device).items():
        take(ASCENT, region, shown, np.nan, np.arange(len(shown)))
    for kind, region, shown in _real(seen, settings, seed):
        take(kind, region, shown, np.nan, np.arange(len(shown)))
    return pd.concat(tables, ignore_index=True), np.concatenate(embeddings)


def _ascended(
    folder: Path,
    seen: Observers,
    settings: DiveSettings,
    seed: int,
    device: torch.device,
) -> Mapping[str, Pictures]:
    masks = region_columns(seen.responses[0])
    store, found = Store(folder / "parts"), {}
    for region in CATEGORIES:
        weights = contrast_weights(len(masks[region]), masks[region])
        guidance = BrainGuidance(seen.guide, weights)
        seeds = [1000 * seed + k for k in range(settings.n_controls)]

        def compute(
            guidance: BrainGuidance = guidance, seeds: Sequence[int] = tuple(seeds)
        ) -> dict[str, NDArray[Any]]:
            shown = ascend_pixels(guidance.objective, seeds, (32, 32), device=device)
            return {"images": shown}

        parts = {
            "task": "pixel ascent",
            "guide": seen.guide.fingerprint,
            "region": region,
            "seeds": seeds,
        }
        kept = store.get_or_compute(parts, compute)
        found[region] = np.asarray(kept["images"])
    return found


def _real(
    seen: Observers, settings: DiveSettings, seed: int
) -> list[tuple[str, str, Pictures]]:
    """Return drawings that nobody was trained on: random ones, and the best.

    The best have the largest mean responses of the first brain in trials that nothing
    was fitted to.
    """
    n = settings.n_controls
    drawn, table = draw_sketches(settings.n_candidates, seed=_CANDIDATES + 1000 * seed)
    pictures, names = to_pixels(drawn), table["category"].tolist()
    measured = simulate_selective_units(
        pictures, names, regions=CATEGORIES, subject="sim01", seed=seed
    )
    found = []
    for region, mask in region_columns(measured).items():
        order = np.argsort(-measured.betas[:, mask].mean(axis=1), kind="stable")
        found.append((REAL_BEST, region, pictures[order[:n]]))
        found.append((REAL, region, pictures[:n]))
    return found
