"""Hostile, damaged and honest archives."""

import gzip
import hashlib
import io
import logging
import os
import shutil
import stat
import tarfile
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_loaders.archives import extract_archive
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json
from neurovis.core.store import lock

FILES = {"readme.txt": b"read me", "images/1.bin": os.urandom(70_000), "empty": b""}
TARS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz"}
KINDS = [".zip", *TARS]


def make_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tar_member(name, data=b"", **changes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in changes.items():
        setattr(info, field, value)
    return info, io.BytesIO(data)


def make_tar(path, members, mode=None):
    mode = mode or next(TARS[s] for s in TARS if path.name.endswith(s))
    with tarfile.open(path, mode) as archive:
        for info, data in members:
            archive.addfile(info, data)
    return path


def make(folder, kind, files=FILES):
    path = folder / f"set{kind}"
    if kind == ".zip":
        return make_zip(path, files)
    return make_tar(path, [tar_member(n, d) for n, d in files.items()])


def content(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != ".unpacked.json"
    }


def assert_nothing_but(archive):
    assert [p.name for p in archive.parent.iterdir()] == [archive.name]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_becomes_its_files(tmp_path, kind):
    path = make(tmp_path, kind)
    folder = extract_archive(path, tmp_path / "below" / "out")
    assert content(folder) == FILES
    note = read_json(folder / ".unpacked.json")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert note == {"sha256": sha256, "n_members": 3}
    assert sorted(p.name for p in folder.parent.iterdir()) == ["out"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_call_does_nothing_and_says_so(tmp_path, kind, caplog):
    path = make(tmp_path, kind)
    folder = extract_archive(path, tmp_path / "out")
    (folder / "readme.txt").write_text("kept")
    caplog.set_level(logging.INFO, "data_loaders.archives")
    extract_archive(path, folder)
    assert (folder / "readme.txt").read_text() == "kept"
    assert "unpacked already: nothing to do" in caplog.text


@pytest.mark.parametrize("change", ["other archive", "own folder", "file"])
def test_what_stands_in_the_way_is_left_alone(tmp_path, change):
    path, folder = make(tmp_path, ".zip"), tmp_path / "out"
    if change == "other archive":
        extract_archive(make(tmp_path, ".tar"), folder)
    elif change == "own folder":
        folder.mkdir()
    else:
        folder.write_text("mine")
    with pytest.raises(FileExistsError, match="was not unpacked from set"):
        extract_archive(path, folder)
    assert folder.exists()


def test_rights_of_members_are_not_taken_over(tmp_path):
    members = [
        tar_member("run", b"#!", mode=0o4777),
        tar_member("d", type=b"5", mode=0),
    ]
    folder = extract_archive(make_tar(tmp_path / "set.tar", members), tmp_path / "out")
    assert stat.S_IMODE((folder / "run").stat().st_mode) & 0o7111 == 0
    assert os.access(folder / "d", os.W_OK)


def test_folders_of_an_archive_may_repeat_and_may_be_a_dot(tmp_path):
    folders = [tar_member(n, type=tarfile.DIRTYPE) for n in (".", "./a", "a")]
    path = make_tar(tmp_path / "set.tar", [*folders, tar_member("./a/b", b"1")])
    assert content(extract_archive(path, tmp_path / "out")) == {"a/b": b"1"}
    path = make_zip(tmp_path / "set.zip", {"a/": b"", "a/b": b"1"})
    assert content(extract_archive(path, tmp_path / "zip")) == {"a/b": b"1"}


# -------------------------------------------------------------------- hostile

OUTSIDE = [
    "../evil",
    "a/../../evil",
    "a/..",
    "/evil",
    "//host/evil",
    "C:/evil",
    "C:evil",
    "..\\evil",
    "a\\b",
    "\\evil",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", [".zip", ".tar.gz"])
def test_members_outside_the_folder_are_refused(tmp_path, kind, name):
    path = make(tmp_path, kind, {"good": b"1", name: b"evil"})
    with pytest.raises(ValueError, match="lies outside the folder"):
        extract_archive(path, tmp_path / "out")
    assert_nothing_but(path)
    assert not (tmp_path.parent / "evil").exists()


def test_a_name_cut_by_a_nul_is_refused(tmp_path):
    path = make_zip(tmp_path / "set.zip", {"good__.txt": b"1"})
    path.write_bytes(path.read_bytes().replace(b"good__.txt", b"good\0_.txt"))
    with pytest.raises((ValueError, DataCorruptError), match=r"outside|readable"):
        extract_archive(path, tmp_path / "out")
    assert_nothing_but(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.SYMTYPE, "linkname": "good"},
        {"type": tarfile.LNKTYPE, "linkname": "../../evil"},
        {"type": tarfile.LNKTYPE, "linkname": "good"},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, changes):
    members = [tar_member("good", b"1"), tar_member("bad", **changes)]
    path = make_tar(tmp_path / "set.tar", members)
    with pytest.raises(ValueError, match="'bad' is a link or a device"):
        extract_archive(path, tmp_path / "out")
    assert_nothing_but(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    info = zipfile.ZipInfo("bad")
    info.external_attr = (kind | 0o777) << 16
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="'bad' is a link or a device"):
        extract_archive(path, tmp_path / "out")
    assert_nothing_but(path)


def test_a_file_through_a_link_of_the_archive_is_refused(tmp_path):
    link = tar_member("a", type=tarfile.SYMTYPE, linkname=str(tmp_path))
    path = make_tar(tmp_path / "set.tar", [link, tar_member("a/evil", b"1")])
    with pytest.raises(ValueError, match="link"):
        extract_archive(path, tmp_path / "out")
    assert_nothing_but(path)


@pytest.mark.parametrize("twin", ["a/B", "a/b", "./a/b", "A/b"])
def test_members_that_would_hide_each_other_are_refused(tmp_path, twin):
    path = make_tar(
        tmp_path / "set.tar", [tar_member("a/b", b"1"), tar_member(twin, b"2")]
    )
    with pytest.raises(ValueError, match="name that is taken"):
        extract_archive(path, tmp_path / "out")
    assert_nothing_but(path)


def test_a_forged_mark_of_completion_is_refused(tmp_path):
    path = make(tmp_path, ".zip", {".unpacked.json": b"{}"})
    with pytest.raises(ValueError, match="name that is taken"):
        extract_archive(path, tmp_path / "out")


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_a_file_below_a_file_is_refused(tmp_path, kind):
    path = make(tmp_path, kind, {"a": b"1", "a/b": b"2"})
    with pytest.raises(ValueError, match="lies below a file"):
        extract_archive(path, tmp_path / "out")
    assert_nothing_but(path)


@pytest.mark.parametrize("kind", [".zip", ".tar.gz"])
def test_too_many_members_are_refused(tmp_path, kind):
    path = make(tmp_path, kind, {str(i): b"" for i in range(11)})
    with pytest.raises(ValueError, match="more than 10 members"):
        extract_archive(path, tmp_path / "out", max_members=10)
    assert_nothing_but(path)
    assert len(content(extract_archive(path, tmp_path / "o", max_members=11))) == 11


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_bytes_are_refused(tmp_path, kind):
    path = make(tmp_path, kind, {"a": bytes(600), "b": bytes(600)})
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        extract_archive(path, tmp_path / "out", max_bytes=1000)
    assert_nothing_but(path)
    assert content(extract_archive(path, tmp_path / "o", max_bytes=1200))["b"]


def test_a_bomb_that_lies_about_its_size_is_found_while_unpacking(tmp_path):
    path = make_zip(tmp_path / "set.zip", {"bomb": bytes(20 << 20)})
    data = bytearray(path.read_bytes())
    size = (20 << 20).to_bytes(4, "little")
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, (100).to_bytes(4, "little")))
    with pytest.raises((ValueError, DataCorruptError)):
        extract_archive(path, tmp_path / "out", max_bytes=1 << 20)
    assert_nothing_but(path)


