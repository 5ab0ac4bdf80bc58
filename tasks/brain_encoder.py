"""Trained encoders: networks that learn how units read feature maps.

A transformer whose queries stand for regions, and the readouts that it is compared
with, are trained on the same features and the same pictures, and judged by pictures
that nothing of them has seen.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from neurovis.core.checks import check_between, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain, sha256_json, write_table
from neurovis.core.log import progress
from neurovis.core.provenance import collect
from neurovis.core.store import Store
from neurovis.core.types import Score
from tasks.brain_sources import BrainData
from tasks.encoder_attention import attention_table
from tasks.encoder_comparison import compare_models
from tasks.encoder_fits import EnsembleFitter, check_readouts
from tasks.encoder_options import QUERIED, TRAINED, EncoderOptions, options_of
from tasks.encoder_plans import (
    READOUTS,
    RIDGE,
    SIMULATED,
    Job,
    Plan,
    join_subjects,
    load_subjects,
    plan_context,
    plan_jobs,
    plan_maps,
)
from tasks.encoding_fits import Candidate
from tasks.encoding_fwrf import LAYERS
from tasks.encoding_maps import write_maps
from tasks.encoding_parts import Part
from tasks.encoding_run import ENCODERS, save_held_out
from tasks.encoding_tables import baseline_tables, model_tables, save_tables
from tasks.feature_specs import FeatureSpec
from tasks.runs import begin_run

SHARED = "training"
ATTENTION_FILE, COMPARISONS_FILE = "attention.parquet", "comparisons.parquet"


def fit_brain_encoder(
    data: str | Sequence[BrainData] = SIMULATED[0],
    features: Sequence[FeatureSpec | str] = (),
    out: str | Path = "results/fit-brain-encoder",
    *,
    readouts: Sequence[str] = ("transformer", RIDGE),
    options: EncoderOptions | None = None,
    settings: Mapping[str, Any] | None = None,
    context: FeatureSpec | str | None = None,
    together: bool = False,
    temperature: float = 50.0,
    subjects: Sequence[str | int] | None = None,
    regions: Sequence[str] | None = None,
    min_ncsnr: float | None = None,
    test: str = "auto",
    cv: int = 5,
    keep_models: bool = True,
    store: str | Path | None = None,
    n_permutations: int = 1000,
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
    **more: Any,
) -> Score:
    """Train encoders and leave tables, attention, maps and models in a folder.

    Each layer of each request is one model of each readout and subject; where there
    are several layers, their trained models are also averaged, unit by unit. Features
    are computed once and read from disk. Interrupted, it resumes when called again and
    ends with identical tables.

    Parameters
    ----------
    data : str or sequence of BrainData, default "simulated:content"
        ``NAME:PATH``, see `tasks.brain_sources.load_brain`; loaded data; or
        "simulated:content" and "simulated:fixed", brains whose units read a scene by
        content or by place (`data_loaders.simulated_routing`).
    features : sequence of FeatureSpec or str
        See `tasks.feature_specs.parse_features`: layers of maps ("layer3.1:flat",
        "fire5:grid14"), patches of tokens ("blocks.11:q.patches", also k and v), or
        vectors ("blocks.11:cls", for the readout "vector"). ``control:pixels`` are the
        pictures themselves: a core is trained together with the readout. Simulated
        brains come with their own.
    out : str or Path
        Folder. As `tasks.encoding.fit_encoding` leaves it, and:
        ``models/SUBJECT/MODEL/LAYER`` holds an encoder
        (`tasks.encoder_model.load_encoder`); ``attention.parquet`` and
        ``attention/SUBJECT/MODEL/LAYER.npz`` tell where queries look;
        ``comparisons.parquet`` has paired differences of models.
    readouts : sequence of str, default ("transformer", "ridge")
        "transformer" (queries attend to the maps), "masks" (queries have
        one mask for all pictures), "factorised", "gaussian", "semantic-spatial",
        "linear", "vector", and "ridge" on the same features.
    options : EncoderOptions, optional
        Architecture and training of all trained readouts, but for its `readout`.
    settings : mapping, optional
        Fields of `neurovis.fitting.settings.TrainSettings` that are other than the
        defaults of each readout, such as ``{"max_epochs": 15}``.
    context : FeatureSpec or str, optional
        One layer of maps that moves the fields of "semantic-spatial"; by default the
        maps themselves.
    together : bool, default False
        Train one encoder of the units of all subjects. Queries of regions are the
        same for all; units of a subject do not count for the pictures of others.
        Nothing is trained on pictures that any of the subjects is tested on.
    temperature : float, default 50
        Sharpness of the weights by which layers are averaged.
    subjects, regions, min_ncsnr, test : optional
        As `tasks.encoding.fit_encoding`.
    cv : int, default 5
        Folds for the penalties of "ridge".
    keep_models : bool, default True
        Write the fitted weights. Attention needs them.
    store, n_permutations, n_bootstrap : optional
        As `tasks.encoding.fit_encoding`.
    seed : int, default 0
        Seed of everything.
    device : str, default "auto"
        Where networks run and are trained.
    **more : object
        Further arguments of `tasks.brain_sources.load_brain`.

    Returns
    -------
    Score
        Scores of regions with limits, ceilings and chance.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument is wrong, no layer fits a readout, or `out` holds a run with
        other arguments.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If data or weights are missing or damaged.
    PermissionError, NotADirectoryError, OSError
        If `out` or `store` cannot be written.

    Notes
    -----
    Pictures to test on have no part in anything. Of the training stimuli a share
    (`EncoderOptions.validation`) decides which epoch is kept, which penalty, and how
    layers are weighted; "ridge" is fitted again to all of them. `cv_score` is R2 of
    these validation pictures, for "ridge" of cross-validation within the training
    pictures: layers of one model can be compared by it, models cannot.

    References
    ----------
    Adeli, Sun & Kriegeskorte (2025), doi:10.48550/arXiv.2505.17329.
    """
    names = check_readouts(readouts, READOUTS)
    options = options or EncoderOptions("transformer")
    for name, number in (("n_permutations", n_permutations), ("seed", seed)):
        check_whole(name, number, low=0)
    check_whole("n_bootstrap", n_bootstrap, low=1)
    check_whole("cv", cv, low=2)
    check_between("temperature", temperature, low=0)
    resolve(device)
    own = {n: options_of(n, options, settings) for n in names if n in TRAINED}
    kept = None if store is None else Path(store).absolute()
    wishes = {"subjects": subjects, "regions": regions, "min_ncsnr": min_ncsnr}
    subjects_found = load_subjects(data, test, kept, seed=seed, **wishes, **more)
    if together:
        subjects_found = join_subjects(subjects_found)
    where = kept or Path(out).absolute() / "store"
    maps = plan_maps(features, subjects_found, where, device)
    second = plan_context(context, subjects_found, where, device)
    jobs = plan_jobs(
        subjects_found,
        maps,
        second,
        names,
        own,
        shared=Path(out).absolute() / SHARED if together else None,
        cv=cv,
        seed=seed,
        device=device,
    )
    arguments = plain(
        {
            "task": ENCODERS,
            "data": data if isinstance(data, str) else [j.name for j in jobs],
            "responses": {job.name: job.responses for job in jobs},
            "features": [asdict(f.spec) for f in maps[jobs[0].name]],
            "readouts": list(names),
            "options": {name: one.identity() for name, one in own.items()},
            "context": [asdict(m.source.spec) for m in second.values()][:1],
            "together": together,
            "temperature": temperature,
            **{k: None if v is None else str(v) for k, v in wishes.items()},
            "test": test,
            "cv": cv,
            "keep_models": keep_models,
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "seed": seed,
            **{name: str(value) for name, value in more.items()},
        }
    )
    folder = begin_run(out, arguments).absolute()
    run = _Run(folder, keep_models, (n_permutations, n_bootstrap, seed), device)
    n_models = sum(len(job.plans) for job in jobs)
    with deterministic(), progress(n_models, "encoders", unit="model") as bar:
        for job in jobs:
            run.fit(job, temperature, bar)
        comparisons = run.compare(jobs)
    # Only a run that is under way needs what all subjects share.
    shutil.rmtree(folder / SHARED, ignore_errors=True)
    marks = {f"responses {job.name}": job.responses for job in jobs}
    for source in maps[jobs[0].name]:
        if source.backbone is not None:
            marks[f"weights {source.spec.title}"] = source.backbone.weights_hash
    provenance = collect(
        seed,
        resolve(device),
        fingerprints=marks,
        call=arguments,
        notes=list(dict.fromkeys(run.notes)),
    )
    if run.attention:
        joined = pd.concat(run.attention, ignore_index=True)
        write_table(folder / ATTENTION_FILE, joined)
    write_table(folder / COMPARISONS_FILE, comparisons)
    shown = {
        job.held.data.subject: f"{job.held.data.responses.name}:{job.responses[:12]}"
        for job in jobs
    }
    return save_tables(folder, run.tables, shown, ENCODERS, provenance, task=ENCODERS)


class _Run:
    """Tables of a run, as they are found."""

    def __init__(
        self, folder: Path, keep: bool, draws: tuple[int, int, int], device: str
    ) -> None:
        self.folder, self.keep, self.draws = folder, keep, draws
        self.device = device
        self.tables: list[dict[str, pd.DataFrame]] = []
        self.notes: list[str] = []
        self.attention: list[pd.DataFrame] = []
        self.keys: list[str] = []

    def fit(self, job: Job, temperature: float, bar: Any) -> None:
        """Fit all models of a subject, and average the layers of each."""
        save_held_out(self.folder, job.held)
        self.notes += [*job.held.notes, *job.notes]
        self.tables.append(baseline_tables(job.held))
        layers: dict[str, list[tuple[Plan, Part, Any]]] = {}
        for plan in job.plans:
            part = Part(
                self.folder, plan.candidate, job.held, plan.fitter, job.responses
            )
            fit = part.fit(self.keep)
            self._score(job, part, fit)
            if plan.readout in TRAINED:
                layers.setdefault(plan.candidate.model, []).append((plan, part, fit))
            if self.keep and plan.readout in QUERIED:
                found, note = attention_table(
                    self.folder,
                    part,
                    plan.maps,
                    truth=job.truth,
                    seed=self.draws[2],
                    device=self.device,
                )
                self.attention += [found] if found is not None else []
                self.notes += [note] if note else []
            bar.update()
        for members in layers.values():
            if len(members) > 1:
                self._average(job, members, temperature)

    def _average(
        self, job: Job, members: list[tuple[Plan, Part, Any]], temperature: float
    ) -> None:
        fitter = EnsembleFitter(
            tuple(fit for _, _, fit in members),
            tuple(part.key for _, part, _ in members),
            temperature,
        )
        model = members[0][0].candidate.model
        both = [m for plan, _, _ in members for m in plan.candidate.members]
        candidate = Candidate(f"{model} ensemble", LAYERS, tuple(dict.fromkeys(both)))
        part = Part(self.folder, candidate, job.held, fitter, job.responses)
        self._score(job, part, part.fit(False))

    def _score(self, job: Job, part: Part, fit: Any) -> None:
        units, scored = part.score(fit, *self.draws)
        candidate = part.candidate
        self.tables.append(model_tables(job.held, candidate, units, scored))
        write_maps(self.folder, job.held.data, candidate, units)
        self.notes += candidate.notes
        self.keys.append(part.key)

    def compare(self, jobs: Sequence[Job]) -> pd.DataFrame:
        """Compare all models, paired over pictures."""
        regions = pd.concat([t["regions"] for t in self.tables if "regions" in t])
        _, n_bootstrap, seed = self.draws
        parts = {"part": "comparisons", "fits": sha256_json(self.keys)}
        found: pd.DataFrame = Store(self.folder / "parts").get_or_compute(
            {**parts, "samples": n_bootstrap, "seed": seed},
            lambda: compare_models(
                self.folder, [j.held for j in jobs], regions, n_bootstrap, seed
            ),
        )
        return found
