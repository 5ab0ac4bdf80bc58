"""Natural scenes as search displays: pictures, templates, boxes, rules, people.

Two kinds of folder are known. *interiors*: 134 grey interior scenes, 72 x 72 pixel
templates of the target and 45 observers whose trials were stopped after 2, 4, 8 or
12 saccades (Bujia et al., 2022, doi:10.3389/fnsys.2022.882315). *kreimanlab*: the
layout of the repository of Gupta et al. (2021), ``dataset/NAME`` with ``stimuli``,
``target`` and ``gt`` pictures and ``out/NAME`` with the fixations of 15 observers
(Zhang et al., 2018, doi:10.1038/s41467-018-06217-x).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from data_loaders.gaze import GazeData
from data_loaders.natural_search import NATURAL_SEARCH_SETS, load_natural_search
from data_loaders.search_interiors import load_search_interiors, open_interiors
from data_loaders.source_files import read_arrays
from neurovis.adapters.search_loop import fit_trial
from neurovis.core.checks import (
    check_array,
    check_between,
    check_option,
    check_path,
    check_whole,
)
from neurovis.core.files import sha256_bytes
from neurovis.core.observers import SearchRules, SearchTrial
from neurovis.core.pictures import read_image

LAYOUTS = ("interiors", "kreimanlab")
# Pixels of the full screen per degree in the interiors study: a 19 inch screen of
# 1024 pixels at 65 cm (recalled, not verified).
INTERIORS_PX_PER_DEG = 33.0
# Half the distance from the box, in screen pixels, within which the source counts a
# fixation as found: with 36 its flag is matched in 97.8 % of trials.
INTERIORS_TOLERANCE_PX = 36
# Published settings of the kreimanlab sets: size of the picture and of the target,
# reach of the eye, side of the square of recognition, most saccades.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "ObjArr": {"shape": (544, 544), "target": 64, "reach": 544, "side": 45, "n": 7},
    "Waldo": {"shape": (736, 896), "target": 32, "reach": 736, "side": 64, "n": 81},
    "NaturalDesign": {
        "shape": (736, 896),
        "target": 32,
        "reach": 736,
        "side": 64,
        "n": 66,
    },
}
_SHARPENING = ((3, 0.0), (5, 1.0))
# Centre of the screen and of the six objects of ObjArr, x and y in pixels.
_OBJECT_PLACES = np.array(
    [[640, 512], [365, 988], [90, 512], [365, 36], [915, 36], [1190, 512], [915, 988]],
    np.float64,
)
# Screen of the people in the kreimanlab sets, width and height in pixels.
_SCREEN = (1280, 1024)


@dataclass(frozen=True)
class Scenes:
    """Search displays of one study, with what people did.

    Parameters
    ----------
    name : str
        Name of the study.
    displays : DataFrame
        One row per display: `stimulus_id` and factors.
    make : callable
        Returns the SearchTrial of a row, in pixels of the picture.
    rules : SearchRules
        Rules of the search, in pixels of the picture.
    scale : tuple of float
        Pixels of the frame of `people` per pixel of the picture, x and y.
    people : GazeData or None
        Human trials; their `stimulus_id` is that of the display.
    notes : tuple of str
        What a reader of results must know.
    aligned : bool, default True
        Whether it is known for each human trial when the target was found, and not
        only for all trials together.
    item_places : ndarray of float64, shape (n_items + 1, 2), optional
        Where people saw the start (row 0) and each item, x and y in pixels of their
        frame, when the picture is no scaled copy of the screen.
    """

    name: str
    displays: pd.DataFrame
    make: Callable[[int], SearchTrial]
    rules: SearchRules
    scale: tuple[float, float]
    people: GazeData | None
    notes: tuple[str, ...] = ()
    aligned: bool = True
    item_places: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.displays)

    @property
    def px_per_deg(self) -> float:
        """Pixels of the frame of people per degree of visual angle."""
        if self.people is not None and self.people.px_per_deg is not None:
            return self.people.px_per_deg
        return self.rules.px_per_deg * self.scale[0]

    def select(self, rows: Sequence[int]) -> "Scenes":
        """Return some of the displays and the human trials on them.

        Parameters
        ----------
        rows : sequence of int
            0-based rows of `displays`.

        Returns
        -------
        Scenes
            The rows, in the order given.
        """
        index = [int(row) for row in rows]
        displays = self.displays.iloc[index].reset_index(drop=True)
        people = self.people
        if people is not None:
            people = people.select(stimuli=list(displays["stimulus_id"]))
        return replace(
            self,
            displays=displays,
            make=lambda row: self.make(index[row]),
            people=people,
        )


def load_scenes(
    folder: str | Path,
    *,
    layout: str = "auto",
    dataset: str | None = None,
    max_saccades: int | None = None,
    px_per_deg: float | None = None,
) -> Scenes:
    """Read a folder of natural-search scenes.

    Parameters
    ----------
    folder : str or Path
        Folder of the interiors set, or one that holds ``dataset/NAME`` (and
        ``out/NAME``) of the kreimanlab sets.
    layout : {"auto", "interiors", "kreimanlab"}
        Which of the two; told from the files by default.
    dataset : str, optional
        NAME in the kreimanlab layout; may be left out when there is one only.
    max_saccades : int, optional
        Most saccades of a search; 12 (interiors) or the published number.
    px_per_deg : float, optional
        Pixels of the screen per degree, where the default is not right.

    Returns
    -------
    Scenes
        Displays with rules and people.

    Raises
    ------
    FileNotFoundError
        If the folder or its files are missing, or of neither layout.
    ValueError
        If an option is unknown or does not fit the layout.
    DataCorruptError
        If a file is damaged.
    """
    check_option("layout", layout, ("auto", *LAYOUTS))
    if px_per_deg is not None:
        check_between("px_per_deg", px_per_deg, low=1e-6)
    if max_saccades is not None:
        check_whole("max_saccades", max_saccades, low=1)
    path = check_path("data", folder, kind="folder")
    if layout == "auto":
        layout = _layout_of(path)
    if layout == "interiors":
        if dataset is not None:
            raise ValueError("`dataset` belongs to the kreimanlab layout only.")
        return _interiors(path, max_saccades, px_per_deg)
    return _kreimanlab(path, dataset, max_saccades, px_per_deg)


def _layout_of(folder: Path) -> str:
    if (folder / "trials.csv.gz").is_file() and (folder / "targets.csv").is_file():
        return "interiors"
    if (folder / "dataset").is_dir():
        return "kreimanlab"
    raise FileNotFoundError(
        f"{folder} is neither the interiors set (trials.csv.gz, targets.csv, "
        "fixations.csv.gz, zips of pictures) nor of the kreimanlab layout "
        "(dataset/NAME/stimuli/s_1.jpg ...)."
    )


# ---------------------------------------------------------------- interiors


def _interiors(
    folder: Path, max_saccades: int | None, px_per_deg: float | None
) -> Scenes:
    people = load_search_interiors(folder)
    images, templates = open_interiors(folder, people.stimuli)
    frame = people.stimuli.set_index("stimulus_id")
    trials = people.trials
    starts = trials[["stimulus_id", "start_x_px", "start_y_px"]].drop_duplicates()
    displays = starts.sort_values(list(starts.columns), ignore_index=True).rename(
        columns={"stimulus_id": "image"}
    )
    ids = _display_ids(displays["image"], displays)
    displays.insert(0, "stimulus_id", ids)
    place = {name: row for row, name in enumerate(people.stimuli["stimulus_id"])}
    height, width = images[0].shape[:2]
    first = frame.iloc[0]
    scale = (float(first["width_px"]) / width, float(first["height_px"]) / height)
    degree = (px_per_deg or INTERIORS_PX_PER_DEG) / scale[0]
    side = 2 * round(INTERIORS_TOLERANCE_PX / scale[0])
    rules = SearchRules(
        eye_radius_px=max(height, width),
        max_saccades=12 if max_saccades is None else max_saccades,
        tolerance_px=side,
        background=0,
        layer_weighting="equal",
        sharpening=_SHARPENING,
        px_per_deg=degree,
    )

    def make(row: int) -> SearchTrial:
        display = displays.iloc[row]
        box = frame.loc[display["image"]]
        picture = images[place[display["image"]]]
        template = templates[place[display["image"]]]
        small = [
            round(n / s) for n, s in zip(template.shape, scale[::-1], strict=False)
        ]
        return SearchTrial(
            str(display["stimulus_id"]),
            picture,
            _shrink(template, (small[0], small[1])),
            _box_area(box, scale, picture.shape[:2]),
            start=(
                _pixel(display["start_y_px"], scale[1], picture.shape[0]),
                _pixel(display["start_x_px"], scale[0], picture.shape[1]),
            ),
        )

    return Scenes(
        "interiors",
        displays,
        make,
        rules,
        scale,
        _by_display(people, px_per_deg or INTERIORS_PX_PER_DEG),
        (
            f"Pixels per degree of the interiors study ({INTERIORS_PX_PER_DEG:g} on "
            "the full screen) are recalled, not verified.",
            "Models start at the nominal starting point; the first recorded fixation "
            "of people lies elsewhere in most trials.",
            "The picture files have half the resolution of the screen.",
        ),
    )


def _display_ids(images: pd.Series, table: pd.DataFrame) -> list[str]:
    """Name displays by image and starting point."""
    rows = zip(images, table["start_x_px"], table["start_y_px"], strict=True)
    return [f"{image}@{x:g},{y:g}" for image, x, y in rows]


def _by_display(people: GazeData, px_per_deg: float) -> GazeData:
    """Name the stimuli of human trials by image and starting point."""
    trials = people.trials
    made = (trials["n_fixations"] - 1).clip(lower=0)
    trials = trials.assign(
        image=trials["stimulus_id"],
        stimulus_id=_display_ids(trials["stimulus_id"], trials),
        n_saccades=made,
        # Some trials ran one saccade beyond their limit.
        max_saccades=made.clip(lower=trials["saccades_allowed"]),
    )
    keys = ["subject", "trial"]
    fixations = people.fixations.drop(columns="stimulus_id").merge(
        trials[[*keys, "stimulus_id"]], on=keys
    )
    pairs = trials[["stimulus_id", "image"]].drop_duplicates()
    stimuli = pairs.merge(
        people.stimuli.rename(columns={"stimulus_id": "image"}), on="image"
    )
    responses = replace(people.responses, table=trials, scanpaths=fixations)
    return replace(people, responses=responses, stimuli=stimuli, px_per_deg=px_per_deg)


def _pixel(position: float, scale: float, n: int) -> int:
    return min(max(int(position / scale), 0), n - 1)


def _box_area(
    box: pd.Series, scale: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Pixels of the picture whose centre lies in a box of the screen."""
    y = (np.arange(shape[0]) + 0.5) * scale[1]
    x = (np.arange(shape[1]) + 0.5) * scale[0]
    rows = (y > box["target_top_px"]) & (y < box["target_bottom_px"])
    columns = (x > box["target_left_px"]) & (x < box["target_right_px"])
    area: NDArray[np.bool_] = rows[:, None] & columns
    return area


