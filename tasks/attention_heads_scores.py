"""Tables of attention heads: means over pictures, directions, random weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.head_importance import EFFECTS
from analysis.head_profiles import uniform_distance
from analysis.stats import percentile_interval
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS
from tasks.directions import Direction, direction_row

FloatArray = NDArray[np.float64]

TASK = "attention-heads"
LEAST_ENTROPY = 0.98
"""Share of log N that layers of random weights have at least, on average."""

MOST_OFF = 0.02
"""How far their mean distance may be from even attention, as a share of it."""

UNITS = {
    "distance_patches": "patches",
    "distance_px": "px",
    "entropy_nats": "nats",
    "gradient": "nats",
}
_UNITS_OF_EFFECTS = {"d_loss": "nats", "d_js": "bits"}

_RECALLED = "recalled, not checked against the paper"
GROWS = Direction(
    "attention distance grows with depth",
    "not people: supervised vision transformers",
    f"Dosovitskiy et al. 2021, arXiv:2010.11929 ({_RECALLED})",
)
MIXED = Direction(
    "heads differ more in distance in early than in deep layers",
    "not people: early layers mix local and global heads",
    f"Raghu et al. 2021, arXiv:2108.08810 ({_RECALLED})",
)
GLOBAL = Direction(
    "the most local heads are more global in deep than in early layers",
    "not people: deep layers are more global",
    f"Raghu et al. 2021, arXiv:2108.08810 ({_RECALLED})",
)
MASKED = Direction(
    "the most local deep heads are more local in the masked autoencoder",
    "not people: masked autoencoders keep local heads deeper",
    f"Park et al. 2023, arXiv:2305.00729 ({_RECALLED})",
)


@dataclass(frozen=True, eq=False)
class HeadMeasures:
    """What was measured on the heads of one network.

    Parameters
    ----------
    title : str
        Name of the network in tables.
    kind : {"network", "random", "masked"}
        The network itself, its architecture with random weights, or the masked
        autoencoder beside it.
    untrained : bool
        Whether its weights are random.
    heads : DataFrame
        One row per head: `layer`, `depth` (0-based layer), `head` (0-based).
    grid : tuple of int
        Rows and columns of patches.
    by_measure : dict of str to ndarray of float64, shape (n_pictures, n_all_heads)
        By name of the measure.
    rings : ndarray of float64, shape (n_pictures, n_all_heads, n_rings)
        Strength by ring.
    """

    title: str
    kind: str
    untrained: bool
    heads: pd.DataFrame
    grid: tuple[int, int]
    by_measure: dict[str, FloatArray]
    rings: FloatArray


def picture_means(
    values: FloatArray, n_bootstrap: int, seed: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return means over pictures with bootstrap intervals.

    Parameters
    ----------
    values : ndarray of float64, shape (n_pictures, n)
        One column per number.
    n_bootstrap : int
        Bootstrap samples of pictures, the same for all columns.
    seed : int
        Seed.

    Returns
    -------
    mean, low, high : ndarray of float64, shape (n,)
        95 % intervals; NaN with fewer than two pictures, and where a value is NaN.
    """
    n = len(values)
    mean = values.mean(axis=0)
    if n < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    rng = generator(seed, "pictures of heads")
    shares = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap) / n
    low, high = percentile_interval((shares @ values).T)
    return mean, np.atleast_1d(low), np.atleast_1d(high)


