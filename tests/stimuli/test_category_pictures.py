"""Drawings of categories: the same for the same number, and told apart by shape."""

import subprocess
import sys
from colorsys import hsv_to_rgb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from neurovis.core.rng import generator
from stimuli.category_brush import Brush, hsv, shade
from stimuli.category_pictures import (
    BACKGROUNDS,
    CATEGORIES,
    FIGURES,
    _design,
    draw_category_picture,
    make_category_pictures,
)
from stimuli.category_things import _LETTERS
from stimuli.save import load_stimuli, save_stimuli

N = 600


@pytest.fixture(scope="module")
def stimuli():
    return make_category_pictures(N, size_px=64, seed=3)


@pytest.fixture(scope="module")
def pictures(stimuli):
    return np.stack(list(stimuli.images))


@pytest.fixture(scope="module")
def labels(stimuli):
    return stimuli.table["category"].map(CATEGORIES.index).to_numpy()


# ------------------------------------------------------------------------ identity


def test_a_picture_is_its_seed_category_and_number(stimuli, pictures):
    assert pictures.shape == (N, 64, 64, 3)
    assert pictures.dtype == np.uint8
    for i in (17, 3, 17):
        category = stimuli.table["category"][i]
        again = draw_category_picture(category, i, size_px=64, seed=3)
        assert (again == pictures[i]).all()
        assert (draw_category_picture(category, i, size_px=64) != pictures[i]).any()
    assert len({p.tobytes() for p in pictures}) == N


def test_a_shorter_set_is_the_start_of_a_longer_one(stimuli, pictures):
    short = make_category_pictures(45, size_px=64, seed=3)
    assert short.table.equals(stimuli.table.head(45))
    assert (np.stack(list(short.images[40:])) == pictures[40:45]).all()


def test_fewer_categories_leave_the_drawings_as_they_are():
    faces = make_category_pictures(8, size_px=32, categories="face")
    assert faces.table["stimulus_id"].tolist() == [f"face-{i:05d}" for i in range(8)]
    two = make_category_pictures(8, size_px=32, categories=["word", "face"])
    for i, category in enumerate(two.table["category"]):
        if category == "face":
            assert (two.load(i) == faces.load(i)).all()


def test_categories_are_balanced_in_every_block_and_their_order_varies(stimuli):
    blocks = stimuli.table["category"].to_numpy().reshape(-1, 6)
    assert all(set(block) == set(CATEGORIES) for block in blocks)
    assert len({tuple(block) for block in blocks}) > 50
    # Any fold by place in the list is near balance, such as every third picture.
    share = (blocks.ravel()[::3] == "face").mean()
    assert share == pytest.approx(1 / 6, abs=0.06)


def test_a_set_comes_back_from_disk(tmp_path):
    made = make_category_pictures(7, size_px=24)
    folder = save_stimuli(made, tmp_path / "set", progress=False)
    back = load_stimuli(folder, verify=True)
    assert back.fingerprint == made.fingerprint
    assert back.table["kind"].tolist() == made.table["kind"].tolist()


def test_no_torch_is_imported():
    code = "import sys, stimuli.category_pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------- factors


def test_factors_vary_within_every_category(stimuli):
    for category, rows in stimuli.table.groupby("category"):
        assert set(rows["kind"]) == set(FIGURES[category])
        assert rows["kind"].value_counts().min() > 10
        assert 5 < rows["grey"].sum() < 40
        # Hues go all around: the mean of their directions is near zero.
        hue = np.deg2rad(rows["hue_deg"])
        assert np.hypot(np.cos(hue).mean(), np.sin(hue).mean()) < 0.25
        if category != "place":
            assert set(rows["background"]) == set(BACKGROUNDS)
            assert rows["width_px"].std() > 4
            assert rows[["x_px", "y_px"]].std().min() > 4
            inside = rows[["x_px", "y_px"]].to_numpy()
            assert ((inside > 0) & (inside < 64)).all()
    place = stimuli.table[stimuli.table["category"] == "place"]
    assert (place["width_px"] == 64).all()
    assert (place["background"] == "scene").all()


