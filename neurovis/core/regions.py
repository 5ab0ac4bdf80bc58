"""Names of brain regions, and which units lie in them.

A family of regions, such as "floc-faces", is one column of the table of units. Its
cells hold the label of the region ("FFA-1"), "" where a unit of cortex has no label,
and NaN where the atlas does not reach.
"""

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_columns, suggest

REGION_UNIONS = MappingProxyType(
    {
        "V1": ("V1v", "V1d"),
        "V2": ("V2v", "V2d"),
        "V3": ("V3v", "V3d"),
        "FBA": ("FBA-1", "FBA-2"),
        "FFA": ("FFA-1", "FFA-2"),
        "VWFA": ("VWFA-1", "VWFA-2"),
    }
)
"""Regions that atlases store in parts."""


def region_labels(units: pd.DataFrame, families: Sequence[str]) -> dict[str, list[str]]:
    """Return the labels that occur, family by family.

    Parameters
    ----------
    units : DataFrame
        One row per unit, one column per family.
    families : sequence of str
        Columns that hold labels.

    Returns
    -------
    dict of str to list of str
        Labels in the order of their first unit; for a categorical column in the
        order of its categories.

    Raises
    ------
    ValueError
        If `units` lacks a family.
    """
    check_columns("units", units.columns, families)
    found = {}
    for family in families:
        column = units[family]
        if isinstance(column.dtype, pd.CategoricalDtype):
            there = set(column.dropna().unique())
            labels = [c for c in column.cat.categories if c in there]
        else:
            labels = list(column.dropna().unique())
        found[family] = [str(label) for label in labels if label != ""]
    return found


def find_region(
    units: pd.DataFrame, families: Sequence[str], region: str
) -> tuple[str, tuple[str, ...]]:
    """Return the family and the labels that a name of a region stands for.

    Parameters
    ----------
    units : DataFrame
        One row per unit, one column per family.
    families : sequence of str
        Columns that hold labels.
    region : str
        A label ("hV4"), a union of `REGION_UNIONS` ("V1"), a whole family
        ("floc-faces": any of its labels), or "family:label" where several families
        know the label.

    Returns
    -------
    family : str
        Column of `units`.
    labels : tuple of str
        Labels of the region that occur there.

    Raises
    ------
    KeyError
        If no family knows the name; the message suggests one.
    ValueError
        If several families know it.

    Examples
    --------
    >>> units = pd.DataFrame({"prf": ["V1v", "", "V1d", None]})
    >>> find_region(units, ["prf"], "V1")
    ('prf', ('V1v', 'V1d'))
    """
    known = region_labels(units, families)
    if region in known:
        return region, tuple(known[region])
    # Families and labels may have colons themselves.
    asked = {f: region[len(f) + 1 :] for f in known if region.startswith(f"{f}:")}
    found = {}
    for family, label in (asked or dict.fromkeys(known, region)).items():
        parts = (label, *REGION_UNIONS.get(label, ()))
        found[family] = tuple(x for x in known[family] if x in parts)
    holders = [f for f, labels in found.items() if labels]
    if not holders:
        raise KeyError(_unknown(region, known))
    if len(holders) > 1:
        choices = " or ".join(f"'{f}:{asked.get(f, region)}'" for f in holders)
        raise ValueError(
            f"Several families have a region {region!r}: say {choices} instead."
        )
    return holders[0], found[holders[0]]


def region_mask(
    units: pd.DataFrame, families: Sequence[str], region: str
) -> NDArray[np.bool_]:
    """Return which units lie in a region.

    Parameters
    ----------
    units : DataFrame
        One row per unit, one column per family.
    families : sequence of str
        Columns that hold labels.
    region : str
        See `find_region`.

    Returns
    -------
    ndarray of bool, shape (n_units,)
        True inside.

    Raises
    ------
    KeyError
        If no family knows the name; the message suggests one.
    ValueError
        If several families know it.

    Examples
    --------
    >>> units = pd.DataFrame({"prf": ["V1v", "", "V1d", None]})
    >>> region_mask(units, ["prf"], "V1").tolist()
    [True, False, True, False]
    """
    family, labels = find_region(units, families, region)
    return units[family].isin(labels).to_numpy(bool)


def _unknown(region: str, known: dict[str, list[str]]) -> str:
    names = [*known, *(label for labels in known.values() for label in labels)]
    unions = [u for u, parts in REGION_UNIONS.items() if set(parts) & set(names)]
    listed = ", ".join(names) if names else "none: these units have no labels"
    return (
        f"There is no region {region!r}.{suggest(region, names + unions)} Families and "
        f"labels here: {listed}."
    )
