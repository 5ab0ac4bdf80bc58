"""What a localiser finds in the responses of one model: units, regions, scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.metrics import unit_blocks
from analysis.multiple_tests import fdr_adjusted, permutation_p
from analysis.selectivity import EXCLUDED, Selectivity, category_selectivity
from analysis.selectivity_maps import selectivity_agreement, selectivity_reliability
from analysis.stats import percentile_interval
from neurovis.core.checks import check_option
from neurovis.core.rng import generator
from tasks.encoding_scores import ALPHA_FDR, WHOLE

FloatArray = NDArray[np.float64]

DOMAIN, CATEGORY = "domain", "category"
"""Levels of comparison: domains join categories."""

STRENGTH = "abs_d_prime_mean"
"""Mean size of d' over units, the measure that is compared with chance."""

RELIABILITY = ("split_half_r", "split_half_spearman_brown", "split_half_top_d_prime")
"""Measures of two halves of the pictures."""

_NAMES = ("level", "category")
_PLACES = ("family", "region")


@dataclass(frozen=True, eq=False)
class Level:
    """One way of grouping the pictures.

    Parameters
    ----------
    name : str
        `DOMAIN` or `CATEGORY`.
    labels : ndarray of object, shape (n_pictures,)
        Group of each picture.
    tested : tuple of str
        Groups that are compared with all others.
    """

    name: str
    labels: NDArray[np.object_]
    tested: tuple[str, ...]

    def selectivity(self, responses: Any) -> Selectivity:
        """Compare each tested group with all others.

        Parameters
        ----------
        responses : array-like of float, shape (n_pictures, n_units)
            One row per picture.

        Returns
        -------
        Selectivity
            See `analysis.selectivity.category_selectivity`.
        """
        return category_selectivity(
            responses, self.labels, contrast=self.tested, exclude=()
        )


@dataclass(frozen=True)
class LocaliserSettings:
    """How selectivity is tested.

    Parameters
    ----------
    split_half : bool
        Compute the reliability of two halves of the pictures.
    n_permutations, n_bootstrap : int
        Draws for chance, and for limits.
    seed : int
        Seed of both.
    """

    split_half: bool = True
    n_permutations: int = 200
    n_bootstrap: int = 1000
    seed: int = 0


def kept_pictures(table: pd.DataFrame, exclude: Sequence[str]) -> NDArray[np.intp]:
    """Return the rows of pictures that are not excluded.

    Parameters
    ----------
    table : DataFrame
        `category` and `domain` of each picture.
    exclude : sequence of str
        Domains and categories. Those that are left out by default need not occur.

    Returns
    -------
    ndarray of int
        0-based rows.

    Raises
    ------
    ValueError
        If a name is unknown, or nothing is left.
    """
    names = [*dict.fromkeys([*table[DOMAIN], *table[CATEGORY]])]
    for name in exclude:
        if name not in EXCLUDED:
            check_option("exclude", name, names)
    out = table[DOMAIN].isin(exclude) | table[CATEGORY].isin(exclude)
    if out.all():
        raise ValueError(f"`exclude` leaves no picture: {list(exclude)}.")
    return np.flatnonzero(~out)


def make_levels(
    table: pd.DataFrame, contrast: str | Sequence[str] | None = None
) -> list[Level]:
    """Return how pictures are grouped, and which groups are tested.

    Parameters
    ----------
    table : DataFrame
        `category` and `domain` of each picture.
    contrast : str or sequence of str, optional
        Domains and categories to test; all by default. A name of both is tested as
        both.

    Returns
    -------
    list of Level
        Domains, then categories; not both where they are the same pictures.

    Raises
    ------
    ValueError
        If a name is unknown, or there is nothing to compare with.

    Examples
    --------
    >>> domains, categories = ["face", "face", "place"], ["adult", "child", "house"]
    >>> table = pd.DataFrame({"domain": domains, "category": categories})
    >>> [(level.name, level.tested) for level in make_levels(table, "child")]
    [('category', ('child',))]
    """
    groups = {name: list(dict.fromkeys(table[name])) for name in (DOMAIN, CATEGORY)}
    if len(groups[CATEGORY]) < 2:
        raise ValueError(
            f"The pictures have one category, {groups[CATEGORY][0]!r}: there is "
            "nothing to compare it with. Give pictures of others."
        )
    useful = [n for n in groups if len(groups[n]) > 1]
    if len(groups[DOMAIN]) == len(groups[CATEGORY]):
        useful = [DOMAIN]
    wanted = [contrast] if isinstance(contrast, str) else contrast
    known = list(dict.fromkeys(g for name in useful for g in groups[name]))
    for name in wanted or ():
        check_option("contrast", name, known)
    if wanted is not None and not wanted:
        raise ValueError(f"`contrast` is empty: name some of {', '.join(known)}.")
    found = []
    for level in useful:
        tested = groups[level]
        if wanted is not None:
            tested = [group for group in tested if group in wanted]
        if tested:
            labels = table[level].to_numpy(object)
            found.append(Level(level, labels, tuple(tested)))
    return found


