"""Pictures that a network grows up with: opened, reduced, fed through a diet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from data_loaders.class_folders import open_class_folder
from data_loaders.picture_folder import open_picture_folder
from neurovis.core.checks import check_option, check_path
from neurovis.core.files import sha256_bytes, sha256_json
from neurovis.core.log import progress
from neurovis.core.rng import generator
from stimuli.diets import DIETS, feed

Picture = NDArray[np.uint8]

LEAST_PX = 8
"""Smaller pictures are refused."""

MOST_BYTES = 12 * 2**30
"""Reduced pictures are kept in memory, up to this."""


@dataclass(frozen=True)
class GrowthPictures:
    """Pictures of a training, in memory.

    Parameters
    ----------
    training, validation : tuple of Tensor of uint8, shape (3, H, W)
        Reduced pictures; sizes may differ.
    training_labels, validation_labels : ndarray of int64
        Classes; empty without labels.
    classes : tuple of str
        Names of the classes; empty without labels.
    fingerprint : str
        SHA-256 over identities and contents of the originals and, where there are
        labels, their classes and parts.
    diet : str
        What was done to them.
    """

    training: tuple[Tensor, ...]
    validation: tuple[Tensor, ...]
    training_labels: NDArray[np.int64]
    validation_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    fingerprint: str
    diet: str


def check_growth_folder(images: str | Path, **written: Path) -> Path:
    """Return where the pictures of a training are, away from what it writes.

    Parameters
    ----------
    images : str or Path
        A folder, or a zip file.
    **written : Path
        Folders that are written, by the name of their argument.

    Returns
    -------
    Path
        Of the pictures, absolute.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If a folder that is written lies inside.
    """
    kind = "file" if Path(images).suffix.lower() == ".zip" else "folder"
    root = check_path("images", images, kind=kind).resolve()
    for argument, place in written.items():
        if place.resolve().is_relative_to(root):
            raise ValueError(
                f"`{argument}` {place} lies inside `images`: its figures would be "
                "read as pictures."
            )
    return root


def reduce_picture(picture: Picture, short_px: int) -> Picture:
    """Reduce a picture to a short side.

    Parameters
    ----------
    picture : ndarray of uint8, shape (H, W, 3)
        RGB picture.
    short_px : int
        Short side; smaller pictures stay as they are.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
        Same ratio of sides, resampled (bicubic, antialiased).

    Examples
    --------
    >>> reduce_picture(np.zeros((60, 80, 3), np.uint8), 30).shape
    (30, 40, 3)
    """
    height, width = picture.shape[:2]
    short = min(height, width)
    if short <= short_px:
        return picture
    size = (round(width * short_px / short), round(height * short_px / short))
    resampled = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    return np.array(resampled)


def load_growth_pictures(
    images: str | Path,
    *,
    diet: str = "natural",
    labelled: bool = False,
    short_px: int = 256,
    validation: float = 0.1,
    seed: int = 0,
) -> GrowthPictures:
    """Read the pictures of a training.

    Parameters
    ----------
    images : str or Path
        A folder of pictures (sub-folders too), or, with labels, what
        `data_loaders.class_folders.open_class_folder` takes.
    diet : str, default "natural"
        One of `stimuli.diets.DIETS`.
    labelled : bool, default False
        Whether classes are needed.
    short_px : int, default 256
        Short side that pictures are reduced to.
    validation : float, default 0.1
        Share of pictures that is kept out of the training (of each class alike),
        where the set has no such part of its own (then its test pictures serve where
        it has these); > 0.
    seed : int, default 0
        Seed of that choice and of phase scrambling, not of the training: networks
        that differ in their seeds see the same pictures.

    Returns
    -------
    GrowthPictures
        In memory.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If there are too few pictures, too many for memory, one is smaller than
        `LEAST_PX`, or an option is unknown.
    DataCorruptError
        If a picture is damaged.
    """
    check_option("diet", diet, DIETS)
    if not 0 < validation < 1:
        raise ValueError(f"`validation` must lie between 0 and 1; got {validation!r}.")
    root = Path(images)
    if labelled:
        found = open_class_folder(root)
        pictures: Sequence[Picture] = found.pictures
        names = found.table["stimulus_id"].astype(str).tolist()
        splits = found.table["split"].tolist()
        labels = found.table["label"].to_numpy(np.int64)
        classes = found.classes
        if len(classes) < 2:
            raise ValueError(
                f"{root} has {len(classes)} class; naming classes needs 2 or more: "
                "use objective 'selfsup' for pictures without labels."
            )
    else:
        pictures, table = open_picture_folder(root)
        names = table["stimulus_id"].tolist()
        splits, labels, classes = ["all"] * len(names), np.empty(0, np.int64), ()
    held = _held_out(splits, labels, validation, seed)
    kept: list[Tensor] = []
    hashes, n_bytes = [], 0
    for name, picture in zip(
        names, progress(pictures, f"reading {root.name}", unit="picture"), strict=True
    ):
        height, width = picture.shape[:2]
        if min(height, width) < LEAST_PX:
            raise ValueError(
                f"{name} of {root} has {width} x {height} px; a training needs "
                f"{LEAST_PX} or more on either side: remove it."
            )
        hashes.append([name, sha256_bytes(picture.tobytes())])
        eaten = feed(reduce_picture(picture, short_px), diet, key=name, seed=seed)
        # Channels of a pixel lie side by side: views are cut faster from that.
        kept.append(torch.from_numpy(np.ascontiguousarray(eaten)).permute(2, 0, 1))
        n_bytes += kept[-1].numel()
        if n_bytes > MOST_BYTES:
            raise ValueError(
                f"{root} needs more than {MOST_BYTES / 2**30:.0f} GiB of memory at a "
                f"short side of {short_px} px: make `short_px` smaller, or train on "
                "fewer pictures."
            )
    train = [i for i, part in enumerate(held) if part == "train"]
    val = [i for i, part in enumerate(held) if part == "val"]
    if len(train) < 2 or len(val) < 2:
        raise ValueError(
            f"{root} has {len(train)} pictures to train on and {len(val)} to validate "
            "on; at least 2 of each are needed."
        )
    return GrowthPictures(
        tuple(kept[i] for i in train),
        tuple(kept[i] for i in val),
        labels[train] if labelled else labels,
        labels[val] if labelled else labels,
        classes,
        sha256_json([hashes, classes, labels.tolist(), splits] if labelled else hashes),
        diet,
    )


def _held_out(
    splits: Sequence[str], labels: NDArray[np.int64], share: float, seed: int
) -> list[str]:
    """Return "train", "val" or "" (left out) for every picture."""
    have = set(splits)
    for part in ("val", "test"):
        if part in have and "train" in have:
            known = {"train": "train", part: "val"}
            return [known.get(split, "") for split in splits]
    total = len(splits)
    order = generator(seed, "held out").permutation(total)
    n = max(2, round(share * total))
    if len(labels):  # equal steps through the classes: each gives its share
        order = order[np.argsort(labels[order], kind="stable")]
        order = order[((np.arange(n) + 0.5) * total / n).astype(np.intp)]
    chosen = set(order[:n].tolist())
    return ["val" if i in chosen else "train" for i in range(total)]