def test_a_tar_that_goes_on_for_ever_is_refused(tmp_path):
    path = tmp_path / "set.tar.gz"
    with gzip.open(path, "wb") as file:
        tar = make(tmp_path, ".tar")
        file.write(tar.read_bytes() + bytes(4 << 20))
    tar.unlink()
    with pytest.raises(ValueError, match="goes on behind its end mark"):
        extract_archive(path, tmp_path / "out", max_bytes=1 << 20)
    assert_nothing_but(path)


def test_an_encrypted_member_is_refused(tmp_path):
    path = make(tmp_path, ".zip", {"secret": b"1"})
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="'secret' is encrypted"):
        extract_archive(path, tmp_path / "out")
    assert_nothing_but(path)


# -------------------------------------------------------------------- damaged


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.85])
def test_a_truncated_archive_is_corrupt(tmp_path, kind, share):
    path = make(tmp_path, kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match="truncated or damaged"):
        extract_archive(path, tmp_path / "out")
    assert_nothing_but(path)


def test_a_tar_cut_between_two_members_is_corrupt(tmp_path):
    path = make(tmp_path, ".tar", {"a": bytes(512), "b": bytes(512)})
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(DataCorruptError, match="before its end mark"):
        extract_archive(path, tmp_path / "out")
    assert_nothing_but(path)


