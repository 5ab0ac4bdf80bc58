"""What the names stand for that NumPy writes into files of Python values.

Nothing is imported or called by its name: each of the few known ones has its own small
function here, which makes plain data only.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PLAIN_DTYPES = re.compile(r"(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6}|O8?)")
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_BUILTINS = ("builtins", "__builtin__")


class RefusedError(ValueError):
    """The program asks for something that is not plain data."""


@dataclass(frozen=True)
class Name:
    """A function or class that the program names; never looked up.

    Parameters
    ----------
    module, name : str
        As the program writes them.
    """

    module: str
    name: str

    def __str__(self) -> str:
        # Escaped: the text may hold anything, for a terminal too.
        return ascii(f"{self.module}.{self.name}"[:80])[1:-1]


@dataclass(eq=False)
class DType:
    """A kind of numbers, whose byte order a later instruction may tell.

    Parameters
    ----------
    dtype : dtype
        What is known so far.
    """

    dtype: np.dtype[Any]


@dataclass(eq=False)
class ArrayState:
    """An array whose content an instruction that comes later tells.

    Parameters
    ----------
    value : ndarray, optional
        The array, once it is known.
    """

    value: NDArray[Any] | None = None


def _empty_array(kind: Any, shape: Any, code: Any) -> ArrayState:
    if kind != Name("numpy", "ndarray"):
        raise RefusedError(f"makes an array of the class {kind}")
    return ArrayState()


def _make_dtype(code: Any, *_: Any) -> DType:
    if not isinstance(code, str) or not _PLAIN_DTYPES.fullmatch(code):
        raise RefusedError(f"holds an array of the kind {str(code)[:60]!a}")
    return DType(np.dtype(code))


def set_dtype(
    dtype: np.dtype[Any],
    version: Any,
    byte_order: Any,
    subdtype: Any,
    names: Any,
    fields: Any,
    *more: Any,
) -> np.dtype[Any]:
    """Return a kind of numbers with the byte order that its state tells.

    Parameters
    ----------
    dtype : dtype
        Kind without byte order.
    version, byte_order, subdtype, names, fields : object
        The state, as NumPy writes it.
    *more : object
        Sizes, which follow from the kind.

    Returns
    -------
    dtype
        A plain kind.

    Raises
    ------
    RefusedError
        If it is a record.
    ValueError
        If the byte order is none.
    """
    if subdtype is not None or names is not None or fields is not None:
        raise RefusedError("holds an array with fields")
    if byte_order not in ("<", ">", "|", "="):
        raise ValueError(f"byte order {str(byte_order)[:60]!a}")
    return dtype.newbyteorder(byte_order)


def make_array(content: Any, dtype: Any, shape: Any, order: Any = "C") -> Any:
    """Put an array together, after all that is claimed was checked.

    Parameters
    ----------
    content : bytes-like, str or list
        Numbers as bytes (text in Python 2), or a list for an array of objects.
    dtype : DType
        Kind of the numbers.
    shape : tuple of int
        Claimed shape.
    order : {"C", "F"}
        Which axis is fastest.

    Returns
    -------
    ndarray
        It cannot be written; large ones stay in the file.

    Raises
    ------
    ValueError
        If the length does not fit the shape, or bytes are no numbers of the kind.
    """
    plain_shape = isinstance(shape, tuple) and all(type(n) is int for n in shape)
    if not isinstance(dtype, DType) or not plain_shape or order not in ("C", "F"):
        raise ValueError("an array is described wrongly")
    size = 1
    for n in shape:
        size *= n
    if min(shape, default=0) < 0 or len(shape) > 32:
        raise ValueError(f"an array claims the shape {shape}")
    if dtype.dtype.hasobject:
        if not isinstance(content, list) or len(content) != size:
            raise ValueError(f"an array of shape {shape} has not its {size} values")
        values = np.empty(size, object)
        for i, value in enumerate(content):
            values[i] = value
        return values.reshape(shape, order=order)
    content = content.encode("latin-1") if isinstance(content, str) else content
    n_bytes = size * dtype.dtype.itemsize
    if not isinstance(content, bytes | bytearray | memoryview):
        raise ValueError("the content of an array is no bytes")
    if len(content) != n_bytes:
        raise ValueError(
            f"an array of shape {shape} needs {n_bytes} bytes and has {len(content)}"
        )
    if not n_bytes:
        return np.empty(shape, dtype.dtype)
    array = np.frombuffer(content, dtype.dtype)
    kind = dtype.dtype.kind
    # NumPy trusts these bytes; other values make it read nonsense later.
    if kind == "b" and array.view(np.uint8).max() > 1:
        raise ValueError("a truth value is neither 0 nor 1")
    if kind == "U":
        letters = array.view(np.dtype("u4").newbyteorder(dtype.dtype.byteorder))
        if letters.max() > 0x10FFFF:
            raise ValueError("text holds what is no letter")
    array.flags.writeable = False
    return array.reshape(shape, order=order)


def _make_scalar(dtype: Any, content: Any) -> Any:
    if isinstance(dtype, DType) and dtype.dtype.hasobject:
        raise RefusedError("holds a scalar of objects")
    return make_array(content, dtype, ())[()].item()


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any) -> ArrayState:
    if isinstance(dtype, DType) and dtype.dtype.hasobject:
        raise RefusedError("makes objects from bytes")
    return ArrayState(make_array(content, dtype, shape, order))


def _encode(text: Any, encoding: Any) -> bytes:
    # How protocol 2 writes bytes.
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedError(f"encodes text as {str(encoding)[:60]!a}")
    return text.encode("latin-1")


def _bytes(*content: Any) -> bytes:
    if content and not (len(content) == 1 and isinstance(content[0], bytes)):
        raise RefusedError("makes bytes from something else")
    return content[0] if content else b""


CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    **{(module, "_reconstruct"): _empty_array for module in _MULTIARRAY},
    **{(module, "scalar"): _make_scalar for module in _MULTIARRAY},
    **{(module, "_frombuffer"): _frombuffer for module in _NUMERIC},
    **{(module, "bytes"): _bytes for module in _BUILTINS},
    **{(module, "bytearray"): _bytes for module in _BUILTINS},
    ("numpy", "dtype"): _make_dtype,
    ("_codecs", "encode"): _encode,
}
