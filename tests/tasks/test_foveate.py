"""Folders of pictures through transforms: names, resumption, faults."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from neurovis.adapters.foveated_texture import make_stage, resized, to_bytes, to_unit
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, sha256_json
from neurovis.core.pictures import read_image, write_png
from neurovis.foveation.transforms import FoveationSettings
from stimuli.category_pictures import make_category_pictures
from stimuli.save import picture_hash
from tasks.foveate import foveate_folder, foveate_pictures

BLUR = FoveationSettings("foveated-blur", factor=0.4, px_per_deg=6.0)
TEXTURE = FoveationSettings(px_per_deg=3.0)


def fill(folder, names, shapes=((64, 64),)):
    drawn = make_category_pictures(len(names), size_px=128, seed=2)
    for i, name in enumerate(names):
        height, width = shapes[i % len(shapes)]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, drawn.load(i)[:height, :width])
    return folder


def listing(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    names = [f"{kind}/{i}.png" for kind in ("a", "b") for i in range(3)]
    shapes = ((64, 64), (48, 70), (64, 64))
    return fill(tmp_path_factory.mktemp("source"), names, shapes)


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    return foveate_folder(source, out, TEXTURE, seed=3, device="cpu", batch_size=4)


def test_every_picture_is_what_the_transform_alone_makes_of_it(source, made):
    assert len(made.table) == 6
    for row in made.table.itertuples():
        picture = read_image(source / row.stimulus_id)
        transform = make_stage(TEXTURE, picture.shape[:2])
        unit = transform(to_unit([picture]), keys=[row.stimulus_id], seed=3)
        shown = read_image(made.folder / row.path)
        assert np.array_equal(shown, to_bytes(unit)[0])
        assert row.path == f"pictures/{row.stimulus_id}"
        assert row.category == row.stimulus_id[0]
        assert (row.height_px, row.width_px) == shown.shape[:2]
        assert (row.source_height_px, row.source_width_px) == picture.shape[:2]
        assert (row.x_px, row.y_px) == (picture.shape[1] / 2, picture.shape[0] / 2)
        assert (row.px_per_deg, row.transform) == (3.0, "texture")
        assert row.sha256 == picture_hash(shown)
        assert row.source_sha256 == picture_hash(picture)
    found = made.table[["stimulus_id", "sha256"]].to_numpy().tolist()
    assert made.fingerprint == sha256_json(found)
    assert read_json(made.folder / "foveated.json")["fingerprint"] == made.fingerprint
    listed = pd.read_csv(made.folder / "pictures.csv")
    assert listed["sha256"].tolist() == made.table["sha256"].tolist()


@pytest.mark.parametrize("batch_size", [1, 6])
def test_the_batch_does_not_matter(source, made, tmp_path, batch_size):
    other = foveate_folder(
        source, tmp_path, TEXTURE, seed=3, device="cpu", batch_size=batch_size
    )
    assert listing(other.folder / "pictures") == listing(made.folder / "pictures")
    assert other.fingerprint == made.fingerprint


def test_the_fingerprint_follows_seed_and_pictures(source, made, tmp_path):
    other = foveate_folder(source, tmp_path / "seed", TEXTURE, seed=4, device="cpu")
    assert other.fingerprint != made.fingerprint
    shorter = fill(tmp_path / "fewer", ["a/0.png"])
    fewer = foveate_folder(shorter, tmp_path / "one", TEXTURE, seed=3, device="cpu")
    assert fewer.table["sha256"].tolist() == made.table["sha256"].tolist()[:1]
    assert fewer.fingerprint != made.fingerprint


def test_results_may_be_squares_of_another_size(source, tmp_path):
    found = foveate_folder(source, tmp_path, BLUR, size_px=40, device="cpu")
    assert set(zip(found.table["width_px"], found.table["height_px"], strict=True)) == {
        (40, 40)
    }
    picture = read_image(source / "a/1.png")
    unit = make_stage(BLUR, picture.shape[:2])(to_unit([picture]))
    expected = to_bytes(resized(unit, 40))[0]
    assert np.array_equal(read_image(tmp_path / "pictures/a/1.png"), expected)


CALL = """
import sys
from neurovis.foveation.transforms import FoveationSettings
from tasks.foveate import foveate_folder
foveate_folder(sys.argv[1], sys.argv[2], FoveationSettings(px_per_deg=3.0), seed=3,
               device="cpu", batch_size=2)
