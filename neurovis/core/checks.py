"""Argument checks: what was expected, what came, what to do."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def suggest(value: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest allowed name, or ``""``.

    Parameters
    ----------
    value : str
        What the user wrote.
    allowed : iterable of str
        Names that would have been accepted.

    Returns
    -------
    str
        A sentence that starts with a space, or an empty string.

    Examples
    --------
    >>> suggest("ecnet", ["eccnet", "ivsn"])
    " Did you mean 'eccnet'?"
    >>> suggest("ffa-3", ["FFA-1", "PPA"])
    " Did you mean 'FFA-1'?"
    """
    names = {name.lower(): name for name in allowed}
    near = get_close_matches(str(value).lower(), list(names), n=1, cutoff=0.5)
    return f" Did you mean {names[near[0]]!r}?" if near else ""


def check_option(name: str, value: Any, allowed: Collection[Any]) -> Any:
    """Return `value` if it is one of `allowed`.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : object
        What came.
    allowed : collection
        What is accepted.

    Returns
    -------
    object
        `value`, unchanged.

    Raises
    ------
    ValueError
        If `value` is not in `allowed`.

    Examples
    --------
    >>> check_option("rendering", "published", ("published", "smooth"))
    'published'
    """
    if value in allowed:
        return value
    words = ", ".join(repr(a) for a in allowed)
    hint = suggest(value, [a for a in allowed if isinstance(a, str)])
    raise ValueError(f"`{name}` must be one of {words}; got {value!r}.{hint}")


def check_between(
    name: str, value: float, low: float | None = None, high: float | None = None
) -> float:
    """Return `value` if it is finite and inside ``[low, high]``.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : float
        What came.
    low, high : float, optional
        Inclusive bounds.

    Returns
    -------
    float
        `value`, unchanged.

    Raises
    ------
    TypeError
        If `value` is not a number.
    ValueError
        If `value` is not finite or out of bounds.

    Examples
    --------
    >>> check_between("trials", 3, low=1)
    3
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"`{name}` must be a number; got {type(value).__name__}.")
    too_low = low is not None and value < low
    too_high = high is not None and value > high
    if not np.isfinite(value) or too_low or too_high:
        bounds = (
            f"[{'-inf' if low is None else low}, {'inf' if high is None else high}]"
        )
        raise ValueError(f"`{name}` must be within {bounds}; got {value!r}.")
    return value


def check_whole(
    name: str, value: Any, *, low: int | None = None, high: int | None = None
) -> int:
    """Return `value` as int if it is a whole number inside ``[low, high]``.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : object
        What came.
    low, high : int, optional
        Inclusive bounds.

    Returns
    -------
    int
        The number.

    Raises
    ------
    TypeError, ValueError
        If it is not a whole number or out of bounds.

    Examples
    --------
    >>> check_whole("trials", 3.0, low=1)
    3
    """
    check_between(name, value, low=low, high=high)
    if int(value) != value:
        raise ValueError(f"`{name}` must be a whole number; got {value!r}.")
    return int(value)


def check_array(
    name: str,
    value: Any,
    *,
    shape: tuple[int | None, ...] | None = None,
    dtype: type | None = None,
    finite: bool = False,
) -> NDArray[Any]:
    """Return `value` as an array of the expected shape and kind.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : array-like
        What came.
    shape : tuple of (int or None), optional
        Expected shape; None matches any length.
    dtype : type, optional
        Exact NumPy dtype that is required (no silent cast).
    finite : bool, default False
        Refuse NaN and infinities.

    Returns
    -------
    ndarray
        `value` as an array.

    Raises
    ------
    TypeError
        If the dtype differs.
    ValueError
        If the shape differs or a value is not finite.

    Examples
    --------
    >>> check_array("image", np.zeros((2, 2, 3)), shape=(None, None, 3)).shape
    (2, 2, 3)
    """
    array = np.asarray(value)
    if shape is not None:
        right = array.ndim == len(shape) and all(
            want is None or want == got
            for want, got in zip(shape, array.shape, strict=True)
        )
        if not right:
            want = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
            raise ValueError(f"`{name}` must have shape {want}; got {array.shape}.")
    if dtype is not None and array.dtype != np.dtype(dtype):
        raise TypeError(
            f"`{name}` must have dtype {np.dtype(dtype)}; got {array.dtype}."
        )
    if finite and not np.isfinite(array).all():
        n_bad = int((~np.isfinite(array)).sum())
        raise ValueError(f"`{name}` has {n_bad} values that are not finite.")
    return array


def check_image(name: str, value: Any) -> NDArray[np.uint8]:
    """Return `value` if it is a picture: uint8 of shape (H, W, 3), not empty.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : ndarray
        What came.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        `value`, unchanged.

    Raises
    ------
    TypeError, ValueError
        If dtype or shape differ.

    Examples
    --------
    >>> check_image("image", np.zeros((4, 5, 3), np.uint8)).shape
    (4, 5, 3)
    """
    array = check_array(name, value, shape=(None, None, 3), dtype=np.uint8)
    if array.size == 0:
        raise ValueError(f"`{name}` is empty: shape {array.shape}.")
    return array


def check_columns(name: str, columns: Iterable[str], needed: Iterable[str]) -> None:
    """Raise unless a table has all `needed` columns.

    Parameters
    ----------
    name : str
        Argument name for the message.
    columns : iterable of str
        Columns that the table has.
    needed : iterable of str
        Columns that it must have.

    Raises
    ------
    ValueError
        If a column is missing; a near name is suggested.

    Examples
    --------
    >>> check_columns("trials", ["subject", "rt_ms"], ["rt_ms"])
    """
    have = [str(c) for c in columns]
    missing = [c for c in needed if c not in have]
    if missing:
        hint = suggest(missing[0], have)
        raise ValueError(f"`{name}` lacks the columns {missing}; it has {have}.{hint}")


def check_path(name: str, value: str | Path, *, kind: str = "file") -> Path:
    """Return `value` as an existing path.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : str or Path
        What came.
    kind : {"file", "folder"}
        What it must be.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    FileNotFoundError
        If nothing is there, or something of the other kind.

    Examples
    --------
    >>> check_path("here", ".", kind="folder")
    PosixPath('.')
    """
    path = Path(value)
    if path.is_file() if kind == "file" else path.is_dir():
        return path
    found = "nothing" if not path.exists() else "something else"
    raise FileNotFoundError(f"`{name}` must be an existing {kind}; {path} is {found}.")
