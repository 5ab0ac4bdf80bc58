"""Training of the compact backbone: seeds, resuming, learning, cards, refusals."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.compact_vgg import STAGES, load_compact, seeded_compact
from neurovis.adapters.trunks import INPUT_FORMATS, to_pixels
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, read_table, sha256_file
from neurovis.core.pictures import read_image, write_png
from neurovis.core.rng import generator
from neurovis.core.tensors import hash_state_dict
from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.views import ViewSettings
from stimuli.category_pictures import make_category_pictures
from stimuli.diets import feed
from tasks import backbone_training, backbone_views
from tasks.backbone_pictures import load_growth_pictures
from tasks.backbone_recipe import (
    BackboneRecipe,
    Student,
    compact_recipe,
    contrast_loss,
    label_loss,
    normalised,
    teacher_loss,
)
from tasks.backbone_training import (
    CARD_FILE,
    WEIGHTS_FILE,
    Teacher,
    parse_teacher,
    train_backbone,
)
from tasks.backbone_views import batches_of, one_view, two_views

TINY = (3, 6, 12, 16, 24)
SMALL_VIEWS = ViewSettings(size_px=16)
# What the colours of a picture are is left alone.
PLAIN_VIEWS = ViewSettings(
    size_px=16, brightness=0, contrast=0, saturation=0, channel_gain=0, grey=0, blur=0
)
TEACHER = "compact_vgg@seeded:5/8:stage3:gap,stage4:gap"
FROZEN_LOSSES = [8.136304, 6.395169]
FROZEN_KERNEL = [0.204834, 0.260254, 0.295898]
FILES = [
    WEIGHTS_FILE,
    CARD_FILE,
    "curves.csv",
    "curves.png",
    "run.json",
    *(f"training/{name}" for name in ("curves.csv", "model.safetensors")),
    "training/training.json",
]


def quick(objective="selfsup", *, epochs=2, steps=3, **changes):
    """A recipe of a few steps of a tiny network."""
    settings = TrainSettings(
        max_epochs=epochs,
        patience=None,
        keep=changes.pop("keep", "last"),
        optimiser="adamw",
        learning_rate=changes.pop("learning_rate", 4e-3),
        schedule="cosine",
        clip_norm=None,
        checkpoint_s=0,
    )
    call = {"views": SMALL_VIEWS, "batch_size": 5, "widths": TINY} | changes
    return BackboneRecipe(objective, settings, steps_per_epoch=steps, **call)


def files(folder):
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()
    )


def run(images, out, recipe=None, **more):
    recipe = quick() if recipe is None else recipe
    return train_backbone(images, out, recipe=recipe, device="cpu", **more)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Twelve drawings; two of them validate."""
    folder = tmp_path_factory.mktemp("drawings") / "drawn"
    drawn = make_category_pictures(12, size_px=24, seed=4)
    for i in range(12):
        write_png(folder / f"{i:02d}.png", drawn.load(i))
    return folder


