"""One number per unit, summarised by region."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_columns
from neurovis.core.regions import find_region, region_labels

TABLE_COLUMNS = (
    "family",
    "region",
    "hemisphere",
    "measure",
    "n_units",
    "n_defined",
    "median",
    "mean",
    "q25",
    "q75",
)
"""Columns of `region_table`."""


def region_table(
    values: Mapping[str, ArrayLike] | pd.DataFrame,
    units: pd.DataFrame,
    families: Sequence[str],
    *,
    regions: Sequence[str] | None = None,
    hemispheres: bool = False,
) -> pd.DataFrame:
    """Summarise measures of units by region.

    Parameters
    ----------
    values : mapping of str to array-like of float, shape (n_units,), or DataFrame
        Measures, such as "r" and "ncsnr", in the order of `units`; the index of a
        DataFrame does not matter.
    units : DataFrame
        One row per unit with the columns `families`.
    families : sequence of str
        Columns of `units` that hold labels, "" or NaN outside.
    regions : sequence of str, optional
        Names as `neurovis.core.regions.find_region` knows them ("V1", "floc-faces",
        "floc-faces:FFA-1"). By default every label of every family.
    hemispheres : bool, default False
        One row for each hemisphere instead of one for both.

    Returns
    -------
    DataFrame
        One row per region, hemisphere and measure, with the columns `TABLE_COLUMNS`:
        `hemisphere` is "both", "lh" or "rh"; `n_defined` counts finite values;
        `median`, `mean` and the quartiles `q25` and `q75` are over these, NaN without
        any. A unit counts in every region that holds it.

    Raises
    ------
    KeyError
        If a region is unknown.
    ValueError
        If a column is missing, a name is ambiguous, there are no measures, or one has
        not one number per unit.

    Notes
    -----
    The quartiles tell how much units differ. There is no interval of the median:
    neighbouring units share noise and signal, so that resampling them would pretend
    to more evidence than there is. Intervals come from subjects or images.

    Examples
    --------
    >>> units = pd.DataFrame({"prf": ["V1v", "V1d", "V1d", ""]})
    >>> table = region_table({"r": [0.1, 0.3, np.nan, 0.9]}, units, ["prf"])
    >>> table[["region", "n_units", "n_defined", "median"]].values.tolist()
    [['V1v', 1, 1, 0.1], ['V1d', 2, 1, 0.3]]
    """
    measures = {
        str(name): _one_per_unit(str(name), column, units)
        for name, column in values.items()
    }
    if not measures:
        raise ValueError("`values` is empty: at least one measure is needed.")
    named: list[tuple[str, str, tuple[str, ...]]] = []
    if regions is None:
        for family, known in region_labels(units, families).items():
            named += [(family, label, (label,)) for label in known]
    else:
        for name in regions:
            family, parts = find_region(units, families, name)
            named.append((family, name.rpartition(":")[2], parts))
    sides: dict[str, Any] = {"both": True}
    if hemispheres:
        check_columns("units", units.columns, ["hemisphere"])
        sides = {h: units["hemisphere"].eq(h).to_numpy(bool) for h in HEMISPHERES}
    rows = []
    for family, region, labels in named:
        inside = units[family].isin(labels).to_numpy(bool)
        for hemisphere, side in sides.items():
            chosen = inside & side
            for measure, numbers in measures.items():
                summary = _summary(numbers[chosen])
                rows.append((family, region, hemisphere, measure, *summary))
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))


def _one_per_unit(
    name: str, values: ArrayLike, units: pd.DataFrame
) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (len(units),):
        raise ValueError(
            f"`values[{name!r}]` has shape {numbers.shape}, but `units` has "
            f"{len(units)} rows: one number per unit is needed."
        )
    return numbers


def _summary(
    values: NDArray[np.float64],
) -> tuple[int, int, float, float, float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return len(values), 0, np.nan, np.nan, np.nan, np.nan
    low, middle, high = (float(q) for q in np.quantile(known, [0.25, 0.5, 0.75]))
    return len(values), len(known), middle, float(known.mean()), low, high
