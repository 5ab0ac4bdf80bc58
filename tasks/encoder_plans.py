"""What a run of trained encoders fits: subjects, maps, and the models of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_loaders.simulated_routing import KINDS as SIMULATIONS
from data_loaders.simulated_routing import RoutedBrain, simulate_routing
from neurovis.adapters.unit_queries import UnitQueries, make_queries
from neurovis.core.checks import check_option
from tasks.brain_sources import BrainData, fingerprint_responses
from tasks.encoder_fits import NetworkFitter
from tasks.encoder_maps import PIXELS, MapSource, map_sources
from tasks.encoder_networks import build_network, core_config, core_shape
from tasks.encoder_options import (
    QUERIED,
    TRAINED,
    EncoderOptions,
    fits_layer,
    has_context,
)
from tasks.encoder_training import Member
from tasks.encoding_data import HeldOut, check_subjects, hold_out, load_brains
from tasks.encoding_features import FeatureSource, plan_features
from tasks.encoding_fits import Candidate, FitSettings
from tasks.encoding_layers import file_name
from tasks.encoding_parts import Fitter, LinearFitter
from tasks.feature_specs import FeatureSpec

RIDGE = "ridge"
READOUTS = (*TRAINED, RIDGE)
"""What can be compared."""

SIMULATED = tuple(f"simulated:{kind}" for kind in SIMULATIONS)
"""Data that are made, not loaded."""

_MAPS = "maps"
_FEWEST_HELD = 2  # r of one picture is not defined


@dataclass(frozen=True, eq=False)
class RoutingTruth:
    """What a simulated subject looked at.

    Parameters
    ----------
    brain : RoutedBrain
        The simulation.
    scenes : ndarray of int64, shape (n_rows,)
        Scene of each row of the responses.
    """

    brain: RoutedBrain
    scenes: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Plan:
    """One model of one subject.

    Parameters
    ----------
    candidate : Candidate
        Names and features.
    fitter : Fitter
        How it is fitted.
    readout : str
        One of `READOUTS`.
    maps : MapSource
        What it looks at.
    """

    candidate: Candidate
    fitter: Fitter
    readout: str
    maps: MapSource


@dataclass(frozen=True, eq=False)
class Job:
    """One subject with all that is fitted to it.

    Parameters
    ----------
    held : HeldOut
        Responses and splits.
    responses : str
        Their content hash.
    truth : RoutingTruth, optional
        Of simulated subjects.
    plans : tuple of Plan
        Models.
    notes : tuple of str
        What a reader must know, beside the notes of `held`.
    """

    held: HeldOut
    responses: str
    truth: RoutingTruth | None = None
    plans: tuple[Plan, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Data set and subject."""
        return self.held.data.name


def load_subjects(
    data: str | Sequence[BrainData],
    test: str,
    store: Path | None,
    *,
    seed: int = 0,
    **wishes: Any,
) -> list[Job]:
    """Load or simulate subjects, and hold out what is predicted.

    Parameters
    ----------
    data : str or sequence of BrainData
        See `tasks.brain_encoder.fit_brain_encoder`.
    test : str
        As `tasks.encoding_data.hold_out`.
    store : Path, optional
        Where prepared responses are kept.
    seed : int, default 0
        Seed of a simulation.
    **wishes : object
        As `tasks.encoding_data.load_brains`.

    Returns
    -------
    list of Job
        Without plans.

    Raises
    ------
    TypeError, ValueError, KeyError
        If arguments do not fit, or two subjects have one name.
    FileNotFoundError, DataCorruptError
        If data are missing or damaged.
    """
    truths: list[RoutingTruth | None] = []
    if isinstance(data, str) and data.startswith("simulated"):
        check_option("data", data, SIMULATED)
        brain = simulate_routing(kind=data.partition(":")[2], seed=seed)
        truths = [RoutingTruth(brain, subject.rows) for subject in brain.subjects]
        maps = brain.maps.reshape(len(brain.maps), -1)
        shape: Any = tuple(brain.maps.shape[1:])
        brains = load_brains(
            [
                BrainData(
                    subject.responses,
                    features={_MAPS: maps[subject.rows]},
                    map_shapes={_MAPS: shape},
                )
                for subject in brain.subjects
            ],
            **wishes,
        )
    else:
        if isinstance(data, str) and store is not None:
            wishes = {"store": store / "responses", **wishes}
        brains = load_brains(data, **wishes)
        truths = [None] * len(brains)
    check_subjects(brains)
    return [
        Job(hold_out(brain, test), fingerprint_responses(brain.responses), truth)
        for brain, truth in zip(brains, truths, strict=True)
    ]


