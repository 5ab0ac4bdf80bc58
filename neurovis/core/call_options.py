"""Arguments of functions that come as text or from a file: their names and kinds."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from neurovis.core.checks import check_option


def read_value(text: str) -> Any:
    """Read a value from the command line as TOML, or as plain text.

    Parameters
    ----------
    text : str
        Such as "3", "0.5", "true", "[1, 2]", "1,2" (a list) or "mixed".

    Returns
    -------
    int, float, bool, str or list
        The value; what is no TOML is text, and text with commas a list.

    Examples
    --------
    >>> read_value("0.5"), read_value("4,8"), read_value("mixed"), read_value("a,b")
    (0.5, [4, 8], 'mixed', ['a', 'b'])
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    if "," in text and "[" not in text:
        return [read_value(part.strip()) for part in text.split(",") if part.strip()]
    return text


def read_assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Read options from the command line.

    Parameters
    ----------
    texts : sequence of str
        Each ``NAME=VALUE``, values as `read_value` reads them.

    Returns
    -------
    dict of str to object
        Values by name.

    Raises
    ------
    ValueError
        If a text has another form, or a name comes twice.

    Examples
    --------
    >>> read_assignments(["sides_deg=4,6", "polarity=mixed"])
    {'sides_deg': [4, 6], 'polarity': 'mixed'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise ValueError(f"Options are NAME=VALUE; got {text!r}.")
        if name in found:
            raise ValueError(f"The option {name!r} comes twice.")
        found[name] = read_value(value)
    return found


def check_kinds(
    values: Mapping[str, Any], known: Mapping[str, Any], *, of: str, where: str
) -> None:
    """Check names and kinds of options.

    Parameters
    ----------
    values : mapping of str to object
        Options as they came from a file or the command line.
    known : mapping of str to type hint
        Options that there are, such as `typing.get_type_hints` gives them.
    of : str
        What the options are of, for messages.
    where : str
        Where they came from, for messages.

    Raises
    ------
    ValueError
        If one is unknown, or of another kind.

    Examples
    --------
    >>> check_kinds({"trials": 2}, {"trials": int}, of="search", where="study.toml")
    """
    for name, value in values.items():
        check_option(f"option of {of} in {where}", name, tuple(known))
        if not fits(value, known[name]):
            kind = getattr(known[name], "__name__", None) or str(known[name])
            raise ValueError(
                f"{where}: option `{name}` of {of} cannot be {value!r}; it takes "
                f"{str(kind).replace('collections.abc.', '').replace('typing.', '')}."
            )


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value of a TOML file can be an argument of this kind.

    Parameters
    ----------
    value : object
        Text, number, boolean, list or table.
    hint : type hint
        Kind of the argument.

    Returns
    -------
    bool
        True if it can.

    Examples
    --------
    >>> fits(3, int | None), fits(True, int), fits(["a"], Sequence[str])
    (True, False, True)
    """
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if hint in (None, NoneType):
        return value is None
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, dict)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        items = [part for part in get_args(hint) if part is not Ellipsis] or [Any]
        return isinstance(value, list) and all(
            any(fits(item, part) for part in items) for item in value
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, Path):
        return isinstance(value, str)
    return isinstance(hint, type) and isinstance(value, hint)
