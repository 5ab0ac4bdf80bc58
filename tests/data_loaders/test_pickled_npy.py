"""NumPy files of Python values: equal to what was saved, and nothing is ever run."""

import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from data_loaders import pickled_npy
from data_loaders.pickled_npy import read_pickled_npy
from neurovis.core.errors import DataCorruptError

PROTOCOLS = (2, 3, 4, 5)


def equal(a, b):
    """Equal in kind, shape and value, to the bit."""
    if isinstance(a, np.ndarray):
        if not isinstance(b, np.ndarray) or (a.dtype, a.shape) != (b.dtype, b.shape):
            return False
        if a.dtype == object:
            return all(map(equal, a.ravel(), b.ravel()))
        return a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        same = isinstance(b, dict) and list(a) == list(b)
        return same and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


def save(path, value, protocol):
    """What `np.save` writes, with the protocol of another version."""
    array = np.empty((), object)
    array[()] = value
    save_program(path, pickle.dumps(array, protocol))
    return path


def save_program(path, program, shape=()):
    header = {"descr": "|O", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(program)
    return path


GLMSINGLE = {
    "HRFindex": np.arange(24.0).reshape(2, 3, 4),
    "glmbadness": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3),
    "pcvoxels": np.array([[True, False], [False, True]]),
    "pcnum": 3,
    "xvaltrend": None,
    "noisepool": None,
    "pcregressors": [np.ones((5, 2)), np.zeros((4, 2))],
    "betasmd": np.asfortranarray(np.arange(48, dtype="<f4").reshape(2, 3, 2, 4)),
    "FRACvalue": np.arange(3, dtype=">i2"),
    "scaleoffset": np.empty((0, 2)),
    "name": "TYPED",
    "raw": b"\x00\xff",
    "pair": (1.5, -7, True, False, 2**64 - 1, -(2**63)),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_glmsingle_saves_comes_back_to_the_bit(tmp_path, protocol):
    path = save(tmp_path / "TYPED.npy", GLMSINGLE, protocol)
    assert equal(read_pickled_npy(path), GLMSINGLE)


def test_the_files_of_np_save_are_read(tmp_path):
    mapping = {0: "Unknown", 1: "V1v", 2: "V1d"}
    np.save(tmp_path / "a.npy", mapping)
    np.save(tmp_path / "b.npy", np.array([None, {1: 2}, [3]], dtype=object))
    np.save(tmp_path / "c.npy", np.arange(6.0).reshape(2, 3))
    assert read_pickled_npy(tmp_path / "a.npy") == mapping
    assert read_pickled_npy(tmp_path / "b.npy").tolist() == [None, {1: 2}, [3]]
    assert read_pickled_npy(tmp_path / "c.npy").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_of_numpy_become_numbers_and_keys(tmp_path, protocol):
    value = {np.int64(7): np.float32(0.1), "flag": np.bool_(True), "c": np.str_("é")}
    path = save(tmp_path / "a.npy", value, protocol)
    expected = {7: float(np.float32(0.1)), "flag": True, "c": "é"}
    assert equal(read_pickled_npy(path), expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_names_of_numpy_1_are_known(tmp_path, protocol):
    path = save(tmp_path / "a.npy", GLMSINGLE, protocol)
    data = path.read_bytes()
    for name in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + name, b"numpy.core." + name
        # From protocol 4 on a length stands before the name.
        data = data.replace(bytes([len(new)]) + new, bytes([len(old)]) + old)
        data = data.replace(b"c" + new, b"c" + old)
    assert (b"numpy.core." in data, b"numpy._core" in data) == (True, False)
    path.write_bytes(data)
    assert equal(read_pickled_npy(path), GLMSINGLE)


def test_text_of_python_2_is_text_and_its_arrays_are_numbers(tmp_path):
    # Python 2 wrote short strings, and the content of arrays, as SHORT_BINSTRING.
    program = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01"
        b"K\x00\x85U\x01b\x87R(K\x01)cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|"
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]}(U\x04nameU\x02V1U\x01xh\x00"
        b"h\x01K\x00\x85U\x01b\x87R(K\x01K\x01\x85cnumpy\ndtype\nU\x02u2K\x00K\x01\x87"
        b"R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\xe9\x03tb"
        b"uatb."
    )
    found = read_pickled_npy(save_program(tmp_path / "a.npy", program))
    assert found["name"] == "V1"
    assert found["x"].tolist() == [0x3E9]


