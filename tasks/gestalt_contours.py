"""Illusory contours in a model: resemblance to real ones, fill-in, fat and thin."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.gestalt import fill_in, ic_index
from analysis.linear_readout import fit_linear_readout
from analysis.patches import mean_token, touched_patches
from neurovis.adapters.top_k import keep_top_k
from neurovis.core.rng import generator
from stimuli.illusory_contours import (
    TILTS_DEG,
    kanizsa_display,
    make_illusory_contours,
)
from tasks.gestalt_reading import (
    BatterySize,
    Observer,
    Shown,
    choice_columns,
    read_places,
    show,
    trials_of,
)
from tasks.picture_features import embed

SUPPORT_RATIOS = (0.2, 0.4, 0.6, 0.8)
TRAINED_TILTS_DEG = (1.0, 2.0, 4.0, 8.0)
TESTED_RATIOS = (0.25, 0.5, 0.75)

# Resizing carries a pixel into its neighbours.
_MARGIN_PX = 2
_MOST_PATCHES = 16  # to a side, for pairs of places
_SIDE_DEG = 2.1  # of figures that stand on one half of the picture


def show_illusory_contours(size: BatterySize) -> Shown:
    """Draw squares, squares with inducers turned outward, and outlines.

    Parameters
    ----------
    size : BatterySize
        How many.

    Returns
    -------
    Shown
        `n_displays` places of each support ratio.
    """
    stimuli = make_illusory_contours(
        kinds=("illusory", "outward", "outline"),
        support_ratios=SUPPORT_RATIOS,
        n_places=size.n_displays,
        jitter_deg=0.3,
        px_per_deg=size.px_per_deg,
        seed=size.seed,
    )
    return show(stimuli.table, kanizsa_display)


def measure_illusory_contours(
    observer: Observer, shown: Shown, size: BatterySize
) -> pd.DataFrame:
    """Compute the index of illusory contours for every place and support ratio.

    Parameters
    ----------
    observer : Observer
        Who looks.
    shown : Shown
        From `show_illusory_contours`.
    size : BatterySize
        Shares of `top_k`.

    Returns
    -------
    DataFrame
        Conditions "tokens" (the index as it is defined), "evoked" (an empty picture
        subtracted) and "top 10 %" and so on (sparse tokens); `level` is the support
        ratio, `value` the index.
    """
    table = shown.table
    shares = (1.0, *size.top_k)
    same = ["place", "support_ratio"]
    pairs = table[table["kind"].isin(("illusory", "outward"))].groupby(same).indices
    taken = table.index[table["kind"].isin(("illusory", "outward"))].to_numpy()
    own = [tuple(key) for key in table[same].itertuples(index=False, name=None)]

    def patches(layer: Any) -> dict[Any, NDArray[np.bool_]]:
        grid = (layer.n_rows, layer.n_columns)
        chosen = {}
        for key, places in pairs.items():
            masks = [shown.masks[taken[k]] for k in places]
            crossed = touched_patches(masks[0]["edge"], *grid)
            for mask in masks:
                crossed &= ~touched_patches(
                    mask["inducers"], *grid, margin_px=_MARGIN_PX
                )
            chosen[key] = crossed
        return chosen

    def vectors(tokens: Any, chosen: Any) -> NDArray[np.float64]:
        kept = [tokens if s == 1 else keep_top_k(tokens, s) for s in shares]
        return np.array([mean_token(one, chosen) for one in kept])

    chosen = {layer.title: patches(layer) for layer in observer.layers}
    found = read_places(
        observer,
        shown.pictures,
        lambda tokens, i, layer: vectors(tokens, chosen[layer][own[i]]),
    )
    grey = np.full_like(shown.pictures[0], shown.pictures[0][0, 0])
    empty = read_places(
        observer,
        [grey],
        lambda tokens, _, layer: [vectors(tokens, chosen[layer][key]) for key in pairs],
    )
    by_kind = {kind: part for kind, part in table.groupby("kind", sort=False)}
    order = {key: k for k, key in enumerate(pairs)}
    parts = []
    for layer in observer.layers:
        values = np.array(found[layer.title])
        rows = {
            kind: part.sort_values(same).index.to_numpy()
            for kind, part in by_kind.items()
        }
        illusory, control, real = (
            values[rows[kind]] for kind in ("illusory", "outward", "outline")
        )
        blank = np.array(empty[layer.title][0])[
            [order[own[i]] for i in rows["illusory"]]
        ]
        first = table.loc[rows["illusory"]]
        index = ic_index(illusory, control, real)
        results = {"tokens": index[:, 0]}
        results["evoked"] = ic_index(illusory, control, real, blank=blank)[:, 0]
        for k, share in enumerate(size.top_k):
            results[f"top {100 * share:g} %"] = index[:, k + 1]
        for condition, numbers in results.items():
            columns = {
                "stimulus_id": first["stimulus_id"].to_numpy(),
                "condition": condition,
                "level": first["support_ratio"].to_numpy(),
                "value": numbers,
                "chance": 0.0,
            }
            parts.append(
                trials_of(
                    observer, layer.title, "illusory-contours", columns, size.seed
                )
            )
    return pd.concat(parts, ignore_index=True)


def show_fill_in(size: BatterySize) -> Shown:
    """Draw small squares and their controls on one half of the picture.

    Parameters
    ----------
    size : BatterySize
        How many.

    Returns
    -------
    Shown
        `n_displays` places of each support ratio, left and right in turn.
    """
    stimuli = make_illusory_contours(
        kinds=("illusory", "outward"),
        support_ratios=SUPPORT_RATIOS,
        sides_deg=(_SIDE_DEG,),
        n_places=size.n_displays,
        px_per_deg=size.px_per_deg,
        seed=size.seed,
    )
    table = stimuli.table.copy()
    # The half of the picture that is left over has the same eccentricities.
    place = table["place"].to_numpy()
    table["x_deg"] = np.where(place % 2 == 0, -1.65, 1.65)
    heights = [
        float(generator(size.seed, "fill-in height", int(k)).uniform(-1.2, 1.2))
        for k in range(size.n_displays)
    ]
    table["y_deg"] = np.array(heights)[place]
    table["size_deg"] = 7.2
    return show(table, kanizsa_display)


def measure_fill_in(
    observer: Observer, shown: Shown, size: BatterySize
) -> pd.DataFrame:
    """Compare the inside of illusory figures with mirrored places outside.

    Parameters
    ----------
    observer : Observer
        Who looks.
    shown : Shown
        From `show_fill_in`.
    size : BatterySize
        Number of permutations.

    Returns
    -------
    DataFrame
        `level` is the support ratio, `value` the index of each place, and `p_value`
        that of all places together.
    """
    table = shown.table
    same = ["place", "support_ratio"]
    groups = table.groupby(same).indices
    own = [tuple(key) for key in table[same].itertuples(index=False, name=None)]
    parts = []
    inside: dict[str, dict[Any, NDArray[np.bool_]]] = {}
    for layer in observer.layers:
        grid = _pair_grid(layer.n_rows, layer.n_columns)
        inside[layer.title] = {}
        for key, places in groups.items():
            masks = [shown.masks[k] for k in places]
            within = ~touched_patches(~masks[0]["figure"], *grid)
            for mask in masks:
                within &= ~touched_patches(
                    mask["inducers"], *grid, margin_px=_MARGIN_PX
                )
            inside[layer.title][key] = within

    def pairs(tokens: Any, chosen: NDArray[np.bool_]) -> Any:
        pooled = _pooled(tokens, chosen.shape)
        return pooled[chosen], pooled[:, ::-1][chosen]

    found = read_places(
        observer,
        shown.pictures,
        lambda tokens, i, layer: pairs(tokens, inside[layer][own[i]]),
    )
    for layer in observer.layers:
        values = found[layer.title]
        for ratio, part in table.groupby("support_ratio", sort=True):
            rows = {
                kind: some.sort_values("place").index.to_numpy()
                for kind, some in part.groupby("kind", sort=False)
            }
            result = fill_in(
                [values[i] for i in rows["illusory"]],
                [values[i] for i in rows["outward"]],
                n_permutations=size.n_permutations,
                rng=generator(size.seed, "fill-in", layer.title, str(ratio)),
            )
            columns = {
                "stimulus_id": table.loc[rows["illusory"], "stimulus_id"].to_numpy(),
                "condition": "surface",
                "level": ratio,
                "value": result.index,
                "p_value": result.p_value,
                "chance": 0.0,
            }
            parts.append(
                trials_of(observer, layer.title, "fill-in", columns, size.seed)
            )
    return pd.concat(parts, ignore_index=True)


def show_fat_thin(size: BatterySize) -> Shown:
    """Draw fat and thin figures: real ones for training, illusory ones for the test.

    Parameters
    ----------
    size : BatterySize
        How many.

    Returns
    -------
    Shown
        Column `part` is "train" or "test"; condition "local" has inducers turned
        outward, so that only their own directions tell the tilt.
    """
    tilts = [sign * tilt for tilt in TRAINED_TILTS_DEG for sign in (1, -1)]
    tested = [sign * tilt for tilt in TILTS_DEG for sign in (1, -1)]
    shared: dict[str, Any] = {"jitter_deg": 0.3, "px_per_deg": size.px_per_deg}
    half = max(1, size.n_displays // 2)
    sets = {
        ("train", "real"): make_illusory_contours(
            kinds=("outline",),
            support_ratios=(0.5,),
            tilts_deg=tilts,
            real_contrasts=(0.16, -0.16),
            n_places=half,
            seed=size.seed + 1,
            **shared,
        ),
        ("test", "illusory"): make_illusory_contours(
            kinds=("illusory",),
            support_ratios=TESTED_RATIOS,
            tilts_deg=tested,
            n_places=half,
            seed=size.seed,
            **shared,
        ),
        ("test", "local"): make_illusory_contours(
            kinds=("outward",),
            support_ratios=(0.5,),
            tilts_deg=tested,
            n_places=half,
            seed=size.seed,
            **shared,
        ),
    }
    tables = []
    for (part, condition), stimuli in sets.items():
        ids = condition + "_" + stimuli.table["stimulus_id"]
        tables.append(
            stimuli.table.assign(stimulus_id=ids, part=part, condition=condition)
        )
    return show(
        pd.concat(tables, ignore_index=True),
        lambda row: kanizsa_display(
            {k: v for k, v in row.items() if k not in ("part", "condition")}
        ),
    )


def measure_fat_thin(
    observer: Observer, shown: Shown, size: BatterySize
) -> pd.DataFrame:
    """Choose the fat one of two illusory figures with a readout of real ones.

    Both figures have the same place and the same tilt to either side, so that a liking
    of the readout for one answer does not count.

    Parameters
    ----------
    observer : Observer
        Who looks.
    shown : Shown
        From `show_fat_thin`.
    size : BatterySize
        Seed.

    Returns
    -------
    DataFrame
        Conditions "illusory 0.25" and so on, by support ratio, and "local 0.5";
        `level` is the tilt in degrees.
    """
    table = shown.table
    train = (table["part"] == "train").to_numpy()
    fat = (table["tilt_deg"] > 0).to_numpy()
    found = embed(observer.model, shown.pictures, device=observer.device)
    tested = table[~train]
    ratio = tested["support_ratio"].map("{:g}".format)
    tested = tested.assign(
        condition=tested["condition"] + " " + ratio, level=tested["tilt_deg"].abs()
    )
    same = ["condition", "level", "place"]
    fats = tested[fat[~train]].sort_values(same)
    thins = tested[~fat[~train]].sort_values(same)
    parts = []
    for layer, features in found.items():
        readout = fit_linear_readout(
            features[train],
            fat[train],
            groups=table.loc[train, "place"],
            seed=size.seed,
        )
        logits = readout.logits(features)[:, 1]
        evidence = logits[fats.index] - logits[thins.index]
        columns = {
            "stimulus_id": fats["stimulus_id"].to_numpy(),
            "condition": fats["condition"].to_numpy(),
            "level": fats["level"].to_numpy(),
            **choice_columns(evidence, ("fat", "thin")),
        }
        parts.append(trials_of(observer, layer, "fat-thin", columns, size.seed))
    return pd.concat(parts, ignore_index=True)


def _pair_grid(n_rows: int, n_columns: int) -> tuple[int, int]:
    """Return a grid of at most so many patches to a side that divides the tokens."""
    return tuple(  # type: ignore[return-value]
        max(k for k in range(1, _MOST_PATCHES + 1) if n % k == 0)
        for n in (n_rows, n_columns)
    )


def _pooled(tokens: Any, grid: tuple[int, ...]) -> NDArray[np.float64]:
    rows, columns = grid
    x = np.asarray(tokens, np.float64)
    blocks = x.reshape(
        rows, x.shape[0] // rows, columns, x.shape[1] // columns, x.shape[2]
    )
    return np.asarray(blocks.mean(axis=(1, 3)))
