"""NumPy files that hold Python values, read without running anything in them.

``np.save`` of a dictionary writes a small program for a stack machine, and the usual
way to open it calls whatever that program names. Here the program is only looked at,
one instruction after the other, and dictionaries, lists, numbers, text and arrays of
numbers are put together from what it says; any other name or instruction is refused.

The format is that of the standard library (protocols 2 to 5; PEP 307, 3154 and 574)
with the names that NumPy 1 and 2 write.
"""

import mmap
import pickletools
import tokenize
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_loaders.pickled_names import (
    CALLS,
    ArrayState,
    DType,
    Name,
    RefusedError,
    make_array,
    set_dtype,
)
from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt

MAX_INSTRUCTIONS = 4_000_000
"""Longest program that `read_pickled_npy` follows."""
MAX_VALUES = 4_000_000
"""Most values that a file may hold, shared ones counted each time they occur."""
MAX_DEPTH = 64
"""Most levels of values inside values."""

_ERRORS = (
    *DECODER_ERRORS,
    AssertionError,  # of pickletools
    OverflowError,
    MemoryError,  # a header that claims a huge array
    RecursionError,
    tokenize.TokenError,  # of a header that is no Python literal
)
_MAPPED_BYTES = 2**16  # longer pieces stay in the file until they are used


_MARK = object()


def read_pickled_npy(path: str | Path) -> Any:
    """Read a NumPy file of Python values without running anything in it.

    Parameters
    ----------
    path : str or Path
        ``.npy`` file, such as the ``mapping_*.npy`` of the Algonauts 2023 challenge
        or the ``TYPED_FITHRF_GLMDENOISE_RR.npy`` of GLMsingle.

    Returns
    -------
    object
        What was saved: a dict, a list, a number and so on, with arrays of numbers or
        text as ndarray. Scalars of NumPy become Python numbers. Large arrays stay in
        the file until they are used, and cannot be written. A file that holds a plain
        array gives this array, mapped.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is cut or damaged, names anything that is not plain data, or is
        nested too deeply.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mapping_streams.npy"
    >>> np.save(path, {0: "Unknown", 1: "early"})
    >>> read_pickled_npy(path)
    {0: 'Unknown', 1: 'early'}
    """
    path = check_path("path", path)
    try:
        shape, is_object = _read_header(path)
        if not is_object:
            return np.load(path, mmap_mode="r")
        with path.open("rb") as file:
            _skip_header(file)
            start = file.tell()
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        saved = _finish(_follow(_Stream(content, start)))
        is_array = isinstance(saved, np.ndarray) and saved.dtype == object
        if not is_array or saved.size != int(np.prod(shape, dtype=object)):
            raise ValueError("its header and its content tell different shapes")
    except RefusedError as error:
        raise DataCorruptError(
            f"{path} must hold plain values only: dictionaries, lists, numbers, text "
            f"and arrays of numbers. It {error}. Such a file can run programs when it "
            "is opened in the usual way; nothing in it was run. Get it again from its "
            "source, or have its arrays saved one by one."
        ) from None
    except _ERRORS as error:
        raise corrupt(path, "NumPy", error) from error
    return saved[()] if saved.shape == () else saved.reshape(shape)


def _read_header(path: Path) -> tuple[tuple[int, ...], bool]:
    with path.open("rb") as file:
        shape, _, dtype = _skip_header(file)
    return shape, dtype.hasobject


def _skip_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version} of the format is unknown")


class _Stream:
    """The bytes of the program; long pieces are views into the mapped file."""

    def __init__(self, content: mmap.mmap, start: int) -> None:
        self._content = content
        self._view = memoryview(content)
        self._at = start

    def read(self, n: int) -> bytes | memoryview:
        piece = self._view[self._at : self._at + n]
        self._at += len(piece)
        return piece if len(piece) > _MAPPED_BYTES else bytes(piece)

    def readline(self) -> bytes:
        end = self._content.find(b"\n", self._at) + 1 or len(self._content)
        line = bytes(self.read(min(end - self._at, _MAPPED_BYTES)))
        if b"\\" in line:
            raise ValueError("a name holds a backslash")
        return line