@pytest.mark.parametrize("kind", [".zip", ".tar.gz", ".tar.xz"])
@settings(max_examples=30)
@given(data=st.data())
def test_a_changed_byte_never_gives_other_content(tmp_path_factory, kind, data):
    folder = tmp_path_factory.mktemp("damage")
    files = {"a.txt": b"abc" * 500, "b/c.txt": bytes(range(256)) * 8}
    path = make(folder, kind, files)
    whole = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(whole) - 1))
    whole[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        found = content(extract_archive(path, folder / "out"))
    except (DataCorruptError, ValueError):
        assert_nothing_but(path)
    else:
        # A zip guards its contents but not its names.
        assert sorted(found.values()) == sorted(files.values())


def test_damage_in_the_directory_of_a_zip_is_never_another_error(tmp_path):
    path = make(tmp_path, ".zip", {"a.txt": b"abc", "b/c.txt": b"def"})
    whole = path.read_bytes()
    start = whole.index(b"PK\x01\x02")
    for where in range(start, len(whole)):
        damaged = bytearray(whole)
        damaged[where] ^= 0x81
        path.write_bytes(damaged)
        folder = tmp_path / f"out{where}"
        with suppress(DataCorruptError, ValueError):
            extract_archive(path, folder)
            assert sorted(content(folder).values()) == [b"abc", b"def"]
            shutil.rmtree(folder)
    assert_nothing_but(path)


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_of_file_is_corrupt(tmp_path, kind):
    path = tmp_path / f"set{kind}"
    path.write_text("<html>log in</html>" * 100)
    with pytest.raises(DataCorruptError, match="not a readable archive"):
        extract_archive(path, tmp_path / "out")
    assert_nothing_but(path)


# ------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("set.rar", {}, "one of the suffixes"),
        ("set.zip", {"max_members": 0}, "`max_members`"),
        ("set.zip", {"max_bytes": -1}, "`max_bytes`"),
    ],
)
def test_impossible_arguments_are_refused(tmp_path, name, changes, match):
    (tmp_path / name).write_bytes(b"1")
    with pytest.raises(ValueError, match=match):
        extract_archive(tmp_path / name, tmp_path / "out", **changes)


def test_a_missing_archive_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        extract_archive(tmp_path / "set.zip", tmp_path / "out")


def test_a_second_process_is_told_who_is_at_work(tmp_path):
    path = make(tmp_path, ".zip")
    with lock(tmp_path / "out"), pytest.raises(BlockingIOError, match="pid"):
        extract_archive(path, tmp_path / "out")
    assert content(extract_archive(path, tmp_path / "out")) == FILES


def test_a_full_disk_is_not_blamed_on_the_archive(tmp_path, monkeypatch):
    path = make(tmp_path, ".zip")
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(OSError, match="No space left") as error:
        extract_archive(path, tmp_path / "out")
    assert error.value.errno == 28
    assert_nothing_but(path)


def _no_space(handle):
    raise OSError(28, "No space left on device")
