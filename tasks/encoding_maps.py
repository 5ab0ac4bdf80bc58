"""Maps of encoding scores on the brain, as files that other programs read."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.brain_space import VolumeSpace
from neurovis.core.files import write_bytes
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
    written = []
    for column in MAPPED:
        maps = data.responses.to_maps(units[column])
        stem = f"{file_name(candidate.layer)}_{column}"
        for part, values in maps.items():
            if isinstance(space, VolumeSpace):
                path = home / f"{stem}.nii.gz"
                _write_nifti(path, values, space.affine)
            else:
                path = home / f"{part}.{stem}.mgh"
                _write_mgh(path, values)
            written.append(path)
    return written


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
