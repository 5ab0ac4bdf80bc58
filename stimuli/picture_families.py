"""Families that begin with pictures: a folder of yours, or drawings made by rule."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from neurovis.core.checks import check_option, check_path, check_whole
from neurovis.core.pictures import SUFFIXES, LazyPictures, read_image
from neurovis.core.types import StimulusSet, Viewing
from stimuli.category_pictures import make_category_pictures
from stimuli.manipulated_sets import (
    MANIPULATIONS,
    REFERENCE_PX_PER_DEG,
    ManipulationOptions,
    make_manipulated,
)
from stimuli.patch_shuffles import blend_shuffle, local_shuffle, patch_shuffle

Picture = NDArray[np.uint8]

SHUFFLES = ("patch", "blend", "local")
"""Whole patches exchanged, the same with blended seams, and patches from nearby."""

EIDOLONS: dict[float, str] = {1.0: "eidolonI", 0.3: "eidolonII", 0.0: "eidolonIII"}
"""Published experiments by the coherence of their disarray."""


def source_pictures(
    pictures: str | None = None,
    *,
    n_pictures: int = 4,
    size_px: int = 224,
    seed: int = 0,
) -> StimulusSet:
    """Read the pictures of a folder, or draw some.

    Parameters
    ----------
    pictures : str, optional
        Folder of pictures; they are cut to a square and scaled. By default pictures
        of objects and places are drawn by rule.
    n_pictures : int, default 4
        Most pictures, in the order of their names.
    size_px : int, default 224
        Side of the pictures, >= 16.
    seed : int, default 0
        Seed of drawn pictures.

    Returns
    -------
    StimulusSet
        Square pictures; `stimulus_id` is the name of the file without its ending, and
        `source` says "folder" or "drawn".

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder, or it holds no picture.
    ValueError
        If two files have one name, or a number is out of range.
    """
    check_whole("n_pictures", n_pictures, low=1)
    check_whole("size_px", size_px, low=16)
    if pictures is None:
        drawn = make_category_pictures(n_pictures, size_px=size_px, seed=seed)
        viewing = Viewing(REFERENCE_PX_PER_DEG, size_px, size_px)
        table = drawn.table[["stimulus_id", "category"]].assign(source="drawn")
        return StimulusSet("pictures", table, viewing, drawn.images)
    folder = check_path("pictures", pictures, kind="folder")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}).")
    found = found[:n_pictures]
    table = pd.DataFrame({"stimulus_id": [path.stem for path in found]})
    table = table.assign(category="", source="folder")

    def read(path: Path) -> Picture:
        return middle_square(read_image(path), size_px)

    viewing = Viewing(REFERENCE_PX_PER_DEG, size_px, size_px)
    return StimulusSet("pictures", table, viewing, LazyPictures(read, found))


def make_manipulated_pictures(
    manipulation: str = "contrast",
    *,
    levels: Sequence[str] | None = None,
    pictures: str | None = None,
    n_pictures: int = 4,
    size_px: int = 224,
    variant: str = "reference",
    seed: int = 0,
) -> StimulusSet:
    """Make the levels of one of the twelve manipulations of pictures.

    Parameters
    ----------
    manipulation : str, default "contrast"
        One of `stimuli.manipulated_sets.MANIPULATIONS`: colour, contrast, high-pass,
        low-pass, phase-scrambling, power-equalisation, false-colour, rotation,
        eidolonI, eidolonII, eidolonIII, uniform-noise, salt-and-pepper.
    levels : sequence of str, optional
        Conditions, such as "c10"; the published ones by default.
    pictures : str, optional
        Folder of pictures; drawn ones by default.
    n_pictures : int, default 4
        Most pictures.
    size_px : int, default 224
        Side of the pictures.
    variant : {"reference", "symmetric"}
        How phases are scrambled, see `stimuli.phase_scrambling.scramble_phase`.
    seed : int, default 0
        Seed of drawn pictures and of what is random.

    Returns
    -------
    StimulusSet
        See `stimuli.manipulated_sets.make_manipulated`.

    Raises
    ------
    ValueError, FileNotFoundError, NotADirectoryError
        As `source_pictures` and `stimuli.manipulated_sets.make_manipulated`.

    References
    ----------
    Geirhos et al. (2018). Generalisation in humans and deep neural networks. NeurIPS
    31, arXiv:1808.08750.
    """
    check_option("manipulation", manipulation, tuple(MANIPULATIONS))
    source = source_pictures(
        pictures, n_pictures=n_pictures, size_px=size_px, seed=seed
    )
    options = ManipulationOptions(variant=variant)
    chosen = "all" if levels is None else [str(level) for level in levels]
    return make_manipulated(source, manipulation, chosen, seed=seed, options=options)


def make_eidolons(
    coherence: float = 1.0,
    *,
    reaches_px: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128),
    pictures: str | None = None,
    n_pictures: int = 4,
    size_px: int = 224,
    mixture: str = "convex",
    seed: int = 0,
) -> StimulusSet:
    """Make eidolons: pictures whose parts are displaced, scale by scale.

    Parameters
    ----------
    coherence : {1.0, 0.3, 0.0}
        How far coarse scales drag fine ones: that of Eidolon I, II or III.
    reaches_px : sequence of int
        How far parts are displaced, in pixels of a picture of 256.
    pictures : str, optional
        Folder of pictures; drawn ones by default.
    n_pictures : int, default 4
        Most pictures.
    size_px : int, default 224
        Side of the pictures.
    mixture : {"convex", "snapshot"}
        See `stimuli.eidolons.disarray`.
    seed : int, default 0
        Seed of drawn pictures and of displacements.

    Returns
    -------
    StimulusSet
        See `stimuli.manipulated_sets.make_manipulated`; conditions are
        "REACH-COHERENCE-GRAIN" as published.

    Raises
    ------
    ValueError, FileNotFoundError, NotADirectoryError
        As `source_pictures` and `stimuli.manipulated_sets.make_manipulated`.

    References
    ----------
    Koenderink, Valsecchi, van Doorn, Wagemans and Gegenfurtner (2017). Eidolons: novel
    stimuli for vision research. Journal of Vision 17(2):7. doi:10.1167/17.2.7.
    """
    check_option("coherence", float(coherence), tuple(EIDOLONS))
    source = source_pictures(
        pictures, n_pictures=n_pictures, size_px=size_px, seed=seed
    )
    tenths = round(10 * coherence)
    levels = [f"{reach}-{tenths}-10" for reach in reaches_px]
    options = ManipulationOptions(mixture=mixture)
    name = EIDOLONS[float(coherence)]
    return make_manipulated(source, name, levels, seed=seed, options=options)


def make_shuffled_pictures(
    kinds: Sequence[str] = SHUFFLES,
    *,
    n_patches: Sequence[int] = (2, 4, 8, 16),
    jitters: Sequence[float] = (0.5, 1.0, 2.0, 4.0),
    pictures: str | None = None,
    n_pictures: int = 2,
    size_px: int = 224,
    seed: int = 0,
) -> StimulusSet:
    """Make pictures whose patches are exchanged: local texture without global shape.

    Parameters
    ----------
    kinds : sequence of str
        Of `SHUFFLES`.
    n_patches : sequence of int
        Patches along a side, for "patch" and "blend"; they must divide `size_px`.
    jitters : sequence of float
        Most that a patch is displaced, in patches of 8 along a side, for "local".
    pictures : str, optional
        Folder of pictures; drawn ones by default.
    n_pictures : int, default 2
        Most pictures.
    size_px : int, default 224
        Side of the pictures.
    seed : int, default 0
        Seed of drawn pictures and of the exchange.

    Returns
    -------
    StimulusSet
        `source_id`, `kind` and `strength` (patches, or jitter) tell the pictures apart.

    Raises
    ------
    ValueError, FileNotFoundError, NotADirectoryError
        As `source_pictures`, or if a kind is unknown.
    """
    for kind in kinds:
        check_option("kinds", kind, SHUFFLES)
    source = source_pictures(
        pictures, n_pictures=n_pictures, size_px=size_px, seed=seed
    )
    plan = [
        (index, kind, strength)
        for index in range(len(source))
        for kind in kinds
        for strength in (jitters if kind == "local" else n_patches)
    ]
    ids = source.table["stimulus_id"].tolist()
    table = pd.DataFrame(
        {
            "stimulus_id": [f"{ids[i]}_{kind}_{s:g}" for i, kind, s in plan],
            "source_id": [ids[i] for i, _, _ in plan],
            "kind": [kind for _, kind, _ in plan],
            "strength": [float(s) for _, _, s in plan],
            "seed": seed,
        }
    )

    def draw(step: tuple[int, str, float]) -> Picture:
        index, kind, strength = step
        picture, key = source.load(index), ids[index]
        if kind == "local":
            return local_shuffle(picture, strength, seed=seed, key=key)
        shuffle = patch_shuffle if kind == "patch" else blend_shuffle
        return shuffle(picture, int(strength), seed=seed, key=key)

    return StimulusSet("shuffled", table, source.viewing, LazyPictures(draw, plan))


def make_drawn_pictures(
    n_pictures: int = 24, *, size_px: int = 128, seed: int = 0
) -> StimulusSet:
    """Draw pictures of faces, bodies, places and things by rule.

    Parameters
    ----------
    n_pictures : int, default 24
        Number of pictures.
    size_px : int, default 128
        Side of the pictures.
    seed : int, default 0
        Seed of the set.

    Returns
    -------
    StimulusSet
        See `stimuli.category_pictures.make_category_pictures`.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    return make_category_pictures(n_pictures, size_px=size_px, seed=seed)


def middle_square(picture: Picture, size_px: int) -> Picture:
    """Cut a picture to its middle square and scale that.

    Parameters
    ----------
    picture : ndarray of uint8, shape (H, W, 3)
        Picture.
    size_px : int
        Side of the result, >= 1.

    Returns
    -------
    ndarray of uint8, shape (size_px, size_px, 3)
        Scaled with a bicubic kernel.
    """
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = np.ascontiguousarray(picture[top : top + side, left : left + side])
    image = Image.fromarray(cut).resize((size_px, size_px), Image.Resampling.BICUBIC)
    return np.asarray(image)