def join_subjects(jobs: Sequence[Job]) -> list[Job]:
    """Prepare subjects for one encoder of them all.

    Parameters
    ----------
    jobs : sequence of Job
        Subjects, without plans.

    Returns
    -------
    list of Job
        Without those training rows whose picture another subject is tested on: nothing
        of the encoder may have seen it.

    Raises
    ------
    ValueError
        If they cannot be trained together, or one has no rows left.
    """
    _check_together(jobs)
    ids = [job.held.data.responses.stimuli["stimulus_id"].to_numpy() for job in jobs]
    tested = [
        np.concatenate([own[s.test] for own, s in zip(ids, splits, strict=True)])
        for splits in zip(*(job.held.splits for job in jobs), strict=True)
    ]
    found = []
    for job, own in zip(jobs, ids, strict=True):
        splits = [
            replace(split, train=split.train[~np.isin(own[split.train], shown)])
            for split, shown in zip(job.held.splits, tested, strict=True)
        ]
        n_left = [len(split.train) for split in splits]
        if min(n_left) < 2:
            raise ValueError(
                f"`together`: of {job.name} {min(n_left)} rows are left to train on, "
                "since nothing may have seen the pictures that any subject is tested "
                "on. Leave it out, or hold out other pictures (`test`)."
            )
        n_lost = sum(len(s.train) for s in job.held.splits) - sum(n_left)
        notes = job.notes
        if n_lost:
            some = f" (mean of {len(splits)} splits)" if len(splits) > 1 else ""
            notes = (
                *notes,
                f"{job.name}: {n_lost / len(splits):g} rows{some} are not trained on, "
                "since another subject is tested on their pictures.",
            )
        held = replace(job.held, splits=tuple(splits))
        found.append(replace(job, held=held, notes=notes))
    return found


def plan_maps(
    features: Sequence[FeatureSpec | str],
    jobs: Sequence[Job],
    store: Path,
    device: str,
) -> dict[str, list[FeatureSource]]:
    """Check requests for features.

    Parameters
    ----------
    features : sequence of FeatureSpec or str
        Requests; simulated subjects come with maps.
    jobs : sequence of Job
        Subjects.
    store : Path
        Where features are kept.
    device : str
        Where networks run.

    Returns
    -------
    dict of str to list of FeatureSource
        By subject.

    Raises
    ------
    TypeError, ValueError
        If there is none, or one does not fit.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If weights are missing or damaged.
    """
    if not features and all(job.truth is not None for job in jobs):
        features = (f"given:{_MAPS}",)
    return plan_features(
        features,
        [job.held.data for job in jobs],
        {job.name: [*job.held.splits] for job in jobs},
        store=store,
        device=device,
    )


def plan_context(
    context: FeatureSpec | str | None, jobs: Sequence[Job], store: Path, device: str
) -> dict[str, MapSource]:
    """Check the request for a second map.

    Parameters
    ----------
    context : FeatureSpec, str or None
        Request with one layer.
    jobs, store, device : object
        As `plan_maps`.

    Returns
    -------
    dict of str to MapSource
        By subject; empty for None.

    Raises
    ------
    ValueError
        If it has several layers, or is no map.
    """
    if context is None:
        return {}
    found = {}
    for name, (source,) in plan_maps([context], jobs, store, device).items():
        layers = map_sources(source)
        if len(layers) != 1 or layers[0].layouts[0].n_places == 1:
            raise ValueError(
                f"`context` must name one layer of maps; {source.spec.title} has "
                f"{[m.layer for m in layers]}."
            )
        found[name] = layers[0]
    return found


