"""Encoding models: from pictures, by features, to the responses of units.

Every model is fitted to training pictures and judged by pictures that nothing of it has
seen: neither weights, nor penalties, nor means and components of features, nor the
choice of a layer.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain
from neurovis.core.log import progress
from neurovis.core.provenance import collect
from neurovis.core.types import Score
from tasks.brain_sources import BrainData, fingerprint_responses, split_source
from tasks.encoding_data import HeldOut, check_subjects, hold_out, load_brains
from tasks.encoding_features import plan_features
from tasks.encoding_fits import METHODS, FitSettings, make_candidates
from tasks.encoding_fwrf import METHOD, FieldGrid, holdout_rows
from tasks.encoding_maps import write_maps
from tasks.encoding_parts import LinearFitter, Part
from tasks.encoding_run import TASK, save_held_out
from tasks.encoding_tables import baseline_tables, model_tables, save_tables
from tasks.feature_specs import SHIPPED_FEATURES, FeatureSpec
from tasks.runs import begin_run


def fit_encoding(
    data: str | Sequence[BrainData],
    features: Sequence[FeatureSpec | str] | None,
    out: str | Path,
    *,
    method: str = "ridge",
    subjects: Sequence[str | int] | None = None,
    regions: Sequence[str] | None = None,
    min_ncsnr: float | None = None,
    test: str = "auto",
    alphas: Sequence[float] | None = None,
    cv: int | str = 5,
    search: str = "window",
    n_iter: int = 50,
    n_components: int | None = None,
    projection: str = "pca",
    n_maps: int = 512,
    n_sigmas: int = 8,
    smallest_sigma: float = 0.04,
    keep_models: bool = True,
    store: str | Path | None = None,
    n_permutations: int = 1000,
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
    **options: Any,
) -> Score:
    """Fit encoding models and leave tables, maps and models in a folder.

    Each layer of each request is one model of each subject; with "banded" all layers
    together are one, with "fwrf" all layers of a request. Features are standardised,
    and penalties chosen for each unit, by training pictures alone. Interrupted, it
    resumes when called again and ends with identical tables.

    Parameters
    ----------
    data : str or sequence of BrainData
        ``NAME:PATH``, see `tasks.brain_sources.load_brain`, or loaded data.
    features : sequence of FeatureSpec or str, or None
        See `tasks.feature_specs.parse_features`; None takes all stages of the network
        that comes with the suite.
    out : str or Path
        Folder. Tables: ``units``, ``regions``, ``layers``, ``scores`` (and for "banded"
        ``spaces``), all ``.parquet``; ``provenance.json``;
        ``models/SUBJECT/MODEL/LAYER`` (`neurovis.fitting.encoding_model`);
        ``predictions/SUBJECT`` with held-out responses, their stimuli, units, and
        ``MODEL/LAYER.npy``; ``maps``. Read them by `tasks.encoding_run.load_encoding`.
    method : {"ridge", "fractional", "banded", "fwrf"}
        `neurovis.fitting.ridge.RidgeCV`, or the estimators in
        `neurovis.fitting.fractional_ridge`, `neurovis.fitting.banded` and
        `neurovis.fitting.fwrf`. The last pools whole maps (``LAYER:flat``, or
        ``LAYER:gridK`` to make them smaller) with one Gaussian per unit; layers
        without places count as maps of one pixel. Its table of units has the columns
        `rf_x` (to the right), `rf_y` (upwards), both from the centre, and `rf_sigma`,
        in sides of the square that the network sees.
    subjects, regions, min_ncsnr : optional
        As `tasks.brain_sources.load_brain`.
    test : str, default "auto"
        What is held out, see `tasks.brain_sources.split_rows`; "auto" is the split that
        the data come with. Of several splits ("folds-N") scores are averaged; with
        "leave-one-out" predictions are pooled.
    alphas : sequence of float, optional
        Penalties (not for "fractional"), next to sums of squared errors; by default 15
        from p / 1000 to 10,000 p, with p the sum of the variances of all features:
        their number, if they are standardised.
    cv : int, "loo", "gcv" or "holdout"
        How penalties are compared within the training rows; a number of folds of
        stimuli for "fractional". "fwrf" takes that, or "holdout" for the published
        protocol: the last 500 training rows choose ("holdout-N": the last N), the
        constant is penalised, nothing is refitted, penalties are by default 9 from 1e3
        to 1e7.
    search : {"window", "full"}
        As `neurovis.fitting.ridge.RidgeCV`.
    n_iter : int, default 50
        Weightings of feature spaces that are tried ("banded").
    n_components : int, optional
        Layers with more features are projected to so many. Components keep their
        variances: a model with any is not standardised.
    projection : {"pca", "sparse"}
        Principal components of training pictures, or a random projection.
    n_maps : int, default 512
        Most maps of each layer: those that vary most over training pictures ("fwrf").
    n_sigmas : int, default 8
        Sizes of pools that are tried, up to 0.4 of the picture ("fwrf").
    smallest_sigma : float, default 0.04
        Smallest of them: the lattice of 875 pools has most of them at this size
        ("fwrf").
    keep_models : bool, default True
        Write the fitted weights: 4 bytes for each feature and unit.
    store : str or Path, optional
        Where features, and prepared responses, are kept for other fits too. By default
        features are kept in `out`, and responses in memory.
    n_permutations : int, default 1000
        Permutations of held-out pictures for tests against chance.
    n_bootstrap : int, default 1000
        Samples of held-out pictures for 95 % limits.
    seed : int, default 0
        Seed of all draws.
    device : str, default "auto"
        Where networks run and models are fitted.
    **options : object
        Further arguments of `tasks.brain_sources.load_brain`.

    Returns
    -------
    Score
        Scores of regions with limits, ceilings and chance.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument is wrong, or `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If data or weights are missing or damaged.
    PermissionError, NotADirectoryError, OSError
        If `out` or `store` cannot be written.

    Notes
    -----
    Tables hold one row per unit and model. r and R2 are those of held-out pictures, p
    the share of permutations of the pictures whose r is as large, `p_fdr` the same
    adjusted over the units of a model. `cv_score` and everything else that is chosen by
    comes from training rows alone.
    """
    grid = FieldGrid(n_maps, n_sigmas, smallest_sigma)
    settings = _check_settings(method, alphas, cv, search, n_iter, seed, device, grid)
    if method == METHOD and n_components is not None:
        raise ValueError(
            "`n_components` projects features, and method='fwrf' needs maps as they "
            "are: use `n_maps`."
        )
    for name, number in (("n_permutations", n_permutations), ("seed", seed)):
        check_whole(name, number, low=0)
    check_whole("n_bootstrap", n_bootstrap, low=1)
    kept = None if store is None else Path(store).absolute()
    if isinstance(data, str) and kept is not None:
        options = {"store": kept / "responses", **options}
    brains = load_brains(
        data, subjects=subjects, regions=regions, min_ncsnr=min_ncsnr, **options
    )
    held = {brain.name: hold_out(brain, test) for brain in brains}
    for brain in brains:
        _check_folds(held[brain.name], settings)
    sources = plan_features(
        [SHIPPED_FEATURES] if features is None else features,
        brains,
        {name: [*h.splits] for name, h in held.items()},
        store=kept or Path(out).absolute() / "store",
        n_components=n_components,
        projection=projection,
        seed=seed,
        device=device,
        whole_maps=method == METHOD,
    )
    candidates = {name: make_candidates(s, method) for name, s in sources.items()}
    check_subjects(brains)
    specs = [asdict(source.spec) for source in sources[brains[0].name]]
    options.pop("store", None)
    arguments = plain(
        {
            "task": TASK,
            "data": _told(data),
            "features": specs,
            **settings.identity(),
            "subjects": None if subjects is None else [str(s) for s in subjects],
            "regions": regions,
            "min_ncsnr": min_ncsnr,
            "test": test,
            "n_components": n_components,
            "projection": projection,
            "keep_models": keep_models,
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "seed": seed,
            **{name: str(value) for name, value in options.items()},
        }
    )
    folder = begin_run(out, arguments)
    fitter = LinearFitter(settings)
    found: list[dict[str, pd.DataFrame]] = []
    hashes = {}
    notes: list[str] = []
    n_models = sum(map(len, candidates.values()))
    with deterministic(), progress(n_models, "fitting", unit="model") as bar:
        for brain in brains:
            job = held[brain.name]
            hashes[brain.name] = fingerprint_responses(brain.responses)
            save_held_out(folder, job)
            notes += job.notes
            found.append(baseline_tables(job))
            for candidate in candidates[brain.name]:
                part = Part(folder, candidate, job, fitter, hashes[brain.name])
                fit = part.fit(keep_models)
                units, scored = part.score(fit, n_permutations, n_bootstrap, seed)
                found.append(model_tables(job, candidate, units, scored, fit.shares))
                write_maps(folder, job.data, candidate, units)
                notes += candidate.notes
                bar.update()
    marks = {f"responses {name}": sha for name, sha in hashes.items()}
    for source in sources[brains[0].name]:
        if source.backbone is not None:
            marks[f"weights {source.spec.title}"] = source.backbone.weights_hash
    provenance = collect(
        seed,
        resolve(device),
        fingerprints=marks,
        call=arguments,
        notes=list(dict.fromkeys(notes)),
    )
    stimuli = {
        brain.subject: f"{brain.responses.name}:{hashes[brain.name][:12]}"
        for brain in brains
    }
    return save_tables(folder, found, stimuli, method, provenance)


def _check_settings(
    method: str,
    alphas: Sequence[float] | None,
    cv: int | str,
    search: str,
    n_iter: int,
    seed: int,
    device: str,
    grid: FieldGrid,
) -> FitSettings:
    check_option("method", method, METHODS)
    check_option("search", search, ("window", "full"))
    check_whole("n_iter", n_iter, low=1)
    resolve(device)
    if isinstance(cv, str):
        if method != METHOD:
            check_option("cv", cv, ("loo", "gcv"))
        elif holdout_rows(cv) is None:
            raise ValueError(
                "method='fwrf' needs a number of folds, 'holdout' or 'holdout-N' as "
                f"`cv`; got {cv!r}."
            )
        if method == "fractional":
            raise ValueError(
                f"method='fractional' needs a number of folds; got `cv` {cv!r}."
            )
    else:
        check_whole("cv", cv, low=2)
    numbers = None
    if alphas is not None:
        if method == "fractional":
            raise ValueError(
                "`alphas` are for other methods: 'fractional' chooses shares of the "
                "length of the unpenalised solution."
            )
        numbers = tuple(float(alpha) for alpha in np.atleast_1d(alphas))
        if not numbers or not all(0 < alpha < np.inf for alpha in numbers):
            raise ValueError(
                f"`alphas` must be one or more finite numbers above 0; got {alphas!r}."
            )
    return FitSettings(method, numbers, cv, search, n_iter, seed, device, grid)


def _check_folds(held: HeldOut, settings: FitSettings) -> None:
    """Refuse what would fail in the middle."""
    ids = held.data.responses.stimuli["stimulus_id"].to_numpy()
    fewest = min(len(np.unique(ids[split.train])) for split in held.splits)
    needed = settings.cv if isinstance(settings.cv, int) else 2
    if fewest < needed:
        raise ValueError(
            f"`cv` asks for {settings.cv!r}, but {held.data.name} has {fewest} stimuli "
            f"to train on in `test` {held.splits[0].name!r}. Ask for fewer folds."
        )
    n_held = holdout_rows(settings.cv)
    for split in held.splits if n_held is not None else ():
        _check_holdout(held.data.name, ids[split.train], n_held or 0)
    repeats = len(ids) > len(np.unique(ids))
    if n_held is None and repeats and isinstance(settings.cv, str):
        raise ValueError(
            f"cv={settings.cv!r} leaves out single rows, and {held.data.name} has "
            "several of one stimulus: use a number of folds, which keep them together."
        )


def _check_holdout(name: str, ids: NDArray[Any], n_held: int) -> None:
    """Refuse hold-outs of all rows, or of stimuli that are trained on."""
    if n_held >= len(ids):
        raise ValueError(
            f"`cv` holds out {n_held} training rows, and {name} has {len(ids)}: ask "
            f"for fewer, such as 'holdout-{max(1, len(ids) // 10)}', or for folds."
        )
    n_both = len(np.intersect1d(ids[:-n_held], ids[-n_held:]))
    if n_both:
        raise ValueError(
            f"`cv` holds out the last {n_held} training rows of {name}, and {n_both} "
            "of their stimuli are trained on too: use a number of folds, which keep "
            "trials of one stimulus together."
        )


def _told(data: str | Sequence[BrainData]) -> Any:
    if isinstance(data, str):
        name, path = split_source(data)
        return f"{name}:{path.resolve()}"
    return [brain.name for brain in data]
