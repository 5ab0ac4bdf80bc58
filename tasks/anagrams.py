"""Pictures that show one thing upright and another in another view.

Two regions of a simulated brain guide one picture, each in its own view (Geng et al.
2024, arXiv:2311.17919); a judge that did not guide names what each view shows.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from analysis.stats import wilson_interval
from neurovis.adapters.braindive import BrainGuidance, contrast_weights
from neurovis.adapters.sketch_generator import CATEGORIES
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import write_table
from neurovis.core.provenance import collect
from neurovis.core.types import SCORE_COLUMNS, Score
from neurovis.generation.anagrams import AnagramGuidance, pixels_per_place
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.sampling import Guidance, SamplingSettings
from neurovis.generation.views import View, make_view
from tasks.braindive import DriveCondition, generate_images, load_generated
from tasks.braindive_observers import (
    Observers,
    look_at,
    make_observers,
    region_columns,
    simulation_notes,
)
from tasks.runs import begin_run, check_same_run

TASK = "anagrams"
BOTH, FIRST, SECOND, NEITHER = "both views", "first view", "second view", "unguided"

ANAGRAM_COLUMNS = ("view", "view_number", "note")
"""Columns beside those of all scores."""

_SIDE_PX = 32


@dataclass(frozen=True)
class AnagramSettings:
    """What is made, and how.

    Parameters
    ----------
    views : tuple of str, default ("identity", "rotate-180")
        Two of `neurovis.generation.views.VIEWS`.
    regions : tuple of str, default ("face", "place")
        What is driven in each.
    n_images : int, default 48
        Pictures per condition.
    scale : float, default 10
        Strength of each guidance.
    sampling : SamplingSettings, optional
        25 steps of DDIM by default.
    balance : bool, default False
        Give views that are behind more weight.
    segregation : float, default 0
        Rate of anti-segregation, where both views are guided: see
        `neurovis.generation.anti_segregation.anti_segregation_step`.
    n_drawn : int, default 4000
        Drawings to train each network on, and to show each brain.
    epochs : int, default 12
        Epochs of each network.

    Raises
    ------
    TypeError, ValueError
        If there are not two views and two different regions, or a number is out of
        range.
    """

    views: tuple[str, ...] = ("identity", "rotate-180")
    regions: tuple[str, ...] = ("face", "place")
    n_images: int = 48
    scale: float = 10.0
    sampling: SamplingSettings = field(
        default_factory=lambda: SamplingSettings(25, "ddim")
    )
    balance: bool = False
    segregation: float = 0.0
    n_drawn: int = 4000
    epochs: int = 12

    def __post_init__(self) -> None:
        for name in ("views", "regions"):
            given = getattr(self, name)
            if len(given) != 2 or len(set(given)) < 2:
                raise ValueError(f"`{name}` must be two different names; got {given}.")
        for region in self.regions:
            check_option("regions", region, CATEGORIES)
        check_whole("n_images", self.n_images, low=2)
        check_whole("n_drawn", self.n_drawn, low=100)
        check_whole("epochs", self.epochs, low=1)
        check_between("scale", self.scale, low=0)
        check_between("segregation", self.segregation, low=0)
        for view in self.views:
            make_view(view, _SIDE_PX)


def run_anagrams(
    image_generator: ImageGenerator,
    out: str | Path = "results/anagrams",
    *,
    settings: AnagramSettings | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
) -> Score:
    """Make pictures with two views, and let a judge name both.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    image_generator : ImageGenerator
        Denoises pixels: ``load_image_generator("sketch:pixel")``.
    out : str or Path
        Folder for ``images``, ``manifest.csv``, ``looks.parquet`` (one row per picture
        and view) and the scores.
    settings : AnagramSettings, optional
        What is made.
    seed : int, default 0
        Seed of networks, brains and pictures (picture k has ``1000 seed + k``).
    device : str, default "auto"
        Where networks run.
    batch_size : int or "auto", default "auto"
        Pictures at once.

    Returns
    -------
    Score
        `SCORE_COLUMNS` and `ANAGRAM_COLUMNS`: per condition ("both views", "first
        view": only that is guided, "second view", "unguided") and view the share that
        the judge names as meant, with Wilson's 95 % interval, the activation of the
        held-out brain, and, with the view "both", the share in which both are named.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, the generator denoises latents or makes other sizes, or
        `out` holds another run.
    FloatingPointError
        If samples or too many gradients are not finite.
    PermissionError, NotADirectoryError
        If `out` cannot be written.
    """
    settings = AnagramSettings() if settings is None else settings
    check_whole("seed", seed, low=0)
    place = resolve(device)
    pixels_per_place(image_generator)
    if image_generator.size_px != (_SIDE_PX, _SIDE_PX):
        raise ValueError(
            "The simulated observers look at 32 x 32 pixels; this generator makes "
            f"{image_generator.size_px}. Use 'sketch:pixel'."
        )
    arguments: dict[str, Any] = {
        "task": TASK,
        "generator": image_generator.name,
        "fingerprint": image_generator.fingerprint,
        "settings": asdict(settings),
        "seed": seed,
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
        views = [make_view(name, _SIDE_PX) for name in settings.views]
        conditions = _conditions(seen, settings, views, seed)
        manifest = generate_images(
            image_generator.to(place),
            conditions,
            folder,
            settings=settings.sampling,
            batch_size=batch_size,
        )
        looks = pd.concat(
            [
                _look(folder, manifest, condition.name, number, views, settings, seen)
                for condition in conditions
                for number in range(2)
            ],
            ignore_index=True,
        )
    write_table(folder / "looks.parquet", looks)
    scores = _scores(looks, settings, seed)
    provenance = collect(
        seed,
        place,
        fingerprints={
            "generator": image_generator.fingerprint,
            "guide": seen.guide.fingerprint,
        },
        call=arguments,
        notes=simulation_notes(image_generator, seen),
    )
    score = Score(scores, provenance)
    score.save(folder)
    return score


@dataclass(frozen=True)
class _Silent:
    """A guidance that never acts: its view is only denoised."""

    scale: float = 0.0
    parameters: dict[str, Any] = field(default_factory=dict)

    def acts(self, share: float, level: Any) -> bool:
        return False

    def step(self, *args: Any, **options: Any) -> Any:
        raise AssertionError("it never acts")


def _conditions(
    seen: Observers, settings: AnagramSettings, views: Sequence[View], seed: int
) -> list[DriveCondition]:
    masks = region_columns(seen.responses[0])
    seeds = tuple(1000 * seed + k for k in range(settings.n_images))
    guides: list[Guidance] = []
    for region in settings.regions:
        weights = contrast_weights(len(masks[region]), masks[region])
        guides.append(BrainGuidance(seen.guide, weights, scale=settings.scale))
    silent = _Silent()
    found = []
    for name, pair in (
        (BOTH, (guides[0], guides[1])),
        (FIRST, (guides[0], silent)),
        (SECOND, (silent, guides[1])),
        (NEITHER, (silent, silent)),
    ):
        guidance = AnagramGuidance(
            views,
            pair,
            settings.sampling,
            balance=settings.balance,
            segregation_rate=settings.segregation if name == BOTH else 0.0,
        )
        slug = name.replace(" ", "-")
        region = "+".join(settings.regions)
        found.append(
            DriveCondition(slug, guidance, seeds, region, seen.guide.fingerprint)
        )
    return found


def _look(
    folder: Path,
    manifest: pd.DataFrame,
    slug: str,
    number: int,
    views: Sequence[View],
    settings: AnagramSettings,
    seen: Observers,
) -> pd.DataFrame:
    rows = manifest[manifest["condition"] == slug]
    shown = turn(load_generated(folder, rows), views[number])
    table, _ = look_at(shown, settings.regions[number], seen)
    return table.assign(
        condition=slug.replace("-", " "),
        view=settings.views[number],
        view_number=number + 1,
        region=settings.regions[number],
        seed=rows["seed"].to_numpy(),
        file=rows["file"].to_numpy(),
    )


def turn(images: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """Return pictures as they look in a view.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, H, W, 3)
        RGB.
    view : View
        How they are turned.

    Returns
    -------
    ndarray of uint8, shape (n, H, W, 3)
        RGB; exact.
    """
    levels = torch.tensor(images).permute(0, 3, 1, 2).double() / 255
    seen = view.apply_to_images(levels)
    back = (seen * 255).round().byte().permute(0, 2, 3, 1)
    return np.ascontiguousarray(back.numpy())


def _scores(looks: pd.DataFrame, settings: AnagramSettings, seed: int) -> pd.DataFrame:
    rows = []
    for condition, part in looks.groupby("condition", sort=False):
        named = []
        for number in (1, 2):
            own = part[part["view_number"] == number].sort_values("seed")
            base = {
                "model": condition,
                "region": settings.regions[number - 1],
                "view": settings.views[number - 1],
                "view_number": number,
                "n": len(own),
            }
            hits = own["judge_accuracy"].to_numpy(np.float64)
            named.append(hits)
            rows.append({**base, **_share("judge_accuracy", hits)})
            for metric in ("heldout_activation", "guide_activation"):
                values = own[metric].to_numpy(np.float64)
                half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
                rows.append(
                    {
                        **base,
                        "metric": metric,
                        "value": values.mean(),
                        "ci_low": values.mean() - half,
                        "ci_high": values.mean() + half,
                        "unit": "z",
                    }
                )
        both = named[0] * named[1]
        rows.append(
            {
                "model": condition,
                "region": "+".join(settings.regions),
                "view": "both",
                "n": len(both),
                "note": "named in both views of one picture",
                **_share("judge_accuracy", both),
            }
        )
    table = pd.DataFrame(rows).reindex(columns=[*SCORE_COLUMNS, *ANAGRAM_COLUMNS])
    return table.assign(
        stimuli=TASK,
        task=TASK,
        condition=table["model"],
        seed=seed,
        note=table["note"].fillna("").astype(str),
        n=table["n"].astype("Int64"),
        view_number=table["view_number"].astype("Int64"),
    )


def _share(metric: str, hits: NDArray[np.float64]) -> dict[str, Any]:
    low, high = wilson_interval(round(float(hits.sum())), len(hits))
    return {
        "metric": metric,
        "value": float(hits.mean()),
        "ci_low": float(low),
        "ci_high": float(high),
        "unit": "share",
    }