def test_grey_pictures_have_no_colour_and_others_do(stimuli, pictures):
    spread = np.ptp(pictures.astype(int), axis=3).max(axis=(1, 2))
    grey = stimuli.table["grey"].to_numpy()
    assert (spread[grey] == 0).all()
    assert (spread[~grey] > 10).all()


@pytest.mark.parametrize("category", [c for c in CATEGORIES if c != "place"])
def test_figures_are_drawn_where_the_table_says(category):
    made = make_category_pictures(60, size_px=64, categories=category, seed=1)
    on, off = [], []
    for row, picture in zip(made.table.itertuples(), made.images, strict=True):
        grey = picture.astype(float).mean(axis=2)
        edges = np.hypot(*np.gradient(grey))
        y, x = np.mgrid[:64, :64] + 0.5
        far = np.hypot(x - row.x_px, y - row.y_px) / (row.width_px / 2)
        on.append(edges[far < 0.9].mean())
        off.append(edges[(far > 1.35)].mean() if (far > 1.35).any() else np.nan)
    # Outlines lie within the circle of the figure.
    assert np.nanmean(np.array(on) > np.array(off)) > 0.75


def test_words_are_never_mirrored_but_other_figures_are():
    for category in CATEGORIES:
        designs = [_design(category, generator(0, category, i)) for i in range(80)]
        mirrored = np.mean([design.mirrored for design in designs])
        assert mirrored == 0 if category == "word" else 0.3 < mirrored < 0.7
        assert max(abs(design.tilt_deg) for design in designs) < 30


def test_letters_lie_on_their_grid_and_make_every_word():
    assert set(_LETTERS) == set("AEIOUBDHLMNRST")
    for strokes in _LETTERS.values():
        points = strokes.replace(",", " ").split()
        assert all(p[0] in "01234" and p[1] in "0123456" for p in points)


def test_a_picture_shows_the_same_at_any_size():
    for category in CATEGORIES:
        for i in range(4):
            large = draw_category_picture(category, i, size_px=256).astype(float)
            small = draw_category_picture(category, i, size_px=64).astype(float)
            shrunk = large.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
            assert np.abs(shrunk - small).mean() < 6
            assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.95


# ------------------------------------------------------------------- distinctness


