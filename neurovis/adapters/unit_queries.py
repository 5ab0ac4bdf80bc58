"""Which learned query of a brain encoder drives which unit.

A query stands for a region of one hemisphere, for a hemisphere, or for a single unit.
A unit that lies in several regions is driven by the sum of their queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_array, check_option, check_whole
from neurovis.core.regions import region_labels, region_mask

KINDS = ("regions", "hemispheres", "units")
"""What a query can stand for."""

REST = "no region"
"""Name of the query of units that lie in none of the regions."""

PUBLISHED_REGIONS = (
    *("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    *("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    *("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    *("OPA", "PPA", "RSC"),
    *("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
)
"""Regions of NSD in the order of the published queries of each hemisphere."""


@dataclass(frozen=True, eq=False)
class UnitQueries:
    """Queries and the units that they drive.

    Parameters
    ----------
    names : tuple of str
        One per query, such as "lh FFA-1".
    n_units : int
        Number of units, >= 1.
    mask : ndarray of bool, shape (n_queries, n_units), optional
        Which queries drive which units; each unit by one or more. None: query i drives
        unit i alone.

    Raises
    ------
    ValueError
        If shapes do not fit, or a unit has no query.

    Examples
    --------
    >>> queries = UnitQueries(("V1", "FFA"), 3, [[1, 1, 0], [0, 1, 1]])
    >>> queries.per_unit.tolist(), queries.n_overlapping
    ([1, 2, 1], 1)
    """

    names: tuple[str, ...]
    n_units: int
    mask: Any = None

    def __post_init__(self) -> None:
        check_whole("n_units", self.n_units, low=1)
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        if self.mask is None:
            if len(self.names) != self.n_units:
                raise ValueError(
                    f"`names` has {len(self.names)} entries for {self.n_units} units: "
                    "without a `mask` every unit needs a query of its own."
                )
            return
        mask = np.asarray(self.mask)
        check_array("mask", mask, shape=(len(self.names), self.n_units))
        if not np.isin(mask, (0, 1)).all():
            raise ValueError("`mask` must hold True and False (or 1 and 0) only.")
        mask = mask.astype(np.bool_)
        mask.flags.writeable = False
        lost = np.flatnonzero(~mask.any(axis=0))
        if len(lost):
            raise ValueError(
                f"{len(lost)} units have no query (the first is unit {lost[0]}): every "
                "unit needs one. Add a query for the rest."
            )
        object.__setattr__(self, "mask", mask)

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return len(self.names)

    @cached_property
    def per_unit(self) -> NDArray[np.int64]:
        """Number of queries of each unit, shape (n_units,)."""
        if self.mask is None:
            return np.ones(self.n_units, np.int64)
        count: NDArray[np.int64] = self.mask.sum(axis=0, dtype=np.int64)
        return count

    @property
    def n_overlapping(self) -> int:
        """Number of units with several queries."""
        return int((self.per_unit > 1).sum())

    def patterns(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return the distinct sets of queries, and which of them each unit has.

        Returns
        -------
        sets : ndarray of bool, shape (n_patterns, n_queries)
            One row per set.
        pattern : ndarray of int64, shape (n_units,)
            Row of each unit.
        """
        if self.mask is None:
            one_each = np.eye(self.n_units, dtype=np.bool_)
            return one_each, np.arange(self.n_units)
        sets, pattern = np.unique(self.mask.T, axis=0, return_inverse=True)
        return sets, pattern.reshape(-1)

    def describe(self) -> str:
        """Tell how many queries there are, and how many units have several.

        Returns
        -------
        str
            One sentence.
        """
        text = f"{self.n_queries} queries drive {self.n_units} units"
        if self.n_overlapping:
            text += (
                f"; {self.n_overlapping} units lie in several regions, and read the "
                "sum of their tokens"
            )
        return text + "."


