"""Files: whole or absent, checked when read."""

import errno
import hashlib
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurovis.core import files, pictures
from neurovis.core.errors import DataCorruptError

# ------------------------------------------------------------------ helpers

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def picture(height=6, width=9, seed=0):
    shape = (height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def mixed_table(n=3000):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "value": rng.normal(size=n),
            "word": rng.choice(["up", "dôwn", None], n),
            "kind": pd.Categorical(rng.choice(["a", "b"], n)),
            "count": np.arange(n),
            "right": rng.integers(0, 2, n).astype(bool),
            "maybe": pd.array(rng.choice([True, False, None], n), dtype="boolean"),
        }
    )
    table.loc[::7, "value"] = np.nan
    return table


# ------------------------------------------------------------------ writing


def test_an_error_while_writing_keeps_the_old_file_and_leaves_no_part(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fail_half_way():
        with files.atomic_path(path) as part:
            part.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_temporary_file_lies_beside_the_target_and_names_the_process(tmp_path):
    with files.atomic_path(tmp_path / "a.txt") as part:
        assert part == tmp_path / f"a.txt.part-{os.getpid()}"
        part.write_text("x")
        assert not (tmp_path / "a.txt").exists()
    assert names(tmp_path) == ["a.txt"]


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    message = "Nothing was written"
    with (
        pytest.raises(FileNotFoundError, match=message),
        files.atomic_path(tmp_path / "a.txt"),
    ):
        pass
    assert names(tmp_path) == []


def test_a_folder_cannot_be_overwritten_by_a_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        files.write_bytes(tmp_path, b"x")


def test_missing_folders_are_made(tmp_path):
    files.write_text(tmp_path / "a" / "b" / "c.txt", "é\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"\xc3\xa9\n"


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002, 0o077])
def test_permissions_of_a_new_file_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        files.write_bytes(tmp_path / "a.bin", b"x")
        files.write_table(tmp_path / "a.parquet", pd.DataFrame({"a": [1]}))
        pictures.write_png(tmp_path / "a.png", picture())
    finally:
        os.umask(before)
    modes = {(tmp_path / n).stat().st_mode & 0o777 for n in names(tmp_path)}
    assert modes == {0o666 & ~umask}


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    kept = [
        *("a.png", "a.png.part", "a.png.part-", "a.png.part-7b", "a.png.part-7.bak"),
        *("a.png.part-7-b", "a.png.part-1-2", "a.png.part-\u0663", "a.jpg.part-7"),
        *("part-7", ".lock"),
    ]
    gone = ["a.png.part-7", ".png.part-7", "b c.png.part-99999"]
    for name in kept + gone:
        (tmp_path / name).write_text(name)
    inside = tmp_path / "deep" / "a.png.part-7"
    inside.parent.mkdir()
    inside.write_text("")
    (tmp_path / "folder.png.part-7").mkdir()
    files.remove_leftovers(tmp_path, "*.png")
    assert names(tmp_path) == sorted([*kept, "deep", "folder.png.part-7"])
    assert inside.exists()
    files.remove_leftovers(str(tmp_path), "a.jpg")
    assert "a.jpg.part-7" not in names(tmp_path)
    files.remove_leftovers(tmp_path / "absent", "*.png")


def test_what_a_killed_writer_leaves_is_removed(tmp_path):
    code = (
        "import os, signal, sys; from neurovis.core.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    with subprocess.Popen(command) as process:
        pass
    assert names(tmp_path) == [f"a.png.part-{process.pid}"]
    files.remove_leftovers(tmp_path, "b.png")
    assert names(tmp_path) == [f"a.png.part-{process.pid}"]
    files.remove_leftovers(tmp_path, "a.png")
    assert names(tmp_path) == []


def write_table_of_noise(path):
    values = np.random.default_rng(0).normal(size=40_000)
    files.write_table(path, pd.DataFrame({"value": values}))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.bin", lambda path: files.write_bytes(path, bytes(400_000))),
        ("a.json", lambda path: files.write_json(path, ["x" * 400_000])),
        ("a.png", lambda path: pictures.write_png(path, picture(300, 400))),
        ("a.parquet", write_table_of_noise),
        ("a.csv", write_table_of_noise),
    ],
)
def test_a_write_that_the_system_cuts_short_leaves_the_old_file(tmp_path, name, write):
    path = tmp_path / name
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError) as caught:
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == [name]


