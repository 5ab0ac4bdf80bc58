"""Simulated data in the tree and formats of the Algonauts 2023 challenge."""

import io
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from data_loaders.simulated_atlas import FAMILY_LABELS
from data_loaders.simulated_betas import (
    BetaSource,
    choose_special,
    measured_ncsnr,
    trials_of_repeated,
    z_scored,
)
from data_loaders.simulated_brain import PREPARATIONS, SimulatedBrain, draw_cortex
from data_loaders.simulated_design import (
    N_REPEATS,
    TRIALS_PER_SESSION,
    SimulatedDesign,
    check_sessions,
    make_design,
)
from data_loaders.simulated_features import luminance, square_picture
from data_loaders.simulated_files import write_new
from data_loaders.simulated_places import SimulatedPlaces, surface_places
from data_loaders.simulated_settings import (
    TRUTH_FOLDER,
    check_categories,
    check_free_space,
    check_pictures,
    check_vertices,
    subject_signals,
    write_picture_truth,
    write_settings,
)
from data_loaders.simulated_tree import subject_name, unit_truth
from neurovis.core.checks import check_whole
from neurovis.core.files import atomic_folder, write_table
from neurovis.core.log import progress
from neurovis.core.noise_ceiling import explainable_fraction

CHALLENGE_FAMILIES = (
    "prf-visualrois",
    "floc-bodies",
    "floc-faces",
    "floc-places",
    "floc-words",
    "streams",
)


def simulate_algonauts(
    folder: str | Path,
    pictures: Sequence[NDArray[np.uint8]],
    labels: pd.DataFrame,
    *,
    n_subjects: int = 2,
    n_sessions: int | Sequence[int] = 6,
    n_test_sessions: int = 3,
    n_shared: int | None = None,
    n_vertices: tuple[int, int] = (2562, 2562),
    picture_px: int = 64,
    brain: SimulatedBrain | None = None,
    with_test: bool = True,
    n_nan: int = 0,
    seed: int = 0,
) -> Path:
    """Write a tree like that of Algonauts 2023, with responses whose truth is known.

    The brains and the experiment are those of `simulate_nsd`: vertices of "fsaverage"
    in nsdgeneral or RSC, preparation "betas_fithrf_GLMdenoise_RR", z-scored within
    sessions and averaged over trials. Training pictures are those of the first
    sessions; test pictures are those seen in the last sessions only, without shared
    ones, except that subjects with most sessions are tested with shared pictures whose
    three trials all lie there (Gifford et al. 2023, arXiv:2301.03198).

    Parameters
    ----------
    folder : str or Path
        Where; nothing may be there yet. A run that ends early leaves nothing here.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Read one by one. Each subject sees 250 pictures per session, three times each;
        picture i gets the number i (0-based).
    labels : DataFrame
        One row per picture with the column `category` (str).
    n_subjects : int, default 2
        1 to 8.
    n_sessions : int or sequence of int, default 6
        Sessions of all subjects, or of each, those of the test included.
    n_test_sessions : int, default 3
        Last sessions, from which the test is taken.
    n_shared : int, optional
        Pictures that all subjects see; by default a tenth of those of a subject.
    n_vertices : tuple of int, default (2562, 2562)
        Vertices of "fsaverage", left and right; see `surface_places`.
    picture_px : int, default 64
        Width and height of the pictures written; 425 in the challenge.
    brain : SimulatedBrain, optional
        Parameters of the brains.
    with_test : bool, default True
        Write responses to test pictures and noise ceilings, which the organisers
        published after the challenge.
    n_nan : int, default 0
        Vertices that are left out because they hold NaN.
    seed : int, default 0
        Seed. With equal arguments brains and single trials are those of
        `simulate_nsd`.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    FileExistsError
        If `folder` exists.
    TypeError, ValueError
        If an argument is out of range, there are too few pictures, or the last
        sessions hold no test picture.
    OSError
        If the disk has too little space; nothing is written then.
    """
    brain = brain or SimulatedBrain()
    n_test_sessions = check_whole("n_test_sessions", n_test_sessions, low=1)
    # At least one session is left for training.
    sessions = check_sessions(n_subjects, n_sessions, n_test_sessions)
    n_vertices = check_vertices(n_vertices)
    picture_px = check_whole("picture_px", picture_px, low=16, high=4096)
    n_nan = check_whole("n_nan", n_nan, low=0)
    category, names = check_categories(labels, len(pictures))
    n_shared = check_pictures(len(pictures), sessions, n_shared)
    design = make_design(len(pictures), sessions, n_shared=n_shared, seed=seed)
    splits = [
        split_trials(design, subject, n_test_sessions)
        for subject in range(1, len(sessions) + 1)
    ]
    n_images = sum(len(s.train_ids) + len(s.test_ids) for s in splits)
    n_bytes = n_images * (sum(n_vertices) + 3 * picture_px**2)
    check_free_space(Path(folder), n_bytes)
    settings = {
        "n_subjects": len(sessions),
        "n_sessions": sessions,
        "n_test_sessions": n_test_sessions,
        "n_shared": n_shared,
        "n_vertices": n_vertices,
        "picture_px": picture_px,
        "with_test": with_test,
        "n_nan": n_nan,
        "brain": asdict(brain),
    }
    places = surface_places("fsaverage", n_vertices)
    bar = progress(len(pictures) + n_images, "simulating", unit="picture")
    with bar, atomic_folder(folder) as root:
        grey = _read_luminance(pictures, picture_px, bar)
        write_picture_truth(root, labels)
        for subject, split in enumerate(splits, start=1):
            name = subject_name(subject)
            cortex = draw_cortex(brain, name, names, seed)
            order = design.subjectim[subject - 1] - 1
            cortex, rows, signals = subject_signals(cortex, grey, category, order)
            special = choose_special(places, cortex.vertices, (0, 0, n_nan), seed, name)
            source = BetaSource(
                brain,
                name,
                places,
                special,
                cortex.vertices,
                rows,
                signals,
                design.positions(subject),
                seed,
            )
            kept = challenge_vertices(source)
            _write_regions(root / name / "roi_masks", source, kept)
            _write_responses(root / name, source, split, kept, with_test)
            _write_pictures(root / name, split, pictures, picture_px, bar)
            truth = unit_truth(source, (PREPARATIONS[-1],))
            truth = truth[np.concatenate(list(kept.values()))].reset_index(drop=True)
            write_table(root / TRUTH_FOLDER / f"{name}.parquet", truth)
        # Last: what has this file is complete.
        write_settings(root, "algonauts", settings, brain, names, seed)
    return Path(folder)


