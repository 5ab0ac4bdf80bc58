"""Trainings of the small generators: drawings, losses, files, and resuming."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from neurovis.adapters.image_generators import load_image_generator
from neurovis.adapters.sketch_generator import (
    CATEGORIES,
    KINDS,
    load_sketch_generator,
)
from neurovis.core.files import read_json, sha256_bytes, sha256_file
from neurovis.core.rng import own_torch_stream
from neurovis.core.tensors import hash_state_dict
from neurovis.generation.sampling import SamplingSettings, sample_images
from tasks.sketch_training import (
    CARD_FILE,
    WEIGHTS_FILE,
    Autoencoder,
    SketchRecipe,
    draw_sketches,
    noise_shares,
    to_signed,
    train_generator,
    velocity_loss,
)

N_PICTURES = 48


def small_recipe(kind, **changes):
    base = SketchRecipe(kind, n_validation=8, batch_size=16)
    return base.shortened(N_PICTURES, changes.pop("epochs", 1))


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tmp_path_factory):
    """A short training of each kind; not to be changed."""
    folder = tmp_path_factory.mktemp("trained") / request.param
    recipe = small_recipe(request.param)
    return folder, recipe, train_generator(folder, recipe=recipe, seed=5, device="cpu")


# --------------------------------------------------------------------- drawings


def test_categories_come_in_turn_in_colour_on_smooth_backgrounds():
    pictures, table = draw_sketches(53, seed=4)
    assert pictures.shape == (53, 3, 32, 32)
    assert pictures.dtype == torch.uint8
    assert table["category"].tolist() == [CATEGORIES[i % 5] for i in range(53)]
    assert table.index.tolist() == list(range(53))
    assert set(table["background"]) == {"gradient", "scene"}
    assert not table["grey"].any()
    # Where there is colour, channels differ.
    spread = pictures.int().amax(1) - pictures.int().amin(1)
    assert int(spread.flatten(1).amax(1).min()) > 20


def test_longer_sets_begin_with_shorter_ones_and_seeds_differ():
    short, table = draw_sketches(12, seed=4)
    long, longer_table = draw_sketches(40, seed=4)
    assert torch.equal(long[:12], short)
    assert longer_table["stimulus_id"].tolist()[:12] == table["stimulus_id"].tolist()
    other, _ = draw_sketches(12, seed=5)
    assert not torch.equal(other, short)
    assert len({picture.numpy().tobytes() for picture in long}) == 40


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_drawings_are_there_for_every_seed(n):
    # Of few tries a category can have none that is coloured and smooth.
    for seed in range(40):
        pictures, table = draw_sketches(n, seed=seed)
        assert len(pictures) == n
        assert table["category"].tolist() == list(CATEGORIES[:n])


def test_levels_become_numbers_around_0():
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(to_signed(levels), torch.tensor([-1.0, -0.6, 1.0]))


# ----------------------------------------------------------------------- losses


def test_shares_of_the_picture_follow_the_cosine():
    def angle(t):
        return np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2

    steps = np.arange(1000)
    betas = np.minimum(1 - angle((steps + 1) / 1000) / angle(steps / 1000), 0.999)
    np.testing.assert_allclose(
        noise_shares().numpy(), np.cumprod(1 - betas), rtol=1e-3, atol=1e-7
    )


def test_the_loss_is_the_error_of_the_velocity():
    given = {}

    class Constant(nn.Module):
        def forward(self, x, steps):
            given["x"], given["steps"] = x, steps
            return SimpleNamespace(sample=torch.full_like(x, 0.3))

    stream = torch.Generator().manual_seed(0)
    clean, noise = torch.randn((2, 3, 4, 8, 8), generator=stream)
    steps = torch.tensor([0, 500, 999])
    found = velocity_loss(Constant(), clean, steps, noise, noise_shares())
    share = noise_shares().numpy()[steps][:, None, None, None]
    signal, spread = np.sqrt(share), np.sqrt(1 - share)
    x = signal * clean.numpy() + spread * noise.numpy()
    np.testing.assert_allclose(given["x"].numpy(), x, atol=1e-6)
    assert torch.equal(given["steps"], steps)
    velocity = signal * noise.numpy() - spread * clean.numpy()
    assert float(found) == pytest.approx(np.mean((0.3 - velocity) ** 2), rel=1e-5)


def test_latents_are_noisy_in_training_only():
    with own_torch_stream(0, "autoencoder"):
        autoencoder = Autoencoder()
        shown = torch.rand(2, 3, 32, 32) * 2 - 1
        latents, seen = autoencoder(shown)
        torch.testing.assert_close(latents, autoencoder.encoder(shown))
        clear = autoencoder.decoder.from_raw(latents)
        assert not torch.allclose(seen, clear, atol=1e-3)
        latents, seen = autoencoder.eval()(shown)
        torch.testing.assert_close(seen, autoencoder.decoder.from_raw(latents))


# -------------------------------------------------------------------- trainings


def test_a_training_leaves_weights_that_load_and_draw(trained):
    folder, recipe, done = trained
    assert done.weights == folder / WEIGHTS_FILE
    found = load_sketch_generator(done.weights)
    assert found.kind == recipe.kind
    assert found.about["recipe"] == recipe.parameters
    assert found.about["seed"] == 5
    assert "48 drawings" in found.notes[0]
    generator = load_image_generator(f"sketch:{done.weights}")
    assert generator.trained
    sampled = sample_images(generator, [0], settings=SamplingSettings(2, "ddim"))
    assert sampled.images.shape == (1, 32, 32, 3)
    random = load_sketch_generator(f"seeded:{recipe.kind}:5")
    pairs = zip(found.denoiser.parameters(), random.denoiser.parameters(), strict=True)
    # They began with the seeded weights, and a few steps of a rising rate move little.
    assert max(float((a - b).abs().max()) for a, b in pairs) < 0.01


def test_a_card_tells_what_was_trained_and_how_well(trained):
    folder, recipe, done = trained
    card = read_json(folder / CARD_FILE)
    assert card == done.card
    assert card["sha256"] == sha256_file(done.weights)
    assert card["bytes"] == done.weights.stat().st_size
    assert card["n_training"] == N_PICTURES
    assert card["n_validation"] == 8
    assert card["loss"] == done.curves["loss"].iloc[-1]
    assert card["val_loss"] == done.curves["val_loss"].iloc[-1]
    assert ("psnr_db" in card) == (recipe.kind == "latent")
    assert card["provenance"]["call"]["recipe"] == recipe.parameters
    drawn, _ = draw_sketches(N_PICTURES + 8, seed=5)
    mark = sha256_bytes(drawn.numpy().tobytes())
    assert card["provenance"]["fingerprints"] == {"pictures": mark}


def test_latents_of_the_training_are_standard(tmp_path):
    recipe = small_recipe("latent")
    done = train_generator(tmp_path, recipe=recipe, seed=5, device="cpu")
    decoder = load_sketch_generator(done.weights).decoder
    with own_torch_stream(0, "not used"):
        autoencoder = Autoencoder()
    state = load_file(next((tmp_path / "autoencoder").glob("*.safetensors")))
    autoencoder.load_state_dict(
        {n.split("model.")[-1]: v.half().float() for n, v in state.items()}
    )
    drawn, _ = draw_sketches(N_PICTURES, seed=5)
    with torch.no_grad():
        raw = autoencoder.eval().encoder(to_signed(drawn))
    torch.testing.assert_close(decoder.mean, raw.mean((0, 2, 3)), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(decoder.scale, raw.std((0, 2, 3)), rtol=1e-2, atol=1e-3)
    standard = (raw - decoder.mean[:, None, None]) / decoder.scale[:, None, None]
    torch.testing.assert_close(
        decoder(standard), autoencoder.decoder.from_raw(raw), rtol=1e-3, atol=1e-3
    )


def test_a_finished_training_is_read_and_lost_files_are_written_again(trained):
    folder, recipe, done = trained
    weights, card = done.weights.read_bytes(), dict(done.card)
    done.weights.unlink()
    again = train_generator(folder, recipe=recipe, seed=5, device="cpu")
    assert again.weights.read_bytes() == weights
    card.pop("provenance")
    assert {k: v for k, v in again.card.items() if k != "provenance"} == card


def test_another_training_in_the_folder_is_refused(trained):
    folder, recipe, done = trained
    before = done.weights.read_bytes()
    with pytest.raises(ValueError, match="seed=5"):
        train_generator(folder, recipe=recipe, seed=6, device="cpu")
    with pytest.raises(ValueError, match="recipe"):
        train_generator(
            folder, recipe=small_recipe(recipe.kind, epochs=2), seed=5, device="cpu"
        )
    assert done.weights.read_bytes() == before


def test_seeds_decide_weights_and_the_caller_does_not_notice(tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    states = [
        hash_state_dict(
            load_sketch_generator(
                train_generator(
                    tmp_path / str(i),
                    recipe=small_recipe("pixel"),
                    seed=seed,
                    device="cpu",
                ).weights
            ).denoiser.state_dict()
        )
        for i, seed in enumerate((0, 0, 1))
    ]
    assert states[0] == states[1]
    assert states[1] != states[2]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_a_longer_training_predicts_the_velocity_better(tmp_path):
    recipe = SketchRecipe("pixel", n_validation=20, batch_size=20).shortened(80, 6)
    done = train_generator(tmp_path, recipe=recipe, seed=0, device="cpu")
    losses = done.curves["loss"].to_numpy()
    assert losses[-1] < 0.95 * losses[0]
    assert done.card["val_loss"] < losses[0]


PROGRAM = """
import os, signal, sys
from pathlib import Path

