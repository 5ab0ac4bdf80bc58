"""fMRI of one subject: seven regions, 65 categories of objects.

The design is that of Bonner and Epstein (2021). Object representations in the human
brain reflect the co-occurrence statistics of vision and language. Nature
Communications 12:4081. doi:10.1038/s41467-021-24368-2. The source does not name it.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.source_arrays import read_floats, read_texts
from data_loaders.source_files import content_of, read_arrays
from neurovis.core.checks import check_array, check_path
from neurovis.core.files import sha256_file
from neurovis.core.unit_responses import UnitResponses

N_CATEGORIES = 65
N_VOXELS = 696
N_PICTURES = 10
"""Pictures of each category, whose responses one beta describes."""

FEATURES = ("alexnet_pcs", "word2vec_pcs")
_FILE = "data.npz"


def load_objects_fmri(folder: str | Path) -> UnitResponses:
    """Load the responses of voxels to categories of objects.

    Parameters
    ----------
    folder : str or Path
        Folder with ``data.npz``: `betas` (float32, 65 categories x 696 voxels),
        `categories` (65 names), `roi_index` (whole numbers from 1, one per voxel) and
        `roi_names` (7 names).

    Returns
    -------
    UnitResponses
        65 rows, one per category, and 696 voxels, without pictures and without place.

        - stimuli: `stimulus_id` (the category with signs that can name a file),
          `n_repeats` (1: one beta, whose trials are not told), `n_pictures` (10, those
          of the category that share the beta) and `category` (name in the file);
        - units: `unit_id` ("voxel-000"..), `region` (family of labels: EVC, OPA,
          PPA, LOC, PFS, OFA, FFA) and `voxel` (0-based in its region).

    Raises
    ------
    FileNotFoundError
        If the folder or its file is not there.
    DataCorruptError
        If the file is damaged or holds what cannot be.
    """
    path = _find(folder)
    betas = read_floats(path, {"betas": (N_CATEGORIES, N_VOXELS)})["betas"]
    texts = read_texts(path, ["categories", "roi_names"])
    region = read_arrays(path, ["roi_index"])["roi_index"]
    with content_of(path):
        units = _make_units(region, texts["roi_names"])
        stimuli = _make_stimuli(texts["categories"])
    n_distinct = len(np.unique(betas, axis=1).T)
    return UnitResponses(
        name="objects-fmri",
        subject="subj01",
        betas=np.asarray(betas, np.float32),
        stimuli=stimuli,
        units=units,
        families=("region",),
        response_unit="GLM beta",
        fingerprints={_FILE: sha256_file(path)},
        notes=(
            f"One beta per category, fitted to its {N_PICTURES} pictures together; how "
            "often each was shown is not told, and `n_repeats` is 1.",
            f"{N_VOXELS - n_distinct} of {N_VOXELS} voxels repeat the responses of "
            "another one: presumably they were counted to two regions.",
        ),
    )


def load_objects_features(folder: str | Path) -> dict[str, NDArray[np.float32]]:
    """Load the features that came with the responses.

    Parameters
    ----------
    folder : str or Path
        Folder with ``data.npz``: arrays of the two names below.

    Returns
    -------
    dict of str to ndarray of float32, shape (65, n_features)
        Rows as those of `load_objects_fmri`. ``"alexnet_pcs"``: 20 principal
        components of convolutional features of AlexNet, mean over the pictures of a
        category; ``"word2vec_pcs"``: 30 of word vectors of its name.

    Raises
    ------
    FileNotFoundError
        If the folder or its file is not there.
    DataCorruptError
        If the file is damaged or holds what cannot be.
    """
    shapes = dict.fromkeys(FEATURES, (N_CATEGORIES, None))
    arrays = read_floats(_find(folder), shapes)
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def _find(folder: str | Path) -> Path:
    return check_path(_FILE, check_path("folder", folder, kind="folder") / _FILE)


def _make_units(region: NDArray[Any], names: list[str]) -> pd.DataFrame:
    check_array("roi_index", region, shape=(N_VOXELS,))
    if region.dtype.kind not in "iu" or set(region) != set(range(1, len(names) + 1)):
        raise ValueError(
            f"`roi_index` must hold every number of a region, 1..{len(names)}, and no "
            f"other; it has {region.dtype} from {region.min()} to {region.max()}."
        )
    label = pd.Series([names[int(i) - 1] for i in region], dtype="str")
    return pd.DataFrame(
        {
            "unit_id": [f"voxel-{i:03d}" for i in range(N_VOXELS)],
            "region": label,
            "voxel": label.groupby(label).cumcount().to_numpy(np.int64),
        }
    )


def _make_stimuli(categories: list[str]) -> pd.DataFrame:
    if len(categories) != N_CATEGORIES:
        raise ValueError(
            f"`categories` must be {N_CATEGORIES} names; it has {len(categories)}."
        )
    safe = [re.sub(r"[^0-9A-Za-z._-]", "_", name) for name in categories]
    if len(set(safe)) != len(safe):
        raise ValueError("`categories` has names that differ in special signs only.")
    return pd.DataFrame(
        {
            "stimulus_id": safe,
            "n_repeats": 1,
            "n_pictures": N_PICTURES,
            "category": categories,
        }
    )
