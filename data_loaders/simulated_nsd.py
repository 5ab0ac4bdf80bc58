"""Simulated data in the tree and formats of the Natural Scenes Dataset."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data_loaders.simulated_betas import (
    BetaSource,
    choose_special,
    measured_ncsnr,
    trials_of_repeated,
    z_scored,
)
from data_loaders.simulated_brain import (
    PREPARATIONS,
    SHORT_NAMES,
    SimulatedBrain,
    draw_cortex,
)
from data_loaders.simulated_design import (
    TRIALS_PER_SESSION,
    SimulatedDesign,
    check_sessions,
    make_design,
)
from data_loaders.simulated_features import luminance, square_picture
from data_loaders.simulated_files import (
    INTEGER_SCALE,
    BetaWriter,
    HDF5Writer,
    mgh_writer,
    nifti_writer,
    numbered_hdf5_errors,
    to_integers,
    write_mgh,
    write_nifti,
)
from data_loaders.simulated_layers import check_region_features, drive_by_features
from data_loaders.simulated_places import (
    SURFACE_SPACES,
    VOLUME_SPACES,
    SimulatedPlaces,
    native_meshes,
    native_places,
    surface_places,
    volume_places,
)
from data_loaders.simulated_settings import (
    TRUTH_FOLDER,
    check_categories,
    check_each,
    check_free_space,
    check_pictures,
    check_vertices,
    subject_signals,
    write_picture_truth,
    write_settings,
)
from data_loaders.simulated_tree import (
    subject_name,
    unit_truth,
    write_experiment,
    write_surface_regions,
    write_transforms,
    write_volume_regions,
)
from neurovis.core.brain_space import VolumeSpace
from neurovis.core.checks import check_whole
from neurovis.core.files import atomic_folder, sha256_bytes, write_table
from neurovis.core.log import progress

VOLUME_FORMATS = ("hdf5", "nii", "nii.gz", "mat")
_WARP_NAMES = {"func1pt8mm": "func1pt8", "func1mm": "func1pt0"}


@dataclass(frozen=True)
class _Plan:
    """What is the same for all subjects of one tree."""

    brain: SimulatedBrain
    design: SimulatedDesign
    category: NDArray[np.int64]
    names: list[str]
    volumes: Mapping[str, SimulatedPlaces]
    fsaverage: SimulatedPlaces
    spaces: tuple[str, ...]
    volume_formats: tuple[str, ...]
    preparations: tuple[str, ...]
    n_special: tuple[int, int, int]
    features: Mapping[str, NDArray[np.float32]]
    seed: int


def simulate_nsd(
    folder: str | Path,
    pictures: Sequence[NDArray[np.uint8]],
    labels: pd.DataFrame,
    *,
    n_subjects: int = 2,
    n_sessions: int | Sequence[int] = 3,
    n_withheld: int = 0,
    n_shared: int | None = None,
    volume_shape: tuple[int, int, int] = (18, 22, 18),
    volume_formats: Sequence[str] = ("hdf5",),
    spaces: Sequence[str] = ("func1pt8mm", "fsaverage"),
    preparations: Sequence[str] = (PREPARATIONS[-1],),
    n_vertices: tuple[int, int] = (2562, 2562),
    picture_px: int = 64,
    brain: SimulatedBrain | None = None,
    region_features: Mapping[str, ArrayLike] | None = None,
    n_saturated: int = 3,
    n_incomplete: int = 3,
    n_nan: int = 0,
    seed: int = 0,
) -> Path:
    """Write a tree like that of NSD, with simulated responses whose truth is known.

    Early visual areas respond to contrast inside their receptive fields, regions of the
    "floc-" families to the category of the pictures, the remaining cortex to nothing.
    Truth lies beside the data: ``neurovis_simulation.json`` and one table per subject
    and space in ``neurovis_simulation``.

    Parameters
    ----------
    folder : str or Path
        Where; nothing may be there yet. A run that ends early leaves nothing here.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Read one by one. Each subject sees 250 pictures per session, three times each;
        picture i gets the number i (0-based) of the stimulus file.
    labels : DataFrame
        One row per picture with the column `category` (str).
    n_subjects : int, default 2
        1 to 8.
    n_sessions : int or sequence of int, default 3
        Sessions of all subjects, or of each.
    n_withheld : int, default 0
        Last sessions of each subject without files of responses.
    n_shared : int, optional
        Pictures that all subjects see; by default a tenth of those of a subject.
    volume_shape : tuple of int, default (18, 22, 18)
        Voxels along x, y and z of "func1pt8mm", at least 6 each; "func1mm" has 1.8
        times as many. The head fills the grid, whatever its size.
    volume_formats : sequence of {"hdf5", "nii", "nii.gz", "mat"}, default ("hdf5",)
        Files of responses of voxels.
    spaces : sequence of str, default ("func1pt8mm", "fsaverage")
        Of "func1pt8mm", "func1mm", "fsaverage" and "nativesurface".
    preparations : sequence of str, default ("betas_fithrf_GLMdenoise_RR",)
        Names among those of `brain.relative_ncsnr`; "b1", "b2" and "b3" stand for
        those of NSD.
    n_vertices : tuple of int, default (2562, 2562)
        Vertices of "fsaverage", left and right; see `surface_places`. The real ones
        have 163842 each.
    picture_px : int, default 64
        Width and height of the pictures of the stimulus file; 425 in NSD.
    brain : SimulatedBrain, optional
        Parameters of the brains.
    region_features : mapping of str to array-like of float, optional
        By region ("V1", "floc-faces", "floc-places:PPA"), features of shape
        (n_pictures, n_features), such as those of a layer of a network: the units of
        the region respond to mixtures of them, instead of to contrast or category. A
        unit of several regions follows the first; other regions stay as they are.
    n_saturated, n_incomplete, n_nan : int, default 3, 3, 0
        Units of each subject and space that are cut at the ends of 16 bits (volumes),
        zero in one session, or NaN in the last one ("fsaverage").
    seed : int, default 0
        Seed. Responses of a subject do not depend on the other subjects that are
        written, given the lists of pictures.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    FileExistsError
        If `folder` exists.
    TypeError, ValueError
        If an argument is out of range, or there are too few pictures.
    OSError
        If the disk has too little space; nothing is written then.

    Notes
    -----
    Units of all spaces take position, tuning and true ncsnr from the nearest of the
    20484 vertices of fsaverage5. Noise is drawn anew for each unit and space, so that
    it is not correlated between neighbours, as it is in real data; preparations of
    one space share the noise of the best one.
    """
    brain = brain or SimulatedBrain()
    sessions = check_sessions(n_subjects, n_sessions, n_withheld)
    grids = _volume_grids(volume_shape)
    n_vertices = check_vertices(n_vertices)
    spaces = check_each("spaces", spaces, (*VOLUME_SPACES, *SURFACE_SPACES))
    volume_formats = check_each("volume_formats", volume_formats, VOLUME_FORMATS)
    short = {b: name for b, name in SHORT_NAMES.items() if name in brain.relative_ncsnr}
    known = (*brain.relative_ncsnr, *short)
    preparations = check_each("preparations", preparations, known)
    preparations = tuple(dict.fromkeys(short.get(b, b) for b in preparations))
    picture_px = check_whole("picture_px", picture_px, low=16, high=4096)
    n_special = (
        check_whole("n_saturated", n_saturated, low=0),
        check_whole("n_incomplete", n_incomplete, low=0),
        check_whole("n_nan", n_nan, low=0),
    )
    category, names = check_categories(labels, len(pictures))
    features = check_region_features(region_features, len(pictures))
    n_shared = check_pictures(len(pictures), sessions, n_shared)
    per_trial = _bytes_per_trial(spaces, volume_formats, grids, n_vertices)
    n_trials = sum(n - n_withheld for n in sessions) * TRIALS_PER_SESSION
    n_bytes = len(pictures) * 3 * picture_px**2
    n_bytes += n_trials * per_trial * len(preparations)
    check_free_space(Path(folder), n_bytes)
    settings = {
        "n_subjects": len(sessions),
        "n_sessions": sessions,
        "n_withheld": n_withheld,
        "n_shared": n_shared,
        "volume_shape": grids["func1pt8mm"],
        "volume_formats": volume_formats,
        "spaces": spaces,
        "preparations": preparations,
        "n_vertices": n_vertices,
        "picture_px": picture_px,
        "n_saturated": n_special[0],
        "n_incomplete": n_special[1],
        "n_nan": n_special[2],
        "brain": asdict(brain),
        "region_features": {
            region: {"n_features": len(rows), "sha256": sha256_bytes(rows.tobytes())}
            for region, rows in features.items()
        },
    }
    design = make_design(
        len(pictures), sessions, n_shared=n_shared, n_withheld=n_withheld, seed=seed
    )
    bar = progress(n_bytes, "simulating", unit="B")
    with bar, atomic_folder(folder) as root, numbered_hdf5_errors():
        grey = _write_pictures(root, pictures, picture_px, bar)
        write_picture_truth(root, labels)
        write_experiment(root, design, len(pictures), seed)
        plan = _Plan(
            brain,
            design,
            category,
            names,
            {
                name: volume_places(name, grids[name])
                for name in VOLUME_SPACES
                if name in spaces or name == "func1pt8mm"
            },
            surface_places("fsaverage", n_vertices),
            spaces,
            volume_formats,
            preparations,
            n_special,
            features,
            seed,
        )
        for subject in range(1, design.n_subjects + 1):
            _write_subject(root, plan, subject, grey, bar)
        # Last: what has this file is complete.
        write_settings(root, "nsd", settings, brain, names, seed)
    return Path(folder)


# ------------------------------------------------------------------- sizes


def _volume_grids(shape: tuple[int, int, int]) -> dict[str, tuple[int, int, int]]:
    if len(shape) != 3:
        raise ValueError(f"`volume_shape` must be three numbers; got {shape}.")
    x, y, z = (check_whole("volume_shape", n, low=6, high=1000) for n in shape)
    fine = (round(1.8 * x), round(1.8 * y), round(1.8 * z))
    return {"func1pt8mm": (x, y, z), "func1mm": fine}


def _bytes_per_trial(
    spaces: Sequence[str],
    volume_formats: Sequence[str],
    grids: Mapping[str, tuple[int, int, int]],
    n_vertices: tuple[int, int],
) -> int:
    """Return the bytes that one trial of one preparation takes in all its files."""
    total = 0
    for space in spaces:
        if space in VOLUME_SPACES:
            total += 2 * int(np.prod(grids[space])) * len(volume_formats)
        else:
            total += (4 if space == "fsaverage" else 2) * sum(n_vertices)
    return total


# ----------------------------------------------------------------- writing


def _write_pictures(
    root: Path, pictures: Sequence[NDArray[np.uint8]], picture_px: int, bar: Any
) -> NDArray[np.uint8]:
    """Write the stimulus file; return what energy is computed from."""
    path = root / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5"
    path.parent.mkdir(parents=True)
    grey = []
    with h5py.File(path, "w") as file:
        shape = (len(pictures), picture_px, picture_px, 3)
        brick = file.create_dataset("imgBrick", shape, np.uint8)
        for i in range(len(pictures)):
            picture = square_picture(pictures[i], picture_px)
            brick[i] = picture
            grey.append(luminance(picture))
            bar.update(picture.nbytes)
    with path.open("rb+") as done:
        os.fsync(done.fileno())
    return np.stack(grey)


def _write_subject(
    root: Path, plan: _Plan, subject: int, grey: NDArray[np.uint8], bar: Any
) -> None:
    name = subject_name(subject)
    cortex = draw_cortex(plan.brain, name, plan.names, plan.seed)
    fsaverage = plan.fsaverage
    assert not isinstance(fsaverage.space, VolumeSpace)
    meshes = native_meshes(fsaverage.space.n_vertices, name, plan.seed)
    places = {"fsaverage": fsaverage, **plan.volumes}
    places["nativesurface"] = native_places(fsaverage, meshes)
    order = plan.design.subjectim[subject - 1] - 1
    cortex, rows, signals = subject_signals(cortex, grey, plan.category, order)
    if plan.features:
        cortex, signals = drive_by_features(
            *(cortex, rows, signals, plan.features, order),
            subject=name,
            seed=plan.seed,
        )
    ppdata = root / "nsddata" / "ppdata" / name
    for space, volume in plan.volumes.items():
        write_volume_regions(ppdata / space, volume, cortex.vertices)
    write_surface_regions(root, name, cortex.vertices, fsaverage, meshes)
    warped = {_WARP_NAMES[space]: volume for space, volume in plan.volumes.items()}
    write_transforms(ppdata / "transforms", fsaverage, meshes, warped)
    for space in plan.spaces:
        special = choose_special(
            places[space], cortex.vertices, plan.n_special, plan.seed, name
        )
        source = BetaSource(
            plan.brain,
            name,
            places[space],
            special,
            cortex.vertices,
            rows,
            signals,
            plan.design.positions(subject),
            plan.seed,
        )
        folder = root / "nsddata_betas" / "ppdata" / name / space
        for preparation in plan.preparations:
            where = folder / preparation
            _write_betas(where, source, preparation, plan.volume_formats, bar)
        truth = unit_truth(source, plan.preparations)
        write_table(root / TRUTH_FOLDER / f"{name}_{space}.parquet", truth)


def _open_writers(
    folder: Path, source: BetaSource, part: str, session: int, formats: Sequence[str]
) -> list[BetaWriter]:
    """Open the files of one session of a volume or hemisphere."""
    space = source.places.space
    stem = f"betas_session{session:02d}"
    n_trials = TRIALS_PER_SESSION
    if not isinstance(space, VolumeSpace):
        where = source.places.parts[part]
        n_vertices = where.stop - where.start
        if space.name == "fsaverage":
            path = folder / f"{part}.{stem}.mgh"
            return [mgh_writer(path, n_trials, n_vertices)]
        path = folder / f"{part}.{stem}.hdf5"
        return [HDF5Writer(path, n_trials, (n_vertices,))]
    writers: list[BetaWriter] = []
    for suffix in formats:
        path = folder / f"{stem}.{suffix}"
        if suffix.startswith("nii"):
            writer = nifti_writer(path, n_trials, space.shape, source.places.affine)
            writers.append(writer)
        else:
            is_matlab = suffix == "mat"
            writers.append(HDF5Writer(path, n_trials, space.shape, matlab=is_matlab))
    return writers


def _write_betas(
    folder: Path,
    source: BetaSource,
    preparation: str,
    volume_formats: Sequence[str],
    bar: Any,
) -> None:
    """Write the responses of one subject, space and preparation."""
    folder.mkdir(parents=True)
    space = source.places.space
    sessions = range(source.n_sessions)
    repeated = trials_of_repeated(source.positions)
    for part, where in source.places.parts.items():
        n_places = where.stop - where.start
        ncsnr = np.zeros(n_places, np.float32)
        means = np.zeros((n_places, len(sessions)), np.float32)
        with ExitStack() as stack:
            writers = [
                _open_writers(folder, source, part, i + 1, volume_formats)
                for i in sessions
            ]
            for writer in chain.from_iterable(writers):
                stack.enter_context(closing(writer))
            for run in source.runs(part):
                values = source.percent(run, preparation)
                rows = slice(run.start - where.start, run.stop - where.start)
                stored: NDArray[Any] = values
                if source.is_integer:
                    stored = to_integers(values)
                    values = stored.astype(np.float32) / np.float32(INTEGER_SCALE)
                for i in sessions:
                    one = slice(i * TRIALS_PER_SESSION, (i + 1) * TRIALS_PER_SESSION)
                    for writer in writers[i]:
                        writer.write(rows.start, stored[:, one])
                        bar.update(stored[:, one].nbytes)
                    means[rows, i] = values[:, one].mean(axis=1, dtype=np.float64)
                inside = source.places.in_brain[run]
                scores = z_scored(values[inside])
                ncsnr[rows][inside] = measured_ncsnr(scores, repeated)
        if isinstance(space, VolumeSpace):
            _write_summaries(folder, source.places, ncsnr, means)
        else:
            write_mgh(folder / f"{part}.ncsnr.mgh", ncsnr)


def _write_summaries(
    folder: Path,
    places: SimulatedPlaces,
    ncsnr: NDArray[np.float32],
    means: NDArray[np.float32],
) -> None:
    space = places.space
    assert isinstance(space, VolumeSpace)
    named = {f"meanbeta_session{i + 1:02d}": m for i, m in enumerate(means.T)}
    named["meanbeta"] = means.mean(axis=1)
    for name, mean in named.items():
        volume = to_integers(mean).reshape(space.shape, order="F")
        write_nifti(folder / f"{name}.nii.gz", volume, places.affine)
    ratios = ncsnr.reshape(space.shape, order="F")
    write_nifti(folder / "ncsnr.nii.gz", ratios, places.affine)