def run_on_small_disk(folder, options, code):
    """Run Python with a tmpfs at `folder`, seen by that process only."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is not installed: no private file system can be mounted")
    space = [unshare, "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o {options} tmpfs {folder}"
    trial = subprocess.run([*space, "sh", "-c", mount], capture_output=True, text=True)
    if trial.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {trial.stderr.strip()}")
    command = [
        *space,
        "sh",
        "-c",
        f'{mount} && exec "$0" -c "$1"',
        sys.executable,
        code,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_full_disk_is_reported_and_leaves_nothing_half_written(tmp_path):
    code = f"""
import errno, json, os
from pathlib import Path
from neurovis.core.files import write_bytes
folder = Path({str(tmp_path)!r})
write_bytes(folder / "a.bin", b"old")
try:
    write_bytes(folder / "a.bin", bytes(1_000_000))
    code = "no error"
except OSError as error:
    code = errno.errorcode[error.errno]
text = (folder / "a.bin").read_text()
print(json.dumps([code, sorted(os.listdir(folder)), text]))
"""
    found = run_on_small_disk(tmp_path, "size=128k", code)
    assert found == ["ENOSPC", ["a.bin"], "old"]


def test_a_read_only_folder_is_refused_before_work_begins(tmp_path):
    code = f"""
import json
from neurovis.core.files import check_writable_folder, write_text
found = []
for call in (
    lambda: check_writable_folder({str(tmp_path)!r}),
    lambda: check_writable_folder({str(tmp_path / "new")!r}),
    lambda: write_text({str(tmp_path / "new" / "a.txt")!r}, "x"),
):
    try:
        call()
    except PermissionError as error:
        found.append("Read-only file system" in str(error))
print(json.dumps(found))
"""
    assert run_on_small_disk(tmp_path, "ro", code) == [True, True, True]


@pytest.mark.parametrize("below", ["", "results", "results/deep"])
def test_a_file_in_the_way_of_a_folder_is_named(tmp_path, below):
    blocker = tmp_path / "blocker"
    blocker.write_text("x")
    with pytest.raises(NotADirectoryError, match=f"{blocker} is a file"):
        files.check_writable_folder(blocker / below)
    with pytest.raises(NotADirectoryError, match=f"{blocker} is a file"):
        files.write_text(blocker / below / "a.txt", "x")
    assert blocker.read_text() == "x"


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    folder = files.check_writable_folder(tmp_path / "a" / "b")
    assert folder == tmp_path / "a" / "b"
    assert names(folder) == []


def test_a_folder_appears_complete_or_not_at_all(tmp_path):
    target = tmp_path / "set"

    def fail_half_way():
        with files.atomic_folder(target) as part:
            files.write_text(part / "a.txt", "x")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way()
    assert names(tmp_path) == []
    with files.atomic_folder(target) as part:
        files.write_text(part / "a.txt", "x")
        assert not target.exists()
    assert names(tmp_path) == ["set"]
    assert names(target) == ["a.txt"]
    message = "exists already"
    with pytest.raises(FileExistsError, match=message), files.atomic_folder(target):
        pass


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    code = f"""
import os, signal
from neurovis.core.files import atomic_path
with atomic_path({str(path)!r}) as part:
    part.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code])
    assert done.returncode == -9
    assert path.read_bytes() == b"old"
    files.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


# --------------------------------------------------------------------- JSON


@given(json_values)
def test_canonical_json_says_what_the_value_is(value):
    text = files.canonical_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert files.canonical_json(json.loads(text)) == text


@given(st.dictionaries(st.text(), json_values, min_size=2, max_size=5), st.randoms())
def test_canonical_json_ignores_the_order_of_keys(value, random):
    keys = list(value)
    random.shuffle(keys)
    shuffled = {k: value[k] for k in keys}
    assert files.sha256_json(shuffled) == files.sha256_json(value)


@given(json_values, json_values)
def test_canonical_json_of_different_values_differs(a, b):
    # JSON keeps 1, 1.0 and true apart, which Python's == does not.
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (files.canonical_json(a) == files.canonical_json(b)) == same


