"""What models are compared with by RSA: RDMs of regions, per subject, with pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.ceilings import stack_trials
from analysis.rdms import make_crossnobis_rdm, make_rdm
from analysis.rsa import compare_rdms
from analysis.rsa_selection import FEWEST_STIMULI
from data_loaders.v4_images import RECORDINGS, load_v4_images
from neurovis.core.checks import check_option, check_whole
from neurovis.core.files import sha256_bytes, sha256_json
from neurovis.core.rdm_stack import RDMStack
from neurovis.core.unit_responses import UnitResponses
from tasks.brain_sources import (
    RDM_SOURCES,
    BrainData,
    load_brain,
    load_rdms,
    split_source,
)
from tasks.encoding_scores import WHOLE

FloatArray = NDArray[np.float64]

MEASURES = ("correlation", "cosine", "euclidean", "squared_euclidean", "crossnobis")
"""Dissimilarities that `run_rsa` takes."""

MODEL_SOURCE = "model"
"""`source` of RDMs of models that come with a data set."""

AVERAGE_SUBJECTS = ("mean", "pooled", "")
"""What stands for a subject where a matrix is that of several."""

# A model whose RDM is that of a subject is no model of it.
_THE_SAME = 1 - 1e-6


@dataclass(frozen=True)
class RSATarget:
    """One region of subjects who saw the same stimuli.

    Parameters
    ----------
    region : str
        Region, or source of the matrices.
    subjects : tuple of str
        Whose RDMs they are.
    rdms : ndarray of float64, shape (n_subjects, n_pairs)
        Condensed RDMs.
    data : BrainData
        The stimuli, in order, with their pictures.
    packaged : mapping of str to ndarray of float64, shape (n_pairs,)
        RDMs of models that came with the data.
    responses : tuple of ndarray of float32, shape (n_stimuli, n_units)
        Responses of each subject, for CKA; empty where there are dissimilarities only.
    repeat_ceiling : float
        What a model without error would reach, from halves of the repeats; NaN where
        unknown.
    notes : tuple of str
        What a reader must know.
    """

    region: str
    subjects: tuple[str, ...]
    rdms: FloatArray
    data: BrainData
    packaged: Mapping[str, FloatArray] = field(default_factory=dict)
    responses: tuple[NDArray[np.float32], ...] = ()
    repeat_ceiling: float = np.nan
    notes: tuple[str, ...] = ()

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli."""
        return len(self.data.responses)

    @property
    def subject(self) -> str:
        """Who, in tables: the only subject, or "mean" over several."""
        return self.subjects[0] if len(self.subjects) == 1 else "mean"

    @property
    def name(self) -> str:
        """Region and subject, unique in a run."""
        return f"{self.region} {self.subject}"

    @property
    def stimulus_id(self) -> list[str]:
        """Identities of the stimuli."""
        return [str(name) for name in self.data.responses.stimuli["stimulus_id"]]

    @property
    def stimuli(self) -> str:
        """Name of the data set and hash of the identities of the stimuli."""
        return f"{self.data.responses.name}:{sha256_json(self.stimulus_id)[:12]}"

    @property
    def fingerprint(self) -> str:
        """Content hash of stimuli, subjects and RDMs."""
        arrays: list[NDArray[Any]] = [self.rdms]
        arrays += [*self.responses, *self.packaged.values()]
        marks = [sha256_bytes(array.tobytes()) for array in arrays]
        names = [list(self.subjects), list(self.packaged)]
        return sha256_json([self.stimulus_id, names, marks, str(self.repeat_ceiling)])


