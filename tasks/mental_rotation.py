"""Mental rotation: telling a turned object from its mirror image.

Two block figures are shown (Shepard & Metzler 1971). People take longer the farther
one is turned from the other, by the same amount per degree in the plane of the picture
and in depth. Networks answer by the similarity of embeddings, or by a head that was
trained to compare them; a network of latent rotation turns what it sees, a surrogate
turns volumes of the objects; the objects themselves give the ceiling, a coin the chance
level.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import sha256_json, write_table
from neurovis.core.log import progress
from neurovis.core.provenance import collect
from neurovis.core.store import Store
from neurovis.core.types import Responses, Score, StimulusSet
from stimuli.block_sets import ANGLES_DEG, ROTATIONS, make_rotation_pairs
from tasks.feature_specs import FeatureSpec
from tasks.mental_rotation_answers import (
    Answers,
    baseline_answers,
    latent_answers,
    network_answers,
    plain_rows,
    voxel_answers,
)
from tasks.mental_rotation_latent import LatentModel, load_latent_model
from tasks.mental_rotation_scores import rotation_directions, rotation_scores
from tasks.mental_rotation_trials import (
    N_OBJECTS,
    PAIRS_PER_ANGLE,
    TASK,
    TRAINING_PAIRS_PER_ANGLE,
    load_people,
    plan_mental_rotation,
)
from tasks.picture_features import DEFAULT_MODELS, PictureModel, embed, picture_models
from tasks.runs import begin_run, check_same_run, save_run

LATENT = "latent"
"""Readout of a network of latent rotation, where weights of one are given."""

READOUTS = ("embedding", "siamese", LATENT, "voxel", "ideal", "chance")
"""How answers come about; the first two for every layer of every model."""

DIRECTIONS_FILE = "directions.parquet"

_NOTE_VOXEL = (
    "voxel: a surrogate that is given the objects themselves with noise, no pictures; "
    "its milliseconds per degree are those recalled of people."
)
_NOTE_LATENT = (
    "latent: the network is told the axis of each trial; its milliseconds per degree "
    "are those recalled of people. No object of this run, nor its mirror image, was "
    "trained on."
)
_NOTE_MAP = (
    "slope_ms_per_deg of a cost without unit: after the best affine map, with b >= 0, "
    "to the times of people."
)
_NOTE_PEOPLE = (
    "Numbers of people in the literature are recalled, not measured here: directions, "
    "no thresholds."
)


def run_mental_rotation(
    models: Sequence[str | FeatureSpec],
    out: str | Path,
    *,
    people: Responses | pd.DataFrame | str | Path | None = None,
    readouts: str | Sequence[str] = "all",
    n_objects: int = N_OBJECTS,
    rotations: str | Sequence[str] = ROTATIONS,
    angles_deg: Sequence[float] = ANGLES_DEG,
    pairs_per_angle: int = PAIRS_PER_ANGLE,
    training_pairs_per_angle: int = TRAINING_PAIRS_PER_ANGLE,
    epochs: int = 100,
    noise: float = 0.02,
    resolution: int = 16,
    latent: str | Path | None = None,
    store: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    n_bootstrap: int = 1000,
) -> Score:
    """Run the experiment and leave tables in a folder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    models : sequence of str or FeatureSpec
        Networks with their layers, as `tasks.picture_features.picture_models` reads
        them; "default" for the one that comes with weights, the same untrained, and
        small pictures. May be empty where no readout needs one.
    out : str or Path
        Folder for ``trials.parquet``, ``scores.parquet``, ``directions.parquet``,
        ``provenance.json`` and the kept parts of the run.
    people : Responses, DataFrame, str or Path, optional
        What people answered to the test pairs, see
        `tasks.mental_rotation_trials.load_people`.
    readouts : str or sequence of str, default "all"
        Of `READOUTS`; "latent" needs `latent`, and "all" leaves it out without.
    n_objects : int, default 16
        Objects; half of them train thresholds and heads.
    rotations : str or sequence of str, default ("depth", "picture-plane")
        Kinds of rotation.
    angles_deg : sequence of float, default (0, 20, ..., 180)
        Angles between two views.
    pairs_per_angle : int, default 8
        Test pairs per kind of rotation and angle, half of them mirror images; 16 per
        angle with both kinds.
    training_pairs_per_angle : int, default 4
        Training pairs per kind and angle.
    epochs : int, default 100
        Of the comparing head.
    noise : float, default 0.02
        Of the voxels of the surrogate.
    resolution : int, default 16
        Voxels of the surrogate along each axis.
    latent : str or Path, optional
        Weights of a network of latent rotation, as
        `neurovis.adapters.latent_rotation_network.load_latent_rotation`. All objects of
        the run are then drawn apart from those that it was trained on.
    store : str or Path, optional
        Folder for features; ``out/parts/features`` by default.
    seed : int, default 0
        Seed of all draws.
    device : str, default "auto"
        Where networks compute.
    n_bootstrap : int, default 1000
        Resamples of test objects (of people: of participants) for intervals.

    Returns
    -------
    Score
        See `tasks.mental_rotation_scores.rotation_scores`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, `people` saw other pictures, `latent` was trained on
        too many objects, or `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If weights or the file of people are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    Costs stand for reaction times: the negative cosine ("embedding"), the negative
    logit of "same" ("siamese"), milliseconds of rotation ("latent", "voxel").
    Thresholds have the best balanced accuracy on training pairs; that of the siamese
    head is a logit of 0. Objects of training and test are of different mirror pairs.

    References
    ----------
    Shepard and Metzler (1971). Science 171, 701-703.
    doi:10.1126/science.171.3972.701
    """
    asked = _readouts(readouts, latent is not None)
    check_whole("epochs", epochs, low=1)
    check_between("noise", noise, low=0)
    check_whole("resolution", resolution, low=4)
    check_whole("seed", seed, low=0)
    check_whole("n_bootstrap", n_bootstrap, low=0)
    place = resolve(device)
    turning = None if latent is None else load_latent_model(latent)
    trials = plan_mental_rotation(
        n_objects,
        rotations=rotations,
        angles_deg=angles_deg,
        pairs_per_angle=pairs_per_angle,
        training_pairs_per_angle=training_pairs_per_angle,
        apart_from=() if turning is None else turning.shapes,
        seed=seed,
    )
    answers = [] if people is None else [load_people(people, trials.test, seed)]
    looking = [] if not {"embedding", "siamese"} & set(asked) else models
    listed = [looking] if isinstance(looking, str | FeatureSpec) else list(looking)
    arguments: dict[str, Any] = {
        "task": TASK,
        "models": [m if isinstance(m, str) else asdict(m) for m in listed],
        "people": None if people is None else sha256_json(plain_rows(answers[0])),
        "readouts": asked,
        "n_objects": n_objects,
        "rotations": [rotations] if isinstance(rotations, str) else list(rotations),
        "angles_deg": [float(angle) for angle in angles_deg],
        "pairs_per_angle": pairs_per_angle,
        "training_pairs_per_angle": training_pairs_per_angle,
        "epochs": epochs,
        "noise": noise,
        "resolution": resolution,
        "seed": seed,
        "n_bootstrap": n_bootstrap,
    }
    if turning is not None:
        # The report plans the same trials without the weights.
        apart = {"apart_from": list(turning.shapes)}
        arguments |= {"latent": turning.weights_hash, **apart}
    check_same_run(out, arguments)
    loaded = picture_models(listed) if looking or listed else []
    if not loaded and {"embedding", "siamese"} & set(asked):
        raise ValueError(
            "`models` is empty, but 'embedding' and 'siamese' need networks: name one, "
            "or leave these readouts out of `readouts`."
        )
    folder = begin_run(out, arguments)
    parts = Store(folder / "parts")
    stimuli = _drawn(make_rotation_pairs(trials.both))
    features = Path(store) if store is not None else folder / "parts" / "features"
    options: dict[str, Any] = {"seed": seed, "device": place, "parts": parts}
    found: list[Answers] = []
    with deterministic():
        fingerprint = stimuli.fingerprint
        for model in progress(loaded, "models", unit="model"):
            vectors = embed(model, stimuli.images, device=place, store=features)
            for layer, rows in vectors.items():
                for readout in ("embedding", "siamese"):
                    if readout not in asked:
                        continue
                    found.append(
                        network_answers(
                            trials,
                            model,
                            layer,
                            (rows[0::2], rows[1::2]),
                            readout,
                            stimuli=fingerprint,
                            epochs=epochs,
                            folder=folder / "parts" / "siamese",
                            **options,
                        )
                    )
        if turning is not None:
            found.append(latent_answers(trials, turning, **options))
        if "voxel" in asked:
            found.append(voxel_answers(trials, noise, resolution, **options))
    answers += [one.trials for one in found]
    answers += baseline_answers(trials, asked, seed)
    table = pd.concat(answers, ignore_index=True)
    scores = rotation_scores(
        table,
        pd.DataFrame(
            [one.fit for one in found],
            columns=["subject", "threshold", "training_accuracy"],
        ),
        stimuli=f"{stimuli.name}:{fingerprint[:12]}",
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    write_table(folder / DIRECTIONS_FILE, rotation_directions(scores))
    score = Score(
        scores,
        collect(
            seed,
            device=place,
            fingerprints={
                "stimuli": fingerprint,
                **{f"model {m.title}": sha256_json(m.identity) for m in loaded},
                **({} if turning is None else {"latent": turning.weights_hash}),
            },
            call=arguments,
            notes=_notes(loaded, asked, turning),
        ),
    )
    save_run(folder, trials=table, score=score, fixations=None)
    return score


def rotation_test_pictures(
    n_objects: int = N_OBJECTS, *, seed: int = 0, **options: Any
) -> StimulusSet:
    """Return the pictures of the test as people see them: both views side by side.

    Parameters
    ----------
    n_objects : int, default 16
        As `run_mental_rotation`.
    seed : int, default 0
        As `run_mental_rotation`.
    **options : object
        `rotations`, `angles_deg`, `pairs_per_angle`, `training_pairs_per_angle`, as
        `run_mental_rotation`; `apart_from`, as
        `tasks.mental_rotation_trials.plan_mental_rotation`.

    Returns
    -------
    StimulusSet
        One row per test pair; their answers can be given to `run_mental_rotation`.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """
    trials = plan_mental_rotation(n_objects, seed=seed, **options)
    return make_rotation_pairs(trials.test, side_by_side=True)


def _drawn(stimuli: StimulusSet) -> StimulusSet:
    """Return a set whose pictures were drawn, once for all models."""
    pictures = [stimuli.load(i) for i in progress(range(len(stimuli)), "drawing")]
    return replace(stimuli, images=pictures)


def _readouts(readouts: str | Sequence[str], has_latent: bool) -> list[str]:
    if readouts == "all":
        return [name for name in READOUTS if has_latent or name != LATENT]
    asked = [readouts] if isinstance(readouts, str) else list(readouts)
    for readout in asked:
        check_option("readouts", readout, READOUTS)
    if not asked:
        raise ValueError(f"`readouts` is empty: name some of {', '.join(READOUTS)}.")
    if (LATENT in asked) != has_latent:
        raise ValueError(
            f"The readout {LATENT!r} and weights for it (`latent`) belong together: "
            f"give both or neither; got readouts {asked} "
            f"{'with' if has_latent else 'without'} weights."
        )
    return [readout for readout in READOUTS if readout in asked]


def _notes(
    models: Sequence[PictureModel], asked: Sequence[str], latent: LatentModel | None
) -> list[str]:
    notes = [note for model in models for note in model.notes]
    if latent is not None:
        notes += [*latent.network.notes, _NOTE_LATENT]
    if "voxel" in asked:
        notes.append(_NOTE_VOXEL)
    if models:
        notes.append(_NOTE_MAP)
    return [*notes, _NOTE_PEOPLE]


__all__ = [
    "DEFAULT_MODELS",
    "LATENT",
    "READOUTS",
    "TASK",
    "rotation_test_pictures",
    "run_mental_rotation",
]
