"""Images that drive a region of a fitted encoder: `neurovis generate braindive`.

As in the experiment with simulated brains (`tasks.braindive_experiment`), with the
user's generator and encoder: images guided and unguided from the same seeds, and,
where they are given, a judge and the encoder of another brain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from neurovis.adapters.braindive import BrainGuidance, region_weights
from neurovis.adapters.zero_shot import ZeroShotJudge
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import deterministic
from neurovis.core.files import plain, sha256_json, write_table
from neurovis.core.provenance import collect
from neurovis.core.types import Score
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.sampling import SamplingSettings
from tasks.braindive import DriveCondition, generate_images, load_generated
from tasks.braindive_scores import (
    GUIDED,
    METRICS,
    UNGUIDED,
    braindive_scores,
    label_shares,
)
from tasks.picture_gradients import GradientEncoder
from tasks.runs import begin_run, check_same_run

TASK = "braindive-drive"


@dataclass(frozen=True)
class GuideSettings:
    """Strength and ways of guidance; see `neurovis.adapters.braindive.BrainGuidance`.

    Parameters
    ----------
    scale : float, default 130
        Strength; that of the paper, for the published encoder.
    scale_kind : {"absolute", "relative"}, default "absolute"
        What it means.
    mix : {"sigma", "clean"}, default "sigma"
        What the encoder is shown.
    through_denoiser : bool, default True
        Whether gradients flow through the denoising network.
    start, stop : float, default 0 and 1
        Share of the steps from and up to which guidance acts.
    copies : int, default 1
        Copies over which gradients are averaged.
    shift_px : int, default 0
        Pixels that copies are shifted by, at most.
    noise_sd : float, default 0
        Noise that is added to copies.
    max_norm : float, optional
        Longest gradient.
    """

    scale: float = 130.0
    scale_kind: str = "absolute"
    mix: str = "sigma"
    through_denoiser: bool = True
    start: float = 0.0
    stop: float = 1.0
    copies: int = 1
    shift_px: int = 0
    noise_sd: float = 0.0
    max_norm: float | None = None


def drive_region(
    image_generator: ImageGenerator,
    encoder: GradientEncoder,
    out: str | Path = "results/drive",
    *,
    region: str,
    against: str | None = None,
    ratio: float = 1.0,
    seeds: Sequence[int] = tuple(range(96)),
    guide: GuideSettings | None = None,
    sampling: SamplingSettings | None = None,
    heldout: GradientEncoder | None = None,
    judge: ZeroShotJudge | None = None,
    category: str | None = None,
    batch_size: int | Literal["auto"] = "auto",
    n_bootstrap: int = 2000,
) -> Score:
    """Generate images that drive a region, and the same seeds without guidance.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    image_generator : ImageGenerator
        See `neurovis.adapters.image_generators.load_image_generator`.
    encoder : GradientEncoder
        Whose prediction is driven, on the device of the generator.
    out : str or Path
        Folder for ``images``, ``manifest.csv``, ``looks.parquet`` and the scores.
    region : str
        What to drive: a region of the encoder's units.
    against : str, optional
        Region whose mean is subtracted.
    ratio : float, default 1
        Factor of that mean.
    seeds : sequence of int, default 0 to 95
        One image each, guided and unguided.
    guide : GuideSettings, optional
        Strength and ways.
    sampling : SamplingSettings, optional
        How images are sampled.
    heldout : GradientEncoder, optional
        Encoder of another brain, best with another network, that has the region too.
    judge : ZeroShotJudge, optional
        Names categories; not with the network that guides.
    category : str, optional
        What the judge should see; needed with a judge.
    batch_size : int or "auto", default "auto"
        Images at once.
    n_bootstrap : int, default 2000
        Resamples for intervals, >= 2.

    Returns
    -------
    Score
        Table of `tasks.braindive_scores.braindive_scores`; what was not asked is NaN.

    Raises
    ------
    ValueError
        If the region is unknown or holds no fitted unit, an option cannot be, or `out`
        holds another run.
    FloatingPointError
        If samples or too many gradients are not finite.
    MemoryError
        If a single image does not fit.

    Notes
    -----
    A large predicted activation says that the search succeeded. Whether a brain
    responds needs a new measurement.
    """
    guide = GuideSettings() if guide is None else guide
    sampling = SamplingSettings() if sampling is None else sampling
    check_whole("n_bootstrap", n_bootstrap, low=2)
    if judge is not None:
        check_option("category", category or "", judge.classes)
    masks = {name: torch.from_numpy(m) for name, m in encoder.regions.items()}
    weights = region_weights(
        masks, region, against=against, ratio=ratio, fitted=encoder.fitted
    )
    if heldout is not None:
        other = {name: torch.from_numpy(m) for name, m in heldout.regions.items()}
        other_weights = region_weights(other, region, fitted=heldout.fitted)
    options = dict(vars(guide))
    guidance = BrainGuidance(encoder, weights, **options)
    conditions = [
        DriveCondition(UNGUIDED, None, tuple(seeds)),
        DriveCondition(GUIDED, guidance, tuple(seeds), region, encoder.fingerprint),
    ]
    arguments: dict[str, Any] = plain(
        {
            "task": TASK,
            "generator": image_generator.name,
            "fingerprint": image_generator.fingerprint,
            "encoder": encoder.fingerprint,
            "region": region,
            "against": against,
            "ratio": ratio,
            "seeds": [int(seed) for seed in seeds],
            "guide": options,
            "sampling": vars(sampling),
            "heldout": None if heldout is None else heldout.fingerprint,
            "judge": None if judge is None else judge.fingerprint,
            "category": category,
            "n_bootstrap": n_bootstrap,
        }
    )
    check_same_run(out, arguments)
    folder = begin_run(out, arguments)
    with deterministic():
        manifest = generate_images(
            image_generator,
            conditions,
            folder,
            settings=sampling,
            batch_size=batch_size,
        )
        parts, embeddings = [], []
        for condition in conditions:
            rows = manifest[manifest["condition"] == condition.name]
            shown = load_generated(folder, rows)
            table = pd.DataFrame(
                {
                    "guide_activation": _activation(encoder, weights, shown),
                    "saturated_share": rows["saturated"].to_numpy(np.float64),
                },
                index=range(len(rows)),
            ).reindex(columns=list(METRICS))
            if heldout is not None:
                table["heldout_activation"] = _activation(heldout, other_weights, shown)
            embedded = np.full((len(rows), 1), np.nan, np.float32)
            label: Any = ""
            if judge is not None:
                shares, embedded = judge.name_classes(shown)
                label = np.array(judge.classes)[shares.argmax(axis=1)]
                table["judge_accuracy"] = (label == category).astype(np.float64)
                table["judge_confidence"] = shares.max(axis=1)
            embeddings.append(embedded)
            parts.append(
                table.assign(
                    condition=condition.name,
                    region=region,
                    seed=rows["seed"].to_numpy(),
                    scale=rows["scale"].to_numpy(),
                    judge_label=label,
                    file=rows["file"].to_numpy(),
                )
            )
    looks = pd.concat(parts, ignore_index=True)
    write_table(folder / "looks.parquet", looks)
    if judge is not None:
        shares_table = label_shares(looks, judge.classes, [region])
        write_table(folder / "labels.parquet", shares_table)
    scores = braindive_scores(
        looks,
        np.concatenate(embeddings),
        regions=[region],
        stimuli=f"{TASK}:{sha256_json(manifest['sha256'].tolist())[:12]}",
        n_bootstrap=n_bootstrap,
    )
    provenance = collect(
        0,
        image_generator.device,
        dtype=str(image_generator.dtype).removeprefix("torch."),
        fingerprints={
            "generator": image_generator.fingerprint,
            "encoder": encoder.fingerprint,
        },
        call=arguments,
        notes=_notes(image_generator, encoder, judge),
    )
    score = Score(scores, provenance)
    score.save(folder)
    return score


def _activation(
    encoder: GradientEncoder, weights: torch.Tensor, shown: NDArray[np.uint8]
) -> NDArray[np.float64]:
    used = (weights != 0).numpy()
    responses = encoder.predict(list(shown))[:, used].astype(np.float64)
    return np.asarray(responses @ weights.numpy()[used])


def _notes(
    image_generator: ImageGenerator,
    encoder: GradientEncoder,
    judge: ZeroShotJudge | None,
) -> list[str]:
    notes = [
        "Predicted activation is a statement of a model: claims about a brain need new "
        "measurements.",
        *image_generator.notes,
        *encoder.notes,
    ]
    if not image_generator.trained:
        notes.append(f"{image_generator.name}: untrained weights")
    if judge is not None and not judge.trained:
        notes.append(f"judge {judge.name}: untrained weights")
    return [note for note in notes if note]
