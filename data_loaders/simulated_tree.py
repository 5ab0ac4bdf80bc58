"""The small files of a simulated NSD tree: experiment, regions, surfaces, truth."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.simulated_atlas import ATLAS_FAMILIES, FAMILY_LABELS, cortical_meshes
from data_loaders.simulated_betas import BetaSource, trials_of_repeated
from data_loaders.simulated_design import (
    SimulatedDesign,
    draw_behaviour,
    stimulus_table,
)
from data_loaders.simulated_files import write_mat, write_mgh, write_new, write_nifti
from data_loaders.simulated_places import (
    OUTSIDE,
    NativeMesh,
    SimulatedPlaces,
    head_affine,
)
from neurovis.core.brain_space import HEMISPHERES, VolumeSpace

_MNI_SHAPE = (26, 31, 26)
_DEPTHS = {"layerB1": 0.25, "layerB2": 0.5, "layerB3": 0.75}
_OWN_FAMILIES = tuple(f for f in FAMILY_LABELS if f not in ATLAS_FAMILIES)


def subject_name(subject: int) -> str:
    """Return the name of a subject.

    Parameters
    ----------
    subject : int
        1-based.

    Returns
    -------
    str
        Such as "subj01".
    """
    return f"subj{subject:02d}"


def write_experiment(
    root: Path, design: SimulatedDesign, n_pictures: int, seed: int
) -> None:
    """Write design, table of pictures and answers of all subjects.

    Parameters
    ----------
    root : Path
        Top of the tree.
    design : SimulatedDesign
        The experiment.
    n_pictures : int
        Pictures in the stimulus file.
    seed : int
        Seed of the simulation.
    """
    folder = root / "nsddata" / "experiments" / "nsd"
    matrices: dict[str, NDArray[np.generic]] = {
        "masterordering": design.masterordering[None],
        "basiccnt": design.basiccnt,
        "sharedix": design.sharedix[None],
        "subjectim": design.subjectim,
        "stimpattern": design.stimpattern,
    }
    write_mat(folder / "nsd_expdesign.mat", matrices)
    table = stimulus_table(design, n_pictures, seed=seed)
    text = table.to_csv(lineterminator="\n")
    write_new(folder / "nsd_stim_info_merged.csv", text.encode())
    for subject in range(1, design.n_subjects + 1):
        answers = draw_behaviour(design, subject, seed=seed)
        text = answers.to_csv(sep="\t", index=False, na_rep="NaN", lineterminator="\n")
        behav = root / "nsddata" / "ppdata" / subject_name(subject) / "behav"
        write_new(behav / "responses.tsv", text.encode())


# ----------------------------------------------------------------- regions


def write_volume_regions(
    folder: Path, places: SimulatedPlaces, vertices: pd.DataFrame
) -> None:
    """Write masks, regions and receptive fields of a volume.

    Parameters
    ----------
    folder : Path
        Such as ``nsddata/ppdata/subj01/func1pt8mm``.
    places : SimulatedPlaces
        A volume.
    vertices : DataFrame
        From `draw_cortex`.
    """
    space = places.space
    assert isinstance(space, VolumeSpace)
    in_cortex = places.vertex >= 0
    table = vertices.iloc[places.vertex[in_cortex]]

    def save(name: str, values: NDArray[np.generic]) -> None:
        volume = values.reshape(space.shape, order="F")
        write_nifti(folder / name, volume, places.affine)

    save("brainmask.nii.gz", places.in_brain.astype(np.int16))
    brightness = np.where(in_cortex, 1200, 900) * places.in_brain
    save("mean.nii.gz", brightness.astype(np.float32))
    for family in FAMILY_LABELS:
        labels = np.full(space.n_units, -1, np.int16)
        labels[in_cortex] = table[family]
        save(f"roi/{family}.nii.gz", labels)
        for hemisphere in HEMISPHERES:
            half = np.full(space.n_units, -1, np.int16)
            here = (table["hemisphere"] == hemisphere).to_numpy()
            half[np.flatnonzero(in_cortex)[here]] = table[family][here]
            save(f"roi/{hemisphere}.{family}.nii.gz", half)
    x, y = table["rf_x_deg"].to_numpy(), -table["rf_y_deg"].to_numpy()
    retinotopic = (table["prf-visualrois"] > 0).to_numpy()
    fields = {
        "prf_angle": np.rad2deg(np.arctan2(y, x)) % 360,
        "prf_eccentricity": np.hypot(x, y),
        "prf_size": table["rf_size_deg"].to_numpy(),
    }
    for name, numbers in fields.items():
        values = np.full(space.n_units, np.nan, np.float32)
        values[in_cortex] = np.where(retinotopic, numbers, np.nan)
        save(f"{name}.nii.gz", values)


def write_surface_regions(
    root: Path,
    subject: str,
    vertices: pd.DataFrame,
    fsaverage: SimulatedPlaces,
    meshes: Mapping[str, NativeMesh],
) -> None:
    """Write labels and their names: own ones of a subject, and those of fsaverage.

    Parameters
    ----------
    root : Path
        Top of the tree.
    subject : str
        Such as "subj01".
    vertices : DataFrame
        From `draw_cortex`.
    fsaverage : SimulatedPlaces
        The surfaces of fsaverage.
    meshes : mapping of str to NativeMesh
        The surfaces of the subject.
    """
    freesurfer = root / "nsddata" / "freesurfer"
    for family, names in FAMILY_LABELS.items():
        lines = [f"{i} {name}\n" for i, name in enumerate(("Unknown", *names))]
        is_atlas = family in ATLAS_FAMILIES
        owners = [(subject, True)] * (not is_atlas or family == "streams")
        owners += [("fsaverage", False)] * is_atlas
        for owner, is_native in owners:
            folder = freesurfer / owner / "label"
            write_new(folder / f"{family}.mgz.ctab", "".join(lines).encode())
            for hemisphere, part in fsaverage.parts.items():
                labels = vertices[family].to_numpy(np.int32)[fsaverage.vertex[part]]
                if is_native:
                    labels = labels[meshes[hemisphere].from_fsaverage]
                write_mgh(folder / f"{hemisphere}.{family}.mgz", labels)


def write_transforms(
    folder: Path,
    fsaverage: SimulatedPlaces,
    meshes: Mapping[str, NativeMesh],
    volumes: Mapping[str, SimulatedPlaces],
) -> None:
    """Write how places of one space are found in another; numbers are 1-based.

    ``func1pt8-to-MNI`` is given for a coarse grid around the head, whose first axis
    runs from right to left.

    Parameters
    ----------
    folder : Path
        ``nsddata/ppdata/subjAA/transforms``.
    fsaverage : SimulatedPlaces
        The surfaces of fsaverage.
    meshes : mapping of str to NativeMesh
        The surfaces of the subject.
    volumes : mapping of str to SimulatedPlaces
        "func1pt8" and, when there, "func1pt0".
    """
    for hemisphere, part in fsaverage.parts.items():
        mesh = meshes[hemisphere]
        matches = {
            "white-to-fsaverage": mesh.to_fsaverage,
            "fsaverage-to-white": mesh.from_fsaverage,
        }
        for name, index in matches.items():
            numbers = (index + 1).astype(np.int32)
            write_mgh(folder / f"{hemisphere}.{name}.mgz", numbers)
        surface = cortical_meshes()[hemisphere]
        first = 0 if hemisphere == "lh" else len(surface.white)
        vertex = fsaverage.vertex[part][mesh.from_fsaverage] - first
        for layer, depth in _DEPTHS.items():
            # Layers count from the pial surface inwards.
            mm = depth * surface.white + (1 - depth) * surface.pial
            for name, volume in volumes.items():
                found = _source_numbers(mm[vertex], volume)
                write_mgh(folder / f"{hemisphere}.{name}-to-{layer}.mgz", found)
    affine = head_affine(_MNI_SHAPE)
    grid = np.moveaxis(np.indices(_MNI_SHAPE), 0, -1)[::-1]
    mm = grid @ affine[:3, :3].T + affine[:3, 3]
    flipped = affine @ np.diag([-1.0, 1, 1, 1])
    flipped[:3, 3] = mm[0, 0, 0]
    for name, volume in volumes.items():
        found = _source_numbers(mm.reshape(-1, 3), volume).reshape(*_MNI_SHAPE, 3)
        write_nifti(folder / f"{name}-to-MNI.nii.gz", found, flipped)


def _source_numbers(
    mm: NDArray[np.float64], volume: SimulatedPlaces
) -> NDArray[np.float32]:
    """Return 1-based decimal places in a volume; 9999 outside of it."""
    inverse = np.linalg.inv(volume.affine)
    index = mm @ inverse[:3, :3].T + inverse[:3, 3]
    assert isinstance(volume.space, VolumeSpace)
    last = np.array(volume.space.shape) - 1
    inside = ((index >= 0) & (index <= last)).all(axis=1)
    return np.where(inside[:, None], index + 1, OUTSIDE).astype(np.float32)


# ------------------------------------------------------------------- truth


def unit_truth(source: BetaSource, preparations: tuple[str, ...]) -> pd.DataFrame:
    """Return what is true of the units of one space.

    Parameters
    ----------
    source : BetaSource
        Subject and space.
    preparations : tuple of str
        Preparations written.

    Returns
    -------
    DataFrame
        One row per voxel of cortex or vertex: `unit_id` and columns of place; `vertex5`
        (vertex of fsaverage5, left before right); a column of names per family ("" for
        none); `ncsnr` of the signal over the whole list of pictures against the noise
        of single trials of the preparation "betas_fithrf_GLMdenoise_RR" after
        z-scoring within sessions, and `ncsnr_PREPARATION` for each one written;
        `signal_spread`, by which these must be multiplied for the pictures that were
        shown three times in the sessions with files; `preferred_category`; receptive
        fields; mean and noise in percent signal change; what is flawed; and where
        regions respond to given features, the region in `features`.
    """
    places = source.places
    flat = np.flatnonzero(places.vertex >= 0)
    vertex = places.vertex[flat]
    table = source.vertices.iloc[vertex].reset_index(drop=True)
    found = places.space.locate(flat)
    found["vertex5"] = vertex
    if "hemisphere" not in found:
        found["hemisphere"] = table["hemisphere"]
    for family, names in FAMILY_LABELS.items():
        found[family] = np.array(["", *names], object)[table[family]]
    found["ncsnr"] = table["ncsnr"]
    for name in preparations:
        factor = source.brain.relative_ncsnr[name]
        found[f"ncsnr_{name}"] = table["ncsnr"] * factor
    repeated = source.positions[trials_of_repeated(source.positions)[:, 0]]
    spread = np.full(len(source.vertices), np.nan)
    if len(repeated):
        driven = source.signal_row >= 0
        spread[driven] = source.signals[:, repeated].std(axis=1, dtype=np.float64)
    found["signal_spread"] = spread[vertex]
    copied = [
        *("preferred_category", "rf_x_deg", "rf_y_deg", "rf_size_deg"),
        *("frequency_cpd", "orientation_deg", "energy_share"),
        *("mean_percent", "noise_percent"),
    ]
    copied += ["features"] if "features" in table else []
    found[copied] = table[copied]
    special = source.special
    for name in ("saturated", "incomplete", "has_nan"):
        found[f"is_{name.removeprefix('has_')}"] = np.isin(flat, getattr(special, name))
    return found