@pytest.fixture(scope="module")
def done(images, tmp_path_factory):
    """A finished training."""
    out = tmp_path_factory.mktemp("runs") / "first"
    return run(images, out, licence="CC0")


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Red pictures and green ones."""
    folder = tmp_path_factory.mktemp("colours")
    draw = generator(0, "red and green")
    for channel, name in enumerate(("red", "green")):
        for i in range(10):
            picture = draw.integers(0, 100, (20, 20, 3))
            picture[..., channel] += 120
            write_png(folder / name / f"{i}.png", picture.astype(np.uint8))
    return folder


# ------------------------------------------------------------------------ batches


@pytest.mark.parametrize(
    ("n_pictures", "batch_size", "steps"),
    [(12, 4, 3), (12, 4, 5), (13, 4, 3), (7, 20, 2), (2, 2, 4)],
)
def test_every_picture_is_seen_as_often_and_never_twice_in_a_batch(
    n_pictures, batch_size, steps
):
    recipe = quick(steps=steps, batch_size=batch_size)
    batches = batches_of(recipe, n_pictures)
    size = min(batch_size, n_pictures)
    per_pass = n_pictures // size
    shown = [b.rows for epoch in range(per_pass * 2) for b in batches(epoch)]
    assert all(len(set(rows)) == len(rows) == size for rows in shown)
    for first in range(0, len(shown), per_pass):
        seen = [row for rows in shown[first : first + per_pass] for row in rows]
        # What is left over when batches do not come out even waits for other passes.
        assert len(seen) == len(set(seen)) == per_pass * size
        assert set(seen) <= set(range(n_pictures))
    passes = {tuple(shown[i]) for i in range(0, len(shown), per_pass)}
    assert len(passes) > 1


def test_batches_of_an_epoch_are_the_same_when_asked_again(images):
    recipe = quick(steps=4)
    one, other = (batches_of(recipe, 11) for _ in range(2))
    assert one(2) == other(2)
    assert one(0) != one(1)
    assert [(b.epoch, b.number) for b in one(2)] == [(2, i) for i in range(4)]


def coordinates(n=3, side=40):
    """Pictures that tell where a pixel is: red the row, green the column."""
    rows, columns = np.mgrid[:side, :side]
    return [
        torch.from_numpy(np.stack([rows, columns, 0 * rows + i]).astype(np.uint8))
        for i in range(n)
    ]


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_both_views_of_a_picture_are_cut_from_one_square(share):
    recipe = quick(views=PLAIN_VIEWS, region=(share, share))
    pictures = coordinates()
    starts = set()
    for number in range(12):
        views = two_views(recipe, pictures, (2, 0), 1, 0, number)
        assert views.shape == (4, 3, 16, 16)
        levels = (views * 255).reshape(2, 2, 3, -1)  # which view, which picture
        shown = levels[:, :, 2].round()
        assert (shown == torch.tensor([[[2]], [[0]]])[:, 0]).all()
        assert not torch.equal(levels[0], levels[1])
        low, high = levels[:, :, :2].amin((0, 3)), levels[:, :, :2].amax((0, 3))
        assert (high - low).max() <= 40 * share - 1 + 1e-3
        starts |= {tuple(corner) for corner in low.round().int().tolist()}
    assert len(starts) > 6


def test_a_recipe_without_mirrors_mirrors_nothing_and_says_so():
    recipe = compact_recipe().shortened(4).without_mirrors()
    assert recipe.name == "compact, 4 epochs, no mirrors"
    assert recipe.views == replace(compact_recipe().views, mirror=0.0)
    assert recipe.without_mirrors() is recipe
    picture = torch.zeros((3, 16, 16), dtype=torch.uint8)
    picture[:, :, :8] = 255
    shown = replace(PLAIN_VIEWS, area=(1.0, 1.0), aspect=(1.0, 1.0))
    recipe = quick(views=shown, region=None).without_mirrors()
    views = one_view(recipe, [picture] * 9, range(9), 0)
    assert (views[..., :7] == 1).all()
    assert (views[..., 9:] == 0).all()


@pytest.mark.parametrize("make", [one_view, two_views])
def test_views_of_turned_pictures_are_turned_views_of_the_pictures(make):
    rng = generator(0, "pictures")
    pictures = [rng.integers(0, 256, (40, 52, 3), np.uint8) for _ in range(3)]
    turned = [feed(picture, "rotated-90") for picture in pictures]
    as_tensors = [
        [torch.from_numpy(p.copy()).permute(2, 0, 1) for p in group]
        for group in (pictures, turned)
    ]
    recipe = quick()  # half of the views are mirrored
    upright, fed = (
        make(recipe, group, (0, 1, 2), 1, 5, 7, diet=diet)
        for group, diet in zip(as_tensors, ("natural", "rotated-90"), strict=True)
    )
    assert torch.equal(fed, upright.rot90(1, (2, 3)))
    assert not torch.equal(fed, upright)


def test_a_mirrored_view_of_a_turned_scene_does_not_stand_on_its_head():
    sky = np.zeros((32, 32, 3), np.uint8)
    sky[:16] = 255
    turned = torch.from_numpy(feed(sky, "rotated-90").copy()).permute(2, 0, 1)
    views = replace(PLAIN_VIEWS, area=(1.0, 1.0), aspect=(1.0, 1.0), mirror=1.0)
    recipe = quick(views=views, region=None)
    (view,) = one_view(recipe, [turned], (0,), 0, diet="rotated-90")
    # Turned counter-clockwise the sky lies at the left, mirrored or not.
    assert view[..., :7].min() == 1
    assert view[..., 9:].max() == 0


def test_without_a_region_views_come_from_the_whole_picture():
    recipe = quick(views=PLAIN_VIEWS, region=None)
    levels = torch.cat(
        [two_views(recipe, coordinates(), (0, 1), 1, 0, i) * 255 for i in range(8)]
    )
    assert levels[:, :2].amin() < 3
    assert levels[:, :2].amax() > 36


# ---------------------------------------------------------------------- the student


def test_views_are_normalised_as_pictures_of_a_trunk():
    levels = torch.from_numpy(
        generator(0, "levels").integers(0, 256, (2, 8, 8, 3), np.uint8)
    )
    expected = to_pixels(levels, INPUT_FORMATS["imagenet"])
    found = normalised(levels.permute(0, 3, 1, 2).float() / 255)
    assert torch.allclose(found, expected, atol=1e-5)


def test_losses_are_summed_over_heads():
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(6, 4, generator=draw) for _ in range(2))
    for loss, more in (
        (contrast_loss, 0.1),
        (label_loss, torch.tensor([0, 1, 2, 3, 0, 1])),
        (teacher_loss, {"stage4": b, "stage5": a + b}),
    ):
        both = loss({"stage4": a, "stage5": b}, more)
        parts = loss({"stage4": a}, more) + loss({"stage5": b}, more)
        assert both.item() == pytest.approx(parts.item(), rel=1e-6)


def test_every_head_reads_the_mean_of_its_stage(images):
    recipe = quick("distil", heads=("stage2", "stage5"))
    network = backbone_training.compact_vgg(seeded_compact(0, TINY), TINY)
    student = Student(network, recipe, {"stage2": 7, "stage5": 9}).eval()
    views = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = student(views)
        second = network[:3](normalised(views)).mean((2, 3))
        assert torch.allclose(found["stage2"], student.heads["stage2"](second))
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        "stage2": (3, 7),
        "stage5": (3, 9),
    }


# --------------------------------------------------------------------------- seeds


def test_a_training_ends_with_equal_bytes_and_leaves_generators_alone(
    images, done, tmp_path
):
    legacy = np.random.get_state
    states = torch.get_rng_state(), legacy()[1].copy()
    again = run(images, tmp_path / "again", licence="CC0")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (legacy()[1] == states[1]).all()
    assert again.weights.read_bytes() == done.weights.read_bytes()
    assert again.sha256 == done.sha256


def test_another_seed_starts_and_ends_elsewhere_on_the_same_pictures(
    images, done, tmp_path
):
    other = run(images, tmp_path, seed=1)
    states = [load_compact(r.weights).state for r in (done, other)]
    assert all((states[0][n] != states[1][n]).any() for n in states[0])
    prints = [load_compact(r.weights).about["pictures"] for r in (done, other)]
    assert prints[0] == prints[1]
    assert other.card["n_training"] == done.card["n_training"] == 10


def test_training_changes_every_kernel(done):
    before = seeded_compact(0, TINY)
    after = load_compact(done.weights).state
    for name in before:
        change = (after[name] - before[name]).abs().max()
        assert change > 1e-4


def test_files_lie_in_the_folder_and_nowhere_else(images, done, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = files(images)
    run(images, "out", quick(epochs=1))
    assert files(tmp_path) == sorted(f"out/{name}" for name in FILES)
    assert files(images) == before
    assert files(done.weights.parent) == sorted(FILES)


# ------------------------------------------------------------------------ resuming


@pytest.mark.parametrize("call", [2, 7, 10])
def test_a_stopped_training_goes_on_and_ends_with_equal_bytes(
    images, done, tmp_path, monkeypatch, call
):
    # The first two calls are those of the validation.
    make_views, calls = backbone_views.make_views, []

    def interrupted(*arguments, **more):
        calls.append(arguments)
        if len(calls) == call + 1:
            raise KeyboardInterrupt
        return make_views(*arguments, **more)

    monkeypatch.setattr(backbone_views, "make_views", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(images, tmp_path, licence="CC0")
    assert not (tmp_path / WEIGHTS_FILE).exists()
    monkeypatch.setattr(backbone_views, "make_views", make_views)
    again = run(images, tmp_path, licence="CC0")
    assert files(tmp_path) == sorted(FILES)
    for name in FILES:
        if name not in (CARD_FILE, "curves.png"):
            expected = (done.weights.parent / name).read_bytes()
            assert (tmp_path / name).read_bytes() == expected
    told = [{**r.card, "provenance": None} for r in (again, done)]
    assert told[0] == told[1]


def test_a_finished_training_is_read_and_not_repeated(images, tmp_path):
    first = run(images, tmp_path)
    model = tmp_path / "training" / "model.safetensors"
    before = model.stat()
    again = run(images, tmp_path)
    assert model.stat().st_ino == before.st_ino
    assert model.stat().st_mtime_ns == before.st_mtime_ns
    assert again.sha256 == first.sha256
    assert again.card["validation"] == first.card["validation"]
    assert again.curves.equals(first.curves)
    # What was removed by hand is made again from the checkpoint.
    (tmp_path / WEIGHTS_FILE).unlink()
    assert run(images, tmp_path).sha256 == first.sha256


@pytest.mark.parametrize(
    ("named", "more"),
    [
        ("seed", {"seed": 1}),
        ("diet", {"diet": "rotated-90"}),
        ("recipe", {"recipe": quick(epochs=3)}),
        ("name", {"name": "others"}),
        ("licence", {"licence": "CC-BY"}),
    ],
)
def test_a_folder_with_another_training_is_refused_and_stays(images, done, named, more):
    folder = done.weights.parent
    before = {name: (folder / name).read_bytes() for name in FILES}
    with pytest.raises(ValueError, match=f"holds a run with {named}="):
        run(images, folder, **({"licence": "CC0"} | more))
    assert {name: (folder / name).read_bytes() for name in FILES} == before


def test_a_folder_of_the_same_call_with_other_pictures_is_refused(images, tmp_path):
    own = tmp_path / "own"
    for path in images.iterdir():
        write_png(own / path.name, read_image(path))
    run(own, tmp_path / "out", quick(epochs=1))
    picture = read_image(own / "00.png").copy()
    picture[0, 0, 0] ^= 1
    write_png(own / "00.png", picture)
    with pytest.raises(ValueError, match="pictures"):
        run(own, tmp_path / "out", quick(epochs=1))


def test_a_damaged_checkpoint_is_told(images, tmp_path):
    run(images, tmp_path, quick(epochs=1))
    model = tmp_path / "training" / "model.safetensors"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with pytest.raises(DataCorruptError, match=r"model\.safetensors"):
        run(images, tmp_path, quick(epochs=1))


# As in tests/fitting/test_network_fit_kills.py: forks of one process train.
PROGRAM = """
import os, signal, sys
from pathlib import Path

