"""Files of the Algonauts 2023 challenge: subjects, names of pictures, responses.

A subject's folder ``subj01`` holds ``training_split``, ``test_split`` and
``roi_masks``. Rows of responses follow the rank in the names of the pictures.

Gifford et al. 2023, arXiv:2301.03198.
"""

import re
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from data_loaders.nsd_files import SIMULATION_FILE, subject_name
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_option, check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt


class SubjectSizes(NamedTuple):
    """Numbers of pictures and of challenge vertices of one subject.

    Parameters
    ----------
    n_train, n_test : int
        Pictures for training and for test.
    n_lh, n_rh : int
        Challenge vertices, left and right.
    """

    n_train: int
    n_test: int
    n_lh: int
    n_rh: int


_MOST = SubjectSizes(9841, 159, 19_004, 20_544)
PUBLISHED_SIZES = MappingProxyType(
    {
        "subj01": _MOST,
        "subj02": _MOST,
        "subj03": _MOST._replace(n_train=9082, n_test=293),
        "subj04": _MOST._replace(n_train=8779, n_test=395),
        "subj05": _MOST,
        "subj06": SubjectSizes(9082, 293, 18_978, 20_220),
        "subj07": _MOST,
        "subj08": SubjectSizes(8779, 395, 18_981, 20_530),
    }
)
"""Sizes of the challenge data, by subject."""


class _Split(NamedTuple):
    folder: str
    pictures: str
    responses: str
    prefix: str

    def betas(self, subject: Path, hemisphere: str) -> Path:
        name = f"{hemisphere}_{self.responses}.npy"
        return subject / self.folder / self.responses / name


_SPLITS = {
    "train": _Split("training_split", "training_images", "training_fmri", "train"),
    "test": _Split("test_split", "test_images", "test_fmri", "test"),
}


def find_subjects(folder: str | Path) -> list[str]:
    """Return the subjects of a challenge folder.

    Parameters
    ----------
    folder : str or Path
        The folder that holds ``subj01`` and so on.

    Returns
    -------
    list of str
        Such as "subj01", sorted.

    Raises
    ------
    FileNotFoundError
        If nothing is there, or no subject.
    """
    root = check_path("folder", folder, kind="folder")
    found = [p for p in root.iterdir() if re.fullmatch(r"subj\d{2,}", p.name)]
    names = sorted(p.name for p in found if (p / "training_split").is_dir())
    if not names:
        raise FileNotFoundError(
            f"{root} holds no subject of the Algonauts 2023 challenge: a folder "
            "subj01/training_split is looked for. Give the folder above subj01."
        )
    return names


def subject_folder(folder: str | Path, subject: int | str) -> Path:
    """Return the folder of one subject.

    Parameters
    ----------
    folder : str or Path
        The folder that holds ``subj01`` and so on.
    subject : int or str
        1-based number, or "subj01".

    Returns
    -------
    Path
        An existing folder.

    Raises
    ------
    FileNotFoundError
        If there is no subject at all.
    ValueError
        If there is no such subject; those there are named.
    """
    name = subject_name(subject)
    check_option("subject", name, find_subjects(folder))
    return Path(folder) / name


def simulation_notes(folder: str | Path) -> tuple[str, ...]:
    """Return the note for a folder that a simulator wrote, or nothing.

    Parameters
    ----------
    folder : str or Path
        The folder that holds ``subj01`` and so on.

    Returns
    -------
    tuple of str
        No or one sentence.
    """
    simulated = (Path(folder) / SIMULATION_FILE).is_file()
    return ("Simulated data: no person was measured.",) if simulated else ()


# ------------------------------------------------------------------- pictures