def load_targets(
    data: str,
    *,
    measure: str = "correlation",
    compare: str = "spearman",
    regions: Sequence[str] | None = None,
    subjects: Sequence[str | int] | None = None,
    source: str | Sequence[str] | None = None,
    stimuli: int | None = None,
    store: str | Path | None = None,
) -> list[RSATarget]:
    """Load what models shall be compared with.

    Parameters
    ----------
    data : str
        ``NAME:PATH`` of any data set of `tasks.brain_sources`.
    measure : str, default "correlation"
        Dissimilarity of responses, one of `MEASURES`; "crossnobis" needs single
        trials. Published matrices are taken as they are.
    compare : str, default "spearman"
        Similarity of RDMs, for ceilings from repeats.
    regions : sequence of str, optional
        Regions of units, one target each; by default all units as one.
    subjects : sequence of str or int, optional
        Which subjects; by default all, and of published matrices the single subjects
        where there are any (sessions of a subject are averaged).
    source : str or sequence of str, optional
        Which published matrices, such as "human IT"; by default all that were
        measured.
    stimuli : int, optional
        Take so many stimuli, spread evenly; all by default.
    store : str or Path, optional
        Where prepared responses are kept.

    Returns
    -------
    list of RSATarget
        One per region and group of subjects with the same stimuli.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument is unknown or does not go with the data, or there are too few
        stimuli.
    FileNotFoundError, NotADirectoryError
        If folder or files are missing.
    DataCorruptError
        If a file is damaged.
    """
    check_option("measure", measure, MEASURES)
    if stimuli is not None:
        check_whole("stimuli", stimuli, low=FEWEST_STIMULI)
    name, folder = split_source(data)
    if name in RDM_SOURCES:
        if regions is not None:
            raise ValueError(
                f"`regions` are for responses of units; the matrices of {name} are "
                "chosen by `source`, such as 'human IT'."
            )
        if measure == "crossnobis":
            raise ValueError(
                f"`measure` 'crossnobis' needs single trials; {name} holds "
                "dissimilarities. Use 'correlation' for the features beside them."
            )
        stack = load_rdms(data)
        return _stack_targets(stack, source, subjects, stimuli)
    if source is not None:
        raise ValueError(
            f"`source` is for published matrices ({', '.join(RDM_SOURCES)}); parts of "
            f"{name} are chosen by `regions`."
        )
    brains = load_brain(data, subjects=subjects, store=store)
    raw = {brain.name: brain for brain in brains}
    wanted: list[str | None] = [None]
    if regions is not None:
        wanted = list(dict.fromkeys(regions))
    targets = []
    for group in _same_stimuli(brains):
        rows = _spread(len(group[0].responses), stimuli)
        chosen = [_rows_of(brain, rows) for brain in group]
        trials = [
            _single_trials(name, folder, raw[brain.name], brain) for brain in chosen
        ]
        found = [
            _unit_target(chosen, trials, region, measure, compare) for region in wanted
        ]
        if len(group) > 1:
            note = (
                f"{group[0].responses.name}: compared are {len(rows)} of the "
                f"{len(group[0].responses)} stimuli that all subjects saw."
            )
            found = [replace(target, notes=(*target.notes, note)) for target in found]
        targets += found
    return targets


def _stack_targets(
    stack: RDMStack,
    source: str | Sequence[str] | None,
    subjects: Sequence[str | int] | None,
    stimuli: int | None,
) -> list[RSATarget]:
    table = stack.table
    measured = [s for s in table["source"].unique() if s != MODEL_SOURCE]
    asked = [source] if isinstance(source, str) else list(source or measured)
    names = list(dict.fromkeys(asked))
    for name in names:
        check_option("source", name, measured)
    rows = _spread(len(stack.stimuli), stimuli)
    i, j = (rows[side] for side in np.triu_indices(len(rows), 1))
    chosen = stack.square()[:, i, j]
    listed = stack.stimuli.iloc[rows].reset_index(drop=True)
    pictures = stack.pictures
    responses = UnitResponses(
        name=stack.name,
        subject="",
        betas=np.zeros((len(rows), 0), np.float32),
        stimuli=listed.assign(n_repeats=1),
        units=pd.DataFrame({"unit_id": pd.Series([], dtype=str)}),
        pictures=None if pictures is None else [pictures[int(r)] for r in rows],
        fingerprints=stack.fingerprints,
        notes=stack.notes,
    )
    targets = []
    for name in names:
        there = list(table.loc[table["source"] == name, "subject"].unique())
        single = [s for s in there if s not in AVERAGE_SUBJECTS] or there
        people = single
        if subjects is not None:
            people = [s for s in dict.fromkeys(map(str, subjects)) if s in there]
            if not people:
                check_option(f"subject of {name}", str(subjects[0]), there)
        mine = np.array(
            [
                chosen[
                    ((table["source"] == name) & (table["subject"] == s)).to_numpy()
                ].mean(axis=0)
                for s in people
            ]
        )
        packaged, left_out = _packaged(table, chosen, mine)
        targets.append(
            RSATarget(
                name,
                tuple(people),
                mine,
                BrainData(responses),
                packaged,
                notes=tuple(
                    f"{name}: the model {model} of the data is the same matrix and is "
                    "left out."
                    for model in left_out
                ),
            )
        )
    wanted = {str(s) for s in subjects or ()}
    unknown = sorted(wanted - {s for target in targets for s in target.subjects})
    if unknown:
        there = list(table.loc[table["source"].isin(names), "subject"].unique())
        check_option("subject", unknown[0], there)
    return targets