def test_numpy_values_tuples_and_paths_have_the_json_of_plain_ones():
    odd = {
        "f": np.float64(0.1),
        "i": np.int32(3),
        "b": np.True_,
        "a": np.arange(4).reshape(2, 2),
        "t": (1, "x"),
        "p": Path("a") / "b",
    }
    even = {
        "f": 0.1,
        "i": 3,
        "b": True,
        "a": [[0, 1], [2, 3]],
        "t": [1, "x"],
        "p": "a/b",
    }
    assert files.plain(odd) == even
    assert files.sha256_json(odd) == files.sha256_json(even)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.array([np.nan])])
def test_json_refuses_numbers_that_are_not_finite(tmp_path, value):
    with pytest.raises(ValueError, match="use None"):
        files.write_json(tmp_path / "a.json", {"x": value})
    assert names(tmp_path) == []


@pytest.mark.parametrize("value", [{1: 2}, {"a": {3.5: 1}}, {"a": object()}, {1, 2}])
def test_json_refuses_keys_and_values_that_it_would_change(value):
    with pytest.raises(TypeError, match="JSON"):
        files.canonical_json(value)


@settings(max_examples=25)
@given(json_values)
def test_json_comes_back_from_disk(value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        try:
            files.write_json(path, value)
        except UnicodeEncodeError:  # lone surrogates have no UTF-8
            return
        assert files.read_json(path) == value


@pytest.mark.parametrize(
    "data", [b"", b'{"a": [1, 2', b"\xff\xfe{}", b"{} {}", b"[" * 100_000]
)
def test_damaged_json_is_named_with_advice(tmp_path, data):
    path = tmp_path / "meta.json"
    path.write_bytes(data)
    with pytest.raises(DataCorruptError, match=r"meta\.json.*delete it"):
        files.read_json(path)


def test_every_truncation_of_a_json_object_is_noticed(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": [1, 2.5, None], "b": "é"})
    data = path.read_bytes().rstrip()
    for n in range(len(data)):
        path.write_bytes(data[:n])
        with pytest.raises(DataCorruptError):
            files.read_json(path)


@pytest.mark.parametrize("name", ["a.json", "a.parquet", "a.csv", "a.png"])
def test_a_missing_file_is_missing_and_not_damaged(tmp_path, name):
    read = {".json": files.read_json, ".png": pictures.read_image}
    with pytest.raises(FileNotFoundError):
        read.get(Path(name).suffix, files.read_table)(tmp_path / name)


# ------------------------------------------------------------------- tables


def test_a_parquet_table_comes_back_equal(tmp_path):
    table = mixed_table()
    files.write_table(tmp_path / "a.parquet", table)
    pd.testing.assert_frame_equal(files.read_table(tmp_path / "a.parquet"), table)


def test_equal_tables_give_equal_bytes_however_they_were_made(tmp_path):
    table = mixed_table()
    twice = pd.concat([table, table], ignore_index=True)
    annotated = table.copy()
    annotated.attrs["note"] = object()
    copies = {
        "whole": table,
        "pieces": pd.concat([table[:1234], table[1234:]]),
        "slice": twice[len(table) :],
        "reordered": table.sample(frac=1, random_state=0).sort_index(),
        "annotated": annotated,
    }
    hashes = set()
    for name, copy in copies.items():
        files.write_table(tmp_path / f"{name}.parquet", copy)
        hashes.add(files.sha256_file(tmp_path / f"{name}.parquet"))
    files.write_table(
        tmp_path / "again.parquet", files.read_table(tmp_path / "whole.parquet")
    )
    hashes.add(files.sha256_file(tmp_path / "again.parquet"))
    assert len(hashes) == 1


def test_a_long_table_in_uneven_pieces_gives_the_bytes_of_the_whole(tmp_path):
    n = 150_000  # enough for several pages
    values = np.random.default_rng(0).random(n).tolist()
    whole = pd.DataFrame({"name": [f"{i}-{v}" for i, v in enumerate(values)]})
    cuts = [0, n // 7, n // 7 + 11, n // 2, n]
    pieces = [whole[a:b] for a, b in itertools.pairwise(cuts)]
    files.write_table(tmp_path / "whole.parquet", whole)
    files.write_table(tmp_path / "pieces.parquet", pd.concat(pieces))
    hashes = {files.sha256_file(p) for p in tmp_path.iterdir()}
    assert len(hashes) == 1


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=True),
            st.text(st.characters(codec="utf-8"), max_size=8),
        ),
        max_size=12,
    )
)
def test_parquet_keeps_every_float_and_text(rows):
    table = pd.DataFrame(rows, columns=["number", "text"]).astype(
        {"number": "float64", "text": "str"}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        files.write_table(path, table)
        pd.testing.assert_frame_equal(files.read_table(path), table, check_exact=True)


def test_every_truncation_of_a_parquet_file_is_noticed(tmp_path):
    path = tmp_path / "t.parquet"
    files.write_table(path, mixed_table(50))
    data = path.read_bytes()
    for n in [*range(0, len(data), 41), *range(len(data) - 12, len(data))]:
        path.write_bytes(data[:n])
        with pytest.raises(DataCorruptError, match=r"t\.parquet.*delete it"):
            files.read_table(path)


def test_a_changed_byte_in_the_values_of_a_parquet_file_is_noticed(tmp_path):
    path = tmp_path / "t.parquet"
    files.write_table(
        path, pd.DataFrame({"value": np.random.default_rng(0).random(999)})
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataCorruptError, match="CRC"):
        files.read_table(path)


def test_csv_is_utf8_with_plain_line_ends_and_empty_cells(tmp_path):
    table = pd.DataFrame({"word": ["é", "NA", None], "x": [0.1, np.nan, np.inf]})
    files.write_table(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_bytes() == b"word,x\n\xc3\xa9,0.1\nNA,\n,inf\n"
    pd.testing.assert_frame_equal(files.read_table(tmp_path / "a.csv"), table)


@settings(max_examples=25)
@given(st.lists(st.floats(allow_nan=True), min_size=1, max_size=12))
def test_csv_keeps_every_float(values):
    table = pd.DataFrame({"x": np.array(values, np.float64), "y": "text"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        files.write_table(path, table)
        found = files.read_table(path)["x"].to_numpy(np.float64)
    np.testing.assert_array_equal(found, table["x"].to_numpy())


@pytest.mark.parametrize(
    "data",
    [b"", b"a,b\n1,2,3\n", b"a,b\n1,2\n3", b"a\n\xff\n", b'a,b\n"1,2\n'],
    ids=["empty", "long row", "short row", "not UTF-8", "open quote"],
)
def test_a_damaged_csv_is_named_with_advice(tmp_path, data):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(DataCorruptError, match=r"t\.csv.*delete it"):
        files.read_table(path)


def test_csv_cells_may_hold_commas_quotes_and_line_ends(tmp_path):
    table = pd.DataFrame({"word": ['a,"b"', "x\r\ny", " z "], "n": [1, 2, 3]})
    files.write_table(tmp_path / "a.csv", table)
    pd.testing.assert_frame_equal(files.read_table(tmp_path / "a.csv"), table)


def test_an_index_that_carries_meaning_is_not_dropped_in_silence(tmp_path):
    means = pd.DataFrame({"g": ["a", "b"], "x": [1.0, 2.0]}).groupby("g").mean()
    with pytest.raises(ValueError, match="reset_index"):
        files.write_table(tmp_path / "a.parquet", means)
    with pytest.raises(ValueError, match="reset_index"):
        files.write_table(tmp_path / "a.csv", means.rename_axis(None))
    assert names(tmp_path) == []


def test_tables_with_other_column_names_or_suffixes_are_refused(tmp_path):
    with pytest.raises(TypeError, match="must be text; got 1"):
        files.write_table(tmp_path / "a.csv", pd.DataFrame({1: [2]}))
    with pytest.raises(ValueError, match="'a' more than once"):
        files.write_table(
            tmp_path / "a.csv", pd.DataFrame([[1, 2]], columns=["a", "a"])
        )
    with pytest.raises(ValueError, match=r"Did you mean '\.parquet'"):
        files.write_table(tmp_path / "a.parqet", pd.DataFrame({"a": [2]}))
    with pytest.raises(ValueError, match="suffix"):
        files.read_table(tmp_path / "a.txt")
    assert names(tmp_path) == []


def test_an_empty_table_keeps_its_columns(tmp_path):
    table = pd.DataFrame({"a": np.array([], float), "b": np.array([], "int64")})
    files.write_table(tmp_path / "a.parquet", table)
    pd.testing.assert_frame_equal(files.read_table(tmp_path / "a.parquet"), table)


# ----------------------------------------------------------------- checksums


@given(st.binary(max_size=300))
def test_hashes_agree_with_hashlib(data):
    expected = hashlib.sha256(data).hexdigest()
    assert files.sha256_bytes(data) == expected
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a").write_bytes(data)
        assert files.sha256_file(Path(folder) / "a") == expected
