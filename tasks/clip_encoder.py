"""Linear encoders on embeddings of pictures, trained as those that steer BrainDiVE.

A frozen network embeds shifted and noisy views of the training pictures; a linear map
of the embedding, made length 1, learns the responses of all units.

References
----------
Luo, Henderson, Wehbe & Tarr (2023), arXiv:2306.03089; Luo, Henderson, Tarr & Wehbe
(2024), arXiv:2310.04420.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain
from neurovis.core.log import progress
from neurovis.core.provenance import collect
from neurovis.core.types import Score
from tasks.brain_sources import BrainData
from tasks.clip_encoder_fits import ClipFitter
from tasks.clip_encoder_recipe import ClipEncoderRecipe
from tasks.encoder_plans import Job, load_subjects
from tasks.encoding_features import FeatureSource
from tasks.encoding_fits import Candidate
from tasks.encoding_maps import write_maps
from tasks.encoding_parts import Part
from tasks.encoding_run import CLIP_ENCODERS, save_held_out
from tasks.encoding_tables import baseline_tables, model_tables, save_tables
from tasks.feature_specs import parse_features, pictures_of
from tasks.picture_networks import OUTPUT, read_network
from tasks.runs import begin_run

BACKBONE = "timm:vit_base_patch16_clip_224.laion2b"
"""The network of BrainDiVE: the vision tower of OpenCLIP ViT-B/16, with projection."""


def fit_clip_encoder(
    data: str | Sequence[BrainData],
    backbone: str = BACKBONE,
    out: str | Path = "results/fit-clip-encoder",
    *,
    layer: str = OUTPUT,
    recipe: ClipEncoderRecipe | None = None,
    resize: str | None = None,
    subjects: Sequence[str | int] | None = None,
    regions: Sequence[str] | None = None,
    min_ncsnr: float | None = None,
    test: str = "auto",
    keep_models: bool = True,
    store: str | Path | None = None,
    n_permutations: int = 1000,
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
    **more: Any,
) -> Score:
    """Train a linear encoder on embeddings for each subject, and leave it in a folder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    data : str or sequence of BrainData
        As `tasks.brain_encoder.fit_brain_encoder`; pictures are needed.
    backbone : str, default `BACKBONE`
        ``NETWORK[@WEIGHTS]`` as `tasks.feature_specs.parse_features` takes it, such as
        "open_clip:ViT-B-16.laion2b_s34b_b88k@weights.safetensors".
    out : str or Path
        Folder. As `tasks.encoding.fit_encoding` leaves it, but
        ``models/SUBJECT/MODEL/LAYER`` holds an encoder of embeddings, for
        `tasks.picture_gradients.load_gradient_encoder`.
    layer : str, default "output"
        What is the embedding: the output of the network, or a layer of it, such as
        "stage5:gap".
    recipe : ClipEncoderRecipe, optional
        How to train; that of BrainDiVE by default.
    resize : {"crop", "squash", "pad", "none"}, optional
        How pictures come to the size of the network; its own rule by default.
    subjects, regions, min_ncsnr, test : optional
        As `tasks.encoding.fit_encoding`.
    keep_models : bool, default True
        Write the encoders.
    store, n_permutations, n_bootstrap : optional
        As `tasks.encoding.fit_encoding`.
    seed : int, default 0
        Seed of everything.
    device : str, default "auto"
        Where the network runs and the map is trained.
    **more : object
        Further arguments of `tasks.brain_sources.load_brain`.

    Returns
    -------
    Score
        Scores of regions with limits, ceilings and chance.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument is wrong, the layer gives no vector, or `out` holds a run with
        other arguments.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If data or weights are missing or damaged.
    PermissionError, NotADirectoryError, OSError
        If `out` or `store` cannot be written.

    Notes
    -----
    Published encoders saw pictures that were resized bilinearly; here they are resized
    as the network asks for. Without gain, shift and noise pictures are embedded once,
    which is much faster. Nothing is chosen by held-out pictures: the weights of the
    last epoch are kept.

    The published learning rate is for about 9000 pictures. With few of them 100 epochs
    are few steps, and predictions are too small (R2 suffers more than r): raise it.

    References
    ----------
    Luo, Henderson, Wehbe & Tarr (2023), arXiv:2306.03089.
    """
    recipe = ClipEncoderRecipe() if recipe is None else recipe
    for name, number in (("n_permutations", n_permutations), ("seed", seed)):
        check_whole(name, number, low=0)
    check_whole("n_bootstrap", n_bootstrap, low=1)
    place = resolve(device)
    if {",", "+", "="} & set(layer):
        raise ValueError(f"`layer` must be one layer, without titles; got {layer!r}.")
    spec = parse_features(f"{backbone}:{layer}", resize=resize)
    check_option("source of `backbone`", spec.source, ("network",))
    kept = None if store is None else Path(store).absolute()
    wishes = {"subjects": subjects, "regions": regions, "min_ncsnr": min_ncsnr}
    jobs = load_subjects(data, test, kept, seed=seed, **wishes, **more)
    for job in jobs:
        pictures_of(spec, job.held.data)
    network = spec.load_backbone()
    reader = read_network(network, [layer], place)
    arguments = plain(
        {
            "task": CLIP_ENCODERS,
            "data": data if isinstance(data, str) else [job.name for job in jobs],
            "responses": {job.name: job.responses for job in jobs},
            "backbone": backbone,
            "layer": layer,
            "weights": network.weights_hash,
            "resize": resize,
            "recipe": recipe.parameters,
            **{k: None if v is None else str(v) for k, v in wishes.items()},
            "test": test,
            "keep_models": keep_models,
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "seed": seed,
            **{name: str(value) for name, value in more.items()},
        }
    )
    folder = begin_run(out, arguments).absolute()
    tables: list[dict[str, pd.DataFrame]] = []
    notes: list[str] = []
    with deterministic(), progress(len(jobs), "encoders", unit="subject") as bar:
        for job in jobs:
            source = FeatureSource(
                spec, job.held.data, network, reader.sizes, kept or folder / "store"
            )
            candidate = Candidate(spec.title, layer, ((source, layer),))
            fitter = ClipFitter(recipe, source, reader, seed, place)
            part = Part(folder, candidate, job.held, fitter, job.responses)
            save_held_out(folder, job.held)
            tables.append(baseline_tables(job.held))
            units, scored = part.score(
                part.fit(keep_models), n_permutations, n_bootstrap, seed
            )
            tables.append(model_tables(job.held, candidate, units, scored))
            write_maps(folder, job.held.data, candidate, units)
            notes += [*job.held.notes, *candidate.notes]
            bar.update()
    provenance = collect(
        seed,
        place,
        fingerprints={
            **{f"responses {job.name}": job.responses for job in jobs},
            f"weights {spec.title}": network.weights_hash,
        },
        call=arguments,
        notes=list(dict.fromkeys(notes)),
    )
    shown = {job.held.data.subject: _told(job) for job in jobs}
    return save_tables(
        folder, tables, shown, CLIP_ENCODERS, provenance, task=CLIP_ENCODERS
    )


def _told(job: Job) -> str:
    return f"{job.held.data.responses.name}:{job.responses[:12]}"