def _packaged(
    table: pd.DataFrame, rdms: FloatArray, people: FloatArray
) -> tuple[dict[str, FloatArray], list[str]]:
    """Return RDMs of models, and the names of those that are a subject's own."""
    if "model" not in table:
        return {}, []
    kept, left_out = {}, []
    for row in np.flatnonzero(table["source"] == MODEL_SOURCE):
        model = str(table["model"].iloc[row])
        same = compare_rdms(rdms[row], people, "pearson") > _THE_SAME
        if same.any():
            left_out.append(model)
        else:
            kept[model] = rdms[row]
    return kept, left_out


def _same_stimuli(brains: Sequence[BrainData]) -> list[list[BrainData]]:
    """Group subjects who saw the same stimuli, cut to these and in one order."""
    ids = [brain.responses.stimuli["stimulus_id"].astype(str) for brain in brains]
    common = set(ids[0]).intersection(*ids[1:])
    if len(brains) == 1 or len(common) < FEWEST_STIMULI:
        groups = [[_averaged(brain)] for brain in brains]
    else:
        order = sorted(common)
        groups = [[]]
        for brain in map(_averaged, brains):
            own = brain.responses.stimuli["stimulus_id"].astype(str)
            place = {name: row for row, name in enumerate(own)}
            rows = np.array([place[name] for name in order])
            groups[0].append(_rows_of(brain, rows))
    for first, *_ in groups:
        if len(first.responses) < FEWEST_STIMULI:
            raise ValueError(
                f"{first.name} has {len(first.responses)} stimuli; RSA needs at least "
                f"{FEWEST_STIMULI}."
            )
    return groups


def _averaged(brain: BrainData) -> BrainData:
    """Return one row per stimulus; features follow."""
    if brain.responses.is_averaged:
        return brain
    average = brain.responses.average()
    own = list(brain.responses.stimuli["stimulus_id"])
    first = [own.index(name) for name in average.stimuli["stimulus_id"]]
    features = {name: array[first] for name, array in brain.features.items()}
    return replace(brain, responses=average, features=features)


def _rows_of(brain: BrainData, rows: NDArray[np.intp]) -> BrainData:
    if np.array_equal(rows, np.arange(len(brain.responses))):
        return brain
    features = {name: array[rows] for name, array in brain.features.items()}
    chosen = brain.responses.select_stimuli(rows)
    return replace(brain, responses=chosen, features=features)


def _spread(n: int, wanted: int | None) -> NDArray[np.intp]:
    """Return so many of n rows, spread evenly."""
    if wanted is None or wanted >= n:
        return np.arange(n)
    return np.arange(wanted) * n // wanted


def _single_trials(
    name: str, folder: Path, raw: BrainData, chosen: BrainData
) -> NDArray[np.floating] | None:
    """Return single trials of the stimuli, (stimuli, repeats, units), if there are."""
    trials = raw.responses
    if name == "v4-images" and RECORDINGS[raw.recording].n_trials:
        trials = load_v4_images(folder, raw.recording, trials=True)
    if trials.is_averaged or (trials.stimuli["n_repeats"] != 1).any():
        return None
    stacked, ids = stack_trials(trials.betas, trials.stimuli["stimulus_id"])
    place = {identity: row for row, identity in enumerate(ids)}
    own = chosen.responses.stimuli["stimulus_id"].astype(str)
    return stacked[[place[identity] for identity in own]]