# ------------------------------------------------------------------- split


@dataclass(frozen=True)
class ChallengeSplit:
    """Which trials of a subject are averaged for which picture.

    Parameters
    ----------
    train_ids, test_ids : ndarray of int64
        0-based numbers of pictures, ascending.
    train_rows, test_rows : ndarray of int64, shape (n_trials,)
        Row of the picture that a trial counts for; -1 for none.
    """

    train_ids: NDArray[np.int64]
    test_ids: NDArray[np.int64]
    train_rows: NDArray[np.int64]
    test_rows: NDArray[np.int64]


def split_trials(
    design: SimulatedDesign, subject: int, n_test_sessions: int
) -> ChallengeSplit:
    """Split the trials of a subject as the challenge does.

    Parameters
    ----------
    design : SimulatedDesign
        The experiment.
    subject : int
        1-based.
    n_test_sessions : int
        Last sessions, from which the test is taken.

    Returns
    -------
    ChallengeSplit
        No picture is in both parts.

    Raises
    ------
    ValueError
        If there is no test picture.
    """
    position = design.positions(subject)
    last = design.n_sessions[subject - 1]
    ids = design.subjectim[subject - 1] - 1
    session = np.arange(len(position)) // TRIALS_PER_SESSION + 1
    is_late = session > last - n_test_sessions
    n_early, n_late = (
        np.bincount(position[part], minlength=len(ids)) for part in (~is_late, is_late)
    )
    shared = np.isin(ids, design.sharedix - 1)
    is_full = last == max(design.n_sessions)
    in_test = (n_early == 0) & (n_late > 0)
    in_test &= ~shared | (is_full & (n_late == N_REPEATS))
    found = []
    for chosen, part in ((n_early > 0, ~is_late), (in_test, is_late)):
        numbers = np.sort(ids[chosen])
        row = np.full(len(ids), -1)
        row[chosen] = np.searchsorted(numbers, ids[chosen])
        found.append((numbers, np.where(part, row[position], -1)))
    (train, train_rows), (test, test_rows) = found
    if not len(test):
        raise ValueError(
            f"The last {n_test_sessions} of {last} sessions of subject {subject} hold "
            "no picture for the test. Take more test sessions or another `seed`."
        )
    return ChallengeSplit(train, test, train_rows, test_rows)


