"""Images that drive a region of a fitted encoder: `neurovis generate braindive`.

As in the experiment with simulated brains (`tasks.braindive_experiment`), with the
user's generator and encoder: images guided and unguided from the same seeds, and,
where they are given, a judge, the encoder of another brain, and real pictures that the
brain has seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.stats import bootstrap_ci
from neurovis.adapters.braindive import BrainGuidance, region_weights
from neurovis.adapters.zero_shot import ZeroShotJudge
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import deterministic
from neurovis.core.files import plain, sha256_json, write_table
from neurovis.core.provenance import collect
from neurovis.core.rng import generator
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
from tasks.real_pictures import (
    MeasuredTrials,
    RealPictures,
    find_real_pictures,
    save_real_pictures,
)
from tasks.runs import begin_run

TASK = "braindive-drive"
MEASURED = "measured_activation"
"""What a brain gave to real pictures, in trials that did not choose them."""

_AT_ONCE = 64


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
    measured: MeasuredTrials | None = None,
    n_real: int = 24,
    batch_size: int | Literal["auto"] = "auto",
    n_bootstrap: int = 2000,
) -> Score:
    """Generate images that drive a region, and the same seeds without guidance.

    Interrupted, it resumes when called again and ends with identical tables (on a GPU,
    torch warns where a network has no deterministic gradient).

    Parameters
    ----------
    image_generator : ImageGenerator
        See `neurovis.adapters.image_generators.load_image_generator`.
    encoder : GradientEncoder
        Whose prediction is driven, on the device of the generator.
    out : str or Path
        Folder for ``images``, ``manifest.csv``, ``looks.parquet`` (what was measured of
        each image), ``labels.parquet`` (with a judge), ``real_pictures.csv`` (with
        `measured`) and the scores.
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
        Encoder of another brain, best with another network, that has the same regions.
    judge : ZeroShotJudge, optional
        Names categories; not with the network that guides.
    category : str, optional
        What the judge should see; with a judge, and not without.
    measured : MeasuredTrials, optional
        Trials of the brain that `encoder` models: all look at real pictures too, at
        random ones and at those with the largest responses, which other trials then
        measure. See `tasks.real_pictures`.
    n_real : int, default 24
        Random real pictures, and as many of the best.
    batch_size : int or "auto", default "auto"
        Images at once.
    n_bootstrap : int, default 2000
        Resamples for intervals, >= 2.

    Returns
    -------
    Score
        Table of `tasks.braindive_scores.braindive_scores`; what was not asked is NaN.
        Activations are in the unit of the responses that the encoder was fitted to.
        With `measured` the metric "measured_activation" is added, NaN for generated
        images.

    Raises
    ------
    ValueError
        If a region is unknown or holds no fitted unit, the held-out encoder or the
        judge is the one that guides, trials are not of this brain or too few, an option
        cannot be, or `out` holds another run.
    FloatingPointError
        If samples or too many gradients are not finite.
    MemoryError
        If a single image does not fit.
    PermissionError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    A large predicted activation says that the search succeeded. Whether a brain
    responds needs a new measurement. The held-out encoder predicts what is driven: the
    same region, or the same difference of two.
    """
    guide = GuideSettings() if guide is None else guide
    sampling = SamplingSettings() if sampling is None else sampling
    check_whole("n_bootstrap", n_bootstrap, low=2)
    here, there = encoder.device, image_generator.device
    if (here.type, here.index or 0) != (there.type, there.index or 0):
        raise ValueError(
            f"`encoder` must be on the device of the generator, {there}; it is on "
            f"{here}."
        )
    _check_observers(encoder, heldout, judge, category)
    weights = _weights(encoder, "encoder", region, against, ratio)
    other = None
    if heldout is not None:
        other = (heldout, _weights(heldout, "heldout", region, against, ratio))
    real = None
    if measured is not None:
        real = find_real_pictures(measured, encoder, weights, n_pictures=n_real)
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
            "encoder": encoder.name,
            "region": region,
            "against": against,
            "ratio": ratio,
            "seeds": [int(seed) for seed in seeds],
            "guide": options,
            "sampling": vars(sampling),
            "heldout": None if heldout is None else heldout.name,
            "judge": None if judge is None else judge.name,
            "observers": {
                name: observer.fingerprint
                for name, observer in _observers(encoder, heldout, judge).items()
            },
            "category": category,
            "real": None
            if real is None
            else {
                "trials": real.trials.name,
                "sha256": real.fingerprint,
                "n_pictures": n_real,
            },
            "n_bootstrap": n_bootstrap,
        }
    )
    folder = begin_run(out, arguments)
    with deterministic():
        if there.type != "cpu":
            # Gradients of some networks have no such form on a GPU.
            torch.use_deterministic_algorithms(True, warn_only=True)
        manifest = generate_images(
            image_generator,
            conditions,
            folder,
            settings=sampling,
            batch_size=batch_size,
        )
        shown = [manifest.assign(region=region)]
        if real is not None:
            shown.append(save_real_pictures(folder, real, region))
        seen = [
            _look(folder, rows, (encoder, weights), other, judge, category)
            for rows in shown
        ]
    looks = pd.concat([rows for rows, _ in seen], ignore_index=True)
    embeddings = np.concatenate([rows for _, rows in seen])
    write_table(folder / "looks.parquet", looks)
    if judge is not None:
        shares = label_shares(looks, judge.classes, [region])
        write_table(folder / "labels.parquet", shares)
    hashes = [mark for rows in shown for mark in rows["sha256"]]
    scores = braindive_scores(
        looks,
        embeddings,
        regions=[region],
        stimuli=f"{TASK}:{sha256_json(hashes)[:12]}",
        n_bootstrap=n_bootstrap,
    )
    units = {"guide_activation": encoder.response_unit}
    if real is not None:
        scores = _with_measured(scores, looks, n_bootstrap)
        units[MEASURED] = real.trials.responses.response_unit
    units["heldout_activation"] = "" if heldout is None else heldout.response_unit
    metric = scores["metric"].str.removesuffix("_difference")
    scores = scores.assign(task=TASK, unit=metric.map(units).fillna(scores["unit"]))
    provenance = collect(
        0,
        image_generator.device,
        dtype=str(image_generator.dtype).removeprefix("torch."),
        fingerprints={
            "generator": image_generator.fingerprint,
            **arguments["observers"],
        },
        call=arguments,
        notes=_notes(image_generator, encoder, heldout, judge, real),
    )
    score = Score(scores, provenance)
    score.save(folder)
    return score


def _observers(
    encoder: GradientEncoder,
    heldout: GradientEncoder | None,
    judge: ZeroShotJudge | None,
) -> dict[str, GradientEncoder | ZeroShotJudge]:
    every = {"encoder": encoder, "heldout": heldout, "judge": judge}
    return {name: one for name, one in every.items() if one is not None}


def _check_observers(
    encoder: GradientEncoder,
    heldout: GradientEncoder | None,
    judge: ZeroShotJudge | None,
    category: str | None,
) -> None:
    """Refuse those who would judge their own work, and categories nobody names."""
    if heldout is not None and heldout.fingerprint == encoder.fingerprint:
        raise ValueError(
            "`heldout` is the encoder that guides: what it predicts is no evidence. "
            "Give that of another brain."
        )
    if judge is None:
        if category is not None:
            raise ValueError(
                f"`category` needs a `judge` that could see it; got {category!r} alone."
            )
        return
    check_option("category", category or "", judge.classes)
    if judge.network_hash in {weights for _, weights in _networks(encoder)}:
        raise ValueError(
            f"`judge` {judge.name} is the network that guides, which images fool "
            "first. Give another network."
        )


def _networks(encoder: GradientEncoder) -> set[tuple[str, str]]:
    backbones = [reader.backbone for reader in encoder.readers]
    return {(one.architecture, one.weights_hash) for one in backbones}


def _weights(
    encoder: GradientEncoder, name: str, region: str, against: str | None, ratio: float
) -> Tensor:
    try:
        return region_weights(
            encoder.regions,
            region,
            against=against,
            ratio=ratio,
            fitted=encoder.fitted,
        )
    except ValueError as error:
        raise ValueError(f"`{name}` {encoder.name}: {error}") from error


def _look(
    folder: Path,
    manifest: pd.DataFrame,
    guide: tuple[GradientEncoder, Tensor],
    heldout: tuple[GradientEncoder, Tensor] | None,
    judge: ZeroShotJudge | None,
    category: str | None,
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Return what everybody makes of each image, and the judge's embeddings."""
    looks = manifest[["condition", "region", "seed", "scale", "file"]].assign(
        judge_label="", **dict.fromkeys((*METRICS, MEASURED), np.nan)
    )
    if MEASURED in manifest:
        looks[MEASURED] = manifest[MEASURED]
    looks["saturated_share"] = manifest["saturated"].to_numpy(np.float64)
    embeddings: list[NDArray[np.float32]] = []
    # Not all at once: published images are large.
    for start in range(0, len(manifest), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        at = looks.index[rows]
        shown = load_generated(folder, manifest.iloc[rows])
        looks.loc[at, "guide_activation"] = _activation(*guide, shown)
        if heldout is not None:
            looks.loc[at, "heldout_activation"] = _activation(*heldout, shown)
        if judge is None:
            embeddings.append(np.full((len(shown), 1), np.nan, np.float32))
            continue
        shares, embedded = judge.name_classes(shown)
        labels = np.array(judge.classes)[shares.argmax(axis=1)]
        looks.loc[at, "judge_label"] = labels
        looks.loc[at, "judge_accuracy"] = (labels == category).astype(np.float64)
        looks.loc[at, "judge_confidence"] = shares.max(axis=1)
        embeddings.append(embedded)
    return looks, np.concatenate(embeddings)


def _with_measured(
    scores: pd.DataFrame, looks: pd.DataFrame, n_bootstrap: int
) -> pd.DataFrame:
    """Add means of what was measured, one row per condition of `looks`."""
    own = scores[scores["model"].isin(looks["condition"].unique())]
    own = own[own["region"] == looks["region"].iloc[0]]
    own = own[own["metric"] == "guide_activation"]
    rows = own.assign(metric=MEASURED, value=np.nan, ci_low=np.nan, ci_high=np.nan)
    for at, condition in rows["model"].items():
        values = looks.loc[looks["condition"] == condition, MEASURED].to_numpy()
        if np.isnan(values).any():
            continue
        rng = generator(0, TASK, str(condition), MEASURED)
        limits = bootstrap_ci(values, n_bootstrap=n_bootstrap, rng=rng)
        rows.loc[at, ["value", "ci_low", "ci_high"]] = values.mean(), *limits
    table: pd.DataFrame = pd.concat([scores, rows], ignore_index=True)
    return table


def _activation(
    encoder: GradientEncoder, weights: Tensor, shown: NDArray[np.uint8]
) -> NDArray[np.float64]:
    # Units of weight 0 may be undefined.
    used = (weights != 0).numpy()
    responses = encoder.predict(list(shown))[:, used].astype(np.float64)
    return np.asarray(responses @ weights.numpy()[used].astype(np.float64))


def _notes(
    image_generator: ImageGenerator,
    encoder: GradientEncoder,
    heldout: GradientEncoder | None,
    judge: ZeroShotJudge | None,
    real: RealPictures | None,
) -> list[str]:
    notes = [
        "Predicted activation is a statement of a model: claims about a brain need new "
        "measurements.",
        *image_generator.notes,
        *encoder.notes,
    ]
    if not image_generator.trained:
        notes.append(f"{image_generator.name}: untrained weights")
    if heldout is not None:
        own = [note for note in heldout.notes if note not in encoder.notes]
        notes += [f"Held-out encoder: {note}" for note in own]
        if _networks(heldout) & _networks(encoder):
            notes.append(
                "The held-out encoder looks through a network that guides: images that "
                "fool the network fool both."
            )
    if judge is not None and not judge.trained:
        notes.append(f"judge {judge.name}: untrained weights")
    if judge is None and heldout is None:
        notes.append("Nobody but the guide looked at the images: no evidence.")
    notes += [] if real is None else real.notes
    return list(dict.fromkeys(notes))
