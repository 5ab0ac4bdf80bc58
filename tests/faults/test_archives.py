"""Archives that are hostile or damaged."""

import io
import shutil
import stat
import subprocess
import sys
import tarfile
import warnings
import zipfile

import pytest

from data_loaders.archives import extract_archive
from neurovis.core.errors import DataCorruptError

PHOTO = bytes(range(256)) * 40


@pytest.fixture
def place(tmp_path):
    """A folder beside files of others, which must stay as they are."""
    (tmp_path / "around" / "photos-of-others").mkdir(parents=True)
    (tmp_path / "around" / "photos-of-others" / "1.png").write_bytes(b"theirs")
    (tmp_path / "secret").write_text("theirs")
    return tmp_path / "around"


def everything(folder):
    """Every file, folder and link below, with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


def refused(place, archive, told, happened, error, match, **limits):
    """Unpack; nothing may be left, nor changed outside."""
    before = everything(place.parent)
    with pytest.raises(error, match=match) as caught:
        extract_archive(archive, place / "photos", **limits)
    assert everything(place.parent) == before
    told(happened, caught.value)


def write_zip(path, members):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members:
                archive.writestr(name, data)
    return path


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


WRITERS = {"zip": write_zip, "tar.gz": write_tar}

OUTSIDE = {
    "../secret": "a file of the folder above",
    "../photos-of-others/1.png": "a file of a folder whose name begins alike",
    "a/../../secret": "a file of the folder above, by a detour",
    "{tmp}/secret": "a file by its whole path",
    "C:/Windows/win.ini": "a file of a Windows drive",
    "..\\secret": "a file of the folder above, with Windows' sign",
    "\\\\server\\share\\1.png": "a file of another computer",
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_member_outside_the_folder(place, told, kind, name):
    inside = name.format(tmp=place.parent)
    archive = place.parent / f"set.{kind}"
    WRITERS[kind](archive, [("1.png", PHOTO), (inside, b"mine")])
    happened = f"a .{kind} that would overwrite {OUTSIDE[name]}"
    refused(place, archive, told, happened, ValueError, "lies outside the folder")


def test_links_that_lead_out_of_the_folder(place, told):
    for kind, what in ((tarfile.SYMTYPE, "symbolic"), (tarfile.LNKTYPE, "hard")):
        link = tarfile.TarInfo("albums")
        link.type, link.linkname = kind, str(place.parent)
        archive = place.parent / f"{what}.tar.gz"
        write_tar(archive, [(link, b""), ("albums/secret", b"mine")])
        happened = f"a .tar.gz with a {what} link to a folder outside, and a file in it"
        refused(place, archive, told, happened, ValueError, "is a link or a device")
    link = zipfile.ZipInfo("albums")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = place.parent / "set.zip"
    write_zip(archive, [(link, str(place.parent)), ("albums/secret", b"mine")])
    happened = "a .zip with a symbolic link to a folder outside, and a file in it"
    refused(place, archive, told, happened, ValueError, "is a link or a device")


def test_devices(place, told):
    for kind, what in ((tarfile.CHRTYPE, "device"), (tarfile.FIFOTYPE, "pipe")):
        node = tarfile.TarInfo("1.png")
        node.type, node.devmajor, node.devminor = kind, 1, 5
        archive = write_tar(place.parent / f"{what}.tar.gz", [(node, b"")])
        happened = f"a .tar.gz with a {what}"
        refused(place, archive, told, happened, ValueError, "is a link or a device")


# --------------------------------------------------------------------- bombs


@pytest.mark.parametrize("kind", WRITERS)
def test_a_bomb(place, told, kind):
    zeros = bytes(64 << 20)
    archive = WRITERS[kind](place.parent / f"bomb.{kind}", [("1.png", zeros)])
    assert archive.stat().st_size < len(zeros) // 900
    happened = f"a .{kind} of 64 KB that unpacks to 64 MB, where 10 MB are allowed"
    refused(
        *(place, archive, told, happened, ValueError, "more than 10000000 bytes"),
        max_bytes=10**7,
    )


def test_a_zip_whose_members_share_their_bytes(place, told):
    archive = write_zip(place.parent / "set.zip", [("000", bytes(1 << 20))])
    data = archive.read_bytes()
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entries = [
        data[start:end].replace(b"000", b"%03d" % number) for number in range(500)
    ]
    tail = bytearray(data[end:])
    tail[8:10] = tail[10:12] = (500).to_bytes(2, "little")
    tail[12:16] = len(b"".join(entries)).to_bytes(4, "little")
    archive.write_bytes(data[:start] + b"".join(entries) + tail)
    with zipfile.ZipFile(archive) as opened:
        assert sum(info.file_size for info in opened.infolist()) == 500 << 20
    happened = "a small .zip whose 500 members are all the same megabyte"
    kinds = (ValueError, DataCorruptError)
    refused(
        *(place, archive, told, happened, kinds, "refused|not a readable"),
        max_bytes=10**7,
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_too_many_members(place, told, kind):
    members = [(f"{number}.png", b"") for number in range(300)]
    archive = WRITERS[kind](place.parent / f"set.{kind}", members)
    happened = f"a .{kind} of 300 empty files, where 200 are allowed"
    refused(
        *(place, archive, told, happened, ValueError, "more than 200 members"),
        max_members=200,
    )


def test_a_bomb_inside_a_bomb_stays_packed(place, told):
    inner = place.parent / "inner.zip"
    write_zip(inner, [("1.png", bytes(32 << 20))])
    packed = inner.read_bytes()
    archive = write_zip(place.parent / "set.zip", [("inner.zip", packed)])
    folder = extract_archive(archive, place / "photos", max_bytes=10**6)
    assert (folder / "inner.zip").read_bytes() == packed
    assert sorted(p.name for p in folder.iterdir()) == [".unpacked.json", "inner.zip"]
    told("a bomb packed inside a .zip", "its bytes: nothing inside it is unpacked")


# ---------------------------------------------------------- names and damage


@pytest.mark.parametrize("kind", WRITERS)
def test_a_name_twice(place, told, kind):
    members = [("1.png", PHOTO), ("1.PNG", b"another")]
    archive = WRITERS[kind](place.parent / f"set.{kind}", members)
    happened = f"a .{kind} with two files that many systems take for one"
    refused(place, archive, told, happened, ValueError, "has a name that is taken")


def test_an_encrypted_archive(place, told):
    archive = write_zip(place.parent / "set.zip", [("1.png", PHOTO)])
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    archive.write_bytes(data)
    happened = "a .zip with a password"
    refused(place, archive, told, happened, ValueError, "is encrypted")


@pytest.mark.parametrize("kind", WRITERS)
def test_damage(place, told, kind):
    archive = place.parent / f"set.{kind}"
    WRITERS[kind](archive, [("1.png", PHOTO), ("2.png", PHOTO[::-1])])
    data = archive.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 3] ^= 16
    for what, content in {
        "cut in the middle": data[: len(data) // 2],
        "with one bit changed": bytes(flipped),
        "that is a web page": b"<!DOCTYPE html><html>Sign in</html>" * 30,
        "that is empty": b"",
    }.items():
        archive.write_bytes(content)
        happened = f"a .{kind} {what}"
        refused(
            *(
                place,
                archive,
                told,
                happened,
                DataCorruptError,
                "not a readable archive",
            )
        )


UNPACK = """
import os, signal, sys
from data_loaders.archives import extract_archive
real, n = os.fsync, 0
def fsync(handle):
    global n
    n += 1
    if n == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = fsync
extract_archive(sys.argv[1], sys.argv[2])
"""


def test_a_kill_while_unpacking_leaves_no_folder_under_the_name(place, told):
    members = [(f"{number}.png", PHOTO) for number in range(6)]
    archive = write_zip(place.parent / "set.zip", members)
    call = [sys.executable, "-c", UNPACK, archive, place / "photos"]
    killed = subprocess.run(call, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    assert not (place / "photos").exists()
    folder = extract_archive(archive, place / "photos")
    assert {p.name for p in folder.glob("*.png")} == {name for name, _ in members}
    shutil.rmtree(folder)
    told(
        "a kill in the middle of an archive",
        "no folder under its name; the next call unpacks it whole",
    )