def test_one_value_in_two_places_is_read_in_both(tmp_path):
    part = [1, {"a": np.arange(3)}]
    found = read_pickled_npy(save(tmp_path / "a.npy", {"x": part, "y": part}, 4))
    assert equal(found, {"x": part, "y": part})


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=True)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | npst.arrays(
        st.sampled_from(["<f4", ">f8", "i1", "<u2", ">i8", "?", "<c8", "<f2"]),
        npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 99), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(value=PLAIN, protocol=st.sampled_from(PROTOCOLS))
def test_any_plain_value_comes_back(tmp_path_factory, value, protocol):
    path = save(tmp_path_factory.getbasetemp() / "plain.npy", value, protocol)
    assert equal(read_pickled_npy(path), value)


@settings(max_examples=200)
@given(data=st.data())
def test_changed_bytes_give_a_value_or_one_kind_of_error(tmp_path_factory, data):
    path = save(tmp_path_factory.getbasetemp() / "noise.npy", GLMSINGLE, 4)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    # Any other error, and any effect, would end the test.
    with suppress(DataCorruptError):
        assert read_pickled_npy(path) is not None


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_cut_anywhere_is_refused(tmp_path, protocol):
    value = {"a": np.arange(4), "b": [1.5, "x"], "c": None}
    path = save(tmp_path / "a.npy", value, protocol)
    content = path.read_bytes()
    for n in range(len(content)):
        path.write_bytes(content[:n])
        with pytest.raises(DataCorruptError, match=r"a\.npy is not a readable NumPy"):
            read_pickled_npy(path)


# ------------------------------------------------------------------ hostile files


class Reduce:
    def __init__(self, *answer):
        self.answer = answer

    def __reduce__(self):
        return self.answer


class WithState:
    def __init__(self):
        self.x = 1


