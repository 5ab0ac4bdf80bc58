"""Pictures that are damaged, or not what their names say."""

import io
import re
import struct
import sys
import zipfile
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_loaders.picture_folder import open_picture_folder
from data_loaders.source_files import ZipPictures
from neurovis.cli import main
from neurovis.core.embedding_bank import open_bank
from neurovis.core.errors import DataCorruptError
from neurovis.core.pictures import write_png
from neurovis.foveation.transforms import FoveationSettings
from stimuli.save import load_stimuli, save_stimuli
from stimuli.search_arrays import make_search_arrays
from tasks.foveate import foveate_folder
from tests.tasks.test_bank_build import build
from tests.tasks.test_free_viewing import run, tables, write_osie

HTML = b"<!DOCTYPE html><html><body>404: no such picture</body></html>"


def noise(height=20, width=30):
    shape = (height, width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def flipped(data, place=None):
    data = bytearray(data)
    data[len(data) // 2 if place is None else place] ^= 1
    return bytes(data)


def png_header(width, height):
    """A whole PNG file of some bytes that tells of any size."""

    def chunk(kind, body):
        sums = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + sums

    facts = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [
        chunk(b"IHDR", facts),
        chunk(b"IDAT", zlib.compress(b"")),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def half(data):
    return data[: len(data) // 2]


def shorter(data):
    """Leave out the last line."""
    return b"".join(data.splitlines(keepends=True)[:-1])


def parts_left(folder):
    return [path.name for path in folder.rglob("*.part-*")]


# ------------------------------------------------------------ what is no whole picture

BROKEN = {
    "a PNG cut in the middle": (
        "1.png",
        half(encoded(noise(), "PNG")),
        "Truncated File Read",
    ),
    "a JPEG cut in the middle": (
        *("1.jpg", half(encoded(noise(96, 96), "JPEG"))),
        "image file is truncated",
    ),
    "a PNG with one byte flipped": (
        *("1.png", flipped(encoded(noise(), "PNG"))),
        "bad header checksum",
    ),
    "a web page named .png": ("1.png", HTML, "begins as a web page does"),
    "an empty file named .png": ("1.png", b"", "it is empty"),
    "a text file named .jpg": ("1.jpg", b"see the other folder", "b'see the othe'"),
    "a PNG of no pixels": ("1.png", png_header(0, 5), "not a readable picture"),
}


@pytest.mark.parametrize("happened", BROKEN)
def test_what_is_no_whole_picture_is_named_and_never_guessed(tmp_path, told, happened):
    name, data, words = BROKEN[happened]
    write_png(tmp_path / "0.png", noise())
    (tmp_path / name).write_bytes(data)
    pictures, labels = open_picture_folder(tmp_path)
    assert labels["stimulus_id"].tolist() == ["0.png", name]
    np.testing.assert_array_equal(pictures[0], noise())
    with pytest.raises(DataCorruptError, match=words) as caught:
        pictures[1]
    assert str(caught.value).startswith(f"{tmp_path / name} is not a readable picture")
    assert "delete it, then make or download it again" in str(caught.value)
    assert " at 0x" not in str(caught.value)
    told(f"{happened}, in a folder of pictures", caught.value)


@pytest.mark.parametrize("side", [10_000, 2**31 - 1])
def test_a_header_of_a_giant_picture_is_refused_undecoded(tmp_path, told, side):
    (tmp_path / "giant.png").write_bytes(png_header(side, side))
    pictures, _ = open_picture_folder(tmp_path)
    with pytest.raises(
        ValueError, match=r"giant\.png has more than 80000000"
    ) as caught:
        pictures[0]
    told(f"a PNG of a few bytes that tells of {side} x {side} pixels", caught.value)


def test_a_flipped_byte_of_a_jpeg_shows_in_the_hash_of_what_was_read(tmp_path, told):
    source, out = tmp_path / "pictures", tmp_path / "out"
    source.mkdir()
    data = encoded(noise(64, 64), "JPEG", quality=90)
    (source / "1.jpg").write_bytes(data)
    blur = FoveationSettings("foveated-blur", factor=0.4, px_per_deg=6.0)
    foveate_folder(source, out, blur, device="cpu")
    before = {path.name: path.read_bytes() for path in out.rglob("*.*")}
    (source / "1.jpg").write_bytes(flipped(data))
    with pytest.raises(ValueError, match="source") as caught:
        foveate_folder(source, out, blur, device="cpu")
    assert {path.name: path.read_bytes() for path in out.rglob("*.*")} == before
    text = re.sub(r"[0-9a-f]{64}", "HASH", str(caught.value))
    told(
        "one byte of a JPEG flipped, which has no checksums, between two runs of "
        "`stimuli foveate` into one folder",
        f"the pixels are taken as they are read, but their hash is another: {text}",
    )


# ------------------------------------------------------- kinds that are read, and how


def kinds():
    """Bytes of pictures, what they must be read as, the rule, and how exactly."""
    levels = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    deep = np.dstack([levels, levels[::-1], levels[:, ::-1]])
    high = (levels >> 8).astype(np.uint8)
    rgb, grey = noise(), noise()[..., 0]
    colours = np.array([[255, 0, 0], [0, 200, 10], [7, 8, 9]], np.uint8)
    index = grey % 3
    palette = Image.fromarray(index, "P")
    palette.putpalette(colours.tobytes())
    clear = np.where(index[..., None] == 1, np.uint8(128), colours[index])
    alpha = np.full((20, 30), 255, np.uint8)
    alpha[:10] = 0
    shown = np.where(alpha[..., None] == 0, np.uint8(128), rgb)
    shown_grey = np.where(alpha == 0, np.uint8(128), grey)
    red = np.full((16, 16, 4), [0, 255, 255, 0], np.uint8)
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - rgb)]}
    flat = [Image.new("L", (4, 3), level) for level in (10, 200)]
    return {
        "a PNG of 16-bit greys": (
            *("png", cv2.imencode(".png", levels)[1].tobytes()),
            *(np.dstack([high] * 3), "the high byte of each sample", 0),
        ),
        "a PNG of 16-bit colours": (
            *("png", cv2.imencode(".png", deep[..., ::-1])[1].tobytes()),
            *((deep >> 8).astype(np.uint8), "the high byte of each sample", 0),
        ),
        "a JPEG of CMYK inks": (
            *("jpg", encoded(Image.fromarray(red, "CMYK"), "JPEG", quality=100)),
            *(np.full((16, 16, 3), [255, 0, 0]), "the light that the inks leave", 3),
        ),
        "a PNG with a palette": (
            *("png", encoded(palette, "PNG")),
            *(colours[index], "the colours of the palette", 0),
        ),
        "a PNG with a palette and a transparent entry": (
            *("png", encoded(palette, "PNG", transparency=1)),
            *(clear, "mid grey where it is transparent", 0),
        ),
        "a PNG with an alpha channel": (
            *("png", encoded(np.dstack([rgb, alpha]), "PNG")),
            *(shown, "mid grey where it is transparent", 0),
        ),
        "a PNG of greys with an alpha channel": (
            *("png", encoded(Image.fromarray(np.dstack([grey, alpha]), "LA"), "PNG")),
            *(np.dstack([shown_grey] * 3), "mid grey where it is transparent", 0),
        ),
        "a PNG of one bit per pixel": (
            *("png", encoded(Image.fromarray(grey > 127), "PNG")),
            *(np.dstack([(grey > 127) * 255] * 3), "black and white", 0),
        ),
        "an animated GIF": (
            *("gif", encoded(flat[0], "GIF", save_all=True, append_images=flat[1:])),
            *(np.full((3, 4, 3), 10), "the first frame", 0),
        ),
        "a TIFF of two pages": (
            *("tif", encoded(rgb, "TIFF", **frames)),
            *(rgb, "the first page", 0),
        ),
    }


@pytest.mark.parametrize("happened", kinds())
def test_every_kind_of_picture_has_one_stated_reading(tmp_path, told, happened):
    suffix, data, expected, rule, tolerance = kinds()[happened]
    (tmp_path / f"1.{suffix}").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr(f"1.{suffix}", data)
    inside = ZipPictures(tmp_path / "all.zip", (f"1.{suffix}",))
    found = [inside[0]]
    if suffix != "gif":  # not looked for in folders
        found.append(open_picture_folder(tmp_path)[0][0])
    for picture in found:
        assert picture.dtype == np.uint8
        assert picture.shape == expected.shape
        assert abs(picture.astype(int) - expected.astype(int)).max() <= tolerance
    told(happened, f"it is read as 8-bit RGB: {rule}")


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


def corners():
    """Four patches of other greys, so that every turn shows after JPEG."""
    small = np.array([[20, 90, 90], [160, 230, 230]], np.uint8)
    return np.kron(np.dstack([small] * 3), np.ones((16, 16, 1), np.uint8))


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(corners(), "JPEG", quality=95, exif=exif)


def test_a_photograph_is_read_upright_from_folders_and_zip_files(tmp_path, told):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for orientation in UPRIGHT:
            (tmp_path / f"{orientation}.jpg").write_bytes(turned(orientation))
            archive.writestr(f"{orientation}.jpg", turned(orientation))
    pictures, labels = open_picture_folder(tmp_path)
    inside = ZipPictures(tmp_path / "all.zip", tuple(labels["stimulus_id"]))
    for row, name in enumerate(labels["stimulus_id"]):
        expected = UPRIGHT[int(name[0])](corners())
        assert pictures[row].shape == expected.shape
        assert abs(pictures[row].astype(int) - expected).max() <= 4
        np.testing.assert_array_equal(inside[row], pictures[row])
    told(
        "photographs with the EXIF orientations 1 to 8, in a folder and in a zip file",
        "each is read upright, as viewers show it",
    )


def test_damaged_exif_data_are_told_and_the_picture_is_read_as_stored(tmp_path, told):
    data = bytearray(turned(6))
    data[data.find(b"Exif") + 10] ^= 0xFF  # where the entries begin
    (tmp_path / "1.jpg").write_bytes(bytes(data))
    with pytest.warns(UserWarning, match="Corrupt EXIF data") as caught:
        picture = open_picture_folder(tmp_path)[0][0]
    assert picture.shape == corners().shape
    assert abs(picture.astype(int) - corners()).max() <= 4
    told(
        "a photograph whose EXIF data are damaged",
        f"the picture as it is stored, and the warning: {caught[0].message}",
    )


# ----------------------------------------------------------------------- what uses them


def test_a_bank_lists_what_it_could_not_read_and_holds_the_rest(tmp_path, told, caplog):
    source = tmp_path / "pictures"
    for i in range(3):
        write_png(source / f"good-{i}.png", noise(12 + i, 14))
    whole = build(source, tmp_path / "whole")
    for i, (name, data, _) in enumerate(BROKEN.values()):
        (source / f"bad-{i}{name[1:]}").write_bytes(data)
    (source / "bad-giant.png").write_bytes(png_header(30_000, 30_000))
    bank = build(source, tmp_path / "bank", batch_size=4)
    assert bank.images.equals(whole.images)
    np.testing.assert_allclose(bank.rows(range(3)), whole.rows(range(3)), atol=1e-6)
    failed = pd.read_csv(tmp_path / "bank" / "failed.csv")
    n = len(BROKEN) + 1
    assert failed["image"].str.startswith("bad-").tolist() == [True] * n
    wanted = "not a readable picture|decompression bomb"
    assert failed["reason"].str.contains(wanted).all()
    assert parts_left(tmp_path) == []
    assert open_bank(tmp_path / "bank", verify=True).images.equals(bank.images)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{n} of {n + 3} pictures were left out")
    told("damaged pictures among those of an embedding bank", message)


def test_a_bank_of_damaged_pictures_alone_is_refused(tmp_path, told):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(HTML)
    with pytest.raises(ValueError, match="None of the 1 pictures") as caught:
        build(tmp_path / "pictures", tmp_path / "bank")
    told("no picture of an embedding bank can be read", caught.value)
    assert not (tmp_path / "bank" / "bank.json").exists()
    assert parts_left(tmp_path) == []


def call(*words, capsys):
    """Run the command line in this process."""
    old, sys.argv = sys.argv, ["neurovis", *map(str, words)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = old
    shown = capsys.readouterr()
    return SimpleNamespace(code=code, output=shown.out, errors=shown.err)


@pytest.mark.parametrize(
    "happened", ["a web page named .png", "a JPEG cut in the middle"]
)
def test_foveate_checks_all_pictures_before_it_writes_one(
    tmp_path, told, capsys, happened
):
    name, data, words = BROKEN[happened]
    source = tmp_path / "pictures"
    write_png(source / "0.png", noise(32, 32))
    (source / name).write_bytes(data)
    verb = ("stimuli", "foveate", source, "--out", tmp_path / "out", "--device", "cpu")
    done = call(*verb, capsys=capsys)
    assert (done.code, done.output) == (1, "")
    assert re.fullmatch(rf"error: {source / name} .*{words}.*\n", done.errors)
    assert not (tmp_path / "out").exists()
    told(f"{happened}, the last picture of `neurovis stimuli foveate`", done.errors)


@pytest.fixture(scope="module")
def made():
    return make_search_arrays("top_down", set_sizes=[6], trials=2)


def replaced(path):
    Image.fromarray(255 - np.array(Image.open(path))).save(path)


SAVED = {
    "one byte of a picture flipped": (
        *("images", lambda p: p.write_bytes(flipped(p.read_bytes()))),
        r"\.png is not a readable picture",
    ),
    "a picture cut in the middle": (
        *("images", lambda p: p.write_bytes(half(p.read_bytes()))),
        r"\.png is not a readable picture",
    ),
    "a picture replaced by another one": ("images", replaced, "a picture was changed"),
    "one byte of the table flipped": (
        *("stimuli.csv", lambda p: p.write_bytes(flipped(p.read_bytes(), -3))),
        "not the table that was saved",
    ),
    "the table cut at the end of a line": (
        *("stimuli.csv", lambda p: p.write_bytes(shorter(p.read_bytes()))),
        "not the table that was saved",
    ),
    "the description cut in the middle": (
        *("stimuli.json", lambda p: p.write_bytes(half(p.read_bytes()))),
        r"stimuli\.json is not a readable JSON",
    ),
}


@pytest.mark.parametrize("happened", SAVED)
def test_a_saved_stimulus_set_is_verified_to_the_last_byte(
    tmp_path, told, made, happened
):
    place, damage, words = SAVED[happened]
    folder = save_stimuli(made, tmp_path / "set", progress=False)
    path = folder / place
    damage(sorted(path.iterdir())[0] if path.is_dir() else path)
    with pytest.raises(DataCorruptError, match=words) as caught:
        load_stimuli(folder, verify=True)
    told(
        f"{happened}, in a saved stimulus set",
        re.sub(r"[0-9a-f]{64}", "HASH", str(caught.value)),
    )


def test_free_viewing_stops_at_a_damaged_picture_and_ends_when_it_is_mended(
    tmp_path, told
):
    data = write_osie(tmp_path / "osie", n_pictures=10, n_observers=3)
    scored = {"models": ["centre"], "n_bootstrap": 20}
    run(data, tmp_path / "whole", **scored)
    path = data / "stimuli" / "1007.jpg"
    whole = path.read_bytes()
    path.write_bytes(half(whole))
    with pytest.raises(
        DataCorruptError, match=r"1007\.jpg is not a readable"
    ) as caught:
        run(data, tmp_path / "out", **scored)
    told("a picture of the free-viewing data cut in the middle", caught.value)
    assert not (tmp_path / "out" / "scores.parquet").exists()
    assert parts_left(tmp_path) == []
    path.write_bytes(whole)
    run(data, tmp_path / "out", **scored)
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")
    told(
        "the same run again after the picture was put right",
        "the run ends, and its tables are byte for byte those of an undisturbed one",
    )
