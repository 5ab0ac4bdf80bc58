"""Progress on the terminal; logs go through `logging`, set up by the caller."""

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

from neurovis.core.checks import check_option


def progress(
    work: Iterable[Any] | int, description: str, *, unit: str = "it"
) -> "tqdm[Any]":
    """Return a progress bar on standard error with rate and remaining time.

    The bar shows when standard error is a terminal. The environment variable
    ``NEUROVIS_PROGRESS`` decides otherwise: 0 never, 1 always.

    Parameters
    ----------
    work : iterable or int
        What to iterate over, or how many units there will be; with a number call
        ``update(n)``, best inside a ``with`` block.
    description : str
        One word or two.
    unit : str, default "it"
        What is counted; "B" is shown in kilobytes, megabytes and so on.

    Returns
    -------
    tqdm
        Iterates as `work` does.

    Raises
    ------
    ValueError
        If ``NEUROVIS_PROGRESS`` is neither 0 nor 1.

    Examples
    --------
    >>> [2 * i for i in progress([1, 2], "doubling")]
    [2, 4]
    """
    wish = os.environ.get("NEUROVIS_PROGRESS", "")
    check_option("NEUROVIS_PROGRESS", wish, ("", "0", "1"))
    shown = wish == "1" or (wish == "" and sys.stderr.isatty())
    is_total = isinstance(work, int)
    return tqdm(
        None if is_total else work,
        total=work if is_total else None,
        desc=description,
        unit=unit,
        unit_scale=unit == "B",
        disable=not shown,
        file=sys.stderr,
    )