HOSTILE = {
    "a command": (Reduce(os.system, ("touch BAD",)), r"names (posix|nt)\.system"),
    "code": (Reduce(eval, ("open('BAD', 'w')",)), r"names \w*builtin\w*\.eval"),
    "code by exec": (Reduce(exec, ("open('BAD', 'w')",)), r"\.exec"),
    "a program": (Reduce(subprocess.Popen, (["touch", "BAD"],)), r"names \w+\.Popen"),
    "a file": (Reduce(open, ("BAD", "w")), r"names \w+\.open"),
    "an attribute": (Reduce(getattr, (os, "system")), "names"),
    "a class": (WithState(), "names .*WithState"),
    "a set": ({1, 2}, "names .*set|instruction EMPTY_SET"),
    "a long number": (2**70, "more than 64 bits"),
    "text of dates": (np.array(["2024-01-01"], "M8[D]"), "array of the kind 'M8'"),
    "an array of records": (np.zeros(2, [("a", "i4")]), "array of the kind 'V4'"),
    "a masked array": (np.ma.array([1, 2]), "names numpy.ma"),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_named_and_has_no_effect(
    tmp_path, monkeypatch, name, protocol
):
    value, match = HOSTILE[name]
    if name == "an attribute":
        value = Reduce(getattr, ("os", "system"))
    path = save(tmp_path / "evil.npy", {"betasmd": value}, protocol)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    with pytest.raises(DataCorruptError, match=match) as caught:
        read_pickled_npy(path)
    assert str(path) in str(caught.value)
    assert "nothing in it was run" in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.npy"]
    assert set(sys.modules) == before


PROGRAMS = {
    # protocol 0 and 1: how most examples of attacks are written
    "old command": (b"cos\nsystem\n(S'touch BAD'\ntR.", "names os.system"),
    "instance": (b"(S'touch BAD'\nios\nsystem\n.", "instruction (STRING|INST)"),
    "object": (b"\x80\x02(cnumpy\ndtype\no.", "instruction OBJ"),
    "new object": (b"\x80\x02cnumpy\nndarray\n)\x81.", "instruction NEWOBJ"),
    "extension": (b"\x80\x02\x82\x01.", "instruction EXT1"),
    "persistent": (b"\x80\x02K\x01Q.", "instruction BINPERSID"),
    "out of band": (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
    "called array": (b"\x80\x02cnumpy\nndarray\nK\x01\x85R.", "calls numpy.ndarray"),
    "called number": (b"\x80\x02K\x01)R.", "calls int"),
    "state of a list": (b"\x80\x02](K\x01tb.", "sets the state of a list"),
    "state as dict": (
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R}b.",
        "sets the state of a DType",
    ),
    "name as value": (b"\x80\x02cnumpy\ndtype\n.", "holds a name"),
    "subclass": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85C\x01b"
        b"\x87R.",
        "array of the class numpy.dtype",
    ),
    "object scalar": (
        b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00O8"
        b"\x85R]\x86R.",
        "scalar of objects",
    ),
    "objects from bytes": (
        b"\x80\x04cnumpy.core.numeric\n_frombuffer\n(C\x08AAAAAAAAcnumpy\ndtype\nX\x02"
        b"\x00\x00\x00O8\x85RK\x01\x85X\x01\x00\x00\x00CtR.",
        "makes objects from bytes",
    ),
    "encoding": (
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00base64\x86R.",
        "encodes text as 'base64'",
    ),
    "decoding": (
        b"\x80\x02c_codecs\ndecode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
        "names _codecs.decode",
    ),
    "list as key": (b"\x80\x02}]K\x01s.", "keys that are not plain"),
    "zeros as bytes": (b"\x80\x02c__builtin__\nbytes\nK\x09\x85R.", "makes bytes"),
    "name with an escape": (b"\x80\x02cos\x1b[2J\nsystem\n.", r"names os\\x1b"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_forbidden_instruction_is_named(tmp_path, monkeypatch, name):
    program, match = PROGRAMS[name]
    monkeypatch.chdir(tmp_path)
    path = save_program(tmp_path / "evil.npy", program)
    with pytest.raises(DataCorruptError, match=match):
        read_pickled_npy(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.npy"]


DAMAGED = {
    "empty": b"",
    "unknown instruction": b"\x80\x02\xff.",
    "no value": b"\x80\x02.",
    "two values": b"\x80\x02K\x01K\x02.",
    "mark only": b"\x80\x02(.",
    "no mark": b"\x80\x02K\x01t.",
    "memo never set": b"\x80\x02h\x05.",
    "half a pair": b"\x80\x02}(K\x01u.",
    "append to a number": b"\x80\x02K\x01K\x02a.",
    "name that is no text": b"\x80\x04K\x01K\x02\x93.",
    "not an array": b"\x80\x02K\x01.",
    "text that is no UTF-8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "negative number of bytes": b"\x80\x02T\xff\xff\xff\xffx.",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_program_that_makes_no_sense_is_damage(tmp_path, name):
    path = save_program(tmp_path / "a.npy", DAMAGED[name])
    with pytest.raises(DataCorruptError, match="not a readable NumPy"):
        read_pickled_npy(path)


def test_bytes_that_no_array_can_have_are_damage(tmp_path):
    value = {"b": np.array([True]), "u": np.array(["x"])}
    good = save(tmp_path / "a.npy", value, 4).read_bytes()
    for old, new in [(b"C\x01\x01", b"C\x01\x07"), (b"x\0\0\0", b"\xff\xff\xff\xff")]:
        assert good.count(old) == 1
        (tmp_path / "a.npy").write_bytes(good.replace(old, new))
        with pytest.raises(DataCorruptError, match=r"truth value|no letter"):
            read_pickled_npy(tmp_path / "a.npy")


def array_program(shape, content):
    """The program of a float64 array that claims `shape`."""

    def number(n):
        return b"\x8a\x09" + n.to_bytes(9, "little", signed=True)

    sizes = b"(" + b"".join(map(number, shape)) + b"t"
    raw = b"B" + struct.pack("<I", len(content)) + content
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R("
        b"K\x01" + sizes + b"cnumpy\ndtype\nX\x02\x00\x00\x00f8K\x00K\x01\x87R(K\x03X"
        b"\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + raw
        + b"t"
        b"b"
    )


@pytest.mark.parametrize(
    "shape", [(2**40,), (2**32, 2**32), (-1, -1), (1,) * 33, (2**62, 4), (2,)]
)
def test_a_claimed_shape_costs_no_memory(tmp_path, shape):
    program = b"\x80\x03" + array_program(shape, b"\0" * 8) + b"."
    path = save_program(tmp_path / "a.npy", program)
    tracemalloc.start()
    with pytest.raises(DataCorruptError, match="shape"):
        read_pickled_npy(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_claimed_length_costs_no_memory(tmp_path):
    for opcode, form in [(b"B", "<I"), (b"\x8e", "<Q"), (b"\x8d", "<Q"), (b"X", "<I")]:
        program = b"\x80\x04" + opcode + struct.pack(form, 2**31 - 1) + b"x."
        path = save_program(tmp_path / "a.npy", program)
        tracemalloc.start()
        with pytest.raises(DataCorruptError, match="not a readable NumPy"):
            read_pickled_npy(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20


def test_a_value_inside_itself_is_refused(tmp_path):
    loop = []
    loop.append(loop)
    pair = {}
    pair["me"] = [pair]
    for value in (loop, pair):
        path = save(tmp_path / "a.npy", value, 4)
        with pytest.raises(DataCorruptError, match="holds itself"):
            read_pickled_npy(path)


def test_deep_nesting_is_refused(tmp_path):
    value = 1
    for _ in range(pickled_npy.MAX_DEPTH + 1):
        value = [value]
    path = save(tmp_path / "a.npy", value, 4)
    with pytest.raises(DataCorruptError, match="nested more than 64 levels"):
        read_pickled_npy(path)
    # Deeper than Python itself could follow.
    program = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
    path = save_program(tmp_path / "a.npy", program)
    with pytest.raises(DataCorruptError, match="nested more than 64 levels"):
        read_pickled_npy(path)


def test_values_that_unfold_without_end_are_refused(tmp_path):
    value = ["x"]
    for _ in range(40):
        value = [value] * 10  # 10**40 values from some hundred bytes
    path = save(tmp_path / "a.npy", value, 4)
    assert path.stat().st_size < 5000
    with pytest.raises(DataCorruptError, match="unfolds to more than 4000000 values"):
        read_pickled_npy(path)


def test_a_program_that_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled_npy, "MAX_INSTRUCTIONS", 1000)
    path = save(tmp_path / "a.npy", list(range(2000)), 4)
    with pytest.raises(DataCorruptError, match="more than 1000 instructions"):
        read_pickled_npy(path)


def test_a_large_array_stays_in_the_file(tmp_path):
    betas = np.arange(4_000_000, dtype=np.float32).reshape(20, 20, 10, 1000)
    path = save(tmp_path / "a.npy", {"betasmd": betas}, 4)
    tracemalloc.start()
    found = read_pickled_npy(path)["betasmd"]
    column = found[3, 4, 5].copy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < betas.nbytes / 20
    assert np.array_equal(column, betas[3, 4, 5])
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


def test_what_is_no_numpy_file_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    for content in (b"", b"\x93NUMPY", b"PK\x03\x04", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        with pytest.raises(DataCorruptError, match="not a readable NumPy"):
            read_pickled_npy(path)
    with pytest.raises(FileNotFoundError, match="must be an existing file"):
        read_pickled_npy(tmp_path / "b.npy")