import torch

from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.views import ViewSettings
from tasks.backbone_recipe import BackboneRecipe
from tasks.backbone_training import train_backbone

images, folder = map(Path, sys.argv[1:])
torch.set_num_threads(1)
settings = TrainSettings(
    max_epochs=2, patience=None, keep="last", optimiser="adamw", learning_rate=4e-3,
    checkpoint_s=0.0,
)
recipe = BackboneRecipe(
    settings=settings, views=ViewSettings(size_px=16), batch_size=5,
    steps_per_epoch=2, widths=(3, 6, 12, 16, 24),
)


def attempt(name, n_syncs):
    child = os.fork()
    if child:
        return child
    sync, calls = os.fsync, []

    def counted(handle):
        # Either before a file is renamed to its name, or just after.
        calls.append(handle)
        if len(calls) == n_syncs:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = counted
    train_backbone(images, folder / name, recipe=recipe, device="cpu")
    os._exit(0)


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


warm = torch.nn.Linear(2, 2)
for parameter in warm.parameters():
    parameter.grad = torch.zeros_like(parameter)
torch.optim.AdamW(warm.parameters()).step()

assert wait(attempt("whole", None)) == 0
codes = []
while 0 not in codes:
    codes.append(wait(attempt("killed", 1 + 2 * len(codes))))
    assert codes[-1] in (0, -signal.SIGKILL), codes