import torch

from tasks.sketch_training import SketchRecipe, train_generator

folder = Path(sys.argv[1])
torch.set_num_threads(1)
recipe = SketchRecipe("latent", n_validation=8, batch_size=16).shortened(48, 2)


def attempt(n_syncs):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sync, calls = os.fsync, []

    def counted(handle):
        # Either before a file is renamed to its name, or just after.
        calls.append(handle)
        if len(calls) == n_syncs:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = counted
    train_generator(folder / "killed", recipe=recipe, seed=5, device="cpu")
    os._exit(0)


# Here and not in a fork: what is slow to import is imported.
train_generator(folder / "whole", recipe=recipe, seed=5, device="cpu")
print(*[attempt(n) for n in (1, 5, 8, 4, None)])
"""


@pytest.mark.slow
def test_kills_change_no_byte_of_the_weights(tmp_path):
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    codes = [int(code) for code in done.stdout.split()]
    assert codes[-1] == 0
    assert codes.count(-signal.SIGKILL) >= 3
    whole, killed = (
        (tmp_path / name / WEIGHTS_FILE).read_bytes() for name in ("whole", "killed")
    )
    assert whole == killed
    cards = [read_json(tmp_path / name / CARD_FILE) for name in ("whole", "killed")]
    for card in cards:
        card.pop("provenance")
    assert cards[0] == cards[1]


# ---------------------------------------------------------------------- recipes


def test_a_shortened_recipe_differs_in_size_only():
    recipe = SketchRecipe("latent")
    short = recipe.shortened(640, 3)
    assert (short.n_pictures, short.batch_size) == (640, 64)
    assert short.denoiser.max_epochs == short.autoencoder.max_epochs == 3
    assert recipe.shortened(640, 50).autoencoder == recipe.autoencoder
    assert short.denoiser.learning_rate == recipe.denoiser.learning_rate
    assert short.name == "shipped, 640 drawings, 3 epochs"
    assert short.parameters["denoiser"]["max_epochs"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "voxel"}, "kind"),
        ({"n_pictures": 1}, "n_pictures"),
        ({"n_validation": 0}, "n_validation"),
        ({"n_pictures": 10, "batch_size": 11}, "batch_size"),
    ],
)
def test_recipes_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SketchRecipe(**options)


def test_bad_calls_leave_no_folder(tmp_path):
    recipe = small_recipe("pixel")
    with pytest.raises(ValueError, match="seed"):
        train_generator(tmp_path / "a", recipe=recipe, seed=-1)
    with pytest.raises(ValueError, match="device"):
        train_generator(tmp_path / "a", recipe=recipe, device="tpu")
    assert not list(tmp_path.iterdir())
