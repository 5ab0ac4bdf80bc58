"""Banks of embeddings: equal rows whatever the files, and clear words for bad ones."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurovis.core.embedding_bank import (
    EmbeddingBank,
    bank_of,
    draw_repeats,
    open_bank,
    sound_rows,
)
from neurovis.core.embedding_files import write_bank, write_shard
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file
from neurovis.core.rng import generator

ROWS = generator(0, "bank").standard_normal((23, 5)).astype(np.float32)


def cut(rows, edges):
    return np.split(rows, sorted(edges))


def write_own(folder, rows=ROWS, sizes=(10, 13), **options):
    folder.mkdir()
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    shards = [write_shard(folder, number, part) for number, part in enumerate(parts)]
    names = [f"{number}.png" for number in range(len(rows))]
    images = pd.DataFrame({"image": names, "sha256": ["ab"] * len(rows)})
    failed = pd.DataFrame({"image": ["x.png"], "reason": ["cut"]})
    given = {
        "name": "ours",
        "embedding": {"weights_hash": "3f2a"},
        "n_features": rows.shape[1],
        "dtype": rows.dtype.name,
        "notes": ["a note"],
    }
    write_bank(folder, shards, images, failed, **(given | options))
    return folder


def write_foreign(folder, **arrays):
    folder.mkdir(parents=True)
    for name, rows in arrays.items():
        np.save(folder / f"{name}.npy", rows)
    return folder


# ------------------------------------------------------------------ reading


@given(
    edges=st.lists(st.integers(1, 22), unique=True, max_size=5),
    n_rows=st.integers(1, 30),
    dtype=st.sampled_from(["float16", "float32", "float64", ">f4"]),
)
def test_blocks_are_the_rows_in_their_order_whatever_the_shards(edges, n_rows, dtype):
    rows = ROWS.astype(dtype)
    bank = bank_of(cut(rows, edges))
    index, blocks = zip(*bank.blocks(n_rows), strict=True)
    np.testing.assert_array_equal(np.concatenate(index), np.arange(23))
    np.testing.assert_array_equal(np.concatenate(blocks), rows.astype(np.float32))
    assert {len(block) for block in blocks[:-1]} <= {n_rows}
    assert {block.dtype for block in blocks} == {np.dtype("float32")}
    assert {i.dtype for i in index} == {np.dtype("int64")}


@given(
    edges=st.lists(st.integers(1, 22), unique=True, max_size=5),
    chosen=st.lists(st.integers(0, 22), max_size=40),
)
def test_chosen_rows_come_in_the_order_asked_for(edges, chosen):
    bank = bank_of(cut(ROWS, edges))
    np.testing.assert_array_equal(bank.rows(chosen), ROWS[chosen])
    found = list(bank.blocks(4, chosen))
    np.testing.assert_array_equal(np.concatenate([[], *(i for i, _ in found)]), chosen)
    for index, block in found:
        np.testing.assert_array_equal(block, ROWS[index])


def test_stored_blocks_keep_the_precision_of_the_files(tmp_path):
    folder = write_foreign(tmp_path / "bank", half=ROWS.astype(np.float16))
    ((index, block),) = open_bank(folder).stored_blocks(100)
    assert block.dtype == np.float16
    np.testing.assert_array_equal(block, ROWS.astype(np.float16))
    np.testing.assert_array_equal(index, np.arange(23))


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([23], ValueError, "within 0 and 22; got 23"),
        ([-1], ValueError, "got -1"),
        ([0.5], TypeError, "float64"),
        ([True, False], TypeError, "bool"),
        ([[1]], ValueError, "vector"),
    ],
)
def test_rows_that_are_not_there_are_refused(rows, error, words):
    bank = bank_of(ROWS)
    with pytest.raises(error, match=words):
        bank.rows(rows)
    with pytest.raises(error, match=words):
        next(bank.blocks(3, rows))


def test_a_bank_in_memory_tells_its_size_and_content():
    bank = bank_of(ROWS, "mine", embedding={"weights_hash": "3f2a"})
    assert (bank.name, bank.n_images, bank.n_features) == ("mine", 23, 5)
    assert bank.embedding == {"weights_hash": "3f2a"}
    assert bank.images is None
    assert bank.fingerprint == bank_of(ROWS.copy()).fingerprint
    changed = ROWS.copy()
    changed[3, 2] += 1
    assert bank.fingerprint != bank_of(changed).fingerprint


@pytest.mark.parametrize(
    ("shards", "words"),
    [
        ([], "empty"),
        ([np.zeros((0, 3))], "empty"),
        ([np.zeros((2, 0))], "empty"),
        ([np.zeros(3)], r"shape \(3,\)"),
        ([np.zeros((3, 2), int)], "int64"),
        ([np.zeros((3, 2), complex)], "complex128"),
        ([np.zeros((3, 2)), np.zeros((3, 4))], r"has 2 features, .*\[1\] has 4"),
    ],
)
def test_what_is_no_bank_is_refused(shards, words):
    with pytest.raises(ValueError, match=words):
        bank_of(shards)


def test_names_of_images_are_as_many_as_embeddings():
    images = pd.DataFrame({"image": ["a"], "sha256": ["b"]})
    with pytest.raises(ValueError, match="one row per embedding, 23; got 1"):
        EmbeddingBank("", (ROWS,), {}, images, "")
    with pytest.raises(ValueError, match="sha256"):
        EmbeddingBank("", (ROWS,), {}, images[["image"]], "")


# --------------------------------------------------------------- our folder


def test_a_bank_of_ours_is_mapped_and_tells_what_made_it(tmp_path):
    folder = write_own(tmp_path / "bank")
    for verify in (False, True):
        bank = open_bank(folder, verify=verify)
        np.testing.assert_array_equal(bank.rows(range(23)), ROWS)
    assert all(isinstance(shard, np.memmap) for shard in bank.shards)
    assert not any(shard.flags.writeable for shard in bank.shards)
    assert (bank.name, bank.notes) == ("ours", ("a note",))
    assert bank.embedding == {"weights_hash": "3f2a"}
    assert bank.images["image"].tolist()[:2] == ["0.png", "1.png"]
    assert bank.fingerprint == sha256_file(folder / "bank.json")


def test_a_plain_numpy_reads_a_shard(tmp_path):
    folder = write_own(tmp_path / "bank")
    np.testing.assert_array_equal(np.load(folder / "shard-00001.npy"), ROWS[10:])


def test_banks_of_other_content_have_other_fingerprints(tmp_path):
    changed = ROWS.copy()
    changed[22, 4] += 1
    folders = [write_own(tmp_path / "a"), write_own(tmp_path / "b", changed)]
    first, second = (open_bank(folder).fingerprint for folder in folders)
    assert first != second


@pytest.mark.parametrize("name", ["shard-00001.npy", "images.parquet", "failed.csv"])
def test_a_changed_byte_is_noticed_when_asked_for(tmp_path, name):
    folder = write_own(tmp_path / "bank")
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DataCorruptError, match=f"{name} is missing or has another"):
        open_bank(folder, verify=True)


@pytest.mark.parametrize("length", [-1, 1, None, 20])
def test_a_shard_of_another_length_is_noticed_at_once(tmp_path, length):
    folder = write_own(tmp_path / "bank")
    file = folder / "shard-00001.npy"
    data = file.read_bytes()
    if length is None:
        file.unlink()
    else:
        file.write_bytes(data + b"?" if length == 1 else data[:length])
    with pytest.raises(DataCorruptError, match=r"shard-00001\.npy"):
        open_bank(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("bank.json", b"{", "not a readable JSON"),
        ("bank.json", b"[]", "not that of a bank"),
        ("images.parquet", b"nothing", "not a readable parquet"),
        ("images.parquet", None, "is missing"),
    ],
)
def test_damaged_descriptions_are_told(tmp_path, name, content, words):
    folder = write_own(tmp_path / "bank")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DataCorruptError, match=words):
        open_bank(folder)


def test_shards_of_another_bank_are_noticed(tmp_path):
    folder = write_own(tmp_path / "bank")
    write_shard(folder, 1, ROWS[:9])
    with pytest.raises(DataCorruptError, match=r"shard-00001\.npy has another shape"):
        open_bank(folder)


def test_a_newer_format_is_told(tmp_path):
    folder = write_own(tmp_path / "bank")
    card = json.loads((folder / "bank.json").read_text())
    (folder / "bank.json").write_text(json.dumps(card | {"version": 2}))
    with pytest.raises(ValueError, match="version 2 of the format"):
        open_bank(folder)


def test_a_half_built_bank_is_told(tmp_path):
    folder = write_own(tmp_path / "bank")
    (folder / "bank.json").unlink()
    with pytest.raises(ValueError, match=r"not complete.*Build it again"):
        open_bank(folder)


# ------------------------------------------------------------- other banks


def test_a_folder_of_arrays_is_read_in_the_order_of_the_numbers(tmp_path):
    parts = {f"img_emb_{i}": ROWS[2 * i : 2 * i + 2] for i in range(11)}
    folder = write_foreign(tmp_path / "laion" / "img_emb", **parts)
    for path in (folder, folder.parent):
        bank = open_bank(path, embedding={"network": "ViT-B/32"})
        np.testing.assert_array_equal(bank.rows(range(22)), ROWS[:22])
        assert bank.embedding == {"network": "ViT-B/32"}
        assert bank.notes == ()
    assert bank.name == "laion"
    assert bank.images is None


def test_what_made_a_bank_of_others_is_not_guessed(tmp_path):
    folder = write_foreign(tmp_path / "found", train=ROWS, test=ROWS[:2])
    bank = open_bank(folder)
    assert bank.embedding == {}
    assert bank.notes == ("found: what made its embeddings is not told",)
    np.testing.assert_array_equal(bank.rows([0, 2]), ROWS[[0, 0]])


def test_one_file_is_a_bank(tmp_path):
    folder = write_foreign(tmp_path / "found", images=ROWS.astype(np.float16))
    bank = open_bank(folder / "images.npy")
    assert (bank.name, bank.n_images) == ("images", 23)


def test_arrays_in_fortran_order_are_rows_too(tmp_path):
    folder = write_foreign(tmp_path / "found", images=np.asfortranarray(ROWS))
    np.testing.assert_array_equal(open_bank(folder).rows([3, 1]), ROWS[[3, 1]])


def test_the_fingerprint_of_large_files_covers_their_ends(tmp_path):
    rows = np.zeros((3 * 2**17, 2), np.float32)  # 3 MiB
    first = open_bank(write_foreign(tmp_path / "a", x=rows)).fingerprint
    assert open_bank(write_foreign(tmp_path / "b", x=rows)).fingerprint == first
    for number, row in enumerate((0, -1)):
        changed = rows.copy()
        changed[row] = 1
        folder = write_foreign(tmp_path / f"c{number}", x=changed)
        assert open_bank(folder).fingerprint != first
    assert open_bank(write_foreign(tmp_path / "d", y=rows)).fingerprint != first


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "neither bank.json nor a `.npy` file"),
        ({"x": np.zeros(3)}, r"x\.npy must be a matrix"),
        ({"x": np.zeros((3, 2), np.int8)}, "int8"),
        ({"x": np.zeros((3, 2)), "y": np.zeros((3, 4))}, r"y\.npy has 4"),
        ({"x": np.zeros((0, 4), np.float32)}, "empty"),
    ],
)
def test_other_arrays_are_refused_by_name(tmp_path, arrays, words):
    folder = write_foreign(tmp_path / "found", **arrays)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        open_bank(folder)


def test_python_objects_are_not_opened(tmp_path):
    objects = np.array([[{"a": 1}], [None]], dtype=object)
    np.save(tmp_path / "x.npy", objects)
    with pytest.raises(DataCorruptError, match="objects"):
        open_bank(tmp_path)


def test_archives_are_not_taken_for_arrays(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.savez(file, a=ROWS)
    with pytest.raises(DataCorruptError, match=r"x\.npy is not a readable npy"):
        open_bank(tmp_path)


def test_options_of_the_other_kind_of_bank_are_refused(tmp_path):
    own = write_own(tmp_path / "own")
    with pytest.raises(ValueError, match="leave `embedding` out"):
        open_bank(own, embedding={})
    foreign = write_foreign(tmp_path / "found", x=ROWS)
    with pytest.raises(ValueError, match="leave `verify` out"):
        open_bank(foreign, verify=True)
    with pytest.raises(FileNotFoundError, match="there is nothing"):
        open_bank(tmp_path / "nowhere")


# ------------------------------------------------------------------ choosing


def test_sound_rows_are_neither_zero_nor_undefined():
    rows = ROWS.copy()
    rows[3], rows[7, 1], rows[20, 4] = 0, np.nan, np.inf
    bank = bank_of(cut(rows, [5, 6]))
    sound = [i for i in range(23) if i not in (3, 7, 20)]
    np.testing.assert_array_equal(sound_rows(bank), sound)
    np.testing.assert_array_equal(sound_rows(bank, [20, 8, 3, 1]), [8, 1])
    nothing = sound_rows(bank, np.zeros(0, int))
    assert (len(nothing), nothing.dtype) == (0, np.dtype("int64"))


@given(
    n_images=st.integers(1, 60),
    n_repeats=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_repeats_share_no_image(n_images, n_repeats, seed):
    n_each = n_images // n_repeats
    if n_each == 0:
        with pytest.raises(ValueError, match="fewer parts"):
            draw_repeats(n_images, n_repeats, 1, seed=seed)
        return
    parts = draw_repeats(n_images, n_repeats, n_each, seed=seed)
    assert [len(part) for part in parts] == [n_each] * n_repeats
    together = np.concatenate(parts)
    assert len(set(together.tolist())) == len(together)
    assert together.dtype == np.int64
    assert together.min() >= 0
    assert together.max() < n_images
    assert all((np.diff(part) > 0).all() for part in parts)


def test_repeats_are_those_of_their_seed():
    first, again = (draw_repeats(50, 2, 20, seed=3) for _ in range(2))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert not np.array_equal(first[0], draw_repeats(50, 2, 20, seed=4)[0])
    # Drawn evenly: no row is in much more often than others.
    counts = np.zeros(10)
    for seed in range(300):
        counts[draw_repeats(10, 1, 5, seed=seed)[0]] += 1
    assert counts.min() > 110
    assert counts.max() < 190


def test_too_many_repeats_tell_how_many_fit():
    with pytest.raises(ValueError, match=r"need 30 images; .* has 20. .* at most 6"):
        draw_repeats(20, 3, 10, seed=0)
