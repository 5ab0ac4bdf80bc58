"""Pictures of classes, divided into training, validation and test."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.class_folders import open_class_folder
from data_loaders.class_pictures import ClassPictures, draw_splits
from neurovis.core.checks import check_whole
from stimuli.category_pictures import CATEGORIES, make_category_pictures

SPLITS = ("train", "val", "test")
DRAWINGS = "drawings"
_SHARES = {"val": 0.2, "test": 0.2}


def open_classes(
    data: str | Path | ClassPictures, *, side_px: int = 128, seed: int = 0
) -> ClassPictures:
    """Open pictures of classes with the three parts that a comparison needs.

    Parameters
    ----------
    data : str, Path or ClassPictures
        What `data_loaders.class_folders.open_class_folder` reads, or
        ``"drawings:N"``: N drawings of each of six categories. Without a part "val" a
        fifth of the training pictures of each class become it; without any parts
        another fifth becomes the test set.
    side_px : int, default 128
        Side of drawings.
    seed : int, default 0
        Seed of drawings and of parts that are drawn.

    Returns
    -------
    ClassPictures
        With the parts "train", "val" and "test".

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If pictures are missing or damaged.
    ValueError
        If there are other parts, a class lacks pictures in one of them, or the number
        of drawings is none.
    """
    if isinstance(data, ClassPictures):
        shown = data
    elif (found := re.fullmatch(rf"{DRAWINGS}:(\d{{1,6}})", str(data))) is not None:
        shown = make_drawings(int(found[1]), side_px=side_px, seed=seed)
    else:
        shown = open_class_folder(data)
    there = set(shown.table["split"])
    if there == {"all"}:
        shown = draw_splits(shown, _SHARES, seed=seed)
    elif "train" not in there or "test" not in there:
        raise ValueError(
            f"{shown.name} has the parts {sorted(there)}: 'train' and 'test' are "
            "needed, or no parts at all."
        )
    elif "val" not in there:
        shown = draw_splits(shown, {"val": _SHARES["val"]}, seed=seed)
    for split in SPLITS:
        rows_of(shown, split)
    return shown


def make_drawings(n_per_class: int, *, side_px: int, seed: int = 0) -> ClassPictures:
    """Draw pictures of six categories, to try things out without data.

    Parameters
    ----------
    n_per_class : int
        Drawings of each category, 5 or more.
    side_px : int
        Side of the square drawings, pixels.
    seed : int, default 0
        Seed of the drawings.

    Returns
    -------
    ClassPictures
        Not divided into parts.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """
    check_whole("number of drawings", n_per_class, low=5)
    classes = tuple(sorted(CATEGORIES))
    made = make_category_pictures(
        n_per_class * len(classes), size_px=side_px, seed=seed
    )
    category = made.table["category"].astype(str)
    table = pd.DataFrame(
        {
            "stimulus_id": made.table["stimulus_id"],
            "category": category,
            "split": "all",
            "label": category.map({name: i for i, name in enumerate(classes)}),
        }
    )
    pictures: Sequence[NDArray[np.uint8]] = made.images
    return ClassPictures(DRAWINGS, table, pictures, classes)


def rows_of(shown: ClassPictures, split: str) -> NDArray[np.int64]:
    """Return the rows of one part, in which every class must be.

    Parameters
    ----------
    shown : ClassPictures
        Pictures.
    split : str
        Which part.

    Returns
    -------
    ndarray of int64
        Rows of the table.

    Raises
    ------
    ValueError
        If a class has no picture there.
    """
    rows = np.flatnonzero(shown.table["split"] == split)
    labels = shown.table["label"].to_numpy(np.int64)[rows]
    counts = np.bincount(labels, minlength=len(shown.classes))
    if not counts.all():
        lacking = shown.classes[int(np.flatnonzero(counts == 0)[0])]
        raise ValueError(
            f"The part {split!r} of {shown.name} has no picture of {lacking!r}: every "
            "class is needed in every part."
        )
    return rows.astype(np.int64)
