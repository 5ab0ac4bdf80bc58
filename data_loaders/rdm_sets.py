"""Published dissimilarity matrices: 92 objects, and 78 photographs.

References
----------
Kriegeskorte, Mur, Ruff, Kiani, Bodurka, Esteky, Tanaka and Bandettini (2008). Matching
categorical object representations in inferior temporal cortex of man and monkey.
Neuron 60:1126-1141. doi:10.1016/j.neuron.2008.10.043.

Mur, Meys, Bodurka, Goebel, Bandettini and Kriegeskorte (2013). Human object-similarity
judgments reflect and transcend the primate-IT object representation. Frontiers in
Psychology 4:128. doi:10.3389/fpsyg.2013.00128.

Bersch, Dwivedi, Vilas, Cichy and Roig (2022). Net2Brain: a toolbox to compare
artificial vision models with human brain responses. arXiv:2208.09677.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.source_arrays import open_all_pictures, read_floats
from data_loaders.source_files import content_of, read_columns
from neurovis.core.checks import check_path
from neurovis.core.files import sha256_file
from neurovis.core.rdm_stack import RDMStack

_RDMS, _STIMULI, _PICTURES = "rdms.npz", "stimuli.csv", "images.zip"

_N_92 = 92
_FLAGS = ("human", "face", "animal", "natural")
_CATEGORIES = (
    "cat_animate",
    "cat_inanim",
    "cat_human",
    "cat_nonhumani",
    "cat_body",
    "cat_face",
    "cat_natObj",
    "cat_artiObj",
    "cat_rand24",
    "cat_rand48",
    "cat_other48",
    "cat_monkeyape",
)
_CORRELATION = "1 - Pearson r"
_CATEGORICAL = "0 within, 1 between"
_SCALED = "scaled by the source"
_MODELS = {
    "animacy": _CATEGORICAL,
    "FaceBodyManmadeNatobj": _CATEGORICAL,
    "monkeyIT": _CORRELATION,
    "EVA": _SCALED,
    "HMAX": _SCALED,
    "V1": _SCALED,
    "Silhouette": _SCALED,
    "RADON": _SCALED,
}

_N_78 = 78
_N_SUBJECTS_78 = 15


def load_objects92(folder: str | Path) -> RDMStack:
    """Load matrices of 92 objects: monkey IT, human IT, behaviour and models.

    Parameters
    ----------
    folder : str or Path
        Folder with ``rdms.npz`` (upper triangles of 4186 pairs: `monkeyIT_mean`,
        `humanIT_mean`, `humanIT_subjects` of 3 subjects x 2 sessions,
        `behaviour_subjects` of 12, and `model_...` of eight models), ``stimuli.csv``
        (`index`, `file`, `category` and the flags below) and ``images.zip``
        (``images/00.png``..).

    Returns
    -------
    RDMStack
        28 matrices of 92 stimuli; pictures are 175 x 175 px and read when asked for.

        - table: `source` ("monkey IT", "human IT", "behaviour", "model"), `subject`
          ("1"..; "mean" over subjects, "pooled" where the neurons of all animals made
          one matrix, "" for models), `session` ("1", "2", "mean", or "" where there
          are none), `model` (its name, else "") and `measure`;
        - stimuli: `stimulus_id` ("objects92-07"), `category` (six classes), the flags
          `human`, `face`, `animal`, `natural` and the groups `cat_...` of the source
          (bool; `cat_rand24`, `cat_rand48` and `cat_other48` are control groups).

    Raises
    ------
    FileNotFoundError
        If the folder or a file is not there.
    DataCorruptError
        If a file is damaged or holds what cannot be, or a picture is missing.

    Examples
    --------
    Human IT of the second subject in both sessions:

    >>> def second(folder):
    ...     return load_objects92(folder).select(source="human IT", subject="2")
    """
    n_pairs = _N_92 * (_N_92 - 1) // 2
    shapes: dict[str, tuple[int | None, ...]] = {
        "monkeyIT_mean": (n_pairs,),
        "humanIT_mean": (n_pairs,),
        "humanIT_subjects": (3, 2, n_pairs),
        "behaviour_subjects": (12, n_pairs),
        **{f"model_{name}": (n_pairs,) for name in _MODELS},
    }
    kinds = {"category": "text", **dict.fromkeys((*_FLAGS, *_CATEGORIES), "flag")}
    names = ["source", "subject", "session", "model", "measure"]
    sessions = [(subject, session) for subject in "123" for session in "12"]
    rows = [
        ("monkey IT", "pooled", "", "", _CORRELATION),
        ("human IT", "mean", "mean", "", _CORRELATION),
        *(("human IT", *who, "", _CORRELATION) for who in sessions),
        *(("behaviour", f"{i + 1}", "", "", "judged distance") for i in range(12)),
        *(("model", "", "", model, measure) for model, measure in _MODELS.items()),
    ]
    return _load(
        "objects92",
        folder,
        table=pd.DataFrame(rows, columns=names),
        shapes=shapes,
        kinds=kinds,
        suffix=".png",
        notes=(
            "The mean of human IT is that of the source; it is not the mean of the "
            "subjects and sessions here.",
            "Models other than animacy, FaceBodyManmadeNatobj and monkeyIT were scaled "
            "by the source: only their ranks, or a linear relation, mean anything.",
            "The model monkeyIT is the matrix of monkey IT once more.",
        ),
    )


def load_net2brain78(folder: str | Path) -> RDMStack:
    """Load matrices of 78 photographs: early visual cortex and IT of 15 people.

    Parameters
    ----------
    folder : str or Path
        Folder with ``rdms.npz`` (`EVC` and `IT`: upper triangles of 15 subjects x
        3003 pairs), ``stimuli.csv`` (`index`, `file`, `label_by_eye`) and
        ``images.zip`` (``images/00.jpg``..).

    Returns
    -------
    RDMStack
        30 matrices of 78 stimuli; pictures are 256 x 256 px and read when asked for.

        - table: `source` ("human EVC" or "human IT"), `subject` ("1".."15") and
          `measure` ("not told");
        - stimuli: `stimulus_id` ("net2brain78-07") and `category` (a label by eye).

    Raises
    ------
    FileNotFoundError
        If the folder or a file is not there.
    DataCorruptError
        If a file is damaged or holds what cannot be, or a picture is missing.

    Notes
    -----
    The matrices of two people have practically nothing in common. They serve to test
    code of noise ceilings, not to rank models.
    """
    shape = (_N_SUBJECTS_78, _N_78 * (_N_78 - 1) // 2)
    people = [str(i + 1) for i in range(_N_SUBJECTS_78)]
    table = pd.DataFrame(
        {
            "source": np.repeat(["human EVC", "human IT"], _N_SUBJECTS_78),
            "subject": people * 2,
            "measure": "not told",
        }
    )
    return _load(
        "net2brain78",
        folder,
        table=table.astype("str"),
        shapes={"EVC": shape, "IT": shape},
        kinds={"label_by_eye": "text"},
        suffix=".jpg",
        notes=(
            "Not reliable: the mean Spearman correlation between the matrices of two "
            "people is about 0.005 in EVC and 0.002 in IT. Do not rank models with it.",
            "Categories are labels by eye; the source has none.",
        ),
    )


def _load(
    name: str,
    folder: str | Path,
    *,
    table: pd.DataFrame,
    shapes: Mapping[str, tuple[int | None, ...]],
    kinds: Mapping[str, str],
    suffix: str,
    notes: tuple[str, ...],
) -> RDMStack:
    """Read the three files of a set; matrices stand in the order of `shapes`."""
    folder = check_path("folder", folder, kind="folder")
    files = (_RDMS, _STIMULI, _PICTURES)
    rdms, listed, images = (check_path(file, folder / file) for file in files)
    arrays = read_floats(rdms, shapes)
    with content_of(rdms):
        negative = [key for key, array in arrays.items() if (array < 0).any()]
        if negative:
            raise ValueError(f"`{negative[0]}` has dissimilarities below 0.")
    stacked = [array.reshape(-1, array.shape[-1]) for array in arrays.values()]
    rows: NDArray[Any] = np.concatenate(stacked).astype(np.float64)
    n_stimuli = round((1 + (1 + 8 * rows.shape[1]) ** 0.5) / 2)
    stimuli = read_columns(listed, {"index": "whole", "file": "text", **kinds})
    with content_of(listed):
        if stimuli["index"].tolist() != list(range(n_stimuli)):
            raise ValueError(
                f"The column `index` must count from 0 to {n_stimuli - 1}, as rows of "
                "the matrices do."
            )
        expected = [f"images/{i:02d}{suffix}" for i in range(n_stimuli)]
        other = [f for f, e in zip(stimuli["file"], expected, strict=True) if f != e]
        if other:
            raise ValueError(
                f"The column `file` has {other[0]!r} in a row that belongs to another "
                "picture: pictures are numbered as the rows are."
            )
    identity = [f"{name}-{i:02d}" for i in range(n_stimuli)]
    stimuli = stimuli.drop(columns=["index", "file"])
    stimuli = stimuli.rename(columns={"label_by_eye": "category"})
    stimuli.insert(0, "stimulus_id", identity)
    return RDMStack(
        name,
        rows,
        table,
        stimuli,
        pictures=open_all_pictures(images, expected),
        fingerprints={path.name: sha256_file(path) for path in (rdms, listed, images)},
        notes=notes,
    )