print(len(codes))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kills_at_any_write_change_no_byte_of_the_weights(images, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(images), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=290,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
    for name in FILES:
        if name not in (CARD_FILE, "curves.png"):
            whole, killed = (tmp_path / k / name for k in ("whole", "killed"))
            assert whole.read_bytes() == killed.read_bytes()
    # Parts of killed writers stay beside the whole files.
    left = [name for name in files(tmp_path / "killed") if ".part-" not in name]
    assert left == sorted(FILES)


# ------------------------------------------------------------------------ learning


def test_two_colours_are_learnt_from_labels(colours, tmp_path):
    recipe = quick("supervised", epochs=4, steps=6, heads=("stage5",), batch_size=8)
    done = run(colours, tmp_path, recipe)
    assert done.card["classes"] == ["green", "red"]
    held = load_growth_pictures(colours, labelled=True).validation_labels
    assert done.card["chance"] == max(np.bincount(held)) / len(held)
    curve = done.curves
    assert curve["val_accuracy"].iloc[-1] == done.card["validation"]["accuracy"] == 1
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[0] / 2


def test_a_validation_that_is_cut_short_still_sees_every_class(
    colours, tmp_path, monkeypatch
):
    monkeypatch.setattr(backbone_training, "_MOST_VALIDATION", 4)
    for part, names in (("train", range(3)), ("val", range(3, 10))):
        for kind in ("green", "red"):
            for i in names:
                file = tmp_path / "in" / part / kind / f"{i}.png"
                write_png(file, read_image(colours / kind / f"{i}.png"))
    done = run(tmp_path / "in", tmp_path / "out", quick("supervised"))
    assert done.card["n_validation"] == 4
    assert done.card["chance"] == 0.5  # two of each, not four green ones


def test_places_are_told_apart_without_labels(tmp_path):
    # Pictures of one hue each: views of one picture have its hue.
    draw = generator(1, "hues")
    for i in range(40):
        noise = draw.normal(0, 6, (20, 20, 3))
        picture = (draw.integers(20, 236, 3) + noise).clip(0, 255)
        write_png(tmp_path / "hues" / f"{i:02d}.png", picture.astype(np.uint8))
    recipe = quick(
        epochs=5, steps=8, views=PLAIN_VIEWS, batch_size=18, heads=("stage4", "stage5")
    )
    done = run(tmp_path / "hues", tmp_path / "out", recipe)
    assert done.card["n_validation"] == 4
    assert done.card["chance"] == 1 / 7
    assert done.card["validation"]["accuracy"] > 3 / 7
    losses = done.curves["loss"]
    assert losses.iloc[-1] < 0.6 * losses.iloc[0]
    assert done.card["validation"]["loss"] < done.curves["val_loss"].iloc[0]


def test_a_student_comes_to_answer_as_its_teacher(images, tmp_path):
    recipe = quick(
        "distil",
        epochs=5,
        steps=6,
        heads=("stage4", "stage5"),
        batch_size=10,
        learning_rate=0.01,
    )
    done = run(images, tmp_path, recipe, teacher=parse_teacher(TEACHER))
    assert done.card["chance"] is None
    assert list(done.card["validation"]) == ["loss"]
    losses = done.curves["loss"]
    # Two heads; each would be 1 for answers that do not depend on the picture.
    assert losses.iloc[-1] < 0.5 * losses.iloc[0]
    assert losses.iloc[0] < 2.5


def test_the_teacher_stays_as_it_is(images):
    recipe = quick("distil", heads=("stage4", "stage5"))
    known = backbone_training._Answers(
        parse_teacher(TEACHER), recipe, torch.device("cpu")
    )
    module = known.backbone.module
    before = hash_state_dict(module.state_dict())
    pictures = load_growth_pictures(images)
    student = backbone_training._student(recipe, pictures, known, 0).train()
    loss = backbone_training._loss(recipe, pictures, known, 0)
    batch = batches_of(recipe, 10)(0)[0]
    value, weight = loss(student, batch)
    value.backward()
    assert weight == 5
    assert (
        hash_state_dict(module.state_dict())
        == before
        == hash_state_dict(
            load_backbone("compact_vgg", "seeded:5/8").module.state_dict()
        )
    )
    assert not module.training
    assert all(p.grad is None for p in module.parameters())
    assert all(p.grad is not None for p in student.parameters())


def test_what_a_teacher_says_of_equal_pictures_is_undefined(images, tmp_path):
    own = tmp_path / "own"
    held = {
        tensor.permute(1, 2, 0).numpy().tobytes()
        for tensor in load_growth_pictures(images).validation
    }
    for path in images.iterdir():
        picture = read_image(path)
        if picture.tobytes() in held:
            picture = np.full_like(picture, 128)
        write_png(own / path.name, picture)
    recipe = quick("distil", epochs=1, heads=("stage5",))
    teacher = parse_teacher("compact_vgg@seeded:5/8:stage4:gap")
    done = run(own, tmp_path / "out", recipe, teacher=teacher)
    assert done.card["validation"] == {"loss": None}
    assert np.isnan(done.curves["val_loss"].iloc[-1])


def test_a_diet_changes_the_weights_and_is_told(images, done, tmp_path):
    other = run(images, tmp_path, diet="upside-down")
    assert other.card["notes"] == [
        "compact network trained here on 10 pictures of drawn without labels, diet "
        "upside-down"
    ]
    about = load_compact(other.weights).about
    assert about["diet"] == "upside-down"
    assert about["pictures"] == load_compact(done.weights).about["pictures"]
    assert other.sha256 != done.sha256


# --------------------------------------------------------------------------- cards


def test_the_card_tells_what_the_weights_are(images, done):
    folder = done.weights.parent
    card = read_json(folder / CARD_FILE)
    assert card == done.card
    assert set(card) == {
        *("model", "weights", "sha256", "bytes", "notes", "licence_of_pictures"),
        *("n_training", "n_validation", "classes", "n_epochs", "validation", "chance"),
        "provenance",
    }
    assert card["model"] == "compact_vgg"
    assert card["sha256"] == done.sha256 == sha256_file(folder / card["weights"])
    assert card["bytes"] == done.weights.stat().st_size
    assert card["licence_of_pictures"] == "CC0"
    assert (card["n_training"], card["n_validation"], card["n_epochs"]) == (10, 2, 2)
    assert card["chance"] == 1 / 3
    last = done.curves.iloc[-1]
    assert card["validation"] == {
        "loss": last["val_loss"],
        "accuracy": last["val_accuracy"],
    }
    call = card["provenance"]["call"]
    assert call["images"] == str(images.resolve())
    assert call["recipe"] == quick().parameters
    assert call["teacher"] is None
    found = load_growth_pictures(images).fingerprint
    assert card["provenance"]["fingerprints"]["pictures"] == found


def test_the_weights_tell_how_they_came_about(images, done):
    found = load_compact(done.weights)
    note = "compact network trained here on 10 pictures of drawn without labels"
    assert found.notes == (note,) == tuple(done.card["notes"])
    assert found.about == {
        "notes": [note],
        "objective": "selfsup",
        "recipe": "own",
        "pictures": load_growth_pictures(images).fingerprint,
        "diet": "natural",
        "seed": 0,
        "widths": list(TINY),
    }
    backbone = load_backbone("compact_vgg", done.weights)
    assert backbone.notes == (f"compact_vgg: {note}",)


def test_the_weights_are_those_of_the_training_folded(done):
    folder = done.weights.parent
    state = load_file(folder / "training" / "model.safetensors")
    part = "network.stage3.conv2"
    gain = state[f"{part}.norm.weight"] / torch.sqrt(
        state[f"{part}.norm.running_var"] + 1e-5
    )
    found = load_compact(done.weights).state
    kernel = state[f"{part}.weight"] * gain[:, None, None, None]
    bias = state[f"{part}.norm.bias"] - state[f"{part}.norm.running_mean"] * gain
    assert torch.allclose(found["stage3.conv2.weight"], kernel, rtol=1e-3, atol=1e-6)
    assert torch.allclose(found["stage3.conv2.bias"], bias, rtol=1e-3, atol=1e-6)


def test_an_untold_licence_is_told_so(images, tmp_path):
    done = run(images, tmp_path, quick(epochs=1), name="drawings of ours")
    assert done.card["licence_of_pictures"] == "not told"
    assert "10 pictures of drawings of ours" in done.card["notes"][0]


def test_the_card_has_the_validation_of_the_weights_that_are_kept(images, tmp_path):
    recipe = quick(epochs=3, keep="best")
    # The worst is called the best: it does not come last.
    settings = replace(recipe.settings, more_is_better=True)
    done = run(images, tmp_path, replace(recipe, settings=settings))
    curves = done.curves
    best = curves["val_loss"].idxmax()
    assert best != len(curves) - 1
    assert done.card["validation"]["loss"] == curves["val_loss"][best]


def test_curves_are_kept_as_a_table_and_a_figure(done):
    folder = done.weights.parent
    table = read_table(folder / "curves.csv")
    assert table["epoch"].tolist() == [0, 1]
    assert table["step"].tolist() == [3, 6]
    assert np.allclose(table["loss"], done.curves["loss"])
    assert read_image(folder / "curves.png").std() > 5


def test_numbers_of_this_version_stay(done):
    losses = done.curves["loss"].tolist()
    assert losses == pytest.approx(FROZEN_LOSSES, rel=2e-3)
    kernel = load_compact(done.weights).state["stage1.conv1.weight"]
    assert kernel.flatten()[:3].tolist() == pytest.approx(FROZEN_KERNEL, rel=2e-2)


# ------------------------------------------------------------------------- recipes


def test_the_recipe_of_the_shipped_weights_is_this():
    recipe = compact_recipe()
    settings = recipe.parameters.pop("settings")
    assert (recipe.name, recipe.objective) == ("compact", "selfsup")
    assert recipe.heads == STAGES[2:]
    assert recipe.views == ViewSettings()
    values = (recipe.batch_size, recipe.steps_per_epoch, recipe.short_px)
    assert values == (128, 50, 256)
    assert (recipe.temperature, recipe.region) == (0.1, (0.4, 1.0))
    assert (settings["optimiser"], settings["learning_rate"]) == ("adamw", 4e-3)
    assert (settings["max_epochs"], settings["keep"]) == (20, "last")


def test_recipes_of_other_objectives_show_more_of_a_picture():
    labels, distil = compact_recipe("supervised"), compact_recipe("distil")
    assert labels.heads == ("stage5",)
    assert distil.heads == STAGES[2:]
    assert labels.views.area == distil.views.area == (0.3, 1.0)


def test_a_shortened_recipe_is_named_so():
    recipe = compact_recipe()
    assert recipe.shortened(20) == recipe
    short = recipe.shortened(3)
    assert short.name == "compact, 3 epochs"
    assert short.settings == replace(recipe.settings, max_epochs=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "both"}, "`objective` must be one of"),
        ({"batch_size": 1}, "`batch_size` must be"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be"),
        ({"short_px": 15}, "`short_px` must be"),
        ({"temperature": 0}, "`temperature` must be"),
        ({"region": (0.0, 1.0)}, "`region` must be"),
        ({"region": (0.9, 0.5)}, "`region` must be"),
        ({"region": (0.5,)}, "`region` must be"),
        ({"heads": ()}, "`heads` must be distinct"),
        ({"heads": ("stage5", "stage5")}, "`heads` must be distinct"),
        ({"heads": ("stage6",)}, "`heads` must be one of"),
        ({"widths": (3, 6, 12)}, "`widths` must be five numbers"),
        ({"widths": (3, 6, 12, 16, 0)}, "`widths` must be"),
        ({"views": ViewSettings(size_px=15)}, r"`views\.size_px` must be"),
        ({"settings": TrainSettings(monitor="r")}, "`monitor` must be one of"),
        (
            {"objective": "distil", "settings": TrainSettings(monitor="accuracy")},
            "`monitor` must be one of 'loss'; got 'accuracy'",
        ),
    ],
)
def test_a_recipe_is_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        BackboneRecipe(**changes)


