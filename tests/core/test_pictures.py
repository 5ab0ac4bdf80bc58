"""Pictures: read upright as 8-bit RGB, refused when damaged, written without loss."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from neurovis.core import files, pictures
from neurovis.core.errors import DataCorruptError


def picture(height=6, width=9):
    shape = (height, width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_png_comes_back_equal_and_other_readers_agree(tmp_path):
    image = picture(30, 41)
    pictures.write_png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(pictures.read_image(tmp_path / "a.png"), image)
    np.testing.assert_array_equal(cv2.imread(tmp_path / "a.png")[..., ::-1], image)
    pictures.write_png(tmp_path / "b.png", np.asfortranarray(image))
    assert files.sha256_file(tmp_path / "a.png") == files.sha256_file(
        tmp_path / "b.png"
    )


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_become_the_high_byte(tmp_path, suffix):
    samples = np.arange(0, 65536, 241, dtype=np.uint16)[:270].reshape(9, 10, 3)
    cv2.imwrite(tmp_path / f"grey.{suffix}", samples[..., 0])
    grey = pictures.read_image(tmp_path / f"grey.{suffix}")
    for channel in range(3):
        np.testing.assert_array_equal(grey[..., channel], samples[..., 0] >> 8)
    if suffix == "png":
        cv2.imwrite(tmp_path / "rgb.png", samples[..., ::-1])
        np.testing.assert_array_equal(
            pictures.read_image(tmp_path / "rgb.png"), samples >> 8
        )


def test_grey_and_black_and_white_are_replicated(tmp_path):
    grey = picture()[..., 0]
    Image.fromarray(grey).save(tmp_path / "l.png")
    np.testing.assert_array_equal(
        pictures.read_image(tmp_path / "l.png"), np.stack([grey] * 3, -1)
    )
    Image.fromarray(grey > 127).save(tmp_path / "1.png")
    expected = np.stack([(grey > 127) * np.uint8(255)] * 3, -1)
    np.testing.assert_array_equal(pictures.read_image(tmp_path / "1.png"), expected)


def test_a_palette_is_looked_up(tmp_path):
    colours = np.array([[255, 0, 0], [0, 200, 10], [7, 8, 9]], np.uint8)
    index = np.array([[0, 1, 2], [2, 2, 0]], np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(colours.tobytes())
    for name in ("p.png", "p.gif"):
        image.save(tmp_path / name)
        np.testing.assert_array_equal(
            pictures.read_image(tmp_path / name), colours[index]
        )


@pytest.mark.parametrize("background", [0, 128, 255])
def test_transparent_parts_show_the_background(tmp_path, background):
    image = picture()
    alpha = np.full((6, 9, 1), 255, np.uint8)
    alpha[2] = 0
    alpha[3] = 51  # one fifth
    Image.fromarray(np.dstack([image, alpha])).save(tmp_path / "a.png")
    found = pictures.read_image(tmp_path / "a.png", background=background)
    np.testing.assert_array_equal(found[[0, 1, 4, 5]], image[[0, 1, 4, 5]])
    np.testing.assert_array_equal(found[2], np.full((9, 3), background))
    blend = 0.2 * image[3] + 0.8 * background
    np.testing.assert_allclose(found[3], blend, atol=1)


def test_a_transparent_palette_entry_shows_the_background(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "a.png", transparency=0)
    found = pictures.read_image(tmp_path / "a.png", background=99)
    np.testing.assert_array_equal(found, [[[99, 99, 99], [40, 50, 60]]])


def test_cmyk_inks_take_away_light(tmp_path):
    inks = [[255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [0] * 4]
    light = [[0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0], [255] * 3]
    Image.fromarray(np.array([inks], np.uint8), "CMYK").save(tmp_path / "a.tif")
    np.testing.assert_array_equal(pictures.read_image(tmp_path / "a.tif"), [light])


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, np.rot90),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, upright):
    stored = picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(
        pictures.read_image(tmp_path / "a.png"), upright(stored)
    )


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("L", (4, 3), level) for level in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(
        pictures.read_image(tmp_path / "a.gif"), np.full((3, 4, 3), 10)
    )


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_without_a_fixed_range_are_refused(tmp_path, mode):
    Image.new(mode, (4, 3)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="8 or 16 bits"):
        pictures.read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "format_", ["PNG", "JPEG", "TIFF", "WEBP", "PPM", "BMP", "GIF"]
)
def test_truncated_pictures_are_named_with_advice(tmp_path, format_):
    data = io.BytesIO()
    Image.fromarray(picture(40, 50)).save(data, format_)
    data = data.getvalue()
    path = tmp_path / "photo.img"
    path.write_bytes(data)
    assert pictures.read_image(path).shape == (40, 50, 3)
    # Of PNG 4, of GIF and BMP 2 last bytes come after the end of the picture.
    for n in [*range(0, len(data), len(data) // 30), len(data) - 5]:
        path.write_bytes(data[:n])
        with pytest.raises(DataCorruptError, match=r"photo\.img.*delete it"):
            pictures.read_image(path)


@pytest.mark.parametrize(
    "data", [b"", b"<html></html>", b"\x89PNG\r\n\x1a\n", bytes(500)]
)
def test_what_is_no_picture_is_refused(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataCorruptError, match=r"a\.png"):
        pictures.read_image(tmp_path / "a.png")


def test_a_changed_byte_in_a_png_is_noticed(tmp_path):
    pictures.write_png(tmp_path / "a.png", picture(40, 50))
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataCorruptError):
        pictures.read_image(tmp_path / "a.png")


@pytest.mark.parametrize("side", [9_000, 10_000, 14_000])
def test_a_decompression_bomb_is_refused_undecoded(tmp_path, side):
    # A few kilobytes on disk; 9 000 is below, the others above Pillow's own limits.
    Image.new("1", (side, side)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    with pytest.raises(ValueError, match="decompression bomb"):
        pictures.read_image(tmp_path / "bomb.png")


def test_only_pictures_are_written_and_only_as_png(tmp_path):
    with pytest.raises(ValueError, match=r"'\.png'"):
        pictures.write_png(tmp_path / "a.jpg", picture())
    with pytest.raises(TypeError, match="uint8"):
        pictures.write_png(tmp_path / "a.png", picture().astype(np.float32))
    with pytest.raises(ValueError, match="shape"):
        pictures.write_png(tmp_path / "a.png", picture()[..., 0])
    assert list(tmp_path.iterdir()) == []


def test_a_background_out_of_range_is_refused(tmp_path):
    pictures.write_png(tmp_path / "a.png", picture())
    with pytest.raises(ValueError, match="background"):
        pictures.read_image(tmp_path / "a.png", background=256)


def test_lazy_pictures_are_made_on_each_access():
    made = []

    def make(level):
        made.append(level)
        return np.full((1, 1, 3), level, np.uint8)

    lazy = pictures.LazyPictures(make, [1, 2, 3])
    assert len(lazy) == 3
    assert made == []
    assert lazy[-1][0, 0, 0] == 3
    assert [p[0, 0, 0] for p in lazy[:2]] == [1, 2]
    assert [p[0, 0, 0] for p in lazy] == [1, 2, 3]
    assert made == [3, 1, 2, 1, 2, 3]
    with pytest.raises(IndexError):
        lazy[3]
