"""First stages that lose equally much, and what they make of a set of pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from data_loaders.picture_folder import open_picture_folder
from neurovis.adapters.foveated_texture import make_stage, to_unit
from neurovis.adapters.scene_classifier import to_input
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import exact_float32, resolve
from neurovis.core.log import progress
from neurovis.core.pictures import LazyPictures, read_image
from neurovis.foveation.blur import FoveatedBlur, UniformBlur
from neurovis.foveation.matching import image_fidelity, match_blur
from neurovis.foveation.transforms import (
    CODECS,
    FoveationSettings,
    ImageTransform,
    geometry,
)
from tasks.foveate import Foveated, foveate_pictures

SYSTEMS = ("reference", "texture", "uniform-blur", "foveated-blur")
"""First stages in the order of all tables and figures."""

PUBLISHED_NAMES = {
    "reference": "Reference-Net",
    "texture": "Foveation-Texture-Net",
    "uniform-blur": "Uniform-Net",
    "foveated-blur": "Foveation-Blur-Net",
}
"""What Deza and Konkle (2020) call them."""

_LARGEST_FACTOR = 4.0

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class MatchedSystems:
    """First stages, the blurs of which lose as much as the texture does.

    Parameters
    ----------
    settings : dict of str to FoveationSettings
        One per system.
    table : DataFrame
        One row per system: `system`, `parameter` ("sigma_px", "factor" or ""),
        `value`, `ssim` (mean over the calibration pictures), `ssim_sd`,
        `ssim_target`, `n_images` and `matched` (False where the value was given).
    """

    settings: dict[str, FoveationSettings]
    table: pd.DataFrame


def match_systems(
    pictures: Sequence[Image],
    names: Sequence[str],
    systems: Sequence[str] = SYSTEMS,
    *,
    texture: FoveationSettings | None = None,
    sigma_px: float | None = None,
    factor: float | None = None,
    seed: int = 0,
    device: str = "auto",
) -> MatchedSystems:
    """Choose the blurs by the rule of equal mean SSIM.

    One parameter is taken for all pictures, never one per picture.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures of one size to calibrate on: none of the test set.
    names : sequence of str
        Their identities.
    systems : sequence of str, default `SYSTEMS`
        Which first stages.
    texture : FoveationSettings, optional
        The texture that is the measure, and the viewing geometry of all.
    sigma_px, factor : float, optional
        Taken instead of a matched value: standard deviation of the uniform blur, and
        that of the foveated blur over the radius of a window.
    seed : int, default 0
        Seed of the texture.
    device : str, default "auto"
        Where to compute.

    Returns
    -------
    MatchedSystems
        Settings and the table of what was found.

    Raises
    ------
    ValueError
        If a system is unknown, or no blur loses as much as the texture.
    """
    chosen = [str(check_option("systems", s, SYSTEMS)) for s in systems]
    if len(set(chosen)) != len(chosen) or not chosen:
        raise ValueError(f"`systems` must be distinct names; got {chosen}.")
    base = texture or FoveationSettings()
    place = resolve(device)
    n, keys = len(pictures), list(names)
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1:
        raise ValueError(
            "Pictures of one size, and at least one, are needed to match blurs; got "
            f"{sorted(shapes)}. Bring them to one size first."
        )
    images = to_unit(pictures).to(place)
    shape = (images.shape[2], images.shape[3])
    px_per_deg, fixation_px = geometry(base, shape)
    pools: dict[str, Any] = {
        "scale": base.scale,
        "px_per_deg": px_per_deg,
        "fixation_px": fixation_px,
        "fovea_deg": base.fovea_deg,
    }

    def uniform(value: float) -> ImageTransform:
        return UniformBlur(shape, value)

    makes: dict[str, tuple[str, float | None, Callable[[float], ImageTransform], float]]
    makes = {
        "uniform-blur": ("sigma_px", sigma_px, uniform, max(shape) / 8),
        "foveated-blur": (
            "factor",
            factor,
            FoveatedBlur(shape, 0.1, **pools).with_factor,
            _LARGEST_FACTOR,
        ),
    }
    settings, table = {}, []
    # With a codec its own loss is in both: texture and reference.
    coded = base.transform == CODECS[0]
    textured = base if coded else replace(base, transform="texture")
    plain = replace(base, transform=CODECS[1] if coded else "reference")
    with exact_float32(), torch.inference_mode():
        target = image_fidelity(
            make_stage(textured, shape),
            images,
            keys=keys,
            seed=seed,
        )
        for system in chosen:
            own, parameter, value, matched = plain, "", np.nan, False
            if system == "reference":
                found = image_fidelity(make_stage(plain, shape), images, keys=keys)
            elif system == "texture":
                own, found = textured, target
            else:
                parameter, given, make, high = makes[system]
                if given is None:
                    match = match_blur(
                        *(make, images, float(target.mean())), low=0.0, high=high
                    )
                    value, matched, found = match.parameter, True, match.per_image
                else:
                    value = given
                    found = image_fidelity(make(given), images)
                changed: dict[str, Any] = {parameter: value}
                own = replace(base, transform=system, **changed)
            settings[system] = own
            table.append(
                {
                    "system": system,
                    "parameter": parameter,
                    "value": value,
                    "ssim": float(found.mean()),
                    "ssim_sd": float(found.std()),
                    "ssim_target": float(target.mean()),
                    "n_images": n,
                    "matched": matched,
                }
            )
    return MatchedSystems(settings, pd.DataFrame(table))


def match_folder(
    folder: str | Path,
    system: str,
    texture: FoveationSettings,
    *,
    n_calibration: int = 32,
    seed: int = 0,
    device: str = "auto",
) -> tuple[FoveationSettings, str]:
    """Choose a blur that loses as much as the texture does on a folder of pictures.

    Parameters
    ----------
    folder : str or Path
        Pictures. Those of the commonest size count, some of them spread evenly.
    system : {"uniform-blur", "foveated-blur"}
        Which blur.
    texture : FoveationSettings
        The texture, and the viewing geometry.
    n_calibration : int, default 32
        Most pictures to look at.
    seed : int, default 0
        Seed of the texture.
    device : str, default "auto"
        Where to compute.

    Returns
    -------
    settings : FoveationSettings
        The blur.
    told : str
        What was found, in a line.

    Raises
    ------
    FileNotFoundError, DataCorruptError, ValueError
        As `match_systems`, or if a picture is missing or damaged.
    """
    check_option("system", system, SYSTEMS[2:])
    pictures, labels = open_picture_folder(folder)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for index in progress(range(len(pictures)), "measuring", unit="picture"):
        shapes.setdefault(pictures[index].shape, []).append(index)
    rows = max(shapes.values(), key=len)
    some = spread(np.array(rows), n_calibration)
    names = labels["stimulus_id"].iloc[some].tolist()
    matched = match_systems(
        [pictures[int(row)] for row in some],
        names,
        [system],
        texture=texture,
        seed=seed,
        device=device,
    )
    found = matched.table.iloc[0]
    told = (
        f"{found.parameter} {found.value:.4g}: mean SSIM {found.ssim:.3f}, that of the "
        f"texture {found.ssim_target:.3f}, on {found.n_images} pictures"
    )
    return matched.settings[system], told


def spread(rows: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Choose some rows, spread evenly.

    Parameters
    ----------
    rows : ndarray of int64
        All rows.
    n : int
        How many at most.

    Returns
    -------
    ndarray of int64
        `n` of them, or all.

    Examples
    --------
    >>> spread(np.arange(10), 3)
    array([0, 4, 9])
    """
    n = min(check_whole("n_calibration", n, low=1), len(rows))
    return rows[np.linspace(0, len(rows) - 1, n).astype(np.int64)]