def _shrink(image: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Average the pixels of a picture into fewer."""
    picture = Image.fromarray(image)
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.BOX))


# --------------------------------------------------------------- kreimanlab


def _kreimanlab(
    folder: Path,
    dataset: str | None,
    max_saccades: int | None,
    px_per_deg: float | None,
) -> Scenes:
    names = sorted(p.name for p in (folder / "dataset").iterdir() if p.is_dir())
    if dataset is None and len(names) == 1:
        dataset = names[0]
    check_option(f"dataset (of those in {folder / 'dataset'})", dataset, tuple(names))
    check_option("dataset", dataset, NATURAL_SEARCH_SETS)
    assert dataset is not None
    published = _PUBLISHED[dataset]
    pictures = folder / "dataset" / dataset
    n = _count(pictures)
    masks = _item_areas(pictures / "gt_mask.npy")
    ids = [f"{i + 1:03d}" for i in range(n)]
    limit = published["n"] if max_saccades is None else max_saccades
    people, notes = _kreimanlab_people(folder, dataset, ids)
    height, width = published["shape"]
    rules = SearchRules(
        eye_radius_px=published["reach"],
        max_saccades=limit,
        tolerance_px=published["side"],
        background=0,
        layer_weighting="equal",
        sharpening=_SHARPENING,
        px_per_deg=px_per_deg or 30.0,
    )

    def make(row: int) -> SearchTrial:
        image = read_image(pictures / "stimuli" / f"s_{row + 1}.jpg")
        area = read_image(pictures / "gt" / f"gt_{row + 1}.jpg")[..., 0] > 125
        trial = SearchTrial(
            ids[row],
            image,
            read_image(pictures / "target" / f"t_{row + 1}.jpg"),
            _matching(area, image.shape[:2]),
            None
            if masks is None
            else np.stack([_matching(mask, image.shape[:2]) for mask in masks]),
        )
        return fit_trial(trial, (height, width), (published["target"],) * 2)

    return Scenes(
        dataset,
        pd.DataFrame({"stimulus_id": ids}),
        make,
        rules,
        (_SCREEN[0] / width, _SCREEN[1] / height),
        people,
        (
            "Pictures are resized as published; the network takes 30 px for 1 deg.",
            *notes,
        ),
        aligned=dataset == "Waldo",
        item_places=_OBJECT_PLACES if dataset == "ObjArr" else None,
    )


def _kreimanlab_people(
    folder: Path, dataset: str, ids: Sequence[str]
) -> tuple[GazeData | None, tuple[str, ...]]:
    """People of a set, with the saccade that found the target by published flags."""
    try:
        people = load_natural_search(folder, dataset).select(stimuli=list(ids))
    except FileNotFoundError as error:
        return None, (f"No people: {error}",)
    trials = people.trials
    limit = int(people.trials["n_fixations"].max()) - 1
    found = trials["cp_index"].notna()
    steps = trials["cp_index"].fillna(limit).astype(int)
    trials = trials.assign(
        found=found.astype(bool), n_saccades=steps, max_saccades=limit
    )
    responses = replace(people.responses, table=trials)
    return replace(people, responses=responses), people.notes


def _count(pictures: Path) -> int:
    """Count displays and check that each has its three pictures."""
    check_path("stimuli", pictures / "stimuli", kind="folder")
    n = len(list((pictures / "stimuli").glob("s_*.jpg")))
    if n == 0:
        raise FileNotFoundError(f"{pictures / 'stimuli'} holds no s_1.jpg, s_2.jpg ...")
    for number in range(1, n + 1):
        for kind, letter in (("stimuli", "s"), ("target", "t"), ("gt", "gt")):
            check_path(kind, pictures / kind / f"{letter}_{number}.jpg")
    return n


def _item_areas(path: Path) -> NDArray[np.bool_] | None:
    if not path.is_file():
        return None
    masks = read_arrays(path, ["gt_mask"])["gt_mask"]
    return np.asarray(check_array("gt_mask.npy", masks, shape=(None, None, None)) > 125)


def _matching(area: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Bring an area to the size of the picture when it was saved at another."""
    if area.shape == shape:
        return area
    picture = Image.fromarray(area.astype(np.uint8) * 255)
    resized = picture.resize((shape[1], shape[0]), Image.Resampling.BOX)
    return np.asarray(resized) > 125


def trial_fingerprint(trial: SearchTrial) -> str:
    """Return the content hash of a display.

    Parameters
    ----------
    trial : SearchTrial
        Display.

    Returns
    -------
    str
        SHA-256 over pixels, areas, identity and starting point.
    """
    arrays = (trial.image, trial.target, trial.target_area, trial.item_areas)
    parts = [f"{trial.stimulus_id} {trial.start}".encode()]
    for array in arrays:
        if array is not None:
            parts += [str(array.shape).encode(), np.ascontiguousarray(array).tobytes()]
    return sha256_bytes(b"|".join(parts))