def make_queries(
    kind: str,
    units: pd.DataFrame,
    families: Sequence[str] = (),
    *,
    regions: Sequence[str] | str | None = None,
) -> UnitQueries:
    """Return queries for units.

    Parameters
    ----------
    kind : {"regions", "hemispheres", "units"}
        One query per region and hemisphere, per hemisphere, or per unit. Units without
        a column `hemisphere` count as one hemisphere.
    units : DataFrame
        One row per unit: `unit_id`, perhaps `hemisphere` ("lh", "rh"), and one column
        of labels per family.
    families : sequence of str
        These columns.
    regions : sequence of str or "published", optional
        Regions that get a query, as `neurovis.core.regions.region_mask` names them; by
        default all labels of all families. Units in none of them share a further query,
        "no region". Regions without units in a hemisphere get none there. "published"
        stands for those of `PUBLISHED_REGIONS` that occur.

    Returns
    -------
    UnitQueries
        Left hemisphere first.

    Raises
    ------
    ValueError, KeyError
        If `kind` is unknown, a hemisphere is neither "lh" nor "rh", or a region does
        not exist.

    Notes
    -----
    A unit in several regions is driven by each of them: the published encoder adds
    their predictions.

    References
    ----------
    Adeli, Sun & Kriegeskorte (2025), doi:10.48550/arXiv.2505.17329.

    Examples
    --------
    >>> units = pd.DataFrame({"unit_id": list("abc"), "prf": ["V1", "V2", ""]})
    >>> make_queries("regions", units, ["prf"]).names
    ('V1', 'V2', 'no region')
    """
    check_option("queries", kind, KINDS)
    n_units = check_whole("len(units)", len(units), low=1)
    if kind == "units":
        return UnitQueries(tuple(units["unit_id"].astype(str)), n_units)
    sides = _sides(units)
    if kind == "hemispheres":
        sides = sides if len(sides) > 1 or "" not in sides else {"all units": sides[""]}
        return UnitQueries(tuple(sides), n_units, np.stack([*sides.values()]))
    if regions is None:
        labels = region_labels(units, families)
        counts = pd.Series(
            [x for found in labels.values() for x in found]
        ).value_counts()
        masks = {
            f"{family}:{x}" if counts[x] > 1 else x: region_mask(
                units, families, f"{family}:{x}"
            )
            for family, found in labels.items()
            for x in found
        }
    else:
        if isinstance(regions, str):
            check_option("regions", regions, ("published",))
            there = {x for xs in region_labels(units, families).values() for x in xs}
            regions = [name for name in PUBLISHED_REGIONS if name in there]
        masks = {name: region_mask(units, families, name) for name in regions}
    rest = ~np.any([*masks.values(), np.zeros(n_units, np.bool_)], axis=0)
    masks = {**masks, REST: rest}
    names, rows = [], []
    for side, here in sides.items():
        for name, mask in masks.items():
            if (mask & here).any():
                names.append(f"{side} {name}".strip())
                rows.append(mask & here)
    return UnitQueries(tuple(names), n_units, np.stack(rows))


def queries_from_masks(masks: Mapping[str, ArrayLike]) -> UnitQueries:
    """Join masks of hemispheres, whose units come one hemisphere after the other.

    Parameters
    ----------
    masks : mapping of str to array-like, each of shape (n_regions, n_units)
        By hemisphere: which region holds which unit of it (0 or 1). A region without
        units keeps its query.

    Returns
    -------
    UnitQueries
        Units of the first hemisphere come first. A unit without a region gets the
        query "no region" of its hemisphere.

    Examples
    --------
    >>> queries_from_masks({"lh": [[1, 0]], "rh": [[1]]}).names
    ('lh 0', 'lh no region', 'rh 0')
    """
    arrays = {side: np.asarray(mask) for side, mask in masks.items()}
    n_units = sum(mask.shape[1] for mask in arrays.values())
    names, rows, start = [], [], 0
    for side, mask in arrays.items():
        stop = start + mask.shape[1]
        own = {f"{side} {i}": row for i, row in enumerate(mask)}
        rest = ~mask.astype(np.bool_).any(axis=0)
        if rest.any():
            own[f"{side} {REST}"] = rest
        for name, row in own.items():
            whole = np.zeros(n_units, mask.dtype)
            whole[start:stop] = row
            names.append(name)
            rows.append(whole)
        start = stop
    return UnitQueries(tuple(names), n_units, np.stack(rows))


def _sides(units: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    if "hemisphere" not in units:
        return {"": np.ones(len(units), np.bool_)}
    column = units["hemisphere"]
    for name in column.unique():
        check_option("hemisphere", name, HEMISPHERES)
    there = [side for side in HEMISPHERES if column.eq(side).any()]
    return {side: column.eq(side).to_numpy(np.bool_) for side in there}
