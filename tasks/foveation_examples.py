"""Pictures of a finished comparison of foveated systems, as its networks saw them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.files import read_table
from neurovis.core.pictures import read_image
from neurovis.foveation.transforms import FoveationSettings, geometry
from stimuli.frequency_filters import filter_level
from stimuli.occluders import KINDS, occlude, occlusion_mask
from tasks.foveation_stimuli import TestSet, conflict_pairs, square_sets, window_sets

Image = NDArray[np.uint8]
Rows = NDArray[np.int64]

SHOWN_OCCLUSION = 5
"""Level of the examples of occlusion: a quarter of the picture."""
SHOWN_FREQUENCIES = (2, 4, 6, 8)
"""Levels of the examples of filters."""
_MOST_CONFLICTS = 9


@dataclass(frozen=True)
class TestPictures:
    """The test pictures of a run, read when they are asked for.

    Parameters
    ----------
    labels : ndarray of int64, shape (n_pictures,)
        Class of each, from 0.
    paths : dict of str to list of Path
        Files by system, in the order of `labels`.
    """

    __test__ = False  # pytest

    labels: NDArray[np.int64]
    paths: dict[str, list[Path]]

    def make(self, system: str, rows: Rows) -> Image:
        """Return some pictures of a system.

        Parameters
        ----------
        system : str
            Which one.
        rows : ndarray of int64, shape (n,)
            Which pictures.

        Returns
        -------
        ndarray of uint8, shape (n, H, W, 3)
            Pictures.
        """
        return np.stack([read_image(self.paths[system][int(row)]) for row in rows])

    def examples(self, n: int) -> Rows:
        """Choose pictures of different classes.

        Parameters
        ----------
        n : int
            How many, at most.

        Returns
        -------
        ndarray of int64, shape (n or fewer,)
            The first picture of classes that lie evenly in their order.
        """
        _, first = np.unique(self.labels, return_index=True)
        chosen = np.linspace(0, len(first) - 1, min(n, len(first))).round()
        return first[chosen.astype(np.int64)].astype(np.int64)


def find_test_pictures(
    folder: Path, systems: Sequence[str], answers: pd.DataFrame
) -> TestPictures | None:
    """Find the pictures that a run was tested on.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    systems : sequence of str
        Names of the systems.
    answers : DataFrame
        Answers to any experiment: they tell which pictures were tests.

    Returns
    -------
    TestPictures or None
        None if they were removed.
    """
    keys = ["system", "run", "epoch", "condition", "level"]
    first = (answers[keys] == answers[keys].iloc[0]).all(axis=1)
    names = answers.loc[first, "stimulus_id"].astype(str).tolist()
    labels = answers.loc[first, "label"].to_numpy(np.int64)
    paths: dict[str, list[Path]] = {}
    for system in systems:
        home = folder / "pictures" / system
        if not (home / "pictures.csv").is_file():
            return None
        table = read_table(home / "pictures.csv")
        # Names of figures alone were read as numbers; the files keep them.
        ends = {str(path): home / str(path) for path in table["path"]}
        found = [ends.get(f"pictures/{Path(n).with_suffix('.png')}") for n in names]
        own = [path for path in found if path is not None and path.is_file()]
        if len(own) != len(names):
            return None
        paths[system] = own
    return TestPictures(labels, paths)


def occlusion_examples(picture: Image | None) -> dict[str, Image]:
    """Hide a quarter of a picture in each of the four ways.

    Parameters
    ----------
    picture : ndarray of uint8, shape (S, S, 3), or None
        Picture; a white sheet by default.

    Returns
    -------
    dict of str to ndarray of uint8, shape (S, S, 3)
        One per kind of occluder.
    """
    if picture is None:
        picture = np.full((64, 64, 3), 255, np.uint8)
    side = picture.shape[:2]
    return {
        kind: occlude(picture, occlusion_mask(kind, SHOWN_OCCLUSION, side))
        for kind in KINDS
    }


def frequency_examples(picture: Image) -> dict[str, list[Image]]:
    """Filter a picture as some of the levels.

    Parameters
    ----------
    picture : ndarray of uint8, shape (S, S, 3)
        Picture; what a high-pass filter leaves is shown around its mean colour.

    Returns
    -------
    dict of str to list of ndarray of uint8, shape (S, S, 3)
        Low-pass and high-pass, from the mildest to the strongest.
    """
    mean = picture.reshape(-1, 3).mean(axis=0) / 255
    return {
        f"{family}-pass": [
            filter_level(picture, family, level, mean_rgb=mean)
            for level in SHOWN_FREQUENCIES
        ]
        for family in ("low", "high")
    }


def conflict_examples(
    pictures: TestPictures,
    system: str,
    experiment: str,
    call: Mapping[str, Any],
    row: int,
) -> list[tuple[float, Image]]:
    """Show one picture at several sizes of the centre, as the networks saw it.

    Parameters
    ----------
    pictures : TestPictures
        Test pictures.
    system : str
        Which system.
    experiment : {"window-conflict", "square-conflict"}
        Which kind of conflict.
    call : mapping
        Call of the run.
    row : int
        Which picture is the surround.

    Returns
    -------
    list of tuple of float and ndarray of uint8, shape (S, S, 3)
        Weight of the centre and picture, nine at most.
    """
    size_px = int(call["size_px"])
    pairs = conflict_pairs(
        pictures.labels, experiment, pairing=call["pairing"], seed=call["seed"]
    )

    def make(rows: Rows) -> Image:
        return pictures.make(system, rows)

    sets: list[TestSet]
    if experiment == "square-conflict":
        sets = square_sets(make, size_px, pairs)
    else:
        texture = call["texture"]
        point = texture["fixation_px"]
        settings = FoveationSettings(
            **{name: texture[name] for name in ("px_per_deg", "fovea_deg", "scale")},
            fixation_px=None if point is None else tuple(point),
        )
        whole = int(call["render_px"])
        px_per_deg, (x, y) = geometry(settings, (whole, whole))
        share = size_px / whole
        sets = window_sets(
            make,
            size_px,
            pairs,
            scale=settings.scale,
            fovea_deg=settings.fovea_deg,
            px_per_deg=px_per_deg * share,
            fixation_px=(x * share, y * share),
        )
    some = np.linspace(0, len(sets) - 1, min(len(sets), _MOST_CONFLICTS)).round()
    chosen = [sets[int(k)] for k in some]
    return [(one.value, one.make(np.array([row]))[0]) for one in chosen]