def challenge_vertices(source: BetaSource) -> dict[str, NDArray[np.bool_]]:
    """Return which vertices take part, by hemisphere: nsdgeneral and RSC without NaN.

    Parameters
    ----------
    source : BetaSource
        Subject and surfaces.

    Returns
    -------
    dict of str to ndarray of bool
        "lh" and "rh", one entry per vertex of "fsaverage".
    """
    table = source.vertices.iloc[source.places.vertex]
    rsc = FAMILY_LABELS["floc-places"].index("RSC") + 1
    kept = (table["nsdgeneral"] > 0) | (table["floc-places"] == rsc)
    inside = kept.to_numpy(copy=True)
    inside[source.special.has_nan] = False
    return {half: inside[part] for half, part in source.places.parts.items()}


# ----------------------------------------------------------------- writing


def _read_luminance(
    pictures: Sequence[NDArray[np.uint8]], picture_px: int, bar: Any
) -> NDArray[np.uint8]:
    grey = []
    for i in range(len(pictures)):
        grey.append(luminance(square_picture(pictures[i], picture_px)))
        bar.update()
    return np.stack(grey)


def _save(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.save(file, values)
        file.flush()
        os.fsync(file.fileno())


def _write_regions(
    folder: Path, source: BetaSource, kept: dict[str, NDArray[np.bool_]]
) -> None:
    places: SimulatedPlaces = source.places
    for family in CHALLENGE_FAMILIES:
        names = dict(enumerate(("Unknown", *FAMILY_LABELS[family])))
        _save(folder / f"mapping_{family}.npy", names)
        numbers = source.vertices[family].to_numpy(np.int32)[places.vertex]
        for half, part in places.parts.items():
            whole = numbers[part]
            _save(folder / f"{half}.{family}_fsaverage_space.npy", whole)
            _save(folder / f"{half}.{family}_challenge_space.npy", whole[kept[half]])
    for half, inside in kept.items():
        path = folder / f"{half}.all-vertices_fsaverage_space.npy"
        _save(path, inside.astype(np.int32))


def _write_responses(
    folder: Path,
    source: BetaSource,
    split: ChallengeSplit,
    kept: dict[str, NDArray[np.bool_]],
    with_test: bool,
) -> None:
    """Write averaged responses and ceilings of one subject."""
    repeated = trials_of_repeated(source.positions)
    repeats = np.bincount(split.test_rows[split.test_rows >= 0])
    for half, where in source.places.parts.items():
        n_kept = int(kept[half].sum())
        train = np.empty((len(split.train_ids), n_kept), np.float32)
        test = np.empty((len(split.test_ids), n_kept), np.float32)
        ncsnr = np.empty(n_kept, np.float32)
        done = 0
        for run in source.runs(half):
            inside = kept[half][run.start - where.start : run.stop - where.start]
            columns = slice(done, done + int(inside.sum()))
            done = columns.stop
            if columns.start == columns.stop:
                continue
            scores = z_scored(source.percent(run, PREPARATIONS[-1])[inside])
            train[:, columns] = _averages(scores, split.train_rows).T
            test[:, columns] = _averages(scores, split.test_rows).T
            ncsnr[columns] = measured_ncsnr(scores, repeated)
        training = folder / "training_split" / "training_fmri"
        _save(training / f"{half}_training_fmri.npy", train)
        if with_test:
            tests = folder / "test_split"
            _save(tests / "test_fmri" / f"{half}_test_fmri.npy", test)
            ceiling = explainable_fraction(ncsnr, repeats).astype(np.float32)
            _save(tests / "noise_ceiling" / f"{half}_noise_ceiling.npy", ceiling)


def _averages(
    scores: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return means over the trials of each row, shape (n_places, n_rows)."""
    order = np.argsort(rows, kind="stable")
    order = order[rows[order] >= 0]
    counts = np.bincount(rows[order])
    starts = np.cumsum(counts) - counts
    sums = np.add.reduceat(scores[:, order].astype(np.float64), starts, axis=1)
    means: NDArray[np.float64] = sums / counts
    return means


def _write_pictures(
    folder: Path,
    split: ChallengeSplit,
    pictures: Sequence[NDArray[np.uint8]],
    picture_px: int,
    bar: Any,
) -> None:
    parts = {
        "train": (folder / "training_split" / "training_images", split.train_ids),
        "test": (folder / "test_split" / "test_images", split.test_ids),
    }
    for part, (where, ids) in parts.items():
        for rank, number in enumerate(ids, start=1):
            picture = square_picture(pictures[int(number)], picture_px)
            file = io.BytesIO()
            Image.fromarray(picture).save(file, format="PNG")
            name = f"{part}-{rank:04d}_nsd-{number:05d}.png"
            write_new(where / name, file.getvalue())
            bar.update()