def split_pictures(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Split pictures into halves: those of each category alternate.

    Parameters
    ----------
    table : DataFrame
        `category` of each picture.

    Returns
    -------
    ndarray of bool, shape (n_pictures,)
        True for the first half, in which the first picture of each category is.

    Raises
    ------
    ValueError
        If a category has fewer than four pictures.
    """
    counts = table[CATEGORY].value_counts()
    if counts.min() < 4:
        raise ValueError(
            f"The category {counts.idxmin()!r} has {counts.min()} pictures, and two "
            "halves need four. Give more, or ask for no halves: split_half=False, or "
            "--no-split-half."
        )
    place = table.groupby(CATEGORY).cumcount().to_numpy()
    return np.asarray(place % 2 == 0, bool)


def localise(
    responses: NDArray[np.floating[Any]],
    units: pd.DataFrame,
    families: Sequence[str],
    levels: Sequence[Level],
    halves: NDArray[np.bool_] | None,
    settings: LocaliserSettings,
) -> dict[str, pd.DataFrame]:
    """Compute selectivity, preferences, reliability and agreement with regions.

    Parameters
    ----------
    responses : ndarray of float, shape (n_pictures, n_units)
        Responses of a model; NaN for units that it does not have.
    units : DataFrame
        One row per unit, with `unit_id` and `families`.
    families : sequence of str
        Columns with regions.
    levels : sequence of Level
        Groups of pictures.
    halves : ndarray of bool, shape (n_pictures,), optional
        First half of the pictures.
    settings : LocaliserSettings
        How to test.

    Returns
    -------
    dict of str to DataFrame
        "units": one row per unit, level and category. "regions": one row per region,
        level and category. "scores": one row per number, with `metric`.
    """
    found: dict[str, list[pd.DataFrame]] = {"units": [], "regions": [], "scores": []}
    for level in levels:
        selectivity = level.selectivity(responses)
        per_unit = _unit_rows(selectivity, units, families).assign(level=level.name)
        per_region = _region_rows(selectivity, units, families, settings)
        per_region = per_region.assign(level=level.name)
        found["units"].append(per_unit)
        found["regions"].append(per_region)
        found["scores"].append(_region_scores(per_region))
        strength = _strength(responses, level, selectivity, settings)
        found["scores"].append(strength.assign(level=level.name))
        if halves is not None:
            table = selectivity_reliability(
                responses,
                level.labels,
                halves=halves,
                contrast=level.tested,
                exclude=(),
            )
            found["scores"].append(_reliability(table).assign(level=level.name))
    tables = {
        name: pd.concat(parts, ignore_index=True) for name, parts in found.items()
    }
    first = {
        "units": ["unit_id", *families, *_NAMES],
        "regions": [*_PLACES, *_NAMES],
        "scores": ["metric", *_PLACES, *_NAMES, "value"],
    }
    return {
        name: table[[*first[name], *(c for c in table if c not in first[name])]]
        for name, table in tables.items()
    }


def _unit_rows(
    selectivity: Selectivity, units: pd.DataFrame, families: Sequence[str]
) -> pd.DataFrame:
    """Return one row per unit and category."""
    table = selectivity.table()
    adjusted = np.stack([fdr_adjusted(p) for p in selectivity.p_value.T], axis=1)
    preferred = np.full(len(units), "", object)
    if len(selectivity.categories) > 1:
        preferred = selectivity.preferred()["category"].fillna("").to_numpy(object)
    known = units[["unit_id", *families]].iloc[table["unit"]].reset_index(drop=True)
    return pd.concat([known, table.drop(columns="unit")], axis=1).assign(
        p_fdr=adjusted.ravel(), preferred=np.repeat(preferred, adjusted.shape[1])
    )


def _region_rows(
    selectivity: Selectivity,
    units: pd.DataFrame,
    families: Sequence[str],
    settings: LocaliserSettings,
) -> pd.DataFrame:
    """Return one row per region and category, all units first."""
    d, names = selectivity.d_prime, selectivity.categories
    everything = selectivity_agreement(selectivity, [WHOLE] * len(d))
    parts = [everything.assign(family="")]
    masks = {("", WHOLE): np.ones(len(d), bool)}
    for family in families:
        named = units[family].astype(object)
        labels = named.where(named.notna(), "").to_numpy(object)
        if not (labels != "").any():
            continue
        own = selectivity_agreement(selectivity, labels)
        parts.append(own.assign(family=family))
        masks |= {(family, r): labels == r for r in own["region"].unique()}
    table = pd.concat(parts, ignore_index=True)
    selective = np.stack([fdr_adjusted(p) for p in selectivity.p_value.T], axis=1)
    selective = np.where(np.isnan(d), np.nan, (selective < ALPHA_FDR) & (d > 0))
    shares = np.full(d.shape, np.nan)
    if len(names) > 1:
        chosen = selectivity.preferred()["category"].to_numpy(object)
        known = ~np.isnan(d).any(axis=1)
        shares[known] = chosen[known, None] == np.array(names, object)
    columns: dict[str, list[float]] = {
        name: [] for name in ("ci_low", "ci_high", "share_preferred", "share_selective")
    }
    for (family, region), mask in masks.items():
        rng = generator(settings.seed, "localiser: units", str(family), str(region))
        low, high = _mean_limits(d[mask], settings.n_bootstrap, rng)
        columns["ci_low"] += low.tolist()
        columns["ci_high"] += high.tolist()
        columns["share_preferred"] += _means(shares[mask]).tolist()
        columns["share_selective"] += _means(selective[mask]).tolist()
    return table.assign(**columns)


def _means(values: FloatArray) -> FloatArray:
    """Return means of columns over what is defined; NaN for nothing."""
    known = ~np.isnan(values)
    n = known.sum(axis=0)
    total = np.where(known, values, 0).sum(axis=0)
    return np.asarray(total / np.where(n > 0, n, np.nan), np.float64)


def _mean_limits(
    values: FloatArray, n_draws: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return 95 % limits of means of columns, over units drawn with replacement."""
    known = (~np.isnan(values)).astype(np.float64)
    filled, n = np.where(known > 0, values, 0), len(values)
    if n < 2:  # one unit tells nothing of others
        nothing = np.full(values.shape[1], np.nan)
        return nothing, nothing
    draws = np.empty((n_draws, values.shape[1]))
    for number in range(n_draws):
        weights = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
        count = weights @ known
        draws[number] = weights @ filled / np.where(count > 0, count, np.nan)
    return percentile_interval(draws.T)


def _region_scores(regions: pd.DataFrame) -> pd.DataFrame:
    """Return the measures of regions as scores."""
    keys = [*_PLACES, *_NAMES, "n_units", "n_defined"]
    metrics = {
        "d_prime_mean": ("d_prime", "d'"),
        "auc": ("auc", "AUC"),
        "share_preferred": ("share_preferred", "share of units"),
        "share_selective": ("share_selective", "share of units"),
    }
    parts = []
    for metric, (column, unit) in metrics.items():
        rows = regions if metric != "auc" else regions[regions["region"] != WHOLE]
        part = rows[keys].assign(metric=metric, value=rows[column], unit=unit)
        if metric == "d_prime_mean":
            part = part.assign(ci_low=rows["ci_low"], ci_high=rows["ci_high"])
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _strength(
    responses: NDArray[np.floating[Any]],
    level: Level,
    selectivity: Selectivity,
    settings: LocaliserSettings,
) -> pd.DataFrame:
    """Return how large d' is over all units, beside permuted pictures."""
    size = abs(selectivity.d_prime)
    observed = _means(size)
    rng = generator(settings.seed, "localiser: limits of all units", level.name)
    low, high = _mean_limits(size, settings.n_bootstrap, rng)
    rng = generator(settings.seed, "localiser: permuted pictures", level.name)
    known = ~np.isnan(size).any(axis=1)
    null = permuted_strength(
        responses[:, known], level.labels, level.tested, settings.n_permutations, rng
    )
    drawn = null[1:]
    nothing = np.full(len(observed), np.nan)
    limits = percentile_interval(drawn.T) if len(drawn) else (nothing, nothing)
    p = permutation_p(null[0], null, alternative="greater") if len(drawn) else nothing
    return pd.DataFrame(
        {
            "metric": STRENGTH,
            "family": "",
            "region": WHOLE,
            "category": list(level.tested),
            "value": observed,
            "ci_low": low,
            "ci_high": high,
            "chance_mean": _means(drawn) if len(drawn) else nothing,
            "chance_low": limits[0],
            "chance_high": limits[1],
            "p_value": p,
            "n_units": len(size),
            "n_defined": (~np.isnan(size)).sum(axis=0),
            "unit": "d'",
        }
    )


def permuted_strength(
    responses: NDArray[np.floating[Any]],
    labels: NDArray[np.object_],
    tested: Sequence[str],
    n_permutations: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Compute the mean size of d' over units, with the pictures' labels permuted.

    Parameters
    ----------
    responses : ndarray of float, shape (n_pictures, n_units)
        Of units that vary; all finite.
    labels : ndarray of object, shape (n_pictures,)
        Group of each picture.
    tested : sequence of str
        Groups, each compared with all others.
    n_permutations : int
        Permutations.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of float64, shape (1 + n_permutations, n_tested)
        The first row is that of the labels as they are. NaN without units.
    """
    n, n_units = responses.shape
    own = np.stack([labels == name for name in tested]).astype(np.float64)
    orders = [np.arange(n), *(rng.permutation(n) for _ in range(n_permutations))]
    members = np.stack([own[:, order] for order in orders])
    shape = members.shape[:2]
    if not n_units:
        return np.full(shape, np.nan)
    n_in = own.sum(axis=1)[None, :, None]
    n_out = n - n_in
    flat = members.reshape(-1, n)
    total = np.zeros(shape)
    for block in unit_blocks(n + 8 * len(flat), n_units):
        # Standardised, so that squares lose nothing to a large mean.
        x = np.asarray(responses[:, block], np.float64)
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        sums = (flat @ x).reshape(*shape, -1)
        squares = (flat @ x**2).reshape(*shape, -1)
        rest = x.sum(axis=0) - sums
        variance = (squares - sums**2 / n_in) / (n_in - 1)
        others = (x**2).sum(axis=0) - squares
        variance_out = (others - rest**2 / n_out) / (n_out - 1)
        spread = np.sqrt(np.maximum(variance + variance_out, 0) / 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            total += abs((sums / n_in - rest / n_out) / spread).sum(axis=2)
    mean: FloatArray = total / n_units
    return mean


def _reliability(table: pd.DataFrame) -> pd.DataFrame:
    """Return the measures of two halves as scores."""
    columns: Mapping[str, tuple[str, str]] = dict(
        zip(
            RELIABILITY,
            (("r", "r"), ("spearman_brown", "r"), ("top_d_prime", "d'")),
            strict=True,
        )
    )
    parts = [
        pd.DataFrame(
            {
                "metric": metric,
                "family": "",
                "region": WHOLE,
                "category": table["category"],
                "value": table[column],
                "n_units": table["n_units" if column != "top_d_prime" else "n_top"],
                "n_defined": table["n_units" if column != "top_d_prime" else "n_top"],
                "unit": unit,
            }
        )
        for metric, (column, unit) in columns.items()
    ]
    return pd.concat(parts, ignore_index=True)
