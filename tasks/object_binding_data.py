"""Scenes of an object-binding run, and the patches that are drawn from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import label as connected_parts

from data_loaders.instance_masks import open_instance_masks, read_instance_mask
from neurovis.core.rng import generator
from stimuli.display import to_8_bit
from stimuli.object_scenes import (
    SHAPES,
    draw_object_scene,
    make_object_scenes,
    patch_labels,
    patch_of_pixels,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

N_PATCHES = 64
"""Patches drawn from each picture, with replacement, as published."""

TEST_SHARE = 0.2
"""Of a folder of pictures: the last ones by name."""


@dataclass(frozen=True, eq=False)
class BoundScenes:
    """Pictures with the object of every pixel, in two parts.

    Parameters
    ----------
    table : DataFrame
        One row per picture: `stimulus_id`, `condition`, `test` (bool), `twins` (text)
        and `cut`, as `stimuli.object_scenes.make_object_scenes` has them.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures.
    labels : tuple of ndarray of int, shape (H, W)
        Objects; 0 for the ground.
    kinds : tuple of tuple of int
        Class of each label of each picture, the ground first; empty where it is not
        known.
    classes : tuple of str
        Names of the classes.
    fingerprint : str
        Hash of what they are.
    """

    table: pd.DataFrame
    pictures: Sequence[NDArray[np.uint8]]
    labels: tuple[NDArray[Any], ...]
    kinds: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    fingerprint: str

    @property
    def is_test(self) -> NDArray[np.bool_]:
        """Which pictures are tested."""
        return self.table["test"].to_numpy(bool)


@dataclass(frozen=True, eq=False)
class Patches:
    """Patches drawn from every picture, on one grid.

    Parameters
    ----------
    grid : tuple of int
        Rows and columns.
    places : ndarray of int64, shape (n_pictures, n_patches)
        ``row * columns + column``.
    labels : ndarray of int64, shape (n_pictures, n_patches)
        Object that most of the patch shows.
    classes : ndarray of int64, shape (n_pictures, n_patches)
        Its class.
    parts : ndarray of int64, shape (n_pictures, n_patches)
        Part of the object that is cut in two, from 1; 0 elsewhere.
    colours : ndarray of float64, shape (n_pictures, n_patches, 3)
        Mean colour, 0..1.
    """

    grid: tuple[int, int]
    places: IntArray
    labels: IntArray
    classes: IntArray
    parts: IntArray
    colours: FloatArray

    def distances(self) -> FloatArray:
        """Return how far the patches of all pairs lie apart.

        Returns
        -------
        ndarray of float64, shape (n_pictures, n_patches, n_patches)
            Between centres, in patches.
        """
        rows, columns = np.divmod(self.places, self.grid[1])
        down = rows[:, :, None] - rows[:, None, :]
        right = columns[:, :, None] - columns[:, None, :]
        return np.asarray(np.hypot(down, right), np.float64)


def generated_scenes(
    n_train: int, n_test: int, *, size_px: int, seed: int
) -> BoundScenes:
    """Draw scenes; those that are tested have other numbers than the others.

    Parameters
    ----------
    n_train, n_test : int
        Scenes of each condition.
    size_px : int
        Width and height.
    seed : int
        Seed of the scenes.

    Returns
    -------
    BoundScenes
        The class of an object is its shape.
    """
    parts = [
        make_object_scenes(n_train, size_px=size_px, seed=seed).table.assign(
            test=False
        ),
        make_object_scenes(
            n_test, size_px=size_px, seed=seed, first=n_train
        ).table.assign(test=True),
    ]
    table = pd.concat(parts, ignore_index=True)
    displays = [draw_object_scene(row) for _, row in table.iterrows()]
    codes = {name: k for k, name in enumerate(("ground", *SHAPES))}
    kinds = tuple((0, *(codes[s] for s in d.geometry["shapes"])) for d in displays)
    mark = make_object_scenes(1, size_px=size_px, seed=seed).fingerprint
    return BoundScenes(
        table,
        [to_8_bit(d.image) for d in displays],
        tuple(d.geometry["labels"] for d in displays),
        kinds,
        tuple(codes),
        f"{mark}-{n_train}-{n_test}",
    )


def folder_scenes(folder: str | Path) -> BoundScenes:
    """Open a folder of pictures with instance masks.

    Parameters
    ----------
    folder : str or Path
        See `data_loaders.instance_masks.open_instance_masks`.

    Returns
    -------
    BoundScenes
        The last fifth by name is tested. Classes are "ground" and "object".

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If a file is missing or damaged.
    ValueError
        If there are fewer than ten pictures, or a mask has another size.
    """
    found = open_instance_masks(folder)
    n = len(found.table)
    if n < 10:
        raise ValueError(f"`data` must hold 10 pictures or more; {folder} has {n}.")
    labels = tuple(read_instance_mask(path) for path in found.masks)
    for picture, mask, path in zip(found.pictures, labels, found.masks, strict=True):
        if picture.shape[:2] != mask.shape:
            raise ValueError(
                f"{path} has {mask.shape} pixels, its picture {picture.shape[:2]}: "
                "they must be the same."
            )
    test = np.arange(n) >= n - max(1, round(TEST_SHARE * n))
    table = found.table.assign(condition="pictures", test=test, twins="", cut=0)
    return BoundScenes(
        table,
        found.pictures,
        labels,
        ((),) * n,
        ("ground", "object"),
        found.fingerprint,
    )


def draw_patches(
    scenes: BoundScenes, grid: tuple[int, int], *, n_patches: int, seed: int
) -> Patches:
    """Draw patches from every picture, uniformly and with replacement.

    Parameters
    ----------
    scenes : BoundScenes
        Pictures.
    grid : tuple of int
        Rows and columns of the tokens of a layer.
    n_patches : int
        Patches of each picture.
    seed : int
        Seed of the draw, which depends on the identity of the picture and the grid.

    Returns
    -------
    Patches
        The same for all layers with this grid.
    """
    kept: dict[str, list[Any]] = {k: [] for k in ("p", "l", "k", "s", "c")}
    for number, row in enumerate(scenes.table.to_dict("records")):
        image = scenes.labels[number]
        rng = generator(seed, "patches", row["stimulus_id"], *grid)
        places = rng.integers(grid[0] * grid[1], size=n_patches)
        labels = patch_labels(image, grid).ravel()
        classes = (labels > 0).astype(np.int64)
        if scenes.kinds[number]:
            classes = np.asarray(scenes.kinds[number], np.int64)[labels]
        parts = np.zeros_like(labels)
        if row["cut"]:
            seen, _ = connected_parts(image == row["cut"])
            parts = np.where(labels == row["cut"], _mode_inside(seen, grid), 0)
        colours = _mean_colour(scenes.pictures[number], grid)
        for name, values in zip(
            kept, (np.arange(len(labels)), labels, classes, parts, colours), strict=True
        ):
            kept[name].append(values[places])
    arrays = [np.stack(kept[name]) for name in ("p", "l", "k", "s", "c")]
    return Patches(grid, *arrays)


def _mode_inside(parts: NDArray[Any], grid: tuple[int, int]) -> IntArray:
    """Return the most frequent part of each patch; 0 where there is none."""
    patch = patch_of_pixels((parts.shape[0], parts.shape[1]), grid).ravel()
    counts = np.zeros((grid[0] * grid[1], int(parts.max()) + 1), np.int64)
    np.add.at(counts, (patch, parts.ravel()), 1)
    counts[:, 0] = 0
    return np.asarray(counts.argmax(axis=1), np.int64)


def _mean_colour(picture: NDArray[np.uint8], grid: tuple[int, int]) -> FloatArray:
    patch = patch_of_pixels((picture.shape[0], picture.shape[1]), grid).ravel()
    sizes = np.bincount(patch, minlength=grid[0] * grid[1])
    levels = picture.reshape(-1, 3) / 255.0
    sums = [np.bincount(patch, levels[:, k], len(sizes)) for k in range(3)]
    return np.asarray(np.stack(sums, axis=1) / sizes[:, None])