def _nearest_mean_accuracy(features, labels):
    """Classify the second half of pictures by the class means of the first half."""
    x = features.reshape(len(labels), -1).astype(float)
    train = np.arange(len(labels)) < len(labels) // 2
    x = (x - x[train].mean(axis=0)) / (x[train].std(axis=0) + 1e-9)
    means = np.stack([x[train & (labels == k)].mean(axis=0) for k in range(6)])
    nearest = ((x[~train][:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    return (nearest == labels[~train]).mean()


def _oriented_edges(grey, n_cells=4, n_orientations=8):
    """Mean gradient per cell and orientation, in logarithms."""
    dy, dx = np.gradient(grey, axis=(1, 2))
    strength, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % np.pi
    bins = np.minimum((angle / np.pi * n_orientations).astype(int), n_orientations - 1)
    chosen = bins[..., None] == np.arange(n_orientations)
    layers = np.where(chosen, strength[..., None], 0)
    n, side = len(grey), grey.shape[1] // n_cells
    cells = layers.reshape(n, n_cells, side, n_cells, side, -1).mean(axis=(2, 4))
    return np.log1p(cells).reshape(n, -1)


def test_shapes_tell_the_categories_apart(pictures, labels):
    x = _oriented_edges(pictures.astype(float).mean(axis=3))
    train = np.arange(N) < 450
    x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    one_hot = np.eye(6)[labels]
    gram = x[train].T @ x[train] + 100 * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x[train].T @ (one_hot[train] - 1 / 6))
    right = (x[~train] @ weights).argmax(axis=1) == labels[~train]
    # Chance is 1/6; 0.68 to 0.75 were measured for three seeds.
    assert right.mean() > 0.55


def test_coarse_colours_and_energies_tell_a_little_but_not_all(pictures, labels):
    coarse = pictures.reshape(N, 8, 8, 8, 8, 3).mean(axis=(2, 4))
    grey = pictures.astype(float).mean(axis=3)
    energy = [np.abs(np.diff(grey, axis=a)).mean(axis=(1, 2)) for a in (1, 2)]
    energy = np.log(np.column_stack([*energy, grey.std(axis=(1, 2))]))
    assert 0.2 < _nearest_mean_accuracy(coarse, labels) < 0.5
    assert 0.22 < _nearest_mean_accuracy(energy, labels) < 0.55


def test_no_single_pixel_tells_the_category(pictures, labels):
    picked = pictures[:, 4::8, 4::8].reshape(N, -1, 3)
    scores = [_nearest_mean_accuracy(picked[:, i], labels) for i in range(64)]
    assert max(scores) < 0.33
    assert np.mean(scores) < 0.24


def test_energy_varies_within_a_category_more_than_between(pictures, labels):
    contrast = pictures.astype(float).mean(axis=3).std(axis=(1, 2))
    means = [contrast[labels == k].mean() for k in range(6)]
    within = [contrast[labels == k].std() for k in range(6)]
    assert np.std(means) < np.mean(within)
    lightness = pictures.mean(axis=(1, 2, 3))
    means = [lightness[labels == k].mean() for k in range(6)]
    within = [lightness[labels == k].std() for k in range(6)]
    assert np.std(means) < 0.3 * np.mean(within)


# ----------------------------------------------------------------------- brush


def test_a_brush_turns_and_mirrors_its_frame():
    def reddest(**kwargs):
        image = Image.new("RGB", (40, 40))
        brush = Brush(image, 20, 20, 10, **kwargs)
        brush.box(0.8, -0.2, 1.2, 0.2, (1.0, 0.0, 0.0))
        y, x = np.nonzero(np.asarray(image)[..., 0])
        return round(x.mean()), round(y.mean())

    assert reddest() == (30, 20)
    assert reddest(tilt_deg=90) == (20, 10)  # counter-clockwise as seen
    assert reddest(mirrored=True) == (10, 20)


def test_areas_of_shapes_are_right():
    image = Image.new("RGB", (400, 400))
    brush = Brush(image, 200, 200, 100)
    brush.ellipse(0, 0, 1.5, 0.5, (0.0, 1.0, 0.0), tilt_deg=30)
    area = (np.asarray(image)[..., 1] > 0).sum() / 100**2
    assert area == pytest.approx(np.pi * 0.75, rel=0.02)
    image = Image.new("RGB", (400, 400))
    Brush(image, 200, 200, 100).stroke([(-1, 0), (1, 0)], 0.4, (0.0, 1.0, 0.0))
    area = (np.asarray(image)[..., 1] > 0).sum() / 100**2
    assert area == pytest.approx(0.8 + np.pi * 0.04, rel=0.03)


@given(st.floats(0, 360), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50)
def test_colours_agree_with_the_standard_library(hue, saturation, value):
    expected = hsv_to_rgb(hue / 360, saturation, value)
    assert hsv(hue, saturation, value) == pytest.approx(expected, abs=1e-6)
    assert max(shade(expected, 5.0)) <= 1


@settings(max_examples=25)
@given(st.sampled_from(CATEGORIES), st.integers(0, 10**9), st.integers(16, 90))
def test_any_picture_can_be_drawn_at_any_size(category, number, size):
    picture = draw_category_picture(category, number, size_px=size)
    assert picture.shape == (size, size, 3)
    assert picture.std() > 2


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_category_pictures(0), r"`n` must be within \[1"),
        (lambda: make_category_pictures(2.5), "`n` must be a whole number"),
        (
            lambda: make_category_pictures(2, size_px=8),
            r"`size_px` must be within",
        ),
        (lambda: make_category_pictures(2, categories=[]), "`categories` must be diff"),
        (lambda: make_category_pictures(2, categories=["face"] * 2), "different names"),
        (lambda: make_category_pictures(2, categories="faces"), "Did you mean 'face'"),
        (lambda: make_category_pictures(2, seed=-1), "`seed` must be 0 or more"),
        (lambda: draw_category_picture("tool", 1), "`category` must be one of 'face'"),
        (lambda: draw_category_picture("face", -1), "`number` must be within"),
        (lambda: draw_category_picture("face", "1"), "`number` must be a number"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