def stimulus_table(subject: Path, split: str) -> pd.DataFrame:
    """Read the order of the rows from the names of the pictures.

    Files that are no ``.png`` are left out.

    Parameters
    ----------
    subject : Path
        Folder of the subject.
    split : {"train", "test"}
        Which pictures.

    Returns
    -------
    DataFrame
        One row per picture: `stimulus_id` (str, such as "nsd-00013"), `nsd_id`
        (0-based of 73,000), `path` (Path).

    Raises
    ------
    FileNotFoundError
        If the folder of pictures is missing.
    DataCorruptError
        If a name has another form, ranks leave gaps or repeat, or pictures repeat or
        do not ascend.
    """
    check_option("split", split, tuple(_SPLITS))
    kind = _SPLITS[split]
    folder = subject / kind.folder / kind.pictures
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is missing. The order of the rows stands in the names of its "
            f"pictures ({kind.prefix}-0001_nsd-00013.png), so that it is needed even "
            "when no picture is read."
        )
    # File managers leave files of their own; a picture that lacks shows in the ranks.
    there = [p for p in folder.iterdir() if p.suffix.lower() == ".png" and p.is_file()]
    paths = [p for p in there if not p.name.startswith(".")]
    pattern = re.compile(rf"{kind.prefix}-(\d{{4,}})_nsd-(\d{{4,}})\.png")
    matches = {p: pattern.fullmatch(p.name) for p in paths}
    other = sorted(p.name for p, match in matches.items() if match is None)
    if other or not paths:
        what = f"{other[0]!r}" if other else "no .png file"
        raise DataCorruptError(
            f"{folder} must hold pictures named {kind.prefix}-0001_nsd-00013.png only; "
            f"it holds {what}."
        )
    numbers = [[int(match[1]), int(match[2])] for match in matches.values() if match]
    table = pd.DataFrame(numbers, columns=["rank", "nsd_id"])
    table["path"] = pd.Series(paths, dtype=object)
    table = table.sort_values("rank", ignore_index=True)
    _check_ranks(folder, table)
    ids = [f"nsd-{i:05d}" for i in table["nsd_id"]]
    return table.drop(columns="rank").assign(stimulus_id=ids)[
        ["stimulus_id", "nsd_id", "path"]
    ]


def _check_ranks(folder: Path, table: pd.DataFrame) -> None:
    rank, nsd_id = table["rank"].to_numpy(), table["nsd_id"].to_numpy()
    wrong = np.flatnonzero(rank != np.arange(1, len(rank) + 1))
    if len(wrong):
        at = int(wrong[0])
        name = table["path"][at].name
        twice = at > 0 and rank[at] == rank[at - 1]
        fault = "repeats a rank" if twice else f"follows where rank {at + 1} is missing"
        raise DataCorruptError(
            f"{folder} must number its {len(rank)} pictures from 1 without gaps: "
            f"{name} {fault}. Get the folder again from its source."
        )
    falling = np.flatnonzero(np.diff(nsd_id) <= 0)
    if len(falling):
        at = int(falling[0]) + 1
        raise DataCorruptError(
            f"{folder} must number its pictures by ascending NSD number: "
            f"{table['path'][at].name} does not. Were pictures of several subjects "
            "mixed? Get the folder again from its source."
        )


# ------------------------------------------------------------------ responses


def response_files(subject: Path, split: str) -> dict[str, Path]:
    """Return the files of responses of a split.

    Parameters
    ----------
    subject : Path
        Folder of the subject.
    split : {"train", "test"}
        Which pictures.

    Returns
    -------
    dict of str to Path
        By hemisphere, "lh" and "rh".

    Raises
    ------
    FileNotFoundError
        If one is missing. Test responses were withheld during the challenge.
    """
    check_option("split", split, tuple(_SPLITS))
    paths = {h: _SPLITS[split].betas(subject, h) for h in HEMISPHERES}
    missing = [p for p in paths.values() if not p.is_file()]
    if missing and split == "test":
        raise FileNotFoundError(
            f"{subject.name} has no responses to the test pictures ({missing[0]} is "
            "missing): they were withheld during the challenge. `algonauts_stimuli` "
            "gives the test pictures alone, and `write_submission` writes predictions."
        )
    if missing:
        raise FileNotFoundError(
            f"{missing[0]} is missing. Get the data of the challenge again."
        )
    return paths


def response_shapes(paths: dict[str, Path]) -> dict[str, tuple[int, int]]:
    """Return the shapes of files of responses from their headers.

    Parameters
    ----------
    paths : dict of str to Path
        From `response_files`.

    Returns
    -------
    dict of str to tuple of int
        (n_pictures, n_vertices), by hemisphere.

    Raises
    ------
    DataCorruptError
        If one is cut or no table of floats, or the hemispheres differ in rows.
    """
    shapes: dict[str, tuple[int, int]] = {}
    for hemisphere, path in paths.items():
        try:
            array = np.load(path, mmap_mode="r")
        except DECODER_ERRORS as error:
            raise corrupt(path, "NumPy array", error) from error
        if array.ndim != 2 or array.dtype.kind != "f":
            raise DataCorruptError(
                f"{path} must hold floats, pictures x vertices; it holds "
                f"{array.dtype} of shape {array.shape}."
            )
        shapes[hemisphere] = (array.shape[0], array.shape[1])
    if shapes["lh"][0] != shapes["rh"][0]:
        raise DataCorruptError(
            f"{paths['lh']} has {shapes['lh'][0]} rows, but {paths['rh'].name} has "
            f"{shapes['rh'][0]}: one per picture is needed in both."
        )
    return shapes