# -------------------------------------------------------------- the stack machine


@dataclass(eq=False)
class _Machine:
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("an instruction misses its values")
        return value

    def take(self, n: int) -> list[Any]:
        return [self.pop() for _ in range(n)][::-1]

    def take_to_mark(self) -> list[Any]:
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"an instruction needs a {kind.__name__}")
        return self.stack[-1]

    def remember(self, index: int) -> None:
        if self.stack[-1] is _MARK:
            raise ValueError("an instruction misses its values")
        self.memo[index] = self.stack[-1]


def _follow(stream: Any) -> Any:
    machine = _Machine()
    for n, (code, argument, _) in enumerate(pickletools.genops(stream)):
        if n >= MAX_INSTRUCTIONS:
            raise RefusedError(f"has more than {MAX_INSTRUCTIONS} instructions")
        if code.name in _CONSTANTS:
            machine.stack.append(_CONSTANTS[code.name])
        elif code.name in _LITERALS:
            machine.stack.append(_literal(argument))
        elif code.name in _INSTRUCTIONS:
            _INSTRUCTIONS[code.name](machine, argument)
        elif code.name == "STOP":
            break
        else:
            raise RefusedError(f"uses the instruction {code.name}")
    if len(machine.stack) != 1:
        raise ValueError("the program does not end with one value")
    return machine.pop()


