"""What people do, as directions that a model's numbers can be held against.

Published human results are often known as a direction ("grows with", "better than"),
or from other displays than ours. A row says what people do and who found it, what the
model's number is, and whether its interval lies on the same side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from neurovis.core.checks import check_option

COLUMNS = (
    *("model", "layer", "claim", "people", "source", "expected"),
    *("difference", "ci_low", "ci_high", "verdict", "untrained", "n"),
)
"""Of the table of directions."""

VERDICTS = ("holds", "reversed", "undecided")


@dataclass(frozen=True)
class Direction:
    """A result about people, as the sign of a number.

    Parameters
    ----------
    claim : str
        What is compared, in a few words, such as "illusory contour above control".
    people : str
        What people do, with the number where one is known.
    source : str
        Paper (authors, year, DOI), or the data set.
    expected : {1, -1}
        Sign of the number for somebody who does as people do.

    Raises
    ------
    ValueError
        If `expected` is another number or a text is empty.
    """

    claim: str
    people: str
    source: str
    expected: int = 1

    def __post_init__(self) -> None:
        check_option("expected", self.expected, (1, -1))
        for name in ("claim", "people", "source"):
            if not getattr(self, name).strip():
                raise ValueError(f"`{name}` of a direction is empty.")


def direction_row(
    direction: Direction,
    *,
    model: str,
    value: float,
    interval: Sequence[float] = (np.nan, np.nan),
    untrained: bool = False,
    layer: str = "",
    n: int = 0,
) -> dict[str, Any]:
    """Hold a number against what people do.

    Parameters
    ----------
    direction : Direction
        What people do.
    model : str
        Whose number it is.
    value : float
        The number: above 0 for "more", such as a difference or a slope.
    interval : pair of float
        95 % interval of the number; NaN where there is none.
    untrained : bool, default False
        Whether the model has random weights.
    layer : str, optional
        Where it was read.
    n : int, default 0
        Trials or stimuli behind the number.

    Returns
    -------
    dict
        The columns of `COLUMNS`. The verdict is "undecided" unless the interval leaves
        out 0: then "holds" or "reversed".

    Examples
    --------
    >>> grows = Direction("cost grows with angle", "1 to 4.4 s", "Shepard 1971")
    >>> direction_row(grows, model="m", value=2.0, interval=(1.0, 3.0))["verdict"]
    'holds'
    >>> direction_row(grows, model="m", value=2.0)["verdict"]
    'undecided'
    """
    low, high = (float(limit) for limit in interval)
    verdict = "undecided"
    if low > 0 or high < 0:
        verdict = "holds" if direction.expected * low > 0 else "reversed"
    return {
        "model": model,
        "layer": layer,
        **asdict(direction),
        "difference": float(value),
        "ci_low": low,
        "ci_high": high,
        "verdict": verdict,
        "untrained": bool(untrained),
        "n": int(n),
    }


def directions_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Put rows into a table.

    Parameters
    ----------
    rows : sequence of mapping
        From `direction_row`.

    Returns
    -------
    DataFrame
        The columns of `COLUMNS`, also without rows; what `analysis.plots_directions`
        draws.
    """
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def direction_lines(table: pd.DataFrame) -> list[str]:
    """Tell directions in words.

    Parameters
    ----------
    table : DataFrame
        From `directions_table`.

    Returns
    -------
    list of str
        One line per row: model, claim, verdict, number and interval.
    """
    lines = []
    for row in table.to_dict("records"):
        told = "untrained" in str(row["model"])
        mark = " (untrained)" if row["untrained"] and not told else ""
        limits = ""
        if np.isfinite(row["ci_low"]):
            limits = f" [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
        lines.append(
            f"{row['model']}{mark}: {row['claim']}: {row['verdict']}, "
            f"{row['difference']:.2f}{limits}"
        )
    return lines
