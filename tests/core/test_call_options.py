"""Options from the command line and from files: values, names, kinds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from neurovis.core.call_options import check_kinds, fits, read_assignments, read_value


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, float, True),
        (1.5, int, False),
        (True, float, False),
        ("a", Path, True),
        ("a", str | None, True),
        (2, str | list[int], False),
        ([2], str | list[int], True),
        ([2, "a"], list[int], False),
        ({"a": 1}, dict[str, int], True),
        ([1.0], tuple[float, ...], True),
    ],
)
def test_kinds_of_options_are_those_of_the_function(value, hint, expected):
    assert fits(value, hint) is expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-0.5", -0.5),
        ("true", True),
        ("True", "True"),
        ("4,8", [4, 8]),
        ("[4, 8]", [4, 8]),
        ("a, b", ["a", "b"]),
        ('"4,8"', "4,8"),
        ("mixed", "mixed"),
        ("2024-01-01x", "2024-01-01x"),
        ("", ""),
    ],
)
def test_text_is_read_as_toml_or_stays_text(text, value):
    read = read_value(text)
    assert read == value
    assert type(read) is type(value)


def test_unknown_names_and_wrong_kinds_say_what_there_is():
    known = {"side_deg": float, "polarity": Literal["same", "mixed"]}
    with pytest.raises(ValueError, match=r"option of kanizsa in a.toml.*side_deg"):
        check_kinds({"side": 2.0}, known, of="kanizsa", where="a.toml")
    with pytest.raises(ValueError, match="`side_deg` of kanizsa cannot be 'x'"):
        check_kinds({"side_deg": "x"}, known, of="kanizsa", where="a.toml")
    with pytest.raises(ValueError, match="it takes Sequence"):
        check_kinds({"a": 1}, {"a": Sequence[int]}, of="kanizsa", where="a.toml")


def test_options_are_names_and_values():
    assert read_assignments(["a = 2", "b=x=y"]) == {"a": 2, "b": "x=y"}
    with pytest.raises(ValueError, match="NAME=VALUE; got 'a'"):
        read_assignments(["a"])
    with pytest.raises(ValueError, match="'a' comes twice"):
        read_assignments(["a=1", "a=2"])