def _unit_target(
    group: Sequence[BrainData],
    trials: Sequence[NDArray[np.floating] | None],
    region: str | None,
    measure: str,
    compare: str,
) -> RSATarget:
    masks = [
        np.ones(brain.responses.n_units, bool)
        if region is None
        else brain.responses.in_region(region)
        for brain in group
    ]
    rdms, arrays, ceilings, notes = [], [], [], []
    for brain, mask, single in zip(group, masks, trials, strict=True):
        betas = np.asarray(brain.responses.betas[:, mask])
        finite = np.isfinite(betas).all(axis=0)
        if not finite.any():
            raise ValueError(
                f"{brain.name} has no unit with a response to every stimulus"
                + (f" in {region}." if region else ".")
            )
        if not finite.all():
            notes.append(
                f"{brain.name}: {int((~finite).sum())} units without a response to "
                "every stimulus are left out."
            )
        betas = betas[:, finite]
        chosen = None
        if single is not None:
            chosen = single[:, :, np.flatnonzero(mask)[finite]]
        if measure == "crossnobis":
            if chosen is None:
                raise ValueError(
                    f"`measure` 'crossnobis' needs single trials, which {brain.name} "
                    "does not have. Use 'correlation', or choose subjects that do."
                )
            rdms.append(make_crossnobis_rdm(chosen))
        else:
            rdms.append(make_rdm(betas, measure))
        if np.isnan(rdms[-1]).any():
            raise ValueError(
                f"{brain.name}: the dissimilarity {measure!r} is undefined for some "
                "stimuli, to which no unit responds, or all alike. Use 'euclidean'."
            )
        ceilings.append(
            np.nan if chosen is None else repeat_ceiling(chosen, measure, compare)
        )
        arrays.append(betas)
    return RSATarget(
        region or WHOLE,
        tuple(brain.subject for brain in group),
        np.array(rdms),
        group[0],
        responses=tuple(arrays),
        repeat_ceiling=float(np.mean(ceilings)),
        notes=tuple(notes),
    )


def repeat_ceiling(trials: NDArray[np.floating], measure: str, compare: str) -> float:
    """Return what the RDM without noise would reach, from even and odd repeats.

    The similarity of the halves, stepped up by the rule of Spearman and Brown, is the
    reliability of the RDM of all repeats; its root is the correlation with an RDM
    without noise. Kendall's tau-a goes through the correlation that normal variables
    with this tau have, ``sin(pi tau / 2)``, and back.

    Parameters
    ----------
    trials : ndarray of float, shape (n_stimuli, n_repeats, n_units)
        Single trials; NaN where a stimulus has fewer.
    measure : str
        One of `MEASURES`.
    compare : str
        As `analysis.rsa.compare_rdms`.

    Returns
    -------
    float
        0..1; NaN where the halves have nothing in common, or too few repeats.
    """
    halves = [trials[:, 0::2], trials[:, 1::2]]
    if measure == "crossnobis":
        two = [(~np.isnan(half[:, :, 0])).sum(axis=1).min() for half in halves]
        if min(two) < 2:
            return float("nan")
        rdms = [make_crossnobis_rdm(half) for half in halves]
    else:
        there = [(~np.isnan(half[:, :, 0])).any(axis=1).all() for half in halves]
        if not all(there):
            return float("nan")
        rdms = [make_rdm(np.nanmean(half, axis=1), measure) for half in halves]
    r = float(compare_rdms(rdms[0], rdms[1], compare, nan="propagate")[0, 0])
    is_tau = compare == "kendall_tau_a"
    if is_tau:
        r = float(np.sin(np.pi / 2 * r))
    if not r > 0:
        return float("nan")
    reached = min(float(np.sqrt(2 * r / (1 + r))), 1.0)
    return float(2 / np.pi * np.arcsin(reached)) if is_tau else reached
