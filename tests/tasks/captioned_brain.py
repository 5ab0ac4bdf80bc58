"""A small simulated brain that can be captioned: encoder, bank, and their pictures."""

import numpy as np

from data_loaders.simulated_selectivity import simulate_selective_units
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.sketch_generator import CATEGORIES
from neurovis.core.pictures import write_png
from tasks.bank_build import build_bank
from tasks.brain_sources import BrainData
from tasks.braindive_observers import to_pixels
from tasks.clip_encoder import fit_clip_encoder
from tasks.clip_encoder_recipe import ClipEncoderRecipe
from tasks.sketch_training import draw_sketches

REGIONS = CATEGORIES
N_EACH, N_SHOWN, N_BANK = 5, 800, 200
PLAIN = {"gain": 0.0, "shift_px": 0, "noise_sd": 0.0}
RECIPE = ClipEncoderRecipe(epochs=40, learning_rate=1e-2, batch_size=32, **PLAIN)


def fit_brain(out):
    """Fit an encoder on embeddings of the small CLIP; return its folder."""
    drawn, table = draw_sketches(N_SHOWN, seed=31)
    pictures = to_pixels(drawn)
    responses = simulate_selective_units(
        pictures,
        table["category"].tolist(),
        regions=REGIONS,
        n_units=N_EACH,
        n_repeats=30,
        seed=3,
    )
    fit_clip_encoder(
        [BrainData(responses)],
        "sketch_clip",
        out,
        recipe=RECIPE,
        n_permutations=5,
        n_bootstrap=5,
        device="cpu",
    )
    return out / "models" / "sim01" / "sketch_clip" / "output"


def make_bank(folder, seed=32):
    """Build a bank of other drawings; return its folder."""
    drawn, table = draw_sketches(N_BANK, seed=seed)
    for i, (name, picture) in enumerate(
        zip(table["category"], to_pixels(drawn), strict=True)
    ):
        write_png(folder / "pictures" / f"{name}-{i:03d}.png", np.asarray(picture))
    network = load_backbone("sketch_clip")
    build_bank(
        folder / "pictures", folder / "bank", backbone=network, shard_rows=50,
        device="cpu",
    )  # fmt: skip
    return folder / "bank"
