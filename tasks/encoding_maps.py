"""Maps of encoding scores on the brain, as files that other programs read."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.brain_space import (
    HEMISPHERES,
    BrainSpace,
    SurfaceSpace,
    VolumeSpace,
    unit_maps,
)
from neurovis.core.files import DECODER_ERRORS, corrupt, write_bytes
from tasks.brain_sources import BrainData
from tasks.encoding_fits import Candidate
from tasks.encoding_layers import file_name

MAPPED = ("r", "r2_noise_normalised")
"""Columns of the table of units that become maps."""


def write_maps(
    folder: Path, data: BrainData, candidate: Candidate, units: pd.DataFrame
) -> list[Path]:
    """Write maps of one model, where units have a place in the brain.

    Volumes become ``.nii.gz`` (with the affine of the data; without one voxel indices
    stand for millimetres), surfaces one ``.mgh`` per hemisphere; NaN is undefined.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    data : BrainData
        Subject.
    candidate : Candidate
        Model.
    units : DataFrame
        From `tasks.encoding_scores.unit_table`.

    Returns
    -------
    list of Path
        Files below ``maps/SUBJECT/MODEL``: none without places.
    """
    space = data.responses.space
    if space is None:
        return []
    home = folder / "maps" / file_name(data.subject) / file_name(candidate.model)
    layer = file_name(candidate.layer)
    values = {f"{layer}_{column}": units[column] for column in MAPPED}
    return write_unit_maps(home, values, data.responses.units, space)


def write_unit_maps(
    home: Path, values: Mapping[str, ArrayLike], units: pd.DataFrame, space: BrainSpace
) -> list[Path]:
    """Write numbers of units as maps of a brain.

    Parameters
    ----------
    home : Path
        Folder; made when missing.
    values : mapping of str to array-like of float, shape (n_units,)
        By name of the file, without suffix.
    units : DataFrame
        Places of the units in `space`.
    space : VolumeSpace or SurfaceSpace
        Where they lie.

    Returns
    -------
    list of Path
        ``NAME.nii.gz``, or ``lh.NAME.mgh`` and ``rh.NAME.mgh``.

    Raises
    ------
    ValueError
        If places are missing or do not fit the space.
    """
    written = []
    for stem, numbers in values.items():
        for part, content in unit_maps(numbers, units, space).items():
            if isinstance(space, VolumeSpace):
                path = home / f"{stem}.nii.gz"
                _write_nifti(path, content, space.affine)
            else:
                path = home / f"{part}.{stem}.mgh"
                _write_mgh(path, content)
            written.append(path)
    return written


def find_space(model: Path) -> BrainSpace | None:
    """Return the space of a fitted model, as the maps of its run tell it.

    Parameters
    ----------
    model : Path
        Folder ``RUN/models/SUBJECT/MODEL/LAYER``.

    Returns
    -------
    VolumeSpace, SurfaceSpace or None
        None where the run left no maps, or the model lies elsewhere by now.

    Raises
    ------
    DataCorruptError
        If a map is damaged.
    """
    *run, models, subject, name, layer = ("", "", "", *model.absolute().parts)
    if models != "models":
        return None
    home = Path(*run) / "maps" / subject / name
    volume = home / f"{layer}_{MAPPED[0]}.nii.gz"
    sides = [home / f"{h}.{layer}_{MAPPED[0]}.mgh" for h in HEMISPHERES]
    make: Any
    if volume.is_file():
        try:
            # From bytes, so that no file stays open.
            make = nib.Nifti1Image
            image = make.from_bytes(gzip.decompress(volume.read_bytes()))
        except (nib.filebasedimages.ImageFileError, *DECODER_ERRORS) as error:
            raise corrupt(volume, "map", error) from error
        return VolumeSpace("volume", image.shape, np.asarray(image.affine, np.float64))
    if not all(side.is_file() for side in sides):
        return None
    sizes = []
    make = nib.MGHImage
    for side in sides:
        try:
            sizes.append(int(make.from_bytes(side.read_bytes()).shape[0]))
        except (nib.filebasedimages.ImageFileError, *DECODER_ERRORS) as error:
            raise corrupt(side, "map", error) from error
    return SurfaceSpace("surface", (sizes[0], sizes[1]))


def _write_nifti(
    path: Path, values: NDArray[np.float64], affine: NDArray[np.float64] | None
) -> None:
    make: Any = nib.Nifti1Image
    image = make(values.astype(np.float32), np.eye(4) if affine is None else affine)
    # No time in the file: equal maps give equal bytes.
    write_bytes(path, gzip.compress(image.to_bytes(), 6, mtime=0))


def _write_mgh(path: Path, values: NDArray[np.float64]) -> None:
    make: Any = nib.MGHImage
    image = make(values.astype(np.float32)[:, None, None], np.eye(4))
    write_bytes(path, image.to_bytes())