"""


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_with_equal_bytes(source, made, tmp_path):
    out = tmp_path / "out"
    words = [sys.executable, "-c", CALL, str(source), str(out)]
    with subprocess.Popen(words) as child:
        while not list(out.glob("pictures/*/*.png")):
            assert child.poll() is None
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert 0 < len(list(out.glob("pictures/*/*.png"))) < 6
    assert not (out / "pictures.csv").exists()
    before = {p: p.stat().st_mtime_ns for p in out.glob("pictures/*/*.png")}
    found = foveate_folder(source, out, TEXTURE, seed=3, device="cpu")
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert found.fingerprint == made.fingerprint
    whole, again = listing(made.folder), listing(out)
    again = {k: v for k, v in again.items() if ".part-" not in k}
    for name in ("foveated.json",):  # holds the time
        one, other = (json.loads(each.pop(name)) for each in (whole, again))
        assert one["call"] == other["call"]
    assert again == whole


@pytest.mark.parametrize("damage", ["cut", "text", "other picture", "gone"])
def test_damaged_results_are_made_again(source, tmp_path, damage):
    first = foveate_folder(source, tmp_path, BLUR, device="cpu")
    whole = listing(tmp_path / "pictures")
    path = tmp_path / "pictures/b/1.png"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "text":
        path.write_text("no picture")
    elif damage == "gone":
        path.unlink()
    else:
        write_png(path, np.zeros((48, 70, 3), np.uint8))
    again = foveate_folder(source, tmp_path, BLUR, device="cpu")
    assert listing(tmp_path / "pictures") == whole
    assert again.fingerprint == first.fingerprint
    pd.testing.assert_frame_equal(again.table, first.table)


def test_a_folder_of_another_run_is_refused(source, tmp_path):
    foveate_folder(source, tmp_path, BLUR, device="cpu")
    before = listing(tmp_path)
    with pytest.raises(ValueError, match="holds a run with seed=0; now seed=1"):
        foveate_folder(source, tmp_path, BLUR, seed=1, device="cpu")
    with pytest.raises(ValueError, match="holds a run with size_px=None"):
        foveate_folder(source, tmp_path, BLUR, size_px=32, device="cpu")
    assert listing(tmp_path) == before


def test_every_picture_can_have_a_fixation_of_its_own(source, tmp_path):
    names = [f"{kind}/{i}.png" for kind in ("b", "a") for i in range(3)]
    table = pd.DataFrame({"stimulus_id": names, "x_px": 20.0, "y_px": 30.0})
    table.loc[table["stimulus_id"] == "a/2.png", "x_px"] = 50.0
    table.to_csv(tmp_path / "fixations.csv", index=False)
    found = foveate_folder(
        source,
        tmp_path / "out",
        BLUR,
        fixations=tmp_path / "fixations.csv",
        device="cpu",
    )
    where = found.table.set_index("stimulus_id")
    assert where.loc["a/2.png", ["x_px", "y_px"]].tolist() == [50, 30]
    assert where.loc["b/2.png", ["x_px", "y_px"]].tolist() == [20, 30]
    for name, x in (("a/2.png", 50.0), ("b/2.png", 20.0)):
        own = FoveationSettings(
            "foveated-blur", factor=0.4, px_per_deg=6.0, fixation_px=(x, 30.0)
        )
        picture = read_image(source / name)
        unit = make_stage(own, picture.shape[:2])(to_unit([picture]))
        shown = read_image(tmp_path / "out/pictures" / name)
        assert np.array_equal(shown, to_bytes(unit)[0])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.drop(columns="y_px"), "y_px"),
        (lambda t: pd.concat([t, t[:1]]), "has a picture twice"),
        (lambda t: t[1:], "lacks 1 of 6 pictures, the first is 'a/0.png'"),
        (lambda t: t.assign(x_px=np.nan), "no numbers for 'a/0.png'"),
        (lambda t: t.assign(x_px="left"), "no numbers for 'a/0.png'"),
        (lambda t: t.assign(x_px=66.0), "a/0.png: `fixation_px` must lie within"),
        (lambda t: t[:0], "lacks 6 of 6 pictures"),
    ],
    ids=["column", "twice", "missing", "nan", "text", "outside", "empty"],
)
def test_wrong_tables_of_fixations_are_refused(source, tmp_path, change, match):
    names = [f"{kind}/{i}.png" for kind in ("a", "b") for i in range(3)]
    table = pd.DataFrame({"stimulus_id": names, "x_px": 20.0, "y_px": 30.0})
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=match):
        foveate_folder(source, out, BLUR, fixations=change(table), device="cpu")
    assert not out.exists()


def test_two_kinds_of_fixation_at_once_are_refused(source, tmp_path):
    table = pd.DataFrame({"stimulus_id": ["a"], "x_px": 1.0, "y_px": 1.0})
    own = FoveationSettings(fixation_px=(1.0, 1.0))
    with pytest.raises(ValueError, match="Give either a fixation for all"):
        foveate_folder(source, tmp_path / "out", own, fixations=table, device="cpu")


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["a/1.png", "a/1.jpg"], "would both become 'pictures/a/1.png'"),
        (["a/1.png", "A/1.png"], "would both become"),
        (["1.png", "1.png"], "would both become"),
        (["../1.png", "2.png"], "outside of the folder"),
        (["a/../../1.png", "2.png"], "outside of the folder"),
        (["1.png"], "`labels` has 1 rows for 2 pictures"),
    ],
)
def test_names_that_collide_or_lead_outside_are_refused(tmp_path, names, match):
    shown = [np.zeros((40, 40, 3), np.uint8)] * 2
    labels = pd.DataFrame({"stimulus_id": names, "category": ""})
    with pytest.raises(ValueError, match=match):
        foveate_pictures(shown, labels, tmp_path / "out", BLUR, device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_the_results_must_not_lie_among_the_sources(tmp_path):
    source = fill(tmp_path / "source", ["1.png"])
    for out in (source, source / "foveated", tmp_path / "x/../source/deep/er"):
        with pytest.raises(ValueError, match="`out` must not lie in"):
            foveate_folder(source, out, BLUR, device="cpu")
    assert len(listing(source)) == 1
    beside = foveate_folder(source, tmp_path / "source2", BLUR, device="cpu")
    assert len(beside.table) == 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size_px": 4}, "`size_px` must be within"),
        ({"seed": -1}, "`seed` must be within"),
        ({"batch_size": 0}, "`batch_size` must be within"),
        ({"device": "abacus"}, "`device` must be one of"),
        ({"settings": FoveationSettings(fixation_px=(65.0, 3.0))}, "a/0.png: "),
    ],
    ids=str,
)
def test_wrong_options_leave_nothing_behind(source, tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        foveate_folder(source, tmp_path / "out", **{"device": "cpu", **options})
    assert list(tmp_path.iterdir()) == []


def test_too_small_or_damaged_pictures_are_named_first(tmp_path):
    source = fill(tmp_path / "source", ["1.png", "2.png"], ((64, 64), (31, 64)))
    with pytest.raises(ValueError, match=r"2\.png: `shape` must be within \[32"):
        foveate_folder(source, tmp_path / "out", device="cpu")
    (source / "2.png").write_text("no picture")
    with pytest.raises(DataCorruptError, match=r"2\.png"):
        foveate_folder(source, tmp_path / "out", device="cpu")
    with pytest.raises(FileNotFoundError):
        foveate_folder(tmp_path / "absent", tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_guessed_distance_is_told(made, source, tmp_path):
    assert made.provenance.notes == ()
    plain = FoveationSettings("reference")
    found = foveate_folder(source, tmp_path, plain, device="cpu")
    assert "span 26 degrees" in found.provenance.notes[0]
    assert found.table["sha256"].equals(found.table["source_sha256"])