# ------------------------------------------------------------------------- refusals


def test_a_teacher_is_read_from_text():
    found = parse_teacher("compact_vgg@seeded:0/8:stage3:gap,stage5:gap")
    assert found == Teacher("compact_vgg", "seeded:0/8", ("stage3:gap", "stage5:gap"))
    assert parse_teacher("timm:resnet18:layer4:gap").weights is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("given:features", "must be a network with layers; got 'given:features'"),
        ("file:features.npy", "must be a network with layers"),
        ("unknown", "`features` must be NETWORK"),
        ("timm:resnet18", "names no layers"),
        ("compact_vgg:a=stage3:gap", "must be one request per head"),
        ("compact_vgg:stage3:gap+stage4:gap", "must be one request per head"),
        ("control:gabor", "must be one request per head"),
    ],
)
def test_other_texts_are_no_teacher(text, message):
    with pytest.raises(ValueError, match=message):
        parse_teacher(text)


def test_a_teacher_without_layers_is_none():
    with pytest.raises(ValueError, match="one request per head"):
        Teacher("compact_vgg", None, ())


@pytest.mark.parametrize(
    ("recipe", "more", "message"),
    [
        (quick("distil"), {}, "'distil'; got 'distil' with no teacher"),
        (quick(), {"teacher": parse_teacher(TEACHER)}, "'selfsup' with a teacher"),
        (
            quick("distil"),
            {"teacher": parse_teacher(TEACHER)},
            r"2 layers for 3 heads \(stage3, stage4, stage5\)",
        ),
        (
            quick("distil", heads=("stage5",)),
            {"teacher": parse_teacher("compact_vgg@seeded:0/8:stage4")},
            "write 'stage4:gap'",
        ),
        (
            quick("distil", heads=("stage5",)),
            {"teacher": parse_teacher("compact_vgg@seeded:0/8:stage6:gap")},
            "has no layer 'stage6'",
        ),
        (quick(), {"diet": "lined"}, "`diet` must be one of"),
        (quick(), {"seed": -1}, "`seed` must be"),
        (quick("supervised"), {}, "layout class/picture"),
    ],
)
def test_wrong_calls_are_refused_and_leave_nothing(
    images, tmp_path, recipe, more, message
):
    with pytest.raises(ValueError, match=message):
        run(images, tmp_path / "out", recipe, **more)
    assert files(tmp_path) == []


def test_missing_pictures_and_pictures_in_a_zip_without_labels_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="images"):
        run(tmp_path / "absent", tmp_path / "out")
    (tmp_path / "set.zip").write_bytes(b"PK")
    with pytest.raises((ValueError, OSError), match=r"set\.zip"):
        run(tmp_path / "set.zip", tmp_path / "out")
    assert files(tmp_path) == ["set.zip"]


@pytest.mark.parametrize("below", ["", "out", "a/b"])
def test_a_folder_inside_the_pictures_is_refused(images, below):
    before = files(images)
    with pytest.raises(ValueError, match="lies inside `images`"):
        run(images, images / below)
    assert files(images) == before
