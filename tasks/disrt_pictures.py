"""Pictures of oddity trials: intact ones, and versions without their structure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_loaders.picture_folder import open_picture_folder
from neurovis.core.checks import check_option, check_whole
from neurovis.core.rng import generator
from stimuli.category_pictures import make_category_pictures
from stimuli.patch_shuffles import blend_shuffle, local_shuffle, patch_shuffle
from stimuli.picture_families import middle_square
from tasks.texture_pictures import check_sides, synthesise_pictures

Picture = NDArray[np.uint8]

DISTORTIONS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "patch_shuffle": (2, 4, 8, 16),
        "blend_shuffle": (2, 4, 8, 16),
        "local_shuffle": (0.25, 0.5, 1, 2),
        "texsyn": (1,),
    }
)
"""Strengths by distortion: patches along a side, patches that a patch moves, or 1."""

BRIGHTNESS = 0.05
"""Most that the brightness of the second intact picture of control trials differs."""

_DRAWN = ("object", "food")


@dataclass(frozen=True, eq=False)
class Condition:
    """One distortion at one strength.

    Parameters
    ----------
    distortion : str
        One of `DISTORTIONS`.
    strength : float
        Its strength.
    pictures : int
        How many pictures are shown with it.
    """

    distortion: str
    strength: float
    pictures: int

    @property
    def name(self) -> str:
        """Distortion and strength, such as "patch_shuffle 4"."""
        return f"{self.distortion} {self.strength:g}"


def disrt_pictures(
    images: str | Path | None, *, n: int = 16, size_px: int = 128, seed: int = 0
) -> tuple[list[str], list[Picture]]:
    """Return the intact pictures.

    Parameters
    ----------
    images : str or Path or None
        Folder of pictures; None draws objects and food.
    n : int, default 16
        How many, >= 1.
    size_px : int, default 128
        Side; pictures of a folder are cut to their middle square and resized.
    seed : int, default 0
        Seed of drawn pictures.

    Returns
    -------
    ids : list of str
        Identities.
    pictures : list of ndarray of uint8, shape (size_px, size_px, 3)
        Pictures.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or the folder holds fewer pictures.
    FileNotFoundError, DataCorruptError
        If a picture is missing or damaged.
    """
    check_whole("n", n, low=1)
    if images is None:
        drawn = make_category_pictures(n, size_px=size_px, categories=_DRAWN, seed=seed)
        return drawn.table["stimulus_id"].tolist(), [drawn.load(i) for i in range(n)]
    pool, labels = open_picture_folder(images)
    if len(pool) < n:
        raise ValueError(
            f"`images` holds {len(pool)} pictures, but `n_pictures` is {n}: ask for "
            "fewer, or add pictures."
        )
    rows = np.linspace(0, len(pool) - 1, n).round().astype(int).tolist()
    ids = labels["stimulus_id"].iloc[rows].tolist()
    return ids, [middle_square(pool[row], size_px) for row in rows]


def distort(
    picture: Picture,
    distortion: str,
    strength: float,
    *,
    key: str = "",
    steps: int = 2,
    seed: int = 0,
    device: Any = "cpu",
) -> Picture:
    """Distort one picture.

    Parameters
    ----------
    picture : ndarray of uint8, shape (H, W, 3)
        Picture.
    distortion : {"patch_shuffle", "blend_shuffle", "local_shuffle", "texsyn"}
        What is done.
    strength : float
        Patches along a side, or how many patches of a grid of 8 x 8 a patch moves at
        most; for "texsyn" it means nothing.
    key : str, optional
        Identity of the picture and version.
    steps : int, default 2
        Steps of texture synthesis.
    seed : int, default 0
        Seed.
    device : str or torch.device, default "cpu"
        Where textures are synthesised.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        A version of the same size.

    Raises
    ------
    TypeError, ValueError
        If the picture is none, or an argument is out of range.
    """
    check_option("distortion", distortion, tuple(DISTORTIONS))
    if distortion == "local_shuffle":
        return local_shuffle(picture, strength, seed=seed, key=key)
    if distortion == "texsyn":
        own = int(generator(seed, "texsyn", key).integers(2**31))
        made = synthesise_pictures(picture / 255, [own], n_steps=steps, device=device)
        return np.floor(255 * made[0] + 0.5).astype(np.uint8)
    shuffle = patch_shuffle if distortion == "patch_shuffle" else blend_shuffle
    return shuffle(picture, int(strength), seed=seed, key=key)


def distorted_pairs(
    condition: Condition,
    ids: Sequence[str],
    pictures: Sequence[Picture],
    steps: int,
    seed: int,
    device: Any,
) -> list[Picture]:
    """Distort the pictures of a condition twice.

    Parameters
    ----------
    condition : Condition
        What is done, to how many pictures.
    ids : sequence of str
        Identities of the pictures.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Intact pictures.
    steps : int
        Steps of texture synthesis.
    seed : int
        Seed.
    device : str or torch.device
        Where textures are synthesised.

    Returns
    -------
    list of ndarray of uint8, shape (H, W, 3)
        First versions of all pictures, then second ones.
    """
    return [
        distort(
            pictures[i],
            condition.distortion,
            condition.strength,
            key=f"{ids[i]} {version}",
            steps=steps,
            seed=seed,
            device=device,
        )
        for version in (1, 2)
        for i in range(min(condition.pictures, len(ids)))
    ]


def check_size(size_px: int, distortions: Sequence[str]) -> None:
    """Refuse a size that does not fit the distortions.

    Parameters
    ----------
    size_px : int
        Side of the pictures.
    distortions : sequence of str
        What will be done.

    Raises
    ------
    TypeError, ValueError
        If 16 does not divide it, or it is out of range.
    """
    size = check_whole("size_px", size_px, low=16, high=2048)
    if size % 16:
        raise ValueError(f"`size_px` must be a multiple of 16; got {size}.")
    if "texsyn" in distortions:
        check_sides([size])


def brighter(
    ids: Sequence[str], pictures: Sequence[Picture], seed: int
) -> list[Picture]:
    """Make every picture a little brighter or darker.

    Parameters
    ----------
    ids : sequence of str
        Identities of the pictures.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures.
    seed : int
        Seed.

    Returns
    -------
    list of ndarray of uint8, shape (H, W, 3)
        By a factor within 1 - `BRIGHTNESS` .. 1 + `BRIGHTNESS`.
    """
    made = []
    for name, picture in zip(ids, pictures, strict=True):
        factor = 1 + generator(seed, "brightness", name).uniform(
            -BRIGHTNESS, BRIGHTNESS
        )
        made.append(np.clip(np.floor(picture * factor + 0.5), 0, 255).astype(np.uint8))
    return made