@dataclass(frozen=True)
class SystemPictures:
    """What the first stage of a system made of a set of pictures.

    Parameters
    ----------
    system : str
        Its name.
    foveated : Foveated
        Where the pictures lie.
    pictures : sequence of ndarray of uint8, shape (size_px, size_px, 3)
        Read when they are asked for.
    """

    system: str
    foveated: Foveated
    pictures: Sequence[Image]

    @property
    def fingerprint(self) -> str:
        """Hash of the pictures."""
        return self.foveated.fingerprint

    def rows(self, rows: NDArray[np.int64]) -> Image:
        """Return some pictures.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            Which ones.

        Returns
        -------
        ndarray of uint8, shape (n, size_px, size_px, 3)
            Pictures.
        """
        return np.stack([self.pictures[int(row)] for row in rows])


def render_systems(
    pictures: Sequence[Image],
    labels: pd.DataFrame,
    settings: Mapping[str, FoveationSettings],
    folder: str | Path,
    *,
    size_px: int,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, SystemPictures]:
    """Send all pictures through all first stages, once; a killed run goes on.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures.
    labels : DataFrame
        `stimulus_id` and `category` of each.
    settings : mapping of str to FoveationSettings
        First stages by the name of the system.
    folder : str or Path
        One sub-folder each.
    size_px : int
        Side of the results.
    seed : int, default 0
        Seed of the first stages.
    device : str, default "auto"
        Where to compute.

    Returns
    -------
    dict of str to SystemPictures
        In the order of `settings`.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError, DataCorruptError, OSError
        As `tasks.foveate.foveate_pictures`.
    """
    found = {}
    for system, own in settings.items():
        made = foveate_pictures(
            pictures,
            labels,
            Path(folder) / system,
            own,
            size_px=size_px,
            seed=seed,
            device=device,
        )
        paths = [made.folder / name for name in made.table["path"]]
        found[system] = SystemPictures(system, made, LazyPictures(read_image, paths))
    return found


def as_squares(pictures: Sequence[Image], side_px: int) -> LazyPictures:
    """Bring pictures to one square size before the first stage.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures of any sizes.
    side_px : int
        Side of the results; the ratio of the sides is not kept.

    Returns
    -------
    LazyPictures
        Resized when they are asked for.
    """

    def make(index: int) -> Image:
        squared = to_input([pictures[index]], side_px)[0]
        return np.ascontiguousarray(squared.permute(1, 2, 0).numpy())

    return LazyPictures(make, range(len(pictures)))
