"""Pictures of a training: reduced, fed, divided, told by a fingerprint, damaged."""

import re
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import write_text
from neurovis.core.pictures import read_image, write_png
from stimuli.category_pictures import make_category_pictures
from stimuli.diets import DIETS, feed
from tasks import backbone_pictures
from tasks.backbone_pictures import load_growth_pictures, reduce_picture

FROZEN_HELD_OUT = [0, 3]
FROZEN_FINGERPRINT = "93c97fe6227d8cfb"


def draw(folder, n, *, size_px=32, seed=0, shape=None):
    """Write drawings under names that sort as they were drawn."""
    drawn = make_category_pictures(n, size_px=size_px, seed=seed)
    for i in range(n):
        picture = drawn.load(i)
        write_png(
            folder / f"{i:02d}.png",
            picture[: shape[0], : shape[1]] if shape else picture,
        )
    return folder


def pixels(tensors):
    return [tensor.permute(1, 2, 0).numpy() for tensor in tensors]


def keys_of(tensors):
    return [tensor.contiguous().numpy().tobytes() for tensor in tensors]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("pictures"), 12)


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Two folders of classes, of seven pictures each."""
    root = tmp_path_factory.mktemp("classes")
    draw(root / "sea", 7, seed=1)
    draw(root / "land", 7, seed=2)
    return root


# ----------------------------------------------------------------------- reducing


@pytest.mark.parametrize(
    ("height", "width", "short_px", "expected"),
    [
        (60, 80, 30, (30, 40)),
        (80, 60, 30, (40, 30)),
        (61, 97, 20, (20, 32)),
        (40, 400, 16, (16, 160)),
        (33, 32, 31, (32, 31)),
        (30, 90, 30, (30, 90)),
        (16, 20, 256, (16, 20)),
    ],
)
def test_the_short_side_becomes_what_was_asked_for(height, width, short_px, expected):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    reduced = reduce_picture(picture, short_px)
    assert reduced.shape == (*expected, 3)
    assert reduced.dtype == np.uint8
    if expected == (height, width):
        assert (reduced == picture).all()
    assert reduced.mean() == pytest.approx(picture.mean(), abs=3)


def test_reducing_averages_what_it_cannot_show():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    reduced = reduce_picture(stripes, 16)
    assert np.abs(reduced[:, 2:-2].astype(int) - 100).max() <= 2


@pytest.mark.parametrize("diet", DIETS)
def test_a_diet_is_fed_after_reduction(tmp_path, diet):
    draw(tmp_path, 6, size_px=48, shape=(32, 48))
    found = load_growth_pictures(tmp_path, diet=diet, short_px=16, seed=3)
    expected = {}
    for path in sorted(tmp_path.iterdir()):
        reduced = reduce_picture(read_image(path), 16)
        assert reduced.shape == (16, 24, 3)
        eaten = feed(reduced, diet, key=path.name, seed=3)
        expected[eaten.tobytes()] = path.name
    shown = pixels((*found.training, *found.validation))
    assert sorted(expected[p.tobytes()] for p in shown) == sorted(expected.values())
    assert {p.shape for p in shown} == {
        (24, 16, 3) if diet == "rotated-90" else (16, 24, 3)
    }
    assert found.diet == diet


def test_pictures_of_all_kinds_become_three_channels_of_bytes(tmp_path):
    draw(tmp_path, 4)
    Image.new("L", (20, 16), 77).save(tmp_path / "grey.png")
    Image.new("RGBA", (16, 24), (10, 20, 30, 255)).save(tmp_path / "clear.png")
    found = load_growth_pictures(tmp_path)
    shown = (*found.training, *found.validation)
    assert {t.dtype for t in shown} == {torch.uint8}
    shapes = sorted(tuple(t.shape) for t in shown)
    assert shapes == [(3, 16, 20), (3, 24, 16), *[(3, 32, 32)] * 4]
    grey = next(t for t in shown if t.shape == (3, 16, 20))
    assert (grey == 77).all()


def test_channels_of_a_pixel_lie_side_by_side(folder):
    found = load_growth_pictures(folder)
    assert {t.stride() for t in found.training} == {(1, 96, 3)}


# ----------------------------------------------------------------------- held out


def test_held_out_pictures_are_others_and_a_tenth_of_all(tmp_path):
    draw(tmp_path, 30, size_px=16)
    found = load_growth_pictures(tmp_path)
    train, val = (set(keys_of(p)) for p in (found.training, found.validation))
    assert (len(train), len(val)) == (27, 3)
    assert not train & val
    half = load_growth_pictures(tmp_path, validation=0.5)
    assert (len(half.training), len(half.validation)) == (15, 15)


def test_at_least_two_pictures_are_held_out(folder):
    found = load_growth_pictures(folder, validation=0.01)
    assert (len(found.training), len(found.validation)) == (10, 2)


def test_the_choice_is_the_same_again_and_depends_on_its_seed_alone(folder):
    first, again = (load_growth_pictures(folder) for _ in range(2))
    assert keys_of(first.validation) == keys_of(again.validation)
    assert keys_of(first.training) == keys_of(again.training)
    others = [
        keys_of(load_growth_pictures(folder, seed=s).validation) for s in range(1, 4)
    ]
    assert any(other != keys_of(first.validation) for other in others)


def test_the_fingerprint_does_not_depend_on_diet_size_or_seed(folder):
    found = load_growth_pictures(folder)
    others = [load_growth_pictures(folder, diet=diet) for diet in DIETS[1:]]
    others.append(load_growth_pictures(folder, short_px=16, seed=5, validation=0.3))
    assert {other.fingerprint for other in others} == {found.fingerprint}
    assert re.fullmatch("[0-9a-f]{64}", found.fingerprint)


def test_the_fingerprint_depends_on_names_and_pixels(tmp_path):
    draw(tmp_path, 5, size_px=16)
    before = load_growth_pictures(tmp_path).fingerprint
    (tmp_path / "04.png").rename(tmp_path / "05.png")
    renamed = load_growth_pictures(tmp_path).fingerprint
    changed = read_image(tmp_path / "00.png").copy()
    changed[0, 0, 0] ^= 1
    write_png(tmp_path / "00.png", changed)
    found = load_growth_pictures(tmp_path).fingerprint
    assert len({before, renamed, found}) == 3


def test_numbers_of_this_version_stay(tmp_path):
    for i in range(5):
        write_png(tmp_path / f"{i}.png", np.full((16, 16, 3), i, np.uint8))
    found = load_growth_pictures(tmp_path)
    assert [int(t[0, 0, 0]) for t in found.validation] == FROZEN_HELD_OUT
    assert found.fingerprint[:16] == FROZEN_FINGERPRINT


# ------------------------------------------------------------------------ classes


def test_folders_without_labels_may_have_sub_folders(classes):
    found = load_growth_pictures(classes)
    assert len(found.training) + len(found.validation) == 14
    assert found.classes == ()
    assert found.training_labels.size == found.validation_labels.size == 0


def test_labels_follow_their_pictures(classes):
    found = load_growth_pictures(classes, labelled=True, validation=0.3)
    assert found.classes == ("land", "sea")
    known = {
        read_image(path).tobytes(): found.classes.index(path.parent.name)
        for path in classes.rglob("*.png")
    }
    for part, labels in (
        (found.training, found.training_labels),
        (found.validation, found.validation_labels),
    ):
        assert labels.dtype == np.int64
        assert [known[p.tobytes()] for p in pixels(part)] == labels.tolist()
    assert len(found.training) == 10
    assert np.bincount([*found.training_labels, *found.validation_labels]).tolist() == [
        7,
        7,
    ]


@pytest.mark.parametrize("seed", range(5))
def test_of_each_class_a_like_share_is_held_out(tmp_path, seed):
    for name, n in (("land", 20), ("sea", 10), ("sky", 5)):
        draw(tmp_path / name, n, size_px=16, seed=len(name) + n)
    found = load_growth_pictures(tmp_path, labelled=True, validation=0.2, seed=seed)
    assert np.bincount(found.validation_labels).tolist() == [4, 2, 1]
    assert np.bincount(found.training_labels).tolist() == [16, 8, 4]


@pytest.mark.parametrize(
    ("parts", "held"),
    [
        (("train", "val"), "val"),
        (("train", "test"), "test"),
        (("train", "val", "test"), "val"),
        (("train", "validation"), "validation"),
    ],
)
def test_parts_of_a_set_are_used_as_they_are(tmp_path, parts, held):
    for number, part in enumerate(parts):
        for name in ("sea", "land"):
            seed = 10 * number + len(name)
            draw(tmp_path / part / name, 3, size_px=16, seed=seed)
    found = load_growth_pictures(tmp_path, labelled=True)
    for name, shown in (("train", found.training), (held, found.validation)):
        paths = sorted((tmp_path / name).rglob("*.png"))
        assert [read_image(p).tobytes() for p in paths] == [
            p.tobytes() for p in pixels(shown)
        ]
    assert found.training_labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_zip_file_holds_the_same_pictures_as_its_folder(classes, tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(classes.rglob("*.png")):
            archive.write(file, file.relative_to(classes).as_posix())
    one, other = (load_growth_pictures(p, labelled=True) for p in (classes, path))
    assert one.fingerprint == other.fingerprint
    assert keys_of(one.training) == keys_of(other.training)
    assert one.training_labels.tolist() == other.training_labels.tolist()


def test_the_fingerprint_depends_on_labels_and_parts(classes, tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        names = [f"{file.parent.name}/{file.name}" for file in classes.rglob("*.png")]
        for name in sorted(names):
            archive.write(classes / name, name)
    prints = []
    for named, held in ((0, 3), (1, 3), (0, 4)):
        rows = [
            f"{name},{'val' if i % held == 0 else 'train'},"
            f"{('sea', 'land')[(i + named) % 2]}"
            for i, name in enumerate(sorted(names))
        ]
        write_text(tmp_path / "labels.csv", "\n".join(["file,split,category", *rows]))
        prints.append(load_growth_pictures(tmp_path, labelled=True).fingerprint)
    assert len(set(prints)) == 3


# ------------------------------------------------------------------------- faults


def test_too_few_pictures_are_told_by_number(tmp_path):
    draw(tmp_path, 3)
    with pytest.raises(ValueError, match="1 pictures to train on and 2 to validate"):
        load_growth_pictures(tmp_path)
    draw(tmp_path, 4)
    assert len(load_growth_pictures(tmp_path).training) == 2


def test_one_class_is_refused_with_another_objective(tmp_path):
    draw(tmp_path / "sea", 5)
    with pytest.raises(ValueError, match=r"has 1 class; .*'selfsup'"):
        load_growth_pictures(tmp_path, labelled=True)


@pytest.mark.parametrize("labelled", [False, True])
def test_a_damaged_picture_is_told_by_its_path(tmp_path, labelled):
    for name in ("sea", "land"):
        draw(tmp_path / name, 3, seed=len(name))
    path = tmp_path / "sea" / "01.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataCorruptError, match=re.escape(str(path))):
        load_growth_pictures(tmp_path, labelled=labelled)


def test_a_tiny_picture_is_told_by_its_name(tmp_path):
    draw(tmp_path, 5)
    write_png(tmp_path / "tiny.png", np.zeros((4, 40, 3), np.uint8))
    with pytest.raises(ValueError, match=r"tiny\.png of .* has 40 x 4 px; .* 8 or"):
        load_growth_pictures(tmp_path)


def test_an_empty_or_missing_folder_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no picture"):
        load_growth_pictures(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        load_growth_pictures(tmp_path / "absent", labelled=True)


def test_more_than_memory_holds_is_refused(folder, monkeypatch):
    monkeypatch.setattr(backbone_pictures, "MOST_BYTES", 3 * 32 * 32 * 5)
    with pytest.raises(ValueError, match="make `short_px` smaller"):
        load_growth_pictures(folder)
    assert len(load_growth_pictures(folder, short_px=16).training) == 10


def test_options_are_checked_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match=r"fisheyed'\. Did you mean 'fisheye'"):
        load_growth_pictures(tmp_path, diet="fisheyed")
    for share in (0, 1, -0.1, np.nan):
        with pytest.raises(ValueError, match="`validation` must lie between 0 and 1"):
            load_growth_pictures(tmp_path, validation=share)