def head_table(measures: HeadMeasures, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Return one row per head, with the interval of every measure.

    Parameters
    ----------
    measures : HeadMeasures
        Of one network.
    n_bootstrap : int
        Bootstrap samples of pictures.
    seed : int
        Seed.

    Returns
    -------
    DataFrame
        `model`, `kind`, `untrained`, `layer`, `depth`, `head`; by measure NAME
        (mean over pictures), NAME_low and NAME_high; `distance_uniform` (of even
        attention, patches).
    """
    table = measures.heads.assign(
        model=measures.title,
        kind=measures.kind,
        untrained=measures.untrained,
        distance_uniform=uniform_distance(measures.grid),
    )
    columns: dict[str, FloatArray] = {}
    for name, values in measures.by_measure.items():
        mean, low, high = picture_means(values, n_bootstrap, seed)
        columns |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    first = ["model", "kind", "untrained", "layer", "depth", "head", "distance_uniform"]
    return pd.concat([table[first], pd.DataFrame(columns)], axis=1)


def ring_table(measures: HeadMeasures, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Return the strength of every head by ring.

    Parameters
    ----------
    measures : HeadMeasures
        Of one network.
    n_bootstrap : int
        Bootstrap samples of pictures.
    seed : int
        Seed.

    Returns
    -------
    DataFrame
        `model`, `kind`, `untrained`, `layer`, `depth`, `head`, `ring`, `value`,
        `ci_low`, `ci_high`.
    """
    n_pictures, n_heads, n_rings = measures.rings.shape
    flat = measures.rings.reshape(n_pictures, -1)
    mean, low, high = picture_means(flat, n_bootstrap, seed)
    table = measures.heads.loc[measures.heads.index.repeat(n_rings)]
    return table.reset_index(drop=True).assign(
        model=measures.title,
        kind=measures.kind,
        untrained=measures.untrained,
        ring=np.tile(np.arange(n_rings), n_heads),
        value=mean,
        ci_low=low,
        ci_high=high,
    )


def score_rows(
    heads: pd.DataFrame, names: Sequence[str], *, n: int, stimuli: str, seed: int
) -> pd.DataFrame:
    """Return the table of heads in the form of all scores.

    Parameters
    ----------
    heads : DataFrame
        From `head_table`.
    names : sequence of str
        Measures.
    n : int
        Pictures.
    stimuli : str
        Name and mark of the pictures.
    seed : int
        Seed of the run.

    Returns
    -------
    DataFrame
        `SCORE_COLUMNS`, then `kind`, `untrained` and `head`; `condition` is "head 0"
        and so on.
    """
    parts = []
    for name in names:
        effect = name.removesuffix("_alone")
        part = heads[["model", "kind", "untrained", "layer", "head"]].assign(
            metric=name,
            value=heads[name],
            ci_low=heads[f"{name}_low"],
            ci_high=heads[f"{name}_high"],
            unit=UNITS.get(name, _UNITS_OF_EFFECTS.get(effect, "")),
        )
        parts.append(part[part["value"].notna()])
    table = pd.concat(parts, ignore_index=True)
    table = table.assign(
        subject=table["model"],
        stimuli=stimuli,
        task=TASK,
        region="",
        condition="head " + table["head"].astype(str),
        n=n,
        ceiling_low=np.nan,
        ceiling_high=np.nan,
        value_over_ceiling=np.nan,
        seed=seed,
        ceiling_kind="",
    )
    return table[[*SCORE_COLUMNS, "kind", "untrained", "head"]]


def effect_names() -> list[str]:
    """Return the measures of importance, for heads left out and left alone.

    Returns
    -------
    list of str
        Such as "d_js" and "d_js_alone".
    """
    return [*EFFECTS, *(f"{name}_alone" for name in EFFECTS)]


def random_checks(heads: pd.DataFrame) -> pd.DataFrame:
    """Hold networks with random weights against even attention, layer by layer.

    Parameters
    ----------
    heads : DataFrame
        From `head_table`, of any networks.

    Returns
    -------
    DataFrame
        Of those without training: `model`, `layer`, `entropy_share` and
        `distance_ratio` (to the distance of even attention), means over heads and
        pictures; `distance_ratio_low` and `distance_ratio_high` (of the heads); `holds`
        (bool): mean entropy above `LEAST_ENTROPY`, mean distance within `MOST_OFF`.
    """
    rows = []
    untrained = heads[heads["untrained"]]
    for (model, layer), part in untrained.groupby(["model", "layer"], sort=False):
        ratio = part["distance_patches"] / part["distance_uniform"]
        entropy, middle = float(part["entropy_share"].mean()), float(ratio.mean())
        rows.append(
            {
                "model": model,
                "layer": layer,
                "entropy_share": entropy,
                "distance_ratio": middle,
                "distance_ratio_low": float(ratio.min()),
                "distance_ratio_high": float(ratio.max()),
                "holds": entropy > LEAST_ENTROPY and abs(middle - 1) <= MOST_OFF,
            }
        )
    columns = ["model", "layer", "entropy_share", "distance_ratio"]
    columns += ["distance_ratio_low", "distance_ratio_high", "holds"]
    return pd.DataFrame(rows, columns=columns)


def head_directions(
    networks: Sequence[HeadMeasures], n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    """Hold the reach of heads against what was published about networks.

    Parameters
    ----------
    networks : sequence of HeadMeasures
        The network, then others beside it.
    n_bootstrap : int
        Bootstrap samples of pictures.
    seed : int
        Seed.

    Returns
    -------
    list of dict
        Rows of `tasks.directions.directions_table`. Numbers are in per cent of the
        distance of even attention: the slope over relative depth (0 first layer, 1
        last), and differences of the first and the last third of the layers. Networks
        of fewer than two layers have none.
    """
    rows = []
    deep_locals: dict[str, FloatArray] = {}
    for one in networks:
        mean, spread, least = _by_layer(one)
        n_layers = mean.shape[1]
        if n_layers < 2:
            continue
        third = max(1, n_layers // 3)
        depth = np.linspace(-0.5, 0.5, n_layers)
        numbers = (
            (GROWS, mean @ depth / (depth @ depth)),
            (MIXED, _third(spread, 0, third) - _third(spread, -third, None)),
            (GLOBAL, _third(least, -third, None) - _third(least, 0, third)),
        )
        deep_locals[one.kind] = _third(least, -third, None)
        for direction, values in numbers:
            rows.append(_row(direction, one, values, n_bootstrap, seed))
    if "network" in deep_locals and "masked" in deep_locals:
        gap = deep_locals["network"] - deep_locals["masked"]
        rows.append(_row(MASKED, networks[0], gap, n_bootstrap, seed))
    return rows


def _by_layer(one: HeadMeasures) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean, standard deviation and least distance, (n_pictures, n_layers)."""
    share = 100 * one.by_measure["distance_patches"] / uniform_distance(one.grid)
    depth = one.heads["depth"].to_numpy()
    parts = [share[:, depth == layer] for layer in np.unique(depth)]
    return (
        np.stack([part.mean(axis=1) for part in parts], axis=1),
        np.stack([part.std(axis=1) for part in parts], axis=1),
        np.stack([part.min(axis=1) for part in parts], axis=1),
    )


def _third(values: FloatArray, start: int, stop: int | None) -> FloatArray:
    found: FloatArray = values[:, start:stop].mean(axis=1)
    return found


def _row(
    direction: Direction,
    one: HeadMeasures,
    values: FloatArray,
    n_bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    mean, low, high = picture_means(values[:, None], n_bootstrap, seed)
    return direction_row(
        direction,
        model=one.title,
        value=float(mean[0]),
        interval=(float(low[0]), float(high[0])),
        untrained=one.untrained,
        n=len(values),
    )