def plan_jobs(
    jobs: Sequence[Job],
    sources: Mapping[str, Sequence[FeatureSource]],
    context: Mapping[str, MapSource],
    readouts: Sequence[str],
    options: Mapping[str, EncoderOptions],
    *,
    shared: Path | None,
    cv: int,
    seed: int,
    device: str,
) -> list[Job]:
    """Return what is fitted to each subject.

    Parameters
    ----------
    jobs : sequence of Job
        Subjects, from `join_subjects` if they are trained together.
    sources : mapping of str to sequence of FeatureSource
        From `plan_maps`.
    context : mapping of str to MapSource
        From `plan_context`.
    readouts : sequence of str
        Of `READOUTS`.
    options : mapping of str to EncoderOptions
        Of each that is trained.
    shared : Path or None
        If given, one encoder is trained for all subjects, and kept there.
    cv : int
        Folds of "ridge".
    seed : int
        Seed.
    device : str
        Where to compute.

    Returns
    -------
    list of Job
        With plans.

    Raises
    ------
    ValueError
        If no layer fits a readout, a core cannot look at the pictures, maps of subjects
        that are trained together differ in shape, or too few stimuli are held out.
    """
    layers = {
        job.name: [m for s in sources[job.name] for m in map_sources(s)] for job in jobs
    }
    several = len(sources[jobs[0].name]) > 1
    ridge = LinearFitter(FitSettings(cv=cv, seed=seed, device=device))
    found = []
    for number, job in enumerate(jobs):
        plans = []
        for readout in readouts:
            fitting = [
                (place, maps)
                for place, maps in enumerate(layers[job.name])
                if readout == RIDGE or fits_layer(readout, maps.shape)
            ]
            if not fitting:
                what = "vectors, such as 'PATH:cls'" if readout == "vector" else "maps"
                raise ValueError(
                    f"No layer of `features` fits the readout {readout!r}, which reads "
                    f"{what}."
                )
            for place, maps in fitting:
                second = context.get(job.name) if has_context(readout) else None
                members = [(maps.source, maps.layer)]
                if second is not None:
                    members.append((second.source, second.layer))
                name = _model_name(readout, maps, options, several)
                candidate = Candidate(name, maps.layer, tuple(members))
                if readout == RIDGE:
                    plans.append(Plan(candidate, ridge, readout, maps))
                    continue
                own = options[readout]
                _check_network(own, maps, job)
                together = [
                    Member(
                        other.held,
                        layers[other.name][place],
                        context.get(other.name) if has_context(readout) else None,
                    )
                    for other in (jobs if shared is not None else [job])
                ]
                _check_members(own, together)
                fitter = NetworkFitter(
                    own,
                    tuple(together),
                    number if shared is not None else 0,
                    seed,
                    device,
                    None
                    if shared is None
                    else shared / file_name(name) / file_name(maps.layer),
                )
                plans.append(Plan(candidate, fitter, readout, maps))
        found.append(replace(job, plans=tuple(plans)))
    return found


def _check_network(own: EncoderOptions, maps: MapSource, job: Job) -> None:
    """Refuse an architecture, or regions, that do not fit, before much is computed."""
    if own.readout in QUERIED:
        responses = job.held.data.responses
        make_queries(
            own.queries,
            responses.units,
            responses.families,
            regions=own.region_names,
        )
        one = UnitQueries(("unit",), 1)
        build_network(own, maps.shape, one, 1, with_core=maps.is_pictures)
    elif maps.is_pictures:
        core_shape(core_config(own.core), maps.shape)


def _check_members(own: EncoderOptions, members: Sequence[Member]) -> None:
    """Refuse maps that do not go together, and validation by a single picture."""
    shapes = {member.maps.shape: member.held.data.name for member in members}
    if len(shapes) > 1:
        raise ValueError(
            "`together` needs maps of one shape; got "
            f"{', '.join(f'{shape} of {name}' for shape, name in shapes.items())}."
        )
    for number in range(len(members[0].held.splits)):
        stimuli = [
            m.held.data.responses.stimuli["stimulus_id"].to_numpy()[
                m.train_rows(number)
            ]
            for m in members
        ]
        n = len(np.unique(np.concatenate(stimuli)))
        if round(own.validation * n) < _FEWEST_HELD or n <= _FEWEST_HELD:
            raise ValueError(
                f"`validation` is {own.validation:g} of {n} training stimuli of "
                f"{members[0].held.data.name}: {_FEWEST_HELD} or more are needed to "
                "tell when to stop, and one to train on. Give a larger share, or more "
                "data."
            )


def _model_name(
    readout: str,
    maps: MapSource,
    options: Mapping[str, EncoderOptions],
    several: bool,
) -> str:
    """Return the name of a model in tables."""
    spec = maps.source.spec
    if spec.name == PIXELS and readout != RIDGE:
        core = options[readout].core
        name = f"{readout} with a {core} core"
        return name if spec.title == PIXELS else f"{name} of {spec.title}"
    return f"{readout} of {spec.title}" if several else readout


def _check_together(jobs: Sequence[Job]) -> None:
    names = {len(job.held.splits) for job in jobs}
    if len(jobs) < 2 or len(names) > 1:
        raise ValueError(
            "`together` trains one encoder for several subjects that are split in the "
            f"same way; got {len(jobs)} subjects with "
            f"{', '.join(map(str, sorted(names)))} splits. Leave it out."
        )
    first = set(jobs[0].held.data.responses.families)
    for job in jobs:
        families = set(job.held.data.responses.families)
        if families != first:
            raise ValueError(
                f"`together` needs the same families of regions; {jobs[0].name} has "
                f"{sorted(first)}, {job.name} has {sorted(families)}."
            )
    tells = {"hemisphere" in job.held.data.responses.units for job in jobs}
    if len(tells) > 1:
        raise ValueError(
            "`together` needs hemispheres of the units of all subjects, or of none: "
            "some have a column 'hemisphere', others have not."
        )
