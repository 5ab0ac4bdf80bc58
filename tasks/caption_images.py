"""Images from captions of voxels: `neurovis generate from-captions`.

What captions say is drawn by a generator, and shown to the encoder that the captions
came from: do the words lead back to what drives the region?
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.stats import bootstrap_ci
from neurovis.adapters.brainscuba import PROJECTION
from neurovis.adapters.image_generators import (
    encode_prompts,
    find_generator,
    load_image_generator,
)
from neurovis.adapters.prompted_generators import (
    GUIDANCE_SCALE,
    text_guidance,
    with_prompts,
)
from neurovis.adapters.sketch_clip import load_sketch_clip
from neurovis.core.checks import check_between, check_option, check_path, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.embedding_bank import EmbeddingBank, open_bank
from neurovis.core.files import plain, read_table, write_table
from neurovis.core.provenance import collect
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS, Score
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.sampling import SamplingSettings
from tasks.braindive import DriveCondition, generate_images, load_generated
from tasks.clip_encoder_model import ClipEncoder, load_clip_encoder
from tasks.picture_gradients import load_gradient_encoder, unit_regions
from tasks.runs import begin_run, check_same_run, load_scores
from tasks.voxel_captions import TASK as CAPTIONS

TASK = "caption-images"

DRAWN, BEST, UNPROMPTED = "from captions", "from captions, best quarter", "no caption"
BANK, BANK_BEST = "bank, all", "bank, best"
CONDITIONS = (BANK, UNPROMPTED, DRAWN, BEST, BANK_BEST)
"""All pictures of the bank, images of no caption, images from captions, the quarter of
them that the encoder prefers, and as many pictures of the bank."""

SKETCH_SCALE = 100.0
"""Strength of captions for the small generators, in units of the cosine."""

_BANK_ROWS = 65_536


@dataclass(frozen=True)
class CaptionImageSettings:
    """What is drawn, and how.

    Parameters
    ----------
    n_captions : int, default 4
        Different captions per region, of the units that are predicted best.
    n_images : int, default 6
        Images per caption.
    scale : float, optional
        Strength of the captions: of classifier-free guidance (7.5 by default), or for
        the small generators of guidance by CLIP (100 by default).
    sampling : SamplingSettings, optional
        How to sample.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """

    n_captions: int = 4
    n_images: int = 6
    scale: float | None = None
    sampling: SamplingSettings = field(default_factory=SamplingSettings)

    def __post_init__(self) -> None:
        check_whole("n_captions", self.n_captions, low=1)
        check_whole("n_images", self.n_images, low=1)
        if self.scale is not None:
            check_between("scale", self.scale, low=0)


def draw_captions(
    run: str | Path,
    encoder: str | Path,
    source: str = "sketch:latent",
    out: str | Path = "results/caption-images",
    *,
    regions: Sequence[str] | None = None,
    bank: str | Path | EmbeddingBank | None = None,
    settings: CaptionImageSettings | None = None,
    weights: str | Path | None = None,
    precision: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
    local_files_only: bool = True,
) -> Score:
    """Draw what the captions of regions say, and show it to their encoder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    run : str or Path
        Folder of ``neurovis generate captions``.
    encoder : str or Path
        Folder of the encoder of that run.
    source : str, default "sketch:latent"
        Generator: "sketch:latent" or "sketch:pixel" (guided by the small CLIP that
        ships), a folder in the layout of Stable Diffusion, or its name on the hub.
    out : str or Path
        Folder for images and tables.
    regions : sequence of str, optional
        Regions; all labels of at least five captioned units by default.
    bank : str, Path or EmbeddingBank, optional
        The bank of the run: responses to its pictures are predicted for comparison.
    settings : CaptionImageSettings, optional
        What is drawn, and how.
    weights : str or Path, optional
        Weights of the encoder's network, if they lie elsewhere by now.
    precision : str, default "auto"
        As `neurovis.adapters.image_generators.load_image_generator`.
    batch_size : int or "auto", default "auto"
        Images at once.
    n_bootstrap : int, default 1000
        Resamples of images, for limits.
    seed : int, default 0
        Image k of each caption has the seed ``1000 seed + k``.
    device : str, default "auto"
        Where to compute.
    local_files_only : bool, default True
        Do not ask the hub.

    Returns
    -------
    Score
        `activation` of each region: mean over its units of the predicted response, in
        its own unit, for `CONDITIONS`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, the encoder or the bank are not those of the run, or
        `out` holds another run.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If files are missing or damaged.

    Notes
    -----
    `out` gets ``images``, ``manifest.csv``, ``drawn.parquet`` (one row per image and
    region), ``scores.parquet`` and ``provenance.json``. That the encoder responds to
    images of its own captions says that the words carry what it weighs, and nothing of
    cortex. With the small generators the CLIP that guides is the one that the encoder
    looks through: there it is a test of the way, not of the words.

    References
    ----------
    Luo, Henderson, Tarr and Wehbe (2024). ICLR. arXiv:2310.04420.
    """
    settings = CaptionImageSettings() if settings is None else settings
    check_whole("seed", seed, low=0, high=10**6)
    check_whole("n_bootstrap", n_bootstrap, low=2)
    place = resolve(device)
    home = check_path("run", run, kind="folder")
    before = load_scores(home, ("captions.parquet", "units.parquet"), CAPTIONS)
    model = load_clip_encoder(encoder)
    pictures = None
    if bank is not None:
        pictures = bank if isinstance(bank, EmbeddingBank) else open_bank(bank)
    _check_belongs(before.provenance.fingerprints, model, pictures, home)
    told = read_table(home / "captions.parquet")
    words = read_table(home / "units.parquet")
    families = list(model.training.get("families", ()))
    masks = _choose_regions(words, families, regions)
    chosen = choose_captions(told, words, masks, settings.n_captions)
    arguments: dict[str, Any] = plain(
        {
            "task": TASK,
            "captions": before.provenance.fingerprints,
            "call": before.provenance.call,
            "generator": source,
            "regions": list(masks),
            "bank": None if pictures is None else pictures.fingerprint,
            "settings": asdict(settings),
            "precision": precision,
            "seed": seed,
            "n_bootstrap": n_bootstrap,
        }
    )
    check_same_run(out, arguments)
    base = load_image_generator(
        source,
        device=str(place),
        precision=precision,
        local_files_only=local_files_only,
    )
    folder = begin_run(out, arguments)
    with deterministic():
        manifest = _draw(base, source, chosen, settings, folder, seed, batch_size)
    shown = list(load_generated(folder, manifest))
    looking = load_gradient_encoder(
        model.home or encoder, weights=weights, device=place
    )
    drawn = _look(manifest, looking.predict(shown), masks, words)
    write_table(folder / "drawn.parquet", drawn)
    real = (
        None if pictures is None else _bank_activations(model, pictures, masks, words)
    )
    scores = _scores(drawn, real, masks, n_bootstrap, seed)
    notes = [*before.provenance.notes, *base.notes]
    if not base.trained:
        notes.append(f"{base.name}: untrained weights")
    provenance = collect(
        seed,
        place,
        fingerprints={**before.provenance.fingerprints, "generator": base.fingerprint},
        call=arguments,
        notes=list(dict.fromkeys(notes)),
    )
    score = Score(
        scores.assign(
            subject=str(model.training.get("subject", "")),
            unit=str(model.training.get("response_unit", "")),
            stimuli=base.name,
        ),
        provenance,
    )
    score.save(folder)
    return score


def _check_belongs(
    known: Any, model: ClipEncoder, bank: EmbeddingBank | None, home: Path
) -> None:
    found = {"encoder": model.fingerprint}
    if bank is not None:
        found["bank"] = bank.fingerprint
    for name, mark in found.items():
        if known.get(name) != mark:
            raise ValueError(
                f"`{name}` is not the one that the captions of {home} came from (hash "
                f"{mark[:12]}, not {str(known.get(name))[:12]}). Give that one, or "
                "caption again."
            )


def _choose_regions(
    words: pd.DataFrame, families: Sequence[str], regions: Sequence[str] | None
) -> dict[str, NDArray[np.bool_]]:
    masks = unit_regions(words, families)
    if regions is not None:
        for name in regions:
            check_option("regions", name, tuple(masks))
        return {name: masks[name] for name in regions}
    found = {
        name: mask
        for name, mask in masks.items()
        if name not in families and ":" not in name and mask.sum() >= 5
    }
    if not found:
        raise ValueError(
            "No region has five captioned units: name some in `regions`, of "
            f"{', '.join(masks) or 'none (units have no labels)'}."
        )
    return found


def choose_captions(
    told: pd.DataFrame,
    words: pd.DataFrame,
    masks: dict[str, NDArray[np.bool_]],
    n_captions: int,
) -> pd.DataFrame:
    """Return the captions of each region that are drawn.

    Parameters
    ----------
    told : DataFrame
        Captions of `tasks.voxel_captions.caption_voxels`.
    words : DataFrame
        Its table of units.
    masks : dict of str to ndarray of bool, shape (n_units,)
        Rows of `words` in each region.
    n_captions : int
        Most captions per region.

    Returns
    -------
    DataFrame
        `condition` (name of a folder), `region`, `unit`, `caption`: first captions of
        the units with the largest correlation with held-out responses, each text once
        per region.
    """
    first = told[(told["condition"] == PROJECTION) & (told["repeat"] == 0)]
    text = first.set_index("unit")["caption"]
    rows = []
    for region, mask in masks.items():
        own = words[mask].assign(caption=text.loc[words.loc[mask, "unit"]].to_numpy())
        own = own.sort_values("test_r", ascending=False, kind="stable")
        own = own.drop_duplicates("caption").head(n_captions)
        for k, (unit, caption) in enumerate(
            zip(own["unit"], own["caption"], strict=True)
        ):
            name = re.sub(r"[^A-Za-z0-9.+_-]", "-", region)
            rows.append((f"caption-{name}-{k}", region, unit, caption))
    return pd.DataFrame(rows, columns=["condition", "region", "unit", "caption"])


def _draw(
    base: ImageGenerator,
    source: str,
    chosen: pd.DataFrame,
    settings: CaptionImageSettings,
    folder: Path,
    seed: int,
    batch_size: int | Literal["auto"],
) -> pd.DataFrame:
    """Return the manifest of all images, with their captions."""
    seeds = tuple(1000 * seed + k for k in range(settings.n_images))
    options: Any = {"settings": settings.sampling, "batch_size": batch_size}
    names, texts = list(chosen["condition"]), list(chosen["caption"])
    plain_ones = [DriveCondition("no-caption", None, seeds)]
    parts = [generate_images(base, plain_ones, folder, **options)]
    if source.startswith("sketch:"):
        clip = load_sketch_clip().to(base.device)
        scale = SKETCH_SCALE if settings.scale is None else settings.scale
        conditions = []
        for name, text in zip(names, texts, strict=True):
            guidance = text_guidance(clip, text, scale=scale)
            mark = guidance.encoder.fingerprint  # type: ignore[attr-defined]
            conditions.append(DriveCondition(name, guidance, seeds, identity=mark))
        parts.append(generate_images(base, conditions, folder, **options))
    else:
        where, _ = find_generator(source)
        embedded = encode_prompts(where, texts, device=str(base.device))
        scale = GUIDANCE_SCALE if settings.scale is None else settings.scale
        prompted = with_prompts(base, embedded, guidance_scale=scale)
        for name, own in zip(names, prompted, strict=True):
            condition = DriveCondition(name, None, seeds)
            parts.append(generate_images(own, [condition], folder, **options))
    table = pd.concat(parts, ignore_index=True).drop(columns="region")
    return table.merge(chosen, on="condition", how="left")


def _look(
    manifest: pd.DataFrame,
    responses: NDArray[np.float32],
    masks: dict[str, NDArray[np.bool_]],
    words: pd.DataFrame,
) -> pd.DataFrame:
    """Return what each region is predicted to give to each image."""
    tables = []
    for region, mask in masks.items():
        units = words.loc[mask, "unit"].to_numpy()
        values = responses[:, units].astype(np.float64).mean(axis=1)
        told = manifest.rename(columns={"region": "caption_of"})
        tables.append(told.assign(region=region, activation=values))
    return pd.concat(tables, ignore_index=True)


def _bank_activations(
    model: ClipEncoder,
    bank: EmbeddingBank,
    masks: dict[str, NDArray[np.bool_]],
    words: pd.DataFrame,
) -> dict[str, NDArray[np.float64]]:
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in masks}
    for _, block in bank.blocks(_BANK_ROWS):
        predicted = model.predict(block)
        for name, mask in masks.items():
            units = words.loc[mask, "unit"].to_numpy()
            found[name].append(predicted[:, units].astype(np.float64).mean(axis=1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _scores(
    drawn: pd.DataFrame,
    real: dict[str, NDArray[np.float64]] | None,
    masks: dict[str, NDArray[np.bool_]],
    n_bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    rows = []
    for region in masks:
        own = drawn[drawn["region"] == region]
        from_own = own.loc[own["caption_of"] == region, "activation"].to_numpy()
        n_best = max(len(from_own) // 4, 1)
        values = {
            UNPROMPTED: own.loc[own["caption"].isna(), "activation"].to_numpy(),
            DRAWN: from_own,
            BEST: np.sort(from_own)[-n_best:],
        }
        if real is not None:
            values[BANK] = real[region]
            values[BANK_BEST] = np.sort(real[region])[-n_best:]
        for name in CONDITIONS:
            if name not in values:
                continue
            low, high = np.nan, np.nan
            # The bank is no sample of anything.
            if len(values[name]) > 1 and name != BANK:
                rng = generator(seed, TASK, region, name)
                limits = bootstrap_ci(values[name], n_bootstrap=n_bootstrap, rng=rng)
                low, high = float(limits[0]), float(limits[1])
            rows.append(
                {
                    "model": name,
                    "task": TASK,
                    "metric": "activation",
                    "region": region,
                    "condition": name,
                    "value": float(values[name].mean()),
                    "ci_low": low,
                    "ci_high": high,
                    "n": len(values[name]),
                    "seed": seed,
                }
            )
    return pd.DataFrame(rows).reindex(columns=list(SCORE_COLUMNS))
