"""Figure and ground in a model: convexity, the lower region, and who owns an edge."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.linear_readout import fit_linear_readout
from analysis.patches import mean_token, patch_shares, touched_patches
from neurovis.core.rng import generator
from stimuli.convex_regions import convex_display, make_convex_regions
from stimuli.display import Display, coverage, ground, lay
from stimuli.figure_ground import (
    LUMINANCES,
    draw_lower_region,
    draw_owned_edge,
    make_lower_regions,
    make_owned_edges,
)
from stimuli.outlines import disc
from tasks.gestalt_reading import (
    NO_CHOICE,
    BatterySize,
    Observer,
    Shown,
    choice_columns,
    read_places,
    show,
    trials_of,
)

DISCS_PER_DISPLAY = 4


def draw_disc(
    *,
    radius_deg: float = 1.2,
    x_deg: float = 0.0,
    y_deg: float = 0.0,
    light: bool = True,
    luminances: tuple[float, float] = LUMINANCES,
    size_deg: float = 7.0,
    px_per_deg: float = 32.0,
) -> Display:
    """Draw a disc on a ground: a figure that nobody doubts.

    Parameters
    ----------
    radius_deg : float, default 1.2
        Radius.
    x_deg, y_deg : float
        Centre.
    light : bool, default True
        The disc is the lighter part.
    luminances : tuple of float, default (0.3, 0.7)
        Of the darker and the lighter part.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    Display
        Masks "figure" and "ground".
    """
    dark, bright = luminances
    image = ground(size_deg, px_per_deg, dark if light else bright)
    cover = coverage(disc(radius_deg, x_deg=x_deg, y_deg=y_deg), image.shape,
                     px_per_deg)  # fmt: skip
    lay(image, cover, bright if light else dark)
    figure = cover >= 0.5
    return Display(image, px_per_deg, {}, {"figure": figure, "ground": ~figure})


def show_convexity(size: BatterySize) -> Shown:
    """Draw discs for training, and convex and concave regions for the test.

    Parameters
    ----------
    size : BatterySize
        How many.

    Returns
    -------
    Shown
        Column `part` is "train" or "test".
    """
    stimuli = make_convex_regions(
        n_displays=4 * max(1, round(size.n_displays / 4)),
        px_per_deg=size.px_per_deg,
        seed=size.seed,
    )
    test = stimuli.table.assign(part="test")
    table = pd.concat([_discs(size), test], ignore_index=True)
    return show(table, lambda row: _disc_or(row, _drawn_convex))


def measure_convexity(
    observer: Observer, shown: Shown, size: BatterySize
) -> pd.DataFrame:
    """Ask a figure probe that was trained on discs for convex and concave regions.

    Parameters
    ----------
    observer : Observer
        Who looks.
    shown : Shown
        From `show_convexity`.
    size : BatterySize
        Seed.

    Returns
    -------
    DataFrame
        One row per display, both contrasts together. Conditions are the two colourings;
        `level` is the number of regions; the truth is "convex".
    """
    regions = ("convex", "concave")
    return _preferred(observer, shown, size, "convexity", regions)


def show_lower_region(size: BatterySize) -> Shown:
    """Draw discs for training, and squares with a wavy edge for the test.

    Parameters
    ----------
    size : BatterySize
        How many.

    Returns
    -------
    Shown
        Column `part` is "train" or "test".
    """
    stimuli = make_lower_regions(
        n_displays=2 * size.n_displays, px_per_deg=size.px_per_deg, seed=size.seed
    )
    table = pd.concat(
        [_discs(size), stimuli.table.assign(part="test")], ignore_index=True
    )

    def lower(row: Mapping[str, Any]) -> Display:
        return draw_lower_region(
            lower_light=bool(row["lower_light"]),
            seed=int(row["seed"]),
            px_per_deg=row["px_per_deg"],
        )

    return show(table, lambda row: _disc_or(row, lower))


def measure_lower_region(
    observer: Observer, shown: Shown, size: BatterySize
) -> pd.DataFrame:
    """Ask a figure probe that was trained on discs for the lower and upper region.

    Parameters
    ----------
    observer : Observer
        Who looks.
    shown : Shown
        From `show_lower_region`.
    size : BatterySize
        Seed.

    Returns
    -------
    DataFrame
        One row per edge, both contrasts together; the truth is "lower".
    """
    regions = ("lower", "upper")
    return _preferred(observer, shown, size, "lower-region", regions)


def show_border_ownership(size: BatterySize) -> Shown:
    """Draw edges that belong to a figure on the left or on the right.

    Parameters
    ----------
    size : BatterySize
        How many; at least two shifts of each figure.

    Returns
    -------
    Shown
        Column `part`: every second shift is for training.
    """
    stimuli = make_owned_edges(
        n_displays=max(2, size.n_displays), px_per_deg=size.px_per_deg, seed=size.seed
    )
    part = np.where(stimuli.table["display"] % 2 == 0, "train", "test")
    names = ("figure_left", "light_left", "figure_deg", "shift_deg", "shape")

    def draw(row: Mapping[str, Any]) -> Display:
        own = {name: row[name] for name in names}
        return draw_owned_edge(px_per_deg=row["px_per_deg"], **own)

    return show(stimuli.table.assign(part=part), draw)


def measure_border_ownership(
    observer: Observer, shown: Shown, size: BatterySize
) -> pd.DataFrame:
    """Decode from the token at an edge on which side the figure lies.

    Parameters
    ----------
    observer : Observer
        Who looks.
    shown : Shown
        From `show_border_ownership`.
    size : BatterySize
        Seed.

    Returns
    -------
    DataFrame
        `level` is the side of the figure in degrees.
    """
    table = shown.table
    height, width = shown.pictures[0].shape[:2]
    centre = np.zeros((height, width), bool)
    centre[(height - 1) // 2 : height // 2 + 1, (width - 1) // 2 : width // 2 + 1] = (
        True
    )

    def at_edge(tokens: Any, *_: Any) -> Any:
        return mean_token(tokens, touched_patches(centre, *tokens.shape[:2]))

    found = read_places(observer, shown.pictures, at_edge)
    train = (table["part"] == "train").to_numpy()
    left = table["figure_left"].to_numpy(bool)
    groups = table["display"].astype(str) + "/" + table["figure_deg"].astype(str)
    test = table[~train]
    parts = []
    for layer in observer.layers:
        features = np.array(found[layer.title])
        readout = fit_linear_readout(
            features[train], left[train], groups=groups[train], seed=size.seed
        )
        logits = readout.logits(features[~train])[:, 1]
        signed = np.where(left[~train], logits, -logits)
        columns = {
            "stimulus_id": test["stimulus_id"].to_numpy(),
            "condition": test["shape"].to_numpy(),
            "level": test["figure_deg"].to_numpy(),
            "truth": np.where(left[~train], "left", "right"),
            "response": np.select(
                [np.abs(logits) <= NO_CHOICE, logits > 0], ["", "left"], "right"
            ),
            "correct": signed > NO_CHOICE,
            "rt_or_cost": -np.abs(logits),
            "value": signed,
            "chance": 0.5,
        }
        parts.append(
            trials_of(observer, layer.title, "border-ownership", columns, size.seed)
        )
    return pd.concat(parts, ignore_index=True)


def _preferred(
    observer: Observer,
    shown: Shown,
    size: BatterySize,
    test: str,
    regions: tuple[str, str],
) -> pd.DataFrame:
    """Compare the logits of two regions; those of a mean token are the mean logits.

    A trial is the same edges in both contrasts: whether light or dark parts look like
    figures to the probe cancels.
    """
    table = shown.table
    train = (table["part"] == "train").to_numpy()
    names = [("figure", "ground") if one else regions for one in train]
    tested = table[~train]
    convex = test == "convexity"
    factors = ["colour", "n_regions"] if convex else []

    def both(tokens: Any, index: int, _: str) -> Any:
        masks = shown.masks[index]
        return np.array(
            [
                mean_token(tokens, patch_shares(masks[name], *tokens.shape[:2]))
                for name in names[index]
            ]
        )

    found = read_places(observer, shown.pictures, both)
    parts = []
    for layer in observer.layers:
        features = np.array(found[layer.title])
        discs = features[train]
        readout = fit_linear_readout(
            np.concatenate([discs[:, 1], discs[:, 0]]),
            np.repeat([False, True], len(discs)),
            groups=np.tile(np.arange(len(discs)), 2),
            seed=size.seed,
        )
        pairs = features[~train]
        rows = readout.logits(pairs.reshape(-1, pairs.shape[-1]))[:, 1]
        logits: NDArray[np.float64] = rows.reshape(pairs.shape[:-1])
        both_ways = tested.assign(evidence=logits[:, 0] - logits[:, 1]).groupby(
            [*factors, "display"], sort=False
        )
        evidence = both_ways["evidence"].mean().to_numpy()
        first = both_ways.head(1)
        columns = {
            "stimulus_id": first["stimulus_id"].to_numpy(),
            "condition": first["colour"].to_numpy() if convex else "wavy edge",
            "level": first["n_regions"].to_numpy() if convex else np.nan,
            **choice_columns(evidence, regions, preference=True),
        }
        parts.append(trials_of(observer, layer.title, test, columns, size.seed))
    return pd.concat(parts, ignore_index=True)


def _discs(size: BatterySize) -> pd.DataFrame:
    rows = []
    for k in range(DISCS_PER_DISPLAY * size.n_displays):
        rng = generator(size.seed, "training disc", k)
        radius = float(rng.uniform(0.7, 1.8))
        reach = 3.4 - radius
        rows.append(
            {
                "stimulus_id": f"disc_{k:04d}",
                "part": "train",
                "radius_deg": radius,
                "disc_x_deg": float(rng.uniform(-reach, reach)),
                "disc_y_deg": float(rng.uniform(-reach, reach)),
                "disc_light": k % 2 == 0,
                "px_per_deg": float(size.px_per_deg),
            }
        )
    return pd.DataFrame(rows)


def _disc_or(
    row: Mapping[str, Any], draw: Callable[[Mapping[str, Any]], Display]
) -> Display:
    if row["part"] == "test":
        return draw(row)
    return draw_disc(
        radius_deg=row["radius_deg"],
        x_deg=row["disc_x_deg"],
        y_deg=row["disc_y_deg"],
        light=bool(row["disc_light"]),
        px_per_deg=row["px_per_deg"],
    )


def _drawn_convex(row: Mapping[str, Any]) -> Display:
    # Columns of discs are empty here, and turn whole numbers into fractions.
    own = {
        "stimulus_id": row["stimulus_id"],
        "n_regions": int(row["n_regions"]),
        "colour": row["colour"],
        "convex_first": bool(row["convex_first"]),
        "convex_light": bool(row["convex_light"]),
        "seed": int(row["seed"]),
        "dark": row["dark"],
        "light": row["light"],
        "size_deg": row["size_deg"],
        "px_per_deg": row["px_per_deg"],
    }
    return convex_display(own)