def _literal(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise RefusedError("holds a whole number of more than 64 bits")
    return value


def _append(machine: _Machine, values: list[Any]) -> None:
    machine.top(list).extend(values)


def _set_items(machine: _Machine, values: list[Any]) -> None:
    target = machine.top(dict)
    if len(values) % 2:
        raise ValueError("a key has no value")
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not _is_key(key):
            raise RefusedError("has a dictionary with keys that are not plain")
        target[key] = value


def _is_key(key: Any, depth: int = 0) -> bool:
    if isinstance(key, tuple):
        return depth < 4 and len(key) < 32 and all(_is_key(k, depth + 1) for k in key)
    return key is None or isinstance(key, bool | int | float | complex | str | bytes)


def _push_name(machine: _Machine, module: Any, name: Any) -> None:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a name is not text")
    known = (module, name) in CALLS or (module, name) == ("numpy", "ndarray")
    if not known:
        raise RefusedError(f"names {Name(module, name)}")
    machine.stack.append(Name(module, name))


def _global(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    _push_name(machine, module, name)


def _reduce(machine: _Machine, _: Any) -> None:
    called, arguments = machine.take(2)
    call = CALLS.get((called.module, called.name)) if _is_name(called) else None
    if call is None:
        what = called if _is_name(called) else type(called).__name__
        raise RefusedError(f"calls {what}")
    if not isinstance(arguments, tuple):
        raise ValueError(f"the arguments of {called} are no tuple")
    machine.stack.append(call(*arguments))


def _is_name(value: Any) -> bool:
    return isinstance(value, Name)


def _build(machine: _Machine, _: Any) -> None:
    state = machine.pop()
    target = machine.top(object)
    if not isinstance(state, tuple):
        raise RefusedError(f"sets the state of a {type(target).__name__}")
    if isinstance(target, DType):
        target.dtype = set_dtype(target.dtype, *state)
    elif isinstance(target, ArrayState) and target.value is None:
        version, shape, dtype, is_fortran, content = state
        if version != 1:
            raise ValueError(f"version {str(version)[:60]!a} of an array is unknown")
        order = "F" if is_fortran else "C"
        target.value = make_array(content, dtype, shape, order)
    else:
        raise RefusedError(f"sets the state of a {type(target).__name__}")


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK}

_LITERALS = (
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("SHORT_BINSTRING", "BINSTRING"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)

_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "EMPTY_TUPLE": lambda m, a: m.stack.append(()),
    "EMPTY_LIST": lambda m, a: m.stack.append([]),
    "EMPTY_DICT": lambda m, a: m.stack.append({}),
    "TUPLE1": lambda m, a: m.stack.append(tuple(m.take(1))),
    "TUPLE2": lambda m, a: m.stack.append(tuple(m.take(2))),
    "TUPLE3": lambda m, a: m.stack.append(tuple(m.take(3))),
    "TUPLE": lambda m, a: m.stack.append(tuple(m.take_to_mark())),
    "APPEND": lambda m, a: _append(m, m.take(1)),
    "APPENDS": lambda m, a: _append(m, m.take_to_mark()),
    "SETITEM": lambda m, a: _set_items(m, m.take(2)),
    "SETITEMS": lambda m, a: _set_items(m, m.take_to_mark()),
    "MEMOIZE": lambda m, a: m.remember(len(m.memo)),
    "BINPUT": lambda m, a: m.remember(a),
    "LONG_BINPUT": lambda m, a: m.remember(a),
    "BINGET": lambda m, a: m.stack.append(m.memo[a]),
    "LONG_BINGET": lambda m, a: m.stack.append(m.memo[a]),
    "GLOBAL": _global,
    "STACK_GLOBAL": lambda m, a: _push_name(m, *m.take(2)),
    "REDUCE": _reduce,
    "BUILD": _build,
}


# ---------------------------------------------------------------- the plain result


def _finish(value: Any) -> Any:
    """Replace what was put together step by step by plain values."""
    done: dict[int, tuple[Any, int]] = {}
    open_ids: set[int] = set()

    def plain(value: Any, depth: int) -> tuple[Any, int]:
        """Return the plain value, and the number of values in it."""
        if isinstance(value, Name | DType):
            raise RefusedError("holds a name or a kind of array as a value")
        value = _content_of(value) if isinstance(value, ArrayState) else value
        if isinstance(value, memoryview | bytearray):
            return bytes(value), 1
        is_nested = isinstance(value, list | tuple | dict) or _holds_objects(value)
        if not is_nested:
            return value, 1
        if id(value) in done:
            return done[id(value)]
        if id(value) in open_ids or depth >= MAX_DEPTH:
            raise RefusedError(
                f"holds itself or is nested more than {MAX_DEPTH} levels deep"
            )
        open_ids.add(id(value))
        parts = value.values() if isinstance(value, dict) else value
        parts = value.ravel() if isinstance(value, np.ndarray) else parts
        made = [plain(part, depth + 1) for part in parts]
        open_ids.discard(id(value))
        size = 1 + sum(n for _, n in made)
        if size > MAX_VALUES:
            raise RefusedError(f"unfolds to more than {MAX_VALUES} values")
        result = _rebuild(value, [part for part, _ in made])
        # The original is kept too: its identity must not be given to another value.
        done[id(value)] = (result, size)
        kept.append(value)
        return result, size

    kept: list[Any] = []
    return plain(value, 0)[0]


def _content_of(array: ArrayState) -> NDArray[Any]:
    if array.value is None:
        raise ValueError("an array has no content")
    return array.value


def _holds_objects(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object


def _rebuild(value: Any, parts: list[Any]) -> Any:
    if isinstance(value, dict):
        return dict(zip(value, parts, strict=True))
    if isinstance(value, np.ndarray):
        values = np.empty(len(parts), object)
        for i, part in enumerate(parts):
            values[i] = part
        return values.reshape(value.shape)
    return type(value)(parts)


def file_offset(array: NDArray[Any]) -> int | None:
    """Tell where the numbers of an array lie in the file that it was read from.

    Parameters
    ----------
    array : ndarray
        From `read_pickled_npy`.

    Returns
    -------
    int or None
        Bytes before its first number; None if it was copied into memory.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    mapped = owner.obj if isinstance(owner, memoryview) else None
    if not isinstance(mapped, mmap.mmap):
        return None
    start = np.frombuffer(mapped, np.uint8).ctypes.data
    return int(array.ctypes.data) - start
